# fsm: state machines over events.
load helper

# An order; what it is to be paid is in the data.
order_machine() {
    cat >order.machine.json <<'END'
{"initial": "new", "states": {
    "new": {"on": {"order.placed": "open"}},
    "open": {"on": {
        "payment.made": [{"target": "paid", "cond": {"pointer": "/data/cents", "op": ">=", "value": 100}},
            {"target": "open", "cond": {"pointer": "/data/cents", "op": ">", "value": 0}}],
        "cancel.wanted": "cancelled"}},
    "paid": {"on": {"parcel.sent": "shipped"}},
    "shipped": {"type": "final"},
    "cancelled": {"type": "final"}}}
END
}

# A lamp is on and off for ever.
lamp_machine() {
    echo '{"id":"lamp","initial":"off","states":{"off":{"on":{"flip":"on"}},"on":{"on":{"flip":"off"}}}}' >lamp.json
}

event() { # TYPE ID SUBJECT [DATA]
    echo "{\"specversion\":\"1.0\",\"type\":\"$1\",\"id\":\"$2\",\"source\":\"/s\",\"time\":\"2026-11-21T10:00:00Z\",\"subject\":\"$3\",\"data\":${4:-null}}"
}

flips() { # N SUBJECT
    local i
    for ((i = 1; i <= $1; i++)); do event flip "$2.$i" "$2"; done
}

states() { # [-s SPOOL]
    fsm list "$@" -o ndjson | jq -r '"\(.machine) \(.subject) \(.state) \(.version)"'
}

@test "fsm: each accepted event is a transition, made only from the event" {
    order_machine
    { event order.placed e1 A-1 && event payment.made e2 A-1 '{"cents":100}'; } >in
    run -0 --separate-stderr fsm run order.machine.json in
    [ "${lines[0]}" = '{"type":"order.open","id":"01a1fd8c-6900-8aee-b05d-5a0789eb0c29","subject":"A-1","causationid":"e1","correlationid":"e1","data":{"from":"new","to":"open","event":"order.placed"}}' ]
    [ "$(jq -c '[.type,.causationid,.data.from,.data.to,.data.event]' <<<"${lines[1]}")" = '["order.paid","e2","open","paid","payment.made"]' ]
    [ "${#lines[@]}" -eq 2 ]
    [ "$stderr" = "fsm: created the spool $EVENT_SPOOL" ]
    [ "$(states)" = 'order A-1 paid 2' ]
    # In another spool it is the same, to the byte.
    fsm run -s other.db order.machine.json <in 2>/dev/null | cmp - <(printf '%s\n' "$output")
}

@test "fsm: the correlation continues, and the id differs by source, id and machine" {
    lamp_machine
    sed 's/lamp/light/' lamp.json >light.json
    {
        echo '{"type":"flip","id":"1","source":"a","subject":"x","correlationid":"c"}'
        echo '{"type":"flip","id":"1","source":"b","subject":"x"}'
        echo '{"type":"flip","id":"1","subject":"x"}'
    } >in
    fsm run lamp.json in >out 2>/dev/null
    fsm run light.json in >>out
    [ "$(jq -r .id out | sort -u | wc -l)" -eq 6 ]
    [ "$(jq -r .correlationid out | paste -sd' ')" = 'c 1 1 c 1 1' ]
    [ "$(jq -r .type out | paste -sd' ')" = 'lamp.on lamp.off lamp.on light.on light.off light.on' ]
    [ "$(states)" = $'lamp x on 3\nlight x on 3' ]
}

@test "fsm: a repeated event prints the same transition again, and changes nothing" {
    order_machine
    { event order.placed e1 A-1 && event payment.made e2 A-1 '{"cents":100}' && event parcel.sent e3 A-1; } >in
    fsm run order.machine.json in >out 2>/dev/null
    fsm show A-1 -o ndjson >before
    run -0 --separate-stderr fsm run order.machine.json in in
    [ -z "$stderr" ]
    [ "$output" = "$(cat out out)" ]
    fsm show A-1 -o ndjson | cmp - before
    # What is no longer accepted comes back as it was, in another order, too.
    tac in | fsm run order.machine.json | cmp - <(tac out)
}

@test "fsm: the last hundred accepted events of a subject are remembered, and no more" {
    lamp_machine
    flips 101 x >in
    fsm run lamp.json in >out 2>/dev/null
    tail -n 100 in | fsm run lamp.json | cmp - <(tail -n 100 out)
    [ "$(states)" = 'lamp x on 101' ]
    [ "$(fsm show x -o ndjson | jq '.last | length')" -eq 100 ]
    [ "$(fsm show x -o ndjson | jq -r '.last[0].id,.last[99].id' | paste -sd' ')" = 'x.2 x.101' ]
    head -n 1 in | fsm run lamp.json | jq -e '.type == "lamp.off"'
    [ "$(states)" = 'lamp x off 102' ]
}

@test "fsm: events that a state does not accept are reported and kept, the rest is handled, and the status is 65" {
    order_machine
    {
        event parcel.sent e1 A-1
        event order.placed e2 A-1
        event payment.made e3 A-1 '{"cents":0}'
        event cancel.wanted e4 A-1
        event order.placed e5 A-1
        event order.placed e6 A-2
    } >in
    run -65 --separate-stderr fsm run order.machine.json --rejects rejects in
    [ "$(jq -r '.subject + " " + .type' <<<"$output" | paste -sd,)" = 'A-1 order.open,A-1 order.cancelled,A-2 order.open' ]
    [ "$stderr" = "fsm: created the spool $EVENT_SPOOL
fsm: in: line 1: \"A-1\" is in state \"new\", which does not accept parcel.sent \"e1\"
fsm: in: line 3: \"A-1\" is in state \"open\", and no condition there holds for payment.made \"e3\"
fsm: in: line 5: \"A-1\" is in state \"cancelled\", which does not accept order.placed \"e5\"" ]
    sed -n '1p;3p;5p' in | cmp - rejects
    # Appended to; and a reject is not remembered: what came too early once may come in time.
    run -65 fsm run order.machine.json --rejects rejects in
    [ "$(wc -l <rejects)" -eq 6 ]
    event payment.made e7 A-2 '{"cents":100}' | fsm run order.machine.json
    event parcel.sent e1 A-2 | fsm run order.machine.json | jq -e '.type == "order.shipped"'
}

@test "fsm: lines that are not events are reported, types that the machine does not know are skipped" {
    order_machine
    {
        echo '{"type":"order.placed"'
        echo '[1]'
        echo
        event web.request w1 ''
        echo '{"type":"order.placed","id":"e1"}'
        echo '{"type":"order.placed","subject":"A-1"}'
        echo '{"subject":"A-1"}'
        event order.open w2 A-1
        event order.placed e2 A-1
    } | sed 's/"subject":"",//' >in
    run -65 --separate-stderr fsm run order.machine.json --rejects rejects <in
    [ "$(jq -r .type <<<"$output")" = order.open ]
    printf '%s\n' "${stderr_lines[@]}" >said
    [ "$(wc -l <said)" -eq 6 ]
    grep -qx 'fsm: line 1: unfinished object at byte 23 (input ends)' said
    grep -q '^fsm: line 2: ' said
    grep -qx 'fsm: line 5: order.placed "e1" has no "subject": whose state is it about?' said
    grep -qx 'fsm: line 6: has no "id": events from the log have one' said
    grep -q '^fsm: line 7: ' said
    sed -n '1p;2p;5p;6p;7p' in | cmp - rejects
    # A file that is not there does not keep the others from being read.
    sed -n '9p' in >good
    run -66 --separate-stderr fsm run order.machine.json none good
    [ "$stderr" = 'fsm: none: No such file or directory' ]
    [ "$(jq -r .type <<<"$output")" = order.open ]
}

@test "fsm: a condition sees the whole event, and a self-transition is a transition" {
    order_machine
    { event order.placed e1 A-1 && event payment.made e2 A-1 '{"cents":99}'; } >in
    run -0 --separate-stderr fsm run order.machine.json in
    [ "$(jq -r .type <<<"${lines[1]}")" = order.open ]
    [ "$(states)" = 'order A-1 open 2' ]
    echo '{"id":"m","initial":"a","states":{"a":{"on":{"x":{"target":"b","guard":{"pointer":"/source","op":"==","value":"/s"}}}},"b":{}}}' >m.json
    event x 1 s | fsm run m.json | jq -e '.type == "m.b"'
    event x 1 t | sed 's,/s,/t,' >in
    run -65 fsm run m.json in
}

@test "fsm: transitions are published, and published again they are duplicates" {
    order_machine
    { event order.placed e1 A-1 && event payment.made e2 A-1 '{"cents":100}'; } | publish
    replay | fsm run order.machine.json | publish
    replay | fsm run order.machine.json | publish
    [ "$(replay | jq -c '[.type,.subject,.causationid,.hops]' | tail -n 2 | paste -sd' ')" = '["order.open","A-1","e1",1] ["order.paid","A-1","e2",1]' ]
    [ "$(replay | wc -l)" -eq 4 ]
    run -0 trace e1 -o tree
    [[ $output == *order.open* ]]
}

# --- definitions

@test "fsm check: mistakes and doubtful things, and run reports the mistakes in the same words" {
    order_machine
    run -0 --separate-stderr fsm check order.machine.json
    [ -z "$output$stderr" ]
    cat >bad.json <<'END'
{"initial": "a", "context": {}, "states": {
    "a": {"on": {"x": "bb"}, "entry": "mail"}, "b": {"type": "final"}}}
END
    bad='fsm: bad.json: "context" of XState is not done here; a condition sees the event and nothing else
fsm: bad.json: state "a": "entry" of XState is not done here; what is to happen then is a handler of the transition'\''s event
fsm: bad.json: state "a": on "x": there is no state "bb"; is it "b"?'
    run -65 --separate-stderr fsm check order.machine.json bad.json
    [ "$stderr" = "$bad" ]
    run -65 --separate-stderr fsm dot bad.json
    [ "$stderr" = "$bad" ]
    run -78 --separate-stderr fsm run bad.json </dev/null
    [ "$stderr" = "$bad" ]
    spool_missing
    echo '{"initial":"a","states":{"a":{"on":{"x":"a"}},"b":{"type":"final"}}}' >odd.json
    run -1 --separate-stderr fsm check odd.json
    [ "$stderr" = 'fsm: odd.json: state "a": a dead end that is not final
fsm: odd.json: state "b": nothing leads to it' ]
    run -65 fsm check bad.json odd.json
    run -0 fsm run odd.json </dev/null
    echo '{"initial":' >cut.json
    run -65 --separate-stderr fsm check cut.json
    [[ $stderr == 'fsm: cut.json: line '* ]]
    run -66 --separate-stderr fsm check none.json odd.json
    [ "${stderr_lines[0]}" = 'fsm: none.json: No such file or directory' ]
}

@test "fsm: a machine is named by its id, or else by its file" {
    order_machine
    event order.placed e1 A-1 >in
    cp order.machine.json purchase.json
    cp order.machine.json plain
    for file in order.machine.json purchase.json plain; do fsm run "$PWD/$file" in; done 2>/dev/null | jq -r .type >types
    [ "$(paste -sd' ' types)" = 'order.open purchase.open plain.open' ]
    run -78 --separate-stderr fsm run - in <<<'{"id":"sys","initial":"a","states":{"a":{"type":"final"}}}'
    [ "$stderr" = 'fsm: -: its name is "sys": types that begin with sys. are the toolkit'\''s own' ]
}

@test "fsm: a subject in a state that the machine lost is a reject that names it" {
    order_machine
    event order.placed e1 A-1 | fsm run order.machine.json 2>/dev/null
    sed -i 's/open/pending/g' order.machine.json
    event payment.made e2 A-1 '{"cents":100}' >in
    run -65 --separate-stderr fsm run order.machine.json in
    [ -z "$output" ]
    [ "$stderr" = 'fsm: in: line 1: "A-1" is in state "open", which machine "order" no longer has' ]
    # What it led to before stands.
    event order.placed e1 A-1 | fsm run order.machine.json | jq -e '.type == "order.open"'
}

@test "fsm dot: the states and the transitions between them" {
    order_machine
    run -0 fsm dot order.machine.json
    [ "${lines[0]}" = 'digraph "order" {' ]
    grep -qxF '    "" -> "new";' <<<"$output"
    grep -qxF '    "open" -> "paid" [label="payment.made [/data/cents >= 100]"];' <<<"$output"
    grep -qxF '    "shipped" [peripheries=2];' <<<"$output"
    [ "${lines[-1]}" = '}' ]
}

# --- looking at it

@test "fsm show, list: the subjects' states, and how they got there" {
    order_machine
    lamp_machine
    { event order.placed e1 A-1 && event payment.made e2 A-1 '{"cents":100}' && event order.placed e3 a/b && event flip f1 A-1; } >in
    fsm run order.machine.json in >out 2>/dev/null
    fsm run lamp.json in >>out
    run -0 fsm show -m order A-1 -o ndjson
    [ "$(jq -c '[.machine,.subject,.state,.version,.event,(.last|map([.type,.id,.source,.from,.to]))]' <<<"$output")" = '["order","A-1","paid",2,"payment.made",[["order.placed","e1","/s","new","open"],["payment.made","e2","/s","open","paid"]]]' ]
    [ "$(jq -r .since <<<"$output")" = "$(jq -r '.last[1].accepted' <<<"$output")" ]
    run -0 fsm show -m order.machine.json a/b -o table
    [ "${lines[0]}" = 'MACHINE  SUBJECT  STATE  SINCE  VERSION  EVENT' ]
    [[ ${lines[1]} == 'order    a/b      open '*' 1  order.placed' ]]
    [[ ${lines[3]} == 'order.placed  e3  /s      new   open '* ]]
    [ "$(fsm show A-1 -o ndjson | jq -r .machine | paste -sd' ')" = 'lamp order' ]
    [ "$(states)" = $'lamp A-1 on 1\norder A-1 paid 2\norder a/b open 1' ]
    [ "$(fsm list --state paid | jq -r .subject)" = A-1 ]
    [ "$(fsm list -m lamp.json | jq -r .subject)" = A-1 ]
    [ -z "$(fsm list -m lam)" ]
    run -66 --separate-stderr fsm show B-1
    [ "$stderr" = 'fsm: "B-1" has no state' ]
    run -66 --separate-stderr fsm show -m lamp a/b
    [ "$stderr" = 'fsm: "a/b" has no state in machine "lamp"' ]
}

@test "fsm forget: the next event finds the subject in the initial state" {
    lamp_machine
    flips 1 x | fsm run lamp.json >out 2>/dev/null
    flips 1 y | fsm run lamp.json
    run -0 fsm forget x
    [ "$output" = 'x forgotten by lamp' ]
    [ "$(states)" = 'lamp y on 1' ]
    flips 1 x | fsm run lamp.json | cmp - out
    run -66 --separate-stderr fsm forget -m lamp z
    [ "$stderr" = 'fsm: "z" has no state in machine "lamp"' ]
}

@test "fsm: no part of a name reaches a terminal unescaped" {
    lamp_machine
    echo '{"type":"flip","id":"1","source":"/s","subject":"x\u202e2J"}' | fsm run lamp.json >out 2>/dev/null
    [[ $(cat out) == *'"subject":"x\u202e2J"'* ]]
    run -0 fsm list -o table
    [[ $output == *'x\u202e2J'* ]]
    run -0 fsm forget $'x\u202e2J'
    [ "$output" = 'x\u202e2J forgotten by lamp' ]
}

@test "fsm: a damaged document is reported, with the remedy" {
    lamp_machine
    flips 1 x | fsm run lamp.json 2>/dev/null
    sql "UPDATE document SET value = $(bytes '{"state":1}') WHERE kind = 'fsm'"
    flips 2 x >in
    run -74 --separate-stderr fsm run lamp.json in
    [ "$stderr" = 'fsm: the state of "lamp/x" is damaged: fsm forget x -m lamp' ]
    run -0 --separate-stderr fsm list
    [ "$stderr" = 'fsm: the state of "lamp/x" is damaged: fsm forget x -m lamp' ]
    run -74 fsm show x
    run -0 fsm forget x -m lamp
    run -0 fsm run lamp.json in
    [ "${#lines[@]}" -eq 2 ]
}

@test "fsm: wrong usage is 64, and a missing file or state 66" {
    lamp_machine
    run -64 fsm
    run -64 --separate-stderr fsm run
    [ "$stderr" = 'fsm: run wants a MACHINE, a file (see fsm run --help)' ]
    run -64 fsm check
    run -64 fsm dot lamp.json lamp.json
    run -64 fsm show
    run -64 fsm show ''
    run -64 fsm forget
    run -64 fsm list x
    run -64 fsm list -m ''
    run -78 fsm run none.json
    run -66 fsm show x
    run -66 fsm list
    run -73 --separate-stderr fsm run lamp.json --rejects none/there </dev/null
    [ "$stderr" = 'fsm: none/there: cannot open it: No such file or directory' ]
    spool_missing
}

# --- others, kills, full disks

@test "fsm: many at once on one subject contradict each other in nothing" {
    lamp_machine
    publish -t n -d 1 2>/dev/null
    for n in 1 2 3 4; do flips 60 x | sed "s/\"x\\./\"$n./" >"in.$n"; done
    for n in 1 2 3 4; do fsm run lamp.json "in.$n" >"out.$n" & done
    wait
    [ "$(states)" = 'lamp x off 240' ]
    [ "$(cat out.* | jq -r .type | sort | uniq -c | tr -s ' ' | paste -sd,)" = ' 120 lamp.off, 120 lamp.on' ]
}

@test "fsm: while it waits for input, earlier transitions are printed and kept, and the spool is free" {
    lamp_machine
    mkfifo feed
    background sh -c 'exec fsm run lamp.json <feed >out 2>/dev/null'
    exec 5>feed
    flips 1 x >&5
    printed() { grep -q lamp.on out; }
    wait_for printed
    [ "$(states)" = 'lamp x on 1' ]
    run -0 timeout 60 publish -t n -d 1
    event flip x.2 x >&5
    off() { grep -q lamp.off out; }
    wait_for off
    exec 5>&-
    wait "$pid"
    [ "$(states)" = 'lamp x off 2' ]
}

@test "fsm: a reader that does not read blocks no one else on the spool, and a kill then loses nothing" {
    lamp_machine
    for ((i = 1; i <= 900; i++)); do event flip "$i" "s-$i"; done >in
    fsm run -s other.db lamp.json in >expected 2>/dev/null
    mkfifo pipe
    background sh -c 'exec fsm run lamp.json in >pipe 2>/dev/null'
    exec 5<pipe
    kept() { [ "$(fsm list 2>/dev/null | wc -l)" -eq 900 ]; }
    wait_for kept
    run -0 timeout 60 publish -t n -d 1
    slay "$pid"
    exec 5<&-
    fsm run lamp.json in | cmp - expected
    [ "$(fsm list | jq .version | sort -u)" = 1 ]
}

@test "fsm: a reader that goes away ends it, and that is no error" {
    lamp_machine
    for ((i = 1; i <= 3000; i++)); do event flip "$i" "s-$i"; done >in
    run -0 bash -c 'set -o pipefail; fsm run lamp.json in 2>/dev/null | head -n 1 >out'
    [ "$(fsm list | wc -l)" -lt 3000 ]
}

@test "fsm: output that cannot be written is 74, and is printed whole the next time, also for one subject" {
    [ -e /dev/full ] || skip 'there is no /dev/full'
    lamp_machine
    flips 250 x >in
    fsm run -s other.db lamp.json in >expected 2>/dev/null
    run -74 --separate-stderr sh -c 'fsm run lamp.json in >/dev/full'
    [ "${stderr_lines[1]}" = 'fsm: cannot write to stdout: No space left on device' ]
    # No more of a subject are ahead of what was printed than are remembered.
    [ "$(states)" = 'lamp x off 100' ]
    fsm run lamp.json in | cmp - expected
    run -74 --separate-stderr fsm run lamp.json --rejects /dev/full <<<'{'
    [ "$stderr" = $'fsm: line 1: unfinished object at byte 2 (input ends)\nfsm: /dev/full: No space left on device' ]
}

orders() { # N: each with three events, and some with one that is refused
    local i
    for ((i = 1; i <= $1; i++)); do
        event order.placed "$i.1" "A-$i"
        [ $((i % 4)) -ne 0 ] || event parcel.sent "$i.x" "A-$i"
        event payment.made "$i.2" "A-$i" "{\"cents\":$((i * 20))}"
        event parcel.sent "$i.3" "A-$i"
    done
}

# through_machine [OPTION]...: what the group has yet to see
through_machine() {
    consume -g g -t order.placed -t payment.made -t parcel.sent --ordered --backoff 0 -a 100000 "$@" \
        --emit -- fsm run order.machine.json
}

@test "fsm: under consume --emit each transition is published once, and a refused event is a dead letter" {
    order_machine
    orders 8 | publish
    run -1 --separate-stderr through_machine --from start
    # Four pay too little, and stay open.
    [ "$(replay -t 'order.*' | jq -r 'select(.hops) | .type' | sort | uniq -c | tr -s ' ' | paste -sd,)" = ' 12 order.open, 4 order.paid, 4 order.shipped' ]
    [ "$(replay -t order.shipped --last 1 | jq -c '[.subject,.causationid,.hops,.data]')" = '["A-8","8.3",1,{"from":"paid","to":"shipped","event":"parcel.sent"}]' ]
    [ "$(dlq list -o ndjson | jq -r .id | paste -sd' ')" = '1.3 2.3 3.3 4.x 4.3 8.x' ]
    run -0 dlq show id:4.x -o ndjson
    [ "$(jq -r '.history[0].stderr' <<<"$output")" = 'fsm: line 1: "A-4" is in state "open", which does not accept parcel.sent "4.x"' ]
    # With the state and the group's place forgotten all is done again, and nothing is published twice.
    for n in 1 2 3 4 5 6 7 8; do fsm forget "A-$n"; done
    before=$(replay -t 'order.*' | wc -l)
    spool group drop g
    run -1 through_machine --from start
    [ "$(replay -t 'order.*' | wc -l)" -eq "$before" ]
}

@test "fsm: as a worker it answers each event, with the same outcome" {
    order_machine
    orders 30 >in
    publish -s one.db <in
    EVENT_SPOOL=one.db through_machine --from start 2>/dev/null || [ $? -eq 1 ]
    publish <in
    publish -t payment.made -d 1
    run -1 --separate-stderr consume -g g --from start --ordered --workers --emit -- fsm run --worker order.machine.json
    for spool in one.db "$EVENT_SPOOL"; do
        of=${spool##*/} of=${of##*#}
        replay -s "$spool" -t 'order.*' | jq -c 'select(.hops) | [.type,.id,.subject,.causationid,.hops,.data]' | sort >"$of.transitions"
        states -s "$spool" >"$of.states"
        dlq list -s "$spool" -o ndjson | jq -r 'select(.subject) | .id' | sort >"$of.dead"
    done
    cmp one.db.transitions "$of.transitions"
    cmp one.db.states "$of.states"
    cmp one.db.dead "$of.dead"
    [ "$(dlq show id:4.x -o ndjson | jq -r .reason)" = '"A-4" is in state "open", which does not accept parcel.sent "4.x"' ]
    [ "$(dlq list -o ndjson | jq -r 'select(.subject == null) | .reason')" = "payment.made \"$(replay --last 1000 -t payment.made | tail -n 1 | jq -r .id)\" has no \"subject\": whose state is it about?" ]
    run -65 --separate-stderr fsm run --worker order.machine.json <<<'{"type":"order.placed"}'
    [ "$stderr" = 'fsm: line 1: has no "id": events from the log have one' ]
    run -64 fsm run --worker order.machine.json in
    run -64 fsm run --worker --rejects rejects order.machine.json
}

@test "fsm: killed again and again under consume --emit, it ends as if it had never been killed" {
    order_machine
    orders 60 >in
    publish -s calm.db <in
    EVENT_SPOOL=calm.db through_machine --from start 2>/dev/null || [ $? -eq 1 ]
    publish -t n -d 1
    through_machine --from start --to 0
    killed=0
    rounds=$(long 60 100) # 60: an order each
    for ((round = 1; round <= rounds; round++)); do
        grep "\"A-$round\"" in | publish 2>/dev/null
        status=0
        { timeout -s KILL "0.0$((RANDOM % 19 + 10))" consume -g g -a 100000 --backoff 0 --ordered --emit -- \
            fsm run order.machine.json || status=$?; } 2>/dev/null
        [ "$status" -ne 137 ] || killed=$((killed + 1))
    done
    echo "killed $killed times"
    [ "$killed" -gt 0 ]
    through_machine 2>/dev/null || [ $? -eq 1 ]
    for spool in calm.db "$EVENT_SPOOL"; do
        of=${spool##*/} of=${of##*#}
        replay -s "$spool" -t 'order.*' | jq -c 'select(.hops) | [.type,.id,.subject,.causationid,.data]' | sort >"$of.transitions"
        states -s "$spool" >"$of.states"
        dlq list -s "$spool" -o ndjson | jq -r .id | sort >"$of.dead"
    done
    [ "$(wc -l <calm.db.transitions)" -eq 176 ]
    cmp calm.db.transitions "$of.transitions"
    cmp calm.db.states "$of.states"
    cmp calm.db.dead "$of.dead"
}

@test "fsm: killed again and again as a filter, it prints everything in the end, just as without kills" {
    lamp_machine
    for ((i = 1; i <= 3000; i++)); do event flip "$i" "s-$((i % 700))"; done >in
    fsm run -s calm.db lamp.json in >expected 2>/dev/null
    : >printed
    rounds=$(long 20 100)
    for ((round = 1; round <= rounds; round++)); do
        { timeout -s KILL "0.0$((RANDOM % 30 + 5))" fsm run lamp.json in >>printed || true; } 2>/dev/null
        echo >>printed # what was cut stays a line of its own
    done
    fsm run lamp.json in >>printed
    cmp <(states) <(states -s calm.db)
    tail -n 3000 printed | cmp - expected
    grep '}}$' printed | sort -u | cmp - <(sort expected)
}

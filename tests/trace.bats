load helper

# An order, its effects, and groups in different states:
#   1 order.placed o1, 2 invoice.sent under it, 3 order.checked under it
chain() {
    cat >in <<'END'
{"specversion":"1.0","id":"o1","source":"/s","type":"order.placed","subject":"order-1"}
{"specversion":"1.0","id":"i1","source":"/s","type":"invoice.sent","subject":"order-1","correlationid":"o1","causationid":"o1"}
{"specversion":"1.0","id":"c1","source":"/s","type":"order.checked","correlationid":"o1","causationid":"o1"}
END
    publish in
}

# drawn ARG...: the tree is in output, with ages and times masked.
drawn() {
    run -0 --separate-stderr trace -o tree "$@"
    [ -z "$stderr" ]
    output=$(masked)
}

masked() {
    sed -E 's/[0-9]{4}-[0-9-]+T[0-9:.]+Z, (in )?[0-9.]+(ms|s|[mhd]([0-9]+[smh])?)( ago)?/TIME/g; s/  [0-9]+[smhd]($|  )/\1/' \
        <<<"$output"
}

# why GROUP EVENT: the words are in output, with times masked.
why() {
    run -0 --separate-stderr trace -g "$1" "$2"
    [ -z "$stderr" ]
    output=$(jq -r 'select(.named) | .standing[].why' <<<"$output")
    output=$(masked)
}

# has FILTER EXPECTED ARG...: what jq makes of each event, in one line.
has() {
    local filter=$1 expected=$2
    shift 2
    run -0 --separate-stderr trace "$@"
    [ -z "$stderr" ]
    [ "$(jq -c "$filter" <<<"$output" | paste -sd ' ')" = "$expected" ] || {
        printf 'trace %s: %s\n' "$*" "$output" >&2
        return 1
    }
}

@test "trace: the tree has a line for each event, and its groups under it" {
    chain
    consume -g bill -t order.placed --from start --auto-ack >out
    consume -g print -t 'invoice.#' --from start -- sh -c 'echo; echo no paper >&2; exit 65' 2>err || [ $? -eq 1 ]
    drawn i1
    [ "$output" = "  1  order.placed  order-1
      bill: done
>   2  invoice.sent  order-1
        print: dead since TIME: exit status 65: no paper (1 attempt)
      4  sys.dead-lettered  print
          (no group's patterns match)
    3  order.checked  -
        (no group's patterns match)" ]
}

@test "trace: -v shows ids and the groups whose patterns do not match" {
    chain
    consume -g bill -t order.placed -t 'x.*' --from start -n 1 --auto-ack >out
    drawn -v c1
    [ "$output" = "  1  order.placed  order-1  o1
      bill: done
    2  invoice.sent  order-1  i1
        bill: filtered out (its patterns are 'order.placed', 'x.*')
>   3  order.checked  -  c1
        bill: filtered out (its patterns are 'order.placed', 'x.*')" ]
}

@test "trace: -g shows one group, and under the event that was asked for also that it does not match" {
    chain
    consume -g bill -t order.placed --from start --auto-ack >out
    consume -g audit --from start --auto-ack >out
    drawn -g bill i1
    [ "$output" = "  1  order.placed  order-1
      bill: done
>   2  invoice.sent  order-1
        bill: filtered out (its patterns are 'order.placed')
    3  order.checked  -" ]
    has '[.standing[].group]' '["bill"] ["bill"] ["bill"]' -g bill o1
}

@test "trace: without groups it reports that" {
    chain
    drawn 3 -n 1
    [ "$output" = "  1  order.placed  order-1
      (there are no groups)
>   3  order.checked  -
        (there are no groups)
  ... and more: -n 1 ends it here" ]
}

@test "trace: in a pipe it is NDJSON, an event a line, with every group" {
    chain
    consume -g bill -t order.placed --from start -n 1 --auto-ack >out
    run -0 --separate-stderr trace o1
    [ -z "$stderr" ]
    [ "$(jq -c 'del(.recorded)' <<<"$output")" = '{"seq":1,"id":"o1","source":"/s","type":"order.placed","subject":"order-1","depth":0,"cause":null,"cause_seq":null,"named":true,"loop":false,"damaged":false,"standing":[{"group":"bill","state":"done","why":"done","until":null,"attempts":0,"deaths":0,"reason":null,"pid":null,"claimed":null,"behind":null,"paused":false,"hold_until":null,"consumers":0}]}
{"seq":2,"id":"i1","source":"/s","type":"invoice.sent","subject":"order-1","depth":1,"cause":"o1","cause_seq":1,"named":false,"loop":false,"damaged":false,"standing":[{"group":"bill","state":"filtered","why":"filtered out (its patterns are '"'order.placed'"')","until":null,"attempts":0,"deaths":0,"reason":null,"pid":null,"claimed":null,"behind":null,"paused":false,"hold_until":null,"consumers":0}]}
{"seq":3,"id":"c1","source":"/s","type":"order.checked","subject":null,"depth":1,"cause":"o1","cause_seq":1,"named":false,"loop":false,"damaged":false,"standing":[{"group":"bill","state":"filtered","why":"filtered out (its patterns are '"'order.placed'"')","until":null,"attempts":0,"deaths":0,"reason":null,"pid":null,"claimed":null,"behind":null,"paused":false,"hold_until":null,"consumers":0}]}' ]
}

@test "trace: on a terminal it is a tree" {
    command -v script >/dev/null || skip 'no script(1) to make a terminal with'
    chain
    run -0 script -qec 'trace o1' /dev/null </dev/null
    [[ ${lines[0]} == '> 1  order.placed  order-1  '* ]]
    run -0 script -qec 'trace --graph' /dev/null </dev/null
    [[ ${lines[0]} == 'order.placed -> invoice.sent 1'* ]]
}

@test "trace: several events are several trees" {
    chain
    publish -t x --id x1 -d 1
    drawn x1 id:x1
    [ "$output" = "> 4  x  -
      (there are no groups)

> 4  x  -
      (there are no groups)" ]
}

# --- where a group stands

@test "trace: a waiting event shows until when, and what failed" {
    publish -t n -d 1
    consume -g g --from start --backoff 90d..90d -- sh -c 'echo oops >&2; echo no route >&2; exit 7' 2>err
    why g 1
    [ "$output" = 'waiting until TIME (attempt 1 failed: exit status 7: no route); no consumer is running' ]
    run -0 trace 1
    [[ $output =~ '"state":"waiting","why":"waiting until '(2[^,]*),.*'"until":"'(2[^\"]*)'","attempts":1' ]]
    [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ]
}

@test "trace: an event before its notbefore waits, whether the group has come to it or not" {
    publish -t n --delay 1h -d 1
    consume -g g --from start --auto-ack >out 2>err
    publish -t n --delay 1h -d 2
    why g 1
    [ "$output" = 'waiting until TIME; no consumer is running' ]
    why g 2
    [ "$output" = 'not yet reached (position 1 of 2), and not before TIME; no consumer is running' ]
}

@test "trace: a dead letter that was requeued is due, and its history is shown" {
    publish -t n -d 1
    consume -g g --from start -- sh -c 'exit 65' 2>err || [ $? -eq 1 ]
    has 'select(.named) | .standing[].state' '"dead"' 1
    dlq retry 1
    why g 1
    [ "$output" = 'due now (given back; it had failed: exit status 65); no consumer is running' ]
    consume -g g --auto-ack >out
    why g 1
    [ "$output" = 'done' ]
}

@test "trace: a live consumer has the event; a killed one had it, and the next takes it over" {
    publish -t n -d 1
    background consume -g g --from start -- sh -c 'touch held; exec sleep 60'
    wait_for test -e held
    why g 1
    [ "$output" = "in the hands of pid $pid since TIME" ]
    has '.standing[] | [.state, .pid, .consumers]' "[\"claimed\",$pid,1]" 1
    slay "$pid"
    why g 1
    [ "$output" = "its consumer died (pid $pid); the next one takes it over; no consumer is running" ]
    consume -g g -- true
    why g 1
    [ "$output" = 'done' ]
}

@test "trace: a retry that a consumer has claimed shows the attempt before" {
    publish -t n -d 1
    background consume -g g --from start --backoff 0 -- sh -c '[ -e once ] || { touch once; exit 3; }; touch held; exec sleep 60' 2>err
    wait_for test -e held
    why g 1
    [ "$output" = "in the hands of pid $pid since TIME (attempt 1 failed: exit status 3)" ]
}

@test "trace: an event that is not reached shows position and end, pause and hold" {
    seq 3 | publish -t n
    consume -g g --from start -n 1 --auto-ack >out
    why g 3
    [ "$output" = 'not yet reached (position 1 of 3); no consumer is running' ]
    spool group pause g
    why g 1
    [ "$output" = 'done' ]
    why g 2
    [ "$output" = 'not yet reached (position 1 of 4); the group is paused; no consumer is running' ]
    spool group resume g
    consume -g g --backoff 90d..90d -- sh -c 'exit 69' 2>err || [ $? -eq 75 ]
    why g 3
    [[ $output == *'; the group is on hold until TIME; no consumer is running' ]]
}

@test "trace: an event before the group's beginning is not done; one that it was given is" {
    seq 3 | publish -t n
    consume -g later --from 3 --auto-ack >out
    consume -g all --from start --auto-ack >out
    publish -t n --priority 1 -d 4
    consume -g later --auto-ack >out
    consume -g all --auto-ack >out
    why later 2
    [ "$output" = "before the group's beginning" ]
    why later 3
    [ "$output" = 'done' ]
    why later 4
    [ "$output" = 'done' ]
    why all 1
    [ "$output" = 'done' ]
    why all 4
    [ "$output" = 'done' ]
}

@test "trace: it reports when the beginning of a group is no longer known" {
    for priority in 0 1 2 3 4 5 6 7 8 9; do
        publish -t n --priority $priority -d 1
    done
    consume -g g --from start --auto-ack >out
    consume -g ordered --ordered --from 5 -- true
    why g 1
    [ "$output" = 'done, unless the group began behind it' ]
    why g 2
    [ "$output" = 'done' ]
    why ordered 4
    [ "$output" = 'done, unless the group began behind it' ]
    # What is younger than a group was not before it.
    publish -t n -d 2
    consume -g ordered -- true
    why ordered 11
    [ "$output" = 'done' ]
}

@test "trace: an expired event is passed over, and trace reports it before and after" {
    chain
    printf '%s\n' '{"type":"n","expirytime":"2001-01-01T00:00:00Z","id":"x"}' | publish
    consume -g g --from start -n 1 --auto-ack >out
    why g x
    [ "$output" = 'expired at TIME' ]
    consume -g g --auto-ack >out
    why g x
    [ "$output" = 'passed over: it expired at TIME' ]
}

@test "trace: an event behind another of its subject names that one" {
    printf '{"type":"n","subject":"%s"}\n' k j k k | publish
    consume -g g --ordered --from start -n 1 --backoff 90d..90d -- sh -c 'exit 7' 2>err
    consume -g g -- true 2>err
    why g 4
    [ "$output" = 'behind seq 1 of its subject, which waits until TIME; no consumer is running' ]
    has '.standing[] | [.state, .behind]' '["behind",1]' 3
    has '.standing[] | [.state, .behind]' '["passed",null]' 2
    consume -g now --ordered --from start --backoff 0 -a 1 -- sh -c 'exit 7' 2>err || [ $? -eq 1 ]
    why now 3
    [ "$output" = 'dead since TIME: exit status 7 (1 attempt)' ]
}

@test "trace: an event handed out over a pipe shows until when" {
    seq 2 | publish -t n
    consume -g g --from start -n 1 --lease 10m >out
    why g 1
    [ "$output" = 'handed out over a pipe, to be settled until TIME' ]
    run -0 trace 1
    [[ $output =~ '"state":"leased","why":"handed out over a pipe, to be settled until '[^,]*', in '(9m[0-9s]*|10m)'",' ]]
    settle -g g out
    why g 1
    [ "$output" = 'done' ]
    consume -g g -n 1 --lease 1ms >out
    over() {
        why g 2
        [ "$output" = 'handed out over a pipe and not settled in time; no consumer is running' ]
    }
    wait_for over
    consume -g g --lease 10m >out
    why g 2
    [ "$output" = 'handed out over a pipe, to be settled until TIME (attempt 1 failed: its lease ran out)' ]
}

@test "trace: a damaged event is shown as such, ahead and dead" {
    publish -t n -d 1
    publish -t n -d 2
    consume -g g --from start -n 1 --auto-ack >out
    edit_line 2 specversion specvErsion
    drawn 2
    [ "$output" = "> 2  n  -  (damaged in the spool)
      g: not yet reached (position 1 of 2), and will be a dead letter: it is damaged; no consumer is running" ]
    consume -g g --auto-ack 2>err >out || [ $? -eq 74 ]
    why g 2
    [ "$output" = 'dead since TIME: damaged in the spool' ]
}

# --- the tree

@test "trace: an event whose cause is not in the log is shown under the cause's name" {
    printf '%s\n' '{"type":"n","id":"b","correlationid":"a","causationid":"a"}' \
        '{"type":"n","id":"c","correlationid":"a","causationid":"b"}' | publish
    drawn c
    [ "$output" = "  (cause a is not here)
    1  n  -
        (there are no groups)
>     2  n  -
          (there are no groups)" ]
    has '[.seq, .depth, .cause, .cause_seq]' '[1,1,"a",null] [2,2,"b",1]' c
}

@test "trace: a cause of another correlation is named with its position" {
    publish -t n --id a -d 1
    printf '%s\n' '{"type":"n","id":"b","correlationid":"other","causationid":"a"}' | publish
    drawn b
    [ "$output" = "  (cause a is of another correlation: seq 1)
>   2  n  -
        (there are no groups)" ]
    has '[.cause, .cause_seq]' '["a",1]' b
}

@test "trace: a circle of causes ends, and is marked" {
    for pair in 'a b' 'b a' 'c b' 'd d'; do
        read -r id cause <<<"$pair"
        echo "{\"specversion\":\"1.0\",\"id\":\"$id\",\"source\":\"/s\",\"type\":\"n\",\"correlationid\":\"r\",\"causationid\":\"$cause\"}"
    done | publish
    drawn c
    [ "$(grep -v groups <<<"$output")" = "  1  n  -  (a loop: its cause is seq 2)
    2  n  -
>     3  n  -
  4  n  -  (a loop: its cause is seq 4)" ]
    has '[.seq, .loop, .cause_seq]' '[1,true,2] [2,false,1] [3,false,2] [4,true,4]' c
}

@test "trace: effects before their cause are found with --from start" {
    printf '%s\n' '{"type":"n","id":"b","correlationid":"a","causationid":"a"}' \
        '{"type":"n","id":"a","correlationid":"a"}' '{"type":"n","id":"c","correlationid":"a","causationid":"a"}' | publish
    has .seq '2 3' c
    has .seq '2 1 3' b
    has .seq '2 1 3' c --from start
}

@test "trace: --from and --to bound the search, and causes are found all the same" {
    chain
    printf '%s\n' '{"type":"n","id":"n4","correlationid":"o1","causationid":"i1"}' \
        '{"type":"n","id":"n5","correlationid":"o1","causationid":"n4"}' | publish
    has .seq '1 2 4' n4 --from 4 --to 4
    has .seq '1 2 3' o1 --to 3
    has .seq '1' o1 --to start
}

@test "trace: ids that are spelled with escapes are the same ids" {
    printf '%s\n' '{"specversion":"1.0","id":"a\u0062","source":"/s","type":"n"}' \
        '{"specversion":"1.0","id":"c","source":"/s","type":"n","correlationid":"\u0061b","causationid":"ab"}' | publish
    has '[.seq, .depth]' '[1,0] [2,1]' ab
}

@test "trace: other correlations stay out, also when they mention the id" {
    chain
    publish -t n -d '"o1"'
    has .seq '1 2 3' 1
}

@test "trace: where sources share an id, the last one before the effect is the cause" {
    for source in /a /b /c; do
        [ "$source" != /c ] ||
            echo '{"specversion":"1.0","id":"e","source":"/s","type":"n","correlationid":"r","causationid":"x"}'
        echo "{\"specversion\":\"1.0\",\"id\":\"x\",\"source\":\"$source\",\"type\":\"n\",\"correlationid\":\"r\"}"
    done | publish
    has '[.seq, .cause_seq]' '[1,null] [2,null] [3,2] [4,null]' e
}

@test "trace: -n bounds the tree and keeps the event that was asked for" {
    chain
    has .seq '1 2' o1 -n 2
    has .seq '1 3' c1 -n 2
    has .seq '1 2 3' o1 -n 3
    run -0 trace o1 -n 3 -o tree
    [[ $output != *more* ]]
    run -0 trace o1 -n 2 -o tree
    [ "${lines[-1]}" = '  ... and more: -n 2 ends it here' ]
}

# --- the graph

# Two turns of a cycle, and a way out of it.
flow() {
    publish -t order.placed --id 1a -d 1
    printf '{"type":"%s","id":"%s","correlationid":"1a","causationid":"%s"}\n' \
        order.paid 1b 1a order.placed 1c 1b order.paid 1d 1c parcel.sent 1e 1b n 1f gone | publish
    publish -t n --id 2a -d 1
    printf '{"type":"order.placed","id":"2b","correlationid":"2a","causationid":"2a"}\n' | publish
}

@test "trace: --graph counts which types lead to which, and marks cycles" {
    flow
    run -0 --separate-stderr trace --graph -o text
    [ -z "$stderr" ]
    [ "$output" = 'n -> order.placed 1
order.paid -> order.placed 1 (cycle)
order.paid -> parcel.sent 1
order.placed -> order.paid 2 (cycle)' ]
    run -0 trace --graph
    [ "${lines[1]}" = '{"from":"order.paid","to":"order.placed","count":1,"cycle":true}' ]
    [ "${#lines[@]}" -eq 4 ]
}

@test "trace: --graph of an event shows its tree" {
    flow
    run -0 trace --graph -o text id:1e
    [ "$output" = 'order.paid -> order.placed 1 (cycle)
order.paid -> parcel.sent 1
order.placed -> order.paid 2 (cycle)' ]
    run -0 trace --graph -o text id:1e id:2a
    [ "${lines[0]}" = 'n -> order.placed 1' ]
}

@test "trace: --graph shows a part of the log, and of the types" {
    flow
    run -0 trace --graph -o text --from 4
    [ "$output" = 'n -> order.placed 1
order.paid -> parcel.sent 1
order.placed -> order.paid 1' ]
    run -0 trace --graph -o text --to 2
    [ "$output" = 'order.placed -> order.paid 1' ]
    run -0 trace --graph -o text --to start
    [ -z "$output" ]
    run -0 trace --graph -o text -t n -t 'parcel.*'
    [ "$output" = 'n -> order.placed 1
order.paid -> parcel.sent 1' ]
    run -0 trace --graph -o text -t n id:1e
    [ -z "$output" ]
}

@test "trace: --graph -o dot can be read by graphviz" {
    flow
    run -0 trace --graph -o dot -t 'order.*' id:1a
    [ "$output" = 'digraph flow {
    "order.paid" -> "order.placed" [label=1, color=red];
    "order.paid" -> "parcel.sent" [label=1];
    "order.placed" -> "order.paid" [label=2, color=red];
}' ]
}

@test "trace: nothing from an event controls the terminal" {
    printf '%s\n' '{"type":"n\u202e","id":"a\u2066","subject":"k\u200f","correlationid":"c","causationid":"x\u2066"}' | publish
    consume -g g --from start -- sh -c "printf '\033[31m red \302\233' >&2; exit 65" 2>err || [ $? -eq 1 ]
    drawn -v 1
    [ "${lines[0]}" = '  (cause x\u2066 is not here)' ]
    [[ ${lines[1]} == '>   1  n\u202e  k\u200f  '*'  a\u2066' ]]
    [[ ${lines[2]} == *': exit status 65: \x1b[31m red \u009b (1 attempt)' ]]
    run -0 trace --graph -o text
    [ "$output" = 'n\u202e -> sys.dead-lettered 1' ]
}

# --- what cannot be

@test "trace: an unknown event, group or spool is 66" {
    run -66 --separate-stderr trace 1
    [ "$stderr" = "trace: $EVENT_SPOOL: there is no spool; publish creates one, -s or EVENT_SPOOL names another" ]
    chain
    run -66 --separate-stderr trace 9
    [ "$stderr" = "trace: no event at position 9 in $EVENT_SPOOL" ]
    run -66 --separate-stderr trace nobody
    [ "$stderr" = "trace: no event with id \"nobody\" in $EVENT_SPOOL" ]
    consume -g bill --from start --auto-ack >out
    run -66 --separate-stderr trace -g bil o1
    [ -z "$output" ]
    [ "$stderr" = "trace: there is no group \"bil\" in $EVENT_SPOOL; did you mean \"bill\"?" ]
}

@test "trace: a pruned position is distinguished from one that never existed" {
    chain
    sql 'DELETE FROM event WHERE seq<3'
    run -66 --separate-stderr trace 2
    [ "$stderr" = "trace: the event at position 2 was pruned from $EVENT_SPOOL" ]
    run -66 --separate-stderr trace 4
    [ "$stderr" = "trace: no event at position 4 in $EVENT_SPOOL" ]
    drawn 3
    [ "$output" = "  (cause o1 is not here)
>   3  order.checked  -
        (there are no groups)" ]
}

@test "trace: an id of several sources is 65, and names their positions" {
    printf '{"specversion":"1.0","id":"x","source":"/%s","type":"n"}\n' a b | publish
    run -65 --separate-stderr trace x
    [ "$stderr" = 'trace: id "x" matches events of several sources: name one by its position, 1, 2' ]
}

@test "trace: options that do not go together are 64" {
    for args in '' '-t n 1' '--graph -g g' '--graph -v' '--graph -n 1' '-o dot 1' '-o text 1' '--graph -o tree'; do
        # shellcheck disable=SC2086
        run -64 --separate-stderr trace $args
        [[ $stderr == 'trace: '*' (see trace --help)' ]]
    done
}

@test "trace: it changes nothing" {
    chain
    consume -g bill --from start -n 1 --auto-ack >out
    spool group >before
    trace o1 >out
    trace --graph >out
    spool group | cmp before
}

@test "trace: a reader that goes away is no error" {
    seq 2000 | publish -t n --source /s
    run -0 bash -c 'set -o pipefail; trace --graph | head -n 0; trace 5 | head -n 0'
    [ -z "$output" ]
}

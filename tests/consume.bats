load helper

# A process that a handler leaves running has its pid in a file NAME.pid.
teardown() {
    local file
    for file in "$BATS_TEST_TMPDIR"/*.pid; do
        [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
    helper_teardown
}

# events N [TYPE]: publish N events with ids e1, e2 …, subjects s1, s2 … and data 1, 2 …
events() {
    seq "$1" | sed 's/.*/{"type":"'"${2:-n}"'","id":"e&","subject":"s&","data":&}/' | publish
}

# Open a latch that somebody waits at with: read x <LATCH
let_go() {
    timeout 60 sh -c 'echo >"$1"' sh "$1"
}

# A line for each delivery: position and attempt.
show='echo "$EVENT_SEQ $EVENT_ATTEMPT"'

# --- what is delivered

@test "consume: a handler gets each event of the group, in order, once" {
    events 3
    run -0 --separate-stderr consume -g g --from start -- sh -c "$show"
    [ "$output" = $'1 1\n2 1\n3 1' ]
    [ -z "$stderr" ]
    run -0 --separate-stderr consume -g g -- sh -c "$show"
    [ -z "$output$stderr" ]
}

@test "consume: the event is on the handler's stdin, byte for byte, with its newline" {
    printf '%s\n' '{"specversion":"1.0", "id":"a", "source":"/s","type":"n","data":[1.0,1e400, "\u00e9é"]}' >in
    publish in
    run -0 consume -g g --from start -- sh -c 'cat >got'
    cmp in got
}

@test "consume: an event of a megabyte reaches the handler whole" {
    printf '"%01000000d"\n' 0 >in
    publish -t n in
    run -0 consume -g g --from start -- sh -c 'cat >got'
    replay >want
    cmp want got
    [ "$(wc -c <got)" -gt 1000000 ]
}

@test "consume: every group sees every event" {
    events 3
    run -0 consume -g one --from start -- sh -c "$show"
    [ "$output" = $'1 1\n2 1\n3 1' ]
    run -0 consume -g two --from start -- sh -c "$show"
    [ "$output" = $'1 1\n2 1\n3 1' ]
}

@test "consume: two consumers of a group share its events, each goes to one of them" {
    events 10
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo $EVENT_SEQ >>started; [ $EVENT_SEQ != 1 ] ||
        read x <latch; echo $EVENT_SEQ' >first
    wait_for has_lines started 1
    run -0 --separate-stderr consume -g g -- sh -c 'echo $EVENT_SEQ'
    printf '%s\n' "$output" >second
    [[ $stderr =~ ^'consume: group "g": '[12]' in the hands of other consumers'$ ]]
    let_go latch
    ends_with 0 "$pid"
    [ "$(sort -n first second)" = "$(seq 10)" ]
    group_is g 0 0 0 0
}

@test "consume: --from now skips existing events, and delivers new ones" {
    events 2
    run -0 --separate-stderr consume -g g --from now -- sh -c "$show"
    [ -z "$output$stderr" ]
    publish -t n -d 1
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = '3 1' ]
}

@test "consume: --from takes a position" {
    events 4
    run -0 consume -g g --from 3 -- sh -c "$show"
    [ "$output" = $'3 1\n4 1' ]
}

@test "consume: --from takes a time" {
    events 2
    run -0 consume -g hour --from 1h -- sh -c "$show"
    [ "$output" = $'1 1\n2 1' ]
    run -0 consume -g later --from 2999-01-01 -- sh -c "$show"
    [ -z "$output" ]
    publish -t n -d 1
    run -0 consume -g later -- sh -c "$show"
    [ "$output" = '3 1' ]
}

@test "consume: --from is ignored for a group that exists" {
    events 2
    consume -g g --from start -- true
    run -0 --separate-stderr consume -g g --from start -- sh -c "$show"
    [ -z "$output$stderr" ]
}

@test "consume: --to includes a position, and the rest stays for later" {
    events 4
    run -0 consume -g g --from start --to 2 -- sh -c "$show"
    [ "$output" = $'1 1\n2 1' ]
    group_is g 2 0 0 0
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'3 1\n4 1' ]
}

@test "consume: -f --to with a future time follows until then" {
    publish -t x -d 1
    for how in '-- cat' '--auto-ack'; do
        background sh -c "exec consume -g 'g$how' --from start -f --to 2999-01-01T00:00:00Z $how >out"
        wait_for test -s out
        publish -t x -d 2
        wait_for grep -q '"data":2' out
        kill "$pid"
        wait "$pid"
        # shellcheck disable=SC2086 # words
        run -0 consume -g "h$how" --from start -f --to "$(date -u -d '+1 second' +%Y-%m-%dT%H:%M:%SZ)" $how
        [ "$output" = "$(replay)" ]
    done
}

@test "consume: --to excludes a time" {
    events 2
    run -0 --separate-stderr consume -g g --from start --to 1h -- sh -c "$show"
    [ -z "$output$stderr" ]
    group_is g 2 0 0 0
    run -0 consume -g g --to now -- sh -c "$show"
    [ "$output" = $'1 1\n2 1' ]
}

@test "consume: events published while it runs are left for the next run" {
    events 2
    run -0 consume -g g --from start -- sh -c 'publish -t more -d 1; echo $EVENT_SEQ'
    [ "$output" = $'1\n2' ]
    group_is g 2 0 0 0
}

@test "consume: -n ends it after N events" {
    events 5
    run -0 --separate-stderr consume -g g --from start -n 2 -- sh -c "$show"
    [ "$output" = $'1 1\n2 1' ]
    [ -z "$stderr" ]
    group_is g 3 0 0 0
    run -0 consume -g g -n 2 -j 8 -- sh -c "$show"
    [ "${#lines[@]}" -eq 2 ]
    group_is g 1 0 0 0
}

@test "consume: -n counts a failed attempt" {
    events 3
    run -0 consume -g g --from start -n 2 --backoff 100d -- false
    group_is g 3 2 0 0
}

@test "consume: -f delivers what is published later" {
    events 1
    background consume -g g --from start -f -- sh -c "$show" >out
    wait_for has_lines out 1
    publish -t n -d 2
    wait_for has_lines out 2
    publish -t n -d 3
    wait_for has_lines out 3
    kill -TERM "$pid"
    ends_with 0 "$pid"
    [ "$(cat out)" = $'1 1\n2 1\n3 1' ]
}

@test "consume: -f with -n ends after N events" {
    background consume -g g --from start -f -n 2 -- sh -c "$show" >out
    wait_for spool group show g
    events 3
    ends_with 0 "$pid"
    [ "$(cat out)" = $'1 1\n2 1' ]
    group_is g 1 0 0 0
}

@test "consume: -f retries events that have become due, without a new event" {
    events 1
    background consume -g g --from start -f --backoff 0 -n 3 -- sh -c "$show"'; [ $EVENT_ATTEMPT = 3 ]' >out
    ends_with 0 "$pid"
    [ "$(cat out)" = '1 3' ]
}

@test "consume: a group takes the types that match its patterns, also later" {
    printf '{"type":"%s","data":1}\n' order.placed order.line.added payment.made order stock.low | publish
    run -0 consume -g g -t 'order.*' -t payment.made --from start -- printenv EVENT_TYPE
    [ "$output" = $'order.placed\npayment.made' ]
    run -0 consume -g h -t 'order.#' --from start -- printenv EVENT_TYPE
    [ "$output" = $'order.placed\norder.line.added\norder' ]
    printf '{"type":"%s","data":1}\n' order.paid stock.low | publish
    run -0 consume -g g -- printenv EVENT_TYPE
    [ "$output" = order.paid ]
    run -0 consume -g g -t payment.made -t 'order.*' -- true # the same, in another order
}

@test "consume: other patterns for a group that exists are refused, and it stays as it is" {
    events 1 order.placed
    consume -g g -t 'order.*' --from start --to 0 -- true
    run -64 --separate-stderr consume -g g -t payment.made -- sh -c "$show"
    [ -z "$output" ]
    [ "$stderr" = "consume: group \"g\" exists with other patterns (-t 'order.*'): leave out -t, or take another name" ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = '1 1' ]
}

@test "consume: an unknown group is 66 and names the nearest one, so that a typo resends nothing" {
    events 1
    consume -g email --from start -- true
    consume -g charge --from start -- true
    run -66 --separate-stderr consume -g emial -- sh -c "$show"
    [ -z "$output" ]
    [ "$stderr" = "consume: there is no group \"emial\" in $EVENT_SPOOL; did you mean \"email\"? (--from creates one)" ]
    run -66 --separate-stderr consume -g xyzzyxyzzy -- sh -c "$show"
    [ "$stderr" = "consume: there is no group \"xyzzyxyzzy\" in $EVENT_SPOOL (--from creates one)" ]
}

@test "consume: with --from a missing spool is created, with a note" {
    run -0 --separate-stderr consume -g g --from start -- true
    [ "$stderr" = "consume: created the spool $EVENT_SPOOL" ]
    [ "$ENGINE" != sqlite ] || [ "$(stat -c %a "$EVENT_SPOOL")" = 600 ]
    group_is g 0 0 0 0
}

@test "consume: without --from a missing spool is 66" {
    run -66 --separate-stderr consume -g g -- true
    [ "$stderr" = "consume: $EVENT_SPOOL: there is no spool; publish creates one, -s or EVENT_SPOOL names another" ]
    [ ! -e "$EVENT_SPOOL" ]
}

@test "consume: a paused group is 75 and delivers nothing until it is resumed" {
    events 1
    consume -g g --from start --to 0 -- true
    spool group pause g
    run -75 --separate-stderr consume -g g -- sh -c "$show"
    [ -z "$output" ]
    [ "$stderr" = 'consume: group "g" is paused (spool group resume g)' ]
    run -75 consume -g g --auto-ack
    [ "$output" = 'consume: group "g" is paused (spool group resume g)' ]
    spool group resume g
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = '1 1' ]
}

@test "consume: pausing a group stops the consumer that follows it, resuming lets it go on" {
    events 1
    background consume -g g --from start -f -- sh -c "$show" >out
    wait_for has_lines out 1
    spool group pause g
    publish -t n -d 2
    run -75 consume -g g -- sh -c "$show"
    has_lines out 1
    spool group resume g
    wait_for has_lines out 2
}

@test "consume: --dry-run prints the events that would come and changes nothing" {
    events 3
    replay >all
    run -0 --separate-stderr consume -g g --from 2 --dry-run
    [ "$output" = "$(tail -n +2 all)" ]
    [ -z "$stderr" ]
    run -0 spool group
    [ -z "$output" ]

    consume -g g --from start -n 1 -- true
    run -0 spool group show g
    before=$output
    run -0 consume -g g --dry-run -- touch ran
    [ "$output" = "$(tail -n +2 all)" ]
    run -0 consume -g g --dry-run -n 1
    [ "$output" = "$(sed -n 2p all)" ]
    run -0 consume -g g --dry-run --to 2
    [ "$output" = "$(sed -n 2p all)" ]
    run -0 spool group show g
    [ "$output" = "$before" ]
    [ ! -e ran ]
    run -66 --separate-stderr consume -g nowhere --dry-run
    [ -z "$output" ]
}

# --- what a handler's status means

@test "consume: 65 makes a dead letter at once" {
    events 2
    run -1 --separate-stderr consume -g g --from start -- sh -c 'exit 65'
    [ -z "$output" ]
    [ "${stderr_lines[0]}" = 'consume: seq 1 n "e1": exit status 65, attempt 1: dead letter' ]
    [ "${stderr_lines[1]}" = 'consume: seq 2 n "e2": exit status 65, attempt 1: dead letter' ]
    [ "${stderr_lines[2]}" = 'consume: group "g": 2 new dead letters (dlq list -g g)' ]
    [ "${#stderr_lines[@]}" -eq 3 ]
    group_is g 0 0 0 2
}

@test "consume: any other status is retried, and after -a attempts the event is a dead letter" {
    events 2
    run -1 --separate-stderr consume -g g --from start -a 3 --backoff 0 -- sh -c 'echo $EVENT_SEQ $EVENT_ATTEMPT >>ran; exit 5'
    [ -z "$output" ]
    [ "$(sort ran)" = $'1 1\n1 2\n1 3\n2 1\n2 2\n2 3' ]
    [ "$(printf '%s\n' "${stderr_lines[@]}" | sort)" = 'consume: group "g": 2 new dead letters (dlq list -g g)
consume: seq 1 n "e1": exit status 5, attempt 1: again at once
consume: seq 1 n "e1": exit status 5, attempt 2: again at once
consume: seq 1 n "e1": exit status 5, attempt 3: dead letter
consume: seq 2 n "e2": exit status 5, attempt 1: again at once
consume: seq 2 n "e2": exit status 5, attempt 2: again at once
consume: seq 2 n "e2": exit status 5, attempt 3: dead letter' ]
}

@test "consume: by default an event has twelve attempts" {
    events 1
    run -1 consume -g g --from start --backoff 0 -- sh -c 'echo $EVENT_ATTEMPT >>ran; exit 1'
    [ "$(cat ran)" = "$(seq 12)" ]
}

@test "consume: a retry that succeeds makes no dead letter and leaves nothing behind" {
    events 1
    run -0 --separate-stderr consume -g g --from start --backoff 0 -- sh -c "$show"'; [ $EVENT_ATTEMPT = 3 ]'
    [ "$output" = '1 3' ]
    group_is g 0 0 0 0
    run -0 dlq list
    [ -z "$output" ]
}

@test "consume: events due later are counted, not waited for" {
    events 2
    run -0 --separate-stderr consume -g g --from start --backoff 100d -- false
    [[ ${stderr_lines[0]} =~ ^'consume: seq 1 n "e1": exit status 1, attempt 1: again in '[0-9]+d([0-9]+h)?$ ]]
    [[ ${stderr_lines[2]} =~ ^'consume: group "g": 2 waiting, the next until '20.*Z$ ]]
    group_is g 2 2 0 0
    run -0 --separate-stderr consume -g g -- sh -c "$show"
    [ -z "$output" ]
    [[ $stderr =~ ^'consume: group "g": 2 waiting, the next until '20.*Z$ ]]
}

@test "consume: while an event waits for its retry, later ones are delivered" {
    events 3
    run -0 consume -g g --from start --backoff 100d -- sh -c '[ $EVENT_SEQ != 1 ] && echo $EVENT_SEQ >>ran'
    [ "$(cat ran)" = $'2\n3' ]
    group_is g 1 1 0 0
}

@test "consume: every status means what the table says" {
    seq 255 | grep -vxE '69|78' | sed 's/.*/{"type":"n","subject":"&"}/' | publish
    run -1 consume -g retry --from start -j 4 --backoff 100d -- sh -c 'exit "$EVENT_SUBJECT"'
    group_is retry 252 252 0 1
    run -0 --separate-stderr dlq list -g retry
    [ "$(jq -c '[.subject,.status,.attempts]' <<<"$output")" = '["65",65,1]' ]

    run -1 consume -g once --from start -j 4 -a 1 -- sh -c 'exit "$EVENT_SUBJECT"'
    run -0 --separate-stderr dlq list -g once
    [ "$(jq -r 'select(.subject == "\(.status)" and .reason == "exit status \(.status)").status' <<<"$output")" = \
        "$(seq 255 | grep -vxE "69|78")" ]
}

@test "consume: a signal is a failed attempt, and the dead letter names it" {
    ulimit -c 0
    printf '{"type":"n","subject":"%s"}\n' HUP INT QUIT ABRT KILL USR1 SEGV PIPE ALRM TERM | publish
    run -1 consume -g g --from start -a 1 -- sh -c 'kill -$EVENT_SUBJECT $$; exec sleep 60'
    run -0 --separate-stderr dlq list -g g
    [ "$(jq -r '"\(.subject) \(.status) \(.reason | sub(" \\(.*"; ""))"' <<<"$output")" = 'HUP 129 killed by signal 1
INT 130 killed by signal 2
QUIT 131 killed by signal 3
ABRT 134 killed by signal 6
KILL 137 killed by signal 9
USR1 138 killed by signal 10
SEGV 139 killed by signal 11
PIPE 141 killed by signal 13
ALRM 142 killed by signal 14
TERM 143 killed by signal 15' ]
    [ "$(jq -r 'select(.subject == "KILL").reason' <<<"$output")" = 'killed by signal 9 (Killed)' ]
}

@test "consume: --dead-on sets the statuses that make a dead letter at once, and 65 no longer does" {
    printf '{"type":"n","subject":"%s"}\n' 3 4 65 | publish
    run -1 consume -g g --from start --dead-on 3,4 --backoff 100d -- sh -c 'exit $EVENT_SUBJECT'
    run -0 --separate-stderr dlq list
    [ "$(jq -r .subject <<<"$output")" = $'3\n4' ]
    group_is g 1 1 0 2
}

@test "consume: --defer-on sets the statuses that put the group on hold, and 69 no longer does" {
    printf '{"type":"n","subject":"%s"}\n' 69 75 | publish
    run -75 consume -g g --from start --defer-on 75 --backoff 100d -- sh -c 'exit $EVENT_SUBJECT'
    run -0 --separate-stderr spool group show g
    [ "$(jq -r .state <<<"$output")" = 'on hold' ]
    spool group resume g
    run -0 --separate-stderr consume -g g -- sh -c "$show"
    [ "$output" = '2 1' ] # the other one made an attempt, and waits
}

@test "consume: 69 puts the group on hold: no attempt is counted and no other event is tried" {
    events 3
    run -75 --separate-stderr consume -g g --from start -a 1 --backoff 100d -- sh -c 'echo $EVENT_SEQ >>ran; exit 69'
    [ -z "$output" ]
    [ "$(cat ran)" = 1 ]
    until=${stderr##* }
    [ "$stderr" = "consume: seq 1 n \"e1\": exit status 69: group \"g\" is on hold until $until" ]
    run -0 --separate-stderr spool group show g
    [ "$(jq -r '"\(.state) \(.hold_until) \(.lag) \(.in_flight) \(.dead)"' <<<"$output")" = "on hold $until 3 0 0" ]

    run -75 --separate-stderr consume -g g -- sh -c "$show"
    [ -z "$output" ]
    [ "$stderr" = "consume: group \"g\" is on hold until $until" ]
    run -0 spool group resume g
    [ "$output" = 'group g resumed' ]
    run -0 --separate-stderr consume -g g -- sh -c "$show"
    [ "$output" = $'1 1\n2 1\n3 1' ]
}

@test "consume: handlers that run when the hold begins are still counted" {
    events 2
    mkfifo latch
    run -75 consume -g g --from start -j 2 --backoff 100d -- sh -c '
        if [ $EVENT_SEQ = 1 ]; then echo >latch; exit 69; fi; read x <latch; echo $EVENT_SEQ >>ran'
    [ "$(cat ran)" = 2 ]
    group_is g 1 1 0 0
}

@test "consume: a consumer that follows waits while the group is on hold" {
    events 2
    background consume -g g --from start -f -n 2 --backoff 100d -- sh -c "[ -e up ] || exit 69; $show" >out
    on_hold() { [ "$(spool group show g -o ndjson | jq -r .state)" = 'on hold' ]; }
    wait_for on_hold
    touch up
    spool group resume g
    ends_with 0 "$pid"
    [ "$(cat out)" = $'1 1\n2 1' ]
}

@test "consume: a missing handler is 127, before anything is claimed" {
    events 2
    consume -g g --from start --to 0 -- true
    run -127 --separate-stderr consume -g g -- ./missing
    [ "$stderr" = 'consume: cannot run "./missing": not found' ]
    PATH=$BUILD/bin:/usr/bin:/bin # a folder in PATH that we may not search would make it 126
    run -127 --separate-stderr consume -g g -- no-such-command-anywhere
    [ "$stderr" = 'consume: cannot run "no-such-command-anywhere": not found' ]
    group_is g 2 0 0 0
    run -127 consume -g new --from start -- ./missing
    run -66 spool group show new
}

@test "consume: a handler that is not executable is 126, before anything is claimed" {
    events 2
    echo 'echo hello' >plain
    consume -g g --from start --to 0 -- true
    run -126 --separate-stderr consume -g g -- ./plain
    [ "$stderr" = 'consume: cannot run "./plain": Permission denied' ]
    group_is g 2 0 0 0
}

@test "consume: when a handler cannot be started, claimed events are returned and no attempt is counted" {
    events 3
    mkdir folder
    printf '#!/no/such/interpreter\n' >script
    chmod +x script
    run -126 --separate-stderr consume -g g --from start -j 2 -a 1 -- ./folder
    [ "$stderr" = 'consume: cannot run "./folder": Permission denied' ]
    run -127 --separate-stderr consume -g g -j 2 -a 1 -- ./script
    [ "$stderr" = 'consume: cannot run "./script": not found' ]
    run -0 --separate-stderr spool group show g
    [ "$(jq -c '[.lag,.in_flight,.dead,.consumers]' <<<"$output")" = '[3,0,0,0]' ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'1 1\n2 1\n3 1' ]
}

@test "consume: a handler that vanishes while consume works stops it, and the rest is returned" {
    events 3
    printf '#!/bin/sh\nrm -- "$0"\necho "$EVENT_SEQ"\n' >h
    chmod +x h
    run -127 --separate-stderr consume -g g --from start -a 1 -- ./h
    [ "$output" = 1 ]
    [ "$stderr" = 'consume: cannot run "./h": not found' ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'2 1\n3 1' ]
}

@test "consume: three events in a row that end with 126 or 127 stop it" {
    events 5
    run -127 --separate-stderr consume -g g --from start --backoff 100d -- sh -c 'echo $EVENT_SEQ >>ran; no-such-command-anywhere 2>/dev/null'
    [ "$(cat ran)" = $'1\n2\n3' ]
    [ "${stderr_lines[-1]}" = 'consume: "sh": three events in a row ended with status 127: stopping' ]
    run -0 --separate-stderr spool group show g
    [ "$(jq -c '[.lag,.in_flight,.dead]' <<<"$output")" = '[5,0,0]' ]
    run -126 consume -g h --from start -a 1 -- sh -c 'exit 126'
    run -0 --separate-stderr spool group show h
    [ "$(jq -c '[.lag,.in_flight,.dead]' <<<"$output")" = '[2,0,3]' ]
}

@test "consume: a success or another failure resets that count" {
    printf '{"type":"n","subject":"%s"}\n' 127 126 0 127 127 1 126 127 | publish
    run -0 consume -g g --from start --backoff 100d -- sh -c 'echo >>ran; exit $EVENT_SUBJECT'
    has_lines ran 8
}

@test "consume: the status is 1 only for the run that made the dead letters" {
    events 2
    run -1 consume -g g --from start -n 1 -a 1 -- false
    run -0 consume -g g -- true
    group_is g 0 0 0 1
}

# --- what a handler prints

@test "consume: a failed attempt prints nothing, the one that succeeds does" {
    events 2
    run -0 --separate-stderr consume -g g --from start --backoff 0 -- sh -c 'echo "try $EVENT_ATTEMPT of $EVENT_SEQ"; [ $EVENT_ATTEMPT = 2 ]'
    [ "$(printf '%s\n' "${lines[@]}" | sort)" = $'try 2 of 1\ntry 2 of 2' ]
}

@test "consume: what parallel handlers print does not interleave" {
    events 2
    mkfifo a b
    run -0 --separate-stderr timeout 60 consume -g g --from start -j 2 -- sh -c '
        if [ $EVENT_SEQ = 1 ]; then
            echo 1a; echo >a; read x <b; echo 1b
        else
            read x <a; echo 2a; echo 2b; echo >b
        fi'
    [ "$output" = $'1a\n1b\n2a\n2b' ] || [ "$output" = $'2a\n2b\n1a\n1b' ]
}

@test "consume: output is printed when its event is done, not when all are" {
    events 2
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo $EVENT_SEQ; [ $EVENT_SEQ = 1 ] || read x <latch' >out
    wait_for has_lines out 1
    group_is g 1 0 1 0
    let_go latch
    ends_with 0 "$pid"
    [ "$(cat out)" = $'1\n2' ]
}

@test "consume: ten megabytes of output come out byte for byte" {
    events 1
    seq 1500000 >want
    printf 'no newline, a NUL: \0, \377' >>want
    consume -g g --from start -- cat want >got
    cmp want got
}

@test "consume: 64 MiB of output are held, one byte more fails the attempt" {
    events 1
    consume -g g --from start -- head -c 67108864 /dev/zero | wc -c >size
    [ "$(cat size)" -eq 67108864 ]
    group_is g 0 0 0 0

    run -1 --separate-stderr consume -g h --from start -a 1 -- head -c 67108865 /dev/zero
    [ -z "$output" ]
    [ "${stderr_lines[0]}" = 'consume: seq 1 n "e1": more than 64 MiB of output, attempt 1: dead letter' ]
}

@test "consume: a handler that prints without end is ended" {
    events 1
    run -1 --separate-stderr timeout 60 consume -g g --from start -a 1 -- cat /dev/zero
    [ -z "$output" ]
    [ "${stderr_lines[0]}" = 'consume: seq 1 n "e1": more than 64 MiB of output, attempt 1: dead letter' ]
}

@test "consume: more than 64 MiB of output fail the attempt also when a process left behind prints them" {
    events 1
    consume -g g --from start -a 1 -- sh -c '
        (while kill -0 $$; do :; done 2>/dev/null; head -c 1000 /dev/zero) & head -c 67108864 /dev/zero' | wc -c >size
    [ "$(cat size)" -eq 0 ]
    group_is g 0 0 0 1
}

@test "consume: a handler's stderr is passed on, also when it succeeds" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- sh -c 'echo one >&2; printf two >&2'
    [ -z "$output" ]
    [ "$stderr" = $'one\ntwo' ]
}

@test "consume: nothing in a handler's stderr or in an event steers the terminal" {
    publish -t n --id $'\u202e' -d 1
    run -0 --separate-stderr consume -g g --from start --backoff 100d -- sh -c 'printf "a\033[31mb\r\302\233c\377\n" >&2; exit 1'
    [ "${stderr_lines[0]}" = 'a\x1b[31mb\r\u009bc\xff' ]
    [[ ${stderr_lines[1]} == 'consume: seq 1 n "\u202e": exit status 1, attempt 1: again in '* ]]
}

@test "consume: the last 4 KiB of stderr are kept in the dead letter" {
    events 1
    for n in 1200 2000; do # a little more than 4 KiB, and more than twice that
        seq "$n" >want
        run -1 consume -g $n --from start -a 1 -- sh -c 'cat want >&2; exit 1'
        [ "${#lines[@]}" -eq $((n + 2)) ]
        run -0 --separate-stderr dlq show -g $n
        jq -j '.history[0].stderr' <<<"$output" | cmp - <(tail -c 4096 want)
    done
}

@test "consume: --log json makes objects of the messages and of a handler's stderr" {
    publish -t order.placed --id e1 -d 1
    run -1 --separate-stderr consume --log json -g g --from start -a 1 -- sh -c 'echo "a \"b\"" >&2; exit 3'
    [ "$(printf '%s\n' "${stderr_lines[@]:0:2}" | jq -c 'del(.time)')" = \
        '{"level":"note","cmd":"consume","msg":"a \"b\"","id":"e1","type":"order.placed","group":"g","attempt":1,"correlationid":"e1"}
{"level":"warn","cmd":"consume","msg":"seq 1 order.placed \"e1\": exit status 3, attempt 1: dead letter","code":3,"id":"e1","type":"order.placed","group":"g","attempt":1,"correlationid":"e1"}' ]
}

# --- the handler's world

@test "consume: the handler's arguments are exactly the user's" {
    events 1
    run -0 consume -g g --from start -- sh -c 'printf "%s\0" "$@" >argv' \
        -rf -- '' ' a  b ' '*' '$(touch pwned)' '; touch pwned' $'new\nline' '{}' '%s' -g
    printf '%s\0' -- '' ' a  b ' '*' '$(touch pwned)' '; touch pwned' $'new\nline' '{}' '%s' -g >want
    cmp argv want
    [ ! -e pwned ]
}

@test "consume: options end at the command, with and without --" {
    events 1
    run -0 consume -g g --from start echo -n 5 -f
    [ "$output" = '5 -f' ]
}

@test "consume: nothing in an event is run, whatever it looks like" {
    for text in '; touch pwned' '$(touch pwned)' '`touch pwned`' '() { :;}; touch pwned' '-rf' '../../x' '%n%s'; do
        # -t takes no such type, but an event from elsewhere may have it.
        printf '{"specversion":"1.0","type":"%s","subject":"%s","id":"%s","source":"%s","data":"%s"}\n' \
            "$text" "$text" "$text" "$text" "$text" | publish
        printf '%s\n' "$text" >>want
    done
    run -0 --separate-stderr consume -g g --from start -- printenv EVENT_SUBJECT
    [ "$output" = "$(cat want)" ]
    run -0 --separate-stderr consume -g h --from start -- sh -c 'cat >/dev/null; echo "$EVENT_TYPE"; echo "$EVENT_ID"; echo "$EVENT_SOURCE"'
    [ "$output" = "$(sed 'p;p' want)" ]
    [ ! -e pwned ]
}

@test "consume: the environment describes the event, without variables of an outer handler" {
    trace=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
    cat >in <<END
{"specversion":"1.0","id":"i-1","source":"/src","type":"order.placed","subject":"order 42","time":"2026-01-02T03:04:05Z","correlationid":"c-1","causationid":"b-1","hops":3,"traceparent":"$trace","tracestate":"v=1","data":1}
{"specversion":"1.0","id":"i-2","source":"/src","type":"order.paid","tracestate":"v=2"}
END
    publish in
    outer=(PATH="$PATH" HOME=/h 'FOO=a b' EVENT_MINE=1 EVENT_SPOOL=elsewhere EVENT_ID=o EVENT_TYPE=o
        EVENT_SOURCE=o EVENT_SUBJECT=o EVENT_SEQ=0 EVENT_TIME=o EVENT_ATTEMPT=9 EVENT_GROUP=o
        EVENT_CORRELATIONID=o EVENT_HOPS=44 EVENT_CTL=9 TRACEPARENT=o TRACESTATE=o=1)
    run -0 env -i "${outer[@]}" "$(command -v consume)" -s "$EVENT_SPOOL" -g g --from start -n 1 -- env
    [ "$(printf '%s\n' "${lines[@]}" | LC_ALL=C sort)" = "EVENT_ATTEMPT=1
EVENT_CORRELATIONID=c-1
EVENT_CTL=3
EVENT_GROUP=g
EVENT_HOPS=3
EVENT_ID=i-1
EVENT_MINE=1
EVENT_SEQ=1
EVENT_SOURCE=/src
EVENT_SPOOL=$EVENT_SPOOL
EVENT_SUBJECT=order 42
EVENT_TIME=2026-01-02T03:04:05Z
EVENT_TYPE=order.placed
FOO=a b
HOME=/h
PATH=$PATH
TRACEPARENT=$trace
TRACESTATE=v=1" ]
    run -0 env -i "${outer[@]}" "$(command -v consume)" -s "$EVENT_SPOOL" -g g -- env
    [ "$(printf '%s\n' "${lines[@]}" | LC_ALL=C sort)" = "EVENT_ATTEMPT=1
EVENT_CORRELATIONID=i-2
EVENT_CTL=3
EVENT_GROUP=g
EVENT_HOPS=0
EVENT_ID=i-2
EVENT_MINE=1
EVENT_SEQ=2
EVENT_SOURCE=/src
EVENT_SPOOL=$EVENT_SPOOL
EVENT_TYPE=order.paid
FOO=a b
HOME=/h
PATH=$PATH" ]
}

@test "consume: publish in a handler continues the causal chain by itself" {
    publish -t order.placed --id first -k order-1 -d 1
    run -0 consume -g charge -t order.placed --from start -- publish -t order.paid --id second -d 2
    run -0 consume -g ship -t order.paid --from start -- publish -t order.shipped --id third -d 3
    host=$(replay 1 | jq -r .source)
    run -0 --separate-stderr replay
    [ "$(jq -c '[.id,.source,.correlationid,.causationid,.hops]' <<<"$output")" = \
        "[\"first\",\"$host\",\"first\",null,null]
[\"second\",\"$host/charge\",\"first\",\"first\",1]
[\"third\",\"$host/ship\",\"first\",\"second\",2]" ]
}

@test "consume: publish in a handler uses the spool that consume uses" {
    publish -s other.db -t n -d 1
    run -0 consume -s other.db -g g --from start -- sh -c 'cd /; publish -t m -d 2'
    [ ! -e "$EVENT_SPOOL" ]
    run -0 replay -s other.db -t m
    [ "${#lines[@]}" -eq 1 ]
}

@test "consume: a handler has descriptors 0 to 3 and none of consume's" {
    events 1
    run -0 --separate-stderr bash -c '
        for fd in /proc/self/fd/*; do
            fd=${fd##*/}
            [ "$fd" -le 2 ] || eval "exec $fd>&-"
        done
        exec consume -g g --from start -- ls /proc/self/fd'
    [ "$output" = $'0\n1\n2\n3\n4' ] # 4 is the folder that ls reads
}

@test "consume: a handler has no descriptors of consume's parent" {
    events 1
    : >kept
    run -0 --separate-stderr consume -g g --from start -- sh -c '[ ! -e /proc/self/fd/7 ] && echo none' 7<kept
    [ "$output" = none ]
}

# -------------------------------------------------------------------------------- a handler's word

@test "consume: a handler's word sets when to try again, and the reason of its failure" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- sh -c '
        echo delay 1m >&"$EVENT_CTL"; echo delay 1h >&3; echo "reason card declined" >&3; exit 3'
    [[ ${stderr_lines[0]} == 'consume: seq 1 '*': exit status 3: card declined, attempt 1: again in '@(59m*|1h) ]]
    run -0 replay -g g -o positions
    [ "$output" = 1 ]
    run -0 consume -g g --dry-run
    [ -z "$output" ]
}

@test "consume: a word's delay of 0 means at once, and its reason is in the dead letter" {
    events 1
    run -1 --separate-stderr consume -g g --from start -a 3 --backoff 90d..90d -- sh -c 'printf "delay 0\nreason out of stock" >&3; exit 1'
    [ "$(dlq list -o ndjson | jq -r '"\(.attempts) \(.reason)"')" = '3 exit status 1: out of stock' ]
}

@test "consume: a word does not change an outcome" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- sh -c 'echo delay 1h >&3; echo reason none >&3'
    [ -z "$stderr" ]
    run -0 replay -g g
    [ -z "$output" ]
    publish -t x -d 2
    run -0 --separate-stderr consume -g g -- sh -c 'echo retry please >&3; echo delay soon >&3; echo reason >&3'
    [ "${stderr_lines[0]}" = 'consume: on descriptor 3 a handler writes "delay D" or "reason TEXT", not "retry please"' ]
    [ "${#stderr_lines[@]}" -eq 3 ]
}

@test "consume: a word's delay is how long the group is put on hold" {
    events 1
    run -75 --separate-stderr consume -g g --from start -- sh -c 'echo delay 1h >&3; echo reason closed until Monday >&3; exit 69'
    [[ $stderr == 'consume: seq 1 '*': exit status 69: closed until Monday: group "g" is on hold until 2'* ]]
}

@test "consume: a word without an end neither blocks its handler nor fills the memory" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- sh -c 'head -c 50000000 /dev/zero | tr "\0" x >&3; echo done'
    [ "$output" = "done" ]
    [ "${#stderr}" -lt 1000 ]
    publish -t x -d 2
    run -1 --separate-stderr consume -g g -a 1 -- sh -c '{ printf "reason "; head -c 50000000 /dev/zero | tr "\0" x; echo; } >&3; exit 1'
    [ "$(dlq list -o ndjson | jq '.reason | length')" -lt 600 ]
}

@test "consume: when a script is run by hand, its word goes to stderr" {
    run -0 --separate-stderr sh -c 'echo delay 30s >&"${EVENT_CTL:-2}"'
    [ "$stderr" = 'delay 30s' ]
    events 1
    consume -g g --from start -a 1 -- false 2>/dev/null || [ $? -eq 1 ]
    run -0 --separate-stderr dlq try -g g 1 -- sh -c 'echo delay 30s >&"${EVENT_CTL:-2}"'
    [ "$stderr" = 'delay 30s' ]
}

@test "consume: a handler has no signal blocked, and SIGPIPE ends it" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- grep SigBlk /proc/self/status
    [ "$output" = $'SigBlk:\t0000000000000000' ]
    run -0 --separate-stderr consume -g h --from start -- bash -c 'yes | :; echo "${PIPESTATUS[0]}"'
    [ "$output" = 141 ]
}

@test "consume: a handler has default signal actions, whatever consume was started with" {
    events 1
    run -0 --separate-stderr bash -c 'trap "" HUP INT QUIT USR1 PIPE TERM; exec consume -g g --from start -- grep SigIgn /proc/self/status'
    (((0x${output##*$'\t'} & 0x7fffffff) == 0)) # 32 and 33 are out of a program's reach
}

@test "consume: handlers run in the folder and with the umask of consume" {
    events 1
    mkdir sub
    run -0 bash -c 'cd sub && umask 027 && exec consume -g g --from start -- sh -c "pwd; umask"'
    [ "$output" = "$PWD/sub"$'\n0027' ]
}

@test "consume: does not read its own stdin" {
    events 2
    run -0 bash -c "printf 'one\ntwo\n' | { consume -g g --from start -- cat >events; cat; }"
    [ "$output" = $'one\ntwo' ]
    replay | cmp - events
}

@test "consume: works with descriptors 0 to 2 closed" {
    events 2
    run -0 bash -c 'exec consume -g g --from start -- sh -c "cat >>got" <&- >&- 2>&-'
    replay | cmp - got
    group_is g 0 0 0 0
    run -0 bash -c 'consume -g h --from start -- cat <&- 2>&- | cat'
    [ "$output" = "$(replay)" ]
}

@test "consume: output that cannot be written is 74, and its event is not done" {
    events 1
    run -74 --separate-stderr bash -c 'exec consume -g g --from start -- echo hello >&-'
    [ "$stderr" = 'consume: cannot write to stdout: Bad file descriptor' ]
    run -74 --separate-stderr bash -c 'exec consume -g g -- echo hello >/dev/full'
    [ "$stderr" = 'consume: cannot write to stdout: No space left on device' ]
    run -74 --separate-stderr bash -c 'exec consume -g h --from start --auto-ack >/dev/full'
    [ "$stderr" = 'consume: cannot write to stdout: No space left on device' ]
    run -0 consume -g g -- printenv EVENT_SEQ
    [ "$output" = 1 ]
    run -0 consume -g h -- printenv EVENT_SEQ
    [ "$output" = 1 ]
}

# --- all kinds of handlers

@test "consume: a handler need not read its input" {
    printf '"%0300000d"\n' 0 0 | publish -t n
    run -0 --separate-stderr consume -g g --from start -- true
    [ -z "$stderr" ]
    group_is g 0 0 0 0
    run -0 --separate-stderr consume -g h --from start -- head -c 10
    [ "$output" = '{"specvers{"specvers' ]
}

@test "consume: a handler may close its output and go on" {
    events 2
    run -0 --separate-stderr consume -g g --from start -- sh -c 'echo early; exec >&- 2>&-; cat >>got'
    [ "$output" = $'early\nearly' ]
    replay | cmp - got
}

@test "consume: a handler may leave a daemon behind that keeps its output open" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- sh -c 'sleep 600 & echo $! >daemon.pid; echo done'
    [ "$output" = "done" ]
    group_is g 0 0 0 0
    run -1 gone "$(cat daemon.pid)"
}

@test "consume: what a handler's children print shortly after its end still counts" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- sh -c 'mkfifo f; (read x <f; echo late) & exec sh -c "echo early; echo >f"'
    [ "$output" = $'early\nlate' ]
}

@test "consume: a handler that moves to a process group of its own is still ended" {
    events 1
    run -0 --separate-stderr consume -g g --from start -- setsid --wait sh -c 'echo own session'
    [ "$output" = 'own session' ]
    run -1 consume -g h --from start -a 1 --timeout 2s --grace 0 -- bash -c 'set -m; sleep 600 & echo $! >moved.pid; wait'
    [ "${lines[0]}" = 'consume: seq 1 n "e1": timed out after 2s, attempt 1: dead letter' ]
    wait_for gone "$(cat moved.pid)"
}

@test "consume: a handler that stops itself is ended by --timeout" {
    events 1
    run -1 --separate-stderr timeout 60 consume -g g --from start -a 1 --timeout 100ms --grace 0 -- sh -c 'kill -STOP $$; echo never'
    [ -z "$output" ]
    [ "${stderr_lines[0]}" = 'consume: seq 1 n "e1": timed out after 100ms, attempt 1: dead letter' ]
}

@test "consume: --timeout is a failed attempt with status 124, retried like any other" {
    events 1
    run -0 --separate-stderr timeout 60 consume -g g --from start --backoff 0 --timeout 2s -- sh -c '
        [ $EVENT_ATTEMPT = 2 ] || exec sleep 600; echo $EVENT_ATTEMPT'
    [ "$output" = 2 ]
    [ "$stderr" = 'consume: seq 1 n "e1": timed out after 2s, attempt 1: again at once' ]
    run -1 consume -g h --from start --timeout 100ms -a 1 -- sleep 600
    run -0 --separate-stderr dlq list -g h
    [ "$(jq -c '[.status,.reason]' <<<"$output")" = '[124,"timed out after 100ms"]' ]
}

@test "consume: at --timeout a handler gets SIGTERM and may clean up, its success comes too late" {
    events 1
    run -1 --separate-stderr timeout 60 consume -g g --from start -a 1 --timeout 2s -- bash -c '
        trap "echo >cleaned; echo late; exit 0" TERM; sleep 600 & wait'
    [ -e cleaned ]
    [ -z "$output" ]
    [ "${stderr_lines[0]}" = 'consume: seq 1 n "e1": timed out after 2s, attempt 1: dead letter' ]
}

@test "consume: a handler that ignores SIGTERM is killed after --grace" {
    events 1
    run -1 timeout 60 consume -g g --from start -a 1 --timeout 1s --grace 100ms -- bash -c 'trap "" TERM; while :; do sleep 1; done'
    [ "${lines[0]}" = 'consume: seq 1 n "e1": timed out after 1s, attempt 1: dead letter' ]
}

@test "consume: --timeout ends grandchildren too, in other sessions and with their parents gone" {
    events 1
    run -1 timeout 60 consume -g g --from start -a 1 --timeout 2s --grace 0 -- sh -c '
        setsid sh -c "echo \$\$ >child.pid; exec sleep 600" &
        (setsid sh -c "echo \$\$ >orphan.pid; exec sleep 600" &)
        exec sleep 600'
    wait_for gone "$(cat child.pid)"
    wait_for gone "$(cat orphan.pid)"
}

@test "consume: --timeout ends grandchildren that cleared their environment" {
    events 1
    run -1 timeout 60 consume -g g --from start -a 1 --timeout 2s --grace 0 -- sh -c '
        (setsid env -i sh -c "echo \$\$ >orphan.pid; exec /bin/sleep 600" &)
        exec sleep 600'
    wait_for gone "$(cat orphan.pid)"
}

@test "consume: --timeout ends no handler of another consumer" {
    events 1
    mkfifo latch
    background consume -g other --from start -- sh -c 'echo >started; read x <latch; echo unharmed' >out
    wait_for test -e started
    run -1 consume -g g --from start -a 1 --timeout 100ms --grace 0 -- sleep 600
    let_go latch
    ends_with 0 "$pid"
    [ "$(cat out)" = unharmed ]
}

@test "consume: a handler that floods its stderr is still ended by --timeout" {
    events 1
    run -1 timeout 60 bash -c 'exec consume -g g --from start -a 1 --timeout 300ms --grace 0 -- dd if=/dev/zero of=/dev/stderr bs=1M 2>/dev/null'
    group_is g 0 0 0 1
}

@test "consume: handlers die with their consumer" {
    events 1
    background consume -g g --from start -- sh -c 'echo $$ >h.pid; exec sleep 600'
    wait_for test -s h.pid
    slay "$pid"
    wait_for gone "$(cat h.pid)"
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = '1 1' ]
}

# --- several at once

@test "consume: -j runs N handlers at once" {
    events 3
    mkfifo a b
    run -0 --separate-stderr timeout 60 consume -g g --from start -j 3 -- sh -c '
        case $EVENT_SEQ in
        1) read x <a; echo >b ;;
        2) read x <b ;;
        3) echo >a ;;
        esac; echo $EVENT_SEQ'
    [ "$(sort <<<"$output")" = $'1\n2\n3' ]
}

@test "consume: a handler that ends while another one's output waits for its reader is noticed" {
    events 2
    mkfifo p first second
    exec 8<>p
    head -c 65536 /dev/zero >p
    background consume -g g --from start -j 2 -- sh -c '
        if [ $EVENT_SEQ = 1 ]; then echo $$ >first.pid; read x <first; echo one; exit; fi
        exec >&- 2>&-; echo $$ >second.pid; read x <second' >p 8>&-
    wait_for test -s first.pid
    wait_for test -s second.pid
    let_go first
    wait_for test ! -e "/proc/$(cat first.pid)"
    let_go second
    wait_for gone "$(cat second.pid)"
    run -0 bash -c "head -c 65540 <&8 | tail -c 4"
    [ "$output" = one ]
    ends_with 0 "$pid"
    exec 8>&-
    group_is g 0 0 0 0
}

@test "consume: -j runs no more than N, and without -j one handler runs" {
    events 30
    mkdir running
    count='touch running/$EVENT_SEQ; ls running | wc -l >>counts; rm running/$EVENT_SEQ'
    run -0 consume -g g --from start -j 3 -- sh -c "$count"
    has_lines counts 30
    [ "$(sort -n counts | tail -n 1)" -le 3 ]
    rm counts
    run -0 consume -g h --from start -- sh -c "$count"
    [ "$(sort -u counts | tr -d ' ')" = 1 ]
}

@test "consume: with -j each event is still delivered once" {
    events 200
    run -0 --separate-stderr consume -g g --from start -j 8 -- printenv EVENT_SEQ
    [ "$(sort -n <<<"$output")" = "$(seq 200)" ]
    [ -z "$stderr" ]
}

# --- into a pipe

@test "consume: --auto-ack prints the events byte for byte and settles them" {
    events 2500
    replay >want
    run -0 --separate-stderr bash -c 'consume -g g --from start --auto-ack >got'
    [ -z "$stderr" ]
    cmp want got
    group_is g 0 0 0 0
    run -0 --separate-stderr consume -g g --auto-ack
    [ -z "$output$stderr" ]
}

@test "consume: --auto-ack with -n prints and settles N" {
    events 2500
    run -0 consume -g g --from start --auto-ack -n 1
    [ "$output" = "$(replay 1)" ]
    consume -g g --auto-ack -n 1500 | wc -l >count
    [ "$(cat count)" -eq 1500 ]
    group_is g 999 0 0 0
}

@test "consume: --auto-ack takes patterns, --from and --to like a handler" {
    printf '{"type":"%s","data":1}\n' a b a b a b | publish
    run -0 consume -g g -t a --from 2 --to 4 --auto-ack
    [ "$output" = "$(replay 3)" ]
    group_is g 1 0 0 0
}

@test "consume: --auto-ack -f passes on what is published later" {
    events 1
    background consume -g g --from start --auto-ack -f >out
    wait_for has_lines out 1
    publish -t n -d 2
    wait_for has_lines out 2
    replay | cmp - out
    wait_for group_is g 0 0 0 0
    kill -TERM "$pid"
    ends_with 0 "$pid"
}

@test "consume: a reader that has read enough stops --auto-ack, and the rest is delivered later" {
    events 2500
    run -0 --separate-stderr bash -c 'consume -g g --from start --auto-ack | head -n 1; echo "${PIPESTATUS[*]}"'
    [ "$output" = "$(replay 1)"$'\n0 0' ]
    [ -z "$stderr" ]
    consume -g g --auto-ack | sort -u | wc -l >count
    [ "$(cat count)" -eq 2500 ]
    group_is g 0 0 0 0
}

@test "consume: a reader that has gone stops consume, and the event of the last handler is still done" {
    events 3
    mkfifo p latch
    background bash -c 'exec consume -g g --from start -- sh -c "echo \$EVENT_SEQ; [ \$EVENT_SEQ = 1 ] || read x <latch" >p 2>err'
    run -0 head -n 1 p
    [ "$output" = 1 ]
    let_go latch
    ends_with 0 "$pid"
    [ ! -s err ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'3 1' ]
}

@test "consume: without a command it requires --auto-ack" {
    events 1
    consume -g g --from start --to 0 -- true
    run -64 --separate-stderr consume -g g
    [ "$stderr" = 'consume: what to do with the events? Give a command, or --auto-ack to print and settle them, or --lease to settle them at the end of a pipe; replay -g g only shows them (see consume --help)' ]
    run -64 --separate-stderr consume -g g --
    run -64 --separate-stderr consume -g g --auto-ack -- cat
    [ "$stderr" = "consume: --auto-ack is for a pipe: a command's exit status settles its event (see consume --help)" ]
    group_is g 1 0 0 0
}

@test "consume: --auto-ack refuses a terminal and tells how to look at events" {
    command -v script >/dev/null || skip 'no script(1) to make a terminal with'
    events 1
    consume -g g --from start --to 0 -- true
    run -64 script -qec 'consume -g g --auto-ack' /dev/null </dev/null
    [ "$(tr -d '\r' <<<"$output")" = 'consume: stdout is a terminal, and --auto-ack would settle what it shows; replay -g g only shows (see consume --help)' ]
    group_is g 1 0 0 0
}

# --- stopping

@test "consume: SIGTERM lets the running handler finish and returns the other events" {
    events 3
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo $EVENT_SEQ >>started; read x <latch; echo done $EVENT_SEQ' >out 2>err
    wait_for has_lines started 1
    kill -TERM "$pid"
    wait_for group_is g 3 1 1 0
    let_go latch
    ends_with 0 "$pid"
    [ "$(cat out)" = 'done 1' ]
    [ ! -s err ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'2 1\n3 1' ]
}

@test "consume: after --grace unfinished events are returned without an attempt, finished ones are done" {
    events 4
    background consume -g g --from start -j 2 -a 1 --grace 0 -- sh -c '
        echo $EVENT_SEQ; case $EVENT_SEQ in 1 | 2) exit ;; 3) echo >>started; exec sleep 600 ;; esac
        trap "" TERM; echo >>started; while :; do sleep 1; done' >out 2>err
    wait_for has_lines started 2
    kill -TERM "$pid"
    ends_with 0 "$pid"
    [ "$(sort out)" = $'1\n2' ]
    [ ! -s err ]
    group_is g 2 2 0 0
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'3 1\n4 1' ]
}

@test "consume: SIGINT and SIGHUP stop it like SIGTERM" {
    events 1
    for signal in INT HUP; do
        background consume -g $signal --from start --grace 0 -- sh -c "echo >$signal; exec sleep 600"
        wait_for test -s $signal
        kill -$signal "$pid"
        ends_with 0 "$pid"
        group_is $signal 1 1 0 0
    done
}

@test "consume: a second signal does not wait for the handlers" {
    events 3
    background consume -g g --from start --grace 7d -- sh -c 'echo $$ >h.pid; exec sleep 600' 2>err
    wait_for test -s h.pid
    kill -TERM "$pid"
    wait_for group_is g 3 1 1 0
    insist() { { kill -TERM "$pid" || true; group_is g 3 2 0 0; } 2>/dev/null; }
    wait_for insist
    ends_with 0 "$pid"
    [ ! -s err ]
    gone "$(cat h.pid)"
    group_is g 3 2 0 0
}

@test "consume: SIGTERM ends a consumer that waits for events at once" {
    background consume -g g --from start -f --grace 7d -- true
    wait_for spool group show g
    kill -TERM "$pid"
    ends_with 0 "$pid"
    background consume -g h --from start -f --auto-ack
    wait_for spool group show h
    kill -TERM "$pid"
    ends_with 0 "$pid"
}

@test "consume: when it stops, no process that its handlers started is left" {
    events 2
    background consume -g g --from start --grace 0 -- sh -c '
        [ $EVENT_SEQ = 1 ] || exec sleep 600
        setsid sh -c "echo \$\$ >daemon.pid; exec sleep 600" >/dev/null 2>&1 &
        until [ -s daemon.pid ]; do :; done'
    wait_for group_is g 1 0 1 0
    kill -TERM "$pid"
    ends_with 0 "$pid"
    wait_for gone "$(cat daemon.pid)"
}

@test "consume: SIGTERM ends --auto-ack while its reader does not read" {
    events 1000
    mkfifo p
    exec 8<>p
    background consume -g g --from start --auto-ack >p 2>err 8>&-
    wait_for group_is g 1000 0 1000 0
    kill -TERM "$pid"
    ends_with 0 "$pid"
    exec 8>&-
    [ ! -s err ]
    group_is g 1000 1000 0 0
}

@test "consume: a handler's line waits for a reader that does not read until --grace is over" {
    events 1
    mkfifo p
    exec 8<>p
    head -c 65536 /dev/zero >p
    background consume -g g --from start --grace 100ms -- sh -c 'echo; echo >finished' >p 2>err 8>&-
    wait_for test -e finished
    kill -TERM "$pid"
    ends_with 0 "$pid"
    exec 8>&-
    [ ! -s err ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = '1 1' ]
}

@test "consume: a megabyte of a handler waits for a reader that does not read until --grace is over" {
    events 1
    mkfifo p
    exec 8<>p
    background consume -g g --from start --grace 100ms -- sh -c 'head -c 1000000 /dev/zero; echo >finished' >p 2>err 8>&-
    wait_for test -e finished
    kill -TERM "$pid"
    ends_with 0 "$pid"
    exec 8>&-
    [ ! -s err ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = '1 1' ]
}

# --- damage

# Change an event in the spool: the only place where a test writes there by itself.
damage() { # SEQ
    edit_line "$1" "\"data\":$1" '"data":9'
}

@test "consume: a damaged event is set aside as a dead letter, the others are delivered, 74" {
    events 3
    damage 2
    run -74 --separate-stderr consume -g g --from start -- sh -c "$show"
    [ "$output" = $'1 1\n3 1' ]
    [ "$stderr" = 'consume: 1 damaged, set aside as dead letters: dlq list -g g' ]
    group_is g 0 0 0 1
    run -0 consume -g g -- sh -c "$show"
    [ -z "$output" ]
    run -0 --separate-stderr dlq show -g g
    [ "$(jq -c '[.seq,.reason,.event]' <<<"$output")" = '[2,"damaged in the spool",null]' ]
    run -74 --separate-stderr consume -g h --from start --auto-ack
    [ "$output" = "$(replay 1; replay 3)" ]
    group_is h 0 0 0 1
}

@test "consume: an event that is damaged while it waits for its retry is set aside too" {
    events 2
    run -0 consume -g g --from start --backoff 0 -n 2 -- sh -c '[ $EVENT_SEQ = 3 ]'
    damage 1
    run -74 --separate-stderr consume -g g -- sh -c "$show"
    [ "$output" = '2 2' ]
    group_is g 0 0 0 1
}

# --- options

@test "consume: wrong usage is 64 and says what is wrong" {
    events 1
    usage() { # MESSAGE ARG...
        local message=$1
        shift
        run -64 --separate-stderr consume "$@"
        [ -z "$output" ]
        [ "$stderr" = "consume: $message (see consume --help)" ] || {
            echo "consume $*: $stderr" >&2
            return 1
        }
    }
    usage '-g GROUP is missing' -- true
    usage '-g is empty (an unset variable?)' -g '' -- true
    usage '-t is empty (an unset variable?)' -g g -t '' -- true
    usage '-t wants a pattern like order.* or #, not "a..b": an empty word in it; =TYPE names a type as it is' -g g -t a..b -- true
    usage '--from wants start, now, today, a position, a date, a time or a duration: "soon"' -g g --from soon -- true
    usage '--to wants start, now, today, a position, a date, a time or a duration: "soon"' -g g --to soon -- true
    usage '-n wants a whole number from 1 on: "0"' -g g -n 0 -- true
    usage '-j wants a whole number from 1 to 1024: "0"' -g g -j 0 -- true
    usage '-j wants a whole number from 1 to 1024: "100000"' -g g -j 100000 -- true
    usage '-a wants a whole number from 1 to 1000000: "0"' -g g -a 0 -- true
    usage '--backoff wants a unit, ms, s, m, h or d: "2"' -g g --backoff 2..1 -- true
    usage '--timeout wants a duration like 500ms, 30s, 1.5h, 7d: "-1"' -g g --timeout -1 -- true
    usage '--grace is empty (an unset variable?)' -g g --grace '' -- true
    usage '--dead-on wants exit statuses from 1 to 255, like 65,70: "256"' -g g --dead-on 256 -- true
    usage '--defer-on wants exit statuses from 1 to 255, like 65,70: "0"' -g g --defer-on 0 -- true
    usage 'unknown option "--frm", did you mean --from?' -g g --frm start -- true
}

# --- work that cannot begin now

# The processor time of a process and of all that this shell has waited for, in ticks.
ticks_of() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
ticks_waited() { awk '{ print $16 + $17 }' "/proc/$me/stat"; }

# stays_idle OPTION... -- COMMAND...: a consumer that has an event and may not claim the next.
stays_idle() {
    local before ours group=g$((groups += 1))
    background consume -f -g "$group" --from now "$@"
    consumes() { [ "$(spool group show "$group" -o ndjson 2>/dev/null | jq .consumers)" = 1 ]; }
    wait_for consumes
    before=$(spool group show "$group" -o ndjson | jq .position)
    publish -t n -d 1
    passed() { [ "$(spool group show "$group" -o ndjson | jq .position)" -gt "$before" ]; }
    wait_for passed
    publish -t n -d 2
    before=$(ticks_of "$pid") ours=$(ticks_waited)
    # So much work of others; who spins meanwhile has as much time as they, or half of it.
    while [ $(($(ticks_waited) - ours)) -lt 60 ]; do spool group list >/dev/null; done
    [ $(($(ticks_of "$pid") - before)) -lt 15 ]
    kill -KILL -- "-$pid"
}

@test "consume: a wake-up that it cannot act on now does not keep it busy" {
    me=$BASHPID groups=0
    publish -t n -d 0
    stays_idle -r 1/1h -- true
    stays_idle -r 1/1h --workers -- jq -c --unbuffered '{id}'
    stays_idle -j 2 -n 1 -- sleep 600
}

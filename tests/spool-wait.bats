load helper

# spool wait: 0 when a group has settled everything, 75 when the time is up.

events() { # N [TYPE]
    seq "$1" | publish -t "${2:-n}"
}

# not_through COUNTS [OPTION...]
not_through() {
    local counts=$1
    shift
    run -75 --separate-stderr spool wait -g g --wait 0 "$@"
    [ -z "$output" ]
    [ "$stderr" = "spool: group \"g\" is not finished: $counts" ] || {
        echo "$stderr" >&2
        return 1
    }
}

through() { # [OPTION...]
    run -0 --separate-stderr spool wait -g g --wait 0 "$@"
    [ -z "$output$stderr" ]
}

# It has begun to look at what is left.
looks() { # PID
    if [ "$ENGINE" = sqlite ]; then
        readlink /proc/"$1"/fd/* | grep -q inotify
    else
        last_statement "$1" | grep -q 'FROM item'
    fi
}

@test "wait: 0 when a group has settled everything, else 75 with what is left" {
    events 5
    consume -g g --from start -n 2 -- true
    not_through '3 ahead, 0 in flight, 0 due, 0 waiting'
    through --to 2
    not_through '1 ahead, 0 in flight, 0 due, 0 waiting' --to 3
    through --to start
    through --to 2020-01-01
    through --to 0
    not_through '3 ahead, 0 in flight, 0 due, 0 waiting' --to 100
    consume -g g -- true
    through
    through --to now
    run -0 spool wait -g g
}

@test "wait: only events that the group takes count" {
    printf '{"type":"%s"}\n' a b b | publish
    consume -g g -t a --from start -n 1 -- true
    through
    publish -t a --priority 0 -d 1
    not_through '1 ahead, 0 in flight, 0 due, 0 waiting'
    consume -g g -- true
    events 2 b
    through
}

@test "wait: events that wait for a retry or a time are not settled; dead letters are, with a note" {
    events 3
    consume -g g --from start -a 3 --backoff 100d -- sh -c '[ $EVENT_SEQ != 2 ]' 2>/dev/null
    not_through '0 ahead, 0 in flight, 0 due, 1 waiting'
    through --to 1
    spool group seek g now
    publish -t n -d 1 --delay 1h
    consume -g g -- true 2>/dev/null
    not_through '0 ahead, 0 in flight, 0 due, 1 waiting'
    spool group seek g 1
    consume -g g --to 3 -a 1 -- sh -c '[ $EVENT_SEQ = 1 ]' 2>/dev/null || [ $? -eq 1 ]
    run -0 --separate-stderr spool wait -g g --to 3 --wait 0
    [ -z "$output" ]
    [ "$stderr" = 'spool: group "g": 2 dead letters among them (dlq list -g g)' ]
    dlq retry 2 >/dev/null
    not_through '0 ahead, 0 in flight, 1 due, 0 waiting' --to 3
    through --to 1
}

@test "wait: events in flight are not settled, also when their consumer was killed" {
    events 2
    consume -g g --from start -n 1 -- true
    background consume -g g -- sh -c 'echo >started; exec sleep 600'
    wait_for test -e started
    not_through '0 ahead, 1 in flight, 0 due, 0 waiting'
    through --to 1
    slay "$pid"
    not_through '0 ahead, 1 in flight, 0 due, 0 waiting'
    consume -g g -- true 2>/dev/null
    through
}

@test "wait: it ends when the work does, and does not wait for events published later" {
    events 2
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo >>started; [ $EVENT_SEQ = 1 ] || read x <latch'
    consumer=$pid
    wait_for test -e started
    background sh -c 'exec spool wait -g g --wait 1d >out 2>&1'
    waiter=$pid
    wait_for looks "$waiter"
    spool group set g -t n
    events 1 # behind the end as it was
    kill -0 "$waiter"
    timeout 60 sh -c 'echo >latch'
    wait "$consumer"
    wait_for eval '! kill -0 $waiter'
    wait "$waiter"
    [ ! -s out ]
    not_through '1 ahead, 0 in flight, 0 due, 0 waiting'
}

@test "wait: a signal ends it, as it ends any filter" {
    events 1
    consume -g g --from start --to 0 -- true
    background spool wait -g g
    wait_for looks "$pid"
    kill "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 143 ]
}

@test "wait: a group that is dropped in the meantime is 66" {
    events 1
    consume -g g --from start --to 0 -- true
    background sh -c 'exec spool wait -g g >out 2>&1'
    wait_for looks "$pid"
    spool group drop g
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 66 ]
    [ "$(cat out)" = "spool: there is no group \"g\" in $EVENT_SPOOL" ]
}

@test "wait: wrong usage is 64, an unknown group or spool 66" {
    run -66 spool wait -g g
    events 1
    run -66 --separate-stderr spool wait -g g --wait 0
    [ "$stderr" = "spool: there is no group \"g\" in $EVENT_SPOOL" ]
    run -64 --separate-stderr spool wait
    [ "$stderr" = 'spool: -g GROUP is missing (see spool wait --help)' ]
    run -64 --separate-stderr spool wait -g g 5m
    [ "$stderr" = 'spool: wait takes no operand: "5m" (see spool wait --help)' ]
    run -64 spool wait -g ''
}

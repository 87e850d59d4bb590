# Limits: consume --rate, and publish --max-pending.
load helper

lag() { # GROUP
    spool group show "$1" -o ndjson | jq .lag
}

@test "rate: all events are delivered, in order" {
    seq 300 | publish -t n
    run -0 --separate-stderr consume -g g --from start -r 3000/s --auto-ack
    [ "$(jq .data <<<"$output")" = "$(seq 300)" ]
    run -0 --separate-stderr consume -g h --from start --rate 1000/s -j 3 -- true
    [ "$(lag h)" = 0 ]
}

@test "rate: applies to all consumers of the group together that use --rate" {
    seq 5 | publish -t n
    background sh -c 'exec consume -g g --from start -f -r 1/h -- sh -c "echo \$EVENT_SEQ >>out"'
    one=$pid
    wait_for grep -qx 1 out
    background sh -c 'exec consume -g g -f -r 1/h -- sh -c "echo \$EVENT_SEQ >>out"'
    two=$pid
    joined() { [ "$(spool group show g -o ndjson | jq .consumers)" = 2 ]; }
    wait_for joined
    [ "$(cat out)" = 1 ]
    kill "$one" "$two"
    wait "$one" "$two"
    run -0 --separate-stderr consume -g g -n 2 -- printenv EVENT_SEQ
    [ "$output" = $'2\n3' ]
    [ "$(lag g)" = 2 ]
}

@test "rate: outlives its consumers, and a faster one is not held up by a slower one" {
    seq 3 | publish -t n
    consume -g g --from start -n 1 -r 1/h -- true
    background sh -c 'exec consume -g g -r 1/h -- sh -c "echo \$EVENT_SEQ >>out"'
    joined() { [ "$(spool group show g -o ndjson | jq .consumers)" = 1 ]; }
    wait_for joined
    publish -t n -d 4
    kill "$pid"
    wait "$pid"
    [ ! -e out ]
    run -0 timeout 60 consume -g g -r 1000/s -- printenv EVENT_SEQ
    [ "$output" = $'2\n3\n4' ]
}

@test "rate: an invalid rate is 64" {
    for rate in 5 5/ /s 0/s -1/s 1.5/s 5/x 10000000/s; do
        run -64 --separate-stderr consume -g g --from start -r "$rate" -- true
        [[ $stderr == "consume: -r wants a rate like 100/s or 5/m: \"$rate\""* ]]
    done
    spool_missing
    consume -g g --from start -r 1/500ms -- true
}

@test "max-pending: publish waits while a group has N events to settle" {
    consume -g slow --from start -- true
    consume -g fast --from start -- true
    background sh -c 'seq 10 | exec publish -t n --max-pending 4'
    four() { [ "$(lag slow)" = 4 ]; }
    wait_for four
    consume -g fast --auto-ack >/dev/null
    [ "$(replay | wc -l)" -eq 4 ]
    consume -g slow -n 3 -- true
    more() { [ "$(replay | wc -l)" -eq 7 ]; }
    wait_for more
    publisher=$pid
    background consume -g slow -f -n 7 -- true
    background consume -g fast -f -n 6 -- true
    wait "$publisher"
    [ "$(replay | jq .data)" = "$(seq 10)" ]
}

@test "max-pending: a handler waits for other groups and for a group of the same name elsewhere, not for its own" {
    seq 5 | publish -t n
    publish -s other.db -t n -d 1
    consume -s other.db -g g --from start -n 1 --lease 1h >out
    run -0 --separate-stderr timeout 60 consume -g g -t n --from start -n 2 -- publish -t b -d 1 --max-pending 2
    [ -z "$stderr" ]
    # shellcheck disable=SC2016 # for the handler's shell
    run -0 consume -g g -n 1 -- sh -c 'publish -s other.db -t n -d 2 --max-pending 1 --wait 0 2>said || echo $?'
    [ "$output" = 75 ]
    [ "$(cat said)" = 'publish: group "g" has 1 event to settle (--max-pending): try again later' ]
    consume -g h -t n --from start --dry-run
    consume -g h -t n --from start -n 1 -- true
    # shellcheck disable=SC2016
    run -0 consume -g g -n 1 -- sh -c 'publish -t b -d 1 --max-pending 2 --wait 0 2>said || echo $?'
    [ "$output" = 75 ]
    [[ $(cat said) == 'publish: group "h" has '* ]]
}

@test "max-pending: events that match no pattern do not count, events that wait for a retry do" {
    consume -g g -t m --from start -- true
    seq 20 | publish -t n --max-pending 2 --wait 0
    publish -t m -d 1 --max-pending 2 --wait 0
    consume -g g --backoff 90d..90d -- false
    publish -t m -d 2 --max-pending 2 --wait 0
    run -75 --separate-stderr publish -t n -d 3 --max-pending 2 --wait 0
    [ "$stderr" = 'publish: group "g" has 2 events to settle (--max-pending): try again later' ]
    run -75 --separate-stderr publish -t n -d 3 --max-pending 1 --wait 1ms
    [ "$stderr" = 'publish: group "g" has more than 1 event to settle (--max-pending): try again later' ]
}

@test "max-pending: the events that fit are stored and echoed before the time is over" {
    consume -g g --from start -- true
    run -75 --separate-stderr sh -c 'seq 5 | publish -t n --max-pending 3 --wait 0 --echo'
    [ "$(jq .data <<<"$output" | paste -sd' ')" = '1 2 3' ]
    [ "$(replay | wc -l)" -eq 3 ]
    run -64 --separate-stderr publish -t n -d 1 --wait 1s
    [ "$stderr" = 'publish: --wait goes with --max-pending (see publish --help)' ]
}

@test "max-pending: without groups publish does not wait" {
    run -0 sh -c 'seq 5 | publish -t n --max-pending 1 --wait 0'
    [ "$(replay | wc -l)" -eq 5 ]
}

# Outcomes are counted by group and type, with the durations of handlers.
load helper

counted() { # GROUP
    spool sql "SELECT type, done, retried, dead, deferred FROM outcomes WHERE group_name = '$1' ORDER BY type" |
        jq -r '"\(.type) \(.done) \(.retried) \(.dead) \(.deferred)"'
}

timed() { # GROUP: how many handlers were timed
    spool sql "SELECT coalesce(sum(n), 0) AS n FROM durations WHERE group_name = '$1'" | jq .n
}

@test "tally: outcomes are counted by type, and every handler is timed" {
    seq 3 | publish -t a
    seq 2 | publish -t b
    run -1 --separate-stderr consume -g g --from start -a 2 --backoff 0 -j 2 -- sh -c '
        case $EVENT_SEQ in 1) exit 65 ;; 2) exit 1 ;; 4) [ "$EVENT_ATTEMPT" = 2 ] ;; esac'
    run -0 counted g
    [ "$output" = $'a 1 1 2 0\nb 2 1 0 0' ]
    [ "$(timed g)" = 7 ]
    # A handler that takes longer than another stands further up.
    publish -t c -d 1
    consume -g g -- sleep 0.3
    run -0 spool sql "SELECT le_ms FROM durations WHERE group_name = 'g' AND type = 'c'"
    [ "$(jq .le_ms <<<"$output")" -ge 500 ]
}

@test "tally: a deferral is counted, a returned event is not" {
    publish -t a -d 1
    run -75 --separate-stderr consume -g g --from start -- sh -c 'exit 69'
    run -0 counted g
    [ "$output" = 'a 0 0 0 1' ]
    publish -t a -d 2
    spool group resume g
    background consume -g g -f --grace 0 -- sh -c ': >begun; exec sleep 600'
    wait_for test -e begun
    kill "$pid"
    wait "$pid"
    run -0 counted g
    [ "$output" = 'a 0 0 0 1' ]
}

@test "tally: pipes and workers are counted, too, and pipes have no durations" {
    seq 2500 | publish -t a
    consume -g pipe --from start --auto-ack >out
    sh -c 'consume -g lease --from start --lease 1m | settle -g lease'
    consume -g worker --from start --workers -- jq --unbuffered -c '{id}'
    for group in pipe lease worker; do
        run -0 counted "$group"
        [ "$output" = 'a 2500 0 0 0' ]
    done
    [ "$(timed pipe) $(timed lease) $(timed worker)" = '0 0 2500' ]
}

@test "tally: a group that is dropped takes its counters with it" {
    publish -t a -d 1
    consume -g g --from start -- true
    spool group drop g
    consume -g g --from start --to 0 -- true
    run -0 counted g
    [ -z "$output" ]
}

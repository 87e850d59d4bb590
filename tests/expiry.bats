# expirytime: from then on the event is not delivered, wherever it was, and is pending nowhere.
load helper

setup() {
    helper_setup
    needs_world
    echo 0 >clock
}

# nothing_left [EVENT]: to all that ask, there is nothing pending, and the event has expired.
nothing_left() {
    [ "$(world spool group show g -o ndjson | jq -c '[.lag,.due,.waiting,.in_flight,.dead]')" = '[0,0,0,0,0]' ]
    [ -z "$(world replay -g g)" ]
    [ -z "$(world consume -g g --dry-run)" ]
    world spool wait -g g --wait 0
    world publish -t other -d 0 --max-pending 1 --wait 0
    [ -z "${1:-}" ] || [[ $(world trace "$1" -g g -o ndjson) == *"$2"* ]]
}

@test "expiry: an event that waits for its time, or for a retry, is not handed out after it has expired" {
    publish -t n -d 1 --delay 2h --ttl 1h
    publish -t n -d 2 --ttl 1h
    run -0 --separate-stderr consume -g g -t n --from start -- sh -c 'echo delay 2h >&3; exit 1'
    [[ ${stderr_lines[0]} == *'seq 2 n '*': exit status 1, attempt 1: it expires before the next' ]]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.waiting]')" = '[2,2]' ]
    echo 3660 >clock
    nothing_left 1 '"state":"expired"'
    for hours in 1 3; do
        echo $((hours * 3600 + 60)) >clock
        run -0 --separate-stderr world consume -g g -- echo run
        [ -z "$output$stderr" ]
        nothing_left 1 'it expired at'
    done
    [ "$(world spool group show g -o ndjson | jq -c '[.done,.retried]')" = '[0,1]' ]
}

@test "expiry: an expired event that no consumer has seen is pending nowhere, its neighbours are" {
    publish -t n -d 1 --ttl 1h
    publish -t n -d 2
    consume -g g -t n --from start --to 0 -- true
    echo 3660 >clock
    [ "$(world spool group show g -o ndjson | jq .lag)" = 1 ]
    [ "$(world replay -g g | jq .data)" = 2 ]
    run -75 --separate-stderr world publish -t n -d 3 --max-pending 1 --wait 0
    world publish -t n -d 3 --max-pending 2 --wait 0
    run -75 --separate-stderr world spool wait -g g --wait 0
    [ "$stderr" = 'spool: group "g" is not finished: 2 ahead, 0 in flight, 0 due, 0 waiting' ]
    run -0 world trace 1 -g g -o ndjson
    [[ $output == *'"state":"expired","why":"expired at '* ]]
    run -0 --separate-stderr world consume -g g -- printenv EVENT_SEQ
    [ "$output" = $'2\n3' ]
}

@test "expiry: it is checked when a handler begins, too: expired events claimed ahead are dropped" {
    seq 3 | publish -t n --ttl 1h
    run -0 --separate-stderr world consume -g g -t n --from start -- sh -c 'echo 3660 >clock; echo "$EVENT_SEQ"'
    [ "$output" = 1 ]
    nothing_left 2 'it expired at'
    [ "$(world spool group show g -o ndjson | jq .done)" = 1 ]
}

@test "expiry: a worker does not get an expired event" {
    seq 3 | publish -t n --ttl 1h
    cat >w <<'END'
#!/bin/bash
while read -r line; do
    echo 3660 >clock
    echo "$line" >>seen
    jq -c '{id}' <<<"$line"
done
END
    chmod +x w
    run -0 --separate-stderr world consume -g g -t n --from start --workers --window 1 -- ./w
    [ "$(jq -c .data seen)" = 1 ]
    nothing_left
}

@test "expiry: neither a pipe nor a consumer that takes over from a dead one gets an expired event" {
    seq 2 | publish -t n --ttl 1h
    background world consume -g g -t n --from start -- sh -c 'echo "$EVENT_SEQ" >begun; exec sleep 600'
    wait_for test -s begun
    slay "-$pid"
    echo 3660 >clock
    run -0 --separate-stderr world consume -g g --auto-ack
    [ -z "$output$stderr" ]
    nothing_left
}

@test "expiry: an expired event no longer holds its subject, though its retry would be later" {
    publish -t n -k s -d 1 --ttl 1h
    seq 2 4 | publish -t n -k s
    publish -t n -k s -d 5 --ttl 1h
    world consume -g g -t n --from start --ordered -n 1 -- sh -c 'echo delay 2h >&3; exit 1' 2>/dev/null
    world consume -g g -- echo run
    [ "$(spool group show g -o ndjson | jq .waiting)" = 5 ]
    echo 3660 >clock
    [ "$(world spool group show g -o ndjson | jq .lag)" = 3 ]
    run -0 --separate-stderr world consume -g g -- printenv EVENT_SEQ
    [ "$output" = $'2\n3\n4' ]
    [ -z "$stderr" ]
    nothing_left
}

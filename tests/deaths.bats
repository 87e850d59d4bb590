# Events whose consumers die: which events are blamed for it, and which have to wait for others.
load helper

group_is() { # LAG IN_FLIGHT DEAD
    [ "$(spool group show g -o ndjson | jq -r '"\(.lag) \(.in_flight) \(.dead)"')" = "$1 $2 $3" ]
}

begun() { # N: so many lines are in the file begun
    [ -e begun ] && [ "$(wc -l <begun)" -ge "$1" ]
}

# killed N COMMAND...: a consumer of that, killed once N events have begun.
killed() {
    local n=$1
    shift
    : >begun
    background "$@"
    wait_for begun "$n"
    slay "$pid"
}

@test "deaths: kills of a consumer with workers make no dead letters of events that no worker has seen" {
    seq 200 | publish -t n
    consume -g g --from start --to 0 -- true
    cat >hang <<'END'
#!/bin/bash
while read -r line; do echo "$line" >>begun; done
exec sleep 600
END
    chmod +x hang
    for _ in 1 2 3; do
        killed 3 consume -g g -a 1 --workers --window 3 -- ./hang
    done
    run -0 --separate-stderr timeout 60 consume -g g --workers -a 1 -- jq -c --unbuffered '{id}'
    group_is 0 0 0
}

@test "deaths: whatever -a is, an event has run alone before it is dead for killing its consumers" {
    seq 6 | publish -t n
    cat >h <<'END'
begun=begun.$1
echo "$EVENT_SEQ" >>$begun
if [ "$EVENT_SEQ" = 3 ]; then
    while [ "$1" -le 2 ] && [ "$(wc -l <$begun)" -lt 6 ]; do sleep 0.01; done
    kill -KILL "$PPID"
    exec sleep 600
elif [ "$1" -le 2 ]; then
    exec sleep 600
fi
echo "$EVENT_SEQ" >>handled
END
    for n in 1 2 3; do
        run -137 consume -g g --from start -a 1 -j 6 -- sh h "$n"
        noticed
    done
    [ "$(tail -n 1 begun.3)" = 3 ]
    run -1 consume -g g -a 1 -j 6 -- sh h 4
    [ "$(sort handled | paste -sd' ')" = '1 2 4 5 6' ]
    [ "$(dlq list -g g -o ndjson | jq -r '"\(.seq) \(.reason)"')" = '3 its consumer died' ]
}

@test "deaths: an event that must run alone has its turn, however much there is to do" {
    publish -t bad -d 0
    for _ in 1 2; do
        killed 1 consume -g g --from start -- sh -c 'echo >>begun; exec sleep 600'
    done
    publish -t again -d 0
    publish -t load -d 0
    publish -t load -d 0
    # There is always a load to be handled: each publishes the next one. What fails is due again at
    # a time when there is something in hand.
    timeout 60 consume -g g -f -n 60 -j 2 -- sh -c 'echo "$EVENT_TYPE" >>log
        case $EVENT_TYPE in
        load) publish -t load -d 0 ;;
        *) [ "$EVENT_ATTEMPT" -gt 4 ] || { echo delay 20ms >&3; exit 1; } ;;
        esac' 2>/dev/null
    [ "$(grep -c bad log)" -eq 4 ]
    [ "$(grep -c again log)" -eq 5 ]
    [ "$(grep -c load log)" -eq 51 ]
}

@test "deaths: many events that must run alone leave the others their turn" {
    seq 20 | publish -t bad
    for _ in 1 2; do
        killed 20 consume -g g --from start -j 20 -- sh -c 'echo >>begun; exec sleep 600'
    done
    seq 20 | publish -t good
    mkdir running
    run -0 --separate-stderr consume -g g -j 4 -- sh -c ': >"running/$EVENT_SEQ"
        [ "$EVENT_TYPE" = good ] || [ "$(ls running)" = "$EVENT_SEQ" ] || echo not alone
        echo "$EVENT_TYPE" >>log
        rm "running/$EVENT_SEQ"'
    [ -z "$output" ]
    [ "$(grep -c bad log)" -eq 20 ]
    [ "$(grep -c good log)" -eq 20 ]
    # The last of the good ones is before the last of the others.
    [ "$(grep -n good log | tail -n 1 | cut -d: -f1)" -lt 40 ]
}

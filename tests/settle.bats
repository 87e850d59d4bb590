# consume --lease and settle: events over a pipe, settled at its end.
load helper

events() { # N: with ids e1, e2 ...
    seq "$1" | sed 's/.*/{"type":"n","id":"e&","source":"s","data":&}/' | publish
}

group_is() { # LAG IN_FLIGHT DEAD
    [ "$(spool group show g -o ndjson | jq -r '"\(.lag) \(.in_flight) \(.dead)"')" = "$1 $2 $3" ]
}

# handed N: hand out N events of group g, once, and let their lease run on.
handed() { # N [LEASE]
    events "$1"
    consume -g g --from start -n "$1" --lease "${2:-1h}" >out
}

@test "settle: events that reach the end of the pipe are done" {
    events 2500
    run -0 --separate-stderr sh -c 'consume -g g --from start --lease 1m | settle -g g'
    [ -z "$output$stderr" ]
    group_is 0 0 0
    run -0 --separate-stderr sh -c 'consume -g g --lease 1m | settle -g g'
    [ -z "$output$stderr" ]
}

@test "settle: may be there before the spool and the group are" {
    mkfifo p
    background sh -c 'exec settle -g g <p 2>said'
    exec 8>p
    events 2
    consume -g g --from start --lease 1h >&8
    exec 8>&-
    wait "$pid"
    [ ! -s said ]
    group_is 0 0 0
}

@test "settle: takes lines, other lines with the same id and source, and bare ids" {
    handed 4
    run -75 settle -g g < <(sed -n 1p out)
    run -75 settle -g g <<<'{"id":"e2","source":"s"}'
    printf ' e3 \r\n' >ids
    run -75 --separate-stderr settle -g g ids
    [ "$stderr" = 'settle: group "g": 1 handed out and not settled: they are delivered again when their lease has run out' ]
    group_is 1 1 0
    run -0 --separate-stderr settle -g g - <<<'e4'
    [ -z "$stderr" ]
    group_is 0 0 0
}

@test "settle: events that are handed out go to no other consumer" {
    handed 3
    run -0 --separate-stderr consume -g g -- printenv EVENT_SEQ
    [ -z "$output" ]
    [ "$stderr" = 'consume: group "g": 3 in the hands of other consumers' ]
    group_is 3 3 0
}

@test "settle: --retry counts as an attempt, --defer does not, --dead makes a dead letter" {
    handed 3
    settle -g g --retry <<<e1 || [ $? -eq 75 ]
    settle -g g --defer <<<e2 || [ $? -eq 75 ]
    run -0 settle -g g --dead 'no such customer' <<<e3
    run -0 consume -g g -- printenv EVENT_ID EVENT_ATTEMPT
    [ "$(paste -sd' ' <<<"$output")" = 'e1 2 e2 1' ]
    run -0 dlq list -o ndjson
    [ "$(jq -c '[.id,.attempts,.status,.reason]' <<<"$output")" = '["e3",1,0,"no such customer"]' ]
    [ "$(replay -t sys.dead-lettered | jq -c '[.data.id,.data.reason]')" = '["e3","no such customer"]' ]
}

@test "settle: --delay holds them back, and after -a attempts a retry is a dead letter" {
    handed 2
    settle -g g --retry --delay 1h <<<e1 || [ $? -eq 75 ]
    run -0 settle -g g --retry -a 1 <<<e2
    run -0 --separate-stderr consume -g g --dry-run
    [ -z "$output" ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.waiting,.dead]')" = '[1,1,1]' ]
    [ "$(dlq list -o ndjson | jq -r .reason)" = 'settle --retry' ]
}

@test "settle: the first settle wins, and events that are not handed out are counted" {
    handed 2
    run -75 settle -g g <<<e1
    run -75 --separate-stderr settle -g g --dead late <<<$'e1\ne1'
    [ "${stderr_lines[0]}" = 'settle: 2 no longer handed out: settled already' ]
    run -0 --separate-stderr settle -g g <<<e2
    group_is 0 0 0
    run -0 --separate-stderr settle -g g <<<e2
    [ "$stderr" = 'settle: 1 no longer handed out: settled already' ]
}

@test "settle: a bad line is reported, and the others are settled" {
    handed 3
    printf '%s\n' e1 e9 '{"id":' '{"type":"n"}' e2 '' e3 >in
    run -65 --separate-stderr settle -g g in
    [ "${stderr_lines[0]}" = 'settle: in: line 2: there is no event with id "e9"' ]
    [[ ${stderr_lines[1]} == 'settle: in: line 3: '* ]]
    [ "${stderr_lines[2]}" = 'settle: in: line 4: has no "id"' ]
    [ "${#stderr_lines[@]}" -eq 3 ]
    group_is 0 0 0
}

@test "settle: an id that fits events of two sources needs the line" {
    publish <<<'{"type":"n","id":"e","source":"a"}'
    publish <<<'{"type":"n","id":"e","source":"b"}'
    consume -g g --from start --lease 1h >out
    run -65 --separate-stderr settle -g g <<<e
    [ "$stderr" = 'settle: line 1: id "e" matches events of several sources: give their lines, not their ids' ]
    run -75 settle -g g <<<'{"id":"e","source":"b"}'
    run -0 settle -g g <<<e
    group_is 0 0 0
}

@test "settle: all digits are a position, id: is an id, and a number that could be both is refused" {
    publish <<<$'{"type":"n","id":"2"}\n{"type":"n","id":"1"}\n{"type":"n","id":"77"}\n{"type":"n","id":"e4"}'
    consume -g g --from start --lease 1h >out
    run -65 --separate-stderr settle -g g <<<2
    [ "$stderr" = 'settle: line 1: 2 is a position, and the id of the event at 1: write 1, or id:2' ]
    for wrong in 77 0 99999999999999999999; do
        run -65 --separate-stderr settle -g g <<<"$wrong"
        [ "$stderr" = "settle: line 1: there is no event at position $wrong; an id is id:$wrong" ]
    done
    group_is 4 4 0
    run -75 settle -g g <<<id:2
    run -75 settle -g g <<<2 # nothing is left that has this id
    run -75 settle -g g <<<'{"id":"77"}'
    run -0 settle -g g <<<4
    group_is 0 0 0
}

@test "settle: an event that is neither handed out nor settled is 75, and stays as it is" {
    seq 6 | sed 's/.*/{"type":"n","id":"e&"}/' | publish
    # e1 waits, e2 is dead, e3 is in the hands of a handler, e4 is handed out, e5 and e6 are ahead.
    consume -g g --from start -n 2 --backoff 90d..90d -- sh -c '[ "$EVENT_ID" = e1 ] && exit 1; exit 65' 2>/dev/null || [ $? -eq 1 ]
    mkfifo latch
    background consume -g g -n 1 -- sh -c ': >held; read x <latch'
    wait_for test -e held
    consume -g g -n 1 --lease 1h >out
    [ "$(jq -r .id out)" = e4 ]
    for id in e1 e3 e5; do
        run -75 --separate-stderr settle -g g <<<"$id"
        [ "${stderr_lines[0]}" = 'settle: group "g": 1 not handed out, and not settled: they wait, or other consumers hold them' ]
    done
    run -75 --separate-stderr settle -g g --dead no <<<$'e1\ne6'
    [[ $stderr == 'settle: group "g": 2 not handed out, and not settled: '* ]]
    run -75 --separate-stderr settle -g g <<<e2
    [ "${stderr_lines[0]}" = 'settle: 1 no longer handed out: settled already' ]
    run -0 --separate-stderr settle -g g --retry <<<$'e4\ne4\ne1'
    [ "$stderr" = 'settle: 2 no longer handed out: they are delivered again, or were settled already' ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.in_flight,.dead]')" = '[5,1,1]' ]
    echo >latch
    ends_with 0 "$pid"
}

@test "settle: when a lease runs out the event is delivered again, and an attempt is counted" {
    handed 2 1ms
    again() { consume -g g -- printenv EVENT_ID EVENT_ATTEMPT >again; [ -s again ]; }
    wait_for again
    [ "$(paste -sd' ' again)" = 'e1 2 e2 2' ]
    run -0 --separate-stderr settle -g g <<<$'e1\ne2'
    [ "$stderr" = 'settle: 2 no longer handed out: settled already' ]
}

@test "settle: a lease that runs out after the last attempt leaves a dead letter" {
    handed 1 1ms
    dead() { consume -g g -a 1 -- true; [ "$(dlq list -g g | wc -l)" -eq 1 ]; }
    wait_for dead
    [ "$(dlq list -o ndjson | jq -r .reason)" = 'its lease ran out' ]
    [ "$(replay -t sys.dead-lettered | jq -r .data.reason)" = 'its lease ran out' ]
}

@test "settle: a late settle counts until the event is claimed again" {
    handed 1 1ms
    run -0 --separate-stderr settle -g g <<<e1
    [ -z "$stderr" ]
    group_is 0 0 0
}

@test "settle: ends with 75 when not all events handed out to its pipe are settled" {
    events 10
    run -75 --separate-stderr sh -c 'consume -g g --from start --lease 1h | head -n 4 | settle -g g'
    [ "$stderr" = 'settle: group "g": 6 handed out and not settled: they are delivered again when their lease has run out' ]
    # What another pipe has in hand is not missed.
    publish -t n --id late -d 1
    run -0 --separate-stderr sh -c 'consume -g g --lease 1h | settle -g g'
    [ "$stderr" = 'consume: group "g": 6 in the hands of other consumers' ]
    run -75 settle -g g </dev/null
}

@test "settle: the bridge to another spool, cut at any point, loses nothing and doubles nothing" {
    events 300
    rounds=0
    until [ "$(spool group show g -o ndjson 2>/dev/null | jq .lag)" = 0 ] || [ "$((rounds += 1))" -gt 200 ]; do
        n=$((RANDOM % 120))
        # Ever longer: a slow machine settles nothing in time otherwise.
        consume -g g --from start --lease $((20 + 20 * rounds))ms -a 1000000 2>/dev/null | head -n "$n" |
            sh -c 'publish -s there.db --echo 2>/dev/null' | head -n "$((n * 3 / 4 + 1))" | settle -g g 2>/dev/null || true
    done
    group_is 0 0 0
    replay -t n >here
    replay -s there.db | sort | cmp - <(sort here)
}

@test "settle: the bridge ends with 75 when the other side fails" {
    events 3
    run -75 sh -c 'consume -g g --from start --lease 1h | sh -c "cat >/dev/null; exit 255" | settle -g g'
    group_is 3 3 0
}

@test "consume: --lease returns events that the reader did not take" {
    seq 20000 | publish -t n
    run -0 sh -c 'consume -g g --from start --lease 1h | head -n 1 >/dev/null'
    read -r lag flight < <(spool group show g -o ndjson | jq -r '"\(.lag) \(.in_flight)"')
    [ "$lag" -eq 20000 ]
    [ "$flight" -lt 20000 ]
}

@test "consume: --lease -f hands out new events and returned ones" {
    background sh -c 'exec consume -g g --from start --lease 50ms -f -a 1000000 >out'
    publish -t n --id e1 -d 1
    twice() { [ "$(grep -c e1 out)" -ge 2 ]; }
    wait_for twice
    settled() { settle -g g <<<e1; group_is 0 0 0; }
    wait_for settled
    kill "$pid"
    wait "$pid"
}

@test "settle and --lease: options that do not go together are 64" {
    run -64 --separate-stderr settle
    [ "$stderr" = 'settle: -g GROUP is missing (see settle --help)' ]
    run -64 settle -g g --retry --defer
    run -64 settle -g g --delay 1s
    run -64 settle -g g -a 3
    run -64 settle -g g --dead ''
    run -64 consume -g g --from start --lease 1m --auto-ack
    run -64 --separate-stderr consume -g g --from start --lease 1m -- cat
    [[ $stderr == "consume: --lease is for a pipe: a command's exit status settles its event"* ]]
    run -64 consume -g g --from start --lease 0
    spool_missing
    run -66 settle -g g </dev/null
    events 1
    run -66 --separate-stderr settle -g g </dev/null
    [ "$stderr" = "settle: there is no group \"g\" in $EVENT_SPOOL" ]
}

@test "settle: a pipe that hands out events is a consumer: seek and drop wait for its end, and for its leases" {
    publish -t n -d 1
    background consume -g g --from start -f --lease 1h >out
    wait_for test -s out
    [ "$(spool group show g -o ndjson | jq -c '[.state,.consumers]')" = '["active",1]' ]
    run -75 --separate-stderr spool group drop g
    [ "$stderr" = 'spool: group "g": it has 1 running consumer: end them first' ]
    kill -TERM "$pid"
    wait "$pid"
    for verb in 'drop g' 'seek g start'; do
        # shellcheck disable=SC2086
        run -75 --separate-stderr spool group $verb
        [ "$stderr" = 'spool: group "g": it has leased events: settle them, or wait until their lease has run out' ]
    done
    settle -g g out
    run -0 spool group drop g
}

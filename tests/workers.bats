# consume --workers: processes that stay, and answer each event with a line.
load helper

# A worker: bash with the answers that the test wants. It is read with its events as $line, $id
# and $data; answer STATUS [MEMBERS] answers.
worker() { # SCRIPT
    {
        cat <<'END'
#!/bin/bash
answer() { printf '{"id":"%s","status":"%s"%s}\n' "$id" "$1" "${2:+,$2}"; }
while IFS= read -r line; do
    id=${line#*\"id\":\"} id=${id%%\"*} data=${line##*\"data\":} data=${data%\}}
END
        printf '%s\ndone\n' "$1"
    } >w
    chmod +x w
}

events() { # N: with ids e1, e2 ...
    seq "$1" | sed 's/.*/{"type":"n","id":"e&","data":&}/' | publish
}

group_is() { # LAG IN_FLIGHT DEAD
    [ "$(spool group show g -o ndjson | jq -r '"\(.lag) \(.in_flight) \(.dead)"')" = "$1 $2 $3" ]
}

@test "workers: one process answers many events" {
    events 500
    worker 'echo "$$ $data" >>seen; answer "done"'
    run -0 --separate-stderr consume -g g --from start --workers -- ./w
    [ -z "$output$stderr" ]
    [ "$(cut -d' ' -f1 seen | sort -u | wc -l)" -eq 1 ]
    [ "$(cut -d' ' -f2 seen)" = "$(seq 500)" ]
    group_is 0 0 0
}

@test "workers: -j of them share the events, each with its number and no event's environment" {
    events 300
    worker 'echo "$EVENT_WORKER ${EVENT_GROUP} ${EVENT_SPOOL##*/} ${EVENT_ID-none} ${EVENT_SEQ-none}" >>env; echo "$data" >>seen; answer "done"'
    run -0 --separate-stderr env EVENT_ID=outer consume -g g --from start --workers -j 3 --window 8 -- ./w
    [ "$(sort -n seen)" = "$(seq 300)" ]
    [ "$(sort -u env)" = "$(printf "%d g ${EVENT_SPOOL##*/} none none\n" 1 2 3)" ]
}

@test "workers: an answer without a status is done" {
    events 2
    worker 'echo "{\"id\":\"$id\"}"'
    run -0 --separate-stderr consume -g g --from start --workers -- ./w
    group_is 0 0 0
}

@test "workers: retry, dead and defer do what their names mean, with their error" {
    events 3
    worker 'case $data in
        1) answer dead "\"error\":\"card declined\"" ;;
        2) answer retry "\"error\":\"busy\",\"delay\":\"1h\"" ;;
        *) answer "done" ;;
        esac'
    run -1 --separate-stderr consume -g g --from start --workers -- ./w
    [ "${stderr_lines[0]}" = 'consume: seq 1 n "e1": card declined, attempt 1: dead letter' ]
    [[ ${stderr_lines[1]} == 'consume: seq 2 n "e2": busy, attempt 1: again in '@(59m*|1h) ]]
    [ "$(dlq list -o ndjson | jq -c '[.id,.attempts,.status,.reason]')" = '["e1",1,0,"card declined"]' ]
    group_is 1 0 1
    worker 'answer defer "\"error\":\"closed\",\"delay\":\"1h\""'
    dlq retry -g g --all
    run -75 --separate-stderr consume -g g --workers -- ./w
    [[ ${stderr_lines[0]} == 'consume: seq 1 n "e1": closed: group "g" is on hold until '* ]]
    [ "$(spool group show g -o ndjson | jq .lag)" = 2 ]
}

@test "workers: a retry without a delay is tried again, and after -a attempts it is dead" {
    events 2
    worker 'echo "$data" >>seen; [ "$data" = 1 ] && answer retry || answer "done"'
    run -1 --separate-stderr consume -g g --from start --workers -a 3 --backoff 0 -- ./w
    [ "$(sort seen | paste -sd' ')" = '1 1 1 2' ]
    [ "$(dlq list -o ndjson | jq -c '[.id,.attempts,.reason]')" = '["e1",3,"its worker says so"]' ]
}

@test "workers: the output in answers is printed, a line each, in the order of the answers" {
    events 3
    worker 'answer "done" "\"out\":{\"n\": $data.0}"'
    run -0 --separate-stderr consume -g g --from start --workers -- ./w
    [ "$output" = $'{"n": 1.0}\n{"n": 2.0}\n{"n": 3.0}' ]
}

@test "workers: with --emit their output is published, one event or several" {
    events 2
    worker 'answer "done" "\"out\":[{\"type\":\"m\",\"data\":$data},{\"type\":\"k\",\"data\":$data}]"'
    run -0 --separate-stderr consume -g g --from start --workers --emit -- ./w
    [ -z "$output" ]
    run -0 replay -t m -t k
    [ "$(jq -c '[.type,.data,.causationid]' <<<"$output" | paste -sd' ')" = '["m",1,"e1"] ["k",1,"e1"] ["m",2,"e2"] ["k",2,"e2"]' ]
}

@test "workers: may answer out of order, and with escapes" {
    events 4
    worker 'ids+=("$id"); [ "${#ids[@]}" -lt 4 ] || for id in "${ids[@]:1}" "$ids"; do printf "{\"\\\\u0069d\":\"\\\\u0065%s\"}\n" "${id#e}"; done'
    run -0 --separate-stderr consume -g g --from start --workers -- ./w
    [ -z "$stderr" ]
    group_is 0 0 0
}

@test "workers: two events of one id are answered oldest first" {
    publish <<<'{"type":"n","id":"e","source":"a","data":1}'
    publish <<<'{"type":"n","id":"e","source":"b","data":2}'
    worker 'all+=("$data"); [ "${#all[@]}" -lt 2 ] || { answer dead; answer "done"; }'
    run -1 --separate-stderr consume -g g --from start --workers -- ./w
    [ "$(dlq list -o ndjson | jq .seq)" = 1 ]
}

@test "workers: at most --window events are unanswered at a time" {
    events 20
    worker 'echo "$data" >>seen; n=$((n + 1)); ids+=("$id"); [ "$n" -lt 5 ] || { for id in "${ids[@]}"; do answer "done"; done; ids=(); n=0; echo -- >>seen; }'
    run -0 --separate-stderr consume -g g --from start --workers --window 5 -- ./w
    [ "$(grep -c -- -- seen)" -eq 4 ]
    group_is 0 0 0
}

@test "workers: a worker that ends has its unanswered events retried, and another takes its place" {
    events 6
    worker 'echo "$data" >>seen
        [ "$data" = 3 ] && [ ! -e died ] && { : >died; echo "out of memory" >&2; exit 7; }
        answer "done"'
    run -0 --separate-stderr consume -g g --from start --workers --window 2 --backoff 0 -- ./w
    [[ $stderr == *'seq 3 n "e3": its worker ended: exit status 7, attempt 1: again at once'* ]]
    [ "$(sort -n seen | uniq | paste -sd' ')" = '1 2 3 4 5 6' ]
    group_is 0 0 0
}

@test "workers: the end of a worker costs its oldest event an attempt, and later ones none" {
    events 6
    worker '[ "$data" = 3 ] && exit 7; answer "done"'
    run -1 --separate-stderr consume -g g --from start --workers -a 3 --backoff 0 -- ./w
    [ "$(dlq list -o ndjson | jq -c '[.id,.attempts,.reason]')" = '["e3",3,"its worker ended: exit status 7"]' ]
    [ "$(grep -c . <<<"$stderr")" -eq 4 ]
    group_is 0 0 1
}

@test "workers: an event that ends its workers is dead after -a attempts, with their last message" {
    events 3
    worker '[ "$data" = 2 ] && { echo "cannot digest $data" >&2; kill -SEGV $$; }; answer "done"'
    run -1 --separate-stderr consume -g g --from start --workers --window 1 -a 2 --backoff 0 -- ./w
    group_is 0 0 1
    run -0 dlq show -g g -o ndjson
    [ "$(jq -r '.history[].reason' <<<"$output" | sort -u)" = 'its worker ended: killed by signal 11 (Segmentation fault)' ]
    [ "$(jq -r '.history[0].stderr' <<<"$output")" = 'cannot digest 2' ]
}

@test "workers: a line that is not an answer ends the worker" {
    for line in '' 'hello' '{}' '{"id":5}' '{"id":"e9"}' '{"id":"e1","status":"ok"}' '{"id":"e1","delay":"soon"}' \
        '{"id":"e1","stauts":"retry"}' '{"id":"e1"} {"id":"e1"}' '["e1"]'; do
        no_spool
        events 1
        printf '%s\n' "$line" >line
        worker 'cat line'
        run -1 --separate-stderr consume -g g --from start --workers -a 1 -- ./w
        [[ $(dlq list -o ndjson | jq -r .reason) == 'its worker answered "'* ]]
    done
    events 1
    worker 'printf "{\"id\":\"%s\"}\n{\"id\":\"%s\"}\n" "$id" "$id"'
    run -0 --separate-stderr consume -g h --from start --workers -- ./w
}

@test "workers: an error in an answer is reported" {
    rows=0
    while IFS='|' read -r answer why; do
        no_spool
        events 1
        printf '%s\n' "$answer" >line
        worker 'cat line'
        run -1 --separate-stderr consume -g g --from start --workers -a 1 -- ./w
        [[ $(dlq list -o ndjson | jq -r .reason) == 'its worker answered "'*"\": $why" ]]
        rows=$((rows + 1))
    done <<'END'
hello|unexpected "h" at byte 1
[]|is not an object
{}|has no "id"
{"id":"e9"}|no event with that id waits for an answer
{"id":"e1","status":"DONE"}|"status" must be done, retry, dead or defer
{"id":"e1","status":null}|"status" is not a string
{"id":"e1","extra":"x"}|unknown member "extra"
{"id":"e1","delay":"x"}|"delay" wants a duration like 500ms, 30s, 1.5h, 7d: "x"
END
    [ "$rows" -eq 8 ]
}

@test "workers: a worker that closes its output, or ends at once, causes no hang" {
    events 1
    run -1 --separate-stderr consume -g g --from start --workers -a 1 -- sh -c 'exec >&-; exec sleep 600'
    [ "$(dlq list -g g -o ndjson | jq -r .reason)" = 'its worker closed its output' ]
    run -1 --separate-stderr consume -g h --from start --workers -a 2 --backoff 0 -- true
    [ "$(dlq list -g h -o ndjson | jq -r .reason)" = 'its worker ended: exit status 0' ]
}

@test "workers: an event that takes longer than --timeout ends its worker, and is retried" {
    events 2
    worker '[ "$data" = 1 ] && [ ! -e hung ] && { : >hung; sleep 600; }; answer "done"'
    run -0 --separate-stderr consume -g g --from start --workers --window 1 --timeout 2s --grace 1s --backoff 0 -- ./w
    [[ $stderr == *'seq 1 n "e1": its worker ended: timed out after 2s, attempt 1: again at once'* ]]
    group_is 0 0 0
}

@test "workers: a command that cannot be run costs no event an attempt" {
    events 1
    run -127 --separate-stderr consume -g g --from start --workers -- ./none
    [ "$stderr" = 'consume: cannot run "./none": not found' ]
    : >plain
    run -126 --separate-stderr consume -g g --from start --workers -- ./plain
    run -0 consume -g g --from start -- printenv EVENT_ATTEMPT
    [ "$output" = 1 ]
}

@test "workers: on a stop they finish the events they have, and see the end of their input" {
    events 4
    worker 'echo "$data" >>seen; [ "$data" != 1 ] || while [ ! -e go ]; do sleep 0.02; done; answer "done"'
    echo ': >ended' >>w
    background sh -c 'exec consume -g g --from start -f --workers --window 2 -- ./w'
    wait_for test -s seen
    kill -TERM "$pid"
    : >go
    wait "$pid"
    [ -e ended ]
    [ "$(paste -sd' ' seen)" = '1 2' ]
    group_is 2 0 0
    run -0 consume -g g -- printenv EVENT_ATTEMPT
    [ "$output" = $'1\n1' ]
}

@test "workers: after the grace they are ended, and their events count no attempt" {
    events 2
    worker ': >begun; trap "" TERM; while :; do sleep 600; done'
    background sh -c 'exec consume -g g --from start -f --workers --grace 10ms -- ./w'
    wait_for test -e begun
    kill -TERM "$pid"
    wait "$pid"
    run -0 consume -g g -- printenv EVENT_ATTEMPT
    [ "$output" = $'1\n1' ]
}

@test "workers: follow the log, and stay between events" {
    worker 'echo "$$" >>pids; answer "done"'
    background sh -c 'exec consume -g g --from start -f --workers -- ./w'
    for i in 1 2 3; do
        publish -t n -d "$i"
        has() { [ -e pids ] && [ "$(wc -l <pids)" -eq "$1" ]; }
        wait_for has "$i"
    done
    [ "$(sort -u pids | wc -l)" -eq 1 ]
    kill "$pid"
    wait "$pid"
    group_is 0 0 0
}

@test "workers: killed with their consumer, and their events go to the next one" {
    events 3
    worker 'echo "$$" >begun; exec sleep 600'
    background sh -c 'exec consume -g g --from start --workers -- ./w'
    wait_for test -s begun
    slay "$pid"
    gone() { ! kill -0 "$(cat begun)" 2>/dev/null; }
    wait_for gone
    worker 'echo "$data" >>seen; answer "done"'
    run -0 consume -g g --workers -- ./w
    [ "$(sort seen | paste -sd' ')" = '1 2 3' ]
}

@test "workers: an out that is null means no output" {
    events 2
    worker 'answer "done" "\"out\":null"'
    run -0 --separate-stderr consume -g g --from start --workers -- ./w
    [ -z "$output$stderr" ]
    run -0 --separate-stderr consume -g h --from start --workers --emit -- ./w
    [ -z "$output$stderr" ]
}

@test "workers: options that do not go together are 64" {
    run -64 consume -g g --from start --workers --dead-on 1 -- ./w
    run -64 --separate-stderr consume -g g --from start --workers
    run -64 --separate-stderr consume -g g --from start --window 4 -- ./w
    [ "$stderr" = 'consume: --window goes with --workers (see consume --help)' ]
    run -64 --separate-stderr consume -g g --from start --auto-ack --emit
    spool_missing
}

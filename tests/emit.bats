# consume --emit: a handler's output is published, in the transaction that settles its event.
load helper

events() { # N: with ids e1, e2 ...
    seq "$1" | sed 's/.*/{"type":"order.placed","id":"e&","source":"s","subject":"o-&","data":&}/' | publish
}

emit='sed "s/.*\"data\":\(.*\)}/{\"type\":\"order.paid\",\"subject\":\"$EVENT_SUBJECT\",\"data\":\1}/"'

@test "emit: a handler's output is in the log, and not on stdout" {
    events 3
    run -0 --separate-stderr consume -g g --from start --emit -- sh -c "$emit"
    [ -z "$output$stderr" ]
    run -0 replay -t order.paid
    [ "$(jq -c '[.subject,.data]' <<<"$output" | paste -sd' ')" = '["o-1",1] ["o-2",2] ["o-3",3]' ]
}

@test "emit: an event continues the causal chain, and its source tells where it was made" {
    publish <<<'{"type":"a","id":"e1","source":"s","correlationid":"c-1","hops":3,"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'
    run -0 consume -g g --from start --emit -- echo '{"type":"b"}'
    run -0 replay -t b
    [ "$(jq -c '[.causationid,.correlationid,.hops,.source]' <<<"$output")" = "[\"e1\",\"c-1\",4,\"/$(uname -n)/g\"]" ]
    [[ $(jq -r .traceparent <<<"$output") == 00-0af7651916cd43dd8448eb211c80319c-*-01 ]]
    [[ $output != *b7ad6b7169203331* ]]
}

@test "emit: ids are derived from the cause, its group and the line, and sort by time" {
    events 2
    two='echo "{\"type\":\"b\"}"; echo; echo "{\"type\":\"c\"}"; echo "{\"type\":\"d\",\"id\":\"own\",\"data\":$EVENT_SEQ,\"source\":\"$EVENT_ID\"}"'
    run -0 consume -g g --from start --emit -- sh -c "$two"
    run -0 consume -g h --from start --emit -t order.placed -- sh -c "$two"
    replay -t b -t c | jq -r .id >ids
    [ "$(sort -u ids | wc -l)" -eq 8 ]
    [ "$(grep -cxE '[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}' ids)" -eq 8 ]
    # The same 48 bits of time as their cause, which was recorded in one commit.
    [ "$(cut -c1-13 ids | sort -u | wc -l)" -eq 1 ]
    [ "$(replay -t d | jq -r .id | sort -u)" = own ]
}

@test "emit: a handler that runs again publishes nothing twice" {
    events 20
    consume -g g --from start --emit -- sh -c "$emit"
    replay -t order.paid >first
    spool group drop g
    run -0 --separate-stderr consume -g g -t order.placed --from start --emit -- sh -c "$emit"
    [ -z "$stderr" ]
    replay -t order.paid | cmp first -
    # What is derived stands as it was first stored, whatever the handler says today.
    spool group drop g
    run -0 --separate-stderr consume -g g -t order.placed --from start --emit -- echo '{"type":"order.lost"}'
    [ -z "$stderr" ]
    [ "$(replay -t order.lost | wc -l)" -eq 0 ]
}

@test "emit: with consumers killed at any time, each event is there exactly once" {
    events 60
    consume -g g -t order.placed --from start --to 0 -- true
    rounds=0
    until [ "$(spool group show g -o ndjson | jq .lag)" = 0 ] || [ "$((rounds += 1))" -gt 60 ]; do
        timeout -s KILL "0.0$((RANDOM % 9 + 1))" consume -g g --emit -j 2 -a 1000 --backoff 0 -- sh -c "$emit" 2>/dev/null || true
    done
    consume -g g --emit -j 2 -a 1000 --backoff 0 -- sh -c "$emit"
    [ "$(replay -t order.paid | jq .data | sort -n)" = "$(seq 60)" ]
    [ "$(dlq list | wc -l)" -eq 0 ]
}

@test "emit: a failed attempt publishes nothing" {
    events 1
    run -1 --separate-stderr consume -g g --from start --emit -a 1 -- sh -c 'echo "{\"type\":\"b\"}"; exit 3'
    [ "$(replay -t b | wc -l)" -eq 0 ]
}

@test "emit: a line that is not an event makes its cause a dead letter, and nothing is published" {
    events 3
    run -1 --separate-stderr consume -g g -t order.placed --from start --emit -- sh -c 'echo "{\"type\":\"b\"}"
        [ "$EVENT_SEQ" != 2 ] || echo "oops"'
    [[ ${stderr_lines[0]} == 'consume: seq 2 order.placed "e2": line 2 of its output: unexpected "o" at byte 1, attempt 1: dead letter' ]]
    [ "$(replay -t b | jq -r .causationid | paste -sd' ')" = 'e1 e3' ]
    run -0 dlq list -o ndjson
    [ "$(jq -c '[.seq,.status,.reason]' <<<"$output")" = '[2,65,"line 2 of its output: unexpected \"o\" at byte 1"]' ]
}

@test "emit: an id of its own that is another event's makes a dead letter, and costs the others nothing" {
    events 4
    run -1 --separate-stderr consume -g g -t order.placed --from start --emit -j 4 -- sh -c '
        id=own-$EVENT_SEQ
        [ "$EVENT_SEQ" != 3 ] || id=e1 source=,\"source\":\"s\"
        echo "{\"type\":\"b\",\"id\":\"$id\"$source}"'
    [[ $stderr == *'seq 3 order.placed "e3": its output: id "e1" is already stored with other content (seq 1), attempt 1: dead letter'* ]]
    [ "$(replay -t b | jq -r .id | sort | paste -sd' ')" = 'own-1 own-2 own-4' ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.dead]')" = '[0,1]' ]
}

@test "emit: a version that is printed is the event's place in the stream" {
    events 1
    run -0 consume -g g --from start --emit -- echo '{"type":"b","subject":"k","version":1}'
    publish -t b -k k --expect-version 1 -d 2
    [ "$(replay -k k | jq .version | paste -sd' ')" = '1 2' ]
}

@test "emit: when another process has published the same version, the event is tried again" {
    events 1
    publish -t b -k k --expect-version none -d 1
    # The first time it decides on what it knew before.
    run -0 --separate-stderr consume -g g -t order.placed --from start --emit --backoff 0 -- sh -c '
        n=$(replay -k k | jq -s length)
        [ "$EVENT_ATTEMPT" != 1 ] || publish -t b -k k --expect-version "$n" -d 2
        echo "{\"type\":\"b\",\"subject\":\"k\",\"version\":$((n + 1))}"'
    [ "$stderr" = 'consume: seq 1 order.placed "e1": its output: subject "k" has another event at version 2, attempt 1: again at once' ]
    [ "$(replay -k k | jq .version | paste -sd' ')" = '1 2 3' ]
}

@test "emit: a loop of handlers ends after 64 events, with one dead letter" {
    publish -t ping -d 0
    run -0 timeout 60 consume -g g -t ping --from start -f -n 64 --emit -- echo '{"type":"ping"}'
    run timeout 60 consume -g g --emit -- echo '{"type":"ping"}'
    [ "$status" -eq 1 ]
    [ "$(replay -t ping | wc -l)" -eq 65 ]
    run -0 dlq list -o ndjson
    [ "$(jq -c '[.seq,.reason]' <<<"$output")" = '[65,"line 1 of its output: causal chain longer than 64 events, is it a cycle?"]' ]
}

@test "emit: much output is published, too, and wakes those that follow" {
    events 1
    background sh -c 'exec consume -g next -t b --from start -f --auto-ack >got'
    run -0 consume -g g --from start --emit -- sh -c 'seq 3000 | sed "s/.*/{\"type\":\"b\",\"data\":&}/"'
    all() { [ "$(wc -l <got)" -eq 3000 ]; }
    wait_for all
    [ "$(jq .data <got)" = "$(seq 3000)" ]
}

@test "emit: needs a command" {
    run -64 --separate-stderr consume -g g --from start --emit
    [ "$stderr" = 'consume: --emit needs a command (see consume --help)' ]
}

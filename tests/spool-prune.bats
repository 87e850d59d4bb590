load helper

# spool prune: what is removed, what stays, and which groups are named.

events() { # N [TYPE]
    seq "$1" | publish -t "${2:-n}"
}

left() { # the positions that are there
    replay -o positions | paste -sd' '
}

@test "prune: without groups all that is asked for is removed, except the newest event" {
    events 2500
    run -0 --separate-stderr spool prune --keep 10 --dry-run
    [ "$output" = '2490 events would be pruned' ]
    [ -z "$stderr" ]
    [ "$(replay | wc -l)" -eq 2500 ]
    run -0 --separate-stderr spool prune --keep 10
    [ "$output" = '2490 events pruned' ]
    [ -z "$stderr" ]
    [ "$(left)" = "$(seq 2491 2500 | paste -sd' ')" ]
    run -0 --separate-stderr spool prune --keep 10
    [ "$output" = '0 events pruned' ]
    run -0 spool prune --keep 9
    [ "$output" = '1 event pruned' ]
    run -0 spool prune --keep 0
    [ "$output" = '8 events pruned' ]
    [ "$(left)" = 2500 ]
    run -0 spool prune --before now --force
    [ "$output" = '0 events pruned' ]
    events 1
    [ "$(left)" = '2500 2501' ]
    run -0 spool check
}

@test "prune: --keep with more events than there are, and across gaps" {
    events 5
    run -0 spool prune --keep 5
    [ "$output" = '0 events pruned' ]
    run -0 spool prune --keep 1000000
    [ "$output" = '0 events pruned' ]
    spool prune --keep 3
    run -0 spool prune --keep 2
    [ "$output" = '1 event pruned' ]
    [ "$(left)" = '4 5' ]
}

@test "prune: of an empty spool" {
    consume -g g --from start -- true
    run -0 --separate-stderr spool prune --keep 0
    [ "$output" = '0 events pruned' ]
    run -0 --separate-stderr spool prune --before now --force
    [ "$output" = '0 events pruned' ]
    [ -z "$stderr" ]
}

@test "prune: --before a position, a time, a duration" {
    events 5
    run -0 spool prune --before 3
    [ "$(left)" = '3 4 5' ]
    run -0 spool prune --before 1h
    [ "$output" = '0 events pruned' ]
    run -0 spool prune --before start
    [ "$output" = '0 events pruned' ]
    run -0 spool prune --before 2100-01-01T00:00:00Z
    [ "$(left)" = 5 ]
}

@test "prune: events that a group has yet to see stay, and the group is named" {
    events 10
    consume -g ahead --from start -- true
    consume -g behind --from start -n 4 --auto-ack >/dev/null
    consume -g other -t none --from 3 --to 2 -- true
    run -0 --separate-stderr spool prune --keep 2
    [ "$output" = '2 events pruned' ]
    [ "$stderr" = 'spool: group "behind" has yet to see what is from position 5 on
spool: group "other" has yet to see what is from position 3 on' ]
    [ "$(left)" = '3 4 5 6 7 8 9 10' ]
    spool group drop other
    run -0 --separate-stderr spool prune --keep 2 --dry-run
    [ "$output" = '2 events would be pruned' ]
    [ "$stderr" = 'spool: group "behind" has yet to see what is from position 5 on' ]
    run -0 --separate-stderr spool prune --before 5
    [ "$output" = '2 events pruned' ]
    [ -z "$stderr" ]
    run -0 consume -g behind -- printenv EVENT_SEQ
    [ "$(paste -sd' ' <<<"$output")" = '5 6 7 8 9 10' ]
}

@test "prune: each priority has its own position, and one without events holds nothing back" {
    printf '{"type":"n","id":"%s","priority":%s}\n' a 5 b 0 c 5 d 0 e 5 f 5 | publish
    consume -g g --from start -n 3 -- printenv EVENT_ID >got
    [ "$(paste -sd' ' got)" = 'b d a' ]
    run -0 --separate-stderr spool prune --keep 0
    [ "$output" = '3 events pruned' ]
    [ "$stderr" = 'spool: group "g" has yet to see what is from position 3 on' ]
    [ "$(left)" = '3 5 6' ]
}

@test "prune: events that wait or are dead in a group stay, and are named" {
    events 6
    consume -g g --from start -a 2 --backoff 100d -- \
        sh -c 'case $EVENT_SEQ in 2|3) exit 65 ;; 4) exit 1 ;; esac' 2>/dev/null || [ $? -eq 1 ]
    run -0 --separate-stderr spool prune --keep 0
    [ "$output" = '3 events pruned' ]
    [ "$stderr" = 'spool: group "g" has yet to see what is from position 7 on
spool: group "g" keeps 1 waiting event, the first at position 4
spool: group "g" keeps 2 dead events, the first at position 2' ]
    [ "$(left)" = '2 3 4 7 8' ] # the last two tell of the dead ones
    dlq drop 2
    run -0 --separate-stderr spool prune --keep 0
    [ "$output" = '1 event pruned' ]
    run -0 dlq show 3
    [ "$(jq -c .event.data <<<"$output")" = 3 ]
}

@test "prune: events in flight stay, and so do all later ones" {
    events 5
    consume -g g --from start -n 1 -- true
    mkfifo latch
    background consume -g g -- sh -c 'echo >>started; [ $EVENT_SEQ != 2 ] || read x <latch'
    wait_for test -e started
    run -0 --separate-stderr spool prune --keep 0
    [ "$output" = '1 event pruned' ]
    [[ $stderr == *'spool: group "g" has events in flight and keeps what is from position 2 on' ]]
    timeout 60 sh -c 'echo >latch'
    wait "$pid"
    run -0 --separate-stderr spool prune --keep 0
    [ "$output" = '3 events pruned' ]
    [ -z "$stderr" ]
}

@test "prune: the newest version of each subject stays, so that its stream goes on" {
    for v in 0 1 2; do
        publish -t v -k a --expect-version "${v/#0/none}" -d 1
        publish -t v -k b --expect-version "${v/#0/none}" -d 1
    done
    events 1
    for force in '' --force; do
        run -0 spool prune --keep 0 $force
        [ "$(left)" = '5 6 7' ]
    done
    run -75 publish -t v -k a --expect-version none -d 1
    run -75 publish -t v -k a --expect-version 2 -d 1
    run -0 publish -t v -k a --expect-version 3 -d 1
}

@test "prune --force: removes events that groups have yet to see, and what groups remember about them" {
    events 6
    consume -g g --from start -n 3 -a 2 --backoff 100d -- \
        sh -c 'case $EVENT_SEQ in 1) exit 65 ;; 2) exit 1 ;; esac' 2>/dev/null || [ $? -eq 1 ]
    run -0 --separate-stderr spool prune --before 5 --force --dry-run
    [ "$output" = '4 events would be pruned' ]
    run -0 --separate-stderr spool prune --before 5 --force
    [ "$output" = '4 events pruned' ]
    [ -z "$stderr" ]
    run -0 spool group show g
    [ "$(jq -c '[.position,.lag,.waiting,.dead]' <<<"$output")" = '[4,2,0,0]' ]
    run -0 dlq list
    [ -z "$output" ]
    run -0 consume -g g -- printenv EVENT_SEQ
    [ "$output" = $'5\n6' ]
    run -0 spool check --max-lag 0 --max-dead 0
}

@test "prune --force: what is left of an event in the middle is still delivered" {
    for i in 1 2; do
        publish -t v -k $i --expect-version none -d 1
        events 2
    done
    consume -g g --from 1 --to 0 -- true
    run -0 spool prune --keep 0 --force
    [ "$output" = '3 events pruned' ]
    [ "$(left)" = '1 4 6' ]
    run -0 consume -g g -- printenv EVENT_SEQ
    [ "$(paste -sd' ' <<<"$output")" = '1 4 6' ]
}

@test "prune --force: a handler that is working on the event still settles it" {
    events 3
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo >>started; [ $EVENT_SEQ != 1 ] || { read x <latch; exit 1; }'
    wait_for test -e started
    run -0 spool prune --keep 0 --force
    [ "$output" = '2 events pruned' ]
    timeout 60 sh -c 'echo >latch'
    wait "$pid" || [ $? -eq 1 ]
    run -0 --separate-stderr timeout 60 consume -g g -- true
    [ "$(spool group show g | jq -c '[.in_flight,.position]')" = '[0,3]' ]
}

@test "prune --force: removing an event frees the next of its subject" {
    seq 5 | publish -t n -k s
    consume -g g --from start --ordered --backoff 100d -n 1 -- false 2>/dev/null
    consume -g g -- true 2>/dev/null # the others stand behind it
    [ "$(spool group show g | jq -c '[.lag,.waiting,.due]')" = '[5,5,0]' ]
    run -0 spool prune --keep 3 --force
    [ "$output" = '2 events pruned' ]
    [ "$(spool group show g | jq -c '[.lag,.waiting,.due]')" = '[3,2,1]' ]
    [ "$(replay -g g -o positions | paste -sd' ')" = '3 4 5' ]
    run -0 --separate-stderr consume -g g -- printenv EVENT_SEQ
    [ "$output" = $'3\n4\n5' ]
    [ -z "$stderr" ]
}

@test "prune --force: an event that is then behind another does not wait for a time" {
    seq 4 | publish -t n -k s
    consume -g g --from start --ordered --backoff 100d -n 1 -- false 2>/dev/null
    consume -g g -- true 2>/dev/null
    spool prune --keep 3 --force
    run -1 --separate-stderr consume -g g -a 1 -n 1 -- false
    [ "${stderr_lines[-1]}" = 'consume: group "g": 1 waiting behind earlier events of their subjects' ]
}

@test "prune --force: removing an event from behind its subject frees no other" {
    publish -t v -k s --expect-version none -d 1 # the newest version stays
    seq 3 | publish -t n -k s
    consume -g g --from start --ordered --backoff 100d -n 1 -- false 2>/dev/null
    consume -g g -- true 2>/dev/null
    run -0 spool prune --before 4 --force
    [ "$(left)" = '1 4' ]
    [ "$(spool group show g | jq -c '[.lag,.waiting,.due]')" = '[2,2,0]' ]
    run -0 --separate-stderr consume -g g -- true
    [ "$(spool group show g | jq .done)" -eq 0 ]
}

@test "prune --force: events handed out on a lease are forgotten, too" {
    events 6
    consume -g g --from start --lease 1h -n 3 >out
    run -0 spool prune --keep 4 --force
    [ "$(spool group show g | jq -c '[.lag,.in_flight]')" = '[4,1]' ]
    run -65 settle -g g <out # names two that are no longer there
    [ "$(spool group show g | jq -c '[.lag,.in_flight,.done]')" = '[3,0,1]' ]
    consume -g g --lease 1h -n 1 >out
    run -0 spool prune --keep 1 --force
    [ "$(spool group show g | jq -c '[.lag,.in_flight]')" = '[1,0]' ]
    [ -z "$(spool sql 'SELECT * FROM claims')" ]
}

@test "prune --force: an event that fails in its handler after it was pruned does not wait for a retry" {
    events 2
    mkfifo latch
    background consume -g g --from start --backoff 100d -n 1 -- sh -c 'echo >>started; read x <latch; exit 1'
    wait_for test -e started
    spool prune --keep 1 --force
    [ "$(spool group show g | jq -c '[.lag,.in_flight]')" = '[1,0]' ]
    timeout 60 sh -c 'echo >latch'
    wait "$pid"
    [ "$(spool group show g | jq -c '[.lag,.waiting,.in_flight]')" = '[1,0,0]' ]
}

@test "prune: points in time still lead to the first event at or after them" {
    events 3
    edit_events 'recorded=recorded+864000000' # the clock was wrong,
    events 3                                  # and is set back
    edit_events 'recorded=recorded-86400000*(9-seq) WHERE seq IN (4,5);
        UPDATE segment SET recorded=recorded-86400000*5'
    [ "$(spool info | jq .segments)" -eq 1 ]
    [ "$(replay --from 109h -o positions | paste -sd' ')" = '5 6' ]
    run -0 spool prune --before 5
    [ "$(left)" = '5 6' ]
    [ "$(spool info | jq .segments)" -eq 0 ]
    [ "$(replay --from 109h -o positions | paste -sd' ')" = '5 6' ]
    [ "$(replay --from 2h -o positions | paste -sd' ')" = 6 ]
    [ "$(replay --from 2020-01-01 -o positions | paste -sd' ')" = '5 6' ]
    [ -z "$(replay --from 2100-01-01 -o positions)" ]
}

@test "prune: a publisher and a consumer continue meanwhile, and nothing is lost" {
    events 5000
    consume -g g --from start --auto-ack >/dev/null
    background sh -c 'seq 2000 | publish -t more'
    publisher=$pid
    run -0 spool prune --keep 0
    wait "$publisher"
    [ "$(consume -g g --auto-ack | wc -l)" -eq 2000 ]
    run -0 spool prune --keep 0
    [ "$(left)" = 7000 ]
}

@test "prune: wrong usage is 64, a missing spool 66" {
    run -66 spool prune --keep 1
    events 1
    run -64 --separate-stderr spool prune
    [ "$stderr" = 'spool: prune wants --before POINT or --keep N (see spool prune --help)' ]
    run -64 --separate-stderr spool prune --keep 1 --before 3
    [ "$stderr" = 'spool: prune wants --before POINT or --keep N (see spool prune --help)' ]
    run -64 --separate-stderr spool prune 3
    [ "$stderr" = 'spool: prune takes no operand: "3" (see spool prune --help)' ]
    run -64 spool prune --keep -1
    [ "$(left)" = 1 ]
}

# The toolkit's own events: changes of groups are in the log, too.
load helper

# The sys events of the log, their data without what differs from run to run.
told() {
    replay -t 'sys.#' | jq -c '[.type, .subject, .data]'
}

@test "sys: a dead letter is published, with its event and the reason, in its causal chain" {
    publish -t order.placed --id A-1 --source s -k o-1 -d 1
    run -1 consume -g g --from start -- sh -c 'echo "reason card declined" >&3; exit 65'
    run -0 told
    [ "$output" = '["sys.dead-lettered","g",{"group":"g","seq":1,"id":"A-1","type":"order.placed","attempts":1,"status":65,"reason":"exit status 65: card declined"}]' ]
    run -0 replay -t sys.dead-lettered
    [ "$(jq -c '[.causationid, .correlationid, .hops]' <<<"$output")" = '["A-1","A-1",1]' ]
    [ "$(jq -r .source <<<"$output")" = "/$(uname -n)/eventutils" ]
    run -0 replay --correlation A-1 -o positions
    [ "$output" = $'1\n2' ]
}

@test "sys: patterns that begin with a wildcard do not match, and those that name sys do" {
    publish -t n -d 1
    run -1 consume -g g --from start -a 1 -- false
    for pattern in '#' '*.dead-lettered' '#.dead-lettered'; do
        run -0 consume -g "not $pattern" -t "$pattern" --from start -- printenv EVENT_TYPE
        [[ $output != *sys* ]]
    done
    for pattern in 'sys.#' 'sys.*' sys.dead-lettered; do
        run -0 consume -g "with $pattern" -t "$pattern" --from start -- printenv EVENT_TYPE
        [ "$output" = sys.dead-lettered ]
    done
}

@test "sys: a dead letter of the toolkit's own events is not published again" {
    publish -t n -d 1
    run -1 consume -g g --from start -a 1 -- false
    run -1 consume -g alert -t 'sys.#' --from start -a 1 -- false
    run -0 dlq list -g alert
    [ "${#lines[@]}" -eq 1 ]
    run -0 told
    [ "${#lines[@]}" -eq 1 ]
}

@test "sys: each dead letter is published, several of one commit too" {
    seq 20 | publish -t n
    run -1 consume -g g --from start -j 4 -a 1 -- false
    run -0 told
    [ "$(jq '.[2].seq' <<<"$output" | sort -n | paste -sd' ')" = "$(seq -s' ' 20)" ]
    dlq retry -g g --all
    run -1 consume -g g -a 1 -- false
    run -0 told
    [ "${#lines[@]}" -eq 40 ]
}

@test "sys: a pause and its end are published once, however often they are requested" {
    consume -g g --from start -- true
    spool group pause g
    spool group pause g
    spool group resume g
    spool group resume g
    run -0 told
    [ "$output" = $'["sys.group.paused","g",{"group":"g"}]\n["sys.group.resumed","g",{"group":"g"}]' ]
}

@test "sys: a takeover is published, with the former consumer and the number of events" {
    seq 3 | publish -t n
    background sh -c 'exec consume -g g --from start -- sh -c "echo >begun; exec sleep 600"'
    victim=$pid
    wait_for test -e begun
    slay "$victim"
    run -0 --separate-stderr consume -g g -- true
    run -0 told
    [ "$output" = "[\"sys.group.taken-over\",\"g\",{\"group\":\"g\",\"pid\":$victim,\"events\":2}]" ]
}

@test "sys: an event that kills its consumers is published as that" {
    publish -t n -d 1
    for _ in 1 2 3 4 5; do
        run consume -g g --from start -a 2 -- sh -c 'kill -KILL $PPID'
        noticed
    done
    run -0 dlq list -g g
    [ "${#lines[@]}" -eq 1 ]
    run -0 replay -t sys.dead-lettered
    [ "$(jq -r .data.reason <<<"$output")" = 'its consumer died' ]
}

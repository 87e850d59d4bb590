# When an event is delivered: --delay, --priority, --ttl, and the attributes that they set.
load helper

data_of() { # GROUP: what is delivered now, in order
    consume -g "$1" --from start -- sh -c 'sed "s/.*\"data\"://; s/}$//"' | paste -sd' '
}

@test "publish: --priority 0 is delivered first and 9 last, whatever was published first" {
    publish -t n -d 1 --priority 9
    publish -t n -d 2
    publish -t n -d 3 --priority 0
    publish -t n -d 4 --priority 5
    publish -t n -d 5 --priority 9
    run -0 data_of g
    [ "$output" = '3 2 4 1 5' ]
}

@test "publish: an event with a --delay is in the log at once, and waits in its groups" {
    publish -t n -d 1 --delay 1h
    publish -t n -d 2
    run -0 --separate-stderr consume -g g --from start --dry-run
    [ "$(jq .data <<<"$output")" = 2 ]
    run -0 --separate-stderr data_of g
    [ "$output" = 2 ]
    [[ $stderr =~ ^'consume: group "g": 1 waiting, the next until '20.*Z$ ]]
    run -0 replay
    [ "${#lines[@]}" -eq 2 ]
    run -0 --separate-stderr spool group show g
    [ "$(jq -c '[.lag, .due, .waiting]' <<<"$output")" = '[1,0,1]' ]
    run -0 --separate-stderr consume -g g --dry-run
    [ -z "$output" ]
}

@test "publish: a --delay until a time that has passed does not delay" {
    publish -t n -d 1 --delay 2020-01-01T00:00:00Z
    run -0 --separate-stderr data_of g
    [ "$output" = 1 ]
    run -0 replay
    [ "$(jq -r .notbefore <<<"$output")" = 2020-01-01T00:00:00.000Z ]
}

@test "publish: the first millisecond of 1970 is a time like any other" {
    publish --delay 1h --ttl 1h <<<'{"type":"n","notbefore":"1970-01-01T00:00:00Z","data":1}'
    publish <<<'{"type":"n","expirytime":"1970-01-01T00:00:00Z","data":2}'
    run -0 --separate-stderr data_of g
    [ "$output" = 1 ]
    run -0 replay 1
    [ "$(grep -o notbefore <<<"$output" | wc -l)" -eq 1 ]
}

@test "publish: an event that is older than its --ttl is not delivered, and stays in the log" {
    publish <<<'{"type":"n","expirytime":"2020-01-01T00:00:00Z","data":1}'
    publish -t n -d 2 --ttl 1h
    run -0 --separate-stderr data_of g
    [ "$output" = 2 ]
    run -0 --separate-stderr spool group show g
    [ "$(jq .lag <<<"$output")" = 0 ]
    run -0 replay
    [ "${#lines[@]}" -eq 2 ]
}

@test "publish: replay into another spool keeps delays and priorities" {
    publish -t n -d 1 --priority 9 --delay 1h
    publish -t n -d 2 --priority 9
    publish -t n -d 3 --priority 0 --ttl 1h
    replay | publish -s other.db
    export EVENT_SPOOL=$PWD/other.db
    run -0 --separate-stderr data_of g
    [ "$output" = '3 2' ]
}

@test "publish: a line's own delivery attributes override the options" {
    publish --priority 9 --ttl 1h --delay 1h <<'END'
{"type":"n","priority":0,"notbefore":"2020-01-01T00:00:00Z","expirytime":"2030-01-01T00:00:00Z"}
END
    run -0 replay
    [ "$(jq -c '[.priority,.notbefore,.expirytime]' <<<"$output")" = \
        '[0,"2020-01-01T00:00:00Z","2030-01-01T00:00:00Z"]' ]
}

@test "publish: options that are not a time or priority are refused" {
    run -64 --separate-stderr publish -t n -d 1 --delay soon
    [ "$stderr" = 'publish: --delay wants a duration like 10m or a time like 2026-11-21T10:00:00Z: "soon" (see publish --help)' ]
    run -64 publish -t n -d 1 --priority 10
    run -64 publish -t n -d 1 --ttl x
    spool_missing
}

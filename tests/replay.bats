load helper

# Six events: ids e1 to e6, types and subjects in turn.
six() {
    publish --source s <<'END'
{"type":"a.x","id":"e1","subject":"s1","data":1}
{"type":"a.y","id":"e2","subject":"s2","data":2,"correlationid":"c"}
{"type":"a.y.z","id":"e3","subject":"s1","data":3}
{"type":"b","id":"e4","data":4,"correlationid":"c"}
{"type":"sys.test","id":"e5","data":5}
{"type":"a","id":"e6","subject":"s2","data":6}
END
}

seen() { # ARGUMENTS: the data that replay prints
    replay "$@" | jq .data | paste -sd' '
}

@test "replay: lines come out byte for byte, and into another spool and out again" {
    printf '%s\n' '{ "specversion":"1.0","id":"1" ,"source":"s","type":"t","data":{"n":1.50,"u":"\u00e9"} }' >in
    publish in
    cmp in <(replay)
    six
    replay | publish -s other.db
    cmp <(replay) <(replay -s other.db)
}

@test "replay: EVENT is a position, an id, or id: and an id, in the order named" {
    six
    publish -t x --id 2 --source s -d 7
    [ "$(seen 6 e1 2 id:2)" = '6 1 2 7' ]
    run -66 --separate-stderr replay 99
    [ "$stderr" = "replay: no event at position 99 in $EVENT_SPOOL" ]
    run -66 --separate-stderr replay nope
    [ "$stderr" = "replay: no event with id \"nope\" in $EVENT_SPOOL" ]
    publish -t x --id e1 --source another -d 8
    run -65 --separate-stderr replay e1
    [ "$stderr" = 'replay: id "e1" fits events of several sources: name one by its position, 1, 8' ]
    run -64 replay 1 --from 2
}

@test "replay: -t takes AMQP's patterns, and a wildcard does not show the toolkit's own events" {
    six
    [ "$(seen -t 'a.*')" = '1 2' ]
    [ "$(seen -t 'a.#')" = '1 2 3 6' ]
    [ "$(seen -t '#')" = '1 2 3 4 6' ]
    [ "$(seen -t 'sys.#')" = 5 ]
    [ "$(seen -t b -t a)" = '4 6' ]
    [ "$(seen)" = '1 2 3 4 5 6' ]
    run -64 replay -t 'a..b'
}

@test "replay: -k, --correlation, --last, -n and the ends narrow it down, together too" {
    six
    [ "$(seen -k s1)" = '1 3' ]
    [ "$(seen --correlation c)" = '2 4' ]
    [ "$(seen --last 2)" = '5 6' ]
    [ "$(seen --last 2 -k s1)" = '1 3' ]
    [ "$(seen -n 2)" = '1 2' ]
    [ "$(seen --from 3 --to 4)" = '3 4' ]
    [ "$(seen --from start --to 2)" = '1 2' ]
    [ "$(seen --from 1h)" = '1 2 3 4 5 6' ]
    [ "$(seen --to 1h)" = '' ]
    [ "$(seen --from 2020-01-01T00:00:00Z --to 2999-01-01)" = '1 2 3 4 5 6' ]
    [ "$(seen --from now)" = '' ]
    [ "$(seen --from 2 -t 'a.#' --last 2 -n 1)" = 3 ]
    run -64 replay --from someday
}

@test "replay: -g prints what a group has yet to settle" {
    six
    consume -g g -t 'a.#' --from start --backoff 100d -n 2 -- sh -c '[ $EVENT_SEQ = 1 ]' 2>/dev/null
    [ "$(seen -g g)" = '2 3 6' ]
    consume -g g -a 1 -- false 2>/dev/null || [ $? -eq 1 ]
    [ "$(seen -g g)" = 2 ]
    run -66 --separate-stderr replay -g h
    [ "$stderr" = "replay: there is no group \"h\" in $EVENT_SPOOL" ]
}

@test "replay: -f prints what comes, and ends with --to or a signal" {
    six
    background sh -c 'exec replay -f --from 6 >out'
    wait_for grep -q e6 out
    publish -t x --id e7 --source s -d 7
    wait_for grep -q e7 out
    kill -TERM "$pid"
    wait "$pid"
    run -0 timeout 20 replay -f --from 5 --to 7
    [ "${#lines[@]}" -eq 3 ]
}

@test "replay: --speed prints everything in its time" {
    six
    [ "$(seen --speed 1000x)" = '1 2 3 4 5 6' ]
    run -64 replay --speed fast
    run -64 replay --speed 0
}

@test "replay: -o positions feeds xargs, -o table is for people" {
    six
    run -0 bash -c 'replay -t "a.*" -o positions | xargs replay'
    [ "$(jq .data <<<"$output" | paste -sd' ')" = '1 2' ]
    run -0 replay -o table -k s1
    [[ ${lines[0]} =~ ^'SEQ  RECORDED                  TYPE   SUBJECT  ID'$ ]]
    [[ ${lines[2]} =~ ^'  3  20'.*'Z  a.y.z  s1       e3'$ ]]
}

@test "replay: nothing found is nothing printed, a missing spool is 66" {
    run -66 --separate-stderr replay
    [ "$stderr" = "replay: $EVENT_SPOOL: there is no spool; publish makes one, -s or EVENT_SPOOL names another" ]
    six
    run -0 --separate-stderr replay -t nothing
    [ -z "$output$stderr" ]
}

@test "replay: a reader that goes away is no error, a full disk is 74" {
    seq 100000 | publish -t x
    run -0 bash -c 'replay | head -n 1 >/dev/null; exit "${PIPESTATUS[0]}"'
    run -74 --separate-stderr bash -c 'replay >/dev/full'
    [ "$stderr" = 'replay: cannot write to stdout: No space left on device' ]
}

@test "replay: a damaged event is left out and named, the others come" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell'
    six
    sqlite3 spool.db "UPDATE event SET line=CAST(replace(CAST(line AS TEXT),'e2','ee') AS BLOB) WHERE seq=2"
    run -74 --separate-stderr replay
    [ "$(jq .data <<<"$output" | paste -sd' ')" = '1 3 4 5 6' ]
    [ "${stderr_lines[0]}" = 'replay: seq 2 is damaged: left out' ]
    [ "${stderr_lines[1]}" = 'replay: 1 damaged, left out' ]
}

load helper

# Five events with the ids e1 to e5, from the file in, which has them as they are stored.
five() {
    cat >in <<'END'
{"specversion":"1.0","id":"e1","source":"s","type":"order.placed","subject":"k1","correlationid":"c1","data":{"n": 1.0}}
{ "id":"e2","specversion":"1.0","source":"s","type":"order.paid" , "subject":"k2","correlationid":"c1","data":-0}
{"specversion":"1.0","id":"e3","source":"s","type":"order.placed","subject":"k1","correlationid":"c2","data":"\u00e9\/é"}
{"specversion":"1.0","id":"e4","source":"s","type":"payment.card.taken"}
{"specversion":"1.0","id":"e5","source":"s","type":"sys.breaker.opened","subject":"k2"}
END
    publish in
}

# shows POSITIONS ARG...: replay ARG... prints the events at these positions, and nothing else.
shows() {
    local want=$1
    shift
    run -0 --separate-stderr replay -o positions "$@"
    if [ -n "$stderr" ] || [ "$(paste -sd' ' <<<"$output")" != "$want" ]; then
        printf 'replay %s: %s\n' "$*" "$output$stderr" >&2
        return 1
    fi
}

# usage MESSAGE ARG...
usage() {
    local want=$1
    shift
    run -64 --separate-stderr replay "$@"
    if [ "$output$stderr" != "replay: $want (see replay --help)" ]; then
        printf 'replay %s: %s\n' "$*" "$output$stderr" >&2
        return 1
    fi
}

# Change an event in the spool, behind its checksum.
damage() { # SEQ
    edit_line "$1" '"s"' '"z"'
}

# ---------------------------------------------------------------------------------- byte for byte

@test "replay: prints the events as they were published, byte for byte, in order" {
    five
    replay >out
    cmp in out
    run -0 --separate-stderr replay
    [ -z "$stderr" ]
}

@test "replay: into another spool keeps every byte, and so does a replay of that" {
    number=$(printf '7%.0s' {1..400})
    five
    printf '%s\n' "{\"type\":\"a\",\"payload\":{\"n\":$number},\"timestamp\":981173106789,\"aggregateId\":\"k\"}" \
        '{"type":"a","data_base64":"AAEC","x":null,"y":1e400}' '{"type":"\u0061","hops":7,"priority":2,"notbefore":"2001-02-03T04:05:06Z"}' |
        publish
    seq 3 | publish -t counted -k acc --expect-version none
    printf 'a "b" \\ \033[31m \342\200\256\n' | publish -t text --text
    EVENT_ID=e1 EVENT_CORRELATIONID=c1 EVENT_HOPS=1 publish -t b -d '{"m":0.1}'
    [ "$(replay | wc -l)" -eq 13 ]
    replay | publish -s second.db
    replay -s second.db | publish -s third.db --atomic
    cmp <(replay) <(replay -s second.db)
    cmp <(replay) <(replay -s third.db)
}

@test "replay: into the same spool stores nothing, all are duplicates" {
    five
    publish -t x -d '{"n":1.0}'
    replay >before
    run -0 --separate-stderr bash -c 'replay | publish'
    [ -z "$output$stderr" ]
    cmp before <(replay)
}

@test "replay: thousands of events and lines of a megabyte arrive whole" {
    seq 2500 | sed 's/.*/{"specversion":"1.0","id":"&","source":"s","type":"n"}/' >in
    for i in a b c; do
        printf '{"specversion":"1.0","id":"%s","source":"s","type":"n","data":"%s"}\n' \
            "$i" "$(head -c 1048000 /dev/zero | tr '\0' "$i")"
    done >>in
    publish in
    replay | cmp in -
    replay --from 1001 --to 2503 | cmp <(sed -n 1001,2503p in) -
    replay --last 1502 | cmp <(tail -n 1502 in) -
    replay -t n --from 999 -n 1003 | cmp <(sed -n 999,2001p in) -
}

@test "replay: an empty spool prints nothing, in every form" {
    publish -t x </dev/null
    for form in ndjson table positions; do
        run -0 --separate-stderr replay -o "$form"
        [ -z "$output$stderr" ]
    done
    shows '' --from now
    shows '' --last 3
}

# -------------------------------------------------------------------------------------- the ends

@test "replay: --from and --to take positions, both included" {
    five
    shows '3 4 5' --from 3
    shows '1 2 3 4 5' --from 0
    shows '' --from 6
    shows '1 2' --to 2
    shows '' --to 0
    shows '1 2 3 4 5' --to 99
    shows '2 3 4' --from 2 --to 4
    shows '2' --from 2 --to 2
    shows '' --from 4 --to 2
}

@test "replay: --from and --to take start and now" {
    five
    shows '1 2 3 4 5' --from start
    shows '' --from now
    shows '' --to start
    shows '1 2 3 4 5' --to now
}

@test "replay: --from includes the moment at which an event was recorded, --to excludes it" {
    publish -t x --echo -d 1 >first
    moment=$(jq -r .time first)
    wait_for later_than "$moment"
    publish -t x -d 2
    second=$(replay 2 | jq -r .time)
    shows '1 2' --from "$moment"
    shows '2' --from "$second"
    shows '' --to "$moment"
    shows '1' --to "$second"
    shows '1' --from "$moment" --to "$second"
    shows '2' --from "${second/Z/+00:00}"
}

later_than() { # TIME
    [[ $(date -u +%Y-%m-%dT%H:%M:%S.%3NZ) > $1 ]]
}

@test "replay: --from and --to take durations, dates, today and yesterday" {
    # Once more if midnight came between.
    for _ in 1 2; do
        day=$(date +%F)
        no_spool
        five
        shows '1 2 3 4 5' --from 1h
        shows '' --to 1h
        shows '1 2 3 4 5' --from 1.5h
        shows '1 2 3 4 5' --from yesterday
        shows '' --to yesterday
        shows '1 2 3 4 5' --from 2001-02-03
        shows '' --to 2001-02-03
        shows '' --from 2999-01-01
        shows '1 2 3 4 5' --to 2999-01-01
        status=0
        { shows '1 2 3 4 5' --from today && shows '' --to today && shows '1 2 3 4 5' --from "$day"; } || status=$?
        [ "$(date +%F)" != "$day" ] || break
    done
    [ "$status" -eq 0 ]
}

@test "replay: a date begins at midnight of the user's time zone" {
    publish -t x -d 1
    # Two dates that hold now in zones 26 hours apart are never both after it, nor both before.
    west=$(TZ=XXX+12 date +%F) east=$(TZ=XXX-14 date +%F)
    [[ $west < $east ]]
    TZ=XXX+12 shows '' --from "$east"
    TZ=XXX-14 shows 1 --from "$east"
    TZ=XXX+12 shows 1 --from "$west"
    TZ=XXX-14 shows '' --to "$west"
}

@test "replay: --last prints the newest matching events, oldest first" {
    five
    shows '4 5' --last 2
    shows '1 2 3 4 5' --last 99
    shows '1 3' --last 2 -t order.placed
    shows '3' --last 1 -k k1
    shows '2 3' --last 2 --to 3
    shows '5' --last 3 --from 5
    shows '3' --last 3 -n 1
}

@test "replay: -n ends after N events" {
    five
    shows '1 2' -n 2
    shows '1 2 3 4 5' -n 99
    shows '2' -n 1 --from 2
    shows '3' -n 1 --from 2 -t order.placed
    shows '2 1' -n 2 2 1 3
}

# ------------------------------------------------------------------------------------ the filters

@test "replay: -t takes patterns, one of which must match" {
    five
    shows '1 3' -t order.placed
    shows '1 2 3' -t 'order.*'
    shows '1 2 3 4' -t order.paid -t '*.placed' -t 'payment.#'
    shows '4' -t '#.taken'
    shows '' -t '*'
    shows '' -t order
}

@test "replay: the toolkit's own events are in the log, and -t # and * leave them out" {
    five
    shows '1 2 3 4' -t '#'
    shows '' -t '*.breaker.opened'
    shows '5' -t 'sys.#'
    shows '5' -t 'sys.*.opened'
    shows '1 2 3 4 5'
}

@test "replay: -k takes a whole subject, as it reads and not as it is written" {
    five
    shows '1 3' -k k1
    shows '' -k k
    shows '' -k 'k*'
    publish -d '{"type":"a","subject":"caf\u00e9\/1"}'
    shows '6' -k 'café/1'
}

@test "replay: --correlation takes a whole causal tree" {
    five
    shows '1 2' --correlation c1
    shows '' --correlation c
    publish -t x --id root -d 1
    consume -g g --from 6 -- publish -t y -d 2
    shows '6 7' --correlation root
}

@test "replay: -g prints the events that a group has yet to settle: new, waiting or claimed, but not dead" {
    seq 6 | publish -t n
    publish -t other -d 1
    consume -g g --from start -t n -n 4 --backoff 1d -- \
        sh -c 'case $EVENT_SEQ in 2) exit 1 ;; 3) exit 65 ;; esac' 2>/dev/null || [ $? -eq 1 ]
    shows '2 5 6' -g g
    shows '2' -g g --to 4
    shows '' -g g -t other
    mkfifo hold
    background sh -c 'exec consume -g g -- sh -c "echo >begun; read x <hold"'
    wait_for test -e begun
    shows '2 5 6' -g g
    shows '' -g g --from 7
}

@test "replay: an unknown group is 66 and names the nearest" {
    five
    consume -g email --from start -n 1 -- true
    run -66 --separate-stderr replay -g emial
    [ "$output$stderr" = "replay: there is no group \"emial\" in $EVENT_SPOOL; did you mean \"email\"?" ]
}

@test "replay: an event must pass all filters" {
    five
    shows '1 3' -t 'order.*' -k k1
    shows '1' -t order.placed -k k1 --correlation c1
    shows '3' -t order.placed -k k1 --from 2
    shows '' -t order.paid -k k1
}

# ------------------------------------------------------------------------------------- by name

@test "replay: EVENT is a position or an id, printed in the order given" {
    five
    run -0 --separate-stderr replay e3 1 id:e2
    [ "$output" = "$(sed -n 3p in && sed -n 1,2p in)" ]
    [ -z "$stderr" ]
    shows '2 2' e2 2
}

@test "replay: digits are a position, id:42 an id" {
    five
    publish -t x --id 3 -d 1
    publish -t x --id id:7 -d 1
    shows '3' 3
    shows '6' id:3
    shows '7' id:id:7
    shows '7' 7
}

@test "replay: an EVENT that does not exist is 66, after those before it are printed" {
    five
    missing() { # MESSAGE EVENT
        run -66 --separate-stderr replay -o positions 2 "$2" 1
        [ "$output" = 2 ]
        [ "$stderr" = "replay: $1 in $EVENT_SPOOL" ]
    }
    missing 'no event with id "e9"' e9
    missing 'no event with id "5"' id:5
    missing 'no event with id ""' id:
    missing 'no event with id "\x1b[31m"' $'\e[31m'
    missing 'no event at position 6' 6
    missing 'no event at position 0' 0
    missing 'no event at position 99999999999999999999' 99999999999999999999
}

@test "replay: an id of several sources is 65 and names the positions" {
    five
    publish --source other -t x --id e1 -d 1
    run -65 --separate-stderr replay e1
    [ -z "$output" ]
    [ "$stderr" = 'replay: id "e1" matches events of several sources: name one by its position, 1, 6' ]
    shows '1 6' 1 6
}

@test "replay: named events are printed if they pass the filters" {
    five
    shows '3' -t order.placed -k k1 3 2 4
}

@test "replay: EVENT cannot be combined with options that select a range" {
    five
    for option in '--from 1' '--to 2' '--last 1' '-f'; do
        # shellcheck disable=SC2086 # words
        usage 'EVENT names what to print: --from, --to, --last and -f do not go with it' $option e1
    done
}

# ---------------------------------------------------------------------------------------- follow

@test "replay: -f prints existing events and then new ones, at once" {
    five
    background sh -c 'exec replay -f -o positions >out'
    wait_for has_lines out 5
    publish -t x -d 1
    wait_for has_lines out 6
    seq 1500 | publish -t x
    wait_for has_lines out 1506
    [ "$(paste -sd' ' out)" = "$(seq 1506 | paste -sd' ')" ]
    kill -0 "$pid"
}

@test "replay: -f with -t and -k prints only what passes" {
    five
    background sh -c 'exec replay -f --from 4 -t "order.*" -k k1 -o positions >out'
    publish -t order.x -k k1 -d 1
    wait_for has_lines out 1
    publish -t other -k k1 -d 1
    publish -t order.x -k k2 -d 1
    publish -t order.y -k k1 -d 1
    wait_for has_lines out 2
    [ "$(cat out)" = $'6\n9' ]
}

@test "replay: -f --from now prints new events and no existing ones" {
    five
    background sh -c 'exec replay -f --from now -o positions >out'
    another_is_seen() {
        publish -t x -d 1
        [ -s out ]
    }
    wait_for another_is_seen
    [ "$(head -n 1 out)" -gt 5 ]
}

@test "replay: -f with -n ends after N events" {
    five
    background sh -c 'exec replay -f -n 7 -o positions >out'
    wait_for has_lines out 5
    seq 5 | publish -t x
    wait "$pid"
    [ "$(tail -n 1 out)" = 7 ]
}

@test "replay: -f with --to ends at that position, also when it is there already" {
    five
    run -0 timeout 60 replay -f --to 3 -o positions
    [ "$output" = $'1\n2\n3' ]
    background sh -c 'exec replay -f --to 7 -t order.x -o positions >out'
    publish -t order.x -d 1
    wait_for has_lines out 1
    publish -t other -d 1
    wait "$pid"
    [ "$(cat out)" = 6 ]
}

@test "replay: -f with --last begins there" {
    five
    background sh -c 'exec replay -f --last 2 -n 3 -o positions >out'
    wait_for has_lines out 2
    publish -t x -d 1
    wait "$pid"
    [ "$(paste -sd' ' out)" = '4 5 6' ]
}

@test "replay: -f ends when its reader has gone, with status 0" {
    five
    mkfifo to
    background bash -c 'replay -f >to; echo $? >status'
    exec 8<to
    IFS= read -r line <&8
    [ "$line" = "$(head -n 1 in)" ]
    exec 8<&-
    publish -t x -d 1
    wait_for test -s status
    [ "$(cat status)" = 0 ]
}

@test "replay: -f is ended by a signal while it waits" {
    five
    for signal in TERM INT HUP; do
        background sh -c 'trap - INT; exec replay -f -o positions >out'
        wait_for has_lines out 5
        kill -s "$signal" "$pid"
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq 0 ]
        rm out
    done
}

@test "replay: a reader that does not read does not block publishers" {
    seq 3000 | sed 's/.*/"& is some data to fill the pipe with"/' | publish -t x
    mkfifo to
    background sh -c 'exec replay >to'
    exec 8<to
    IFS= read -r line <&8
    run -0 timeout 60 publish -t y -d 1
    [ "$(wc -l <&8)" -ge 2999 ]
    exec 8<&-
}

@test "replay: -f --to with a future time follows until then" {
    seq 5 | publish -t x
    background sh -c 'exec replay -f --to 2999-01-01T00:00:00Z -o positions >out'
    wait_for grep -qx 5 out
    publish -t x -d 6
    wait_for grep -qx 6 out
    kill -0 "$pid"
    run -0 replay -f --to "$(date -u -d '+1 second' +%Y-%m-%dT%H:%M:%SZ)" -o positions
    [ "$output" = "$(replay -o positions)" ]
}

@test "replay: --speed prints all, in order" {
    five
    shows '1 2 3 4 5' --speed 1000000x
    shows '1 2 3 4 5' --speed 1e6
    shows '1 3' --speed 1000000x -k k1
    replay --speed 1000000x | cmp in -
}

@test "replay: --speed prints each event before it waits for the next" {
    five
    edit_events 'recorded=recorded+86400000 WHERE seq>2'
    background sh -c 'exec replay --speed 1x -o positions >out'
    wait_for has_lines out 2
    kill -0 "$pid"
    kill "$pid"
    wait "$pid" || true
    [ "$(cat out)" = $'1\n2' ]
}

# ----------------------------------------------------------------------------------------- forms

@test "replay: -o table has a line for each event under a heading" {
    printf '%s\n' '{"type":"order.placed","id":"e1","subject":"k"}' '{"type":"x","id":"e2"}' | publish
    run -0 --separate-stderr replay -o table
    [ -z "$stderr" ]
    [ "$(replay -o table | sed 's/20..-..-..T..:..:..\....Z/T/')" = 'SEQ  RECORDED                  TYPE          SUBJECT  ID
  1  T  order.placed  k        e1
  2  T  x             -        e2' ]
    run -0 replay -o table -t x 1 2
    [ "${#lines[@]}" -eq 2 ]
}

@test "replay: -o ndjson, auto and nothing are the same in a pipe" {
    five
    for form in ndjson auto; do
        replay -o "$form" | cmp in -
    done
}

@test "replay: the positions it prints are those it takes" {
    five
    replay -o positions -t 'order.*' | xargs replay >out
    replay -t 'order.*' | cmp out -
}

@test "replay: on a terminal it is a table, and events on request" {
    command -v script >/dev/null || skip 'no script(1) to make a terminal with'
    five
    run -0 script -qec replay /dev/null </dev/null
    [[ ${lines[0]} == 'SEQ  RECORDED '* ]]
    [ "${#lines[@]}" -eq 6 ]
    run -0 script -qec 'replay -o ndjson 2' /dev/null </dev/null
    [ "${output%$'\r'}" = "$(sed -n 2p in)" ]
}

# --------------------------------------------------------------------------------------- the end

@test "replay: a reader that has read enough is no error" {
    seq 20000 | publish -t x
    for options in '' '-o positions' '-t x' '--last 15000'; do
        run -0 --separate-stderr bash -c "replay $options | head -n 1 >out; exit \${PIPESTATUS[0]}"
        [ -z "$stderr" ]
        [ "$(wc -l <out)" -eq 1 ]
    done
    run -0 --separate-stderr bash -c 'replay -o table -n 100 | head -n 1 >out; exit ${PIPESTATUS[0]}'
    [ -z "$stderr" ]
}

@test "replay: output that cannot be written is 74" {
    five
    for form in ndjson table positions; do
        run -74 --separate-stderr bash -c "replay -o $form >/dev/full"
        [ "$stderr" = 'replay: cannot write to stdout: No space left on device' ]
    done
    run -74 --separate-stderr bash -c 'replay >&-'
    [ "$stderr" = 'replay: cannot write to stdout: Bad file descriptor' ]
}

@test "replay: a damaged event is reported and left out, the others are printed, 74" {
    five
    damage 3
    run -74 --separate-stderr replay
    [ "$output" = "$(sed 3d in)" ]
    [ "$stderr" = 'replay: seq 3 is damaged: left out
replay: 1 damaged, left out' ]
    run -74 --separate-stderr replay -k k1
    [ "$output" = "$(sed -n 1p in)" ]
    run -74 --separate-stderr replay 3
    [ -z "$output" ]
    run -0 --separate-stderr replay -k k2
    [ "$output" = "$(sed -n '2p;5p' in)" ]
}

@test "replay: a missing spool is 66 and is not created" {
    run -66 --separate-stderr replay
    [ "$output$stderr" = "replay: $EVENT_SPOOL: there is no spool; publish creates one, -s or EVENT_SPOOL names another" ]
    run -66 --separate-stderr replay -s none/spool.db
    [ "$stderr" = 'replay: none/: there is no such directory' ]
    spool_missing && [ ! -e none ]
}

@test "replay: leaves the spool as it is" {
    five
    sha256sum spool.db >sum
    replay >/dev/null
    replay --last 2 -o table >/dev/null
    sha256sum -c --quiet sum
    [ "$(compgen -G 'spool*')" = spool.db ]
}

@test "replay: wrong usage is 64 and says what is wrong" {
    five
    usage '--from wants start, now, today, a position, a date, a time or a duration: "tomorrow"' --from tomorrow
    usage '--to wants start, now, today, a position, a date, a time or a duration: "2026-13-01"' --to 2026-13-01
    usage '--from is beyond all positions: "99999999999999999999"' --from 99999999999999999999
    usage '--last wants a whole number from 1 on: "0"' --last 0
    usage '-n wants a whole number from 1 on: "0"' -n 0
    usage '-n wants a whole number from 1 on: "1.5"' -n 1.5
    run -64 --separate-stderr replay -t a..b
    [ "${#stderr_lines[@]}" -eq 1 ]
    usage '-k is empty (an unset variable?)' -k ''
    usage '-t is empty (an unset variable?)' -t ''
    usage '-g is empty (an unset variable?)' -g ''
    usage '--correlation is empty (an unset variable?)' --correlation ''
    usage '-o wants auto, ndjson, table or positions: "json"' -o json
    for factor in fast 0 0x 0x10 -1x nan inf 10xx 2e9; do
        usage "--speed wants a factor like 10x: \"$factor\"" --speed "$factor"
    done
}

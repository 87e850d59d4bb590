load helper

# spool check: silent when all is well, a line for each finding, and 1.

events() { # N [TYPE]
    seq "$1" | publish -t "${2:-n}"
}

damage() { # SEQ,...
    local seq
    for seq in ${1//,/ }; do
        edit_line "$seq" specversion specvErsion
    done
}

healthy() { # [OPTION...]
    run -0 --separate-stderr spool check "$@"
    [ -z "$output$stderr" ]
}

# finds FINDING [OPTION...]: that, as [kind,group,value,limit,message], and nothing else
finds() {
    local want=$1
    shift
    run -1 --separate-stderr spool check "$@"
    [ -z "$stderr" ]
    [ "$(jq -c '[.kind,.group,.value,.limit,.message]' <<<"$output")" = "$want" ] || {
        echo "found $output" >&2
        return 1
    }
}

@test "check: for a spool in good order it prints nothing and ends with 0" {
    publish -t n -d 1 --echo >/dev/null
    healthy
    events 2500
    printf '{"type":"n","priority":%s}\n' 0 9 | publish
    publish -t v -k a --expect-version none -d 1
    consume -g g --from start -n 100 --auto-ack >/dev/null
    consume -g old --from start --auto-ack >/dev/null
    healthy
    healthy --quick
    healthy --max-dead 0 --max-lag 2404 --max-age 1h
    healthy -o table
}

@test "check: a spool without events is in good order" {
    consume -g g --from start -- true
    healthy --max-dead 0 --max-lag 0 --max-age 0
}

@test "check: a missing spool is 66 and is not created" {
    run -66 --separate-stderr spool check
    [ -z "$output" ]
    spool_missing
}

@test "check: damaged events are named by their positions" {
    events 30
    damage '3,1007'
    finds '["damage",null,1,0,"1 event damaged: position 3"]'
    damage '7'
    finds '["damage",null,2,0,"2 events damaged: positions 3, 7"]'
    healthy --quick
    damage "$(seq -s, 30)"
    finds '["damage",null,30,0,"30 events damaged: positions 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20 and others"]'
}

@test "check: a column that differs from its line is reported" {
    printf '%s\n' '{"type":"a","subject":"s","priority":3}' '{"type":"b","subject":"s"}' '{"type":"c"}' | publish
    publish -t v -k s --expect-version none -d 1
    keep_spool
    for edit in id source type subject priority=4 due expires version; do
        back_to_kept_spool
        case $edit in
        *=*) set=$edit edit=${edit%=*} ;;
        due | expires | version) set="$edit=99" ;;
        *) set="$edit='other'" ;;
        esac
        sql "UPDATE event SET $set WHERE seq=2"
        case $edit in due) edit=notbefore ;; expires) edit=expirytime ;; esac
        finds '["damage",null,1,0,"1 event with another '"$edit"' than in the line: position 2"]'
    done
}

@test "check: damage behind the first thousand events is found" {
    events 2345
    damage '2345'
    finds '["damage",null,1,0,"1 event damaged: position 2345"]'
}

@test "check: an index that would let a duplicate in is found" {
    events 3
    root=$(sql "SELECT rootpage FROM sqlite_schema WHERE name='event_id'")
    text=$(sql "SELECT sql FROM sqlite_schema WHERE name='event_id'")
    sql "ATTACH 'kept.db' AS k; CREATE TABLE k.event AS SELECT * FROM event WHERE seq=2; DELETE FROM event WHERE seq=2"
    sql "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name='event_id'"
    sql "ATTACH 'kept.db' AS k; INSERT INTO event SELECT * FROM k.event"
    sql "PRAGMA writable_schema=ON; INSERT INTO sqlite_schema VALUES('index','event_id','event',$root,'$text')"
    finds '["damage",null,1,0,"1 event not in the index that finds duplicates: position 2"]'
}

@test "check: an index that the server does not use is found" {
    events 3
    sql "UPDATE pg_index SET indisvalid=false WHERE indexrelid='event_id'::regclass"
    finds '["structure",null,1,0,"the server does not use the index event_id: rebuild it (REINDEX)"]'
    sql 'REINDEX INDEX event_id'
    healthy
}

@test "check: an invalid page is a finding" {
    events 3000
    size=$(stat -c %s spool.db)
    # In the middle: the roots of tables and indexes are at the front.
    dd if=/dev/zero of=spool.db bs=4096 seek=$((size / 8192)) count=1 conv=notrunc status=none
    consume -g g --from now -- true
    run -1 --separate-stderr spool check --max-dead 0
    [ -z "$stderr" ]
    [ "$(jq -c '[.kind,.message]' <<<"${lines[0]}")" = "[\"structure\",\"Page $((size / 8192 + 1)): btreeInitPage() returns error code 11\"]" ]
    [ "$(jq -c '[.kind,.message]' <<<"${lines[1]}")" = "[\"structure\",\"$EVENT_SPOOL: damaged (database disk image is malformed): restore it from a backup\"]" ]
    [ "${#lines[@]}" -eq 2 ]
}

@test "check: a file that cannot be read at all is 74 or 65, with the reason" {
    events 1000
    truncate -s 20000 spool.db
    run -74 --separate-stderr spool check
    [ -z "$output" ]
    [[ $stderr == "spool: $EVENT_SPOOL: damaged ("* ]]
    echo hello >other.db
    chmod 600 other.db
    run -65 --separate-stderr spool check -s other.db
    [ -z "$output" ]
}

@test "check: --max-dead, --max-lag: each group beyond a limit" {
    events 10
    consume -g a --from start -a 1 -n 3 -- false 2>/dev/null || [ $? -eq 1 ]
    consume -g b --from start -n 1 --backoff 100d -- false 2>/dev/null
    finds '["dead","a",3,2,"3 dead letters"]' --max-dead 2
    finds '["lag","a",7,6,"7 events yet to settle"]
["lag","b",10,6,"10 events yet to settle"]' --max-lag 6
    finds '["dead","a",3,0,"3 dead letters"]
["lag","b",10,7,"10 events yet to settle"]' --max-dead 0 --max-lag 7
    consume -g one --from 10 -n 1 --backoff 100d -- false 2>/dev/null
    run -1 spool check --max-lag 0
    [ "$(jq -r 'select(.group=="one") | .message' <<<"$output")" = '1 event yet to settle' ]
}

@test "check: --max-age: how long the oldest event that could be settled has waited" {
    events 3
    consume -g g --from start -n 1 -- true
    consume -g late --from start -n 1 -- true
    edit_events 'recorded=recorded-7205000'
    edit_events 'recorded=recorded-720000000 WHERE seq=1'
    run -1 --separate-stderr spool check --max-age 1h -o table
    [ "$(sed -E 's/ 72[0-9]{2} / N /' <<<"$output")" = 'KIND  GROUP  VALUE  LIMIT  MESSAGE
age   g       N   3600  its oldest event yet to settle has waited for 2h
age   late    N   3600  its oldest event yet to settle has waited for 2h' ]
    healthy --max-age 3h
    consume -g g -- true
    consume -g late -n 1 --backoff 100d -- false 2>/dev/null
    run -1 --separate-stderr spool check --max-age 1h
    [ "$(jq -r .group <<<"$output")" = late ]
}

@test "check: an event that is not due yet does not count as old" {
    publish -t n -d 1 --delay 1h
    consume -g g --from start -- true
    healthy --max-age 0
    run -1 spool check --max-lag 0
}

@test "check: a group without a consumer for a week that has something to do" {
    events 2
    consume -g g --from start -n 1 -- true
    consume -g through --from start -- true
    sql 'UPDATE groups SET seen=seen-86400000*9'
    run -1 --separate-stderr spool check
    [ "$(jq -c '[.kind,.group,.value>=777600,.limit,.message]' <<<"$output")" = '["idle","g",true,604800,"no consumer for 9d, and 1 event yet to settle"]' ]
    mkfifo latch
    background consume -g g -- sh -c 'echo >started; read x <latch'
    wait_for test -e started
    sql 'UPDATE groups SET seen=seen-86400000*9'
    healthy
    timeout 60 sh -c 'echo >latch'
    wait "$pid"
}

@test "check: events recorded in the future, and a clock that was set back" {
    events 3
    edit_events 'recorded=recorded+864100000'
    run -1 --separate-stderr spool check
    [ "$(jq -c '[.kind,.group,.limit,.message]' <<<"$output")" = '["clock",null,60,"recorded times up to position 3 are in the future, by 10d"]' ]
    events 1
    run -1 --separate-stderr spool check --quick
    [ "$(jq -r .message <<<"$output")" = 'recorded times up to position 3 are in the future, by 10d
the clock was set back by 10d before position 4 was published' ]
}

@test "check: recorded times that are out of order" {
    events 3
    edit_events 'recorded=recorded-1000 WHERE seq=2'
    edit_events 'recorded=recorded-5000 WHERE seq=3'
    finds '["clock",null,0,0,"recorded times are out of order at position 2: times in --from and --to may lead astray"]'
}

@test "check: a WAL that a reader keeps from being checkpointed, and which process that is" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to read with'
    events 1
    mkfifo in
    background sh -c 'exec sqlite3 -readonly spool.db <in >out'
    exec 8>in
    echo 'BEGIN; SELECT count(*) FROM event;' >&8
    wait_for test -s out
    head -c 1000000 /dev/zero | tr '\0' x >big
    for _ in {1..68}; do cat big; echo; done | publish -t n --text
    run -1 --separate-stderr spool check --quick
    [ "$(jq -c '[.kind,.limit,.value>.limit]' <<<"$output")" = '["wal",67108864,true]' ]
    [[ $(jq -r .message <<<"$output") =~ ^'SPOOL-wal has '[0-9]+' MiB: held by process '$pid' (sqlite3)'$ ]]
    exec 8>&-
    wait "$pid"
}

@test "check: wrong usage is 64" {
    events 1
    run -64 --separate-stderr spool check g
    [ "$stderr" = 'spool: check takes no operand: "g" (see spool check --help)' ]
    run -64 spool check --max-dead -1
    run -64 spool check --max-age 3
}

load helper
load outbox

# ------------------------------------------------------------------------------------ rows to events

@test "outbox-relay: the printed schema makes the table, with a partial index on unpublished rows" {
    table
    [ "$(db "SELECT group_concat(name, ' ') FROM pragma_table_info('outbox_events')")" = \
        'id event_id aggregate_id event_type payload headers created_at published published_at attempts retry_at error' ]
    [ "$(db "SELECT sql FROM sqlite_schema WHERE type = 'index'")" = \
        'CREATE INDEX "outbox_events_unpublished" ON "outbox_events"(id) WHERE published = 0' ]
    outbox-relay --schema --table 'my "own" table' | sqlite3 app.db
    db 'INSERT INTO "my ""own"" table"(event_type, payload) VALUES('"'a.b', '1')"
    run -0 outbox-relay --table 'my "own" table' app.db
    [ "$(data)" = 1 ]
}

@test "outbox-relay: the printed schema is one argument of sqlite3, too" {
    sqlite3 app.db "$(outbox-relay --schema)"
    rows a t.u 1
    run -0 outbox-relay app.db
    [ "$(data)" = 1 ]
}

@test "outbox-relay: a row becomes an event, its payload and headers as they are" {
    table
    db "INSERT INTO outbox_events VALUES(7, 'e-7', 'order-1', 'order.placed', '{\"total\": 1.50, \"n\":12345678901234567890}',
        '{\"correlationId\":\"c-1\",\"causationid\":\"e-6\",\"priority\":2}', '2026-11-20 09:08:07.5', 0, NULL, 0, NULL, NULL)"
    run -0 --separate-stderr outbox-relay app.db
    [ -z "$output" ] && [ "$stderr" = "outbox-relay: created the spool $EVENT_SPOOL" ]
    run -0 replay
    [ "$output" = '{"specversion":"1.0","source":"/shop","id":"e-7","type":"order.placed","subject":"order-1","time":"2026-11-20T09:08:07.500Z","correlationid":"c-1","causationid":"e-6","priority":2,"data":{"total": 1.50, "n":12345678901234567890}}' ]
    [ "$(db "SELECT published, published_at GLOB '20*Z', attempts, error IS NULL FROM outbox_events")" = '1|1|0|1' ]
    rows a t.u $'{\n  "pretty": 1.0\n}' # a line break ends a line, and is a space to JSON
    run -0 outbox-relay app.db
    [ "$(replay --last 1 | grep -o '"data".*')" = '"data":{   "pretty": 1.0 }}' ]
}

@test "outbox-relay: a header of any name and value becomes an attribute or is skipped, by the rule in the page" {
    table
    db "INSERT INTO outbox_events(aggregate_id, event_type, payload, created_at, headers) VALUES('a', 't.u', 1, 0,
        '{\"X-Request-Id\":\"r-1\",\"tenant_id\":7,\"Correlation_ID\":42,\"x.request.id\":\"r-2\",\"flags\":{\"a b\": [1, \"\\\" }\"]},\"list\":[ 1,2 ],\"ok\":true,\"none\":null,\"-\":1,\"é\":1,\"id\":\"x\",\"Type\":\"x\",\"time\":\"x\",\"timestamp\":\"x\",\"data\":5,\"payload\":6,\"metadata\":{\"k\":1},\"spec-version\":2}')"
    rows a t.u 2 # not held up
    run -0 outbox-relay app.db
    [ "$(data)" = '1 2' ]
    [ "$(replay | head -n 1 | jq -c 'del(.id)')" = '{"specversion":"1.0","source":"/shop","type":"t.u","subject":"a","time":"1970-01-01T00:00:00.000Z","xrequestid":"r-1","tenantid":7,"correlationid":"42","flags":"{\"a b\":[1,\"\\\" }\"]}","list":"[1,2]","ok":true,"metadata":"{\"k\":1}","data":1}' ]
}

@test "outbox-relay: a payload of bytes is data when they are JSON, and else data_base64" {
    table
    db "INSERT INTO outbox_events(event_type, payload) VALUES('t.u', CAST('{\"a\": 1.0}' AS BLOB)), ('t.u', x'00ff10'), ('t.u', x'00ff'), ('t.u', x'00'), ('t.u', x'')"
    run -0 outbox-relay app.db
    run -0 replay
    [ "$(grep -o '"data.*' <<<"$output")" = '"data":{"a": 1.0}}
"data_base64":"AP8Q"}
"data_base64":"AP8="}
"data_base64":"AA=="}
"data_base64":""}' ]
    [ "$(state)" = '0 0 0' ]
}

@test "outbox-relay: with nothing to move it prints nothing and ends with 0, however often" {
    table
    run -0 outbox-relay app.db
    rows a t.u 1
    run -0 outbox-relay app.db
    run -0 outbox-relay app.db
    [ -z "$output" ]
    [ "$(data)" = 1 ]
}

@test "outbox-relay: rows are relayed in order, page after page, whatever the journal" {
    local mode
    for mode in wal delete; do
        rm -f app.db*
        no_spool
        table
        db "PRAGMA journal_mode = $mode" >journal
        db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a' || (value % 7), 't.u', value FROM generate_series(1, 1700)"
        run -0 outbox-relay app.db
        run -0 replay
        [ "$(jq -c .data <<<"$output")" = "$(seq 1700)" ]
        [ "$(state)" = '0 0 0' ]
        [ "$(db 'PRAGMA journal_mode')" = $mode ]
    done
}

@test "outbox-relay: a time is RFC 3339, what SQLite writes, or seconds or milliseconds since 1970" {
    table
    for time in "'2026-11-20T10:00:00+01:00'" "'2026-11-20 09:00:00'" 1795165200 1795165200000 1795165200.0 "'1795165200'"; do
        db "INSERT INTO outbox_events(event_type, created_at) VALUES('t.u', $time)"
    done
    run -0 outbox-relay app.db
    [ "$(replay | jq -r .time | uniq -c | tr -s ' ')" = ' 6 2026-11-20T09:00:00.000Z' ]
    for time in "'yesterday'" "'2026-02-30 10:00:00'" "'2026-11-20'" "'1-2-3'" 1e300; do
        db "INSERT INTO outbox_events(event_type, created_at) VALUES('t.u', $time)"
    done
    run -1 outbox-relay app.db
    [ "${lines[0]}" = 'outbox-relay: row 7: created_at is not a time: "yesterday": marked as failed' ]
    [ "${#lines[@]}" -eq 5 ]
}

@test "outbox-relay: a derived id is the same each time, and differs when the row's id is reused" {
    db 'CREATE TABLE outbox_events(id INTEGER PRIMARY KEY, event_type, payload, created_at, published NOT NULL DEFAULT 0, published_at)'
    db "INSERT INTO outbox_events(event_type, payload, created_at) VALUES('t.u', '1', 1000)"
    run -0 outbox-relay --dry-run app.db
    [ "$(jq -r .id <<<"$output")" = "$(outbox-relay --dry-run app.db | jq -r .id)" ]
    first=$(jq -r .id <<<"$output")
    run -0 outbox-relay --prune 0 app.db
    [ "$(replay | jq -r .id)" = "$first" ]
    # Row 1 again: another payload, then the same at another time.
    for values in "'t.u', '2', 1000" "'t.u', '1', 1001" "'t.v', '1', 1000"; do
        db "INSERT INTO outbox_events(event_type, payload, created_at) VALUES($values)"
        [ "$(db 'SELECT id FROM outbox_events')" = 1 ]
        run -0 outbox-relay --prune 0 app.db
    done
    [ "$(replay | jq -r .id | sort -u | wc -l)" -eq 4 ]
}

# ------------------------------------------------------------------------------------------ bad rows

@test "outbox-relay: bad rows are named, marked, kept, and do not stop the relay" {
    table
    rows a t.u 1 b t.u nope c t.u '{"a":1,"a":2}'
    db "INSERT INTO outbox_events(event_type, payload, headers) VALUES
        (NULL, '4', NULL), (x'35', '5', NULL), ('t.u', '6', '[]'), ('t.u', '7', '{\"priority\":\"x\"}'), ('t.u', '', NULL),
        ('t.u', '9', '{a}'), ('bad' || char(1), '10', NULL)"
    rows d t.u 11
    run -1 --separate-stderr outbox-relay app.db
    [ "$(sed 1d <<<"$stderr")" = 'outbox-relay: row 2: payload is not JSON: unexpected "o" at byte 2: marked as failed
outbox-relay: row 3: payload is not JSON: duplicate key "a": marked as failed
outbox-relay: row 4: event_type is NULL: marked as failed
outbox-relay: row 5: event_type is a blob, not text: marked as failed
outbox-relay: row 6: headers is not a JSON object: marked as failed
outbox-relay: row 7: "priority" must be an integer from 0 to 9, not "x": marked as failed
outbox-relay: row 8: payload is not JSON: no value at byte 1 (input ends): marked as failed
outbox-relay: row 9: headers is not JSON: unexpected "a" at byte 2: marked as failed
outbox-relay: row 10: "type" has a control character (U+0001) at byte 4: marked as failed' ]
    [ "$(data)" = '1 11' ]
    [ "$(db 'SELECT error FROM outbox_events WHERE id = 4')" = 'event_type is NULL' ]
    [ "$(state)" = '0 0 9' ]
    run -0 outbox-relay app.db # told once
    [ -z "$output" ]
}

@test "outbox-relay: a failed row holds up its aggregate and nothing else, until --retry-failed" {
    table
    rows a t.u 1 a t.u nope b t.u 3 a t.u 4 '' t.u 5
    run -1 outbox-relay app.db
    [ "$(data)" = '1 3 5' ]
    rows a t.u 6 b t.u 7
    run -0 outbox-relay app.db
    [ "$(data)" = '1 3 5 7' ]
    [ "$(state)" = '2 0 1' ]
    db "UPDATE outbox_events SET payload = '2' WHERE id = 2"
    run -0 outbox-relay --retry-failed app.db
    [ "$output" = '1 failed row given back' ]
    [ "$(data)" = '1 3 5 7 2 4 6' ]
    [ "$(db 'SELECT count(*) FROM outbox_events WHERE published = 1 AND error IS NULL')" = 7 ]
    run -0 outbox-relay --retry-failed app.db
    [ "$output" = '0 failed rows given back' ]
}

@test "outbox-relay: an event_id that is taken by other content fails, and holds up the rows behind it" {
    table
    db "INSERT INTO outbox_events(event_id, aggregate_id, event_type, payload) VALUES
        ('e1', 'a', 't.u', '1'), ('e1', 'a', 't.u', '2'), (NULL, 'a', 't.u', '3'), ('e1', 'a', 't.u', '1'), ('e2', 'b', 't.u', '5')"
    run -1 outbox-relay app.db
    [ "${lines[1]}" = 'outbox-relay: row 2: id "e1" is already in the spool with other content (seq 1): marked as failed' ]
    [ "$(data)" = '1 5' ]
    [ "$(state)" = '2 0 1' ]
}

# --------------------------------------------------------------------------------- tables of others

@test "outbox-relay: a payload with more than one value is not JSON, and adds no attributes" {
    table
    rows a t '1,"source":"x"' b t '{"a":1},"data_base64":"AAAA"' c t '1}' d t ' {"a":[1, 2]} '
    run -1 --separate-stderr outbox-relay app.db
    [ "$(sed 1d <<<"$stderr")" = 'outbox-relay: row 1: payload is not JSON: unexpected "," at byte 2: marked as failed
outbox-relay: row 2: payload is not JSON: unexpected "," at byte 8: marked as failed
outbox-relay: row 3: payload is not JSON: unexpected "}" at byte 2: marked as failed' ]
    [ "$(replay | jq -c '[.source, .data]')" = '["/shop",{"a":[1,2]}]' ]
}

@test "outbox-relay: a table of other names is mapped, also one without a column for errors" {
    db 'CREATE TABLE "Outbox ""1"""("the id" INTEGER PRIMARY KEY, kind, "order", body, sent NOT NULL DEFAULT 0)'
    db "INSERT INTO \"Outbox \"\"1\"\"\"(kind, \"order\", body) VALUES('t.u', 'a', '1'), ('t.u', 'a', 'bad'), ('t.u', 'a', '3'), ('t.u', 'b', '4')"
    map='id=the id,type=kind,aggregate=order,payload=body,published=sent'
    for _ in 1 2; do
        run -1 outbox-relay --table 'Outbox "1"' --map "$map" app.db
        [ "${lines[-1]}" = 'outbox-relay: row 2: payload is not JSON: unexpected "b" at byte 1: failed; the table has no error column to record it in' ]
        [ "$(replay | jq -c '[.subject, .data]' | paste -sd' ')" = '["a",1] ["b",4]' ]
    done
    [ "$(db 'SELECT group_concat(sent) FROM "Outbox ""1"""')" = 1,0,0,1 ]
    run -64 outbox-relay --retry-failed --table 'Outbox "1"' --map "$map" app.db
}

@test "outbox-relay: --delete deletes what is relayed, also from a table without a flag" {
    db 'CREATE TABLE o(id INTEGER PRIMARY KEY, type, payload, aggregate_id)'
    db "INSERT INTO o VALUES(1, 't.u', '1', 'a'), (2, 't.u', 'bad', 'b'), (3, 't.u', '3', 'b'), (4, 't.u', '4', 'a')"
    set -- --table o --map type=type
    run -65 outbox-relay "$@" app.db
    [ "$output" = 'outbox-relay: app.db: table "o" has no column "published" (--map published=…); it has id, type, payload, aggregate_id; --delete deletes relayed rows instead' ]
    run -1 --separate-stderr outbox-relay "$@" --delete --dry-run app.db
    [ "$(jq -c .data <<<"$output" | paste -sd' ')" = '1 4' ]
    run -1 outbox-relay "$@" --delete app.db
    [ "$(data)" = '1 4' ]
    [ "$(db 'SELECT group_concat(id) FROM o')" = 2,3 ]
    [ "$(outbox-relay "$@" --delete --status app.db | jq .backlog)" = 2 ]
    db "UPDATE o SET payload = '2' WHERE id = 2"
    run -0 outbox-relay "$@" --delete app.db -- tee seen
    [ "$(jq .data seen | paste -sd' ')" = '2 3' ]
    [ "$(db 'SELECT count(*) FROM o')" = 0 ]
    # Where there is a flag, what was relayed before stays.
    table
    rows a t.u 5
    run -0 outbox-relay app.db
    rows a t.u 6
    run -0 outbox-relay --delete app.db
    [ "$(db 'SELECT group_concat(payload) FROM outbox_events')" = 5 ]
    run -64 outbox-relay --delete --prune 1d app.db
    [ "$output" = 'outbox-relay: --delete leaves nothing to --prune: give one of them (see outbox-relay --help)' ]
}

@test "outbox-relay: a time of publishing alone is enough, and hidden row ids give an order" {
    db "CREATE TABLE o(uuid TEXT PRIMARY KEY, type, payload, done_at)"
    db "INSERT INTO o VALUES('z', 't.u', '1', NULL), ('y', 't.u', '2', NULL), ('x', 't.u', '3', '2026-01-01')"
    map=event_id=uuid,type=type,published_at=done_at
    run -65 outbox-relay --table o --map "id=uuid,$map" app.db
    [ "$output" = 'outbox-relay: app.db: column "uuid" of table "o" is not an integer: rows need a number for their order (--map id=rowid,event_id=…)' ]
    run -0 outbox-relay --table o --map "id=rowid,$map" app.db
    [ "$(replay | jq -r .id | paste -sd' ')" = 'z y' ]
    [ "$(db "SELECT count(*) FROM o WHERE done_at IS NULL")" = 0 ]
}

@test "outbox-relay: names are checked before anything is done, and existing columns are listed" {
    table
    rows a t.u 1
    run -64 outbox-relay --map type=kind app.db
    [ "$output" = 'outbox-relay: app.db: table "outbox_events" has no column "kind"; it has id, event_id, aggregate_id, event_type, payload, headers, created_at, published, published_at, attempts, retry_at, error' ]
    run -64 outbox-relay --map kind=type app.db
    run -64 outbox-relay --map type app.db
    run -64 outbox-relay --map type= app.db
    db 'CREATE TABLE other(id, event_type, published)'
    run -65 outbox-relay --table other app.db
    [ "$output" = 'outbox-relay: app.db: table "other" has no column "payload" (--map payload=…); it has id, event_type, published' ]
    run -65 outbox-relay --table "x'; DROP TABLE outbox_events" app.db
    [ "$output" = "outbox-relay: app.db: there is no table \"x'; DROP TABLE outbox_events\"; outbox-relay --schema prints one, --table names another" ]
    spool_missing
}

@test "outbox-relay: -- without a command is 64, and no row goes elsewhere" {
    table
    rows a t.u 1
    run -64 outbox-relay app.db --
    [ "$output" = 'outbox-relay: a sink is missing after -- (an unset variable?) (see outbox-relay --help)' ]
    spool_missing
    cp app.db other.db
    run -0 outbox-relay other.db -- sh -c cat --
    run -0 outbox-relay -- app.db
    run -0 --separate-stderr replay
    [ "${#lines[@]}" -eq 1 ]
}

@test "outbox-relay: a source that no event can have is wrong usage, and no fault of the rows" {
    table
    rows a t.u 1
    run -64 outbox-relay --source $'/a\nb' app.db
    [ "$output" = 'outbox-relay: --source has a control character: "/a\nb" (see outbox-relay --help)' ]
    EVENT_DEFAULT_SOURCE=$'/\xff' run -64 outbox-relay app.db -- cat
    [ "$output" = 'outbox-relay: EVENT_DEFAULT_SOURCE is not UTF-8: "/\xff" (see outbox-relay --help)' ]
    run -0 --separate-stderr outbox-relay app.db
    [ "$stderr" = "outbox-relay: created the spool $EVENT_SPOOL" ]
}

@test "outbox-relay: a file that is not a database is distinguished from a missing one" {
    run -66 outbox-relay missing.db
    [ "$output" = 'outbox-relay: missing.db: No such file or directory' ]
    seq 1000 >app.db
    run -65 outbox-relay app.db
    [ "$output" = 'outbox-relay: app.db: not a SQLite database' ]
    run -65 outbox-relay .
    run -64 outbox-relay
    run -64 outbox-relay app.db other.db
    [ "$output" = 'outbox-relay: one database at a time: "other.db"; a command goes after -- (see outbox-relay --help)' ]
}

@test "outbox-relay: no message shows a password, however the database is written" {
    local name
    for name in postgresql://bob:secret postgresql://bob:secret/app postgresql://bob:se@secret@host/app \
        postgresql://bob:x/secret@host/app postgresql://bob:x@host:secret/app \
        postgresql:bob:secret 'postgres://bob@h/x?password=secret%zz' 'postgres://h/x?secret=1' \
        Postgresql://bob:secret@host/app mysql://bob:secret@host/app 'host=h password=secret'; do
        run -64 outbox-relay "$name" -- cat
        echo "$name: $output"
        [[ $output != *secret* ]]
        [ "${#lines[@]}" -eq 1 ]
    done
    run -64 outbox-relay app.db postgresql://bob:secret@host/app
    [ "$output" = 'outbox-relay: one database at a time; a command goes after -- (see outbox-relay --help)' ]
    run -64 outbox-relay postgresql://bob:secret
    [ "$output" = 'outbox-relay: the URI is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE; within a part, write %40 for @, %2F for /, %3A for : and %3F for ?' ]
}

# ------------------------------------------------------------------------------------------ looking

@test "outbox-relay: --dry-run prints the events that would be published, and changes nothing" {
    table
    rows a t.u 1 b t.u nope b t.u 3 c t.u 4
    cp app.db before
    run -1 --separate-stderr outbox-relay --dry-run app.db
    [ "$(jq -c .data <<<"$output" | paste -sd' ')" = '1 4' ]
    [ "$stderr" = 'outbox-relay: row 2: payload is not JSON: unexpected "o" at byte 2' ]
    cmp app.db before
    spool_missing && [ ! -e app.db-relay ]
    run -0 outbox-relay --dry-run -n 1 app.db
    dry=$output
    run -1 outbox-relay app.db
    [ "$(replay | head -n 1)" = "$dry" ]
}

@test "outbox-relay: --status prints how many rows wait, and since when" {
    table
    run -0 outbox-relay --status app.db
    [ "$output" = '{"table":"outbox_events","backlog":0,"oldest":null,"age_s":null,"waiting":0,"failed":0}' ]
    rows a t.u nope b t.u 2
    run -1 outbox-relay app.db -n 2
    db "INSERT INTO outbox_events(event_type, created_at) VALUES('t.u', '2026-01-02 03:04:05'), ('t.u', 0)"
    run -0 outbox-relay --status app.db
    [ "$(jq -c '[.backlog, .oldest, .waiting, .failed]' <<<"$output")" = '[2,"2026-01-02T03:04:05.000Z",0,1]' ]
    [ "$(jq '.age_s > 1000000' <<<"$output")" = true ]
    run -0 outbox-relay --status -o table app.db
    [[ ${lines[0]} =~ ^TABLE\ +BACKLOG\ +OLDEST\ +WAITING\ +FAILED$ ]]
    [[ ${lines[1]} =~ ^outbox_events\ +2\ +[0-9]+d\ +0\ +1$ ]]
}

@test "outbox-relay: -n limits how many rows are relayed" {
    table
    rows a t.u 1 a t.u nope b t.u 3 b t.u 4
    run -1 outbox-relay -n 2 app.db
    [ "$(data)" = '1 3' ]
    run -0 outbox-relay -n 1 app.db
    [ "$(data)" = '1 3 4' ]
}

@test "outbox-relay: --prune removes rows relayed that long ago, and never others" {
    table
    db "INSERT INTO outbox_events(event_type, payload) SELECT 't.u', value FROM generate_series(1, 1200)"
    run -0 outbox-relay --prune 1d app.db
    rows a t.u nope a t.u 2
    db "UPDATE outbox_events SET published_at = '2026-01-01T00:00:00.000Z' WHERE id <= 1100"
    run -1 outbox-relay --prune 1d app.db
    [ "$(db 'SELECT count(*), min(id), max(id) FROM outbox_events')" = '102|1101|1202' ]
    run -0 outbox-relay --prune 0 app.db
    [ "$(db 'SELECT group_concat(id) FROM outbox_events')" = 1201,1202 ]
}

# ------------------------------------------------------------------------------------------- faults

@test "outbox-relay: killed between publishing and marking, with two relays and rows that come back, each row is published once" {
    db 'CREATE TABLE outbox_events(id INTEGER PRIMARY KEY, aggregate_id, event_type, payload, created_at, published NOT NULL DEFAULT 0, published_at)'
    db 'PRAGMA journal_mode = wal' >journal
    publish -t before -d 0 2>/dev/null # the spool is there
    application
    rounds=$(long 15 50)
    for ((round = 1; round <= rounds; round++)); do
        # The same rows, and mostly the same second: only the payload tells them apart.
        app "INSERT INTO outbox_events(aggregate_id, event_type, payload, created_at) VALUES('a', 't.u', '$round', 1), ('b', 't.u', '$round.5', 1);"
        app 'BEGIN IMMEDIATE;' # nobody can mark
        background outbox-relay app.db 2>>err 9>&-
        first=$pid
        wait_for eval '[ "$(replay --last 1 | jq .data)" = '$round.5' ]'
        background outbox-relay app.db 2>>err 9>&-
        second=$pid
        kill -KILL "$first"
        wait "$first" || [ $? -eq 137 ]
        if [ $((round % 2)) -eq 0 ]; then
            kill -KILL "$second"
            app 'COMMIT;'
        else
            app 'COMMIT;'
        fi
        wait "$second" || [ $? -eq 137 ]
        run -0 outbox-relay --prune 0 app.db
        [ "$(db 'SELECT count(*) FROM outbox_events')" = 0 ]
    done
    [ ! -s err ]
    [ "$(data -t t.u)" = "$(for i in $(seq "$rounds"); do echo "$i $i.5"; done | paste -sd' ')" ]
}

@test "outbox-relay: a database that is locked is waited for" {
    table
    background outbox-relay -f --wait 10ms app.db -- tee -a seen 2>told
    always=$pid
    rows a t.u 1
    wait_for has_lines seen 1
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    application
    app 'BEGIN EXCLUSIVE;'
    run -75 outbox-relay --wait 0 app.db
    [ "${lines[-1]}" = 'outbox-relay: app.db: kept locked by another process for 0.0 s; try again later' ]
    background outbox-relay app.db 2>err 9>&-
    once=$pid
    wait_for grep -q 'kept locked' told
    ! gone "$once" || false
    app "INSERT INTO outbox_events(event_type, payload) VALUES('t.u', 2); COMMIT;"
    wait "$once"
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    rows a t.u 3
    wait_for grep -q 'data":3' seen
    kill "$always"
    wait "$always"
    [ "$(sed -n 1p told)" = 'outbox-relay: app.db: kept locked by another process for 0.0 s; try again later: waiting' ]
    grep -qx 'outbox-relay: app.db: no longer locked' told
}

@test "outbox-relay: a database that is renamed or replaced ends the relay before it marks anything there" {
    table
    background outbox-relay -f app.db 2>err
    rows a t.u 1
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    mv app.db moved.db
    wait_for gone "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 74 ]
    [ "$(tail -n 1 err)" = 'outbox-relay: app.db: is gone: it was moved or removed while in use' ]
    cp moved.db app.db
    background outbox-relay -f app.db 2>err
    rows a t.u 2
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    cp app.db new.db
    mv new.db app.db
    wait_for gone "$pid"
    [ "$(tail -n 1 err)" = 'outbox-relay: app.db: was replaced while in use' ]
}

@test "outbox-relay: a full disk ends it with 74, and nothing is lost or doubled" {
    mkdir disk
    mount -t tmpfs -o size=1m tmpfs disk 2>/dev/null || skip 'only root can mount a small disk'
    outbox-relay --schema | sqlite3 disk/app.db
    sqlite3 disk/app.db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a', 't.u', value FROM generate_series(1, 400)"
    outbox-relay --status disk/app.db >/dev/null
    touch disk/app.db-relay
    head -c 2M /dev/zero >disk/filler || true
    run -74 outbox-relay disk/app.db
    message=${lines[-1]}
    rm disk/filler
    sqlite3 disk/app.db 'PRAGMA integrity_check' >check
    status=0
    outbox-relay disk/app.db || status=$?
    left=$(sqlite3 disk/app.db 'SELECT count(*) FROM outbox_events WHERE published = 0')
    umount disk
    [ "$message" = 'outbox-relay: disk/app.db: the disk is full' ]
    [ "$(cat check)" = ok ]
    [ "$status $left" = '0 0' ]
    [ "$(replay | jq .data)" = "$(seq 400)" ]
}

@test "outbox-relay: a database that may only be read is looked at, and not relayed" {
    if [ "$(id -u)" -eq 0 ]; then
        mkdir disk
        mount -t tmpfs -o size=1m tmpfs disk 2>/dev/null || skip 'root may write everywhere, and cannot mount'
        outbox-relay --schema | sqlite3 disk/app.db
        sqlite3 disk/app.db "INSERT INTO outbox_events(event_type) VALUES('t.u')"
        mount -o remount,ro disk
        database=disk/app.db
    else
        table
        rows a t.u 1
        chmod 444 app.db
        database=app.db
    fi
    status=0
    outbox-relay "$database" 2>err || status=$?
    dry=$(outbox-relay --dry-run "$database" | jq -r .type)
    backlog=$(outbox-relay --status "$database" | jq .backlog)
    umount disk 2>/dev/null || true
    [ "$status" -eq 77 ]
    [ "$(cat err)" = "outbox-relay: $database: is read-only, and relayed rows have to be marked; --dry-run and --status only read" ]
    [ "$dry $backlog" = 't.u 1' ]
    spool_missing
}

@test "outbox-relay: the lock between relays may be removed at any time" {
    table
    rows a t.u 1
    mkfifo latch
    background outbox-relay -f --timeout 0 app.db -- sh -c 'tee -a seen >>input; [ -e went ] || { touch waits; read x <latch; touch went; }; cat input' 2>err
    first=$pid
    wait_for test -e waits
    run -75 outbox-relay --wait 0 app.db
    [ "${lines[-1]}" = 'outbox-relay: app.db: another relay is at work, and has been for 0ms' ]
    rm app.db-relay
    echo go >latch
    rows a t.u 2
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    kill "$first"
    wait "$first"
    [ -e app.db-relay ]
}

@test "outbox-relay: the example of a shop runs as it says" {
    run -0 --separate-stderr "$TOP/share/examples/outbox"
    [ "$output" = "carol's order was refused
mail to alice about 99.5
mail to bob about 12
orders: 2, events: 2
to be relayed: 0, failed: 0" ]
    [ -z "$stderr" ]
}

@test "outbox-relay: built without libpq, it names what to install for PostgreSQL" {
    env -u MAKEFLAGS -u MFLAGS make -s -j2 -C "$TOP" BUILD="$PWD/b" LIBPQ=no CFLAGS=-O0 "$PWD/b/bin/outbox-relay" 2>/dev/null
    export EVENT_SPOOL=$PWD/spool.db # a file: the outbox is what is not there
    run -69 b/bin/outbox-relay postgresql://localhost/x
    [ "$output" = 'outbox-relay: built without PostgreSQL: install libpq-dev and make again' ]
    run -0 b/bin/outbox-relay --schema postgres:
    [[ $output = *'CREATE TRIGGER "outbox_events_notify"'* ]]
}

@test "outbox-relay: any call may fail, or be the last: each row is published once, and the database stays whole" {
    [ -e "$BUILD/fault/fail.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
    table
    row=0
    for kind in kill torn eio enospc; do
        for journal in wal delete; do
            db "PRAGMA journal_mode = $journal" >answer
            for ((n = 1; ; n++)); do
                row=$((row + 1))
                rows a t.u $row
                # What is left over must not take more calls each time than n grows by.
                [ $((n % 10)) -ne 0 ] || outbox-relay app.db
                rm -f met
                status=0
                { LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=$kind FAULT_AT=$n FAULT_LOG=$PWD/met \
                    outbox-relay app.db 2>err; } 2>/dev/null || status=$?
                [ -s met ] || break
                case $kind:$status in
                kill:137 | torn:137 | *:0 | eio:7[34] | enospc:7[34]) ;;
                *)
                    echo "$kind $n ($(cat met)): status $status: $(cat err)" >&2
                    false
                    ;;
                esac
            done
            [ "$n" -gt 5 ]
            run -0 outbox-relay app.db
        done
    done
    [ "$(replay | jq .data)" = "$(seq $row)" ]
    [ "$(state)" = '0 0 0' ]
    [ "$(db 'PRAGMA integrity_check')" = ok ]
}

load helper

# A real server, for this file alone.

setup_file() {
    load postgres
    case $(outbox-relay postgresql://%2Fnowhere/x 2>&1) in
    *'built without'*) export NO_POSTGRES='outbox-relay is built without libpq' && return ;;
    esac
    postgres_start
}

teardown_file() {
    load postgres
    postgres_stop
}

setup() {
    helper_setup
    unset PGAPPNAME # a server of its own
    [ -z "${NO_POSTGRES:-}" ] || skip "$NO_POSTGRES"
    export EVENT_DEFAULT_SOURCE=/shop PGHOST=$POSTGRES_DIR PGUSER=tester PGDATABASE=test$BATS_TEST_NUMBER
    psql -qd postgres -c "CREATE DATABASE $PGDATABASE"
    url="postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=tester"
    place=$POSTGRES_DIR/$PGDATABASE
}

# A test that fails must not leave the server stopped.
teardown() {
    [ -z "${frozen:-}" ] || kill -CONT "$frozen" 2>/dev/null || true
    helper_teardown
}

db() { # SQL
    psql -qAt -v ON_ERROR_STOP=1 -c "$1"
}

table() {
    outbox-relay --schema postgresql: | psql -q -v ON_ERROR_STOP=1
}

rows() { # AGGREGATE TYPE PAYLOAD...
    while [ $# -gt 0 ]; do
        db "INSERT INTO outbox_events(aggregate_id, event_type, payload) VALUES('$1', '$2', '$3')"
        shift 3
    done
}

data() {
    replay "$@" | jq -c .data | paste -sd' '
}

state() {
    outbox-relay --status "$url" | jq -r '"\(.backlog) \(.waiting) \(.failed)"'
}

has_lines() { # FILE N: at least
    [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]
}

# A session of the application's: what is written to descriptor 9 is done there.
application() {
    mkfifo statements
    background sh -c 'exec psql -qAt <statements >answers'
    exec 9>statements
}

app() { # SQL: returns when it is done
    rm -f "$BATS_TEST_TMPDIR/finished"
    printf '%s\n' "$1" '\! touch finished' >&9
    wait_for test -e finished
}

@test "outbox-relay: the printed schema makes a PostgreSQL table, also in a schema" {
    table
    db 'CREATE SCHEMA app'
    outbox-relay --schema --table 'app.My "box"' --channel "it's" postgresql: | psql -q -v ON_ERROR_STOP=1
    db "INSERT INTO app.\"My \"\"box\"\"\"(event_type, payload) VALUES('t.u', '1')"
    run -0 outbox-relay --table 'app.My "box"' "$url"
    [ "$(data)" = 1 ]
}

@test "outbox-relay: a row of PostgreSQL becomes an event, its payload and headers as they are" {
    table
    db "INSERT INTO outbox_events(event_id, aggregate_id, event_type, payload, headers, created_at) VALUES
        ('e-7', 'order-1', 'order.placed', '{\"total\": 1.50, \"n\":12345678901234567890}', '{\"correlationId\":\"c-1\",\"priority\":2}',
        '2026-11-20 10:08:07.5+01')"
    run -0 --separate-stderr outbox-relay "$url"
    [ -z "$output" ] && [ "$stderr" = "outbox-relay: created the spool $EVENT_SPOOL" ]
    run -0 replay
    [ "$output" = '{"specversion":"1.0","source":"/shop","id":"e-7","type":"order.placed","subject":"order-1","time":"2026-11-20T09:08:07.500Z","correlationid":"c-1","priority":2,"data":{"total": 1.50, "n":12345678901234567890}}' ]
    [ "$(db 'SELECT published, published_at > created_at, attempts, error IS NULL FROM outbox_events')" = 't|t|0|t' ]
    run -0 outbox-relay "$url"
    [ -z "$output" ]
}

@test "outbox-relay: a derived id does not depend on the session's settings" {
    table
    rows a t.u 1
    run -0 outbox-relay --dry-run "$url"
    one=$output
    run -0 env PGTZ=Asia/Tokyo PGDATESTYLE=German outbox-relay --dry-run "$url"
    [ "$output" = "$one" ]
    [ "$(state)" = '1 0 0' ]
}

@test "outbox-relay: bad rows of PostgreSQL are marked, and hold up their aggregate alone" {
    table
    rows a t.u 1 b t.u nope c t.u 3 b t.u 4
    db "INSERT INTO outbox_events(payload) VALUES('5')"
    run -1 --separate-stderr outbox-relay "$url"
    [ "$(sed 1d <<<"$stderr")" = 'outbox-relay: row 2: payload is not JSON: unexpected "o" at byte 2: marked as failed
outbox-relay: row 5: event_type is NULL: marked as failed' ]
    [ "$(data)" = '1 3' ]
    [ "$(db 'SELECT error FROM outbox_events WHERE id = 5')" = 'event_type is NULL' ]
    [ "$(state)" = '1 0 2' ]
    run -0 outbox-relay "$url"
    db "UPDATE outbox_events SET payload = '2' WHERE id = 2"
    run -1 outbox-relay --retry-failed "$url"
    [ "${lines[0]}" = '2 failed rows given back' ]
    [ "$(data)" = '1 3 2 4' ]
}

@test "outbox-relay: invalid text in a PostgreSQL database that stores any bytes is one bad row" {
    psql -qd postgres -c "DROP DATABASE $PGDATABASE" \
        -c "CREATE DATABASE $PGDATABASE ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    table
    rows a t.u 1 b t.u $'"\xe9"' c t.u '"é"'
    run -1 --separate-stderr outbox-relay "$url"
    [ "${stderr_lines[-1]}" = 'outbox-relay: row 2: payload is not UTF-8: marked as failed' ]
    [ "$(data)" = '1 "é"' ]
    [ "$(state)" = '0 0 1' ]
}

@test "outbox-relay: rows of PostgreSQL are relayed in order, page after page" {
    table
    db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a' || (value % 7), 't.u', value FROM generate_series(1, 1700) value"
    run -0 outbox-relay "$url"
    [ "$(replay | jq .data)" = "$(seq 1700)" ]
    run -0 outbox-relay --prune 0 "$url"
    [ "$(db 'SELECT count(*) FROM outbox_events')" = 0 ]
}

@test "outbox-relay: a PostgreSQL table of other names and types is mapped" {
    db "CREATE TABLE box(seq integer PRIMARY KEY, uid uuid, kind varchar(9), body jsonb, sent smallint NOT NULL DEFAULT 0)"
    db "INSERT INTO box VALUES(1, '0192f0c1-2345-7000-8000-000000000001', 't.u', '{\"a\":1}'), (2, NULL, 't.u', NULL)"
    map=id=seq,event_id=uid,type=kind,published=sent
    run -0 outbox-relay --table box --map "$map,payload=body" "$url"
    [ "$(replay | jq -c '[.id[:8], .data]' | head -n 1)" = '["0192f0c1",{"a": 1}]' ] ||
        [ "$(replay | jq -c '[.id[:8], .data]' | head -n 1)" = '["0192f0c1",{"a":1}]' ]
    [ "$(db 'SELECT sum(sent) FROM box')" = 2 ]
    run -64 outbox-relay --table box --map "$map,payload=x" "$url"
    [ "$output" = "outbox-relay: $place: table \"box\" has no column \"x\"; it has seq, uid, kind, body, sent" ]
    run -65 outbox-relay --table box --map "$map,payload=body,id=uid" "$url"
    [ "$output" = "outbox-relay: $place: column \"uid\" of table \"box\" is not an integer: rows need a number for their order (--map id=…)" ]
    run -65 outbox-relay --table missing "$url"
}

@test "outbox-relay: rows of PostgreSQL that a sink does not confirm are tried again, then fail" {
    table
    rows a t.u 1 b t.u 2 a t.u 3 b t.u 4
    run -0 outbox-relay --backoff 90d..90d "$url" -- jq -r --unbuffered 'select(.subject == "a").id'
    [ "$(state)" = '2 1 0' ]
    [ "$(db 'SELECT id, attempts, retry_at > now() FROM outbox_events WHERE attempts > 0')" = '2|1|t' ]
    db 'UPDATE outbox_events SET retry_at = NULL'
    run -1 outbox-relay -a 2 --backoff 0 "$url" -- sh -c 'exit 7'
    [ "$(db 'SELECT attempts, error FROM outbox_events WHERE id = 2')" = '2|not confirmed by the sink (exit status 7)' ]
    run -0 outbox-relay --retry-failed "$url" -- publish -s other.db --echo
    [ "$(data -s other.db)" = '2 4' ]
}

@test "outbox-relay: several relays share a PostgreSQL table: nothing twice, and the order is kept" {
    table
    for i in 1 2 3; do
        background outbox-relay -f "$url" -- sh -c 'tee -a seen' 2>>err
    done
    for i in $(seq 0 9); do
        db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a' || (value % 5), 't.u', value FROM generate_series($i * 30 + 1, $i * 30 + 30) value"
    done
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    [ "$(jq .data seen | sort -n)" = "$(seq 300)" ]
    for a in 0 1 2 3 4; do
        jq "select(.subject == \"a$a\").data" seen | sort -nc
    done
}

@test "outbox-relay: a second relay passes rows that the first one holds, but not within an aggregate" {
    table
    rows a t.u 1
    db "INSERT INTO outbox_events(event_type, payload) VALUES('t.u', '1.5')" # of no aggregate
    mkfifo latch
    background outbox-relay "$url" -- sh -c 'tee seen >input; touch thinking; read x <latch; cat input'
    first=$pid
    wait_for test -e thinking
    rows a t.u 2 b t.u 3 '' t.u 4 # at once: the application waits for nobody
    run -75 outbox-relay --wait 100ms "$url" -- tee second
    [ "${lines[-1]}" = "outbox-relay: $place: 3 rows, the first of them row 1: locked by another relay or session, or row-level security forbids this role to update them" ]
    [ "$(jq .data second | paste -sd' ')" = '3 4' ]
    background outbox-relay "$url" -- tee third
    third=$pid
    echo go >latch
    wait "$first"
    wait "$third"
    [ "$(jq .data third)" = 2 ]
}

@test "outbox-relay: killed between publishing and marking in PostgreSQL, each row is published once" {
    table
    publish -t before -d 0 2>/dev/null
    application
    for ((round = 1; round <= 10; round++)); do
        app "INSERT INTO outbox_events(aggregate_id, event_type, payload) VALUES('a', 't.u', '$round'), ('b', 't.u', '$round.5');"
        app 'BEGIN; LOCK TABLE outbox_events IN SHARE MODE;' # rows may be locked, and not marked
        background outbox-relay "$url" 2>>err 9>&-
        first=$pid
        wait_for eval '[ "$(replay --last 1 | jq .data)" = '$round.5' ]'
        background outbox-relay "$url" 2>>err 9>&-
        second=$pid
        kill -KILL "$first"
        wait "$first" || [ $? -eq 137 ]
        [ $((round % 2)) -eq 0 ] || kill -KILL "$second"
        app 'COMMIT;'
        wait "$second" || [ $? -eq 137 ]
        run -0 outbox-relay --prune 0 "$url"
        [ "$(state)" = '0 0 0' ]
    done
    [ ! -s err ]
    [ "$(data -t t.u)" = "$(for i in $(seq 10); do echo "$i $i.5"; done | paste -sd' ')" ]
}

@test "outbox-relay: -f is notified of commits in PostgreSQL, waits out a lock, and ends with SIGTERM" {
    table
    background outbox-relay -f --wait 10ms "$url" -- tee -a seen 2>err
    follower=$pid
    wait_for eval '[ "$(db "SELECT count(*) FROM pg_stat_activity WHERE application_name = '"''"' AND datname = current_database() AND state = '"'idle'"'")" -ge 1 ]'
    rows a t.u 1
    wait_for has_lines seen 1
    application
    app 'BEGIN; LOCK TABLE outbox_events; INSERT INTO outbox_events(event_type, payload) VALUES('"'t.u', '2'"');'
    run -75 outbox-relay --wait 10ms "$url"
    app 'NOTIFY outbox_events; COMMIT;'
    wait_for has_lines seen 2
    kill "$follower"
    wait "$follower"
    [ "$(jq .data seen | paste -sd' ')" = '1 2' ]
}

# The server's process that all others come from.
postmaster() {
    head -n 1 "$POSTGRES_DIR/data/postmaster.pid"
}

has_socket() { # PID
    find "/proc/$1/fd" -lname 'socket:*' | grep -q .
}

sessions() { # of relays: the server's processes
    db "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
}

@test "outbox-relay: an unreachable server is 69, and no message has the password" {
    run -69 outbox-relay "postgresql://tester:secret@%2Fnowhere/x"
    [[ $output = 'outbox-relay: connection to server on socket "/nowhere/'* ]]
    [[ $output != *secret* ]]
}

@test "outbox-relay: a sink sees neither the URI nor a password of it" {
    table
    rows a t.u 1
    run -0 outbox-relay "postgresql://tester:secret@/$PGDATABASE?host=$POSTGRES_DIR" -- sh -c 'env >env; tr "\0" " " </proc/$$/cmdline >>env; cat'
    [ -s env ]
    ! grep secret env || false
}

@test "outbox-relay: a connection that is lost while a sink is busy is made again, and its rows are marked" {
    table
    rows a t.u 1
    background outbox-relay "$url" -- sh -c 'cat >seen; touch given; until [ -e go ]; do sleep 0.02; done; cat seen' 2>err
    wait_for test -e given
    db "SELECT pg_terminate_backend($(sessions))" >/dev/null
    touch go
    ends_with 0 "$pid"
    [ "$(state)" = '0 0 0' ]
    [ "$(sed 's/lost: .*: trying/lost: trying/' err)" = "outbox-relay: $place: the connection is lost: trying again
outbox-relay: $place: connected again" ]
}

@test "outbox-relay: -f reconnects to a server that goes away, or is unreachable at the start" {
    table
    rows a t.u 1
    place=$PWD/later/$PGDATABASE
    background outbox-relay -f "postgresql://tester:secret@/$PGDATABASE?host=$PWD/later" -- tee -a seen 2>err
    wait_for grep -q 'trying again' err
    ln -s "$POSTGRES_DIR" later
    wait_for has_lines seen 1
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    db "SELECT pg_terminate_backend($(sessions))" >/dev/null
    rows a t.u 2
    wait_for has_lines seen 2
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    kill "$pid"
    ends_with 0 "$pid"
    [ "$(jq .data seen | paste -sd' ')" = '1 2' ]
    [[ $(head -n 1 err) = "outbox-relay: connection to server on socket \"$PWD/later/"*': trying again' ]]
    [ "$(sed 1d err | sed 's/lost: .*: trying/lost: trying/')" = "outbox-relay: $place: connected again
outbox-relay: $place: the connection is lost: trying again
outbox-relay: $place: connected again" ]
}

@test "outbox-relay: a signal ends it at once when the server accepts and does not answer" {
    table
    rows a t.u 1
    local signal
    frozen=$(postmaster)
    kill -STOP "$frozen" # the kernel goes on accepting connections
    for signal in TERM INT; do
        background outbox-relay "$url" 2>err.once
        once=$pid
        background outbox-relay -f "$url" 2>err
        wait_for has_socket "$pid"
        wait_for has_socket "$once"
        kill -$signal "$pid" "$once"
        ends_with 0 "$pid"
        ends_with 75 "$once"
        [ ! -s err ]
        [ "$(cat err.once)" = "outbox-relay: $place: stopped while waiting for the server" ]
    done
    run -69 outbox-relay "$url&connect_timeout=1"
    kill -CONT "$frozen"
    [ "$output" = "outbox-relay: $place: the server does not answer" ]
    # In mid-session: a statement that gets no answer.
    background outbox-relay -f "$url" -- tee -a seen 2>err
    wait_for has_lines seen 1
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    frozen=$(sessions)
    kill -STOP "$frozen"
    kill "$pid"
    ends_with 0 "$pid"
    kill -CONT "$frozen"
    [ ! -s err ]
}

@test "outbox-relay: a table that is locked when it begins is waited for, too, and a signal ends that" {
    table
    rows a t.u 1
    application
    app 'BEGIN; LOCK TABLE outbox_events;'
    background outbox-relay "$url" 2>err 9>&-
    once=$pid
    background outbox-relay "$url" 2>err.stopped 9>&-
    stopped=$pid
    background outbox-relay -f --wait 10ms "$url" -- tee -a seen 2>told 9>&-
    wait_for grep -q waiting told
    wait_for has_socket "$stopped"
    kill "$stopped"
    ends_with 75 "$stopped"
    ! gone "$once" || false
    app 'COMMIT;'
    ends_with 0 "$once"
    wait_for grep -q 'no longer locked' told
    kill "$pid"
    ends_with 0 "$pid"
    [ "$(state)" = '0 0 0' ]
    [ "$(head -n 2 told)" = "outbox-relay: $place: canceling statement due to lock timeout: waiting
outbox-relay: $place: no longer locked" ]
    [ "$(cat err.stopped)" = "outbox-relay: $place: stopped while waiting for the server" ]
}

@test "outbox-relay: no default of a role or a database ends a session that waits for a sink, or changes what is relayed" {
    local setting
    table
    db "INSERT INTO outbox_events(aggregate_id, event_type, payload) VALUES('a', 't.u', '1')"
    run -0 outbox-relay --dry-run "$url"
    one=$output
    for setting in idle_in_transaction_session_timeout=2s idle_session_timeout=2s lock_timeout=1ms \
        default_transaction_isolation=serializable bytea_output=escape DateStyle=German TimeZone=Asia/Tokyo \
        extra_float_digits=-15 IntervalStyle=iso_8601 client_encoding=LATIN1 standard_conforming_strings=off; do
        echo "ALTER DATABASE $PGDATABASE SET ${setting%%=*} = '${setting#*=}';"
    done | psql -q -v ON_ERROR_STOP=1
    # Longer than the timeouts, which leave time to connect on a busy machine. Without an answer: the
    # attempt counts.
    run -0 outbox-relay --backoff 90d..90d "$url" -- sh -c 'cat >seen; sleep 2.5'
    [ "$(db 'SELECT attempts FROM outbox_events')" = 1 ]
    db 'UPDATE outbox_events SET retry_at = NULL'
    run -0 outbox-relay "$url" -- sh -c 'cat >seen; sleep 2.5; cat seen'
    [ "$(cat seen)" = "$one" ]
    [ "$(state)" = '0 0 0' ]
}

@test "outbox-relay: a mark that changes nothing in PostgreSQL is an error that names the row" {
    local refuse
    table
    db "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    for refuse in 'CREATE TRIGGER refuse BEFORE UPDATE ON outbox_events FOR EACH ROW WHEN (OLD.id = 2) EXECUTE FUNCTION nothing()' \
        'CREATE RULE refuse AS ON UPDATE TO outbox_events WHERE OLD.id = 2 DO INSTEAD NOTHING'; do
        db 'TRUNCATE outbox_events RESTART IDENTITY'
        rows a t.u 1 b t.u 2 c t.u 3
        db "$refuse"
        run -65 outbox-relay "$url" -- tee -a seen
        [ "$output" = "outbox-relay: $place: row 2 was relayed, but the UPDATE changed nothing: a trigger, a rule or row-level security of table \"outbox_events\" discards it; until that is fixed, each run relays the row again" ]
        [ "$(db 'SELECT string_agg(published::text, NULL ORDER BY id) FROM outbox_events')" = truefalsetrue ]
        db 'SET client_min_messages = error; DROP TRIGGER IF EXISTS refuse ON outbox_events; DROP RULE IF EXISTS refuse ON outbox_events'
    done
    # What a policy keeps from being marked is not even given to the sink.
    db "TRUNCATE outbox_events RESTART IDENTITY; CREATE ROLE clerk LOGIN; GRANT ALL ON outbox_events TO clerk;
        ALTER TABLE outbox_events ENABLE ROW LEVEL SECURITY; CREATE POLICY a ON outbox_events USING (true);
        CREATE POLICY refuse ON outbox_events AS RESTRICTIVE FOR UPDATE USING (id <> 2)"
    rows a t.u 1 b t.u 2 c t.u 3
    run -75 outbox-relay --wait 0 "postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=clerk" -- tee last
    [ "$output" = "outbox-relay: $place: 1 row, the first of them row 2: locked by another relay or session, or row-level security forbids this role to update it" ]
    [ "$(jq .data last | paste -sd' ')" = '1 3' ]
}

@test "outbox-relay: a row of PostgreSQL that cannot be pruned is an error that names it, and the rest is pruned" {
    table
    rows a t.u 1 a t.u 2 a t.u 3
    db "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER keep BEFORE DELETE ON outbox_events FOR EACH ROW WHEN (OLD.id = 2) EXECUTE FUNCTION nothing()"
    run -65 outbox-relay --prune 0 "$url"
    [ "${lines[-1]}" = "outbox-relay: $place: row 2 was to be pruned, but the DELETE changed nothing: a trigger, a rule or row-level security of table \"outbox_events\" discards it" ]
    [ "$(db 'SELECT string_agg(id::text, NULL) FROM outbox_events')" = 2 ]
}

@test "outbox-relay: how old a row of PostgreSQL is counts by the clock of its server" {
    needs_world
    table
    rows a t.u 1 a t.u 2
    echo -3600 >clock
    run -0 world outbox-relay --prune 0 "$url"
    [ "$(db 'SELECT count(*) FROM outbox_events')" = 0 ]
    rows b t.u 3
    echo 3600 >clock
    run -0 world outbox-relay --prune 30m "$url"
    [ "$(db 'SELECT count(*) FROM outbox_events')" = 1 ]
}

@test "outbox-relay: a row of PostgreSQL that is changed while a sink has it is relayed again as it is now" {
    table
    rows a t.u 1 b t.u 5
    background outbox-relay "$url" -- sh -c 'cat >seen; touch given; until [ -e go ]; do sleep 0.02; done; cat seen' 2>err
    wait_for test -e given
    db "UPDATE outbox_events SET payload = '2' WHERE id = 1"
    touch go
    ends_with 0 "$pid"
    [ "$(cat err)" = 'outbox-relay: row 1: was changed while it was being relayed: it is relayed again as it is now' ]
    run -0 outbox-relay "$url"
    [ "$(data)" = 2 ]
}

@test "outbox-relay: names of PostgreSQL are compared with case, and without quotes in lower case" {
    db "CREATE TABLE \"Box\"(\"Seq\" bigserial, seq int, \"Type\" text, event_type text, payload text, \"Error\" text, \"Published\" boolean NOT NULL DEFAULT false, published int DEFAULT 5)"
    db "INSERT INTO \"Box\"(seq, \"Type\", event_type, payload, \"Error\") VALUES(9, 't.u', 'x', '1', 'not ours'), (8, 't.u', 'x', '2', NULL)"
    run -0 outbox-relay --table Box --map 'id=Seq,type=Type,published=Published' "$url"
    [ "$(data)" = '1 2' ]
    [ "$(db 'SELECT string_agg("Published"::text, NULL) FROM "Box"')" = truetrue ]
    db 'UPDATE "Box" SET "Published" = false'
    run -0 outbox-relay --table Box --map 'id=SEQ,type=EVENT_TYPE,published=Published,error=Error' --dry-run "$url"
    [ "$(jq -c '[.type, .data]' <<<"$output")" = '["x",2]' ]
    db 'CREATE TABLE plain(id int, event_type text, payload text, published int NOT NULL DEFAULT 0)'
    run -0 outbox-relay --table PLAIN "$url"
    run -65 outbox-relay --table box --map 'id=Seq' "$url"
}

@test "outbox-relay: --delete deletes what is relayed from a PostgreSQL table, and bytea is a payload" {
    db "CREATE TABLE o(id bigint, event_type text, payload bytea, aggregate_id text)"
    db "INSERT INTO o VALUES(1, 't.u', '{\"a\": 1.0}', 'a'), (2, 't.u', '\\x00ff10', 'b'), (3, 't.u', NULL, 'b'), (4, NULL, '5', 'c'), (5, 't.u', '', 'd')"
    run -65 outbox-relay --table o "$url"
    [[ $output = *'; --delete deletes relayed rows instead' ]]
    run -1 outbox-relay --table o --delete "$url"
    [ "$(replay | grep -o '"subject":"a".*\|"data_base64.*')" = "$(replay | sed -n '1s/.*\("subject.*\)/\1/p')
\"data_base64\":\"AP8Q\"}
\"data_base64\":\"\"}" ]
    [ "$(replay | grep -o '"data":.*')" = '"data":{"a": 1.0}}' ]
    [ "$(db 'SELECT string_agg(id::text, NULL) FROM o')" = 4 ]
}

@test "outbox-relay: a PostgreSQL database that may only be read is looked at, and not relayed" {
    table
    rows a t.u 1
    run -77 env PGOPTIONS='-c default_transaction_read_only=on' outbox-relay "$url"
    [ "$output" = "outbox-relay: $place: is read-only, and relayed rows have to be marked; --dry-run and --status only read" ]
    run -0 env PGOPTIONS='-c default_transaction_read_only=on' outbox-relay --dry-run "$url"
    [ "$(jq .data <<<"$output")" = 1 ]
    db 'CREATE ROLE guest LOGIN; GRANT SELECT ON outbox_events TO guest'
    run -77 outbox-relay "postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=guest"
    [ "${lines[-1]}" = "outbox-relay: $place: permission denied for table outbox_events" ]
}

@test "outbox-relay: the example of a shop with PostgreSQL runs as it says" {
    run -0 --separate-stderr timeout 60 "$TOP/share/examples/outbox-postgres" "$url"
    [ "$output" = "carol's order was refused
mail to alice about 99.5
mail to bob about 12
to be relayed: 0, failed: 0" ]
    [ -z "$stderr" ]
    [ -z "$(db '\dt')" ]
}

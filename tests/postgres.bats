load helper
load postgres

# Spools on PostgreSQL: what is the server's own. All else is in the other files, which run on both
# engines (make test ENGINE=postgres).

setup_file() { postgres_spools; }

teardown_file() { postgres_stop; }

setup() {
    helper_setup
    postgres_own
    base="postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=tester"
    export EVENT_SPOOL="$base#shop"
}

db() { # SQL
    psql -qAt -v ON_ERROR_STOP=1 -c "$1"
}

db_says() { # VALUE SQL
    [ "$(db "$2")" = "$1" ]
}

data() { # [ARGUMENTS]: the data of the events in the log
    replay "$@" | jq -c .data | paste -sd' '
}

# as ROLE: the address of the spool, for that role.
as() {
    echo "postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=$1#shop"
}

cut() { # HOW WORD COMMAND...
    LD_PRELOAD=$BUILD/fault/cut.so CUT=$1 CUT_AT=$2 "${@:3}"
}

needs_cut() {
    [ -e "$BUILD/fault/cut.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
}

@test "postgres: publish, replay, consume and settle on a server, with the same bytes" {
    printf '{"specversion":"1.0","id":"%s","source":"/s","type":"a","data":{"n":1.50}}\n' 1 2 3 >in
    run -0 --separate-stderr publish in
    [ "$stderr" = "publish: created the spool $EVENT_SPOOL" ]
    replay >out
    diff in out
    run -0 consume -g g --from start -- cat
    [ "$output" = "$(cat in)" ]
    consume -g pipe --from start --lease 1m | settle -g pipe
    group_is pipe 0 0 0 0
    [ "$(spool info -o ndjson | jq -r '"\(.path) \(.events)"')" = "$EVENT_SPOOL 3" ]
}

@test "postgres: a database holds several spools, each in a schema of its own" {
    publish -s "$base#a" -t x -d 1
    publish -s "$base#b" -t x -d 2
    publish -s "$base" -t x -d 3
    publish -s "$base#order" -t x -d 4 # a word of SQL
    [ "$(data -s "$base#a")" = 1 ]
    [ "$(data -s "$base#b")" = 2 ]
    [ "$(data -s "$base#eventutils")" = 3 ]
    [ "$(data -s "$base#order")" = 4 ]
    [ "$(db "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname IN ('a','b','eventutils')")" = 'a b eventutils' ]
}

@test "postgres: init creates it, and leaves one that is there as it is" {
    run -0 --separate-stderr spool init
    [ "$stderr" = "spool: created the spool $EVENT_SPOOL" ]
    publish -t x -d 1
    run -0 --separate-stderr spool init
    [ -z "$output$stderr" ]
    [ "$(replay | wc -l)" -eq 1 ]
}

@test "postgres: eight that create the spool at once all succeed, and one of them reports it" {
    for i in {1..8}; do
        { publish -t x -d "$i" 2>"err.$i" && echo 0 || echo $?; } >"status.$i" 3>&- &
    done
    wait
    [ "$(sort status.* | uniq -c | awk '{print $1 "x" $2}')" = 8x0 ]
    [ "$(cat err.*)" = "publish: created the spool $EVENT_SPOOL" ]
    [ "$(replay -o positions | paste -sd' ')" = '1 2 3 4 5 6 7 8' ]
}

@test "postgres: eight publishers beside readers leave no gap and no position behind them" {
    each=$(long 200 12500)
    spool init 2>/dev/null
    background replay -f -o positions -n $((8 * each)) >seen
    background consume -g g --from start -f --auto-ack -n $((8 * each)) >consumed
    for i in {1..4}; do
        { seq "$each" | publish -t "x$i"; } 3>&- &
        waiting[i]=$!
        # Line by line: the publisher commits what is there.
        { seq "$each" | grep --line-buffered . | publish -t "y$i"; } 3>&- &
        waiting[4 + i]=$!
    done
    wait "${waiting[@]}"
    for pid in "${helper_pids[@]}"; do ends_with 0 "$pid"; done
    diff seen <(seq $((8 * each)))
    diff -q consumed <(replay)
}

@test "postgres: an address with a password is refused: others could see it" {
    for address in "postgresql://tester:secret@/x?host=$POSTGRES_DIR" "postgresql:///x?host=$POSTGRES_DIR&password=secret"; do
        run -64 --separate-stderr publish -s "$address#shop" -t x -d 1
        [[ $stderr == *'~/.pgpass'* ]]
        [[ $stderr != *secret* ]]
    done
}

@test "postgres: what names no spool is wrong usage" {
    for name in '' Shop 'a b' 'a;b' 1a pg_x public information_schema "$(printf 'a%.0s' {1..64})"; do
        run -64 --separate-stderr publish -s "$base#$name" -t x -d 1
        [[ $stderr == *'names the spool'* ]]
    done
    run -64 publish -s 'postgresql://[' -t x -d 1
}

@test "postgres: without a server it is 75, without its database or spool 66, and nothing is created" {
    run -75 --separate-stderr publish -s "postgresql:///x?host=$PWD#shop" -t x -d 1
    [[ $stderr == "publish: postgresql:///x?host=$PWD#shop: "* ]]
    run -66 --separate-stderr publish -s "postgresql:///nosuch?host=$POSTGRES_DIR&user=tester" -t x -d 1
    run -66 --separate-stderr replay
    [ "$stderr" = "replay: $EVENT_SPOOL: there is no spool; publish creates one, -s or EVENT_SPOOL names another" ]
    [ -z "$(db "SELECT 1 FROM pg_namespace WHERE nspname='shop'")" ]
}

@test "postgres: what the role or the database has set does not matter" {
    db "CREATE ROLE odd LOGIN; GRANT CREATE ON DATABASE $PGDATABASE TO odd;
        ALTER ROLE odd SET search_path = nowhere; ALTER ROLE odd SET synchronous_commit = off;
        ALTER ROLE odd SET default_transaction_isolation = serializable; ALTER ROLE odd SET statement_timeout = '1ms';
        ALTER ROLE odd SET lock_timeout = '1ms'; ALTER ROLE odd SET standard_conforming_strings = off;
        ALTER ROLE odd SET bytea_output = escape; ALTER ROLE odd SET client_encoding = LATIN1;
        ALTER ROLE odd SET timezone = 'Asia/Tokyo'; ALTER ROLE odd SET datestyle = german"
    seq 2000 | publish -s "$(as odd)" -t 'a' -k $'gr\xc3\xbc\xc3\x9fe\\' 2>/dev/null
    run -0 consume -s "$(as odd)" -g g --from start -n 1 -- sh -c 'echo "$EVENT_SUBJECT"'
    [ "$output" = $'gr\xc3\xbc\xc3\x9fe\\' ]
    [ "$(replay -s "$(as odd)" | wc -l)" -eq 2000 ]
}

@test "postgres: a role whose idle sessions are ended works in peace, and so do its handlers" {
    publish -t x -k s -d 1 2>/dev/null
    publish -t x -k s -d 2
    db "CREATE ROLE idle LOGIN SUPERUSER; ALTER ROLE idle SET idle_session_timeout = '500ms'"
    background consume -s "$(as idle)" -g g --from start --ordered -- \
        sh -c 'echo "$EVENT_SEQ" >>log; until [ -e go ]; do sleep 0.02; done'
    wait_for has_lines log 1
    # Its own session, and the one that its handler holds the order with.
    wait_for db_says 2 "SELECT count(*) FROM pg_stat_activity WHERE usename = 'idle' AND clock_timestamp() - state_change > '1s'"
    touch go
    ends_with 0 "$pid"
    [ "$(paste -sd' ' log)" = '1 2' ]
}

@test "postgres: a role without the right to create or to write is told so, 77" {
    db 'CREATE ROLE guest LOGIN'
    run -77 --separate-stderr publish -s "$(as guest)" -t x -d 1
    [[ $stderr == *"cannot create the spool: "*": grant it to the role" ]]
    publish -t x -d 1
    db 'GRANT USAGE ON SCHEMA shop TO guest; GRANT SELECT ON ALL TABLES IN SCHEMA shop TO guest'
    [ "$(replay -s "$(as guest)" | wc -l)" -eq 1 ]
    run -77 --separate-stderr publish -s "$(as guest)" -t x -d 1
    [[ $stderr == *': grant it to the role' ]]
    run -0 spool sql -s "$(as guest)" 'SELECT seq FROM events'
    [ "$output" = '{"seq":1}' ]
}

@test "postgres: a database that is not UTF8 is refused with the remedy" {
    db "CREATE DATABASE latin$BATS_TEST_NUMBER ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"
    run -69 --separate-stderr publish -s "postgresql:///latin$BATS_TEST_NUMBER?host=$POSTGRES_DIR&user=tester" -t x -d 1
    [[ $stderr == *'LATIN1: create one with UTF8' ]]
}

@test "postgres: a newer schema, and one that is no spool, are refused" {
    publish -t x -d 1
    db "UPDATE shop.meta SET value='99' WHERE key='schema'"
    run -65 --separate-stderr publish -t x -d 1
    [[ $stderr == *'has schema 99, this program knows '*': install a newer eventutils' ]]
    db "DELETE FROM shop.meta"
    run -65 --separate-stderr replay
    [[ $stderr == *': not an eventutils spool' ]]
}

@test "postgres: a consumer whose connection is gone ends its handler and settles nothing; the event is delivered again" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -- sh -c 'echo $$ >handler; exec sleep 600' 2>err
    wait_for test -s handler
    hang_up
    ends_with 75 "$pid"
    wait_for gone "$(cat handler)"
    run -0 consume -g g -n 1 -- sh -c 'echo "$EVENT_DATA_IS $EVENT_ATTEMPT"'
    [ "$output" = ' 1' ]
    group_is g 0 0 0 0
}

says_times() { # N WORDS
    [ "$(grep -c "$2" err)" -eq "$1" ]
}

@test "postgres: a consumer that follows ends its handlers, connects again and goes on, up to its count" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -f -n 3 -- sh -c 'echo "$EVENT_SEQ $$" >>began; [ -e go ] || exec sleep 600; echo "$EVENT_TYPE" >>ended; [ "$EVENT_TYPE" != bad ] || exit 65' 2>err
    wait_for has_lines began 1
    hang_up
    wait_for gone "$(awk 'NR == 1 { print $2 }' began)"
    touch go
    wait_for has_lines ended 1
    publish -t bad -d 2
    wait_for says_times 1 'dead letter'
    wait_for group_is g 0 0 0 1 2>/dev/null
    hang_up
    wait_for says_times 2 'connected again'
    for data in 3 4 5; do publish -t x -d $data; done
    ends_with 1 "$pid"
    [ "$(paste -sd' ' ended)" = 'x bad x' ]
    # The server's last words are there when it was about to ask for something.
    [ "$(head -n 2 err | sed 's/: terminating connection due to administrator command//')" = "consume: $EVENT_SPOOL: the connection to the server is lost: connecting again
consume: $EVENT_SPOOL: connected again" ]
}

@test "postgres: a consumer that has all that it asked for ends its handlers, too, when the connection is gone" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -f -n 1 -j 2 -- sh -c 'echo $$ >>began; [ -e go ] || exec sleep 600' 2>err
    wait_for has_lines began 1
    hang_up
    wait_for gone "$(head -n 1 began)"
    touch go
    ends_with 0 "$pid"
    wait_for has_lines began 2
    group_is g 0 0 0 0
}

@test "postgres: a consumer that stands by in an ordered group connects again, too" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -f --ordered -- sh -c 'echo >>began; exec sleep 600' 2>/dev/null
    wait_for has_lines began 1
    background consume -g g -f --ordered -- true 2>err
    wait_for consumers 2
    hang_up
    wait_for says_times 1 'connected again'
}

consumers() { # N
    [ "$(spool group show g -o ndjson | jq .consumers)" -eq "$1" ]
}

@test "postgres: a consumer that publishes what handlers print connects again, too, and each is there once" {
    publish -t x -d 1 2>/dev/null
    background consume -g g -t x --from start -f -n 2 --emit -- sh -c 'echo >>began; until [ -e go ]; do sleep 0.02; done; echo "{\"type\":\"made\",\"data\":1}"' 2>err
    wait_for has_lines began 1
    kill -STOP "$pid"
    hang_up
    touch go
    kill -CONT "$pid"
    wait_for says_times 1 'connected again'
    publish -t x -d 2
    ends_with 0 "$pid"
    [ "$(replay -t made | jq -r .causationid | sort | uniq -c | awk '{ print $1 }' | paste -sd' ')" = '1 1' ]
}

@test "postgres: a reader that follows connects again and goes on where it was; one in a pipe, too" {
    seq 3 | publish -t x 2>/dev/null
    background replay -f --last 2 -n 1500 >log 2>err
    background consume -g g --from start -f --auto-ack >piped 2>err2
    following=$pid
    wait_for has_lines log 2
    wait_for has_lines piped 3
    for round in 1 2; do
        hang_up
        seq 700 | publish -t x
        wait_for has_lines piped $((3 + 700 * round))
        wait_for grown_by $((2 + 700 * round)) log 0
    done
    hang_up
    seq 700 | publish -t x
    ends_with 0 "${helper_pids[0]}"
    diff log <(replay --from 2 -n 1500)
    wait_for has_lines piped 2103
    diff piped <(replay)
    kill -TERM "$following"
    ends_with 0 "$following"
}

@test "postgres: a consumer that follows goes on when another process has kept the spool locked for long" {
    [ -n "${LONG:-}" ] || skip 'only with LONG=1: it waits for 30 seconds'
    publish -t x -d 1 2>/dev/null
    hold_lock_of shop
    background consume -g g --from start -f -n 1 -- cat >out 2>err 8>&-
    wait_for says_times 1 ': other processes kept it locked for 30 seconds: connecting again$'
    exec 8>&-
    wait "$holder"
    ends_with 0 "$pid"
    has_lines out 1
}

@test "postgres: a consumer that follows goes on when it could not settle because the spool was locked for long" {
    [ -n "${LONG:-}" ] || skip 'only with LONG=1: it waits for 30 seconds'
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -f -n 1 -- sh -c 'echo >>began; until [ -e go ]; do sleep 0.02; done' 2>err
    consumer=$pid
    wait_for has_lines began 1
    ENGINE=postgres hold_lock
    touch go
    wait_for says_times 1 ': other processes kept it locked for 30 seconds: connecting again$'
    ENGINE=postgres let_write
    ends_with 0 "$consumer"
    has_lines began 2
}

@test "postgres: who has lost a connection begins with the next host, since the one before may have been replaced" {
    publish -t x -d 1 2>/dev/null
    consume -g g --from start --ordered -- true
    (
        cd /
        $POSTGRES_AS "$POSTGRES_BIN/pg_basebackup" -h "$POSTGRES_DIR" -U tester -c fast -D "$POSTGRES_DIR/data2"
        $POSTGRES_AS "$POSTGRES_BIN/pg_ctl" -D "$POSTGRES_DIR/data2" -o '-p 5433' -l "$POSTGRES_DIR/log2" -w start 3>&-
    ) >/dev/null
    helper_pids+=("$(head -n 1 "$POSTGRES_DIR/data2/postmaster.pid")")
    publish -t x -d 2
    publish -s "$base&port=5433#shop" -t y -d 2
    hosts="postgresql:///$PGDATABASE?host=$POSTGRES_DIR,$POSTGRES_DIR&port=5432,5433&user=tester#shop"
    background replay -s "$hosts" -f -n 3 >log
    following=$pid
    background consume -s "$hosts" -g g -f -n 2 --ordered -- sh -c 'echo "$EVENT_TYPE" >>handled'
    wait_for has_lines log 2
    wait_for group_is g 0 0 0 0 2>/dev/null
    publish -s "$base&port=5433#shop" -t y -d 3
    hang_up
    ends_with 0 "$following"
    ends_with 0 "$pid"
    [ "$(jq -r .type log | paste -sd' ') $(paste -sd' ' handled)" = 'x x y x y' ]
}

@test "postgres: a signal ends the wait of a consumer that has lost the server" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -f -- cat 2>err
    wait_for group_is g 0 0 0 0 2>/dev/null
    (cd / && $POSTGRES_CTL -m immediate -w stop >/dev/null)
    wait_for grep -q 'connecting again' err
    kill -TERM "$pid"
    status=0
    wait "$pid" || status=$?
    (cd / && $POSTGRES_CTL -l "$POSTGRES_DIR/log" -w start >/dev/null 3>&-)
    [ "$status" -eq 0 ]
}

@test "postgres: a restart of the server gives claims back, and no event is blamed" {
    publish -t x -d 1 2>/dev/null
    for _ in 1 2 3 4; do
        rm -f handler
        background consume -g g --from start -- sh -c 'echo $$ >handler; exec sleep 600' 2>err
        wait_for test -s handler
        (cd / && $POSTGRES_CTL -m immediate -w restart -l "$POSTGRES_DIR/log" >/dev/null 3>&-)
        ends_with 75 "$pid"
    done
    run -0 spool sql 'SELECT state, deaths FROM waiting'
    [[ $output != *'"deaths":'[1-9]* ]]
    run -0 consume -g g -n 1 -- sh -c 'echo done'
    [ "$output" = 'done' ]
}

@test "postgres: a server that is killed again and again loses nothing that was acknowledged" {
    local round lines
    storm_begins
    for ((round = 0; round < $(long 3 20); round++)); do
        lines=$(wc -l <acknowledged)
        wait_for grown_by 20 acknowledged "$lines"
        kill -KILL "$(head -n 1 "$POSTGRES_DIR/data/postmaster.pid")"
        (cd / && until $POSTGRES_CTL -w start -l "$POSTGRES_DIR/log" >/dev/null 2>&1 3>&-; do sleep 0.1; done)
        lines=$(wc -l <seen)
        wait_for grown_by 5 seen "$lines"
    done
    storm_ends
}

@test "postgres: a connection that is lost at the commit leaves no event out and stores none twice" {
    needs_cut
    spool init 2>/dev/null
    for how in after before; do
        run -0 --separate-stderr cut $how COMMIT publish -t x -d 1
        run -0 --separate-stderr cut $how COMMIT publish -t x -k $how --expect-version none --echo <<<'2'
        [ "$(jq -c '[.data,.version]' <<<"$output")" = '[2,1]' ]
        seq 3 >in
        run -0 cut $how COMMIT publish -t x -k $how --expect-version 1 in
    done
    [ "$(data)" = '1 2 1 2 3 1 2 1 2 3' ]
    [ "$(replay | jq -r .version | paste -sd' ')" = 'null 1 2 3 4 null 1 2 3 4' ]
}

@test "postgres: publish connects again and goes on; what it echoes is what is stored, in order" {
    spool init 2>/dev/null
    mkfifo feed
    exec 9<>feed
    background publish -t x --echo <feed >echoed 2>err 9>&-
    exec 8>feed 9>&-
    for round in 1 2 3; do
        seq 1500 >&8
        echo '{"bad' >&8
        wait_for has_lines echoed $((round * 1500))
        db "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='eventutils'" >/dev/null
    done
    exec 8>&-
    ends_with 65 "$pid"
    replay | diff - echoed
    [ "$(jq -r .id echoed | sort -u | wc -l)" -eq 4500 ]
    [ "$(awk '{ print $3 }' err | paste -sd' ')" = '1501: 3002: 4503:' ]
}

@test "postgres: whether a standby has it nobody knows: publish asks again with the same id, and waits" {
    needs_cut
    publish -t x -d 1 2>/dev/null
    db "ALTER SYSTEM SET synchronous_standby_names = 'nobody'" && db 'SELECT pg_reload_conf()' >/dev/null
    wait_for db_says nobody 'SHOW synchronous_standby_names'
    background cut after COMMIT publish -t x -k s --expect-version none -d 2
    wait_for db_says 1 "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted"
    db 'ALTER SYSTEM RESET synchronous_standby_names' && db 'SELECT pg_reload_conf()' >/dev/null
    ends_with 0 "$pid"
    [ "$(data)" = '1 2' ]
}

@test "postgres: while the synchronous standby is missing nothing is handed out, and once runs nothing; what was begun is settled" {
    seq 2 | publish -t x 2>/dev/null
    background consume -g g --from start -n 1 -- sh -c 'echo >began; until [ -e go ]; do sleep 0.02; done'
    begun=$pid
    wait_for test -e began
    db "ALTER SYSTEM SET synchronous_standby_names = 'nobody'" && db 'SELECT pg_reload_conf()' >/dev/null
    wait_for db_says nobody 'SHOW synchronous_standby_names'
    touch go
    ends_with 0 "$begun"
    background consume -g g -n 1 -- touch consumed
    patient=$pid
    background once -k key -- touch ran
    wait_for db_says t "SELECT count(*) = 2 AND bool_or(wait_event = 'SyncRep') FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event IN ('SyncRep', 'advisory')"
    [ ! -e consumed ] && [ ! -e ran ]
    db 'ALTER SYSTEM RESET synchronous_standby_names' && db 'SELECT pg_reload_conf()' >/dev/null
    ends_with 0 "$pid"
    ends_with 0 "$patient"
    [ -e consumed ] && [ -e ran ]
}

# Without the trigger function's word no change of the cursor takes place, as with a broken index.
@test "postgres: a table that contradicts itself ends the claim with 74, whatever else the server does" {
    publish -t x -d 1 2>/dev/null
    consume -g g --from start -n 1 -- true
    publish -t x -d 2
    db "CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER nothing BEFORE UPDATE ON shop.cursor FOR EACH ROW EXECUTE FUNCTION shop.nothing()"
    background sh -c 'while echo "SELECT pg_current_xact_id();"; do :; done | psql -qAt >/dev/null 2>&1'
    run -74 --separate-stderr timeout 60 consume -g g -- cat
    [[ $stderr == *' contradicts itself about group "g": see spool check'* ]]
}

# Nobody can connect to the database any more; those who are connected stay.
shut_out() {
    psql -qd postgres -c "ALTER DATABASE $PGDATABASE ALLOW_CONNECTIONS false"
}

let_in() {
    psql -qd postgres -c "ALTER DATABASE $PGDATABASE ALLOW_CONNECTIONS true"
}

# held_up COMMAND...: start it, and shut others out while it waits for the spool's lock. Then it loses the
# connection before the COMMIT.
held_up() {
    hold_lock_of shop
    background env LD_PRELOAD="$BUILD/fault/cut.so" CUT=before CUT_AT=COMMIT "$@" 8>&- 7>&-
    wait_for server_says 1 "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted"
    shut_out
    exec 8>&-
    wait "$holder"
}

hold_lock_of() { # SCHEMA: until descriptor 8 is closed
    rm -f hold && mkfifo hold
    psql -qAt <hold 3>&- >/dev/null &
    holder=$!
    exec 8>hold
    echo "BEGIN; SELECT pg_advisory_xact_lock('$1'::regnamespace::oid::int, 0);" >&8
    wait_for db_says 1 "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND granted"
}

server_says() { # VALUE SQL: without the test's database
    [ "$(psql -qAtd postgres -c "$2")" = "$1" ]
}

@test "postgres: a signal ends the asking: then the outcome is unknown, and publishing with the same ids does no harm" {
    needs_cut
    publish -t x -d 1 2>/dev/null
    held_up publish -t x --id 7 -d 2 2>err
    wait_for server_says 0 "SELECT count(*) FROM pg_stat_activity WHERE datname='$PGDATABASE'"
    kill -TERM "$pid"
    ends_with 143 "$pid"
    [[ $(cat err) == *': the connection was lost at the commit, and nobody knows whether it took place: do it again, with the same ids' ]]
    let_in
    publish -t x --id 7 -d 2
    [ "$(data)" = '1 2' ]
}

@test "postgres: who was faster while the connection was lost wins, and publish says so, 75" {
    needs_cut
    spool init 2>/dev/null
    mkfifo feed
    exec 9<>feed
    background publish --echo <feed >echoed 9>&-
    faster=$pid
    exec 7>feed 9>&-
    wait_for db_says 1 "SELECT count(*) FROM pg_stat_activity WHERE application_name='eventutils'"
    held_up publish -t x -k s --expect-version none -d 2 2>err
    wait_for server_says 1 "SELECT count(*) FROM pg_stat_activity WHERE datname='$PGDATABASE'"
    echo '{"specversion":"1.0","id":"1","source":"/s","type":"x","subject":"s","data":1,"version":1}' >&7
    exec 7>&-
    ends_with 0 "$faster"
    let_in
    ends_with 75 "$pid"
    [ "$(cat err)" = 'publish: -d: subject "s" exists already, at version 1: load it and decide again' ]
    [ "$(data)" = 1 ]
}

@test "postgres: a server that stops answering does not keep anybody for ever, 75" {
    publish -t x -d 1 2>/dev/null
    stopped=$(head -n 1 "$POSTGRES_DIR/data/postmaster.pid")
    kill -STOP "$stopped"
    run -75 timeout 60 publish -t x -d 2
    kill -CONT "$stopped"
    [ "$(replay | wc -l)" -eq 1 ]
}

@test "postgres: while somebody else writes, publish waits, and a signal ends the wait" {
    publish -t x -d 1 2>/dev/null
    hold_lock_of shop
    background publish -t x -d 2 8>&-
    wait_for db_says 1 "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted"
    kill -TERM "$pid"
    ends_with 143 "$pid"
    background publish -t x -d 3 8>&-
    wait_for db_says 1 "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted"
    exec 8>&-
    wait "$holder"
    ends_with 0 "$pid"
    [ "$(data)" = '1 3' ]
}

@test "postgres: clocks of machines do not matter, the server's does" {
    needs_world
    publish -t x -d 1 2>/dev/null
    echo 864000 >clock
    publish() { LD_PRELOAD=$BUILD/fault/world.so WORLD_CLOCK=$PWD/clock "$BUILD/bin/postgresql/publish" "$@"; }
    publish -t x -d 2
    echo -864000 >clock
    publish -t x -d 3 --delay 1h
    run -0 --separate-stderr consume -g g --from start -- cat
    [ "${#lines[@]}" -eq 2 ]
    [ "$(replay | wc -l)" -eq 3 ]
    [ "$(spool sql 'SELECT count(*) AS n FROM events a JOIN events b ON b.seq = a.seq + 1 AND b.recorded < a.recorded')" = '{"n":0}' ]
    [ "$(spool info -o ndjson | jq .segments)" -eq 0 ]
}

@test "postgres: in an ordered group handlers that outlive their consumer keep the order" {
    publish -t x -k s -d 1 2>/dev/null
    publish -t x -k s -d 2
    # What it starts is no child of its own.
    background consume -g g --from start --ordered -- sh -c 'setsid sh -c "echo began \$EVENT_SEQ >>log; until [ -e go ]; do sleep 0.02; done; echo ended \$EVENT_SEQ >>log" >/dev/null 2>&1 & wait' 2>/dev/null
    wait_for has_lines log 1
    kill -KILL "$pid"
    background consume -g g --from start --ordered -f -n 2 -- sh -c 'echo "again $EVENT_SEQ" >>log' 2>/dev/null
    wait_for db_says 2 "SELECT count(*) FROM shop.consumer"
    [ "$(cat log)" = 'began 1' ]
    touch go
    ends_with 0 "$pid"
    diff log <(printf '%s\n' 'began 1' 'ended 1' 'again 1' 'again 2')
}

@test "postgres: once runs a command for a key on one machine only, and its mark is gone with the connection" {
    spool init 2>/dev/null
    background once -k key -- sh -c 'echo in >>ran; exec sleep 600' 2>/dev/null
    wait_for test -s ran
    run -75 once --wait 0 -k key -- touch other
    [ ! -e other ]
    kill -KILL "$pid"
    wait_for once -k key -- sh -c 'echo again >>ran'
    [ "$(paste -sd' ' ran)" = 'in again' ]
}

@test "postgres: no command of a file loads libpq" {
    for command in publish consume replay spool; do
        ! ldd "$BUILD/bin/$command" | grep -i libpq
        ldd "$BUILD/bin/postgresql/$command" | grep -i libpq
    done
}

@test "postgres: sql sees the views and can only read" {
    publish -t x -k s -d '{"a":[1,2]}' 2>/dev/null
    run -0 spool sql 'SELECT seq, type, subject, data FROM events;'
    [ "$output" = '{"seq":1,"type":"x","subject":"s","data":{"a":[1,2]}}' ]
    for bad in 'DELETE FROM event' 'SELECT nosuch FROM events' 'SELECT 1; SELECT 2' 'CREATE TABLE x(y int)' ''; do
        run -64 spool sql "$bad"
    done
    [ "$(replay | wc -l)" -eq 1 ]
}

@test "postgres: through a pooler one can publish and read, but not consume; its other clients see nothing of us" {
    PATH=$PATH:/usr/sbin
    command -v pgbouncer >/dev/null || skip 'pgbouncer is not installed'
    printf '%s\n' '[databases]' "* = host=$POSTGRES_DIR" '[pgbouncer]' 'listen_addr =' "unix_socket_dir = $POSTGRES_DIR" \
        'listen_port = 6432' 'auth_type = trust' "auth_file = $POSTGRES_DIR/users" 'pool_mode = transaction' \
        'default_pool_size = 2' >"$POSTGRES_DIR/pgbouncer.ini"
    echo '"tester" ""' >"$POSTGRES_DIR/users"
    # shellcheck disable=SC2086 # words
    background $POSTGRES_AS pgbouncer "$POSTGRES_DIR/pgbouncer.ini" 2>pgbouncer.log
    wait_for test -S "$POSTGRES_DIR/.s.PGSQL.6432"
    pooled="$base&port=6432#shop"
    session() { psql -qAtX -p 6432 -c 'SELECT pg_backend_pid()'; }
    before=$(session)
    for i in 1 2 3; do publish -s "$pooled" -t a --id "$i" -d "$i" 2>/dev/null; done
    [ "$(session)" = "$before" ] # the pooler keeps it for the next client
    publish -s "$pooled" -t a --id 3 -d 3
    [ "$(replay -s "$pooled" | jq -c .data | paste -sd,)" = 1,2,3 ]
    for ((i = 0; i < 300; i++)); do echo "$i"; done | publish -s "$pooled" -t b --atomic
    [ "$(replay -s "$pooled" -t b | wc -l)" -eq 300 ]
    run -0 --separate-stderr breaker -s "$pooled" x -- echo ran
    [ "$output" = ran ] && [[ $stderr == *': continuing without a breaker' ]]
    run -69 --separate-stderr consume -s "$pooled" -g g --from start -- true
    [ "$stderr" = "consume: $pooled: a pooler stands between us and the server, and may give each transaction another session, but by its session the server knows who handles events: name the server itself" ]
    run -69 once -s "$pooled" -k k -- true
    printf '%s\n' '-- @init' 'CREATE TABLE x(n INT);' '-- @on a' 'INSERT INTO x VALUES(1);' >x.sql
    run -69 project -s "$pooled" read.db x.sql
    run -69 project "$base&port=6432#read" x.sql
    consume -g pipe --from 1 --to 1 --lease 1m | settle -s "$pooled" -g pipe
    group_is pipe 302 0 0 0
    [ "$(psql -qAtX -p 6432 -c 'SHOW search_path' -c 'SHOW jit' -c 'SHOW lock_timeout')" = $'"$user", public\non\n0' ]
    consume -g g --from 1 --to 3 -- sh -c 'echo "$EVENT_ID" >>seen'
    [ "$(paste -sd, seen)" = 1,2,3 ]
}

@test "postgres: the counts of a group take no more room the longer a consumer runs" {
    awk 'BEGIN { for (i = 0; i < 40000; i++) printf "{\"type\":\"t%d\"}\n", i % 200 }' | publish
    consume -g g --from start --auto-ack >out
    [ "$(wc -l <out)" -eq 40000 ]
    [ "$(spool sql 'SELECT sum(done)::bigint AS n FROM outcomes' | jq .n)" -eq 40000 ]
    [ "$(db 'SELECT count(*) FROM shop.tally')" -lt 4000 ]
}

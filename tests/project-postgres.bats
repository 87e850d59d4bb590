load helper
load postgres
load project
load project-postgres

# Read models on a PostgreSQL server. What project does with any database is in project.bats; rebuilding,
# verifying and faults are in project-postgres-faults.bats.

# --- what it does

@test "project on a server: a read model of the existing events, and then of new ones" {
    accounts
    run -0 --separate-stderr project "$model" accounts.sql
    [ -z "$output$stderr" ]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    publish -t account.debited -k B-2 -d '{"cents":50}'
    publish -t something.else -d 1
    run -0 --separate-stderr project "$model" accounts.sql
    [ -z "$output$stderr" ]
    [ "$(balances)" = 'A-1|3750 B-2|1200' ]
    [ "$(db 'SELECT seq, account, cents FROM statement' | paste -sd' ')" = \
        '3|A-1|5000 4|A-1|-1250 5|B-2|1250 6|B-2|-50' ]
    [ "$(status | jq -c '[.name,.state,.position,.lag]')" = '["accounts","idle",6,0]' ]
}

@test "project on a server: a statement may use each attribute, data is JSON, and an absent attribute is NULL" {
    cat >all.sql <<'END'
-- @init
CREATE TABLE seen(seq bigint, id text, type text, source text, subject text, time timestamptz, version bigint, correlation text, data text, number numeric, event text);
-- @on #
INSERT INTO seen VALUES(:seq, :id, :type, :source, :subject, :time::timestamptz, :version, :correlationid, :data,
    (:data ->> 'n')::numeric, :event);
END
    publish --expect-version any <<'END'
{"specversion":"1.0","type":"a.b","id":"i1","source":"/s","subject":"k","time":"2026-01-02T03:04:05Z","correlationid":"c","data":{"n":1.50,"o":[1, 2]}}
END
    echo '{"specversion":"1.0","type":"a","id":"i\u00e9\"","source":"/s"}' | publish
    project "$model" all.sql
    run -0 db "SELECT seq,id,type,source,subject,time,version,correlation,data,number FROM seen ORDER BY seq"
    [ "${lines[0]}" = '1|i1|a.b|/s|k|2026-01-02 03:04:05+00|1|c|{"n":1.50,"o":[1, 2]}|1.50' ]
    [ "${lines[1]}" = '2|ié"|a|/s||||||' ]
    [ "$(db 'SELECT event FROM seen ORDER BY seq')" = "$(replay)" ]
    # Base64 is a text in JSON.
    printf -- "-- @init\nCREATE TABLE raw(v text);\n-- @on b\nINSERT INTO raw VALUES(:data #>> '{}');\n" >raw.sql
    echo '{"specversion":"1.0","type":"b","id":"i3","source":"/s","data_base64":"AP8="}' | publish
    project "$model" raw.sql
    [ "$(db 'SELECT v FROM raw')" = 'AP8=' ]
}

@test "project on a server: statements and parameters are found as PostgreSQL reads them" {
    cat >t.sql <<'END'
-- what it is for
/* -- nothing here; */

-- @init
CREATE TABLE t(n serial PRIMARY KEY, v text); CREATE TABLE log(v text DEFAULT 'a;b', "od;d :x" text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN INSERT INTO log(v) VALUES(new.v); RETURN new; END; -- :none
$body$;
CREATE TRIGGER t_log AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
  --   @init
CREATE VIEW words AS SELECT v FROM t UNION ALL SELECT v FROM log;
-- @on n
/* first; */ ; INSERT INTO t(v) /* nor; /* here; */ :none */ VALUES('-- @' || ';' || E'\';:id' || $$;:id'$$ || (:data #>> '{}')::int::text);
INSERT INTO log("od;d :x") SELECT (ARRAY[1, 2, 3])[2 : 3]::text -- the last semicolon may be missing
-- @on nothing
END
    publish -t n -d 7
    project "$model" t.sql
    [ "$(db 'SELECT v FROM words ORDER BY 1' | paste -sd' ')" = "-- @;';:id;:id'7 -- @;';:id;:id'7 a;b" ]
    [ "$(db 'SELECT "od;d :x" FROM log WHERE v='"'a;b'")" = '{2,3}' ]
}

@test "project on a server: values are bound, whatever they contain" {
    printf -- '-- @init\nCREATE TABLE t(v text);\n-- @on n\nINSERT INTO t VALUES(:data ->> 0);\n' >t.sql
    publish -t n <<<'["'"'); DROP TABLE t; --"'"]'
    project "$model" t.sql
    [ "$(db 'SELECT v FROM t')" = "'); DROP TABLE t; --" ]
}

@test "project on a server: new events are applied at once with -f, and SIGTERM ends it" {
    counter
    background project -f "$model" counter.sql
    wait_for running
    publish -t n -d 5
    wait_for counted 1
    publish -t n -d 6
    wait_for counted 2
    [ "$(status | member pid)" = "$pid" ]
    kill -TERM "$pid"
    ends_with 0 "$pid"
    [ "$(status | member state)" = '"idle"' ]
    [ "$(db 'SELECT n, total, last FROM counter')" = '2|11|2' ]
}

@test "project on a server: the spool and the read model may each be a file or on a server" {
    counter
    for spool in "$PWD/file.db" "$model#shop"; do
        seq 3 | publish -s "$spool" -t n 2>/dev/null
        project -s "$spool" "$model#model_${#spool}" counter.sql
        [ "$(db "SELECT n, total, last FROM model_${#spool}.counter")" = '3|6|3' ]
    done
    sed "s/(:data #>> '{}')::bigint/:data/" counter.sql >plain.sql
    run -0 --separate-stderr project -s "$model#shop" read.db plain.sql
    [ "$stderr" = 'project: created the database read.db' ]
    run -0 project -s "$model#shop" --verify read.db plain.sql
    run -0 ldd "$BUILD/bin/project"
    [[ $output != *libpq* ]]
}

@test "project on a server: a transaction takes a thousand events at most" {
    printf -- '-- @init\nCREATE TABLE t(n bigint);\n-- @on n\nINSERT INTO t VALUES(:seq);\n' >t.sql
    seq 3500 | publish -t n
    project "$model" t.sql
    [ "$(db 'SELECT count(*) FROM t')" = 3500 ]
    [ "$(db 'SELECT max(n) <= 1000 FROM (SELECT count(*) AS n FROM t GROUP BY xmin::text) x')" = t ]
}

@test "project on a server: many events that do not match are skipped once" {
    counter
    publish -t n -d 1
    seq 3000 | publish -t other
    project "$model" counter.sql
    [ "$(status | jq -c '[.position,.lag]')" = '[3001,0]' ]
    publish -t n -d 1
    project "$model" counter.sql
    [ "$(db 'SELECT n, last FROM counter')" = '2|3002' ]
}

# --- an event that fails

@test "project on a server: an event that fails stops it there, with the statement, the event and the server's words" {
    accounts
    publish -t account.debited -k B-2 --id e6 -d '{"cents":1251}'
    publish -t account.credited -k B-2 --id e7 -d '{"cents":1}'
    run -65 --separate-stderr project "$model" accounts.sql
    [[ $stderr == 'project: accounts.sql: line 26: seq 6 "account.debited" "e6": new row for relation "account" violates check constraint "account_cents_check", in "UPDATE account SET cents = '*'"' ]]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    [ "$(status | jq -c '[.state,.position,.lag]')" = '["failed",5,2]' ]
    run -65 project "$model" accounts.sql
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    # What it said is forgotten when it goes on.
    db "UPDATE account SET cents=2000 WHERE id='B-2'"
    run -0 project "$model" accounts.sql
    [ "$(status | member error)" = null ]
    [ "$(balances)" = 'A-1|3750 B-2|750' ]
}

@test "project on a server: with --on-error dead an event that fails is put aside, all of it, and the rest goes on" {
    cat >t.sql <<'END'
-- @init
CREATE TABLE seen(seq bigint);
CREATE TABLE t(v bigint CHECK (v < 10));
CREATE TABLE parent(v bigint PRIMARY KEY);
INSERT INTO parent SELECT generate_series(0, 7);
CREATE TABLE child(v bigint REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
-- @on n
INSERT INTO seen VALUES(:seq);
INSERT INTO t VALUES((:data #>> '{}')::bigint);
INSERT INTO child VALUES((:data #>> '{}')::bigint);
END
    for n in 1 20 3 '"x"' 8 40 5; do publish -t n --id "i${n//[^0-9]/}" -d "$n"; done
    run -1 --separate-stderr project --on-error dead "$model" t.sql
    [ "${#stderr_lines[@]}" -eq 4 ]
    [ "${stderr_lines[0]}" = 'project: t.sql: line 9: seq 2 "n" "i20": new row for relation "t" violates check constraint "t_v_check", in "INSERT INTO t VALUES((:data #>> '"'{}'"')::bigint);": set aside' ]
    # A constraint that waits for the commit is the fault of the event, too.
    [ "${stderr_lines[2]}" = 'project: seq 5: insert or update on table "child" violates foreign key constraint "child_v_fkey": set aside' ]
    [ "$(db 'SELECT v FROM t' | paste -sd' ')" = '1 3 5' ]
    [ "$(db 'SELECT seq FROM seen' | paste -sd' ')" = '1 3 7' ]
    [ "$(db 'SELECT seq FROM eventutils_projection_dead ORDER BY seq' | paste -sd' ')" = '2 4 5 6' ]
    [ "$(db 'SELECT event FROM eventutils_projection_dead WHERE seq=6')" = "$(replay 6)" ]
    [ "$(status | jq -c '[.state,.position,.lag,.dead,.error]')" = '["idle",7,0,4,null]' ]
    run -0 project "$model" t.sql
}

@test "project on a server: a table that was dropped is no event's fault" {
    counter
    publish -t n -d 1
    project "$model" counter.sql
    db 'DROP TABLE counter'
    publish -t n -d 1
    run -65 --separate-stderr project --on-error dead "$model" counter.sql
    [ "$stderr" = 'project: counter.sql: line 5: relation "counter" does not exist' ]
    [ "$(status | jq -c '[.position,.dead]')" = '[1,0]' ]
    run -0 project --rebuild "$model" counter.sql
    counted 2
}

# --- the file

@test "project on a server: a mistake in a file is reported with its line, and nothing is created" {
    publish -t n -d 1
    db 'CREATE TABLE mine(v int)'
    while IFS='|' read -r sql message; do
        # shellcheck disable=SC2059 # the column is a format
        printf -- "$sql" >t.sql
        run -65 --separate-stderr project "$model" t.sql
        [ "$stderr" = "project: t.sql: $message" ] || { echo "$sql: $stderr"; false; }
        [ "$(db "SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace='public'::regnamespace")" = mine ]
    done <<'END'
-- @init\nCREATE TABLE t(v int);\n|has no section "-- @on TYPE"
SELECT 1;\n-- @on n\n|line 1: a statement before the first heading: "-- @init" or "-- @on TYPE" goes in front of it
-- @on n\n\n-- a comment\nINSERT INTO t VALUES(1);\n|line 4: relation "t" does not exist
-- @init\nCREATE TABLE t(v int);\n-- @on n\nINSERT INTO t VALUES(1);\nINSERT INTO t\n  VALUES(:dta);\n|line 5: there is no parameter ":dta": there are :seq :id :type :source :subject :time :version :correlationid :data :event
-- @init\nCREATE TABLE t(v int);\n-- @on n\nINSERT INTO t VALUES($1);\n|line 4: there is no parameter "$1": there are :seq :id :type :source :subject :time :version :correlationid :data :event
-- @init\nCREATE TABLE t(v int);\n-- @on n\nINSERT INTO t VALEUS(1);\n|line 4: syntax error at or near "VALEUS"
-- @init\nCREATE TABLE t(v;\n-- @on n\n|line 2: syntax error at end of input
-- @init\nSELECT :seq;\n-- @on n\n|line 2: there is no event under "@init": a parameter has no value
-- @on n\nCOMMIT;\n|line 2: "COMMIT" is not allowed in a projection
-- @on n\nSET search_path = public;\n|line 2: "SET" is not allowed in a projection
-- @init\nDROP TABLE IF EXISTS t;\n-- @on n\n|line 2: "DROP" is not allowed in a projection
-- @on n\nCREATE TABLE t(v int);\n|line 2: "CREATE" belongs under "@init"
-- @init\nCREATE TEMP TABLE t(v int);\n-- @on n\n|line 2: CREATE "TEMP" is not allowed in a projection on a server
-- @init\nCREATE UNLOGGED TABLE t(v int);\n-- @on n\n|line 2: CREATE "UNLOGGED" is not allowed in a projection on a server
-- @init\nCREATE EXTENSION citext;\n-- @on n\n|line 2: CREATE "EXTENSION" is not allowed in a projection on a server
-- @init\nSELECT 1 AS v INTO UNLOGGED t;\n-- @on n\n|table t would lose its rows when the server crashes
-- @init\nSELECT 1 AS v INTO TEMP t;\n-- @on n\n|t is in another schema: leave the schema out
-- @init\nCREATE TABLE mine(v int);\n-- @on n\n|line 2: relation "mine" already exists
-- @init\nCREATE TABLE IF NOT EXISTS mine(v int);\n-- @on n\n|line 2: relation "mine" already exists, skipping: it is not this projection's
-- @init\nCREATE TABLE t(v int);\n-- @on n\nINSERT INTO public.mine VALUES(1);\n|table "mine" is not one that "@init" creates
-- @init\nCREATE TABLE t(v int);\nCREATE INDEX i ON mine(v);\n-- @on n\n|table "mine" is not one that "@init" creates
-- @init\nCREATE TABLE t(v int UNIQUE);\nINSERT INTO t VALUES(1),(1);\n-- @on n\n|line 3: duplicate key value violates unique constraint "t_v_key"
END
}

@test "project on a server: a changed file is refused until the model is rebuilt; the old process ends" {
    counter
    publish -t n -d 1
    background project -f "$model" counter.sql 2>errors
    wait_for counted 1
    sed -i 's/n = n + 1/n = n + 100/' counter.sql
    publish -t n -d 1
    wait_for counted 2
    run -0 project --rebuild "$model" counter.sql
    [ "$output" = 'counter rebuilt from 2 events' ]
    counted 200
    publish -t n -d 1
    ends_with 75 "$pid"
    [ "$(cat errors)" = "project: $model: projection \"counter\" was built from another counter.sql: rebuild it with --rebuild" ]
    sed -i 's/n + 100/n + 1/' counter.sql
    run -65 --separate-stderr project "$model" counter.sql
    [ "$stderr" = "$(cat errors)" ]
}

# --- others

@test "project on a server: of two on one projection the second is refused, and when the first is killed the next works at once" {
    counter
    publish -t n -d 1
    background project -f "$model" counter.sql
    wait_for running
    run -75 --separate-stderr project "$model" counter.sql
    [ "$stderr" = "project: projection \"counter\": process $pid works on it" ]
    kill -KILL "$pid"
    wait "$pid" || true
    publish -t n -d 1
    wait_for project "$model" counter.sql
    counted 2
}

@test "project on a server: several projections share a schema, and none touches another's tables" {
    accounts
    counter
    publish -t n -d 1
    db 'CREATE TABLE mine(v int); INSERT INTO mine VALUES(7)'
    project "$model" accounts.sql
    project "$model" counter.sql
    run -0 project --rebuild "$model" accounts.sql
    [ "$(balances) $(db 'SELECT n FROM counter') $(db 'SELECT v FROM mine')" = 'A-1|3750 B-2|1250 1 7' ]
    cp accounts.sql other.sql
    run -65 --separate-stderr project "$model" other.sql
    [ "$stderr" = 'project: other.sql: line 4: relation "account" already exists' ]
    run -65 --separate-stderr project --rebuild "$model" other.sql
    [ "$stderr" = "project: $model: table \"account\" is projection \"accounts\"'s: give it another name" ]
    printf -- '-- @init\nCREATE TABLE mine(v int);\n-- @on n\n' >mine.sql
    run -65 --separate-stderr project --rebuild "$model" mine.sql
    [ "$stderr" = "project: $model: table \"mine\" exists already, and is not this projection's: give it another name" ]
    [ "$(db 'SELECT v FROM mine')" = 7 ]
    [ -z "$(db "SELECT nspname FROM pg_namespace WHERE nspname LIKE '%-rebuild-%'")" ]
}

@test "project on a server: a name feeds one database, by all its addresses" {
    counter
    publish -t n -d 1
    project "$model" counter.sql
    sed "s/(:data #>> '{}')::bigint/:data/" counter.sql >plain.sql
    run -64 --separate-stderr project -g counter read.db plain.sql
    [ "${stderr_lines[0]}" = "project: projection \"counter\" is in $model: choose another name with -g for a second one" ]
    [ ! -e read.db ]
    run -64 --separate-stderr project "$model#second" counter.sql
    [ "${stderr_lines[0]}" = "project: projection \"counter\" is in $model: choose another name with -g for a second one" ]
    run -64 project --rebuild "$model#second" counter.sql
    [ -z "$(db "SELECT 1 FROM pg_class WHERE relnamespace=to_regnamespace('second') AND relname='counter'")" ]
    printf '[readdb]\nhost=%s\ndbname=%s\nuser=tester\n' "$POSTGRES_DIR" "$PGDATABASE" >service.conf
    for other in "$model#public" service=readdb "$model"; do
        publish -t n -d 1
        PGSERVICEFILE=$PWD/service.conf project "$other" counter.sql
    done
    counted 4
    run -0 project -g second "$model#second" counter.sql
    [ "$(db 'SELECT n FROM second.counter')" = 4 ]
}

@test "project on a server: a database of another log is refused" {
    counter
    publish -t n --id a -d 1
    project "$model" counter.sql
    for _ in 1 2; do publish -s "$PWD/other.db" -t n -d 1; done
    run -65 --separate-stderr project -s "$PWD/other.db" "$model" counter.sql
    [ "$stderr" = "project: $model: projection \"counter\" is at seq 1 of another log than $PWD/other.db, or of a newer copy: rebuild it with --rebuild" ]
    run -0 project --rebuild -s "$PWD/other.db" "$model" counter.sql
    counted 2
}

@test "project on a server: what cannot work is refused, and says what to do" {
    counter
    publish -t n -d 1
    run -75 project "postgresql:///x?host=$PWD" counter.sql
    run -66 project "postgresql:///nosuch?host=$POSTGRES_DIR&user=tester" counter.sql
    run -66 project --status -g nobody "$model"
    run -66 project --verify "$model" counter.sql
    run -0 project --status "$model"
    [ -z "$output" ]
    run -64 --separate-stderr project "postgresql://tester:secret@/x?host=$POSTGRES_DIR" counter.sql
    [[ $stderr == *'~/.pgpass'* ]]
    [[ $stderr != *secret* ]]
    run -64 project "$model#" counter.sql
    spool init -s "$model#shop" 2>/dev/null
    run -65 --separate-stderr project "$model#shop" counter.sql
    [ "$stderr" = "project: $model#shop: is a spool: name another schema" ]
    db "CREATE DATABASE latin$BATS_TEST_NUMBER ENCODING LATIN1 LOCALE 'C' TEMPLATE template0"
    run -69 --separate-stderr project "postgresql:///latin$BATS_TEST_NUMBER?host=$POSTGRES_DIR&user=tester" counter.sql
    [[ $stderr == *'LATIN1: create one with UTF8' ]]
}

@test "project on a server: the role's rights decide who may write, 77; once there it needs none to create" {
    db 'CREATE ROLE worker LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC'
    counter
    publish -t n -d 1
    run -77 --separate-stderr project "$(as worker)" counter.sql
    [[ $stderr == *': permission denied for schema public: grant it to the role' ]]
    project "$model" counter.sql
    db 'GRANT SELECT, UPDATE, INSERT, DELETE ON ALL TABLES IN SCHEMA public TO worker'
    publish -t n -d 1
    run -0 project "$(as worker)" counter.sql
    counted 2
    run -77 --separate-stderr project --rebuild "$(as worker)" counter.sql
    [[ $stderr == *"permission denied for database $PGDATABASE: grant it to the role" ]]
    counted 2
}

@test "project on a server: what the role has set does not matter" {
    db "CREATE ROLE odd LOGIN; GRANT ALL ON SCHEMA public TO odd;
        ALTER ROLE odd SET search_path = nowhere; ALTER ROLE odd SET synchronous_commit = off;
        ALTER ROLE odd SET default_transaction_isolation = serializable; ALTER ROLE odd SET statement_timeout = '1ms';
        ALTER ROLE odd SET lock_timeout = '1ms'; ALTER ROLE odd SET standard_conforming_strings = off;
        ALTER ROLE odd SET default_transaction_read_only = on; ALTER ROLE odd SET client_encoding = LATIN1;
        ALTER ROLE odd SET timezone = 'Asia/Tokyo'; ALTER ROLE odd SET datestyle = german"
    cat >t.sql <<'END'
-- @init
CREATE TABLE t(s text, at text);
-- @on a
INSERT INTO t VALUES(:subject || '\', :time::timestamptz::text);
END
    publish <<<'{"type":"a","subject":"größe","time":"2026-01-02T03:04:05Z","data":1}'
    project "$(as odd)" t.sql
    [ "$(db 'SELECT * FROM t')" = 'größe\|2026-01-02 03:04:05+00' ]
}

@test "project on a server: a statement that takes too long ends with a signal, and nothing of it is there" {
    printf -- '-- @init\nCREATE TABLE t(v bigint);\n-- @on n\nINSERT INTO t VALUES(:seq);\nSELECT pg_sleep(600);\n' >slow.sql
    publish -t n -d 1
    background project "$model" slow.sql 2>errors
    wait_for db_says 1 "SELECT count(*) FROM pg_stat_activity WHERE wait_event='PgSleep'"
    kill -TERM "$pid"
    ends_with 75 "$pid"
    [ "$(cat errors)" = "project: $model: interrupted" ]
    [ "$(db 'SELECT count(*) FROM t')" = 0 ]
    wait_for db_says 0 "SELECT count(*) FROM pg_stat_activity WHERE wait_event='PgSleep'"
}

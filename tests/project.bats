load helper
load project

setup() {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to look into the database with'
    helper_setup
}

db() { sqlite3 "${2:-read.db}" "$1"; }

status() { project --status -o ndjson read.db; }

# --- what it does

@test "project: a section for one type, whatever its name" {
    printf '%s\n' '{"type":"Mail Wanted","data":1}' '{"type":"Mail","data":2}' '{"type":"Mail Sent","data":4}' | publish
    printf '%s\n' '-- @init' 'CREATE TABLE t(n INTEGER);' '-- @on =Mail Wanted  ' "INSERT INTO t VALUES(:data ->> '$');" \
        '-- @on Mail, =Mail Sent' "INSERT INTO t VALUES(10 * (:data ->> '$'));" >mail.sql
    project read.db mail.sql
    [ "$(db 'SELECT n FROM t' | paste -sd' ')" = '1 20 40' ]
}

@test "project: a read model of the existing events, and then of new ones" {
    accounts
    run -0 --separate-stderr project read.db accounts.sql
    [ -z "$output" ] && [ "$stderr" = 'project: created the database read.db' ]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    publish -t account.debited -k B-2 -d '{"cents":50}'
    publish -t something.else -d 1
    run -0 --separate-stderr project read.db accounts.sql
    [ -z "$output$stderr" ]
    run -0 project read.db accounts.sql
    [ "$(balances)" = 'A-1|3750 B-2|1200' ]
    [ "$(db 'SELECT seq, account, cents FROM statement' | paste -sd' ')" = \
        '3|A-1|5000 4|A-1|-1250 5|B-2|1250 6|B-2|-50' ]
}

@test "project: a statement may use each attribute, JSON is text, and an absent attribute is NULL" {
    cat >all.sql <<'END'
-- @init
CREATE TABLE seen(seq, id, type, source, subject, time, version, correlation, data, number, event);
-- @on #
INSERT INTO seen VALUES(:seq, :id, :type, :source, :subject, :time, :version, :correlationid, :data,
    :data ->> '$.n', :event);
END
    publish --expect-version any <<'END'
{"specversion":"1.0","type":"a.b","id":"i1","source":"/s","subject":"k","time":"2026-01-02T03:04:05Z","correlationid":"c","data":{"n":1.50,"o":[1, 2]}}
END
    echo '{"specversion":"1.0","type":"a","id":"i\u00e9\"","source":"/s"}' | publish
    project read.db all.sql
    run -0 db "SELECT seq,id,type,source,subject,time,version,correlation,data,number FROM seen"
    [ "${lines[0]}" = '1|i1|a.b|/s|k|2026-01-02T03:04:05Z|1|c|{"n":1.50,"o":[1, 2]}|1.5' ]
    [ "${lines[1]}" = '2|ié"|a|/s||||||' ]
    [ "$(db 'SELECT event FROM seen')" = "$(replay)" ]
    [ "$(db 'SELECT typeof(seq),typeof(version),typeof(data),typeof(subject) FROM seen' | paste -sd' ')" = \
        'integer|integer|text|text integer|null|null|null' ]
}

@test "project: all sections whose patterns match apply, in the file's order; sys events only when named" {
    cat >order.sql <<'END'
-- @init
CREATE TABLE made(n INTEGER PRIMARY KEY, by);
-- @on a.*
INSERT INTO made(by) VALUES(:type || ' one');
INSERT INTO made(by) VALUES(:type || ' two');
-- @on b   a.x, c.#
INSERT INTO made(by) VALUES(:type || ' three');
-- @on a.#
INSERT INTO made(by) VALUES(:type || ' four') -- the last semicolon may be missing
-- @on sys.#
INSERT INTO made(by) VALUES(:type);
END
    for type in a.x a.y b c.d.e d; do publish -t $type -d 1; done
    consume -g g --from start -n 1 --auto-ack >out
    spool group pause g
    project read.db order.sql
    [ "$(db 'SELECT by FROM made ORDER BY n' | paste -sd,)" = \
        'a.x one,a.x two,a.x three,a.x four,a.y one,a.y two,a.y four,b three,c.d.e three,sys.group.paused' ]
}

@test "project: values are bound, whatever they contain" {
    printf -- '-- @init\nCREATE TABLE t(v);\n-- @on n\nINSERT INTO t VALUES(:data ->> 0);\n' >t.sql
    publish -t n <<<'["'"'); DROP TABLE t; --"'"]'
    project read.db t.sql
    [ "$(db 'SELECT v FROM t')" = "'); DROP TABLE t; --" ]
}

@test "project: comments, triggers, blank lines and several @init are read as SQL reads them" {
    cat >t.sql <<'END'
-- what it is for
/* -- nothing here; */

-- @init
CREATE TABLE t(v); CREATE TABLE log(v);
CREATE TRIGGER t_log AFTER INSERT ON t BEGIN INSERT INTO log VALUES(new.v); INSERT INTO log VALUES('x;y'); END;
  --   @init
CREATE VIEW both AS SELECT v FROM t UNION ALL SELECT v FROM log;
-- @on n
/* first; */ ; INSERT INTO t VALUES('-- @' || ';');
-- @on nothing
END
    publish -t n -d 1
    project read.db t.sql
    [ "$(db 'SELECT v FROM both' | paste -sd' ')" = '-- @; -- @; x;y' ]
}

@test "project: new events are applied at once with -f, and SIGTERM ends it" {
    counter
    background project -f read.db counter.sql
    wait_for test -e read.db
    publish -t n -d 5
    applied() { [ "$(db 'SELECT total FROM counter' 2>/dev/null)" = "$1" ]; }
    wait_for applied 5
    publish -t n -d 6
    wait_for applied 11
    [ "$(status | member state)" = '"running"' ]
    [ "$(status | member pid)" = "$pid" ]
    kill -TERM "$pid"
    ends_with 0 "$pid"
    [ "$(status | member state)" = '"idle"' ]
}

@test "project: spool wait waits until the model shows the published events" {
    counter
    background project -f read.db counter.sql
    group_there() { spool group show counter >out 2>&1; }
    wait_for group_there
    for n in 1 2 3; do
        publish -t n -d 1
        run -0 spool wait -g counter --wait 20s
        [ "$(db 'SELECT n FROM counter')" = "$n" ]
    done
}

@test "project: events older than the group are done once applied, for trace and spool group, too" {
    counter
    seq 3 | publish -t n
    publish -t n -d 4 --priority 2
    publish -t other -d 5
    project read.db counter.sql
    seq 6 7 | publish -t n
    for seq in 1 4 6; do
        run -0 trace "$seq" -g counter -o ndjson
        [ "$(jq -c '.standing[0] | [.state,.why]' <<<"$output")" = \
            "$([ "$seq" = 6 ] && echo '["ahead","not yet reached (position 5 of 7); no consumer is running"]' || echo '["done","done"]')" ]
    done
    project read.db counter.sql
    run -0 trace 6 -g counter -o ndjson
    [ "$(jq -r '.standing[0].state' <<<"$output")" = 'done' ]
    run -0 spool group show counter -o ndjson
    [ "$(jq -c '[.position,.lag,.done]' <<<"$output")" = '[7,0,6]' ]
    # What a rebuild applies once more is done already.
    project read.db counter.sql --rebuild
    [ "$(spool group show counter -o ndjson | jq -c '[.position,.lag,.done]')" = '[7,0,6]' ]
}

@test "project: the group of its name shows its position, and events that it has not seen are not pruned" {
    accounts
    project read.db accounts.sql
    publish -t account.credited -k A-1 -d '{"cents":1}'
    publish -t other -d '{}'
    run -0 spool group show accounts -o ndjson
    [ "$(jq -c '[.types, .position, .lag]' <<<"$output")" = \
        '[["account.opened","account.credited","account.debited"],5,1]' ]
    run -0 spool prune --keep 1
    run -0 replay
    [ "${#lines[@]}" -eq 2 ]
    project read.db accounts.sql
    [ "$(balances)" = 'A-1|3751 B-2|1250' ]
    spool prune --keep 1
    run -0 replay
    [ "${#lines[@]}" -eq 1 ]
    run -0 project read.db accounts.sql
}

@test "project: many events that do not match are skipped once" {
    counter
    publish -t n -d 1
    seq 3000 | publish -t other
    project read.db counter.sql
    [ "$(status | member position)" = 3001 ]
    [ "$(status | member lag)" = 0 ]
    publish -t n -d 1
    project read.db counter.sql
    [ "$(db 'SELECT n, last FROM counter')" = '2|3002' ]
}

@test "project: --status prints position, lag and the last error, of all projections or of one" {
    accounts
    counter
    publish -t n -d 1
    project read.db accounts.sql
    project read.db counter.sql
    publish -t n -d 'null'
    publish -t account.debited -k B-2 -d '{"cents":99999}' --id e9
    run -65 project read.db accounts.sql
    run -0 status
    [ "$(jq -c '[.name,.state,.position,.lag,.dead]' <<<"$output" | paste -sd' ')" = \
        '["accounts","failed",5,1,0] ["counter","idle",6,1,0]' ]
    [[ $(jq -r .error <<<"${lines[0]}") == 'accounts.sql: line 26: seq 8 "account.debited" "e9": CHECK constraint failed: cents >= 0, in "UPDATE account '* ]]
    run -0 project --status read.db counter.sql
    [ "${#lines[@]}" -eq 1 ] && [ "$(member name <<<"$output")" = '"counter"' ]
    run -0 project --status -g accounts read.db
    [ "$(member name <<<"$output")" = '"accounts"' ]
    run -0 project --status -o table read.db
    [[ ${lines[0]} == 'NAME '*' STATE '*' POSITION  LAG  OLDEST  DEAD  UPDATED  ERROR' ]]
    run -66 --separate-stderr project --status -g nobody read.db
    [ "$stderr" = "project: $PWD/read.db: there is no projection \"nobody\"" ]
    run -66 --separate-stderr project --status missing.db
    [ ! -e missing.db ]
}

# --- an event that fails

@test "project: an event that fails stops it there, with the statement, the event and SQLite's words" {
    accounts
    publish -t account.debited -k B-2 --id e6 -d '{"cents":1251}'
    publish -t account.credited -k B-2 --id e7 -d '{"cents":1}'
    run -65 --separate-stderr project read.db accounts.sql
    [ "${stderr_lines[-1]}" = "project: accounts.sql: line 26: seq 6 \"account.debited\" \"e6\": CHECK constraint failed: cents >= 0, in \"UPDATE account SET cents = cents - CAST(:data ->> 'cents' AS BIGINT), updated = …\"" ]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    [ "$(status | member position)" = 5 ]
    run -65 project read.db accounts.sql
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    # What it said is forgotten when it goes on.
    db "UPDATE account SET cents=2000 WHERE id='B-2'"
    run -0 project read.db accounts.sql
    [ "$(status | member error)" = null ]
    [ "$(balances)" = 'A-1|3750 B-2|750' ]
}

@test "project: with --on-error dead an event that fails is put aside, all of it, and the rest goes on" {
    cat >t.sql <<'END'
-- @init
CREATE TABLE seen(seq); CREATE TABLE t(v CHECK (v < 10));
-- @on n
INSERT INTO seen VALUES(:seq);
INSERT INTO t VALUES(:data ->> '$');
END
    for n in 1 20 3 '"x"' 30 40 5; do publish -t n --id "i${n//[^0-9]/}" -d "$n"; done
    run -1 --separate-stderr project --on-error dead read.db t.sql
    [ "${#stderr_lines[@]}" -eq 5 ]
    [ "${stderr_lines[1]}" = 'project: t.sql: line 5: seq 2 "n" "i20": CHECK constraint failed: v < 10, in "INSERT INTO t VALUES(:data ->> '"'\$'"');": set aside' ]
    [ "$(db 'SELECT v FROM t' | paste -sd' ')" = '1 3 5' ]
    [ "$(db 'SELECT seq FROM seen' | paste -sd' ')" = '1 3 7' ]
    [ "$(db 'SELECT name,seq,id,type,statement,error FROM eventutils_projection_dead WHERE seq=5')" = \
        't|5|i30|n|INSERT INTO t VALUES(:data ->> '"'\$'"');|t.sql: line 5: seq 5 "n" "i30": CHECK constraint failed: v < 10, in "INSERT INTO t VALUES(:data ->> '"'\$'"');"' ]
    [ "$(db 'SELECT event FROM eventutils_projection_dead WHERE seq=5')" = "$(replay 5)" ]
    [ "$(status | jq -c '[.state,.position,.lag,.dead,.error]')" = '["idle",7,0,4,null]' ]
    run -0 project read.db t.sql
}

@test "project: an event whose failure rolls the transaction back costs its neighbours nothing" {
    cat >t.sql <<'END'
-- @init
CREATE TABLE t(v);
CREATE TRIGGER strict BEFORE INSERT ON t WHEN new.v > 9 BEGIN SELECT RAISE(ROLLBACK, 'too large'); END;
-- @on n
INSERT INTO t VALUES(:data ->> '$');
END
    seq 12 | publish -t n
    run -1 --separate-stderr project --on-error dead read.db t.sql
    [ "$(db 'SELECT v FROM t' | paste -sd' ')" = '1 2 3 4 5 6 7 8 9' ]
    [ "$(db 'SELECT seq FROM eventutils_projection_dead' | paste -sd' ')" = '10 11 12' ]
    [[ $stderr == *': too large, in '* ]]
}

@test "project: a table that was dropped is no event's fault" {
    counter
    publish -t n -d 1
    project read.db counter.sql
    db 'DROP TABLE counter'
    publish -t n -d 1
    run -65 --separate-stderr project --on-error dead read.db counter.sql
    [ "$stderr" = 'project: counter.sql: line 5: no such table: counter' ]
    [ "$(status | jq -c '[.position,.dead]')" = '[1,0]' ]
    run -0 project --rebuild read.db counter.sql
    [ "$(db 'SELECT n FROM counter')" = 2 ]
}

@test "project: a damaged event stops it, or is put aside" {
    counter
    seq 3 | publish -t n
    edit_line 2 '"data":2' '"data":9'
    run -74 --separate-stderr project read.db counter.sql
    [ "${stderr_lines[-1]}" = 'project: seq 2: the event is damaged' ]
    [ "$(db 'SELECT n,total,last FROM counter')" = '1|1|1' ]
    run -1 project --on-error dead read.db counter.sql
    [ "$(db 'SELECT n,total,last FROM counter')" = '2|4|3' ]
    [ "$(db 'SELECT seq,event IS NULL FROM eventutils_projection_dead')" = '2|1' ]
}

# --- the file

@test "project: a mistake in a file is reported with its line, and nothing is created" {
    publish -t n -d 1
    while IFS='|' read -r sql message; do
        # shellcheck disable=SC2059 # the column is a format
        printf -- "$sql" >t.sql
        run -65 --separate-stderr project read.db t.sql
        [ "$stderr" = "project: t.sql: $message" ] || { echo "$sql: $stderr"; false; }
        [ ! -e read.db ]
    done <<'END'
-- @init\nCREATE TABLE t(v);\n|has no section "-- @on TYPE"
-- @inti\n-- @on n\n|line 1: no section is called "@inti": there are @init and @on TYPE...
\n-- @init now\n-- @on n\n|line 2: "@init" takes no type
-- @on\n|line 1: "@on" needs a type
-- @on a..b\n|line 1: wants a pattern like order.* or #, not "a..b": an empty word in it; =TYPE names a type as it is
SELECT 1;\n-- @on n\n|line 1: a statement before the first heading: "-- @init" or "-- @on TYPE" goes in front of it
-- @on n\n\n-- a comment\nINSERT INTO t VALUES(1);\n|line 4: no such table: t
-- @init\nCREATE TABLE t(v);\n-- @on n\nINSERT INTO t VALUES(1);\nINSERT INTO t\n  VALUES(:dta);\n|line 5: there is no parameter ":dta": there are :seq :id :type :source :subject :time :version :correlationid :data :event
-- @init\nCREATE TABLE t(v);\n-- @on n\nINSERT INTO t VALUES(?);\n|line 4: there is no parameter "?": there are :seq :id :type :source :subject :time :version :correlationid :data :event
-- @init\nCREATE TABLE t(v);\n-- @on n\nINSERT INTO t VALEUS(1);\n|line 4: near "VALEUS": syntax error
-- @init\nCREATE TABLE t(v;\n-- @on n\n|line 2: near ";": syntax error
-- @init\nINSERT INTO t VALUES(:seq);\n-- @on n\n|line 2: no such table: t
-- @init\nSELECT :seq;\n-- @on n\n|line 2: there is no event under "@init": a parameter has no value
-- @on n\nCOMMIT;\n|line 2: "COMMIT" is not allowed in a projection
-- @on n\nsavepoint x;\n|line 2: "savepoint" is not allowed in a projection
-- @on n\nATTACH 'x' AS x;\n|line 2: "ATTACH" is not allowed in a projection
-- @init\nDROP TABLE IF EXISTS t;\n-- @on n\n|line 2: "DROP" is not allowed in a projection
-- @init\nPRAGMA journal_mode=WAL;\n-- @on n\n|line 2: "PRAGMA" is not allowed in a projection
-- @on n\nCREATE TABLE t(v);\n|line 2: "CREATE" belongs under "@init"
-- @init\nCREATE TEMP TABLE t(v);\n-- @on n\n|a temporary table or view would be gone with the process
-- @init\nCREATE TABLE t(v UNIQUE);\nINSERT INTO t VALUES(1),(1);\n-- @on n\n|line 3: UNIQUE constraint failed: t.v
-- @on n\n\000\n|line 2: NUL byte
-- @on n\n\377\n|line 2: invalid UTF-8
END
    run -66 --separate-stderr project read.db missing.sql
    [ "$stderr" = 'project: missing.sql: No such file or directory' ]
    [ ! -e read.db ]
}

@test "project: a changed file is refused until the model is rebuilt" {
    accounts
    project read.db accounts.sql
    echo '-- and a comment' >>accounts.sql
    run -65 --separate-stderr project read.db accounts.sql
    [ "$stderr" = "project: $PWD/read.db: projection \"accounts\" was built from another accounts.sql: rebuild it with --rebuild" ]
    run -0 project --rebuild read.db accounts.sql
    [ "$output" = 'accounts rebuilt from 5 events' ]
    run -0 project read.db accounts.sql
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
}

@test "project: editing the file of a running projection changes nothing; once it is rebuilt, the old process ends" {
    counter
    publish -t n -d 1
    background project -f read.db counter.sql 2>errors
    counted() { [ "$(db 'SELECT n FROM counter' 2>/dev/null)" = "$1" ]; }
    wait_for counted 1
    sed -i 's/n = n + 1/n = n + 100/' counter.sql
    publish -t n -d 1
    wait_for counted 2
    run -0 project --rebuild read.db counter.sql
    counted 200
    publish -t n -d 1
    ends_with 75 "$pid"
    [ "$(tail -n 1 errors)" = "project: $PWD/read.db: projection \"counter\" was built from another counter.sql: rebuild it with --rebuild" ]
    project read.db counter.sql
    counted 300
}

# --- others

@test "project: of two on one projection the second is refused, and when the first is killed the next works at once" {
    counter
    publish -t n -d 1
    background project -f read.db counter.sql
    running() { [ "$(status 2>/dev/null | member state)" = '"running"' ]; }
    wait_for running
    run -75 --separate-stderr project read.db counter.sql
    [ "$stderr" = "project: projection \"counter\": process $pid works on it" ]
    kill -KILL "$pid"
    wait "$pid" || true
    publish -t n -d 1
    run -0 project read.db counter.sql
    [ "$(db 'SELECT n FROM counter')" = 2 ]
}

@test "project: several projections share a database, and none touches another's tables" {
    accounts
    counter
    publish -t n -d 1
    db 'CREATE TABLE mine(v); INSERT INTO mine VALUES(7)'
    project read.db accounts.sql
    project read.db counter.sql
    run -0 project --rebuild read.db accounts.sql
    [ "$(balances) $(db 'SELECT n FROM counter') $(db 'SELECT v FROM mine')" = 'A-1|3750 B-2|1250 1 7' ]
    cp accounts.sql other.sql
    run -65 --separate-stderr project read.db other.sql
    [ "$stderr" = "project: $PWD/read.db: table \"account\" is projection \"accounts\"'s: give it another name" ]
    printf -- '-- @init\nCREATE TABLE IF NOT EXISTS Mine(v);\n-- @on n\n' >mine.sql
    run -65 --separate-stderr project read.db mine.sql
    [ "$stderr" = "project: $PWD/read.db: table \"mine\" exists already, and is not this projection's: give it another name" ]
    run -65 --separate-stderr project --rebuild read.db mine.sql
    [ "$(db 'SELECT v FROM mine')" = 7 ]
}

@test "project: a name feeds one database, and is not a consumer's group" {
    counter
    publish -t n -d 1
    project read.db counter.sql
    run -64 --separate-stderr project other.db counter.sql
    [ "${stderr_lines[0]}" = "project: projection \"counter\" is in $PWD/read.db: choose another name with -g for a second one" ]
    [ ! -e other.db ]
    run -0 project -g second other.db counter.sql
    # It is one by all its paths.
    mkdir sub
    ln -s ../read.db sub/link.db
    for path in ./read.db sub/../read.db sub/link.db "$PWD/read.db" read.db; do
        publish -t n -d 1
        run -0 project "$path" counter.sql
        run -0 project --rebuild "$path" counter.sql
    done
    [ "$(db 'SELECT n FROM counter')" = 6 ]
    # Where the first one is gone, the name is free.
    rm read.db
    run -0 project moved.db counter.sql
    [ "$(db 'SELECT n FROM counter' moved.db)" = 6 ]
    consume -g g --from start --auto-ack >out
    run -64 --separate-stderr project -g g third.db counter.sql
    [ "$stderr" = 'project: group "g" exists, and is not a projection'"'s: choose another name with -g" ]
    run -64 --separate-stderr project --rebuild -g g third.db counter.sql
}

@test "project: a database of another log is refused" {
    counter
    publish -t n --id a -d 1
    project read.db counter.sql
    for _ in 1 2; do publish -s other.db -t n -d 1; done
    run -65 --separate-stderr project -s other.db read.db counter.sql
    [ "$stderr" = "project: $PWD/read.db: projection \"counter\" is at seq 1 of another log than $PWD/other.db, or of a newer copy: rebuild it with --rebuild" ]
    publish -s third.db -t m -d 1
    publish -t n -d 1
    project read.db counter.sql
    run -65 --separate-stderr project -s third.db read.db counter.sql
    [ "$(db 'SELECT n FROM counter')" = 2 ]
    run -0 timeout 60 project --rebuild -s third.db read.db counter.sql
    [ "$(db 'SELECT n FROM counter')" = 0 ]
    run -0 project -s third.db read.db counter.sql
}

@test "project: a database that stays locked is 75, and waiting for it can be ended" {
    needs_world
    counter
    publish -t n -d 1
    project read.db counter.sql
    publish -t n -d 1
    hold read.db
    echo 0 >steady
    background env LD_PRELOAD="$BUILD/fault/world.so" WORLD_STEADY="$PWD/steady" project read.db counter.sql 2>errors
    running() { [ "$(status 2>/dev/null | member state)" = '"running"' ]; }
    wait_for running
    echo 31 >steady
    ends_with 75 "$pid"
    [ "$(cat errors)" = "project: $PWD/read.db: kept locked by another process for 30 s; is one stopped? see fuser $PWD/read.db" ]
    background project read.db counter.sql 2>errors
    wait_for running
    kill -TERM "$pid"
    ends_with 75 "$pid"
    [ "$(cat errors)" = "project: $PWD/read.db: stopped while waiting for its lock" ]
    release
    run -0 project read.db counter.sql
    [ "$(db 'SELECT n FROM counter')" = 2 ]
}

# hold DATABASE [SQL]: keep a transaction open in it until release.
hold() {
    mkfifo held
    exec 5<>held
    background sqlite3 "$1" <held 5>&-
    printf '%s\n' "${2:-BEGIN IMMEDIATE;}" '.output locked' 'SELECT 1;' '.output stdout' >&5
    wait_for test -s locked
}

release() {
    printf '%s\n' 'ROLLBACK;' .quit >&5
    exec 5>&-
    rm -f held locked
}

@test "project: a file that is not a database, a damaged one and a folder are reported, and stay as they are" {
    counter
    publish -t n -d 1
    echo 'not a database, but a text of some length, so that it is no empty file and has a header to look at....' >text
    run -65 --separate-stderr project text counter.sql
    [ "$stderr" = "project: $PWD/text: not a SQLite database" ]
    publish -s other.db -t n -d 1
    run -65 --separate-stderr project other.db counter.sql
    [ "$stderr" = "project: $PWD/other.db: is a spool: name another database" ]
    run -0 spool check
    mkdir folder
    run -74 --separate-stderr project folder counter.sql
    project read.db counter.sql
    publish -t n -d 1
    head -c 4096 read.db >cut.db
    head -c 40960 /dev/zero | tr '\0' x >>cut.db
    run -74 --separate-stderr project -g cut cut.db counter.sql
    [[ $stderr == "project: $PWD/cut.db: damaged ("* ]]
    run -73 --separate-stderr project missing/read.db counter.sql -g missing
    [[ $stderr == 'project: '*'missing/read.db: cannot create it'* ]]
}

@test "project: the journal mode stays as it is" {
    counter
    publish -t n -d 1
    for mode in wal delete; do
        db "PRAGMA journal_mode=$mode" $mode.db >out
        project -g $mode $mode.db counter.sql
        project -g $mode --rebuild $mode.db counter.sql
        [ "$(db 'PRAGMA journal_mode' $mode.db)" = $mode ]
        [ "$(db 'SELECT n FROM counter' $mode.db)" = 1 ]
    done
}

@test "project: thousands of events are one transaction while there is much to do" {
    needs_world
    counter
    seq 20000 | publish -t n
    LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=trace FAULT_ONLY=fdatasync FAULT_LOG=synced project read.db counter.sql
    [ "$(db 'SELECT n FROM counter')" = 20000 ]
    [ "$(grep -c read.db-journal synced)" -le 50 ]
    [ "$(grep -c read.db synced)" -ge 8 ]
}

@test "project: a statement that takes too long ends with a signal, and nothing of it is there" {
    cat >slow.sql <<'END'
-- @init
CREATE TABLE t(v);
-- @on n
INSERT INTO t VALUES(:seq);
WITH RECURSIVE forever(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM forever) SELECT max(n) FROM forever;
END
    publish -t n -d 1
    background project read.db slow.sql 2>errors
    # It begins in no time: half a second of computing is the statement without an end.
    computing() { [ "$(awk '{ print $14 }' "/proc/$pid/stat")" -ge $(($(getconf CLK_TCK) / 2)) ]; }
    wait_for computing
    kill -TERM "$pid"
    ends_with 75 "$pid"
    [ "$(tail -n 1 errors)" = "project: $PWD/read.db: interrupted" ]
    [ "$(db 'SELECT count(*) FROM t')" = 0 ]
}

# --- beside the model

@test "project: --rebuild makes everything that @init makes, with rowids, sequences, triggers and views" {
    cat >t.sql <<'END'
-- @init
CREATE TABLE t(v TEXT, twice AS (v || v));
CREATE TABLE "od""d name"(id INTEGER PRIMARY KEY AUTOINCREMENT, "a b");
CREATE TABLE pairs(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID;
CREATE TABLE log(v);
CREATE UNIQUE INDEX t_v ON t(v);
CREATE TRIGGER t_log AFTER INSERT ON t BEGIN INSERT INTO log VALUES(new.v); END;
CREATE VIEW words AS SELECT v FROM t;
-- @on n
INSERT INTO t(v) VALUES(:data ->> '$');
INSERT INTO "od""d name"("a b") VALUES(:seq);
INSERT INTO pairs VALUES(:seq, :id);
-- @on forget
DELETE FROM t WHERE rowid = 2;
DELETE FROM "od""d name" WHERE id >= 2;
END
    printf '"%s"\n' a b c | publish -t n
    publish -t forget -d 1
    project read.db t.sql
    all() {
        db "SELECT rowid,* FROM t; SELECT * FROM \"od\"\"d name\"; SELECT * FROM pairs; SELECT * FROM log;
            SELECT * FROM words; SELECT * FROM sqlite_sequence; SELECT type,name,sql FROM sqlite_schema ORDER BY name"
    }
    all >before
    run -0 project --rebuild read.db t.sql
    all | diff before -
    # And it goes on as it would have.
    publish -t n -d '"d"'
    run -0 project read.db t.sql
    run -0 project --verify read.db t.sql
    [ -z "$output" ]
    [ "$(db 'SELECT id FROM "od""d name"' | paste -sd' ')" = '1 4' ]
}

@test "project: during a rebuild the old model is readable and updated, and readers see the new one whole or not at all" {
    accounts
    db 'PRAGMA journal_mode=WAL' >out
    project read.db accounts.sql
    background project -f read.db accounts.sql 2>errors
    running() { [ "$(status 2>/dev/null | member state)" = '"running"' ]; }
    wait_for running
    # A reader in its transaction, from before the swap to behind it.
    local follower=$pid
    mkfifo reader
    exec 6<>reader
    background sqlite3 read.db <reader >seen 6>&-
    echo 'BEGIN; SELECT count(*) FROM statement;' >&6
    wait_for test -s seen
    run -0 project --rebuild read.db accounts.sql
    echo 'SELECT sum(cents) FROM account; COMMIT; SELECT sum(cents) FROM account;' >&6
    publish -t account.credited -k A-1 -d '{"cents":1}'
    three() { [ "$(wc -l <seen)" -ge 3 ]; }
    wait_for three
    echo .quit >&6
    exec 6>&-
    kill -0 "$follower"
    [ "$(head -n 2 seen | paste -sd' ')" = '3 5000' ]
    credited() { [ "$(balances)" = 'A-1|3751 B-2|1250' ]; }
    wait_for credited
    [ ! -s errors ]
    [ "$(echo read.db-rebuild*)" = 'read.db-rebuild*' ]
}

@test "project: a process that slept while the model was rebuilt continues where the new model is" {
    counter
    publish -t n -d 1
    background project -f read.db counter.sql 2>errors
    through() { [ "$(spool group show counter -o ndjson 2>/dev/null | member position)" = "$1" ]; }
    wait_for through 1
    kill -STOP "$pid"
    publish -t n -d 1
    publish -t n -d 1
    run -0 project --rebuild read.db counter.sql
    [ "$(db 'SELECT n FROM counter')" = 3 ]
    kill -CONT "$pid"
    publish -t n -d 1
    wait_for through 4
    [ "$(db 'SELECT n, total, last FROM counter')" = '4|4|4' ]
    kill -TERM "$pid"
    ends_with 0 "$pid"
}

@test "project: of two rebuilds the second is refused, and the draft of a killed rebuild is no obstacle" {
    accounts
    project read.db accounts.sql
    hold read.db
    background project --rebuild read.db accounts.sql
    rebuilding() { [ "$(status 2>/dev/null | member rebuilding)" = true ]; }
    wait_for rebuilding
    run -75 --separate-stderr project --rebuild read.db accounts.sql
    [ "$stderr" = "project: projection \"accounts\": process $pid rebuilds or verifies it" ]
    run -75 --separate-stderr project --verify read.db accounts.sql
    kill -KILL "$pid"
    wait "$pid" || true
    release
    [ -e read.db-rebuild-accounts ] || echo left >read.db-rebuild-accounts
    run -0 project --rebuild read.db accounts.sql
    [ "$output" = 'accounts rebuilt from 5 events' ]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    [ ! -e read.db-rebuild-accounts ]
}

@test "project: a rebuild that fails leaves the old model as it was" {
    accounts
    project read.db accounts.sql
    sed -i 's/cents >= 0/cents > 0/' accounts.sql
    run -65 --separate-stderr project --rebuild read.db accounts.sql
    [[ $stderr == 'project: accounts.sql: line 19: seq 1 "account.opened" "e1": CHECK constraint failed: cents > 0, in '* ]]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    [ ! -e read.db-rebuild-accounts ]
    sed -i 's/cents > 0/cents >= 0/' accounts.sql
    run -0 project read.db accounts.sql
}

@test "project: a rebuild of a log whose beginning is pruned asks for --force" {
    accounts
    project read.db accounts.sql
    publish -t account.opened -k C-3 -d '{"owner":"Cy"}'
    project read.db accounts.sql
    spool prune --keep 1
    run -65 --separate-stderr project --rebuild read.db accounts.sql
    [ "$stderr" = 'project: the log begins at seq 6: a new model would lack the pruned events; --force builds it anyway' ]
    [ "$(balances)" = 'A-1|3750 B-2|1250 C-3|0' ]
    run -0 project --rebuild --force read.db accounts.sql
    [ "$(balances)" = 'C-3|0' ]
}

@test "project: --verify prints the differences and changes nothing" {
    accounts
    project read.db accounts.sql
    run -0 project --verify read.db accounts.sql
    [ -z "$output" ]
    publish -t account.credited -k A-1 -d '{"cents":1}' # not yet applied, and no difference
    db "UPDATE account SET cents=9 WHERE id='B-2'; INSERT INTO statement VALUES(9,'x','y',7.5)"
    run -1 project --verify read.db accounts.sql
    [ "$(jq -c 'del(.row.updated)' <<<"$output" | sort | paste -sd' ')" = \
        '{"table":"account","only":"model","times":1,"row":{"id":"B-2","owner":"Bob","cents":9}} {"table":"account","only":"rebuilt","times":1,"row":{"id":"B-2","owner":"Bob","cents":1250}} {"table":"statement","only":"model","times":1,"row":{"seq":9,"account":"x","time":"y","cents":7.5}}' ]
    run -1 project --verify -o table read.db accounts.sql
    [[ ${lines[0]} == 'TABLE '*' ONLY '*' TIMES  ROW' ]]
    [ "$(db 'SELECT cents FROM account' | paste -sd' ')" = '3750 9' ]
    db 'DROP INDEX statement_account; CREATE INDEX statement_account ON statement(account)'
    run -1 project --verify read.db accounts.sql
    [ "$(jq -c 'select(.row.sql) | [.table,.only,.row.sql]' <<<"$output" | paste -sd' ')" = \
        '["statement_account","model","CREATE INDEX statement_account ON statement(account)"] ["statement_account","rebuilt","CREATE INDEX statement_account ON statement(account, seq)"]' ]
    run -66 --separate-stderr project --verify -g other read.db accounts.sql
    run -66 --separate-stderr project --verify missing.db accounts.sql
    [ ! -e missing.db ]
}

@test "project: a long catch-up shows its progress on a terminal" {
    needs_world
    command -v script >/dev/null || skip 'no script(1) to make a terminal with'
    counter
    project read.db counter.sql
    seq 6000 | publish -t n
    hold read.db
    echo 0 >steady
    background script -qec "env LD_PRELOAD=$BUILD/fault/world.so WORLD_STEADY=$PWD/steady project read.db counter.sql" /dev/null </dev/null >shown
    running() { [ "$(status | member state)" = '"running"' ]; }
    wait_for running
    echo 5 >steady
    release
    counted() { [ "$(db 'SELECT n FROM counter' 2>/dev/null)" = 6000 ]; }
    wait_for counted
    ends_with 0 "$pid"
    grep -qE 'project: seq [0-9]+ of 6000, [0-9]+ %' shown
}

# --- faults

@test "project: killed again and again at random, it skips and repeats nothing" {
    counter
    local seed=${SEED:-$RANDOM} round killed=0 got rounds
    rounds=$(long 30 100)
    echo "SEED=$seed"
    RANDOM=$seed
    db 'PRAGMA journal_mode=WAL' >out
    project read.db counter.sql
    for ((round = 1; round <= rounds; round++)); do
        seq 400 | publish -t n
        background project read.db counter.sql
        sleep "0.00$((RANDOM % 9))"
        kill -KILL "$pid" 2>/dev/null || true
        got=0
        wait "$pid" || got=$?
        [ "$got" -ne 137 ] || killed=$((killed + 1))
        [ $((round % 10)) -ne 0 ] ||
            [ "$(db 'SELECT n = position AND last = position FROM counter, eventutils_projection')" = 1 ]
    done
    [ "$killed" -ge $((rounds / 3)) ] || skip "only $killed of $rounds were killed: nothing is shown"
    run -0 project read.db counter.sql
    [ "$(db 'SELECT n, total FROM counter')" = "$((rounds * 400))|$((rounds * 400 * 401 / 2))" ]
}

# --- usage, example

@test "project: wrong usage is reported" {
    while IFS='|' read -r args message; do
        # shellcheck disable=SC2086 # words
        run -64 --separate-stderr project $args
        [ "${stderr_lines[0]}" = "project: $message (see project --help)" ] || { echo "$args: $stderr"; false; }
    done <<'END'
|DATABASE and FILE.sql are missing
read.db|FILE.sql is missing
a b c|give one DATABASE and one FILE.sql
--rebuild --verify a b|--rebuild, --verify and --status exclude each other
-f --verify a b|-f does not go with --rebuild, --verify or --status
--force a b|--force goes with --rebuild
--on-error dead --status a|--on-error does not go with --status
-o table a b|-o goes with --status or --verify
-g a/b read.db b.sql|the name becomes part of a file name, and "a/b" cannot: give another with -g
END
}

@test "balances: the example prints the balances" {
    run -0 --separate-stderr "$TOP/share/examples/balances" read.db
    [ "$output" = $'A-1 Ann 37.50\nB-2 Bob 12.50' ]
}

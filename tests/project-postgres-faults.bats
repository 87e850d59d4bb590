load helper
load postgres
load project
load project-postgres

# Read models on a PostgreSQL server: rebuilt, verified, and what goes wrong meanwhile.

# --- beside the model

@test "project on a server: --rebuild makes everything that @init makes, and keeps what was granted" {
    cat >t.sql <<'END'
-- @init
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN small AS bigint CHECK (VALUE < 100);
CREATE SEQUENCE ticket START 10;
CREATE TABLE "od""d name"(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a b" small, m mood DEFAULT 'good');
CREATE TABLE part(id bigint REFERENCES "od""d name" ON DELETE CASCADE, t bigint DEFAULT nextval('ticket'));
CREATE TABLE log(v text);
CREATE UNIQUE INDEX part_id ON part(id);
CREATE FUNCTION note(m mood) RETURNS text LANGUAGE sql AS $$ SELECT m::text $$;
CREATE FUNCTION log_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES(note(new.m)); RETURN new; END $$;
CREATE TRIGGER log_all AFTER INSERT ON "od""d name" FOR EACH ROW EXECUTE FUNCTION log_it();
CREATE VIEW words AS SELECT note(m) AS v FROM "od""d name";
CREATE VIEW words2 AS SELECT v FROM words;
CREATE MATERIALIZED VIEW frozen AS SELECT * FROM log;
-- @on n
INSERT INTO "od""d name"("a b") VALUES(:seq);
INSERT INTO part(id) SELECT max(id) FROM "od""d name";
-- @on forget
DELETE FROM "od""d name" WHERE id >= 2;
END
    printf '"%s"\n' a b c | publish -t n
    publish -t forget -d 1
    project "$model" t.sql
    db 'CREATE ROLE reader; CREATE ROLE boss; GRANT SELECT ON "od""d name", words TO reader; GRANT ALL ON part TO boss WITH GRANT OPTION; GRANT USAGE ON ticket TO PUBLIC'
    all() {
        db "SELECT * FROM \"od\"\"d name\"; SELECT * FROM part; SELECT * FROM log; SELECT * FROM words2"
        pg_dump -T 'eventutils*' | grep -v '^-- Dumped\|^.restrict\|^.unrestrict'
    }
    all >before
    run -0 project --rebuild "$model" t.sql
    all >after
    diff <(sort before) <(sort after)
    # And it goes on as it would have.
    publish -t n -d '"d"'
    run -0 project "$model" t.sql
    run -0 project --verify "$model" t.sql
    [ -z "$output" ]
    [ "$(db 'SELECT id FROM "od""d name"' | paste -sd' ')" = '1 4' ]
    [ "$(db "SELECT has_table_privilege('reader', 'words', 'SELECT')")" = t ]
}

@test "project on a server: during a rebuild the old model is readable and updated, and a reader's transaction delays only the swap" {
    accounts
    project "$model" accounts.sql
    background project -f "$model" accounts.sql 2>errors
    wait_for running
    local follower=$pid
    session
    echo 'BEGIN; SELECT count(*) FROM statement;' >&8
    wait_for test -s answers
    background project --rebuild "$model" accounts.sql 8>&- >rebuilt
    # It has come to the swap, and waits for the reader.
    wait_for db_says 1 "SELECT count(*) FROM pg_locks WHERE locktype='relation' AND NOT granted"
    # Others read on, and the old model follows the log.
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    publish -t account.credited -k A-1 -d '{"cents":1}'
    credited() { [ "$(balances)" = "A-1|$1 B-2|1250" ]; }
    wait_for credited 3751
    echo 'COMMIT;' >&8
    ends_with 0 "$pid"
    exec 8>&-
    [[ $(cat rebuilt) == 'accounts rebuilt from '[56]' events' ]]
    publish -t account.credited -k A-1 -d '{"cents":1}'
    wait_for credited 3752
    kill -0 "$follower"
    [ ! -s errors ]
}

@test "project on a server: a view of somebody's is not dropped with the old model" {
    accounts
    project "$model" accounts.sql
    db 'CREATE VIEW mine AS SELECT id FROM account'
    run -65 --separate-stderr project --rebuild "$model" accounts.sql
    [ "$stderr" = "project: $model: cannot drop table account because other objects depend on it: view mine depends on table account" ]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    db 'DROP VIEW mine'
    run -0 project --rebuild "$model" accounts.sql
}

@test "project on a server: of two rebuilds the second is refused, and the draft of a killed rebuild is no obstacle" {
    accounts
    project "$model" accounts.sql
    session
    echo 'BEGIN; SELECT count(*) FROM statement;' >&8
    wait_for test -s answers
    background project --rebuild "$model" accounts.sql 8>&-
    wait_for db_says 1 "SELECT count(*) FROM pg_locks WHERE locktype='relation' AND NOT granted"
    run -75 --separate-stderr project --verify "$model" accounts.sql
    [ "$stderr" = "project: projection \"accounts\": process $pid rebuilds or verifies it" ]
    kill -KILL "$pid"
    wait "$pid" || true
    exec 8>&-
    [ -n "$(db "SELECT 1 FROM pg_namespace WHERE nspname='public-rebuild-accounts'")" ]
    wait_for project --rebuild "$model" accounts.sql >out
    [ "$(tail -n 1 out)" = 'accounts rebuilt from 5 events' ]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    [ -z "$(db "SELECT 1 FROM pg_namespace WHERE nspname LIKE '%-rebuild-%'")" ]
}

@test "project on a server: a rebuild that fails leaves the old model as it was; one of a pruned log asks for --force" {
    accounts
    project "$model" accounts.sql
    sed -i 's/cents >= 0/cents > 0/' accounts.sql
    run -65 --separate-stderr project --rebuild "$model" accounts.sql
    [[ $stderr == 'project: accounts.sql: line 19: seq 1 "account.opened" "e1": '* ]]
    [ "$(balances)" = 'A-1|3750 B-2|1250' ]
    sed -i 's/cents > 0/cents >= 0/' accounts.sql
    publish -t account.opened -k C-3 -d '{"owner":"Cy"}'
    project "$model" accounts.sql
    spool prune --keep 1
    run -65 project --rebuild "$model" accounts.sql
    [ "$(balances)" = 'A-1|3750 B-2|1250 C-3|0' ]
    run -0 project --rebuild --force "$model" accounts.sql
    [ "$(balances)" = 'C-3|0' ]
}

@test "project on a server: --verify prints the differences and changes nothing" {
    accounts
    project "$model" accounts.sql
    run -0 project --verify "$model" accounts.sql
    [ -z "$output" ]
    publish -t account.credited -k A-1 -d '{"cents":1}' # not yet applied, and no difference
    db "UPDATE account SET cents=9 WHERE id='B-2'; INSERT INTO statement VALUES(9,'x','',7)"
    run -1 project --verify "$model" accounts.sql
    [ "$(sort <<<"$output" | jq -c 'del(.row.updated, .row.time)' | paste -sd' ')" = \
        '{"table":"account","only":"model","times":1,"row":{"id":"B-2","owner":"Bob","cents":9}} {"table":"account","only":"rebuilt","times":1,"row":{"id":"B-2","owner":"Bob","cents":1250}} {"table":"statement","only":"model","times":1,"row":{"seq":9,"account":"x","cents":7}}' ]
    [ "$(db 'SELECT cents FROM account ORDER BY id' | paste -sd' ')" = '3750 9' ]
    db 'DROP INDEX statement_account; CREATE INDEX statement_account ON statement(account)'
    run -1 project --verify "$model" accounts.sql
    [ "$(jq -c 'select(.row.sql) | [.table,.only,.row.sql]' <<<"$output" | paste -sd' ')" = \
        '["statement_account","model","CREATE INDEX statement_account ON statement USING btree (account)"] ["statement_account","rebuilt","CREATE INDEX statement_account ON statement USING btree (account, seq)"]' ]
    run -66 project --verify -g other "$model" accounts.sql
    [ -z "$(db "SELECT 1 FROM pg_namespace WHERE nspname LIKE '%-rebuild-%'")" ]
}

# --- faults

# What N events of the data 1 have made: each is seen in counter.
whole() { # N
    [ "$(db 'SELECT n, total, last = (SELECT max(position) FROM eventutils_projection) FROM counter')" = "$1|$1|t" ]
}

@test "project on a server: a commit whose connection is lost is applied once, whether it took place or not" {
    needs_cut
    export EVENT_SPOOL=$BATS_TEST_TMPDIR/spool.db # whose commits are not cut
    counter
    project "$model" counter.sql
    for how in after before; do
        publish -t n -d 1
        run -0 --separate-stderr cut $how COMMIT project "$model" counter.sql
        [ -z "$stderr" ]
    done
    whole 2
    # And when the tables are created.
    sed 's/counter/first/g' counter.sql >first.sql
    run -0 cut after COMMIT project "$model" first.sql
    [ "$(db 'SELECT n FROM first')" = 2 ]
}

@test "project on a server: killed again and again at random, it skips and repeats nothing" {
    counter
    local round killed=0 got rounds
    rounds=$(long 10 100)
    project "$model" counter.sql
    for ((round = 1; round <= rounds; round++)); do
        yes 1 | head -n 400 | publish -t n
        background project "$model" counter.sql
        sleep "0.0$((RANDOM % 6))"
        kill -KILL "$pid" 2>/dev/null || true
        got=0
        wait "$pid" || got=$?
        [ "$got" -ne 137 ] || killed=$((killed + 1))
        [ "$(db 'SELECT n = last AND n = position FROM counter, eventutils_projection')" = t ]
    done
    [ "$killed" -ge 3 ] || skip "only $killed of $rounds were killed: nothing is shown"
    wait_for project "$model" counter.sql
    whole $((rounds * 400))
}

@test "project on a server: while its sessions are ended and the server is restarted, it goes on, and skips and repeats nothing" {
    counter
    yes 1 | head -n 5000 | publish -t n
    background project -f "$model" counter.sql 2>errors
    wait_for running
    for round in 1 2 3; do
        yes 1 | head -n 3000 | publish -t n
        if [ "$round" -lt 3 ]; then
            db "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name='eventutils project'" >/dev/null
        else
            (cd / && $POSTGRES_CTL -m immediate -w restart -l "$POSTGRES_DIR/log" >/dev/null 3>&-)
        fi
        wait_for counted $((5000 + 3000 * round))
    done
    whole 14000
    kill -TERM "$pid"
    ends_with 0 "$pid"
    [ ! -s errors ]
}

@test "project on a server: one that follows a spool on a server and loses both connects again, and goes on" {
    counter
    export EVENT_SPOOL="$model#shop"
    publish -t n -d 1 2>/dev/null
    background project -f "$model" counter.sql 2>said
    wait_for counted 1
    db "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'eventutils%'" >/dev/null
    wait_for publish -t n -d 1
    wait_for counted 2
    kill -TERM "$pid"
    ends_with 0 "$pid"
    [ "$(db 'SELECT n, total, last FROM counter')" = '2|2|2' ]
}

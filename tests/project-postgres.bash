# project-postgres: shared by the tests of read models on a server, to be loaded after helper and postgres.

setup_file() { postgres_spools; }

teardown_file() { postgres_stop; }

setup() {
    helper_setup
    postgres_own
    model="postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=tester"
}

db() { # SQL
    PGOPTIONS='-c client_min_messages=warning' psql -qXAt -v ON_ERROR_STOP=1 -c "$1"
}

db_says() { # VALUE SQL
    [ "$(db "$2" 2>/dev/null)" = "$1" ]
}

# as ROLE: the address of the model, for that role.
as() {
    echo "postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=$1"
}

cut() { # HOW WORD COMMAND...
    LD_PRELOAD=$BUILD/fault/cut.so CUT=$1 CUT_AT=$2 "${@:3}"
}

needs_cut() {
    [ -e "$BUILD/fault/cut.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
}

# A-1 has 37.50, B-2 has 12.50.
accounts() {
    cat >accounts.sql <<'END'
-- @init
CREATE TABLE account(id text PRIMARY KEY, owner text NOT NULL, cents bigint NOT NULL CHECK (cents >= 0));
CREATE TABLE statement(seq bigint PRIMARY KEY, account text NOT NULL, cents bigint NOT NULL);
CREATE INDEX statement_account ON statement(account, seq);
-- @on account.opened
INSERT INTO account VALUES(:subject, :data ->> 'owner', 0);
-- @on account.credited
UPDATE account SET cents = cents + (:data ->> 'cents')::bigint WHERE id = :subject;
INSERT INTO statement VALUES(:seq, :subject, (:data ->> 'cents')::bigint);
-- @on account.debited
UPDATE account SET cents = cents - (:data ->> 'cents')::bigint WHERE id = :subject;
INSERT INTO statement VALUES(:seq, :subject, -(:data ->> 'cents')::bigint);
END
    publish <<'END'
{"type":"account.opened","id":"e1","subject":"A-1","data":{"owner":"Ann"}}
{"type":"account.opened","id":"e2","subject":"B-2","data":{"owner":"Bob"}}
{"type":"account.credited","id":"e3","subject":"A-1","data":{"cents":5000}}
{"type":"account.debited","id":"e4","subject":"A-1","data":{"cents":1250}}
{"type":"account.credited","id":"e5","subject":"B-2","data":{"cents":1250}}
END
}

balances() { db 'SELECT id, cents FROM account ORDER BY id' | paste -sd' '; }

# counter: a projection that would show each event that is skipped or applied twice.
counter() {
    cat >counter.sql <<'END'
-- @init
CREATE TABLE counter(one integer PRIMARY KEY, n bigint, total bigint, last bigint);
INSERT INTO counter VALUES(1, 0, 0, 0);
-- @on n
UPDATE counter SET n = n + 1, total = total + (:data #>> '{}')::bigint, last = :seq;
END
}

counted() { db_says "$1" 'SELECT n FROM counter'; }
status() { project --status -o ndjson "$model"; }
member() { jq -c ".$1"; }
running() { [ "$(status 2>/dev/null | member state)" = '"running"' ]; }

# A session of somebody's: what is written to descriptor 8 is done there, until it is closed.
session() {
    mkfifo statements
    exec 8<>statements
    background psql -qXAt <statements >answers 2>&1 8>&-
}

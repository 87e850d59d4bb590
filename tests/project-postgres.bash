# project-postgres: shared by the tests of read models on a server, to be loaded after helper,
# postgres and project.

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

counted() { db_says "$1" 'SELECT n FROM counter'; }
status() { project --status -o ndjson "$model"; }
running() { [ "$(status 2>/dev/null | member state)" = '"running"' ]; }

# A session of somebody's: what is written to descriptor 8 is done there, until it is closed.
session() {
    mkfifo statements
    exec 8<>statements
    background psql -qXAt <statements >answers 2>&1 8>&-
}

# postgres: a PostgreSQL server for tests, in a folder of its own, with its socket there and without
# fsync. It does not run as root, so the folder is not inside ours, which other users cannot enter.

# postgres_find: sets POSTGRES_DIR, POSTGRES_CTL, POSTGRES_AS and POSTGRES_BIN (how a server is run), or
# NO_POSTGRES to the reason why there is none.
postgres_find() {
    local bin as=()
    for bin in "$(dirname "$(command -v initdb || echo /nowhere/initdb)")" /usr/lib/postgresql/*/bin; do
        [ ! -x "$bin/pg_ctl" ] || break
    done
    if [ ! -x "$bin/initdb" ] || [ ! -x "$bin/pg_ctl" ] || ! command -v psql >/dev/null; then
        export NO_POSTGRES='PostgreSQL is not installed' && return
    fi
    bin=$(dirname "$(readlink -f "$bin/initdb")") # not all of them may be linked there
    export POSTGRES_DIR POSTGRES_CTL POSTGRES_AS POSTGRES_BIN=$bin
    export PATH=$bin:$PATH # Debian's psql is a script that takes ten times as long to start
    POSTGRES_DIR=$(mktemp -d /tmp/eventutils-postgres.XXXXXX)
    if [ "$(id -u)" -eq 0 ]; then
        id postgres >/dev/null 2>&1 || { export NO_POSTGRES='there is no user to run PostgreSQL as' && return; }
        chown postgres "$POSTGRES_DIR"
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
    POSTGRES_AS=${as[*]}
    POSTGRES_CTL="$POSTGRES_AS $bin/pg_ctl -D $POSTGRES_DIR/data"
}

postgres_start() { # the same, and start one
    postgres_find
    [ -z "${NO_POSTGRES:-}" ] || return 0
    (
        cd /
        $POSTGRES_AS "$POSTGRES_BIN/initdb" -A trust -U tester -N -E UTF8 --locale=C -D "$POSTGRES_DIR/data"
        printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$POSTGRES_DIR'" \
            'fsync = off' 'full_page_writes = off' 'checkpoint_timeout = 1h' 'max_wal_size = 2GB' 'max_connections = 300' \
            >>"$POSTGRES_DIR/data/postgresql.conf"
        $POSTGRES_CTL -l "$POSTGRES_DIR/log" -w start 3>&-
    ) >"$POSTGRES_DIR/told" 2>&1 || { cat "$POSTGRES_DIR"/{told,log} >&2 && return 1; }
}

# postgres_world: the time of day for processes that are started by world (see helper.bash), whose search
# path has this function before PostgreSQL's own.
postgres_world() {
    psql -qX "postgresql://tester@/postgres?host=$POSTGRES_DIR" <<'END'
CREATE SCHEMA world;
CREATE FUNCTION world.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT
  pg_catalog.clock_timestamp() + make_interval(secs => current_setting('world.clock')::float) $$;
END
}

# For setup, after helper_setup: a database of its own for the test, on the server that
# postgres_spools has started.
postgres_own() {
    unset PGAPPNAME
    [ -z "${NO_POSTGRES:-}" ] || skip "$NO_POSTGRES"
    export PGHOST=$POSTGRES_DIR PGUSER=tester PGDATABASE=own$BATS_TEST_NUMBER
    psql -qd postgres -c "CREATE DATABASE $PGDATABASE"
}

# For setup_file of tests that need spools on a server.
postgres_spools() {
    case $(spool info -s postgresql://%2Fnowhere/x 2>&1) in
    *'is not there'*) export NO_POSTGRES='built without libpq' && return ;;
    esac
    postgres_start
}

postgres_stop() {
    [ -z "${POSTGRES_DIR:-}" ] || [ ! -d "$POSTGRES_DIR/data" ] || (cd / && $POSTGRES_CTL -m immediate -w stop >/dev/null)
    rm -rf "${POSTGRES_DIR:-/nonexistent}"
}

# ------------------------------------------------------------------------------------------ a storm
# Two publishers and two consumers, through whatever happens to the server; and what must be true in
# the end.

# Publish and note what was acknowledged, until there is a file "over".
publish_on() { # NAME
    local i
    for ((i = 1; ; i++)); do
        [ ! -e over ] || return 0
        until publish -t x --id "$1-$i" -d "$i" 2>>said; do
            [ ! -e over ] || return 0
            sleep 0.05
        done
        echo "$1-$i" >>acknowledged
    done
}

consume_on() {
    until [ -e over ]; do
        consume -g g --from start -f -j 2 -- sh -c 'echo "$EVENT_ID" >>seen' 2>>said || true
    done
}

grown_by() { # LINES FILE SINCE
    [ "$(wc -l <"$2")" -ge $(($3 + $1)) ]
}

storm_begins() {
    local name
    touch acknowledged seen
    spool init 2>/dev/null
    for name in a b; do background publish_on "$name"; done
    for name in c d; do background consume_on; done
}

storm_ends() {
    local pid
    touch over
    for pid in "${helper_pids[@]}"; do kill -TERM -- "-$pid" || true; done 2>/dev/null
    for pid in "${helper_pids[@]}"; do wait "$pid" || true; done
    consume -g g -- sh -c 'echo "$EVENT_ID" >>seen' 2>>said
    replay -t x | jq -r .id | sort >stored
    [ -z "$(uniq -d stored)" ]
    [ -z "$(comm -23 <(sort acknowledged) stored)" ]
    [ -z "$(comm -23 stored <(sort -u seen))" ]
    [ "$(replay -o positions | tail -n 1)" -eq "$(replay | wc -l)" ]
}

# hang_up: the sessions of all commands end, and what they held is free.
hang_up() {
    psql -qAtX -c "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name='eventutils'" >/dev/null
}

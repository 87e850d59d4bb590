# postgres: a PostgreSQL server for tests, in a folder of its own, with its socket there and without
# fsync. It does not run as root, so the folder is not inside ours, which other users cannot enter.

# postgres_start: sets POSTGRES_DIR and POSTGRES_CTL, or NO_POSTGRES to the reason why there is none.
postgres_start() {
    local bin as=()
    for bin in "$(dirname "$(command -v initdb || echo /nowhere/initdb)")" /usr/lib/postgresql/*/bin; do
        [ ! -x "$bin/pg_ctl" ] || break
    done
    if [ ! -x "$bin/initdb" ] || [ ! -x "$bin/pg_ctl" ] || ! command -v psql >/dev/null; then
        export NO_POSTGRES='PostgreSQL is not installed' && return
    fi
    export POSTGRES_DIR POSTGRES_CTL
    POSTGRES_DIR=$(mktemp -d /tmp/eventutils-postgres.XXXXXX)
    if [ "$(id -u)" -eq 0 ]; then
        id postgres >/dev/null 2>&1 || { export NO_POSTGRES='there is no user to run PostgreSQL as' && return; }
        chown postgres "$POSTGRES_DIR"
        as=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    fi
    POSTGRES_CTL="${as[*]} $bin/pg_ctl -D $POSTGRES_DIR/data"
    (
        cd /
        "${as[@]}" "$bin/initdb" -A trust -U tester -N -E UTF8 --locale=C -D "$POSTGRES_DIR/data"
        printf '%s\n' "listen_addresses = ''" "unix_socket_directories = '$POSTGRES_DIR'" \
            'fsync = off' 'max_connections = 300' >>"$POSTGRES_DIR/data/postgresql.conf"
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

postgres_stop() {
    [ -z "${POSTGRES_DIR:-}" ] || [ ! -d "$POSTGRES_DIR/data" ] || (cd / && $POSTGRES_CTL -m immediate -w stop >/dev/null)
    rm -rf "${POSTGRES_DIR:-/nonexistent}"
}

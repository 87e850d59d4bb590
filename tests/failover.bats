load helper
load postgres

# A primary and its synchronous standby, which take turns: what was acknowledged is on both.

setup_file() { postgres_spools; }

teardown_file() {
    local n
    for n in 1 2; do
        [ ! -e "$POSTGRES_DIR/data$n" ] || server "$n" -m immediate -w stop >/dev/null || true
    done
    postgres_stop
}

setup() {
    helper_setup
    unset PGAPPNAME # a server of its own
    [ -z "${NO_POSTGRES:-}" ] || skip "$NO_POSTGRES"
}

server() { # N ARGUMENTS: of pg_ctl
    (cd / && $POSTGRES_AS "$POSTGRES_BIN/pg_ctl" -D "$POSTGRES_DIR/data$1" -l "$POSTGRES_DIR/log$1" "${@:2}" 3>&-)
}

on() { # N SQL
    psql -qAtX -h "$POSTGRES_DIR" -p "543$1" -U tester -d postgres -c "$2"
}

says() { # N VALUE SQL
    [ "$(on "$1" "$3" 2>/dev/null)" = "$2" ]
}

# becomes_standby N PRIMARY: from a new copy; the primary's commits wait for it, once it is there.
becomes_standby() {
    rm -rf "$POSTGRES_DIR/data$1"
    (cd / && $POSTGRES_AS "$POSTGRES_BIN/pg_basebackup" -h "$POSTGRES_DIR" -p "543$2" -U tester -c fast -R \
        -D "$POSTGRES_DIR/data$1" 3>&-)
    echo "port = 543$1" >>"$POSTGRES_DIR/data$1/postgresql.conf"
    server "$1" -w start >/dev/null
    on "$2" "ALTER SYSTEM SET synchronous_standby_names = '*'"
    on "$2" 'SELECT pg_reload_conf()' >/dev/null
    wait_for says "$2" sync 'SELECT sync_state FROM pg_stat_replication'
}

@test "failover: a synchronous standby that is promoted has all that was acknowledged" {
    local round lines old=1 new=2
    (cd / && $POSTGRES_CTL -m fast -w stop >/dev/null)
    mv "$POSTGRES_DIR/data" "$POSTGRES_DIR/data1"
    echo 'port = 5431' >>"$POSTGRES_DIR/data1/postgresql.conf"
    server 1 -w start >/dev/null
    becomes_standby 2 1
    export EVENT_SPOOL="postgresql://tester@/postgres?host=$POSTGRES_DIR,$POSTGRES_DIR&port=5431,5432&target_session_attrs=read-write#storm"
    storm_begins
    for ((round = 0; round < $(long 2 20); round++)); do
        lines=$(wc -l <acknowledged)
        wait_for grown_by 20 acknowledged "$lines"
        kill -KILL "$(head -n 1 "$POSTGRES_DIR/data$old/postmaster.pid")"
        server "$new" -w promote >/dev/null
        becomes_standby "$old" "$new"
        lines=$(wc -l <seen)
        wait_for grown_by 5 seen "$lines"
        old=$new new=$((3 - new))
    done
    storm_ends
}

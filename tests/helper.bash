# helper: loaded at the beginning of every .bats file:
#
#     load helper
#
# A test runs in a folder of its own with a spool of its own, and without the caller's settings.
# Processes that it starts with background are killed when it ends. A file with a setup or teardown
# of its own calls helper_setup or helper_teardown there.

bats_require_minimum_version 1.5.0

# The PATH of a command to which something is preloaded: some have no shared library elsewhere.
hooked=$BUILD/hooked:$PATH

helper_setup() {
    local name
    for name in "${!EVENT_@}" TRACEPARENT TRACESTATE XDG_STATE_HOME; do
        unset "$name"
    done
    export EVENT_SPOOL=$BATS_TEST_TMPDIR/spool.db HOME=$BATS_TEST_TMPDIR
    : "${ENGINE:=sqlite}"
    helper_engine
    export TZ=UTC LC_ALL=C.UTF-8
    umask 022
    helper_pids=() helper_sessions=() helper_jobs=0
    cd "$BATS_TEST_TMPDIR" || return
}

# tests/engines says which tests an engine does not run: its lines are the engine, the file, the test (a
# pattern) and the reason, with tabs between. The others get a spool on the server that tests/run has
# started, unless the engine is for files.
helper_engine() {
    local file=${BATS_TEST_FILENAME##*/} engine of test reason
    while IFS=$'\t' read -r engine of test reason; do
        # shellcheck disable=SC2053 # a pattern
        [ "$engine $of" != "$ENGINE $file" ] || [[ $BATS_TEST_DESCRIPTION != $test ]] || skip "$reason"
    done <"$BATS_TEST_DIRNAME/engines"
    [ "$ENGINE" != sqlite ] || return 0
    hooked=$BUILD/bin/postgresql:$PATH
    name=${file%.bats}
    # Its sessions have the test's name, or that of a background job (see noticed).
    export EVENT_SPOOL="$SERVER#t_${name//-/_}_$BATS_TEST_NUMBER" PGAPPNAME="t_${name//-/_}_$BATS_TEST_NUMBER"
}

helper_teardown() {
    local pid
    for pid in "${helper_pids[@]}"; do
        # Its group, or only the process if it left the group or never led one.
        kill -KILL -- "-$pid" || kill -KILL "$pid" || true
    done 2>/dev/null
    for pid in "${helper_pids[@]}"; do
        wait "$pid" || true
    done 2>/dev/null
}

setup() { helper_setup; }
teardown() { helper_teardown; }

# background COMMAND...: start it as the leader of a process group; its pid is in $! and $pid.
# Redirections of the call apply to the command. It does not get descriptor 3: bats would wait for
# that.
background() {
    local name=${PGAPPNAME:+$PGAPPNAME.$((helper_jobs += 1))}
    set -m
    if [ -n "$name" ]; then
        PGAPPNAME=$name "$@" 3>&- &
    else
        "$@" 3>&- &
    fi
    set +m
    pid=$!
    helper_pids+=("$pid")
    helper_sessions[pid]=$name
}

# noticed: the engine knows that those have ended that have: the test's commands and background jobs. The
# kernel frees a lock in a file at once; a server has to notice that a connection is gone.
noticed() {
    [ -z "${PGAPPNAME:-}" ] || wait_for helper_no_ghosts
}

helper_no_ghosts() {
    local names job
    names=$(PGAPPNAME='' sql 'SELECT application_name FROM pg_stat_activity')
    ! grep -qxF "$PGAPPNAME" <<<"$names" || return 1
    for job in "${!helper_sessions[@]}"; do
        ! grep -qxF "${helper_sessions[job]}" <<<"$names" || ! gone "$job" || return 1
    done
}

# last_statement PID: of a background job's sessions on the server.
last_statement() {
    sql "SELECT query FROM pg_stat_activity WHERE application_name = '${helper_sessions[$1]}'"
}

# slay PID: a background job is killed, and noticed; its whole group if PID begins with -.
slay() {
    kill -KILL -- "$1"
    wait "${1#-}" || true
    noticed
}

# wait_for COMMAND...: wait until it succeeds; the test fails after 40 seconds or more. It counts attempts
# instead of reading the clock, so that a test may change the clock.
wait_for() {
    local tries=2000
    until "$@"; do
        if [ $((tries -= 1)) -eq 0 ]; then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.02
    done
}

has_lines() { # FILE N
    [ -e "$1" ] && [ "$(wc -l <"$1")" -eq "$2" ]
}

# group_is GROUP LAG LEFT IN_FLIGHT DEAD: LEFT are those due and those waiting.
group_is() {
    local row
    row=$(spool group show "$1" -o ndjson) || return
    [ "$(jq -r '"\(.lag) \(.due + .waiting) \(.in_flight) \(.dead)"' <<<"$row")" = "$2 $3 $4 $5" ] || {
        echo "group $1: $row" >&2
        return 1
    }
}

# no_spool: as if the test had not had a spool so far.
no_spool() {
    if [ "$ENGINE" = sqlite ]; then
        rm -f "$EVENT_SPOOL"*
    else
        sql "DROP SCHEMA IF EXISTS ${EVENT_SPOOL##*#} CASCADE"
    fi
}

# spool_missing: nothing has created the test's spool.
spool_missing() {
    if [ "$ENGINE" = sqlite ]; then
        [ ! -e "$BATS_TEST_TMPDIR/spool.db" ]
    else
        [ -z "$(sql "SELECT to_regclass('${EVENT_SPOOL##*#}.meta')")" ]
    fi
}

# keep_spool, back_to_kept_spool: put the spool aside, and start again from there.
keep_spool() {
    if [ "$ENGINE" = sqlite ]; then
        cp spool.db kept.db
    else
        pg_dump -n "${EVENT_SPOOL##*#}" "${EVENT_SPOOL%#*}" >kept.sql
    fi
}

back_to_kept_spool() {
    no_spool
    if [ "$ENGINE" = sqlite ]; then
        cp kept.db spool.db
    else
        psql -qX "${EVENT_SPOOL%#*}" <kept.sql >/dev/null
    fi
}

# spoil_spool: from now on it can neither be opened nor created: the status for that is in spoilt.
spoil_spool() {
    # shellcheck disable=SC2034 # used by tests
    if [ "$ENGINE" = sqlite ]; then
        mkdir spool.db
        spoilt=73
    else
        EVENT_SPOOL="postgresql://tester@/postgres?host=$BATS_TEST_TMPDIR#nowhere"
        spoilt=75
    fi
}

# sql STATEMENTS [SPOOL]: what they print, in a shell of the engine's own, past all commands.
sql() {
    local spool=${2:-$EVENT_SPOOL}
    if [ "$ENGINE" = sqlite ]; then
        command -v sqlite3 >/dev/null || skip 'no sqlite3 shell'
        sqlite3 "$spool" "$1"
    else
        PGOPTIONS="-c client_min_messages=error -c search_path=${spool##*#}" psql -qXAt -v ON_ERROR_STOP=1 "${spool%#*}" -c "$1"
    fi
}

# Another program holds the write lock of a spool, or of a SQLite file, until let_write.
hold_lock() { # [FILE]
    rm -f lock locked
    mkfifo lock
    exec 9<>lock
    if [ "$ENGINE" = sqlite ] || [ -n "${1:-}" ]; then
        command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to hold the lock with'
        background sqlite3 "${1:-$EVENT_SPOOL}" <lock >locked 9<&-
        printf '%s\n' '.timeout 20000' 'BEGIN IMMEDIATE;' "SELECT 'locked';" >&9
    else
        background psql -qXAt "${EVENT_SPOOL%#*}" <lock >locked 9<&-
        printf '%s\n' 'BEGIN;' "SELECT pg_advisory_xact_lock('${EVENT_SPOOL##*#}'::regnamespace::oid::int,0),'locked';" >&9
    fi
    writer=$pid
    wait_for grep -q locked locked
}

let_write() {
    if [ "$ENGINE" = sqlite ] || grep -q sqlite3 "/proc/$writer/cmdline"; then
        printf '%s\n' 'ROLLBACK;' .exit >&9
    else
        printf '%s\n' 'ROLLBACK;' '\q' >&9
    fi
    exec 9>&-
    wait "$writer"
}

# It waits for the lock: of a file it looks again and again, and sleeps in between. A server knows how
# many wait, and not who.
waits_for_lock() { # PID [HOW MANY]
    local before after
    if [ "$ENGINE" != sqlite ] && ! grep -q sqlite3 "/proc/$writer/cmdline"; then
        [ "$(sql "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted AND
            classid='${EVENT_SPOOL##*#}'::regnamespace::oid AND objid=0")" -ge "${2:-1}" ]
        return
    fi
    before=$(awk '/^voluntary/ { print $2 }' "/proc/$1/status") && sleep 0.1
    after=$(awk '/^voluntary/ { print $2 }' "/proc/$1/status") && [ "$after" -gt $((before + 10)) ]
}

# long SHORT LONG: print how often to do something: LONG with LONG=1, else SHORT.
long() {
    if [ -n "${LONG:-}" ]; then echo "$2"; else echo "$1"; fi
}

# world COMMAND...: run it with a time of day that differs from the real one by the seconds in the
# file clock; needs_world skips a test where that is impossible.
world() {
    worldly
    "${world[@]}" "$@"
}

# worldly: set the array world to a command line to which world adds its own.
worldly() {
    local clock=$BATS_TEST_TMPDIR/clock
    world=(env PATH="$hooked" LD_PRELOAD="$BUILD/fault/world.so" WORLD_CLOCK="$clock")
    # The server's clock counts: there is a function that stands before PostgreSQL's own (see postgres_world).
    [ "$ENGINE" = sqlite ] ||
        world+=(WORLD_BOOT="$clock" PGOPTIONS="-c search_path=world,pg_catalog -c world.clock=$(cat "$clock" 2>/dev/null || echo 0)")
}

# edit_events ASSIGNMENTS: change columns of stored events, as no command does. They become rows of
# schema 1, whose checksum covers only the line; else they would count as damaged.
edit_events() {
    sql "INSERT INTO meta VALUES('sums',CAST((SELECT max(seq) FROM event) AS TEXT))
            ON CONFLICT(key) DO UPDATE SET value=excluded.value;
        UPDATE event SET sums=sums&4294967295;
        UPDATE event SET $1"
}

# edit_line SEQ FROM TO: damage an event.
edit_line() {
    if [ "$ENGINE" = sqlite ]; then
        sql "UPDATE event SET line=CAST(replace(CAST(line AS TEXT),'$2','$3') AS BLOB) WHERE seq=$1"
    else
        sql "UPDATE event SET line=convert_to(replace(convert_from(line,'UTF8'),'$2','$3'),'UTF8') WHERE seq=$1"
    fi
}

# faults KIND...: those (of tests/fault/fail.c) that the engine's calls can have. A connection breaks
# by the end of a process, whatever a single call says.
faults() {
    local kind
    for kind; do
        [ "$ENGINE" != sqlite ] && [[ ! $kind =~ ^(kill|torn|term|enomem) ]] || printf '%s\n' "$kind"
    done
}

# bytes TEXT: an expression for a column that holds bytes.
bytes() {
    if [ "$ENGINE" = sqlite ]; then
        echo "CAST('$1' AS BLOB)"
    else
        echo "convert_to('$1','UTF8')"
    fi
}

needs_world() {
    [ -e "$BUILD/fault/world.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
}

gone() { # PID: it has ended, reaped or not
    [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null || [ ! -e "/proc/$1" ]
}

# sleeps PID: it waits for something. timeout(1) that has only just forked, and does not know its child
# yet, would end at a signal without passing it on (coreutils 9.1).
sleeps() {
    grep -q '^State:.S' "/proc/$1/status"
}

# ends_with STATUS PID: wait for a process started with background, and check its status.
ends_with() {
    local status=0
    wait_for gone "$2"
    wait "$2" || status=$?
    [ "$status" -eq "$1" ] || {
        echo "ended with $status instead of $1" >&2
        return 1
    }
}

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
    [ "${ENGINE:-sqlite}" = sqlite ] || helper_engine
    export TZ=UTC LC_ALL=C.UTF-8
    umask 022
    helper_pids=()
    cd "$BATS_TEST_TMPDIR" || return
}

# A spool on the server that tests/run has started, unless tests/engines knows why not: its lines are
# the engine, the file, the test (a pattern) and the reason, with tabs between.
helper_engine() {
    local file=${BATS_TEST_FILENAME##*/} engine of test reason
    while IFS=$'\t' read -r engine of test reason; do
        # shellcheck disable=SC2053 # a pattern
        [ "$engine $of" != "$ENGINE $file" ] || [[ $BATS_TEST_DESCRIPTION != $test ]] || skip "$reason"
    done <"$BATS_TEST_DIRNAME/engines"
    name=${file%.bats}
    export EVENT_SPOOL="$SERVER#t_${name//-/_}_$BATS_TEST_NUMBER"
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
    set -m
    "$@" 3>&- &
    set +m
    pid=$!
    helper_pids+=("$pid")
}

# wait_for COMMAND...: wait until it succeeds; the test fails after 20 seconds. It counts attempts
# instead of reading the clock, so that a test may change the clock.
wait_for() {
    local tries=1000
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
    if [ "${ENGINE:-sqlite}" = sqlite ]; then
        rm -f "$EVENT_SPOOL"*
    else
        PGOPTIONS='-c client_min_messages=error' psql -q "${EVENT_SPOOL%#*}" -c "DROP SCHEMA IF EXISTS ${EVENT_SPOOL##*#} CASCADE"
    fi
}

# long SHORT LONG: print how often to do something: LONG with LONG=1, else SHORT.
long() {
    if [ -n "${LONG:-}" ]; then echo "$2"; else echo "$1"; fi
}

# world COMMAND...: run it with a time of day that differs from the real one by the seconds in the
# file clock; needs_world skips a test where that is impossible.
world() {
    PATH=$hooked LD_PRELOAD=$BUILD/fault/world.so WORLD_CLOCK=$BATS_TEST_TMPDIR/clock "$@"
}

# edit_events ASSIGNMENTS: change columns of stored events, as no command does. They become rows of
# schema 1, whose checksum covers only the line; else they would count as damaged.
edit_events() {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to edit events with'
    sqlite3 "$EVENT_SPOOL" "INSERT OR REPLACE INTO meta VALUES('sums',(SELECT max(seq) FROM event));
        UPDATE event SET sums=sums&4294967295;
        UPDATE event SET $1"
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

#!/bin/bash
# postgres.sh: the same work on a spool in a file and on a PostgreSQL server, in turn, and again with
# the server 0.85 ms away, as in another room of a data centre.
#
#     make bench                        # once: it builds gen, measure, wake, worker and delay
#     BUILD="$PWD/build" [N=100000] [ROUNDS=3] tests/bench/postgres.sh
#
# The server is started here, in a folder of its own, with its own settings but for the place of its
# socket; pgbouncer too, if it is installed. Only ratios mean something, and of them the median: the
# server's figure to the file's. Needs 500 MB in /tmp and beside BUILD.
set -euo pipefail

: "${BUILD:?}"
n=${N:-100000}
rounds=${ROUNDS:-3}
handled=1500
oneshots=100
here=$(cd "$(dirname "$0")" && pwd)
export LC_ALL=C.UTF-8 PATH="$BUILD/bin:$BUILD/bench:$PATH:/usr/sbin"
for name in "${!EVENT_@}" "${!PG@}" TRACEPARENT TRACESTATE; do
    unset "$name"
done
# shellcheck source=tests/postgres.bash
. "$here/../postgres.bash"

work=$(mktemp -d "$BUILD/postgres.XXXXXX")
trap 'over; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

over() {
    far_end
    [ -z "${bouncer:-}" ] || kill "$bouncer" 2>/dev/null || true
    postgres_stop
}

sql() { psql -qAtX -d "postgresql://tester@/eu?host=$POSTGRES_DIR" "$@"; }

begin_server() {
    postgres_start
    [ -z "${NO_POSTGRES:-}" ] || { echo "postgres.sh: $NO_POSTGRES" >&2 && exit 69; }
    psql -qX -d "postgresql://tester@/postgres?host=$POSTGRES_DIR" -c 'CREATE DATABASE eu' \
        -c 'ALTER SYSTEM SET fsync = on' -c 'SELECT pg_reload_conf()' >/dev/null
}

# ------------------------------------------------------------------------------------- far away

# far_begin: sets $far, the address of the server behind the delay.
far_begin() {
    coproc delay { delay 850 "$POSTGRES_DIR/.s.PGSQL.5432"; }
    local port
    read -r port <&"${delay[0]}"
    # shellcheck disable=SC2034 # by name
    far="postgresql://tester@127.0.0.1:$port/eu"
}

# far_end: sets $trips, how many round trips there were.
far_end() {
    [ -n "${delay_PID:-}" ] || return 0
    local said=${delay[0]} pid=$delay_PID
    exec {said}<&"$said"
    eval "exec ${delay[1]}>&-"
    read -r trips <&"$said" || trips=0
    wait "$pid" || true
    exec {said}<&-
}

# trips_of COMMAND...: with $far for the server.
trips_of() {
    far_begin
    "$@" >/dev/null 2>>"$work/messages"
    far_end
}

# ----------------------------------------------------------------------------------------- works
# work_NAME SPOOL ROUND: prints what measure prints.

work_publish() { measure publish -s "$1" "$work/in.$2" 2>>"$work/messages"; }
work_replay() { measure -p replay -s "$1"; }
work_ack() { measure -p consume -s "$1" -g "pipe-$2-$RANDOM" --from 1 --auto-ack; }
work_workers() { measure consume -s "$1" -g "workers-$2-$RANDOM" --from 1 --workers -- worker; }
work_handler() { measure consume -s "$1" -g "handler-$2-$RANDOM" --from 1 -n $handled -j "$3" -- true; }
work_oneshot() { measure -n $oneshots publish -s "$1" -t order.placed -k order-42 -d '{"total":42}'; }

# row TITLE GOAL OUR_ADDRESS WORK [ARG]
row() {
    local title=$1 goal=$2 address=$3 work_=$4 round here_ there
    for ((round = 1; round <= rounds; round++)); do
        here_=$("work_$work_" "$work/file.$round" "$round" "${5:-}")
        there=$("work_$work_" "$address#r$round" "$round" "${5:-}")
        echo "${here_% *} ${there% *}"
    done | awk -v title="$title" -v goal="$goal" '
        { here[NR] = $1; there[NR] = $2; ratio[NR] = $1 / $2 }
        function median(list, n,   i, j, t) {
            for (i = 2; i <= n; i++)
                for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
            return list[int((n + 1) / 2)]
        }
        END {
            middle = median(ratio, NR)
            printf "%-36s %9.4f %9.4f  %5.2f (%.2f..%.2f)  >= %-4s %s\n", title, median(here, NR), median(there, NR),
                middle, ratio[1], ratio[NR], goal, (middle >= goal ? "" : "missed")
        }'
}

# waking TITLE SPOOL
waking() {
    (cd "$work" && wake "$2" 100 1 >waked && rm -f told)
    awk -v title="$1" 'NR == 1 { printf "%-36s %29.2f ms, p99 %.2f  <= 3 %s\n", title, $1, $2, ($1 <= 3 ? "" : "missed") }' "$work/waked"
}

begin_server
near="postgresql://tester@/eu?host=$POSTGRES_DIR"
for ((i = 1; i <= rounds; i++)); do
    gen "$n" $((i * n)) >"$work/in.$i"
done
printf '%-36s %9s %9s  %s\n' "work, median of $rounds rounds (s)" file server 'file/server (min..max)'

works() { # WHERE ADDRESS, and the goals: bulk, handlers; their width; one event
    row "publish a file$1" "$3" "$2" publish
    row "replay$1" 0 "$2" replay
    row "consume --auto-ack$1" "$3" "$2" ack
    row "consume --workers$1" "$3" "$2" workers
    row "consume -j $5 -- true$1" "$4" "$2" handler "$5"
    row "publish -d, one event$1" "$6" "$2" oneshot
    waking "on disk to handler$1" "$2#r1"
}
works '' "$near" 0.5 0.8 1 0.2

if command -v pgbouncer >/dev/null; then
    printf '%s\n' '[databases]' "eu = host=$POSTGRES_DIR user=tester" '[pgbouncer]' 'listen_addr =' \
        "unix_socket_dir = $POSTGRES_DIR" 'listen_port = 6432' 'auth_type = any' 'pool_mode = transaction' \
        'ignore_startup_parameters = extra_float_digits' >"$POSTGRES_DIR/pgbouncer.ini"
    # shellcheck disable=SC2086 # words
    (cd / && exec $POSTGRES_AS pgbouncer -q "$POSTGRES_DIR/pgbouncer.ini" >>"$POSTGRES_DIR/pgbouncer.log" 2>&1) &
    bouncer=$!
    for ((i = 0; i < 100; i++)); do
        [ ! -S "$POSTGRES_DIR/.s.PGSQL.6432" ] || break
        sleep 0.1
    done
    row 'publish -d, through pgbouncer' 0.28 "$near&port=6432" oneshot
fi

for ((i = 1; i <= rounds; i++)); do
    sql -c "DROP SCHEMA r$i CASCADE"
    rm -f "$work/file.$i"*
done
far_begin
works ', 0.85 ms away' "$far" 0.5 0.5 4 0
far_end

# ----------------------------------------------------------------------------------- round trips

head -n 1000 "$work/in.1" >"$work/one"
head -n 11000 "$work/in.1" | tail -n 10000 >"$work/ten"
trips_of spool init -s "$near#t"
publish_far() { publish -s "$far#t" "$1"; }
trips_of publish_far "$work/one" && one=$trips
trips_of publish_far "$work/ten" && ten=$trips
echo "round trips for each 1,000 events published: $(((ten - one) / 9)).$(((ten - one) * 10 / 9 % 10))"
ack_far() { consume -s "$far#t" -g "$1" --from 1 -n "$2" --auto-ack; }
trips_of ack_far a 1000 && one=$trips
trips_of ack_far b 11000 && ten=$trips
echo "round trips to claim and settle each 1,000 events: $(((ten - one) / 10)).$(((ten - one) % 10))"

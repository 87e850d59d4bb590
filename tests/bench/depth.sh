#!/bin/bash
# depth.sh: what an event costs where there is much of something, beside what it costs where there is
# little: events of one subject, dead letters, waiting events, groups, dead consumers. The two should
# differ by no more than a deeper tree takes. It is the time of processors, because that is what the
# others have to wait for, and a disk is never quiet. tests/bench/run calls it.
#
#     BUILD=folder [ROUNDS=5] tests/bench/depth.sh
set -euo pipefail

: "${BUILD:?}"
rounds=${ROUNDS:-5}

work=$(mktemp -d "$BUILD/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
export LC_ALL=C.UTF-8 PATH="$BUILD/bin:$BUILD/bench:$PATH" EVENT_SPOOL="$work/spool"

fresh() { # N [ARG...]: with N events, and a group g that has seen none
    rm -f "$work"/*
    seq "$1" | publish -t n "${@:2}"
    consume -g g --from start --to 0 -- true
}
sql() { sqlite3 "$EVENT_SPOOL"; }

# make_WORK DEPTH, which is not measured; do_WORK; and how many events that is, at a DEPTH.

make_behind() {
    fresh "$1" -k s
    spool group set g --ordered
    consume -g g --backoff 1h -n 1 -- false
}
do_behind() { consume -g g -- true; }
events_behind() { echo "$1"; }

make_next() {
    make_behind "$1"
    do_behind
    echo 'UPDATE item SET due=0 WHERE state=0' | sql
}
do_next() { consume -g g -n 1000 --auto-ack; }
events_next() { echo 1000; }

make_retry() {
    fresh "$1"
    echo "UPDATE cursor SET seq=$1; INSERT INTO item SELECT 1, seq, 3, 1, 1, 0, NULL FROM event;
        INSERT INTO attempt SELECT 1, seq, 1, 1, 1, 1, 'exit status 1', x'' FROM event" | sql
}
do_retry() { dlq retry --all; }
events_retry() { echo "$1"; }

make_drop() { make_retry "$1"; }
do_drop() { dlq drop --all; }
events_drop() { echo "$1"; }

# Half of them wait, half of them are dead; and then there are others.
make_among() {
    fresh "$1"
    echo "UPDATE cursor SET seq=$1; INSERT INTO item SELECT 1, seq, iif(seq % 2, 0, 3), 1 << 42, 1, 0, NULL FROM event" | sql
    seq 5000 | publish -t n
}
do_among() { consume -g g --auto-ack -n 5000; }
events_among() { echo 5000; }

make_prune() {
    fresh 20000
    consume -g g --auto-ack >"$work/out"
    echo "WITH n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
        INSERT INTO groups SELECT i, 'g' || i, '[]', 0, 0, 0, 0, 0, 1, 1 FROM n;
        INSERT INTO cursor SELECT g.grp, c.priority, 20000 FROM groups g, cursor c WHERE g.grp > 1 AND c.grp = 1" | sql
}
do_prune() { spool prune --keep 1; }
events_prune() { echo 20000; }

make_publish() { make_prune "$1"; }
do_publish() { seq 20000 | publish -t n; }
events_publish() { echo 20000; }

# Each dead consumer had ten events.
make_takeover() {
    fresh $(($1 * 10))
    awk -v n="$1" 'BEGIN {
        print "BEGIN; UPDATE cursor SET seq=" n * 10 ";"
        for (i = 0; i < n; i++) {
            first = i * 10 + 1
            for (open = ""; first > 127; first = int(first / 128)) open = open sprintf("%02x", first % 128 + 128)
            print "INSERT INTO consumer VALUES(" i * 2 + 1001 ", 4194304, 1, \"another\", 1);"
            print "INSERT INTO claim(grp, owner, first, open) VALUES(1, " i * 2 + 1001 ", " i * 10 + 1 ", x\"" \
                open sprintf("%02x", first) "010101010101010101\");"
        }
        print "COMMIT;"
    }' | tr '"' "'" | sql
}
do_takeover() { consume -g g --from start -n 1 --auto-ack; }
events_takeover() { echo $(($1 * 10)); }

row() { # TITLE WORK LITTLE MUCH [GOAL]
    local round depth TIMEFORMAT='%3U %3S'
    for ((round = 1; round <= rounds; round++)); do
        for depth in "$3" "$4"; do
            "make_$2" "$depth" >"$work/made" 2>&1
            { time "do_$2" >"$work/done" 2>&1; } 2>"$work/time"
            echo "$depth $("events_$2" "$depth") $(<"$work/time")"
        done
    done | awk -v title="$1 (us)" -v little="$3" -v much="$4" -v goal="${5:-1.5}" -v rounds="$rounds" '
        { figure[$1, ++count[$1]] = ($3 + $4) * 1e6 / $2 }
        function median(depth,   list, i, j, t) {
            for (i = 1; i <= rounds; i++) list[i] = figure[depth, i]
            for (i = 2; i <= rounds; i++)
                for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
            return rounds % 2 ? list[(rounds + 1) / 2] : (list[rounds / 2] + list[rounds / 2 + 1]) / 2
        }
        END {
            ours = median(much); bare = median(little)
            printf "%-34s %-6s %9.1f %9.1f  %4.2f %18s %-4s %s\n", title, much, ours, bare, ours / bare, "<=", goal,
                (ours / bare <= goal ? "" : "missed")
        }'
}

row 'put behind its subject' behind 2500 50000
row 'the next of a subject' next 2500 50000
row 'dlq retry --all' retry 5000 100000
row 'dlq drop --all' drop 5000 100000
row 'beside waiting and dead' among 2000 200000
row 'prune, with groups' prune 10 1000 3 # each is asked once for a thousand events
row 'publish, with groups' publish 10 1000
row 'from dead consumers' takeover 50 1000

#!/bin/bash
# hour.sh: an hour of events at a steady rate on a PostgreSQL server, as it comes, with its own
# autovacuum: do tables and indexes stay in proportion to what is in them?
#
#     make bench                        # once: it builds gen and worker
#     BUILD="$PWD/build" [MINUTES=60] [RATE=1000] [KEEP=2] tests/bench/hour.sh
#
# One publisher; a group of workers, which retry one event in a hundred a second later, and a group
# that only reads, with --auto-ack. Each minute spool prune removes what is older than KEEP minutes.
# Every five minutes, midway between two prunes, each table and index is compared with a fresh copy
# of itself: the same rows and settings, written at once. What is below 1 MB counts as in proportion.
#
# Prints a line for each table and index each time, and in the end whether each was at most twice
# its fresh copy every time; exits with 1 if not. Needs 500 MB in /tmp.
set -euo pipefail

: "${BUILD:?}"
minutes=${MINUTES:-60}
rate=${RATE:-1000}
keep=${KEEP:-2}
here=$(cd "$(dirname "$0")" && pwd)
export LC_ALL=C.UTF-8 PATH="$BUILD/bin:$BUILD/bench:$PATH"
for name in "${!EVENT_@}" "${!PG@}" TRACEPARENT TRACESTATE; do
    unset "$name"
done
# shellcheck source=tests/postgres.bash
. "$here/../postgres.bash"

work=$(mktemp -d /tmp/eventutils-hour.XXXXXX)
trap 'over; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

over() {
    # shellcheck disable=SC2046 # words
    kill $(jobs -p) 2>/dev/null || true
    wait
    postgres_stop
}

# sizes: each table and index, with its size and that of a fresh copy, in bytes.
sizes() {
    psql -qAtX -v ON_ERROR_STOP=1 "postgresql://tester@/eu?host=$POSTGRES_DIR&options=-csearch_path%3Dhour" <<'SQL'
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE TEMP TABLE seen(name text, size bigint, fresh bigint) ON COMMIT DROP;
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT oid, relname, array_to_string(reloptions, ',') AS options, (SELECT
        string_agg(quote_ident(attname), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid AND
        attnum > 0 AND NOT attisdropped) AS columns FROM pg_class c
        WHERE relnamespace = 'hour'::regnamespace AND relkind = 'r' ORDER BY relname
    LOOP
        EXECUTE format('CREATE TEMP TABLE copy(LIKE %I INCLUDING STORAGE INCLUDING INDEXES)', t.relname);
        IF t.options IS NOT NULL THEN
            EXECUTE format('ALTER TABLE copy SET (%s)', t.options);
        END IF;
        EXECUTE format('INSERT INTO copy SELECT * FROM %I', t.relname);
        REINDEX TABLE copy;
        INSERT INTO seen VALUES(t.relname, pg_table_size(t.oid), pg_table_size('copy'));
        INSERT INTO seen SELECT o.indexrelid::regclass, pg_relation_size(o.indexrelid),
            pg_relation_size(f.indexrelid) FROM pg_index o JOIN pg_index f ON f.indrelid = 'copy'::regclass AND
            f.indkey::text = o.indkey::text AND pg_get_expr(f.indpred, f.indrelid) IS NOT DISTINCT FROM
            pg_get_expr(o.indpred, o.indrelid) WHERE o.indrelid = t.oid;
        DROP TABLE copy;
    END LOOP;
END $$;
SELECT name, size, fresh FROM seen ORDER BY size DESC, name;
ROLLBACK;
SQL
}

# sample MINUTE: prints those above 1 MB.
sample() {
    sizes | sed "s/^/$1|/" | tee -a "$work/sizes" | awk -F'|' '
        function line(what, size, fresh) {
            printf "%6s  %-18s %9.0f kB %9.0f kB  %5.2f\n", $1, what, size / 1024, fresh / 1024, size / fresh
        }
        $3 > 1048576 { line($2, $3, $4) }
        { size += $3; fresh += $4 }
        END { line("all together", size, fresh) }'
    spool group list -o ndjson | jq -r '"        \(.group): \(.done) done, \(.lag + .due + .waiting) behind"'
}

# verdict: of each table and index the time when it was least in proportion; 1 if one was beyond twice.
verdict() {
    awk -F'|' '
        {
            ratio = $3 > 1048576 ? $3 / $4 : 0
            if (!($2 in worst) || ratio > worst[$2]) { worst[$2] = ratio; text[$2] = $3 / 1024 " kB, fresh " $4 / 1024 " kB, minute " $1 }
            if ($3 > largest[$2]) largest[$2] = $3
        }
        END {
            for (name in worst) {
                if (worst[name] == 0) { printf "%-18s below 1 MB: %d kB at most\n", name, largest[name] / 1024; continue }
                printf "%-18s %.2f times its fresh copy at most: %s%s\n", name, worst[name], text[name], (worst[name] > 2 ? ": BEYOND" : "")
                beyond += worst[name] > 2
            }
            exit beyond > 0
        }' sizes | sort
}

# RATE events a second in batches of a tenth; who is late catches up. It goes on until the last sample
# has been taken, since there is less to be in proportion to when nothing comes any more.
pace() {
    local batch=$((rate / 10)) begun=${EPOCHREALTIME/./} i ahead
    for ((i = 0; i < minutes * 600 + 400; i++)); do
        gen "$batch" $((i * batch))
        ahead=$((begun + (i + 1) * 100000 - ${EPOCHREALTIME/./}))
        ((ahead <= 0)) || sleep "$((ahead / 1000000)).$(printf %06d $((ahead % 1000000)))"
    done
}

postgres_start
[ -z "${NO_POSTGRES:-}" ] || { echo "hour.sh: $NO_POSTGRES" >&2 && exit 69; }
psql -qX -d "postgresql://tester@/postgres?host=$POSTGRES_DIR" -c 'CREATE DATABASE eu' \
    -c 'ALTER SYSTEM SET fsync = on' -c 'ALTER SYSTEM SET full_page_writes = on' \
    -c "ALTER SYSTEM SET checkpoint_timeout = '5min'" -c 'SELECT pg_reload_conf()' >/dev/null
export EVENT_SPOOL="postgresql://tester@/eu?host=$POSTGRES_DIR#hour"
spool init
cd "$work"

consume -g workers --from start -f --workers -- worker retry 2>>workers.said &
consume -g readers --from start -f --auto-ack >/dev/null 2>>readers.said &
pace | publish 2>>publish.said &
publisher=$!

printf 'minute  %-18s %12s %12s  %5s\n' 'above 1 MB' size fresh ratio
begun=$SECONDS
for ((minute = 1; minute <= minutes; minute++)); do
    ((begun + minute * 60 <= SECONDS)) || sleep $((begun + minute * 60 - SECONDS))
    spool prune --before "${keep}m" 2>>prune.said || echo "status $?" >>prune.said
    if ((minute % 5 == 0 || minute == minutes)); then
        sleep 30
        sample "$minute"
    fi
done
wait "$publisher"
for name in workers readers; do
    spool wait -g "$name" --wait 10m
done
echo "published: $(spool info -o ndjson)"
for name in publish workers readers prune; do
    awk -v name="$name" '!/its worker says so/ { print name " said: " $0 }' "$name.said" | tail -n 3
done
if verdict; then
    echo "each was at most twice its fresh copy, or below 1 MB: $minutes minutes of $rate events a second"
else
    echo 'not each was at most twice its fresh copy' && exit 1
fi

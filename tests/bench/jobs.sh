#!/bin/bash
# jobs.sh: the same jobs published and consumed on the same PostgreSQL server by eventutils, pg-boss
# and graphile-worker. Prints a table in Markdown.
#
#     make bench                        # once: it builds gen, measure and worker
#     BUILD="$PWD/build" [N=100000] [ROUNDS=3] [MODULES=DIR] tests/bench/jobs.sh
#
# Needs npm, which fetches the two and a Node.js that they run on into a folder that is removed in the
# end; with MODULES it is kept, and used again. The server is started here, with its own settings. All
# take turns, each round in a fresh database; figures go to standard error as they come. Handlers do
# nothing; the settings of the peers are the fastest that their pages name, in jobs.mjs.
#
# The peers' time begins when Node.js has loaded them, read the jobs and connected; that of eventutils
# before its processes are started. Each consume is preceded by VACUUM ANALYZE. CPU is that of the
# clients, their start included, and of the server's sessions; on a machine that does other work, too,
# it says more than the time.
set -euo pipefail

: "${BUILD:?}"
n=${N:-100000}
rounds=${ROUNDS:-3}
handled=2000
here=$(cd "$(dirname "$0")" && pwd)
export LC_ALL=C.UTF-8 PATH="$BUILD/bin:$BUILD/bench:$PATH"
for name in "${!EVENT_@}" "${!PG@}" TRACEPARENT TRACESTATE; do
    unset "$name"
done
command -v npm >/dev/null || { echo 'jobs.sh: npm is not installed' >&2 && exit 69; }
# shellcheck source=tests/postgres.bash
. "$here/../postgres.bash"

work=$(mktemp -d "$BUILD/jobs.XXXXXX")
trap 'postgres_stop; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

modules=${MODULES:-$work/modules}
mkdir -p "$modules"
cd "$modules"
if [ ! -d node_modules ]; then
    echo '{"private":true}' >package.json
    npm install --no-audit --no-fund node@22 pg-boss@12 graphile-worker@0.18 pg >&2
fi
export PATH="$modules/node_modules/.bin:$PATH"

version() { sed -n 's/^ *"version": "\(.*\)",*/\1/p' "node_modules/$1/package.json"; }

postgres_start
[ -z "${NO_POSTGRES:-}" ] || { echo "jobs.sh: $NO_POSTGRES" >&2 && exit 69; }
export PGHOST=$POSTGRES_DIR PGUSER=tester PGDATABASE=postgres
psql -qX -c 'ALTER SYSTEM SET fsync = on' -c 'ALTER SYSTEM SET full_page_writes = on' \
    -c "ALTER SYSTEM SET checkpoint_timeout = '5min'" -c 'SELECT pg_reload_conf()' >/dev/null
gen "$n" >"$work/jobs"

fresh() {
    psql -qX -d postgres -c 'DROP DATABASE IF EXISTS jobs' -c 'CREATE DATABASE jobs' 2>/dev/null
    export PGDATABASE=jobs
}

# spent: hundredths of a second of CPU so far, of all that ran here and of the server's sessions that
# have ended; those of ours end at once.
spent() {
    sleep 0.5
    awk '{ ticks += $16 + $17 } END { print ticks }' "/proc/$$/stat" "/proc/$(head -n 1 "$POSTGRES_DIR/data/postmaster.pid")/stat"
}

vacuum() { psql -qX -c 'VACUUM ANALYZE' -c CHECKPOINT; }

# per_second SECONDS COUNT
per_second() { awk -v s="$1" -v n="$2" 'BEGIN { printf "%d\n", n / s }'; }

# peer NAME PROCESSES: notes its figures.
peer() {
    local i published before
    fresh
    node "$here/jobs.mjs" "$1" init
    published=$(node "$here/jobs.mjs" "$1" publish "$work/jobs" | awk '{ printf "%d", $3 / ($2 - $1) * 1000 }')
    vacuum
    before=$(spent)
    for ((i = 0; i < $2; i++)); do
        node "$here/jobs.mjs" "$1" consume &
    done >"$work/times"
    wait
    awk -v cpu=$(($(spent) - before)) -v published="$published" -v n="$n" -v name="$1 $(version "$1"), processes: $2" '
        NR == 1 || $1 < begun { begun = $1 }
        $2 > ended { ended = $2 }
        { count += $3 }
        END {
            if (count != n) { print "jobs.sh: " name ": " count " of " n " jobs were consumed" | "cat >&2"; exit 1 }
            printf "%s\t%d\t%d\t%d\n", name, published, count / (ended - begun) * 1000, cpu * 1e4 / n
        }' "$work/times" | tee -a "$work/figures" >&2
}

# ours TITLE COUNT ARGUMENT...: notes the figures of a group of its own.
ours() {
    local title=$1 count=$2 seconds before
    shift 2
    before=$(spent)
    seconds=$(measure consume -s "$spool" -g "$RANDOM" --from 1 -n "$count" "$@" 2>>"$work/said")
    printf '%s\t%s\t%s\t%s\n' "$title" "$published" "$(per_second "${seconds% *}" "$count")" \
        $((($(spent) - before) * 10000 / count)) | tee -a "$work/figures" >&2
}

# shellcheck disable=SC2016 # Markdown
eventutils() {
    local spool="postgresql://tester@/jobs?host=$POSTGRES_DIR" published
    fresh
    spool init -s "$spool" 2>>"$work/said"
    published=$(measure publish -s "$spool" "$work/jobs" 2>>"$work/said")
    published=$(per_second "${published% *}" "$n")
    vacuum
    ours 'eventutils, `--workers -- worker`, in C' "$n" --workers -- worker
    ours 'eventutils, `--workers -- node worker`' "$n" --workers -- node "$here/jobs.mjs" worker
    ours 'eventutils, `-j 2 -- true`, a process for each event' "$handled" -j 2 -- true
}

for ((round = 1; round <= rounds; round++)); do
    eventutils
    for name in pg-boss graphile-worker; do
        peer "$name" 1
        peer "$name" 2
    done
done

echo "$n jobs of $(($(wc -c <"$work/jobs") / n)) bytes, medians of $rounds rounds, $(nproc) cores," \
    "PostgreSQL $(psql -qAtX -c 'SHOW server_version' | cut -d' ' -f1), Node.js $(node --version | tr -d v)."
echo
awk -F'\t' '
    function median(list, name,   i, j, t, sorted) {
        for (i = 1; i <= count[name]; i++) sorted[i] = list[name, i]
        for (i = 2; i <= count[name]; i++)
            for (j = i; j > 1 && sorted[j - 1] > sorted[j]; j--) { t = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = t }
        return sorted[int((count[name] + 1) / 2)]
    }
    !($1 in count) { order[++names] = $1 }
    { count[$1]++; published[$1, count[$1]] = $2; consumed[$1, count[$1]] = $3; cpu[$1, count[$1]] = $4 }
    END {
        print "| | publish, 1/s | consume, 1/s | CPU to consume one, µs |"
        print "|---|---:|---:|---:|"
        for (i = 1; i <= names; i++)
            printf "| %s | %d | %d | %d |\n", order[i], median(published, order[i]), median(consumed, order[i]),
                median(cpu, order[i])
    }' "$work/figures"

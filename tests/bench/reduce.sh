#!/bin/bash
# reduce.sh: a subject of a million events, reduced from its beginning, beside replay | jq with the same
# program; and again with a snapshot, when there is little to do, beside starting jq alone.
#
#     BUILD=folder [EVENTS=1000000] [ROUNDS=3] tests/bench/reduce.sh
set -euo pipefail

: "${BUILD:?}"
events=${EVENTS:-1000000}
rounds=${ROUNDS:-3}

work=$(mktemp -d "$BUILD/bench.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for name in "${!EVENT_@}"; do unset "$name"; done
export LC_ALL=C.UTF-8 PATH="$BUILD/bin:$BUILD/bench:$PATH" EVENT_SPOOL=$work/spool.db
cd "$work"

{ echo null && echo '{"data":{"cents":1}}'; } >input
# shellcheck disable=SC2016 # jq's
echo 'input as $state | reduce inputs.data as $d ($state // {n: 0, cents: 0}; .n += 1 | .cents += $d.cents)' >sum.jq
seq "$events" | sed 's/.*/{"cents":&,"note":"what a deposit says besides"}/' |
    publish -t account.deposited -k account-7 --expect-version any 2>/dev/null
# As many of other subjects, which must not cost anything.
seq "$events" | sed 's/.*/{"type":"account.deposited","subject":"account-&","data":{"cents":1}}/' | publish

reducer=(jq -c -n -f sum.jq)
fresh() { measure -p reduce -k account-7 --snapshot-every 0 -- "${reducer[@]}"; }
counted() { measure -p reduce -k account-7 --snapshot-every 0 -- wc -l; }
merged() { measure -p reduce -k account-7 --snapshot-every 0; }
# shellcheck disable=SC2016 # the inner shell expands
piped() { measure -p sh -c '{ echo null; replay -k account-7; } | "$@"' sh "${reducer[@]}"; }
again() { measure -n 20 reduce -k account-7 -- "${reducer[@]}"; }
nothing() { measure -n 20 reduce -k account-7 --snapshot-every 1000 -- "${reducer[@]}"; }
# shellcheck disable=SC2016
bare() { measure -n 20 sh -c 'exec "$@" <input' sh "${reducer[@]}"; }

# best WORK: the shortest of the rounds, in seconds, and the memory
best() {
    for ((i = 0; i < rounds; i++)); do "$1"; done | sort -n | head -n 1
}

row() { # TITLE OURS BARE GOAL
    awk -v title="$1" -v ours="$2" -v bare="$3" -v goal="$4" 'BEGIN {
        split(ours, o); split(bare, b)
        printf "%-44s %9.1f ms %9.1f ms  %5.2f  %5.1f MiB  %s\n", title, o[1] * 1000, b[1] * 1000,
            o[1] / b[1], o[2] / 1024, goal
    }'
}

printf '%-44s %12s %12s\n' "reduce, $events events, best of $rounds" ours beside
row 'from the beginning, beside replay | jq' "$(best fresh)" "$(best piped)" '<= 1.05'
row 'the same with wc -l, beside with jq' "$(best counted)" "$(best fresh)" ''
row 'the merge, beside replay | jq' "$(best merged)" "$(best piped)" '<= 1'
reduce -k account-7 -- "${reducer[@]}" >first
publish -t account.deposited -k account-7 --expect-version any -d '{"cents":1}'
row 'a snapshot and an event, beside jq alone' "$(best again)" "$(best bare)" '< + 20 ms'
reduce -k account-7 --snapshot-every 1 -- "${reducer[@]}" >second
row 'a snapshot and nothing new, beside jq alone' "$(best nothing)" "$(best bare)" '< 20 ms'
cat first second

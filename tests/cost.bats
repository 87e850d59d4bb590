# How long others wait: the work of a transaction under the write lock is proportional to what it
# changes, however much else is in the spool, and it changes about a thousand rows at most. A
# preloaded library counts both; no time is measured.
load helper

setup() {
    helper_setup
    [ -e "$BUILD/fault/cost.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
}

cost() { env PATH="$hooked" LD_PRELOAD="$BUILD/fault/cost.so" COST_LOG="$PWD/costs" "$@"; }

# flat SCENARIO DEPTH [ROWS]: the function with this name works at a tenth of the depth and at the whole of
# it, in a folder of its own. Steps for each row that changes may not grow with the depth, except for
# what a deeper tree takes; and no transaction changes more than so many rows.
flat() {
    local depth low=$(($2 / 10))
    for depth in $low "$2"; do
        mkdir "$depth"
        cd "$depth" || return
        export EVENT_SPOOL=$PWD/spool.db
        "$1" "$depth" >out 2>&1 || { tail -n 5 out && return 1; }
        cd ..
    done
    # A transaction that changes little has its fixed costs.
    most() { awk '{ per = $1 / ($2 + 20); if (per > most) most = per } END { print most + 0 }' "$1"; }
    awk -v low="$(most "$low/costs")" -v high="$(most "$2/costs")" 'BEGIN {
        print "steps a row: " low ", " high; exit !(low > 0 && high < 1.5 * low) }'
    awk -v rows="${3:-2100}" '$2 > most { most = $2 } END { print "rows: " most; exit most > rows }' "$2/costs"
}

# Answers each event with the same outcome.
answer() { # STATUS
    printf '%s\n' '#!/bin/sh' "exec sed -u 's/.*\\(\"id\":\"[^\"]*\"\\).*/{\\1,\"status\":\"$1\"}/'" >answer
    chmod +x answer
}

dead() { # N [ARG...]: dead letters in g
    local n=$1
    shift
    answer dead
    seq "$n" | publish -t a "$@"
    consume -g g --from start --workers -- ./answer || [ $? -eq 1 ]
}

behind_one() {
    seq "$1" | publish -t a -k s
    consume -g g --from start --ordered --backoff 1h -n 1 -- false
    cost consume -g g -- true
    [ "$(spool group show g | jq .waiting)" -eq "$1" ]
}
@test "cost: putting an event behind its subject costs the same, however many are there" {
    flat behind_one 2000
}

behind_dead() {
    consume -g g --from start --ordered -- true
    dead "$1" -k s
    publish -t a -k s -d 0 --delay 1h
    seq "$1" | publish -t a -k s
    cost consume -g g -- true
    [ "$(spool group show g | jq -c '[.waiting,.dead]')" = "[$(($1 + 1)),$1]" ]
    cost dlq retry --all
    [ "$(consume -g g -n 20 -- printenv EVENT_SEQ | paste -sd,)" = "$(seq 20 | paste -sd,)" ]
}
@test "cost: dead letters of its subject cost an event nothing, and are requeued before it" {
    flat behind_dead 1000
}

one_after_the_other() {
    seq "$1" | publish -t a -k s
    consume -g g --from start --ordered --backoff 0 -n 1 -- false
    cost consume -g g -n 20 -- true
    [ "$(spool group show g | jq .lag)" -eq $(($1 - 20)) ]
}
@test "cost: the next of a subject is found at once, however many wait behind it" {
    flat one_after_the_other 2000
}

retry_unordered() {
    dead "$1"
    cost dlq retry --all
    [ "$(wc -l <costs)" -eq $((($1 + 499) / 500)) ] # a letter and its attempt
    cost consume -g g --workers -- ./answer || [ $? -eq 1 ]
    cost dlq drop --all
    [ -z "$(dlq list)" ]
}
@test "cost: dlq retry and drop --all take each letter by itself, in transactions of a thousand rows" {
    flat retry_unordered 1000
}

waiting() { # N [ARG...]
    seq "$1" | publish -t a -k s --delay 1h
    consume -g g --from start "${@:2}" -- true
}

change_group() {
    waiting "$1"
    cost spool group set g --ordered
    [ "$(spool sql "SELECT count(*) AS n FROM waiting WHERE state='behind'" | jq .n)" -eq $(($1 - 1)) ]
    cost spool group set g --unordered
    [ "$(spool sql "SELECT count(*) AS n FROM waiting WHERE state='behind'" | jq .n)" -eq 0 ]
    cost spool group seek g 2
    [ "$(spool group show g | jq -c '[.position,.lag,.waiting]')" = "[1,$(($1 - 1)),0]" ]
    consume -g g -- true
    cost spool group drop g
    [ "$(spool group)" = '' ]
}
@test "cost: spool group set, seek and drop work in small steps" {
    flat change_group 2000
}

prune_ordered() {
    waiting "$1" --ordered
    seq 10 | publish -t a -k s
    cost spool prune --keep 5 --force
    [ "$(spool group show g | jq -c '[.lag,.waiting]')" = '[5,0]' ]
    [ "$(consume -g g -- printenv EVENT_SEQ | wc -l)" -eq 5 ]
}
@test "cost: spool prune --force, and what groups remember of it" {
    flat prune_ordered 2000
}

prune_kept() {
    waiting "$1"
    seq "$1" | publish -t a
    consume -g g --auto-ack
    cost spool prune --keep 0
    [ "$(replay -g g | wc -l)" -eq "$1" ]
}
@test "cost: spool prune, of events that are kept and that are not" {
    flat prune_kept 2000
}

leases() {
    seq "$1" | publish -t a
    consume -g g --from start --lease 1h | cat
    echo 7200 >steady
    LD_PRELOAD="$BUILD/fault/world.so $BUILD/fault/cost.so" WORLD_STEADY=$PWD/steady COST_LOG=$PWD/costs \
        "$BUILD/hooked/consume" -g g -n 1 --auto-ack | cat
    [ "$(spool group show g | jq -c '[.lag,.in_flight]')" = "[$(($1 - 1)),0]" ]
}
@test "cost: expired leases, a thousand events at a time" {
    flat leases 2000
}

# Two consumers whose reader does not read: each has claimed what a pipe may, and is killed.
killed() {
    local held=$1 pids=()
    seq "$1" | jq -c --arg long "$(printf %600d 0)" '[., $long]' | publish -t a
    consume -g g --from start --to 0 -- true
    mkfifo pipe
    exec 9<>pipe
    for _ in 1 2; do
        background consume -g g --auto-ack >pipe 9>&-
        pids+=("$pid")
    done
    all_held() { [ "$(spool group show g | jq .in_flight)" -eq "$held" ]; }
    wait_for all_held
    kill -KILL "${pids[@]}"
    wait "${pids[@]}" || true
    exec 9>&-
    cost consume -g g -n 1 --auto-ack | cat
    [ "$(spool group show g | jq -c '[.lag,.in_flight]')" = "[$((held - 1)),0]" ]
}
@test "cost: claims of killed consumers, a thousand events at a time" {
    flat killed 2000 1100
}

@test "cost: statistics from a user's ANALYZE change nothing" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to run ANALYZE in'
    seq 500 | publish -t a -k s
    cost publish -t a -d 501
    mv costs without
    # The figures of a spool with next to nothing in it: SQLite would scan.
    sqlite3 spool.db "ANALYZE; DELETE FROM sqlite_stat1; INSERT INTO sqlite_stat1 VALUES('event','event_id','2 1 1')"
    cost publish -t a -d 502
    diff without costs
}

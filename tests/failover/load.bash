# load: what rounds and patroni share: the clients, and the checker.
#
# All processes end by themselves once there is a file "over". The file "stamp" has a number: odd
# while a fault has its effect. A delivery writes it down: one that is repeated under the same even
# number has no fault to explain it.
#
# Who sources it has set fault and rounds, and defines a function fault_NAME for each fault, and on
# (run SQL on a server). run, before a command, is where clients run.
# shellcheck disable=SC2154 # set by those
# shellcheck disable=SC2016 # scripts have variables of their own
# shellcheck disable=SC2046 # processes are words
# shellcheck disable=SC2015,SC2034,SC2094
run=()
pids=()
declare -A consumer # by group: the process

wait_for() {
    local tries=4000
    until "$@"; do
        [ $((tries -= 1)) -gt 0 ] || { echo "waited in vain for: $*" >&2 && return 1; }
        sleep 0.05
    done
}

# ------------------------------------------------------------------------------------------ clients

scripts() {
    # A handler: write down what came.
    printf '%s\n' '#!/bin/sh' 'read -r stamp <stamp' 'echo "$EVENT_ID $stamp" >>"seen.$1"' >note
    # The same in an ordered group, where nobody else is at it.
    printf '%s\n' '#!/bin/bash' 'read -r stamp <stamp' 'exec 9>>turn' 'flock -n 9 || echo "$EVENT_ID $stamp" >>overlap' \
        'echo "$EVENT_ID $stamp $EVENT_SUBJECT $EVENT_SEQ" >>seen.ordered' >in_turn
    # Lines of events: write down, and answer, emit or pass on.
    cat >lines <<'END'
#!/bin/bash
while IFS= read -r line; do
    [[ $line =~ \"id\":\"([^\"]*)\" ]] && id=${BASH_REMATCH[1]}
    read -r stamp <stamp
    echo "$id $stamp" >>"seen.$1"
    case $2 in
    pass) echo "$line" ;;
    answer) echo "{\"id\":\"$id\"}" ;;
    emit) echo "{\"id\":\"$id\",\"out\":{\"type\":\"made\",\"data\":1}}" ;;
    esac
done
END
    chmod +x note in_turn lines
}

publish_one() { # NAME
    local i
    for ((i = 1; ; i++)); do
        echo "$1-$i" >>tried
        until [ -e over ] || publish -t one -k "$1-$((i % 3))" --id "$1-$i" -d "$i" 2>>said; do sleep 0.1; done
        [ ! -e over ] || return 0
        echo "$1-$i" >>"acknowledged.$1"
        sleep 0.05
    done
}

publish_many() { # NAME
    local i
    touch "acknowledged.$1"
    until [ -e over ]; do
        i=$(wc -l <"acknowledged.$1")
        until [ -e over ]; do
            for ((k = 0; k < 20; k++)); do
                echo "$1-$((i += 1))" >>tried
                echo "{\"n\":\"$1-$i\"}"
            done
            sleep 0.2
        done 2>/dev/null | publish -t many --id-from /n --echo 2>>said |
            jq --unbuffered -r .id >>"acknowledged.$1" || true
    done
}

start() { # NAME COMMAND...
    set -m
    "${run[@]}" "${@:2}" 2>>said 3>&- &
    set +m
    consumer[$1]=$!
}

consumers=(plain ordered ordered2 workers emit once)
consume_as() { # NAME
    case $1 in
    plain) start plain consume -g plain -t one --from start -f -j 2 -- ./note plain ;;
    ordered*) start "$1" consume -g ordered -t one --from start -f --ordered -- ./in_turn ;;
    workers) start workers consume -g workers --from start -t many -t one -f -j 2 --workers -- ./lines workers answer ;;
    emit) start emit consume -g emit --from start -t many -t one -f --emit --workers -- ./lines emit emit ;;
    once) start once consume -g once -t one --from start -f -- once -- ./note once ;;
    esac
}

lease_loop() {
    until [ -e over ]; do
        consume -g lease --from start -t many -f --lease 20s 2>>said | ./lines lease pass | settle -g lease 2>>said || true
    done
}

publishers=()
load_begins() {
    local name
    touch tried said overlap
    echo 0 >stamp
    export -f publish_one publish_many lease_loop
    "${run[@]}" spool init 2>>said
    for name in plain ordered workers emit once lease read; do touch "seen.$name"; done
    for name in "${consumers[@]}"; do consume_as "$name"; done
    start reader sh -c 'exec replay -f -t one -t many | jq --unbuffered -r .id >>seen.read'
    start lease bash -c lease_loop
    for name in a b; do start "$name" bash -c "publish_one $name" && publishers+=("${consumer[$name]}"); done
    for name in c d; do start "$name" bash -c "publish_many $name" && publishers+=("${consumer[$name]}"); done
    goes_on
}

lines() { # FILE
    wc -l <"$1"
}

longer() { # FILE LINES
    [ "$(lines "$1")" -gt "$2" ]
}

# Everybody publishes and gets something.
goes_on() {
    local file
    declare -A before
    for file in seen.* acknowledged.[abcd]; do [ ! -e "$file" ] || before[$file]=$(lines "$file"); done
    for file in seen.* acknowledged.[abcd]; do wait_for longer "$file" "${before[$file]:-0}"; done
}

group_is_done() { # GROUP
    spool group show "$1" -o ndjson 2>/dev/null | jq -e '.lag + .due + .waiting + .in_flight == 0' >/dev/null
}

load_ends() {
    local name pid
    touch over
    for pid in "${publishers[@]}"; do wait "$pid" || true; done
    for name in plain ordered workers emit once; do wait_for group_is_done "$name"; done
    wait_for reader_is_done
    for name in "${!consumer[@]}"; do kill -TERM -- "-${consumer[$name]}" 2>/dev/null || true; done
    for name in "${consumers[@]}"; do
        wait "${consumer[$name]}" || echo "the consumer $name ended with $?" >>unexpected
    done
    for pid in "${consumer[@]}" "${pids[@]}"; do wait "$pid" || true; done
    wait_for lease_is_done
}

reader_is_done() {
    [ "$(lines seen.read)" -ge "$(replay -t one -t many -o positions | wc -l)" ]
}

lease_is_done() {
    consume -g lease --lease 20s 2>>said | ./lines lease pass | settle -g lease 2>>said
    group_is_done lease
}

# ------------------------------------------------------------------------------------------ checker

unexpected() { # WHAT FILE: each line of it
    sed "s/^/$1: /" "$2" >>unexpected
}

# Deliveries of a group: all that it should have, twice only where a fault explains it.
check_group() { # GROUP STORED
    cut -d' ' -f 1 "seen.$1" | sort -u >handled
    comm -23 "$2" handled | sed "s/^/$1 has not seen /" >>lost
    comm -13 "$2" handled >odd && unexpected "$1 has seen" odd
    awk '$1 in last && last[$1] == $2 && $2 % 2 == 0 { print $1, "under", $2 } { last[$1] = $2 }' "seen.$1" >odd
    unexpected "$1 has seen twice without a fault" odd
    doubled=$((doubled + $(lines "seen.$1") - $(lines handled)))
}

check() {
    local group
    doubled=0
    touch lost unexpected
    replay -t one -t many | jq -r .id >log
    sort log >stored
    replay -t one | jq -r .id | sort >stored.one
    sort tried | uniq >tried.all
    cat acknowledged.? | sort -u >acknowledged
    comm -23 acknowledged stored | sed 's/^/acknowledged, not stored: /' >>lost
    uniq -d stored >odd && unexpected 'stored twice' odd
    comm -13 tried.all stored >odd && unexpected 'nobody published' odd
    diff log seen.read >odd || unexpected 'who followed has read otherwise' odd
    for group in plain ordered once; do check_group "$group" stored.one; done
    for group in workers emit; do check_group "$group" stored; done
    grep -v '^[ab]' stored >stored.many
    check_group lease stored.many
    replay -t made | jq -r .causationid | sort >made
    uniq -d made >odd && unexpected 'emitted twice for' odd
    comm -23 stored made | sed 's/^/nothing was emitted for /' >>lost
    awk '!($1 in first) { first[$1]; if ($4 < last[$3]) print; last[$3] = $4 }' seen.ordered >odd
    unexpected 'out of order' odd
    unexpected 'two at once' overlap
    [ "$(replay -o positions | tail -n 1)" -eq "$(replay | wc -l)" ] || echo 'gaps in the positions' >>unexpected
    grep -h 'please report it\|damaged' said >odd && unexpected 'said' odd
    cat lost unexpected >&2
    printf '| %s | %s | %s | %s | %s | %s |\n' "$fault" "$rounds" "$(lines acknowledged)" "$(lines lost)" "$doubled" "$(lines unexpected)"
    [ ! -s lost ] && [ ! -s unexpected ]
}

# ---------------------------------------------------------------------------------------------- all

# The spool's address, on these servers.
address() { # SERVERS...
    local n hosts='' ports=''
    for n; do hosts+=,$host ports+=,543$n; done
    echo "postgresql://tester@/postgres?host=${hosts#,}&port=${ports#,}&target_session_attrs=read-write#storm"
}

main_process() { # N
    head -n 1 "$POSTGRES_DIR/data$1/postmaster.pid"
}

all_of() { # N: its processes
    local main
    main=$(main_process "$1")
    echo "$main" $(pgrep -P "$main")
}

# What is asked of a primary that was replaced hangs, and takes no effect; the others go on at the
# new one.
ask_isolated() { # N
    (
        set -m
        EVENT_SPOOL=$(address "$1")
        publish -t one --id "isolated-$round" -d 0 >isolated.out 2>>said && echo "the isolated primary acknowledged" >>unexpected &
        consume -g isolated --from start -n 1 -- touch isolated.ran >>said 2>&1 &
        consume -g plain -n 1 -- touch isolated.ran >>said 2>&1 &
        once -k "isolated-$round" -- touch isolated.ran >>said 2>&1 &
        wait_for all_wait "$1"
        for job in $(jobs -p); do kill -KILL -- "-$job"; done # or publish tries on, and succeeds at last
    ) 2>/dev/null
    [ ! -e isolated.ran ] || echo 'the isolated primary handed out' >>unexpected
}

# Those of its sessions that are at work wait: for its standby, or for who does.
all_wait() { # N
    [ "$(on "$1" "SELECT count(*) >= 4 AND bool_or(wait_event = 'SyncRep') FROM pg_stat_activity
        WHERE application_name = 'eventutils' AND wait_event IN ('SyncRep', 'advisory')")" = t ]
}

stamp() {
    echo $(($(cat stamp) + 1)) >stamp.new && mv stamp.new stamp
}

# Do it ROUNDS times, and check. EVENT_SPOOL is the spool as the clients see it.
load_all() { # [SPOOL]: as we see it
    export EVENT_SPOOL
    scripts
    load_begins
    for ((round = 1; round <= rounds; round++)); do
        stamp
        "fault_$fault"
        goes_on
        stamp
        goes_on
    done
    EVENT_SPOOL=${1:-$EVENT_SPOOL}
    load_ends
    check
}

load_leave() {
    local pid
    touch over
    for pid in "${pids[@]}" "${consumer[@]}"; do kill -KILL -- "-$pid" || kill -KILL "$pid"; done 2>/dev/null
}

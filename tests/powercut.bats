load helper

# What is left when the machine loses power: of data written but not synced, any part. A shim
# records all writes (tests/fault/powercut.c), tests/powercut-images makes from the record what a
# disk could hold at any moment, and the promises are checked on each of these disks. LONG=1: a
# thousand of them.

setup() {
    [ -e "$BUILD/fault/powercut.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
    helper_setup
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    images=${LONG:+1000}
    : "${images:=30}"
}

# on NAME COMMAND...: with its calls in the record, and its output there under NAME
on() {
    local name=$1
    shift
    PATH=$hooked LD_PRELOAD=$BUILD/fault/powercut.so POWERCUT_LOG=$BATS_TEST_TMPDIR/record POWERCUT_AS=$name \
        "$@" >>"out.$name" 2>>errors
}

events() { # FROM TO
    seq -f '{"type":"n","id":"e%05g"}' "$1" "$2" | on publish publish --echo
}

# begin: the record begins with what there is now.
begin() {
    rm record
    mkdir before
    cp spool.db before/
    [ ! -e spool.db-wal ] || cp spool.db-wal before/
}

# work N: publishers and consumers take turns
work() {
    local i at=10
    for ((i = 0; i < $1; i++)); do
        events $((at + 1)) $((at + 1 + i * 7 % 40))
        at=$((at + 1 + i * 7 % 40))
        on pipe consume -g pipe --from start --auto-ack
        on - consume -g handler --from start -n $((i % 9 + 1)) -a 1 -- sh -c 'case $EVENT_ID in *7) exit 65 ;; esac' ||
            [ $? -eq 1 ]
        case $((i % 5)) in
        2) on - dlq retry -g handler --all ;;
        4) on - spool prune --keep 60 ;;
        esac
    done
}

# ids FILE...: of whole lines; the last may have been cut
ids() {
    sed -n 's/^{.*"id":"\(e[0-9]*\)".*}$/\1/p' "$@" | sort -u
}

# holds IMAGE: the promises
holds() {
    export EVENT_SPOOL=$PWD/$1/spool.db
    touch "$1/publish.said" "$1/pipe.said"
    case $((${1##*/} % 3)) in # the index of the WAL is of no use, and may be anything
    1) head -c 32768 /dev/urandom >"$EVENT_SPOOL-shm" ;;
    2) head -c 32768 /dev/zero >"$EVENT_SPOOL-shm" ;;
    esac
    chmod 600 "$1"/spool.db*
    spool check >"$1/check" 2>&1 || complain "$1" 'is damaged' "$1/check"
    replay --from start >"$1/replay" || complain "$1" 'cannot be read' /dev/null
    ids "$1/replay" >"$1/there"
    # What was said to be there is there; older ones may have been pruned.
    ids "$1/publish.said" | tail -n 60 | comm -23 - "$1/there" >"$1/lost"
    [ ! -s "$1/lost" ] || complain "$1" 'has lost events' "$1/lost"
    # What the pipe has not got yet comes now.
    consume -g pipe --from start --auto-ack >"$1/rest" || complain "$1" 'cannot be consumed' /dev/null
    ids "$1/pipe.said" "$1/rest" | comm -13 - "$1/there" >"$1/skipped"
    [ ! -s "$1/skipped" ] || complain "$1" 'skips events' "$1/skipped"
    # What the handlers have not got comes too, and all goes on.
    consume -g handler --from start --auto-ack >/dev/null || complain "$1" 'holds on to a claim' /dev/null
    [ "$(spool group show handler -o ndjson | jq -c '[.lag, .in_flight]')" = '[0,0]' ] ||
        complain "$1" 'has a group that does not end' /dev/null
    publish -t n --id after -d 1 || complain "$1" 'takes no event' /dev/null
}

complain() { # IMAGE WHAT FILE
    echo "SEED=$seed: ${1##*/} $2" >&2
    head -n 5 "$3" >&2
    return 1
}

all_hold() {
    local i
    mkdir images
    "$TOP/tests/powercut-images" record before images "$seed" "$images"
    set +T
    for ((i = 1; i <= images; i++)); do
        holds "images/$i"
        rm -rf "images/$i"
    done
    set -T
}

@test "power cut: what publish acknowledged is there, and no group has passed an event that it did not get" {
    events 1 10
    begin
    work 30
    all_hold
}

@test "power cut: the same while another process keeps the spool open, and its WAL grows" {
    events 1 10
    background replay -f >followed
    wait_for test -s followed
    begin
    work 30
    all_hold
}

@test "power cut: control: on a disk that only claims to sync, acknowledged events are lost" {
    events 1 10
    background replay -f >followed
    wait_for test -s followed
    begin
    work 10
    mkdir images
    "$TOP/tests/powercut-images" --lying record before images "$seed" 30
    for image in images/*; do
        touch "$image/publish.said"
        replay -s "$image/spool.db" >"$image/replay" 2>/dev/null || true
        ids "$image/replay" >"$image/there"
        ids "$image/publish.said" | comm -23 - "$image/there"
    done >lost
    [ -s lost ]
}

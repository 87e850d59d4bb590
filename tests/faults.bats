load helper

# What a kill or a failing call in any place leaves behind. A shim (tests/fault/fail.c) lets the n-th
# call that changes the world fail, n = 1, 2, 3 … until a run gets through without; each time the
# promises are looked at. The runs of a test share a spool, so that each also meets what the one
# before it left.

setup() {
    [ -e "$BUILD/fault/fail.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
    helper_setup
    : >in
}

# hit KIND N COMMAND...: its N-th call fails, KIND says how (fail.c). Its input is the file in, its
# output out and errors. Afterwards its status is in $status and the call in $met, empty when N is
# behind the last one.
hit() {
    local kind=$1 n=$2
    shift 2
    : >met
    status=0
    { LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=$kind FAULT_AT=$n FAULT_LOG=met \
        "$@" <in >out 2>errors; } 2>/dev/null || status=$?
    met=
    read -r met <met || true
}

complain() {
    echo "$tag ($met), status $status: $*" >&2
    cat errors >&2
    return 1
}

# The status and the message fit the fault.
check_status() {
    local said
    IFS= read -r said <errors || said=
    case ${tag%%[+-]*}:$status in
    kill:137 | torn:137 | short:0 | eio:0 | enospc:0 | eintr:0 | enolck:0) ;;
    enolck:75 | eintr:74 | eio:74 | enospc:74 | enolck:74)
        [[ $said == *": $EVENT_SPOOL"* || $said == *": cannot write to stdout: "* ]] ||
            complain 'the message does not name the spool'
        [[ $said != *Success* ]] || complain 'the message names success as the reason'
        ;;
    *) complain 'not a status for that' ;;
    esac
}

# sweep "KIND..." COMMAND...: for each kind and n, the functions before and after, and in between
# the command under fault. $tag names the round.
sweep() {
    local kinds=$1 kind n
    shift
    for kind in $kinds; do
        for ((n = 1; ; n++)); do
            tag=$kind-$n
            before
            hit "$kind" "$n" "$@"
            [ -n "$met" ] || break
            check_status
            after
        done
        after
        [ "$status" -eq 0 ] || complain 'no fault, and still it failed'
        [ "$n" -gt 5 ] || complain "only $n faults"
    done
}

# ids FILE: of the events in it, in lines that are whole
ids() {
    local line
    while IFS= read -r line; do
        [[ ! $line =~ \"id\":\"([^\"]*)\" ]] || echo "${BASH_REMATCH[1]}"
    done <"$1"
}

# three_events: as input, with ids that name the round
three_events() {
    printf '{"type":"n","id":"%s"}\n' "$tag.1" "$tag.2" "$tag.3" >in
}

# The log has what was acknowledged, nothing twice, and of each three all or none.
check_log() {
    replay -t n >log
    ids log | sort >stored
    [ -z "$(uniq -d stored)" ]
    [ -s acknowledged ]
    sort -u acknowledged | comm -23 - stored >lost
    [ ! -s lost ] || {
        echo "acknowledged and lost: $(cat lost)" >&2
        return 1
    }
    run -0 awk '{ sub(/\.[0-9]$/, ""); n[$0]++ } END { for (i in n) if (n[i] != 3) print i, n[i] }' stored
    [ -z "$output" ]
    intact
}

intact() {
    command -v sqlite3 >/dev/null || return 0
    [ "$(sqlite3 "$EVENT_SPOOL" 'PRAGMA integrity_check')" = ok ]
}

acknowledge() {
    ids out >now
    [ "$status" -ne 0 ] || [ "$(cat now)" = "$tag.1"$'\n'"$tag.2"$'\n'"$tag.3" ] ||
        complain 'not all was echoed'
    cat now >>acknowledged
}

# --- publish

@test "faults: what publish acknowledged survives a fault in any call, and the next one needs no help" {
    publish -t before -d 1
    before() { three_events; }
    after() {
        acknowledge
        publish -t after -d 1 || complain 'the next publish failed'
    }
    sweep 'kill torn eio eio+ enospc enospc+ eintr short+ enolck' publish --echo
    check_log
    run -0 consume -g g -t n --from start --auto-ack
    [ "$output" = "$(cat log)" ]
}

@test "faults: publish killed again and again, also while it recovers from the last time" {
    publish -t before -d 1
    before() { three_events; }
    after() { acknowledge; }
    sweep 'kill torn kill' publish --echo
    check_log
}

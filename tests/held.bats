# No command waits for another process while it keeps others from writing to the spool: neither for
# input nor for the reader of its output. A shim (tests/fault/held.c) aborts a command that does.
load helper

needs_held() {
    [ -e "$BUILD/fault/held.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
}

# held COMMAND...: under the shim, with what it starts. It has locked the spool, and never waited.
held() {
    local status=0
    : >held
    PATH=$hooked LD_PRELOAD=$BUILD/fault/held.so HELD_LOG=$BATS_TEST_TMPDIR/held "$@" || status=$?
    ! grep 'under the lock' held >&2 || return 1
    grep -q 'locked [1-9]' held || {
        echo "never locked the spool: $*" >&2
        return 1
    }
    return "$status"
}

@test "publish: while it waits for its next file, others publish" {
    seq 3 >in
    mkfifo f
    background publish -t a in f
    exec 8>f # it has come that far
    run -0 timeout 60 publish -t b -d 4
    [ "$(replay | jq .data | paste -sd' ')" = '1 2 3 4' ]
    echo 5 >&8
    exec 8>&-
    ends_with 0 "$pid"
    [ "$(replay | jq .data | paste -sd' ')" = '1 2 3 4 5' ]
}

@test "settle: while it waits for its next file, others publish" {
    seq 3 | publish -t a
    consume -g g --from start --lease 1h >out
    head -n 1 out >in
    mkfifo f
    background settle -g g in f
    exec 8>f
    run -0 timeout 60 publish -t b -d 4
    [ "$(spool group show g -o ndjson | jq .in_flight)" -eq 2 ]
    tail -n 2 out >&8
    exec 8>&-
    ends_with 0 "$pid"
}

@test "publish: two processes that read the same pipe never wait for it with the spool locked" {
    needs_held
    both() { publish -t a & publish -t a && wait; }
    export -f both
    seq 20000 | held bash -c both
    [ "$(replay | jq .data | sort -n)" = "$(seq 20000)" ]
}

@test "commands that read and write wait for no one with the spool locked" {
    needs_held
    seq 2500 >in
    held publish -t a in - in < <(seq 3)
    seq 2500 | held publish -t a --echo | wc -l >count
    held publish -t a --atomic in
    held publish -t a --max-pending 100000 --rejects bad in
    echo '[1]' >data
    held publish -t a -k k --expect-version any -d @data </dev/null
    held consume -g g --from start -n 20 --emit -- echo '{"type":"b"}'
    held consume -g g -n 20 -j 4 -- cat >out
    held consume -g g -n 20 --workers -- sed -u 's/.*"id":"\([^"]*\)".*/{"id":"\1"}/'
    held sh -c 'consume -g g -n 50 --lease 1h | settle -g g'
    held consume -g g -n 50 --lease 1h >out
    { echo none && head -n 20 out && echo '{' && tail -n 30 out; } >in
    held sh -c 'settle -g g in 2>&1 | cat' >said
    [ "$(wc -l <said)" -eq 2 ]
    held consume -g g -n 50 --auto-ack | wc -l >count
    held consume -g g -n 3 -a 1 -- false 2>said || [ $? -eq 1 ]
    held dlq retry -g g --all
    echo '{"id":"lamp","initial":"off","states":{"off":{"on":{"flip":"on"}},"on":{"on":{"flip":"off"}}}}' >lamp.json
    for i in 1 2 3; do echo "{\"type\":\"flip\",\"id\":\"$i\",\"subject\":\"s\"}"; done >flips
    held fsm run lamp.json flips - flips < <(cat flips) | wc -l >count
    echo '{"name":"s","steps":[{"name":"one","do":["true"]},{"name":"two","do":["cat"]}]}' >saga.json
    held saga run saga.json < <(replay --last 1)
    held once -k k -- cat <flips
    held breaker b -- cat <flips >out
    seq 20 | held throttle -r 1000/s t >out
    held project read.db "$TOP/share/examples/accounts.sql"
    held spool prune --keep 10 --force
}

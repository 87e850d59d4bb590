# once: run a command to success at most once for a key.
load helper

# What a command leaves running has its pid in a file NAME.pid.
teardown() {
    local file
    for file in "$BATS_TEST_TMPDIR"/*.pid; do
        [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
    helper_teardown
}

needs_preload() {
    [ -e "$BUILD/fault/world.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
}

# A command that holds its key until the file go is there.
hold=': >begun; until [ -e go ]; do sleep 0.02; done; echo held'

state_of() { # KEY
    spool key show "$1" -o ndjson | jq -r .state
}

# --- success and failure

@test "once: a command that has succeeded is not run again, its output is printed again" {
    run -0 --separate-stderr once -k a -- sh -c 'echo x >>ran; echo out; echo err >&2'
    [ "$output" = out ]
    [ "$stderr" = "once: created the spool $EVENT_SPOOL
err" ]
    run -0 --separate-stderr once -k a -- sh -c 'echo x >>ran; echo other'
    [ "$output" = out ]
    [ -z "$stderr" ]
    [ "$(wc -l <ran)" -eq 1 ]
    # Another key is another matter.
    run -0 once -k b -- echo other
    [ "$output" = other ]
}

@test "once: the output is kept byte for byte: NUL, no newline at its end, none at all, a megabyte" {
    printf 'a\0\377\n\nno newline' >binary
    : >empty
    head -c 1048577 /dev/urandom >large
    for name in binary empty large; do
        once -k "$name" -- cat "$name" >first
        cmp "$name" first
        once -k "$name" -- echo wrong >second
        cmp "$name" second
    done
}

@test "once: an output that is too long to be kept is printed, and a repeat prints nothing" {
    run -0 --separate-stderr sh -c 'once -k a -- head -c 17000000 /dev/zero | wc -c'
    [ "$output" = 17000000 ]
    [ "${stderr_lines[-1]}" = 'once: 17000000 bytes of output are more than the 16 MiB that are kept: a repeat will print nothing' ]
    run -0 --separate-stderr once -k a -- echo again
    [ -z "$output" ]
    [ "$stderr" = 'once: "a": succeeded before, and printed 17000000 bytes that were not kept: this repeat prints nothing' ]
    # A repeat of nothing is silent, and so is one of as much as is kept.
    once -k nothing -- true
    run -0 --separate-stderr once -k nothing -- echo again
    [ -z "$output$stderr" ]
}

@test "once: a command that fails is run again, its output and its status are passed on" {
    for status in 1 65 75 126 127; do
        run "-$status" --separate-stderr once -k a -- sh -c "echo out; exit $status"
        [ "$output" = out ]
    done
    [ -z "$stderr" ]
    run -137 once -k a -- sh -c 'kill -KILL $$'
    run -66 spool key show a
    run -0 once -k a -- echo now
    [ "$output" = now ]
    run -0 once -k a -- echo again
    [ "$output" = now ]
}

@test "once: a command that cannot be run is 127 or 126, and its key is free" {
    run -127 --separate-stderr once -k a -- no-such-command
    [ "${stderr_lines[-1]}" = 'once: cannot run "no-such-command": not found' ]
    : >plain
    run -126 --separate-stderr once -k a -- ./plain
    [ "$stderr" = 'once: cannot run "./plain": Permission denied' ]
    run -0 once -k a -- echo now
    [ "$output" = now ]
}

@test "once: success is recorded even when the output cannot be written" {
    [ -w /dev/full ] || skip 'there is no /dev/full'
    run -74 --separate-stderr sh -c 'once -k a -- echo out >/dev/full'
    [ "${stderr_lines[-1]}" = 'once: cannot write to stdout: No space left on device' ]
    run -0 once -k a -- echo again
    [ "$output" = out ]
}

@test "once: the command has our stdin, our descriptors, and no others" {
    echo five >in
    run -0 --separate-stderr once -k a -- sh -c 'cat; cat <&5; ls /proc/$$/fd' 5<in < <(echo zero)
    plain=$(sh -c 'ls /proc/$$/fd' 5<in < <(:))
    [ "$output" = "zero
five
$plain" ]
}

# --- keys

@test "once: --by takes the key from the event on stdin, which the command gets whole" {
    printf '%s' '{"data": {"paymentId":"p 1", "n":1}}' >in
    run -0 --separate-stderr once --by /data/paymentId -- cat < <(cat in)
    [ "$output" = "$(cat in)" ]
    run -0 once --by /data/paymentId -- echo again <<<'{"data":{"paymentId":"p 1"},"other":2}'
    [ "$output" = "$(cat in)" ]
    [ "$(state_of 'p 1')" = "done" ]
    run -0 once --by /data/paymentId -- echo other <<<'{"data":{"paymentId":"p 2"}}'
    [ "$output" = other ]
    # A file, and the key is the one of -k.
    run -0 once --by /data/paymentId -- cat <in
    [ "$output" = "$(cat in)" ]
    run -0 once -k 'p 2' -- echo none
    [ "$output" = other ]
}

@test "once: --by takes numbers as they are written, and strings unescaped" {
    run -0 once --by /k -- echo number <<<'{"k":17}'
    run -0 once --by /k -- echo again <<<'{"k": 17 }'
    [ "$output" = number ]
    run -0 once --by /k -- echo large <<<'{"k":12345678901234567890123}'
    run -0 once --by /k -- echo other <<<'{"k":12345678901234567890124}'
    [ "$output" = other ]
    run -0 once --by /k -- echo text <<<'{"k":"\u00e9"}'
    run -0 once --by /k -- echo again <<<'{"k":"é"}'
    [ "$output" = text ]
}

@test "once: --by without a key there is 65, and the command does not run" {
    by() { # INPUT MESSAGE
        run -65 --separate-stderr once --by /data/k -- touch ran < <(printf '%s' "$1")
        [ "$stderr" = "once: $2" ]
    }
    by '{"data":{}}' 'stdin has nothing at /data/k'
    by '{"data":{"k":""}}' 'the key at /data/k is empty'
    by '{"data":{"k":null}}' 'stdin has nothing at /data/k'
    by '[]' 'stdin has nothing at /data/k'
    run -65 once --by /data/k -- touch ran </dev/null
    run -65 once --by /data/k -- touch ran < <(:)
    run -65 once --by /data/k -- touch ran <<<'no JSON'
    run -65 once --by /data/k -- touch ran <<<'{"data":{"k":"a"}} x'
    run -65 once --by /data/k -- touch ran <<<'{"data":{"k":"\u0000"}}'
    [ ! -e ran ]
    spool_missing
}

@test "once: a handler of consume needs no key: its event is run once, for each group" {
    seq 2 | sed 's/.*/{"type":"n","id":"e&","source":"s","data":&}/' | publish
    for _ in 1 2; do
        run -0 --separate-stderr consume -g g --from start -- once -- sh -c 'echo "$EVENT_ID" >>ran; echo "$EVENT_ID"'
        [ "$output" = $'e1\ne2' ]
        spool group seek g start >/dev/null
    done
    [ "$(paste -sd' ' ran)" = 'e1 e2' ]
    run -0 consume -g h --from start -- once -- sh -c 'echo "$EVENT_GROUP $EVENT_ID" >>ran'
    [ "$(paste -sd' ' ran)" = 'e1 e2 h e1 h e2' ]
}

@test "once: the same id from two sources is two keys, also where words could be mixed up" {
    printf '%s\n' '{"type":"n","id":"e","source":"a"}' '{"type":"n","id":"e","source":"b"}' \
        '{"type":"n","id":"c","source":"a b"}' '{"type":"n","id":"b c","source":"a"}' | publish
    run -0 consume -g g --from start -- once -- sh -c 'echo "$EVENT_SOURCE|$EVENT_ID"'
    [ "$output" = 'a|e
b|e
a b|c
a|b c' ]
    # A retry finds the key of its event.
    spool group seek g start >/dev/null
    run -0 consume -g g -- once -- echo again
    [ "$output" = 'a|e
b|e
a b|c
a|b c' ]
}

@test "once: the event of a handler that failed is run again, and that of one that succeeded is not" {
    publish -t n -d 1
    run -0 --separate-stderr consume -g g --from start --backoff 0s -- \
        sh -c 'once -- sh -c "echo x >>ran; [ \$EVENT_ATTEMPT = 2 ]" && [ "$EVENT_ATTEMPT" = 3 ]'
    [ "$(wc -l <ran)" -eq 2 ]
}

# --- several at once

@test "once: of eight at the same time one runs the command, and all print its output" {
    for n in 1 2 3 4 5 6 7 8; do
        # shellcheck disable=SC2016 # the inner shell's
        background once -k a -- sh -c 'echo x >>ran; until [ -e go ]; do sleep 0.02; done; echo $$' >"out.$n"
    done
    wait_for test -s ran
    : >go
    for one in "${helper_pids[@]}"; do ends_with 0 "$one"; done
    [ "$(wc -l <ran)" -eq 1 ]
    [ -s out.1 ]
    for n in 2 3 4 5 6 7 8; do cmp out.1 "out.$n"; done
}

@test "once: of eight at the same time whose command fails, each runs it, one after the other" {
    for n in 1 2 3 4 5 6 7 8; do
        background once -k a -- sh -c 'mkdir busy || echo together >>wrong; echo x >>ran; rmdir busy; exit 3'
    done
    for one in "${helper_pids[@]}"; do ends_with 3 "$one"; done
    [ "$(wc -l <ran)" -eq 8 ]
    [ ! -e wrong ]
}

@test "once: --wait 0 does not wait for a running command: 75" {
    background once -k a -- sh -c "$hold"
    wait_for test -e begun
    run -75 --separate-stderr once -k a --wait 0 -- touch ran
    [ "$stderr" = 'once: "a": another process is running its command' ]
    run -75 once -k a --wait 50ms -- touch ran
    : >go
    ends_with 0 "$pid"
    run -0 once -k a --wait 0 -- touch ran
    [ "$output" = held ]
    [ ! -e ran ]
}

@test "once: waits for a running command, and prints its output" {
    background once -k a -- sh -c "$hold"
    first=$pid
    wait_for test -e begun
    background once -k a -- touch ran >out
    : >go
    ends_with 0 "$pid"
    ends_with 0 "$first"
    [ "$(cat out)" = held ]
    [ ! -e ran ]
}

@test "once: killed, it frees the key, and its command dies with it" {
    background once -k a -- sh -c 'echo $$ >left.pid; exec sleep 1000'
    wait_for test -s left.pid
    slay "$pid"
    run -0 --separate-stderr timeout 60 once -k a -- echo now
    [ "$output" = now ]
    [ -z "$stderr" ]
    wait_for gone "$(cat left.pid)"
}

@test "once: after a kill between effect and record the command runs again, which once cannot prevent" {
    background once -k a -- sh -c 'echo effect >>ran; kill -KILL "$PPID"; exec sleep 1000'
    ends_with 137 "$pid"
    noticed
    run -0 once -k a -- sh -c 'echo effect >>ran'
    [ "$(wc -l <ran)" -eq 2 ]
}

# --- signals

@test "once: a signal reaches the command, and the key is free when that fails" {
    background once -k a -- sh -c 'trap "echo got; exit 7" TERM; : >begun; while :; do sleep 0.02; done' >out
    wait_for test -e begun
    kill "$pid"
    ends_with 7 "$pid"
    [ "$(cat out)" = got ]
    run -66 spool key show a
}

@test "once: a signal while it waits ends it with 128 + n, and the command never runs" {
    background once -k a -- sh -c "$hold"
    first=$pid
    wait_for test -e begun
    for signal in 15 2 1; do
        background once -k a -- touch ran
        waits() { [ "$(tr '\0' ' ' <"/proc/$pid/cmdline")" = 'once -k a -- touch ran ' ] && grep -q '^SigCgt:.*[4-7c-f]...$' "/proc/$pid/status"; }
        wait_for waits
        kill -s "$signal" "$pid"
        ends_with $((128 + signal)) "$pid"
    done
    : >go
    ends_with 0 "$first"
    [ ! -e ran ]
}

# --- forgetting

@test "once: the key is forgotten when --ttl is over, by default after a day" {
    needs_preload
    once -k day -- echo first
    once -k hour --ttl 1h -- echo first
    echo 3500 >clock
    run -0 world once -k hour -- echo second
    [ "$output" = first ]
    echo 3700 >clock
    run -0 world once -k hour -- echo second
    [ "$output" = second ]
    echo 86000 >clock
    run -0 world once -k day -- echo second
    [ "$output" = first ]
    echo 87000 >clock
    run -0 world once -k day -- echo second
    [ "$output" = second ]
    # A run of its own: with no output, nothing of the first comes back.
    echo 200000 >clock
    world once -k day -- true
    run -0 world once -k day -- echo third
    [ -z "$output" ]
}

@test "once: a run longer than --ttl keeps its key while it lives" {
    needs_preload
    echo 0 >clock
    background world once -k a --ttl 1s -- sh -c "$hold"
    wait_for test -e begun
    echo 360000 >clock
    run -75 world once -k a --wait 0 -- touch ran
    : >go
    ends_with 0 "$pid"
    [ ! -e ran ]
}

@test "once: spool key forget frees a key, but not while its command runs" {
    once -k a -- echo first
    run -0 --separate-stderr spool key forget a
    [ "$output" = 'key a forgotten' ]
    run -0 once -k a -- true
    run -0 once -k a -- echo third
    [ -z "$output" ]
    spool key forget a
    background once -k a -- sh -c "$hold"
    wait_for test -e begun
    run -75 --separate-stderr spool key forget a
    [ "$stderr" = "spool: key \"a\": process $pid is running its command" ]
    : >go
    ends_with 0 "$pid"
    [ "$(state_of a)" = "done" ]
}

# --- usage and places

@test "once: wrong usage is 64, and runs nothing" {
    run -64 --separate-stderr once -k a
    [ "$stderr" = 'once: a command is missing (see once --help)' ]
    run -64 --separate-stderr once -- touch ran
    [ "$stderr" = 'once: -k KEY or --by POINTER is missing (a handler of consume needs neither) (see once --help)' ]
    run -64 --separate-stderr once -k a --by /b -- touch ran
    [ "$stderr" = 'once: -k and --by exclude each other (see once --help)' ]
    run -64 once -k '' -- touch ran
    run -64 once -k $'\xff' -- touch ran
    run -64 once --by data -- touch ran
    run -64 once -k a --ttl 0 -- touch ran
    [ ! -e ran ]
    spool_missing
}

@test "once: when the spool cannot be used it refuses, and does not run the command" {
    spoil_spool
    run "-$spoilt" --separate-stderr once -k a -- touch ran
    [[ $stderr == "once: $EVENT_SPOOL: "* ]]
    [ ! -e ran ]
    [ "$ENGINE" = sqlite ] || return 0
    rmdir spool.db
    echo 'this is no spool, and long enough to be looked at' >spool.db
    run --separate-stderr once -k a -- touch ran
    [ "$status" -ge 64 ] && [ "$status" -le 77 ]
    [[ $stderr == "once: $EVENT_SPOOL: "* ]]
    [ ! -e ran ]
}

@test "once: success is on disk before it is reported" {
    needs_preload
    once -k a -- true
    # Those who wait are woken through the lock file: in front of that stands a sync, not a write.
    FAULT_KIND=trace FAULT_LOG=calls PATH=$hooked LD_PRELOAD=$BUILD/fault/fail.so once -k b -- true
    grep -B 1 '^utimensat .*-lock$' calls | head -n 1 >before
    grep -E '^f(data)?sync ' before
}

@test "once: whatever call fails, success is recorded or reported as not recorded, and the next run needs no help" {
    needs_preload
    local first=0 stride
    once -k before -- true
    stride=$(long 5 1)
    set +T
    for kind in $(faults kill torn eio eio+ enospc+ eintr short+ enolck); do
        for ((n = 1 + first++ % stride; ; n += stride)); do
            tag=$kind-$n
            : >met
            status=0
            { PATH=$hooked LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=$kind FAULT_AT=$n FAULT_LOG=met \
                once -k "$tag" -- sh -c 'echo "$1" >>ran; echo "out $1"' sh "$tag" >out 2>said; } 2>/dev/null || status=$?
            [ -s met ] || break
            case $kind:$status in
            kill:137 | torn:137 | *:0 | *:7[1345]) ;;
            *)
                echo "$tag: status $status: $(cat met said)" >&2
                false
                ;;
            esac
            again=0
            once -k "$tag" -- sh -c 'echo "$1" >>ran; echo "out $1"' sh "$tag" >next 2>>said || again=$?
            runs=$(grep -cx -- "$tag" ran) || true
            # It has run; not twice where the first had said that it is done.
            if [ "$again" -ne 0 ] || [ "$runs" -lt 1 ] || [ "$(cat next)" != "out $tag" ] ||
                { [ "$status" -eq 0 ] && [ "$runs" -ne 1 ]; }; then
                echo "$tag: status $status, then $again, ran $runs times: $(cat met said next)" >&2
                false
            fi
            # Nor without an error for the one who would think that it was not done.
            if [ "$runs" -eq 2 ] && [ "$status" -ne 137 ]; then grep -q 'not recorded' said; fi
        done
        [ "$status" -eq 0 ]
        [ "$n" -gt 5 ]
    done
    set -T
}

@test "once: a file that is not a spool does not count against the event under consume" {
    echo text >text
    run -74 --separate-stderr once -s text -k a -- sh -c ': >ran'
    [ "$stderr" = "once: $PWD/text: not an eventutils spool" ]
    [ ! -e ran ]
}

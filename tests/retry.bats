# retry: run a command again until it succeeds.
load helper

# What a command leaves running has its pid in a file NAME.pid.
teardown() {
    local file
    for file in "$BATS_TEST_TMPDIR"/*.pid; do
        [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
    helper_teardown
}

events() { # N
    seq "$1" | sed 's/.*/{"type":"n","id":"e&","source":"s","data":&}/' | publish
}

# Until the third attempt fail with status 7.
third='[ "$RETRY_ATTEMPT" -ge 3 ] || exit 7'

# --- how often

@test "retry: a command that succeeds is run once, without a message" {
    run -0 --separate-stderr retry -- sh -c 'echo "$RETRY_ATTEMPT" >>ran; echo out; echo err >&2'
    [ "$output" = out ]
    [ "$stderr" = err ]
    [ "$(cat ran)" = 1 ]
}

@test "retry: runs the command again until it succeeds, counting in RETRY_ATTEMPT" {
    run -0 --separate-stderr env RETRY_ATTEMPT=9 retry --backoff 0s -- sh -c "echo \$RETRY_ATTEMPT >>ran; $third"
    [ -z "$output" ]
    [ "$stderr" = 'retry: attempt 1: exit status 7: again at once
retry: attempt 2: exit status 7: again at once' ]
    [ "$(paste -sd' ' ran)" = '1 2 3' ]
}

@test "retry: makes five attempts, or -a, and ends with the status of the last" {
    run -5 --separate-stderr retry --backoff 0s sh -c 'echo x >>ran; exit "$RETRY_ATTEMPT"'
    [ "$(wc -l <ran)" -eq 5 ]
    [ "${stderr_lines[-1]}" = 'retry: attempt 5: exit status 5: that was the last' ]
    run -1 --separate-stderr retry -a 1 sh -c 'exit "$RETRY_ATTEMPT"'
    [ "$stderr" = 'retry: attempt 1: exit status 1: that was the last' ]
    run -2 retry -a 2 --backoff 0s -- sh -c 'exit "$RETRY_ATTEMPT"'
}

@test "retry: a command that a signal ended is run again, and counts as 128 + n in the end" {
    run -137 --separate-stderr retry -a 2 --backoff 0s -- sh -c 'kill -KILL $$'
    [ "$stderr" = 'retry: attempt 1: killed by signal 9 (Killed): again at once
retry: attempt 2: killed by signal 9 (Killed): that was the last' ]
}

@test "retry: reports how long it waits, which --backoff and --jitter decide" {
    background retry --backoff 90s..1h --jitter none -- sh -c 'exit 3' 2>said
    wait_for test -s said
    kill "$pid"
    [ "$(head -n 1 said)" = 'retry: attempt 1: exit status 3: again in 1m30s' ]
    # From 2ms doubling up to 5ms.
    run -3 --separate-stderr retry -a 4 --backoff 2ms..5ms --jitter none -- sh -c 'exit 3'
    [ "$stderr" = 'retry: attempt 1: exit status 3: again in 2ms
retry: attempt 2: exit status 3: again in 4ms
retry: attempt 3: exit status 3: again in 5ms
retry: attempt 4: exit status 3: that was the last' ]
    # At least the half of it is waited for.
    run -3 --separate-stderr retry -a 9 --backoff 4ms..4ms --jitter equal -- sh -c 'exit 3'
    run -1 grep -vE 'again in [234]ms|last$' <<<"$stderr"
}

@test "retry: --dead-on are statuses that no retry can help, by default 65" {
    run -65 --separate-stderr retry -- sh -c 'echo x >>ran; exit 65'
    [ "$stderr" = 'retry: attempt 1: exit status 65: no retry can help' ]
    [ "$(wc -l <ran)" -eq 1 ]
    run -3 --separate-stderr retry -a 2 --backoff 0s --dead-on 3,4 -- sh -c '[ "$RETRY_ATTEMPT" = 1 ] && exit 65; exit 3'
    [ "$stderr" = 'retry: attempt 1: exit status 65: again at once
retry: attempt 2: exit status 3: no retry can help' ]
}

@test "retry: --retry-on are the only statuses after which it tries again" {
    run -4 --separate-stderr retry --backoff 0s --retry-on 75,3 -- \
        sh -c 'case $RETRY_ATTEMPT in 1) exit 75 ;; 2) exit 3 ;; esac; exit 4'
    [ "$stderr" = 'retry: attempt 1: exit status 75: again at once
retry: attempt 2: exit status 3: again at once
retry: attempt 3: exit status 4: no retry can help' ]
    # 65 is dead only while nothing else is said; what is said to be dead stays so.
    run -0 retry --backoff 0s --retry-on 65 -- sh -c '[ "$RETRY_ATTEMPT" = 2 ] || exit 65'
    run -3 retry --backoff 0s --retry-on 3 --dead-on 3 -- sh -c 'echo x >>ran; exit 3'
    [ "$(wc -l <ran)" -eq 1 ]
}

@test "retry: 126 and 127 are not tried again, unless --retry-on says so" {
    run -127 --separate-stderr retry -- sh -c 'exit 127'
    [ "$stderr" = 'retry: attempt 1: exit status 127: no retry can help' ]
    run -126 --separate-stderr retry -- sh -c 'exit 126'
    [ "$stderr" = 'retry: attempt 1: exit status 126: no retry can help' ]
    run -0 retry --retry-on 126,127 --backoff 0s -- sh -c '[ "$RETRY_ATTEMPT" = 3 ] || exit $((125 + RETRY_ATTEMPT))'
}

@test "retry: a missing command is 127, one that cannot be run 126" {
    run -127 --separate-stderr retry -- no-such-command
    [ "$stderr" = 'retry: cannot run "no-such-command": not found' ]
    : >plain
    run -126 --separate-stderr retry -- ./plain
    [ "$stderr" = 'retry: cannot run "./plain": Permission denied' ]
    run -127 --separate-stderr retry -- ./none/such
    [ "$stderr" = 'retry: cannot run "./none/such": not found' ]
}

@test "retry: options of the command are the command's" {
    run -0 --separate-stderr retry echo -a 3 -- --help
    [ "$output" = '-a 3 -- --help' ]
    run -0 --separate-stderr retry -a 1 -- echo -- x
    [ "$output" = '-- x' ]
}

@test "retry: wrong usage is 64, and runs nothing" {
    run -64 --separate-stderr retry
    [ "$stderr" = 'retry: a command is missing (see retry --help)' ]
    run -64 retry --
    run -64 retry -a 0 -- touch ran
    run -64 retry --backoff 5s..1s -- touch ran
    run -64 retry --jitter some -- touch ran
    run -64 retry --retry-on 0 -- touch ran
    run -64 retry --dead-on 256 -- touch ran
    run -64 retry --timeout soon -- touch ran
    run -64 retry -s spool.db -- touch ran
    [ ! -e ran ]
}

# --- stdin

@test "retry: each attempt reads the whole of a pipe" {
    printf 'a\0b' >in
    run -0 --separate-stderr retry --backoff 0s -- sh -c "cat >\$RETRY_ATTEMPT; $third" < <(cat in)
    for n in 1 2 3; do cmp in "$n"; done
    run -0 retry --backoff 0s -- sh -c "cat >>none; $third" < <(:)
    [ ! -s none ]
}

@test "retry: each attempt reads the whole of a pipe of a megabyte, however much the one before took" {
    head -c 1048577 /dev/urandom >in
    run -0 retry -a 4 --backoff 0s -- sh -c 'case $RETRY_ATTEMPT in
        1) cat >1; exit 1 ;; 2) head -c 1000 >2; exit 1 ;; 3) exit 1 ;; *) cat >4 ;; esac' < <(cat in)
    cmp in 1
    head -c 1000 in | cmp - 2
    cmp in 4
}

@test "retry: each attempt reads a file from its position at the start" {
    seq 5 >in
    {
        read -r _
        run -0 retry --backoff 0s -- sh -c "cat >\$RETRY_ATTEMPT; $third"
    } <in
    for n in 1 2 3; do seq 2 5 | cmp - "$n"; done
    # What comes behind the command goes on behind what the last attempt took.
    {
        retry -a 1 -- sh -c 'read -r line; read -r line; echo "$line" >second'
        cat >rest
    } <in
    [ "$(cat second)" = 2 ]
    seq 3 5 | cmp - rest
}

@test "retry: an attempt's stdin is its own, also when an earlier attempt left a reader" {
    mkfifo latch
    seq 3 >in
    background retry --backoff 0s -- sh -c 'if [ $RETRY_ATTEMPT = 1 ]; then
            exec 4<&0
            sh -c "echo \$\$ >left.pid; read -r x <latch; cat <&4 >first" >/dev/null 2>&1 &
            until [ -s left.pid ]; do sleep 0.02; done
            exit 1
        fi
        cat >second; echo >latch; until [ -s first ]; do sleep 0.02; done' < <(cat in)
    ends_with 0 "$pid"
    cmp in first
    cmp in second
}

@test "retry: /dev/null and a closed stdin are no input" {
    run -0 retry --backoff 0s -- sh -c "cat >>read; $third" </dev/null
    run -0 sh -c 'retry --backoff 0s -- sh -c "cat >>read 2>/dev/null; [ \$RETRY_ATTEMPT = 3 ]" <&-'
    [ ! -s read ]
}

@test "retry: a signal ends it also while it reads stdin, and the command never runs" {
    mkfifo p
    background sh -c 'exec retry -- touch ran <p 2>said'
    exec 8>p
    echo x >&8
    # It is past its start when it has read that.
    wait_for grep -q 'ShdPnd\|SigCgt:.*[4-7c-f]...$' "/proc/$pid/status"
    kill "$pid"
    ends_with 143 "$pid"
    exec 8>&-
    [ ! -e ran ]
}

# --- stdout, stderr and the other descriptors

@test "retry: the stdout of the last attempt is passed on, that of the others is not" {
    run -0 --separate-stderr retry --backoff 0s -- sh -c "echo out \$RETRY_ATTEMPT; $third"
    [ "$output" = 'out 3' ]
    run -7 --separate-stderr retry -a 2 --backoff 0s -- sh -c "echo out \$RETRY_ATTEMPT; $third"
    [ "$output" = 'out 2' ]
    run -65 --separate-stderr retry -- sh -c 'echo dead; exit 65'
    [ "$output" = dead ]
}

@test "retry: stdout is passed on byte for byte, a megabyte too" {
    printf 'a\0\377\nno newline' >in
    retry -- cat <in >out
    cmp in out
    head -c 1048577 /dev/urandom >in
    retry --backoff 0s -a 2 -- sh -c 'cat; [ $RETRY_ATTEMPT = 2 ]' <in >out
    cmp in out
}

@test "retry: stderr is the command's own, and is not delayed" {
    background retry -- sh -c 'echo here >&2; until [ -e seen ]; do sleep 0.02; done' 2>said
    wait_for grep -qx here said
    : >seen
    ends_with 0 "$pid"
    run -0 --separate-stderr retry --backoff 0s -a 2 -- sh -c 'echo "$RETRY_ATTEMPT" >&2; [ $RETRY_ATTEMPT = 2 ]'
    [ "$stderr" = '1
retry: attempt 1: exit status 1: again at once
2' ]
}

@test "retry: output that cannot be written is 74, and a reader that has gone does not matter" {
    [ -w /dev/full ] || skip 'there is no /dev/full'
    run -74 --separate-stderr sh -c 'retry -- echo x >/dev/full'
    [ "$stderr" = 'retry: cannot write to stdout: No space left on device' ]
    run -0 --separate-stderr sh -c '{ retry -- sh -c "echo x; echo ran >&2"; echo $? >status; } | :'
    [ "$(cat status)" = 0 ]
}

@test "retry: a daemon that keeps stdout open does not keep it from ending" {
    run -0 --separate-stderr retry -- sh -c 'sh -c "echo \$\$ >left.pid; exec sleep 1000" & until [ -s left.pid ]; do sleep 0.02; done; echo x'
    [ "$output" = x ]
    # And it goes on.
    run -1 gone "$(cat left.pid)"
}

@test "retry: descriptors that it was started with reach the command, and no others" {
    echo five >in
    run -0 --separate-stderr retry -- sh -c 'cat <&5; ls /proc/$$/fd' 5<in
    plain=$(sh -c 'ls /proc/$$/fd' 5<in)
    [ "$output" = "five
$(printf '%s\n3\n' "$plain" | sort -u)" ]
}

@test "retry: ignored signals stay ignored for the command, as under nohup" {
    run -0 --separate-stderr sh -c 'trap "" HUP USR1; exec retry -- sh -c "kill -HUP \$\$; kill -USR1 \$\$; echo alive"'
    [ "$output" = alive ]
    # But not SIGPIPE, which is ignored for our own sake.
    run -141 retry -a 1 -- sh -c 'kill -PIPE $$'
}

# --- signals

@test "retry: a signal reaches the command, and there is no further attempt" {
    for name in TERM INT HUP; do
        rm -f begun
        background retry --backoff 0s -- sh -c "trap 'echo got $name; exit 7' $name; : >begun; while :; do sleep 0.02; done" \
            >out 2>said
        wait_for test -e begun
        kill -s "$name" "$pid"
        ends_with 7 "$pid"
        [ "$(cat out)" = "got $name" ]
        [ "$(cat said)" = 'retry: attempt 1: exit status 7: stopped' ]
    done
}

@test "retry: a signal that ends the command ends it with 128 + n" {
    for signal in 15 2 1; do
        rm -f begun
        background retry --backoff 0s -- sh -c ': >begun; exec sleep 1000' 2>said
        wait_for test -e begun
        kill -s "$signal" "$pid"
        ends_with $((128 + signal)) "$pid"
    done
}

@test "retry: a signal that timeout(1) sends to a command and to its group counts once" {
    for _ in 1 2 3; do
        rm -f begun
        background timeout 7d retry --backoff 0s -- sh -c 'trap "sleep 0.1; exit 7" TERM; : >begun; while :; do sleep 0.02; done' 2>said
        wait_for test -e begun
        wait_for sleeps "$pid"
        kill "$pid"
        ends_with 7 "$pid"
    done
}

@test "retry: a second signal kills the command and its descendants" {
    background retry --backoff 0s -- sh -c 'trap ": >got" TERM
        setsid sh -c "trap : TERM; echo \$\$ >left.pid; while :; do sleep 0.02; done" &
        until [ -s left.pid ]; do sleep 0.02; done; : >begun; while :; do sleep 0.02; done'
    wait_for test -e begun
    kill "$pid"
    wait_for test -e got
    kill "$pid"
    ends_with 137 "$pid"
    wait_for gone "$(cat left.pid)"
}

@test "retry: a command that succeeds despite a signal has succeeded" {
    background retry -- sh -c 'trap : TERM; : >begun; until [ -e go ]; do sleep 0.02; done; echo done' >out 2>said
    wait_for test -e begun
    kill "$pid"
    : >go
    ends_with 0 "$pid"
    [ "$(cat out)" = "done" ]
    [ ! -s said ]
}

@test "retry: a signal during the wait ends it with 128 + n and prints the last attempt's output" {
    for signal in 15 2 1; do
        background retry --backoff 1h..1h --jitter none -- sh -c 'echo "$RETRY_ATTEMPT"; exit 3' >out 2>said
        wait_for grep -q 'again in 1h' said
        kill -s "$signal" "$pid"
        ends_with $((128 + signal)) "$pid"
        [ "$(cat out)" = 1 ]
    done
}

@test "retry: a signal that comes before it is ready counts, too" {
    # Blocked and sent before it starts: it is there when retry first looks.
    run -3 --separate-stderr timeout 60 env --block-signal=TERM \
        sh -c 'kill -TERM $$; exec retry -a 2 --backoff 90d..90d -- sh -c "exit 3"'
    [ "$stderr" = 'retry: attempt 1: exit status 3: stopped' ]
    run -143 --separate-stderr timeout 60 env --block-signal=TERM \
        sh -c 'mkfifo p; kill -TERM $$; exec retry -- cat <>p'
}

@test "retry: killed, it leaves no command behind" {
    background retry -- sh -c 'echo $$ >left.pid; exec sleep 1000'
    wait_for test -s left.pid
    kill -KILL "$pid"
    wait_for gone "$(cat left.pid)"
}

@test "retry: a command's orphans are no zombies while it runs" {
    background retry -- sh -c 'sh -c "sh -c \"exit 0\" & echo \$! >orphan"; : >begun; until [ -e go ]; do sleep 0.02; done'
    wait_for test -e begun
    wait_for test ! -e "/proc/$(cat orphan)"
    : >go
    ends_with 0 "$pid"
}

# --- time

@test "retry: --timeout ends an attempt and its descendants, and is 124" {
    # They ignore SIGTERM, and one has a session of its own: SIGKILL comes after the grace.
    run -124 --separate-stderr retry -a 1 --timeout 100ms -- sh -c 'trap "" TERM
        setsid sh -c "echo \$\$ >left.pid; exec sleep 1000" >/dev/null 2>&1 &
        echo begun; exec sleep 1000'
    [ "$output" = begun ]
    [ "$stderr" = 'retry: attempt 1: timed out after 100ms: that was the last' ]
    # It may not have come to be. If it has, it is no more.
    [ ! -s left.pid ] || wait_for gone "$(cat left.pid)"
}

@test "retry: --timeout ends processes in sessions of their own, also when the command has ended" {
    # The command leaves at the SIGTERM, which its daemon ignores; not before that is there.
    run -124 --separate-stderr retry -a 1 --timeout 100ms -- sh -c 'trap "" TERM
        setsid sh -c "echo \$\$ >left.pid; exec sleep 1000" >/dev/null 2>&1 &
        until [ -s left.pid ]; do sleep 0.02; done; trap "exit 0" TERM; while :; do sleep 0.02; done'
    [ -s left.pid ]
    wait_for gone "$(cat left.pid)"
}

@test "retry: an attempt that timed out is followed by the next" {
    run -0 --separate-stderr retry -a 1000 --backoff 0s --timeout 100ms -- sh -c '[ -e once ] || { : >once; exec sleep 1000; }; echo through'
    [ "$output" = through ]
    [ "${stderr_lines[0]}" = 'retry: attempt 1: timed out after 100ms: again at once' ]
}

@test "retry: --deadline excludes a wait that would exceed it" {
    run -3 --separate-stderr retry --backoff 2h..2h --jitter none --deadline 1h -- sh -c 'echo out; exit 3'
    [ "$output" = out ]
    [ "$stderr" = 'retry: attempt 1: exit status 3: no time for another' ]
}

@test "retry: --deadline ends an attempt that takes longer, and is 124" {
    run -124 --separate-stderr retry --backoff 0s --deadline 100ms -- sleep 1000
    [[ $stderr =~ ^'retry: attempt 1: timed out after '[0-9]+'ms: no time for another'$ ]]
}

# --- the command's word

@test "retry: the command may write to descriptor 3 when to try again, and why" {
    run -4 --separate-stderr retry -a 3 --backoff 90d..90d -- sh -c '[ "$EVENT_CTL" = 3 ] || exit 9
        echo delay 3ms >&3; [ $RETRY_ATTEMPT = 1 ] || echo "delay 0
reason card declined" >&"$EVENT_CTL"; exit 4'
    [ "$stderr" = 'retry: attempt 1: exit status 4: again in 3ms
retry: attempt 2: exit status 4: card declined: again at once
retry: attempt 3: exit status 4: card declined: that was the last' ]
}

@test "retry: an unknown word is reported, and changes nothing" {
    run -0 --separate-stderr retry -- sh -c 'echo please >&3; echo out'
    [ "$output" = out ]
    [ "$stderr" = 'retry: on descriptor 3 a handler writes "delay D" or "reason TEXT", not "please"' ]
}

@test "retry: the reason of its last attempt becomes that of consume's dead letter" {
    events 1
    run -1 --separate-stderr consume -g g --from start -a 1 -- \
        retry -a 2 --backoff 0s -- sh -c 'echo "reason declined $RETRY_ATTEMPT" >&3; exit 3'
    [ "$(dlq list | jq -c '[.status,.reason]')" = '[3,"exit status 3: declined 2"]' ]
    # Through all wrappers in between.
    run -1 --separate-stderr consume -g h --from start -a 1 -- \
        retry -a 1 -- retry -a 1 -- sh -c 'echo "reason declined" >&3; exit 3'
    [ "$(dlq list -g h | jq -c '[.status,.reason]')" = '[3,"exit status 3: declined"]' ]
}

@test "retry: the delay that its last attempt asked for becomes that of consume's retry" {
    events 1
    run -0 --separate-stderr consume -g g --from start --backoff 90d..90d -- \
        retry -a 1 -- sh -c '[ "$EVENT_ATTEMPT" = 1 ] || exit 0; echo delay 0 >&3; exit 3'
    [ "$(spool group show g -o ndjson | jq .lag)" = 0 ]
}

@test "retry: words of attempts before the last one are not passed on" {
    events 1
    run -1 --separate-stderr consume -g g --from start -a 1 -- \
        retry -a 2 --backoff 0s -- sh -c '[ $RETRY_ATTEMPT = 2 ] || echo reason first >&3; exit 3'
    [ "$(dlq list | jq -r .reason)" = 'exit status 3' ]
}

@test "retry: a descriptor 3 that is not consume's is left alone" {
    run -3 --separate-stderr sh -c 'retry -a 1 -- sh -c "echo reason x >&3; exit 3" 3>file'
    [ ! -s file ]
    run -3 --separate-stderr sh -c 'EVENT_CTL=3 retry -a 1 -- sh -c "echo reason x >&3; exit 3" 3>file'
    [ ! -s file ]
}

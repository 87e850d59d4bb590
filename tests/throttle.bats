# throttle: hold lines on their way through, or a command, to a rate. No test looks at a clock: the
# burst decides how much passes at once, and at 1/h the rest does not pass.
load helper

# What a command leaves running has its pid in a file NAME.pid.
teardown() {
    local file
    for file in "$BATS_TEST_TMPDIR"/*.pid; do
        [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
    helper_teardown
}

bucket() { # NAME FILTER
    spool bucket show "$1" -o ndjson | jq -rc "$2"
}

# What throttle says when a turn is an hour or more away.
refused='no turn for ([0-9]+[hms])+$'

# --- lines

@test "throttle: all lines pass, in order, byte for byte" {
    { seq 2000; printf 'a\0b\r\n\n\377\nno newline'; } >in
    run -0 --separate-stderr throttle -r 1000000/s <in
    [ -z "$stderr" ]
    throttle -r 1000000/s <in >out
    { cat in && echo; } | cmp - out
    throttle -r 1000000/s --by /k <in >out
    { cat in && echo; } | cmp - out
    throttle -r 1000000/s </dev/null >out
    [ ! -s out ]
}

@test "throttle: a burst of lines passes at once, the next one is held" {
    background sh -c 'seq 5 | throttle -r 1/h -b 3 >out'
    wait_for has_lines out 3
    run -1 gone "$pid"
    [ "$(paste -sd' ' out)" = '1 2 3' ]
}

@test "throttle: --by holds the lines of one value, and lets those of others pass" {
    for n in 1 2 3; do
        printf '{"c":"a","n":%d}\n{"data":{"x":1},"c":17,"n":%d}\n{"n":%d}\nno JSON %d\n' "$n" "$n" "$n" "$n"
    done >in
    # Two of each; of those without a value, too.
    background sh -c 'exec throttle -r 1/h -b 2 --by /c <in >out'
    wait_for has_lines out 6
    run -1 gone "$pid"
    cat >want <<'END'
{"c":"a","n":1}
{"data":{"x":1},"c":17,"n":1}
{"n":1}
no JSON 1
{"c":"a","n":2}
{"data":{"x":1},"c":17,"n":2}
END
    cmp want out
}

@test "throttle: --by keeps the order of each value" {
    for n in 1 2 3 4 5 6; do printf '{"c":"%s","n":%d}\n' $((n % 2)) "$n"; done >in
    # 200 in a second, so that some wait.
    throttle -r 200/s --by /c <in >out
    sort in >all
    sort out | cmp - all
    for c in 0 1; do
        grep "\"$c\"" in >want
        grep "\"$c\"" out | cmp - want
    done
}

@test "throttle: --by does not wait for a line that is held to read the next ones" {
    mkfifo p
    background sh -c 'exec throttle -r 1/h --by /c <p >out'
    exec 8>p
    printf '{"c":"a","n":1}\n{"c":"a","n":2}\n' >&8
    wait_for has_lines out 1
    printf '{"c":"b","n":3}\n' >&8
    wait_for has_lines out 2
    exec 8>&-
    [ "$(jq -r '[.c,.n]|join(" ")' out | paste -sd,)" = 'a 1,b 3' ]
}

@test "throttle: lines of two pipes share a bucket of the same name" {
    run -0 --separate-stderr sh -c 'seq 2 | throttle -r 1/h -b 5 api'
    [ "$output" = $'1\n2' ]
    background sh -c 'seq 11 20 | throttle -r 1/h -b 5 api >out'
    wait_for has_lines out 3
    taken() { [ "$(bucket api .taken)" -ge 6 ]; }
    wait_for taken
    [ "$(cat out)" = $'11\n12\n13' ]
    [ "$(bucket api .state)" = 'used up' ]
}

@test "throttle: a reader that has gone ends it, and is not an error" {
    run -0 --separate-stderr bash -c 'seq 100000 | throttle -r 1000000/s | head -n 2; exit "${PIPESTATUS[1]}"'
    [ "$output" = $'1\n2' ]
    [ -z "$stderr" ]
}

@test "throttle: when the spool cannot be used lines still pass at the rate, with one warning" {
    spoil_spool
    run -0 --separate-stderr sh -c 'seq 3 | throttle -r 1/h -b 3 api'
    [ "$output" = $'1\n2\n3' ]
    [[ ${stderr_lines[0]} == "throttle: $EVENT_SPOOL: "*': the rate is not shared with other processes' ]]
    [ "${#stderr_lines[@]}" -eq 1 ]
    background sh -c 'seq 5 | throttle -r 1/h -b 3 api >out 2>said'
    wait_for has_lines out 3
    run -1 gone "$pid"
    [ "$(wc -l <out)" -eq 3 ]
}

@test "throttle: a signal ends it also while it holds lines" {
    seq 3 >in
    background sh -c 'exec throttle -r 1/h <in >out'
    wait_for has_lines out 1
    kill "$pid"
    ends_with 143 "$pid"
}

# --- a command

@test "throttle: a command runs when its turn comes, with its stdin, output and status" {
    echo in >in
    run -3 --separate-stderr throttle -r 1/h -b 5 api -- sh -c 'cat; echo err >&2; exit 3' <in
    [ "$output" = in ]
    [ "${stderr_lines[-1]}" = err ]
    run -0 --separate-stderr throttle -r 1/h -b 5 api echo -- x
    [ "$output" = '-- x' ]
    [ -z "$stderr" ]
    run -143 throttle -r 1/h -b 5 api -- sh -c 'kill $$'
    [ "$(bucket api '[.rate,.burst,.taken]')" = '["1/h",5,3]' ]
}

@test "throttle: the first use of a bucket prints no warning about another rate" {
    publish -t n -d 1
    run -0 --separate-stderr throttle -r 5/m -b 2 api -- true
    [ -z "$stderr" ]
    spool bucket close web 1ms
    run -0 --separate-stderr throttle -r 5/m -b 2 web -- true
    [ -z "$stderr" ]
}

@test "throttle: the command replaces it: the same process, no further descriptors, no orphans" {
    background throttle -r 1/h -b 5 api -- sh -c 'echo $$ >is; ls /proc/$$/fd >fds; sh -c "sleep 1000 & echo \$! >left.pid"; : >begun; read -r x </dev/null; until [ -e go ]; do sleep 0.02; done'
    wait_for test -e begun
    [ "$(cat is)" = "$pid" ]
    # What it leaves behind is init's, or whose it would have been.
    run -1 grep -q "^PPid:.$pid\$" "/proc/$(cat left.pid)/status"
    : >go
    ends_with 0 "$pid"
    background sh -c 'ls /proc/$$/fd >plain; :'
    ends_with 0 "$pid"
    cmp plain fds
}

@test "throttle: signals reach the command again" {
    run -0 --separate-stderr throttle -r 1/h -b 5 api -- sh -c 'trap "echo got" TERM; kill $$'
    [ "$output" = got ]
    run -141 throttle -r 1/h -b 5 api -- sh -c 'kill -PIPE $$'
    run -129 throttle -r 1/h -b 5 api -- sh -c 'kill -HUP $$'
}

@test "throttle: --wait 0 does not wait: 75 when the bucket is used up" {
    run -0 throttle -r 1/h -b 2 --wait 0 api -- echo 1
    run -0 throttle -r 1/h -b 2 --wait 0 api -- echo 2
    run -75 --separate-stderr throttle -r 1/h -b 2 --wait 0 api -- touch ran
    [[ $stderr =~ ^'throttle: "api": '$refused ]]
    # A turn that was refused is nobody's.
    [ "$(bucket api .taken)" -eq 2 ]
    run -75 throttle -r 1/h -b 2 --wait 10m api -- touch ran
    [ ! -e ran ]
    # Another name is another bucket.
    run -0 throttle -r 1/h -b 2 --wait 0 web -- echo 1
}

@test "throttle: of eight at once exactly as many get through as the burst allows" {
    for round in 1 2 3; do
        for n in 1 2 3 4 5 6 7 8; do
            background sh -c 'throttle -r 1/h -b 3 --wait 0 "$1" -- sh -c "echo x >>$1" 2>/dev/null; echo $? >>"$1.status"' sh "api$round"
        done
        for one in "${helper_pids[@]}"; do ends_with 0 "$one"; done
        helper_pids=()
        [ "$(wc -l <"api$round")" -eq 3 ]
        [ "$(sort "api$round.status" | uniq -c | awk '{print $1 "*" $2}' | paste -sd' ')" = '3*0 5*75' ]
        [ "$(bucket "api$round" .taken)" -eq 3 ]
    done
}

@test "throttle: its word to consume delays the event by the bucket's delay" {
    seq 2 | sed 's/.*/{"type":"n","id":"e&","data":&}/' | publish
    # 69 and 75 of a handler are told apart by consume; the delay is that of the bucket.
    run -0 --separate-stderr consume -g g --from start --backoff 0s -- throttle -r 1/h --wait 0 api -- printenv EVENT_ID
    [ "$output" = e1 ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.waiting,.dead]')" = '[1,1,0]' ]
}

@test "throttle: a signal while it waits ends it with 128 + n, and the command never runs" {
    throttle -r 1/h api -- true
    for signal in 15 2 1; do
        taken=$(bucket api .taken)
        background throttle -r 1/h api -- touch ran
        waits() { [ "$(bucket api .taken)" -gt "$taken" ]; }
        wait_for waits
        kill -s "$signal" "$pid"
        ends_with $((128 + signal)) "$pid"
    done
    [ ! -e ran ]
}

@test "throttle: a signal that comes before it is ready counts, too" {
    run -143 --separate-stderr env --block-signal=TERM sh -c 'kill -TERM $$; exec throttle -r 1/h api -- touch ran'
    [ ! -e ran ]
}

@test "throttle: --by takes the bucket of the event on stdin, which the command gets whole" {
    printf '%s' '{"data":{"c":"x y"},"n":1}' >in
    run -0 --separate-stderr throttle -r 1/h --by /data/c --wait 0 sms -- cat < <(cat in)
    [ "$output" = "$(cat in)" ]
    run -75 --separate-stderr throttle -r 1/h --by /data/c --wait 0 sms -- cat < <(cat in)
    [[ $stderr =~ ^'throttle: "sms/x y": '$refused ]]
    run -0 throttle -r 1/h --by /data/c --wait 0 sms -- cat <<<'{"data":{"c":"z"}}'
    run -0 throttle -r 1/h --by /data/c --wait 0 sms -- cat <<<'no JSON'
    [ "$output" = 'no JSON' ]
    run -75 --separate-stderr throttle -r 1/h --by /data/c --wait 0 sms -- cat <<<'{}'
    [[ $stderr =~ ^'throttle: "sms/": '$refused ]]
    # A file from where it stood, and more than fits a pipe.
    { echo; head -c 1048576 /dev/zero; } >large
    {
        read -r _
        throttle -r 1/h -b 9 --by /data/c big -- cat >out
    } <large
    tail -c 1048576 large | cmp - out
    throttle -r 1/h -b 9 --by /data/c big -- cat < <(cat large) | cmp - large
}

@test "throttle: a line that is too long is dropped, which is reported and is 65, with and without --by" {
    long() { echo '"a"'; head -c 67108865 /dev/zero; printf '\n"b"\n'; }
    for by in '' --by=/x; do
        run -65 --separate-stderr throttle -r 1000/s $by < <(long)
        [ "$output" = $'"a"\n"b"' ]
        [ "$stderr" = $'throttle: line 2: longer than 64 MiB: left out\nthrottle: 1 line left out' ]
    done
}

# --- the bucket

@test "throttle: spool bucket close holds all back, and open lets them go" {
    run -0 --separate-stderr throttle -r 1000/s -b 5 api -- true
    run -0 spool bucket close api 1h
    [ "$(bucket api .state)" = closed ]
    run -75 --separate-stderr throttle -r 1000/s -b 5 --wait 0 api -- touch ran
    [[ $stderr =~ ^'throttle: "api": '$refused ]]
    run -75 throttle -r 1000/s -b 5 --wait 50m api -- touch ran
    [ ! -e ran ]
    run -0 spool bucket open api
    [ "$output" = 'bucket api open' ]
    run -0 throttle -r 1000/s -b 5 --wait 0 api -- echo now
    [ "$output" = now ]
}

@test "throttle: a process that waits for its turn keeps waiting when the bucket is closed" {
    needs_world
    echo 0 >clock
    world throttle -r 1/2s api -- true
    background world throttle -r 1/2s api -- touch ran
    waits() { [ "$(bucket api .taken)" -eq 2 ]; }
    wait_for waits
    spool bucket close api 1h
    # Its turn comes, and it takes another one behind the pause.
    again() { [ "$(bucket api .taken)" -eq 3 ]; }
    wait_for again
    kill "$pid"
    ends_with 143 "$pid"
    [ ! -e ran ]
}

@test "throttle: a used-up bucket fills again, one by one, up to its burst" {
    needs_world
    for at in 0 0 3700 999999 999999; do
        echo "$at" >clock
        run -0 world throttle -r 1/h -b 2 --wait 0 api -- true
    done
    run -75 world throttle -r 1/h -b 2 --wait 0 api -- true
}

@test "throttle: after a clock is set back no process waits for the old time" {
    needs_world
    echo 31557600 >clock
    world throttle -r 1/s -b 2 api -- true
    run -0 throttle -r 1/s -b 2 --wait 0 api -- true
    echo 31557600 >clock
    world spool bucket close api 1ms
    run -0 throttle -r 1/s -b 2 --wait 10s api -- true
}

@test "throttle: another rate or burst holds from then on, also for a used-up bucket, with one warning" {
    for _ in 1 2 3; do throttle -r 1/h -b 3 api -- true; done
    run -75 --separate-stderr throttle -r 1/h -b 3 --wait 0 api -- touch ran
    [ "${#stderr_lines[@]}" -eq 1 ]
    run -0 --separate-stderr throttle -r 1/h -b 5 --wait 0 api -- true
    [ "$stderr" = 'throttle: bucket "api" had another rate or burst: the new one applies from now on' ]
    run -0 --separate-stderr throttle -r 1/h -b 5 --wait 0 api -- true
    [ -z "$stderr" ]
    # Faster: who waits, waits as long as at the new rate.
    run -0 --separate-stderr throttle -r 1000/s -b 5 --wait 20s api -- true
    [ "$stderr" = 'throttle: bucket "api" had another rate or burst: the new one applies from now on' ]
    [ "$(bucket api '[.rate,.burst]')" = '["1000/s",5]' ]
    [ ! -e ran ]
}

@test "throttle: when the spool cannot be used the command runs, with a warning" {
    spoil_spool
    run -3 --separate-stderr throttle -r 1/h api -- sh -c 'echo out; exit 3'
    [ "$output" = out ]
    [[ $stderr == "throttle: $EVENT_SPOOL: "*': continuing without a rate' ]]
}

# --- usage

@test "throttle: a missing command is 127, one that cannot be run 126" {
    run -127 --separate-stderr throttle -r 1/h -b 5 api -- no-such-command
    [ "${stderr_lines[-1]}" = 'throttle: cannot run "no-such-command": not found' ]
    : >plain
    run -126 --separate-stderr throttle -r 1/h -b 5 api -- ./plain
    [ "$stderr" = 'throttle: cannot run "./plain": Permission denied' ]
}

@test "throttle: wrong usage is 64, and runs nothing" {
    usage() { # MESSAGE ARGUMENT...
        local message=$1
        shift
        run -64 --separate-stderr throttle "$@" </dev/null
        [ "$stderr" = "throttle: $message (see throttle --help)" ] || {
            echo "$*: $stderr" >&2
            return 1
        }
    }
    usage '-r RATE is missing'
    usage '-r RATE is missing' api -- touch ran
    usage '-r wants a rate like 100/s or 5/m: "0/s"' -r 0/s api -- touch ran
    usage '-r wants a rate like 100/s or 5/m: "10"' -r 10 api -- touch ran
    usage '-b is more than comes in 36500d at that rate: 1000000' -r 1/365d -b 1000000 api -- touch ran
    usage '-b is more than comes in 36500d at that rate: 1000000' -r 1/365d -b 1000000
    usage 'NAME is missing: it goes before the command' -r 1/s -- touch ran
    usage 'NAME is empty (an unset variable?)' -r 1/s '' touch ran
    usage 'NAME has a control character: "a\nb"' -r 1/s $'a\nb' touch ran
    usage '--wait is for a command: lines wait for their turn' -r 1/s --wait 1s api
    usage '"-b": options go before api' -r 1/s api -b 3
    run -64 throttle -r 1/s --by data api -- touch ran
    run -64 throttle -r 1/s -b 0 api -- touch ran
    run -64 throttle -r 1/s "$(head -c 256 /dev/zero | tr '\0' x)" -- touch ran
    run -64 throttle -r 1/s $'\xff' -- touch ran
    [ ! -e ran ]
    spool_missing
}

@test "throttle: a reader that has gone ends it, however long the next turn is away" {
    run -0 --separate-stderr bash -c 'seq 9 | throttle -r 1/h -b 3 | head -n 3; exit "${PIPESTATUS[1]}"'
    [ "$output" = $'1\n2\n3' ]
    run -0 --separate-stderr bash -c 'for i in 1 2 3 4; do echo "{\"k\":1}"; done | throttle -r 1/h -b 3 --by /k | head -n 3; exit "${PIPESTATUS[1]}"'
    [ "${#lines[@]}" -eq 3 ]
}

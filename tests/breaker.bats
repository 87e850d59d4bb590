# breaker: run a command unless its dependency is down. tests/unit/breaker.c tests its state
# machine.
load helper

# b [OPTION...] COMMAND...: through the breaker x. at SECONDS: the time of day, from now on.
at() { echo "$1" >clock; }
tries() { wc -l <tried; }

fail() { # N [OPTION...]: so many calls that fail
    local n=$1
    shift
    for ((; n > 0; n--)); do breaker "$@" x -- sh -c 'echo >>tried; exit 7' || [ $? -eq 7 ]; done
}

state() { spool breaker show x -o ndjson | jq -r .state; }
told() { replay -t 'sys.breaker.#' | jq -r '.type | ltrimstr("sys.breaker.")' | paste -sd' '; }

@test "breaker: closed, the command has our stdin, stdout, stderr, arguments, environment and status" {
    run -0 --separate-stderr breaker x -- true
    [ "$stderr" = "breaker: created the spool $EVENT_SPOOL" ]
    run -9 --separate-stderr sh -c 'echo in | WORD=w breaker x -- sh -c "cat; echo \"\$1\" \$WORD; echo err >&2; exit 9" sh "a  b"'
    [ "$output" = $'in\na  b w' ]
    [ "$stderr" = err ]
}

@test "breaker: the command keeps the descriptors that we were started with, and no others" {
    breaker x -- true
    run -0 breaker x -- sh -c 'cat <&7' 7<<<seven
    [ "$output" = seven ]
    run -0 sh -c 'breaker x -- ls /proc/self/fd; ls /proc/self/fd'
    [ "$(head -n $((${#lines[@]} / 2)) <<<"$output")" = "$(tail -n $((${#lines[@]} / 2)) <<<"$output")" ]
}

@test "breaker: after 5 failures in a row it is open: 69 at once, and the command does not run" {
    fail 4
    breaker x -- true
    fail 4
    [ "$(state)" = closed ]
    run -7 --separate-stderr breaker x -- sh -c 'exit 7'
    [ "$stderr" = 'breaker: "x" is open for 30s: 5 failures in a row, the last: exit status 7' ]
    run -69 --separate-stderr breaker x -- sh -c 'echo >>tried'
    [[ $stderr =~ ^'breaker: "x" is open, the next probe in '(30|2[0-9.]+)'s: 5 failures in a row, the last: exit status 7'$ ]]
    [ "$(tries)" -eq 8 ]
    [ "$(told)" = opened ]
}

@test "breaker: --failures; a signal is a failure, 65 and a command that cannot be run are not" {
    run -137 breaker --failures 3 x -- sh -c 'kill -KILL $$'
    run -65 breaker --failures 3 x -- sh -c 'exit 65'
    run -127 --separate-stderr breaker --failures 3 x -- ./none
    [ "$stderr" = 'breaker: cannot run "./none": not found' ]
    : >plain
    run -126 breaker --failures 3 x -- ./plain
    run -127 breaker --failures 3 x -- sh -c 'exit 127'
    fail 2 --failures 3
    [ "$(spool breaker show x -o ndjson | jq -c '[.state,.calls,.failures,.ignored]')" = '["open",7,3,4]' ]
}

@test "breaker: --ignore-on statuses are the caller's fault, and then 65 is a failure" {
    for _ in 1 2 3; do run -22 breaker --failures 1 --ignore-on 22,23 x -- sh -c 'exit 22'; done
    [ "$(state)" = closed ]
    run -65 breaker --failures 1 --ignore-on 22,23 x -- sh -c 'exit 65'
    [ "$(state)" = open ]
}

@test "breaker: --error-percent, strictly above it and not before --volume calls" {
    set -- --error-percent 50 --volume 4 --window 1h
    fail 3 "$@"
    [ "$(state)" = closed ]
    for _ in 1 2 3 4; do breaker "$@" x -- true; done
    fail 1 "$@"
    [ "$(state)" = closed ]
    run -7 --separate-stderr breaker "$@" x -- sh -c 'exit 7'
    [ "$stderr" = 'breaker: "x" is open for 30s: 5 of 9 calls failed, the last: exit status 7' ]
}

@test "breaker: --timeout ends the command and its descendants, and counts as a failure" {
    run -124 breaker --failures 2 --timeout 100ms x -- sh -c 'setsid sleep 600 & echo $! >pid; exec sleep 600'
    run -124 --separate-stderr breaker --failures 2 --timeout 100ms x -- sleep 600
    [ "$stderr" = 'breaker: "x" is open for 30s: 2 failures in a row, the last: timed out after 100ms' ]
    [ ! -s pid ] || wait_for gone "$(cat pid)" # else it had no time to come to be
    [ "$(spool breaker show x -o ndjson | jq .timeouts)" -eq 2 ]
}

@test "breaker: --slow counts a slow success as a failure, and its status is still 0" {
    run -0 --separate-stderr breaker --failures 1 --slow 1ms x -- sleep 0.05
    [[ $stderr == *'is open for 30s: 1 failure in a row, the last: it took '*s ]]
    fail 0
    run -69 breaker --slow 1ms x -- true
}

@test "breaker: after the pause one probe; when it fails the pause doubles, when it succeeds it closes" {
    needs_world
    at 0
    fail 5
    at 29
    run -69 world breaker x -- true
    for step in '31 1m' '92 2m' '213 4m'; do
        at "${step% *}"
        run -7 --separate-stderr world breaker x -- sh -c 'exit 7'
        [ "${stderr_lines[-1]}" = "breaker: \"x\" is open for ${step#* }: a probe failed: exit status 7" ]
    done
    at 500
    run -0 --separate-stderr world breaker x -- true
    [ "$stderr" = 'breaker: "x" is closed: a probe succeeded' ]
    [ "$(told)" = 'opened half-opened opened half-opened opened half-opened opened half-opened closed' ]
}

@test "breaker: --open sets the first pause and the longest one" {
    needs_world
    at 0
    fail 5 --open 1s..3s
    for step in '2 2s' '5 3s' '9 3s'; do
        at "${step% *}"
        run -7 --separate-stderr world breaker --open 1s..3s x -- sh -c 'exit 7'
        [ "${stderr_lines[-1]}" = "breaker: \"x\" is open for ${step#* }: a probe failed: exit status 7" ]
    done
}

@test "breaker: a pause is printed exactly, also below a second" {
    for pause in 500ms 1.5s 90s=1m30s 1500m=1d1h; do
        run -7 --separate-stderr breaker --failures 1 --open "${pause%=*}" "$pause" -- sh -c 'exit 7'
        [ "${stderr_lines[-1]}" = "breaker: \"$pause\" is open for ${pause#*=}: 1 failure in a row, the last: exit status 7" ]
    done
}

@test "breaker: --probes successes close it, one failure opens it" {
    needs_world
    at 0
    fail 5 --probes 3
    at 31
    world breaker --probes 3 x -- true
    world breaker --probes 3 x -- true
    [ "$(state)" = half-open ]
    run -7 world breaker --probes 3 x -- sh -c 'exit 7'
    [ "$(state)" = open ]
    at 100
    for _ in 1 2 3; do
        [ "$(state)" != closed ]
        world breaker --probes 3 x -- true
    done
    [ "$(state)" = closed ]
}

# 8 processes at once; those that got through write to ran, the others' statuses are in rejected.
eight() { # [OPTION...]
    local pids=()
    for _ in 1 2 3 4 5 6 7 8; do
        (
            world breaker "$@" x -- sh -c 'echo >>ran; while [ ! -e go ]; do sleep 0.02; done' 2>>said || echo $? >>rejected
        ) 3>&- &
        pids+=($!)
    done
    all_asked() { [ $(($(cat ran rejected 2>/dev/null | wc -l))) -eq 8 ]; }
    wait_for all_asked
    : >go
    wait "${pids[@]}"
}

@test "breaker: of 8 processes that arrive when the pause is over, exactly the allowed number are probes" {
    needs_world
    for probes in 1 3; do
        rm -f ran rejected go said
        no_spool
        at 0
        fail 5 --probes "$probes"
        at 31
        eight --probes "$probes"
        [ "$(wc -l <ran)" -eq "$probes" ]
        [ "$(sort -u rejected)" = 69 ]
        grep -q '^breaker: "x" is half-open, and another call is the probe$' said
        [ "$(state)" = closed ]
    done
}

@test "breaker: no more than --capacity calls at once over all processes" {
    needs_world
    at 0
    eight --capacity 2
    [ "$(wc -l <ran)" -eq 2 ]
    [ "$(sort said | uniq -c | sed 's/^ *//' | grep 'at once')" = '6 breaker: "x" has reached its limit of calls at once (2)' ]
    [ "$(state)" = closed ]
    breaker --capacity 2 x -- true
}

@test "breaker: 8 processes that fail at once open it once" {
    pids=()
    for _ in 1 2 3 4 5 6 7 8; do
        (for _ in 1 2 3 4 5; do breaker x -- sh -c 'echo >>tried; exit 7' || true; done) 2>/dev/null 3>&- &
        pids+=($!)
    done
    wait "${pids[@]}"
    [ "$(told)" = opened ]
    run -0 spool breaker show x -o ndjson
    [ "$(jq '.failures + .rejects' <<<"$output")" -eq 40 ]
    [ "$(jq .failures <<<"$output")" -eq "$(tries)" ]
}

@test "breaker: a prober that is killed leaves its place to the next, and its command dies with it" {
    needs_world
    at 0
    fail 5
    at 31
    worldly
    background "${world[@]}" breaker x -- sh -c 'echo $$ >probing; exec sleep 600'
    wait_for test -s probing
    run -69 world breaker x -- true
    slay "$pid"
    ended() { ! kill -0 "$(cat probing)" 2>/dev/null; }
    wait_for ended
    run -0 --separate-stderr world breaker x -- true
    [ "$stderr" = 'breaker: "x" is closed: a probe succeeded' ]
}

@test "breaker: late reports of calls that began before it opened do not change its state" {
    background sh -c 'exec breaker x -- sh -c ": >begun; while [ ! -e go ]; do sleep 0.02; done; exit 7"'
    wait_for test -e begun
    fail 5
    before=$(spool breaker show x -o ndjson | jq -c '[.state,.since,.next_probe]')
    : >go
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 7 ]
    [ "$(spool breaker show x -o ndjson | jq -c '[.state,.since,.next_probe]')" = "$before" ]
    [ "$(spool breaker show x -o ndjson | jq .failures)" -eq 6 ]
}

@test "breaker: --fallback runs instead while it is open, with the same stdin" {
    printf '#!/bin/sh\necho "fallback got $(cat)"; exit 3\n' >back
    chmod +x back
    run -0 --separate-stderr sh -c 'echo event | breaker --fallback ./back x -- cat'
    [ "$output" = event ]
    run -7 sh -c 'echo event | breaker --failures 1 --fallback ./back x -- sh -c "exit 7"'
    run -3 --separate-stderr sh -c 'echo event | breaker --fallback ./back x -- cat'
    [ "$output" = 'fallback got event' ]
}

@test "breaker: --cache answers with the last good output while it is open, until it is too old" {
    needs_world
    at 0
    set -- --failures 1 --open 1h --cache 1m x --
    world breaker "$@" echo first
    world breaker "$@" printf 'rates\0 of today' >out
    printf 'rates\0 of today' | cmp - out
    run -7 --separate-stderr world breaker "$@" sh -c 'echo bad; exit 7'
    [ "$output" = bad ]
    world breaker "$@" true >out
    printf 'rates\0 of today' | cmp - out
    at 61
    run -69 world breaker "$@" true
}

@test "breaker: --cache reports an output that is too long to be kept, and keeps the one before it" {
    set -- --failures 1 --cache 1h x --
    breaker "$@" echo first
    run -0 --separate-stderr sh -c 'breaker "$@" head -c 1048577 /dev/zero | wc -c' sh "$@"
    [ "$output" = 1048577 ]
    [ "$stderr" = 'breaker: 1048577 bytes, more than 1 MiB: the output is not kept for --cache' ]
    run -7 breaker "$@" sh -c 'exit 7'
    run -0 --separate-stderr breaker "$@" true
    [ "$output$stderr" = first ]
}

@test "breaker: --check probes in place of the command" {
    needs_world
    printf '#!/bin/sh\necho shown; cat >got; echo >>checked; exit "$(cat health)"\n' >check
    chmod +x check
    at 0
    fail 5
    echo 1 >health
    at 31
    run -69 world breaker --check ./check x -- sh -c 'echo >>ran'
    [[ $output == *'is open for 1m: a probe failed: exit status 1'* ]]
    [ ! -e ran ]
    [ ! -s got ]
    echo 0 >health
    at 100
    run -0 --separate-stderr world breaker --check ./check x -- echo real
    [ "$output" = real ]
    [ "$stderr" = 'breaker: "x" is closed: a probe succeeded' ]
    [ "$(wc -l <checked)" -eq 2 ]
    run -0 world breaker --check ./check x -- true
    [ "$(wc -l <checked)" -eq 2 ]
}

@test "breaker: a --check that does not report that all is well has failed, whatever its status" {
    needs_world
    printf '#!/bin/sh\nexit 65\n' >check
    chmod +x check
    at 0
    fail 5
    at 31
    run -69 --separate-stderr world breaker --check ./check x -- true
    [ "${stderr_lines[0]}" = 'breaker: "x" is open for 1m: a probe failed: exit status 65' ]
    at 100
    run -127 --separate-stderr world breaker --check ./none x -- true
    [ "$stderr" = 'breaker: cannot run "./none": not found' ]
    printf '#!/bin/sh\n: >begun\nexec sleep 600\n' >check
    worldly
    background "${world[@]}" breaker --check ./check x -- sh -c ': >ran'
    wait_for test -e begun
    kill -TERM "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 143 ]
    [ ! -e ran ]
    [ "$(state)" = half-open ]
}

@test "breaker: within --warm-up of its first call it does not open" {
    needs_world
    at 0
    world breaker --warm-up 1m x -- true
    fail 6 --warm-up 1m
    [ "$(state)" = closed ]
    at 61
    run -7 world breaker --warm-up 1m x -- sh -c 'exit 7'
    [ "$(state)" = open ]
}

@test "breaker: changed settings hold from then on, with a warning" {
    breaker x -- true
    run -7 --separate-stderr breaker --failures 1 x -- sh -c 'exit 7'
    [ "$stderr" = $'breaker: "x" had other settings: the new ones apply from now on\nbreaker: "x" is open for 30s: 1 failure in a row, the last: exit status 7' ]
}

@test "breaker: its state outlives processes and belongs to the spool: another spool, another breaker" {
    fail 5
    run -69 breaker x -- true
    run -0 breaker -s other.db x -- true
    run -0 breaker y -- true
}

@test "breaker: a change of state is an event with the figures" {
    fail 5
    run -0 replay -t sys.breaker.opened
    [ "$(jq -c '[.subject, .data.breaker, .data.state, .data.reason, .data.calls, .data.failures]' <<<"$output")" = \
        '["x","x","open","5 failures in a row, the last: exit status 7",5,5]' ]
    [ "$(jq -r .data.until <<<"$output")" = "$(spool breaker show x -o ndjson | jq -r .next_probe)" ]
}

@test "breaker: trip, reset and disable by hand" {
    publish -t t -d 1
    spool breaker trip x
    run -69 breaker x -- true
    spool breaker reset x
    fail 4
    spool breaker disable x
    fail 9
    run -0 breaker x -- true
    [ "$(state)" = disabled ]
    spool breaker enable x
    fail 4
    [ "$(state)" = closed ]
    [ "$(told)" = 'opened closed disabled closed' ]
}

@test "breaker: a signal reaches the command, counts as nothing, and its status is ours" {
    background breaker --failures 1 x -- sh -c 'trap "echo >>caught; exit 5" TERM; : >begun; while :; do sleep 0.02; done'
    wait_for test -e begun
    kill -TERM "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 5 ]
    [ -e caught ]
    [ "$(spool breaker show x -o ndjson | jq -c '[.state,.ignored]')" = '["closed",1]' ]
}

@test "breaker: when the spool cannot be used the command runs, with a warning" {
    : >file
    run -7 --separate-stderr breaker -s file/spool.db x -- sh -c 'echo ran; exit 7'
    [ "$output" = ran ]
    [[ $stderr == 'breaker: '*': continuing without a breaker' ]]
    echo text >text
    run -0 --separate-stderr breaker -s text x -- echo ran
    [ "$output" = ran ]
    [ "$stderr" = "breaker: $PWD/text: not an eventutils spool: continuing without a breaker" ]
}

@test "breaker: wrong usage is 64" {
    usage() { # MESSAGE ARG...
        local said=$1
        shift
        run -64 --separate-stderr breaker "$@"
        [ "$stderr" = "breaker: $said (see breaker --help)" ]
    }
    usage 'NAME is missing: it goes before the command'
    usage 'NAME is missing: it goes before the command' -- true
    usage 'NAME is empty (an unset variable?)' '' true
    usage 'a command is missing' x
    usage 'a command is missing' x --
    usage '"--failures": options go before x' x --failures 3 -- true
    usage '--window and --volume go with --error-percent' --volume 3 x true
    usage $'NAME has a control character: "a\\nb"' $'a\nb' true
    run -64 breaker --open 0 x true
    run -64 breaker --error-percent 100 x true
}

# --- behind consume

@test "breaker: under consume an outage costs no attempts, makes no dead letters, and ends with one probe" {
    needs_world
    at 0
    seq 20 | publish -t order
    printf '#!/bin/sh\n[ "$(cat health)" = up ] || exit 7\necho "$EVENT_ID" >>handled\n' >call
    chmod +x call
    echo down >health
    run -75 --separate-stderr world consume -g g --from start --backoff 0 -- breaker --failures 1 x -- ./call
    [[ ${stderr_lines[-1]} == 'consume: seq 1 order '*': exit status 69: exit status 7: group "g" is on hold until '* ]]
    [ "$(state)" = open ]
    for second in 31 100 230; do
        at $second
        run -75 --separate-stderr world consume -g g --backoff 0 -- breaker --failures 1 x -- ./call
    done
    [ "$(spool breaker show x -o ndjson | jq -c '[.calls,.rejects]')" = '[4,0]' ]
    echo up >health
    at 1000
    run -0 --separate-stderr world consume -g g --backoff 0 -- breaker --failures 1 x -- ./call
    [ "$(sort handled)" = "$(replay -t order | jq -r .id | sort)" ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.dead,.retried]')" = '[0,0,0]' ]
}

@test "breaker: under consume a call that fails late costs no attempt, whichever call is the probe by then, and reports no change" {
    publish -t slow -d 1
    breaker x -- true
    probe() { until breaker x -- sh -c ': >probing; until [ -e enough ]; do sleep 0.02; done'; do sleep 0.02; done; }
    for then in half-open closed; do
        rm -f begun go probing enough
        background consume -g "$then" --from start -- breaker x -- \
            sh -c ': >begun; until [ -e go ]; do sleep 0.02; done; echo refused >&2; exit 7' 2>said
        late=$pid
        wait_for test -e begun
        spool breaker trip x --for 1ms
        background probe
        wait_for test -e probing
        [ "$then" = half-open ] || : >enough
        [ "$then" = half-open ] || ends_with 0 "$pid"
        [ "$(state)" = "$then" ]
        : >go
        ends_with 75 "$late" # the group is on hold
        [[ $(cat said) == 'refused
consume: seq 1 slow '*': exit status 69: exit status 7: group "'"$then"'" is on hold until '* ]]
        [ "$(spool group show "$then" -o ndjson | jq -c '[.retried,.deferred,.dead]')" = '[0,1,0]' ]
        [ "$(state)" = "$then" ]
        : >enough
        wait_for gone "$pid"
    done
    # Where nobody listens, its status is its own.
    rm -f begun go
    background breaker x -- sh -c ': >begun; until [ -e go ]; do sleep 0.02; done; exit 7' 2>said
    wait_for test -e begun
    spool breaker trip x --for 1h
    : >go
    ends_with 7 "$pid"
    [ ! -s said ]
}

@test "breaker: when it closes, a group of its own requeues the dead letters of the outage" {
    publish -t order.placed -d 1
    run -1 consume -g charge -t order.placed --from start -- sh -c 'exit 65'
    spool breaker trip stripe
    spool breaker reset stripe
    run -0 consume -g redrive -t sys.breaker.closed --from start -- dlq retry -g charge --all
    [ "$output" = '1 dead letter given back' ]
    run -0 consume -g charge -- true
}

@test "breaker: an HTTP server that goes down and comes back gets each event once, and no call while it is open" {
    needs_world
    command -v curl >/dev/null || skip 'no curl'
    events=${LONG:+10000}
    : "${events:=300}"
    at 0
    seq "$events" | publish -t order
    echo 200 >status
    background "$TOP/tests/http-server" port status log
    wait_for test -s port
    port=$(cat port)
    url=http://127.0.0.1:$port/
    call() {
        world consume -g g --from start -j 2 "$@" -- breaker --failures 3 x -- "$TOP/share/examples/http-status" "$url"
    }
    run -0 --separate-stderr call -n $((events / 3))
    # It goes down: connections are refused.
    kill -KILL "$pid"
    wait "$pid" || true
    run -75 --separate-stderr call
    for second in 1 2 3; do # each time the hold is over, until the breaker opens
        [ "$(state)" = open ] && break
        at $((second * 1000))
        run -75 --separate-stderr call
    done
    [ "$(state)" = open ]
    # It is back, but answers with errors: only probes get there, one for each pause.
    rm port
    echo '503;Retry-After: 7' >status
    before=$(wc -l <log)
    background "$TOP/tests/http-server" port status log "$port"
    wait_for test -s port
    run -75 --separate-stderr call # the group is on hold
    run -69 world breaker --failures 3 x -- "$TOP/share/examples/http-status" "$url" <<<direct
    [ "$(wc -l <log)" -eq "$before" ]
    at 10000
    run -75 --separate-stderr call
    [ "$(tail -n +$((before + 1)) log | wc -l)" -eq 1 ]
    # It is well.
    echo 200 >status
    for second in 20000 30000 40000; do
        at $second
        run --separate-stderr call
        [ "$status" -eq 0 ] && break
    done
    [ "$status" -eq 0 ]
    [ "$(sed -n 's/^200 //p' log | jq -r .id | sort)" = "$(replay -t order | jq -r .id | sort)" ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.dead]')" = '[0,0]' ]
    [ "$(state)" = closed ]
}

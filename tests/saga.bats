# saga: steps that can be undone. lib/saga/saga.c decides what comes next; tests/unit/saga.c tests that.
load helper

# The executable behind each step: act WHAT, where WHAT begins with - for an undo. It says in acted
# that it was here, does what the file plan.WHAT says, if there is one, and prints a result.
setup() {
    helper_setup
    mkdir work
    cd work || return
    cat >act <<'EOF'
#!/bin/sh
echo "$1" >>acted
echo "$1 $SAGA_STEP_ID" >>keys
[ ! -e "plan.$1" ] || . "./plan.$1"
echo "{\"did\":\"$1\"}"
EOF
    chmod +x act
}

plan() { echo "$2" >"plan.$1"; } # WHAT SCRIPT
acts() { paste -sd' ' acted; }

step() { # NAME [MORE]
    local retry='"retry":{"attempts":2,"base":"1ms"}'
    [[ ${2:-} != *'"retry"'* ]] || retry=
    echo "{\"name\":\"$1\",\"do\":[\"./act\",\"$1\"],\"undo\":[\"./act\",\"-$1\"]${retry:+,$retry}${2:+,$2}}"
}

define() { # STEP...: in order.json
    local IFS=,
    echo "{\"name\":\"order\",\"steps\":[$*]}" >order.json
}

abc() { define "$(step a)" "$(step b)" "$(step c)"; }
diamond() {
    define "$(step a)" "$(step b '"after":["a"]')" "$(step c '"after":["a"]')" "$(step d '"after":["b","c"]')"
}

event() { # [ID]
    echo "{\"specversion\":\"1.0\",\"id\":\"${1:-1}\",\"source\":\"/shop\",\"type\":\"order.placed\",\"data\":{\"total\":5.0}}"
}

go() { # [ID [OPTION...]]: run the saga of that event
    saga run "${@:2}" order.json < <(event "${1:-1}")
}

shown() { saga show "${2:-order/1}" -o ndjson | jq -c "$1"; } # FILTER [ID]
state() { shown .state "$@" | tr -d '"'; }
steps() { shown '[.steps[].state]|join(" ")' | tr -d '"'; }
told() { replay -t 'sys.saga.#' | jq -r '.type+" "+(.data.step//"")' | sed 's/^sys.saga.//; s/ $//' | paste -sd,; }

held=': >begun; until [ -e go ]; do sleep 0.02; done'

# --- steps, and what they get

@test "saga: without any after, steps run in the order of the file" {
    abc
    run -0 --separate-stderr go
    [ -z "$output" ]
    [ "$stderr" = "saga: created the spool $EVENT_SPOOL" ]
    [ "$(acts)" = 'a b c' ]
    [ "$(state)" = completed ]
}

@test "saga: a step gets the event, earlier results and its attempt; the bytes are as they were" {
    cat >echoes <<'EOF'
#!/bin/sh
cat >"in.$SAGA_STEP"
printf '\n { "n": 1.0,\n "of":"%s"}\n\n' "$SAGA_STEP"
EOF
    chmod +x echoes
    cat >order.json <<'EOF'
{"name":"order","steps":[{"name":"one","do":["./echoes"]},{"name":"none","do":["true"]},{"name":"two","do":["./echoes"]}]}
EOF
    go
    [ "$(cat in.one)" = "{\"event\":$(event),\"results\":{},\"attempt\":1}" ]
    [ "$(cat in.two)" = "{\"event\":$(event),\"results\":{\"one\":{ \"n\": 1.0,  \"of\":\"one\"}},\"attempt\":1}" ]
    [ "$(shown '[.steps[].result]')" = '[{"n":1,"of":"one"},null,{"n":1,"of":"two"}]' ]
}

@test "saga: an undo gets the result of its step" {
    abc
    # shellcheck disable=SC2016 # the step's
    plan -a 'cat >undo-in; env | grep "^SAGA_" | sort >undo-env'
    plan b 'exit 65'
    run -0 go
    [ "$(cat undo-in)" = "{\"event\":$(event),\"results\":{\"a\":{\"did\":\"a\"}},\"result\":{\"did\":\"a\"},\"attempt\":1}" ]
    [ "$(cat undo-env)" = 'SAGA_ATTEMPT=1
SAGA_ID=order/1
SAGA_STEP=a
SAGA_STEP_ID=order/1/a/undo' ]
}

@test "saga: a step finds its keys and the event in its environment" {
    abc
    # shellcheck disable=SC2016
    plan b '[ "$SAGA_ATTEMPT" = 2 ] || exit 1; env | grep -E "^(SAGA|EVENT)_" | sort >env'
    run -0 --separate-stderr go
    grep -v -e '^EVENT_CTL=' -e '^EVENT_SPOOL=' env >rest
    [ "$(cat rest)" = 'EVENT_ATTEMPT=2
EVENT_CORRELATIONID=1
EVENT_GROUP=order/b
EVENT_HOPS=0
EVENT_ID=1
EVENT_SOURCE=/shop
EVENT_TYPE=order.placed
SAGA_ATTEMPT=2
SAGA_ID=order/1
SAGA_STEP=b
SAGA_STEP_ID=order/1/b' ]
    grep -qx "EVENT_SPOOL=$EVENT_SPOOL" env
}

@test "saga: independent steps run in parallel, up to -j of them" {
    diamond
    plan b ': >b.here; until [ -e c.here ]; do sleep 0.02; done'
    plan c ': >c.here; until [ -e b.here ]; do sleep 0.02; done'
    run -0 timeout 60 saga run order.json < <(event)
    [ "$(sed 's/c/b/' acted | paste -sd' ')" = 'a b b d' ]
    # With -j 1 never two at a time.
    # shellcheck disable=SC2016
    sed -i '2s/.*/mkdir busy || : >wrong; sleep 0.05; rmdir busy; echo "$1" >>acted/' act
    rm plan.*
    run -0 go 2 -j 1
    [ ! -e wrong ]
    [ "$(tail -n 4 acted | paste -sd' ')" = 'a b c d' ]
}

# --- failures

@test "saga: a declared failure (65) compensates at once, in the reverse order" {
    abc
    plan c 'echo "no stock" >&2; exit 65'
    run -0 --separate-stderr go
    [ "$(acts)" = 'a b c -b -a' ]
    [ "$(state)" = compensated ]
    [ "$(steps)" = 'undone undone failed' ]
    [ "$(shown .why)" = '"c: exit status 65: no stock"' ]
    [ "${stderr_lines[-1]}" = 'saga: order/1: step c: exit status 65: no stock' ]
}

@test "saga: a step with an unknown outcome is tried again under the same key, then undone with the rest" {
    abc
    plan b 'echo "hm" >&2; exit 7'
    run -0 --separate-stderr go
    [ "$(acts)" = 'a b b -b -a' ]
    [ "$(grep ' order/1/b$' keys | sort | uniq -c | sed 's/^ *//')" = '2 b order/1/b' ]
    [ "$(steps)" = 'undone undone waiting' ]
    [[ $stderr == "saga: created the spool $EVENT_SPOOL
hm
saga: order/1: step b: exit status 7: hm: again "@(at once|in 1ms)'
hm
saga: order/1: step b: exit status 7: hm' ]]
}

@test "saga: a step that succeeds at the second attempt is done" {
    abc
    # shellcheck disable=SC2016
    plan b '[ "$SAGA_ATTEMPT" -eq 2 ] || exit 7'
    run -0 go
    [ "$(acts)" = 'a b b c' ]
    [ "$(shown '.steps[1]|[.state,.attempt,.error]')" = '["done",2,null]' ]
}

@test "saga: a signal, a timeout, and a result that is not JSON leave open whether the step was done" {
    for script in 'kill -KILL $$' 'exec sleep 600' 'echo {]; exit 0' 'printf "\377"; exit 0' 'echo 1 2; exit 0'; do
        rm -f acted
        plan b "$script"
        case $script in
        *sleep*) define "$(step a)" "$(step b '"timeout":"1s"')" ;;
        *) define "$(step a)" "$(step b)" ;;
        esac
        run -0 --separate-stderr go "$((n += 1))"
        [ "$(acts)" = 'a b b -b -a' ]
        saga show "order/$n" -o ndjson | jq -r '.steps[1].error' >>errors
    done
    [ "$(cat errors)" = 'killed by signal 9 (Killed)
timed out after 1s
printed no JSON value: unexpected "]" at byte 2
printed no JSON value: invalid UTF-8 at byte 1
printed no JSON value: unexpected "2" at byte 3' ]
}

@test "saga: when a step fails, running steps are waited for, and are undone" {
    diamond
    plan b 'until [ -e c.begun ]; do sleep 0.02; done; exit 65'
    # Until its neighbour's failure is known.
    plan c ': >c.begun; until replay -t sys.saga.step-failed | grep -q .; do sleep 0.02; done'
    run -0 go
    [ "$(sed 's/c/b/' acted | paste -sd' ')" = 'a b b -b -a' ]
    [ "$(steps)" = 'undone failed undone waiting' ]
}

@test "saga: a step that waits for its next attempt is undone, not tried again, when another one fails" {
    define "$(step b '"after":[],"retry":{"attempts":2,"base":"1h"}')" "$(step c '"after":[]')"
    plan b 'exit 1'
    # Until the other one waits.
    plan c 'until saga show order/1 -o ndjson | grep -q "exit status 1"; do sleep 0.02; done; exit 65'
    run -0 timeout 60 saga run order.json < <(event)
    [ "$(sort acted | paste -sd' ')" = '-b b c' ]
    [ "$(steps)" = 'undone failed' ]
}

@test "saga: a long line on stderr is cut between characters, and shows that it was" {
    abc
    plan b 'printf %s "x$(printf "ä%.0s" $(seq 300))" >&2; exit 65'
    go
    [ "$(saga show order/1 -o ndjson | jq -r '.steps[1].error')" = "exit status 65: x$(printf 'ä%.0s' {1..249})..." ]
}

@test "saga: a failing undo is tried again, and does not stop the others; then the saga is stuck: 65" {
    abc
    plan c 'exit 65'
    plan -b 'exit 3'
    run -65 --separate-stderr go
    [ "$(acts)" = 'a b c -b -b -a' ]
    [ "$(steps)" = 'undone undo-failed failed' ]
    [ "${stderr_lines[-1]}" = 'saga: saga "order/1" is stuck: undo of b: exit status 3 (saga show order/1)' ]
    [[ ${stderr_lines[2]} == 'saga: order/1: undo of b: exit status 3: again '@(at once|in 1ms) ]]
    # It is kept and listed; again it is 65 and nothing runs.
    run -65 go
    run -65 saga resume order/1
    run -0 saga resume --all
    [ "$(wc -l <acted)" -eq 6 ]
    [ "$(saga list --state stuck -o ndjson | jq -c '[.saga,.state,.why,.pid]')" = '["order/1","stuck","undo of b: exit status 3",null]' ]
    [ -z "$(saga list --state completed)" ]
    # It can go on.
    run -1 --separate-stderr saga retry order/1 a
    [ "$stderr" = 'saga: saga order/1: step a is not what it is stuck at' ]
    run -66 --separate-stderr saga retry order/1 z
    [ "$stderr" = 'saga: saga order/1 has no step "z"' ]
    rm plan.-b
    run -0 --separate-stderr saga retry order/1 b
    [ "$(state)" = compensated ]
    # What was put right is no reason any more: neither of the saga nor of its steps.
    [ "$(saga list -o ndjson | jq -r .why)" = 'c: exit status 65' ]
    [ "$(shown '[.why, .steps[].error]')" = '["c: exit status 65",null,null,"exit status 65"]' ]
    [ "$(replay -t sys.saga.compensated | jq -r .data.reason)" = 'c: exit status 65' ]
    [ "$(tail -n +7 acted)" = -b ]
    run -1 saga retry order/1 b
    run -0 go
}

@test "saga: settle records that a person has brought a saga to its end" {
    abc
    plan c 'exit 65'
    plan -b 'exit 65'
    run -65 go
    run -0 --separate-stderr saga settle order/1 --as compensated
    [ -z "$output$stderr" ]
    [ "$(state)" = compensated ]
    [ "$(shown .why)" = '"compensated by hand"' ]
    run -0 go
    [ "$(acts)" = 'a b c -b -a' ]
    run -1 --separate-stderr saga settle order/1 --as completed
    [ "$stderr" = 'saga: saga order/1 is compensated already' ]
    run -64 saga settle order/1
    run -64 saga settle order/1 --as stuck
    run -66 saga settle order/2 --as completed
    [ "$(replay -t sys.saga.compensated | jq -r .data.reason)" = 'compensated by hand' ]
}

@test "saga: beyond the pivot nothing is undone: 75 until a step succeeds, stuck when it declares failure" {
    define "$(step a)" "$(step p '"pivot":true')" "$(step c)"
    plan c 'exit 1'
    run -75 --separate-stderr go
    [ "${stderr_lines[-1]}" = 'saga: saga "order/1": is beyond its pivot and still fails' ]
    [ "$(acts)" = 'a p c c' ]
    run -75 saga resume --all
    [ "$(acts)" = 'a p c c c c' ]
    rm plan.c
    run -0 go
    [ "$(state)" = completed ]
    plan c 'exit 65'
    run -65 go 2
    [ "$(state order/2)" = stuck ]
    rm plan.c
    run -0 saga retry order/2 c
    [ "$(state order/2)" = completed ]
    run ! grep -q -- - acted
}

@test "saga: up to the pivot everything is undone, the pivot too if it may have been done" {
    define "$(step a)" "$(step p '"pivot":true')" "$(step c)"
    plan p 'exit 65'
    run -0 go
    plan p 'exit 1'
    run -0 go 2
    [ "$(acts)" = 'a p -a a p p -p -a' ]
}

@test "saga: a missing command is 127, costs nothing, and is no reason to undo" {
    define "$(step a)" '{"name":"b","do":["./b"],"undo":["true"]}'
    run -127 --separate-stderr go
    [ "${stderr_lines[-1]}" = 'saga: saga "order/1": step b: cannot run "./b": not found' ]
    [ "$(state)" = running ]
    : >b
    run -126 saga resume --all
    printf '#!/bin/sh\ncat >in\n' >b
    chmod +x b
    run -0 saga resume --all
    [ "$(jq .attempt in)" -eq 1 ]
    [ "$(acts)" = a ]
}

@test "saga: what a step prints to stderr is seen; in documents and listings it is harmless" {
    abc
    plan b "printf 'a\\033[31m\\377b %0600d\\n' 7 >&2; exit 65"
    run -0 go
    [ "$(shown '.why|length < 600 and startswith("b: exit status 65: a\\x1b[31m\\xffb 000")')" = true ]
    plan b "printf 'reason %s%s\\n' \"\$(printf '\\001%.0s' \$(seq 200))\" \"\$(printf 'é%.0s' \$(seq 150))\" >&3; printf 'x%s\\n' \"\$(printf 'é%.0s' \$(seq 600))\" >&2; exit 65"
    run -0 go 2
    [ "$(state order/2)" = compensated ]
}

# --- one event, one saga

@test "saga: the same event is the same saga, and one of another source is another one" {
    abc
    go
    run -0 --separate-stderr go
    [ -z "$output$stderr" ]
    [ "$(acts)" = 'a b c' ]
    run -0 --separate-stderr saga run order.json < <(event | sed 's/shop/store/')
    run -0 --separate-stderr saga run order.json < <(event | sed 's/shop/store/')
    [ "$(acts)" = 'a b c a b c' ]
    # Nor is one whose id looks like that.
    run -0 --separate-stderr go 1@/store
    [ "$(saga list | jq -r .saga)" = 'order/1
order/1@/store
order/1@/store@/shop' ]
    [ "$(sort -u keys | wc -l)" -eq 9 ]
}

@test "saga: ids that are equal for a thousand bytes are not the same saga, nor the same key" {
    abc
    id=$(printf '%01000d' 0)
    go "${id}1" 2>/dev/null || true
    event "${id}1" | saga run order.json
    event "${id}2" | saga run order.json
    [ "$(wc -l <acted)" -eq 6 ]
    [ "$(sort -u keys | wc -l)" -eq 6 ]
}

@test "saga: input that is not one complete event is 65, and nothing runs" {
    abc
    bad() { # INPUT MESSAGE
        run -65 --separate-stderr saga run order.json < <(printf '%s' "$1")
        [ "${stderr_lines[-1]}" = "saga: $2" ] || { echo "$stderr"; false; }
    }
    bad '' 'stdin: no event'
    bad "$(event; event 2)" 'stdin: more than one event; consume gives each a run of its own'
    bad '{"type":"order.placed"}' 'the event has no "id"; publish completes events'
    bad '{"type":"order.placed","id":"1"}' 'the event has no "source"; publish completes events'
    bad 'no JSON' 'the event: unexpected "o" at byte 2'
    [ ! -e acted ]
    [ -z "$(saga list)" ]
}

@test "saga: changes are events in the causal chain of the saga's event" {
    abc
    publish -t order.placed --id 1 --source /shop -d 5
    plan c 'exit 65'
    plan -b '[ -e mended ] || exit 65'
    run -1 consume -g g --from start -- saga run order.json
    [ "$(told)" = 'started,step-done a,step-done b,step-failed c,step-failed b,stuck' ]
    : >mended
    saga retry order/1 b
    [ "$(told)" = 'started,step-done a,step-done b,step-failed c,step-failed b,stuck,compensated' ]
    [ "$(replay -t 'sys.saga.#' | jq -r '[.causationid,.correlationid,.subject]|join(" ")' | sort -u)" = '1 1 order/1' ]
    [ "$(replay -t sys.saga.step-failed | head -n 1 | jq -c '.data|[.saga,.name,.state,.step,.attempt,.error]')" = \
        '["order/1","order","running","c",1,"exit status 65"]' ]
    [ "$(replay -t sys.saga.stuck | jq -r .data.reason)" = 'undo of b: exit status 65' ]
    rm -f plan.* acted
    publish -t order.placed --id 2 --source /shop -d 5
    consume -g g -- saga run order.json
    [ "$(told | sed 's/.*compensated,//')" = 'started,step-done a,step-done b,step-done c,completed' ]
}

@test "saga: an event at the end of the longest causal chain can have a saga, too" {
    abc
    run -0 saga run order.json < <(event | sed 's/"data"/"hops":64,"data"/')
    [ "$(acts)" = 'a b c' ]
}

# --- one at a time, and after a death

@test "saga: of two processes on one saga one works, the other gets 75" {
    abc
    plan b "$held"
    background go
    wait_for test -e begun
    run -75 --separate-stderr go
    [ "$stderr" = "saga: saga \"order/1\": process $(saga list | jq .pid) is running it" ]
    run -75 saga resume order/1
    run -75 saga settle order/1 --as completed
    run -0 --separate-stderr saga resume --all
    [ -z "$stderr" ]
    # Another saga is another matter.
    : >go
    ends_with 0 "$pid"
    [ "$(acts)" = 'a b c' ]
    [ "$(saga list | jq .pid)" = null ]
}

@test "saga: of eight at the same time one works" {
    abc
    plan a "$held"
    for _ in 1 2 3 4 5 6 7 8; do
        background saga run order.json < <(event)
    done
    seven_ended() {
        local one n=0
        for one in "${helper_pids[@]}"; do ! gone "$one" || n=$((n + 1)); done
        [ "$n" -eq 7 ]
    }
    wait_for seven_ended
    : >go
    for one in "${helper_pids[@]}"; do
        status=0
        wait_for gone "$one"
        wait "$one" || status=$?
        echo "$status" >>statuses
    done
    [ "$(sort statuses | uniq -c | sed 's/^ *//' | paste -sd,)" = '1 0,7 75' ]
    [ "$(acts)" = 'a b c' ]
}

@test "saga: a step that a killed process had begun runs again with the same key, and nothing else does" {
    abc
    plan b '[ -e begun ] || { : >begun; exec sleep 600; }'
    background saga run order.json < <(event)
    wait_for test -e begun
    slay "$pid"
    [ "$(state)" = running ]
    run -0 --separate-stderr saga resume --all
    [ -z "$output$stderr" ]
    [ "$(acts)" = 'a b b c' ]
    [ "$(cut -d' ' -f2 keys | sort -u)" = 'order/1/a
order/1/b
order/1/c' ]
    [ "$(shown '.steps[1]|[.attempt,.state]')" = '[2,"done"]' ]
}

@test "saga: a step that a killed process had begun is undone when its neighbour then fails for good" {
    # With one hand c comes first in the second run, and b is not begun again.
    define "$(step c '"after":[]')" "$(step b '"after":[]')"
    plan b ': >begun; exec sleep 600'
    plan c '[ -e killed ] || exec sleep 600; exit 65'
    background saga run order.json < <(event)
    wait_for test -e begun
    slay "$pid"
    : >killed
    run -0 timeout 60 saga resume order/1 -j 1
    [ "$(tail -n 2 acted | paste -sd' ')" = 'c -b' ]
    [ "$(state)" = compensated ]
}

@test "saga: after a signal it waits for running steps, begins no other, and exits with 75" {
    abc
    plan b "$held"
    background saga run order.json < <(event) 2>said
    wait_for test -e begun
    kill "$pid"
    : >go
    ends_with 75 "$pid"
    grep -qx 'saga: saga "order/1": stopped' said
    [ "$(acts)" = 'a b' ]
    run -0 saga resume --all
    [ "$(acts)" = 'a b c' ]
}

@test "saga: a second signal ends running steps, which count no attempt and run again" {
    define "$(step a)" "$(step b '"retry":{"attempts":1}')"
    plan b '[ -e begun ] || { : >begun; exec sleep 600; }'
    background saga run order.json < <(event) 2>said
    wait_for test -e begun
    kill "$pid"
    again() { kill "$pid" 2>/dev/null; gone "$pid"; }
    wait_for again
    ends_with 75 "$pid"
    run -0 saga resume --all
    [ "$(acts)" = 'a b b' ]
}

@test "saga: resume continues sagas that no process runs, in the folder where they began" {
    abc
    plan b '[ -e back ] || exit 69'
    for id in 1 2; do run -69 go "$id"; done
    : >back
    cd /
    run -0 --separate-stderr saga resume --all
    [ -z "$output$stderr" ]
    cd "$OLDPWD"
    [ "$(saga list | jq -r .state | paste -sd' ')" = 'completed completed' ]
    run -64 saga resume
    run -64 saga resume --all order/1
    run -66 --separate-stderr saga resume order/9
    [ "$stderr" = 'saga: there is no saga "order/9"' ]
    # One that is done is done.
    run -0 saga resume order/1
    # A folder that has gone is said, and keeps no other one from it.
    mkdir there
    cp order.json act there
    rm back
    (cd there && echo 'exit 69' >plan.b && go 3) || [ $? -eq 69 ]
    run -69 go 4
    mv there gone
    : >back
    run -66 --separate-stderr saga resume --all
    [ "$stderr" = "saga: saga \"order/3\": cannot enter its folder \"$PWD/there\": No such file or directory" ]
    [ "$(state order/4)" = completed ]
}

@test "saga: four resume --all at once share the work, and none complains" {
    define "$(step a)"
    plan a '[ -e up ] || exit 69'
    for id in {1..15}; do
        run -69 saga run order.json < <(event "$id")
    done
    : >up
    : >acted
    for _ in 1 2 3 4; do
        background saga resume --all 2>>errors
    done
    for one in "${helper_pids[@]}"; do ends_with 0 "$one"; done
    [ ! -s errors ]
    [ "$(wc -l <acted)" -eq 15 ]
    [ "$(saga list --state completed | wc -l)" -eq 15 ]
}

@test "saga: a damaged saga is reported, also by resume --all, which continues with the others" {
    define "$(step a)"
    plan a '[ -e up ] || exit 69'
    for id in 1 2; do
        run -69 saga run order.json < <(event "$id")
    done
    : >up
    sql "UPDATE document SET value = $(bytes '{"id"') WHERE name = 'order/1'"
    run -0 --separate-stderr saga list
    [ "$stderr" = 'saga: saga "order/1" is damaged' ]
    run -74 --separate-stderr saga resume --all
    [ "${stderr_lines[-1]}" = 'saga: saga "order/1" is damaged' ]
    [ "$(state order/2)" = completed ]
    run -74 --separate-stderr saga run order.json < <(event)
    [ "$stderr" = 'saga: saga "order/1" is damaged' ]
}

@test "saga: a definition that is edited is for new sagas; running ones keep theirs" {
    abc
    plan b '[ -e back ] || exit 69'
    run -69 go
    define "$(step x)"
    : >back
    run -0 go
    run -0 go 2
    [ "$(acts)" = 'a b b c x' ]
    rm order.json
    run -0 saga resume order/1
}

# --- time

@test "saga: --deadline undoes a saga that is not completed by then, also when no process was running" {
    needs_world
    abc
    echo 0 >clock
    cp clock ..
    plan b '[ -e back ] || exit 69'
    run -69 world saga run --deadline 1h order.json < <(event)
    echo 3590 >../clock
    run -69 world saga resume --all
    echo 3610 >../clock
    run -0 --separate-stderr world saga resume --all
    [ "$(acts)" = 'a b b -a' ]
    [ "$(state)" = compensated ]
    [ "$(shown .why)" = '"its deadline is over"' ]
}

@test "saga: a step that the deadline interrupts may have been done, and is undone" {
    needs_world
    define "$(step a)" "$(step b '"retry":{"attempts":9,"base":"10h"}')"
    echo 0 >../clock
    plan b 'echo 3700 >../clock; exit 1'
    worldly
    run -0 timeout 60 "${world[@]}" saga run --deadline 1h order.json < <(event)
    [ "$(acts)" = 'a b -b -a' ]
}

@test "saga: a deadline beyond the pivot: stuck, and a step of it can be tried by hand" {
    needs_world
    define "$(step a)" "$(step p '"pivot":true')" "$(step c)"
    echo 0 >../clock
    plan c '[ -e back ] || exit 69'
    run -69 world saga run --deadline 1h order.json < <(event)
    echo 3700 >../clock
    run -65 --separate-stderr world saga resume --all
    [ "${stderr_lines[-1]}" = 'saga: saga "order/1" is stuck: its deadline is over (saga show order/1)' ]
    : >back
    run -0 world saga retry order/1 c
    [ "$(state)" = completed ]
}

@test "saga: a final saga is forgotten after --keep, by default 30 days; a stuck one never" {
    needs_world
    abc
    echo 0 >../clock
    world saga run order.json < <(event)
    world saga run --keep 1h order.json < <(event 2)
    plan c 'exit 65'
    plan -a 'exit 65'
    run -65 world saga run --keep 1h order.json < <(event 3)
    echo 3700 >../clock
    [ "$(world saga list | jq -r .saga | paste -sd' ')" = 'order/1 order/3' ]
    echo $((86400 * 30 + 60)) >../clock
    [ "$(world saga list | jq -r .saga | paste -sd' ')" = 'order/3' ]
}

# --- behind consume

@test "saga: as a handler it runs for each event, and the redelivery of a killed one goes on" {
    abc
    for id in 1 2; do event "$id"; done | publish
    plan b '[ -e begun ] || { : >begun; exec sleep 600; }'
    background consume -g g --from start -- saga run order.json
    wait_for test -e begun
    slay -"$pid"
    run -0 timeout 60 consume -g g -- saga run order.json
    [ "$(acts)" = 'a b b c a b c' ]
    [ "$(saga list | jq -r .state | paste -sd' ')" = 'completed completed' ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.dead]')" = '[0,0]' ]
}

@test "saga: a step that ends with 69 holds the group for the time that it names, and costs nothing" {
    abc
    event | publish
    # shellcheck disable=SC2016
    plan b 'echo delay 1h >&3; echo reason the bank is down >&3; [ -e back ] || exit 69'
    run -75 --separate-stderr consume -g g --from start -a 1 -- saga run order.json
    [[ $stderr == *': exit status 69: the bank is down: group "g" is on hold until '* ]] || { echo "$stderr"; false; }
    [ "$(spool group show g -o ndjson | jq -c '[.state,.lag,.retried,.dead]')" = '["on hold",1,0,0]' ]
    [ "$(shown '.steps[1]|[.state,.error]')" = '["waiting",null]' ]
    [ -z "$(replay -t sys.saga.step-failed)" ]
    : >back
    spool group resume g
    # Whoever comes sooner may try.
    run -0 timeout 100 consume -g g -- saga run order.json
    [ "$(acts)" = 'a b b c' ]
}

@test "saga: a breaker before a step defers the group while it is open" {
    abc
    event | publish
    printf '#!/bin/sh\n[ -e back ] || exit 7\n./act b\n' >call
    chmod +x call
    define "$(step a)" '{"name":"b","do":["breaker","--failures","1","bank","./call"],"undo":["./act","-b"],"retry":{"attempts":5,"base":"1ms"}}' "$(step c)"
    run -75 consume -g g --from start -a 1 -- saga run order.json
    [ "$(spool group show g -o ndjson | jq -c '[.state,.dead]')" = '["on hold",0]' ]
    [ "$(state)" = running ]
}

@test "saga: once and publish in a step do the same under consume and by hand" {
    define "$(step a)" '{"name":"b","do":["./twice"],"undo":["./twice"]}'
    cat >twice <<'EOF'
#!/bin/sh
once -- ./act b
publish -t order.charged --id "$EVENT_ID.charged" -d 1 2>/dev/null
[ -e back ] || exit 69
EOF
    chmod +x twice
    event | publish
    run -75 consume -g g --from start -- saga run order.json
    : >back
    run -0 timeout 60 saga resume --all
    [ "$(acts)" = 'a b' ]
    [ "$(replay -t order.charged | jq -r '.source|ltrimstr("/")|sub("^[^/]*";"")')" = /order/b ]
}

@test "saga: a stuck saga is a dead letter, and done once a person has settled it" {
    abc
    event | publish
    plan c 'exit 65'
    plan -a 'exit 65'
    run -1 consume -g g --from start -- saga run order.json
    [ "$(dlq show -g g -o ndjson | jq -r '.history[0].status')" -eq 65 ]
    saga settle order/1 --as compensated
    dlq retry -g g --all
    run -0 consume -g g -- saga run order.json
}

@test "saga: a step may run a saga of its own" {
    abc
    cat >inner.json <<'EOF'
{"name":"inner","steps":[{"name":"x","do":["./act","x"]}]}
EOF
    # shellcheck disable=SC2016
    plan b 'jq -c .event | saga run inner.json || exit'
    run -0 go
    [ "$(acts)" = 'a b x c' ]
    [ "$(grep ^x keys)" = 'x inner/1/x' ]
}

# --- definitions and listings

@test "saga: a mistake in a definition is reported, 65 and for run 78, and nothing runs" {
    wrong() { # JSON MESSAGE
        echo "$1" >order.json
        run -65 --separate-stderr saga check order.json
        [ "$stderr" = "saga: \"order.json\": $2" ] || { echo "$stderr"; false; }
        run -78 --separate-stderr saga run order.json < <(event)
        [ "$stderr" = "saga: \"order.json\": $2" ]
    }
    wrong '{"name":"t","steps":[' "line 1: \"']' expected near end of file\"" || true
    wrong '{"name":"t","steps":[{"name":"a","do":["x"],"undoo":["y"]}]}' 'step "a": unknown key "undoo"'
    wrong '{"name":"t","steps":[{"name":"a","do":["x"],"after":["b"]}]}' 'step "a": "after" names no step: "b"'
    wrong '{"name":"t","steps":[{"do":["x"]}]}' 'step 1 has no "name"'
    wrong '{"name":"t","steps":[{"name":"a","do":["x"],"after":["b"]},{"name":"b","do":["x"],"after":["a"]}]}' \
        '"after" forms a cycle: "a", "b"'
    [ ! -e "$EVENT_SPOOL" ]
    run -66 --separate-stderr saga check none.json
    [ "$stderr" = 'saga: none.json: No such file or directory' ] || { echo "$stderr"; false; }
    abc
    run -0 --separate-stderr saga check order.json
    [ -z "$output$stderr" ]
}

@test "saga: dot draws the graph" {
    define "$(step a)" "$(step 'b"q"' '"after":["a"],"pivot":true' | sed 's/b"q"/b\\"q\\"/g')" '{"name":"c","do":["x"],"after":["a"]}'
    run -0 --separate-stderr saga dot order.json
    [ "$output" = 'digraph "order" {
    rankdir=LR;
    node [shape=box];
    "a" [style=rounded];
    "b\"q\"" [peripheries=2];
    "a" -> "b\"q\"";
    "c";
    "a" -> "c";
}' ]
}

@test "saga: list and show, as tables and as JSON" {
    abc
    plan c 'exit 65'
    go
    run -0 --separate-stderr saga list -o table
    [[ ${lines[0]} =~ ^'SAGA '+'STATE '+'DONE '+'STEPS '+'SINCE '+'BEGUN '+'PID '+'WHY'$ ]]
    [[ ${lines[1]} =~ ^'order/1 '+'compensated '+'0 '+'3 '+.*' c: exit status 65'$ ]]
    run -0 --separate-stderr saga show order/1 -o table
    [[ ${lines[0]} =~ ^'saga order/1: compensated since '.*': c: exit status 65'$ ]]
    [[ ${lines[1]} =~ ^'STEP '+'STATE '+'ATTEMPT '+'TOOK_MS '+'RESULT '+'ERROR'$ ]]
    [[ ${lines[2]} =~ ^'a '+'undone '+'1 '+[0-9]+' '+'{"did":"a"}' ]]
    [[ ${lines[4]} =~ ^'c '+'failed '+'1 '+[0-9]+' '+'- '+'exit status 65'$ ]]
    [ "$(shown '[.saga,.name,.state,.done,.steps[0].step,.event.id]')" = '["order/1","order","compensated",0,"a","1"]' ]
    run -66 --separate-stderr saga show order/9
    [ "$stderr" = 'saga: there is no saga "order/9"' ]
    run -64 saga list --state nonsense
    run -66 saga list -s none.db
}

@test "saga: show prints results and the event with all their digits" {
    define "$(step a)"
    plan a 'echo 123456789012345678901; exit'
    echo '{"id":"1","source":"/s","type":"t","data":{"n":[12345678901234567890123,1.10]}}' | saga run order.json
    run -0 saga show order/1 -o ndjson
    [[ $output != *'"steps":'*'"steps":'* ]]
    [[ $output == *'"result":123456789012345678901}'* ]]
    [[ $output == *',"event":{"id":"1","source":"/s","type":"t","data":{"n":[12345678901234567890123,1.10]}}}' ]]
}

@test "saga: wrong usage is 64" {
    abc
    for args in '' nonsense run 'run a b' show 'show a b' retry 'retry a' 'retry a b c' settle check dot 'list a' 'run -j 0 order.json'; do
        # shellcheck disable=SC2086 # words
        run -64 --separate-stderr saga $args < <(event)
        [[ $stderr == 'saga: '*'--help)' ]] || { echo "$args: $stderr"; false; }
    done
    [ ! -e "$EVENT_SPOOL" ]
}

# --- whatever happens

# The saga is final, and as if nobody had been killed and nothing had failed.
check_final() { # ID STATE DONE-STEPS WHAT...
    local key=order/$1
    [ "$(state "$key")" = "$2" ] || { echo "$key is $(state "$key")"; return 1; }
    # Effects, each under its one key.
    grep -F " $key/" keys | sort -u | cut -d' ' -f1 | paste -sd' ' >effects
    [ "$(cat effects)" = "$(printf '%s\n' "${@:4}" | sort | paste -sd' ')" ] || { echo "$key: $(cat effects)"; return 1; }
    # Facts are told once.
    replay -t sys.saga.step-done -t "sys.saga.$2" -k "$key" | jq -r '.data.step // .type' | sort | paste -sd' ' >facts
    [ "$(cat facts)" = "$3 sys.saga.$2" ] || { echo "$key: told $(cat facts)"; return 1; }
    # What comes after a step begins when that is recorded: it never runs again.
    grep -F " $key/" keys | awk '
        BEGIN {
            n = split("a b:a c:a d:b d:c -d:d -b:-d -c:-d -a:-b -a:-c -b:b -c:c -a:a", pairs, " ")
            for (i = 1; i <= n; i++) if (split(pairs[i], p, ":") == 2) before[p[1]] = before[p[1]] " " p[2]
        }
        function over(what,   list, i, m) {
            m = split(before[what], list, " ")
            for (i = 1; i <= m; i++) if (!(list[i] in ended)) { ended[list[i]] = 1; over(list[i]) }
        }
        $1 in ended { print $2, "ran again behind what comes after it"; wrong = 1 }
        { over($1) }
        END { exit wrong }'
}

@test "saga: killed at random, again and again, it ends as if it had not been killed" {
    seed=${SEED:-$RANDOM} hits=0 range=50 # ms
    rounds=$(long 24 99) # a multiple of three
    echo "SEED=$seed"
    RANDOM=$seed
    diamond
    event before | saga run order.json 2>/dev/null
    # d fails for good: declared for every third saga, and with an unknown outcome for others.
    # shellcheck disable=SC2016
    plan d 'case $SAGA_ID in *d) exit 65 ;; *u) exit 3 ;; esac'
    set +T
    for ((round = 0; round < rounds; round++)); do
        case $((round % 3)) in
        0) id=$round-c ;;
        1) id=$round-d ;;
        2) id=$round-u ;;
        esac
        : >keys
        set -- saga run order.json
        for ((kills = RANDOM % 3 + 1; kills > 0; kills--)); do
            event "$id" >in
            "$@" <in 2>/dev/null 3>&- &
            victim=$!
            sleep "$(printf '0.%03d' $((RANDOM % range)))"
            kill -KILL "$victim" 2>/dev/null || true
            status=0
            wait "$victim" 2>/dev/null || status=$?
            # Sooner after one that came too late, on a machine of any speed.
            if [ "$status" -eq 137 ]; then
                hits=$((hits + 1)) range=$((range < 700 ? range * 4 / 3 + 1 : range))
            else
                range=$((range * 2 / 3 + 1))
            fi
            [ $((RANDOM % 2)) -eq 0 ] || set -- saga resume --all
        done
        # A command that was being started holds the lock of the killed for another moment: 75.
        ends() { event "$id" | saga run order.json 2>/dev/null; }
        wait_for ends
        n=$(wc -l <keys)
        saga resume --all
        event "$id" | saga run order.json
        [ "$(wc -l <keys)" -eq "$n" ]
        case $id in
        *c) check_final "$id" completed 'a b c d' a b c d ;;
        *d) check_final "$id" compensated 'a b c' a b c d -a -b -c ;;
        *u) check_final "$id" compensated 'a b c' a b c d -a -b -c -d ;;
        esac
    done
    set -T
    [ "$hits" -ge $((rounds / 2)) ]
    [ "$(saga list | jq -r .state | sort | uniq -c | awk '{ print $1, $2 }' | paste -sd,)" = \
        "$((rounds * 2 / 3)) compensated,$((rounds / 3 + 1)) completed" ]
}

@test "saga: the document is on disk before and after each command" {
    needs_world
    define "$(step a)" "$(step b)"
    event before | saga run order.json
    FAULT_KIND=trace FAULT_LOG=calls LD_PRELOAD=$BUILD/fault/fail.so saga run order.json < <(event)
    # Begun, taken; each step begun and done; completed.
    [ "$(grep -cE '^f(data)?sync .*-wal' calls)" -ge 7 ]
}

# Two steps and perhaps their undo, with each call of the runner failing in turn; without LONG=1,
# every fifth of them, beginning at another one for each kind.
sweep() { # PLAN KIND...
    local kind n step id status first=0 stride
    stride=$(long 5 1)
    set +T
    for kind in $(faults "${@:2}"); do
        step=$stride
        [[ $kind != */* ]] || step=$((${kind#*/} * stride))
        kind=${kind%/*}
        for ((n = 1 + first++ % stride; ; n += step)); do
            id=$kind$1$n
            : >met
            : >keys
            status=0
            event "$id" >in
            { LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=$kind FAULT_AT=$n FAULT_LOG=met \
                saga run order.json <in 2>said; } 2>/dev/null || status=$?
            [ -s met ] || break
            case $kind:$status in
            kill:137 | torn:137 | *:0 | *:7[135]) ;;
            *:74) grep -q "^saga: .*$BATS_TEST_TMPDIR/spool" said ;;
            *) false ;;
            esac || {
                echo "$id: status $status: $(cat met said)"
                return 1
            }
            runs=$(wc -l <keys)
            saga run order.json <in 2>>said || {
                echo "$id: status $status, then $?: $(cat met said)"
                return 1
            }
            if [ "$status" -eq 0 ] && [ "$(wc -l <keys)" -ne "$runs" ]; then
                echo "$id: said to be done, and was not: $(cat met)"
                return 1
            fi
            if [ "$1" = c ]; then check_final "$id" completed 'a b' a b
            else check_final "$id" compensated a a b -a; fi || {
                cat met said
                return 1
            }
        done
        [ "$status" -eq 0 ]
        [ "$n" -gt 15 ]
    done
    set -T
}

@test "saga: whatever call fails, a step that is recorded never runs again, and the next run ends it" {
    needs_world
    define "$(step a)" "$(step b)"
    event before | saga run order.json
    sweep c kill torn/2 eio/3 eio+/5 enospc+/3 eintr/5 short+/5 enolck/2
}

@test "saga: whatever call fails while it compensates, the next run ends that" {
    needs_world
    define "$(step a)" "$(step b)"
    event before | saga run order.json
    plan b 'exit 65'
    sweep u kill torn/5 enospc+/5 eio+/7
}

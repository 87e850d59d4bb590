# saga: steps with compensations. What it does next has tests/unit/saga.c.
load helper

# Steps are words of one script: step NAME [HOW...], undo NAME [HOW...]. They note what they do, with
# their key, in the file effects. The files NAME.how and undo-NAME.how hold exit statuses, one for
# each attempt, the last one for ever.
setup() {
    helper_setup
    cat >act <<'END'
#!/bin/bash
name=$2
[ "$1" = undo ] && name=undo-$2
cat >"in.$name"
printf '%s %s\n' "$name" "$SAGA_STEP_ID" >>effects
status=0
if [ -s "$name.how" ]; then
    read -r status <"$name.how"
    [ "$(wc -l <"$name.how")" -lt 2 ] || sed -i 1d "$name.how"
fi
case $status in
wait) : >"$name.begun"; while [ ! -e "$name.go" ]; do sleep 0.02; done; status=0 ;;
hang) exec sleep 600 ;;
KILL) kill -KILL $$ ;;
esac
[ "$status" = 0 ] || { echo "$name says no" >&2; exit "$status"; }
[ "$1" = undo ] || [ ! -e "$name.out" ] || cat "$name.out"
END
    chmod +x act
}

step() { # NAME [MEMBER]
    printf '{"name":"%s","do":["./act","do","%s"],"undo":["./act","undo","%s"],"retry":{"attempts":2,"base":"1ms"}%s}' "$1" "$1" "$1" "${2:+,$2}"
}

define() { # STEP...
    local IFS=,
    echo "{\"name\":\"order\",\"steps\":[$*]}" >order.saga.json
}

event() { # ID
    publish --id "$1" -t order.placed -k o-1 --source /shop -d '{"cents": 995.0}' 2>/dev/null
    replay "$1" >event
}

run_saga() { saga run order.saga.json <event; }
state() { saga show order/e1 -o ndjson | jq -r .state; }
did() { cut -d' ' -f1 effects | paste -sd' '; }
told() { replay -t 'sys.saga.#' | jq -r '.type | ltrimstr("sys.saga.")' | paste -sd' '; }

three() { define "$(step reserve)" "$(step charge)" "$(step ship)"; }

@test "saga: steps run as they are written, with the event, and results of those before" {
    three
    event e1
    printf '{ "n":\n 1.0 }\n' >reserve.out
    run -0 --separate-stderr run_saga
    [ -z "$output$stderr" ]
    [ "$(did)" = 'reserve charge ship' ]
    [ "$(cat in.reserve)" = "{\"event\":$(cat event),\"results\":{},\"attempt\":1}" ]
    [ "$(cat in.ship)" = "{\"event\":$(cat event),\"results\":{\"reserve\":{ \"n\":  1.0 }},\"attempt\":1}" ]
    [ "$(state)" = completed ]
    [ "$(told)" = 'started step-done step-done step-done completed' ]
    [ "$(replay -t 'sys.saga.#' | jq -r .causationid | sort -u)" = e1 ]
}

@test "saga: a declared failure undoes what was done, in reverse order, with results" {
    three
    event e1
    echo '{"charge":"c-7"}' >charge.out
    echo 65 >ship.how
    run -0 --separate-stderr run_saga
    [ "${stderr_lines[-1]}" = 'saga: order/e1: step ship: exit status 65: ship says no' ]
    [ "$(did)" = 'reserve charge ship undo-charge undo-reserve' ]
    [ "$(jq -c '[.result,.results]' in.undo-charge)" = '[{"charge":"c-7"},{"charge":{"charge":"c-7"}}]' ]
    [ "$(state)" = compensated ]
    [ "$(told)" = 'started step-done step-done step-failed compensated' ]
}

@test "saga: an unknown outcome is tried again under the same key, and then undone, too" {
    define "$(step reserve)" "$(step charge '"timeout":"200ms"')"
    event e1
    for how in 7 KILL hang; do
        rm -f effects spool.db*
        event e1
        echo "$how" >charge.how
        run -0 run_saga
        [ "$(cat effects)" = 'reserve order/e1/reserve
charge order/e1/charge
charge order/e1/charge
undo-charge order/e1/charge/undo
undo-reserve order/e1/reserve/undo' ]
        [ "$(state)" = compensated ]
    done
}

@test "saga: a result that is no JSON is a failure, whose effect may be there" {
    three
    event e1
    echo 'not json' >charge.out
    run -0 --separate-stderr run_saga
    [ "$(did)" = 'reserve charge charge undo-charge undo-reserve' ]
    [[ $stderr == *'step charge: printed no JSON value: unexpected '* ]]
}

@test "saga: steps that wait for nothing run side by side, and -j limits them" {
    define "$(step a)" "$(step b '"after":["a"]')" "$(step c '"after":["a"]')" "$(step d '"after":["b","c"]')"
    event e1
    echo wait >b.how
    echo wait >c.how
    background sh -c 'exec saga run order.saga.json <event'
    wait_for test -e b.begun
    wait_for test -e c.begun
    : >b.go
    : >c.go
    ends_with 0 "$pid"
    [ "$(did | tr ' ' '\n' | sort | paste -sd' ')" = 'a b c d' ]
    # One at a time: c would not begin while b waits for ever.
    rm -f effects ./*.go ./*.begun spool.db*
    event e1
    echo 0 >c.how
    background sh -c 'exec saga run -j 1 order.saga.json <event'
    wait_for test -e b.begun
    [ "$(did)" = 'a b' ]
    : >b.go
    ends_with 0 "$pid"
    [ "$(did)" = 'a b c d' ]
}

@test "saga: when one fails, those that run are waited for" {
    define "$(step a)" "$(step b '"after":[]')"
    sed -i 's/"name":"a",/"name":"a","after":[],/' order.saga.json
    event e1
    echo wait >a.how
    echo 65 >b.how
    background sh -c 'exec saga run order.saga.json <event 2>said'
    wait_for grep -q 'step b: exit status 65' said
    [ -e a.begun ]
    : >a.go
    ends_with 0 "$pid"
    [ "$(sort effects | cut -d' ' -f1 | paste -sd' ')" = 'a b undo-a' ]
}

@test "saga: an undo that fails for good leaves it stuck, and does not stop the others" {
    three
    event e1
    echo 65 >ship.how
    echo 1 >undo-charge.how
    run -65 --separate-stderr run_saga
    [ "${stderr_lines[-1]}" = 'saga: saga "order/e1" is stuck: charge: exit status 1: undo-charge says no (saga show order/e1)' ]
    [ "$(did)" = 'reserve charge ship undo-charge undo-charge undo-reserve' ]
    run -65 run_saga
    [ "$(saga list --state stuck -o ndjson | jq -r .saga)" = order/e1 ]
    [ "$(told)" = 'started step-done step-done step-failed step-failed stuck' ]
    run -1 --separate-stderr saga retry order/e1 reserve
    [ "$stderr" = 'saga: saga order/e1: step reserve is not what it is stuck at' ]
    echo 0 >undo-charge.how
    run -0 --separate-stderr saga retry order/e1 charge
    [ "$(state)" = compensated ]
}

@test "saga: settle says what a human has made of it" {
    three
    event e1
    echo 65 >ship.how
    echo 65 >undo-charge.how
    run -65 run_saga
    run -64 saga settle order/e1 --as fine
    run -0 saga settle --as compensated order/e1
    [ "$(state)" = compensated ]
    run -1 --separate-stderr saga settle --as completed order/e1
    [ "$stderr" = 'saga: saga order/e1 is compensated already' ]
    run -0 run_saga
}

@test "saga: behind the pivot nothing is undone, and what fails is tried until it succeeds" {
    define "$(step a)" "$(step pay '"pivot":true')" "$(step ship)"
    event e1
    echo 65 >pay.how
    run -0 run_saga
    [ "$(did)" = 'a pay undo-a' ]
    rm -f effects spool.db*
    event e1
    echo 0 >pay.how
    printf '1\n1\n1\n0\n' >ship.how
    run -75 --separate-stderr run_saga
    [ "${stderr_lines[-1]}" = 'saga: saga "order/e1": is beyond its pivot and fails still' ]
    [ "$(state)" = running ]
    run -0 --separate-stderr saga resume --all
    [ "$(did)" = 'a pay ship ship ship ship' ]
    [ "$(state)" = completed ]
    # What can never be done needs a human.
    rm -f effects spool.db*
    event e1
    echo 65 >ship.how
    run -65 run_saga
    [ "$(state)" = stuck ]
    [ "$(did)" = 'a pay ship' ]
}

@test "saga: the same event is the same saga: it goes on, or reports" {
    three
    event e1
    run_saga
    run -0 run_saga
    [ "$(did)" = 'reserve charge ship' ]
    event e2
    run -0 run_saga
    [ "$(saga list -o ndjson | jq -r .saga | paste -sd' ')" = 'order/e1 order/e2' ]
    # The same id of another source is another event.
    publish -t order.placed --id e1 --source /other -d 1
    replay --last 1 >event
    run -0 run_saga
    [ "$(saga list -o ndjson | jq -r .saga | paste -sd' ')" = 'order/e1 order/e1@/other order/e2' ]
}

@test "saga: two processes on one saga: one works, the other gets 75; a killed one leaves it free" {
    three
    event e1
    echo wait >charge.how
    background sh -c 'exec saga run order.saga.json <event'
    wait_for test -e charge.begun
    run -75 --separate-stderr run_saga
    [ "$stderr" = "saga: saga \"order/e1\": process $pid runs it" ]
    run -0 saga resume --all
    [ "$(saga show order/e1 -o ndjson | jq .pid)" = "$pid" ]
    kill -KILL "$pid"
    gone "$pid" || wait_for gone "$pid"
    echo 0 >charge.how
    run -0 saga resume --all
    [ "$(cat effects)" = 'reserve order/e1/reserve
charge order/e1/charge
charge order/e1/charge
ship order/e1/ship' ]
}

@test "saga: told to stop it lets what runs end, and can be resumed" {
    three
    event e1
    echo wait >charge.how
    background sh -c 'exec saga run order.saga.json <event 2>said'
    wait_for test -e charge.begun
    kill -TERM "$pid"
    : >charge.go
    ends_with 75 "$pid"
    [ "$(cat said)" = 'saga: saga "order/e1": stopped' ]
    [ "$(did)" = 'reserve charge' ]
    run -0 saga resume order/e1
    [ "$(did)" = 'reserve charge ship' ]
}

@test "saga: a running one keeps its definition" {
    three
    event e1
    echo wait >charge.how
    background sh -c 'exec saga run order.saga.json <event'
    wait_for test -e charge.begun
    kill -KILL "$pid"
    wait_for gone "$pid"
    define "$(step other)"
    echo 0 >charge.how
    run -0 run_saga
    [ "$(did)" = 'reserve charge charge ship' ]
}

@test "saga: --deadline undoes what is not done in time" {
    needs_world
    define "$(step a)" "$(step b)"
    event e1
    echo 0 >clock
    printf '{"name":"order","steps":[%s,%s]}' "$(step a)" "$(step b | sed 's/"base":"1ms"/"base":"1d","max":"1d"/')" >order.saga.json
    echo 1 >b.how
    background env LD_PRELOAD="$BUILD/fault/world.so" WORLD_CLOCK=clock sh -c 'exec saga run --deadline 1h order.saga.json <event 2>said'
    wait_for grep -q 'step b: exit status 1' said
    kill -TERM "$pid"
    ends_with 75 "$pid"
    echo 7200 >clock
    run -0 world saga resume --all
    [ "$(did)" = 'a b undo-b undo-a' ]
    [ "$(saga show order/e1 -o ndjson | jq -r .why)" = 'its deadline is over' ]
}

@test "saga: what a step needs is down: nothing is counted, and the status is 69" {
    three
    event e1
    printf '69\n69\n69\n0\n' >charge.how
    for _ in 1 2 3; do
        run -69 --separate-stderr run_saga
        [ "${stderr_lines[-1]}" = 'saga: saga "order/e1": step charge: exit status 69: charge says no' ]
    done
    [ "$(state)" = running ]
    retried() { run run_saga; [ "$status" -eq 0 ]; }
    wait_for retried
    [ "$(did)" = 'reserve charge charge charge charge ship' ]
}

@test "saga: a command that is not there is 127, costs nothing, and goes on when it is" {
    three
    event e1
    mv act away
    run -127 --separate-stderr run_saga
    [ "$stderr" = 'saga: saga "order/e1": step reserve: cannot run "./act": not found' ]
    mv away act
    retried() { run run_saga; [ "$status" -eq 0 ]; }
    wait_for retried
    [ "$(did)" = 'reserve charge ship' ]
}

@test "saga: as a handler, stuck is a dead letter, and a redelivery goes on" {
    three
    publish --id e1 -t order.placed -d 1
    printf '69\n0\n' >charge.how
    run -75 consume -g orders -t order.placed --from start --backoff 0 -- saga run order.saga.json
    served() { run consume -g orders --backoff 0 -- saga run order.saga.json; [ "$status" -eq 0 ]; }
    wait_for served
    [ "$(state)" = completed ]
    publish --id e2 -t order.placed -d 1
    echo 65 >ship.how
    echo 65 >undo-charge.how
    run -1 consume -g orders -- saga run order.saga.json
    [ "$(dlq list -o ndjson | jq -r .id)" = e2 ]
}

@test "saga: what a step publishes continues the chain of the event" {
    define '{"name":"note","do":["publish","-t","noted","-d","1"]}'
    event e1
    run -0 run_saga
    [ "$(replay -t noted | jq -r .causationid)" = e1 ]
}

@test "saga: list and show, as a table and as JSON" {
    three
    event e1
    echo 65 >ship.how
    run_saga 2>/dev/null
    run -0 saga list -o table
    [[ ${lines[0]} =~ ^SAGA\ +STATE\ +DONE\ +STEPS\ +SINCE\ +BEGUN\ +PID\ +WHY$ ]]
    [[ ${lines[1]} =~ ^order/e1\ +compensated\ +0\ +3\ +.*ship:\ exit\ status\ 65:\ ship\ says\ no$ ]]
    run -0 saga show -o table order/e1
    [[ ${lines[0]} == 'saga order/e1: compensated since '*': ship: exit status 65: ship says no' ]]
    [[ ${lines[2]} =~ ^reserve\ +undone\ +1 ]]
    run -0 saga show order/e1 -o ndjson
    [ "$(jq -c '[.name,.state,.done,(.steps|map([.step,.state]))]' <<<"$output")" = \
        '["order","compensated",0,[["reserve","undone"],["charge","undone"],["ship","failed"]]]' ]
    run -66 --separate-stderr saga show order/none
    [ "$stderr" = 'saga: there is no saga "order/none"' ]
    run -0 saga list --state stuck
    [ -z "$output" ]
}

@test "saga: check says what is wrong and where, dot draws it" {
    three
    run -0 --separate-stderr saga check order.saga.json
    [ -z "$output$stderr" ]
    echo '{"name":"t","steps":[{"name":"a","do":["x"],"undu":["y"]}]}' >bad.json
    run -65 --separate-stderr saga check bad.json
    [ "$stderr" = 'saga: "bad.json": step "a": unknown key "undu"' ]
    event e1
    run -65 saga run bad.json <event
    run -66 saga check none.json
    run -0 saga dot order.saga.json
    [ "${lines[0]}" = 'digraph "order" {' ]
    [ "$(grep -c -- '->' <<<"$output")" -eq 2 ]
}

@test "saga: input that is no event is 65" {
    three
    run -65 --separate-stderr saga run order.saga.json </dev/null
    [ "$stderr" = 'saga: stdin: no event' ]
    run -65 saga run order.saga.json <<<'{"type":"x"}'
    event e1
    cat event event >two
    run -65 --separate-stderr saga run order.saga.json <two
    [ "$stderr" = 'saga: stdin: more than one event; consume gives each a run of its own' ]
    [ ! -e effects ]
}

@test "saga: wrong usage is 64" {
    run -64 saga
    run -64 saga run
    run -64 saga resume
    run -64 saga resume --all order/e1
    run -64 saga retry order/e1
    run -64 saga list --state odd
}

# --- killed at random

# An undisturbed run tells what has to come out: a key has one effect or several, the same ones.
@test "saga: killed a hundred times at random, it ends as if it had not been" {
    define "$(step a)" "$(step b '"after":["a"]')" "$(step c '"after":["a"]')" "$(step d '"after":["b","c"]')"
    seed=$RANDOM
    echo "seed $seed"
    RANDOM=$seed
    kills=0
    for how in 0 65; do
        echo $how >d.how
        for round in $(seq 50); do
            event "$how-$round"
            rm -f effects
            background sh -c 'exec saga run order.saga.json <event 2>/dev/null'
            sleep "0.0$((RANDOM % 30))"
            kill -KILL "$pid" 2>/dev/null && kills=$((kills + 1))
            wait "$pid" 2>/dev/null || true
            saga resume --all 2>/dev/null
            run_saga 2>/dev/null
            sort -u effects >each
            want='a b c d'
            [ $how = 0 ] || want='a b c d undo-a undo-b undo-c'
            [ "$(cut -d' ' -f1 each | paste -sd' ')" = "$want" ]
            # What has ended never ran again: only what the kill met did, and that is side by side at most.
            [ "$(sort effects | uniq -d | wc -l)" -le 2 ]
            [ "$(saga show "order/$how-$round" -o ndjson | jq -r .state)" = "$([ $how = 0 ] && echo completed || echo compensated)" ]
        done
    done
    [ "$kills" -gt 30 ]
}

load helper
load postgres

# What holds something by its session on a server, and loses that session while a command runs: others
# get what it held, so it ends the command, records nothing and says so.

setup_file() { postgres_spools; }

teardown_file() { postgres_stop; }

setup() {
    helper_setup
    postgres_own
    export EVENT_SPOOL="postgresql:///$PGDATABASE?host=$POSTGRES_DIR&user=tester#shop"
    lost="$EVENT_SPOOL: the connection to the server is lost"
}

stopped() { # PID
    grep -q '^State:.T' "/proc/$1/status"
}

# stop_and_lose PID: it is stopped, as by a machine that is paused, until its session is over.
stop_and_lose() {
    kill -STOP "$1"
    wait_for stopped "$1"
    hang_up
}

# What it said, without the server's last words, which are there when it was about to ask for something.
said() {
    sed 's/: terminating connection due to administrator command//' err
}

# ends_lost PID PREFIX: it ends with 75, and this is all it says.
ends_lost() {
    ends_with 75 "$1"
    diff <(said) <(echo "$2$lost")
}

# A command that says who runs, and runs until it is ended.
endless='trap "" TERM; echo $$ >>began; while :; do sleep 600; done'

@test "lost: once ends its command when the session is lost that holds the key, and another runs it" {
    spool init 2>/dev/null
    background once -k key -- sh -c "$endless; echo out" >out 2>err
    wait_for test -s began
    hang_up
    ends_lost "$pid" 'once: its command was ended, because another process may get the key: '
    gone "$(cat began)"
    [ ! -s out ]
    run -0 once -k key -- echo second
    [ "$output" = second ]
}

@test "lost: once ends its command when the server is killed" {
    spool init 2>/dev/null
    background once -k key -- sh -c "$endless" 2>err
    wait_for test -s began
    (cd / && $POSTGRES_CTL -m immediate -w restart -l "$POSTGRES_DIR/log" >/dev/null 3>&-)
    ends_lost "$pid" 'once: its command was ended, because another process may get the key: '
    gone "$(cat began)"
}

@test "lost: once that was stopped while another process got its key ends its command and records nothing" {
    spool init 2>/dev/null
    background once -k key -- sh -c "$endless" >out 2>err
    wait_for test -s began
    stop_and_lose "$pid"
    run -0 once -k key -- echo second
    kill -CONT "$pid"
    ends_lost "$pid" 'once: its command was ended, because another process may get the key: '
    gone "$(cat began)"
    [ ! -s out ]
    run -0 once -k key -- echo third
    [ "$output" = second ]
}

@test "lost: once whose command ended while it was stopped does not record what another process did meanwhile" {
    spool init 2>/dev/null
    background once -k key -- sh -c 'echo $$ >began; until [ -e go ]; do sleep 0.02; done; echo first' >out 2>err
    wait_for test -s began
    stop_and_lose "$pid"
    run -0 once -k key -- echo second
    touch go
    wait_for gone "$(cat began)"
    kill -CONT "$pid"
    ends_with 75 "$pid"
    [[ $(cat err) == "once: the command succeeded, but that is not recorded, and it would run again: $EVENT_SPOOL: "* ]]
    [ ! -s out ]
    run -0 once -k key -- echo third
    [ "$output" = second ]
}

# waits: somebody waits for the spool's lock.
waits() {
    [ "$(psql -qAt -c "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND NOT granted")" = 1 ]
}

# Each of its processes gets it.
server_gets() { # SIGNAL
    local master pid
    master=$(head -n 1 "$POSTGRES_DIR/data/postmaster.pid")
    kill "-$1" "$master"
    for pid in $(pgrep -P "$master"); do kill "-$1" "$pid" || true; done
}

@test "lost: a signal ends the wait for the lock of a server that has been stopped" {
    publish -t x -d 1 2>/dev/null
    mkfifo hold
    psql -qAt <hold 3>&- >/dev/null &
    holder=$!
    exec 8>hold
    echo "BEGIN; SELECT pg_advisory_xact_lock('shop'::regnamespace::oid::int, 0);" >&8
    background publish -t x -d 2 8>&- 2>err
    wait_for waits
    server_gets STOP
    kill -TERM "$pid"
    wait_for gone "$pid" || status=1
    server_gets CONT
    ends_with 143 "$pid"
    [ -z "${status:-}" ]
    exec 8>&-
    wait "$holder"
    [ "$(cat err)" = "publish: $EVENT_SPOOL: the server does not answer" ]
    [ "$(replay | wc -l)" -eq 1 ]
}

saga_of() { # COMMAND: a saga of one step
    jq -n --arg run "$1" '{name: "order", steps: [{name: "pay", do: ["sh", "-c", $run], retry: {attempts: 1}}]}' >order.saga.json
    publish -t order.placed --id 1 --source /shop -d 1 --echo >event 2>/dev/null
}

saga_is() { # STATE
    [ "$(saga show order/1 -o ndjson | jq -r .state)" = "$1" ]
}

@test "lost: saga run ends its commands when the session is lost that holds the saga, and another runs it" {
    saga_of "[ ! -e go ] || exit 0; $endless"
    background saga run order.saga.json <event 2>err
    wait_for test -s began
    hang_up
    ends_lost "$pid" 'saga: saga "order/1": its commands were ended, because another process may run it: '
    gone "$(cat began)"
    touch go
    saga resume order/1
    saga_is completed
}

@test "lost: saga run that was stopped while another process finished its saga ends its commands and changes nothing" {
    saga_of "[ ! -e go ] || exit 0; $endless"
    background saga run order.saga.json <event 2>err
    wait_for test -s began
    stop_and_lose "$pid"
    touch go
    saga run order.saga.json <event
    kill -CONT "$pid"
    ends_lost "$pid" 'saga: saga "order/1": its commands were ended, because another process may run it: '
    gone "$(cat began)"
    saga_is completed
    [ "$(replay -t sys.saga.completed | wc -l)" -eq 1 ]
}

@test "lost: a command behind a breaker goes on, and its status passes" {
    spool init 2>/dev/null
    background breaker --capacity 1 api -- sh -c 'echo >began; until [ -e go ]; do sleep 0.02; done; echo out; exit 3' >out 2>err
    wait_for test -s began
    hang_up
    run -0 breaker --capacity 1 api -- echo second
    [ "$output" = second ]
    touch go
    ends_with 3 "$pid"
    [ "$(cat out)" = out ]
    [[ $(cat err) == "breaker: $lost"* ]]
}

# A consumer is stopped, another one takes and settles its event, then it goes on. Then all of these
# hold: nothing that it printed or would publish is there, its handler is over, and the event has been
# settled once.
overtaken() { # COMMAND...: the other consumer
    stop_and_lose "$pid"
    "$@" >other 2>err2
    kill -CONT "$pid"
    wait_for gone "$(head -n 1 began)"
}

settled() { # N
    group_is g 0 0 0 0
    [ "$(spool group show g -o ndjson | jq .done)" -eq "$1" ]
}

@test "lost: a consumer that was stopped while another one settled its event ends its handler, 75" {
    publish -t x -d 1 2>/dev/null
    for jobs in 1 3; do
        rm -f began
        background consume -g "g$jobs" --from start -j $jobs -- sh -c "$endless" >out 2>err
        wait_for test -s began
        overtaken consume -g "g$jobs" -- echo other
        ends_lost "$pid" 'consume: '
        [ ! -s out ]
        [ "$(cat other)" = other ]
        group_is "g$jobs" 0 0 0 0
    done
}

@test "lost: a consumer whose handler ended while it was stopped prints nothing of it and does not settle, 75" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -- sh -c 'echo $$ >began; until [ -e go ]; do sleep 0.02; done; echo first' >out 2>err
    wait_for test -s began
    stop_and_lose "$pid"
    run -0 consume -g g -- echo other
    [ "$output" = other ]
    touch go
    wait_for gone "$(cat began)"
    kill -CONT "$pid"
    ends_lost "$pid" 'consume: '
    [ ! -s out ]
    settled 1
}

@test "lost: what handlers of a stopped consumer print is published by the other consumer only, once" {
    publish -t x --id 1 -d 1 2>/dev/null
    made='{"type":"made","data":1}'
    background consume -g g -t x --from start --emit -- sh -c "echo \$\$ >began; until [ -e go ]; do sleep 0.02; done; echo '$made'" 2>err
    wait_for test -s began
    stop_and_lose "$pid"
    consume -g g --emit -- echo "$made"
    touch go
    wait_for gone "$(cat began)"
    kill -CONT "$pid"
    ends_lost "$pid" 'consume: '
    [ "$(replay -t made | jq -r .causationid)" = "$(replay -t x | jq -r .id)" ]
    settled 1
}

@test "lost: workers of a consumer that was stopped are ended, and what they answer settles nothing, 75" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start --workers -- sh -c 'read -r line; echo $$ >began; until [ -e go ]; do sleep 0.02; done; echo ok; exec sleep 600' 2>err
    wait_for test -s began
    stop_and_lose "$pid"
    consume -g g -- true
    touch go
    kill -CONT "$pid"
    ends_lost "$pid" 'consume: '
    gone "$(cat began)"
    settled 1
}

@test "lost: in an ordered group a consumer that was stopped ends its handler, and another one keeps the order" {
    for data in 1 2 3; do publish -t x -k s -d $data; done 2>/dev/null
    background consume -g g --from start --ordered -- sh -c "echo \"first \$EVENT_SEQ\" >>log; $endless" 2>err
    wait_for test -s began
    overtaken consume -g g -f -n 3 -- sh -c 'echo "other $EVENT_SEQ" >>log'
    ends_lost "$pid" 'consume: '
    diff log <(printf '%s\n' 'first 1' 'other 1' 'other 2' 'other 3')
    group_is g 0 0 0 0
}

@test "lost: a consumer that follows and was stopped ends its handler, connects again, and does not get the event again" {
    publish -t x -d 1 2>/dev/null
    background consume -g g --from start -f -n 1 -- sh -c "echo \"\$EVENT_TYPE\" >>log; [ -e go ] || { $endless; }" 2>err
    wait_for test -s began
    touch go
    overtaken consume -g g -- true
    publish -t y -d 2
    ends_with 0 "$pid"
    diff log <(printf '%s\n' x y) || { replay >&2; false; }
    diff <(said) <(printf '%s\n' "consume: $lost: connecting again" "consume: $EVENT_SPOOL: connected again")
}

@test "lost: a consumer with nothing left to claim ends its handlers, too, and so does one that waits for its rate" {
    seq 3 | publish -t x 2>/dev/null
    for limit in '-n 1' '--rate 1/h'; do
        rm -f began go
        # shellcheck disable=SC2086 # words
        background consume -g "g${limit//[^a-z0-9]/}" --from start -f $limit -j 2 -- sh -c "[ ! -e go ] || exec true; $endless" 2>err
        wait_for test -s began
        touch go
        hang_up
        wait_for gone "$(head -n 1 began)"
        kill -TERM "$pid"
        wait "$pid" || true
    done
}

@test "lost: of a pipe with leases, an event that another one settled meanwhile is settled once" {
    publish -t x --id 1 --source /s -d 1 2>/dev/null
    mkfifo pipe
    publish -t x --id 2 --source /s -d 1
    consume -g g --from start --lease 1h >leased
    exec 8<>pipe
    background settle -g g <pipe 2>err 8>&-
    exec 9>pipe 8>&-
    head -n 1 leased >&9
    wait_for group_is g 1 0 1 0
    stop_and_lose "$pid"
    tail -n 1 leased | settle -g g
    tail -n 1 leased >&9
    exec 9>&-
    kill -CONT "$pid"
    ends_with 75 "$pid"
    [[ $(cat err) == "settle: $EVENT_SPOOL: "* ]]
    settled 2
}

@test "lost: a projection that was stopped while another process went on with it applies no event twice, 75" {
    publish -t x -d 1 2>/dev/null
    printf '%s\n' '-- @init' 'CREATE TABLE seen(seq INTEGER);' '-- @on x' 'INSERT INTO seen VALUES(:seq);' >seen.sql
    background project -f seen.db seen.sql 2>err
    wait_for sees 1
    stop_and_lose "$pid"
    publish -t x -d 2
    project seen.db seen.sql
    publish -t x -d 3
    kill -CONT "$pid"
    wait_for sees 3
    kill -TERM "$pid"
    ends_with 0 "$pid"
    [ "$(sqlite3 seen.db 'SELECT group_concat(seq) FROM seen')" = 1,2,3 ]
}

sees() { # N ROWS
    [ "$(sqlite3 seen.db 'SELECT count(*) FROM seen' 2>/dev/null)" = "$1" ]
}

# A server that says yes to whoever asks for a lock: there are some that speak PostgreSQL's protocol.
@test "lost: a server that gives two sessions the same lock gets no spool, and spool check says so, 69" {
    psql -qAt -c 'CREATE SCHEMA stub' \
        -c 'CREATE FUNCTION stub.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$'
    stub="-c search_path=stub,pg_catalog"
    why="$EVENT_SPOOL: the server has given two sessions the same lock, and a spool depends on its locks: it needs PostgreSQL itself"
    for command in 'spool init' 'publish -t x -d 1'; do
        # shellcheck disable=SC2086 # words
        PGOPTIONS=$stub run -69 --separate-stderr $command
        [ "$stderr" = "${command%% *}: cannot create the spool: $why" ]
        run -66 replay
    done
    spool init 2>/dev/null
    spool check
    PGOPTIONS=$stub run -69 --separate-stderr spool check
    [ "$stderr" = "spool: $why" ]
    wait_for sessions_are 0
}

sessions_are() { # N
    [ "$(psql -qAt -c "SELECT count(*) FROM pg_stat_activity WHERE application_name='eventutils'")" -eq "$1" ]
}

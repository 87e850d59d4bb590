# The scripts of share/examples, as they are.
load helper

example() { "$TOP/share/examples/$1" "${@:2}"; }

# Without EVENT_SPOOL an example works in a spool of its own, and leaves nothing in the reader's home.
alone() {
    mkdir -p home tmp
    env -u EVENT_SPOOL HOME="$PWD/home" TMPDIR="$PWD/tmp" "$TOP/share/examples/$1" "${@:2}"
}
nothing_left() {
    [ -z "$(find home tmp ! -type d)" ]
}

served() { # STATUS: an HTTP server that answers so; its address is in $url
    echo "$1" >status
    background "$TOP/tests/http-server" port status log
    wait_for test -s port
    url=http://127.0.0.1:$(cat port)/
}

@test "http-status: what a server answers is a status that wrappers understand" {
    served 200
    while read -r answer status; do
        echo "$answer" >status
        run "-$status" example http-status "$url" <<<'{"order":1}'
        [ "$answer" = 204 ] || [ "${lines[0]}" = "status $answer" ]
    done <<'END'
200 0
204 0
400 65
404 65
422 65
408 69
429 69
500 69
503 69
END
    [ "$(tail -n 1 log)" = '503 {"order":1}' ]
    kill -KILL "$pid"
    wait "$pid" || true
    run -69 example http-status "$url" <<<x
}

@test "http-status: a server that says how long to wait puts the group on hold for so long" {
    publish -t n -d 1
    served '429;Retry-After: 3600'
    run -75 --separate-stderr consume -g g --from start -- "$TOP/share/examples/http-status" "$url"
    [[ ${stderr_lines[0]} == 'consume: seq 1 n '*': exit status 69: HTTP status 429: group "g" is on hold until '* ]]
    run -0 --separate-stderr spool check
}

@test "breaker-http: orders reach a service that was down, and dead letters of the outage are delivered again" {
    publish -t order.placed <<<$'{"n":1}\n{"n":2}'
    served 500
    run -75 --separate-stderr example breaker-http "$url"
    echo 200 >status
    spool group resume charge
    run -0 --separate-stderr example breaker-http "$url"
    [ "$output" = $'status 200\nstatus 200' ]
    [ "$(grep -c ^200 log)" -eq 2 ]
}

@test "throttle-handlers: eight handlers share a rate" {
    run -0 --separate-stderr alone throttle-handlers 20
    nothing_left
    [ "$(grep -c '^your order [0-9]* is on its way$' <<<"$output")" -eq 20 ]
    [ "${lines[-1]}" = '20 calls at 50/s' ]
}

@test "middleware: each payment is made once, and failures are tried again" {
    printf '#!/bin/sh\nread -r event\necho "$event" | jq -r .data.paymentId >>tried\n[ "$RETRY_ATTEMPT" -ge 2 ] && echo paid\n' >call
    chmod +x call
    run -0 --separate-stderr alone middleware ./call
    nothing_left
    [ "$output" = $'paid\npaid\npaid' ] # the third is what the first had printed
    [ "$(paste -sd' ' tried)" = 'p-1 p-1 p-2 p-2' ]
}

@test "order-states: orders pass through their states, and handlers of transitions act" {
    run -1 --separate-stderr example order-states
    [ "$output" = $'pack A-1\na letter to the customer of A-1\nSUBJECT STATE\nA-1 shipped\nA-2 open' ]
    [[ ${stderr_lines[1]} == 'fsm: line 1: "A-2" is in state "open", which does not accept parcel.sent "'* ]]
    [ "$(replay -t 'order.*' -k A-1 | jq -r .type | paste -sd' ')" = 'order.placed order.open order.underpaid order.paid order.shipped' ]
    [ "$(replay -t reminder.due | jq -c '[.subject,(.notbefore > .time)]')" = '["A-1",true]' ]
    run -0 --separate-stderr fsm check "$TOP/share/examples/order.machine.json"
    [ -z "$stderr" ]
}

@test "order-saga: an order is completed, and one that cannot be paid is undone" {
    run -0 --separate-stderr example order-saga
    [ "$(sort <<<"$output")" = 'A-1: shipped from shelf 7
A-2: invoice I-1 is void
A-2: shelf 7 is free again
order/A-1 completed
order/A-2 compensated' ]
    run -0 saga check "$TOP/share/examples/order.saga.json"
}

@test "demo: the next consumer handles the event that a killed one was working on, and nothing is left behind" {
    mkdir tmp
    TMPDIR=$PWD/tmp run -0 --separate-stderr "$TOP/share/demo"
    events=$(sed -n '/^\$ consume -g inventory/{n;p;}' <<<"$output")
    [ "$events" -gt 0 ]
    [ "$(sed -n '/^\$ sort -u indexed/{n;p;}' <<<"$output")" -eq "$events" ]
    grep -qx 'nothing is left hanging' <<<"$output"
    grep -q '"type":"sys.group.taken-over"' <<<"$output"
    grep -q '^# .*What to try next' <<<"$output"
    [ -z "$(ls -A tmp)" ]
}

@test "examples: balances, order-states and bank leave the reader's own spool alone" {
    run -0 --separate-stderr alone balances
    [ "$output" = $'A-1 Ann 37.50\nB-2 Bob 12.50' ]
    run -1 --separate-stderr alone order-states
    run -0 --separate-stderr alone bank open a Ann
    nothing_left
    [ -f bank.db ]
}

# ------------------------------------------------------------------------------------------ systemd

# The units, for the commands of this build.
units() {
    cp "$TOP"/share/examples/systemd/*.service "$TOP"/share/examples/systemd/*.timer .
    sed -i "s|/usr/local/bin/|$BUILD/bin/|" ./*.service
}

@test "systemd: accepts the units" {
    command -v systemd-analyze >/dev/null || skip 'systemd is not installed'
    units
    run -0 --separate-stderr systemd-analyze verify --man=no ./*.service ./*.timer
    [ -z "$output$stderr" ]
}

# unit_runs UNIT INSTANCE: what the unit starts, with its configuration here; sets $pid.
unit_runs() {
    units
    sed -n "s|^ExecStart=||; T; s|%i|$2|g; s|/etc/eventutils/|$PWD/|g; s|^|exec |p" "$1" >"start-$2"
    # shellcheck disable=SC1090 # written above; its variables are words, as systemd sees them
    background bash -c "set -a; [ ! -e '$2.env' ] || . './$2.env'; . './start-$2'" 2>err
}

@test "systemd: the consumer's unit delivers, and a handler that is at work when the unit is stopped ends first" {
    cat >mail <<'END'
#!/bin/sh
touch at-work
until [ -e go ]; do sleep 0.02; done
echo "$EVENT_SUBJECT" >>sent
END
    chmod +x mail
    echo "OPTIONS='-t order.* --from start'" >mail.env
    publish -t order.placed -k order-1 -d 1
    publish -t other -k other-1 -d 1
    unit_runs eventutils-consume@.service mail
    wait_for test -e at-work
    kill -TERM "$pid" # KillMode=mixed: to consume alone
    touch go
    ends_with 0 "$pid"
    [ "$(cat sent)" = order-1 ]
    group_is mail 0 0 0 0
}

@test "systemd: the relay's unit moves the rows of its outbox into the spool" {
    outbox-relay --schema | sqlite3 shop.db
    sqlite3 shop.db "INSERT INTO outbox_events(aggregate_id, event_type, payload) VALUES('order-1', 'order.placed', '{}')"
    echo "OUTBOX=$PWD/shop.db" >shop.env
    unit_runs eventutils-relay@.service shop
    relayed() { [ "$(replay -t order.placed 2>/dev/null | jq -r .subject)" = order-1 ]; }
    wait_for relayed
    kill -TERM "$pid"
    ends_with 0 "$pid"
}

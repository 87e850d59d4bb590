load helper

# A primary, a synchronous and an asynchronous standby, with publishers and consumers: what was
# acknowledged is there and handled, whatever happens to the servers, the network and the clients.
# tests/failover/rounds says what is done, and load.bash what is checked.

setup() {
    helper_setup
    unset PGAPPNAME # servers of its own
}

survives() { # FAULT ROUNDS
    local status=0
    "$TOP/tests/failover/rounds" "$@" || status=$?
    [ "$status" -ne 77 ] || skip 'this fault needs PostgreSQL, or rights to change the network'
    [ "$status" -eq 0 ]
}

@test "failover: a synchronous standby that is promoted has all that was acknowledged" {
    survives kill "$(long 1 5)"
}

@test "failover: who is cut off ends its handlers before others get their events" {
    survives cut "$(long 1 5)"
}

@test "failover: a primary that was replaced while it was paused acknowledges and hands out nothing" {
    [ -n "${LONG:-}" ] || skip 'only with LONG=1'
    survives pause 5
}

@test "failover: clients, sessions and servers that end lose nothing" {
    [ -n "${LONG:-}" ] || skip 'only with LONG=1'
    for fault in clients backends restart; do
        mkdir "$fault"
        (cd "$fault" && survives "$fault" 5)
    done
}

load helper

# As failover.bats, where Patroni decides which server is the primary: see tests/failover/patroni.

setup() {
    helper_setup
    unset PGAPPNAME # servers of its own
    [ -n "${LONG:-}" ] || skip 'only with LONG=1'
}

survives() { # FAULT ROUNDS
    local status=0
    "$TOP/tests/failover/patroni" "$@" || status=$?
    [ "$status" -ne 77 ] || skip 'needs PostgreSQL, Patroni and etcd: share/setup patroni'
    [ "$status" -eq 0 ]
}

@test "failover: Patroni replaces a primary that was killed or paused, and nothing is lost" {
    for fault in kill pause; do
        mkdir "$fault"
        (cd "$fault" && survives "$fault" 2)
    done
}

@test "failover: when Patroni has lost etcd, or is told to change the primary, nothing is lost" {
    for fault in etcd switchover; do
        mkdir "$fault"
        (cd "$fault" && survives "$fault" 2)
    done
}

# The README's tour on two machines, which share a spool on a server: three network namespaces.
load helper
load docs
load postgres

setup_file() { postgres_spools; }

teardown_file() { postgres_stop; }

space() { # NAME COMMAND...: on that machine
    ip netns exec "eu$$$1" "${@:2}"
}

# machine NAME N: its address is 10.93.N.2, and the server's for it 10.93.N.1.
machine() {
    ip netns add "eu$$$1"
    made+=("$1")
    space "$1" ip link set lo up
    [ "$1" != s ] || return 0
    ip link add "v$2" netns "eu$$$1" type veth peer name "v$2" netns "eu$$s"
    space s ip addr add "10.93.$2.1/24" dev "v$2"
    space s ip link set "v$2" up
    space "$1" ip addr add "10.93.$2.2/24" dev "v$2"
    space "$1" ip link set "v$2" up
}

address() { # N
    echo "postgresql://tester@10.93.$1.1/postgres"
}

setup() {
    helper_setup
    made=()
    [ -z "${NO_POSTGRES:-}" ] || skip "$NO_POSTGRES"
    local why='networks cannot be made here'
    ip netns add "eu$$" 2>/dev/null || skip "$why"
    made=('')
    ip -n "eu$$" link add v0 type veth peer name v1 2>/dev/null || skip "$why"
}

teardown() {
    local name
    helper_teardown
    for name in "${made[@]}"; do ip netns del "eu$$$name"; done
}

@test "README: its tour runs on two machines in turn, as printed, with a spool on a server" {
    machine s
    machine a 1
    machine b 2
    printf '%s\n' "listen_addresses = '*'" >>"$POSTGRES_DIR/data/postgresql.conf"
    echo 'host all all 10.93.0.0/16 trust' >>"$POSTGRES_DIR/data/pg_hba.conf"
    # shellcheck disable=SC2086 # words
    (cd / && space s $POSTGRES_CTL -l "$POSTGRES_DIR/log" -m fast -w restart 3>&- >/dev/null)
    extract "$TOP/README.md" scripts
    mkdir home tmp.0123456789
    shells=()
    mkfifo a b
    exec 7<>a 8<>b
    for name in a b; do
        background env HOME="$PWD/home" ip netns exec "eu$$$name" bash --norc -s <"$name"
        shells+=("$pid")
    done
    n=0
    for script in scripts/*.sh; do
        name=$PWD/${script%.sh} here=$((n % 2 + 1)) n=$((n + 1))
        [ -e "$name.prints" ] || : >"$name.prints"
        # Where the tour names a spool, both machines name one, each with its own address of the server.
        # shellcheck disable=SC2016 # the README's own words
        spool=$(sed -n 's/.*export EVENT_SPOOL=$PWD.\(.*\)\.db$/\1/p' "$script")
        if [ -n "$spool" ]; then
            for to in 1 2; do echo "export EVENT_SPOOL='$(address $to)#$spool'" >&$((6 + to)); done
        fi
        {
            echo "cd '$PWD/tmp.0123456789'; exec >$name.out 2>$name.err"
            sed '/export EVENT_SPOOL=/d' "$script"
            echo ": >$name.done"
        } >&$((6 + here))
        wait_for test -e "$name.done"
        sed -i "s%created the spool [^ ]*/\(spool\|tour\).db%created the spool $(address $here)#\1%" "$name.prints"
    done
    for to in 7 8; do echo exit >&"$to"; done
    for pid in "${shells[@]}"; do ends_with 0 "$pid"; done
    print_what_they_say
    [ "$n" -gt 10 ]
}

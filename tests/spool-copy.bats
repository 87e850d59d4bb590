load helper
load postgres

# spool copy: a spool made equal to another one, between files and servers.

setup_file() { postgres_spools; }

teardown_file() { postgres_stop; }

setup() {
    helper_setup
    unset EVENT_SPOOL
}

# both_ways COMMAND...: run it with two new spools, from and to: a file and a server, either way. Without
# a server, with two files.
both_ways() {
    [ -n "${NO_POSTGRES:-}" ] || way server file "$@"
    [ -n "${NO_POSTGRES:-}" ] || way file server "$@"
    [ -z "${NO_POSTGRES:-}" ] || way file file "$@"
}

way() { # ENGINE ENGINE COMMAND...
    from_engine=$1 from=$(spool_on "$1") to=$(spool_on "$2")
    export EVENT_SPOOL=$from
    "${@:3}"
}

spool_on() { # ENGINE
    if [ "$1" = file ]; then
        mktemp -u "$BATS_TEST_TMPDIR/XXXXXX.db"
    else
        echo "postgresql://tester@/postgres?host=$POSTGRES_DIR#s$BATS_TEST_NUMBER$(mktemp -u XXXXXX | tr '[:upper:]' '[:lower:]')"
    fi
}

# Everything of a spool that a user can see.
seen_in() { # SPOOL
    replay -s "$1"
    spool sql -s "$1" 'SELECT seq, recorded, id, source, type, subject, priority, notbefore, expirytime, version FROM events ORDER BY seq'
    spool group -s "$1"
    spool sql -s "$1" 'SELECT group_name, seq, due, attempts, deaths FROM waiting ORDER BY group_name, seq'
    spool sql -s "$1" 'SELECT * FROM attempts ORDER BY group_name, seq, n'
    spool sql -s "$1" 'SELECT * FROM outcomes ORDER BY group_name, type'
    spool sql -s "$1" 'SELECT * FROM durations ORDER BY group_name, type, le_ms'
    spool sql -s "$1" 'SELECT * FROM documents ORDER BY kind, name'
    spool check -s "$1"
}

same() {
    seen_in "$from" >from.seen
    seen_in "$to" >to.seen
    diff from.seen to.seen
}

copied() { # TEXT: what a copy prints
    run -0 --separate-stderr spool copy "$from" "$to"
    [ "$output" = "$1" ]
}

fill() {
    printf '%s\n' '{"specversion":"1.0","id":"é","source":"/s","type":"x.y","data":{"n":1.50,"u":"\u00fc"}}' |
        publish 2>/dev/null
    seq 5 | publish -t v -k s --expect-version any
    publish -t x -k late --delay 30d -d '"later"'
    publish -t x --ttl 30d --priority 2 -d 1
    consume -g g --from start -a 2 --backoff 100d -- sh -c 'case $EVENT_SEQ in
        2) echo one two >&2; exit 65 ;; 3) exit 1 ;; esac' 2>/dev/null || true
    consume -g o --from start --ordered -t v -n 1 --backoff 100d -- false 2>/dev/null || true
    consume -g p --from start -n 1 -- true
    spool group pause p
    once -k key -- echo hello >/dev/null
    breaker b -- true
    throttle -r 1/s bucket -- true
}

@test "copy: events, groups, what they remember, and documents are as they were" {
    everything() {
        fill
        run -0 --separate-stderr spool copy "$from" "$to"
        [[ $output =~ ^[0-9]+' events copied; 3 groups and '[0-9]+' documents'$ ]]
        [ "$stderr" = "spool: created the spool $to" ]
        same
        [ "$(consume -s "$to" -g p --dry-run | wc -l)" -eq "$(consume -s "$from" -g p --dry-run | wc -l)" ]
        publish -s "$to" -t next -d 1
        [ "$(replay -s "$to" --last 1 -o positions)" -eq $(($(replay -o positions --last 1) + 1)) ]
    }
    both_ways everything
    way file file everything
    [ -n "${NO_POSTGRES:-}" ] || way server server everything
}

@test "copy: done again it brings what has changed, and removes what is no longer there" {
    again() {
        fill
        spool copy "$from" "$to" >/dev/null 2>&1
        spool group pause g
        spool group resume p
        spool group drop o
        dlq drop -g g --all
        consume -g p -n 4 -a 1 -- false 2>/dev/null || true
        consume -g new --from now --auto-ack
        spool key forget key
        once -k other -- echo other >/dev/null
        publish -t x -d 3
        run -0 spool copy "$from" "$to"
        [[ $output =~ ^[0-9]+' events copied; 3 groups and '[0-9]+' documents'$ ]]
        same
        spool info -s "$to" >before
        run -0 spool copy "$from" "$to"
        [[ $output == '0 events copied; 3 groups and '* ]]
        same
    }
    both_ways again
}

@test "copy: what consumers hold is delivered again at the other spool, in order" {
    held() {
        rm -f holds holds2
        seq 20 | publish -t x -k s 2>/dev/null
        background consume -g o --from start --ordered -- sh -c 'echo >holds; exec sleep 600'
        first=$pid
        wait_for test -e holds
        background consume -g g --from start -j 2 -- sh -c 'echo >holds2; exec sleep 600'
        wait_for test -e holds2
        spool copy "$from" "$to" >/dev/null 2>&1
        run -0 spool check -s "$to"
        [ -z "$output" ]
        for pid in "$first" "$pid"; do
            kill -KILL "$pid"
            wait "$pid" || true
        done
        run -0 consume -s "$to" -g o -- printenv EVENT_SEQ
        [ "$output" = "$(seq 20)" ]
        [ "$(consume -s "$to" -g g -- printenv EVENT_SEQ | sort -n)" = "$(seq 20)" ]
    }
    both_ways held
}

@test "copy: a log that was pruned has the same positions" {
    pruned() {
        seq 2500 | publish -t x 2>/dev/null
        spool prune --keep 1200 >/dev/null
        copied '1200 events copied; 0 groups and 0 documents'
        [ "$(replay -s "$to" -o positions)" = "$(seq 1301 2500)" ]
        seq 10 | publish -t x
        spool prune --keep 3 >/dev/null
        copied '3 events copied; 0 groups and 0 documents'
        [ "$(replay -s "$to" -o positions | tail -n 4 | paste -sd' ')" = '2500 2508 2509 2510' ]
    }
    both_ways pruned
}

@test "copy: a spool with something of its own is refused, and keeps it" {
    refused() { # TEXT
        run -65 --separate-stderr spool copy "$from" "$to"
        [ "$stderr" = "spool: $to: $1" ]
    }
    own() {
        publish -t x -d 1 2>/dev/null
        publish -s "$to" -t mine -d 2 2>/dev/null
        refused 'has events, groups or documents of its own, and is no copy: copy into a new spool'
        [ "$(replay -s "$to" | jq -r .type)" = mine ]
        to+=2
        spool init -s "$to" 2>/dev/null
        consume -s "$to" -g mine --from start --auto-ack
        refused 'has events, groups or documents of its own, and is no copy: copy into a new spool'
        to+=3
        copied '1 event copied; 0 groups and 0 documents'
        publish -s "$to" -t mine -d 2
        refused "has events that $from has not: somebody publishes here. Copy into a new spool"
        publish -t x -d 3
        refused "its event at position 2 is not that of $from: copy into a new spool"
        [ "$(replay -s "$to" | jq -r .type | paste -sd' ')" = 'x mine' ]
    }
    both_ways own
}

works_and_has() { # LAG SPOOL
    [ "$(spool group show g -s "$2" | jq -r '"\(.consumers) \(.lag)"')" = "1 $1" ]
}

@test "copy: once a group is consumed at the copy, its place is not set back" {
    consumed() {
        seq 3 | publish -t x 2>/dev/null
        consume -g g --from start -n 1 -- true
        spool copy "$from" "$to" >/dev/null 2>&1
        background consume -s "$to" -g g -f -- true
        wait_for works_and_has 0 "$to"
        run -75 --separate-stderr spool copy "$from" "$to"
        [ "$stderr" = 'spool: group "g": it has 1 running consumer: end them first' ]
        kill -TERM "$pid"
        wait "$pid" || true
        run -65 --separate-stderr spool copy "$from" "$to"
        [ "$stderr" = "spool: $to: group \"g\" has been consumed here since: its place would be lost. Copy into a new spool" ]
        [ "$(spool group show g -s "$to" | jq -r '"\(.lag) \(.state)"')" = '0 idle' ]
    }
    both_ways consumed
}

@test "copy: cut off anywhere, it is mended by the next one; until then its groups are paused" {
    local size
    cut_off() {
        seq 1500 | publish -t x 2>/dev/null
        fill
        consume -g many --from start -t x -a 1 -n 200 -- false 2>/dev/null || true
        spool copy "$from" - >stream
        size=$(stat -c %s stream)
        for part in 5 300000 $((size * 8 / 10)) $((size - 3000)) $((size - 1)); do
            head -c "$part" stream >beginning
            run -65 --separate-stderr spool copy - "$to" <beginning
            [[ $stderr == *'the input ends before its end: copy again' ]]
            [ -z "$(spool group -s "$to" | jq -r 'select(.state != "paused") | .group')" ]
        done
        spool copy "$from" "$to" >/dev/null
        same
    }
    both_ways cut_off
}

@test "copy: as a stream, from one process to another" {
    seq 10 >in
    stream() {
        publish -t x in 2>/dev/null
        spool copy "$from" - | spool copy - "$to" 2>/dev/null
        same
        publish -t x in
        spool copy --from 10 "$from" - | spool copy - "$to"
        [ "$(replay -s "$to" | wc -l)" -eq 20 ]
        run -65 --separate-stderr spool copy - "$to" <in
        [[ $stderr == *'the input is not what spool copy writes' ]]
    }
    both_ways stream
}

settled_there() {
    consume -s "$to" -g g -- sh -c 'echo $EVENT_ID >>seen' 2>/dev/null
    [ "$(spool group show g -s "$to" | jq .lag)" -eq 0 ]
}

@test "copy: while both are in use, no event is lost on the way" {
    moving() {
        rm -f over seen acknowledged
        touch seen
        spool init 2>/dev/null
        background sh -c 'i=0; until [ -e over ]; do i=$((i + 1)); publish -t x --id $i -d $i && echo $i; done >acknowledged'
        publisher=$pid
        background consume -g g --from start -f -j 2 --backoff 1ms -- sh -c '
            [ $((EVENT_SEQ % 7)) -gt 0 ] || [ "$EVENT_ATTEMPT" -gt 1 ] && echo $EVENT_ID >>seen' 2>err
        consumer=$pid
        for _ in 1 2 3; do
            wait_for grown_by 10 seen "$(wc -l <seen)"
            spool copy "$from" "$to" >/dev/null 2>&1
            run -0 spool check -s "$to"
            [ -z "$output" ]
        done
        touch over
        ends_with 0 "$publisher"
        kill -TERM "$consumer"
        wait "$consumer" || true
        spool copy "$from" "$to" >/dev/null
        same
        # What was settled there does not come again; the rest comes here.
        wait_for settled_there
        diff <(sort seen) <(sort acknowledged)
    }
    both_ways moving
}

@test "copy: replay and publish carry a log over and back: bytes, ids, versions and order stay" {
    local n back
    n=$(long 2000 100000)
    carried() {
        seq "$n" | jq -c '{specversion: "1.0", id: "i\(.)", source: "/s", type: "x.\(. % 7)",
            subject: "k\(. % 50)", version: ((. / 50 | floor) + 1), data: {n: ., u: "\u00fc", big: 1.0}}' >in
        seq 100 | publish -t y -k new --expect-version any 2>/dev/null
        publish in
        replay | publish -s "$to" 2>/dev/null
        replay -s "$to" | cmp - <(replay)
        back=$(spool_on "$from_engine")
        replay -s "$to" | publish -s "$back" 2>/dev/null
        replay -s "$back" | cmp - <(replay)
        [ "$(replay -s "$back" -k k7 -o positions | wc -l)" -eq $((n / 50)) ]
        run -75 publish -s "$back" -t x -k k7 --expect-version 1 -d 1
        publish -s "$back" -t x -k k7 --expect-version $((n / 50)) -d 1
        # Once more does no harm.
        replay | publish -s "$back"
        [ "$(replay -s "$back" | wc -l)" -eq $((n + 101)) ]
    }
    both_ways carried
}

@test "copy: damaged events are left out, named, and the status is 74" {
    damaged() {
        seq 5 | publish -t x 2>/dev/null
        if [ "$from_engine" = server ]; then
            ENGINE=postgres edit_line 3 specversion SPECVERSION
        else
            ENGINE=sqlite edit_line 3 specversion SPECVERSION
        fi
        run -74 --separate-stderr spool copy "$from" "$to"
        [[ $stderr == *'spool: seq 3 is damaged: left out'*'spool: 1 damaged, left out'* ]]
        [ "$(replay -s "$to" -o positions | paste -sd' ')" = '1 2 4 5' ]
    }
    both_ways damaged
}

@test "copy: a missing spool is 66 and creates nothing; wrong usage is 64" {
    run -66 --separate-stderr spool copy nosuch.db to.db
    [[ $stderr == *'nosuch.db: there is no spool'* ]]
    [ ! -e to.db ]
    run -65 --separate-stderr spool copy - to.db </dev/null
    [[ $stderr == *'spool: the input ends before its end: copy again' ]]
    rm to.db
    for bad in 'a.db' 'a.db a.db' '- -' 'a.db b.db c.db' '--from 3 a.db b.db' '-s c.db a.db b.db' '--from 0 a.db -'; do
        # shellcheck disable=SC2086 # words
        run -64 spool copy $bad
    done
    run -64 spool copy '' b.db
    [ ! -e b.db ]
}

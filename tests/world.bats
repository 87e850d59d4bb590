# A hostile environment: clocks that jump, a lock file that vanishes, no inotify, a full disk, a
# reader that never reads.
load helper

year=31557600

group_is() { # GROUP LAG IN_FLIGHT DEAD
    [ "$(spool group show "$1" -o ndjson | jq -r '"\(.lag) \(.in_flight) \(.dead)"')" = "$2 $3 $4" ]
}

# --- clocks

@test "world: a clock that jumps while consumers work loses nothing and doubles nothing" {
    needs_world
    publish -t n -k s -d 0
    for how in '' --ordered; do
        echo 0 >clock
        # shellcheck disable=SC2086 # none or one
        background world consume -g "g$how" --from start $how -f -j 4 -- sh -c 'echo "$EVENT_ID" >>"seen$EVENT_GROUP"'
    done
    for jump in 3600 -3600 $((50 * year)) -1700000000 1 0; do
        echo "$jump" >clock
        seq 20 | sed 's/.*/{"type":"n","subject":"s","data":&}/' | world publish
        all() { group_is g 0 0 0 && group_is g--ordered 0 0 0; }
        wait_for all
    done
    replay -t n | jq -r .id | sort >stored
    [ "$(wc -l <stored)" -eq 121 ]
    sort seeng | cmp stored -
    sort seeng--ordered | cmp stored -
    # Of a subject in the order of the log.
    replay -t n | jq -r .id | cmp - seeng--ordered
}

@test "world: a worker that holds its answers back is reported, once" {
    needs_world
    publish -t n -d 1
    echo 0 >steady
    background env LD_PRELOAD="$BUILD/fault/world.so" WORLD_STEADY=steady consume -g g --from start -f --workers -- \
        sh -c 'read -r line; : >begun; while [ ! -e told ]; do sleep 0.02; done; jq -c --unbuffered "{id}" <<END
$line
END
        jq -c --unbuffered "{id}"' 2>said
    wait_for test -e begun
    for seconds in 9 11 30; do
        publish -t n -d "$seconds"
        echo "$seconds" >steady
    done
    wait_for grep -q 'worker' said
    : >told
    wait_for group_is g 0 0 0
    [ "$(cat said)" = 'consume: a worker has answered none of its events for 10 s: does it write out each answer at once? (jq --unbuffered, stdbuf -oL, flush)' ]
}

@test "world: after an hour in the year 2076, --from 1h finds the events of this hour" {
    needs_world
    publish -t n -d 1
    echo $((50 * year)) >clock
    world publish -t n -d 2
    echo 0 >clock
    publish -t n -d 3
    publish -t n -d 4
    run -0 replay --from 1h
    [ "$(jq .data <<<"$output" | tail -n 2 | paste -sd' ')" = '3 4' ]
    run -0 replay --from 1h --to now -o positions
    [ "${lines[-1]}" = 4 ]
}

@test "world: a clock before 1970 that goes back restarts recorded times, as any other does" {
    needs_world
    now=$(date +%s)
    echo $((-now - 86400)) >clock
    world publish -t n -d 1
    echo $((-now - 10 * 86400)) >clock
    world publish -t n -d 2
    [ "$(spool info | jq .segments)" = 1 ]
}

@test "world: a retry is due when its time has come, whatever the clock was in between" {
    needs_world
    publish -t n -d 1
    consume -g g --from start --backoff 1h..1h -- false
    echo -7200 >clock
    run -0 world consume -g g --backoff 1h..1h -- true
    [ "$(world spool group show g -o ndjson | jq .waiting)" = 1 ]
    echo 7200 >clock
    run -0 world consume -g g -- printenv EVENT_ATTEMPT
    [ "$output" = 2 ]
}

@test "world: when the clock went back, a retry and a hold wait no longer than --backoff, a delay until its time" {
    needs_world
    publish -t n -d 1
    publish -t later -d 2 --delay 1h
    echo $((50 * year)) >clock
    world consume -g g --from start -t n --backoff 1h..1h -- false
    world consume -g h --from start -t n --backoff 1h..1h -- sh -c 'exit 69' || [ $? -eq 75 ]
    world consume -g later --from start -t later --backoff 10m..10m -- true
    echo 0 >clock
    publish -t later -d 3 --delay 1h
    for group in g h later; do
        consume -g $group --backoff 10m..10m -- echo too soon >>out || [ $? -eq 75 ]
    done
    [ ! -s out ]
    echo 700 >clock
    for group in g h; do
        run -0 world consume -g $group -- printenv EVENT_TYPE
        [ "$output" = n ]
    done
    run -0 --separate-stderr world consume -g later -- printenv EVENT_TYPE
    [ -z "$output" ]
    echo 3700 >clock
    run -0 world consume -g later -- jq .data
    [ "$output" = 3 ]
}

@test "world: followers notice, too, that the clock went back" {
    needs_world
    publish -t n -d 1
    echo 0 >clock
    background world consume -g g --from start -f --backoff 1h..1h -- sh -c 'echo "$EVENT_ATTEMPT" >>tried; exit 1'
    wait_for test -s tried
    waits() { [ "$(spool group show g -o ndjson | jq .waiting)" = 1 ]; }
    wait_for waits
    echo -86400 >clock
    world publish -t n -d 2
    sees() { [ "$(grep -cx 1 tried)" = 2 ]; }
    wait_for sees
    echo $((-86400 + 3700)) >clock
    world publish -t n -d 3
    wait_for grep -qx 2 tried
}

@test "world: a clock that is set does not end a lease" {
    needs_world
    publish -t n -d 1
    consume -g g --from start --lease 1h >out
    echo $((50 * year)) >clock
    run -0 world consume -g g -- true
    group_is g 1 1 0
    run -0 world settle -g g out
    group_is g 0 0 0
}

@test "world: a clock that is set does not end a timeout" {
    needs_world
    publish -t n -d 1
    echo 0 >clock
    background world consume -g g --from start --timeout 1h -- sh -c ': >begun; while [ ! -e go ]; do sleep 0.02; done; echo done >out'
    wait_for test -e begun
    echo $((100 * year)) >clock
    : >go
    ends_with 0 "$pid"
    [ "$(cat out)" = "done" ]
}

# --- the lock file

@test "world: a lock file that is removed, or replaced, while consumers work hands out nothing twice" {
    for how in '' --ordered; do
        rm -f seen
        no_spool
        seq 60 | sed 's/.*/{"type":"n","id":"e&","subject":"s","data":&}/' | publish
        # shellcheck disable=SC2086 # none or one
        consume -g g --from start $how --to 0 -- true
        for _ in 1 2; do
            background consume -g g -j 2 -- sh -c 'echo "$EVENT_ID" >>seen; until [ -e free ]; do sleep 0.02; done'
        done
        wait_for test -s seen
        if [ -z "$how" ]; then rm spool.db-lock; else cp spool.db-lock other && mv other spool.db-lock; fi
        # Who comes now does not take what they have.
        run -0 --separate-stderr consume -g g -n 3 -- sh -c 'echo "$EVENT_ID" >>seen'
        : >free
        through() { timeout 60 consume -g g -- sh -c 'echo "$EVENT_ID" >>seen' 2>/dev/null && group_is g 0 0 0; }
        wait_for through
        for one in "${helper_pids[@]}"; do wait "$one" || true; done
        helper_pids=()
        [ "$(sort seen | uniq -d | wc -l)" -eq 0 ]
        [ "$(sort -u seen | wc -l)" -eq 60 ]
        rm -f free
    done
}

@test "world: a lock file that may not be opened is 74 or 77, and nothing is claimed" {
    publish -t n -d 1
    consume -g g --from start --to 0 -- true
    rm -f spool.db-lock
    mkdir spool.db-lock
    run -74 --separate-stderr consume -g g -- true
    [ "$stderr" = "consume: $EVENT_SPOOL-lock: Is a directory" ]
    rmdir spool.db-lock
    run -0 consume -g g -- printenv EVENT_ATTEMPT
    [ "$output" = 1 ]
}

# --- no inotify

@test "world: without inotify followers look once a second" {
    needs_world
    publish -t n -d 1
    background world env WORLD_INOTIFY=none consume -g g --from start -f -- sh -c 'echo "$EVENT_SEQ" >>seen'
    background world env WORLD_INOTIFY=none replay -f -o positions >followed
    wait_for test -s seen
    wait_for test -s followed
    publish -t n -d 2
    wait_for grep -qx 2 seen
    wait_for grep -qx 2 followed
}

# --- a full disk

@test "world: on a full disk publish stops while settling still works, and everything resumes when there is room" {
    mkdir disk
    mount -t tmpfs -o size=3m tmpfs disk 2>/dev/null || skip 'only root can mount a small disk'
    export EVENT_SPOOL=$PWD/disk/spool.db
    {
        seq 3000 | publish -t n
        consume -g g --from start --lease 1h -n 1000 >leased
        head -c 3m /dev/zero >disk/ballast || true
        # As much room as is left to publish in.
        truncate -s -400k disk/ballast
        n=0
        while echo '{"type":"n","data":"'"$(head -c 3000 /dev/zero | tr '\0' x)"'"}' | publish --echo >>echoed 2>said; do
            [ $((n += 1)) -lt 2000 ] || break
        done
        [ "$n" -lt 2000 ]
        grep -q 'nearly full' said
        # On what is kept for that, a thousand settles.
        settle -g g <leased || [ $? -eq 75 ]
        settled=$(spool group show g -o ndjson | jq .in_flight)
        rm disk/ballast
        publish -t n --id last -d 1
        consume -g g --auto-ack >rest
        lag=$(spool group show g -o ndjson | jq .lag)
        acked=$(jq -r .id echoed | grep -cvxFf <(replay | jq -r .id)) || true
        spool check >found || true
    } || failed=1
    umount -l disk
    [ -z "${failed:-}" ]
    [ "$settled" = 0 ]
    [ "$lag" = 0 ]
    [ "$acked" = 0 ]
    run -1 grep -E 'structure|damage' found
}

@test "world: on small disks, events can be settled and pruned after publish has reported them full" {
    mkdir disk
    mount -t tmpfs -o size=1m tmpfs disk 2>/dev/null || skip 'only root can mount a small disk'
    umount disk
    export EVENT_SPOOL=$PWD/disk/spool.db
    cat >steps <<'END'
n=0 data=$1
while yes "$data" | head -n $((600000 / (${#data} + 400))) | publish -t n --text 2>said; do
    [ $((n += 1)) -lt 100 ]
done
grep -q 'nearly full' said
consume -g g -n 5 -- true
consume -g g -n 3 -a 1 -- false 2>errors || [ $? -eq 1 ]
consume -g g --auto-ack >out
once -k k -- true
dlq drop -g g --all
spool prune --keep 10
publish -t n -d 1
yes "$data" | head -n 500 | publish -t n --text
consume -g g --auto-ack >out
[ "$(wc -l <out)" -ge 501 ]
spool backup copy.db
END
    for size in ${LONG:+3 8 40} 2; do
        for data in 12345678901234567890 ${LONG:+"$(head -c 2000 /dev/zero | tr '\0' x)"}; do
            mount -t tmpfs -o "size=${size}m" tmpfs disk
            publish -t n -d 0
            consume -g g --from start -n 1 -- true
            # While somebody has the spool open, nobody moves the WAL by closing it.
            background sh -c 'exec replay -f >followed'
            wait_for test -s followed
            failed=
            bash -ex steps "$data" </dev/null 2>trail || failed=1
            kill "$pid"
            wait "$pid" || true
            umount -l disk
            [ -z "$failed" ] || { echo "size $size: $(tail -n 3 trail said)"; false; }
            spool check -s copy.db
            rm copy.db followed
        done
    done
}

# --- readers that do not read

@test "world: a replay whose reader never reads does not block checkpoints" {
    seq 20000 | publish -t n
    mkfifo p
    background sh -c 'exec replay >p'
    exec 8<p
    background sh -c 'exec replay -f >p2' p2
    for _ in 1 2 3 4 5; do
        seq 10000 | publish -t n
    done
    [ "$(spool info | jq .wal_size)" -le $((8 << 20)) ]
    exec 8<&-
}

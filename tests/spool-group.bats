load helper

# seek and set: changing a group's position, patterns and order by hand.

events() { # N [TYPE]
    seq "$1" | publish -t "${2:-n}"
}

positions() { # GROUP [OPTION...]: deliver all there is, and say which
    local group=$1
    shift
    consume -g "$group" "$@" -- printenv EVENT_SEQ | paste -sd' '
}

# A group g with 5 events behind it: 2 is dead, 3 waits for its retry, 4 is dead.
worn_group() {
    events 6
    consume -g g --from start -n 5 -a 2 --backoff 100d -- \
        sh -c 'case $EVENT_SEQ in 2|4) exit 65 ;; 3) exit 1 ;; esac' 2>/dev/null || [ $? -eq 1 ]
}

@test "group seek: the next event is the first at or after the point, also backwards" {
    events 5
    consume -g g --from start -- true
    run -0 --separate-stderr spool group seek g 4
    [ "$output" = 'group g goes from position 6 to 4; 0 waiting and 0 dead letters dropped' ]
    [ -z "$stderr" ]
    run -0 spool group show g
    [ "$(jq -c '[.position,.lag]' <<<"$output")" = '[3,2]' ]
    [ "$(positions g)" = '4 5' ]
    run -0 spool group seek g start
    [ "$output" = 'group g goes from position 6 to 1; 0 waiting and 0 dead letters dropped' ]
    [ "$(positions g)" = '1 2 3 4 5' ]
    spool group seek g start
    run -0 spool group seek g now
    [ "$output" = 'group g goes from position 1 to 6; 0 waiting and 0 dead letters dropped' ]
    [ -z "$(positions g)" ]
    run -0 spool group seek g 1h
    [ "$(positions g)" = '1 2 3 4 5' ]
    run -0 spool group seek g 2100-01-01
    [ -z "$(positions g)" ]
}

@test "group seek and consume --from: a position or time beyond the log is its end, and no new event is skipped" {
    seq 3 | publish -t n
    for point in 1000 9223372036854775807 2100-01-01 4; do
        run -0 --separate-stderr consume -g "from $point" --from "$point" -- printenv EVENT_SEQ
        [ -z "$output" ]
        run -0 --separate-stderr consume -g "seek $point" --from now -- printenv EVENT_SEQ
        [ "$(spool group seek "seek $point" "$point")" = \
            "group seek $point goes from position 4 to 4; 0 waiting and 0 dead letters dropped" ]
    done
    publish -t n -d 4
    for point in 1000 9223372036854775807 2100-01-01 4; do
        for how in from seek; do
            run -0 consume -g "$how $point" -- printenv EVENT_SEQ
            [ "$output" = 4 ]
        done
    done
}

@test "group seek: waiting events are dropped, dead letters before the point stay, others are delivered again" {
    worn_group
    run -0 --separate-stderr spool group seek g 3
    [ "$output" = 'group g goes from position 6 to 3; 1 waiting and 1 dead letter dropped' ]
    run -0 dlq list
    [ "$(jq -c '[.seq,.attempts]' <<<"$output")" = '[2,1]' ]
    run -0 --separate-stderr consume -g g -- sh -c 'echo "$EVENT_SEQ $EVENT_ATTEMPT"'
    [ "$output" = $'3 1\n4 1\n5 1\n6 1' ]
    run -0 dlq show 2
    [ "$(jq '.history | length' <<<"$output")" -eq 1 ]
}

@test "group seek: waiting events before the point are skipped" {
    worn_group
    run -0 spool group seek g 6
    [ "$output" = 'group g goes from position 6 to 6; 1 waiting and 0 dead letters dropped' ]
    [ "$(positions g)" = 6 ]
    [ "$(dlq list | jq -c .seq | paste -sd' ')" = '2 4' ]
}

@test "group seek: all priorities move" {
    printf '{"type":"n","id":"%s","priority":%s}\n' a 0 b 5 c 9 | publish
    consume -g g --from start -- true
    spool group seek g start
    run -0 consume -g g -- printenv EVENT_ID
    [ "$output" = $'a\nb\nc' ]
    spool group seek g start
    spool group seek g now
    [ -z "$(positions g)" ]
}

@test "group seek: --dry-run prints what would be done and does nothing" {
    worn_group
    spool group show g >before
    run -0 --separate-stderr spool group seek g start --dry-run
    [ "$output" = 'group g would go from position 6 to 1; 1 waiting and 2 dead letters would be dropped' ]
    [ -z "$stderr" ]
    spool group show g | cmp before -
    [ "$(dlq list | wc -l)" -eq 2 ]
}

@test "group seek: other groups stay where they are" {
    events 3
    for group in g h; do
        consume -g $group --from start -a 1 -n 1 -- false || [ $? -eq 1 ]
    done
    spool group show h >before
    spool group seek g start
    spool group show h | cmp before -
    [ "$(dlq list | jq -r .group)" = h ]
    [ "$(dlq show -g h | jq '.history | length')" -eq 1 ]
}

@test "group seek: refused with 75 while a consumer works, and its work is not touched" {
    events 2
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo >>started; [ $EVENT_SEQ = 2 ] || read x <latch'
    wait_for test -e started
    for dry in '' --dry-run; do
        run -75 --separate-stderr spool group seek g start $dry
        [ -z "$output" ]
        [ "$stderr" = 'spool: group "g": it has 1 running consumer: end them first' ]
    done
    timeout 60 sh -c 'echo >latch'
    wait "$pid"
    run -0 spool group show g
    [ "$(jq -c '[.position,.lag]' <<<"$output")" = '[2,0]' ]
}

@test "group seek: refused with 75 while a consumer lives whose lock file was removed" {
    events 1
    background consume -g g --from start -f -- true
    follows() { [ "$(spool group show g | jq -c '[.lag,.consumers]')" = '[0,1]' ]; }
    wait_for follows
    rm spool.db-lock
    run -75 --separate-stderr spool group seek g start
    [ "$stderr" = 'spool: group "g": it has 1 running consumer: end them first' ]
}

@test "group seek: refused with 75 while events are handed out on a valid lease" {
    local boot=
    [ "$ENGINE" != sqlite ] || boot=$(cat /proc/sys/kernel/random/boot_id)
    events 2
    consume -g g --from start -- true
    lease() { # UNTIL BOOT: position 2
        sql "INSERT INTO claim(grp,owner,first,open,lease,term,boot)
            VALUES(1,0,2,$(bytes $'\2'),$1,1000,'$2')"
    }
    lease 9000000000000000 "$boot"
    for change in 'seek g start' 'set g --ordered'; do
        # shellcheck disable=SC2086
        run -75 --separate-stderr spool group $change
        [ "$stderr" = 'spool: group "g": it has leased events: settle them, or wait until their lease has run out' ]
    done
    sql 'DELETE FROM claim'
    lease 1 "$boot" # has run out
    lease 9000000000000000 another-boot
    run -0 spool group seek g 2
    [ "$(spool group show g | jq -c '[.lag,.in_flight]')" = '[1,0]' ]
}

@test "group seek: claims of a killed consumer move with the rest" {
    events 3
    background consume -g g --from start -- sh -c 'echo >started; exec sleep 600'
    wait_for test -e started
    slay "$pid"
    run -0 spool group seek g 3
    run -0 spool group show g
    [ "$(jq -c '[.position,.lag,.in_flight]' <<<"$output")" = '[2,1,0]' ]
    run -0 --separate-stderr consume -g g -- sh -c 'echo "$EVENT_SEQ $EVENT_ATTEMPT"'
    [ "$output" = '3 1' ]
}

@test "group seek: a paused group can be moved, and stays paused" {
    events 2
    consume -g g --from start -- true
    spool group pause g
    run -0 spool group seek g 2
    run -0 spool group show g
    [ "$(jq -r '.state, .lag' <<<"$output" | paste -sd' ')" = 'paused 1' ]
}

@test "group set: other patterns hold from the position on" {
    printf '{"type":"%s"}\n' a b a b | publish
    consume -g g -t a --from start -n 1 -- true
    run -0 --separate-stderr spool group set g -t b
    [ "$output" = 'group g set' ]
    [ -z "$stderr" ]
    run -0 spool group show g
    [ "$(jq -c '[.types,.lag]' <<<"$output")" = '[["b"],2]' ]
    [ "$(positions g)" = '2 4' ]
    spool group set g -t 'c.#' -t 'x"y'
    [ "$(spool group show g | jq -c .types)" = '["c.#","x\"y"]' ]
    run -0 consume -g g -t 'x"y' -t 'c.#' -- true
}

@test "group set: a running consumer uses the new patterns" {
    background consume -g g -t a --from start -f -- sh -c 'echo $EVENT_TYPE >>got'
    follows() { [ "$(spool group show g | jq .consumers)" = 1 ]; }
    wait_for follows
    run -0 spool group set g -t b
    printf '{"type":"%s"}\n' a b | publish
    wait_for test -e got
    [ "$(cat got)" = b ]
}

@test "group set: the order changes only while no consumer lives" {
    events 1
    background consume -g g --from start -f -- true
    follows() { [ "$(spool group show g | jq -c '[.lag,.consumers]')" = '[0,1]' ]; }
    wait_for follows
    run -75 --separate-stderr spool group set g --ordered
    [ -z "$output" ]
    [ "$stderr" = 'spool: group "g": it has 1 running consumer: end them first' ]
    run -75 spool group set g -t x --ordered
    [ "$(spool group show g | jq -c .types)" = '["#"]' ]
    kill "$pid"
    wait "$pid"
    run -0 spool group set g --ordered
    run -0 spool group set g --ordered # again
    run -0 spool group set g --unordered
}

@test "group set: back and forth between the orders loses nothing and delivers nothing twice" {
    for i in 1 2 3; do
        printf '{"type":"n","id":"%s","subject":"%s","priority":%s}\n' a$i k$i 1 b$i k$i 5
    done | publish
    consume -g g --from start -n 4 -- printenv EVENT_ID >got
    [ "$(paste -sd' ' got)" = 'a1 a2 a3 b1' ]
    spool group set g --ordered
    run -0 spool group show g
    [ "$(jq -c '[.position,.lag]' <<<"$output")" = '[5,2]' ]
    spool group set g --unordered
    consume -g g -- printenv EVENT_ID >>got
    [ "$(sort got | paste -sd' ')" = 'a1 a2 a3 b1 b2 b3' ]
}

@test "group set: in an ordered group a waiting event is behind the earlier events of its subject" {
    for key in a b a ''; do
        publish -t n ${key:+-k $key} -d 1 --delay 1h
    done
    consume -g g --from start -- true 2>/dev/null
    spool group set g --ordered
    states() { spool sql 'SELECT seq, state FROM waiting ORDER BY seq' | jq -r '"\(.seq) \(.state)"' | paste -sd,; }
    [ "$(states)" = '1 waiting,2 waiting,3 behind,4 waiting' ]
    spool group set g --unordered
    [ "$(states)" = '1 waiting,2 waiting,3 waiting,4 waiting' ]
}

# 2,500 events of one subject that wait for their time, two hours before it; and what of them is
# delivered when it has come. More than one transaction changes.
many_wait() {
    needs_world
    seq 2500 | publish -t n -k s --delay 1h
    consume -g g --from start -- true 2>/dev/null
    echo 7200 >clock
}
delivered() { world consume -g g --auto-ack "$@" | jq .data; }

# killed N COMMAND...: in front of the N-th time that it waits for the disk; or of a message to the
# server, after two thirds of all.
killed() {
    local at=$1 call=fdatasync
    shift
    if [ "$ENGINE" != sqlite ]; then
        keep_spool
        rm -f sent
        env LD_PRELOAD="$BUILD/fault/fail.so" FAULT_KIND=trace FAULT_ONLY=send FAULT_LOG=sent "$@"
        back_to_kept_spool
        at=$(($(wc -l <sent) * 2 / 3)) call=send
    fi
    # shellcheck disable=SC2016
    run -137 env LD_PRELOAD="$BUILD/fault/fail.so" FAULT_KIND=kill FAULT_ONLY=$call FAULT_AT="$at" \
        "$@" 2>/dev/null
}

@test "group seek, drop: a kill half-way leaves a group that delivers each event once" {
    many_wait
    for change in 'seek g start' 'drop g'; do
        # shellcheck disable=SC2086
        killed 3 spool group $change
        run -0 spool group show g
        [ "$(jq -c '[.lag, .waiting < 2500]' <<<"$output")" = '[2500,true]' ]
    done
    [ "$(delivered | sort -n | uniq | wc -l)" -eq 2500 ]
    [ "$(spool group show g | jq .done)" -eq 2500 ]
    run -0 spool group drop g
}

@test "group set: the next consumer, or the next set, repairs what a kill left half-done" {
    many_wait
    half_way() { # which is no damage
        [ "$(spool sql 'SELECT ordered FROM group_list' | jq .ordered)" -eq 2 ]
        spool check
    }
    killed 3 spool group set g --ordered
    half_way
    [ "$(delivered -n 1200)" = "$(seq 1200)" ]
    killed 3 spool group set g --unordered
    half_way
    [ "$(delivered -n 100)" = "$(seq 1201 1300)" ]
    killed 3 spool group set g --unordered
    half_way
    run -0 spool group set g --unordered
    [ "$(delivered | sort -n)" = "$(seq 1301 2500)" ]
}

@test "group: wrong usage of seek and set is 64 and says what is wrong" {
    events 1
    consume -g g --from start -- true
    usage() { # MESSAGE ARG...
        local message=$1
        shift
        run -64 --separate-stderr spool group "$@"
        [ -z "$output" ]
        [ "$stderr" = "spool: $message (see spool group --help)" ] || {
            echo "spool group $*: $stderr" >&2
            return 1
        }
    }
    usage 'group seek wants a GROUP' seek
    usage 'group seek wants a GROUP and a POINT, such as start, 2h or 17' seek g
    usage 'one GROUP at a time: "x"' seek g start x
    run -64 --separate-stderr spool group seek g yesterdya
    [[ $stderr == 'spool: POINT '*'"yesterdya"'*' (see spool group --help)' ]]
    usage 'group set wants -t, --ordered or --unordered' set g
    usage '--ordered and --unordered exclude each other' set g --ordered --unordered
    usage '--type is for group set' pause g -t x
    usage '--ordered is for group set' seek g start --ordered
    usage '--dry-run is for group seek' drop g --dry-run
    usage '-t is empty (an unset variable?)' set g -t ''
    usage 'group list takes no operand: "g"' list g
    run -66 --separate-stderr spool group seek h start
    [ "$stderr" = "spool: there is no group \"h\" in $EVENT_SPOOL" ]
    run -66 spool group set h -t x
}

@test "spool group: lag is the events ahead, due, waiting and in flight" {
    seq 6 | publish -t n
    consume -g g --from start -n 2 --backoff 0 -- sh -c 'exec >&3; [ "$EVENT_SEQ" = 1 ] && echo delay 1h || echo delay 0; exit 1'
    counts() { spool group show g -o ndjson | jq -c '[.lag, .due, .waiting, .in_flight]'; }
    [ "$(counts)" = '[6,1,1,0]' ] # 1 waits for an hour, 2 can be retried now, 3 to 6 are ahead
    background consume -g g -n 1 -- sh -c ': >begun; until [ -e go ]; do sleep 0.02; done'
    wait_for test -e begun
    [ "$(counts)" = '[6,0,1,1]' ]
    : >go
    ends_with 0 "$pid"
    [ "$(counts)" = '[5,0,1,0]' ]
    run -0 spool sql "SELECT waiting FROM group_list"
    [ "$output" = '{"waiting":1}' ]
}

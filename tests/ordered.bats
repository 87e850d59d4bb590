# consume --ordered: the events of a subject one after the other, whatever fails or dies in between.
load helper

# events SUBJECTS N: N events of each subject in turn, data "subject n".
events() {
    local n s
    for ((n = 1; n <= $2; n++)); do
        for ((s = 1; s <= $1; s++)); do
            echo "{\"type\":\"n\",\"subject\":\"s$s\",\"data\":\"s$s $n\"}"
        done
    done | publish
}

# A handler that writes down its event when it begins and when it ends.
cat_data='sed "s/.*\"data\":\"\([^\"]*\)\".*/\1/"'

# in_order FILE: within each subject the numbers do not go back.
in_order() {
    awk '$2 < last[$1] { print "out of order: " $0; bad = 1 } { last[$1] = $2 } END { exit bad }' "$1"
}

@test "ordered: a retry holds its subject and no other" {
    events 3 3
    run -0 --separate-stderr consume -g g --from start --ordered -j 3 --backoff 90d..90d -- sh -c "
        d=\$($cat_data); echo \"\$d\" >>seen; [ \"\$d\" != 's2 2' ]"
    in_order seen
    [ "$(sort seen | paste -sd,)" = 's1 1,s1 2,s1 3,s2 1,s2 2,s3 1,s3 2,s3 3' ]
    [ "$(spool group show g -o ndjson | jq -c '[.lag,.waiting,.due]')" = '[2,2,0]' ]
    # What arrives meanwhile stands behind it.
    events 3 1
    run -0 --separate-stderr consume -g g -- sh -c "$cat_data"
    [ "$(sort <<<"$output" | paste -sd,)" = 's1 1,s3 1' ]
    [ "$(replay -g g | jq -r .data | paste -sd,)" = 's2 2,s2 3,s2 1' ]
}

@test "ordered: when the retry is done, the events behind it follow, in order" {
    events 2 5
    run -0 --separate-stderr timeout 60 consume -g g --from start --ordered -j 4 --backoff 0 -- sh -c "
        d=\$($cat_data); echo \"\$d\" >>seen
        [ \"\$d\" != 's1 2' ] || [ \"\$EVENT_ATTEMPT\" -ge 4 ]"
    in_order seen
    [ "$(grep -c 's1 2' seen)" -eq 4 ]
    [ "$(sort -u seen | wc -l)" -eq 10 ]
    [ "$(spool group show g -o ndjson | jq .lag)" = 0 ]
}

@test "ordered: a dead letter does not hold its subject, and is requeued in its old place" {
    events 1 3
    run -1 --separate-stderr consume -g g --from start --ordered -a 1 -- sh -c "d=\$($cat_data); echo \"\$d\"; [ \"\$d\" != 's1 2' ]"
    [ "$output" = $'s1 1\ns1 3' ]
    events 1 1
    consume -g g --backoff 90d..90d -- false
    dlq retry -g g --all
    run -0 consume -g g --dry-run
    [ "$(jq -r .data <<<"$output")" = 's1 2' ]
    run -0 --separate-stderr consume -g g -- sh -c "$cat_data"
    [ "$output" = $'s1 2\ns1 1' ]
}

@test "ordered: events without a subject are unordered" {
    seq 4 | publish -t n
    run -0 --separate-stderr consume -g g --from start --ordered --backoff 90d..90d -- sh -c '[ "$EVENT_SEQ" != 2 ] && echo "$EVENT_SEQ"'
    [ "$output" = $'1\n3\n4' ]
}

@test "ordered: an event that is not yet due holds the events behind it" {
    publish -t n -k a -d 1
    publish -t n -k a -d 2 --delay 1h
    publish -t n -k a -d 3
    publish -t n -k b -d 4
    run -0 --separate-stderr consume -g g --from start --ordered -- printenv EVENT_SEQ
    [ "$output" = $'1\n4' ]
    [ "$stderr" != "" ]
    publish -t n -k a -d 5
    run -0 --separate-stderr consume -g g -- printenv EVENT_SEQ
    [ -z "$output" ]
    [ "$(spool group show g -o ndjson | jq .waiting)" = 3 ]
}

@test "ordered: an event that was behind another still waits for its own time" {
    publish -t n -k a -d 1
    publish -t n -k a -d 2 --delay 1h
    run -0 --separate-stderr consume -g g --from start --ordered --backoff 0 -- sh -c 'echo "$EVENT_SEQ"; [ "$EVENT_ATTEMPT" = 2 ]'
    [ "$output" = 1 ]
    [[ $stderr == *'consume: group "g": 1 waiting, the next until '* ]]
    run -0 --separate-stderr consume -g g -- true
    [ "$(spool group show g | jq -c '[.waiting,.due,.done]')" = '[1,0,1]' ]
}

@test "ordered: priorities do not overtake" {
    publish -t n -k a -d 1
    publish -t n -k a -d 2 --priority 0
    publish -t n -k b -d 3 --priority 9
    publish -t n -k a -d 4
    run -0 consume -g g --from start --ordered -- printenv EVENT_SEQ
    [ "$output" = $'1\n2\n3\n4' ]
}

@test "ordered: a deferral holds everything, and the order stays" {
    events 2 2
    run -75 --separate-stderr consume -g g --from start --ordered -j 4 -- sh -c 'echo delay 100ms >&3; exit 69'
    done_with() { consume -g g -j 4 -- sh -c "$cat_data >>seen" 2>/dev/null && [ "$(wc -l <seen)" -eq 4 ]; }
    wait_for done_with
    in_order seen
}

@test "ordered: --workers keep the order, too" {
    cat >w <<'END'
#!/bin/bash
while IFS= read -r line; do
    id=${line#*\"id\":\"} id=${id%%\"*} d=${line##*\"data\":\"}
    echo "${d%%\"*}" >>seen
    case $line in
    *'"s1 2"'*) [ $((tries += 1)) -ge 3 ] || { echo "{\"id\":\"$id\",\"status\":\"retry\",\"delay\":\"0\"}"; continue; } ;;
    esac
    echo "{\"id\":\"$id\"}"
done
END
    chmod +x w
    events 3 20
    run -0 --separate-stderr timeout 60 consume -g g --from start --ordered --workers -- ./w
    in_order seen
    [ "$(sort -u seen | wc -l)" -eq 60 ]
    [ "$(grep -c 's1 2$' seen)" -eq 3 ]
    [ "$(spool group show g -o ndjson | jq .lag)" = 0 ]
}

# A worker in bash: $id and $d are its event's id and data; answer [STATUS [MEMBERS]] answers. What it
# begins is in the file seen.
worker() { # SCRIPT
    {
        cat <<'END'
#!/bin/bash
answer() { printf '{"id":"%s","status":"%s"%s}\n' "$id" "${1:-done}" "${2:+,$2}"; }
again() { answer retry '"delay":"0"'; }
starts=$(cat starts 2>/dev/null || echo 0)
echo $((starts + 1)) >starts
while IFS= read -r line; do
    id=${line#*\"id\":\"} id=${id%%\"*} d=${line##*\"data\":\"} d=${d%%\"*}
    echo "$d" >>seen
END
        printf '%s\ndone\n' "$1"
    } >w
    chmod +x w
}

@test "ordered: the end of a worker holds the subjects of all its events" {
    events 2 4
    # It has the first of both subjects, and the others are claimed behind them.
    worker 'if [ "$starts" = 0 ]; then [ "$d" != "s2 1" ] || exit 7; else answer; fi'
    run -0 --separate-stderr timeout 60 consume -g g --from start --ordered --workers --backoff 0 -- ./w
    in_order seen
    [ "$(sort -u seen | wc -l)" -eq 8 ]
}

@test "ordered: a worker's retry holds its subject from the answer on, whatever is published in between" {
    echo '{"type":"n","subject":"busy","data":"busy 1"}' | publish
    for n in 1 2 3 4 5; do echo "{\"type\":\"n\",\"subject\":\"s$n\",\"data\":\"s$n 1\"}"; done | publish
    # One event stays unanswered: with nothing in hand what is decided would be settled at once.
    worker 'case $d in
        busy*) busy=$id ;;
        *1) if [ -e "$d" ]; then answer; else
            : >"$d"
            again
            echo "{\"type\":\"n\",\"subject\":\"${d% *}\",\"data\":\"${d% *} 2\"}" | publish
        fi ;;
        *) answer; [ $((n += 1)) -lt 5 ] || { id=$busy answer; exec cat; } ;;
        esac'
    run -0 --separate-stderr timeout 60 consume -g g --from start -f -n 16 --ordered --workers -- ./w
    in_order seen
    [ "$(wc -l <seen)" -eq 16 ]
}

# SEED=n repeats a round.
@test "ordered: workers that answer late, retry, give up, defer and die keep each subject's order" {
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    cat >w <<'END'
#!/bin/bash
starts=$(cat starts)
echo $((starts + 1)) >starts
RANDOM=$((SEED + starts))
while true; do
    if read -r -t 0.01 line; then
        line=$part$line part=
        id=${line#*\"id\":\"} id=${id%%\"*} d=${line##*\"data\":\"}
        echo "${d%%\"*}" >>seen
        ids+=("$id")
        [ $((RANDOM % 3)) -eq 0 ] || continue
    elif [ $? -gt 128 ]; then # nothing for a while, or not all of a line
        part+=$line
    else
        exit
    fi
    for id in "${ids[@]}"; do
        case $((RANDOM % 60)) in
        [0-9]) echo "{\"id\":\"$id\",\"status\":\"retry\",\"delay\":\"0\"}" ;;
        1[0-2]) echo "{\"id\":\"$id\",\"status\":\"dead\"}" ;;
        13) echo "{\"id\":\"$id\",\"status\":\"defer\",\"delay\":\"0\"}" ;;
        14) exit 3 ;;
        15) echo nonsense ;;
        *) echo "{\"id\":\"$id\"}" ;;
        esac
    done
    ids=()
done
END
    chmod +x w
    for ((round = 0; round < ${LONG:+20} + 1; round++)); do
        rm -f seen
        echo $((round * 1000)) >starts
        events 5 12
        background env SEED="$seed" consume -g g --from start -f --ordered --workers -j 3 --window 8 -a 1000 --backoff 0 -- ./w 2>/dev/null
        wait_for spool wait -g g --wait 1s
        kill "$pid"
        wait "$pid" || [ $? -eq 1 ]
        in_order seen
        [ "$(sort -u seen | wc -l)" -eq 60 ]
    done
}

@test "ordered: one consumer works, the other stands by and takes over" {
    events 1 2
    background sh -c 'exec consume -g g --from start --ordered -f -- sh -c "echo \$EVENT_SEQ >>one; cat >/dev/null"'
    one=$pid
    drained() { [ "$(spool group show g -o ndjson | jq .lag)" = 0 ]; }
    wait_for test -s one
    wait_for drained
    background sh -c 'exec consume -g g -f -- sh -c "echo \$EVENT_SEQ >>two; cat >/dev/null"'
    two=$pid
    joined() { [ "$(spool group show g -o ndjson | jq .consumers)" = 2 ]; }
    wait_for joined
    run -0 --separate-stderr consume -g g -- true
    [ "$stderr" = 'consume: group "g": another consumer is the active one, this one was on standby' ]
    publish -t n -k s1 -d 3
    wait_for grep -qx 3 one
    wait_for drained
    [ ! -e two ]
    kill "$one"
    wait "$one"
    publish -t n -k s1 -d 4
    wait_for grep -qx 4 two
    wait_for drained
    kill "$two"
    wait "$two"
}

@test "ordered: a successor waits for the last handler of a consumer that died" {
    events 1 2
    # It outlives its consumer: what it starts is no child of its own.
    background sh -c 'exec consume -g g --from start --ordered -- sh -c "
        setsid sh -c \"echo begun >>log; read x <go; echo ended >>log\" &
        wait"'
    one=$pid
    mkfifo go
    wait_for grep -q begun log
    kill -KILL "$one"
    wait "$one" || true
    alone() { [ "$(spool group show g -o ndjson | jq .consumers)" = 0 ]; }
    wait_for alone # not noticed: its handler keeps a session
    run -75 --separate-stderr consume -g g -- sh -c 'echo overtaken >>log'
    [ "$stderr" = 'consume: group "g": handlers of a consumer that died still run; this ordered group waits for them' ]
    background sh -c 'exec consume -g g -f -- sh -c "echo next \$EVENT_SEQ >>log"'
    two=$pid
    [ "$(cat log)" = begun ]
    echo >go
    wait_for grep -q 'next 2' log
    [ "$(paste -sd' ' log)" = 'begun ended next 1 next 2' ]
    kill "$two"
    wait "$two"
}

@test "ordered: consumers killed at any time keep each subject's order" {
    events 5 8
    consume -g g --from start --ordered --to 0 -- true
    rounds=0
    until [ "$(spool group show g -o ndjson | jq .lag)" = 0 ] || [ "$((rounds += 1))" -gt 100 ]; do
        timeout -s KILL "0.0$((RANDOM % 9 + 1))" consume -g g -j 4 -a 1000 --backoff 0 -- sh -c "$cat_data >>seen" 2>/dev/null || true
    done
    consume -g g -j 4 -a 1000 -- sh -c "$cat_data >>seen"
    [ "$(sort -u seen | wc -l)" -eq 40 ]
    # Each first time stands in order.
    awk '!seen[$0]++' seen >firsts
    in_order firsts
}

@test "ordered: handlers have one more descriptor, and processes they leave behind do not block" {
    events 1 1
    run -0 --separate-stderr consume -g g --from start --ordered -- ls /proc/self/fd
    [ "$output" = $'0\n1\n2\n3\n4\n5' ] # 5 is the folder
    events 1 1
    echo 'echo $$ >daemon; exec sleep 600' >leave
    background sh -c 'exec consume -g g -- sh -c "setsid sh leave >/dev/null 2>&1 & exit 0"'
    wait "$pid"
    events 1 1
    run -0 timeout 60 consume -g g -- printenv EVENT_SEQ
    [ "$output" = 3 ]
    wait_for test -s daemon
    kill "$(cat daemon)"
}

@test "ordered: is a property of the group, from its creation" {
    events 1 1
    consume -g plain --from start -- true
    run -64 --separate-stderr consume -g plain --ordered -- true
    [ "$stderr" = 'consume: group "plain" exists and is not ordered: leave out --ordered, or take another name, or spool group set' ]
    consume -g g --from start --ordered -- true
    run -0 consume -g g --ordered -- true
    run -0 consume -g g -- true
    run -64 --separate-stderr consume -g g --lease 1m
    [ "$stderr" = 'consume: group "g" is ordered: a pipe cannot keep the order when events come back, use a command' ]
    run -0 consume -g g --auto-ack
}

@test "ordered: a busy subject does not keep the others from free handlers" {
    seq 30 | publish -t n -k busy
    publish -t n -k other -d 31
    # The first of the busy ones ends only when the other has been handled.
    run -0 --separate-stderr consume -g g --from start --ordered -j 4 -- \
        sh -c '[ "$EVENT_SUBJECT" = other ] && : >go; while [ ! -e go ]; do sleep 0.02; done; echo "$EVENT_SUBJECT $EVENT_SEQ"'
    [ "$(grep -c . <<<"$output")" -eq 31 ]
    [ "$(grep busy <<<"$output")" = "$(seq -f 'busy %g' 30)" ]
}

@test "ordered: an event whose output cannot be published yet holds back the next one of its subject" {
    publish -t n -k s -d 1 && publish -t n -k s -d 2
    publish -t made -k stream --expect-version 0 -d 0
    cat >worker <<'END'
#!/bin/sh
while read -r line; do
    id=$(jq -r .id <<EOF
$line
EOF
)
    jq -r .data >>seen <<EOF
$line
EOF
    out=
    [ -e tried ] || out=',"out":{"type":"made","subject":"stream","version":1}'
    : >tried
    echo "{\"id\":\"$id\"$out}"
done
END
    chmod +x worker
    run -0 consume -g g -t n --from start --ordered --workers --emit --backoff 0..0 -- ./worker
    [ "$(cat seen)" = $'1\n1\n2' ]
}

@test "ordered: an event that was given up stays given up when the next one of its subject kills the consumer" {
    events 1 3
    run -137 --separate-stderr consume -g g --from start --ordered --dead-on 9 -- sh -c "
        d=\$($cat_data); echo \"\$d\" >>seen
        case \$d in 's1 1') exit 9 ;; 's1 2') kill -KILL \$PPID ;; esac"
    noticed
    run -0 --separate-stderr consume -g g -- sh -c "$cat_data >>seen"
    [ "$(paste -sd, seen)" = 's1 1,s1 2,s1 2,s1 3' ]
    [ "$(dlq list -o ndjson | jq -c '[.subject,.status]')" = '["s1",9]' ]
}

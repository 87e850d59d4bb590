load helper

# A signal to stop, the loss of the reader of stdout, and trouble of the command's own: finished
# work is settled, recorded or printed; events that have not begun are returned, and no event is to
# blame.

events() { # N: with positions, ids e1, e2 … and subjects s1, s2 …
    seq "$1" | sed 's/.*/{"type":"n","id":"e&","subject":"s&","data":&}/' | publish
}

# A line for each delivery: position, attempt, and how often its consumer has died.
show='echo "$EVENT_SEQ $EVENT_ATTEMPT"'

# What was written to descriptor 8, a FIFO, has been read.
drained() {
    ! read -r -t 0 -u 8
}

# --- beside another writer

@test "stop: consume settles what its handlers have done, however long others hold the lock" {
    events 4
    background consume -g g --from start -f -j 2 -- sh -c 'echo $EVENT_SEQ >>began; until [ -e go ]; do sleep 0.02; done; echo $EVENT_SEQ >>ended' 2>err
    consumer=$pid
    wait_for has_lines began 2
    hold_lock
    kill -TERM "$consumer"
    : >go
    wait_for has_lines ended 2
    let_write
    ends_with 0 "$consumer"
    [ ! -s err ]
    group_is g 2 2 0 0
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'3 1\n4 1' ]
}

@test "stop: consume does not end running handlers while a claim waits for the lock" {
    events 2
    background consume -g g --from start -f -j 2 --backoff 1s..1s -- sh -c 'echo $EVENT_SEQ >>began
        [ $EVENT_SEQ = 1 ] || exit 1; until [ -e go ]; do sleep 0.02; done; echo $EVENT_SEQ >>ended' 2>err
    consumer=$pid
    wait_for group_is g 2 1 1 0
    hold_lock
    wait_for waits_for_lock "$consumer" # to claim the second again
    kill -TERM "$consumer"
    : >go
    wait_for has_lines ended 1
    let_write
    ends_with 0 "$consumer"
    run -1 grep -v 'seq 2 n "e2": exit status 1' err
    group_is g 1 1 0 0
}

@test "stop: consume without claims does not wait for the lock" {
    publish -t n -d 1
    background consume -g g --from now -f --grace 7d -- true
    consumer=$pid
    wait_for spool group show g
    hold_lock
    kill -TERM "$consumer"
    ends_with 0 "$consumer"
    let_write
}

@test "stop: events from consume --emit are published once" {
    events 2
    background consume -g g -t n --from start -f -j 2 --emit -- sh -c 'echo >>began; until [ -e go ]; do sleep 0.02; done; echo "{\"type\":\"made\",\"data\":$EVENT_SEQ}"; echo >>ended' 2>err
    consumer=$pid
    wait_for has_lines began 2
    hold_lock
    kill -TERM "$consumer"
    : >go
    wait_for has_lines ended 2
    let_write
    ends_with 0 "$consumer"
    [ ! -s err ]
    run -0 consume -g g -- sh -c "$show"
    [ -z "$output" ]
    [ "$(replay -t made | jq .data | sort)" = $'1\n2' ]
}

@test "stop: events that workers have answered are settled" {
    events 3
    cat >worker <<'END'
#!/bin/sh
while read -r line; do
    id=${line#*'"id":"'}
    id=${id%%'"'*}
    echo "$id" >>began
    until [ -e go ]; do sleep 0.02; done
    echo "{\"id\":\"$id\"}"
    echo "$id" >>ended
done
END
    chmod +x worker
    background consume -g g --from start -f --workers -- ./worker 2>err
    consumer=$pid
    wait_for has_lines began 1
    hold_lock
    kill -TERM "$consumer"
    : >go
    wait_for has_lines ended 3
    let_write
    ends_with 0 "$consumer"
    [ ! -s err ]
    run -0 consume -g g -- sh -c "$show"
    [ -z "$output" ]
}

@test "stop: events that consume --auto-ack has printed are settled" {
    events 3
    mkfifo p
    exec 8<>p
    head -c 65536 /dev/zero >p
    background consume -g g --from start -f --auto-ack >p 2>err 8<&-
    consumer=$pid
    wait_for group_is g 3 0 3 0
    hold_lock
    timeout 60 head -c 65536 <&8 >full
    for _ in 1 2 3; do read -r -t 20 _ <&8; done
    kill -TERM "$consumer"
    let_write
    ends_with 0 "$consumer"
    exec 8<&-
    [ ! -s err ]
    group_is g 0 0 0 0
}

@test "stop: a second signal ends the wait for the lock" {
    events 1
    background consume -g g --from start -f --grace 7d -- sh -c 'echo >>began; until [ -e go ]; do sleep 0.02; done; echo >>ended' 2>err
    consumer=$pid
    wait_for has_lines began 1
    hold_lock
    kill -TERM "$consumer"
    : >go
    wait_for has_lines ended 1
    insist() { kill -INT "$consumer" 2>/dev/null; gone "$consumer"; }
    wait_for insist
    let_write
    ends_with 75 "$consumer"
    grep -q 'stopped while waiting for its lock$' err
}

@test "stop: settle settles what it has read" {
    events 3
    consume -g g --from start --lease 1h >lines
    mkfifo in
    exec 8<>in
    background settle -g g <in 2>err 8<&-
    settler=$pid
    hold_lock
    cat lines >&8
    wait_for drained
    kill -TERM "$settler"
    let_write
    ends_with 0 "$settler"
    exec 8<&-
    [ ! -s err ]
    group_is g 0 0 0 0
}

@test "stop: publish stores the lines read from a pipe, and reports that the input was not complete" {
    publish -t n -d 0
    mkfifo in
    exec 8<>in
    background publish -t n <in 2>err 8<&-
    publisher=$pid
    hold_lock
    seq 3 >&8
    wait_for drained
    kill -TERM "$publisher"
    let_write
    ends_with 143 "$publisher"
    exec 8<&-
    [ "$(replay | jq .data)" = $'0\n1\n2\n3' ]
}

@test "stop: publish of a file, or -d, ends at once, since it can be repeated" {
    publish -t n -d 0
    seq 3 >file
    hold_lock
    background publish -t n file 2>err
    publisher=$pid
    wait_for waits_for_lock "$publisher"
    kill -TERM "$publisher"
    ends_with 143 "$publisher"
    let_write
    [ "$(replay | jq .data)" = 0 ]
    publish -t n file
    [ "$(replay | jq .data)" = $'0\n1\n2\n3' ]
}

@test "stop: fsm run keeps what it has read, and prints it" {
    echo '{"initial":"off","states":{"off":{"on":{"n":"on"}},"on":{"on":{"n":"off"}}}}' >lamp.json
    events 1
    mkfifo in
    exec 8<>in
    background fsm run lamp.json <in >out 2>err 8<&-
    machine=$pid
    hold_lock
    replay >&8
    wait_for drained
    kill -TERM "$machine"
    let_write
    ends_with 143 "$machine"
    exec 8<&-
    [ ! -s err ]
    [ "$(jq -c '[.type,.subject]' out)" = '["lamp.on","s1"]' ]
}

@test "stop: once records that its command has succeeded" {
    publish -t n -d 0
    background once -k a -- sh -c 'trap : TERM; echo >>ran; until [ -e go ]; do sleep 0.02; done; echo >>ended' 2>err
    runner=$pid
    wait_for has_lines ran 1
    hold_lock
    kill -TERM "$runner"
    : >go
    wait_for has_lines ended 1
    let_write
    ends_with 0 "$runner"
    once -k a -- sh -c 'echo >>ran'
    has_lines ran 1
}

@test "stop: once that has not begun its command does not wait for the lock" {
    publish -t n -d 0
    hold_lock
    background once -k a -- touch ran
    runner=$pid
    wait_for waits_for_lock "$runner"
    kill -TERM "$runner"
    ends_with 143 "$runner"
    let_write
    [ ! -e ran ]
}

@test "stop: saga records what its steps have done" {
    echo '{"name":"trip","steps":[{"name":"book","do":["sh","-c","echo >>ran; until [ -e go ]; do sleep 0.02; done; echo >>ended"]}]}' >trip.json
    events 1
    replay >event
    background saga run trip.json <event 2>err
    runner=$pid
    wait_for has_lines ran 1
    hold_lock
    kill -TERM "$runner"
    : >go
    wait_for has_lines ended 1
    let_write
    ends_with 0 "$runner"
    [ "$(saga list -o ndjson | jq -r .state)" = completed ]
    has_lines ran 1
}

@test "stop: project applies each event once, and records that in the spool" {
    cat >t.sql <<'END'
-- @init
CREATE TABLE t(seq INTEGER PRIMARY KEY);
-- @on n
INSERT INTO t VALUES(:seq);
END
    events 1
    background project -f read.db t.sql 2>err
    projector=$pid
    wait_for spool wait -g t --wait 0
    kill -STOP "$projector"
    publish -t n -d 2
    hold_lock
    kill -CONT "$projector"
    applied() { [ "$(sqlite3 -readonly read.db 'SELECT count(*) FROM t')" -eq "$1" ]; }
    wait_for applied 2
    kill -TERM "$projector"
    let_write
    ends_with 0 "$projector"
    [ "$(cat err)" = 'project: created the database read.db' ]
    spool wait -g t --wait 0

    # Nor does it wait for the lock of what has not begun.
    publish -t n -d 3
    hold_lock read.db
    background project -f read.db t.sql 2>err
    projector=$pid
    wait_for waits_for_lock "$projector"
    kill -TERM "$projector"
    ends_with 75 "$projector"
    let_write
    project read.db t.sql
    applied 3
}

@test "stop: project that has nothing to apply does not wait to record its position" {
    printf '%s\n' '-- @init' 'CREATE TABLE t(seq INTEGER);' '-- @on n' 'INSERT INTO t VALUES(:seq);' >t.sql
    events 1
    background project -f read.db t.sql 2>err
    projector=$pid
    wait_for spool wait -g t --wait 0
    hold_lock read.db
    seq 1100 | publish -t other
    wait_for waits_for_lock "$projector"
    kill -TERM "$projector"
    ends_with 0 "$projector"
    let_write
    [ "$(cat err)" = 'project: created the database read.db' ]
    spool wait -g t --wait 0
}

@test "stop: outbox-relay marks what its sink has confirmed" {
    outbox-relay --schema >schema.sql
    sqlite3 app.db <schema.sql
    sqlite3 app.db "INSERT INTO outbox_events(event_type,payload) VALUES('n','1')"
    background outbox-relay -f app.db -- sh -c 'cat >>got; until [ -e go ]; do sleep 0.02; done; cat got' 2>err
    relay=$pid
    wait_for test -s got
    hold_lock app.db
    kill -TERM "$relay"
    : >go
    wait_for waits_for_lock "$relay"
    let_write
    ends_with 0 "$relay"
    outbox-relay app.db -- sh -c 'cat >>got'
    has_lines got 1
}

# --- a second signal

@test "stop: two signals count as two, however soon the second one comes" {
    events 2
    for second in TERM INT; do
        background consume -g $second --from start --grace 7d -- sh -c 'echo >>began; exec sleep 600'
        wait_for has_lines began 1
        kill -TERM "$pid"
        wait_for group_is $second 2 1 1 0 # the first one has been acted on
        kill -$second "$pid"
        ends_with 0 "$pid"
        group_is $second 2 2 0 0
        rm began
    done
}

@test "stop: a second signal from the script that started it counts, too" {
    events 2
    cat >script <<'END'
set +m
consume -g g --from start --grace 7d -- sh -c 'echo >>began; exec sleep 600' &
until [ -s began ]; do sleep 0.02; done
kill -TERM $!
until [ "$(spool group show g -o ndjson | jq .in_flight)" = 1 ]; do sleep 0.02; done
kill -TERM $!
wait $!
END
    run -0 timeout 60 setsid -w bash script
    group_is g 2 2 0 0
}

@test "stop: timeout(1) signals its command and then its whole group, which counts as one stop" {
    events 1
    background timeout 7d consume -g g --from start --grace 7d -- sh -c 'echo >>began; until [ -e go ]; do sleep 0.02; done; echo >>ended'
    wait_for has_lines began 1
    wait_for sleeps "$pid"
    kill -TERM "$pid"
    sleep 1.2 # so that what is in doubt for a second would have been decided
    : >go
    ends_with 0 "$pid"
    has_lines ended 1
    group_is g 0 0 0 0
}

# A stopped process gets both signals at once when it continues, in the order of their numbers.
@test "stop: the two signals of timeout(1) count as one however late they arrive" {
    events 1
    consume -g g --from start --grace 7d -- sh -c 'echo >>began; until [ -e go ]; do sleep 0.02; done; echo >>ended' 3>&- &
    pid=$!
    helper_pids+=("$pid")
    wait_for has_lines began 1
    kill -TERM "$pid"
    wait_for group_is g 1 0 1 0
    wait_for sleeps "$pid"
    kill -STOP "$pid"
    kill -TERM "$pid"
    kill -CONT "$pid"
    sleep 1.2 # so that what is in doubt for a second would have been decided
    : >go
    ends_with 0 "$pid"
    has_lines ended 1
    group_is g 0 0 0 0
}

# --- a reader that has gone

@test "stop: consume ends when the reader of its stdout has gone, and begins nothing more" {
    for how in '-- sh -c "echo >>ran; echo \$EVENT_SEQ"' --auto-ack '--lease 1h' "--workers -- ./worker"; do
        rm -rf ran
        no_spool
        events 1
        printf '%s\n' '#!/bin/sh' 'while read -r x; do echo >>ran; echo "{\"id\":\"e1\",\"out\":1}"; done' >worker
        chmod +x worker
        run -0 timeout 60 bash -c "consume -g g --from start -f $how | head -n 1 >out; echo \${PIPESTATUS[0]}"
        [ "$output" = 0 ]
        [ -s out ]
        publish -t n -d 2
        [ ! -e ran ] || has_lines ran 1
    done
}

@test "stop: an event handled while the reader went away is done" {
    events 2
    mkfifo p
    background bash -c 'exec consume -g g --from start -f -- sh -c "echo \$EVENT_SEQ >>began; until [ -e go ]; do sleep 0.02; done; echo \$EVENT_SEQ" >p 2>err'
    exec 8<p
    wait_for has_lines began 1
    exec 8<&-
    wait_for group_is g 2 1 1 0 # the other one has gone back
    : >go
    ends_with 0 "$pid"
    [ ! -s err ]
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = '2 1' ]
}

@test "stop: when the reader of an ordered group's consumer has gone, another consumer continues" {
    events 1
    mkfifo p
    background bash -c 'exec consume -g g --ordered --from start -f -- cat >p'
    one=$pid
    exec 8<p
    read -r -t 20 _ <&8
    background consume -g g -f -- sh -c 'cat >>two' 8<&-
    exec 8<&-
    ends_with 0 "$one"
    publish -t n -k s1 -d 2
    wait_for has_lines two 1
}

@test "stop: filters end when their reader has gone, though their input has not" {
    events 1
    echo '{"id":"lamp","initial":"off","states":{"off":{"on":{"n":"on"}},"on":{"on":{"n":"off"}}}}' >lamp.json
    mkfifo in
    exec 8<>in
    for command in 'throttle -r 1000/s' 'publish --echo' 'fsm run lamp.json' 'replay -f'; do
        replay 1 >&8
        run -0 timeout 60 bash -c "$command <in | head -n 1; echo \${PIPESTATUS[0]}"
        [ "${lines[1]}" = 0 ]
        while read -r -t 0 -u 8; do read -r -u 8 _; done
    done
    exec 8<&-
}

# --- trouble of its own

@test "stop: when stdout cannot be written, no event is to blame, thirty times" {
    [ -w /dev/full ] || skip 'there is no /dev/full'
    events 8
    for _ in {1..30}; do
        run -74 --separate-stderr bash -c 'exec consume -g g --from start -j 4 -a 2 -- printenv EVENT_SEQ >/dev/full'
        [ "$stderr" = 'consume: cannot write to stdout: No space left on device' ]
    done
    run -0 consume -g g -- sh -c "$show"
    [ "$(sort <<<"$output")" = "$(seq 8 | sed 's/$/ 1/')" ]
}

@test "stop: when stdout cannot be written, no event of a worker, a pipe or a lease is to blame" {
    [ -w /dev/full ] || skip 'there is no /dev/full'
    events 4
    printf '%s\n' '#!/bin/sh' 'while read -r line; do id=${line#*id\":\"}; echo "{\"id\":\"${id%%\"*}\",\"out\":1}"; done' >worker
    chmod +x worker
    for _ in 1 2 3; do
        run -74 bash -c 'exec consume -g g --from start -a 2 --workers -- ./worker >/dev/full'
        run -74 bash -c 'exec consume -g g -a 2 --auto-ack >/dev/full'
        run -74 bash -c 'exec consume -g g -a 2 --lease 1h >/dev/full'
    done
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = "$(seq 4 | sed 's/$/ 1/')" ]
}

@test "stop: events that succeeded without printing are done, though stdout cannot be written" {
    [ -w /dev/full ] || skip 'there is no /dev/full'
    events 3
    run -74 bash -c 'exec consume -g g --from start -- sh -c "[ \$EVENT_SEQ != 2 ] || echo x" >/dev/full'
    run -0 consume -g g -- sh -c "$show"
    [ "$output" = $'2 1\n3 1' ]
}

@test "stop: when TMPDIR is missing for a handler's output, no event is to blame" {
    events 3
    for _ in 1 2 3; do
        run -73 --separate-stderr env TMPDIR="$PWD/none" consume -g g --from start -j 2 -a 2 -- sh -c 'head -c 300000 /dev/zero'
        [ "$stderr" = "consume: cannot make a temporary file in $PWD/none: No such file or directory" ]
    done
    run -0 consume -g g -- sh -c "$show"
    [ "$(sort <<<"$output")" = $'1 1\n2 1\n3 1' ]
}

@test "stop: when the disk is too full for events of --emit, no event is to blame" {
    unshare -m true 2>/dev/null || skip 'no mount namespace to be had'
    mkdir disk
    cat >full <<'END'
mount -t tmpfs -o size=32m none disk || exit 99
export EVENT_SPOOL=$PWD/disk/spool.db
seq 3 | publish -t n
dd if=/dev/zero of=disk/filler bs=1M count=30 2>/dev/null
for round in 1 2 3; do
    consume -g g -t n --from start -j 2 -a 2 --emit -- echo '{"type":"made"}' 2>said
    echo "$? $(sed "s,$PWD/,," said)"
done
rm disk/filler
consume -g g --emit -- sh -c 'echo "$EVENT_SEQ $EVENT_ATTEMPT" >>ran; echo "{\"type\":\"made\"}"'
sort ran
replay -t made | wc -l
END
    run -0 unshare -m bash full
    [ "$(grep -c '^74 consume: disk/spool.db: the disk is nearly full' <<<"$output")" = 3 ]
    [ "$(grep -v '^74' <<<"$output" | tail -n 4)" = $'1 1\n2 1\n3 1\n3' ]
}

@test "stop: a handler whose definition is broken or missing stops consume with 78, and no event is to blame" {
    events 3
    printf '%s\n' '{"initial":' >broken.json
    for definition in broken.json none.json; do
        for handler in "fsm run $definition" "saga run $definition" "retry -- fsm run $definition" "--workers -- fsm run --worker $definition"; do
            [[ $handler == --* ]] || handler="-- $handler"
            # shellcheck disable=SC2086 # words
            run -78 --separate-stderr consume -g g --from start -j 2 -a 1 $handler
            [[ ${stderr_lines[-1]} =~ ^'consume: "'(fsm|saga|retry)'": seq '[123]' n "e'[123]'": '.*'exit status 78, which is not the event'\''s fault: stopping'$ ]]
        done
    done
    run -1 consume -g g -a 1 --dead-on 78 -n 1 -- sh -c 'exit 78'
    run -0 consume -g g -- sh -c "$show"
    [ "$(wc -l <<<"$output")" = 2 ]
}

@test "stop: with too few descriptors for a handler it ends with 71 and tells what to do" {
    events 2
    for n in {12..40}; do
        status=0
        output=$( (ulimit -n "$n"; exec timeout 60 consume -g g --from start -- true) 2>&1) || status=$?
        [ "$status" != 124 ]
        [ "$status" != 0 ] || break
        [ "$status" != 71 ] || told=$output
    done
    [[ $told =~ ^'consume: no handler can be run: the limit of open files, '[0-9]+', is too low (ulimit -n)'$ ]]
}

@test "stop: with descriptors for only some of -j handlers it runs those" {
    events 20
    run -0 --separate-stderr bash -c 'ulimit -n 40; exec timeout 60 consume -g g --from start -j 16 -- sh -c "sleep 0.05; echo \$EVENT_SEQ"'
    [ "$(sort -n <<<"$output")" = "$(seq 20)" ]
    [[ $stderr =~ ^'consume: no more than '[0-9]+' handlers at once, not 16: the limit of open files is 40 (ulimit -n)'$ ]]
    group_is g 0 0 0 0
}

@test "stop: a handler that asks on /dev/tty finds no terminal" {
    command -v script >/dev/null || skip 'there is no script(1)'
    events 1
    run -0 timeout 60 script -qec 'consume -g g --from start -a 1 -- sh -c "read x </dev/tty"; [ $? = 1 ]' /dev/null </dev/null
    [[ $output == *'cannot open /dev/tty'* ]]
}

@test "stop: without /proc a timeout and a stop still reach the processes that a handler started" {
    [ -z "${SAN:-}" ] || skip 'a sanitizer needs /proc'
    unshare -m true 2>/dev/null || skip 'no mount namespace to be had'
    events 2
    cat >without <<'END'
mount -t tmpfs none /proc || exit 99
exec timeout 60 consume "$@"
END
    run -1 unshare -m sh without -g g --from start -n 1 -a 1 --timeout 100ms --grace 0 -- sh -c 'echo $$ >self.pid; sleep 600 & echo $! >child.pid; wait'
    gone "$(cat self.pid)"
    wait_for gone "$(cat child.pid)"
    background unshare -m sh without -g g --grace 0 -- sh -c 'echo $$ >two.pid; sleep 600 & echo $! >child.pid; wait'
    wait_for test -s two.pid
    kill -TERM -- "-$pid"
    ends_with 0 "$pid"
    wait_for gone "$(cat child.pid)"
}

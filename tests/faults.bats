load helper

# What a kill or a failing call at any point leaves behind. A shim (tests/fault/fail.c) lets the
# n-th call that changes anything outside the process fail, n = 1, 2, 3 … until a run finishes
# without a fault; each time the promises are checked. The runs of a test share a spool, so that
# each run also meets what the previous one left.

setup() {
    [ -e "$BUILD/fault/fail.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
    helper_setup
    : >in
    # Of thousands of calls every few-th fails; of the others every stride-th, and all with LONG=1.
    few=$(long 151 23) stride=$(long 5 1)
}

# hit KIND N COMMAND...: its N-th call fails, KIND says how (fail.c). Its input is the file in, its
# output out and errors. Afterwards its status is in $status and the call in $met, empty when N is
# behind the last one.
hit() {
    local kind=$1 n=$2
    shift 2
    : >met
    status=0
    { PATH=$hooked LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=$kind FAULT_AT=$n FAULT_LOG=met \
        "$@" <in >out 2>errors; } 2>/dev/null || status=$?
    # shellcheck disable=SC2094 # the command has ended
    read -r met <met || met=
}

complain() {
    echo "$tag ($met), status $status: $*" >&2
    cat errors >&2
    return 1
}

# The status and the message fit the fault.
check_status() {
    local line said=
    while IFS= read -r line; do
        said=$line # the last one
    done <errors
    [[ $said != *Success* ]] || complain 'the message names success as the reason'
    case ${tag%%[+-]*}:$status in
    enomem:*) check_memory ;;
    kill:137 | torn:137 | short:0 | eio:0 | enospc:0 | eintr:0 | enolck:0) ;;
    enolck:75 | eintr:74 | eio:74 | enospc:74 | enolck:74)
        [[ $said == *": ${EVENT_SPOOL%/*}/"* || $said == *": cannot write to stdout: "* ]] ||
            complain 'the message names neither the spool nor its folder'
        ;;
    eio:73 | enospc:73)
        [[ $said == *": cannot create the directory ${EVENT_SPOOL%/*}: "* ||
            $said == *": ${EVENT_SPOOL%/*}/"*": cannot create it"* ]] || complain 'not a status for that'
        ;;
    *) complain 'not a status for that' ;;
    esac
}

# Whatever runs out of memory ends, and says so as well as it can without any.
check_memory() {
    case $status in
    0) ;;
    70 | 71 | 74) grep -qi 'memory\|alloc' errors || complain 'the message does not name memory' ;;
    *) complain 'not a status for that' ;;
    esac
}

# sweep "KIND..." COMMAND...: for each kind and n, the functions before and after, and in between
# the command under fault. KIND/3: only every third n; without LONG=1, every fifth of those. Kinds
# begin at different calls, so that together they meet them all. $tag names the round.
sweep() {
    local kinds=$1 kind n step first=0
    set +T # bats would look at each command in here, which takes longer than the commands
    shift
    # shellcheck disable=SC2086 # words
    for kind in $(faults $kinds); do
        step=1
        [[ $kind != */* ]] || step=${kind#*/}
        [[ $kind == enomem* ]] || step=$((step * stride))
        kind=${kind%/*}
        for ((n = 1 + first++ % stride; ; n += step)); do
            tag=$kind-$n
            before
            hit "$kind" "$n" "$@"
            [ -n "$met" ] || break
            check_status
            after
        done
        after
        [ "$status" -eq 0 ] || complain 'no fault, and still it failed'
        [ "$n" -gt 5 ] || complain "only $n faults"
    done
    set -T
}

# ids FILE: of the events in it, in lines that are whole
ids() {
    local line
    while IFS= read -r line; do
        [[ ! $line =~ \"id\":\"([^\"]*)\" ]] || echo "${BASH_REMATCH[1]}"
    done <"$1"
}

# three_events: as input, with ids that name the round
three_events() {
    printf '{"type":"n","id":"%s"}\n' "$tag.1" "$tag.2" "$tag.3" >in
}

# The log has what was acknowledged, nothing twice, and of each three all or none.
check_log() {
    replay -t n >log
    ids log | sort >stored
    [ -z "$(uniq -d stored)" ]
    [ -s acknowledged ]
    sort -u acknowledged | comm -23 - stored >lost
    [ ! -s lost ] || {
        echo "acknowledged and lost: $(cat lost)" >&2
        return 1
    }
    run -0 awk '{ sub(/\.[0-9]$/, ""); n[$0]++ } END { for (i in n) if (n[i] != 3) print i, n[i] }' stored
    [ -z "$output" ]
    intact
}

intact() {
    [ "$ENGINE" = sqlite ] || { spool check && return; }
    command -v sqlite3 >/dev/null || return 0
    [ "$(sqlite3 "$EVENT_SPOOL" 'PRAGMA integrity_check')" = ok ]
}

acknowledge() {
    local line n=0
    while IFS= read -r line; do
        [[ $line =~ \"id\":\"([^\"]*)\" ]]
        echo "${BASH_REMATCH[1]}" >>acknowledged
        n=$((n + 1))
    done <out
    [ "$status" -ne 0 ] || [ "$n" -eq 3 ] || complain 'not all was echoed'
}

# --- publish

@test "faults: what publish acknowledged survives a fault in any call, and the next one needs no help" {
    publish -t before -d 1
    before() { three_events; }
    after() {
        acknowledge
        publish -t after -d 1 || complain 'the next publish failed'
    }
    sweep 'kill torn eio eio+ enospc enospc+ eintr short+ enolck' publish --echo
    check_log
    run -0 consume -g g -t n --from start --auto-ack
    [ "$output" = "$(cat log)" ]
}

@test "faults: without memory publish ends, and what it acknowledged is there" {
    publish -t before -d 1
    before() { three_events; }
    after() { acknowledge; }
    sweep "enomem/$few enomem+/$few" publish --echo
    check_log
}

@test "faults: without memory the other commands end too, not by a signal, and the next run does their work" {
    local machine='{"id":"m","initial":"a","states":{"a":{"on":{"n":"b"}},"b":{"on":{"n":"a"}}}}'
    local saga='{"name":"s","steps":[{"name":"one","do":["cat"],"undo":["true"]}]}'
    echo "$machine" >m.json
    echo "$saga" >s.json
    printf '%s\n' '-- @init' 'CREATE TABLE t(seq);' '-- @on n' 'INSERT INTO t VALUES(:seq);' >t.sql
    printf '{"type":"n","subject":"a","source":"/t","specversion":"1.0","id":"%s"}\n' 1 2 3 | publish
    before() { publish -t n -k a -d 1; }
    after() { :; }
    sweep "enomem/$few" consume -g g --from start -- cat
    run -0 --separate-stderr consume -g g -- true
    run -0 --separate-stderr consume -g pipe --from start --auto-ack
    [ "${#lines[@]}" -eq "$(replay -t n | wc -l)" ]
    before() { replay --last 1 >in; }
    sweep "enomem/$few" saga run s.json
    saga resume --all
    [ "$(saga list -o ndjson | jq -r .state | sort -u)" = completed ]
    sweep "enomem/$few" fsm run m.json
    before() { :; }
    sweep "enomem/$few" reduce -k a
    sweep "enomem/$few" project read.db t.sql
    sweep "enomem/$few" replay -o table
    sweep "enomem/$few" trace 1
    sweep "enomem/$few" spool group -o table
    sweep "enomem/$few" once -k a -- true
    sweep "enomem/$few" breaker b -- true
    sweep "enomem/$few" throttle -r 1000/s b -- true
    sweep "enomem/$few" retry -- true
    spool check
    intact
}

@test "faults: publish killed again and again, also while it recovers from the last kill" {
    publish -t before -d 1
    before() { three_events; }
    after() { acknowledge; }
    sweep 'kill torn kill' publish --echo
    check_log
}

@test "faults: a spool that is being created is there or not, whatever happens, and the next run creates it" {
    before() {
        EVENT_SPOOL=$PWD/$tag/made/spool.db
        [ "$ENGINE" = sqlite ] || EVENT_SPOOL=$SERVER#t_faults_made_${tag//[-+]/_}
        mkdir "$tag"
        three_events
    }
    after() {
        acknowledge
        if [ "$status" -eq 74 ] || [ "$status" -eq 73 ]; then
            none_but_the_spool || complain 'it left a draft'
        fi
        replay -t n >log 2>errors || [ $? -eq 66 ] || complain 'neither there nor missing'
        [ ! -s acknowledged ] || ids log | cmp - acknowledged || complain 'acknowledged and lost'
        publish <in 2>errors || complain 'the next publish failed'
        replay >log
        [ "$(ids log)" = "$tag.1"$'\n'"$tag.2"$'\n'"$tag.3" ] || complain 'not each once in the log'
        rm -f acknowledged
    }
    none_but_the_spool() {
        local file
        for file in "$tag"/made/*; do
            case $file in
            */spool.db | */spool.db-wal | */spool.db-shm | */spool.db-lock | *'*') ;;
            *) return 1 ;;
            esac
        done
    }
    sweep 'kill eio/3 enospc+/5 eintr/5' publish --echo
}

# --- consume

# two_events: published
two_events() {
    printf '{"type":"n","id":"%s"}\n' "$tag.1" "$tag.2" | publish
}

# What the run under fault did not deliver, the next one does; nothing comes twice unless the first
# one failed.
delivered() {
    local id n
    consume -g g --auto-ack >next 2>errors || complain 'the next consume failed'
    { ids out && ids next; } >both
    for id in "$tag.1" "$tag.2"; do
        n=0
        while read -r line; do
            [ "$line" != "$id" ] || n=$((n + 1))
        done <both
        [ "$n" -gt 0 ] || complain "$id was not delivered"
        [ "$n" -eq 1 ] || [ "$status" -ne 0 ] || complain "$id was delivered $n times"
    done
}

# After all of it: nothing is left, nothing died.
check_group() {
    run -0 consume -g g --auto-ack
    [ -z "$output" ]
    run -0 spool group show g -o ndjson
    [[ $output == *'"lag":0,'* && $output == *'"in_flight":0,"dead":0,'* ]]
    intact
}

@test "faults: --auto-ack loses nothing by a fault in any call, and repeats only events that had failed" {
    publish -t before -d 1
    consume -g g --from start --auto-ack >out
    before() { two_events; }
    after() { delivered; }
    sweep 'kill torn eio+ enospc eintr short+ enolck' consume -g g --auto-ack
    check_group
}

@test "faults: a handler's events are not lost by a fault in any call of consume" {
    publish -t before -d 1
    consume -g g --from start --auto-ack >out
    before() { two_events; }
    after() { delivered; }
    sweep 'kill torn eio eintr short+' consume -g g -- cat
    check_group
}

@test "faults: a failed attempt that could not be recorded is made again" {
    publish -t before -d 1
    consume -g g --from start --auto-ack >out
    before() { two_events; }
    after() {
        : >out
        consume -g g -- true 2>errors || complain 'the next consume failed'
    }
    sweep 'kill enospc+' consume -g g -a 1000 --backoff 0s -n 2 -- false
    check_group
}

@test "faults: what --emit publishes is there exactly once after a fault in any call" {
    publish -t before -d 1
    consume -g g -t n -t before --from start --auto-ack >out
    before() { two_events; }
    after() {
        local id n
        consume -g g --emit -- echo '{"type":"made"}' >next 2>errors || complain 'the next consume failed'
        replay -t made >emitted
        for id in "$tag.1" "$tag.2"; do
            n=0
            while IFS= read -r line; do
                [[ $line != *"\"causationid\":\"$id\""* ]] || n=$((n + 1))
            done <emitted
            [ "$n" -eq 1 ] || complain "what $id leads to is there $n times"
        done
    }
    sweep 'kill torn/2 eio/2 enospc+/3 eintr/3' consume -g g --emit -- echo '{"type":"made"}'
    run -0 replay -t sys.dead-lettered
    [ -z "$output" ]
    intact
}

@test "faults: events that settle reported as settled stay so, and the rest is delivered again" {
    publish -t before -d 1
    consume -g g --from start --auto-ack >out
    before() {
        two_events
        consume -g g --lease 1h >in 2>errors || complain 'the lease failed'
    }
    after() {
        # Nobody has claimed them meanwhile: what is open can still be settled.
        local again=0 left
        left=$(spool group show g -o ndjson)
        [ "$status" -ne 0 ] || [[ $left == *'"in_flight":0,'* ]] || complain 'said to be settled, and is not'
        settle -g g <in >next 2>errors || again=$?
        [ "$again" -eq 0 ] || complain 'the next settle failed'
    }
    sweep 'kill torn eio enospc+ eintr enolck' settle -g g
    check_group
}

# --- fsm

# A lamp that three events switch on, off and on again, one of its own in each round.
lamp() {
    echo '{"id":"lamp","initial":"off","states":{"off":{"on":{"flip":"on"}},"on":{"on":{"flip":"off"}}}}' >lamp.json
}

three_flips() {
    printf '{"type":"flip","id":"%s","source":"s","subject":"%s"}\n' "$tag.1" "$tag" "$tag.2" "$tag" "$tag.3" "$tag"
}

check_lamp() {
    local now
    now=$(fsm show -m lamp -o ndjson "$tag" 2>>errors) || complain 'its state cannot be shown'
    [[ $now == *'"state":"on",'*'"version":3,'* ]] || complain "its state is $now"
}

@test "faults: transitions that fsm accepted are printed in the end, the same each time, whatever call fails" {
    lamp
    publish -t before -d 1
    before() { three_flips >in; }
    after() {
        fsm run lamp.json <in >next 2>errors || complain 'the next run failed'
        [ "$(wc -l <next)" -eq 3 ] || complain "it printed $(cat next)"
        # What the run under fault could print is the beginning of it.
        [[ $(<next) == "$(<out)"* ]] || complain 'it said something else before'
        [ "$status" -ne 0 ] || cmp out next || complain 'it had not said all'
        check_lamp
    }
    sweep 'kill torn eio eio+ enospc enospc+ eintr short+ enolck' fsm run lamp.json
    intact
}

@test "faults: behind --emit each transition is in the log exactly once after a fault in any call of consume" {
    lamp
    publish -t before -d 1
    consume -g g -t flip -t before --ordered --from start --auto-ack >out
    before() { three_flips | publish; }
    after() {
        consume -g g --ordered --emit -- fsm run lamp.json >next 2>errors || complain 'the next consume failed'
        replay -k "$tag" -t 'lamp.*' >emitted
        [[ $(<emitted) == *'"lamp.on"'*"\"causationid\":\"$tag.1\""*'"lamp.off"'*"\"causationid\":\"$tag.2\""*'"lamp.on"'*"\"causationid\":\"$tag.3\""* ]] ||
            complain "it led to $(cat emitted)"
        [ "$(wc -l <emitted)" -eq 3 ] || complain "it led to $(cat emitted)"
        check_lamp
    }
    sweep 'kill/2 torn/3 enospc+/5' consume -g g --ordered --emit -- fsm run lamp.json
    run -0 replay -t sys.dead-lettered
    [ -z "$output" ]
    intact
}

@test "faults: behind --emit each transition is in the log exactly once after a fault in any call of fsm" {
    lamp
    publish -t before -d 1
    consume -g g -t flip -t before --from start --auto-ack >out
    set +T
    for kind in $(faults kill torn enospc); do
        for ((n = 1; ; n++)); do
            tag=$kind-$n
            three_flips | head -n 1 | publish
            : >met
            FAULT_KIND=$kind FAULT_AT=$n FAULT_LOG=$PWD/met consume -g g -a 3 --backoff 0 --emit -- sh -c \
                '[ "$EVENT_ATTEMPT" -gt 1 ] || export LD_PRELOAD="$BUILD/fault/fail.so"; exec fsm run lamp.json' \
                2>errors || complain 'consume failed'
            replay -k "$tag" -t 'lamp.*' >emitted
            [[ $(wc -l <emitted) -eq 1 && $(<emitted) == *'"lamp.on"'*"\"causationid\":\"$tag.1\""* ]] ||
                complain "it led to $(cat emitted)"
            [ -s met ] || break
        done
        [ "$n" -gt 5 ] || complain "only $n faults"
    done
    set -T
    run -0 replay -t sys.dead-lettered
    [ -z "$output" ]
    intact
}

# --- read models

# counted: each event has been applied once to the model, and it knows where it is.
counted() {
    local got
    got=$(sqlite3 read.db 'SELECT n, total, last = position FROM counter, eventutils_projection') ||
        complain 'the model cannot be read'
    [ "$got" = "$1|$(($1 * ($1 + 1) / 2))|1" ] || complain "$1 events, and the model has $got"
}

counter() {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to look into the database with'
    cat >counter.sql <<'END'
-- @init
CREATE TABLE counter(n INTEGER, total INTEGER, last INTEGER);
INSERT INTO counter VALUES(0, 0, 0);
-- @on n
UPDATE counter SET n = n + 1, total = total + :seq, last = :seq;
END
    made=0
}

next_events() {
    printf '{"type":"n","id":"%s"}\n' "$tag.1" "$tag.2" | publish
    made=$((made + 2))
}

project_counter() { project read.db counter.sql; }

@test "faults: a read model has each event once after a fault in any call of project" {
    for mode in delete wal; do
        no_spool
        counter
        sqlite3 read.db "PRAGMA journal_mode=$mode" >out
        project_counter 2>errors
        before() { next_events; }
        after() {
            project_counter 2>errors || complain 'the next project failed'
            counted "$made"
        }
        sweep 'kill torn/2 eio/2 eio+/3 enospc+/2 eintr/3 short+/3 enolck/2' project read.db counter.sql
        [ "$(sqlite3 read.db 'PRAGMA integrity_check')" = ok ]
        intact
        rm -f read.db*
    done
}

@test "faults: a read model that is being made is there or not, whatever happens" {
    counter
    publish -t n -d 1
    publish -t n -d 1
    before() { rm -f read.db*; }
    after() {
        project_counter 2>errors || complain 'the next project failed'
        counted 2
    }
    sweep 'kill torn/2 eio/2 enospc+/3' project read.db counter.sql
}

@test "faults: a read model that is being rebuilt is the old one or the new one" {
    counter
    seq 20 | publish -t n
    project_counter 2>errors
    before() { sqlite3 read.db 'UPDATE counter SET total = 0'; }
    after() {
        local got
        got=$(sqlite3 read.db 'SELECT n, total, last, position FROM counter, eventutils_projection') ||
            complain 'the model cannot be read'
        [ "$got" = '20|0|20|20' ] || [ "$got" = '20|210|20|20' ] || complain "neither old nor new: $got"
        [ "$status" -ne 0 ] || [ "$got" = '20|210|20|20' ] || complain 'said to be rebuilt, and is not'
        [ "$status" -eq 137 ] || [ ! -e read.db-rebuild-counter ] || [[ $tag == eio* ]] ||
            complain 'it left a draft'
        project --rebuild read.db counter.sql >next 2>errors || complain 'the next rebuild failed'
        counted 20
    }
    sweep 'kill torn/2 eio/2 enospc+/3 eintr/3' project --rebuild read.db counter.sql
    [ "$(sqlite3 read.db 'PRAGMA integrity_check')" = ok ]
    intact
}

# --- saga

@test "faults: a saga ends as it should after a fault in any call, and no step that ended runs again" {
    cat >d.json <<'END'
{"name":"s","steps":[{"name":"a","do":["./act"],"undo":["./act"]},{"name":"b","do":["./act"]},{"name":"c","do":["false"],"retry":{"attempts":1}}]}
END
    printf '#!/bin/sh\nunset LD_PRELOAD\ncat >/dev/null\necho "${SAGA_STEP_ID#*/*/}" >>effects\n' >act
    chmod +x act
    publish -t before -d 1
    before() {
        printf '{"specversion":"1.0","id":"%s","source":"t","type":"n"}\n' "$tag" >in
        : >effects
    }
    after() {
        local effects
        saga run d.json <in >next 2>errors || complain 'the next run failed'
        [[ $(saga show "s/$tag" -o ndjson) == *'"state":"compensated"'* ]] ||
            complain 'it is not compensated'
        effects=$(uniq effects | paste -sd' ')
        [ "$effects" = 'a b a/undo' ] || complain "it did $effects"
        # At most the step that the fault met ran twice.
        [ "$(wc -l <effects)" -le 4 ] || complain "it did $(paste -sd' ' effects)"
    }
    sweep 'kill torn/2 eio/3 enospc+/3 eintr/3' saga run d.json
    intact
}

# --- what a person asks for

# A dead letter for each event of the input: the next one is that of event $letter.
letters() {
    seq -f '{"type":"n","id":"e%g"}' "$1" | publish
    run -1 consume -g g --from start -j 8 -- sh -c 'exit 65'
    letter=0
}

@test "faults: dead letters that dlq retry requeued stay so, and each is delivered once in the end" {
    letters 200
    before() { letter=$((letter + 1)); }
    after() {
        local again=0 said
        read -r said <out || said=
        dlq retry "id:e$letter" >next 2>errors || again=$?
        [ "$again" -le 1 ] || complain 'the next retry failed'
        [ -z "$said" ] || [ "$again" -eq 1 ] || complain 'said to be given back, and was not'
        [ "$status" -ne 0 ] || [ "$said" = '1 dead letter given back' ] || complain "said $said"
    }
    retry_letter() { dlq retry "id:e$letter"; }
    sweep 'kill torn eio enospc+ eintr short+' retry_letter
    run -0 consume -g g --auto-ack
    seq -f 'e%g' "$letter" | cmp - <(printf '%s\n' "$output" | ids /dev/stdin)
    run -0 dlq list -g g
    [ "${#lines[@]}" -eq $((200 - letter)) ]
    intact
}

@test "faults: dead letters that dlq drop removed stay removed, and their events stay in the log" {
    letters 170
    before() { letter=$((letter + 1)); }
    after() {
        local again=0 said
        read -r said <out || said=
        dlq drop "id:e$letter" >next 2>errors || again=$?
        [ "$again" -le 1 ] || complain 'the next drop failed'
        [ -z "$said" ] || [ "$again" -eq 1 ] || complain 'said to be dropped, and was not'
        [ "$status" -ne 0 ] || [ "$said" = '1 dead letter dropped' ] || complain "said $said"
    }
    drop_letter() { dlq drop "id:e$letter"; }
    sweep 'kill torn eio enospc+ eintr' drop_letter
    run -0 consume -g g --auto-ack
    [ -z "$output" ]
    run -0 dlq list -g g
    [ "${#lines[@]}" -eq $((170 - letter)) ]
    run -0 replay -t '#'
    [ "${#lines[@]}" -eq 170 ]
    intact
}

@test "faults: a group that was reported as paused is paused" {
    publish -t n -d 1
    consume -g g --from start -n 1 -- true
    before() { :; }
    after() {
        local said
        read -r said <out || said=
        spool group show g -o ndjson >next 2>errors || complain 'the group cannot be shown'
        read -r now <next
        [ -z "$said" ] || [[ $now == *'"state":"paused"'* ]] || complain 'not paused'
        [ "$status" -ne 0 ] || [ "$said" = 'group g paused' ] || complain "said $said"
        spool group resume g >next 2>errors || complain 'the next resume failed'
    }
    sweep 'kill torn eio enospc+ eintr' spool group pause g
    publish -t n -d 2
    run -0 consume -g g -- sh -c 'sed "s/.*\"data\"://"'
    [ "$output" = '2}' ]
    intact
}

@test "faults: SIGTERM while events are claimed to be printed gives them back, and no event is blamed" {
    publish -t n -d 1
    consume -g g --from start --auto-ack >/dev/null
    publish -t n -d 2
    keep_spool
    met=begin
    for ((n = 1; ${#met} > 0; n += stride)); do
        tag=term-$n
        back_to_kept_spool
        hit term "$n" consume -g g --auto-ack
        [ "$status" -eq 0 ] || complain 'it was to end with 0'
        consume -g g --auto-ack >>out
        [ "$(jq .data out)" = 2 ] || complain "printed: $(cat out)"
        [ -z "$(replay -t sys.group.taken-over)" ] || complain 'its events were taken over as those of a dead consumer'
    done
    [ "$n" -gt 5 ]
}

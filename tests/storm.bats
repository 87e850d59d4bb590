load helper

# A storm: all kinds of groups and upkeep on one spool, while processes are killed and stopped at
# random. SEED=N makes the same choices, though the machine decides which processes they meet;
# LONG=1 has more of everything. Counts limit it, not time: it ends when the producers have
# published everything and N processes have been hit. Afterwards the tools themselves report the
# result.

# --- actors: each runs its command again and again until the file over is there. The names of
# files in pid/ are those of processes that may be killed.

# victim NAME COMMAND...: become the command, which may be killed from now on
victim() {
    echo "$BASHPID" >"pid/$1.new" && mv "pid/$1.new" "pid/$1"
    exec "${@:2}" 2>>"said/$1"
}

# ended NAME STATUS: 75 is try again, 137 and 143 are ours, and 1 are dead letters
ended() {
    case $2 in
    0 | 1 | 75 | 137 | 143) ;;
    *) echo "$1 ended with $2: $(tail -n 3 "said/$1")" >>unexpected ;;
    esac
}

actor() { # NAME COMMAND...
    local status
    while [ ! -e over ]; do
        status=0
        (victim "$@") >>"out/$1" || status=$?
        ended "$1" "$status"
        [ "$status" -ne 0 ] || sleep 0.02
    done
}

# Each producer has two subjects, P.0 and P.1; ids are SUBJECT-N, in the order of the subject. A
# batch whose outcome is not known is published again, with the same ids.
producer() { # P
    local p=$1 i j id status tries=0
    for ((i = 0; i < batches; i++)); do
        for ((j = 0; j < 8; j++)); do
            id=$p.$((j % 2))-$((i * 4 + j / 2))
            echo "{\"type\":\"n.$((j == 3))\",\"source\":\"/storm\",\"id\":\"$id\",\"subject\":\"${id%-*}\",\"data\":\"$id\"}"
        done >"batch.$p"
        cat "batch.$p" >>"published.$p"
        status=137
        while [ "$status" -ne 0 ]; do
            status=0 tries=$((tries + 1))
            { head -n 3 "batch.$p" && sleep 0.005 && tail -n 5 "batch.$p"; } |
                (victim "publish.$p" publish --echo) >"ack/$p.$tries" || status=$?
            ended "publish.$p" "$status"
        done
    done
}

group() { # NAME OPTION...: the command for it, in the storm and behind it
    case $1 in
    plain) set -- "$@" -j 2 -- ./handler ;;
    rate) set -- "$@" --rate 1000/s -- ./handler ;;
    ordered) set -- "$@" --ordered -j 3 -- ./handler ;;
    workers) set -- "$@" --workers -j 2 -- ./worker "$1" ;;
    both) set -- "$@" --ordered --workers -j 2 -- ./worker "$1" ;;
    emit) set -- "$@" --emit -- ./emit ;;
    once) set -- "$@" -- once -- ./handler ;;
    dead) set -- "$@" -a 1 -- ./handler ;;
    saga) set -- "$@" -t n.1 -j 2 -- saga run order.json ;;
    esac
    [[ " $* " == *' -t '* ]] || set -- "$1" -t 'n.*' "${@:2}"
    [[ " $* " == *' -a '* ]] || set -- "$1" -a 100000 "${@:2}"
    command=(consume --from start --backoff 1ms..5ms -g "$@")
}

lease() { # OPTION...: a group whose events go through a pipe
    local status
    (victim lease consume -g lease --from start -t 'n.*' -a 100000 --lease 1s "$@") |
        (victim settle settle -g lease)
    status=("${PIPESTATUS[@]}")
    ended lease "${status[0]}"
    ended settle "${status[1]}"
}

leases() {
    while [ ! -e over ]; do
        lease -n 9 >>out/lease
        sleep 0.02
    done
}

backups() {
    local n=0 status
    while [ ! -e over ]; do
        status=0 n=$((n + 1))
        (victim backup spool backup "backup.$n") >>out/backup || status=$?
        ended backup "$status"
        rm -f "backup.$((n - 5))"*
        sleep 0.02
    done
}

# What may be hit is in our folder: a number in pid/ may be somebody else's by now.
ours() { [ "/proc/$1/cwd" -ef . ]; }

hit() { # so many of those that run now
    local names name target n tries=0
    RANDOM=$seed
    for ((n = 0; n < hits && tries < 20 * hits; tries++)); do
        names=(pid/*)
        name=${names[RANDOM % ${#names[@]}]}
        if ! read -r target <"$name" || ! ours "$target"; then
            sleep 0.005
            continue
        fi
        if [ $((RANDOM % 3)) -eq 0 ]; then
            kill -STOP "$target" || true
            sleep "0.0$((RANDOM % 6))"
            kill -CONT "$target" || true
        else
            kill -KILL "$target" || true
        fi
        n=$((n + 1))
        sleep "0.0$((RANDOM % 4))"
    done 2>/dev/null
    echo "$n" >hit
}

# What handlers do, where a group has its own way: fail or end once for some of the events. The
# notes say in which order events were begun (b) and done (s).
programs() {
    mkdir pid said out ack failed
    cat >handler <<'END'
#!/bin/sh
echo "b $EVENT_ID" >>"seen.$EVENT_GROUP"
case $EVENT_ID in
*[37]) mkdir "failed/$EVENT_GROUP.$EVENT_ID" 2>/dev/null && exit 1 ;;
esac
echo "s $EVENT_ID" >>"seen.$EVENT_GROUP"
END
    cat >worker <<'END'
#!/bin/bash
while IFS= read -r line; do
    [[ $line =~ '"id":"'([^\"]+)\" ]] && id=${BASH_REMATCH[1]}
    echo "b $id" >>"seen.$1"
    case $id in
    *3) mkdir "failed/$1.$id" 2>/dev/null && echo "{\"id\":\"$id\",\"status\":\"retry\"}" && continue ;;
    *7) mkdir "failed/$1.$id" 2>/dev/null && exit 1 ;;
    esac
    echo "s $id" >>"seen.$1"
    echo "{\"id\":\"$id\"}"
done
END
    cat >emit <<'END'
#!/bin/sh
echo "{\"type\":\"derived\",\"data\":\"$EVENT_ID\"}"
END
    cat >step <<'END'
#!/bin/sh
cat >/dev/null
case $1$SAGA_ID in
do*5) exit 65 ;;
do*7) mkdir "failed/saga.${SAGA_ID##*/}" 2>/dev/null && exit 1 ;;
esac
exit 0
END
    cat >order.json <<'END'
{"name":"order","steps":[
    {"name":"one","do":["true"],"undo":["./step","undo"],"retry":{"attempts":100,"base":"1ms"}},
    {"name":"two","do":["./step","do"],"undo":["./step","undo"],"retry":{"attempts":100,"base":"1ms"}}]}
END
    cat >read.sql <<'END'
-- @init
CREATE TABLE applied(type TEXT, id TEXT);
-- @on n.*
INSERT INTO applied VALUES('n', :id);
-- @on derived
INSERT INTO applied VALUES('derived', :data ->> '$');
END
    chmod +x handler worker emit step
}

storm() {
    local n name target actors=() others=()
    for ((n = 1; n <= 3; n++)); do
        producer "$n" &
        others+=($!)
    done
    wait_for eval '! spool_missing'
    group dead --to 0 # there is something for dlq to look at
    "${command[@]}"
    for name in plain ordered both emit saga rate ordered.2 both.2; do
        group "${name%.*}" -f
        actor "$name" "${command[@]}" &
        actors+=($!)
    done
    for name in plain workers once dead; do
        group "$name" -n 9
        actor "$name.few" "${command[@]}" &
        actors+=($!)
    done
    leases &
    actors+=($!)
    if [ "$ENGINE" = sqlite ]; then # of a server pg_dump makes them
        backups &
        actors+=($!)
    fi
    actor project project -f read.db read.sql &
    actors+=($!)
    actor resume saga resume --all &
    actors+=($!)
    actor dlq dlq retry -g dead --all &
    actors+=($!)
    actor prune spool prune --keep 20 &
    actors+=($!)
    hit &
    others+=($!)
    wait "${others[@]}"
    : >over
    # Again and again: some may begin just now.
    while kill -0 "${actors[@]}"; do
        for name in pid/*; do
            if read -r target <"$name" && ours "$target"; then
                kill -TERM "$target" || true
            fi
        done
        sleep 0.02
    done
    wait
}

# --- afterwards

drain() { # GROUP: let it settle what is left; fails when there is more
    if [ "$1" = lease ]; then
        lease >>out/lease
    else
        group "$1"
        "${command[@]}" >>"out/$1" 2>>"said/$1" || ended "$1" $?
    fi
    [ "$1" != dead ] || dlq retry -g dead --all >>out/dlq
    spool group show "$1" -o ndjson | jq -e '.lag == 0 and .dead == 0' >/dev/null
}

handled() { awk '$1 == "s" { print $2 }' "seen.$1" | sort -u; } # by GROUP

# Each event of a subject is begun when all before it are done.
in_order() { # GROUP
    awk '{ split($2, id, "-"); subject = id[1]; n = id[2] }
        $1 == "b" && n > next_one[subject] + 0 {
            print "'"$1"': " $2 " began before " subject "-" next_one[subject] + 0 " was done"
            bad = 1
        }
        $1 == "s" && n == next_one[subject] + 0 { next_one[subject]++ }
        END { exit bad }' "seen.$1"
}

ids() { sqlite3 read.db "SELECT id FROM applied WHERE type='$1'" | sort; }

@test "storm: kills and stops lose nothing, break no order, and leave nothing unfinished" {
    seed=${SEED:-$RANDOM} batches=${LONG:+300} hits=${LONG:+3000}
    : "${batches:=3}" "${hits:=20}"
    echo "SEED=$seed"
    programs
    : >unexpected
    set +T
    storm 3>&- 2>storm.stderr
    set -T
    echo "$(cat hit) of $hits hit"
    for name in plain rate ordered workers both emit once dead saga lease; do
        wait_for drain "$name"
    done
    run -0 saga resume --all
    project read.db read.sql
    [ ! -s unexpected ] || { cat unexpected && false; }
    spool check
    # All that was acknowledged is there, once; a line that a kill cut off was not acknowledged.
    jq -r .id published.* | sort >all
    for file in ack/*; do head -n "$(wc -l <"$file")" "$file"; done | jq -r .id | sort -u | diff - all
    ids n | diff - all
    # Exactly one event was made of each.
    ids derived | diff - all
    for name in plain rate ordered workers both once dead; do
        handled "$name" | diff - all
    done
    in_order ordered
    [ "$(saga list -o ndjson | jq -r .state | grep -cxE 'completed|compensated')" -eq $((3 * batches)) ]
    for file in backup.*; do
        # Not one's that was killed, nor SQLite's own.
        [[ $file == *[-*]* ]] || spool check -s "$file"
    done
    in_order both
}

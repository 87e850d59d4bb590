# Rows that no command would have written: a spool whose tables were changed by a person or a bad
# disk. Random edits, each in a copy of one spool; SEED=n repeats those of a run. LONG=1: 400.
load helper

setup() {
    helper_setup
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    rounds=${LONG:+400}
    : "${rounds:=6}"
}

# Something of all that a spool can hold.
fill() {
    local machine='{"id":"m","initial":"a","states":{"a":{"on":{"n":"b"}},"b":{"on":{"n":"a"}}}}'
    echo "$machine" >m.json
    echo '{"name":"s","steps":[{"name":"one","do":["false"],"undo":["true"]}]}' >s.json
    for i in {1..12}; do
        echo '{"type":"n","id":"e'"$i"'","subject":"s'$((i % 3))'","priority":'$((i % 6 == 0 ? 2 : 5))'}'
    done | publish 2>/dev/null
    publish -t v -k stream --expect-version none -d '{"a":1}'
    sql "INSERT INTO segment SELECT 5,recorded FROM event WHERE seq=5"
    consume -g dead --from start -a 1 -n 3 -- false || [ $? -eq 1 ]
    consume -g waits --from start -n 2 --backoff 99d..99d -- false
    consume -g order --ordered --from start -n 2 --backoff 99d..99d -- false
    consume -g lease --from start -n 3 --lease 9d >handed
    consume -g killed --from start -- sh -c 'kill -KILL $PPID' || [ $? -eq 137 ]
    noticed
    breaker --cache 1h api -- echo out >/dev/null
    throttle -r 1000/s bucket -- true
    once -k key -- echo result >/dev/null
    replay 1 | fsm run m.json >/dev/null
    reduce -k s1 >/dev/null
    replay 1 | saga run s.json >/dev/null || true
}

# What is done to each copy: it ends, and its status fits.
commands() {
    cat <<'END'
replay
replay -g waits
spool info
spool group
dlq list
dlq show -g dead 1
dlq stats
trace 1 6
consume -g waits --dry-run
consume -g dead -- true
consume -g waits -a 2 --backoff 1ms..1ms -- false
consume -g order -- true
consume -g killed --auto-ack
consume -g new --from start --auto-ack
settle -g lease <handed
publish -t n -d 1
publish -t n -d 1 --max-pending 100
publish -t v -k stream --expect-version any -d 1
breaker api -- true
throttle -r 1000/s --wait 0 bucket -- true
once -k key --wait 0 -- true
replay 1 | fsm run m.json
reduce -k s1
saga list
saga resume --all
spool breaker
spool bucket
spool key
spool wait -g dead --wait 100ms
dlq retry -g dead --all
dlq drop -g dead --all
spool group seek order start
spool prune --keep 5
spool prune --keep 2 --force
spool backup copy.db
END
}

pick() { # WORD...: one of them, at random
    shift $((RANDOM % $#))
    REPLY=$1
}

# An edit as SQL, in $edit.
make_edit() {
    local table column where key n
    pick cursor cursor claim item consumer groups segment attempt tally duration document meta
    table=$REPLY
    # By its primary key: tables without rowid have no other name for a row.
    if [ "$ENGINE" = sqlite ]; then
        mapfile -t columns < <(sql "SELECT name FROM pragma_table_info('$table')")
        key=$(sql "SELECT group_concat(name) FROM pragma_table_info('$table') WHERE pk>0")
        key=${key:-rowid}
    else
        mapfile -t columns < <(sql "SELECT attname FROM pg_attribute WHERE attrelid='$table'::regclass AND attnum>0")
        key=$(sql "SELECT string_agg(attname,',') FROM pg_index JOIN pg_attribute ON attrelid=indrelid AND
            attnum=ANY(indkey) WHERE indrelid='$table'::regclass AND indisprimary")
        key=${key:-ctid}
    fi
    pick "${columns[@]}"
    column=$REPLY
    n=$(sql "SELECT count(*) FROM $table")
    where="($key) IN (SELECT $key FROM $table ORDER BY $key LIMIT 1 OFFSET $((RANDOM % n)))"
    # On a server the version stands there, too; without it there is no spool.
    [ "$table" != meta ] || where+=" AND key<>'schema'"
    case $((RANDOM % 4)) in
    0) edit="DELETE FROM $table WHERE $where" ;;
    *)
        pick 0 -1 1 2 3 5 7 99 "$RANDOM" 4611686018427387904 9223372036854775807 -9223372036854775808 \
            "''" "'x'" "'[1]'" "'{}'" "'[\"#\"]'" "x''" "x'00'" "x'ffffffffffffffffffff01'" "x'0501'" "x'7b7d'" \
            NULL "$column+1" "$column-1" "-$column" "substr($column,2)"
        edit="UPDATE OR REPLACE $table SET $column=$REPLY WHERE $where"
        [ "$ENGINE" = sqlite ] || edit="UPDATE $table SET $column=${REPLY/#x\'/\'\\x} WHERE $where"
        ;;
    esac
}

@test "edits: whatever is in the rows, each command ends with a status that fits, and check names what is wrong" {
    fill
    spool check
    commands >list
    keep_spool
    all >before
    RANDOM=$seed silent=0
    set +T
    for ((i = 1; i <= rounds; )); do
        rm -f copy.db*
        back_to_kept_spool
        make_edit
        # What the schema refuses is no edit, and what changes nothing is none either.
        sql "$edit" 2>/dev/null || continue
        all >after
        ! cmp -s before after || continue
        check=0
        timeout -k 1 20 spool check >findings 2>errors || check=$?
        case $check in
        1) ;;
        0) silent=$((silent + 1)) ;;
        *) complain "check" $check ;;
        esac
        while IFS= read -r command; do
            status=0
            timeout -k 1 20 bash -c "set -o pipefail; $command" >out 2>errors </dev/null || status=$?
            case $status in 0 | 1 | 65 | 66 | 69 | 74 | 75) ;; *) complain "$command" $status ;; esac
        done <list
        i=$((i + 1))
    done
    set -T
    echo "check found nothing wrong with $silent of $rounds: rows that a command could have written"
    [ "$silent" -lt $((rounds * 3 / 4 + 3)) ]
    [ ! -s wrong ] || { cat wrong >&2; false; }
}

# All that is in the spool.
all() {
    if [ "$ENGINE" = sqlite ]; then
        sqlite3 spool.db .dump
    else
        pg_dump --inserts -n "${EVENT_SPOOL##*#}" "${EVENT_SPOOL%#*}" | grep '^INSERT' | sort
    fi
}

complain() {
    { echo "SEED=$seed, round $i: $edit: $1: status $2"; head -n 3 errors; } >>wrong
}

@test "edits: check names each row that no command could have written, and its group" {
    fill
    keep_spool
    while IFS='|' read -r edit want; do
        [ "$ENGINE" = sqlite ] || [[ $edit != *"key='lock'"* ]] || continue
        back_to_kept_spool
        [ "$ENGINE" = sqlite ] || edit=${edit//=x\'/=\'\\x}
        sql "$edit"
        run -1 spool check
        jq -r '[.kind,.group,.message]|join(" ")' <<<"$output" | grep -qF -- "$want" || {
            echo "$edit: $output"
            return 1
        }
    done <<'END'
DELETE FROM cursor WHERE priority=5 AND grp=2|damage waits
UPDATE cursor SET seq=seq+1000 WHERE priority=5 AND grp=2|damage waits
UPDATE event SET seq=0 WHERE seq=2|an event is at position 0, where none can be
DELETE FROM groups WHERE name='dead'|table "cursor" are of no group
UPDATE groups SET patterns='[' WHERE name='dead'|damage dead its row in table "groups" has a value that no command writes
UPDATE groups SET paused=7 WHERE name='dead'|damage dead its row in table "groups" has a value that no command writes
DELETE FROM consumer|damage killed claim 
UPDATE consumer SET owner=8|damage killed claim 
UPDATE claim SET first=first+1|has positions that no command writes
UPDATE claim SET open=x'00'|has positions that no command writes
UPDATE claim SET term=NULL WHERE lease>0|damage lease claim 
UPDATE item SET state=9 WHERE seq=1|table "item" has a value for position 1 that no command writes
UPDATE item SET state=1 WHERE seq=1|position 1 is in flight, and in no claim
UPDATE item SET seq=999 WHERE seq=1|table "item" has a value for position 999 that no command writes
UPDATE segment SET recorded=7|table "segment" has another time for position 5 than its event
UPDATE tally SET done=-1|table "tally" counts less than nothing
UPDATE document SET rev=0 WHERE kind='breaker'|the document breaker "api" is none that a command writes
UPDATE document SET value=x'7b' WHERE kind='saga'|the document saga "s/e1" is none that a command writes
UPDATE meta SET value='x' WHERE key='lock'|table "meta" has a value for "lock" that no command writes
END
}

@test "edits: a group without its position reports that at once, and spool group seek restores it" {
    seq 3 | publish -t n
    consume -g g --from start -- true
    sql 'DELETE FROM cursor WHERE priority=5'
    local words='damaged: its table "cursor" has no valid position for priority 5 of group "g": give it one with spool group seek'
    run -74 --separate-stderr timeout 60 consume -g g -- true
    [ "$stderr" = "consume: $EVENT_SPOOL: $words" ]
    run -74 --separate-stderr timeout 60 consume -g g -f -- true
    run -74 --separate-stderr timeout 60 spool wait -g g
    run -74 --separate-stderr timeout 60 publish -t n -d 4 --max-pending 10
    run -0 spool group seek g start
    run -0 consume -g g -- printenv EVENT_SEQ
    [ "${lines[*]}" = '1 2 3' ]
    # A place that the log does not reach would pass in silence what is published next.
    sql 'UPDATE cursor SET seq=9 WHERE priority=5'
    run -74 --separate-stderr consume -g g -- true
    [ "$stderr" = "consume: $EVENT_SPOOL: $words" ]
    run -1 spool check
    [ "$(jq -r .message <<<"$output")" = "$EVENT_SPOOL: $words" ]
}

@test "edits: a position that no event can have neither keeps a reader busy nor takes what is published" {
    seq 3 | publish -t n
    keep_spool
    for position in 9223372036854775807 9223372036854775806 0 -1 -9223372036854775808; do
        back_to_kept_spool
        sql "UPDATE event SET seq=$position WHERE seq=2"
        seq 4 5 | publish -t n
        run -0 --separate-stderr bash -c 'timeout 60 replay --from 1 | jq .data'
        [ "${lines[*]}" = '1 3 4 5' ]
        run -0 --separate-stderr timeout 60 consume -g g --from start -- printenv EVENT_SEQ
        [ "${lines[*]}" = '1 3 4 5' ]
        run -1 spool check
        [[ $output == *"an event is at position $position, where none can be"* ]]
    done
}

@test "edits: an index that contradicts its table ends consume, and nothing waits for it" {
    seq 3 | publish -t n
    consume -g g --from start --backoff 1ms..1ms -n 1 -- false
    # The index of what is due has a row that the table says is claimed.
    root=$(sqlite3 spool.db "SELECT rootpage FROM sqlite_schema WHERE name='item_due'")
    text=$(sqlite3 spool.db "SELECT sql FROM sqlite_schema WHERE name='item_due'")
    sqlite3 spool.db "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name='item_due'"
    sqlite3 spool.db 'UPDATE item SET state=1'
    sqlite3 spool.db "PRAGMA writable_schema=ON; INSERT INTO sqlite_schema VALUES('index','item_due','item',$root,'$text')"
    run -74 --separate-stderr timeout 60 consume -g g -- true
    [[ $stderr == 'consume: '*'damaged: its table "item" contradicts itself about group "g"'* ]]
}

load helper

# A disk that returns other bytes than were written: single bits of a spool are flipped, one at a
# time. LONG=1: a thousand of them, in a larger spool. Also every column of an event, by hand.

setup() {
    helper_setup
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    flips=${LONG:+1000} events=${LONG:+3000}
    : "${flips:=60}" "${events:=1000}"
}

# flip FILE NUMBER: some bit of the file, the same one for the same number. Prints where.
flip() {
    perl -e 'my ($file, $number) = @ARGV; srand $number * 2654435761 % 4294967291;
        open my $f, "+<:raw", $file or die;
        my $at = int rand -s $file;
        seek $f, $at, 0; read $f, my $byte, 1;
        my $bit = int rand 8;
        seek $f, $at, 0; print $f chr(ord($byte) ^ 1 << $bit);
        close $f or die; print "byte $at, bit $bit\n"' "$@"
}

complain() {
    echo "SEED=$seed, flip $i, $where: $*" >&2
    return 1
}

@test "damage: a flipped bit crashes nothing, no event comes out changed, and most come out" {
    seq "$events" | sed 's/.*/{"type":"n","id":"e&","subject":"s&","data":{"n":&,"text":"some more text of event &"}}/' | publish
    consume -g g --from start -n 10 -- true
    consume -g g -n 3 -a 1 -- false || [ $? -eq 1 ]
    replay --from start >good
    spool backup good.db
    export EVENT_SPOOL=$PWD/flipped.db
    out=0 got=0 all=0 told=0
    set +T
    for ((i = 1; i <= flips; i++)); do
        rm -f flipped.db*
        cp good.db flipped.db
        where=$(flip flipped.db $((seed * 10000 + i)))
        check=0 status=0
        spool check >findings 2>&1 || check=$?
        case $check in 0 | 1 | 65 | 74) ;; *) complain "check ended with $check" ;; esac
        replay --from start >some 2>errors || status=$?
        case $status in 0 | 65 | 74) ;; *) complain "replay ended with $status" ;; esac
        # Only lines that are right. One that was cut off at an error is none.
        wrong=$(comm -13 <(sort good) <(sort some) | head -n 1)
        [ -z "$wrong" ] || complain "replay printed $wrong"
        n=$(wc -l <some)
        # What is missing is told of, at once and by the check.
        if [ "$n" -lt "$events" ]; then
            [ "$status" -ne 0 ] || complain "$((events - n)) events are missing, and replay does not say so"
            [ "$check" -ne 0 ] || complain "$((events - n)) events are missing, and check does not say so"
        fi
        # The others are delivered, and none of them with wrong bytes.
        status=0
        consume -g new --from start --auto-ack >some 2>>errors || status=$?
        case $status in 0 | 1 | 65 | 73 | 74) ;; *) complain "consume ended with $status" ;; esac
        wrong=$(comm -13 <(sort good) <(sort some) | head -n 1)
        [ -z "$wrong" ] || complain "consume printed $wrong"
        [ "$(wc -l <some)" -lt $((events * 99 / 100)) ] || got=$((got + 1))
        [ "$check" -eq 0 ] || told=$((told + 1))
        [ "$n" -lt $((events * 99 / 100)) ] || out=$((out + 1))
        all=$((all + n))
    done
    set -T
    echo "$told of $flips flips were found by check; $out of $flips left 99 % of the events to replay, $got to consume; $all events of $((flips * events)) came out"
    [ "$told" -gt $((flips / 3)) ]
    [ "$out" -gt $((flips * 4 / 5)) ]
    [ "$got" -gt $((flips * 4 / 5)) ]
}

# spoil ASSIGNMENTS: of event 2, also what the schema does not allow and a flipped bit does.
spoil() {
    local set=$1 column event_table
    if [ "$ENGINE" = sqlite ]; then
        event_table=$(sql "SELECT sql FROM sqlite_schema WHERE name='event'")
        sql "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql=replace(replace(sql,' NOT NULL',''),' STRICT','') WHERE name='event'"
        sql "UPDATE event SET $set WHERE seq=2"
        sql "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='$event_table' WHERE name='event'"
    else
        for column in recorded priority sums id source type line; do
            sql "ALTER TABLE event ALTER $column DROP NOT NULL"
        done
        sql "UPDATE event SET ${set//=x\'/=\'\\x} WHERE seq=2"
    fi
}

@test "damage: whatever is damaged in an event's row, check names it, replay skips it, and a group sets it aside" {
    seq 500 | publish -t n -k s # enough for reading ahead
    replay >lines
    sed -i 2d lines
    keep_spool
    while read -r edit; do
        echo "edit: $edit"
        back_to_kept_spool
        spoil "$edit"
        run -1 --separate-stderr spool check
        jq -r 'select(.kind=="damage") | .message' <<<"$output" | grep -q 'position 2$'
        run -74 --separate-stderr replay
        [ "$stderr" = $'replay: seq 2 is damaged: left out\nreplay: 1 damaged, left out' ]
        [ "$output" = "$(cat lines)" ]
        run -74 --separate-stderr replay -t n -k s
        [ "$output" = "$(cat lines)" ]
        run -74 --separate-stderr consume -g g --from start -t n --auto-ack
        [ "$stderr" = 'consume: 1 damaged, set aside as dead letters: dlq list -g g' ]
        [ "$output" = "$(cat lines)" ]
        run -0 dlq list -o ndjson
        [ "$(jq -c '[.group,.seq]' <<<"$output")" = '["g",2]' ]
        run -0 dlq show -g g 2
    done <<'END'
id='y'
source='y'
type='y'
subject='y'
subject=NULL
due=99
due=99999999999999
expires=9
priority=3
priority=NULL
priority=77
version=9
recorded=recorded+1
recorded=NULL
type=NULL
id=NULL
sums=NULL
sums=0
sums=NULL,line=NULL
line=x''
line=NULL
sums=0,line=x''
sums=sums&4294967295
END
}

@test "damage: readers of streams, of read models and of causes say which event is damaged" {
    seq 3 | publish -t n -k s --expect-version any
    seq 3 | publish -t n -k plain
    spoil "type='y'"
    run -74 --separate-stderr reduce -k s
    [ "$stderr" = 'reduce: subject "s": seq 2 is damaged: the state is unknown' ]
    run -0 reduce -k plain
    run -0 trace -o tree 2
    [ "${lines[0]}" = '> 2  n  s  (damaged in the spool)' ]
    spoil "line=x'7b7d'"
    run -74 --separate-stderr reduce -k s
    run -74 --separate-stderr trace 1
    [ "$stderr" = 'trace: 1 damaged event may be missing here' ]
    run -74 --separate-stderr trace --graph
    [ "$stderr" = 'trace: 1 damaged event may be missing here' ]
    run -74 --separate-stderr consume -g g --from start --dry-run
    [ "$stderr" = 'consume: 1 damaged, left out' ]
    [ "${#lines[@]}" -eq 5 ]
    # Handed over a pipe it is not, either.
    run -74 --separate-stderr consume -g l --from start --lease 1h
    [ "${#lines[@]}" -eq 5 ]
}

@test "damage: of two consumers that meet a damaged retry at the same time, one sets it aside" {
    needs_world
    publish -t n -d 1
    run -0 consume -g g --from start -- sh -c 'echo delay 1h >&3; exit 1'
    echo 0 >clock
    pids=()
    for n in 1 2; do
        worldly
        background "${world[@]}" consume -g g -f -- true 2>"err$n"
        pids+=("$pid")
    done
    both() { [ "$(spool group show g -o ndjson | jq .consumers)" -eq 2 ]; }
    wait_for both
    kill -STOP "${pids[@]}"
    sql "UPDATE event SET type='y' WHERE seq=1"
    hold_lock
    echo 4000 >clock
    kill -CONT "${pids[@]}"
    for pid in "${pids[@]}"; do # both have seen it, and want the lock
        wait_for waits_for_lock "$pid" 2
    done
    let_write
    idle() { ! waits_for_lock "$1"; }
    for pid in "${pids[@]}"; do
        wait_for idle "$pid"
        kill -TERM "$pid"
        wait_for gone "$pid"
    done
    [ "$(replay -t sys.dead-lettered | wc -l)" -eq 1 ]
    [ "$(dlq show -g g 1 -o ndjson | jq '.history | length')" -eq 2 ]
    [ "$(cat err1 err2)" = 'consume: 1 damaged, set aside as dead letters: dlq list -g g' ]
}

@test "damage: a row that was moved beyond its neighbours is reported, and takes none of them out of sight" {
    seq 5 | sed 's/.*/{"type":"n","id":"mark&","data":"&"}/' | publish
    spool backup moved.db
    # In the cell of event 3: two bytes of length, the position, the length of the record's header.
    perl -e 'open my $f, "+<:raw", "moved.db" or die; local $/; my $all = <$f>;
        $all =~ /[\x81-\x8f][\x00-\x7f]\K\x03(?=[\x0d-\x14].{10,60}mark3)/s or die "no cell";
        seek $f, $-[0], 0; print $f chr(0x43); close $f or die'
    local words="$PWD/moved.db: damaged: its table \"event\" is out of order at seq 4: see spool check, or restore it from a backup"
    run -74 --separate-stderr timeout 60 replay -s moved.db
    [ "${#lines[@]}" -eq 2 ]
    [ "${stderr_lines[1]}" = "replay: $words" ]
    run -74 --separate-stderr timeout 60 replay -s moved.db --last 5
    run -74 --separate-stderr timeout 60 consume -s moved.db -g g --from start -f --auto-ack
    [ -z "$output" ]
    [ "$stderr" = "consume: $words" ]
    run -74 --separate-stderr timeout 60 spool group show g -s moved.db
    run -74 --separate-stderr timeout 60 spool check -s moved.db
    [[ $output == *"out of order"* ]]
}

load helper
load outbox

# ------------------------------------------------------------------------------------------- a sink

@test "outbox-relay: with publish as the sink, the rows that it echoes are marked" {
    table
    db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a' || (value % 3), 't.u', value FROM generate_series(1, 700)"
    run -0 --separate-stderr outbox-relay app.db -- publish -s other.db --echo
    [ "$stderr" = "publish: created the spool $PWD/other.db" ]
    spool_missing
    for a in a0 a1 a2; do
        replay -s other.db -k $a | jq .data | sort -nc
    done
    [ "$(replay -s other.db | wc -l)" -eq 700 ]
    [ "$(state)" = '0 0 0' ]
}

@test "outbox-relay: only rows that the sink confirms are marked; the others are tried again, then fail" {
    table
    rows a t.u 1 b t.u 2 a t.u 3 b t.u 4
    run -0 --separate-stderr outbox-relay --backoff 90d..90d app.db -- jq -r --unbuffered 'select(.subject == "a").id'
    [ "$stderr" = 'outbox-relay: 1 row not confirmed by the sink (exit status 0): will be tried again' ]
    [ "$(state)" = '2 1 0' ]
    [ "$(db "SELECT id, attempts, retry_at > strftime('%Y-%m-%dT%H:%M:%fZ') FROM outbox_events WHERE attempts > 0")" = '2|1|1' ]
    run -0 outbox-relay --backoff 90d..90d app.db -- tee seen # its time has not come
    [ ! -s seen ]
    # A time that no backoff leads to: the clock went back.
    db "UPDATE outbox_events SET retry_at = '2076-01-01T00:00:00.000Z' WHERE attempts > 0"
    run -1 --separate-stderr outbox-relay --timeout 0 -a 3 --backoff 0 app.db -- sh -c 'cat >>seen; echo "no route" >&2; exit 7'
    [ "${stderr_lines[-1]}" = 'outbox-relay: row 2: not confirmed by the sink (exit status 7): no route: marked as failed' ]
    [ "$(jq .data seen | paste -sd' ')" = '2 2' ] # and 4 stays behind it
    [ "$(db 'SELECT attempts, error FROM outbox_events WHERE id = 2')" = '3|not confirmed by the sink (exit status 7): no route' ]
    run -0 outbox-relay --retry-failed app.db -- tee last
    [ "$(jq .data last | paste -sd' ')" = '2 4' ]
}

@test "outbox-relay: the order of an aggregate is kept whatever the sink does" {
    table
    rows a t.u 1 a t.u 2 b t.u 3 a t.u 4 b t.u 5
    # It answers at the end of its input, in another order, and refuses 3 the first time.
    cat >sink <<'END'
#!/bin/sh
cat >input
jq .data input >>seen
grep -q '"data":3}' input && [ ! -e refused ] && touch refused && sed -i '/"data":3}/d' input
jq -r .id input | tac
END
    chmod +x sink
    run -0 outbox-relay --timeout 0 --backoff 0 app.db -- ./sink
    [ "$(grep -c 3 seen)" -eq 2 ]
    [ "$(grep -v 3 seen | grep '[124]' | paste -sd' ')" = '1 2 4' ]
    [ "$(tail -n 1 seen)" = 5 ]
    [ "$(state)" = '0 0 0' ]
}

@test "outbox-relay: one sink is kept while there are rows, however long its first answer takes" {
    table
    db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a', 't.u', value FROM generate_series(1, 30)"
    background outbox-relay --timeout 1h app.db -- sh -c 'echo >>starts; until [ -e go ]; do sleep 0.02; done; exec cat'
    wait_for test -e starts
    for _ in 1 2 3; do # it has no answer yet, and time passes
        [ "$(state)" = '30 0 0' ]
    done
    touch go
    wait "$pid"
    [ "$(wc -l <starts)" -eq 1 ]
    [ "$(state)" = '0 0 0' ]
}

@test "outbox-relay: with -f one sink is kept between rows, and another takes its place without an attempt" {
    table
    background outbox-relay -f --timeout 1h app.db -- sh -c 'echo $$ >>starts; tee -a seen' 2>err
    for i in 1 2 3; do
        rows a t.u $i
        wait_for has_lines seen $i
        wait_for eval '[ "$(state)" = "0 0 0" ]'
    done
    [ "$(wc -l <starts)" -eq 1 ]
    kill -KILL -- "-$(cat starts)" # while it has nothing to do
    rows a t.u 4 a t.u 5
    wait_for has_lines seen 5
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    [ "$(db 'SELECT max(attempts) FROM outbox_events')" = 0 ]
    [ "$(wc -l <starts)" -eq 2 ]
    kill "$pid"
    ends_with 0 "$pid"
    [ ! -s err ]
}

@test "outbox-relay: a sink that answers at the end of its input is detected by its silence, once" {
    table
    db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a', 't.u', value FROM generate_series(1, 5)"
    run -0 --separate-stderr outbox-relay --timeout 100ms app.db -- jq -r .id
    [ "$stderr" = 'outbox-relay: the sink has answered nothing for 100ms: its input ends, and from now on at once (--timeout)' ]
    [ "$(state)" = '0 0 0' ]
}

@test "outbox-relay: other output of a sink is reported once; a last line without a newline counts" {
    table
    rows a t.u 1 b t.u 2
    run -0 --separate-stderr outbox-relay app.db -- sh -c 'echo hello; echo again; jq -r .id | head -c -1'
    [ "$stderr" = 'outbox-relay: the sink printed something other than an id or a line that it was given: "hello"' ]
    [ "$(state)" = '0 0 0' ]
}

@test "outbox-relay: a sink that is missing, or not available, costs no attempt" {
    table
    rows a t.u 1
    run -127 outbox-relay app.db -- ./missing
    [ "$output" = 'outbox-relay: cannot run "./missing": not found' ]
    touch plain
    run -126 outbox-relay app.db -- ./plain
    run -75 outbox-relay app.db -- sh -c 'exit 69'
    [ "${lines[-1]}" = 'outbox-relay: "sh": not available (exit status 69): try again later' ]
    [ "$(db 'SELECT attempts, retry_at IS NULL FROM outbox_events')" = '0|1' ]
}

@test "outbox-relay: the application is not held up while the sink thinks, and a row that takes the place of another is not taken for it" {
    db 'CREATE TABLE outbox_events(id INTEGER PRIMARY KEY, event_type, payload, published NOT NULL DEFAULT 0)'
    db "INSERT INTO outbox_events(event_type, payload) VALUES('t.u', '1')"
    mkfifo latch
    background outbox-relay app.db -- sh -c 'cat >seen; touch thinking; read x <latch; jq -r .id seen' 2>err
    wait_for test -e thinking
    # At once, without a timeout: nothing is locked.
    sqlite3 app.db "DELETE FROM outbox_events; INSERT INTO outbox_events(event_type, payload) VALUES('t.u', '2')"
    echo go >latch
    wait_for gone "$pid"
    [ "$(db 'SELECT id, payload, published FROM outbox_events')" = '1|2|0' ]
    run -0 outbox-relay app.db
    [ "$(data)" = 2 ]
    [ "$(db 'SELECT id, payload, published FROM outbox_events')" = '1|2|1' ]
}

# ---------------------------------------------------------------------------------------- following

@test "outbox-relay: -f relays new rows, tries again when due, and ends with SIGTERM" {
    local mode
    for mode in wal delete; do
        rm -f app.db* seen
        no_spool
        table
        db "PRAGMA journal_mode = $mode" >journal
        background outbox-relay -f --timeout 0 --backoff 10ms app.db -- sh -c 'tee -a seen >input; [ $(wc -l <seen) -gt 1 ] && cat input' 2>err
        rows a t.u 1
        wait_for has_lines seen 2 # the first answer is none
        rows a t.u 2
        wait_for has_lines seen 3
        wait_for test "$(state)" = '0 0 0' || wait_for eval '[ "$(state)" = "0 0 0" ]'
        kill "$pid"
        wait "$pid"
        [ "$(jq .data seen | paste -sd' ')" = '1 1 2' ]
    done
}

@test "outbox-relay: several relays take turns: nothing twice, and the order is kept" {
    table
    db 'PRAGMA journal_mode = wal' >journal
    for i in 1 2 3; do
        background outbox-relay -f app.db -- sh -c 'tee -a seen' 2>>err
    done
    for i in $(seq 0 9); do
        db "INSERT INTO outbox_events(aggregate_id, event_type, payload) SELECT 'a' || (value % 5), 't.u', value FROM generate_series($i * 20 + 1, $i * 20 + 20)"
    done
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    [ "$(jq .data seen | sort -n)" = "$(seq 200)" ]
    for a in 0 1 2 3 4; do
        jq "select(.subject == \"a$a\").data" seen | sort -nc
    done
}

# ---------------------------------------------------------------------------------------- marking

@test "outbox-relay: a database that is locked when it begins is waited for, too, and a signal ends that" {
    table
    rows a t.u 1
    application
    app 'BEGIN EXCLUSIVE;'
    background outbox-relay app.db 2>err 9>&-
    once=$pid
    background outbox-relay app.db 2>err.stopped 9>&-
    stopped=$pid
    background outbox-relay -f --wait 10ms app.db -- tee -a seen 2>told 9>&-
    always=$pid
    background outbox-relay -f app.db -- tee -a seen 2>err.always 9>&-
    wait_for grep -q waiting told
    reads() { grep -q 'app.db$' <(readlink /proc/"$1"/fd/*); }
    wait_for reads "$pid"
    wait_for reads "$stopped"
    kill "$pid" "$stopped"
    ends_with 0 "$pid"
    ends_with 75 "$stopped"
    ! gone "$once" || false
    app 'COMMIT;'
    ends_with 0 "$once"
    wait_for eval '[ "$(state)" = "0 0 0" ]'
    rows a t.u 2
    wait_for grep -q 'data":2' seen
    kill "$always"
    ends_with 0 "$always"
    # Another relay may have kept it locked for more than those 10 ms once more.
    [ "$(head -n 2 told)" = 'outbox-relay: app.db: kept locked by another process for 0.0 s; try again later: waiting
outbox-relay: app.db: no longer locked' ]
    [ ! -s err.always ]
}

@test "outbox-relay: what a sink has confirmed is marked before a signal ends the relay; a second signal ends that" {
    table
    rows a t.u 1
    application
    # It confirms the row when nobody can mark it.
    background outbox-relay -f app.db -- sh -c 'while read -r x; do touch given; until [ -e go ]; do sleep 0.02; done; echo "$x"; touch answered; done' 2>err 9>&-
    wait_for test -e given
    app 'BEGIN IMMEDIATE;'
    touch go
    wait_for test -e answered
    kill "$pid"
    app 'SELECT 1;'
    ! gone "$pid" || false
    app 'COMMIT;'
    ends_with 0 "$pid"
    [ "$(state)" = '0 0 0' ]
    [ ! -s err ]
    rows a t.u 2
    rm given go answered
    background outbox-relay -f app.db -- sh -c 'while read -r x; do touch given; until [ -e go ]; do sleep 0.02; done; echo "$x"; touch answered; done' 2>err 9>&-
    wait_for test -e given
    app 'BEGIN IMMEDIATE;'
    touch go
    wait_for test -e answered
    until gone "$pid"; do # signals that come together count as one
        kill "$pid"
        app 'SELECT 1;'
    done
    ends_with 75 "$pid"
    [ "$(cat err)" = 'outbox-relay: 1 row was relayed and could not be marked: app.db: stopped while another process had it locked' ]
    app 'COMMIT;'
    [ "$(state)" = '1 0 0' ]
}

@test "outbox-relay: a mark that changes nothing is an error that names the row, and the rest is marked" {
    local trigger
    for trigger in 'BEFORE UPDATE ON outbox_events WHEN NEW.id = 2 BEGIN SELECT RAISE(IGNORE); END' \
        'AFTER UPDATE ON outbox_events WHEN NEW.id = 2 AND NEW.published BEGIN UPDATE outbox_events SET published = 0 WHERE id = 2; END'; do
        rm -f app.db* seen
        table
        rows a t.u 1 b t.u 2 c t.u 3
        db "CREATE TRIGGER refuse $trigger"
        run -65 outbox-relay app.db -- tee -a seen
        [ "$output" = 'outbox-relay: app.db: row 2 was relayed, but the UPDATE changed nothing: a trigger, a rule or row-level security of table "outbox_events" discards it; until that is fixed, each run relays the row again' ]
        [ "$(db 'SELECT group_concat(published) FROM outbox_events')" = 1,0,1 ]
        db 'DROP TRIGGER refuse'
        run -0 outbox-relay app.db -- tee -a seen
        [ "$(jq .data seen | paste -sd' ')" = '1 2 3 2' ]
    done
    # What is marked by other means is marked.
    db 'ALTER TABLE outbox_events RENAME TO rows; UPDATE rows SET published = 0; CREATE VIEW outbox_events AS SELECT * FROM rows;
        CREATE TRIGGER marks INSTEAD OF UPDATE ON outbox_events BEGIN UPDATE rows SET published = NEW.published WHERE id = NEW.id; END'
    run -0 outbox-relay app.db -- cat
    [ "$(db 'SELECT group_concat(published) FROM rows')" = 1,1,1 ]
    db "CREATE TABLE o(id INTEGER PRIMARY KEY, event_type, payload); INSERT INTO o VALUES(7, 't.u', '1');
        CREATE TRIGGER keep BEFORE DELETE ON o BEGIN SELECT RAISE(IGNORE); END"
    run -65 outbox-relay --delete --table o app.db
    [[ ${lines[-1]} = 'outbox-relay: app.db: row 7 was relayed, but the DELETE changed nothing'* ]]
}

@test "outbox-relay: a row that cannot be pruned is an error that names it, and the rest is pruned" {
    table
    rows a t.u 1 a t.u 2 a t.u 3
    db 'CREATE TRIGGER keep BEFORE DELETE ON outbox_events WHEN OLD.id = 2 BEGIN SELECT RAISE(IGNORE); END'
    run -65 outbox-relay --prune 0 app.db
    [ "${lines[-1]}" = 'outbox-relay: app.db: row 2 was to be pruned, but the DELETE changed nothing: a trigger, a rule or row-level security of table "outbox_events" discards it' ]
    [ "$(db 'SELECT group_concat(id) FROM outbox_events')" = 2 ]
}

@test "outbox-relay: an attempt that cannot be recorded is an error, and is not repeated without end" {
    table
    rows a t.u 1
    db 'CREATE TRIGGER refuse BEFORE UPDATE ON outbox_events BEGIN SELECT RAISE(IGNORE); END'
    run -65 outbox-relay app.db -- sh -c 'exit 7'
    [ "${lines[-1]}" = 'outbox-relay: app.db: row 1 was not relayed, but the UPDATE changed nothing: a trigger, a rule or row-level security of table "outbox_events" discards it; until that is fixed, no attempt is counted' ]
}

@test "outbox-relay: a row that is changed while a sink has it is relayed again as it is now, and that is reported" {
    table
    rows a t.u 1
    background outbox-relay app.db -- sh -c 'read -r x; touch given; until [ -e go ]; do sleep 0.02; done; echo "$x"' 2>err
    wait_for test -e given
    db "UPDATE outbox_events SET payload = '2'"
    touch go
    ends_with 0 "$pid"
    [ "$(cat err)" = 'outbox-relay: row 1: was changed while it was being relayed: it is relayed again as it is now' ]
    run -0 outbox-relay app.db
    [ "$(data)" = 2 ]
}

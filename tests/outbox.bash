# outbox: shared by the tests of outbox-relay with SQLite, to be loaded after helper:
#
#     load outbox
#
# The application's database is app.db, with the table that --schema prints.

setup() {
    helper_setup
    export EVENT_DEFAULT_SOURCE=/shop
}

db() { # SQL, on app.db
    sqlite3 -cmd '.timeout 20000' app.db "$1"
}

table() {
    outbox-relay --schema | sqlite3 app.db
}

# rows AGGREGATE TYPE PAYLOAD...: three words for each row
rows() {
    while [ $# -gt 0 ]; do
        db "INSERT INTO outbox_events(aggregate_id, event_type, payload) VALUES('$1', '$2', '$3')"
        shift 3
    done
}

data() { # of the events in the spool, in order
    replay "$@" | jq -c .data | paste -sd' '
}

state() { # backlog waiting failed
    outbox-relay --status app.db | jq -r '"\(.backlog) \(.waiting) \(.failed)"'
}

has_lines() { # FILE N: at least
    [ -e "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ]
}

# A database session of the application's, which runs what is written to descriptor 9.
application() {
    mkfifo statements
    background sh -c 'exec sqlite3 -cmd ".timeout 20000" app.db <statements >answers'
    exec 9>statements
}

app() { # SQL: returns when it is done
    rm -f "$BATS_TEST_TMPDIR/finished"
    echo "$1" >&9
    echo ".shell touch finished" >&9
    wait_for test -e finished
}

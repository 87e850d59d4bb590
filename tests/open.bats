# Where a spool may stand, and what is refused untouched.
load helper

# refused STATUS TEXT: by a writer and by a reader, in no time, and nothing is left beside it.
refused() {
    run "-$1" --separate-stderr timeout 10 publish -s "${3:-spool.db}" -t x -d 1
    [[ $stderr == *"$2"* ]] || { echo "$stderr" && false; }
    [ ! -e "${3:-spool.db}-wal" ]
}

spool_with() { # SQL: a spool that somebody has worked on
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell'
    publish -t x -d 1 2>/dev/null
    sqlite3 spool.db "$1" >/dev/null
    sha256sum spool.db >sum
}

@test "open: what is no file is refused, and a FIFO does not hang" {
    mkdir spool.db
    refused 73 'spool.db: is a directory'
    run -66 timeout 10 replay
    rmdir spool.db
    mkfifo spool.db
    refused 73 'spool.db: is a device, pipe or socket'
}

@test "open: links, other names and other people's rights are refused" {
    publish -s real.db -t x -d 1
    ln -s real.db spool.db
    refused 77 'spool.db: is a symbolic link: name the spool itself'
    rm spool.db
    ln real.db spool.db
    refused 77 'spool.db: has 2 names (hard links); a spool has one'
    rm spool.db
    chmod 666 real.db
    refused 77 'real.db: others can write to it (mode 0666): chmod 600' real.db
    chmod 600 real.db
    mkdir open
    chmod 777 open
    refused 77 'everyone can write to its directory (mode 0777)' open/spool.db
}

@test "open: what is no spool is refused and left as it was" {
    : >spool.db
    refused 65 'spool.db: is an empty file, not a spool: remove it first'
    echo 'just a text, and long enough to be looked at twice' >spool.db
    sha256sum spool.db >sum
    refused 65 'spool.db: not an eventutils spool'
    sha256sum -c --quiet sum
}

@test "open: another program's database is refused and left as it was" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell'
    sqlite3 spool.db 'CREATE TABLE event(a); INSERT INTO event VALUES(1)'
    sha256sum spool.db >sum
    chmod 600 spool.db
    refused 65 'spool.db: not an eventutils spool'
    sha256sum -c --quiet sum
}

@test "open: a spool of a newer version is refused and left as it was" {
    spool_with 'PRAGMA user_version=9'
    refused 65 'spool.db: has schema 9, this program knows 1: install a newer eventutils'
    sha256sum -c --quiet sum
}

@test "open: a schema that somebody changed is refused: a trigger, a table, a missing index" {
    spool_with 'CREATE TRIGGER evil AFTER INSERT ON event BEGIN DELETE FROM event; END'
    refused 65 'spool.db: its schema was changed by someone else (trigger "evil")'
    sha256sum -c --quiet sum
    rm spool.db*
    spool_with 'CREATE TABLE mine(a)'
    refused 65 'spool.db: its schema was changed by someone else (table "mine")'
    rm spool.db*
    spool_with 'DROP INDEX event_id'
    refused 65 'spool.db: its schema was changed by someone else (a table or an index is missing)'
}

@test "open: a spool that was cut short is damage, and no crash" {
    seq 1000 | publish -t x
    truncate -s 20000 spool.db
    run -74 --separate-stderr timeout 10 replay
    [[ ${stderr_lines[0]} == "replay: $EVENT_SPOOL: damaged ("*'): restore it from a backup' ]]
}

@test "open: names that are no file names are refused" {
    refused 64 '":memory:": not a file name for a spool' :memory:
    refused 64 '"file:x?mode=memory": not a file name for a spool' 'file:x?mode=memory'
    run -64 publish -s '' -t x -d 1
    [ -z "$(find . -name '*memory*' -o -name '*lock' -o -name '*db')" ]
}

@test "open: writers make the folders they need, for their owner alone; readers do not" {
    run -66 --separate-stderr replay -s a/b/spool.db
    [ "$stderr" = 'replay: a/b/: there is no such directory' ]
    [ ! -e a ]
    publish -s a/b/spool.db -t x -d 1
    [ "$(stat -c %a a a/b a/b/spool.db | paste -sd' ')" = '700 700 600' ]
}

@test "open: every file of a spool is its owner's alone, whatever the umask" {
    for mask in 000 077; do
        umask "$mask"
        mkfifo p
        background sh -c 'exec publish -t x --echo <p >out'
        exec 8>p
        echo 1 >&8
        wait_for test -s out
        consume -g g --from start -- true
        [ "$(stat -c %a spool.db spool.db-wal spool.db-shm spool.db-lock | paste -sd' ')" = '600 600 600 600' ]
        exec 8>&-
        wait "$pid"
        rm -f p out spool.db*
    done
}

@test "open: eight at once create one spool, and one of them says so" {
    for i in {1..8}; do
        publish -t x --id "$i" -d 1 2>"err.$i" 3>&- &
    done
    wait
    [ "$(replay | wc -l)" -eq 8 ]
    [ "$(cat err.* | grep -c 'created the spool')" -eq 1 ]
    run -1 compgen -G 'spool.db.new*'
}

# Where a spool may be, what else may be at its path, and who can read its files.
load helper

# put FILE: a copy of a spool with an event and a group in it.
put() {
    cp "$BATS_FILE_TMPDIR/spool.db" "$1"
    chmod 600 "$1"
}

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    env -u EVENT_ID publish -s spool.db -t x -d 1 2>/dev/null
    consume -s spool.db -g g --from start -- true
    rm -f spool.db-lock
}

# Everything in the folder: names, modes, contents.
picture() {
    find . -mindepth 1 -printf '%P %M %s\n' | sort
    find . -type f -exec sha256sum {} + | sort
}

# said STATUS MESSAGE COMMAND...: a command's status and words, and nothing on stdout.
said() {
    local want=$1 message=$2 status=0
    shift 2
    timeout 60 "$@" >../stdout 2>../stderr </dev/null || status=$?
    [ "$status" -eq "$want" ] && [ ! -s ../stdout ] && [ "$(cat ../stderr)" = "$1: $message" ] && return
    printf 'situation: %s\n%s\nexpected: %s, %s: %s\ngot: %s, %s\n' "$situation" "$*" "$want" "$1" "$message" \
        "$status" "$(cat ../stdout ../stderr)"
    return 1
}

# ------------------------------------------------------------------------------------- its place

@test "spool's place: a path that cannot be a spool is refused as in the table, and left as it is" {
    local situation make path writes reads message failed=0 row
    while IFS= read -r row; do
        [[ $row == \#* ]] && continue
        IFS=$'\037' read -r situation make path writes reads message <<<"${row//$'\t'/$'\037'}"
        [[ $make != *sqlite3* ]] || command -v sqlite3 >/dev/null || continue
        chmod -R u+rwx place 2>/dev/null || true
        rm -rf place
        mkdir place
        cd place || return
        eval "$make"
        message=${message//@/$PWD}
        picture >../before
        said "$writes" "$message" publish -s "$path" -t x -d 1 || failed=1
        said "$writes" "$message" consume -s "$path" -g new --from start -- true || failed=1
        said "$reads" "$message" replay -s "$path" || failed=1
        said "$reads" "$message" dlq list -s "$path" || failed=1
        said "$reads" "$message" spool info -s "$path" || failed=1
        picture | diff ../before - || {
            echo "situation: $situation: is changed"
            failed=1
        }
        cd "$BATS_TEST_TMPDIR" || return
    done <"$TOP/tests/data/spool-places.tsv"
    [ "$failed" -eq 0 ]
}

@test "spool's place: the folders of a new spool are created, but not by readers" {
    run -66 --separate-stderr replay -s a/b/c.db
    [ "$stderr" = 'replay: a/b/: there is no such directory' ]
    [ ! -e a ]
    run -0 --separate-stderr publish -s a/b/c.db -t x -d 1
    [ "$stderr" = "publish: created the spool $PWD/a/b/c.db" ]
    run -0 --separate-stderr replay -s a/b/../b/c.db
    [ "${#lines[@]}" -eq 1 ]
}

@test "spool's place: a folder may be a symbolic link, and strange names are names" {
    mkdir real
    ln -s real link
    publish -s link/s -t x -d 1
    [ -f real/s ]
    for name in ./:memory: ./file:x 'a b' "it's" '%s%n' '-s' ./-- 'a?mode=memory' 'é'; do
        publish -s "$name" -t x -d 1
        run -0 replay -s "$name"
        [ "${#lines[@]}" -eq 1 ]
        [ -f "./${name#./}" ]
    done
}

@test "spool's place: a name that is too long is 73" {
    run -73 --separate-stderr publish -s "$(printf 'n%.0s' {1..250})" -t x -d 1
    [ "$stderr" = "publish: $PWD/$(printf 'n%.0s' {1..250}): cannot create it: File name too long" ]
    [ -z "$(compgen -G 'n*')" ]
}

@test "spool's place: a sticky folder that everyone can write to is taken if it is ours" {
    mkdir -m 1777 tmp
    run -0 publish -s tmp/s -t x -d 1
    run -0 replay -s tmp/s
}

@test "spool's place: a sticky folder of a stranger is 77" {
    [ "$(id -u)" -eq 0 ] || skip 'only root can give a folder away'
    mkdir -m 1777 tmp
    chown 65534 tmp
    run -77 --separate-stderr publish -s tmp/s -t x -d 1
    [ "${#stderr_lines[@]}" -eq 1 ]
    [ ! -e tmp/s ]
}

@test "spool's place: a folder or a file that may not be written is 77, for readers too" {
    [ "$(id -u)" -ne 0 ] || skip 'root may write everywhere'
    mkdir d
    put d/s
    chmod 555 d
    for command in 'publish -t x -d 1' replay 'spool info'; do
        # shellcheck disable=SC2086 # words
        run -77 --separate-stderr $command -s d/s
        [[ $stderr == *": $PWD/d/s: cannot "* ]]
        [ "${#stderr_lines[@]}" -eq 1 ]
    done
    run -73 --separate-stderr publish -s d/new -t x -d 1 || run -77 --separate-stderr publish -s d/new -t x -d 1
    chmod 755 d
    chmod 400 d/s
    run -77 --separate-stderr publish -t x -d 1 -s d/s
    [ "${#stderr_lines[@]}" -eq 1 ]
    chmod 600 d/s
    [ "$(replay -s d/s | wc -l)" -eq 1 ]
}

@test "spool's place: a link at SPOOL-lock is not followed, and no command hangs on what is there" {
    put s
    for make in 'ln -s target s-lock' 'mkfifo s-lock' 'mkdir s-lock'; do
        $make
        run timeout 60 publish -s s -t x -d 1
        [ "$status" -ne 124 ] && [ "$status" -lt 128 ]
        run -74 --separate-stderr timeout 60 consume -s s -g g -- true
        [[ $stderr == "consume: $PWD/s-lock: "* ]]
        [ ! -e target ]
        rm -rf s-lock
    done
    run -0 consume -s s -g g -- true
}

@test "spool's place: a copy made with VACUUM INTO is a spool" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to copy with'
    put s
    sqlite3 s "VACUUM INTO 'copy'"
    chmod 600 copy
    run -0 publish -s copy -t x -d 2
    [ "$(replay -s copy | jq -c .data | paste -sd' ')" = '1 2' ]
}

# -------------------------------------------------------------------------------------- its modes

@test "spool's files: are for their owner alone, whatever the umask" {
    for mask in 000 022 077; do
        (
            umask "$mask"
            background sh -c "exec consume -s $mask/dir/s -g g --from start -f -- true"
            wait_for test -e "$mask/dir/s"
            publish -s "$mask/dir/s" -t x -d 1
            delivered() { [ "$(spool group show g -s "$mask/dir/s" -o ndjson | jq .lag)" = 0 ]; }
            wait_for delivered
            find "$mask/dir" -type f -printf '%f\n' | sort | paste -sd' ' >names
            find "$mask" -printf '%y%m\n' | sort | uniq -c | awk '{print $1 "x" $2}' | paste -sd' ' >modes
            kill "$pid"
            wait "$pid"
        )
        [ "$(cat names)" = 's s-lock s-shm s-wal' ]
        [ "$(cat modes)" = '2xd700 4xf600' ]
        [ "$(stat -c %a "$mask/dir/s")" = 600 ]
    done
}

# ------------------------------------------------------------------------------ damage and haste

@test "spool's place: a truncated spool is reported as damage, without a crash" {
    seq 1000 | publish -t x
    truncate -s 20000 spool.db
    run -74 --separate-stderr timeout 60 replay
    [[ ${stderr_lines[0]} == "replay: $EVENT_SPOOL: damaged ("*'): restore it from a backup' ]]
}

@test "spool's place: eight at once create one spool, and one of them reports it" {
    for i in {1..8}; do
        publish -t x --id "$i" -d 1 2>"err.$i" 3>&- &
    done
    wait
    [ "$(replay | wc -l)" -eq 8 ]
    [ "$(cat err.* | grep -c 'created the spool')" -eq 1 ]
    run -1 compgen -G 'spool.db.new*'
}

# ------------------------------------------------------------------------------- while it is in use

@test "spool's place: a waiting command notices that the spool was deleted or replaced, and ends with 74" {
    local gone=': was deleted, moved or replaced while in use: start again when it is back in place'
    printf '%s\n' '-- @init' 'CREATE TABLE t(seq);' '-- @on x' 'INSERT INTO t VALUES(:seq);' >m.sql
    mkfifo latch
    for how in 'rm s' 'cp s copy && mv copy s'; do
        rm -f s* err.* running
        put s
        consume -s s -g lags --from start -n 1 --backoff 9d..9d -- false
        pids=()
        n=0
        # shellcheck disable=SC2094,SC2086 # words; each has a file of its own
        for command in 'consume -s s -g g -f -- true' 'consume -s s -g h --from start -f --auto-ack' 'replay -s s -f' \
            'spool wait -s s -g lags' 'publish -s s -t x -d 1 --max-pending 1 --wait 1h' 'project -s s m.db m.sql -f'; do
            background sh -c "exec $command >out.$n 2>err.$n"
            pids+=("$pid")
            n=$((n + 1))
        done
        background sh -c 'exec once -s s -k k -- sh -c "echo >running; read x <latch" 2>err.once'
        wait_for test -s out.1
        wait_for test -s out.2
        wait_for test -e running
        seen() { [ "$(spool group -s s -o ndjson 2>/dev/null | grep -c .)" -ge 4 ]; }
        wait_for seen
        eval "$how"
        timeout 60 sh -c 'echo >latch'
        ends_with 74 "$pid"
        grep -qF "$PWD/s$gone" err.once
        for i in "${!pids[@]}"; do
            ends_with 74 "${pids[i]}"
            grep -qF "$PWD/s$gone" "err.$i"
        done
        rm running
    done
}

@test "spool's place: events published into a deleted file are not reported as stored" {
    put s
    mkfifo in
    background sh -c 'exec publish -s s -t x --echo <in >out 2>said'
    exec 8>in
    echo 1 >&8
    wait_for test -s out
    rm s
    echo 2 >&8
    exec 8>&-
    ends_with 74 "$pid"
    [ "$(wc -l <out)" -eq 1 ]
    [ "$(cat said)" = "publish: $PWD/s: was deleted, moved or replaced while in use: start again when it is back in place" ]
}

@test "spool's place: a path that is too long for SQLite is reported as that" {
    local long
    long=$PWD/$(printf 'd%.0s' {1..240})/$(printf 'd%.0s' {1..240})
    run -73 --separate-stderr publish -s "$long/s" -t x -d 1
    [ "$stderr" = "publish: $long/s: the path is longer than 480 bytes, and with what SQLite adds to it for the files beside it, too long: choose a shorter -s" ]
    run -66 --separate-stderr replay -s "$long/s"
    [[ $stderr == *': the path is longer than 480 bytes, '* ]]
    put s
    mkdir -p "$long"
    run -73 --separate-stderr spool backup -s s "$long/copy"
    [[ $stderr == *': cannot create it: the path is longer than 480 bytes, too long for SQLite' ]]
    printf '%s\n' '-- @on n' 'SELECT 1;' >read.sql
    run -73 --separate-stderr project -s s "$long/db" read.sql
    [ "$stderr" = "project: $long/db: cannot create it: the path is longer than 480 bytes, too long for SQLite" ]
    run -0 ls "$long"
    [ "$output" = '' ]
}

@test "spool's place: a read-only file system is reported, with what to do" {
    mkdir disk
    mount -t tmpfs -o size=2m tmpfs disk 2>/dev/null || skip 'only root can mount a file system'
    put disk/s
    mount -o remount,ro disk
    for command in 'publish -s disk/s -t x -d 1' 'replay -s disk/s' 'consume -s disk/s -g g -- true' 'spool info -s disk/s'; do
        status=0
        # shellcheck disable=SC2086 # words
        $command >out 2>"said.${command%% *}" || status=$?
        echo "$status" >>statuses
    done
    put other
    printf '%s\n' '-- @on n' 'SELECT 1;' >read.sql
    project -s other disk/db read.sql 2>said.project || echo $? >>statuses
    umount -l disk
    [ "$(paste -sd' ' statuses)" = '77 77 77 77 73' ]
    [ "$(cat said.project)" = "project: $PWD/disk/db: cannot create it: Read-only file system" ]
    [ "$(cat said.replay)" = "replay: $PWD/disk/s: is on a read-only file system, and even commands that only read write to a spool: copy it to another place" ]
}

@test "spool's place: with a umask that forbids everything, its files are still its owner's" {
    (
        umask 777
        publish -s d/s -t x -d 1
        consume -s d/s -g g --from start -- true
    )
    [ "$(find d -printf '%y%m %f\n' | sort | paste -sd' ')" = 'd700 d f600 s f600 s-lock' ]
}

@test "spool's place: a foreign table or trigger is noticed whatever its name is" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to make one with'
    put s
    sqlite3 s 'CREATE TRIGGER sqlitex AFTER INSERT ON event BEGIN DELETE FROM event; END'
    run -65 --separate-stderr publish -s s -t x -d 1
    [ "$stderr" = "publish: $PWD/s: its schema was changed by someone else (trigger \"sqlitex\")" ]
}

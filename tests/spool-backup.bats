load helper

# spool backup: a copy that is a complete spool, or no copy.

events() { # N [TYPE]
    seq "$1" | publish -t "${2:-n}"
}

drafts() {
    compgen -G 'b.db?*'
}

@test "backup: the copy is a spool with everything in the original" {
    events 2000
    publish -t v -k a --expect-version none -d 1
    consume -g g --from start -n 3 -a 2 --backoff 100d -- \
        sh -c 'case $EVENT_SEQ in 1) exit 65 ;; 2) exit 1 ;; esac' 2>/dev/null || [ $? -eq 1 ]
    run -0 --separate-stderr spool backup b.db
    [ "$output" = "b.db: $(stat -c %s b.db) bytes" ]
    [ -z "$stderr" ]
    run -1 drafts
    replay >events
    replay -s b.db | cmp events -
    [ "$(spool group -s b.db)" = "$(spool group)" ]
    [ "$(dlq show -s b.db)" = "$(dlq show)" ]
    run -0 spool check -s b.db
    publish -s b.db -t n -d 1
    [ "$(replay -s b.db --last 1 -o positions)" = 2003 ]
    [ "$(replay | wc -l)" -eq 2002 ]
}

@test "backup: reading the copy does not change it" {
    events 3
    spool backup b.db
    sha256sum b.db >sum
    replay -s b.db >/dev/null
    sha256sum -c --quiet sum
}

@test "backup: it is made while a publisher and a follower use the spool, and shows one moment" {
    events 1000
    background consume -g g --from start -f --auto-ack >/dev/null
    mkfifo in
    background sh -c 'exec publish -t n --echo <in >echoed'
    publisher=$pid
    exec 8>in
    seq 100 >&8
    has() { [ -e echoed ] && [ "$(wc -l <echoed)" -ge 100 ]; }
    wait_for has
    run -0 spool backup b.db
    seq 100 >&8
    exec 8>&-
    wait "$publisher"
    [ "$(replay -s b.db | wc -l)" -eq 1100 ]
    [ "$(replay | wc -l)" -eq 1200 ]
    run -0 spool check -s b.db
}

@test "backup: only its owner can read it, whatever the umask" {
    events 1
    for mask in 000 077 777; do
        (umask $mask && spool backup b.db)
        [ "$(stat -c %a b.db)" = 600 ]
        rm b.db
    done
}

@test "backup: it does not contain the space that pruning freed" {
    events 5000
    spool prune --keep 1 >/dev/null
    spool backup b.db
    [ "$(stat -c %s b.db)" -lt "$(($(stat -c %s spool.db) / 4))" ]
}

@test "backup: nothing is overwritten: 73" {
    events 1
    echo mine >b.db
    run -73 --separate-stderr spool backup b.db
    [ -z "$output" ]
    [ "$stderr" = 'spool: "b.db": is there already' ]
    [ "$(cat b.db)" = mine ]
    rm b.db
    ln -s nowhere b.db
    run -73 spool backup b.db
    rm b.db
    echo mine >b.db-wal
    run -73 --separate-stderr spool backup b.db
    [ "$stderr" = 'spool: "b.db-wal": is there already' ]
    [ ! -e b.db ]
    mkdir sub
    run -73 spool backup sub
    run -73 --separate-stderr spool backup none/b.db
    [ "$stderr" = 'spool: "none/b.db": cannot create it: No such file or directory' ]
    run -73 spool backup spool.db
    run -0 spool backup sub/b.db
    run -0 spool backup "$PWD/c.db"
    [ -s sub/b.db ] && [ -s c.db ]
    run -1 compgen -G '*.new-*'
}

@test "backup: a damaged spool is not copied" {
    events 3000
    size=$(stat -c %s spool.db)
    dd if=/dev/zero of=spool.db bs=4096 seek=$((size / 8192)) count=1 conv=notrunc status=none
    run -74 --separate-stderr spool backup b.db
    [[ $stderr == "spool: \"b.db\": $EVENT_SPOOL: damaged ("* ]]
    [ ! -e b.db ]
    run -1 drafts
}

@test "backup: a fault in any call leaves a whole copy, or none and the reason" {
    [ -e "$BUILD/fault/fail.so" ] && [ -z "${STATIC:-}" ] || skip 'preloading needs another build'
    events 50
    for kind in kill eio enospc; do
        for at in {1..200}; do
            rm -rf b.db* log
            status=0
            LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=$kind FAULT_AT=$at FAULT_LOG=log \
                spool backup b.db >out 2>&1 || status=$?
            [ -s log ] || break
            if [ -e b.db ]; then
                [ "$(replay -s b.db | wc -l)" -eq 50 ]
            fi
            [ "$status" -ne 0 ] || [ -e b.db ]
            [ $kind = kill ] || [ "$status" -eq 0 ] || [ -s out ]
        done
        [ "$at" -gt 5 ] && [ "$at" -lt 200 ]
        [ "$(replay | wc -l)" -eq 50 ]
    done
}

@test "backup: wrong usage is 64, a missing spool 66" {
    run -66 spool backup b.db
    [ ! -e b.db ]
    events 1
    run -64 --separate-stderr spool backup
    [ "$stderr" = 'spool: backup wants one FILE (see spool backup --help)' ]
    run -64 spool backup a b
    run -64 --separate-stderr spool backup ''
    [ "$stderr" = 'spool: FILE is empty (an unset variable?) (see spool backup --help)' ]
}

@test "backup of a spool on a server: 69, and what makes one" {
    publish -t n -d 1
    run -69 --separate-stderr spool backup copy.db
    [ "$stderr" = "spool: $EVENT_SPOOL: a server's spool is backed up by pg_dump -n NAME, or with the server" ]
    [ ! -e copy.db ]
    # That is true.
    replay >all
    keep_spool
    publish -t n -d 2
    back_to_kept_spool
    replay | cmp - all
    publish -t n -d 2
    [ "$(replay | jq .data | paste -sd' ')" = '1 2' ]
}

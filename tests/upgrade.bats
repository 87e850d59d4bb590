# Spools of earlier versions, from tests/data: opened, upgraded, used.
load helper

setup() {
    helper_setup
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to load an old spool with'
    sqlite3 spool.db <"$TOP/tests/data/spool-1.sql"
    chmod 600 spool.db
    sqlite3 spool.db "SELECT CAST(line AS TEXT) FROM event ORDER BY seq" >lines
}

@test "upgrade: a spool of schema 1 keeps everything, and has schema 2 then" {
    run -0 --separate-stderr replay
    [ -z "$stderr" ]
    [ "$output" = "$(cat lines)" ]
    [ "$(spool info | jq .schema)" = 2 ]
    [ "$(spool group -o ndjson | jq -c '[.group,.lag,.in_flight,.waiting,.dead,.ordered]' | paste -sd' ')" = \
        '["chain",6,0,1,0,true] ["dead",9,0,0,3,false] ["done",1,0,1,0,false] ["killed",12,2,0,0,false] ["mail",9,0,1,0,false] ["pipe",12,2,0,0,false]' ]
    run -0 --separate-stderr spool check
    [ -z "$output$stderr" ]
    [ "$(dlq list -g dead -o ndjson | jq -c '[.seq,.reason]' | paste -sd' ')" = \
        '[1,"exit status 1"] [2,"exit status 1"] [7,"exit status 1"]' ]
    [ "$(once -k key-1 -- echo again)" = result ]
    [ "$(spool breaker -o ndjson | jq -r .breaker)" = api ]
    # An event with a version keeps its place in its stream.
    run -75 publish -t account.moved -k account-7 --expect-version 1 -d 3
    publish -t account.moved -k account-7 --expect-version 2 -d 3
    # What a killed consumer held, what waits and what is dead goes on.
    run -0 --separate-stderr consume -g killed --auto-ack
    [ "${#lines[@]}" -eq 12 ]
    run -0 dlq retry -g dead --all
    run -0 --separate-stderr consume -g dead --auto-ack
    [ "${#lines[@]}" -eq 12 ]
    spool check
}

@test "upgrade: old rows are still checked by their old sums, and new rows by theirs alone" {
    publish -t new -d 1
    cp spool.db good.db
    sqlite3 spool.db "UPDATE event SET line=CAST(replace(CAST(line AS TEXT),'plain','plaIn') AS BLOB) WHERE seq=12"
    run -74 --separate-stderr replay
    [ "${stderr_lines[0]}" = 'replay: seq 12 is damaged: left out' ]
    cp good.db spool.db
    sqlite3 spool.db "UPDATE event SET type='y' WHERE seq=12"
    run -1 spool check
    [ "$(jq -r .message <<<"$output")" = '1 event with another type than in the line: position 12' ]
    cp good.db spool.db
    sqlite3 spool.db "UPDATE event SET sums=sums&4294967295 WHERE seq=16"
    run -74 --separate-stderr replay
    [ "${stderr_lines[0]}" = 'replay: seq 16 is damaged: left out' ]
}

@test "upgrade: killed at any call it leaves a spool that the next command upgrades" {
    [ -e "$BUILD/fault/fail.so" ] || skip 'preloading needs a build without sanitizers'
    [ -z "${STATIC:-}" ] || skip 'preloading needs shared libraries'
    cp spool.db old.db
    set +T
    for ((n = 1; n < 200; n++)); do
        rm -f spool.db* met
        cp old.db spool.db
        LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=kill FAULT_AT=$n FAULT_LOG=met replay >out 2>&1 || true
        [ -s met ] || break
        replay | cmp lines -
    done
    set -T
    [ "$n" -gt 5 ] && [ "$n" -lt 200 ]
    cmp lines out
    spool check
}

@test "upgrade: a program of the old version that has the spool open stores nothing in it" {
    replay >/dev/null
    run ! sqlite3 spool.db "INSERT INTO event(seq,recorded,priority,sum,id,source,type,line) VALUES(99,0,5,0,'a','b','c',x'')"
    [ "$(replay | wc -l)" -eq 15 ]
}

@test "upgrade: for a spool that cannot be written it reports that an upgrade is needed" {
    [ "$(id -u)" -ne 0 ] || skip 'root may write everywhere'
    chmod 400 spool.db
    run -77 --separate-stderr replay
    [[ $stderr == "replay: to upgrade it from schema 1: $EVENT_SPOOL: cannot "* ]]
}

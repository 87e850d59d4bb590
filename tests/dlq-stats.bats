# What dead letters have in common, and trying a fixed handler on one.
load helper

# Six dead letters of two kinds: 1 to 3 timed out, 4 to 6 had no card.
letters() {
    seq 6 | sed 's/.*/{"type":"n","id":"e&","data":&}/' | publish
    consume -g g --from start -a 1 -- sh -c '
        [ $EVENT_SEQ -gt 3 ] || { echo "timeout after ${EVENT_SEQ}ms" >&2; exit 3; }
        echo "no card for $EVENT_ID" >&2; exit 1' 2>/dev/null || [ $? -eq 1 ]
}

@test "dlq stats: failures that differ only in numbers and ids are counted together, most frequent first" {
    letters
    dlq drop 1 >/dev/null
    run -0 --separate-stderr dlq stats
    [ "$(jq -c '[.count,.event,.failure,.groups]' <<<"$output")" = \
'[3,4,"exit status 1: no card for ID",["g"]]
[2,2,"exit status 3: timeout after ID",["g"]]' ]
    [ "$(jq -r 'select(.first > .last)' <<<"$output")" = "" ]
}

@test "dlq stats: what a handler printed need not be UTF-8" {
    seq 3 | publish -t n
    consume -g g --from start -a 1 -- sh -c 'printf "bad \377 byte\n" >&2; exit 1' 2>/dev/null || [ $? -eq 1 ]
    run -0 dlq stats
    [ "$(jq -ac '[.count,.failure,.groups]' <<<"$output")" = '[3,"exit status 1: bad \ufffd byte",["g"]]' ]
    run -0 dlq stats -o table
}

@test "dlq stats: is a table when asked, takes the filters, and prints nothing when there is nothing" {
    run -0 --separate-stderr publish -t n -d 1
    run -0 --separate-stderr dlq stats
    [ -z "$output" ]
    no_spool
    letters
    run -0 --separate-stderr dlq stats -o table --error card
    [[ ${lines[0]} == 'COUNT  FIRST  LAST  GROUPS  EVENT  FAILURE' ]]
    [[ ${lines[1]} == '    3'*'g           4  exit status 1: no card for ID' ]]
    [ "${#lines[@]}" -eq 2 ]
}

@test "dlq: --like EVENT selects letters that failed in the same way" {
    letters
    run -0 --separate-stderr dlq list --like 2
    [ "$(jq .seq <<<"$output" | paste -sd' ')" = '1 2 3' ]
    run -0 dlq retry --like e5
    [ "$output" = '3 dead letters given back' ]
    run -0 --separate-stderr dlq list
    [ "$(jq .seq <<<"$output" | paste -sd' ')" = '1 2 3' ]
    run -1 --separate-stderr dlq list --like 5
    [ "$stderr" = 'dlq: --like: 5 is not a dead letter' ]
    consume -g other --from start -- true
    run -1 --separate-stderr dlq list --like 1 -g other
    [ "$stderr" = 'dlq: --like: 1 is not a dead letter of group "other"' ]
    run -66 dlq list --like 99
}

@test "dlq try: the command gets the event and its environment, its output and status are seen" {
    letters
    run -7 --separate-stderr dlq try e5 -- sh -c 'cat; echo "$EVENT_SEQ $EVENT_ID $EVENT_GROUP $EVENT_ATTEMPT"; echo said >&2; exit 7'
    [ "${lines[0]}" = "$(replay e5)" ]
    [ "${lines[1]}" = '5 e5 g 2' ]
    [ "$stderr" = said ]
    run -0 dlq try 5 true
}

@test "dlq try: changes nothing, whatever the command does" {
    letters
    dlq show >before
    run -0 dlq try 5 -- true
    run -9 dlq try 5 -- sh -c 'exit 9'
    dlq show >after
    cmp before after
    [ ! -e spool.db-wal ]
}

@test "dlq try: a command that cannot be run, an event that is not a dead letter, and too few arguments" {
    letters
    run -127 --separate-stderr dlq try 5 -- ./missing
    [ "$stderr" = 'dlq: cannot run "./missing": not found' ]
    : >plain
    run -126 --separate-stderr dlq try 5 -- ./plain
    [ "$stderr" = 'dlq: cannot run "./plain": Permission denied' ]
    dlq drop 5 >/dev/null
    run -1 --separate-stderr dlq try 5 -- true
    [ "$stderr" = 'dlq: 5 is not a dead letter' ]
    run -64 dlq try 5
    run -64 dlq try 5 --
    run -66 dlq try 99 -- true
}

# Nothing that comes from an event, a handler, a file's name or an option controls the terminal.
load helper

# A file that, but for newlines and tabs, has no byte that steers a terminal.
harmless() { # FILE
    LC_ALL=C
    ! grep -naE $'[\x01-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbf[\xbe\xbf]|\xef\xb7[\x90-\xaf]|\xf4\x8f\xbf[\xbe\xbf]' "$1" &&
        [ "$(tr -d '\000' <"$1" | wc -c)" -eq "$(wc -c <"$1")" ] && iconv -f UTF-8 -t UTF-8 "$1" >/dev/null
}

# on_terminal SCRIPT: what it prints and says on a terminal, into shown.
on_terminal() {
    command -v script >/dev/null || skip 'no script(1) to make a terminal with'
    echo "$1" >script
    script -qec 'bash script' /dev/null </dev/null | sed 's/\r$//' >shown
    [ -s shown ]
    harmless shown
}

# each_nasty COMMAND...: call it with each text of the table.
each_nasty() {
    local text row
    while IFS= read -r row; do
        [[ $row == \#* ]] && continue
        # shellcheck disable=SC2059 # the column is a format
        printf -v text "${row#*$'\t'}"
        "$@" "$text"
    done <"$TOP/tests/data/nasty.tsv"
}

# Events whose data holds everything, written raw and as escapes, and whose attributes hold what is
# allowed there.
nasty_events() {
    local text
    cat <<'END'
{"type":"n","id":"escaped","data":"\u001b]0;x\u0007 \u009b31m \r \n \u007f \u202e \u2066 \u2028 \ufffe"}
END
    printf '{"type":"n","id":"raw","data":"\302\23331m \302\205 \177 \342\200\256 \342\201\246 \342\200\250 \357\277\276"}\n'
    printf '{"type":"n\342\200\256","id":"i\342\201\246","source":"s\342\200\250","subject":"k\330\234\342\200\217\357\277\276","correlationid":"c\342\200\256","data":1}\n'
    printf '{"type":"n","id":"names","data":{"\342\200\256":1,"\\u001b[31m":2}}\n'
}

@test "terminal: replay prints malicious events harmlessly, as a table and as events" {
    nasty_events | publish
    on_terminal 'replay; replay -o table; replay -o ndjson; replay -o positions'
    grep -qF 'n\u202e' shown
    grep -qF 'k\u061c\u200f\ufffe' shown
    # A pipe gets the bytes.
    replay >out
    LC_ALL=C grep -qF $'\xc2\x9b31m' out
    replay | publish -s other.db
    cmp out <(replay -s other.db)
}

@test "terminal: spool sql -o ndjson is JSON there, too, and the same" {
    nasty_events | publish
    on_terminal "spool sql -o ndjson 'SELECT seq, id, data, type FROM events'"
    spool sql -o ndjson 'SELECT seq, id, data, type FROM events' >out
    [ "$(jq -ac . shown)" = "$(jq -ac . out)" ]
}

@test "terminal: attributes in a spool written by others are harmless, too" {
    publish -t n --id e1 -k k -d 1
    consume -g g --from start -- sh -c 'exit 65' 2>/dev/null || [ $? -eq 1 ]
    local type=$'a\e[31m\u009b' id=$'i\n\u202e' subject=$'\r\177\u0085' source=$'\a'
    edit_events "type='$type',id='$id',subject='$subject',source='$source' WHERE seq=1"
    on_terminal 'replay; replay -o table; dlq list; dlq list -o ndjson; dlq show -g g; dlq show -g g -o ndjson
        consume -g h --from start -a 1 -- false; consume -g h2 --from start --dry-run; spool group'
    grep -qF 'a\x1b[31m\u009b' shown
}

@test "terminal: a handler's stderr is harmless, live and in the dead letter" {
    each_nasty printf '%s\n' >said
    nasty_events | publish
    on_terminal 'consume -g g --from start -a 1 -- sh -c "cat said >&2; exit 7"
        dlq list; dlq show -g g; dlq stats'
    grep -qF '\x1b]0;x\x07' shown
    grep -qF '日本語' shown
}

@test "terminal: dead letters as objects are harmless there, and the event keeps its bytes in a pipe" {
    each_nasty printf '%s\n' >said
    nasty_events | publish
    consume -g g --from start -a 1 -- sh -c 'cat said >&2; exit 7' 2>/dev/null || [ $? -eq 1 ]
    on_terminal 'dlq list -o ndjson; dlq stats -o ndjson'
    on_terminal 'dlq show -g g -o ndjson'
    [ "$(dlq show -g g -o ndjson raw | grep -oF "$(replay raw)" | wc -l)" -eq 1 ]
}

@test "terminal: a handler's word and name are printed harmlessly" {
    publish -t n -d 1
    on_terminal $'consume -g g --from start -a 1 -- $\'./no\\e[31mne\\u202e\''
    grep -qF 'no\x1b[31mne\u202e' shown
}

# The commands with a text wherever the user may put one.
wherever() { # TEXT
    publish -t x "$1"
    publish -t x -- "$1"
    publish -t x --"$1"
    publish -t "$1" -d 1 --echo >/dev/null
    publish -t x -k "$1" -d 1
    publish -t x --id "$1" -d 1
    publish -t x --id "$1" -d 2
    publish -t x --source "$1" -d 1
    publish -t x -d "$1"
    publish -t x -d "@$1"
    publish -t x --max-size "$1" -d 1
    publish -t x --expect-version "$1" -d 1
    publish -t x --expect-version 5 -k "$1" -d 1
    publish -t x --delay "$1" -d 1
    publish -t x --id-from "$1" -d 1
    publish -t x --id-from "/$1" -d 1
    publish -t x --rejects "none/$1" -d 1
    publish -t x -s "none/../$1/" -d 1
    publish -t x -s "$1" -d 1
    printf '%s\n' "$1" | publish -t x
    printf '{"type":"a","%s":1}\n' "$1" | publish
    printf '{"type":"a","time":"%s"}\n' "$1" | publish
    printf '{"specversion":"1.0","type":"%s"}\n' "$1" | publish -t x
    printf '{"a":1,"%s":1,"%s":2}\n' "$1" "$1" | publish -t x
    EVENT_ID=$1 EVENT_CORRELATIONID=$1 TRACEPARENT=$1 EVENT_GROUP=$1 publish -t x -d 1
    EVENT_SPOOL=$1/$1 replay
    replay "$1"
    replay -g "$1"
    replay -t "$1"
    replay -t "$1..x"
    replay --from "$1"
    replay --speed "$1"
    replay -o "$1"
    replay -s "$1"
    consume -g "$1" -- true
    consume -g g -- "none/$1"
    consume -g g --backoff "$1" -- true
    consume -g g --dead-on "$1" -- true
    dlq "$1"
    dlq list -g "$1"
    dlq show "$1"
    dlq retry -g "$1"
    dlq list --older "$1"
    spool "$1"
    spool group show "$1"
    spool group drop "$1"
    ev "$1"
}

@test "terminal: messages print the user's arguments harmlessly, as text and as objects" {
    publish -t x -d 1 2>/dev/null
    consume -g g --from start -- true
    {
        declare -f wherever each_nasty
        echo 'each_nasty wherever'
    } >all
    on_terminal '. ./all'
    [ "$(grep -c . shown)" -gt 500 ]
    grep -qF '\x1b]0;x\x07' shown
    [ ! -e hacked ]
}

@test "terminal: with --log json every message about anything is one object" {
    publish -t x -d 1 2>/dev/null
    consume -g g --from start -- true
    for command in publish replay consume dlq spool; do
        eval "$command() { command $command \"\$@\" --log json; }"
    done
    # --log goes in front of what it must not follow.
    consume() { command consume --log json "$@"; }
    dlq() { command dlq "$1" --log json "${@:2}"; }
    spool() { command spool "$1" --log json "${@:2}"; }
    publish() { command publish --log json "$@"; }
    ev() { :; }
    each_nasty wherever 2>messages >/dev/null || true
    harmless messages
    grep -v '^{' messages >others || true
    # Wrong usage is told before --log is known.
    [ "$(grep -cv ' (see .* --help)$' others)" -eq 0 ]
    grep '^{' messages | jq -es 'length > 300 and all(.cmd and .msg and .level and .time)'
}

@test "terminal: --help and --version are harmless, and fit the terminal" {
    on_terminal 'for c in publish replay consume dlq spool ev; do $c --help; $c --version; done'
    run -1 grep -E '^.{81,}' shown
}

@test "terminal: an empty listing reports that, and names the filters that were given" {
    publish -t n -k s -d 1
    on_terminal '
        saga list
        saga list --state stuck
        fsm list -m order
        replay -t "other.#" -k s --from 1
        replay -g none --to start
        spool breaker
        spool bucket list
        spool key
        spool group
        trace --graph -t n
        dlq list -k "a b"'
    [ "$(cat shown)" = "saga: no sagas in $EVENT_SPOOL
saga: no sagas in $EVENT_SPOOL match --state stuck
fsm: no states of subjects in $EVENT_SPOOL match -m order
replay: no events in $EVENT_SPOOL match -t other.# -k s --from 1
replay: no events in $EVENT_SPOOL match -g none --to start
spool: no breakers in $EVENT_SPOOL
spool: no buckets in $EVENT_SPOOL
spool: no keys in $EVENT_SPOOL
spool: no groups in $EVENT_SPOOL
trace: no causes and effects in $EVENT_SPOOL match -t n
dlq: no dead letters in $EVENT_SPOOL match -k \"a b\"" ]
    # To a script it is a listing like any other, and what is there is no note.
    run -0 --separate-stderr sh -c 'replay -t other; spool key; saga list; dlq list -k x'
    [ -z "$output$stderr" ]
}

load helper

# Dead letters: charge has 1 (order.placed, order-1), 2 (order.paid, order-2) and 3 (order.placed,
# order-3), email has 1. Those of charge differ in their error messages.
letters() {
    cat >in <<'END'
{"specversion":"1.0","id":"a","source":"/s","type":"order.placed","subject":"order-1","data":{"n": 1.0}}
{"specversion":"1.0","id":"b","source":"/s","type":"order.paid","subject":"order-2"}
{"specversion":"1.0","id":"c","source":"/s","type":"order.placed","subject":"order-3"}
END
    publish in
    consume -g charge --from start -a 2 --backoff 0 -- sh -c '
        case $EVENT_SEQ in
        1) echo connection refused >&2; exit 7 ;;
        2) exit 65 ;;
        3) echo card declined >&2; exit 8 ;;
        esac' || [ $? -eq 1 ]
    consume -g email --from start -n 1 -a 1 -- sh -c 'echo timed out >&2; exit 9' || [ $? -eq 1 ]
}

# listed EXPECTED ARG...: the letters that dlq list ARG... shows, as group:seq.
listed() {
    local want=$1
    shift
    run -0 --separate-stderr dlq list "$@"
    [ -z "$stderr" ]
    [ "$(jq -r '"\(.group):\(.seq)"' <<<"$output" | paste -sd ' ' -)" = "$want" ] || {
        printf 'dlq list %s: %s\n' "$*" "$output" >&2
        return 1
    }
}

show='echo "$EVENT_SEQ $EVENT_ATTEMPT"'

@test "dlq: no dead letters are an empty list, and no error" {
    publish -t n -d 1
    run -0 --separate-stderr dlq list
    [ -z "$output$stderr" ]
    run -0 --separate-stderr dlq list -o table
    [ -z "$output$stderr" ]
}

@test "dlq: list has a line for each letter, by group and position" {
    letters
    run -0 --separate-stderr dlq list
    [ -z "$stderr" ]
    [ "$(jq -c 'del(.died)' <<<"$output")" = \
        '{"seq":1,"group":"charge","id":"a","source":"/s","type":"order.placed","subject":"order-1","attempts":2,"earlier":0,"status":7,"reason":"exit status 7"}
{"seq":2,"group":"charge","id":"b","source":"/s","type":"order.paid","subject":"order-2","attempts":1,"earlier":0,"status":65,"reason":"exit status 65"}
{"seq":3,"group":"charge","id":"c","source":"/s","type":"order.placed","subject":"order-3","attempts":2,"earlier":0,"status":8,"reason":"exit status 8"}
{"seq":1,"group":"email","id":"a","source":"/s","type":"order.placed","subject":"order-1","attempts":1,"earlier":0,"status":9,"reason":"exit status 9"}' ]
    [[ ${lines[0]} =~ ',"died":"'[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}'Z",' ]]
}

@test "dlq: list is a table with -o table" {
    letters
    run -0 --separate-stderr dlq list -o table
    [ -z "$stderr" ]
    [ "$(sed -E 's/  +[0-9]+[smhd]  /  AGE  /' <<<"$output")" = 'SEQ  GROUP   TYPE          SUBJECT  ATTEMPTS  EARLIER  DIED  REASON
  1  charge  order.placed  order-1         2        0  AGE  exit status 7
  2  charge  order.paid    order-2         1        0  AGE  exit status 65
  3  charge  order.placed  order-3         2        0  AGE  exit status 8
  1  email   order.placed  order-1         1        0  AGE  exit status 9' ]
}

@test "dlq: on a terminal list is a table and show is text" {
    command -v script >/dev/null || skip 'no script(1) to make a terminal with'
    letters
    run -0 script -qec 'dlq list' /dev/null </dev/null
    [[ ${lines[0]} == 'SEQ  GROUP '* ]]
    run -0 script -qec 'dlq list -o ndjson -n 1' /dev/null </dev/null
    [[ ${lines[0]} == '{"seq":1,"group":"charge",'* ]]
    run -0 script -qec 'dlq show -n 1' /dev/null </dev/null
    [[ ${lines[0]} == 'seq 1 in group charge, dead since '* ]]
    run -0 script -qec 'dlq list -g email -k "no thing"' /dev/null </dev/null
    [ "$(tr -d '\r' <<<"$output")" = "dlq: no dead letters in $EVENT_SPOOL match -g email -k \"no thing\"" ]
    run -0 script -qec 'dlq stats --error=zzz' /dev/null </dev/null
    [ "$(tr -d '\r' <<<"$output")" = "dlq: no dead letters in $EVENT_SPOOL match --error zzz" ]
    dlq drop --all
    run -0 script -qec 'dlq list' /dev/null </dev/null
    [ "$(tr -d '\r' <<<"$output")" = "dlq: no dead letters in $EVENT_SPOOL" ]
}

@test "dlq: each filter leaves out the letters that it does not match" {
    letters
    listed 'charge:1 charge:2 charge:3 email:1'
    listed 'email:1' -g email
    listed 'charge:1 charge:3 email:1' -t order.placed
    listed 'charge:1 charge:2 charge:3 email:1' -t 'order.*'
    listed 'charge:1 charge:2 charge:3 email:1' -t order.paid -t order.placed
    listed '' -t order
    listed 'charge:1 email:1' -k order-1
    listed '' -k order
    listed 'charge:1' --error refused
    listed 'charge:2' --error 'status 65'
    listed '' --error REFUSED
    listed 'charge:1 charge:2' -n 2
    listed 'charge:3' -t order.placed -n 1 -k order-3
    listed 'charge:1 charge:2 charge:3 email:1' --from 1h
    listed 'charge:1 charge:2 charge:3 email:1' --from today --to 2999-01-01
    listed '' --to 1h
    listed '' --from 2999-01-01
    listed 'charge:1 email:1' 1
    listed 'charge:1 charge:3 email:1' c a
    listed 'charge:3' -g charge 3
    listed 'charge:1' -g charge -t order.placed --error 'exit status 7' --from 1h a b
    listed '' -g email 3
}

@test "dlq: --error looks at the last attempt only" {
    publish -t n -d 1
    consume -g g --from start -a 2 --backoff 0 -- sh -c 'echo "attempt $EVENT_ATTEMPT" >&2; exit "$EVENT_ATTEMPT"' || [ $? -eq 1 ]
    listed 'g:1' --error 'attempt 2'
    listed '' --error 'attempt 1'
    listed 'g:1' --error 'exit status 2'
    listed '' --error 'exit status 1'
}

@test "dlq: show prints each attempt with its stderr, and the event byte for byte" {
    letters
    run -0 --separate-stderr dlq show -g charge 1
    [ -z "$stderr" ]
    line='{"specversion":"1.0","id":"a","source":"/s","type":"order.placed","subject":"order-1","data":{"n": 1.0}}'
    [[ $output == *"],\"event\":$line}" ]]
    [ "$(jq -c 'del(.died, .event) | del(.history[].time, .history[].took_ms)' <<<"$output")" = \
        '{"seq":1,"group":"charge","id":"a","source":"/s","type":"order.placed","subject":"order-1","attempts":2,"earlier":0,"status":7,"reason":"exit status 7","history":[{"status":7,"reason":"exit status 7","stderr":"connection refused\n"},{"status":7,"reason":"exit status 7","stderr":"connection refused\n"}]}' ]
    [ "$(jq -c '[.history[] | (.time | type), (.took_ms | type)] | unique' <<<"$output")" = '["number","string"]' ]
}

@test "dlq: show as text" {
    letters
    run -0 --separate-stderr dlq show -o text 1 -g charge
    [ -z "$stderr" ]
    [ "$(sed -E 's/[0-9]{4}-[0-9-]+T[0-9:.]+Z/TIME/; s/[0-9]+ ms/N ms/' <<<"$output")" = 'seq 1 in group charge, dead since TIME after 2 attempts
  TIME  exit status 7 (N ms)
    connection refused
  TIME  exit status 7 (N ms)
    connection refused
{"specversion":"1.0","id":"a","source":"/s","type":"order.placed","subject":"order-1","data":{"n": 1.0}}' ]
}

@test "dlq: show takes the filters, or all" {
    letters
    run -0 --separate-stderr dlq show --error declined
    [ "$(jq -r .id <<<"$output")" = c ]
    run -0 --separate-stderr dlq show
    [ "${#lines[@]}" -eq 4 ]
    run -0 --separate-stderr dlq show b c
    [ "$(jq -r .id <<<"$output")" = $'b\nc' ]
}

@test "dlq: show is 1 for an event that is not a dead letter, and when there are no letters" {
    letters
    publish -t n --id d -d 1
    run -1 --separate-stderr dlq show 4
    [ -z "$output" ]
    [ "$stderr" = 'dlq: 4 is not a dead letter' ]
    run -1 --separate-stderr dlq show d 4
    [ "$stderr" = 'dlq: d is not a dead letter, nor are the others' ]
    run -1 --separate-stderr dlq show -k nobody
    [ "$stderr" = "dlq: no dead letters in $EVENT_SPOOL match -k nobody" ]
    run -1 --separate-stderr dlq show 2 -g email -t 'order.*'
    [ "$stderr" = 'dlq: 2 is not a dead letter that matches -g email -t "order.*"' ]
    dlq drop --all
    run -1 --separate-stderr dlq show
    [ "$stderr" = "dlq: no dead letters in $EVENT_SPOOL" ]
}

@test "dlq: an event that is not in the spool is 66" {
    letters
    for verb in list show retry drop; do
        run -66 --separate-stderr dlq $verb 99
        [ -z "$output" ]
        [ "$stderr" = "dlq: no event at position 99 in $EVENT_SPOOL" ]
        run -66 --separate-stderr dlq $verb 1 nosuch
        [ "$stderr" = "dlq: no event with id \"nosuch\" in $EVENT_SPOOL" ]
    done
    listed 'charge:1 charge:2 charge:3 email:1'
}

@test "dlq: an id of digits is named as id:42" {
    publish -t n -d 1
    publish -t n --id 42 -d 1
    consume -g g --from start -a 1 -- false || [ $? -eq 1 ]
    listed 'g:2' id:42
    run -66 dlq list 42
}

@test "dlq: an id that two sources have is 65, with their positions" {
    printf '{"type":"n","id":"x","source":"/%s"}\n' a b | publish
    consume -g g --from start -a 1 -- false || [ $? -eq 1 ]
    run -65 --separate-stderr dlq retry x
    [ -z "$output" ]
    [[ $stderr == 'dlq: '*'"x"'*1*2* ]]
}

@test "dlq: an unknown group is 66, a missing spool too" {
    letters
    for verb in list show 'retry --all' 'drop --all'; do
        # shellcheck disable=SC2086 # the verb and its option
        run -66 --separate-stderr dlq $verb -g chrage
        [ -z "$output" ]
        [[ $stderr == "dlq: there is no group \"chrage\" in $EVENT_SPOOL; did you mean \"charge\"?"* ]]
        # shellcheck disable=SC2086
        run -66 --separate-stderr dlq $verb -s none.db
        [ "$stderr" = "dlq: $PWD/none.db: there is no spool; publish creates one, -s or EVENT_SPOOL names another" ]
    done
    [ ! -e none.db ]
}

@test "dlq: retried letters are delivered again, with fresh attempts" {
    letters
    run -0 --separate-stderr dlq retry -g charge --all
    [ "$output" = '3 dead letters given back' ]
    [ -z "$stderr" ]
    listed 'email:1'
    run -0 --separate-stderr consume -g charge -- sh -c "$show"
    [ "$(sort <<<"$output")" = $'1 1\n2 1\n3 1' ]
    [ -z "$stderr" ]
    run -0 --separate-stderr consume -g charge -- sh -c "$show"
    [ -z "$output" ]
}

@test "dlq: a retried letter may die again, after all its attempts, and keeps its history" {
    letters
    dlq retry 1 -g charge
    run -1 --separate-stderr consume -g charge -a 2 --backoff 0 -- sh -c 'echo again >&2; exit 66'
    [ "$(grep -c 'exit status 66, attempt [12]: ' <<<"$stderr")" -eq 2 ]
    run -0 --separate-stderr dlq show 1 -g charge
    [ "$(jq -c '[.attempts, .status, [.history[] | [.status, .stderr]]]' <<<"$output")" = \
        '[2,66,[[7,"connection refused\n"],[7,"connection refused\n"],[66,"again\n"],[66,"again\n"]]]' ]
    run -0 dlq show 1 -g charge -o text
    [[ ${lines[0]} == 'seq 1 in group charge, dead since '*' after 2 attempts, dead again: 2 attempts before it was given back' ]]
    run -0 dlq list -g charge -o ndjson
    [ "$(jq -c 'select(.seq == 1) | [.attempts, .earlier]' <<<"$output")" = '[2,2]' ]
}

@test "dlq: a retry wakes a consumer that follows" {
    publish -t n -d 1
    background consume -g g --from start -f -a 1 -- sh -c "[ -e mended ] && $show" >out
    dead() { dlq list -g g | grep -q .; }
    wait_for dead
    touch mended
    run -0 dlq retry --all
    [ "$output" = '1 dead letter given back' ]
    wait_for grep -qx '1 1' out
}

@test "dlq: retry by position, id, filter and count, and it prints how many" {
    letters
    run -0 dlq retry c
    [ "$output" = '1 dead letter given back' ]
    listed 'charge:1 charge:2 email:1'
    run -0 dlq retry 1
    [ "$output" = '2 dead letters given back' ]
    listed 'charge:2'
    run -0 dlq retry -k nobody
    [ "$output" = '0 dead letters given back' ]
    run -0 dlq retry -t order.paid --error 65
    [ "$output" = '1 dead letter given back' ]
    listed ''
}

@test "dlq: -n retries N letters" {
    letters
    run -0 dlq retry -n 2
    [ "$output" = '2 dead letters given back' ]
    listed 'charge:3 email:1'
}

@test "dlq: dropped letters are gone, their events stay in the log" {
    letters
    replay >before
    run -0 --separate-stderr dlq drop -g charge -t order.placed
    [ "$output" = '2 dead letters dropped' ]
    [ -z "$stderr" ]
    listed 'charge:2 email:1'
    run -0 dlq drop a
    [ "$output" = '1 dead letter dropped' ]
    listed 'charge:2'
    run -0 dlq drop --all
    [ "$output" = '1 dead letter dropped' ]
    listed ''
    replay | cmp before -
    run -0 consume -g charge -- sh -c "$show"
    [ -z "$output" ]
}

@test "dlq: an event whose letter was dropped has no history when it dies in another group" {
    letters
    dlq drop --all
    consume -g new --from start -n 1 -a 1 -- false || [ $? -eq 1 ]
    run -0 --separate-stderr dlq show
    [ "$(jq -c '[.group, (.history | length)]' <<<"$output")" = '["new",1]' ]
}

@test "dlq: --dry-run prints how many and changes nothing" {
    letters
    dlq show >before
    run -0 --separate-stderr dlq retry --all --dry-run
    [ "$output" = '4 dead letters would be given back' ]
    run -0 --separate-stderr dlq retry 3 --dry-run
    [ "$output" = '1 dead letter would be given back' ]
    run -0 --separate-stderr dlq drop -g charge --dry-run
    [ "$output" = '3 dead letters would be dropped' ]
    [ -z "$stderr" ]
    dlq show | cmp before -
}

@test "dlq: retry and drop refuse to take all letters without --all" {
    letters
    for verb in retry drop; do
        run -64 --separate-stderr dlq $verb
        [ -z "$output" ]
        [ "$stderr" = "dlq: name EVENTs, a filter such as -g GROUP, or --all (see dlq $verb --help)" ]
        run -64 dlq $verb --dry-run
    done
    listed 'charge:1 charge:2 charge:3 email:1'
}

@test "dlq: retry and drop of an event that is not a dead letter are 1" {
    letters
    dlq drop 3
    for verb in retry:'given back' drop:dropped; do
        run -1 --separate-stderr dlq "${verb%%:*}" 3
        [ "$output" = "0 dead letters ${verb#*:}" ]
        [ "$stderr" = 'dlq: 3 is not a dead letter' ]
    done
    run -1 --separate-stderr dlq retry 2 -g email
    [ "$output" = '0 dead letters given back' ]
    [ "$stderr" = 'dlq: 2 is not a dead letter that matches -g email' ]
    listed 'charge:1 charge:2 email:1'
}

@test "dlq: hundreds of letters are listed, retried and dropped in one go" {
    seq 1200 | publish -t n
    consume -g g --from start -n 600 -j 8 -a 1 -- false 2>/dev/null || [ $? -eq 1 ]
    consume -g h --from start -n 600 -j 8 -a 1 -- false 2>/dev/null || [ $? -eq 1 ]
    listed "$(seq -f 'g:%.0f' -s ' ' 600) $(seq -f 'h:%.0f' -s ' ' 600)"
    run -0 dlq retry -g g --all
    [ "$output" = '600 dead letters given back' ]
    run -0 dlq drop --all
    [ "$output" = '600 dead letters dropped' ]
    run -0 consume -g g --auto-ack
    [ "${#lines[@]}" -eq 1200 ]
}

@test "dlq: a letter that was retried while its group was paused waits for the group" {
    letters
    spool group pause charge
    run -0 dlq retry -g charge --all
    run -75 consume -g charge -- true
    spool group resume charge
    run -0 consume -g charge -- sh -c "$show"
    [ "${#lines[@]}" -eq 3 ]
}

@test "dlq: nothing in an event or its stderr steers a terminal, in text and in tables" {
    printf '{"type":"n","id":"x","subject":"a\xe2\x80\xaeb","data":"\xc2\x9b31m \\u001b]0;x\\u0007 \xe2\x80\xae"}\n' | publish
    consume -g g --from start -a 1 -- sh -c 'printf "\033[31m \302\233 \342\200\256 \r \177\n" >&2; exit 1' 2>/dev/null || [ $? -eq 1 ]
    { dlq show -o text; dlq list -o table; } >out
    grep -qF '    \x1b[31m \u009b \u202e \r \x7f' out
    run -1 env LC_ALL=C grep -P '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae' out
}

@test "dlq: nothing in a handler's stderr steers a terminal, in ndjson" {
    publish -t n -d 1
    consume -g g --from start -a 1 -- sh -c 'printf "\033[31m \302\233 \342\200\256 \r \177\n" >&2; exit 1' 2>/dev/null || [ $? -eq 1 ]
    dlq show >out
    run -1 env LC_ALL=C grep -P '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae' out
    jq -j '.history[0].stderr' out >stderr
    printf '\033[31m \302\233 \342\200\256 \r \177\n' | cmp - stderr
}

@test "dlq: stderr whose beginning was cut within a character keeps its lines" {
    publish -t n -d 1
    consume -g g --from start -a 1 -- sh -c 'yes é | head -c 5003 >&2; exit 1' 2>/dev/null || [ $? -eq 1 ]
    run -0 --separate-stderr dlq show
    [ "$(jq -r '.history[0].stderr' <<<"$output" | grep -cx é)" -gt 1300 ]
}

@test "dlq: wrong usage is 64 and says what is wrong" {
    letters
    usage() { # MESSAGE ARG...
        local message=$1
        shift
        run -64 --separate-stderr dlq "$@"
        [ -z "$output" ]
        [ "$stderr" = "dlq: $message" ] || {
            echo "dlq $*: $stderr" >&2
            return 1
        }
    }
    usage 'wants a verb: list, show, stats, try, retry or drop (see dlq --help)'
    usage 'unknown verb "lits", did you mean list? The verbs are list, show, stats, try, retry or drop (see dlq --help)' lits
    for option in -g -t -k --error; do
        usage "$option is empty (an unset variable?) (see dlq retry --help)" retry --all $option ''
    done
    for point in now 17; do
        usage '--from wants a time here, such as 2h, yesterday or 2026-11-21T10:00:00Z (see dlq drop --help)' drop --from $point
        usage '--to wants a time here, such as 2h, yesterday or 2026-11-21T10:00:00Z (see dlq list --help)' list --to $point
    done
    usage '-n wants a whole number from 1 on: "0" (see dlq drop --help)' drop -n 0
    usage '-o wants auto, table or ndjson: "xml" (see dlq list --help)' list -o xml
    usage '-o wants auto, text or ndjson: "table" (see dlq show --help)' show -o table
    listed 'charge:1 charge:2 charge:3 email:1'
}

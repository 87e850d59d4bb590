load helper

ids() { replay | jq -r .id | paste -sd' '; }

# ------------------------------------------------------------------------- lines, good and bad

@test "publish: each kind of line is stored or refused as in the table, and does not affect its neighbours" {
    local options input status message stored failed=0
    while IFS= read -r row; do
        [[ $row == \#* ]] && continue
        # A tab is white space to read, which would swallow empty columns.
        IFS=$'\037' read -r options input status message stored <<<"${row//$'\t'/$'\037'}"
        no_spool
        # shellcheck disable=SC2059,SC2086 # the table's columns are a format and words
        printf "$input" | { publish $options 2>err && echo 0 >code || echo $? >code; }
        sed -i '/^publish: created the spool/d; s/^publish: //' err
        if [ "$(cat code)" != "$status" ] || [ "$(cat err)" != "$(printf '%b' "$message")" ] ||
            { ! spool_missing && [ "$(replay | grep -o '"data":.*' | sed 's/^"data"://; s/}$//' |
                paste -sd' ')" != "$stored" ]; }; then
            printf 'row: %s\ngot: %s, %s\n' "$row" "$(cat code)" "$(cat err)"
            replay || true
            failed=1
        fi
    done <"$TOP/tests/data/publish-lines.tsv"
    [ "$failed" -eq 0 ]
}

@test "publish: a bad line is reported, the good lines around it are kept, and --rejects gets it unchanged" {
    printf '%s\n' '{"n":1}' '{"n":' '{"n":3}' >in
    run -65 --separate-stderr publish -t order.placed --rejects bad in
    [ "${stderr_lines[-1]}" = 'publish: in: line 2: unfinished object at byte 6 (input ends)' ]
    [ "$(cat bad)" = '{"n":' ]
    run -0 replay
    [ "$(jq -c .data <<<"$output" | paste -sd' ')" = '{"n":1} {"n":3}' ]
}

@test "publish: 128 levels are stored, 129 and a million are refused" {
    levels() { printf '[%.0s' $(seq "$1"); printf ']%.0s' $(seq "$1"); echo; }
    levels 128 >deep
    levels 129 >deeper
    publish -t x deep
    run -65 --separate-stderr publish -t x deeper
    [ "$stderr" = 'publish: deeper: line 1: nested deeper than 128 levels' ]
    replay | publish -s other.db
    cmp <(replay) <(replay -s other.db)
    run -65 --separate-stderr bash -c 'head -c 1000000 /dev/zero | tr "\0" "[" | publish -t x'
    [ "$stderr" = 'publish: line 1: nested deeper than 128 levels' ]
}

@test "publish: a line over 1 MiB is refused and skipped, however long it is" {
    run -65 --separate-stderr bash -c '{ echo 1; head -c 50000000 /dev/zero | tr "\0" 7; echo; echo 3; } | publish -t x'
    [ "${stderr_lines[-1]}" = 'publish: line 2: longer than 1048576 bytes (--max-size)' ]
    run -0 replay
    [ "$(jq -c .data <<<"$output" | paste -sd' ')" = '1 3' ]
}

@test "publish: numbers keep their digits, all 400 of them" {
    number=$(printf '7%.0s' {1..400})
    echo "{\"n\":$number,\"m\":0.1,\"o\":1.0,\"p\":-0,\"q\":1e400}" | publish -t x
    run -0 replay
    [[ $output == *"\"data\":{\"n\":$number,\"m\":0.1,\"o\":1.0,\"p\":-0,\"q\":1e400}}" ]]
}

@test "publish: 100,000 keys in one object are no problem" {
    seq 100000 | sed 's/.*/"k&":0/' | paste -sd, | sed 's/.*/{&}/' >in
    run -0 publish --max-size 4M -t x in
    { sed 's/}$/,"k5":1}/' in; } >twice
    run -65 --separate-stderr publish --max-size 4M -t x twice
    [ "$stderr" = 'publish: twice: line 1: duplicate key "k5"' ]
}

@test "publish: empty input publishes nothing and reports that" {
    run -0 --separate-stderr publish -t x </dev/null
    [ "${stderr_lines[-1]}" = 'publish: the input was empty: nothing published' ]
    run -0 replay
    [ -z "$output" ]
}

@test "publish: 10,000 lines of rubbish are 10,000 messages, which are objects with --log json" {
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    LC_ALL=C awk -v seed="$seed" 'BEGIN {
        srand(seed)
        n = split("\" \\ \\u001b \\u0000 \\ud800 { } [ ] : , 1 - 0 e true null \"a\" \033[31m \302\233 \342\200\256 \357\277\276 \177 \r", piece, " ")
        for (line = 0; line < 10000; line++) {
            text = "!"
            for (i = int(rand() * 20); i > 0; i--) {
                c = int(rand() * 256)
                text = text (rand() < 0.5 ? piece[1 + int(rand() * n)] : sprintf("%c", c == 10 ? 0 : c))
            }
            print text
        }
    }' >in
    run -65 --separate-stderr publish --log json -t x in
    [ -z "$output" ]
    tail -n +2 <<<"$stderr" >messages
    [ "$(wc -l <messages)" -eq 10000 ]
    jq -es 'length == 10000 and all(.level == "error" and .cmd == "publish" and .code == 65 and (.msg | startswith("in: line ")))' <messages
    run -1 env LC_ALL=C grep -naE $'[\x01-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae' messages
    run -0 replay
    [ -z "$output" ]
}

@test "publish: --rejects appends the lines to its file in order, except lines that are too long" {
    echo before >bad
    printf '%s\n' 'x ' 1 '12345' '{"a"' >in
    run -65 --separate-stderr publish -t x --max-size 4 --rejects bad in
    [ "$(printf '%s\n' "${stderr_lines[@]:1}")" = "publish: in: line 1: unexpected \"x\" at byte 1
publish: in: line 3: longer than 4 bytes (--max-size)
publish: in: line 4: unfinished object at byte 5 (input ends)" ]
    [ "$(cat bad)" = $'before\nx \n{"a"' ]
    [ "$(ids | wc -w)" -eq 1 ]
    run -65 --separate-stderr publish -t x --rejects bad -d '{'
    [ "$(tail -n 1 bad)" = '{' ]
}

@test "publish: --rejects that cannot be opened is 73, and nothing is stored" {
    run -73 --separate-stderr publish -t x --rejects none/bad -d 1
    [ "$stderr" = 'publish: none/bad: cannot open it: No such file or directory' ]
    spool_missing
}

@test "publish: rejected lines can be fixed and published, and every event is there once" {
    printf '%s\n' '{"n":1}' '{"n":2' '{"n":3}' >in
    publish -t x --id-from /n --source s --rejects bad in 2>/dev/null || [ $? -eq 65 ]
    sed 's/$/}/' bad | publish -t x --id-from /n --source s
    publish -t x --id-from /n --source s --rejects bad in 2>/dev/null || [ $? -eq 65 ]
    [ "$(ids)" = '1 3 2' ]
}

@test "publish: an option's bytes that are not UTF-8 are refused, not changed" {
    for option in '-k' '--id' '--source'; do
        run -64 --separate-stderr publish -t x "$option" $'caf\xe9' -d 1
    done
    run -64 --separate-stderr publish -t $'caf\xe9' -d 1
    spool_missing
}

@test "publish: -t takes words separated by dots, not a pattern" {
    for type in 'Mail Wanted' a..b a. . 'order.*' '#' a*b; do
        run -64 --separate-stderr publish -t "$type" -d 1
        [[ $stderr == "publish: -t wants a type like order.placed, not \"$type\": "* ]]
    done
    spool_missing
}

@test "publish: whatever type an event from elsewhere has, a pattern can match it" {
    for type in 'Mail Wanted' a..b 'order.*' '#' a*b com.example/x; do
        echo "{\"type\":\"$type\"}"
    done >in
    publish in
    replay | publish -s copy.db
    cmp <(replay) <(replay -s copy.db)
    while read -r type; do
        [ "$(replay -t "=$type" | jq -r .type)" = "$type" ]
        run -0 consume -g "g $type" -t "=$type" --from start -- printenv EVENT_TYPE
        [ "$output" = "$type" ]
    done < <(jq -r .type in)
    run -64 --separate-stderr consume -g h -t 'Mail Wanted' --from start -- cat
    [ "$stderr" = 'consume: -t wants a pattern like order.* or #, not "Mail Wanted": a space in it; =TYPE names a type as it is (see consume --help)' ]
}

# ----------------------------------------------------------------------------- what is filled in

@test "publish: with -t a line is data, and everything else is filled in" {
    publish -t order.placed -k order-42 --source /shop -d '{"total":99.5}'
    run -0 replay
    id='[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'
    [[ $output =~ ^'{"specversion":"1.0","id":"'($id)'","source":"/shop","type":"order.placed","subject":"order-42","time":"'20..-..-..T..:..:..\....Z'","correlationid":"'($id)'","data":{"total":99.5}}'$ ]]
    [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ]
}

@test "publish: the source is the host's name, or EVENT_DEFAULT_SOURCE" {
    publish -t x -d 1
    EVENT_DEFAULT_SOURCE=/shop publish -t x -d 2
    run -0 replay
    [ "$(jq -r .source <<<"$output" | paste -sd' ')" = "/$(uname -n) /shop" ]
}

@test "publish: a complete CloudEvent is stored byte for byte" {
    line='{ "type":"a" , "id" : "1","source":"s","specversion":"1.0","data" : {"n":1.50,"u":"\u00e9\/"}, "ext":true}'
    printf '  %s \r\n' "$line" | publish
    run -0 replay
    [ "$output" = "$line" ]
}

@test "publish: missing attributes are added at the front, nothing else moves" {
    echo '{ "type":"a" , "data":1.0}' | publish --id i --source s
    run -0 replay
    [[ $output =~ ^'{"specversion":"1.0","id":"i","source":"s","time":"'[^\"]*'","correlationid":"i", "type":"a" , "data":1.0}'$ ]]
}

@test "publish: without specversion common names for attributes are understood" {
    echo '{"id":"e1","type":"order.placed","timestamp":1795255200000,"aggregateId":"order-1","payload":{"n":1.0},"metadata":{"correlationId":"c","causationId":"b","userId":7}}' |
        publish --source s
    run -0 replay
    [ "$output" = '{"specversion":"1.0","source":"s","id":"e1","type":"order.placed","time":"2026-11-21T10:00:00.000Z","subject":"order-1","data":{"n":1.0},"correlationid":"c","causationid":"b","userid":7}' ]
    run -65 --separate-stderr publish <<<'{"type":"a","metadata":{"tags":[1]}}'
    [ "$stderr" = 'publish: line 1: attribute "tags" is an array: does it belong in "data"?' ]
    run -65 --separate-stderr publish <<<'{"type":"a","timestamp":1,"time":"2026-11-21T10:00:00Z"}'
    [ "$stderr" = 'publish: line 1: duplicate key "time"' ]
}

@test "publish: null means absent" {
    echo '{"type":"a","id":null,"subject":null,"data":null}' | publish --id i -k s
    run -0 replay
    [ "$(jq -c '[.id,.subject,.data,has("data")]' <<<"$output")" = '["i","s",null,true]' ]
}

@test "publish: --id-from and --key-from take ids and subjects from the lines" {
    printf '%s\n' '{"order":{"id":7},"who":"ann"}' '{"order":{"id":"x/y"},"who":"bob"}' '{"who":"eve"}' '{"order":{"id":[]}}' >in
    run -65 --separate-stderr publish -t x --id-from /order/id --key-from /who in
    [ "${stderr_lines[-2]}" = 'publish: in: line 3: --id-from: there is nothing at "/order/id"' ]
    [ "${stderr_lines[-1]}" = 'publish: in: line 4: --id-from: what is at "/order/id" is neither a string nor a number' ]
    run -0 replay
    [ "$(jq -r '.id + " " + .subject' <<<"$output")" = $'7 ann\nx/y bob' ]
    run -64 --separate-stderr publish -t x --id-from order in
    [ "$stderr" = 'publish: --id-from "order" is not a JSON pointer: it does not begin with "/" (see publish --help)' ]
}

@test "publish: -d @FILE reads one event's data, which may span several lines" {
    printf '{\n  "a": [1,\n 2]\n}\n' >data.json
    publish -t x -d @data.json
    run -0 replay
    [ "$(jq -c .data <<<"$output")" = '{"a":[1,2]}' ]
    run -66 publish -t x -d @missing
    run -64 publish -t x -d 1 file
}

@test "publish: missing attributes are put where the table shows, and nothing else moves" {
    local variables options input line failed=0
    while IFS= read -r row; do
        [[ $row == \#* ]] && continue
        # A tab is white space to read, which would swallow empty columns.
        IFS=$'\037' read -r variables options input line <<<"${row//$'\t'/$'\037'}"
        no_spool
        # shellcheck disable=SC2046,SC2059,SC2086 # the table's columns are a format and words
        printf "$input" | env $(printf '%b' "$variables") publish --id i --source /s $options 2>err || true
        replay 2>>err | sed 's/"time":"20[2-9][0-9-]*T[0-9:.]*Z"/"time":"T"/' >got || true
        if [ "$(cat got)" != "$line" ]; then
            printf 'row: %s\ngot: %s\n' "$row" "$(cat got err)"
            failed=1
        fi
    done <"$TOP/tests/data/publish-made.tsv"
    [ "$failed" -eq 0 ]
}

@test "publish: an event gets the time of its publishing, in UTC, to the millisecond" {
    before=$(date -u +%Y-%m-%dT%H:%M:%S.000Z)
    TZ=Asia/Tokyo publish -t x -d 1
    after=$(date -u +%Y-%m-%dT%H:%M:%S.999Z)
    time=$(replay | jq -r .time)
    [[ ! $time < $before && ! $time > $after ]]
}

@test "publish: generated ids are in order" {
    seq 3000 | publish -t x
    replay | jq -r .id >ids
    sort -u ids | cmp - ids
    [ "$(wc -l <ids)" -eq 3000 ]
}

@test "publish: --id-from and --key-from take escaped strings of any length, both at once" {
    long=$(printf 'x%.0s' {1..900})
    echo "{\"a\":\"i\\u0062${long:0:30}\",\"b\":\"k\\u0062$long\"}" | publish -t x --id-from /a --key-from /b
    [ "$(replay | jq -r '"\(.id) \(.subject) \(.correlationid)"')" = "ib${long:0:30} kb$long ib${long:0:30}" ]
}

@test "publish: --id-from takes ids of whole events, and does not replace one" {
    printf '%s\n' '{"type":"a","data":{"n":7}}' ' {"type":"a","data":{"n":8}}' '{"type":"a","id":"own","data":{"n":9}}' |
        publish --id-from /data/n
    [ "$(ids)" = '7 8 own' ]
}

@test "publish: an attribute has at most 1,024 bytes" {
    text=$(printf 'a%.0s' {1..1024})
    publish -t "$text" -k "$text" --id "$text" --source "$text" -d 1
    [ "$(replay | jq -r '.type + .subject + .id + .source' | tr -d a | wc -c)" -eq 1 ]
    for name in type subject id source; do
        run -65 --separate-stderr publish -d "{\"type\":\"a\",\"$name\":\"${text}a\"}"
        [ "$stderr" = "publish: -d: \"$name\" is longer than 1024 bytes" ] || [ "$name" = type ]
    done
    run -64 --separate-stderr publish -t "${text}a" -d 1
    [[ $stderr == 'publish: -t wants a type; it is longer than 1024 bytes: "'* ]]
}

@test "publish: an event is one line, however -d is written" {
    publish -t x --id i1 -d $'{\n "a":\r\n 1\n}\n'
    publish -d $'{\n"type":"x","id":"i2",\n"data":[1,\n2]}'
    publish --echo -d $'\n{"specversion":"1.0","id":"i3","source":"s",\n"type":"x"}\n' >echoed
    run -0 replay
    [ "${#lines[@]}" -eq 3 ]
    [ "$(jq -c '[.id,.data]' <<<"$output" | paste -sd' ')" = '["i1",{"a":1}] ["i2",[1,2]] ["i3",null]' ]
    [ "$(wc -l <echoed)" -eq 1 ]
    replay | publish -s other.db
    cmp <(replay) <(replay -s other.db)
}

@test "publish: -d without -t is the event, and -d @- reads stdin" {
    publish -d '{"type":"a","id":"i1"}'
    echo '{"type":"a","id":"i2"}' >event
    publish -d @event
    echo '{"type":"a","id":"i3"}' | publish -d @-
    [ "$(ids)" = 'i1 i2 i3' ]
}

@test "publish: -d @FILE refuses a file that is not JSON as it is, or exceeds --max-size" {
    printf '{"a":"x\ny"}\n' >in
    run -65 --separate-stderr publish -t x -d @in
    [ "${stderr_lines[-1]}" = 'publish: -d: unexpected "\n" in a string at byte 8' ]
    printf '1\n2\n' >in
    run -65 --separate-stderr publish -t x -d @in
    [ "$stderr" = 'publish: -d: unexpected "2" at byte 3' ]
    printf '[1,\n2]\n' >in
    run -65 --separate-stderr publish -t x --max-size 4 -d @in
    run -65 --separate-stderr publish -t x --max-size 4 -d '12345'
    [ "$stderr" = 'publish: -d: longer than 4 bytes (--max-size)' ]
    [ -z "$(ids)" ]
}

@test "publish: -d @FILE with a byte order mark is read like a line with one" {
    printf '\357\273\277{"a":1}\r\n' >in
    publish -t x -d @in
    [ "$(replay | jq -c .data)" = '{"a":1}' ]
}

@test "publish: --text takes -d and its file's text as it is" {
    publish -t x --text -d ' say "hi" '
    printf 'one\n  two\n' >in
    publish -t x --text -d @in
    [ "$(replay | jq -c .data)" = '" say \"hi\" "
"one\n  two\n"' ] || [ "$(replay | jq -c .data)" = '" say \"hi\" "
"one\n  two"' ]
}

# ------------------------------------------------------------------------------- inside a handler

@test "publish: inside a handler the causal chain continues automatically" {
    publish -t order.placed --id e1 -d 1
    consume -g g --from start -- sh -c 'publish -t order.shipped -d 2; echo "{\"specversion\":\"1.0\",\"id\":\"x\",\"source\":\"s\",\"type\":\"order.billed\"}" | publish'
    run -0 replay -t order.shipped
    [ "$(jq -c '[.correlationid,.causationid,.hops,.source]' <<<"$output")" = "[\"e1\",\"e1\",1,\"/$(uname -n)/g\"]" ]
    run -0 replay -t order.billed
    [ "$output" = '{"hops":1,"correlationid":"e1","causationid":"e1","specversion":"1.0","id":"x","source":"s","type":"order.billed"}' ] ||
        [ "$output" = '{"correlationid":"e1","causationid":"e1","hops":1,"specversion":"1.0","id":"x","source":"s","type":"order.billed"}' ]
}

@test "publish: a handler gets a child span of its trace" {
    export TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
    publish -t x -d 1
    run -0 replay
    [[ $(jq -r .traceparent <<<"$output") =~ ^00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01$ ]]
    [ "$(jq -r .traceparent <<<"$output")" != "$TRACEPARENT" ]
}

@test "publish: a child keeps the known one of a trace's flags, and the others are zero" {
    for flags in ff fe 03 02; do
        TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-$flags publish -t x -d 1
    done
    [ "$(replay | jq -r '.traceparent[-2:]' | paste -sd' ')" = '01 00 01 00' ]
}

@test "publish: hops continue from the cause in the spool, also without the environment" {
    publish <<<'{"type":"a","id":"e1","hops":3}'
    publish <<<'{"type":"b","id":"e2","causationid":"e1","hops":1}'
    run -0 replay e2
    [ "$(jq .hops <<<"$output")" = 4 ]
}

@test "publish: a chain of 64 causes is accepted, a longer one is refused and reported" {
    publish --source s <<<'{"type":"order.placed","id":"e63","hops":63}'
    EVENT_ID=e63 EVENT_HOPS=63 publish -t order.checked --id e64 -d 1
    EVENT_ID=e64 EVENT_HOPS=64 run -65 --separate-stderr publish -t order.placed -d 1
    [ "$stderr" = 'publish: -d: causal chain longer than 64 events, is it a cycle? order.placed ← order.checked ← order.placed …' ]
    EVENT_ID=unknown EVENT_HOPS=64 run -65 --separate-stderr publish -t order.placed -d 1
    [ "$stderr" = 'publish: -d: causal chain longer than 64 events, is it a cycle? order.placed …' ]
    [ "$(replay | wc -l)" -eq 2 ]
}

@test "publish: a chain cannot be made shorter by the value of EVENT_HOPS" {
    for hops in 65 99999999999 9223372036854775807 99999999999999999999; do
        EVENT_ID=b EVENT_HOPS=$hops run -65 --separate-stderr publish -t x -d 1
        [ "${stderr_lines[-1]%% is it*}" = 'publish: -d: causal chain longer than 64 events,' ]
    done
    run -0 replay
    [ -z "$output" ]
}

@test "publish: a stored event is a duplicate, however long its chain has become" {
    publish --id i --source s -t x -d 1
    EVENT_ID=b EVENT_HOPS=64 run -0 --separate-stderr publish --id i --source s -t x -d 1
    [ -z "$stderr" ]
    [ "$(replay | wc -l)" -eq 1 ]
}

# ------------------------------------------------------------------------------------- duplicates

@test "publish: the same event again is skipped, echoed and not an error" {
    publish -t x --id e1 --source s -d '{"n":1}'
    run -0 --separate-stderr publish -t x --id e1 --source s --echo -d '{"n":1}'
    [ "$(jq -r .id <<<"$output")" = e1 ]
    [ -z "$stderr" ]
    [ "$(replay | wc -l)" -eq 1 ]
}

@test "publish: an id that is stored with other content is an error that names the position" {
    publish -t x --id e1 --source s -d '{"n":1}'
    refused() {
        run -65 --separate-stderr publish --id e1 --source s "$@"
        [ "$stderr" = 'publish: -d: id "e1" is already stored with other content (seq 1)' ]
    }
    refused -t y -d '{"n":1}'
    refused -t x -d '{"n":2}'
    refused -t x -k k -d '{"n":1}'
    publish -t x --id e1 --source another -d '{"n":1}'
    [ "$(replay | wc -l)" -eq 2 ]
}

@test "publish: publishing an input twice stores it once, without errors" {
    seq 3000 | sed 's/.*/{"i":&}/' >in
    publish -t x --id-from /i --source s in
    run -0 --separate-stderr publish -t x --id-from /i --source s --echo in
    [ -z "$stderr" ]
    echo "$output" >second
    [ "$(replay | wc -l)" -eq 3000 ]
    [ "$(wc -l <second)" -eq 3000 ]
}

@test "publish: --id of several lines takes the first, the same again is skipped, others are refused" {
    printf '%s\n' 1 1 2 >in
    run -65 --separate-stderr publish -t x --id i --source s --echo in
    [ "${stderr_lines[-1]}" = 'publish: in: line 3: id "i" is already stored with other content (seq 1)' ]
    [ "$(jq .data <<<"$output" | paste -sd' ')" = '1 1' ]
    [ "$(replay | wc -l)" -eq 1 ]
}

@test "publish: of a duplicate, --echo prints the event that is stored" {
    publish -t x --id i --source s -d '{"n":1}'
    run -0 --separate-stderr publish -t x --id i --source s -d '{"n":1}' --echo --priority 1
    [ "$output" = "$(replay)" ]
}

@test "publish: text and the same bytes in base64 are other content" {
    publish <<<'{"type":"a","id":"i","source":"s","data":"AA=="}'
    run -65 --separate-stderr publish <<<'{"type":"a","id":"i","source":"s","data_base64":"AA=="}'
    [ "$stderr" = 'publish: line 1: id "i" is already stored with other content (seq 1)' ]
}

@test "publish: data that is absent, null, or written differently is other content" {
    publish <<<'{"type":"a","id":"1","source":"s"}'
    publish <<<'{"type":"a","id":"2","source":"s","data":1.0}'
    run -65 --separate-stderr publish <<<'{"type":"a","id":"1","source":"s","data":null}'
    [ "$stderr" = 'publish: line 1: id "1" is already stored with other content (seq 1)' ]
    run -65 --separate-stderr publish <<<'{"type":"a","id":"2","source":"s","data":1}'
    [ "$stderr" = 'publish: line 1: id "2" is already stored with other content (seq 2)' ]
    [ "$(replay | wc -l)" -eq 2 ]
}

@test "publish: a duplicate is echoed once for each time it came, in its place" {
    publish -t x --id-from '/i' --source s -d '{"i":"b"}'
    printf '{"i":"%s"}\n' a b c a | publish -t x --id-from /i --source s --echo >out
    [ "$(jq -r .id out | paste -sd' ')" = 'a b c a' ]
    [ "$(ids)" = 'b a c' ]
}

@test "publish: among many lines, duplicates leave no gap, and bad lines are reported in their order" {
    publish -t x --id-from /i --source s -d '{"i":3}'
    for ((i = 1; i <= 100; i++)); do echo "{\"i\":$((i == 40 || i == 41 ? 39 : i))}"; done >in
    sed -i '50s/.*/{/; 60s/.*/{"i":3,"other":true}/; 61s/.*/}/' in
    run -65 --separate-stderr publish -t x --id-from /i --source s --echo in
    [ "$(jq -r .id <<<"$output" | paste -sd' ')" = "$(jq -r .i <<<"$(sed '50d; 60d; 61d' in)" | paste -sd' ')" ]
    [ "$(grep -o 'line [0-9]*: ..' <<<"$stderr" | paste -sd' ')" = 'line 50: un line 60: id line 61: un' ]
    run -0 replay -o positions
    [ "$(paste -sd' ' <<<"$output")" = "$(seq 95 | paste -sd' ')" ]
}

@test "publish: what is known, new, there twice or of another content keeps its place among the others" {
    publish_ids() { publish -t x --id-from /i --source s --echo "$1"; }
    for ((i = 1; i <= 900; i++)); do echo "{\"i\":$i}"; done >all
    awk 'NR % 5 && NR % 7 || NR > 700 && NR < 800' all | publish_ids - >/dev/null
    # 302 is known; of 655 the other content comes first.
    awk 'NR == 302 || NR == 655 { print "{\"i\":" NR ",\"other\":true}" } { print } NR % 33 == 0' all >in
    run -65 --separate-stderr publish_ids in
    [ "$(jq -r .id <<<"$output")" = "$(awk '{ print } NR % 33 == 0' all | jq -r .i)" ]
    [ "$(jq -Rr 'split(" is ")[0]' <<<"$stderr")" = 'publish: in: line 311: id "302"
publish: in: line 676: id "655"' ]
    [ "$(replay | jq -r 'select(.data.other).id')" = 655 ]
    [ "$(replay -o positions)" = "$(seq 900)" ]
}

# ------------------------------------------------------------------------- versions, all or nothing

@test "publish: --expect-version numbers a subject's events, and a conflict stores nothing and names both" {
    publish -t a -k acc --expect-version none -d 1
    seq 2 3 | publish -t a -k acc --expect-version 1
    publish -t a -k other --expect-version any -d 1
    publish -t a -k acc -d '"unversioned"'
    run -75 --separate-stderr publish -t a -k acc --expect-version 1 -d 4
    [ "$stderr" = 'publish: -d: subject "acc" is at version 3, not 1: reload it and decide again' ]
    run -75 --separate-stderr publish -t a -k acc --expect-version none -d 4
    [ "$stderr" = 'publish: -d: subject "acc" exists already, at version 3: load it and decide again' ]
    publish -t a -k acc --expect-version any -d 4
    run -0 replay -k acc
    [ "$(jq -c '[.version,.data]' <<<"$output" | paste -sd' ')" = '[1,1] [2,2] [3,3] [null,"unversioned"] [4,4]' ]
}

@test "publish: of eight writers with the same expected version one wins" {
    publish -t a -k acc --expect-version none -d 0
    for i in {1..8}; do
        {
            publish -t a -k acc --expect-version 1 -d "$i" 2>/dev/null && echo 0 || echo $?
        } >"status.$i" 3>&- &
    done
    wait
    [ "$(sort status.* | uniq -c | awk '{print $1 "x" $2}' | paste -sd' ')" = '1x0 7x75' ]
    [ "$(replay -k acc | wc -l)" -eq 2 ]
}

@test "publish: with ids of its own an append whose outcome is unknown may be repeated" {
    publish -t a -k acc --id e1 --source s --expect-version none -d 1
    run -0 publish -t a -k acc --id e1 --source s --expect-version none -d 1
    [ "$(replay | wc -l)" -eq 1 ]
}

@test "publish: --expect-version wants a subject and a number, any or none" {
    run -65 --separate-stderr publish -t a --expect-version any -d 1
    [ "${stderr_lines[-1]}" = 'publish: -d: has no subject: --expect-version needs one (-k, --key-from)' ]
    run -64 publish -t a -k k --expect-version soon -d 1
}

@test "publish: --atomic stores all or nothing, and reports every error" {
    printf '%s\n' 1 x 2 '{' 3 >in
    run -65 --separate-stderr publish -t a --atomic in
    [ "${stderr_lines[-2]}" = 'publish: in: line 2: unexpected "x" at byte 1' ]
    [ "${stderr_lines[-1]}" = 'publish: in: line 4: unfinished object at byte 2 (input ends)' ]
    [ "$(replay | wc -l)" -eq 0 ]
    seq 2500 | publish -t a --atomic
    [ "$(replay | wc -l)" -eq 2500 ]
}

@test "publish: an invalid number for --expect-version is 64" {
    for wrong in -1 1.5 x 1x '' none1 99999999999999999999; do
        run -64 --separate-stderr publish -t a -k k --expect-version "$wrong" -d 1
        [ "${#stderr_lines[@]}" -eq 1 ]
    done
    spool_missing
}

@test "publish: --expect-version is for each subject of the input" {
    printf '%s\n' '{"k":"a"}' '{"k":"b"}' '{"k":"a"}' | publish -t x --key-from /k --expect-version none
    [ "$(replay | jq -c '[.subject,.version]' | paste -sd' ')" = '["a",1] ["b",1] ["a",2]' ]
    printf '%s\n' '{"k":"a"}' '{"k":"b"}' >in
    run -75 --separate-stderr publish -t x --key-from /k --expect-version 2 in
    [ "$stderr" = 'publish: in: line 2: subject "b" is at version 1, not 2: reload it and decide again' ]
    [ "$(replay | wc -l)" -eq 3 ]
}

@test "publish: a line's own version must be the next one, and the message names both" {
    publish <<<'{"type":"a","subject":"k","version":1}' --expect-version none
    publish <<<'{"type":"a","subject":"k","version":2}' --expect-version any
    run -75 --separate-stderr publish --expect-version any <<<'{"type":"a","subject":"k","version":5}'
    [ "$stderr" = 'publish: line 1: subject "k" is at version 2, not 4: reload it and decide again' ]
    run -75 --separate-stderr publish --expect-version 2 <<<'{"type":"a","subject":"k","version":5}'
    [ "$stderr" = 'publish: line 1: subject "k" is at version 2, not 4: reload it and decide again' ]
    [ "$(replay | jq .version | paste -sd' ')" = '1 2' ]
}

@test "publish: a line's own version is its place in the stream, if that is free" {
    publish <<<'{"type":"a","subject":"k","id":"e1","version":1}'
    publish -t a -k k --expect-version 1 -d 2
    run -75 --separate-stderr publish <<<'{"type":"a","subject":"k","version":2}'
    [ "$stderr" = 'publish: line 1: subject "k" has another event at version 2: reload it and decide again' ]
    printf '{"type":"a","subject":"k","id":"e%s","version":%s}\n' 5 5 4 4 5 5 4 4 | publish
    run -75 --separate-stderr publish -t a -k k --expect-version 2 -d 3
    [ "$stderr" = 'publish: -d: subject "k" is at version 5, not 2: reload it and decide again' ]
    publish -t a -k k --expect-version 5 -d 6
    [ "$(replay | jq .version | paste -sd' ')" = '1 2 5 4 6' ]
    # Without a subject, or as text, it is an attribute like any other.
    printf '%s\n' '{"type":"a","version":1}' '{"type":"a","version":1}' '{"type":"a","subject":"k","version":"1"}' \
        '{"type":"a","subject":"k","version":0}' '{"type":"a","subject":"k","version":1.5}' | publish
    publish -t a -k k --expect-version 6 -d 7
}

@test "publish: a copy of a log, or of a part, has the versions that the events had" {
    for k in a b; do
        for n in 1 2 3; do publish -t "n.$n" -k "$k" --expect-version any -d "$n"; done
    done
    spool prune --keep 4 --force >pruned
    replay | publish -s copy.db
    replay | publish -s copy.db
    cmp <(replay) <(replay -s copy.db)
    publish -s copy.db -t n -k a --expect-version 3 -d 4
    run -75 publish -s copy.db -t n -k b --expect-version 2 -d 4
    replay -t n.3 -t n.1 | publish -s part.db
    replay -t n.2 | publish -s part.db
    publish -s part.db -t n -k b --expect-version 3 -d 4
    [ "$(reduce -s part.db -k b | jq -c '[.version,.state]')" = '[4,4]' ]
    # As streams of their own, from the first version on.
    replay -k b | jq -c 'del(.version)' | publish -s new.db --expect-version any
    [ "$(replay -s new.db | jq .version | paste -sd' ')" = '1 2 3' ]
}

@test "publish: a version is added at the front with other missing attributes, or in its old place" {
    publish --id i --expect-version none <<<'{"type":"a","subject":"k","time":"2001-02-03T04:05:06Z","source":"s"}'
    publish --expect-version 1 <<<'{"specversion":"1.0","id":"j","source":"s","type":"a","version":2,"subject":"k"}'
    publish --expect-version 2 <<<'{"specversion":"1.0","id":"k","source":"s","type":"a","subject":"k"}'
    run -0 replay
    [ "$output" = '{"specversion":"1.0","id":"i","correlationid":"i","version":1,"type":"a","subject":"k","time":"2001-02-03T04:05:06Z","source":"s"}
{"specversion":"1.0","id":"j","source":"s","type":"a","version":2,"subject":"k"}
{"version":3,"specversion":"1.0","id":"k","source":"s","type":"a","subject":"k"}' ]
}

@test "publish: an append that is repeated with its ids succeeds, whatever was appended after it" {
    printf '%s\n' '{"i":1}' '{"i":2}' >in
    publish -t a -k acc --id-from /i --source s --expect-version none in
    publish -t a -k acc --expect-version 2 -d 3
    run -0 --separate-stderr publish -t a -k acc --id-from /i --source s --expect-version none --echo in
    [ "$(jq -r .id <<<"$output" | paste -sd' ')" = '1 2' ]
    [ -z "$stderr" ]
    [ "$(replay | wc -l)" -eq 3 ]
}

@test "publish: the same id of another source is another event, with versions too" {
    publish -t a -k acc --id i --source s --expect-version none -d 1
    publish -t a -k acc --id i --source other --expect-version 1 -d 1
    [ "$(replay | jq -c '[.source,.version]' | paste -sd' ')" = '["s",1] ["other",2]' ]
}

@test "publish: --atomic with a bad line echoes nothing and fills --rejects" {
    printf '%s\n' 1 '{' 2 12345 >in
    run -65 --separate-stderr publish -t a --atomic --echo --rejects bad --max-size 4 in
    [ -z "$output" ]
    [ "$(printf '%s\n' "${stderr_lines[@]:1}" | sort)" = 'publish: in: line 2: unfinished object at byte 2 (input ends)
publish: in: line 4: longer than 4 bytes (--max-size)' ]
    [ "$(cat bad)" = '{' ]
    run -0 replay
    [ -z "$output" ]
}

@test "publish: --atomic with a file missing stores nothing" {
    echo 1 >a
    run -66 --separate-stderr publish -t x --atomic a missing
    [ "${stderr_lines[-1]}" = 'publish: missing: No such file or directory' ]
    run -0 replay
    [ -z "$output" ]
}

@test "publish: --atomic takes several files as one, and duplicates of what is stored" {
    printf '{"i":%d}\n' 1 2 >a
    printf '{"i":%d}\n' 2 3 >b
    publish -t x --id-from /i --source s -d '{"i":2}'
    publish -t x --id-from /i --source s --atomic a b
    [ "$(ids)" = '2 1 3' ]
}

@test "publish: --atomic takes 64 MiB and no more" {
    for i in {1..8}; do head -c 8388607 /dev/zero | tr '\0' 7 && echo; done >in
    run -65 --separate-stderr bash -c '{ cat in; echo 123456789; } | publish -t x --atomic --max-size 8M'
    [ "${stderr_lines[-1]}" = 'publish: the input is larger than 64 MiB, too much for --atomic' ]
    run -0 replay
    [ -z "$output" ]
}

# ---------------------------------------------------------------------------- files, batches, output

@test "publish: files are read in order, and a missing file does not keep the others out" {
    echo 1 >a
    echo 2 >b
    run -66 --separate-stderr publish -t x a missing b
    [ "${stderr_lines[-1]}" = 'publish: missing: No such file or directory' ]
    [ "$(replay | jq .data | paste -sd' ')" = '1 2' ]
    run -65 publish -t x .
    echo 3 | publish -t x a -
    [ "$(replay | jq .data | paste -sd' ')" = '1 2 1 3' ]
}

@test "publish: a slow producer's event is on disk while the pipe is open, even after half of the next line" {
    mkfifo p
    background sh -c 'exec publish -t x --echo <p >out'
    exec 8>p
    printf '1\n2' >&8
    wait_for grep -q '"data":1}' out
    publish -t y -d '"not blocked"'
    printf '\n' >&8
    wait_for grep -q '"data":2}' out
    exec 8>&-
    wait "$pid"
    [ "$(replay | jq -c .data | paste -sd' ')" = '1 "not blocked" 2' ]
}

@test "publish: data that a signal cut off is not published" {
    mkfifo p
    background publish -t a -d @p 2>said
    exec 9>p
    printf '12\n' >&9 # and more to come
    wait_for sleeps "$pid"
    kill -TERM "$pid"
    ends_with 143 "$pid"
    exec 9>&-
    [ "$(replay)" = '' ]
}

@test "publish: --echo prints what is safe, and a reader that goes away is no error" {
    seq 3 | publish -t x --echo >out
    cmp out <(replay)
    run -0 bash -c 'seq 100000 | publish -t y --echo | head -n 1 >/dev/null; exit "${PIPESTATUS[1]}"'
}

@test "publish: a full disk behind stdout is 74" {
    run -74 --separate-stderr bash -c 'seq 3 | publish -t x --echo >/dev/full'
    [ "${stderr_lines[-1]}" = 'publish: cannot write to stdout: No space left on device' ]
    [ "$(replay | wc -l)" -eq 3 ]
}

@test "publish: --log json prints the same as objects" {
    run -65 --separate-stderr bash -c 'printf "x\033\n" | publish --log json -t x'
    [ "$(jq -r 'select(.level == "error") | "\(.cmd) \(.code) \(.msg)"' <<<"$stderr")" = \
        'publish 65 line 1: unexpected "x" at byte 1' ]
}

@test "publish: wrong usage is 64 and creates nothing" {
    for wrong in '-t' "-t ''" '--text' '-t x --id a --id-from /a' '-t x -k a --key-from /a' '--max-size 0' '--max-size 33M' '--nonsense'; do
        run -64 bash -c "publish $wrong </dev/null"
    done
    spool_missing
}

# --------------------------------------------------------------------------- the spool and the rest

@test "publish: a new spool is reported once, and is where -s, EVENT_SPOOL, XDG_STATE_HOME or HOME put it" {
    run -0 --separate-stderr publish -t x -d 1
    [ "$output$stderr" = "publish: created the spool $EVENT_SPOOL" ]
    run -0 --separate-stderr publish -t x -d 1
    [ -z "$output$stderr" ]
    run -0 --separate-stderr publish -s new/one.db -t x -d 1
    [ "$stderr" = "publish: created the spool $PWD/new/one.db" ]
    local spool=$EVENT_SPOOL
    unset EVENT_SPOOL
    run -0 --separate-stderr publish -t x -d 1
    [ "$stderr" = "publish: created the spool $HOME/.local/state/eventutils/spool.db" ]
    XDG_STATE_HOME=$PWD/state run -0 --separate-stderr publish -t x -d 1
    [ "$stderr" = "publish: created the spool $PWD/state/eventutils/spool.db" ]
    [ "$(replay -s "$spool" | wc -l)" -eq 2 ]
}

@test "publish: eight that create the spool at once all succeed, and one of them reports it" {
    for i in {1..8}; do
        { publish -t x -d "$i" 2>"err.$i" && echo 0 || echo $?; } >"status.$i" 3>&- &
    done
    wait
    [ "$(sort status.* | uniq -c | awk '{print $1 "x" $2}')" = 8x0 ]
    [ "$(cat err.*)" = "publish: created the spool $EVENT_SPOOL" ]
    [ "$(replay | wc -l)" -eq 8 ]
    [ -z "$(compgen -G 'spool.db.*')" ]
}

@test "publish: a producer that ends in the middle of a line costs that line only" {
    printf '{"n":1}\n{"n":' >in
    run -65 --separate-stderr publish -t x in
    [ "${stderr_lines[-1]}" = 'publish: in: line 2: unfinished object at byte 6 (input ends)' ]
    [ "$(replay | jq -c .data)" = '{"n":1}' ]
}

@test "publish: bad lines of a slow producer are reported while it holds the pipe open" {
    mkfifo p
    background sh -c 'exec publish -t x <p 2>err'
    exec 8>p
    printf '{\n' >&8
    wait_for grep -q 'line 1: unfinished object' err
    exec 8>&-
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 65 ]
}

@test "publish: a hostile line of 8 MiB takes less than 64 MiB of memory" {
    [ -z "$SAN" ] || skip 'sanitizers need memory of their own'
    { printf '['; yes '{},{}' | head -n 1398000 | paste -sd, | tr -d '\n'; printf ']\n'; } >in
    run -0 bash -c 'ulimit -v 65536; publish -t x --max-size 32M in'
    replay | tail -c 20 | grep -qx '.*{},{}\]}'
}

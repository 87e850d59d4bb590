load helper

ids() { replay | jq -r .id | paste -sd' '; }

# ------------------------------------------------------------------------- lines, good and bad

@test "publish: each kind of line is stored or refused as the table says, and costs its neighbours nothing" {
    local options input status message stored failed=0
    while IFS= read -r row; do
        [[ $row == \#* ]] && continue
        # A tab is white space to read, which would swallow empty columns.
        IFS=$'\037' read -r options input status message stored <<<"${row//$'\t'/$'\037'}"
        rm -f spool.db*
        # shellcheck disable=SC2059,SC2086 # the table's columns are a format and words
        printf "$input" | { publish $options 2>err && echo 0 >code || echo $? >code; }
        sed -i '/^publish: created the spool/d; s/^publish: //' err
        if [ "$(cat code)" != "$status" ] || [ "$(cat err)" != "$(printf '%b' "$message")" ] ||
            { [ -e spool.db ] && [ "$(replay | grep -o '"data":.*' | sed 's/^"data"://; s/}$//' |
                paste -sd' ')" != "$stored" ]; }; then
            printf 'row: %s\ngot: %s, %s\n' "$row" "$(cat code)" "$(cat err)"
            replay || true
            failed=1
        fi
    done <"$TOP/tests/data/publish-lines.tsv"
    [ "$failed" -eq 0 ]
}

@test "publish: a bad line is named, the good lines around it are kept, and --rejects gets it as it was" {
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

@test "publish: a line over 1 MiB is refused and passed over, however long it is" {
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

@test "publish: empty input publishes nothing and says so" {
    run -0 --separate-stderr publish -t x </dev/null
    [ "${stderr_lines[-1]}" = 'publish: the input was empty: nothing published' ]
    run -0 replay
    [ -z "$output" ]
}

# ----------------------------------------------------------------------------- what is filled in

@test "publish: with -t a line is data, and everything else is filled in" {
    publish -t order.placed -k order-42 --source /shop -d '{"total":99.5}'
    run -0 replay
    id='[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'
    [[ $output =~ ^'{"specversion":"1.0","id":"'($id)'","source":"/shop","type":"order.placed","subject":"order-42","time":"'20..-..-..T..:..:..\....Z'","correlationid":"'($id)'","data":{"total":99.5}}'$ ]]
    [ "${BASH_REMATCH[1]}" = "${BASH_REMATCH[2]}" ]
}

@test "publish: the source is the host's name, or what EVENT_DEFAULT_SOURCE says" {
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

@test "publish: what is missing in an event goes in front, nothing else moves" {
    echo '{ "type":"a" , "data":1.0}' | publish --id i --source s
    run -0 replay
    [[ $output =~ ^'{"specversion":"1.0","id":"i","source":"s","time":"'[^\"]*'","correlationid":"i", "type":"a" , "data":1.0}'$ ]]
}

@test "publish: without specversion the words of the pattern literature are understood" {
    echo '{"id":"e1","type":"order.placed","timestamp":1795255200000,"aggregateId":"order-1","payload":{"n":1.0},"metadata":{"correlationId":"c","causationId":"b","userId":7}}' |
        publish --source s
    run -0 replay
    [ "$output" = '{"specversion":"1.0","source":"s","id":"e1","type":"order.placed","time":"2026-11-21T10:00:00.000Z","subject":"order-1","data":{"n":1.0},"correlationid":"c","causationid":"b","userid":7}' ]
    run -65 --separate-stderr publish <<<'{"type":"a","metadata":{"tags":[1]}}'
    [ "$stderr" = 'publish: line 1: attribute "tags" is an array: does it belong into "data"?' ]
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
    [ "$stderr" = 'publish: "order" is not a JSON pointer: it does not begin with "/" (see publish --help)' ]
}

@test "publish: -d @FILE reads one event's data, over several lines if it likes" {
    printf '{\n  "a": [1,\n 2]\n}\n' >data.json
    publish -t x -d @data.json
    run -0 replay
    [ "$(jq -c .data <<<"$output")" = '{"a":[1,2]}' ]
    run -66 publish -t x -d @missing
    run -64 publish -t x -d 1 file
}

# ------------------------------------------------------------------------------- inside a handler

@test "publish: inside a handler the causal chain goes on by itself" {
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

@test "publish: hops count on from the cause in the spool, also without the environment" {
    publish <<<'{"type":"a","id":"e1","hops":3}'
    publish <<<'{"type":"b","id":"e2","causationid":"e1","hops":1}'
    run -0 replay e2
    [ "$(jq .hops <<<"$output")" = 4 ]
}

# ------------------------------------------------------------------------------------- duplicates

@test "publish: the same event again is skipped, echoed and no error" {
    publish -t x --id e1 --source s -d '{"n":1}'
    run -0 --separate-stderr publish -t x --id e1 --source s --echo -d '{"n":1}'
    [ "$(jq -r .id <<<"$output")" = e1 ]
    [ -z "$stderr" ]
    [ "$(replay | wc -l)" -eq 1 ]
}

@test "publish: an id that is stored with other content is an error that says where" {
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

@test "publish: a whole input twice stores it once, and tells nothing that is wrong" {
    seq 3000 | sed 's/.*/{"i":&}/' >in
    publish -t x --id-from /i --source s in
    run -0 --separate-stderr publish -t x --id-from /i --source s --echo in
    [ -z "$stderr" ]
    echo "$output" >second
    [ "$(replay | wc -l)" -eq 3000 ]
    [ "$(wc -l <second)" -eq 3000 ]
}

# ------------------------------------------------------------------------- versions, all or nothing

@test "publish: --expect-version numbers a subject's events, and a conflict stores nothing and names both" {
    publish -t a -k acc --expect-version none -d 1
    seq 2 3 | publish -t a -k acc --expect-version 1
    publish -t a -k other --expect-version any -d 1
    publish -t a -k acc -d '"unversioned"'
    run -75 --separate-stderr publish -t a -k acc --expect-version 1 -d 4
    [ "$stderr" = 'publish: -d: subject "acc" is at version 3, not 1: load it again and decide anew' ]
    run -75 --separate-stderr publish -t a -k acc --expect-version none -d 4
    [ "$stderr" = 'publish: -d: subject "acc" is at version 3, not 0: load it again and decide anew' ]
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

@test "publish: --atomic stores all or nothing, and tells all that is wrong" {
    printf '%s\n' 1 x 2 '{' 3 >in
    run -65 --separate-stderr publish -t a --atomic in
    [ "${stderr_lines[-2]}" = 'publish: in: line 2: unexpected "x" at byte 1' ]
    [ "${stderr_lines[-1]}" = 'publish: in: line 4: unfinished object at byte 2 (input ends)' ]
    [ "$(replay | wc -l)" -eq 0 ]
    seq 2500 | publish -t a --atomic
    [ "$(replay | wc -l)" -eq 2500 ]
}

# ---------------------------------------------------------------------------- files, batches, output

@test "publish: files are read in order, and one that is missing does not keep the others out" {
    echo 1 >a
    echo 2 >b
    run -66 --separate-stderr publish -t x a missing b
    [ "${stderr_lines[-1]}" = 'publish: missing: No such file or directory' ]
    [ "$(replay | jq .data | paste -sd' ')" = '1 2' ]
    run -65 publish -t x .
    echo 3 | publish -t x a -
    [ "$(replay | jq .data | paste -sd' ')" = '1 2 1 3' ]
}

@test "publish: a slow producer's event is on disk while it holds the pipe open, even half a line later" {
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

@test "publish: --log json says the same as objects" {
    run -65 --separate-stderr bash -c 'printf "x\033\n" | publish --log json -t x'
    [ "$(jq -r 'select(.level == "error") | "\(.cmd) \(.code) \(.msg)"' <<<"$stderr")" = \
        'publish 65 line 1: unexpected "x" at byte 1' ]
}

@test "publish: wrong usage is 64 and creates nothing" {
    for wrong in '-t' "-t ''" '--text' '-t x --id a --id-from /a' '-t x -k a --key-from /a' '--max-size 0' '--max-size 33M' '--nonsense'; do
        run -64 bash -c "publish $wrong </dev/null"
    done
    [ ! -e spool.db ]
}

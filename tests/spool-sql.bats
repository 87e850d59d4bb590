load helper

# spool sql: its results, and what it refuses to do.

# answer WANT SELECT [OPTION...]
answer() {
    local want=$1
    shift
    run -0 --separate-stderr spool sql "$@"
    [ -z "$stderr" ]
    [ "$output" = "$want" ] || {
        echo "$output" >&2
        return 1
    }
}

# refused MESSAGE SELECT: and nothing is changed
refused() {
    run -64 --separate-stderr spool sql "$2"
    [ -z "$output" ]
    [ "$stderr" = "spool: sql: $1" ] || {
        echo "$2: $stderr" >&2
        return 1
    }
}

# words SQLITE POSTGRES: what the engine says
words() {
    if [ "$ENGINE" = sqlite ]; then echo "$1"; else echo "$2"; fi
}

only=': only SELECT is allowed, and only from the views in spool(1)'

# The views of the manual, and with a name the columns of one.
manual_views() {
    sed -n '/^\.Ss Views/,/^\.S[hs] E/p' "$TOP/man/spool.1" | awk -v view="$1" '
        /^\.It Cm / { name = $3; if (view == "") print name; next }
        /^\.It / && name == view { for (i = 2; i <= NF; i++) if ($i != ",") print $i }'
}

@test "sql: the views and their columns are those of the manual" {
    publish -t n -d 1
    [ "$(manual_views | wc -l)" -eq 9 ]
    for view in $(manual_views); do
        spool sql "SELECT v.* FROM (SELECT 1) one LEFT JOIN $view v ON true" | jq -r keys_unsorted[] |
            diff <(manual_views "$view") - || {
            echo "$view: the manual (<) and the view (>) differ"
            false
        }
    done
}

@test "sql: events, with their attributes, and data byte for byte" {
    publish -t order.placed -k k1 --priority 3 --id e1 --source /s -d '{"n":1.10,"big":12345678901234567890, "s":"\u0041"}'
    publish -t n --id e2 --source /s -d '"x"' --expect-version none -k k2
    answer '{"seq":1,"id":"e1","source":"/s","type":"order.placed","subject":"k1","priority":3,"version":null,"data":{"n":1.10,"big":12345678901234567890, "s":"\u0041"}}
{"seq":2,"id":"e2","source":"/s","type":"n","subject":"k2","priority":5,"version":1,"data":"x"}' \
        'SELECT seq, id, source, type, subject, priority, version, data FROM events'
    spool sql 'SELECT event FROM events' | sed 's/^{"event":\(.*\)}$/\1/' | cmp - <(replay)
    run -0 spool sql 'SELECT recorded, time, correlationid FROM events WHERE seq = 1'
    [ "$(sed -E 's/"20[0-9]{2}-[0-9-]{5}T[0-9:]{8}\.[0-9]{3}Z"/T/g' <<<"$output")" = '{"recorded":T,"time":T,"correlationid":"e1"}' ]
    answer '{"v":"A"}' "SELECT data->>'s' AS v FROM events WHERE type = 'order.placed'"
    answer '{"n":2}' 'SELECT count(*) AS n FROM events'
    answer '{"key":"n"}
{"key":"big"}
{"key":"s"}' "SELECT key FROM events, $(words 'json_each(data)' 'json_each(data::json)') WHERE seq = 1"
}

bytes_of() { # HEXADECIMAL
    words "x'$1'" "'\\x$1'::bytea"
}

@test "sql: values: exact integers, null, reals, base64, JSON only where it is" {
    publish -t n -d 1
    answer '{"i":9223372036854775807,"r":0.1,"z":null,"inf":null,"b":"AAH/","b1":"QQ==","b0":"","t":"[1]"}' \
        "SELECT 9223372036854775807 AS i, 0.1 AS r, NULL AS z, 1e999 AS inf, $(bytes_of 0001ff) AS b, $(bytes_of 41) AS b1, $(bytes_of '') AS b0, '[1]' AS t"
    answer '{"n":1.8446744073709552e+19}' "SELECT 18446744073709551614 AS n"
    answer '{"data":[1.50]}' "SELECT '[1.50]' AS data"
    answer '{"data":"not JSON"}' "SELECT 'not JSON' AS data"
    answer '{"data":"[1,\n2]"}' "SELECT '[1,' || $(words char chr)(10) || '2]' AS data"
    answer '' 'SELECT 1 AS one FROM events WHERE seq > 5'
}

@test "sql: groups, dead letters, waiting events, attempts, claims" {
    seq 4 | publish -t n
    consume -g g --from start -n 3 -a 2 --backoff 100d -- \
        sh -c 'echo oops >&2; case $EVENT_SEQ in 1) exit 65 ;; 2) exit 1 ;; esac' 2>/dev/null || [ $? -eq 1 ]
    answer '{"group_name":"g","types":["#"],"ordered":0,"paused":0,"hold_until":null,"position":3,"waiting":1,"dead":1}' \
        'SELECT group_name, types, ordered, paused, hold_until, position, waiting, dead FROM group_list'
    answer '{"group_name":"g","seq":1,"attempts":1,"deaths":0,"data":1}' \
        'SELECT d.group_name, seq, d.attempts, d.deaths, data FROM dead_letters d JOIN events USING (seq)'
    answer '{"group_name":"g","seq":2,"state":"waiting","attempts":1,"deaths":0}' \
        'SELECT group_name, seq, state, attempts, deaths FROM waiting'
    answer '{"group_name":"g","seq":1,"n":1,"status":65,"stderr":"oops\n"}
{"group_name":"g","seq":2,"n":1,"status":1,"stderr":"oops\n"}' \
        'SELECT group_name, seq, n, status, stderr FROM attempts ORDER BY seq'
    mkfifo latch
    background consume -g g -- sh -c 'echo >started; read x <latch'
    wait_for test -e started
    answer "{\"group_name\":\"g\",\"pid\":$pid,\"leased\":0,\"first_seq\":4,\"open\":[4]}" \
        'SELECT group_name, pid, leased, first_seq, open FROM claims'
    timeout 60 sh -c 'echo >latch'
    wait "$pid"
    answer '' 'SELECT claim FROM claims'
}

@test "sql: as a table" {
    publish -t a -d '{"x":1}'
    publish -t longer -d '"\u001b[31m"'
    answer 'SEQ  TYPE    DATA
  1  a       {"x":1}
  2  longer  "\u001b[31m"' 'SELECT seq, type, data FROM events' -o table
    answer '' 'SELECT seq FROM events WHERE seq < 0' -o table
}

@test "sql: from standard input" {
    publish -t a -d 1
    run -0 spool sql - <<<$'-- how many?\nSELECT count(*) AS n\nFROM events; -- that is it'
    [ "$output" = '{"n":1}' ]
    run -64 --separate-stderr spool sql - </dev/null
    [ "$stderr" = 'spool: sql: there is no statement in it' ]
    head -c 70000 /dev/zero | tr '\0' ' ' >long
    run -64 --separate-stderr spool sql - <long
    [ "$stderr" = 'spool: sql: more than 65536 bytes' ]
}

@test "sql: only the views can be read" {
    publish -t a -d 1
    refused "access to event.seq is prohibited$only" 'SELECT * FROM event'
    refused "access to event.line is prohibited$only" 'SELECT line FROM main.event'
    refused "not authorized$only" 'SELECT count(*) FROM event'
    refused "access to event.seq is prohibited$only" 'WITH events AS (SELECT * FROM main.event) SELECT * FROM events'
    refused "access to groups.name is prohibited$only" 'SELECT (SELECT name FROM groups) FROM events'
    run -64 spool sql 'SELECT * FROM sqlite_schema'
    run -64 spool sql 'SELECT * FROM temp.sqlite_schema'
    run -64 spool sql 'SELECT * FROM pragma_database_list'
    refused 'no such table: orders' 'SELECT * FROM orders'
}

@test "sql: nothing can be changed, attached or loaded" {
    publish -t a -d 1
    consume -g g --from start -- true
    replay >before
    spool group >groups
    for sql in 'DELETE FROM events' 'DELETE FROM event' "UPDATE groups SET name='x'" \
        "INSERT INTO meta VALUES('a','b')" 'DROP TABLE event' 'CREATE TABLE x(a)' \
        'CREATE TEMP TABLE x(a)' 'CREATE TEMP VIEW x AS SELECT 1' "ATTACH 'x.db' AS x" \
        "VACUUM INTO 'x.db'" 'VACUUM' 'BEGIN' 'COMMIT' 'PRAGMA user_version=7' \
        'PRAGMA wal_checkpoint' 'PRAGMA journal_mode=DELETE' 'REINDEX' 'ANALYZE' \
        "SELECT load_extension('x')" "SELECT fts3_tokenizer('x')" \
        'SELECT 1; DELETE FROM events' 'WITH a AS (SELECT 1) DELETE FROM event'; do
        run -64 --separate-stderr spool sql "$sql"
        [ -z "$output" ]
        [[ $stderr == 'spool: sql: '* ]]
    done
    replay | cmp before -
    spool group | cmp groups -
    [ ! -e x.db ]
    run -0 spool check
}

@test "sql: wrong SQL is 64, with the engine's words" {
    publish -t a -d 1
    local at="$EVENT_SPOOL: " one='one statement at a time'
    refused "$(words 'near "FORM": syntax error' "${at}syntax error at or near \"FORM\"")" 'SELECT * FORM events'
    refused "$(words 'no such column: price' "${at}column \"price\" does not exist")" 'SELECT price FROM events'
    refused "$(words 'no such column: a' "${at}column \"a\" does not exist")" 'SELECT seq FROM events WHERE type = "a"'
    refused "$(words "$one" "${at}cannot insert multiple commands into a prepared statement")" 'SELECT 1; SELECT 2'
    refused "$(words 'there is no statement in it' "${at}syntax error at end of input")" ' -- nothing'
    refused "$(words 'malformed JSON' "${at}invalid input syntax for type json")" \
        "SELECT $(words "json_extract('{', '\$')" "'{'::json") AS x"
    refused 'two columns are called "seq": rename one with AS' 'SELECT a.seq, b.seq FROM events a, events b'
    run -64 --separate-stderr spool sql
    [ "$stderr" = 'spool: sql wants one SELECT, in quotes, or - for standard input (see spool sql --help)' ]
    run -64 spool sql SELECT 1
    run -66 spool sql -s none.db 'SELECT 1 AS one'
    [ ! -e none.db ]
}

@test "sql: SIGINT ends a long query; a reader that goes away ends it, too" {
    publish -t a -d 1
    long='WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM c) SELECT'
    background sh -c 'exec spool sql "$1 count(*) AS n FROM c" 2>err' - "$long"
    reads() {
        if [ "$ENGINE" = sqlite ]; then
            grep -q 'spool.db$' <(readlink /proc/"$pid"/fd/*)
        else
            [ "$(sql "SELECT count(*) FROM pg_stat_activity WHERE state='active' AND query LIKE '%FETCH%person%' AND pid<>pg_backend_pid()")" -gt 0 ]
        fi
    }
    wait_for reads
    kill -INT "$pid"
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 130 ]
    run -0 bash -c 'set -o pipefail; timeout 60 spool sql "$1 n FROM c" | head -n 1' - "$long"
    [ "$output" = '{"n":1}' ]
}

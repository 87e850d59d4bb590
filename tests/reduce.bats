# reduce: compute the state of a subject from its events.
load helper

setup() {
    helper_setup
    cat >sum.jq <<'JQ'
input as $state | reduce inputs as $e ($state // {n: 0, sum: 0}; .n += 1 | .sum += $e.data)
JQ
}

teardown() {
    local file
    for file in "$BATS_TEST_TMPDIR"/*.pid; do
        [ ! -s "$file" ] || kill -KILL "$(cat "$file")" 2>/dev/null || true
    done
    helper_teardown
}

# A stream of numbers: N events with the data 1, 2, 3 … from FIRST on.
stream() { # SUBJECT N [FIRST]
    seq "${3:-1}" $((${3:-1} + $2 - 1)) | publish -t number -k "$1" --expect-version any 2>/dev/null
}

sum() { # SUBJECT [OPTION...]
    reduce -k "$1" "${@:2}" -- jq -c -n -f sum.jq
}

# A reducer that shows what it gets: the first line, and the data of the others; it is no fold.
seen() { # SUBJECT [OPTION...]
    reduce -k "$1" "${@:2}" -- jq -c -n '[input, [inputs.data]]' | jq -c .state
}

gone() { # PID
    [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null || [ ! -e "/proc/$1" ]
}

# --- what the reducer gets and says

@test "reduce: the reducer gets null and the events byte for byte; its last line is the state" {
    stream a 2
    stream b 1
    stream a 1 3
    run -0 --separate-stderr reduce -k a -- sh -c 'tee got | sed "s/.*/{\"lines\": 0}/"; echo "{\"lines\": 4}"; echo; echo " "'
    [ "$output" = '{"subject":"a","version":3,"seq":4,"state":{"lines": 4}}' ]
    [ -z "$stderr" ]
    { echo null && replay -k a; } | cmp - got
}

@test "reduce: it prints the version that --expect-version takes, also for an unknown subject" {
    publish -t other -d 1
    for n in 1 2 3; do
        version=$(reduce -k a | jq .version)
        [ "$version" -eq $((n - 1)) ]
        publish -t number -k a --expect-version "$version" -d $n
        run -75 publish -t number -k a --expect-version "$version" -d 0
    done
    # Events without a version are counted by nobody.
    publish -t number -k plain -d 5
    run -0 --separate-stderr sum plain
    [ "$output" = '{"subject":"plain","version":0,"seq":5,"state":{"n":1,"sum":5}}' ]
    publish -t number -k plain --expect-version 0 -d 7
}

@test "reduce: a subject without events has the state that the reducer makes of null, and status 0" {
    publish -t other -d 1
    run -0 --separate-stderr sum none
    [ "$output" = '{"subject":"none","version":0,"seq":0,"state":{"n":0,"sum":0}}' ]
    run -0 --separate-stderr reduce -k none
    [ "$output" = '{"subject":"none","version":0,"seq":0,"state":null}' ]
}

@test "reduce: of a subject with versions only the events with one count, of others all but sys events" {
    publish -t number -k a -d 100
    stream a 2
    publish -t number -k a -d 100
    run -0 --separate-stderr sum a
    [ "$output" = '{"subject":"a","version":2,"seq":3,"state":{"n":2,"sum":3}}' ]
    consume -g g --from start -t x --auto-ack
    spool group pause g
    publish -t number -k g -d 1
    [ "$(replay -k g | wc -l)" -eq 2 ]
    run -0 --separate-stderr sum g
    [ "$output" = '{"subject":"g","version":0,"seq":6,"state":{"n":1,"sum":1}}' ]
}

@test "reduce: the digits of numbers and the bytes of the state stay" {
    stream a 1
    run -0 reduce -k a --snapshot-every 1 -- echo '{"n" : 1.10, "m":12345678901234567890123 , "s":"\u0041é"}'
    [ "$output" = '{"subject":"a","version":1,"seq":1,"state":{"n" : 1.10, "m":12345678901234567890123 , "s":"\u0041é"}}' ]
    stream a 1
    run -0 reduce -k a --snapshot-every 1 -- sh -c 'head -n 1'
    run -0 reduce -k a -- echo '{"n" : 1.10, "m":12345678901234567890123 , "s":"\u0041é"}'
    [ "$output" = '{"subject":"a","version":2,"seq":2,"state":{"n" : 1.10, "m":12345678901234567890123 , "s":"\u0041é"}}' ]
}

@test "reduce: a reducer may answer each event, read nothing, or print before it reads" {
    stream a 20000
    run -0 --separate-stderr reduce -k a -- jq -c '.data?'
    [ "$output" = '{"subject":"a","version":20000,"seq":20000,"state":20000}' ]
    run -0 --separate-stderr reduce -k a --snapshot-every 0 -- echo 1
    [ "$output" = '{"subject":"a","version":20000,"seq":20000,"state":1}' ]
    run -0 --separate-stderr reduce -k a -- sh -c 'seq 100000; wc -l; printf 7'
    [ "$output" = '{"subject":"a","version":20000,"seq":20000,"state":7}' ]
}

@test "reduce: a state may be large, and may not be larger than 16 MiB" {
    stream a 1
    reduce -k a --snapshot-every 1 -- sh -c 'printf \"; head -c 3000000 /dev/zero | tr "\0" x; echo \"' >out
    [ "$(jq '.state | length' out)" -eq 3000000 ]
    stream a 1
    reduce -k a --snapshot-every 1 -- sh -c 'printf \"; head -c 3000000 /dev/zero | tr "\0" x; echo \"' >out
    run -65 --separate-stderr reduce -k a -- sh -c 'tr "\0" x </dev/zero'
    [ "$stderr" = 'reduce: subject "a": the reducer printed a line of more than 16 MiB' ]
}

@test "reduce: REDUCE_SUBJECT names the subject, stderr is passed on, descriptors are inherited" {
    stream 'a b' 1
    run -0 --separate-stderr reduce -k 'a b' -- sh -c 'cat >/dev/null; echo said >&2; printf "\"%s\"\n" "$REDUCE_SUBJECT"'
    [ "$output" = '{"subject":"a b","version":1,"seq":1,"state":"a b"}' ]
    [ "$stderr" = said ]
    run -0 reduce -k 'a b' -- sh -c 'cat >/dev/null; ls /proc/$$/fd >fds; echo 1' </dev/null
    # A shell that makes a pipeline has its ends open for a moment.
    run -0 sh -c 'ls /proc/$$/fd >plain' </dev/null
    cmp plain fds
}

# --- failure

@test "reduce: a failing reducer's status is passed on, and nothing is printed or changed" {
    stream a 2
    sum a --snapshot-every 1 >/dev/null
    stream a 1 3
    spool sql "SELECT name, rev, value FROM documents" >before
    for status in 1 65 75 124; do
        run "-$status" --separate-stderr reduce -k a --snapshot-every 1 -- sh -c "cat; exit $status"
        [ -z "$output" ]
        [ "$stderr" = "reduce: subject \"a\": the reducer: exit status $status" ]
    done
    run -137 --separate-stderr reduce -k a --snapshot-every 1 -- sh -c 'echo 1; kill -KILL $$'
    [ "$stderr" = 'reduce: subject "a": the reducer: killed by signal 9 (Killed)' ]
    spool sql "SELECT name, rev, value FROM documents" | cmp before -
    [ "$(sum a)" = '{"subject":"a","version":3,"seq":3,"state":{"n":3,"sum":6}}' ]
}

@test "reduce: a reducer whose last line is not JSON is 65, and changes nothing" {
    stream a 1
    bad() { # PRINTED MESSAGE
        run -65 --separate-stderr reduce -k a --snapshot-every 1 -- printf "$1"
        [ -z "$output" ]
        [ "$stderr" = "reduce: subject \"a\": the reducer printed $2" ]
    }
    bad '1\n{"a":' 'no JSON: unfinished object at byte 6 (input ends)'
    bad '{"a":1,"a":2}' 'no JSON: duplicate key "a"'
    bad '1 2' 'no JSON: unexpected "2" at byte 3'
    bad '\n \n' nothing
    run -65 --separate-stderr reduce -k a -- true
    [ "$stderr" = 'reduce: subject "a": the reducer printed nothing' ]
    [ -z "$(spool sql 'SELECT * FROM documents')" ]
}

@test "reduce: a reducer that cannot be run is 127 or 126" {
    stream a 1
    run -127 --separate-stderr reduce -k a -- no-such-reducer
    [ "$stderr" = 'reduce: cannot run "no-such-reducer": not found' ]
    run -126 --separate-stderr reduce -k a -- ./sum.jq
    [ "$stderr" = 'reduce: cannot run "./sum.jq": Permission denied' ]
    # Once, and not for each subject.
    stream b 1
    run -127 --separate-stderr reduce --all -- no-such-reducer
    [ "$stderr" = 'reduce: cannot run "no-such-reducer": not found' ]
}

@test "reduce: a damaged event stops it, 74" {
    stream a 3
    stream b 1
    edit_line 2 specversion specvErsion
    run -74 --separate-stderr sum a
    [ -z "$output" ]
    [ "$stderr" = 'reduce: subject "a": seq 2 is damaged: the state is unknown' ]
    run -74 --separate-stderr reduce -k a
    run -74 --separate-stderr reduce --all -- jq -c -n -f sum.jq
    [ "$output" = '{"subject":"b","version":1,"seq":4,"state":{"n":1,"sum":1}}' ]
    [ "$(sum a --to 1 | jq .state.sum)" -eq 1 ]
}

@test "reduce: pruned events are missed, unless a snapshot covers them" {
    stream a 5
    sum a --snapshot-every 1 >/dev/null
    stream a 2 6
    spool prune --keep 2 >/dev/null
    run -0 --separate-stderr sum a
    [ "$output" = '{"subject":"a","version":7,"seq":7,"state":{"n":7,"sum":28}}' ]
    run -66 --separate-stderr reduce -k a
    [ "$stderr" = 'reduce: subject "a": version 1 is missing (pruned), and no snapshot of this reducer has it' ]
    run -66 --separate-stderr sum a --at-version 3
}

# --- snapshots

@test "reduce: a later run gets the snapshot and the events after it; without new events no reducer is run" {
    stream a 3
    [ "$(seen a --snapshot-every 3)" = '[null,[1,2,3]]' ]
    run -0 --separate-stderr seen a
    [ "$output" = '[null,[1,2,3]]' ]
    stream a 2 4
    [ "$(seen a --snapshot-every 3)" = '[[null,[1,2,3]],[4,5]]' ]
    stream a 1 6
    # Two were too few to keep another one; now there are three.
    [ "$(seen a --snapshot-every 3)" = '[[null,[1,2,3]],[4,5,6]]' ]
    [ "$(seen a --snapshot-every 3)" = '[[null,[1,2,3]],[4,5,6]]' ]
    # 0: neither kept nor used.
    [ "$(seen a --snapshot-every 0)" = '[null,[1,2,3,4,5,6]]' ]
    # Without anything new the reducer is not run.
    reduce -k a --snapshot-every 1 -- sh -c 'echo x >>ran; echo 1'
    reduce -k a --snapshot-every 1 -- sh -c 'echo x >>ran; echo 1'
    [ "$(wc -l <ran)" -eq 1 ]
}

@test "reduce: by default there is a snapshot after a hundred events" {
    stream a 99
    sum a >/dev/null
    [ -z "$(spool sql 'SELECT * FROM documents')" ]
    stream a 1 100
    sum a >/dev/null
    run -0 spool sql "SELECT kind, name, CAST(value ->> 'version' AS bigint) AS version FROM documents"
    [ "$output" = '{"kind":"snapshot","name":"a | jq -c -n -f sum.jq","version":100}' ]
}

@test "reduce: subjects without versions, and the merge, have snapshots too" {
    seq 3 | publish -t number -k a
    [ "$(seen a --snapshot-every 1)" = '[null,[1,2,3]]' ]
    publish -t number -k b -d 9
    publish -t number -k a -d 4
    [ "$(seen a)" = '[[null,[1,2,3]],[4]]' ]
    run -0 reduce --all -- jq -c -n '[input, [inputs.data]]'
    [ "$output" = '{"subject":"a","version":0,"seq":5,"state":[[null,[1,2,3]],[4]]}
{"subject":"b","version":0,"seq":4,"state":[null,[9]]}' ]
    publish -t t -k m -d '{"a":1.50}'
    reduce -k m --snapshot-every 1 >/dev/null
    publish -t t -k m -d '{"b":2}'
    [ "$(reduce -k m)" = '{"subject":"m","version":0,"seq":7,"state":{"a":1.50,"b":2}}' ]
    # The stream begins: from here on those are the events, and the snapshot is another state's.
    publish -t number -k a --expect-version 0 -d 7
    [ "$(seen a)" = '[null,[7]]' ]
}

@test "reduce: a changed reducer starts from the beginning: its arguments, its files, its path, its version" {
    mkdir bin other
    printf '#!/bin/sh\nexec jq -c -n "[input, [inputs.data]]"\n' >bin/red
    cp bin/red other/red
    chmod +x bin/red other/red
    PATH=$PWD/bin:$PATH
    state() { reduce -k a --snapshot-every 1 "$@" | jq -c '.state[0]'; }
    next() { stream a 1; }
    next && [ "$(state -- red)" = null ]
    next && [ "$(state -- red)" != null ]
    next && [ "$(state -- red more)" = null ]
    next && [ "$(PATH=$PWD/other:$PATH state -- red)" = null ]
    next && [ "$(state -- red)" = null ]
    next && [ "$(state -- red)" != null ]
    # A command in PATH is known by its time and size; a file that is named by its contents.
    touch -d '2001-01-01' bin/red
    next && [ "$(state -- red)" = null ]
    next && [ "$(state -- ./bin/red)" = null ]
    touch -d '2002-01-01' bin/red
    next && [ "$(state -- ./bin/red)" != null ]
    echo '# edited' >>bin/red
    next && [ "$(state -- ./bin/red)" = null ]
    echo '[input, [inputs.data]]' >p.jq
    next && [ "$(state -- jq -c -n -f p.jq)" = null ]
    next && [ "$(state -- jq -c -n -f p.jq)" != null ]
    echo '[input, [inputs.data ]]' >p.jq
    next && [ "$(state -- jq -c -n -f p.jq)" = null ]
    # With a version of its own its files are its own affair.
    next && [ "$(state --reducer-version 1 -- jq -c -n -f p.jq)" = null ]
    echo '[input, [inputs.data]]' >p.jq
    next && [ "$(state --reducer-version 1 -- jq -c -n -f p.jq)" != null ]
    next && [ "$(state --reducer-version 2 -- jq -c -n -f p.jq)" = null ]
}

@test "reduce: a reducer that is edited while it runs is run again, from the beginning" {
    stream a 2
    cat >red <<'SH'
#!/bin/sh
[ -e edited ] || { : >edited; sed 's/old/new/' red >red.new; chmod +x red.new; mv red.new red; }
jq -c -n '[input, [inputs.data], "old"]'
SH
    chmod +x red
    run -0 --separate-stderr reduce -k a --snapshot-every 1 -- ./red
    [ "$output" = '{"subject":"a","version":2,"seq":2,"state":[null,[1,2],"new"]}' ]
    # It is the new one's snapshot.
    stream a 1 3
    run -0 --separate-stderr reduce -k a -- ./red
    [ "$output" = '{"subject":"a","version":3,"seq":3,"state":[[null,[1,2],"new"],[3],"new"]}' ]
    # One that never rests.
    : >log
    run -75 --separate-stderr reduce -k a --snapshot-every 1 -- tee log
    [ "$stderr" = 'reduce: subject "a": "log" changes whenever the reducer runs: is it part of the reducer? --reducer-version names the reducer instead' ]
    run -0 --separate-stderr reduce -k a --reducer-version 1 -- sh -c 'tee log | wc -l' sh log
    [ "$output" = '{"subject":"a","version":3,"seq":3,"state":4}' ]
}

@test "reduce: a damaged or lost snapshot only costs the time to start from the beginning" {
    stream a 3
    sum a --snapshot-every 1 >/dev/null
    for value in '' '{' '{"subject":"a"}' '[]' '{"reducer":1,"subject":"a","version":9,"seq":1,"state":0}'; do
        sql "UPDATE document SET value=$(bytes "$value") WHERE kind='snapshot'"
        run -0 --separate-stderr sum a --snapshot-every 1
        [ "$output" = '{"subject":"a","version":3,"seq":3,"state":{"n":3,"sum":6}}' ]
        [ -z "$stderr" ]
    done
    # It was replaced.
    stream a 1 4
    run -0 reduce -k a -- jq -c -n -f sum.jq
    [ "$(spool sql "SELECT CAST(value ->> 'version' AS bigint) AS v FROM documents")" = '{"v":3}' ]
    sql "DELETE FROM document"
    [ "$(sum a | jq -c .state)" = '{"n":4,"sum":10}' ]
}

@test "reduce: --to and --at-version print the state as it was, and keep nothing" {
    needs_world
    echo 0 >clock
    seq 2 | world publish -t number -k a --expect-version any
    echo 86400 >clock
    seq 3 4 | world publish -t number -k a --expect-version any
    sum a --snapshot-every 1 >/dev/null
    spool sql 'SELECT * FROM documents' >before
    [ "$(sum a --snapshot-every 1 --at-version 3)" = '{"subject":"a","version":3,"seq":3,"state":{"n":3,"sum":6}}' ]
    [ "$(sum a --snapshot-every 1 --to 1)" = '{"subject":"a","version":1,"seq":1,"state":{"n":1,"sum":1}}' ]
    [ "$(echo 86401 >clock; world reduce -k a --to 12h -- jq -c -n -f sum.jq | jq .version)" -eq 2 ]
    [ "$(sum a --to start)" = '{"subject":"a","version":0,"seq":0,"state":{"n":0,"sum":0}}' ]
    [ "$(reduce -k a --to 0)" = '{"subject":"a","version":0,"seq":0,"state":null}' ]
    [ "$(sum a --to now)" = "$(sum a)" ]
    spool sql 'SELECT * FROM documents' | cmp before -
    seq 3 | publish -t number -k plain
    [ "$(sum plain --to 6 | jq -c '[.seq, .state.sum]')" = '[6,3]' ]
    # One from before that is used.
    stream a 2 5
    [ "$(reduce -k a --at-version 5 -- jq -c -n -f sum.jq | jq -c .state)" = '{"n":5,"sum":15}' ]
    run -66 --separate-stderr sum a --at-version 7
    [ "$stderr" = 'reduce: subject "a": it is at version 6' ]
    run -66 --separate-stderr sum none --at-version 1
    [ "$stderr" = 'reduce: subject "none": no event with a version (publish --expect-version)' ]
}

@test "reduce: events that are appended while the reducer runs are not part of it" {
    stream a 2
    background reduce -k a -- sh -c ': >begun; until [ -e go ]; do sleep 0.02; done; exec jq -c -n "input | [inputs.data]"' >out
    wait_for test -e begun
    stream a 1 3
    : >go
    wait "$pid"
    [ "$(cat out)" = '{"subject":"a","version":2,"seq":2,"state":[1,2]}' ]
    # Without versions, and for all.
    for n in 1 2; do publish -t number -k "p$n" -d 1; done
    rm begun go
    background reduce --all -t 'number.#' -- sh -c ': >begun; until [ -e go ]; do sleep 0.02; done; exec jq -c -n "input | [inputs.data]"' >out
    wait_for test -e begun
    for n in 1 2; do publish -t number -k "p$n" -d 2; done
    stream a 1 4
    : >go
    wait "$pid"
    [ "$(jq -c '[.subject, .version, .state]' out)" = '["a",3,[1,2,3]]
["p1",0,[1]]
["p2",0,[1]]' ]
}

@test "reduce: of two that keep a snapshot at once, the later state is not replaced by the earlier" {
    stream a 2
    background reduce -k a --snapshot-every 1 -- sh -c '[ $(wc -l) = 3 ] && { : >begun; until [ -e go ]; do sleep 0.02; done; }; echo 2' >out
    wait_for test -e begun
    stream a 1 3
    run -0 reduce -k a --snapshot-every 1 -- sh -c '[ $(wc -l) = 3 ] && { : >begun; until [ -e go ]; do sleep 0.02; done; }; echo 2'
    : >go
    wait "$pid"
    [ "$(jq .version out)" -eq 2 ]
    [ "$(spool sql "SELECT CAST(value ->> 'version' AS bigint) AS v FROM documents")" = '{"v":3}' ]
}

# --- without a reducer

@test "reduce: without a reducer the state is the JSON merge of data (RFC 7396)" {
    publish -t x -d 0
    n=0
    while IFS='|' read -r target patch result; do
        n=$((n + 1))
        printf '%s\n' "$target" "$patch" | publish -t t -k "case-$n"
        run -0 --separate-stderr reduce -k "case-$n"
        [ "$(jq -c .state <<<"$output")" = "$result" ]
    done <<'TABLE'
{"a":"b"}|{"a":"c"}|{"a":"c"}
{"a":"b"}|{"b":"c"}|{"a":"b","b":"c"}
{"a":"b"}|{"a":null}|{}
{"a":"b","b":"c"}|{"a":null}|{"b":"c"}
{"a":["b"]}|{"a":"c"}|{"a":"c"}
{"a":"c"}|{"a":["b"]}|{"a":["b"]}
{"a":{"b":"c"}}|{"a":{"b":"d","c":null}}|{"a":{"b":"d"}}
{"a":[{"b":"c"}]}|{"a":[1]}|{"a":[1]}
["a","b"]|["c","d"]|["c","d"]
{"a":"b"}|["c"]|["c"]
{"a":"foo"}|null|null
{"a":"foo"}|"bar"|"bar"
{"e":null}|{"a":1}|{"a":1}
[1,2]|{"a":"b","c":null}|{"a":"b"}
{}|{"a":{"bb":{"ccc":null}}}|{"a":{"bb":{}}}
{"\u0061":{"é":1}}|{"a":{"\u00e9":2}}|{"a":{"é":2}}
TABLE
    [ "$n" -eq 16 ]
    # No data, or none in JSON, says nothing. Digits stay.
    publish <<'E'
{"type":"t","subject":"m","data":{"price":1.10,"big":12345678901234567890123,"list":[1.0, null]}}
{"type":"t","subject":"m"}
{"type":"t","subject":"m","data_base64":"AA=="}
{"type":"t","subject":"m","data":{"name":"a\"b"}}
E
    run -0 --separate-stderr reduce -k m
    [ "$output" = '{"subject":"m","version":0,"seq":37,"state":{"price":1.10,"big":12345678901234567890123,"list":[1.0, null],"name":"a\"b"}}' ]
}

# --- every subject

@test "reduce: --all prints every subject once, -t those with an event of a type" {
    for n in 1 2 3; do
        stream account-$n $n
        publish -t note -k account-$n -d 0
        publish -t note -k note-$n -d $n
    done
    publish -t note -d 0
    run -0 --separate-stderr reduce --all -- jq -c -n -f sum.jq
    [ "$output" = '{"subject":"account-1","version":1,"seq":1,"state":{"n":1,"sum":1}}
{"subject":"note-1","version":0,"seq":3,"state":{"n":1,"sum":1}}
{"subject":"account-2","version":2,"seq":5,"state":{"n":2,"sum":3}}
{"subject":"note-2","version":0,"seq":7,"state":{"n":1,"sum":2}}
{"subject":"account-3","version":3,"seq":10,"state":{"n":3,"sum":6}}
{"subject":"note-3","version":0,"seq":12,"state":{"n":1,"sum":3}}' ]
    run -0 --separate-stderr reduce --all -t number -t 'x.#' -j 4 -- jq -c -n -f sum.jq
    [ "$(sort <<<"$output")" = '{"subject":"account-1","version":1,"seq":1,"state":{"n":1,"sum":1}}
{"subject":"account-2","version":2,"seq":5,"state":{"n":2,"sum":3}}
{"subject":"account-3","version":3,"seq":10,"state":{"n":3,"sum":6}}' ]
    run -0 --separate-stderr reduce --all -t nothing -- jq -c -n -f sum.jq
    [ -z "$output$stderr" ]
    # The same state as with -k, also without versions, and as it was.
    for subject in account-3 note-2; do
        [ "$(reduce --all --to 8 | grep "$subject")" = "$(reduce -k "$subject" --to 8 | grep '"seq":[1-9]')" ]
    done
}

@test "reduce: --all -j 4 runs four reducers at once" {
    for n in 1 2 3 4; do stream "s$n" 1; done
    # Each waits for all.
    run -0 --separate-stderr timeout 60 reduce --all -j 4 -- \
        sh -c ': >"in.$REDUCE_SUBJECT"; until [ -e in.s1 ] && [ -e in.s2 ] && [ -e in.s3 ] && [ -e in.s4 ]; do sleep 0.02; done; echo 1'
    [ "${#lines[@]}" -eq 4 ]
}

@test "reduce: --all continues after a subject that fails; its status is the worst one" {
    for n in 1 2 3 4; do stream "s$n" 1; done
    for j in 1 3; do
        run -127 --separate-stderr reduce --all -j "$j" -- \
            sh -c 'case $REDUCE_SUBJECT in s1) exit 127 ;; s3) echo "{" ;; *) echo 1 ;; esac'
        [ "$(sort <<<"$output")" = '{"subject":"s2","version":1,"seq":2,"state":1}
{"subject":"s4","version":1,"seq":4,"state":1}' ]
        [ "$(sort <<<"$stderr")" = 'reduce: subject "s1": the reducer: exit status 127
reduce: subject "s3": the reducer printed no JSON: unfinished object at byte 2 (input ends)' ]
    done
}

@test "reduce: --all of many events and subjects, with and without versions, agrees with jq" {
    seq 3000 | jq -c '{type: "number", subject: "s\(. % 37)", data: .}' | publish
    seq 3000 | jq -c '{type: "number", subject: "v\(. % 11)", data: .}' | publish --expect-version any
    reduce --all -j 3 -- jq -c -n -f sum.jq | jq -c '[.subject, .state.n, .state.sum]' | sort >ours
    replay | jq -sc 'group_by(.subject)[] | [.[0].subject, length, (map(.data) | add)]' | sort | cmp - ours
    [ "$(wc -l <ours)" -eq 48 ]
}

# --- surroundings

@test "reduce: wrong usage is 64" {
    publish -t x -d 1
    wrong() { # MESSAGE OPTION...
        run -64 --separate-stderr reduce "${@:2}"
        [ "$stderr" = "reduce: $1 (see reduce --help)" ]
    }
    wrong '-k KEY or --all is missing'
    wrong '-k KEY or --all is missing' -- jq
    wrong '-k and --all exclude each other' -k a --all
    wrong '-t and -j go with --all' -k a -t x
    wrong '-t and -j go with --all' -k a -j 2
    wrong '--at-version goes with -k: each subject has versions of its own' --all --at-version 1
    wrong '--to and --at-version exclude each other' -k a --to now --at-version 1
    wrong '--reducer-version goes with a reducer' -k a --reducer-version 1
    wrong '-k is not UTF-8: "\xff"' -k $'\xff'
    run -64 reduce -k ''
    run -64 reduce -k a --at-version 0
}

@test "reduce: a missing spool is 66, and is not created" {
    run -66 --separate-stderr reduce -k a
    run -66 --separate-stderr reduce -k a -- touch ran
    spool_missing && [ ! -e ran ]
}

@test "reduce: a full disk behind stdout is 74, a reader that has gone is no error" {
    [ -w /dev/full ] || skip 'there is no /dev/full'
    stream a 2
    run -74 --separate-stderr sh -c 'reduce -k a --snapshot-every 1 -- jq -c -n -f sum.jq >/dev/full'
    [ "$stderr" = 'reduce: cannot write to stdout: No space left on device' ]
    for n in 1 2 3; do stream "s$n" 1; done
    run -0 --separate-stderr bash -o pipefail -c 'reduce --all -- jq -c -n -f sum.jq | true'
    [ -z "$stderr" ]
}

@test "reduce: a signal ends it and its reducers, and nothing is printed or kept" {
    stream a 1
    for signal in TERM INT; do
        background reduce -k a --snapshot-every 1 -- sh -c 'echo $$ >left.pid; echo 1; exec sleep 1000' >out
        wait_for test -s left.pid
        kill -s "$signal" "$pid"
        status=0
        wait "$pid" || status=$?
        [ "$status" -eq $((128 + $(kill -l "$signal"))) ]
        wait_for gone "$(cat left.pid)"
        [ ! -s out ]
        rm left.pid
    done
    [ -z "$(spool sql 'SELECT * FROM documents')" ]
}

@test "reduce: nothing in a state or a subject controls the terminal" {
    command -v script >/dev/null || skip 'no script(1) to make a terminal with'
    printf '{"type":"n","subject":"k\330\234","data":"\302\23331m \342\200\256"}\n' | publish
    script -qec 'reduce --all' /dev/null </dev/null | sed 's/\r$//' >shown
    [ "$(cat shown)" = '{"subject":"k\u061c","version":0,"seq":1,"state":"\u009b31m \u202e"}' ]
    [ "$(reduce --all | jq -r .state)" = $'\xc2\x9b31m \xe2\x80\xae' ]
}

# --- faults

# What is appended in each round is in the state of the next, whatever happened to the snapshot.
@test "reduce: whatever call fails, what it prints is right, and the next run needs no help" {
    needs_world
    local count=1 first=0 stride
    stream a 1
    stride=$(long 5 1)
    set +T
    for kind in $(faults kill torn eio eio+ enospc enospc+ eintr short+ enolck); do
        for ((n = 1 + first++ % stride; ; n += stride)); do
            count=$((count + 1))
            publish -t number -k a --expect-version any -d 1
            : >met
            status=0
            { LD_PRELOAD=$BUILD/fault/fail.so FAULT_KIND=$kind FAULT_AT=$n FAULT_LOG=met \
                reduce -k a --snapshot-every 1 -- jq -c -n -f sum.jq >out 2>said; } 2>/dev/null || status=$?
            [ -s met ] || break
            case $kind:$status in
            kill:137 | torn:137 | *:0 | *:7[1345]) ;;
            *)
                echo "$kind-$n: status $status: $(cat met said)" >&2
                false
                ;;
            esac
            expected="{\"subject\":\"a\",\"version\":$count,\"seq\":$count,\"state\":{\"n\":$count,\"sum\":$count}}"
            # All of the line or the beginning of it; all of it with 0.
            [ "$status" -ne 0 ] || [ "$(cat out)" = "$expected" ]
            case $expected in "$(cat out)"*) ;; *) false ;; esac
            [ "$(reduce -k a -- jq -c -n -f sum.jq)" = "$expected" ]
        done
        [ "$status" -eq 0 ]
        [ "$n" -gt 3 ]
    done
    set -T
    [ "$(replay -k a | wc -l)" -eq "$count" ]
}

@test "reduce: a snapshot that cannot be kept is reported, and the state is still printed" {
    needs_world
    stream a 1
    run -0 --separate-stderr env LD_PRELOAD="$BUILD/fault/fail.so" FAULT_KIND=enospc+ FAULT_ONLY=fdatasync FAULT_AT=1 \
        FAULT_LOG=met reduce -k a --snapshot-every 1 -- jq -c -n -f sum.jq
    [ -s met ] || skip 'SQLite syncs by another call'
    [ "$output" = '{"subject":"a","version":1,"seq":1,"state":{"n":1,"sum":1}}' ]
    [[ $stderr == 'reduce: subject "a": '*': no snapshot was kept' ]]
}

@test "reduce: kills at random leave the right state" {
    local last
    last=$(long 31 101)
    stream a 1
    RANDOM=${SEED:=$RANDOM}
    echo "SEED=$SEED"
    for ((count = 2; count <= last; count++)); do
        publish -t number -k a --expect-version any -d 1
        reduce -k a --snapshot-every 1 -- jq -c -n -f sum.jq >out 3>&- &
        sleep "0.00$((RANDOM % 10))$((RANDOM % 10))"
        kill -KILL $! 2>/dev/null || true
        wait $! || true
        expected="{\"subject\":\"a\",\"version\":$count,\"seq\":$count,\"state\":{\"n\":$count,\"sum\":$count}}"
        case $expected in "$(cat out)"*) ;; *) false ;; esac
    done 2>/dev/null
    [ "$(sum a)" = "$expected" ]
    [ "$(sum a --snapshot-every 0)" = "$expected" ]
}

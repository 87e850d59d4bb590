# spool breaker, bucket, key: the state that wrappers keep under a name. Its meaning is tested with
# each wrapper; the verbs are tested here.
load helper

# Times as TIME, ages as AGE.
timeless() {
    sed -E 's/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z/TIME/g; s/  [0-9]+[smh](  |$)/  AGE\1/'
}

named() {
    throttle -r 5/m -b 2 api -- true
    throttle -r 1/h web -- true
    spool bucket close later 1h >closed
    once -k inv -- true 2>/dev/null
    once -k $'xy\u202ez' -- true
    breaker stripe -- true
}

@test "spool bucket: a rate is shown so that it can be given again" {
    for rate in 4/515s 3/s 1/36500d 2/17.003s 7/m; do
        throttle -r "$rate" "$rate" -- true
        [ "$(spool bucket show "$rate" | jq -r .rate)" = "$rate" ]
    done
    for rate in 1/3661999ms 3000/70d; do
        throttle -r "$rate" "$rate" -- true
        run -75 --separate-stderr throttle -r "$(spool bucket show "$rate" | jq -r .rate)" --wait 0 "$rate" -- true
        [ "${#stderr_lines[@]}" -eq 1 ] # that there is no turn, and not that it had another rate
    done
}

@test "spool bucket, key, breaker: a missing spool is 66, and no entries an empty list" {
    for kind in bucket key breaker; do
        run -66 --separate-stderr spool "$kind"
        [[ $stderr == "spool: $EVENT_SPOOL: there is no spool; "* ]]
    done
    publish -t n -d 1
    for kind in bucket key breaker; do
        run -0 --separate-stderr spool "$kind" list
        [ -z "$output$stderr" ]
        run -0 --separate-stderr spool "$kind" -o table
        [ -z "$output$stderr" ]
    done
}

@test "spool bucket: lists buckets by name, with their rate, what is left, and until when they are closed" {
    named
    [ "$(timeless <closed)" = 'bucket later closed until TIME' ]
    for verb in '' list; do
        # shellcheck disable=SC2086 # none or one
        run -0 --separate-stderr spool bucket $verb
        [ -z "$stderr" ]
        [ "$(timeless <<<"$output")" = '{"bucket":"api","rate":"5/m","burst":2,"state":"free","until":null,"taken":1,"since":"TIME"}
{"bucket":"later","rate":null,"burst":1,"state":"closed","until":"TIME","taken":0,"since":"TIME"}
{"bucket":"web","rate":"1/h","burst":1,"state":"used up","until":"TIME","taken":1,"since":"TIME"}' ]
    done
    run -0 --separate-stderr spool bucket -o table
    [ "$(timeless <<<"$output" | sed -E 's/ +SINCE$/ SINCE/; s/ +AGE$/ AGE/')" = \
        'BUCKET  RATE  BURST  STATE    UNTIL                     TAKEN SINCE
api      5/m      2  free     -                             1 AGE
later      -      1  closed   TIME      0 AGE
web      1/h      1  used up  TIME      1 AGE' ]
}

@test "spool key: lists keys by name, done or running, and when they are forgotten" {
    named
    run -0 --separate-stderr spool key
    [ "$(timeless <<<"$output")" = '{"key":"inv","state":"done","since":"TIME","pid":null,"forgotten":"TIME"}
{"key":"xy\u202ez","state":"done","since":"TIME","pid":null,"forgotten":"TIME"}' ]
    # By itself, while it runs.
    run -0 --separate-stderr once -k run -- sh -c 'spool key show run; echo "$PPID"'
    [ "$(timeless <<<"${lines[0]}")" = \
        '{"key":"run","state":"running","since":"TIME","pid":'"${lines[1]}"',"forgotten":null}' ]
    run -0 --separate-stderr spool key -o table
    [ "$(timeless <<<"$output" | sed -E 's/ +(SINCE|AGE) +/ \1 /; s/ +(PID|-) +/ \1 /')" = 'KEY        STATE SINCE PID FORGOTTEN
inv        done AGE - TIME
run        done AGE - TIME
xy\u202ez  done AGE - TIME' ]
}

@test "spool key: a key whose process was killed is free" {
    background once -k a -- sh -c ': >begun; exec sleep 1000'
    wait_for test -e begun
    slay "$pid"
    run -0 --separate-stderr spool key show a
    [ "$(timeless <<<"$output")" = '{"key":"a","state":"free","since":"TIME","pid":null,"forgotten":null}' ]
    run -0 spool key forget a
    run -0 spool key
    [ -z "$output" ]
}

@test "spool breaker: lists breakers with their figures" {
    named
    run -0 --separate-stderr spool breaker
    [ "$(jq -c '[.breaker,.state,.next_probe,.calls,.failures,.timeouts,.rejects]' <<<"$output")" = \
        '["stripe","closed",null,1,0,0,0]' ]
    run -0 --separate-stderr spool breaker -o table
    [ "$(head -n 1 <<<"$output" | tr -s ' ')" = \
        'BREAKER STATE SINCE NEXT_PROBE CALLS FAILURES TIMEOUTS REJECTS P50_MS P95_MS P99_MS REASON' ]
    [ "${#lines[@]}" -eq 2 ]
}

@test "spool bucket, key, breaker: show prints the line of one entry" {
    named
    for one in 'bucket web' 'key inv' 'breaker stripe'; do
        # shellcheck disable=SC2086 # two words
        run -0 --separate-stderr spool ${one% *} show ${one#* }
        [ "${#lines[@]}" -eq 1 ]
        [ "$(spool "${one% *}" | grep -F "\"${one#* }\"")" = "$output" ]
    done
}

@test "spool bucket, key, breaker: after forget it is as if the entry had never existed" {
    named
    for one in 'bucket web' 'key inv' 'breaker stripe'; do
        # shellcheck disable=SC2086 # two words
        run -0 --separate-stderr spool ${one% *} forget ${one#* }
        [ "$output" = "$one forgotten" ]
        [ -z "$stderr" ]
        # shellcheck disable=SC2086 # two words
        run -66 --separate-stderr spool ${one% *} show ${one#* }
        [ "$stderr" = "spool: there is no ${one% *} \"${one#* }\"" ]
    done
    run -0 throttle -r 1/h --wait 0 web -- echo now
    [ "$output" = now ]
    run -0 once -k inv -- echo now
    [ "$output" = now ]
}

@test "spool bucket: close and open print what they did" {
    named
    run -0 --separate-stderr spool bucket close api 2h
    [ "$(timeless <<<"$output")" = 'bucket api closed until TIME' ]
    [ "$(spool bucket show api | jq -c '[.state,.rate,.taken]')" = '["closed","5/m",1]' ]
    [ "$(spool bucket show api | jq -r .until)" = "${output#*until }" ]
    run -0 --separate-stderr spool bucket open api
    [ "$output" = 'bucket api open' ]
    [ "$(spool bucket show api | jq -c '[.state,.until]')" = '["free",null]' ]
    # What is printed is safe for a terminal.
    run -0 --separate-stderr spool key forget $'xy\u202ez'
    [ "$output" = 'key xy\u202ez forgotten' ]
}

@test "spool bucket, key, breaker: an unknown name is 66" {
    publish -t n -d 1
    for verb in 'bucket show' 'bucket open' 'bucket forget' 'key show' 'key forget' 'breaker show' 'breaker forget'; do
        # shellcheck disable=SC2086 # two words
        run -66 --separate-stderr spool $verb none
        [ "$stderr" = "spool: there is no ${verb% *} \"none\"" ]
        [ -z "$output" ]
    done
}

@test "spool bucket, key, breaker: wrong usage is 64" {
    usage() { # MESSAGE KIND ARGUMENT...
        local message=$1
        shift
        run -64 --separate-stderr spool "$@"
        [ "$stderr" = "spool: $message (see spool $1 --help)" ] || {
            echo "$*: $stderr" >&2
            return 1
        }
    }
    usage 'bucket can list, show, close, open, forget: "bogus"' bucket bogus
    usage 'key can list, show, forget: "bogus"' key bogus
    usage 'breaker can list, show, trip, reset, disable, enable, forget: "bogus"' breaker bogus
    for kind in bucket key breaker; do
        usage "$kind show wants a NAME" "$kind" show
        usage 'NAME is empty (an unset variable?)' "$kind" forget ''
        usage "$kind list: one too many: \"x\"" "$kind" list x
        usage "$kind show: one too many: \"b\"" "$kind" show a b
    done
    usage 'bucket close wants NAME D, with D like 120s' bucket close api
    usage 'bucket close wants NAME D, with D like 120s' bucket close api 0
    usage 'bucket close wants NAME D, with D like 120s' bucket close api soon
    usage 'bucket close: one too many: "x"' bucket close api 1s x
    usage '--for is for breaker trip' breaker reset x --for 1s
    run -64 spool bucket -o xml
    run -64 spool key --for 1s
    spool_missing
}

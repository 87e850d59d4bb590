# Names from users are checked in one way, wherever they come from: UTF-8, no control characters,
# not empty, of limited length. Any other name is 64, and nothing is done.
load helper

# wrong WHAT MAX COMMAND...: the word NAME in the command, or in its environment, is tried.
wrong() {
    local what=$1 max=$2 long
    shift 2
    printf -v long '%*s' "$max" ''
    long=${long// /x}
    refused "$what is not UTF-8: \"n\\xffm\"" $'n\377m' "$@"
    refused "$what has a control character: \"a\\x1b\"" $'a\033' "$@"
    refused "$what has a control character: \"a\\u0085\"" $'a\302\205' "$@"
    refused "$what is longer than $max bytes: \"" "x$long" "$@"
    [[ $what == [A-Z]*_* || $what == the* ]] || refused "$what is empty (an unset variable?)" '' "$@"
}

refused() { # MESSAGE NAME COMMAND...
    local message=$1 name=$2 status=0 said
    shift 2
    said=$(env -- "${@/NAME/$name}" 2>&1 </dev/null) || status=$?
    [[ $status -eq 64 && $said == *": $message"* ]] || {
        echo "$* with $(printf %q "$name"): status $status, $said" >&2
        return 1
    }
}

@test "names: a name in an option is checked before anything is done" {
    wrong -g 255 consume -g NAME --from start -- touch ran
    wrong --group 255 consume --group NAME --from start --emit -- touch ran
    wrong -g 255 settle -g NAME
    wrong -g 255 replay -g NAME
    wrong -k 1024 replay -k NAME
    wrong --correlation 1024 replay --correlation NAME
    wrong -g 255 dlq list -g NAME
    wrong -k 1024 dlq retry -k NAME
    wrong -g 255 dlq show -g NAME 1
    wrong -g 255 trace -g NAME 1
    wrong -g 255 spool wait -g NAME
    wrong -k 1024 once -k NAME -- touch ran
    wrong -k 1024 reduce -k NAME
    wrong --reducer-version 255 reduce -k k --reducer-version NAME touch ran
    wrong -g 255 project -g NAME read.db p.sql
    wrong --table 255 outbox-relay --table NAME app.db
    wrong --source 1024 outbox-relay --source NAME app.db
    wrong -k 1024 publish -t a -k NAME -d 1
    wrong --id 1024 publish -t a --id NAME -d 1
    wrong --source 1024 publish -t a --source NAME -d 1
    wrong -m 4095 fsm list -m NAME
    wrong -s 4095 spool info -s NAME
    [ ! -e ran ]
    spool_missing
}

@test "names: a name in an operand is checked before anything is done" {
    wrong NAME 255 breaker NAME touch ran
    wrong NAME 255 throttle -r 1/s NAME touch ran
    wrong GROUP 255 spool group show NAME
    wrong GROUP 255 spool group seek NAME start
    wrong GROUP 255 spool group drop NAME
    wrong NAME 8192 spool breaker show NAME
    wrong NAME 8192 spool bucket forget NAME
    wrong NAME 8192 spool key forget NAME
    wrong SUBJECT 1024 fsm show NAME
    wrong SUBJECT 1024 fsm forget NAME
    wrong ID 8192 saga show NAME
    wrong ID 8192 saga retry NAME step
    wrong STEP 255 saga retry id NAME
    wrong 'the name of FILE.sql without .sql' 255 project read.db NAME.sql
    [ ! -e ran ]
    spool_missing
}

@test "names: names in the environment are checked before anything is done" {
    wrong EVENT_SPOOL 4095 EVENT_SPOOL=NAME publish -t a -d 1
    refused 'the path of the spool is not UTF-8: "/n\xffm/.local/' $'n\377m' EVENT_SPOOL= HOME=/NAME publish -t a -d 1
    wrong EVENT_DEFAULT_SOURCE 1024 EVENT_DEFAULT_SOURCE=NAME publish -t a -d 1
    wrong EVENT_DEFAULT_SOURCE 1024 EVENT_DEFAULT_SOURCE=NAME outbox-relay app.db
    wrong EVENT_ID 1024 EVENT_ID=NAME publish -t a -d 1
    wrong EVENT_CORRELATIONID 1024 EVENT_ID=1 EVENT_CORRELATIONID=NAME publish -t a -d 1
    wrong EVENT_GROUP 255 EVENT_ID=1 EVENT_GROUP=NAME publish -t a -d 1
    wrong EVENT_GROUP 255 EVENT_ID=1 EVENT_SOURCE=s EVENT_GROUP=NAME once touch ran
    wrong EVENT_SOURCE 1024 EVENT_ID=1 EVENT_GROUP=g EVENT_SOURCE=NAME once touch ran
    [ ! -e ran ]
    spool_missing
}

@test "names: the folder that a spool is in is checked before anything is done" {
    mkdir $'n\377m'
    cd $'n\377m'
    run -64 --separate-stderr publish -s here.db -t a -d 1
    [[ $stderr == 'publish: the path of the spool is not UTF-8: "'* ]]
}

@test "names: a key in an event is that event's fault" {
    for key in '\u0007' ''; do
        run -65 once --by /k -- touch ran <<<"{\"k\":\"$key\"}"
    done
    run -65 --separate-stderr once --by /k -- touch ran <<<'{"k":"a\u001b"}'
    [ "$stderr" = 'once: /k: the key has a control character: "a\x1b"' ]
    [ ! -e ran ]
}

@test "names: a group name that is not UTF-8 is refused each time, and its consumer does not crash" {
    seq 3 | publish -t a
    for _ in 1 2; do
        run -64 --separate-stderr consume -g $'n\377m' --from start -a 1 -- false
        [ "$stderr" = 'consume: -g is not UTF-8: "n\xffm" (see consume --help)' ]
    done
    [ "$(spool group list | wc -l)" -eq 0 ]
}

@test "names: the longest names, in any script, work like others" {
    publish -t a -d 1
    printf -v g 'ü%.0s' {1..127}
    run -1 consume -g "$g" --from start -a 1 -- false
    [ "$(spool group list -o ndjson | jq -r .group)" = "$g" ]
    [ "$(dlq list -o ndjson | jq -r .group)" = "$g" ]
    [ "$(replay -t sys.dead-lettered | jq -r .data.group)" = "$g" ]
    run -0 consume -g "$g." --from start -t a --emit -- echo '{"type":"b"}'
    [ "$(replay -t b | jq -r .source)" = "/$(uname -n)/$g." ]
}

load helper

events() { # N [TYPE]
    seq "$1" | publish -t "${2:-n}"
}

missing() { # NAME: what is said of a spool that is not there
    echo "spool: $1: there is no spool; publish creates one, -s or EVENT_SPOOL names another"
}

schema() { # its version
    if [ "$ENGINE" = sqlite ]; then echo 2; else echo 1; fi
}

@test "spool: info prints where the spool is and what is in it" {
    events 3
    consume -g one --from start -a 1 -n 1 -- false || [ $? -eq 1 ]
    consume -g two --from start --auto-ack
    run -0 --separate-stderr spool info
    [ -z "$stderr" ]
    [ "$(jq -c 'del(.size, .wal_size, .first_recorded, .last_recorded)' <<<"$output")" = \
        "{\"path\":\"$EVENT_SPOOL\",\"schema\":$(schema),\"events\":4,\"first_seq\":1,\"last_seq\":4,\"groups\":2,\"dead\":1,\"segments\":0}" ]
    [ "$(jq -r '"\(.first_recorded)\n\(.last_recorded)"' <<<"$output" | grep -cxE '[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z')" -eq 2 ]
    [ "$(jq .size <<<"$output")" -gt 10000 ]
    [ "$ENGINE" != sqlite ] || [ "$(jq .size <<<"$output")" -eq "$(stat -c %s spool.db)" ]
    [ "$(jq -c keys_unsorted <<<"$output")" = '["path","schema","size","wal_size","events","first_seq","last_seq","first_recorded","last_recorded","groups","dead","segments"]' ]
}

@test "spool: info of a spool without events" {
    consume -g g --from start -- true
    run -0 --separate-stderr spool info
    [ "$(jq -c '[.events,.first_seq,.last_seq,.first_recorded,.last_recorded,.groups,.dead]' <<<"$output")" = '[0,0,0,null,null,1,0]' ]
    run -0 spool info -o table
    grep -qx 'first_recorded *-' <<<"$output"
}

@test "spool: info as a table has a line for each member" {
    events 2
    run -0 --separate-stderr spool info -o table
    [ -z "$stderr" ]
    [ "$(sed -E 's/[0-9]{4}-[0-9-]+T[0-9:.]+Z/TIME/; s/^((wal_)?size +)[0-9]+$/\1N/' <<<"$output")" = "path           $EVENT_SPOOL
schema         $(schema)
size           N
wal_size       N
events         2
first_seq      1
last_seq       2
first_recorded TIME
last_recorded  TIME
groups         0
dead           0
segments       0" ]
}

@test "spool: info shows the WAL of a spool that is in use" {
    events 1
    background consume -g g --from start -f -- true
    used() { [ "$(spool info | jq '.wal_size > 0')" = true ]; }
    wait_for used
}

@test "spool: -s names the spool, and its path is shown absolute" {
    mkdir sub
    publish -s sub/a.db -t n -d 1
    run -0 --separate-stderr spool info -s sub/a.db
    [ "$(jq -r .path <<<"$output")" = "$PWD/sub/a.db" ]
    [ ! -e "$EVENT_SPOOL" ]
}

@test "spool: a missing spool is 66 and is not created" {
    run -66 --separate-stderr spool info
    [ "$stderr" = "$(missing "$EVENT_SPOOL")" ]
    run -66 --separate-stderr spool group
    [ "$stderr" = "$(missing "$EVENT_SPOOL")" ]
    for verb in show pause resume drop; do
        run -66 --separate-stderr spool group $verb g
        [ -z "$output" ]
        [ "$stderr" = "$(missing "$EVENT_SPOOL")" ]
    done
    [ ! -e "$EVENT_SPOOL" ]
}

@test "spool: group lists the groups by name, with the work that they have left" {
    events 4
    consume -g old --from start --auto-ack -n 4
    consume -g charge -t 'n.#' -t other --from start --to 0 --ordered -- true
    consume -g email --from start -n 3 -a 2 --backoff 100d -- sh -c 'case $EVENT_SEQ in 1) exit 65 ;; 2) exit 1 ;; esac' || [ $? -eq 1 ]
    run -0 --separate-stderr spool group
    [ -z "$stderr" ]
    [ "$(jq -c 'del(.created)' <<<"$output")" = \
        '{"group":"charge","types":["n.#","other"],"ordered":true,"state":"idle","hold_until":null,"position":0,"lag":4,"due":0,"waiting":0,"in_flight":0,"dead":0,"consumers":0,"done":0,"retried":0,"deferred":0}
{"group":"email","types":["#"],"ordered":false,"state":"idle","hold_until":null,"position":3,"lag":2,"due":0,"waiting":1,"in_flight":0,"dead":1,"consumers":0,"done":1,"retried":1,"deferred":0}
{"group":"old","types":["#"],"ordered":false,"state":"idle","hold_until":null,"position":4,"lag":0,"due":0,"waiting":0,"in_flight":0,"dead":0,"consumers":0,"done":4,"retried":0,"deferred":0}' ]
    [[ ${lines[0]} =~ ',"created":"'[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}'Z"}'$ ]]
    all=$output
    run -0 spool group list
    [ "$output" = "$all" ]
}

@test "spool: lag counts only events that the group takes" {
    printf '{"type":"%s"}\n' a b a b a | publish
    consume -g g -t a --from start -n 1 --auto-ack
    run -0 --separate-stderr spool group show g
    [ "$(jq .lag <<<"$output")" -eq 2 ]
}

@test "spool: group as a table" {
    events 2
    consume -g email --from start -n 1 --auto-ack
    consume -g charge -t 'order.*' -t x --from start --to 0 -- true
    run -0 --separate-stderr spool group -o table
    [ -z "$stderr" ]
    [ "$output" = 'GROUP   TYPES      STATE  POSITION  LAG  DUE  WAITING  IN_FLIGHT  DEAD  DONE  CONSUMERS
charge  order.*,x  idle          0    0    0        0          0     0     0          0
email   #          idle          1    1    0        0          0     0     1          0' ]
}

@test "spool: no groups are an empty list, and no error" {
    events 1
    run -0 --separate-stderr spool group
    [ -z "$output$stderr" ]
    run -0 --separate-stderr spool group -o table
    [ -z "$output$stderr" ]
}

@test "spool: group show prints the group's line of the list" {
    events 2
    consume -g one --from start --to 0 -- true
    consume -g two --from start --to 0 -- true
    run -0 spool group
    want=${lines[1]}
    run -0 --separate-stderr spool group show two
    [ "$output" = "$want" ]
}

@test "spool: group shows the events in flight and the consumers" {
    events 3
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo >started; read x <latch'
    wait_for test -e started
    run -0 --separate-stderr spool group show g
    [ "$(jq -c '[.state,.lag,.in_flight,.consumers]' <<<"$output")" = '["active",3,2,1]' ]
}

@test "spool: a group whose consumer was killed has no consumers" {
    events 1
    background consume -g g --from start -- sh -c 'echo >started; exec sleep 600'
    wait_for test -e started
    slay "$pid"
    run -0 --separate-stderr spool group show g
    [ "$(jq -c '[.state,.lag,.consumers]' <<<"$output")" = '["idle",1,0]' ]
}

@test "spool: an unknown group is 66 and names the nearest one" {
    events 1
    consume -g charge --from start -- true
    for verb in show pause resume drop; do
        run -66 --separate-stderr spool group $verb chrage
        [ -z "$output" ]
        [[ $stderr == "spool: there is no group \"chrage\" in $EVENT_SPOOL; did you mean \"charge\"?"* ]]
    done
    run -0 spool group show charge
}

@test "spool: group pause and resume report it, and the list shows it" {
    events 1
    consume -g g --from start --to 0 -- true
    run -0 --separate-stderr spool group pause g
    [ "$output" = 'group g paused' ]
    [ -z "$stderr" ]
    run -0 --separate-stderr spool group show g
    [ "$(jq -r .state <<<"$output")" = paused ]
    run -0 spool group pause g # again
    run -0 --separate-stderr spool group resume g
    [ "$output" = 'group g resumed' ]
    run -0 --separate-stderr spool group show g
    [ "$(jq -r .state <<<"$output")" = idle ]
    run -0 spool group resume g
}

@test "spool: pausing one group leaves the others alone" {
    events 1
    consume -g one --from start --to 0 -- true
    consume -g two --from start --to 0 -- true
    spool group pause one
    run -75 consume -g one -- printenv EVENT_SEQ
    run -0 consume -g two -- printenv EVENT_SEQ
    [ "$output" = 1 ]
}

@test "spool: group resume ends a hold" {
    events 1
    run -75 consume -g g --from start --backoff 100d -- sh -c 'exit 69'
    run -0 --separate-stderr spool group show g
    [ "$(jq -r .state <<<"$output")" = 'on hold' ]
    [[ $(jq -r .hold_until <<<"$output") =~ ^20.*Z$ ]]
    spool group resume g
    run -0 --separate-stderr spool group show g
    [ "$(jq -c '[.state,.hold_until]' <<<"$output")" = '["idle",null]' ]
    run -0 consume -g g -- printenv EVENT_SEQ
    [ "$output" = 1 ]
}

@test "spool: group drop forgets the group, its position and its dead letters, and keeps the events" {
    events 2
    replay >before
    consume -g g --from start -n 1 -a 1 -- false || [ $? -eq 1 ]
    consume -g other --from start -n 1 -a 1 -- false || [ $? -eq 1 ]
    run -0 --separate-stderr spool group drop g
    [ "$output" = 'group g dropped' ]
    [ -z "$stderr" ]
    run -66 spool group show g
    run -0 --separate-stderr dlq list
    [ "$(jq -r .group <<<"$output")" = other ]
    replay -t '#' | cmp before -
    run -66 consume -g g -- true
    run -0 --separate-stderr consume -g g --from start -- sh -c 'echo "$EVENT_SEQ $EVENT_ATTEMPT"'
    [ "$output" = $'1 1\n2 1' ]
}

@test "spool: group drop is refused with 75 while a consumer works" {
    events 2
    mkfifo latch
    background consume -g g --from start -- sh -c 'echo >>started; [ $EVENT_SEQ = 2 ] || read x <latch'
    wait_for test -e started
    run -75 --separate-stderr spool group drop g
    [ -z "$output" ]
    [ "$stderr" = 'spool: group "g": it has 1 running consumer: end them first' ]
    timeout 60 sh -c 'echo >latch'
    wait "$pid"
    run -0 spool group drop g
    [ "$output" = 'group g dropped' ]
}

@test "spool: group drop is refused with 75 while a consumer waits for events" {
    background consume -g g --from start -f -- true
    follows() { [ "$(spool group show g | jq .consumers)" = 1 ]; }
    wait_for follows
    run -75 --separate-stderr spool group drop g
    [ -z "$output" ]
    [ "$stderr" = 'spool: group "g": it has 1 running consumer: end them first' ]
    run -0 spool group show g
}

@test "spool: a group whose consumer was killed can be dropped" {
    events 1
    background consume -g g --from start -- sh -c 'echo >started; exec sleep 600'
    wait_for test -e started
    slay "$pid"
    run -0 spool group drop g
    run -0 --separate-stderr consume -g g --from start -- printenv EVENT_ATTEMPT
    [ "$output" = 1 ]
}

@test "spool: names of groups are shown complete and harmless" {
    events 1
    name=$'a"b \u202e'
    consume -g "$name" --from start --to 0 -- true
    run -0 --separate-stderr spool group show "$name"
    [ "$(jq -r .group <<<"$output")" = "$name" ]
    run -0 spool group -o table
    [[ ${lines[1]} == 'a"b \u202e  #  '* ]]
    spool group pause "$name" >out
    run -1 env LC_ALL=C grep -P '\xe2\x80\xae' out
    run -75 --separate-stderr consume -g "$name" -- true
    run -1 env LC_ALL=C grep -P '\xe2\x80\xae' <<<"$stderr"
    spool group drop "$name"
}

@test "spool: wrong usage is 64 and says what is wrong" {
    events 1
    consume -g g --from start -- true
    usage() { # MESSAGE ARG...
        local message=$1
        shift
        run -64 --separate-stderr spool "$@"
        [ -z "$output" ]
        [ "$stderr" = "spool: $message" ] || {
            echo "spool $*: $stderr" >&2
            return 1
        }
    }
    usage 'wants a verb: info, init, group, breaker, bucket, key, check, prune, wait, backup, copy or sql (see spool --help)'
    usage 'unknown verb "inof", did you mean info? The verbs are info, init, group, breaker, bucket, key, check, prune, wait, backup, copy or sql (see spool --help)' inof
    usage 'info takes no operand: "x" (see spool info --help)' info x
    usage '-o wants auto, table or ndjson: "xml" (see spool info --help)' info -o xml
    usage '-s is empty (an unset variable?) (see spool info --help)' info -s ''
    usage 'group drop wants a GROUP (see spool group --help)' group drop
    usage 'GROUP is empty (an unset variable?) (see spool group --help)' group drop ''
    usage 'one GROUP at a time: "h" (see spool group --help)' group drop g h
    usage 'group can list, show, pause, resume, seek, set or drop: "stop" (see spool group --help)' group stop g
    usage 'group can list, show, pause, resume, seek, set or drop: "stop" (see spool group --help)' group stop
    run -0 spool group show g
}

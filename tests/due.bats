# Waiting events are delivered at their time, not when a consumer happens to look. Followers look
# once a second anyway; here they log each wait that timed out, and a second is too long.
load helper

setup() {
    helper_setup
    needs_world
}

# follow ARG...: a consumer that ends by itself after -n events.
follow() {
    : >waits
    LD_PRELOAD=$BUILD/fault/world.so WORLD_WAITS=waits timeout 60 consume -f "$@"
    # Not in vain was what the bell or a handler ended.
    ! grep -E '^[0-9]{4}' waits || return 1
}

@test "due: a retry is delivered when its wait is over" {
    publish -t n -d 1
    run -0 follow -g g --from start -n 4 -- sh -c '[ "$EVENT_ATTEMPT" = 4 ] || { echo delay 30ms >&3; exit 1; }'
    run -0 follow -g h --from start -n 1 --lease 1m
    worker='while read -r line; do [ $((n += 1)) -lt 4 ] && more=",\"status\":\"retry\",\"delay\":\"30ms\"" || more=; jq -c .id <<<"$line" | sed "s/.*/{\"id\":&$more}/"; done'
    run -0 follow -g i --from start -n 4 --workers -- bash -c "$worker"
    grep -q . waits
}

@test "due: an event with a delay is delivered when it is over, also in an ordered group" {
    for more in '' --ordered; do
        publish -t n -k s -d 1 --delay 500ms
        publish -t n -k s -d 2
        # shellcheck disable=SC2086 # none or one
        run -0 follow -g "g$more" --from start $more -n 2 -- printenv EVENT_SEQ
        [ "${#lines[@]}" -eq 2 ]
        no_spool
    done
}

@test "due: the end of a hold, of a lease, and of an event that blocks another" {
    publish -t n -k s -d 1
    run -0 follow -g hold --from start -n 1 -- sh -c '[ -e down ] || { : >down; echo delay 100ms >&3; exit 69; }'
    run -0 --separate-stderr follow -g lease --from start -n 2 --lease 100ms
    [ "${#lines[@]}" -eq 2 ]
    no_spool
    publish -t n -k s -d 1 --ttl 1s
    publish -t n -k s -d 2
    run -0 follow -g g --from start --ordered -n 2 -- sh -c '[ "$EVENT_SEQ" = 2 ] || { echo delay 1h >&3; exit 1; }'
}

@test "due: the next event that a rate allows, while another is being handled" {
    seq 2 | publish -t n
    run -0 follow -g g --from start -j 2 -n 2 -r 1/100ms -- sh -c 'if [ "$EVENT_SEQ" = 2 ]; then : >two; else while [ ! -e two ]; do sleep 0.02; done; fi'
}

@test "due: a rate does not keep a consumer waiting that has nothing more to do" {
    publish -t n -d 1
    run -0 timeout 60 consume -g g --from start -r 1/h -- printenv EVENT_SEQ
    [ "$output" = 1 ]
}

@test "due: a follower with nothing to do still waits a second at a time" {
    publish -t n -d 1
    publish -t n -d 2 --delay 1h
    LD_PRELOAD=$BUILD/fault/world.so WORLD_WAITS=waits background consume -g g --from start -f -j 2 -- true
    wait_for grep -qx 1000 waits
    kill "$pid"
    wait "$pid"
    [ "$(grep -cvx 1000 waits)" -lt 10 ]
}

load helper

# Everything at once on one spool, without a fault: no process disturbs another. LONG=1: for longer.

# does STATUS... -- COMMAND...: it ends with one of these statuses, and prints no message with 0
does() {
    local fine=' ' status=0
    while [ "$1" != -- ]; do
        fine+="$1 "
        shift
    done
    shift
    "$@" 2>"said.$me" || status=$?
    [[ $fine == *" $status "* ]] || echo "$* ended with $status: $(cat "said.$me")" >>unexpected
}

deliver() { # where each delivery of GROUP is noted, in one write
    consume -g "$1" --from start "${@:2}" -- sh -c 'echo "$EVENT_ID" >>"seen.$EVENT_GROUP"'
}

one_of_many() { # NUMBER SEED: so many commands of any kind
    local me=$1 i
    RANDOM=$2
    for ((i = 0; i < rounds; i++)); do
        case $((RANDOM % 16)) in
        0 | 1 | 2) does 0 -- publish -t n --echo < <(seq -f "{\"n\":%g,\"by\":$me}" 20) >>"acknowledged.$me" ;;
        3) does 0 -- publish -t n -k "s$me" --echo -d "$i" >>"acknowledged.$me" ;;
        4 | 5) does 0 -- deliver some -n 7 -j 2 ;;
        6) does 0 75 -- deliver ordered --ordered -n 5 ;; # 75: another has its turn
        7) does 0 -- consume -g pipe --from start --auto-ack -n 50 >>piped."$me" ;;
        8) does 0 1 -- consume -g dead --from start -n 3 -a 1 -- false ;;
        9) does 0 -- dlq retry -g dead --all ;;
        10) does 0 -- replay --last 20 >/dev/null ;;
        11) does 0 -- spool check --quick >>checked ;;
        12) does 0 -- spool group >/dev/null ;;
        13) does 0 66 -- dlq stats -g dead >/dev/null ;;
        14) does 0 -- breaker shared -- true && does 0 -- throttle -r 100000/s shared -- true ;;
        15) does 0 -- once -k "$i" -- true && does 0 -- reduce -k "s$me" -- tail -n 1 >/dev/null ;;
        esac
    done
}

@test "stress: sixteen processes that do everything at once end as they should, with nothing lost or repeated" {
    seed=${SEED:-$RANDOM} rounds=${LONG:+400}
    : "${rounds:=15}"
    echo "SEED=$seed"
    publish -t first -d 1
    for group in some ordered pipe dead; do
        # shellcheck disable=SC2046 # none or one
        consume -g $group --from start $([ $group != ordered ] || echo --ordered) --to 0 -- true
    done
    : >unexpected
    set +T
    for ((n = 1; n <= 16; n++)); do
        one_of_many "$n" $((seed + n)) 3>&- &
    done
    wait
    set -T
    [ ! -s unexpected ] || { head unexpected checked >&2 && false; }
    spool check
    # All that was acknowledged is there, once, and each group gets each of it once.
    cat acknowledged.* | jq -r .id | sort >acknowledged
    replay -t n | jq -r .id | sort >there
    cmp acknowledged there
    deliver some
    deliver ordered
    consume -g pipe --auto-ack >piped.last
    replay -t n -t first | jq -r .id | sort >all
    sort seen.some | diff - all
    sort seen.ordered | diff - all
    cat piped.* | jq -r .id | sort | diff - all
}

# The bank account of share/examples: event sourcing with publish --expect-version and reduce.
load helper

commands=${LONG:+1000} # of all writers together
: "${commands:=64}"

bank() { "$TOP/share/examples/bank" "$@"; }

# What happened to each account, added up by nobody but jq.
sums() {
    replay -t 'account.#' | jq -sc 'group_by(.subject)[] | [.[0].subject,
        (map(if .type == "account.withdrawn" then -.data.cents else .data.cents // 0 end) | add)]'
}

@test "bank: open, deposit, withdraw, transfer and close check the balance" {
    bank open a ann
    bank open b bob
    bank deposit a 100
    bank withdraw a 30
    refused() { # MESSAGE COMMAND...
        run -65 --separate-stderr bank "${@:2}"
        grep -qxF "bank: $1" <<<"$stderr"
    }
    refused 'account a exists already' open a eve
    refused 'a has 70, not 71' withdraw a 71
    refused 'a still has 70' close a
    refused 'c is not open' deposit c 1
    refused 'c is not open' transfer a c 10 t0
    refused 'there is no account c' balance c
    bank transfer a b 70 t1
    bank close a
    refused 'a is not open' deposit a 1
    refused 'a is not open' transfer b a 1 t2
    run -0 --separate-stderr bank balance a
    [ "$output" = 0 ]
    run -0 --separate-stderr bank balance b
    [ "$output" = 70 ]
    [ "$(replay | wc -l)" -eq 7 ]
    run -64 bank deposit b -5
    run -64 bank withdraw b
    run -64 bank
}

@test "bank: a command with the same id does nothing twice, nor does a transfer that was cut in the middle" {
    bank open a ann
    bank open b bob
    for _ in 1 2 3; do BANK_ID=d1 bank deposit a 100; done
    # All of it is out the first time: the second time that is no reason to refuse.
    for _ in 1 2; do BANK_ID=w1 bank withdraw a 60; done
    # Killed between the two: the money is underway.
    BANK_ID=t1.out bank withdraw a 40
    for _ in 1 2; do bank transfer a b 40 t1; done
    [ "$(bank balance a) $(bank balance b)" = '0 40' ]
    [ "$(replay | wc -l)" -eq 6 ]
    # The other side is closed in that moment.
    bank withdraw b 40
    bank close b
    bank deposit a 5
    BANK_ID=t2.out bank withdraw a 5
    run -65 --separate-stderr bank transfer a b 5 t2
    [ "${stderr_lines[-1]}" = 'bank: a has paid, but b has not received the money: repeat transfer t2, or put the money back' ]
}

@test "bank: an account that changes between reading and appending is read again" {
    bank open a ann
    bank deposit a 100
    # A reducer that is in nobody's way but the first time, when somebody else withdraws meanwhile.
    mkdir bin
    cat >bin/jq <<'SH'
#!/bin/sh
PATH=${PATH#*:}
case "$*" in *account.jq) mkdir met 2>/dev/null && bank withdraw a 80 ;; esac
exec jq "$@"
SH
    ln -s "$TOP/share/examples/bank" "$TOP/share/examples/account.jq" bin/
    sed -i "s|bank withdraw|$TOP/share/examples/bank withdraw|" bin/jq
    chmod +x bin/jq
    PATH=$PWD/bin:$PATH run -65 --separate-stderr bank withdraw a 50
    grep -q 'subject "a" is at version 3, not 2: reload it and decide again' <<<"$stderr"
    grep -qx 'bank: a has 20, not 50' <<<"$stderr"
    [ "$(bank balance a)" -eq 20 ]
}

# A writer's commands, by its own dice; one line each: STATUS COMMAND ACCOUNT CENTS ID [TO].
writer() { # NUMBER SEED
    local n account other cents id status
    RANDOM=$2
    for ((n = 1; n <= commands / 8; n++)); do
        account=a$((RANDOM % 2)) cents=$((RANDOM % 60 + 1)) id=w$1.$n status=0
        case $((RANDOM % 5)) in
        0 | 1) BANK_ID=$id bank deposit $account $cents || status=$?
            echo "$status deposit $account $cents $id" ;;
        2 | 3) BANK_ID=$id bank withdraw $account $cents || status=$?
            echo "$status withdraw $account $cents $id" ;;
        4) other=a$((1 - ${account#a}))
            bank transfer $account $other $cents "$id" || status=$?
            echo "$status transfer $account $cents $id $other" ;;
        esac
    done
}

@test "bank: eight writers at once: nothing is lost, doubled or overdrawn" {
    seed=${SEED:-$RANDOM}
    echo "SEED=$seed"
    for account in a0 a1; do bank open $account bank; done 2>/dev/null
    for writer in 1 2 3 4 5 6 7 8; do
        writer $writer $((seed + writer)) >"done.$writer" 2>"said.$writer" 3>&- &
    done
    wait
    cat done.* >all
    [ "$(wc -l <all)" -eq $((commands / 8 * 8)) ]
    # Done or refused, and nothing else.
    run ! grep -v '^\(0\|65\) ' all
    # Each command that was done is in the log once, one that was refused is not.
    awk '$1 == 0 && $2 != "transfer" { print $5 } $1 == 0 && $2 == "transfer" { print $5 ".in"; print $5 ".out" }' all |
        sort >expected
    replay | jq -r 'select(.type != "account.opened").id' | sort | diff expected -
    # What the writers know, what happened, and what reduce makes of it are the same.
    awk '$1 == 0 && $2 == "deposit" { n[$3] += $4 } $1 == 0 && $2 != "deposit" { n[$3] -= $4 }
        $1 == 0 && $2 == "transfer" { n[$6] += $4 }
        END { for (a in n) printf "[\"%s\",%d]\n", a, n[a] }' all | sort >known
    sums | diff known -
    reduce --all -j 2 -- jq -c -n -f "$TOP/share/examples/account.jq" | jq -c '[.subject, .state.balance]' |
        sort | diff known -
    # At no time was less than nothing in an account, and no version is missing.
    replay | jq -sc 'group_by(.subject)[] |
        (map(.version) == [range(1; length + 1)]),
        (reduce .[] as $e ({n: 0, least: 0}; .n += (if $e.type == "account.withdrawn" then -1 else 1 end) * ($e.data.cents // 0)
            | .least = ([.least, .n] | min)) | .least == 0)' >true
    [ "$(sort -u true)" = true ]
}

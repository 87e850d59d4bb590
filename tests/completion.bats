# Completion: the candidates that a shell offers at each place of a command line.
load helper

# As they are installed: beside a link to the executables.
setup() {
    helper_setup
    mkdir completions
    cp "$TOP/share/completions"/* completions
    ln -s "$BUILD/bin" completions/bin
}

offers() { # WORD...: candidates for the last word
    completions/candidates $(($# - 1)) "$@"
}

# In bash, for the last word; what it would put on the line.
bash_offers() {
    bash -c '. completions/eventutils.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE=$*
        _eventutils; printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
}

spool_with_names() {
    publish <<<'{"type":"order.placed","id":"A-1","data":1}'
    publish <<<'{"type":"order.paid","id":"two words $(touch hacked)","data":1}'
    publish <<<'{"type":"n","id":"quo\\\"te","data":1}'
    consume -g email -t order.placed --from start -a 1 -- false 2>/dev/null || [ $? -eq 1 ]
    consume -g charge --from start -- true
}

@test "completion: options and verbs are those of --help-all, for every command and verb" {
    commands=0
    for file in "$TOP"/cmd/*.c; do
        name=$(basename "$file" .c)
        [ "$name" != ev ] || continue # completes what it runs
        "$name" --help >help
        sed -n '/^verbs:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p' help >verbs
        [ ! -s verbs ] || diff verbs <(offers "$name" '')
        [ -s verbs ] || echo >verbs
        while read -r verb; do
            # shellcheck disable=SC2086 # none, or one
            offers "$name" $verb - | sort >offered
            # shellcheck disable=SC2086
            "$name" $verb --help-all | sed -n '/^options:/,$p' | grep -oE '^ +(-[a-zA-Z], )?--[a-z-]+' | grep -oE -- '-[-a-zA-Z]+' | sort >options
            [ -s options ] && diff options offered || { echo "$name $verb"; false; }
            commands=$((commands + 1))
        done <verbs
    done
    [ "$commands" -ge 40 ]
}

@test "completion: the services of libpq, where a spool or a database is named" {
    export PGSERVICEFILE=$PWD/services
    printf '%s\n' '# mine' '[shop]' 'host=db.example' '[stock]' 'dbname=x' >services
    for line in 'publish -s' 'spool copy' 'project' 'outbox-relay' 'spool copy spool.db'; do
        # shellcheck disable=SC2086 # words
        [ "$(offers $line '' | paste -sd' ')" = 'service=shop service=stock :files' ]
    done
    [ "$(offers publish --rejects '')" = :files ]
}

# at_prompt LINE...: in an interactive bash, each with a tab behind it, where consume and publish print
# their words.
at_prompt() {
    local line
    {
        printf '%s\n' '. completions/eventutils.bash; PS1= PS2=' 'consume() { echo "got<$*>"; }' 'publish() { echo "got<$*>"; }'
        for line in "$@"; do printf '%s\t\n' "$line"; done
        echo exit
    } >typed
    HISTFILE='' TERM=dumb timeout 60 script -qec 'bash --norc --noprofile -i' /dev/null <typed 2>&1 | tr -d '\r\a' | grep -o '^got<.*>$'
}

@test "completion: in bash, behind and within an address, which bash takes for several words" {
    command -v script >/dev/null || skip 'script is not installed'
    spool_with_names
    # A path with what breaks words: the group is that of the spool.
    EVENT_SPOOL=$PWD/a:b=c@d.db spool_with_names
    consume -s "$PWD/a:b=c@d.db" -g zebra --from start -n 1 -- true
    export PGSERVICEFILE=$PWD/services
    echo '[shop]' >services
    run -0 at_prompt "consume -s $PWD/a:b=c@d.db -g zeb" "consume -s '$PWD/a:b=c@d.db' -g zeb" 'publish -s service=sh'
    [ "$output" = "got<-s $PWD/a:b=c@d.db -g zebra>
got<-s $PWD/a:b=c@d.db -g zebra>
got<-s service=shop>" ]
}

@test "completion: verbs, groups, types, events, points and choices" {
    spool_with_names
    [ "$(offers dlq '' | paste -sd' ')" = 'list show stats try retry drop' ]
    [ "$(offers spool '' | paste -sd' ')" = 'info init group breaker bucket key check prune wait backup copy sql' ]
    [ "$(offers consume -g '' | sort | paste -sd' ')" = 'charge email' ]
    [ "$(offers spool group pause '' | sort | paste -sd' ')" = 'charge email' ]
    [ "$(offers replay -t '' | sort | paste -sd' ')" = 'n order.paid order.placed sys.dead-lettered' ]
    [ "$(offers replay --from '' | paste -sd' ')" = 'start now today yesterday' ]
    [ "$(offers replay -o '' | paste -sd' ')" = 'auto ndjson table positions' ]
    [ "$(offers dlq show '')" = 1 ]
    publish -t n -k account-7 -d 1
    offers reduce -k '' | grep -qx account-7
    offers trace '' | grep -qx A-1
    [ "$(offers ev replay -o '' | paste -sd' ')" = 'auto ndjson table positions' ]
}

@test "completion: another spool on the line, or none at all" {
    EVENT_SPOOL=other.db spool_with_names
    run -0 --separate-stderr offers consume -g ''
    [ -z "$output$stderr" ]
    [ "$(offers consume -s other.db -g '' | sort | paste -sd' ')" = 'charge email' ]
    run -0 --separate-stderr offers replay -s none.db ''
    [ -z "$output$stderr" ]
    [ ! -e spool.db ]
}

@test "completion: verbs of fsm, and the subjects that have a state" {
    echo '{"id":"lamp","initial":"off","states":{"off":{"on":{"flip":"on"}},"on":{}}}' >lamp.json
    printf '{"type":"flip","id":"1","subject":"%s"}\n' hall a/b | fsm run lamp.json
    [ "$(offers fsm '' | paste -sd' ')" = 'run show list forget check dot' ]
    [ "$(offers fsm show '' | sort | paste -sd' ')" = 'a/b hall' ]
    [ "$(offers fsm show -o '' | paste -sd' ')" = 'auto table ndjson' ]
    [ "$(offers fsm run '')" = :files ]
    [ "$(offers fsm list -m '')" = :files ]
}

@test "completion: verbs of saga, and the sagas there are" {
    echo '{"name":"s","steps":[{"name":"a","do":["true"]}]}' >s.json
    publish -t n --id e1 -d 1
    replay e1 | saga run s.json
    [ "$(offers saga '' | paste -sd' ')" = 'run resume list show retry settle check dot' ]
    [ "$(offers saga show '')" = s/e1 ]
    [ "$(offers saga run '')" = :files ]
}

@test "completion: names of breakers, buckets and keys, and their verbs" {
    breaker bank -- true
    throttle -r 10/s api -- true
    once -k 'invoices 2026-11' -- true
    once -k 'quo"te' -- true
    [ "$(offers breaker '')" = bank ]
    [ "$(offers breaker --failures 3 --timeout 1s '')" = bank ]
    [ "$(offers throttle -r 10/s '')" = api ]
    [ "$(offers once -k '')" = 'invoices 2026-11' ]
    [ "$(offers spool breaker '' | paste -sd' ')" = 'list show trip reset disable enable forget' ]
    [ "$(offers spool bucket '' | paste -sd' ')" = 'list show close open forget' ]
    [ "$(offers spool key '' | paste -sd' ')" = 'list show forget' ]
    [ "$(offers spool breaker trip '')" = bank ]
    [ "$(offers spool bucket close '')" = api ]
    [ -z "$(offers spool bucket close api '')" ]
    [ "$(offers spool key forget '')" = 'invoices 2026-11' ]
    [ "$(offers retry --jitter '' | paste -sd' ')" = 'full equal none' ]
    [ "$(offers breaker --fallback '')" = :commands ]
    run -0 --separate-stderr offers breaker -s none.db ''
    [ -z "$output$stderr" ]
    [ ! -e none.db ]
}

@test "completion: the command after a wrapper is completed as a command" {
    breaker bank -- true
    for line in 'breaker bank' 'breaker bank --' 'throttle -r 1/s api --' 'retry -a 3 --' 'retry -a 3' 'once -k k' 'reduce -k k' 'consume -g g --'; do
        # shellcheck disable=SC2086 # words
        [ "$(offers $line '')" = :commands ]
    done
    [ "$(offers breaker bank -- ./call '')" = :files ]
    [ "$(offers breaker bank ./call -)" = :files ]
    [ "$(offers retry -a 3 -- breaker '')" = bank ]
    [ "$(offers consume -g g -- once -k k -- breaker bank -- retry --jitter '' | paste -sd' ')" = 'full equal none' ]
    [ "$(offers retry ./call -a '')" = :files ]
    [ "$(bash_offers retry -- prin | grep -cx -e printf -e printenv)" -ge 2 ]
    [ "$(bash_offers breaker b)" = bank ]
}

@test "completion: after -- and for files it leaves completion to the shell" {
    [ "$(offers consume -g g -- ./h '')" = :files ]
    [ "$(offers publish '')" = :files ]
    [ "$(offers ls '')" = :files ]
    [ "$(offers publish -s '')" = :files ]
}

@test "completion: in bash, candidates that begin with the word; no id is executed or split" {
    spool_with_names
    [ "$(bash_offers consume -g e)" = email ]
    [ "$(bash_offers replay two)" = 'two\ words\ \$\(touch\ hacked\)' ]
    [ "$(bash_offers replay quo)" = '' ]
    [ ! -e hacked ]
}

# zsh_session FPATH LINE...: each line with a tab behind it, at the prompt of a zsh with FPATH in its
# fpath, where consume, eu-consume and retry print their words as got<WORD...>.
zsh_session() {
    mkdir -p zdot
    cat >zdot/.zshrc <<END
PROMPT= RPS1=
fpath=($1 \$fpath)
autoload -Uz compinit && compinit -u -D
for name in consume eu-consume retry; do functions[\$name]='print -r -- "got<\$*>"'; done
END
    ZDOTDIR=$PWD/zdot TERM=dumb timeout 60 zsh -f -c '
        zmodload zsh/zpty
        zpty z zsh -d -i
        for line in "${@:2}"; do
            zpty -w -n z "$line"$'"'\\t\\n'"'
            zpty -r z text "*got<*>*"
            print -r -- "got<${text##*got<}"
        done' zsh "$@"
}

@test "completion: fish and zsh offer the same" {
    spool_with_names
    if command -v fish >/dev/null; then
        [ "$(fish --no-config -c 'source completions/eventutils.fish; complete -C "consume -g e"; complete -C "replay -o tab"')" = $'email\ntable' ]
    fi
    if command -v zsh >/dev/null; then
        [ "$(zsh_session "$PWD/completions" 'consume -g em' 'retry --jitter n' | tr -d '\r')" = $'got<-g email>\ngot<--jitter none>' ]
    fi
    command -v fish || skip 'fish is not installed'
    command -v zsh || skip 'zsh is not installed'
}

@test "completion: runs only our own executables, whatever other programs are called, in each shell" {
    mkdir others
    for trap in drop-project project others/publish others/xy-replay others/spool others/jq-trace; do
        printf '#!/bin/sh\necho "$0 $*" >>%s\n' "$PWD/ran" >$trap
        chmod +x $trap
    done
    PATH=$PWD/others:$PATH
    for line in 'retry -- ./drop-project' 'retry ./project' publish xy-replay jq-trace "$PWD/project" ./drop-project \
        'consume -g g -- ./drop-project' 'once -k k xy-replay' 'ev ./project' 'ev xy-replay' 'throttle -r 1/s x others/publish'; do
        for word in '' -; do
            # shellcheck disable=SC2086 # words
            [ "$(offers $line "$word")" = :files ]
        done
    done
    # Groups are asked of our own spool, wherever another one stands.
    [ -z "$(offers consume -g '')" ]
    bash_offers retry -- ./drop-project - >/dev/null
    bash_offers ./drop-project - >/dev/null
    ! command -v fish >/dev/null ||
        fish --no-config -c 'source completions/eventutils.fish; complete -C "retry -- ./drop-project -"; complete -C "publish -"; complete -C "consume -g "'
    ! command -v zsh >/dev/null || zsh_session "$PWD/completions" 'retry -- ./drop-project -' 'consume -g '
    [ ! -e ran ]
}

@test "completion: our commands by path, by a link of another name, and behind ev" {
    ln -s "$BUILD/bin/replay" eu-replay
    for line in ./eu-replay "$BUILD/bin/replay" 'ev replay' "ev $BUILD/bin/replay" 'retry -- ./eu-replay'; do
        # shellcheck disable=SC2086 # words
        [ "$(offers $line -o '' | paste -sd' ')" = 'auto ndjson table positions' ]
    done
}

@test "completion: is installed where each shell looks, for names that are free, and removed again" {
    mkdir others
    printf '#!/bin/sh\n' >others/eu-retry
    chmod +x others/eu-retry
    PATH=$PWD/others:$PATH make -s -C "$TOP" -o all install DESTDIR="$PWD/root" PREFIX=/usr/local BUILD="$BUILD" PROGRAM_PREFIX=eu- >out
    share=$PWD/root/usr/local/share
    [ -z "$(find root -name 'eu-retry*')" ]
    [[ $(head -n 1 "$share/zsh/site-functions/_eventutils") == '#compdef '*' eu-replay eu-saga '*' ev' ]]
    spool_with_names
    PATH=$PWD/root/usr/local/bin:$PATH
    run -0 bash -c '. "$1"; COMP_LINE="eu-consume -g e"; COMP_WORDS=(eu-consume -g e); COMP_CWORD=2; _eventutils; echo "${COMPREPLY[@]}"; complete -p' bash \
        "$share/bash-completion/completions/eu-consume"
    [ "$output" = $'email\ncomplete -F _eventutils eu-consume' ]
    ! command -v fish >/dev/null ||
        [ "$(fish --no-config -c 'set fish_complete_path $PWD/root/etc/fish/completions; complete -C "eu-consume -g e"')" = email ]
    ! command -v zsh >/dev/null ||
        [ "$(zsh_session "$share/zsh/site-functions" 'eu-consume -g em' | tr -d '\r')" = 'got<-g email>' ]
    make -s -C "$TOP" -o all uninstall DESTDIR="$PWD/root" PREFIX=/usr/local BUILD="$BUILD" PROGRAM_PREFIX=eu- >out
    [ -z "$(find root ! -type d)" ]
}

# Completion of the toolkit's commands for bash. bash-completion loads it by the command's name.
# shellcheck shell=bash
_eventutils_candidates=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/candidates

_eventutils() {
    local candidate
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [ "$candidate" = :files ]; then
            compopt -o default 2>/dev/null
        elif [ "$candidate" = :commands ]; then
            compopt -o default 2>/dev/null
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
        elif [[ $candidate == "${COMP_WORDS[COMP_CWORD]}"* ]]; then
            COMPREPLY+=("$(printf %q "$candidate")") # what comes from events is a word and no more
        fi
    done < <("$_eventutils_candidates" "$COMP_CWORD" "${COMP_WORDS[@]}")
}

complete -F _eventutils breaker consume dlq ev fsm once outbox-relay project publish reduce replay retry saga settle spool throttle trace
# Also under the name that it was loaded for, where the commands have a prefix.
case ${1:-} in
*breaker | *consume | *dlq | *ev | *fsm | *once | *outbox-relay | *project | *publish | *reduce | *replay | *retry | *saga | *settle | *spool | *throttle | *trace)
    complete -F _eventutils "${1##*/}"
    ;;
esac

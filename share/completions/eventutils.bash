# Completion of the toolkit's commands for bash. bash-completion loads it by a command's name, through a
# link of that name, and it is for that command then; sourced as it is, it is for all of them.
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

case ${BASH_SOURCE[0]##*/} in
eventutils.bash)
    complete -F _eventutils breaker consume dlq ev fsm once outbox-relay project publish reduce replay retry saga settle spool throttle trace
    ;;
*) complete -F _eventutils "${BASH_SOURCE[0]##*/}" ;;
esac

# Completion of the toolkit's commands for bash. bash-completion loads it by a command's name, through a
# link of that name, and it is for that command then; sourced as it is, it is for all of them.
# shellcheck shell=bash
_eventutils_candidates=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/candidates

# The words of the line as the shell will see them: bash also breaks them at "=", ":" and "@", as in the
# address of a spool.
_eventutils_words() {
    local i rest=$COMP_LINE blank
    words=() at=0
    for ((i = 0; i < ${#COMP_WORDS[@]}; i++)); do
        blank=${rest%%[![:blank:]]*}
        rest=${rest#"$blank"}
        if [ -n "$blank" ] || [ "$i" -eq 0 ]; then
            words+=("${COMP_WORDS[i]}")
        else
            words[-1]+=${COMP_WORDS[i]}
        fi
        rest=${rest#"${COMP_WORDS[i]}"}
        [ "$i" -ne "$COMP_CWORD" ] || at=$((${#words[@]} - 1))
    done
}

_eventutils() {
    local candidate words at done
    _eventutils_words
    done=${words[at]%"${COMP_WORDS[COMP_CWORD]}"} # bash puts what we offer behind this
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [ "$candidate" = :files ]; then
            compopt -o default 2>/dev/null
        elif [ "$candidate" = :commands ]; then
            compopt -o default 2>/dev/null
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
        elif [[ $candidate == "${words[at]}"* ]]; then
            COMPREPLY+=("$(printf %q "${candidate#"$done"}")") # what comes from events is a word and no more
        fi
    done < <("$_eventutils_candidates" "$at" "${words[@]}")
}

case ${BASH_SOURCE[0]##*/} in
eventutils.bash)
    complete -F _eventutils breaker consume dlq ev fsm once outbox-relay project publish reduce replay retry saga settle spool throttle trace
    ;;
*) complete -F _eventutils "${BASH_SOURCE[0]##*/}" ;;
esac

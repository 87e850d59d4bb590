# Completion of the toolkit's commands for fish.
set -g __eventutils_candidates (path dirname (path resolve (status filename)))/candidates

function __eventutils
    set -l words (commandline -opc) (commandline -ct)
    for candidate in ($__eventutils_candidates (math (count $words) - 1) $words)
        if test "$candidate" = :files
            __fish_complete_path (commandline -ct)
        else if test "$candidate" = :commands
            complete -C (commandline -ct)
        else
            printf '%s\n' $candidate
        end
    end
end

for command in breaker consume dlq ev fsm once outbox-relay project publish reduce replay retry saga settle spool throttle trace
    complete -c $command -f -a '(__eventutils)'
end

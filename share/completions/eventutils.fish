# Completion of the toolkit's commands for fish. fish loads it by a command's name, through a link of
# that name, and it is for that command then; sourced as it is, it is for all of them.
set -g __eventutils_candidates (dirname (realpath (status filename)))/candidates

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

set -l commands (basename (status filename) .fish)
if test "$commands" = eventutils
    set commands breaker consume dlq ev fsm once outbox-relay project publish reduce replay retry saga settle spool throttle trace
end
for command in $commands
    complete -c $command -f -a '(__eventutils)'
end

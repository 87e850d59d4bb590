load helper
load docs

# Every command shown in the README and the manual is run as it is printed there:
#
#     README.md     a fence marked "sh" is pasted; one marked "text" behind it is what that prints
#     man/*         a .Bd behind the comment .\" run is run; one behind .\" prints is what it prints
#                   .\" setup: COMMAND: run before, unseen by the reader
#                   .\" run, needs COMMAND: only where there is such a command
#
# The README is one session. In the manual each heading (.Sh and .Ss) begins with an empty folder
# and an empty spool, stderr is not compared, and a command that fails ends the script, as under sh
# -e; a status that is meant to be seen is printed by the text itself: || echo "exit status $?".

# Run the scripts of a file in the order in which they stand. What differs is shown.
run_scripts() { # FILE
    local dir=$BATS_TEST_TMPDIR/${1##*/} script from section before='' failed=0 status
    extract "$1" "$dir/scripts"
    for script in "$dir"/scripts/*.sh; do
        [ -e "$script" ] || continue
        script=${script%.sh}
        read -r from section <"$script.from"
        section=${section%% *}
        if [ "$section" != "$before" ]; then
            mkdir "$dir/$section"
            cd "$dir/$section" || return
            before=$section
        fi
        if [ -e "$script.needs" ] && ! command -v "$(cat "$script.needs")" >/dev/null; then
            echo "# $from: not run: there is no $(cat "$script.needs")" >&3
            continue
        fi
        ran=$((ran + 1))
        status=0
        EVENT_SPOOL=$PWD/spool.db timeout 60 sh -e "$script.sh" >"$script.out" 2>"$script.err" ||
            status=$?
        if [ "$status" -ne 0 ]; then
            echo "$from: exit status $status:"
            cat "$script.sh" "$script.out" "$script.err"
            failed=1
        elif [ -e "$script.prints" ] && ! cmp -s "$script.prints" "$script.out"; then
            echo "$from: prints something else than it says:"
            diff -u "$script.prints" "$script.out" || true
            cat "$script.err"
            failed=1
        fi
    done
    return "$failed"
}

# What --help and --help-all print, of each command NAME and "NAME VERB": asked once for all tests.
setup_file() {
    local name verb
    help=$BATS_FILE_TMPDIR/help
    mkdir "$help"
    export help
    for name in $(commands); do
        "$name" --help >"$help/$name.one"
        "$name" --help-all >"$help/$name.all"
        for verb in $(verbs "$name"); do
            "$name" "$verb" --help >"$help/$name $verb.one"
            "$name" "$verb" --help-all >"$help/$name $verb.all"
        done
    done
}

# The options in --help-all, a collection's in its verbs', and those of a page: "-x" and "--long", one
# a line.
help_options() { # COMMAND
    cat "$help/$1.all" "$help/$1 "*.all 2>/dev/null |
        sed -n 's/^ *\(-[a-zA-Z]\), \(--[a-z-]*\).*/\1\n\2/p; s/^ *\(--[a-z-]*\).*/\1/p' | sort -u
}

page_options() { # COMMAND
    sed -n 's/^\.It Fl \([a-zA-Z]\) , -\([a-z-]*\).*/-\1\n--\2/p; s/^\.It Fl -\([a-z-]*\).*/--\1/p' \
        "$TOP/man/$1.1" | sort -u
}

verbs() { # COMMAND
    sed -n '/^verbs:/,/^$/s/^  \([a-z][a-z]*\) .*/\1/p' "$help/$1.one"
}

commands() {
    local file
    for file in "$TOP"/cmd/*.c; do
        basename "$file" .c
    done
}

# The statuses under EXIT STATUS of a page.
page_statuses() { # PAGE
    sed -n '/^\.Sh EXIT STATUS/,/^\.Sh EXAMPLES/s/^\.It \([0-9][0-9]*\)$/\1/p' "$1" | tr '\n' ' '
}

# paste SHELL...: all scripts of the README into one interactive shell, in an empty home. What differs
# from one run to the next is masked; the two streams are compared each in its own order.
paste() {
    local script name
    command -v "$1" >/dev/null || skip "$1 is not installed"
    extract "$TOP/README.md" scripts
    echo 'PS1= PS2= RPS1=' >pasted
    for script in scripts/*.sh; do
        name=$PWD/${script%.sh}
        printf 'exec >%s.out 2>%s.err\n' "$name" "$name"
        cat "$script"
        [ -e "$name.prints" ] || : >"$name.prints"
    done >>pasted
    echo 'exec 2>/dev/null' >>pasted # what a shell itself says at the end
    mkdir home
    env -u EVENT_SPOOL HOME="$PWD/home" TMPDIR="$PWD" timeout 60 "$@" <pasted >shell.out 2>&1
    print_what_they_say && [ ! -e home/.local ]
}

@test "README: pasted into dash from top to bottom, it prints what it shows" {
    paste dash -i
}

@test "README: pasted into bash from top to bottom, it prints what it shows" {
    paste bash --norc --noediting -i
}

@test "README: pasted into zsh from top to bottom, it prints what it shows" {
    paste zsh -f -i -o no_prompt_sp
}

@test "eventutils(7): twelve pipelines run as printed" {
    ran=0
    run_scripts "$TOP/man/eventutils.7"
    [ "$ran" -eq 22 ] # with the first example, and those of the sections on resilience, states, sagas and event sourcing
    [ "$(grep -c '^\.Ss [0-9]*\. ' "$TOP/man/eventutils.7")" -eq 12 ]
}

@test "manual: the examples of each page run as printed" {
    for page in "$TOP"/man/*.[15]; do
        ran=0
        run_scripts "$page"
        [ "$ran" -ge 1 ] || [ "${page##*/}" = ev.1 ]
    done
}

@test "extract: scripts, output, setup and sections are taken from both formats" {
    cat >page.7 <<'END'
.Sh EXAMPLES
.\" setup: export A=1
.\" run
.Bd -literal -offset indent
printf '\en%s'
\&.dot
.Ed
.Pp
.Bd -literal
shown only
.Ed
.\" prints
.Bd -literal
x
.Ed
.Ss Two
.\" run, needs jq
.Bd -literal
jq
.Ed
END
    cat >page.md <<'END'
# One
```sh
printf '\n%s'
.dot
```
prints
```text
x
```
```c
not this
```
## Two
```sh
jq
```
END
    for format in 7 md; do
        extract "page.$format" "$format"
        [ "$(grep -v '^export A=1$' $format/001.sh)" = $'printf \'\\n%s\'\n.dot' ]
        [ "$(cat $format/001.prints)" = x ]
        [ "$(cat $format/002.sh)" = jq ]
        [ ! -e $format/002.prints ] && [ ! -e $format/003.sh ]
        [ "$(cut -d' ' -f2 $format/001.from)" != "$(cut -d' ' -f2 $format/002.from)" ]
    done
    [ "$(cat 7/002.needs)" = jq ]
    [ "$(head -n 1 7/001.sh)" = 'export A=1' ]
}

# The prompt of the shell is the 24th line.
@test "help: --help of each command and verb fits a terminal of 80 columns and 24 lines, examples first" {
    [ "$(find "$help" -name '*.one' | wc -l)" -ge 40 ]
    run -0 awk '
        length > 80 || FNR > 23 || (FNR == 3 && $0 != "examples:") { print FILENAME ": line " FNR ": " $0; bad = 1 }
        END { exit bad }' "$help"/*.one
}

@test "help: the common options of a command are options of it, and the statuses of consume are shown" {
    for name in $(commands); do
        sed -n 's/.*\.common = "\(.*\)",$/\1/p' "$TOP/cmd/$name.c" | tr ' ' '\n' >common
        while read -r option; do
            grep -q "^ .*--$option " "$help/$name.one" || { echo "$name has no --$option"; false; }
        done <common
    done
    grep -q '^exit status: 0 done; 1 dead letters;' "$help/consume.one"
}

@test "manual: a page lists the options that --help-all lists" {
    for name in $(commands); do
        help_options "$name" >options
        [ -s options ]
        page_options "$name" | diff -u options - || {
            echo "$name: --help-all (-) and the page (+) differ"
            false
        }
    done
}

@test "manual: a page names each verb" {
    for name in dlq fsm saga spool; do
        [ -n "$(verbs "$name")" ]
        for verb in $(verbs "$name"); do
            grep -q "^\.It Cm $verb" "$TOP/man/$name.1"
        done
    done
}

# What can come from opening a spool and working on it (lib/store/store.h), from the command line (64, 77)
# and from writing to stdout (74); then what is a command's own.
@test "manual: a page has every status that its command can return, and no others" {
    spool='0 64 65 66 69 70 71 73 74 75 77'
    declare -A statuses=(
        [publish]="$spool" [replay]="$spool" [settle]="$spool" [spool]="0 1 ${spool#0 }" [trace]="$spool"
        [saga]='0 1 64 65 66 69 70 71 73 74 75 77 78 126 127' [fsm]="0 1 ${spool#0 } 78" [project]="0 1 ${spool#0 }"
        [dlq]="0 1 ${spool#0 } 126 127" [once]="0 64 65 69 70 71 73 74 75 77 126 127"
        # What they run says the rest; a spool that cannot be used does not stop breaker and throttle.
        [breaker]='0 64 65 69 71 73 74 77 124 126 127' [reduce]="$spool 126 127"
        [retry]='0 64 65 71 73 74 77 124 126 127'
        [throttle]='0 64 65 69 71 73 74 75 77 126 127'
        [outbox-relay]='0 1 64 65 66 69 70 71 73 74 75 77 126 127'
        [consume]="0 1 ${spool#0 } 78 126 127" [ev]='0 64 69 74 77 126 127'
    )
    for name in $(commands); do
        [ "$(page_statuses "$TOP/man/$name.1")" = "${statuses[$name]-} " ] || {
            echo "$name.1 has $(page_statuses "$TOP/man/$name.1")and not ${statuses[$name]-what is known}"
            false
        }
    done
}

@test "manual: statuses that a command's source names are in its page" {
    declare -A number=([NO]=1 [USAGE]=64 [DATAERR]=65 [NOINPUT]=66 [UNAVAILABLE]=69 [SOFTWARE]=70
        [OSERR]=71 [CANTCREAT]=73 [IOERR]=74 [TEMPFAIL]=75 [NOPERM]=77 [CONFIG]=78 [CANNOT_RUN]=126
        [NOT_FOUND]=127)
    for name in $(commands); do
        while read -r word; do
            # Only compared with, or the default of an option; or 128 + n.
            case "$name $word" in
            'consume EX_UNAVAILABLE' | 'retry EX_CONFIG' | 'breaker EX_CONFIG' | 'publish EX_SIGNAL') continue ;;
            esac
            [ -n "${number[${word#EX_}]-}" ] || { echo "unknown: $word"; false; }
            [[ " $(page_statuses "$TOP/man/$name.1")" = *" ${number[${word#EX_}]} "* ]] || {
                echo "$name.1 lacks ${number[${word#EX_}]} ($word)"
                false
            }
        done < <(grep -o '\bEX_[A-Z_]*\b' "$TOP/cmd/$name.c" | sort -u)
    done
}

@test "manual: eventutils(7) names every command and every status" {
    for name in $(commands); do
        grep -q "^\.It Xr $name 1" "$TOP/man/eventutils.7"
    done
    sed -n '/^\.Ss Exit statuses/,/^\.El/s/^\.It //p' "$TOP/man/eventutils.7" | tr -d ' ' |
        tr ',' '\n' | sort -n >guide
    for name in $(commands); do
        page_statuses "$TOP/man/$name.1" | tr ' ' '\n'
    done | grep . | sort -nu | diff guide -
}

@test "manual: eventutils-spool(5) has every table, column and index of the schema" {
    sed 's/--.*//' "$TOP/share/schema.sql" | tr '\n' ' ' | tr ';' '\n' >statements
    sed -n 's/^ *CREATE TABLE \([a-z]*\)(\(.*\)).*/\1,\2/p' statements | tr ',' '\n' |
        sed 's/^ *\([a-zA-Z_]*\).*/\1/' | grep -vE '^(PRIMARY|priority|seq|)$' >words
    sed -n 's/^ *CREATE .*INDEX \([a-z_]*\) .*/\1/p' statements >>words
    [ "$(wc -l <words)" -ge 40 ]
    while read -r word; do
        grep -qE "^\.(It Cm|Cm) (.* )?$word( |\$)" "$TOP/man/eventutils-spool.5" || {
            echo "eventutils-spool.5 lacks $word"
            false
        }
    done <words
}

@test "manual: references lead to pages that exist" {
    for page in "$TOP"/man/*.[1-9]; do
        sed -n 's/^\.\(It \)\{0,1\}Xr \([a-z-]*\) \([1-9]\).*/\2.\3/p' "$page"
    done | sort -u >named
    for name in $(commands | sed 's/$/.1/') eventutils.7 eventutils-spool.5; do
        grep -qx "$name" named
        [ -e "$TOP/man/$name" ]
    done
}

@test "manual: every command has a page and tests" {
    for name in $(commands); do
        [ -e "$TOP/man/$name.1" ] || { echo "no man/$name.1"; false; }
        ls "$TOP/tests/$name"*.bats >/dev/null
    done
}

@test "words: a page describes what is, and not what should be" {
    run ! grep -niw should "$TOP"/README.md "$TOP"/man/*.[1-9]
}

load helper

# What is shown as a command in the README and the manual is run as it is printed there:
#
#     README.md     a fence marked "sh" is run; one marked "text" behind it is what that prints
#     man/*         a .Bd behind the comment .\" run is run; one behind .\" prints is what it prints
#     both          <!-- setup: COMMAND -->, .\" setup: COMMAND: run before, unseen by the reader
#                   .\" run, needs COMMAND: only where there is such a command
#
# A heading (## in the README; .Sh and .Ss) begins with an empty folder and an empty spool. What goes
# to stderr is not compared. A command that fails ends the script, as under sh -e, so a status that
# is meant to be seen has its own words in the text: || echo "exit status $?".

# The scripts of a file, as N.sh, N.prints and N.needs; N.from says where they stand.
extract() { # FILE INTO
    mkdir -p "$2"
    awk -v into="$2" '
        function begin(heading) { section++; title = heading; setup = "" }
        function script() {
            n++
            file = sprintf("%s/%03d", into, n)
            printf "%s:%d %d %s\n", FILENAME, FNR, section, title >(file ".from")
            printf "%s", setup >(file ".sh")
            setup = ""
            if (needs != "") print needs >(file ".needs")
        }
        # The text of a line of mdoc; only these escapes are used in displays.
        function plain(line) {
            sub(/^\\&/, "", line)
            gsub(/\\&/, "", line); gsub(/\\-/, "-", line); gsub(/\\e/, "\\", line)
            gsub(/\\\(aq/, "\047", line); gsub(/\\\(dq/, "\"", line)
            return line
        }
        BEGIN { begin("") }

        FILENAME ~ /\.md$/ {
            if (to == "" && /^#/) { begin($0) }
            else if (to == "" && /^<!-- setup: .* -->$/) { setup = setup substr($0, 13, length - 16) "\n" }
            else if (to == "" && $0 == "```sh") { needs = ""; script(); to = file ".sh" }
            else if (to == "" && $0 == "```text") { to = file ".prints"; printf "" >to }
            else if (to == "" && /^```/) { to = "/dev/null" }
            else if (to != "" && $0 == "```") { to = "" }
            else if (to != "") { print >to }
            next
        }
        to == "" && /^\.S[hs] / { begin($0) }
        /^\.\\" setup: / { setup = setup substr($0, 12) "\n" }
        /^\.\\" run/ { needs = /needs/ ? $NF : ""; next_is = "run" }
        /^\.\\" prints$/ { next_is = "prints" }
        /^\.Bd / && next_is == "run" { script(); to = file ".sh"; next_is = ""; next }
        /^\.Bd / && next_is == "prints" { to = file ".prints"; printf "" >to; next_is = ""; next }
        /^\.Ed/ { to = "" }
        to != "" { print plain($0) >to }
    ' "$1"
}

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
        EVENT_SPOOL=$PWD/spool.db timeout 20 sh -e "$script.sh" >"$script.out" 2>"$script.err" ||
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

# The options in --help, and those of a page: "-x" and "--long", one a line.
help_options() { # COMMAND [VERB]
    "$@" --help | sed -n 's/^ *\(-[a-zA-Z]\), \(--[a-z-]*\).*/\1\n\2/p; s/^ *\(--[a-z-]*\).*/\1/p'
}

page_options() { # COMMAND
    sed -n 's/^\.It Fl \([a-zA-Z]\) , -\([a-z-]*\).*/-\1\n--\2/p; s/^\.It Fl -\([a-z-]*\).*/--\1/p' \
        "$TOP/man/$1.1" | sort -u
}

verbs() { # COMMAND
    "$1" --help | sed -n "/^verbs:/,\$s/^  $1 \([a-z]*\) .*/\1/p" | sort -u
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

@test "README: what it shows runs as printed" {
    ran=0
    run_scripts "$TOP/README.md"
    [ "$ran" -ge 5 ]
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
<!-- setup: export A=1 -->
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
        [ "$(cat $format/001.sh)" = $'export A=1\nprintf \'\\n%s\'\n.dot' ]
        [ "$(cat $format/001.prints)" = x ]
        [ "$(cat $format/002.sh)" = jq ]
        [ ! -e $format/002.prints ] && [ ! -e $format/003.sh ]
        [ "$(cut -d' ' -f2 $format/001.from)" != "$(cut -d' ' -f2 $format/002.from)" ]
    done
    [ "$(cat 7/002.needs)" = jq ]
}

@test "manual: a page lists the options that --help lists" {
    for name in $(commands); do
        {
            help_options "$name"
            # A collection has its options with its verbs, but for --help and --version.
            for verb in $(verbs "$name"); do
                help_options "$name" "$verb"
            done
        } | sort -u >help
        [ -s help ]
        page_options "$name" | diff -u help - || {
            echo "$name: --help (-) and the page (+) differ"
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

# What can come from opening a spool and working on it (lib/store.h), from the command line (64, 77)
# and from writing to stdout (74); then what is a command's own.
@test "manual: a page has every status that its command can return, and no others" {
    spool='0 64 65 66 70 71 73 74 75 77'
    declare -A statuses=(
        [publish]="$spool" [replay]="$spool" [settle]="$spool" [spool]="0 1 ${spool#0 }" [trace]="$spool"
        [saga]='0 1 64 65 66 69 70 71 73 74 75 77 78 126 127' [fsm]="0 1 ${spool#0 } 78" [project]="0 1 ${spool#0 }"
        [dlq]="0 1 ${spool#0 } 126 127" [once]="0 64 65 70 71 73 74 75 77 126 127"
        # What they run says the rest; a spool that cannot be used does not stop breaker and throttle.
        [breaker]='0 64 65 69 71 73 74 77 124 126 127' [reduce]="$spool 126 127"
        [retry]='0 64 65 71 73 74 77 124 126 127'
        [throttle]='0 64 65 71 73 74 75 77 126 127'
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

@test "manual: statuses that a command's source names stand in its page" {
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

@test "manual: eventutils(7) names every command, and its statuses are all there are" {
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

@test "manual: pages are clean mdoc" {
    command -v mandoc >/dev/null || skip 'mandoc is not installed'
    run -0 mandoc -T lint -W warning "$TOP"/man/*.[1-9]
    [ -z "$output" ]
}

@test "manual: man(1) shows the pages without warnings" {
    command -v groff >/dev/null || skip 'groff is not installed'
    for page in "$TOP"/man/*.[1-9]; do
        run -0 bash -c 'man --warnings -l "$1" 2>&1 >/dev/null' - "$page"
        [ -z "$output" ]
    done
}

@test "words: a page says what is, and not what should be" {
    run ! grep -niw should "$TOP"/README.md "$TOP"/man/*.[1-9]
}

# docs: the scripts in the README and the manual, and what they say that they print.

# The scripts of a file, as N.sh, N.prints and N.needs; N.from has their line. WHERE is empty, or "server"
# for those that are run on a server: see docs.bats.
extract() { # FILE INTO [WHERE]
    mkdir -p "$2"
    awk -v into="$2" -v wanted="${3:-}" '
        function begin(heading) { section++; title = heading; setup = "" }
        # A script that is not wanted leads nowhere, as does what it prints.
        function script(where) {
            if (where != wanted) { setup = ""; file = ""; return }
            n++
            file = sprintf("%s/%03d", into, n)
            printf "%s:%d %d %s\n", FILENAME, FNR, section, title >(file ".from")
            printf "%s", setup >(file ".sh")
            setup = ""
            if (needs != "") print needs >(file ".needs")
        }
        function into_file(suffix) {
            to = file == "" ? "/dev/null" : file suffix
            if (file != "" && suffix == ".prints") printf "" >to
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
            else if (to == "" && /^```sh( server)?$/) { needs = ""; script($2); into_file(".sh") }
            else if (to == "" && $0 == "```text") { into_file(".prints") }
            else if (to == "" && /^```/) { to = "/dev/null" }
            else if (to != "" && $0 == "```") { to = "" }
            else if (to != "") { print >to }
            next
        }
        to == "" && /^\.S[hs] / { begin($0) }
        /^\.\\" setup: / { setup = setup substr($0, 12) "\n" }
        /^\.\\" run/ { needs = /needs/ ? $NF : ""; where = /on a server$/ ? "server" : ""; next_is = "run" }
        /^\.\\" prints$/ { next_is = "prints" }
        /^\.Bd / && next_is == "run" { script(where); into_file(".sh"); next_is = ""; next }
        /^\.Bd / && next_is == "prints" { into_file(".prints"); next_is = ""; next }
        /^\.Ed/ { to = "" }
        to != "" { print plain($0) >to }
    ' "$1"
}

# Is FILE made of the lines of the two others, each in its order?
interleaved() { # FILE OUT ERR
    local line o=0 e=0 all out err
    mapfile -t all <"$1"
    mapfile -t out <"$2"
    mapfile -t err <"$3"
    for line in "${all[@]}"; do
        if [ "$o" -lt "${#out[@]}" ] && [ "$line" = "${out[o]}" ]; then
            o=$((o + 1))
        elif [ "$e" -lt "${#err[@]}" ] && [ "$line" = "${err[e]}" ]; then
            e=$((e + 1))
        else
            return 1
        fi
    done
    [ "$o" -eq "${#out[@]}" ] && [ "$e" -eq "${#err[@]}" ]
}

# After all scripts of the README have run, N.sh with its output in N.out and N.err: does each print what
# N.prints says? What differs from one run to the next is masked; the two streams are compared each in its
# own order.
print_what_they_say() {
    local script name failed=0
    sed -E -i 's|/[^ ]*/tmp\.[[:alnum:]]{10}|TMP|; s/[0-9-]{10}T[0-9:.]{12}Z/TIME/
        s/\<in ([0-9.]+(ms|[smhd]))+\>|at once/in D/; s/"[0-9a-f-]{36}"/UUID/' scripts/*.{prints,out,err}
    for script in scripts/*.sh; do
        name=${script%.sh}
        interleaved "$name.prints" "$name.out" "$name.err" && continue
        echo "$(cat "$name.from"): prints something else than it says:"
        cat "$name.out" "$name.err" | diff -u "$name.prints" - || true
        failed=1
    done
    [ "$failed" -eq 0 ]
}

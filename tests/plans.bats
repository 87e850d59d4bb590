# SQLite's plan for each statement of the store: none scans a whole table, except those named here
# with their reason.
load helper

sources() { # ENGINE
    printf '%s\n' "$TOP"/lib/store/*.c "$TOP"/lib/store/{sql,"$1"}/*.c
}

# All there are, "NAME<tab>STATEMENT": what the compiler makes of each SQL("NAME", …).
statements() { # ENGINE
    sources "$1" | xargs "${CC:-cc}" -std=c11 -D_GNU_SOURCE -I"$TOP/lib" -I"$TOP/lib/store/$1" -I/usr/include/postgresql -E -P |
        tr '\n' ' ' | grep -oE 'struct sql sql_ = \{ *"[a-z_]+", *("([^"\\]|\\.)*" *)+\}' |
        sed -E 's/^[^"]*"([a-z_]+)", *"/\1\t/; s/" *\}$//; s/" +"//g'
}

# plans FILE: for each statement in it, "NAME<tab>STEP" for each step of its plan.
plans() {
    local name statement
    while IFS=$'\t' read -r name statement; do
        printf '.print "= %s"\nEXPLAIN QUERY PLAN %s;\n' "$name" "$statement"
    done <"$1" >explain
    sqlite3 -batch -bail spool.db <explain >explained
    awk '/^= / { name = $2 } /^[ |`]*--/ { sub(/^[ |`]*--/, ""); print name "\t" $0 }' explained
}

@test "plans: a statement has a name of its own" {
    for engine in sqlite postgres; do
        [ $engine = sqlite ] || [ -e "$BUILD/bin/postgresql/publish" ] || continue
        statements $engine >all
        [ "$(wc -l <all)" -gt 180 ]
        [ "$(wc -l <all)" -eq "$(sources $engine | xargs cat | grep -o 'SQL("' | wc -l)" ] # all were seen
        [ -z "$(cut -f 1 all | sort | uniq -d)" ]
    done
}

@test "plans: a statement finds its rows by an index, however many there are" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to explain statements with'
    publish -t n -d 1
    # A DELETE in a WITH is only PostgreSQL's (FOLD_NOW).
    statements sqlite | grep -E $'\t(SELECT|INSERT|UPDATE|DELETE|WITH) ' | grep -v ' AS (DELETE' >all
    plans all >steps
    [ "$(cut -f 1 steps | sort -u | wc -l)" -gt 150 ]
    grep -E $'\t(SCAN|.*AUTOMATIC)' steps | grep -v 'VIRTUAL TABLE' | grep -vE $'\tSCAN (CONSTANT|[0-9]+ CONSTANT ROWS|\\(subquery)' |
        cut -f 1 | sort -u >scans
    sed -E '/^#/d' <<'END' | sort >named
# spool info and spool check count, and nobody waits for them.
info_events
info_groups
info_segments
info_dead
check_clock
check_claims
check_in_flight
# Opening compares the schema, some dozen rows.
schema
# The first row that there is ends the scan.
claim_look
copy_empty
# While SPOOL-lock is not the spool's own, all processes there are have to be asked.
claim_other_consumers
# A list of all groups.
check_names
copy_groups
copy_names
dead_group_each
group_unknown
prune_tell_held_names
where_each
# Pruning asks all groups, once for a thousand events.
prune_count_free
prune_delete_free
prune_lower_last_cursor
# What is scanned are the ids that are looked up.
log_find_which
# Nothing is joined, so nothing is scanned.
dead_letter_alone
END
    diff named scans
    # A statement that names an index cannot go another way; and each index has its statements.
    sed -n 's/^CREATE .*INDEX \([a-z_]*\) ON.*/\1/p' "$TOP/share/schema.sql" >indexes
    [ "$(wc -l <indexes)" -gt 8 ]
    while IFS= read -r index; do
        grep -q "INDEX $index " steps || { echo "nothing uses $index" && false; }
    done <indexes
}

# SQLite's plan for each statement of the store: none scans a whole table, except those listed here
# with their reason.
load helper

# All there are, one a line: what the compiler makes of their literals.
statements() {
    local calls
    "${CC:-cc}" -std=c11 -D_GNU_SOURCE -I"$TOP/lib" -E -P "$TOP"/lib/store/*/*.c | tr '\n' ' ' >source
    grep -oE 'db_(query|run|int)\([^";]*("([^"\\]|\\.)*" *)+[,)]' source >calls
    calls=$(grep -oE 'db_(query|run|int)\(' source | wc -l)
    calls=$((calls - $(grep -oE 'db_(query|run|int)\(struct store' source | wc -l)))
    [ "$calls" -gt 150 ]
    [ "$(wc -l <calls)" -eq "$calls" ] || {
        echo "$calls statements, and $(wc -l <calls) of them are literals: this test must see them all" >&2
        return 1
    }
    sed -E 's/^[^"]*"//; s/" *[,)]$//; s/" +"//g' calls | sort -u
}

# plans FILE: for each statement in it, "STATEMENT<tab>STEP" for each step of its plan.
plans() {
    local statement
    while IFS= read -r statement; do
        echo ".print \"$statement\""
        echo "EXPLAIN QUERY PLAN $statement;"
    done <"$1" >explain
    sqlite3 -batch -bail spool.db <explain >explained
    awk '/^(SELECT|INSERT|UPDATE|DELETE|WITH) / { statement = $0; next }
        /^[ |`]*--/ { sub(/^[ |`]*--/, ""); print statement "\t" $0 }' explained
}

@test "plans: a statement finds its rows by an index, however many there are" {
    command -v sqlite3 >/dev/null || skip 'no sqlite3 shell to explain statements with'
    publish -t n -d 1
    statements | grep -E '^(SELECT|INSERT|UPDATE|DELETE|WITH) ' >all
    plans all >steps
    [ "$(cut -f 1 steps | sort -u | wc -l)" -gt 150 ]
    grep -E $'\t(SCAN|.*AUTOMATIC)' steps | grep -v 'VIRTUAL TABLE' | grep -vE $'\tSCAN (CONSTANT|\\(subquery)' |
        cut -f 1 | sort -u >scans
    sed -E '/^#/d; /^$/d' >named <<'END'
# spool info and spool check count, and nobody waits for them.
SELECT count(*) FROM event
SELECT count(*) FROM groups
SELECT count(*) FROM segment
SELECT count(*) FROM item WHERE state=3
SELECT seq,recorded FROM segment ORDER BY seq
SELECT claim,first,open,grp FROM claim
SELECT grp,seq FROM item WHERE state=1 LIMIT 10000
# Opening compares the schema, some dozen rows.
SELECT sql,type,name FROM sqlite_schema WHERE NOT(type='table' AND name IN ('sqlite_sequence','sqlite_stat1','sqlite_stat4') OR type='index' AND sql IS NULL AND substr(name,1,17)='sqlite_autoindex_')
# The first row that there is ends the scan.
SELECT 1 FROM event INDEXED BY event_priority WHERE priority<>5 LIMIT 1
# While SPOOL-lock is not the spool's own, all processes there are have to be asked.
SELECT owner,pid,started,boot FROM consumer WHERE owner<>?
# A list of all groups.
SELECT name FROM groups ORDER BY name
SELECT name FROM groups WHERE ?1 IS NULL OR name=?1 ORDER BY name
END
    # Pruning asks all groups, once for a thousand events; and where nothing is joined, nothing is scanned.
    grep -E 'FROM cursor GROUP BY priority|LEFT JOIN event e ON 0 ' all >>named
    sort -o named named
    diff named scans
    # A statement that names an index cannot go another way; and each index has its statements.
    sed -n 's/^CREATE .*INDEX \([a-z_]*\) ON.*/\1/p' "$TOP/share/schema.sql" >indexes
    [ "$(wc -l <indexes)" -gt 8 ]
    while IFS= read -r index; do
        grep -q "INDEX $index " steps || { echo "nothing uses $index" && false; }
    done <indexes
}

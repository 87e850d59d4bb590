# What README.md and the manual show on a server: "```sh server", and .\" run on a server. The server is
# db.example there, and one of our own here; the administrator's psql reaches it by the environment.
load helper
load docs
load postgres

setup_file() { postgres_spools; }

teardown_file() { postgres_stop; }

# The scripts of a file, one after the other, on a server of which they are the first users.
on_server() { # FILE
    local script
    db_example=${POSTGRES_DIR//\//%2F}
    extract "$1" scripts server
    for script in scripts/*.sh; do
        sed -i "s|@db\.example|@$db_example|g" "${script%.sh}".*
        [ -e "${script%.sh}.prints" ] || : >"${script%.sh}.prints"
        PGHOST=$POSTGRES_DIR PGUSER=tester timeout 60 sh -e "$script" >"${script%.sh}.out" 2>"${script%.sh}.err" || {
            cat "${script%.sh}".{from,sh,out,err}
            return 1
        }
    done
}

setup() {
    helper_setup
    [ -z "${NO_POSTGRES:-}" ] || skip "$NO_POSTGRES"
}

# So that the next one finds a server without them.
teardown() {
    helper_teardown
    [ -n "${NO_POSTGRES:-}" ] || PGHOST=$POSTGRES_DIR PGUSER=tester psql -qX -d postgres 2>/dev/null <<'END'
DROP DATABASE IF EXISTS events;
DROP ROLE IF EXISTS eu, shop, mailer, auditor;
END
}

@test "README: what it shows on a server prints what it says" {
    on_server "$TOP/README.md"
    print_what_they_say
}

@test "eventutils(7): what it shows on a server prints what it says, roles included" {
    on_server "$TOP/man/eventutils.7"
    for script in scripts/*.sh; do
        diff -u "${script%.sh}.prints" "${script%.sh}.out"
    done
    [ -e scripts/003.sh ]
}

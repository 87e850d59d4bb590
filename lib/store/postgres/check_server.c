/*
 * What store_check finds on a server, beside the rows. The structure of the pages is the server's
 * own matter (data checksums, pg_amcheck); but an index that it does not use does not find what we
 * ask it for.
 */
#include "store/postgres/postgres.h"

#include "base/duration.h"
#include "store/sql/check.h"

const struct sql check_meta = {
    "check_meta",
    "SELECT NULL,'table \"meta\" has a value for \"'||key||'\" that no command writes' FROM meta "
    "WHERE key NOT IN ('schema','sums','copy') OR (key<>'copy' AND value !~ '^[0-9]+$')"};

/* What is missing has been found when the spool was opened, or is found by the first command that
   needs it. */
int check_structure(struct check *c, struct err *e)
{
    struct query *q =
        db_query(c->s->db, e,
                 SQL("check_structure",
                     "SELECT CAST(i.indexrelid::regclass AS text) FROM pg_index i JOIN pg_class t "
                     "ON t.oid=i.indrelid WHERE t.relnamespace=CAST(? AS int)::oid AND NOT "
                     "(i.indisvalid AND i.indisready) ORDER BY 1"),
                 "i", (int64_t)c->s->db->space);
    int got = -1;

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0) {
        struct str name = db_text(q, 0);
        got = check_report(c, &(struct check_finding){.kind = "structure", .value = 1}, e,
                           "the server does not use the index %.*s: rebuild it (REINDEX)",
                           (int)name.n, name.p);
        if (got < 0)
            break;
    }
    db_done(q);
    return got;
}

#define HELD_MAX_S 3600 /* an hour */

/* Without locks all else means nothing. What somebody's transaction may still see is not removed
   from the tables. */
int check_engine(struct check *c, struct err *e)
{
    if (session_test(c->s->db, e) < 0)
        return -1;
    struct query *q = db_query(
        c->s->db, e,
        SQL("check_held", "SELECT pid,CAST(extract(epoch FROM clock_timestamp()-xact_start) AS "
                          "bigint) FROM pg_stat_activity WHERE datname=current_database() AND "
                          "backend_xmin IS NOT NULL AND xact_start<clock_timestamp()-interval '1 "
                          "hour' ORDER BY xact_start LIMIT 1"),
        "");
    int got = q == NULL ? -1 : db_row(c->s->db, q, e);
    char age[DURATION_TEXT_SIZE];

    if (got <= 0)
        return got;
    int64_t pid = db_i64(q, 0), seconds = db_i64(q, 1);
    db_done(q);
    return check_report(
        c, &(struct check_finding){.kind = "held", .value = seconds, .limit = HELD_MAX_S}, e,
        "the server's process %lld has had a transaction open for %s: no space is reused meanwhile",
        (long long)pid, duration_age(age, seconds * 1000));
}

/*
 * PostgreSQL's errors in words, with the status that each has: by their SQLSTATE (PostgreSQL
 * manual, appendix A), never by their text, which is translated.
 */
#include "store/postgres/postgres.h"

#include <string.h>

static bool begins(const char *state, const char *with)
{
    return strncmp(state, with, strlen(with)) == 0;
}

/* libpq's and the server's messages have several lines; the first one names the error. */
static int say_what(struct db *db, int status, const char *lead, const char *words,
                    const char *remedy, struct err *e)
{
    struct buf text = BUF_INIT;

    err_escape(&text, words, strcspn(words, "\n"));
    err_set(e, status, "%s: %s%.500s%s", db->at.shown, lead, buf_text(&text), remedy);
    buf_free(&text);
    return -1;
}

int db_fail_locked(struct db *db, struct err *e)
{
    db->locked = true;
    return db->stopping != NULL && db->stopping()
               ? err_set(e, EX_TEMPFAIL, "%s: stopped while waiting for its lock", db->at.shown)
               : err_set(e, EX_TEMPFAIL, "%s: other processes kept it locked for %d seconds",
                         db->at.shown, DB_LOCK_MS / 1000);
}

int db_fail_lost(struct db *db, struct err *e)
{
    return err_set(e, EX_TEMPFAIL, "%s: the connection to the server is lost", db->at.shown);
}

static const struct {
    const char *state; /* how it begins */
    int status;
    const char *remedy;
} known[] = {
    {"57P", EX_TEMPFAIL, ""},   /* the server shuts down, or starts */
    {"25P03", EX_TEMPFAIL, ""}, /* idle in a transaction for too long */
    {"08", EX_TEMPFAIL, ""},
    {"40", EX_TEMPFAIL, ""},
    {"57014", EX_TEMPFAIL, ""},
    {"53300", EX_TEMPFAIL, ": too many connections: raise max_connections, or end some"},
    {"53100", EX_IOERR, ": the server's disk is full"},
    {"53", EX_IOERR, ""},
    {"58", EX_IOERR, ""},
    {"XX001", EX_IOERR, ": restore the database from a backup"},
    {"XX002", EX_IOERR, ": rebuild the index (REINDEX)"},
    {"25006", EX_UNAVAILABLE,
     ": this server only reads: name its primary, or give several hosts and "
     "target_session_attrs=read-write"},
    {"42501", EX_NOPERM, ": grant it to the role"},
    {"28", EX_NOPERM, ""},
    {"3D", EX_NOINPUT, ""},
    {"42P01", EX_DATAERR, ": a table of the spool is missing: it was changed by hand"},
    {"42703", EX_DATAERR, ": a column of the spool is missing: it was changed by hand"},
    {"23", EX_IOERR, ": damaged, or changed by hand: see spool check"},
};

/* Say what is known of an error with this SQLSTATE. False: nothing is. */
static bool say_known(struct db *db, const char *state, const char *words, struct err *e)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (begins(state, known[i].state)) {
            say_what(db, known[i].status, "", words, known[i].remedy, e);
            return true;
        }
    return false;
}

int db_fail(struct db *db, const PGresult *rows, struct err *e)
{
    const char *state = PQresultErrorField(rows, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY);

    db->locked = db->full = db->damaged = false;
    db->failed = true;
    if (state == NULL || words == NULL)
        return db_lose(db), db_fail_lost(db, e);
    if (strcmp(state, "55P03") == 0)
        return db_fail_locked(db, e);
    if (strcmp(state, "22012") == 0) { /* MUST_CHANGE, MUST_FIND */
        db->missed = true;
        return err_set(e, EX_TEMPFAIL, "%s: another process was faster", db->at.shown);
    }
    db->missed |= db->unasked && strcmp(state, "23505") == 0;
    if (db->person && (begins(state, "42") || begins(state, "22") || begins(state, "25006") ||
                       begins(state, "0A")))
        return say_what(db, EX_USAGE, "", words, "", e);
    db->full = strcmp(state, "53100") == 0;
    db->damaged = begins(state, "XX00");
    if (say_known(db, state, words, e))
        return -1;
    struct buf lead = BUF_INIT;
    buf_printf(&lead, "PostgreSQL says %s: ", state);
    say_what(db, EX_SOFTWARE, buf_text(&lead), words, " (a bug: please report it)", e);
    buf_free(&lead);
    return -1;
}

/* Before there is a connection, libpq has no results, only words; verbose ones have the SQLSTATE
   between them: "…: FATAL:  3D000: database …". */
static const char *sqlstate_in(const char *words)
{
    for (const char *p = words; (p = strstr(p, ": ")) != NULL; p += 2) {
        const char *state = p + 2 + strspn(p + 2, " ");
        if (strspn(state, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && state[5] == ':' &&
            strcspn(state, "0123456789") < 5)
            return state;
    }
    return NULL;
}

int db_fail_connect(struct db *db, const PGconn *conn, struct err *e)
{
    const char *words = conn == NULL ? "no memory" : PQerrorMessage(conn);
    const char *state = sqlstate_in(words);

    if (conn != NULL && PQconnectionNeedsPassword(conn))
        return say_what(db, EX_NOPERM, "", words, ": put the password into ~/.pgpass", e);
    if (state != NULL && say_known(db, state, state + strlen("3D000: "), e))
        return -1;
    return say_what(db, EX_TEMPFAIL, "", words, "", e);
}

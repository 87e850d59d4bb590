/*
 * PostgreSQL's errors in words, with the status that each has: by their SQLSTATE (PostgreSQL
 * manual, appendix A), never by their text, which is translated.
 */
#include "pgkit/pgkit.h"
#include "store/postgres/postgres.h"

#include <string.h>

static bool begins(const char *state, const char *with)
{
    return strncmp(state, with, strlen(with)) == 0;
}

static int say_what(struct db *db, int status, const char *lead, const char *words,
                    const char *remedy, struct err *e)
{
    struct buf text = BUF_INIT;

    pg_words(&text, words);
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

/* Beside what an error says of any database. */
static const struct pg_error of_spools[] = {
    {"42P01", EX_DATAERR, ": a table of the spool is missing: it was changed by hand"},
    {"42703", EX_DATAERR, ": a column of the spool is missing: it was changed by hand"},
    {"23", EX_IOERR, ": damaged, or changed by hand: see spool check"},
};

/* Say what is known of an error with this SQLSTATE. False: nothing is. */
static bool say_known(struct db *db, const char *state, const char *words, struct err *e)
{
    const struct pg_error *known = pg_error_of(state);

    for (size_t i = 0; i < sizeof of_spools / sizeof of_spools[0] && known->state == NULL; i++)
        if (begins(state, of_spools[i].state))
            known = &of_spools[i];
    return known->state != NULL && say_what(db, known->status, "", words, known->remedy, e) < 0;
}

bool db_last_words(const PGresult *of)
{
    const char *severity = PQresultErrorField(of, PG_DIAG_SEVERITY_NONLOCALIZED);

    return severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

int db_fail(struct db *db, const PGresult *rows, struct err *e)
{
    const char *state = PQresultErrorField(rows, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY);

    db->locked = db->full = db->damaged = false;
    db->failed = true;
    if (state == NULL || words == NULL)
        return db_lose(db), db_fail_lost(db, e);
    if (db_last_words(rows)) {
        db_lose(db);
        return say_what(db, EX_TEMPFAIL, "the connection to the server is lost: ", words, "", e);
    }
    if (strcmp(state, "55P03") == 0) /* the one that has it may wait for a standby that is gone */
        return db_lose(db), db_fail_locked(db, e);
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

int db_fail_connect(struct db *db, const PGconn *conn, struct err *e)
{
    const char *words = conn == NULL ? "no memory" : PQerrorMessage(conn);
    const char *state = pg_state_in(words);

    if (conn != NULL && PQconnectionNeedsPassword(conn))
        return say_what(db, EX_NOPERM, "", words, ": put the password into ~/.pgpass", e);
    if (state != NULL && say_known(db, state, state + strlen("3D000: "), e))
        return -1;
    return say_what(db, EX_TEMPFAIL, "", words, "", e);
}

/*
 * Transactions. One that may write takes the spool's lock first, as a statement of its own: the
 * snapshot of a statement that took it along would be older than the lock. The lock is an advisory
 * one, which PostgreSQL hands on in the order of arrival: nobody starves, and nobody gives way.
 */
#include "store/postgres/postgres.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XID_UNHEARD (-1)
#define ASK_TIMES 6
#define ASK_AGAIN_MS 100 /* doubled each time */

/* Without a synchronous standby no other server can take this one's place and have the same log;
   and a restart of the server frees all that was granted. */
static const char grant[] =
    "SELECT set_config('synchronous_commit',CASE current_setting('synchronous_standby_names') "
    "WHEN '' THEN 'off' ELSE 'on' END,true)";

/* What begins a transaction is sent with its first statement. */
int db_begin(struct db *db, enum db_sync sync, struct err *e)
{
    if (db->lost)
        return db_fail_lost(db, e);
    db->locked = db->full = db->missed = db->unasked = false;
    err_clear(&db->failure);
    db->reads = false;
    db->begin[0] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    db->begin[1] = sync == DB_FULL    ? db->flush
                   : sync == DB_GRANT ? grant
                                      : "SET LOCAL synchronous_commit=off";
    db->begin[2] = db->lock;
    db->begin[3] = sync == DB_FULL ? db_xid : NULL;
    db->xid = sync == DB_FULL ? XID_UNHEARD : 0;
    db->locks = true;
    return 0;
}

int db_begin_read(struct db *db, struct err *e)
{
    if (db->lost)
        return db_fail_lost(db, e);
    err_clear(&db->failure);
    db->reads = true;
    db->begin[0] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    db->begin[1] = NULL;
    return 0;
}

/* What became of a transaction whose connection was lost at its commit? Only the server that it was
   sent to knows, and only until it is started again: then it may give the number to another one.
   Asked on a connection of its own; 1 committed, 0 not, -1 nobody knows. */
static int ask_fate(struct db *db)
{
    struct db other = {.at = db->at, .host = db->host, .stopping = db->stopping};
    struct err e = ERR_NONE;
    char xid[24];
    const char *const values[] = {xid};
    PGresult *rows = NULL;
    int fate = -1;

    snprintf(xid, sizeof xid, "%lld", (long long)db->xid);
    for (int tries = 0; tries < ASK_TIMES && rows == NULL && !db_stopping(db); tries++) {
        if (tries > 0)
            poll(NULL, 0, ASK_AGAIN_MS << tries);
        err_clear(&e);
        other.lost = false;
        if (db_connect(&other, &other.conn, &e) == 0)
            rows = db_ask(&other,
                          "SELECT pg_xact_status(CAST($1 AS xid8))," SERVER_LIFE
                          ",current_setting('synchronous_standby_names')",
                          values, 1, &e);
        PQfinish(other.conn);
        other.conn = NULL;
        if (rows != NULL && strcmp(PQgetvalue(rows, 0, 0), "in progress") == 0 &&
            tries < ASK_TIMES - 1) {
            PQclear(rows); /* its backend has not noticed yet */
            rows = NULL;
        }
    }
    /* Where a standby has to have it, too, the server cannot tell whether that has it. */
    if (rows != NULL && db_same_life(db, rows, 1) && *PQgetvalue(rows, 0, 2) == '\0')
        fate = strcmp(PQgetvalue(rows, 0, 0), "committed") == 0 ? 1
               : strcmp(PQgetvalue(rows, 0, 0), "aborted") == 0 ? 0
                                                                : -1;
    PQclear(rows);
    free(other.sent);
    return fate;
}

static int commit_lost(struct db *db, struct err *e)
{
    int fate = db->xid > 0 ? ask_fate(db) : -1;

    if (fate > 0)
        return err_clear(e), 0; /* the next call says that the connection is lost */
    if (fate == 0)
        return -1;
    if (db->xid == 0) /* nothing that has to be done again: it was a claim, or the end of one */
        return TXN_UNKNOWN;
    err_clear(e);
    return err_set(e, EX_TEMPFAIL,
                   "%s: the connection was lost at the commit, and nobody knows whether it took "
                   "place: do it again, with the same ids",
                   db->at.shown),
           TXN_UNKNOWN;
}

int db_commit(struct db *db, bool ring, struct err *e)
{
    int got;

    if (!db->in && db->begin[0] != NULL) { /* nothing has been sent */
        db->begin[0] = NULL;
        db->locks = false;
    } else if ((got = db_exec(db, "COMMIT", e)) < 0 && !db->lost) {
        db_rollback(db);
        return -1;
    } else if (got < 0) {
        return commit_lost(db, e);
    }
    db->in = false;
    if (ring)
        db_ring(db); /* after the commit, or a woken reader would find nothing */
    return 0;
}

void db_rollback(struct db *db)
{
    struct err ignored = ERR_NONE;
    bool locked = db->locked, full = db->full, damaged = db->damaged;

    db->begin[0] = NULL;
    db->locks = false;
    db_finish(db, &ignored); /* what has failed there skips all that is sent before its end */
    if (db->in && db->reads)
        db_cast(db, "ROLLBACK");
    else if (db->in)
        db_exec(db, "ROLLBACK", &(struct err){0});
    db->in = false;
    db->locked = locked;
    db->full = full;
    db->damaged = damaged;
}

/* What claims and settles change: each claim has a number of its own, and what is settled is
   counted. Transactions cannot be counted: those of other databases are among them, and our own
   that fail. */
int db_generation(struct db *db, int64_t *out, struct err *e)
{
    return db_int(db, e, out,
                  SQL("generation",
                      "SELECT CAST((SELECT coalesce(sum(rev+paced),0) FROM groups)+"
                      "(SELECT coalesce(sum(seq),0) FROM cursor)+"
                      "(SELECT coalesce(sum(claim),0) FROM claim)+"
                      "(SELECT coalesce(sum(done+retried+dead+deferred),0) FROM tally)"
                      "AS bigint)"),
                  "");
}

bool db_wanted(struct db *db)
{
    (void)db;
    return false;
}

void db_give_way(struct db *db)
{
    (void)db;
}

/* The disk is the server's. */
int db_room(struct db *db, int64_t *room, struct err *e)
{
    *room = INT64_MAX;
    return db->lost ? db_fail_lost(db, e) : 0;
}

int db_no_room(struct db *db, struct err *e)
{
    return err_set(e, EX_IOERR, "%s: the server's disk is full", db->at.shown);
}

bool db_full(const struct db *db)
{
    return db->full;
}

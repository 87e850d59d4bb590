/*
 * The conversation with the server: what is sent, and how its answers are waited for.
 *
 * The connection is in pipeline mode (PostgreSQL manual, 34.5) from its beginning to its end. Each
 * exchange is one pipeline, closed by a sync: after an error the server skips what is left of it.
 */
#include "store/postgres/postgres.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AROUND_MS 100 /* between two looks whether we should stop */
#define CONNECT_MS 10000

static bool must_stop(const struct db *db)
{
    return db->stopping != NULL && db->stopping();
}

void db_lose(struct db *db)
{
    db->lost = true;
    db->in = false;
    db->begin[0] = NULL;
    db->unread = 0;
}

/* Wait until the socket is ready. 1; 0 when it was not in time; -1 when we should stop. stops: this
   wait ends when we should stop. */
static int await(struct db *db, PGconn *conn, short events, int64_t until_ms, bool stops)
{
    for (;;) {
        int64_t left = until_ms - clock_mono_ms();
        struct pollfd fd = {.fd = PQsocket(conn), .events = events};
        if (stops && must_stop(db))
            return -1;
        if (left <= 0)
            return 0;
        int got = poll(&fd, 1, (int)(left < LOOK_AROUND_MS ? left : LOOK_AROUND_MS));
        if (got > 0)
            return 1;
        if (got < 0 && errno != EINTR)
            return 0;
    }
}

/* Tell the server to give up the statement: only a wait for a lock takes this long. */
static void cancel(PGconn *conn)
{
    char words[256];
    PGcancel *c = PQgetCancel(conn);

    if (c != NULL)
        PQcancel(c, words, sizeof words);
    PQfreeCancel(c);
}

/* Receive until the next result can be had without waiting. */
static int receive(struct db *db, bool waits_for_lock, struct err *e)
{
    int64_t until = clock_mono_ms() + (waits_for_lock ? DB_LOCK_MS + 5000 : DB_SILENCE_MS);
    bool cancelled = false;
    int unsent;

    while ((unsent = PQflush(db->conn)) > 0 || PQisBusy(db->conn)) {
        int got = await(db, db->conn, (short)(POLLIN | (unsent > 0 ? POLLOUT : 0)), until,
                        waits_for_lock && !cancelled);
        if (got < 0) { /* the answer comes at once, and says that it was cancelled */
            cancel(db->conn);
            cancelled = true;
            until = clock_mono_ms() + 5000;
            continue;
        }
        if (got == 0) {
            db_lose(db);
            return err_set(e, EX_TEMPFAIL, "%s: the server has not answered for %d seconds",
                           db->at.shown, DB_SILENCE_MS / 1000);
        }
        if (PQconsumeInput(db->conn) == 0)
            return db_lose(db), db_fail_lost(db, e);
    }
    return unsent < 0 ? (db_lose(db), db_fail_lost(db, e)) : cancelled;
}

/* Read the answers of all pipelines that are on their way. The last one's last statement is ours:
   *out gets its rows. */
static int finish(struct db *db, PGresult **out, struct err *e)
{
    PGresult *last = NULL, *next;
    bool failed = false;
    int got;

    *out = NULL;
    for (int nothing = 0; nothing < 2;) {
        if ((got = receive(db, db->locks, e)) < 0)
            break;
        if (got > 0)
            db->locked = true;
        if ((next = PQgetResult(db->conn)) == NULL) {
            nothing++; /* one ends each statement; two mean that the connection is gone */
            continue;
        }
        nothing = 0;
        ExecStatusType status = PQresultStatus(next);
        if (status == PGRES_PIPELINE_SYNC && db->unread-- == 0) {
            PQclear(next);
            db->unread = 0;
            db->locks = false;
            *out = last;
            return failed ? -1 : 0;
        }
        if (status == PGRES_PIPELINE_SYNC || status == PGRES_PIPELINE_ABORTED ||
            (status == PGRES_FATAL_ERROR && failed)) {
            PQclear(next);
            continue;
        }
        if (status == PGRES_FATAL_ERROR && db->unread == 0) {
            failed = true;
            if (db->locked && must_stop(db))
                db_fail_locked(db, e);
            else
                db_fail(db, next, e);
        }
        PQclear(last);
        last = next;
    }
    PQclear(last);
    db->locks = false;
    if (e->status == 0)
        return db_lose(db), db_fail_lost(db, e);
    return -1;
}

static int send_plain(struct db *db, const char *sql)
{
    return PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 1);
}

/* What goes before the next statement. */
static int send_begin(struct db *db)
{
    int sent = 1;

    for (size_t i = 0; i < 4 && db->begin[i] != NULL && sent; i++)
        sent = send_plain(db, db->begin[i]);
    db->in |= db->begin[0] != NULL;
    db->begin[0] = NULL;
    return sent;
}

static int not_sent(struct db *db, struct err *e)
{
    db_lose(db);
    return db_fail_lost(db, e);
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
    PGresult *rows;

    if (db->lost)
        return db_fail_lost(db, e);
    db->locked = db->full = false;
    if (!send_begin(db) || !send_plain(db, sql) || !PQpipelineSync(db->conn))
        return not_sent(db, e);
    int got = finish(db, &rows, e);
    /* A failed transaction's COMMIT is answered by ROLLBACK. */
    if (got == 0 && strcmp(sql, "COMMIT") == 0 && strcmp(PQcmdStatus(rows), "COMMIT") != 0)
        got =
            err_set(e, EX_TEMPFAIL, "%s: the server has rolled the transaction back", db->at.shown);
    PQclear(rows);
    return got;
}

PGresult *db_ask(struct db *db, const char *sql, const char *const *values, int n, struct err *e)
{
    PGresult *rows;

    if (db->lost) {
        db_fail_lost(db, e);
        return NULL;
    }
    if (!PQsendQueryParams(db->conn, sql, n, NULL, values, NULL, NULL, 0) ||
        !PQpipelineSync(db->conn)) {
        not_sent(db, e);
        return NULL;
    }
    if (finish(db, &rows, e) == 0)
        return rows;
    PQclear(rows);
    return NULL;
}

/* The first run is sent whole; the second one prepares the statement, too, for all that follow. */
static int send_query(struct db *db, struct query *q)
{
    if (q->runs++ == 0)
        return PQsendQueryParams(db->conn, q->text, q->n, q->type, q->value, q->length, q->format,
                                 1);
    if (!q->prepared && !PQsendPrepare(db->conn, q->name, q->text, q->n, q->type))
        return 0;
    q->prepared = true;
    return PQsendQueryPrepared(db->conn, q->name, q->n, q->value, q->length, q->format, 1);
}

int db_exchange(struct db *db, struct query *q, struct err *e)
{
    bool before = q->prepared;

    if (db->lost)
        return db_fail_lost(db, e);
    db->locked = db->full = db->damaged = false;
    if (!send_begin(db) || !send_query(db, q) || !PQpipelineSync(db->conn))
        return not_sent(db, e);
    if (finish(db, &q->rows, e) == 0)
        return 0;
    q->prepared = before && !db->lost; /* what failed may have been the preparing */
    if (!q->prepared)
        q->runs = 0;
    PQclear(q->rows);
    q->rows = NULL;
    return -1;
}

void db_cast(struct db *db, const char *sql)
{
    if (db->lost || db->in)
        return;
    if (send_plain(db, sql) && PQpipelineSync(db->conn)) {
        db->unread++;
        PQflush(db->conn);
    } else {
        db_lose(db);
    }
}

void db_read_answers(struct db *db)
{
    if (PQconsumeInput(db->conn) == 0)
        db_lose(db);
    while (db->unread > 0 && !PQisBusy(db->conn)) {
        PGresult *answer = PQgetResult(db->conn);
        db->unread -= PQresultStatus(answer) == PGRES_PIPELINE_SYNC;
        PQclear(answer);
    }
}

/* ------------------------------------------------------------------------------------ connecting */

/* The settings that we depend on are set once there is a connection: a pooler may refuse them
   before. */
static PGconn *start(struct db *db)
{
    /* What the address says comes later, and wins. */
    const char *const keys[] = {"fallback_application_name",
                                "tcp_user_timeout",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "dbname",
                                NULL};
    const char *const values[] = {"eventutils", "3000", "2", "1", "3", db->at.conninfo, NULL};

    return PQconnectStartParams(keys, values, 1);
}

int db_connect(struct db *db, PGconn **out, struct err *e)
{
    int64_t until = clock_mono_ms() + CONNECT_MS;
    PGconn *conn = start(db);
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    int got = 1;

    while (conn != NULL && PQstatus(conn) != CONNECTION_BAD && step != PGRES_POLLING_OK &&
           step != PGRES_POLLING_FAILED) {
        got = await(db, conn, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, until, true);
        if (got <= 0)
            break;
        step = PQconnectPoll(conn);
    }
    if (conn != NULL && PQstatus(conn) == CONNECTION_OK && PQenterPipelineMode(conn) &&
        PQsetnonblocking(conn, 1) == 0) {
        *out = conn;
        return 0;
    }
    if (got < 0)
        db_fail_locked(db, e);
    else if (got == 0)
        err_set(e, EX_TEMPFAIL, "%s: the server has not answered for %d seconds", db->at.shown,
                CONNECT_MS / 1000);
    else
        db_fail_connect(db, conn, e);
    PQfinish(conn);
    *out = NULL;
    return -1;
}

/*
 * The conversation with the server: what is sent, and how its answers are waited for.
 *
 * The connection is in pipeline mode (PostgreSQL manual, 34.5) from its beginning to its end. Each
 * exchange is one pipeline, closed by a sync: after an error the server skips what is left of it.
 */
#include "store/postgres/postgres.h"

#include "base/clock.h"
#include "base/mem.h"
#include "pgkit/pgkit.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AROUND_MS 100 /* between two looks whether we should stop */
#define CONNECT_MS 10000
#define CANCEL_MS 5000
#define STOP_AFTER_MS 500 /* the answer to a statement that waits for nobody is here by then */

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
    db->sends = 0;
}

static bool ask_stopping(void *db)
{
    return must_stop(db);
}

static int poll_plainly(struct pollfd *fds, size_t n, int64_t timeout_ms)
{
    return poll(fds, n, (int)timeout_ms);
}

/* stops: the wait ends when we should stop, but not before an answer on its way would be here. */
static struct pg_patience patience(struct db *db, bool stops)
{
    return (struct pg_patience){poll_plainly, stops ? ask_stopping : NULL, db, LOOK_AROUND_MS,
                                STOP_AFTER_MS};
}

/* Tell the server to give up the statement: only a wait for a lock takes this long. The answer
   comes at once, and says that it was cancelled. */
static enum pg_wait cancel(struct db *db)
{
    const struct pg_patience p = patience(db, false);
    int64_t until = clock_mono_ms() + CANCEL_MS;
    pid_t canceller = pg_cancel_begin(db->conn);
    enum pg_wait got = pg_receive(db->conn, until, &p);

    pg_cancel_end(canceller, until);
    db->cancelled = true;
    return got;
}

/* Receive until the next result can be had without waiting. */
static int receive(struct db *db, struct err *e)
{
    int64_t until = clock_mono_ms() + (db->locks ? DB_LOCK_MS + 5000 : DB_SILENCE_MS);
    struct pg_patience p = patience(db, db->locks && !db->cancelled);
    enum pg_wait got = pg_receive(db->conn, until, &p);

    if (got == PG_STOPPED)
        got = cancel(db);
    if (got == PG_READY)
        return 0;
    db_lose(db);
    if (got == PG_SILENT && db->cancelled)
        return err_set(e, EX_TEMPFAIL, "%s: the server does not answer", db->at.shown);
    return got == PG_SILENT
               ? err_set(e, EX_TEMPFAIL, "%s: the server has not answered for %d seconds",
                         db->at.shown, DB_SILENCE_MS / 1000)
               : db_fail_lost(db, e);
}

static int not_sent(struct db *db, struct err *e)
{
    db_lose(db);
    return db_fail_lost(db, e);
}

/* Note that a statement has been sent, if it has. */
static bool sent(struct db *db, int ok, struct sent to)
{
    if (db->sends == db->sent_room)
        db->sent = mem_grow(db->sent, db->sent_room = 2 * db->sent_room + 64, sizeof *db->sent);
    db->sent[db->sends++] = to;
    return ok;
}

const char db_xid[] = "SELECT pg_current_xact_id()";

static bool send_plain(struct db *db, const char *sql)
{
    return sent(db, PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 1),
                (struct sent){.out = sql == db_xid ? &db->xid : NULL});
}

/* What goes before the next statement. */
static bool send_begin(struct db *db)
{
    bool begins = db->begin[0] != NULL, pooled = *db->settings != '\0';
    bool ok = (!begins || send_plain(db, db->begin[0])) &&
              (!pooled || db->in || send_plain(db, db->settings));

    for (size_t i = 1; begins && ok && i < 4 && db->begin[i] != NULL; i++)
        ok = send_plain(db, db->begin[i]);
    db->in |= begins;
    db->begin[0] = NULL;
    return ok;
}

/* The first run is sent whole; the second one prepares the statement, too, for all that follow. */
static bool send_query(struct db *db, struct query *q, int64_t *out)
{
    if (q->runs++ == 0 || *db->settings != '\0')
        return sent(
            db,
            PQsendQueryParams(db->conn, q->text, q->n, q->type, q->value, q->length, q->format, 1),
            (struct sent){.out = out});
    if (!q->prepared && !sent(db, PQsendPrepare(db->conn, q->name, q->text, q->n, q->type),
                              (struct sent){.prepares = q}))
        return false;
    q->prepared = true;
    return sent(db, PQsendQueryPrepared(db->conn, q->name, q->n, q->value, q->length, q->format, 1),
                (struct sent){.out = out});
}

static void note_failure(struct db *db, const PGresult *answer, struct err *e)
{
    const char *state = PQresultErrorField(answer, PG_DIAG_SQLSTATE);

    if (state != NULL && strcmp(state, "25P02") == 0 && db->failure.status != 0)
        *e = db->failure; /* "the transaction is aborted": by this one */
    else if (db->cancelled)
        db_fail_locked(db, e);
    else
        db_fail(db, answer, e);
    if (db->failure.status == 0)
        db->failure = *e;
}

/* The next answer of the pipeline. Returns 1 at its end, 0, -1 when the connection is lost. */
static int take_answer(struct db *db, size_t *at, PGresult **last, struct err *e)
{
    PGresult *answer;
    ExecStatusType status;

    if (receive(db, e) < 0)
        return -1;
    if ((answer = PQgetResult(db->conn)) == NULL) { /* the end of one statement's */
        *at += db->unread == 0;
        return *at > db->sends ? not_sent(db, e) : 0;
    }
    status = PQresultStatus(answer);
    const struct sent *of = db->unread == 0 && *at < db->sends ? &db->sent[*at] : NULL;
    if (status == PGRES_PIPELINE_SYNC) {
        PQclear(answer);
        return db->unread == 0 ? 1 : (db->unread--, 0);
    }
    if (of != NULL && of->prepares != NULL)
        of->prepares->prepared = status == PGRES_COMMAND_OK;
    if (of != NULL && status == PGRES_FATAL_ERROR && e->status == 0)
        note_failure(db, answer, e);
    if (of != NULL && of->out != NULL && status == PGRES_TUPLES_OK && PQntuples(answer) > 0)
        *of->out = db_number(answer, 0, 0);
    PGresult **keep = of != NULL && of->rows != NULL && status == PGRES_TUPLES_OK ? of->rows : last;
    PQclear(*keep);
    *keep = answer;
    return db->lost ? -1 : 0;
}

/* End the pipeline and read what was answered: *out gets the answer to its last statement. */
static int finish(struct db *db, PGresult **out, struct err *e)
{
    size_t at = 0;
    int got = PQpipelineSync(db->conn) ? 0 : not_sent(db, e);

    *out = NULL;
    db->cancelled = false;
    while (got == 0)
        got = take_answer(db, &at, out, e);
    db->sends = 0;
    db->locks = false;
    if (e->status == 0)
        return 0;
    PQclear(*out);
    *out = NULL;
    return -1;
}

static int begin_exchange(struct db *db, struct err *e)
{
    if (db->lost)
        return db_fail_lost(db, e);
    db->failed = db->locked = db->full = db->damaged = false;
    return send_begin(db) ? 0 : not_sent(db, e);
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
    PGresult *rows;

    if (begin_exchange(db, e) < 0 || (!send_plain(db, sql) && not_sent(db, e) < 0) ||
        finish(db, &rows, e) < 0)
        return -1;
    /* A failed transaction's COMMIT is answered by ROLLBACK. */
    int got = strcmp(sql, "COMMIT") != 0 || strcmp(PQcmdStatus(rows), "COMMIT") == 0
                  ? 0
                  : err_set(e, EX_TEMPFAIL, "%s: the server has rolled the transaction back",
                            db->at.shown);
    PQclear(rows);
    return got;
}

static int send_ask(struct db *db, const char *sql, const char *const *values, int n, bool binary,
                    PGresult **rows, struct err *e)
{
    if (begin_exchange(db, e) < 0)
        return -1;
    int ok = PQsendQueryParams(db->conn, sql, n, NULL, values, NULL, NULL, binary);
    return sent(db, ok, (struct sent){.rows = rows}) ? 0 : not_sent(db, e);
}

int db_ask_later(struct db *db, const char *sql, const char *const *values, int n, PGresult **rows,
                 struct err *e)
{
    return send_ask(db, sql, values, n, true, rows, e);
}

PGresult *db_ask(struct db *db, const char *sql, const char *const *values, int n, struct err *e)
{
    PGresult *rows = NULL;

    if (send_ask(db, sql, values, n, true, NULL, e) == 0)
        finish(db, &rows, e);
    return rows;
}

PGresult *db_ask_text(struct db *db, const char *sql, struct err *e)
{
    PGresult *rows = NULL;

    if (send_ask(db, sql, NULL, 0, false, NULL, e) == 0)
        finish(db, &rows, e);
    return rows;
}

int db_exchange(struct db *db, struct query *q, struct err *e)
{
    if (begin_exchange(db, e) < 0)
        return -1;
    return send_query(db, q, NULL) ? finish(db, &q->rows, e) : not_sent(db, e);
}

int db_send(struct db *db, struct query *q, int64_t *out, struct err *e)
{
    PGresult *rows = NULL;

    if (begin_exchange(db, e) < 0)
        return -1;
    if (!send_query(db, q, out))
        return not_sent(db, e);
    int got = db->sends < DB_SENT ? 0 : finish(db, &rows, e);
    PQclear(rows);
    return got;
}

int db_push(struct db *db, const char *sql, struct err *e)
{
    if (begin_exchange(db, e) < 0)
        return -1;
    return send_plain(db, sql) ? 0 : not_sent(db, e);
}

int db_finish(struct db *db, struct err *e)
{
    PGresult *rows = NULL;
    int got = db->lost || db->sends == 0 ? 0 : finish(db, &rows, e);

    PQclear(rows);
    return got;
}

void db_cast(struct db *db, const char *sql)
{
    if (db->lost)
        return;
    if (PQsendQueryParams(db->conn, sql, 0, NULL, NULL, NULL, NULL, 1) &&
        PQpipelineSync(db->conn)) {
        db->unread++;
        PQflush(db->conn);
    } else {
        db_lose(db);
    }
}

void db_hear_out(struct db *db)
{
    struct err ignored = ERR_NONE;
    PGresult *rows = NULL;

    if (!db->lost && db->unread > 0)
        finish(db, &rows, &ignored);
    PQclear(rows);
}

void db_read_answers(struct db *db)
{
    if (PQconsumeInput(db->conn) == 0)
        db_lose(db);
    PQisBusy(db->conn); /* reads what came, also while no answer is due */
    while (db->unread > 0 && !PQisBusy(db->conn)) {
        PGresult *answer = PQgetResult(db->conn);
        db->unread -= PQresultStatus(answer) == PGRES_PIPELINE_SYNC;
        PQclear(answer);
    }
}

/* The settings that we depend on are set once there is a connection: a pooler may refuse them
   before. */
int db_connect(struct db *db, PGconn **out, struct err *e)
{
    static const char *const defaults[] = {"fallback_application_name", "eventutils",
                                           PG_NOTICED_SOON, NULL};
    const struct pg_patience p = patience(db, true);
    enum pg_wait got = pg_connect(out, db->at.conninfo, defaults, CONNECT_MS, &db->host, &p);

    if (got == PG_READY && PQenterPipelineMode(*out))
        return 0;
    if (got == PG_STOPPED)
        db_fail_locked(db, e);
    else if (got == PG_SILENT)
        err_set(e, EX_TEMPFAIL, "%s: the server does not answer", db->at.shown);
    else
        db_fail_connect(db, *out, e);
    PQfinish(*out);
    *out = NULL;
    return -1;
}

/*
 * A model in a schema of a PostgreSQL database. Its address is that of a server, as for a spool;
 * the schema is behind #, and public if it is missing.
 *
 * A transaction locks the projection's row first, and reads the position in it. So a transaction
 * whose connection was lost at the commit needs no special care: the next one waits until the
 * server knows the outcome, and finds the position before or after it.
 */
#include "project/postgres.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cli/engine.h"
#include "process/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCHEMA_BYTES 63 /* of identifiers, in PostgreSQL */
#define RECOVERIES 5    /* in a minute */

/* ----------------------------------------------------------------------------------------- name */

static char *postgres_name(const char *database)
{
    return mem_dup(database, strlen(database));
}

static int postgres_same(const char *ours, const char *theirs)
{
    if (!engine_is_address(theirs))
        return access(theirs, F_OK) != 0; /* a file that is gone is no obstacle */
    return strcmp(ours, theirs) == 0 ? 1 : -1;
}

/* ----------------------------------------------------------------------------------------- open */

static int postgres_open(struct model *m, enum model_mode mode, struct err *e)
{
    struct postgres_model *own = mem_zero(1, sizeof *own);
    const char *hash = strrchr(m->name, '#');
    const char *schema = hash == NULL ? "public" : hash + 1;

    m->own = own;
    own->lost = true;
    own->deferred = -1;
    own->reads = mode == MODEL_READ;
    own->conninfo = mem_dup(m->name, hash == NULL ? strlen(m->name) : (size_t)(hash - m->name));
    own->schema = mem_dup(schema, strlen(schema));
    if (*schema == '\0' || strlen(schema) > SCHEMA_BYTES)
        return err_set(e, EX_USAGE, "%s: what follows # names a schema, in at most %d bytes",
                       err_quote_text(m->name).text, SCHEMA_BYTES);
    return pg_check(own->conninfo, "the database", e) < 0 ? -1 : postgres_connect(m, e);
}

static void postgres_close(struct model *m)
{
    struct postgres_model *own = m->own;

    if (own == NULL)
        return;
    PQfinish(own->conn);
    free(own->conninfo);
    free(own->schema);
    free(own->sent);
    buf_free(&own->notice);
    buf_free(&own->scratch);
    free(own);
    m->own = NULL;
}

/* --------------------------------------------------------------------------------- transactions */

/* What begins a transaction is sent with its first statement. */
static int postgres_begin(struct model *m, struct err *e)
{
    struct postgres_model *own = m->own;

    own->again = own->locked = false;
    own->last_seq = 0;
    own->in = postgres_send(m, (struct sent){NULL, 0}, NULL, "BEGIN", &(struct postgres_words){0},
                            e) == 0;
    return own->in ? 0 : -1;
}

static void postgres_rollback(struct model *m)
{
    struct postgres_model *own = m->own;
    struct err ignored = ERR_NONE;

    if (!own->in || own->lost)
        return;
    bool again = own->again;
    postgres_finish(m, NULL, &ignored); /* what has failed there skips all that is sent before it */
    err_clear(&ignored);
    postgres_do(m, "ROLLBACK", &ignored);
    own->in = false;
    own->again = again;
}

static int postgres_commit(struct model *m, struct err *e)
{
    struct postgres_model *own = m->own;
    PGresult *rows = postgres_ask(m, "COMMIT", NULL, 0, e);
    /* A failed transaction's COMMIT is answered by ROLLBACK. */
    int got =
        rows == NULL ? -1
        : strcmp(PQcmdStatus(rows), "COMMIT") == 0
            ? 0
            : err_set(e, EX_TEMPFAIL, "%s: the server has rolled the transaction back", m->name);

    PQclear(rows);
    own->in = false;
    return got;
}

/* The connection was lost, or others were in the way: try again a few times. */
static int postgres_recover(struct model *m, struct err *e)
{
    const struct backoff pause = {200, 10000, BACKOFF_EQUAL};
    struct postgres_model *own = m->own;
    bool again = own->again;

    own->again = false;
    while ((own->lost || again) && (m->stopping == NULL || !m->stopping())) {
        if (clock_mono_ms() - own->recovering_ms > 60000) {
            own->recovering_ms = clock_mono_ms();
            own->recoveries = 0;
        }
        if (own->recoveries++ >= RECOVERIES)
            return -1;
        proc_wait(NULL, 0, backoff_ms(&pause, own->recoveries * 2 - 1, clock_random()));
        if (!own->lost)
            return 0;
        err_clear(e);
        if (postgres_connect(m, e) == 0)
            return 0;
        if (e->status != EX_TEMPFAIL)
            return -1;
    }
    return -1;
}

/* ---------------------------------------------------------------------------------------- rows */

struct model_rows {
    PGresult *result;
    int row;
};

#define ARGUMENTS 16

static struct model_rows *postgres_query(struct model *m, struct err *e, const char *sql,
                                         const char *types, va_list ap)
{
    struct postgres_model *own = m->own;
    const char *values[ARGUMENTS];
    size_t at[ARGUMENTS];
    int n = 0;

    /* Each as text with a NUL behind it. */
    buf_reset(&own->scratch);
    for (; types[n] != '\0'; n++) {
        struct str text = {NULL, 0};
        values[n] = "";
        at[n] = own->scratch.n;
        if (types[n] == 'i')
            buf_int(&own->scratch, va_arg(ap, int64_t));
        else if (types[n] == 't')
            text = str_of(va_arg(ap, const char *));
        else
            text = va_arg(ap, struct str);
        if (types[n] != 'i' && text.p == NULL)
            values[n] = NULL;
        else
            buf_str(&own->scratch, text);
        buf_char(&own->scratch, '\0');
    }
    for (int i = 0; i < n; i++)
        values[i] = values[i] == NULL ? NULL : own->scratch.p + at[i];
    PGresult *result = postgres_ask(m, sql, values, n, e);
    if (result == NULL)
        return NULL;
    struct model_rows *q = mem_zero(1, sizeof *q);
    *q = (struct model_rows){result, -1};
    return q;
}

static int postgres_row(struct model *m, struct model_rows *q, struct err *e)
{
    (void)m;
    (void)e;
    return ++q->row < PQntuples(q->result);
}

static struct str postgres_text(struct model_rows *q, int column)
{
    if (PQgetisnull(q->result, q->row, column))
        return (struct str){NULL, 0};
    return (struct str){PQgetvalue(q->result, q->row, column),
                        (size_t)PQgetlength(q->result, q->row, column)};
}

static void postgres_done(struct model_rows *q)
{
    PQclear(q->result);
    free(q);
}

/* ----------------------------------------------------------------------------------- our tables */

static int postgres_is_there(struct model *m, struct err *e)
{
    int64_t tables = 0;
    int got =
        model_int(m, e, &tables,
                  "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace "
                  "WHERE n.nspname=$1 AND c.relname='eventutils_projection'",
                  "t", postgres_of(m)->schema);

    return got < 0 ? -1 : tables > 0;
}

static int postgres_before_tables(struct model *m, struct err *e)
{
    struct postgres_model *own = m->own;
    struct buf sql = BUF_INIT;
    int64_t there = 0;

    if (postgres_lock_schema(m, e) < 0 ||
        model_int(m, e, &there, "SELECT count(*) FROM pg_namespace WHERE nspname=$1", "t",
                  own->schema) < 0)
        return -1;
    int got = there > 0
                  ? 0
                  : postgres_do(m, postgres_format(&sql, "CREATE SCHEMA %I", own->schema, NULL), e);
    buf_free(&sql);
    return got;
}

const struct model_engine model_postgres = {
    .batch_events = 1000,
    .batch_ms = 50,
    .lock_rows = " FOR UPDATE",
    .init_words = postgres_init_words,
    .name = postgres_name,
    .same = postgres_same,
    .open = postgres_open,
    .close = postgres_close,
    .begin = postgres_begin,
    .commit = postgres_commit,
    .rollback = postgres_rollback,
    .recover = postgres_recover,
    .query = postgres_query,
    .row = postgres_row,
    .text = postgres_text,
    .done = postgres_done,
    .is_there = postgres_is_there,
    .before_tables = postgres_before_tables,
    .collides = postgres_collides,
    .made = postgres_made,
    .compile = postgres_compile,
    .run_once = postgres_run_once,
    .prepared = postgres_prepared,
    .run = postgres_run,
    .flush = postgres_flush,
    .forget = postgres_forget,
    .open_draft = postgres_open_draft,
    .swap = postgres_swap,
    .hold = postgres_begin,
    .compare = postgres_compare,
    .remove_draft = postgres_remove_draft,
};

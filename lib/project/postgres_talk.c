/*
 * The conversation with the server of a read model. The connection is in pipeline mode (PostgreSQL
 * manual, 34.5): statements are sent without waiting for the answers of those before, and after an
 * error the server skips what is left of the pipeline.
 *
 * After a signal a statement may go on for a second; then the connection is closed, and the server
 * rolls its transaction back when it notices, within another second.
 */
#include "project/postgres.h"

#include "base/clock.h"
#include "base/mem.h"
#include "process/proc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000
#define STOP_MS 1000 /* how long a statement may run after a signal */
#define LOOK_MS 100
#define ASK_FOR_ANSWERS 16 /* statements, between requests for what has been answered so far */
#define WINDOW 32          /* statements without an answer, at most */
#define LIMIT_TRIES 20
#define OLDEST 130000 /* PostgreSQL 13: pg_current_xact_id */

static bool must_stop(void *model)
{
    const struct model *m = model;
    return m->stopping != NULL && m->stopping();
}

static struct pg_patience patience(struct model *m)
{
    return (struct pg_patience){proc_wait, must_stop, m, LOOK_MS, STOP_MS};
}

static void lose(struct model *m)
{
    struct postgres_model *own = m->own;

    PQfinish(own->conn);
    own->conn = NULL;
    own->lost = true;
    own->in = false;
    own->sends = own->answers = 0;
}

static int fail_lost(const struct model *m, struct err *e)
{
    return err_set(e, EX_TEMPFAIL, "%s: the connection to the server is lost", m->name);
}

/* -------------------------------------------------------------------------------------- errors */

/* Errors that only some events have: their values, constraints, what triggers raise, and limits. */
static bool state_blames_event(const char *state)
{
    static const char *const classes[] = {"21", "22", "23", "44", "54", "P0"};
    bool at_fault = false;

    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        at_fault |= strncmp(state, classes[i], 2) == 0;
    return at_fault;
}

static void say_error(struct model *m, const char *state, const char *words, const char *detail,
                      struct err *e)
{
    const struct pg_error *known = pg_error_of(state);
    struct buf text = BUF_INIT;

    pg_words(&text, words);
    if (detail != NULL && strncmp(state, "2BP01", 5) == 0) { /* what depends on it */
        buf_puts(&text, ": ");
        pg_words(&text, detail);
    }
    if (strncmp(state, "55P03", 5) == 0)
        err_set(e, EX_TEMPFAIL, "%s: kept locked by other sessions", m->name);
    else
        err_set(e, known->state == NULL ? EX_DATAERR : known->status, "%s: %.500s%s", m->name,
                buf_text(&text), known->remedy);
    buf_free(&text);
}

/* The first error of a pipeline. */
static void note_failure(struct model *m, const struct sent *of, const PGresult *answer)
{
    struct postgres_model *own = m->own;
    const char *state = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);
    struct buf text = BUF_INIT;

    if (own->failed)
        return;
    own->failed = true;
    own->failure = *of;
    err_clear(&own->error);
    err_clear(&own->words);
    if (state == NULL || words == NULL) {
        own->at_fault = false;
        fail_lost(m, &own->error);
        return;
    }
    pg_words(&text, words);
    err_set(&own->words, EX_DATAERR, "%.500s", buf_text(&text));
    buf_free(&text);
    say_error(m, state, words, PQresultErrorField(answer, PG_DIAG_MESSAGE_DETAIL), &own->error);
    own->at_fault = state_blames_event(state);
    own->again = strncmp(state, "40", 2) == 0;
    own->locked = strcmp(state, "55P03") == 0;
}

/* "CREATE … IF NOT EXISTS" has found something: it would be taken for the file's. */
static void note_notice(void *model, const PGresult *notice)
{
    struct postgres_model *own = postgres_of(model);
    const char *state = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);

    if (state == NULL || words == NULL || own->notice.n > 0)
        return;
    if (strcmp(state, "42P07") == 0 || strcmp(state, "42710") == 0)
        pg_words(&own->notice, words);
}

/* ------------------------------------------------------------------------------------ pipelines */

/* One more answer. 1: the pipeline is over; 0; -1: the connection is lost. */
static int take_answer(struct model *m, PGresult **last, struct err *e)
{
    struct postgres_model *own = m->own;
    struct pg_patience p = patience(m);
    enum pg_wait got = pg_receive(own->conn, INT64_MAX, &p);

    if (got != PG_READY) {
        lose(m);
        return got == PG_STOPPED ? err_set(e, EX_TEMPFAIL, "%s: interrupted", m->name)
                                 : fail_lost(m, e);
    }
    PGresult *answer = PQgetResult(own->conn);
    if (answer == NULL) { /* the end of one statement's */
        if (own->answers++ < own->sends)
            return 0;
        lose(m);
        return fail_lost(m, e);
    }
    ExecStatusType status = PQresultStatus(answer);
    if (status == PGRES_FATAL_ERROR && own->answers < own->sends)
        note_failure(m, &own->sent[own->answers], answer);
    bool over = status == PGRES_PIPELINE_SYNC;
    bool keep = last != NULL && !over;
    if (keep) {
        PQclear(*last);
        *last = answer;
    } else {
        PQclear(answer);
    }
    if (PQstatus(own->conn) != CONNECTION_OK) {
        lose(m);
        return fail_lost(m, e);
    }
    return over;
}

/* After a send: take what has been answered, when much is on its way. */
static int sent(struct model *m, struct sent of, int ok, struct err *e)
{
    struct postgres_model *own = m->own;

    if (!ok) {
        lose(m);
        return fail_lost(m, e);
    }
    if (own->sends == own->sent_room) {
        own->sent_room = 2 * own->sent_room + 64;
        own->sent = mem_grow(own->sent, own->sent_room, sizeof *own->sent);
    }
    own->sent[own->sends++] = of;
    if (own->sends % ASK_FOR_ANSWERS == 0 && !PQsendFlushRequest(own->conn)) {
        lose(m);
        return fail_lost(m, e);
    }
    int got = 0;
    if (own->sends - own->answers >= WINDOW)
        while (got == 0 && own->sends - own->answers > ASK_FOR_ANSWERS)
            got = take_answer(m, NULL, e);
    return got;
}

int postgres_send(struct model *m, struct sent of, const char *name, const char *sql,
                  const struct postgres_words *w, struct err *e)
{
    struct postgres_model *own = m->own;

    if (own->lost)
        return fail_lost(m, e);
    return sent(m, of,
                name != NULL ? PQsendQueryPrepared(own->conn, name, w->n, w->values, w->lengths,
                                                   w->formats, 0)
                             : PQsendQueryParams(own->conn, sql, w->n, w->types, w->values,
                                                 w->lengths, w->formats, 0),
                e);
}

int postgres_send_prepare(struct model *m, const char *name, const char *sql,
                          const struct postgres_words *w, struct err *e)
{
    struct postgres_model *own = m->own;

    if (own->lost)
        return fail_lost(m, e);
    return sent(m, (struct sent){NULL, 0}, PQsendPrepare(own->conn, name, sql, w->n, w->types), e);
}

int postgres_finish(struct model *m, PGresult **last, struct err *e)
{
    struct postgres_model *own = m->own;
    PGresult *answer = NULL;
    int got = 0;

    if (own->lost)
        return fail_lost(m, e);
    if (!PQpipelineSync(own->conn)) {
        lose(m);
        return fail_lost(m, e);
    }
    while (got == 0)
        got = take_answer(m, &answer, e);
    own->sends = own->answers = 0;
    if (got > 0 && own->failed && e->status == 0)
        *e = own->error;
    bool ok = got > 0 && !own->failed;
    own->failed = false;
    if (ok && last != NULL)
        *last = answer;
    else
        PQclear(answer);
    return ok ? 0 : -1;
}

PGresult *postgres_ask(struct model *m, const char *sql, const char *const *values, int n,
                       struct err *e)
{
    PGresult *rows = NULL;

    if (postgres_send(m, (struct sent){NULL, 0}, NULL, sql,
                      &(struct postgres_words){.n = n, .values = values}, e) == 0)
        postgres_finish(m, &rows, e);
    return rows;
}

int postgres_do(struct model *m, const char *sql, struct err *e)
{
    PGresult *rows = postgres_ask(m, sql, NULL, 0, e);

    PQclear(rows);
    return rows == NULL ? -1 : 0;
}

int postgres_do_all(struct model *m, const char *query, const char *const *values, int n,
                    struct err *e)
{
    PGresult *list = postgres_ask(m, query, values, n, e);
    int got = list == NULL ? -1 : 0;

    for (int i = 0; i < PQntuples(list) && got == 0; i++)
        got = postgres_send(m, (struct sent){NULL, 0}, NULL, PQgetvalue(list, i, 0),
                            &(struct postgres_words){.n = 0}, e);
    if (got == 0)
        got = postgres_finish(m, NULL, e);
    PQclear(list);
    return got;
}

static void quote_name(struct buf *b, const char *name)
{
    buf_char(b, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            buf_char(b, '"');
        buf_char(b, *name);
    }
    buf_char(b, '"');
}

const char *postgres_format(struct buf *b, const char *format, const char *first,
                            const char *second)
{
    buf_reset(b);
    for (; *format != '\0'; format++)
        if (strncmp(format, "%I", 2) == 0) {
            quote_name(b, first);
            first = second;
            format++;
        } else {
            buf_char(b, *format);
        }
    return buf_text(b);
}

/* ----------------------------------------------------------------------------------- connecting */

/*
 * What we depend on, whatever a role's or a database's settings are; those that a server does not
 * know are skipped. Only the model's schema is searched, so that a name without one is never
 * somebody else's table. A statement's text must mean the same at every run, so times are in UTC.
 * $3 is the session as libpq knows it: that of a pooler is others', too, and stays as it is.
 */
#define SHARED "pg_backend_pid()<>CAST($3 AS int)"

static const char settings[] =
    "SELECT current_setting('server_version_num'),pg_backend_pid(),"
    "current_setting('server_encoding'),pg_is_in_recovery(),version(),"
    "to_regclass(quote_ident($1)||'.meta') IS NOT NULL AND "
    "to_regclass(quote_ident($1)||'.segment') IS NOT NULL AND "
    "to_regclass(quote_ident($1)||'.tally') IS NOT NULL,"
    "set_config('search_path',quote_ident($1)," SHARED "),"
    "set_config('synchronous_commit',CASE WHEN $2='draft' THEN 'off' WHEN "
    "current_setting('synchronous_commit')='remote_apply' THEN 'remote_apply' ELSE 'on' "
    "END," SHARED "),"
    "(SELECT count(set_config(name,value," SHARED ")) FROM (VALUES('client_min_messages','notice'),"
    "('jit','off'),('lock_timeout','30s'),('statement_timeout','0'),('transaction_timeout','0'),"
    "('idle_in_transaction_session_timeout','120s'),('idle_session_timeout','0'),"
    "('client_connection_check_interval','1s'),('client_encoding','UTF8'),"
    "('default_transaction_isolation','read committed'),('default_transaction_read_only','off'),"
    "('default_transaction_deferrable','off'),('standard_conforming_strings','on'),"
    "('TimeZone','UTC'),('DateStyle','ISO, YMD'),('IntervalStyle','postgres'),"
    "('bytea_output','hex'),('extra_float_digits','1'),"
    "('tcp_keepalives_idle','5'),('tcp_keepalives_interval','2'),('tcp_keepalives_count','4'),"
    "('tcp_user_timeout','13000')) AS ours(name,value) JOIN pg_catalog.pg_settings USING(name))";

enum settings_column { VERSION, BACKEND, ENCODING, STANDBY, WORDS, SPOOL };

static int check_server(struct model *m, const PGresult *rows, struct err *e)
{
    const struct postgres_model *own = m->own;

    if (strncmp(PQgetvalue(rows, 0, WORDS), "PostgreSQL ", 11) != 0)
        return err_set(e, EX_UNAVAILABLE, "%s: not PostgreSQL, but %.40s", m->name,
                       PQgetvalue(rows, 0, WORDS));
    if (atoi(PQgetvalue(rows, 0, VERSION)) < OLDEST)
        return err_set(e, EX_UNAVAILABLE, "%s: PostgreSQL %d is too old: 13 or newer", m->name,
                       atoi(PQgetvalue(rows, 0, VERSION)) / 10000);
    if (strcmp(PQgetvalue(rows, 0, ENCODING), "UTF8") != 0)
        return err_set(e, EX_UNAVAILABLE, "%s: the database's encoding is %s: create one with UTF8",
                       m->name, PQgetvalue(rows, 0, ENCODING));
    if (atoi(PQgetvalue(rows, 0, BACKEND)) != PQbackendPID(own->conn))
        return err_set(e, EX_UNAVAILABLE,
                       "%s: a pooler stands between us and the server, and may give each "
                       "transaction another session: name the server itself",
                       m->name);
    if (!own->reads && strcmp(PQgetvalue(rows, 0, STANDBY), "t") == 0)
        return err_set(e, EX_UNAVAILABLE,
                       "%s: this server is a standby, which only reads: name its primary, or give "
                       "several hosts and target_session_attrs=read-write",
                       m->name);
    if (strcmp(PQgetvalue(rows, 0, SPOOL), "t") == 0)
        return err_set(e, EX_DATAERR, "%s: is a spool: name another schema", m->name);
    return 0;
}

static int fail_connect(struct model *m, enum pg_wait why, struct err *e)
{
    const struct postgres_model *own = m->own;
    const char *words = own->conn == NULL ? "no memory" : PQerrorMessage(own->conn);
    const char *state = pg_state_in(words);
    struct buf text = BUF_INIT;

    if (why == PG_STOPPED)
        return err_set(e, EX_TEMPFAIL, "%s: interrupted", m->name);
    if (why == PG_SILENT)
        return err_set(e, EX_TEMPFAIL, "%s: the server does not answer", m->name);
    if (state != NULL && pg_error_of(state)->state != NULL) {
        say_error(m, state, state + strlen("3D000: "), NULL, e);
        return -1;
    }
    pg_words(&text, words);
    bool password = own->conn != NULL && PQconnectionNeedsPassword(own->conn);
    err_set(e, password ? EX_NOPERM : EX_TEMPFAIL, "%s: %.500s%s", m->name, buf_text(&text),
            password ? ": put the password into ~/.pgpass" : "");
    buf_free(&text);
    return -1;
}

/* A role's own limit for statements could end what follows, and even this. */
static int lift_limit(struct model *m, struct err *e)
{
    char lift[100];
    int got = -1;

    snprintf(lift, sizeof lift, "SELECT set_config('statement_timeout','0',pg_backend_pid()<>%d)",
             PQbackendPID(postgres_of(m)->conn));
    for (int tries = 0; tries < LIMIT_TRIES && got < 0 && !postgres_of(m)->lost; tries++) {
        err_clear(e);
        got = postgres_do(m, lift, e);
    }
    return got;
}

int postgres_connect(struct model *m, struct err *e)
{
    static const char *const defaults[] = {"fallback_application_name", "eventutils project",
                                           PG_NOTICED_SOON, NULL};
    struct postgres_model *own = m->own;
    char backend[16];
    const char *const values[] = {own->schema, own->draft ? "draft" : "live", backend};
    struct pg_patience p = patience(m);

    lose(m);
    own->host += own->connections > 0;
    enum pg_wait got = pg_connect(&own->conn, own->conninfo, defaults, CONNECT_MS, &own->host, &p);
    if (got != PG_READY || !PQenterPipelineMode(own->conn))
        return fail_connect(m, got, e);
    PQsetNoticeReceiver(own->conn, note_notice, m);
    own->lost = own->again = own->failed = false;
    own->connections++;
    if (lift_limit(m, e) < 0)
        return -1;
    snprintf(backend, sizeof backend, "%d", PQbackendPID(own->conn));
    PGresult *rows = postgres_ask(m, settings, values, 3, e);
    int good = rows == NULL ? -1 : check_server(m, rows, e);
    PQclear(rows);
    return good;
}

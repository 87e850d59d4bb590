/*
 * The connection to the application's PostgreSQL database, through libpq.
 *
 * A signal ends each wait (see pgkit.h). A connection with an unfinished statement is closed then;
 * the server stops working on the statement within a second or two.
 */
#include "outbox/engine.h"

#ifdef HAVE_LIBPQ

#include "base/mem.h"
#include "outbox/postgres.h"
#include "process/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_AROUND_MS 500 /* is the grace over? */
#define CONNECT_MS 10000   /* unless the user says otherwise */
#define OID_BOOL 16
#define OID_INT8 20
#define OID_INT2 21
#define OID_INT4 23
#define OID_TEXT 25

/* --------------------------------------------------------------------------------------- errors */

static int status_of_sqlstate(const char *state)
{
    static const struct {
        const char *begins;
        int status;
    } known[] = {
        {"08", EX_UNAVAILABLE}, {"57P", EX_UNAVAILABLE}, {"53300", EX_UNAVAILABLE},
        {"53", EX_IOERR},       {"58", EX_IOERR},        {"XX", EX_IOERR},
        {"55P03", EX_TEMPFAIL}, {"40", EX_TEMPFAIL},     {"57014", EX_TEMPFAIL},
        {"42501", EX_NOPERM},   {"25006", EX_NOPERM},    {"28", EX_NOPERM},
    };

    for (size_t i = 0; state != NULL && i < sizeof known / sizeof known[0]; i++)
        if (strncmp(state, known[i].begins, strlen(known[i].begins)) == 0)
            return known[i].status;
    return EX_DATAERR;
}

/* libpq's messages have several lines; the first one names the error. */
int postgres_fail(struct relay *r, const PGresult *result, struct err *e)
{
    struct postgres *q = r->db;
    const char *state = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *words = result == NULL ? NULL : PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    bool lost = PQstatus(q->db) != CONNECTION_OK;
    struct buf text = BUF_INIT;

    if (words == NULL)
        words = q->db == NULL ? "closed" : PQerrorMessage(q->db);
    err_escape(&text, words, strcspn(words, "\n"));
    err_set(e, lost ? EX_UNAVAILABLE : status_of_sqlstate(state), "%s: %s%.600s", r->place,
            lost ? "the connection is lost: " : "", buf_text(&text));
    buf_free(&text);
    return -1;
}

/* Close the connection: it has an unfinished statement and cannot be used any more. */
static int stopped(struct relay *r, struct err *e)
{
    struct postgres *q = r->db;

    PQfinish(q->db);
    q->db = NULL;
    return err_set(e, EX_TEMPFAIL, "%s: stopped while waiting for the server", r->place);
}

static bool ask_must_end(void *relay)
{
    return relay_must_end(relay);
}

static struct pg_patience patience(struct relay *r)
{
    return (struct pg_patience){proc_wait, ask_must_end, r, LOOK_AROUND_MS, 0};
}

/* Send and receive until the result is there. */
static int exchange(struct relay *r, struct err *e)
{
    const struct postgres *q = r->db;
    const struct pg_patience p = patience(r);
    enum pg_wait got = pg_receive(q->db, INT64_MAX, &p);

    return got == PG_READY ? 0 : got == PG_STOPPED ? stopped(r, e) : postgres_fail(r, NULL, e);
}

static PGresult *ask_plainly(struct relay *r, const char *sql, const char *const *values, int n,
                             struct err *e)
{
    static const Oid types[] = {OID_TEXT, OID_TEXT, OID_TEXT, OID_TEXT};
    struct postgres *q = r->db;
    PGresult *result = NULL, *next;

    if (PQsendQueryParams(q->db, sql, n, types, values, NULL, NULL, 0) == 0) {
        postgres_fail(r, NULL, e);
        return NULL;
    }
    for (;;) {
        if (exchange(r, e) < 0) {
            PQclear(result);
            return NULL;
        }
        if ((next = PQgetResult(q->db)) == NULL)
            break;
        PQclear(result);
        result = next;
    }
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        return result;
    postgres_fail(r, result, e);
    PQclear(result);
    return NULL;
}

PGresult *postgres_ask(struct relay *r, const char *text, const char *const *values, int n,
                       struct err *e)
{
    struct postgres *q = r->db;

    relay_sql(r, text, &q->sql);
    return ask_plainly(r, buf_text(&q->sql), values, n, e);
}

static int64_t run_plainly(struct relay *r, const char *sql, const char *const *values, int n,
                           struct err *e)
{
    PGresult *result = ask_plainly(r, sql, values, n, e);
    int64_t changed = result == NULL ? -1 : strtoll(PQcmdTuples(result), NULL, 10);

    PQclear(result);
    return changed;
}

int64_t postgres_run(struct relay *r, const char *text, const char *const *values, int n,
                     struct err *e)
{
    struct postgres *q = r->db;

    relay_sql(r, text, &q->sql);
    return q->sql.n == 0 ? 1 : run_plainly(r, buf_text(&q->sql), values, n, e);
}

struct str postgres_cell(const PGresult *result, int row, int column)
{
    if (PQgetisnull(result, row, column))
        return (struct str){NULL, 0};
    return (struct str){PQgetvalue(result, row, column), (size_t)PQgetlength(result, row, column)};
}

int64_t postgres_integer(const PGresult *result, int row, int column)
{
    return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

/* ----------------------------------------------------------------------------------------- open */

static PGresult *columns_of(struct relay *r, const char *name, struct err *e)
{
    const char *whole = r->table.name;
    struct buf table = BUF_INIT;

    r->table.name = name;
    relay_sql(r, "{table}", &table);
    r->table.name = whole;
    const char *value = buf_text(&table);
    PGresult *result = postgres_ask(
        r,
        "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = to_regclass($1) AND "
        "attnum > 0 AND NOT attisdropped ORDER BY attnum",
        &value, 1, e);
    buf_free(&table);
    return result;
}

/* Find the table and its columns. As with columns, "Outbox" is the table of exactly that name or,
   otherwise the table that PostgreSQL finds for the name without quotes. */
static int find_columns(struct relay *r, struct err *e)
{
    struct buf names = BUF_INIT;
    PGresult *result = columns_of(r, r->table.name, e);
    int got = -1;

    if (result != NULL && PQntuples(result) == 0) {
        char *folded = relay_fold(r->table.name);
        PQclear(result);
        result = columns_of(r, folded, e);
        if (PQntuples(result) > 0) {
            free(r->table.folded);
            r->table.name = r->table.folded = folded;
        } else {
            free(folded);
        }
    }
    for (int i = 0; i < PQntuples(result); i++) {
        buf_str(&names, postgres_cell(result, i, 0));
        buf_char(&names, '\0');
    }
    if (result != NULL)
        got = relay_check(r, &names, e);
    for (int i = 0; got == 0 && i < PQntuples(result); i++)
        if (relay_has(r, RELAY_PUBLISHED) &&
            strcmp(PQgetvalue(result, i, 0), r->table.column[RELAY_PUBLISHED]) == 0)
            r->table.boolean = postgres_integer(result, i, 1) == OID_BOOL;
    PQclear(result);
    buf_free(&names);
    return got;
}

static int check_id(struct relay *r, struct err *e)
{
    PGresult *result = postgres_ask(r, "SELECT [id] FROM {table} LIMIT 0", NULL, 0, e);
    Oid type = result == NULL ? OID_INT8 : PQftype(result, 0);
    int got = result == NULL ? -1 : 0;

    PQclear(result);
    return type == OID_INT8 || type == OID_INT4 || type == OID_INT2
               ? got
               : err_set(e, EX_DATAERR,
                         "%s: column %s of table %s is not an integer: rows need a number for "
                         "their order (--map id=…)",
                         r->place, err_quote_text(r->table.column[RELAY_ID]).text,
                         err_quote_text(r->table.name).text);
}

static int check_writable(struct relay *r, struct err *e)
{
    PGresult *result = postgres_ask(r, "SHOW transaction_read_only", NULL, 0, e);
    bool read_only = result != NULL && strcmp(PQgetvalue(result, 0, 0), "on") == 0;
    int got = result == NULL ? -1 : 0;

    PQclear(result);
    return !read_only ? got
                      : err_set(e, EX_NOPERM,
                                "%s: is read-only, and relayed rows have to be marked; --dry-run "
                                "and --status only read",
                                r->place);
}

/* Can libpq parse the URI? The message leaves out the part that it cannot parse, which may be a
   password. */
static int check_uri(struct relay *r, struct err *e)
{
    char *words = NULL;
    PQconninfoOption *options = PQconninfoParse(r->terms->database, &words);
    size_t n = words == NULL ? 0 : strcspn(words, "\"\n");
    int got = 0;

    while (n > 0 && strchr(": ", words[n - 1]) != NULL)
        n--;
    if (options == NULL)
        got = err_set(e, EX_USAGE, "the URI of the database cannot be used: %.*s", (int)n,
                      n == 0 ? "" : words);
    PQconninfoFree(options);
    PQfreemem(words);
    return got;
}

static int cannot_connect(struct relay *r, struct err *e)
{
    const struct postgres *q = r->db;
    const char *words = PQerrorMessage(q->db), *state = pg_state_in(words);
    struct buf text = BUF_INIT;

    if (state != NULL) { /* for programs */
        err_escape(&text, words, (size_t)(state - words));
        words = state + strlen("3D000: ");
    }
    pg_words(&text, words);
    err_set(e, EX_UNAVAILABLE, "%.600s", buf_text(&text));
    buf_free(&text);
    return -1;
}

/* Host and database for messages, not the text that the user wrote, which may hold a password. */
static void note_place(struct relay *r)
{
    const struct postgres *q = r->db;
    struct buf place = BUF_INIT;

    buf_printf(&place, "%s/%s", PQhost(q->db), PQdb(q->db));
    free(r->place);
    r->place = mem_dup(buf_text(&place), place.n);
    buf_free(&place);
}

static int connect_to(struct relay *r, struct err *e)
{
    /* A peer that has gone is noticed within a minute. */
    static const char *const defaults[] = {"keepalives_idle",
                                           "30",
                                           "keepalives_interval",
                                           "10",
                                           "keepalives_count",
                                           "3",
                                           "tcp_user_timeout",
                                           "60000",
                                           NULL};
    struct postgres *q = r->db;
    const struct pg_patience p = patience(r);

    q->host += q->db != NULL;
    PQfinish(q->db);
    enum pg_wait got = pg_connect(&q->db, r->terms->database, defaults, CONNECT_MS, &q->host, &p);
    if (q->db != NULL)
        note_place(r);
    if (got == PG_STOPPED)
        return stopped(r, e);
    if (q->db == NULL)
        return err_set(e, EX_OSERR, "no memory");
    return got == PG_READY ? 0
           : got == PG_SILENT
               ? err_set(e, EX_UNAVAILABLE, "%s: the server does not answer", r->place)
               : cannot_connect(r, e);
}

/*
 * Settings that we rely on, whatever the role's or the database's settings are. Times and numbers
 * as text are part of derived ids, so they must not depend on the session. A session is idle for as
 * long as it waits for a sink. A commit of marks does not wait for standbys: a lost mark is made
 * again. Settings that this server does not know are skipped.
 */
static const char settings[] =
    "SELECT count(set_config(name, value, false)) FROM (VALUES "
    "('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), "
    "('bytea_output', 'hex'), ('extra_float_digits', '1'), ('client_encoding', $1), "
    "('lock_timeout', $2), ('statement_timeout', '0'), ('transaction_timeout', '0'), "
    "('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), "
    "('client_connection_check_interval', '1s'), "
    "('default_transaction_isolation', 'read committed'), "
    "('default_transaction_deferrable', 'off'), ('synchronous_commit', 'local')"
    ") AS ours(name, value) JOIN pg_catalog.pg_settings USING (name)";

static int set_up(struct relay *r, struct err *e)
{
    const struct postgres *q = r->db;
    const char *encoding = PQparameterStatus(q->db, "server_encoding");
    char wait[24];
    /* A database that stores any bytes refuses to return a result that contains invalid UTF-8, good
       rows included: here bad rows are found one by one. */
    const char *const values[] = {
        encoding != NULL && strcmp(encoding, "SQL_ASCII") == 0 ? "SQL_ASCII" : "UTF8", wait};

    snprintf(wait, sizeof wait, "%" PRId64, r->terms->wait_ms < 1 ? 1 : r->terms->wait_ms);
    return postgres_run(r, settings, values, 2, e) < 0 ? -1 : 0;
}

static int listen_to(struct relay *r, struct err *e)
{
    struct buf sql = BUF_INIT;
    int got;

    buf_puts(&sql, "LISTEN ");
    relay_sql_quote(&sql, str_of(r->terms->channel == NULL ? RELAY_TABLE : r->terms->channel));
    got = run_plainly(r, buf_text(&sql), NULL, 0, e) < 0 ? -1 : 0;
    buf_free(&sql);
    return got;
}

int postgres_connected(struct relay *r, struct err *e)
{
    struct postgres *q = r->db;

    if (q->db != NULL && PQstatus(q->db) == CONNECTION_OK)
        return 0;
    if (connect_to(r, e) == 0 && set_up(r, e) == 0 && find_columns(r, e) == 0 &&
        check_id(r, e) == 0 && (q->mode == RELAY_LOOK || check_writable(r, e) == 0) &&
        (!r->terms->follow || listen_to(r, e) == 0))
        return 0;
    PQfinish(q->db);
    q->db = NULL;
    return -1;
}

int postgres_open(struct relay *r, enum relay_mode mode, struct err *e)
{
    struct postgres *q = mem_zero(1, sizeof *q);

    r->db = q;
    q->mode = mode;
    return check_uri(r, e) < 0 ? -1 : postgres_connected(r, e);
}

void postgres_close(struct relay *r)
{
    struct postgres *q = r->db;

    if (q == NULL)
        return;
    PQclear(q->page);
    PQfinish(q->db);
    buf_free(&q->sql);
    buf_free(&q->aggregates);
    buf_free(&q->bytes);
    free(q);
    r->db = NULL;
}

#endif

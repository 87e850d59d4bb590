/*
 * The outbox in a PostgreSQL database: pages of rows, and their marks. Built when pkg-config finds
 * libpq; otherwise this engine is only a message that it is missing.
 *
 * A round looks at a page of rows, locks their aggregates with advisory locks of the session, and
 * reads the rows again. No transaction is open while the events are published or a sink is busy:
 * that could take long, and servers end idle transactions. The marks are one short transaction, and
 * the locks are released after its commit, so the next owner of the locks sees the marks. A row
 * without an aggregate has a lock of its own. None of this blocks the inserts of an application.
 */
#include "outbox/engine.h"

static const struct relay_word postgres_words[] = {
    {"seen", "[id], [aggregate_id]::text, [error] IS NOT NULL, octet_length([payload]::text)"},
    {"after", "$1::bigint"},
    {"last", "$2::bigint"},
    {"likely", ""},
    {"among", "= ANY($1::bigint[])"},
    {"unchanged", " AND ([id], {proof}) IN (SELECT * FROM unnest($1::bigint[], $2::bigint[]))"},
    {"now", "clock_timestamp()"},
    {"row", "$1::bigint"},
    {"attempts", "$2::integer"},
    {"retry", "to_timestamp($3::double precision)"},
    {"reason", "$4"},
    {"proof", "hashtextextended(coalesce([payload]::text, ''), 0)"},
    {"text", "::text"},
    {NULL, NULL},
};

extern const char outbox_postgres_sql[]; /* share/outbox_postgres.sql */

static const struct relay_dialect postgres_dialect = {
    .schema = outbox_postgres_sql, .exact_names = true, .schemas = true, .words = postgres_words};

#ifdef HAVE_LIBPQ

#include "outbox/postgres.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATIENCE_MS 5000 /* in case no trigger notifies us */

/* The columns to RELAY_ERROR, and then the payload's hash. FOR UPDATE leaves a row that is being
   changed now for the next time. */
#define TAKE "SELECT {columns}, {proof} FROM {table} WHERE {not yet} AND [id] {among} ORDER BY [id]"
#define TAKE_TO_MOVE TAKE " FOR UPDATE SKIP LOCKED"
enum { HASH = RELAY_ERROR + 1 };

/* --------------------------------------------------------------------------------------- a page */

static int postgres_begin(struct relay *r, struct err *e)
{
    return postgres_connected(r, e) < 0 ? -1 : 1;
}

/* Release the locks: without any, there is nothing to end. */
static void postgres_end(struct relay *r)
{
    struct postgres *q = r->db;
    struct err ignored = ERR_NONE;

    if (q->db != NULL && PQtransactionStatus(q->db) != PQTRANS_IDLE)
        postgres_run(r, "ROLLBACK", NULL, 0, &ignored);
    if (q->db != NULL)
        postgres_run(r, "SELECT pg_advisory_unlock_all()", NULL, 0, &ignored);
}

/* Append an item of an array, in PostgreSQL's text form. */
static void array_item(struct buf *b, struct str item)
{
    buf_char(b, b->n == 0 ? '{' : ',');
    buf_char(b, '"');
    for (size_t i = 0; i < item.n; i++) {
        if (item.p[i] == '"' || item.p[i] == '\\')
            buf_char(b, '\\');
        buf_char(b, item.p[i]);
    }
    buf_char(b, '"');
}

static void array_number(struct buf *b, int64_t number)
{
    buf_char(b, b->n == 0 ? '{' : ',');
    buf_int(b, number);
}

static const char *array_end(struct buf *b)
{
    buf_puts(b, b->n == 0 ? "{}" : "}");
    return buf_text(b);
}

/* Read the page before anything is locked. Failed rows are included, since they hold up others. */
static int look_at_page(struct relay *r, int64_t after, int64_t last, PGresult **out, struct err *e)
{
    char from[24], to[24];
    const char *const values[] = {from, to};
    int64_t bytes = 0;

    snprintf(from, sizeof from, "%" PRId64, after);
    snprintf(to, sizeof to, "%" PRId64, last);
    *out = postgres_ask(r, relay_template[RELAY_SQL_PAGE], values, 2, e);
    if (*out == NULL)
        return -1;
    r->page.last = PQntuples(*out) < RELAY_PAGE;
    for (int i = 0; i < PQntuples(*out); i++) {
        struct relay_row *row = &r->page.row[r->page.n++];
        *row = (struct relay_row){.id = postgres_integer(*out, i, 0),
                                  .failed = *PQgetvalue(*out, i, 2) == 't',
                                  .held = *PQgetvalue(*out, i, 2) != 't'};
        row->text[RELAY_AGGREGATE] = postgres_cell(*out, i, 1);
        bytes += postgres_integer(*out, i, 3);
        if (bytes > RELAY_PAGE_BYTES && i + 1 < PQntuples(*out)) {
            r->page.last = false;
            break;
        }
    }
    return 0;
}

/* Lock the aggregates of these rows, and the rows that have none. The result has the ids of the
   rows that no other relay holds. */
static int lock_rows(struct relay *r, struct buf *ids, struct err *e)
{
    /* In the order of the array: the rows' places in it. */
    static const char lock[] = "SELECT n FROM unnest($1::text[]) WITH ORDINALITY AS item(name, n) "
                               "WHERE pg_try_advisory_lock(hashtextextended(name, hashtext($2)))";
    struct buf names = BUF_INIT;
    const struct relay_row *tried[RELAY_PAGE];
    const char *values[2] = {NULL, r->table.name};
    PGresult *locked;
    char row_name[32];
    int n = 0;

    for (size_t i = 0; i < r->page.n; i++) {
        const struct relay_row *row = &r->page.row[i];
        if (row->failed)
            continue;
        tried[n++] = row;
        snprintf(row_name, sizeof row_name, "row %" PRId64, row->id);
        array_item(&names, row->text[RELAY_AGGREGATE].n > 0 ? row->text[RELAY_AGGREGATE]
                                                            : str_of(row_name));
    }
    values[0] = array_end(&names);
    locked = postgres_ask(r, lock, values, 2, e);
    for (int i = 0; i < PQntuples(locked); i++) {
        int64_t at = postgres_integer(locked, i, 0) - 1;
        if (at < 0 || at >= n)
            continue;
        array_number(ids, tried[at]->id);
    }
    buf_free(&names);
    PQclear(locked);
    return locked == NULL ? -1 : 0;
}

static void all_rows(const struct relay *r, struct buf *ids)
{
    for (size_t i = 0; i < r->page.n; i++)
        if (!r->page.row[i].failed)
            array_number(ids, r->page.row[i].id);
}

static int digit(char c)
{
    return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

/* Decode "\\x7b7d", the form that bytea_output is set to. */
static void decode_payloads(struct relay *r)
{
    struct postgres *q = r->db;
    size_t n = 0;

    for (size_t i = 0; i < r->page.n; i++)
        n += r->page.row[i].text[RELAY_PAYLOAD].n / 2;
    buf_shrink(&q->bytes, RELAY_PAGE_BYTES);
    buf_need(&q->bytes, n); /* views of it must not move */
    for (size_t i = 0; i < r->page.n; i++) {
        struct str *text = &r->page.row[i].text[RELAY_PAYLOAD];
        if (text->p == NULL)
            continue;
        size_t at = q->bytes.n;
        for (size_t k = 2; k + 1 < text->n; k += 2)
            buf_char(&q->bytes, (char)(digit(text->p[k]) << 4 | digit(text->p[k + 1])));
        *text = (struct str){q->bytes.p + at, q->bytes.n - at};
    }
}

/* Rows in the result are ours, in their current state. Rows missing from it belong to another
   relay, or did until a moment ago: they stay held for this pass, and hold up the rows behind
   them. */
static void take_rows(struct relay *r, const PGresult *rows)
{
    struct postgres *q = r->db;

    for (int i = 0; i < PQntuples(rows); i++) {
        struct relay_row *row = relay_row_of(r, postgres_integer(rows, i, RELAY_ID));
        if (row == NULL)
            continue;
        row->failed = !PQgetisnull(rows, i, RELAY_ERROR);
        row->held = false;
        row->attempts =
            PQgetisnull(rows, i, RELAY_ATTEMPTS) ? 0 : postgres_integer(rows, i, RELAY_ATTEMPTS);
        q->hash[row - r->page.row] = postgres_integer(rows, i, HASH);
        for (int c = RELAY_EVENT_ID; c < RELAY_ATTEMPTS; c++)
            row->text[c] = postgres_cell(rows, i, c);
        row->blob[RELAY_PAYLOAD] = PQftype(rows, RELAY_PAYLOAD) == POSTGRES_BYTEA;
    }
    if (PQftype(rows, RELAY_PAYLOAD) == POSTGRES_BYTEA)
        decode_payloads(r);
}

/* The texts of rows that were only looked at are freed with that result. */
static void keep_aggregates(struct relay *r, struct buf *kept)
{
    const char *p;

    for (size_t i = 0; i < r->page.n; i++)
        buf_str(kept, r->page.row[i].text[RELAY_AGGREGATE]);
    p = kept->p == NULL ? "" : kept->p;
    for (size_t i = 0; i < r->page.n; i++) {
        struct str *text = &r->page.row[i].text[RELAY_AGGREGATE];
        if (text->p != NULL)
            text->p = p;
        p += text->n;
    }
}

static int read_locked(struct relay *r, enum relay_mode mode, struct buf *ids, struct err *e)
{
    struct postgres *q = r->db;
    const char *value = array_end(ids);

    PQclear(q->page);
    q->page = postgres_ask(r, mode == RELAY_MOVE ? TAKE_TO_MOVE : TAKE, &value, 1, e);
    if (q->page != NULL)
        take_rows(r, q->page);
    return q->page == NULL ? -1 : 0;
}

static int postgres_read(struct relay *r, enum relay_mode mode, int64_t after, int64_t last,
                         struct err *e)
{
    struct postgres *q = r->db;
    struct buf ids = BUF_INIT;
    PGresult *seen;
    int got = 0;

    r->page.n = 0;
    if (look_at_page(r, after, last, &seen, e) < 0)
        return -1;
    buf_reset(&q->aggregates);
    keep_aggregates(r, &q->aggregates);
    PQclear(seen);
    if (r->page.n == 0)
        return 0;
    if (mode == RELAY_MOVE)
        got = lock_rows(r, &ids, e);
    else
        all_rows(r, &ids);
    /* A separate statement, so that it sees the changes of the last owner of these locks. */
    if (got == 0)
        got = read_locked(r, mode, &ids, e);
    buf_free(&ids);
    return got;
}

/* -------------------------------------------------------------------------------------- marking */

/* Not a row that was changed since it was read: its hash is another one. */
static int mark_relayed(struct relay *r, struct err *e)
{
    struct postgres *q = r->db;
    struct buf ids = BUF_INIT, hashes = BUF_INIT;
    int got = 0;

    for (size_t i = 0; i < r->page.n; i++)
        if (r->page.row[i].fate == RELAY_DONE) {
            array_number(&ids, r->page.row[i].id);
            array_number(&hashes, q->hash[i]);
        }
    if (ids.n > 0) {
        const char *const values[] = {array_end(&ids), array_end(&hashes)};
        enum relay_statement which = r->terms->remove ? RELAY_SQL_DELETE : RELAY_SQL_DONE;
        got = postgres_run(r, relay_template[which], values, 2, e) < 0 ? -1 : 0;
    }
    buf_free(&ids);
    buf_free(&hashes);
    return got;
}

static int mark_attempt(struct relay *r, struct relay_row *row, struct err *e)
{
    char id[24], attempts[24], retry[32];
    const char *const values[] = {id, attempts, retry, row->reason};
    enum relay_statement which = row->fate == RELAY_RETRY ? RELAY_SQL_RETRY : RELAY_SQL_FAIL;

    snprintf(id, sizeof id, "%" PRId64, row->id);
    snprintf(attempts, sizeof attempts, "%" PRId64, row->attempts);
    snprintf(retry, sizeof retry, "%" PRId64 ".%03d", row->retry_ms / 1000,
             (int)(row->retry_ms % 1000));
    int64_t n = postgres_run(r, relay_template[which], values, 4, e);
    row->changed = n > 0;
    return n < 0 ? -1 : 0;
}

static int find_unmarked(struct relay *r, const struct relay_row **refused, struct err *e)
{
    const struct postgres *q = r->db;
    char from[24], to[24];
    const char *const values[] = {from, to};

    snprintf(from, sizeof from, "%" PRId64, r->page.row[0].id);
    snprintf(to, sizeof to, "%" PRId64, r->page.row[r->page.n - 1].id);
    PGresult *left = postgres_ask(r, relay_template[RELAY_SQL_LEFT], values, 2, e);
    for (int i = 0; i < PQntuples(left); i++) {
        const struct relay_row *row = relay_row_of(r, postgres_integer(left, i, 0));
        if (row != NULL)
            relay_judge(row, postgres_integer(left, i, 1) == q->hash[row - r->page.row], refused);
    }
    PQclear(left);
    return left == NULL ? -1 : 0;
}

static int mark_each(struct relay *r, const struct relay_row **refused, struct err *e)
{
    int got = mark_relayed(r, e);

    for (size_t i = 0; i < r->page.n && got == 0; i++) {
        struct relay_row *row = &r->page.row[i];
        row->changed = false;
        if (row->fate == RELAY_RETRY || row->fate == RELAY_FAILED)
            got = mark_attempt(r, row, e);
    }
    return got < 0 ? -1 : find_unmarked(r, refused, e);
}

static int postgres_settle(struct relay *r, int64_t now_ms, struct err *e)
{
    struct postgres *q = r->db;
    const struct relay_row *refused = NULL;

    (void)now_ms;
    if (postgres_connected(r, e) < 0 ||
        (PQtransactionStatus(q->db) != PQTRANS_IDLE &&
         postgres_run(r, "ROLLBACK", NULL, 0, e) < 0) ||
        postgres_run(r, "BEGIN", NULL, 0, e) < 0 || mark_each(r, &refused, e) < 0 ||
        postgres_run(r, "COMMIT", NULL, 0, e) < 0)
        return -1;
    return refused == NULL ? 0 : relay_refused(r, refused, e);
}

static int64_t postgres_retry_failed(struct relay *r, struct err *e)
{
    return postgres_run(r, relay_template[RELAY_SQL_GIVE_BACK], NULL, 0, e);
}

/* Delete relayed rows in the order of their ids, a page at a time; rows that are locked go the next
   time. */
static int64_t postgres_prune(struct relay *r, int64_t age_ms, int64_t *after, struct err *e)
{
    static const char prune[] =
        "WITH old AS (SELECT [id] AS old_id FROM {table} WHERE [id] > {after} AND {already} AND "
        "coalesce([published_at], [created_at]) <= "
        "clock_timestamp() - $2::double precision * interval '1 millisecond' "
        "ORDER BY [id] LIMIT {page} FOR UPDATE SKIP LOCKED), "
        "gone AS (DELETE FROM {table} WHERE [id] IN (SELECT old_id FROM old) "
        "RETURNING [id] AS gone_id) "
        "SELECT old_id, gone_id FROM old LEFT JOIN gone ON gone_id = old_id ORDER BY old_id";
    char from[24], age[24];
    const char *const values[] = {from, age};
    const char *refused = NULL;
    int64_t n = -1;

    snprintf(from, sizeof from, "%" PRId64, *after);
    snprintf(age, sizeof age, "%" PRId64, age_ms);
    PGresult *result = postgres_ask(r, prune, values, 2, e);
    if (result != NULL) {
        n = 0;
        for (int i = 0; i < PQntuples(result); i++) {
            *after = postgres_integer(result, i, 0);
            n += !PQgetisnull(result, i, 1);
            if (PQgetisnull(result, i, 1) && refused == NULL)
                refused = PQgetvalue(result, i, 0);
        }
        if (PQntuples(result) < RELAY_PAGE)
            *after = INT64_MAX;
    }
    if (refused != NULL)
        n = relay_not_pruned(r, strtoll(refused, NULL, 10), e);
    PQclear(result);
    return n;
}

/* -------------------------------------------------------------------------------------- looking */

static int postgres_last(struct relay *r, int64_t *id, struct err *e)
{
    PGresult *result = postgres_ask(r, relay_template[RELAY_SQL_LAST], NULL, 0, e);

    if (result != NULL)
        *id = postgres_integer(result, 0, 0); /* of NULL, 0 */
    PQclear(result);
    return result == NULL ? -1 : 0;
}

static int postgres_state(struct relay *r, struct relay_state *out, struct buf *oldest,
                          struct err *e)
{
    PGresult *result = postgres_ask(r, relay_template[RELAY_SQL_STATE], NULL, 0, e);

    if (result != NULL) {
        out->failed = postgres_integer(result, 0, 1);
        out->backlog = postgres_integer(result, 0, 0) - out->failed;
        out->waiting = postgres_integer(result, 0, 2);
        buf_str(oldest, postgres_cell(result, 0, 3));
    }
    PQclear(result);
    return result == NULL ? -1 : 0;
}

static int postgres_fd(struct relay *r)
{
    const struct postgres *q = r->db;
    return q->db == NULL ? -1 : PQsocket(q->db);
}

/* Notifications may have come with the answers to statements already; then do not wait. */
static void hear_notices(struct postgres *q)
{
    for (PGnotify *n; (n = PQnotifies(q->db)) != NULL; PQfreemem(n))
        q->heard = true;
}

static int64_t postgres_patience_ms(struct relay *r)
{
    struct postgres *q = r->db;

    hear_notices(q);
    return q->heard ? 0 : PATIENCE_MS;
}

static int postgres_news(struct relay *r, struct err *e)
{
    struct postgres *q = r->db;
    int64_t now = clock_mono_ms();
    bool news;

    if (postgres_connected(r, e) < 0)
        return -1;
    if (PQconsumeInput(q->db) == 0)
        return postgres_fail(r, NULL, e);
    hear_notices(q);
    news = q->heard || now - q->looked_ms >= PATIENCE_MS;
    q->heard = false;
    if (news)
        q->looked_ms = now;
    return news;
}

const struct relay_engine relay_postgres = {
    .dialect = &postgres_dialect,
    .open = postgres_open,
    .close = postgres_close,
    .begin = postgres_begin,
    .read = postgres_read,
    .settle = postgres_settle,
    .end = postgres_end,
    .last = postgres_last,
    .retry_failed = postgres_retry_failed,
    .prune = postgres_prune,
    .state = postgres_state,
    .fd = postgres_fd,
    .patience_ms = postgres_patience_ms,
    .news = postgres_news,
};

#else

static int postgres_missing(struct relay *r, enum relay_mode mode, struct err *e)
{
    (void)r;
    (void)mode;
    return err_set(e, EX_UNAVAILABLE, "built without PostgreSQL: install libpq-dev and make again");
}

static void close_nothing(struct relay *r)
{
    (void)r;
}

const struct relay_engine relay_postgres = {
    .dialect = &postgres_dialect, .open = postgres_missing, .close = close_nothing};

#endif

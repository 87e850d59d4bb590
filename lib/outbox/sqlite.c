/* The outbox in a SQLite database: pages of rows, and their marks. */
#include "outbox/sqlite.h"

#include <string.h>

#define PRUNE_LOOK 2000 /* rows examined per transaction of pruning */

/* --------------------------------------------------------------------------------------- a page */

/* The offset of a text, while the buffer may still move. */
static void note_text(struct sqlite *q, sqlite3_stmt *s, struct relay_row *row, int i)
{
    row->blob[i] = sqlite3_column_type(s, i) == SQLITE_BLOB;
    struct str text = kit_text(s, i);
    if (text.p == NULL)
        return;
    row->text[i] = (struct str){"", text.n};
    buf_str(&q->text, text);
}

static int note_row(struct relay *r, sqlite3_stmt *s, struct err *e)
{
    struct relay_row *row = &r->page.row[r->page.n];

    if (sqlite3_column_type(s, RELAY_ID) != SQLITE_INTEGER)
        return sqlite_no_number(r, e);
    *row = (struct relay_row){.id = sqlite3_column_int64(s, RELAY_ID),
                              .failed = sqlite3_column_type(s, RELAY_ERROR) != SQLITE_NULL,
                              .attempts = sqlite3_column_int64(s, RELAY_ATTEMPTS)};
    for (int i = RELAY_EVENT_ID; i < RELAY_ATTEMPTS; i++)
        note_text(r->db, s, row, i);
    r->page.n++;
    return 0;
}

static void place_texts(struct relay *r)
{
    struct sqlite *q = r->db;
    const char *p = q->text.p == NULL ? "" : q->text.p;

    for (size_t k = 0; k < r->page.n; k++)
        for (int i = RELAY_EVENT_ID; i < RELAY_ATTEMPTS; i++) {
            struct str *text = &r->page.row[k].text[i];
            if (text->p != NULL)
                text->p = p;
            p += text->n;
        }
}

/* End the statement before doing anything with the rows: without WAL, an open statement keeps the
   application from committing. */
static int sqlite_read(struct relay *r, enum relay_mode mode, int64_t after, int64_t last,
                       struct err *e)
{
    struct sqlite *q = r->db;
    sqlite3_stmt *s;
    int more, got = 0;

    (void)mode;
    buf_shrink(&q->text, RELAY_PAGE_BYTES);
    r->page.n = 0;
    if (sqlite_version(r, &q->read_version, e) < 0 ||
        sqlite_statement(r, RELAY_SQL_PAGE, &s, e) < 0)
        return -1;
    kit_bind(s, "ii", after, last);
    do {
        if ((more = sqlite_step(r, s, e)) > 0)
            got = note_row(r, s, e);
    } while (more > 0 && got == 0 && q->text.n <= RELAY_PAGE_BYTES && r->page.n < RELAY_PAGE);
    sqlite3_reset(s);
    r->page.last = more == 0;
    place_texts(r);
    return more < 0 ? -1 : got;
}

/* -------------------------------------------------------------------------------------- marking */

struct marks {
    char now[CLOCK_TEXT_SIZE];
    bool stale[RELAY_PAGE];          /* no longer there as it was read: must not be marked */
    const struct relay_row *refused; /* the first */
};

static int in_transaction(struct relay *r, int (*body)(struct relay *r, void *arg, struct err *e),
                          void *arg, struct err *e)
{
    struct sqlite *q = r->db;
    int got;

    if (sqlite_run(r, "BEGIN IMMEDIATE", e) < 0)
        return -1;
    got = body(r, arg, e);
    if (got == 0)
        got = sqlite_run(r, "COMMIT", e);
    if (got < 0 && !sqlite3_get_autocommit(q->db))
        sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
    return got;
}

static bool column_is(sqlite3_stmt *s, int i, const struct relay_row *row, enum relay_column c)
{
    bool blob = sqlite3_column_type(s, i) == SQLITE_BLOB;
    struct str text = kit_text(s, i);

    if (text.p == NULL || row->text[c].p == NULL)
        return text.p == row->text[c].p;
    return blob == row->blob[c] && str_eq(text, row->text[c]);
}

/* Call f for the page's rows that are unpublished now, saying whether they are as they were read: a
   row may have been removed or changed in the meantime, or its id reused for a new row. */
static int each_left(struct relay *r, struct marks *m,
                     void (*f)(struct relay *r, struct marks *m, const struct relay_row *row,
                               bool as_read),
                     struct err *e)
{
    sqlite3_stmt *s;
    int got = sqlite_statement(r, RELAY_SQL_LEFT, &s, e);

    if (got < 0)
        return -1;
    kit_bind(s, "ii", r->page.row[0].id, r->page.row[r->page.n - 1].id);
    while ((got = sqlite_step(r, s, e)) > 0) {
        const struct relay_row *row = relay_row_of(r, sqlite3_column_int64(s, 0));
        if (row != NULL)
            f(r, m, row,
              column_is(s, 1, row, RELAY_PAYLOAD) && column_is(s, 2, row, RELAY_CREATED));
    }
    sqlite3_reset(s);
    return got;
}

static void note_stale(struct relay *r, struct marks *m, const struct relay_row *row, bool as_read)
{
    m->stale[row - r->page.row] = !as_read;
}

/* Nothing has changed unless others have committed: then look at each row. */
static int find_stale(struct relay *r, struct marks *m, struct err *e)
{
    struct sqlite *q = r->db;
    int64_t version;

    if (sqlite_version(r, &version, e) < 0)
        return -1;
    memset(m->stale, version != q->read_version, sizeof m->stale);
    return version == q->read_version ? 0 : each_left(r, m, note_stale, e);
}

static void add_id(struct buf *ids, int64_t id)
{
    buf_char(ids, ids->n == 0 ? '[' : ',');
    buf_int(ids, id);
}

/* One statement for a JSON array of ids: half of the work of a statement for each row. */
static int step_with_ids(struct relay *r, sqlite3_stmt *s, const struct buf *ids, const char *now,
                         struct err *e)
{
    sqlite3_reset(s);
    kit_bind(s, "st", (struct str){ids->p, ids->n}, now);
    return sqlite_step(r, s, e);
}

static int mark_by_ids(struct relay *r, const struct marks *m, struct err *e)
{
    struct buf ids = BUF_INIT;
    sqlite3_stmt *s;
    int got = sqlite_statement(r, r->terms->remove ? RELAY_SQL_DELETE : RELAY_SQL_DONE, &s, e);

    for (size_t i = 0; i < r->page.n; i++)
        if (r->page.row[i].fate == RELAY_DONE && !m->stale[i])
            add_id(&ids, r->page.row[i].id);
    if (got == 0 && ids.n > 0) {
        buf_char(&ids, ']');
        got = step_with_ids(r, s, &ids, m->now, e);
        sqlite3_reset(s);
        sqlite3_clear_bindings(s);
    }
    buf_free(&ids);
    return got;
}

static int mark_unpublished(struct relay *r, struct relay_row *row, struct err *e)
{
    struct sqlite *q = r->db;
    char time[CLOCK_TEXT_SIZE];
    sqlite3_stmt *s;
    int got =
        sqlite_statement(r, row->fate == RELAY_RETRY ? RELAY_SQL_RETRY : RELAY_SQL_FAIL, &s, e);

    row->changed = true;
    if (got < 0 || s == NULL) /* the relay remembers this instead */
        return got;
    kit_bind(s, "iitt", row->id, row->attempts, clock_format(time, row->retry_ms), row->reason);
    got = sqlite_step(r, s, e);
    row->changed = sqlite3_changes(q->db) > 0;
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return got;
}

static void judge_unmarked(struct relay *r, struct marks *m, const struct relay_row *row,
                           bool as_read)
{
    (void)r;
    relay_judge(row, as_read, &m->refused);
}

static int mark_rows(struct relay *r, void *arg, struct err *e)
{
    struct marks *m = arg;

    if (find_stale(r, m, e) < 0 || mark_by_ids(r, m, e) < 0)
        return -1;
    for (size_t i = 0; i < r->page.n; i++) {
        struct relay_row *row = &r->page.row[i];
        row->changed = false;
        if ((row->fate == RELAY_RETRY || row->fate == RELAY_FAILED) && !m->stale[i] &&
            mark_unpublished(r, row, e) < 0)
            return -1;
    }
    return each_left(r, m, judge_unmarked, e);
}

static int sqlite_settle(struct relay *r, int64_t now_ms, struct err *e)
{
    struct marks m = {.refused = NULL};

    clock_format(m.now, now_ms);
    if (in_transaction(r, mark_rows, &m, e) < 0)
        return -1;
    return m.refused == NULL ? 0 : relay_refused(r, m.refused, e);
}

static int requeue_failed(struct relay *r, void *arg, struct err *e)
{
    struct sqlite *q = r->db;
    int64_t *n = arg;
    sqlite3_stmt *s;
    int got = sqlite_statement(r, RELAY_SQL_GIVE_BACK, &s, e);

    if (got == 0) {
        got = sqlite_step(r, s, e);
        *n = sqlite3_changes(q->db);
        sqlite3_reset(s);
    }
    return got;
}

static int64_t sqlite_retry_failed(struct relay *r, struct err *e)
{
    int64_t n = 0;
    return in_transaction(r, requeue_failed, &n, e) < 0 ? -1 : n;
}

/* -------------------------------------------------------------------------------------- pruning */

struct old_rows {
    struct buf ids;
    int64_t n, removed;
    bool any_refused; /* some stayed: the first of them */
    int64_t refused;
};

/* Read the next ids that may be removed. Reading blocks no one, and no statement reads for long. */
static int find_old(struct relay *r, int64_t before_ms, int64_t *after, struct old_rows *old,
                    struct err *e)
{
    sqlite3_stmt *s = NULL;
    int64_t time, seen = 0;
    int got = sqlite_prepare(r,
                             "SELECT [id], coalesce([published_at], [created_at]), {already} "
                             "FROM {table} WHERE [id] > {after} ORDER BY [id] LIMIT ?2",
                             &s, e);

    kit_bind(s, "ii", *after, (int64_t)PRUNE_LOOK);
    while (got >= 0 && old->n < RELAY_PAGE && (got = sqlite_step(r, s, e)) > 0) {
        *after = sqlite3_column_int64(s, 0);
        seen++;
        if (sqlite3_column_int(s, 2) == 1 && relay_time(kit_text(s, 1), &time) &&
            time < before_ms) {
            add_id(&old->ids, *after);
            old->n++;
        }
    }
    if (got == 0 && seen < PRUNE_LOOK)
        *after = INT64_MAX;
    sqlite3_finalize(s);
    return got < 0 ? -1 : 0;
}

/* Repeat the condition, since rows may have changed by now. */
static int remove_old(struct relay *r, void *arg, struct err *e)
{
    struct sqlite *q = r->db;
    struct old_rows *old = arg;
    sqlite3_stmt *remove = NULL, *look = NULL;
    int got = sqlite_prepare(r, "DELETE FROM {table} WHERE {likely}({already}) AND [id] {among}",
                             &remove, e);

    buf_char(&old->ids, ']');
    if (got == 0)
        got = step_with_ids(r, remove, &old->ids, NULL, e);
    old->removed = sqlite3_changes(q->db);
    if (got == 0)
        got = sqlite_prepare(
            r, "SELECT min([id]) FROM {table} WHERE {likely}({already}) AND [id] {among}", &look,
            e);
    if (got == 0 && (got = step_with_ids(r, look, &old->ids, NULL, e)) > 0) {
        old->any_refused = sqlite3_column_type(look, 0) != SQLITE_NULL;
        old->refused = sqlite3_column_int64(look, 0);
    }
    sqlite3_finalize(remove);
    sqlite3_finalize(look);
    return got < 0 ? -1 : 0;
}

static int64_t sqlite_prune(struct relay *r, int64_t age_ms, int64_t *after, struct err *e)
{
    struct old_rows old = {.n = 0};
    int got = find_old(r, clock_now_ms() - age_ms + 1, after, &old, e);

    if (got == 0 && old.n > 0)
        got = in_transaction(r, remove_old, &old, e);
    buf_free(&old.ids);
    if (got < 0)
        return -1;
    return old.any_refused ? relay_not_pruned(r, old.refused, e) : old.removed;
}

/* -------------------------------------------------------------------------------------- looking */

static int sqlite_state(struct relay *r, struct relay_state *out, struct buf *oldest, struct err *e)
{
    sqlite3_stmt *s;
    int got = sqlite_statement(r, RELAY_SQL_STATE, &s, e);

    if (got == 0 && (got = sqlite_step(r, s, e)) > 0) {
        const char *created = (const char *)sqlite3_column_text(s, 3);
        out->failed = sqlite3_column_int64(s, 1);
        out->backlog = sqlite3_column_int64(s, 0) - out->failed;
        out->waiting = sqlite3_column_int64(s, 2);
        if (created != NULL)
            buf_puts(oldest, created);
    }
    sqlite3_reset(s);
    return got < 0 ? -1 : 0;
}

static const struct relay_word sqlite_words[] = {
    {"seen", "{columns}"},
    {"after", "?1"},
    {"last", "?2"},
    /* likely(): otherwise an index on published could be taken, and rows of the whole table read,
       where there are only a few ids to find. */
    {"likely", "likely"},
    {"among", "IN (SELECT value FROM json_each(?1))"},
    {"unchanged", ""}, /* looked up beforehand */
    {"now", "?2"},
    {"row", "?1"},
    {"attempts", "?2"},
    {"retry", "?3"},
    {"reason", "?4"},
    {"proof", "[payload], [created_at]"},
    {"text", ""},
    {NULL, NULL},
};

extern const char outbox_sqlite_sql[]; /* share/outbox_sqlite.sql */

static const struct relay_dialect sqlite_dialect = {.schema = outbox_sqlite_sql,
                                                    .words = sqlite_words};

const struct relay_engine relay_sqlite = {
    .dialect = &sqlite_dialect,
    .open = sqlite_open,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .read = sqlite_read,
    .settle = sqlite_settle,
    .end = sqlite_end,
    .last = sqlite_last,
    .retry_failed = sqlite_retry_failed,
    .prune = sqlite_prune,
    .state = sqlite_state,
    .fd = sqlite_fd,
    .patience_ms = sqlite_patience_ms,
    .news = sqlite_news,
};

/*
 * Appending to the log, in a transaction.
 *
 * A position is the last one plus one, bound under the write lock, so the log has no gaps and
 * commits in order. AUTOINCREMENT would leave a gap for each duplicate that is skipped.
 */
#include "store/sql/sql.h"

#include <string.h>

#define CROWDED (64 << 10) /* bytes of room: enough for a line that is not very long */

/* A stored event with the id and source of ev, from column on: seq, type, subject, line. */
static void compare(struct txn *t, struct query *q, int column, const struct event *ev,
                    struct log_put *out)
{
    struct str type = db_text(q, column + 1), subject = db_text(q, column + 2),
               line = db_text(q, column + 3);
    struct err damaged = ERR_NONE;
    bool same = str_eq(type, ev->type) && str_eq(subject, ev->subject) &&
                event_read(&t->s->seen, &t->s->scan, line, &damaged) == 0 &&
                str_eq(t->s->seen.data, ev->data) && t->s->seen.base64 == ev->base64;

    out->seq = db_i64(q, column);
    out->fate = same ? LOG_DUPLICATE : LOG_CLASH;
    if (same) {
        buf_reset(&t->s->stored);
        buf_str(&t->s->stored, line);
        out->line = (struct str){t->s->stored.p, t->s->stored.n};
    }
}

/* 1: an event with this id and source is stored, and out->fate is LOG_DUPLICATE or LOG_CLASH; 0:
   none is; -1. */
static int find_same(struct txn *t, const struct event *ev, struct log_put *out, struct err *e)
{
    struct query *q =
        db_query(t->s->db, e,
                 SQL("log_find_same", "SELECT seq,type,subject,line FROM event WHERE id=? AND "
                                      "source=?"),
                 "ss", ev->id, ev->source);
    int got = q == NULL ? -1 : db_row(t->s->db, q, e);

    if (got <= 0)
        return got;
    compare(t, q, 0, ev, out);
    db_done(q);
    return 1;
}

/* The hops of the event with this id, the most if several sources use it; -1: no such event. */
static int cause_hops(struct txn *t, struct str id, int64_t *hops, struct err *e)
{
    struct query *q = db_query(
        t->s->db, e, SQL("log_cause_hops", "SELECT line FROM event WHERE id=? LIMIT 8"), "s", id);
    struct err damaged = ERR_NONE;
    int got = -1;

    *hops = -1;
    while (q != NULL && (got = db_row(t->s->db, q, e)) > 0)
        if (event_read(&t->s->seen, &t->s->scan, db_text(q, 0), &damaged) == 0 &&
            t->s->seen.hops > *hops)
            *hops = t->s->seen.hops;
    return got;
}

static int count_hops(struct txn *t, struct event *ev, struct log_put *out, struct err *e)
{
    int64_t cause;

    if (ev->causationid.p != NULL && !t->terms.chained) {
        if (cause_hops(t, ev->causationid, &cause, e) < 0)
            return -1;
        if (cause + 1 > ev->hops)
            event_set_hops(ev, cause + 1);
    }
    if (ev->hops > EVENT_HOPS_MAX)
        out->fate = LOG_CYCLE;
    return 0;
}

/* The version of the event's subject; *ours: an event of this transaction has that version. */
static int find_version(struct txn *t, const struct event *ev, int64_t *stands, bool *ours,
                        struct err *e)
{
    struct query *q = db_query(t->s->db, e,
                               SQL("log_find_version",
                                   "SELECT version,seq FROM event WHERE subject=? AND version IS "
                                   "NOT NULL ORDER BY version DESC LIMIT 1"),
                               "s", ev->subject);
    int got = q == NULL ? -1 : db_row(t->s->db, q, e);

    *stands = got > 0 ? db_i64(q, 0) : 0;
    *ours = got > 0 && db_i64(q, 1) > t->first;
    if (got > 0)
        db_done(q);
    return got < 0 ? -1 : 0;
}

/* An event that brings its version keeps it, if that place in the stream is free. */
static int keep_version(struct txn *t, const struct event *ev, int64_t stands, struct log_put *out,
                        struct err *e)
{
    int64_t seq;
    int taken =
        ev->version > stands
            ? 0
            : db_int(t->s->db, e, &seq,
                     SQL("log_keep_version", "SELECT seq FROM event WHERE subject=? AND version=?"),
                     "si", ev->subject, ev->version);

    if (taken > 0)
        out->fate = LOG_STALE;
    out->version = taken > 0 ? stands : ev->version;
    return taken < 0 ? -1 : 0;
}

/* Give the event its place in its subject's stream, or find that the stream is at another version.
   If an earlier event of this transaction gave that version, it was compared then. */
static int give_version(struct txn *t, struct event *ev, struct log_put *out, struct err *e)
{
    int64_t stands;
    bool ours;

    if (find_version(t, ev, &stands, &ours, e) < 0)
        return -1;
    if (t->terms.versions == LOG_UNVERSIONED)
        return keep_version(t, ev, stands, out, e);
    out->version = stands;
    if ((t->terms.versions == LOG_EXACT_VERSION && !ours && stands != t->terms.expected) ||
        (ev->version != 0 && ev->version != stands + 1)) {
        out->fate = LOG_STALE;
        return 0;
    }
    out->version = stands + 1;
    if (ev->version != out->version)
        event_set_version(ev, out->version);
    return 0;
}

static int begin_segment(struct txn *t, struct err *e)
{
    if (db_run(t->s->db, e,
               SQL("log_begin_segment", "INSERT INTO segment(seq,recorded) VALUES(?,?)"), "ii",
               t->last + 1, t->segment_ms) < 0)
        return -1;
    t->segment_ms = DB_NONE;
    return 0;
}

static int64_t or_none(int64_t value)
{
    return value == 0 ? DB_NONE : value;
}

static struct log_row row_of(const struct txn *t, const struct event *ev, int64_t seq,
                             int64_t version)
{
    return (struct log_row){
        .seq = seq,
        .recorded = t->recorded,
        .priority = ev->priority,
        .due = or_none(ev->notbefore_ms),
        .expires = or_none(ev->expiry_ms),
        .version = or_none(version),
        .id = ev->id,
        .source = ev->source,
        .type = ev->type,
        .subject = ev->subject,
        .line = ev->line,
    };
}

#define ROW_COLUMNS "seq,recorded,priority,sums,id,source,type,subject,line"
#define ROW_TYPES "iiiissssb"
#define INSERT(columns, rows)                                                                      \
    "INSERT INTO event(" columns ") " rows " ON CONFLICT(id,source) DO NOTHING"

/* Returns how many rows were new, or -1. */
static int append_one(struct txn *t, const struct event *ev, int64_t version, struct err *e)
{
    const struct log_row row = row_of(t, ev, t->last + 1, version);

    return db_run(t->s->db, e,
                  SQL("log_insert", INSERT(ROW_COLUMNS ",due,expires,version",
                                           "VALUES(?,?,?,?,?,?,?,?,?,?,?,?)")),
                  ROW_TYPES "ooo", row.seq, row.recorded, row.priority, sum_of(&row), row.id,
                  row.source, row.type, row.subject, row.line, row.due, row.expires, row.version);
}

/* Insert n events that have no due, expires or version. Returns how many rows were new, or are
   believed to be, or -1. */
static int append_some(struct txn *t, const struct event *ev, size_t n, bool unasked, struct err *e)
{
    struct db_value values[APPEND_ROWS * (sizeof ROW_TYPES - 1)], *v = values;

    for (size_t i = 1; i <= n; i++, ev++) {
        const struct log_row row = row_of(t, ev, t->last + (int64_t)i, 0);
        v++->number = row.seq;
        v++->number = row.recorded;
        v++->number = row.priority;
        v++->number = sum_of(&row);
        v++->text = row.id;
        v++->text = row.source;
        v++->text = row.type;
        v++->text = row.subject;
        v++->text = row.line;
    }
    if (unasked)
        return db_later_rows(
                   t->s->db, e,
                   SQL("log_insert_unasked", "INSERT INTO event(" ROW_COLUMNS ") " ROWS_9),
                   ROW_TYPES, values, n) < 0
                   ? -1
                   : (int)n;
    return db_run_rows(t->s->db, e, SQL("log_insert_some", INSERT(ROW_COLUMNS, ROWS_9)), ROW_TYPES,
                       values, n);
}

/* Twice what goes into an index as well as a column, and a quarter for pages not quite full. */
static int64_t append_bytes(const struct event *ev)
{
    return (int64_t)(ev->line.n + 2 * (ev->id.n + ev->source.n) + ev->type.n + ev->subject.n + 64) *
           5 / 4;
}

int log_put(struct txn *t, struct event *ev, struct log_put *out, struct err *e)
{
    bool versions =
        t->terms.versions != LOG_UNVERSIONED || (ev->version != 0 && ev->subject.p != NULL);
    int got = 0;

    *out = (struct log_put){.fate = LOG_STORED};
    if (versions && (got = find_same(t, ev, out, e)) != 0)
        return got < 0 ? -1 : 0;
    if (count_hops(t, ev, out, e) < 0)
        return -1;
    if (out->fate == LOG_STORED && versions && give_version(t, ev, out, e) < 0)
        return -1;
    if (out->fate == LOG_CYCLE && (got = find_same(t, ev, out, e)) != 0)
        return got < 0 ? -1 : 0;
    if (out->fate != LOG_STORED)
        return 0;
    if (t->room != INT64_MAX && (t->room -= append_bytes(ev)) < 0)
        return db_no_room(t->s->db, e);
    if (t->segment_ms != DB_NONE && begin_segment(t, e) < 0)
        return -1;
    if ((got = append_one(t, ev, out->version, e)) < 0)
        return -1;
    if (got == 0)
        return find_same(t, ev, out, e) < 0 ? -1 : 0;
    out->seq = ++t->last;
    return 0;
}

/* May append_some put it, without a look at what is in the log? */
static bool is_plain(const struct txn *t, const struct event *ev)
{
    return t->terms.versions == LOG_UNVERSIONED && ev->version == 0 && ev->notbefore_ms == 0 &&
           ev->expiry_ms == 0 && (ev->causationid.p == NULL || t->terms.chained) &&
           ev->hops <= EVENT_HOPS_MAX;
}

size_t log_some(void)
{
    return APPEND_ROWS;
}

/* ------------------------------------------------------------------------------- known events */

/* The next of the events in sight that is in the log, or their end. */
static int next_known(struct txn *t, struct err *e)
{
    struct known *k = &t->known;
    int got = db_row(t->s->db, k->q, e);

    k->next = got > 0 ? (size_t)db_i64(k->q, 0) - 1 : k->n;
    return got < 0 ? -1 : 0;
}

/* Which of the first events are in the log? */
static int find_which(struct txn *t, const struct event *ev, size_t n, struct err *e)
{
    struct db_value values[2 * APPEND_LOOK], *v = values;

    n = n < APPEND_LOOK ? n : APPEND_LOOK;
    for (size_t i = 0; i < n; i++) {
        v++->text = ev[i].id;
        v++->text = ev[i].source;
    }
    struct query *q = db_query_rows(
        t->s->db, e,
        SQL("log_find_which", "SELECT k.n,e.seq,e.type,e.subject,e.line FROM " PAIRS THEN_JOIN
                              "event e ON e.id=k.id AND e.source=k.source "
                              "ORDER BY k.n"),
        "ss", values, n);
    if (q == NULL)
        return -1;
    t->known = (struct known){.from = ev, .n = n, .q = q};
    return next_known(t, e);
}

/* 1: the first event is in the log, and *out is right; 0: the first *fresh events are not; -1. */
static int find_known(struct txn *t, const struct event *ev, size_t n, size_t *fresh,
                      struct log_put *out, struct err *e)
{
    struct known *k = &t->known;

    if ((k->n == 0 || ev < k->from || ev >= k->from + k->n) && find_which(t, ev, n, e) < 0)
        return -1;
    size_t at = (size_t)(ev - k->from);
    while (k->next < at)
        if (next_known(t, e) < 0)
            return -1;
    *fresh = k->next - at < n ? k->next - at : n;
    if (*fresh > 0)
        return 0;
    *out = (struct log_put){.fate = LOG_STORED};
    compare(t, k->q, 1, ev, out);
    return 1;
}

/* How many of n events may be put at once? 0: even the first by itself. */
static size_t plain_run(const struct txn *t, const struct event *ev, size_t n, bool unasked)
{
    int64_t bytes = 0;
    size_t run = 0;

    if (t->segment_ms != DB_NONE || t->singly)
        return 0;
    while (run < n && is_plain(t, &ev[run]) && (bytes += append_bytes(&ev[run])) <= t->room)
        run++;
    return (APPEND_FEWER || run == APPEND_ROWS) && (run > 1 || unasked) ? run : 0;
}

int log_put_some(struct txn *t, struct event *ev, size_t n, struct log_put *out, struct err *e)
{
    bool unasked = APPEND_UNASKED && t->terms.unasked;
    size_t rows = n < APPEND_ROWS ? n : APPEND_ROWS;
    int got;

    if (t->met && APPEND_LOOK > 1 && (got = find_known(t, ev, rows, &rows, out, e)) != 0)
        return got;
    if ((rows = plain_run(t, ev, rows, unasked)) == 0)
        return log_put(t, ev, out, e) < 0 ? -1 : 1;
    if ((got = append_some(t, ev, rows, unasked, e)) < 0)
        return -1;
    if (got == (int)rows) {
        for (size_t i = 0; i < rows && t->room != INT64_MAX; i++)
            t->room -= append_bytes(&ev[i]);
        t->last += got;
        *out = (struct log_put){.fate = LOG_STORED, .seq = t->last};
        return got;
    }
    /* A duplicate has left a gap: begin again, up to the end of the transaction with a look before,
       since duplicates seldom come alone. A look does not see two that are the same. */
    t->singly = t->met || APPEND_LOOK == 1;
    t->met = true;
    if (got > 0 &&
        db_run(t->s->db, e, SQL("log_take_back", "DELETE FROM event WHERE seq>? AND seq<=?"), "ii",
               t->last, t->last + (int64_t)rows) < 0)
        return -1;
    return log_put_some(t, ev, n, out, e);
}

bool log_crowded(const struct txn *t)
{
    return t->room < CROWDED;
}

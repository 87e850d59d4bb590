/*
 * Reading the log. append.c appends.
 */
#include "store/sql/sql.h"

#include "base/mem.h"
#include "base/point.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_EVENTS 1000
#define PAGE_BYTES (1 << 20)

int log_chain(struct store *s, struct str causationid, struct buf *b, struct err *e)
{
    char *id = mem_dup(causationid.p == NULL ? "" : causationid.p, causationid.n);
    int got = 0;

    for (int i = 0; i < 5 && *id != '\0'; i++) {
        struct err damaged = ERR_NONE;
        struct query *q =
            db_query(s->db, e, SQL("log_chain", "SELECT line FROM event WHERE id=?"), "t", id);
        if (q == NULL || (got = db_row(s->db, q, e)) <= 0)
            break;
        if (event_read(&s->seen, &s->scan, db_text(q, 0), &damaged) == 0) {
            buf_puts(b, " ← ");
            buf_str(b, s->seen.type);
            char *next = mem_dup(s->seen.causationid.p == NULL ? "" : s->seen.causationid.p,
                                 s->seen.causationid.n);
            free(id);
            id = next;
        }
        db_done(q);
    }
    free(id);
    return got < 0 ? -1 : 0;
}

/* --------------------------------------------------------------------------------------- read */

struct log {
    struct store *s;
    struct log_query query;
    int64_t next;                    /* the next position to read */
    int64_t disorder;                /* position of a row that came too late; 0: none */
    int rows;                        /* read for the page, whether or not they pass */
    struct pattern_list group_types; /* next: what the group has passed, and what it remembers */
    int64_t cursor[10], *remembered;
    size_t remembered_n;
    struct page page;
    size_t at, listed; /* indexes: in the page; in the positions of the query */
    bool filtered;     /* are some events left out? */
};

/* What is known of a row that cannot be read, or cannot be trusted. */
static struct log_entry unknown(int64_t seq)
{
    const struct str none = STR("");

    return (struct log_entry){
        .seq = seq, .id = none, .source = none, .type = none, .line = none, .damaged = true};
}

/* The columns are wrong; if the line is right, take the attributes from it. */
static void distrust(struct store *s, const struct log_row *row, struct log_entry *out)
{
    struct err unreadable = ERR_NONE;

    *out = unknown(row->seq);
    if (!sum_line(row->sums, row->line) ||
        event_read(&s->seen, &s->scan, row->line, &unreadable) < 0)
        return;
    out->id = s->seen.id;
    out->source = s->seen.source;
    out->type = s->seen.type;
    out->subject = s->seen.subject;
    out->line = row->line;
}

static void entry_of_row(const struct log_row *row, struct log_entry *out)
{
    *out = (struct log_entry){
        .seq = row->seq,
        .recorded_ms = row->recorded,
        .id = row->id,
        .source = row->source,
        .type = row->type,
        .subject = row->subject,
        .line = row->line,
    };
}

void log_entry_read(struct store *s, struct query *q, struct log_row *row, struct log_entry *out)
{
    log_row_read(q, row);
    if (sum_columns(s, q, row))
        entry_of_row(row, out);
    else
        distrust(s, row, out);
}

bool log_entry_peek(struct store *s, int64_t seq, struct log_row *row, struct log_entry *out)
{
    if (!log_row_peek(s, seq, row))
        return false;
    entry_of_row(row, out);
    return true;
}

bool log_entry_damaged(const struct log_row *row, const struct log_entry *entry)
{
    return entry->damaged || !sum_line(row->sums, entry->line);
}

bool log_row_expired(const struct log_row *row, int64_t now)
{
    return row->expires != DB_NONE && row->expires != 0 && row->expires <= now;
}

/* There is room for it. */
static struct str page_copy(struct page *p, struct str s)
{
    char *to = p->bytes.p + p->bytes.n;

    if (s.p == NULL)
        return s;
    memcpy(to, s.p, s.n);
    p->bytes.n += s.n;
    return (struct str){to, s.n};
}

bool page_add(struct page *p, const struct log_entry *row)
{
    size_t size = row->id.n + row->source.n + row->type.n + row->subject.n + row->line.n + 1;
    struct log_entry *entry;

    if (p->n == PAGE_EVENTS || (p->n > 0 && p->bytes.n + size > PAGE_BYTES))
        return false;
    if (p->entry == NULL)
        p->entry = mem_zero(PAGE_EVENTS, sizeof *p->entry);
    if (p->n == 0) { /* allocate once: the bytes must not move under the entries */
        buf_reset(&p->bytes);
        buf_need(&p->bytes, size > PAGE_BYTES ? size : PAGE_BYTES);
    }
    entry = &p->entry[p->n++];
    *entry = *row;
    entry->id = page_copy(p, row->id);
    entry->source = page_copy(p, row->source);
    entry->type = page_copy(p, row->type);
    entry->subject = page_copy(p, row->subject);
    entry->line = page_copy(p, row->line);
    p->bytes.p[p->bytes.n++] = '\n';
    return true;
}

void page_free(struct page *p)
{
    buf_free(&p->bytes);
    free(p->entry);
}

bool log_may_match(const struct pattern_list *types, const struct log_entry *entry)
{
    return (entry->damaged && entry->type.n == 0) || pattern_any(types, entry->type);
}

static bool correlated(struct store *s, const struct log_entry *entry, const char *id)
{
    struct err damaged = ERR_NONE;
    return event_read(&s->seen, &s->scan, entry->line, &damaged) == 0 &&
           str_is(s->seen.correlationid, id);
}

/* Not expired and, with due, not early. */
static bool in_time(const struct log_row *row, bool due)
{
    int64_t now = clock_now_ms();
    return !(due && row->due > now) && !log_row_expired(row, now);
}

/* The priority and due time of a damaged event are unknown: it becomes a dead letter as soon as the
   group reaches it. */
static bool group_wants(const struct log *l, const struct log_entry *entry,
                        const struct log_row *row)
{
    if (entry->seq > group_passed(l->cursor, entry->damaged ? EVENT_PRIORITY : row->priority))
        return log_may_match(&l->group_types, entry) &&
               (entry->damaged || in_time(row, l->query.due));
    return l->remembered_n > 0 && bsearch(&entry->seq, l->remembered, l->remembered_n,
                                          sizeof *l->remembered, seq_compare) != NULL;
}

/* A damaged event of which nothing is known may be one that the query wants: it passes, marked as
   damaged. */
static bool log_passes(struct log *l, const struct log_entry *entry, const struct log_row *row)
{
    const struct log_query *want = &l->query;

    if (want->subject != NULL && entry->type.n > 0 && !str_is(entry->subject, want->subject))
        return false;
    if (want->types.n > 0 && !log_may_match(&want->types, entry))
        return false;
    if (want->group != NULL ? !group_wants(l, entry, row)
                            : want->due && !entry->damaged && !in_time(row, true))
        return false;
    return want->correlationid == NULL || log_entry_damaged(row, entry) ||
           correlated(l->s, entry, want->correlationid);
}

static int64_t last_wanted(const struct log *l)
{
    return l->query.last == 0 || l->query.last > LOG_BOUND ? LOG_BOUND : l->query.last;
}

/* Without a LIMIT: counting here is cheaper. */
static struct query *page_query(struct log *l, struct err *e)
{
    if (l->query.stream != NULL)
        return db_query(l->s->db, e,
                        SQL("log_page_stream", "SELECT " LOG_COLUMNS
                                               " FROM event WHERE subject=? AND version>=? ORDER "
                                               "BY version" PAGE_LIMIT),
                        "ti", l->query.stream, l->next);
    return db_query(
        l->s->db, e,
        SQL("log_page", "SELECT " LOG_COLUMNS " FROM event WHERE seq>=? ORDER BY seq" PAGE_LIMIT),
        "i", l->next);
}

/* False when the row does not pass the filters. */
static bool log_wants_row(struct log *l, const struct log_row *row, struct log_entry *entry)
{
    if (l->filtered && !log_passes(l, entry, row))
        return false;
    if (!entry->damaged) {
        entry->version = row->version == DB_NONE ? 0 : row->version;
        entry->damaged = !sum_line(row->sums, row->line);
        if (entry->damaged)
            entry->line = STR("");
    }
    if (l->query.lines) /* do not copy what nobody wants */
        entry->id = entry->source = entry->type = entry->subject = (struct str){NULL, 0};
    return true;
}

/* Read a page of the positions in the query. Events that were pruned are skipped. */
static int read_listed(struct log *l, struct err *e)
{
    struct log_entry entry;
    struct log_row row;

    for (l->page.n = l->at = 0; l->listed < l->query.seqs; l->listed++) {
        struct query *q = db_query(
            l->s->db, e, SQL("log_read_listed", "SELECT " LOG_COLUMNS " FROM event WHERE seq=?"),
            "i", l->query.seq[l->listed]);
        int got = q == NULL ? -1 : db_row(l->s->db, q, e);
        if (got < 0)
            return -1;
        if (got == 0)
            continue;
        log_entry_read(l->s, q, &row, &entry);
        log_wants_row(l, &row, &entry);
        bool full = !page_add(&l->page, &entry);
        db_done(q);
        if (full)
            break;
    }
    return l->page.n > 0;
}

/* Add an entry for a row that cannot be read: only its position is known. */
static int log_add_broken(struct log *l, struct err *e)
{
    int64_t last = last_wanted(l);
    struct log_entry row = unknown(0);

    if (l->query.stream != NULL || log_broken(l->s, l->next, last, &row.seq) < 0)
        return -1;
    err_clear(e);
    l->next = row.seq + 1;
    page_add(&l->page, &row);
    return 1;
}

/* Add the next row, if it passes. False when the page ends before it. */
static bool log_add_row(struct log *l, const struct log_row *row, struct log_entry *entry)
{
    bool wanted = log_wants_row(l, row, entry), stream = l->query.stream != NULL;

    if (!stream && entry->seq > last_wanted(l))
        return false;
    if (!stream && entry->seq < l->next) {
        l->disorder = entry->seq;
        return false;
    }
    if (wanted && !page_add(&l->page, entry))
        return false;
    /* The version of a damaged row is unknown, but it is not below l->next. */
    l->next = !stream                                      ? entry->seq + 1
              : entry->damaged || entry->version < l->next ? l->next + 1
                                                           : entry->version + 1;
    l->rows++;
    return true;
}

/* Add rows for as long as they can be peeked at. False when the page ends. */
static bool peek_page(struct log *l)
{
    struct err met_again = ERR_NONE; /* by the query for whole rows */
    struct log_entry entry;
    struct log_row row;
    bool more = true;

    if (!db_peek_begin(l->s->db))
        return true;
    struct query *q = db_query(
        l->s->db, &met_again,
        SQL("log_peek_page", "SELECT seq FROM event WHERE seq>=? ORDER BY seq"), "i", l->next);
    while (more && q != NULL && db_row(l->s->db, q, &met_again) > 0 &&
           log_entry_peek(l->s, db_i64(q, 0), &row, &entry))
        more = log_add_row(l, &row, &entry) && l->rows < PAGE_EVENTS;
    db_done(q);
    db_peek_end(l->s->db);
    return more;
}

/* Copy those of the next rows that pass, so that no transaction is open while the caller writes. */
static int read_page(struct log *l, struct err *e)
{
    struct log_entry entry;
    struct log_row row;
    struct query *q;
    int got = -1;

    if (l->query.seq != NULL)
        return read_listed(l, e);
    if (l->disorder != 0)
        return log_disorder(l->s, l->disorder, e);
    l->page.n = l->at = 0;
    l->rows = 0;
    if (l->query.stream != NULL || peek_page(l)) {
        q = page_query(l, e);
        while (q != NULL && l->rows < PAGE_EVENTS && (got = db_row(l->s->db, q, e)) > 0) {
            log_entry_read(l->s, q, &row, &entry);
            if (!log_add_row(l, &row, &entry))
                break;
        }
        if (got < 0 && l->page.n == 0)
            return q == NULL ? -1 : log_add_broken(l, e);
        if (got < 0) {
            err_clear(e); /* first the rows before it; the next call meets the error again */
            return 1;
        }
        db_done(q);
    }
    if (l->disorder != 0 && l->page.n == 0)
        return log_disorder(l->s, l->disorder, e);
    return l->rows > 0;
}

/* Find where the newest n events that pass begin. */
static int find_newest(struct log *l, struct err *e)
{
    int64_t below = last_wanted(l) + 1, found = 0, start = l->next;
    struct log_entry entry;
    struct log_row row;
    int got, rows;

    do {
        struct query *q =
            db_query(l->s->db, e,
                     SQL("log_find_newest", "SELECT " LOG_COLUMNS " FROM event WHERE "
                                            "seq>=? AND seq<? ORDER BY seq DESC LIMIT 1000"),
                     "ii", start, below);
        got = -1;
        rows = 0;
        while (q != NULL && found < l->query.newest && (got = db_row(l->s->db, q, e)) > 0) {
            log_entry_read(l->s, q, &row, &entry);
            if (row.seq >= below) {
                db_done(q);
                return log_disorder(l->s, row.seq, e);
            }
            below = row.seq;
            rows++;
            if (log_passes(l, &entry, &row)) {
                found++;
                l->next = row.seq;
            }
        }
        db_done(q);
        if (q == NULL || got < 0)
            return -1;
    } while (rows > 0 && found < l->query.newest);
    return 0;
}

static int open_group_view(struct log *l, struct err *e)
{
    int64_t grp;

    if (group_row(l->s, l->query.group, &grp, e) < 0 ||
        group_patterns(l->s, grp, &l->group_types, e) <= 0 ||
        group_cursors(l->s, grp, l->cursor, e) < 0 ||
        group_remembered(l->s, grp, l->query.due, &l->remembered, &l->remembered_n, e) < 0)
        return -1;
    int64_t from = INT64_MAX;
    for (int i = 0; i < 10; i++)
        if (l->cursor[i] + 1 < from)
            from = l->cursor[i] + 1;
    if (l->remembered_n > 0 && l->remembered[0] < from)
        from = l->remembered[0];
    if (from > l->next)
        l->next = from;
    return 0;
}

int log_open(struct log **out, struct store *s, const struct log_query *query, struct err *e)
{
    struct log *l = mem_zero(1, sizeof *l);

    *out = l;
    l->s = s;
    l->query = *query;
    l->next = query->stream != NULL ? query->version : query->first;
    l->query.lines |= query->stream != NULL || query->seq != NULL;
    l->filtered = query->stream == NULL && query->seq == NULL &&
                  (query->types.n > 0 || query->subject != NULL || query->correlationid != NULL ||
                   query->group != NULL || query->due);
    if ((query->group != NULL && open_group_view(l, e) < 0) ||
        (query->newest > 0 && find_newest(l, e) < 0)) {
        log_close(l);
        *out = NULL;
        return -1;
    }
    return 0;
}

/* 1 when there is another entry in the page, 0 at the end of the log, -1. */
static int look_ahead(struct log *l, struct err *e)
{
    int got = 1;

    while (l->at == l->page.n && (got = read_page(l, e)) > 0)
        continue;
    return l->at < l->page.n ? 1 : got;
}

int log_next(struct log *l, struct log_entry *out, struct err *e)
{
    int got = look_ahead(l, e);

    if (got > 0)
        *out = l->page.entry[l->at++];
    return got;
}

/* A page of lines alone has nothing between them but their newlines. */
int64_t log_here(const struct log *l)
{
    return l->at < l->page.n ? l->page.entry[l->at].seq : l->next;
}

int log_lines(struct log *l, int64_t most, struct str *text, struct err *e)
{
    const struct log_entry *entry;
    int got = look_ahead(l, e), n = 0;

    if (got <= 0)
        return got;
    entry = &l->page.entry[l->at];
    *text = (struct str){entry->line.p, 0};
    for (; l->at < l->page.n && !entry->damaged && n < most; l->at++, entry++, n++)
        text->n += entry->line.n + 1;
    return n > 0 ? n : LOG_DAMAGED;
}

void log_close(struct log *l)
{
    if (l == NULL)
        return;
    page_free(&l->page);
    pattern_free(&l->group_types);
    free(l->remembered);
    free(l);
}

/* From the newest version down. The index has the position, too, so no row is read. */
int log_stands(struct store *s, const char *subject, int64_t last, int64_t *version, struct err *e)
{
    *version = 0;
    return db_int(
        s->db, e, version,
        SQL("log_stands",
            "SELECT version FROM event WHERE subject=? AND version IS NOT NULL AND seq<=? "
            "ORDER BY version DESC LIMIT 1"),
        "ti", subject, last);
}

/* -------------------------------------------------------------------------------------- points */

/* The first position in [low, high) recorded at or after t; recorded does not decrease in this
   range. Positions may have holes: a probe reads the next event that exists. */
static int bisect(struct store *s, int64_t low, int64_t high, int64_t t, int64_t *out,
                  struct err *e)
{
    while (low < high) {
        int64_t middle = low + (high - low) / 2, at = 0;
        struct query *q =
            db_query(s->db, e,
                     SQL("log_bisect", "SELECT seq,recorded FROM event WHERE seq>=? ORDER BY seq "
                                       "LIMIT 1"),
                     "i", middle);
        int got = q == NULL ? -1 : db_row(s->db, q, e);
        if (got < 0)
            return -1;
        bool before = false;
        if (got > 0) {
            at = db_i64(q, 0);
            before = at < high && db_i64(q, 1) < t;
            db_done(q);
        }
        if (before)
            low = at + 1;
        else
            high = middle;
    }
    *out = low;
    return 0;
}

int log_point(struct store *s, const struct point *point, int64_t *seq, struct err *e)
{
    int64_t last = 0, begin = 1, end;
    int got;

    if (log_last(s, &last, e) < 0)
        return -1;
    *seq = point->kind == POINT_START ? 1 : point->kind == POINT_SEQ ? point->value : last + 1;
    if (point->kind != POINT_TIME)
        return 0;
    /* The last segment that had begun by then; otherwise the beginning of the log. */
    if (db_int(s->db, e, &begin,
               SQL("log_point_segment", "SELECT max(seq) FROM segment WHERE recorded<=?"), "i",
               point->value) < 0)
        return -1;
    got = db_int(s->db, e, &end,
                 SQL("log_point_next_segment", "SELECT min(seq) FROM segment WHERE seq>?"), "i",
                 begin);
    if (got < 0)
        return -1;
    return bisect(s, begin, got > 0 ? end : last + 1, point->value, seq, e);
}

int log_until(struct store *s, const struct point *point, int64_t *last, struct err *e)
{
    if (log_point(s, point, last, e) < 0)
        return -1;
    *last -= point->kind != POINT_SEQ;
    return 0;
}

int log_start(struct store *s, const struct point *point, int64_t *seq, struct err *e)
{
    const struct point end = {POINT_END, 0};
    int64_t behind;

    if (log_point(s, point, seq, e) < 0 || log_point(s, &end, &behind, e) < 0)
        return -1;
    *seq = *seq < 1 ? 1 : *seq > behind ? behind : *seq;
    return 0;
}

int log_find(struct store *s, const char *name, int64_t *seq, struct err *e)
{
    const char *id = strncmp(name, "id:", 3) == 0 ? name + 3 : name;
    bool digits = id == name && *name != '\0' && name[strspn(name, "0123456789")] == '\0';
    struct buf several = BUF_INIT;
    int got, n = 0;

    if (digits) {
        got = db_int(s->db, e, seq, SQL("log_find_position", "SELECT seq FROM event WHERE seq=?"),
                     "i", (int64_t)strtoll(name, NULL, 10));
        if (got == 0)
            return err_set(e, EX_NOINPUT, "no event at position %s in %s", name, s->name);
        return got < 0 ? -1 : 0;
    }
    struct query *q = db_query(
        s->db, e, SQL("log_find_id", "SELECT seq FROM event WHERE id=? ORDER BY seq LIMIT 10"), "t",
        id);
    got = -1;
    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        *seq = db_i64(q, 0);
        buf_printf(&several, "%s%lld", n++ == 0 ? "" : ", ", (long long)*seq);
    }
    if (got == 0 && n == 0)
        got = err_set(e, EX_NOINPUT, "no event with id %s in %s", err_quote_text(id).text, s->name);
    else if (got == 0 && n > 1)
        got = err_set(e, EX_DATAERR,
                      "id %s matches events of several sources: name one by its "
                      "position, %s",
                      err_quote_text(id).text, buf_text(&several));
    buf_free(&several);
    return got < 0 ? -1 : 0;
}

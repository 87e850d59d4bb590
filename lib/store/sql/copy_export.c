/*
 * The exporter of a copy. Events are read in pages, between which nothing is open, until the log's
 * end is reached; then one transaction reads those that came since, and everything else: so the
 * stream ends with one moment of the spool.
 */
#include "store/sql/copy.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define FLUSH_BYTES (64 << 10)
#define PAGE_BYTES                                                                                 \
    (4 << 20) /* of events, about, since some engines have the whole page in memory */

struct export
{
    struct store *s;
    const struct copy_out *out;
    struct buf text; /* what is not written yet */
    int64_t next, page, left_out;
    struct copy_rows rows;
    struct held_group { /* by name */
        int64_t grp;
        bool ordered;
    } * group;
    size_t groups;
};

static int flush_stream(struct export *x, size_t above, struct err *e)
{
    if (x->text.n <= above)
        return 0;
    int got = x->out->write((struct str){x->text.p, x->text.n}, e);
    buf_reset(&x->text);
    return got;
}

static void put_number(struct export *x, char letter, int64_t number)
{
    copy_put(&x->text, letter, &(struct db_value){.number = number});
}

/* --------------------------------------------------------------------------------- the events */

static void put_event(struct export *x, const struct log_row *row)
{
    const struct db_value value[] = {
        [LOG_SEQ] = {.number = row->seq},
        [LOG_RECORDED] = {.number = row->recorded},
        [LOG_PRIORITY] = {.number = row->priority},
        [LOG_DUE] = {.number = row->due},
        [LOG_EXPIRES] = {.number = row->expires},
        [LOG_VERSION] = {.number = row->version},
        [LOG_SUMS] = {.number = sum_of(row)}, /* of schema 1: not the row's own */
        [LOG_ID] = {.text = row->id},
        [LOG_SOURCE] = {.text = row->source},
        [LOG_TYPE] = {.text = row->type},
        [LOG_SUBJECT] = {.text = row->subject},
        [LOG_LINE] = {.text = row->line},
    };

    copy_put(&x->text, 'e', value);
}

/* Returns the number of rows that were there, or -1. */
static int64_t export_page(struct export *x, struct err *e)
{
    struct query *q = db_query(
        x->s->db, e,
        SQL("copy_events", "SELECT " LOG_COLUMNS " FROM event WHERE seq>=? ORDER BY seq LIMIT ?"),
        "ii", x->next, x->page);
    int64_t rows = 0, bytes = 0;
    struct log_entry entry;
    struct log_row row;
    int got = -1;

    while (q != NULL && (got = db_row(x->s->db, q, e)) > 0) {
        log_entry_read(x->s, q, &row, &entry);
        if (row.seq < x->next) {
            db_done(q);
            return log_disorder(x->s, row.seq, e);
        }
        if (log_entry_damaged(&row, &entry)) {
            x->out->damaged(row.seq);
            x->left_out++;
        } else {
            put_event(x, &row);
        }
        x->next = row.seq + 1;
        bytes += (int64_t)row.line.n;
        rows++;
    }
    if (got < 0)
        return -1;
    if (rows > 0)
        x->page = PAGE_BYTES / (bytes / rows + 1);
    x->page = x->page < 1 ? 1 : x->page > DB_ROWS ? DB_ROWS : x->page;
    return rows;
}

static int export_events(struct export *x, struct err *e)
{
    int64_t rows;

    while ((rows = export_page(x, e)) > 0)
        if (flush_stream(x, FLUSH_BYTES, e) < 0)
            return -1;
    return rows < 0 ? -1 : 0;
}

/* --------------------------------------------------------------------------------- the groups */

static int export_groups(struct export *x, struct err *e)
{
    /* Those whose consumers hold events will have more rows, which are to be put in order. */
    struct query *q = db_query(
        x->s->db, e,
        SQL("copy_groups",
            "SELECT name,patterns,CASE WHEN ordered<>0 AND EXISTS(SELECT 1 FROM "
            "claim" BY_CLAIM_OWNER " WHERE claim.grp=groups.grp) THEN 2 ELSE ordered END,paused,"
            "hold,paced,created,seen,grp FROM groups ORDER BY name"),
        "");
    struct db_value value[9];
    int got = -1;

    while (q != NULL && (got = db_row(x->s->db, q, e)) > 0) {
        db_values(q, "ssiiiiiii", value);
        copy_put(&x->text, 'g', value);
        x->group = mem_grow(x->group, x->groups + 1, sizeof *x->group);
        x->group[x->groups++] = (struct held_group){value[8].number, value[2].number != 0};
    }
    put_number(x, '.', 'g');
    return got;
}

/* The events that a group's consumers hold, by position. */
struct in_flight {
    struct flight {
        int64_t seq, made;
    } * event;
    size_t n, at;
};

static int flight_compare(const void *a, const void *b)
{
    return seq_compare(&((const struct flight *)a)->seq, &((const struct flight *)b)->seq);
}

static int find_in_flight(struct export *x, int64_t grp, struct in_flight *out, struct err *e)
{
    struct query *q = db_query(
        x->s->db, e,
        SQL("copy_claims", "SELECT open,coalesce(made,0) FROM claim" BY_CLAIM_OWNER " WHERE grp=?"),
        "i", grp);
    int got = -1;

    *out = (struct in_flight){NULL, 0, 0};
    while (q != NULL && (got = db_row(x->s->db, q, e)) > 0) {
        int64_t *seq;
        size_t n = open_decode(db_text(q, 0), &seq);
        out->event = mem_grow(out->event, out->n + n + 1, sizeof *out->event);
        for (size_t i = 0; i < n; i++)
            out->event[out->n++] = (struct flight){seq[i], db_i64(q, 1)};
        free(seq);
    }
    if (out->n > 0)
        qsort(out->event, out->n, sizeof *out->event, flight_compare);
    return got;
}

/* Columns of item. */
enum { ITEM_SEQ, ITEM_STATE, ITEM_DUE_AT, ITEM_ATTEMPTS, ITEM_DEATHS, ITEM_SUBJECT_OF, ITEM_END };

/* The row that an event would have if its consumer had died, and it had no row before. */
static int put_flight(struct export *x, const struct held_group *group, const struct flight *f,
                      struct err *e)
{
    struct db_value value[ITEM_END] = {
        {.number = f->seq}, {.number = 0}, {.number = f->made}, {.number = 0}, {.number = 0}};
    struct query *q = NULL;
    int got = 0;

    if (group->ordered) {
        q = db_query(x->s->db, e, SQL("copy_subject", "SELECT subject FROM event WHERE seq=?"), "i",
                     f->seq);
        got = q == NULL ? -1 : db_row(x->s->db, q, e);
    }
    if (got > 0)
        value[ITEM_SUBJECT_OF].text = db_text(q, 0);
    copy_put(&x->text, 'i', value);
    if (got > 0)
        db_done(q);
    return got < 0 ? -1 : 0;
}

/* Put the events in flight before a position; those at it have the row that is there. */
static int put_flights(struct export *x, const struct held_group *group, struct in_flight *flights,
                       int64_t before, struct err *e)
{
    for (; flights->at < flights->n && flights->event[flights->at].seq <= before; flights->at++)
        if (flights->event[flights->at].seq < before &&
            put_flight(x, group, &flights->event[flights->at], e) < 0)
            return -1;
    return 0;
}

static int export_items(struct export *x, const struct held_group *group, struct err *e)
{
    const struct db_value *row;
    struct in_flight flights;
    int got = find_in_flight(x, group->grp, &flights, e);

    copy_rows_begin(&x->rows, copy_table_of('i'), group->grp);
    while (got >= 0 && (got = copy_rows_look(&x->rows, &row, e)) > 0) {
        struct db_value value[ITEM_END];
        memcpy(value, row, sizeof value);
        if (value[ITEM_STATE].number == 1)
            value[ITEM_STATE].number = 0;
        got = put_flights(x, group, &flights, value[ITEM_SEQ].number, e);
        copy_put(&x->text, 'i', value);
        copy_rows_skip(&x->rows);
        if (got == 0)
            got = flush_stream(x, FLUSH_BYTES, e);
    }
    if (got == 0)
        got = put_flights(x, group, &flights, INT64_MAX, e);
    put_number(x, '.', 'i');
    free(flights.event);
    return got;
}

static int export_rows(struct export *x, char letter, int64_t grp, struct err *e)
{
    const struct db_value *row;
    int got = 0;

    copy_rows_begin(&x->rows, copy_table_of(letter), grp);
    while (got >= 0 && (got = copy_rows_look(&x->rows, &row, e)) > 0) {
        copy_put(&x->text, letter, row);
        copy_rows_skip(&x->rows);
        got = flush_stream(x, FLUSH_BYTES, e);
    }
    put_number(x, '.', letter);
    return got;
}

static int export_group(struct export *x, size_t number, struct err *e)
{
    const struct held_group *group = &x->group[number];

    put_number(x, 'G', (int64_t)number);
    if (export_rows(x, 'c', group->grp, e) < 0 || export_items(x, group, e) < 0)
        return -1;
    for (const char *letter = "atu"; *letter != '\0'; letter++)
        if (export_rows(x, *letter, group->grp, e) < 0)
            return -1;
    return 0;
}

/* What must be of one moment. */
static int export_moment(struct export *x, struct err *e)
{
    if (export_events(x, e) < 0 || export_rows(x, 's', 0, e) < 0 || export_groups(x, e) < 0)
        return -1;
    for (size_t i = 0; i < x->groups; i++)
        if (export_group(x, i, e) < 0)
            return -1;
    return export_rows(x, 'd', 0, e);
}

int64_t copy_export(struct store *s, int64_t first, const struct copy_out *out, struct err *e)
{
    struct export x = {.s = s, .out = out, .next = first, .page = 10, .rows = {.s = s}};
    int64_t last = 0;
    int got = log_last(s, &last, e);

    buf_puts(&x.text, COPY_MAGIC);
    copy_put(&x.text, 'h', (struct db_value[]){{.text = str_of(s->name)}, {.number = last}});
    if (got >= 0)
        got = export_events(&x, e);
    if (got >= 0 && (got = db_begin_read(s->db, e)) == 0) {
        got = export_moment(&x, e);
        db_rollback(s->db);
    }
    if (got >= 0) {
        copy_put(&x.text, 'z', NULL);
        got = flush_stream(&x, 0, e);
    }
    copy_rows_free(&x.rows);
    buf_free(&x.text);
    free(x.group);
    return got < 0 ? -1 : x.left_out;
}

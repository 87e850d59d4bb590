/*
 * Which events are damaged: whose checksum, columns or place in an index is not what their line
 * says.
 */
#include "store/sql/check.h"

#include <stdio.h>

/* Positions that have the same fault. */
struct fault {
    int64_t n, first;
    struct buf named;
};

static void note_fault(struct fault *f, int64_t seq)
{
    if (f->n == 0)
        f->first = seq;
    if (f->n++ < NAMED_MAX)
        buf_printf(&f->named, "%s%lld", f->n == 1 ? "" : ", ", (long long)seq);
}

static int say_fault(struct check *c, struct fault *f, const char *what, struct err *e)
{
    int got = 0;

    if (f->n > 0)
        got = check_report(c, &(struct check_finding){.kind = "damage", .value = f->n}, e,
                           "%lld event%s %s: position%s %s%s", (long long)f->n, check_plural(f->n),
                           what, check_plural(f->n), buf_text(&f->named),
                           f->n > NAMED_MAX ? " and others" : "");
    buf_free(&f->named);
    return got;
}

/* The attributes that an event has in columns as well as in its line. */
enum attribute { ID, SOURCE, TYPE, SUBJECT, PRIORITY, NOTBEFORE, EXPIRYTIME, VERSION, ATTRIBUTES };
static const char *const attribute_name[] = {
    "id", "source", "type", "subject", "priority", "notbefore", "expirytime", "version",
};

enum index { INDEX_ID, INDEX_PRIORITY, INDEX_VERSION, INDEXES };
static const char *const index_use[] = {"duplicates", "priorities", "versions"};

struct faults {
    struct fault sum, differs[ATTRIBUTES], index[INDEXES];
    int64_t seq;                        /* the last event seen */
    int64_t right, recorded, unordered; /* the last right event; the first out of order in time */
};

static bool number_differs(int64_t column, int64_t said)
{
    return column != (said == 0 ? DB_NONE : said);
}

/* Note where columns differ from the line; a version in the line may be no more than data. */
static bool note_differences(const struct log_row *row, const struct event *said, struct faults *f)
{
    const bool differs[ATTRIBUTES] = {
        [ID] = !str_eq(row->id, said->id),
        [SOURCE] = !str_eq(row->source, said->source),
        [TYPE] = !str_eq(row->type, said->type),
        [SUBJECT] = !str_eq(row->subject, said->subject) ||
                    (row->subject.p == NULL) != (said->subject.p == NULL),
        [PRIORITY] = row->priority != said->priority,
        [NOTBEFORE] = number_differs(row->due, said->notbefore_ms),
        [EXPIRYTIME] = number_differs(row->expires, said->expiry_ms),
        [VERSION] = row->version != DB_NONE && row->version != said->version,
    };
    bool any = false;

    for (int i = 0; i < ATTRIBUTES; i++)
        if (differs[i]) {
            note_fault(&f->differs[i], row->seq);
            any = true;
        }
    return any;
}

static void look_at(struct store *s, struct query *q, struct faults *f)
{
    struct err unreadable = ERR_NONE;
    struct log_row row;

    log_row_read(q, &row);
    bool right = sum_columns(s, q, &row),
         whole = sum_line(row.sums, row.line) &&
                 event_read(&s->seen, &s->scan, row.line, &unreadable) == 0;
    if (!whole || (!note_differences(&row, &s->seen, f) && !right))
        note_fault(&f->sum, row.seq);
    for (int i = 0; i < INDEXES && right; i++)
        if (db_i64(q, LOG_END + i) != row.seq)
            note_fault(&f->index[i], row.seq);
    f->seq = row.seq;
    if (!right)
        return;
    if (row.recorded < f->recorded && db_i64(q, LOG_END + INDEXES) <= f->right && f->unordered == 0)
        f->unordered = row.seq;
    f->right = row.seq;
    f->recorded = row.recorded;
}

static int read_events(struct check *c, struct faults *f, struct err *e)
{
    int got, rows;

    do {
        struct query *q = db_query(
            c->s->db, e,
            SQL("check_read_events",
                "SELECT " LOG_COLUMNS ",(SELECT i.seq FROM event i" BY_EVENT_ID
                " WHERE i.id=e.id AND i.source=e.source),CASE priority WHEN 5 THEN seq ELSE "
                "(SELECT i.seq FROM event i" BY_EVENT_PRIORITY
                " WHERE i.priority=e.priority AND i.priority<>5 AND i.seq=e.seq) END,CASE WHEN "
                "version IS NULL THEN seq ELSE (SELECT i.seq FROM event i" BY_EVENT_VERSION
                " WHERE i.subject=e.subject AND i.version=e.version AND i.version IS NOT NULL) "
                "END,(SELECT max(g.seq) FROM segment g WHERE g.seq<=e.seq) FROM event e WHERE "
                "seq>? ORDER BY e.seq LIMIT 1000"),
            "i", f->seq);
        got = -1;
        for (rows = 0; q != NULL && (got = db_row(c->s->db, q, e)) > 0; rows++) {
            int64_t seq = db_i64(q, LOG_SEQ);
            if (seq <= f->seq) {
                db_done(q);
                return log_disorder(c->s, seq, e);
            }
            look_at(c->s, q, f);
        }
    } while (got == 0 && rows == 1000);
    return got;
}

static int say_faults(struct check *c, struct faults *f, struct err *e)
{
    char what[100];

    if (say_fault(c, &f->sum, "damaged", e) < 0)
        return -1;
    for (int i = 0; i < ATTRIBUTES; i++) {
        snprintf(what, sizeof what, "with another %s than in the line", attribute_name[i]);
        if (say_fault(c, &f->differs[i], what, e) < 0)
            return -1;
    }
    for (int i = 0; i < INDEXES; i++) {
        snprintf(what, sizeof what, "not in the index that finds %s", index_use[i]);
        if (say_fault(c, &f->index[i], what, e) < 0)
            return -1;
    }
    if (f->unordered == 0)
        return 0;
    return check_report(
        c, &(struct check_finding){.kind = "clock"}, e,
        "recorded times are out of order at position %lld: times in --from and --to may "
        "lead astray",
        (long long)f->unordered);
}

int check_events(struct check *c, struct err *e)
{
    struct faults f = {0};
    int got = read_events(c, &f, e);
    struct err later = ERR_NONE;

    /* Report what was found before the read failed, too. */
    if (say_faults(c, &f, &later) == 0)
        return got;
    *e = later;
    return -1;
}

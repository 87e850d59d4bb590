/*
 * What the rows of a group say: its patterns, how far it has got, and what it remembers. The log
 * needs them, too, to read what a group has yet to settle; so they know nothing of groups that are
 * open in this process.
 */
#include "store/sql/sql.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------ open positions */

void open_encode(struct buf *b, const int64_t *seq, size_t n)
{
    int64_t before = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t delta = (uint64_t)(seq[i] - before);
        for (; delta > 127; delta >>= 7)
            buf_char(b, (char)(delta | 128));
        buf_char(b, (char)delta);
        before = seq[i];
    }
}

size_t open_decode(struct str blob, int64_t **seq)
{
    const unsigned char *p = (const unsigned char *)blob.p;
    uint64_t delta = 0, before = 0;
    size_t n = 0;
    unsigned shift = 0;

    *seq = mem_alloc((blob.n + 1) * sizeof **seq); /* each takes at least one byte */
    for (size_t i = 0; i < blob.n; i++) {
        delta |= (uint64_t)(p[i] & 127) << shift;
        shift += 7;
        if ((p[i] & 128) && shift < 63)
            continue;
        before += delta;
        (*seq)[n++] = (int64_t)before;
        delta = 0;
        shift = 0;
    }
    return n;
}

int claim_row_write(struct store *s, int64_t claim, int64_t owner, const int64_t *seq, size_t n,
                    struct err *e)
{
    struct buf b = BUF_INIT;

    open_encode(&b, seq, n);
    int got = db_must(s->db, e,
                      SQL("claim_row_write",
                          MUST_CHANGE("UPDATE claim SET first=?,open=? WHERE claim=? AND owner=?")),
                      "ibii", n > 0 ? seq[0] : INT64_MAX, (struct str){b.p, b.n}, claim, owner);
    buf_free(&b);
    return got;
}

int claim_row_delete(struct store *s, int64_t claim, int64_t owner, struct err *e)
{
    return db_must(
        s->db, e,
        SQL("claim_row_delete", MUST_CHANGE("DELETE FROM claim WHERE claim=? AND owner=?")), "ii",
        claim, owner);
}

/* --------------------------------------------------------------------------------------- groups */

int seq_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int patterns_read(struct pattern_list *list, struct str json, struct err *e)
{
    json_t *root = json_loadb(json.p == NULL ? "" : json.p, json.n, 0, NULL), *item;
    size_t i;
    int got = 0;

    json_array_foreach (root, i, item)
        if (got == 0)
            got = pattern_add(list, json_string_value(item) == NULL ? "" : json_string_value(item),
                              e);
    json_decref(root);
    return got;
}

int group_patterns(struct store *s, int64_t grp, struct pattern_list *list, struct err *e)
{
    struct query *q = db_query(
        s->db, e, SQL("group_patterns", "SELECT patterns FROM groups WHERE grp=?"), "i", grp);
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got <= 0)
        return got;
    got = patterns_read(list, db_text(q, 0), e);
    db_done(q);
    return got < 0 ? -1 : 1;
}

/* hint: what the user can do about it, or "". */
int group_unknown(struct store *s, const char *name, const char *hint, struct err *e)
{
    struct query *q =
        db_query(s->db, e, SQL("group_unknown", "SELECT name FROM groups ORDER BY name"), "");
    struct str wanted = str_of(name);
    struct buf best = BUF_INIT;
    size_t distance = wanted.n / 2 + 1;
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        size_t d = str_distance(wanted, db_text(q, 0));
        if (d >= distance)
            continue;
        distance = d;
        buf_reset(&best);
        buf_str(&best, db_text(q, 0));
    }
    if (got == 0 && best.n > 0)
        err_set(e, EX_NOINPUT, "there is no group %s in %s; did you mean %s?%s",
                err_quote_text(name).text, s->name, err_quote(best.p, best.n).text, hint);
    else if (got == 0)
        err_set(e, EX_NOINPUT, "there is no group %s in %s%s", err_quote_text(name).text, s->name,
                hint);
    buf_free(&best);
    return -1;
}

int group_lost(const char *name, struct err *e)
{
    return err_set(e, EX_TEMPFAIL,
                   "a claim of group %s was taken over: other consumers have its events now",
                   err_quote_text(name).text);
}

int group_row(struct store *s, const char *name, int64_t *grp, struct err *e)
{
    int got =
        db_int(s->db, e, grp, SQL("group_row", "SELECT grp FROM groups WHERE name=?"), "t", name);
    return got > 0 ? 0 : got < 0 ? -1 : group_unknown(s, name, "", e);
}

/* Fail if a cursor row is missing, for which a consumer would wait for ever, or lies beyond the
   log's end, so that the group would skip what is published next. A dropped group has no rows,
   which is no error. */
static int no_place(struct store *s, int64_t grp, int priority, struct err *e)
{
    struct query *q =
        db_query(s->db, e, SQL("group_no_place", "SELECT name FROM groups WHERE grp=?"), "i", grp);
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got <= 0)
        return got;
    struct str name = db_text(q, 0);
    err_set(
        e, EX_IOERR,
        "%s: damaged: its table \"cursor\" has no valid position for priority %d of group %s: give "
        "it one with spool group seek",
        s->name, priority, err_quote(name.p, name.n).text);
    db_done(q);
    return -1;
}

int group_cursors(struct store *s, int64_t grp, int64_t cursor[10], struct err *e)
{
    struct query *q = db_query(
        s->db, e, SQL("group_cursors_select_cursor", "SELECT priority,seq FROM cursor WHERE grp=?"),
        "i", grp);
    bool there[10] = {false};
    int64_t last = 0;
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        int64_t priority = db_i64(q, 0);
        if (priority < 0 || priority > 9 || db_kind(q, 1) != DB_INTEGER || db_i64(q, 1) < 0)
            continue;
        cursor[priority] = db_i64(q, 1);
        there[priority] = true;
    }
    /* After the cursors: the log grows, and prune leaves its newest event. */
    if (got == 0)
        got = log_last(s, &last, e);
    for (int i = 0; i < 10 && got >= 0; i++)
        there[i] &= cursor[i] <= last;
    got = got < 0 ? -1 : 0;
    for (int i = 0; i < 10 && got == 0; i++)
        if (!there[i])
            return no_place(s, grp, i, e);
    return got;
}

int64_t group_passed(const int64_t cursor[10], int64_t priority)
{
    return cursor[priority >= 0 && priority <= 9 ? priority : EVENT_PRIORITY];
}

/* A growing list of positions. */
struct positions {
    int64_t *seq;
    size_t n, room;
};

static void add_position(struct positions *p, int64_t seq)
{
    if (p->n == p->room) {
        p->room = p->room == 0 ? 64 : p->room * 2;
        p->seq = mem_grow(p->seq, p->room, sizeof *p->seq);
    }
    p->seq[p->n++] = seq;
}

static int add_claimed(struct store *s, int64_t grp, struct positions *all, struct err *e)
{
    struct query *q = db_query(
        s->db, e, SQL("group_add_claimed", "SELECT open FROM claim WHERE grp=?"), "i", grp);
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 0), &open);
        for (size_t i = 0; i < n; i++)
            add_position(all, open[i]);
        free(open);
    }
    return got;
}

int group_remembered(struct store *s, int64_t grp, bool due, int64_t **seq, size_t *n,
                     struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("group_remembered", "SELECT seq FROM item i WHERE grp=?1 AND ((state=0 AND (due<=?2 OR "
                                "?3<>0)) OR (state=2 AND ?3<>0)) AND NOT " ITEM_EXPIRED("?2")),
        "iii", grp, clock_now_ms(), (int64_t)!due);
    struct positions all = {NULL, 0, 0};
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0)
        add_position(&all, db_i64(q, 0));
    if (got == 0 && !due)
        got = add_claimed(s, grp, &all, e);
    if (all.n > 1)
        qsort(all.seq, all.n, sizeof *all.seq, seq_compare);
    *seq = all.seq;
    *n = all.n;
    return got;
}

/*
 * How a person changes a group's place in the log, its patterns and its order. Each change raises
 * the group's rev, so that a claim that was prepared before the change is prepared again.
 */
#include "store/sql/group.h"

#include "base/json.h"
#include "base/point.h"
#include "store/groups.h"

#include <string.h>

static int in_group(const char *name, struct err *e)
{
    return err_at(e, "group %s: ", err_quote_text(name).text);
}

/* ----------------------------------------------------------------------------------------- seek */

/* Creates all rows, because a damaged spool may lack some. */
static int group_place(struct store *s, int64_t grp, int64_t seq, struct err *e)
{
    return db_run(s->db, e, SQL("seek_group_place_delete_cursor", "DELETE FROM cursor WHERE grp=?"),
                  "i", grp) < 0 ||
                   db_run(s->db, e,
                          SQL("seek_group_place_insert_cursor",
                              "INSERT INTO cursor(grp,priority,seq) SELECT ?1,value,?2 "
                              "FROM " DB_PRIORITIES),
                          "ii", grp, seq) < 0
               ? -1
               : 0;
}

/* Outside the write lock: the cost grows with the rows to count, and nobody should wait for it. */
static int count_dropped(struct store *s, int64_t grp, struct group_seek *out, struct err *e)
{
    if (group_idle(s, grp, e) < 0 ||
        db_int(s->db, e, &out->from,
               SQL("seek_count_dropped_select_cursor",
                   "SELECT seq+1 FROM cursor WHERE grp=? AND priority=5"),
               "i", grp) < 0 ||
        db_int(s->db, e, &out->waiting,
               SQL("seek_count_rows", "SELECT count(*) FROM item WHERE grp=? AND state<>3"), "i",
               grp) < 0 ||
        db_int(s->db, e, &out->dead,
               SQL("seek_count_open",
                   "SELECT count(*) FROM item" BY_ITEM_DEAD " WHERE grp=? AND state=3 AND seq>=?"),
               "ii", grp, out->to) < 0)
        return -1;
    return 0;
}

static int seek_look(struct store *s, int64_t grp, struct group_seek *out, struct err *e)
{
    if (db_begin_read(s->db, e) < 0)
        return -1;
    int got = count_dropped(s, grp, out, e);
    db_rollback(s->db);
    return got;
}

/* The next rows of a group below a position, the last first. */
struct rows {
    int64_t seq[DB_ROWS], state[DB_ROWS];
    size_t n;
};

static int rows_below(struct store *s, int64_t grp, int64_t below, struct rows *r, struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("seek_rows_below", "SELECT seq,state FROM item WHERE grp=? AND seq<? ORDER BY seq DESC "
                               "LIMIT ?"),
        "iii", grp, below, (int64_t)DB_ROWS);
    int got = -1;

    r->n = 0;
    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        r->seq[r->n] = db_i64(q, 0);
        r->state[r->n++] = db_i64(q, 1);
    }
    return got;
}

/*
 * From the last row down, so that the group is consistent wherever this ends: forgotten events are
 * delivered again from the log, and in an ordered group no row loses the row that it stands behind.
 * In the other direction, a kill would leave events that are neither ahead nor remembered.
 */
static int forget_rows(struct store *s, int64_t grp, int64_t to, int64_t *below, struct err *e)
{
    int64_t again = INT64_MAX, changed = 0;
    struct rows r;
    size_t i;
    int got = rows_below(s, grp, *below, &r, e);

    for (i = 0; i < r.n && got >= 0 && changed < DB_ROWS; i++) {
        *below = r.seq[i];
        if (r.state[i] == ITEM_DEAD && r.seq[i] < to)
            continue;
        if ((got = item_forget(s, grp, false, r.seq[i], e)) > 0)
            changed += got;
        if (r.seq[i] >= to)
            again = r.seq[i];
    }
    if (got < 0 ||
        db_run(s->db, e,
               SQL("seek_forget_rows", "UPDATE cursor SET seq=" LESSER("seq", "?") " WHERE grp=?"),
               "ii", again - 1, grp) < 0)
        return -1;
    return i == r.n && r.n < DB_ROWS;
}

/* The caller gives claims back first, which adds rows: 0 while there are such claims. Claims that
   belong to no consumer and no lease can only be damage, and nobody would give them back: delete
   them. 1 when no claim is left, 0, -1. */
static int seek_forget_claims(struct store *s, int64_t grp, struct err *e)
{
    int64_t one;
    int got = db_int(s->db, e, &one,
                     SQL("seek_forget_claims_select_claim",
                         "SELECT 1 FROM claim c" BY_CLAIM_OWNER " WHERE c.grp=?1 AND (c.lease IS "
                         "NOT NULL AND c.boot IS NOT NULL OR EXISTS(SELECT 1 FROM consumer k WHERE "
                         "k.owner=c.owner AND k.grp=?1)) LIMIT 1"),
                     "i", grp);

    if (got != 0)
        return got < 0 ? -1 : 0;
    got = db_run(s->db, e,
                 SQL("seek_forget_claims_delete_claim",
                     "DELETE FROM claim WHERE claim IN (SELECT claim FROM claim" BY_CLAIM_OWNER
                     " WHERE grp=? LIMIT ?)"),
                 "ii", grp, (int64_t)DB_ROWS);
    return got < 0 ? -1 : got < DB_ROWS;
}

int group_forget(struct store *s, int64_t grp, int64_t to, int64_t *below, struct err *e)
{
    int got;

    if (group_idle(s, grp, e) < 0 ||
        db_run(s->db, e,
               SQL("seek_group_forget_update_groups", "UPDATE groups SET rev=rev+1 WHERE grp=?"),
               "i", grp) < 0)
        return -1;
    if ((got = seek_forget_claims(s, grp, e)) <= 0) {
        *below = INT64_MAX;
        return got;
    }
    if ((got = forget_rows(s, grp, to, below, e)) <= 0)
        return got;
    got = db_run(
        s->db, e,
        SQL("seek_group_forget_delete_consumer",
            "DELETE FROM consumer WHERE owner IN (SELECT owner FROM consumer" BY_CONSUMER_GROUP
            " WHERE grp=? LIMIT ?)"),
        "ii", grp, (int64_t)DB_ROWS);
    return got < 0 ? -1 : got < DB_ROWS;
}

/* 1 when the group has arrived, 0 when there is more to do, -1. */
static int move(struct store *s, int64_t grp, int64_t to, int64_t *below, struct err *e)
{
    int got;

    if (db_begin(s->db, DB_FULL, e) < 0)
        return -1;
    if ((got = group_forget(s, grp, to, below, e)) > 0 && group_place(s, grp, to - 1, e) < 0)
        got = -1;
    if (got < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, got > 0, e) < 0 ? -1 : got;
}

int group_seek(struct store *s, const char *name, const struct point *point, bool dry_run,
               struct group_seek *out, struct err *e)
{
    int64_t grp, below = INT64_MAX;
    int got = 0;

    *out = (struct group_seek){0};
    if (group_row(s, name, &grp, e) < 0 || log_start(s, point, &out->to, e) < 0)
        return -1;
    if (seek_look(s, grp, out, e) < 0)
        return in_group(name, e);
    while (!dry_run && got == 0) {
        if (group_recover(s, name, e) < 0 || (got = move(s, grp, out->to, &below, e)) < 0)
            return in_group(name, e);
        db_give_way(s->db);
    }
    return 0;
}

/* Move only the cursors of priorities that have events there, as claims do: the cursors that stay
   show where the group began (passed_means in where.c). In an ordered group all cursors move
   together. */
static int move_past(struct store *s, int64_t grp, int64_t seq, struct err *e)
{
    return db_run(
        s->db, e,
        SQL("seek_move_past",
            "UPDATE cursor SET seq=?1 WHERE grp=?2 AND seq<?1 AND (priority=5 OR EXISTS("
            "SELECT 1 FROM groups g WHERE g.grp=?2 AND g.ordered<>0) OR EXISTS(SELECT 1 FROM "
            "event e" BY_EVENT_PRIORITY " WHERE e.priority=cursor.priority AND "
            "e.priority<>5 AND e.seq>cursor.seq AND e.seq<=?1))"),
        "ii", seq, grp);
}

static int count_passed(struct store *s, int64_t grp, const struct group_passed *p, struct err *e)
{
    return db_run(
        s->db, e,
        SQL("seek_count_passed",
            "INSERT INTO tally(grp,type,done,retried,dead,deferred,took) VALUES(?,?,?,0,0,0,"
            "0)" ADD_UP("grp,type", "done=tally.done+excluded.done")),
        "iti", grp, p->type, p->done);
}

int group_pass(struct store *s, const char *name, int64_t seq, const struct group_passed *passed,
               size_t n, struct err *e)
{
    int64_t grp;
    int moved, got;

    if (group_row(s, name, &grp, e) < 0 || db_begin(s->db, DB_NORMAL, e) < 0)
        return -1;
    got = moved = move_past(s, grp, seq, e);
    for (size_t i = 0; i < n && got >= 0; i++)
        if (passed[i].done > 0)
            got = count_passed(s, grp, &passed[i], e);
    if (got < 0 ||
        db_run(s->db, e, SQL("seek_group_pass", "UPDATE groups SET rev=rev+1,seen=? WHERE grp=?"),
               "ii", clock_now_ms(), grp) < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, moved > 0, e);
}

/* ------------------------------------------------------------------------------------ the order */

/*
 * A change of the order takes several transactions of about a thousand rows, and each of them
 * leaves a group that can be used. While the rows of an ordered group are not in order, its column
 * ordered is 2, and its next consumer puts them in order first (order_sort).
 */
struct reorder {
    struct store *s;
    int64_t grp;
    bool ordered;
    int64_t priority; /* the next priority whose events must be remembered; 10: all are done */
    int64_t behind;   /* the last row that is in its place */
};

/* Pass the next thousand events of a priority, up to last, and remember those that match. */
static int pass_some(struct reorder *r, int64_t last, struct err *e)
{
    struct pattern_list types = {NULL, 0};
    int64_t cursor[10] = {0};
    struct query *q = NULL;
    int got = -1, rows = 0;

    if (group_patterns(r->s, r->grp, &types, e) > 0 && group_cursors(r->s, r->grp, cursor, e) == 0)
        q = log_of_priority(r->s, r->priority, cursor[r->priority], last, e);
    while (q != NULL && (got = db_row(r->s->db, q, e)) > 0) {
        cursor[r->priority] = db_i64(q, 0);
        rows++;
        if (pattern_any(&types, db_text(q, 1)) &&
            db_run(r->s->db, e,
                   SQL("seek_pass_some_insert_item",
                       "INSERT INTO item(grp,seq,state,due,attempts,deaths) VALUES(?,?,0,?,0,0) "
                       "ON CONFLICT DO NOTHING"),
                   "iii", r->grp, cursor[r->priority], db_i64(q, 3)) < 0) {
            got = -1;
            break;
        }
    }
    db_done(q);
    pattern_free(&types);
    if (got < 0 ||
        db_run(r->s->db, e,
               SQL("seek_pass_some_update_cursor",
                   "UPDATE cursor SET seq=? WHERE grp=? AND priority=?"),
               "iii", rows == LOG_PAGE ? cursor[r->priority] : last, r->grp, r->priority) < 0)
        return -1;
    r->priority += rows < LOG_PAGE;
    return rows;
}

/* An ordered group has one place in the log, not one for each priority. It is the furthest one;
   events that the other priorities had not reached are remembered one by one. 1 when all priorities
   are at that place, 0, -1. */
static int pass(struct reorder *r, struct err *e)
{
    int64_t last = 0;
    int rows = 0, got = 0;

    if (db_int(r->s->db, e, &last, SQL("seek_pass", "SELECT max(seq) FROM cursor WHERE grp=?"), "i",
               r->grp) < 0)
        return -1;
    while (r->priority < 10 && rows < DB_ROWS && got >= 0)
        rows += got = pass_some(r, last, e);
    return got < 0 ? -1 : r->priority == 10;
}

/* Free the rows of a group that is no longer ordered: no row stands behind another. */
static int loosen(struct reorder *r, struct err *e)
{
    int64_t last = 0;
    int got =
        db_int(r->s->db, e, &last,
               SQL("seek_loosen_select_item",
                   "SELECT max(seq) FROM (SELECT seq FROM item WHERE grp=? AND seq>? ORDER BY "
                   "seq LIMIT ?) x"),
               "iii", r->grp, r->behind, (int64_t)DB_ROWS);
    if (got <= 0)
        return got < 0 ? -1 : 1;
    got = db_run(
        r->s->db, e,
        SQL("seek_loosen_update_item",
            "UPDATE item SET subject=NULL,state=CASE state WHEN 2 THEN 0 ELSE state END WHERE "
            "grp=? AND seq>? AND seq<=?"),
        "iii", r->grp, r->behind, last);
    r->behind = last;
    return got < 0 ? -1 : got < DB_ROWS;
}

static int set_order(struct reorder *r, int64_t ordered, struct err *e)
{
    return db_run(r->s->db, e,
                  SQL("seek_set_order", "UPDATE groups SET ordered=?,rev=rev+1 WHERE grp=?"), "ii",
                  ordered, r->grp);
}

/* In a transaction: 1 when the order is as wanted; 0 when there is more to do; -1. */
static int change_order(struct reorder *r, struct err *e)
{
    int64_t now = 0;
    int got = 1;

    if (db_int(r->s->db, e, &now,
               SQL("seek_change_order", "SELECT ordered FROM groups WHERE grp=?"), "i", r->grp) < 0)
        return -1;
    if (now == r->ordered)
        return 1;
    if (group_idle(r->s, r->grp, e) < 0 || (now == 0 && (got = pass(r, e)) <= 0))
        return got == 0 ? 0 : -1;
    if (set_order(r, 2, e) < 0 ||
        (got = r->ordered ? order_sort(r->s, r->grp, &r->behind, e) : loosen(r, e)) < 0)
        return -1;
    return got > 0 && set_order(r, r->ordered, e) < 0 ? -1 : got;
}

/* ------------------------------------------------------------------------------------------ set */

static int change_types(struct store *s, int64_t grp, const struct pattern_list *types,
                        struct err *e)
{
    struct buf json = BUF_INIT;

    for (size_t i = 0; i < types->n; i++) {
        buf_char(&json, i == 0 ? '[' : ',');
        js_quote(&json, str_of(types->item[i]));
    }
    buf_char(&json, ']');
    int got = db_run(s->db, e, SQL("seek_change_types", "UPDATE groups SET patterns=? WHERE grp=?"),
                     "si", (struct str){json.p, json.n}, grp);
    buf_free(&json);
    return got;
}

/* The work of one transaction: 1 when all is done, 0, -1. */
static int change_some(struct reorder *r, const struct group_change *change, struct err *e)
{
    int got = 1;

    if (db_begin(r->s->db, DB_FULL, e) < 0)
        return -1;
    /* The order first: the old patterns decide which events are remembered for it. */
    if ((change->order != GROUP_ORDER_KEEP && (got = change_order(r, e)) < 0) ||
        (got > 0 && change->types.n > 0 && change_types(r->s, r->grp, &change->types, e) < 0) ||
        db_run(r->s->db, e, SQL("seek_change_some", "UPDATE groups SET rev=rev+1 WHERE grp=?"), "i",
               r->grp) < 0) {
        db_rollback(r->s->db);
        return -1;
    }
    return db_commit(r->s->db, true, e) < 0 ? -1 : got;
}

int group_change(struct store *s, const char *name, const struct group_change *change,
                 struct err *e)
{
    struct reorder r = {.s = s, .ordered = change->order == GROUP_ORDERED};
    int got;

    if (group_row(s, name, &r.grp, e) < 0)
        return -1;
    while ((got = change_some(&r, change, e)) == 0)
        db_give_way(s->db);
    return got < 0 ? in_group(name, e) : 0;
}

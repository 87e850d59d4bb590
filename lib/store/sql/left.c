/*
 * What a group has yet to settle.
 *
 * An event moves from ahead of the cursors into a claim, perhaps back and forth between claims and
 * items, and out. It never becomes ahead again. So what is ahead is counted first, in short
 * transactions; then claims and items are counted together, in one transaction: an event that the
 * first count misses is seen by the second.
 *
 * An expired event does not count, although its row stays until its turn would come. An item that
 * is due later cannot have expired: it is due when its event expires at the latest.
 */
#include "store/sql/sql.h"

#include "store/groups.h"

#include <stdlib.h>

struct left {
    struct store *s;
    const struct pattern_list *types;
    int64_t cursor[10], grp, last, most, now;
    struct group_left *out;
};

/* An event that is not yet due does not age. */
static void note_age(struct left *l, int64_t recorded, int64_t due)
{
    int64_t since = due > recorded ? due : recorded;

    if (since <= l->now && (l->out->oldest_ms == 0 || since < l->out->oldest_ms))
        l->out->oldest_ms = since;
}

struct query *log_of_priority(struct store *s, int64_t priority, int64_t behind, int64_t last,
                              struct err *e)
{
    if (priority == EVENT_PRIORITY)
        return db_query(
            s->db, e,
            SQL("left_of_normal_priority",
                "SELECT seq,type,recorded,due,expires FROM event WHERE seq>? AND seq<=? AND "
                "priority=5 ORDER BY seq LIMIT 1000"),
            "ii", behind, last);
    return db_query(s->db, e,
                    SQL("left_of_priority",
                        "SELECT seq,type,recorded,due,expires FROM event" BY_EVENT_PRIORITY
                        " WHERE "
                        "priority=? AND priority<>5 AND seq>? AND seq<=? ORDER BY seq LIMIT 1000"),
                    "iii", priority, behind, last);
}

static int count_ahead(struct left *l, int64_t priority, struct err *e)
{
    int64_t behind = l->cursor[priority], expires;
    int got, rows;

    do {
        struct query *q = log_of_priority(l->s, priority, behind, l->last, e);
        got = -1;
        for (rows = 0; q != NULL && (got = db_row(l->s->db, q, e)) > 0; rows++) {
            if (db_i64(q, 0) <= behind) {
                db_done(q);
                return log_disorder(l->s, behind, e);
            }
            behind = db_i64(q, 0);
            expires = db_i64(q, 4);
            if (!pattern_any(l->types, db_text(q, 1)) || (expires != 0 && expires <= l->now))
                continue;
            note_age(l, db_i64(q, 2), db_i64(q, 3));
            if (l->out->ahead++ < l->most)
                continue;
            db_done(q);
            return 0;
        }
    } while (got == 0 && rows == LOG_PAGE);
    return got;
}

/* Positions in a claim are not in order of age, but the first is close enough to the oldest. */
static int count_claims(struct left *l, struct err *e)
{
    struct query *q = db_query(
        l->s->db, e,
        SQL("left_count_claims", "SELECT c.open,e.recorded,e.due FROM claim c LEFT JOIN event e ON "
                                 "e.seq=c.first WHERE c.grp=? AND c.first<=?"),
        "ii", l->grp, l->last);
    int got = -1;

    while (q != NULL && (got = db_row(l->s->db, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 0), &open);
        for (size_t i = 0; i < n; i++)
            l->out->in_flight += open[i] <= l->last;
        free(open);
        if (!db_null(q, 1))
            note_age(l, db_i64(q, 1), db_i64(q, 2));
    }
    return got;
}

static int count_items(struct left *l, struct err *e)
{
    return db_int(l->s->db, e, &l->out->due, SQL("left_items_due", COUNT_DUE), "iii", l->grp,
                  l->now, l->last) < 0 ||
                   db_int(l->s->db, e, &l->out->waiting, SQL("left_items_later", COUNT_LATER),
                          "iii", l->grp, l->now, l->last) < 0
               ? -1
               : 0;
}

static int count_dead(struct left *l, struct err *e)
{
    return db_int(l->s->db, e, &l->out->dead,
                  SQL("left_count_dead", "SELECT count(*) FROM item" BY_ITEM_DEAD " WHERE "
                                         "grp=? AND state=3 AND seq<=?"),
                  "ii", l->grp, l->last) < 0
               ? -1
               : 0;
}

static int note_oldest(struct left *l, struct err *e)
{
    struct query *q =
        db_query(l->s->db, e,
                 SQL("left_note_oldest",
                     "SELECT e.recorded,e.due FROM item i" THEN_JOIN "event e ON e.seq=i.seq WHERE "
                     "i.grp=?1 AND i.state IN (0,2) AND i.seq<=?2 AND coalesce(e.due,0)<=?3 AND "
                     "(e.expires IS NULL OR e.expires>?3) ORDER BY i.seq LIMIT 1"),
                 "iii", l->grp, l->last, l->now);
    int got = q == NULL ? -1 : db_row(l->s->db, q, e);

    if (got <= 0)
        return got;
    note_age(l, db_i64(q, 0), db_i64(q, 1));
    db_done(q);
    return 0;
}

static int count_remembered(struct left *l, bool brief, struct err *e)
{
    if (db_begin_read(l->s->db, e) < 0)
        return -1;
    int got = count_claims(l, e) < 0 || count_items(l, e) < 0 ||
                      (!brief && (count_dead(l, e) < 0 || note_oldest(l, e) < 0))
                  ? -1
                  : 0;
    db_rollback(l->s->db);
    return got;
}

static int count(struct left *l, bool brief, struct err *e)
{
    int got = group_cursors(l->s, l->grp, l->cursor, e);

    *l->out = (struct group_left){0};
    for (int64_t i = 0; i < 10 && got == 0 && l->out->ahead <= l->most; i++)
        got = count_ahead(l, i, e);
    return got < 0 ? -1 : count_remembered(l, brief, e);
}

int left_count(struct store *s, int64_t grp, const struct pattern_list *types, int64_t last,
               int64_t most, struct group_left *out, struct err *e)
{
    struct left l = {.s = s,
                     .types = types,
                     .grp = grp,
                     .last = last,
                     .most = most,
                     .now = clock_now_ms(),
                     .out = out};
    return count(&l, true, e);
}

int group_left(struct store *s, const char *name, int64_t last, bool any, struct group_left *out,
               struct err *e)
{
    struct pattern_list types = {NULL, 0};
    struct left l = {.s = s,
                     .types = &types,
                     .last = last == 0 ? INT64_MAX : last,
                     .most = any ? 0 : INT64_MAX - 1,
                     .now = clock_now_ms(),
                     .out = out};
    int got = group_row(s, name, &l.grp, e) < 0 || group_patterns(s, l.grp, &types, e) < 0
                  ? -1
                  : count(&l, false, e);

    pattern_free(&types);
    return got;
}

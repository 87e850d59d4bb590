/*
 * A transaction: see txn_begin in store.h. A store has one at a time.
 */
#include "store/sql/sql.h"

#define CLOCK_STEP_MS 60000 /* a clock that goes back less than this is smoothed over */

/* What is appended unasked comes after our last event, if that is still the log's last: one look
   less. */
static int trust_end(struct txn *t, struct err *e)
{
    t->first = t->last = t->s->end;
    t->recorded = t->s->end_ms;
    return db_must(t->s->db, e,
                   SQL("txn_trust_end",
                       MUST_FIND("FROM event WHERE seq=(SELECT seq FROM event WHERE seq<=? ORDER "
                                 "BY seq DESC LIMIT 1) AND seq=?")),
                   "ii", LOG_BOUND, t->s->end);
}

/* Where the log ends, and when: what is appended comes after that. */
static int look_for_end(struct txn *t, struct err *e)
{
    struct query *q =
        db_query(t->s->db, e,
                 SQL("txn_find_end",
                     "SELECT seq,recorded FROM event WHERE seq<=? ORDER BY seq DESC LIMIT 1"),
                 "i", LOG_BOUND);
    int got = q == NULL ? -1 : db_row(t->s->db, q, e);

    if (got < 0)
        return -1;
    t->first = t->last = got > 0 ? db_i64(q, 0) : 0;
    t->recorded = got > 0 ? db_i64(q, 1) : t->terms.now_ms;
    db_done(q);
    t->s->alone = t->s->wrote && t->last == t->s->end;
    return 0;
}

static int find_end(struct txn *t, struct err *e)
{
    if ((t->terms.unasked && t->s->alone ? trust_end(t, e) : look_for_end(t, e)) < 0)
        return -1;
    if (t->terms.now_ms >= t->recorded)
        t->recorded = t->terms.now_ms;
    else if (t->recorded - t->terms.now_ms > CLOCK_STEP_MS)
        t->recorded = t->segment_ms = t->terms.now_ms;
    return 0;
}

static enum db_sync sync_of(enum txn_kind kind)
{
    return kind == TXN_LIGHT ? DB_NORMAL : kind == TXN_GRANT ? DB_GRANT : DB_FULL;
}

int txn_begin(struct store *s, enum txn_kind kind, const struct log_terms *terms, struct txn **out,
              struct err *e)
{
    struct txn *t = &s->txn;
    bool appends = kind == TXN_PUBLISH || kind == TXN_APPEND;
    int64_t room = INT64_MAX;

    /* A bulk publisher that takes the lock again at once would keep a single publish waiting for a
       second: let waiting processes have the lock. */
    if (kind == TXN_PUBLISH && s->wrote)
        db_give_way(s->db);
    if ((kind == TXN_PUBLISH && db_room(s->db, &room, e) < 0) ||
        db_begin(s->db, sync_of(kind), e) < 0)
        return -1;
    *t = (struct txn){.s = s, .room = room, .segment_ms = DB_NONE};
    if (terms != NULL)
        t->terms = *terms;
    else
        t->terms.now_ms = clock_now_ms();
    if (appends && find_end(t, e) < 0) {
        db_rollback(s->db);
        return -1;
    }
    s->wrote |= appends;
    *out = t;
    return 0;
}

int txn_commit(struct txn *t, struct err *e)
{
    int got = db_commit(t->s->db, t->wake || t->last > t->first, e);

    if (got < 0 && t->settles != NULL && db_missed(t->s->db))
        return group_lost(t->settles, e);
    if (got == 0 && t->last > 0) { /* it appends */
        t->s->end = t->last;
        t->s->end_ms = t->recorded;
    } else if (got < 0) {
        t->s->alone = false;
    }
    if (got == 0 && t->then != NULL)
        t->then(t->arg);
    return got;
}

void txn_rollback(struct txn *t)
{
    db_rollback(t->s->db);
}

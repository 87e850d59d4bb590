/*
 * What a claim writes, in one transaction: it moves the cursors, marks the items, and adds the row
 * of the claim, together with what was noted when it was prepared: events set aside, dead, or gone.
 * Each statement checks that what was seen still holds.
 */
#include "store/group.h"
#include "store/sql/group.h"

#include <stdlib.h>

/* Each returns 1, 0 when what was seen no longer holds, -1. */
static int take_group(struct group *g, int64_t now, struct err *e)
{
    return db_must(g->s->db, e,
                   SQL("claim_take_group",
                       MUST_FIND("FROM groups WHERE grp=? AND rev=? AND paused=0 AND hold<=?")),
                   "iii", g->grp, g->rev, now);
}

static int take_cursors(struct group *g, struct err *e)
{
    int got = 1;

    for (int i = 0; i < 10 && got > 0; i++)
        if (g->moved[i] != g->cursor[i])
            got = db_must(
                g->s->db, e,
                SQL("claim_take_cursors",
                    MUST_CHANGE("UPDATE cursor SET seq=? WHERE grp=? AND priority=? AND seq=?")),
                "iiii", g->moved[i], g->grp, (int64_t)i, g->cursor[i]);
    return got;
}

static int set_dead(struct group *g, int64_t seq, int64_t now, struct err *e)
{
    if (db_later(g->s->db, e,
                 SQL("claim_set_dead",
                     "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) "
                     "VALUES(?1,?2,3,?3,0,0," ITEM_SUBJECT(
                         "?2", "?4") ") ON CONFLICT(grp,seq) DO UPDATE SET state=3,due=?3"),
                 "iiii", g->grp, seq, now, (int64_t)g->ordered) < 0)
        return -1;
    return g->ordered ? order_free(g->s, g->grp, seq, e) : 0;
}

/* Add a row for an event that the cursor passes but that may not be claimed yet: it is not due, or
   it stands behind an earlier event of its subject, if that is still so. It is the last of its
   subject, so no other row changes its place. A damaged spool may have the row already. */
static int set_aside(struct group *g, int64_t seq, int64_t due, struct err *e)
{
    return db_later(
        g->s->db, e,
        SQL("claim_set_aside",
            "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) SELECT ?1,?2,CASE WHEN "
            "?4<>0 AND EXISTS(SELECT 1 FROM item i" BY_ITEM_SUBJECT " WHERE i.grp=?1 AND "
            "i.subject=e.subject AND i.state<>3 AND i.seq<?2) THEN 2 ELSE 0 END," LESSER(
                "?3",
                "coalesce(expires,?3)") ",0,0,CASE WHEN ?4<>0 THEN e.subject END FROM event e "
                                        "WHERE e.seq=?2 ON CONFLICT(grp,seq) DO NOTHING"),
        "iiii", g->grp, seq, due, (int64_t)g->ordered);
}

/* Does the item still wait, neither claimed nor buried by another consumer? 1, 0, -1. */
static int still_waits(struct group *g, int64_t seq, struct err *e)
{
    int64_t one;
    return db_int(g->s->db, e, &one,
                  SQL("claim_still_waits", "SELECT 1 FROM item WHERE grp=? AND seq=? AND state=0"),
                  "ii", g->grp, seq);
}

/* Forget an item whose event is gone or has expired, unless another consumer has claimed it. */
static int take_gone(struct group *g, int64_t seq, struct err *e)
{
    int got = still_waits(g, seq, e);
    return got > 0 ? item_forget(g->s, g->grp, g->ordered, seq, e) : got;
}

static int take_notes(struct group *g, struct txn *t, struct err *e)
{
    int64_t now = t->terms.now_ms;
    struct group_settle damaged = {.started_ms = now, .reason = "damaged in the spool"};
    int got;

    for (size_t i = 0; i < g->later.n; i++)
        if (set_aside(g, g->later.note[i].seq, g->later.note[i].value, e) < 0)
            return -1;
    /* A broken row must not be read here: the error would prevent the commit. Nothing is known of
       the event anyway. */
    for (size_t i = 0; i < g->damage.n; i++) {
        int64_t seq = g->damage.note[i].seq;
        if (g->damage.note[i].value == DAMAGED_ITEM && (got = still_waits(g, seq, e)) <= 0)
            return got;
        if (set_dead(g, seq, now, e) < 0 || attempt_add(g, seq, &damaged, e) < 0 ||
            (g->damage.note[i].value != DAMAGED_BROKEN &&
             death_tell_seq(g, t, seq, damaged.reason, e) < 0))
            return -1;
    }
    for (size_t i = 0; i < g->gone.n; i++)
        if (take_gone(g, g->gone.note[i].seq, e) < 0)
            return -1;
    for (size_t i = 0; i < g->dying.n; i++) {
        int64_t seq = g->dying.note[i].seq;
        if ((got = still_waits(g, seq, e)) <= 0)
            return got;
        if (set_dead(g, seq, now, e) < 0 || death_tell_seq(g, t, seq, "its consumer died", e) < 0)
            return -1;
    }
    return 1;
}

static int take_items(struct group *g, struct claim *c, struct err *e)
{
    int got = 1;

    for (size_t i = 0; i < c->n && got > 0; i++)
        if (c->held[i].item)
            got = db_must(
                g->s->db, e,
                SQL("claim_take_items",
                    MUST_CHANGE("UPDATE item SET state=1 WHERE grp=? AND seq=? AND state=0")),
                "ii", g->grp, c->page.entry[i].seq);
    return got;
}

static int take_lease(struct group *g, int64_t first, struct str open, int64_t *id, struct err *e)
{
    struct lease_clock now;

    lease_now(g->s->db, &now);
    return db_insert(g->s->db, e, id,
                     SQL("claim_take_lease",
                         "INSERT INTO claim(grp,owner,first,open,lease,term,boot,made) "
                         "VALUES(?,?,?,?,?,?,?,?)" RETURNING_ID("claim")),
                     "iiibiiti", g->grp, g->hand, first, open, now.ms + g->lease_ms, g->lease_ms,
                     now.epoch, clock_now_ms());
}

static int take_claim(struct group *g, struct claim *c, struct err *e)
{
    struct buf b = BUF_INIT;
    size_t n;
    int got;

    if (c->n == 0)
        return 1;
    int64_t *seq = claim_seqs(c, &n);
    open_encode(&b, seq, n);
    struct str open = {b.p, b.n};
    if (g->lease_ms == 0)
        got = db_insert(
            g->s->db, e, &c->id,
            SQL("claim_take_claim",
                "INSERT INTO claim(grp,owner,first,open,made) VALUES(?,?,?,?,?)" RETURNING_ID(
                    "claim")),
            "iiibi", g->grp, g->hand, seq[0], open, clock_now_ms());
    else
        got = take_lease(g, seq[0], open, &c->id, e);
    free(seq);
    buf_free(&b);
    return got < 0 ? -1 : 1;
}

int claim_write(struct group *g, struct claim *c, const struct group_settle *settle, size_t n,
                const char **table, struct err *e)
{
    bool appends = g->damage.n > 0 || g->dying.n > 0;
    struct txn *t;
    int got;

    if (txn_begin(g->s, appends ? TXN_APPEND : TXN_GRANT, NULL, &t, e) < 0)
        return -1;
    *table = "groups";
    if ((got = take_group(g, t->terms.now_ms, e)) > 0 && (got = pace_take(g, c->n, e)) > 0) {
        *table = "cursor";
        if ((got = take_cursors(g, e)) > 0) {
            *table = "item";
            if ((got = take_notes(g, t, e)) > 0 && (got = take_items(g, c, e)) > 0)
                got = take_claim(g, c, e);
        }
    }
    /* Last, once the claim is sure: it changes what this process knows, which a rollback does not
       undo. */
    if (got > 0 && n > 0 && (db_await(g->s->db, e) < 0 || txn_settle(t, g, settle, n, e) < 0))
        got = -1;
    if (got > 0)
        got = txn_commit(t, e) < 0 ? -1 : 1;
    else
        txn_rollback(t);
    if (got < 0 && db_missed(g->s->db))
        return err_clear(e), 0;
    if (got <= 0)
        return got;
    g->damaged += (int64_t)g->damage.n;
    g->buried += (int64_t)g->dying.n;
    return 1;
}

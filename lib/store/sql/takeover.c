/*
 * A group takes over from its consumers that died: what they had claimed goes back to the group,
 * and each death is remembered with the event, which may have caused it.
 */
#include "base/json_tree.h"
#include "store/group.h"
#include "store/sql/group.h"

#include <stdlib.h>

/* Give the event back; blame: it may have caused the death. */
static int give_back(struct group *g, int64_t seq, bool blame, int64_t now, struct err *e)
{
    /* From the second death on, a death counts as an attempt, and is recorded as one. */
    if (blame &&
        db_later(
            g->s->db, e,
            SQL("takeover_give_back_insert_attempt",
                "INSERT INTO attempt(grp,seq,n,time,took,status,reason,tail) SELECT "
                "grp,seq,(SELECT coalesce(max(n),0)+1 FROM attempt WHERE grp=?1 AND seq=?2),?3,0,0,"
                "'its consumer died'," NO_BYTES " FROM item WHERE grp=?1 AND seq=?2 AND deaths>0"),
            "iii", g->grp, seq, now) < 0)
        return -1;
    if (db_later(g->s->db, e,
                 SQL("takeover_give_back_insert_item",
                     "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) "
                     "VALUES(?1,?2,0,?3,0,?5," ITEM_SUBJECT(
                         "?2", "?4") ") ON CONFLICT(grp,seq) DO UPDATE SET state=0,due=?3,"
                                     "deaths=item.deaths+?5,attempts=item.attempts+CASE WHEN "
                                     "item.deaths>0 THEN ?5 ELSE 0 END"),
                 "iiiii", g->grp, seq, now, (int64_t)g->ordered, (int64_t)blame) < 0)
        return -1;
    return g->ordered ? order_place(g->s, g->grp, seq, e) : 0;
}

static int tell_takeover(struct group *g, struct txn *t, int64_t pid, size_t events, struct err *e)
{
    return sys_put(t, "sys.group.taken-over", g->name, NULL,
                   json_pack("{s:o,s:I,s:I}", "group", tree_text(str_of(g->name)), "pid",
                             (json_int_t)pid, "events", (json_int_t)events),
                   e);
}

/* Give one claim of a dead owner back to the group, unless its events would make this transaction
   larger than DB_ROWS. Returns 1; 0 when the owner has no claim; 2 when the claim must wait; -1. */
static int inherit_claim(struct group *g, const struct session *dead, int64_t now, size_t *rows,
                         struct err *e)
{
    struct query *q =
        db_query(g->s->db, e,
                 SQL("takeover_inherit_claim_select_claim",
                     "SELECT claim,open FROM claim" BY_CLAIM_OWNER " WHERE grp=? AND owner=? "
                     "LIMIT 1"),
                 "ii", g->grp, dead->owner);
    int got = q == NULL ? -1 : db_row(g->s->db, q, e);
    int64_t *open, claim;

    if (got <= 0)
        return got;
    claim = db_i64(q, 0);
    size_t n = open_decode(db_text(q, 1), &open);
    db_done(q);
    bool blame = !session_blameless(g->s->db, dead);
    bool fits = *rows == 0 || *rows + n <= DB_ROWS;
    for (size_t i = 0; i < n && got >= 0 && fits; i++)
        got = give_back(g, open[i], blame, now, e);
    free(open);
    if (!fits)
        return 2;
    *rows += n + 1;
    return got < 0 || claim_row_delete(g->s, claim, dead->owner, e) < 0 ? -1 : 1;
}

/* Inside a transaction: give the claims of a dead owner back to the group, and delete the owner's
   row with the last of them. 0; 1 when some claims must wait for the next transaction; -1. */
static int inherit(struct group *g, struct txn *t, const struct session *dead, size_t *rows,
                   struct err *e)
{
    size_t before = *rows, claims = 0;
    int got;

    for (; (got = inherit_claim(g, dead, t->terms.now_ms, rows, e)) == 1; claims++)
        continue;
    size_t events = *rows - before - claims;
    if (got < 0 || (events > 0 && tell_takeover(g, t, dead->pid, events, e) < 0))
        return -1;
    ++*rows;
    return got == 2 ? 1
           : db_run(g->s->db, e, SQL("takeover_inherit", "DELETE FROM consumer WHERE owner=?"), "i",
                    dead->owner) < 0
               ? -1
               : 0;
}

/* Inherit from dead[*at] on, in one transaction of about a thousand rows; afterwards *at is where
   the next transaction begins. What a kill leaves between two of them still belongs to the dead. */
static int inherit_some(struct group *g, const struct session *dead, size_t n, size_t *at,
                        struct err *e)
{
    struct txn *t;
    size_t rows = 0;
    int got = 0;

    if (txn_begin(g->s, TXN_APPEND, NULL, &t, e) < 0)
        return -1;
    while (*at < n && rows < DB_ROWS && (got = inherit(g, t, &dead[*at], &rows, e)) == 0)
        ++*at;
    t->wake = true;
    if (got >= 0)
        return txn_commit(t, e);
    txn_rollback(t);
    return -1;
}

int group_take_over(struct group *g, struct err *e)
{
    struct session *list;
    size_t n, dead = 0;
    int got, trusted;

    got = consumers_others(g->s, g->grp, g->owner, &list, &n, e);
    if (got == 0 && n > 0 && session_open(g->s->db, e) == 0 &&
        (trusted = session_trusted(g->s->db, e)) >= 0) {
        for (size_t i = 0; i < n; i++)
            if (!session_lives(g->s->db, &list[i], trusted))
                list[dead++] = list[i];
        for (size_t at = 0; at < dead && got == 0;)
            got = inherit_some(g, list, dead, &at, e);
    } else if (n > 0) {
        got = -1;
    }
    free(list);
    return got;
}

int group_recover(struct store *s, const char *name, struct err *e)
{
    const struct group_terms terms = {.name = name, .attempts = INT64_MAX};
    struct group *g;
    int got;

    if (group_open(&g, s, &terms, e) < 0)
        return -1;
    got = group_take_over(g, e) < 0 ? -1 : lease_expire(g, e);
    group_close(g);
    return got;
}

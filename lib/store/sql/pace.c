/*
 * When a group may claim the next event: because of its rate, and because of what it waits for.
 *
 * For the rate, all consumers of a group share one number: when the next event may be claimed, in
 * microseconds of wall time. Events of the same twentieth of a second may be claimed together, so
 * that a high rate does not need a commit for each event.
 */
#include "store/sql/group.h"

#include "base/gcra.h"
#include "store/group.h"

#define TOGETHER_US 50000

/* When the next event may be claimed. If that is further ahead than this rate can have set it, the
   clock went back or the rate was slower before: then it is now. */
static struct gcra pace(const struct group *g, int64_t now)
{
    struct gcra p = {g->each_us, 1 + (TOGETHER_US - 1) / g->each_us, g->paced_us};

    if (p.next_us > now + TOGETHER_US + 2 * g->each_us)
        p.next_us = now;
    return p;
}

int pace_allows(struct group *g, size_t *max, struct err *e)
{
    int64_t now = clock_now_us();

    g->pace_ms = 0;
    if (g->each_us == 0)
        return 0;
    g->paced_us = 0;
    if (db_int(g->s->db, e, &g->paced_us,
               SQL("pace_allows", "SELECT paced FROM groups WHERE grp=?"), "i", g->grp) < 0)
        return -1;
    struct gcra p = pace(g, now);
    int64_t n = gcra_free(&p, now);
    g->pace_ms = (gcra_wait(&p, now) + 999) / 1000;
    if ((int64_t)*max > n)
        *max = (size_t)n;
    return 0;
}

int pace_take(struct group *g, size_t n, struct err *e)
{
    int64_t now = clock_now_us();

    if (g->each_us == 0 || n == 0)
        return 1;
    struct gcra p = pace(g, now);
    gcra_take(&p, (int64_t)n, now);
    return db_must(
        g->s->db, e,
        SQL("pace_take", MUST_CHANGE("UPDATE groups SET paced=? WHERE grp=? AND paced=?")), "iii",
        p.next_us, g->grp, g->paced_us);
}

int64_t group_pace_ms(struct group *g)
{
    return g->pace_ms;
}

/* ------------------------------------------------------------------------------ what comes next */

static void no_later(int64_t *wait_ms, int64_t left)
{
    if (left < 0)
        left = 0;
    if (*wait_ms < 0 || left < *wait_ms)
        *wait_ms = left;
}

static int next_lease(struct group *g, int64_t *wait_ms, struct err *e)
{
    struct lease_clock now;
    int64_t lease;

    lease_now(g->s->db, &now);
    int got =
        db_int(g->s->db, e, &lease,
               SQL("pace_next_lease",
                   "SELECT min(lease) FROM claim WHERE grp=? AND boot=? AND lease IS NOT NULL"),
               "it", g->grp, now.epoch);
    if (got > 0)
        no_later(wait_ms, lease - now.ms);
    return got;
}

/* Ignores what was due when we last looked: the claim left it for a reason, and looking again at
   once would not help. */
static int next_due(struct group *g, int64_t last, int64_t *wait_ms, struct err *e)
{
    int64_t due;
    int got = db_int(g->s->db, e, &due,
                     SQL("pace_next_due",
                         "SELECT due FROM item" BY_ITEM_DUE " WHERE grp=? AND state=0 AND due>? "
                         "AND seq<=? ORDER BY "
                         "due LIMIT 1"),
                     "iii", g->grp, g->looked_ms, last == 0 ? INT64_MAX : last);
    if (got > 0)
        no_later(wait_ms, due - clock_now_ms());
    return got;
}

int group_next(struct group *g, int64_t last, int64_t *wait_ms, struct err *e)
{
    int64_t hold = 0;
    int got;

    *wait_ms = -1;
    if (!g->joined || g->alone)
        return 0;
    if (g->ordered &&
        !g->active) { /* the wait for a dead consumer's handlers ends at this time at the latest */
        if (g->leads && g->tail_since_ms != 0 && g->tail_wait_ms != 0)
            no_later(wait_ms, g->tail_since_ms + g->tail_wait_ms - clock_mono_ms());
        return 0;
    }
    /* No time for a paused group: when the pause ends, the bell rings. */
    got = db_int(g->s->db, e, &hold,
                 SQL("pace_group_next", "SELECT hold FROM groups WHERE grp=? AND paused=0"), "i",
                 g->grp);
    if (got <= 0)
        return got;
    if (hold > g->looked_ms) {
        no_later(wait_ms, hold - clock_now_ms());
        return 0;
    }
    return next_lease(g, wait_ms, e) < 0 || next_due(g, last, wait_ms, e) < 0 ? -1 : 0;
}

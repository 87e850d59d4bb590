/*
 * A group's rate: one number that all its consumers share, when the next event may be claimed, in
 * wall microseconds. Events may come together that belong to the same twentieth of a second, so
 * that a high rate is not a commit an event.
 */
#include "sqlite_group.h"

#include "gcra.h"

#define TOGETHER_US 50000

/* Where its consumers have got to. So far ahead that it cannot have been said by this rate: the
   clock went back, or the rate was a slower one. */
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
    if (db_int(g->s, e, &g->paced_us, "SELECT paced FROM groups WHERE grp=?", "i", g->grp) < 0)
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
    return db_run(g->s, e, "UPDATE groups SET paced=? WHERE grp=? AND paced=?", "iii", p.next_us,
                  g->grp, g->paced_us);
}

int64_t group_pace_ms(struct group *g)
{
    return g->pace_ms;
}

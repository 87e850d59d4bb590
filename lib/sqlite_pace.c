/*
 * A group's rate: the generic cell rate algorithm (ITU-T I.371, annex A), on one number that all
 * its consumers share: when the next event may be claimed, in wall microseconds. Events may come
 * together that belong to the same twentieth of a second, so that a high rate is not a commit an
 * event.
 */
#include "sqlite_group.h"

#include <time.h>

#define TOGETHER_US 50000

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t tolerance(const struct group *g)
{
    return g->each_us < TOGETHER_US ? TOGETHER_US - g->each_us : 0;
}

/* Where counting begins now. So far ahead that it cannot have been said by this rate: the clock
   went back, or the rate was a slower one. */
static int64_t begin(const struct group *g, int64_t now)
{
    if (g->paced_us > now + TOGETHER_US + 2 * g->each_us)
        return now;
    return g->paced_us > now ? g->paced_us : now;
}

int pace_allows(struct group *g, size_t *max, struct err *e)
{
    int64_t now = now_us(), free, n;

    g->pace_ms = 0;
    if (g->each_us == 0)
        return 0;
    g->paced_us = 0;
    if (db_int(g->s, e, &g->paced_us, "SELECT paced FROM groups WHERE grp=?", "i", g->grp) < 0)
        return -1;
    free = now + tolerance(g) - begin(g, now);
    n = free < 0 ? 0 : free / g->each_us + 1;
    if (n == 0)
        g->pace_ms = (-free + 999) / 1000;
    if ((int64_t)*max > n)
        *max = (size_t)n;
    return 0;
}

int pace_take(struct group *g, size_t n, struct err *e)
{
    int64_t next = begin(g, now_us()) + (int64_t)n * g->each_us;

    if (g->each_us == 0 || n == 0)
        return 1;
    return db_run(g->s, e, "UPDATE groups SET paced=? WHERE grp=? AND paced=?", "iii", next, g->grp,
                  g->paced_us);
}

int64_t group_pace_ms(struct group *g)
{
    return g->pace_ms;
}

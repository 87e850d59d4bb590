#include "base/gcra.h"

static int64_t begin(const struct gcra *g, int64_t now_us)
{
    return g->next_us > now_us ? g->next_us : now_us;
}

/* The time that events may still take up before one of them has to wait. */
static int64_t slack(const struct gcra *g, int64_t now_us)
{
    return now_us + (g->burst - 1) * g->each_us - begin(g, now_us);
}

int64_t gcra_free(const struct gcra *g, int64_t now_us)
{
    int64_t left = slack(g, now_us);

    return left < 0 ? 0 : left / g->each_us + 1;
}

int64_t gcra_wait(const struct gcra *g, int64_t now_us)
{
    int64_t left = slack(g, now_us);

    return left < 0 ? -left : 0;
}

void gcra_take(struct gcra *g, int64_t n, int64_t now_us)
{
    g->next_us = begin(g, now_us) + n * g->each_us;
}

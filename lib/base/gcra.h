/*
 * gcra: a rate limit whose whole state is one number. Pure; microseconds of any clock.
 *
 * The generic cell rate algorithm (ITU-T I.371, annex A), as a virtual schedule: next_us is when
 * the next event is due if each takes its full time each_us. An event may come early by as much as
 * burst - 1 times each_us.
 */
#ifndef BASE_GCRA_H
#define BASE_GCRA_H

#include <stdint.h>

struct gcra {
    int64_t each_us, burst; /* above 0 */
    int64_t next_us;        /* 0 at first */
};

int64_t gcra_free(const struct gcra *g, int64_t now_us); /* how many events may happen now */
int64_t gcra_wait(const struct gcra *g, int64_t now_us); /* time until one may happen; 0: now */
/* Record n events; those that may not happen now are scheduled in the future. */
void gcra_take(struct gcra *g, int64_t n, int64_t now_us);

#endif

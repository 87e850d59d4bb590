/*
 * gcra: how fast something may happen, on one number. Pure; microseconds of any clock.
 *
 * The generic cell rate algorithm (ITU-T I.371, annex A), as a virtual schedule: next is when the
 * next one is due if each takes its full time. One may come early by as much as burst - 1 of them.
 */
#ifndef GCRA_H
#define GCRA_H

#include <stdint.h>

struct gcra {
    int64_t each_us, burst; /* above 0 */
    int64_t next_us;        /* 0 at first */
};

int64_t gcra_free(const struct gcra *g, int64_t now_us); /* how many may happen at this moment */
int64_t gcra_wait(const struct gcra *g, int64_t now_us); /* until one may; 0: it may now */
/* n of them happen, or will: those that are not free yet have their time in the future. */
void gcra_take(struct gcra *g, int64_t n, int64_t now_us);

#endif

/*
 * backoff: how long to wait before the next attempt. Pure.
 *
 * Exponential with jitter, as in "Exponential Backoff And Jitter" (Amazon Architecture Blog,
 * 2015): the ceiling of attempt n is min(max, base * 2^(n-1)). Full jitter draws from all of
 * [0, ceiling]; equal keeps half of it and draws the other half; none waits the ceiling.
 */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H

#include <stdint.h>

enum backoff_jitter { BACKOFF_FULL, BACKOFF_EQUAL, BACKOFF_NONE };

struct backoff {
    int64_t base_ms, max_ms; /* 0 <= base <= max */
    enum backoff_jitter jitter;
};

/* attempt counts from 1 (below counts as 1); random is 64 uniform bits. No overflow at any n. */
int64_t backoff_ms(const struct backoff *b, int64_t attempt, uint64_t random);

#endif

/*
 * duration: how long, and how often, as people write it.
 *
 * The functions that read return 0, or -1 with 64 and what is wrong, without the option's name.
 */
#ifndef BASE_DURATION_H
#define BASE_DURATION_H

#include "base/err.h"

#include <stdint.h>

/* A number, perhaps with a fraction, and ms, s, m, h or d: "500ms" "30s" "1.5h" "7d"; or a bare 0.
   Allowed are 1ms to 36500d, and 0. */
int duration_read(const char *text, int64_t *ms, struct err *e);

/* A range: "1s..15m", the first not above the second; a single duration is both ends. */
int duration_range(const char *text, int64_t *low_ms, int64_t *high_ms, struct err *e);

/* A rate: a number of times, a slash, and a unit or a duration: "100/s" "5/m" "1/500ms". *each_us
   is the time per event, at least 1 us. */
int duration_rate(const char *text, int64_t *each_us, struct err *e);

/* The functions that write return out. */
#define DURATION_TEXT_SIZE 48

/* A duration for messages, where "0s" or "1s" could be untrue. Below a minute it is exact to the
   millisecond: "250ms", "1.5s", "29.987s"; above, it has the two largest units, truncated:
   "1m30s", "2h", "1d12h". ms is at least 0. */
const char *duration_format(char out[DURATION_TEXT_SIZE], int64_t ms);

/* An age for columns: "3s", "2m", "5h", "3d", in the largest unit that fits, truncated. Negative:
   "-3s". */
const char *duration_age(char out[DURATION_TEXT_SIZE], int64_t ms);

/* "100/s" "5/m" "4/515s" "1/1.001s": a rate that duration_rate reads as each_us again. */
const char *duration_rate_format(char out[DURATION_TEXT_SIZE], int64_t each_us);

#endif

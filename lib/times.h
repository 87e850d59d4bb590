/*
 * times: how long things took, counted in a few classes; from them percentiles, roughly.
 */
#ifndef TIMES_H
#define TIMES_H

#include <stdint.h>

#define TIMES 18
/* Upper ends in milliseconds, included; what took longer is in the last. */
extern const int64_t times_upper[TIMES];

int times_class(int64_t took_ms);
/* The upper end of the class in which this share of all lies (0.5, 0.99); -1: there are none. */
int64_t times_percentile(const int64_t count[TIMES], double share);

#endif

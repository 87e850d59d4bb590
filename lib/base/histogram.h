/*
 * histogram: how long things took, and rough percentiles from it.
 */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM 18
/* The classes' upper bounds in milliseconds, inclusive; the last class holds all that took longer.
 */
extern const int64_t histogram_upper[HISTOGRAM];

int histogram_class(int64_t took_ms);
/* The upper bound of the class that contains this share of all counts (0.5, 0.99); -1 when there
   are no counts. */
int64_t histogram_percentile(const int64_t count[HISTOGRAM], double share);

#endif

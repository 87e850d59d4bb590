/*
 * point: a place in the log, as people name it with --from and --to.
 *
 *     start  now                       the ends of the log
 *     17                               a position (digits alone)
 *     2026-11-21  today  yesterday     midnight, local time
 *     2026-11-21T10:00:00Z             RFC 3339
 *     90m  2h  7d                      this long before now_ms
 */
#ifndef BASE_POINT_H
#define BASE_POINT_H

#include "base/err.h"

#include <stdint.h>

enum point_kind { POINT_START, POINT_END, POINT_SEQ, POINT_TIME };
struct point {
    enum point_kind kind;
    int64_t value; /* POINT_SEQ: the position; POINT_TIME: wall milliseconds */
};

/* 0, or -1 with 64 and the reason. */
int point_read(const char *text, int64_t now_ms, struct point *out, struct err *e);

#endif

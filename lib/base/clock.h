/*
 * clock: the time, and how people write it.
 *
 * Wall time is int64_t milliseconds since 1970-01-01T00:00Z, for times that people read or that
 * must survive a reboot. Durations are measured with clock_mono_ms, a clock that nobody can set.
 * No function reads a clock except the first three and clock_uuid7; the others take the time as an
 * argument.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

/* Each returns the time. */
int64_t clock_now_ms(void);
int64_t clock_now_us(void);  /* the same in microseconds */
int64_t clock_mono_ms(void); /* CLOCK_MONOTONIC: stands still while the machine sleeps */
uint64_t clock_random(void); /* 64 bits from the kernel's generator, read 256 at a time */

#define CLOCK_TEXT_SIZE 48

/* "2026-11-21T10:00:00.123Z", RFC 3339 in UTC with milliseconds. Years outside 0000 to 9999 are
   clamped. Returns out. */
#define CLOCK_MIN_MS INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define CLOCK_MAX_MS INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */
const char *clock_format(char out[CLOCK_TEXT_SIZE], int64_t ms);

/* Read an RFC 3339 date-time: upper or lower case T and Z, any offset, any number of digits after
   the seconds (cut to milliseconds); a leap second becomes the next second. False if text is not a
   date-time. */
bool clock_parse(struct str text, int64_t *ms);

/* An age for columns: "3s", "2m", "5h", "3d", in the largest unit that fits, truncated. Negative:
   "-3s". */
const char *clock_age(char out[CLOCK_TEXT_SIZE], int64_t ms);

/* A duration for messages, where "0s" or "1s" could be untrue. Below a minute it is exact to the
   millisecond: "250ms", "1.5s", "29.987s"; above, it has the two largest units, truncated:
   "1m30s", "2h", "1d12h". ms is at least 0. */
const char *clock_span(char out[CLOCK_TEXT_SIZE], int64_t ms);

/*
 * Durations: a number, perhaps with a fraction, and ms, s, m, h or d: "500ms" "30s" "1.5h" "7d"; or
 * a bare 0. Allowed are 1ms to 36500d, and 0. Ranges: "1s..15m", the first not above the second; a
 * single duration is both ends. Returns 0, or -1 with 64 and what is wrong, without the option's
 * name.
 */
int clock_duration(const char *text, int64_t *ms, struct err *e);
int clock_range(const char *text, int64_t *low_ms, int64_t *high_ms, struct err *e);

/* Rates: a number of times, a slash, and a unit or a duration: "100/s" "5/m" "1/500ms". *each_us is
   the time per event, at least 1 us. Returns 0, or -1 with 64. */
int clock_rate(const char *text, int64_t *each_us, struct err *e);
/* "100/s" "5/m" "4/515s" "1/1.001s": a rate that clock_rate reads as each_us again. */
const char *clock_rate_format(char out[CLOCK_TEXT_SIZE], int64_t each_us);

/*
 * POINT (--from, --to): a place in the log.
 *     start  now                       the ends of the log
 *     17                               a position (digits alone)
 *     2026-11-21  today  yesterday     midnight, local time
 *     2026-11-21T10:00:00Z             RFC 3339
 *     90m  2h  7d                      this long before now_ms
 */
enum clock_point_kind { CLOCK_START, CLOCK_END, CLOCK_SEQ, CLOCK_TIME };
struct clock_point {
    enum clock_point_kind kind;
    int64_t value; /* CLOCK_SEQ: the position; CLOCK_TIME: wall milliseconds */
};
/* 0, or -1 with 64 and the reason. */
int clock_point(const char *text, int64_t now_ms, struct clock_point *out, struct err *e);

/* A new UUIDv7 (RFC 9562 5.7) as text, 36 characters and a NUL. Ids made by one process are in
   order: the 12 bits after the milliseconds count the ids of a millisecond, and the time never goes
   back. */
#define CLOCK_UUID_SIZE 37
void clock_uuid7(char out[CLOCK_UUID_SIZE]);

/* A UUIDv8 (RFC 9562 5.8): milliseconds as in v7, so that the two kinds sort together, and then 74
   bits of digest. For derived ids: the same arguments give the same UUID. */
void clock_uuid8(char out[CLOCK_UUID_SIZE], int64_t ms, const unsigned char digest[10]);

#endif

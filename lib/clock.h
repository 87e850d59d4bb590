/*
 * clock: the time, and how people write it.
 *
 * Wall time is int64_t milliseconds since 1970-01-01T00:00Z and is for what people read and for
 * what must survive a reboot. Durations are measured with clock_mono_ms, which no one can set.
 * Everything but the first three functions is pure: the time comes in as an argument.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include "buf.h"
#include "err.h"

#include <stdint.h>

int64_t clock_now_ms(void);
int64_t clock_now_us(void);  /* the same in microseconds */
int64_t clock_mono_ms(void); /* CLOCK_MONOTONIC: stands still while the machine sleeps */
uint64_t clock_random(void); /* 64 bits from the kernel's generator, 256 a call to it */

#define CLOCK_TEXT_SIZE 32

/* "2026-11-21T10:00:00.123Z", RFC 3339 in UTC with milliseconds. Years outside 0000 to 9999 are
   clamped. Returns out. */
#define CLOCK_MIN_MS INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define CLOCK_MAX_MS INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */
const char *clock_format(char out[CLOCK_TEXT_SIZE], int64_t ms);

/* RFC 3339 date-time, upper or lower case T and Z, any offset, any number of digits behind the
   second (what is beyond milliseconds is cut), a leap second as the next second. False if it is
   none. */
bool clock_parse(struct str text, int64_t *ms);

/* "3s", "2m", "5h", "3d": the largest unit that fits, cut, for columns. Negative: "-3s". */
const char *clock_age(char out[CLOCK_TEXT_SIZE], int64_t ms);

/* A duration for messages, where "0s" or "1s" could be untrue: "250ms", "1.5s", "29.987s", exact to
   the millisecond below a minute; "1m30s", "2h", "1d12h" above, the two largest units, the rest
   cut. From 0 on. */
const char *clock_span(char out[CLOCK_TEXT_SIZE], int64_t ms);

/*
 * Durations: a number, a fraction if you like, and ms, s, m, h or d: "500ms" "30s" "1.5h" "7d"; a
 * bare 0. 1ms to 36500d, or 0. Ranges: "1s..15m", the first not above the second; one duration is
 * both ends. Returns 0, or -1 with 64 and what is wrong with it, without the option's name.
 */
int clock_duration(const char *text, int64_t *ms, struct err *e);
int clock_range(const char *text, int64_t *low_ms, int64_t *high_ms, struct err *e);

/* Rates: a number of times, a slash, and a unit or a duration: "100/s" "5/m" "1/500ms". *each_us is
   how long one of them takes, 1 us and up. Returns 0, or -1 with 64. */
int clock_rate(const char *text, int64_t *each_us, struct err *e);
/* "100/s" "5/m" "4/515s" "1/1.001s": clock_rate reads it as each_us again. */
const char *clock_rate_format(char out[CLOCK_TEXT_SIZE], int64_t each_us);

/*
 * POINT (--from, --to): a place in the log.
 *     start  now                       the ends of the log
 *     17                               a position (digits alone)
 *     2026-11-21  today  yesterday     midnight, local time
 *     2026-11-21T10:00:00Z             RFC 3339
 *     90m  2h  7d                      that long before now_ms
 */
enum clock_point_kind { CLOCK_START, CLOCK_END, CLOCK_SEQ, CLOCK_TIME };
struct clock_point {
    enum clock_point_kind kind;
    int64_t value; /* of CLOCK_SEQ the position, of CLOCK_TIME wall milliseconds */
};
int clock_point(const char *text, int64_t now_ms, struct clock_point *out, struct err *e);

/* A new UUIDv7 (RFC 9562 5.7) in text, 36 characters and a NUL. Ids made by one process are in
   order: the 12 bits behind the milliseconds count within one, and the time never goes back. */
#define CLOCK_UUID_SIZE 37
void clock_uuid7(char out[CLOCK_UUID_SIZE]);

/* A UUIDv8 (RFC 9562 5.8): as many milliseconds as v7 has, so that they sort together, and then 74
   bits of digest. The same for the same arguments, for ids that are derived. */
void clock_uuid8(char out[CLOCK_UUID_SIZE], int64_t ms, const unsigned char digest[10]);

#endif

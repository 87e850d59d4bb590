/*
 * clock: the time, and how it is written.
 *
 * Wall time is int64_t milliseconds since 1970-01-01T00:00Z, for times that people read or that
 * must survive a reboot. Durations are measured with clock_mono_ms, a clock that nobody can set.
 * No function reads a clock except the first five; the others take the time as an argument.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/buf.h"

#include <stdint.h>

/* Each returns the time. */
int64_t clock_now_ms(void);
int64_t clock_now_us(void); /* the same in microseconds */
/* From now on the time of day is this one, that of a server, moved on by the clock that counts from
   boot: what this machine's clock says, and who sets it, no longer matters to the process. */
void clock_follow(int64_t now_us);
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
/* Read a date alone: "2026-11-21". False if text is not a date. */
bool clock_parse_date(struct str text, int *year, int *month, int *day);

#endif

/*
 * The calendar is computed here, in whole days since 1970, so that formatting neither depends on TZ
 * nor costs a call into the C library.
 */
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define DAY_MS INT64_C(86400000)

static int64_t read_us(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Of another clock: its time when the time since boot was 0; 0: the machine's own clock counts. */
static int64_t other_us;

int64_t clock_now_us(void)
{
    return other_us == 0 ? read_us(CLOCK_REALTIME) : read_us(CLOCK_BOOTTIME) + other_us;
}

int64_t clock_now_ms(void)
{
    return clock_now_us() / 1000;
}

int64_t clock_mono_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000;
}

void clock_follow(int64_t now_us)
{
    other_us = now_us - read_us(CLOCK_BOOTTIME);
}

/* A child forked without exec would draw the same numbers as its parent; nothing here forks so. */
uint64_t clock_random(void)
{
    static uint64_t drawn[256];
    static size_t left;

    if (left == 0) {
        char *at = (char *)drawn;
        size_t want = sizeof drawn;

        while (want > 0) {
            ssize_t got = getrandom(at, want, 0);
            if (got < 0 && errno != EINTR)
                abort(); /* all kernels that run this have it; predictable ids would be worse */
            if (got > 0) {
                at += got;
                want -= (size_t)got;
            }
        }
        left = sizeof drawn / sizeof drawn[0];
    }
    return drawn[--left];
}

/* Years are counted from 1 March, so that the leap day is the last of its year, and in eras of
   400 years, which all have 146,097 days. 719,468 days lie between 0000-03-01 and 1970-01-01. */
static int64_t days_of(int64_t year, int month, int day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t of_era = y - era * 400;
    int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int *year, int *month, int *day)
{
    int64_t since = days + 719468;
    int64_t era = (since >= 0 ? since : since - 146096) / 146097;
    int64_t left = since - era * 146097;
    int64_t of_era = (left - left / 1460 + left / 36524 - left / 146096) / 365;
    int64_t of_year = left - (365 * of_era + of_era / 4 - of_era / 100);
    int64_t march = (5 * of_year + 2) / 153;

    *day = (int)(of_year - (153 * march + 2) / 5) + 1;
    *month = (int)(march < 10 ? march + 3 : march - 9);
    *year = (int)(of_era + era * 400 + (*month <= 2));
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return month == 2 && leap ? 29 : days[month - 1];
}

static char *put_digits(char *p, int value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        p[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return p + digits;
}

const char *clock_format(char out[CLOCK_TEXT_SIZE], int64_t ms)
{
    int year, month, day, rest;
    int64_t days;
    char *p = out;

    ms = ms < CLOCK_MIN_MS ? CLOCK_MIN_MS : ms > CLOCK_MAX_MS ? CLOCK_MAX_MS : ms;
    days = ms / DAY_MS - (ms % DAY_MS < 0);
    rest = (int)(ms - days * DAY_MS);
    date_of(days, &year, &month, &day);
    p = put_digits(p, year, 4);
    *p++ = '-';
    p = put_digits(p, month, 2);
    *p++ = '-';
    p = put_digits(p, day, 2);
    *p++ = 'T';
    p = put_digits(p, rest / 3600000, 2);
    *p++ = ':';
    p = put_digits(p, rest / 60000 % 60, 2);
    *p++ = ':';
    p = put_digits(p, rest / 1000 % 60, 2);
    *p++ = '.';
    p = put_digits(p, rest % 1000, 3);
    *p++ = 'Z';
    *p = '\0';
    return out;
}

/* Read a number at *at: exactly this many digits, and not above max. */
static bool get_digits(struct str text, size_t *at, size_t digits, int max, int *value)
{
    if (text.n - *at < digits)
        return false;
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = text.p[(*at)++];
        if (c < '0' || c > '9')
            return false;
        *value = *value * 10 + (c - '0');
    }
    return *value <= max;
}

static bool get_char(struct str text, size_t *at, char upper)
{
    return *at < text.n && toupper((unsigned char)text.p[(*at)++]) == upper;
}

static bool get_date(struct str text, size_t *at, int *year, int *month, int *day)
{
    return get_digits(text, at, 4, 9999, year) && get_char(text, at, '-') &&
           get_digits(text, at, 2, 12, month) && *month >= 1 && get_char(text, at, '-') &&
           get_digits(text, at, 2, 31, day) && *day >= 1 && *day <= days_in(*year, *month);
}

bool clock_parse_date(struct str text, int *year, int *month, int *day)
{
    size_t at = 0;

    return get_date(text, &at, year, month, day) && at == text.n;
}

static bool get_fraction(struct str text, size_t *at, int *ms)
{
    int weight = 100, first = 0;

    *ms = 0;
    if (*at == text.n || text.p[*at] != '.')
        return true;
    ++*at;
    for (; *at < text.n && isdigit((unsigned char)text.p[*at]); ++*at, first++) {
        *ms += (text.p[*at] - '0') * weight;
        weight /= 10;
    }
    return first > 0;
}

static bool get_offset(struct str text, size_t *at, int *minutes)
{
    int h, m, sign;

    *minutes = 0;
    if (*at == text.n)
        return false;
    if (text.p[*at] == 'Z' || text.p[*at] == 'z') {
        ++*at;
        return true;
    }
    sign = text.p[*at] == '-' ? -1 : 1;
    if (text.p[*at] != '-' && text.p[*at] != '+')
        return false;
    ++*at;
    if (!get_digits(text, at, 2, 23, &h) || !get_char(text, at, ':') ||
        !get_digits(text, at, 2, 59, &m))
        return false;
    *minutes = sign * (h * 60 + m);
    return true;
}

bool clock_parse(struct str text, int64_t *ms)
{
    int year, month, day, h, m, s, fraction, offset;
    int64_t seconds;
    size_t at = 0;

    if (text.p == NULL || !get_date(text, &at, &year, &month, &day) || !get_char(text, &at, 'T') ||
        !get_digits(text, &at, 2, 23, &h) || !get_char(text, &at, ':') ||
        !get_digits(text, &at, 2, 59, &m) || !get_char(text, &at, ':') ||
        !get_digits(text, &at, 2, 60, &s) || !get_fraction(text, &at, &fraction) ||
        !get_offset(text, &at, &offset) || at != text.n)
        return false;
    seconds = days_of(year, month, day) * 86400 + h * 3600 + m * 60 + s - offset * 60;
    if (s == 60 && seconds % 86400 != 0) /* a leap second is the last second of a day in UTC */
        return false;
    *ms = seconds * 1000 + fraction;
    return true;
}

/*
 * The calendar is computed here, in whole days since 1970, so that formatting neither depends on TZ
 * nor costs a call into the C library; only dates without a time use the library, because they are
 * local.
 */
#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define DAY_MS INT64_C(86400000)
#define DURATION_MAX (36500 * DAY_MS)

static int64_t read_ms(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_now_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

int64_t clock_mono_ms(void)
{
    return read_ms(CLOCK_MONOTONIC);
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

const char *clock_age(char out[CLOCK_TEXT_SIZE], int64_t ms)
{
    uint64_t seconds = (ms < 0 ? 0 - (uint64_t)ms : (uint64_t)ms) / 1000, count = seconds;
    const char *sign = ms < 0 && seconds > 0 ? "-" : "";
    char unit = 's';

    if (seconds >= 86400) {
        count = seconds / 86400;
        unit = 'd';
    } else if (seconds >= 3600) {
        count = seconds / 3600;
        unit = 'h';
    } else if (seconds >= 60) {
        count = seconds / 60;
        unit = 'm';
    }
    snprintf(out, CLOCK_TEXT_SIZE, "%s%llu%c", sign, (unsigned long long)count, unit);
    return out;
}

/* "29.987s": milliseconds as seconds, without zeros at the end. */
static const char *write_seconds(char out[CLOCK_TEXT_SIZE], int64_t ms)
{
    int n =
        snprintf(out, CLOCK_TEXT_SIZE, "%lld.%03lld", (long long)ms / 1000, (long long)ms % 1000);

    while (out[n - 1] == '0')
        n--;
    if (out[n - 1] == '.')
        n--;
    snprintf(out + n, (size_t)(CLOCK_TEXT_SIZE - n), "s");
    return out;
}

const char *clock_span(char out[CLOCK_TEXT_SIZE], int64_t ms)
{
    static const struct {
        int64_t ms;
        char name;
    } units[] = {{DAY_MS, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};
    size_t i = 0;

    if (ms < 1000) {
        snprintf(out, CLOCK_TEXT_SIZE, "%lldms", (long long)ms);
        return out;
    }
    if (ms < 60000)
        return write_seconds(out, ms);
    while (ms < units[i].ms)
        i++;
    long long first = ms / units[i].ms, second = ms % units[i].ms / units[i + 1].ms;
    if (second > 0)
        snprintf(out, CLOCK_TEXT_SIZE, "%lld%c%lld%c", first, units[i].name, second,
                 units[i + 1].name);
    else
        snprintf(out, CLOCK_TEXT_SIZE, "%lld%c", first, units[i].name);
    return out;
}

static int64_t unit_ms(const char *p, size_t n)
{
    static const struct {
        const char *name;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", DAY_MS}};

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (str_is((struct str){p, n}, units[i].name))
            return units[i].ms;
    return 0;
}

struct number {
    int64_t whole, part, scale; /* whole + part / scale; whole is not exact above DURATION_MAX */
    bool point, some;           /* some: there is a digit other than 0, at any place */
};

/* Read "12" or "12.5" at the start of p[0..n). Returns its length, 0 if there is no number. */
static size_t read_number(const char *p, size_t n, struct number *out)
{
    size_t at = 0;

    *out = (struct number){0, 0, 1, false, false};
    for (; at < n && isdigit((unsigned char)p[at]); at++) {
        out->some = out->some || p[at] != '0';
        if (out->whole <= DURATION_MAX)
            out->whole = out->whole * 10 + (p[at] - '0');
    }
    if (at == 0 || at + 1 >= n || p[at] != '.' || !isdigit((unsigned char)p[at + 1]))
        return at;
    out->point = true;
    for (at++; at < n && isdigit((unsigned char)p[at]); at++) {
        out->some = out->some || p[at] != '0';
        if (out->scale < 1000000000) {
            out->part = out->part * 10 + (p[at] - '0');
            out->scale *= 10;
        }
    }
    return at;
}

static int read_duration(const char *p, size_t n, int64_t *ms, struct err *e)
{
    struct number number;
    size_t digits = read_number(p, n, &number);
    bool bare = digits == n && digits > 0 && !number.point;
    int64_t unit = bare ? 1 : unit_ms(p + digits, n - digits), value;

    if (digits == 0 || unit == 0)
        return err_set(e, EX_USAGE, "wants a duration like 500ms, 30s, 1.5h, 7d: %s",
                       err_quote(p, n).text);
    if (bare && number.some)
        return err_set(e, EX_USAGE, "wants a unit, ms, s, m, h or d: %s", err_quote(p, n).text);
    if (number.whole > DURATION_MAX / unit)
        return err_set(e, EX_USAGE, "wants at most 36500d: %s", err_quote(p, n).text);
    value = number.whole * unit + number.part * unit / number.scale;
    if (value > DURATION_MAX)
        return err_set(e, EX_USAGE, "wants at most 36500d: %s", err_quote(p, n).text);
    if (value == 0 && number.some)
        return err_set(e, EX_USAGE, "wants at least 1ms, or 0: %s", err_quote(p, n).text);
    *ms = value;
    return 0;
}

int clock_duration(const char *text, int64_t *ms, struct err *e)
{
    return read_duration(text, strlen(text), ms, e);
}

int clock_range(const char *text, int64_t *low_ms, int64_t *high_ms, struct err *e)
{
    const char *dots = strstr(text, "..");
    int64_t low, high;

    if (dots == NULL) {
        if (clock_duration(text, &low, e) < 0)
            return -1;
        high = low;
    } else if (read_duration(text, (size_t)(dots - text), &low, e) < 0 ||
               clock_duration(dots + 2, &high, e) < 0) {
        return -1;
    }
    if (low > high)
        return err_set(e, EX_USAGE, "wants the shorter duration first: %s",
                       err_quote_text(text).text);
    *low_ms = low;
    *high_ms = high;
    return 0;
}

int clock_rate(const char *text, int64_t *each_us, struct err *e)
{
    struct err none = ERR_NONE;
    struct buf per = BUF_INIT;
    char *slash;
    int64_t ms = 0;

    errno = 0;
    long long n = strtoll(text, &slash, 10);
    bool good = *text >= '0' && *text <= '9' && errno == 0 && n > 0 && *slash == '/';
    if (good) {
        if (slash[1] < '0' || slash[1] > '9') /* "/s" is "/1s" */
            buf_char(&per, '1');
        buf_puts(&per, slash + 1);
        good = clock_duration(buf_text(&per), &ms, &none) == 0 && ms > 0;
    }
    buf_free(&per);
    if (!good || ms * 1000 / n < 1)
        return err_set(e, EX_USAGE, "wants a rate like 100/s or 5/m: %s",
                       err_quote_text(text).text);
    *each_us = ms * 1000 / n;
    return 0;
}

/* The smallest D for which clock_rate, which truncates, reads "n/D", D in units of unit_us, as
   each_us; 0 when there is no such D for this n. */
static int64_t per_of(int64_t n, int64_t unit_us, int64_t each_us)
{
    int64_t d = (n * each_us + unit_us - 1) / unit_us;

    return d * unit_us / n == each_us && d <= DURATION_MAX * 1000 / unit_us ? d : 0;
}

/* A number of times per second, or up to 1,000 per minute, hour or day; otherwise the smallest
   number of times per whole seconds, up to 100; otherwise per milliseconds, where 1,000 times
   always work. */
const char *clock_rate_format(char out[CLOCK_TEXT_SIZE], int64_t each_us)
{
    static const struct {
        int64_t us;
        char name;
    } units[] = {{1000000, 's'}, {60000000, 'm'}, {INT64_C(3600000000), 'h'}, {DAY_MS * 1000, 'd'}};
    int64_t n, d = 0;

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        n = units[i].us / each_us;
        if (n > 0 && (i == 0 || n <= 1000) && units[i].us / n == each_us) {
            snprintf(out, CLOCK_TEXT_SIZE, "%lld/%c", (long long)n, units[i].name);
            return out;
        }
    }
    for (n = 1; n <= 100 && (d = per_of(n, 1000000, each_us)) == 0; n++)
        continue;
    if (d > 0) {
        size_t i = d % 60 != 0 ? 0 : d % 3600 != 0 ? 1 : d % 86400 != 0 ? 2 : 3;
        snprintf(out, CLOCK_TEXT_SIZE, "%lld/%lld%c", (long long)n,
                 (long long)(d * 1000000 / units[i].us), units[i].name);
        return out;
    }
    for (n = 1; n <= 1000 && (d = per_of(n, 1000, each_us)) == 0; n++)
        continue;
    int at = snprintf(out, CLOCK_TEXT_SIZE, "%lld/", (long long)n);
    char seconds[CLOCK_TEXT_SIZE];
    snprintf(out + at, (size_t)(CLOCK_TEXT_SIZE - at), "%s", write_seconds(seconds, d));
    return out;
}

/* When a local day begins. Some time zones skip midnight on one day of the year; then the C library
   may return a time on the evening before, and the day begins an hour later. */
static int64_t midnight_ms(struct tm day)
{
    struct tm noon = day;

    noon.tm_hour = 12;
    noon.tm_isdst = -1;
    (void)mktime(&noon); /* puts a day 0 or 32 into its month */
    for (int minute = 0;; minute += 30) {
        struct tm tm = {.tm_year = noon.tm_year,
                        .tm_mon = noon.tm_mon,
                        .tm_mday = noon.tm_mday,
                        .tm_min = minute,
                        .tm_isdst = -1};
        time_t t = mktime(&tm);
        if (tm.tm_mday == noon.tm_mday || minute == 180)
            return (int64_t)t * 1000;
    }
}

static bool day_point(const char *text, int64_t now_ms, int64_t *ms)
{
    struct str all = str_of(text);
    time_t now = (time_t)(now_ms / 1000);
    struct tm day = {0};
    int year, month, mday;
    size_t at = 0;

    if (str_is(all, "today") || str_is(all, "yesterday")) {
        tzset(); /* localtime_r need not call it */
        localtime_r(&now, &day);
        day.tm_mday -= text[0] == 'y';
    } else if (get_date(all, &at, &year, &month, &mday) && at == all.n) {
        day.tm_year = year - 1900;
        day.tm_mon = month - 1;
        day.tm_mday = mday;
    } else {
        return false;
    }
    *ms = midnight_ms(day);
    return true;
}

int clock_point(const char *text, int64_t now_ms, struct clock_point *out, struct err *e)
{
    struct err ignored = ERR_NONE;
    int64_t value = 0;

    if (text[0] != '\0' && text[strspn(text, "0123456789")] == '\0') {
        errno = 0;
        value = strtoll(text, NULL, 10);
        if (errno != 0)
            return err_set(e, EX_USAGE, "is beyond all positions: %s", err_quote_text(text).text);
        *out = (struct clock_point){CLOCK_SEQ, value};
    } else if (strcmp(text, "start") == 0) {
        *out = (struct clock_point){CLOCK_START, 0};
    } else if (strcmp(text, "now") == 0) {
        *out = (struct clock_point){CLOCK_END, 0};
    } else if (day_point(text, now_ms, &value) || clock_parse(str_of(text), &value)) {
        *out = (struct clock_point){CLOCK_TIME, value};
    } else if (clock_duration(text, &value, &ignored) == 0) {
        *out = (struct clock_point){CLOCK_TIME, now_ms - value};
    } else {
        return err_set(e, EX_USAGE,
                       "wants start, now, today, a position, a date, a time or a duration: %s",
                       err_quote_text(text).text);
    }
    return 0;
}

static void write_uuid(char out[CLOCK_UUID_SIZE], uint64_t high, uint64_t low)
{
    static const char hex[] = "0123456789abcdef";
    char *p = out;

    low = (low & UINT64_MAX >> 2) | UINT64_C(1) << 63; /* the variant */
    for (int i = 0; i < 32; i++) {
        uint64_t word = i < 16 ? high : low;
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *p++ = '-';
        *p++ = hex[word >> (60 - 4 * (i % 16)) & 15];
    }
    *p = '\0';
}

void clock_uuid7(char out[CLOCK_UUID_SIZE])
{
    static int64_t last_ms;
    static uint64_t count;
    int64_t now = clock_now_ms();

    if (now > last_ms) {
        last_ms = now;
        count = clock_random() & 0x1ff; /* leaves room for 3,500 ids in this millisecond */
    } else if (++count > 0xfff) {
        last_ms++;
        count = clock_random() & 0x1ff;
    }
    write_uuid(out, (uint64_t)last_ms << 16 | 0x7000 | count, clock_random());
}

void clock_uuid8(char out[CLOCK_UUID_SIZE], int64_t ms, const unsigned char digest[10])
{
    uint64_t low = 0;

    for (int i = 2; i < 10; i++)
        low = low << 8 | digest[i];
    write_uuid(out, (uint64_t)ms << 16 | 0x8000 | ((uint64_t)digest[0] << 8 | digest[1]) >> 4, low);
}

#include "base/duration.h"

#include "base/buf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)
#define DURATION_MAX (36500 * DAY_MS)

const char *duration_age(char out[DURATION_TEXT_SIZE], int64_t ms)
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
    snprintf(out, DURATION_TEXT_SIZE, "%s%llu%c", sign, (unsigned long long)count, unit);
    return out;
}

/* "29.987s": milliseconds as seconds, without zeros at the end. */
static const char *write_seconds(char out[DURATION_TEXT_SIZE], int64_t ms)
{
    int n = snprintf(out, DURATION_TEXT_SIZE, "%lld.%03lld", (long long)ms / 1000,
                     (long long)ms % 1000);

    while (out[n - 1] == '0')
        n--;
    if (out[n - 1] == '.')
        n--;
    snprintf(out + n, (size_t)(DURATION_TEXT_SIZE - n), "s");
    return out;
}

const char *duration_format(char out[DURATION_TEXT_SIZE], int64_t ms)
{
    static const struct {
        int64_t ms;
        char name;
    } units[] = {{DAY_MS, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};
    size_t i = 0;

    if (ms < 1000) {
        snprintf(out, DURATION_TEXT_SIZE, "%lldms", (long long)ms);
        return out;
    }
    if (ms < 60000)
        return write_seconds(out, ms);
    while (ms < units[i].ms)
        i++;
    long long first = ms / units[i].ms, second = ms % units[i].ms / units[i + 1].ms;
    if (second > 0)
        snprintf(out, DURATION_TEXT_SIZE, "%lld%c%lld%c", first, units[i].name, second,
                 units[i + 1].name);
    else
        snprintf(out, DURATION_TEXT_SIZE, "%lld%c", first, units[i].name);
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

int duration_read(const char *text, int64_t *ms, struct err *e)
{
    return read_duration(text, strlen(text), ms, e);
}

int duration_range(const char *text, int64_t *low_ms, int64_t *high_ms, struct err *e)
{
    const char *dots = strstr(text, "..");
    int64_t low, high;

    if (dots == NULL) {
        if (duration_read(text, &low, e) < 0)
            return -1;
        high = low;
    } else if (read_duration(text, (size_t)(dots - text), &low, e) < 0 ||
               duration_read(dots + 2, &high, e) < 0) {
        return -1;
    }
    if (low > high)
        return err_set(e, EX_USAGE, "wants the shorter duration first: %s",
                       err_quote_text(text).text);
    *low_ms = low;
    *high_ms = high;
    return 0;
}

int duration_rate(const char *text, int64_t *each_us, struct err *e)
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
        good = duration_read(buf_text(&per), &ms, &none) == 0 && ms > 0;
    }
    buf_free(&per);
    if (!good || ms * 1000 / n < 1)
        return err_set(e, EX_USAGE, "wants a rate like 100/s or 5/m: %s",
                       err_quote_text(text).text);
    *each_us = ms * 1000 / n;
    return 0;
}

/* The smallest D for which duration_rate, which truncates, reads "n/D", D in units of unit_us, as
   each_us; 0 when there is no such D for this n. */
static int64_t per_of(int64_t n, int64_t unit_us, int64_t each_us)
{
    int64_t d = (n * each_us + unit_us - 1) / unit_us;

    return d * unit_us / n == each_us && d <= DURATION_MAX * 1000 / unit_us ? d : 0;
}

/* A number of times per second, or up to 1,000 per minute, hour or day; otherwise the smallest
   number of times per whole seconds, up to 100; otherwise per milliseconds, where 1,000 times
   always work. */
const char *duration_rate_format(char out[DURATION_TEXT_SIZE], int64_t each_us)
{
    static const struct {
        int64_t us;
        char name;
    } units[] = {{1000000, 's'}, {60000000, 'm'}, {INT64_C(3600000000), 'h'}, {DAY_MS * 1000, 'd'}};
    int64_t n, d = 0;

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        n = units[i].us / each_us;
        if (n > 0 && (i == 0 || n <= 1000) && units[i].us / n == each_us) {
            snprintf(out, DURATION_TEXT_SIZE, "%lld/%c", (long long)n, units[i].name);
            return out;
        }
    }
    for (n = 1; n <= 100 && (d = per_of(n, 1000000, each_us)) == 0; n++)
        continue;
    if (d > 0) {
        size_t i = d % 60 != 0 ? 0 : d % 3600 != 0 ? 1 : d % 86400 != 0 ? 2 : 3;
        snprintf(out, DURATION_TEXT_SIZE, "%lld/%lld%c", (long long)n,
                 (long long)(d * 1000000 / units[i].us), units[i].name);
        return out;
    }
    for (n = 1; n <= 1000 && (d = per_of(n, 1000, each_us)) == 0; n++)
        continue;
    int at = snprintf(out, DURATION_TEXT_SIZE, "%lld/", (long long)n);
    char seconds[DURATION_TEXT_SIZE];
    snprintf(out + at, (size_t)(DURATION_TEXT_SIZE - at), "%s", write_seconds(seconds, d));
    return out;
}

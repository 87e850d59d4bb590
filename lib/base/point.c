/*
 * Dates without a time are local: for when a local day begins we ask the C library.
 */
#include "base/point.h"

#include "base/clock.h"
#include "base/duration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

    if (str_is(all, "today") || str_is(all, "yesterday")) {
        tzset(); /* localtime_r need not call it */
        localtime_r(&now, &day);
        day.tm_mday -= text[0] == 'y';
    } else if (clock_parse_date(all, &year, &month, &mday)) {
        day.tm_year = year - 1900;
        day.tm_mon = month - 1;
        day.tm_mday = mday;
    } else {
        return false;
    }
    *ms = midnight_ms(day);
    return true;
}

int point_read(const char *text, int64_t now_ms, struct point *out, struct err *e)
{
    struct err ignored = ERR_NONE;
    int64_t value = 0;

    if (text[0] != '\0' && text[strspn(text, "0123456789")] == '\0') {
        errno = 0;
        value = strtoll(text, NULL, 10);
        if (errno != 0)
            return err_set(e, EX_USAGE, "is beyond all positions: %s", err_quote_text(text).text);
        *out = (struct point){POINT_SEQ, value};
    } else if (strcmp(text, "start") == 0) {
        *out = (struct point){POINT_START, 0};
    } else if (strcmp(text, "now") == 0) {
        *out = (struct point){POINT_END, 0};
    } else if (day_point(text, now_ms, &value) || clock_parse(str_of(text), &value)) {
        *out = (struct point){POINT_TIME, value};
    } else if (duration_read(text, &value, &ignored) == 0) {
        *out = (struct point){POINT_TIME, now_ms - value};
    } else {
        return err_set(e, EX_USAGE,
                       "wants start, now, today, a position, a date, a time or a duration: %s",
                       err_quote_text(text).text);
    }
    return 0;
}

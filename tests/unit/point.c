#include "base/point.h"

#include "base/clock.h"
#include "unit.h"

#include <stdlib.h>
#include <time.h>

static void zone(const char *name)
{
    setenv("TZ", name, 1);
    tzset();
}

static const int64_t noon = 1795262400000; /* 2026-11-21T12:00:00Z */

static void points_are_ends_positions_and_times(void)
{
    static const struct {
        const char *text;
        enum point_kind kind;
        int64_t value;
    } rows[] = {
        {"start", POINT_START, 0},
        {"now", POINT_END, 0},
        {"17", POINT_SEQ, 17},
        {"9223372036854775807", POINT_SEQ, INT64_MAX},
        {"2h", POINT_TIME, 1795262400000 - 7200000},
        {"90m", POINT_TIME, 1795262400000 - 5400000},
        {"2026-11-21T10:00:00Z", POINT_TIME, 1795255200000},
        {"2026-11-21T10:00:00+02:00", POINT_TIME, 1795248000000},
        {"2026-11-21", POINT_TIME, 1795219200000},
        {"today", POINT_TIME, 1795219200000},
        {"yesterday", POINT_TIME, 1795132800000},
    };

    zone("UTC0");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        struct point point = {POINT_START, -1};

        unit_row(rows[i].text);
        CHECK_INT(point_read(rows[i].text, noon, &point, &e), 0);
        CHECK_INT(point.kind, rows[i].kind);
        CHECK_INT(point.value, rows[i].value);
    }
}

static void what_is_no_point_is_refused(void)
{
    static const char *const rows[] = {
        "", "tomorrow", "-1", "2026-02-30", "30x", "2026-11-2x", "9223372036854775808", "Start"};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        struct point point;

        unit_row(rows[i]);
        CHECK_INT(point_read(rows[i], noon, &point, &e), -1);
        CHECK_INT(e.status, EX_USAGE);
    }
}

/* POSIX rules instead of zone names: they work where no zone files are installed. */
static void dates_begin_at_local_midnight(void)
{
    static const struct {
        const char *zone, *text, *begins;
    } rows[] = {
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2026-07-01", "2026-06-30T22:00:00.000Z"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2026-01-01", "2025-12-31T23:00:00.000Z"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-29", "2026-03-28T23:00:00.000Z"},
        {"CET-1CEST,M3.5.0,M10.5.0/3", "2026-03-30", "2026-03-29T22:00:00.000Z"},
        {"NZST-12NZDT,M9.5.0,M4.1.0/3", "today", "2026-11-21T11:00:00.000Z"},
        {"NZST-12NZDT,M9.5.0,M4.1.0/3", "yesterday", "2026-11-20T11:00:00.000Z"},
        {"HST10", "today", "2026-11-21T10:00:00.000Z"},
        {"<-13>13", "today", "2026-11-20T13:00:00.000Z"},
        /* the clock springs from 0:00 to 1:00: the day begins at one */
        {"<-03>3<-02>,M10.3.0/0,M2.3.0/0", "2026-10-18", "2026-10-18T03:00:00.000Z"},
        {"<-03>3<-02>,M10.3.0/0,M2.3.0/0", "2026-10-19", "2026-10-19T02:00:00.000Z"},
        {"EET-2EEST,M3.5.0/0,M10.5.0/0", "2026-03-29", "2026-03-28T22:00:00.000Z"},
    };
    char out[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        struct point point = {POINT_START, 0};

        unit_row(rows[i].begins);
        zone(rows[i].zone);
        CHECK_INT(point_read(rows[i].text, noon, &point, &e), 0);
        CHECK_TEXT(clock_format(out, point.value), rows[i].begins);
    }
    zone("UTC0");
}

static void yesterday_crosses_the_new_year(void)
{
    struct err e = ERR_NONE;
    struct point point = {POINT_START, 0};
    char out[CLOCK_TEXT_SIZE];

    zone("UTC0");
    CHECK_INT(point_read("yesterday", 1767225600000, &point, &e), 0); /* 2026-01-01T00:00Z */
    CHECK_TEXT(clock_format(out, point.value), "2025-12-31T00:00:00.000Z");
}

int main(void)
{
    RUN(points_are_ends_positions_and_times);
    RUN(what_is_no_point_is_refused);
    RUN(dates_begin_at_local_midnight);
    RUN(yesterday_crosses_the_new_year);
    return unit_done();
}

#include "base/clock.h"

#include "unit.h"

#include <stdlib.h>
#include <time.h>

static void zone(const char *name)
{
    setenv("TZ", name, 1);
    tzset();
}

static void times_are_written_in_utc_with_milliseconds(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {-1, "1969-12-31T23:59:59.999Z"},
        {951782400000, "2000-02-29T00:00:00.000Z"},
        {1709164799999, "2024-02-28T23:59:59.999Z"},
        {1795255200123, "2026-11-21T10:00:00.123Z"},
        {4107542400000, "2100-03-01T00:00:00.000Z"},
        {-62167219200000, "0000-01-01T00:00:00.000Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {INT64_MIN, "0000-01-01T00:00:00.000Z"},
        {INT64_MAX, "9999-12-31T23:59:59.999Z"},
    };
    char out[CLOCK_TEXT_SIZE];

    zone("America/New_York");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(clock_format(out, rows[i].ms), rows[i].text);
}

static void every_day_of_the_calendar_is_read_back(void)
{
    char out[CLOCK_TEXT_SIZE];
    int64_t back = 0;

    for (int64_t ms = -62167219200000; ms <= 253402300799999; ms += 86400000 + 86399) {
        if (!clock_parse(str_of(clock_format(out, ms)), &back) || back != ms) {
            unit_row(out);
            CHECK_INT(back, ms);
            return;
        }
    }
}

static void the_calendar_agrees_with_the_c_library(void)
{
    char out[CLOCK_TEXT_SIZE], expected[CLOCK_TEXT_SIZE];

    for (time_t t = -5000000000; t < 5000000000; t += 86400 * 13 + 7) {
        struct tm tm;

        gmtime_r(&t, &tm);
        strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S.000Z", &tm);
        if (!CHECK_TEXT(clock_format(out, (int64_t)t * 1000), expected))
            return;
    }
}

static void rfc_3339_is_read_in_all_its_forms(void)
{
    static const struct {
        const char *text, *same;
    } rows[] = {
        {"2026-11-21T10:00:00Z", "2026-11-21T10:00:00.000Z"},
        {"2026-11-21t10:00:00z", "2026-11-21T10:00:00.000Z"},
        {"2026-11-21T10:00:00.5Z", "2026-11-21T10:00:00.500Z"},
        {"2026-11-21T10:00:00.1239999999999Z", "2026-11-21T10:00:00.123Z"},
        {"2026-11-21T10:00:00+02:00", "2026-11-21T08:00:00.000Z"},
        {"2026-11-21T10:00:00-05:30", "2026-11-21T15:30:00.000Z"},
        {"2026-11-21T10:00:00-00:00", "2026-11-21T10:00:00.000Z"},
        {"2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"},
        {"2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"},
        {"2017-01-01T01:59:60.25+02:00", "2017-01-01T00:00:00.250Z"},
    };
    char out[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t ms = 0;

        unit_row(rows[i].text);
        CHECK(clock_parse(str_of(rows[i].text), &ms));
        CHECK_TEXT(clock_format(out, ms), rows[i].same);
    }
}

static void what_is_not_rfc_3339_is_refused(void)
{
    static const char *const rows[] = {
        "",
        "yesterday",
        "2026-11-21",
        "2026-11-21T10:00:00",
        "2026-11-21 10:00:00Z",
        "2026-11-21T10:00Z",
        "2026-13-01T10:00:00Z",
        "2026-00-01T10:00:00Z",
        "2026-11-31T10:00:00Z",
        "2023-02-29T10:00:00Z",
        "1900-02-29T10:00:00Z",
        "2026-11-00T10:00:00Z",
        "2026-11-21T24:00:00Z",
        "2026-11-21T10:60:00Z",
        "2026-11-21T10:00:61Z",
        "2026-11-21T10:00:60Z",
        "2026-11-21T10:00:00.Z",
        "2026-11-21T10:00:00,5Z",
        "2026-11-21T10:00:00+24:00",
        "2026-11-21T10:00:00+02:60",
        "2026-11-21T10:00:00+0200",
        "2026-11-21T10:00:00+02",
        "2026-11-21T10:00:00ZZ",
        "2026-11-21T10:00:00Z ",
        "+2026-11-21T10:00:00Z",
        "26-11-21T10:00:00Z",
    };
    int64_t ms = 42;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unit_row(rows[i]);
        CHECK(!clock_parse(str_of(rows[i]), &ms));
    }
    CHECK(!clock_parse((struct str){NULL, 0}, &ms));
    CHECK(!clock_parse((struct str){"2026-11-21T10:00:00Z\0", 21}, &ms));
    CHECK_INT(ms, 42);
}

static void ages_show_the_largest_unit(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "0s"},        {999, "0s"},      {3000, "3s"},    {59999, "59s"},
        {60000, "1m"},    {3599999, "59m"}, {3600000, "1h"}, {86399999, "23h"},
        {86400000, "1d"}, {-3000, "-3s"},   {-999, "0s"},    {INT64_C(34560000000), "400d"},
    };
    char out[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(clock_age(out, rows[i].ms), rows[i].text);
    CHECK_TEXT(clock_age(out, INT64_MIN), "-106751991167d");
}

static void durations_in_messages_are_exact_below_a_minute(void)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        {0, "0ms"},
        {1, "1ms"},
        {999, "999ms"},
        {1000, "1s"},
        {1001, "1.001s"},
        {1500, "1.5s"},
        {10010, "10.01s"},
        {59999, "59.999s"},
        {60000, "1m"},
        {60999, "1m"},
        {90000, "1m30s"},
        {3599999, "59m59s"},
        {3600000, "1h"},
        {5400000, "1h30m"},
        {86399999, "23h59m"},
        {129600000, "1d12h"},
        {INT64_C(34560000000), "400d"},
    };
    char out[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(clock_span(out, rows[i].ms), rows[i].text);
    CHECK_TEXT(clock_span(out, INT64_MAX), "106751991167d7h");
}

/* 0 when it is no rate. */
static int64_t each_of(const char *rate)
{
    struct err e = ERR_NONE;
    int64_t each_us = 0;

    unit_row(rate);
    return clock_rate(rate, &each_us, &e) == 0 ? each_us : 0;
}

static void rates_are_shown_as_they_are_given(void)
{
    static const char *const rows[] = {"1/s",      "3/s",      "7/s",      "100/s", "1000000/s",
                                       "5/m",      "7/m",      "1/h",      "11/h",  "5/d",
                                       "1/7s",     "4/515s",   "1/36500d", "1/3d",  "2/93s",
                                       "1/1.001s", "7/0.999s", "2/17.003s"};
    static const char *const same[][2] = {{"2/2s", "1/s"}, {"1/500ms", "2/s"}, {"1/12s", "5/m"},
                                          {"60/m", "1/s"}, {"1/48h", "1/2d"},  {"1/1.5s", "40/m"}};
    char out[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(clock_rate_format(out, each_of(rows[i])), rows[i]);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        CHECK_TEXT(clock_rate_format(out, each_of(same[i][0])), same[i][1]);
}

/* Each rate N/D up to 300 in so many ms, and some of all sizes. */
static void every_rate_that_is_shown_is_read_as_the_same(void)
{
    uint64_t random = 1;
    char out[CLOCK_TEXT_SIZE], rate[64];

    for (int n = 1; n <= 300; n++)
        for (int ms = 1; ms <= 300; ms++) {
            snprintf(rate, sizeof rate, "%d/%dms", n, ms);
            int64_t each_us = each_of(rate);
            if (each_us > 0)
                CHECK_INT(each_of(clock_rate_format(out, each_us)), each_us);
        }
    for (int i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        int64_t ms = (int64_t)(random >> 22) % INT64_C(3153600000000) >> (i % 40);
        snprintf(rate, sizeof rate, "%d/%lldms", i % 5000 + 1, (long long)ms + 1);
        int64_t each_us = each_of(rate);
        if (each_us > 0)
            CHECK_INT(each_of(clock_rate_format(out, each_us)), each_us);
    }
}

static void durations_have_a_number_and_a_unit(void)
{
    static const struct {
        const char *text;
        int64_t ms;
    } rows[] = {
        {"500ms", 500},
        {"30s", 30000},
        {"2m", 120000},
        {"5h", 18000000},
        {"1.5h", 5400000},
        {"7d", 604800000},
        {"0", 0},
        {"0s", 0},
        {"0.0s", 0},
        {"1ms", 1},
        {"0.001s", 1},
        {"007s", 7000},
        {"1.5ms", 1},
        {"36500d", 3153600000000},
        {"0.25d", 21600000},
        {"1.00000000000000000001s", 1000},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        int64_t ms = -1;

        unit_row(rows[i].text);
        CHECK_INT(clock_duration(rows[i].text, &ms, &e), 0);
        CHECK_INT(ms, rows[i].ms);
        CHECK_TEXT(e.text, "");
    }
}

static void what_is_no_duration_is_refused_with_the_reason(void)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"", "wants a duration like 500ms, 30s, 1.5h, 7d: \"\""},
        {"abc", "wants a duration like 500ms, 30s, 1.5h, 7d: \"abc\""},
        {"5 s", "wants a duration like 500ms, 30s, 1.5h, 7d: \"5 s\""},
        {"5sec", "wants a duration like 500ms, 30s, 1.5h, 7d: \"5sec\""},
        {"5S", "wants a duration like 500ms, 30s, 1.5h, 7d: \"5S\""},
        {"-5s", "wants a duration like 500ms, 30s, 1.5h, 7d: \"-5s\""},
        {".5s", "wants a duration like 500ms, 30s, 1.5h, 7d: \".5s\""},
        {"5.s", "wants a duration like 500ms, 30s, 1.5h, 7d: \"5.s\""},
        {"1h30m", "wants a duration like 500ms, 30s, 1.5h, 7d: \"1h30m\""},
        {"1.5", "wants a duration like 500ms, 30s, 1.5h, 7d: \"1.5\""},
        {"30", "wants a unit, ms, s, m, h or d: \"30\""},
        {"36501d", "wants at most 36500d: \"36501d\""},
        {"36500.5d", "wants at most 36500d: \"36500.5d\""},
        {"99999999999999999999d", "wants at most 36500d: \"99999999999999999999d\""},
        {"0.5ms", "wants at least 1ms, or 0: \"0.5ms\""},
        {"0.00000000000001d", "wants at least 1ms, or 0: \"0.00000000000001d\""},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        int64_t ms = -1;

        unit_row(rows[i].text);
        CHECK_INT(clock_duration(rows[i].text, &ms, &e), -1);
        CHECK_INT(e.status, EX_USAGE);
        CHECK_TEXT(e.text, rows[i].why);
        CHECK_INT(ms, -1);
    }
}

static void ranges_go_from_low_to_high(void)
{
    struct err e = ERR_NONE;
    int64_t low = -1, high = -1;

    CHECK_INT(clock_range("1s..15m", &low, &high, &e), 0);
    CHECK_INT(low, 1000);
    CHECK_INT(high, 900000);
    CHECK_INT(clock_range("0..1.5s", &low, &high, &e), 0);
    CHECK_INT(low, 0);
    CHECK_INT(high, 1500);
    CHECK_INT(clock_range("2s", &low, &high, &e), 0);
    CHECK_INT(low, 2000);
    CHECK_INT(high, 2000);
    CHECK_INT(clock_range("15m..1s", &low, &high, &e), -1);
    CHECK_TEXT(e.text, "wants the shorter duration first: \"15m..1s\"");
    CHECK_INT(low, 2000);
    CHECK_INT(clock_range("1s..", &low, &high, &(struct err)ERR_NONE), -1);
    CHECK_INT(clock_range("..1s", &low, &high, &(struct err)ERR_NONE), -1);
    CHECK_INT(clock_range("1s...2s", &low, &high, &(struct err)ERR_NONE), -1);
}

static const int64_t noon = 1795262400000; /* 2026-11-21T12:00:00Z */

static void points_are_ends_positions_and_times(void)
{
    static const struct {
        const char *text;
        enum clock_point_kind kind;
        int64_t value;
    } rows[] = {
        {"start", CLOCK_START, 0},
        {"now", CLOCK_END, 0},
        {"17", CLOCK_SEQ, 17},
        {"9223372036854775807", CLOCK_SEQ, INT64_MAX},
        {"2h", CLOCK_TIME, 1795262400000 - 7200000},
        {"90m", CLOCK_TIME, 1795262400000 - 5400000},
        {"2026-11-21T10:00:00Z", CLOCK_TIME, 1795255200000},
        {"2026-11-21T10:00:00+02:00", CLOCK_TIME, 1795248000000},
        {"2026-11-21", CLOCK_TIME, 1795219200000},
        {"today", CLOCK_TIME, 1795219200000},
        {"yesterday", CLOCK_TIME, 1795132800000},
    };

    zone("UTC0");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        struct clock_point point = {CLOCK_START, -1};

        unit_row(rows[i].text);
        CHECK_INT(clock_point(rows[i].text, noon, &point, &e), 0);
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
        struct clock_point point;

        unit_row(rows[i]);
        CHECK_INT(clock_point(rows[i], noon, &point, &e), -1);
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
        struct clock_point point = {CLOCK_START, 0};

        unit_row(rows[i].begins);
        zone(rows[i].zone);
        CHECK_INT(clock_point(rows[i].text, noon, &point, &e), 0);
        CHECK_TEXT(clock_format(out, point.value), rows[i].begins);
    }
    zone("UTC0");
}

static void yesterday_crosses_the_new_year(void)
{
    struct err e = ERR_NONE;
    struct clock_point point = {CLOCK_START, 0};
    char out[CLOCK_TEXT_SIZE];

    zone("UTC0");
    CHECK_INT(clock_point("yesterday", 1767225600000, &point, &e), 0); /* 2026-01-01T00:00Z */
    CHECK_TEXT(clock_format(out, point.value), "2025-12-31T00:00:00.000Z");
}

static void new_ids_are_uuids_of_version_7_with_the_time_in_front(void)
{
    char id[CLOCK_UUID_SIZE];
    int64_t before = clock_now_ms(), ms;

    clock_uuid7(id);
    CHECK_INT((int64_t)strlen(id), 36);
    for (int i = 0; i < 36; i++)
        if (i == 8 || i == 13 || i == 18 || i == 23)
            CHECK(id[i] == '-');
        else
            CHECK(strchr("0123456789abcdef", id[i]) != NULL);
    CHECK(id[14] == '7');
    CHECK(strchr("89ab", id[19]) != NULL);
    id[8] = '\0';
    id[13] = '\0';
    ms = (int64_t)strtoll(id, NULL, 16) << 16 | strtoll(id + 9, NULL, 16);
    CHECK(ms >= before && ms <= clock_now_ms());
}

/* More than fit into their milliseconds, so that the count overflows on the way. */
static void ids_of_one_process_are_in_order(void)
{
    char id[CLOCK_UUID_SIZE], last[CLOCK_UUID_SIZE] = "";

    for (int i = 0; i < 200000; i++) {
        clock_uuid7(id);
        if (strcmp(last, id) >= 0) {
            CHECK_TEXT(id, last);
            return;
        }
        memcpy(last, id, sizeof id);
    }
}

static void random_numbers_differ_across_calls_to_the_kernel(void)
{
    uint64_t first = clock_random(), all = first, common = first;

    for (int i = 0; i < 1000; i++) {
        uint64_t next = clock_random();
        CHECK(next != first);
        all |= next;
        common &= next;
    }
    CHECK(all == UINT64_MAX && common == 0);
}

int main(void)
{
    RUN(times_are_written_in_utc_with_milliseconds);
    RUN(every_day_of_the_calendar_is_read_back);
    RUN(the_calendar_agrees_with_the_c_library);
    RUN(rfc_3339_is_read_in_all_its_forms);
    RUN(what_is_not_rfc_3339_is_refused);
    RUN(ages_show_the_largest_unit);
    RUN(durations_in_messages_are_exact_below_a_minute);
    RUN(rates_are_shown_as_they_are_given);
    RUN(every_rate_that_is_shown_is_read_as_the_same);
    RUN(durations_have_a_number_and_a_unit);
    RUN(what_is_no_duration_is_refused_with_the_reason);
    RUN(ranges_go_from_low_to_high);
    RUN(points_are_ends_positions_and_times);
    RUN(what_is_no_point_is_refused);
    RUN(dates_begin_at_local_midnight);
    RUN(yesterday_crosses_the_new_year);
    RUN(new_ids_are_uuids_of_version_7_with_the_time_in_front);
    RUN(ids_of_one_process_are_in_order);
    RUN(random_numbers_differ_across_calls_to_the_kernel);
    return unit_done();
}

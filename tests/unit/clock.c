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
    RUN(random_numbers_differ_across_calls_to_the_kernel);
    return unit_done();
}

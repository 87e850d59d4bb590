#include "base/duration.h"

#include "unit.h"

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
    char out[DURATION_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(duration_age(out, rows[i].ms), rows[i].text);
    CHECK_TEXT(duration_age(out, INT64_MIN), "-106751991167d");
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
    char out[DURATION_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(duration_format(out, rows[i].ms), rows[i].text);
    CHECK_TEXT(duration_format(out, INT64_MAX), "106751991167d7h");
}

/* 0 when it is no rate. */
static int64_t each_of(const char *rate)
{
    struct err e = ERR_NONE;
    int64_t each_us = 0;

    unit_row(rate);
    return duration_rate(rate, &each_us, &e) == 0 ? each_us : 0;
}

static void rates_are_shown_as_they_are_given(void)
{
    static const char *const rows[] = {"1/s",      "3/s",      "7/s",      "100/s", "1000000/s",
                                       "5/m",      "7/m",      "1/h",      "11/h",  "5/d",
                                       "1/7s",     "4/515s",   "1/36500d", "1/3d",  "2/93s",
                                       "1/1.001s", "7/0.999s", "2/17.003s"};
    static const char *const same[][2] = {{"2/2s", "1/s"}, {"1/500ms", "2/s"}, {"1/12s", "5/m"},
                                          {"60/m", "1/s"}, {"1/48h", "1/2d"},  {"1/1.5s", "40/m"}};
    char out[DURATION_TEXT_SIZE];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_TEXT(duration_rate_format(out, each_of(rows[i])), rows[i]);
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        CHECK_TEXT(duration_rate_format(out, each_of(same[i][0])), same[i][1]);
}

/* Each rate N/D up to 300 in so many ms, and some of all sizes. */
static void every_rate_that_is_shown_is_read_as_the_same(void)
{
    uint64_t random = 1;
    char out[DURATION_TEXT_SIZE], rate[64];

    for (int n = 1; n <= 300; n++)
        for (int ms = 1; ms <= 300; ms++) {
            snprintf(rate, sizeof rate, "%d/%dms", n, ms);
            int64_t each_us = each_of(rate);
            if (each_us > 0)
                CHECK_INT(each_of(duration_rate_format(out, each_us)), each_us);
        }
    for (int i = 0; i < 20000; i++) {
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        int64_t ms = (int64_t)(random >> 22) % INT64_C(3153600000000) >> (i % 40);
        snprintf(rate, sizeof rate, "%d/%lldms", i % 5000 + 1, (long long)ms + 1);
        int64_t each_us = each_of(rate);
        if (each_us > 0)
            CHECK_INT(each_of(duration_rate_format(out, each_us)), each_us);
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
        CHECK_INT(duration_read(rows[i].text, &ms, &e), 0);
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
        CHECK_INT(duration_read(rows[i].text, &ms, &e), -1);
        CHECK_INT(e.status, EX_USAGE);
        CHECK_TEXT(e.text, rows[i].why);
        CHECK_INT(ms, -1);
    }
}

static void ranges_go_from_low_to_high(void)
{
    struct err e = ERR_NONE;
    int64_t low = -1, high = -1;

    CHECK_INT(duration_range("1s..15m", &low, &high, &e), 0);
    CHECK_INT(low, 1000);
    CHECK_INT(high, 900000);
    CHECK_INT(duration_range("0..1.5s", &low, &high, &e), 0);
    CHECK_INT(low, 0);
    CHECK_INT(high, 1500);
    CHECK_INT(duration_range("2s", &low, &high, &e), 0);
    CHECK_INT(low, 2000);
    CHECK_INT(high, 2000);
    CHECK_INT(duration_range("15m..1s", &low, &high, &e), -1);
    CHECK_TEXT(e.text, "wants the shorter duration first: \"15m..1s\"");
    CHECK_INT(low, 2000);
    CHECK_INT(duration_range("1s..", &low, &high, &(struct err)ERR_NONE), -1);
    CHECK_INT(duration_range("..1s", &low, &high, &(struct err)ERR_NONE), -1);
    CHECK_INT(duration_range("1s...2s", &low, &high, &(struct err)ERR_NONE), -1);
}

int main(void)
{
    RUN(ages_show_the_largest_unit);
    RUN(durations_in_messages_are_exact_below_a_minute);
    RUN(rates_are_shown_as_they_are_given);
    RUN(every_rate_that_is_shown_is_read_as_the_same);
    RUN(durations_have_a_number_and_a_unit);
    RUN(what_is_no_duration_is_refused_with_the_reason);
    RUN(ranges_go_from_low_to_high);
    return unit_done();
}

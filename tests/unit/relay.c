/* Times in columns. */
#include "outbox/relay.h"

#include "unit.h"

static void is(const char *text, int64_t wanted)
{
    int64_t ms = -1;

    CHECK(relay_time(str_of(text), &ms));
    CHECK_INT(ms, wanted);
}

static void is_none(const char *text)
{
    int64_t ms;
    CHECK(!relay_time(str_of(text), &ms));
}

static void times_are_what_databases_write(void)
{
    is("1970-01-01T00:00:01Z", 1000);
    is("1970-01-01 00:00:01", 1000);
    is("1970-01-01 00:00:01.25", 1250);
    is("1970-01-01 01:00:01+01", 1000);
    is("1970-01-01 05:30:01.5+05:30", 1500);
    is("1969-12-31 23:59:59.999-00", -1);
    is("0", 0);
    is("1.5", 1500);
    is("-1", -1000);
    is("99999999999", INT64_C(99999999999000));
    is("100000000000", INT64_C(100000000000));
}

static void what_is_no_time_is_refused(void)
{
    is_none("");
    is_none("1970-01-01");
    is_none("1970-01-01 00:00");
    is_none("1970-02-30 00:00:00");
    is_none("1970-01-01 00:00:01 UTC");
    is_none("1e300");
    is_none("--1");
    is_none("1..5");
    is_none("999999999999999999999999999999999999999");
    is_none("0000000000000000000000000000000000000000000000000000");
}

int main(void)
{
    RUN(times_are_what_databases_write);
    RUN(what_is_no_time_is_refused);
    return unit_done();
}

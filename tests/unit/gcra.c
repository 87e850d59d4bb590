#include "base/gcra.h"

#include "unit.h"

static void one_at_a_time(void)
{
    struct gcra g = {100, 1, 0};

    CHECK_INT(gcra_wait(&g, 5000), 0);
    CHECK_INT(gcra_free(&g, 5000), 1);
    gcra_take(&g, 1, 5000);
    CHECK_INT(gcra_free(&g, 5000), 0);
    CHECK_INT(gcra_wait(&g, 5000), 100);
    CHECK_INT(gcra_wait(&g, 5099), 1);
    CHECK_INT(gcra_wait(&g, 5100), 0);
    CHECK_INT(gcra_free(&g, 5100), 1);
}

static void who_takes_ahead_waits_in_turn(void)
{
    struct gcra g = {100, 1, 0};

    for (int64_t i = 0; i < 5; i++) {
        CHECK_INT(gcra_wait(&g, 1000), i * 100);
        gcra_take(&g, 1, 1000);
    }
}

static void a_burst_comes_at_once_and_is_paid_back(void)
{
    struct gcra g = {100, 3, 0};

    CHECK_INT(gcra_free(&g, 1000), 3);
    gcra_take(&g, 3, 1000);
    CHECK_INT(gcra_free(&g, 1000), 0);
    CHECK_INT(gcra_wait(&g, 1000), 100);
    CHECK_INT(gcra_free(&g, 1250), 2);
    CHECK_INT(gcra_free(&g, 1300), 3);
    CHECK_INT(gcra_free(&g, 9000), 3); /* and no more, however long it was quiet */
}

static void over_a_long_time_the_rate_is_exact(void)
{
    struct gcra g = {7, 20, 0};
    int64_t n = 0;

    for (int64_t now = 0; now < 700000; now += 13) {
        int64_t free = gcra_free(&g, now);
        gcra_take(&g, free, now);
        n += free;
    }
    CHECK(n >= 100000 && n <= 100020);
}

int main(void)
{
    RUN(one_at_a_time);
    RUN(who_takes_ahead_waits_in_turn);
    RUN(a_burst_comes_at_once_and_is_paid_back);
    RUN(over_a_long_time_the_rate_is_exact);
    return unit_done();
}

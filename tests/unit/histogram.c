#include "base/histogram.h"

#include "unit.h"

static void classes_include_their_upper_end(void)
{
    CHECK_INT(histogram_class(0), 0);
    CHECK_INT(histogram_class(1), 0);
    CHECK_INT(histogram_class(2), 1);
    CHECK_INT(histogram_class(3), 2);
    CHECK_INT(histogram_class(300000), HISTOGRAM - 2);
    CHECK_INT(histogram_class(INT64_MAX), HISTOGRAM - 1);
    for (int i = 1; i < HISTOGRAM; i++)
        CHECK(histogram_upper[i] > histogram_upper[i - 1]);
}

static void percentiles_are_upper_ends(void)
{
    int64_t count[HISTOGRAM] = {0};

    CHECK_INT(histogram_percentile(count, 0.5), -1);
    count[histogram_class(4)] = 98;
    count[histogram_class(900)] = 2;
    CHECK_INT(histogram_percentile(count, 0.5), 5);
    CHECK_INT(histogram_percentile(count, 0.98), 5);
    CHECK_INT(histogram_percentile(count, 0.99), 1000);
    CHECK_INT(histogram_percentile(count, 1), 1000);
}

int main(void)
{
    RUN(classes_include_their_upper_end);
    RUN(percentiles_are_upper_ends);
    return unit_done();
}

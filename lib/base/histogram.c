#include "base/histogram.h"

const int64_t histogram_upper[HISTOGRAM] = {
    1,    2,    5,    10,    20,    50,    100,    200,    500,
    1000, 2000, 5000, 10000, 20000, 60000, 120000, 300000, INT64_MAX,
};

int histogram_class(int64_t took_ms)
{
    int at = 0;

    while (took_ms > histogram_upper[at])
        at++;
    return at;
}

int64_t histogram_percentile(const int64_t count[HISTOGRAM], double share)
{
    int64_t all = 0, seen = 0;

    for (int i = 0; i < HISTOGRAM; i++)
        all += count[i];
    if (all == 0)
        return -1;
    for (int i = 0; i < HISTOGRAM; i++) {
        seen += count[i];
        if ((double)seen >= share * (double)all)
            return histogram_upper[i];
    }
    return histogram_upper[HISTOGRAM - 1];
}

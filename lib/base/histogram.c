#include "base/histogram.h"

const int64_t times_upper[TIMES] = {
    1,    2,    5,    10,    20,    50,    100,    200,    500,
    1000, 2000, 5000, 10000, 20000, 60000, 120000, 300000, INT64_MAX,
};

int times_class(int64_t took_ms)
{
    int at = 0;

    while (took_ms > times_upper[at])
        at++;
    return at;
}

int64_t times_percentile(const int64_t count[TIMES], double share)
{
    int64_t all = 0, seen = 0;

    for (int i = 0; i < TIMES; i++)
        all += count[i];
    if (all == 0)
        return -1;
    for (int i = 0; i < TIMES; i++) {
        seen += count[i];
        if ((double)seen >= share * (double)all)
            return times_upper[i];
    }
    return times_upper[TIMES - 1];
}

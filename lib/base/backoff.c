#include "base/backoff.h"

static int64_t ceiling(const struct backoff *b, int64_t attempt)
{
    int64_t doublings = attempt > 1 ? attempt - 1 : 0;

    if (doublings >= 63 || b->base_ms > b->max_ms >> doublings)
        return b->base_ms > 0 ? b->max_ms : 0;
    return b->base_ms << doublings;
}

/* Below 200 days, the remainder's bias towards small numbers is less than one in a million. */
static int64_t up_to(int64_t most, uint64_t random)
{
    return (int64_t)(random % ((uint64_t)most + 1));
}

int64_t backoff_ms(const struct backoff *b, int64_t attempt, uint64_t random)
{
    int64_t most = ceiling(b, attempt);

    switch (b->jitter) {
    case BACKOFF_FULL:
        return up_to(most, random);
    case BACKOFF_EQUAL:
        return most / 2 + up_to(most - most / 2, random);
    default:
        return most;
    }
}

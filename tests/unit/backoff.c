#include "base/backoff.h"

#include "unit.h"

static void the_ceiling_doubles_up_to_its_maximum(void)
{
    static const struct {
        int64_t base, max, attempt, wait;
    } rows[] = {
        {1000, 900000, 1, 1000},
        {1000, 900000, 2, 2000},
        {1000, 900000, 10, 512000},
        {1000, 900000, 11, 900000},
        {1000, 900000, 0, 1000},
        {1000, 900000, -5, 1000},
        {1000, 900000, 64, 900000},
        {1000, 900000, INT64_MAX, 900000},
        {0, 900000, 1, 0},
        {0, 900000, 100, 0},
        {5, 5, 3, 5},
        {1, INT64_MAX, 63, INT64_C(1) << 62},
        {1, INT64_MAX, 64, INT64_MAX},
        {3, INT64_MAX, 63, INT64_MAX},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct backoff b = {rows[i].base, rows[i].max, BACKOFF_NONE};
        CHECK_INT(backoff_ms(&b, rows[i].attempt, UINT64_MAX), rows[i].wait);
    }
}

static void full_jitter_reaches_both_ends_and_stays_between(void)
{
    struct backoff b = {4, 1000, BACKOFF_FULL};
    bool seen[9] = {false};

    for (uint64_t random = 0; random < 100; random++) {
        int64_t wait = backoff_ms(&b, 2, random);
        if (CHECK(wait >= 0 && wait <= 8))
            seen[wait] = true;
    }
    for (int i = 0; i <= 8; i++)
        CHECK(seen[i]);
}

static void equal_jitter_keeps_half(void)
{
    struct backoff b = {9, 1000, BACKOFF_EQUAL};
    int64_t least = INT64_MAX, most = 0;

    for (uint64_t random = 0; random < 100; random++) {
        int64_t wait = backoff_ms(&b, 1, random);
        least = wait < least ? wait : least;
        most = wait > most ? wait : most;
    }
    CHECK_INT(least, 4);
    CHECK_INT(most, 9);
}

static void the_longest_wait_does_not_overflow(void)
{
    struct backoff b = {INT64_MAX, INT64_MAX, BACKOFF_FULL};

    CHECK_INT(backoff_ms(&b, INT64_MAX, INT64_MAX), INT64_MAX);
    CHECK_INT(backoff_ms(&b, INT64_MAX, UINT64_MAX), INT64_MAX);
    b.jitter = BACKOFF_EQUAL;
    CHECK(backoff_ms(&b, 7, UINT64_MAX) >= INT64_MAX / 2);
}

int main(void)
{
    RUN(the_ceiling_doubles_up_to_its_maximum);
    RUN(full_jitter_reaches_both_ends_and_stays_between);
    RUN(equal_jitter_keeps_half);
    RUN(the_longest_wait_does_not_overflow);
    return unit_done();
}

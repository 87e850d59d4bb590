#include "deliver/reconnect.h"

#include "base/backoff.h"
#include "process/proc.h"

#define MINUTE_MS 60000

/* 0, or -1 when we should stop. */
static int wait_until(const struct store *s, int64_t until_ms)
{
    for (int64_t now; (now = clock_mono_ms()) < until_ms; proc_wait(NULL, 0, until_ms - now))
        if (store_stopping(s))
            return -1;
    return store_stopping(s) ? -1 : 0;
}

int reconnect(struct reconnect *r, struct store *s)
{
    static const struct backoff pace = {.base_ms = 1000, .max_ms = 30000, .jitter = BACKOFF_EQUAL};
    struct err unsaid;

    for (int n = 1; n <= RECONNECT_TRIES; n++) {
        int64_t *slot = &r->tried_ms[r->next++ % RECONNECT_TRIES];
        int64_t from = clock_mono_ms() + backoff_ms(&pace, n, clock_random());
        if (*slot != 0 && *slot + MINUTE_MS > from)
            from = *slot + MINUTE_MS;
        if (wait_until(s, from) < 0)
            return -1;
        *slot = clock_mono_ms();
        err_clear(&unsaid);
        if (store_reopen(s, &unsaid) == 0)
            return 0;
    }
    return -1;
}

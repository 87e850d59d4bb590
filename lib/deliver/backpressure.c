#include "deliver/backpressure.h"

#include "process/proc.h"
#include "store/groups.h"

#define LOOK_MS 100 /* settling wakes no waiting process */

int64_t backpressure_wait(const struct backpressure *p, struct store *store, struct err *e)
{
    int64_t begun = clock_mono_ms(), lag = 0, left;
    struct buf name = BUF_INIT;
    int got;

    if (p->most == 0)
        return INT64_MAX;
    while ((got = group_backlog(store, p->own, p->most, &lag, &name, e)) == 0 && lag >= p->most) {
        left = p->wait_ms < 0 ? LOOK_MS : begun + p->wait_ms - clock_mono_ms();
        if (left <= 0) {
            got = err_set(e, EX_TEMPFAIL,
                          "group %s has %s%lld event%s to settle (--max-pending): try again later",
                          err_quote(name.p, name.n).text, lag > p->most ? "more than " : "",
                          (long long)p->most, p->most == 1 ? "" : "s");
            break;
        }
        if (proc_staged() && proc_stopping()) {
            got = err_set(e, EX_TEMPFAIL, "stopped while group %s was full (--max-pending)",
                          err_quote(name.p, name.n).text);
            break;
        }
        proc_wait(NULL, 0, left < LOOK_MS ? left : LOOK_MS);
        if ((got = store_there(store, e)) < 0)
            break;
    }
    buf_free(&name);
    return got < 0 ? -1 : p->most - lag;
}

#include "pending.h"

#include <poll.h>

#define LOOK_MS 100 /* settling rings no bell */

int64_t pending_wait(const struct pending *p, struct store *store, struct err *e)
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
        poll(NULL, 0, (int)(left < LOOK_MS ? left : LOOK_MS));
    }
    buf_free(&name);
    return got < 0 ? -1 : p->most - lag;
}

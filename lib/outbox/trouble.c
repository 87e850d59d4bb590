/*
 * Trouble that passes, a lock or an unreachable server: said once, and waited for.
 */
#include "cli/say.h"
#include "outbox/engine.h"
#include "process/proc.h"

#include <stdlib.h>

#define LOCKED_AGAIN_MS 1000 /* between attempts at a database that stays locked */
#define AWAY_MS 1000         /* an unreachable server: the first pause, which then grows */
#define AWAY_MAX_MS 60000

bool relay_will_pass(const struct err *e)
{
    return e->status == EX_TEMPFAIL || e->status == EX_UNAVAILABLE;
}

/* Report trouble once, and wait. 1, or 0 when a signal ended the wait. */
int relay_endure(struct relay *r, struct err *e)
{
    const struct backoff away = {AWAY_MS, AWAY_MAX_MS, BACKOFF_EQUAL};
    bool lost = r->spool != NULL && store_lost(r->spool);
    bool locked = e->status == EX_TEMPFAIL && !lost;
    int64_t until = clock_mono_ms();
    struct err again = ERR_NONE;

    if (relay_must_end(r))
        return 0;
    if (r->troubles++ == 0)
        say_warn("%s: %s", e->text, locked ? "waiting" : "trying again");
    r->locked = locked;
    until += locked ? LOCKED_AGAIN_MS : backoff_ms(&away, r->troubles, clock_random());
    err_clear(e);
    for (int64_t now; (now = clock_mono_ms()) < until;) {
        if (relay_must_end(r))
            return 0;
        proc_wait(NULL, 0, until - now < AWAY_MS ? until - now : AWAY_MS);
    }
    if (lost)
        store_reopen(r->spool, &again); /* or the next round meets the same trouble */
    return 1;
}

void relay_trouble_over(struct relay *r)
{
    if (r->troubles > 0)
        say_note("%s: %s", r->place, r->locked ? "no longer locked" : "connected again");
    r->troubles = 0;
}

/*
 * Goes over the table, once or again and again (-f), and decides when to look again.
 */
#include "cli/say.h"
#include "outbox/engine.h"
#include "process/proc.h"

#include <inttypes.h>
#include <poll.h>

#define HELD_AGAIN_MS 20    /* between passes while others hold rows */
#define PRUNE_EACH_MS 60000 /* while following */
#define BUSY_AGAIN_MS 100   /* between looks at rows that another relay holds, while following */

/* Relay the rows that are there at the start. Wait for rows that another relay holds: it may leave
   later ones to us. */
static int run_once(struct relay *r, struct err *e)
{
    int64_t last, until = clock_mono_ms() + r->terms->wait_ms;

    if (r->engine->last(r, &last, e) < 0)
        return -1;
    for (;;) {
        int64_t before = r->result->relayed;
        if (relay_pass(r, last, e) < 0)
            return -1;
        if (r->pause_ms > 0)
            return err_set(e, EX_TEMPFAIL, "%s: not available (exit status %d): try again later",
                           err_quote_text(r->terms->sink[0]).text, EX_UNAVAILABLE);
        if (relay_enough(r) || (r->busy == 0 && r->due_ms > clock_now_ms()))
            return 0;
        if (r->result->relayed > before)
            until = clock_mono_ms() + r->terms->wait_ms;
        if (r->busy > 0 && clock_mono_ms() >= until)
            return err_set(e, EX_TEMPFAIL,
                           "%s: %" PRId64 " row%s, the first of them row %" PRId64
                           ": locked by another relay or session, or row-level security forbids "
                           "this role to update %s",
                           r->place, r->busy, r->busy == 1 ? "" : "s", r->busy_id,
                           r->busy == 1 ? "it" : "them");
        if (r->busy > 0)
            proc_wait(NULL, 0, HELD_AGAIN_MS);
    }
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Sleep until there may be something to do. 1; 0 when a signal came; -1: error. */
static int wait_for_news(struct relay *r, struct err *e)
{
    for (;;) {
        int64_t now = clock_now_ms(), wait = r->engine->patience_ms(r);
        struct pollfd fds[1 + CHILD_FDS] = {{.fd = r->engine->fd(r), .events = POLLIN}};
        size_t n = fds[0].fd >= 0;

        if (r->pause_ms > 0)
            wait = sooner(wait, r->pause_ms - clock_mono_ms());
        else if (r->due_ms != INT64_MAX)
            wait = sooner(wait, r->due_ms - now);
        if (r->busy > 0)
            wait = sooner(wait, BUSY_AGAIN_MS);
        n += relay_sink_fds(r, fds + n, &wait);
        proc_wait(fds, n, wait < 0 ? 0 : wait);
        if (proc_stopping())
            return 0;
        if (relay_sink_idle(r, e) < 0 || (r->spool != NULL && store_there(r->spool, e) < 0))
            return -1;
        int news = r->engine->news(r, e);
        if (news < 0)
            return -1;
        if (r->pause_ms > 0 && clock_mono_ms() < r->pause_ms)
            continue;
        if (news > 0 || r->busy > 0 || r->pause_ms > 0 || r->due_ms <= clock_now_ms())
            return 1;
    }
}

static int pass_and_prune(struct relay *r, int64_t *pruned_ms, struct err *e)
{
    if (relay_pass(r, INT64_MAX, e) < 0)
        return -1;
    relay_trouble_over(r);
    if (r->terms->prune_ms < 0 || relay_enough(r) ||
        (*pruned_ms != 0 && clock_mono_ms() - *pruned_ms <= PRUNE_EACH_MS))
        return 0;
    if (relay_prune(r, e) < 0 && e->status != EX_TEMPFAIL)
        return -1;
    err_clear(e); /* locked: there is time */
    *pruned_ms = clock_mono_ms();
    return 0;
}

static int follow(struct relay *r, struct err *e)
{
    int64_t pruned_ms = 0;
    int got = r->engine->news(r, e) < 0 ? -1 : 1;

    while (got != 0) {
        r->pause_ms = 0;
        if (got > 0)
            got = pass_and_prune(r, &pruned_ms, e);
        if (got == 0 && relay_enough(r))
            return 0;
        if (got == 0)
            got = wait_for_news(r, e);
        if (got < 0 && (!relay_will_pass(e) || r->unmarked))
            return -1;
        if (got < 0 && (got = relay_endure(r, e)) == 0)
            err_clear(e); /* stopped, with nothing left to do */
    }
    return 0;
}

int relay_run(struct relay *r, struct store *spool, struct relay_result *result, struct err *e)
{
    int got;

    r->spool = spool;
    r->result = result;
    if (!r->open) /* a signal came first */
        return 0;
    got = r->terms->follow ? follow(r, e) : run_once(r, e);
    if (got == 0 && !r->terms->follow && r->terms->prune_ms >= 0)
        got = relay_prune(r, e);
    if (relay_sink_end(r, e) < 0)
        got = -1;
    return got;
}

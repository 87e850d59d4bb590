#include "base/mem.h"
#include "cli/out.h"
#include "cli/say.h"
#include "deliver/crew.h"
#include "deliver/pipe.h"
#include "process/proc.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCKED_MAX 1000  /* events claimed ahead to reach other subjects */
#define SETTLE_BATCH 1000 /* the most decisions to settle together */

/* ---------------------------------------------------------------------------------------- claim */

/* In an ordered group an event waits for the earlier ones of its subject. An event whose consumer
   died may kill us, too, and what is not settled by then would be blamed. */
static bool may_begin(const struct loop *loop, const struct group_event *ge, size_t at)
{
    if (ge->deaths > 0 && loop->decide.settles > 0)
        return false;
    if (!group_ordered(loop->group) || ge->entry.subject.p == NULL)
        return true;
    for (size_t i = 0; i < at; i++)
        if (str_eq(loop->decide.queue[i]->entry.subject, ge->entry.subject))
            return false;
    return !loop->crew->has(loop, ge->entry.subject);
}

static int begin_queued(struct loop *loop, struct err *e)
{
    struct decide *d = &loop->decide;
    int got = 1;

    if ((loop->pause_ms != 0 && clock_mono_ms() < loop->pause_ms) || d->on_hold ||
        decide_order_waits(d))
        return 0;
    for (size_t at = 0; at < d->queued && loop->crew->room(loop) > 0;) {
        if (!may_begin(loop, d->queue[at], at)) {
            at++;
            continue;
        }
        if (!decide_expired(d, d->queue[at])) {
            if ((got = loop->crew->begin(loop, d->queue[at], e)) <= 0)
                break;
            loop->pause_ms = 0;
        }
        d->queued--;
        memmove(d->queue + at, d->queue + at + 1, (d->queued - at) * sizeof *d->queue);
    }
    return got < 0 ? -1 : 0;
}

/* All events in the queue wait for others of their subjects, and handlers are free: other subjects
   must not wait with them. */
static bool blocked(const struct loop *loop)
{
    return group_ordered(loop->group) && loop->decide.queued > 0 && loop->crew->room(loop) > 0;
}

/* How many may be claimed now, regardless of the rate. Few more than can run, so that no handler
   waits for a commit, and other consumers get their share and a crash counts as a death for few
   events. */
static size_t wanted(const struct loop *loop)
{
    size_t have = loop->decide.queued + loop->running,
           most = blocked(loop) ? BLOCKED_MAX : loop->queue_max;
    size_t max = most > have ? most - have : 0;
    /* While handlers run, the next events are claimed ahead, unless one waits to begin at once. */
    bool ahead = loop->decide.queued == 0 && loop->more && !group_skipped(loop->group);

    if (loop->crew->room(loop) <= loop->decide.queued && !ahead && !blocked(loop))
        return 0;
    if (loop->terms->most != 0 && (int64_t)max > loop->terms->most - loop->decide.taken)
        max = (size_t)(loop->terms->most - loop->decide.taken);
    return max;
}

/* Could something be claimed now? Sets *next to what. */
static bool claim_due(const struct loop *loop, struct decide_next *next)
{
    size_t room = loop->crew->room(loop), queued = loop->decide.queued;

    *next = (struct decide_next){
        .max = wanted(loop),
        .at_once = room > queued && !blocked(loop) ? room - queued : room,
    };
    return next->max > 0 && (loop->pace_ms == 0 || clock_mono_ms() >= loop->pace_ms);
}

static void queue_claimed(struct loop *loop, struct group_event **got, size_t n)
{
    struct decide *d = &loop->decide;

    if (d->queued + n > d->queue_room) {
        d->queue_room = d->queued + n;
        d->queue = mem_grow(d->queue, d->queue_room, sizeof *d->queue);
    }
    if (n > 0)
        memcpy(d->queue + d->queued, got, n * sizeof *got);
    d->queued += n;
    d->taken += (int64_t)n;
    loop->pace_ms =
        group_pace_ms(loop->group) == 0 ? 0 : clock_mono_ms() + group_pace_ms(loop->group);
    loop->more = n > 0;
    loop->drained = n == 0 && loop->pace_ms == 0;
}

static int claim(struct loop *loop, struct err *e)
{
    struct decide *d = &loop->decide;
    struct decide_next next;
    int n;

    if (!claim_due(loop, &next))
        return 0;
    if ((n = intake_claim(&loop->intake, next.max, next.at_once, &next.event, e)) < 0)
        return -1;
    if (n == 0 && d->result->why.status != 0)
        return 0;
    queue_claimed(loop, next.event, (size_t)n);
    if (loop->drained && loop->terms->follow && intake_look_past(&loop->intake, e) < 0)
        return -1;
    d->on_hold &= n == 0;
    return 0;
}

static int claim_and_begin(struct loop *loop, struct err *e)
{
    return claim(loop, e) < 0 || begin_queued(loop, e) < 0 ? -1 : 0;
}

/* --------------------------------------------------------------------------------------- settle */

/* Decisions are settled together, but soon: neither the log nor the next reader in the pipe waits
   for long. We settle at once when there is nothing else to do, or when what could begin waits for
   that: an event whose consumer died, or in an ordered group one behind an event that was returned
   or given up. */
static bool settle_due(const struct loop *loop)
{
    const struct decide *d = &loop->decide;

    if (d->settles == 0)
        return false;
    return d->settles >= SETTLE_BATCH || d->on_hold || (loop->running == 0 && d->queued == 0) ||
           decide_order_waits(d) || (d->queued > 0 && loop->crew->room(loop) > 0) ||
           clock_mono_ms() >= d->settle_ms + loop->settle_wait_ms;
}

static int settle(struct loop *loop, struct err *e)
{
    loop->drained = false; /* a retry may be due already */
    return decide_settle(&loop->decide, &(struct decide_next){0}, e);
}

/* Settle what is due. If we may go on and something is to be claimed, settle all, in the
   transaction that claims. */
static int settle_and_claim(struct loop *loop, bool open, struct err *e)
{
    const struct decide *d = &loop->decide;
    struct decide_next next;

    if (!open || d->settles == 0 || d->on_hold || !claim_due(loop, &next) || !decide_plain(d))
        return settle_due(loop) ? settle(loop, e) : 0;
    loop->drained = false;
    if (intake_settle(&loop->intake, &next, e) < 0)
        return -1;
    if (next.n > 0)
        queue_claimed(loop, next.event, (size_t)next.n);
    return 0;
}

static int release_queued(struct loop *loop, struct err *e)
{
    if (loop->decide.queued == 0)
        return 0;
    decide_release_queued(&loop->decide);
    return settle(loop, e);
}

/* ----------------------------------------------------------------------------------------- loop */

/* When to look for work again without a wake-up: at once, when the last look found some; when the
   rate allows the events that are there, or the next one becomes due. */
static int64_t next_look(struct loop *loop, int64_t now)
{
    if (loop->decide.grace_ms != 0 || wanted(loop) == 0)
        return INT64_MAX;
    if (loop->more)
        return now;
    if (loop->pace_ms != 0)
        return loop->pace_ms;
    int64_t wait_ms = loop->terms->follow ? intake_wait_ms(&loop->intake) : -1;
    return wait_ms < 0 ? INT64_MAX : now + wait_ms;
}

static int64_t next_wait(struct loop *loop)
{
    int64_t now = clock_mono_ms(), until = loop->crew->deadline(loop), look = next_look(loop, now);
    const struct decide *d = &loop->decide;

    /* A time that has passed has been acted on, or will be when the next handler ends. */
    if (d->grace_ms > now && d->grace_ms < until)
        until = d->grace_ms;
    if (loop->pause_ms > now && loop->pause_ms < until)
        until = loop->pause_ms;
    if (d->settles > 0 && d->settle_ms + loop->settle_wait_ms < until)
        until = d->settle_ms + loop->settle_wait_ms;
    if (look < until)
        until = look;
    return until == INT64_MAX ? -1 : until <= now ? 0 : until - now;
}

/* A spool that is lost ends the handlers at once: their events are others' by now. After a signal,
   as when we were stopped, no descriptor has been looked at. */
static int wait_for_something(struct loop *loop, struct err *e)
{
    size_t n = loop->crew->fds(loop, loop->fds);
    struct err met_later = ERR_NONE; /* by the next claim, if it is no loss */
    int line = store_line(loop->store);

    if (loop->terms->follow && loop->crew->room(loop) > 0 && loop->decide.grace_ms == 0) {
        store_wait(loop->store, loop->fds, n, next_wait(loop), proc_wait, &met_later);
        if (!store_lost(loop->store))
            return 0;
        *e = met_later;
        return -1;
    }
    loop->fds[n] = (struct pollfd){.fd = line, .events = POLLIN};
    proc_wait(loop->fds, n + (line >= 0), next_wait(loop));
    return line < 0 ? 0 : store_there(loop->store, e);
}

static void reap(struct loop *loop)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        loop->crew->ended(loop, pid, status, clock_mono_ms());
}

/* We are told to stop: return events that have not begun; running handlers have the grace, or none
   after a second signal. */
static int stop(struct loop *loop, struct err *e)
{
    int64_t now = clock_mono_ms();

    if (loop->decide.grace_ms == 0) {
        loop->decide.result->stopped = true;
        loop->decide.grace_ms = now + loop->terms->grace_ms;
        if (release_queued(loop, e) < 0)
            return -1;
        if (loop->running > 0 && isatty(STDERR_FILENO))
            say_note("stopping: %zu running; a second signal ends them now", loop->running);
        loop->crew->quit(loop, now);
    }
    if (proc_forced() || now >= loop->decide.grace_ms)
        loop->crew->force(loop, now);
    return 0;
}

/* Is nothing left to do, except to end a crew that stays? */
static bool all_done(const struct loop *loop)
{
    const struct decide *d = &loop->decide;

    if (loop->running > 0 || d->queued > 0 || d->settles > 0)
        return false;
    if (d->grace_ms != 0 || d->result->why.status != 0)
        return true;
    if (loop->terms->most != 0 && d->taken >= loop->terms->most)
        return true;
    return loop->drained && (!loop->terms->follow || loop->intake.past_last);
}

static bool finished(const struct loop *loop)
{
    return all_done(loop) && !loop->crew->busy(loop);
}

static int go_round(struct loop *loop, struct err *e)
{
    struct decide *d = &loop->decide;
    int got = 0;
    bool stopping = proc_stopping() || out_gone() || d->result->why.status != 0;

    if (stopping && stop(loop, e) < 0)
        return -1;
    /* First the handlers, which run while we settle and claim. */
    if (!stopping && begin_queued(loop, e) < 0)
        return -1;
    if (settle_and_claim(loop, !stopping && d->result->why.status == 0, e) < 0)
        return -1;
    if (d->on_hold && release_queued(loop, e) < 0)
        return -1;
    bool open = !stopping && d->result->why.status == 0;
    if (open && (begin_queued(loop, e) < 0 || claim_and_begin(loop, e) < 0))
        return -1;
    if (open && blocked(loop) && claim_and_begin(loop, e) < 0)
        return -1;
    if (all_done(loop))
        loop->crew->quit(loop, clock_mono_ms());
    if (finished(loop))
        return 0;
    if ((d->result->why.status == 0 || stopping) && !settle_due(loop))
        got = wait_for_something(loop, e);
    reap(loop);
    if (got < 0)
        return -1;
    return loop->crew->move(loop, clock_mono_ms(), e);
}

static int run_crew(struct loop *loop, struct err *e)
{
    int got = 0;

    if (loop->crew->open(loop, e) < 0)
        return -1;
    loop->fds = mem_zero(loop->fds_max + 1, sizeof *loop->fds);
    while (got == 0 && !finished(loop))
        got = go_round(loop, e);
    if (got == 0 && proc_stopping())
        proc_kill_all(0, SIGKILL); /* daemons that handlers left behind */
    if (got < 0 && store_lost(loop->store))
        proc_end_all(); /* before others get their events */
    loop->crew->close(loop);
    return got;
}

int loop_run(struct store *store, struct group *group, const struct loop_terms *terms,
             struct loop_result *out, struct err *e)
{
    struct loop loop = {.decide = {.store = store,
                                   .group = group,
                                   .terms = terms,
                                   .result = out,
                                   .taken = out->done + out->retried + out->dead,
                                   .emit = {.group = terms->group}},
                        .store = store,
                        .group = group,
                        .terms = terms,
                        .crew = terms->window > 0 ? &workers_crew : &handlers_crew,
                        .intake = {.decide = &loop.decide, .last = terms->last}};
    int got;

    proc_grace(terms->grace_ms);
    store_stop(store, proc_forced);
    out_watch();
    /* A handler has done its work, and the grace is for its output, too; without handlers, lines
       are returned. */
    out_stop_when(terms->argv == NULL ? proc_stopping : proc_forced);
    got = terms->argv == NULL ? pipe_run(&loop.intake, e) : run_crew(&loop, e);
    decide_free(&loop.decide);
    js_scan_free(&loop.scan);
    buf_free(&loop.output);
    free(loop.fds);
    return got;
}

#include "dispatch.h"

#include "child.h"
#include "environment.h"
#include "lines.h"
#include "mem.h"
#include "proc.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 1000    /* a bell may be missed, a consumer may die without ringing it */
#define HOLD_MIN_MS 100 /* even with --backoff 0 nobody hammers at what is down */
#define PIPE_BATCH 1000 /* events a claim without handlers: a commit for each half */

/* A place where a handler runs, or nothing. */
struct slot {
    struct group_event *claimed; /* NULL: free */
    struct event event;
    struct child child;
    struct environment environment;
    char marker[40];
};

struct dispatch {
    struct store *store;
    struct group *group;
    const struct dispatch_terms *terms;
    struct dispatch_result *result;
    struct js_scan scan;
    struct slot *slot;
    size_t slots, running;
    struct group_event **queue; /* claimed and not started */
    size_t queued;
    struct pollfd *fds;
    struct group_settle *settle; /* what this round settles */
    size_t settles;
    int64_t taken;          /* settled or in our hands: for -n */
    int64_t pause_ms;       /* monotonic: no starting before; the system had no process to give */
    int64_t holds;          /* deferrals in a row, for the backoff of holds */
    int cannot_run_row;     /* events in a row that ended with 126 or 127 */
    int64_t cannot_run_seq; /* the last of them */
    int64_t last;           /* as terms->last, once the time terms->until_ms has come */
    int64_t grace_ms;       /* monotonic: when a stop becomes forceful; 0: not stopping */
    bool drained;           /* the last claim found nothing, and we do not follow */
    bool on_hold;
    bool past_last; /* nothing more can come up to terms->last */
};

/* ------------------------------------------------------------------------------------- outcomes */

static void add_settle(struct dispatch *d, const struct group_settle *s)
{
    d->settle[d->settles++] = *s;
}

/* Back to the group, as if it had never been claimed. */
static void release(struct dispatch *d, const struct group_event *event, enum group_outcome how)
{
    add_settle(d, &(struct group_settle){.event = event, .outcome = how, .due_ms = clock_now_ms()});
    d->taken--;
}

static void say_failure(struct dispatch *d, const struct slot *s, const struct group_settle *settle)
{
    const struct group_event *ge = s->claimed;
    struct err_about about = {.id = ge->entry.id,
                              .type = ge->entry.type,
                              .group = str_of(d->terms->group),
                              .attempt = ge->attempts + 1,
                              .correlationid = s->event.correlationid};
    int64_t wait = settle->due_ms - clock_now_ms();
    char age[CLOCK_TEXT_SIZE + 8];

    if (wait >= 1000)
        snprintf(age, sizeof age, "in %s", clock_age((char[CLOCK_TEXT_SIZE]){0}, wait));
    else if (wait > 0)
        snprintf(age, sizeof age, "in %" PRId64 "ms", wait);
    else
        snprintf(age, sizeof age, "at once");
    if (settle->outcome == GROUP_DEAD)
        err_say(ERR_WARN, settle->status, &about, "seq %lld %s: %s, attempt %lld: dead letter",
                (long long)ge->entry.seq, event_name(&s->event).text, settle->reason,
                (long long)ge->attempts + 1);
    else
        err_say(ERR_NOTE, settle->status, &about, "seq %lld %s: %s, attempt %lld: again %s",
                (long long)ge->entry.seq, event_name(&s->event).text, settle->reason,
                (long long)ge->attempts + 1, age);
}

static int defer(struct dispatch *d, struct slot *s, struct err *e)
{
    char text[CLOCK_TEXT_SIZE];

    release(d, s->claimed, GROUP_DEFER);
    d->result->deferred++;
    if (d->on_hold) /* one outage, whatever ran when it began */
        return 0;
    d->on_hold = true;
    const struct backoff pause = {d->terms->backoff.base_ms, d->terms->backoff.max_ms,
                                  BACKOFF_EQUAL};
    int64_t wait = backoff_ms(&pause, ++d->holds, clock_random());
    if (s->child.delay_ms >= 0)
        wait = s->child.delay_ms;
    int64_t until = clock_now_ms() + (wait < HOLD_MIN_MS ? HOLD_MIN_MS : wait);
    err_note("seq %lld %s: %s: group %s is on hold until %s", (long long)s->claimed->entry.seq,
             event_name(&s->event).text, s->child.why, err_quote_text(d->terms->group).text,
             clock_format(text, until));
    /* The hold first: an event that is back before it would be claimed again at once. */
    return group_hold(d->group, until, e);
}

static void fail(struct dispatch *d, struct slot *s)
{
    const struct child *c = &s->child;
    int64_t attempt = s->claimed->attempts + 1;
    bool dead = attempt >= d->terms->attempts ||
                (!c->timed_out && c->status < 256 && d->terms->dead_on[c->status]);
    int64_t wait =
        c->delay_ms >= 0 ? c->delay_ms : backoff_ms(&d->terms->backoff, attempt, clock_random());
    struct group_settle settle = {.event = s->claimed,
                                  .outcome = dead ? GROUP_DEAD : GROUP_RETRY,
                                  .status = c->status,
                                  .due_ms = clock_now_ms() + wait,
                                  .started_ms = c->started_ms,
                                  .took_ms = c->took_ms,
                                  .reason = c->why,
                                  .tail = c->tail};

    add_settle(d, &settle);
    say_failure(d, s, &settle);
    d->result->dead += dead;
    d->result->retried += !dead;
    if (c->status != EX_CANNOT_RUN && c->status != EX_NOT_FOUND) {
        d->cannot_run_row = 0;
        return;
    }
    if (d->cannot_run_row > 0 && d->cannot_run_seq == s->claimed->entry.seq)
        return; /* the same event once more says nothing new */
    d->cannot_run_seq = s->claimed->entry.seq;
    if (++d->cannot_run_row == 3) {
        d->result->cannot_run = c->status;
        err_set(&d->result->why, c->status,
                "%s: three events in a row ended with status %d: stopping",
                err_quote_text(d->terms->argv[0]).text, c->status);
    }
}

/* What a finished handler means; its output, if it succeeded, goes into our block. */
static int judge(struct dispatch *d, struct slot *s, struct err *e)
{
    struct child *c = &s->child;
    int got;

    if (c->force != CHILD_RUNS && d->running == 1) /* then these can only be its own */
        proc_kill(0, NULL, SIGKILL);
    if (c->status != 0 && (c->force == CHILD_RUNS || c->timed_out)) {
        if (!c->timed_out && c->status < 256 && d->terms->defer_on[c->status])
            return defer(d, s, e);
        fail(d, s);
        return 0;
    }
    if (c->status != 0) { /* it was we who ended it */
        release(d, s->claimed, GROUP_RELEASE);
        return 0;
    }
    d->holds = 0;
    d->cannot_run_row = 0;
    if (child_has_output(c)) {
        if ((got = group_holds(d->group, s->claimed, e)) < 0)
            return -1;
        if (got == 0)
            return err_set(e, EX_TEMPFAIL,
                           "the claim of seq %lld was taken over: its output is "
                           "discarded",
                           (long long)s->claimed->entry.seq);
        proc_open(); /* more than fits our block is written at once, and may have to wait */
        got = child_output(c, e);
        proc_shut();
        if (got < 0)
            return -1;
    }
    add_settle(d, &(struct group_settle){
                      .event = s->claimed, .outcome = GROUP_DONE, .took_ms = c->took_ms});
    d->result->done++;
    return 0;
}

/* Flush so that a signal ends the wait for a reader that does not read. */
static int flush(struct err *e)
{
    proc_open();
    int got = out_flush(e);
    proc_shut();
    return got;
}

/* Whatever has finished: output, then settle. A crash in between repeats the output; the other
   order would lose it. */
static int settle_finished(struct dispatch *d, struct err *e)
{
    for (size_t i = 0; i < d->slots; i++) {
        struct slot *s = &d->slot[i];
        if (s->claimed == NULL || !child_done(&s->child))
            continue;
        if (judge(d, s, e) < 0)
            return -1;
    }
    if (d->settles == 0)
        return 0;
    if (flush(e) < 0)
        return -1;
    if (out_gone()) /* the reader got none or part of it: these are not done */
        for (size_t i = 0; i < d->settles; i++)
            if (d->settle[i].outcome == GROUP_DONE) {
                d->settle[i] = (struct group_settle){.event = d->settle[i].event,
                                                     .outcome = GROUP_RELEASE,
                                                     .due_ms = clock_now_ms()};
                d->result->done--;
            }
    if (group_settle(d->group, d->settle, d->settles, e) < 0)
        return -1;
    d->settles = 0;
    d->drained = false; /* a retry may be due already */
    for (size_t i = 0; i < d->slots; i++) {
        struct slot *s = &d->slot[i];
        if (s->claimed == NULL || !child_done(&s->child))
            continue;
        child_reset(&s->child);
        s->claimed = NULL;
        d->running--;
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------- start */

static struct slot *free_slot(struct dispatch *d)
{
    for (size_t i = 0; i < d->slots; i++)
        if (d->slot[i].claimed == NULL)
            return &d->slot[i];
    return NULL;
}

/* An event that no attempt can help: not an event any more, or too large for an environment. */
static int bury(struct dispatch *d, struct group_event *ge, const struct err *why, struct err *e)
{
    struct group_settle settle = {.event = ge,
                                  .outcome = GROUP_DEAD,
                                  .started_ms = clock_now_ms(),
                                  .status = why->status,
                                  .reason = why->text,
                                  .tail = {"", 0}};

    if (group_settle(d->group, &settle, 1, e) < 0)
        return -1;
    err_warn("seq %" PRId64 ": %s: dead letter", ge->entry.seq, why->text);
    d->result->dead++;
    return 1;
}

/* 1 started, 0 not now, -1. */
static int start(struct dispatch *d, struct slot *s, struct group_event *ge, struct err *e)
{
    struct err why = ERR_NONE;

    if (event_read(&s->event, &d->scan, ge->entry.line, &why) < 0) {
        return bury(d, ge, &why, e);
    }
    s->claimed = ge;
    char *const *envp = environment_make(&s->environment, &s->event, ge->entry.seq,
                                         ge->attempts + 1, d->terms->group, store_path(d->store));
    snprintf(s->marker, sizeof s->marker, "EVENT_SEQ=%" PRId64, ge->entry.seq);
    struct child_run run = {
        .argv = d->terms->argv,
        .envp = envp,
        .marker = s->marker,
        .input = {ge->entry.line.p, ge->entry.line.n + 1}, /* with its newline */
        .timeout_ms = d->terms->timeout_ms,
        .grace_ms = d->terms->grace_ms,
        .about = {.id = s->event.id,
                  .type = s->event.type,
                  .group = str_of(d->terms->group),
                  .correlationid = s->event.correlationid,
                  .attempt = ge->attempts + 1}};
    if (child_start(&s->child, &run, &why) == 0) {
        d->running++;
        return 1;
    }
    s->claimed = NULL;
    switch (why.status) {
    case EX_OSERR: /* it will pass; nobody's fault */
        if (d->pause_ms == 0)
            err_warn("%s: waiting", why.text);
        d->pause_ms = clock_mono_ms() + LOOK_MS;
        return 0;
    case EX_DATAERR:
        return bury(d, ge, &why, e);
    case EX_CANNOT_RUN:
    case EX_NOT_FOUND:
        d->result->cannot_run = why.status;
        d->result->why = why;
        return 0;
    default:
        *e = why;
        return -1;
    }
}

static int start_queued(struct dispatch *d, struct err *e)
{
    size_t started = 0;
    int got = 1;

    if (d->pause_ms != 0 && clock_mono_ms() < d->pause_ms)
        return 0;
    for (struct slot *s; started < d->queued && (s = free_slot(d)) != NULL; started++) {
        if ((got = start(d, s, d->queue[started], e)) <= 0)
            break;
        d->pause_ms = 0;
    }
    d->queued -= started;
    memmove(d->queue, d->queue + started, d->queued * sizeof *d->queue);
    return got < 0 ? -1 : 0;
}

static int release_queued(struct dispatch *d, struct err *e)
{
    if (d->queued == 0)
        return 0;
    for (size_t i = 0; i < d->queued; i++)
        release(d, d->queue[i], GROUP_RELEASE);
    d->queued = 0;
    int got = group_settle(d->group, d->settle, d->settles, e);
    d->settles = 0;
    return got;
}

/* Once the time to stop at has come, it is a position. */
static int find_last(struct dispatch *d, struct err *e)
{
    const struct clock_point end = {CLOCK_TIME, d->terms->until_ms};

    if (d->last != 0 || d->terms->until_ms == 0 || clock_now_ms() < d->terms->until_ms)
        return 0;
    if (log_point(d->store, &end, &d->last, e) < 0)
        return -1;
    if (--d->last == 0) /* which would mean any */
        d->last = -1;
    return 0;
}

/* With --to there is an end also when following: once the log has got there. A time that has
   passed is such an end, too. */
static int passed_last(struct dispatch *d, struct err *e)
{
    const struct clock_point end = {CLOCK_END, 0};
    int64_t behind;

    if (d->last == 0 || d->past_last)
        return 0;
    if (log_point(d->store, &end, &behind, e) < 0)
        return -1;
    d->past_last = behind > d->last || d->terms->until_ms != 0;
    return 0;
}

/* Claim about twice as many as can run, so that nobody waits for a commit; not more, so that
   others get their share and a crash costs few a death. */
static int claim(struct dispatch *d, struct err *e)
{
    struct group_event **got;
    size_t max = 2 * d->slots - d->queued - d->running;
    int n;

    if (d->terms->most != 0 && (int64_t)max > d->terms->most - d->taken)
        max = (size_t)(d->terms->most - d->taken);
    if (max == 0)
        return 0;
    store_bell_clear(d->store);
    if (find_last(d, e) < 0 || (n = group_claim(d->group, max, d->last, &got, e)) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        d->queue[d->queued++] = got[i];
    d->taken += n;
    d->drained = n == 0;
    if (d->drained && d->terms->follow && passed_last(d, e) < 0)
        return -1;
    d->on_hold &= n == 0;
    return 0;
}

/* ----------------------------------------------------------------------------------------- loop */

static int64_t next_wait(struct dispatch *d)
{
    int64_t now = clock_mono_ms(), until = INT64_MAX;

    for (size_t i = 0; i < d->slots; i++)
        if (d->slot[i].claimed != NULL && child_deadline(&d->slot[i].child) < until)
            until = child_deadline(&d->slot[i].child);
    if (d->grace_ms != 0 && d->grace_ms < until)
        until = d->grace_ms;
    if (d->pause_ms != 0 && d->pause_ms < until)
        until = d->pause_ms;
    if (d->terms->follow && d->queued == 0 && d->running < d->slots && until - now > LOOK_MS)
        until = now + LOOK_MS;
    return until == INT64_MAX ? -1 : until <= now ? 0 : until - now;
}

static void wait_for_something(struct dispatch *d)
{
    size_t n = 0;

    for (size_t i = 0; i < d->slots; i++)
        if (d->slot[i].claimed != NULL)
            n += child_fds(&d->slot[i].child, d->fds + n);
    if (d->terms->follow && d->running < d->slots && d->grace_ms == 0 && store_bell(d->store) >= 0)
        d->fds[n++] = (struct pollfd){.fd = store_bell(d->store), .events = POLLIN};
    proc_wait(d->fds, n, next_wait(d));
}

static void reap(struct dispatch *d)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        for (size_t i = 0; i < d->slots; i++)
            if (d->slot[i].claimed != NULL && d->slot[i].child.pid == pid &&
                !d->slot[i].child.ended)
                child_ended(&d->slot[i].child, status, clock_mono_ms());
}

static int move_output(struct dispatch *d, struct err *e)
{
    int64_t now = clock_mono_ms();

    for (size_t i = 0; i < d->slots; i++)
        if (d->slot[i].claimed != NULL && child_io(&d->slot[i].child, now, e) < 0)
            return -1;
    return 0;
}

/* Told to stop: what has not begun goes back; what runs has the grace, or none after a second
   signal. */
static int stop(struct dispatch *d, struct err *e)
{
    int64_t now = clock_mono_ms();

    if (d->grace_ms == 0) {
        d->result->stopped = true;
        d->grace_ms = now + d->terms->grace_ms;
        if (release_queued(d, e) < 0)
            return -1;
        if (d->running > 0 && isatty(STDERR_FILENO))
            err_note("stopping: %zu running; once more ends them now", d->running);
    }
    if (proc_stops() > 1)
        d->grace_ms = now;
    if (now >= d->grace_ms)
        for (size_t i = 0; i < d->slots; i++)
            if (d->slot[i].claimed != NULL)
                child_stop(&d->slot[i].child, now);
    return 0;
}

static bool finished(const struct dispatch *d)
{
    if (d->running > 0 || d->queued > 0)
        return false;
    if (d->grace_ms != 0 || d->result->cannot_run != 0)
        return true;
    if (d->terms->most != 0 && d->taken >= d->terms->most)
        return true;
    return d->drained && (!d->terms->follow || d->past_last);
}

static int run_handlers(struct dispatch *d, struct err *e)
{
    bool stopping = false;

    while (!finished(d)) {
        stopping = proc_stopping() || out_gone() || d->result->cannot_run != 0;
        if (stopping && stop(d, e) < 0)
            return -1;
        if (!stopping && d->queued < d->slots && claim(d, e) < 0)
            return -1;
        if (!stopping && start_queued(d, e) < 0)
            return -1;
        if (finished(d))
            break;
        if (d->result->cannot_run == 0 || stopping)
            wait_for_something(d);
        reap(d);
        if (move_output(d, e) < 0 || settle_finished(d, e) < 0)
            return -1;
        if (d->on_hold && release_queued(d, e) < 0)
            return -1;
    }
    if (proc_stopping())
        proc_kill_all(SIGKILL); /* daemons that handlers left behind */
    return 0;
}

/* ---------------------------------------------------------------------------- without a handler */

/* Print what was claimed, then settle it. A reader that has gone, or a signal while the pipe was
   full: it all goes back, though some of it may have been read. */
static int print_claimed(struct dispatch *d, struct group_event **events, int n, struct err *e)
{
    int64_t now = clock_now_ms();
    int got = 0;

    proc_open();
    for (int i = 0; i < n && got == 0; i++)
        got = out_line(events[i]->entry.line, e);
    proc_shut();
    if (got < 0 || flush(e) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        add_settle(d, &(struct group_settle){.event = events[i],
                                             .due_ms = now,
                                             .outcome = out_gone() ? GROUP_RELEASE : GROUP_DONE});
    if (group_settle(d->group, d->settle, d->settles, e) < 0)
        return -1;
    d->settles = 0;
    if (!out_gone())
        d->result->done += n;
    return 0;
}

static int run_pipe(struct dispatch *d, struct err *e)
{
    struct group_event **events;
    int64_t left = PIPE_BATCH;
    int n;

    while (!proc_stopping() && !out_gone()) {
        if (d->terms->most != 0)
            left = d->terms->most - d->result->done;
        if (left == 0)
            return 0;
        store_bell_clear(d->store);
        if (find_last(d, e) < 0)
            return -1;
        n = group_claim(d->group, left < PIPE_BATCH ? (size_t)left : PIPE_BATCH, d->last, &events,
                        e);
        if (n < 0 || (n == 0 && (passed_last(d, e) < 0 || !d->terms->follow || d->past_last)))
            return e->status == 0 ? 0 : -1;
        if (n == 0) {
            struct pollfd bell = {.fd = store_bell(d->store), .events = POLLIN};
            proc_wait(&bell, bell.fd >= 0, LOOK_MS);
            continue;
        }
        if (print_claimed(d, events, n, e) < 0)
            return -1;
    }
    d->result->stopped = true;
    return 0;
}

int dispatch_run(struct store *store, struct group *group, const struct dispatch_terms *terms,
                 struct dispatch_result *out, struct err *e)
{
    struct dispatch d = {.store = store,
                         .group = group,
                         .terms = terms,
                         .result = out,
                         .last = terms->last,
                         .slots = terms->argv == NULL ? 0 : (size_t)terms->workers};
    size_t settles = terms->argv == NULL ? PIPE_BATCH : 3 * d.slots;
    int got;

    *out = (struct dispatch_result){0};
    out_stop_when(proc_stopping);
    d.slot = mem_zero(d.slots + 1, sizeof *d.slot);
    for (size_t i = 0; i < d.slots; i++) {
        child_init(&d.slot[i].child);
        d.slot[i].environment.word = true;
    }
    d.queue = mem_zero(2 * d.slots + 1, sizeof *d.queue);
    d.fds = mem_zero(CHILD_FDS * d.slots + 1, sizeof *d.fds);
    d.settle = mem_zero(settles, sizeof *d.settle);
    got = terms->argv == NULL ? run_pipe(&d, e) : run_handlers(&d, e);
    for (size_t i = 0; i < d.slots; i++) {
        child_free(&d.slot[i].child);
        event_free(&d.slot[i].event);
        environment_free(&d.slot[i].environment);
    }
    js_scan_free(&d.scan);
    free(d.settle);
    free(d.fds);
    free(d.queue);
    free(d.slot);
    return got;
}

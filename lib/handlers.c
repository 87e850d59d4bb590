/*
 * A process for each event: started, fed, and judged by its exit status.
 */
#include "child.h"
#include "dispatch_priv.h"
#include "environment.h"
#include "mem.h"
#include "proc.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define PAUSE_MS 1000

/* A place where a handler runs, or nothing. */
struct slot {
    struct group_event *event; /* NULL: free */
    struct event parsed;
    struct child child;
    struct environment environment;
    char marker[40];
};

static struct slot *slots(const struct dispatch *d)
{
    return d->hands;
}

static size_t count(const struct dispatch *d)
{
    return (size_t)d->terms->workers;
}

static int handlers_open(struct dispatch *d, struct err *e)
{
    struct slot *slot = mem_zero(count(d), sizeof *slot);

    (void)e;
    for (size_t i = 0; i < count(d); i++) {
        child_init(&slot[i].child);
        slot[i].environment.word = true;
    }
    d->hands = slot;
    d->fds_max = CHILD_FDS * count(d);
    d->queue_max = 2 * count(d);
    return 0;
}

static size_t handlers_room(const struct dispatch *d)
{
    return count(d) - d->running;
}

static struct slot *free_slot(struct dispatch *d)
{
    struct slot *s = slots(d);

    while (s->event != NULL)
        s++;
    return s;
}

static int cannot_start(struct dispatch *d, struct group_event *ge, struct err *why, struct err *e)
{
    switch (why->status) {
    case EX_OSERR: /* it will pass; nobody's fault */
        if (d->pause_ms == 0)
            err_warn("%s: waiting", why->text);
        d->pause_ms = clock_mono_ms() + PAUSE_MS;
        return 0;
    case EX_DATAERR:
        decide_hopeless(d, ge, why);
        return 1;
    case EX_CANNOT_RUN:
    case EX_NOT_FOUND:
        d->result->cannot_run = why->status;
        d->result->why = *why;
        return 0;
    default:
        *e = *why;
        return -1;
    }
}

static int handlers_begin(struct dispatch *d, struct group_event *ge, struct err *e)
{
    struct slot *s = free_slot(d);
    struct err why = ERR_NONE;

    if (event_read(&s->parsed, &d->scan, ge->entry.line, &why) < 0) {
        decide_hopeless(d, ge, &why);
        return 1;
    }
    snprintf(s->marker, sizeof s->marker, "EVENT_SEQ=%" PRId64, ge->entry.seq);
    struct child_run run = {
        .argv = d->terms->argv,
        .envp = environment_make(&s->environment, &s->parsed, ge->entry.seq, ge->attempts + 1,
                                 d->terms->group, store_path(d->store)),
        .marker = s->marker,
        .input = {ge->entry.line.p, ge->entry.line.n + 1}, /* with its newline */
        .timeout_ms = d->terms->timeout_ms,
        .grace_ms = d->terms->grace_ms,
        .fd4 = group_tail(d->group),
        .about = {.id = ge->entry.id,
                  .type = ge->entry.type,
                  .group = str_of(d->terms->group),
                  .correlationid = s->parsed.correlationid,
                  .attempt = ge->attempts + 1}};
    if (child_start(&s->child, &run, &why) < 0)
        return cannot_start(d, ge, &why, e);
    s->event = ge;
    d->running++;
    return 1;
}

static size_t handlers_fds(const struct dispatch *d, struct pollfd *fds)
{
    size_t n = 0;

    for (size_t i = 0; i < count(d); i++)
        if (slots(d)[i].event != NULL)
            n += child_fds(&slots(d)[i].child, fds + n);
    return n;
}

static int64_t handlers_deadline(const struct dispatch *d)
{
    int64_t until = INT64_MAX;

    for (size_t i = 0; i < count(d); i++)
        if (slots(d)[i].event != NULL && child_deadline(&slots(d)[i].child) < until)
            until = child_deadline(&slots(d)[i].child);
    return until;
}

static void handlers_ended(struct dispatch *d, pid_t pid, int wait_status, int64_t now_ms)
{
    for (size_t i = 0; i < count(d); i++) {
        struct slot *s = &slots(d)[i];
        if (s->event != NULL && s->child.pid == pid && !s->child.ended)
            child_ended(&s->child, wait_status, now_ms);
    }
}

/* To stdout it goes block by block, however long it is. */
static int succeed(struct dispatch *d, struct child *c, const struct outcome *o, struct err *e)
{
    struct str output = {NULL, 0};
    int got = 0;

    if (child_has_output(c) && d->terms->emit) {
        buf_shrink(&d->output, CHILD_MEMORY_MAX);
        got = child_output(c, &d->output, e);
        output = (struct str){d->output.p, d->output.n};
    } else if (child_has_output(c) && (got = decide_print(d, o->event, e)) == 0) {
        proc_open(); /* more than fits our block is written at once, and may have to wait */
        got = child_output(c, NULL, e);
        proc_shut();
    }
    return got < 0 ? -1 : decide_done(d, o, output, e);
}

/* What a finished handler means. */
static int judge(struct dispatch *d, struct slot *s, struct err *e)
{
    struct child *c = &s->child;
    const struct outcome o = {.event = s->event,
                              .status = c->status,
                              .why = c->why,
                              .started_ms = c->started_ms,
                              .took_ms = c->took_ms,
                              .delay_ms = c->delay_ms,
                              .tail = c->tail};
    bool coded = !c->timed_out && c->status < 256;

    if (c->force != CHILD_RUNS && d->running == 1) /* then these can only be its own */
        proc_kill(0, NULL, SIGKILL);
    if (c->status == 0)
        return succeed(d, c, &o, e);
    if (c->force != CHILD_RUNS && !c->timed_out) /* it was we who ended it */
        decide_release(d, s->event);
    else if (coded && d->terms->defer_on[c->status])
        return decide_defer(d, &o, e);
    else if (coded && d->terms->dead_on[c->status])
        decide_dead(d, &o);
    else
        decide_retry(d, &o);
    return 0;
}

static int handlers_move(struct dispatch *d, int64_t now_ms, struct err *e)
{
    for (size_t i = 0; i < count(d); i++) {
        struct slot *s = &slots(d)[i];
        if (s->event == NULL)
            continue;
        if (child_io(&s->child, now_ms, e) < 0)
            return -1;
        if (!child_done(&s->child))
            continue;
        if (judge(d, s, e) < 0)
            return -1;
        child_reset(&s->child);
        s->event = NULL;
        d->running--;
    }
    return 0;
}

static bool handlers_has(const struct dispatch *d, struct str subject)
{
    for (size_t i = 0; i < count(d); i++)
        if (slots(d)[i].event != NULL && str_eq(slots(d)[i].event->entry.subject, subject))
            return true;
    return false;
}

static void handlers_quit(struct dispatch *d, int64_t now_ms)
{
    (void)d; /* they end by themselves */
    (void)now_ms;
}

static void handlers_force(struct dispatch *d, int64_t now_ms)
{
    for (size_t i = 0; i < count(d); i++)
        if (slots(d)[i].event != NULL)
            child_stop(&slots(d)[i].child, now_ms);
}

static bool handlers_busy(const struct dispatch *d)
{
    return d->running > 0;
}

static void handlers_close(struct dispatch *d)
{
    for (size_t i = 0; i < count(d); i++) {
        child_free(&slots(d)[i].child);
        event_free(&slots(d)[i].parsed);
        environment_free(&slots(d)[i].environment);
    }
    free(d->hands);
}

const struct crew handlers_crew = {
    .open = handlers_open,
    .room = handlers_room,
    .begin = handlers_begin,
    .fds = handlers_fds,
    .deadline = handlers_deadline,
    .ended = handlers_ended,
    .move = handlers_move,
    .has = handlers_has,
    .quit = handlers_quit,
    .force = handlers_force,
    .busy = handlers_busy,
    .close = handlers_close,
};

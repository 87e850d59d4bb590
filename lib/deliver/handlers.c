/*
 * A process for each event: start it, feed it, and decide by its exit status.
 */
#include "base/mem.h"
#include "deliver/decide.h"
#include "process/child.h"
#include "process/environment.h"
#include "process/proc.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define PAUSE_MS 1000

/* A slot, in which a handler runs or none. */
struct slot {
    struct group_event *event; /* NULL: free */
    struct event parsed;
    struct child child;
    struct environment environment;
    char marker[40];
};

struct hands {
    struct slot *slot;
    size_t most; /* as many as the descriptors suffice for */
};

static struct slot *slots(const struct dispatch *d)
{
    return ((struct hands *)d->hands)->slot;
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
    struct hands *hands = mem_zero(1, sizeof *hands);
    *hands = (struct hands){slot, count(d)};
    d->hands = hands;
    d->fds_max = CHILD_FDS * count(d);
    d->queue_max = 2 * count(d);
    return 0;
}

static size_t handlers_room(const struct dispatch *d)
{
    size_t most = ((const struct hands *)d->hands)->most;
    return most > d->running ? most - d->running : 0;
}

static struct slot *free_slot(struct dispatch *d)
{
    struct slot *s = slots(d);

    while (s->event != NULL)
        s++;
    return s;
}

/* Each handler needs four descriptors of ours, and a fifth when it prints much. */
static void too_few_files(struct dispatch *d)
{
    size_t *most = &((struct hands *)d->hands)->most;
    struct rlimit limit = {0, 0};
    struct err why = ERR_NONE;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (d->running == 0) {
        err_set(&why, EX_OSERR,
                "no handler can be run: the limit of open files, %lld, is too low (ulimit -n)",
                (long long)limit.rlim_cur);
        decide_stop(d, &why);
        return;
    }
    *most = d->running < 5 ? d->running : d->running - d->running / 5;
    err_warn("no more than %zu handlers at once, not %zu: the limit of open files is %lld "
             "(ulimit -n)",
             *most, count(d), (long long)limit.rlim_cur);
}

static int cannot_start(struct dispatch *d, struct group_event *ge, struct err *why, struct err *e)
{
    switch (why->status) {
    case EX_OSERR: /* temporary, and no event's fault */
        if (d->pause_ms == 0)
            err_warn("%s: waiting", why->text);
        d->pause_ms = clock_mono_ms() + PAUSE_MS;
        return 0;
    case EX_DATAERR:
        decide_hopeless(d, ge, why);
        return 1;
    case EX_CANNOT_RUN:
    case EX_NOT_FOUND:
        decide_stop(d, why);
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
        .input = {ge->entry.line.p, ge->entry.line.n + 1}, /* including its newline */
        .timeout_ms = d->terms->timeout_ms,
        .grace_ms = d->terms->grace_ms,
        .fd4 = group_tail(d->group),
        .about = {.id = ge->entry.id,
                  .type = ge->entry.type,
                  .group = str_of(d->terms->group),
                  .correlationid = s->parsed.correlationid,
                  .attempt = ge->attempts + 1}};
    if (child_start(&s->child, &run, &why) < 0) {
        if (errno != EMFILE)
            return cannot_start(d, ge, &why, e);
        too_few_files(d);
        return 0;
    }
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

/* Output goes to stdout block by block, however long it is. */
static int succeed(struct dispatch *d, struct child *c, const struct outcome *o, struct err *e)
{
    struct outcome done = *o;
    struct str output = {NULL, 0};
    struct err why = ERR_NONE;
    int got = 0;

    if (child_has_output(c) && d->terms->emit) {
        buf_shrink(&d->output, CHILD_MEMORY_MAX);
        got = child_output(c, &d->output, &why);
        output = (struct str){d->output.p, d->output.n};
    } else if (child_has_output(c)) {
        if (decide_print(d, o->event, e) < 0)
            return -1;
        proc_open(); /* output that does not fit our block is written at once, and the write may
                        block */
        got = child_output(c, NULL, &why);
        proc_shut();
        done.printed = true;
    }
    if (got == 0)
        return decide_done(d, &done, output, e);
    decide_stop(d, &why);
    decide_release(d, o->event);
    return 0;
}

/* Decide what a finished handler's outcome is. */
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

    if (c->force != CHILD_RUNS && d->running == 1) /* so these statuses can only be the command's
                                                      own */
        proc_kill(0, NULL, SIGKILL);
    if (c->lost) {
        decide_release(d, s->event);
        return 0;
    }
    if (c->status == 0)
        return succeed(d, c, &o, e);
    if (c->force != CHILD_RUNS && !c->timed_out) /* we ended it ourselves */
        decide_release(d, s->event);
    else if (coded && d->terms->defer_on[c->status])
        return decide_defer(d, &o, e);
    else if (coded && d->terms->dead_on[c->status])
        decide_dead(d, &o);
    else if (coded && c->status == EX_CONFIG)
        decide_misconfigured(d, &o);
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
        struct err why = ERR_NONE;
        if (child_io(&s->child, now_ms, &why) < 0) {
            decide_stop(d, &why);
            child_lose(&s->child, now_ms);
        }
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
    free(slots(d));
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

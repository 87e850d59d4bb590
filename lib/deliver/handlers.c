/*
 * A process for each event: start it, feed it, and decide by its exit status.
 */
#include "base/mem.h"
#include "cli/out.h"
#include "cli/say.h"
#include "deliver/crew.h"
#include "process/child.h"
#include "process/environment.h"
#include "process/proc.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#define PAUSE_MS 1000
#define SETTLE_MS 5 /* what short handlers do in this time is claimed and settled together */

/* A slot, in which a handler runs or none. */
struct slot {
    struct group_event *event; /* NULL: free */
    struct child child;
    struct environment environment;
    struct buf marker;
};

struct hands {
    struct slot *slot;
    size_t most;  /* as many as the descriptors suffice for */
    bool one_end; /* there are descriptors to spare */
};

static struct slot *slots(const struct loop *loop)
{
    return ((struct hands *)loop->hands)->slot;
}

static size_t handler_count(const struct loop *loop)
{
    return (size_t)loop->terms->workers;
}

static int handlers_open(struct loop *loop, struct err *e)
{
    struct slot *slot = mem_zero(handler_count(loop), sizeof *slot);
    struct rlimit limit = {0, 0};

    (void)e;
    getrlimit(RLIMIT_NOFILE, &limit);
    for (size_t i = 0; i < handler_count(loop); i++) {
        child_init(&slot[i].child);
        slot[i].environment.word = true;
    }
    struct hands *hands = mem_zero(1, sizeof *hands);
    *hands =
        (struct hands){slot, handler_count(loop), limit.rlim_cur >= 64 + 8 * handler_count(loop)};
    loop->hands = hands;
    loop->fds_max = CHILD_FDS * handler_count(loop);
    loop->queue_max = 2 * handler_count(loop);
    loop->settle_wait_ms = SETTLE_MS;
    return 0;
}

static size_t handlers_room(const struct loop *loop)
{
    size_t most = ((const struct hands *)loop->hands)->most;
    return most > loop->running ? most - loop->running : 0;
}

static struct slot *free_slot(struct loop *loop)
{
    struct slot *s = slots(loop);

    while (s->event != NULL)
        s++;
    return s;
}

/* Each handler needs four descriptors of ours, and a fifth when it prints much. */
static void handler_too_few_files(struct loop *loop)
{
    size_t *most = &((struct hands *)loop->hands)->most;
    struct rlimit limit = {0, 0};
    struct err why = ERR_NONE;

    getrlimit(RLIMIT_NOFILE, &limit);
    if (loop->running == 0) {
        err_set(&why, EX_OSERR,
                "no handler can be run: the limit of open files, %lld, is too low (ulimit -n)",
                (long long)limit.rlim_cur);
        decide_stop(&loop->decide, &why);
        return;
    }
    *most = loop->running < 5 ? loop->running : loop->running - loop->running / 5;
    say_warn("no more than %zu handlers at once, not %zu: the limit of open files is %lld "
             "(ulimit -n)",
             *most, handler_count(loop), (long long)limit.rlim_cur);
}

static int cannot_start(struct loop *loop, struct group_event *ge, struct err *why, struct err *e)
{
    switch (why->status) {
    case EX_OSERR: /* temporary, and no event's fault */
        if (loop->pause_ms == 0)
            say_warn("%s: waiting", why->text);
        loop->pause_ms = clock_mono_ms() + PAUSE_MS;
        return 0;
    case EX_DATAERR:
        decide_hopeless(&loop->decide, ge, why);
        return 1;
    case EX_CANNOT_RUN:
    case EX_NOT_FOUND:
        decide_stop(&loop->decide, why);
        return 0;
    default:
        *e = *why;
        return -1;
    }
}

static int handlers_begin(struct loop *loop, struct group_event *ge, struct err *e)
{
    struct slot *s = free_slot(loop);
    struct err why = ERR_NONE;

    const struct event *ev = group_read(loop->group, ge, &why);
    if (ev == NULL) {
        decide_hopeless(&loop->decide, ge, &why);
        return 1;
    }
    buf_reset(&s->marker);
    buf_str(&s->marker, STR("EVENT_SEQ="));
    buf_int(&s->marker, ge->entry.seq);
    struct child_run run = {
        .argv = loop->terms->argv,
        .envp = environment_make(&s->environment, ev, ge->entry.seq, ge->attempts + 1,
                                 loop->terms->group, store_name(loop->store)),
        .marker = buf_text(&s->marker),
        .input = {ge->entry.line.p, ge->entry.line.n + 1}, /* including its newline */
        .timeout_ms = loop->terms->timeout_ms,
        .grace_ms = loop->terms->grace_ms,
        .fd4 = group_tail(loop->group),
        .one_end = ((const struct hands *)loop->hands)->one_end,
        .about = {.id = ge->entry.id,
                  .type = ge->entry.type,
                  .group = str_of(loop->terms->group),
                  .correlationid = ev->correlationid,
                  .attempt = ge->attempts + 1}};
    if (child_start(&s->child, &run, &why) < 0) {
        if (errno != EMFILE)
            return cannot_start(loop, ge, &why, e);
        handler_too_few_files(loop);
        return 0;
    }
    s->event = ge;
    loop->running++;
    return 1;
}

static size_t handlers_fds(const struct loop *loop, struct pollfd *fds)
{
    size_t n = 0;

    for (size_t i = 0; i < handler_count(loop); i++)
        if (slots(loop)[i].event != NULL)
            n += child_fds(&slots(loop)[i].child, fds + n);
    return n;
}

static int64_t handlers_deadline(const struct loop *loop)
{
    int64_t until = INT64_MAX;

    for (size_t i = 0; i < handler_count(loop); i++)
        if (slots(loop)[i].event != NULL && child_deadline(&slots(loop)[i].child) < until)
            until = child_deadline(&slots(loop)[i].child);
    return until;
}

static void handlers_ended(struct loop *loop, pid_t pid, int wait_status, int64_t now_ms)
{
    for (size_t i = 0; i < handler_count(loop); i++) {
        struct slot *s = &slots(loop)[i];
        if (s->event != NULL && s->child.pid == pid && !s->child.ended)
            child_ended(&s->child, wait_status, now_ms);
    }
}

/* Output goes to stdout block by block, however long it is, and before the next handler begins: if
   it cannot be written, none does. */
static int succeed(struct loop *loop, struct child *c, const struct outcome *o, struct err *e)
{
    struct outcome done = *o;
    struct str output = {NULL, 0};
    struct err why = ERR_NONE;
    int got = 0;

    if (child_has_output(c) && loop->terms->emit) {
        buf_shrink(&loop->output, CHILD_MEMORY_MAX);
        got = child_output(c, &loop->output, &why);
        output = (struct str){loop->output.p, loop->output.n};
    } else if (child_has_output(c)) {
        if (decide_print(&loop->decide, o->event, e) < 0)
            return -1;
        proc_unblock(); /* the write may block */
        got = child_output(c, NULL, &why);
        if (got == 0)
            got = out_flush(&why);
        proc_block();
        done.printed = true;
    }
    if (got == 0)
        return decide_done(&loop->decide, &done, output, e);
    decide_stop(&loop->decide, &why);
    decide_release(&loop->decide, o->event);
    return 0;
}

/* Decide what a finished handler's outcome is. */
static int judge(struct loop *loop, struct slot *s, struct err *e)
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

    if (c->force != CHILD_RUNS && loop->running == 1) /* so these statuses can only be the command's
                                                      own */
        proc_kill(0, NULL, SIGKILL);
    if (c->lost) {
        decide_release(&loop->decide, s->event);
        return 0;
    }
    if (c->status == 0)
        return succeed(loop, c, &o, e);
    if (c->force != CHILD_RUNS && !c->timed_out) /* we ended it ourselves */
        decide_release(&loop->decide, s->event);
    else if (coded && loop->terms->defer_on[c->status])
        return decide_defer(&loop->decide, &o, e);
    else if (coded && loop->terms->dead_on[c->status])
        decide_dead(&loop->decide, &o);
    else if (coded && c->status == EX_CONFIG)
        decide_misconfigured(&loop->decide, &o);
    else
        decide_retry(&loop->decide, &o);
    return 0;
}

/* For each handler one event that runs, one that comes next, and those that more such handlers
   would take until it is time to settle. */
static size_t queue_each(int64_t took_ms)
{
    return 2 + (size_t)(SETTLE_MS / (took_ms > 0 ? took_ms : 1));
}

static int handlers_move(struct loop *loop, int64_t now_ms, struct err *e)
{
    for (size_t i = 0; i < handler_count(loop); i++) {
        struct slot *s = &slots(loop)[i];
        if (s->event == NULL)
            continue;
        struct err why = ERR_NONE;
        if (child_io(&s->child, now_ms, &why) < 0) {
            decide_stop(&loop->decide, &why);
            child_lose(&s->child, now_ms);
        }
        if (!child_done(&s->child))
            continue;
        if (judge(loop, s, e) < 0)
            return -1;
        loop->queue_max = handler_count(loop) * queue_each(s->child.took_ms);
        child_reset(&s->child);
        s->event = NULL;
        loop->running--;
    }
    return 0;
}

static bool handlers_has(const struct loop *loop, struct str subject)
{
    for (size_t i = 0; i < handler_count(loop); i++)
        if (slots(loop)[i].event != NULL && str_eq(slots(loop)[i].event->entry.subject, subject))
            return true;
    return false;
}

static void handlers_quit(struct loop *loop, int64_t now_ms)
{
    (void)loop; /* they end by themselves */
    (void)now_ms;
}

static void handlers_force(struct loop *loop, int64_t now_ms)
{
    for (size_t i = 0; i < handler_count(loop); i++)
        if (slots(loop)[i].event != NULL)
            child_stop(&slots(loop)[i].child, now_ms);
}

static bool handlers_busy(const struct loop *loop)
{
    return loop->running > 0;
}

static void handlers_close(struct loop *loop)
{
    for (size_t i = 0; i < handler_count(loop); i++) {
        child_free(&slots(loop)[i].child);
        environment_free(&slots(loop)[i].environment);
        buf_free(&slots(loop)[i].marker);
    }
    free(slots(loop));
    free(loop->hands);
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

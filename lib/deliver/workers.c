/*
 * Workers: processes that stay, and answer each event with a line.
 *
 * An answer belongs to the worker's oldest unanswered event with that id. Any other line ends the
 * worker, because its meaning cannot be known. When a worker ends, its oldest unanswered event is
 * retried, as the most likely cause; later ones are returned without counting an attempt. The
 * worker is started again when there is work, after a pause if it answered nothing.
 */
#include "base/duration.h"
#include "base/mem.h"
#include "cli/say.h"
#include "deliver/crew.h"
#include "process/child.h"
#include "process/environment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define CLAIM_AHEAD 1000 /* a claim is a commit, and workers handle events quickly */
#define LAST_MS 1000     /* between the end of its output and the worker's end */
#define SILENT_MS 10000  /* after this, a message names what may be holding its answers back */

/* An event that was handed to a worker and has no answer yet. */
struct flight {
    struct group_event *event;
    int64_t started_ms, began_ms; /* wall; monotonic */
};

struct worker {
    struct child child;
    struct environment environment;
    char marker[40];
    struct flight *flight; /* at most window events, oldest first */
    size_t flights;
    int64_t alone_ms; /* monotonic: when the oldest event became the oldest */
    int64_t rest_ms;  /* monotonic: do not start it before */
    int64_t quit_ms;  /* monotonic: when it should have ended; 0: it need not end */
    int64_t deaths;   /* consecutive runs without an answer */
    bool running, quitting, forced;
    bool heard;         /* it has answered, or the message that it does not was printed */
    char nonsense[400]; /* what it printed instead of an answer; empty: nothing */
};

static struct worker *workers(const struct loop *loop)
{
    return loop->hands;
}

static size_t worker_count(const struct loop *loop)
{
    return (size_t)loop->terms->workers;
}

static size_t window(const struct loop *loop)
{
    return (size_t)loop->terms->window;
}

static int workers_open(struct loop *loop, struct err *e)
{
    struct worker *w = mem_zero(worker_count(loop), sizeof *w);

    (void)e;
    for (size_t i = 0; i < worker_count(loop); i++) {
        child_init(&w[i].child);
        w[i].flight = mem_zero(window(loop), sizeof *w[i].flight);
        snprintf(w[i].marker, sizeof w[i].marker, "EVENT_WORKER=%zu", i + 1);
    }
    loop->hands = w;
    loop->fds_max = CHILD_FDS * worker_count(loop);
    loop->queue_max = 2 * worker_count(loop) * window(loop);
    loop->settle_wait_ms = 50;
    if (loop->queue_max < CLAIM_AHEAD)
        loop->queue_max = CLAIM_AHEAD;
    return 0;
}

/* ---------------------------------------------------------------------------------------- begin */

static size_t room_of(const struct loop *loop, const struct worker *w, int64_t now_ms)
{
    if (w->quitting || w->forced || (w->running && w->child.ended) ||
        (!w->running && w->rest_ms > now_ms))
        return 0;
    return window(loop) - w->flights;
}

static size_t workers_room(const struct loop *loop)
{
    int64_t now = clock_mono_ms();
    size_t room = 0;

    for (size_t i = 0; i < worker_count(loop); i++)
        room += room_of(loop, &workers(loop)[i], now);
    return room;
}

static struct worker *least_busy(struct loop *loop)
{
    int64_t now = clock_mono_ms();
    struct worker *best = NULL;

    for (size_t i = 0; i < worker_count(loop); i++) {
        struct worker *w = &workers(loop)[i];
        if (room_of(loop, w, now) > 0 && (best == NULL || w->flights < best->flights))
            best = w;
    }
    return best;
}

/* A worker for which there are no descriptors is never started; the others do its work. */
static void worker_too_few_files(struct loop *loop, struct worker *w)
{
    struct rlimit limit = {0, 0};
    struct err why = ERR_NONE;
    size_t n = 0;

    getrlimit(RLIMIT_NOFILE, &limit);
    for (size_t i = 0; i < worker_count(loop); i++)
        n += workers(loop)[i].running;
    w->rest_ms = INT64_MAX;
    if (n > 0) {
        say_warn("no more than %zu workers at once, not %zu: the limit of open files is %lld "
                 "(ulimit -n)",
                 n, worker_count(loop), (long long)limit.rlim_cur);
        for (size_t i = 0; i < worker_count(loop); i++)
            if (!workers(loop)[i].running)
                workers(loop)[i].rest_ms = INT64_MAX;
        return;
    }
    err_set(&why, EX_OSERR,
            "no worker can be run: the limit of open files, %lld, is too low (ulimit -n)",
            (long long)limit.rlim_cur);
    decide_stop(&loop->decide, &why);
}

/* 1; 0: not now; -1: error. */
static int start(struct loop *loop, struct worker *w, struct err *e)
{
    struct err why = ERR_NONE;
    struct child_run run = {.argv = loop->terms->argv,
                            .stay = true,
                            .marker = w->marker,
                            .timeout_ms = loop->terms->timeout_ms,
                            .grace_ms = loop->terms->grace_ms,
                            .fd4 = group_tail(loop->group),
                            .about = {.group = str_of(loop->terms->group)}};

    run.envp = environment_make(&w->environment, NULL, w - workers(loop) + 1, 0, loop->terms->group,
                                store_name(loop->store));
    if (child_start(&w->child, &run, &why) == 0) {
        w->running = true;
        w->heard = false;
        w->nonsense[0] = '\0';
        return 1;
    }
    if (errno == EMFILE) {
        worker_too_few_files(loop, w);
        return 0;
    }
    if (why.status == EX_OSERR) {
        say_warn("%s: waiting", why.text);
        loop->pause_ms = clock_mono_ms() + 1000;
        return 0;
    }
    if (why.status != EX_CANNOT_RUN && why.status != EX_NOT_FOUND)
        return err_set(e, why.status, "%s", why.text);
    decide_stop(&loop->decide, &why);
    return 0;
}

static int workers_begin(struct loop *loop, struct group_event *ge, struct err *e)
{
    struct worker *w = least_busy(loop);
    struct err why = ERR_NONE;
    int got;

    if (group_read(loop->group, ge, &why) == NULL) {
        decide_hopeless(&loop->decide, ge, &why);
        return 1;
    }
    while (!w->running && (got = start(loop, w, e)) <= 0)
        if (got < 0 || w->rest_ms != INT64_MAX || (w = least_busy(loop)) == NULL)
            return got;
    if (w->flights == 0)
        w->alone_ms = clock_mono_ms();
    w->flight[w->flights++] = (struct flight){ge, clock_now_ms(), clock_mono_ms()};
    child_feed(&w->child, (struct str){ge->entry.line.p, ge->entry.line.n + 1});
    loop->running++;
    return 1;
}

/* -------------------------------------------------------------------------------------- answers */

struct answer {
    enum { SAYS_DONE, SAYS_RETRY, SAYS_DEAD, SAYS_DEFER } status;
    struct str id, error, out;
    int64_t delay_ms;
};

static bool read_status(struct str word, struct answer *a)
{
    static const char *const words[] = {"done", "retry", "dead", "defer"};

    for (int i = 0; i < 4; i++)
        if (str_is(word, words[i])) {
            a->status = i;
            return true;
        }
    return false;
}

static int read_member(const struct js_member *m, struct buf *into, struct answer *a,
                       struct err *why)
{
    struct err_quoted key = err_quote(m->key.p, m->key.n);
    struct str text = m->kind == JS_STRING ? js_string(m->value, into) : (struct str){NULL, 0};
    struct buf delay = BUF_INIT;
    int got = 0;

    if (str_is(m->key, "out")) {
        a->out = m->kind == JS_NULL ? (struct str){NULL, 0} : m->value;
    } else if (m->kind != JS_STRING) {
        got = err_set(why, EX_DATAERR, "%s is not a string", key.text);
    } else if (str_is(m->key, "id")) {
        a->id = text;
    } else if (str_is(m->key, "error")) {
        a->error = text;
    } else if (str_is(m->key, "delay")) {
        buf_str(&delay, text);
        if ((got = duration_read(buf_text(&delay), &a->delay_ms, why)) < 0)
            err_at(why, "\"delay\" ");
        buf_free(&delay);
    } else if (!str_is(m->key, "status")) {
        got = err_set(why, EX_DATAERR, "unknown member %s", key.text);
    } else if (!read_status(text, a)) {
        got = err_set(why, EX_DATAERR, "\"status\" must be done, retry, dead or defer");
    }
    return got;
}

/* into: room for decoded strings. 0, or -1 and why the line is not an answer. */
static int read_answer(struct js_scan *scan, struct str line, struct buf *into, struct answer *a,
                       struct err *why)
{
    *a = (struct answer){.delay_ms = -1};
    scan->envelope = true;
    if (js_scan(scan, line.p, line.n, why) < 0)
        return -1;
    if (scan->kind != JS_OBJECT)
        return err_set(why, EX_DATAERR, "is not an object");
    buf_reset(into);
    buf_need(into, line.n);
    for (size_t i = 0; i < scan->members; i++)
        if (read_member(&scan->member[i], into, a, why) < 0)
            return -1;
    return a->id.p != NULL ? 0 : err_set(why, EX_DATAERR, "has no \"id\"");
}

static struct flight take_flight(struct worker *w, size_t i)
{
    struct flight f = w->flight[i];

    w->flights--;
    memmove(w->flight + i, w->flight + i + 1, (w->flights - i) * sizeof *w->flight);
    if (i == 0)
        w->alone_ms = clock_mono_ms();
    return f;
}

/* "out" as lines: the value itself, or each item of an array that is to be published. */
static struct str lines_of(const struct loop *loop, struct str out, struct buf *into)
{
    struct str key, item;

    if (out.p == NULL)
        return out;
    buf_reset(into);
    if (loop->terms->emit && js_kind(out) == JS_ARRAY) {
        for (size_t at = 0; js_each(out, &at, &key, &item);) {
            buf_str(into, item);
            buf_char(into, '\n');
        }
    } else {
        buf_str(into, out);
        buf_char(into, '\n');
    }
    return (struct str){into->n == 0 ? "" : into->p, into->n};
}

static int decide(struct loop *loop, const struct flight *f, const struct answer *a, struct err *e)
{
    struct buf why = BUF_INIT;
    struct outcome o = {.event = f->event,
                        .started_ms = f->started_ms,
                        .took_ms = clock_mono_ms() - f->began_ms,
                        .delay_ms = a->delay_ms,
                        .tail = {"", 0}};
    int got = 0;

    loop->running--;
    if (a->status == SAYS_DONE)
        return decide_done(&loop->decide, &o, lines_of(loop, a->out, &loop->output), e);
    buf_str(&why, a->error.p != NULL ? a->error : STR("its worker says so"));
    o.why = buf_text(&why);
    if (a->status == SAYS_DEFER)
        got = decide_defer(&loop->decide, &o, e);
    else if (a->status == SAYS_DEAD)
        decide_dead(&loop->decide, &o);
    else
        decide_retry(&loop->decide, &o);
    buf_free(&why);
    return got;
}

/* 1; 0 and why the line is not an answer; -1: error. */
static int take_answer(struct loop *loop, struct worker *w, struct str line, struct err *why,
                       struct err *e)
{
    struct buf decoded = BUF_INIT;
    struct answer a;
    size_t i = 0;
    int got = 0;

    if (read_answer(&loop->scan, line, &decoded, &a, why) == 0) {
        while (i < w->flights && !str_eq(w->flight[i].event->entry.id, a.id))
            i++;
        if (i < w->flights) {
            struct flight f = take_flight(w, i);
            w->deaths = 0;
            w->heard = true;
            got = decide(loop, &f, &a, e) < 0 ? -1 : 1;
        } else {
            err_set(why, EX_DATAERR, "no event with that id waits for an answer");
        }
    }
    buf_free(&decoded);
    return got;
}

static int take_answers(struct loop *loop, struct worker *w, int64_t now_ms, struct err *e)
{
    struct buf *out = &w->child.out;
    size_t at = 0;
    char *newline;

    while (w->nonsense[0] == '\0' && at < out->n &&
           (newline = memchr(out->p + at, '\n', out->n - at)) != NULL) {
        struct str line = {out->p + at, (size_t)(newline - out->p) - at};
        struct err why;
        err_clear(&why);
        int got = take_answer(loop, w, line, &why, e);
        if (got < 0)
            return -1;
        if (got == 0) {
            snprintf(w->nonsense, sizeof w->nonsense, "its worker answered %.150s: %.200s",
                     err_quote(line.p, line.n).text, why.text);
            child_stop(&w->child, now_ms);
        }
        at = (size_t)(newline - out->p) + 1;
    }
    buf_splice(out, 0, w->nonsense[0] == '\0' ? at : out->n, "", 0);
    return 0;
}

/* ------------------------------------------------------------------------------------- its end */

static void give_up_flights(struct loop *loop, struct worker *w)
{
    bool broken = w->child.status == EX_CONFIG && w->nonsense[0] == '\0';
    bool charged = w->forced || broken; /* we ended it ourselves, or no event is to blame */
    struct buf why = BUF_INIT;

    if (w->nonsense[0] != '\0')
        buf_puts(&why, w->nonsense);
    else
        buf_printf(&why, "its worker ended: %s", w->child.why);
    while (w->flights > 0) {
        struct flight f = take_flight(w, 0);
        const struct outcome o = {.event = f.event,
                                  .status = w->child.status,
                                  .why = buf_text(&why),
                                  .started_ms = f.started_ms,
                                  .took_ms = clock_mono_ms() - f.began_ms,
                                  .delay_ms = -1,
                                  .tail = w->child.tail};
        loop->running--;
        if (broken && !w->forced)
            decide_misconfigured(&loop->decide, &o);
        else if (charged)
            decide_release(&loop->decide, f.event);
        else
            decide_retry(&loop->decide, &o);
        charged = true;
    }
    buf_free(&why);
}

static void bury(struct loop *loop, struct worker *w, int64_t now_ms)
{
    static const struct backoff rest = {100, 30000, BACKOFF_EQUAL};

    if (w->flights == 0 && !w->quitting && !w->forced && w->child.status != 0)
        say_warn("a worker ended: %s", w->child.why);
    give_up_flights(loop, w);
    w->rest_ms = w->deaths++ == 0 ? 0 : now_ms + backoff_ms(&rest, w->deaths, clock_random());
    child_reset(&w->child);
    w->running = false;
    w->quit_ms = 0;
}

static void end_by(struct worker *w, int64_t when_ms)
{
    if (w->quit_ms == 0 || when_ms < w->quit_ms)
        w->quit_ms = when_ms;
}

static bool listening(const struct loop *loop, const struct worker *w)
{
    return w->running && w->flights > 0 && !w->heard && loop->terms->timeout_ms == 0;
}

static void watch_clock(struct loop *loop, struct worker *w, int64_t now_ms)
{
    if (listening(loop, w) && now_ms >= w->alone_ms + SILENT_MS) {
        say_note("a worker has answered none of its events for %d s: does it write out each answer "
                 "at once? (jq --unbuffered, stdbuf -oL, flush)",
                 SILENT_MS / 1000);
        w->heard = true;
    }
    if (w->child.fd[1] < 0 && !w->child.ended) /* it can answer no more */
        end_by(w, now_ms + LAST_MS);
    if (w->quit_ms != 0 && now_ms >= w->quit_ms) {
        if (!w->quitting && w->nonsense[0] == '\0')
            snprintf(w->nonsense, sizeof w->nonsense, "its worker closed its output");
        child_stop(&w->child, now_ms);
    }
    if (loop->terms->timeout_ms > 0 && w->flights > 0 && !w->child.ended && !w->child.timed_out &&
        now_ms >= w->alone_ms + loop->terms->timeout_ms)
        child_time_up(&w->child, now_ms);
}

static int workers_move(struct loop *loop, int64_t now_ms, struct err *e)
{
    for (size_t i = 0; i < worker_count(loop); i++) {
        struct worker *w = &workers(loop)[i];
        if (!w->running)
            continue;
        if (child_io(&w->child, now_ms, e) < 0 || take_answers(loop, w, now_ms, e) < 0)
            return -1;
        watch_clock(loop, w, now_ms);
        if (w->quitting && w->flights == 0)
            child_end_input(&w->child);
        if (child_done(&w->child))
            bury(loop, w, now_ms);
    }
    return 0;
}

static size_t workers_fds(const struct loop *loop, struct pollfd *fds)
{
    size_t n = 0;

    for (size_t i = 0; i < worker_count(loop); i++)
        if (workers(loop)[i].running)
            n += child_fds(&workers(loop)[i].child, fds + n);
    return n;
}

static int64_t workers_deadline(const struct loop *loop)
{
    int64_t until = INT64_MAX, now = clock_mono_ms();

    for (size_t i = 0; i < worker_count(loop); i++) {
        const struct worker *w = &workers(loop)[i];
        int64_t at = w->running ? child_deadline(&w->child) : INT64_MAX;
        if (!w->running && w->rest_ms > now)
            at = w->rest_ms;
        if (w->running && w->flights > 0 && loop->terms->timeout_ms > 0 && !w->child.ended &&
            !w->child.timed_out && w->alone_ms + loop->terms->timeout_ms < at)
            at = w->alone_ms + loop->terms->timeout_ms;
        if (w->running && w->quit_ms != 0 && w->child.force == CHILD_RUNS && w->quit_ms < at)
            at = w->quit_ms;
        if (listening(loop, w) && w->alone_ms + SILENT_MS < at)
            at = w->alone_ms + SILENT_MS;
        if (at < until)
            until = at;
    }
    return until;
}

static void workers_ended(struct loop *loop, pid_t pid, int wait_status, int64_t now_ms)
{
    for (size_t i = 0; i < worker_count(loop); i++) {
        struct worker *w = &workers(loop)[i];
        if (w->running && w->child.pid == pid && !w->child.ended)
            child_ended(&w->child, wait_status, now_ms);
    }
}

static bool workers_has(const struct loop *loop, struct str subject)
{
    for (size_t i = 0; i < worker_count(loop); i++)
        for (size_t k = 0; k < workers(loop)[i].flights; k++)
            if (str_eq(workers(loop)[i].flight[k].event->entry.subject, subject))
                return true;
    return false;
}

static void workers_quit(struct loop *loop, int64_t now_ms)
{
    for (size_t i = 0; i < worker_count(loop); i++) {
        struct worker *w = &workers(loop)[i];
        if (!w->quitting)
            end_by(w, now_ms + loop->terms->grace_ms);
        w->quitting = true;
        if (w->running && w->flights == 0)
            child_end_input(&w->child);
    }
}

static void workers_force(struct loop *loop, int64_t now_ms)
{
    for (size_t i = 0; i < worker_count(loop); i++) {
        workers(loop)[i].forced = true;
        if (workers(loop)[i].running)
            child_stop(&workers(loop)[i].child, now_ms);
    }
}

static bool workers_busy(const struct loop *loop)
{
    for (size_t i = 0; i < worker_count(loop); i++)
        if (workers(loop)[i].running)
            return true;
    return false;
}

static void workers_close(struct loop *loop)
{
    for (size_t i = 0; i < worker_count(loop); i++) {
        child_free(&workers(loop)[i].child);
        environment_free(&workers(loop)[i].environment);
        free(workers(loop)[i].flight);
    }
    free(loop->hands);
}

const struct crew workers_crew = {
    .open = workers_open,
    .room = workers_room,
    .begin = workers_begin,
    .fds = workers_fds,
    .deadline = workers_deadline,
    .ended = workers_ended,
    .move = workers_move,
    .has = workers_has,
    .quit = workers_quit,
    .force = workers_force,
    .busy = workers_busy,
    .close = workers_close,
};

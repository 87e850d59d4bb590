#include "saga/run.h"

#include "base/clock.h"
#include "base/duration.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "cli/say.h"
#include "event/event.h"
#include "process/child.h"
#include "process/environment.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "store/doc.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GRACE_MS 5000        /* between a timeout's SIGTERM and SIGKILL */
#define PAUSE_MS 1000        /* the system is out of processes, or what a step needs is down */
#define RESULT_MAX (1 << 20) /* bytes of a step's result */
#define ERROR_MAX 500        /* bytes of its last message on stderr */

/* A step whose command runs. */
struct hand {
    struct child child;
    struct buf input, marker, group;
    size_t step;
    bool used;
};

struct drive {
    struct saga_run *run;
    struct hand *hand;
    size_t hands, running;
    struct environment environment;
    struct event event;
    struct js_scan scan;
    struct pollfd *fds;
    char mark[MARK_SIZE];
    bool idle;      /* begin nothing more */
    struct err why; /* why */
};

/* ------------------------------------------------------------------------------------ document */

static json_t *about(const struct saga *s, const struct saga_step *t)
{
    json_t *data =
        json_pack("{s:s,s:s,s:s}", "saga", s->id, "name", s->name, "state", saga_word(s->state));

    if (t != NULL) {
        json_object_set_new(data, "step", json_string(t->name));
        json_object_set_new(data, "attempt", json_integer(t->attempt));
        json_object_set_new(data, "took_ms", json_integer(t->took_ms));
        if (step_why(t) != NULL)
            json_object_set_new(data, "error", json_string(step_why(t)));
    } else if (saga_why(s) != NULL) {
        json_object_set_new(data, "reason", json_string(saga_why(s)));
    }
    return data;
}

/* Write the document; it is on disk when this returns. event, if given, is about the saga, or about
   a step. */
static int save(struct saga_run *r, const char *event, const struct saga_step *t, struct err *e)
{
    const struct saga *s = &r->saga;
    char *value = saga_write(s);
    struct buf data = BUF_INIT;
    json_t *told = about(s, t);

    tree_print(&data, told);
    json_decref(told);
    const struct doc_put put = {.kind = SAGA_KIND,
                                .name = s->id,
                                .rev = r->rev,
                                .value = str_of(value),
                                .expires_ms = saga_final(s) ? clock_now_ms() + r->keep_ms : 0,
                                .durable = true,
                                .event = event,
                                .data = {data.p, data.n},
                                .cause = str_of(s->event)};
    int got = doc_put(r->store, &put, e);
    free(value);
    buf_free(&data);
    r->elsewhere = got == 0;
    if (got == 0)
        return err_set(e, EX_TEMPFAIL, "saga %s: another process has changed it",
                       err_quote_text(s->id).text);
    r->rev = put.rev == 0 ? 0 : put.rev + 1;
    return got < 0 ? -1 : 0;
}

static const char *const final_events[] = {NULL, NULL, "sys.saga.completed", "sys.saga.compensated",
                                           "sys.saga.stuck"};

/* Read the document of this name into r->saga: 1; 0: no such document; -1: error. */
static int load(struct saga_run *r, const char *id, struct err *e)
{
    struct doc doc;
    int got = doc_get(r->store, SAGA_KIND, id, &doc, e);

    if (got <= 0)
        return got;
    saga_free(&r->saga);
    if (!saga_read(&r->saga, doc.value))
        return err_set(e, EX_IOERR, "saga %s is damaged", err_quote_text(id).text);
    r->rev = doc.rev;
    return 1;
}

int saga_load(struct saga_run *r, const char *id, struct err *e)
{
    int got = load(r, id, e);

    return got > 0   ? 0
           : got < 0 ? -1
                     : err_set(e, EX_NOINPUT, "there is no saga %s", err_quote_text(id).text);
}

/* Is the document's event our event? */
static bool same(struct js_scan *scan, const struct saga *s, const struct event *wanted)
{
    struct event ev = EVENT_INIT;
    struct err damaged = ERR_NONE;
    bool is = event_read(&ev, scan, str_of(s->event), &damaged) == 0 &&
              str_eq(ev.source, wanted->source) && str_eq(ev.id, wanted->id);

    event_free(&ev);
    return is;
}

/* Find the saga with this id: 1: it is this event's; 0: no such saga; -1: error. When the id is
   taken, as by an event of another source, the source becomes part of the name. */
static int find(struct saga_run *r, struct js_scan *scan, const struct event *ev, struct buf *id,
                const char *name, struct err *e)
{
    int got;

    buf_reset(id);
    buf_printf(id, "%s/", name);
    buf_str(id, ev->id);
    while ((got = load(r, buf_text(id), e)) > 0 && !same(scan, &r->saga, ev)) {
        saga_free(&r->saga);
        buf_char(id, '@');
        buf_str(id, ev->source);
    }
    return got;
}

static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);

    json_decref(string);
    return string != NULL;
}

int saga_start(struct saga_run *r, struct str line, struct err *e)
{
    struct saga defined = r->saga;
    struct js_scan scan = JS_SCAN_INIT;
    struct event ev = EVENT_INIT;
    struct buf id = BUF_INIT;
    char *folder = getcwd(NULL, 0);
    int got = event_read(&ev, &scan, line, e);

    r->saga = (struct saga){0};
    if (got < 0)
        err_at(e, "the event: ");
    if (got == 0 && (ev.id.n == 0 || ev.source.n == 0 || ev.type.n == 0))
        got = err_set(e, EX_DATAERR, "the event has no %s; publish completes events",
                      ev.id.n == 0       ? "\"id\""
                      : ev.source.n == 0 ? "\"source\""
                                         : "\"type\"");
    else if (got == 0 && folder == NULL)
        got = err_errno(e, errno == ENOMEM ? EX_OSERR : EX_NOINPUT, "the current folder");
    else if (got == 0 && !is_utf8(folder))
        got = err_set(e, EX_DATAERR, "the name of the current folder is not UTF-8");
    if (got == 0)
        got = find(r, &scan, &ev, &id, defined.name, e);
    if (got == 0) {
        int64_t now = clock_now_ms();
        saga_free(&r->saga); /* of another source */
        r->saga = defined;
        defined = (struct saga){0};
        r->saga.id = mem_dup(buf_text(&id), id.n);
        r->saga.event = mem_dup(line.p, line.n);
        r->saga.folder = folder;
        folder = NULL;
        r->saga.begun_ms = r->saga.since_ms = now;
        r->saga.deadline_ms = r->deadline_ms > 0 ? now + r->deadline_ms : 0;
        r->rev = 0;
        got = save(r, "sys.saga.started", NULL, e) == 0 ? load(r, buf_text(&id), e) : -1;
    } else if (got > 0) {
        got = 0;
    }
    free(folder);
    saga_free(&defined);
    js_scan_free(&scan);
    event_free(&ev);
    buf_free(&id);
    return got;
}

int saga_change(struct saga_run *r, struct err *e)
{
    if (r->saga.mark != NULL && mark_lives(r->store, r->saga.mark))
        return err_set(e, EX_TEMPFAIL, "saga %s: process %" PRId64 " is running it",
                       err_quote_text(r->saga.id).text, mark_pid(r->saga.mark));
    return save(r, final_events[r->saga.state], NULL, e);
}

/* --------------------------------------------------------------------------------------- begin */

/* What the command runs: a step, or its undo. */
static const char *kind(const struct saga *s)
{
    return s->state == SAGA_COMPENSATING ? "undo of" : "step";
}

static struct hand *free_hand(struct drive *d)
{
    struct hand *h = d->hand;

    while (h->used)
        h++;
    return h;
}

static char **command_of(json_t *words)
{
    size_t n = json_array_size(words);
    char **argv = mem_zero(n + 1, sizeof *argv);

    for (size_t i = 0; i < n; i++) /* views, valid as long as the definition */
        argv[i] = (char *)(uintptr_t)json_string_value(json_array_get(words, i));
    return argv;
}

/* What every command of a saga finds in its environment, besides the event. Its group is the same
   under consume and under cron: once and publish make keys and sources of it. */
static void set_environment(struct hand *h, const struct saga *s, const struct saga_step *t)
{
    char attempt[24];

    buf_reset(&h->marker);
    buf_printf(&h->marker, "SAGA_STEP_ID=%s/%s%s", s->id, t->name,
               t->state == STEP_UNDOING ? "/undo" : "");
    snprintf(attempt, sizeof attempt, "%" PRId64, t->attempt);
    buf_reset(&h->group);
    buf_printf(&h->group, "%s/%s%s", s->name, t->name, t->state == STEP_UNDOING ? "/undo" : "");
    setenv("SAGA_ID", s->id, 1);
    setenv("SAGA_STEP", t->name, 1);
    setenv("SAGA_STEP_ID", strchr(buf_text(&h->marker), '=') + 1, 1);
    setenv("SAGA_ATTEMPT", attempt, 1);
}

/* 1; 0 when it could not be started, with the reason in d->why if trying again is useless; -1:
   error. */
static int start(struct drive *d, struct hand *h, struct err *e)
{
    struct saga *s = &d->run->saga;
    struct saga_step *t = &s->step[h->step];
    const char *seq = getenv("EVENT_SEQ");
    char **argv = command_of(t->state == STEP_UNDOING ? t->undo : t->run);
    struct err why = ERR_NONE;

    set_environment(h, s, t);
    buf_reset(&h->input);
    saga_input(s, h->step, &h->input);
    d->environment.word = true;
    const struct child_run run = {
        .argv = argv,
        .envp = environment_make(&d->environment, &d->event, seq == NULL ? 0 : atoll(seq),
                                 t->attempt, buf_text(&h->group), store_name(d->run->store)),
        .marker = buf_text(&h->marker),
        .input = {h->input.p, h->input.n},
        .timeout_ms = t->timeout_ms,
        .grace_ms = GRACE_MS};
    int got = child_start(&h->child, &run, &why);
    free(argv);
    if (got == 0) {
        h->used = true;
        d->running++;
        return 1;
    }
    saga_unbegun(s, h->step);
    t->attempt--;
    if (why.status == EX_OSERR) {
        t->due_ms = clock_now_ms() + PAUSE_MS;
        say_warn("%s: waiting", why.text);
    } else if (why.status == EX_CANNOT_RUN || why.status == EX_NOT_FOUND) {
        d->idle = true;
        d->why = why;
        err_at(&d->why, "saga %s: %s %s: ", err_quote_text(s->id).text, kind(s), t->name);
    } else {
        *e = why;
        return -1;
    }
    return save(d->run, NULL, NULL, e);
}

/* Record that steps begin, then begin them: after a kill, a command that is not in the document
   would be unknown. */
static int begin_ready(struct drive *d, struct err *e)
{
    struct saga *s = &d->run->saga;
    int64_t now = clock_now_ms();
    struct hand *begun[64];
    size_t n = 0;
    int got = 0;

    for (size_t i = 0; i < s->steps && d->running + n < d->hands && n < 64; i++)
        if (saga_ready(s, i, now)) {
            struct hand *h = free_hand(d);
            saga_begin(s, i, now);
            h->step = i;
            h->used = true; /* marks it as chosen; it runs once its command does */
            begun[n++] = h;
        }
    if (n == 0)
        return 0;
    got = save(d->run, NULL, NULL, e);
    for (size_t k = 0; k < n; k++) {
        begun[k]->used = false;
        if (got >= 0)
            got = start(d, begun[k], e);
    }
    return got < 0 ? -1 : 0;
}

/* ----------------------------------------------------------------------------------------- end */

/* The step's output as one JSON value on one line; empty: none. */
static int read_result(struct drive *d, struct child *c, struct buf *out, struct err *why)
{
    struct err e = ERR_NONE;

    if (c->out_size > RESULT_MAX)
        return err_set(why, EX_DATAERR, "printed more than %d MiB", RESULT_MAX >> 20);
    if (child_output(c, out, &e) < 0)
        return err_set(why, e.status, "%s", e.text);
    if (out->n == 0 || strspn(buf_text(out), " \t\r\n") == out->n) {
        buf_reset(out);
        return 0;
    }
    if (js_scan(&d->scan, out->p, out->n, &e) < 0)
        return err_set(why, EX_DATAERR, "printed no JSON value: %s", e.text);
    size_t before = (size_t)(d->scan.value.p - out->p), n = d->scan.value.n;
    buf_splice(out, before + n, out->n - before - n, "", 0);
    buf_splice(out, 0, before, "", 0);
    for (size_t i = 0; i < out->n; i++) /* only between tokens; in strings they are escaped */
        if (out->p[i] == '\n' || out->p[i] == '\r')
            out->p[i] = ' ';
    return 0;
}

/* "exit status 7: its last message", made harmless and valid UTF-8. */
static void describe(const struct child *c, struct buf *out)
{
    struct str tail = c->tail;

    err_escape(out, c->why, strlen(c->why));
    while (tail.n > 0 && strchr(" \t\r\n", tail.p[tail.n - 1]) != NULL)
        tail.n--;
    const char *line = tail.n == 0 ? NULL : memrchr(tail.p, '\n', tail.n);
    if (line != NULL) {
        tail.n -= (size_t)(line + 1 - tail.p);
        tail.p = line + 1;
    }
    if (tail.n == 0)
        return;
    size_t n = tail.n <= ERROR_MAX ? tail.n : ERROR_MAX;
    while (n < tail.n && n > 0 && ((unsigned char)tail.p[n] & 0xc0) == 0x80)
        n--; /* do not cut a character */
    buf_puts(out, ": ");
    err_escape(out, tail.p, n);
    if (n < tail.n)
        buf_puts(out, "...");
}

/* wait_ms: until it is tried again; negative: it is not tried again. */
static void tell_of(const struct saga *s, const struct saga_step *t, const char *what,
                    int64_t wait_ms)
{
    char wait[DURATION_TEXT_SIZE];

    if (wait_ms > 0)
        say_note("%s: %s %s: %s: again in %s", s->id, kind(s), t->name, what,
                 duration_format(wait, wait_ms));
    else
        say_note("%s: %s %s: %s%s", s->id, kind(s), t->name, what,
                 wait_ms == 0 ? ": again at once" : "");
}

static int failed(struct drive *d, struct hand *h, bool declared, const char *what, struct err *e)
{
    struct saga *s = &d->run->saga;
    struct saga_step *t = &s->step[h->step];
    int64_t now = clock_now_ms();
    bool again = saga_failed(s, h->step, declared, what, h->child.took_ms, h->child.delay_ms, now,
                             clock_random());

    tell_of(s, t, what, again ? t->due_ms - now : -1);
    return save(d->run, again ? NULL : "sys.saga.step-failed", t, e);
}

/* What a step needs is down, and the step did nothing: treat it as not begun. The delay is only
   passed on to our caller: a run that comes sooner may try. */
static int deferred(struct drive *d, struct hand *h, const char *what, struct err *e)
{
    struct saga *s = &d->run->saga;
    struct saga_step *t = &s->step[h->step];
    int64_t wait = h->child.delay_ms >= 0 ? h->child.delay_ms : PAUSE_MS;

    saga_unbegun(s, h->step);
    d->idle = true;
    wrap_say(wait, (struct str){h->child.reason.p, h->child.reason.n});
    err_set(&d->why, EX_UNAVAILABLE, "saga %s: %s %s: %s", err_quote_text(s->id).text, kind(s),
            t->name, what);
    return save(d->run, NULL, NULL, e);
}

/* Record the outcome in the document before anything else happens. */
static int judge(struct drive *d, struct hand *h, struct err *e)
{
    struct saga *s = &d->run->saga;
    struct saga_step *t = &s->step[h->step];
    struct buf what = BUF_INIT, result = BUF_INIT;
    struct child *c = &h->child;
    struct err wrong = ERR_NONE;
    int got;

    describe(c, &what);
    if (c->status == EX_UNAVAILABLE) {
        got = deferred(d, h, buf_text(&what), e);
    } else if (c->status != 0 && c->status != EX_DATAERR && c->force != CHILD_RUNS &&
               !c->timed_out) { /* we ended it ourselves: no step is to blame */
        saga_again(s, h->step);
        got = save(d->run, NULL, NULL, e);
    } else if (c->status != 0) {
        got = failed(d, h, c->status == EX_DATAERR, buf_text(&what), e);
    } else if (t->state == STEP_RUNNING && read_result(d, c, &result, &wrong) < 0) {
        got = failed(d, h, false, wrong.text, e);
    } else {
        saga_succeeded(s, h->step, (struct str){result.p, result.n}, c->took_ms);
        got = save(d->run, t->state == STEP_DONE ? "sys.saga.step-done" : NULL, t, e);
    }
    buf_free(&what);
    buf_free(&result);
    child_reset(c);
    h->used = false;
    d->running--;
    return got;
}

static void reap(struct drive *d)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        for (size_t i = 0; i < d->hands; i++)
            if (d->hand[i].used && d->hand[i].child.pid == pid && !d->hand[i].child.ended)
                child_ended(&d->hand[i].child, status, clock_mono_ms());
}

/* --------------------------------------------------------------------------------------- drive */

static int64_t next_wait(const struct drive *d)
{
    int64_t until = INT64_MAX, now = clock_mono_ms();
    int64_t next = d->idle ? 0 : saga_next_ms(&d->run->saga, clock_now_ms());

    for (size_t i = 0; i < d->hands; i++)
        if (d->hand[i].used && child_deadline(&d->hand[i].child) < until)
            until = child_deadline(&d->hand[i].child);
    if (next > 0 && d->running < d->hands) {
        int64_t at = now + (next - clock_now_ms());
        until = at < until ? at : until;
    }
    return until == INT64_MAX ? -1 : until <= now ? 0 : until - now;
}

/* -1 when the spool is lost: then others may run the saga. After a signal no descriptor has been
   looked at. */
static int wait_for_step(struct drive *d, struct err *e)
{
    int line = store_line(d->run->store);
    size_t n = 0;

    for (size_t i = 0; i < d->hands; i++)
        if (d->hand[i].used)
            n += child_fds(&d->hand[i].child, d->fds + n);
    d->fds[n] = (struct pollfd){.fd = line, .events = POLLIN};
    proc_wait(d->fds, n + (line >= 0), next_wait(d));
    return line < 0 ? 0 : store_there(d->run->store, e);
}

static int move(struct drive *d, struct err *e)
{
    if (wait_for_step(d, e) < 0)
        return -1;
    reap(d);
    for (size_t i = 0; i < d->hands; i++) {
        struct hand *h = &d->hand[i];
        if (!h->used)
            continue;
        if (proc_stops() > 1)
            child_stop(&h->child, clock_mono_ms());
        if (child_io(&h->child, clock_mono_ms(), e) < 0 ||
            (child_done(&h->child) && judge(d, h, e) < 0))
            return -1;
    }
    return 0;
}

/* Beyond the pivot a step is tried without limit, but not by a process that keeps waiting. */
static bool patience_is_over(const struct saga *s)
{
    if (s->state != SAGA_RUNNING || saga_running(s))
        return false;
    for (size_t i = 0; i < s->steps; i++)
        if (s->step[i].state == STEP_WAITING && s->step[i].failures >= s->step[i].attempts)
            return true;
    return false;
}

static void look_whether_to_go_on(struct drive *d)
{
    const struct saga *s = &d->run->saga;

    if (d->idle)
        return;
    if (proc_stopping()) {
        d->idle = true;
        err_set(&d->why, EX_TEMPFAIL, "saga %s: stopped", err_quote_text(s->id).text);
    } else if (patience_is_over(s)) {
        d->idle = true;
        err_set(&d->why, EX_TEMPFAIL, "saga %s: is beyond its pivot and still fails",
                err_quote_text(s->id).text);
    }
}

static int go_on(struct drive *d, struct err *e)
{
    struct saga *s = &d->run->saga;

    for (;;) {
        if (saga_advance(s, clock_now_ms()) &&
            save(d->run, s->state == SAGA_COMPENSATING ? NULL : final_events[s->state], NULL, e) <
                0)
            return -1;
        if (s->state != SAGA_RUNNING && s->state != SAGA_COMPENSATING)
            return 0;
        look_whether_to_go_on(d);
        if (!d->idle && begin_ready(d, e) < 0)
            return -1;
        if (d->idle && d->running == 0) {
            *e = d->why;
            return -1;
        }
        if (move(d, e) < 0)
            return -1;
    }
}

/* Take the saga: it is ours as long as our mark is in its document. */
static int take(struct drive *d, struct err *e)
{
    struct saga *s = &d->run->saga;

    d->run->elsewhere = s->mark != NULL && mark_lives(d->run->store, s->mark);
    if (d->run->elsewhere)
        return err_set(e, EX_TEMPFAIL, "saga %s: process %" PRId64 " is running it",
                       err_quote_text(s->id).text, mark_pid(s->mark));
    if (mark_take(d->run->store, d->mark, e) < 0)
        return -1;
    free(s->mark);
    s->mark = mem_dup(d->mark, strlen(d->mark));
    for (size_t i = 0; i < s->steps; i++)
        if (s->step[i].state == STEP_RUNNING || s->step[i].state == STEP_UNDOING)
            saga_again(s, i);
        else if (s->step[i].state == STEP_WAITING && s->step[i].failures >= s->step[i].attempts)
            s->step[i].failures = 0; /* it has been resumed */
    return save(d->run, NULL, NULL, e);
}

static int drive(struct drive *d, struct err *e)
{
    int got = take(d, e);

    if (got == 0)
        got = go_on(d, e);
    if (got < 0 && store_lost(d->run->store)) {
        proc_end_all(); /* others may run them already */
        return err_at(e, "saga %s: its commands were ended, because another process may run it: ",
                      err_quote_text(d->run->saga.id).text);
    }
    for (size_t i = 0; i < d->hands; i++)
        if (d->hand[i].used && !d->hand[i].child.ended)
            proc_kill(d->hand[i].child.pid, buf_text(&d->hand[i].marker), SIGKILL);
    if (d->running > 0)
        proc_kill_all(0, SIGKILL);
    mark_drop(d->run->store, d->mark);
    return got;
}

/* Change to the saga's folder, so that ./reserve is the same command wherever the saga is resumed
   from. */
static int go_there(const struct saga *s, struct err *e)
{
    if (chdir(s->folder) == 0)
        return 0;
    return err_errno(e, EX_NOINPUT, "saga %s: cannot enter its folder %s",
                     err_quote_text(s->id).text, err_quote_text(s->folder).text);
}

int saga_drive(struct saga_run *r, struct err *e)
{
    struct drive d = {.run = r, .hands = (size_t)r->jobs, .why = ERR_NONE};
    struct saga *s = &r->saga;
    int got = 0;

    if (s->state == SAGA_RUNNING || s->state == SAGA_COMPENSATING) {
        d.hand = mem_zero(d.hands, sizeof *d.hand);
        d.fds = mem_zero(d.hands * CHILD_FDS + 1, sizeof *d.fds);
        for (size_t i = 0; i < d.hands; i++)
            child_init(&d.hand[i].child);
        if ((got = event_read(&d.event, &d.scan, str_of(s->event), e)) == 0 &&
            (got = go_there(s, e)) == 0)
            got = drive(&d, e);
        for (size_t i = 0; i < d.hands; i++) {
            child_free(&d.hand[i].child);
            buf_free(&d.hand[i].input);
            buf_free(&d.hand[i].marker);
            buf_free(&d.hand[i].group);
        }
        free(d.hand);
        free(d.fds);
        environment_free(&d.environment);
        event_free(&d.event);
        js_scan_free(&d.scan);
    }
    if (got == 0 && s->state == SAGA_STUCK)
        return err_set(e, EX_DATAERR, "saga %s is stuck: %s (saga show %s)",
                       err_quote_text(s->id).text, s->stuck == NULL ? "" : s->stuck, s->id);
    return got;
}

void saga_run_free(struct saga_run *r)
{
    saga_free(&r->saga);
}

#include "resilience/pacer.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/say.h"
#include "process/proc.h"
#include "process/wrap.h"

#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES (64 << 20)
#define HELD_MAX 10000
#define HELD_BYTES (64 << 20)
#define RATES_MAX 65536 /* rates of values that are kept before idle ones are dropped */
#define LATE_US 50000   /* a turn that is late by up to this does not make the next one later */

void pacer_name(struct buf *b, const char *name, const char *by, struct str line)
{
    struct js_scan scan = JS_SCAN_INIT;
    struct err none = ERR_NONE;
    struct str value = {NULL, 0};

    if (js_scan(&scan, line.p, line.n, &none) == 0)
        value = js_pointer(scan.value, by);
    buf_puts(b, name == NULL ? "" : name);
    buf_char(b, '/');
    if (value.p != NULL && js_kind(value) == JS_STRING) {
        struct buf text = BUF_INIT;
        buf_str(b, js_string(value, &text));
        buf_free(&text);
    } else if (value.p != NULL) {
        buf_str(b, value);
    }
    js_scan_free(&scan);
}

/* -------------------------------------------------------------------------------- in the spool */

static int take_shared(struct pacer *p, const char *name, int64_t max_ms, int64_t *wait_us,
                       struct err *e)
{
    bool changed = false;
    int got = bucket_take(p->store, name, &p->pace, max_ms, wait_us, &changed, e);

    if (changed)
        say_note("bucket %s had another rate or burst: the new one applies from now on",
                 err_quote_text(name).text);
    return got;
}

int pacer_turn(struct pacer *p, const char *name, int64_t max_ms, int64_t *wait_us, struct err *e)
{
    int64_t until = clock_mono_ms() + max_ms, closed_us = 1;
    int got = 1;

    while (got > 0 && closed_us > 0) {
        int64_t left = max_ms < 0 ? -1 : until - clock_mono_ms();
        got = take_shared(p, name, max_ms >= 0 && left < 0 ? 0 : left, wait_us, e);
        if (got <= 0 || *wait_us == 0)
            return got;
        if (!wrap_sleep((*wait_us + 999) / 1000))
            return err_set(e, EX_TEMPFAIL, "stopped while waiting");
        got = bucket_closed(p->store, name, &closed_us, e) < 0 ? -1 : 1;
    }
    return got;
}

/* ----------------------------------------------------------------------------- in this process */

/* The rate of a value, looked up by its name. */
struct rate {
    char *name;
    struct gcra pace;
};

struct rates {
    struct pacer *p;
    struct gcra own; /* of all that have no name */
    void *tree;      /* of the others, tsearch(3) */
    size_t n;
    int64_t left_out; /* number of lines that were too long */
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct rate *)a)->name, ((const struct rate *)b)->name);
}

static void forget_all(struct rates *f)
{
    while (f->tree != NULL) {
        struct rate *r = *(struct rate **)f->tree;
        tdelete(r, &f->tree, compare);
        free(r->name);
        free(r);
    }
    f->n = 0;
}

static struct gcra *rate_of(struct rates *f, const char *name)
{
    struct rate wanted = {(char *)(uintptr_t)name, f->p->pace}, **found;

    if (name == NULL)
        return &f->own;
    if ((found = tfind(&wanted, &f->tree, compare)) == NULL) {
        if (f->n >= RATES_MAX)
            forget_all(f);
        struct rate *new = mem_zero(1, sizeof *new);
        *new = (struct rate){mem_dup(name, strlen(name)), f->p->pace};
        found = tsearch(new, &f->tree, compare);
        f->n++;
    }
    return &(*found)->pace;
}

void pacer_alone(const struct err *why)
{
    say_warn("%s: the rate is not shared with other processes", why->text);
}

/* The time of the next turn, on the same clock as now_us. */
static int64_t next_turn(struct rates *f, const char *name, int64_t now_us)
{
    struct err broken = ERR_NONE;
    int64_t wait_us = 0;
    struct gcra *g;

    if (f->p->store != NULL && take_shared(f->p, name, -1, &wait_us, &broken) > 0)
        return now_us + wait_us;
    if (broken.status != 0) {
        pacer_alone(&broken);
        store_close(f->p->store);
        f->p->store = NULL;
    }
    g = rate_of(f, f->p->name == NULL ? name : NULL);
    if (g->next_us < now_us && g->next_us > now_us - LATE_US && g->burst == 1)
        now_us = g->next_us; /* its turn was a moment ago, while we slept */
    wait_us = gcra_wait(g, now_us);
    gcra_take(g, 1, now_us);
    return now_us + wait_us;
}

/* -------------------------------------------------------------------------------------- lines */

static int64_t steady_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Wait for input or a time, or until the reader has gone: then there is nothing more to do. */
static bool wait_until(int64_t us, bool input)
{
    struct pollfd fds[] = {{.fd = STDOUT_FILENO},
                           {.fd = input ? STDIN_FILENO : -1, .events = POLLIN}};
    struct timespec t = {us / 1000000, us % 1000000 * 1000};

    ppoll(fds, 2, us < 0 ? NULL : &t, NULL);
    return (fds[0].revents & POLLERR) == 0;
}

static bool sleep_until(int64_t us)
{
    for (int64_t left; (left = us - steady_us()) > 0;)
        if (!wait_until(left, false))
            return false;
    return true;
}

/* As lines_next. A line that is too long is reported. */
static int next_line(struct rates *f, struct lines *in, struct line *line, struct err *e)
{
    int got = lines_next(in, line, e);

    if (got != LINES_TOO_LONG)
        return got;
    say_warn("line %lld: longer than %d MiB: left out", (long long)line->number,
             LINE_MAX_BYTES >> 20);
    f->left_out++;
    return got;
}

/* All lines wait for one another. */
static int one_rate(struct rates *f, struct lines *in, struct err *e)
{
    struct line line;
    int got;

    while ((got = next_line(f, in, &line, e)) > 0 && !out_gone()) {
        if (got == LINES_TOO_LONG)
            continue;
        int64_t now = steady_us(), turn = next_turn(f, f->p->name, now);
        if (turn > now) {
            if (out_flush(e) < 0)
                return -1;
            if (!sleep_until(turn))
                return 0;
        }
        if (out_line(line.text, e) < 0 || (!lines_waiting(in) && out_flush(e) < 0))
            return -1;
    }
    return got < 0 ? -1 : 0;
}

/* A heap of lines by their turns, and in the order in which they came. */
struct held {
    int64_t turn, number;
    struct str text;
};

struct heap {
    struct held *held;
    size_t n, bytes;
};

static bool before(const struct held *a, const struct held *b)
{
    return a->turn != b->turn ? a->turn < b->turn : a->number < b->number;
}

static void push(struct heap *h, const struct held *new)
{
    size_t i = h->n++;

    for (; i > 0 && before(new, &h->held[(i - 1) / 2]); i = (i - 1) / 2)
        h->held[i] = h->held[(i - 1) / 2];
    h->held[i] = *new;
    h->bytes += new->text.n;
}

static struct held pop(struct heap *h)
{
    struct held first = h->held[0], last = h->held[--h->n];
    size_t i = 0;

    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && before(&h->held[child + 1], &h->held[child]))
            child++;
        if (!before(&h->held[child], &last))
            break;
        h->held[i] = h->held[child];
    }
    h->held[i] = last;
    h->bytes -= first.text.n;
    return first;
}

static void hold(struct rates *f, struct heap *h, const char *by, const struct line *line)
{
    struct buf name = BUF_INIT;

    pacer_name(&name, f->p->name, by, line->text);
    int64_t turn = next_turn(f, buf_text(&name), steady_us());
    buf_free(&name);
    push(h,
         &(struct held){turn, line->number, {mem_dup(line->text.p, line->text.n), line->text.n}});
}

static int print_due(struct heap *h, struct err *e)
{
    int got = 0;

    while (got == 0 && h->n > 0 && h->held[0].turn <= steady_us()) {
        struct held line = pop(h);
        got = out_line(line.text, e);
        free((char *)(uintptr_t)line.text.p);
    }
    return got < 0 ? -1 : out_flush(e);
}

/* Wait for input, if there is room for it, or for the next turn. False: the reader has gone. */
static bool wait_for_either(const struct heap *h, bool room)
{
    int64_t us = h->n == 0 ? -1 : h->held[0].turn - steady_us();

    return (h->n > 0 && us <= 0) || wait_until(us, room);
}

/* Lines of one value wait for one another; lines of other values overtake them. */
static int rate_each(struct rates *f, struct lines *in, const char *by, struct err *e)
{
    struct heap h = {.held = mem_zero(HELD_MAX, sizeof *h.held)};
    bool ended = false;
    struct line line;
    int got = 0;

    while ((!ended || h.n > 0) && got >= 0 && !out_gone()) {
        bool room = !ended && h.n < HELD_MAX && h.bytes < HELD_BYTES;
        if (room && lines_waiting(in)) {
            got = next_line(f, in, &line, e);
            ended = got == LINES_END;
            if (got == LINES_LINE)
                hold(f, &h, by, &line);
        } else if (!wait_for_either(&h, room)) {
            break;
        }
        if (got >= 0 && h.n > 0)
            got = print_due(&h, e);
    }
    while (h.n > 0)
        free((char *)(uintptr_t)pop(&h).text.p);
    free(h.held);
    return got < 0 ? -1 : 0;
}

int pacer_filter(struct pacer *p, const char *by, struct err *e)
{
    struct rates f = {.p = p, .own = p->pace};
    struct lines *in = NULL;
    int got;

    out_watch();
    got = lines_open(&in, NULL, LINE_MAX_BYTES, e);
    if (got == 0)
        got = by == NULL ? one_rate(&f, in, e) : rate_each(&f, in, by, e);
    if (got == 0 && f.left_out > 0)
        got = err_set(e, EX_DATAERR, "%lld line%s left out", (long long)f.left_out,
                      f.left_out == 1 ? "" : "s");
    lines_close(in);
    forget_all(&f);
    return got;
}

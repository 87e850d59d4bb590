/*
 * Pass events to a command, one per line on its stdin; an event whose id or line it prints is safe.
 *
 * The order of an aggregate is kept whatever the sink does: an event is given only when the
 * previous one is confirmed. A sink that answers while it reads is kept running while there are
 * rows, and with -f between them, too. A sink that answers only at the end of its input looks like
 * a slow sink: it is silent. After --timeout without a first answer its input is ended, and in
 * later runs at once. A wrong guess loses nothing: a slow sink whose input has ended still answers,
 * and is started again for the rest.
 */
#include "base/duration.h"
#include "base/mem.h"
#include "cli/say.h"
#include "outbox/engine.h"
#include "process/proc.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUIET_MS 1000 /* for a sink that has left out an event, to which no answer will come */
#define DOWN_MS 1000  /* not available: the first pause, which then grows */
#define DOWN_MAX_MS 60000

/* Find the previous row of each row's aggregate. */
static void line_up(struct relay *r)
{
    struct relay_page *p = &r->page;

    for (size_t i = 0; i < p->n; i++) {
        struct relay_row *row = &p->row[i];
        row->before = -1;
        row->given = false;
        if (row->fate != RELAY_READY || row->text[RELAY_AGGREGATE].p == NULL)
            continue;
        for (size_t k = i; k-- > 0 && row->before < 0;)
            if (p->row[k].fate == RELAY_READY &&
                str_eq(p->row[k].text[RELAY_AGGREGATE], row->text[RELAY_AGGREGATE]))
                row->before = (int64_t)k;
    }
}

static bool may_go(const struct relay *r, const struct relay_row *row)
{
    return row->fate == RELAY_READY && !row->given &&
           (row->before < 0 || r->page.row[row->before].fate == RELAY_DONE);
}

static size_t feed_sink(struct relay *r, int64_t now_ms)
{
    size_t n = 0;

    for (size_t i = 0; i < r->page.n; i++) {
        struct relay_row *row = &r->page.row[i];
        if (!may_go(r, row))
            continue;
        child_feed(&r->child, row->event->line);
        child_feed(&r->child, STR("\n"));
        row->given = true;
        row->given_ms = now_ms;
        row->given_n = ++r->gave_n;
        n++;
    }
    return n;
}

static size_t unanswered(const struct relay *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->page.n; i++)
        n += r->page.row[i].fate == RELAY_READY && r->page.row[i].given;
    return n;
}

static size_t behind(const struct relay *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->page.n; i++)
        n += r->page.row[i].fate == RELAY_READY && !r->page.row[i].given;
    return n;
}

/* ---------------------------------------------------------------------------------- its answers */

/* The time of its answers shows what kind of sink it is. */
static void note_answer(struct relay *r, struct relay_row *row)
{
    int64_t took_ms = clock_mono_ms() - row->given_ms;

    row->fate = RELAY_DONE;
    r->sink_kept = false;
    r->answered_n = row->given_n > r->answered_n ? row->given_n : r->answered_n;
    if (r->sink_over)
        return;
    r->sink_streams = true;
    r->slowest_ms = took_ms > r->slowest_ms ? took_ms : r->slowest_ms;
}

static bool confirm(struct relay *r, struct str id, size_t *from)
{
    for (size_t i = 0; i < r->page.n; i++) { /* answers mostly come in order */
        struct relay_row *row = &r->page.row[(*from + i) % r->page.n];
        if (!row->given || !str_eq(row->event->id, id))
            continue;
        if (row->fate == RELAY_READY)
            note_answer(r, row);
        *from = (*from + i + 1) % r->page.n;
        return true;
    }
    return false;
}

static bool take_line(struct relay *r, struct str line, size_t *from)
{
    struct err why = ERR_NONE;

    while (line.n > 0 && strchr(" \t\r", line.p[line.n - 1]) != NULL)
        line.n--;
    if (line.n == 0)
        return true;
    if (*line.p == '{' && event_read(&r->answer, &r->scan, line, &why) == 0 &&
        r->answer.id.p != NULL)
        return confirm(r, r->answer.id, from);
    return confirm(r, line, from);
}

/* Whole lines only, except the very last one. */
static void sink_answers(struct relay *r, bool end)
{
    struct buf *out = &r->child.out;
    size_t at = 0, from = 0;

    while (at < out->n) {
        const char *newline = memchr(out->p + at, '\n', out->n - at);
        if (newline == NULL && !end)
            break;
        size_t n = newline == NULL ? out->n - at : (size_t)(newline - out->p) - at;
        struct str line = {out->p + at, n};
        if (!take_line(r, line, &from) && !r->sink_strange) {
            r->sink_strange = true;
            say_warn("the sink printed something other than an id or a line that it was given: %s",
                     err_quote(line.p, line.n).text);
        }
        at += n + (newline != NULL);
    }
    if (at > 0)
        buf_splice(out, 0, at, "", 0);
}

/* -------------------------------------------------------------------------------------- one run */

static int start_sink(struct relay *r, struct err *e)
{
    const struct child_run run = {
        .argv = r->terms->sink, .envp = environ, .stay = true, .grace_ms = 1000};

    child_reset(&r->child);
    r->sink_kept = r->sink_over = false;
    r->sink_runs = child_start(&r->child, &run, e) == 0;
    return r->sink_runs ? 0 : -1;
}

static void reap_sink(struct relay *r)
{
    int wait_status;

    for (pid_t pid; (pid = proc_reap(&wait_status)) > 0;)
        if (pid == r->child.pid && !r->child.ended)
            child_ended(&r->child, wait_status, clock_mono_ms());
}

static int64_t wait_ms(const struct relay *r, int64_t now, int64_t quiet_at, int64_t stop_at)
{
    int64_t until = child_deadline(&r->child);

    if (quiet_at < until)
        until = quiet_at;
    if (stop_at < until)
        until = stop_at;
    return until == INT64_MAX ? -1 : until < now ? 0 : until - now;
}

/* Has it answered a later event, and so left this one out? */
static bool leaves_out(const struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++)
        if (r->page.row[i].fate == RELAY_READY && r->page.row[i].given &&
            r->page.row[i].given_n < r->answered_n)
            return true;
    return false;
}

/* How long a sink may be silent once it has all the events that it may be given. */
static int64_t patience_ms(const struct relay *r)
{
    int64_t often = 4 * r->slowest_ms > QUIET_MS ? 4 * r->slowest_ms : QUIET_MS;

    return r->sink_streams && often < r->terms->timeout_ms && leaves_out(r) ? often
                                                                            : r->terms->timeout_ms;
}

/* May its input end? Yes, when there is nothing more to give, or when the sink waits for the
   end. */
static bool input_is_over(struct relay *r, int64_t now, int64_t quiet_at)
{
    char quiet[DURATION_TEXT_SIZE];

    if ((behind(r) == 0 && !r->more) || r->sink_reads_all || proc_stopping())
        return true;
    if (unanswered(r) == 0 || now < quiet_at)
        return false;
    if (!r->sink_streams && r->terms->timeout_ms > 0)
        say_note("the sink has answered nothing for %s: its input ends, and from now on at once "
                 "(--timeout)",
                 duration_format(quiet, r->terms->timeout_ms));
    r->sink_reads_all = !r->sink_streams;
    return true;
}

static int hear_sink(struct relay *r, int64_t now, struct err *e)
{
    if (child_io(&r->child, now, e) < 0)
        return -1;
    reap_sink(r);
    sink_answers(r, false);
    return 0;
}

/* Feed the sink and read its answers until it has ended, or has answered everything and is kept
   running. A signal to us ends its input; if that is not enough, its timeout. */
static int converse(struct relay *r, struct err *e)
{
    int64_t quiet_at = INT64_MAX, stop_at = INT64_MAX;
    struct pollfd fds[CHILD_FDS];

    for (;;) {
        int64_t now = clock_mono_ms();
        size_t before = unanswered(r);

        if (hear_sink(r, now, e) < 0)
            return -1;
        if (proc_stopping() && stop_at == INT64_MAX)
            stop_at = now + RELAY_GRACE_MS;
        if (now >= stop_at || proc_forced())
            child_stop(&r->child, now);
        if (!r->sink_over) {
            bool moved = unanswered(r) < before || r->child.in.n > r->child.fed;
            if (feed_sink(r, now) > 0 || moved)
                quiet_at = now + patience_ms(r);
            if (input_is_over(r, now, quiet_at)) {
                r->sink_over = true;
                quiet_at = INT64_MAX;
                child_end_input(&r->child);
            } else if (unanswered(r) == 0 && !r->child.ended) {
                r->sink_kept = true;
                return 0;
            }
        }
        if (child_done(&r->child))
            break;
        size_t n = child_fds(&r->child, fds);
        proc_wait(fds, n, wait_ms(r, clock_mono_ms(), quiet_at, stop_at));
    }
    sink_answers(r, true);
    r->sink_runs = false;
    return 0;
}

size_t relay_sink_fds(const struct relay *r, struct pollfd *fds, int64_t *wait)
{
    int64_t until = r->sink_runs ? child_deadline(&r->child) : INT64_MAX;

    if (until != INT64_MAX && until - clock_mono_ms() < *wait)
        *wait = until - clock_mono_ms();
    return r->sink_runs ? child_fds(&r->child, fds) : 0;
}

int relay_sink_idle(struct relay *r, struct err *e)
{
    if (!r->sink_runs)
        return 0;
    if (hear_sink(r, clock_mono_ms(), e) < 0)
        return -1;
    if (child_done(&r->child))
        r->sink_runs = false;
    return 0;
}

int relay_sink_end(struct relay *r, struct err *e)
{
    r->more = false;
    return r->sink_runs ? converse(r, e) : 0;
}

/* ------------------------------------------------------------------------------------- outcomes */

/* The last line that it wrote to stderr is more informative than its status. */
static void sink_reason(const struct relay *r, struct buf *why)
{
    struct str tail = r->child.tail;
    size_t from;

    while (tail.n > 0 && tail.p[tail.n - 1] == '\n')
        tail.n--;
    for (from = tail.n; from > 0 && tail.p[from - 1] != '\n';)
        from--;
    buf_printf(why, "not confirmed by the sink (%s)", r->child.why);
    if (tail.n > from) {
        buf_puts(why, ": ");
        err_escape(why, tail.p + from, tail.n - from < 300 ? tail.n - from : 300);
    }
}

/* Not counted as an attempt: no row is to blame. */
static void pause_sink(struct relay *r)
{
    const struct backoff b = {DOWN_MS, DOWN_MAX_MS, BACKOFF_EQUAL};

    if (r->downs++ == 0)
        say_warn("the sink is not available (exit status %d)", EX_UNAVAILABLE);
    r->pause_ms = clock_mono_ms() + backoff_ms(&b, r->downs, clock_random());
}

/* Handle the events that it was given and has not confirmed. If we ended it ourselves, no row is to
   blame; nor if a kept sink has ended in the meantime: a new one gets these events. */
static void judge_unanswered(struct relay *r)
{
    struct buf why = BUF_INIT;
    int64_t n = 0;
    bool down = r->child.status == EX_UNAVAILABLE, ours = proc_stopping();

    sink_reason(r, &why);
    for (size_t i = 0; i < r->page.n; i++) {
        struct relay_row *row = &r->page.row[i];
        if (row->fate != RELAY_READY || !row->given)
            continue;
        if (r->sink_kept && !down && !ours) {
            row->given = false;
            continue;
        }
        row->fate = RELAY_LEFT;
        relay_hold(r, row->text[RELAY_AGGREGATE]);
        if (!down && !ours)
            relay_retry(r, row, buf_text(&why));
        n += row->fate == RELAY_RETRY;
    }
    if (n > 0)
        say_warn("%" PRId64 " row%s %s: will be tried again", n, n == 1 ? "" : "s", buf_text(&why));
    if (down && !ours)
        pause_sink(r);
    else
        r->downs = 0;
    buf_free(&why);
}

static bool any_may_go(const struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++)
        if (may_go(r, &r->page.row[i]))
            return true;
    return false;
}

/* Each run takes at least one row further, or is the first run of a new sink: so this loop ends. */
int relay_sink(struct relay *r, struct err *e)
{
    int got = relay_sink_idle(r, e);

    line_up(r);
    if (got == 0 && r->sink_runs && r->child.ended) { /* it ended while there was nothing to do */
        r->sink_over = true;
        got = converse(r, e);
    }
    while (got == 0 && any_may_go(r) && r->pause_ms == 0 && !proc_stopping()) {
        if (!r->sink_runs)
            got = start_sink(r, e);
        if (got == 0)
            got = converse(r, e);
        if (got == 0 && !r->sink_runs)
            judge_unanswered(r);
    }
    for (size_t i = 0; i < r->page.n; i++)
        if (r->page.row[i].fate == RELAY_READY) {
            r->page.row[i].fate = RELAY_LEFT;
            relay_hold(r, r->page.row[i].text[RELAY_AGGREGATE]);
        }
    return got;
}

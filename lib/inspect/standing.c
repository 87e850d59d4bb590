/*
 * One sentence for each state, with the history so far in brackets, followed by what holds up the
 * group as a whole.
 */
#include "inspect/standing.h"

#include "base/duration.h"
#include "base/json_tree.h"

#include <inttypes.h>
#include <string.h>

#define SAID_MAX 200 /* bytes of a handler's last message */

static void add_time(struct buf *b, int64_t ms, int64_t now_ms)
{
    char when[CLOCK_TEXT_SIZE], age[DURATION_TEXT_SIZE];
    bool past = ms <= now_ms;

    buf_puts(b, clock_format(when, ms));
    buf_printf(b, past ? ", %s ago" : ", in %s",
               duration_format(age, past ? now_ms - ms : ms - now_ms));
}

/* The handler's last message, which is where programs report why they end. */
static struct str last_words(struct str tail)
{
    while (tail.n > 0 && (unsigned char)tail.p[tail.n - 1] <= ' ')
        tail.n--;
    const char *newline = tail.n == 0 ? NULL : memrchr(tail.p, '\n', tail.n);
    if (newline != NULL)
        tail = (struct str){newline + 1, tail.n - (size_t)(newline + 1 - tail.p)};
    if (tail.n <= SAID_MAX)
        return tail;
    tail.n = SAID_MAX;
    while (tail.n > 0 && ((unsigned char)tail.p[tail.n] & 0xc0) == 0x80)
        tail.n--;
    return tail;
}

static void add_reason(struct buf *b, const struct where *w)
{
    struct str said = last_words(w->tail);

    err_escape(b, w->reason.p, w->reason.n);
    if (said.n == 0)
        return;
    buf_puts(b, w->reason.n == 0 ? "" : ": ");
    err_escape(b, said.p, said.n);
}

/* In brackets: the history so far. */
static void add_history(struct buf *b, const struct where *w)
{
    if (w->attempts > 0)
        buf_printf(b, " (attempt %" PRId64 " failed", w->attempts);
    else if (w->reason.p != NULL)
        buf_puts(b, " (given back; it had failed");
    else if (w->deaths > 0)
        buf_puts(b, " (");
    else
        return;
    if (w->reason.p != NULL) {
        buf_puts(b, ": ");
        add_reason(b, w);
    }
    if (w->deaths > 0)
        buf_printf(b, "%s%" PRId64 " consumer%s died with it",
                   w->attempts > 0 || w->reason.p != NULL ? "; " : "", w->deaths,
                   w->deaths == 1 ? "" : "s");
    buf_char(b, ')');
}

/* What holds up the group as a whole. */
static void add_mood(struct buf *b, const struct where *w, int64_t now_ms)
{
    if (w->paused)
        buf_puts(b, "; the group is paused");
    if (w->hold_ms > now_ms) {
        buf_puts(b, "; the group is on hold until ");
        add_time(b, w->hold_ms, now_ms);
    }
    if (w->consumers == 0)
        buf_puts(b, "; no consumer is running");
}

static void why_ahead(struct buf *b, const struct where *w, const struct log_entry *event,
                      int64_t now_ms)
{
    buf_printf(b, "not yet reached (position %" PRId64 " of %" PRId64 ")", w->position, w->last);
    if (w->notbefore_ms > now_ms) {
        buf_puts(b, ", and not before ");
        add_time(b, w->notbefore_ms, now_ms);
    }
    if (event->damaged)
        buf_puts(b, ", and will be a dead letter: it is damaged");
    add_mood(b, w, now_ms);
}

static void why_expired(struct buf *b, const struct where *w, int64_t now_ms)
{
    buf_puts(b, "expired at ");
    add_time(b, w->expires_ms, now_ms);
    add_history(b, w);
}

static void why_waiting(struct buf *b, const struct where *w, int64_t now_ms)
{
    if (w->due_ms > now_ms) {
        buf_puts(b, "waiting until ");
        add_time(b, w->due_ms, now_ms);
    } else {
        buf_puts(b, "due now");
    }
    add_history(b, w);
    add_mood(b, w, now_ms);
}

static void why_behind(struct buf *b, const struct where *w, int64_t now_ms)
{
    if (w->behind == 0)
        buf_puts(b, "behind an earlier event of its subject that is settled by now");
    else
        buf_printf(b, "behind seq %" PRId64 " of its subject", w->behind);
    if (w->behind_due_ms != 0) {
        buf_puts(b, ", which waits until ");
        add_time(b, w->behind_due_ms, now_ms);
    }
    add_history(b, w);
    add_mood(b, w, now_ms);
}

static void add_pid(struct buf *b, const struct where *w)
{
    if (w->pid != 0)
        buf_printf(b, "pid %" PRId64, w->pid);
    else
        buf_puts(b, "a process that is not known");
}

static void why_claimed(struct buf *b, const struct where *w, int64_t now_ms)
{
    if (w->state == WHERE_CLAIMED) {
        buf_puts(b, "in the hands of ");
        add_pid(b, w);
        if (w->claimed_ms != 0) {
            buf_puts(b, " since ");
            add_time(b, w->claimed_ms, now_ms);
        }
        add_history(b, w);
        return;
    }
    buf_puts(b, "its consumer died (");
    add_pid(b, w);
    buf_puts(b, "); the next one takes it over");
    add_history(b, w);
    add_mood(b, w, now_ms);
}

static void why_leased(struct buf *b, const struct where *w, int64_t now_ms)
{
    bool over = w->due_ms <= now_ms;

    buf_puts(b, over ? "handed out over a pipe and not settled in time"
                     : "handed out over a pipe, to be settled until ");
    if (!over)
        add_time(b, w->due_ms, now_ms);
    add_history(b, w);
    if (over)
        add_mood(b, w, now_ms);
}

static void why_dead(struct buf *b, const struct where *w, int64_t now_ms)
{
    buf_puts(b, "dead since ");
    add_time(b, w->due_ms, now_ms);
    if (w->reason.p != NULL) {
        buf_puts(b, ": ");
        add_reason(b, w);
    }
    if (w->attempts > 0)
        buf_printf(b, " (%" PRId64 " attempt%s)", w->attempts, w->attempts == 1 ? "" : "s");
}

static void why_filtered(struct buf *b, const struct where *w)
{
    buf_puts(b, "filtered out (its patterns are ");
    for (size_t i = 0; i < w->types->n; i++) {
        buf_puts(b, i == 0 ? "'" : ", '");
        err_escape(b, w->types->item[i], strlen(w->types->item[i]));
        buf_char(b, '\'');
    }
    buf_puts(b, w->types->n == 0 ? "'#')" : ")");
}

static void why_done(struct buf *b, const struct where *w, const struct log_entry *event,
                     int64_t now_ms)
{
    if (w->expires_ms == 0 || w->expires_ms > now_ms) {
        buf_puts(b, "done");
        return;
    }
    buf_puts(b, w->expires_ms <= event->recorded_ms ? "passed over: it expired at "
                                                    : "done, or passed over: it expired at ");
    add_time(b, w->expires_ms, now_ms);
}

void standing_text(struct buf *b, const struct where *w, const struct log_entry *event,
                   int64_t now_ms)
{
    switch (w->state) {
    case WHERE_FILTERED:
        why_filtered(b, w);
        break;
    case WHERE_BEFORE:
        buf_puts(b, "before the group's beginning");
        break;
    case WHERE_AHEAD:
        why_ahead(b, w, event, now_ms);
        break;
    case WHERE_WAITING:
        why_waiting(b, w, now_ms);
        break;
    case WHERE_BEHIND:
        why_behind(b, w, now_ms);
        break;
    case WHERE_CLAIMED:
    case WHERE_ORPHANED:
        why_claimed(b, w, now_ms);
        break;
    case WHERE_LEASED:
        why_leased(b, w, now_ms);
        break;
    case WHERE_DEAD:
        why_dead(b, w, now_ms);
        break;
    case WHERE_PASSED:
        why_done(b, w, event, now_ms);
        buf_puts(b, ", unless the group began behind it");
        break;
    case WHERE_EXPIRED:
        why_expired(b, w, now_ms);
        break;
    case WHERE_DONE:
        why_done(b, w, event, now_ms);
        break;
    }
}

static const char *const state_names[] = {
    [WHERE_FILTERED] = "filtered", [WHERE_BEFORE] = "before", [WHERE_AHEAD] = "ahead",
    [WHERE_WAITING] = "waiting",   [WHERE_BEHIND] = "behind", [WHERE_CLAIMED] = "claimed",
    [WHERE_ORPHANED] = "orphaned", [WHERE_LEASED] = "leased", [WHERE_DEAD] = "dead",
    [WHERE_DONE] = "done",         [WHERE_PASSED] = "passed", [WHERE_EXPIRED] = "expired",
};

static json_t *number(int64_t value)
{
    return value == 0 ? json_null() : json_integer(value);
}

json_t *standing_row(const struct where *w, const struct log_entry *event, int64_t now_ms)
{
    struct buf why = BUF_INIT;

    standing_text(&why, w, event, now_ms);
    json_t *row = json_pack(
        "{s:o,s:s,s:o,s:o,s:I,s:I,s:o,s:o,s:o,s:o,s:b,s:o,s:I}", "group",
        tree_text(str_of(w->group)), "state", state_names[w->state], "why",
        tree_text((struct str){why.p, why.n}), w->state == WHERE_DEAD ? "since" : "until",
        tree_time(w->due_ms), "attempts", (json_int_t)w->attempts, "deaths", (json_int_t)w->deaths,
        "reason", tree_text(w->reason), "pid", number(w->pid), "claimed", tree_time(w->claimed_ms),
        "behind", number(w->behind), "paused", w->paused, "hold_until", tree_time(w->hold_ms),
        "consumers", (json_int_t)w->consumers);
    buf_free(&why);
    return row;
}

/*
 * A round: take the table's turn, read a page, publish, mark. A pass of rounds over the table.
 * Pruning.
 */
#include "base/duration.h"
#include "outbox/engine.h"
#include "process/proc.h"

#include <stdlib.h>

#define TURN_MS 20 /* between attempts while it is another relay's turn */

/* 1, 0 when a signal ended the wait, -1 with 75 when it took too long, which does not happen with
   follow. */
static int take_turn(struct relay *r, struct err *e)
{
    int64_t until = clock_mono_ms() + r->terms->wait_ms;
    char wait[DURATION_TEXT_SIZE];
    int got;

    while ((got = r->engine->begin(r, e)) == 0) {
        if (proc_stopping())
            return 0;
        if (!r->terms->follow && clock_mono_ms() >= until)
            return err_set(e, EX_TEMPFAIL, "%s: another relay is at work, and has been for %s",
                           r->place, duration_format(wait, r->terms->wait_ms));
        proc_wait(NULL, 0, TURN_MS);
    }
    return got;
}

static void count_page(struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++) {
        struct relay_row *row = &r->page.row[i];
        if (row->fate != RELAY_LEFT)
            relay_remember(r, row);
        r->result->relayed += row->fate == RELAY_DONE;
        r->result->waiting += row->fate == RELAY_RETRY;
    }
}

static bool any_settled(const struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++)
        if (r->page.row[i].fate != RELAY_LEFT)
            return true;
    return false;
}

static size_t confirmed(const struct relay *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->page.n; i++)
        n += r->page.row[i].fate == RELAY_DONE;
    return n;
}

/* Marks are idempotent, so wait for temporary trouble to pass, here more than elsewhere. A first
   signal does not end the wait. */
static int mark(struct relay *r, struct err *e)
{
    int64_t until = clock_mono_ms() + r->terms->wait_ms;
    size_t n = confirmed(r);
    int got;

    r->marking = true;
    while ((got = r->engine->settle(r, clock_now_ms(), e)) < 0 && relay_will_pass(e) &&
           (r->terms->follow || clock_mono_ms() < until)) {
        struct err why = *e;
        if (relay_endure(r, e) == 0) {
            *e = why;
            break;
        }
    }
    r->marking = false;
    if (got == 0)
        relay_trouble_over(r);
    else if (relay_will_pass(e) && (r->unmarked = n > 0))
        err_at(e, "%zu row%s relayed and could not be marked: ", n, n == 1 ? " was" : "s were");
    return got;
}

/*
 * The guarantee rests on the order. The events are on disk, or confirmed by the sink, when their
 * rows are marked: after a kill before that they are published again under the same ids, and the
 * spool ignores them as duplicates. If rows were marked first, events would be lost.
 */
static int publish_and_mark(struct relay *r, struct err *e)
{
    int64_t now_ms = clock_now_ms();
    size_t ready = relay_choose(r, now_ms);
    int got = 0, told;
    struct err unsettled = ERR_NONE;

    r->more = (r->terms->follow || !r->page.last) &&
              (r->terms->most == 0 || r->result->relayed + (int64_t)ready < r->terms->most);
    if (ready > 0)
        got = r->terms->sink != NULL ? relay_sink(r, e) : relay_into_spool(r, e);
    if (got < 0 && r->terms->sink == NULL)
        return -1;
    /* A sink may have confirmed some events before it failed. */
    told = any_settled(r) ? mark(r, got < 0 ? &unsettled : e) : 0;
    if (told == 0)
        count_page(r);
    return got < 0 ? -1 : told;
}

/* Relay one page after *after. 1; 0 at the end of the table, or when we are to stop; -1: error. */
static int one_page(struct relay *r, int64_t *after, int64_t last, struct err *e)
{
    int got = take_turn(r, e);

    if (got <= 0)
        return got;
    relay_forget_page(r);
    got = r->engine->read(r, RELAY_MOVE, *after, last, e);
    if (got == 0 && r->page.n > 0) {
        *after = r->page.row[r->page.n - 1].id;
        got = publish_and_mark(r, e);
    }
    r->engine->end(r);
    if (got < 0)
        return -1;
    return !r->page.last && !proc_stopping() && r->pause_ms == 0;
}

/* Pass over the table once, up to the row last. Only a whole pass shows which rows are held up:
   those that come after rows it has seen. */
int relay_pass(struct relay *r, int64_t last, struct err *e)
{
    int64_t after = INT64_MIN;
    int got;

    relay_set_empty(&r->held);
    r->due_ms = INT64_MAX;
    r->busy = 0;
    while ((got = one_page(r, &after, last, e)) > 0)
        continue;
    return got;
}

bool relay_enough(const struct relay *r)
{
    return proc_stopping() || (r->terms->most > 0 && r->result->relayed >= r->terms->most);
}

int relay_prune(struct relay *r, struct err *e)
{
    int64_t after = INT64_MIN, n;

    while (after != INT64_MAX && !proc_stopping()) {
        if ((n = r->engine->prune(r, r->terms->prune_ms, &after, e)) < 0)
            return -1;
        r->result->pruned += n;
    }
    return 0;
}

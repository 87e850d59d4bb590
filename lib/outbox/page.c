/*
 * A page of rows: which of them it is the turn of, and which are held up behind others.
 */
#include "outbox/engine.h"

#include <stdlib.h>

/* An empty text means the same as none. */
static void without_empty(struct relay_row *row)
{
    static const enum relay_column optional[] = {RELAY_EVENT_ID, RELAY_AGGREGATE, RELAY_HEADERS};

    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        if (row->text[optional[i]].n == 0)
            row->text[optional[i]].p = NULL;
}

/* Is it this row's turn? A row whose turn it is not holds up the later rows of its aggregate. */
static bool is_due(struct relay *r, struct relay_row *row, int64_t now_ms)
{
    struct str aggregate = row->text[RELAY_AGGREGATE];

    without_empty(row);
    if (!relay_time(row->text[RELAY_RETRY_AT], &row->retry_ms) ||
        row->retry_ms > now_ms + r->terms->backoff.max_ms) /* we never wait that long: the clock
                                                              went back */
        row->retry_ms = 0;
    relay_recall(r, row);
    if (!row->failed && !row->held && row->retry_ms <= now_ms)
        return !relay_is_held(r, aggregate);
    relay_hold(r, aggregate);
    if (row->held && r->busy++ == 0)
        r->busy_id = row->id;
    if (!row->failed && !row->held && row->retry_ms < r->due_ms)
        r->due_ms = row->retry_ms;
    return false;
}

/* Choose the rows of this page to publish. Every check that does not need the spool's lock is made
   before the lock is taken. */
size_t relay_choose(struct relay *r, int64_t now_ms)
{
    struct err why = ERR_NONE;
    size_t ready = 0;

    r->fill.now_ms = now_ms;
    for (size_t i = 0; i < r->page.n; i++) {
        struct relay_row *row = &r->page.row[i];
        if (!is_due(r, row, now_ms))
            continue;
        err_clear(&why);
        if (relay_make(r, row, &why) < 0) {
            relay_fail(r, row, why.text);
            continue;
        }
        row->fate = RELAY_READY;
        ready++;
        if (r->terms->most > 0 && r->result->relayed + (int64_t)ready >= r->terms->most) {
            r->page.n = i + 1; /* later rows are not looked at any more */
            r->page.last = true;
        }
    }
    return ready;
}

void relay_forget_page(struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++)
        free(r->page.row[i].reason);
    r->page.n = 0;
}

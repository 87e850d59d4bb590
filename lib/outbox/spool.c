/*
 * A page into the spool, in one transaction.
 */
#include "outbox/engine.h"
#include "store/log.h"

#include <inttypes.h>

/* A row that cannot be stored holds up later rows of its aggregate that had been chosen already. */
static void hold_behind(struct relay *r, const struct relay_row *failed)
{
    struct str aggregate = failed->text[RELAY_AGGREGATE];

    for (size_t i = (size_t)(failed - r->page.row) + 1; i < r->page.n && aggregate.p != NULL; i++)
        if (r->page.row[i].fate == RELAY_READY &&
            str_eq(r->page.row[i].text[RELAY_AGGREGATE], aggregate))
            r->page.row[i].fate = RELAY_LEFT;
}

static void refuse_row(struct relay *r, struct relay_row *row, const struct log_put *put)
{
    struct err why = ERR_NONE;

    if (put->fate == LOG_CYCLE)
        err_set(&why, EX_DATAERR, "causal chain longer than %d events, is it a cycle?",
                EVENT_HOPS_MAX);
    else if (put->fate == LOG_STALE)
        err_set(&why, EX_DATAERR, "subject %s has another event at version %lld",
                err_quote(row->event->subject.p, row->event->subject.n).text,
                (long long)row->event->version);
    else
        err_set(&why, EX_DATAERR,
                "id %s is already in the spool with other content (seq %" PRId64 ")",
                err_quote(row->event->id.p, row->event->id.n).text, put->seq);
    relay_fail(r, row, why.text);
    hold_behind(r, row);
}

/* How many rows from i on are ready, of as many as are put at once. */
static size_t ready_run(const struct relay *r, size_t i)
{
    size_t n = 0;

    while (n < log_some() && i + n < r->page.n && r->page.row[i + n].fate == RELAY_READY)
        n++;
    return n;
}

/* Put the first of n rows, or more. Returns how many, or -1. */
static int put_ready(struct relay *r, struct txn *t, struct relay_row *row, size_t n, struct err *e)
{
    struct log_put put;
    int got = log_put_some(t, row->event, n, &put, e);

    for (int i = 0; i < got; i++)
        if (put.fate == LOG_STORED || put.fate == LOG_DUPLICATE)
            row[i].fate = RELAY_DONE;
        else
            refuse_row(r, &row[i], &put);
    return got;
}

int relay_into_spool(struct relay *r, struct err *e)
{
    const struct log_terms terms = {.now_ms = clock_now_ms()};
    struct txn *t;

    if (txn_begin(r->spool, TXN_PUBLISH, &terms, &t, e) < 0)
        return -1;
    for (size_t i = 0, n; i < r->page.n;) {
        int got = (n = ready_run(r, i)) == 0 ? 1 : put_ready(r, t, &r->page.row[i], n, e);
        if (got < 0) {
            txn_rollback(t);
            return -1;
        }
        i += (size_t)got;
    }
    return txn_commit(t, e);
}

#include "deliver/pipe.h"

#include "cli/out.h"
#include "process/proc.h"

#include <poll.h>

#define PIPE_BATCH 1000 /* events per claim: a commit for each half */

/* Print the claimed events, then settle them, or leave that to settle at the end of the pipe. If
   the reader has gone, the disk is full, or a signal came while the pipe was full, all of them are
   returned, though some may have been read. */
static int print_claimed(struct decide *d, struct group_event **events, int n, struct err *e)
{
    struct err why = ERR_NONE;
    int got = 0;

    proc_unblock();
    for (int i = 0; i < n && got == 0; i++)
        got = out_line(events[i]->entry.line, &why);
    if (got == 0)
        got = out_flush(&why);
    proc_block();
    if (got < 0)
        decide_stop(d, &why);
    if (d->terms->lease && got == 0 && !out_gone()) {
        group_hand_over(d->group);
        d->result->done += n;
        return 0;
    }
    for (int i = 0; i < n; i++)
        decide_printed(d, events[i]);
    if (got < 0 || out_gone())
        decide_take_back(d, true);
    return decide_settle(d, &(struct decide_next){0}, e);
}

/* Nothing could be claimed. 1: wait for more; 0: there is no more to come; -1. */
static int wait_for_more(struct intake *in, struct err *e)
{
    struct decide *d = in->decide;
    int64_t pace = group_pace_ms(d->group);

    if (pace == 0 && intake_look_past(in, e) < 0)
        return -1;
    if (pace == 0 && (!d->terms->follow || in->past_last))
        return 0;
    if (pace == 0)
        return store_wait(d->store, NULL, 0, intake_wait_ms(in), proc_wait, e) < 0 ? -1 : 1;
    proc_wait(NULL, 0, pace);
    return 1;
}

int pipe_run(struct intake *in, struct err *e)
{
    struct decide *d = in->decide;
    struct group_event **events;
    int64_t left = PIPE_BATCH;
    size_t max;
    int n, got;

    while (!proc_stopping() && !out_gone() && d->result->why.status == 0) {
        if (d->terms->most != 0)
            left = d->terms->most - d->result->done;
        if (left == 0)
            return 0;
        max = left < PIPE_BATCH ? (size_t)left : PIPE_BATCH;
        n = intake_claim(in, max, max, &events, e);
        if (n <= 0 && (proc_stopping() || d->result->why.status != 0))
            break; /* what was claimed all the same goes back, when it cannot be printed */
        if (n < 0)
            return -1;
        got = n > 0 ? print_claimed(d, events, n, e) : wait_for_more(in, e);
        if (got < 0 || (n == 0 && got == 0))
            return got;
    }
    d->result->stopped = true;
    return 0;
}

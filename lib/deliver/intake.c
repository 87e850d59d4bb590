#include "deliver/intake.h"

#include "base/point.h"

#include "process/proc.h"

/* Once the time to stop at has come, it is replaced by a position. */
static int find_last(struct intake *in, struct err *e)
{
    const struct point end = {POINT_TIME, in->decide->terms->until_ms};

    if (in->last != 0 || end.value == 0 || clock_now_ms() < end.value)
        return 0;
    if (log_point(in->decide->store, &end, &in->last, e) < 0)
        return -1;
    in->last = log_before(in->last);
    if (in->last == 0) /* 0 would mean no limit */
        in->last = -1;
    return 0;
}

int intake_look_past(struct intake *in, struct err *e)
{
    const struct point end = {POINT_END, 0};
    int64_t behind;

    if (in->last == 0 || in->past_last)
        return 0;
    if (log_point(in->decide->store, &end, &behind, e) < 0)
        return -1;
    in->past_last = behind > in->last || in->decide->terms->until_ms != 0;
    return 0;
}

int intake_claim(struct intake *in, size_t max, size_t at_once, struct group_event ***out,
                 struct err *e)
{
    struct store *store = in->decide->store;

    if (find_last(in, e) < 0)
        return -1;
    store_stop(store, proc_stopping);
    int n = group_claim(in->decide->group, max, at_once, in->last, out, e);
    store_stop(store, proc_forced);
    if (n >= 0 || !store_locked(store) || store_lost(store))
        return n;
    if (!proc_stopping())
        decide_stop(in->decide, e);
    err_clear(e);
    return 0;
}

int intake_settle(struct intake *in, struct decide_next *next, struct err *e)
{
    if (find_last(in, e) < 0)
        return -1;
    next->last = in->last;
    return decide_settle(in->decide, next, e);
}

/* If the store fails here, the next claim will meet the error. */
int64_t intake_wait_ms(const struct intake *in)
{
    struct err met_later = ERR_NONE;
    int64_t left;

    return group_next(in->decide->group, in->last, &left, &met_later) < 0 ? -1 : left;
}

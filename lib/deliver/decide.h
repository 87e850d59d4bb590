/*
 * decide: what becomes of an event that was begun. A crew (crew.h) decides each of its events by
 * calling one of the functions below once; the event is settled soon after, together with others,
 * and its claim and its line remain until then.
 *
 * decide also owns the claimed events that have not begun: in an ordered group, an event that goes
 * back to the group takes the later ones of its subject along.
 */
#ifndef DELIVER_DECIDE_H
#define DELIVER_DECIDE_H

#include "deliver/emit.h"
#include "deliver/loop.h"

struct decide_made {
    size_t at, n; /* what the event emits, as emit numbers it */
    bool printed; /* its output went to stdout */
};

struct decide {
    struct store *store;
    struct group *group;
    const struct loop_terms *terms;
    struct loop_result *result;

    struct group_event **queue; /* claimed, not yet begun */
    size_t queued, queue_room;
    int64_t taken;    /* settled, or claimed by us: for -n */
    int64_t grace_ms; /* monotonic: when a stop becomes forceful; 0: not stopping */
    bool on_hold;     /* the group is, since an event was deferred */

    struct group_settle *settle; /* decided, not yet settled; their texts are copies */
    struct decide_made *made;    /* by each of these events */
    size_t settles, settle_room;
    int64_t settle_ms; /* monotonic: when the first of them was decided */

    struct emit emit;       /* its group is set, too; the rest is decide's own */
    int64_t deferrals;      /* consecutive ones, for the backoff of the group */
    int cannot_run;         /* consecutive events that ended with 126 or 127 */
    int64_t cannot_run_seq; /* the last of those events */
};

/* How an attempt went. */
struct outcome {
    struct group_event *event;
    int status;      /* as a shell shows it; 0: the worker answered with the outcome */
    const char *why; /* "exit status 3: card declined" */
    int64_t started_ms, took_ms;
    int64_t delay_ms; /* the handler's word about when to try again; -1: none */
    struct str tail;
    bool printed; /* its output is on stdout already */
};

/* output goes to stdout, or with emit into the log; absent: none. With emit, output that is not
   events makes the event a dead letter. 0, or -1 with 75 when the claim is no longer ours. */
int decide_done(struct decide *d, const struct outcome *o, struct str output, struct err *e);
/* Is the event's claim still ours, so that its output may be written? 0, or -1 with 75. */
int decide_print(struct decide *d, const struct group_event *event, struct err *e);
void decide_retry(struct decide *d, const struct outcome *o); /* a dead letter after the last
                                                                 attempt */
void decide_dead(struct decide *d, const struct outcome *o);
/* Put the group on hold, too. 0, or -1 when the store failed. */
int decide_defer(struct decide *d, const struct outcome *o, struct err *e);
/* Return the event, as if it had never been claimed. */
void decide_release(struct decide *d, struct group_event *event);
void decide_misconfigured(struct decide *d, const struct outcome *o); /* returned, and we stop */
/* Decide an event that no attempt can help: its line is damaged, or it is too large for an
   environment. */
void decide_hopeless(struct decide *d, struct group_event *event, const struct err *why);
/* Begin nothing more, let running handlers end, return the rest, and then report why, which is no
   event's fault. */
void decide_stop(struct decide *d, const struct err *why);

/* Without a crew: the event's line was printed, which is all there is to do. */
void decide_printed(struct decide *d, struct group_event *event);
/* Drop the event if it has expired before it was begun. */
bool decide_expired(struct decide *d, struct group_event *event);
/* Return all events that have not begun. */
void decide_release_queued(struct decide *d);

/* What is decided as done but cannot be printed (or published), for reasons of our own, goes back
   to the group. */
void decide_take_back(struct decide *d, bool printed);
/* Are all events that were decided done or dropped, and emit nothing? Then the next claim can be
   made in the transaction that settles them. */
bool decide_plain(const struct decide *d);
/* In an ordered group: must what was decided be settled before anything is claimed or begun? An
   event that was returned, or emits what others may have made impossible to publish, holds back the
   later events of its subject by its row in the spool alone; and a dead one must stay dead, however
   we end, once they have begun. */
bool decide_order_waits(const struct decide *d);
struct decide_next {
    size_t max, at_once; /* these and last as for group_claim; max 0: claim nothing */
    int64_t last;
    struct group_event **event; /* set: what was claimed */
    int n;
};
/* Write the output, then settle, and claim what comes next. 0; -1 when the store failed. While
   others keep the spool locked the decisions stay, decide_stop has been called, and the result is
   0. */
int decide_settle(struct decide *d, struct decide_next *next, struct err *e);

void decide_free(struct decide *d);

#endif

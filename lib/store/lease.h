/*
 * lease: events that were handed out over a pipe, at its other end.
 */
#ifndef STORE_LEASE_H
#define STORE_LEASE_H

#include "store/group.h"

/*
 * The other end of a pipe. It settles events that were claimed with a lease, naming each by
 * position, by id and source, or by a bare id. Each settle renews the lease of everything that the
 * same pipe has handed out. A lease that runs out before its event is settled counts as an attempt,
 * and the event is delivered again; but until somebody claims from the group, the event can still
 * be settled. The first settle wins.
 *
 *     lease_settle(g, &name, &how, attempts, &e)
 *     … as often as there is input waiting, up to a thousand times …
 *     lease_commit(g, &e)
 *
 * The first lease_settle begins a transaction that lasts until lease_commit. how->event is not
 * used; an event that was retried max_attempts times becomes a dead letter. -1 with 65 when there
 * is no such event, or when several events with the id are handed out: then nothing has changed,
 * and the caller may continue.
 */
struct lease_name {
    int64_t seq; /* 0: by id. Otherwise id holds the digits of seq, and no other event that is
                    handed out may have them as its id */
    struct str id, source; /* source p NULL: any */
};
enum lease_fate {
    LEASE_OVER, /* no longer handed out: it was settled, or is not an event of this group */
    LEASE_SETTLED,
    LEASE_OPEN, /* neither handed out nor settled: it waits, or other consumers hold it */
};
/* Returns an enum lease_fate, or -1. */
int lease_settle(struct group *g, const struct lease_name *name, const struct group_settle *how,
                 int64_t max_attempts, struct err *e);
int lease_commit(struct group *g, struct err *e);
/* How many events are handed out and not settled: those of the pipes of which this process has
   settled an event, or those of all pipes when it has settled none. */
int lease_left(struct group *g, int64_t *left, struct err *e);

#endif

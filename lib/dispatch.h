/*
 * dispatch: consume's loop. It claims events of a group, runs a handler for each, or prints them
 * when there is no handler, and settles them by the outcome.
 *
 * The order is the guarantee: a handler's output is written before its event is settled, so a
 * crash in between repeats it and never loses it; and it is held until the handler has succeeded
 * and the claim is known to be still ours, so that a failed attempt or a lost claim prints nothing.
 *
 * A handler's status becomes (design 5, the table in consume(1)):
 *     0            done
 *     dead_on      a dead letter at once
 *     defer_on     handed back without an attempt; the group is put on hold with backoff
 *     anything else, a signal, a timeout: retried with backoff, and after so many attempts dead
 *     EX_CONFIG    unless it is one of those: consume stops, and the event goes back
 * A handler that cannot be started at all costs no event an attempt: everything goes back. So does
 * what is wrong with consume itself, as a disk that is full behind its stdout.
 */
#ifndef DISPATCH_H
#define DISPATCH_H

#include "backoff.h"
#include "store.h"

struct dispatch_terms {
    char *const *argv;  /* the handler; NULL: events go to stdout, settled once written */
    bool lease;         /* or handed over, when the group was opened with a lease */
    const char *group;  /* for its environment and messages */
    int64_t workers;    /* processes at once, 1 to 1024 */
    int64_t attempts;   /* 1 and up: the last one makes a dead letter */
    int64_t most;       /* settle at most so many events, 0: any number */
    int64_t last;       /* none behind this position, 0: any */
    int64_t until_ms;   /* nor recorded at this time to come or later, when following; 0: any */
    int64_t timeout_ms; /* per attempt, 0: none */
    int64_t grace_ms;   /* for a handler after SIGTERM, and for all when we are to stop */
    struct backoff backoff;
    bool follow;    /* wait for more at the end */
    bool emit;      /* what is printed is published, with the settling */
    int64_t window; /* above 0: the handlers are workers that stay, so many events in flight each */
    bool dead_on[256], defer_on[256];
};

struct dispatch_result {
    int64_t done, retried, dead, deferred;
    bool stopped; /* by a signal, because the reader of stdout has gone, or by why */
    struct err
        why; /* what made it stop, and is no event's fault: the handler cannot be run, or says
                       that it is not set up; stdout cannot be written; no descriptors */
};

/* proc_stage must have been called. Returns 0 when there is no more to do (or we were told to
   stop), with nothing left in our hands; -1 on an error, with what was claimed left to others. */
int dispatch_run(struct store *store, struct group *group, const struct dispatch_terms *terms,
                 struct dispatch_result *out, struct err *e);

#endif

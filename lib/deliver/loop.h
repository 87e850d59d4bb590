/*
 * loop: consume's. It claims events of a group, runs a handler for each (or prints them
 * when there is no handler), and settles them by the outcome.
 *
 * The guarantee rests on the order: a handler's output is written before its event is settled, so a
 * crash in between repeats the output and never loses it; and the output is held until the handler
 * has succeeded and the claim is known to be still ours, so that a failed attempt or a lost claim
 * prints nothing.
 *
 * A handler's status becomes (design 5, the table in consume(1)):
 *     0            done
 *     dead_on      a dead letter at once
 *     defer_on     returned without counting an attempt; the group is put on hold with backoff
 *     anything else, a signal, a timeout: retried with backoff; dead after the last attempt
 *     EX_CONFIG    unless dead_on or defer_on has it: consume stops, and the event is returned
 * A handler that cannot be started at all costs no event an attempt: all events are returned. The
 * same goes for trouble of consume's own, such as a full disk behind its stdout.
 */
#ifndef DELIVER_LOOP_H
#define DELIVER_LOOP_H

#include "base/backoff.h"
#include "store/group.h"

struct loop_terms {
    char *const *argv;  /* the handler; NULL: events go to stdout, settled once written */
    bool lease;         /* or handed over to settle, when the group was opened with a lease */
    const char *group;  /* for its environment and messages */
    int64_t workers;    /* processes at once, 1 to 1024 */
    int64_t attempts;   /* at least 1; when the last one fails, the event becomes a dead letter */
    int64_t most;       /* the most events to settle, 0: no limit */
    int64_t last;       /* no event after this position, 0: no limit */
    int64_t until_ms;   /* when following: no event recorded at or after this time, which is still
                           to come; 0: no limit */
    int64_t timeout_ms; /* per attempt, 0: none */
    int64_t grace_ms;   /* for a handler after SIGTERM, and for all handlers when we are to stop */
    struct backoff backoff;
    bool follow;    /* at the end, wait for more events */
    bool emit;      /* publish the handler's output, in the transaction that settles */
    int64_t window; /* above 0: the handlers are workers that stay, with at most window events in
                       flight each */
    bool dead_on[256], defer_on[256];
};

struct loop_result {
    int64_t done, retried, dead, deferred; /* that were settled */
    int64_t damaged;                       /* set aside by the group; the caller's to add */
    bool stopped; /* by a signal, because the reader of stdout has gone, or for the reason in why */
    struct err
        why; /* the reason for stopping, which is no event's fault: the handler cannot be run, or
                reports
                       that it is not set up; stdout cannot be written; no descriptors */
};

/* Call proc_stage first. Returns 0 when there is no more to do (or we were told to stop), holding
   no claims; -1 on an error, with the claimed events left to other consumers. Adds to *out: once
   the store has been lost and opened again, a run goes on with the result of the one before. */
int loop_run(struct store *store, struct group *group, const struct loop_terms *terms,
             struct loop_result *out, struct err *e);

#endif

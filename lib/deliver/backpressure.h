/*
 * backpressure: a publisher waits while a group has too many unsettled events.
 */
#ifndef DELIVER_BACKPRESSURE_H
#define DELIVER_BACKPRESSURE_H

#include "store/store.h"

struct backpressure {
    int64_t most;    /* 0: no limit */
    int64_t wait_ms; /* -1: for ever */
    const char *own; /* the group whose event we handle, or NULL: waiting for this group would be
                        waiting for ourselves */
};

/* Wait until the slowest group has fewer than most events to settle. Returns how many more events
   may be published, INT64_MAX without a limit; -1 with 75 when wait_ms is over, naming the group,
   or with another status when the store failed. No transaction may be open. */
int64_t backpressure_wait(const struct backpressure *p, struct store *store, struct err *e);

#endif

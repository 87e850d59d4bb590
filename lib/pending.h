/*
 * pending: backpressure. A publisher waits while a group has more to settle than it should.
 */
#ifndef PENDING_H
#define PENDING_H

#include "store.h"

struct pending {
    int64_t most;    /* 0: no limit */
    int64_t wait_ms; /* -1: for ever */
    const char *own; /* the group that we handle an event of, or NULL: it would wait for itself */
};

/* Wait until the slowest group has less than most to settle. Returns how many more events it may
   get, INT64_MAX without a limit; -1 with 75 when the time is over, naming the group, or with
   another status when the store failed. No transaction may be open. */
int64_t pending_wait(const struct pending *p, struct store *store, struct err *e);

#endif

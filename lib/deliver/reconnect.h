/*
 * reconnect: open a store again whose connection to a server was lost. After a failover all its
 * users come back at once, and each of them may have left a session behind that still waits for the
 * lost standby: so each waits before every try, longer each time and never as long as the others,
 * and tries at most RECONNECT_TRIES times a minute.
 */
#ifndef DELIVER_RECONNECT_H
#define DELIVER_RECONNECT_H

#include "store/store.h"

#define RECONNECT_TRIES 5

struct reconnect {
    int64_t tried_ms[RECONNECT_TRIES]; /* monotonic; 0: never */
    size_t next;
};

/* Wait and try, until the store is open again (see store_reopen). 0; -1 when RECONNECT_TRIES tries
   in a row failed, which takes about half a minute, or when the function given to store_stop ended
   the wait. */
int reconnect(struct reconnect *r, struct store *s);

#endif

/*
 * inherit: what an event has from the handler that makes it: it continues the causal chain of the
 * event that is being handled, and its source names the group.
 */
#ifndef DELIVER_INHERIT_H
#define DELIVER_INHERIT_H

#include "event/event.h"
#include "store/store.h"

/* Fill in the members of the causal chain, and source unless it is set, from our environment. 0, or
   -1 with 64 and the name of the variable that is wrong. The texts are the environment's. */
int inherit_chain(struct event_fill *fill, struct buf *source, struct err *e);

/* The group whose event we handle, if it is one of this spool; else NULL. It would wait for us when
   we wait for it: see --max-pending. */
const char *inherit_group(const struct event_fill *fill, const struct store *s);

#endif

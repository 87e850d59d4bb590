/*
 * environment: what a handler finds in its environment about the event that it handles.
 *
 *     EVENT_ID EVENT_TYPE EVENT_SOURCE EVENT_SUBJECT EVENT_TIME EVENT_SEQ EVENT_ATTEMPT EVENT_GROUP
 *     EVENT_CORRELATIONID EVENT_HOPS EVENT_SPOOL EVENT_CTL TRACEPARENT TRACESTATE
 *
 * Those of an outer handler are replaced, or removed where this event has none; all else is
 * inherited. No name comes from an event, only values, and attributes have no control characters.
 */
#ifndef ENVIRONMENT_H
#define ENVIRONMENT_H

#include "event.h"

#include <stdint.h>

struct environment { /* all zero at first; reused from one event to the next */
    bool word; /* yours to set: descriptor 3 takes the handler's word, and EVENT_CTL says so */
    struct buf text;
    char **envp;
    size_t room;
};

/* The environment for execve: views of env and of our own, until the next call with env. ev NULL:
   of a worker, which has only the group and the spool, and EVENT_WORKER, its number (in seq). */
char *const *environment_make(struct environment *env, const struct event *ev, int64_t seq,
                              int64_t attempt, const char *group, const char *spool);
void environment_free(struct environment *env);

/* Append "/HOSTNAME", or "/HOSTNAME/NAME" when there is one: the source of events made here. */
void environment_source(struct buf *b, const char *name);

#endif

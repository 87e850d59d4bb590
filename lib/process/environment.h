/*
 * environment: the variables that tell a handler about the event that it handles.
 *
 *     EVENT_ID EVENT_TYPE EVENT_SOURCE EVENT_SUBJECT EVENT_TIME EVENT_SEQ EVENT_ATTEMPT EVENT_GROUP
 *     EVENT_CORRELATIONID EVENT_HOPS EVENT_SPOOL EVENT_CTL TRACEPARENT TRACESTATE
 *
 * Variables of an outer handler are replaced, or removed where this event has no value; everything
 * else is inherited. Only values come from an event, never names, and attributes have no control
 * characters.
 */
#ifndef PROCESS_ENVIRONMENT_H
#define PROCESS_ENVIRONMENT_H

#include "event/event.h"

#include <stdint.h>

struct environment { /* all zero at first; reused from one event to the next */
    bool word; /* set by the caller: descriptor 3 takes the handler's words, and EVENT_CTL names
                  it */
    struct buf text;
    char **envp;
    size_t room;
};

/* The environment for execve: views of env and of our own environment, valid until the next call
   with env. With ev NULL it is the environment of a worker, which has only the group, the spool and
   EVENT_WORKER, its number (passed in seq). */
char *const *environment_make(struct environment *env, const struct event *ev, int64_t seq,
                              int64_t attempt, const char *group, const char *spool);
void environment_free(struct environment *env);

#endif

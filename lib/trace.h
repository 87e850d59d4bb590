/*
 * trace: the causal tree of an event.
 *
 *     struct trace t = TRACE_INIT;
 *     trace_read(&t, store, &query, &e)       or trace_add for each event, then trace_link
 *     for (size_t i = 0; i < t.n; i++)
 *         t.event[t.order[i]] …               roots first, children behind their cause
 *     trace_free(&t);
 *
 * Events of one correlation are linked by causationid. What has no cause, or one that is not among
 * them, is a root. Where events cause each other in a circle, which only those made elsewhere can,
 * the first of them is a root that says so.
 *
 * Memory: some 300 bytes an event, and nothing of its data.
 */
#ifndef TRACE_H
#define TRACE_H

#include "store.h"

#include <jansson.h>

#define TRACE_NONE SIZE_MAX

enum trace_root {
    TRACE_CHILD,
    TRACE_ROOT,   /* it has no cause */
    TRACE_ORPHAN, /* its cause is not among them */
    TRACE_LOOP,   /* its cause is one of its own effects */
};

struct trace_event {
    int64_t seq, recorded_ms;
    struct str id, source, type, subject, cause; /* views of text */
    bool damaged;
    enum trace_root root;
    size_t parent;     /* index of its cause, also of a LOOP; TRACE_NONE: it has none here */
    size_t depth;      /* 0: a root; 1: an ORPHAN, which hangs under the name of its cause */
    bool looked;       /* an ORPHAN: cause_seq is known */
    int64_t cause_seq; /* where in the log its cause is, in another correlation; 0: nowhere */
    char *text;
};

struct trace {
    struct trace_event *event; /* by position */
    size_t n, room;
    size_t *order;   /* indices, as a tree is read */
    bool cut;        /* there are more than were asked for */
    int64_t damaged; /* events that may belong to it: their lines cannot be read */
};

/* clang-format off */
#define TRACE_INIT {NULL, 0, 0, NULL, false, 0}
/* clang-format on */

/* Add an event, with copies of what entry and cause hold; then link them all. */
void trace_add(struct trace *t, const struct log_entry *entry, struct str cause);
void trace_link(struct trace *t);
void trace_free(struct trace *t);

struct trace_query {
    int64_t seq;         /* the event whose correlation is meant */
    int64_t first, last; /* search only there; 0: from the correlation's first event; to the end */
    int64_t max;         /* at most so many, besides that event and its causes; 0: all */
};

/* Find and link the events of a correlation: those with the same correlationid, and the one whose
   id that is. One look at each event of the log in the range. */
int trace_read(struct trace *t, struct store *s, const struct trace_query *query, struct err *e);

/* Append the line for an event: position, type, subject, age, and what is wrong with it. Escaped,
   like all text here. */
void trace_line(struct buf *b, const struct trace *t, const struct trace_event *ev, int64_t now_ms);

/* Append the line for the cause that an ORPHAN hangs under. */
void trace_cause(struct buf *b, const struct trace_event *ev);

/* The same for programs. */
json_t *trace_row(const struct trace *t, const struct trace_event *ev, bool named);

#endif

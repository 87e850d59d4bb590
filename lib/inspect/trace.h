/*
 * trace: the causal tree of an event.
 *
 *     struct trace t = TRACE_INIT;
 *     trace_read(&t, store, &query, &e)       or trace_add for each event, then trace_link
 *     for (size_t i = 0; i < t.n; i++)
 *         t.event[t.order[i]] …               roots first, children after their cause
 *     trace_free(&t);
 *
 * Events of one correlation are linked by causationid. An event without a cause, or whose cause is
 * not among the events here, is a root. Where events cause each other in a circle, which only
 * events made by other programs can do, the first of them becomes a root of kind TRACE_LOOP.
 *
 * Memory: about 300 bytes per event; its data is not kept.
 */
#ifndef INSPECT_TRACE_H
#define INSPECT_TRACE_H

#include "store/log.h"

#include <jansson.h>

#define TRACE_NONE SIZE_MAX

enum trace_root {
    TRACE_CHILD,
    TRACE_ROOT,   /* it has no cause */
    TRACE_ORPHAN, /* its cause is not among the events here */
    TRACE_LOOP,   /* its cause is one of its own effects */
};

struct trace_event {
    int64_t seq, recorded_ms;
    struct str id, source, type, subject, cause; /* views of text */
    bool damaged;
    enum trace_root root;
    size_t parent;     /* index of its cause, also for a LOOP; TRACE_NONE: its cause is not here */
    size_t depth;      /* 0: a root; 1: an ORPHAN, which is shown under the name of its cause */
    bool looked;       /* for an ORPHAN: cause_seq has been looked up */
    int64_t cause_seq; /* the position of its cause, which belongs to another correlation; 0: not in
                          the log */
    char *text;
};

struct trace {
    struct trace_event *event; /* by position */
    size_t n, room;
    size_t *order;   /* indices, in the order in which a tree is read */
    bool cut;        /* there are more events than were asked for */
    int64_t damaged; /* events that may belong to the tree, but whose lines cannot be read */
};

/* clang-format off */
#define TRACE_INIT {NULL, 0, 0, NULL, false, 0}
/* clang-format on */

/* trace_add adds an event, with copies of entry and cause; after the last one, trace_link links
   them. */
void trace_add(struct trace *t, const struct log_entry *entry, struct str cause);
void trace_link(struct trace *t);
void trace_free(struct trace *t);

struct trace_query {
    int64_t seq;         /* the event whose correlation is read */
    int64_t first, last; /* search only from first to last; 0: from the correlation's first event,
                            and to the end */
    int64_t max;         /* the most events, not counting that event and its causes; 0: no limit */
};

/* Find and link the events of a correlation: those with the same correlationid, and the event that
   has it as its id. Looks at each event in the range once. 0 or -1. */
int trace_read(struct trace *t, struct store *s, const struct trace_query *query, struct err *e);

/* Append the line for an event: position, type, subject, age, and any problem with it. Escaped,
   like all text here. */
void trace_line(struct buf *b, const struct trace *t, const struct trace_event *ev, int64_t now_ms);

/* Append the line for the cause under which an ORPHAN is shown. */
void trace_cause(struct buf *b, const struct trace_event *ev);

/* The same as JSON for programs. */
json_t *trace_row(const struct trace *t, const struct trace_event *ev, bool named);

#endif

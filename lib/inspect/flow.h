/*
 * flow: which event types lead to which, how often, and which of these edges lie on cycles.
 *
 *     struct flow f = FLOW_INIT;
 *     flow_add(&f, cause, effect);            for each pair, or flow_read for part of the log
 *     flow_mark(&f);
 *     f.edge[0] … f.edge[f.n - 1]             sorted by cause, then effect
 *     flow_free(&f);
 *
 * Memory: in proportion to the number of distinct edges.
 */
#ifndef INSPECT_FLOW_H
#define INSPECT_FLOW_H

#include "store/store.h"

#include <jansson.h>

struct flow_edge {
    char *from, *to; /* types, owned */
    int64_t count;
    bool cycle; /* events of type to can lead to events of type from */
};

struct flow {
    struct flow_edge *edge;
    size_t n, room;
    int64_t damaged; /* events whose lines cannot be read */
};

/* clang-format off */
#define FLOW_INIT {NULL, 0, 0, 0}
/* clang-format on */

void flow_add(struct flow *f, struct str from, struct str to); /* logarithmic in the number of
                                                                  edges */
void flow_mark(struct flow *f);                                /* linear */
void flow_free(struct flow *f);

struct flow_query {
    int64_t first, last;       /* positions of the effects; 0: from the start, to the end */
    struct pattern_list types; /* one of them has to match the cause or the effect; not owned */
};

/* Add the edges in the log. A cause may be anywhere in the log; a cause that is not there adds
   nothing. 0 or -1. */
int flow_read(struct flow *f, struct store *s, const struct flow_query *query, struct err *e);

/* Append an edge as "order.placed -> order.paid 12", or as a line for graphviz. */
void flow_line(struct buf *b, const struct flow_edge *edge);
void flow_dot(struct buf *b, const struct flow_edge *edge);
json_t *flow_row(const struct flow_edge *edge);

#endif

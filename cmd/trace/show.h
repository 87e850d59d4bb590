/* trace: what it prints, a tree of events or a graph of their types. */
#ifndef TRACE_SHOW_H
#define TRACE_SHOW_H

#include "inspect/flow.h"
#include "inspect/trace.h"

enum trace_form { TRACE_AUTO, TRACE_TREE, TRACE_TEXT, TRACE_NDJSON, TRACE_DOT };

struct trace_show {
    struct store *spool;
    enum trace_form form;
    const char *group; /* only this one; NULL: all */
    bool verbose;
    const struct trace_query *query; /* the one that was asked for */
    int64_t now_ms;
    struct buf line;
};

/* Print the events of t, and where the groups stand with each. 0, or -1. */
int trace_show_tree(struct trace_show *show, const struct trace *t, struct err *e);
/* Mark the circles among the edges, and print them. 0, or -1. */
int trace_show_flow(struct trace_show *show, struct flow *flow, struct err *e);
/* Print what is in show->line, as a line. 0, or -1. */
int trace_show_line(struct trace_show *show, struct err *e);

#endif

/*
 * Edges are kept sorted, so that those of one type are neighbours. Tarjan's algorithm finds the
 * edges on cycles: those whose ends are in the same strongly connected component. It does not
 * recurse: programs may make up types, as many as there are events.
 */
#include "inspect/flow.h"

#include "base/json.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "event/event.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int compare_types(struct str a, const char *b)
{
    size_t n = strlen(b);
    int c = memcmp(a.p, b, a.n < n ? a.n : n);
    return c != 0 ? c : (a.n > n) - (a.n < n);
}

void flow_add(struct flow *f, struct str from, struct str to)
{
    size_t low = 0, high = f->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = compare_types(from, f->edge[middle].from);
        if (c == 0)
            c = compare_types(to, f->edge[middle].to);
        if (c == 0) {
            f->edge[middle].count++;
            return;
        }
        if (c > 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (f->n == f->room) {
        f->room = f->room == 0 ? 64 : f->room * 2;
        f->edge = mem_grow(f->edge, f->room, sizeof *f->edge);
    }
    memmove(&f->edge[low + 1], &f->edge[low], (f->n++ - low) * sizeof *f->edge);
    f->edge[low] = (struct flow_edge){mem_dup(from.p, from.n), mem_dup(to.p, to.n), 1, false};
}

void flow_free(struct flow *f)
{
    for (size_t i = 0; i < f->n; i++) {
        free(f->edge[i].from);
        free(f->edge[i].to);
    }
    free(f->edge);
    *f = (struct flow)FLOW_INIT;
}

/* ------------------------------------------------------------------------------------- cycles */

/* A type with effects: its edges are edge[next] to edge[end - 1]. */
struct node {
    size_t begin, next, end;
    size_t number, low; /* the order in which it was visited, from 1; the lowest one it leads back
                           to */
    size_t component;   /* 0: not known yet */
};

struct walk {
    struct flow *f;
    struct node *node;
    size_t n, met, components;
    size_t *path, depth;  /* the node we came from */
    size_t *open, opened; /* visited, and in no component yet */
};

static void make_nodes(struct walk *w)
{
    for (size_t i = 0; i < w->f->n; i++) {
        if (i == 0 || strcmp(w->f->edge[i].from, w->f->edge[i - 1].from) != 0)
            w->node[w->n++] = (struct node){.begin = i, .next = i};
        w->node[w->n - 1].end = i + 1;
    }
}

/* The node of a type; w->n when it has no effects, so that it is on no cycle. */
static size_t find_node(const struct walk *w, const char *type)
{
    size_t low = 0, high = w->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = strcmp(type, w->f->edge[w->node[middle].begin].from);
        if (c == 0)
            return middle;
        if (c > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return w->n;
}

static void enter(struct walk *w, size_t at)
{
    w->node[at].number = w->node[at].low = ++w->met;
    w->path[w->depth++] = w->open[w->opened++] = at;
}

static void leave(struct walk *w, size_t at)
{
    struct node *node = &w->node[at], *before;

    w->depth--;
    if (w->depth > 0) {
        before = &w->node[w->path[w->depth - 1]];
        if (node->low < before->low)
            before->low = node->low;
    }
    if (node->low < node->number)
        return;
    w->components++;
    do
        w->node[w->open[--w->opened]].component = w->components;
    while (w->open[w->opened] != at);
}

static void walk_from(struct walk *w, size_t start)
{
    for (enter(w, start); w->depth > 0;) {
        size_t at = w->path[w->depth - 1];
        struct node *node = &w->node[at];
        if (node->next == node->end) {
            leave(w, at);
            continue;
        }
        size_t to = find_node(w, w->f->edge[node->next++].to);
        if (to == w->n)
            continue;
        if (w->node[to].number == 0)
            enter(w, to);
        else if (w->node[to].component == 0 && w->node[to].number < node->low)
            node->low = w->node[to].number;
    }
}

void flow_mark(struct flow *f)
{
    struct walk w = {.f = f,
                     .node = mem_zero(f->n + 1, sizeof *w.node),
                     .path = mem_zero(f->n + 1, sizeof *w.path),
                     .open = mem_zero(f->n + 1, sizeof *w.open)};

    make_nodes(&w);
    for (size_t i = 0; i < w.n; i++)
        if (w.node[i].number == 0)
            walk_from(&w, i);
    /* A type alone in its component has no such edge, except one to itself, which is a cycle,
       too. */
    for (size_t i = 0; i < f->n; i++) {
        size_t to = find_node(&w, f->edge[i].to);
        f->edge[i].cycle =
            to != w.n && w.node[to].component == w.node[find_node(&w, f->edge[i].from)].component;
    }
    free(w.node);
    free(w.path);
    free(w.open);
}

/* --------------------------------------------------------------------------------------- read */

struct reading {
    struct flow *f;
    struct store *s;
    const struct flow_query *query;
    struct js_scan scan;
    struct event seen;
    struct buf cause;
};

static int add_line(struct reading *r, struct str line, struct err *e)
{
    const struct pattern_list *types = &r->query->types;
    struct err damaged = ERR_NONE;

    /* Most events may have no cause, which shows without parsing unless there are escapes. */
    if ((memchr(line.p, '\\', line.n) == NULL &&
         memmem(line.p, line.n, "\"causationid\"", 13) == NULL) ||
        event_read(&r->seen, &r->scan, line, &damaged) < 0 || r->seen.causationid.p == NULL)
        return 0;
    buf_reset(&r->cause);
    int got = log_type(r->s, r->seen.causationid, &r->cause, e);
    struct str cause = {r->cause.p, r->cause.n};
    if (got > 0 && (types->n == 0 || pattern_any(types, r->seen.type) || pattern_any(types, cause)))
        flow_add(r->f, cause, r->seen.type);
    return got < 0 ? -1 : 0;
}

int flow_read(struct flow *f, struct store *s, const struct flow_query *query, struct err *e)
{
    const struct log_query all = {.first = query->first, .last = query->last, .lines = true};
    struct reading r = {.f = f, .s = s, .query = query};
    struct log_entry entry;
    struct log *log;
    int got;

    if (log_open(&log, s, &all, e) < 0)
        return -1;
    while ((got = log_next(log, &entry, e)) > 0) {
        f->damaged += entry.line.n == 0;
        if (entry.line.n > 0 && (got = add_line(&r, entry.line, e)) < 0)
            break;
    }
    log_close(log);
    event_free(&r.seen);
    js_scan_free(&r.scan);
    buf_free(&r.cause);
    return got;
}

/* -------------------------------------------------------------------------------------- lines */

void flow_line(struct buf *b, const struct flow_edge *edge)
{
    err_escape(b, edge->from, strlen(edge->from));
    buf_puts(b, " -> ");
    err_escape(b, edge->to, strlen(edge->to));
    buf_printf(b, " %" PRId64 "%s", edge->count, edge->cycle ? " (cycle)" : "");
}

/* Graphviz reads \" and \\ as JSON does; types hardly need other escapes. */
void flow_dot(struct buf *b, const struct flow_edge *edge)
{
    buf_puts(b, "    ");
    js_quote(b, str_of(edge->from));
    buf_puts(b, " -> ");
    js_quote(b, str_of(edge->to));
    buf_printf(b, " [label=%" PRId64 "%s];", edge->count, edge->cycle ? ", color=red" : "");
}

json_t *flow_row(const struct flow_edge *edge)
{
    return json_pack("{s:o,s:o,s:I,s:b}", "from", tree_text(str_of(edge->from)), "to",
                     tree_text(str_of(edge->to)), "count", (json_int_t)edge->count, "cycle",
                     edge->cycle);
}

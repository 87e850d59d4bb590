/* trace: print the causal tree of an event, how far each group has got with it, and why. */
#include "inspect/trace.h"
#include "base/json_tree.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/table.h"
#include "command/spool.h"
#include "inspect/flow.h"
#include "inspect/standing.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct trace_query query;
static struct pattern_list types;
static struct clock_point from, to;
static const char *group;
static bool graph, verbose;
static int form;

enum { FORM_AUTO, FORM_TREE, FORM_TEXT, FORM_NDJSON, FORM_DOT };

static const struct opt options[] = {
    OPT_NAME('g', "group", &group, "GROUP", "show only where this group stands"),
    OPT_INT('n', "count", &query.max, "N", 1, INT64_MAX, "at most N events per tree"),
    OPT_FLAG('v', "verbose", &verbose, "also ids, and groups whose patterns do not match"),
    OPT_FLAG(0, "graph", &graph,
             "show which types lead to which: in the tree of EVENT, or in the whole log"),
    OPT_PATTERN('t', "type", &types, "with --graph: only edges from or to matching types"),
    OPT_POINT(0, "from", &from, "start the search here (default: the correlation's first event)"),
    OPT_POINT(0, "to", &to, "end the search here: a position is inclusive, a time exclusive"),
    OPT_CHOICE('o', "output", &form, "auto|tree|text|ndjson|dot",
               "tree or, with --graph, text or dot (default NDJSON in a pipe)"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "EVENT graph", NULL, "name an EVENT, or --graph"},
    {ARGS_EXCLUDES, "group count verbose", "graph", NULL},
    {ARGS_NEEDS, "type", "graph", NULL},
    {0},
};

static const struct cmd self = {
    .name = "trace",
    .about = "show what an event led to, where each group stands with it, and why",
    .usage = {"[-g GROUP] [-v] [-o tree|ndjson] EVENT...",
              "--graph [-t PATTERN]... [--from POINT] [-o text|ndjson|dot] [EVENT...]"},
    .examples = {"trace 42", "trace -g charge 0192d3a4-7a10-7c3e-9d6f-1f0e8a2b4c6d -o tree",
                 "trace --graph --from 24h -o text", "trace --graph -o dot | dot -Tsvg >flow.svg"},
    .options = options,
    .rules = rules,
    .common = "group graph output",
};

static struct store *spool;
static struct buf line;
static int64_t now_ms;

/* --------------------------------------------------------------------------------------- tree */

struct shown {
    const struct trace_event *ev;
    struct log_entry entry; /* only the fields that matter */
    json_t *standing;       /* NULL: as a tree */
    int groups, silent;
};

static struct shown shown_of(const struct trace_event *ev)
{
    return (struct shown){.ev = ev,
                          .entry = {.recorded_ms = ev->recorded_ms, .damaged = ev->damaged}};
}

static int end_line(struct err *e)
{
    int got = out_line((struct str){line.p, line.n}, e);

    buf_reset(&line);
    return got;
}

/* The margin is for the mark of the event that was asked for. Chains longer than the toolkit allows
   are not indented any further. */
static void begin_line(const char *margin, size_t depth)
{
    size_t steps = depth < EVENT_HOPS_MAX ? depth : EVENT_HOPS_MAX;

    buf_printf(&line, "%s%*s", margin, (int)(steps * 2), "");
}

static int show_standing(const struct where *w, void *arg, struct err *e)
{
    struct shown *shown = arg;

    shown->groups++;
    if (shown->standing != NULL) {
        json_array_append_new(shown->standing, standing_row(w, &shown->entry, now_ms));
        return 0;
    }
    if (w->state == WHERE_FILTERED && !verbose && (group == NULL || shown->ev->seq != query.seq)) {
        shown->silent++;
        return 0;
    }
    begin_line("      ", shown->ev->depth);
    err_escape(&line, w->group, strlen(w->group));
    buf_puts(&line, ": ");
    standing_text(&line, w, &shown->entry, now_ms);
    return end_line(e);
}

static int show_text(const struct trace *t, const struct trace_event *ev, struct err *e)
{
    struct shown shown = shown_of(ev);

    if (ev->root == TRACE_ORPHAN) {
        begin_line("  ", 0);
        trace_cause(&line, ev);
        if (end_line(e) < 0)
            return -1;
    }
    begin_line(ev->seq == query.seq ? "> " : "  ", ev->depth);
    trace_line(&line, t, ev, now_ms);
    if (verbose) {
        buf_puts(&line, "  ");
        err_escape(&line, ev->id.p, ev->id.n);
    }
    if (end_line(e) < 0 || where_each(spool, group, ev->seq, show_standing, &shown, e) < 0)
        return -1;
    if (shown.groups != shown.silent || group != NULL)
        return 0;
    begin_line("      ", ev->depth);
    buf_puts(&line, shown.groups == 0 ? "(there are no groups)" : "(no group's patterns match)");
    return end_line(e);
}

static int show_json(const struct trace *t, const struct trace_event *ev, struct err *e)
{
    struct shown shown = shown_of(ev);

    shown.standing = json_array();
    if (where_each(spool, group, ev->seq, show_standing, &shown, e) < 0) {
        json_decref(shown.standing);
        return -1;
    }
    json_t *row = trace_row(t, ev, ev->seq == query.seq);
    json_object_set_new(row, "standing", shown.standing);
    tree_print(&line, row);
    json_decref(row);
    return end_line(e);
}

static int show_tree(const struct trace *t, struct err *e)
{
    int got = 0;

    for (size_t i = 0; i < t->n && got == 0 && !out_gone(); i++) {
        const struct trace_event *ev = &t->event[t->order[i]];
        got = form == FORM_TREE ? show_text(t, ev, e) : show_json(t, ev, e);
    }
    if (t->cut && form == FORM_TREE && got == 0) {
        buf_printf(&line, "  ... and more: -n %" PRId64 " ends it here", query.max);
        got = end_line(e);
    }
    return got;
}

/* -------------------------------------------------------------------------------------- graph */

static bool wanted(struct str cause, struct str effect)
{
    return types.n == 0 || pattern_any(&types, cause) || pattern_any(&types, effect);
}

static void add_tree(struct flow *flow, const struct trace *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct trace_event *ev = &t->event[i];
        if (ev->parent != TRACE_NONE && wanted(t->event[ev->parent].type, ev->type))
            flow_add(flow, t->event[ev->parent].type, ev->type);
    }
}

static int show_graph(struct flow *flow, struct err *e)
{
    int got = 0;

    flow_mark(flow);
    if (form == FORM_DOT)
        got = out_line(STR("digraph flow {"), e);
    for (size_t i = 0; i < flow->n && got == 0 && !out_gone(); i++) {
        json_t *row = form == FORM_NDJSON ? flow_row(&flow->edge[i]) : NULL;
        if (row != NULL)
            tree_print(&line, row);
        else
            (form == FORM_DOT ? flow_dot : flow_line)(&line, &flow->edge[i]);
        json_decref(row);
        got = end_line(e);
    }
    return form == FORM_DOT && got == 0 ? out_line(STR("}"), e) : got;
}

/* --------------------------------------------------------------------------------------- main */

static int nothing(const struct where *w, void *arg, struct err *e)
{
    (void)w;
    (void)arg;
    (void)e;
    return 1;
}

/* 66; that an event existed once is a different answer from that it never did. */
static int find(const char *name, struct err *e)
{
    struct err mine = ERR_NONE;
    struct store_info info;
    int64_t seq = name[strspn(name, "0123456789")] == '\0' ? strtoll(name, NULL, 10) : 0;

    if (log_find(spool, name, &query.seq, &mine) == 0) /* also check that the group exists */
        return group == NULL ? 0 : where_each(spool, group, query.seq, nothing, NULL, e);
    if (mine.status == EX_NOINPUT && seq > 0 && store_info(spool, &info, e) == 0 &&
        seq <= info.last_seq)
        return err_set(e, EX_NOINPUT, "the event at position %s was pruned from %s", name,
                       store_path(spool));
    return err_set(e, mine.status, "%s", mine.text);
}

static int find_ends(struct err *e)
{
    if (args_given("from") && log_point(spool, &from, &query.first, e) < 0)
        return -1;
    if (!args_given("to"))
        return 0;
    if (log_point(spool, &to, &query.last, e) < 0)
        return -1;
    query.last -= to.kind != CLOCK_SEQ;
    if (query.last == 0) /* 0 would mean the end; nothing lies before the first event */
        query.first = query.last = INT64_MAX;
    return 0;
}

/* Print what was found even so. */
static int tell_damage(int64_t damaged, struct err *e)
{
    if (damaged == 0)
        return 0;
    return err_set(e, EX_IOERR, "%" PRId64 " damaged event%s may be missing here", damaged,
                   damaged == 1 ? "" : "s");
}

static int run(int n, char **name, struct err *e)
{
    const struct flow_query all = {query.first, query.last, types};
    struct flow flow = FLOW_INIT;
    int64_t damaged = 0;
    int got = graph && n == 0 ? flow_read(&flow, spool, &all, e) : 0;

    for (int i = 0; i < n && got == 0 && !out_gone(); i++) {
        struct trace t = TRACE_INIT;
        if (i > 0 && form == FORM_TREE)
            got = end_line(e);
        if (got == 0 && (got = find(name[i], e)) == 0)
            got = trace_read(&t, spool, &query, e);
        if (got == 0 && graph)
            add_tree(&flow, &t);
        else if (got == 0)
            got = show_tree(&t, e);
        damaged += t.damaged;
        trace_free(&t);
    }
    if (graph && got == 0 && flow.n == 0)
        args_nothing("causes and effects", store_path(spool), "type from to");
    if (graph && got == 0)
        got = show_graph(&flow, e);
    damaged += flow.damaged;
    flow_free(&flow);
    return got == 0 ? tell_damage(damaged, e) : got;
}

static void check_form(void)
{
    if (graph ? form == FORM_TREE : form == FORM_TEXT || form == FORM_DOT)
        args_usage(graph ? "--graph has -o text, ndjson or dot"
                         : "-o text and dot go with --graph");
    if (form == FORM_AUTO)
        form = !isatty(STDOUT_FILENO) ? FORM_NDJSON : graph ? FORM_TEXT : FORM_TREE;
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv);

    check_form();
    now_ms = clock_now_ms();
    if (spool_open(&spool, STORE_READ, &e) == 0 && find_ends(&e) == 0)
        run(argc - first, argv + first, &e);
    store_close(spool);
    pattern_free(&types);
    buf_free(&line);
    return out_finish(&e);
}

/* trace: print the causal tree of an event, how far each group has got with it, and why. */
#include "base/point.h"
#include "cli/args.h"
#include "cli/out.h"
#include "command/spool.h"
#include "store/where.h"
#include "trace/show.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct trace_query query;
static struct pattern_list types;
static struct point from, to;
static struct trace_show show = {.query = &query};
static bool graph;
static int form;

static const struct opt options[] = {
    OPT_NAME('g', "group", &show.group, "GROUP", "show only where this group stands"),
    OPT_INT('n', "count", &query.max, "N", 1, INT64_MAX, "at most N events per tree"),
    OPT_FLAG('v', "verbose", &show.verbose, "also ids, and groups whose patterns do not match"),
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

static bool edge_wanted(struct str cause, struct str effect)
{
    return types.n == 0 || pattern_any(&types, cause) || pattern_any(&types, effect);
}

static void add_tree(struct flow *flow, const struct trace *t)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct trace_event *ev = &t->event[i];
        if (ev->parent != TRACE_NONE && edge_wanted(t->event[ev->parent].type, ev->type))
            flow_add(flow, t->event[ev->parent].type, ev->type);
    }
}

static int pass_over(const struct where *w, void *arg, struct err *e)
{
    (void)w;
    (void)arg;
    (void)e;
    return 1;
}

/* 66; that an event existed once is a different answer from that it never did. */
static int find_event(const char *name, struct err *e)
{
    struct err mine = ERR_NONE;
    struct store_info info;
    int64_t seq = name[strspn(name, "0123456789")] == '\0' ? strtoll(name, NULL, 10) : 0;

    if (log_find(show.spool, name, &query.seq, &mine) == 0) /* also check that the group exists */
        return show.group == NULL
                   ? 0
                   : where_each(show.spool, show.group, query.seq, pass_over, NULL, e);
    if (mine.status == EX_NOINPUT && seq > 0 && store_info(show.spool, &info, e) == 0 &&
        seq <= info.last_seq)
        return err_set(e, EX_NOINPUT, "the event at position %s was pruned from %s", name,
                       store_name(show.spool));
    return err_set(e, mine.status, "%s", mine.text);
}

static int find_trace_range(struct err *e)
{
    if (args_given("from") && log_point(show.spool, &from, &query.first, e) < 0)
        return -1;
    if (!args_given("to"))
        return 0;
    if (log_until(show.spool, &to, &query.last, e) < 0)
        return -1;
    if (query.last == 0) /* 0 would mean the end; nothing lies before the first event */
        query.first = query.last = INT64_MAX;
    return 0;
}

/* Print what was found even so. */
static int report_damage(int64_t damaged, struct err *e)
{
    if (damaged == 0)
        return 0;
    return err_set(e, EX_IOERR, "%" PRId64 " damaged event%s may be missing here", damaged,
                   damaged == 1 ? "" : "s");
}

static int trace_all(int n, char **name, struct err *e)
{
    const struct flow_query all = {query.first, query.last, types};
    struct flow flow = FLOW_INIT;
    int64_t damaged = 0;
    int got = graph && n == 0 ? flow_read(&flow, show.spool, &all, e) : 0;

    for (int i = 0; i < n && got == 0 && !out_gone(); i++) {
        struct trace t = TRACE_INIT;
        if (i > 0 && form == TRACE_TREE) /* an empty line between trees */
            got = trace_show_line(&show, e);
        if (got == 0 && (got = find_event(name[i], e)) == 0)
            got = trace_read(&t, show.spool, &query, e);
        if (got == 0 && graph)
            add_tree(&flow, &t);
        else if (got == 0)
            got = trace_show_tree(&show, &t, e);
        damaged += t.damaged;
        trace_free(&t);
    }
    if (graph && got == 0 && flow.n == 0)
        args_nothing("causes and effects", store_name(show.spool), "type from to");
    if (graph && got == 0)
        got = trace_show_flow(&show, &flow, e);
    damaged += flow.damaged;
    flow_free(&flow);
    return got == 0 ? report_damage(damaged, e) : got;
}

static void check_form(void)
{
    if (graph ? form == TRACE_TREE : form == TRACE_TEXT || form == TRACE_DOT)
        args_usage(graph ? "--graph has -o text, ndjson or dot"
                         : "-o text and dot go with --graph");
    if (form == TRACE_AUTO)
        form = !isatty(STDOUT_FILENO) ? TRACE_NDJSON : graph ? TRACE_TEXT : TRACE_TREE;
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv);

    check_form();
    show.form = (enum trace_form)form;
    show.now_ms = clock_now_ms();
    if (spool_open(&show.spool, STORE_READ, &e) == 0 && find_trace_range(&e) == 0)
        trace_all(argc - first, argv + first, &e);
    store_close(show.spool);
    pattern_free(&types);
    buf_free(&show.line);
    return out_finish(&e);
}

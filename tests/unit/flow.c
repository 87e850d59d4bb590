#include "inspect/flow.h"
#include "cli/lines.h"

#include "unit.h"

/* "ab" is an edge from a to b. */
static const char *drawn(struct flow *f, const char *const *edges)
{
    static struct buf b;

    for (; *edges != NULL; edges++)
        flow_add(f, (struct str){*edges, 1}, str_of(*edges + 1));
    flow_mark(f);
    buf_reset(&b);
    for (size_t i = 0; i < f->n; i++) {
        const struct flow_edge *edge = &f->edge[i];
        buf_printf(&b, "%s%s%s%d%s", i == 0 ? "" : " ", edge->from, edge->to, (int)edge->count,
                   edge->cycle ? "@" : "");
    }
    return buf_text(&b);
}

static void edges_are_counted_sorted_and_cycles_marked(void)
{
    static const struct {
        const char *edges[10];
        const char *flow;
    } rows[] = {
        {{NULL}, ""},
        {{"ab", "ab", "ab"}, "ab3"},
        {{"bc", "ab", "ac", "ab"}, "ab2 ac1 bc1"},
        {{"aa"}, "aa1@"},
        {{"ab", "ba"}, "ab1@ ba1@"},
        {{"ab", "bc", "ca"}, "ab1@ bc1@ ca1@"},
        {{"ab", "bc", "cb", "cd"}, "ab1 bc1@ cb1@ cd1"},
        {{"ab", "ba", "bc", "cd", "dc"}, "ab1@ ba1@ bc1 cd1@ dc1@"},
        {{"ab", "ac", "bd", "cd", "da", "de"}, "ab1@ ac1@ bd1@ cd1@ da1@ de1"},
        {{"ab", "bb", "ac"}, "ab1 ac1 bb1@"},
        {{"da", "ab", "bc", "cb", "xa", "ad"}, "ab1 ad1@ bc1@ cb1@ da1@ xa1"},
        {{"ba", "ca", "cb"}, "ba1 ca1 cb1"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct flow f = FLOW_INIT;

        unit_row(rows[i].flow);
        CHECK_TEXT(drawn(&f, rows[i].edges), rows[i].flow);
        flow_free(&f);
    }
}

static void a_prefix_is_another_type(void)
{
    struct flow f = FLOW_INIT;

    flow_add(&f, STR("order"), STR("order.placed"));
    flow_add(&f, STR("order.placed"), STR("order"));
    flow_add(&f, STR("orde"), STR("order"));
    flow_mark(&f);
    CHECK_INT((int64_t)f.n, 3);
    CHECK_TEXT(f.edge[0].from, "orde");
    CHECK(!f.edge[0].cycle && f.edge[1].cycle && f.edge[2].cycle);
    flow_free(&f);
}

static void a_long_cycle_is_walked(void)
{
    enum { LENGTH = 100000 };
    struct flow f = FLOW_INIT;
    char from[20], to[20];

    for (int i = 0; i < LENGTH; i++) {
        snprintf(from, sizeof from, "%06d", i);
        snprintf(to, sizeof to, "%06d", (i + 1) % LENGTH);
        flow_add(&f, str_of(from), str_of(to));
    }
    flow_mark(&f);
    CHECK(f.edge[0].cycle && f.edge[LENGTH - 1].cycle);
    flow_free(&f);
}

static void lines_are_escaped(void)
{
    struct flow_edge edge = {"a\"\\", "b\x1b", 3, true};
    struct buf b = BUF_INIT;

    flow_line(&b, &edge);
    CHECK_TEXT(buf_text(&b), "a\"\\ -> b\\x1b 3 (cycle)");
    buf_reset(&b);
    flow_dot(&b, &edge);
    CHECK_TEXT(buf_text(&b), "    \"a\\\"\\\\\" -> \"b\\u001b\" [label=3, color=red];");
    buf_reset(&b);
    edge.cycle = false;
    flow_dot(&b, &edge);
    CHECK_TEXT(buf_text(&b), "    \"a\\\"\\\\\" -> \"b\\u001b\" [label=3];");
    buf_free(&b);
}

int main(void)
{
    RUN(edges_are_counted_sorted_and_cycles_marked);
    RUN(a_prefix_is_another_type);
    RUN(a_long_cycle_is_walked);
    RUN(lines_are_escaped);
    return unit_done();
}

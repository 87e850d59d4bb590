/* saga check, saga dot: a definition, without a spool. */
#include "cli/feed.h"
#include "cli/out.h"
#include "saga/verbs.h"

#define DEFINITION_MAX (4 << 20)

static const struct opt no_options[] = {OPT_END};

int saga_verb_define(struct saga *s, const char *file, struct err *e)
{
    struct buf text = BUF_INIT;
    int got = feed_text(file, DEFINITION_MAX, "4 MiB", &text, e);

    if (got == 0 && (got = saga_define(s, (struct str){text.p, text.n}, e)) < 0)
        err_at(e, "%s: ", err_quote_text(file).text);
    buf_free(&text);
    return got;
}

static int run_saga_check(char **operand)
{
    struct err e = ERR_NONE;
    struct saga_run r = {0};

    saga_verb_define(&r.saga, operand[0], &e);
    return saga_verb_finish(&r, &e);
}

static int run_saga_dot(char **operand)
{
    struct err e = ERR_NONE;
    struct saga_run r = {0};
    struct buf graph = BUF_INIT;

    if (saga_verb_define(&r.saga, operand[0], &e) == 0) {
        saga_dot(&r.saga, &graph);
        out_write(graph.p, graph.n, &e);
    }
    buf_free(&graph);
    return saga_verb_finish(&r, &e);
}

const struct cmd saga_verb_check = {
    .name = "check",
    .about = "report what is wrong with a definition",
    .usage = {"DEFINITION"},
    .examples = {"saga check order.saga.json"},
    .options = no_options,
    .least = 1,
    .most = 1,
    .wants = "DEFINITION",
    .run = run_saga_check,
};

const struct cmd saga_verb_dot = {
    .name = "dot",
    .about = "print a definition as a graph for dot(1)",
    .usage = {"DEFINITION"},
    .examples = {"saga dot order.saga.json | dot -Tsvg"},
    .options = no_options,
    .least = 1,
    .most = 1,
    .wants = "DEFINITION",
    .run = run_saga_dot,
};

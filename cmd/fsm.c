/* fsm: state machines over events. Verbs that use the spool are in cmd/fsm. */
#include "fsm/fsm.h"
#include "cli/out.h"
#include "cli/say.h"
#include "fsm/verbs.h"

#include <inttypes.h>

static const struct opt no_options[] = {OPT_END};

static int run_fsm_check(char **operand)
{
    struct machine_findings findings = {.wrong = BUF_INIT};
    struct err e = ERR_NONE;
    int status = 0;

    for (; *operand != NULL; operand++) {
        struct err mine = ERR_NONE;
        struct machine m;
        if (fsm_load(&m, *operand, &findings, &mine) == 0) {
            machine_check(&m, &findings);
            mine.status = findings.doubtful.n > 0 ? EX_NO : 0;
        }
        fsm_say(*operand, &findings);
        if (mine.text[0] != '\0')
            say_report(&mine);
        status = mine.status > status ? mine.status : status;
        machine_free(&m);
    }
    machine_findings_free(&findings);
    e.status = status;
    return out_finish(&e);
}

static int run_fsm_dot(char **operand)
{
    struct machine_findings findings = {.wrong = BUF_INIT};
    struct buf graph = BUF_INIT;
    struct err e = ERR_NONE;
    struct machine m;

    if (fsm_load(&m, operand[0], &findings, &e) == 0) {
        machine_dot(&m, &graph);
        out_write(graph.p, graph.n, &e);
    }
    fsm_say(operand[0], &findings);
    machine_free(&m);
    machine_findings_free(&findings);
    buf_free(&graph);
    return out_finish(&e);
}

static const struct cmd check = {
    .name = "check",
    .about = "report errors and doubtful parts in machines",
    .usage = {"MACHINE..."},
    .examples = {"fsm check order.machine.json"},
    .options = no_options,
    .least = 1,
    .wants = "a MACHINE, a file",
    .no_spool = true,
    .run = run_fsm_check,
};

static const struct cmd dot = {
    .name = "dot",
    .about = "print a machine as a graph for dot(1)",
    .usage = {"MACHINE"},
    .examples = {"fsm dot order.machine.json | dot -Tsvg >order.svg"},
    .options = no_options,
    .least = 1,
    .most = 1,
    .wants = "a MACHINE, a file",
    .no_spool = true,
    .run = run_fsm_dot,
};

int main(int argc, char **argv)
{
    const struct cmd verbs[] = {
        fsm_verb_run, fsm_verb_show, fsm_verb_list, fsm_verb_forget, check, dot, {0}};
    const struct cmd self = {
        .name = "fsm",
        .about = "run state machines over events",
        .examples = {"consume -g orders --ordered --emit -- fsm run order.machine.json",
                     "fsm show order-42"},
        .verbs = verbs,
    };

    return args_verb(&self, argc, argv);
}

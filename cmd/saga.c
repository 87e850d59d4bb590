/* saga: long-running operations whose steps can be undone. */
#include "cli/out.h"
#include "command/spool.h"
#include "saga/verbs.h"

int saga_verb_load(struct saga_run *r, enum store_mode mode, const char *id, struct err *e)
{
    args_name("ID", id, NAME_KEY_BYTES);
    return spool_open(&r->store, mode, e) < 0 ? -1 : saga_load(r, id, e);
}

int saga_verb_finish(struct saga_run *r, struct err *e)
{
    saga_run_free(r);
    store_close(r->store);
    return out_finish(e);
}

int main(int argc, char **argv)
{
    const struct cmd verbs[] = {saga_verb_run,   saga_verb_resume, saga_verb_list,
                                saga_verb_show,  saga_verb_retry,  saga_verb_settle,
                                saga_verb_check, saga_verb_dot,    {0}};
    const struct cmd self = {
        .name = "saga",
        .about = "run long-running operations whose steps can be undone",
        .examples = {"consume -g orders --from start -- saga run order.saga.json",
                     "saga resume --all", "saga show order/0192f1c0"},
        .verbs = verbs,
    };

    return args_verb(&self, argc, argv);
}

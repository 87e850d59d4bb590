/* saga retry, saga settle: what a person decides about a saga that is stuck. */
#include "process/wrap.h"
#include "saga/verbs.h"

#include <string.h>

static const char *as;

static const struct opt retry_options[] = {OPT_END};
static const struct opt settle_options[] = {
    OPT_TEXT(0, "as", &as, "STATE", "the outcome: completed or compensated"),
    OPT_END,
};

static int run_saga_retry(char **operand)
{
    const char *id = operand[0], *step = operand[1];
    struct saga_run r = SAGA_VERB_DEFAULTS;
    struct err e = ERR_NONE;

    args_name("STEP", step, NAME_BYTES);
    wrap_stage();
    if (saga_verb_load(&r, STORE_WRITE, id, &e) == 0) {
        size_t i = saga_find(&r.saga, step);
        if (i == r.saga.steps)
            err_set(&e, EX_NOINPUT, "saga %s has no step %s", r.saga.id, err_quote_text(step).text);
        else if (!saga_retry(&r.saga, i, clock_now_ms()))
            err_set(&e, EX_NO, "saga %s: step %s is not what it is stuck at", r.saga.id, step);
        else if (saga_change(&r, &e) == 0)
            saga_drive(&r, &e);
    }
    return saga_verb_finish(&r, &e);
}

static int run_saga_settle(char **operand)
{
    struct saga_run r = SAGA_VERB_DEFAULTS;
    bool done = as != NULL && strcmp(as, "completed") == 0;
    struct err e = ERR_NONE;

    if (as == NULL || (!done && strcmp(as, "compensated") != 0))
        args_usage("settle wants --as completed or --as compensated");
    if (saga_verb_load(&r, STORE_WRITE, operand[0], &e) == 0) {
        if (saga_final(&r.saga))
            err_set(&e, EX_NO, "saga %s is %s already", r.saga.id, saga_word(r.saga.state));
        else
            saga_settle(&r.saga, done ? SAGA_COMPLETED : SAGA_COMPENSATED, clock_now_ms());
        if (e.status == 0)
            saga_change(&r, &e);
    }
    return saga_verb_finish(&r, &e);
}

const struct cmd saga_verb_retry = {
    .name = "retry",
    .about = "retry the step that a saga is stuck at, and continue",
    .usage = {"ID STEP"},
    .examples = {"saga retry order/0192f1c0 refund"},
    .options = retry_options,
    .least = 2,
    .most = 2,
    .wants = "ID and STEP",
    .run = run_saga_retry,
};

const struct cmd saga_verb_settle = {
    .name = "settle",
    .about = "record that you brought a saga to its end by hand",
    .usage = {"ID --as completed|compensated"},
    .examples = {"saga settle order/0192f1c0 --as compensated"},
    .options = settle_options,
    .least = 1,
    .most = 1,
    .wants = "ID",
    .run = run_saga_settle,
};

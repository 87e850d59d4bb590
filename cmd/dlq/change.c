/* dlq retry, dlq drop: what becomes of the letters. */
#include "cli/out.h"
#include "dlq/verbs.h"

#include <inttypes.h>
#include <stdio.h>

static bool all, dry_run;

static const struct opt options[] = {
    DLQ_FILTERS,
    OPT_FLAG(0, "all", &all, "all that pass the filters, or all there are"),
    OPT_FLAG(0, "dry-run", &dry_run, "only print how many"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "EVENT all count " DLQ_FILTER_NAMES, NULL,
     "name EVENTs, a filter such as -g GROUP, or --all"},
    {0},
};

static int count_letter(const struct dead_letter *letter, void *arg, struct err *e)
{
    (void)letter;
    (void)arg;
    (void)e;
    return 0;
}

static int change_letters(char **operand, const char *done,
                          int64_t (*f)(struct store *, const struct dead_filter *, struct err *))
{
    struct err e = ERR_NONE;
    int named = args_count(operand);
    int64_t n = -1;

    if (dlq_open(STORE_WRITE, named, operand, &e) == 0)
        n = dry_run ? dead_each(dlq.spool, &dlq.filter, count_letter, NULL, &e)
                    : f(dlq.spool, &dlq.filter, &e);
    if (n >= 0) {
        char text[80];
        snprintf(text, sizeof text, "%" PRId64 " dead letter%s %s%s", n, n == 1 ? "" : "s",
                 dry_run ? "would be " : "", done);
        out_line(str_of(text), &e);
    }
    if (n == 0 && named > 0)
        dlq_found_none(named, operand, &e);
    return dlq_finish(&e);
}

static int run_dlq_retry(char **operand)
{
    return change_letters(operand, "given back", dead_retry);
}

static int run_dlq_drop(char **operand)
{
    return change_letters(operand, "dropped", dead_drop);
}

const struct cmd dlq_retry = {
    .name = "retry",
    .about = "give dead letters back to their groups, with fresh attempts",
    .usage = {"EVENT... | [-g GROUP] [-t PATTERN] [--error TEXT] | --all"},
    .examples = {"dlq retry 17", "dlq retry -g charge --all", "dlq retry --error timed --dry-run"},
    .options = options,
    .rules = rules,
    .run = run_dlq_retry,
};

const struct cmd dlq_drop = {
    .name = "drop",
    .about = "delete dead letters; their events stay in the log",
    .usage = {"EVENT... | [-g GROUP] [-t PATTERN] [--error TEXT] | --all"},
    .examples = {"dlq drop 17", "dlq drop -g charge --to 30d"},
    .options = options,
    .rules = rules,
    .run = run_dlq_drop,
};

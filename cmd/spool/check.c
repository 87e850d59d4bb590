/*
 * spool check: findings, one a line, for cron.
 */
#include "base/json_tree.h"
#include "cli/out.h"
#include "cli/table.h"
#include "command/spool.h"
#include "spool/verbs.h"
#include "store/upkeep.h"

static struct check_terms terms;
static int form;

static const struct opt options[] = {
    OPT_INT(0, "max-dead", &terms.max_dead, "N", 0, INT64_MAX,
            "report groups with more than N dead letters"),
    OPT_INT(0, "max-lag", &terms.max_lag, "N", 0, INT64_MAX,
            "report groups with more than N events yet to settle"),
    OPT_DURATION(0, "max-age", &terms.max_age_ms,
                 "report groups with unsettled events older than D"),
    OPT_FLAG(0, "quick", &terms.quick, "do not read the whole file (takes milliseconds)"),
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",
               "the format (default: a table on a terminal)"),
    OPT_END,
};

static const struct table_column columns[] = {
    {"kind", TABLE_LEFT},   {"group", TABLE_LEFT},   {"value", TABLE_RIGHT},
    {"limit", TABLE_RIGHT}, {"message", TABLE_LEFT}, {NULL, TABLE_LEFT},
};

static int print_finding(const struct check_finding *found, void *table, struct err *e)
{
    json_t *row =
        json_pack("{s:s,s:o,s:I,s:I,s:o}", "kind", found->kind, "group",
                  tree_text(str_of(found->group)), "value", (json_int_t)found->value, "limit",
                  (json_int_t)found->limit, "message", tree_text(str_of(found->message)));
    return table_row(table, row, e) < 0 ? -1 : out_gone();
}

static int run_spool_check(char **operand)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    int64_t found = 0;

    (void)operand;
    if (!args_given("max-dead"))
        terms.max_dead = -1;
    if (!args_given("max-lag"))
        terms.max_lag = -1;
    if (!args_given("max-age"))
        terms.max_age_ms = -1;
    if (spool_open(&spool, STORE_READ, &e) == 0) {
        struct table *table = table_begin(columns, (enum table_form)form);
        found = store_check(spool, &terms, print_finding, table, &e);
        table_end(table, &e);
    }
    store_close(spool);
    int status = out_finish(&e);
    return status == 0 && found > 0 ? EX_NO : status;
}

const struct cmd spool_check = {
    .name = "check",
    .about = "look for damage, and for groups that exceed limits",
    .usage = {"[--quick] [--max-dead N] [--max-lag N] [--max-age D]"},
    .examples = {"spool check", "spool check --quick --max-dead 0 --max-lag 1000 --max-age 1h"},
    .options = options,
    .most = ARGS_NO_OPERAND,
    .run = run_spool_check,
};

/*
 * spool prune: remove old events, and report what keeps others from being removed.
 */
#include "base/point.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "spool/verbs.h"
#include "store/log.h"
#include "store/upkeep.h"

#include <inttypes.h>
#include <stdio.h>

static struct point before;
static struct prune_terms terms;

static const struct opt options[] = {
    OPT_POINT(0, "before", &before, "remove events before POINT"),
    OPT_INT(0, "keep", &terms.keep, "N", 0, INT64_MAX, "remove all except the newest N events"),
    OPT_FLAG(0, "force", &terms.force, "also remove events that groups still need"),
    OPT_FLAG(0, "dry-run", &terms.dry_run, "only print how many"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "before keep", NULL, "prune wants --before POINT or --keep N"},
    {ARGS_ALONE, "before keep", NULL, "prune wants --before POINT or --keep N"},
    {0},
};

static void say_held(const struct prune_held *held)
{
    static const char *const why[] = {
        [PRUNE_UNSEEN] = "has yet to see what is",
        [PRUNE_IN_FLIGHT] = "has events in flight and keeps what is",
        [PRUNE_WAITING] = "waiting",
        [PRUNE_DEAD] = "dead",
    };
    struct err_quoted group = err_quote_text(held->group);

    if (held->n == 0)
        say_note("group %s %s from position %" PRId64 " on", group.text, why[held->why],
                 held->first);
    else
        say_note("group %s keeps %" PRId64 " %s event%s, the first at position %" PRId64,
                 group.text, held->n, why[held->why], held->n == 1 ? "" : "s", held->first);
}

static int run_spool_prune(char **operand)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    int64_t n = -1;

    (void)operand;
    if (args_given("before"))
        terms.before = &before;
    terms.held = say_held;
    if (spool_open(&spool, terms.dry_run ? STORE_READ : STORE_WRITE, &e) == 0)
        n = log_prune(spool, &terms, &e);
    if (n >= 0) {
        char text[60];
        snprintf(text, sizeof text, "%" PRId64 " event%s %s", n, n == 1 ? "" : "s",
                 terms.dry_run ? "would be pruned" : "pruned");
        out_line(str_of(text), &e);
    }
    store_close(spool);
    return out_finish(&e);
}

const struct cmd spool_prune = {
    .name = "prune",
    .about = "remove old events that no group needs any more",
    .usage = {"--before POINT|--keep N [--force] [--dry-run]"},
    .examples = {"spool prune --before 30d", "spool prune --keep 1000000 --dry-run"},
    .options = options,
    .rules = rules,
    .most = ARGS_NO_OPERAND,
    .run = run_spool_prune,
};

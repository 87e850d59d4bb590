/*
 * spool wait: wait until a group has settled the events that were in the log.
 */
#include "base/point.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "spool/verbs.h"
#include "store/groups.h"
#include "store/log.h"

#include <inttypes.h>
#include <poll.h>

static const char *group;
static struct point to = {POINT_END, 0};
static int64_t wait_ms;

static const struct args_rule rules[] = {{ARGS_REQUIRED, "group", NULL, NULL}, {0}};

static const struct opt options[] = {
    OPT_NAME('g', "group", &group, "GROUP", "the group"),
    OPT_POINT(0, "to", &to, "up to POINT (a position is included, a time is not)"),
    OPT_DURATION(0, "wait", &wait_ms, "wait at most D; 0: look once (default: no limit)"),
    OPT_END,
};

static bool through(const struct group_left *left)
{
    return left->ahead + left->in_flight + left->due + left->waiting == 0;
}

/* 0 when the group has settled them, or -1. */
static int wait_for_group(struct store *spool, int64_t last, struct err *e)
{
    int64_t until = args_given("wait") ? clock_mono_ms() + wait_ms : INT64_MAX;
    struct group_left left;

    for (;;) {
        if (group_left(spool, group, last, true, &left, e) < 0)
            return -1;
        if (through(&left)) {
            if (left.dead > 0)
                say_note("group %s: %" PRId64 " dead letter%s among them (dlq list -g %s)",
                         err_quote_text(group).text, left.dead, left.dead == 1 ? "" : "s", group);
            return 0;
        }
        int64_t left_ms = until - clock_mono_ms();
        if (left_ms <= 0)
            break;
        /* Without a transaction, and nothing is written: a signal may end us as it ends any
           filter. */
        if (store_wait(spool, NULL, 0, left_ms, proc_wait, e) < 0)
            return -1;
    }
    if (group_left(spool, group, last, false, &left, e) < 0)
        return -1;
    return err_set(e, EX_TEMPFAIL,
                   "group %s is not finished: %" PRId64 " ahead, %" PRId64 " in flight, %" PRId64
                   " due, %" PRId64 " waiting",
                   err_quote_text(group).text, left.ahead, left.in_flight, left.due, left.waiting);
}

static int run_spool_wait(char **operand)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    int64_t last;

    (void)operand;
    if (spool_open(&spool, STORE_READ, &e) == 0 && log_until(spool, &to, &last, &e) == 0)
        wait_for_group(spool, last > 0 ? last : -1, &e);
    store_close(spool);
    return out_finish(&e);
}

const struct cmd spool_wait = {
    .name = "wait",
    .about = "wait until a group has settled all its events",
    .usage = {"-g GROUP [--to POINT] [--wait D]"},
    .examples = {"spool wait -g email", "spool wait -g email --to 1000 --wait 5m"},
    .options = options,
    .rules = rules,
    .most = ARGS_NO_OPERAND,
    .run = run_spool_wait,
};

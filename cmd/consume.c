/* consume: deliver a group's events to a handler, or into a pipe. */
#include "base/point.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "consume/report.h"
#include "deliver/again.h"
#include "process/proc.h"
#include "store/group.h"
#include "store/log.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static const char *name;
static struct pattern_list types;
static struct point from, to;
static int64_t backoff[2] = {1000, 15 * 60 * 1000};
static bool auto_ack, dry_run, stay, ordered;
static int64_t window = 64, lease, each_us;
static struct loop_terms terms = {.workers = 1, .attempts = 12, .grace_ms = 30000};

static const struct opt options[] = {
    OPT_NAME('g', "group", &name, "GROUP", "the group to work for"),
    OPT_PATTERN('t', "type", &types, "only events of matching types (for a new group)"),
    OPT_POINT(0, "from", &from, "create the group if it does not exist, starting here"),
    OPT_POINT(0, "to", &to, "stop here: a position is inclusive, a time exclusive"),
    OPT_FLAG('f', "follow", &terms.follow, "at the end, wait for more events"),
    OPT_INT('n', "count", &terms.most, "N", 1, INT64_MAX, "handle at most N events"),
    OPT_INT('j', "jobs", &terms.workers, "N", 1, 1024, "handlers or workers at once (default 1)"),
    OPT_INT('a', "attempts", &terms.attempts, "N", 1, 1000000,
            "dead letter after N attempts (default 12)"),
    OPT_RANGE(0, "backoff", backoff, "wait between attempts (default 1s..15m)"),
    OPT_RATE('r', "rate", &each_us, "at most this rate for all consumers, such as 100/s"),
    OPT_DURATION(0, "timeout", &terms.timeout_ms,
                 "end a handler and all that it started after this time"),
    OPT_DURATION(0, "grace", &terms.grace_ms,
                 "time from asking a handler to end to killing it (default 30s)"),
    OPT_CODES(0, "dead-on", terms.dead_on, "exit statuses that no retry can help (default 65)"),
    OPT_CODES(0, "defer-on", terms.defer_on,
              "exit statuses that put the group on hold (default 69)"),
    OPT_FLAG(0, "ordered", &ordered, "make a new group keep the order of each subject"),
    OPT_FLAG(0, "emit", &terms.emit, "publish what the command prints, exactly once"),
    OPT_FLAG(0, "workers", &stay, "keep the command running; it answers events with lines"),
    OPT_INT(0, "window", &window, "N", 1, 10000,
            "unanswered events that a worker may have (default 64)"),
    OPT_FLAG(0, "auto-ack", &auto_ack, "without a command: print events, then settle them"),
    OPT_DURATION(0, "lease", &lease,
                 "without a command: print events, for settle(1) to settle within this time"),
    OPT_FLAG(0, "dry-run", &dry_run, "print what would be delivered; change nothing"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "group", NULL, NULL},
    {ARGS_NEEDS, "workers", "COMMAND dry-run", "--workers needs a command"},
    {ARGS_NEEDS, "emit", "COMMAND dry-run", "--emit needs a command"},
    {ARGS_EXCLUDES, "workers", "dead-on defer-on",
     "--dead-on and --defer-on are for exit statuses: workers answer with words"},
    {ARGS_NEEDS, "window", "workers", NULL},
    {ARGS_ALONE, "auto-ack lease", NULL, NULL},
    {ARGS_EXCLUDES, "auto-ack", "COMMAND",
     "--auto-ack is for a pipe: a command's exit status settles its event"},
    {ARGS_EXCLUDES, "lease", "COMMAND",
     "--lease is for a pipe: a command's exit status settles its event"},
    {0},
};

static const struct cmd self = {
    .name = "consume",
    .about = "deliver a group's events to a handler",
    .usage = {"-g GROUP [-t PATTERN]... [--from POINT] [-f] -- COMMAND [ARG...]",
              "-g GROUP [-t PATTERN]... [--from POINT] [-f] --auto-ack|--lease D"},
    .examples = {"consume -g email -t 'order.*' --from start -- ./send-email",
                 "consume -g charge -t order.placed --from now -f -j 4 --timeout 30s -- ./charge",
                 "consume -g stats --from start --auto-ack | jq -r .type | sort | uniq -c"},
    .options = options,
    .rules = rules,
    .common = "group type from follow jobs attempts ordered",
    .note = "exit status: 0 done; 1 dead letters; 64 usage; 66 no such group; 74 I/O error; 75 "
            "locked or on hold; 78 COMMAND is misconfigured; 126, 127 it cannot be run",
    .wrapper = true,
};

static void check_consume_options(char *const *argv)
{
    terms.argv = *argv == NULL ? NULL : argv;
    terms.group = name;
    terms.backoff = (struct backoff){backoff[0], backoff[1], BACKOFF_FULL};
    if (!args_given("dead-on"))
        terms.dead_on[EX_DATAERR] = true;
    if (!args_given("defer-on"))
        terms.defer_on[EX_UNAVAILABLE] = true;
    terms.window = stay ? window : 0;
    terms.lease = lease > 0;
    if (args_given("lease") && lease == 0)
        args_usage("--lease wants a duration like 5m");
    if (!auto_ack && !terms.lease && terms.argv == NULL && !dry_run)
        args_usage("what to do with the events? Give a command, or --auto-ack to print and settle "
                   "them, or --lease to settle them at the end of a pipe; replay -g %s only shows "
                   "them",
                   name);
    if ((auto_ack || terms.lease) && isatty(STDOUT_FILENO))
        args_usage("stdout is a terminal, and %s would %s what it shows; replay -g %s only shows",
                   auto_ack ? "--auto-ack" : "--lease", auto_ack ? "settle" : "hand out", name);
}

/* Find the last position so far, or up to --to. 0; 1 when no event lies before it; -1. */
static int find_consume_last(struct store *spool, struct err *e)
{
    const struct point end = {POINT_END, 0};

    if (terms.follow && to.kind == POINT_TIME && to.value > clock_now_ms()) {
        terms.until_ms = to.value;
        return 0;
    }
    if (!args_given("to") && terms.follow)
        return 0;
    if (log_until(spool, args_given("to") ? &to : &end, &terms.last, e) < 0)
        return -1;
    return terms.last == 0 ? 1 : 0; /* no event lies up to that point */
}

static void make_group(struct store *spool, const struct group_terms *group_terms, struct err *e)
{
    struct group *group = NULL;

    if (group_open(&group, spool, group_terms, e) == 0)
        group_close(group);
}

/* Work for the group until there is no more to do, or the spool is lost. */
static void work(struct store *spool, const struct group_terms *group_terms,
                 struct loop_result *result, struct err *e)
{
    struct group *group = NULL;

    if (group_open(&group, spool, group_terms, e) < 0)
        return;
    int got = loop_run(spool, group, &terms, result, e);
    result->dead += group_buried(group);
    result->damaged += group_damaged(group);
    consume_report(group, &terms, result, got, e);
    store_stop(spool, proc_stopping); /* its end may be noticed later */
    group_close(group);
}

static void consume(struct store *spool, struct err *e)
{
    const struct group_terms group_terms = {.name = name,
                                            .types = types,
                                            .from = args_given("from") ? &from : NULL,
                                            .hint = " (--from creates one)",
                                            .attempts = terms.attempts,
                                            .ordered = ordered,
                                            .tail_wait_ms = terms.timeout_ms,
                                            .each_us = each_us,
                                            .wait_ms = backoff[1],
                                            .lease_ms = lease};
    struct loop_result result = {0};
    struct reconnect reconnect = {{0}, 0};
    int nothing = find_consume_last(spool, e);

    if (nothing < 0 || (nothing && dry_run))
        return;
    if (dry_run)
        consume_preview(spool, &terms, &types, group_terms.from, e);
    else if (nothing)
        make_group(spool, &group_terms, e);
    else
        do
            work(spool, &group_terms, &result, e);
        while (terms.follow && result.why.status == 0 && again(&reconnect, spool, e));
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    int first = args_parse(&self, argc, argv);

    check_consume_options(argv + first);
    proc_stage();
    if (terms.argv != NULL && proc_check(terms.argv[0], &e) < 0)
        return out_finish(&e);
    if (spool_open(&spool, dry_run || !args_given("from") ? STORE_WRITE : STORE_CREATE, &e) == 0) {
        store_stop(spool, proc_stopping);
        consume(spool, &e);
    }
    store_close(spool);
    pattern_free(&types);
    return out_finish(&e);
}

/* settle: settle events at the end of a pipe that begins with consume --lease. */
#include "cli/args.h"
#include "cli/feed.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/refused.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "store/store.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BATCH 1000
#define REFUSED_BYTES (1 << 20) /* of messages that make a commit come early */
#define GRACE_MS 30000          /* for lines that have been read, once we are told to stop */

static const char *name, *dead;
static bool retry, defer;
static int64_t delay, attempts = 12;

static const struct opt options[] = {
    OPT_NAME('g', "group", &name, "GROUP", "the group for which the events were handed out"),
    OPT_FLAG(0, "retry", &retry, "the events failed: retry them, and count an attempt"),
    OPT_TEXT(0, "dead", &dead, "REASON", "the events failed for good: make them dead letters"),
    OPT_FLAG(0, "defer", &defer, "return the events without counting an attempt"),
    OPT_DURATION(0, "delay", &delay,
                 "with --retry and --defer: deliver no sooner than after this (default at once)"),
    OPT_INT('a', "attempts", &attempts, "N", 1, 1000000,
            "with --retry: dead letter after N attempts (default 12)"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "group", NULL, NULL},
    {ARGS_ALONE, "retry dead defer", NULL, NULL},
    {ARGS_NEEDS, "delay", "retry defer", NULL},
    {ARGS_NEEDS, "attempts", "retry", NULL},
    {0},
};

static const struct cmd self = {
    .name = "settle",
    .about = "settle the events whose lines or ids reach the end of a pipe",
    .usage = {"-g GROUP [--retry | --dead REASON | --defer] [--delay D] [FILE...]"},
    .examples = {"consume -g work --lease 1m | ./work | settle -g work",
                 "consume -g mirror --lease 5m | ssh host publish --echo | settle -g mirror",
                 "echo 42 | settle -g work --dead 'no such customer'"},
    .options = options,
    .rules = rules,
};

static struct store *spool;
static struct group *group;
static struct group_settle how;
static struct js_scan scan;
static struct event event;
static int64_t batch, over, open;
static struct refused refused;
/* Commit, then print: writing to stderr may take long, and others wait for our lock. */
static int settle_commit(struct err *e)
{
    int got = group == NULL ? 0 : lease_commit(group, e);

    batch = 0;
    return refused_report(&refused, e) < 0 ? -1 : got;
}

static bool settle_full(void)
{
    return batch >= BATCH || refused.texts.n > REFUSED_BYTES;
}

/* A line is an event; or digits, which are a position; or an id, also as id:42. */
static int read_lease_name(struct str text, struct lease_name *out, struct err *why)
{
    size_t digits = 0;

    *out = (struct lease_name){.id = text, .source = {NULL, 0}};
    if (*text.p == '{') {
        if (event_read(&event, &scan, text, why) < 0)
            return -1;
        out->id = event.id;
        out->source = event.source;
        return out->id.p != NULL ? 0 : err_set(why, EX_DATAERR, "has no \"id\"");
    }
    while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
        digits++;
    if (digits == text.n && (!js_integer(text, &out->seq) || out->seq == 0))
        out->seq = -1; /* a position without an event */
    else if (text.n > 3 && memcmp(text.p, "id:", 3) == 0)
        out->id = (struct str){text.p + 3, text.n - 3};
    return 0;
}

/* Open the spool only when there is something to settle: consume, which was started together with
   us, may be about to create the spool or the group. */
static int find_group(struct err *e)
{
    const struct group_terms terms = {.name = name, .attempts = attempts};

    if (group != NULL)
        return 0;
    if (spool == NULL && spool_open(&spool, STORE_WRITE, e) < 0)
        return -1;
    store_stop(spool, proc_forced);
    return group_open(&group, spool, &terms, e);
}

static int settle_line(const struct line *line, bool too_long, const char *file, struct err *e)
{
    struct str text = str_trim(line->text, " \t\r");
    struct err why = ERR_NONE;
    struct lease_name which;
    int got = -1;

    if (text.n == 0 && !too_long)
        return 0;
    if (too_long)
        err_set(&why, EX_DATAERR, "longer than 64 MiB");
    else if (find_group(e) < 0)
        return -1;
    how.started_ms = clock_now_ms();
    how.due_ms = how.started_ms + delay;
    if (why.status == 0 && read_lease_name(text, &which, &why) == 0)
        got = lease_settle(group, &which, &how, attempts, &why);
    if (got < 0 && why.status != EX_DATAERR) {
        *e = why;
        return -1;
    }
    if (got < 0)
        refused_add(&refused, file, line->number, text, why.text);
    bool comes_again = got == LEASE_OPEN && (retry || defer); /* as requested */
    over += got == LEASE_OVER || comes_again;
    open += got == LEASE_OPEN && !comes_again;
    batch++;
    return 0;
}

static int settle_all(int n, char **file, struct err *e)
{
    struct feed feed = {.max = 64 << 20,
                        .take = settle_line,
                        .full = settle_full,
                        .commit = settle_commit,
                        .stop = proc_stopping};
    int64_t left = 0;

    if (feed_files(&feed, n, file, e) < 0 || find_group(e) < 0 || settle_commit(e) < 0 ||
        lease_left(group, &left, e) < 0)
        return -1;
    if (over > 0)
        say_note("%" PRId64 " no longer handed out: %ssettled already", over,
                 retry || defer ? "they are delivered again, or were " : "");
    if (open > 0)
        say(SAY_ERROR, EX_TEMPFAIL, NULL,
            "group %s: %" PRId64 " not handed out, and not settled: they wait, or other "
            "consumers hold them",
            err_quote_text(name).text, open);
    if (refused.n > 0 || feed.status != 0)
        e->status = refused.n > 0 ? EX_DATAERR : feed.status; /* said already */
    else if (left > 0)
        return err_set(e, EX_TEMPFAIL,
                       "group %s: %" PRId64 " handed out and not settled: they are delivered again "
                       "when their lease has run out",
                       err_quote_text(name).text, left);
    else if (open > 0)
        e->status = EX_TEMPFAIL; /* said already */
    return 0;
}

static void set_outcome(void)
{
    how.outcome = dead != NULL ? GROUP_DEAD
                  : retry      ? GROUP_RETRY
                  : defer      ? GROUP_DEFER
                               : GROUP_DONE;
    how.reason = dead != NULL ? dead : "settle --retry";
    how.tail = STR("");
    how.took_ms = -1;
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv);

    set_outcome();
    proc_stage();
    proc_grace(GRACE_MS);
    settle_all(argc - first, argv + first, &e);
    group_close(group);
    store_close(spool);
    event_free(&event);
    js_scan_free(&scan);
    refused_free(&refused);
    return out_finish(&e);
}

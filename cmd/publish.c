/* publish: append events to the spool. */
#include "cli/args.h"
#include "cli/feed.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "deliver/ingest.h"
#include "deliver/inherit.h"
#include "process/proc.h"

#include <inttypes.h>
#include <unistd.h>

#define SAFE_BYTES (1 << 20) /* of memory for what --echo prints, between commits */
#define GRACE_MS 30000       /* the grace for lines read from a pipe, once we are told to stop */

static const char *data, *expect, *rejects, *delay;
static struct ingest batch = {.fill.priority = -1, .pending.wait_ms = -1, .max_size = 1 << 20};

static const struct opt options[] = {
    OPT_TEXT('t', "type", &batch.fill.type, "TYPE",
             "each line is the data of an event of this type"),
    OPT_WORDS('k', "key", &batch.fill.subject, "KEY", "the subject: what the event is about"),
    OPT_TEXT('d', "data", &data, "JSON|@FILE",
             "one event with this data, instead of reading input"),
    OPT_WORDS(0, "id", &batch.fill.id, "ID",
              "the event's id, so that it may be published again safely"),
    OPT_POINTER(0, "id-from", &batch.fill.id_from,
                "take ids from the lines, for instance at /orderId"),
    OPT_POINTER(0, "key-from", &batch.fill.subject_from, "take subjects from the lines"),
    OPT_WORDS(0, "source", &batch.fill.source, "URI",
              "the source of events without one (default /HOSTNAME)"),
    OPT_TEXT(0, "delay", &delay, "D|TIME", "deliver no sooner than this (notbefore)"),
    OPT_INT(0, "priority", &batch.fill.priority, "N", 0, 9,
            "0 is delivered first, 9 last (default 5)"),
    OPT_DURATION(0, "ttl", &batch.ttl_ms, "do not deliver after this time (expirytime)"),
    OPT_INT(0, "max-pending", &batch.pending.most, "N", 1, INT64_MAX,
            "wait while a group has N or more events to settle"),
    OPT_DURATION(0, "wait", &batch.pending.wait_ms,
                 "with --max-pending: wait at most this long (0: not at all)"),
    OPT_FLAG(0, "text", &batch.fill.text, "lines are text, not JSON: the data is a string"),
    OPT_SIZE(0, "max-size", &batch.max_size, "SIZE", 1, 32 << 20,
             "longest line accepted (default 1M)"),
    OPT_TEXT(0, "rejects", &rejects, "FILE", "append refused lines to this file"),
    OPT_FLAG(0, "atomic", &batch.atomic, "all or nothing, up to 64 MiB"),
    OPT_FLAG(0, "echo", &batch.echo, "print each event once it is on disk, duplicates too"),
    OPT_TEXT(0, "expect-version", &expect, "N|any|none",
             "append to the subject's stream at version N"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_NEEDS, "wait", "max-pending", NULL},
    {ARGS_NEEDS, "text", "type", "--text needs -t TYPE"},
    {ARGS_EXCLUDES, "data", "FILE", "-d gives the data: there is nothing to read from FILE"},
    {ARGS_ALONE, "id id-from", NULL, NULL},
    {ARGS_ALONE, "key key-from", NULL, NULL},
    {0},
};

static const struct cmd self = {
    .name = "publish",
    .about = "append events to the spool",
    .usage = {"-t TYPE [-k KEY] [-d JSON | FILE...]", "[FILE...]"},
    .examples = {"publish -t order.placed -k order-42 -d '{\"orderId\":42,\"total\":99.5}'",
                 "publish -t reading --key-from /sensor < readings.ndjson",
                 "journalctl -f -o cat | publish -t log.line --text",
                 "replay -s old.db | publish -s new.db"},
    .options = options,
    .rules = rules,
    .common = "type key data id-from echo",
    .note =
        "exit status: 0 all is on disk; 65 some lines were refused; 75 locked, or another writer "
        "was faster. Unless 0, it is unknown whether events that --echo has not printed are on "
        "disk",
};

/* A signal may end a write to a reader that does not read. */
static int echo(struct err *e)
{
    proc_unblock();
    int got = out_write(batch.safe.p, batch.safe.n, e) < 0 ? -1 : out_flush(e);
    proc_block();
    return got;
}

/* Commit, then print: echoed events are on disk. */
static int publish_commit(struct err *e)
{
    if (ingest_commit(&batch, e) < 0 || (batch.safe.n > 0 && echo(e) < 0))
        return -1;
    buf_shrink(&batch.safe, SAFE_BYTES);
    return refused_report(&batch.refused, e);
}

/* ------------------------------------------------------------------------------------ the input */

static bool publish_full(void)
{
    return ingest_full(&batch);
}

static int publish_line(const struct line *line, bool too_long, const char *file, struct err *e)
{
    return ingest_line(&batch, line, too_long, file, e);
}

/* Input from a pipe is lost if we end; a file can be read again. */
static void publish_opened(struct lines *in)
{
    lines_widen(in);
    store_stop(batch.store, lines_again(in) ? proc_stopping : proc_forced);
}

static struct feed feed = {.opened = publish_opened,
                           .take = publish_line,
                           .full = publish_full,
                           .commit = publish_commit,
                           .stop = proc_stopping};

/* Every line is checked, so that every error is reported; if one line is bad, nothing is stored. */
static int publish_held(struct err *e)
{
    if (feed.stopped)
        return err_set(e, EX_SIGNAL + proc_signal(),
                       "stopped before the end of the input: nothing published");
    if (ingest_held(&batch, e) < 0)
        return -1;
    if (batch.refused.n > 0 || feed.status != 0)
        ingest_abandon(&batch);
    return publish_commit(e);
}

/* --------------------------------------------------------------------------------------- set up */

static void check_publish_options(void)
{
    struct err e = ERR_NONE;

    if (delay != NULL && ingest_delay(&batch, delay, &e) < 0)
        args_usage("%s", e.text);
    if (batch.fill.type != NULL && pattern_type(batch.fill.type, &e) < 0)
        args_usage("-t %s", e.text);
    if (expect != NULL && ingest_expect(&batch, expect, &e) < 0)
        args_usage("%s", e.text);
}

static int publish(int n, char **file, struct err *e)
{
    if ((rejects != NULL && refused_open(&batch.refused, rejects, e) < 0) ||
        spool_open(&batch.store, STORE_CREATE, e) < 0)
        return -1;
    batch.pending.own = inherit_group(&batch.fill, batch.store);
    store_stop(batch.store, proc_stopping);
    if (data != NULL)
        return ingest_data(&batch, data, e) < 0 ? -1 : publish_commit(e);
    feed.max = (size_t)batch.max_size;
    if (feed_files(&feed, n, file, e) < 0)
        return -1;
    return batch.atomic ? publish_held(e) : publish_commit(e);
}

int main(int argc, char **argv)
{
    struct buf source = BUF_INIT;
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv);

    check_publish_options();
    if (inherit_chain(&batch.fill, &source, &e) < 0)
        args_usage("%s", e.text);
    proc_stage();
    proc_grace(GRACE_MS);
    out_stop_when(proc_forced);
    if (batch.echo)
        out_watch();
    if (publish(argc - first, argv + first, &e) == 0 && batch.seen == 0 && feed.status == 0 &&
        !feed.stopped)
        say_note("the input was empty: nothing published");
    if (proc_stopping() && !out_gone() && (feed.stopped || e.status == EX_TEMPFAIL))
        e.status = EX_SIGNAL + proc_signal(); /* the input was not read to its end */
    if (e.status == 0)
        e.status = batch.stale > 0 ? EX_TEMPFAIL : batch.refused.n > 0 ? EX_DATAERR : feed.status;
    if (batch.duplicates > 0 && isatty(STDERR_FILENO))
        say_note("%" PRId64 " duplicates skipped", batch.duplicates);
    store_close(batch.store);
    ingest_free(&batch);
    buf_free(&source);
    return out_finish(&e);
}

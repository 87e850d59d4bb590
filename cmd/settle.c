/* settle: settle events at the end of a pipe that begins with consume --lease. */
#include "cli/args.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/say.h"
#include "process/proc.h"
#include "store/store.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BATCH 1000
#define COMPLAINTS_MAX (1 << 20) /* bytes */
#define GRACE_MS 30000           /* for lines that have been read, once we are told to stop */

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
static int64_t batch, bad, over, open;
static int input_status;

static struct buf complaints; /* to be printed after the commit, each followed by a NUL */

static void refuse(const char *file, int64_t number, const struct err *why)
{
    bad++;
    buf_printf(&complaints, "%s%sline %" PRId64 ": %s", file == NULL ? "" : file,
               file == NULL ? "" : ": ", number, why->text);
    buf_char(&complaints, '\0');
}

/* Commit, then print: writing to stderr may take long, and others wait for our lock. */
static int commit(struct err *e)
{
    int got = group == NULL ? 0 : lease_commit(group, e);

    for (size_t at = 0; at < complaints.n; at += strlen(complaints.p + at) + 1)
        say(SAY_ERROR, EX_DATAERR, NULL, "%s", complaints.p + at);
    buf_reset(&complaints);
    return got;
}

/* A line is an event; or digits, which are a position; or an id, also as id:42. */
static int read_name(struct str text, struct lease_name *out, struct err *why)
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

static struct str trim(struct str text)
{
    while (text.n > 0 && strchr(" \t\r", text.p[text.n - 1]) != NULL)
        text.n--;
    while (text.n > 0 && (*text.p == ' ' || *text.p == '\t')) {
        text.p++;
        text.n--;
    }
    return text;
}

/* Open the spool only when there is something to settle: consume, which was started together with
   us, may be about to create the spool or the group. */
static int find_group(struct err *e)
{
    const struct group_terms terms = {.name = name, .attempts = attempts};

    if (group != NULL)
        return 0;
    if (spool == NULL && store_open(&spool, args_spool(), STORE_WRITE, e) < 0)
        return -1;
    store_stop(spool, proc_forced);
    return group_open(&group, spool, &terms, e);
}

/* 0 also when the line is wrong. */
static int take(struct str text, const char *file, int64_t number, struct err *e)
{
    struct err why = ERR_NONE;
    struct lease_name which;
    int got = -1;

    if (text.n == 0)
        return 0;
    if (find_group(e) < 0)
        return -1;
    how.started_ms = clock_now_ms();
    how.due_ms = how.started_ms + delay;
    if (read_name(text, &which, &why) == 0)
        got = lease_settle(group, &which, &how, attempts, &why);
    if (got < 0 && why.status != EX_DATAERR) {
        *e = why;
        return -1;
    }
    if (got < 0)
        refuse(file, number, &why);
    bool comes_again = got == LEASE_OPEN && (retry || defer); /* as requested */
    over += got == LEASE_OVER || comes_again;
    open += got == LEASE_OPEN && !comes_again;
    batch++;
    return 0;
}

/* Commit when the batch is full, and before reading input or opening the next file, so that no
   process waits for our lock while we wait for input. */
static int read_file(const char *path, struct err *e)
{
    struct err unreadable = ERR_NONE, too_long = {EX_DATAERR, "longer than 64 MiB"};
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, path, 64 << 20, &unreadable), failed = 0;

    while (got >= 0 && !failed && (got = lines_next(in, &line, &unreadable)) > 0) {
        if (got == LINES_TOO_LONG)
            refuse(lines_name(in), line.number, &too_long);
        else
            failed = take(trim(line.text), lines_name(in), line.number, e) < 0;
        if (!failed && (batch >= BATCH || complaints.n > COMPLAINTS_MAX || !lines_ready(in))) {
            batch = 0;
            failed = commit(e) < 0;
        }
    }
    if (got < 0 && input_status == 0)
        input_status = unreadable.status;
    say_report(&unreadable);
    lines_close(in);
    return failed ? -1 : 0;
}

static int settle(int n, char **file, struct err *e)
{
    int64_t left = 0;
    int got = n == 0 ? read_file(NULL, e) : 0;

    for (int i = 0; i < n && got == 0 && !proc_stopping(); i++)
        got = read_file(file[i], e);
    if (got < 0 || find_group(e) < 0 || commit(e) < 0 || lease_left(group, &left, e) < 0)
        return -1;
    if (over > 0)
        say_note("%" PRId64 " no longer handed out: %ssettled already", over,
                 retry || defer ? "they are delivered again, or were " : "");
    if (open > 0)
        say(SAY_ERROR, EX_TEMPFAIL, NULL,
            "group %s: %" PRId64 " not handed out, and not settled: they wait, or other "
            "consumers hold them",
            err_quote_text(name).text, open);
    if (bad > 0 || input_status != 0)
        e->status = bad > 0 ? EX_DATAERR : input_status; /* said already */
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
    settle(argc - first, argv + first, &e);
    group_close(group);
    store_close(spool);
    event_free(&event);
    js_scan_free(&scan);
    buf_free(&complaints);
    return out_finish(&e);
}

/* publish: append events to the spool. */
#include "base/io.h"
#include "cli/args.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/say.h"
#include "deliver/ingest.h"
#include "event/source.h"
#include "process/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ATOMIC_MAX (64 << 20)
#define GRACE_MS 30000 /* the grace for lines read from a pipe, once we are told to stop */

static const char *data, *expect, *rejects, *delay;
static struct ingest batch = {.fill.priority = -1, .pending.wait_ms = -1};
static int64_t max_size = 1 << 20;
static bool atomic;

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
    OPT_SIZE(0, "max-size", &max_size, "SIZE", 1, 32 << 20, "longest line accepted (default 1M)"),
    OPT_TEXT(0, "rejects", &rejects, "FILE", "append refused lines to this file"),
    OPT_FLAG(0, "atomic", &atomic, "all or nothing, up to 64 MiB"),
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

static struct buf held; /* the input of --atomic */
static int64_t lines_seen;
static bool stopped; /* stopped before the end of the input */
static int rejects_fd = -1, input_status;

/* A signal may end a write to a reader that does not read. */
static int echo(struct err *e)
{
    proc_unblock();
    int got = out_write(batch.safe.p, batch.safe.n, e) < 0 ? -1 : out_flush(e);
    proc_block();
    return got;
}

/* Print the events that the last commit made safe, and the complaints. */
static int tell(struct err *e)
{
    const struct buf *wrong = &batch.complaints;

    if (batch.safe.n > 0 && echo(e) < 0)
        return -1;
    for (size_t at = 0; at < wrong->n; at += strlen(wrong->p + at) + 1)
        say(SAY_ERROR, EX_DATAERR, NULL, "%s", wrong->p + at);
    if (batch.rejected.n > 0 && io_write(rejects_fd, batch.rejected.p, batch.rejected.n) < 0)
        return err_errno(e, EX_IOERR, "%s", rejects);
    ingest_told(&batch);
    return 0;
}

/* Commit, then print: echoed events are on disk. */
static int commit(struct err *e)
{
    return ingest_commit(&batch, e) < 0 ? -1 : tell(e);
}

/* ------------------------------------------------------------------------------------ the input */

static struct str without_mark(struct str text)
{
    bool mark = text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0;
    return mark ? (struct str){text.p + 3, text.n - 3} : text;
}

/* A byte order mark before the first line and a CR before a newline do not belong to a line. */
static struct str trim(struct line line)
{
    struct str text = line.number == 1 ? without_mark(line.text) : line.text;

    if (text.n > 0 && text.p[text.n - 1] == '\r')
        text.n--;
    return text;
}

static bool blank(struct str text)
{
    size_t n = 0;

    while (n < text.n && (text.p[n] == ' ' || text.p[n] == '\t'))
        n++;
    return n == text.n;
}

/* A producer that died in the middle of a line leaves a line without a newline. Whether a line is
   whole can be seen for JSON, except for a number, but not for text. */
static bool maybe_cut(const struct line *line, struct str text)
{
    char last = text.n == 0 ? ' ' : text.p[text.n - 1];
    return !line->newline && batch.fill.type != NULL &&
           (batch.fill.text || (last >= '0' && last <= '9' && *text.p != '{' && *text.p != '['));
}

struct head {
    struct ingest_place place;
    size_t n;
};

/* --atomic: keep the line and its place for later. */
static int hold(struct ingest_place place, struct str text, struct err *e)
{
    struct head head = {place, text.n};

    if (held.n + text.n > ATOMIC_MAX)
        return err_set(e, EX_DATAERR, "the input is larger than 64 MiB, too much for --atomic");
    buf_add(&held, &head, sizeof head);
    buf_str(&held, text);
    return 0;
}

static int take_line(const struct line *line, bool too_long, struct ingest_place place,
                     struct err *e)
{
    struct str text = trim(*line);
    struct err why;

    err_clear(&why);
    if (too_long)
        err_set(&why, EX_DATAERR, "longer than %lld bytes (--max-size)", (long long)max_size);
    else if (blank(text))
        return 0;
    else if (maybe_cut(line, text))
        err_set(&why, EX_DATAERR, "value may be cut off: no newline at the end of input");
    lines_seen++;
    if (why.status == 0)
        return atomic ? hold(place, text, e) : ingest_put(&batch, place, text, e);
    return ingest_refuse(&batch, place, text, &why, e);
}

/* Commit when the batch is full, and before reading input or opening the next file, where we often
   wait for a producer: a slow producer's event is on disk at once, and no process waits for our
   lock in the meantime. A file that cannot be read does not prevent publishing the others. */
static int publish_file(const char *path, struct err *e)
{
    struct err unreadable = ERR_NONE;
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, path, (size_t)max_size, &unreadable), failed = 0;

    if (got >= 0)
        lines_widen(in);
    /* Input from a pipe is lost if we end; a file can be read again. */
    store_stop(batch.store, got >= 0 && lines_again(in) ? proc_stopping : proc_forced);
    while (got >= 0 && !failed && (got = lines_next(in, &line, &unreadable)) > 0) {
        struct ingest_place place = {lines_name(in) == NULL ? NULL : path, line.number, NULL};
        failed = take_line(&line, got == LINES_TOO_LONG, place, e) < 0 ||
                 ((ingest_full(&batch) || !lines_ready(in)) && commit(e) < 0);
    }
    if (got < 0 && input_status == 0)
        input_status = unreadable.status;
    stopped |= got == LINES_END && lines_stopped(in);
    say_report(&unreadable);
    lines_close(in);
    return failed ? -1 : 0;
}

/* Every line is checked, so that every error is reported; if one line is bad, nothing is stored. A
   version conflict concerns the whole input and is reported once. */
static int publish_held(struct err *e)
{
    for (size_t at = 0; at < held.n && batch.stale == 0;) {
        struct head head;
        memcpy(&head, held.p + at, sizeof head);
        at += sizeof head;
        if (ingest_put(&batch, head.place, (struct str){held.p + at, head.n}, e) < 0)
            return -1;
        at += head.n;
    }
    if (ingest_flush(&batch, e) < 0)
        return -1;
    if (batch.bad > 0 || input_status != 0)
        ingest_abandon(&batch);
    return commit(e);
}

static int read_data_file(struct buf *text, struct err *e)
{
    struct lines *in;
    struct line line;
    int got;

    if (lines_open(&in, data + 1, (size_t)max_size, e) < 0)
        return -1;
    while ((got = lines_next(in, &line, e)) > 0 && got != LINES_TOO_LONG) {
        buf_str(text, line.number == 1 ? without_mark(line.text) : line.text);
        if (line.newline)
            buf_char(text, '\n');
    }
    if (got == LINES_TOO_LONG || text->n > (size_t)max_size)
        got = err_set(e, EX_DATAERR, "%s: longer than %lld bytes (--max-size)", data + 1,
                      (long long)max_size);
    lines_close(in);
    return got;
}

static int publish_data(struct err *e)
{
    struct buf text = BUF_INIT;
    int got = 0;

    if (data[0] == '@')
        got = read_data_file(&text, e);
    else
        buf_puts(&text, data);
    lines_seen++;
    if (got == 0 && text.n > (size_t)max_size)
        got =
            err_set(e, EX_DATAERR, "-d: longer than %lld bytes (--max-size)", (long long)max_size);
    if (got == 0)
        got = ingest_put(&batch, (struct ingest_place){NULL, 0, "-d"}, (struct str){text.p, text.n},
                         e);
    buf_free(&text);
    return got < 0 ? -1 : commit(e);
}

/* --------------------------------------------------------------------------------------- set up */

/* Above the maximum it is a cycle, whatever the number. */
static int64_t read_hops(const char *text)
{
    int64_t hops = strtoll(text, NULL, 10);
    return hops < 0 ? 0 : hops > EVENT_HOPS_MAX ? EVENT_HOPS_MAX : hops;
}

/* NULL when the variable is not set, or empty. */
static const char *variable(const char *name, size_t max)
{
    const char *text = getenv(name);

    return text == NULL || *text == '\0' ? NULL : args_name(name, text, max);
}

/* Inside a handler the event continues the causal chain of the one being handled. */
static void read_surroundings(void)
{
    static struct buf source;
    const char *hops = getenv("EVENT_HOPS"), *group;

    batch.fill.causationid = variable("EVENT_ID", NAME_TEXT_BYTES);
    batch.fill.hops = -1;
    if (batch.fill.causationid != NULL) {
        batch.fill.hops = read_hops(hops == NULL ? "" : hops);
        batch.fill.correlationid = variable("EVENT_CORRELATIONID", NAME_TEXT_BYTES);
    }
    batch.fill.traceparent = getenv("TRACEPARENT");
    if (batch.fill.source == NULL)
        batch.fill.source = variable("EVENT_DEFAULT_SOURCE", NAME_TEXT_BYTES);
    if (batch.fill.source != NULL)
        return;
    group = variable("EVENT_GROUP", NAME_BYTES);
    source_here(&source, batch.fill.causationid != NULL ? group : NULL);
    batch.fill.source = buf_text(&source);
}

/* In a handler of a group that has too many events to settle, --max-pending would wait for an event
   that only we can settle, so that group does not count. A group of another spool is not ours. */
static const char *own_group(void)
{
    const char *spool = getenv("EVENT_SPOOL");

    return batch.fill.causationid != NULL && spool != NULL &&
                   strcmp(spool, store_path(batch.store)) == 0
               ? variable("EVENT_GROUP", NAME_BYTES)
               : NULL;
}

static void check_delay(void)
{
    struct err ignored = ERR_NONE;

    if (delay == NULL || clock_parse(str_of(delay), &batch.fill.notbefore_ms) ||
        clock_duration(delay, &batch.delay_ms, &ignored) == 0)
        return;
    args_usage("--delay wants a duration like 10m or a time like 2026-11-21T10:00:00Z: %s",
               err_quote_text(delay).text);
}

static void check_options(void)
{
    struct err e = ERR_NONE;
    char *end;

    check_delay();
    if (batch.fill.type != NULL && pattern_type(batch.fill.type, &e) < 0)
        args_usage("-t %s", e.text);
    if (expect == NULL)
        return;
    batch.terms.versions = strcmp(expect, "any") == 0 ? LOG_NEXT_VERSION : LOG_EXACT_VERSION;
    if (batch.terms.versions == LOG_EXACT_VERSION && strcmp(expect, "none") != 0) {
        errno = 0;
        batch.terms.expected = strtoll(expect, &end, 10);
        if (*end != '\0' || *expect < '0' || *expect > '9' || errno != 0)
            args_usage("--expect-version wants a number, any or none: %s",
                       err_quote_text(expect).text);
    }
    atomic |= batch.terms.versions == LOG_EXACT_VERSION;
}

static int publish(int argc, char **argv, struct err *e)
{
    int got = 0;

    if (rejects != NULL) {
        rejects_fd = open(rejects, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (rejects_fd < 0)
            return err_errno(e, EX_CANTCREAT, "%s: cannot open it", rejects);
        batch.keep_rejected = true;
    }
    if ((got = store_open(&batch.store, args_spool(), STORE_CREATE, e)) < 0)
        return -1;
    if (got > 0)
        say_note("created the spool %s", store_path(batch.store));
    batch.pending.own = own_group();
    got = 0;
    store_stop(batch.store, proc_stopping);
    if (data != NULL)
        return publish_data(e);
    if (argc == 0)
        got = publish_file(NULL, e);
    for (int i = 0; i < argc && got == 0 && !stopped; i++) {
        stopped = proc_stopping();
        if (!stopped)
            got = publish_file(argv[i], e);
    }
    if (atomic && stopped)
        return err_set(e, EX_SIGNAL + proc_signal(),
                       "stopped before the end of the input: nothing published");
    return got < 0 ? -1 : atomic ? publish_held(e) : commit(e);
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv);

    check_options();
    read_surroundings();
    proc_stage();
    proc_grace(GRACE_MS);
    out_stop_when(proc_forced);
    if (batch.echo)
        out_watch();
    if (publish(argc - first, argv + first, &e) == 0 && lines_seen == 0 && input_status == 0 &&
        !stopped)
        say_note("the input was empty: nothing published");
    if (proc_stopping() && !out_gone() && (stopped || e.status == EX_TEMPFAIL))
        e.status = EX_SIGNAL + proc_signal(); /* the input was not read to its end */
    if (e.status == 0)
        e.status = batch.stale > 0 ? EX_TEMPFAIL : batch.bad > 0 ? EX_DATAERR : input_status;
    if (batch.duplicates > 0 && isatty(STDERR_FILENO))
        say_note("%" PRId64 " duplicates skipped", batch.duplicates);
    store_close(batch.store);
    ingest_free(&batch);
    buf_free(&held);
    return out_finish(&e);
}

/* fsm run: events in, transitions out. */
#include "base/io.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/say.h"
#include "fsm/fsm.h"
#include "fsm/verbs.h"
#include "process/proc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define LINE_MAX_BYTES (64 << 20)
#define GRACE_MS 30000     /* the grace for lines that have been read, once we are told to stop */
#define HELD_MAX (1 << 20) /* bytes to be printed that make a commit come early */

static const char *rejects;
static bool worker;

static const struct opt options[] = {
    OPT_TEXT(0, "rejects", &rejects, "FILE",
             "append rejected events, and lines that are not events, to FILE"),
    OPT_FLAG(0, "worker", &worker, "answer each event, for consume --workers --emit"),
    OPT_END,
};

static struct machine machine;
static struct fsm fsm = {.machine = &machine};
static struct js_scan scan;
static struct event event;
static struct buf out, complaints, rejected; /* to be printed after the commit */
static struct buf transition;
static int64_t refused;
static int rejects_fd = -1, input_status;
static bool stopped; /* before the end of the input */

void fsm_say(const char *path, const struct machine_findings *findings)
{
    const struct buf *wrong = &findings->wrong, *doubtful = &findings->doubtful;

    for (size_t at = 0; at < wrong->n; at += strlen(wrong->p + at) + 1)
        say(SAY_ERROR, EX_DATAERR, NULL, "%s: %s", path, wrong->p + at);
    for (size_t at = 0; at < doubtful->n; at += strlen(doubtful->p + at) + 1)
        say(SAY_WARN, EX_NO, NULL, "%s: %s", path, doubtful->p + at);
}

/* ------------------------------------------------------------------------------------- a batch */

static int tell(struct err *e)
{
    proc_unblock(); /* a signal may end a write to a reader that does not read */
    int got = out_write(out.p, out.n, e) < 0 ? -1 : out_flush(e);
    proc_block();

    for (size_t at = 0; at < complaints.n; at += strlen(complaints.p + at) + 1)
        say(SAY_ERROR, EX_DATAERR, NULL, "%s", complaints.p + at);
    if (got == 0 && rejected.n > 0 && io_write(rejects_fd, rejected.p, rejected.n) < 0)
        got = err_errno(e, EX_IOERR, "%s", rejects);
    buf_reset(&out);
    buf_reset(&complaints);
    buf_reset(&rejected);
    return got < 0 ? -1 : 0;
}

/* The order matters, see fsm.h. A kill between the two loses nothing, because repeated events are
   recognised, and their transitions are printed again. */
static int commit(struct err *e)
{
    return fsm_commit(&fsm, e) < 0 ? -1 : tell(e);
}

static void refuse(const char *file, int64_t number, struct str text, const struct err *why)
{
    refused++;
    buf_printf(&complaints, "%s%sline %" PRId64 ": %s", file == NULL ? "" : file,
               file == NULL ? "" : ": ", number, why->text);
    buf_char(&complaints, '\0');
    if (rejects == NULL)
        return;
    buf_str(&rejected, text);
    buf_char(&rejected, '\n');
}

/* In the protocol of consume(1): transitions are published, and a refused event becomes a dead
   letter. */
static void answer(const struct err *why)
{
    buf_puts(&out, "{\"id\":");
    js_quote(&out, event.id);
    if (transition.n > 0) {
        buf_puts(&out, ",\"out\":");
        buf_add(&out, transition.p, transition.n - 1);
    } else if (why->status != 0) {
        buf_puts(&out, ",\"status\":\"dead\",\"error\":");
        js_quote(&out, str_of(why->text));
    }
    buf_puts(&out, "}\n");
}

/* 1; 0 when the event is not for this machine; -1: error. */
static int check_event(struct err *why)
{
    if (event.type.p == NULL)
        return err_set(why, EX_DATAERR, "has no \"type\"");
    if (!machine_knows(&machine, event.type))
        return 0;
    if (event.id.p == NULL)
        return err_set(why, EX_DATAERR, "has no \"id\": events from the log have one");
    if (event.subject.p == NULL)
        return err_set(why, EX_DATAERR, "%s has no \"subject\": whose state is it about?",
                       event_name(&event).text);
    return 1;
}

/* ---------------------------------------------------------------------------------------- input */

static bool blank(struct str text)
{
    size_t n = 0;

    while (n < text.n && strchr(" \t\r", text.p[n]) != NULL)
        n++;
    return n == text.n;
}

/* 0 also when the event is refused. */
static int take(const struct line *line, bool too_long, const char *file, struct err *e)
{
    bool readable = false;
    struct err why;

    err_clear(&why);
    buf_reset(&transition);
    if (too_long)
        err_set(&why, EX_DATAERR, "longer than %d MiB", LINE_MAX_BYTES >> 20);
    else if (blank(line->text))
        return 0;
    else
        readable = event_read(&event, &scan, line->text, &why) == 0;
    if (readable && check_event(&why) > 0 && fsm_take(&fsm, &event, &transition, &why, e) < 0)
        return -1;
    if (worker && readable && event.id.p != NULL)
        answer(&why);
    else if (worker)
        return err_set(e, EX_DATAERR, "line %" PRId64 ": %s", line->number, why.text);
    else if (why.status != 0)
        refuse(file, line->number, line->text, &why);
    else if (transition.n > 0)
        buf_str(&out, (struct str){transition.p, transition.n});
    return 0;
}

static bool full(void)
{
    return fsm_full(&fsm) || out.n + complaints.n + rejected.n > HELD_MAX;
}

/* Commit when the batch is full and before input is read or the next file is opened, so that no
   process waits for our lock while we wait for input. A file that cannot be read does not prevent
   reading the others. */
static int read_input(const char *path, struct err *e)
{
    struct err unreadable = ERR_NONE;
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, path, LINE_MAX_BYTES, &unreadable), failed = 0;

    while (got >= 0 && !failed && !out_gone() && (got = lines_next(in, &line, &unreadable)) > 0)
        failed = take(&line, got == LINES_TOO_LONG, lines_name(in), e) < 0 ||
                 ((full() || !lines_ready(in)) && commit(e) < 0);
    if (!failed)
        failed = commit(e) < 0;
    if (got < 0 && input_status == 0)
        input_status = unreadable.status;
    stopped |= got == LINES_END && lines_stopped(in);
    say_report(&unreadable);
    lines_close(in);
    return failed ? -1 : 0;
}

static int open_all(const char *path, struct err *e)
{
    struct machine_findings findings = {.wrong = BUF_INIT};
    int got = fsm_load(&machine, path, &findings, e);

    fsm_say(path, &findings);
    machine_findings_free(&findings);
    if (got < 0)
        return err_config(e);
    if (rejects != NULL &&
        (rejects_fd = open(rejects, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0)
        return err_errno(e, EX_CANTCREAT, "%s: cannot open it", rejects);
    if ((got = store_open(&fsm.store, args_spool(), STORE_CREATE, e)) > 0)
        say_note("created the spool %s", store_path(fsm.store));
    if (got < 0)
        return err_config(e);
    store_stop(fsm.store, proc_forced);
    return 0;
}

static int run(char **operand)
{
    struct err e = ERR_NONE;
    int n = args_count(operand);

    if (worker && (rejects != NULL || n > 1))
        args_usage("--worker reads what consume writes, and answers: no FILE, no --rejects");
    proc_stage();
    proc_grace(GRACE_MS);
    out_stop_when(proc_forced);
    out_watch();
    int got = open_all(operand[0], &e);
    if (got == 0 && n == 1)
        got = read_input(NULL, &e);
    for (int i = 1; i < n && got == 0 && !stopped; i++)
        got = read_input(operand[i], &e);
    if (stopped && e.status == 0 && !out_gone())
        e.status = EX_SIGNAL + proc_signal();
    if (e.status == 0) /* reported already */
        e.status = refused > 0 ? EX_DATAERR : input_status;
    fsm_free(&fsm);
    store_close(fsm.store);
    machine_free(&machine);
    event_free(&event);
    js_scan_free(&scan);
    buf_free(&out);
    buf_free(&transition);
    buf_free(&complaints);
    buf_free(&rejected);
    return out_finish(&e);
}

const struct cmd fsm_verb_run = {
    .name = "run",
    .about = "print a transition for each event that its subject's state accepts",
    .usage = {"[--rejects FILE] MACHINE [FILE...]", "--worker MACHINE"},
    .examples = {"consume -g orders --ordered --from start --emit -- fsm run order.machine.json",
                 "consume -g orders --ordered --workers --emit -- fsm run --worker order.json",
                 "replay | fsm run order.machine.json | publish"},
    .options = options,
    .least = 1,
    .wants = "a MACHINE, a file",
    .run = run,
};

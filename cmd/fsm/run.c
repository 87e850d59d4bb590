/* fsm run: events in, transitions out. */
#include "cli/feed.h"
#include "cli/lines.h"
#include "cli/out.h"
#include "cli/refused.h"
#include "cli/say.h"
#include "command/spool.h"
#include "fsm/fsm.h"
#include "fsm/verbs.h"
#include "process/proc.h"

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
static struct buf out, transition; /* out: to be printed after the commit */
static struct refused refused;

void fsm_say(const char *path, const struct machine_findings *findings)
{
    const struct buf *wrong = &findings->wrong, *doubtful = &findings->doubtful;

    for (size_t at = 0; at < wrong->n; at += strlen(wrong->p + at) + 1)
        say(SAY_ERROR, EX_DATAERR, NULL, "%s: %s", path, wrong->p + at);
    for (size_t at = 0; at < doubtful->n; at += strlen(doubtful->p + at) + 1)
        say(SAY_WARN, EX_NO, NULL, "%s: %s", path, doubtful->p + at);
}

/* ------------------------------------------------------------------------------------- a batch */

/* Commit, then print: the order matters, see fsm.h. A kill between the two loses nothing, because
   repeated events are recognised, and their transitions are printed again. */
static int fsm_run_commit(struct err *e)
{
    if (fsm_commit(&fsm, e) < 0)
        return -1;
    proc_unblock(); /* a signal may end a write to a reader that does not read */
    int got = out_write(out.p, out.n, e) < 0 ? -1 : out_flush(e);
    proc_block();
    buf_reset(&out);
    return refused_report(&refused, e) < 0 ? -1 : got;
}

static bool fsm_run_full(void)
{
    return fsm_full(&fsm) || out.n + refused.texts.n + refused.lines.n > HELD_MAX;
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

/* 0 also when the event is refused. Once nobody reads our output, the rest is left unread. */
static int fsm_run_line(const struct line *line, bool too_long, const char *file, struct err *e)
{
    bool readable = false;
    struct err why;

    err_clear(&why);
    buf_reset(&transition);
    if (out_gone() || (!too_long && str_trim(line->text, " \t\r").n == 0))
        return 0;
    if (too_long)
        err_set(&why, EX_DATAERR, "longer than %d MiB", LINE_MAX_BYTES >> 20);
    else
        readable = event_read(&event, &scan, line->text, &why) == 0;
    if (readable && check_event(&why) > 0 && fsm_take(&fsm, &event, &transition, &why, e) < 0)
        return -1;
    if (worker && readable && event.id.p != NULL)
        answer(&why);
    else if (worker)
        return err_set(e, EX_DATAERR, "line %" PRId64 ": %s", line->number, why.text);
    else if (why.status != 0)
        refused_add(&refused, file, line->number, line->text, why.text);
    else if (transition.n > 0)
        buf_str(&out, (struct str){transition.p, transition.n});
    return 0;
}

static int open_all(const char *path, struct err *e)
{
    struct machine_findings findings = {.wrong = BUF_INIT};
    int got = fsm_load(&machine, path, &findings, e);

    fsm_say(path, &findings);
    machine_findings_free(&findings);
    if (got < 0)
        return err_config(e);
    if (rejects != NULL && refused_open(&refused, rejects, e) < 0)
        return -1;
    if (spool_open(&fsm.store, STORE_CREATE, e) < 0)
        return err_config(e);
    store_stop(fsm.store, proc_forced);
    return 0;
}

static int run_fsm_run(char **operand)
{
    struct feed feed = {.max = LINE_MAX_BYTES,
                        .take = fsm_run_line,
                        .full = fsm_run_full,
                        .commit = fsm_run_commit,
                        .stop = proc_stopping};
    struct err e = ERR_NONE;
    int n = args_count(operand) - 1;

    if (worker && (rejects != NULL || n > 0))
        args_usage("--worker reads what consume writes, and answers: no FILE, no --rejects");
    proc_stage();
    proc_grace(GRACE_MS);
    out_stop_when(proc_forced);
    out_watch();
    if (open_all(operand[0], &e) == 0 && feed_files(&feed, n, operand + 1, &e) == 0)
        fsm_run_commit(&e);
    if (feed.stopped && e.status == 0 && !out_gone())
        e.status = EX_SIGNAL + proc_signal();
    if (e.status == 0) /* reported already */
        e.status = refused.n > 0 ? EX_DATAERR : feed.status;
    fsm_free(&fsm);
    store_close(fsm.store);
    machine_free(&machine);
    event_free(&event);
    js_scan_free(&scan);
    buf_free(&out);
    buf_free(&transition);
    refused_free(&refused);
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
    .run = run_fsm_run,
};

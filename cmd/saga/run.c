/* saga run, saga resume: drive sagas. */
#include "cli/lines.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "saga/verbs.h"

static struct saga_run r = SAGA_VERB_DEFAULTS;
static bool all;
static int worst; /* status of the sagas that did not finish */

#define OPT_JOBS                                                                                   \
    OPT_INT('j', "jobs", &r.jobs, "N", 1, 1024, "run up to N commands at once (default 4)")
#define OPT_KEEP                                                                                   \
    OPT_DURATION(0, "keep", &r.keep_ms, "delete the saga D after it has ended (default 30d)")

static const struct opt run_options[] = {
    OPT_JOBS,
    OPT_DURATION(0, "deadline", &r.deadline_ms, "undo the saga if it is not done after D"),
    OPT_KEEP,
    OPT_END,
};

static const struct opt resume_options[] = {
    OPT_FLAG(0, "all", &all, "all sagas that no process runs, except ended and stuck ones"),
    OPT_JOBS,
    OPT_KEEP,
    OPT_END,
};

static const struct args_rule resume_rules[] = {
    {ARGS_REQUIRED, "ID all", NULL, "resume wants IDs, or --all"},
    {ARGS_ALONE, "ID all", NULL, "--all and IDs exclude each other"},
    {0},
};

/* The event on stdin: one line. */
static int read_saga_event(struct buf *event, struct err *e)
{
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, NULL, 32 << 20, e);

    if (got == 0 && (got = lines_next(in, &line, e)) == LINES_LINE)
        buf_str(event, line.text);
    else if (got >= 0)
        got = lines_stopped(in) ? err_set(e, EX_TEMPFAIL, "stopped while reading stdin")
                                : err_set(e, EX_DATAERR,
                                          got == LINES_END ? "stdin: no event" : "stdin: too long");
    if (got == LINES_LINE && (got = lines_next(in, &line, e)) != LINES_END && got > 0)
        got = err_set(e, EX_DATAERR,
                      "stdin: more than one event; consume gives each a run of its own");
    lines_close(in);
    return got < 0 ? -1 : 0;
}

static int run_saga_run(char **operand)
{
    struct err e = ERR_NONE;
    struct buf event = BUF_INIT;

    wrap_stage();
    if (saga_verb_define(&r.saga, operand[0], &e) < 0 ||
        (read_saga_event(&event, &e) == 0 && spool_open(&r.store, STORE_CREATE, &e) < 0)) {
        err_config(&e);
    } else if (e.status == 0) {
        store_stop(r.store, proc_stopping);
        if (saga_start(&r, (struct str){event.p, event.n}, &e) >= 0) {
            store_stop(r.store, proc_forced); /* the outcome of a step has to be recorded */
            saga_drive(&r, &e);
        }
    }
    buf_free(&event);
    return saga_verb_finish(&r, &e);
}

/* A saga that cannot go on must not hold up the others. */
static void resume(const char *id)
{
    struct err e = ERR_NONE;

    r.elsewhere = false;
    if (saga_load(&r, id, &e) == 0)
        saga_drive(&r, &e);
    saga_run_free(&r);
    if (all && r.elsewhere)
        return; /* another process was faster */
    if (worst == 0)
        worst = e.status;
    say_report(&e);
}

/* Resume a saga unless another process runs it, which is not an error. */
static int resume_idle(const struct doc *doc, void *arg, struct err *e)
{
    struct saga s;

    (void)arg;
    (void)e;
    bool read = saga_read(&s, doc->value);
    bool idle = read && (s.state == SAGA_RUNNING || s.state == SAGA_COMPENSATING) &&
                (s.mark == NULL || !mark_lives(r.store, s.mark));
    if (!read) {
        say_warn("saga %s is damaged", err_quote_text(doc->name).text);
        worst = worst == 0 ? EX_IOERR : worst;
    }
    saga_free(&s);
    if (idle)
        resume(doc->name);
    return proc_stopping();
}

static int run_saga_resume(char **operand)
{
    struct err e = ERR_NONE;

    wrap_stage();
    if (spool_open(&r.store, STORE_WRITE, &e) == 0)
        store_stop(r.store, proc_forced);
    if (e.status == 0 && all)
        doc_each(r.store, SAGA_KIND, resume_idle, NULL, &e);
    else if (e.status == 0)
        for (; *operand != NULL && !proc_stopping(); operand++)
            resume(*operand);
    if (e.status == 0)
        e.status = worst;
    return saga_verb_finish(&r, &e);
}

const struct cmd saga_verb_run = {
    .name = "run",
    .about = "run, or continue, the saga of the event on stdin",
    .usage = {"[-j N] [--deadline D] [--keep D] DEFINITION"},
    .examples = {"saga run order.saga.json < event.json",
                 "consume -g orders -t order.placed --from start -- saga run order.saga.json"},
    .options = run_options,
    .least = 1,
    .most = 1,
    .wants = "DEFINITION",
    .run = run_saga_run,
};

const struct cmd saga_verb_resume = {
    .name = "resume",
    .about = "continue unfinished sagas that no process runs",
    .usage = {"[-j N] [--keep D] ID... | --all"},
    .examples = {"saga resume --all"},
    .options = resume_options,
    .rules = resume_rules,
    .run = run_saga_resume,
};

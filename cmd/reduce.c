/* reduce: compute the state of a subject from its events. */
#include "base/json.h"
#include "base/mem.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "reduce/fold.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *key, *version;
static struct pattern_list types;
static struct clock_point to;
static struct fold_terms terms = {.every = 100};
static int64_t parallel = 1;
static bool all;

static const struct opt options[] = {
    OPT_WORDS('k', "key", &key, "KEY", "the subject to reduce"),
    OPT_FLAG(0, "all", &all, "every subject: print a line for each"),
    OPT_PATTERN('t', "type", &types, "with --all: only subjects with an event of this type"),
    OPT_INT('j', "parallel", &parallel, "N", 1, 256,
            "with --all: run up to N reducers at once (default 1)"),
    OPT_INT(0, "snapshot-every", &terms.every, "N", 0, INT64_MAX,
            "keep a snapshot after N more events (default 100; 0: no snapshots)"),
    OPT_POINT(0, "to", &to, "the state at POINT (a position is included, a time is not)"),
    OPT_INT(0, "at-version", &terms.at_version, "N", 1, INT64_MAX, "the state at version N"),
    OPT_NAME(0, "reducer-version", &version, "V",
             "identify the reducer by V, not by file contents"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "key all", NULL, NULL},
    {ARGS_ALONE, "key all", NULL, NULL},
    {ARGS_NEEDS, "type parallel", "all", NULL},
    {ARGS_NEEDS, "at-version", "key",
     "--at-version goes with -k: each subject has versions of its own"},
    {ARGS_ALONE, "to at-version", NULL, NULL},
    {ARGS_NEEDS, "reducer-version", "REDUCER", "--reducer-version goes with a reducer"},
    {0},
};

static const struct cmd self = {
    .name = "reduce",
    .about = "print the state of a subject, computed from its events",
    .usage = {"-k KEY [OPTION...] [--] [REDUCER [ARG...]]",
              "--all [-t PATTERN]... [-j N] [OPTION...] [--] [REDUCER [ARG...]]"},
    .examples = {"reduce -k order-42", "reduce -k account-7 -- jq -c -n -f account.jq",
                 "reduce -k account-7 --to yesterday -- jq -c -n -f account.jq",
                 "reduce --all -t 'account.#' -j 4 -- ./account-reducer"},
    .options = options,
    .rules = rules,
    .common = "key all type parallel to",
    .wrapper = true,
};

static struct fold_reducer reducer;
static struct fold_subject *subjects, one;
static size_t subjects_n, begun, running_n;
static struct fold **running;
static int worst; /* the worst status of the subjects that failed */
static bool terminal, keeping = true;

/* A signal may end a write to a reader that does not read. */
static int show(const struct fold *f, struct err *e)
{
    struct buf line = BUF_INIT, text = BUF_INIT;
    int got;

    fold_print(f, &line);
    if (terminal)
        js_show(&text, (struct str){line.p, line.n});
    got = out_line(terminal ? (struct str){text.p, text.n} : (struct str){line.p, line.n}, e);
    if (reducer.argv != NULL)
        proc_unblock();
    if (got == 0)
        got = out_flush(e);
    if (reducer.argv != NULL)
        proc_block();
    buf_free(&line);
    buf_free(&text);
    return got;
}

/* Keep a snapshot; the state is right without it. After an error no more is written to the spool:
   see store.h. */
static void keep(struct fold *f)
{
    struct err e = ERR_NONE;

    if (!keeping || fold_keep(f, &e) == 0)
        return;
    say_warn("%s: no snapshot was kept", e.text);
    keeping = false;
}

/* 1 when the subject is done, 0 when it continues; -1 ends the run. A subject that fails does not
   end the run. */
static int step(struct fold *f, struct err *e)
{
    struct err failed = ERR_NONE;
    int got = fold_step(f, &failed);

    if (got > 0 && show(f, e) < 0)
        return -1;
    if (got > 0)
        keep(f);
    if (got >= 0)
        return got;
    if (!all) {
        *e = failed;
        return -1;
    }
    say_report(&failed);
    if (failed.status > worst)
        worst = failed.status;
    return 1;
}

static void reap(void)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        for (size_t i = 0; i < running_n && !fold_ended(running[i], pid, status); i++)
            continue;
}

static void wait_for_any(void)
{
    struct pollfd *fds = mem_alloc((size_t)parallel * FOLD_FDS * sizeof *fds);
    int64_t until = INT64_MAX, now = clock_mono_ms();
    size_t n = 0;

    for (size_t i = 0; i < running_n; i++) {
        n += fold_fds(running[i], fds + n);
        if (fold_deadline(running[i]) < until)
            until = fold_deadline(running[i]);
    }
    proc_wait(fds, n, until == INT64_MAX ? -1 : until < now ? 0 : until - now);
    free(fds);
}

/* Begin as many subjects as there is room for, and advance each by a step. */
static int round_of(struct err *e)
{
    for (; running_n < (size_t)parallel && begun < subjects_n; begun++)
        if (subjects[begun].wanted)
            fold_open(&running[running_n++], &terms, subjects[begun].name,
                      all ? &subjects[begun] : NULL);
    reap();
    for (size_t i = 0; i < running_n;) {
        int got = step(running[i], e);
        if (got < 0)
            return -1;
        if (got == 0) {
            i++;
            continue;
        }
        fold_close(running[i]);
        memmove(running + i, running + i + 1, (--running_n - i) * sizeof *running);
    }
    return 0;
}

static int reduce(struct err *e)
{
    int got = 0;

    running = mem_zero((size_t)parallel, sizeof *running);
    while (got == 0 && (running_n > 0 || begun < subjects_n) && !out_gone()) {
        if ((got = round_of(e)) < 0)
            break;
        if (reducer.argv != NULL && proc_stopping()) {
            proc_kill_all(0, SIGTERM);
            e->status = wrap_stopped();
            got = -1;
        } else if (running_n > 0 && (running_n == (size_t)parallel || begun == subjects_n)) {
            wait_for_any();
        }
    }
    while (running_n > 0)
        fold_close(running[--running_n]);
    free(running);
    return got;
}

/* Fix the end before anything is read. */
static int find(struct err *e)
{
    static const struct clock_point end = {CLOCK_END, 0};
    const struct clock_point *point = args_given("to") ? &to : &end;

    if (log_until(terms.store, point, &terms.last, e) < 0)
        return -1;
    if (all)
        return fold_subjects(terms.store, &types, terms.last, &subjects, &subjects_n, e);
    one = (struct fold_subject){.name = mem_dup(key, strlen(key)), .wanted = true};
    subjects = &one;
    subjects_n = 1;
    return 0;
}

int main(int argc, char **argv)
{
    int first = args_parse(&self, argc, argv);
    struct err e = ERR_NONE;

    terminal = isatty(STDOUT_FILENO) == 1;
    terms.past = args_given("to") || terms.at_version > 0;
    terms.reducer = &reducer;
    if (first < argc) {
        proc_stage();
        out_watch();
        out_stop_when(proc_stopping);
    }
    fold_reducer_open(&reducer, first < argc ? argv + first : NULL, version);
    if (spool_open(&terms.store, terms.past || terms.every == 0 ? STORE_READ : STORE_WRITE, &e) >=
            0 &&
        (reducer.argv == NULL || proc_check(reducer.argv[0], &e) == 0) && find(&e) == 0 &&
        reduce(&e) == 0)
        e.status = worst;
    store_close(terms.store);
    fold_subjects_free(all ? subjects : NULL, all ? subjects_n : 0);
    free(one.name);
    fold_reducer_close(&reducer);
    pattern_free(&types);
    return out_finish(&e);
}

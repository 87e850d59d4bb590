/* reduce: compute the state of a subject from its events. */
#include "base/point.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "reduce/folds.h"
#include "store/log.h"

static const char *key, *version;
static struct pattern_list types;
static struct point to;
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
static int worst; /* the worst status of the subjects that failed */
static bool keeping = true;

/* A signal may end a write to a reader that does not read. */
static int print_subject(const struct fold *f, struct err *e)
{
    struct buf line = BUF_INIT;
    int got;

    fold_print(f, &line);
    got = out_json((struct str){line.p, line.n}, e);
    if (reducer.argv != NULL)
        proc_unblock();
    if (got == 0)
        got = out_flush(e);
    if (reducer.argv != NULL)
        proc_block();
    buf_free(&line);
    return got;
}

/* Keep a snapshot; the state is right without it. After an error no more is written to the spool:
   see store.h. */
static void keep_snapshot(struct fold *f)
{
    struct err e = ERR_NONE;

    if (!keeping || fold_keep(f, &e) == 0)
        return;
    say_warn("%s: no snapshot was kept", e.text);
    keeping = false;
}

static int end_subject(struct fold *f, struct err *e)
{
    if (print_subject(f, e) < 0)
        return -1;
    keep_snapshot(f);
    return 0;
}

/* With --all a subject that fails does not end the run. */
static int fail_subject(const struct err *why, struct err *e)
{
    if (!all) {
        *e = *why;
        return -1;
    }
    say_report(why);
    if (why->status > worst)
        worst = why->status;
    return 0;
}

/* Fix the end before anything is read. */
static int reduce(struct err *e)
{
    struct folds f = {.terms = &terms,
                      .found = all,
                      .parallel = (size_t)parallel,
                      .done = end_subject,
                      .failed = fail_subject};
    static const struct point end = {POINT_END, 0};
    const struct point *point = args_given("to") ? &to : &end;
    struct fold_subject *subjects = NULL, one = {.wanted = true};

    size_t n = 0;
    int got = log_until(terms.store, point, &terms.last, e);

    if (got == 0 && all)
        got = fold_subjects(terms.store, &types, terms.last, &subjects, &n, e);
    one.name = (char *)(uintptr_t)key;
    f.subject = all ? subjects : &one;
    f.subjects = all ? n : 1;
    if (got == 0)
        got = folds_run(&f, e);
    fold_subjects_free(subjects, n);
    return got;
}

int main(int argc, char **argv)
{
    int first = args_parse(&self, argc, argv);
    enum store_mode mode;
    struct err e = ERR_NONE;

    terms.past = args_given("to") || terms.at_version > 0;
    terms.reducer = &reducer;
    if (first < argc) {
        proc_stage();
        out_watch();
        out_stop_when(proc_stopping);
    }
    mode = terms.past || terms.every == 0 ? STORE_READ : STORE_WRITE;
    fold_reducer_open(&reducer, first < argc ? argv + first : NULL, version);
    if (spool_open(&terms.store, mode, &e) == 0 &&
        (reducer.argv == NULL || proc_check(reducer.argv[0], &e) == 0) && reduce(&e) == 0)
        e.status = worst;
    store_close(terms.store);
    fold_reducer_close(&reducer);
    pattern_free(&types);
    return out_finish(&e);
}

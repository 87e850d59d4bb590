#include "reduce/folds.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/out.h"
#include "process/proc.h"
#include "process/wrap.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct running {
    const struct folds *folds;
    struct fold **fold;
    size_t n, begun; /* subjects that run; that have been looked at */
};

static void reap_reducers(const struct running *r)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        for (size_t i = 0; i < r->n && !fold_ended(r->fold[i], pid, status); i++)
            continue;
}

static void wait_for_any(const struct running *r)
{
    struct pollfd *fds = mem_alloc(r->n * FOLD_FDS * sizeof *fds);
    int64_t until = INT64_MAX, now = clock_mono_ms();
    size_t n = 0;

    for (size_t i = 0; i < r->n; i++) {
        n += fold_fds(r->fold[i], fds + n);
        if (fold_deadline(r->fold[i]) < until)
            until = fold_deadline(r->fold[i]);
    }
    proc_wait(fds, n, until == INT64_MAX ? -1 : until < now ? 0 : until - now);
    free(fds);
}

/* 1 when the subject is done, 0 when it continues; -1 ends the run. */
static int step_subject(const struct folds *f, struct fold *fold, struct err *e)
{
    struct err why = ERR_NONE;
    int got = fold_step(fold, &why);

    if (got > 0)
        return f->done(fold, e) < 0 ? -1 : 1;
    if (got < 0)
        return f->failed(&why, e) < 0 ? -1 : 1;
    return 0;
}

/* Begin as many subjects as there is room for, and advance each by a step. */
static int advance_subjects(struct running *r, struct err *e)
{
    const struct folds *f = r->folds;

    for (; r->n < f->parallel && r->begun < f->subjects; r->begun++) {
        const struct fold_subject *s = &f->subject[r->begun];
        if (s->wanted)
            fold_open(&r->fold[r->n++], f->terms, s->name, f->found ? s : NULL);
    }
    reap_reducers(r);
    for (size_t i = 0; i < r->n;) {
        int got = step_subject(f, r->fold[i], e);
        if (got < 0)
            return -1;
        if (got == 0) {
            i++;
            continue;
        }
        fold_close(r->fold[i]);
        memmove(r->fold + i, r->fold + i + 1, (--r->n - i) * sizeof *r->fold);
    }
    return 0;
}

int folds_run(const struct folds *f, struct err *e)
{
    struct running r = {f, mem_zero(f->parallel, sizeof *r.fold), 0, 0};
    int got = 0;

    while (got == 0 && (r.n > 0 || r.begun < f->subjects) && !out_gone()) {
        if ((got = advance_subjects(&r, e)) < 0)
            break;
        if (f->terms->reducer->argv != NULL && proc_stopping()) {
            proc_kill_all(0, SIGTERM);
            e->status = wrap_stopped();
            got = -1;
        } else if (r.n > 0 && (r.n == f->parallel || r.begun == f->subjects)) {
            wait_for_any(&r);
        }
    }
    while (r.n > 0)
        fold_close(r.fold[--r.n]);
    free(r.fold);
    return got;
}

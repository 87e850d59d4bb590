/*
 * The draft: a model of its own, built from the first event on, either to replace the live model or
 * to be compared with it. The next run removes what a kill leaves of it. How a draft stands beside
 * the live model, and how the two are swapped, is the engine's.
 */
#include "base/point.h"
#include "project/model.h"

#include <inttypes.h>
#include <stdio.h>

struct aside {
    struct projection draft;
    struct model live;
    int64_t first; /* position of the log's first event when we began */
};

/* ----------------------------------------------------------------------------------- the draft */

/* Position of the log's first event; 1 when the log is empty. */
static int log_first(struct store *s, int64_t *first, struct err *e)
{
    const struct log_query all = {.lines = true};
    struct log_entry entry;
    struct log *log;

    *first = 1;
    if (log_open(&log, s, &all, e) < 0)
        return -1;
    int got = log_next(log, &entry, e);
    if (got > 0)
        *first = entry.seq;
    log_close(log);
    return got < 0 ? -1 : 0;
}

static int open_draft(struct aside *a, const struct projection_terms *terms, enum model_mode mode,
                      struct err *e)
{
    struct projection *p = &a->draft;

    p->draft = true;
    if (projection_init(p, terms, e) < 0 || claim_take(p, CLAIM_ASIDE, e) < 0 ||
        log_first(terms->spool, &a->first, e) < 0 ||
        model_open(&a->live, model_engine_of(terms->database), terms->database, mode,
                   terms->stopping, e) < 0)
        return -1;
    p->model = (struct model){.engine = a->live.engine, .stopping = terms->stopping};
    return a->live.engine->open_draft(&p->model, &a->live, terms->name, e) < 0 ||
                   projection_begin(p, e) < 0
               ? -1
               : 0;
}

static void close_draft(struct aside *a)
{
    struct projection *p = &a->draft;

    model_rollback(&a->live);
    rules_finalize(&p->statements, &p->model);
    if (p->model.own != NULL) /* while the claim is ours */
        p->model.engine->remove_draft(&p->model, &a->live);
    model_close(&a->live);
    projection_free(p);
}

/* Apply events to the end of the log; fail if its beginning was pruned since we began. */
static int advance_draft(struct aside *a, struct err *e)
{
    struct projection *p = &a->draft;
    int64_t first;

    if (projection_advance(p, e) < 0)
        return -1;
    if (p->terms.stopping())
        return err_set(e, EX_TEMPFAIL, "interrupted: nothing has changed");
    if (log_first(p->terms.spool, &first, e) < 0)
        return -1;
    return first == a->first
               ? 0
               : err_set(e, EX_TEMPFAIL,
                         "events were pruned during the rebuild: nothing has changed");
}

/* ----------------------------------------------------------------------------------------- swap */

/* The live model's position; it stays there while a transaction is open. 1; 0 there is none; -1. */
static int live_position(struct aside *a, int64_t *position, struct err *e)
{
    char sql[100];

    snprintf(sql, sizeof sql, "SELECT position FROM eventutils_projection WHERE name=$1%s",
             a->live.engine->lock_rows);
    return model_int(&a->live, e, position, sql, "t", a->draft.terms.name);
}

/* In a transaction. 1; 0: the draft must catch up; -1. */
static int try_swap(struct aside *a, struct err *e)
{
    const struct model_engine *engine = a->live.engine;
    const struct point point = {POINT_END, 0};
    const char *name = a->draft.terms.name;
    int64_t position = 0, end;

    if (model_tables(&a->live, e) < 0 || live_position(a, &position, e) < 0 ||
        log_point(a->draft.terms.spool, &point, &end, e) < 0)
        return -1;
    if (position > a->draft.position && position < end) /* beyond the end is another log's */
        return 0;
    return engine->collides(&a->live, name, buf_text(&a->draft.objects), e) < 0
               ? -1
               : engine->swap(&a->live, &a->draft.model, name, e);
}

static int swap(struct aside *a, struct err *e)
{
    int got = model_begin(&a->live, e) < 0 ? -1 : try_swap(a, e);

    if (got > 0)
        return model_commit(&a->live, e) < 0 ? -1 : 1;
    model_rollback(&a->live);
    return got;
}

static int check_complete(const struct aside *a, bool incomplete, struct err *e)
{
    if (incomplete || a->first <= 1)
        return 0;
    return err_set(e, EX_DATAERR,
                   "the log begins at seq %" PRId64 ": a new model would lack the pruned "
                   "events; --force builds it anyway",
                   a->first);
}

/* Report what would make the swap fail before doing the work. */
static int check_tables(struct aside *a, struct err *e)
{
    if (model_begin(&a->live, e) < 0)
        return -1;
    int got = model_tables(&a->live, e) < 0 ||
                      a->live.engine->collides(&a->live, a->draft.terms.name,
                                               buf_text(&a->draft.objects), e) < 0
                  ? -1
                  : 0;
    if (got == 0)
        return model_commit(&a->live, e);
    model_rollback(&a->live);
    return -1;
}

int projection_rebuild(const struct projection_terms *terms, bool incomplete, int64_t *applied,
                       struct err *e)
{
    struct aside a = {.first = 0};
    int got = open_draft(&a, terms, MODEL_CREATE, e);

    if (got == 0 && (got = claim_name(&a.draft, &a.live, e)) == 0 &&
        (got = check_complete(&a, incomplete, e)) == 0 && (got = check_tables(&a, e)) == 0)
        do {
            got = advance_draft(&a, e) < 0 ? -1 : swap(&a, e);
        } while (got == 0);
    if (got > 0 && (got = claim_group(&a.draft, e)) == 0)
        got = group_pass(terms->spool, terms->name, a.draft.position, NULL, 0, e);
    *applied = a.draft.applied;
    close_draft(&a);
    return got;
}

/* --------------------------------------------------------------------------------------- verify */

/* Bring the draft to where the model is. */
static int follow_model(struct aside *a, struct err *e)
{
    struct projection *p = &a->draft;
    int got = live_position(a, &p->until, e);

    if (got == 0)
        return err_set(e, EX_NOINPUT, "%s: there is no projection %s", a->live.name,
                       err_quote_text(p->terms.name).text);
    if (got < 0 || p->until == 0)
        return got < 0 ? -1 : 0;
    log_close(p->log); /* this log was opened to end at the old position */
    p->log = NULL;
    return advance_draft(a, e);
}

/* Build most of the draft without a lock on the model, then the rest while that stays where it is.
 */
static int meet(struct aside *a, struct err *e)
{
    int got = a->live.engine->is_there(&a->live, e);

    if (got == 0)
        return err_set(e, EX_NOINPUT, "%s: there is no projection in it", a->live.name);
    return got < 0 || follow_model(a, e) < 0 || a->live.engine->hold(&a->live, e) < 0 ||
                   follow_model(a, e) < 0
               ? -1
               : 0;
}

int64_t projection_verify(const struct projection_terms *terms,
                          int (*f)(json_t *row, void *arg, struct err *e), void *arg, struct err *e)
{
    struct aside a = {.first = 0};
    struct verify v = {f, arg, 0};
    int got = open_draft(&a, terms, MODEL_VERIFY, e);

    if (got == 0)
        got = meet(&a, e);
    if (got == 0)
        got = a.live.engine->compare(&a.live, &a.draft.model, &v, e);
    close_draft(&a);
    return got < 0 ? -1 : v.found;
}

/*
 * A projection: open it, and apply events.
 *
 * An event that fails is met twice. The first time the whole transaction is rolled back, because a
 * statement or a trigger may have ended it in any case. Then the events before it are applied
 * again, and the event itself is set aside or ends the run. So events that succeed pay nothing for
 * this: a savepoint for each event would take about as long as a small update.
 */
#include "project/model.h"

#include "base/mem.h"
#include "base/point.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TELL_EVENTS 5000 /* tell the spool after applying this many */
#define PASS_EVENTS 1000 /* commit the position after passing this many that do not match */

/* ------------------------------------------------------------------------------------ the rows */

static int add_row(struct projection *p, struct err *e)
{
    const struct pattern_list *types = &p->terms.rules->types;
    struct buf json = BUF_INIT;

    for (size_t i = 0; i < types->n; i++) {
        buf_char(&json, i == 0 ? '[' : ',');
        js_quote(&json, str_of(types->item[i]));
    }
    buf_char(&json, ']');
    int got = model_run(&p->model, e,
                        "INSERT INTO eventutils_projection(name,hash,types,objects,position,built,"
                        "updated) VALUES($1,$2,$3,$4,0,$5,$5)",
                        "ttsti", p->terms.name, p->terms.rules->hash, (struct str){json.p, json.n},
                        buf_text(&p->objects), clock_now_ms());
    buf_free(&json);
    return got < 0 ? -1 : 0;
}

/* In a transaction: the projection's position. 1; 0: no row; -1, also when the file has changed. */
static int read_row(struct projection *p, struct err *e)
{
    char sql[120];

    snprintf(sql, sizeof sql, "SELECT hash,position FROM eventutils_projection WHERE name=$1%s",
             p->model.engine->lock_rows);
    struct model_rows *q = model_query(&p->model, e, sql, "t", p->terms.name);
    int got = q == NULL ? -1 : model_row(&p->model, q, e);
    if (got > 0 && !str_is(model_cell(&p->model, q, 0), p->terms.rules->hash))
        got = err_set(e, EX_DATAERR,
                      "%s: projection %s was built from another %s: rebuild it with --rebuild",
                      p->model.name, err_quote_text(p->terms.name).text, p->terms.rules->file);
    if (got > 0)
        p->position = model_cell_int(&p->model, q, 1);
    model_done(&p->model, q);
    return got;
}

static int make_tables(struct projection *p, struct err *e)
{
    struct model *m = &p->model;
    const struct rules *rules = p->terms.rules;

    if (claim_found(p, false, e) < 0 ||
        m->engine->collides(m, p->terms.name, buf_text(&p->objects), e) < 0 ||
        rules_init(m, rules, e) < 0 ||
        (m->engine->made != NULL && m->engine->made(m, rules, &p->objects, e) < 0))
        return -1;
    return add_row(p, e);
}

static int find_or_make(struct projection *p, struct err *e)
{
    struct model *m = &p->model;
    int got, made = 0;

    if (model_begin(m, e) < 0)
        return -1;
    got = model_tables(m, e);
    if (got == 0 && (got = read_row(p, e)) == 0)
        got = made = make_tables(p, e) < 0 ? -1 : 1;
    if (got >= 0)
        got = rules_prepare(&p->statements, m, p->terms.rules, e);
    if (got == 0 && made > 0 && m->engine->prepared != NULL)
        got = m->engine->prepared(m, p->terms.rules, buf_text(&p->objects), e);
    if (got == 0 && made > 0)
        return model_commit(m, e);
    model_rollback(m);
    return got;
}

/* ---------------------------------------------------------------------------------- open, close */

/* Does the log have another event at our position than the one that we applied there? 1; 0, also
   when that event has been pruned; -1. */
static int other_event(struct projection *p, struct err *e)
{
    const struct log_query here = {.first = p->position, .last = p->position};
    struct buf id = BUF_INIT;
    struct log_entry entry = {.seq = 0};
    struct log *log = NULL;

    int got =
        model_text(&p->model, e, &id, "SELECT event_id FROM eventutils_projection WHERE name=$1",
                   "t", p->terms.name);
    if (got > 0)
        got = log_open(&log, p->terms.spool, &here, e) < 0 ? -1 : log_next(log, &entry, e);
    if (got > 0)
        got = !str_eq(entry.id, (struct str){id.p, id.n});
    log_close(log);
    buf_free(&id);
    return got;
}

/* A log that ends before our position is a different log, too. */
static int check_log(struct projection *p, struct err *e)
{
    const struct point point = {POINT_END, 0};
    int64_t end;
    int got = log_point(p->terms.spool, &point, &end, e);

    if (got == 0 && p->position > 0)
        got = p->position >= end ? 1 : other_event(p, e);
    if (got > 0)
        err_set(e, EX_DATAERR,
                "%s: projection %s is at seq %" PRId64 " of another log than %s, or of a newer "
                "copy: rebuild it with --rebuild",
                p->model.name, err_quote_text(p->terms.name).text, p->position,
                store_name(p->terms.spool));
    return got == 0 ? 0 : -1;
}

/* The position tells whether a commit whose answer was lost has taken place. */
static bool recovered(struct projection *p, struct err *e)
{
    if (p->model.engine->recover == NULL || p->model.engine->recover(&p->model, e) < 0)
        return false;
    err_clear(e);
    return true;
}

int projection_init(struct projection *p, const struct projection_terms *terms, struct err *e)
{
    p->terms = *terms;
    p->until = INT64_MAX;
    const struct model_engine *engine = model_engine_of(terms->database);
    p->name = engine->name(terms->database);
    return engine->check == NULL ? 0 : engine->check(engine, terms->rules, &p->objects, e);
}

int projection_begin(struct projection *p, struct err *e)
{
    while (find_or_make(p, e) < 0) {
        if (!recovered(p, e))
            return -1;
        rules_finalize(&p->statements, &p->model);
    }
    return check_log(p, e);
}

void projection_free(struct projection *p)
{
    log_close(p->log);
    rules_finalize(&p->statements, &p->model);
    model_close(&p->model);
    if (p->mark[0] != '\0')
        mark_drop(p->terms.spool, p->mark);
    for (size_t i = 0; i < p->passed_n; i++)
        free(p->passed[i].type);
    free(p->passed);
    free(p->fresh_of);
    buf_free(&p->objects);
    buf_free(&p->last_id);
    event_free(&p->event);
    js_scan_free(&p->scan);
    free(p->name);
    free(p->elsewhere);
}

int projection_open(struct projection **out, const struct projection_terms *terms, struct err *e)
{
    struct projection *p = mem_zero(1, sizeof *p);

    *out = p;
    if (projection_init(p, terms, e) == 0 && claim_take(p, CLAIM_WORK, e) == 0 &&
        model_open(&p->model, model_engine_of(terms->database), terms->database, MODEL_CREATE,
                   terms->stopping, e) == 0 &&
        projection_begin(p, e) == 0 && claim_group(p, e) == 0)
        return p->model.created;
    projection_close(p);
    *out = NULL;
    return -1;
}

void projection_close(struct projection *p)
{
    if (p == NULL)
        return;
    projection_free(p);
    free(p);
}

/* ------------------------------------------------------------------------------------ an event */

/* AGAIN: the transaction was rolled back; read the log again from the position. */
enum fate { FAILED = -1, APPLIED, AGAIN, ENDED };

static void describe_fault(struct projection *p, const struct log_entry *entry)
{
    const struct statement *s = p->fault.statement;

    err_clear(&p->bad);
    if (s == NULL)
        err_set(&p->bad, p->fault.why.status, "seq %" PRId64 ": %s", entry->seq, p->fault.why.text);
    else
        err_set(&p->bad, EX_DATAERR, "%s: line %" PRId64 ": seq %" PRId64 " %s %s: %s, in %s",
                p->terms.rules->file, s->line, entry->seq,
                err_quote(entry->type.p, entry->type.n).text,
                err_quote(entry->id.p, entry->id.n).text, p->fault.why.text,
                err_quote_text(s->sql).text);
}

static int put_aside(struct projection *p, const struct log_entry *entry, struct err *e)
{
    const struct statement *s = p->fault.statement;

    return model_run(&p->model, e,
                     "INSERT INTO eventutils_projection_dead(name,seq,id,type,subject,time,"
                     "statement,error,event) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9)",
                     "tisssitts", p->terms.name, entry->seq, entry->id, entry->type, entry->subject,
                     clock_now_ms(), s == NULL ? NULL : s->sql, p->bad.text,
                     entry->damaged ? (struct str){NULL, 0} : entry->line);
}

/* No event is at fault. */
static int fail_at_statement(const struct projection *p, struct err *e)
{
    const struct statement *s = p->fault.statement;

    return e->status == EX_DATAERR && s != NULL ? statement_at_line(p->terms.rules, s->line, e)
                                                : -1;
}

/* 0; 1: an event failed, which is remembered; -1. */
static int run_statements(struct projection *p, const struct log_entry *entry, struct err *e)
{
    struct err why = ERR_NONE;
    int got;

    if (entry->damaged)
        err_set(&why, EX_IOERR, "the event is damaged");
    else if (p->statements.parse)
        event_read(&p->event, &p->scan, entry->line, &why);
    if (why.status != 0) {
        why.status = entry->damaged ? EX_IOERR : EX_DATAERR;
        p->fault = (struct fault){entry->seq, NULL, why};
        return 1;
    }
    for (size_t i = 0; i < p->statements.n; i++) {
        struct statement *s = &p->statements.item[i];
        if (!pattern_any(&s->section->types, entry->type))
            continue;
        got = p->model.engine->run(&p->model, s, entry, &p->event, &p->fault, e);
        if (got != 0)
            return got < 0 ? fail_at_statement(p, e) : got;
    }
    return 0;
}

/* ------------------------------------------------------------------------------- a transaction */

static int write_position(struct projection *p, int64_t seq, bool stops, struct err *e)
{
    struct str id = {seq == p->position ? NULL : p->last_id.p, p->last_id.n};

    return model_run(&p->model, e,
                     "UPDATE eventutils_projection SET position=$1,event_id=coalesce($2,event_id),"
                     "updated=$3,error=$4,error_seq=nullif(CAST($5 AS BIGINT),0) WHERE name=$6",
                     "isitit", seq, id, clock_now_ms(), stops ? p->bad.text : NULL,
                     stops ? p->fault.seq : 0, p->terms.name);
}

/* Check that the row is still ours and where we left it: a rebuild may have swapped the model. */
static enum fate check_place(struct projection *p, struct err *e)
{
    int64_t before = p->position;
    int got = read_row(p, e);

    if (got > 0)
        return p->position == before ? APPLIED : AGAIN;
    if (got == 0)
        err_set(e, EX_TEMPFAIL, "%s: projection %s was removed by another process", p->model.name,
                err_quote_text(p->terms.name).text);
    else if (e->status == EX_DATAERR)
        e->status = EX_TEMPFAIL; /* it was right when this run began */
    return FAILED;
}

static void note_last(struct projection *p, const struct log_entry *entry)
{
    buf_reset(&p->last_id);
    buf_str(&p->last_id, entry->id);
}

/* Count an event of a type, to be reported to the spool once it is committed. */
static void count_type(struct projection *p, struct str type)
{
    size_t i = 0;

    while (i < p->passed_n && !str_is(type, p->passed[i].type))
        i++;
    if (i == p->passed_room) {
        p->passed_room = i == 0 ? 8 : 2 * i;
        p->passed = mem_grow(p->passed, p->passed_room, sizeof *p->passed);
        p->fresh_of = mem_grow(p->fresh_of, p->passed_room, sizeof *p->fresh_of);
    }
    if (i == p->passed_n) {
        p->passed[p->passed_n++] = (struct group_passed){mem_dup(type.p, type.n), 0};
        p->fresh_of[i] = 0;
    }
    p->fresh_of[i]++;
}

/* The batch that was counted is committed, or was rolled back. */
static void close_counts(struct projection *p, bool committed)
{
    for (size_t i = 0; i < p->passed_n; i++) {
        if (committed)
            p->passed[i].done += p->fresh_of[i];
        p->fresh_of[i] = 0;
    }
}

/* Apply events from entry on, which has been read. Sets *last to the last event handled. */
static enum fate apply_some(struct projection *p, struct log_entry *entry, int64_t *last,
                            struct err *e)
{
    const struct model_engine *engine = p->model.engine;
    int64_t until_ms = clock_mono_ms() + engine->batch_ms;
    enum fate fate = APPLIED;
    int got = 1;

    for (int n = 0; got > 0; got = log_next(p->log, entry, e)) {
        bool bad = entry->seq == p->fault.seq;
        if (bad)
            describe_fault(p, entry);
        if (bad && !p->terms.set_aside) {
            fate = ENDED;
            break;
        }
        got = bad ? put_aside(p, entry, e) : run_statements(p, entry, e);
        if (got != 0)
            return got > 0 ? AGAIN : FAILED;
        *last = entry->seq;
        p->fresh++;
        if (!bad && !p->draft)
            count_type(p, entry->type);
        note_last(p, entry);
        if (bad || ++n == engine->batch_events || clock_mono_ms() >= until_ms)
            break;
    }
    if (got < 0)
        return FAILED;
    got = engine->flush == NULL ? 0 : engine->flush(&p->model, &p->fault, e);
    if (got < 0)
        fail_at_statement(p, e);
    return got > 0 ? AGAIN : got < 0 ? FAILED : fate;
}

static enum fate apply_batch(struct projection *p, struct log_entry *entry, struct err *e)
{
    int64_t last = p->position;
    enum fate fate;

    p->fresh = 0;
    close_counts(p, false);
    if (model_begin(&p->model, e) < 0)
        return FAILED;
    fate = check_place(p, e);
    if (fate == APPLIED)
        fate = apply_some(p, entry, &last, e);
    if (fate == FAILED || fate == AGAIN) {
        model_rollback(&p->model);
        return fate;
    }
    if (write_position(p, last, fate == ENDED, e) < 0) {
        model_rollback(&p->model);
        return FAILED;
    }
    if (model_commit(&p->model, e) < 0)
        return FAILED;
    p->position = last;
    p->applied += p->fresh;
    close_counts(p, true);
    if (fate == APPLIED && last == p->fault.seq) { /* it was the last of the batch */
        p->fault.seq = 0;
        if (p->terms.aside != NULL)
            p->terms.aside(entry, &p->bad);
    }
    return fate;
}

/* ------------------------------------------------------------------------------------- advance */

static int open_log(struct projection *p, struct err *e)
{
    const struct log_query query = {.first = log_after(p->position),
                                    .last = p->until == INT64_MAX ? 0 : p->until,
                                    .types = p->terms.rules->types};

    log_close(p->log);
    p->log = NULL;
    return log_open(&p->log, p->terms.spool, &query, e);
}

static int tell_spool(struct projection *p, int64_t seen, struct err *e)
{
    if (p->draft || seen <= p->told)
        return 0;
    p->told = seen;
    if (group_pass(p->terms.spool, p->terms.name, seen, p->passed, p->passed_n, e) < 0)
        return -1;
    for (size_t i = 0; i < p->passed_n; i++)
        p->passed[i].done = 0;
    return 0;
}

/* Nothing matches up to seq. Passing many events is worth a commit, or the next run would read them
   all again. A draft always commits, because it is compared by its position. */
static int pass(struct projection *p, int64_t seq, struct err *e)
{
    const struct log_query here = {.first = seq, .last = seq};
    struct log_entry entry;
    struct log *log;

    if (seq - p->position < (p->draft ? 1 : PASS_EVENTS))
        return 0;
    if (log_open(&log, p->terms.spool, &here, e) < 0)
        return -1;
    int got = log_next(log, &entry, e);
    if (got > 0)
        note_last(p, &entry);
    log_close(log);
    if (got <= 0) /* it has been pruned: the next run passes it */
        return got;
    if (model_begin(&p->model, e) < 0)
        return -1;
    enum fate fate = check_place(p, e);
    if (fate == APPLIED && write_position(p, seq, false, e) == 0) {
        got = model_commit(&p->model, e);
        p->position = got < 0 ? p->position : seq;
        return got;
    }
    model_rollback(&p->model);
    return fate == AGAIN ? open_log(p, e) : -1;
}

static void give_way(const struct projection *p)
{
    const struct timespec pause = {0, 300000};

    if (!p->draft)
        nanosleep(&pause, NULL);
}

/* Report an applied batch to the spool and the caller. */
static int after_batch(struct projection *p, int64_t last, struct err *e)
{
    if (p->position - p->told >= TELL_EVENTS && tell_spool(p, p->position, e) < 0)
        return -1;
    if (p->terms.progress != NULL)
        p->terms.progress(p->position, last);
    if (p->position < last)
        give_way(p);
    return 0;
}

int projection_advance(struct projection *p, struct err *e)
{
    const struct point end = {POINT_END, 0};
    struct log_entry entry;
    int64_t last;
    int got = p->log == NULL ? open_log(p, e) : 0;

    if (got < 0 || log_point(p->terms.spool, &end, &last, e) < 0)
        return -1;
    last = log_before(last) < p->until ? log_before(last) : p->until;
    while (!p->terms.stopping() && (got = log_next(p->log, &entry, e)) > 0) {
        enum fate fate = apply_batch(p, &entry, e);
        if (fate == FAILED && recovered(p, e))
            fate = AGAIN;
        if (fate == FAILED && p->model.stopped) {
            err_clear(e);
            break;
        }
        if (fate == FAILED || (fate == APPLIED && after_batch(p, last, e) < 0) ||
            (fate == AGAIN && open_log(p, e) < 0))
            return -1;
        if (fate == ENDED) {
            struct err ignored = ERR_NONE;
            tell_spool(p, p->position, &ignored);
            *e = p->bad;
            return -1;
        }
    }
    if (got < 0)
        return -1;
    if (!p->terms.stopping() && pass(p, last, e) < 0) {
        if (!p->model.stopped && !recovered(p, e))
            return -1;
        err_clear(e); /* the next run passes them */
    }
    if (last < p->position || p->terms.stopping())
        last = p->position;
    return tell_spool(p, last, e);
}

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
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_EVENTS 5000
#define BATCH_MS 250     /* other writers usually wait up to five seconds */
#define PASS_EVENTS 1000 /* commit the position after passing this many that do not match */

/* ------------------------------------------------------------------------------------ the rows */

int model_tables(struct model *m, struct err *e)
{
    return model_run(m, e,
                     "CREATE TABLE IF NOT EXISTS eventutils_projection(name TEXT PRIMARY KEY, hash "
                     "TEXT NOT NULL, types TEXT NOT NULL, objects TEXT NOT NULL, position INTEGER "
                     "NOT NULL, event_id TEXT, built INTEGER NOT NULL, updated INTEGER NOT NULL, "
                     "error TEXT, error_seq INTEGER)",
                     "") < 0 ||
                   model_run(m, e,
                             "CREATE TABLE IF NOT EXISTS eventutils_projection_dead(name TEXT NOT "
                             "NULL, seq INTEGER NOT NULL, id TEXT, type TEXT, subject TEXT, time "
                             "INTEGER NOT NULL, statement TEXT, error TEXT NOT NULL, event TEXT, "
                             "PRIMARY KEY(name, seq))",
                             "") < 0
               ? -1
               : 0;
}

int model_collides(struct model *m, const char *name, const char *objects, struct err *e)
{
    struct buf table = BUF_INIT, owner = BUF_INIT;
    int got =
        model_text(m, e, &table,
                   "SELECT s.name FROM json_each(?1) o JOIN sqlite_schema s ON s.name=o.value "
                   "COLLATE NOCASE WHERE NOT EXISTS(SELECT 1 FROM eventutils_projection p, "
                   "json_each(p.objects) j WHERE p.name=?2 AND j.value=o.value COLLATE NOCASE)",
                   "tt", objects, name);

    if (got > 0)
        got = model_text(m, e, &owner,
                         "SELECT p.name FROM eventutils_projection p, json_each(p.objects) j "
                         "WHERE j.value=? COLLATE NOCASE",
                         "t", table.p) < 0
                  ? -1
                  : 1;
    if (got > 0 && owner.n > 0)
        err_set(e, EX_DATAERR, "%s: table %s is projection %s's: give it another name", m->path,
                err_quote(table.p, table.n).text, err_quote(owner.p, owner.n).text);
    else if (got > 0)
        err_set(e, EX_DATAERR,
                "%s: table %s exists already, and is not this projection's: give it another name",
                m->path, err_quote(table.p, table.n).text);
    buf_free(&table);
    buf_free(&owner);
    return got == 0 ? 0 : -1;
}

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
                        "updated) VALUES(?1,?2,?3,?4,0,?5,?5)",
                        "ttsti", p->terms.name, p->terms.rules->hash, (struct str){json.p, json.n},
                        buf_text(&p->objects), clock_now_ms());
    buf_free(&json);
    return got < 0 ? -1 : 0;
}

/* In a transaction: the projection's position. 1; 0: no row; -1, also when the file has changed. */
static int read_row(struct projection *p, struct err *e)
{
    struct buf hash = BUF_INIT;
    int got = model_text(&p->model, e, &hash, "SELECT hash FROM eventutils_projection WHERE name=?",
                         "t", p->terms.name);

    if (got > 0 && strcmp(hash.p, p->terms.rules->hash) != 0)
        got = err_set(e, EX_DATAERR,
                      "%s: projection %s was built from another %s: rebuild it with --rebuild",
                      p->model.path, err_quote_text(p->terms.name).text, p->terms.rules->file);
    if (got > 0)
        got = model_int(&p->model, e, &p->position,
                        "SELECT position FROM eventutils_projection WHERE name=?", "t",
                        p->terms.name);
    buf_free(&hash);
    return got;
}

static int find_or_make(struct projection *p, struct err *e)
{
    int got;

    if (model_begin(&p->model, e) < 0)
        return -1;
    got = model_tables(&p->model, e);
    if (got == 0 && (got = read_row(p, e)) == 0)
        got = model_collides(&p->model, p->terms.name, buf_text(&p->objects), e) < 0 ||
                      rules_init(&p->model, p->terms.rules, e) < 0 || add_row(p, e) < 0
                  ? -1
                  : 0;
    if (got >= 0)
        got = rules_prepare(&p->statements, &p->model, p->terms.rules, e);
    if (got >= 0)
        return model_commit(&p->model, e);
    model_rollback(&p->model);
    return -1;
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
        model_text(&p->model, e, &id, "SELECT event_id FROM eventutils_projection WHERE name=?",
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
                p->model.path, err_quote_text(p->terms.name).text, p->position,
                store_name(p->terms.spool));
    return got == 0 ? 0 : -1;
}

int projection_init(struct projection *p, const struct projection_terms *terms, struct err *e)
{
    p->terms = *terms;
    p->until = INT64_MAX;
    p->path = model_path(terms->database);
    return rules_check(terms->rules, &p->objects, e);
}

int projection_begin(struct projection *p, const char *path, struct err *e)
{
    if (model_open(&p->model, path, MODEL_CREATE, p->terms.stopping, e) < 0 ||
        find_or_make(p, e) < 0 || check_log(p, e) < 0)
        return -1;
    return p->model.created;
}

void projection_free(struct projection *p)
{
    log_close(p->log);
    rules_finalize(&p->statements);
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
    free(p->path);
}

int projection_open(struct projection **out, const struct projection_terms *terms, struct err *e)
{
    struct projection *p = mem_zero(1, sizeof *p);
    int got = -1;

    *out = p;
    if (projection_init(p, terms, e) == 0 && claim_take(p, CLAIM_WORK, e) == 0 &&
        (got = projection_begin(p, p->path, e)) >= 0 && claim_group(p, e) < 0)
        got = -1;
    if (got >= 0)
        return got;
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

static struct err_quoted sql_of(const struct statement *s)
{
    return err_quote_text(sqlite3_sql(s->stmt));
}

static void remember_bad(struct projection *p, const struct log_entry *entry,
                         const struct statement *s, const struct err *why)
{
    p->bad_seq = entry->seq;
    p->bad_sql = s == NULL ? NULL : sqlite3_sql(s->stmt);
    err_clear(&p->bad);
    if (s == NULL)
        err_set(&p->bad, entry->damaged ? EX_IOERR : EX_DATAERR, "seq %" PRId64 ": %s", entry->seq,
                why->text);
    else
        err_set(&p->bad, EX_DATAERR, "%s: line %" PRId64 ": seq %" PRId64 " %s %s: %s, in %s",
                p->terms.rules->file, s->line, entry->seq,
                err_quote(entry->type.p, entry->type.n).text,
                err_quote(entry->id.p, entry->id.n).text, why->text, sql_of(s).text);
}

static int put_aside(struct projection *p, const struct log_entry *entry, struct err *e)
{
    if (model_run(&p->model, e,
                  "INSERT INTO eventutils_projection_dead(name,seq,id,type,subject,time,statement,"
                  "error,event) VALUES(?,?,?,?,?,?,?,?,?)",
                  "tisssitts", p->terms.name, entry->seq, entry->id, entry->type, entry->subject,
                  clock_now_ms(), p->bad_sql, p->bad.text,
                  entry->damaged ? (struct str){NULL, 0} : entry->line) < 0)
        return -1;
    return 0;
}

/* 0; 1: the event failed, which is remembered; -1. */
static int run_statements(struct projection *p, const struct log_entry *entry, struct err *e)
{
    struct err why = ERR_NONE;
    int got;

    if (entry->damaged)
        err_set(&why, EX_IOERR, "the event is damaged");
    else if (p->statements.parse)
        event_read(&p->event, &p->scan, entry->line, &why);
    if (why.status != 0) {
        remember_bad(p, entry, NULL, &why);
        return 1;
    }
    for (size_t i = 0; i < p->statements.n; i++) {
        struct statement *s = &p->statements.item[i];
        if (!pattern_any(&s->section->types, entry->type))
            continue;
        got = statement_run(s, &p->model, p->terms.rules, entry, &p->event, &why, e);
        if (got > 0)
            remember_bad(p, entry, s, &why);
        if (got != 0)
            return got;
    }
    return 0;
}

/* ------------------------------------------------------------------------------- a transaction */

static int write_position(struct projection *p, int64_t seq, bool stops, struct err *e)
{
    struct str id = {seq == p->position ? NULL : p->last_id.p, p->last_id.n};

    return model_run(&p->model, e,
                     "UPDATE eventutils_projection SET position=?,event_id=coalesce(?,event_id),"
                     "updated=?,error=?,error_seq=nullif(?,0) WHERE name=?",
                     "isitit", seq, id, clock_now_ms(), stops ? p->bad.text : NULL,
                     stops ? p->bad_seq : 0, p->terms.name) < 0
               ? -1
               : 0;
}

/* Check that the row is still ours and where we left it: a rebuild may have swapped the model. */
static enum fate check_place(struct projection *p, struct err *e)
{
    int64_t before = p->position;
    int got = read_row(p, e);

    if (got > 0)
        return p->position == before ? APPLIED : AGAIN;
    if (got == 0)
        err_set(e, EX_TEMPFAIL, "%s: projection %s was removed by another process", p->model.path,
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
    int64_t until_ms = clock_mono_ms() + BATCH_MS;
    int got = 1;

    for (int n = 0; got > 0; got = log_next(p->log, entry, e)) {
        bool bad = entry->seq == p->bad_seq;
        if (bad && !p->terms.set_aside)
            return ENDED;
        got = bad ? put_aside(p, entry, e) : run_statements(p, entry, e);
        if (got != 0)
            return got > 0 ? AGAIN : FAILED;
        *last = entry->seq;
        p->fresh++;
        if (!bad && !p->draft)
            count_type(p, entry->type);
        note_last(p, entry);
        if (bad || ++n == BATCH_EVENTS || clock_mono_ms() >= until_ms)
            break;
    }
    return got < 0 ? FAILED : APPLIED;
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
    if (fate == APPLIED && last == p->bad_seq) { /* it was the last of the batch */
        p->bad_seq = 0;
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
    if (p->position - p->told >= BATCH_EVENTS && tell_spool(p, p->position, e) < 0)
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
        if (!p->model.stopped)
            return -1;
        err_clear(e); /* the next run passes them */
    }
    if (last < p->position || p->terms.stopping())
        last = p->position;
    return tell_spool(p, last, e);
}

/* A model in any database: our statements in it, and our two tables. */
#include "project/model.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int model_open(struct model *m, const struct model_engine *engine, const char *database,
               enum model_mode mode, bool (*stopping)(void), struct err *e)
{
    *m = (struct model){.engine = engine, .name = engine->name(database), .stopping = stopping};
    return engine->open(m, mode, e);
}

void model_close(struct model *m)
{
    if (m->engine != NULL)
        m->engine->close(m);
    free(m->name);
    *m = (struct model){.engine = NULL};
}

/* ----------------------------------------------------------------------------------- statements */

struct model_rows *model_query(struct model *m, struct err *e, const char *sql, const char *types,
                               ...)
{
    va_list ap;
    va_start(ap, types);
    struct model_rows *q = m->engine->query(m, e, sql, types, ap);
    va_end(ap);
    return q;
}

int model_row(struct model *m, struct model_rows *q, struct err *e)
{
    return m->engine->row(m, q, e);
}

struct str model_cell(struct model *m, struct model_rows *q, int column)
{
    return m->engine->text(q, column);
}

int64_t model_cell_int(struct model *m, struct model_rows *q, int column)
{
    struct str text = m->engine->text(q, column);
    return text.p == NULL ? 0 : strtoll(text.p, NULL, 10); /* behind it stands a NUL */
}

void model_done(struct model *m, struct model_rows *q)
{
    if (q != NULL)
        m->engine->done(q);
}

int model_run(struct model *m, struct err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    int got = -1;

    va_start(ap, types);
    struct model_rows *q = m->engine->query(m, e, sql, types, ap);
    va_end(ap);
    while (q != NULL && (got = model_row(m, q, e)) > 0)
        continue;
    model_done(m, q);
    return got;
}

/* 1: a value in the first row; 0: no row, or NULL; -1. */
static int first_value(struct model *m, struct model_rows *q, struct err *e)
{
    int got = q == NULL ? -1 : model_row(m, q, e);

    return got > 0 && model_cell(m, q, 0).p == NULL ? 0 : got;
}

int model_int(struct model *m, struct err *e, int64_t *out, const char *sql, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    struct model_rows *q = m->engine->query(m, e, sql, types, ap);
    va_end(ap);
    int got = first_value(m, q, e);
    if (got > 0)
        *out = model_cell_int(m, q, 0);
    model_done(m, q);
    return got;
}

int model_text(struct model *m, struct err *e, struct buf *out, const char *sql, const char *types,
               ...)
{
    va_list ap;

    va_start(ap, types);
    struct model_rows *q = m->engine->query(m, e, sql, types, ap);
    va_end(ap);
    int got = first_value(m, q, e);
    if (got > 0) {
        buf_str(out, model_cell(m, q, 0));
        buf_text(out);
    }
    model_done(m, q);
    return got;
}

int model_collect(struct model *m, struct err *e, struct buf *out, const char *sql,
                  const char *parameter)
{
    struct model_rows *q = model_query(m, e, sql, parameter == NULL ? "" : "t", parameter);
    int got = q == NULL ? -1 : 0;

    while (got >= 0 && (got = model_row(m, q, e)) > 0) {
        buf_str(out, model_cell(m, q, 0));
        buf_char(out, '\0');
    }
    model_done(m, q);
    return got;
}

/* --------------------------------------------------------------------------------- transactions */

int model_begin(struct model *m, struct err *e)
{
    return m->engine->begin(m, e);
}

int model_commit(struct model *m, struct err *e)
{
    return m->engine->commit(m, e);
}

void model_rollback(struct model *m)
{
    if (m->own != NULL)
        m->engine->rollback(m);
}

/* ----------------------------------------------------------------------------------- our tables */

int model_tables(struct model *m, struct err *e)
{
    int got = m->engine->is_there(m, e);

    if (got != 0)
        return got < 0 ? -1 : 0;
    if (m->engine->before_tables != NULL && m->engine->before_tables(m, e) < 0)
        return -1;
    return model_run(m, e,
                     "CREATE TABLE IF NOT EXISTS eventutils_projection(name TEXT PRIMARY KEY, hash "
                     "TEXT NOT NULL, types TEXT NOT NULL, objects TEXT NOT NULL, position BIGINT "
                     "NOT NULL, event_id TEXT, built BIGINT NOT NULL, updated BIGINT NOT NULL, "
                     "error TEXT, error_seq BIGINT)",
                     "") < 0 ||
                   model_run(m, e,
                             "CREATE TABLE IF NOT EXISTS eventutils_projection_dead(name TEXT NOT "
                             "NULL, seq BIGINT NOT NULL, id TEXT, type TEXT, subject TEXT, time "
                             "BIGINT NOT NULL, statement TEXT, error TEXT NOT NULL, event TEXT, "
                             "PRIMARY KEY(name, seq))",
                             "") < 0
               ? -1
               : 0;
}

int model_copy_state(struct model *live, const char *name, const char *live_schema,
                     const char *draft_schema, struct err *e)
{
    static const char *const tables[] = {"eventutils_projection", "eventutils_projection_dead"};
    struct buf sql = BUF_INIT;
    int got = 0;

    for (size_t i = 0; i < 2 && got == 0; i++) {
        buf_reset(&sql);
        buf_printf(&sql, "DELETE FROM %s.%s WHERE name=$1", live_schema, tables[i]);
        got = model_run(live, e, buf_text(&sql), "t", name);
        buf_reset(&sql);
        buf_printf(&sql, "INSERT INTO %s.%s SELECT * FROM %s.%s", live_schema, tables[i],
                   draft_schema, tables[i]);
        if (got == 0)
            got = model_run(live, e, buf_text(&sql), "");
    }
    buf_free(&sql);
    return got;
}

int model_collides(struct model *m, const char *name, const char *objects, const char *taken,
                   const char *whose, struct err *e)
{
    struct buf table = BUF_INIT, owner = BUF_INIT;
    int got = model_text(m, e, &table, taken, "tt", objects, name);

    if (got > 0)
        got = model_text(m, e, &owner, whose, "t", table.p) < 0 ? -1 : 1;
    if (got > 0 && owner.n > 0)
        err_set(e, EX_DATAERR, "%s: table %s is projection %s's: give it another name", m->name,
                err_quote(table.p, table.n).text, err_quote(owner.p, owner.n).text);
    else if (got > 0)
        err_set(e, EX_DATAERR,
                "%s: table %s exists already, and is not this projection's: give it another name",
                m->name, err_quote(table.p, table.n).text);
    buf_free(&table);
    buf_free(&owner);
    return got == 0 ? 0 : -1;
}

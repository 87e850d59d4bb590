/* The position and state of projections. */
#include "base/json_tree.h"
#include "project/model.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct ahead {
    int64_t n, oldest_ms;
};

/* Matching events still to be applied. */
static int count_ahead(struct store *s, int64_t position, struct str types, struct ahead *out,
                       struct err *e)
{
    struct log_query query = {.first = log_after(position)};
    json_t *list = json_loadb(types.p == NULL ? "" : types.p, types.n, 0, NULL), *item;
    struct log_entry entry;
    struct log *log = NULL;
    size_t i;
    int got = 0;

    *out = (struct ahead){0, 0};
    json_array_foreach (list, i, item)
        if (got == 0 && json_is_string(item))
            got = pattern_add(&query.types, json_string_value(item), e);
    if (got == 0 && (got = log_open(&log, s, &query, e)) == 0)
        while ((got = log_next(log, &entry, e)) > 0)
            if (out->n++ == 0)
                out->oldest_ms = entry.recorded_ms;
    log_close(log);
    json_decref(list);
    pattern_free(&query.types);
    return got;
}

static json_t *make_row(struct store *s, const char *name, struct model *m, struct model_rows *q,
                        const struct ahead *ahead)
{
    bool failed = model_cell(m, q, 4).p != NULL;
    int64_t worker = claim_pid(s, name, CLAIM_WORK);

    return json_pack(
        "{s:o,s:s,s:I,s:I,s:o,s:I,s:o,s:o,s:o,s:o,s:b}", "name", tree_text(str_of(name)), "state",
        worker != 0 ? "running"
        : failed    ? "failed"
                    : "idle",
        "position", (json_int_t)model_cell_int(m, q, 1), "lag", (json_int_t)ahead->n, "oldest",
        tree_time(ahead->oldest_ms), "dead", (json_int_t)model_cell_int(m, q, 6), "updated",
        tree_time(model_cell_int(m, q, 3)), "built", tree_time(model_cell_int(m, q, 5)), "error",
        tree_text(model_cell(m, q, 4)), "pid", worker != 0 ? json_integer(worker) : json_null(),
        "rebuilding", claim_pid(s, name, CLAIM_ASIDE) != 0);
}

/* Each projection is read separately, so that no read transaction stays open. */
static int one(struct store *s, struct model *m, const char *name,
               int (*f)(json_t *row, void *arg, struct err *e), void *arg, struct err *e)
{
    struct ahead ahead;
    struct model_rows *q =
        model_query(m, e,
                    "SELECT types,position,name,updated,error,built,(SELECT count(*) "
                    "FROM eventutils_projection_dead d WHERE d.name=p.name) FROM "
                    "eventutils_projection p WHERE name=$1",
                    "t", name);
    int got = q == NULL ? -1 : model_row(m, q, e);

    if (got > 0 &&
        (got = count_ahead(s, model_cell_int(m, q, 1), model_cell(m, q, 0), &ahead, e)) == 0)
        got = f(make_row(s, name, m, q, &ahead), arg, e);
    model_done(m, q);
    return got;
}

static int all(struct store *s, struct model *m, const char *only,
               int (*f)(json_t *row, void *arg, struct err *e), void *arg, struct err *e)
{
    struct buf names = BUF_INIT;
    int got = m->engine->is_there(m, e);

    if (got > 0 && only == NULL)
        got = model_collect(m, e, &names, "SELECT name FROM eventutils_projection ORDER BY name",
                            NULL);
    else if (got > 0)
        got = model_collect(m, e, &names, "SELECT name FROM eventutils_projection WHERE name=$1",
                            only);
    if (got >= 0 && names.n == 0 && only != NULL)
        got = err_set(e, EX_NOINPUT, "%s: there is no projection %s", m->name,
                      err_quote_text(only).text);
    for (size_t at = 0; at < names.n && got >= 0; at += strlen(names.p + at) + 1)
        got = one(s, m, names.p + at, f, arg, e);
    buf_free(&names);
    return got < 0 ? -1 : 0;
}

int projection_status(struct store *spool, const char *database, const char *name,
                      int (*f)(json_t *row, void *arg, struct err *e), void *arg, struct err *e)
{
    struct model m;
    int got = model_open(&m, model_engine_of(database), database, MODEL_READ, NULL, e);

    if (got == 0)
        got = all(spool, &m, name, f, arg, e);
    model_close(&m);
    return got;
}

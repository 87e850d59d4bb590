/* The differences that a verification finds. */
#include "base/json_tree.h"
#include "project/model.h"

int verify_row(struct verify *v, const char *table, bool model, int64_t times, json_t *row,
               struct err *e)
{
    v->found++;
    return v->f(json_pack("{s:o,s:s,s:I,s:o}", "table", tree_text(str_of(table)), "only",
                          model ? "model" : "rebuilt", "times", (json_int_t)times, "row", row),
                v->arg, e);
}

static int tell_sql(struct verify *v, const char *name, const char *sql, bool model, struct err *e)
{
    return sql[0] == '\0' ? 0
                          : verify_row(v, name, model, 1,
                                       json_pack("{s:o}", "sql", tree_text(str_of(sql))), e);
}

int verify_sql(struct verify *v, const char *name, const char *model, const char *draft,
               struct err *e)
{
    return tell_sql(v, name, model, true, e) < 0 || tell_sql(v, name, draft, false, e) < 0 ? -1 : 0;
}

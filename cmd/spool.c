/* spool: look after the spool and its groups. Verbs that take more than a screen of code are in
   cmd/spool. */
#include "command/spool.h"
#include "base/json_tree.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/table.h"
#include "spool/verbs.h"
#include "store/store.h"

static int form;

static const struct opt listing[] = {
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",
               "the format (default: a table on a terminal)"),
    OPT_END,
};

static json_t *info_row(const struct store_info *info)
{
    return json_pack("{s:o,s:i,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:I,s:I,s:I}", "path",
                     tree_text(str_of(info->name)), "schema", info->schema, "size",
                     (json_int_t)info->size, "wal_size", (json_int_t)info->wal_size, "events",
                     (json_int_t)info->events, "first_seq", (json_int_t)info->first_seq, "last_seq",
                     (json_int_t)info->last_seq, "first_recorded", tree_time(info->first_ms),
                     "last_recorded", tree_time(info->last_ms), "groups", (json_int_t)info->groups,
                     "dead", (json_int_t)info->dead, "segments", (json_int_t)info->segments);
}

/* On a terminal a line for each member reads better than a table of one row. */
static int info_text(json_t *row, struct err *e)
{
    const char *key;
    json_t *value;
    int got = 0;

    json_object_foreach (row, key, value) {
        struct buf line = BUF_INIT;
        buf_printf(&line, "%-15s", key);
        if (json_is_integer(value))
            buf_int(&line, json_integer_value(value));
        else if (json_is_string(value))
            err_escape(&line, json_string_value(value), json_string_length(value));
        else
            buf_char(&line, '-');
        if (got == 0)
            got = out_line((struct str){line.p, line.n}, e);
        buf_free(&line);
    }
    json_decref(row);
    return got;
}

static int run_spool_info(char **operand)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct store_info info;

    (void)operand;
    if (spool_open(&spool, STORE_READ, &e) == 0 && store_info(spool, &info, &e) == 0) {
        struct table *table =
            table_begin((const struct table_column[]){{NULL, TABLE_LEFT}}, (enum table_form)form);
        if (table_is_ndjson(table))
            table_row(table, info_row(&info), &e);
        else
            info_text(info_row(&info), &e);
        table_end(table, &e);
    }
    store_close(spool);
    return out_finish(&e);
}

static const struct cmd info = {
    .name = "info",
    .about = "print where the spool is, its size and its range of events",
    .usage = {"[-o table|ndjson]"},
    .examples = {"spool info", "spool info -o ndjson | jq .events"},
    .options = listing,
    .most = ARGS_NO_OPERAND,
    .run = run_spool_info,
};

int main(int argc, char **argv)
{
    const struct cmd verbs[] = {info,       spool_init,  spool_group, spool_breaker, spool_bucket,
                                spool_key,  spool_check, spool_prune, spool_wait,    spool_backup,
                                spool_copy, spool_sql,   {0}};
    const struct cmd self = {
        .name = "spool",
        .about = "inspect and manage the spool and its groups",
        .examples = {"spool info", "spool prune --before 30d"},
        .verbs = verbs,
    };

    return args_verb(&self, argc, argv);
}

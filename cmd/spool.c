/* spool: look after the spool and its groups. */
#include "args.h"
#include "lines.h"
#include "store.h"
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int form;

static const struct opt listing[] = {
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson", "by default a table on a terminal"),
    OPT_END,
};

/* ----------------------------------------------------------------------------------------- info */

static json_t *info_row(const struct store_info *info)
{
    return json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:o,s:o,s:I,s:I,s:I}", "path", info->path,
                     "schema", info->schema, "size", (json_int_t)info->size, "wal_size",
                     (json_int_t)info->wal_size, "events", (json_int_t)info->events, "first_seq",
                     (json_int_t)info->first_seq, "last_seq", (json_int_t)info->last_seq,
                     "first_recorded", table_time(info->first_ms), "last_recorded",
                     table_time(info->last_ms), "groups", (json_int_t)info->groups, "dead",
                     (json_int_t)info->dead, "segments", (json_int_t)info->segments);
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

static int run_info(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct store_info info;

    if (first < argc)
        args_usage("info takes no operand: %s", err_quote_text(argv[first]).text);
    if (store_open(&spool, args_spool(), STORE_READ, &e) >= 0 &&
        store_info(spool, &info, &e) == 0) {
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

/* --------------------------------------------------------------------------------------- groups */

static const struct table_column group_columns[] = {
    {"group", TABLE_LEFT},      {"types", TABLE_LEFT},      {"state", TABLE_LEFT},
    {"position", TABLE_RIGHT},  {"lag", TABLE_RIGHT},       {"due", TABLE_RIGHT},
    {"waiting", TABLE_RIGHT},   {"in_flight", TABLE_RIGHT}, {"dead", TABLE_RIGHT},
    {"consumers", TABLE_RIGHT}, {NULL, TABLE_LEFT},
};

static int group_row_of(const struct group_info *info, void *table, struct err *e)
{
    json_t *types = json_array();

    for (size_t i = 0; i < info->types->n; i++)
        json_array_append_new(types, json_string(info->types->item[i]));
    if (info->types->n == 0)
        json_array_append_new(types, json_string("#"));
    json_t *row = json_pack(
        "{s:s,s:o,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "group", info->name, "types", types,
        "state",
        info->paused          ? "paused"
        : info->hold_ms != 0  ? "on hold"
        : info->consumers > 0 ? "active"
                              : "idle",
        "hold_until", table_time(info->hold_ms), "position", (json_int_t)info->position, "lag",
        (json_int_t)info->lag, "due", (json_int_t)info->due, "waiting", (json_int_t)info->waiting,
        "in_flight", (json_int_t)info->in_flight, "dead", (json_int_t)info->dead, "consumers",
        (json_int_t)info->consumers, "created", table_time(info->created_ms));
    return table_row(table, row, e) < 0 ? -1 : out_gone();
}

static int show_groups(const char *name, struct err *e)
{
    struct store *spool = NULL;

    if (store_open(&spool, args_spool(), STORE_READ, e) >= 0) {
        struct table *table = table_begin(group_columns, (enum table_form)form);
        group_each(spool, name, group_row_of, table, e);
        table_end(table, e);
    }
    store_close(spool);
    return out_finish(e);
}

static int change_group(const char *name, const char *done,
                        int (*f)(struct store *, const char *, struct err *))
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct buf line = BUF_INIT;

    if (store_open(&spool, args_spool(), STORE_WRITE, &e) >= 0 && f(spool, name, &e) == 0) {
        buf_puts(&line, "group ");
        err_escape(&line, name, strlen(name));
        buf_printf(&line, " %s", done);
        out_line((struct str){line.p, line.n}, &e);
    }
    buf_free(&line);
    store_close(spool);
    return out_finish(&e);
}

static int pause_group(struct store *s, const char *name, struct err *e)
{
    return group_pause(s, name, true, e);
}

static int resume_group(struct store *s, const char *name, struct err *e)
{
    return group_pause(s, name, false, e);
}

static const struct {
    const char *verb, *done;
    int (*f)(struct store *s, const char *name, struct err *e);
} changes[] = {
    {"pause", "paused", pause_group},
    {"resume", "resumed", resume_group},
    {"drop", "dropped", group_drop},
};

static int run_group(int first, int argc, char **argv)
{
    const char *verb = first < argc ? argv[first] : "list";
    const char *name = first + 1 < argc ? argv[first + 1] : NULL;
    size_t n = sizeof changes / sizeof changes[0], i = 0;
    struct err e = ERR_NONE;

    if (argc - first > 2)
        args_usage("one GROUP at a time: %s", err_quote_text(argv[first + 2]).text);
    if (name != NULL && *name == '\0')
        args_usage("GROUP is empty (an unset variable?)");
    if (strcmp(verb, "list") == 0 && name == NULL)
        return show_groups(NULL, &e);
    while (i < n && strcmp(verb, changes[i].verb) != 0)
        i++;
    if (i == n && strcmp(verb, "show") != 0)
        args_usage("group can list, show, pause, resume or drop: %s", err_quote_text(verb).text);
    if (name == NULL)
        args_usage("group %s wants a GROUP", verb);
    return i == n ? show_groups(name, &e) : change_group(name, changes[i].done, changes[i].f);
}

static const struct cmd verbs[] = {
    {.name = "info",
     .about = "where the spool is, how large, from when to when",
     .usage = {"[-o table|ndjson]"},
     .examples = {"spool info", "spool info -o ndjson | jq .events"},
     .options = listing,
     .run = run_info},
    {.name = "group",
     .about = "list groups and what they have yet to do; pause, resume, drop one",
     .usage = {"[list] [-o table|ndjson]", "show|pause|resume|drop GROUP"},
     .examples = {"spool group", "spool group pause email", "spool group drop old-report"},
     .options = listing,
     .run = run_group},
    {0},
};

static const struct cmd self = {
    .name = "spool", .about = "look after the spool and its groups", .verbs = verbs};

int main(int argc, char **argv)
{
    return args_verb(&self, argc, argv);
}

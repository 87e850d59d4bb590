/* dlq stats: count the letters by failure. */
#include "base/json_tree.h"
#include "base/mem.h"
#include "cli/table.h"
#include "dlq/verbs.h"

#include <stdlib.h>
#include <string.h>

static int form;

static const struct opt options[] = {
    DLQ_FILTERS,
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson", "default: a table on a terminal"),
    OPT_END,
};

static const struct table_column columns[] = {
    {"count", TABLE_RIGHT}, {"first", TABLE_AGE},    {"last", TABLE_AGE}, {"groups", TABLE_LEFT},
    {"event", TABLE_RIGHT}, {"failure", TABLE_LEFT}, {NULL, TABLE_LEFT},
};

static void note_group(json_t *groups, const char *group)
{
    size_t i;
    json_t *known, *name = tree_text(str_of(group));

    json_array_foreach (groups, i, known)
        if (strcmp(json_string_value(known), json_string_value(name)) == 0) {
            json_decref(name);
            return;
        }
    json_array_append_new(groups, name);
}

/* One entry per fingerprint, which may not be valid text, since handlers print anything. Times are
   text that sorts as time does. */
static int count_kind(const struct dead_letter *letter, void *kinds, struct err *e)
{
    char when[CLOCK_TEXT_SIZE];
    json_t *failure = tree_text(str_of(dlq_fingerprint(letter)));
    json_t *kind = json_object_get(kinds, json_string_value(failure));
    json_t *died = json_string(clock_format(when, letter->died_ms));

    (void)e;
    if (kind == NULL) {
        kind = json_pack("{s:i,s:O,s:O,s:[],s:I,s:O}", "count", 0, "first", died, "last", died,
                         "groups", "event", (json_int_t)letter->event.seq, "failure", failure);
        json_object_set_new(kinds, json_string_value(failure), kind);
    }
    json_object_set_new(kind, "count",
                        json_integer(json_integer_value(json_object_get(kind, "count")) + 1));
    if (strcmp(json_string_value(died), json_string_value(json_object_get(kind, "first"))) < 0)
        json_object_set(kind, "first", died);
    if (strcmp(json_string_value(died), json_string_value(json_object_get(kind, "last"))) > 0)
        json_object_set(kind, "last", died);
    note_group(json_object_get(kind, "groups"), letter->group);
    json_decref(died);
    json_decref(failure);
    return 0;
}

static int most_first(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "count"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "count"));
    return (x < y) - (x > y);
}

static void print_kinds(json_t *kinds, struct err *e)
{
    struct table *table = table_begin(columns, (enum table_form)form);
    size_t n = json_object_size(kinds), i = 0;
    json_t **sorted = mem_zero(n + 1, sizeof(json_t *)), *kind;
    const char *key;

    json_object_foreach (kinds, key, kind)
        sorted[i++] = kind;
    qsort(sorted, n, sizeof(json_t *), most_first);
    for (i = 0; i < n; i++)
        table_row(table, json_incref(sorted[i]), e);
    table_end(table, e);
    free(sorted);
}

static int run_dlq_stats(char **operand)
{
    struct err e = ERR_NONE;
    json_t *kinds = json_object();

    if (dlq_open(STORE_READ, args_count(operand), operand, &e) == 0 &&
        dead_each(dlq.spool, &dlq.filter, count_kind, kinds, &e) >= 0) {
        print_kinds(kinds, &e);
        if (json_object_size(kinds) == 0)
            args_nothing("dead letters", store_name(dlq.spool), DLQ_FILTER_NAMES);
    }
    json_decref(kinds);
    return dlq_finish(&e);
}

const struct cmd dlq_stats = {
    .name = "stats",
    .about = "count dead letters by failure",
    .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT]"},
    .examples = {"dlq stats", "dlq list --like 17", "dlq retry --like 17"},
    .options = options,
    .run = run_dlq_stats,
};

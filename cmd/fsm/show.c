/* fsm show, list: print the documents of subjects. */
#include "base/json_tree.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/table.h"
#include "fsm/fsm.h"
#include "fsm/search.h"
#include "fsm/verbs.h"

#include <string.h>

static const char *state_option;
static int form;

#define OPT_OUTPUT                                                                                 \
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",                                          \
               "the format (default: a table on a terminal)")

static const struct opt show_options[] = {SEARCH_OPT_MACHINE, OPT_OUTPUT, OPT_END};
static const struct opt list_options[] = {
    SEARCH_OPT_MACHINE,
    OPT_WORDS(0, "state", &state_option, "STATE", "only subjects in this state"),
    OPT_OUTPUT,
    OPT_END,
};

static const struct table_column columns[] = {
    {"machine", TABLE_LEFT},  {"subject", TABLE_LEFT}, {"state", TABLE_LEFT}, {"since", TABLE_AGE},
    {"version", TABLE_RIGHT}, {"event", TABLE_LEFT},   {NULL, TABLE_LEFT},
};

static const struct table_column last_columns[] = {
    {"type", TABLE_LEFT}, {"id", TABLE_LEFT},      {"source", TABLE_LEFT}, {"from", TABLE_LEFT},
    {"to", TABLE_LEFT},   {"accepted", TABLE_AGE}, {NULL, TABLE_LEFT},
};

/* ---------------------------------------------------------------------------------------- rows */

static json_t *last_rows(struct str last)
{
    json_t *items = json_loadb(last.p, last.n, 0, NULL), *rows = json_array(), *item;
    const char *id, *source, *type, *from, *to;
    json_int_t at_ms;
    size_t i;

    json_array_foreach (items, i, item)
        if (json_unpack(item, "[s,s,s,s,s,I]", &id, &source, &type, &from, &to, &at_ms) == 0)
            json_array_append_new(
                rows, json_pack("{s:s,s:s,s:o,s:s,s:s,s:o}", "type", type, "id", id, "source",
                                *source == '\0' ? json_null() : json_string(source), "from", from,
                                "to", to, "accepted", tree_time(at_ms)));
    json_decref(items);
    return rows;
}

/* NULL when it is damaged. */
static json_t *state_row(const struct doc *doc)
{
    const char *slash = strchr(doc->name, '/');
    struct buf text = BUF_INIT;
    struct fsm_subject s;

    if (slash == NULL || !fsm_read(doc->value, &s))
        return NULL;
    json_t *last = last_rows(s.last);
    json_t *newest = json_array_get(last, json_array_size(last) - 1);
    json_t *row =
        json_pack("{s:o,s:o,s:o,s:o,s:I,s:O?,s:o}", "machine",
                  tree_text((struct str){doc->name, (size_t)(slash - doc->name)}), "subject",
                  tree_text(str_of(slash + 1)), "state", tree_text(js_string(s.state, &text)),
                  "since", tree_time(s.since_ms), "version", (json_int_t)s.version, "event",
                  json_object_get(newest, "type"), "last", last);
    buf_free(&text);
    return row;
}

static json_t *row_or_complaint(struct search *s, const struct doc *doc)
{
    json_t *row = state_row(doc);
    const char *slash = strchr(doc->name, '/');

    s->found++;
    if (row == NULL)
        say_warn("the state of %s is damaged: fsm forget %s -m %.*s",
                 err_quote_text(doc->name).text, slash + 1, (int)(slash - doc->name), doc->name);
    return row;
}

/* ---------------------------------------------------------------------------------- show, list */

static int list_state(struct search *s, const struct doc *doc, struct err *e)
{
    json_t *row = row_or_complaint(s, doc);

    if (row == NULL)
        return 0;
    if (s->state != NULL &&
        strcmp(json_string_value(json_object_get(row, "state")), s->state) != 0) {
        json_decref(row);
        s->found--;
        return 0;
    }
    json_object_del(row, "last");
    return table_row(s->table, row, e) < 0 ? -1 : out_gone();
}

static int run_fsm_list(char **operand)
{
    struct err e = ERR_NONE;
    struct search s = {.f = list_state, .state = state_option};

    (void)operand;
    s.table = table_begin(columns, (enum table_form)form);
    search_run(&s, STORE_READ, &e);
    table_end(s.table, &e);
    if (s.found == 0 && e.status == 0)
        args_nothing("states of subjects", store_name(s.spool), "machine state");
    return search_finish(&s, &e);
}

/* In NDJSON one object; else a table with the state, and a table with its history. */
static int show_state(struct search *s, const struct doc *doc, struct err *e)
{
    json_t *row = row_or_complaint(s, doc), *item;
    size_t i;

    if (row == NULL)
        return err_set(e, EX_IOERR, "%s cannot be shown", err_quote_text(doc->name).text);
    struct table *table = table_begin(columns, (enum table_form)form);
    json_t *last = table_is_ndjson(table) ? NULL : json_incref(json_object_get(row, "last"));
    int got = table_row(table, row, e);
    if (table_end(table, e) == 0 && got == 0 && last != NULL) {
        table = table_begin(last_columns, TABLE_TABLE);
        got = out_line(STR(""), e);
        json_array_foreach (last, i, item)
            if (got == 0)
                got = table_row(table, json_incref(item), e);
        table_end(table, e);
    }
    json_decref(last);
    return got < 0 ? -1 : out_gone();
}

static int run_fsm_show(char **operand)
{
    struct err e = ERR_NONE;
    struct search s = {.f = show_state, .subject = operand[0]};

    args_name("SUBJECT", s.subject, NAME_TEXT_BYTES);
    search_run(&s, STORE_READ, &e);
    return search_finish(&s, &e);
}

const struct cmd fsm_verb_show = {
    .name = "show",
    .about = "show a subject's state, and how it got there",
    .usage = {"[-m MACHINE] [-o table|ndjson] SUBJECT"},
    .examples = {"fsm show order-42", "fsm show order-42 -o ndjson | jq -r .state"},
    .options = show_options,
    .least = 1,
    .most = 1,
    .wants = "a SUBJECT",
    .run = run_fsm_show,
};

const struct cmd fsm_verb_list = {
    .name = "list",
    .about = "list subjects and their states",
    .usage = {"[-m MACHINE] [--state STATE] [-o table|ndjson]"},
    .examples = {"fsm list --state paid"},
    .options = list_options,
    .most = ARGS_NO_OPERAND,
    .run = run_fsm_list,
};

/* fsm show, list, forget: print or delete the documents of subjects. */
#include "base/json_tree.h"
#include "base/mem.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/table.h"
#include "command/spool.h"
#include "fsm/fsm.h"
#include "fsm/verbs.h"

#include <stdlib.h>
#include <string.h>

static const char *machine_option, *state_option;
static int form;

#define OPT_MACHINE                                                                                \
    OPT_PATH('m', "machine", &machine_option, "MACHINE", "only this machine: its file or its name")
#define OPT_OUTPUT                                                                                 \
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",                                          \
               "the format (default: a table on a terminal)")

static const struct opt show_options[] = {OPT_MACHINE, OPT_OUTPUT, OPT_END};
static const struct opt forget_options[] = {OPT_MACHINE, OPT_END};
static const struct opt list_options[] = {
    OPT_MACHINE,
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
static json_t *row_of(const struct doc *doc)
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

/* --------------------------------------------------------------------------------------- which */

/* The machine's name from -m; if -m names a file, the name in the file. NULL without -m, or on
   error. */
static char *machine_name(struct err *e)
{
    struct machine_findings findings = {.wrong = BUF_INIT};
    size_t n = machine_option == NULL ? 0 : strlen(machine_option);
    struct machine m;
    char *name;

    if (n < 5 || strcmp(machine_option + n - 5, ".json") != 0)
        return n == 0 ? NULL : mem_dup(machine_option, n);
    if (fsm_load(&m, machine_option, &findings, e) < 0)
        fsm_say(machine_option, &findings);
    name = e->status != 0 ? NULL : mem_dup(m.name, strlen(m.name));
    machine_free(&m);
    machine_findings_free(&findings);
    return name;
}

struct search {
    struct store *spool;
    char *machine;
    const char *subject, *state; /* NULL: any */
    int (*f)(struct search *s, const struct doc *doc, struct err *e);
    struct table *table;
    int64_t found;
};

static int visit(const struct doc *doc, void *arg, struct err *e)
{
    struct search *s = arg;
    const char *slash = strchr(doc->name, '/');
    size_t n = slash == NULL ? 0 : (size_t)(slash - doc->name);

    if (slash == NULL || (s->subject != NULL && strcmp(slash + 1, s->subject) != 0) ||
        (s->machine != NULL && !str_is((struct str){doc->name, n}, s->machine)))
        return 0;
    return s->f(s, doc, e);
}

/* A machine and a subject make a document's name; with only one of them, search. */
static int search(struct search *s, enum store_mode mode, struct err *e)
{
    struct buf name = BUF_INIT;
    struct doc doc;
    int got = -1;

    s->machine = machine_name(e);
    if (e->status == 0 && spool_open(&s->spool, mode, e) == 0) {
        if (s->machine == NULL || s->subject == NULL) {
            got = doc_each(s->spool, FSM_KIND, visit, s, e);
        } else {
            buf_printf(&name, "%s/%s", s->machine, s->subject);
            got = doc_get(s->spool, FSM_KIND, buf_text(&name), &doc, e);
            if (got > 0)
                got = s->f(s, &doc, e);
        }
    }
    if (got >= 0 && s->found == 0 && s->subject != NULL)
        err_set(e, EX_NOINPUT, "%s has no state%s%s", err_quote_text(s->subject).text,
                s->machine == NULL ? "" : " in machine ",
                s->machine == NULL ? "" : err_quote_text(s->machine).text);
    buf_free(&name);
    return got < 0 ? -1 : 0;
}

static int finish(struct search *s, struct err *e)
{
    store_close(s->spool);
    free(s->machine);
    return out_finish(e);
}

static json_t *row_or_complaint(struct search *s, const struct doc *doc)
{
    json_t *row = row_of(doc);
    const char *slash = strchr(doc->name, '/');

    s->found++;
    if (row == NULL)
        say_warn("the state of %s is damaged: fsm forget %s -m %.*s",
                 err_quote_text(doc->name).text, slash + 1, (int)(slash - doc->name), doc->name);
    return row;
}

/* ---------------------------------------------------------------------------------- show, list */

static int list_one(struct search *s, const struct doc *doc, struct err *e)
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

static int run_list(char **operand)
{
    struct err e = ERR_NONE;
    struct search s = {.f = list_one, .state = state_option};

    (void)operand;
    s.table = table_begin(columns, (enum table_form)form);
    search(&s, STORE_READ, &e);
    table_end(s.table, &e);
    if (s.found == 0 && e.status == 0)
        args_nothing("states of subjects", store_path(s.spool), "machine state");
    return finish(&s, &e);
}

/* In NDJSON one object; else a table with the state, and a table with its history. */
static int show_one(struct search *s, const struct doc *doc, struct err *e)
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

static int run_show(char **operand)
{
    struct err e = ERR_NONE;
    struct search s = {.f = show_one, .subject = operand[0]};

    args_name("SUBJECT", s.subject, NAME_TEXT_BYTES);
    search(&s, STORE_READ, &e);
    return finish(&s, &e);
}

/* -------------------------------------------------------------------------------------- forget */

static int forget_one(struct search *s, const struct doc *doc, struct err *e)
{
    struct buf line = BUF_INIT;
    const char *slash = strchr(doc->name, '/');
    int got = doc_forget(s->spool, FSM_KIND, doc->name, e);

    if (got > 0) {
        s->found++;
        err_escape(&line, slash + 1, strlen(slash + 1));
        buf_puts(&line, " forgotten by ");
        err_escape(&line, doc->name, (size_t)(slash - doc->name));
        got = out_line((struct str){line.p, line.n}, e);
    }
    buf_free(&line);
    return got < 0 ? -1 : 0;
}

static int run_forget(char **operand)
{
    struct err e = ERR_NONE;
    struct search s = {.f = forget_one, .subject = operand[0]};

    args_name("SUBJECT", s.subject, NAME_TEXT_BYTES);
    search(&s, STORE_WRITE, &e);
    return finish(&s, &e);
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
    .run = run_show,
};

const struct cmd fsm_verb_list = {
    .name = "list",
    .about = "list subjects and their states",
    .usage = {"[-m MACHINE] [--state STATE] [-o table|ndjson]"},
    .examples = {"fsm list --state paid"},
    .options = list_options,
    .most = ARGS_NO_OPERAND,
    .run = run_list,
};

const struct cmd fsm_verb_forget = {
    .name = "forget",
    .about = "forget a subject: its next event finds it in the initial state",
    .usage = {"[-m MACHINE] SUBJECT"},
    .examples = {"fsm forget order-42"},
    .options = forget_options,
    .least = 1,
    .most = 1,
    .wants = "a SUBJECT",
    .run = run_forget,
};

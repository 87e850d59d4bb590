/* saga list, saga show: the sagas, or one with its steps. */
#include "base/json.h"
#include "base/json_tree.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/table.h"
#include "command/spool.h"
#include "saga/verbs.h"

#include <string.h>

static struct saga_run r;
static const char *state;
static int form;
static int64_t listed;

#define OPT_OUTPUT                                                                                 \
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",                                          \
               "the format (default: a table on a terminal)")

static const struct opt list_options[] = {
    OPT_TEXT(0, "state", &state, "STATE", "only in STATE: running, compensating, stuck, ..."),
    OPT_OUTPUT,
    OPT_END,
};

static const struct opt show_options[] = {OPT_OUTPUT, OPT_END};

static const struct table_column list_columns[] = {
    {"saga", TABLE_LEFT},   {"state", TABLE_LEFT}, {"done", TABLE_RIGHT},
    {"steps", TABLE_RIGHT}, {"since", TABLE_AGE},  {"begun", TABLE_AGE},
    {"pid", TABLE_RIGHT},   {"why", TABLE_LEFT},   {NULL, TABLE_LEFT},
};

static json_t *saga_row(const struct saga *s)
{
    bool runs = s->mark != NULL && !saga_final(s) && mark_lives(r.store, s->mark);
    int64_t done = 0;

    for (size_t i = 0; i < s->steps; i++)
        done += s->step[i].state == STEP_DONE;
    return json_pack("{s:s,s:s,s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o}", "saga", s->id, "name", s->name,
                     "state", saga_word(s->state), "done", (json_int_t)done, "steps",
                     (json_int_t)s->steps, "since", tree_time(s->since_ms), "begun",
                     tree_time(s->begun_ms), "deadline", tree_time(s->deadline_ms), "pid",
                     runs ? json_integer(mark_pid(s->mark)) : json_null(), "why",
                     saga_why(s) == NULL ? json_null() : json_string(saga_why(s)));
}

static int list_saga(const struct doc *doc, void *table, struct err *e)
{
    struct saga s;
    int got = 0;

    listed++;
    if (!saga_read(&s, doc->value))
        say_warn("saga %s is damaged", err_quote_text(doc->name).text);
    else if (state == NULL || strcmp(state, saga_word(s.state)) == 0)
        got = table_row(table, saga_row(&s), e) < 0 ? -1 : out_gone();
    else
        listed--;
    saga_free(&s);
    return got;
}

static int run_saga_list(char **operand)
{
    struct err e = ERR_NONE;
    bool known = state == NULL;

    (void)operand;
    for (enum saga_state s = SAGA_RUNNING; s <= SAGA_STUCK; s++)
        known |= state != NULL && strcmp(state, saga_word(s)) == 0;
    if (!known)
        args_usage("--state wants running, compensating, completed, compensated or stuck: %s",
                   err_quote_text(state).text);
    if (spool_open(&r.store, STORE_READ, &e) == 0) {
        struct table *table = table_begin(list_columns, (enum table_form)form);
        doc_each(r.store, SAGA_KIND, list_saga, table, &e);
        table_end(table, &e);
        if (listed == 0 && e.status == 0)
            args_nothing("sagas", store_name(r.store), "state");
    }
    return saga_verb_finish(&r, &e);
}

/* ---------------------------------------------------------------------------------------- show */

static const struct table_column step_columns[] = {
    {"step", TABLE_LEFT},     {"state", TABLE_LEFT},  {"attempt", TABLE_RIGHT},
    {"took_ms", TABLE_RIGHT}, {"result", TABLE_LEFT}, {"error", TABLE_LEFT},
    {NULL, TABLE_LEFT},
};

static json_t *step_row(const struct saga_step *t)
{
    return json_pack(
        "{s:s,s:s,s:I,s:o,s:o,s:o,s:o,s:b}", "step", t->name, "state", step_word(t->state),
        "attempt", (json_int_t)t->attempt, "began", tree_time(t->began_ms), "took_ms",
        t->began_ms == 0 ? json_null() : json_integer(t->took_ms), "result",
        t->result == NULL ? json_null() : json_string(t->result), "error",
        step_why(t) == NULL ? json_null() : json_string(step_why(t)), "pivot", t->pivot);
}

static int show_text(const struct saga *s, struct err *e)
{
    struct table *table = table_begin(step_columns, TABLE_TABLE);
    char since[CLOCK_TEXT_SIZE];
    struct buf line = BUF_INIT;
    int got;

    buf_puts(&line, "saga ");
    err_escape(&line, s->id, strlen(s->id));
    buf_printf(&line, ": %s since %s", saga_word(s->state), clock_format(since, s->since_ms));
    if (saga_why(s) != NULL) {
        buf_puts(&line, ": ");
        err_escape(&line, saga_why(s), strlen(saga_why(s)));
    }
    got = out_line((struct str){line.p, line.n}, e);
    for (size_t i = 0; i < s->steps && got == 0; i++)
        got = table_row(table, step_row(&s->step[i]), e);
    table_end(table, e);
    buf_free(&line);
    return got;
}

/* Append an object without its closing brace, for a last member to be added. */
static void open_object(struct buf *line, json_t *row)
{
    tree_print(line, row);
    json_decref(row);
    line->n--;
}

/* Results and the event are copied as JSON text: parsed, they would lose digits. */
static int show_json(const struct saga *s, struct err *e)
{
    struct buf line = BUF_INIT;
    json_t *whole = saga_row(s);

    json_object_del(whole, "steps"); /* drop the number of results; here the results themselves
                                        follow */
    open_object(&line, whole);
    buf_puts(&line, ",\"steps\":[");
    for (size_t i = 0; i < s->steps; i++) {
        json_t *row = step_row(&s->step[i]);
        json_object_del(row, "result");
        if (i > 0)
            buf_char(&line, ',');
        open_object(&line, row);
        buf_puts(&line, ",\"result\":");
        js_show(&line, str_of(s->step[i].result == NULL ? "null" : s->step[i].result));
        buf_char(&line, '}');
    }
    buf_puts(&line, "],\"event\":");
    js_show(&line, str_of(s->event));
    buf_char(&line, '}');
    int got = out_line((struct str){line.p, line.n}, e);
    buf_free(&line);
    return got;
}

static int run_saga_show(char **operand)
{
    struct err e = ERR_NONE;

    if (saga_verb_load(&r, STORE_READ, operand[0], &e) == 0) {
        struct table *table = table_begin(list_columns, (enum table_form)form);
        if (table_is_ndjson(table))
            show_json(&r.saga, &e);
        else
            show_text(&r.saga, &e);
        table_end(table, &e);
    }
    return saga_verb_finish(&r, &e);
}

const struct cmd saga_verb_list = {
    .name = "list",
    .about = "list sagas",
    .usage = {"[--state STATE] [-o table|ndjson]"},
    .examples = {"saga list", "saga list --state stuck"},
    .options = list_options,
    .most = ARGS_NO_OPERAND,
    .run = run_saga_list,
};

const struct cmd saga_verb_show = {
    .name = "show",
    .about = "show a saga and its steps",
    .usage = {"ID [-o table|ndjson]"},
    .examples = {"saga show order/0192f1c0"},
    .options = show_options,
    .least = 1,
    .most = 1,
    .wants = "ID",
    .run = run_saga_show,
};

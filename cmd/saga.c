/* saga: long-running operations whose steps can be undone. */
#include "base/clock.h"
#include "base/json.h"
#include "cli/args.h"
#include "cli/lines.h"
#include "cli/table.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "saga/run.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int64_t jobs = 4, deadline, keep = INT64_C(30) * 86400000;
static const char *as, *state;
static bool all;
static int form;

static const struct opt run_options[] = {
    OPT_INT('j', "jobs", &jobs, "N", 1, 1024, "run up to N commands at once (default 4)"),
    OPT_DURATION(0, "deadline", &deadline, "undo the saga if it is not done after D"),
    OPT_DURATION(0, "keep", &keep, "delete the saga D after it has ended (default 30d)"),
    OPT_END,
};
static const struct opt resume_options[] = {
    OPT_FLAG(0, "all", &all, "all sagas that no process runs, except ended and stuck ones"),
    OPT_INT('j', "jobs", &jobs, "N", 1, 1024, "run up to N commands at once (default 4)"),
    OPT_DURATION(0, "keep", &keep, "delete the saga D after it has ended (default 30d)"),
    OPT_END,
};
static const struct opt list_options[] = {
    OPT_TEXT(0, "state", &state, "STATE", "only in STATE: running, compensating, stuck, ..."),
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",
               "the format (default: a table on a terminal)"),
    OPT_END,
};
static const struct opt show_options[] = {
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",
               "the format (default: a table on a terminal)"),
    OPT_END,
};
static const struct opt settle_options[] = {
    OPT_TEXT(0, "as", &as, "STATE", "the outcome: completed or compensated"),
    OPT_END,
};
static const struct opt no_options[] = {OPT_END};

static struct saga_run r;

static int finish(struct err *e)
{
    saga_run_free(&r);
    store_close(r.store);
    return out_finish(e);
}

static int open_spool(enum store_mode mode, struct err *e)
{
    int got = store_open(&r.store, args_spool(), mode, e);

    if (got > 0)
        err_note("created the spool %s", store_path(r.store));
    r.jobs = jobs;
    r.deadline_ms = deadline;
    r.keep_ms = keep;
    return got < 0 ? -1 : 0;
}

static int one_operand(int first, int argc, char **argv, const char *verb, const char *what)
{
    if (first >= argc)
        args_usage("%s wants %s", verb, what);
    if (argc - first > 1)
        args_usage("%s: one too many: %s", verb, err_quote_text(argv[first + 1]).text);
    if (strcmp(what, "ID") == 0)
        args_name(what, argv[first], NAME_KEY_BYTES);
    return first;
}

/* ----------------------------------------------------------------------------------------- run */

static int read_definition(const char *file, struct err *e)
{
    struct buf text = BUF_INIT;
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, file, 4 << 20, e);

    while (got >= 0 && (got = lines_next(in, &line, e)) == LINES_LINE) {
        buf_str(&text, line.text);
        buf_char(&text, '\n');
    }
    if (got == LINES_TOO_LONG)
        got = err_set(e, EX_DATAERR, "%s: longer than 4 MiB", file);
    if (got == 0 && (got = saga_define(&r.saga, (struct str){text.p, text.n}, e)) < 0)
        err_at(e, "%s: ", err_quote_text(file).text);
    lines_close(in);
    buf_free(&text);
    return got;
}

/* The event on stdin: one line. */
static int read_event(struct buf *event, struct err *e)
{
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, NULL, 32 << 20, e);

    if (got == 0 && (got = lines_next(in, &line, e)) == LINES_LINE)
        buf_str(event, line.text);
    else if (got >= 0)
        got = lines_stopped(in) ? err_set(e, EX_TEMPFAIL, "stopped while reading stdin")
                                : err_set(e, EX_DATAERR,
                                          got == LINES_END ? "stdin: no event" : "stdin: too long");
    if (got == LINES_LINE && (got = lines_next(in, &line, e)) != LINES_END && got > 0)
        got = err_set(e, EX_DATAERR,
                      "stdin: more than one event; consume gives each a run of its own");
    lines_close(in);
    return got < 0 ? -1 : 0;
}

static int run_run(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct buf event = BUF_INIT;

    one_operand(first, argc, argv, "run", "DEFINITION");
    wrap_stage();
    if (read_definition(argv[first], &e) < 0 ||
        (read_event(&event, &e) == 0 && open_spool(STORE_CREATE, &e) < 0)) {
        err_config(&e);
    } else if (e.status == 0) {
        store_stop(r.store, proc_stopping);
        if (saga_start(&r, (struct str){event.p, event.n}, &e) >= 0) {
            store_stop(r.store, proc_forced); /* the outcome of a step has to be recorded */
            saga_drive(&r, &e);
        }
    }
    buf_free(&event);
    return finish(&e);
}

/* -------------------------------------------------------------------------------------- resume */

static int worst; /* status of the sagas that did not finish */

/* A saga that cannot go on must not hold up the others. */
static void resume(const char *id)
{
    struct err e = ERR_NONE;

    r.elsewhere = false;
    if (saga_load(&r, id, &e) == 0)
        saga_drive(&r, &e);
    saga_run_free(&r);
    if (all && r.elsewhere)
        return; /* another process was faster */
    if (worst == 0)
        worst = e.status;
    err_report(&e);
}

/* Resume a saga unless another process runs it, which is not an error. */
static int resume_idle(const struct doc *doc, void *arg, struct err *e)
{
    struct saga s;

    (void)arg;
    (void)e;
    bool read = saga_read(&s, doc->value);
    bool idle = read && (s.state == SAGA_RUNNING || s.state == SAGA_COMPENSATING) &&
                (s.mark == NULL || !mark_lives(r.store, s.mark));
    if (!read) {
        err_warn("saga %s is damaged", err_quote_text(doc->name).text);
        worst = worst == 0 ? EX_IOERR : worst;
    }
    saga_free(&s);
    if (idle)
        resume(doc->name);
    return proc_stopping();
}

static int run_resume(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;

    if (all == (first < argc))
        args_usage(all ? "--all and IDs exclude each other" : "resume wants IDs, or --all");
    wrap_stage();
    if (open_spool(STORE_WRITE, &e) == 0)
        store_stop(r.store, proc_forced);
    if (e.status == 0 && all)
        doc_each(r.store, SAGA_KIND, resume_idle, NULL, &e);
    else if (e.status == 0)
        for (int i = first; i < argc && !proc_stopping(); i++)
            resume(argv[i]);
    if (e.status == 0)
        e.status = worst;
    return finish(&e);
}

/* ---------------------------------------------------------------------------------------- list */

static const struct table_column list_columns[] = {
    {"saga", TABLE_LEFT},   {"state", TABLE_LEFT}, {"done", TABLE_RIGHT},
    {"steps", TABLE_RIGHT}, {"since", TABLE_AGE},  {"begun", TABLE_AGE},
    {"pid", TABLE_RIGHT},   {"why", TABLE_LEFT},   {NULL, TABLE_LEFT},
};

static json_t *row_of(const struct saga *s)
{
    bool runs = s->mark != NULL && !saga_final(s) && mark_lives(r.store, s->mark);
    int64_t done = 0;

    for (size_t i = 0; i < s->steps; i++)
        done += s->step[i].state == STEP_DONE;
    return json_pack("{s:s,s:s,s:s,s:I,s:I,s:o,s:o,s:o,s:o,s:o}", "saga", s->id, "name", s->name,
                     "state", saga_word(s->state), "done", (json_int_t)done, "steps",
                     (json_int_t)s->steps, "since", table_time(s->since_ms), "begun",
                     table_time(s->begun_ms), "deadline", table_time(s->deadline_ms), "pid",
                     runs ? json_integer(mark_pid(s->mark)) : json_null(), "why",
                     saga_why(s) == NULL ? json_null() : json_string(saga_why(s)));
}

static int64_t listed;

static int list_one(const struct doc *doc, void *table, struct err *e)
{
    struct saga s;
    int got = 0;

    listed++;
    if (!saga_read(&s, doc->value))
        err_warn("saga %s is damaged", err_quote_text(doc->name).text);
    else if (state == NULL || strcmp(state, saga_word(s.state)) == 0)
        got = table_row(table, row_of(&s), e) < 0 ? -1 : out_gone();
    else
        listed--;
    saga_free(&s);
    return got;
}

static int run_list(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;
    bool known = state == NULL;

    if (first < argc)
        args_usage("list takes no operand: %s", err_quote_text(argv[first]).text);
    for (enum saga_state s = SAGA_RUNNING; s <= SAGA_STUCK; s++)
        known |= state != NULL && strcmp(state, saga_word(s)) == 0;
    if (!known)
        args_usage("--state wants running, compensating, completed, compensated or stuck: %s",
                   err_quote_text(state).text);
    if (open_spool(STORE_READ, &e) == 0) {
        struct table *table = table_begin(list_columns, (enum table_form)form);
        doc_each(r.store, SAGA_KIND, list_one, table, &e);
        table_end(table, &e);
        if (listed == 0 && e.status == 0)
            args_nothing("sagas", store_path(r.store), "state");
    }
    return finish(&e);
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
        "attempt", (json_int_t)t->attempt, "began", table_time(t->began_ms), "took_ms",
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
    table_json(line, row);
    json_decref(row);
    line->n--;
}

/* Results and the event are copied as JSON text: parsed, they would lose digits. */
static int show_json(const struct saga *s, struct err *e)
{
    struct buf line = BUF_INIT;
    json_t *whole = row_of(s);

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

static int run_show(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;

    one_operand(first, argc, argv, "show", "ID");
    if (open_spool(STORE_READ, &e) == 0 && saga_load(&r, argv[first], &e) == 0) {
        struct table *table = table_begin(list_columns, (enum table_form)form);
        if (table_is_ndjson(table))
            show_json(&r.saga, &e);
        else
            show_text(&r.saga, &e);
        table_end(table, &e);
    }
    return finish(&e);
}

/* ------------------------------------------------------------------------------------- by hand */

static int run_retry(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;

    if (argc - first != 2)
        args_usage("retry wants ID and STEP");
    args_name("ID", argv[first], NAME_KEY_BYTES);
    args_name("STEP", argv[first + 1], NAME_BYTES);
    wrap_stage();
    if (open_spool(STORE_WRITE, &e) == 0 && saga_load(&r, argv[first], &e) == 0) {
        size_t i = saga_find(&r.saga, argv[first + 1]);
        if (i == r.saga.steps)
            err_set(&e, EX_NOINPUT, "saga %s has no step %s", r.saga.id,
                    err_quote_text(argv[first + 1]).text);
        else if (!saga_retry(&r.saga, i, clock_now_ms()))
            err_set(&e, EX_NO, "saga %s: step %s is not what it is stuck at", r.saga.id,
                    argv[first + 1]);
        else if (saga_change(&r, &e) == 0)
            saga_drive(&r, &e);
    }
    return finish(&e);
}

static int run_settle(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;
    bool done = as != NULL && strcmp(as, "completed") == 0;

    one_operand(first, argc, argv, "settle", "ID");
    if (as == NULL || (!done && strcmp(as, "compensated") != 0))
        args_usage("settle wants --as completed or --as compensated");
    if (open_spool(STORE_WRITE, &e) == 0 && saga_load(&r, argv[first], &e) == 0) {
        if (saga_final(&r.saga))
            err_set(&e, EX_NO, "saga %s is %s already", r.saga.id, saga_word(r.saga.state));
        else
            saga_settle(&r.saga, done ? SAGA_COMPLETED : SAGA_COMPENSATED, clock_now_ms());
        if (e.status == 0)
            saga_change(&r, &e);
    }
    return finish(&e);
}

/* ---------------------------------------------------------------------------------- definition */

static int run_check(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;

    one_operand(first, argc, argv, "check", "DEFINITION");
    read_definition(argv[first], &e);
    return finish(&e);
}

static void quote_dot(struct buf *b, const char *name)
{
    buf_char(b, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"' || *name == '\\')
            buf_char(b, '\\');
        buf_char(b, *name);
    }
    buf_char(b, '"');
}

/* A step with an undo has rounded corners, a pivot two borders. */
static void draw(const struct saga *s, struct buf *b)
{
    buf_puts(b, "digraph ");
    quote_dot(b, s->name);
    buf_puts(b, " {\n    rankdir=LR;\n    node [shape=box];\n");
    for (size_t i = 0; i < s->steps; i++) {
        const struct saga_step *t = &s->step[i];
        buf_puts(b, "    ");
        quote_dot(b, t->name);
        buf_printf(b, "%s;\n",
                   t->pivot          ? " [peripheries=2]"
                   : t->undo != NULL ? " [style=rounded]"
                                     : "");
        for (size_t k = 0; k < t->afters; k++) {
            buf_puts(b, "    ");
            quote_dot(b, s->step[t->after[k]].name);
            buf_puts(b, " -> ");
            quote_dot(b, t->name);
            buf_puts(b, ";\n");
        }
    }
    buf_puts(b, "}");
}

static int run_dot(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct buf graph = BUF_INIT;

    one_operand(first, argc, argv, "dot", "DEFINITION");
    if (read_definition(argv[first], &e) == 0) {
        draw(&r.saga, &graph);
        out_line((struct str){graph.p, graph.n}, &e);
    }
    buf_free(&graph);
    return finish(&e);
}

static const struct cmd verbs[] = {
    {.name = "run",
     .about = "run, or continue, the saga of the event on stdin",
     .usage = {"[-j N] [--deadline D] [--keep D] DEFINITION"},
     .examples = {"saga run order.saga.json < event.json",
                  "consume -g orders -t order.placed --from start -- saga run order.saga.json"},
     .options = run_options,
     .run = run_run},
    {.name = "resume",
     .about = "continue unfinished sagas that no process runs",
     .usage = {"[-j N] [--keep D] ID... | --all"},
     .examples = {"saga resume --all"},
     .options = resume_options,
     .run = run_resume},
    {.name = "list",
     .about = "list sagas",
     .usage = {"[--state STATE] [-o table|ndjson]"},
     .examples = {"saga list", "saga list --state stuck"},
     .options = list_options,
     .run = run_list},
    {.name = "show",
     .about = "show a saga and its steps",
     .usage = {"ID [-o table|ndjson]"},
     .examples = {"saga show order/0192f1c0"},
     .options = show_options,
     .run = run_show},
    {.name = "retry",
     .about = "retry the step that a saga is stuck at, and continue",
     .usage = {"ID STEP"},
     .examples = {"saga retry order/0192f1c0 refund"},
     .options = no_options,
     .run = run_retry},
    {.name = "settle",
     .about = "record that you brought a saga to its end by hand",
     .usage = {"ID --as completed|compensated"},
     .examples = {"saga settle order/0192f1c0 --as compensated"},
     .options = settle_options,
     .run = run_settle},
    {.name = "check",
     .about = "report what is wrong with a definition",
     .usage = {"DEFINITION"},
     .examples = {"saga check order.saga.json"},
     .options = no_options,
     .run = run_check},
    {.name = "dot",
     .about = "print a definition as a graph for dot(1)",
     .usage = {"DEFINITION"},
     .examples = {"saga dot order.saga.json | dot -Tsvg"},
     .options = no_options,
     .run = run_dot},
    {0},
};

static const struct cmd self = {
    .name = "saga",
    .about = "run long-running operations whose steps can be undone",
    .examples = {"consume -g orders --from start -- saga run order.saga.json", "saga resume --all",
                 "saga show order/0192f1c0"},
    .verbs = verbs,
};

int main(int argc, char **argv)
{
    return args_verb(&self, argc, argv);
}

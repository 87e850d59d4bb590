/*
 * spool breaker, bucket, key: the state that wrappers keep under a name.
 */
#include "base/json_tree.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/table.h"
#include "command/spool.h"
#include "resilience/bucket.h"
#include "resilience/circuit.h"
#include "resilience/once_key.h"
#include "spool/verbs.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int form;
static int64_t pause_ms;

#define OPT_OUTPUT                                                                                 \
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",                                          \
               "list, show: format (default: table on a terminal)")

static const struct opt options[] = {OPT_OUTPUT, OPT_END};

static const struct opt breaker_options[] = {
    OPT_DURATION(0, "for", &pause_ms, "trip: the pause (default: the breaker's first pause)"),
    OPT_OUTPUT,
    OPT_END,
};

/* A verb that changes an entry: makes the change, and appends what it did to the buffer. 0 or
   -1. */
struct change {
    const char *verb;
    int (*f)(struct store *s, const char *name, struct buf *said, struct err *e);
    const char *argument; /* the word for the argument after NAME, passed in pause_ms; NULL: none */
};

struct kind {
    const char *name;
    const struct table_column *columns;
    json_t *(*row)(struct store *s, const struct doc *doc); /* NULL: damaged */
    const struct change *changes;
};

/* -------------------------------------------------------------------------------------- breaker */

static const struct table_column breaker_columns[] = {
    {"breaker", TABLE_LEFT},    {"state", TABLE_LEFT},    {"since", TABLE_AGE},
    {"next_probe", TABLE_LEFT}, {"calls", TABLE_RIGHT},   {"failures", TABLE_RIGHT},
    {"timeouts", TABLE_RIGHT},  {"rejects", TABLE_RIGHT}, {"p50_ms", TABLE_RIGHT},
    {"p95_ms", TABLE_RIGHT},    {"p99_ms", TABLE_RIGHT},  {"reason", TABLE_LEFT},
    {NULL, TABLE_LEFT},
};

static json_t *breaker_row(struct store *s, const struct doc *doc)
{
    struct breaker_terms terms = {0};
    struct breaker b;
    json_t *row, *figures;

    (void)s;
    if (!circuit_read(doc->value, &b, &terms))
        return NULL;
    row = json_pack("{s:o,s:s,s:o,s:o,s:o,s:I}", "breaker", tree_text(str_of(doc->name)), "state",
                    circuit_state(&b), "since", tree_time(b.since_ms), "next_probe",
                    tree_time(b.state == BREAKER_OPEN ? b.until_ms : 0), "reason",
                    tree_text(str_of(b.reason)), "failures_in_row", (json_int_t)b.row);
    figures = circuit_figures(&b);
    json_object_update(row, figures);
    json_decref(figures);
    breaker_free(&b);
    return row;
}

static int change_breaker(struct store *s, const char *name, enum circuit_change how,
                          struct buf *said, struct err *e)
{
    char until[CLOCK_TEXT_SIZE];
    struct circuit c;

    circuit_open(&c, s, name, NULL);
    int got = circuit_change(&c, how, pause_ms, e);
    if (how == CIRCUIT_TRIP)
        buf_printf(said, "opened until %s", clock_format(until, c.breaker.until_ms));
    else
        buf_puts(said, how == CIRCUIT_DISABLE  ? "disabled: all calls pass"
                       : how == CIRCUIT_ENABLE ? "enabled, and closed"
                                               : "closed");
    circuit_close(&c);
    return got;
}

static int trip(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_TRIP, said, e);
}

static int reset(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_RESET, said, e);
}

static int disable(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_DISABLE, said, e);
}

static int enable(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_ENABLE, said, e);
}

static int forget_breaker(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "forgotten");
    return circuit_forget(s, name, e);
}

static const struct kind breakers = {CIRCUIT_KIND, breaker_columns, breaker_row,
                                     (const struct change[]){{"trip", trip, NULL},
                                                             {"reset", reset, NULL},
                                                             {"disable", disable, NULL},
                                                             {"enable", enable, NULL},
                                                             {"forget", forget_breaker, NULL},
                                                             {0}}};

/* --------------------------------------------------------------------------------------- bucket */

static const struct table_column bucket_columns[] = {
    {"bucket", TABLE_LEFT}, {"rate", TABLE_RIGHT},  {"burst", TABLE_RIGHT}, {"state", TABLE_LEFT},
    {"until", TABLE_LEFT},  {"taken", TABLE_RIGHT}, {"since", TABLE_AGE},   {NULL, TABLE_LEFT},
};

static json_t *bucket_row(struct store *s, const struct doc *doc)
{
    int64_t now = clock_now_us();
    struct bucket b;
    char rate[CLOCK_TEXT_SIZE];

    (void)s;
    if (!bucket_read(doc->value, &b))
        return NULL;
    int64_t until = b.closed_us > now ? b.closed_us : now + gcra_wait(&b.pace, now);
    return json_pack(
        "{s:o,s:o,s:I,s:s,s:o,s:I,s:o}", "bucket", tree_text(str_of(doc->name)), "rate",
        b.pace.each_us == 0 ? json_null() : json_string(clock_rate_format(rate, b.pace.each_us)),
        "burst", (json_int_t)b.pace.burst, "state",
        b.closed_us > now ? "closed"
        : until > now     ? "used up"
                          : "free",
        "until", tree_time(until > now ? until / 1000 : 0), "taken", (json_int_t)b.taken, "since",
        tree_time(b.since));
}

static int close_bucket(struct store *s, const char *name, struct buf *said, struct err *e)
{
    int64_t until_ms = clock_now_ms() + pause_ms;
    char until[CLOCK_TEXT_SIZE];

    buf_printf(said, "closed until %s", clock_format(until, until_ms));
    return bucket_close(s, name, until_ms, e);
}

static int open_bucket(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "open");
    return bucket_close(s, name, 0, e);
}

static int forget_bucket(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "forgotten");
    return bucket_forget(s, name, e);
}

static const struct kind buckets = {BUCKET_KIND, bucket_columns, bucket_row,
                                    (const struct change[]){{"close", close_bucket, "D"},
                                                            {"open", open_bucket, NULL},
                                                            {"forget", forget_bucket, NULL},
                                                            {0}}};

/* ------------------------------------------------------------------------------------------ key */

static const struct table_column key_columns[] = {
    {"key", TABLE_LEFT},  {"state", TABLE_LEFT},     {"since", TABLE_AGE},
    {"pid", TABLE_RIGHT}, {"forgotten", TABLE_LEFT}, {NULL, TABLE_LEFT},
};

static json_t *key_row(struct store *s, const struct doc *doc)
{
    struct once_key_info info;

    if (!once_key_read(doc->value, &info))
        return NULL;
    bool runs = !info.done && mark_lives(s, info.mark);
    return json_pack("{s:o,s:s,s:o,s:o,s:o}", "key", tree_text(str_of(doc->name)), "state",
                     info.done ? "done"
                     : runs    ? "running"
                               : "free",
                     "since", tree_time(info.at_ms), "pid",
                     runs ? json_integer(mark_pid(info.mark)) : json_null(), "forgotten",
                     tree_time(doc->expires_ms));
}

static int forget_key(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "forgotten");
    return once_key_forget(s, name, e);
}

static const struct kind keys = {ONCE_KEY_KIND, key_columns, key_row,
                                 (const struct change[]){{"forget", forget_key, NULL}, {0}}};

/* ------------------------------------------------------------------------------------ all three */

struct listing {
    const struct kind *kind;
    struct store *spool;
    struct table *table;
    const char *name; /* only this one; NULL: all */
    bool found;
};

static int list_one(const struct doc *doc, void *arg, struct err *e)
{
    struct listing *l = arg;
    json_t *row;

    if (l->name != NULL && strcmp(doc->name, l->name) != 0)
        return 0;
    l->found = true;
    if ((row = l->kind->row(l->spool, doc)) == NULL) {
        say_warn("%s %s is damaged: spool %s forget %s", l->kind->name,
                 err_quote_text(doc->name).text, l->kind->name, doc->name);
        return 0;
    }
    return table_row(l->table, row, e) < 0 ? -1 : out_gone();
}

static int show(const struct kind *kind, const char *name)
{
    struct err e = ERR_NONE;
    struct listing l = {.kind = kind, .name = name};

    if (spool_open(&l.spool, STORE_READ, &e) == 0) {
        l.table = table_begin(kind->columns, (enum table_form)form);
        doc_each(l.spool, kind->name, list_one, &l, &e);
        table_end(l.table, &e);
        if (name == NULL && !l.found && e.status == 0) {
            char what[16];
            snprintf(what, sizeof what, "%ss", kind->name);
            args_nothing(what, store_path(l.spool), "");
        } else if (name != NULL && !l.found)
            err_set(&e, EX_NOINPUT, "there is no %s %s", kind->name, err_quote_text(name).text);
    }
    store_close(l.spool);
    return out_finish(&e);
}

static int change(const struct kind *kind, const struct change *c, const char *name)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct buf said = BUF_INIT, line = BUF_INIT;

    if (spool_open(&spool, STORE_WRITE, &e) == 0 && c->f(spool, name, &said, &e) == 0) {
        buf_printf(&line, "%s ", kind->name);
        err_escape(&line, name, strlen(name));
        buf_printf(&line, " %s", buf_text(&said));
        out_line((struct str){line.p, line.n}, &e);
    }
    buf_free(&said);
    buf_free(&line);
    store_close(spool);
    return out_finish(&e);
}

static void read_pause(const struct kind *kind, const struct change *c, const char *text)
{
    struct err wrong = ERR_NONE;

    if (clock_duration(text, &pause_ms, &wrong) < 0 || pause_ms == 0)
        args_usage("%s %s wants NAME %s, with %s like 120s", kind->name, c->verb, c->argument,
                   c->argument);
}

/* list, show NAME, or one of the changes. */
static int run(const struct kind *kind, char **operand)
{
    int n = args_count(operand);
    const char *verb = n > 0 ? operand[0] : "list";
    const char *name = n > 1 ? operand[1] : NULL;
    const struct change *c = kind->changes;
    bool lists = strcmp(verb, "list") == 0;
    struct buf verbs = BUF_INIT;

    for (; c->verb != NULL && strcmp(verb, c->verb) != 0; c++)
        buf_printf(&verbs, ", %s", c->verb);
    if (args_given("for") && strcmp(verb, "trip") != 0)
        args_usage("--for is for %s trip", kind->name);
    if (c->verb == NULL && !lists && strcmp(verb, "show") != 0)
        args_usage("%s can list, show%s: %s", kind->name, buf_text(&verbs),
                   err_quote_text(verb).text);
    buf_free(&verbs);
    int operands = lists ? 1 : c->verb != NULL && c->argument != NULL ? 3 : 2;
    if (n > operands)
        args_usage("%s %s: one too many: %s", kind->name, verb,
                   err_quote_text(operand[operands]).text);
    if (!lists && name == NULL)
        args_usage("%s %s wants a NAME", kind->name, verb);
    if (!lists)
        args_name("NAME", name, NAME_KEY_BYTES);
    if (operands == 3)
        read_pause(kind, c, n < 3 ? "" : operand[2]);
    return c->verb == NULL ? show(kind, name) : change(kind, c, name);
}

static int run_breaker(char **operand)
{
    return run(&breakers, operand);
}

static int run_bucket(char **operand)
{
    return run(&buckets, operand);
}

static int run_key(char **operand)
{
    return run(&keys, operand);
}

const struct cmd spool_breaker = {
    .name = "breaker",
    .about = "list, show or change breakers",
    .usage = {"[list] [-o table|ndjson]", "show|reset|disable|enable|forget NAME",
              "trip NAME [--for D]"},
    .examples = {"spool breaker", "spool breaker show stripe", "spool breaker trip stripe --for 1h",
                 "spool breaker reset stripe"},
    .options = breaker_options,
    .run = run_breaker,
};

const struct cmd spool_bucket = {
    .name = "bucket",
    .about = "list or show buckets of throttle; close one for a while",
    .usage = {"[list] [-o table|ndjson]", "show|open|forget NAME", "close NAME D"},
    .examples = {"spool bucket", "spool bucket close api 120s"},
    .options = options,
    .run = run_bucket,
};

const struct cmd spool_key = {
    .name = "key",
    .about = "list, show or forget keys of once",
    .usage = {"[list] [-o table|ndjson]", "show|forget KEY"},
    .examples = {"spool key", "spool key forget invoice-2026-11"},
    .options = options,
    .run = run_key,
};

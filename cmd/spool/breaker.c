/* spool breaker: the state of circuits. */
#include "base/json_tree.h"
#include "resilience/circuit.h"
#include "spool/named.h"
#include "spool/verbs.h"

#include <string.h>

static const struct opt options[] = {
    OPT_DURATION(0, "for", &named_pause_ms, "trip: the pause (default: the breaker's first pause)"),
    NAMED_OPT_OUTPUT,
    OPT_END,
};

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
    int got = circuit_change(&c, how, named_pause_ms, e);
    if (how == CIRCUIT_TRIP)
        buf_printf(said, "opened until %s", clock_format(until, c.breaker.until_ms));
    else
        buf_puts(said, how == CIRCUIT_DISABLE  ? "disabled: all calls pass"
                       : how == CIRCUIT_ENABLE ? "enabled, and closed"
                                               : "closed");
    circuit_close(&c);
    return got;
}

static int trip_breaker(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_TRIP, said, e);
}

static int reset_breaker(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_RESET, said, e);
}

static int disable_breaker(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_DISABLE, said, e);
}

static int enable_breaker(struct store *s, const char *name, struct buf *said, struct err *e)
{
    return change_breaker(s, name, CIRCUIT_ENABLE, said, e);
}

static int forget_breaker(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "forgotten");
    return circuit_forget(s, name, e);
}

static const struct named_kind breakers = {
    CIRCUIT_KIND, breaker_columns, breaker_row,
    (const struct named_change[]){{"trip", trip_breaker, NULL},
                                  {"reset", reset_breaker, NULL},
                                  {"disable", disable_breaker, NULL},
                                  {"enable", enable_breaker, NULL},
                                  {"forget", forget_breaker, NULL},
                                  {0}}};

static int run_spool_breaker(char **operand)
{
    if (args_given("for") && (*operand == NULL || strcmp(*operand, "trip") != 0))
        args_usage("--for is for breaker trip");
    return named_run(&breakers, operand);
}

const struct cmd spool_breaker = {
    .name = "breaker",
    .about = "list, show or change breakers",
    .usage = {"[list] [-o table|ndjson]", "show|reset|disable|enable|forget NAME",
              "trip NAME [--for D]"},
    .examples = {"spool breaker", "spool breaker show stripe", "spool breaker trip stripe --for 1h",
                 "spool breaker reset stripe"},
    .options = options,
    .run = run_spool_breaker,
};

#include "resilience/circuit.h"

#include "base/clock.h"
#include "base/json_tree.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_KIND "breaker-output"

static const struct breaker_terms standard = {.failures = 5,
                                              .window_ms = 10000,
                                              .volume = 5,
                                              .open_ms = 30000,
                                              .open_max_ms = 600000,
                                              .probes = 1};

void circuit_open(struct circuit *c, struct store *s, const char *name,
                  const struct breaker_terms *terms)
{
    *c = (struct circuit){.store = s, .name = name, .terms = terms == NULL ? standard : *terms};
}

void circuit_close(struct circuit *c)
{
    breaker_free(&c->breaker);
}

/* ------------------------------------------------------------------------------------ as JSON */

/* Every number of the two structures, by name: one table for reading and writing. */
struct field {
    const char *name;
    size_t offset;
};

#define OF(type, member)                                                                           \
    {                                                                                              \
#member, offsetof(struct type, member)                                                     \
    }

static const struct field of_breaker[] = {
    OF(breaker, since_ms), OF(breaker, until_ms), OF(breaker, created_ms), OF(breaker, row),
    OF(breaker, trips),    OF(breaker, good),     OF(breaker, epoch),      {NULL, 0},
};
static const struct field of_terms[] = {
    OF(breaker_terms, failures),   OF(breaker_terms, error_percent),
    OF(breaker_terms, window_ms),  OF(breaker_terms, volume),
    OF(breaker_terms, open_ms),    OF(breaker_terms, open_max_ms),
    OF(breaker_terms, probes),     OF(breaker_terms, capacity),
    OF(breaker_terms, warm_up_ms), {NULL, 0},
};
static const struct field of_figures[] = {
    OF(breaker_figures, calls),
    OF(breaker_figures, successes),
    OF(breaker_figures, failures),
    OF(breaker_figures, timeouts),
    OF(breaker_figures, ignored),
    OF(breaker_figures, rejects),
    {NULL, 0},
};

static json_t *write_fields(const struct field *field, const void *from)
{
    json_t *out = json_object();

    for (; field->name != NULL; field++)
        json_object_set_new(
            out, field->name,
            json_integer(*(const int64_t *)(const void *)((const char *)from + field->offset)));
    return out;
}

static void read_fields(const struct field *field, json_t *from, void *to)
{
    for (; field->name != NULL; field++)
        *(int64_t *)(void *)((char *)to + field->offset) =
            json_integer_value(json_object_get(from, field->name));
}

static json_t *write_array(const int64_t *number, size_t n)
{
    json_t *out = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(out, json_integer(number[i]));
    return out;
}

static void read_array(json_t *from, int64_t *number, size_t n)
{
    for (size_t i = 0; i < n; i++)
        number[i] = json_integer_value(json_array_get(from, i));
}

static char *write_circuit(const struct breaker *b, const struct breaker_terms *t)
{
    json_t *root = json_object(), *slots = json_array(), *holders = json_array();

    for (size_t i = 0; i < BREAKER_SLOTS; i++)
        if (b->slot[i].calls > 0)
            json_array_append_new(slots, write_array((const int64_t *)&b->slot[i], 3));
    for (size_t i = 0; i < b->holders; i++)
        json_array_append_new(holders, json_pack("[s,b]", b->holder[i].mark, b->holder[i].probe));
    json_object_set_new(root, "state", json_integer(b->state));
    json_object_set_new(root, "disabled", json_boolean(b->disabled));
    json_object_set_new(root, "reason", tree_text(str_of(b->reason)));
    json_object_set_new(root, "breaker", write_fields(of_breaker, b));
    json_object_set_new(root, "terms", write_fields(of_terms, t));
    json_object_set_new(root, "figures", write_fields(of_figures, &b->figures));
    json_object_set_new(root, "times", write_array(b->figures.time, HISTOGRAM));
    json_object_set_new(root, "slots", slots);
    json_object_set_new(root, "holders", holders);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static void read_holders(json_t *list, struct breaker *b)
{
    size_t n = json_array_size(list);

    b->holder = mem_zero(n + 1, sizeof *b->holder);
    for (size_t i = 0; i < n; i++) {
        json_t *one = json_array_get(list, i);
        const char *mark = json_string_value(json_array_get(one, 0));
        snprintf(b->holder[b->holders].mark, BREAKER_MARK, "%s", mark == NULL ? "" : mark);
        b->holder[b->holders++].probe = json_is_true(json_array_get(one, 1));
    }
}

bool circuit_read(struct str value, struct breaker *b, struct breaker_terms *t)
{
    json_t *root = json_loadb(value.p, value.n, 0, NULL), *slots, *slot;
    size_t i;

    *b = (struct breaker){0};
    if (root == NULL)
        return false;
    json_int_t state = json_integer_value(json_object_get(root, "state"));
    b->state = state == BREAKER_OPEN || state == BREAKER_HALF_OPEN ? (enum breaker_state)state
                                                                   : BREAKER_CLOSED;
    b->disabled = json_is_true(json_object_get(root, "disabled"));
    const char *reason = json_string_value(json_object_get(root, "reason"));
    snprintf(b->reason, sizeof b->reason, "%s", reason == NULL ? "" : reason);
    read_fields(of_breaker, json_object_get(root, "breaker"), b);
    read_fields(of_terms, json_object_get(root, "terms"), t);
    read_fields(of_figures, json_object_get(root, "figures"), &b->figures);
    read_array(json_object_get(root, "times"), b->figures.time, HISTOGRAM);
    slots = json_object_get(root, "slots");
    json_array_foreach (slots, i, slot) {
        struct breaker_slot s;
        read_array(slot, (int64_t *)&s, 3);
        if (s.number >= 0)
            b->slot[s.number % BREAKER_SLOTS] = s;
    }
    read_holders(json_object_get(root, "holders"), b);
    json_decref(root);
    return true;
}

/* --------------------------------------------------------------------------------------- store */

static bool same_terms(const struct breaker_terms *a, const struct breaker_terms *b)
{
    return memcmp(a, b, sizeof *a) == 0; /* numbers of one size: no padding */
}

static bool lives(const char *mark, void *store)
{
    return mark_lives(store, mark);
}

/* Load the breaker. Our own terms take precedence over the stored ones. */
static int load(struct circuit *c, struct doc *doc, bool own_terms, struct err *e)
{
    struct breaker_terms stored = c->terms;

    breaker_free(&c->breaker);
    c->breaker = (struct breaker){0};
    if (doc_get(c->store, CIRCUIT_KIND, c->name, doc, e) < 0)
        return -1;
    if (doc->rev != 0 && !circuit_read(doc->value, &c->breaker, &stored))
        return err_set(e, EX_IOERR, "breaker %s is damaged: spool breaker forget %s",
                       err_quote_text(c->name).text, c->name);
    c->rev = doc->rev;
    if (!own_terms)
        c->terms = stored;
    c->changed = !same_terms(&stored, &c->terms);
    if (c->breaker.holders > 0)
        breaker_sweep(&c->breaker, lives, c->store);
    return 0;
}

const char *circuit_state(const struct breaker *b)
{
    static const char *const words[] = {"closed", "open", "half-open"};

    return b->disabled ? "disabled" : words[b->state];
}

json_t *circuit_figures(const struct breaker *b)
{
    static const struct {
        const char *name;
        double share;
    } percentiles[] = {{"p50_ms", 0.5}, {"p95_ms", 0.95}, {"p99_ms", 0.99}};
    json_t *out = write_fields(of_figures, &b->figures);

    for (size_t i = 0; i < sizeof percentiles / sizeof percentiles[0]; i++) {
        int64_t ms = histogram_percentile(b->figures.time, percentiles[i].share);
        json_object_set_new(out, percentiles[i].name,
                            ms < 0 || ms == INT64_MAX ? json_null() : json_integer(ms));
    }
    return out;
}

static char *about(const struct circuit *c)
{
    char text[CLOCK_TEXT_SIZE];
    const struct breaker *b = &c->breaker;
    json_t *root = json_pack("{s:o,s:s,s:o}", "breaker", tree_text(str_of(c->name)), "state",
                             circuit_state(b), "reason", tree_text(str_of(b->reason)));

    if (b->state == BREAKER_OPEN)
        json_object_set_new(root, "until", json_string(clock_format(text, b->until_ms)));
    json_t *figures = circuit_figures(b);
    json_object_update(root, figures);
    json_decref(figures);
    char *out = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return out;
}

/* 1; 0: another process was faster; -1: error. A change of state is published in the transaction
   that makes it. */
static int save(struct circuit *c, const struct doc *doc, bool changed, struct err *e)
{
    static const char *const types[] = {"sys.breaker.closed", "sys.breaker.opened",
                                        "sys.breaker.half-opened"};
    char *value = write_circuit(&c->breaker, &c->terms), *data = changed ? about(c) : NULL;
    const struct doc_put put = {.kind = CIRCUIT_KIND,
                                .name = c->name,
                                .rev = doc->rev,
                                .value = str_of(value),
                                .event = !changed              ? NULL
                                         : c->breaker.disabled ? "sys.breaker.disabled"
                                                               : types[c->breaker.state],
                                .data = changed ? str_of(data) : (struct str){NULL, 0}};
    int got = doc_put(c->store, &put, e);

    free(value);
    free(data);
    return got;
}

static int take_mark(struct circuit *c, struct err *e)
{
    return c->mark[0] != '\0' ? 0 : mark_take(c->store, c->mark, e);
}

struct breaker_ticket circuit_ask(struct circuit *c, struct err *e)
{
    const struct breaker_ticket pass = {.word = BREAKER_PASS, .epoch = -1};
    struct breaker_ticket ticket;
    struct doc doc;
    int got;

    do {
        if (load(c, &doc, true, e) < 0)
            return pass;
        /* Closed, with no capacity to count: nothing to save until the call's report. */
        bool silent = c->breaker.state == BREAKER_CLOSED && c->terms.capacity == 0 && doc.rev != 0;
        if (!silent && take_mark(c, e) < 0)
            return pass;
        ticket = breaker_ask(&c->breaker, &c->terms, c->mark, clock_now_ms());
        if (!silent)
            c->rev = 0; /* saving makes another revision */
        got = silent ? 1 : save(c, &doc, ticket.changed, e);
    } while (got == 0);
    return got < 0 ? pass : ticket;
}

int circuit_report(struct circuit *c, const struct breaker_ticket *ticket,
                   enum breaker_outcome outcome, int64_t took_ms, const char *why, struct err *e)
{
    struct doc doc = {.rev = c->rev};
    bool changed;
    int got;

    do {
        /* The document read when asking is seldom out of date, and saving detects when it is. */
        if ((c->rev == 0 || c->rev != doc.rev) && load(c, &doc, true, e) < 0)
            return -1;
        c->rev = 0;
        int64_t now = clock_now_ms();
        if (c->breaker.created_ms == 0) /* it was forgotten in the meantime */
            c->breaker.created_ms = c->breaker.since_ms = now;
        changed =
            breaker_report(&c->breaker, &c->terms, ticket, c->mark, outcome, took_ms, why, now);
        got = save(c, &doc, changed, e);
    } while (got == 0);
    if (c->mark[0] != '\0')
        mark_drop(c->store, c->mark);
    c->mark[0] = '\0';
    return got < 0 ? -1 : changed;
}

int circuit_change(struct circuit *c, enum circuit_change how, int64_t pause_ms, struct err *e)
{
    struct doc doc;
    int got;

    do {
        int64_t now = clock_now_ms();
        if (load(c, &doc, false, e) < 0)
            return -1;
        if (doc.rev == 0 && (how == CIRCUIT_RESET || how == CIRCUIT_ENABLE))
            return err_set(e, EX_NOINPUT, "there is no breaker %s", err_quote_text(c->name).text);
        struct breaker *b = &c->breaker;
        if (b->created_ms == 0)
            b->created_ms = now;
        b->disabled = how == CIRCUIT_DISABLE;
        if (how == CIRCUIT_TRIP)
            breaker_trip(b, &c->terms, pause_ms, "opened by hand", now);
        else
            breaker_reset(b,
                          how == CIRCUIT_RESET    ? "closed by hand"
                          : how == CIRCUIT_ENABLE ? "enabled by hand"
                                                  : "disabled by hand",
                          now);
        got = save(c, &doc, true, e);
    } while (got == 0);
    return got < 0 ? -1 : 0;
}

int circuit_forget(struct store *s, const char *name, struct err *e)
{
    int got = doc_forget(s, CIRCUIT_KIND, name, e);

    if (got == 0)
        return err_set(e, EX_NOINPUT, "there is no breaker %s", err_quote_text(name).text);
    return got < 0 || doc_forget(s, OUTPUT_KIND, name, e) < 0 ? -1 : 0;
}

/* -------------------------------------------------------------------------------------- output */

int circuit_keep_output(struct circuit *c, struct str output, int64_t keep_ms, struct err *e)
{
    struct doc_put put = {.kind = OUTPUT_KIND,
                          .name = c->name,
                          .value = output,
                          .expires_ms = clock_now_ms() + keep_ms};
    struct doc doc;
    int got;

    do {
        if (doc_get(c->store, OUTPUT_KIND, c->name, &doc, e) < 0)
            return -1;
        put.rev = doc.rev;
    } while ((got = doc_put(c->store, &put, e)) == 0);
    return got < 0 ? -1 : 0;
}

int circuit_output(struct circuit *c, struct str *output, struct err *e)
{
    struct doc doc;
    int got = doc_get(c->store, OUTPUT_KIND, c->name, &doc, e);

    *output = doc.value;
    return got;
}

#include "resilience/circuit.h"

#include "base/clock.h"
#include "base/json.h"
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

static int64_t *member_of(const struct field *field, const void *of)
{
    return (int64_t *)(void *)((char *)(uintptr_t)of + field->offset);
}

static void write_fields(struct buf *out, const struct field *field, const void *from)
{
    for (char before = '{'; field->name != NULL; field++, before = ',') {
        buf_char(out, before);
        js_quote(out, str_of(field->name));
        buf_char(out, ':');
        buf_int(out, *member_of(field, from));
    }
    buf_char(out, '}');
}

static void read_fields(const struct field *field, struct str from, void *to)
{
    struct str key, item;

    for (const struct field *f = field; f->name != NULL; f++)
        *member_of(f, to) = 0;
    for (size_t at = 0; js_each(from, &at, &key, &item);)
        for (const struct field *f = field; f->name != NULL; f++)
            if (key.n > 2 && str_is((struct str){key.p + 1, key.n - 2}, f->name))
                js_integer(item, member_of(f, to));
}

static void write_array(struct buf *out, const int64_t *number, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        buf_char(out, i == 0 ? '[' : ',');
        buf_int(out, number[i]);
    }
    buf_char(out, ']');
}

static void read_array(struct str from, int64_t *number, size_t n)
{
    struct str key, item;

    for (size_t i = 0, at = 0; i < n; i++) {
        number[i] = 0;
        if (js_each(from, &at, &key, &item))
            js_integer(item, &number[i]);
    }
}

/* By hand instead of by a tree, which cost a seventh of what a call through a breaker does. */
static void write_circuit(struct buf *out, const struct breaker *b, const struct breaker_terms *t)
{
    const char *before = "";

    buf_printf(out, "{\"state\":%d,\"disabled\":%s,\"reason\":", b->state,
               b->disabled ? "true" : "false");
    js_quote(out, str_of(b->reason));
    buf_puts(out, ",\"breaker\":");
    write_fields(out, of_breaker, b);
    buf_puts(out, ",\"terms\":");
    write_fields(out, of_terms, t);
    buf_puts(out, ",\"figures\":");
    write_fields(out, of_figures, &b->figures);
    buf_puts(out, ",\"times\":");
    write_array(out, b->figures.time, HISTOGRAM);
    buf_puts(out, ",\"slots\":[");
    for (size_t i = 0; i < BREAKER_SLOTS; i++)
        if (b->slot[i].calls > 0) {
            buf_puts(out, before);
            write_array(out, (const int64_t *)&b->slot[i], 3);
            before = ",";
        }
    buf_puts(out, "],\"holders\":[");
    for (size_t i = 0; i < b->holders; i++) {
        buf_puts(out, i == 0 ? "[" : ",[");
        js_quote(out, str_of(b->holder[i].mark));
        buf_puts(out, b->holder[i].probe ? ",true]" : ",false]");
    }
    buf_puts(out, "]}");
}

/* The value of a member of the document; "null" when the document has no such member. */
static struct str value_of(const struct js_scan *doc, const char *name)
{
    const struct js_member *m = js_member(doc, name);

    return m == NULL ? STR("null") : m->value;
}

/* "" for what is not a string. */
static void read_string(struct str value, char *out, size_t size)
{
    struct buf decoded = BUF_INIT;
    struct str text = js_kind(value) == JS_STRING ? js_string(value, &decoded) : STR("");

    snprintf(out, size, "%.*s", (int)text.n, text.p);
    buf_free(&decoded);
}

static void read_holders(struct str list, struct breaker *b)
{
    struct str key, one, mark, probe;

    for (size_t at = 0; js_each(list, &at, &key, &one);) {
        size_t in = 0;
        b->holder = mem_grow(b->holder, b->holders + 1, sizeof *b->holder);
        struct breaker_holder *h = &b->holder[b->holders++];
        *h = (struct breaker_holder){.probe = false};
        if (js_each(one, &in, &key, &mark))
            read_string(mark, h->mark, sizeof h->mark);
        if (js_each(one, &in, &key, &probe))
            h->probe = str_is(probe, "true");
    }
}

bool circuit_read(struct str value, struct breaker *b, struct breaker_terms *t)
{
    struct js_scan doc = JS_SCAN_INIT;
    struct err ignored = ERR_NONE;
    struct str key, slot;
    int64_t state = 0;

    *b = (struct breaker){0};
    bool good = js_scan(&doc, value.p, value.n, &ignored) == 0;
    if (good) {
        js_integer(value_of(&doc, "state"), &state);
        b->state = state == BREAKER_OPEN || state == BREAKER_HALF_OPEN ? (enum breaker_state)state
                                                                       : BREAKER_CLOSED;
        b->disabled = str_is(value_of(&doc, "disabled"), "true");
        read_string(value_of(&doc, "reason"), b->reason, sizeof b->reason);
        read_fields(of_breaker, value_of(&doc, "breaker"), b);
        read_fields(of_terms, value_of(&doc, "terms"), t);
        read_fields(of_figures, value_of(&doc, "figures"), &b->figures);
        read_array(value_of(&doc, "times"), b->figures.time, HISTOGRAM);
        for (size_t at = 0; js_each(value_of(&doc, "slots"), &at, &key, &slot);) {
            struct breaker_slot s;
            read_array(slot, (int64_t *)&s, 3);
            if (s.number >= 0)
                b->slot[s.number % BREAKER_SLOTS] = s;
        }
        read_holders(value_of(&doc, "holders"), b);
    }
    js_scan_free(&doc);
    return good;
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
    json_t *out = json_object();

    for (const struct field *f = of_figures; f->name != NULL; f++)
        json_object_set_new(out, f->name, json_integer(*member_of(f, &b->figures)));
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
    char *data = changed ? about(c) : NULL;
    struct buf value = BUF_INIT;

    write_circuit(&value, &c->breaker, &c->terms);
    const struct doc_put put = {.kind = CIRCUIT_KIND,
                                .name = c->name,
                                .rev = doc->rev,
                                .value = {value.p, value.n},
                                .event = !changed              ? NULL
                                         : c->breaker.disabled ? "sys.breaker.disabled"
                                                               : types[c->breaker.state],
                                .data = changed ? str_of(data) : (struct str){NULL, 0}};
    int got = doc_put(c->store, &put, e);

    buf_free(&value);
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

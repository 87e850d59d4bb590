/*
 * Reading continues after a mistake, so that every mistake is reported: first the names of the
 * states, because targets refer to them, then the contents of each state.
 */
#include "fsm/machine.h"

#include "base/mem.h"
#include "event/event.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const char *const ops[] = {"<", "<=", "==", "!=", ">=", ">"};

/* ------------------------------------------------------------------------------------ findings */

struct reading {
    struct machine *m;
    struct buf *wrong;
    const char *state, *type; /* the current state; NULL: the top level */
};

static void find(struct buf *findings, const char *state, const char *type, const char *text)
{
    if (state != NULL)
        buf_printf(findings, "state %s: ", err_quote_text(state).text);
    if (type != NULL)
        buf_printf(findings, "on %s: ", err_quote_text(type).text);
    buf_puts(findings, text);
    buf_char(findings, '\0');
}

__attribute__((format(printf, 2, 3))) static void complain(struct reading *r, const char *format,
                                                           ...)
{
    char text[1000];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    find(r->wrong, r->state, r->type, text);
}

/* XState's keys that do not affect behaviour. */
static bool is_comment(const char *key)
{
    static const char *const keys[] = {
        "description", "meta", "tags", "predictableActionArguments", "$schema", "version"};

    for (size_t i = 0; i < LENGTH(keys); i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

#define EFFECT "; what is to happen then is a handler of the transition's event"

static const struct {
    const char *key, *instead;
} xstate[] = {
    {"after", "; a delay is publish --delay"},
    {"entry", EFFECT},
    {"exit", EFFECT},
    {"actions", EFFECT},
    {"invoke", EFFECT},
    {"activities", EFFECT},
    {"context", "; a condition sees the event and nothing else"},
    {"states", "; a state has no states of its own"},
    {"initial", "; a state has no states of its own"},
    {"on", "; it belongs to a state"},
    {"id", "; a target is the name of a state"},
    {"type", "; only the machine's states have one"},
    {"always", ""},
    {"history", ""},
    {"onDone", ""},
    {"onError", ""},
    {"data", ""},
    {"output", ""},
    {"delimiter", ""},
    {"strict", ""},
    {"schema", ""},
    {"schemas", ""},
    {"types", ""},
    {"order", ""},
    {"in", ""},
    {"internal", ""},
    {"reenter", ""},
};

static void check_members(struct reading *r, json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;

    json_object_foreach (object, key, value) {
        const char *const *k = known;
        size_t i = 0;
        while (*k != NULL && strcmp(*k, key) != 0)
            k++;
        while (i < LENGTH(xstate) && strcmp(xstate[i].key, key) != 0)
            i++;
        if (*k != NULL || is_comment(key))
            continue;
        if (i < LENGTH(xstate))
            complain(r, "\"%s\" of XState is not done here%s", key, xstate[i].instead);
        else
            complain(r, "unknown member %s", err_quote_text(key).text);
    }
}

/* --------------------------------------------------------------------------------------- names */

bool machine_find(const struct machine *m, struct str state, size_t *out)
{
    for (*out = 0; *out < m->states; ++*out)
        if (str_is(state, m->state[*out].name))
            return true;
    return false;
}

static const char *nearest(const struct machine *m, const char *name)
{
    size_t best = 3;
    const char *found = NULL;

    for (size_t i = 0; i < m->states && strlen(name) <= 100; i++) {
        size_t far = str_distance(str_of(name), str_of(m->state[i].name));
        if (far < best) {
            best = far;
            found = m->state[i].name;
        }
    }
    return found;
}

static bool find_target(struct reading *r, const char *name, size_t *out)
{
    const char *near;

    if (machine_find(r->m, str_of(name), out))
        return true;
    if ((near = nearest(r->m, name)) != NULL)
        complain(r, "there is no state %s; is it %s?", err_quote_text(name).text,
                 err_quote_text(near).text);
    else
        complain(r, "there is no state %s", err_quote_text(name).text);
    return false;
}

static bool has_control(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return true;
    return false;
}

/* The name becomes the second half of a type. */
static void check_state_name(struct reading *r)
{
    if (*r->state == '\0' || has_control(r->state) ||
        strlen(r->m->name) + 1 + strlen(r->state) > EVENT_ATTRIBUTE_MAX)
        complain(r, "its name does not make a type: it is empty, too long or has a control "
                    "character");
}

static void read_name(struct reading *r, json_t *id, struct str name)
{
    if (id != NULL && !json_is_string(id))
        complain(r, "\"id\" is not a string");
    r->m->name = json_is_string(id) ? mem_dup(json_string_value(id), json_string_length(id))
                                    : mem_dup(name.p == NULL ? "" : name.p, name.n);
    if (*r->m->name == '\0' || has_control(r->m->name) || strchr(r->m->name, '/') != NULL)
        complain(r,
                 "its name, %s, is empty or has a slash or a control character: \"id\" gives it "
                 "another",
                 err_quote_text(r->m->name).text);
    if (strcmp(r->m->name, "sys") == 0 || strncmp(r->m->name, "sys.", 4) == 0)
        complain(r, "its name is %s: types that begin with sys. are the toolkit's own",
                 err_quote_text(r->m->name).text);
}

/* --------------------------------------------------------------------------------------- rules */

/* 15 digits print a number as people write it; 17 distinguish all numbers. */
static char *value_text(json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));

    if (!json_is_real(value) || strtod(text, NULL) == json_real_value(value))
        return text;
    free(text);
    return json_dumps(value, JSON_ENCODE_ANY);
}

static bool read_condition(struct reading *r, json_t *cond, struct machine_rule *rule)
{
    static const char *const known[] = {"pointer", "op", "value", "type", NULL};
    const char *pointer = json_string_value(json_object_get(cond, "pointer"));
    const char *op = json_string_value(json_object_get(cond, "op"));
    json_t *value = json_object_get(cond, "value");
    struct err bad = ERR_NONE;
    size_t i = 0;

    if (pointer == NULL || op == NULL || value == NULL) {
        complain(r, "a condition is {\"pointer\": \"/data/…\", \"op\": \"<\", \"value\": …}");
        return false;
    }
    check_members(r, cond, known);
    while (i < LENGTH(ops) && strcmp(op, ops[i]) != 0)
        i++;
    if (i == LENGTH(ops))
        complain(r, "\"op\" is one of < <= == != >= >: %s", err_quote_text(op).text);
    if (js_pointer_check(pointer, &bad) < 0)
        complain(r, "%s", bad.text);
    if (json_is_object(value) || json_is_array(value))
        complain(r, "\"value\" is a number, a string, true, false or null");
    else if (!json_is_number(value) && !json_is_string(value) && i != MACHINE_EQUAL &&
             i != MACHINE_OTHER)
        complain(r, "true, false and null are only compared with == and !=");
    rule->op = (enum machine_op)i;
    rule->pointer = mem_dup(pointer, strlen(pointer));
    rule->value = value_text(value);
    return true;
}

/* A target: a name, or an object with one. XState calls a condition cond, and guard since version
   5. */
static bool read_rule(struct reading *r, json_t *item, struct machine_rule *rule)
{
    static const char *const known[] = {"target", "cond", "guard", NULL};
    json_t *target = json_is_object(item) ? json_object_get(item, "target") : item;
    json_t *cond = json_object_get(item, "cond"), *guard = json_object_get(item, "guard");

    if (json_is_object(item))
        check_members(r, item, known);
    if (!json_is_string(target)) {
        complain(r, "a target is the name of a state");
        return false;
    }
    if (cond != NULL && guard != NULL)
        complain(r, "\"cond\" and \"guard\" are the same: give one of them");
    if (!find_target(r, json_string_value(target), &rule->target))
        return false;
    return (cond == NULL && guard == NULL) || read_condition(r, cond != NULL ? cond : guard, rule);
}

static void add_rule(struct reading *r, struct machine_state *state, json_t *item)
{
    struct machine_rule rule = {.type = mem_dup(r->type, strlen(r->type))};

    if (read_rule(r, item, &rule)) {
        state->rule = mem_grow(state->rule, state->rules + 1, sizeof rule);
        state->rule[state->rules++] = rule;
        return;
    }
    free(rule.type);
    free(rule.pointer);
}

static void read_type(struct reading *r, struct machine_state *state, json_t *to)
{
    size_t i;
    json_t *item;

    if (*r->type == '\0' || has_control(r->type) || strlen(r->type) > EVENT_ATTRIBUTE_MAX)
        complain(r, "this is no type: it is empty, too long or has a control character");
    if (strchr(r->type, '*') != NULL)
        complain(r, "wildcards of XState are not done here; name each type");
    if (!json_is_array(to)) {
        add_rule(r, state, to);
        return;
    }
    if (json_array_size(to) == 0)
        complain(r, "the list of targets is empty");
    json_array_foreach (to, i, item) {
        add_rule(r, state, item);
    }
}

/* -------------------------------------------------------------------------------------- states */

static void read_state(struct reading *r, struct machine_state *state, json_t *object)
{
    static const char *const known[] = {"on", "type", NULL};
    json_t *on = json_object_get(object, "on"), *type = json_object_get(object, "type");
    const char *word = type == NULL ? "atomic" : json_string_value(type);
    json_t *to;

    check_state_name(r);
    if (!json_is_object(object)) {
        complain(r, "a state is an object");
        return;
    }
    check_members(r, object, known);
    if (word == NULL || (strcmp(word, "atomic") != 0 && strcmp(word, "final") != 0))
        complain(r, "its \"type\" is \"final\" or nothing: others of XState are not done here");
    state->final = word != NULL && strcmp(word, "final") == 0;
    if (on != NULL && !json_is_object(on))
        complain(r, "\"on\" is an object: a target for each type of event");
    if (state->final && json_object_size(on) > 0)
        complain(r, "it is final, and accepts nothing");
    json_object_foreach (on, r->type, to) {
        read_type(r, state, to);
    }
    r->type = NULL;
}

static void read_states(struct reading *r, json_t *states)
{
    json_t *object;
    size_t i = 0;

    if (json_object_size(states) == 0) {
        complain(r, "\"states\" is an object with a member for each state");
        return;
    }
    r->m->state = mem_zero(json_object_size(states), sizeof *r->m->state);
    json_object_foreach (states, r->state, object) {
        r->m->state[r->m->states++].name = mem_dup(r->state, strlen(r->state));
    }
    json_object_foreach (states, r->state, object) {
        read_state(r, &r->m->state[i++], object);
    }
    r->state = NULL;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The types are the rules' own texts. */
static void collect_types(struct machine *m)
{
    size_t n = 0;

    for (size_t i = 0; i < m->states; i++)
        n += m->state[i].rules;
    m->type = mem_alloc((n + 1) * sizeof *m->type);
    for (size_t i = 0; i < m->states; i++)
        for (size_t j = 0; j < m->state[i].rules; j++)
            m->type[m->types++] = m->state[i].rule[j].type;
    qsort(m->type, m->types, sizeof *m->type, by_name);
}

static void read_machine(struct reading *r, json_t *root, struct str name)
{
    static const char *const known[] = {"id", "initial", "states", NULL};
    const char *initial = json_string_value(json_object_get(root, "initial"));

    if (!json_is_object(root)) {
        complain(r, "a machine is an object");
        return;
    }
    check_members(r, root, known);
    read_name(r, json_object_get(root, "id"), name);
    read_states(r, json_object_get(root, "states"));
    if (initial == NULL)
        complain(r, "\"initial\" names the state that a subject begins in");
    else if (r->m->states > 0)
        find_target(r, initial, &r->m->initial);
    collect_types(r->m);
}

int machine_read(struct machine *m, struct str json, struct str name,
                 struct machine_findings *findings, struct err *e)
{
    struct reading r = {.m = m, .wrong = &findings->wrong};
    json_error_t error;
    json_t *root = json_loadb(json.p, json.n, JSON_REJECT_DUPLICATES, &error);

    *m = (struct machine)MACHINE_INIT;
    buf_reset(&findings->wrong);
    buf_reset(&findings->doubtful);
    if (root == NULL)
        return err_set(e, EX_DATAERR, "line %d: %s", error.line, error.text);
    read_machine(&r, root, name);
    json_decref(root);
    return findings->wrong.n == 0 ? 0 : -1;
}

void machine_free(struct machine *m)
{
    for (size_t i = 0; i < m->states; i++) {
        for (size_t j = 0; j < m->state[i].rules; j++) {
            free(m->state[i].rule[j].type);
            free(m->state[i].rule[j].pointer);
            free(m->state[i].rule[j].value);
        }
        free(m->state[i].rule);
        free(m->state[i].name);
    }
    free(m->state);
    free(m->type);
    free(m->name);
    *m = (struct machine)MACHINE_INIT;
}

void machine_findings_free(struct machine_findings *findings)
{
    buf_free(&findings->wrong);
    buf_free(&findings->doubtful);
}

/* --------------------------------------------------------------------------------------- check */

/* Mark the states that can be reached from marked ones; or, backwards, those from which marked ones
   can be reached. */
static void spread(const struct machine *m, bool *marked, bool backwards)
{
    bool more = true;

    while (more) {
        more = false;
        for (size_t i = 0; i < m->states; i++)
            for (size_t j = 0; j < m->state[i].rules; j++) {
                size_t target = m->state[i].rule[j].target;
                size_t from = backwards ? target : i, to = backwards ? i : target;
                if (marked[from] && !marked[to])
                    more = marked[to] = true;
            }
    }
}

static bool leads_elsewhere(const struct machine *m, size_t i)
{
    for (size_t j = 0; j < m->state[i].rules; j++)
        if (m->state[i].rule[j].target != i)
            return true;
    return false;
}

/* Targets after an unconditional target of the same type are never taken. */
static void check_rules(const struct machine_state *state, struct buf *doubtful)
{
    for (size_t j = 1; j < state->rules; j++)
        if (state->rule[j - 1].pointer == NULL &&
            strcmp(state->rule[j - 1].type, state->rule[j].type) == 0)
            find(doubtful, state->name, state->rule[j].type,
                 "a target behind one without a condition is never taken");
}

/* A transition that the machine itself accepts as an event: on one log it would react to itself. */
static void check_types(const struct machine *m, struct buf *doubtful)
{
    struct buf type = BUF_INIT;

    for (size_t i = 0; i < m->states; i++) {
        buf_reset(&type);
        buf_printf(&type, "%s.%s", m->name, m->state[i].name);
        if (machine_knows(m, (struct str){type.p, type.n}))
            find(doubtful, m->state[i].name, buf_text(&type),
                 "an event of this type is also its own transition; give the machine another id");
    }
    buf_free(&type);
}

void machine_check(const struct machine *m, struct machine_findings *findings)
{
    bool *reached = mem_zero(m->states + 1, sizeof *reached);
    bool *ends = mem_zero(m->states + 1, sizeof *ends), any = false;

    reached[m->initial] = true;
    for (size_t i = 0; i < m->states; i++)
        any |= ends[i] = m->state[i].final;
    spread(m, reached, false);
    spread(m, ends, true);
    for (size_t i = 0; i < m->states; i++) {
        const struct machine_state *state = &m->state[i];
        if (!reached[i])
            find(&findings->doubtful, state->name, NULL, "nothing leads to it");
        if (!state->final && !leads_elsewhere(m, i))
            find(&findings->doubtful, state->name, NULL, "a dead end that is not final");
        else if (any && !ends[i])
            find(&findings->doubtful, state->name, NULL, "no final state can be reached from it");
        check_rules(state, &findings->doubtful);
    }
    check_types(m, &findings->doubtful);
    free(reached);
    free(ends);
}

/* ---------------------------------------------------------------------------------------- step */

static int type_by_name(const void *a, const void *b)
{
    const struct str *type = a;
    const char *name = *(char *const *)b;
    int c = strncmp(type->p, name, type->n);

    return c != 0 ? c : -(name[type->n] != '\0');
}

bool machine_knows(const struct machine *m, struct str type)
{
    return bsearch(&type, m->type, m->types, sizeof *m->type, type_by_name) != NULL;
}

static int compare_doubles(double x, double y)
{
    return (x > y) - (x < y);
}

static int compare_strings(struct str a, struct str b)
{
    struct buf x = BUF_INIT, y = BUF_INIT;

    a = js_string(a, &x);
    b = js_string(b, &y);
    int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    c = c != 0 ? c : (a.n > b.n) - (a.n < b.n);
    buf_free(&x);
    buf_free(&y);
    return c;
}

/* Both are parts of a longer text, or end in a NUL, where strtod stops. */
static int compare_numbers(struct str a, struct str b)
{
    int64_t x, y;

    if (js_integer(a, &x) && js_integer(b, &y))
        return (x > y) - (x < y);
    return compare_doubles(strtod(a.p, NULL), strtod(b.p, NULL));
}

static bool holds(const struct machine_rule *rule, struct str event)
{
    struct str got, wanted = str_of(rule->value);
    int c;

    if (rule->pointer == NULL)
        return true;
    if ((got = js_pointer(event, rule->pointer)).p == NULL)
        return false;
    enum js_kind kind = js_kind(got);
    if (kind != js_kind(wanted))
        return rule->op == MACHINE_OTHER;
    if (kind == JS_NUMBER)
        c = compare_numbers(got, wanted);
    else if (kind == JS_STRING)
        c = compare_strings(got, wanted);
    else
        c = !str_eq(got, wanted);
    switch (rule->op) {
    case MACHINE_LESS:
        return c < 0;
    case MACHINE_AT_MOST:
        return c <= 0;
    case MACHINE_EQUAL:
        return c == 0;
    case MACHINE_OTHER:
        return c != 0;
    case MACHINE_AT_LEAST:
        return c >= 0;
    default:
        return c > 0;
    }
}

enum machine_answer machine_step(const struct machine *m, size_t from, struct str type,
                                 struct str event, size_t *to)
{
    const struct machine_state *state = &m->state[from];
    enum machine_answer answer = MACHINE_REFUSED;

    for (size_t j = 0; j < state->rules; j++) {
        if (!str_is(type, state->rule[j].type))
            continue;
        if (holds(&state->rule[j], event)) {
            *to = state->rule[j].target;
            return MACHINE_TAKEN;
        }
        answer = MACHINE_UNMET;
    }
    return answer;
}

/* ----------------------------------------------------------------------------------------- dot */

static void dot_rule(const struct machine *m, const struct machine_state *state,
                     const struct machine_rule *rule, struct buf *b)
{
    struct buf label = BUF_INIT;

    buf_puts(&label, rule->type);
    if (rule->pointer != NULL)
        buf_printf(&label, " [%s %s %s]", rule->pointer, ops[rule->op], rule->value);
    buf_puts(b, "    ");
    js_quote(b, str_of(state->name));
    buf_puts(b, " -> ");
    js_quote(b, str_of(m->state[rule->target].name));
    buf_puts(b, " [label=");
    js_quote(b, (struct str){label.p, label.n});
    buf_puts(b, "];\n");
    buf_free(&label);
}

void machine_dot(const struct machine *m, struct buf *b)
{
    buf_puts(b, "digraph ");
    js_quote(b, str_of(m->name));
    buf_puts(b, " {\n    node [shape=box, style=rounded];\n    \"\" [shape=point];\n    \"\" -> ");
    js_quote(b, str_of(m->state[m->initial].name));
    buf_puts(b, ";\n");
    for (size_t i = 0; i < m->states; i++) {
        buf_puts(b, "    ");
        js_quote(b, str_of(m->state[i].name));
        buf_puts(b, m->state[i].final ? " [peripheries=2];\n" : ";\n");
        for (size_t j = 0; j < m->state[i].rules; j++)
            dot_rule(m, &m->state[i], &m->state[i].rule[j], b);
    }
    buf_puts(b, "}\n");
}

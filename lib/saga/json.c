/*
 * Sagas as JSON: definitions that people write, and documents that the spool keeps.
 */
#include "saga/saga.h"

#include "base/duration.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct backoff standard = {200, 30000, BACKOFF_EQUAL};

/* ---------------------------------------------------------------------------------- definition */

static bool known(const char *key, const char *const *keys)
{
    while (*keys != NULL && strcmp(key, *keys) != 0)
        keys++;
    return *keys != NULL;
}

static int check_keys(json_t *object, const char *const *keys, const char *where, struct err *e)
{
    const char *key;
    json_t *value;

    json_object_foreach (object, key, value)
        if (!known(key, keys))
            return err_set(e, EX_DATAERR, "%sunknown key %s", where, err_quote_text(key).text);
    return 0;
}

/* A command: an array of one or more strings. */
static int read_command(json_t *from, const char *what, json_t **to, const char *where,
                        struct err *e)
{
    json_t *word;
    size_t i;

    *to = NULL;
    if (from == NULL)
        return 0;
    if (!json_is_array(from) || json_array_size(from) == 0)
        return err_set(e, EX_DATAERR, "%s\"%s\" is not a command like [\"./reserve\",\"now\"]",
                       where, what);
    json_array_foreach (from, i, word)
        if (!json_is_string(word) || strlen(json_string_value(word)) != json_string_length(word))
            return err_set(e, EX_DATAERR, "%s\"%s\" has a word that is not a string", where, what);
    *to = from;
    return 0;
}

static int read_duration(json_t *object, const char *key, int64_t *ms, const char *where,
                         struct err *e)
{
    json_t *value = json_object_get(object, key);
    struct err wrong = ERR_NONE;

    if (value == NULL)
        return 0;
    if (!json_is_string(value) || duration_read(json_string_value(value), ms, &wrong) < 0)
        return err_set(e, EX_DATAERR, "%s\"%s\" wants a duration like \"10s\"", where, key);
    return 0;
}

static int read_retry(struct saga_step *t, json_t *from, const char *where, struct err *e)
{
    static const char *const keys[] = {"attempts", "base", "max", NULL};
    json_t *attempts = json_object_get(from, "attempts");

    t->attempts = 3;
    t->backoff = standard;
    if (from == NULL)
        return 0;
    if (!json_is_object(from))
        return err_set(e, EX_DATAERR, "%s\"retry\" is not an object", where);
    if (check_keys(from, keys, where, e) < 0 ||
        read_duration(from, "base", &t->backoff.base_ms, where, e) < 0 ||
        read_duration(from, "max", &t->backoff.max_ms, where, e) < 0)
        return -1;
    if (attempts != NULL && (!json_is_integer(attempts) || json_integer_value(attempts) < 1 ||
                             json_integer_value(attempts) > 1000000))
        return err_set(e, EX_DATAERR, "%s\"attempts\" wants a number from 1 to 1000000", where);
    if (attempts != NULL)
        t->attempts = json_integer_value(attempts);
    if (t->backoff.max_ms < t->backoff.base_ms)
        t->backoff.max_ms = t->backoff.base_ms;
    return 0;
}

static int read_step(struct saga_step *t, json_t *from, size_t number, struct err *e)
{
    static const char *const keys[] = {"name",    "do",    "undo",  "after",
                                       "timeout", "retry", "pivot", NULL};
    const char *name = json_string_value(json_object_get(from, "name"));
    json_t *pivot = json_object_get(from, "pivot");
    char where[400];

    if (!json_is_object(from))
        return err_set(e, EX_DATAERR, "step %zu is not an object", number);
    if (name == NULL || *name == '\0')
        return err_set(e, EX_DATAERR, "step %zu has no \"name\"", number);
    snprintf(where, sizeof where, "step %.380s: ", err_quote_text(name).text);
    if (name_check("its name", str_of(name), 100, e) < 0) {
        e->status = EX_DATAERR;
        return err_at(e, "%s", where);
    }
    if (strpbrk(name, "/ ") != NULL || strcmp(name, "undo") == 0) /* ID/STEP, ID/STEP/undo */
        return err_set(e, EX_DATAERR, "%sa name has no slash or space, and is not \"undo\"", where);
    if (json_object_get(from, "do") == NULL)
        return err_set(e, EX_DATAERR, "%shas no \"do\"", where);
    if (pivot != NULL && !json_is_boolean(pivot))
        return err_set(e, EX_DATAERR, "%s\"pivot\" is neither true nor false", where);
    t->name = name;
    t->pivot = json_is_true(pivot);
    if (check_keys(from, keys, where, e) < 0 ||
        read_command(json_object_get(from, "do"), "do", &t->run, where, e) < 0 ||
        read_command(json_object_get(from, "undo"), "undo", &t->undo, where, e) < 0 ||
        read_duration(from, "timeout", &t->timeout_ms, where, e) < 0)
        return -1;
    return read_retry(t, json_object_get(from, "retry"), where, e);
}

static int read_after(struct saga *s, size_t i, json_t *from, struct err *e)
{
    struct saga_step *t = &s->step[i];
    json_t *name;
    size_t k;

    if (from == NULL)
        return 0;
    if (!json_is_array(from))
        return err_set(e, EX_DATAERR, "step %s: \"after\" is not an array of names",
                       err_quote_text(t->name).text);
    t->after = mem_zero(json_array_size(from) + 1, sizeof *t->after);
    json_array_foreach (from, k, name) {
        size_t other = json_is_string(name) ? saga_find(s, json_string_value(name)) : s->steps;
        if (other == s->steps)
            return err_set(e, EX_DATAERR, "step %s: \"after\" names no step: %s",
                           err_quote_text(t->name).text,
                           json_is_string(name) ? err_quote_text(json_string_value(name)).text
                                                : "not a string");
        t->after[t->afters++] = other;
    }
    return 0;
}

/* If no step has "after", each step comes after the previous one in the file. */
static int read_order(struct saga *s, json_t *steps, struct err *e)
{
    bool written = true;
    json_t *step;
    size_t i;

    json_array_foreach (steps, i, step)
        written &= json_object_get(step, "after") == NULL;
    for (i = 0; i < s->steps; i++) {
        if (!written && read_after(s, i, json_object_get(json_array_get(steps, i), "after"), e) < 0)
            return -1;
        if (written && i > 0) {
            s->step[i].after = mem_zero(1, sizeof *s->step[i].after);
            s->step[i].after[s->step[i].afters++] = i - 1;
        }
    }
    return 0;
}

/* Remove steps that come after no other, again and again: any steps that remain form a cycle. */
static int check_cycle(const struct saga *s, struct err *e)
{
    bool *gone = mem_zero(s->steps, sizeof *gone);
    size_t left = s->steps;
    struct buf names = BUF_INIT;

    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < s->steps; i++) {
            bool free_ = !gone[i];
            for (size_t k = 0; k < s->step[i].afters; k++)
                free_ &= gone[s->step[i].after[k]];
            if (free_) {
                gone[i] = more = true;
                left--;
            }
        }
    }
    for (size_t i = 0; i < s->steps; i++)
        if (!gone[i])
            buf_printf(&names, "%s%s", names.n == 0 ? "" : ", ",
                       err_quote_text(s->step[i].name).text);
    if (left > 0)
        err_set(e, EX_DATAERR, "\"after\" forms a cycle: %.500s", buf_text(&names));
    buf_free(&names);
    free(gone);
    return left > 0 ? -1 : 0;
}

static int read_steps(struct saga *s, json_t *steps, struct err *e)
{
    json_t *step;
    size_t i;

    if (!json_is_array(steps) || json_array_size(steps) == 0)
        return err_set(e, EX_DATAERR, "has no \"steps\"");
    if (json_array_size(steps) > SAGA_STEPS_MAX)
        return err_set(e, EX_DATAERR, "has more than %d steps", SAGA_STEPS_MAX);
    s->step = mem_zero(json_array_size(steps), sizeof *s->step);
    json_array_foreach (steps, i, step) {
        if (read_step(&s->step[i], step, i + 1, e) < 0)
            return -1;
        if (saga_find(s, s->step[i].name) < s->steps)
            return err_set(e, EX_DATAERR, "two steps are called %s",
                           err_quote_text(s->step[i].name).text);
        s->steps++;
    }
    return read_order(s, steps, e) < 0 ? -1 : check_cycle(s, e);
}

static int read_definition(struct saga *s, json_t *root, struct err *e)
{
    static const char *const keys[] = {"name", "description", "steps", NULL};

    s->definition = root;
    if (!json_is_object(root))
        return err_set(e, EX_DATAERR, "is not an object");
    s->name = json_string_value(json_object_get(root, "name"));
    if (s->name == NULL || *s->name == '\0')
        return err_set(e, EX_DATAERR, "has no \"name\"");
    if (name_check("\"name\"", str_of(s->name), 100, e) < 0) {
        e->status = EX_DATAERR; /* in a file this is not a usage error */
        return -1;
    }
    if (strpbrk(s->name, "/ ") != NULL)
        return err_set(e, EX_DATAERR, "\"name\" has a slash or a space: %s",
                       err_quote_text(s->name).text);
    if (check_keys(root, keys, "", e) < 0)
        return -1;
    return read_steps(s, json_object_get(root, "steps"), e);
}

int saga_define(struct saga *s, struct str text, struct err *e)
{
    json_error_t wrong;
    json_t *root = json_loadb(text.p == NULL ? "" : text.p, text.n, JSON_REJECT_DUPLICATES, &wrong);

    *s = (struct saga){0};
    if (root == NULL)
        return err_set(e, EX_DATAERR, "line %d: %s", wrong.line, err_quote_text(wrong.text).text);
    if (read_definition(s, root, e) == 0)
        return 0;
    saga_free(s);
    return -1;
}

/* ------------------------------------------------------------------------------------ document */

static json_t *optional(const char *text)
{
    return text == NULL ? json_null() : json_string(text);
}

static char *copy(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? NULL : mem_dup(text, strlen(text));
}

static int64_t number(json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static json_t *write_step(const struct saga_step *t)
{
    return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:b,s:o,s:o,s:o}", "state", t->state, "attempt",
                     (json_int_t)t->attempt, "failures", (json_int_t)t->failures, "due_ms",
                     (json_int_t)t->due_ms, "began_ms", (json_int_t)t->began_ms, "took_ms",
                     (json_int_t)t->took_ms, "maybe", t->maybe, "result", optional(t->result),
                     "error", optional(t->error), "undo_error", optional(t->undo_error));
}

static void read_step_state(struct saga_step *t, json_t *from)
{
    int64_t state = number(from, "state");

    t->state =
        state >= STEP_WAITING && state <= STEP_UNDO_FAILED ? (enum step_state)state : STEP_WAITING;
    t->attempt = number(from, "attempt");
    t->failures = number(from, "failures");
    t->due_ms = number(from, "due_ms");
    t->began_ms = number(from, "began_ms");
    t->took_ms = number(from, "took_ms");
    t->maybe = json_is_true(json_object_get(from, "maybe"));
    t->result = copy(from, "result");
    t->error = copy(from, "error");
    t->undo_error = copy(from, "undo_error");
}

/* Text made valid for JSON: commands may print any bytes to stderr. */
char *saga_write(const struct saga *s)
{
    json_t *steps = json_object();

    for (size_t i = 0; i < s->steps; i++)
        json_object_set_new(steps, s->step[i].name, write_step(&s->step[i]));
    json_t *root =
        json_pack("{s:s,s:s,s:s,s:i,s:I,s:I,s:I,s:o,s:o,s:o,s:O,s:o}", "id", s->id, "event",
                  s->event, "folder", s->folder, "state", s->state, "begun_ms",
                  (json_int_t)s->begun_ms, "since_ms", (json_int_t)s->since_ms, "deadline_ms",
                  (json_int_t)s->deadline_ms, "why", optional(s->why), "stuck", optional(s->stuck),
                  "mark", optional(s->mark), "definition", s->definition, "steps", steps);
    char *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

bool saga_read(struct saga *s, struct str value)
{
    json_t *root = json_loadb(value.p, value.n, 0, NULL), *steps;
    struct err wrong = ERR_NONE;
    int64_t state = number(root, "state");

    *s = (struct saga){0};
    if (root == NULL ||
        read_definition(s, json_incref(json_object_get(root, "definition")), &wrong) < 0) {
        saga_free(s);
        json_decref(root);
        return false;
    }
    s->id = copy(root, "id");
    s->event = copy(root, "event");
    s->folder = copy(root, "folder");
    s->why = copy(root, "why");
    s->stuck = copy(root, "stuck");
    s->mark = copy(root, "mark");
    s->state = state >= SAGA_RUNNING && state <= SAGA_STUCK ? (enum saga_state)state : SAGA_RUNNING;
    if (s->state == SAGA_STUCK && s->stuck == NULL) { /* as earlier versions wrote it */
        s->stuck = s->why;
        s->why = NULL;
    }
    s->begun_ms = number(root, "begun_ms");
    s->since_ms = number(root, "since_ms");
    s->deadline_ms = number(root, "deadline_ms");
    steps = json_object_get(root, "steps");
    for (size_t i = 0; i < s->steps; i++)
        read_step_state(&s->step[i], json_object_get(steps, s->step[i].name));
    json_decref(root);
    return s->id != NULL && s->event != NULL && s->folder != NULL;
}

#include "saga/saga.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const saga_words[] = {"running", "compensating", "completed", "compensated",
                                         "stuck"};
static const char *const step_words[] = {"waiting", "running", "done",       "failed",
                                         "undoing", "undone",  "undo-failed"};

const char *saga_word(enum saga_state state)
{
    return saga_words[state];
}

const char *step_word(enum step_state state)
{
    return step_words[state];
}

const char *saga_why(const struct saga *s)
{
    return s->stuck != NULL ? s->stuck : s->why;
}

const char *step_why(const struct saga_step *t)
{
    return t->undo_error != NULL ? t->undo_error : t->error;
}

static void set_text(char **to, const char *text)
{
    char *copy = text == NULL ? NULL : mem_dup(text, strlen(text));

    free(*to);
    *to = copy;
}

void saga_free(struct saga *s)
{
    for (size_t i = 0; i < s->steps; i++) {
        free(s->step[i].after);
        free(s->step[i].result);
        free(s->step[i].error);
        free(s->step[i].undo_error);
    }
    free(s->step);
    free(s->id);
    free(s->event);
    free(s->folder);
    free(s->why);
    free(s->stuck);
    free(s->mark);
    json_decref(s->definition);
    *s = (struct saga){0};
}

size_t saga_find(const struct saga *s, const char *step)
{
    size_t i = 0;

    while (i < s->steps && strcmp(s->step[i].name, step) != 0)
        i++;
    return i;
}

/* ----------------------------------------------------------------------------------- questions */

static bool busy(const struct saga_step *t)
{
    return t->state == STEP_RUNNING || t->state == STEP_UNDOING;
}

bool saga_running(const struct saga *s)
{
    for (size_t i = 0; i < s->steps; i++)
        if (busy(&s->step[i]))
            return true;
    return false;
}

bool saga_final(const struct saga *s)
{
    return s->state == SAGA_COMPLETED || s->state == SAGA_COMPENSATED;
}

static bool any(const struct saga *s, enum step_state state)
{
    for (size_t i = 0; i < s->steps; i++)
        if (s->step[i].state == state)
            return true;
    return false;
}

static bool all_done(const struct saga *s)
{
    for (size_t i = 0; i < s->steps; i++)
        if (s->step[i].state != STEP_DONE)
            return false;
    return true;
}

/* Has a pivot been done? */
static bool no_return(const struct saga *s)
{
    for (size_t i = 0; i < s->steps; i++)
        if (s->step[i].pivot && s->step[i].state == STEP_DONE)
            return true;
    return false;
}

static bool late(const struct saga *s, int64_t now_ms)
{
    return s->deadline_ms > 0 && now_ms >= s->deadline_ms;
}

static bool wants_undo(const struct saga_step *t)
{
    return t->state == STEP_DONE || t->state == STEP_UNDOING ||
           (t->state == STEP_FAILED && t->maybe);
}

static bool after(const struct saga_step *t, size_t other)
{
    for (size_t k = 0; k < t->afters; k++)
        if (t->after[k] == other)
            return true;
    return false;
}

/* The steps that it comes after are done; for an undo: the steps that came after it are undone. */
static bool unblocked(const struct saga *s, size_t i)
{
    const struct saga_step *t = &s->step[i];

    if (s->state == SAGA_RUNNING) {
        for (size_t k = 0; k < t->afters; k++)
            if (s->step[t->after[k]].state != STEP_DONE)
                return false;
        return true;
    }
    for (size_t k = 0; k < s->steps; k++)
        if (after(&s->step[k], i) && wants_undo(&s->step[k]))
            return false;
    return true;
}

/* May the step be started, once its time has come? When a step has failed nothing new is begun,
   except beyond the pivot, where each step has to be done. */
static bool wanted(const struct saga *s, size_t i)
{
    const struct saga_step *t = &s->step[i];

    if (s->state == SAGA_RUNNING)
        return t->state == STEP_WAITING && unblocked(s, i) &&
               (no_return(s) || !any(s, STEP_FAILED));
    return s->state == SAGA_COMPENSATING && t->state != STEP_UNDOING && wants_undo(t) &&
           t->undo != NULL && unblocked(s, i);
}

/* Past the deadline, wait for the running steps and begin no other. */
bool saga_ready(const struct saga *s, size_t i, int64_t now_ms)
{
    return wanted(s, i) && s->step[i].due_ms <= now_ms &&
           (s->state != SAGA_RUNNING || !late(s, now_ms));
}

int64_t saga_next_ms(const struct saga *s, int64_t now_ms)
{
    int64_t next = 0;

    if (s->state == SAGA_RUNNING && late(s, now_ms))
        return 0;
    for (size_t i = 0; i < s->steps; i++)
        if (wanted(s, i) && (next == 0 || s->step[i].due_ms < next))
            next = s->step[i].due_ms > 0 ? s->step[i].due_ms : 1;
    if (s->deadline_ms > 0 && s->state == SAGA_RUNNING && next > s->deadline_ms)
        next = s->deadline_ms;
    return next;
}

/* ------------------------------------------------------------------------------------- changes */

static void enter(struct saga *s, enum saga_state state, int64_t now_ms)
{
    s->state = state;
    s->since_ms = now_ms;
}

/* Start compensating: attempts are counted from the start again. A step that waits for another
   attempt is not tried again, and an earlier attempt may have done it. */
static void compensate(struct saga *s, int64_t now_ms)
{
    for (size_t i = 0; i < s->steps; i++) {
        struct saga_step *t = &s->step[i];
        t->failures = t->due_ms = 0;
        if (t->state == STEP_WAITING && t->maybe)
            t->state = STEP_FAILED;
        if (wants_undo(t) && t->undo != NULL)
            t->attempt = 0;
    }
    enter(s, SAGA_COMPENSATING, now_ms);
}

static void blame(char **to, const char *what, const struct saga_step *t, const char *error)
{
    struct buf why = BUF_INIT;

    buf_printf(&why, "%s%s: %s", what, t->name, error == NULL ? "failed" : error);
    set_text(to, buf_text(&why));
    buf_free(&why);
}

static const struct saga_step *first(const struct saga *s, enum step_state state)
{
    for (size_t i = 0; i < s->steps; i++)
        if (s->step[i].state == state)
            return &s->step[i];
    return NULL;
}

/* Is there a step that may still be begun, and has attempts left? */
static bool hopeful(const struct saga *s)
{
    for (size_t i = 0; i < s->steps; i++)
        if (wanted(s, i) && s->step[i].failures < s->step[i].attempts)
            return true;
    return false;
}

static void advance_running(struct saga *s, int64_t now_ms)
{
    const struct saga_step *failed = first(s, STEP_FAILED);

    if (all_done(s)) {
        enter(s, SAGA_COMPLETED, now_ms);
        return;
    }
    if ((failed == NULL && !late(s, now_ms)) || saga_running(s))
        return;
    if (no_return(s) && !late(s, now_ms) && hopeful(s))
        return; /* beyond the pivot a failed step does not keep the others from being done */
    char **why = no_return(s) ? &s->stuck : &s->why;
    if (failed != NULL)
        blame(why, "", failed, failed->error);
    else
        set_text(why, "its deadline is over");
    if (no_return(s))
        enter(s, SAGA_STUCK, now_ms);
    else
        compensate(s, now_ms);
}

/* A step without an undo counts as undone. */
static bool undo_nothing(struct saga *s)
{
    bool changed = false;

    for (size_t i = 0; i < s->steps; i++) {
        struct saga_step *t = &s->step[i];
        if (t->undo == NULL && t->state != STEP_UNDOING && wants_undo(t) && unblocked(s, i)) {
            t->state = STEP_UNDONE;
            changed = true;
        }
    }
    return changed;
}

static void advance_compensating(struct saga *s, int64_t now_ms)
{
    while (undo_nothing(s))
        continue;
    for (size_t i = 0; i < s->steps; i++)
        if (wants_undo(&s->step[i]))
            return;
    const struct saga_step *failed = first(s, STEP_UNDO_FAILED);
    if (failed != NULL)
        blame(&s->stuck, "undo of ", failed, failed->undo_error);
    enter(s, failed != NULL ? SAGA_STUCK : SAGA_COMPENSATED, now_ms);
}

bool saga_advance(struct saga *s, int64_t now_ms)
{
    enum saga_state before = s->state;

    if (s->state == SAGA_RUNNING)
        advance_running(s, now_ms);
    if (s->state == SAGA_COMPENSATING)
        advance_compensating(s, now_ms);
    return s->state != before;
}

void saga_begin(struct saga *s, size_t i, int64_t now_ms)
{
    struct saga_step *t = &s->step[i];

    t->state = s->state == SAGA_RUNNING ? STEP_RUNNING : STEP_UNDOING;
    t->attempt++;
    t->began_ms = now_ms;
}

void saga_unbegun(struct saga *s, size_t i)
{
    struct saga_step *t = &s->step[i];

    if (t->state == STEP_RUNNING)
        t->state = STEP_WAITING;
    else if (t->state == STEP_UNDOING) /* "failed" if it may have been done: it had to be undone */
        t->state = t->maybe ? STEP_FAILED : STEP_DONE;
    t->due_ms = 0;
}

void saga_again(struct saga *s, size_t i)
{
    struct saga_step *t = &s->step[i];

    if (t->state == STEP_RUNNING)
        t->maybe = true;
    saga_unbegun(s, i);
}

void saga_succeeded(struct saga *s, size_t i, struct str result, int64_t took_ms)
{
    struct saga_step *t = &s->step[i];

    t->took_ms = took_ms;
    if (t->state == STEP_UNDOING) { /* t->error keeps the reason for undoing it */
        t->state = STEP_UNDONE;
        set_text(&t->undo_error, NULL);
        return;
    }
    t->state = STEP_DONE;
    t->maybe = false;
    set_text(&t->error, NULL);
    free(t->result);
    t->result = result.n == 0 ? NULL : mem_dup(result.p, result.n);
}

/* After the deadline a step gets no further attempts, but an undo does. Beyond the pivot a step is
   always tried again. */
static bool worth_another(const struct saga *s, const struct saga_step *t, bool declared,
                          int64_t now_ms)
{
    bool undo = t->state == STEP_UNDOING;

    return !declared && (undo || !late(s, now_ms)) &&
           (t->failures < t->attempts || (!undo && no_return(s)));
}

bool saga_failed(struct saga *s, size_t i, bool declared, const char *why, int64_t took_ms,
                 int64_t delay_ms, int64_t now_ms, uint64_t random)
{
    struct saga_step *t = &s->step[i];

    t->took_ms = took_ms;
    t->failures++;
    set_text(t->state == STEP_UNDOING ? &t->undo_error : &t->error, why);
    if (worth_another(s, t, declared, now_ms)) {
        int64_t wait = delay_ms >= 0 ? delay_ms : backoff_ms(&t->backoff, t->failures, random);
        saga_again(s, i);
        t->due_ms = now_ms + wait;
        return true;
    }
    if (t->state == STEP_UNDOING) {
        t->state = STEP_UNDO_FAILED;
        return false;
    }
    t->state = STEP_FAILED;
    t->maybe = !declared;
    return false;
}

bool saga_retry(struct saga *s, size_t i, int64_t now_ms)
{
    struct saga_step *t = &s->step[i];
    bool undo = !no_return(s); /* what it is stuck at */

    if (s->state != SAGA_STUCK)
        return false;
    if (undo ? t->state != STEP_UNDO_FAILED : t->state != STEP_FAILED && t->state != STEP_WAITING)
        return false;
    t->state = undo ? (t->maybe ? STEP_FAILED : STEP_DONE) : STEP_WAITING;
    t->failures = t->due_ms = 0;
    s->deadline_ms = 0; /* a person has taken care of it */
    set_text(&s->stuck, NULL);
    enter(s, undo ? SAGA_COMPENSATING : SAGA_RUNNING, now_ms);
    return true;
}

void saga_settle(struct saga *s, enum saga_state as, int64_t now_ms)
{
    char why[64];

    snprintf(why, sizeof why, "%s by hand", saga_word(as));
    set_text(&s->why, why);
    set_text(&s->stuck, NULL);
    enter(s, as, now_ms);
}

/* --------------------------------------------------------------------------------------- input */

void saga_input(const struct saga *s, size_t i, struct buf *out)
{
    const struct saga_step *t = &s->step[i];
    const char *comma = "";

    buf_printf(out, "{\"event\":%s,\"results\":{", s->event);
    for (size_t k = 0; k < s->steps; k++) {
        if (s->step[k].result == NULL)
            continue;
        buf_puts(out, comma);
        js_quote(out, str_of(s->step[k].name));
        buf_printf(out, ":%s", s->step[k].result);
        comma = ",";
    }
    buf_puts(out, "},");
    if (s->state == SAGA_COMPENSATING)
        buf_printf(out, "\"result\":%s,", t->result == NULL ? "null" : t->result);
    buf_printf(out, "\"attempt\":%lld}\n", (long long)t->attempt);
}

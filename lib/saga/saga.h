/*
 * saga: steps with compensations, and which of them may run next. Pure: no clock, no store, no
 * process.
 *
 * A saga is a long-running operation made of steps that each have an undo, so that either all steps
 * happen or those that happened are undone (Garcia-Molina and Salem, "Sagas", 1987). Steps that do
 * not depend on one another run in parallel; "after" makes a graph of the steps. A pivot is the
 * point of no return: once it is done, nothing is undone any more, and the remaining steps are
 * tried until they succeed.
 *
 *     saga_define(&s, json, &e)            from a definition; or saga_read from a document
 *     while (saga_advance(&s, now), s.state is SAGA_RUNNING or SAGA_COMPENSATING)
 *         for each step with saga_ready(&s, i, now):  saga_begin, then its command, then
 *             saga_succeeded, saga_failed or saga_unknown
 *
 * How a command ended matters. Success is certain. A declared failure (65) is certain, too: nothing
 * was done, and that step is not undone. Everything else (another status, a signal, a timeout, a
 * runner that died) leaves open whether the step was done: the step is tried again under the same
 * key, and when it fails for good its own undo runs, too, like those of the steps that were done.
 */
#ifndef SAGA_H
#define SAGA_H

#include "base/backoff.h"
#include "base/buf.h"
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define SAGA_STEPS_MAX 1000

enum saga_state {
    SAGA_RUNNING,
    SAGA_COMPENSATING,
    SAGA_COMPLETED,
    SAGA_COMPENSATED,
    SAGA_STUCK, /* an undo, or a step beyond the pivot, failed for good: a human is needed */
};

enum step_state {
    STEP_WAITING,
    STEP_RUNNING,
    STEP_DONE,
    STEP_FAILED,
    STEP_UNDOING,
    STEP_UNDONE,
    STEP_UNDO_FAILED,
};

struct saga_step {
    /* from the definition; texts are views of it */
    const char *name;
    json_t *run, *undo; /* arrays of strings; undo NULL: there is nothing to undo */
    size_t *after, afters;
    int64_t timeout_ms; /* 0: none */
    int64_t attempts;
    struct backoff backoff;
    bool pivot;

    enum step_state state;
    int64_t attempt;  /* commands begun for the step or, when undoing, for its undo */
    int64_t failures; /* those of them that count against attempts */
    int64_t due_ms;   /* wall time: not before */
    int64_t began_ms, took_ms;
    bool maybe;   /* an attempt ended without a clear outcome: the step may have been done */
    char *result; /* JSON, as the command printed it; NULL: none */
    /* The last error of the step, and of its undo; NULL: none, or it has succeeded since. */
    char *error, *undo_error;
};

struct saga {
    char *id;           /* "NAME/EVENT ID" */
    const char *name;   /* the definition's */
    char *event;        /* the line */
    char *folder;       /* where its commands run */
    json_t *definition; /* a copy that the saga keeps while it runs */
    enum saga_state state;
    int64_t begun_ms, since_ms, deadline_ms; /* wall time; since_ms: when the state began;
                                                deadline_ms 0: none */
    char *why;   /* why it compensates, or was brought to its end by hand; NULL */
    char *stuck; /* what it is stuck at; NULL: it is not stuck */
    char *mark;  /* the process that runs it, see store.h; NULL */
    struct saga_step *step;
    size_t steps;
};

/* Read a definition: 0, or -1 with 65 and a message that names the place and the mistake: an
   unknown key, a missing or repeated name, a cycle. text is not kept. */
int saga_define(struct saga *s, struct str text, struct err *e);
void saga_free(struct saga *s);
/* Append it as a graph for dot(1): a step with an undo has rounded corners, a pivot two borders. */
void saga_dot(const struct saga *s, struct buf *b);

/* Write the saga as a document, and read it back: false when value is not such a document. */
char *saga_write(const struct saga *s); /* to be freed */
bool saga_read(struct saga *s, struct str value);

/* Bring the saga's state up to date with its steps and the clock. True when the state changed. */
bool saga_advance(struct saga *s, int64_t now_ms);
/* May the step's command be started now: its run, or while compensating its undo? */
bool saga_ready(const struct saga *s, size_t i, int64_t now_ms);
/* When saga_ready may become true for some step although no other step ends; 0: never. */
int64_t saga_next_ms(const struct saga *s, int64_t now_ms);

void saga_begin(struct saga *s, size_t i, int64_t now_ms);
/* The command ended, but its outcome is unknown: its runner died, or we ended it. The step is to be
   run again, and this does not count against its attempts. */
void saga_again(struct saga *s, size_t i);
/* The same for a command that did nothing: it could not be started, or what it needs is down. */
void saga_unbegun(struct saga *s, size_t i);
void saga_succeeded(struct saga *s, size_t i, struct str result, int64_t took_ms);
/* declared: neither this attempt nor an earlier one did anything. delay_ms: the command's word
   about when to try again; -1: none. True when the step will be tried again. */
bool saga_failed(struct saga *s, size_t i, bool declared, const char *why, int64_t took_ms,
                 int64_t delay_ms, int64_t now_ms, uint64_t random);

/* By hand: retry the step at which a stuck saga is stuck, or its undo. False when the saga is not
   stuck at this step. */
bool saga_retry(struct saga *s, size_t i, int64_t now_ms);
void saga_settle(struct saga *s, enum saga_state as, int64_t now_ms);

bool saga_running(const struct saga *s); /* a command of it runs, or was begun by another runner */
bool saga_final(const struct saga *s);   /* completed or compensated */
/* Returns the step's index, or s->steps when the saga has no such step. */
size_t saga_find(const struct saga *s, const char *step);
const char *saga_word(enum saga_state state);
/* Why the saga, or a step, is in its state; errors that have been put right since do not count.
   NULL: nothing went wrong. */
const char *saga_why(const struct saga *s);
const char *step_why(const struct saga_step *t);
const char *step_word(enum step_state state);

/* The input of a step's command: {"event":…,"results":{…},"attempt":1}; for an undo also with the
   step's own "result". The event and the results are reproduced byte for byte. */
void saga_input(const struct saga *s, size_t i, struct buf *out);

#endif

/*
 * saga: steps with compensations, and what may be done next. Pure: no clock, no store, no process.
 *
 * A saga is a long-running operation made of steps that each have an undo, so that all of it
 * happens or what happened is undone (Garcia-Molina and Salem, "Sagas", 1987). Steps that nothing
 * stands before run side by side; after makes a graph of them. A pivot is the point of no return:
 * once it is done nothing is undone any more, and what is left is tried until it succeeds.
 *
 *     saga_define(&s, json, &e)            from a definition; or saga_read from a document
 *     while (saga_advance(&s, now), s.state is SAGA_RUNNING or SAGA_COMPENSATING)
 *         for each step with saga_ready(&s, i, now):  saga_begin, then its command, then
 *             saga_succeeded, saga_failed or saga_unknown
 *
 * How a command ended matters. Success is a fact. A declared failure (65) is one, too: nothing was
 * done, and nothing of that step is undone. Everything else (another status, a signal, a timeout, a
 * runner that died) leaves open whether it was done: the step is tried again under the same key,
 * and when it fails for good its own undo runs like those of the steps that were done.
 */
#ifndef SAGA_H
#define SAGA_H

#include "backoff.h"
#include "buf.h"
#include "err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define SAGA_STEPS_MAX 1000

enum saga_state {
    SAGA_RUNNING,
    SAGA_COMPENSATING,
    SAGA_COMPLETED,
    SAGA_COMPENSATED,
    SAGA_STUCK, /* an undo failed for good, or a step behind the pivot: a human is needed */
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
    /* the definition's; texts are views of it */
    const char *name;
    json_t *run, *undo; /* arrays of strings; undo NULL: there is nothing to undo */
    size_t *after, afters;
    int64_t timeout_ms; /* 0: none */
    int64_t attempts;
    struct backoff backoff;
    bool pivot;

    enum step_state state;
    int64_t attempt;  /* commands begun for what it is at: the step, or its undo */
    int64_t failures; /* of those, that count against attempts */
    int64_t due_ms;   /* wall time: not before */
    int64_t began_ms, took_ms;
    bool maybe;   /* an attempt ended in a way that says nothing: it may have been done */
    char *result; /* JSON, as the command printed it; NULL: none */
    /* What went wrong last with it, and with its undo; NULL: nothing, or it succeeded since. */
    char *error, *undo_error;
};

struct saga {
    char *id;           /* "NAME/EVENT ID" */
    const char *name;   /* the definition's */
    char *event;        /* the line */
    char *folder;       /* where its commands run */
    json_t *definition; /* a running saga keeps its own */
    enum saga_state state;
    int64_t begun_ms, since_ms, deadline_ms; /* wall time; since: of the state; deadline 0: none */
    char *why;   /* it compensates, or was brought to its end by hand; NULL */
    char *stuck; /* what it is stuck at; NULL: it is not */
    char *mark;  /* the process that runs it, see store.h; NULL */
    struct saga_step *step;
    size_t steps;
};

/* A definition: 0; -1 with 65 and where and what is wrong: an unknown key, a name that is missing
   or there twice, a cycle. text is not kept. */
int saga_define(struct saga *s, struct str text, struct err *e);
void saga_free(struct saga *s);

/* As a document, and back: false when it is none. */
char *saga_write(const struct saga *s); /* to be freed */
bool saga_read(struct saga *s, struct str value);

/* What the steps and the clock mean for the saga as a whole. True when its state changed. */
bool saga_advance(struct saga *s, int64_t now_ms);
/* May the step's command be started now: its run, or while compensating its undo? */
bool saga_ready(const struct saga *s, size_t i, int64_t now_ms);
/* When that may become true of some step without another one's ending; 0: never. */
int64_t saga_next_ms(const struct saga *s, int64_t now_ms);

void saga_begin(struct saga *s, size_t i, int64_t now_ms);
/* It ended, and nobody can say how: its runner died, or we ended it. To be run again, and counted
   against nothing. */
void saga_again(struct saga *s, size_t i);
/* The same for one that did nothing: it could not be started, or what it needs is down. */
void saga_unbegun(struct saga *s, size_t i);
void saga_succeeded(struct saga *s, size_t i, struct str result, int64_t took_ms);
/* declared: neither this attempt nor one before it did anything. delay_ms: its word about when to
   try again; -1: none. True when it is tried again. */
bool saga_failed(struct saga *s, size_t i, bool declared, const char *why, int64_t took_ms,
                 int64_t delay_ms, int64_t now_ms, uint64_t random);

/* By hand: try a step again that a stuck saga is stuck at, or its undo. False when it is not. */
bool saga_retry(struct saga *s, size_t i, int64_t now_ms);
void saga_settle(struct saga *s, enum saga_state as, int64_t now_ms);

bool saga_running(const struct saga *s); /* some command of it runs, or was begun by a runner */
bool saga_final(const struct saga *s);   /* completed or compensated */
size_t saga_find(const struct saga *s, const char *step); /* s->steps: there is none */
const char *saga_word(enum saga_state state);
/* Why it is in its state, and a step in its own: what has been put right since is no reason. NULL:
   nothing went wrong. */
const char *saga_why(const struct saga *s);
const char *step_why(const struct saga_step *t);
const char *step_word(enum step_state state);

/* The input of a step's command: {"event":…,"results":{…},"attempt":1}, for an undo with its own
   "result". Bytes of the event and of results are as they were. */
void saga_input(const struct saga *s, size_t i, struct buf *out);

#endif

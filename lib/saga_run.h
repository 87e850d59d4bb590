/*
 * saga_run: drive a saga that lives in the spool, one process at a time.
 *
 *     saga_start(&r, line, &e)     with r.saga defined: the saga of this event, begun or found
 *     saga_load(&r, id, &e)        or one that is there
 *     saga_drive(&r, &e)           until it is final, stuck, or can go no further now
 *     saga_run_free(&r)
 *
 * The document is on disk before a command starts and after it has ended, so that a kill leaves a
 * step that was begun and not ended: it runs again under the same key, SAGA_STEP_ID. A step that
 * ended never runs again. Each change that others may want to know of is an event in the causal
 * chain of the saga's own, in the same transaction.
 */
#ifndef SAGA_RUN_H
#define SAGA_RUN_H

#include "saga.h"
#include "store.h"

#define SAGA_KIND "saga"

struct saga_run {
    struct store *store;
    int64_t jobs;        /* commands at once */
    int64_t deadline_ms; /* of a new one, from its beginning; 0: none */
    int64_t keep_ms;     /* how long a final one is kept */

    struct saga saga;
    int64_t rev;    /* of its document */
    bool elsewhere; /* saga_drive ended with 75 because another process has it */
};

/* The same event is always the same saga. 1 when it was begun now, 0 when it was there, -1. */
int saga_start(struct saga_run *r, struct str line, struct err *e);
int saga_load(struct saga_run *r, const char *id, struct err *e); /* 0; -1 with 66, 74 */

/*
 * 0 when the saga is final: completed or compensated. -1 with
 *     65        it is stuck
 *     66        the folder where its commands run is not there
 *     69        what a step needs is down
 *     75        another process runs it, or has changed it; we were told to stop; a step beyond the
 *               pivot fails still, and somebody has to come back
 *     126, 127  a command cannot be run
 */
int saga_drive(struct saga_run *r, struct err *e);

/* By hand: write the change, with an event where it makes the saga final. 75 while it runs. */
int saga_change(struct saga_run *r, struct err *e);
void saga_run_free(struct saga_run *r);

#endif

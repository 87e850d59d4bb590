/*
 * saga_run: drive a saga that is kept in the spool, one process at a time.
 *
 *     saga_start(&r, line, &e)     with r.saga defined: begin or find the saga of this event
 *     saga_load(&r, id, &e)        or: load an existing one
 *     saga_drive(&r, &e)           until it is final, stuck, or can go no further now
 *     saga_run_free(&r)
 *
 * The document is on disk before a command starts and after it has ended, so that a kill leaves a
 * step recorded as begun and not ended: it runs again under the same key, SAGA_STEP_ID. A step that
 * ended never runs again. Each change that others may want to know of is published in the same
 * transaction, as an event in the causal chain of the saga's event.
 */
#ifndef SAGA_RUN_H
#define SAGA_RUN_H

#include "saga/saga.h"
#include "store/store.h"

#define SAGA_KIND "saga"

struct saga_run {
    struct store *store;
    int64_t jobs;        /* commands at once */
    int64_t deadline_ms; /* for a new saga, from its beginning; 0: none */
    int64_t keep_ms;     /* how long a final saga is kept */

    struct saga saga;
    int64_t rev;    /* of its document */
    bool elsewhere; /* saga_drive ended with 75 because another process runs the saga */
};

/* The same event always means the same saga. 1 when the saga was begun now, 0 when it existed, -1
   on error. */
int saga_start(struct saga_run *r, struct str line, struct err *e);
int saga_load(struct saga_run *r, const char *id, struct err *e); /* 0; -1 with 66, 74 */

/*
 * 0 when the saga is final: completed or compensated. -1 with
 *     65        it is stuck
 *     66        the folder where its commands run does not exist
 *     69        what a step needs is down
 *     75        another process runs it, or has changed it; we were told to stop; a step beyond the
 *               pivot still fails, and the saga has to be resumed later; the spool was lost, and
 *               the commands with it: they have been killed
 *     126, 127  a command cannot be run
 */
int saga_drive(struct saga_run *r, struct err *e);

/* By hand: write the change, with an event when it makes the saga final. 0, or -1: 75 while the
   saga runs. */
int saga_change(struct saga_run *r, struct err *e);
void saga_run_free(struct saga_run *r);

#endif

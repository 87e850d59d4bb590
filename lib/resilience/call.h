/*
 * call: a command that is run through a breaker: ask, probe, run or reject, report; the work of
 * breaker(1).
 *
 *     wrap_stage();
 *     struct call c = CALL_INIT;
 *     call_open(&c, &terms, &e);
 *     c.spool = …, or call_without(&c, &broken)
 *     call_run(&c, name, argv, &e);
 *     call_free(&c);
 *
 * An error of the breaker itself never keeps the command from running: it is reported, and the call
 * goes on without a breaker.
 */
#ifndef RESILIENCE_CALL_H
#define RESILIENCE_CALL_H

#include "process/wrap.h"
#include "resilience/circuit.h"

struct call_terms {
    struct breaker_terms breaker;
    int64_t slow_ms, timeout_ms, cache_ms; /* 0: none */
    bool ignore_on[256];                   /* statuses that say nothing about the dependency */
    const char *fallback, *check;          /* programs; NULL: none */
};

struct call {
    const struct call_terms *terms;
    struct store *spool; /* NULL: the spool cannot be used, and everything passes */
    struct circuit circuit;
    struct wrap_input input, *kept;
    struct child child;
};

/* clang-format off */
#define CALL_INIT {.input = {-1, -1}}
/* clang-format on */

/* Keep our stdin, if the fallback may have to read it, too. 0, or -1 as wrap_stdin. terms stay the
   caller's. */
int call_open(struct call *c, const struct call_terms *terms, struct err *e);
void call_without(struct call *c, const struct err *why);

/* 0, with the command's status, or its fallback's, in e->status; -1: 69 when the call was rejected
   and there is nothing in its place, or the command cannot be run, or a signal came. */
int call_run(struct call *c, const char *name, char **argv, struct err *e);
void call_free(struct call *c); /* closes the spool, too */

#endif

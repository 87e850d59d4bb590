/*
 * circuit: a breaker that lives in the spool, under a name, for all processes that use it.
 *
 *     circuit_open(&c, store, name, &terms, &e)
 *     ticket = circuit_ask(&c, &e)          passes or not: c.breaker says why not, and until when
 *     … no lock is held while the call runs …
 *     circuit_report(&c, &ticket, BREAKER_FAILED, took_ms, "exit status 7", &e)
 *     circuit_close(&c)
 *
 * Each step is one compare-and-set on a document. A change of state is an event in the log, too, in
 * the same transaction: sys.breaker.opened, half-opened, closed or disabled. A probe whose process
 * dies is known by its lock (store.h: marks), and its place is free.
 */
#ifndef CIRCUIT_H
#define CIRCUIT_H

#include "breaker.h"
#include "store.h"

#include <jansson.h>

#define CIRCUIT_KIND "breaker"

struct circuit {
    struct store *store;
    const char *name;
    struct breaker_terms terms;
    struct breaker breaker; /* as it was after the last step */
    char mark[MARK_SIZE];   /* empty: none taken */
    int64_t rev;            /* of the document that breaker was read from; 0: not read */
    bool changed;           /* by circuit_ask: it had other terms; these hold from now on */
};

/* Nothing is read or written yet. terms NULL: those that it has, for changes by hand. */
void circuit_open(struct circuit *c, struct store *s, const char *name,
                  const struct breaker_terms *terms);
void circuit_close(struct circuit *c);

/* With e filled in the word of the ticket is BREAKER_PASS, as the breaker must not be what stands
   in the way. */
struct breaker_ticket circuit_ask(struct circuit *c, struct err *e);
/* 1 when this report changed the state, 0 when it did not (others may have, meanwhile), -1. */
int circuit_report(struct circuit *c, const struct breaker_ticket *ticket,
                   enum breaker_outcome outcome, int64_t took_ms, const char *why, struct err *e);

/* By hand. 66 when there is no such breaker, but for trip and disable, which make one. */
enum circuit_change { CIRCUIT_TRIP, CIRCUIT_RESET, CIRCUIT_DISABLE, CIRCUIT_ENABLE };
int circuit_change(struct circuit *c, enum circuit_change how, int64_t pause_ms, struct err *e);
int circuit_forget(struct store *s, const char *name, struct err *e);

/* The breaker and its terms that a document is; false when it is damaged. */
bool circuit_read(struct str value, struct breaker *b, struct breaker_terms *t);
const char *circuit_state(const struct breaker *b); /* in a word */
/* The figures as members of a listing's row. */
json_t *circuit_figures(const struct breaker *b);

/* The last good output, for when it is open: kept for so long. get: 1, 0 none, -1. */
int circuit_keep_output(struct circuit *c, struct str output, int64_t keep_ms, struct err *e);
int circuit_output(struct circuit *c, struct str *output, struct err *e);

#endif

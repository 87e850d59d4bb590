/*
 * circuit: a breaker kept in the spool under a name, and shared by all processes that use that
 * name.
 *
 *     circuit_open(&c, store, name, &terms, &e)
 *     ticket = circuit_ask(&c, &e)          pass or not; c.breaker has why not, and until when
 *     … no lock is held while the call runs …
 *     circuit_report(&c, &ticket, BREAKER_FAILED, took_ms, "exit status 7", &e)
 *     circuit_close(&c)
 *
 * Each step is one compare-and-set on a document. A change of state also publishes an event in the
 * same transaction: sys.breaker.opened, half-opened, closed or disabled. The lock of a probe's
 * process (store.h: marks) shows whether it has died; then its place is free.
 */
#ifndef RESILIENCE_CIRCUIT_H
#define RESILIENCE_CIRCUIT_H

#include "resilience/breaker.h"
#include "store/doc.h"

#include <jansson.h>

#define CIRCUIT_KIND "breaker"

struct circuit {
    struct store *store;
    const char *name;
    struct breaker_terms terms;
    struct breaker breaker; /* as of the last step */
    char mark[MARK_SIZE];   /* empty: none taken */
    int64_t rev;            /* of the document that breaker was read from; 0: not yet read */
    bool changed;           /* set by circuit_ask: the stored terms were different; ours hold from
                               now on */
};

/* Reads and writes nothing yet. terms NULL: use the stored terms, for changes by hand. */
void circuit_open(struct circuit *c, struct store *s, const char *name,
                  const struct breaker_terms *terms);
void circuit_close(struct circuit *c);

/* On error e is filled in and the ticket's word is BREAKER_PASS: the breaker fails open. */
struct breaker_ticket circuit_ask(struct circuit *c, struct err *e);
/* 1 when this report changed the state, 0 when it did not (another process may have), -1 on
   error. */
int circuit_report(struct circuit *c, const struct breaker_ticket *ticket,
                   enum breaker_outcome outcome, int64_t took_ms, const char *why, struct err *e);

/* A change by hand. 66 when there is no such breaker, except for trip and disable, which create
   it. */
enum circuit_change { CIRCUIT_TRIP, CIRCUIT_RESET, CIRCUIT_DISABLE, CIRCUIT_ENABLE };
int circuit_change(struct circuit *c, enum circuit_change how, int64_t pause_ms, struct err *e);
int circuit_forget(struct store *s, const char *name, struct err *e);

/* Read a breaker and its terms from a document; false when it is damaged. */
bool circuit_read(struct str value, struct breaker *b, struct breaker_terms *t);
const char *circuit_state(const struct breaker *b); /* in a word */
/* The figures as members of a listing's row. */
json_t *circuit_figures(const struct breaker *b);

/* The last good output, to print while the breaker is open; kept for keep_ms. circuit_output: 1, 0
   none, -1. */
int circuit_keep_output(struct circuit *c, struct str output, int64_t keep_ms, struct err *e);
int circuit_output(struct circuit *c, struct str *output, struct err *e);

#endif

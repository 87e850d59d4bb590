/*
 * breaker: the state machine of a circuit breaker. Pure: no clock, no store, no process.
 *
 *     closed      calls pass. --failures in a row, or a share of failures strictly above
 *                 --error-percent among at least --volume calls of a rolling window, open it
 *     open        nothing passes until until_ms; then the next one to ask makes it half-open
 *     half-open   at most as many probes at once as are still needed to close it: --probes
 *                 successes do, one failure opens it again, for twice as long
 *
 * The terms are Nygard's ("Release It!", 2007) and those of opossum's documentation (Node.js), from
 * which the options' figures and the rolling window of ten slots are taken.
 *
 * Each call has a ticket. The report of a call that began before the last change of state counts in
 * the figures, but changes no state: late news of an outage must not open a breaker that has
 * recovered.
 */
#ifndef RESILIENCE_BREAKER_H
#define RESILIENCE_BREAKER_H

#include "base/buf.h"
#include "base/histogram.h"

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_SLOTS 10
#define BREAKER_REASON 200
#define BREAKER_MARK 120 /* as store.h's MARK_SIZE */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker_terms {
    int64_t failures;             /* in a row that open it; 0: no limit */
    int64_t error_percent;        /* a share strictly above this opens it; 0: no limit */
    int64_t window_ms, volume;    /* for the percentage */
    int64_t open_ms, open_max_ms; /* the first pause, and the longest one */
    int64_t probes, capacity;     /* successes that close it; calls at once, 0: no limit */
    int64_t warm_up_ms;           /* time after its first call during which it does not open */
};

struct breaker_figures {
    int64_t calls, successes, failures, timeouts, ignored, rejects;
    int64_t time[HISTOGRAM]; /* of successes and failures */
};

/* A running call that has to be known: a probe, or a call within a capacity. */
struct breaker_holder {
    char mark[BREAKER_MARK];
    bool probe;
};

struct breaker {
    enum breaker_state state;
    bool disabled;               /* all calls pass; only the figures are kept */
    int64_t since_ms, until_ms;  /* since: of the state; until: of the pause */
    int64_t created_ms;          /* its first call */
    int64_t row, trips, good;    /* failures in a row; openings since it was last closed; successful
                                    probes */
    int64_t epoch;               /* incremented with each change of state */
    char reason[BREAKER_REASON]; /* of the state, in words */
    struct breaker_slot {
        int64_t number, calls, failures; /* number: time / length of a slot */
    } slot[BREAKER_SLOTS];
    struct breaker_figures figures;
    struct breaker_holder *holder;
    size_t holders;
};

void breaker_free(struct breaker *b);

/* Remove the holders whose process has died. */
void breaker_sweep(struct breaker *b, bool (*lives)(const char *mark, void *arg), void *arg);

enum breaker_word {
    BREAKER_PASS,
    BREAKER_PROBE,      /* pass, and report the outcome, which decides whether the breaker closes */
    BREAKER_IS_OPEN,    /* rejected until until_ms */
    BREAKER_IS_PROBING, /* rejected: other calls are probing */
    BREAKER_IS_FULL,    /* rejected: capacity */
};
struct breaker_ticket {
    enum breaker_word word;
    int64_t epoch;
    bool changed; /* asking has changed the state */
};
/* May a call begin? mark names the caller; it is kept when the call passes as a probe or within a
   capacity. */
struct breaker_ticket breaker_ask(struct breaker *b, const struct breaker_terms *t,
                                  const char *mark, int64_t now_ms);

enum breaker_outcome {
    BREAKER_OK,
    BREAKER_FAILED,
    BREAKER_TIMEOUT, /* a failure, too */
    BREAKER_IGNORED, /* tells nothing about the dependency */
};
/* Report the outcome of a call that had passed; why: the reason of a failure, in words. True when
   the state changed. */
bool breaker_report(struct breaker *b, const struct breaker_terms *t,
                    const struct breaker_ticket *ticket, const char *mark,
                    enum breaker_outcome outcome, int64_t took_ms, const char *why, int64_t now_ms);

/* After breaker_report of a call that failed: was there an outage between the call's beginning and
   its end? Then the failure tells nothing about the event that the call was for, whatever the state
   is now. */
bool breaker_outage(const struct breaker *b, const struct breaker_ticket *ticket);

/* Changes by hand. Each counts as a change of state, even if the state stays the same. pause_ms 0:
   the pause of the terms. */
void breaker_trip(struct breaker *b, const struct breaker_terms *t, int64_t pause_ms,
                  const char *why, int64_t now_ms);
void breaker_reset(struct breaker *b, const char *why, int64_t now_ms);

/* The calls in the window now, and how many of them failed. */
void breaker_window(const struct breaker *b, const struct breaker_terms *t, int64_t now_ms,
                    int64_t *calls, int64_t *failures);

#endif

/*
 * breaker: the state machine of a circuit breaker. Pure: no clock, no store, no process.
 *
 *     closed      calls pass. --failures in a row, or a share of failures strictly above
 *                 --error-percent among at least --volume calls of a rolling window, open it
 *     open        nothing passes until until_ms; then the next one to ask makes it half-open
 *     half-open   at most as many probes at once as are still needed to close it: --probes
 *                 successes do, one failure opens it again, for twice as long
 *
 * The terms are Nygard's ("Release It!", 2007) and those of opossum's documentation (Node.js),
 * whose figures the options have, and whose rolling window of ten slots this is.
 *
 * Each call has a ticket. What a call says that began before the last change of state counts in the
 * figures, and moves nothing: late news of an outage must not open a breaker that has recovered.
 */
#ifndef BREAKER_H
#define BREAKER_H

#include "buf.h"
#include "times.h"

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_SLOTS 10
#define BREAKER_REASON 200
#define BREAKER_MARK 120 /* as store.h's MARK_SIZE */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker_terms {
    int64_t failures;             /* in a row; 0: any */
    int64_t error_percent;        /* strictly above it; 0: any */
    int64_t window_ms, volume;    /* of the percentage */
    int64_t open_ms, open_max_ms; /* the first pause, and the longest */
    int64_t probes, capacity;     /* successes that close it; calls at once, 0: any */
    int64_t warm_up_ms;           /* after its first call it does not open for so long */
};

struct breaker_figures {
    int64_t calls, successes, failures, timeouts, ignored, rejects;
    int64_t time[TIMES]; /* of successes and failures */
};

/* A call that runs, where that has to be known: a probe, or one of a limited number. */
struct breaker_holder {
    char mark[BREAKER_MARK];
    bool probe;
};

struct breaker {
    enum breaker_state state;
    bool disabled;               /* all calls pass; figures only */
    int64_t since_ms, until_ms;  /* of the state; of the pause */
    int64_t created_ms;          /* its first call */
    int64_t row, trips, good;    /* failures in a row; openings since it was closed; good probes */
    int64_t epoch;               /* goes up with each change of state */
    char reason[BREAKER_REASON]; /* of the state, in words */
    struct breaker_slot {
        int64_t number, calls, failures; /* number: time / length of a slot */
    } slot[BREAKER_SLOTS];
    struct breaker_figures figures;
    struct breaker_holder *holder;
    size_t holders;
};

void breaker_free(struct breaker *b);

/* Calls whose process has died hold nothing any more. */
void breaker_sweep(struct breaker *b, bool (*lives)(const char *mark, void *arg), void *arg);

enum breaker_word {
    BREAKER_PASS,
    BREAKER_PROBE,      /* pass, and say how it went: much depends on it */
    BREAKER_IS_OPEN,    /* rejected, until until_ms */
    BREAKER_IS_PROBING, /* rejected: others are finding out */
    BREAKER_IS_FULL,    /* rejected: capacity */
};
struct breaker_ticket {
    enum breaker_word word;
    int64_t epoch;
    bool changed; /* the state did, by asking */
};
/* May a call begin? mark: who asks; kept when it passes as a probe or within a capacity. */
struct breaker_ticket breaker_ask(struct breaker *b, const struct breaker_terms *t,
                                  const char *mark, int64_t now_ms);

enum breaker_outcome {
    BREAKER_OK,
    BREAKER_FAILED,
    BREAKER_TIMEOUT, /* failed, too */
    BREAKER_IGNORED, /* says nothing about the dependency */
};
/* How a call went that had passed; why: in words, of a failure. True when the state changed. */
bool breaker_report(struct breaker *b, const struct breaker_terms *t,
                    const struct breaker_ticket *ticket, const char *mark,
                    enum breaker_outcome outcome, int64_t took_ms, const char *why, int64_t now_ms);

/* After breaker_report of a call that failed: was there an outage between its beginning and its
   end? Then its failure tells nothing about what it was called for, whatever the state is now. */
bool breaker_outage(const struct breaker *b, const struct breaker_ticket *ticket);

/* By hand. Each is a change of state, also to the same one. pause_ms 0: as the terms have it. */
void breaker_trip(struct breaker *b, const struct breaker_terms *t, int64_t pause_ms,
                  const char *why, int64_t now_ms);
void breaker_reset(struct breaker *b, const char *why, int64_t now_ms);

/* What the window holds now: failures of calls. */
void breaker_window(const struct breaker *b, const struct breaker_terms *t, int64_t now_ms,
                    int64_t *calls, int64_t *failures);

#endif

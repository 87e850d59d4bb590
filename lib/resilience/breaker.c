#include "resilience/breaker.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void breaker_free(struct breaker *b)
{
    free(b->holder);
    b->holder = NULL;
    b->holders = 0;
}

/* -------------------------------------------------------------------------------------- holders */

static void drop_holder(struct breaker *b, size_t i)
{
    b->holders--;
    memmove(b->holder + i, b->holder + i + 1, (b->holders - i) * sizeof *b->holder);
}

void breaker_sweep(struct breaker *b, bool (*lives)(const char *mark, void *arg), void *arg)
{
    for (size_t i = b->holders; i-- > 0;)
        if (!lives(b->holder[i].mark, arg))
            drop_holder(b, i);
}

static void add_holder(struct breaker *b, const char *mark, bool probe)
{
    b->holder = mem_grow(b->holder, b->holders + 1, sizeof *b->holder);
    snprintf(b->holder[b->holders].mark, BREAKER_MARK, "%s", mark);
    b->holder[b->holders++].probe = probe;
}

static int64_t probing(const struct breaker *b)
{
    int64_t n = 0;

    for (size_t i = 0; i < b->holders; i++)
        n += b->holder[i].probe;
    return n;
}

/* --------------------------------------------------------------------------------------- window */

static int64_t slot_number(const struct breaker_terms *t, int64_t now_ms)
{
    int64_t length = t->window_ms / BREAKER_SLOTS;

    return now_ms / (length < 1 ? 1 : length);
}

static void count(struct breaker *b, const struct breaker_terms *t, bool failed, int64_t now_ms)
{
    int64_t number = slot_number(t, now_ms);
    struct breaker_slot *slot = &b->slot[number % BREAKER_SLOTS];

    if (slot->number != number)
        *slot = (struct breaker_slot){number, 0, 0};
    slot->calls++;
    slot->failures += failed;
}

/* Slots in the future, left from before the clock went back, are not counted. */
void breaker_window(const struct breaker *b, const struct breaker_terms *t, int64_t now_ms,
                    int64_t *calls, int64_t *failures)
{
    int64_t number = slot_number(t, now_ms);

    *calls = *failures = 0;
    for (int i = 0; i < BREAKER_SLOTS; i++)
        if (b->slot[i].number <= number && b->slot[i].number > number - BREAKER_SLOTS) {
            *calls += b->slot[i].calls;
            *failures += b->slot[i].failures;
        }
}

/* -------------------------------------------------------------------------------------- changes */

static void enter(struct breaker *b, enum breaker_state state, int64_t now_ms)
{
    b->state = state;
    b->since_ms = now_ms;
    b->epoch++;
    b->row = b->good = 0;
    for (size_t i = 0; i < b->holders; i++) /* earlier calls are not probes of this epoch */
        b->holder[i].probe = false;
}

void breaker_trip(struct breaker *b, const struct breaker_terms *t, int64_t pause_ms,
                  const char *why, int64_t now_ms)
{
    int64_t pause = t->open_ms;

    for (int64_t i = 0; i < b->trips && pause < t->open_max_ms; i++)
        pause = pause > t->open_max_ms / 2 ? t->open_max_ms : pause * 2;
    enter(b, BREAKER_OPEN, now_ms);
    b->trips++;
    b->until_ms = now_ms + (pause_ms > 0 ? pause_ms : pause);
    snprintf(b->reason, sizeof b->reason, "%s", why);
}

void breaker_reset(struct breaker *b, const char *why, int64_t now_ms)
{
    enter(b, BREAKER_CLOSED, now_ms);
    b->trips = 0;
    b->until_ms = 0;
    memset(b->slot, 0, sizeof b->slot);
    snprintf(b->reason, sizeof b->reason, "%s", why);
}

/* Why the breaker has to open; NULL: it need not. */
static const char *too_bad(const struct breaker *b, const struct breaker_terms *t, const char *why,
                           char *text, size_t size, int64_t now_ms)
{
    int64_t calls, failures;

    if (t->failures > 0 && b->row >= t->failures) {
        snprintf(text, size, "%" PRId64 " failure%s in a row, the last: %s", b->row,
                 b->row == 1 ? "" : "s", why);
        return text;
    }
    breaker_window(b, t, now_ms, &calls, &failures);
    if (t->error_percent > 0 && calls >= t->volume && failures * 100 > t->error_percent * calls) {
        snprintf(text, size, "%" PRId64 " of %" PRId64 " calls failed, the last: %s", failures,
                 calls, why);
        return text;
    }
    return NULL;
}

/* -------------------------------------------------------------------------------- ask, report */

/* A pause longer than any allowed means that the clock went back. */
static bool pause_is_over(struct breaker *b, const struct breaker_terms *t, int64_t now_ms)
{
    int64_t longest = b->until_ms - b->since_ms;

    if (longest < t->open_max_ms)
        longest = t->open_max_ms;
    if (b->until_ms > now_ms + longest)
        b->until_ms = now_ms + longest;
    return now_ms >= b->until_ms;
}

static enum breaker_word may_begin(struct breaker *b, const struct breaker_terms *t)
{
    if (t->capacity > 0 && (int64_t)b->holders >= t->capacity)
        return BREAKER_IS_FULL;
    if (b->state != BREAKER_HALF_OPEN)
        return BREAKER_PASS;
    return probing(b) < t->probes - b->good ? BREAKER_PROBE : BREAKER_IS_PROBING;
}

struct breaker_ticket breaker_ask(struct breaker *b, const struct breaker_terms *t,
                                  const char *mark, int64_t now_ms)
{
    struct breaker_ticket ticket = {.word = BREAKER_IS_OPEN};

    if (b->created_ms == 0)
        b->created_ms = b->since_ms = now_ms;
    if (b->disabled) {
        ticket.word = BREAKER_PASS;
    } else if (b->state != BREAKER_OPEN) {
        ticket.word = may_begin(b, t);
    } else if (pause_is_over(b, t, now_ms)) {
        enter(b, BREAKER_HALF_OPEN, now_ms);
        ticket.changed = true;
        ticket.word = may_begin(b, t);
    }
    ticket.epoch = b->epoch;
    if (ticket.word == BREAKER_PROBE || (ticket.word == BREAKER_PASS && t->capacity > 0))
        add_holder(b, mark, ticket.word == BREAKER_PROBE);
    if (ticket.word != BREAKER_PASS && ticket.word != BREAKER_PROBE)
        b->figures.rejects++;
    return ticket;
}

static void add_figures(struct breaker_figures *f, enum breaker_outcome outcome, int64_t took_ms)
{
    f->calls++;
    f->successes += outcome == BREAKER_OK;
    f->failures += outcome == BREAKER_FAILED || outcome == BREAKER_TIMEOUT;
    f->timeouts += outcome == BREAKER_TIMEOUT;
    f->ignored += outcome == BREAKER_IGNORED;
    if (outcome != BREAKER_IGNORED)
        f->time[histogram_class(took_ms)]++;
}

/* A time before the first call means that the clock went back: the breaker's age is unknown
   then. */
static bool warming_up(const struct breaker *b, const struct breaker_terms *t, int64_t now_ms)
{
    return now_ms >= b->created_ms && now_ms < b->created_ms + t->warm_up_ms;
}

static bool report_closed(struct breaker *b, const struct breaker_terms *t, bool failed,
                          const char *why, int64_t now_ms)
{
    char text[BREAKER_REASON];

    count(b, t, failed, now_ms);
    b->row = failed ? b->row + 1 : 0;
    if (!failed || warming_up(b, t, now_ms) ||
        too_bad(b, t, why, text, sizeof text, now_ms) == NULL)
        return false;
    breaker_trip(b, t, 0, text, now_ms);
    return true;
}

static bool report_probe(struct breaker *b, const struct breaker_terms *t, bool failed,
                         const char *why, int64_t now_ms)
{
    char text[BREAKER_REASON];

    if (failed) {
        snprintf(text, sizeof text, "a probe failed: %s", why);
        breaker_trip(b, t, 0, text, now_ms);
        return true;
    }
    if (++b->good < t->probes)
        return false;
    breaker_reset(b, t->probes == 1 ? "a probe succeeded" : "probes succeeded", now_ms);
    return true;
}

/* A call passes in the closed state, or as a probe; each opening, and each closing after it, starts
   a new epoch. */
bool breaker_outage(const struct breaker *b, const struct breaker_ticket *ticket)
{
    return !b->disabled && ticket->epoch != b->epoch;
}

bool breaker_report(struct breaker *b, const struct breaker_terms *t,
                    const struct breaker_ticket *ticket, const char *mark,
                    enum breaker_outcome outcome, int64_t took_ms, const char *why, int64_t now_ms)
{
    bool failed = outcome == BREAKER_FAILED || outcome == BREAKER_TIMEOUT;

    add_figures(&b->figures, outcome, took_ms);
    for (size_t i = b->holders; i-- > 0;)
        if (strcmp(b->holder[i].mark, mark) == 0)
            drop_holder(b, i);
    if (b->disabled || outcome == BREAKER_IGNORED || ticket->epoch != b->epoch)
        return false;
    return ticket->word == BREAKER_PROBE ? report_probe(b, t, failed, why, now_ms)
                                         : report_closed(b, t, failed, why, now_ms);
}

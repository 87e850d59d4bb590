/*
 * pacer: hold lines, or callers, to a rate; the work of throttle(1).
 *
 * With a name the rate is a bucket of the spool, shared by all processes that use that name;
 * without a name it is this process's own. When the spool cannot be used, this process keeps the
 * rate alone and reports that once: a rate limit must not lose lines. pacer_filter then closes the
 * store; a caller that could not open it calls pacer_alone.
 */
#ifndef RESILIENCE_PACER_H
#define RESILIENCE_PACER_H

#include "base/gcra.h"
#include "resilience/bucket.h"
#include "store/store.h"

struct pacer {
    struct gcra pace;    /* the rate and the burst */
    const char *name;    /* NULL: not shared */
    struct store *store; /* the caller's; NULL: not shared */
};

/*
 * Wait for a turn in the bucket called name, at most max_ms (negative: no limit), and once more if
 * the bucket was closed in the meantime. 1: it is our turn; 0: the wait would be longer, *wait_us
 * is how long; -1: error, 75 when a signal came. Call wrap_stage first.
 */
int pacer_turn(struct pacer *p, const char *name, int64_t max_ms, int64_t *wait_us, struct err *e);

/*
 * Copy stdin to stdout, each line when its turn has come. by: a JSON pointer; each value there has
 * a rate of its own: lines with the same value wait for one another, and lines with other values
 * overtake them. Up to 10,000 lines or 64 MiB are held back before reading pauses. 0, or -1: 65
 * when lines longer than 64 MiB were dropped, each with a message.
 */
int pacer_filter(struct pacer *p, const char *by, struct err *e);

void pacer_alone(const struct err *why);

/* Append the name of the bucket for the line's value at by: "NAME/value", or "NAME/" when the line
   has no value there or is not JSON. */
void pacer_name(struct buf *b, const char *name, const char *by, struct str line);

#endif

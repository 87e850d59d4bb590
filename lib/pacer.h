/*
 * pacer: lines, or whoever asks, no faster than a rate; throttle(1) behind its options.
 *
 * With a name the rate is a bucket of the spool, shared by all who use that name; without one it
 * is this process's own. When the spool cannot be used the rate is kept by this process alone, and
 * that is said once: a limit must not become a loss.
 */
#ifndef PACER_H
#define PACER_H

#include "bucket.h"
#include "gcra.h"
#include "store.h"

struct pacer {
    struct gcra pace;    /* the rate and the burst */
    const char *name;    /* NULL: not shared */
    struct store *store; /* opened by pacer_filter, or by whoever calls pacer_turn */
};

/*
 * Wait for a turn in the bucket called name, at most max_ms (negative: as long as it takes), and
 * again if the bucket was closed meanwhile. 1; 0 when it would take longer: *wait_us says how
 * long; -1, 75 when a signal came. After wrap_stage.
 */
int pacer_turn(struct pacer *p, const char *name, int64_t max_ms, int64_t *wait_us, struct err *e);

/*
 * Copy stdin to stdout, each line when its turn has come. by: a JSON pointer, and each value there
 * has a rate of its own: its lines wait for one another, those of other values pass by. Up to
 * 10,000 lines, 64 MiB, are held back before reading waits. 0, or -1: 65 when lines were left out,
 * each with a message, because they are longer than 64 MiB.
 */
int pacer_filter(struct pacer *p, const char *by, struct err *e);

/* Append the name of the bucket for this line's value at by: "NAME/value", "NAME/" when it has none
   or is no JSON. */
void pacer_name(struct buf *b, const char *name, const char *by, struct str line);

#endif

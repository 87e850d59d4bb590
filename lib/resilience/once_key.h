/*
 * once_key: what has been done already, by name, and what it printed; the work of once(1).
 *
 *     once_key_take(&k, wait_ms, &e)      ONCE_KEY_OURS: do it, then once_key_done or once_key_drop
 *                                    ONCE_KEY_DONE: k.output is what it printed then, if that was
 *                                    kept: k.bytes is how long it was
 *                                    ONCE_KEY_BUSY: another process does it, and wait_ms is over
 *
 * A document records that a process is working on the key, or that the work is done. The process is
 * recognised by its lock, so that a key whose process was killed is free at once, and no timeout
 * ever frees a key in use.
 *
 * After a kill before once_key_done has returned, the key is free and the work is done again,
 * although its effect may have happened. After a later kill it is not done again.
 */
#ifndef RESILIENCE_ONCE_KEY_H
#define RESILIENCE_ONCE_KEY_H

#include "base/buf.h"
#include "store/doc.h"

#define ONCE_KEY_KIND "key"
#define ONCE_KEY_OUTPUT_MAX (16 << 20) /* a longer output is not kept */

struct once_key {
    struct store *store;
    const char *name;
    char mark[MARK_SIZE];
    int64_t rev;
    struct buf output;
    int64_t bytes;
};

enum once_key_word { ONCE_KEY_OURS, ONCE_KEY_DONE, ONCE_KEY_BUSY };

/* As above, or -1. wait_ms negative: no limit. A signal ends the wait: -1 with 75. Call proc_stage
   first. */
int once_key_take(struct once_key *k, int64_t wait_ms, struct err *e);
/* On disk when it returns. The key is free again ttl_ms from now. bytes: how much the command
   printed; output holds all of that, or nothing if it was longer than ONCE_KEY_OUTPUT_MAX. */
int once_key_done(struct once_key *k, struct str output, int64_t bytes, int64_t ttl_ms,
                  struct err *e);
int once_key_drop(struct once_key *k, struct err *e); /* the key is free */
void once_key_free(struct once_key *k);

/* Read a document of this kind, for listings; false when it is damaged. */
struct once_key_info {
    bool done;
    int64_t at_ms; /* when it was done, or begun */
    int64_t bytes; /* if done: how much the command printed */
    char mark[MARK_SIZE];
};
bool once_key_read(struct str value, struct once_key_info *out);
int once_key_forget(struct store *s, const char *name,
                    struct err *e); /* 66; 75 while a process works on it */

#endif

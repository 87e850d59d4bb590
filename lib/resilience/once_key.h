/*
 * key: what has been done already, by name, and what it printed; the work of once(1).
 *
 *     key_take(&k, wait_ms, &e)      KEY_OURS: do it, then key_done or key_drop
 *                                    KEY_DONE: k.output is what it printed then, if that was
 *                                    kept: k.bytes is how long it was
 *                                    KEY_BUSY: another process does it, and wait_ms is over
 *
 * A document records that a process is working on the key, or that the work is done. The process is
 * recognised by its lock, so that a key whose process was killed is free at once, and no timeout
 * ever frees a key in use.
 *
 * After a kill before key_done has returned, the key is free and the work is done again, although
 * its effect may have happened. After a later kill it is not done again.
 */
#ifndef RESILIENCE_ONCE_KEY_H
#define RESILIENCE_ONCE_KEY_H

#include "base/buf.h"
#include "store/store.h"

#define KEY_KIND "key"
#define KEY_OUTPUT_MAX (16 << 20) /* a longer output is not kept */

struct key {
    struct store *store;
    const char *name;
    char mark[MARK_SIZE];
    int64_t rev;
    struct buf output;
    int64_t bytes;
};

enum key_word { KEY_OURS, KEY_DONE, KEY_BUSY };

/* As above, or -1. wait_ms negative: no limit. A signal ends the wait: -1 with 75. Call proc_stage
   first. */
int key_take(struct key *k, int64_t wait_ms, struct err *e);
/* On disk when it returns. The key is free again ttl_ms from now. bytes: how much the command
   printed; output holds all of that, or nothing if it was longer than KEY_OUTPUT_MAX. */
int key_done(struct key *k, struct str output, int64_t bytes, int64_t ttl_ms, struct err *e);
int key_drop(struct key *k, struct err *e); /* the key is free */
void key_free(struct key *k);

/* Read a document of this kind, for listings; false when it is damaged. */
struct key_info {
    bool done;
    int64_t at_ms; /* when it was done, or begun */
    int64_t bytes; /* if done: how much the command printed */
    char mark[MARK_SIZE];
};
bool key_read(struct str value, struct key_info *out);
int key_forget(struct store *s, const char *name,
               struct err *e); /* 66; 75 while a process works on it */

#endif

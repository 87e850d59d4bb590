/*
 * key: what was done already, by name, and what it printed; once(1) behind its options.
 *
 *     key_take(&k, wait_ms, &e)      KEY_OURS: do it, then key_done or key_drop
 *                                    KEY_DONE: k.output is what it printed then, if that was
 *                                    kept: k.bytes is how long it was
 *                                    KEY_BUSY: somebody does it, and wait_ms is over
 *
 * A document says that a process is at it, or that it is done. The process is known by its lock, so
 * that a key whose process was killed is free at once, and no clock ever frees one.
 *
 * What a kill leaves: before key_done has returned the key is free, and it is done again, although
 * its effect may have happened. After that it is not.
 */
#ifndef KEY_H
#define KEY_H

#include "buf.h"
#include "store.h"

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

/* As above, or -1. wait_ms negative: as long as it takes. A signal ends the waiting: -1 with 75.
   After proc_stage. */
int key_take(struct key *k, int64_t wait_ms, struct err *e);
/* On disk when it returns. The key is free again ttl_ms from now. bytes: how much was printed, of
   which output is all, or nothing: what is longer than KEY_OUTPUT_MAX is not kept. */
int key_done(struct key *k, struct str output, int64_t bytes, int64_t ttl_ms, struct err *e);
int key_drop(struct key *k, struct err *e); /* it is free */
void key_free(struct key *k);

/* A document of the kind, for listings; false when it is damaged. */
struct key_info {
    bool done;
    int64_t at_ms; /* done, or begun, then */
    int64_t bytes; /* printed by what is done */
    char mark[MARK_SIZE];
};
bool key_read(struct str value, struct key_info *out);
int key_forget(struct store *s, const char *name,
               struct err *e); /* 66; 75 while somebody is at it */

#endif

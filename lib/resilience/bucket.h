/*
 * bucket: a rate kept in the spool under a name, and shared by all processes that use that name.
 *
 * Taking a token reserves a time: the caller learns how long to wait, and later callers get later
 * times, in order. The state is a document of clock times: no process runs in between. When a power
 * cut loses the last changes, a few more tokens are given than the rate allows; nothing else
 * happens.
 */
#ifndef RESILIENCE_BUCKET_H
#define RESILIENCE_BUCKET_H

#include "base/gcra.h"
#include "store/store.h"

struct bucket {
    struct gcra pace;     /* wall microseconds; each_us 0: not used yet */
    int64_t said_us;      /* when the bucket was last changed: the clock may have gone back since */
    int64_t closed_us;    /* no token is given before */
    int64_t taken, since; /* tokens taken; since when they are counted, wall milliseconds */
};

/*
 * Take a token at the rate of pace (next_us is not used). When the bucket had another rate, it has
 * this one from now on, and *changed is true. *wait_us is how long to wait. 1: taken; 0: the wait
 * would be longer than max_ms (negative: no limit), and nothing is taken; -1: error.
 */
int bucket_take(struct store *s, const char *name, const struct gcra *pace, int64_t max_ms,
                int64_t *wait_us, bool *changed, struct err *e);
/* Until when the bucket is closed, wall microseconds; 0: it is open. */
int bucket_closed(struct store *s, const char *name, int64_t *until_us, struct err *e);
/* Give no token before until_ms, wall milliseconds; 0: open the bucket. 66 when opening and there
   is no such bucket. */
int bucket_close(struct store *s, const char *name, int64_t until_ms, struct err *e);
int bucket_forget(struct store *s, const char *name, struct err *e); /* 66 */
/* Read a bucket from a document, for listings. */
bool bucket_read(struct str value, struct bucket *out);

#define BUCKET_KIND "bucket"

#endif

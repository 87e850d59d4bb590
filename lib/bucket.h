/*
 * bucket: a rate that all processes share which use the spool, under a name.
 *
 * A token is taken by reserving its time: who takes one knows how long to wait for it, and those
 * who come later wait longer, in turn. The state is a document, and is the clock's time: nothing
 * runs in between. Losing the last of it in a power cut lets a few more through, no more.
 */
#ifndef BUCKET_H
#define BUCKET_H

#include "gcra.h"
#include "store.h"

struct bucket {
    struct gcra pace;     /* wall microseconds; each_us 0: nobody has used it yet */
    int64_t said_us;      /* when it was last changed: the clock may have gone back since */
    int64_t closed_us;    /* nobody gets one before */
    int64_t taken, since; /* tokens; since when they are counted, wall milliseconds */
};

/*
 * Take a token. How fast is what pace says (next_us is not used); where that is not what the
 * bucket was used with before, it is from now on, and *changed. *wait_us is how long to wait.
 * 1 taken; 0 the wait would be longer than max_ms (negative: any), and nothing is taken; -1.
 */
int bucket_take(struct store *s, const char *name, const struct gcra *pace, int64_t max_ms,
                int64_t *wait_us, bool *changed, struct err *e);
/* Until when it is closed, wall microseconds; 0: it is not. */
int bucket_closed(struct store *s, const char *name, int64_t *until_us, struct err *e);
/* Let nobody have one before then, wall milliseconds; 0: open it. 66 when there is no such one and
   it is to be opened. */
int bucket_close(struct store *s, const char *name, int64_t until_ms, struct err *e);
int bucket_forget(struct store *s, const char *name, struct err *e); /* 66 */
/* The bucket that a document is, for listings. */
bool bucket_read(struct str value, struct bucket *out);

#define BUCKET_KIND "bucket"

#endif

/*
 * doc: documents, and marks of processes in them.
 */
#ifndef STORE_DOC_H
#define STORE_DOC_H

#include "store/store.h"

/*
 * A document is a small named value: the state of a breaker, a bucket, a key. Change it with
 * compare-and-set; nothing is locked between the calls:
 *
 *     do {
 *         doc_get(s, kind, name, &doc, &e);
 *         … compute the new value …
 *         put.rev = doc.rev;
 *     } while ((got = doc_put(s, &put, &e)) == 0);       another process was faster
 */
struct doc {
    const char *name;   /* in doc_each */
    int64_t rev;        /* 0: there is no such document */
    int64_t expires_ms; /* 0: never */
    struct str value;   /* a view until the next call on the store */
};
/* 1; 0 when there is no such document, and *out has revision 0; -1. */
int doc_get(struct store *s, const char *kind, const char *name, struct doc *out, struct err *e);

struct doc_put {
    const char *kind, *name;
    int64_t rev;        /* the revision to replace; 0: there must be no such document */
    struct str value;   /* absent: remove the document */
    int64_t expires_ms; /* wall time: from then on the document is gone; 0: never */
    bool durable;       /* on disk when doc_put returns; otherwise a power cut may undo it */
    bool wake;          /* ring the bell: another process may wait for this change */
    const char *event;  /* also append an event of this type, about the name, to the log; NULL */
    struct str data;    /* the event's data, JSON; with an event the change is durable, too */
    struct str cause;   /* the event's cause, a line; absent: the event begins a causal chain */
};
/* 1; 0 when the document is at another revision, and nothing has changed; -1. */
int doc_put(struct store *s, const struct doc_put *put, struct err *e);
/* Remove a document, whatever its revision: 1; 0 when there is no such document; -1. */
int doc_forget(struct store *s, const char *kind, const char *name, struct err *e);

/* The same in a transaction, of which durable says nothing; one that appends, if put has an
   event. */
int txn_doc_put(struct txn *t, const struct doc_put *put, struct err *e);
int txn_doc_forget(struct txn *t, const char *kind, const char *name, struct err *e);

/* Call f for each document of a kind, by name; f may change documents, and may return non-zero to
   stop. */
int doc_each(struct store *s, const char *kind,
             int (*f)(const struct doc *doc, void *arg, struct err *e), void *arg, struct err *e);

/*
 * A mark names a process in a document. It is good while the process lives and has not dropped it:
 * as with claims, the kernel drops the lock behind it when the process ends. It is text; store it
 * unchanged. mark_take returns 0 or -1; mark_pid returns 0 when the text is no mark.
 */
#define MARK_SIZE 120
int mark_take(struct store *s, char mark[MARK_SIZE], struct err *e);
void mark_drop(struct store *s, const char *mark);
bool mark_lives(struct store *s, const char *mark); /* true for our own */
int64_t mark_pid(const char *mark);

#endif

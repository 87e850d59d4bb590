/*
 * batch: lines become events in the log, many a commit.
 *
 *     struct batch b = {.store = s, .fill = …, .terms = …};       the rest zero
 *     batch_put(&b, place, line, &e)                              for each line
 *     if (batch_full(&b) || no more input is waiting)
 *         batch_commit(&b, &e), then tell what is in safe, complaints and rejected
 *
 * A line that cannot be stored is a complaint and costs the others nothing. Nothing is told while
 * the transaction is open, since writing may block and others wait for the lock: the caller tells
 * after batch_commit or batch_abandon, or when batch_open says that no transaction is.
 */
#ifndef BATCH_H
#define BATCH_H

#include "pending.h"

/* Where a line came from, for messages; kept, not copied. */
struct batch_place {
    const char *file; /* NULL: stdin, or wherever name says */
    int64_t line;     /* 0: the place has a name instead */
    const char *name; /* "-d" */
};

struct batch {
    struct store *store;
    struct log_terms terms;
    struct event_fill fill;
    int64_t delay_ms, ttl_ms; /* 0: none; from the time of each batch */
    struct pending pending;
    bool echo, keep_rejected;

    /* counted since the beginning */
    int64_t duplicates, bad, stale; /* stale are among the bad */

    /* to be told, and then batch_told */
    struct buf safe;       /* the events that are on disk now, a line each; with echo */
    struct buf complaints; /* messages, each with a NUL behind it */
    struct buf rejected;   /* the lines they are about; with keep_rejected */

    /* the batch's own */
    int64_t lines, bytes, room;
    struct event event;
    struct js_scan scan;
    struct err why;
};

/* 0 when the line is in the transaction or complained about, -1 when the store failed. */
int batch_put(struct batch *b, struct batch_place place, struct str line, struct err *e);
/* A line that is wrong before anyone looks into it. line may be absent. */
void batch_refuse(struct batch *b, struct batch_place place, struct str line,
                  const struct err *why);
bool batch_full(const struct batch *b); /* a thousand lines, a megabyte, or little room on disk */
bool batch_open(const struct batch *b);
int batch_commit(struct batch *b, struct err *e); /* when it returns 0, safe is on disk */
void batch_abandon(struct batch *b);              /* nothing of it is stored; safe is empty */
void batch_told(struct batch *b);
void batch_free(struct batch *b);

#endif

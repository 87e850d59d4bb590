/*
 * ingest: store lines as events in the log, many per commit.
 *
 *     struct ingest b = {.store = s, .fill = …, .terms = …};       the rest zero
 *     ingest_put(&b, place, line, &e)                              for each line
 *     if (ingest_full(&b) || no more input is waiting)
 *         ingest_commit(&b, &e), then print safe, complaints and rejected
 *
 * A line that cannot be stored becomes a complaint and does not affect the others. Print nothing
 * while the transaction is open, since writing may block while others wait for the lock: print
 * after ingest_commit or ingest_abandon, or when ingest_open is false.
 */
#ifndef DELIVER_INGEST_H
#define DELIVER_INGEST_H

#include "deliver/backpressure.h"

#define INGEST_QUEUE LOG_SOME

/* Where a line came from, for messages; a view that must stay until the batch is committed. */
struct ingest_place {
    const char *file; /* NULL: stdin, or the place that name names */
    int64_t line;     /* 0: the place has a name instead */
    const char *name; /* "-d" */
};

struct ingest {
    struct store *store;
    struct log_terms terms;
    struct event_fill fill;
    int64_t delay_ms, ttl_ms; /* 0: none; from the time of each batch */
    struct backpressure pending;
    bool echo, keep_rejected;

    /* counted since the beginning */
    int64_t duplicates, bad, stale; /* stale are among the bad */

    /* for the caller to print, who then calls ingest_told */
    struct buf safe;       /* with echo: the events that are on disk now, a line each */
    struct buf complaints; /* messages, each with a NUL behind it */
    struct buf rejected;   /* with keep_rejected: the lines that the complaints are about */

    /* the batch's own */
    int64_t lines, bytes, room;
    size_t queued, queued_bytes; /* events that are made, but not yet put into the log */
    struct event event[INGEST_QUEUE];
    struct ingest_place place[INGEST_QUEUE];
    struct str line[INGEST_QUEUE];
    struct js_scan scan;
    struct err why;
};

/* 0 when the line is in the transaction, is about to be, or is a complaint; -1 when the store
   failed. */
int ingest_put(struct ingest *b, struct ingest_place place, struct str line, struct err *e);
/* Add a complaint about a line that is wrong before it is parsed. line may be absent. 0 or -1. */
int ingest_refuse(struct ingest *b, struct ingest_place place, struct str line,
                  const struct err *why, struct err *e);
/* Lines are put into the transaction several at a time: put those that are waiting, so that all
   counts are right. 0 or -1. */
int ingest_flush(struct ingest *b, struct err *e);
bool ingest_full(
    const struct ingest *b); /* a thousand lines, a megabyte, or less when little room is
                                           left on disk */
bool ingest_open(const struct ingest *b);
int ingest_commit(struct ingest *b, struct err *e); /* when it returns 0, safe is on disk */
void ingest_abandon(struct ingest *b);              /* nothing of the batch is stored; safe is
                                                     empty */
void ingest_told(struct ingest *b);
void ingest_free(struct ingest *b);

#endif

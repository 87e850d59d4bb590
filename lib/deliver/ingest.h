/*
 * ingest: store lines as events in the log, many per commit.
 *
 *     struct ingest b = {.store = s, .fill = …, .terms = …};       the rest zero
 *     ingest_line(&b, &line, false, file, &e)                      for each line
 *     if (ingest_full(&b) || no more input is waiting)
 *         ingest_commit(&b, &e), then print safe, and refused_report(&b.refused, &e)
 *
 * When the connection to a server is lost, even while it commits, the batch is put once more on a
 * new one, with the same ids, so that nothing is stored twice. A call fails only if there is none.
 *
 * A line that cannot be stored is refused and does not affect the others. Print nothing while the
 * transaction is open, since writing may block while others wait for the lock: print after
 * ingest_commit or ingest_abandon.
 */
#ifndef DELIVER_INGEST_H
#define DELIVER_INGEST_H

#include "cli/lines.h"
#include "cli/refused.h"
#include "deliver/backpressure.h"
#include "deliver/reconnect.h"
#include "store/log.h"

#define INGEST_QUEUE LOG_SOME

/* Where a line came from, for messages; a view that must stay until the batch is committed. */
struct ingest_place {
    const char *file; /* NULL: stdin */
    int64_t line;     /* 0: file names a place that has no lines, such as "-d" */
};

struct ingest {
    struct store *store;
    struct log_terms terms;
    struct event_fill fill;
    int64_t delay_ms, ttl_ms; /* 0: none; from the time of each batch */
    struct backpressure pending;
    int64_t max_size; /* bytes of the longest line */
    bool echo;
    bool atomic; /* all or nothing: ingest_line keeps the lines for ingest_held */

    /* since the beginning; blank lines are not counted, and stale ones are among the refused */
    int64_t seen, duplicates, stale;
    struct refused refused;
    /* With echo: the events that are on disk now, a line each, for the caller to print and reset */
    struct buf safe;

    /* the batch's own */
    struct txn *txn;
    int64_t lines, bytes, room;
    struct buf held;
    struct reconnect reconnect;
    bool keeps, again; /* the connection may be lost; the batch is put once more */
    bool unknown;      /* and it may be in the log already */
    bool repeats;      /* the last batch had duplicates */
    int64_t before;    /* how many duplicates there were before this batch */
    struct buf kept;   /* then: its events, to be put again */
    size_t kept_at[INGEST_QUEUE];
    size_t queued, queued_bytes; /* events that are made, but not yet put into the log */
    struct event event[INGEST_QUEUE];
    struct ingest_place place[INGEST_QUEUE];
    struct str line[INGEST_QUEUE];
    struct js_scan scan;
    struct err why;
};

/* 0 when the text is in the transaction, is about to be, or is refused; -1 when the store failed.
   Texts are put into the transaction several at a time: text stays until ingest_commit. */
int ingest_put(struct ingest *b, struct ingest_place place, struct str text, struct err *e);
/* The same with a line of an input: without a byte order mark before the first line and a CR before
   the newline. Blank lines are skipped. -1 with 65 for more than 64 MiB that have to be kept. */
int ingest_line(struct ingest *b, const struct line *line, bool too_long, const char *file,
                struct err *e);
/* What a user gives in words (ingest_given.c). ingest_data stores one event with the data, which is
   JSON or "@FILE", and commits: 0 also when it is refused; -1 with 65 too long, as feed_text, or
   when the store failed. ingest_delay takes a duration or a time, ingest_expect a version, "any" or
   "none": 0, or -1 with 64. */
int ingest_data(struct ingest *b, const char *data, struct err *e);
int ingest_delay(struct ingest *b, const char *text, struct err *e);
int ingest_expect(struct ingest *b, const char *text, struct err *e);
/* Put the lines that were kept, until one of them is stale: a version conflict concerns the whole
   input and is reported once. All counts are right then. 0, or -1 when the store failed. */
int ingest_held(struct ingest *b, struct err *e);
struct str ingest_unmarked(struct str text); /* without a byte order mark */
bool ingest_full(
    const struct ingest *b); /* about a thousand lines, a megabyte, or less when little room is
                                           left on disk */
int ingest_commit(struct ingest *b, struct err *e); /* when it returns 0, safe is on disk */
void ingest_abandon(struct ingest *b);              /* nothing of the batch is stored; safe is
                                                     empty */
void ingest_free(struct ingest *b);

#endif

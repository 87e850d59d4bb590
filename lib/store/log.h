/*
 * log: the events of the spool, in order. See store.h for what all functions have in common.
 */
#ifndef STORE_LOG_H
#define STORE_LOG_H

#include "base/point.h"
#include "store/store.h"

/* The bounds of what comes before a position, and after it. */
static inline int64_t log_before(int64_t seq)
{
    return seq - 1;
}
static inline int64_t log_after(int64_t seq)
{
    return seq + 1;
}

enum log_fate {
    LOG_STORED,
    LOG_DUPLICATE, /* already in the log, with the same type, subject and data */
    LOG_CLASH,     /* its (source, id) is in the log with other content, at seq */
    LOG_STALE,     /* its subject is at another version, or its own version is taken */
    LOG_CYCLE,     /* its causal chain is longer than EVENT_HOPS_MAX */
};

struct log_put {
    enum log_fate fate;
    int64_t seq;     /* of the event stored now, or of the stored event that conflicts with it */
    int64_t version; /* LOG_STALE: the subject's; LOG_STORED: the event's own, 0: none */
    struct str line; /* LOG_DUPLICATE: the stored line; a view until the next call */
};

/* How many events log_put_some puts at once: it depends on the engine, and LOG_SOME is the most. */
#define LOG_SOME 250
size_t log_some(void);

enum log_versions { LOG_UNVERSIONED, LOG_NEXT_VERSION, LOG_EXACT_VERSION };

struct log_terms {
    enum log_versions versions;
    int64_t expected; /* LOG_EXACT_VERSION: each subject's version before its first event here */
    bool chained;     /* hops are already right: do not look up causes */
    bool unasked;     /* where asking costs time, see log_put_some: believe that events are new */
    int64_t now_ms;   /* recorded; raised to the last event's when the clock went back a little */
};

/*
 * Versions number the events of a subject's stream. LOG_UNVERSIONED assigns none, but an event that
 * brings a version keeps it, and that place in the stream must be free: so a copied log arrives
 * unchanged, even in part, with holes, or in another order. The other two modes give each event the
 * next version; a version that an event brings must be that next version.
 *
 * Appending is one transaction of the kind TXN_PUBLISH, with about a thousand events at most.
 *
 * When the file system is nearly full, txn_begin refuses with 74, and so does log_put for an event
 * that no longer fits. They refuse before settling would fail, so that consumers can still settle
 * what they hold. When little room is left, an early commit frees some: log_crowded returns true
 * when it is time for one.
 * log_put returns 0 and sets out->fate; only LOG_STORED changes the log. A second copy of an event
 * is LOG_DUPLICATE, whatever its version, so that a publish whose outcome is unknown can be
 * repeated. log_put may raise ev's hops to one more than its cause's.
 */
int log_put(struct txn *t, struct event *ev, struct log_put *out, struct err *e);
/* Put the first of n events, or the first log_some() at once when there are as many and nothing
   speaks against it, which is cheaper. Returns how many, or -1; *out is right for each of them but
   for its seq, which is the last one's. The others of the n are to follow, unchanged, or none.
   With unasked terms they may count as stored although the log is not asked: if one of them turns
   out not to be new, a later call or the commit fails, and store_missed is true: then the same
   events have to be put again, by terms that are not. */
int log_put_some(struct txn *t, struct event *ev, size_t n, struct log_put *out, struct err *e);
bool log_crowded(const struct txn *t);

/* Append to b the types of the causal chain behind an event, nearest first, at most five, as
   " ← order.paid ← order.placed". 0 or -1. */
int log_chain(struct store *s, struct str causationid, struct buf *b, struct err *e);

struct log_entry {
    int64_t seq, recorded_ms;
    struct str id, source, type, subject; /* views until the next call on the same log */
    struct str line;                      /* likewise; the byte after it is a newline */
    int64_t version;                      /* place in its subject's stream; 0: none, or not read */
    bool damaged; /* not what was stored: do not pass it on. The fields that are set are right, the
                     others are empty: the line, or the type and everything else except seq */
};

struct log_query {
    int64_t first, last;       /* positions, both included; 0: from the start, to the end */
    struct pattern_list types; /* not owned */
    const char *subject, *correlationid; /* damaged events that may match are returned, too */
    const char *group; /* only what this group has yet to settle: events that match its patterns and
                          are not yet claimed, claimed, or waiting; not dead, and not expired */
    bool due;          /* only what could be claimed now: not early, not expired, not claimed */
    bool lines;        /* id, source, type and subject are not needed, and are absent */
    int64_t newest;    /* only the newest n that match; 0: all */
    /* Instead of all the above, either the versioned events of the subject stream, by version, from
       this version on (an index finds them); or the events at these seqs positions, ascending and
       not owned. Lines only. */
    const char *stream;
    int64_t version;
    const int64_t *seq;
    size_t seqs;
};

struct log;

/* Read the log in order, in pages: no transaction is open between calls. log_next returns 1; 0 at
   the end, where later calls return what was appended since; -1 on error. */
int log_open(struct log **out, struct store *s, const struct log_query *query, struct err *e);
int log_next(struct log *l, struct log_entry *out, struct err *e);
/* For a query of lines: the lines of up to most events at once, a newline behind each, as a view
   until the next call. Returns how many events; LOG_DAMAGED when the next one is damaged: then
   log_next returns it; 0 at the end; -1. */
enum { LOG_DAMAGED = -2 };
int log_lines(struct log *l, int64_t most, struct str *text, struct err *e);
/* The position where another log with the same query would have to start to go on here. */
int64_t log_here(const struct log *l);
void log_close(struct log *l);

/* The version of a subject's stream when the log ended at position last. Returns 1 and sets
   *version; 0 when no event of the subject had a version by then; -1. */
int log_stands(struct store *s, const char *subject, int64_t last, int64_t *version, struct err *e);

/* The position of the first event at or after a point; otherwise last position + 1. */
int log_point(struct store *s, const struct point *point, int64_t *seq, struct err *e);
/* The last position up to a point, which includes a position and excludes a time; 0: nothing lies
   before it. 0, or -1. */
int log_until(struct store *s, const struct point *point, int64_t *last, struct err *e);

/* The event that a user names: digits are a position, anything else is an id, and "id:42" is always
   an id. 66 when there is no such event; 65, with their positions in the message, when events of
   several sources have the id. 0 or -1. */
int log_find(struct store *s, const char *name, int64_t *seq, struct err *e);

/* Append the type of the event with this id, of the first if several sources use the id. 1; 0 when
   there is no such event; -1. */
int log_type(struct store *s, struct str id, struct buf *type, struct err *e);

#endif

/*
 * where: where an event stands with the groups, and why.
 */
#ifndef STORE_WHERE_H
#define STORE_WHERE_H

#include "store/log.h"

enum where_state {
    WHERE_FILTERED, /* the group's patterns do not match its type */
    WHERE_BEFORE,   /* the group began after it */
    WHERE_AHEAD,    /* not yet reached */
    WHERE_WAITING,  /* until due_ms; once that is past, the next claim takes it */
    WHERE_BEHIND,   /* an earlier event of its subject is not settled */
    WHERE_CLAIMED,  /* held by a live consumer */
    WHERE_ORPHANED, /* held by a consumer that died */
    WHERE_LEASED,   /* handed out over a pipe, until due_ms */
    WHERE_DEAD,     /* a dead letter, since due_ms */
    WHERE_EXPIRED,  /* before its turn, or while it waits; stays in the log, never claimed */
    WHERE_DONE,     /* passed, and nothing remembered: handled, dropped, or expired by its turn */
    WHERE_PASSED, /* passed, or before where the group began: which of the two is unknown by now */
};

struct where {
    const char *group;
    const struct pattern_list *types;
    enum where_state state;
    int64_t due_ms;        /* wall time; 0: none known */
    int64_t pid;           /* CLAIMED and ORPHANED; 0: unknown */
    int64_t claimed_ms;    /* CLAIMED, ORPHANED and LEASED: since when; 0: unknown */
    int64_t behind;        /* BEHIND: the first event of its subject that is not settled; 0: none */
    int64_t behind_due_ms; /* until when that first event waits; 0: it does not wait */
    int64_t attempts, deaths;
    struct str reason, tail;          /* of its last attempt; p NULL: none on record */
    int64_t notbefore_ms, expires_ms; /* the event's own; 0: none */
    bool paused;                      /* this and the rest describe the group as a whole */
    int64_t hold_ms, consumers;       /* 0: no hold in force; consumers that live */
    int64_t position, last;           /* what the group has passed; the end of the log */
};

/* Where the event at seq stands with each group, or with the one called group: f is called for each
   group, by name, until it returns non-zero (-1: as an error). Each answer describes one moment; no
   transaction is open while f runs, and views are valid within it. What is done leaves no record:
   DONE, BEFORE and PASSED are told apart by where the group began, and an event that matched only
   earlier patterns is FILTERED. 66 when there is no such group. */
int where_each(struct store *s, const char *group, int64_t seq,
               int (*f)(const struct where *w, void *arg, struct err *e), void *arg, struct err *e);

#endif

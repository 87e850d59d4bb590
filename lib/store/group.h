/*
 * group: a group as its consumers see it: claim, work, settle.
 */
#ifndef STORE_GROUP_H
#define STORE_GROUP_H

#include "base/point.h"
#include "store/log.h"

/*
 * A group is a place in the log for each priority, and rows for the few events that must be
 * remembered one by one. A worker joins the group, then repeats: claim, work, settle.
 *
 * Who holds a claim is decided by a lock that the kernel drops when its process ends, never by a
 * clock: while the owner lives, no other process takes its events, however slow the owner is; once
 * the owner is dead, the others get its events at their next claim.
 */
struct group;

struct group_terms {
    const char *name;
    struct pattern_list types; /* not owned; empty: "#" for a new group, unchanged for another */
    const struct point *from;  /* where a new group starts; NULL: the group must exist */
    const char *hint;          /* appended to the message when it does not, or NULL */
    int64_t attempts;     /* with this many, an event whose consumers keep dying is a dead letter */
    bool ordered;         /* for a new group: one consumer at a time, each subject in order */
    int64_t tail_wait_ms; /* how long to wait for the handlers of a dead consumer; 0: no limit */
    int64_t each_us;      /* above 0: at most one event per each_us, over all consumers together */
    int64_t wait_ms;      /* the longest that a retry or a hold waits after the clock went back */
    int64_t lease_ms;     /* above 0: claims go over a pipe, with this lease; see lease_settle */
};

/* Open a group, or create it if from is set. 66 when it does not exist, with the nearest name in
   the message; 64 when types are given and differ from the group's.
   0 or -1. */
int group_open(struct group **out, struct store *s, const struct group_terms *terms, struct err *e);
/* What is still claimed stays claimed until the process ends, and then counts as a death: release
   it first. */
void group_close(struct group *g);

struct group_event {
    struct log_entry entry;   /* its views hold until the event is settled */
    int64_t attempts, deaths; /* earlier attempts; consumers that died while they held it */
    int64_t expires_ms;       /* wall time: from then on do not begin it, drop it; 0: never */
};

/*
 * Claim up to max events that match and are due, positions up to last (0: any): first those that
 * wait for a retry, then by priority and position. Of events whose consumer died, it claims at most
 * at_once, the number of events that the caller can begin at once. An event whose consumers died
 * twice is claimed only while g holds nothing else, and while g holds such an event it claims
 * nothing else: when the event's turn comes, group_claim may return 0 until everything that g holds
 * is settled.
 * Returns the number of events, 0 when there is nothing now. *out is an array of them, valid until
 * the next call. Damaged events met on the way become dead letters and are counted in
 * group_damaged; expired events are dropped.
 * If the process dies, the others get the events that it held, each with one more death.
 */
int group_claim(struct group *g, size_t max, size_t at_once, int64_t last,
                struct group_event ***out, struct err *e);

/* The event as its line tells it, read at the first call; a view until the event is settled. NULL:
   the line is not that of an event, with 65 and the reason in e. */
const struct event *group_read(struct group *g, const struct group_event *event, struct err *e);

enum group_outcome {
    GROUP_DONE,
    GROUP_RETRY,   /* try again at due_ms; counts as an attempt */
    GROUP_DEAD,    /* a dead letter; counts as an attempt */
    GROUP_DEFER,   /* given back, due at due_ms, as if it had never been claimed */
    GROUP_RELEASE, /* likewise, but not counted as deferred */
    GROUP_DROP,    /* expired: gone for the group, in no count */
};

struct group_settle {
    const struct group_event *event;
    enum group_outcome outcome;
    int64_t due_ms;     /* wall time; for RETRY, DEFER and RELEASE */
    int64_t took_ms;    /* -1: not measured */
    int64_t started_ms; /* this and the rest: for RETRY and DEAD, to be put on record */
    int status;
    const char *reason;
    struct str tail;
};

/* Settle n events of this process's claims, all or none. Afterwards the events are no longer
   valid, even on failure, unless store_locked is true: then the call may be repeated. For each
   event that becomes a dead letter a sys.dead-lettered is appended to the log, unless the event is
   one of the toolkit's own. txn_settle does the same in a transaction that may append: then the
   events put into the log, and the settling of the events that they were made from, are one; after
   -1 roll it back. 75 when a claim is no longer ours: then the handler's output must not be passed
   on. */
int group_settle(struct group *g, const struct group_settle *settle, size_t n, struct err *e);
int txn_settle(struct txn *t, struct group *g, const struct group_settle *settle, size_t n,
               struct err *e);
/* As group_settle, for events that are done or dropped; and in the same transaction claim, as
   group_claim does, if what there is to claim is plain to see. Returns the number of claimed
   events, where 0 does not mean that there are none, or -1. */
int group_settle_and_claim(struct group *g, const struct group_settle *settle, size_t n, size_t max,
                           size_t at_once, int64_t last, struct group_event ***out, struct err *e);

/* With a lease: the other end of the pipe has what was claimed, and group_close leaves it there. */
void group_hand_over(struct group *g);

/* Is the event still ours to settle? 1 yes, 0 no, -1. Call it before passing on output. */
int group_holds(struct group *g, const struct group_event *event, struct err *e);

/* Did the last claim leave an event that a consumer died with until it can begin at once? */
bool group_skipped(const struct group *g);

/* For how long the rate keeps events that could be claimed from being claimed; 0: it keeps none. */
int64_t group_pace_ms(struct group *g);

/* How long until there may be something to claim, up to last, that group_claim did not find because
   of the time: a retry or an event becomes due, a hold ends, a lease runs out. Call it before a
   wait. *wait_ms is 0 when that time has come since, -1 when nothing is in sight or the bell will
   ring. */
int group_next(struct group *g, int64_t last, int64_t *wait_ms, struct err *e);

/* In an ordered group, the descriptor that its handlers must keep open: while a handler lives, no
   other consumer takes over before its tail_wait_ms have passed. 0 otherwise. */
int group_tail(const struct group *g);
bool group_ordered(const struct group *g);

/* Let no consumer claim from the group before until_ms (wall time); all consumers share the hold.
   0 or -1. */
int group_hold(struct group *g, int64_t until_ms, struct err *e);

struct group_stand {
    bool paused;
    int64_t hold_ms;     /* 0: none in force */
    int64_t due;         /* could be claimed now, up to position last */
    int64_t later;       /* wait for a retry or their time */
    int64_t next_due_ms; /* when the first of those is due; 0: none */
    int64_t elsewhere;   /* held by other consumers */
    bool standby;        /* the group is ordered, and another consumer is the active one */
    bool orphans;        /* the group is ordered, and handlers of a dead consumer still run */
};
/* Where the group stands, up to position last (0: all); due does not count new events. */
int group_stand(struct group *g, int64_t last, struct group_stand *out, struct err *e);
/* Dead letters that this process made while claiming: how many were damaged events, and how many
   were events whose consumers kept dying. */
int64_t group_damaged(const struct group *g);
int64_t group_buried(const struct group *g);

#endif

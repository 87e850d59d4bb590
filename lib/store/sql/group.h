/*
 * A group in this process: what the files of the SQLite engine that work on groups share.
 */
#ifndef STORE_SQL_GROUP_H
#define STORE_SQL_GROUP_H

#include "base/histogram.h"
#include "store/group.h"
#include "store/sql/sql.h"

enum { ITEM_WAITING = 0, ITEM_CLAIMED = 1, ITEM_BEHIND = 2, ITEM_DEAD = 3 }; /* item.state */

/* An item's subject, in SQL: that of the event at a position if the group is ordered, else null. */
#define ITEM_SUBJECT(seq, ordered)                                                                 \
    "(SELECT subject FROM event WHERE event.seq=" seq " AND " ordered "<>0)"

/* When an item is due, in SQL: when its event expires at the latest, because then it is dropped. */
#define ITEM_DUE(seq, due)                                                                         \
    LESSER(due, "coalesce((SELECT expires FROM event WHERE event.seq=" seq ")," due ")")

struct held {
    struct group_event shown; /* the first member: the caller's pointer to it is one to us */
    struct claim *claim;
    struct event *read; /* see group_read; NULL: not yet */
    bool item;          /* the event has a row in item */
    bool open;
};

struct leased {
    int64_t id, owner, term;
    int64_t *seq; /* ascending; negative: settled in this transaction */
    size_t n, open;
    bool changed;
};

struct claim {
    struct claim *next;
    int64_t id;
    struct page page;
    struct held *held;
    size_t n, open, room;
    bool written; /* the current settle has written its row */
};

/* How a claim met a damaged event. */
enum {
    DAMAGED_EVENT,  /* in the log */
    DAMAGED_ITEM,   /* the group has a row for it */
    DAMAGED_BROKEN, /* its row cannot be read */
};

struct note {
    int64_t seq, value;
};

struct notes {
    struct note *note;
    size_t n, room;
};

/* What one settle did with events of a type. */
struct tally {
    char *type;
    int64_t outcome[GROUP_RELEASE], took_ms, time[HISTOGRAM];
};

struct tallies {
    struct tally *tally;
    size_t n, room;
};

void tally_add(struct tallies *all, struct str type, const struct group_settle *s);
void tally_clear(struct tallies *all);
/* Inside the transaction. Afterwards *all is empty. 0 or -1. */
int tally_write(struct group *g, struct tallies *all, struct err *e);

struct group {
    struct store *s;
    char *name;
    int64_t grp, rev, attempts, owner, lease_ms, damaged, buried;
    int64_t hand; /* the owner of its claims: owner, or with a lease the pipe */
    int64_t each_us, paced_us, pace_ms; /* --rate; column paced when the claim was prepared */
    int64_t looked_ms;                  /* the last claim has seen what was due by then */
    int64_t wait_ms, latest_ms;         /* latest_ms: the latest time the clock has shown */
    struct pattern_list types;
    bool joined;

    /* in an ordered group: */
    bool ordered, leads, active; /* leads: the byte is ours; active: and no handler is left */
    bool unsorted;               /* a change of the order was interrupted */
    int tail_fd;                 /* 0: none */
    int64_t tail_wait_ms, tail_since_ms; /* 0: no limit; monotonic */
    struct buf aside;                    /* subjects of the events that this claim sets aside */
    struct claim *claims, *spare;
    struct group_event **given;
    size_t given_room;
    size_t held; /* open events in all claims */
    struct tallies tallies;
    int64_t folded, folded_times; /* where the next fold of counts begins */
    bool folds;                   /* at the end of this settle there is one */
    /* About events whose consumers died twice, each of which runs alone: see judge() in
       claim_choose.c. */
    bool alone;       /* such an event is held */
    bool draining;    /* such an event is due: nothing new is claimed until it can be alone */
    bool skipped;     /* one whose consumer died once cannot begin at once */
    bool others_turn; /* such an event was the last claim: other events go first */
    int64_t drain_ms; /* wall: since when draining is true; 0: it is not */

    /* at the other end of a pipe: what is handed out, as this transaction sees it; and the pipes
       of which events were settled */
    struct leased *leased;
    size_t leases, lease_room;
    struct notes pipes;
    struct txn *leasing; /* between lease_settle and lease_commit */

    /* what a claim in preparation will do, besides the events in it */
    int64_t now_ms, cursor[10], moved[10];
    bool items_due, prioritised; /* at now_ms; are there events of other priorities than 5? */
    struct notes later;  /* passed before their time, or while their subject waits: seq, due */
    struct notes damage; /* damaged: seq, and how it was met */
    struct notes gone;   /* items whose event is no longer there, or has expired */
    struct notes dying;  /* items whose consumers died too often */
};

void notes_add(struct notes *list, int64_t seq, int64_t value);
int group_reload(struct group *g, struct err *e);        /* its patterns */
int group_dropped(const struct group *g, struct err *e); /* e: the group was dropped; -1 */

/* Inside a transaction: record that a consumer joins or leaves now. Returns -1 when
   that failed. */
int group_mark_seen(struct group *g, struct err *e);

/* The positions of a claim that are still open, ascending; the caller frees them. */
int64_t *claim_seqs(const struct claim *c, size_t *n);
void claim_spare(struct group *g, struct claim *c); /* keep a finished claim for reuse */

/* What a claim may contain. */
struct wanted {
    size_t max, at_once;
    int64_t last; /* the last position that may be claimed */
};
/* claim_choose.c: in a read transaction, prepare a claim. 1 when there is something to commit, 0
   when there is nothing, -1. */
int claim_choose(struct group *g, struct claim *c, const struct wanted *w, struct err *e);
/* claim_write.c: take the claim and settle n events. 1; 0 when something has changed, in *table,
   and nothing is done; -1. */
int claim_write(struct group *g, struct claim *c, const struct group_settle *settle, size_t n,
                const char **table, struct err *e);
/* takeover.c: take over from consumers of this group that have died, outside a transaction. 0 or
   -1. */
int group_take_over(struct group *g, struct err *e);

/* Append to the log that an event of the group is a dead letter, in a transaction that appends.
   cause is the same event; NULL when its line is damaged. 0 or -1. */
int death_tell(struct group *g, struct txn *t, const struct log_entry *event,
               const struct event *cause, int64_t attempts, int status, const char *reason,
               struct err *e);

/* Write down the outcome of an event, and put the attempt on record. item: the event may have a
   row. 0 or -1. */
int settle_item(struct group *g, int64_t seq, bool item, const struct group_settle *s,
                struct err *e);
bool tells_of_death(const struct group_settle *s, struct str type);

/* pace.c. pace_allows lowers *max to what the rate allows now. pace_take, in the transaction
   that claims n events, records them: 1; 0 when another consumer claimed in between; -1. */
int pace_allows(struct group *g, size_t *max, struct err *e);
int pace_take(struct group *g, size_t n, struct err *e);

/* order.c: 1 when we are the active consumer; 0 when we have to stand by; -1. */
int order_enter(struct group *g, struct err *e);
void order_leave(struct group *g);
/* The active consumer puts the rows in order, if a change of the order was interrupted. */
int order_resume(struct group *g, struct err *e);
int order_held(struct group *g, struct str subject, struct err *e); /* does a row hold subject? */

/* lease.c: inside group_claim, outside a transaction: take back events of expired leases. 0
   or -1. */
int lease_expire(struct group *g, struct err *e);
void lease_forget(struct group *g); /* what is handed out, as we have read it */

/* Like death_tell, for an event that this process does not hold, by its position. 0 or -1. */
int death_tell_seq(struct group *g, struct txn *t, int64_t seq, const char *reason, struct err *e);

/* Put an attempt on record, with what s tells about it. Returns -1 when that failed. */
int attempt_add(struct group *g, int64_t seq, const struct group_settle *s, struct err *e);

#endif

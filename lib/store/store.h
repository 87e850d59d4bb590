/*
 * store: the only interface to the spool. A spool holds a log of events, groups that work through
 * the log, documents, and nothing else; commands have no other way to reach it.
 *
 * A function returns 0 or a count, or -1 with e filled in:
 *     64 wrong name    65 not a spool, or of a newer version    66 no such spool, group, event
 *     73 cannot create 74 I/O error, disk full, damage          75 others kept it locked, or a
 *     77 permission    70 a bug                                    claim was taken over
 * After 74 from a commit it is *unknown* whether it took place (TXN_UNKNOWN): the caller closes the
 * store and exits; a retry in the same process could commit on top of a lost write.
 *
 * What a commit promises: whatever appends to the log is on disk when the call returns, and so is
 * what a person asked for (dead_*, group_pause …). Claims and settles survive a kill of any
 * process at once, but a power cut may undo the last of them: then events are delivered again.
 *
 * No function waits for input, and none holds a lock between calls, except from txn_begin to the
 * transaction's end, and from the first lease_settle to lease_commit.
 * A wait for others' transactions ends with 75 after half a minute, or at once when the function
 * given to store_stop returns true; then nothing has changed, and store_locked is true. One
 * process, one store, one thread; a store does not cross a fork.
 */
#ifndef STORE_H
#define STORE_H

#include "base/clock.h"
#include "base/err.h"
#include "event/event.h"
#include "event/pattern.h"

#include <stdbool.h>
#include <stdint.h>

struct store;

enum store_mode {
    STORE_READ,   /* the spool must exist; nothing is written */
    STORE_WRITE,  /* the spool must exist */
    STORE_CREATE, /* created if missing, mode 0600, with its directories, mode 0700 */
};

/* Returns 1 when this call created the spool, which the caller reports to the user; else 0 or -1.
 */
int store_open(struct store **out, const char *name, enum store_mode mode, struct err *e);
void store_close(struct store *s);             /* NULL is fine */
const char *store_name(const struct store *s); /* in full: an absolute path */
/* stopping is called during each wait for a lock; true ends the wait. Give proc_stopping while
   nothing has begun, because that is a good moment to stop; give proc_forced for what must be done
   all the same: to settle, record or mark what has already happened. */
void store_stop(struct store *s, bool (*stopping)(void));
bool store_locked(const struct store *s); /* did the last call fail because of a lock? */

/*
 * Wait until another process has committed work or one of n descriptors is ready, at most timeout_ms
 * (-1: no limit; the time when something becomes due, see group_next); fds as for poll(2), and poll
 * is called to wait: proc_wait, which a signal ends, too. A loop looks for work, and waits when it
 * finds none. It may be woken for nothing: at the first call at once, because until then nobody
 * watched, and after a second, because a wake-up can be missed, or a process die without sending
 * one. 0, or -1 with 74 when the spool was deleted or replaced; then every call fails.
 */
struct pollfd;
typedef int store_poll(struct pollfd *fds, size_t n, int64_t timeout_ms);
int store_wait(struct store *s, struct pollfd *fds, size_t n, int64_t timeout_ms, store_poll *poll,
               struct err *e);
/* For a caller that waits otherwise: is the spool still there? 0, or -1 as above. */
int store_there(struct store *s, struct err *e);

struct store_info {
    const char *name; /* in full; valid until the store is closed */
    int64_t size, wal_size, events, first_seq, last_seq, first_ms, last_ms; /* seqs 0: no events */
    int64_t groups, dead, segments;
    int schema;
};
int store_info(struct store *s, struct store_info *out, struct err *e);

/* -------------------------------------------------------------------------------- transactions */

/*
 * What is put into a transaction happens together, or not at all:
 *
 *     txn_begin(s, TXN_PUBLISH, &terms, &t, &e)
 *     log_put(t, …), txn_doc_put(t, …), txn_settle(t, …)      and reads of all kinds
 *     txn_commit(t, &e), or txn_rollback(t)
 *
 * Other writers wait until it ends: so in between, read no input and write no output that may block
 * (the reader of a pipe may be waiting for us), make no more than about a thousand changes, and
 * call no other function that writes. What is read stays true until the end. A store has one
 * transaction at a time; a kill before txn_commit returns leaves all of it or nothing.
 */
struct txn;

enum txn_kind {
    TXN_LIGHT,   /* a kill cannot undo it, a power cut may */
    TXN_LASTING, /* on disk when it is committed */
    TXN_APPEND,  /* the same; and the toolkit's own events may be put into the log */
    TXN_PUBLISH, /* the same; other events, too: refused with 74 when the room that is left on the
                    disk is kept for settling; and lets those who wait for the lock go first */
};

struct log_terms;
/* terms: how events are put into the log; NULL: the toolkit's own only, now. 0 or -1. */
int txn_begin(struct store *s, enum txn_kind kind, const struct log_terms *terms, struct txn **t,
              struct err *e);
/* 0; -1 when nothing of it has happened; TXN_UNKNOWN, also negative, when the spool could not be
   asked whether it has (status 74). In all cases the transaction is over. */
#define TXN_UNKNOWN (-2)
int txn_commit(struct txn *t, struct err *e);
void txn_rollback(struct txn *t);

/* ------------------------------------------------------------------------------------ the log */

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

#define LOG_SOME                                                                                   \
    16 /* for log_put_some: with 8 an event costs 600 more instructions, with 32 300 less */

enum log_versions { LOG_UNVERSIONED, LOG_NEXT_VERSION, LOG_EXACT_VERSION };

struct log_terms {
    enum log_versions versions;
    int64_t expected; /* LOG_EXACT_VERSION: each subject's version before its first event here */
    bool chained;     /* hops are already right: do not look up causes */
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
/* Put the first of n events, or the first LOG_SOME at once when there are as many and nothing
   speaks against it, which is cheaper. Returns how many, or -1; *out is right for each of them but
   for its seq, which is the last one's. */
int log_put_some(struct txn *t, struct event *ev, size_t n, struct log_put *out, struct err *e);
bool log_crowded(const struct txn *t);

/* Append to b the types of the causal chain behind an event, nearest first, at most five, as
   " ← order.paid ← order.placed". */
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
void log_close(struct log *l);

/* The version of a subject's stream when the log ended at position last. Returns 1 and sets
   *version; 0 when no event of the subject had a version by then; -1. */
int log_stands(struct store *s, const char *subject, int64_t last, int64_t *version, struct err *e);

/* The position of the first event at or after a point; otherwise last position + 1. */
int log_point(struct store *s, const struct clock_point *point, int64_t *seq, struct err *e);
/* The last position up to a point, which includes a position and excludes a time; 0: nothing lies
   before it. 0, or -1. */
int log_until(struct store *s, const struct clock_point *point, int64_t *last, struct err *e);

/* The event that a user names: digits are a position, anything else is an id, and "id:42" is always
   an id. 66 when there is no such event; 65, with their positions in the message, when events of
   several sources have the id. */
int log_find(struct store *s, const char *name, int64_t *seq, struct err *e);

/* ----------------------------------------------------------------------------------- a group */

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
    const struct clock_point *from; /* where a new group starts; NULL: the group must exist */
    const char *hint;               /* appended to the message when it does not, or NULL */
    int64_t attempts;     /* with this many, an event whose consumers keep dying is a dead letter */
    bool ordered;         /* for a new group: one consumer at a time, each subject in order */
    int64_t tail_wait_ms; /* how long to wait for the handlers of a dead consumer; 0: no limit */
    int64_t each_us;      /* above 0: at most one event per each_us, over all consumers together */
    int64_t wait_ms;      /* the longest that a retry or a hold waits after the clock went back */
    int64_t lease_ms;     /* above 0: claims go over a pipe, with this lease; see lease_settle */
};

/* Open a group, or create it if from is set. 66 when it does not exist, with the nearest name in
   the message; 64 when types are given and differ from the group's. */
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

/*
 * The other end of a pipe. It settles events that were claimed with a lease, naming each by
 * position, by id and source, or by a bare id. Each settle renews the lease of everything that the
 * same pipe has handed out. A lease that runs out before its event is settled counts as an attempt,
 * and the event is delivered again; but until somebody claims from the group, the event can still
 * be settled. The first settle wins.
 *
 *     lease_settle(g, &name, &how, attempts, &e)
 *     … as often as there is input waiting, up to a thousand times …
 *     lease_commit(g, &e)
 *
 * The first lease_settle begins a transaction that lasts until lease_commit. how->event is not
 * used; an event that was retried max_attempts times becomes a dead letter. -1 with 65 when there
 * is no such event, or when several events with the id are handed out: then nothing has changed,
 * and the caller may continue.
 */
struct lease_name {
    int64_t seq; /* 0: by id. Otherwise id holds the digits of seq, and no other event that is
                    handed out may have them as its id */
    struct str id, source; /* source p NULL: any */
};
enum lease_fate {
    LEASE_OVER, /* no longer handed out: it was settled, or is not an event of this group */
    LEASE_SETTLED,
    LEASE_OPEN, /* neither handed out nor settled: it waits, or other consumers hold it */
};
/* Returns an enum lease_fate, or -1. */
int lease_settle(struct group *g, const struct lease_name *name, const struct group_settle *how,
                 int64_t max_attempts, struct err *e);
int lease_commit(struct group *g, struct err *e);
/* How many events are handed out and not settled: those of the pipes of which this process has
   settled an event, or those of all pipes when it has settled none. */
int lease_left(struct group *g, int64_t *left, struct err *e);

/* Let no consumer claim from the group before until_ms (wall time); all consumers share the hold.
 */
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

/* Call f for each group, in order of name, or only for the one called name, until f returns
   non-zero. */
struct group_info {
    const char *name;
    const struct pattern_list *types;
    bool paused, ordered;
    int64_t hold_ms, position, lag, in_flight, due, waiting, dead,
        created_ms;                  /* lag: yet to settle */
    int64_t consumers;               /* alive */
    int64_t done, retried, deferred; /* outcomes since it was created */
};
int group_each(struct store *s, const char *name,
               int (*f)(const struct group_info *info, void *arg, struct err *e), void *arg,
               struct err *e);

/* The group that has the most events left to settle: *lag is how many, and b gets its name. Each
   count stops once it is above most. 0 when all groups have settled everything. The group called
   except is left out, unless except is NULL. */
int group_backlog(struct store *s, const char *except, int64_t most, int64_t *lag, struct buf *b,
                  struct err *e);

int group_pause(struct store *s, const char *name, bool paused, struct err *e);
/* Delete the group, its position and its dead letters. 75 while consumers of it live. A kill leaves
   the group as a killed group_seek to the start of the log would. */
int group_drop(struct store *s, const char *name, struct err *e);

/*
 * Move a group to another place in the log: its next event is then the first at or after a point.
 * What it remembers one by one (events that wait, or were held by consumers that died) is
 * forgotten: such an event is delivered again if it is at or after the point, and passed if it is
 * before. Dead letters before the point stay; those at or after it are delivered again, and are no
 * longer dead letters.
 *
 * A dry run only fills in *out. 75 while consumers of the group live, or events are out on a lease:
 * they would settle what is no longer theirs. Each transaction changes about a thousand rows. A
 * kill, or a consumer that begins in between, leaves the group at a position on the way back; from
 * that position on it remembers nothing. On disk when the call returns.
 */
struct group_seek {
    int64_t from, to;      /* the position after the last one passed: before, and now */
    int64_t waiting, dead; /* how many of each are forgotten */
};
int group_seek(struct store *s, const char *name, const struct clock_point *point, bool dry_run,
               struct group_seek *out, struct err *e);

/* For a reader that keeps its own place elsewhere, and has a group so that others can see that
   place: record that it has seen everything up to seq, and for each of n types how many of those
   events are done. This never moves a group back, and a power cut may undo it. 66 when there is no
   such group. */
struct group_passed {
    char *type;
    int64_t done;
};
int group_pass(struct store *s, const char *name, int64_t seq, const struct group_passed *passed,
               size_t n, struct err *e);

/*
 * What a group has yet to settle, up to position last (0: all). When all counts are 0, the group is
 * finished: events ahead are counted before the others, so none can slip through on its way from
 * ahead to claimed. With any, counting stops at the first event that is ahead.
 */
struct group_left {
    int64_t ahead;     /* match, and were never claimed */
    int64_t in_flight; /* held by consumers, including dead ones */
    int64_t due, waiting;
    int64_t dead;      /* its dead letters, which count as settled */
    int64_t oldest_ms; /* since when the oldest event left could be settled; 0: none */
};
int group_left(struct store *s, const char *name, int64_t last, bool any, struct group_left *out,
               struct err *e);

/*
 * Give a group other patterns, another order, or both, for events that it has not yet claimed.
 * Running consumers use the new patterns from their next claim on. The order changes only while no
 * consumer runs (75, as above). A group that becomes ordered takes the furthest place that any of
 * its priorities has reached, and remembers one by one the events before it that their own priority
 * has not reached; from then on an event waits behind the earlier ones of its subject. Each
 * transaction changes about a thousand rows; what a kill leaves half done is put in order before
 * the next event is claimed.
 */
enum group_order { GROUP_ORDER_KEEP, GROUP_ORDERED, GROUP_UNORDERED };
struct group_change {
    struct pattern_list types; /* not owned; empty: as they are */
    enum group_order order;
};
int group_change(struct store *s, const char *name, const struct group_change *change,
                 struct err *e);

/* ---------------------------------------------------------------------------- dead letters */

struct dead_attempt {
    int64_t time_ms, took_ms;
    int status;
    struct str reason, tail;
};

struct dead_letter {
    const char *group;
    int64_t attempts, deaths, died_ms;
    struct log_entry event;             /* its line is empty when the event was damaged */
    const struct dead_attempt *attempt; /* the history, oldest first; also from before a retry */
    size_t tries;
};

struct dead_filter {
    const char *group;           /* NULL: all */
    struct pattern_list types;   /* not owned */
    const char *subject, *error; /* error: a text in the reason or the tail of the last attempt */
    int64_t died_before_ms, died_after_ms; /* 0: any */
    const int64_t *seq;                    /* these events only */
    size_t seqs;
    int64_t max; /* at most this many, by group and position; 0: all */
    bool (*accept)(const struct dead_letter *letter); /* NULL: all; called last */
};

/* Call f for each dead letter that passes the filter, by group and position; f may return non-zero
   to stop (-1: as an error). Views are valid within f. Returns the number. */
int64_t dead_each(struct store *s, const struct dead_filter *filter,
                  int (*f)(const struct dead_letter *letter, void *arg, struct err *e), void *arg,
                  struct err *e);

/* Give dead letters back to their groups, due now, with 0 attempts and their history kept; or
   delete them. Each transaction changes about a thousand rows, by group and position; a kill leaves
   the rest dead. On disk when the call returns. Returns how many of them were still dead. */
int64_t dead_retry(struct store *s, const struct dead_filter *filter, struct err *e);
int64_t dead_drop(struct store *s, const struct dead_filter *filter, struct err *e);

/* ------------------------------------------------------------------- where an event stands */

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

/* Append the type of the event with this id, of the first if several sources use the id. 1; 0 when
   there is no such event; -1. */
int log_type(struct store *s, struct str id, struct buf *type, struct err *e);

/* ------------------------------------------------------------------------------------ upkeep */

/*
 * Check the spool: f is called with each finding, one kind after the other.
 *
 *     structure  SQLite's quick_check complains               value 1
 *     damage     events do not match their checksum, or their columns differ from their line,
 *                or an index lacks them; rows of other tables that no command would
 *                write                                        value how many
 *     clock      recorded times in the future, a clock that was set back today, or times that are
 *                not in order                                 value seconds
 *     wal        SPOOL-wal is larger than commits explain     value bytes
 *     space      the file system is nearly full               value bytes free
 *     idle       a group has events to settle and had no consumer for a week   value seconds
 *     dead lag age   a group is beyond the limits in terms    value events, events, seconds
 *
 * quick leaves out structure and damage, which read the whole file. Each transaction covers at most
 * a thousand events, except that of structure, open while the whole file is read, and that of the
 * tables beside the log.
 * Returns the number of findings; -1 when the spool cannot be read, whereas damage that can be
 * described is a finding. f may return non-zero to stop (-1: as an error). Nothing is written.
 */
struct check_terms {
    bool quick;
    int64_t max_dead, max_lag, max_age_ms; /* of each group; negative: any */
};
struct check_finding {
    const char *kind, *group; /* group NULL: not about a group */
    int64_t value, limit;
    const char *message;
};
int64_t store_check(struct store *s, const struct check_terms *terms,
                    int (*f)(const struct check_finding *finding, void *arg, struct err *e),
                    void *arg, struct err *e);

/*
 * Remove events: those before a point, or all except the newest keep. Some events stay: those that
 * a group has yet to see, whether they match or not; those that a group remembers (in flight,
 * waiting, dead); the newest event, whose position determines the next one; and the newest version
 * of each subject, which does the same for its stream. With force only the last two stay; groups
 * then forget what they remembered of removed events, even of those handed out, and move up to the
 * events that are left.
 *
 * Transactions are short, at most a thousand events, and let other writers in between; each is on
 * disk when the next one begins. After a kill, or 75, some of the events are pruned, oldest first.
 * A dry run only counts. Afterwards held is called with what keeps each group's events from being
 * pruned.
 */
struct prune_held {
    const char *group;
    enum prune_why { PRUNE_UNSEEN, PRUNE_IN_FLIGHT, PRUNE_WAITING, PRUNE_DEAD } why;
    int64_t first, n; /* positions; UNSEEN, IN_FLIGHT: all from first on is held back, n is 0 */
};
struct prune_terms {
    const struct clock_point *before; /* NULL: use keep */
    int64_t keep;
    bool force, dry_run;
    void (*held)(const struct prune_held *held); /* called afterwards, unless with force */
};
/* Returns the number of events, or -1. */
int64_t log_prune(struct store *s, const struct prune_terms *terms, struct err *e);

/*
 * Copy the spool as it is at one moment, while others use it, into a new file, mode 0600, that is
 * itself a spool; on disk when the call returns. The copy is made under another name and renamed
 * into place: a kill leaves at most FILE.new-PID. 73 when FILE exists already, or FILE-wal or
 * FILE-journal, which SQLite would take for the copy's. *size is in bytes.
 */
int store_backup(struct store *s, const char *file, int64_t *size, struct err *e);

/*
 * Run a query in SQL: one SELECT over the views that spool(1) documents and over nothing else,
 * because the tables behind them may change; nothing can be written or attached. f is called for
 * each row; views are valid within it; f may return non-zero to stop (-1: as an error). 64, with
 * the engine's own message, when the SQL is wrong.
 *
 * The query is one read transaction: while f runs, the WAL cannot be checkpointed and keeps
 * growing. Make no other call on the store after this one, except store_close: the functions and
 * views that it adds stay.
 */
enum query_kind {
    QUERY_NULL,
    QUERY_INTEGER,
    QUERY_REAL,
    QUERY_TEXT, /* perhaps not UTF-8 */
    QUERY_BLOB,
    QUERY_JSON, /* one JSON value without a newline, in a column that holds JSON */
};
struct query_value {
    enum query_kind kind;
    int64_t integer;
    double real;
    struct str bytes;
};
struct query_row {
    size_t n;
    const char *const *name; /* no two are the same */
    const struct query_value *value;
};
int store_query(struct store *s, struct str sql,
                int (*f)(const struct query_row *row, void *arg, struct err *e), void *arg,
                struct err *e);

/* ------------------------------------------------------------------------------- documents */

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

/* Call f for each document of a kind, by name; f may change documents, and may return non-zero to
   stop. */
int doc_each(struct store *s, const char *kind,
             int (*f)(const struct doc *doc, void *arg, struct err *e), void *arg, struct err *e);

/*
 * A mark names a process in a document. It is good while the process lives and has not dropped it:
 * as with claims, the kernel drops the lock behind it when the process ends. It is text; store it
 * unchanged.
 */
#define MARK_SIZE 120
int mark_take(struct store *s, char mark[MARK_SIZE], struct err *e);
void mark_drop(struct store *s, const char *mark);
bool mark_lives(struct store *s, const char *mark); /* true for our own */
int64_t mark_pid(const char *mark);

#endif

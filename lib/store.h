/*
 * store: the spool behind one header. It keeps a log of events, groups that work through it,
 * documents, and nothing else; commands know no other way to it.
 *
 * A function returns 0 or a count, or -1 with e filled in:
 *     64 wrong name    65 not a spool, or of a newer version    66 no such spool, group, event
 *     73 cannot create 74 I/O error, disk full, damage          75 others kept it locked, or a
 *     77 permission    70 a bug                                    claim was taken over
 * After 74 what was being committed is *unknown*: the caller closes the store and ends; trying
 * again in the same process could commit on top of a lost write.
 *
 * What a commit promises: whatever appends to the log is on disk when the call returns, and so is
 * what a person asked for (dead_*, group_pause …). Claims and settles survive a kill of any
 * process at once, but a power cut may undo the last of them: then events are delivered again.
 *
 * Nothing here waits for input or holds a lock between calls, but for log_begin to log_commit, and
 * doc_begin to doc_commit.
 * Waiting for others' transactions ends after half a minute with 75, or at once when the function
 * given to store_stop says so. One process, one store, one thread; a store does not cross a fork.
 */
#ifndef STORE_H
#define STORE_H

#include "clock.h"
#include "err.h"
#include "event.h"
#include "pattern.h"

#include <stdbool.h>
#include <stdint.h>

struct store;

enum store_mode {
    STORE_READ,   /* it must exist; nothing is written */
    STORE_WRITE,  /* it must exist */
    STORE_CREATE, /* made if it is missing, mode 0600, with its directories, 0700 */
};

/* Returns 1 when the spool was created by this call, which the user is told, else 0 or -1. */
int store_open(struct store **out, const char *path, enum store_mode mode, struct err *e);
void store_close(struct store *s);                        /* NULL is fine */
const char *store_path(const struct store *s);            /* absolute */
void store_stop(struct store *s, bool (*stopping)(void)); /* asked while waiting for a lock */

/*
 * The bell: a descriptor that becomes readable when somebody has committed work, -1 when the
 * system has none to give (then look once a second, as everyone should anyway). The order is:
 * store_bell_clear, look for work, wait for the bell. Closed with the store.
 */
int store_bell(struct store *s);
void store_bell_clear(struct store *s);

struct store_info {
    const char *path; /* absolute; valid until the store is closed */
    int64_t size, wal_size, events, first_seq, last_seq, first_ms, last_ms; /* seqs 0: no events */
    int64_t groups, dead, segments;
    int schema;
};
int store_info(struct store *s, struct store_info *out, struct err *e);

/* ------------------------------------------------------------------------------------ the log */

enum log_fate {
    LOG_STORED,
    LOG_DUPLICATE, /* it is there already, with the same type, subject and data */
    LOG_CLASH,     /* its (source, id) is there with other content; seq says where */
    LOG_STALE,     /* its subject stands at another version, or its own version is taken */
    LOG_CYCLE,     /* its causal chain is longer than EVENT_HOPS_MAX */
};

struct log_put {
    enum log_fate fate;
    int64_t seq;     /* of the event stored now, or of the one that is in the way */
    int64_t version; /* LOG_STALE: where the subject stands; LOG_STORED: its own, 0 without one */
    struct str line; /* LOG_DUPLICATE: what is stored; a view until the next call */
};

enum log_versions { LOG_UNVERSIONED, LOG_NEXT_VERSION, LOG_EXACT_VERSION };

struct log_terms {
    enum log_versions versions;
    int64_t expected; /* LOG_EXACT_VERSION: where each subject stands before its first event here */
    bool chained;     /* hops are right as they are: causes are not looked up */
    int64_t now_ms;   /* recorded; raised to the last event's where the clock went back a little */
};

/*
 * Versions number the events of a subject's stream. LOG_UNVERSIONED gives none, but an event that
 * brings one keeps it, and that place in the stream must be free: copies arrive as they were, also
 * in part, with holes, or in another order. The others give each event the next version; one that
 * an event brings along must be that.
 *
 * Appending is one transaction: log_begin, log_put for each event, log_commit or log_rollback.
 * Others wait meanwhile: no reading of input that may block, and no more than about a thousand
 * events in between.
 *
 * log_begin refuses with 74 when the file system is nearly full, earlier than settling would fail,
 * so that consumers can still settle what they have.
 * log_put returns 0 and says what became of the event; only LOG_STORED changes anything. The same
 * event twice is LOG_DUPLICATE the second time, before its version is looked at, so that a publish
 * whose outcome is unknown can be repeated. It may raise ev's hops to one more than its cause's.
 * When log_commit returns 0 the events are on disk and will be seen by every group.
 * A kill before log_commit returns leaves all of them or none.
 */
int log_begin(struct store *s, const struct log_terms *terms, struct err *e);
int log_put(struct store *s, struct event *ev, struct log_put *out, struct err *e);
int log_commit(struct store *s, struct err *e);
void log_rollback(struct store *s);

/* The types of the causal chain behind an event, nearest first, at most five, as
   " ← order.paid ← order.placed". Appends to b. */
int log_chain(struct store *s, struct str causationid, struct buf *b, struct err *e);

struct log_entry {
    int64_t seq, recorded_ms;
    struct str id, source, type, subject; /* views until the next call on the same log */
    struct str line;                      /* likewise; the byte behind it is a newline */
    int64_t version;                      /* its place in its subject's stream; 0: none, not read */
    bool damaged; /* not what was stored: do not pass it on. What is still known of it is right,
                     the rest is empty: the line, or the type and all else but seq */
};

struct log_query {
    int64_t first, last;       /* positions, both included; 0: from the start, to the end */
    struct pattern_list types; /* not owned */
    const char *subject, *correlationid; /* a damaged event that may match comes, too */
    const char *group;                   /* only what this group has yet to settle: by its patterns,
                                        not yet claimed, claimed, or waiting; not dead, and
                                        not expired */
    bool due;       /* only what could be claimed now: not early, not expired, not claimed */
    bool lines;     /* id, source, type and subject are not needed, and may be absent */
    int64_t newest; /* only the newest n that match; 0: all */
    /* Instead of all the above: a subject's events with a version, by it, and from this one on. An
       index has them; or the events at these positions, ascending and not owned. Lines only. */
    const char *stream;
    int64_t version;
    const int64_t *seq;
    size_t seqs;
};

struct log;

/* Read the log in order, in pages: no transaction is open between calls. log_next returns 1, 0 at
   the end (later calls find what was appended since), -1 on error. */
int log_open(struct log **out, struct store *s, const struct log_query *query, struct err *e);
int log_next(struct log *l, struct log_entry *out, struct err *e);
void log_close(struct log *l);

/* Where a subject's stream stood when the log ended with the position last: 1 and its version; 0
   when no event of it had one by then; -1. */
int log_stands(struct store *s, const char *subject, int64_t last, int64_t *version, struct err *e);

/* The position of the first event at or after a point, one behind the last if there is none. */
int log_point(struct store *s, const struct clock_point *point, int64_t *seq, struct err *e);

/* The event that a user names: digits are a position, anything else an id, "id:42" always an id.
   66 when there is none; 65 when an id fits events of several sources, naming their positions. */
int log_find(struct store *s, const char *name, int64_t *seq, struct err *e);

/* ----------------------------------------------------------------------------------- a group */

/*
 * A group is a place in the log for each priority, and rows for the few events that must be
 * remembered one by one. A worker joins it and then goes round: claim, work, settle.
 *
 * Who holds a claim is decided by a lock that the kernel drops when its process ends, never by a
 * clock: while the owner lives nobody takes its events, however slow it is, and when it is dead
 * the others have them at their next claim.
 */
struct group;

struct group_terms {
    const char *name;
    struct pattern_list types; /* not owned; empty: "#" for a new group, "as it is" for another */
    const struct clock_point *from; /* NULL: the group must exist */
    const char *hint;               /* behind the message when it does not, or NULL */
    int64_t attempts;     /* from then on an event whose consumers keep dying is a dead letter */
    bool ordered;         /* for a new group: one consumer at a time, and the order of subjects */
    int64_t tail_wait_ms; /* how long handlers of a dead consumer are waited for; 0: for ever */
    int64_t each_us;      /* above 0: no more than one in so long, for all consumers together */
    int64_t wait_ms;      /* how long a retry waits at most, once the clock went back */
    int64_t lease_ms;     /* above 0: claims are handed over a pipe for so long, see lease_settle */
};

/* Open, or with from create, a group. 66 when it does not exist, naming the nearest; 64 when types
   are given and are not the group's. */
int group_open(struct group **out, struct store *s, const struct group_terms *terms, struct err *e);
/* What is still claimed stays so until the process ends, and counts as a death: release first. */
void group_close(struct group *g);
bool group_created(const struct group *g);

struct group_event {
    struct log_entry entry;   /* its views hold until the event is settled */
    int64_t attempts, deaths; /* attempts made before; consumers that died while they had it */
    int64_t expires_ms;       /* wall time: not to be begun from then on, but dropped; 0: never */
};

/*
 * Claim up to max events that match and are due, positions up to last (0: any): first those that
 * wait for a retry, then by priority and position. Of those whose consumer died no more than
 * at_once come, which is how many the caller can begin at once. An event whose consumers died twice
 * is claimed only while this group holds nothing else, and nothing else while it is held: when it
 * is its turn, there may be nothing else to be had until all that is held is settled.
 * Returns the number, 0 when there is nothing now. *out is an array of them, valid until the next
 * call. Damaged events met on the way become dead letters and are counted in group_damaged; what
 * has expired is dropped.
 * If the process dies, the others get what it held, with one death more on each event.
 */
int group_claim(struct group *g, size_t max, size_t at_once, int64_t last,
                struct group_event ***out, struct err *e);

enum group_outcome {
    GROUP_DONE,
    GROUP_RETRY,   /* again at due_ms; counts as an attempt */
    GROUP_DEAD,    /* a dead letter; counts as an attempt */
    GROUP_DEFER,   /* back, due at due_ms, as if it had never been claimed */
    GROUP_RELEASE, /* likewise, and not counted as deferred either */
    GROUP_DROP,    /* gone, and counted as nothing: it has expired */
};

struct group_settle {
    const struct group_event *event;
    enum group_outcome outcome;
    int64_t due_ms;     /* wall time; of RETRY, DEFER and RELEASE */
    int64_t took_ms;    /* -1: not measured */
    int64_t started_ms; /* of RETRY and DEAD, for the record, as is the rest */
    int status;
    const char *reason;
    struct str tail;
};

/* Settle n events of this process's claims, all or none. The events are gone afterwards, also when
   it fails. After log_begin it is log_commit, too: what was put into the log, and the settling of
   what it was made of, are one transaction, and on disk. Each event that dies is told as
   sys.dead-lettered in the log, unless it is one of the toolkit's own.
   75 when a claim is no longer ours: what the handler printed must not get out. */
int group_settle(struct group *g, const struct group_settle *settle, size_t n, struct err *e);

/* With a lease: what was claimed is in other hands now, and group_close leaves it there. */
void group_hand_over(struct group *g);

/* Is the event still ours to settle? 1 yes, 0 no. To be asked before output is let out. */
int group_holds(struct group *g, const struct group_event *event, struct err *e);

/* How long the rate lets nothing be claimed of what there is; 0: it does not. */
int64_t group_pace_ms(struct group *g);

/* How long until there may be something to claim, up to last, that group_claim did not find because
   of the time: a retry or an event becomes due, a hold is over, a lease runs out. To be asked
   before a wait. 0: that time has come since; -1: nothing is in sight, or the bell will ring. */
int group_next(struct group *g, int64_t last, int64_t *wait_ms, struct err *e);

/* In an ordered group the descriptor that its handlers are to keep open: while one of them lives,
   no other consumer takes over. 0 otherwise. */
int group_tail(const struct group *g);
bool group_ordered(const struct group *g);

/*
 * The other end of a pipe. Events that were claimed with a lease are named by position, by id and
 * source, or by a bare id, and settled; each settle renews the lease of what the same pipe has handed out. A
 * lease that runs out before somebody settles counts as an attempt, and the event comes again;
 * until somebody claims from the group it can still be settled. The first settle wins.
 *
 *     lease_settle(g, &name, &how, attempts, &e)
 *     … as often as there is input waiting, up to a thousand times …
 *     lease_commit(g, &e)
 *
 * The first lease_settle begins a transaction that lasts until lease_commit. how->event is not
 * used; an event that was retried max_attempts times is dead. -1 with 65 when there is no such
 * event, or the id fits several that are handed out: then nothing has happened, and one goes on.
 */
struct lease_name {
    int64_t seq; /* 0: by id. Else id is its digits, and must be no id of another event that
                              is handed out */
    struct str id, source; /* source p NULL: any */
};
enum lease_fate {
    LEASE_OVER, /* it is not handed out any more: it was settled, or is none of this group's */
    LEASE_SETTLED,
    LEASE_OPEN, /* it is not handed out and not settled: it waits, or others have it */
};
/* An enum lease_fate, or -1. */
int lease_settle(struct group *g, const struct lease_name *name, const struct group_settle *how,
                 int64_t max_attempts, struct err *e);
int lease_commit(struct group *g, struct err *e);
/* How many events are handed out and not settled: by the pipes that this process settled some of,
   or of all when it settled nothing. */
int lease_left(struct group *g, int64_t *left, struct err *e);

/* Let nobody claim from the group until then (wall time); shared by all its consumers. */
int group_hold(struct group *g, int64_t until_ms, struct err *e);

struct group_stand {
    bool paused;
    int64_t hold_ms;     /* 0: none in force */
    int64_t due;         /* could be claimed now, up to the position asked about */
    int64_t later;       /* wait for a retry or their time */
    int64_t next_due_ms; /* when the first of those is due; 0: none */
    int64_t elsewhere;   /* in the hands of other consumers */
    bool standby;        /* it is ordered, and another consumer is the active one */
    bool orphans;        /* it is ordered, and handlers of one that died still run */
};
/* Where the group stands, up to position last (0: all), new events not counted in due. */
int group_stand(struct group *g, int64_t last, struct group_stand *out, struct err *e);
/* Dead letters that this process made while claiming: damaged events, and events whose consumers
   kept dying. */
int64_t group_damaged(const struct group *g);
int64_t group_buried(const struct group *g);

/* All groups, or the one called name, by name: f is called for each until it returns non-zero. */
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

/* The group that has most to settle still, counted no further than to more than most: *lag events,
   and its name in b. 0 when all have settled everything. The group called except, unless it is NULL,
   does not count. */
int group_backlog(struct store *s, const char *except, int64_t most, int64_t *lag, struct buf *b,
                  struct err *e);

int group_pause(struct store *s, const char *name, bool paused, struct err *e);
/* Forget the group, its position and its dead letters. 75 while consumers of it live. A kill leaves
   it as group_seek does, on the way to the beginning of the log. */
int group_drop(struct store *s, const char *name, struct err *e);

/*
 * Put a group elsewhere in the log: its next event is then the first at or after a point. What it
 * remembers one by one (waiting, or in the hands of consumers that died) is forgotten: those
 * events come again, or are passed, as their position says. Dead letters before the point stay,
 * those behind it are delivered again and are dead no more.
 *
 * A dry run only fills out in. 75 while consumers of the group live, or events are out on a lease:
 * they would settle what is no longer theirs. Transactions are of about a thousand rows. A kill, or
 * a consumer that begins in between, leaves the group at a position on the way back, from which on
 * it remembers nothing. On disk when it returns.
 */
struct group_seek {
    int64_t from, to;      /* the position behind what was passed: before, and now */
    int64_t waiting, dead; /* how many of each are dropped */
};
int group_seek(struct store *s, const char *name, const struct clock_point *point, bool dry_run,
               struct group_seek *out, struct err *e);

/* For a reader that keeps its place itself, elsewhere, and has a group for others to see it: all up
   to seq is seen, and n types had events among it that are done. It never moves a group back, and a
   power cut may undo it. 66 when there is no such group. */
struct group_passed {
    char *type;
    int64_t done;
};
int group_pass(struct store *s, const char *name, int64_t seq, const struct group_passed *passed,
               size_t n, struct err *e);

/*
 * What a group has yet to settle, up to position last (0: all). All counts 0 means that it is
 * through: events that were ahead were looked at first, so none can slip by on its way from one
 * to the other. With any, counting stops at the first that is ahead.
 */
struct group_left {
    int64_t ahead;     /* match, and were never claimed */
    int64_t in_flight; /* in the hands of consumers, also of dead ones */
    int64_t due, waiting;
    int64_t dead;      /* its dead letters, which are settled */
    int64_t oldest_ms; /* since when the first of them could be settled; 0: none */
};
int group_left(struct store *s, const char *name, int64_t last, bool any, struct group_left *out,
               struct err *e);

/*
 * Give a group other patterns, another order, or both; for what it has not yet claimed. Consumers
 * that run take the patterns up with their next claim. The order changes only while there are none
 * (75, as above): what the group has passed of some priorities and not of others it then remembers
 * one by one, and an event waits behind the earlier ones of its subject. Transactions are of about
 * a thousand rows; what a kill leaves half-way is in order before the next event is claimed.
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
    const struct dead_attempt *attempt; /* the history, oldest first; before a retry, too */
    size_t tries;
};

struct dead_filter {
    const char *group;           /* NULL: all */
    struct pattern_list types;   /* not owned */
    const char *subject, *error; /* error: found in the reason or the tail of the last attempt */
    int64_t died_before_ms, died_after_ms; /* 0: any */
    const int64_t *seq;                    /* these events only */
    size_t seqs;
    int64_t max; /* at most so many, by group and position; 0: all */
    bool (*accept)(const struct dead_letter *letter); /* NULL: all; asked last */
};

/* Each dead letter that passes, by group and position; f may return non-zero to end it (-1: as an
   error). Views are valid within f. Returns the number. */
int64_t dead_each(struct store *s, const struct dead_filter *filter,
                  int (*f)(const struct dead_letter *letter, void *arg, struct err *e), void *arg,
                  struct err *e);

/* Give them back to their groups, due now, with their attempts at 0 and their history kept; or
   forget them. Transactions are of about a thousand rows, by group and position; a kill leaves the
   rest dead. On disk when it returns. Returns the number of those that were still dead. */
int64_t dead_retry(struct store *s, const struct dead_filter *filter, struct err *e);
int64_t dead_drop(struct store *s, const struct dead_filter *filter, struct err *e);

/* ------------------------------------------------------------------- where an event stands */

enum where_state {
    WHERE_FILTERED, /* the group's patterns do not match its type */
    WHERE_BEFORE,   /* the group began behind it */
    WHERE_AHEAD,    /* not yet reached */
    WHERE_WAITING,  /* until due_ms; when that is past, the next claim takes it */
    WHERE_BEHIND,   /* an earlier event of its subject is in the way */
    WHERE_CLAIMED,  /* in the hands of a live consumer */
    WHERE_ORPHANED, /* in those of one that died */
    WHERE_LEASED,   /* handed out over a pipe, until due_ms */
    WHERE_DEAD,     /* a dead letter, since due_ms */
    WHERE_EXPIRED,  /* not yet reached, or it waits; in the log it stays, nobody gets it */
    WHERE_DONE,     /* passed, and nothing remembered: handled, dropped, or expired by its turn */
    WHERE_PASSED,   /* passed, or before the beginning: that is not known any more */
};

struct where {
    const char *group;
    const struct pattern_list *types;
    enum where_state state;
    int64_t due_ms;        /* wall time; 0: none known */
    int64_t pid;           /* CLAIMED and ORPHANED; 0: not known */
    int64_t claimed_ms;    /* CLAIMED, ORPHANED and LEASED: since when; 0: not known */
    int64_t behind;        /* BEHIND: the first event of its subject that is not settled; 0: none */
    int64_t behind_due_ms; /* until when that one waits; 0: it does not */
    int64_t attempts, deaths;
    struct str reason, tail;          /* of its last attempt; p NULL: none on record */
    int64_t notbefore_ms, expires_ms; /* the event's own; 0: none */
    bool paused;                      /* the group as a whole, from here on */
    int64_t hold_ms, consumers;       /* 0: no hold in force; consumers that live */
    int64_t position, last;           /* what the group has passed; the end of the log */
};

/* Where each group, or the one called group, stands with the event at seq, by name: f is called
   until it returns non-zero (-1: as an error). Each answer is one moment's; no transaction is open
   while f runs, and views are valid within it. What is done leaves no record: DONE, BEFORE and
   PASSED are told apart by where the group began, and an event that matched earlier patterns is
   FILTERED. 66 when there is no such group. */
int where_each(struct store *s, const char *group, int64_t seq,
               int (*f)(const struct where *w, void *arg, struct err *e), void *arg, struct err *e);

/* Append the type of the event with this id, the first where several sources use it. 1, 0 when
   there is none, -1. */
int log_type(struct store *s, struct str id, struct buf *type, struct err *e);

/* ------------------------------------------------------------------------------------ upkeep */

/*
 * Look for what is wrong: f is told each finding, one kind after the other.
 *
 *     structure  SQLite's quick_check complains               value 1
 *     damage     events do not have their checksum, or their columns are not what their line
 *                says, or an index lacks them                 value how many
 *     clock      recorded times in the future, a clock that was set back today, or times that are
 *                not in order                                 value seconds
 *     wal        SPOOL-wal is larger than commits explain     value bytes
 *     space      the file system is nearly full               value bytes free
 *     idle       a group has events to settle and had no consumer for a week   value seconds
 *     dead lag age   a group is beyond the limits in terms    value events, events, seconds
 *
 * quick leaves out structure and damage, which read the whole file. No transaction is open for
 * more than a thousand events, but for structure: that is one, as long as reading the file takes.
 * Returns the number of findings; -1 when the spool cannot be read: damage that can be told is a
 * finding. f may return non-zero to end it (-1: as an error). Nothing is written.
 */
struct check_terms {
    bool quick;
    int64_t max_dead, max_lag, max_age_ms; /* of each group; negative: any */
};
struct check_finding {
    const char *kind, *group; /* group NULL: it is not about one */
    int64_t value, limit;
    const char *message;
};
int64_t store_check(struct store *s, const struct check_terms *terms,
                    int (*f)(const struct check_finding *finding, void *arg, struct err *e),
                    void *arg, struct err *e);

/*
 * Remove events: those before a point, or all but the newest keep. What somebody may still want
 * stays: what a group has yet to see, whether it matches or not; what it remembers (in flight,
 * waiting, dead); the newest event, whose position says where the log goes on; and the newest
 * version of each subject, which says the same of its stream. force prunes all but the last two;
 * then groups forget what they remembered of what is gone, also where it is handed out, and move up
 * to what is left.
 *
 * Transactions are short, at most a thousand events, and make room for others in between; each is
 * on disk when the next one begins. A kill, or 75, leaves some of the events pruned, the oldest.
 * A dry run counts. held is told, after that, what holds a group's share of it back.
 */
struct prune_held {
    const char *group;
    enum prune_why { PRUNE_UNSEEN, PRUNE_IN_FLIGHT, PRUNE_WAITING, PRUNE_DEAD } why;
    int64_t first, n; /* positions; UNSEEN and IN_FLIGHT hold all back that follows, n is 0 */
};
struct prune_terms {
    const struct clock_point *before; /* NULL: by keep */
    int64_t keep;
    bool force, dry_run;
    void (*held)(const struct prune_held *held);
};
/* The number of events, or -1. */
int64_t log_prune(struct store *s, const struct prune_terms *terms, struct err *e);

/*
 * Copy the spool as it is at one moment, while others use it, into a new file, mode 0600, that is a
 * spool itself; on disk when it returns. It is made under another name and renamed into place: a
 * kill leaves at most FILE.new-PID. 73 when there is such a file already, or a -wal of one, which
 * SQLite would take for the copy's. *size is in bytes.
 */
int store_backup(struct store *s, const char *file, int64_t *size, struct err *e);

/*
 * Answer a question in SQL, one SELECT over the views that spool(1) documents and nothing else: the
 * tables behind them may change, and nothing can be written or attached. f is called for each row;
 * views are valid within it; it may return non-zero to end (-1: as an error). 64 with the engine's
 * own words when the SQL is wrong.
 *
 * All of it is one read transaction: as long as f takes its time, what others write cannot be taken
 * up from the WAL. No other call on the store after this one: functions and views stay with it.
 */
enum query_kind {
    QUERY_NULL,
    QUERY_INTEGER,
    QUERY_REAL,
    QUERY_TEXT, /* perhaps not UTF-8 */
    QUERY_BLOB,
    QUERY_JSON, /* one JSON value without a newline, in a column that holds such */
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
 * A document is a small named value: the state of a breaker, a bucket, a key. It is changed by
 * compare-and-set; nothing is locked in between:
 *
 *     do {
 *         doc_get(s, kind, name, &doc, &e);
 *         … compute the new value …
 *         put.rev = doc.rev;
 *     } while ((got = doc_put(s, &put, &e)) == 0);       somebody else was faster
 */
struct doc {
    const char *name;   /* in doc_each */
    int64_t rev;        /* 0: there is none */
    int64_t expires_ms; /* 0: never */
    struct str value;   /* a view until the next call on the store */
};
/* 1; 0 there is none, and *out has revision 0; -1. */
int doc_get(struct store *s, const char *kind, const char *name, struct doc *out, struct err *e);

struct doc_put {
    const char *kind, *name;
    int64_t rev;        /* the one that it replaces; 0: there must be none */
    struct str value;   /* absent: there is to be none */
    int64_t expires_ms; /* wall time: from then on there is none; 0: never */
    bool durable;       /* on disk when doc_put returns; else a power cut may undo it */
    bool wake;          /* ring the bell: somebody may wait for it */
    const char *event;  /* with it an event of this type, about the name, goes into the log; NULL */
    struct str data;    /* the event's, JSON; then the change is durable, too */
    struct str cause;   /* the event behind it, a line; absent: it begins a causal chain */
};
/* 1; 0 the document is at another revision, and nothing has changed; -1. */
int doc_put(struct store *s, const struct doc_put *put, struct err *e);
/* Remove it, whatever its revision: 1; 0 there is none; -1. */
int doc_forget(struct store *s, const char *kind, const char *name, struct err *e);

/*
 * Many changes as one transaction: doc_begin, doc_get and doc_put, doc_commit or doc_rollback. In
 * between, doc_put's durable and wake do not count, and an event is not for it; what doc_get says
 * stays so, because others wait: no reading of input and no writing of output that may block (the
 * reader of a pipe may be waiting for us), and no more than about a thousand changes.
 */
int doc_begin(struct store *s, bool durable, struct err *e);
int doc_commit(struct store *s, bool wake, struct err *e);
void doc_rollback(struct store *s);

/* Each of a kind, by name; f may change documents, and may return non-zero to end it. */
int doc_each(struct store *s, const char *kind,
             int (*f)(const struct doc *doc, void *arg, struct err *e), void *arg, struct err *e);

/*
 * A mark names a process in a document, for as long as it lives and has not dropped it: as with
 * claims, by a lock that the kernel drops when the process ends. It is text, to be stored as is.
 */
#define MARK_SIZE 120
int mark_take(struct store *s, char mark[MARK_SIZE], struct err *e);
void mark_drop(struct store *s, const char *mark);
bool mark_lives(struct store *s, const char *mark); /* our own does */
int64_t mark_pid(const char *mark);

#endif

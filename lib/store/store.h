/*
 * store: the spool. It holds a log of events, groups that work through the log, documents, and
 * nothing else. This header and the others of this folder are the only interface to it:
 *
 *     store.h     open, wait, transactions         log.h       the events, in order
 *     group.h     a group, as its consumers see it groups.h    groups by name
 *     lease.h     events handed out over a pipe    dead.h      dead letters
 *     where.h     where an event stands            doc.h       documents, and marks of processes
 *     upkeep.h    check, prune, back up, query
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
 * Caveats:
 *   - One process, one store, one thread; a store does not cross a fork.
 *   - A store has one transaction at a time, and nothing else may be written while it is open.
 *   - Views end with the next call on the same store, where nothing else is said.
 *   - Positions are in order, and a reader that has passed one never misses an event that appears
 *     below it. Do not calculate with them: ask log_before and log_after.
 *   - Do not keep a transaction, or a query's callback, waiting for somebody else.
 *   - A callback may not call the function that called it.
 *
 * No function waits for input, and none holds a lock between calls, except from txn_begin to the
 * transaction's end, and from the first lease_settle to lease_commit.
 * A wait for others' transactions ends with 75 after half a minute, or at once when the function
 * given to store_stop returns true; then nothing has changed, and store_locked is true.
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
bool store_stopping(const struct store *s); /* what that function says; false without one */
bool store_locked(const struct store *s);   /* did the last call fail because of a lock? */
/* Is the connection to a server lost? Then every call fails. store_reopen connects again: what was
   open in the store, as transactions, groups and logs, is not to be used any more; the store is as
   after store_open, and its name and the function given to store_stop stay. 0, or -1: it is still
   lost. */
bool store_lost(const struct store *s);
bool store_missed(const struct store *s); /* see log_put_some */
int store_reopen(struct store *s, struct err *e);

/*
 * Wait until another process has committed work or one of n descriptors is ready, at most
 * timeout_ms (-1: no limit; the time when something becomes due, see group_next); fds as for
 * poll(2), and poll is called to wait: proc_wait, which a signal ends, too. A loop looks for work,
 * and waits when it finds none. It may be woken for nothing: at the first call at once, because
 * until then nobody watched, and after a second, because a wake-up can be missed, or a process die
 * without sending one. 0, or -1 with 74 when the spool was deleted or replaced; then every call
 * fails.
 */
struct pollfd;
typedef int store_poll(struct pollfd *fds, size_t n, int64_t timeout_ms);
int store_wait(struct store *s, struct pollfd *fds, size_t n, int64_t timeout_ms, store_poll *poll,
               struct err *e);
/* For a caller that waits otherwise: is the spool still there? 0, or -1 as above, and with 75 when
   the connection to it is lost. store_line: a descriptor to poll meanwhile for input, which may
   mean that; -1: the engine has none. */
int store_there(struct store *s, struct err *e);
int store_line(struct store *s);

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
    TXN_GRANT,   /* the same; for what hands out something that only one process may have: a server
                    whose place a synchronous standby has taken never commits it */
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

#endif

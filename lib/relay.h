/*
 * relay: from an outbox table in the user's database into the spool, or to a command.
 *
 * The application writes its own rows and a row of the outbox in one transaction. The relay goes
 * round: it reads a page of rows, makes events of them, publishes these, and marks the rows. That
 * order is the guarantee: a relay that dies in between publishes the same events again, and the
 * spool knows them by their ids. The database and the spool are never one transaction.
 *
 *     relay_open(&r, &terms, RELAY_MOVE, &e)
 *     relay_run(r, spool, &result, &e)
 *     relay_close(r)
 *
 * Rows go in the order of their ids. One that fails or waits for another attempt holds up the later
 * rows of its aggregate and nothing else. Any number of relays may work on a table at once: a page
 * belongs to one of them, by locks that end with their process.
 *
 * Signals: proc_stage is called before relay_open. A signal ends every wait, except that rows which
 * are confirmed are marked first: that wait goes on for another 10 s, or until a second signal.
 */
#ifndef RELAY_H
#define RELAY_H

#include "backoff.h"
#include "store.h"

struct relay;

struct relay_terms {
    const char *database; /* a path, or postgresql://… */
    const char *table;    /* NULL: outbox_events */
    const char *map;      /* "id=…,type=…": other columns than ours; NULL: none */
    const char *channel;  /* of NOTIFY; NULL: outbox_events */
    const char *source;   /* of the events */
    char *const *sink;    /* argv of a command; NULL: the spool */
    int64_t most;         /* rows; 0: no limit */
    int64_t attempts;     /* the sink's, for a row */
    struct backoff backoff;
    int64_t timeout_ms; /* a sink that is silent for so long waits for the end of its input */
    int64_t wait_ms;    /* for others' locks, then 75 */
    int64_t prune_ms;   /* remove what was relayed so long ago; -1: nothing */
    bool remove;        /* relayed rows are deleted instead of marked */
    bool follow;
};

struct relay_result {
    int64_t relayed, failed, waiting, pruned;
};

enum relay_mode { RELAY_LOOK, RELAY_MOVE };

/* Append the statements that make the table, for SQLite or, with a database that begins with
   "postgresql:" or "postgres:", for PostgreSQL. 64 when a name cannot be one. */
int relay_schema(const struct relay_terms *terms, struct buf *out, struct err *e);

/* 64 a column of the map is not there, 65 not a database or no table, 66 no such database,
   69 no connection, 75 locked, 77 it may not be written (RELAY_MOVE). With follow a lock or a
   server that is away is waited for; when a signal ends that, the result is 0 and relay_run returns
   at once. */
int relay_open(struct relay **out, const struct relay_terms *terms, enum relay_mode mode,
               struct err *e);
void relay_close(struct relay *r); /* NULL is fine */

/* Relay what is there, or with follow until a signal. spool is NULL when there is a sink. Failed
   rows are reported and counted, not an error. 65: a mark changed nothing; 69: the connection is
   lost; 75: the sink says that it is not available, or others kept a lock; 126 or 127: the sink
   cannot be run. With follow 69 and locks are waited out. */
int relay_run(struct relay *r, struct store *spool, struct relay_result *result, struct err *e);

/* Print the events that relay_run would publish now. What is wrong with rows is told. */
int relay_print(struct relay *r, struct relay_result *result, struct err *e);

/* Failed rows are to be tried again from the first attempt on. Returns how many. */
int64_t relay_retry_failed(struct relay *r, struct err *e);

struct relay_state {
    const char *table;
    int64_t backlog, waiting, failed; /* not yet relayed; of these between attempts; given up */
    int64_t oldest_ms;                /* when the first of the backlog was created; 0: unknown */
};
int relay_state(struct relay *r, struct relay_state *out, struct err *e);

/* The time that a column says: RFC 3339, SQLite's and PostgreSQL's "2026-11-21 10:00:00.123" with
   or without an offset (without: UTC), seconds or, from 100,000,000,000 on, milliseconds since
   1970. False if it is none. */
bool relay_time(struct str text, int64_t *ms);

#endif

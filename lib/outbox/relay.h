/*
 * relay: publish the rows of an outbox table in the user's database to the spool, or to a command.
 *
 * The application writes its own rows and a row of the outbox in one transaction. The relay works
 * in rounds: it reads a page of rows, makes events of them, publishes these, and marks the rows.
 * The guarantee rests on that order: a relay that dies in between publishes the same events again,
 * and the spool recognises them by their ids. The database and the spool never share a transaction.
 *
 *     relay_open(&r, &terms, RELAY_MOVE, &e)
 *     relay_run(r, spool, &result, &e)
 *     relay_close(r)
 *
 * Rows are relayed in the order of their ids. A row that fails or waits for another attempt holds
 * up the later rows of its aggregate and nothing else. Any number of relays may work on a table at
 * once: each page belongs to one relay, by locks that end with its process.
 *
 * Signals: call proc_stage before relay_open. A signal ends every wait, except that confirmed rows
 * are marked first: that wait continues for another 10 s, or until a second signal.
 */
#ifndef OUTBOX_RELAY_H
#define OUTBOX_RELAY_H

#include "base/backoff.h"
#include "store/store.h"

struct relay;

struct relay_terms {
    const char *database; /* a path, or postgresql://… */
    const char *table;    /* NULL: outbox_events */
    const char *map;      /* "id=…,type=…": columns with names other than ours; NULL: none */
    const char *channel;  /* of NOTIFY; NULL: outbox_events */
    const char *source;   /* of the events */
    char *const *sink;    /* argv of a command; NULL: the spool */
    int64_t most;         /* the most rows to relay; 0: no limit */
    int64_t attempts;     /* of the sink, per row */
    struct backoff backoff;
    int64_t timeout_ms; /* a sink that is silent for longer is taken to wait for the end of its
                           input */
    int64_t wait_ms;    /* how long to wait for others' locks before failing with 75 */
    int64_t prune_ms;   /* remove rows that were relayed this long ago; -1: none */
    bool remove;        /* delete relayed rows instead of marking them */
    bool follow;
};

struct relay_result {
    int64_t relayed, failed, waiting, pruned;
};

/* The grace after a signal (proc_grace), for marking confirmed rows and for a sink's last
   answers. */
#define RELAY_GRACE_MS 10000

enum relay_mode { RELAY_LOOK, RELAY_MOVE };

/* Append the statements that create the table, for SQLite or, with a database that begins with
   "postgresql:" or "postgres:", for PostgreSQL. */
void relay_schema(const struct relay_terms *terms, struct buf *out);

/* 0, or -1 with 64 a column of the map does not exist, 65 not a database or no table, 66 no such
   database, 69 no connection, 75 locked, 77 no permission to write (RELAY_MOVE). With follow it
   waits for a lock or an unreachable server; when a signal ends that wait, the result is 0 and
   relay_run returns at once. */
int relay_open(struct relay **out, const struct relay_terms *terms, enum relay_mode mode,
               struct err *e);
void relay_close(struct relay *r); /* NULL is fine */

/* Relay the rows that are there, or with follow until a signal. spool is NULL when there is a sink.
   Failed rows are reported and counted, and are not an error. 65: a mark changed nothing; 69: the
   connection is lost; 75: the sink reports that it is not available, or others kept a lock; 126 or
   127: the sink cannot be run. With follow, relay_run waits until a lost connection (69) or a lock
   has passed. 0 or -1. */
int relay_run(struct relay *r, struct store *spool, struct relay_result *result, struct err *e);

/* Print the events that relay_run would publish now, and report bad rows. 0 or -1. */
int relay_print(struct relay *r, struct relay_result *result, struct err *e);

/* Make failed rows be tried again, starting with a first attempt. Returns how many. */
int64_t relay_retry_failed(struct relay *r, struct err *e);

struct relay_state {
    const char *table;
    int64_t backlog, waiting, failed; /* rows not yet relayed; those of them between attempts; rows
                                         given up */
    int64_t oldest_ms;                /* when the first row of the backlog was created; 0:
                                         unknown */
};
int relay_state(struct relay *r, struct relay_state *out, struct err *e);

/* Parse the time in a column: RFC 3339, SQLite's and PostgreSQL's "2026-11-21 10:00:00.123" with or
   without an offset (without: UTC), seconds or, from 100,000,000,000 on, milliseconds since 1970.
   False if text is anything else. */
bool relay_time(struct str text, int64_t *ms);

#endif

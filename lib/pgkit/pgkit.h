/*
 * pgkit: what everything that calls libpq needs, be it for a spool, a read model or an
 * application's outbox. What they tell people differently stays with each of them.
 *
 * No call of libpq blocks: connections are opened and answers awaited here, with the caller's
 * poll, so that a signal or a deadline ends each wait. A connection with an unfinished statement is
 * given up then, since nobody could tell what its next answer belongs to.
 */
#ifndef PGKIT_PGKIT_H
#define PGKIT_PGKIT_H

#include "base/buf.h"
#include "base/err.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/types.h>

/* Among the defaults of pg_connect: a server that has gone is noticed within five seconds. */
#define PG_NOTICED_SOON                                                                            \
    "tcp_user_timeout", "3000", "keepalives_idle", "2", "keepalives_interval", "1",                \
        "keepalives_count", "3"

/* How a wait went: READY, or why it ended without what it waited for. */
enum pg_wait { PG_READY, PG_STOPPED, PG_SILENT, PG_LOST };

struct pg_patience {
    int (*poll)(struct pollfd *fds, size_t n, int64_t timeout_ms); /* as proc_wait */
    bool (*stopping)(void *arg);                                   /* NULL: nothing ends a wait */
    void *arg;
    int64_t look_ms;  /* how often to ask stopping */
    int64_t grace_ms; /* how long a wait goes on although stopping says so */
};

/* until_ms is monotonic; INT64_MAX: without end. */
enum pg_wait pg_await(PGconn *conn, short events, int64_t until_ms, const struct pg_patience *p);
/* Send what is left to send, and wait until the next result can be had without waiting. */
enum pg_wait pg_receive(PGconn *conn, int64_t until_ms, const struct pg_patience *p);

/*
 * Connect, to the first of the hosts that will have us. defaults are keywords and values in turns,
 * ended by NULL, that the connection string overrides; connect_ms is how long it may take where
 * there is one host and the string does not say otherwise. With several, *host is the number of the
 * one to begin with, counted around, and then of the one that we have: who has lost a connection
 * begins with the next, because a server that was replaced may answer, and commit nothing. *out is
 * the caller's to finish, whatever the result is; NULL without memory, or stopped early. After
 * PG_LOST the connection's message says why, with the SQLSTATE in it (pg_state_in).
 */
enum pg_wait pg_connect(PGconn **out, const char *conninfo, const char *const *defaults,
                        int64_t connect_ms, size_t *host, const struct pg_patience *p);

/*
 * Ask the server to give up the statement, whose answer then says so. pg_cancel_begin starts a
 * process that asks, and returns its number, or -1 when there is none: libpq's own call waits until
 * the server has read the request, and no signal ends that wait when the server has been stopped.
 * Call pg_cancel_end once the answer has come: it waits for that process, and kills it at until_ms,
 * because a request that comes late would end the next statement.
 */
pid_t pg_cancel_begin(PGconn *conn);
void pg_cancel_end(pid_t canceller, int64_t until_ms);

/* Parse a connection string: 0; -1 with 64 when libpq cannot read it, or when it has a password,
   which others would see in listings of processes. what is its owner: "the spool". */
int pg_check(const char *conninfo, const char *what, struct err *e);

/* Append the first of the lines of a message of libpq's or the server's: it names the error. */
void pg_words(struct buf *b, const char *words);
/* The SQLSTATE in a verbose message of a connection that failed, behind which the server's words
   follow; NULL: it has none. */
const char *pg_state_in(const char *words);

/* What an error is, by its SQLSTATE (PostgreSQL manual, appendix A) and never by its text, which is
   translated. */
struct pg_error {
    const char *state; /* how it begins; NULL: nothing is known of it */
    int status;
    const char *remedy; /* goes behind the server's words */
};
const struct pg_error *pg_error_of(const char *state);

#endif

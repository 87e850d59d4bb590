/*
 * What the files of the driver for PostgreSQL share.
 *
 *     address.c  the name of a spool: where the server is, and which of its spools
 *     open.c     connect, create, check, close            db.c       statements and their rows
 *     exchange.c the conversation with the server         session.c  who lives, places, the bell
 *     txn.c      transactions                             fail.c     errors in words
 *     upkeep.c   what a person does to a spool as a whole query.c    a person's own queries
 *
 * A spool is a schema of a database. One connection does all the work of a process; a second one is
 * opened only to hold the order of a group for its handlers (place_tail_open).
 *
 * No call of libpq blocks: what is sent and received goes through exchange.c, which waits with
 * poll(2), so that a signal or a deadline ends each wait. A connection with an unfinished statement
 * is given up then, since nobody could tell what its next answer belongs to.
 *
 * Statements go out in pipelines: what a statement needs before it (the beginning of the
 * transaction, the lock) travels with it, in one round trip.
 */
#ifndef STORE_POSTGRES_POSTGRES_H
#define STORE_POSTGRES_POSTGRES_H

#include "store/driver.h"

#include <libpq-fe.h>

#define DB_STATEMENTS 512   /* a power of two, more than twice the number of statements */
#define DB_SENT 1000        /* statements in a pipeline, at most */
#define DB_LOCK_MS 30000    /* how long to wait for another process's transaction */
#define DB_SILENCE_MS 25000 /* a server that says nothing for so long is given up */
#define DB_SCHEMA 1         /* the version of share/schema_postgres.sql */

/* What each session depends on, whatever the role's settings are: a column of a SELECT. Our
   statements go by indexes, whatever the tables' statistics say, or do not say yet; plans are made
   once. PostgreSQL 13 has no idle_session_timeout. */
#define DB_SETTINGS(is_local)                                                                      \
    "(SELECT count(set_config(name,value," is_local                                                \
    ")) FROM (VALUES('client_min_messages','error'),"                                              \
    "('jit','off'),('plan_cache_mode','force_generic_plan'),('enable_seqscan','off'),"             \
    "('enable_bitmapscan','off'),('enable_hashjoin','off'),('enable_mergejoin','off'),"            \
    "('lock_timeout','30s'),('statement_timeout','0'),('idle_session_timeout','0'),"               \
    "('idle_in_transaction_session_timeout','120s'),"                                              \
    "('default_transaction_isolation','read committed'),('standard_conforming_strings','on'),"     \
    "('tcp_keepalives_idle','5'),('tcp_keepalives_interval','2'),('tcp_keepalives_count','4'),"    \
    "('tcp_user_timeout','13000')) setting(name,value) "                                           \
    "WHERE current_setting(name,true) IS NOT NULL)"

/* Which life of the server: see db_same_life. */
#define SERVER_LIFE "pg_postmaster_start_time()"

struct address {
    char *conninfo; /* for libpq */
    char *shown;    /* the name in full: it has no password in it */
    char *schema;
};

struct db {
    struct address at;
    PGconn *conn;
    size_t host; /* which of several it leads to */
    enum store_mode mode;
    int32_t space; /* the schema's number, for locks that two spools must not share */
    bool (*stopping)(void);
    struct query *statement[DB_STATEMENTS];

    bool lost;            /* the connection: every call fails */
    bool in;              /* a transaction has begun at the server */
    const char *begin[4]; /* statements to send before the next one; NULL: no more */
    int64_t xid;          /* the transaction's number; 0: not asked for; negative: no answer yet */
    bool locks;           /* one of them waits for others */
    bool cancelled;       /* that wait, because we should stop */
    bool reads;           /* the transaction only reads */
    struct sent *sent;    /* the statements of the pipeline that is open, in order */
    size_t sends, sent_room;
    int unread;         /* pipelines whose answers are on their way, and nobody listens */
    bool missed;        /* a db_must has found nothing, or db_later_rows something */
    bool unasked;       /* db_later_rows was called in this transaction */
    struct err failure; /* the first of this transaction */
    bool failed, locked, full, damaged; /* what the last error was */
    bool person; /* the statement is a person's: its errors are usage errors */
    bool listening;
    char settings[1024]; /* not empty: a pooler may give each transaction another session, so these
                            go with each */
    char lock[80], ring[80], listen[80], flush[48]; /* statements of this spool */
    char life[24];    /* the server's: when it was started, in microseconds since 1970 */
    int64_t asked_ms; /* monotonic: when it was last asked what time it is */

    PGconn *tail; /* see place_tail_open */
};

/* A statement on its way, and who waits for its answer: a query that it prepares, who wants its
   number, or its rows. */
struct sent {
    struct query *prepares;
    int64_t *out;
    PGresult **rows;
};

struct query {
    const struct sql *sql;
    char name[16]; /* of the prepared statement */
    char *text;    /* with $1 instead of ?1 */
    int n;         /* arguments */
    unsigned runs;
    bool prepared;
    Oid *type;
    const char **value;
    int *length, *format;
    int64_t *number;   /* of integers, as they travel */
    struct buf *array; /* of each column, for db_run_rows; or NULL */
    PGresult *rows;
    int row;
};

/* address.c */
int address_read(struct address *out, const char *name, struct err *e); /* 0; -1 with 64 */
void address_free(struct address *a);

/* exchange.c. A statement without arguments that takes no place among the prepared ones. */
int db_exec(struct db *db, const char *sql, struct err *e);
/* Its rows, in binary, with arguments as text; NULL on an error. The caller clears them. */
PGresult *db_ask(struct db *db, const char *sql, const char *const *values, int n, struct err *e);
PGresult *db_ask_text(struct db *db, const char *sql, struct err *e); /* its rows as text */
/* The same without waiting: *rows, which is NULL, gets them once the next exchange has ended. */
int db_ask_later(struct db *db, const char *sql, const char *const *values, int n, PGresult **rows,
                 struct err *e);
/* Send the query, after what db->begin has, and take its rows. 0 or -1. */
int db_exchange(struct db *db, struct query *q, struct err *e);
/* Send the query and wait for nothing; out: see db_insert, or NULL. db_finish waits. 0 or -1. */
int db_send(struct db *db, struct query *q, int64_t *out, struct err *e);
int db_finish(struct db *db, struct err *e);
int db_push(struct db *db, const char *sql, struct err *e); /* db_exec, without waiting */
/* Send a statement whose answer nobody waits for. */
void db_cast(struct db *db, const char *sql);
void db_hear_out(struct db *db); /* wait for those answers */
/* Take note of what has arrived, without waiting. */
void db_read_answers(struct db *db);
/* Connect; with several hosts, to db->host if it will have us. 0; -1 with *out NULL. */
int db_connect(struct db *db, PGconn **out, struct err *e);
void db_lose(struct db *db); /* give the connection up */
extern const char db_xid[];  /* among the statements of db->begin: db->xid gets its answer */

/* open.c. Is the server still in the life that it had when we came? The column has SERVER_LIFE. */
bool db_same_life(const struct db *db, const PGresult *rows, int column);

/* fail.c. Each returns -1. rows NULL: the connection failed. */
int db_fail(struct db *db, const PGresult *rows, struct err *e);
int db_fail_lost(struct db *db, struct err *e);
bool db_last_words(const PGresult *of); /* does the server end the session with this error? */
int db_fail_connect(struct db *db, const PGconn *conn, struct err *e);
int db_fail_locked(struct db *db, struct err *e);

/* session.c. Is a lock that this session has refused to another one? There are servers that speak
   PostgreSQL's protocol, and grant each lock to everybody. 0, also when there is no telling, as
   through a pooler; -1 with 69, or when there is no second connection. */
int session_test(struct db *db, struct err *e);

/* db.c */
void db_forget_queries(struct db *db);
int64_t db_number(const PGresult *rows, int row, int column); /* an integer of any size; NULL: 0 */

#endif

/*
 * driver: a connection to the database behind a spool. It is all that lib/store/sql knows of a
 * storage engine; lib/store/sqlite is the driver for a file.
 *
 * A statement has a name, and a text in the dialect that all engines speak:
 *
 *     db_run(db, e, SQL("doc_delete", "DELETE FROM document WHERE kind=? AND name=?"), "tt", …)
 *
 * It is prepared at its first use, and stays prepared. types has a letter for each argument: i
 * int64_t, o int64_t (DB_NONE: NULL), s struct str as text (absent: NULL), b struct str as bytes, t
 * const char * (NULL: NULL). Texts are bound as views: they must stay until the statement is done.
 *
 * Functions that return int return 0 or a count, or -1 with e filled in, as in store.h.
 */
#ifndef STORE_DRIVER_H
#define STORE_DRIVER_H

#include "base/buf.h"
#include "base/err.h"
#include "store/store.h"

#define DB_NONE INT64_MIN /* stands for NULL */
#define DB_ROWS 1000      /* a transaction changes about this many rows: others wait for it */

struct db;

/* Open the spool of that name; returns 1 when this call created it. lost, or NULL, has lost its
   connection: another server may have taken the place of the one that it had. */
int db_open(struct db **out, const char *name, enum store_mode mode, const struct db *lost,
            struct err *e);
void db_close(struct db *db);             /* NULL is fine */
const char *db_name(const struct db *db); /* in full, for messages and for handlers */
struct db_sizes {
    int64_t size, wal_size; /* bytes */
    int schema;
};
void db_sizes(struct db *db, struct db_sizes *out);
void db_stop(struct db *db, bool (*stopping)(void)); /* store_stop */
bool db_stopping(const struct db *db);
bool db_locked(const struct db *db); /* store_locked */
bool db_lost(const struct db *db);   /* store_lost */

/* -------------------------------------------------------------------------------- statements */

struct sql {
    const char *name, *text;
};
#define SQL(name_, text_)                                                                          \
    (__extension__({                                                                               \
        static const struct sql sql_ = {name_, text_};                                             \
        &sql_;                                                                                     \
    }))

/* What engines say differently is in the dialect.h of each engine's folder, one of which is on the
   compiler's path. BY_...: the statement is bounded because it goes by this index. THEN_JOIN: join
   in this order. LESSER and GREATER of two values. DB_PRIORITIES: a table p of the priorities, with
   the column value. NO_BYTES: an empty value. ADD_UP: how a row of counts is added to the one that
   is there; or there may be several, of which the sum counts, and FOLD_NOW says at which of the
   times that it is asked they should be made one. PAGE_LIMIT: for a query whose reader stops by
   itself, after at most a thousand rows, at the end of the statement. */
#include "dialect.h"

struct query; /* a statement that runs */

struct db_value { /* as its letter says: number, or DB_NONE; text, or absent */
    int64_t number;
    struct str text;
};

struct query *db_query(struct db *db, struct err *e, const struct sql *sql, const char *types, ...);
/* The same with the arguments as values; letters i, o, s and b. */
struct query *db_select(struct db *db, struct err *e, const struct sql *sql, const char *types,
                        const struct db_value *values);
int db_row(struct db *db, struct query *q, struct err *e); /* 1 a row; 0 or -1: q is done */
void db_done(struct query *q);                             /* NULL is fine */
/* Run a statement to its end. Returns the number of rows changed, or -1. */
int db_run(struct db *db, struct err *e, const struct sql *sql, const char *types, ...);
/* The same, with the arguments of several rows, written as ROWS_9 where a row has nine columns:
   types are those of each row. At most APPEND_ROWS rows; fewer only with APPEND_FEWER. Or written
   as ROWS_OF("?,?"), at most ROWS_AT_ONCE of them. */
int db_run_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                const struct db_value *values, size_t rows);
/* A query with such arguments, written as PAIRS, which numbers them from 1; at most APPEND_LOOK. */
struct query *db_query_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                            const struct db_value *values, size_t rows);
/* The same without an answer, like db_later. A row that is there already, by any unique index,
   makes the transaction miss. 0 or -1. */
int db_later_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                  const struct db_value *values, size_t rows);
/*
 * An engine at the other end of a network sends these along with the next statement, or with the
 * commit, and whatever fails of them fails that one: they cost no wait of their own.
 *
 *     db_later      a statement whose outcome nobody asks for. 0 or -1
 *     db_must       a change that must find its row, written as MUST_CHANGE("UPDATE …"), or
 *                   something that must be true, as MUST_FIND("FROM … WHERE …"): 1; 0 when it did
 *                   not, or was not; -1, and if that is so because of a db_must before, db_missed
 *     db_insert     insert a row; *id, the number that its table gives it, is filled in at the
 *                   latest by the commit. The statement ends with RETURNING_ID("column"). 0 or -1
 *     db_await      wait for all that was sent so far. 0 or -1
 */
int db_later(struct db *db, struct err *e, const struct sql *sql, const char *types, ...);
int db_must(struct db *db, struct err *e, const struct sql *sql, const char *types, ...);
int db_insert(struct db *db, struct err *e, int64_t *id, const struct sql *sql, const char *types,
              ...);
int db_await(struct db *db, struct err *e);
bool db_missed(const struct db *db);
/* Read one integer: 1 and *out; 0 when there is no row (or NULL); -1. */
int db_int(struct db *db, struct err *e, int64_t *out, const struct sql *sql, const char *types,
           ...);

/* The current row. Texts and bytes are views until the next db_row. NULL reads as 0, or absent. */
enum db_kind { DB_NULL, DB_INTEGER, DB_TEXT, DB_BYTES, DB_OTHER };
int64_t db_i64(struct query *q, int column);
struct str db_text(struct query *q, int column); /* text or bytes */
enum db_kind db_kind(struct query *q, int column);
bool db_null(struct query *q, int column);
/* The first columns at once. */
void db_values(struct query *q, const char *types, struct db_value *out); /* letters i, s and b */

/* Between begin and end, for a query that goes through a table and selects nothing but its key: all
   values of the current row, the key first, without the cost of asking for each. It is a guess, to
   be verified by a checksum over all of them; false: query the columns. db_peek_begin, before the
   query's first row: false when the engine has no such way. */
bool db_peek_begin(struct db *db);
bool db_peek(struct db *db, int64_t key, const char *types, struct db_value *out); /* i, s, b */
void db_peek_end(struct db *db);

bool db_unreadable(struct db *db); /* did the last call fail because a row is damaged? */
bool db_failed(struct db *db);     /* did the engine fail at all in it? */

/* ------------------------------------------------------------------------------ transactions */

/* DB_FULL: on disk when db_commit returns. DB_NORMAL: a kill cannot undo it, a power cut can.
   DB_GRANT: the same; but where a synchronous standby may take the server's place, that one has it
   when db_commit returns: so a server that was replaced, and does not know it, grants nothing. */
enum db_sync { DB_FULL, DB_GRANT, DB_NORMAL };

/* A transaction that may write waits for other writers, and keeps them out until its end. */
int db_begin(struct db *db, enum db_sync sync, struct err *e);
/* 0; -1 nothing has changed; TXN_UNKNOWN. ring: the bell, once it is committed. */
int db_commit(struct db *db, bool ring, struct err *e);
void db_rollback(struct db *db);
/* Reads from here to db_rollback see one moment. */
int db_begin_read(struct db *db, struct err *e);
/* *out differs from the last call's if another process has claimed or settled in between. */
int db_generation(struct db *db, int64_t *out, struct err *e);
bool db_wanted(struct db *db);   /* does another process wait for its transaction? */
void db_give_way(struct db *db); /* between two transactions: let those who wait go first */

/* Room for more events: how many bytes a transaction may add, INT64_MAX for no limit; -1 with 74
   when what is left is kept for settling. db_no_room: e says so; returns -1. db_full: did the last
   transaction fail because the disk is full? */
int db_room(struct db *db, int64_t *room, struct err *e);
int db_no_room(struct db *db, struct err *e);
bool db_full(const struct db *db);

/* ---------------------------------------------------------------------------------- sessions */

/*
 * A session is a number that its process holds until it ends, however it ends: then the others see
 * that it is free. What the store keeps of it beside the number decides only while the engine's
 * locks cannot be trusted, as after somebody has replaced the lock file.
 */
struct session {
    int64_t owner, pid, started;
    char boot[40];
};
#define SESSION_COLUMNS "owner,pid,started,boot"

int session_open(struct db *db, struct err *e);     /* needed before all others */
int64_t session_take(struct db *db, struct err *e); /* a new owner, held by us; -1 */
void session_drop(struct db *db, int64_t owner);
void session_self(struct db *db, struct session *out); /* this process; owner 0 */
/* Can the locks be trusted? 1, 0, -1. */
int session_trusted(struct db *db, struct err *e);
/* Does it live? trusted is what session_trusted said. */
bool session_lives(struct db *db, const struct session *of, int trusted);
/* Did it end with the engine itself, which took all of them along? Then no event is to blame. */
bool session_blameless(struct db *db, const struct session *of);
/* Does its process live although its lock cannot be seen? */
bool session_hidden(struct db *db, const struct session *of);
int session_adopt(struct db *db, struct err *e); /* trust the locks from now on: in a transaction */

/* The clock of leases. It goes on while the machine sleeps; times of another epoch are over. */
struct lease_clock {
    int64_t ms;
    char epoch[40];
};
void lease_now(struct db *db, struct lease_clock *out);

/* One process at a time holds a place. A handler that has the descriptor of place_tail holds the
   place's tail, too, and may outlive us. */
int place_take(struct db *db, int64_t place, struct err *e); /* 1; 0: another process has it; -1 */
void place_drop(struct db *db, int64_t place);
int place_tail_open(struct db *db, struct err *e);                        /* a descriptor */
int place_tail_take(struct db *db, int fd, int64_t place, struct err *e); /* as place_take */
void place_tail_drop(struct db *db, int fd, int64_t place);

/* -------------------------------------------------------------------------------------- waking */

void db_ring(struct db *db);
int db_bell(struct db *db); /* store_bell */
void db_bell_clear(struct db *db);
int db_there(struct db *db, struct err *e); /* store_there */
int db_line(struct db *db);                 /* store_line */

#endif

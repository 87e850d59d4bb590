/*
 * What the files of the driver for SQLite share; also the upkeep of a file.
 *
 *     space.c    room on the disk                         db.c       statements, transactions,
 *     lock.c     the bytes of SPOOL-lock; giving way                 checkpoints, errors in words
 *     open.c     create, open, check, close               alive.c    which processes are alive
 *     room.c     room for more events                     bell.c     waking those who wait
 *     peek.c     rows as their bytes lie in the file
 *
 *     check.c    what is wrong with a spool, or its groups; check_events.c: damaged events;
 *                check_rows.c: rows that no command would write
 *     backup.c   copying a spool
 *     query.c    a person's own queries, and the views that they may read
 *
 * Rules, which the tests R1 to R5 enforce: a transaction that may write is BEGIN IMMEDIATE and
 * short; statements are reset as soon as they are done; there is no automatic and no PASSIVE
 * checkpoint anywhere, because such a checkpoint, together with a commit at the wrong moment, loses
 * acknowledged rows on SQLite before 3.51.3 (sqlite.org/wal.html#walresetbug), and Debian 12 ships
 * 3.40.1.
 */
#ifndef STORE_SQLITE_SQLITE_H
#define STORE_SQLITE_SQLITE_H

#include "sqlitekit/kit.h"
#include "store/driver.h"

#include <sys/statvfs.h>

#define DB_STATEMENTS 512        /* a power of two, more than twice the number of statements */
#define DB_LENGTH_MAX (64 << 20) /* of a row; the same for all, or readers fail on writers' rows */

struct db {
    sqlite3 *sqlite;
    char *path, *lock_path;
    enum store_mode mode;
    int lock_fd; /* -1: lock.c has not opened it yet */
    int bell_fd; /* -1: none; -2: not asked for yet */
    bool (*stopping)(void);

    struct {
        const struct sql *sql;
        sqlite3_stmt *stmt;
    } statement[DB_STATEMENTS];
    int64_t busy_until_ms; /* 0: not waiting; monotonic */
    bool checkpointing, waiting;
    bool locked;      /* what store_locked returns */
    bool lasting;     /* has committed something that must be on disk */
    bool tight, full; /* there is little room on the disk; SQLite found the disk full */
    unsigned space_looks;
    bool moved;         /* the path names another file by now, or none: every call fails */
    const char *schema; /* while it is opened: how far along ours the file's schema goes */
    enum db_sync sync;
    int frames;        /* in the WAL after our last commit; -1: it wrote none */
    struct peek *peek; /* NULL until it is first wanted */
};

/* A statement that runs is SQLite's own. */
static inline sqlite3_stmt *db_stmt(struct query *q)
{
    return (sqlite3_stmt *)q;
}

/* db.c, beside driver.h. */
int db_exec(struct db *db, const char *sql, struct err *e); /* SQL whose statement is not kept */
int db_busy(void *db, int times);                           /* SQLite's busy handler */
bool db_moved(struct db *db);                               /* or deleted */
int db_fail_moved(struct db *db, struct err *e);
int db_fail(struct db *db, struct err *e); /* put SQLite's error into words; returns -1 */
bool db_move_wal(struct db *db); /* copy the whole WAL into the file, outside a transaction */

/* space.c: what is free on the file's disk, and how much of that is kept for settling. space_look,
   before a transaction: is the disk tight? */
int64_t space_free(const struct statvfs *fs);
int64_t space_reserve(const struct statvfs *fs);
void space_look(struct db *db);
int64_t space_of_file(const char *path, const char *suffix); /* its size; 0: there is none */

void peek_free(struct peek *peek); /* once the database is closed; NULL is fine */

/* lock.c: bytes of SPOOL-lock, which the kernel frees when their holder ends. lock_announce: this
   process waits for the write lock, so that a process that would take that lock again at once lets
   it go first. */
int lock_open(struct db *db, struct err *e); /* needed before the next five */
bool lock_byte(int fd, int64_t at);          /* true when the byte is ours now */
void lock_unbyte(int fd, int64_t at);
bool lock_held(int fd, int64_t at); /* by another process */
/* The file's token and inode number: a copy has the same token, but another number. False when the
   path no longer leads to the file that we hold. */
#define LOCK_IDENTITY 64
bool lock_identify(struct db *db, char out[LOCK_IDENTITY]);
void lock_announce(struct db *db, bool waiting);

/* open.c. A draft is a database that is still being made: file_remove_draft deletes it and the
   files that SQLite puts beside it. file_sync_directory flushes the directory of path, which has a
   slash, to disk. */
void file_remove_draft(const char *path);
int file_sync_directory(const char *path, struct err *e);

#endif

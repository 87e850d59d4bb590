/*
 * The few functions through which everything else uses SQLite: errors in words, statements,
 * transactions and checkpoints.
 */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------- errors */

static int fail_locked(struct db *db, struct err *e)
{
    db->locked = true;
    return kit_fail_locked(db->path, db->stopping != NULL && db->stopping(), e);
}

static int fail_open(struct db *db, int number, struct err *e)
{
    const char *file = sqlite3_db_filename(db->sqlite, "main"); /* a draft has another name */

    if (file != NULL && access(file, F_OK) != 0 && errno == ENOENT)
        return err_set(e, EX_NOINPUT, "%s: it is gone", db->path);
    if (file != NULL && access(file, W_OK) != 0 && errno == EROFS)
        return err_set(e, EX_NOPERM,
                       "%s: is on a read-only file system, and even commands that only read "
                       "write to a spool: copy it to another place",
                       db->path);
    return kit_fail_open(db->path, "-wal and -shm files", number, e);
}

int db_fail_moved(struct db *db, struct err *e)
{
    return err_set(
        e, EX_IOERR,
        "%s: was deleted, moved or replaced while in use: start again when it is back in place",
        db->path);
}

bool db_moved(struct db *db)
{
    int moved = 0;

    return sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved;
}

int db_fail(struct db *db, struct err *e)
{
    int code = sqlite3_extended_errcode(db->sqlite);
    const char *words = sqlite3_errmsg(db->sqlite);

    db->locked = false;
    switch (code) {
    case SQLITE_FULL:
    case SQLITE_IOERR_SHMSIZE:
        db->full = db->tight = true;
        return kit_fail(db->sqlite, db->path, e);
    case SQLITE_READONLY_DBMOVED:
        return db_fail_moved(db, e);
    case SQLITE_READONLY_DIRECTORY:
    case SQLITE_READONLY_CANTINIT:
        return err_set(e, EX_NOPERM,
                       "%s: cannot write to its directory (needed for -wal and -shm, even for "
                       "reading)",
                       db->path);
    default:
        break;
    }
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_LOCKED:
        return fail_locked(db, e);
    case SQLITE_INTERRUPT:
    case SQLITE_IOERR:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_NOMEM:
        return kit_fail(db->sqlite, db->path, e);
    case SQLITE_CORRUPT:
        return err_set(e, EX_IOERR, "%s: damaged (%s): restore it from a backup", db->path, words);
    case SQLITE_CONSTRAINT: /* nothing that we write contradicts what we wrote before */
        return err_set(e, EX_IOERR,
                       "%s: damaged (%s): see spool check, or restore it from a backup", db->path,
                       words);
    case SQLITE_NOTADB:
        return err_set(e, EX_DATAERR, "%s: not an eventutils spool", db->path);
    case SQLITE_CANTOPEN:
        return fail_open(db, sqlite3_system_errno(db->sqlite), e);
    case SQLITE_TOOBIG:
        return err_set(e, EX_DATAERR, "%s: holds an event of more than %d MiB", db->path,
                       DB_LENGTH_MAX >> 20);
    default:
        return err_set(e, EX_SOFTWARE, "%s: SQLite says %d: %s (a bug: please report it)", db->path,
                       code, words);
    }
}

/* --------------------------------------------------------------------------------- statements */

static sqlite3_stmt *statement(struct db *db, const struct sql *sql, struct err *e)
{
    size_t at = ((uintptr_t)sql >> 4) % DB_STATEMENTS;

    if (db->moved) {
        db_fail_moved(db, e);
        return NULL;
    }
    while (db->statement[at].sql != NULL && db->statement[at].sql != sql)
        at = (at + 1) % DB_STATEMENTS;
    if (db->statement[at].sql == NULL) {
        if (sqlite3_prepare_v3(db->sqlite, sql->text, -1, SQLITE_PREPARE_PERSISTENT,
                               &db->statement[at].stmt, NULL) != SQLITE_OK) {
            db_fail(db, e);
            return NULL;
        }
        db->statement[at].sql = sql;
    }
    return db->statement[at].stmt;
}

static sqlite3_stmt *query(struct db *db, struct err *e, const struct sql *sql, const char *types,
                           va_list ap)
{
    sqlite3_stmt *q = statement(db, sql, e);

    if (q != NULL)
        kit_bind_list(q, types, ap);
    return q;
}

struct query *db_query(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, e, sql, types, ap);
    va_end(ap);
    return (struct query *)q;
}

void db_done(struct query *q)
{
    if (q != NULL)
        sqlite3_reset(db_stmt(q));
}

static int step(struct db *db, sqlite3_stmt *q, struct err *e)
{
    switch (sqlite3_step(q)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        sqlite3_reset(q);
        return 0;
    default:
        db_fail(db, e); /* before the reset, which may forget the system's errno */
        sqlite3_reset(q);
        return -1;
    }
}

int db_row(struct db *db, struct query *q, struct err *e)
{
    return step(db, db_stmt(q), e);
}

static int run(struct db *db, sqlite3_stmt *q, struct err *e)
{
    int got = q == NULL ? -1 : 1;

    while (got > 0)
        got = step(db, q, e);
    return got;
}

int db_run(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, e, sql, types, ap);
    va_end(ap);
    return run(db, q, e) < 0 ? -1 : sqlite3_changes(db->sqlite);
}

int db_insert(struct db *db, struct err *e, int64_t *id, const struct sql *sql, const char *types,
              ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, e, sql, types, ap);
    va_end(ap);
    if (run(db, q, e) < 0)
        return -1;
    *id = sqlite3_last_insert_rowid(db->sqlite);
    return 0;
}

struct query *db_select(struct db *db, struct err *e, const struct sql *sql, const char *types,
                        const struct db_value *values)
{
    sqlite3_stmt *q = statement(db, sql, e);

    for (int i = 1; q != NULL && *types != '\0'; i++, types++, values++)
        kit_bind_value(q, i, *types, values->number, values->text);
    return (struct query *)q;
}

struct query *db_query_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                            const struct db_value *values, size_t rows)
{
    sqlite3_stmt *q = statement(db, sql, e);
    int i = 1;

    for (; q != NULL && rows > 0; rows--)
        for (const char *type = types; *type != '\0'; type++, values++)
            kit_bind_value(q, i++, *type, values->number, values->text);
    return (struct query *)q;
}

int db_run_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                const struct db_value *values, size_t rows)
{
    sqlite3_stmt *q = (sqlite3_stmt *)db_query_rows(db, e, sql, types, values, rows);

    return q == NULL || step(db, q, e) < 0 ? -1 : sqlite3_changes(db->sqlite);
}

int db_later(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, e, sql, types, ap);
    va_end(ap);
    return q == NULL ? -1 : step(db, q, e);
}

int db_must(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, e, sql, types, ap);
    va_end(ap);
    int got = q == NULL ? -1 : step(db, q, e);

    if (got > 0)
        sqlite3_reset(q);
    return got != 0 || sqlite3_stmt_readonly(q) ? got : sqlite3_changes(db->sqlite) > 0;
}

/* Here each statement says at once what became of it. */
int db_await(struct db *db, struct err *e)
{
    (void)db;
    (void)e;
    return 0;
}

int db_later_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                  const struct db_value *values, size_t rows)
{
    return db_run_rows(db, e, sql, types, values, rows) < 0 ? -1 : 0;
}

bool db_missed(const struct db *db)
{
    (void)db;
    return false;
}

int db_int(struct db *db, struct err *e, int64_t *out, const struct sql *sql, const char *types,
           ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(db, e, sql, types, ap);
    va_end(ap);
    int got = q == NULL ? -1 : step(db, q, e);

    if (got <= 0)
        return got;
    got = sqlite3_column_type(q, 0) != SQLITE_NULL;
    if (got)
        *out = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return got;
}

struct str db_text(struct query *q, int column)
{
    return kit_text(db_stmt(q), column);
}

int64_t db_i64(struct query *q, int column)
{
    return sqlite3_column_int64(db_stmt(q), column);
}

bool db_null(struct query *q, int column)
{
    return sqlite3_column_type(db_stmt(q), column) == SQLITE_NULL;
}

enum db_kind db_kind(struct query *q, int column)
{
    switch (sqlite3_column_type(db_stmt(q), column)) {
    case SQLITE_NULL:
        return DB_NULL;
    case SQLITE_INTEGER:
        return DB_INTEGER;
    case SQLITE_TEXT:
        return DB_TEXT;
    case SQLITE_BLOB:
        return DB_BYTES;
    default:
        return DB_OTHER;
    }
}

/* Reads values instead of calling sqlite3_column_*, which locks and unlocks each time, a fifth of
   the cost of a row. With one thread there is no other difference. */
void db_values(struct query *q, const char *types, struct db_value *out)
{
    for (int i = 0; types[i] != '\0'; i++, out++) {
        sqlite3_value *v = sqlite3_column_value(db_stmt(q), i);
        if (types[i] == 'i') {
            out->number = sqlite3_value_type(v) == SQLITE_NULL ? DB_NONE : sqlite3_value_int64(v);
            continue;
        }
        const void *p = sqlite3_value_blob(v);
        if (p != NULL)
            out->text = (struct str){p, (size_t)sqlite3_value_bytes(v)};
        else
            out->text = (struct str){sqlite3_value_type(v) == SQLITE_NULL ? NULL : "", 0};
    }
}

bool db_unreadable(struct db *db)
{
    return (sqlite3_errcode(db->sqlite) & 0xff) == SQLITE_CORRUPT;
}

bool db_failed(struct db *db)
{
    int code = sqlite3_errcode(db->sqlite) & 0xff;

    return code != SQLITE_OK && code < SQLITE_ROW;
}

int db_generation(struct db *db, int64_t *out, struct err *e)
{
    return db_int(db, e, out, SQL("generation", "PRAGMA data_version"), "");
}

/* ------------------------------------------------------------------------------- transactions */

/* If this handler gives up while a checkpoint waits for the write lock, SQLite continues with a
   PASSIVE checkpoint; only the interrupt prevents that. */
int db_busy(void *arg, int times)
{
    struct db *db = arg;

    if (times == 0 && !db->checkpointing)
        lock_announce(db, true);
    if (kit_wait(&db->busy_until_ms, times, db->checkpointing ? KIT_CHECKPOINT_MS : KIT_BUSY_MS,
                 db->stopping != NULL && db->stopping()))
        return 1;
    if (db->checkpointing)
        sqlite3_interrupt(db->sqlite);
    return 0;
}

int db_exec(struct db *db, const char *sql, struct err *e)
{
    return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(db, e);
}

/* Only the busy handler's interrupt keeps SQLite from trying another mode. */
static int move_wal(struct db *db, int mode)
{
    db->checkpointing = true;
    int got = sqlite3_wal_checkpoint_v2(db->sqlite, NULL, mode, NULL, NULL);
    db->checkpointing = false;
    return got;
}

bool db_move_wal(struct db *db)
{
    return move_wal(db, SQLITE_CHECKPOINT_RESTART) == SQLITE_OK;
}

int db_begin(struct db *db, enum db_sync sync, struct err *e)
{
    space_look(db);
    if (db->tight)
        db_move_wal(db);
    if (sync == DB_GRANT) /* no other machine takes a file's place */
        sync = DB_NORMAL;
    /* The level takes effect when the pragma is prepared, and has no effect in a transaction. */
    if (sync != db->sync) {
        if (db_exec(db, sync == DB_FULL ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                    e))
            return -1;
        db->sync = sync;
    }
    db->locked = db->full = false;
    int got = db_run(db, e, SQL("begin", "BEGIN IMMEDIATE"), "");
    lock_announce(db, false);
    return got < 0 ? -1 : 0;
}

int db_begin_read(struct db *db, struct err *e)
{
    return db_run(db, e, SQL("begin_read", "BEGIN"), "") < 0 ? -1 : 0;
}

/* Checkpoint when our commit took the WAL across a multiple of 1,000 frames. If the condition were
   "at least 1,000 frames", every process would try at each commit while a reader is in the way (134
   instead of 686 commits a second). A busy checkpoint is not an error: some process tries again
   later. With readers coming and going all the time, there is always one that keeps writers from
   restarting the WAL, so it grows: from 4,000 frames on, the checkpoint also waits for all current
   readers. */
static void checkpoint(struct db *db, int wrote)
{
    int mode = db->frames < 4000 ? SQLITE_CHECKPOINT_FULL : SQLITE_CHECKPOINT_RESTART;

    if (db->frames < 0 || db->frames / 1000 == (db->frames - wrote) / 1000)
        return;
    move_wal(db, mode);
}

static int pages_written(struct db *db)
{
    int pages = 0, unused;
    sqlite3_db_status(db->sqlite, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &unused, 1);
    return pages;
}

int db_commit(struct db *db, bool ring, struct err *e)
{
    pages_written(db); /* resets the count; few pages were spilled before this */
    db->frames = -1;
    if (db_run(db, e, SQL("commit", "COMMIT"), "") < 0) {
        bool unknown = e->status == EX_IOERR && !db->full; /* a full disk undoes it for sure */
        db_rollback(db);
        return unknown ? TXN_UNKNOWN : -1;
    }
    /* After the commit, and before reporting that it is on disk: SQLite does not check this. */
    if (db->sync == DB_FULL && db_moved(db))
        return db_fail_moved(db, e), TXN_UNKNOWN;
    db->lasting |= db->sync == DB_FULL;
    checkpoint(db, pages_written(db));
    if (ring)
        db_ring(db); /* after the commit, or a woken reader would find nothing */
    return 0;
}

void db_rollback(struct db *db)
{
    struct err ignored = ERR_NONE;

    /* On a full disk SQLite has already rolled back. Without memory even ROLLBACK fails, until a
       failed attempt has released some. */
    for (int i = 0; i < 2 && !sqlite3_get_autocommit(db->sqlite); i++)
        db_run(db, &ignored, SQL("rollback", "ROLLBACK"), "");
}

bool db_full(const struct db *db)
{
    return db->full;
}

/* Touching the file needs no descriptor. If nobody has ever waited for the bell, the file may be
   missing, which does not matter. */
void db_ring(struct db *db)
{
    utimensat(AT_FDCWD, db->lock_path, NULL, AT_SYMLINK_NOFOLLOW);
}

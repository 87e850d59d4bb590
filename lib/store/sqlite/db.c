/*
 * The few functions through which everything else uses SQLite: errors in words, statements,
 * transactions and checkpoints.
 */
#include "store/engine.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------- errors */

static int fail_locked(struct store *s, struct err *e)
{
    s->locked = true;
    if (s->stopping != NULL && s->stopping())
        return err_set(e, EX_TEMPFAIL, "%s: stopped while waiting for its lock", s->path);
    return err_set(e, EX_TEMPFAIL,
                   "%s: kept locked by another process for %d s; is one stopped? see fuser %s",
                   s->path, DB_BUSY_MS / 1000, s->path);
}

/* When an open fails, SQLite tries again in other ways; number is the errno of the last try. */
static int fail_open(struct store *s, int number, struct err *e)
{
    bool forbidden = number == EACCES || number == EPERM || number == EROFS;

    const char *file = sqlite3_db_filename(s->db, "main"); /* a draft has another name */

    if (file != NULL && access(file, F_OK) != 0 && errno == ENOENT)
        return err_set(e, EX_NOINPUT, "%s: it is gone", s->path);
    if (file != NULL && access(file, W_OK) != 0 && errno == EROFS)
        return err_set(e, EX_NOPERM,
                       "%s: is on a read-only file system, and even commands that only read "
                       "write to a spool: copy it to another place",
                       s->path);
    if (number == ENOENT) /* the file exists: this is from the second try, and means nothing */
        return err_set(e, EX_IOERR, "%s: cannot open it, or the -wal and -shm files beside it",
                       s->path);
    return err_set(e, forbidden ? EX_NOPERM : EX_IOERR,
                   "%s: cannot open it, or the -wal and -shm files beside it: %s", s->path,
                   strerror(number));
}

int db_fail_moved(struct store *s, struct err *e)
{
    return err_set(
        e, EX_IOERR,
        "%s: was deleted, moved or replaced while in use: start again when it is back in place",
        s->path);
}

bool db_moved(struct store *s)
{
    int moved = 0;

    return sqlite3_file_control(s->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved;
}

int db_fail(struct store *s, struct err *e)
{
    int code = sqlite3_extended_errcode(s->db);
    const char *words = sqlite3_errmsg(s->db);

    s->locked = false;
    switch (code) {
    case SQLITE_FULL:
    case SQLITE_IOERR_SHMSIZE:
        s->full = true;
        return err_set(e, EX_IOERR, "%s: the disk is full", s->path);
    case SQLITE_READONLY_DBMOVED:
        return db_fail_moved(s, e);
    case SQLITE_READONLY_DIRECTORY:
    case SQLITE_READONLY_CANTINIT:
        return err_set(e, EX_NOPERM,
                       "%s: cannot write to its directory (needed for -wal and -shm, even for "
                       "reading)",
                       s->path);
    default:
        break;
    }
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_LOCKED:
        return fail_locked(s, e);
    case SQLITE_INTERRUPT:
        return err_set(e, EX_TEMPFAIL, "%s: interrupted", s->path);
    case SQLITE_IOERR:
        if (sqlite3_system_errno(s->db) == 0)
            return err_set(e, EX_IOERR, "%s: %s", s->path, words);
        return err_set(e, EX_IOERR, "%s: %s: %s", s->path, words,
                       strerror(sqlite3_system_errno(s->db)));
    case SQLITE_CORRUPT:
        return err_set(e, EX_IOERR, "%s: damaged (%s): restore it from a backup", s->path, words);
    case SQLITE_CONSTRAINT: /* nothing that we write contradicts what we wrote before */
        return err_set(e, EX_IOERR,
                       "%s: damaged (%s): see spool check, or restore it from a backup", s->path,
                       words);
    case SQLITE_NOTADB:
        return err_set(e, EX_DATAERR, "%s: not an eventutils spool", s->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(e, EX_NOPERM, "%s: cannot write to it: %s", s->path, words);
    case SQLITE_CANTOPEN:
        return fail_open(s, sqlite3_system_errno(s->db), e);
    case SQLITE_NOMEM:
        return err_set(e, EX_OSERR, "%s: no memory", s->path);
    case SQLITE_TOOBIG:
        return err_set(e, EX_DATAERR, "%s: holds an event of more than %d MiB", s->path,
                       DB_LENGTH_MAX >> 20);
    default:
        return err_set(e, EX_SOFTWARE, "%s: SQLite says %d: %s (a bug: please report it)", s->path,
                       code, words);
    }
}

/* --------------------------------------------------------------------------------- statements */

static sqlite3_stmt *statement(struct store *s, const char *sql, struct err *e)
{
    size_t at = ((uintptr_t)sql >> 3) % DB_STATEMENTS;

    if (s->moved) {
        db_fail_moved(s, e);
        return NULL;
    }
    while (s->statement[at].sql != NULL && s->statement[at].sql != sql)
        at = (at + 1) % DB_STATEMENTS;
    if (s->statement[at].sql == NULL) {
        if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->statement[at].stmt,
                               NULL) != SQLITE_OK) {
            db_fail(s, e);
            return NULL;
        }
        s->statement[at].sql = sql;
    }
    return s->statement[at].stmt;
}

static sqlite3_stmt *query(struct store *s, struct err *e, const char *sql, const char *types,
                           va_list ap)
{
    sqlite3_stmt *q = statement(s, sql, e);
    struct str view;

    if (q == NULL)
        return NULL;
    for (int i = 1; *types != '\0'; i++, types++)
        switch (*types) {
        case 'i':
            sqlite3_bind_int64(q, i, va_arg(ap, int64_t));
            break;
        case 't':
            sqlite3_bind_text(q, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
            break;
        default:
            view = va_arg(ap, struct str);
            if (*types == 's')
                sqlite3_bind_text64(q, i, view.p, view.n, SQLITE_STATIC, SQLITE_UTF8);
            else
                sqlite3_bind_blob64(q, i, view.n == 0 ? "" : view.p, view.n, SQLITE_STATIC);
        }
    return q;
}

sqlite3_stmt *db_query(struct store *s, struct err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(s, e, sql, types, ap);
    va_end(ap);
    return q;
}

void db_done(sqlite3_stmt *q)
{
    if (q != NULL)
        sqlite3_reset(q);
}

int db_row(struct store *s, sqlite3_stmt *q, struct err *e)
{
    switch (sqlite3_step(q)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        sqlite3_reset(q);
        return 0;
    default:
        db_fail(s, e); /* before the reset, which may forget the system's errno */
        sqlite3_reset(q);
        return -1;
    }
}

int db_run(struct store *s, struct err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(s, e, sql, types, ap);
    va_end(ap);
    int got;

    if (q == NULL)
        return -1;
    while ((got = db_row(s, q, e)) > 0)
        continue;
    return got < 0 ? -1 : sqlite3_changes(s->db);
}

int db_int(struct store *s, struct err *e, int64_t *out, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(s, e, sql, types, ap);
    va_end(ap);
    if (q == NULL)
        return -1;

    int got = db_row(s, q, e);
    if (got <= 0)
        return got;
    got = sqlite3_column_type(q, 0) != SQLITE_NULL;
    if (got)
        *out = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return got;
}

struct str db_text(sqlite3_stmt *q, int column)
{
    /* column_blob returns text unchanged, and NULL for what is empty or absent. */
    const void *p = sqlite3_column_blob(q, column);

    if (p == NULL)
        return (struct str){sqlite3_column_type(q, column) == SQLITE_NULL ? NULL : "", 0};
    return (struct str){p, (size_t)sqlite3_column_bytes(q, column)};
}

/* ------------------------------------------------------------------------------- transactions */

/*
 * SQLite's own busy handler sleeps up to 100 ms and can lose for seconds against a writer that
 * takes the lock again at once; short, jittered sleeps are fair (183 ms against 3 s with four
 * writers).
 *
 * A checkpoint gives up after 20 ms, because writers wait for it. If this handler gives up while
 * the checkpoint waits for the write lock, SQLite continues with a PASSIVE checkpoint; only the
 * interrupt prevents that.
 */
int db_busy(void *arg, int times)
{
    struct store *s = arg;
    int64_t now = clock_mono_ms();

    if (times == 0) {
        s->busy_until_ms = now + (s->checkpointing ? 20 : DB_BUSY_MS);
        if (!s->checkpointing)
            lock_wait(s, true);
    }
    if (now >= s->busy_until_ms || (s->stopping != NULL && s->stopping())) {
        if (s->checkpointing)
            sqlite3_interrupt(s->db);
        return 0;
    }
    struct timespec pause = {0, 500000 + (long)(clock_random() % 1500000)};
    nanosleep(&pause, NULL);
    return 1;
}

int db_note_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    ((struct store *)arg)->frames = frames;
    return SQLITE_OK;
}

int db_exec(struct store *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(s, e);
}

/* Only the busy handler's interrupt keeps SQLite from trying another mode. */
static int move_wal(struct store *s, int mode)
{
    s->checkpointing = true;
    int got = sqlite3_wal_checkpoint_v2(s->db, NULL, mode, NULL, NULL);
    s->checkpointing = false;
    return got;
}

bool db_move_wal(struct store *s)
{
    return move_wal(s, SQLITE_CHECKPOINT_RESTART) == SQLITE_OK;
}

int db_begin(struct store *s, enum db_sync sync, struct err *e)
{
    space_look(s);
    if (s->tight)
        db_move_wal(s);
    /* The level takes effect when the pragma is prepared, and has no effect in a transaction. */
    if (sync != s->sync) {
        if (db_exec(s, sync == DB_FULL ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL",
                    e))
            return -1;
        s->sync = sync;
    }
    s->locked = false;
    int got = db_run(s, e, "BEGIN IMMEDIATE", "");
    lock_wait(s, false);
    return got < 0 ? -1 : 0;
}

/* Checkpoint when our commit took the WAL across a multiple of 1,000 frames. If the condition were
   "at least 1,000 frames", every process would try at each commit while a reader is in the way (134
   instead of 686 commits a second). A busy checkpoint is not an error: some process tries again
   later. With readers coming and going all the time, there is always one that keeps writers from
   restarting the WAL, so it grows: from 4,000 frames on, the checkpoint also waits for all current
   readers. */
static void checkpoint(struct store *s, int wrote)
{
    int mode = s->frames < 4000 ? SQLITE_CHECKPOINT_FULL : SQLITE_CHECKPOINT_RESTART;

    if (s->frames < 0 || s->frames / 1000 == (s->frames - wrote) / 1000)
        return;
    move_wal(s, mode);
}

static int pages_written(struct store *s)
{
    int pages = 0, unused;
    sqlite3_db_status(s->db, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &unused, 1);
    return pages;
}

int db_commit(struct store *s, bool ring, struct err *e)
{
    pages_written(s); /* resets the count; few pages were spilled before this */
    s->frames = -1;
    if (db_run(s, e, "COMMIT", "") < 0) {
        db_rollback(s);
        return -1;
    }
    /* After the commit, and before reporting that it is on disk: SQLite does not check this. */
    if (s->sync == DB_FULL && db_moved(s))
        return db_fail_moved(s, e);
    s->lasting |= s->sync == DB_FULL;
    checkpoint(s, pages_written(s));
    if (ring)
        lock_ring(s); /* after the commit, or a woken reader would find nothing */
    return 0;
}

void db_rollback(struct store *s)
{
    struct err ignored = ERR_NONE;

    /* On a full disk SQLite has already rolled back. Without memory even ROLLBACK fails, until a
       failed attempt has released some. */
    for (int i = 0; i < 2 && !sqlite3_get_autocommit(s->db); i++)
        db_run(s, &ignored, "ROLLBACK", "");
}

/*
 * The user's database. We leave its journal mode, its settings and its other tables alone, and add
 * three precautions: a busy handler with jitter, since the built-in one loses against writers that
 * come straight back; synchronous=FULL, because the spool records our position and may then be
 * pruned; and no PASSIVE checkpoint, which together with a commit at the wrong moment loses pages
 * on SQLite before 3.51.3 (sqlite.org/wal.html#walresetbug), ours and those of other writers.
 */
#include "project/model.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BUSY_MS 30000
#define CHECKPOINT_MS 20
#define CHECKPOINT_FRAMES 1000
#define PATH_LENGTH 480     /* SQLite takes 512 bytes, with the names beside it */
#define STOP_MS 1000        /* how long a statement may run after a signal */
#define SPOOL_ID 1702262132 /* a spool's application_id, see share/schema.sql */

static int fail_busy(struct model *m, struct err *e)
{
    m->stopped = m->stopping != NULL && m->stopping();
    if (m->stopped)
        return err_set(e, EX_TEMPFAIL, "%s: stopped while waiting for its lock", m->path);
    return err_set(e, EX_TEMPFAIL,
                   "%s: kept locked by another process for %d s; is one stopped? see fuser %s",
                   m->path, BUSY_MS / 1000, m->path);
}

static int fail_io(struct model *m, const char *words, struct err *e)
{
    int number = sqlite3_system_errno(m->db);
    if (number == 0)
        return err_set(e, EX_IOERR, "%s: %s", m->path, words);
    return err_set(e, EX_IOERR, "%s: %s: %s", m->path, words, strerror(number));
}

/* The file, or its journal, -wal or -shm. When an open fails, SQLite tries again in other ways, and
   errno is that of the last try: an ENOENT then means nothing. */
static int fail_open(struct model *m, struct err *e)
{
    int number = sqlite3_system_errno(m->db);
    bool forbidden = number == EACCES || number == EPERM || number == EROFS;

    if (access(m->path, F_OK) != 0)
        return err_errno(e, 0, "%s", m->path);
    return err_set(e, forbidden ? EX_NOPERM : EX_IOERR,
                   "%s: cannot open it, or the files beside it%s%s", m->path,
                   number == 0 || number == ENOENT ? "" : ": ",
                   number == 0 || number == ENOENT ? "" : strerror(number));
}

int model_fail(struct model *m, struct err *e)
{
    int code = sqlite3_extended_errcode(m->db);
    const char *words = sqlite3_errmsg(m->db);

    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_LOCKED:
        return fail_busy(m, e);
    case SQLITE_FULL:
        return err_set(e, EX_IOERR, "%s: the disk is full", m->path);
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_SHMSIZE)
            return err_set(e, EX_IOERR, "%s: the disk is full", m->path);
        return fail_io(m, words, e);
    case SQLITE_CORRUPT:
        return err_set(e, EX_IOERR, "%s: damaged (%s)", m->path, words);
    case SQLITE_NOTADB:
        return err_set(e, EX_DATAERR, "%s: not a SQLite database", m->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(e, EX_NOPERM, "%s: cannot write to it: %s", m->path, words);
    case SQLITE_CANTOPEN:
        return fail_open(m, e);
    case SQLITE_NOMEM:
        return err_set(e, EX_OSERR, "%s: no memory", m->path);
    case SQLITE_INTERRUPT:
        return err_set(e, EX_TEMPFAIL, "%s: interrupted", m->path);
    default:
        return err_set(e, EX_DATAERR, "%s: %s", m->path, words);
    }
}

/* ----------------------------------------------------------------------------------------- open */

static int busy(void *model, int times)
{
    struct model *m = model;
    const struct timespec pause = {0, 500000 + (long)(clock_random() % 1500000)};

    if (times == 0)
        m->busy_until_ms = clock_mono_ms() + (m->checkpointing ? CHECKPOINT_MS : BUSY_MS);
    if (clock_mono_ms() < m->busy_until_ms && !(m->stopping != NULL && m->stopping())) {
        nanosleep(&pause, NULL);
        return 1;
    }
    if (m->checkpointing) /* else SQLite continues with a PASSIVE one */
        sqlite3_interrupt(m->db);
    return 0;
}

static int note_frames(void *model, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    ((struct model *)model)->frames = frames;
    return SQLITE_OK;
}

/* A signal stops the work after the current transaction, but one statement may take long. */
static int stop(void *model)
{
    struct model *m = model;

    if (m->stopping == NULL || !m->stopping())
        return 0;
    if (m->stop_ms == 0)
        m->stop_ms = clock_mono_ms() + STOP_MS;
    return clock_mono_ms() >= m->stop_ms;
}

char *model_path(const char *path)
{
    struct buf b = BUF_INIT;
    char *dir = *path == '/' ? NULL : getcwd(NULL, 0);

    if (dir != NULL)
        buf_printf(&b, "%s%s", dir, strcmp(dir, "/") == 0 ? "" : "/");
    free(dir);
    buf_puts(&b, path);
    char *all = mem_dup(b.p, b.n);
    buf_free(&b);
    return all;
}

/* SQLite tries again in other ways, and the errno of the last of them is rarely why. */
static int fail_create(const char *path, int number, struct err *e)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(e, EX_CANTCREAT, "%s: cannot create it", path);
    close(fd);
    unlink(path);
    if (strlen(path) > PATH_LENGTH)
        return err_set(
            e, EX_CANTCREAT,
            "%s: cannot create it: the path is longer than %d bytes, too long for SQLite", path,
            PATH_LENGTH);
    errno = number;
    return err_errno(e, EX_CANTCREAT, "%s: cannot create it", path);
}

int model_open(struct model *m, const char *path, enum model_mode mode, bool (*stopping)(void),
               struct err *e)
{
    int flags = SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE;
    bool there = access(path, F_OK) == 0;
    int64_t id = 0;

    *m = (struct model){.path = mem_dup(path, strlen(path)), .stopping = stopping};
    if (!there && mode == MODEL_READ)
        return err_errno(e, 0, "%s", path);
    m->created = !there;
    if (sqlite3_open_v2(m->path, &m->db, flags | (there ? 0 : SQLITE_OPEN_CREATE), NULL) !=
        SQLITE_OK) {
        if (m->db == NULL)
            return err_set(e, EX_OSERR, "%s: no memory", path);
        errno = sqlite3_system_errno(m->db);
        return there ? model_fail(m, e) : fail_create(path, errno, e);
    }
    sqlite3_extended_result_codes(m->db, 1);
    sqlite3_busy_handler(m->db, busy, m);
    sqlite3_progress_handler(m->db, 100000, stop, m);
    if (model_run(m, e, "PRAGMA synchronous=FULL", "") < 0 ||
        model_int(m, e, &id, "PRAGMA application_id", "") < 0)
        return -1;
    if (id == SPOOL_ID) /* with a table of ours it would no longer be a spool */
        return err_set(e, EX_DATAERR, "%s: is a spool: name another database", path);
    sqlite3_wal_hook(m->db, note_frames, m); /* instead of the automatic checkpoint */
    return 0;
}

void model_close(struct model *m)
{
    sqlite3_close(m->db);
    free(m->path);
    *m = (struct model){.db = NULL};
}

/* ----------------------------------------------------------------------------------- statements */

static sqlite3_stmt *query(struct model *m, struct err *e, const char *sql, const char *types,
                           va_list ap)
{
    sqlite3_stmt *q = NULL;
    struct str view;

    if (sqlite3_prepare_v2(m->db, sql, -1, &q, NULL) != SQLITE_OK) {
        model_fail(m, e);
        return NULL;
    }
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
            sqlite3_bind_text64(q, i, view.p, view.n, SQLITE_STATIC, SQLITE_UTF8);
        }
    return q;
}

sqlite3_stmt *model_query(struct model *m, struct err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    sqlite3_stmt *q = query(m, e, sql, types, ap);
    va_end(ap);
    return q;
}

int model_row(struct model *m, sqlite3_stmt *q, struct err *e)
{
    int got = sqlite3_step(q);

    return got == SQLITE_ROW ? 1 : got == SQLITE_DONE ? 0 : model_fail(m, e);
}

int model_run(struct model *m, struct err *e, const char *sql, const char *types, ...)
{
    va_list ap;
    int got;

    va_start(ap, types);
    sqlite3_stmt *q = query(m, e, sql, types, ap);
    va_end(ap);
    if (q == NULL)
        return -1;
    while ((got = model_row(m, q, e)) > 0)
        continue;
    sqlite3_finalize(q);
    return got < 0 ? -1 : sqlite3_changes(m->db);
}

/* 1: a value in the first row; 0: no row, or NULL; -1. */
static int first_value(struct model *m, sqlite3_stmt *q, struct err *e)
{
    int got = q == NULL ? -1 : model_row(m, q, e);

    return got > 0 && sqlite3_column_type(q, 0) == SQLITE_NULL ? 0 : got;
}

int model_int(struct model *m, struct err *e, int64_t *out, const char *sql, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    sqlite3_stmt *q = query(m, e, sql, types, ap);
    va_end(ap);
    int got = first_value(m, q, e);
    if (got > 0)
        *out = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return got;
}

struct str model_column(sqlite3_stmt *q, int column)
{
    const char *p = (const char *)sqlite3_column_text(q, column);
    return (struct str){p, p == NULL ? 0 : (size_t)sqlite3_column_bytes(q, column)};
}

int model_text(struct model *m, struct err *e, struct buf *out, const char *sql, const char *types,
               ...)
{
    va_list ap;

    va_start(ap, types);
    sqlite3_stmt *q = query(m, e, sql, types, ap);
    va_end(ap);
    int got = first_value(m, q, e);
    if (got > 0) {
        buf_str(out, model_column(q, 0));
        buf_text(out);
    }
    sqlite3_finalize(q);
    return got;
}

/* --------------------------------------------------------------------------------- transactions */

int model_begin(struct model *m, struct err *e)
{
    return model_run(m, e, "BEGIN IMMEDIATE", "") < 0 ? -1 : 0;
}

/* Every thousand frames. A busy database is no error: the next try is a thousand frames later. */
static void checkpoint(struct model *m)
{
    if (m->frames < m->tried_frames) /* the WAL has restarted */
        m->tried_frames = 0;
    if (m->frames < m->tried_frames + CHECKPOINT_FRAMES)
        return;
    m->tried_frames = m->frames;
    m->checkpointing = true;
    sqlite3_wal_checkpoint_v2(m->db, "main", SQLITE_CHECKPOINT_FULL, NULL, NULL);
    m->checkpointing = false;
}

int model_commit(struct model *m, struct err *e)
{
    m->frames = 0;
    if (model_run(m, e, "COMMIT", "") < 0) {
        model_rollback(m);
        return -1;
    }
    checkpoint(m);
    return 0;
}

void model_rollback(struct model *m)
{
    struct err ignored = ERR_NONE;

    /* A full disk, or a trigger with RAISE(ROLLBACK), has rolled back already. */
    if (m->db != NULL && !sqlite3_get_autocommit(m->db))
        model_run(m, &ignored, "ROLLBACK", "");
}

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
#include <unistd.h>

#define CHECKPOINT_FRAMES 1000
#define STOP_MS 1000        /* how long a statement may run after a signal */
#define SPOOL_ID 1702262132 /* a spool's application_id, see share/schema.sql */

static int fail_busy(struct model *m, struct err *e)
{
    m->stopped = m->stopping != NULL && m->stopping();
    return kit_fail_locked(m->path, m->stopped, e);
}

int model_fail(struct model *m, struct err *e)
{
    switch (sqlite3_errcode(m->db) & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_LOCKED:
        return fail_busy(m, e);
    case SQLITE_CANTOPEN: /* the file, or its journal, -wal or -shm */
        return access(m->path, F_OK) != 0
                   ? err_errno(e, 0, "%s", m->path)
                   : kit_fail_open(m->path, "files", sqlite3_system_errno(m->db), e);
    default:
        return kit_fail(m->db, m->path, e);
    }
}

/* ----------------------------------------------------------------------------------------- open */

static int busy(void *model, int times)
{
    struct model *m = model;

    if (kit_wait(&m->busy_until_ms, times, m->checkpointing ? KIT_CHECKPOINT_MS : KIT_BUSY_MS,
                 m->stopping != NULL && m->stopping()))
        return 1;
    if (m->checkpointing) /* else SQLite continues with a PASSIVE one */
        sqlite3_interrupt(m->db);
    return 0;
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
    if (strlen(path) > KIT_PATH_LENGTH)
        return err_set(
            e, EX_CANTCREAT,
            "%s: cannot create it: the path is longer than %d bytes, too long for SQLite", path,
            KIT_PATH_LENGTH);
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
    sqlite3_wal_hook(m->db, kit_note_frames, &m->frames);
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

    if (sqlite3_prepare_v2(m->db, sql, -1, &q, NULL) != SQLITE_OK) {
        model_fail(m, e);
        return NULL;
    }
    kit_bind_list(q, types, ap);
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

int model_text(struct model *m, struct err *e, struct buf *out, const char *sql, const char *types,
               ...)
{
    va_list ap;

    va_start(ap, types);
    sqlite3_stmt *q = query(m, e, sql, types, ap);
    va_end(ap);
    int got = first_value(m, q, e);
    if (got > 0) {
        buf_str(out, kit_text(q, 0));
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

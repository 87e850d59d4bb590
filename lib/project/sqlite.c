/*
 * A model in a SQLite file of the user's. We leave its journal mode, its settings and its other
 * tables alone, and add three precautions: a busy handler with jitter, since the built-in one loses
 * against writers that come straight back; synchronous=FULL, because the spool records our position
 * and may then be pruned; and no PASSIVE checkpoint, which together with a commit at the wrong
 * moment loses pages on SQLite before 3.51.3 (sqlite.org/wal.html#walresetbug), ours and those of
 * other writers.
 */
#include "project/sqlite.h"

#include "base/mem.h"
#include "cli/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKPOINT_FRAMES 1000
#define STOP_MS 1000        /* how long a statement may run after a signal */
#define SPOOL_ID 1702262132 /* a spool's application_id, see share/schema.sql */

static int fail_busy(struct model *m, struct err *e)
{
    m->stopped = m->stopping != NULL && m->stopping();
    return kit_fail_locked(m->name, m->stopped, e);
}

int sqlite_fail(struct model *m, struct err *e)
{
    switch (sqlite3_errcode(sqlite_of(m)) & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_LOCKED:
        return fail_busy(m, e);
    case SQLITE_CANTOPEN: /* the file, or its journal, -wal or -shm */
        return access(m->name, F_OK) != 0
                   ? err_errno(e, 0, "%s", m->name)
                   : kit_fail_open(m->name, "files", sqlite3_system_errno(sqlite_of(m)), e);
    default:
        return kit_fail(sqlite_of(m), m->name, e);
    }
}

/* ----------------------------------------------------------------------------------------- open */

static int busy(void *model, int times)
{
    const struct model *m = model;
    struct sqlite_model *own = m->own;

    if (kit_wait(&own->busy_until_ms, times, own->checkpointing ? KIT_CHECKPOINT_MS : KIT_BUSY_MS,
                 m->stopping != NULL && m->stopping()))
        return 1;
    if (own->checkpointing) /* else SQLite continues with a PASSIVE one */
        sqlite3_interrupt(own->db);
    return 0;
}

/* A signal stops the work after the current transaction, but one statement may take long. */
static int stop(void *model)
{
    const struct model *m = model;
    struct sqlite_model *own = m->own;

    if (m->stopping == NULL || !m->stopping())
        return 0;
    if (own->stop_ms == 0)
        own->stop_ms = clock_mono_ms() + STOP_MS;
    return clock_mono_ms() >= own->stop_ms;
}

static char *sqlite_name(const char *path)
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

/* The same file, perhaps under another path? No, when theirs is gone. */
static int sqlite_same(const char *ours, const char *theirs)
{
    struct stat its, own;

    if (stat(theirs, &its) != 0)
        return engine_is_address(theirs) ? 0 : 1;
    return stat(ours, &own) == 0 && its.st_dev == own.st_dev && its.st_ino == own.st_ino;
}

static int sqlite_open(struct model *m, enum model_mode mode, struct err *e)
{
    int flags = SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE;
    bool there = access(m->name, F_OK) == 0;
    struct sqlite_model *own = mem_zero(1, sizeof *own);
    int64_t id = 0;

    m->own = own;
    if (!there && mode != MODEL_CREATE)
        return err_errno(e, 0, "%s", m->name);
    m->created = !there;
    if (sqlite3_open_v2(m->name, &own->db, flags | (there ? 0 : SQLITE_OPEN_CREATE), NULL) !=
        SQLITE_OK) {
        if (own->db == NULL)
            return err_set(e, EX_OSERR, "%s: no memory", m->name);
        errno = sqlite3_system_errno(own->db);
        return there ? sqlite_fail(m, e) : fail_create(m->name, errno, e);
    }
    sqlite3_extended_result_codes(own->db, 1);
    sqlite3_busy_handler(own->db, busy, m);
    sqlite3_progress_handler(own->db, 100000, stop, m);
    if (model_run(m, e, "PRAGMA synchronous=FULL", "") < 0 ||
        model_int(m, e, &id, "PRAGMA application_id", "") < 0)
        return -1;
    if (id == SPOOL_ID) /* with a table of ours it would no longer be a spool */
        return err_set(e, EX_DATAERR, "%s: is a spool: name another database", m->name);
    sqlite3_wal_hook(own->db, kit_note_frames, &own->frames);
    return 0;
}

static void sqlite_close(struct model *m)
{
    if (m->own != NULL)
        sqlite3_close(sqlite_of(m));
    free(m->own);
    m->own = NULL;
}

/* ----------------------------------------------------------------------------------- statements */

/* Its rows are the statement itself. */
static struct model_rows *sqlite_query(struct model *m, struct err *e, const char *sql,
                                       const char *types, va_list ap)
{
    sqlite3_stmt *q = NULL;

    if (sqlite3_prepare_v2(sqlite_of(m), sql, -1, &q, NULL) != SQLITE_OK) {
        sqlite_fail(m, e);
        return NULL;
    }
    kit_bind_list(q, types, ap);
    return (struct model_rows *)q;
}

static int sqlite_row(struct model *m, struct model_rows *q, struct err *e)
{
    int got = sqlite3_step((sqlite3_stmt *)q);

    return got == SQLITE_ROW ? 1 : got == SQLITE_DONE ? 0 : sqlite_fail(m, e);
}

static struct str sqlite_text(struct model_rows *q, int column)
{
    return kit_text((sqlite3_stmt *)q, column);
}

static void sqlite_done(struct model_rows *q)
{
    sqlite3_finalize((sqlite3_stmt *)q);
}

/* --------------------------------------------------------------------------------- transactions */

static int sqlite_begin(struct model *m, struct err *e)
{
    return model_run(m, e, "BEGIN IMMEDIATE", "");
}

static void sqlite_rollback(struct model *m)
{
    struct err ignored = ERR_NONE;

    /* A full disk, or a trigger with RAISE(ROLLBACK), has rolled back already. */
    if (sqlite_of(m) != NULL && !sqlite3_get_autocommit(sqlite_of(m)))
        model_run(m, &ignored, "ROLLBACK", "");
}

/* Every thousand frames. A busy database is no error: the next try is a thousand frames later. */
static void checkpoint(struct sqlite_model *own)
{
    if (own->frames < own->tried_frames) /* the WAL has restarted */
        own->tried_frames = 0;
    if (own->frames < own->tried_frames + CHECKPOINT_FRAMES)
        return;
    own->tried_frames = own->frames;
    own->checkpointing = true;
    sqlite3_wal_checkpoint_v2(own->db, "main", SQLITE_CHECKPOINT_FULL, NULL, NULL);
    own->checkpointing = false;
}

static int sqlite_commit(struct model *m, struct err *e)
{
    struct sqlite_model *own = m->own;

    own->frames = 0;
    if (model_run(m, e, "COMMIT", "") < 0) {
        sqlite_rollback(m);
        return -1;
    }
    checkpoint(own);
    return 0;
}

/* ----------------------------------------------------------------------------------- our tables */

static int sqlite_is_there(struct model *m, struct err *e)
{
    int64_t tables = 0;
    int got = model_int(
        m, e, &tables, "SELECT count(*) FROM sqlite_schema WHERE name='eventutils_projection'", "");

    return got < 0 ? -1 : tables > 0;
}

static int sqlite_collides(struct model *m, const char *name, const char *objects, struct err *e)
{
    return model_collides(
        m, name, objects,
        "SELECT s.name FROM json_each($1) o JOIN sqlite_schema s ON s.name=o.value COLLATE NOCASE "
        "WHERE NOT EXISTS(SELECT 1 FROM eventutils_projection p,json_each(p.objects) j WHERE "
        "p.name=$2 AND j.value=o.value COLLATE NOCASE)",
        "SELECT p.name FROM eventutils_projection p,json_each(p.objects) j WHERE j.value=$1 "
        "COLLATE NOCASE",
        e);
}

const struct model_engine model_sqlite = {
    .batch_events = 5000,
    .batch_ms = 250, /* other writers usually wait up to five seconds */
    .lock_rows = "",
    .init_words = sqlite_init_words,
    .name = sqlite_name,
    .same = sqlite_same,
    .check = sqlite_check,
    .open = sqlite_open,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .query = sqlite_query,
    .row = sqlite_row,
    .text = sqlite_text,
    .done = sqlite_done,
    .is_there = sqlite_is_there,
    .collides = sqlite_collides,
    .compile = sqlite_compile,
    .run_once = sqlite_run_once,
    .run = sqlite_run,
    .forget = sqlite_forget,
    .open_draft = sqlite_open_draft,
    .swap = sqlite_swap,
    .hold = sqlite_hold,
    .compare = sqlite_compare,
    .remove_draft = sqlite_remove_draft,
};

/* What all of our users of SQLite share: values in and out, hooks, errors in words. */
#include "sqlitekit/kit.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* ------------------------------------------------------------------------------------- values */

void kit_bind_list(sqlite3_stmt *q, const char *types, va_list ap)
{
    int64_t number = 0;
    struct str text = {NULL, 0};

    for (int i = 1; *types != '\0'; i++, types++) {
        if (*types == 't') {
            sqlite3_bind_text(q, i, va_arg(ap, const char *), -1, SQLITE_STATIC);
            continue;
        }
        if (*types == 'i' || *types == 'o')
            number = va_arg(ap, int64_t);
        else
            text = va_arg(ap, struct str);
        kit_bind_value(q, i, *types, number, text);
    }
}

void kit_bind(sqlite3_stmt *q, const char *types, ...)
{
    va_list ap;

    va_start(ap, types);
    kit_bind_list(q, types, ap);
    va_end(ap);
}

/* A database may keep its texts as UTF-16: only column_text converts them, and it would convert a
   blob, too. column_blob returns NULL for an empty one. */
struct str kit_text(sqlite3_stmt *q, int column)
{
    int type = sqlite3_column_type(q, column);
    const void *p = type == SQLITE_BLOB ? sqlite3_column_blob(q, column)
                                        : (const void *)sqlite3_column_text(q, column);

    if (p == NULL)
        return (struct str){type == SQLITE_NULL ? NULL : "", 0};
    return (struct str){p, (size_t)sqlite3_column_bytes(q, column)};
}

/* -------------------------------------------------------------------------------------- hooks */

/* SQLite's own busy handler sleeps up to 100 ms and can lose for seconds against a writer that
   takes the lock again at once; short, jittered sleeps are fair (183 ms against 3 s with four
   writers). */
int kit_wait(int64_t *until_ms, int times, int64_t limit_ms, bool stop)
{
    int64_t now = clock_mono_ms();

    if (times == 0)
        *until_ms = now + limit_ms;
    if (now >= *until_ms || stop)
        return 0;
    struct timespec pause = {0, 500000 + (long)(clock_random() % 1500000)};
    nanosleep(&pause, NULL);
    return 1;
}

int kit_note_frames(void *count, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    *(int *)count = frames;
    return SQLITE_OK;
}

/* ------------------------------------------------------------------------------------- errors */

int kit_fail_locked(const char *path, bool stopped, struct err *e)
{
    if (stopped)
        return err_set(e, EX_TEMPFAIL, "%s: stopped while waiting for its lock", path);
    return err_set(e, EX_TEMPFAIL,
                   "%s: kept locked by another process for %d s; is one stopped? see fuser %s",
                   path, KIT_BUSY_MS / 1000, path);
}

/* When an open fails, SQLite tries again in other ways; number is the errno of the last try, where
   "not found" means nothing: the file exists. */
int kit_fail_open(const char *path, const char *beside, int number, struct err *e)
{
    bool forbidden = number == EACCES || number == EPERM || number == EROFS;
    bool known = number != 0 && number != ENOENT;

    return err_set(e, forbidden ? EX_NOPERM : EX_IOERR,
                   "%s: cannot open it, or the %s beside it%s%s", path, beside, known ? ": " : "",
                   known ? strerror(number) : "");
}

int kit_fail(sqlite3 *db, const char *path, struct err *e)
{
    int code = sqlite3_extended_errcode(db), number = sqlite3_system_errno(db);
    const char *words = sqlite3_errmsg(db);

    if (code == SQLITE_FULL || code == SQLITE_IOERR_SHMSIZE)
        return err_set(e, EX_IOERR, "%s: the disk is full", path);
    switch (code & 0xff) {
    case SQLITE_INTERRUPT:
        return err_set(e, EX_TEMPFAIL, "%s: interrupted", path);
    case SQLITE_IOERR:
        return err_set(e, EX_IOERR, "%s: %s%s%s", path, words, number == 0 ? "" : ": ",
                       number == 0 ? "" : strerror(number));
    case SQLITE_CORRUPT:
        return err_set(e, EX_IOERR, "%s: damaged (%s)", path, words);
    case SQLITE_NOTADB:
        return err_set(e, EX_DATAERR, "%s: not a SQLite database", path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(e, EX_NOPERM, "%s: cannot write to it: %s", path, words);
    case SQLITE_NOMEM:
        return err_set(e, EX_OSERR, "%s: no memory", path);
    default:
        return err_set(e, EX_DATAERR, "%s: %s", path, words);
    }
}

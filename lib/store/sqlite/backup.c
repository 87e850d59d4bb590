/*
 * A copy of the spool.
 *
 * It uses VACUUM INTO instead of SQLite's backup functions. Both read one state in one transaction
 * that keeps nobody from writing; but the backup functions copy pages unchanged, even free ones,
 * while VACUUM INTO writes each row afresh: the copy is as small as possible, and copying a damaged
 * spool fails.
 */
#include "store/sql/sql.h"
#include "store/sqlite/sqlite.h"

#include "base/mem.h"
#include "store/upkeep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_free(const char *file, struct err *e)
{
    static const char *const suffix[] = {"", "-wal", "-journal"};
    struct buf name = BUF_INIT;
    struct stat st;
    int got = 0;

    for (size_t i = 0; i < sizeof suffix / sizeof suffix[0] && got == 0; i++) {
        buf_reset(&name);
        buf_printf(&name, "%s%s", file, suffix[i]);
        if (lstat(buf_text(&name), &st) == 0)
            got = err_set(e, EX_CANTCREAT, "%s: is there already", err_quote(name.p, name.n).text);
    }
    buf_free(&name);
    return got;
}

/* SQLite would only report that it cannot open it. */
static int check_length(const char *path, const char *file, struct err *e)
{
    char *dir = *path == '/' ? NULL : getcwd(NULL, 0);
    size_t n = (dir == NULL ? 0 : strlen(dir)) + strlen(path);

    free(dir);
    if (n <= KIT_PATH_LENGTH)
        return 0;
    return err_set(e, EX_CANTCREAT,
                   "%s: cannot create it: the path is longer than %d bytes, too long for SQLite",
                   err_quote_text(file).text, KIT_PATH_LENGTH);
}

/* VACUUM INTO accepts an existing file if it is empty. */
static int make_empty(const char *draft, const char *file, struct err *e)
{
    int fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(e, EX_CANTCREAT, "%s: cannot create it", err_quote_text(file).text);
    fchmod(fd, 0600); /* whatever the umask took away */
    close(fd);
    return 0;
}

static int copy(struct store *s, const char *draft, struct err *e)
{
    /* VACUUM INTO attaches the new file to this connection, which may otherwise attach none. */
    sqlite3_limit(s->db->sqlite, SQLITE_LIMIT_ATTACHED, 1);
    int got = db_run(s->db, e, SQL("backup_copy", "VACUUM INTO ?"), "t", draft);
    sqlite3_limit(s->db->sqlite, SQLITE_LIMIT_ATTACHED, 0);
    return got < 0 ? -1 : 0;
}

/* The copy is not in WAL mode yet; otherwise its first reader would have to change that. */
static int set_wal(const char *draft, struct err *e)
{
    sqlite3 *db = NULL;
    int got = 0;

    if (sqlite3_open_v2(draft, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
            SQLITE_OK ||
        sqlite3_exec(db, "PRAGMA synchronous=FULL; PRAGMA journal_mode=WAL", NULL, NULL, NULL) !=
            SQLITE_OK)
        got = err_set(e, EX_IOERR, "cannot finish the copy: %s",
                      db == NULL ? "no memory" : sqlite3_errmsg(db));
    if (sqlite3_close(db) != SQLITE_OK && got == 0)
        got = err_set(e, EX_IOERR, "cannot finish the copy");
    return got;
}

/* SQLite does not promise to have flushed the copy. It has no connection to the draft any more, so
   closing this descriptor drops no locks of SQLite's. */
static int flush(const char *draft, int64_t *size, struct err *e)
{
    int fd = open(draft, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    int failed = fd < 0 || fsync(fd) != 0 || fstat(fd, &st) != 0;

    if (failed)
        err_errno(e, EX_IOERR, "cannot flush the copy");
    else
        *size = st.st_size;
    if (fd >= 0)
        close(fd);
    return failed ? -1 : 0;
}

static int put_in_place(const char *draft, const char *path, const char *file, struct err *e)
{
    if (renameat2(AT_FDCWD, draft, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return file_sync_directory(path, e);
    if (errno == EEXIST)
        return err_set(e, EX_CANTCREAT, "%s: is there already", err_quote_text(file).text);
    return err_errno(e, EX_CANTCREAT, "%s: cannot create it", err_quote_text(file).text);
}

int store_backup(struct store *s, const char *file, int64_t *size, struct err *e)
{
    struct buf path = BUF_INIT, name = BUF_INIT;
    int got;

    buf_printf(&path, "%s%s", strchr(file, '/') == NULL ? "./" : "", file);
    buf_printf(&name, "%s.new-%ld", buf_text(&path), (long)getpid());
    const char *draft = buf_text(&name);
    got = check_free(file, e) < 0 || check_length(buf_text(&path), file, e) < 0 ? -1 : 0;
    if (got == 0) {
        file_remove_draft(draft); /* left by an earlier process with our pid */
        got = make_empty(draft, file, e);
        if (got == 0 &&
            (copy(s, draft, e) < 0 || set_wal(draft, e) < 0 || flush(draft, size, e) < 0))
            got = err_at(e, "%s: ", err_quote_text(file).text);
        if (got == 0)
            got = put_in_place(draft, buf_text(&path), file, e);
        file_remove_draft(draft);
    }
    buf_free(&name);
    buf_free(&path);
    return got;
}

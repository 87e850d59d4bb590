/*
 * The application's SQLite database: opening it, taking turns with other relays, and waiting for
 * its commits. It keeps the journal mode that it has, and is locked for no longer than one short
 * update.
 *
 * Relays take turns by a lock on DATABASE-relay, an empty file beside it: only SQLite may open the
 * database itself, since closing any descriptor on it drops SQLite's locks. The lock is one byte, a
 * different one for each table, and is released when its process ends.
 */
#include "outbox/sqlite.h"

#include "base/mem.h"
#include "process/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define PATIENCE_MS                                                                                \
    1000 /* in case inotify reports nothing, as for a file on a network file system */
#define AGAIN_MAX_MS 250 /* for a commit that was announced but is not visible yet */

/* --------------------------------------------------------------------------------------- errors */

int sqlite_fail(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    int code = sqlite3_extended_errcode(q->db);
    const char *words = sqlite3_errmsg(q->db);

    if (code == SQLITE_READONLY_DBMOVED)
        return err_set(e, EX_IOERR, "%s: was moved or replaced while in use", r->place);
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        if (proc_stopping())
            return err_set(e, EX_TEMPFAIL, "%s: stopped while another process had it locked",
                           r->place);
        return err_set(e, EX_TEMPFAIL,
                       "%s: kept locked by another process for %.1f s; try again later", r->place,
                       (double)q->wait_ms / 1000);
    case SQLITE_FULL:
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_NOMEM:
        return kit_fail(q->db, r->place, e);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return err_set(e, EX_NOPERM,
                       "%s: cannot be written, and relayed rows have to be marked: %s", r->place,
                       words);
    case SQLITE_CANTOPEN:
        return kit_fail_open(r->place, "files", sqlite3_system_errno(q->db), e);
    case SQLITE_IOERR:
        return err_set(e, EX_IOERR, "%s: %s: %s", r->place, words,
                       strerror(sqlite3_system_errno(q->db)));
    case SQLITE_INTERRUPT:
        return err_set(e, EX_TEMPFAIL, "%s: stopped while it was being read", r->place);
    default: /* a constraint or a trigger of the application, or a type that does not fit */
        return err_set(e, EX_DATAERR, "%s: the database reports: %s", r->place, words);
    }
}

/* Rows that are not relayed yet can wait for the next run; relayed rows have to be marked. */
static int on_busy(void *arg, int times)
{
    struct relay *r = arg;
    struct sqlite *q = r->db;

    return kit_wait(&q->busy_until_ms, times, q->wait_ms, relay_must_end(r));
}

/* Reading a table without the index may take long. */
static int on_progress(void *arg)
{
    return relay_must_end(arg);
}

/* ----------------------------------------------------------------------------------- statements */

int sqlite_run(struct relay *r, const char *sql, struct err *e)
{
    struct sqlite *q = r->db;
    return sqlite3_exec(q->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sqlite_fail(r, e);
}

int sqlite_prepare(struct relay *r, const char *text, sqlite3_stmt **out, struct err *e)
{
    struct sqlite *q = r->db;
    struct buf sql = BUF_INIT;

    relay_sql(r, text, &sql);
    int got = sqlite3_prepare_v2(q->db, buf_text(&sql), -1, out, NULL);
    buf_free(&sql);
    return got == SQLITE_OK ? 0 : sqlite_fail(r, e);
}

int sqlite_step(struct relay *r, sqlite3_stmt *s, struct err *e)
{
    int step = sqlite3_step(s);
    return step == SQLITE_ROW ? 1 : step == SQLITE_DONE ? 0 : sqlite_fail(r, e);
}

int sqlite_statement(struct relay *r, enum relay_statement which, sqlite3_stmt **out, struct err *e)
{
    struct sqlite *q = r->db;
    int got = q->statement[which] != NULL
                  ? 0
                  : sqlite_prepare(r, relay_template[which], &q->statement[which], e);

    *out = q->statement[which];
    return got;
}

/* Read one row: a text of it, or else a number, which is 0 without a row. */
static int read_one(struct relay *r, const char *sql, struct buf *text, int64_t *number,
                    struct err *e)
{
    sqlite3_stmt *s = NULL;
    int got = sqlite_prepare(r, sql, &s, e);

    if (got == 0)
        got = sqlite_step(r, s, e);
    if (got > 0 && text != NULL)
        buf_puts(text, (const char *)sqlite3_column_text(s, 0));
    if (got >= 0 && number != NULL)
        *number = got > 0 ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return got < 0 ? -1 : 0;
}

int sqlite_version(struct relay *r, int64_t *out, struct err *e)
{
    return read_one(r, "PRAGMA data_version", NULL, out, e);
}

/* ----------------------------------------------------------------------------------------- open */

static int list_columns(struct relay *r, struct buf *names, struct err *e)
{
    sqlite3_stmt *s = NULL;
    int got = sqlite_prepare(r, "SELECT name FROM pragma_table_info(?1)", &s, e);

    kit_bind(s, "t", r->table.name);
    while (got >= 0 && (got = sqlite_step(r, s, e)) > 0) {
        buf_puts(names, (const char *)sqlite3_column_text(s, 0));
        buf_char(names, '\0');
    }
    sqlite3_finalize(s);
    return got;
}

static int look_up_columns(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct buf names = BUF_INIT;
    int got = list_columns(r, &names, e);

    /* The hidden rowid, which every ordinary table has. */
    if (names.n > 0 &&
        sqlite3_table_column_metadata(q->db, "main", r->table.name, "rowid", NULL, NULL, NULL, NULL,
                                      NULL) == SQLITE_OK &&
        sqlite3_stricmp(r->table.column[RELAY_ID], "rowid") == 0) {
        buf_puts(&names, "rowid");
        buf_char(&names, '\0');
    }
    if (got == 0)
        got = relay_check(r, &names, e);
    buf_free(&names);
    return got;
}

static void watch_folder(struct sqlite *q)
{
    char *copy = mem_dup(q->path, strlen(q->path));

    q->bell = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (q->bell >= 0)
        inotify_add_watch(q->bell, dirname(copy), IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVE);
    free(copy);
}

/* Settings that shorten our own commits and change nothing for others: marks need no flush of their
   own in WAL mode (a mark lost in a power cut is made again), checkpoints are left to the
   application, and what undoes a statement is kept in memory instead of in a file for each page. */
static int settle_manners(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct buf mode = BUF_INIT;
    int got = read_one(r, "PRAGMA journal_mode", &mode, NULL, e);

    if (got == 0 && strcmp(buf_text(&mode), "wal") == 0)
        got = sqlite_run(r, "PRAGMA synchronous=NORMAL", e);
    if (got == 0)
        got = sqlite_run(r, "PRAGMA temp_store=MEMORY", e);
    sqlite3_wal_autocheckpoint(q->db, 0);
    buf_free(&mode);
    return got;
}

static int open_file(struct relay *r, enum relay_mode mode, struct err *e)
{
    struct sqlite *q = r->db;
    int flags = (mode == RELAY_MOVE ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
                SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_NOMUTEX;

    if (stat(r->place, &q->file) != 0)
        return err_errno(e, 0, "%s", r->place);
    if (!S_ISREG(q->file.st_mode))
        return err_set(e, EX_DATAERR, "%s: not a SQLite database", r->place);
    q->path = realpath(r->place, NULL);
    if (q->path == NULL)
        return err_errno(e, 0, "%s", r->place);
    if (sqlite3_open_v2(q->path, &q->db, flags, NULL) != SQLITE_OK)
        return sqlite_fail(r, e);
    sqlite3_busy_handler(q->db, on_busy, r);
    sqlite3_progress_handler(q->db, 100000, on_progress, r);
    if (settle_manners(r, e) < 0 || look_up_columns(r, e) < 0)
        return -1;
    if (mode == RELAY_MOVE && sqlite3_db_readonly(q->db, "main") == 1)
        return err_set(e, EX_NOPERM,
                       "%s: is read-only, and relayed rows have to be marked; --dry-run and "
                       "--status only read",
                       r->place);
    return 0;
}

int sqlite_no_number(struct relay *r, struct err *e)
{
    return err_set(
        e, EX_DATAERR,
        "%s: column %s of table %s is not an integer: rows need a number for their order "
        "(--map id=rowid,event_id=…)",
        r->place, err_quote_text(r->table.column[RELAY_ID]).text,
        err_quote_text(r->table.name).text);
}

/* Text sorts after any number, so this finds text, too. */
int sqlite_last(struct relay *r, int64_t *id, struct err *e)
{
    sqlite3_stmt *s;
    int got = sqlite_statement(r, RELAY_SQL_LAST, &s, e);

    if (got == 0 && (got = sqlite_step(r, s, e)) > 0) {
        int type = sqlite3_column_type(s, 0);
        *id = sqlite3_column_int64(s, 0);
        got = type == SQLITE_INTEGER || type == SQLITE_NULL ? 0 : sqlite_no_number(r, e);
    }
    sqlite3_reset(s);
    return got;
}

/* Everything that marks rows is prepared before any row is relayed: the database may refuse it. */
static int prepare_all(struct relay *r, struct err *e)
{
    sqlite3_stmt *s;

    for (int i = 0; i < RELAY_STATEMENTS; i++)
        if (i != (r->terms->remove ? RELAY_SQL_DONE : RELAY_SQL_DELETE) &&
            sqlite_statement(r, i, &s, e) < 0)
            return -1;
    return 0;
}

int sqlite_open(struct relay *r, enum relay_mode mode, struct err *e)
{
    struct sqlite *q = mem_zero(1, sizeof *q);
    struct buf lock = BUF_INIT;
    const char *slash;
    int64_t last;

    r->db = q;
    r->place = mem_dup(r->terms->database, strlen(r->terms->database));
    q->wait_ms = r->terms->wait_ms;
    q->lock_fd = q->bell = -1;
    if (open_file(r, mode, e) < 0 || sqlite_last(r, &last, e) < 0)
        return -1;
    if (mode == RELAY_LOOK)
        return 0;
    slash = strrchr(q->path, '/');
    q->name = mem_dup(slash + 1, strlen(slash + 1));
    buf_printf(&lock, "%s-relay", q->path);
    q->lock_path = mem_dup(buf_text(&lock), lock.n);
    buf_free(&lock);
    if (r->terms->follow)
        watch_folder(q);
    return prepare_all(r, e);
}

void sqlite_close(struct relay *r)
{
    struct sqlite *q = r->db;

    if (q == NULL)
        return;
    for (int i = 0; i < RELAY_STATEMENTS; i++)
        sqlite3_finalize(q->statement[i]);
    sqlite3_close(q->db);
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    if (q->bell >= 0)
        close(q->bell);
    buf_free(&q->text);
    free(q->path);
    free(q->lock_path);
    free(q->name);
    free(q);
    r->db = NULL;
}

/* ---------------------------------------------------------------------------------------- turns */

static int set_lock(struct relay *r, short type)
{
    struct sqlite *q = r->db;
    struct flock lock = {.l_type = type,
                         .l_whence = SEEK_SET,
                         .l_start =
                             (off_t)(relay_hash(str_of(r->table.name)) >> 2), /* below 2^62 */
                         .l_len = 1};

    return fcntl(q->lock_fd, F_OFD_SETLK, &lock);
}

/* Is it still the file at this path? If it was removed, others lock another file. */
static bool lock_is_there(const struct sqlite *q)
{
    struct stat here, there;

    return fstat(q->lock_fd, &here) == 0 && stat(q->lock_path, &there) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

static int open_lock(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    bool ours;

    if (q->lock_fd >= 0 && lock_is_there(q))
        return 0;
    if (q->lock_fd >= 0)
        close(q->lock_fd);
    q->lock_fd = open(q->lock_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (q->lock_fd >= 0)
        return 0;
    /* Give it the database's permissions, so that relays of other users take turns with us. */
    q->lock_fd = open(q->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (q->lock_fd < 0)
        return err_errno(e, errno == EACCES ? EX_NOPERM : EX_CANTCREAT, "%s", q->lock_path);
    ours = fchmod(q->lock_fd, q->file.st_mode & 0666) == 0;
    if (ours && geteuid() == 0 && fchown(q->lock_fd, q->file.st_uid, q->file.st_gid) != 0)
        return err_errno(e, EX_CANTCREAT, "%s", q->lock_path);
    return 0;
}

/* SQLite keeps using the file that it has open, wherever that was moved: marks made there would not
   reach the application's database. */
static int check_not_moved(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct stat now;

    if (stat(q->path, &now) != 0 && errno == ENOENT)
        return err_set(e, EX_IOERR, "%s: is gone: it was moved or removed while in use", r->place);
    if (now.st_dev != q->file.st_dev || now.st_ino != q->file.st_ino)
        return err_set(e, EX_IOERR, "%s: was replaced while in use", r->place);
    return 0;
}

int sqlite_begin(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;

    if (check_not_moved(r, e) < 0 || open_lock(r, e) < 0)
        return -1;
    if (set_lock(r, F_WRLCK) != 0)
        return errno == EAGAIN || errno == EACCES
                   ? 0
                   : err_errno(e, EX_IOERR, "%s: cannot lock it", q->lock_path);
    q->locked = lock_is_there(q);
    return q->locked;
}

void sqlite_end(struct relay *r)
{
    struct sqlite *q = r->db;

    if (q->locked)
        set_lock(r, F_UNLCK);
    q->locked = false;
}

/* ------------------------------------------------------------------------------------------
   news */

int sqlite_fd(struct relay *r)
{
    return ((struct sqlite *)r->db)->bell;
}

int64_t sqlite_patience_ms(struct relay *r)
{
    const struct sqlite *q = r->db;
    return q->again_ms > 0 ? q->again_ms : PATIENCE_MS;
}

/* Has the database, its -wal or its -journal been written? */
static bool bell_rung(struct sqlite *q)
{
    _Alignas(struct inotify_event) char block[4096];
    size_t name = strlen(q->name);
    bool ours = false;
    ssize_t n;

    while (q->bell >= 0 && (n = read(q->bell, block, sizeof block)) > 0)
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(block + at);
            ours |= event->len == 0 || strncmp(event->name, q->name, name) == 0;
            at += (ssize_t)(sizeof *event + event->len);
        }
    return ours;
}

/* The version changes only with commits of others, so our own marks do not wake us. It changes
   after the file was written, when the flush is over, which causes no inotify event: so check it
   again after 1, 2, 4 … ms. */
int sqlite_news(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    int64_t before = q->version;

    q->again_ms = bell_rung(q) ? 1 : q->again_ms < AGAIN_MAX_MS ? 2 * q->again_ms : 0;
    if (check_not_moved(r, e) < 0)
        return -1;
    if (sqlite_version(r, &q->version, e) < 0) {
        if (e->status != EX_TEMPFAIL)
            return -1;
        err_clear(e); /* locked: the next pass will report that */
        return 1;
    }
    if (q->version != before)
        q->again_ms = 0;
    return q->version != before;
}

/*
 * The outbox in a SQLite database that belongs to the application: opened with the journal mode
 * that it has, and locked for no longer than one short update.
 *
 * Relays take turns by a lock on DATABASE-relay, an empty file beside it: only SQLite may open the
 * database itself, since closing any descriptor on it drops SQLite's locks. The lock is one byte, a
 * different one for each table, and is released when its process ends.
 */
#include "base/mem.h"
#include "outbox/engine.h"
#include "process/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS                                                                                \
    1000 /* in case inotify reports nothing, as for a file on a network file system */
#define AGAIN_MAX_MS 250 /* for a commit that was announced but is not visible yet */
#define PRUNE_LOOK 2000  /* rows examined per transaction of pruning */

/* The columns that read selects, in this order; the others are only compared or set. */
enum { SELECTED = RELAY_ERROR + 1 };

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *read, *done, *retry, *failed;
    sqlite3_stmt *left; /* is a row still there, unmarked, and as it was read? */
    sqlite3_value *payload[RELAY_PAGE], *created[RELAY_PAGE]; /* as they were read, to compare */
    struct buf text;
    char *path, *lock_path, *name; /* name: the file's name in its folder */
    int lock_fd, bell;
    bool locked;
    struct stat file;
    int64_t busy_until_ms, wait_ms, version, again_ms;
};

/* --------------------------------------------------------------------------------------- errors */

/* SQLite tries to open in other ways when an open fails; the errno is that of the last try, and
   "not found" means nothing: the database exists. */
static int fail_open(struct relay *r, int number, struct err *e)
{
    bool forbidden = number == EACCES || number == EPERM || number == EROFS;

    return err_set(e, forbidden ? EX_NOPERM : EX_IOERR,
                   "%s: cannot open it, or the files beside it%s%s", r->place,
                   number == ENOENT ? "" : ": ", number == ENOENT ? "" : strerror(number));
}

static int fail(struct relay *r, struct err *e)
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
        return err_set(e, EX_IOERR, "%s: the disk is full", r->place);
    case SQLITE_NOTADB:
        return err_set(e, EX_DATAERR, "%s: not a SQLite database", r->place);
    case SQLITE_CORRUPT:
        return err_set(e, EX_IOERR, "%s: damaged (%s)", r->place, words);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return err_set(e, EX_NOPERM,
                       "%s: cannot be written, and relayed rows have to be marked: %s", r->place,
                       words);
    case SQLITE_CANTOPEN:
        return fail_open(r, sqlite3_system_errno(q->db), e);
    case SQLITE_IOERR:
        return err_set(e, EX_IOERR, "%s: %s: %s", r->place, words,
                       strerror(sqlite3_system_errno(q->db)));
    case SQLITE_NOMEM:
        return err_set(e, EX_OSERR, "%s: no memory", r->place);
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
    int64_t now = clock_mono_ms();

    if (times == 0)
        q->busy_until_ms = now + q->wait_ms;
    if (now >= q->busy_until_ms || relay_must_end(r))
        return 0;
    struct timespec pause = {0, 500000 + (long)(clock_random() % 1500000)};
    nanosleep(&pause, NULL);
    return 1;
}

/* Reading a table without the index may take long. */
static int on_progress(void *arg)
{
    return relay_must_end(arg);
}

static int run(struct relay *r, const char *sql, struct err *e)
{
    struct sqlite *q = r->db;
    return sqlite3_exec(q->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(r, e);
}

static int prepare(struct relay *r, struct buf *sql, sqlite3_stmt **out, struct err *e)
{
    struct sqlite *q = r->db;
    int got = sqlite3_prepare_v2(q->db, buf_text(sql), -1, out, NULL);

    buf_reset(sql);
    return got == SQLITE_OK ? 0 : fail(r, e);
}

/* Read one number; 0 without a row. */
static int number(struct relay *r, const char *sql, int64_t *out, struct err *e)
{
    struct buf text = BUF_INIT;
    sqlite3_stmt *s = NULL;
    int got = -1;

    buf_puts(&text, sql);
    if (prepare(r, &text, &s, e) == 0) {
        int step = sqlite3_step(s);
        got = step == SQLITE_ROW || step == SQLITE_DONE ? 0 : fail(r, e);
        *out = step == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    }
    sqlite3_finalize(s);
    buf_free(&text);
    return got;
}

/* ------------------------------------------------------------------------------- the statements */

/* In a table without a flag column, relayed rows are deleted. */
static void where_unpublished(struct buf *b, const struct relay *r)
{
    bool flag = relay_has(r, RELAY_PUBLISHED);

    buf_puts(b, " WHERE ");
    if (!flag && !relay_has(r, RELAY_PUBLISHED_AT)) {
        buf_char(b, '1');
        return;
    }
    relay_sql_column(b, r, flag ? RELAY_PUBLISHED : RELAY_PUBLISHED_AT);
    buf_puts(b, flag ? " = 0" : " IS NULL");
}

static void from_unpublished(struct buf *b, const struct relay *r)
{
    buf_puts(b, " FROM ");
    relay_sql_quote(b, r->table.name);
    where_unpublished(b, r);
}

static int prepare_read(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct buf sql = BUF_INIT;

    buf_puts(&sql, "SELECT ");
    for (int i = 0; i < SELECTED; i++) {
        buf_puts(&sql, i == 0 ? "" : ", ");
        relay_sql_column(&sql, r, i);
    }
    from_unpublished(&sql, r);
    buf_puts(&sql, " AND ");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_puts(&sql, " > ?1 AND ");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_puts(&sql, " <= ?2 ORDER BY ");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_printf(&sql, " LIMIT %d", RELAY_PAGE);
    int got = prepare(r, &sql, &q->read, e);
    buf_free(&sql);
    return got;
}

/* ?1 is the id, ?2 and ?3 the payload and the time as they were read: a row that was removed or
   changed in the meantime, or whose id was reused for a new row, must not be marked in place of the
   old row. */
static void as_read(struct buf *b, const struct relay *r)
{
    relay_sql_column(b, r, RELAY_PAYLOAD);
    buf_puts(b, " IS ?2 AND ");
    relay_sql_column(b, r, RELAY_CREATED);
    buf_puts(b, " IS ?3");
}

static void where_row(struct buf *b, const struct relay *r)
{
    where_unpublished(b, r);
    buf_puts(b, " AND ");
    relay_sql_column(b, r, RELAY_ID);
    buf_puts(b, " = ?1");
}

/* NULL when the table has no column to set. */
static int prepare_mark(struct relay *r, const enum relay_column *columns,
                        const char *const *values, size_t n, sqlite3_stmt **out, struct err *e)
{
    struct buf sql = BUF_INIT;
    size_t before;
    int got = 0;

    buf_puts(&sql, "UPDATE ");
    relay_sql_quote(&sql, r->table.name);
    buf_puts(&sql, " SET ");
    before = sql.n;
    for (size_t i = 0; i < n; i++)
        relay_sql_set(&sql, r, columns[i], values[i]);
    if (sql.n > before) {
        where_row(&sql, r);
        buf_puts(&sql, " AND ");
        as_read(&sql, r);
        got = prepare(r, &sql, out, e);
    }
    buf_free(&sql);
    return got;
}

static int prepare_rest(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct buf sql = BUF_INIT;
    int got = 0;

    if (r->terms->remove) {
        buf_puts(&sql, "DELETE FROM ");
        relay_sql_quote(&sql, r->table.name);
        where_row(&sql, r);
        buf_puts(&sql, " AND ");
        as_read(&sql, r);
        got = prepare(r, &sql, &q->done, e);
    }
    buf_puts(&sql, "SELECT ");
    as_read(&sql, r);
    buf_puts(&sql, " FROM ");
    relay_sql_quote(&sql, r->table.name);
    where_row(&sql, r);
    if (got == 0)
        got = prepare(r, &sql, &q->left, e);
    buf_free(&sql);
    return got;
}

static int prepare_marks(struct relay *r, struct err *e)
{
    static const enum relay_column done[] = {RELAY_PUBLISHED, RELAY_PUBLISHED_AT, RELAY_RETRY_AT};
    static const char *const done_values[] = {"1", "?4", "NULL"};
    static const enum relay_column later[] = {RELAY_ATTEMPTS, RELAY_RETRY_AT};
    static const char *const later_values[] = {"?5", "?4"};
    static const enum relay_column failed[] = {RELAY_ATTEMPTS, RELAY_RETRY_AT, RELAY_ERROR};
    static const char *const failed_values[] = {"?5", "NULL", "?4"};
    struct sqlite *q = r->db;

    return (!r->terms->remove && prepare_mark(r, done, done_values, 3, &q->done, e) < 0) ||
                   prepare_rest(r, e) < 0 ||
                   prepare_mark(r, later, later_values, 2, &q->retry, e) < 0 ||
                   prepare_mark(r, failed, failed_values, relay_has(r, RELAY_ERROR) ? 3 : 2,
                                &q->failed, e) < 0
               ? -1
               : 0;
}

/* ----------------------------------------------------------------------------------------- open */

static int check_columns(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct buf sql = BUF_INIT, names = BUF_INIT;
    sqlite3_stmt *s = NULL;
    int got, step;

    buf_puts(&sql, "SELECT name FROM pragma_table_info(?1)");
    got = prepare(r, &sql, &s, e);
    if (got == 0) {
        sqlite3_bind_text(s, 1, r->table.name, -1, SQLITE_STATIC);
        while ((step = sqlite3_step(s)) == SQLITE_ROW) {
            buf_puts(&names, (const char *)sqlite3_column_text(s, 0));
            buf_char(&names, '\0');
        }
        if (step != SQLITE_DONE)
            got = fail(r, e);
    }
    /* The hidden rowid, which every ordinary table has. */
    if (names.n > 0 &&
        sqlite3_table_column_metadata(q->db, "main", r->table.name, "rowid", NULL, NULL, NULL, NULL,
                                      NULL) == SQLITE_OK &&
        sqlite3_stricmp(r->table.column[RELAY_ID], "rowid") == 0) {
        buf_puts(&names, "rowid");
        buf_char(&names, '\0');
    }
    sqlite3_finalize(s);
    if (got == 0)
        got = relay_check(r, &names, e);
    buf_free(&sql);
    buf_free(&names);
    return got;
}

static void watch(struct sqlite *q)
{
    char *copy = mem_dup(q->path, strlen(q->path));

    q->bell = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (q->bell >= 0)
        inotify_add_watch(q->bell, dirname(copy), IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVE);
    free(copy);
}

/* Settings that shorten our own commits and change nothing for others: marks need no flush of their
   own in WAL mode (a mark lost in a power cut is made again), and checkpoints are left to the
   application. */
static int settle_manners(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    sqlite3_stmt *s = NULL;
    struct buf sql = BUF_INIT;
    bool wal = false;
    int got;

    buf_puts(&sql, "PRAGMA journal_mode");
    got = prepare(r, &sql, &s, e);
    if (got == 0 && sqlite3_step(s) == SQLITE_ROW)
        wal = strcmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
    else if (got == 0)
        got = fail(r, e);
    sqlite3_finalize(s);
    buf_free(&sql);
    if (got == 0 && wal)
        got = run(r, "PRAGMA synchronous=NORMAL", e);
    sqlite3_wal_autocheckpoint(q->db, 0);
    return got;
}

static int open_database(struct relay *r, enum relay_mode mode, struct err *e)
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
        return fail(r, e);
    sqlite3_busy_handler(q->db, on_busy, r);
    sqlite3_progress_handler(q->db, 100000, on_progress, r);
    if (settle_manners(r, e) < 0 || check_columns(r, e) < 0)
        return -1;
    if (mode == RELAY_MOVE && sqlite3_db_readonly(q->db, "main") == 1)
        return err_set(e, EX_NOPERM,
                       "%s: is read-only, and relayed rows have to be marked; --dry-run and "
                       "--status only read",
                       r->place);
    return 0;
}

static int no_count(struct relay *r, struct err *e)
{
    return err_set(
        e, EX_DATAERR,
        "%s: column %s of table %s is not an integer: rows need a number for their order "
        "(--map id=rowid,event_id=…)",
        r->place, err_quote_text(r->table.column[RELAY_ID]).text,
        err_quote_text(r->table.name).text);
}

/* Text sorts after any number, so this finds text, too. */
static int sqlite_last(struct relay *r, int64_t *id, struct err *e)
{
    struct buf sql = BUF_INIT;
    sqlite3_stmt *s = NULL;
    int got, step;

    buf_puts(&sql, "SELECT max(");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_puts(&sql, ") FROM ");
    relay_sql_quote(&sql, r->table.name);
    if ((got = prepare(r, &sql, &s, e)) == 0) {
        step = sqlite3_step(s);
        if (step != SQLITE_ROW)
            got = fail(r, e);
        else if (sqlite3_column_type(s, 0) > SQLITE_INTEGER &&
                 sqlite3_column_type(s, 0) != SQLITE_NULL)
            got = no_count(r, e);
        *id = step == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    }
    sqlite3_finalize(s);
    buf_free(&sql);
    return got;
}

static int sqlite_open(struct relay *r, enum relay_mode mode, struct err *e)
{
    struct sqlite *q = mem_zero(1, sizeof *q);
    struct buf lock = BUF_INIT;
    const char *slash;
    int64_t last;

    r->db = q;
    r->place = mem_dup(r->terms->database, strlen(r->terms->database));
    q->wait_ms = r->terms->wait_ms;
    q->lock_fd = q->bell = -1;
    if (open_database(r, mode, e) < 0 || prepare_read(r, e) < 0 || sqlite_last(r, &last, e) < 0)
        return -1;
    if (mode == RELAY_LOOK)
        return 0;
    slash = strrchr(q->path, '/');
    q->name = mem_dup(slash + 1, strlen(slash + 1));
    buf_printf(&lock, "%s-relay", q->path);
    q->lock_path = mem_dup(buf_text(&lock), lock.n);
    buf_free(&lock);
    if (r->terms->follow)
        watch(q);
    return prepare_marks(r, e);
}

static void forget_values(struct sqlite *q)
{
    for (size_t i = 0; i < RELAY_PAGE; i++) {
        sqlite3_value_free(q->payload[i]);
        sqlite3_value_free(q->created[i]);
        q->payload[i] = q->created[i] = NULL;
    }
}

static void sqlite_close(struct relay *r)
{
    struct sqlite *q = r->db;

    if (q == NULL)
        return;
    forget_values(q);
    sqlite3_finalize(q->read);
    sqlite3_finalize(q->done);
    sqlite3_finalize(q->retry);
    sqlite3_finalize(q->failed);
    sqlite3_finalize(q->left);
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
static int check_place(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct stat now;

    if (stat(q->path, &now) != 0 && errno == ENOENT)
        return err_set(e, EX_IOERR, "%s: is gone: it was moved or removed while in use", r->place);
    if (now.st_dev != q->file.st_dev || now.st_ino != q->file.st_ino)
        return err_set(e, EX_IOERR, "%s: was replaced while in use", r->place);
    return 0;
}

static int sqlite_begin(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;

    if (check_place(r, e) < 0 || open_lock(r, e) < 0)
        return -1;
    if (set_lock(r, F_WRLCK) != 0)
        return errno == EAGAIN || errno == EACCES
                   ? 0
                   : err_errno(e, EX_IOERR, "%s: cannot lock it", q->lock_path);
    q->locked = lock_is_there(q);
    return q->locked;
}

static void sqlite_end(struct relay *r)
{
    struct sqlite *q = r->db;

    if (q->locked)
        set_lock(r, F_UNLCK);
    q->locked = false;
}

/* --------------------------------------------------------------------------------------- a page */

/* The offset of a text, while the buffer may still move. */
static void note_text(struct sqlite *q, struct relay_row *row, int i)
{
    int type = sqlite3_column_type(q->read, i);
    const void *p = type == SQLITE_BLOB ? sqlite3_column_blob(q->read, i)
                                        : (const void *)sqlite3_column_text(q->read, i);
    size_t n = (size_t)sqlite3_column_bytes(q->read, i);

    row->text[i] = (struct str){NULL, 0};
    row->blob[i] = type == SQLITE_BLOB;
    if (type == SQLITE_NULL)
        return;
    row->text[i] = (struct str){"", n};
    buf_add(&q->text, p == NULL ? "" : p, n);
}

static int note_row(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    struct relay_row *row = &r->page.row[r->page.n];

    if (sqlite3_column_type(q->read, RELAY_ID) != SQLITE_INTEGER)
        return no_count(r, e);
    *row = (struct relay_row){.id = sqlite3_column_int64(q->read, RELAY_ID),
                              .failed = sqlite3_column_type(q->read, RELAY_ERROR) != SQLITE_NULL,
                              .attempts = sqlite3_column_int64(q->read, RELAY_ATTEMPTS)};
    /* Copy the values before they are read as text, which may convert them. */
    q->payload[r->page.n] = sqlite3_value_dup(sqlite3_column_value(q->read, RELAY_PAYLOAD));
    q->created[r->page.n] = sqlite3_value_dup(sqlite3_column_value(q->read, RELAY_CREATED));
    for (int i = RELAY_EVENT_ID; i < RELAY_ATTEMPTS; i++)
        note_text(q, row, i);
    r->page.n++;
    return 0;
}

static void place_texts(struct relay *r)
{
    struct sqlite *q = r->db;
    const char *p = q->text.p == NULL ? "" : q->text.p;

    for (size_t k = 0; k < r->page.n; k++)
        for (int i = RELAY_EVENT_ID; i < RELAY_ATTEMPTS; i++) {
            struct str *text = &r->page.row[k].text[i];
            if (text->p != NULL)
                text->p = p;
            p += text->n;
        }
}

/* End the statement before doing anything with the rows: without WAL, an open statement keeps the
   application from committing. */
static int sqlite_read(struct relay *r, enum relay_mode mode, int64_t after, int64_t last,
                       struct err *e)
{
    struct sqlite *q = r->db;
    int step, got = 0;

    (void)mode;
    forget_values(q);
    buf_shrink(&q->text, RELAY_PAGE_BYTES);
    r->page.n = 0;
    sqlite3_bind_int64(q->read, 1, after);
    sqlite3_bind_int64(q->read, 2, last);
    while ((step = sqlite3_step(q->read)) == SQLITE_ROW && got == 0) {
        got = note_row(r, e);
        if (q->text.n > RELAY_PAGE_BYTES || r->page.n == RELAY_PAGE)
            break;
    }
    if (got == 0 && step != SQLITE_ROW && step != SQLITE_DONE)
        got = fail(r, e);
    sqlite3_reset(q->read);
    r->page.last = step == SQLITE_DONE;
    place_texts(r);
    return got;
}

/* -------------------------------------------------------------------------------------- marking */

/* Run one of the statements above. Returns its answer, or 0. */
enum answer { GONE, SAME, OTHER };
static int with_row(struct relay *r, size_t i, sqlite3_stmt *s, const char *what, struct err *e)
{
    struct sqlite *q = r->db;
    const struct relay_row *row = &r->page.row[i];

    sqlite3_bind_int64(s, 1, row->id);
    sqlite3_bind_value(s, 2, q->payload[i]);
    sqlite3_bind_value(s, 3, q->created[i]);
    if (s != q->left) {
        sqlite3_bind_text(s, 4, what, -1, SQLITE_TRANSIENT);
        sqlite3_bind_int64(s, 5, row->attempts);
    }
    int step = sqlite3_step(s);
    int got = step == SQLITE_DONE             ? GONE
              : step != SQLITE_ROW            ? fail(r, e)
              : sqlite3_column_int(s, 0) == 1 ? SAME
                                              : OTHER;
    sqlite3_reset(s);
    sqlite3_clear_bindings(s);
    return got;
}

static int mark_row(struct relay *r, size_t i, const char *now, bool *changed, struct err *e)
{
    struct sqlite *q = r->db;
    const struct relay_row *row = &r->page.row[i];
    char time[CLOCK_TEXT_SIZE];
    sqlite3_stmt *s = row->fate == RELAY_DONE    ? q->done
                      : row->fate == RELAY_RETRY ? q->retry
                                                 : q->failed;
    const char *what = row->fate == RELAY_DONE    ? now
                       : row->fate == RELAY_RETRY ? clock_format(time, row->retry_ms)
                                                  : row->reason;

    *changed = true;
    if (s == NULL) /* the relay remembers this instead */
        return 0;
    if (with_row(r, i, s, what, e) < 0)
        return -1;
    *changed = sqlite3_changes(q->db) > 0;
    return 0;
}

static int transaction(struct relay *r, int (*body)(struct relay *r, void *arg, struct err *e),
                       void *arg, struct err *e)
{
    struct sqlite *q = r->db;
    int got;

    if (run(r, "BEGIN IMMEDIATE", e) < 0)
        return -1;
    got = body(r, arg, e);
    if (got == 0)
        got = run(r, "COMMIT", e);
    if (got < 0 && !sqlite3_get_autocommit(q->db))
        sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
    return got;
}

struct marks {
    char now[CLOCK_TEXT_SIZE];
    const struct relay_row *refused; /* the first */
};

/* The row count of an UPDATE is not enough: a trigger may skip a row or undo the change, and on a
   view nothing is counted. A relayed row must no longer be there as it was. */
static int mark_rows(struct relay *r, void *arg, struct err *e)
{
    struct sqlite *q = r->db;
    struct marks *m = arg;
    int left;
    bool changed;

    m->refused = NULL;
    for (size_t i = 0; i < r->page.n; i++) {
        const struct relay_row *row = &r->page.row[i];
        if (row->fate == RELAY_LEFT)
            continue;
        if (mark_row(r, i, m->now, &changed, e) < 0)
            return -1;
        if (changed && row->fate != RELAY_DONE)
            continue;
        if ((left = with_row(r, i, q->left, NULL, e)) < 0)
            return -1;
        if (left == SAME && m->refused == NULL)
            m->refused = row;
        if (left == OTHER && row->fate == RELAY_DONE)
            relay_changed(row);
    }
    return 0;
}

static int sqlite_settle(struct relay *r, int64_t now_ms, struct err *e)
{
    struct marks m;

    clock_format(m.now, now_ms);
    if (transaction(r, mark_rows, &m, e) < 0)
        return -1;
    return m.refused == NULL ? 0 : relay_refused(r, m.refused, e);
}

static int give_back(struct relay *r, void *arg, struct err *e)
{
    struct sqlite *q = r->db;
    int64_t *n = arg;
    struct buf sql = BUF_INIT;

    buf_puts(&sql, "UPDATE ");
    relay_sql_quote(&sql, r->table.name);
    buf_puts(&sql, " SET ");
    relay_sql_set(&sql, r, RELAY_ERROR, "NULL");
    relay_sql_set(&sql, r, RELAY_ATTEMPTS, "0");
    relay_sql_set(&sql, r, RELAY_RETRY_AT, "NULL");
    where_unpublished(&sql, r);
    buf_puts(&sql, " AND ");
    relay_sql_column(&sql, r, RELAY_ERROR);
    buf_puts(&sql, " IS NOT NULL");
    int got = run(r, buf_text(&sql), e);
    *n = sqlite3_changes(q->db);
    buf_free(&sql);
    return got;
}

static int64_t sqlite_retry_failed(struct relay *r, struct err *e)
{
    int64_t n = 0;
    return transaction(r, give_back, &n, e) < 0 ? -1 : n;
}

/* -------------------------------------------------------------------------------------- pruning */

struct old {
    int64_t id[RELAY_PAGE];
    size_t n;
    int64_t removed;
    const int64_t *refused; /* the first row that stayed */
};

/* Read the next ids that may be removed. Reading blocks no one, and no statement reads for long. */
static int find_old(struct relay *r, int64_t before_ms, int64_t *after, struct old *old,
                    struct err *e)
{
    struct buf sql = BUF_INIT;
    sqlite3_stmt *s = NULL;
    int64_t time, seen = 0;
    int step = SQLITE_DONE, got;

    buf_puts(&sql, "SELECT ");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_puts(&sql, ", coalesce(");
    relay_sql_column(&sql, r, RELAY_PUBLISHED_AT);
    buf_puts(&sql, ", ");
    relay_sql_column(&sql, r, RELAY_CREATED);
    buf_puts(&sql, "), ");
    relay_sql_column(&sql, r, relay_has(r, RELAY_PUBLISHED) ? RELAY_PUBLISHED : RELAY_PUBLISHED_AT);
    buf_puts(&sql, relay_has(r, RELAY_PUBLISHED) ? " = 1" : " IS NOT NULL");
    buf_puts(&sql, " FROM ");
    relay_sql_quote(&sql, r->table.name);
    buf_puts(&sql, " WHERE ");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_puts(&sql, " > ?1 ORDER BY ");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_printf(&sql, " LIMIT %d", PRUNE_LOOK);
    if ((got = prepare(r, &sql, &s, e)) == 0) {
        sqlite3_bind_int64(s, 1, *after);
        while (old->n < RELAY_PAGE && (step = sqlite3_step(s)) == SQLITE_ROW) {
            struct str text = {(const char *)sqlite3_column_text(s, 1), 0};
            text.n = (size_t)sqlite3_column_bytes(s, 1);
            *after = sqlite3_column_int64(s, 0);
            seen++;
            if (sqlite3_column_int(s, 2) == 1 && relay_time(text, &time) && time < before_ms)
                old->id[old->n++] = *after;
        }
        if (step != SQLITE_ROW && step != SQLITE_DONE)
            got = fail(r, e);
        if (step == SQLITE_DONE && seen < PRUNE_LOOK)
            *after = INT64_MAX;
    }
    sqlite3_finalize(s);
    buf_free(&sql);
    return got;
}

/* Repeat the condition, since the row may have changed by now. */
static int prepare_old(struct relay *r, const char *verb, sqlite3_stmt **out, struct err *e)
{
    struct buf sql = BUF_INIT;
    bool flag = relay_has(r, RELAY_PUBLISHED);

    buf_printf(&sql, "%s FROM ", verb);
    relay_sql_quote(&sql, r->table.name);
    buf_puts(&sql, " WHERE ");
    relay_sql_column(&sql, r, RELAY_ID);
    buf_puts(&sql, " = ?1 AND ");
    relay_sql_column(&sql, r, flag ? RELAY_PUBLISHED : RELAY_PUBLISHED_AT);
    buf_puts(&sql, flag ? " = 1" : " IS NOT NULL");
    int got = prepare(r, &sql, out, e);
    buf_free(&sql);
    return got;
}

static int with_old(struct relay *r, sqlite3_stmt *s, int64_t id, struct err *e)
{
    sqlite3_bind_int64(s, 1, id);
    int step = sqlite3_step(s);
    if (step != SQLITE_DONE && step != SQLITE_ROW)
        fail(r, e);
    sqlite3_reset(s);
    return step == SQLITE_DONE ? 0 : step == SQLITE_ROW ? 1 : -1;
}

static int remove_old(struct relay *r, void *arg, struct err *e)
{
    struct sqlite *q = r->db;
    struct old *old = arg;
    sqlite3_stmt *remove = NULL, *look = NULL;
    int got = prepare_old(r, "DELETE", &remove, e);

    old->removed = 0;
    if (got == 0)
        got = prepare_old(r, "SELECT 1", &look, e);
    for (size_t i = 0; i < old->n && got == 0; i++) {
        int left = 0;
        if ((got = with_old(r, remove, old->id[i], e)) < 0)
            break;
        if (sqlite3_changes(q->db) > 0)
            old->removed++;
        else if ((left = with_old(r, look, old->id[i], e)) < 0)
            got = -1;
        if (left > 0 && old->refused == NULL)
            old->refused = &old->id[i];
    }
    sqlite3_finalize(remove);
    sqlite3_finalize(look);
    return got;
}

static int64_t sqlite_prune(struct relay *r, int64_t before_ms, int64_t *after, struct err *e)
{
    struct old old = {.n = 0};

    if (find_old(r, before_ms, after, &old, e) < 0)
        return -1;
    if (old.n > 0 && transaction(r, remove_old, &old, e) < 0)
        return -1;
    return old.refused == NULL ? old.removed : relay_not_pruned(r, *old.refused, e);
}

/* -------------------------------------------------------------------------------------- looking */

static int sqlite_state(struct relay *r, struct relay_state *out, struct buf *oldest, struct err *e)
{
    struct buf sql = BUF_INIT;
    sqlite3_stmt *s = NULL;
    int got, step = SQLITE_DONE;

    buf_puts(&sql, "SELECT ");
    relay_sql_column(&sql, r, RELAY_ERROR);
    buf_puts(&sql, " IS NULL, ");
    relay_sql_column(&sql, r, RELAY_RETRY_AT);
    buf_puts(&sql, ", ");
    relay_sql_column(&sql, r, RELAY_CREATED);
    from_unpublished(&sql, r);
    buf_puts(&sql, " ORDER BY ");
    relay_sql_column(&sql, r, RELAY_ID);
    if ((got = prepare(r, &sql, &s, e)) == 0) {
        while ((step = sqlite3_step(s)) == SQLITE_ROW) {
            bool alive = sqlite3_column_int(s, 0) == 1;
            const char *created = (const char *)sqlite3_column_text(s, 2);
            if (alive && out->backlog == 0 && created != NULL)
                buf_puts(oldest, created);
            out->backlog += alive;
            out->failed += !alive;
            out->waiting += alive && sqlite3_column_type(s, 1) != SQLITE_NULL;
        }
        if (step != SQLITE_DONE)
            got = fail(r, e);
    }
    sqlite3_finalize(s);
    buf_free(&sql);
    return got;
}

static int sqlite_fd(struct relay *r)
{
    return ((struct sqlite *)r->db)->bell;
}

static int64_t sqlite_patience_ms(struct relay *r)
{
    const struct sqlite *q = r->db;
    return q->again_ms > 0 ? q->again_ms : PATIENCE_MS;
}

/* Has the database, its -wal or its -journal been written? */
static bool rung(struct sqlite *q)
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
static int sqlite_news(struct relay *r, struct err *e)
{
    struct sqlite *q = r->db;
    int64_t before = q->version;

    q->again_ms = rung(q) ? 1 : q->again_ms < AGAIN_MAX_MS ? 2 * q->again_ms : 0;
    if (check_place(r, e) < 0)
        return -1;
    if (number(r, "PRAGMA data_version", &q->version, e) < 0) {
        if (e->status != EX_TEMPFAIL)
            return -1;
        err_clear(e); /* locked: the next pass will report that */
        return 1;
    }
    if (q->version != before)
        q->again_ms = 0;
    return q->version != before;
}

static void sqlite_schema(const struct relay_terms *terms, struct buf *out)
{
    struct buf name = BUF_INIT, index = BUF_INIT, plain = BUF_INIT;

    relay_sql_quote(&name, terms->table);
    buf_printf(&plain, "%s_unpublished", terms->table);
    relay_sql_quote(&index, buf_text(&plain));
    buf_printf(out,
               RELAY_SCHEMA_HEAD
               "CREATE TABLE %s(\n"
               "    id           INTEGER PRIMARY KEY AUTOINCREMENT,\n"
               "    event_id     TEXT,\n"
               "    aggregate_id TEXT,\n"
               "    event_type   TEXT,\n"
               "    payload      TEXT,\n"
               "    headers      TEXT,\n"
               "    created_at   TEXT DEFAULT (strftime('%%Y-%%m-%%dT%%H:%%M:%%fZ', 'now')),\n"
               "    published    INTEGER NOT NULL DEFAULT 0,\n"
               "    published_at TEXT,\n"
               "    attempts     INTEGER NOT NULL DEFAULT 0,\n"
               "    retry_at     TEXT,\n"
               "    error        TEXT\n"
               ");\n"
               "CREATE INDEX %s ON %s(id) WHERE published = 0;\n",
               buf_text(&name), buf_text(&index), buf_text(&name));
    buf_free(&name);
    buf_free(&index);
    buf_free(&plain);
}

const struct relay_engine relay_sqlite = {
    .schema = sqlite_schema,
    .open = sqlite_open,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .read = sqlite_read,
    .settle = sqlite_settle,
    .end = sqlite_end,
    .last = sqlite_last,
    .retry_failed = sqlite_retry_failed,
    .prune = sqlite_prune,
    .state = sqlite_state,
    .fd = sqlite_fd,
    .patience_ms = sqlite_patience_ms,
    .news = sqlite_news,
};

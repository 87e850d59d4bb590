/*
 * Opening a spool, and the few ways in which everything else talks to SQLite.
 *
 * A spool comes into being under another name and is renamed into place, so that nobody ever sees
 * half of one; a kill leaves at most SPOOL.new-PID behind. Nobody but SQLite opens the spool file:
 * closing any other descriptor of it would drop SQLite's locks in this process.
 */
#include "sqlite_priv.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define SCHEMA 1
#define APPLICATION 0x65767574 /* "evut", at offset 68 of the file */
#define LENGTH_MAX (64 << 20)  /* of a row; the same for all, or a reader fails on a writer's row */

/* share/schema.sql, between two labels. */
__asm__(".pushsection .rodata\n"
        ".global schema_sql, schema_sql_end\n"
        "schema_sql: .incbin \"share/schema.sql\"\n"
        "schema_sql_end: .byte 0\n"
        ".popsection\n");
extern const char schema_sql[], schema_sql_end[];

/* ------------------------------------------------------------------------------------- errors */

static int fail_locked(struct store *s, struct err *e)
{
    if (s->stopping != NULL && s->stopping())
        return err_set(e, EX_TEMPFAIL, "%s: stopped while waiting for its lock", s->path);
    return err_set(e, EX_TEMPFAIL,
                   "%s: kept locked by another process for %d s; is one stopped? see fuser %s",
                   s->path, DB_BUSY_MS / 1000, s->path);
}

int db_fail(struct store *s, struct err *e)
{
    int code = sqlite3_extended_errcode(s->db);
    const char *words = sqlite3_errmsg(s->db);

    switch (code) {
    case SQLITE_FULL:
    case SQLITE_IOERR_SHMSIZE:
        return err_set(e, EX_IOERR, "%s: the disk is full", s->path);
    case SQLITE_READONLY_DBMOVED:
        return err_set(e, EX_IOERR, "%s: was moved or replaced while in use", s->path);
    case SQLITE_READONLY_DIRECTORY:
    case SQLITE_READONLY_CANTINIT:
        return err_set(e, EX_NOPERM,
                       "%s: cannot write to its directory (needed for -wal and -shm, also for "
                       "reading)", s->path);
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
        return err_set(e, EX_IOERR, "%s: %s: %s", s->path, words,
                       strerror(sqlite3_system_errno(s->db)));
    case SQLITE_CORRUPT:
        return err_set(e, EX_IOERR, "%s: damaged (%s): restore it from a backup", s->path, words);
    case SQLITE_NOTADB:
        return err_set(e, EX_DATAERR, "%s: not an eventutils spool", s->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return err_set(e, EX_NOPERM, "%s: cannot write to it: %s", s->path, words);
    case SQLITE_CANTOPEN:
        return err_set(e, sqlite3_system_errno(s->db) == ENOENT ? EX_NOINPUT : EX_NOPERM,
                       "%s: cannot open it, or the -wal and -shm files beside it: %s", s->path,
                       strerror(sqlite3_system_errno(s->db)));
    case SQLITE_NOMEM:
        return err_set(e, EX_OSERR, "%s: no memory", s->path);
    case SQLITE_TOOBIG:
        return err_set(e, EX_DATAERR, "%s: holds an event of more than %d MiB", s->path,
                       LENGTH_MAX >> 20);
    default:
        return err_set(e, EX_SOFTWARE, "%s: SQLite says %d: %s (a bug: please report it)", s->path,
                       code, words);
    }
}

/* --------------------------------------------------------------------------------- statements */

static sqlite3_stmt *statement(struct store *s, const char *sql, struct err *e)
{
    size_t at = ((uintptr_t)sql >> 3) % DB_STATEMENTS;

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
    const void *p = sqlite3_column_type(q, column) == SQLITE_BLOB
                        ? sqlite3_column_blob(q, column)
                        : (const void *)sqlite3_column_text(q, column);
    return (struct str){p, (size_t)sqlite3_column_bytes(q, column)};
}

/* ------------------------------------------------------------------------------- transactions */

static int exec(struct store *s, const char *sql, struct err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(s, e);
}

/*
 * SQLite's own busy handler backs off up to 100 ms and loses for seconds against a writer that
 * comes straight back; a short jittered one is fair (183 ms against 3 s with four writers).
 *
 * A checkpoint gives up after 20 ms, since writers wait for it. When this handler says no while it
 * waits for the write lock, SQLite would go on with a PASSIVE checkpoint: only the interrupt keeps
 * it from that.
 */
static int busy(void *arg, int times)
{
    struct store *s = arg;
    int64_t now = clock_mono_ms();

    if (times == 0)
        s->busy_until_ms = now + (s->checkpointing ? 20 : DB_BUSY_MS);
    if (now >= s->busy_until_ms || (s->stopping != NULL && s->stopping())) {
        if (s->checkpointing)
            sqlite3_interrupt(s->db);
        return 0;
    }
    struct timespec pause = {0, 500000 + (long)(clock_random() % 1500000)};
    nanosleep(&pause, NULL);
    return 1;
}

static int note_frames(void *arg, sqlite3 *db, const char *name, int frames)
{
    (void)db;
    (void)name;
    ((struct store *)arg)->frames = frames;
    return SQLITE_OK;
}

int db_begin(struct store *s, enum db_sync sync, struct err *e)
{
    /* The level takes effect when the pragma is prepared, and not within a transaction. */
    if (sync != s->sync) {
        if (exec(s, sync == DB_FULL ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", e))
            return -1;
        s->sync = sync;
    }
    return db_run(s, e, "BEGIN IMMEDIATE", "") < 0 ? -1 : 0;
}

/* A checkpoint when a commit of ours took the WAL across a multiple of 1,000 frames. Asking
   "are there 1,000?" instead would have everyone try at each commit while a reader is in the way
   (134 against 686 commits a second). That it was busy is no news: somebody tries again later. */
static void checkpoint(struct store *s, int wrote)
{
    if (s->frames < 0 || s->frames / 1000 == (s->frames - wrote) / 1000)
        return;
    s->checkpointing = true;
    sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_FULL, NULL, NULL);
    s->checkpointing = false;
}

static int pages_written(struct store *s)
{
    int pages = 0, unused;
    sqlite3_db_status(s->db, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &unused, 1);
    return pages;
}

int db_commit(struct store *s, bool ring, struct err *e)
{
    pages_written(s); /* sets the count to zero; pages spilled earlier are few */
    s->frames = -1;
    if (db_run(s, e, "COMMIT", "") < 0) {
        db_rollback(s);
        return -1;
    }
    checkpoint(s, pages_written(s));
    if (ring)
        lock_ring(s); /* after the commit, or a woken reader would find nothing */
    return 0;
}

void db_rollback(struct store *s)
{
    struct err ignored = ERR_NONE;

    /* A full disk has rolled back already. */
    if (!sqlite3_get_autocommit(s->db))
        db_run(s, &ignored, "ROLLBACK", "");
}

/* ------------------------------------------------------------------------------------ opening */

static const struct {
    int option, value;
} settings[] = {
    {SQLITE_DBCONFIG_DEFENSIVE, 1},      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}, {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    {SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0},
    {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
};

static const struct {
    int id, value;
} limits[] = {
    {SQLITE_LIMIT_LENGTH, LENGTH_MAX}, {SQLITE_LIMIT_SQL_LENGTH, 64 << 10},
    {SQLITE_LIMIT_COLUMN, 64},         {SQLITE_LIMIT_EXPR_DEPTH, 50},
    {SQLITE_LIMIT_VDBE_OP, 25000},     {SQLITE_LIMIT_ATTACHED, 0},
    {SQLITE_LIMIT_TRIGGER_DEPTH, 0},
};

static int connect(struct store *s, const char *path, struct err *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE |
                SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        return s->db == NULL ? err_set(e, EX_OSERR, "%s: no memory", s->path) : db_fail(s, e);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_handler(s->db, busy, s);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        sqlite3_db_config(s->db, settings[i].option, settings[i].value, NULL);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        sqlite3_limit(s->db, limits[i].id, limits[i].value);
    /* The file is not read before the first statement that needs it. */
    if (exec(s,
             "PRAGMA cell_size_check=ON; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;"
             "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
             "PRAGMA journal_size_limit=4194304", e) < 0)
        return -1;
    s->sync = DB_FULL;
    sqlite3_wal_hook(s->db, note_frames, s); /* after wal_autocheckpoint, which would remove it */
    return 0;
}

/* The next CREATE statement of the schema's text, without its semicolon. */
static struct str next_create(const char **at)
{
    const char *p = *at;

    for (;;) {
        const char *end = strchr(p, ';');
        while (*p == '\n' || strncmp(p, "--", 2) == 0) {
            p += strcspn(p, "\n");
            p += *p == '\n';
            end = strchr(p, ';');
        }
        if (end == NULL)
            return (struct str){NULL, 0};
        *at = end + 1;
        if (strncmp(p, "CREATE ", 7) == 0)
            return (struct str){p, (size_t)(end - p)};
        p = end + 1;
    }
}

/* Whoever changes the schema could make publish succeed and keep nothing (a trigger that deletes):
   the text must be ours, statement by statement. */
static int check_schema(struct store *s, struct err *e)
{
    const char *at = schema_sql;
    struct str ours;
    sqlite3_stmt *q = db_query(s, e,
                               "SELECT sql,type,name FROM sqlite_schema WHERE sql IS NOT NULL "
                               "AND name NOT LIKE 'sqlite_%' ORDER BY rowid", "");
    int got = q == NULL ? -1 : 0;

    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        ours = next_create(&at);
        if (!str_eq(db_text(q, 0), ours)) {
            struct str kind = db_text(q, 1), name = db_text(q, 2);
            err_set(e, EX_DATAERR, "%s: its schema was changed by someone else (%.*s %s)", s->path,
                    (int)kind.n, kind.p, err_quote(name.p, name.n).text);
            db_done(q);
            return -1;
        }
    }
    if (got < 0)
        return -1;
    if (next_create(&at).p != NULL)
        return err_set(e, EX_DATAERR, "%s: its schema was changed by someone else (a table or an "
                       "index is missing)", s->path);
    return 0;
}

static int check_identity(struct store *s, struct err *e)
{
    int64_t application = 0, schema = 0, sync = 0;

    if (db_int(s, e, &application, "PRAGMA application_id", "") < 0 ||
        db_int(s, e, &schema, "PRAGMA user_version", "") < 0 ||
        db_int(s, e, &sync, "PRAGMA synchronous", "") < 0)
        return -1;
    if (application != APPLICATION)
        return err_set(e, EX_DATAERR, "%s: not an eventutils spool", s->path);
    if (schema > SCHEMA)
        return err_set(e, EX_DATAERR,
                       "%s: has schema %lld, this program knows %d: install a newer eventutils",
                       s->path, (long long)schema, SCHEMA);
    if (sync != 2)
        return err_set(e, EX_SOFTWARE, "%s: SQLite does not keep synchronous=FULL", s->path);
    return check_schema(s, e);
}

static int make_directories(char *path, struct err *e)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST && access(path, F_OK) != 0) {
            err_errno(e, EX_CANTCREAT, "cannot create the directory %s", path);
            *slash = '/';
            return -1;
        }
        *slash = '/';
    }
    return 0;
}

static void remove_draft(const char *path)
{
    struct buf name = BUF_INIT;
    static const char *const suffix[] = {"", "-wal", "-shm", "-journal"};

    for (size_t i = 0; i < sizeof suffix / sizeof suffix[0]; i++) {
        buf_reset(&name);
        buf_printf(&name, "%s%s", path, suffix[i]);
        unlink(buf_text(&name));
    }
    buf_free(&name);
}

static int sync_directory(const char *path, struct err *e)
{
    char *dir = mem_dup(path, (size_t)(strrchr(path, '/') - path) + 1);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int failed = fd < 0 || fsync(fd) != 0;

    if (failed)
        err_errno(e, EX_IOERR, "%s", dir);
    if (fd >= 0)
        close(fd);
    free(dir);
    return failed ? -1 : 0;
}

static int fill_draft(struct store *s, const char *draft, struct err *e)
{
    int fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(e, EX_CANTCREAT, "%s: cannot create it", s->path);
    fchmod(fd, 0600); /* whatever the umask took away */
    close(fd);
    if (connect(s, draft, e) < 0 ||
        exec(s, "PRAGMA page_size=4096; PRAGMA synchronous=EXTRA; PRAGMA journal_mode=WAL", e) < 0 ||
        exec(s, "BEGIN EXCLUSIVE", e) < 0 || exec(s, schema_sql, e) < 0 || exec(s, "COMMIT", e) < 0)
        return -1;
    if (sqlite3_close(s->db) != SQLITE_OK) /* the last to close moves all into the file and syncs */
        return db_fail(s, e);
    s->db = NULL;
    return 0;
}

/* Returns 1 when this process created the spool, 0 when another was faster. */
static int create(struct store *s, struct err *e)
{
    struct buf name = BUF_INIT;
    int made = -1;

    buf_printf(&name, "%s.new-%ld", s->path, (long)getpid());
    const char *draft = buf_text(&name);
    remove_draft(draft); /* of an earlier process with our number */
    if (fill_draft(s, draft, e) == 0) {
        if (renameat2(AT_FDCWD, draft, AT_FDCWD, s->path, RENAME_NOREPLACE) == 0)
            made = sync_directory(s->path, e) < 0 ? -1 : 1;
        else if (errno == EEXIST)
            made = 0;
        else
            err_errno(e, EX_CANTCREAT, "%s: cannot create it", s->path);
    }
    if (s->db != NULL) {
        sqlite3_close(s->db);
        s->db = NULL;
    }
    remove_draft(draft);
    buf_free(&name);
    return made;
}

/* ------------------------------------------------------------------------- where it may stand */

static int check_file_system(struct store *s, const char *dir, struct err *e)
{
    static const struct {
        long magic;
        const char *name;
    } network[] = {
        {0x6969, "nfs"},       {0xff534d42, "cifs"}, {0xfe534d42, "smb2"}, {0x517b, "smb"},
        {0x01021997, "9p"},    {0x5346414f, "afs"},  {0x0bd00bd0, "lustre"},
        {0x00c36400, "ceph"},  {0x564c, "ncp"},      {0x73757245, "coda"},
    };
    struct statfs fs;

    if (statfs(dir, &fs) != 0)
        return err_errno(e, 0, "%s", dir);
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
        if ((unsigned long)fs.f_type == (unsigned long)network[i].magic)
            return err_set(e, EX_CANTCREAT,
                           "%s: on a network file system (%s), where locks and shared memory do "
                           "not work: choose a local -s", s->path, network[i].name);
    return 0;
}

static int check_directory(struct store *s, const char *dir, struct err *e)
{
    struct stat st;

    if (stat(dir, &st) != 0)
        return err_errno(e, 0, "%s", dir);
    if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
        return err_set(e, EX_NOPERM, "%s: everyone can write to its directory (mode %04o): chmod "
                       "o-w %s", s->path, (unsigned)st.st_mode & 07777, dir);
    return check_file_system(s, dir, e);
}

/* 1: there is a file that may be a spool; 0: there is none; -1. */
static int check_file(struct store *s, struct err *e)
{
    struct stat st;

    if (lstat(s->path, &st) != 0)
        return errno == ENOENT ? 0 : err_errno(e, 0, "%s", s->path);
    if (S_ISLNK(st.st_mode))
        return err_set(e, EX_NOPERM, "%s: is a symbolic link: name the spool itself", s->path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, s->mode == STORE_READ ? EX_NOINPUT : EX_CANTCREAT, "%s: is a %s",
                       s->path, S_ISDIR(st.st_mode) ? "directory" : "device, pipe or socket");
    if (st.st_nlink > 1)
        return err_set(e, EX_NOPERM, "%s: has %ld names (hard links); a spool has one", s->path,
                       (long)st.st_nlink);
    if (st.st_uid != geteuid() && geteuid() != 0)
        return err_set(e, EX_NOPERM, "%s: belongs to another user", s->path);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return err_set(e, EX_NOPERM, "%s: others can write to it (mode %04o): chmod 600", s->path,
                       (unsigned)st.st_mode & 07777);
    if (st.st_size == 0)
        return err_set(e, EX_DATAERR, "%s: is an empty file, not a spool: remove it first",
                       s->path);
    return 1;
}

/* The absolute path, with everything but its last part resolved. */
static int set_path(struct store *s, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/'), *base = slash == NULL ? path : slash + 1;
    struct buf full = BUF_INIT;
    char real[PATH_MAX];

    s->path = mem_dup(path, strlen(path)); /* for the messages below */
    if (*path == '\0' || *path == ':' || strncmp(path, "file:", 5) == 0 || *base == '\0')
        return err_set(e, EX_USAGE, "%s: not a file name for a spool", err_quote_text(path).text);
    if (s->mode == STORE_CREATE && make_directories(s->path, e) < 0)
        return -1;
    char *dir = slash == NULL ? mem_dup(".", 1) : mem_dup(path, (size_t)(slash - path) + 1);
    int failed = realpath(dir, real) == NULL;
    if (failed && errno == ENOENT)
        err_set(e, EX_NOINPUT, "%s: there is no such directory", dir);
    else if (failed)
        err_errno(e, 0, "%s", dir);
    free(dir);
    if (failed)
        return -1;
    buf_printf(&full, "%s/%s", strcmp(real, "/") == 0 ? "" : real, base);
    free(s->path);
    s->path = mem_dup(full.p, full.n);
    buf_puts(&full, "-lock");
    s->lock_path = mem_dup(full.p, full.n);
    buf_free(&full);
    return check_directory(s, real, e);
}

static int open_spool(struct store *s, struct err *e)
{
    int there = check_file(s, e);

    if (there == 0 && s->mode == STORE_CREATE) {
        if ((there = create(s, e)) < 0)
            return -1;
        s->created = there == 1;
        there = check_file(s, e);
    }
    if (there == 0)
        return err_set(e, EX_NOINPUT, "%s: there is no spool; publish makes one, -s or EVENT_SPOOL "
                       "names another", s->path);
    if (there < 0 || connect(s, s->path, e) < 0)
        return -1;
    return check_identity(s, e);
}

int store_open(struct store **out, const char *path, enum store_mode mode, struct err *e)
{
    struct store *s = mem_zero(1, sizeof *s);

    *out = s;
    s->mode = mode;
    s->lock_fd = -1;
    s->bell_fd = -2;
    if (set_path(s, path, e) == 0 && open_spool(s, e) == 0)
        return s->created;
    store_close(s);
    *out = NULL;
    return -1;
}

void store_close(struct store *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < DB_STATEMENTS; i++)
        sqlite3_finalize(s->statement[i].stmt);
    sqlite3_close(s->db);
    lock_close(s); /* after the database: our claims are not up for the taking before that */
    js_scan_free(&s->scan);
    event_free(&s->seen);
    free(s->path);
    free(s->lock_path);
    free(s);
}

const char *store_path(const struct store *s)
{
    return s->path;
}

void store_stop(struct store *s, bool (*stopping)(void))
{
    s->stopping = stopping;
}

static int64_t file_size(const char *path, const char *suffix)
{
    struct buf name = BUF_INIT;
    struct stat st;

    buf_printf(&name, "%s%s", path, suffix);
    int64_t size = stat(buf_text(&name), &st) == 0 ? st.st_size : 0;
    buf_free(&name);
    return size;
}

int store_info(struct store *s, struct store_info *out, struct err *e)
{
    *out = (struct store_info){.path = s->path, .schema = SCHEMA};
    out->size = file_size(s->path, "");
    out->wal_size = file_size(s->path, "-wal");
    if (db_int(s, e, &out->events, "SELECT count(*) FROM event", "") < 0 ||
        db_int(s, e, &out->first_seq, "SELECT min(seq) FROM event", "") < 0 ||
        db_int(s, e, &out->last_seq, "SELECT max(seq) FROM event", "") < 0 ||
        db_int(s, e, &out->first_ms, "SELECT recorded FROM event WHERE seq=?", "i",
               out->first_seq) < 0 ||
        db_int(s, e, &out->last_ms, "SELECT recorded FROM event WHERE seq=?", "i",
               out->last_seq) < 0 ||
        db_int(s, e, &out->groups, "SELECT count(*) FROM groups", "") < 0 ||
        db_int(s, e, &out->dead, "SELECT count(*) FROM item WHERE state=3", "") < 0 ||
        db_int(s, e, &out->segments, "SELECT count(*) FROM segment", "") < 0)
        return -1;
    return 0;
}

/*
 * Opening a spool: where it may be, how it is created, and what is checked.
 *
 * A spool is created under another name and renamed into place, so that nobody ever sees half of
 * one; a kill leaves at most SPOOL.new-PID behind. Only SQLite opens the spool file: closing any
 * other descriptor of it would drop SQLite's locks in this process.
 */
#include "store/sqlite/sqlite.h"

#include "base/mem.h"
#include "base/name.h"

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

#define SHORT_WAL 32 /* frames: reading them costs in all what copying them once does */
#define SCHEMA 2
#define APPLICATION 0x65767574 /* "evut", at offset 68 of the file */

extern const char schema_sql[]; /* share/schema.sql */

/* ------------------------------------------------------------------------------------ opening */

static const struct {
    int option, value;
} settings[] = {
    {SQLITE_DBCONFIG_DEFENSIVE, 1},
    {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
    {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0},
    {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
    {SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0},
    {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
};

static const struct {
    int id, value;
} limits[] = {
    {SQLITE_LIMIT_LENGTH, DB_LENGTH_MAX},
    {SQLITE_LIMIT_SQL_LENGTH, 64 << 10},
    {SQLITE_LIMIT_COLUMN, 64},
    {SQLITE_LIMIT_EXPR_DEPTH, 50},
    {SQLITE_LIMIT_VDBE_OP, 25000},
    {SQLITE_LIMIT_ATTACHED, 0},
    {SQLITE_LIMIT_TRIGGER_DEPTH, 0},
};

/* The next CREATE statement of the schema's text, without its semicolon. */
static struct str next_create(const char **at)
{
    const char *end;

    for (const char *p = *at; (end = strchr(p, ';')) != NULL; p = end + 1) {
        p += strspn(p, "\n");
        if (strncmp(p, "CREATE ", 7) == 0) {
            *at = end + 1;
            return (struct str){p, (size_t)(end - p)};
        }
    }
    return (struct str){NULL, 0};
}

/* SQLite reads the whole schema before its first statement that needs it. Here each row passes:
   db->schema moves along ours, and becomes NULL at a row that is not the next one of ours. A second
   reading took a tenth of what a short process costs. */
static int watch_schema(unsigned kind, void *arg, void *stmt, void *unused)
{
    struct db *db = arg;
    struct query *q = stmt;
    struct str ours;

    (void)kind;
    (void)unused;
    /* A pragma's row has one column; the schema's are type, name, tbl_name, rootpage, sql. */
    if (db->schema == NULL || sqlite3_column_count(stmt) != 5)
        return 0;
    struct str type = db_text(q, 0), name = db_text(q, 1), sql = db_text(q, 4);
    if (sql.p == NULL
            ? str_is(type, "index") && name.n > 17 && memcmp(name.p, "sqlite_autoindex_", 17) == 0
            : str_is(type, "table") && str_is(name, "sqlite_sequence"))
        return 0;
    ours = next_create(&db->schema);
    if (ours.p == NULL || !str_eq(sql, ours))
        db->schema = NULL;
    return 0;
}

static int connect(struct db *db, const char *path, struct err *e)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE |
                SQLITE_OPEN_NOMUTEX;

    if (sqlite3_open_v2(path, &db->sqlite, flags, NULL) != SQLITE_OK)
        return db->sqlite == NULL ? err_set(e, EX_OSERR, "%s: no memory", db->path)
                                  : db_fail(db, e);
    sqlite3_extended_result_codes(db->sqlite, 1);
    sqlite3_busy_handler(db->sqlite, db_busy, db);
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        sqlite3_db_config(db->sqlite, settings[i].option, settings[i].value, NULL);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        sqlite3_limit(db->sqlite, limits[i].id, limits[i].value);
    sqlite3_wal_hook(db->sqlite, kit_note_frames, &db->frames);
    /* SQLite does not read the file before the first statement that needs it. */
    db->schema = schema_sql;
    sqlite3_trace_v2(db->sqlite, SQLITE_TRACE_ROW, watch_schema, db);
    int got =
        db_exec(db,
                "PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; PRAGMA synchronous=FULL;"
                "PRAGMA journal_size_limit=4194304",
                e);
    sqlite3_trace_v2(db->sqlite, 0, NULL, NULL);
    db->sync = DB_FULL;
    return got;
}

static bool is_ours(struct str sql)
{
    const char *at = schema_sql;
    struct str ours;

    while ((ours = next_create(&at)).p != NULL)
        if (str_eq(sql, ours))
            return true;
    return false;
}

/* A changed schema could make publish succeed and store nothing (a trigger that deletes): the spool
   must have all of our CREATE statements and no others. Their order does not matter: a copy made
   with VACUUM has another, and so has a spool of schema 1 that was upgraded. */
static int check_schema(struct db *db, struct err *e)
{
    const char *at = schema_sql;
    struct query *q =
        db_query(db, e,
                 SQL("schema", "SELECT sql,type,name FROM sqlite_schema WHERE NOT(type='table' AND "
                               "name IN ('sqlite_sequence','sqlite_stat1','sqlite_stat4') OR "
                               "type='index' AND sql IS NULL AND "
                               "substr(name,1,17)='sqlite_autoindex_')"),
                 "");
    int got = -1, missing = 0;

    while (q != NULL && (got = db_row(db, q, e)) > 0) {
        missing--;
        if (is_ours(db_text(q, 0)))
            continue;
        struct str kind = db_text(q, 1), name = db_text(q, 2);
        err_set(e, EX_DATAERR, "%s: its schema was changed by someone else (%.*s %s)", db->path,
                (int)kind.n, kind.p, err_quote(name.p, name.n).text);
        db_done(q);
        return -1;
    }
    while (next_create(&at).p != NULL)
        missing++;
    if (got == 0 && missing > 0)
        return err_set(
            e, EX_DATAERR,
            "%s: its schema was changed by someone else (a table or an index is missing)",
            db->path);
    return got;
}

/* A copy made with VACUUM INTO is not in WAL mode. */
static int keep_wal(struct db *db, struct err *e)
{
    struct query *q = db_query(db, e, SQL("journal_mode", "PRAGMA journal_mode"), "");
    int got = q == NULL ? -1 : db_row(db, q, e);

    if (got <= 0)
        return -1;
    bool wal = str_eq(db_text(q, 0), STR("wal"));
    db_done(q);
    return wal ? 0 : db_exec(db, "PRAGMA journal_mode=WAL", e);
}

/* Upgrades schema 1 to 2, in one transaction with the new version number: a kill leaves either 1 or
   2. Renaming a column rewrites no row, and makes programs of version 1 fail that have the spool
   open and would store sums of the old form. The statements are safe even on a malicious file,
   because no trigger and no view runs. */
static const char *const to_schema_2[] = {
    "ALTER TABLE event RENAME COLUMN sum TO sums",
    "INSERT INTO meta(key,value) SELECT 'sums',max(seq) FROM event WHERE true HAVING max(seq)>0",
    "DROP INDEX item_subject",
    "CREATE INDEX item_subject ON item(grp, subject, seq) WHERE subject IS NOT NULL AND state <> 3",
    "CREATE INDEX item_dead ON item(grp, seq) WHERE state = 3",
    "CREATE INDEX claim_owner ON claim(grp, owner)",
    "CREATE INDEX claim_lease ON claim(grp, boot, lease) WHERE lease IS NOT NULL",
    "CREATE INDEX consumer_group ON consumer(grp)",
    "PRAGMA user_version=2",
};

static int read_version(struct db *db, int64_t *schema, struct err *e)
{
    return db_int(db, e, schema, SQL("user_version", "PRAGMA user_version"), "");
}

static int run_upgrade(struct db *db, struct err *e)
{
    int64_t schema = 0;
    int got = read_version(db, &schema, e);

    if (schema == SCHEMA) /* another process was faster */
        return 0;
    for (size_t i = 0; i < sizeof to_schema_2 / sizeof to_schema_2[0] && got >= 0; i++)
        got = db_exec(db, to_schema_2[i], e);
    /* A statement that did not find its table: the schema is not ours, as check_schema reports. */
    if (got < 0 && (sqlite3_errcode(db->sqlite) & 0xff) == SQLITE_ERROR)
        err_clear(e);
    return e->status != 0 ? -1 : check_schema(db, e);
}

static int upgrade(struct db *db, int64_t schema, struct err *e)
{
    if (db_begin(db, DB_FULL, e) == 0) {
        if (run_upgrade(db, e) == 0)
            return db_commit(db, false, e);
        db_rollback(db);
    }
    return e->status == EX_DATAERR
               ? -1
               : err_at(e, "to upgrade it from schema %lld: ", (long long)schema);
}

/* ANALYZE on a spool stores how many rows there were, and from then on SQLite plans by these
   numbers: with those of an empty spool it would scan a full one. Without statistics our statements
   have the same plans in all spools. If the statistics cannot be removed, everything is only
   slower. */
static void drop_statistics(struct db *db)
{
    struct err ignored = ERR_NONE;

    if (sqlite3_table_column_metadata(db->sqlite, "main", "sqlite_stat1", NULL, NULL, NULL, NULL,
                                      NULL, NULL) == SQLITE_OK)
        db_exec(db,
                "DROP TABLE IF EXISTS sqlite_stat1; DROP TABLE IF EXISTS sqlite_stat4;"
                "PRAGMA writable_schema=RESET", /* makes SQLite forget them, too */
                &ignored);
}

static int check_identity(struct db *db, struct err *e)
{
    int64_t application = 0, schema = 0, sync = 0;

    if (db_int(db, e, &application, SQL("application_id", "PRAGMA application_id"), "") < 0 ||
        read_version(db, &schema, e) < 0 ||
        db_int(db, e, &sync, SQL("synchronous", "PRAGMA synchronous"), "") < 0)
        return -1;
    if (application != APPLICATION || schema < 1)
        return err_set(e, EX_DATAERR, "%s: not an eventutils spool", db->path);
    if (schema > SCHEMA)
        return err_set(e, EX_DATAERR,
                       "%s: has schema %lld, this program knows %d: install a newer eventutils",
                       db->path, (long long)schema, SCHEMA);
    if (sync != 2)
        return err_set(e, EX_SOFTWARE, "%s: SQLite does not keep synchronous=FULL", db->path);
    bool ours =
        db->schema != NULL && db->schema != schema_sql && next_create(&db->schema).p == NULL;
    if (schema < SCHEMA || !ours) {
        if ((schema < SCHEMA ? upgrade(db, schema, e) : check_schema(db, e)) < 0)
            return -1;
        drop_statistics(db);
    }
    return keep_wal(db, e);
}

static int make_directories(char *path, struct err *e)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mode_t mask = umask(0077);
        int failed = mkdir(path, 0700) == 0 ? 0 : errno;
        umask(mask);
        if (failed != 0 && access(path, F_OK) != 0) {
            errno = failed;
            err_errno(e, EX_CANTCREAT, "cannot create the directory %s", path);
            *slash = '/';
            return -1;
        }
        *slash = '/';
    }
    return 0;
}

void file_remove_draft(const char *path)
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

int file_sync_directory(const char *path, struct err *e)
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

static int fill_draft(struct db *db, const char *draft, struct err *e)
{
    int fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_errno(e, EX_CANTCREAT, "%s: cannot create it", db->path);
    fchmod(fd, 0600); /* whatever the umask took away */
    close(fd);
    /* WAL mode comes last: everything is in the file by then, so that nothing is left to move there
       on close, where a failure would not be reported. */
    if (connect(db, draft, e) < 0 ||
        db_exec(db, "PRAGMA page_size=4096; PRAGMA synchronous=EXTRA", e) < 0 ||
        db_exec(db, "BEGIN EXCLUSIVE", e) < 0 || db_exec(db, schema_sql, e) < 0 ||
        db_exec(db, "COMMIT", e) < 0 || db_exec(db, "PRAGMA journal_mode=WAL", e) < 0)
        return -1;
    if (sqlite3_close(db->sqlite) != SQLITE_OK)
        return db_fail(db, e);
    db->sqlite = NULL;
    return 0;
}

/* Returns 1 when this process created the spool, 0 when another was faster. */
static int create(struct db *db, struct err *e)
{
    struct buf name = BUF_INIT;
    int made = -1;

    buf_printf(&name, "%s.new-%ld", db->path, (long)getpid());
    const char *draft = buf_text(&name);
    file_remove_draft(draft); /* left by an earlier process with our pid */
    if (fill_draft(db, draft, e) == 0) {
        if (renameat2(AT_FDCWD, draft, AT_FDCWD, db->path, RENAME_NOREPLACE) == 0)
            made = file_sync_directory(db->path, e) < 0 ? -1 : 1;
        else if (errno == EEXIST)
            made = 0;
        else
            err_errno(e, EX_CANTCREAT, "%s: cannot create it", db->path);
    }
    if (db->sqlite != NULL) {
        sqlite3_close(db->sqlite);
        db->sqlite = NULL;
    }
    file_remove_draft(draft);
    buf_free(&name);
    return made;
}

/* ---------------------------------------------------------------------------- where it may be */

static int check_file_system(struct db *db, const char *dir, struct err *e)
{
    static const struct {
        long magic;
        const char *name;
    } network[] = {
        {0x6969, "nfs"},    {0xff534d42, "cifs"}, {0xfe534d42, "smb2"},   {0x517b, "smb"},
        {0x01021997, "9p"}, {0x5346414f, "afs"},  {0x0bd00bd0, "lustre"}, {0x00c36400, "ceph"},
        {0x564c, "ncp"},    {0x73757245, "coda"},
    };
    struct statfs fs;

    if (statfs(dir, &fs) != 0)
        return err_errno(e, 0, "%s", dir);
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
        if ((unsigned long)fs.f_type == (unsigned long)network[i].magic)
            return err_set(e, EX_CANTCREAT,
                           "%s: on a network file system (%s), where locks and shared memory do "
                           "not work: choose a local -s",
                           db->path, network[i].name);
    return 0;
}

static int check_directory(struct db *db, const char *dir, struct err *e)
{
    struct stat st;

    if (stat(dir, &st) != 0)
        return err_errno(e, 0, "%s", dir);
    if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
        return err_set(e, EX_NOPERM,
                       "%s: everyone can write to its directory (mode %04o): chmod "
                       "o-w %s",
                       db->path, (unsigned)st.st_mode & 07777, dir);
    /* Sticky, like /tmp: files are safe from everyone except their owner and the directory's. */
    if ((st.st_mode & S_IWOTH) && st.st_uid != 0 && st.st_uid != geteuid())
        return err_set(e, EX_NOPERM,
                       "%s: everyone can write to its directory, and another user owns it: choose "
                       "another -s",
                       db->path);
    return check_file_system(db, dir, e);
}

/* 1: there is a file that may be a spool; 0: there is no file; -1. */
static int check_file(struct db *db, struct err *e)
{
    struct stat st;

    if (lstat(db->path, &st) != 0)
        return errno == ENOENT ? 0 : err_errno(e, 0, "%s", db->path);
    if (S_ISLNK(st.st_mode))
        return err_set(e, EX_NOPERM, "%s: is a symbolic link: name the spool itself", db->path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, db->mode == STORE_READ ? EX_NOINPUT : EX_CANTCREAT, "%s: is a %s",
                       db->path, S_ISDIR(st.st_mode) ? "directory" : "device, pipe or socket");
    if (st.st_nlink > 1)
        return err_set(e, EX_NOPERM, "%s: has %ld names (hard links); a spool has one", db->path,
                       (long)st.st_nlink);
    if (st.st_uid != geteuid() && geteuid() != 0)
        return err_set(e, EX_NOPERM, "%s: belongs to another user", db->path);
    if (st.st_mode & (S_IWGRP | S_IWOTH))
        return err_set(e, EX_NOPERM, "%s: others can write to it (mode %04o): chmod 600", db->path,
                       (unsigned)st.st_mode & 07777);
    if (st.st_size == 0)
        return err_set(e, EX_DATAERR, "%s: is an empty file, not a spool: remove it first",
                       db->path);
    return 1;
}

/* Set the absolute path, with everything except its last part resolved. */
static int set_path(struct db *db, const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/'), *base = slash == NULL ? path : slash + 1;
    struct buf full = BUF_INIT;
    char real[PATH_MAX];

    db->path = mem_dup(path, strlen(path)); /* for the messages below */
    if (*path == '\0' || *path == ':' || strncmp(path, "file:", 5) == 0 || *base == '\0')
        return err_set(e, EX_USAGE, "%s: not a file name for a spool", err_quote_text(path).text);
    char *dir = slash == NULL ? mem_dup(".", 1) : mem_dup(path, (size_t)(slash - path) + 1);
    int failed = realpath(dir, real) == NULL;
    if (failed && db->mode == STORE_CREATE) {
        if (make_directories(db->path, e) < 0) {
            free(dir);
            return -1;
        }
        failed = realpath(dir, real) == NULL;
    }
    if (failed && errno == ENOENT)
        err_set(e, EX_NOINPUT, "%s: there is no such directory", dir);
    else if (failed && errno == ENOTDIR)
        err_errno(e, db->mode == STORE_READ ? EX_NOINPUT : EX_CANTCREAT, "%s", dir);
    else if (failed)
        err_errno(e, 0, "%s", dir);
    free(dir);
    if (failed)
        return -1;
    buf_printf(&full, "%s/%s", strcmp(real, "/") == 0 ? "" : real, base);
    free(db->path);
    db->path = mem_dup(full.p, full.n);
    if (full.n > KIT_PATH_LENGTH) {
        buf_free(&full);
        return err_set(
            e, db->mode == STORE_CREATE ? EX_CANTCREAT : EX_NOINPUT,
            "%s: the path is longer than %d bytes, and with what SQLite adds to it for the "
            "files beside it, too long: choose a shorter -s",
            db->path, KIT_PATH_LENGTH);
    }
    buf_puts(&full, "-lock");
    db->lock_path = mem_dup(full.p, full.n);
    buf_free(&full);
    /* Handlers get the path in their environment, where it is checked again. */
    return name_check("the path of the spool", str_of(db->path), NAME_PATH_BYTES, e) < 0
               ? -1
               : check_directory(db, real, e);
}

/* 1: created. */
static int open_spool(struct db *db, struct err *e)
{
    int there = check_file(db, e), created = 0;

    if (there == 0 && db->mode == STORE_CREATE) {
        if ((there = create(db, e)) < 0)
            return -1;
        created = there == 1;
        there = check_file(db, e);
    }
    if (there == 0)
        return err_set(e, EX_NOINPUT,
                       "%s: there is no spool; publish creates one, -s or EVENT_SPOOL "
                       "names another",
                       db->path);
    if (there < 0 || connect(db, db->path, e) < 0)
        return -1;
    return check_identity(db, e) < 0 ? -1 : created;
}

int db_open(struct db **out, const char *name, enum store_mode mode, const struct db *lost,
            struct err *e)
{
    struct db *db = mem_zero(1, sizeof *db);

    /* Before the library's first use: there is one thread, and nobody asks how much memory SQLite
       uses; the locks for both cost a tenth of an insert. */
    sqlite3_config(SQLITE_CONFIG_SINGLETHREAD);
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    sqlite3_config(SQLITE_CONFIG_MMAP_SIZE, (sqlite3_int64)0, (sqlite3_int64)0);
    /* A short process reads ten pages: a block for twenty would be touched from end to end. */
    sqlite3_config(SQLITE_CONFIG_PAGECACHE, NULL, 0, 0);
    (void)lost;
    *out = db;
    db->mode = mode;
    db->lock_fd = -1;
    db->bell_fd = -2;
    int created = set_path(db, name, e) < 0 ? -1 : open_spool(db, e);
    if (created >= 0)
        return created;
    db_close(db);
    *out = NULL;
    return -1;
}

/* The last process to close the spool copies the WAL into the file, which waits for the disk twice.
   Wrappers that stored a number or two leave the WAL as it is: the next process reads a short WAL
   in less time than that, and a longer one is copied as usual. */
static void leave_wal(struct db *db)
{
    if (!db->lasting && db->frames > 0 && db->frames < SHORT_WAL)
        sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    for (size_t i = 0; i < DB_STATEMENTS; i++)
        sqlite3_finalize(db->statement[i].stmt);
    leave_wal(db);
    sqlite3_close(db->sqlite);
    peek_free(db->peek);
    /* After the database: only then may others take over our claims. */
    if (db->lock_fd >= 0)
        close(db->lock_fd);
    if (db->bell_fd >= 0)
        close(db->bell_fd);
    free(db->path);
    free(db->lock_path);
    free(db);
}

const char *db_name(const struct db *db)
{
    return db->path;
}

void db_stop(struct db *db, bool (*stopping)(void))
{
    db->stopping = stopping;
}

bool db_stopping(const struct db *db)
{
    return db->stopping != NULL && db->stopping();
}

bool db_locked(const struct db *db)
{
    return db->locked;
}

bool db_lost(const struct db *db)
{
    (void)db;
    return false;
}

void db_sizes(struct db *db, struct db_sizes *out)
{
    *out = (struct db_sizes){.schema = SCHEMA,
                             .size = space_of_file(db->path, ""),
                             .wal_size = space_of_file(db->path, "-wal")};
}

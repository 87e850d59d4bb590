/*
 * walreset: let other processes commit at the worst moments of a checkpoint (sqlite.org/wal.html,
 * "The WAL-Reset Bug"). To be preloaded into a publish whose input makes it checkpoint:
 *
 *     LD_PRELOAD=walreset.so WALRESET=window|busy|passive WALRESET_LOG=file publish
 *
 * Before its first checkpoint another process commits and the whole WAL is copied, so that the next
 * commit restarts the WAL. After the checkpoint has read the WAL's header and before it does its
 * work, SQLite drops its mapping of the file if anything has changed: at this point another process
 * commits, unless the checkpoint holds the write lock. With a stale header, the checkpoint would
 * then mark frames of the new WAL as copied that are not.
 *
 *     window   only that
 *     busy     the checkpoint does not get the write lock, as if others held it
 *     passive  and sqlite3_interrupt does nothing: SQLite makes a PASSIVE checkpoint of it
 *
 * The log gets a line "committed" or "locked out" for the window, and nothing if there was none.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The locks of a WAL, by their offsets in the -shm file's lock bytes. */
enum { WRITE_LOCK = 0, CHECKPOINT_LOCK = 1 };

enum stage { BEFORE, COPYING, CHECKPOINTING, OVER };

extern char **environ;

static const char *mode, *log_path;
static sqlite3_io_methods real, hooked;
static enum stage stage = OVER;
static bool writing; /* the checkpoint has the write lock */

static void note(const char *line)
{
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0666);

    if (fd < 0 || write(fd, line, strlen(line)) < 0)
        abort();
    close(fd);
}

static void publish_elsewhere(void)
{
    char *argv[] = {"publish", "-t", "other", "-d", "1", NULL};
    pid_t pid;
    int status;

    if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid || status != 0)
        abort();
}

static void copy_all(void)
{
    sqlite3 *other;

    if (sqlite3_open_v2(getenv("EVENT_SPOOL"), &other, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
        sqlite3_exec(other, "SELECT 1 FROM sqlite_schema", NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_wal_checkpoint_v2(other, NULL, SQLITE_CHECKPOINT_FULL, NULL, NULL) != SQLITE_OK)
        abort();
    sqlite3_close(other);
}

static int shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    bool take = (flags & SQLITE_SHM_LOCK) && (flags & SQLITE_SHM_EXCLUSIVE) && n == 1;

    if (stage == BEFORE && take && offset == CHECKPOINT_LOCK) {
        stage = COPYING;
        publish_elsewhere();
        copy_all();
        stage = CHECKPOINTING;
    }
    if (stage == CHECKPOINTING && offset == CHECKPOINT_LOCK && (flags & SQLITE_SHM_UNLOCK))
        stage = OVER;
    if (stage == CHECKPOINTING && take && offset == WRITE_LOCK && strcmp(mode, "window") != 0)
        return SQLITE_BUSY;
    int got = real.xShmLock(file, offset, n, flags);
    if (stage == CHECKPOINTING && offset == WRITE_LOCK)
        writing = take && got == SQLITE_OK;
    return got;
}

static int unfetch(sqlite3_file *file, sqlite3_int64 offset, void *p)
{
    if (stage == CHECKPOINTING && p == NULL) {
        stage = OVER;
        if (!writing)
            publish_elsewhere();
        note(writing ? "locked out\n" : "committed\n");
    }
    return real.xUnfetch(file, offset, p);
}

/* For each connection when it is opened: the first one is the spool's. */
static int hook(sqlite3 *db, const char **error, const struct sqlite3_api_routines *api)
{
    sqlite3_file *file = NULL;

    (void)error;
    (void)api;
    if (hooked.iVersion != 0 ||
        sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
        file->pMethods == NULL || file->pMethods->iVersion < 3)
        return SQLITE_OK;
    real = hooked = *file->pMethods;
    hooked.xShmLock = shm_lock;
    hooked.xUnfetch = unfetch;
    file->pMethods = &hooked;
    stage = BEFORE;
    return SQLITE_OK;
}

void sqlite3_interrupt(sqlite3 *db)
{
    union {
        void *p;
        void (*f)(sqlite3 *);
    } next = {dlsym(RTLD_NEXT, "sqlite3_interrupt")};

    if (strcmp(mode, "passive") != 0)
        next.f(db);
}

__attribute__((constructor)) static void begin(void)
{
    mode = getenv("WALRESET");
    log_path = getenv("WALRESET_LOG");
    unsetenv("LD_PRELOAD");
    if (mode != NULL && log_path != NULL)
        sqlite3_auto_extension((void (*)(void))hook);
}

/*
 * Which processes are alive.
 *
 * An owner is a random number, and its process holds the byte of SPOOL-lock at that offset.
 *
 * If the file is removed or replaced while consumers run, locks in the old file cannot be seen in
 * the new file and every consumer would look dead. So the spool also stores the file's token and
 * inode number. While file and spool disagree, or the path no longer leads to the file that we
 * hold, pid, start time and boot id decide instead whether an owner is alive.
 */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int session_open(struct db *db, struct err *e)
{
    return lock_open(db, e);
}

int session_trusted(struct db *db, struct err *e)
{
    char identity[LOCK_IDENTITY];
    struct query *q;
    int got, same = 0;

    if (!lock_identify(db, identity))
        return 0;
    q = db_query(db, e, SQL("lock_identity", "SELECT value FROM meta WHERE key='lock'"), "");
    if (q == NULL || (got = db_row(db, q, e)) < 0)
        return -1;
    if (got > 0) {
        same = str_is(db_text(q, 0), identity);
        db_done(q);
    }
    return same;
}

int session_adopt(struct db *db, struct err *e)
{
    char identity[LOCK_IDENTITY];

    if (!lock_identify(db, identity))
        return 0;
    return db_run(
               db, e,
               SQL("lock_adopt",
                   "INSERT INTO meta(key,value) VALUES('lock',?1) ON CONFLICT(key) DO UPDATE SET "
                   "value=?1"),
               "t", identity) < 0
               ? -1
               : 0;
}

int64_t session_take(struct db *db, struct err *e)
{
    for (;;) {
        int64_t owner = (int64_t)(clock_random() >> 2) | 1;

        if (lock_byte(db->lock_fd, owner))
            return owner;
        if (errno != EAGAIN && errno != EACCES)
            return err_errno(e, EX_IOERR, "%s: cannot lock", db->lock_path);
    }
}

void session_drop(struct db *db, int64_t owner)
{
    lock_unbyte(db->lock_fd, owner);
}

/* When a process started, in clock ticks since boot, or 0 if there is no such process: field 22 of
   proc(5)'s stat, counted from the end of the command's name, which may contain anything. */
static int64_t start_time(int64_t pid)
{
    char name[40], text[1024], *p;
    int fd;
    ssize_t n;

    snprintf(name, sizeof name, "/proc/%lld/stat", (long long)pid);
    if ((fd = open(name, O_RDONLY | O_CLOEXEC)) < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if ((p = strrchr(text, ')')) == NULL)
        return 0;
    for (int field = 2; field < 22 && p != NULL; field++)
        p = strchr(p + 1, ' ');
    return p == NULL ? 0 : strtoll(p, NULL, 10);
}

static void boot_id(char out[40])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, out, 36);

    if (fd >= 0)
        close(fd);
    out[n < 0 ? 0 : n] = '\0';
}

void session_self(struct db *db, struct session *out)
{
    (void)db;
    *out = (struct session){.pid = getpid()};
    out->started = start_time(out->pid);
    boot_id(out->boot);
}

static bool process_lives(const struct session *of)
{
    char boot[40];

    boot_id(boot);
    return strcmp(boot, of->boot) == 0 && start_time(of->pid) == of->started;
}

/* Our own lock looks free to us. */
bool session_lives(struct db *db, const struct session *of, int trusted)
{
    if (lock_held(db->lock_fd, of->owner))
        return true;
    return (trusted <= 0 || of->pid == getpid()) && process_lives(of);
}

/* A file has no end of its own; and an event may well be what brought the machine down. */
bool session_blameless(struct db *db, const struct session *of)
{
    (void)db;
    (void)of;
    return false;
}

bool session_hidden(struct db *db, const struct session *of)
{
    return !lock_held(db->lock_fd, of->owner) && process_lives(of);
}

void lease_now(struct db *db, struct lease_clock *out)
{
    struct timespec t;

    (void)db;
    clock_gettime(CLOCK_BOOTTIME, &t);
    out->ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    boot_id(out->epoch);
}

/* Even, unlike owners, and above the bytes that lock.c uses for itself. */
static int64_t place_byte(int64_t place, bool tail)
{
    return 4 + 4 * place + (tail ? 2 : 0);
}

int place_take(struct db *db, int64_t place, struct err *e)
{
    (void)e;
    return lock_byte(db->lock_fd, place_byte(place, false));
}

void place_drop(struct db *db, int64_t place)
{
    lock_unbyte(db->lock_fd, place_byte(place, false));
}

int place_tail_open(struct db *db, struct err *e)
{
    int fd = open(db->lock_path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

    return fd < 0 ? err_errno(e, 0, "%s", db->lock_path) : fd;
}

int place_tail_take(struct db *db, int fd, int64_t place, struct err *e)
{
    (void)db;
    (void)e;
    return lock_byte(fd, place_byte(place, true));
}

void place_tail_drop(struct db *db, int fd, int64_t place)
{
    (void)db;
    lock_unbyte(fd, place_byte(place, true));
}

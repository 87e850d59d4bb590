/*
 * SPOOL-lock: which processes are alive, and the bell.
 *
 * An owner is a random number, and its process keeps an open-file-description lock on the byte of
 * SPOOL-lock at that offset (far beyond its end; the file holds only a token). The kernel drops the
 * lock when the process ends, however it ends, and at no other time: closing other descriptors does
 * not release it (a POSIX lock would be released), and children do not keep it past exec
 * (O_CLOEXEC).
 *
 * If the file is removed or replaced while consumers run, locks in the old file cannot be seen in
 * the new file and every consumer would look dead. So the spool also stores the file's token and
 * inode number. While file and spool disagree, or the path no longer leads to the file that we
 * hold, pid, start time and boot id decide instead whether an owner is alive.
 */
#include "store/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TOKEN_SIZE 33    /* 32 hexadecimal digits and a newline */
#define IDENTITY_SIZE 64 /* the token, a space, and a number */

/* Bytes that belong to no owner: owners are odd. */
#define BYTE_TOKEN 0   /* locked while the token is first written */
#define BYTE_WAITING 2 /* share-locked by each process that waits for another's transaction */

static int byte_lock(int fd, int command, int64_t at, short *type)
{
    struct flock lock = {.l_type = *type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    int got = fcntl(fd, command, &lock);

    *type = lock.l_type;
    return got;
}

bool lock_byte(int fd, int64_t at)
{
    short type = F_WRLCK;
    return byte_lock(fd, F_OFD_SETLK, at, &type) == 0;
}

void unlock_byte(int fd, int64_t at)
{
    short type = F_UNLCK;
    byte_lock(fd, F_OFD_SETLK, at, &type);
}

static int read_token(int fd, char token[TOKEN_SIZE])
{
    return pread(fd, token, TOKEN_SIZE, 0) == TOKEN_SIZE ? 0 : -1;
}

static int give_token(struct store *s, struct err *e)
{
    char token[TOKEN_SIZE + 1];
    short type = F_WRLCK;

    int got;
    while ((got = byte_lock(s->lock_fd, F_OFD_SETLKW, BYTE_TOKEN, &type)) != 0 && errno == EINTR)
        type = F_WRLCK;
    if (got != 0)
        return err_errno(e, EX_IOERR, "%s", s->lock_path);
    if (read_token(s->lock_fd, token) != 0) {
        snprintf(token, sizeof token, "%016llx%016llx\n", (unsigned long long)clock_random(),
                 (unsigned long long)clock_random());
        if (pwrite(s->lock_fd, token, TOKEN_SIZE, 0) != TOKEN_SIZE)
            return err_errno(e, EX_IOERR, "%s", s->lock_path);
    }
    type = F_UNLCK;
    byte_lock(s->lock_fd, F_OFD_SETLK, BYTE_TOKEN, &type);
    return 0;
}

int lock_open(struct store *s, struct err *e)
{
    struct stat spool;

    if (s->lock_fd >= 0)
        return 0;
    mode_t mask = umask(0177); /* or a strict umask could create a file that nobody can open */
    s->lock_fd = open(s->lock_path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    umask(mask);
    if (s->lock_fd < 0)
        return err_errno(e, 0, "%s", s->lock_path);
    /* root may use a user's spool, and must not lock that user out of it */
    if (geteuid() == 0 && stat(s->path, &spool) == 0 && spool.st_uid != 0 &&
        fchown(s->lock_fd, spool.st_uid, spool.st_gid) != 0)
        return err_errno(e, 0, "%s", s->lock_path);
    return give_token(s, e);
}

/* Does the path still lead to the file that we hold? */
static bool named_ours(struct store *s)
{
    struct stat ours, named;

    return fstat(s->lock_fd, &ours) == 0 && stat(s->lock_path, &named) == 0 &&
           ours.st_ino == named.st_ino && ours.st_dev == named.st_dev;
}

/* The token and the file's inode number: a copy has the same token, but another number. False when
   the path no longer leads to the file that we hold. */
static bool identify(struct store *s, char out[IDENTITY_SIZE])
{
    char token[TOKEN_SIZE];
    struct stat st;

    if (!named_ours(s) || read_token(s->lock_fd, token) != 0 || fstat(s->lock_fd, &st) != 0)
        return false;
    snprintf(out, IDENTITY_SIZE, "%.*s %llu", TOKEN_SIZE - 1, token, (unsigned long long)st.st_ino);
    return true;
}

int lock_trusted(struct store *s, struct err *e)
{
    char identity[IDENTITY_SIZE];
    sqlite3_stmt *q;
    int got, same = 0;

    if (!identify(s, identity))
        return 0;
    q = db_query(s, e, "SELECT value FROM meta WHERE key='lock'", "");
    if (q == NULL || (got = db_row(s, q, e)) < 0)
        return -1;
    if (got > 0) {
        same = str_is(db_text(q, 0), identity);
        db_done(q);
    }
    return same;
}

int lock_adopt(struct store *s, struct err *e)
{
    char identity[IDENTITY_SIZE];

    if (!identify(s, identity))
        return 0;
    return db_run(s, e,
                  "INSERT INTO meta(key,value) VALUES('lock',?1) ON CONFLICT(key) DO UPDATE SET "
                  "value=?1",
                  "t", identity) < 0
               ? -1
               : 0;
}

int64_t lock_take(struct store *s, struct err *e)
{
    for (;;) {
        int64_t owner = (int64_t)(clock_random() >> 2) | 1;

        if (lock_byte(s->lock_fd, owner))
            return owner;
        if (errno != EAGAIN && errno != EACCES)
            return err_errno(e, EX_IOERR, "%s: cannot lock", s->lock_path);
    }
}

void lock_drop(struct store *s, int64_t owner)
{
    unlock_byte(s->lock_fd, owner);
}

bool lock_free(struct store *s, int64_t owner)
{
    short type = F_WRLCK;
    return byte_lock(s->lock_fd, F_OFD_GETLK, owner, &type) == 0 && type == F_UNLCK;
}

void lock_wait(struct store *s, bool waiting)
{
    struct err ignored = ERR_NONE;
    short type = waiting ? F_RDLCK : F_UNLCK;

    if (s->waiting != waiting && lock_open(s, &ignored) == 0)
        byte_lock(s->lock_fd, F_OFD_SETLK, BYTE_WAITING, &type);
    s->waiting = waiting;
}

bool lock_wanted(struct store *s)
{
    struct err ignored = ERR_NONE;
    short type = F_WRLCK;

    return lock_open(s, &ignored) == 0 &&
           byte_lock(s->lock_fd, F_OFD_GETLK, BYTE_WAITING, &type) == 0 && type != F_UNLCK;
}

void lock_give_way(struct store *s)
{
    const struct timespec pause = {0, 2500000}; /* longer than waiters sleep between two tries */

    if (lock_wanted(s))
        nanosleep(&pause, NULL);
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

void lock_self(struct lock_process *p)
{
    p->pid = getpid();
    p->started = start_time(p->pid);
    boot_id(p->boot);
}

void lock_process_read(struct lock_process *p, sqlite3_stmt *q, int column)
{
    struct str boot = db_text(q, column + 2);
    size_t n = boot.n < sizeof p->boot - 1 ? boot.n : sizeof p->boot - 1;

    *p = (struct lock_process){.pid = sqlite3_column_int64(q, column),
                               .started = sqlite3_column_int64(q, column + 1)};
    if (n > 0)
        memcpy(p->boot, boot.p, n);
}

bool lock_process_lives(const struct lock_process *p)
{
    char boot[40];

    boot_id(boot);
    return strcmp(boot, p->boot) == 0 && start_time(p->pid) == p->started;
}

/* Touching the file needs no descriptor. If nobody has ever waited for the bell, the file may be
   missing, which does not matter. */
void lock_ring(struct store *s)
{
    utimensat(AT_FDCWD, s->lock_path, NULL, AT_SYMLINK_NOFOLLOW);
}

int store_bell(struct store *s)
{
    struct err ignored = ERR_NONE;

    if (s->bell_fd == -2) {
        s->bell_fd = -1;
        if (lock_open(s, &ignored) == 0)
            s->bell_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
        if (s->bell_fd >= 0 &&
            inotify_add_watch(s->bell_fd, s->lock_path, IN_ATTRIB | IN_DELETE_SELF) < 0) {
            close(s->bell_fd);
            s->bell_fd = -1;
        }
    }
    return s->bell_fd;
}

void store_bell_clear(struct store *s)
{
    char events[4096];

    s->moved |= db_moved(s); /* or an idle follower would wait for ever on the old file */
    if (s->bell_fd >= 0)
        while (read(s->bell_fd, events, sizeof events) > 0)
            continue;
}

int store_there(struct store *s, struct err *e)
{
    s->moved |= db_moved(s);
    return s->moved ? db_fail_moved(s, e) : 0;
}

void lock_close(struct store *s)
{
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    if (s->bell_fd >= 0)
        close(s->bell_fd);
}

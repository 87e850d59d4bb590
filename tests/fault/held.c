/*
 * held: abort a process that waits for another process while it keeps a spool locked. To be
 * preloaded:
 *
 *     LD_PRELOAD=held.so HELD_LOG=file command
 *
 * While the process has SQLite's write lock (byte 120 of the -shm file), or a server's (from the
 * statement that takes it to the one that ends the transaction), it may not read from, write to or
 * open a pipe, nor poll with a timeout, except for the server: each may block without limit. Such a
 * call is written to HELD_LOG, and the process aborts. At its end each process writes to HELD_LOG
 * how often it took the lock, so that a test sees that the process was watched. Processes that a
 * command starts are watched as well.
 */
#undef _FORTIFY_SOURCE

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WRITE_LOCK 120 /* WALINDEX_LOCK_OFFSET of SQLite's wal.c */

static int lock_fd = -1; /* the -shm file whose write lock we have, or the server's socket */
static int taken;

static void note(const char *text)
{
    const char *path = getenv("HELD_LOG");

    if (path == NULL)
        return;
    long out = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    syscall(SYS_write, out, text, strlen(text));
    syscall(SYS_close, out);
}

__attribute__((destructor)) static void end(void)
{
    char text[80];

    snprintf(text, sizeof text, "locked %d times\n", taken);
    note(text);
}

static void check(const char *call, bool waits)
{
    char text[80];

    if (lock_fd < 0 || !waits)
        return;
    snprintf(text, sizeof text, "%s under the lock\n", call);
    note(text);
    abort();
}

static bool foreign(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

/* ---------------------------------------------------------------------------------- the calls */

ssize_t read(int fd, void *p, size_t n)
{
    check("read", foreign(fd));
    return syscall(SYS_read, fd, p, n);
}

ssize_t write(int fd, const void *p, size_t n)
{
    check("write", foreign(fd));
    return syscall(SYS_write, fd, p, n);
}

/* What libpq sends: the lock of a spool's writers is taken by a query of its own. */
ssize_t send(int fd, const void *p, size_t n, int flags)
{
    static const char lock[] = "SELECT pg_advisory_xact_lock(", commit[] = "\0COMMIT",
                      rollback[] = "\0ROLLBACK";

    if (memmem(p, n, lock, sizeof lock - 1) != NULL) {
        lock_fd = fd;
        taken++;
    }
    if (fd == lock_fd && (memmem(p, n, commit, sizeof commit) != NULL ||
                          memmem(p, n, rollback, sizeof rollback) != NULL))
        lock_fd = -1;
    return syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

int poll(struct pollfd *fds, nfds_t n, int ms)
{
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};

#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" /* poll's declaration: it only writes them */
    check("poll", ms != 0 && (n != 1 || fds[0].fd != lock_fd));
    return (int)syscall(SYS_ppoll, fds, n, ms < 0 ? NULL : &t, NULL, 0);
}

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t, const sigset_t *mask)
{
    struct timespec left = {0, 0};

    check("ppoll", t == NULL || t->tv_sec > 0 || t->tv_nsec > 0);
    if (t != NULL)
        left = *t; /* the kernel changes it */
    return (int)syscall(SYS_ppoll, fds, n, t == NULL ? NULL : &left, mask, _NSIG / 8);
}

static int open_file(const char *path, int flags, mode_t mode)
{
    struct stat st;

    check("open", stat(path, &st) == 0 && S_ISFIFO(st.st_mode));
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int control(int fd, int command, void *arg)
{
    const struct flock *lock = arg;
    int got = (int)syscall(SYS_fcntl, fd, command, arg);

    if (got < 0 || command != F_SETLK || lock->l_whence != SEEK_SET || lock->l_start > WRITE_LOCK ||
        lock->l_start + lock->l_len <= WRITE_LOCK)
        return got;
    if (lock->l_type == F_WRLCK) {
        lock_fd = fd;
        taken++;
    } else if (fd == lock_fd) {
        lock_fd = -1;
    }
    return got;
}

#include "calls.h"

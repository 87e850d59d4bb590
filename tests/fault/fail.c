/*
 * fail: make the n-th call that changes anything outside the process fail. To be preloaded:
 *
 *     LD_PRELOAD=fail.so FAULT_KIND=kill FAULT_AT=n [FAULT_LOG=file] command
 *
 * FAULT_KIND sets how it fails, and so which calls are counted:
 *
 *     kill     the process ends before the call
 *     torn     half of a write is done, anything else wholly; then the process ends
 *     term     the process gets SIGTERM in front of the call, which succeeds
 *     eio      the call fails with EIO
 *     enospc   with ENOSPC: what needs space, and syncs
 *     enolck   with ENOLCK: locks
 *     eintr    with EINTR: what may wait
 *     short    half of a write is done, and the call says so
 *     enomem   there is no memory: malloc, calloc, realloc return NULL
 *     trace    no fault; each call is a line in FAULT_LOG
 *     blind    locks of others are not seen: F_OFD_GETLK reports none
 *
 * Locks count for faults by which they can fail, but not for the end of the process, which they do
 * not survive. Creating what exists and removing what does not change nothing and never count.
 *
 * With a plus (eio+) all calls from the n-th on fail. FAULT_ONLY=name counts only that call. When a
 * fault happens, the call and its file are written to FAULT_LOG: a loop over n ends when a run
 * writes no such line.
 *
 * Only the command itself is affected, and a command that it becomes, but not the processes that it
 * starts. stderr always works, or the message about the fault would be lost; pipes and connections
 * break only by the end of a process.
 */
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <fcntl.h>
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

enum { WRITE = 1, SYNC = 2, CUT = 4, MAKE = 8, REMOVE = 16, LOCK = 32, WAIT = 64, ALLOCATE = 128 };
enum { SPACE = WRITE | SYNC | CUT | MAKE, LASTING = SPACE | REMOVE };

static const struct kind {
    const char *name;
    int error;
    unsigned calls;
    bool half;
    int signal;
} kinds[] = {
    {"kill", 0, LASTING, false, SIGKILL},
    {"torn", 0, LASTING, true, SIGKILL},
    {"term", 0, LASTING, false, SIGTERM},
    {"eio", EIO, LASTING, false, 0},
    {"enospc", ENOSPC, SPACE, false, 0},
    {"enolck", ENOLCK, LOCK | WAIT, false, 0},
    {"eintr", EINTR, WRITE | SYNC | CUT | WAIT, false, 0},
    {"short", 0, WRITE, true, 0},
    {"enomem", ENOMEM, ALLOCATE, false, 0},
    {"trace", 0, LASTING, false, 0},
    {"blind", 0, 0, false, 0},
};

static const struct kind *kind; /* NULL: no fault is to happen */
static const char *only, *log_path;
static char *log_own, *preload;
static pid_t own;
static long at, count;
static bool forever, trace, blind;

__attribute__((constructor)) static void begin(void)
{
    const char *name = getenv("FAULT_KIND"), *n = getenv("FAULT_AT");
    size_t length = name == NULL ? 0 : strcspn(name, "+");
    const struct kind *found = NULL;

    for (size_t i = 0; name != NULL && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strlen(kinds[i].name) == length && strncmp(name, kinds[i].name, length) == 0)
            found = &kinds[i];
    if (name != NULL && found == NULL) {
        fprintf(stderr, "fail.so: no such FAULT_KIND: %s\n", name);
        _exit(70);
    }
    at = n == NULL ? 0 : strtol(n, NULL, 10);
    trace = found != NULL && strcmp(found->name, "trace") == 0;
    blind = found != NULL && strcmp(found->name, "blind") == 0;
    forever = name != NULL && name[length] == '+';
    only = getenv("FAULT_ONLY");
    log_path = getenv("FAULT_LOG");
    if (log_path != NULL)
        log_path = log_own = strdup(log_path);
    if (getenv("LD_PRELOAD") != NULL)
        preload = strdup(getenv("LD_PRELOAD"));
    own = getpid();
    unsetenv("LD_PRELOAD");
    kind = found; /* set last: what we allocate ourselves does not count */
}

__attribute__((destructor)) static void end(void)
{
    log_path = NULL;
    free(log_own);
    free(preload);
}

/* Bypasses our own functions, so that it is neither counted nor made to fail. */
static void note(const char *call, const char *path, int fd)
{
    char line[600], name[40], file[400] = "";
    ssize_t n;

    if (log_path == NULL)
        return;
    if (path == NULL) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        n = readlink(name, file, sizeof file - 1);
        file[n < 0 ? 0 : n] = '\0';
        path = file;
    }
    int size = snprintf(line, sizeof line, "%s %.500s\n", call, path);
    long out =
        syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    syscall(SYS_write, out, line, size);
    syscall(SYS_close, out);
}

static bool spared(int fd)
{
    struct stat st;

    if (fd == 2)
        return true;
    return fd >= 0 && kind->signal == 0 && !trace && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) &&
           !S_ISDIR(st.st_mode);
}

static bool hit(unsigned sort, const char *name, const char *path, int fd)
{
    if (kind == NULL || !(kind->calls & sort) || spared(fd) ||
        (only != NULL && strcmp(only, name) != 0))
        return false;
    count++;
    if (!trace && count != at && !(forever && count > at))
        return false;
    note(name, path, fd);
    return !trace;
}

/* path or fd is the call's file; sizes of writes are in c. */
static long change(unsigned sort, const char *name, const char *path, int fd, long number, long a,
                   long b, long c, long d, long e)
{
    bool struck = hit(sort, name, path, fd);

    if (struck && kind->error != 0) {
        errno = kind->error;
        return -1;
    }
    if (struck && kind->signal != 0 && !kind->half)
        syscall(SYS_kill, getpid(), kind->signal);
    if (struck && kind->half && sort == WRITE)
        c = (c + 1) / 2;
    long got = syscall(number, a, b, c, d, e);
    if (struck && kind->signal == SIGKILL)
        syscall(SYS_kill, getpid(), SIGKILL);
    return got;
}

/* ---------------------------------------------------------------------------------- the calls */

ssize_t write(int fd, const void *p, size_t n)
{
    return change(WRITE, "write", NULL, fd, SYS_write, fd, (long)p, (long)n, 0, 0);
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t to)
{
    return change(WRITE, "pwrite", NULL, fd, SYS_pwrite64, fd, (long)p, (long)n, to, 0);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    return change(WRITE, "send", NULL, fd, SYS_sendto, fd, (long)p, (long)n, flags, 0);
}

int fdatasync(int fd)
{
    return (int)change(SYNC, "fdatasync", NULL, fd, SYS_fdatasync, fd, 0, 0, 0, 0);
}

int fsync(int fd)
{
    return (int)change(SYNC, "fsync", NULL, fd, SYS_fsync, fd, 0, 0, 0, 0);
}

int ftruncate(int fd, off_t size)
{
    return (int)change(CUT, "ftruncate", NULL, fd, SYS_ftruncate, fd, size, 0, 0, 0);
}

static bool there(const char *path)
{
    return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
}

int unlink(const char *path)
{
    if (!there(path))
        return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    return (int)change(REMOVE, "unlink", path, -1, SYS_unlinkat, AT_FDCWD, (long)path, 0, 0, 0);
}

int mkdir(const char *path, mode_t mode)
{
    if (there(path))
        return (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    return (int)change(MAKE, "mkdir", path, -1, SYS_mkdirat, AT_FDCWD, (long)path, mode, 0, 0);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return (int)change(MAKE, "rename", from, -1, SYS_renameat2, from_dir, (long)from, to_dir,
                       (long)to, flags);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int utimensat(int dir, const char *path, const struct timespec times[2], int flags)
{
    return (int)change(MAKE, "utimensat", path, -1, SYS_utimensat, dir, (long)path, (long)times,
                       flags, 0);
}

static int open_file(const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT) && !there(path))
        return (int)change(MAKE, "open", path, -1, SYS_openat, AT_FDCWD, (long)path, flags, mode,
                           0);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int control(int fd, int command, void *arg)
{
    unsigned sort = command == F_SETLK || command == F_OFD_SETLK     ? LOCK
                    : command == F_SETLKW || command == F_OFD_SETLKW ? WAIT
                                                                     : 0;

    if (blind && command == F_OFD_GETLK) {
        ((struct flock *)arg)->l_type = F_UNLCK;
        return 0;
    }
    if (sort == 0 || ((struct flock *)arg)->l_type == F_UNLCK)
        return (int)syscall(SYS_fcntl, fd, command, arg);
    return (int)change(sort, "lock", NULL, fd, SYS_fcntl, fd, command, (long)arg, 0, 0);
}

/* For an address the command becomes another one. */
int execv(const char *path, char *const argv[])
{
    if (getpid() == own && preload != NULL)
        setenv("LD_PRELOAD", preload, 1);
    return execve(path, argv, environ);
}

#include "calls.h"

#ifdef __GLIBC__ /* has these names, too, for the same calls, and its own functions for memory */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *block, size_t size);

static bool no_memory(const char *name)
{
    if (kind == NULL || !hit(ALLOCATE, name, "", -1))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return no_memory("malloc") ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    return no_memory("calloc") ? NULL : __libc_calloc(n, size);
}

void *realloc(void *block, size_t size)
{
    return no_memory("realloc") ? NULL : __libc_realloc(block, size);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off64_t to)
{
    return pwrite(fd, p, n, to);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

#endif

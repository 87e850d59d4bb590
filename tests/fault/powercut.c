/*
 * powercut: record what is written to a spool, and what is printed about it, in order. To be
 * preloaded:
 *
 *     LD_PRELOAD=powercut.so POWERCUT_LOG=file [POWERCUT_AS=name] command
 *
 * From the record tests/powercut-images makes what a disk could hold after a power cut at any time.
 * Each entry is a line, followed by SIZE bytes if it has a size:
 *
 *     write FILE OFFSET SIZE     cut FILE LENGTH     sync FILE     unlink FILE     said NAME SIZE
 *
 * FILE is the last part of the path of the spool or its WAL; the index of the WAL and the lock file
 * do not survive a restart. "said" is output on stdout, under the name given. Consecutive processes
 * may share a record, but not concurrent ones.
 */
#undef _FORTIFY_SOURCE

#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *spool, *as;
static int out = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWERCUT_LOG");

    spool = getenv("EVENT_SPOOL");
    as = getenv("POWERCUT_AS");
    if (path != NULL && spool != NULL)
        out = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
                           0666);
    unsetenv("LD_PRELOAD");
}

/* The entry's name for a file, NULL if it is not one of the spool's. */
static const char *name_of(const char *path)
{
    size_t n = spool == NULL ? 0 : strlen(spool);

    if (out < 0 || strncmp(path, spool, n) != 0 ||
        (path[n] != '\0' && strcmp(path + n, "-wal") != 0))
        return NULL;
    return strrchr(path, '/') + 1;
}

static const char *name_of_fd(int fd, char path[4096])
{
    char link[40];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = out < 0 ? -1 : readlink(link, path, 4095);
    if (n < 0)
        return NULL;
    path[n] = '\0';
    return name_of(path);
}

/* Write the entry in one call, after the action that it records. */
static void keep(const void *data, size_t size, const char *format, ...)
{
    char line[600];
    va_list ap;

    va_start(ap, format);
    int n = vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    struct iovec parts[] = {{line, (size_t)n}, {(void *)(size_t)data, size}};
    if (syscall(SYS_writev, out, parts, 2) != n + (long)size)
        abort();
}

static ssize_t kept_write(int fd, const void *p, ssize_t got, long to)
{
    char path[4096];
    const char *name;

    if (got > 0 && (name = name_of_fd(fd, path)) != NULL)
        keep(p, (size_t)got, "write %s %ld %zd\n", name, to, got);
    return got;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t to)
{
    return kept_write(fd, p, syscall(SYS_pwrite64, fd, p, n, to), to);
}

ssize_t write(int fd, const void *p, size_t n)
{
    long to = lseek(fd, 0, SEEK_CUR);
    ssize_t got = syscall(SYS_write, fd, p, n);

    if (fd == STDOUT_FILENO && got > 0 && out >= 0)
        keep(p, (size_t)got, "said %s %zd\n", as == NULL ? "-" : as, got);
    return kept_write(fd, p, got, to);
}

static int kept_sync(int fd, long number)
{
    char path[4096];
    int got = (int)syscall(number, fd);
    const char *name = name_of_fd(fd, path);

    if (got == 0 && name != NULL)
        keep(NULL, 0, "sync %s\n", name);
    return got;
}

int fdatasync(int fd)
{
    return kept_sync(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return kept_sync(fd, SYS_fsync);
}

int ftruncate(int fd, off_t size)
{
    char path[4096];
    int got = (int)syscall(SYS_ftruncate, fd, size);
    const char *name = name_of_fd(fd, path);

    if (got == 0 && name != NULL)
        keep(NULL, 0, "cut %s %ld\n", name, (long)size);
    return got;
}

int unlink(const char *path)
{
    int got = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);

    if (got == 0 && name_of(path) != NULL)
        keep(NULL, 0, "unlink %s\n", name_of(path));
    return got;
}

#ifdef __GLIBC__ /* has these names, too, for the same calls */
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t to)
{
    return pwrite(fd, p, n, to);
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}
#endif

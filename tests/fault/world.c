/*
 * world: fake the time of day, and remove inotify. To be preloaded:
 *
 *     LD_PRELOAD=world.so [WORLD_CLOCK=FILE] [WORLD_STEADY=FILE] [WORLD_INOTIFY=none]
 *         [WORLD_BOOT=FILE] [WORLD_WAITS=FILE] command
 *
 * FILE holds a number of seconds that is added to the time of day, and is read at each call, so a
 * test can set the clock of running processes; WORLD_STEADY is the same for the monotonic clock,
 * and for the boot-time clock; WORLD_BOOT for the boot-time clock alone. Each ppoll that times out
 * adds a line with its milliseconds to WORLD_WAITS. This applies to the command and the processes
 * that it starts.
 */
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset(const char *variable)
{
    const char *file = getenv(variable);
    char text[32] = "";
    int fd, was = errno;

    if (file == NULL || (fd = open(file, O_RDONLY | O_CLOEXEC)) < 0) {
        errno = was;
        return 0;
    }
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    errno = was;
    return n <= 0 ? 0 : strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    int got = (int)syscall(SYS_clock_gettime, clock, t);

    if (got == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        t->tv_sec += offset("WORLD_CLOCK");
    if (got == 0 && (clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME))
        t->tv_sec += offset("WORLD_STEADY");
    if (got == 0 && clock == CLOCK_BOOTTIME)
        t->tv_sec += offset("WORLD_BOOT");
    return got;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (t != NULL)
        *t = now.tv_sec;
    return now.tv_sec;
}

int inotify_init1(int flags)
{
    const char *how = getenv("WORLD_INOTIFY");

    if (how != NULL && strcmp(how, "none") == 0) {
        errno = EMFILE;
        return -1;
    }
    return (int)syscall(SYS_inotify_init1, flags);
}

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask)
{
    const char *file = getenv("WORLD_WAITS");
    struct timespec left = {0, 0}; /* the kernel changes its own copy */
    char text[32];
    int fd, got;

    if (timeout != NULL)
        left = *timeout;
    got = (int)syscall(SYS_ppoll, fds, n, timeout == NULL ? NULL : &left, mask, _NSIG / 8);
    if (got != 0 || timeout == NULL || file == NULL)
        return got;
    int len = snprintf(text, sizeof text, "%lld\n",
                       (long long)timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000);
    if ((fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644)) >= 0) {
        if (write(fd, text, (size_t)len) != len)
            abort();
        close(fd);
    }
    return got;
}

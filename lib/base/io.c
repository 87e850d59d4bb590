#include "base/io.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

int io_poll(int fd, short events)
{
    struct pollfd wait = {.fd = fd, .events = events, .revents = 0};

    return poll(&wait, 1, -1);
}

int io_write_until(int fd, const char *p, size_t n, bool (*stop)(void))
{
    while (n > 0) {
        ssize_t wrote = write(fd, p, n);

        if (wrote >= 0) {
            p += wrote;
            n -= (size_t)wrote;
        } else if (errno == EINTR || (errno == EAGAIN && io_poll(fd, POLLOUT) < 0)) {
            if (stop != NULL && stop()) {
                errno = EINTR;
                return -1;
            }
        } else if (errno != EAGAIN) {
            return -1;
        }
    }
    return 0;
}

int io_write(int fd, const void *p, size_t n)
{
    return io_write_until(fd, p, n, NULL);
}

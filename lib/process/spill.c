#include "process/spill.h"

#include "base/io.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int spill_open(struct err *e)
{
    const char *dir = getenv("TMPDIR");
    int fd;

    dir = dir == NULL || *dir == '\0' ? "/tmp" : dir;
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : err_errno(e, EX_CANTCREAT, "cannot make a temporary file in %s", dir);
}

int spill_add(int fd, const char *p, size_t n, struct err *e)
{
    return io_write(fd, p, n) == 0 ? 0 : err_errno(e, EX_IOERR, "a temporary file");
}

int spill_each(int fd, int (*take)(void *to, const char *p, size_t n, struct err *e), void *to,
               struct err *e)
{
    char block[65536];
    ssize_t n;

    for (off_t at = 0; (n = pread(fd, block, sizeof block, at)) > 0; at += n)
        if (take(to, block, (size_t)n, e) < 0)
            return -1;
    return n == 0 ? 0 : err_errno(e, EX_IOERR, "a temporary file");
}

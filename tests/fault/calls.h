/*
 * calls: open and fcntl take a variable argument, and glibc has each under two names. A library
 * that replaces them defines open_file and control, and includes this after them.
 */
#include <fcntl.h>
#include <stdarg.h>

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;                      \
        va_end(ap);                                                                                \
        return open_file(path, flags, mode);                                                       \
    }

#define FCNTL(name)                                                                                \
    int name(int fd, int command, ...)                                                             \
    {                                                                                              \
        va_list ap;                                                                                \
        va_start(ap, command);                                                                     \
        void *arg = va_arg(ap, void *);                                                            \
        va_end(ap);                                                                                \
        return control(fd, command, arg);                                                          \
    }

OPEN(open)
FCNTL(fcntl)

#ifdef __GLIBC__
OPEN(open64)
FCNTL(fcntl64)
#endif

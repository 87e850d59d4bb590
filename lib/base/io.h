/*
 * io: write everything, wait for one descriptor; for descriptors that may be non-blocking.
 */
#ifndef BASE_IO_H
#define BASE_IO_H

#include <stdbool.h>
#include <stddef.h>

/* write(2) until everything is written; poll if the descriptor was made non-blocking. Returns 0, or
   -1 with errno. */
int io_write(int fd, const void *p, size_t n);
/* The same; also -1 with EINTR when a signal came and stop, if given, returns true. */
int io_write_until(int fd, const char *p, size_t n, bool (*stop)(void));

/* Wait for POLLIN or POLLOUT without limit. 1, or -1 with errno: EINTR when a signal came first. */
int io_poll(int fd, short events);

#endif

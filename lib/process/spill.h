/*
 * spill: an unlinked file, for what does not fit in memory.
 */
#ifndef PROCESS_SPILL_H
#define PROCESS_SPILL_H

#include "base/err.h"

#include <stddef.h>

/* Open a new one in TMPDIR. A descriptor, or -1 with 73. */
int spill_open(struct err *e);
/* Append to it. 0, or -1 with 74. */
int spill_add(int fd, const char *p, size_t n, struct err *e);
/* Give each block of it to take, from the beginning, until take returns -1. 0, or -1 with 74 or as
   take did. fd may be any file that has a position. */
int spill_each(int fd, int (*take)(void *to, const char *p, size_t n, struct err *e), void *to,
               struct err *e);

#endif

/*
 * lines: read whole lines.
 *
 * Exact bytes, at most max per line, in memory that depends on max and not on the input. A
 * longer line is skipped up to its newline and reported as LINES_TOO_LONG; the next line is read as
 * usual. EINTR, short reads and non-blocking descriptors are handled here.
 *
 *     while ((got = lines_next(in, &line, &e)) > 0)
 *         if (got == LINES_TOO_LONG) …
 */
#ifndef CLI_LINES_H
#define CLI_LINES_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct lines;

struct line {
    struct str text; /* without its newline; a view, valid until the next call on the same lines */
    int64_t number;  /* from 1 */
    bool newline;    /* false: the input ended without one */
};

enum { LINES_END = 0, LINES_LINE = 1, LINES_TOO_LONG = 2 };

/* path NULL or "-" is stdin. Fails with 66 when there is no such file, 77, 65 for a directory. */
int lines_open(struct lines **in, const char *path, size_t max, struct err *e);
/* LINES_*, or -1 with 74. Waits for input. In a process that has called proc_stage, a signal to
   stop ends the input, too: lines that have arrived by then are still returned, up to 1 MiB of
   them, but lines_next no longer waits, and drops an incomplete line. The input also ends when
   out_watch watches the reader of stdout and that reader has gone. */
int lines_next(struct lines *in, struct line *out, struct err *e);
bool lines_stopped(const struct lines *in); /* a signal to stop, or the reader's going, ended the
                                               input */
bool lines_again(const struct lines *in);   /* a regular file, whose lines can be read a second
                                               time */
/* Can lines_next return without waiting? Also true at the end of the input. Reads the input that is
   available. */
bool lines_waiting(struct lines *in);
/* Is there another line in memory, so that lines_next does not read? A caller that holds a lock
   asks this before each line, and releases the lock first when the answer is no: another reader of
   the same pipe may take the input that is available now, and then the read waits. */
bool lines_ready(struct lines *in);
/* Read on in a file, so that half of a block is there for lines_ready: for a caller that holds no
   lock yet. Does nothing for a pipe. */
void lines_ahead(struct lines *in);
/* Enlarge a pipe to hold as much as one read takes, for a caller that processes all lines that
   lines_ready reports before it reads again: with lines of 1,000 bytes, commits of 64 KiB each take
   1.5 times as long. */
void lines_widen(struct lines *in);
const char *lines_name(const struct lines *in); /* for messages: the path, NULL for stdin */
void lines_close(struct lines *in);

/* How to wait for input: wait as poll(2), which a signal ends with 0; and has one told us to stop?
   proc_stage sets both. Without them lines_next simply reads. */
struct pollfd;
struct lines_waiter {
    int (*wait)(struct pollfd *fds, size_t n, int64_t timeout_ms);
    bool (*stopping)(void);
};
void lines_wait_by(const struct lines_waiter *w);

#endif

/*
 * lines: whole lines in, whole lines or an error out.
 *
 * In: exact bytes, at most max a line, in memory that depends on max and not on the input. A line
 * that is longer is passed over up to its newline and reported as such; the next one is read as
 * usual. EINTR, short reads and non-blocking descriptors are dealt with here.
 *
 *     while ((got = lines_next(in, &line, &e)) > 0)
 *         if (got == LINES_TOO_LONG) …
 */
#ifndef LINES_H
#define LINES_H

#include "buf.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

struct lines;

struct line {
    struct str text; /* without its newline; a view until the next call on the same lines */
    int64_t number;  /* from 1 */
    bool newline;    /* false: the input ended without one */
};

enum { LINES_END = 0, LINES_LINE = 1, LINES_TOO_LONG = 2 };

/* path NULL or "-" is stdin. Fails with 66 when there is no such file, 77, 65 for a directory. */
int lines_open(struct lines **in, const char *path, size_t max, struct err *e);
/* LINES_*, or -1 with 74. Waits for input. */
int lines_next(struct lines *in, struct line *out, struct err *e);
/* Can lines_next return without waiting? Also true at the end of the input. Reads what there is. */
bool lines_waiting(struct lines *in);
/* Is there another line in memory, so that lines_next does not read? Whoever holds a lock asks this
   before each line, and lets go of the lock first when there is none: input that is there now may
   be taken by another reader of the same pipe, and then the read waits. */
bool lines_ready(struct lines *in);
/* Let a pipe hold as much as one read takes, for whoever works through all that lines_ready finds
   before it reads: with lines of 1,000 bytes, 64 KiB a commit take half as long again. */
void lines_widen(struct lines *in);
const char *lines_name(const struct lines *in); /* for messages: the path, NULL for stdin */
void lines_close(struct lines *in);

/*
 * Out: stdout through one block of 64 KiB. Nothing is written in the middle of a line unless the
 * line is larger than the block. The reader's going away (EPIPE) is not an error but a clean stop:
 * out_gone says so, and what is written later goes nowhere.
 * Each returns 0, or -1 with 74 (disk full and the like).
 */
int out_line(struct str line, struct err *e); /* with a newline behind it */
int out_write(const void *p, size_t n, struct err *e);
int out_flush(struct err *e);
bool out_gone(void);
/* When a signal interrupts a write and f says that we are to stop, treat the reader as gone: it
   may never read again. Without this, writing goes on. */
void out_stop_when(bool (*f)(void));

/* The end of every main: flush and close stdout, say what e says, return the exit status. */
int out_finish(struct err *e);

/* write(2) until all is written; poll where someone made the descriptor non-blocking.
   Returns 0, or -1 with errno. */
int write_all(int fd, const void *p, size_t n);

#endif

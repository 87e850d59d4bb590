/*
 * lines: read whole lines; write whole lines or fail.
 *
 * In: exact bytes, at most max per line, in memory that depends on max and not on the input. A
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
#include "base/io.h"
#include "cli/out.h"

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
/* Enlarge a pipe to hold as much as one read takes, for a caller that processes all lines that
   lines_ready reports before it reads again: with lines of 1,000 bytes, commits of 64 KiB each take
   1.5 times as long. */
void lines_widen(struct lines *in);
const char *lines_name(const struct lines *in); /* for messages: the path, NULL for stdin */
void lines_close(struct lines *in);

/*
 * Out: stdout through one block of 64 KiB. No write ends in the middle of a line unless the line is
 * larger than the block. A reader that has gone (EPIPE) is not an error but a clean stop: out_gone
 * is true then, and later output is discarded. Each function returns 0, or -1 with 74 (disk full
 * and the like).
 */
int out_line(struct str line, struct err *e); /* followed by a newline */
int out_write(const void *p, size_t n, struct err *e);
int out_flush(struct err *e);
bool out_gone(void);
/* Watch the reader of stdout, so that a command notices without writing that the reader has gone:
   waits end then (see proc_wait), and out_gone is true. Works only for pipes and sockets. */
void out_watch(void);
bool out_watched(void); /* for proc_wait */
void out_note_gone(void);
/* Did a signal end a write, or did a write fail? Then output is lost although there is a reader. */
bool out_lost(void);
/* When a signal interrupts a write and f returns true, treat the reader as gone: it may never read
   again. Without this, the write continues. */
void out_stop_when(bool (*f)(void));

/* The end of every main: flush and close stdout, report e, return the exit status. */
int out_finish(struct err *e);

/* write(2) until everything is written; poll if the descriptor was made non-blocking. Returns 0, or
   -1 with errno. */
int io_write(int fd, const void *p, size_t n);

#endif

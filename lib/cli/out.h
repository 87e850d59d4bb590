/*
 * out: stdout, through one block of 64 KiB. No write ends in the middle of a line unless the line
 * is larger than the block. A reader that has gone (EPIPE) is not an error but a clean stop:
 * out_gone is true then, and later output is discarded. Each function returns 0, or -1 with 74
 * (disk full and the like).
 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

#include "base/buf.h"
#include "base/err.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

int out_line(struct str line, struct err *e); /* followed by a newline */
/* The same for JSON: on a terminal, what could control it (DEL, C1, bidirectional controls) is
   escaped. */
int out_json(struct str line, struct err *e);
int out_json_lines(struct str text, struct err *e); /* each ends with a newline; many: no copy */
int out_write(const void *p, size_t n, struct err *e);
int out_flush(struct err *e);
bool out_gone(void);
/* Watch the reader of stdout, so that a command notices without writing that the reader has gone:
   waits end then (see proc_wait), and out_gone is true. Works only for pipes and sockets. */
void out_watch(void);
bool out_watched(void);
/* As ppoll(2); also returns when the watched reader of stdout has gone. */
int out_poll(struct pollfd *fds, size_t n, const struct timespec *time, const sigset_t *mask);
/* Did a signal end a write, or did a write fail? Then output is lost although there is a reader. */
bool out_lost(void);
/* When a signal interrupts a write and f returns true, treat the reader as gone: it may never read
   again. Without this, the write continues. */
void out_stop_when(bool (*f)(void));

/* The end of every main: flush and close stdout, report e, return the exit status. */
int out_finish(struct err *e);

#endif

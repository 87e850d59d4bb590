/*
 * err: errors: a status and a message, reported exactly once.
 *
 * Library functions neither print nor exit. They return 0 (or a count), or -1 with the caller's
 * struct err filled in: an exit status from sysexits.h, and a text that begins with the place:
 *
 *     in.ndjson: line 12: duplicate key "id"
 *     group "email": cannot start ./send-email: Permission denied
 *
 * Texts are in lower case, without a full stop and without errno numbers; what came from a user or
 * an event goes through err_quote. Only main turns the text into a message, usually through
 * out_finish (cli/out.h), which puts the name of the command in front.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include "base/buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sysexits.h>

/* Statuses beyond sysexits.h (design 5). */
enum {
    EX_NO = 1,           /* the answer is no: consume made dead letters, a check found something */
    EX_TIMED_OUT = 124,  /* as timeout(1) */
    EX_CANNOT_RUN = 126, /* the command exists but cannot be run */
    EX_NOT_FOUND = 127,  /* the command does not exist */
    EX_SIGNAL = 128,     /* plus the number of the signal that ended it */
};

struct err {
    int status; /* 0: no error */
    char text[1000];
};

/* clang-format off */
#define ERR_NONE {0, {0}}
/* clang-format on */

/* Clear an error. Clearing all 1,000 bytes would be slow where one struct is used many times. */
static inline void err_clear(struct err *e)
{
    e->status = 0;
    e->text[0] = '\0';
}

/* Fill in e and return -1. The first error stays: if e has an error already, this does nothing. */
int err_set(struct err *e, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, followed by ": " and errno in words. Status 0 means: choose the status from errno
   (ENOENT 66, EACCES and EPERM 77, ENOMEM, EAGAIN and EMFILE 71, everything else 74). */
int err_errno(struct err *e, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put a place in front of e's text ("in.ndjson: line 12: "). Returns -1. */
int err_at(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Something that a command needs in order to run, such as its definition, is missing or wrong:
   change status 64 to 66, which as a handler's status would blame the event, to EX_CONFIG. Returns
   -1. */
int err_config(struct err *e);

/* Make text from outside fit for a message: in double quotes, with control and bidirectional
   characters and invalid bytes escaped, cut after 80 characters. Use as err_quote(p, n).text in the
   call. */
struct err_quoted {
    char text[400];
};
struct err_quoted err_quote(const char *p, size_t n);
struct err_quoted err_quote_text(const char *text);

/* Append p[0..n) to b with the same escapes, but uncut and without quotes: for tables and listings
   on a terminal. Tabs and newlines are escaped too, so that one record is one line. */
void err_escape(struct buf *b, const char *p, size_t n);

#endif

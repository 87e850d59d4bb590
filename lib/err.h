/*
 * err: what went wrong, told once.
 *
 * Library functions neither print nor exit. They return 0 (or a count), or -1 with the caller's
 * struct err filled in: an exit status from sysexits.h, and a text that starts at the place:
 *
 *     in.ndjson: line 12: duplicate key "id"
 *     group "email": cannot start ./send-email: Permission denied
 *
 * Lower case, no full stop, no errno numbers; what came from a user or an event goes through
 * err_quote. Only main turns it into a message, usually through out_finish (lines.h), and then
 * the name of the command stands in front.
 *
 * Messages are one write(2) each, so that processes sharing a terminal do not interleave, and
 * control characters in them are shown as \x1b or \u009b. err_format says whether they are text or
 * (--log json) one JSON object a line: time, level, cmd, msg, code, and of an event what is known:
 * id, type, group, attempt, correlationid.
 */
#ifndef ERR_H
#define ERR_H

#include "buf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sysexits.h>

/* Statuses beyond sysexits.h (design 5). */
enum {
    EX_NO = 1,           /* the answer is no: consume made dead letters, a check found something */
    EX_TIMED_OUT = 124,  /* as timeout(1) */
    EX_CANNOT_RUN = 126, /* the command is there but cannot be run */
    EX_NOT_FOUND = 127,  /* the command is not there */
    EX_SIGNAL = 128,     /* plus the number of the signal that ended it */
};

struct err {
    int status; /* 0: nothing happened */
    char text[1000];
};

/* clang-format off */
#define ERR_NONE {0, {0}}
/* clang-format on */

/* Forget it; where one is used again and again, clearing 1,000 bytes each time shows. */
static inline void err_clear(struct err *e)
{
    e->status = 0;
    e->text[0] = '\0';
}

/* Fill e in and return -1. The first error stays: a second one is ignored. */
int err_set(struct err *e, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": " and errno in words behind it. Status 0 means: choose it from errno
   (ENOENT 66, EACCES and EPERM 77, ENOMEM, EAGAIN and EMFILE 71, everything else 74). */
int err_errno(struct err *e, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put a place in front of what e already says ("in.ndjson: line 12: "). Returns -1. */
int err_at(struct err *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What a command needs to be run at all, such as its definition, is missing or wrong: EX_CONFIG
   instead of 64 to 66, which as a handler's status would blame the event. Returns -1. */
int err_config(struct err *e);

/* Text from outside, fit for a message: in double quotes, control and bidirectional characters
   and invalid bytes escaped, cut after 80 characters. Use as err_quote(p, n).text in the call. */
struct err_quoted {
    char text[400];
};
struct err_quoted err_quote(const char *p, size_t n);
struct err_quoted err_quote_text(const char *text);

/* Append p[0..n) to b with the same escapes, uncut and without quotes: for tables and listings on
   a terminal. Tabs and newlines are escaped too: one record is one line. */
void err_escape(struct buf *b, const char *p, size_t n);

enum err_level { ERR_NOTE, ERR_WARN, ERR_ERROR };
enum err_format { ERR_TEXT, ERR_JSON };

/* What a message is about, all optional; only --log json shows it. */
struct err_about {
    struct str id, type, group, correlationid;
    int64_t attempt;
};

void err_name(const char *command); /* the word in front of each message; kept, not copied */
const char *err_command(void);
void err_format(enum err_format format);

/* Say something on stderr now. code is the status that goes with it, 0 for none. */
void err_say(enum err_level level, int code, const struct err_about *about, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void err_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void err_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Pass on a line that somebody else wrote to stderr, without our name in front. */
void err_pass(const struct err_about *about, const char *p, size_t n);

/* Say what e says, if anything, as an error, and return its status. */
int err_report(const struct err *e);

#endif

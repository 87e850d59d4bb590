/*
 * say: messages on stderr. Only mains, and what they call to report on the way, print; everything
 * else fills in a struct err (base/err.h).
 *
 * Each message is one write(2), so that processes sharing a terminal do not interleave, and control
 * characters are shown as \x1b or \u009b. err_format chooses between text and (--log json) one JSON
 * object per line, with time, level, cmd, msg, code, and what is known of the event: id, type,
 * group, attempt, correlationid.
 *
 * The command's name and the format are the process's.
 */
#ifndef CLI_SAY_H
#define CLI_SAY_H

#include "base/err.h"

enum say_level { SAY_NOTE, SAY_WARN, SAY_ERROR };
enum say_format { SAY_TEXT, SAY_JSON };

/* What a message is about. All fields are optional, and only --log json shows them. */
struct say_about {
    struct str id, type, group, correlationid;
    int64_t attempt;
};

void say_name(const char *command); /* the word in front of each message; kept, not copied */
const char *say_command(void);
void say_format(enum say_format format);

/* Write a message to stderr now. code is the status that goes with it, 0 for none. */
void say(enum say_level level, int code, const struct say_about *about, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void say_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void say_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Pass on a line that another program wrote to stderr, without our name in front. */
void say_pass(const struct say_about *about, const char *p, size_t n);

/* How far a long run is, on a terminal: a line that changes, from a second after the beginning on.
   End it before you write anything else. */
void say_progress_begin(void);
void say_progress(int64_t seq, int64_t last);
void say_progress_end(void);

/* If e has an error, write it to stderr. Returns e's status. */
int say_report(const struct err *e);

#endif

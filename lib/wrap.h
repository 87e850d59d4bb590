/*
 * wrap: run the command behind a wrapper to its end, once or several times.
 *
 *     wrap_stage();                       before anything is opened
 *     wrap_stdin(&input, &e);             only when it may have to be read more than once
 *     child_init(&c);
 *     wrap_run(&c, &(struct wrap){.argv = argv, .input = &input}, &e);
 *     c.status, c.took_ms, child_output(&c, NULL, &e)
 *     child_reset(&c);
 *
 * The command has our stderr, our environment, and the descriptors that we were started with. A
 * signal to us reaches it; a second one kills it and all that it started.
 * When we are killed, so is it.
 */
#ifndef WRAP_H
#define WRAP_H

#include "child.h"

#include <stdbool.h>
#include <sys/types.h>

/* What stands on the command line: NAME at argv[first], which has to be one line of text, and the
   command from there on, "--" left out; NULL: there is none. Wrong usage does not return. */
const char *wrap_name(int first, char **argv);
char **wrap_command(char **argv);

/* As proc_stage; and is somebody listening to our word? */
void wrap_stage(void);

/* Our stdin as something that can be read again from its beginning: a file as it is; a pipe copied
   to memory, or beyond CHILD_MEMORY_MAX to an unlinked file; a terminal as it is, not again. */
struct wrap_input {
    int fd; /* -1: stdin as it is, from start if that is not -1 */
    off_t start;
};
/* Reads a pipe to its end, or until a signal comes: then 75. 0 or -1: 71, 73, 74. */
int wrap_stdin(struct wrap_input *in, struct err *e);
/* All of it, up to 32 MiB (65 above); a run still gets it from its beginning. */
int wrap_read(const struct wrap_input *in, struct buf *out, struct err *e);
void wrap_forget(struct wrap_input *in);

struct wrap {
    char *const *argv;
    const struct wrap_input *input; /* NULL: our stdin */
    bool hold;                      /* stdout is held back: see child_output */
    bool word;                      /* it has a descriptor 3 of ours: see child.delay_ms */
    int64_t timeout_ms;             /* 0: none */
};
/* 0 when it has run and ended, however: see c. -1 as child_start: 126, 127, 71, 65. */
int wrap_run(struct child *c, const struct wrap *w, struct err *e);

/* Sleep, or until a signal comes: then false. */
bool wrap_sleep(int64_t ms);

/* Does whoever started us listen to our word? */
bool wrap_heard(void);
/* Say to them, if they do, when to try again and why: see consume's words. delay
   negative, reason absent: no such word. */
void wrap_say(int64_t delay_ms, struct str reason);

/* The status of a wrapper that a signal ended before its command could: 128 + n. */
int wrap_stopped(void);

#endif

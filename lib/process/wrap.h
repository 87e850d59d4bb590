/*
 * wrap: run a wrapper's command to its end, once or several times.
 *
 *     wrap_stage();                       before anything is opened
 *     wrap_stdin(&input, &e);             only if stdin may have to be read more than once
 *     child_init(&c);
 *     wrap_run(&c, &(struct wrap){.argv = argv, .input = &input}, &e);
 *     c.status, c.took_ms, child_output(&c, NULL, &e)
 *     child_reset(&c);
 *
 * The command has our stderr, our environment, and the descriptors that we were started with. A
 * signal to us also reaches the command; a second signal kills the command and all processes that
 * it started. When we are killed, so is the command.
 */
#ifndef PROCESS_WRAP_H
#define PROCESS_WRAP_H

#include "process/child.h"

#include <stdbool.h>
#include <sys/types.h>

/* Parts of the command line: wrap_name returns the NAME at argv[first], which has to be one line of
   text; wrap_command returns the command at argv, without a leading "--", or NULL without one.
   They do not return on wrong usage. */
const char *wrap_name(int first, char **argv);
char **wrap_command(char **argv);

/* As proc_stage; also find out whether our parent reads descriptor 3 (wrap_heard). */
void wrap_stage(void);

/* Our stdin in a form that can be read again from its beginning: a file is used as it is; a pipe is
   copied to memory, or above CHILD_MEMORY_MAX to an unlinked file; a terminal is used as it is, and
   cannot be read again. */
struct wrap_input {
    int fd; /* -1: stdin as it is, from start if that is not -1 */
    off_t start;
};
/* Reads a pipe to its end, or until a signal comes. 0, or -1 with 71, 73, 74, or 75 for a
   signal. */
int wrap_stdin(struct wrap_input *in, struct err *e);
/* Read all of the input, up to 32 MiB (65 above that); a run still gets it from its beginning. */
int wrap_read(const struct wrap_input *in, struct buf *out, struct err *e);
void wrap_forget(struct wrap_input *in);

/* What the command must not outlive, such as the connection by which others know that we have
   something. */
struct wrap_need {
    int line; /* a descriptor that has input when there is news of it */
    int (*there)(void *of, struct err *e); /* called after each wait. 0, or -1: it is gone */
    void *of;
};

struct wrap {
    char *const *argv;
    const struct wrap_input *input; /* NULL: our stdin */
    const struct wrap_need *need;   /* NULL: nothing */
    bool hold;                      /* stdout is held back: see child_output */
    bool word;                      /* give it a descriptor 3 that we read: see child.delay_ms */
    int64_t timeout_ms;             /* 0: none */
};
/* 0 when the command has run and ended in any way: see c. -1 as child_start: 126, 127, 71, 65; or
   as need->there, and then the command and all that it started have been killed. */
int wrap_run(struct child *c, const struct wrap *w, struct err *e);

/* Sleep. False when a signal ended the sleep. */
bool wrap_sleep(int64_t ms);

/* Does our parent read our words on descriptor 3? */
bool wrap_heard(void);
/* Write to the parent, if it reads our words, when to try again and why: see the words in
   consume(1). A negative delay or an absent reason writes no such word. */
void wrap_say(int64_t delay_ms, struct str reason);

/* Returns the exit status of a wrapper that a signal ended before its command ended: 128 + n. */
int wrap_stopped(void);

#endif

/*
 * child: one run of a command for one input. The input goes to the command's stdin; its stdout is
 * held back until the caller decides; its stderr is passed on line by line, escaped, and the end of
 * it is kept.
 *
 *     child_init(&c);
 *     child_start(&c, &run, &e);
 *     … for each child: child_fds, wait with proc_wait, child_io with what came …
 *     … proc_reap says that it ended: child_ended(&c, wait_status) …
 *     while (!child_done(&c, now)) …          its output may outlive it a moment
 *     c.status, c.why, child_output, c.tail
 *     child_reset(&c);
 *
 * On its descriptor 3 the command may write words: lines like "delay 30s" and "reason card
 * declined", which refine a status other than 0. They are read as they come, and the last of each
 * kind counts.
 *
 * A wrapper passes the command's descriptors 0 to 3 in given: a descriptor, CHILD_PIPE for a pipe
 * as above, or for 3 also CHILD_NONE. The command is then a wrapped one (proc.h), and killing it
 * kills all our descendants.
 *
 * The outcome is the exit status alone: a command may ignore its input, close its output early, or
 * leave a daemon behind that keeps the pipe open. When timeout_ms is over, the command and its
 * descendants get SIGTERM, and after the grace SIGKILL.
 */
#ifndef PROCESS_CHILD_H
#define PROCESS_CHILD_H

#include "base/buf.h"
#include "base/err.h"
#include "cli/say.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILD_OUTPUT_MAX (64 << 20)  /* more on stdout fails the run, except a wrapper's */
#define CHILD_MEMORY_MAX (256 << 10) /* of the output in memory; the rest in an unlinked file */
#define CHILD_TAIL_MAX 4096
#define CHILD_FDS 4
#define CHILD_PIPE (-1)
#define CHILD_NONE (-2)
#define CHILD_REASON_MAX 500

struct child_run {
    char *const *argv, *const *envp;
    struct str input;   /* a view: stays valid until child_reset */
    bool stay;          /* more input comes through child_feed; the caller takes output as it
                               comes */
    bool one_end;       /* the ends of its pipes are seen when it ends itself: see child_start */
    const int *given;   /* for wrappers, see below; NULL: pipes, as above */
    const char *marker; /* a view, not copied: see proc_kill */
    int fd4;            /* becomes the command's descriptor 4; 0: none */
    int64_t timeout_ms; /* 0: none */
    int64_t grace_ms;   /* between SIGTERM and SIGKILL */
    struct say_about about; /* for its stderr lines under --log json */
};

struct child {
    pid_t pid;                   /* 0: not running */
    bool ended;                  /* reaped; status and why are set */
    int status;                  /* as the shell would show it; 124 after a timeout */
    const char *why;             /* "exit status 3", "killed by signal 9 (Killed): its reason" */
    int64_t delay_ms;            /* the command's word about when to try again; -1: none */
    int64_t started_ms, took_ms; /* wall time; monotonic */
    struct str tail;             /* of its stderr, once done; a view, valid until child_reset */

    /* the child's own */
    struct child_run run;
    int fd[CHILD_FDS], theirs[CHILD_FDS], spill;
    size_t fed;
    struct buf in, out, errors, line, word, reason, text;
    int64_t out_size, began_ms, ended_ms, kill_at_ms;
    enum { CHILD_RUNS, CHILD_TERMED, CHILD_KILLED } force;
    bool timed_out, too_much, open, last_input, lost;
};

void child_init(struct child *c);
/* 0, or as proc_start -1 with 127, 126, 71 or 65, and errno; then nothing runs. A command that ends
   closes its pipes one after the other, and each would wake us: with one_end we keep its ends open
   until it has ended, which takes three more descriptors. */
int child_start(struct child *c, const struct child_run *run, struct err *e);

/* The descriptors that the child waits for, at most CHILD_FDS; returns how many. */
size_t child_fds(const struct child *c, struct pollfd *fds);
/* Move the data that can be moved, and act on timeouts. now_ms is monotonic. 0, or -1 with 73 or
   74: an I/O error, so the output cannot be kept. */
int child_io(struct child *c, int64_t now_ms, struct err *e);
/* The latest time at which child_io must be called again; INT64_MAX: only when a descriptor is
   ready. */
int64_t child_deadline(const struct child *c);
void child_stop(struct child *c, int64_t now_ms); /* SIGTERM now, SIGKILL after half a second */
void child_lose(struct child *c, int64_t now_ms); /* SIGKILL, because its output cannot be kept;
                                                     sets lost */
void child_ended(struct child *c, int wait_status, int64_t now_ms);
bool child_done(struct child *c);

/* For a child that stays: its output so far is c->out, from which the caller takes it. */
void child_feed(struct child *c, struct str input);
void child_end_input(struct child *c);
void child_time_up(struct child *c, int64_t now_ms); /* as when timeout_ms is over */

bool child_has_output(const struct child *c);
/* Append what it printed to into (NULL: write it to our stdout). 0 or -1. */
int child_output(struct child *c, struct buf *into, struct err *e);
void child_reset(struct child *c);
void child_free(struct child *c);

#endif

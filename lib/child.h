/*
 * child: one run of a command for one input. The input goes to its stdin; its stdout is held back
 * until the caller decides; its stderr is passed on line by line, escaped, and the last of it kept.
 *
 *     child_init(&c);
 *     child_start(&c, &run, &e);
 *     … for each child: child_fds, wait with proc_wait, child_io with what came …
 *     … proc_reap says that it ended: child_ended(&c, wait_status) …
 *     while (!child_done(&c, now)) …          its output may outlive it a moment
 *     c.status, c.why, child_output, c.tail
 *     child_reset(&c);
 *
 * Its descriptor 3 is for its word: lines like "delay 30s" and "reason card declined", which refine
 * a status that is not 0. They are read all the time, and the last of each kind counts.
 *
 * A wrapper gives it descriptors of its own for 0 to 3, CHILD_PIPE for a pipe as above, or for 3
 * CHILD_NONE. It is then a wrapped one (proc.h), and all our descendants go with it.
 *
 * The outcome is the exit status alone: a command that ignores its input, closes its output early
 * or leaves a daemon behind that keeps the pipe open is as good as any other. When the time is up
 * it and its descendants get SIGTERM, and after the grace SIGKILL.
 */
#ifndef CHILD_H
#define CHILD_H

#include "buf.h"
#include "err.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CHILD_OUTPUT_MAX (64 << 20)  /* more on stdout fails the run, but for a wrapper's */
#define CHILD_MEMORY_MAX (256 << 10) /* of it in memory; the rest in an unlinked file */
#define CHILD_TAIL_MAX 4096
#define CHILD_FDS 4
#define CHILD_PIPE (-1)
#define CHILD_NONE (-2)
#define CHILD_REASON_MAX 500

struct child_run {
    char *const *argv, *const *envp;
    struct str input;       /* a view: stays valid until child_reset */
    bool stay;              /* more input comes through child_feed, output is taken as it comes */
    const int *given;       /* for wrappers, see below; NULL: pipes, as above */
    const char *marker;     /* kept, not copied: see proc_kill */
    int fd4;                /* becomes its descriptor 4; 0: it has none */
    int64_t timeout_ms;     /* 0: none */
    int64_t grace_ms;       /* between SIGTERM and SIGKILL */
    struct err_about about; /* for its stderr lines under --log json */
};

struct child {
    pid_t pid;                   /* 0: not running */
    bool ended;                  /* reaped; status and why are set */
    int status;                  /* as the shell would show it; 124 when its time was up */
    const char *why;             /* "exit status 3", "killed by signal 9 (Killed): its reason" */
    int64_t delay_ms;            /* its word about when to try again; -1: none */
    int64_t started_ms, took_ms; /* wall time; monotonic */
    struct str tail;             /* of its stderr, once done; a view until child_reset */

    /* the child's own */
    struct child_run run;
    int fd[CHILD_FDS], spill;
    size_t fed;
    struct buf in, out, errors, line, word, reason, text;
    int64_t out_size, began_ms, ended_ms, kill_at_ms;
    enum { CHILD_RUNS, CHILD_TERMED, CHILD_KILLED } force;
    bool timed_out, too_much, open, last_input, lost;
};

void child_init(struct child *c);
/* As proc_start: -1 with 127, 126, 71 or 65, and errno; then nothing runs. */
int child_start(struct child *c, const struct child_run *run, struct err *e);

/* The descriptors it waits for, at most CHILD_FDS of them; returns how many. */
size_t child_fds(const struct child *c, struct pollfd *fds);
/* Move what can be moved, and act on the clock. now_ms is monotonic. 0, or -1: an I/O error, so its
   output cannot be kept: 73 or 74. */
int child_io(struct child *c, int64_t now_ms, struct err *e);
/* When child_io wants to be called again at the latest; INT64_MAX: when a descriptor is ready. */
int64_t child_deadline(const struct child *c);
void child_stop(struct child *c, int64_t now_ms); /* SIGTERM now, SIGKILL after half a second */
void child_lose(struct child *c, int64_t now_ms); /* SIGKILL: its output cannot be kept; lost */
void child_ended(struct child *c, int wait_status, int64_t now_ms);
bool child_done(struct child *c);

/* One that stays: its output so far is c->out, for the caller to take from. */
void child_feed(struct child *c, struct str input);
void child_end_input(struct child *c);
void child_time_up(struct child *c, int64_t now_ms); /* as if timeout_ms were over */

bool child_has_output(const struct child *c);
int child_output(struct child *c, struct buf *into, struct err *e); /* NULL: to our stdout */
void child_reset(struct child *c);
void child_free(struct child *c);

#endif

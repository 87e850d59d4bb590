/*
 * proc: signals and child processes, for commands that run others.
 *
 * proc_stage blocks SIGCHLD, SIGTERM, SIGINT and SIGHUP; they get through only inside proc_wait
 * and between proc_open and proc_shut, so nothing slips in between a check and the wait that
 * follows, and no system call of SQLite's is ever interrupted. SIGHUP and SIGINT stay ignored if
 * they were when we were started, as nohup and the background jobs of scripts have it. It also
 * makes this process the subreaper of its descendants: what a handler leaves behind becomes our
 * child, and can be found.
 *
 * Its state is the process's own: signals have no other place to keep theirs.
 */
#ifndef PROC_H
#define PROC_H

#include "buf.h"
#include "err.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

void proc_stage(void);
bool proc_staged(void);
/* How often a SIGTERM, SIGINT or SIGHUP has told us to stop, pending ones too. One that timeout(1)
   sends twice, or that a parent passes on after the whole process group has got it, counts once. */
int proc_stops(void);
bool proc_stopping(void); /* at least once: begin nothing more */
int proc_signal(void);    /* the last of them, 0: none */
bool proc_sent(void);     /* a process sent it to us, not the terminal to all in the foreground */
/* What has been done already is finished all the same: settled, recorded, printed. That may wait
   for others, until a second signal comes, or the grace after the first one is over. */
bool proc_forced(void);
void proc_grace(int64_t ms); /* how long that is; by default there is no end to it */
void proc_open(void);        /* let signals through: a write that blocks ends with EINTR */
void proc_shut(void);

/* Wait for descriptors or a signal, -1 for ever, not at all when a signal has come since the last
   wait. Returns what poll(2) would; 0 for a signal, or when the reader of stdout has gone (see
   out_watch in lines.h). Also for who has not called proc_stage: then it is poll(2). */
int proc_wait(struct pollfd *fds, size_t n, int64_t timeout_ms);

/*
 * Start a command, looked up in PATH, with fd[0..n) as its descriptors 0 to n - 1 and nothing else
 * open; n is 3 to PROC_FDS. It leads a session of its own: were it only a process group, a command
 * that asks a question on /dev/tty would be stopped there for ever, and now finds no terminal. It
 * has the signal mask that we were started with and default actions, and is killed by the kernel
 * when we die.
 *
 * A wrapped one is what a user runs through us, as with nice(1): it keeps all descriptors that we
 * were started with, stays in our process group, and so in the foreground of a terminal.
 * Returns its pid, or -1 and errno: 127 not found, 126 cannot be run, 71 no process, descriptor or
 * memory to be had just now, 65 the environment is too large for the kernel.
 */
#define PROC_FDS 5
pid_t proc_start(char *const argv[], char *const envp[], const int *fd, int n, bool wrapped,
                 struct err *e);
/* Become the command, after proc_stage or without: returns only when that fails, 126 or 127. */
int proc_exec(char *const argv[], struct err *e);

/* Is the command there? Asked before anything is claimed for it. 0, or -1 with 126 or 127. */
int proc_check(const char *name, struct err *e);

/* The next child that has ended: its pid, 0 when there is none just now. */
pid_t proc_reap(int *wait_status);
int proc_status(int wait_status); /* as the shell would: 128 + n for signal n */

/*
 * Send a signal to a child's process group, to all its descendants whatever groups they made, and
 * to those of ours whose parents have died and whose environment has the marker ("EVENT_SEQ=17"),
 * which is how a daemon is recognised that its handler left behind. leader 0: only the latter;
 * marker NULL: those without an EVENT_SEQ, which have cleared their environment. Without /proc only
 * the process group can be found.
 */
void proc_kill(pid_t leader, const char *marker, int signal_number);
/* Every descendant of this process; without /proc the child, if it is not 0. */
void proc_kill_all(pid_t child, int signal_number);

#endif

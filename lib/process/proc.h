/*
 * proc: signals and child processes, for commands that run others.
 *
 * proc_stage blocks SIGCHLD, SIGTERM, SIGINT and SIGHUP; they are delivered only inside proc_wait
 * and between proc_unblock and proc_block, so no signal arrives between a check and the wait that
 * follows, and no system call of SQLite is ever interrupted. SIGHUP and SIGINT stay ignored if they
 * were ignored when we were started, as under nohup or in the background jobs of scripts.
 * proc_stage also makes this process the subreaper of its descendants: a process that a handler
 * leaves behind becomes our child, and can be found.
 *
 * Its state is global to the process, because signals are. proc_signals.c has the signals,
 * proc_start.c starts children, and proc_kill.c ends them.
 */
#ifndef PROCESS_PROC_H
#define PROCESS_PROC_H

#include "base/buf.h"
#include "base/err.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

void proc_stage(void);
bool proc_staged(void);
/* How often a SIGTERM, SIGINT or SIGHUP has told us to stop, pending signals included. A signal
   that timeout(1) sends twice, or that a parent forwards after the whole process group has received
   it, counts once. */
int proc_stops(void);
bool proc_stopping(void); /* proc_stops() > 0: begin nothing more */
int proc_signal(void);    /* the last of these signals, 0: none */
bool proc_sent(void);     /* a process sent the signal to us, rather than the terminal to its
                             foreground group */
/* Work that has been done is still finished after a signal: settled, recorded, printed. Finishing
   may wait for other processes until this is true: a second signal has come, or the grace after the
   first signal is over. */
bool proc_forced(void);
void proc_grace(int64_t ms); /* how long the grace is; without this call it never ends */
void proc_unblock(void);     /* unblock signals: a write that blocks ends with EINTR */
void proc_block(void);
/* For who starts a command: proc_unstage undoes proc_stage, and does nothing without it; proc_mask
   is the signal mask that we were started with, empty without proc_stage. */
void proc_unstage(void);
const sigset_t *proc_mask(void);

/* Wait for descriptors or a signal; timeout_ms -1 waits without limit; if a signal has come since
   the last wait, return at once. Returns what poll(2) would; 0 for a signal, or when the reader of
   stdout has gone (see out_watch in lines.h). Without proc_stage this is plain poll(2). */
int proc_wait(struct pollfd *fds, size_t n, int64_t timeout_ms);

/*
 * Start a command, looked up in PATH, with fd[0..n) as its descriptors 0 to n - 1 and nothing else
 * open; n is 3 to PROC_FDS. The command leads a session of its own, so a command that asks a
 * question on /dev/tty finds no terminal; in a mere process group of its own it would be stopped
 * there indefinitely. It gets the signal mask that we were started with and default actions, and
 * the kernel kills it when we die.
 *
 * A wrapped command is one that a user runs through us, as with nice(1): it keeps all descriptors
 * that we were started with and stays in our process group, and so in the foreground of a terminal.
 * Returns its pid, or -1 and errno: 127 not found, 126 cannot be run, 71 no process, descriptor or
 * memory available right now, 65 the environment is too large for the kernel.
 */
#define PROC_FDS 5
pid_t proc_start(char *const argv[], char *const envp[], const int *fd, int n, bool wrapped,
                 struct err *e);
/* Replace this process by the command, with or without proc_stage before: returns only on failure,
   with 126 or 127. */
int proc_exec(char *const argv[], struct err *e);

/* Does the command exist, and can it be run? Call this before claiming work for it. 0, or -1 with
   126 or 127. */
int proc_check(const char *name, struct err *e);

/* Reap the next child that has ended: its pid, or 0 when none has. */
pid_t proc_reap(int *wait_status);
int proc_status(int wait_status); /* as the shell would: 128 + n for signal n */

/*
 * Send a signal to a child's process group, to all its descendants whatever process groups they
 * made, and to those of our own children whose parents have died and whose environment has the
 * marker ("EVENT_SEQ=17"), by which a daemon that a handler left behind is recognised. leader 0:
 * only these children; marker NULL: those without an EVENT_SEQ, which have cleared their
 * environment. Without /proc only the process group can be found.
 */
void proc_kill(pid_t leader, const char *marker, int signal_number);
/* Send a signal to every descendant of this process; without /proc to the child, if it is not 0. */
void proc_kill_all(pid_t child, int signal_number);
/* Kill every descendant, and return when none is left. */
void proc_end_all(void);

#endif

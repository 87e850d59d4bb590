/*
 * proc: the signals that this process gets, and waiting without missing one.
 */
#include "process/proc.h"

#include "base/clock.h"
#include "cli/lines.h"
#include "cli/out.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SAME_MS 1000

static volatile sig_atomic_t stops;
static volatile sig_atomic_t last;    /* the last signal */
static volatile sig_atomic_t sender;  /* the process that sent it; 0: the kernel, for a key press */
static volatile sig_atomic_t doubted; /* it came once more, and may be a repetition of the same
                                         stop */
static volatile sig_atomic_t noticed; /* a signal that has not been acted on yet */
static int64_t first_ms, last_ms;     /* monotonic: when the first and the last came */
static int64_t grace_ms = -1;         /* from the first signal until proc_forced; -1: no limit */
static sigset_t ours, before;         /* the signals blocked now, and when we were started */
static sigset_t stoppers, waiting;    /* ours but SIGCHLD; the mask during a wait */
static int reaper;                    /* were we a subreaper when we were started? */

/*
 * Is this the stop that we know of, sent a second time? If there are other processes in our process
 * group, a parent may forward a signal that the whole group gets: then the senders differ. And
 * timeout(1) signals its child, and then the group, which includes its child: then our parent has
 * sent both signals, as a script that means two stops may have done, too. Only timeout sends
 * SIGCONT right after the second signal: until that or the next alarm comes, the second signal is
 * in doubt. A signal to a process group of our own, a second key press and a different signal are
 * each a stop of its own, however soon they come.
 */
static bool same_stop(int number, pid_t from, int64_t now_ms)
{
    pid_t parent = getppid();

    if (stops == 0 || number != last || from == 0 || getpgrp() == getpid() ||
        now_ms >= last_ms + SAME_MS || (from != parent && sender != parent))
        return false;
    if (from == sender)
        doubted = 1;
    return true;
}

/* A signal that comes between proc_unblock and a blocking write would leave the write blocked: the
   alarm interrupts the write a second later. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    const struct itimerval again = {{1, 0}, {1, 0}};
    int64_t now = clock_mono_ms();
    pid_t from = info->si_code <= 0 ? info->si_pid : 0;
    sigset_t pending;

    (void)context;
    noticed = 1;
    sigpending(&pending);
    if (number == SIGALRM && doubted && !sigismember(&pending, SIGCONT)) {
        doubted = 0; /* the second stop was meant */
        stops++;
    } else if (number == SIGCONT) {
        doubted = 0;
    }
    if (number == SIGALRM || number == SIGCHLD || number == SIGCONT)
        return;
    setitimer(ITIMER_REAL, &again, NULL);
    if (same_stop(number, from, now))
        return;
    if (stops++ == 0)
        first_ms = now;
    last = number;
    sender = from;
    last_ms = now;
}

/* How lines waits for input in a process that has called proc_stage. */
static const struct lines_waiter input = {proc_wait, proc_stopping};

void proc_stage(void)
{
    static const int caught[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGCONT};
    struct sigaction action = {.sa_sigaction = on_signal,
                               .sa_flags = SA_SIGINFO}; /* no SA_RESTART */
    struct sigaction was;

    sigemptyset(&ours);
    /* While one is handled the others wait: those that are pending together come in the order of
       their numbers, SIGCONT last, and do not interrupt each other. */
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        /* Ignored at the start, as with nohup or in the background of a script: leave them
           ignored. */
        if ((caught[i] == SIGHUP || caught[i] == SIGINT) && sigaction(caught[i], NULL, &was) == 0 &&
            was.sa_handler == SIG_IGN)
            continue;
        sigaddset(&ours, caught[i]);
        sigaction(caught[i], &action, NULL);
    }
    sigprocmask(SIG_BLOCK, &ours, &before);
    stoppers = ours;
    sigdelset(&stoppers, SIGCHLD);
    /* Signals that we catch must be delivered even if they were blocked at the start. */
    waiting = before;
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
        if (sigismember(&ours, caught[i]))
            sigdelset(&waiting, caught[i]);
    lines_wait_by(&input);
    prctl(PR_GET_CHILD_SUBREAPER, &reaper, 0L, 0L, 0L);
    prctl(PR_SET_CHILD_SUBREAPER, 1L, 0L, 0L, 0L);
}

bool proc_staged(void)
{
    return sigismember(&ours, SIGCHLD) > 0;
}

/* Deliver a pending signal rather than only count it: the caller will ask next which signal it
   was. */
int proc_stops(void)
{
    sigset_t pending;

    sigemptyset(&pending);
    sigpending(&pending);
    sigandset(&pending, &pending, &stoppers);
    if (!sigisemptyset(&pending)) {
        proc_unblock();
        proc_block();
    }
    return stops;
}

bool proc_stopping(void)
{
    return proc_stops() > 0;
}

int proc_signal(void)
{
    return last;
}

bool proc_sent(void)
{
    return sender != 0;
}

void proc_grace(int64_t ms)
{
    grace_ms = ms;
}

bool proc_forced(void)
{
    int n = proc_stops();

    return n > 1 || (n == 1 && grace_ms >= 0 && clock_mono_ms() >= first_ms + grace_ms);
}

void proc_unstage(void)
{
    if (!proc_staged())
        return;
    for (int i = 1; i < 32; i++)
        if (sigismember(&ours, i) > 0)
            signal(i, SIG_DFL);
    prctl(PR_SET_CHILD_SUBREAPER, (unsigned long)reaper, 0L, 0L, 0L);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

const sigset_t *proc_mask(void)
{
    return &before;
}

void proc_unblock(void)
{
    sigprocmask(SIG_UNBLOCK, &ours, NULL);
}

void proc_block(void)
{
    sigprocmask(SIG_BLOCK, &ours, NULL);
}

int proc_wait(struct pollfd *fds, size_t n, int64_t timeout_ms)
{
    struct timespec time = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};

    /* A signal that came during a write between proc_unblock and proc_block must not be waited for
       again. */
    if (noticed)
        time = (struct timespec){0, 0};
    int got = out_poll(fds, n, timeout_ms < 0 && !noticed ? NULL : &time,
                       proc_staged() ? &waiting : NULL);
    noticed = 0;
    if (got < 0) /* a signal: no descriptor was checked */
        for (size_t i = 0; i < n; i++)
            fds[i].revents = 0;
    return got < 0 ? 0 : got;
}

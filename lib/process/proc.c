#include "process/proc.h"

#include "base/clock.h"
#include "base/mem.h"
#include "cli/lines.h"
#include "cli/out.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
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
static sigset_t ignored;              /* ignored when we were started; found for proc_start */
static bool found;
static int reaper; /* were we a subreaper when we were started? */

/* -------------------------------------------------------------------------------------- signals */

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

    (void)context;
    noticed = 1;
    if (number == SIGALRM && doubted) { /* no SIGCONT has come: the second stop was meant */
        doubted = 0;
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
    for (int i = 1; i < 32; i++)
        if (i != SIGCHLD && sigismember(&pending, i) && sigismember(&ours, i) > 0) {
            proc_unblock();
            proc_block();
            break;
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
    sigset_t mask = before;

    for (int i = 1; i < 32; i++) /* signals that we catch must be delivered even if they were
                                    blocked at the start */
        if (sigismember(&ours, i))
            sigdelset(&mask, i);
    /* A signal that came during a write between proc_unblock and proc_block must not be waited for
       again. */
    if (noticed)
        time = (struct timespec){0, 0};
    int got =
        out_poll(fds, n, timeout_ms < 0 && !noticed ? NULL : &time, proc_staged() ? &mask : NULL);
    noticed = 0;
    if (got < 0) /* a signal: no descriptor was checked */
        for (size_t i = 0; i < n; i++)
            fds[i].revents = 0;
    return got < 0 ? 0 : got;
}

/* ---------------------------------------------------------------------------------------- start */

/*
 * Runs in the child of a vfork, which shares our memory until it execs: only async-signal-safe
 * calls, no allocation, and errno returned through the parent's variable. vfork, because fork
 * copies the page tables (a parent with 256 MB started 199 children a second instead of 1,350), and
 * not posix_spawn, which cannot set the parent-death signal.
 */
_Noreturn static void become(char *const argv[], char *const envp[], const int *fd, int n,
                             bool wrapped, pid_t parent, volatile int *failed)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    int from[PROC_FDS];

    if (!wrapped)
        setsid();
    prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0UL, 0UL, 0UL);
    if (getppid() != parent) /* the parent died before prctl took effect */
        _exit(EX_TEMPFAIL);
    sigaction(SIGPIPE, &standard, NULL); /* which args_parse ignores */
    sigaction(SIGXFSZ, &standard, NULL);
    for (int i = 1; i < NSIG && !wrapped; i++) /* a wrapped command keeps what nohup ignores */
        if (sigismember(&ignored, i))
            sigaction(i, &standard, NULL);
    /* First move them away from the numbers that are assigned next. */
    for (int i = 0; i < n; i++)
        if ((from[i] = fd[i] < n ? fcntl(fd[i], F_DUPFD_CLOEXEC, n) : fd[i]) < 0) {
            *failed = errno;
            _exit(EX_CANNOT_RUN);
        }
    for (int i = 0; i < n; i++)
        if (dup2(from[i], i) < 0) {
            *failed = errno;
            _exit(EX_CANNOT_RUN);
        }
    if (!wrapped) /* our own are close-on-exec, those that we were started with are not */
        close_range((unsigned)n, ~0u, 0);
    sigprocmask(SIG_SETMASK, &before, NULL);
    execvpe(argv[0], argv, envp);
    *failed = errno;
    _exit(EX_CANNOT_RUN);
}

static int cannot_start(const char *name, int error, struct err *e)
{
    int status = error == ENOENT || error == ENOTDIR ? EX_NOT_FOUND
                 : error == ENOMEM || error == EAGAIN || error == EMFILE || error == ENFILE
                     ? EX_OSERR
                 : error == E2BIG ? EX_DATAERR
                                  : EX_CANNOT_RUN;

    err_set(e, status, "cannot run %s: %s", err_quote_text(name).text,
            status == EX_NOT_FOUND ? "not found" : strerror(error));
    errno = error;
    return -1;
}

/* 0, or the errno for which execvp could not run the command that it would find. */
static int look_up(const char *name)
{
    const char *path = getenv("PATH");
    struct buf full = BUF_INIT;
    int why = ENOENT;

    if (strchr(name, '/') != NULL)
        return access(name, X_OK) == 0 ? 0 : errno;
    for (const char *p = path == NULL ? "/bin:/usr/bin" : path; why != 0 && p != NULL;) {
        int n = (int)strcspn(p, ":");
        buf_reset(&full);
        buf_printf(&full, "%.*s/%s", n == 0 ? 1 : n, n == 0 ? "." : p, name);
        if (access(buf_text(&full), X_OK) == 0)
            why = 0;
        else if (access(buf_text(&full), F_OK) == 0) /* the file exists; a folder that we may not
                                                        search does not count */
            why = EACCES;
        p = p[n] == ':' ? p + n + 1 : NULL;
    }
    buf_free(&full);
    return why;
}

/* Only those that we do not catch can be ignored, and that does not change. */
static void find_ignored(void)
{
    struct sigaction was;

    sigemptyset(&ignored);
    for (int i = 1; i < NSIG; i++)
        if (sigaction(i, NULL, &was) == 0 && was.sa_handler == SIG_IGN)
            sigaddset(&ignored, i);
    found = true;
}

pid_t proc_start(char *const argv[], char *const envp[], const int *fd, int n, bool wrapped,
                 struct err *e)
{
    volatile int failed = 0;

    if (!wrapped && !found)
        find_ignored();
    pid_t parent = getpid(), pid = vfork();

    if (pid == 0)
        become(argv, envp, fd, n, wrapped, parent, &failed);
    if (pid < 0)
        return cannot_start(argv[0], errno, e);
    if (failed != 0) {
        waitpid(pid, NULL, 0);
        int why = failed == EACCES ? look_up(argv[0]) : failed; /* execvp counts folders as files */
        return cannot_start(argv[0], why == 0 ? failed : why, e);
    }
    return pid;
}

int proc_exec(char *const argv[], struct err *e)
{
    int why;

    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    if (proc_staged()) { /* a pending signal must not be lost */
        for (int i = 1; i < 32; i++)
            if (sigismember(&ours, i) > 0)
                signal(i, SIG_DFL);
        prctl(PR_SET_CHILD_SUBREAPER, (unsigned long)reaper, 0L, 0L, 0L);
        sigprocmask(SIG_SETMASK, &before, NULL);
    }
    execvp(argv[0], argv);
    why = errno == EACCES ? look_up(argv[0]) : errno;
    signal(SIGPIPE, SIG_IGN); /* the message may be written to a closed pipe */
    return (int)cannot_start(argv[0], why == 0 ? EACCES : why, e);
}

int proc_check(const char *name, struct err *e)
{
    int why = look_up(name);
    return why == 0 ? 0 : cannot_start(name, why, e);
}

/* ----------------------------------------------------------------------------------------- end */

pid_t proc_reap(int *wait_status)
{
    pid_t pid = waitpid(-1, wait_status, WNOHANG);
    return pid < 0 ? 0 : pid;
}

int proc_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? EX_SIGNAL + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

struct process {
    pid_t pid, parent, group;
    bool chosen;
};

static ssize_t read_proc(const char *pid, const char *what, char *out, size_t room)
{
    char name[64];

    snprintf(name, sizeof name, "/proc/%.20s/%s", pid, what);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, out, room);
    close(fd);
    return n;
}

/* List all processes. Called only when something has to be ended by force. */
static struct process *processes(size_t *n)
{
    struct process *list = NULL;
    DIR *dir = opendir("/proc");
    size_t room = 0;

    *n = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char text[512], *p;
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        ssize_t got = read_proc(entry->d_name, "stat", text, sizeof text - 1);
        if (got <= 0)
            continue;
        text[got] = '\0';
        if ((p = strrchr(text, ')')) == NULL || strlen(p) < 4)
            continue;
        if (*n == room)
            list = mem_grow(list, room += 256, sizeof *list);
        char *end; /* ") S 12 34": state, parent, group */
        list[*n].pid = (pid_t)strtol(entry->d_name, NULL, 10);
        list[*n].parent = (pid_t)strtol(p + 4, &end, 10);
        list[*n].group = (pid_t)strtol(end, NULL, 10);
        list[(*n)++].chosen = false;
    }
    if (dir != NULL)
        closedir(dir);
    return list;
}

/* Is marker in the process's environment? NULL: has it no variable of a handler's? */
static bool marked(pid_t pid, const char *marker)
{
    static char environment[262144];
    const char *wanted = marker == NULL ? "EVENT_SEQ=" : marker;
    char name[24];
    size_t length = strlen(wanted);

    snprintf(name, sizeof name, "%ld", (long)pid);
    ssize_t n = read_proc(name, "environ", environment, sizeof environment);
    for (ssize_t at = 0; at < n;) {
        size_t size = strnlen(environment + at, (size_t)(n - at));
        if (size >= length && memcmp(environment + at, wanted, length) == 0 &&
            (marker == NULL || size == length))
            return marker != NULL;
        at += (ssize_t)size + 1;
    }
    return marker == NULL;
}

static void choose_descendants(struct process *list, size_t n)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; !list[i].chosen && k < n; k++)
                if (list[k].chosen && list[k].pid == list[i].parent)
                    list[i].chosen = more = true;
    }
}

static void kill_chosen(const struct process *list, size_t n, int signal_number)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].chosen)
            kill(list[i].pid, signal_number);
}

/* Read /proc before sending any signal: the children of a process that dies can no longer be
   recognised as descendants. Without /proc, signal the leader's group. */
void proc_kill(pid_t leader, const char *marker, int signal_number)
{
    size_t n;
    struct process *list = processes(&n);
    pid_t self = getpid();

    for (size_t i = 0; i < n; i++)
        list[i].chosen = (leader != 0 && (list[i].pid == leader || list[i].group == leader)) ||
                         (list[i].parent == self && marked(list[i].pid, marker));
    choose_descendants(list, n);
    if (leader != 0)
        kill(-leader, signal_number);
    for (size_t i = 0; i < n; i++) /* the group has got the signal already */
        list[i].chosen &= leader == 0 || list[i].group != leader;
    kill_chosen(list, n, signal_number);
    free(list);
}

void proc_kill_all(pid_t child, int signal_number)
{
    size_t n;
    struct process *list = processes(&n);
    pid_t self = getpid();

    for (size_t i = 0; i < n; i++)
        list[i].chosen = list[i].parent == self;
    choose_descendants(list, n);
    kill_chosen(list, n, signal_number);
    if (n == 0 && child != 0) /* no /proc */
        kill(child, signal_number);
    free(list);
}

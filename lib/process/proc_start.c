/*
 * proc: starting a command, as a child or in place of this process.
 */
#include "process/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static bool looked;      /* at what we were started with, for proc_start: */
static sigset_t ignored; /* signals, and */
static bool sealed;      /* whether its descriptors are close-on-exec now, as our own are */

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
    if (!wrapped && !sealed)
        close_range((unsigned)n, ~0u, 0);
    sigprocmask(SIG_SETMASK, proc_mask(), NULL);
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

/* A command that is not wrapped inherits neither. Only signals that we do not catch can be ignored,
   and that does not change. Kernels before 5.11 cannot seal. */
static void look_at_inherited(void)
{
    struct sigaction was;

    sealed = close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) == 0;
    sigemptyset(&ignored);
    for (int i = 1; i < NSIG; i++)
        if (sigaction(i, NULL, &was) == 0 && was.sa_handler == SIG_IGN)
            sigaddset(&ignored, i);
    looked = true;
}

pid_t proc_start(char *const argv[], char *const envp[], const int *fd, int n, bool wrapped,
                 struct err *e)
{
    volatile int failed = 0;

    if (!wrapped && !looked)
        look_at_inherited();
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
    proc_unstage(); /* a pending signal must not be lost */
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

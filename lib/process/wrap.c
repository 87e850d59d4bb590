#include "process/wrap.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"
#include "cli/args.h"
#include "process/proc.h"
#include "process/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define GRACE_MS 5000 /* between a timeout's SIGTERM and SIGKILL */
#define WORD_FD 3
#define READ_MAX (32 << 20)

static bool heard; /* our parent reads words from our descriptor 3 */

const char *wrap_name(int first, char **argv)
{
    const char *name = argv[first] == NULL ? "" : argv[first];

    if (argv[first] == NULL || strcmp(argv[first - 1], "--") == 0)
        args_usage("NAME is missing: it goes before the command");
    return args_name("NAME", name, NAME_BYTES);
}

char **wrap_command(char **argv)
{
    if (*argv != NULL && strcmp(*argv, "--") == 0)
        argv++;
    else if (*argv != NULL && **argv == '-')
        args_usage("%s: options go before %s", err_quote_text(*argv).text, argv[-1]);
    return *argv == NULL ? NULL : argv;
}

void wrap_stage(void)
{
    const char *ctl = getenv("EVENT_CTL");
    struct stat st;

    proc_stage();
    /* Descriptor 3 has to be a pipe: a word must not end up in a file. */
    heard =
        ctl != NULL && strcmp(ctl, "3") == 0 && fstat(WORD_FD, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* --------------------------------------------------------------------------------------- stdin */

static int add_to(void *file, const char *p, size_t n, struct err *e)
{
    return spill_add(*(int *)file, p, n, e);
}

static int to_file(struct wrap_input *in, struct err *e)
{
    int file = spill_open(e);

    if (file < 0)
        return -1;
    if (spill_each(in->fd, add_to, &file, e) < 0) {
        close(file);
        return -1;
    }
    close(in->fd);
    in->fd = file;
    return 0;
}

static int copy(struct wrap_input *in, struct err *e)
{
    struct pollfd ready = {.fd = STDIN_FILENO, .events = POLLIN};
    char block[65536];
    size_t size = 0;
    ssize_t n;

    for (;;) {
        proc_wait(&ready, 1, -1);
        if (proc_stopping())
            return err_set(e, EX_TEMPFAIL, "stopped while reading stdin");
        n = read(STDIN_FILENO, block, sizeof block);
        if (n == 0)
            return 0;
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return err_errno(e, EX_IOERR, "stdin");
        if (size <= CHILD_MEMORY_MAX && size + (size_t)n > CHILD_MEMORY_MAX && to_file(in, e) < 0)
            return -1;
        size += (size_t)n;
        if (io_write(in->fd, block, (size_t)n) < 0)
            return err_errno(e, EX_IOERR, "a copy of stdin");
    }
}

int wrap_stdin(struct wrap_input *in, struct err *e)
{
    struct stat st;

    *in = (struct wrap_input){-1, -1};
    if (fstat(STDIN_FILENO, &st) != 0)
        return err_errno(e, EX_IOERR, "stdin");
    if (S_ISCHR(st.st_mode)) /* a terminal, or /dev/null, which is just as empty the second time */
        return 0;
    in->start = lseek(STDIN_FILENO, 0, SEEK_CUR);
    if (S_ISREG(st.st_mode) && in->start >= 0)
        return 0;
    in->fd = memfd_create("stdin", MFD_CLOEXEC);
    if (in->fd < 0)
        return err_errno(e, EX_OSERR, "cannot keep stdin");
    return copy(in, e);
}

int wrap_read(const struct wrap_input *in, struct buf *out, struct err *e)
{
    int fd = in->fd >= 0 ? in->fd : STDIN_FILENO;
    char block[65536];
    ssize_t n = 0;

    if (in->fd < 0 && in->start < 0)
        return isatty(STDIN_FILENO) ? err_set(e, EX_DATAERR, "stdin is a terminal") : 0;
    for (off_t at = in->fd >= 0 ? 0 : in->start; (n = pread(fd, block, sizeof block, at)) > 0;
         at += n) {
        buf_add(out, block, (size_t)n);
        if (out->n > READ_MAX)
            return err_set(e, EX_DATAERR, "stdin: longer than %d MiB", READ_MAX >> 20);
    }
    return n < 0 ? err_errno(e, EX_IOERR, "stdin") : 0;
}

void wrap_forget(struct wrap_input *in)
{
    if (in->fd >= 0)
        close(in->fd);
    in->fd = -1;
}

/* Each run has a file position of its own: a process of an earlier run may still be reading. */
static int begin_of(const struct wrap_input *in, struct err *e)
{
    char name[40];
    int fd;

    if (in == NULL || in->fd < 0) {
        if (in != NULL && in->start >= 0 && lseek(STDIN_FILENO, in->start, SEEK_SET) < 0)
            return err_errno(e, EX_IOERR, "stdin");
        return STDIN_FILENO;
    }
    snprintf(name, sizeof name, "/proc/self/fd/%d", in->fd);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && lseek(in->fd, 0, SEEK_SET) == 0) /* without /proc the runs share a position */
        fd = fcntl(in->fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return fd >= 0 ? fd : err_errno(e, EX_OSERR, "cannot read stdin again");
}

/* ----------------------------------------------------------------------------------------- run */

/* Pass on the first signal; kill at the second. */
static void pass_signal(const struct child *c, int *passed)
{
    int stops = proc_stops();

    if (stops == *passed || c->ended) {
        *passed = stops;
        return;
    }
    bool first = *passed == 0 && stops == 1;
    *passed = stops;
    if (!first)
        proc_kill_all(c->pid, SIGKILL);
    else if (proc_sent())
        kill(c->pid, proc_signal());
}

static void reap(struct child *c)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        if (pid == c->pid && !c->ended)
            child_ended(c, status, clock_mono_ms());
}

static void wait_for_end(const struct child *c, const struct wrap_need *need)
{
    struct pollfd fds[CHILD_FDS + 1];
    size_t n = child_fds(c, fds);
    int64_t until = child_deadline(c), now = clock_mono_ms();

    if (need != NULL)
        fds[n++] = (struct pollfd){.fd = need->line, .events = POLLIN};
    proc_wait(fds, n, until == INT64_MAX ? -1 : until < now ? 0 : until - now);
}

static int to_end(struct child *c, const struct wrap_need *need, struct err *e)
{
    int passed = 0;

    for (;;) {
        reap(c); /* first, since it may have ended already */
        if (child_io(c, clock_mono_ms(), e) < 0)
            return -1;
        if (child_done(c))
            return 0;
        if (need != NULL && !c->ended && need->there(need->of, e) < 0) {
            proc_end_all(); /* at once: what we had may be another's already */
            return -1;
        }
        pass_signal(c, &passed);
        wait_for_end(c, need);
    }
}

int wrap_run(struct child *c, const struct wrap *w, struct err *e)
{
    int in = begin_of(w->input, e), got;
    const int given[CHILD_FDS] = {in, w->hold ? CHILD_PIPE : STDOUT_FILENO, STDERR_FILENO,
                                  w->word ? CHILD_PIPE : CHILD_NONE};
    struct child_run run = {
        .argv = w->argv, .given = given, .timeout_ms = w->timeout_ms, .grace_ms = GRACE_MS};

    if (in < 0)
        return -1;
    if (w->word)
        setenv("EVENT_CTL", "3", 1);
    run.envp = environ;
    got = child_start(c, &run, e);
    if (got == 0)
        got = to_end(c, w->need, e);
    if (in != STDIN_FILENO)
        close(in);
    return got;
}

/* ---------------------------------------------------------------------------------------- rest */

bool wrap_sleep(int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;

    for (int64_t left = ms; left > 0 && !proc_stopping(); left = until - clock_mono_ms())
        proc_wait(NULL, 0, left);
    return !proc_stopping();
}

bool wrap_heard(void)
{
    return heard;
}

/* It does not matter whether the reader has gone. */
void wrap_say(int64_t delay_ms, struct str reason)
{
    struct buf text = BUF_INIT;

    if (!heard)
        return;
    if (delay_ms >= 0)
        buf_printf(&text, "delay %" PRId64 "ms\n", delay_ms);
    if (reason.n > 0) {
        buf_puts(&text, "reason ");
        buf_str(&text, reason);
        buf_char(&text, '\n');
    }
    if (text.n > 0)
        io_write(WORD_FD, text.p, text.n);
    buf_free(&text);
}

int wrap_stopped(void)
{
    return EX_SIGNAL + proc_signal();
}

/*
 * spool copy: make a spool equal to another one, whatever engines they are on. A process has one
 * engine: so another process of this command reads FROM, and writes what we read through a pipe.
 * With - for FROM or TO each half works alone.
 */
#include "store/copy.h"

#include "base/io.h"
#include "cli/engine.h"
#include "cli/out.h"
#include "cli/say.h"
#include "process/proc.h"
#include "spool/verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int64_t first = 1;
static int input; /* of the importer */
static bool input_over;

static const struct opt options[] = {
    OPT_INT(0, "from", &first, "N", 1, INT64_MAX,
            "with TO -: begin at position N (else TO is asked)"),
    OPT_END,
};

static bool is_stream(const char *operand)
{
    return strcmp(operand, "-") == 0;
}

/* TO, unless that is standard output. */
static const char *copy_opens(int n, char *const *operand)
{
    return n != 2 ? NULL : is_stream(operand[1]) ? operand[0] : operand[1];
}

static int open_spool(struct store **s, const char *name, enum store_mode mode, struct err *e)
{
    int got = store_open(s, name, mode, e);

    if (got > 0)
        say_note("created the spool %s", store_name(*s));
    return got < 0 ? -1 : 0;
}

/* -------------------------------------------------------------------------------- the exporter */

static int write_stream(struct str bytes, struct err *e)
{
    return out_write(bytes.p, bytes.n, e) < 0 || out_gone() ? -1 : 0;
}

static void say_damaged(int64_t seq)
{
    say_warn("seq %" PRId64 " is damaged: left out", seq);
}

static void export_spool(const char *from, struct err *e)
{
    const struct copy_out out = {write_stream, say_damaged};
    struct store *spool = NULL;
    int64_t damaged = 0;

    if (open_spool(&spool, from, STORE_READ, e) == 0)
        damaged = copy_export(spool, first, &out, e);
    if (damaged > 0)
        err_set(e, EX_IOERR, "%" PRId64 " damaged, left out", damaged);
    store_close(spool);
}

/* -------------------------------------------------------------------------------- the importer */

static ssize_t read_stream(char *p, size_t room, struct err *e)
{
    ssize_t n;

    while ((n = read(input, p, room)) < 0 && (errno == EINTR || errno == EAGAIN))
        io_poll(input, POLLIN);
    input_over = n == 0;
    return n < 0 ? err_errno(e, EX_IOERR, "the stream of the copy") : n;
}

/* Is there anything of it? Waits. If not, TO need not be created. */
static bool stream_comes(void)
{
    struct pollfd fd = {.fd = input, .events = POLLIN};

    while (poll(&fd, 1, -1) < 0)
        continue;
    input_over = (fd.revents & POLLIN) == 0;
    return !input_over;
}

static const struct copy_in in = {read_stream, say_progress};

static void print_done(const struct copy_done *done, struct err *e)
{
    struct buf line = BUF_INIT;

    buf_printf(&line, "%" PRId64 " event%s copied; %" PRId64 " group%s and %" PRId64 " document%s",
               done->events, done->events == 1 ? "" : "s", done->groups,
               done->groups == 1 ? "" : "s", done->documents, done->documents == 1 ? "" : "s");
    out_line((struct str){line.p, line.n}, e);
    buf_free(&line);
}

static void import_spool(const char *name, struct err *e)
{
    struct store *spool = NULL;
    struct copy_done done;
    int got = -1;

    if (!stream_comes())
        err_set(e, EX_DATAERR, "the input ends before its end: copy again");
    else if (open_spool(&spool, name, STORE_CREATE, e) == 0) {
        say_progress_begin();
        got = copy_import(spool, &in, &done, e);
        say_progress_end();
    }
    if (got == 0)
        print_done(&done, e);
    store_close(spool);
}

/* ------------------------------------------------------------------------------------- the two */

/* Start the process that reads FROM: input is the other end of its output. */
static pid_t start_exporter(char *from, int64_t at, struct err *e)
{
    extern char **environ;
    struct buf path = BUF_INIT;
    char number[24];
    int end[2], fd[3] = {STDIN_FILENO, -1, STDERR_FILENO};
    pid_t pid = -1;

    engine_ordinary(&path);
    snprintf(number, sizeof number, "%" PRId64, at);
    char *argv[] = {
        (char *)(uintptr_t)buf_text(&path), "copy", "--from", number, "--", from, "-", NULL};
    if (pipe2(end, O_CLOEXEC) < 0)
        err_errno(e, EX_OSERR, "pipe");
    else {
        fd[1] = end[1];
        pid = proc_start(argv, environ, fd, 3, true, e);
        close(end[1]);
        input = end[0];
        if (pid < 0)
            close(input);
    }
    buf_free(&path);
    return pid;
}

/* It has said itself why it failed: its status is ours then, unless it failed because of us. */
static int end_exporter(pid_t pid, struct err *e)
{
    int status = 0;

    close(input);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    status = proc_status(status);
    if (e->status != 0 && !input_over)
        return 0;
    if (status >= 128)
        err_set(e, EX_TEMPFAIL, "the process that reads the other spool was killed: copy again");
    else if (status != 0)
        err_clear(e);
    return status;
}

/* Where is the exporter to begin? 0, also when there is no TO yet; or -1. */
static int ask_target(const char *name, int64_t *at, struct err *e)
{
    struct store *spool = NULL;
    int got = store_open(&spool, name, STORE_WRITE, e);

    *at = 1;
    if (got == 0)
        got = copy_target(spool, at, e);
    else if (e->status == EX_NOINPUT)
        got = 0, err_clear(e);
    store_close(spool);
    return got;
}

static int copy_spool(char *from, const char *to, struct err *e)
{
    int64_t at;
    pid_t pid;

    if (ask_target(to, &at, e) < 0 || (pid = start_exporter(from, at, e)) < 0)
        return 0;
    import_spool(to, e);
    return end_exporter(pid, e);
}

static int run_spool_copy(char **operand)
{
    struct err e = ERR_NONE;
    int status = 0, told;

    if (operand[0][0] == '\0' || operand[1][0] == '\0')
        args_usage("FROM or TO is empty (an unset variable?)");
    if (strcmp(operand[0], operand[1]) == 0)
        args_usage("FROM and TO are the same");
    if (is_stream(operand[1]) && isatty(STDOUT_FILENO))
        args_usage("a terminal is no place for a copy: redirect the output");
    if (args_given("from") && !is_stream(operand[1]))
        args_usage("--from is for TO -: else TO is asked");
    if (is_stream(operand[1]))
        export_spool(operand[0], &e);
    else if (is_stream(operand[0]))
        import_spool(operand[1], &e);
    else
        status = copy_spool(operand[0], operand[1], &e);
    told = out_finish(&e);
    return told != 0 ? told : status;
}

const struct cmd spool_copy = {
    .name = "copy",
    .about = "make a spool equal to another one, also on a server",
    .usage = {"FROM TO", "[--from N] FROM -", "- TO"},
    .examples = {"spool copy spool.db 'postgresql://eu@db.example/events#orders'",
                 "spool copy spool.db - | ssh host spool copy - spool.db"},
    .options = options,
    .least = 2,
    .most = 2,
    .wants = "FROM and TO",
    .no_spool = true,
    .spool_of = copy_opens,
    .run = run_spool_copy,
};

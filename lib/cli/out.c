#include "cli/out.h"

#include "base/io.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/say.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OUT_BLOCK ((size_t)64 * 1024)
#define OUT_DIRECT ((size_t)16 * 1024) /* from here on a write is worth more than a copy */

static struct {
    char block[OUT_BLOCK];
    size_t n;
    bool gone;
    bool cut;           /* by a signal, although the reader is there */
    bool watch;         /* out_watch was called */
    int terminal;       /* is stdout one? 0: not known yet; -1: no */
    int failed;         /* errno of the write that failed; what came after it is lost */
    bool (*stop)(void); /* called when a signal interrupts a write */
    struct pollfd *all; /* of out_poll */
    size_t room;
} out;

void out_stop_when(bool (*f)(void))
{
    out.stop = f;
}

static int out_failure(struct err *e)
{
    errno = out.failed;
    return err_errno(e, EX_IOERR, "cannot write to stdout");
}

/* Write p[0..n), which precedes all later output. */
static int put(const char *p, size_t n, struct err *e)
{
    if (io_write_until(STDOUT_FILENO, p, n, out.stop) == 0)
        return 0;
    out.n = 0;
    if (errno == EPIPE || errno == EINTR) {
        out.cut = errno == EINTR;
        out.gone = true;
        return 0;
    }
    out.failed = errno;
    return out_failure(e);
}

/* Write the whole lines in the block, or the whole block if it is part of one line. */
static int put_lines(struct err *e)
{
    const char *newline = memrchr(out.block, '\n', out.n);
    size_t whole = newline != NULL ? (size_t)(newline - out.block) + 1 : out.n;

    if (put(out.block, whole, e) < 0)
        return -1;
    if (out.gone)
        return 0;
    memmove(out.block, out.block + whole, out.n - whole);
    out.n -= whole;
    return 0;
}

int out_write(const void *p, size_t n, struct err *e)
{
    if (out.failed != 0)
        return out_failure(e);
    while (!out.gone && n > OUT_BLOCK - out.n && out.n > 0)
        if (put_lines(e) < 0)
            return -1;
    if (out.gone || n == 0)
        return 0;
    if (n > OUT_BLOCK)
        return put(p, n, e);
    memcpy(out.block + out.n, p, n);
    out.n += n;
    return 0;
}

int out_line(struct str line, struct err *e)
{
    if (line.n < OUT_BLOCK - out.n && !out.gone && out.failed == 0) {
        if (line.n > 0)
            memcpy(out.block + out.n, line.p, line.n);
        out.block[out.n + line.n] = '\n';
        out.n += line.n + 1;
        return 0;
    }
    if (out_write(line.p, line.n, e) < 0)
        return -1;
    return out_write("\n", 1, e);
}

static bool to_terminal(void)
{
    if (out.terminal == 0)
        out.terminal = isatty(STDOUT_FILENO) ? 1 : -1;
    return out.terminal > 0;
}

int out_json(struct str line, struct err *e)
{
    struct buf text = BUF_INIT;
    int got;

    if (!to_terminal())
        return out_line(line, e);
    js_show(&text, line);
    got = out_line((struct str){text.p, text.n}, e);
    buf_free(&text);
    return got;
}

int out_json_lines(struct str text, struct err *e)
{
    while (to_terminal() && text.n > 0) {
        size_t n = (size_t)((const char *)memchr(text.p, '\n', text.n) - text.p);
        if (out_json((struct str){text.p, n}, e) < 0)
            return -1;
        text.p += n + 1;
        text.n -= n + 1;
    }
    if (text.n < OUT_DIRECT)
        return out_write(text.p, text.n, e);
    if (out_flush(e) < 0)
        return -1;
    while (text.n > 0 && !out.gone) {
        size_t n = text.n < OUT_BLOCK ? text.n : OUT_BLOCK;
        const char *newline = memrchr(text.p, '\n', n);
        if (newline != NULL)
            n = (size_t)(newline - text.p) + 1;
        if (put(text.p, n, e) < 0)
            return -1;
        text.p += n;
        text.n -= n;
    }
    return 0;
}

int out_flush(struct err *e)
{
    size_t n = out.n;

    if (out.failed != 0)
        return out_failure(e);
    if (out.gone)
        return 0;
    out.n = 0;
    return put(out.block, n, e);
}

bool out_gone(void)
{
    return out.gone;
}

bool out_lost(void)
{
    return out.cut || out.failed != 0;
}

void out_watch(void)
{
    struct stat st;
    int mode = fcntl(STDOUT_FILENO, F_GETFL);

    out.watch = mode >= 0 && (mode & O_ACCMODE) != O_RDONLY && fstat(STDOUT_FILENO, &st) == 0 &&
                (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

bool out_watched(void)
{
    return out.watch && !out.gone;
}

int out_finish(struct err *e)
{
    /* Some file systems report a full disk only when the file is closed. A descriptor that was
       never open has lost nothing. */
    if (out_flush(e) == 0 && close(STDOUT_FILENO) < 0 && errno != EBADF && !out.gone)
        (void)err_errno(e, EX_IOERR, "cannot write to stdout");
    return say_report(e);
}

int out_poll(struct pollfd *fds, size_t n, const struct timespec *time, const sigset_t *mask)
{
    if (!out_watched())
        return ppoll(fds, n, time, mask);
    if (out.room <= n)
        out.all = mem_grow(out.all, out.room = n + 16, sizeof *out.all);
    if (n > 0)
        memcpy(out.all, fds, n * sizeof *fds);
    out.all[n] = (struct pollfd){.fd = STDOUT_FILENO};
    int got = ppoll(out.all, n + 1, time, mask);
    if (n > 0)
        memcpy(fds, out.all, n * sizeof *fds);
    if (got > 0 && out.all[n].revents != 0) {
        out.gone = true;
        got--;
    }
    return got;
}

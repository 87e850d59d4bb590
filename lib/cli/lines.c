/*
 * The reader keeps one block and, in scan, how far the block has been searched for a newline, so
 * that a line that arrives in many pieces is searched only once. A partial line is moved to the
 * front of the block at most once, when little room is left after it.
 */
#include "cli/lines.h"

#include "base/io.h"
#include "base/mem.h"
#include "cli/out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_BLOCK ((size_t)256 * 1024)
#define IN_LEAST ((size_t)64 * 1024) /* the least room that is worth a read(2) */
#define STOP_BYTES ((size_t)1 << 20) /* the largest size of a pipe */

static const struct lines_waiter *waiter;

void lines_wait_by(const struct lines_waiter *w)
{
    waiter = w;
}

struct lines {
    int fd;
    char *name; /* NULL: stdin */
    size_t max;
    char *block;
    size_t room, start, scan, end; /* start <= scan <= end <= room; line from start */
    int64_t number;
    bool ended, skipping; /* skipping: the line was too long, and its newline has not come yet */
    bool file, stopped;
    size_t late; /* bytes read since we were told to stop */
};

int lines_open(struct lines **in, const char *path, size_t max, struct err *e)
{
    bool is_stdin = path == NULL || strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct lines *l;
    struct stat st;

    if (fd < 0)
        return err_errno(e, 0, "%s", path);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        if (!is_stdin)
            close(fd);
        return err_set(e, EX_DATAERR, "%s is a directory", is_stdin ? "stdin" : path);
    }
    l = mem_zero(1, sizeof *l);
    l->fd = fd;
    l->name = is_stdin ? NULL : mem_dup(path, strlen(path));
    l->max = max;
    l->file = S_ISREG(st.st_mode);
    l->room = l->file ? 2 * IN_BLOCK : IN_BLOCK;
    l->block = mem_alloc(l->room);
    *in = l;
    return 0;
}

void lines_widen(struct lines *in)
{
    fcntl(in->fd, F_SETPIPE_SZ, (int)IN_BLOCK); /* on failure the size stays as it is */
}

/* Wait until there is something to read, unless we are told to stop or the reader of stdout has
   gone. */
static bool await(struct lines *in)
{
    struct pollfd ready = {.fd = in->fd, .events = POLLIN, .revents = 0};

    if (waiter == NULL && !out_watched())
        return true;
    for (;;) {
        bool stop = waiter != NULL && waiter->stopping();
        if (waiter != NULL)
            waiter->wait(&ready, 1, stop ? 0 : -1);
        else
            out_poll(&ready, 1, NULL, NULL);
        if (out_gone() || (stop && (ready.revents == 0 || in->late >= STOP_BYTES)))
            return false;
        if (ready.revents != 0)
            return true;
    }
}

/* Read more. Returns 0, also at the end of the input, or -1. */
static int fill(struct lines *in, struct err *e)
{
    ssize_t got;

    if (!await(in)) {
        in->end = in->start;
        in->skipping = false;
        in->ended = in->stopped = true;
        return 0;
    }
    if (in->room - in->end < IN_LEAST && in->start > 0) {
        memmove(in->block, in->block + in->start, in->end - in->start);
        in->scan -= in->start;
        in->end -= in->start;
        in->start = 0;
    }
    if (in->room - in->end < IN_LEAST) { /* only while the line is no longer than max */
        in->room = in->room < in->max ? in->room * 2 : in->max + IN_BLOCK;
        if (in->room > in->max)
            in->room = in->max + IN_BLOCK;
        in->block = mem_grow(in->block, in->room, 1);
    }
    for (;;) {
        got = read(in->fd, in->block + in->end, in->room - in->end);
        if (got >= 0)
            break;
        if (errno == EAGAIN)
            (void)io_poll(in->fd, POLLIN);
        else if (errno != EINTR)
            return err_errno(e, EX_IOERR, "%s", in->name != NULL ? in->name : "stdin");
    }
    in->ended = got == 0;
    in->end += (size_t)got;
    if (waiter != NULL && waiter->stopping())
        in->late += (size_t)got;
    return 0;
}

/* The line ends at stop; the next line begins after its newline, if it has one. */
static int take(struct lines *in, size_t stop, bool newline, struct line *line)
{
    bool long_line = in->skipping || stop - in->start > in->max;

    line->text = (struct str){NULL, 0};
    if (!long_line)
        line->text = (struct str){in->block + in->start, stop - in->start};
    line->number = ++in->number;
    line->newline = newline;
    in->start = in->scan = stop + newline;
    in->skipping = false;
    return long_line ? LINES_TOO_LONG : LINES_LINE;
}

/* The newline that ends the next line, if it is in the block. */
static char *find_newline(struct lines *in)
{
    char *newline = NULL;

    if (in->scan < in->end)
        newline = memchr(in->block + in->scan, '\n', in->end - in->scan);
    in->scan = newline != NULL ? (size_t)(newline - in->block) : in->end;
    if (newline == NULL && in->end - in->start > in->max)
        in->skipping = true;
    return newline;
}

/* Read on, dropping the bytes that are skipped. */
static int more(struct lines *in, struct err *e)
{
    if (in->skipping || in->start == in->end)
        in->start = in->scan = in->end = 0;
    return fill(in, e);
}

int lines_next(struct lines *in, struct line *line, struct err *e)
{
    char *newline;

    while ((newline = find_newline(in)) == NULL) {
        if (in->ended)
            return in->end > in->start || in->skipping ? take(in, in->end, false, line) : LINES_END;
        if (more(in, e) < 0)
            return -1;
    }
    return take(in, (size_t)(newline - in->block), true, line);
}

bool lines_waiting(struct lines *in)
{
    struct err later = ERR_NONE; /* lines_next will meet the error again */
    struct pollfd now = {.fd = in->fd, .events = POLLIN, .revents = 0};

    while (find_newline(in) == NULL && !in->ended) {
        if (poll(&now, 1, 0) <= 0)
            return false;
        if (more(in, &later) < 0)
            return true;
    }
    return true;
}

void lines_ahead(struct lines *in)
{
    struct err later = ERR_NONE; /* lines_next will meet the error again */
    size_t left = in->end - in->start;

    if (!in->file || in->ended || in->skipping || left > IN_BLOCK ||
        (waiter != NULL && waiter->stopping()))
        return;
    memmove(in->block, in->block + in->start, left);
    in->scan -= in->start;
    in->start = 0;
    in->end = left;
    fill(in, &later);
}

bool lines_ready(struct lines *in)
{
    return find_newline(in) != NULL || (in->ended && (in->end > in->start || in->skipping));
}

const char *lines_name(const struct lines *in)
{
    return in->name;
}

bool lines_stopped(const struct lines *in)
{
    return in->stopped;
}

bool lines_again(const struct lines *in)
{
    return in->file;
}

void lines_close(struct lines *in)
{
    if (in == NULL)
        return;
    if (in->name != NULL)
        close(in->fd);
    free(in->name);
    free(in->block);
    free(in);
}

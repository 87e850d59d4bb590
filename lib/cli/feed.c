#include "cli/feed.h"

#include "cli/lines.h"
#include "cli/say.h"

static int feed_file(struct feed *f, const char *path, struct err *e)
{
    struct err unreadable = ERR_NONE;
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, path, f->max, &unreadable), failed = 0;

    if (got == 0 && f->opened != NULL)
        f->opened(in);
    while (got >= 0 && !failed && (got = lines_next(in, &line, &unreadable)) > 0) {
        failed = f->take(&line, got == LINES_TOO_LONG, lines_name(in) == NULL ? NULL : path, e) < 0;
        if (failed || (!f->full() && lines_ready(in)))
            continue;
        failed = f->commit(e) < 0;
        lines_ahead(in); /* so that the next commit is full, too */
    }
    if (got < 0 && f->status == 0)
        f->status = unreadable.status;
    f->stopped |= got == LINES_END && lines_stopped(in);
    say_report(&unreadable);
    lines_close(in);
    return failed ? -1 : 0;
}

int feed_files(struct feed *f, int n, char *const *file, struct err *e)
{
    int got = n == 0 ? feed_file(f, NULL, e) : 0;

    for (int i = 0; i < n && got == 0 && !f->stopped; i++) {
        f->stopped = f->stop();
        if (!f->stopped)
            got = feed_file(f, file[i], e);
    }
    return got;
}

int feed_text(const char *path, size_t max, const char *limit, struct buf *out, struct err *e)
{
    size_t begin = out->n;
    struct lines *in = NULL;
    struct line line;
    int got = lines_open(&in, path, max, e);

    while (got == 0 && (got = lines_next(in, &line, e)) > 0) {
        buf_str(out, line.text);
        if (line.newline)
            buf_char(out, '\n');
        got = got == LINES_TOO_LONG || out->n - begin > max
                  ? err_set(e, EX_DATAERR, "%s: longer than %s", path, limit)
                  : 0;
    }
    if (got == 0 && lines_stopped(in))
        got = err_set(e, EX_TEMPFAIL, "%s: stopped while reading it", path);
    lines_close(in);
    return got;
}

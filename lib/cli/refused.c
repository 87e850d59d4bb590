#include "cli/refused.h"

#include "base/io.h"
#include "cli/say.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#define KEPT_BYTES (1 << 20) /* of memory, between reports */

int refused_open(struct refused *r, const char *path, struct err *e)
{
    r->path = path;
    r->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return r->fd < 0 ? err_errno(e, EX_CANTCREAT, "%s: cannot open it", path) : 0;
}

void refused_add(struct refused *r, const char *file, int64_t number, struct str line,
                 const char *why)
{
    r->n++;
    if (file != NULL)
        buf_printf(&r->texts, "%s: ", file);
    if (number > 0)
        buf_printf(&r->texts, "line %" PRId64 ": ", number);
    buf_puts(&r->texts, why);
    buf_char(&r->texts, '\0');
    if (r->path != NULL && line.p != NULL) {
        buf_str(&r->lines, line);
        buf_char(&r->lines, '\n');
    }
}

int refused_report(struct refused *r, struct err *e)
{
    int got = 0;

    for (size_t at = 0; at < r->texts.n; at += strlen(r->texts.p + at) + 1)
        say(SAY_ERROR, EX_DATAERR, NULL, "%s", r->texts.p + at);
    if (r->lines.n > 0 && io_write(r->fd, r->lines.p, r->lines.n) < 0)
        got = err_errno(e, EX_IOERR, "%s", r->path);
    buf_shrink(&r->texts, KEPT_BYTES);
    buf_shrink(&r->lines, KEPT_BYTES);
    return got;
}

void refused_free(struct refused *r)
{
    buf_free(&r->texts);
    buf_free(&r->lines);
}

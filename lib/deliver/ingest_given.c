#include "base/duration.h"
#include "cli/feed.h"
#include "deliver/ingest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int ingest_data(struct ingest *b, const char *data, struct err *e)
{
    struct buf text = BUF_INIT, limit = BUF_INIT;
    bool file = data[0] == '@';
    size_t max = (size_t)b->max_size;
    int got = 0;

    buf_printf(&limit, "%zu bytes (--max-size)", max);
    if (file)
        got = feed_text(data + 1, max, buf_text(&limit), &text, e);
    else
        buf_puts(&text, data);
    if (got == 0 && text.n > max)
        got = err_set(e, EX_DATAERR, "-d: longer than %s", buf_text(&limit));
    struct str whole = {buf_text(&text), text.n};
    b->seen++;
    if (got == 0)
        got =
            ingest_put(b, (struct ingest_place){"-d", 0}, file ? ingest_unmarked(whole) : whole, e);
    if (got == 0)
        got = ingest_commit(b, e); /* while the text is there */
    buf_free(&text);
    buf_free(&limit);
    return got;
}

int ingest_delay(struct ingest *b, const char *text, struct err *e)
{
    struct err ignored = ERR_NONE;

    if (clock_parse(str_of(text), &b->fill.notbefore_ms) ||
        duration_read(text, &b->delay_ms, &ignored) == 0)
        return 0;
    return err_set(e, EX_USAGE,
                   "--delay wants a duration like 10m or a time like 2026-11-21T10:00:00Z: %s",
                   err_quote_text(text).text);
}

int ingest_expect(struct ingest *b, const char *text, struct err *e)
{
    char *end;

    if (strcmp(text, "any") == 0) {
        b->terms.versions = LOG_NEXT_VERSION;
        return 0;
    }
    b->terms.versions = LOG_EXACT_VERSION;
    b->atomic = true;
    if (strcmp(text, "none") == 0)
        return 0;
    errno = 0;
    b->terms.expected = strtoll(text, &end, 10);
    return *end == '\0' && *text >= '0' && *text <= '9' && errno == 0
               ? 0
               : err_set(e, EX_USAGE, "--expect-version wants a number, any or none: %s",
                         err_quote_text(text).text);
}

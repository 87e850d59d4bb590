#include "inspect/letter.h"

#include "base/json_tree.h"
#include "cli/out.h"
#include "event/fingerprint.h"

#include <inttypes.h>
#include <string.h>

static const struct dead_attempt *last_attempt(const struct dead_letter *l)
{
    return l->tries == 0 ? NULL : &l->attempt[l->tries - 1];
}

/* Recorded attempts from before the letter was requeued, if it has died more than once. */
static int64_t earlier(const struct dead_letter *l)
{
    return (int64_t)l->tries > l->attempts ? (int64_t)l->tries - l->attempts : 0;
}

json_t *letter_row(const struct dead_letter *l)
{
    const struct dead_attempt *last = last_attempt(l);
    struct str none = {NULL, 0};

    return json_pack("{s:I,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:i,s:o}", "seq",
                     (json_int_t)l->event.seq, "group", tree_text(str_of(l->group)), "id",
                     tree_text(l->event.id), "source", tree_text(l->event.source), "type",
                     tree_text(l->event.type), "subject", tree_text(l->event.subject), "attempts",
                     (json_int_t)l->attempts, "earlier", (json_int_t)earlier(l), "died",
                     tree_time(l->died_ms), "status", last == NULL ? 0 : last->status, "reason",
                     tree_text(last == NULL ? none : last->reason));
}

void letter_fingerprint(const struct dead_letter *l, struct buf *out)
{
    const struct dead_attempt *last = last_attempt(l);

    if (last == NULL)
        return;
    buf_str(out, last->reason); /* its numbers matter: "exit status 3" */
    buf_puts(out, ": ");
    size_t said = out->n;
    fingerprint(out, last->tail);
    if (out->n == said)
        out->n -= 2;
}

int letter_print(const struct dead_letter *l, struct err *e)
{
    json_t *object = letter_row(l), *attempts = json_array();

    for (size_t i = 0; i < l->tries; i++)
        json_array_append_new(
            attempts,
            json_pack("{s:o,s:I,s:i,s:o,s:o}", "time", tree_time(l->attempt[i].time_ms), "took_ms",
                      (json_int_t)l->attempt[i].took_ms, "status", l->attempt[i].status, "reason",
                      tree_text(l->attempt[i].reason), "stderr", tree_text(l->attempt[i].tail)));
    json_object_set_new(object, "history", attempts);
    /* The event is inserted byte for byte: parsing it would change its numbers. */
    struct buf line = BUF_INIT;
    tree_print(&line, object);
    line.n--; /* its closing brace */
    buf_puts(&line, ",\"event\":");
    if (l->event.line.p == NULL)
        buf_puts(&line, "null");
    else
        buf_str(&line, l->event.line);
    buf_char(&line, '}');
    int got = out_json((struct str){line.p, line.n}, e);
    buf_free(&line);
    json_decref(object);
    return got;
}

static void add_tail(struct buf *b, struct str tail)
{
    while (tail.n > 0) {
        const char *newline = memchr(tail.p, '\n', tail.n);
        size_t n = newline == NULL ? tail.n : (size_t)(newline - tail.p);
        buf_puts(b, "    ");
        err_escape(b, tail.p, n);
        buf_char(b, '\n');
        n += newline != NULL;
        tail.p += n;
        tail.n -= n;
    }
}

int letter_show(const struct dead_letter *l, struct err *e)
{
    struct buf b = BUF_INIT;
    char when[CLOCK_TEXT_SIZE];

    buf_printf(&b, "seq %" PRId64 " in group ", l->event.seq);
    err_escape(&b, l->group, strlen(l->group));
    buf_printf(&b, ", dead since %s after %" PRId64 " attempt%s", clock_format(when, l->died_ms),
               l->attempts, l->attempts == 1 ? "" : "s");
    if (earlier(l) > 0)
        buf_printf(&b, ", dead again: %" PRId64 " attempt%s before it was given back", earlier(l),
                   earlier(l) == 1 ? "" : "s");
    buf_char(&b, '\n');
    for (size_t i = 0; i < l->tries; i++) {
        buf_printf(&b, "  %s  ", clock_format(when, l->attempt[i].time_ms));
        err_escape(&b, l->attempt[i].reason.p, l->attempt[i].reason.n);
        buf_printf(&b, " (%" PRId64 " ms)\n", l->attempt[i].took_ms);
        add_tail(&b, l->attempt[i].tail);
    }
    if (l->event.line.p == NULL)
        buf_puts(&b, "the event itself is damaged, or was pruned");
    else
        err_escape(&b, l->event.line.p, l->event.line.n);
    int got = out_line((struct str){b.p, b.n}, e);
    buf_free(&b);
    return got;
}

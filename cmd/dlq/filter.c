/* Which dead letters: those that are named, and that pass the filters. */
#include "base/mem.h"
#include "base/point.h"
#include "cli/out.h"
#include "command/spool.h"
#include "dlq/verbs.h"
#include "inspect/letter.h"

#include <stdlib.h>
#include <string.h>

struct dlq dlq;

static struct buf wanted, fingerprint; /* --like: the wanted one; and the current letter's */

const char *dlq_fingerprint(const struct dead_letter *letter)
{
    buf_reset(&fingerprint);
    letter_fingerprint(letter, &fingerprint);
    return buf_text(&fingerprint);
}

static bool is_like(const struct dead_letter *letter)
{
    return strcmp(dlq_fingerprint(letter), buf_text(&wanted)) == 0;
}

static int note_like(const struct dead_letter *letter, void *arg, struct err *e)
{
    (void)arg;
    (void)e;
    buf_puts(&wanted, dlq_fingerprint(letter));
    return 1;
}

static int find_like(struct err *e)
{
    int64_t seq;
    const struct dead_filter one = {.group = dlq.filter.group, .seq = &seq, .seqs = 1};

    if (log_find(dlq.spool, dlq.like, &seq, e) < 0)
        return -1;
    int64_t n = dead_each(dlq.spool, &one, note_like, NULL, e);
    if (n == 0)
        return err_set(e, EX_NO, "--like: %s is not a dead letter%s%s", dlq.like,
                       one.group == NULL ? "" : " of group ",
                       one.group == NULL ? "" : err_quote_text(one.group).text);
    dlq.filter.accept = is_like;
    return n < 0 ? -1 : 0;
}

/* A letter dies at a time, not at a position. */
static void set_time(const char *option, const struct point *point, int64_t *ms)
{
    if (args_given(option) && point->kind != POINT_TIME)
        args_usage("--%s wants a time here, such as 2h, yesterday or 2026-11-21T10:00:00Z", option);
    if (args_given(option))
        *ms = point->value;
}

int dlq_open(enum store_mode mode, int n, char **event, struct err *e)
{
    int64_t *seq = mem_alloc(((size_t)n + 1) * sizeof *seq);

    set_time("from", &dlq.after, &dlq.filter.died_after_ms);
    set_time("to", &dlq.before, &dlq.filter.died_before_ms);
    dlq.filter.seq = seq;
    if (spool_open(&dlq.spool, mode, e) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        if (log_find(dlq.spool, event[i], &seq[dlq.filter.seqs++], e) < 0)
            return -1;
    return dlq.like == NULL ? 0 : find_like(e);
}

int dlq_finish(struct err *e)
{
    store_close(dlq.spool);
    buf_free(&wanted);
    buf_free(&fingerprint);
    free((int64_t *)(uintptr_t)dlq.filter.seq);
    pattern_free(&dlq.filter.types);
    return out_finish(e);
}

void dlq_found_none(int n, char **event, struct err *e)
{
    struct buf text = BUF_INIT, filters = BUF_INIT;

    args_used(&filters, DLQ_FILTER_NAMES);
    if (n == 0) {
        args_none(&text, "dead letters", store_name(dlq.spool), DLQ_FILTER_NAMES);
    } else {
        buf_printf(&text, "%s is not a dead letter%s%s", event[0],
                   filters.n > 0 ? " that matches " : "", buf_text(&filters));
        if (n > 1)
            buf_puts(&text, ", nor are the others");
    }
    err_set(e, EX_NO, "%s", buf_text(&text));
    buf_free(&text);
    buf_free(&filters);
}

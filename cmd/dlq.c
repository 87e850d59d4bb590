/* dlq: look into dead letters, give them back to their groups, or drop them. */
#include "args.h"
#include "lines.h"
#include "mem.h"
#include "store.h"
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct dead_filter filter;
static struct clock_point before, after;
static int form;
static bool all, dry_run;

#define FILTERS                                                                                    \
    OPT_TEXT('g', "group", &filter.group, "GROUP", "only of this group"),                          \
        OPT_PATTERN('t', "type", &filter.types, "only events of matching types"),                  \
        OPT_TEXT('k', "key", &filter.subject, "KEY", "only events with this subject"),             \
        OPT_TEXT(0, "error", &filter.error, "TEXT",                                                \
                 "only with this in the last reason or stderr"),                                   \
        OPT_POINT(0, "from", &after, "only those that died since this time"),                      \
        OPT_POINT(0, "to", &before, "only those that died before this time"),                      \
        OPT_INT('n', "count", &filter.max, "N", 1, INT64_MAX, "at most N")

static const struct opt list_options[] = {
    FILTERS,
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson", "by default a table on a terminal"),
    OPT_END,
};

static const struct opt show_options[] = {
    FILTERS,
    OPT_CHOICE('o', "output", &form, "auto|text|ndjson", "by default text on a terminal"),
    OPT_END,
};

static const struct opt change_options[] = {
    FILTERS,
    OPT_FLAG(0, "all", &all, "all that pass the filters, or all there are"),
    OPT_FLAG(0, "dry-run", &dry_run, "only say how many"),
    OPT_END,
};

static const struct table_column columns[] = {
    {"seq", TABLE_RIGHT},    {"group", TABLE_LEFT},     {"type", TABLE_LEFT},
    {"subject", TABLE_LEFT}, {"attempts", TABLE_RIGHT}, {"died", TABLE_AGE},
    {"reason", TABLE_LEFT},  {NULL, TABLE_LEFT},
};

/* ------------------------------------------------------------------------------------- the rows */

static const struct dead_attempt *last_attempt(const struct dead_letter *l)
{
    return l->tries == 0 ? NULL : &l->attempt[l->tries - 1];
}

static json_t *row(const struct dead_letter *l)
{
    const struct dead_attempt *last = last_attempt(l);
    struct str none = {NULL, 0};

    return json_pack("{s:I,s:s,s:o,s:o,s:o,s:o,s:I,s:o,s:i,s:o}", "seq", (json_int_t)l->event.seq,
                     "group", l->group, "id", table_text(l->event.id), "source",
                     table_text(l->event.source), "type", table_text(l->event.type), "subject",
                     table_text(l->event.subject), "attempts", (json_int_t)l->attempts, "died",
                     table_time(l->died_ms), "status", last == NULL ? 0 : last->status, "reason",
                     table_text(last == NULL ? none : last->reason));
}

static int list_one(const struct dead_letter *letter, void *table, struct err *e)
{
    return table_row(table, row(letter), e) < 0 ? -1 : out_gone();
}

/* The whole letter: the event itself, and each attempt with what it said on stderr. */
static int show_json(const struct dead_letter *l, struct err *e)
{
    json_t *object = row(l), *attempts = json_array();

    for (size_t i = 0; i < l->tries; i++)
        json_array_append_new(
            attempts,
            json_pack("{s:o,s:I,s:i,s:o,s:o}", "time", table_time(l->attempt[i].time_ms), "took_ms",
                      (json_int_t)l->attempt[i].took_ms, "status", l->attempt[i].status, "reason",
                      table_text(l->attempt[i].reason), "stderr", table_text(l->attempt[i].tail)));
    json_object_set_new(object, "history", attempts);
    /* The event goes in as it stands: a tree of it would change its numbers. */
    struct buf line = BUF_INIT;
    table_json(&line, object);
    line.n--; /* its closing brace */
    buf_puts(&line, ",\"event\":");
    buf_str(&line, l->event.line.p == NULL ? STR("null") : l->event.line);
    buf_char(&line, '}');
    int got = out_line((struct str){line.p, line.n}, e);
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

static int show_text(const struct dead_letter *l, struct err *e)
{
    struct buf b = BUF_INIT;
    char when[CLOCK_TEXT_SIZE];

    buf_printf(&b, "seq %" PRId64 " in group ", l->event.seq);
    err_escape(&b, l->group, strlen(l->group));
    buf_printf(&b, ", dead since %s after %" PRId64 " attempt%s\n", clock_format(when, l->died_ms),
               l->attempts, l->attempts == 1 ? "" : "s");
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

static int show_one(const struct dead_letter *letter, void *as_text, struct err *e)
{
    return (as_text != NULL ? show_text(letter, e) : show_json(letter, e)) < 0 ? -1 : out_gone();
}

static int count_one(const struct dead_letter *letter, void *arg, struct err *e)
{
    (void)letter;
    (void)arg;
    (void)e;
    return 0;
}

/* ------------------------------------------------------------------------------------ the verbs */

static int set_time(const char *option, const struct clock_point *point, int64_t *ms)
{
    if (!args_given(option))
        return 0;
    if (point->kind != CLOCK_TIME)
        args_usage("--%s wants a time here, such as 2h, yesterday or 2026-11-21T10:00:00Z", option);
    *ms = point->value;
    return 0;
}

static int open_spool(struct store **spool, enum store_mode mode, int n, char **event,
                      struct err *e)
{
    int64_t *seq = mem_alloc(((size_t)n + 1) * sizeof *seq);

    set_time("from", &after, &filter.died_after_ms);
    set_time("to", &before, &filter.died_before_ms);
    filter.seq = seq;
    if (store_open(spool, args_spool(), mode, e) < 0)
        return -1;
    for (int i = 0; i < n; i++)
        if (log_find(*spool, event[i], &seq[filter.seqs++], e) < 0)
            return -1;
    return 0;
}

static int finish(struct store *spool, struct err *e)
{
    store_close(spool);
    free((int64_t *)(uintptr_t)filter.seq);
    pattern_free(&filter.types);
    return out_finish(e);
}

static int run_list(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;

    if (open_spool(&spool, STORE_READ, argc - first, argv + first, &e) == 0) {
        struct table *table = table_begin(columns, (enum table_form)form);
        int64_t n = dead_each(spool, &filter, list_one, table, &e);
        table_end(table, &e);
        if (n == 0 && isatty(STDERR_FILENO))
            err_note("no dead letters in %s", store_path(spool));
    }
    return finish(spool, &e);
}

static int run_show(int first, int argc, char **argv)
{
    bool as_text = form == 1 || (form == 0 && isatty(STDOUT_FILENO));
    struct err e = ERR_NONE;
    struct store *spool = NULL;

    if (open_spool(&spool, STORE_READ, argc - first, argv + first, &e) == 0 &&
        dead_each(spool, &filter, show_one, as_text ? &e : NULL, &e) == 0)
        err_set(&e, EX_NO, first < argc ? "%s is no dead letter%s" : "no dead letters in %s",
                first < argc ? argv[first] : store_path(spool),
                argc - first > 1 ? ", nor the others" : "");
    return finish(spool, &e);
}

static int change(int first, int argc, char **argv, const char *done,
                  int64_t (*f)(struct store *, const struct dead_filter *, struct err *))
{
    bool filtered = filter.group != NULL || filter.types.n > 0 || filter.subject != NULL ||
                    filter.error != NULL || args_given("from") || args_given("to") ||
                    filter.max > 0;
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    int64_t n = -1;

    if (first == argc && !filtered && !all)
        args_usage("name EVENTs, a filter such as -g GROUP, or --all");
    if (open_spool(&spool, STORE_WRITE, argc - first, argv + first, &e) == 0)
        n = dry_run ? dead_each(spool, &filter, count_one, NULL, &e) : f(spool, &filter, &e);
    if (n >= 0) {
        char text[80];
        snprintf(text, sizeof text, "%" PRId64 " dead letter%s %s%s", n, n == 1 ? "" : "s",
                 dry_run ? "would be " : "", done);
        out_line(str_of(text), &e);
    }
    if (n == 0 && first < argc)
        err_set(&e, EX_NO, "%s is no dead letter", argv[first]);
    return finish(spool, &e);
}

static int run_retry(int first, int argc, char **argv)
{
    return change(first, argc, argv, "given back", dead_retry);
}

static int run_drop(int first, int argc, char **argv)
{
    return change(first, argc, argv, "dropped", dead_drop);
}

static const struct cmd verbs[] = {
    {.name = "list",
     .about = "list dead letters",
     .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT] [EVENT...]"},
     .examples = {"dlq list -g charge", "dlq list --error 'connection refused' --from 2h"},
     .options = list_options,
     .run = run_list},
    {.name = "show",
     .about = "show events with each attempt and what it said",
     .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT] [EVENT...]"},
     .examples = {"dlq show 17", "dlq show -g charge -n 1"},
     .options = show_options,
     .run = run_show},
    {.name = "retry",
     .about = "give them back to their groups, with fresh attempts",
     .usage = {"EVENT... | [-g GROUP] [-t PATTERN] [--error TEXT] | --all"},
     .examples = {"dlq retry 17", "dlq retry -g charge --all", "dlq retry --error timed --dry-run"},
     .options = change_options,
     .run = run_retry},
    {.name = "drop",
     .about = "forget them; their events stay in the log",
     .usage = {"EVENT... | [-g GROUP] [-t PATTERN] [--error TEXT] | --all"},
     .examples = {"dlq drop 17", "dlq drop -g charge --to 30d"},
     .options = change_options,
     .run = run_drop},
    {0},
};

static const struct cmd self = {.name = "dlq", .about = "look after dead letters", .verbs = verbs};

int main(int argc, char **argv)
{
    return args_verb(&self, argc, argv);
}

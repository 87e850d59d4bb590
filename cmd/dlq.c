/* dlq: inspect dead letters, requeue them to their groups, or drop them. */
#include "base/mem.h"
#include "cli/args.h"
#include "cli/lines.h"
#include "cli/table.h"
#include "inspect/letter.h"
#include "process/environment.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct dead_filter filter;
static struct clock_point before, after;
static int form;
static bool all, dry_run;
static const char *like;
static struct buf wanted, print; /* --like: the wanted fingerprint; the current letter's */

#define FILTER_NAMES "group type key error like from to"
#define FILTERS                                                                                    \
    OPT_NAME('g', "group", &filter.group, "GROUP", "only dead letters of this group"),             \
        OPT_PATTERN('t', "type", &filter.types, "only events of matching types"),                  \
        OPT_WORDS('k', "key", &filter.subject, "KEY", "only events with this subject"),            \
        OPT_TEXT(0, "error", &filter.error, "TEXT",                                                \
                 "only with this text in the last reason or stderr"),                              \
        OPT_TEXT(0, "like", &like, "EVENT", "only those that failed in the same way as this one"), \
        OPT_POINT(0, "from", &after, "only those that died at or after this time"),                \
        OPT_POINT(0, "to", &before, "only those that died before this time"),                      \
        OPT_INT('n', "count", &filter.max, "N", 1, INT64_MAX, "at most N dead letters")

static const struct opt list_options[] = {
    FILTERS,
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson", "default: a table on a terminal"),
    OPT_END,
};

static const struct opt show_options[] = {
    FILTERS,
    OPT_CHOICE('o', "output", &form, "auto|text|ndjson", "default: text on a terminal"),
    OPT_END,
};

static const struct opt try_options[] = {
    OPT_NAME('g', "group", &filter.group, "GROUP", "the group, if the event is dead in several"),
    OPT_END,
};

static const struct opt change_options[] = {
    FILTERS,
    OPT_FLAG(0, "all", &all, "all that pass the filters, or all there are"),
    OPT_FLAG(0, "dry-run", &dry_run, "only print how many"),
    OPT_END,
};

static const struct table_column columns[] = {
    {"seq", TABLE_RIGHT},    {"group", TABLE_LEFT},     {"type", TABLE_LEFT},
    {"subject", TABLE_LEFT}, {"attempts", TABLE_RIGHT}, {"earlier", TABLE_RIGHT},
    {"died", TABLE_AGE},     {"reason", TABLE_LEFT},    {NULL, TABLE_LEFT},
};

/* --------------------------------------------------------------------------------- each letter */

static int list_one(const struct dead_letter *letter, void *table, struct err *e)
{
    return table_row(table, letter_row(letter), e) < 0 ? -1 : out_gone();
}

static int show_one(const struct dead_letter *letter, void *as_text, struct err *e)
{
    return (as_text != NULL ? letter_show(letter, e) : letter_print(letter, e)) < 0 ? -1
                                                                                    : out_gone();
}

static int count_one(const struct dead_letter *letter, void *arg, struct err *e)
{
    (void)letter;
    (void)arg;
    (void)e;
    return 0;
}

/* ------------------------------------------------------------------------------------ the verbs */

/* 1: neither the named events nor the filters matched a letter. */
static int found_none(struct store *spool, int n, char **event, struct err *e)
{
    struct buf text = BUF_INIT, filters = BUF_INIT;

    args_used(&filters, FILTER_NAMES);
    if (n == 0) {
        args_none(&text, "dead letters", store_path(spool), FILTER_NAMES);
    } else {
        buf_printf(&text, "%s is not a dead letter%s%s", event[0],
                   filters.n > 0 ? " that matches " : "", buf_text(&filters));
        if (n > 1)
            buf_puts(&text, ", nor are the others");
    }
    err_set(e, EX_NO, "%s", buf_text(&text));
    buf_free(&text);
    buf_free(&filters);
    return -1;
}

static int set_time(const char *option, const struct clock_point *point, int64_t *ms)
{
    if (!args_given(option))
        return 0;
    if (point->kind != CLOCK_TIME)
        args_usage("--%s wants a time here, such as 2h, yesterday or 2026-11-21T10:00:00Z", option);
    *ms = point->value;
    return 0;
}

static const char *print_of(const struct dead_letter *letter)
{
    buf_reset(&print);
    letter_fingerprint(letter, &print);
    return buf_text(&print);
}

static bool is_like(const struct dead_letter *letter)
{
    return strcmp(print_of(letter), buf_text(&wanted)) == 0;
}

static int note_like(const struct dead_letter *letter, void *arg, struct err *e)
{
    (void)arg;
    (void)e;
    buf_puts(&wanted, print_of(letter));
    return 1;
}

static int find_like(struct store *spool, struct err *e)
{
    int64_t seq;
    const struct dead_filter one = {.group = filter.group, .seq = &seq, .seqs = 1};

    if (log_find(spool, like, &seq, e) < 0)
        return -1;
    int64_t n = dead_each(spool, &one, note_like, NULL, e);
    if (n == 0)
        return err_set(e, EX_NO, "--like: %s is not a dead letter%s%s", like,
                       filter.group == NULL ? "" : " of group ",
                       filter.group == NULL ? "" : err_quote_text(filter.group).text);
    filter.accept = is_like;
    return n < 0 ? -1 : 0;
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
    return like == NULL ? 0 : find_like(*spool, e);
}

static int finish(struct store *spool, struct err *e)
{
    store_close(spool);
    buf_free(&wanted);
    buf_free(&print);
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
        if (n == 0)
            args_nothing("dead letters", store_path(spool), FILTER_NAMES);
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
        found_none(spool, argc - first, argv + first, &e);
    return finish(spool, &e);
}

static int change(int first, int argc, char **argv, const char *done,
                  int64_t (*f)(struct store *, const struct dead_filter *, struct err *))
{
    bool filtered = filter.group != NULL || filter.types.n > 0 || filter.subject != NULL ||
                    filter.error != NULL || like != NULL || args_given("from") ||
                    args_given("to") || filter.max > 0;
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
        found_none(spool, argc - first, argv + first, &e);
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

/* ---------------------------------------------------------------------------------------- stats */

static const struct table_column stats_columns[] = {
    {"count", TABLE_RIGHT}, {"first", TABLE_AGE},    {"last", TABLE_AGE}, {"groups", TABLE_LEFT},
    {"event", TABLE_RIGHT}, {"failure", TABLE_LEFT}, {NULL, TABLE_LEFT},
};

static void note_group(json_t *groups, const char *group)
{
    size_t i;
    json_t *known, *name = table_text(str_of(group));

    json_array_foreach (groups, i, known)
        if (strcmp(json_string_value(known), json_string_value(name)) == 0) {
            json_decref(name);
            return;
        }
    json_array_append_new(groups, name);
}

/* One entry per fingerprint, which may not be valid text, since handlers print anything. Times are
   text that sorts as time does. */
static int count_kind(const struct dead_letter *letter, void *kinds, struct err *e)
{
    char when[CLOCK_TEXT_SIZE];
    json_t *failure = table_text(str_of(print_of(letter)));
    json_t *kind = json_object_get(kinds, json_string_value(failure));
    json_t *died = json_string(clock_format(when, letter->died_ms));

    (void)e;
    if (kind == NULL) {
        kind = json_pack("{s:i,s:O,s:O,s:[],s:I,s:O}", "count", 0, "first", died, "last", died,
                         "groups", "event", (json_int_t)letter->event.seq, "failure", failure);
        json_object_set_new(kinds, json_string_value(failure), kind);
    }
    json_object_set_new(kind, "count",
                        json_integer(json_integer_value(json_object_get(kind, "count")) + 1));
    if (strcmp(json_string_value(died), json_string_value(json_object_get(kind, "first"))) < 0)
        json_object_set(kind, "first", died);
    if (strcmp(json_string_value(died), json_string_value(json_object_get(kind, "last"))) > 0)
        json_object_set(kind, "last", died);
    note_group(json_object_get(kind, "groups"), letter->group);
    json_decref(died);
    json_decref(failure);
    return 0;
}

static int most_first(const void *a, const void *b)
{
    json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "count"));
    json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "count"));
    return (x < y) - (x > y);
}

static void print_kinds(json_t *kinds, struct err *e)
{
    struct table *table = table_begin(stats_columns, (enum table_form)form);
    size_t n = json_object_size(kinds), i = 0;
    json_t **sorted = mem_zero(n + 1, sizeof(json_t *)), *kind;
    const char *key;

    json_object_foreach (kinds, key, kind)
        sorted[i++] = kind;
    qsort(sorted, n, sizeof(json_t *), most_first);
    for (i = 0; i < n; i++)
        table_row(table, json_incref(sorted[i]), e);
    table_end(table, e);
    free(sorted);
}

static int run_stats(int first, int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    json_t *kinds = json_object();

    if (open_spool(&spool, STORE_READ, argc - first, argv + first, &e) == 0 &&
        dead_each(spool, &filter, count_kind, kinds, &e) >= 0) {
        print_kinds(kinds, &e);
        if (json_object_size(kinds) == 0)
            args_nothing("dead letters", store_path(spool), FILTER_NAMES);
    }
    json_decref(kinds);
    return finish(spool, &e);
}

/* ------------------------------------------------------------------------------------------ try */

static struct environment environment;
static char *const *envp;

/* Make the event our stdin, and put its attributes into our environment for the command. */
static int prepare(const struct dead_letter *letter, void *store, struct err *e)
{
    struct str line = letter->event.line;
    struct js_scan scan = JS_SCAN_INIT;
    struct event ev = EVENT_INIT;
    int in;

    if (line.p == NULL)
        return err_set(e, EX_DATAERR, "the event is damaged, or was pruned");
    if (event_read(&ev, &scan, line, e) < 0)
        return -1;
    envp = environment_make(&environment, &ev, letter->event.seq, letter->attempts + 1,
                            letter->group, store_path(store));
    event_free(&ev);
    js_scan_free(&scan);
    in = memfd_create("event", MFD_CLOEXEC);
    if (in < 0 || write_all(in, line.p, line.n) < 0 || write_all(in, "\n", 1) < 0 ||
        lseek(in, 0, SEEK_SET) < 0 || dup2(in, STDIN_FILENO) < 0)
        return err_errno(e, EX_OSERR, "cannot hand the event over");
    return 1;
}

/* Replace this process by the command, once the spool is closed: the command inherits nothing of
   ours. */
static int run_try(int first, int argc, char **argv)
{
    char **command = first < argc ? wrap_command(argv + first + 1) : NULL;
    struct err e = ERR_NONE;
    struct store *spool = NULL;

    if (command == NULL)
        args_usage("try wants an EVENT and a command");
    if (open_spool(&spool, STORE_READ, 1, argv + first, &e) == 0 &&
        dead_each(spool, &filter, prepare, spool, &e) == 0)
        found_none(spool, 1, argv + first, &e);
    if (e.status != 0)
        return finish(spool, &e);
    store_close(spool);
    environ = (char **)(uintptr_t)envp;
    proc_exec(command, &e);
    return finish(NULL, &e);
}

static const struct cmd verbs[] = {
    {.name = "list",
     .about = "list dead letters",
     .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT] [EVENT...]"},
     .examples = {"dlq list -g charge", "dlq list --error 'connection refused' --from 2h"},
     .options = list_options,
     .run = run_list},
    {.name = "show",
     .about = "show events, with each attempt and its stderr",
     .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT] [EVENT...]"},
     .examples = {"dlq show 17", "dlq show -g charge -n 1"},
     .options = show_options,
     .run = run_show},
    {.name = "stats",
     .about = "count dead letters by failure",
     .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT]"},
     .examples = {"dlq stats", "dlq list --like 17", "dlq retry --like 17"},
     .options = list_options,
     .run = run_stats},
    {.name = "try",
     .about = "run a fixed handler on one; nothing changes, whatever happens",
     .usage = {"[-g GROUP] EVENT [--] COMMAND [ARG...]"},
     .examples = {"dlq try 17 -- ./charge"},
     .options = try_options,
     .wrapper = true,
     .run = run_try},
    {.name = "retry",
     .about = "give dead letters back to their groups, with fresh attempts",
     .usage = {"EVENT... | [-g GROUP] [-t PATTERN] [--error TEXT] | --all"},
     .examples = {"dlq retry 17", "dlq retry -g charge --all", "dlq retry --error timed --dry-run"},
     .options = change_options,
     .run = run_retry},
    {.name = "drop",
     .about = "delete dead letters; their events stay in the log",
     .usage = {"EVENT... | [-g GROUP] [-t PATTERN] [--error TEXT] | --all"},
     .examples = {"dlq drop 17", "dlq drop -g charge --to 30d"},
     .options = change_options,
     .run = run_drop},
    {0},
};

static const struct cmd self = {
    .name = "dlq",
    .about = "inspect, retry or drop dead letters",
    .examples = {"dlq list", "dlq show -g charge -n 1", "dlq retry -g charge --all"},
    .verbs = verbs,
};

int main(int argc, char **argv)
{
    return args_verb(&self, argc, argv);
}

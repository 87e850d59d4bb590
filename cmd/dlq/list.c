/* dlq list, dlq show: the letters in rows, or each with its attempts. */
#include "cli/out.h"
#include "cli/table.h"
#include "dlq/verbs.h"
#include "inspect/letter.h"

#include <unistd.h>

static int form;

static const struct opt list_options[] = {
    DLQ_FILTERS,
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson", "default: a table on a terminal"),
    OPT_END,
};

static const struct opt show_options[] = {
    DLQ_FILTERS,
    OPT_CHOICE('o', "output", &form, "auto|text|ndjson", "default: text on a terminal"),
    OPT_END,
};

static const struct table_column columns[] = {
    {"seq", TABLE_RIGHT},    {"group", TABLE_LEFT},     {"type", TABLE_LEFT},
    {"subject", TABLE_LEFT}, {"attempts", TABLE_RIGHT}, {"earlier", TABLE_RIGHT},
    {"died", TABLE_AGE},     {"reason", TABLE_LEFT},    {NULL, TABLE_LEFT},
};

static int list_letter(const struct dead_letter *letter, void *table, struct err *e)
{
    return table_row(table, letter_row(letter), e) < 0 ? -1 : out_gone();
}

static int run_dlq_list(char **operand)
{
    struct err e = ERR_NONE;

    if (dlq_open(STORE_READ, args_count(operand), operand, &e) == 0) {
        struct table *table = table_begin(columns, (enum table_form)form);
        int64_t n = dead_each(dlq.spool, &dlq.filter, list_letter, table, &e);
        table_end(table, &e);
        if (n == 0)
            args_nothing("dead letters", store_name(dlq.spool), DLQ_FILTER_NAMES);
    }
    return dlq_finish(&e);
}

static int show_as_text(const struct dead_letter *letter, void *arg, struct err *e)
{
    (void)arg;
    return letter_show(letter, e) < 0 ? -1 : out_gone();
}

static int show_as_json(const struct dead_letter *letter, void *arg, struct err *e)
{
    (void)arg;
    return letter_print(letter, e) < 0 ? -1 : out_gone();
}

static int run_dlq_show(char **operand)
{
    bool as_text = form == 1 || (form == 0 && isatty(STDOUT_FILENO));
    struct err e = ERR_NONE;
    int n = args_count(operand);

    if (dlq_open(STORE_READ, n, operand, &e) == 0 &&
        dead_each(dlq.spool, &dlq.filter, as_text ? show_as_text : show_as_json, NULL, &e) == 0)
        dlq_found_none(n, operand, &e);
    return dlq_finish(&e);
}

const struct cmd dlq_list = {
    .name = "list",
    .about = "list dead letters",
    .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT] [EVENT...]"},
    .examples = {"dlq list -g charge", "dlq list --error 'connection refused' --from 2h"},
    .options = list_options,
    .run = run_dlq_list,
};

const struct cmd dlq_show = {
    .name = "show",
    .about = "show events, with each attempt and its stderr",
    .usage = {"[-g GROUP] [-t PATTERN] [--error TEXT] [EVENT...]"},
    .examples = {"dlq show 17", "dlq show -g charge -n 1"},
    .options = show_options,
    .run = run_dlq_show,
};

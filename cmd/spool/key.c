/* spool key: the keys of once. */
#include "base/json_tree.h"
#include "resilience/once_key.h"
#include "spool/named.h"
#include "spool/verbs.h"

static const struct opt options[] = {NAMED_OPT_OUTPUT, OPT_END};

static const struct table_column key_columns[] = {
    {"key", TABLE_LEFT},  {"state", TABLE_LEFT},     {"since", TABLE_AGE},
    {"pid", TABLE_RIGHT}, {"forgotten", TABLE_LEFT}, {NULL, TABLE_LEFT},
};

static json_t *key_row(struct store *s, const struct doc *doc)
{
    struct once_key_info info;

    if (!once_key_read(doc->value, &info))
        return NULL;
    bool runs = !info.done && mark_lives(s, info.mark);
    return json_pack("{s:o,s:s,s:o,s:o,s:o}", "key", tree_text(str_of(doc->name)), "state",
                     info.done ? "done"
                     : runs    ? "running"
                               : "free",
                     "since", tree_time(info.at_ms), "pid",
                     runs ? json_integer(mark_pid(info.mark)) : json_null(), "forgotten",
                     tree_time(doc->expires_ms));
}

static int forget_key(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "forgotten");
    return once_key_forget(s, name, e);
}

static const struct named_kind keys = {
    ONCE_KEY_KIND, key_columns, key_row,
    (const struct named_change[]){{"forget", forget_key, NULL}, {0}}};

static int run_spool_key(char **operand)
{
    return named_run(&keys, operand);
}

const struct cmd spool_key = {
    .name = "key",
    .about = "list, show or forget keys of once",
    .usage = {"[list] [-o table|ndjson]", "show|forget KEY"},
    .examples = {"spool key", "spool key forget invoice-2026-11"},
    .options = options,
    .run = run_spool_key,
};

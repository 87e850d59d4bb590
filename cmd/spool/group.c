/*
 * spool group: list groups, and change one.
 */
#include "base/point.h"
#include "cli/out.h"
#include "cli/table.h"
#include "command/spool.h"
#include "inspect/group_json.h"
#include "spool/verbs.h"

#include <inttypes.h>
#include <string.h>

static struct group_change terms;
static struct group_seek sought;
static struct point point;
static bool dry_run, ordered, unordered;
static int form;

static const struct opt options[] = {
    OPT_PATTERN('t', "type", &terms.types, "set: the types the group takes from now on"),
    OPT_FLAG(0, "ordered", &ordered, "set: keep the order of each subject"),
    OPT_FLAG(0, "unordered", &unordered, "set: keep no order"),
    OPT_FLAG(0, "dry-run", &dry_run, "seek: only print what would be done"),
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",
               "list, show: format (default: table on a terminal)"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_ALONE, "ordered unordered", NULL, NULL},
    {0},
};

/* ----------------------------------------------------------------------------------------- show */

static const struct table_column group_columns[] = {
    {"group", TABLE_LEFT},     {"types", TABLE_LEFT},      {"state", TABLE_LEFT},
    {"position", TABLE_RIGHT}, {"lag", TABLE_RIGHT},       {"due", TABLE_RIGHT},
    {"waiting", TABLE_RIGHT},  {"in_flight", TABLE_RIGHT}, {"dead", TABLE_RIGHT},
    {"done", TABLE_RIGHT},     {"consumers", TABLE_RIGHT}, {NULL, TABLE_LEFT},
};

static int64_t shown;

static int print_group(const struct group_info *info, void *table, struct err *e)
{
    shown++;
    return table_row(table, group_json(info), e) < 0 ? -1 : out_gone();
}

static int show_groups(const char *name, struct err *e)
{
    struct store *spool = NULL;

    if (spool_open(&spool, STORE_READ, e) == 0) {
        struct table *table = table_begin(group_columns, (enum table_form)form);
        group_each(spool, name, print_group, table, e);
        table_end(table, e);
        if (shown == 0 && e->status == 0)
            args_nothing("groups", store_name(spool), "");
    }
    store_close(spool);
    return out_finish(e);
}

/* --------------------------------------------------------------------------------------- change */

static int pause_group(struct store *s, const char *name, struct err *e)
{
    return group_pause(s, name, true, e);
}

static int resume_group(struct store *s, const char *name, struct err *e)
{
    return group_pause(s, name, false, e);
}

static int seek_group(struct store *s, const char *name, struct err *e)
{
    return group_seek(s, name, &point, dry_run, &sought, e);
}

static int set_group(struct store *s, const char *name, struct err *e)
{
    return group_change(s, name, &terms, e);
}

static const struct change {
    const char *verb, *done;
    int (*f)(struct store *s, const char *name, struct err *e);
} changes[] = {
    {"pause", "paused", pause_group}, {"resume", "resumed", resume_group},
    {"drop", "dropped", group_drop},  {"seek", NULL, seek_group},
    {"set", "set", set_group},
};

static void say_sought(struct buf *line)
{
    buf_printf(line,
               "%s from position %" PRId64 " to %" PRId64 "; %" PRId64 " waiting and %" PRId64
               " dead letter%s %sdropped",
               dry_run ? "would go" : "goes", sought.from, sought.to, sought.waiting, sought.dead,
               sought.dead == 1 ? "" : "s", dry_run ? "would be " : "");
}

static int change_group(const char *name, const struct change *change)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct buf line = BUF_INIT;

    if (spool_open(&spool, STORE_WRITE, &e) == 0 && change->f(spool, name, &e) == 0) {
        buf_puts(&line, "group ");
        err_escape(&line, name, strlen(name));
        buf_char(&line, ' ');
        if (change->done != NULL)
            buf_puts(&line, change->done);
        else
            say_sought(&line);
        out_line((struct str){line.p, line.n}, &e);
    }
    buf_free(&line);
    store_close(spool);
    pattern_free(&terms.types);
    return out_finish(&e);
}

/* ---------------------------------------------------------------------------------- which it is */

/* Each option belongs to one of the verbs after "group". */
static void check_group_options(const char *verb)
{
    static const char *const of[][2] = {
        {"type", "set"}, {"ordered", "set"}, {"unordered", "set"}, {"dry-run", "seek"}};

    for (size_t i = 0; i < sizeof of / sizeof of[0]; i++)
        if (args_given(of[i][0]) && strcmp(verb, of[i][1]) != 0)
            args_usage("--%s is for group %s", of[i][0], of[i][1]);
    if (ordered || unordered)
        terms.order = ordered ? GROUP_ORDERED : GROUP_UNORDERED;
    if (strcmp(verb, "set") == 0 && terms.types.n == 0 && terms.order == GROUP_ORDER_KEEP)
        args_usage("group set wants -t, --ordered or --unordered");
}

static void read_point(const char *text)
{
    struct err e = ERR_NONE;

    if (text == NULL)
        args_usage("group seek wants a GROUP and a POINT, such as start, 2h or 17");
    if (point_read(text, clock_now_ms(), &point, &e) < 0)
        args_usage("POINT %s", e.text);
}

static int run_spool_group(char **operand)
{
    int given = args_count(operand);
    const char *verb = given > 0 ? operand[0] : "list";
    const char *name = given > 1 ? operand[1] : NULL;
    int operands = strcmp(verb, "seek") == 0 ? 3 : 2;
    size_t n = sizeof changes / sizeof changes[0], i = 0;
    struct err e = ERR_NONE;

    if (given > operands)
        args_usage("one GROUP at a time: %s", err_quote_text(operand[operands]).text);
    if (name != NULL)
        args_name("GROUP", name, NAME_BYTES);
    if (strcmp(verb, "list") == 0 && name != NULL)
        args_usage("group list takes no operand: %s", err_quote_text(name).text);
    check_group_options(verb);
    if (strcmp(verb, "list") == 0)
        return show_groups(NULL, &e);
    while (i < n && strcmp(verb, changes[i].verb) != 0)
        i++;
    if (i == n && strcmp(verb, "show") != 0)
        args_usage("group can list, show, pause, resume, seek, set or drop: %s",
                   err_quote_text(verb).text);
    if (name == NULL)
        args_usage("group %s wants a GROUP", verb);
    if (operands == 3)
        read_point(given > 2 ? operand[2] : NULL);
    return i == n ? show_groups(name, &e) : change_group(name, &changes[i]);
}

const struct cmd spool_group = {
    .name = "group",
    .about = "list groups and their backlog; change a group",
    .usage = {"[list] [-o table|ndjson]", "show|pause|resume|drop GROUP",
              "seek GROUP POINT [--dry-run]", "set GROUP [-t PATTERN]... [--ordered|--unordered]"},
    .examples = {"spool group", "spool group pause email", "spool group seek email 2h",
                 "spool group set email -t 'order.*' -t payment.failed"},
    .options = options,
    .rules = rules,
    .run = run_spool_group,
};

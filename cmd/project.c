/* project: keep tables of a database up to date with events, applying each event once. */
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/table.h"
#include "command/spool.h"
#include "deliver/again.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "project/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *name;
static bool follow, rebuild, verify, status, force;
static int on_error, form;

static const struct opt options[] = {
    OPT_NAME('g', "group", &name, "NAME", "the projection's name (default: FILE without .sql)"),
    OPT_FLAG('f', "follow", &follow, "wait for more events at the end of the log"),
    OPT_CHOICE(0, "on-error", &on_error, "stop|dead",
               "when an event fails: stop, or set it aside and go on"),
    OPT_FLAG(0, "rebuild", &rebuild, "rebuild the tables beside the old ones, then swap"),
    OPT_FLAG(0, "force", &force, "rebuild even if the beginning of the log was pruned"),
    OPT_FLAG(0, "verify", &verify, "build the tables again, and print what differs"),
    OPT_FLAG(0, "status", &status, "print the position, lag and last error"),
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson", "format of --status and --verify"),
    OPT_END,
};

static const struct args_rule option_rules[] = {
    {ARGS_ALONE, "rebuild verify status", NULL, NULL},
    {ARGS_EXCLUDES, "follow", "rebuild verify status", NULL},
    {ARGS_NEEDS, "force", "rebuild", NULL},
    {ARGS_EXCLUDES, "on-error", "status", NULL},
    {ARGS_NEEDS, "output", "status verify", NULL},
    {0},
};

static const struct cmd self = {
    .name = "project",
    .about = "build tables in a database from events, each applied once",
    .usage = {"[-g NAME] [-f] [--on-error stop|dead] DATABASE FILE.sql",
              "--rebuild [--force] [-g NAME] DATABASE FILE.sql",
              "--verify [-g NAME] DATABASE FILE.sql", "--status [-g NAME] DATABASE [FILE.sql]"},
    .examples = {"project read.db accounts.sql", "project -f read.db accounts.sql",
                 "project --status read.db", "project --rebuild read.db accounts.sql"},
    .options = options,
    .rules = option_rules,
    .database = true,
    .common = "group follow on-error rebuild status",
};

static const struct table_column status_columns[] = {
    {"name", TABLE_LEFT},   {"state", TABLE_LEFT}, {"position", TABLE_RIGHT},
    {"lag", TABLE_RIGHT},   {"oldest", TABLE_AGE}, {"dead", TABLE_RIGHT},
    {"updated", TABLE_AGE}, {"error", TABLE_LEFT}, {NULL, TABLE_LEFT},
};
static const struct table_column verify_columns[] = {
    {"table", TABLE_LEFT}, {"only", TABLE_LEFT}, {"times", TABLE_RIGHT},
    {"row", TABLE_LEFT},   {NULL, TABLE_LEFT},
};

static struct rules rules;

static void report_aside(const struct log_entry *entry, const struct err *why)
{
    progress_set_aside(name, entry, why);
}

/* Apply events to the end of the log, and with -f go on with new ones. */
static int apply_events(const struct projection_terms *terms, struct err *e)
{
    struct projection *p;
    int created = projection_open(&p, terms, e), got = created;

    if (created > 0)
        say_note("created the database %s", terms->database);
    store_stop(terms->spool, proc_forced); /* the grace for recording in the spool what has been
                                              applied */
    while (got >= 0) {
        got = projection_advance(p, e);
        say_progress_end();
        if (got < 0 || !follow || proc_stopping())
            break;
        got = store_wait(terms->spool, NULL, 0, -1, proc_wait, e);
    }
    projection_close(p);
    return got < 0 ? -1 : 0;
}

static int keep_up(const struct projection_terms *terms, struct err *e)
{
    struct reconnect reconnect = {.next = 0};
    int got;

    do
        got = apply_events(terms, e);
    while (got < 0 && follow && again(&reconnect, terms->spool, e));
    return e->status == 0 ? 0 : -1;
}

static int project_rebuild(const struct projection_terms *terms, struct err *e)
{
    int64_t applied = 0;
    int got = projection_rebuild(terms, force, &applied, e);

    say_progress_end();
    if (got < 0)
        return -1;
    struct buf line = BUF_INIT;
    err_escape(&line, name, strlen(name));
    buf_printf(&line, " rebuilt from %" PRId64 " event%s", applied, applied == 1 ? "" : "s");
    got = out_line((struct str){line.p, line.n}, e);
    buf_free(&line);
    return got;
}

static int print_row(json_t *row, void *table, struct err *e)
{
    return table_row(table, row, e);
}

static int project_verify(const struct projection_terms *terms, struct err *e)
{
    struct table *t = table_begin(verify_columns, form);
    int64_t found = projection_verify(terms, print_row, t, e);

    say_progress_end();
    if (table_end(t, e) < 0 || found < 0)
        return -1;
    if (found > 0)
        e->status = EX_NO; /* differences are printed */
    return 0;
}

static int project_status(const char *database, struct err *e)
{
    struct store *spool;
    struct table *t = table_begin(status_columns, form);
    int got = spool_open(&spool, STORE_READ, e);

    if (got >= 0)
        got = projection_status(spool, database, name, print_row, t, e);
    if (table_end(t, e) < 0)
        got = -1;
    store_close(spool);
    return got;
}

static void check_project_options(int operands)
{
    if (operands < 1 || (operands < 2 && !status) || operands > 2)
        args_usage(operands < 1   ? "DATABASE and FILE.sql are missing"
                   : operands < 2 ? "FILE.sql is missing"
                                  : "give one DATABASE and one FILE.sql");
}

static int project(const char *database, const char *file, struct err *e)
{
    struct projection_terms terms = {.rules = &rules,
                                     .database = database,
                                     .name = name,
                                     .set_aside = on_error == 1,
                                     .stopping = proc_stopping,
                                     .aside = report_aside,
                                     .progress = say_progress};
    int got;

    if (rules_read(&rules, file, e) < 0)
        return -1;
    proc_stage();
    say_progress_begin();
    if ((got = spool_open(&terms.spool, STORE_CREATE, e)) == 0) {
        store_stop(terms.spool, proc_stopping);
        got = rebuild  ? project_rebuild(&terms, e)
              : verify ? project_verify(&terms, e)
                       : keep_up(&terms, e);
    }
    store_close(terms.spool);
    if (got >= 0 && !follow && proc_stopping())
        e->status = wrap_stopped(); /* stopped before the end */
    else if (got >= 0 && progress_aside > 0)
        e->status = EX_NO; /* each was reported */
    return got;
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv);
    char *derived = NULL;

    check_project_options(argc - first);
    if (name == NULL && argc - first == 2)
        name = derived = rules_name(argv[first + 1]);
    if (derived != NULL)
        args_name("the name of FILE.sql without .sql", name, NAME_BYTES);
    if (name != NULL && strchr(name, '/') != NULL)
        args_usage("the name becomes part of a file name, and %s cannot: give another with -g",
                   err_quote_text(name).text);
    if (status)
        project_status(argv[first], &e);
    else
        project(argv[first], argv[first + 1], &e);
    rules_free(&rules);
    free(derived);
    return out_finish(&e);
}

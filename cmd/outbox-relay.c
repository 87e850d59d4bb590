/* outbox-relay: move rows of an outbox table from the user's database into the spool. */
#include "base/json_tree.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "cli/table.h"
#include "command/spool.h"
#include "event/source.h"
#include "outbox/relay.h"
#include "process/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct relay_terms terms = {
    .attempts = 12, .timeout_ms = 10000, .wait_ms = 30000, .prune_ms = -1};
static int64_t backoff[2] = {1000, 15 * 60 * 1000};
static bool schema, dry_run, status, retry_failed;
static int form;

static const struct opt options[] = {
    OPT_FLAG(0, "schema", &schema, "print the statements that create the table"),
    OPT_NAME(0, "table", &terms.table, "TABLE", "the table (default outbox_events)"),
    OPT_WORDS(0, "map", &terms.map, "OURS=THEIRS,...",
              "names of its columns, as in id=seq,type=kind"),
    OPT_WORDS(0, "source", &terms.source, "URI", "the events' source (default /HOSTNAME)"),
    OPT_FLAG('f', "follow", &terms.follow, "wait for more rows"),
    OPT_INT('n', "count", &terms.most, "N", 1, INT64_MAX, "relay at most N rows"),
    OPT_INT('a', "attempts", &terms.attempts, "N", 1, 1000000,
            "attempts of SINK before a row fails (default 12)"),
    OPT_RANGE(0, "backoff", backoff, "wait between attempts (default 1s..15m)"),
    OPT_DURATION(0, "timeout", &terms.timeout_ms,
                 "end SINK's input if it is silent for D (default 10s)"),
    OPT_DURATION(0, "wait", &terms.wait_ms, "wait at most D for database locks (default 30s)"),
    OPT_NAME(0, "channel", &terms.channel, "NAME",
             "PostgreSQL: the channel that the table's trigger notifies (default outbox_events)"),
    OPT_DURATION(0, "prune", &terms.prune_ms, "afterwards remove rows relayed at least D ago"),
    OPT_FLAG(0, "delete", &terms.remove, "delete relayed rows instead of marking them"),
    OPT_FLAG(0, "retry-failed", &retry_failed, "first requeue failed rows"),
    OPT_FLAG(0, "dry-run", &dry_run, "print the events, change nothing"),
    OPT_FLAG(0, "status", &status, "print how many rows have yet to be relayed"),
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",
               "format of --status (default: a table on a terminal)"),
    OPT_END,
};

static const char changes_nothing[] =
    "--schema, --status and --dry-run change nothing: -f, --retry-failed, --prune and a sink do "
    "not go with them";

static const struct args_rule rules[] = {
    {ARGS_ALONE, "schema status dry-run", NULL, NULL},
    {ARGS_REQUIRED, "DB schema", NULL, "which database? DB is missing"},
    {ARGS_EXCLUDES, "schema status dry-run", "follow retry-failed prune", changes_nothing},
    {ARGS_ALONE, "delete prune", NULL, "--delete leaves nothing to --prune: give one of them"},
    {ARGS_EXCLUDES, "schema", "delete",
     "--delete is for a table without a flag, and --schema prints one that has it"},
    {ARGS_EXCLUDES, "schema", "map",
     "--map is for a table that exists already: it does not go with --schema"},
    {ARGS_NEEDS, "output", "status", NULL},
    {0},
};

static const struct cmd self = {
    .name = "outbox-relay",
    .about = "move rows of an outbox table into the spool",
    .usage = {"[-f] [--table TABLE] [--map OURS=THEIRS,...] DB [-- SINK...]",
              "--status|--dry-run DB", "--schema [--table TABLE] [postgresql:]"},
    .examples = {"outbox-relay --schema | sqlite3 app.db", "outbox-relay app.db",
                 "outbox-relay -f --prune 7d postgresql://app@localhost/shop",
                 "outbox-relay --table outbox --map type=kind,aggregate=order_id app.db",
                 "outbox-relay app.db -- publish -s other.db --echo"},
    .options = options,
    .rules = rules,
    .common = "schema table follow prune status",
};

static const struct table_column columns[] = {
    {"table", TABLE_LEFT},    {"backlog", TABLE_RIGHT}, {"oldest", TABLE_AGE},
    {"waiting", TABLE_RIGHT}, {"failed", TABLE_RIGHT},  {NULL, TABLE_LEFT},
};

static int print_schema(struct err *e)
{
    struct buf text = BUF_INIT;
    int got;

    relay_schema(&terms, &text);
    got = out_write(text.p, text.n, e);
    buf_free(&text);
    return got;
}

static int print_backlog(struct relay *r, struct err *e)
{
    struct table *t = table_begin(columns, form);
    struct relay_state s;
    int got = relay_state(r, &s, e);

    if (got == 0)
        got = table_row(
            t,
            json_pack("{s:o,s:I,s:o,s:o,s:I,s:I}", "table", tree_text(str_of(s.table)), "backlog",
                      (json_int_t)s.backlog, "oldest", tree_time(s.oldest_ms), "age_s",
                      s.oldest_ms == 0 ? json_null()
                                       : json_integer((clock_now_ms() - s.oldest_ms) / 1000),
                      "waiting", (json_int_t)s.waiting, "failed", (json_int_t)s.failed),
            e);
    return table_end(t, e) < 0 ? -1 : got;
}

static int say_requeued(struct relay *r, struct err *e)
{
    char text[60];
    int64_t n = relay_retry_failed(r, e);

    if (n < 0)
        return -1;
    snprintf(text, sizeof text, "%" PRId64 " failed row%s given back", n, n == 1 ? "" : "s");
    return out_line(str_of(text), e) < 0 ? -1 : out_flush(e);
}

static int relay_move(struct relay *r, struct relay_result *result, struct err *e)
{
    struct store *spool = NULL;
    int got = 0;

    if (proc_stopping()) /* while the database was being opened */
        return 0;
    if (terms.sink == NULL)
        got = spool_open(&spool, STORE_CREATE, e);
    if (spool != NULL)
        store_stop(spool, proc_stopping);
    if (got >= 0 && retry_failed)
        got = say_requeued(r, e);
    if (got >= 0)
        got = relay_run(r, spool, result, e);
    store_close(spool);
    if (isatty(STDERR_FILENO))
        say_note("%" PRId64 " row%s relayed, %" PRId64 " pruned", result->relayed,
                 result->relayed == 1 ? "" : "s", result->pruned);
    return got;
}

static int relay(struct relay_result *result, struct err *e)
{
    struct relay *r = NULL;
    int got = relay_open(&r, &terms, status || dry_run ? RELAY_LOOK : RELAY_MOVE, e);

    if (got == 0)
        got = status    ? print_backlog(r, e)
              : dry_run ? relay_print(r, result, e)
                        : relay_move(r, result, e);
    relay_close(r);
    return got;
}

/* The place of the first "--", which ends our arguments: later ones belong to the sink. Or argc. */
static int dashes_at(int argc, char **argv)
{
    int i = 1;

    while (i < argc && strcmp(argv[i], "--") != 0)
        i++;
    return i;
}

/* Without "--" a second word is more likely another database than a command. */
static void take_operands(int argc, char **argv, int first, int dashes)
{
    const char *second = first + 1 < argc ? argv[first + 1] : NULL;

    if (first < argc)
        terms.database = argv[first];
    if (terms.database != NULL && *terms.database == '\0')
        args_usage("DB is empty: is a variable unset?");
    if (terms.database != NULL && dashes == argc - 1) /* the spool would be the wrong place */
        args_usage("a sink is missing after -- (an unset variable?)");
    if (second == NULL)
        return;
    if (dashes == argc && strchr(second, ':') != NULL) /* it may hold a password */
        args_usage("one database at a time; a command goes after --");
    if (dashes == argc)
        args_usage("one database at a time: %s; a command goes after --",
                   err_quote_text(second).text);
    if (status || dry_run || schema)
        args_usage("%s", changes_nothing);
    terms.sink = argv + first + 1;
}

static const char *default_source(struct buf *here)
{
    const char *given = getenv("EVENT_DEFAULT_SOURCE");

    if (given != NULL && *given != '\0')
        return args_name("EVENT_DEFAULT_SOURCE", given, NAME_TEXT_BYTES);
    source_here(here, NULL);
    return buf_text(here);
}

int main(int argc, char **argv)
{
    struct buf source = BUF_INIT;
    struct relay_result result = {0};
    struct err e = ERR_NONE;
    int dashes = dashes_at(argc, argv); /* before parsing reorders argv */

    take_operands(argc, argv, args_parse(&self, argc, argv), dashes);
    terms.backoff = (struct backoff){backoff[0], backoff[1], BACKOFF_FULL};
    if (terms.source == NULL)
        terms.source = default_source(&source);
    if (schema) {
        print_schema(&e);
    } else {
        proc_stage();
        proc_grace(RELAY_GRACE_MS);
        relay(&result, &e);
    }
    if (e.status == 0 && result.failed > 0)
        e.status = EX_NO;
    buf_free(&source);
    return out_finish(&e);
}

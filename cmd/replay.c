/* replay: print events of the log, byte for byte, oldest first. */
#include "base/point.h"
#include "cli/args.h"
#include "cli/out.h"
#include "command/spool.h"
#include "deliver/again.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "replay/print.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct log_query query;
static struct point from, to;
static const char *speed_text;
static bool follow;
static int64_t most;
static struct replay_print print;
static double speed;

static const struct opt options[] = {
    OPT_PATTERN('t', "type", &query.types, "only events of matching types"),
    OPT_WORDS('k', "key", &query.subject, "KEY", "only events with this subject"),
    OPT_NAME('g', "group", &query.group, "GROUP", "only what this group has yet to settle"),
    OPT_POINT(0, "from", &from, "start here (default: the start of the log)"),
    OPT_POINT(0, "to", &to, "end here: a position is inclusive, a time exclusive"),
    OPT_INT(0, "last", &query.newest, "N", 1, INT64_MAX, "only the newest N events that match"),
    OPT_WORDS(0, "correlation", &query.correlationid, "ID", "only events with this correlationid"),
    OPT_INT('n', "count", &most, "N", 1, INT64_MAX, "print at most N events"),
    OPT_FLAG('f', "follow", &follow, "at the end, wait for more events"),
    OPT_TEXT(0, "speed", &speed_text, "Nx", "keep the gaps between events, but N times as fast"),
    OPT_CHOICE('o', "output", &print.form, "auto|ndjson|table|positions",
               "events, a table, or positions for xargs (default: a table on a terminal)"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_EXCLUDES, "from to last follow", "EVENT",
     "EVENT names what to print: --from, --to, --last and -f do not go with it"},
    {0},
};

static const struct cmd self = {
    .name = "replay",
    .about = "print the events of the log, byte for byte",
    .usage = {"[-t PATTERN]... [-k KEY] [--from POINT] [--to POINT] [-f]", "EVENT..."},
    .examples = {"replay --last 10 -o table", "replay --from 2h -t 'payment.#' | jq .data.total",
                 "replay --from yesterday --to today | publish -s copy.db",
                 "replay -f -t 'order.*'"},
    .options = options,
    .rules = rules,
    .common = "type key from last follow output",
};

static struct store *spool;
static int64_t before_ms;
static int64_t until_ms; /* with -f, a --to that is still to come; 0: none */

/* Wait as long as the events were apart. False when a signal ends the wait. */
static bool keep_pace(const struct log_entry *entry)
{
    int64_t gap =
        print.shown == 0 ? 0 : (int64_t)((double)(entry->recorded_ms - before_ms) / speed);

    before_ms = entry->recorded_ms;
    return wrap_sleep(gap);
}

static bool enough(void)
{
    return out_gone() || (most > 0 && print.shown + print.damaged >= most);
}

/* Print many lines at once, up to the end of the log or a damaged event: 0; 1: stop; -1: error. */
static int pour(struct log *log, struct err *e)
{
    struct str text;
    int got;

    while ((got = log_lines(log, most == 0 ? INT64_MAX : most - print.shown - print.damaged, &text,
                            e)) > 0) {
        print.shown += got;
        if (out_json_lines(text, e) < 0)
            return -1;
        if (enough())
            return 1;
    }
    return got == -1 ? -1 : 0;
}

/* Print up to the current end of the log. 0; 1: stop; -1: error. */
static int print_rest(struct log *log, struct err *e)
{
    bool unchanged = print.form == REPLAY_NDJSON && until_ms == 0 && speed == 0;
    struct log_entry entry;
    int got;

    for (;;) {
        if ((unchanged && (got = pour(log, e)) != 0) || (got = log_next(log, &entry, e)) <= 0)
            return got;
        if (until_ms != 0 && entry.recorded_ms >= until_ms)
            return 1;
        if (speed > 0 && !entry.damaged && (out_flush(e) < 0 || !keep_pace(&entry)))
            return e->status == 0 ? 1 : -1;
        if (replay_print(&print, &entry, e) < 0)
            return -1;
        if (enough())
            return 1;
    }
}

/* With --to there is an end also when following: once the log has reached it. */
static int passed_replay_end(struct err *e)
{
    const struct point end = {POINT_END, 0};
    int64_t last;

    if (query.last == 0)
        return 0;
    return log_until(spool, &end, &last, e) < 0 ? -1 : last >= query.last;
}

/* Once more from here, after the server was lost: the newest have been found. */
static void note_replay_place(const struct log *log)
{
    query.first = log_here(log);
    query.newest = 0;
}

static int read_log(struct err *e)
{
    struct log *log;
    int got;

    if (log_open(&log, spool, &query, e) < 0)
        return -1;
    for (;;) {
        bool time_is_up = until_ms != 0 && clock_now_ms() >= until_ms; /* before the last look */
        if ((got = print_rest(log, e)) != 0 || !follow || (got = out_flush(e)) != 0 || out_gone() ||
            time_is_up || (got = passed_replay_end(e)) != 0)
            break;
        proc_unblock(); /* a signal may end it here, as it ends any filter */
        if ((got = store_wait(spool, NULL, 0, -1, proc_wait, e)) < 0 || proc_stopping())
            break;
    }
    note_replay_place(log);
    log_close(log);
    return got < 0 ? -1 : 0;
}

static int replay_log(struct err *e)
{
    struct reconnect reconnect = {{0}, 0};
    int got;

    do
        got = read_log(e);
    while (got < 0 && follow && again(&reconnect, spool, e));
    return got < 0 && e->status != 0 ? -1 : 0;
}

static int replay_named(int n, char **name, struct err *e)
{
    int got = 0;

    for (int i = 0; i < n && got == 0 && !out_gone() && (most == 0 || print.shown < most); i++) {
        struct log *log;
        struct log_entry entry;
        if (log_find(spool, name[i], &query.first, e) < 0)
            return -1;
        query.last = query.first;
        if (log_open(&log, spool, &query, e) < 0)
            return -1;
        if ((got = log_next(log, &entry, e)) > 0)
            got = replay_print(&print, &entry, e);
        log_close(log);
    }
    return got;
}

static int find_replay_range(struct err *e)
{
    if (args_given("from") && log_point(spool, &from, &query.first, e) < 0)
        return -1;
    if (!args_given("to"))
        return 0;
    if (follow && to.kind == POINT_TIME && to.value > clock_now_ms()) {
        until_ms = to.value;
        return 0;
    }
    if (log_until(spool, &to, &query.last, e) < 0)
        return -1;
    return query.last == 0 ? 1 : 0;
}

static void read_speed(void)
{
    char *end;

    if (speed_text == NULL)
        return;
    speed = strtod(speed_text, &end);
    if (end == speed_text || (strcmp(end, "x") != 0 && *end != '\0') ||
        strspn(speed_text, "0123456789.eE+-") < (size_t)(end - speed_text) ||
        !(speed > 0 && speed < 1e9))
        args_usage("--speed wants a factor like 10x: %s", err_quote_text(speed_text).text);
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv), got = 0;

    read_speed();
    if (print.form == REPLAY_AUTO)
        print.form = isatty(STDOUT_FILENO) ? REPLAY_TABLE : REPLAY_NDJSON;
    if (follow || speed > 0) {
        proc_stage();
        proc_unblock();
        out_watch();
    }
    if (spool_open(&spool, STORE_READ, &e) == 0 && (got = find_replay_range(&e)) == 0) {
        query.lines = print.form != REPLAY_TABLE;
        if (print.form == REPLAY_TABLE)
            print.table = table_begin(replay_columns, TABLE_TABLE);
        got = first < argc ? replay_named(argc - first, argv + first, &e) : replay_log(&e);
        if (print.table != NULL && table_end(print.table, &e) < 0)
            got = -1;
    }
    if (got >= 0 && e.status == 0 && print.shown + print.damaged == 0 && !follow)
        args_nothing("events", store_name(spool), "type key group from to correlation");
    if (got == 0 && print.damaged > 0)
        err_set(&e, EX_IOERR, "%" PRId64 " damaged, left out", print.damaged);
    store_close(spool);
    pattern_free(&query.types);
    return out_finish(&e);
}

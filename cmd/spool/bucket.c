/* spool bucket: the rates of throttle. */
#include "resilience/bucket.h"
#include "base/duration.h"
#include "base/json_tree.h"
#include "spool/named.h"
#include "spool/verbs.h"

static const struct opt options[] = {NAMED_OPT_OUTPUT, OPT_END};

static const struct table_column bucket_columns[] = {
    {"bucket", TABLE_LEFT}, {"rate", TABLE_RIGHT},  {"burst", TABLE_RIGHT}, {"state", TABLE_LEFT},
    {"until", TABLE_LEFT},  {"taken", TABLE_RIGHT}, {"since", TABLE_AGE},   {NULL, TABLE_LEFT},
};

static json_t *bucket_row(struct store *s, const struct doc *doc)
{
    int64_t now = clock_now_us();
    struct bucket b;
    char rate[DURATION_TEXT_SIZE];

    (void)s;
    if (!bucket_read(doc->value, &b))
        return NULL;
    int64_t until = b.closed_us > now ? b.closed_us : now + gcra_wait(&b.pace, now);
    return json_pack(
        "{s:o,s:o,s:I,s:s,s:o,s:I,s:o}", "bucket", tree_text(str_of(doc->name)), "rate",
        b.pace.each_us == 0 ? json_null() : json_string(duration_rate_format(rate, b.pace.each_us)),
        "burst", (json_int_t)b.pace.burst, "state",
        b.closed_us > now ? "closed"
        : until > now     ? "used up"
                          : "free",
        "until", tree_time(until > now ? until / 1000 : 0), "taken", (json_int_t)b.taken, "since",
        tree_time(b.since));
}

static int close_bucket(struct store *s, const char *name, struct buf *said, struct err *e)
{
    int64_t until_ms = clock_now_ms() + named_pause_ms;
    char until[CLOCK_TEXT_SIZE];

    buf_printf(said, "closed until %s", clock_format(until, until_ms));
    return bucket_close(s, name, until_ms, e);
}

static int open_bucket(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "open");
    return bucket_close(s, name, 0, e);
}

static int forget_bucket(struct store *s, const char *name, struct buf *said, struct err *e)
{
    buf_puts(said, "forgotten");
    return bucket_forget(s, name, e);
}

static const struct named_kind buckets = {
    BUCKET_KIND, bucket_columns, bucket_row,
    (const struct named_change[]){{"close", close_bucket, "D"},
                                  {"open", open_bucket, NULL},
                                  {"forget", forget_bucket, NULL},
                                  {0}}};

static int run_spool_bucket(char **operand)
{
    return named_run(&buckets, operand);
}

const struct cmd spool_bucket = {
    .name = "bucket",
    .about = "list or show buckets of throttle; close one for a while",
    .usage = {"[list] [-o table|ndjson]", "show|open|forget NAME", "close NAME D"},
    .examples = {"spool bucket", "spool bucket close api 120s"},
    .options = options,
    .run = run_spool_bucket,
};

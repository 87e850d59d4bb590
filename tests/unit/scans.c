/*
 * A line is scanned once, whatever becomes of it: a line of input, the line of an event that is
 * claimed, and a line that a handler emits. The linker puts __wrap_js_scan in the
 * place of js_scan (see the Makefile), and it counts.
 */
#include "base/point.h"
#include "deliver/emit.h"
#include "deliver/ingest.h"

#include "spool.h"
#include "store/group.h"
#include "store/log.h"

int __real_js_scan(struct js_scan *scan, const char *line, size_t len, struct err *e);
int __wrap_js_scan(struct js_scan *scan, const char *line, size_t len, struct err *e);

static int64_t scans;
static struct ingest batch;
static struct err error;

int __wrap_js_scan(struct js_scan *scan, const char *line, size_t len, struct err *e)
{
    scans++;
    return __real_js_scan(scan, line, len, e);
}

static void begin(void)
{
    struct store *s = batch.store;

    batch = (struct ingest){.store = s, .pending.wait_ms = -1};
    batch.fill = (struct event_fill){.source = "/s", .hops = -1, .priority = -1};
    scans = 0;
}

/* Publish the line. Returns how often it, or another, was scanned. */
static int64_t published(const char *line)
{
    CHECK(ingest_put(&batch, (struct ingest_place){0}, str_of(line), &error) == 0);
    CHECK(ingest_commit(&batch, &error) == 0);
    CHECK_INT(batch.refused.n, 0);
    ingest_free(&batch);
    return scans;
}

static void plain_data_is_scanned_once(void)
{
    begin();
    batch.fill.type = "t";
    batch.fill.subject = "k\"";
    batch.fill.id_from = "/n";
    CHECK_INT(published("{\"n\":1}"), 1);
    begin();
    batch.fill.type = "t";
    batch.fill.text = true;
    CHECK_INT(published("some text"), 0);
}

static void an_event_is_scanned_once(void)
{
    static const char *const lines[] = {
        "{\"specversion\":\"1.0\",\"id\":\"a\",\"source\":\"s\",\"type\":\"t\"}",
        "  {\"type\":\"t\",\"data\":{\"n\":1}} ",
        "{\"type\":\"t\",\"subject\":null,\"aggregateId\":\"k\",\"metadata\":{\"userId\":1}}",
    };

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        unit_row(lines[i]);
        begin();
        CHECK_INT(published(lines[i]), 1);
    }
}

static void inside_a_handler_a_line_is_scanned_once(void)
{
    begin();
    batch.fill.hops = 3;
    CHECK_INT(published("{\"type\":\"t\"}"), 1);
    begin();
    batch.fill.hops = 3;
    CHECK_INT(published("{\"type\":\"t\",\"hops\":2}"), 1);
}

static void an_event_that_gets_a_version_is_scanned_once(void)
{
    begin();
    batch.terms.versions = LOG_NEXT_VERSION;
    CHECK_INT(published("{\"type\":\"t\",\"subject\":\"v\"}"), 1);
    begin();
    batch.terms.versions = LOG_NEXT_VERSION;
    CHECK_INT(published("{\"type\":\"t\",\"subject\":\"v\",\"version\":2}"), 1);
}

/* Claim the only event of a new group. */
static struct group_event *claimed(const char *name, struct group **g)
{
    const struct point now = {POINT_END, 0};
    const struct group_terms terms = {.name = name, .from = &now, .attempts = 1};
    struct group_event **got;

    CHECK(group_open(g, batch.store, &terms, &error) == 0);
    begin();
    published("{\"type\":\"cause\"}");
    scans = 0;
    CHECK_INT(group_claim(*g, 1, 1, 0, &got, &error), 1);
    return got[0];
}

static void a_claimed_event_is_scanned_once(void)
{
    struct group *g;
    struct group_event *event = claimed("dead", &g);

    for (int i = 0; i < 3; i++)
        CHECK(group_read(g, event, &error) != NULL);
    CHECK_INT(scans, 1);
    /* The data of sys.dead-lettered is a line of its own. */
    CHECK(group_settle(g, &(struct group_settle){.event = event, .outcome = GROUP_DEAD}, 1,
                       &error) == 0);
    CHECK_INT(scans, 2);
    group_close(g);
}

static void an_emitted_line_is_scanned_once(void)
{
    const struct log_terms terms = {.chained = true, .now_ms = clock_now_ms()};
    struct emit m = {.group = "emits"};
    struct txn *t = NULL;
    struct group *g;
    struct group_event *event = claimed("emits", &g);
    const struct event *cause = group_read(g, event, &error);

    CHECK_INT(scans, 1);
    CHECK(emit_make(&m, cause, event->entry.recorded_ms,
                    str_of("{\"type\":\"a\"}\n\n{\"type\":\"b\",\"id\":\"b\"}\n"), &error) == 0);
    CHECK_INT((int64_t)m.n, 2);
    for (int i = 0; i < 2; i++) { /* once more, as after one that cannot be stored */
        CHECK(txn_begin(batch.store, TXN_PUBLISH, &terms, &t, &error) == 0);
        CHECK_INT(emit_put(&m, t, 0, m.n, &error, &error), 1);
        if (i == 0)
            txn_rollback(t);
    }
    CHECK(txn_settle(t, g, &(struct group_settle){.event = event, .outcome = GROUP_DONE}, 1,
                     &error) == 0);
    CHECK(txn_commit(t, &error) == 0);
    CHECK_INT(scans, 3);
    emit_free(&m);
    group_close(g);
}

int main(void)
{
    if (!unit_open(&batch.store))
        return 1;
    RUN(plain_data_is_scanned_once);
    RUN(an_event_is_scanned_once);
    RUN(inside_a_handler_a_line_is_scanned_once);
    RUN(an_event_that_gets_a_version_is_scanned_once);
    RUN(a_claimed_event_is_scanned_once);
    RUN(an_emitted_line_is_scanned_once);
    store_close(batch.store);
    return unit_done();
}

/*
 * A line of input is scanned once, whatever becomes of it. The linker puts __wrap_js_scan in the
 * place of js_scan (see the Makefile), and it counts.
 */
#include "deliver/ingest.h"

#include "store/store.h"
#include "unit.h"

#include <limits.h>
#include <stdlib.h>

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

int main(void)
{
    const char *tmp = getenv("TMPDIR");
    char folder[PATH_MAX], path[PATH_MAX + 8], command[PATH_MAX + 8];

    snprintf(folder, sizeof folder, "%s/scans.XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(path, sizeof path, "%s/spool", folder);
    if (store_open(&batch.store, path, STORE_CREATE, &error) < 0)
        return 1;
    RUN(plain_data_is_scanned_once);
    RUN(an_event_is_scanned_once);
    RUN(inside_a_handler_a_line_is_scanned_once);
    RUN(an_event_that_gets_a_version_is_scanned_once);
    store_close(batch.store);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) != 0 || unit_done();
}

/* What becomes of a line of input: complete events stay, others are filled in, data is wrapped. */
#include "event/event.h"

#include "base/clock.h"
#include "unit.h"

#include <stdlib.h>

static struct js_scan scan;
static struct event ev;

static struct event_fill plain(void)
{
    return (struct event_fill){.source = "/s", .hops = -1, .priority = -1, .now_ms = 1795255200000};
}

static const char *make(const struct event_fill *fill, const char *line)
{
    static struct buf text;
    struct err e = ERR_NONE;

    buf_reset(&text);
    if (event_make(&ev, &scan, fill, str_of(line), &e) < 0)
        buf_printf(&text, "%d %s", e.status, e.text);
    else
        buf_str(&text, ev.line);
    return buf_text(&text);
}

static void a_complete_event_stays_as_it_is(void)
{
    struct event_fill fill = plain();
    const char *line =
        "{\"id\" : \"1\",\"type\":\"a\",\"source\":\"s\",\"specversion\":\"1.0\",\"n\":1.0}";

    CHECK_TEXT(make(&fill, line), line);
    CHECK_STR(ev.id, "1");
    CHECK_STR(ev.type, "a");
    CHECK_STR(ev.source, "s");
    CHECK(ev.subject.p == NULL && ev.data.p == NULL);
    CHECK_INT(ev.priority, EVENT_PRIORITY);
}

static void a_partial_event_is_filled_in_at_its_front(void)
{
    struct event_fill fill = plain();

    fill.id = "i";
    CHECK_TEXT(
        make(&fill, " {\"type\":\"a\"} "),
        "{\"specversion\":\"1.0\",\"id\":\"i\",\"source\":\"/s\",\"time\":\"2026-11-21T10:00:00."
        "000Z\",\"correlationid\":\"i\",\"type\":\"a\"}");
}

static void data_becomes_an_event_and_keeps_its_bytes(void)
{
    struct event_fill fill = plain();

    fill.id = "i";
    fill.type = "a";
    fill.subject = "k";
    make(&fill, "{\"n\":1.50, \"m\":-0}");
    CHECK_STR(ev.data, "{\"n\":1.50, \"m\":-0}");
    CHECK_STR(ev.subject, "k");
    CHECK_STR(ev.correlationid, "i");
    CHECK_TEXT(make(&fill, "1,\"id\":2"), "65 unexpected \",\" at byte 2");
}

static void text_becomes_a_string(void)
{
    struct event_fill fill = plain();

    fill.type = "a";
    fill.text = true;
    make(&fill, "say \"hi\"\t\\");
    CHECK_STR(ev.data, "\"say \\\"hi\\\"\\t\\\\\"");
}

static void escaped_attributes_are_decoded(void)
{
    struct event_fill fill = plain();

    make(&fill, "{\"type\":\"\\u0061.b\",\"id\":\"x\\/y\",\"subject\":\"caf\\u00e9\"}");
    CHECK_STR(ev.type, "a.b");
    CHECK_STR(ev.id, "x/y");
    CHECK_STR(ev.subject, "caf\xc3\xa9");
    CHECK_STR(ev.correlationid, "x/y");
}

static void inside_a_handler_the_causal_chain_goes_on(void)
{
    struct event_fill fill = plain();

    fill.correlationid = "c";
    fill.causationid = "b";
    fill.hops = 4;
    make(&fill, "{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"a\",\"source\":\"s\"}");
    CHECK_STR(ev.correlationid, "c");
    CHECK_STR(ev.causationid, "b");
    CHECK_INT(ev.hops, 5);
    CHECK(ev.time.p == NULL);
    make(&fill,
         "{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"a\",\"source\":\"s\",\"hops\":2}");
    CHECK_INT(ev.hops, 5);
    make(&fill,
         "{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"a\",\"source\":\"s\",\"hops\":9}");
    CHECK_INT(ev.hops, 9);
}

static void a_number_can_be_set_and_set_again(void)
{
    struct event_fill fill = plain();

    fill.id = "i";
    make(&fill, "{\"type\":\"a\"}");
    event_set_version(&ev, 7);
    CHECK_INT(ev.version, 7);
    event_set_version(&ev, 1234);
    CHECK_INT(ev.version, 1234);
    CHECK_STR(ev.line,
              "{\"specversion\":\"1.0\",\"id\":\"i\",\"source\":\"/s\",\"time\":\"2026-11-21T10:"
              "00:00.000Z\",\"correlationid\":\"i\",\"version\":1234,\"type\":\"a\"}");
}

static void reading_looks_and_copies_nothing(void)
{
    const char *line =
        "{\"id\":\"1\",\"type\":\"a\",\"data\":[1],\"expirytime\":\"1970-01-01T00:00:01Z\","
        "\"priority\":0}";
    struct err e = ERR_NONE;

    CHECK(event_read(&ev, &scan, str_of(line), &e) == 0);
    CHECK(ev.data.p > line && ev.data.p < line + 60);
    CHECK_STR(ev.data, "[1]");
    CHECK_INT(ev.expiry_ms, 1000);
    CHECK_INT(ev.priority, 0);
    CHECK(event_read(&ev, &scan, STR("[]"), &e) < 0);
}

/* ---------------------------------------------------------------------------- refused, and why */

static void what_is_no_event_is_refused_with_its_reason(void)
{
    static const struct {
        const char *type, *line, *reason;
    } rows[] = {
        {NULL, "", "65 is empty"},
        {NULL, "1", "65 is not an object; -t TYPE publishes lines as data"},
        {NULL, "{\"type\":\"\\u0007\"}", "65 \"type\" has a control character (U+0007) at byte 1"},
        {NULL, "{\"type\":\"a\\u0085\"}", "65 \"type\" has a control character (U+0085) at byte 2"},
        {NULL, "{\"type\":\"a\",\"a b\":1}",
         "65 \"a b\" is not an attribute's name (a-z and 0-9): does it belong in \"data\"?"},
        {NULL, "{\"type\":\"a\",\"hops\":2147483648}",
         "65 \"hops\" must be an integer from 0 to 2147483647, not 2147483648"},
        {"a", "{\"specversion\":\"1.0\",\"type\":\"b\"}",
         "65 is already an event of type \"b\": leave out -t"},
        {"a", "{\"specversion\":\"1.0\",\"type\":5}",
         "65 is already an event of type \"unknown\": leave out -t"},
        {"a\nb", "1", "65 \"type\" has a control character (U+000A) at byte 2"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct event_fill fill = plain();
        unit_row(rows[i].line);
        fill.type = rows[i].type;
        CHECK_TEXT(make(&fill, rows[i].line), rows[i].reason);
    }
}

static void setting_replaces_or_adds_and_moves_nothing(void)
{
    static const struct {
        const char *line, *expected;
    } rows[] = {
        {"{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"a\",\"source\":\"s\"}",
         "{\"hops\":7,\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"a\",\"source\":\"s\"}"},
        {"{ \"specversion\":\"1.0\",\"hops\" : 12 ,\"id\":\"1\",\"type\":\"a\",\"source\":\"s\"}",
         "{ \"specversion\":\"1.0\",\"hops\" : 7 ,\"id\":\"1\",\"type\":\"a\",\"source\":\"s\"}"},
        {"{\"id\":\"1\",\"type\":\"a\",\"source\":\"s\",\"time\":\"2001-02-03T04:05:06Z\"}",
         "{\"specversion\":\"1.0\",\"correlationid\":\"1\",\"hops\":7,\"id\":\"1\",\"type\":\"a\","
         "\"source\":\"s\",\"time\":\"2001-02-03T04:05:06Z\"}"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct event_fill fill = plain();
        unit_row(rows[i].line);
        make(&fill, rows[i].line);
        event_set_hops(&ev, 7);
        CHECK_STR(ev.line, rows[i].expected);
        CHECK_INT(ev.hops, 7);
        CHECK_STR(ev.id, "1");
    }
}

static void a_child_span_is_of_the_same_trace(void)
{
    static const char parent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    struct event_fill fill = plain();

    fill.traceparent = parent;
    make(&fill, "{\"type\":\"a\"}");
    CHECK_INT((int64_t)ev.traceparent.n, (int64_t)strlen(parent));
    CHECK(memcmp(ev.traceparent.p, parent, 36) == 0);
    CHECK(memcmp(ev.traceparent.p + 36, parent + 36, 16) != 0);
    CHECK(memcmp(ev.traceparent.p + 52, parent + 52, 3) == 0);
    fill.traceparent = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-future";
    make(&fill, "{\"type\":\"a\"}");
    CHECK_INT((int64_t)ev.traceparent.n, (int64_t)strlen(parent));
    CHECK(memcmp(ev.traceparent.p, parent, 36) == 0);
    make(&fill, "{\"type\":\"a\",\"traceparent\":\"own\"}");
    CHECK_STR(ev.traceparent, "own");
}

static void what_is_no_traceparent_is_passed_over(void)
{
    static const char *const rows[] = {
        "",
        "x",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct event_fill fill = plain();
        unit_row(rows[i]);
        fill.traceparent = rows[i];
        make(&fill, "{\"type\":\"a\"}");
        CHECK(ev.traceparent.p == NULL);
    }
}

static void an_event_is_named_harmlessly(void)
{
    struct event_fill fill = plain();

    make(&fill, "{\"type\":\"order.placed\",\"id\":\"a\xe2\x80\xae\"}");
    CHECK_TEXT(event_name(&ev).text, "order.placed \"a\\u202e\"");
}

/* ---------------------------------------------------------------------------------- any input */

static uint64_t state;

static unsigned below(unsigned n) /* splitmix64 */
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ (z >> 31)) % n);
}

static const char *const beginnings[] = {
    "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"a\",\"data\":{\"n\":1.0}}",
    "{\"type\":\"a\"}",
    " { \"type\" : \"a\" , \"subject\":null, \"data\" : [-0,\"\\u00e9\"] } ",
    "{\"type\":\"a\",\"timestamp\":981173106789,\"payload\":{\"b\":1},\"aggregateId\":\"k\"}",
    "{\"type\":\"a\",\"metadata\":{\"correlationId\":\"c\",\"userId\":7,\"x\":null}}",
    "{\"type\":\"a\",\"hops\":3,\"priority\":2,\"notbefore\":\"2001-02-03T04:05:06Z\",\"y\":true}",
    "{\"type\":\"a\",\"data_base64\":\"AA==\",\"causationid\":\"b\",\"version\":4}",
};

static const char *const pieces[] = {
    "null",        "\"\"",
    "\"x\"",       "\\u0061",
    "\\u0007",     "\n",
    "\r",          " ",
    ",",           ":",
    "{",           "}",
    "[",           "]",
    "7",           "-0",
    "1e5",         "true",
    "\"id\"",      "\"id\":\"i\",",
    "\"source\"",  "\"time\"",
    "\"subject\"", "\"hops\"",
    "\"version\"", "\"specversion\"",
    "\"1.0\"",     "\"metadata\"",
    "\"data\"",    "\"x\":null,",
    "\xc3\xa9",    "\xc2\x85",
    "\xff",
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static void mutate(struct buf *line)
{
    for (unsigned changes = below(5); changes > 0 && line->n > 0; changes--) {
        const char *piece = pieces[below(COUNT(pieces))];
        size_t at = below((unsigned)line->n), most = line->n - at;
        size_t cut = below(3) == 0 ? below(8) : 0;
        buf_splice(line, at, cut < most ? cut : most, piece, below(4) == 0 ? 0 : strlen(piece));
    }
}

static bool same(struct str a, struct str b)
{
    return !a.p == !b.p && a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* What event_make says of an event is what is read from its line. */
static bool alike(const struct event *a, const struct event *b)
{
    return same(a->id, b->id) && same(a->source, b->source) && same(a->type, b->type) &&
           same(a->subject, b->subject) && same(a->time, b->time) &&
           same(a->correlationid, b->correlationid) && same(a->causationid, b->causationid) &&
           same(a->traceparent, b->traceparent) && same(a->tracestate, b->tracestate) &&
           same(a->data, b->data) && a->base64 == b->base64 && a->version == b->version &&
           a->hops == b->hops && a->priority == b->priority && a->prioritised == b->prioritised &&
           a->notbefore_ms == b->notbefore_ms && a->expiry_ms == b->expiry_ms;
}

/* What was made is one line, complete, and again the same: the promise of replay | publish. */
static bool stands(void)
{
    static struct event again, seen;
    struct event_fill nothing = {.source = "/other", .hops = -1, .priority = -1};
    struct err e = ERR_NONE;
    bool good = ev.id.p != NULL && ev.source.p != NULL && ev.type.p != NULL &&
                memchr(ev.line.p, '\n', ev.line.n) == NULL &&
                event_read(&seen, &scan, ev.line, &e) == 0 && alike(&seen, &ev) &&
                event_make(&again, &scan, &nothing, ev.line, &e) == 0 && same(again.line, ev.line);

    event_free(&again);
    event_free(&seen);
    again = seen = (struct event)EVENT_INIT;
    return good;
}

static void whatever_is_made_is_complete_and_stays_as_it_is(void)
{
    const char *given = getenv("SEED");
    struct buf line = BUF_INIT;
    int made = 0;

    state = given != NULL ? strtoull(given, NULL, 10) : clock_random() % 1000000;
    printf("# SEED=%" PRIu64 "\n", state);
    for (int i = 0; i < 30000; i++) {
        struct event_fill fill = plain();
        struct err e = ERR_NONE;

        buf_reset(&line);
        buf_puts(&line, beginnings[below(COUNT(beginnings))]);
        mutate(&line);
        fill.type = below(4) == 0 ? "t" : NULL;
        fill.subject = below(4) == 0 ? "k\"\\" : NULL;
        fill.causationid = below(4) == 0 ? "b\xe2\x80\xae" : NULL;
        fill.hops = fill.causationid != NULL ? 3 : -1;
        fill.priority = below(4) == 0 ? 7 : -1;
        fill.expiry_ms = below(4) == 0 ? fill.now_ms : 0;
        unit_row(buf_text(&line));
        if (event_make(&ev, &scan, &fill, (struct str){line.p, line.n}, &e) < 0) {
            if (!CHECK_INT(e.status, 65))
                break;
            continue;
        }
        made++;
        if (!CHECK(stands()))
            break;
        event_set_version(&ev, 1 + below(1000));
        event_set_hops(&ev, below(20));
        event_set_version(&ev, 1 + below(1000));
        if (!CHECK(stands()))
            break;
    }
    CHECK(made > 3000);
    buf_free(&line);
}

int main(void)
{
    RUN(a_complete_event_stays_as_it_is);
    RUN(a_partial_event_is_filled_in_at_its_front);
    RUN(data_becomes_an_event_and_keeps_its_bytes);
    RUN(text_becomes_a_string);
    RUN(escaped_attributes_are_decoded);
    RUN(inside_a_handler_the_causal_chain_goes_on);
    RUN(a_number_can_be_set_and_set_again);
    RUN(reading_looks_and_copies_nothing);
    RUN(what_is_no_event_is_refused_with_its_reason);
    RUN(setting_replaces_or_adds_and_moves_nothing);
    RUN(a_child_span_is_of_the_same_trace);
    RUN(what_is_no_traceparent_is_passed_over);
    RUN(what_is_no_traceparent_is_passed_over);
    RUN(an_event_is_named_harmlessly);
    RUN(whatever_is_made_is_complete_and_stays_as_it_is);
    event_free(&ev);
    js_scan_free(&scan);
    return unit_done();
}

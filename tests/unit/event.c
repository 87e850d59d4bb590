/* What becomes of a line of input: complete events stay, others are filled in, data is wrapped. */
#include "event.h"
#include "unit.h"

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
    event_set(&ev, &scan, "version", 7);
    CHECK_INT(ev.version, 7);
    event_set(&ev, &scan, "version", 1234);
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
    event_free(&ev);
    js_scan_free(&scan);
    return unit_done();
}

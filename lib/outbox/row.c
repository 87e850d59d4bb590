/* The event that a row becomes. */
#include "base/sha1.h"
#include "base/uuid.h"
#include "outbox/engine.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_MAX_BYTES (32 << 20) /* the largest publish --max-size */
#define NUMBER_MAX 40
#define KEPT_BYTES (16 << 10) /* of a row's event, for the next page's */

/* ----------------------------------------------------------------------------------------- time */

static bool number_time(const char *text, int64_t *ms)
{
    char *end;
    double value = strtod(text, &end);

    if (*end != '\0' || !isfinite(value))
        return false;
    if (fabs(value) < 1e11)
        value *= 1000;
    if (value < (double)CLOCK_MIN_MS || value > (double)CLOCK_MAX_MS)
        return false;
    *ms = (int64_t)(value + (value < 0 ? -0.5 : 0.5));
    return true;
}

bool relay_time(struct str text, int64_t *ms)
{
    char copy[NUMBER_MAX + 8];
    size_t zone;

    if (text.n < 1 || text.n > NUMBER_MAX || memchr(text.p, 0, text.n) != NULL)
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    if (strspn(copy, "0123456789.-") == text.n && strchr(copy + 1, '-') == NULL)
        return number_time(copy, ms);
    if (text.n < 19)
        return false;
    if (copy[10] == ' ')
        copy[10] = 'T';
    zone = 19 + strspn(copy + 19, ".0123456789");
    if (copy[zone] == '\0')
        memcpy(copy + zone, "Z", 2);
    else if (strlen(copy + zone) == 3) /* PostgreSQL's +00 */
        memcpy(copy + zone + 3, ":00", 4);
    return clock_parse(str_of(copy), ms);
}

/* ---------------------------------------------------------------------------------------- event */

/*
 * The event id of a row that has none: always the same for a row, and different when the row's id
 * is reused after pruning, as SQLite does without AUTOINCREMENT: then content and time differ. The
 * time comes first so that ids sort, which keeps the spool's index small.
 */
static void row_id(const struct relay *r, const struct relay_row *row, int64_t created_ms,
                   char out[UUID_SIZE])
{
    static const enum relay_column parts[] = {RELAY_AGGREGATE, RELAY_TYPE, RELAY_PAYLOAD,
                                              RELAY_CREATED};
    unsigned char digest[20];
    char text[24];
    struct sha1 s;

    sha1_init(&s);
    sha1_add(&s, r->table.name, strlen(r->table.name) + 1);
    snprintf(text, sizeof text, "%" PRId64, row->id);
    sha1_add(&s, text, strlen(text) + 1);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct str part = row->text[parts[i]];
        snprintf(text, sizeof text, "%zd", part.p == NULL ? (ssize_t)-1 : (ssize_t)part.n);
        sha1_add(&s, text, strlen(text) + 1);
        if (part.n > 0)
            sha1_add(&s, part.p, part.n);
    }
    sha1_end(&s, digest);
    uuid_v8(out, created_ms, digest);
}

static int check_json(struct relay *r, struct str text, const char *name, bool object,
                      struct err *why)
{
    r->scan.envelope = false;
    if (js_scan(&r->scan, text.p, text.n, why) < 0)
        return err_at(why, "%s is not JSON: ", name);
    if (object && r->scan.kind != JS_OBJECT)
        return err_set(why, EX_DATAERR, "%s is not a JSON object", name);
    return 0;
}

/* key: as it stands before the value. */
static void partial_text(struct buf *b, struct str key, struct str value)
{
    if (value.p == NULL)
        return;
    buf_str(b, key);
    js_quote(b, value);
}

static void put_base64(struct buf *b, struct str bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    buf_need(b, bytes.n / 3 * 4 + 6);
    buf_char(b, '"');
    for (size_t i = 0; i < bytes.n; i += 3) {
        size_t n = bytes.n - i;
        unsigned x = (unsigned)(unsigned char)bytes.p[i] << 16;
        x |= n > 1 ? (unsigned)(unsigned char)bytes.p[i + 1] << 8 : 0;
        x |= n > 2 ? (unsigned)(unsigned char)bytes.p[i + 2] : 0;
        buf_char(b, digits[x >> 18]);
        buf_char(b, digits[x >> 12 & 63]);
        buf_char(b, n > 1 ? digits[x >> 6 & 63] : '=');
        buf_char(b, n > 2 ? digits[x & 63] : '=');
    }
    buf_char(b, '"');
}

/* Append JSON without the white space between its tokens. */
static void compact(struct buf *b, struct str json)
{
    bool inside = false;

    for (size_t i = 0; i < json.n; i++) {
        if (json.p[i] == '"')
            inside = !inside;
        if (inside && json.p[i] == '\\')
            buf_char(b, json.p[i++]);
        if (inside || strchr(" \t\r\n", json.p[i]) == NULL)
            buf_char(b, json.p[i]);
    }
}

/* CloudEvents attribute names consist of a-z and 0-9 only. */
static struct str attribute_name(struct str key, struct buf *name)
{
    struct buf plain = BUF_INIT;
    struct str text = js_string(key, &plain);

    buf_reset(name);
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c >= 'A' && c <= 'Z')
            buf_char(name, (char)(c | 32));
        else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
            buf_char(name, c);
    }
    buf_free(&plain);
    return (struct str){name->p, name->n};
}

static void partial_header(struct buf *b, const char *name, struct str value)
{
    enum js_kind kind = js_kind(value);
    struct buf text = BUF_INIT;

    buf_printf(b, ",\"%s\":", name);
    if (kind == JS_OBJECT || kind == JS_ARRAY) {
        compact(&text, value);
        js_quote(b, (struct str){text.p, text.n});
        buf_free(&text);
    } else if (kind == JS_NUMBER &&
               (strcmp(name, "correlationid") == 0 || strcmp(name, "causationid") == 0)) {
        js_quote(b, value);
    } else {
        buf_str(b, value);
    }
}

/*
 * Headers become attributes by a rule that cannot fail, because a failed row holds up its
 * aggregate: the letters and digits of a header's name, in lower case, make the attribute's name;
 * the row's columns take precedence; of two headers with the same name the first counts; an object
 * or array becomes a string.
 */
static void partial_headers(struct buf *b, const struct relay_row *row)
{
    static const char *const taken[] = {"specversion", "id", "type", "data", "payload"};
    struct relay_set seen = {NULL, 0, 0};
    struct buf name = BUF_INIT;
    struct str key, value, headers = row->text[RELAY_HEADERS];

    if (headers.p == NULL)
        return;
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        relay_set_add(&seen, str_of(taken[i]));
    if (row->text[RELAY_AGGREGATE].p != NULL)
        relay_set_add(&seen, STR("subject"));
    if (row->text[RELAY_CREATED].p != NULL) {
        relay_set_add(&seen, STR("time"));
        relay_set_add(&seen, STR("timestamp"));
    }
    for (size_t at = 0; js_each(headers, &at, &key, &value);) {
        struct str plain = attribute_name(key, &name);
        /* A common name for the time, which event_make translates. */
        struct str means = str_is(plain, "timestamp") ? STR("time") : plain;
        if (plain.n == 0 || js_kind(value) == JS_NULL || relay_set_has(&seen, means))
            continue;
        relay_set_add(&seen, means);
        partial_header(b, buf_text(&name), value);
    }
    relay_set_free(&seen);
    buf_free(&name);
}

/* Bytes become data if they are JSON, else data_base64. */
static void partial_payload(struct relay *r, struct buf *b, const struct relay_row *row)
{
    struct str payload = row->text[RELAY_PAYLOAD];
    struct err ignored = ERR_NONE;

    if (payload.p == NULL)
        return;
    if (!row->blob[RELAY_PAYLOAD] || check_json(r, payload, "payload", false, &ignored) == 0) {
        buf_str(b, STR(",\"data\":"));
        buf_str(b, payload);
        return;
    }
    buf_str(b, STR(",\"data_base64\":"));
    put_base64(b, payload);
}

/* Everything but the payload, whose check is that the event can be made. */
static int check_row(struct relay *r, const struct relay_row *row, int64_t *created_ms,
                     struct err *why)
{
    const struct str *text = row->text;

    for (int i = RELAY_EVENT_ID; i <= RELAY_CREATED; i++) {
        if (text[i].n > LINE_MAX_BYTES)
            return err_set(why, EX_DATAERR, "%s is longer than 32 MiB", relay_column_name(i));
        if (i == RELAY_PAYLOAD)
            continue;
        if (row->blob[i])
            return err_set(why, EX_DATAERR, "%s is a blob, not text", relay_column_name(i));
        if (js_utf8(text[i]) < text[i].n)
            return err_set(why, EX_DATAERR, "%s is not UTF-8", relay_column_name(i));
    }
    if (text[RELAY_TYPE].p == NULL)
        return err_set(why, EX_DATAERR, "%s is NULL", relay_column_name(RELAY_TYPE));
    if (text[RELAY_CREATED].p != NULL && !relay_time(text[RELAY_CREATED], created_ms))
        return err_set(why, EX_DATAERR, "created_at is not a time: %s",
                       err_quote(text[RELAY_CREATED].p, text[RELAY_CREATED].n).text);
    return text[RELAY_HEADERS].p == NULL ? 0
                                         : check_json(r, text[RELAY_HEADERS], "headers", true, why);
}

static int check_payload(struct relay *r, const struct relay_row *row, struct err *why)
{
    struct str payload = row->text[RELAY_PAYLOAD];

    if (payload.p == NULL || row->blob[RELAY_PAYLOAD])
        return 0;
    if (js_utf8(payload) < payload.n)
        return err_set(why, EX_DATAERR, "payload is not UTF-8");
    return check_json(r, payload, "payload", false, why);
}

/*
 * Scan the payload only once, as a part of the event. Text that is not JSON makes an event that is
 * not JSON either, or one whose data ends before the text does: 1,"subject":"x" must not become an
 * attribute.
 */
static bool payload_is_data(const struct relay_row *row, const struct event *ev)
{
    struct str text = row->text[RELAY_PAYLOAD];

    if (text.p == NULL || row->blob[RELAY_PAYLOAD])
        return true;
    while (text.n > 0 && strchr(" \t\r\n", text.p[text.n - 1]) != NULL)
        text.n--;
    while (text.n > 0 && strchr(" \t\r\n", *text.p) != NULL) {
        text.p++;
        text.n--;
    }
    return ev->data.n == text.n;
}

/* complete: with everything that event_make would fill in, where it would. */
static void partial_make(struct relay *r, const struct relay_row *row, int64_t created_ms,
                         bool complete)
{
    char uuid[UUID_SIZE], time[CLOCK_TEXT_SIZE];
    const struct str *text = row->text;
    struct str id = text[RELAY_EVENT_ID];
    struct buf *b = &r->partial;

    buf_shrink(b, KEPT_BYTES);
    if (id.p == NULL) {
        row_id(r, row, created_ms, uuid);
        id = str_of(uuid);
    }
    if (complete) {
        partial_text(b, STR("{\"specversion\":\"1.0\",\"source\":"), str_of(r->fill.source));
        if (text[RELAY_CREATED].p == NULL)
            partial_text(b, STR(",\"time\":"), str_of(clock_format(time, r->fill.now_ms)));
        partial_text(b, STR(",\"correlationid\":"), id);
    }
    partial_text(b, complete ? STR(",\"id\":") : STR("{\"id\":"), id);
    partial_text(b, STR(",\"type\":"), text[RELAY_TYPE]);
    partial_text(b, STR(",\"subject\":"), text[RELAY_AGGREGATE]);
    if (text[RELAY_CREATED].p != NULL)
        partial_text(b, STR(",\"time\":"), str_of(clock_format(time, created_ms)));
    partial_headers(b, row);
    partial_payload(r, b, row);
    buf_char(b, '}');
}

static int make_event(struct relay *r, const struct relay_row *row, int64_t created_ms,
                      bool complete, struct event *ev, struct err *why)
{
    partial_make(r, row, created_ms, complete);
    return event_make(ev, &r->scan, &r->fill, (struct str){r->partial.p, r->partial.n}, why);
}

int relay_make(struct relay *r, struct relay_row *row, struct err *why)
{
    struct event *ev = &r->events[row - r->page.row];
    struct err payload = ERR_NONE, filled = ERR_NONE;
    int64_t created_ms = 0;
    int got;

    buf_shrink(&ev->text, KEPT_BYTES);
    buf_shrink(&ev->decoded, KEPT_BYTES);
    if (check_row(r, row, &created_ms, why) < 0)
        return -1;
    /* Headers may bring what else is filled in. Of an event that is refused, the message names what
       the row has, not a copy of it. */
    if (row->text[RELAY_HEADERS].p != NULL ||
        (got = make_event(r, row, created_ms, true, ev, &filled)) < 0)
        got = make_event(r, row, created_ms, false, ev, why);
    if ((got < 0 || !payload_is_data(row, ev)) && check_payload(r, row, &payload) < 0) {
        *why = payload; /* says more than the event's error, if the event has one */
        got = -1;
    }
    if (got == 0 && ev->line.n > LINE_MAX_BYTES)
        got = err_set(why, EX_DATAERR, "is longer than 32 MiB");
    row->event = ev;
    return got;
}

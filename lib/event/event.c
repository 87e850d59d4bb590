#include "event/event.h"

#include "base/clock.h"
#include "base/uuid.h"

#include <stdio.h>
#include <string.h>

/* ----------------------------------------------------------------------------------- attributes */

static int bad(struct err *e, const char *name, const char *what)
{
    return err_set(e, EX_DATAERR, "\"%s\" %s", name, what);
}

/* Check a string attribute: bounded, not empty, no control characters (in UTF-8: bytes below 0x20,
   0x7f, and c2 80 to c2 9f). printable: it is known to have none. */
static int check_text(const char *name, struct str s, bool printable, struct err *e)
{
    if (s.n == 0)
        return bad(e, name, "is empty");
    if (s.n > EVENT_ATTRIBUTE_MAX)
        return err_set(e, EX_DATAERR, "\"%s\" is longer than %d bytes", name, EVENT_ATTRIBUTE_MAX);
    if (printable)
        return 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned c = (unsigned char)s.p[i];
        if (c == 0xc2 && i + 1 < s.n && (unsigned char)s.p[i + 1] < 0xa0)
            c = (unsigned char)s.p[i + 1];
        else if (c >= 0x20 && c != 0x7f)
            continue;
        return err_set(e, EX_DATAERR, "\"%s\" has a control character (U+%04X) at byte %zu", name,
                       c, i + 1);
    }
    return 0;
}

#define NAME(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

struct attribute {
    struct str name;
    enum { TEXT, TIME, INTEGER } kind;
    size_t at; /* in struct event */
    int64_t min, max;
};

#define AT(member) offsetof(struct event, member)

/* Sorted by the length of their names. */
static const struct attribute attributes[] = {
    {NAME("id"), TEXT, AT(id), 0, 0},
    {NAME("type"), TEXT, AT(type), 0, 0},
    {NAME("time"), TIME, AT(time), 0, 0},
    {NAME("hops"), INTEGER, AT(hops), 0, INT32_MAX},
    {NAME("source"), TEXT, AT(source), 0, 0},
    {NAME("subject"), TEXT, AT(subject), 0, 0},
    {NAME("priority"), INTEGER, AT(priority), 0, 9},
    {NAME("notbefore"), TIME, AT(notbefore_ms), 0, 0},
    {NAME("expirytime"), TIME, AT(expiry_ms), 0, 0},
    {NAME("causationid"), TEXT, AT(causationid), 0, 0},
    {NAME("traceparent"), TEXT, AT(traceparent), 0, 0},
    {NAME("correlationid"), TEXT, AT(correlationid), 0, 0},
};

/* A value as its author would recognise it: in quotes only if it is a string. */
static struct err_quoted shown(const struct js_member *m)
{
    struct err_quoted out;

    if (m->kind == JS_STRING)
        return err_quote(m->value.p + 1, m->value.n - 2);
    out = err_quote(m->value.p, m->value.n);
    size_t n = strlen(out.text) - 2;
    memmove(out.text, out.text + 1, n);
    out.text[n] = '\0';
    return out;
}

/* A string's text, and whether it is known to be printable; plain: so are all strings of the line,
   and they have no escapes. */
static struct str text_of(struct event *ev, const struct js_member *m, bool plain, bool *printable)
{
    struct str raw = {m->value.p + 1, m->value.n - 2}, text = raw;

    if (!plain)
        text = js_string(m->value, &ev->decoded);
    *printable = plain || (text.p == raw.p && memchr(raw.p, 0x7f, raw.n) == NULL &&
                           memchr(raw.p, 0xc2, raw.n) == NULL);
    return text;
}

static int read_attribute(struct event *ev, const struct attribute *a, const struct js_member *m,
                          bool plain, struct err *e)
{
    bool printable;
    char *to = (char *)ev + a->at;
    struct str text;
    int64_t number;

    if (a->kind == INTEGER) {
        if (m->kind != JS_NUMBER || !js_integer(m->value, &number) || number < a->min ||
            number > a->max)
            return err_set(e, EX_DATAERR, "\"%s\" must be an integer from %lld to %lld, not %s",
                           a->name.p, (long long)a->min, (long long)a->max, shown(m).text);
        memcpy(to, &number, sizeof number);
        ev->prioritised |= a->at == AT(priority);
        return 0;
    }
    if (m->kind != JS_STRING)
        return bad(e, a->name.p, "must be a string");
    text = text_of(ev, m, plain, &printable);
    if (check_text(a->name.p, text, printable, e) < 0)
        return -1;
    if (a->kind == TIME && !clock_parse(text, &number))
        return err_set(e, EX_DATAERR, "\"%s\" is not RFC 3339: %s", a->name.p,
                       err_quote(text.p, text.n).text);
    if (a->kind == TEXT || a->at == AT(time)) {
        memcpy(to, &text, sizeof text);
    } else {
        number -= number == 0; /* 0 means absent; a millisecond earlier is just as long past */
        memcpy(to, &number, sizeof number);
    }
    return 0;
}

#define ATTRIBUTES (sizeof attributes / sizeof attributes[0])

static const struct attribute *find_attribute(struct str name)
{
    const struct attribute *a = attributes, *end = attributes + ATTRIBUTES;

    while (a < end && a->name.n < name.n)
        a++;
    for (; a < end && a->name.n == name.n; a++)
        if (memcmp(a->name.p, name.p, name.n) == 0)
            return a;
    return NULL;
}

static int check_other(const struct js_member *m, struct err *e)
{
    struct err_quoted name = err_quote(m->key.p, m->key.n);

    if (m->key.n == 0)
        return err_set(e, EX_DATAERR, "an attribute has no name");
    for (size_t i = 0; i < m->key.n; i++)
        if (!((m->key.p[i] >= 'a' && m->key.p[i] <= 'z') ||
              (m->key.p[i] >= '0' && m->key.p[i] <= '9')))
            return err_set(e, EX_DATAERR,
                           "%s is not an attribute's name (a-z and 0-9): does it belong "
                           "in \"data\"?",
                           name.text);
    if (m->kind == JS_OBJECT || m->kind == JS_ARRAY)
        return err_set(e, EX_DATAERR, "attribute %s is an %s: does it belong in \"data\"?",
                       name.text, m->kind == JS_OBJECT ? "object" : "array");
    return 0;
}

static bool key_is(const struct js_member *m, struct str name)
{
    return m->key.n == name.n && memcmp(m->key.p, name.p, name.n) == 0;
}

static int event_member(struct event *ev, const struct js_member *m, bool plain, struct err *e)
{
    bool printable;
    const struct attribute *known = find_attribute(m->key);

    if (known != NULL && m->kind != JS_NULL) {
        if (known->at == AT(hops))
            ev->hops_text = m->value;
        return read_attribute(ev, known, m, plain, e);
    }
    if (key_is(m, STR("data")) || key_is(m, STR("data_base64"))) {
        if (ev->data.p != NULL)
            return err_set(e, EX_DATAERR, "has both \"data\" and \"data_base64\"");
        if (m->key.n > 4 && m->kind != JS_STRING)
            return bad(e, "data_base64", "must be a string");
        ev->data = m->value;
        ev->base64 = m->key.n > 4;
        return 0;
    }
    if (m->kind == JS_NULL)
        return check_other(m, e);
    if (key_is(m, STR("tracestate")) && m->kind == JS_STRING) {
        struct err unfit = ERR_NONE; /* not fit for an environment; it stays in the line */
        struct str text = text_of(ev, m, plain, &printable);
        if (check_text("tracestate", text, printable, &unfit) == 0)
            ev->tracestate = text;
        return 0;
    }
    if (key_is(m, STR("specversion"))) {
        if (!str_is(m->value, "\"1.0\""))
            return err_set(e, EX_DATAERR, "\"specversion\" must be the string \"1.0\", not %s",
                           shown(m).text);
        return 0;
    }
    if (key_is(m, STR("version")) && m->kind <= JS_STRING)
        ev->version_text = m->value;
    if (key_is(m, STR("version")) && m->kind == JS_NUMBER) {
        if (!js_integer(m->value, &ev->version) || ev->version < 0 ||
            ev->version > EVENT_VERSION_MAX)
            ev->version = 0;
        return 0;
    }
    return check_other(m, e);
}

/* Begin to read line: ev keeps only its memory. */
static void begin_read(struct event *ev, struct str line)
{
    struct buf text = ev->text, decoded = ev->decoded;

    *ev = (struct event){.line = line, .priority = EVENT_PRIORITY, .fill_at = 1};
    ev->text = text;
    ev->decoded = decoded;
    buf_reset(&ev->decoded);
}

/* Fill ev with views of scan, which has just accepted line. */
static int read_members(struct event *ev, const struct js_scan *scan, struct str line,
                        struct err *e)
{
    begin_read(ev, line);
    if (scan->escapes)
        buf_need(&ev->decoded, line.n); /* there are views of it: it must not move */
    bool plain = !scan->escapes && !scan->beyond && memchr(line.p, 0x7f, line.n) == NULL;
    if (scan->kind != JS_OBJECT)
        return err_set(e, EX_DATAERR, "is not an object; -t TYPE publishes lines as data");
    for (size_t i = 0; i < scan->members; i++)
        if (event_member(ev, &scan->member[i], plain, e) < 0)
            return -1;
    return 0;
}

int event_read(struct event *ev, struct js_scan *scan, struct str line, struct err *e)
{
    scan->envelope = true;
    return js_scan(scan, line.p, line.n, e) < 0 ? -1 : read_members(ev, scan, line, e);
}

void event_free(struct event *ev)
{
    buf_free(&ev->text);
    buf_free(&ev->decoded);
}

struct err_quoted event_name(const struct event *ev)
{
    struct err_quoted out;
    struct err_quoted type = err_quote(ev->type.p, ev->type.n), id = err_quote(ev->id.p, ev->id.n);

    snprintf(out.text, sizeof out.text, "%.*s %.300s", (int)(strlen(type.text) - 2), type.text + 1,
             id.text);
    return out;
}

/* ------------------------------------------------------------------ changes to what is read */

/* Views of the n bytes that were at from become views of to; those at or behind at move by bytes
   further. */
static void move_views(struct event *ev, uintptr_t from, size_t n, const char *to, size_t at,
                       size_t by)
{
    static const size_t views[] = {
        AT(id),         AT(source),        AT(type),        AT(subject),
        AT(time),       AT(correlationid), AT(causationid), AT(traceparent),
        AT(tracestate), AT(data),          AT(hops_text),   AT(version_text),
    };

    for (size_t i = 0; i < sizeof views / sizeof views[0]; i++) {
        struct str *view = (struct str *)(void *)((char *)ev + views[i]);
        size_t offset = (uintptr_t)view->p - from;
        if (view->p != NULL && offset < n)
            view->p = to + offset + (offset >= at ? by : 0);
    }
}

/* Replace bytes of ev->text between attributes, or all bytes of one. */
static void event_splice(struct event *ev, size_t at, size_t cut, const char *p, size_t n)
{
    uintptr_t from = (uintptr_t)ev->text.p;
    size_t before = ev->text.n;

    buf_splice(&ev->text, at, cut, p, n);
    move_views(ev, from, before, ev->text.p, at + (cut > 0), n - cut);
    ev->line = (struct str){ev->text.p, ev->text.n};
}

/* Read the members that put_head wrote at the beginning of ev->text, up to end. */
static int read_head(struct event *ev, size_t end, struct err *e)
{
    struct str key, value;

    ev->line = (struct str){ev->text.p, ev->text.n};
    if (memchr(ev->text.p, '\\', end) != NULL) {
        uintptr_t from = (uintptr_t)ev->decoded.p;
        buf_need(&ev->decoded, end);
        move_views(ev, from, ev->decoded.n, ev->decoded.p, 0, 0);
    }
    for (size_t at = 0; at < end && js_each(ev->line, &at, &key, &value);) {
        const struct js_member m = {{key.p + 1, key.n - 2}, value, 0, js_kind(value)};
        if (event_member(ev, &m, false, e) < 0)
            return -1;
    }
    return 0;
}

static void event_set_number(struct event *ev, struct str *old, const char *name, int64_t value)
{
    struct buf b = BUF_INIT;

    if (old->p != NULL) {
        size_t at = (size_t)(old->p - ev->text.p);
        buf_int(&b, value);
        event_splice(ev, at, old->n, b.p, b.n);
        *old = (struct str){ev->text.p + at, b.n};
    } else {
        bool first = ev->fill_at == 1;
        buf_printf(&b, "%s\"%s\":", first ? "" : ",", name);
        size_t at = ev->fill_at, digits = b.n;
        buf_int(&b, value);
        ev->fill_at += b.n;
        *old = (struct str){NULL, b.n - digits};
        if (first)
            buf_char(&b, ',');
        event_splice(ev, at, 0, b.p, b.n);
        old->p = ev->text.p + at + digits;
    }
    buf_free(&b);
}

void event_set_hops(struct event *ev, int64_t hops)
{
    ev->hops = hops;
    event_set_number(ev, &ev->hops_text, "hops", hops);
}

void event_set_version(struct event *ev, int64_t version)
{
    ev->version = version;
    event_set_number(ev, &ev->version_text, "version", version);
}

/* ---------------------------------------------------------------------------- what is filled in */

/* Write the key of the next member of an object. */
static void put_key(struct buf *b, struct str key)
{
    buf_char(b, b->n == 0 ? '{' : ',');
    js_quote(b, key);
    buf_char(b, ':');
}

static void put_text(struct buf *b, const char *name, struct str value)
{
    put_key(b, str_of(name));
    js_quote(b, value);
}

static void put_time(struct buf *b, const char *name, int64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    put_text(b, name, str_of(clock_format(text, ms)));
}

/* Write the attributes for delivery; the event's own take precedence. */
static void put_terms(struct buf *b, const struct event *has, const struct event_fill *fill)
{
    if (fill->notbefore_ms != 0 && has->notbefore_ms == 0)
        put_time(b, "notbefore", fill->notbefore_ms);
    if (fill->expiry_ms != 0 && has->expiry_ms == 0)
        put_time(b, "expirytime", fill->expiry_ms);
    if (fill->priority >= 0 && !has->prioritised) {
        put_key(b, STR("priority"));
        buf_int(b, fill->priority);
    }
}

/* Digits and dashes where version 00 has them; later versions may continue after them. An id of all
   zeros is invalid. */
static bool is_traceparent(const char *text)
{
    static const char form[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
    size_t n = 0;

    for (; form[n] != '\0'; n++)
        if (form[n] == '-' ? text[n] != '-'
                           : text[n] == '\0' || strchr("0123456789abcdef", text[n]) == NULL)
            return false;
    return strncmp(text, "ff", 2) != 0 && strspn(text + 3, "0") < 32 &&
           strspn(text + 36, "0") < 16 &&
           (text[n] == '\0' || (text[n] == '-' && strncmp(text, "00", 2) != 0));
}

/* Write a child span: the same trace, a new parent-id, in version 00 (W3C Trace Context 1, 3.2.2).
   That version has only the flag "sampled"; the other flags must be zero. */
static void put_traceparent(struct buf *b, const char *parent)
{
    char child[64];

    snprintf(child, sizeof child, "00-%.32s-%016llx-0%c", parent + 3,
             (unsigned long long)clock_random() | 1u, strchr("13579bdf", parent[54]) ? '1' : '0');
    put_text(b, "traceparent", str_of(child));
}

/* The value that a pointer names in the line, as text for an attribute. */
static int pointed(struct str value, const char *option, const char *pointer, struct buf *into,
                   struct str *out, struct err *e)
{
    struct str found = js_pointer(value, pointer);
    enum js_kind kind;

    if (found.p == NULL)
        return err_set(e, EX_DATAERR, "%s: there is nothing at %s", option,
                       err_quote_text(pointer).text);
    kind = js_kind(found);
    if (kind != JS_STRING && kind != JS_NUMBER)
        return err_set(e, EX_DATAERR, "%s: what is at %s is neither a string nor a number", option,
                       err_quote_text(pointer).text);
    *out = found;
    if (kind == JS_STRING) {
        buf_need(into, found.n);
        *out = js_string(found, into);
    }
    return check_text(option, *out, false, e);
}

static int choose_text(struct str given, const char *pointer, const char *option, struct str value,
                       struct buf *into, struct str *out, struct err *e)
{
    *out = given;
    return given.p == NULL && pointer != NULL ? pointed(value, option, pointer, into, out, e) : 0;
}

/* Write everything that is missing, as `{"specversion":"1.0",…` without a closing brace; nothing if
   nothing is missing. has is what the event has already; value is the original line, for pointers.
 */
static int put_head(struct buf *b, const struct event *has, bool specversion,
                    const struct event_fill *fill, struct str value, struct err *e)
{
    bool complete =
        specversion && has->id.p != NULL && has->source.p != NULL && has->type.p != NULL;
    char uuid[UUID_SIZE];
    struct buf ids = BUF_INIT, keys = BUF_INIT; /* two: adding to one would move views of it */
    struct str id = has->id, subject = has->subject;

    if ((id.p == NULL &&
         choose_text(str_of(fill->id), fill->id_from, "--id-from", value, &ids, &id, e)) ||
        (subject.p == NULL && choose_text(str_of(fill->subject), fill->subject_from, "--key-from",
                                          value, &keys, &subject, e))) {
        buf_free(&ids);
        buf_free(&keys);
        return -1;
    }
    if (id.p == NULL) {
        uuid_v7(uuid);
        id = str_of(uuid);
    }
    if (!specversion)
        put_text(b, "specversion", STR("1.0"));
    if (has->id.p == NULL)
        put_text(b, "id", id);
    if (has->source.p == NULL)
        put_text(b, "source", str_of(fill->source));
    if (has->type.p == NULL)
        put_text(b, "type", str_of(fill->type));
    if (has->subject.p == NULL && subject.p != NULL)
        put_text(b, "subject", subject);
    if (has->time.p == NULL && !complete)
        put_time(b, "time", fill->now_ms);
    if (has->correlationid.p == NULL && (fill->correlationid != NULL || !complete))
        put_text(b, "correlationid",
                 fill->correlationid != NULL ? str_of(fill->correlationid) : id);
    if (has->causationid.p == NULL && fill->causationid != NULL)
        put_text(b, "causationid", str_of(fill->causationid));
    if (has->traceparent.p == NULL && fill->traceparent != NULL &&
        is_traceparent(fill->traceparent) && (!complete || fill->causationid != NULL))
        put_traceparent(b, fill->traceparent);
    put_terms(b, has, fill);
    if (fill->hops >= 0 && has->hops_text.p == NULL) {
        put_key(b, STR("hops"));
        buf_int(b, fill->hops + 1);
    }
    buf_free(&ids);
    buf_free(&keys);
    return 0;
}

/* ----------------------------------------------------------------------------------- data lines */

/* An event is one line. In accepted JSON newlines occur only between values: replace each by a
   space. */
static void join_lines(struct buf *b)
{
    for (char *p = b->p; (p = memchr(p, '\n', b->n - (size_t)(p - b->p))) != NULL;)
        *p = ' ';
}

static int make_from_data(struct event *ev, struct js_scan *scan, const struct event_fill *fill,
                          struct str line, struct err *e)
{
    struct str value = line;

    scan->envelope = false;
    if (fill->text) {
        size_t valid = js_utf8(line);
        const char *nul = memchr(line.p, 0, line.n);
        if (nul != NULL)
            return err_set(e, EX_DATAERR, "NUL byte at byte %zu", (size_t)(nul - line.p) + 1);
        if (valid < line.n)
            return err_set(e, EX_DATAERR, "invalid UTF-8 at byte %zu", valid + 1);
    } else {
        if (js_scan(scan, line.p, line.n, e) < 0)
            return -1;
        value = scan->value;
        if (scan->kind == JS_OBJECT && js_member(scan, "specversion") != NULL) {
            const struct js_member *type = js_member(scan, "type");
            struct str word =
                type != NULL && type->kind == JS_STRING ? type->value : STR("\"unknown\"");
            return err_set(e, EX_DATAERR, "is already an event of type %s: leave out -t",
                           err_quote(word.p + 1, word.n - 2).text);
        }
    }
    begin_read(ev, line);
    buf_reset(&ev->text);
    if (put_head(&ev->text, ev, false, fill, fill->text ? STR("null") : value, e) < 0)
        return -1;
    ev->fill_at = ev->text.n;
    buf_puts(&ev->text, ",\"data\":");
    size_t data = ev->text.n;
    if (fill->text)
        js_quote(&ev->text, value);
    else
        buf_str(&ev->text, value);
    ev->data.n = ev->text.n - data;
    buf_char(&ev->text, '}');
    join_lines(&ev->text);
    ev->data.p = ev->text.p + data;
    return read_head(ev, ev->fill_at, e);
}

/* ---------------------------------------------------------------------------------- event lines */

/* The literature's names and ours; the members of metadata become attributes in lower case. */
static const struct {
    const char *theirs, *ours;
} words[] = {
    {"timestamp", "time"},          {"payload", "data"},
    {"aggregateId", "subject"},     {"correlationId", "correlationid"},
    {"causationId", "causationid"},
};

static struct str our_word(struct str theirs)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (str_is(theirs, words[i].theirs))
            return str_of(words[i].ours);
    return theirs;
}

/* Milliseconds since 1970, as from JavaScript's Date.now(), are accepted as a time, too. */
static void put_timestamp(struct buf *b, struct str value)
{
    char text[CLOCK_TEXT_SIZE];
    int64_t ms;

    put_key(b, STR("time"));
    if (js_kind(value) != JS_NUMBER)
        buf_str(b, value);
    else if (js_integer(value, &ms) && ms >= CLOCK_MIN_MS && ms <= CLOCK_MAX_MS)
        buf_printf(b, "\"%s\"", clock_format(text, ms));
    else
        js_quote(b, value); /* not a time: the error message will show it unchanged */
}

static void put_metadata(struct buf *b, struct str metadata)
{
    struct str key, value;
    struct buf name = BUF_INIT;

    for (size_t at = 0; js_each(metadata, &at, &key, &value);) {
        if (js_kind(value) == JS_NULL)
            continue;
        struct str plain = our_word(js_string(key, &name));
        struct buf lower = BUF_INIT;
        for (size_t i = 0; i < plain.n; i++)
            buf_char(&lower,
                     plain.p[i] >= 'A' && plain.p[i] <= 'Z' ? (char)(plain.p[i] | 32) : plain.p[i]);
        put_key(b, (struct str){lower.p == NULL ? "" : lower.p, lower.n});
        buf_str(b, value);
        buf_free(&lower);
        buf_reset(&name);
    }
    buf_free(&name);
}

/* Write the line with our names, leaving out members that are null. Attributes are checked when the
   result is read. */
static void translate(const struct js_scan *scan, bool literature, struct buf *out)
{
    for (size_t i = 0; i < scan->members; i++) {
        const struct js_member *m = &scan->member[i];
        if (m->kind == JS_NULL && !str_is(m->key, "data") && !str_is(m->key, "payload"))
            continue;
        if (literature && str_is(m->key, "metadata") && m->kind == JS_OBJECT)
            put_metadata(out, m->value);
        else if (literature && str_is(m->key, "timestamp"))
            put_timestamp(out, m->value);
        else {
            put_key(out, literature ? our_word(m->key) : m->key);
            buf_str(out, m->value);
        }
    }
    buf_puts(out, out->n == 0 ? "{}" : "}");
}

static bool needs_translation(const struct js_scan *scan, bool literature)
{
    for (size_t i = 0; i < scan->members; i++) {
        const struct js_member *m = &scan->member[i];
        if (m->kind == JS_NULL && !str_is(m->key, "data"))
            return true;
        if (literature && (str_is(m->key, "metadata") || our_word(m->key).p != m->key.p))
            return true;
    }
    return false;
}

/* Insert what is missing after the opening brace. */
static int put_missing(struct event *ev, bool specversion, const struct event_fill *fill,
                       struct str original, struct err *e)
{
    struct buf head = BUF_INIT;
    int got;

    if (ev->type.p == NULL)
        return err_set(e, EX_DATAERR,
                       "has no \"type\"; -t TYPE publishes lines as data of that type");
    got = put_head(&head, ev, specversion, fill, original, e);
    if (got == 0 && head.n > 0) {
        ev->fill_at = head.n;
        buf_char(&head, ',');
        event_splice(ev, 0, 1, head.p, head.n);
        got = read_head(ev, ev->fill_at, e);
    }
    buf_free(&head);
    return got;
}

/* Copy the line, then scan the copy: most lines are complete, and need nothing more. */
static int make_from_event(struct event *ev, struct js_scan *scan, const struct event_fill *fill,
                           struct str line, struct err *e)
{
    struct buf ours = BUF_INIT;

    buf_reset(&ev->text);
    buf_str(&ev->text, line);
    scan->envelope = true;
    if (js_scan(scan, ev->text.p, ev->text.n, e) < 0)
        return -1;
    join_lines(&ev->text);
    const struct js_member *specversion = js_member(scan, "specversion");
    bool literature = specversion == NULL;
    bool versioned = !literature && specversion->kind != JS_NULL;
    size_t before = (size_t)(scan->value.p - ev->text.p);
    line = (struct str){line.p + before, scan->value.n};
    if (scan->kind == JS_OBJECT && needs_translation(scan, literature)) {
        translate(scan, literature, &ours);
        buf_free(&ev->text);
        ev->text = ours;
        before = 0;
        if (js_members(scan, (struct str){ours.p, ours.n}, e) < 0)
            return -1;
    }
    ev->text.n = before + scan->value.n;
    if (read_members(ev, scan, scan->value, e) < 0)
        return -1;
    if (before > 0)
        event_splice(ev, 0, before, "", 0);
    return put_missing(ev, versioned, fill, line, e);
}

/* Base64 as in RFC 4648: groups of four, the last one padded. */
static bool is_base64(struct str text)
{
    size_t n = text.n, pad = 0;

    while (pad < 2 && n > 0 && text.p[n - 1] == '=') {
        n--;
        pad++;
    }
    for (size_t i = 0; i < n; i++) {
        char c = text.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return text.n % 4 == 0;
}

/* The string may contain escapes, such as "\/". */
static int check_base64(struct str string, struct err *e)
{
    struct buf decoded = BUF_INIT;
    bool good = is_base64(js_string(string, &decoded));

    buf_free(&decoded);
    return good ? 0 : bad(e, "data_base64", "is not Base64 (RFC 4648, with padding)");
}

int event_make(struct event *ev, struct js_scan *scan, const struct event_fill *fill,
               struct str line, struct err *e)
{
    if (line.n == 0)
        return err_set(e, EX_DATAERR, "is empty");
    if ((fill->type == NULL ? make_from_event(ev, scan, fill, line, e)
                            : make_from_data(ev, scan, fill, line, e)) < 0 ||
        (ev->base64 && check_base64(ev->data, e) < 0))
        return -1;
    if (fill->hops >= 0 && ev->hops <= fill->hops)
        event_set_hops(ev, fill->hops + 1);
    return 0;
}

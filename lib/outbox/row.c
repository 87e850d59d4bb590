/*
 * The meaning of a row: its columns, the event that it becomes, and what the relay remembers about
 * it if the table has no columns for that.
 */
#include "base/mem.h"
#include "base/sha1.h"
#include "outbox/engine.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_MAX_BYTES (32 << 20) /* the largest publish --max-size */
#define NUMBER_MAX 40

/* The words of --map, and our names for the columns. */
static const struct {
    const char *word, *name;
    bool needed;
} columns[RELAY_COLUMNS] = {
    [RELAY_ID] = {"id", "id", true},
    [RELAY_EVENT_ID] = {"event_id", "event_id", false},
    [RELAY_AGGREGATE] = {"aggregate", "aggregate_id", false},
    [RELAY_TYPE] = {"type", "event_type", true},
    [RELAY_PAYLOAD] = {"payload", "payload", true},
    [RELAY_HEADERS] = {"headers", "headers", false},
    [RELAY_CREATED] = {"created_at", "created_at", false},
    [RELAY_RETRY_AT] = {"retry_at", "retry_at", false},
    [RELAY_ATTEMPTS] = {"attempts", "attempts", false},
    [RELAY_ERROR] = {"error", "error", false},
    [RELAY_PUBLISHED] = {"published", "published", false},
    [RELAY_PUBLISHED_AT] = {"published_at", "published_at", false},
};

/* -------------------------------------------------------------------------------------- columns */

static int find_column(struct str word)
{
    for (int i = 0; i < RELAY_COLUMNS; i++)
        if (str_is(word, columns[i].word) || str_is(word, columns[i].name))
            return i;
    return -1;
}

static int map_one(struct relay_table *t, struct str item, struct err *e)
{
    const char *equals = memchr(item.p, '=', item.n);
    size_t n = equals == NULL ? item.n : (size_t)(equals - item.p);
    int i = find_column((struct str){item.p, n});

    if (equals == NULL)
        return err_set(e, EX_USAGE, "--map wants ours=theirs, as id=seq,type=kind: %s",
                       err_quote(item.p, item.n).text);
    if (i < 0)
        return err_set(e, EX_USAGE,
                       "--map knows id, event_id, aggregate, type, payload, headers, created_at, "
                       "published, published_at, attempts, retry_at and error, not %s",
                       err_quote(item.p, n).text);
    free(t->column[i]);
    t->column[i] = item.n == n + 1 ? NULL : mem_dup(equals + 1, item.n - n - 1);
    t->mapped[i] = true;
    if (t->column[i] == NULL && columns[i].needed)
        return err_set(e, EX_USAGE, "--map: the column %s is needed", columns[i].word);
    return 0;
}

int relay_map(struct relay_table *t, const char *map, struct err *e)
{
    for (int i = 0; i < RELAY_COLUMNS; i++)
        t->column[i] = mem_dup(columns[i].name, strlen(columns[i].name));
    for (const char *p = map; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (map_one(t, (struct str){p, n}, e) < 0)
            return -1;
        p += n + (p[n] == ',');
    }
    return 0;
}

static const char *find_name(const struct buf *names, const char *name,
                             int (*compare)(const char *, const char *))
{
    for (size_t at = 0; at < names->n; at += strlen(names->p + at) + 1)
        if (compare(names->p + at, name) == 0)
            return names->p + at;
    return NULL;
}

char *relay_fold(const char *name)
{
    char *folded = mem_dup(name, strlen(name));

    for (char *p = folded; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p | 32);
    return folded;
}

/* SQLite compares names without case. In PostgreSQL "Seq" and "seq" are different columns: take the
   column of exactly this spelling, or else the lower-case one, which an unquoted name means. */
static const char *find_there(const struct relay *r, const struct buf *names, const char *name)
{
    const char *found;
    char *folded;

    if (!r->engine->exact_names)
        return find_name(names, name, strcasecmp);
    if ((found = find_name(names, name, strcmp)) != NULL)
        return found;
    folded = relay_fold(name);
    found = find_name(names, folded, strcmp);
    free(folded);
    return found;
}

/* List the table's columns, so that the user sees what to map. */
static int lacks(struct relay *r, int i, const struct buf *names, struct err *e)
{
    struct buf list = BUF_INIT;

    for (size_t at = 0; at < names->n; at += strlen(names->p + at) + 1) {
        buf_puts(&list, at == 0 ? "" : ", ");
        err_escape(&list, names->p + at, strlen(names->p + at));
    }
    int status = r->table.mapped[i] ? EX_USAGE : EX_DATAERR;
    err_set(e, status, "%s: table %s has no column %s%s%s%s; it has %.500s%s", r->place,
            err_quote_text(r->table.name).text, err_quote_text(r->table.column[i]).text,
            r->table.mapped[i] ? "" : " (--map ", r->table.mapped[i] ? "" : columns[i].word,
            r->table.mapped[i] ? "" : "=…)", buf_text(&list),
            i == RELAY_PUBLISHED ? "; --delete deletes relayed rows instead" : "");
    buf_free(&list);
    return -1;
}

int relay_check(struct relay *r, const struct buf *names, struct err *e)
{
    struct relay_table *t = &r->table;

    if (names->n == 0)
        return err_set(e, EX_DATAERR,
                       "%s: there is no table %s; outbox-relay --schema prints one, --table names "
                       "another",
                       r->place, err_quote_text(t->name).text);
    for (int i = 0; i < RELAY_COLUMNS; i++) {
        const char *found = t->column[i] == NULL ? NULL : find_there(r, names, t->column[i]);
        if (found == NULL && t->column[i] != NULL && (t->mapped[i] || columns[i].needed))
            return lacks(r, i, names, e);
        free(t->column[i]);
        t->column[i] = found == NULL ? NULL : mem_dup(found, strlen(found));
    }
    if (t->column[RELAY_PUBLISHED] == NULL && t->column[RELAY_PUBLISHED_AT] == NULL &&
        !r->terms->remove) {
        t->column[RELAY_PUBLISHED] = mem_dup("published", 9);
        return lacks(r, RELAY_PUBLISHED, names, e);
    }
    return 0;
}

bool relay_has(const struct relay *r, enum relay_column c)
{
    return r->table.column[c] != NULL;
}

void relay_table_free(struct relay_table *t)
{
    for (int i = 0; i < RELAY_COLUMNS; i++)
        free(t->column[i]);
    free(t->folded);
}

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
static void derive_id(const struct relay *r, const struct relay_row *row, int64_t created_ms,
                      char out[CLOCK_UUID_SIZE])
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
    clock_uuid8(out, created_ms, digest);
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

static void put(struct buf *b, const char *name, struct str value)
{
    if (value.p == NULL)
        return;
    buf_printf(b, "%s\"%s\":", b->n == 1 ? "" : ",", name);
    js_quote(b, value);
}

static void put_json(struct buf *b, const char *name, struct str value)
{
    if (value.p == NULL)
        return;
    buf_printf(b, "%s\"%s\":", b->n == 1 ? "" : ",", name);
    buf_str(b, value);
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

static void put_header(struct buf *b, const char *name, struct str value)
{
    enum js_kind kind = js_kind(value);
    struct buf text = BUF_INIT;

    if (kind == JS_OBJECT || kind == JS_ARRAY) {
        compact(&text, value);
        put(b, name, (struct str){text.p, text.n});
        buf_free(&text);
    } else if (kind == JS_NUMBER &&
               (strcmp(name, "correlationid") == 0 || strcmp(name, "causationid") == 0)) {
        put(b, name, value);
    } else {
        put_json(b, name, value);
    }
}

/*
 * Headers become attributes by a rule that cannot fail, because a failed row holds up its
 * aggregate: the letters and digits of a header's name, in lower case, make the attribute's name;
 * the row's columns take precedence; of two headers with the same name the first counts; an object
 * or array becomes a string.
 */
static void put_headers(struct buf *b, const struct relay_row *row)
{
    static const char *const taken[] = {"specversion", "id", "type", "data", "payload"};
    struct relay_set seen = {NULL, 0, 0};
    struct buf name = BUF_INIT;
    struct str key, value, headers = row->text[RELAY_HEADERS];

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
        put_header(b, buf_text(&name), value);
    }
    relay_set_free(&seen);
    buf_free(&name);
}

/* Bytes become data if they are JSON, else data_base64. */
static void put_payload(struct relay *r, struct buf *b, const struct relay_row *row)
{
    struct str payload = row->text[RELAY_PAYLOAD];
    struct err ignored = ERR_NONE;

    if (!row->blob[RELAY_PAYLOAD] || payload.p == NULL ||
        check_json(r, payload, "payload", false, &ignored) == 0) {
        put_json(b, "data", payload);
        return;
    }
    buf_printf(b, "%s\"data_base64\":", b->n == 1 ? "" : ",");
    put_base64(b, payload);
}

static int check_row(struct relay *r, const struct relay_row *row, int64_t *created_ms,
                     struct err *why)
{
    const struct str *text = row->text;

    for (int i = RELAY_EVENT_ID; i <= RELAY_CREATED; i++) {
        if (text[i].n > LINE_MAX_BYTES)
            return err_set(why, EX_DATAERR, "%s is longer than 32 MiB", columns[i].name);
        if (i == RELAY_PAYLOAD && row->blob[i])
            continue;
        if (row->blob[i])
            return err_set(why, EX_DATAERR, "%s is a blob, not text", columns[i].name);
        if (js_utf8(text[i]) < text[i].n)
            return err_set(why, EX_DATAERR, "%s is not UTF-8", columns[i].name);
    }
    if (text[RELAY_TYPE].p == NULL)
        return err_set(why, EX_DATAERR, "%s is NULL", columns[RELAY_TYPE].name);
    if (text[RELAY_CREATED].p != NULL && !relay_time(text[RELAY_CREATED], created_ms))
        return err_set(why, EX_DATAERR, "created_at is not a time: %s",
                       err_quote(text[RELAY_CREATED].p, text[RELAY_CREATED].n).text);
    if (text[RELAY_PAYLOAD].p != NULL && !row->blob[RELAY_PAYLOAD] &&
        check_json(r, text[RELAY_PAYLOAD], "payload", false, why) < 0)
        return -1;
    return text[RELAY_HEADERS].p == NULL ? 0
                                         : check_json(r, text[RELAY_HEADERS], "headers", true, why);
}

int relay_make(struct relay *r, struct relay_row *row, struct err *why)
{
    char id[CLOCK_UUID_SIZE], time[CLOCK_TEXT_SIZE];
    const struct str *text = row->text;
    struct buf *b = &r->partial;
    int64_t created_ms = 0;

    if (check_row(r, row, &created_ms, why) < 0)
        return -1;
    buf_reset(b);
    buf_char(b, '{');
    derive_id(r, row, created_ms, id);
    put(b, "id", text[RELAY_EVENT_ID].p != NULL ? text[RELAY_EVENT_ID] : str_of(id));
    put(b, "type", text[RELAY_TYPE]);
    put(b, "subject", text[RELAY_AGGREGATE]);
    if (text[RELAY_CREATED].p != NULL)
        put(b, "time", str_of(clock_format(time, created_ms)));
    put_headers(b, row);
    put_payload(r, b, row);
    buf_char(b, '}');
    if (event_make(&r->event, &r->scan, &r->fill, (struct str){b->p, b->n}, why) < 0)
        return -1;
    if (r->event.line.n > LINE_MAX_BYTES)
        return err_set(why, EX_DATAERR, "is longer than 32 MiB");
    row->line_at = r->lines.n;
    row->line_n = r->event.line.n + 1;
    buf_str(&r->lines, r->event.line);
    buf_char(&r->lines, '\n');
    row->id_at = r->ids.n;
    row->id_n = r->event.id.n;
    buf_str(&r->ids, r->event.id);
    return 0;
}

/* --------------------------------------------------------------------------------------- memory */

struct relay_memory { /* sorted by id */
    int64_t id, attempts, retry_ms;
    bool failed;
};

static size_t memory_place(const struct relay *r, int64_t id)
{
    size_t low = 0, high = r->memories;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (r->memory[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void relay_recall(struct relay *r, struct relay_row *row)
{
    size_t at = memory_place(r, row->id);

    if (at == r->memories || r->memory[at].id != row->id)
        return;
    const struct relay_memory *m = &r->memory[at];
    if (!relay_has(r, RELAY_ATTEMPTS))
        row->attempts = m->attempts;
    if (!relay_has(r, RELAY_RETRY_AT))
        row->retry_ms = m->retry_ms;
    if (!relay_has(r, RELAY_ERROR))
        row->failed = m->failed;
}

/* Forget a row when it is done, because its id may be reused. */
void relay_remember(struct relay *r, const struct relay_row *row)
{
    size_t at = memory_place(r, row->id);
    bool there = at < r->memories && r->memory[at].id == row->id;

    if (relay_has(r, RELAY_ATTEMPTS) && relay_has(r, RELAY_RETRY_AT) && relay_has(r, RELAY_ERROR))
        return;
    if (row->fate == RELAY_DONE) {
        if (there)
            memmove(r->memory + at, r->memory + at + 1, (--r->memories - at) * sizeof *r->memory);
        return;
    }
    if (!there) {
        if (r->memories == r->memory_room) {
            r->memory_room = r->memory_room * 2 + 64;
            r->memory = mem_grow(r->memory, r->memory_room, sizeof *r->memory);
        }
        memmove(r->memory + at + 1, r->memory + at, (r->memories++ - at) * sizeof *r->memory);
    }
    r->memory[at] =
        (struct relay_memory){row->id, row->attempts, row->retry_ms, row->fate == RELAY_FAILED};
}

/* -------------------------------------------------------------------------------- sets of texts */

/* FNV-1a. Two aggregates with the same 64 bits would hold each other up, which only causes
   delay. */
uint64_t relay_hash(struct str text)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * UINT64_C(1099511628211);
    return h == 0 ? 1 : h; /* 0 means a free place */
}

static size_t set_place(const struct relay_set *s, uint64_t h)
{
    size_t at = (size_t)h & (s->room - 1);

    while (s->hash[at] != 0 && s->hash[at] != h)
        at = (at + 1) & (s->room - 1);
    return at;
}

static void set_grow(struct relay_set *s)
{
    struct relay_set old = *s;

    s->room = old.room == 0 ? 64 : old.room * 2;
    s->hash = mem_zero(s->room, sizeof *s->hash);
    for (size_t i = 0; i < old.room; i++)
        if (old.hash[i] != 0)
            s->hash[set_place(s, old.hash[i])] = old.hash[i];
    free(old.hash);
}

void relay_set_add(struct relay_set *s, struct str text)
{
    uint64_t h = relay_hash(text);

    if (2 * (s->n + 1) > s->room)
        set_grow(s);
    size_t at = set_place(s, h);
    s->n += s->hash[at] == 0;
    s->hash[at] = h;
}

bool relay_set_has(const struct relay_set *s, struct str text)
{
    return s->n > 0 && s->hash[set_place(s, relay_hash(text))] != 0;
}

void relay_set_empty(struct relay_set *s)
{
    if (s->n > 0)
        memset(s->hash, 0, s->room * sizeof *s->hash);
    s->n = 0;
}

void relay_set_free(struct relay_set *s)
{
    free(s->hash);
    *s = (struct relay_set){NULL, 0, 0};
}

/* A row without an aggregate holds up nothing. */
void relay_hold(struct relay *r, struct str aggregate)
{
    if (aggregate.p != NULL)
        relay_set_add(&r->held, aggregate);
}

bool relay_is_held(const struct relay *r, struct str aggregate)
{
    return aggregate.p != NULL && relay_set_has(&r->held, aggregate);
}

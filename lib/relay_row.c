/*
 * What a row means: which columns it has, the event it becomes, and what the relay remembers of it
 * where the table has no room for that.
 */
#include "mem.h"
#include "relay_priv.h"
#include "sha1.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_MAX_BYTES (32 << 20) /* as publish --max-size at most */
#define NUMBER_MAX 40

/* The words of --map, and our names of the columns. */
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
        return err_set(e, EX_USAGE, "--map: there is no relaying without %s", columns[i].word);
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

bool relay_same_name(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

static bool is_there(const struct buf *names, const char *name)
{
    for (size_t at = 0; at < names->n; at += strlen(names->p + at) + 1)
        if (relay_same_name(names->p + at, name))
            return true;
    return false;
}

/* What the table has, so that the user sees what to map. */
static int lacks(struct relay *r, int i, const struct buf *names, struct err *e)
{
    struct buf list = BUF_INIT;

    for (size_t at = 0; at < names->n; at += strlen(names->p + at) + 1) {
        buf_puts(&list, at == 0 ? "" : ", ");
        err_escape(&list, names->p + at, strlen(names->p + at));
    }
    int status = r->table.mapped[i] ? EX_USAGE : EX_DATAERR;
    err_set(e, status, "%s: table %s has no column %s%s%s%s; it has %.500s", r->place,
            err_quote_text(r->table.name).text, err_quote_text(r->table.column[i]).text,
            r->table.mapped[i] ? "" : " (--map ", r->table.mapped[i] ? "" : columns[i].word,
            r->table.mapped[i] ? "" : "=…)", buf_text(&list));
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
        if (t->column[i] == NULL || is_there(names, t->column[i]))
            continue;
        if (t->mapped[i] || columns[i].needed)
            return lacks(r, i, names, e);
        free(t->column[i]);
        t->column[i] = NULL;
    }
    if (t->column[RELAY_PUBLISHED] == NULL && t->column[RELAY_PUBLISHED_AT] == NULL) {
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
 * The id of a row that has none: the same whenever it is asked for, and another one when the row's
 * id has come back after pruning, as SQLite's do without AUTOINCREMENT: then content and time
 * differ. The time in front makes ids sort, which keeps the spool's index small.
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

static int check_row(struct relay *r, const struct relay_row *row, int64_t *created_ms,
                     struct err *why)
{
    const struct str *text = row->text;

    for (int i = RELAY_EVENT_ID; i <= RELAY_CREATED; i++) {
        if (row->blob[i])
            return err_set(why, EX_DATAERR, "%s is a blob, not text", columns[i].name);
        if (text[i].n > LINE_MAX_BYTES)
            return err_set(why, EX_DATAERR, "%s is longer than 32 MiB", columns[i].name);
        if (js_utf8(text[i]) < text[i].n)
            return err_set(why, EX_DATAERR, "%s is not UTF-8", columns[i].name);
    }
    if (text[RELAY_TYPE].p == NULL)
        return err_set(why, EX_DATAERR, "%s is NULL", columns[RELAY_TYPE].name);
    if (text[RELAY_CREATED].p != NULL && !relay_time(text[RELAY_CREATED], created_ms))
        return err_set(why, EX_DATAERR, "created_at is not a time: %s",
                       err_quote(text[RELAY_CREATED].p, text[RELAY_CREATED].n).text);
    if (text[RELAY_PAYLOAD].p != NULL &&
        check_json(r, text[RELAY_PAYLOAD], "payload", false, why) < 0)
        return -1;
    return text[RELAY_HEADERS].p == NULL ? 0
                                         : check_json(r, text[RELAY_HEADERS], "headers", true, why);
}

/* As an event in the literature's words, whose metadata become attributes; event_make translates
   it. */
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
    put_json(b, "metadata", text[RELAY_HEADERS]);
    put_json(b, "data", text[RELAY_PAYLOAD]);
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

struct relay_memory { /* in the order of their ids */
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

/* Forgotten when it is done, for its id may come back. */
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

/* FNV-1a. Two aggregates with the same 64 bits would hold each other up: no harm but delay. */
uint64_t relay_hash(struct str text)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * UINT64_C(1099511628211);
    return h == 0 ? 1 : h; /* 0 is a free place */
}

static size_t hold_place(const struct relay *r, uint64_t h)
{
    size_t at = (size_t)h & (r->hold_room - 1);

    while (r->held[at] != 0 && r->held[at] != h)
        at = (at + 1) & (r->hold_room - 1);
    return at;
}

static void grow_holds(struct relay *r)
{
    uint64_t *old = r->held;
    size_t room = r->hold_room;

    r->hold_room = room == 0 ? 1024 : room * 2;
    r->held = mem_zero(r->hold_room, sizeof *r->held);
    for (size_t i = 0; i < room; i++)
        if (old[i] != 0)
            r->held[hold_place(r, old[i])] = old[i];
    free(old);
}

/* A row without an aggregate holds up nothing. */
void relay_hold(struct relay *r, struct str aggregate)
{
    if (aggregate.p == NULL)
        return;
    if (2 * (r->holds + 1) > r->hold_room)
        grow_holds(r);
    size_t at = hold_place(r, relay_hash(aggregate));
    r->holds += r->held[at] == 0;
    r->held[at] = relay_hash(aggregate);
}

bool relay_is_held(const struct relay *r, struct str aggregate)
{
    return aggregate.p != NULL && r->holds > 0 &&
           r->held[hold_place(r, relay_hash(aggregate))] != 0;
}

/*
 * One loop over the line with an explicit stack of open containers. Strings are passed eight bytes
 * at a time while nothing in them needs a closer look; that is where most bytes of an event are.
 */
#include "json.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

#define FEW_KEYS 12 /* up to here comparing each with each is faster than sorting */

struct js_key {
    struct str text;
};

struct level {
    size_t keys; /* where its keys begin */
    bool object;
};

struct pass {
    struct js_scan *scan;
    const char *line, *p, *end;
    struct err *e;
    struct level level[JS_DEPTH_MAX];
    size_t depth;
};

/* --------------------------------------------------------------------------------------- errors */

static int at(const struct pass *s, const char *p)
{
    return (int)(p - s->line) + 1;
}

static int unfinished(struct pass *s)
{
    const char *what = s->depth == 0 ? "value" : s->level[s->depth - 1].object ? "object" : "array";
    return err_set(s->e, EX_DATAERR, "unfinished %s at byte %d (input ends)", what, at(s, s->end));
}

static int unexpected(struct pass *s)
{
    size_t n = 1;

    if (s->p == s->end)
        return unfinished(s);
    while (s->p + n < s->end && n < 4 && ((unsigned char)s->p[n] & 0xc0) == 0x80)
        n++;
    return err_set(s->e, EX_DATAERR, "unexpected %s at byte %d", err_quote(s->p, n).text, at(s, s->p));
}

static int fault(struct pass *s, const char *p, const char *what)
{
    return err_set(s->e, EX_DATAERR, "%s at byte %d", what, at(s, p));
}

/* -------------------------------------------------------------------------------------- strings */

#define ONES 0x0101010101010101u
#define HIGHS 0x8080808080808080u

/* Skip bytes that mean nothing special in a string: not a quote, a backslash, a control character
   or the beginning of anything beyond ASCII. */
static const char *skip_plain(const char *p, const char *end)
{
    uint64_t w, quote, slash;

    for (; end - p >= 8; p += 8) {
        memcpy(&w, p, sizeof w);
        quote = w ^ ONES * '"';
        slash = w ^ ONES * '\\';
        if (((w | (w - ONES * 0x20) | (quote - ONES) | (slash - ONES)) & HIGHS) != 0)
            break;
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

/* The length of the UTF-8 sequence at p (RFC 3629, table 3-7 of Unicode): 0 if it is none. */
static size_t utf8_length(const char *p, const char *end)
{
    unsigned c = (unsigned char)*p, low = 0x80, high = 0xbf;
    size_t n = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

    if (c < 0x80)
        return 1;
    if (n == 0 || (size_t)(end - p) < n)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < n; i++) {
        unsigned next = (unsigned char)p[i];
        if (next < low || next > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

size_t js_utf8(struct str text)
{
    const char *p = text.p, *end = text.p + text.n;

    while (p < end) {
        size_t n = utf8_length(p, end);
        if (n == 0)
            break;
        p += n;
    }
    return (size_t)(p - text.p);
}

/* Four hexadecimal digits, or -1. */
static long hex4(const char *p, const char *end)
{
    long value = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static int check_unicode(struct pass *s)
{
    const char *escape = s->p;
    long unit = hex4(s->p + 2, s->end), low;

    if (unit < 0)
        return fault(s, escape, "invalid escape");
    if (unit == 0)
        return err_set(s->e, EX_DATAERR, "\"\\u0000\" is not allowed (byte %d)", at(s, escape));
    s->p += 6;
    if (unit < 0xd800 || unit > 0xdfff)
        return 0;
    if (unit > 0xdbff || s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u')
        return fault(s, escape, "unpaired surrogate");
    low = hex4(s->p + 2, s->end);
    if (low < 0xdc00 || low > 0xdfff)
        return fault(s, escape, "unpaired surrogate");
    s->p += 6;
    return 0;
}

static int check_escape(struct pass *s)
{
    if (s->end - s->p < 2)
        return err_set(s->e, EX_DATAERR, "unfinished string at byte %d (input ends)", at(s, s->end));
    if (s->p[1] == 'u')
        return check_unicode(s);
    if (strchr("\"\\/bfnrt", s->p[1]) == NULL)
        return fault(s, s->p, "invalid escape");
    s->p += 2;
    return 0;
}

/* p is behind the opening quote, and behind the closing one at the end. 1: with escapes. */
static int pass_string(struct pass *s)
{
    int escapes = 0;
    size_t n;

    for (;;) {
        s->p = skip_plain(s->p, s->end);
        if (s->p == s->end)
            return err_set(s->e, EX_DATAERR, "unfinished string at byte %d (input ends)",
                           at(s, s->end));
        if (*s->p == '"') {
            s->p++;
            return escapes;
        }
        if (*s->p == '\\') {
            escapes = 1;
            if (check_escape(s) < 0)
                return -1;
        } else if ((unsigned char)*s->p < 0x20) {
            return fault(s, s->p, "unescaped control character");
        } else if ((n = utf8_length(s->p, s->end)) == 0) {
            return fault(s, s->p, "invalid UTF-8");
        } else {
            s->p += n;
        }
    }
}

/* -------------------------------------------------------------------------- numbers and literals */

static bool digit_at(const struct pass *s)
{
    return s->p < s->end && *s->p >= '0' && *s->p <= '9';
}

static int pass_digits(struct pass *s)
{
    if (!digit_at(s))
        return s->p == s->end ? err_set(s->e, EX_DATAERR, "unfinished number at byte %d (input ends)",
                                        at(s, s->end))
                              : unexpected(s);
    while (digit_at(s))
        s->p++;
    return 0;
}

static int pass_number(struct pass *s)
{
    s->p += *s->p == '-';
    if (s->p < s->end && *s->p == '0')
        s->p++;
    else if (pass_digits(s) < 0)
        return -1;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (pass_digits(s) < 0)
            return -1;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        s->p += s->p < s->end && (*s->p == '+' || *s->p == '-');
        return pass_digits(s);
    }
    return 0;
}

static int pass_literal(struct pass *s)
{
    static const char *const words[] = {"true", "false", "null"};

    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]), left = (size_t)(s->end - s->p);
        if (*s->p != words[i][0])
            continue;
        if (left >= n && memcmp(s->p, words[i], n) == 0) {
            s->p += n;
            return 0;
        }
        if (left < n && memcmp(s->p, words[i], left) == 0)
            return unfinished(s);
    }
    return unexpected(s);
}

/* ----------------------------------------------------------------------------------------- keys */

static void push_key(struct js_scan *scan, struct str text)
{
    if (scan->keys == scan->key_room) {
        scan->key_room = scan->key_room == 0 ? 64 : scan->key_room * 2;
        scan->key = mem_grow(scan->key, scan->key_room, sizeof *scan->key);
    }
    scan->key[scan->keys++].text = text;
}

static void push_member(struct js_scan *scan, struct str key, size_t key_at)
{
    if (scan->members == scan->member_room) {
        scan->member_room = scan->member_room == 0 ? 32 : scan->member_room * 2;
        scan->member = mem_grow(scan->member, scan->member_room, sizeof *scan->member);
    }
    scan->member[scan->members++] = (struct js_member){.key = key, .key_at = key_at};
}

static int compare_keys(const void *a, const void *b)
{
    struct str x = ((const struct js_key *)a)->text, y = ((const struct js_key *)b)->text;

    if (x.n != y.n)
        return x.n < y.n ? -1 : 1;
    return memcmp(x.p, y.p, x.n);
}

static int duplicate(struct pass *s, struct str key)
{
    return err_set(s->e, EX_DATAERR, "duplicate key %s", err_quote(key.p, key.n).text);
}

/* At the end of an object; its keys are not needed any more, so they may be sorted in place. */
static int check_keys(struct pass *s, size_t from)
{
    struct js_key *key = s->scan->key + from;
    size_t n = s->scan->keys - from;

    s->scan->keys = from;
    if (n > FEW_KEYS) {
        qsort(key, n, sizeof *key, compare_keys);
        for (size_t i = 1; i < n; i++)
            if (compare_keys(&key[i - 1], &key[i]) == 0)
                return duplicate(s, key[i].text);
        return 0;
    }
    for (size_t i = 1; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (key[i].text.n == key[k].text.n &&
                memcmp(key[i].text.p, key[k].text.p, key[i].text.n) == 0)
                return duplicate(s, key[i].text);
    return 0;
}

static void skip_space(struct pass *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

/* A key, its colon, and the space around them. */
static int pass_key(struct pass *s)
{
    const char *quote = s->p;
    struct str key;
    int escapes;

    if (s->p == s->end || *s->p != '"')
        return unexpected(s);
    s->p++;
    if ((escapes = pass_string(s)) < 0)
        return -1;
    key = (struct str){quote + 1, (size_t)(s->p - quote) - 2};
    if (escapes) {
        buf_need(&s->scan->scratch, (size_t)(s->end - s->line)); /* the first time; then it fits */
        key = js_string((struct str){quote, (size_t)(s->p - quote)}, &s->scan->scratch);
    }
    push_key(s->scan, key);
    if (s->depth == 1)
        push_member(s->scan, key, (size_t)(quote - s->line));
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return unexpected(s);
    s->p++;
    return 0;
}

/* ----------------------------------------------------------------------------------------- values */

static int open_container(struct pass *s, bool object)
{
    if (s->depth == JS_DEPTH_MAX)
        return err_set(s->e, EX_DATAERR, "nested deeper than %d levels", JS_DEPTH_MAX);
    s->level[s->depth++] = (struct level){s->scan->keys, object};
    s->p++;
    return 0;
}

/* A value that is not a container, or the beginning of one. */
static int pass_value(struct pass *s)
{
    switch (*s->p) {
    case '{':
        return open_container(s, true);
    case '[':
        return open_container(s, false);
    case '"':
        s->p++;
        return pass_string(s) < 0 ? -1 : 0;
    default:
        return digit_at(s) || *s->p == '-' ? pass_number(s) : pass_literal(s);
    }
}

static void note_value(struct pass *s, const char *from)
{
    struct js_member *m = &s->scan->member[s->scan->members - 1];
    m->value = (struct str){from, (size_t)(s->p - from)};
    m->kind = js_kind(m->value);
}

/* Close containers, and step over a comma, until another value or the end is due. 1: a value. */
static int after_value(struct pass *s, const char **member)
{
    for (;;) {
        struct level *top = s->depth == 0 ? NULL : &s->level[s->depth - 1];
        if (s->depth == 1 && top->object && *member != NULL)
            note_value(s, *member);
        skip_space(s);
        if (top == NULL)
            return s->p == s->end ? 0 : unexpected(s);
        if (s->p == s->end)
            return unfinished(s);
        if (*s->p == ',') {
            s->p++;
            skip_space(s);
            return top->object ? (pass_key(s) < 0 ? -1 : 1) : 1;
        }
        if (*s->p != (top->object ? '}' : ']'))
            return unexpected(s);
        s->p++;
        s->depth--;
        if (top->object && check_keys(s, top->keys) < 0)
            return -1;
        if (s->depth == 0)
            *member = NULL;
    }
}

static int run(struct pass *s)
{
    const char *member = NULL, *value;
    int more = 1;

    while (more > 0) {
        size_t depth = s->depth;
        skip_space(s);
        if (s->p == s->end)
            return unfinished(s);
        value = s->p;
        if (depth == 1)
            member = value;
        if (pass_value(s) < 0)
            return -1;
        if (s->depth > depth) { /* it was opened: a first element, a first key, or its end */
            skip_space(s);
            bool object = s->level[depth].object;
            if (s->p == s->end)
                return unfinished(s);
            if (*s->p != (object ? '}' : ']')) {
                if (object && pass_key(s) < 0)
                    return -1;
                continue;
            }
            s->p++;
            s->depth--;
        }
        more = after_value(s, &member);
    }
    return more;
}

int js_scan(struct js_scan *scan, const char *line, size_t len, struct err *e)
{
    struct pass s;
    const char *nul = len == 0 ? NULL : memchr(line, 0, len);

    s.scan = scan;
    s.line = s.p = line;
    s.end = line + len;
    s.e = e;
    s.depth = 0;
    scan->members = scan->keys = 0;
    buf_reset(&scan->scratch);
    if (nul != NULL)
        return fault(&s, nul, "NUL byte");
    skip_space(&s);
    const char *first = s.p;
    if (run(&s) < 0)
        return -1;
    while (s.end > first && (s.end[-1] == ' ' || s.end[-1] == '\t' || s.end[-1] == '\n' ||
                             s.end[-1] == '\r'))
        s.end--;
    scan->value = (struct str){first, (size_t)(s.end - first)};
    scan->kind = js_kind(scan->value);
    return 0;
}

void js_scan_free(struct js_scan *scan)
{
    free(scan->member);
    free(scan->key);
    buf_free(&scan->scratch);
    *scan = (struct js_scan)JS_SCAN_INIT;
}

const struct js_member *js_member(const struct js_scan *scan, const char *key)
{
    for (size_t i = 0; i < scan->members; i++)
        if (str_is(scan->member[i].key, key))
            return &scan->member[i];
    return NULL;
}

/* ---------------------------------------------------------------------------- accepted values */

enum js_kind js_kind(struct str value)
{
    switch (value.n == 0 ? 'n' : *value.p) {
    case '{':
        return JS_OBJECT;
    case '[':
        return JS_ARRAY;
    case '"':
        return JS_STRING;
    case 't':
    case 'f':
        return JS_BOOL;
    case 'n':
        return JS_NULL;
    default:
        return JS_NUMBER;
    }
}

static void put_code(struct buf *b, unsigned long c)
{
    if (c < 0x80) {
        buf_char(b, (char)c);
        return;
    }
    if (c < 0x800) {
        buf_char(b, (char)(0xc0 | c >> 6));
    } else {
        if (c < 0x10000) {
            buf_char(b, (char)(0xe0 | c >> 12));
        } else {
            buf_char(b, (char)(0xf0 | c >> 18));
            buf_char(b, (char)(0x80 | (c >> 12 & 63)));
        }
        buf_char(b, (char)(0x80 | (c >> 6 & 63)));
    }
    buf_char(b, (char)(0x80 | (c & 63)));
}

/* One escape at p; returns the byte behind it. */
static const char *decode_escape(const char *p, const char *end, struct buf *into)
{
    static const char plain[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *found = p + 1 < end && p[1] != '\0' ? strchr(plain, p[1]) : NULL;
    long unit, low;

    if (found != NULL) {
        buf_char(into, means[found - plain]);
        return p + 2;
    }
    if (p + 1 >= end || (unit = hex4(p + 2, end)) < 0)
        return end;
    p += 6;
    if (unit >= 0xd800 && unit <= 0xdbff && end - p >= 6 && (low = hex4(p + 2, end)) >= 0) {
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    put_code(into, (unsigned long)unit);
    return p;
}

struct str js_string(struct str value, struct buf *into)
{
    struct str inner = {value.p + 1, value.n < 2 ? 0 : value.n - 2};
    const char *p = inner.p, *end = inner.p + inner.n;
    size_t from = into->n;

    if (memchr(inner.p, '\\', inner.n) == NULL)
        return inner;
    buf_need(into, inner.n);
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t n = escape == NULL ? (size_t)(end - p) : (size_t)(escape - p);
        buf_add(into, p, n);
        p = escape == NULL ? end : decode_escape(escape, end, into);
    }
    return (struct str){into->p + from, into->n - from};
}

bool js_integer(struct str value, int64_t *out)
{
    bool negative = value.n > 0 && *value.p == '-';
    uint64_t n = 0, most = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;

    if (value.n == (size_t)negative)
        return false;
    for (size_t i = negative; i < value.n; i++) {
        unsigned digit = (unsigned char)value.p[i] - (unsigned)'0';
        if (digit > 9 || n > (most - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

/* The byte behind the value that begins at p. */
static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;

    do {
        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++)
                p += *p == '\\' && p + 1 < end;
        } else if (*p == '{' || *p == '[') {
            depth++;
        } else if ((*p == '}' || *p == ']') && depth > 0) {
            depth--;
        } else if (depth == 0) {
            while (p < end && strchr(",]} \t\r\n", *p) == NULL)
                p++;
            return p;
        }
        if (p < end)
            p++;
    } while (depth > 0 && p < end);
    return p;
}

static const char *skip_over(const char *p, const char *end, const char *what)
{
    while (p < end && *p != '\0' && strchr(what, *p) != NULL)
        p++;
    return p;
}

bool js_each(struct str value, size_t *at_byte, struct str *key, struct str *item)
{
    const char *end = value.p + value.n, *p = value.p + *at_byte;
    bool object = value.n > 0 && *value.p == '{';

    if (value.n < 2 || (!object && *value.p != '['))
        return false;
    p = skip_over(*at_byte == 0 ? p + 1 : p, end, " \t\r\n,");
    if (p >= end || *p == '}' || *p == ']')
        return false;
    *key = (struct str){NULL, 0};
    if (object) {
        const char *behind = skip_value(p, end);
        *key = (struct str){p, (size_t)(behind - p)};
        p = skip_over(behind, end, " \t\r\n:");
        if (p >= end)
            return false;
    }
    const char *behind = skip_value(p, end);
    *item = (struct str){p, (size_t)(behind - p)};
    *at_byte = (size_t)(behind - value.p);
    return true;
}

static struct str get(struct str object, struct str name)
{
    struct buf decoded = BUF_INIT;
    struct str key, item, found = {NULL, 0};

    for (size_t i = 0; found.p == NULL && js_each(object, &i, &key, &item);) {
        buf_reset(&decoded);
        if (key.p != NULL && str_eq(js_string(key, &decoded), name))
            found = item;
    }
    buf_free(&decoded);
    return found;
}

struct str js_get(struct str object, const char *key)
{
    return get(object, str_of(key));
}

/* --------------------------------------------------------------------------- pointers, RFC 6901 */

int js_pointer_check(const char *pointer, struct err *e)
{
    if (*pointer != '\0' && *pointer != '/')
        return err_set(e, EX_USAGE, "a JSON pointer begins with a slash: %s",
                       err_quote_text(pointer).text);
    for (const char *p = pointer; (p = strchr(p, '~')) != NULL; p++)
        if (p[1] != '0' && p[1] != '1')
            return err_set(e, EX_USAGE, "in a JSON pointer ~ is followed by 0 or 1: %s",
                           err_quote_text(pointer).text);
    return 0;
}

static struct str element(struct str array, struct str word)
{
    struct str key, item;
    int64_t index;

    if (!js_integer(word, &index) || index < 0 || (word.n > 1 && *word.p == '0'))
        return (struct str){NULL, 0};
    for (size_t i = 0; js_each(array, &i, &key, &item);)
        if (index-- == 0)
            return item;
    return (struct str){NULL, 0};
}

struct str js_pointer(struct str value, const char *pointer)
{
    struct buf word = BUF_INIT;

    while (value.n > 0 && strchr(" \t\r\n", *value.p) != NULL) {
        value.p++;
        value.n--;
    }
    while (*pointer == '/' && value.p != NULL) {
        buf_reset(&word);
        for (pointer++; *pointer != '\0' && *pointer != '/'; pointer++) {
            bool escape = *pointer == '~' && pointer[1] != '\0';
            buf_char(&word, escape ? (pointer[1] == '1' ? '/' : '~') : *pointer);
            pointer += escape;
        }
        struct str name = {word.p == NULL ? "" : word.p, word.n};
        value = js_kind(value) == JS_OBJECT  ? get(value, name)
                : js_kind(value) == JS_ARRAY ? element(value, name)
                                             : (struct str){NULL, 0};
    }
    buf_free(&word);
    return value;
}

/* ------------------------------------------------------------------------------------------ out */

/* Does this sequence steer a terminal? C1 controls, line separators, bidirectional controls. */
static unsigned steering(const char *p, size_t n)
{
    const unsigned char *u = (const unsigned char *)p;
    unsigned c = n == 2 ? (u[0] & 31u) << 6 | (u[1] & 63u)
                 : n == 3 ? (u[0] & 15u) << 12 | (u[1] & 63u) << 6 | (u[2] & 63u)
                          : 0;

    return (c >= 0x80 && c < 0xa0) || c == 0x61c || (c >= 0x200e && c <= 0x200f) ||
                   (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069)
               ? c
               : 0;
}

static size_t quote_special(struct buf *b, const char *p, const char *end)
{
    static const char letters[] = "btnvfr"; /* from 0x08; JSON has no \v */
    unsigned char c = (unsigned char)*p;
    size_t n = utf8_length(p, end);
    unsigned code;

    if (c == '"' || c == '\\')
        buf_printf(b, "\\%c", c);
    else if (c >= 8 && c <= 13 && c != 11)
        buf_printf(b, "\\%c", letters[c - 8]);
    else if (c < 0x20 || c == 0x7f)
        buf_printf(b, "\\u%04x", c);
    else if (n == 0)
        buf_puts(b, "\xef\xbf\xbd");
    else if ((code = steering(p, n)) != 0)
        buf_printf(b, "\\u%04x", code);
    else
        buf_add(b, p, n);
    return n == 0 ? 1 : n;
}

void js_quote(struct buf *b, struct str text)
{
    const char *p = text.p, *end = text.p + text.n;

    buf_char(b, '"');
    while (p < end) {
        const char *special = skip_plain(p, end);
        const char *del = memchr(p, 0x7f, (size_t)(special - p));
        if (del != NULL)
            special = del;
        buf_add(b, p, (size_t)(special - p));
        p = special;
        if (p < end)
            p += quote_special(b, p, end);
    }
    buf_char(b, '"');
}

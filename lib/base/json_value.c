/*
 * Reading what the scanner has accepted, and writing strings. Nothing here reports errors: with
 * bytes that were never checked the results mean little, but every step stays inside the span and
 * advances.
 */
#include "base/json_priv.h"

#define REPLACEMENT 0xfffd

/* ----------------------------------------------------------------------------------- characters */

/* The value of the four hexadecimal digits at *p; or -1, with *p at the first byte that is not a
   digit. */
static int32_t hex4(const byte **p, const byte *end)
{
    int32_t code = 0;

    for (int i = 0; i < 4; i++, (*p)++) {
        byte letter;

        if (*p == end)
            return -1;
        letter = **p | 0x20;
        if (js_is_digit(**p))
            code = code << 4 | (**p - '0');
        else if (letter >= 'a' && letter <= 'f')
            code = code << 4 | (letter - 'a' + 10);
        else
            return -1;
    }
    return code;
}

/* The second half of a surrogate pair (RFC 8259, section 7), or -1. */
static int32_t low_half(const byte *p, const byte *end)
{
    int32_t code;

    if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
        return -1;
    p += 2;
    code = hex4(&p, end);
    return code >= 0xdc00 && code <= 0xdfff ? code : -1;
}

const byte *js_unescape(const byte *p, const byte *end, int32_t *code)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char *name;
    int32_t low;

    *code = JS_BAD_ESCAPE;
    if (++p == end)
        return p;
    if (*p != 'u') {
        name = memchr(names, *p, sizeof names - 1);
        if (name == NULL)
            return p;
        *code = meanings[name - names];
        return p + 1;
    }
    p++;
    *code = hex4(&p, end);
    if (*code < 0xd800 || *code > 0xdfff)
        return p;
    low = *code <= 0xdbff ? low_half(p, end) : -1;
    if (low < 0) {
        *code = JS_UNPAIRED;
        return p;
    }
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return p + 6;
}

static void add_code(struct buf *b, uint32_t code)
{
    char out[4];
    size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    for (size_t i = n; --i > 0; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(n == 1 ? code : (0xf00u >> n & 0xf0) | code);
    buf_add(b, out, n);
}

struct str js_decode(const byte *p, const byte *end, struct buf *into)
{
    size_t start = into->n;

    buf_need(into, (size_t)(end - p));
    while (p < end) {
        const byte *next = memchr(p, '\\', (size_t)(end - p));
        int32_t code;

        if (next == NULL)
            next = end;
        buf_add(into, p, (size_t)(next - p));
        p = next;
        if (p < end) {
            p = js_unescape(p, end, &code);
            add_code(into, code < 0 ? REPLACEMENT : (uint32_t)code);
        }
    }
    return (struct str){into->p + start, into->n - start};
}

size_t js_utf8(struct str text)
{
    const byte *p = (const byte *)text.p, *end;
    size_t n = 1;

    if (text.n == 0)
        return 0;
    end = p + text.n;
    while (n > 0 && (p = js_plain(p, end)) < end) {
        n = utf8_length(p, end);
        p += n;
    }
    return (size_t)(p - (const byte *)text.p);
}

/* --------------------------------------------------------------------------------------- values */

enum js_kind js_kind(struct str value)
{
    switch (value.n == 0 ? '\0' : value.p[0]) {
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

struct str js_string(struct str value, struct buf *into)
{
    struct str inside = {value.p, 0};

    if (value.n < 2)
        return inside;
    inside = (struct str){value.p + 1, value.n - 2};
    if (memchr(inside.p, '\\', inside.n) == NULL)
        return inside;
    return js_decode((const byte *)inside.p, (const byte *)inside.p + inside.n, into);
}

bool js_integer(struct str value, int64_t *out)
{
    bool negative = value.n > 0 && value.p[0] == '-';
    uint64_t most = (uint64_t)INT64_MAX + negative, n = 0;

    if (value.n == negative)
        return false;
    for (size_t i = negative; i < value.n; i++) {
        unsigned digit = (unsigned)(value.p[i] - '0');

        if (digit > 9 || n > (most - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *out = negative && n > 0 ? -(int64_t)(n - 1) - 1 : (int64_t)n;
    return true;
}

/* What follows the string whose opening quote is at p. */
static const byte *string_end(const byte *p, const byte *end)
{
    for (p++; p < end && *p != '"'; p = js_plain(p, end))
        p += *p == '\\' && end - p > 1 ? 2 : 1;
    return p < end ? p + 1 : end;
}

/* What follows the value at p. */
static const byte *value_end(const byte *p, const byte *end)
{
    size_t depth = 0;

    if (p < end && *p != '"' && *p != '{' && *p != '[') {
        while (p<end && * p> ' ' && *p != ',' && *p != ']' && *p != '}')
            p++;
        return p;
    }
    while (p < end) {
        byte c = *p;

        p = c == '"' ? string_end(p, end) : p + 1;
        if (c == '{' || c == '[')
            depth++;
        else if (depth > 0 && (c == '}' || c == ']'))
            depth--;
        if (depth == 0)
            break;
    }
    return p;
}

bool js_each(struct str value, size_t *at, struct str *key, struct str *item)
{
    const byte *start = (const byte *)value.p, *p, *end, *next;
    bool object = js_kind(value) == JS_OBJECT;

    if (!object && js_kind(value) != JS_ARRAY)
        return false;
    end = start + value.n;
    p = js_space(start + (*at == 0 ? 1 : *at), end);
    if (p < end && *p == ',' && *at > 0)
        p = js_space(p + 1, end);
    if (p == end || *p == '}' || *p == ']')
        return false;
    *key = (struct str){NULL, 0};
    if (object) {
        next = value_end(p, end);
        *key = (struct str){(const char *)p, (size_t)(next - p)};
        p = js_space(next, end);
        p = js_space(p < end && *p == ':' ? p + 1 : p, end);
    }
    next = value_end(p, end);
    *item = (struct str){(const char *)p, (size_t)(next - p)};
    *at = (size_t)(next - start);
    return next > p;
}

/* The member of object whose key, decoded, is name. */
static struct str member(struct str object, struct str name)
{
    struct buf decoded = BUF_INIT;
    struct str key, item, found = {NULL, 0};

    if (js_kind(object) != JS_OBJECT)
        return found;
    for (size_t at = 0; found.p == NULL && js_each(object, &at, &key, &item);) {
        buf_reset(&decoded);
        if (str_eq(js_string(key, &decoded), name))
            found = item;
    }
    buf_free(&decoded);
    return found;
}

struct str js_get(struct str object, const char *key)
{
    return member(object, str_of(key));
}

/* -------------------------------------------------------------------------- pointers (RFC 6901) */

int js_pointer_check(const char *pointer, struct err *e)
{
    struct str text = str_of(pointer);
    const char *reason = NULL;

    if (*pointer != '\0' && *pointer != '/')
        reason = "does not begin with \"/\"";
    else if (js_utf8(text) < text.n)
        reason = "is not UTF-8";
    for (const char *p = pointer; reason == NULL && (p = strchr(p, '~')) != NULL; p++)
        if (p[1] != '0' && p[1] != '1')
            reason = "has a \"~\" that is neither \"~0\" nor \"~1\"";
    if (reason == NULL)
        return 0;
    return err_set(e, EX_USAGE, "%s is not a JSON pointer: it %s", err_quote_text(pointer).text,
                   reason);
}

/* The item with this index: digits without leading zeros (section 4). */
static struct str element(struct str array, struct str index)
{
    struct str key, item;
    int64_t left;

    if (index.n == 0 || index.p[0] == '-' || (index.n > 1 && index.p[0] == '0') ||
        !js_integer(index, &left))
        return (struct str){NULL, 0};
    for (size_t at = 0; js_each(array, &at, &key, &item); left--)
        if (left == 0)
            return item;
    return (struct str){NULL, 0};
}

/* One step of a pointer; token is the text between two slashes. */
static struct str pointer_step(struct str value, struct str token)
{
    struct buf name = BUF_INIT;
    struct str found;

    if (js_kind(value) == JS_ARRAY)
        return element(value, token);
    if (memchr(token.p, '~', token.n) == NULL)
        return member(value, token);
    for (size_t i = 0; i < token.n; i++) {
        bool escape = token.p[i] == '~' && i + 1 < token.n;

        i += escape;
        buf_char(&name, !escape ? token.p[i] : token.p[i] == '1' ? '/' : '~');
    }
    found = member(value, (struct str){name.p, name.n});
    buf_free(&name);
    return found;
}

struct str js_pointer(struct str value, const char *pointer)
{
    while (value.p != NULL && *pointer == '/') {
        size_t n = strcspn(++pointer, "/");

        value = pointer_step(value, (struct str){pointer, n});
        pointer += n;
    }
    return *pointer == '\0' ? value : (struct str){NULL, 0};
}

/* -------------------------------------------------------------------------------------- writing */

/* Append an ASCII character that must be escaped in a string. */
static void quote_ascii(struct buf *b, byte c)
{
    static const char codes[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
    const char *code = c == 0 ? NULL : strchr(codes, c);

    if (code != NULL) {
        buf_char(b, '\\');
        buf_char(b, names[code - codes]);
    } else {
        buf_printf(b, "\\u%04x", (unsigned)c);
    }
}

/* Append an escape; RFC 8259, section 7: above U+FFFF as two surrogates. */
static void quote_code(struct buf *b, uint32_t code)
{
    if (code > 0xffff) {
        buf_printf(b, "\\u%04x", (unsigned)(0xd7c0 + (code >> 10)));
        code = 0xdc00 + (code & 0x3ff);
    }
    buf_printf(b, "\\u%04x", (unsigned)code);
}

void js_quote(struct buf *b, struct str text)
{
    const byte *p = (const byte *)(text.n == 0 ? "" : text.p), *end = p + text.n;

    buf_need(b, text.n + 2);
    buf_char(b, '"');
    while (p < end) {
        const byte *start = p;
        size_t n;

        while (p < end && *p >= 0x20 && *p < 0x7f && *p != '"' && *p != '\\')
            p++;
        buf_add(b, start, (size_t)(p - start));
        if (p == end)
            break;
        n = utf8_length(p, end);
        if (n == 1)
            quote_ascii(b, *p);
        else if (n == 0)
            add_code(b, REPLACEMENT);
        else if (utf8_steers(utf8_code(p, n)))
            quote_code(b, utf8_code(p, n));
        else
            buf_add(b, p, n);
        p += n == 0 ? 1 : n;
    }
    buf_char(b, '"');
}

void js_show(struct buf *b, struct str json)
{
    const byte *p = (const byte *)(json.n == 0 ? "" : json.p), *end = p + json.n;

    buf_need(b, json.n);
    while (p < end) {
        size_t n = utf8_length(p, end);
        if (n > 0 && !utf8_steers(utf8_code(p, n)))
            buf_add(b, p, n);
        else if (*p < 0x20) /* between values */
            buf_char(b, ' ');
        else if (n > 0)
            quote_code(b, utf8_code(p, n));
        else
            add_code(b, REPLACEMENT);
        p += n == 0 ? 1 : n;
    }
}

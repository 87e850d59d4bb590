#include "base/json_tree.h"

#include "base/clock.h"
#include "base/json.h"

#include <stdlib.h>

json_t *tree_text(struct str text)
{
    if (text.p == NULL)
        return json_null();

    json_t *value = json_stringn(text.p, text.n);
    if (value != NULL)
        return value;
    struct buf mended = BUF_INIT; /* what a program wrote to stderr need not be UTF-8 */
    while (text.n > 0) {
        size_t n = js_utf8(text);
        buf_add(&mended, text.p, n);
        if (n < text.n)
            buf_puts(&mended, "\xef\xbf\xbd"); /* U+FFFD for each invalid byte */
        n += n < text.n;
        text.p += n;
        text.n -= n;
    }
    value = json_stringn(mended.p, mended.n);
    buf_free(&mended);
    return value;
}

json_t *tree_time(int64_t ms)
{
    char text[CLOCK_TEXT_SIZE];

    return ms == 0 ? json_null() : json_string(clock_format(text, ms));
}

/* 15 digits if they are enough to read back the same number, else 17. */
static void add_real(struct buf *b, double value)
{
    size_t start = b->n;

    buf_printf(b, "%.15g", value);
    if (strtod(buf_text(b) + start, NULL) != value) {
        b->n = start;
        buf_printf(b, "%.17g", value);
    }
}

static void add_members(struct buf *b, json_t *object)
{
    const char *key, *comma = "";
    json_t *item;

    buf_char(b, '{');
    json_object_foreach (object, key, item) {
        buf_puts(b, comma);
        js_quote(b, str_of(key));
        buf_char(b, ':');
        tree_print(b, item);
        comma = ",";
    }
    buf_char(b, '}');
}

void tree_print(struct buf *b, json_t *value)
{
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        add_members(b, value);
        break;
    case JSON_ARRAY:
        buf_char(b, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i > 0)
                buf_char(b, ',');
            tree_print(b, json_array_get(value, i));
        }
        buf_char(b, ']');
        break;
    case JSON_STRING:
        js_quote(b, (struct str){json_string_value(value), json_string_length(value)});
        break;
    case JSON_INTEGER:
        buf_int(b, json_integer_value(value));
        break;
    case JSON_REAL:
        add_real(b, json_real_value(value));
        break;
    default:
        buf_puts(b, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
        break;
    }
}

/*
 * json_priv: the characters of JSON text; shared by json.c, which checks a line, and json_value.c,
 * which reads what was checked. No other file includes this.
 *
 * Text is searched eight bytes at a time. Loads go through memcpy and stay inside the span: the
 * last few bytes are searched one by one.
 */
#ifndef BASE_JSON_PRIV_H
#define BASE_JSON_PRIV_H

#include "base/json.h"
#include "base/utf8.h"

#include <endian.h>
#include <string.h>

typedef unsigned char byte;

/* What js_unescape returns in *code instead of a character. */
enum { JS_BAD_ESCAPE = -1, JS_UNPAIRED = -2 };

/* Decode the escape at p, which points to a backslash; returns where the text continues. *code is
   the character, or one of the above; for JS_BAD_ESCAPE the result points to the wrong byte, or is
   end. The result is always beyond p. */
const byte *js_unescape(const byte *p, const byte *end, int32_t *code);

/* Decode the text between a string's quotes and append it; decoded, it is never longer. */
struct str js_decode(const byte *p, const byte *end, struct buf *into);

static inline const byte *js_space(const byte *p, const byte *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

static inline bool js_is_digit(byte c)
{
    return c >= '0' && c <= '9';
}

/*
 * The first byte in p..end that is special in a string: a quote, a backslash, a control character,
 * or anything beyond ASCII. Each of these has its high bit set in x or after one of the three
 * subtractions; a borrow can spoil only the bytes above it, so the lowest mark is right.
 */
static inline const byte *js_plain(const byte *p, const byte *end)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);

    for (; end - p >= 8; p += 8) {
        uint64_t x, marks;

        memcpy(&x, p, sizeof x);
        x = le64toh(x);
        marks = (x - ones * 0x20) | ((x ^ ones * '"') - ones) | ((x ^ ones * '\\') - ones);
        marks &= ones * 0x80;
        if (marks != 0)
            return p + (__builtin_ctzll(marks) >> 3);
    }
    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return p;
}

#endif

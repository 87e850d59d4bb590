/*
 * utf8: one character of UTF-8 (RFC 3629), and whether it is safe to show.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool utf8_continues(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Length of the valid UTF-8 character at p < end; 0 if it is not valid (RFC 3629, section 4). */
static inline size_t utf8_length(const unsigned char *p, const unsigned char *end)
{
    ptrdiff_t n = end - p;
    unsigned char c = p[0];

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4 || n < 2 || !utf8_continues(p[1]))
        return 0;
    if (c < 0xe0)
        return 2;
    if (n < 3 || !utf8_continues(p[2]))
        return 0;
    if (c < 0xf0) /* neither overlong nor a surrogate */
        return (c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ? 0 : 3;
    if (n < 4 || !utf8_continues(p[3]))
        return 0;
    return (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f) ? 0 : 4;
}

/* The code point of the valid character of n bytes at p. */
static inline uint32_t utf8_code(const unsigned char *p, size_t n)
{
    uint32_t code = n == 1 ? p[0] : p[0] & (0x7fu >> n);

    for (size_t i = 1; i < n; i++)
        code = code << 6 | (p[i] & 0x3fu);
    return code;
}

/* Could the character steer a terminal, break the line, or change the reading order? True for
   controls, marks and overrides of direction, line and paragraph separators, and noncharacters. */
static inline bool utf8_steers(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
           (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

#endif

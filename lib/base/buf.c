#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct str str_of(const char *text)
{
    return (struct str){text, text == NULL ? 0 : strlen(text)};
}

bool str_eq(struct str a, struct str b)
{
    if (a.p == NULL || b.p == NULL)
        return a.p == b.p;
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

bool str_is(struct str a, const char *text)
{
    return str_eq(a, str_of(text));
}

struct str str_trim(struct str text, const char *chars)
{
    size_t n = strlen(chars);

    while (text.n > 0 && memchr(chars, text.p[text.n - 1], n) != NULL)
        text.n--;
    while (text.n > 0 && memchr(chars, *text.p, n) != NULL) {
        text.p++;
        text.n--;
    }
    return text;
}

size_t str_distance(struct str a, struct str b)
{
    size_t width = b.n + 1, result;
    size_t *rows = mem_zero(3 * width, sizeof *rows);
    size_t *before = rows, *above = rows + width, *now = above + width;

    for (size_t j = 0; j <= b.n; j++)
        above[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t *spare = before;

        now[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t best = above[j - 1] + (a.p[i - 1] != b.p[j - 1]);

            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] &&
                before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        before = above;
        above = now;
        now = spare;
    }
    result = above[b.n];
    free(rows);
    return result;
}

void buf_need(struct buf *b, size_t more)
{
    size_t want;

    if (more < b->room - b->n) /* room - n counts the byte for the NUL */
        return;
    if (more > SIZE_MAX / 4 || b->n > SIZE_MAX / 4)
        mem_grow(NULL, SIZE_MAX, 2); /* ends the process */
    want = b->n + more + 1;
    if (want < b->room + b->room / 2)
        want = b->room + b->room / 2;
    if (want < 64)
        want = 64;
    b->p = mem_grow(b->p, want, 1);
    b->room = want;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n == 0)
        return;
    buf_need(b, n);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void buf_str(struct buf *b, struct str s)
{
    buf_add(b, s.p, s.n);
}

void buf_puts(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_char(struct buf *b, char c)
{
    buf_need(b, 1);
    b->p[b->n++] = c;
}

void buf_int(struct buf *b, int64_t value)
{
    char digits[20], *p = digits + sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

    do
        *--p = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (value < 0)
        *--p = '-';
    buf_add(b, p, (size_t)(digits + sizeof digits - p));
}

void buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;
    int n;

    va_copy(again, args);
    buf_need(b, 64);
    n = vsnprintf(b->p + b->n, b->room - b->n, format, args);
    if (n > 0 && (size_t)n >= b->room - b->n) {
        buf_need(b, (size_t)n);
        n = vsnprintf(b->p + b->n, b->room - b->n, format, again);
    }
    if (n > 0)
        b->n += (size_t)n;
    va_end(again);
}

void buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(b, format, args);
    va_end(args);
}

void buf_splice(struct buf *b, size_t at, size_t cut, const void *p, size_t n)
{
    if (n > cut)
        buf_need(b, n - cut);
    if (b->n > at + cut)
        memmove(b->p + at + n, b->p + at + cut, b->n - at - cut);
    if (n > 0)
        memcpy(b->p + at, p, n);
    b->n = b->n - cut + n;
}

const char *buf_text(struct buf *b)
{
    if (b->p == NULL)
        return "";
    b->p[b->n] = '\0';
    return b->p;
}

void buf_reset(struct buf *b)
{
    b->n = 0;
}

void buf_shrink(struct buf *b, size_t keep)
{
    if (b->room > keep)
        buf_free(b);
    b->n = 0;
}

void buf_free(struct buf *b)
{
    free(b->p);
    *b = (struct buf)BUF_INIT;
}

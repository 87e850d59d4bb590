/*
 * Escaping happens twice on purpose: texts are made harmless when they enter a struct err, because
 * they are also stored as reasons, and again when a message is written. The escapes are plain ASCII
 * and a backslash is not escaped, so the second pass changes nothing.
 */
#include "base/err.h"

#include "base/mem.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define QUOTE_MAX 80 /* characters of a quoted value */
#define PIECE_MAX 10 /* bytes of one escaped character: \u{10fffe} */

/* Write the first character of p to out, made safe to show. Returns how many bytes of p it used. */
static size_t escape_one(const char *p, size_t n, char out[PIECE_MAX + 1], size_t *out_n)
{
    const unsigned char *at = (const unsigned char *)p;
    size_t len = utf8_length(at, at + n);
    uint32_t c = len == 0 ? 0 : utf8_code(at, len);
    int wrote;

    if (len > 0 && !utf8_steers(c)) {
        memcpy(out, p, len);
        *out_n = len;
        return len;
    }
    if (len == 0)
        wrote = snprintf(out, PIECE_MAX + 1, "\\x%02x", at[0]);
    else if (c == '\n' || c == '\t' || c == '\r')
        wrote = snprintf(out, PIECE_MAX + 1, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    else if (c < 0x80)
        wrote = snprintf(out, PIECE_MAX + 1, "\\x%02x", (unsigned)c);
    else if (c <= 0xffff)
        wrote = snprintf(out, PIECE_MAX + 1, "\\u%04x", (unsigned)c);
    else
        wrote = snprintf(out, PIECE_MAX + 1, "\\u{%x}", (unsigned)(c & 0x1fffff));
    *out_n = (size_t)wrote;
    return len > 0 ? len : 1;
}

void err_escape(struct buf *b, const char *p, size_t n)
{
    char piece[PIECE_MAX + 1];
    size_t plain, piece_n;

    while (n > 0) {
        for (plain = 0; plain < n && p[plain] >= 0x20 && p[plain] < 0x7f; plain++)
            ;
        buf_add(b, p, plain);
        p += plain;
        n -= plain;
        if (n > 0) {
            size_t took = escape_one(p, n, piece, &piece_n);
            buf_add(b, piece, piece_n);
            p += took;
            n -= took;
        }
    }
}

struct err_quoted err_quote(const char *p, size_t n)
{
    static const char more[] = "…\"";
    struct err_quoted q;
    char piece[PIECE_MAX + 1];
    size_t out = 0, piece_n;

    q.text[out++] = '"';
    for (int characters = 0; n > 0; characters++) {
        size_t took = escape_one(p, n, piece, &piece_n);
        if (characters == QUOTE_MAX || out + piece_n + sizeof more > sizeof q.text) {
            memcpy(q.text + out, more, sizeof more);
            return q;
        }
        memcpy(q.text + out, piece, piece_n);
        out += piece_n;
        p += took;
        n -= took;
    }
    memcpy(q.text + out, "\"", 2);
    return q;
}

struct err_quoted err_quote_text(const char *text)
{
    return err_quote(text, text == NULL ? 0 : strlen(text));
}

/* Store raw in e->text, escaped and, if it is too long, cut between characters. */
static void keep(struct err *e, const struct buf *raw)
{
    static const char more[] = "…";
    struct buf safe = BUF_INIT;
    size_t n;

    err_escape(&safe, raw->p, raw->n);
    n = safe.n;
    if (n >= sizeof e->text) {
        n = sizeof e->text - sizeof more;
        while (n > 0 && (safe.p[n] & 0xc0) == 0x80)
            n--;
        buf_splice(&safe, n, safe.n - n, more, sizeof more - 1);
        n = safe.n;
    }
    memcpy(e->text, buf_text(&safe), n + 1);
    buf_free(&safe);
}

/* Fill in e with the text, followed by ": " and more (NULL: nothing). */
static void fill(struct err *e, int status, const char *format, va_list args, const char *more)
{
    struct buf raw = BUF_INIT;

    buf_vprintf(&raw, format, args);
    if (more != NULL)
        buf_printf(&raw, ": %s", more);
    e->status = status;
    keep(e, &raw);
    buf_free(&raw);
}

int err_set(struct err *e, int status, const char *format, ...)
{
    va_list args;

    if (e->status != 0)
        return -1;
    va_start(args, format);
    fill(e, status != 0 ? status : EX_SOFTWARE, format, args, NULL);
    va_end(args);
    return -1;
}

static int status_of(int number)
{
    switch (number) {
    case ENOENT:
        return EX_NOINPUT;
    case EACCES:
    case EPERM:
        return EX_NOPERM;
    case ENOMEM:
    case EAGAIN:
    case EMFILE:
        return EX_OSERR;
    default:
        return EX_IOERR;
    }
}

int err_errno(struct err *e, int status, const char *format, ...)
{
    int number = errno;
    va_list args;

    if (e->status != 0)
        return -1;
    va_start(args, format);
    fill(e, status != 0 ? status : status_of(number), format, args, strerror(number));
    va_end(args);
    errno = number;
    return -1;
}

int err_config(struct err *e)
{
    if (e->status >= EX_USAGE && e->status <= EX_NOINPUT)
        e->status = EX_CONFIG;
    return -1;
}

int err_at(struct err *e, const char *format, ...)
{
    struct buf raw = BUF_INIT;
    va_list args;

    va_start(args, format);
    buf_vprintf(&raw, format, args);
    va_end(args);
    buf_puts(&raw, e->text);
    keep(e, &raw);
    buf_free(&raw);
    return -1;
}

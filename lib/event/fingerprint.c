#include "event/fingerprint.h"

#include <stdbool.h>
#include <string.h>

#define LENGTH_MAX 200

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* A character of a word. Colons, dots, hyphens and the like join two of these, and end no word. */
static bool is_word(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static size_t word_length(const char *p, const char *end)
{
    const char *at = p;

    while (at < end) {
        bool joins = strchr(".:-/+", *at) != NULL && at > p && at + 1 < end && is_word(at[1]);
        if (!is_word(*at) && !joins)
            break;
        at++;
    }
    return (size_t)(at - p);
}

static void add_word(struct buf *out, const char *p, size_t n)
{
    size_t digits = 0;

    for (size_t i = 0; i < n; i++)
        digits += is_digit(p[i]);
    if (digits == n)
        buf_char(out, 'N');
    else if (digits > 0)
        buf_puts(out, "ID");
    else
        buf_add(out, p, n);
}

/* The first line that is not blank. */
static struct str first_line(struct str said)
{
    while (said.n > 0 && (*said.p == '\n' || *said.p == ' ' || *said.p == '\t')) {
        said.p++;
        said.n--;
    }
    const char *newline = said.n == 0 ? NULL : memchr(said.p, '\n', said.n);
    return newline == NULL ? said : (struct str){said.p, (size_t)(newline - said.p)};
}

void fingerprint(struct buf *out, struct str said)
{
    struct str line = first_line(said);
    const char *p = line.p, *end = line.p + line.n, *close;
    size_t begin = out->n;

    while (p < end && out->n - begin < LENGTH_MAX) {
        size_t n = word_length(p, end);
        if (n > 0) {
            add_word(out, p, n);
            p += n;
        } else if (*p == '"' && (close = memchr(p + 1, '"', (size_t)(end - p) - 1)) != NULL) {
            buf_puts(out, "\"…\"");
            p = close + 1;
        } else {
            buf_char(out, *p++);
        }
    }
    if (out->n - begin > LENGTH_MAX)
        out->n = begin + LENGTH_MAX;
}

/* The sections of a projection's file. A NUL takes the place of the newline before a heading. */
#include "project/rules.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/sha1.h"
#include "cli/lines.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SIZE_LIMIT (16 << 20)
#define BLANK " \t\r,"

static void add_section(struct rules *r, enum rules_kind kind, int64_t line)
{
    r->section = mem_grow(r->section, r->n + 1, sizeof *r->section);
    r->section[r->n++] = (struct rules_section){.kind = kind, .line = line, .at = r->text.n};
}

/* The text behind "-- @" at the beginning of a line, or NULL. */
static const char *heading(const char *line)
{
    line += strspn(line, BLANK);
    if (strncmp(line, "--", 2) != 0)
        return NULL;
    line += 2 + strspn(line + 2, BLANK);
    return *line == '@' ? line + 1 : NULL;
}

/* "=Mail Wanted" is one pattern: it ends with the line, but for blanks. */
static size_t line_end(const char *words)
{
    size_t n = strlen(words);

    while (n > 0 && strchr(BLANK, words[n - 1]) != NULL)
        n--;
    return n;
}

static int add_types(struct rules *r, const char *words, struct err *e)
{
    struct rules_section *section = &r->section[r->n - 1];

    for (words += strspn(words, BLANK); *words != '\0'; words += strspn(words, BLANK)) {
        size_t n = *words == '=' ? line_end(words) : strcspn(words, BLANK);
        char *pattern = mem_dup(words, n);
        int got =
            pattern_add(&section->types, pattern, e) < 0 || pattern_add(&r->types, pattern, e) < 0;
        free(pattern);
        if (got) {
            e->status = EX_DATAERR; /* a wrong pattern in a file is not wrong usage */
            return -1;
        }
        words += n;
    }
    return section->types.n > 0 ? 0 : err_set(e, EX_DATAERR, "\"@on\" needs a type");
}

static int open_section(struct rules *r, const char *words, int64_t line, struct err *e)
{
    size_t n = strcspn(words, BLANK);
    const char *rest = words + n + strspn(words + n, BLANK);
    bool init = n == 4 && strncmp(words, "init", 4) == 0;

    if (!init && (n != 2 || strncmp(words, "on", 2) != 0))
        return err_set(e, EX_DATAERR, "no section is called %s: there are @init and @on TYPE...",
                       err_quote(words - 1, n + 1).text);
    if (init && *rest != '\0')
        return err_set(e, EX_DATAERR, "\"@init\" takes no type");
    add_section(r, init ? RULES_INIT : RULES_ON, line + 1);
    return init ? 0 : add_types(r, rest, e);
}

static int add_line(struct rules *r, struct str line, int64_t number, struct err *e)
{
    if (memchr(line.p, '\0', line.n) != NULL)
        return err_set(e, EX_DATAERR, "NUL byte");
    if (js_utf8(line) != line.n)
        return err_set(e, EX_DATAERR, "invalid UTF-8");
    if (r->text.n + line.n > SIZE_LIMIT)
        return err_set(e, EX_DATAERR, "a file of more than %d MiB", SIZE_LIMIT >> 20);
    char *text = mem_dup(line.p, line.n);
    const char *words = heading(text);
    int got = 0;
    if (words != NULL) {
        buf_char(&r->text, '\0');
        got = open_section(r, words, number, e);
    } else {
        buf_str(&r->text, line);
        buf_char(&r->text, '\n');
    }
    free(text);
    return got;
}

static void hash_line(struct sha1 *hash, const struct line *line)
{
    sha1_add(hash, line->text.p, line->text.n);
    sha1_add(hash, "\n", line->newline ? 1 : 0);
}

static int read_lines(struct rules *r, struct lines *in, struct err *e)
{
    unsigned char digest[20];
    struct sha1 hash;
    struct line line;
    int got;

    sha1_init(&hash);
    while ((got = lines_next(in, &line, e)) > 0) {
        if (got == LINES_TOO_LONG)
            err_set(e, EX_DATAERR, "longer than %d MiB", SIZE_LIMIT >> 20);
        else
            hash_line(&hash, &line);
        if (got == LINES_TOO_LONG || add_line(r, line.text, line.number, e) < 0)
            return err_at(e, "%s: line %" PRId64 ": ", r->file, line.number);
    }
    sha1_end(&hash, digest);
    for (int i = 0; i < 20; i++) {
        r->hash[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        r->hash[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    return got;
}

int rules_read(struct rules *r, const char *file, struct err *e)
{
    struct lines *in = NULL;

    *r = (struct rules)RULES_NONE;
    r->file = mem_dup(file, strlen(file));
    add_section(r, RULES_HEAD, 1);
    int got = lines_open(&in, file, SIZE_LIMIT, e);
    if (got == 0)
        got = read_lines(r, in, e);
    lines_close(in);
    buf_char(&r->text, '\0');
    for (size_t i = 0; i < r->n; i++)
        r->section[i].sql = r->text.p + r->section[i].at;
    if (got == 0 && r->types.n == 0)
        got = err_set(e, EX_DATAERR, "%s: has no section \"-- @on TYPE\"", file);
    return got;
}

void rules_free(struct rules *r)
{
    for (size_t i = 0; i < r->n; i++)
        pattern_free(&r->section[i].types);
    pattern_free(&r->types);
    free(r->section);
    free(r->file);
    buf_free(&r->text);
    *r = (struct rules)RULES_NONE;
}

char *rules_name(const char *file)
{
    const char *base = strrchr(file, '/') == NULL ? file : strrchr(file, '/') + 1;
    size_t n = strlen(base);

    if (n > 4 && strcmp(base + n - 4, ".sql") == 0)
        n -= 4;
    return mem_dup(base, n);
}

#include "event/pattern.h"

#include "base/mem.h"
#include "base/name.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool wild(char c)
{
    return c == '*' || c == '#';
}

/* Why text is not words separated by dots; NULL if it is. */
static const char *words_wrong(const char *text, bool wildcards)
{
    for (const char *c = text; *c != '\0'; c++) {
        bool starts = c == text || c[-1] == '.', ends = c[1] == '.' || c[1] == '\0';

        if (*c == ' ')
            return "a space in it";
        if (*c == '.' && (starts || ends))
            return "an empty word in it";
        if (wild(*c) && !wildcards)
            return "* and # stand for words in patterns";
        if (wild(*c) && !(starts && ends))
            return "* and # stand for whole words, as in order.*";
    }
    return NULL;
}

/* The exact type that a pattern with "=" names, or NULL. */
static const char *exact(const char *pattern)
{
    return pattern[0] == '=' ? pattern + 1 : NULL;
}

int pattern_check(const char *pattern, struct err *e)
{
    const char *why;

    if (exact(pattern) != NULL)
        return name_check("wants a type behind =; it", str_of(exact(pattern)), NAME_TEXT_BYTES, e);
    if (name_check("wants a pattern; it", str_of(pattern), NAME_TEXT_BYTES, e) < 0)
        return -1;
    if ((why = words_wrong(pattern, true)) != NULL)
        return err_set(e, EX_USAGE,
                       "wants a pattern like order.* or #, not %s: %s; =TYPE names a type as it is",
                       err_quote_text(pattern).text, why);
    return 0;
}

int pattern_type(const char *type, struct err *e)
{
    const char *why;

    if (name_check("wants a type; it", str_of(type), NAME_TEXT_BYTES, e) < 0)
        return -1;
    if ((why = words_wrong(type, false)) != NULL)
        return err_set(e, EX_USAGE, "wants a type like order.placed, not %s: %s",
                       err_quote_text(type).text, why);
    return 0;
}

/* Where the word at position at ends: at a dot or at the end. */
static size_t word_end(struct str s, size_t at)
{
    const char *dot = at < s.n ? memchr(s.p + at, '.', s.n - at) : NULL;

    return dot != NULL ? (size_t)(dot - s.p) : s.n;
}

/*
 * Compares word by word; a position above n means that no word is left. On a mismatch the last "#"
 * takes one more word. Earlier "#" need not take more: the last one can take those words as well.
 */
static bool words_match(struct str pattern, struct str type)
{
    size_t p = 0, t = 0, hash = SIZE_MAX, taken = 0;

    while (t <= type.n) {
        size_t p_end = 0, t_end = word_end(type, t);
        bool one = false;

        if (p <= pattern.n) {
            p_end = word_end(pattern, p);
            if (p_end == p + 1 && pattern.p[p] == '#') {
                p = hash = p_end + 1;
                taken = t;
                if (p > pattern.n)
                    return true;
                continue;
            }
            one = (p_end == p + 1 && pattern.p[p] == '*') ||
                  (p_end - p == t_end - t && memcmp(pattern.p + p, type.p + t, p_end - p) == 0);
        }
        if (one) {
            p = p_end + 1;
            t = t_end + 1;
        } else if (hash != SIZE_MAX) {
            t = taken = word_end(type, taken) + 1;
            p = hash;
        } else {
            return false;
        }
    }
    for (; p <= pattern.n; p = word_end(pattern, p) + 1)
        if (word_end(pattern, p) != p + 1 || pattern.p[p] != '#')
            return false;
    return true;
}

bool pattern_match(const char *pattern, struct str type)
{
    struct str p = str_of(pattern);

    if (type.p == NULL)
        return false;
    if (exact(pattern) != NULL)
        return str_is(type, exact(pattern));
    if (wild(pattern[0]) && type.n >= 4 && memcmp(type.p, "sys.", 4) == 0)
        return false;
    if (p.n == 1 && pattern[0] == '#')
        return true;
    if (p.n == type.n && memcmp(pattern, type.p, p.n) == 0)
        return true;
    return words_match(p, type);
}

int pattern_add(struct pattern_list *list, const char *pattern, struct err *e)
{
    if (pattern_check(pattern, e) < 0)
        return -1;
    const char **item = mem_grow((void *)(uintptr_t)list->item, list->n + 1, sizeof *item);
    item[list->n++] = mem_dup(pattern, strlen(pattern));
    list->item = item;
    return 0;
}

bool pattern_any(const struct pattern_list *list, struct str type)
{
    if (list->n == 0)
        return pattern_match("#", type);
    for (size_t i = 0; i < list->n; i++)
        if (pattern_match(list->item[i], type))
            return true;
    return false;
}

static bool within(const struct pattern_list *a, const struct pattern_list *b)
{
    for (size_t i = 0; i < a->n; i++) {
        size_t j = 0;

        while (j < b->n && strcmp(a->item[i], b->item[j]) != 0)
            j++;
        if (j == b->n)
            return false;
    }
    return true;
}

bool pattern_same(const struct pattern_list *a, const struct pattern_list *b)
{
    static const char *const one[] = {"#"};
    static const struct pattern_list everything = {one, 1};

    if (a->n == 0)
        a = &everything;
    if (b->n == 0)
        b = &everything;
    return within(a, b) && within(b, a);
}

void pattern_free(struct pattern_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        free((void *)(uintptr_t)list->item[i]);
    free((void *)(uintptr_t)list->item);
    *list = (struct pattern_list){NULL, 0};
}

#include "pattern.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>

#define PATTERN_MAX 1024

static bool wild(char c)
{
    return c == '*' || c == '#';
}

int pattern_check(const char *pattern, struct err *e)
{
    const char *why = NULL;
    size_t n = strlen(pattern);

    if (n == 0)
        return err_set(e, EX_USAGE, "wants a pattern; it is empty (an unset variable?)");
    if (n > PATTERN_MAX)
        why = "longer than 1024 bytes";
    for (size_t i = 0; i < n && why == NULL; i++) {
        const unsigned char *c = (const unsigned char *)pattern + i;
        bool starts = i == 0 || c[-1] == '.', ends = c[1] == '.' || c[1] == '\0';

        if (*c <= 0x20 || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f))
            why = "white space or a control character in it";
        else if (*c == '.' && (starts || ends))
            why = "an empty word in it";
        else if (wild(pattern[i]) && !(starts && ends))
            why = "* and # stand for whole words, as in order.*";
    }
    if (why != NULL)
        return err_set(e, EX_USAGE, "wants a pattern like order.* or #, not %s: %s",
                       err_quote(pattern, n).text, why);
    return 0;
}

/* Where the word at at ends: at a dot or at the end. */
static size_t word_end(struct str s, size_t at)
{
    const char *dot = at < s.n ? memchr(s.p + at, '.', s.n - at) : NULL;

    return dot != NULL ? (size_t)(dot - s.p) : s.n;
}

/*
 * Word by word; a place above n means that there is no word left. On a mismatch the last "#" takes
 * one word more. Earlier ones need not: whatever they could give up, the last one can take.
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
    list->item = mem_grow(list->item, list->n + 1, sizeof *list->item);
    list->item[list->n++] = mem_dup(pattern, strlen(pattern));
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
    static char all[] = "#", *one[] = {all};
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
        free(list->item[i]);
    free(list->item);
    *list = (struct pattern_list){NULL, 0};
}

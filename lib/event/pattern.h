/*
 * pattern: does an event's type match? AMQP 0-9-1's topic patterns (section 3.1.3.3 of the
 * specification): words separated by dots, "*" is exactly one word, "#" zero or more.
 *
 *     order.*     order.placed, not order.item.added
 *     order.#     order, order.placed, order.item.added
 *     =Mail Wanted    that type and no other, whatever it contains
 *
 * The toolkit's own types begin with "sys."; a pattern that begins with a wildcard does not match
 * them, so that "#" means every event of the user's programs. "sys.#" matches the toolkit's own.
 */
#ifndef EVENT_PATTERN_H
#define EVENT_PATTERN_H

#include "base/buf.h"
#include "base/err.h"

/* Is this a pattern? Either it has no empty word, "*" and "#" only as whole words, at most 1,024
   bytes, no space and no control characters; or it is "=" and any type. Returns 0, or -1 with
   status 64. */
int pattern_check(const char *pattern, struct err *e);

/* Is this a type that users may create: the words of a pattern, without "*" and "#"? Events from
   elsewhere may have other types, which a pattern with "=" can name. Returns 0, or -1 with status
   64. */
int pattern_type(const char *type, struct err *e);

/* Takes time at most in proportion to the product of the lengths: no pattern is slow. */
bool pattern_match(const char *pattern, struct str type);

/* Several patterns: a type matches if one of them does. An empty list means "#". */
struct pattern_list {
    const char *const *item; /* of a list that pattern_add has filled: owned, each a C string */
    size_t n;
};

/* Add a copy, checked as by pattern_check. 0 or -1. */
int pattern_add(struct pattern_list *list, const char *pattern, struct err *e);
bool pattern_any(const struct pattern_list *list, struct str type);
bool pattern_same(const struct pattern_list *a, const struct pattern_list *b); /* as sets */
void pattern_free(struct pattern_list *list);

#endif

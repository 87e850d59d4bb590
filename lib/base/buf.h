/*
 * buf: growable bytes, and views of bytes.
 *
 * A struct buf owns its block: zero it to begin (BUF_INIT), buf_free it at the end, buf_reset it
 * to use the block again. p is NULL until something is added; there is always room for the NUL that
 * buf_text puts after the bytes. Adding may move the block, which makes views of it invalid.
 *
 * A struct str is a view of bytes that somebody else owns: no NUL at the end, never freed.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    const char *p; /* NULL: absent, which is not the same as empty */
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})

struct str str_of(const char *text); /* a view of a C string; NULL gives an absent str */
bool str_eq(struct str a, struct str b);
bool str_is(struct str a, const char *text);
/* Without the chars at its ends; blank text becomes empty, not absent. */
struct str str_trim(struct str text, const char *chars);
/* How many letters to add, drop, change or swap with their neighbour to make a into b; used to find
   which of a few names the user meant. Costs a.n * b.n steps. */
size_t str_distance(struct str a, struct str b);

struct buf {
    char *p;
    size_t n, room;
};

/* clang-format off */
#define BUF_INIT {NULL, 0, 0}
/* clang-format on */

void buf_need(struct buf *b, size_t more); /* room for more bytes without another allocation */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_str(struct buf *b, struct str s);
void buf_puts(struct buf *b, const char *text);
void buf_char(struct buf *b, char c);
void buf_int(struct buf *b, int64_t value);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
void buf_splice(struct buf *b, size_t at, size_t cut, const void *p, size_t n); /* replace bytes */
const char *buf_text(struct buf *b);         /* NUL-terminated view, valid until b changes */
void buf_reset(struct buf *b);               /* empty; keeps the block */
void buf_shrink(struct buf *b, size_t keep); /* empty; gives the block back if above keep bytes */
void buf_free(struct buf *b);

#endif

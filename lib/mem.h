/*
 * mem: allocation that cannot return NULL.
 *
 * A process without memory says so and exits 71, which is no worse than a kill, and a kill is
 * something everything here survives. For small and bounded blocks only: a size that comes from
 * input is checked against its limit first. What these return is given back with free(3).
 */
#ifndef MEM_H
#define MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);                           /* uninitialised */
void *mem_zero(size_t count, size_t size);              /* all zero; the product is checked */
void *mem_grow(void *block, size_t count, size_t size); /* realloc; the product is checked */
char *mem_dup(const char *p, size_t n);                 /* a copy with a NUL behind it */

#endif

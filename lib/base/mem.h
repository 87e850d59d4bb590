/*
 * mem: allocation that cannot return NULL.
 *
 * A process that runs out of memory reports that and exits with 71. That is no worse than a kill,
 * and everything here survives a kill. For small and bounded blocks only: check a size that comes
 * from input against its limit first. Release the blocks with free(3).
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);                           /* uninitialised */
void *mem_zero(size_t count, size_t size);              /* all zero; the product is checked */
void *mem_grow(void *block, size_t count, size_t size); /* realloc; the product is checked */
char *mem_dup(const char *p, size_t n);                 /* a copy with a NUL at the end */

/* What to call before that exit, to report it. It may run out of memory itself. */
void mem_when_out(void (*tell)(void));

#endif

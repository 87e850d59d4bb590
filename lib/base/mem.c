#include "base/mem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

static struct {
    void (*tell)(void);
    bool again;
} state;

void mem_when_out(void (*tell)(void))
{
    state.tell = tell;
}

/* The message itself needs a little memory. Without any, print a plain one, which glibc builds
   on the stack. _exit, because work that is half done must stay so, as after a kill. */
static _Noreturn void give_up(void)
{
    if (state.again || state.tell == NULL) {
        (void)dprintf(STDERR_FILENO, "%s: out of memory\n", program_invocation_short_name);
    } else {
        state.again = true;
        state.tell();
    }
    _exit(EX_OSERR);
}

void *mem_alloc(size_t size)
{
    void *block = malloc(size > 0 ? size : 1);

    if (block == NULL)
        give_up();
    return block;
}

void *mem_zero(size_t count, size_t size)
{
    void *block = calloc(count > 0 ? count : 1, size > 0 ? size : 1);

    if (block == NULL)
        give_up();
    return block;
}

void *mem_grow(void *block, size_t count, size_t size)
{
    if (size > 0 && count > SIZE_MAX / size)
        give_up();
    block = realloc(block, count * size > 0 ? count * size : 1);
    if (block == NULL)
        give_up();
    return block;
}

char *mem_dup(const char *p, size_t n)
{
    char *copy;

    if (n == SIZE_MAX)
        give_up();
    copy = mem_alloc(n + 1);
    if (n > 0)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

/*
 * spool: the spool of a test in C, which tests/run names in EVENT_SPOOL: a file, or an address with
 * ENGINE=postgres. Programs that include this are built for each engine (stored in the Makefile).
 *
 *     static struct store *store;
 *
 *     int main(void)
 *     {
 *         if (!unit_open(&store))
 *             return 1;
 *         RUN(...);
 *         store_close(store);
 *         return unit_done();
 *     }
 */
#ifndef UNIT_SPOOL_H
#define UNIT_SPOOL_H

#include "store/store.h"
#include "unit.h"

#include <stdlib.h>

/* Create and open it; false, with the reason printed, when that failed or it was there before. */
static inline bool unit_open(struct store **out)
{
    struct err e = ERR_NONE;
    const char *name = getenv("EVENT_SPOOL");
    int got = name == NULL ? err_set(&e, EX_USAGE, "EVENT_SPOOL names no spool")
                           : store_open(out, name, STORE_CREATE, &e);

    if (got != 1)
        printf("# %s\n", got < 0 ? e.text : "the spool was there before");
    return got == 1;
}

#endif

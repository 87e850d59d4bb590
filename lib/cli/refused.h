/*
 * refused: the lines that a command could not take: what is wrong with them, and the lines
 * themselves for --rejects. Both are kept until the caller has committed, since writing may take
 * long while others wait for a lock.
 */
#ifndef CLI_REFUSED_H
#define CLI_REFUSED_H

#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

struct refused {
    int64_t n; /* lines, since the beginning */
    struct buf texts,
        lines;        /* messages, each with a NUL behind it; the lines, if there is a file */
    const char *path; /* --rejects; NULL: the lines are not kept */
    int fd;
};

/* Keep the lines, and append them to the file at path, which is created if it is missing. 0; -1
   with 73. path is not copied. */
int refused_open(struct refused *r, const char *path, struct err *e);

/* Note that a line is wrong. file is where it came from, NULL for stdin; number 0: file names the
   place. line may be absent. */
void refused_add(struct refused *r, const char *file, int64_t number, struct str line,
                 const char *why);

/* Print the messages, write the lines, forget both. 0; -1 with 74. */
int refused_report(struct refused *r, struct err *e);
void refused_free(struct refused *r);

#endif

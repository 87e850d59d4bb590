/*
 * feed: the lines of files, or of stdin, to a function that stores them, many in each commit.
 *
 *     struct feed feed = {.max = 64 << 20, .take = take, .full = full, .commit = commit,
 *                         .stop = proc_stopping};
 *     feed_files(&feed, n, file, &e);
 *     feed.status, feed.stopped
 *
 * Whatever take has begun is committed when full says so, and before more input is read or the next
 * file is opened, where we often wait for a producer: what a slow producer writes is on disk at
 * once, and no process waits for our lock in the meantime.
 */
#ifndef CLI_FEED_H
#define CLI_FEED_H

#include "cli/lines.h"

struct feed {
    size_t max;                       /* bytes of the longest line */
    void (*opened)(struct lines *in); /* called for each input; or NULL */
    /* 0, or -1, which ends the feeding. When too_long, the line has a number and no text. file is
       NULL for stdin, else one of those given. */
    int (*take)(const struct line *line, bool too_long, const char *file, struct err *e);
    bool (*full)(void);
    int (*commit)(struct err *e); /* 0, or -1, which ends the feeding */
    bool (*stop)(void);           /* asked before each file: proc_stopping */

    int status;   /* of the first input that could not be read, which has been reported; 0: none */
    bool stopped; /* the input was not read to its end */
};

/* Feed the lines of n files, or of stdin when n is 0. A file that cannot be read does not keep the
   others from being read. 0, or -1 as take or commit failed. */
int feed_files(struct feed *f, int n, char *const *file, struct err *e);

/* Append the whole text of a file; path "-" is stdin. 0, or -1: as lines_open and lines_next; 65
   and "longer than LIMIT", in the caller's words, for more than max bytes; 75 for a signal. */
int feed_text(const char *path, size_t max, const char *limit, struct buf *out, struct err *e);

#endif

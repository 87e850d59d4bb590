/*
 * dead: dead letters.
 */
#ifndef STORE_DEAD_H
#define STORE_DEAD_H

#include "store/log.h"

struct dead_attempt {
    int64_t time_ms, took_ms;
    int status;
    struct str reason, tail;
};

struct dead_letter {
    const char *group;
    int64_t attempts, deaths, died_ms;
    struct log_entry event;             /* its line is empty when the event was damaged */
    const struct dead_attempt *attempt; /* the history, oldest first; also from before a retry */
    size_t tries;
};

struct dead_filter {
    const char *group;           /* NULL: all */
    struct pattern_list types;   /* not owned */
    const char *subject, *error; /* error: a text in the reason or the tail of the last attempt */
    int64_t died_before_ms, died_after_ms; /* 0: any */
    const int64_t *seq;                    /* these events only */
    size_t seqs;
    int64_t max; /* at most this many, by group and position; 0: all */
    bool (*accept)(const struct dead_letter *letter); /* NULL: all; called last */
};

/* Call f for each dead letter that passes the filter, by group and position; f may return non-zero
   to stop (-1: as an error). Views are valid within f. Returns the number. */
int64_t dead_each(struct store *s, const struct dead_filter *filter,
                  int (*f)(const struct dead_letter *letter, void *arg, struct err *e), void *arg,
                  struct err *e);

/* Give dead letters back to their groups, due now, with 0 attempts and their history kept; or
   delete them. Each transaction changes about a thousand rows, by group and position; a kill leaves
   the rest dead. On disk when the call returns. Returns how many of them were still dead. */
int64_t dead_retry(struct store *s, const struct dead_filter *filter, struct err *e);
int64_t dead_drop(struct store *s, const struct dead_filter *filter, struct err *e);

#endif

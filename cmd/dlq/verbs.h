/* dlq: what its verbs share: the dead letters that the command line names, and the open spool. */
#ifndef DLQ_VERBS_H
#define DLQ_VERBS_H

#include "base/point.h"
#include "cli/args.h"
#include "store/dead.h"

extern const struct cmd dlq_list, dlq_show, dlq_stats, dlq_try, dlq_retry, dlq_drop;

/* Of this run: what the options below set, and what dlq_open makes of it. */
extern struct dlq {
    struct store *spool;
    struct dead_filter filter;
    struct point after, before;
    const char *like;
} dlq;

#define DLQ_FILTER_NAMES "group type key error like from to"
#define DLQ_FILTERS                                                                                \
    OPT_NAME('g', "group", &dlq.filter.group, "GROUP", "only dead letters of this group"),         \
        OPT_PATTERN('t', "type", &dlq.filter.types, "only events of matching types"),              \
        OPT_WORDS('k', "key", &dlq.filter.subject, "KEY", "only events with this subject"),        \
        OPT_TEXT(0, "error", &dlq.filter.error, "TEXT",                                            \
                 "only with this text in the last reason or stderr"),                              \
        OPT_TEXT(0, "like", &dlq.like, "EVENT",                                                    \
                 "only those that failed in the same way as this one"),                            \
        OPT_POINT(0, "from", &dlq.after, "only those that died at or after this time"),            \
        OPT_POINT(0, "to", &dlq.before, "only those that died before this time"),                  \
        OPT_INT('n', "count", &dlq.filter.max, "N", 1, INT64_MAX, "at most N dead letters")

/* Open the spool, and narrow the filter to the n events named and to --like. 0, or -1. */
int dlq_open(enum store_mode mode, int n, char **event, struct err *e);
/* Close it, report e. Returns the exit status. */
int dlq_finish(struct err *e);

/* Neither the named events nor the filters matched a letter: fill in e with 1. */
void dlq_found_none(int n, char **event, struct err *e);

/* The kind of a letter's failure, in words; valid until the next call. */
const char *dlq_fingerprint(const struct dead_letter *letter);

#endif

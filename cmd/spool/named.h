/*
 * named: what the verbs breaker, bucket and key of spool(1) share: each lists, shows and changes
 * the state that a wrapper keeps under a name, a document of the spool.
 */
#ifndef SPOOL_NAMED_H
#define SPOOL_NAMED_H

#include "cli/args.h"
#include "cli/table.h"
#include "store/doc.h"

extern int named_form;
extern int64_t named_pause_ms; /* --for, or the argument after NAME */

#define NAMED_OPT_OUTPUT                                                                           \
    OPT_CHOICE('o', "output", &named_form, "auto|table|ndjson",                                    \
               "list, show: format (default: table on a terminal)")

/* A word that changes an entry: makes the change, and appends what it did to the buffer. 0 or
   -1. */
struct named_change {
    const char *word;
    int (*f)(struct store *s, const char *name, struct buf *said, struct err *e);
    const char *argument; /* the word for the argument after NAME; NULL: none */
};

struct named_kind {
    const char *name; /* of the verb, and the documents' kind */
    const struct table_column *columns;
    json_t *(*row)(struct store *s, const struct doc *doc); /* NULL: damaged */
    const struct named_change *changes;                     /* ended by an entry of zeros */
};

/* list, show NAME, or one of the changes. Returns the exit status. */
int named_run(const struct named_kind *kind, char **operand);

#endif

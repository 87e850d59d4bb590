/* search: the documents of subjects that the command line names; for show, list and forget. */
#ifndef FSM_SEARCH_H
#define FSM_SEARCH_H

#include "cli/args.h"
#include "cli/table.h"
#include "store/doc.h"

extern const char *search_machine; /* -m */
#define SEARCH_OPT_MACHINE                                                                         \
    OPT_PATH('m', "machine", &search_machine, "MACHINE", "only this machine: its file or its name")

struct search {
    struct store *spool;
    char *machine;
    const char *subject, *state; /* NULL: any */
    int (*f)(struct search *s, const struct doc *doc, struct err *e);
    struct table *table;
    int64_t found;
};

/* Open the spool and call s->f for each document. Without one, an s->subject is an error. 0, or
   -1. */
int search_run(struct search *s, enum store_mode mode, struct err *e);
/* Close it, report e. Returns the exit status. */
int search_finish(struct search *s, struct err *e);

#endif

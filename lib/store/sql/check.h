/*
 * What the parts of store_check share.
 */
#ifndef STORE_SQL_CHECK_H
#define STORE_SQL_CHECK_H

#include "store/sql/sql.h"
#include "store/upkeep.h"

#define NAMED_MAX 20 /* positions in one message */

struct check {
    struct store *s;
    const struct check_terms *terms;
    int (*f)(const struct check_finding *finding, void *arg, struct err *e);
    void *arg;
    int64_t findings, now;
    bool unreadable; /* reported; other parts that meet the same page would report it again */
    int stop;        /* what f returned */
};

/* Report a finding. Returns 0, or -1 to end the whole check. */
int check_report(struct check *c, const struct check_finding *what, struct err *e,
                 const char *format, ...) __attribute__((format(printf, 4, 5)));
const char *check_plural(int64_t n); /* "s", unless n is 1 */

/* The parts that have a file of their own: damaged events, and rows that no command would write.
   Each returns 0 or -1. */
int check_events(struct check *c, struct err *e);
int check_rows(struct check *c, struct err *e);

/* What only the engine can say of itself: is the structure of all that is stored right; are there
   rows of table "meta" that no command would write, see check_rows.c; and in what state is it. Each
   returns 0 or -1. */
int check_structure(struct check *c, struct err *e);
extern const struct sql check_meta;
int check_engine(struct check *c, struct err *e);

#endif

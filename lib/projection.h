/*
 * projection: a read model, that is, tables in a SQLite database of the user's that are made of
 * events by SQL, each event once.
 *
 *     rules_read(&rules, "accounts.sql", &e)
 *     projection_open(&p, &terms, &e)
 *     projection_advance(p, &e)          as often as there may be more
 *     projection_close(p)
 *
 * How far a projection is stands in the database itself, in a row of eventutils_projection that is
 * changed in the transaction that has the effects: whatever is killed and when, an event's effects
 * are there once. The spool is told afterwards, in a group of the projection's name, for its
 * listings and so that nothing is pruned that is still needed; if that is missed, nothing happens.
 *
 * Errors beside those of the spool:
 *     64 the name belongs to something else    65 the file is wrong or has changed, an event does
 *     73 cannot create the database               not fit, the database is another spool's
 *     74 I/O error, disk full, damage          75 another process works on it, or keeps it locked
 */
#ifndef PROJECTION_H
#define PROJECTION_H

#include "rules.h"
#include "store.h"

#include <jansson.h>

struct projection;

struct projection_terms {
    struct store *spool;
    const struct rules *rules;
    const char *database, *name;
    bool set_aside; /* an event that does not fit goes into eventutils_projection_dead */
    bool (*stopping)(void);
    /* Each may be NULL. aside: an event was put aside, and e says why; its views end with the call.
       progress: after each transaction, at position seq of last. */
    void (*aside)(const struct log_entry *entry, const struct err *e);
    void (*progress)(int64_t seq, int64_t last);
};

/* terms is copied, what it points at is not. The tables are made when they are not there. Returns 1
   when the database was created. */
int projection_open(struct projection **out, const struct projection_terms *terms, struct err *e);
void projection_close(struct projection *p);

/* Apply what there is up to the end of the log, or until terms->stopping: thousands of events a
   transaction, or as few as there are. Returns 0 or -1; then all before the event that e is about
   is applied. */
int projection_advance(struct projection *p, struct err *e);

/*
 * Build the model anew in a file beside the database, DATABASE-rebuild-NAME, and put it in the
 * place of the old one in one transaction of the database. The old one is used, and kept up to date
 * by whoever does, until then. *applied is the number of events. 75 when somebody else does this,
 * or events were pruned meanwhile. Interrupted, it returns -1 with 75 and has changed nothing.
 *
 * incomplete: also when the log no longer begins with its first event, so that the new model may
 * lack what the old one has. Without it that is 65.
 */
int projection_rebuild(const struct projection_terms *terms, bool incomplete, int64_t *applied,
                       struct err *e);

/* Build it likewise, up to where the old one is, and tell the differences: f is called with an
   object for each row, which it owns. Returns their number. */
int64_t projection_verify(const struct projection_terms *terms,
                          int (*f)(json_t *row, void *arg, struct err *e), void *arg,
                          struct err *e);

/* Each projection of a database, or the one called name, by name; f owns the row. 66 when there is
   none of that name. */
int projection_status(struct store *spool, const char *database, const char *name,
                      int (*f)(json_t *row, void *arg, struct err *e), void *arg, struct err *e);

#endif

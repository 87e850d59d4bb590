/*
 * projection: a read model, that is, tables in the user's database, in a SQLite file or on a
 * PostgreSQL server, that SQL statements build from events, each event applied once.
 *
 *     rules_read(&rules, "accounts.sql", &e)
 *     projection_open(&p, &terms, &e)
 *     projection_advance(p, &e)          as often as there may be more
 *     projection_close(p)
 *
 * The position is kept in the database itself, in a row of eventutils_projection that changes in
 * the same transaction as the effects: whenever a process is killed, an event's effects are there
 * once. Afterwards the position is copied to a group of the projection's name in the spool, for
 * listings and so that nothing still needed is pruned; if that copy is lost, no event is skipped
 * or repeated.
 *
 * Errors beside those of the spool:
 *     64 the name belongs to something else    65 the file is wrong or has changed, an event does
 *     73 cannot create the database               not fit, the database is another spool's
 *     74 I/O error, disk full, damage          75 another process works on it, or keeps it locked,
 *     69 no server for it, see its text            or its server cannot be reached
 */
#ifndef PROJECT_PROJECTION_H
#define PROJECT_PROJECTION_H

#include "project/rules.h"
#include "store/log.h"

#include <jansson.h>

struct projection;

struct projection_terms {
    struct store *spool;
    const struct rules *rules;
    const char *database, *name;
    bool set_aside; /* an event that does not fit goes into eventutils_projection_dead */
    bool (*stopping)(void);
    /* Each may be NULL. aside: an event was set aside, for the reason in e; the views in entry are
       valid during the call. progress: called after each transaction, at position seq of last. */
    void (*aside)(const struct log_entry *entry, const struct err *e);
    void (*progress)(int64_t seq, int64_t last);
};

/* terms is copied, what it points at is not. Creates the tables if they are missing. Returns 1 when
   the database was created. */
int projection_open(struct projection **out, const struct projection_terms *terms, struct err *e);
void projection_close(struct projection *p);

/* Apply events up to the end of the log, or until terms->stopping, in transactions of at most some
   thousands. Returns 0, or -1: then all events before the one that e names are applied. */
int projection_advance(struct projection *p, struct err *e);

/*
 * Build a new model beside the old one, DATABASE-rebuild-NAME (a file, or a schema), and swap it in
 * with one transaction of the database. Until then the old model stays in use, and another process
 * may keep it up to date. *applied is the number of events. 75 when another process is rebuilding,
 * or events were pruned during the rebuild. When interrupted, returns -1 with 75 and has changed
 * nothing.
 *
 * incomplete: rebuild even if the log no longer begins with its first event, so that the new model
 * may lack what the old one has. Otherwise that is 65.
 */
int projection_rebuild(const struct projection_terms *terms, bool incomplete, int64_t *applied,
                       struct err *e);

/* Build a new model in the same way, up to the position of the old one, and compare: f is called
   with an object for each row that differs, and owns it. Returns the number of rows. */
int64_t projection_verify(const struct projection_terms *terms,
                          int (*f)(json_t *row, void *arg, struct err *e), void *arg,
                          struct err *e);

/* Each projection of a database, or the one called name, by name; f owns the row. 66 when no
   projection has that name. 0 or -1. */
int projection_status(struct store *spool, const char *database, const char *name,
                      int (*f)(json_t *row, void *arg, struct err *e), void *arg, struct err *e);

#endif

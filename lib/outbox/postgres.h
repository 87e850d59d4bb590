/* What the two files of the PostgreSQL engine share. */
#ifndef OUTBOX_POSTGRES_H
#define OUTBOX_POSTGRES_H

#include "outbox/engine.h"
#include "pgkit/pgkit.h"

#define POSTGRES_BYTEA 17 /* the type's OID */

struct postgres {
    PGconn *db;               /* NULL: not connected */
    size_t host;              /* which of several it leads to */
    PGresult *page;           /* owns the texts of the page */
    struct buf sql;           /* of postgres_ask */
    struct buf aggregates;    /* texts of rows that are only looked at */
    struct buf bytes;         /* payloads that were bytea */
    int64_t hash[RELAY_PAGE]; /* hashes of payloads, as they were read */
    int64_t looked_ms;
    bool heard; /* a notification has come */
    enum relay_mode mode;
};

/* Put an error of a statement (result may be NULL) or of the connection in words. Returns -1. */
int postgres_fail(struct relay *r, const PGresult *result, struct err *e);

/* Run a statement, given as a template. Parameters are text, NULL for NULL, and statements cast
   them. The result, or NULL on error. */
PGresult *postgres_ask(struct relay *r, const char *text, const char *const *values, int n,
                       struct err *e);
/* The number of rows changed, or -1. A statement that would change nothing has changed one. */
int64_t postgres_run(struct relay *r, const char *text, const char *const *values, int n,
                     struct err *e);
struct str postgres_cell(const PGresult *result, int row, int column);
int64_t postgres_integer(const PGresult *result, int row, int column);

/* Connect, or connect again when the connection was lost. The page is kept. 0, or -1. */
int postgres_connected(struct relay *r, struct err *e);
int postgres_open(struct relay *r, enum relay_mode mode, struct err *e);
void postgres_close(struct relay *r);

#endif

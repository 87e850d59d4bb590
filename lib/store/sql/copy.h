/*
 * copy: what exporter and importer share. Both go through a table by its key: copy_page.c has the
 * tables, and reads their rows; copy_record.c has the records of the stream.
 */
#ifndef STORE_SQL_COPY_H
#define STORE_SQL_COPY_H

#include "store/copy.h"
#include "store/sql/sql.h"

#define COPY_COLUMNS LOG_END /* the most that a table has */
#define COPY_BYTES (1 << 20) /* of records, at most about as many at once */

/* ------------------------------------------------------------------------------------- records */

struct copy_record {
    char letter;
    struct db_value value[COPY_COLUMNS]; /* texts are views of the stream */
};
/* The letters of a record's values, as for db_query: i, o, s, b; NULL: there is no such record. */
const char *copy_types(char letter);
void copy_put(struct buf *b, char letter, const struct db_value *value);
/* Read the record at *at, and move *at behind it: 1; 0 when it is not all there; -1 with 65. */
int copy_take(const struct buf *b, size_t *at, struct copy_record *out, struct err *e);

/* -------------------------------------------------------------------------------------- tables */

/* Statements get the group's number first, if the table is of groups. page: behind a key. */
struct copy_table {
    char letter;
    bool of_group;
    size_t keys; /* the first columns */
    struct sql page, drop, insert;
};
const struct copy_table *copy_table_of(char letter); /* NULL: there is none */

/* A table's rows one by one, by key, a thousand in memory. Between two pages nothing is open. */
struct copy_rows {
    struct store *s;
    const struct copy_table *table;
    int64_t grp;
    struct buf texts, before;
    struct db_value *value; /* of the page's rows */
    size_t n, at;
    bool ended;
};
void copy_rows_begin(struct copy_rows *r, const struct copy_table *table, int64_t grp);
/* Does the next call read a page? Then views of the last one end. */
bool copy_rows_turns(const struct copy_rows *r);
/* The current row, the first at first: 1 and *value, a view; 0 behind the last one; -1. */
int copy_rows_look(struct copy_rows *r, const struct db_value **value, struct err *e);
void copy_rows_skip(struct copy_rows *r); /* go on to the next one */
void copy_rows_free(struct copy_rows *r);

#endif

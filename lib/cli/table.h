/*
 * table: a listing, as a table on a terminal or as NDJSON for a pipe.
 *
 *     static const struct table_column columns[] = {
 *         {"seq", TABLE_RIGHT}, {"type", TABLE_LEFT}, {0}};
 *     struct table *t = table_begin(columns, form);
 *     table_row(t, json_pack("{s:I, s:s}", "seq", seq, "type", type), &e);   takes over the object
 *     table_end(t, &e);
 *
 * NDJSON shows every member of the row; the table shows only the columns, in their order, under a
 * heading, with widths that fit (rows are measured a thousand at a time, so memory is constant).
 * The table shows absent and null members as "-". Members ending in "_ms" never occur: times in
 * rows are RFC 3339 text, and columns of kind TABLE_AGE show them as an age ("3m").
 * Nothing reaches a terminal unescaped. An empty listing prints nothing, not even the heading.
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "base/err.h"

#include <jansson.h>

enum table_align { TABLE_LEFT, TABLE_RIGHT, TABLE_AGE };
enum table_form { TABLE_AUTO, TABLE_TABLE, TABLE_NDJSON }; /* -o; auto: is stdout a terminal? */

struct table_column {
    const char *name; /* of the member; in upper case, the heading */
    enum table_align align;
};

struct table;
struct table *table_begin(const struct table_column *columns, enum table_form form);
bool table_is_ndjson(const struct table *t);
/* 0, or -1 when stdout failed. A reader that is gone is not an error: see out_gone(). */
int table_row(struct table *t, json_t *row, struct err *e);
int table_end(struct table *t, struct err *e); /* frees t */

#endif

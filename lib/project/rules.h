/*
 * rules: the file that defines what a projection does with events: SQL in sections. Only the
 * headings are parsed here; the SQL between them is kept unchanged.
 *
 *     -- @init                                    once, when the tables are made
 *     CREATE TABLE account(id TEXT PRIMARY KEY, balance INTEGER NOT NULL);
 *     -- @on account.opened                       for each event of a type that matches
 *     INSERT INTO account VALUES(:subject, 0);
 *     -- @on account.credited account.debited     or of one of several
 *
 * A heading is a line of its own. An event runs all sections that match, in the file's order.
 */
#ifndef PROJECT_RULES_H
#define PROJECT_RULES_H

#include "base/buf.h"
#include "base/err.h"
#include "event/pattern.h"

#include <stddef.h>
#include <stdint.h>

enum rules_kind { RULES_HEAD, RULES_INIT, RULES_ON }; /* HEAD: before the first heading */

struct rules_section {
    enum rules_kind kind;
    struct pattern_list types; /* of RULES_ON */
    const char *sql;           /* ends with a NUL */
    int64_t line;              /* of its first byte */
    size_t at;
};

struct rules {
    char *file;    /* for messages */
    char hash[41]; /* of all bytes, in hexadecimal: identifies the version of the file */
    struct rules_section *section;
    size_t n;
    struct pattern_list types; /* those of all sections */
    struct buf text;
};

/* clang-format off */
#define RULES_NONE {0}
/* clang-format on */

/* Returns 0, or -1: 65 a heading is wrong or there is no "@on", 66 no such file, 74, 77. */
int rules_read(struct rules *r, const char *file, struct err *e);
void rules_free(struct rules *r);
/* The name of what a file defines: "accounts" for sql/accounts.sql. To be freed. */
char *rules_name(const char *file);

#endif

/*
 * A person's own queries, over the views of share/schema_postgres.sql.
 *
 * The query becomes a cursor in a transaction that only reads: so nothing but a SELECT can be one,
 * nothing can be written, and its rows come a thousand at a time. What else it may read is a matter
 * of the role's rights.
 */
#include "store/postgres/postgres.h"

#include "base/mem.h"
#include "store/sql/sql.h"
#include "store/upkeep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Types of pg_type.dat, which never change their numbers. */
enum {
    BOOL = 16,
    BYTEA = 17,
    INT8 = 20,
    INT2 = 21,
    INT4 = 23,
    OID = 26,
    JSON = 114,
    FLOAT4 = 700,
    FLOAT8 = 701,
    NUMERIC = 1700,
    JSONB = 3802,
};

static struct query_value text_value(struct store *s, const char *name, struct str text)
{
    static const char *const json[] = {"data", "event", "types", "open", "value"};
    struct query_value v = {.kind = QUERY_TEXT, .bytes = text};
    struct err no = ERR_NONE;

    s->scan.envelope = true; /* as for publishing: data may have the full depth */
    for (size_t i = 0; i < sizeof json / sizeof json[0]; i++)
        if (strcmp(name, json[i]) == 0 && memchr(text.p, '\n', text.n) == NULL &&
            js_scan(&s->scan, text.p, text.n, &no) == 0)
            v.kind = QUERY_JSON;
    return v;
}

/* blob: bytes that are freed with the row. */
static struct query_value person_value(struct store *s, const PGresult *rows, int row, int column,
                                       unsigned char **blob)
{
    char *text = PQgetvalue(rows, row, column);
    struct query_value v = {.kind = QUERY_NULL};
    size_t n = 0;

    if (PQgetisnull(rows, row, column))
        return v;
    switch (PQftype(rows, column)) {
    case BOOL:
        return (struct query_value){.kind = QUERY_INTEGER, .integer = *text == 't'};
    case INT2:
    case INT4:
    case INT8:
    case OID:
        return (struct query_value){.kind = QUERY_INTEGER, .integer = strtoll(text, NULL, 10)};
    case FLOAT4:
    case FLOAT8:
        return (struct query_value){.kind = QUERY_REAL, .real = strtod(text, NULL)};
    case NUMERIC: /* sum() of integers, or digits that no double has */
        errno = 0;
        v.integer = strtoll(text, &text, 10);
        if (*text == '\0' && errno == 0)
            v.kind = QUERY_INTEGER;
        else
            v = (struct query_value){.kind = QUERY_REAL,
                                     .real = strtod(PQgetvalue(rows, row, column), NULL)};
        return v;
    case BYTEA:
        *blob = PQunescapeBytea((unsigned char *)text, &n);
        return (struct query_value){.kind = QUERY_BLOB, .bytes = {(char *)*blob, n}};
    case JSON:
    case JSONB:
        return text_value(s, "value", str_of(text));
    default:
        return text_value(s, PQfname(rows, column), str_of(text));
    }
}

static int check_names(const PGresult *rows, const char **name, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        name[i] = PQfname(rows, i);
        for (int j = 0; j < i; j++)
            if (strcmp(name[i], name[j]) == 0)
                return err_set(e, EX_USAGE, "two columns are called %s: rename one with AS",
                               err_quote_text(name[i]).text);
    }
    return 0;
}

static int show_rows(struct store *s, const PGresult *rows,
                     int (*f)(const struct query_row *row, void *arg, struct err *e), void *arg,
                     struct err *e)
{
    int n = PQnfields(rows);
    const char **name = mem_zero((size_t)n + 1, sizeof *name);
    struct query_value *value = mem_zero((size_t)n + 1, sizeof *value);
    unsigned char **blob = mem_zero((size_t)n + 1, sizeof *blob);
    const struct query_row row = {(size_t)n, name, value};
    int got = check_names(rows, name, n, e);

    for (int i = 0; i < PQntuples(rows) && got == 0; i++) {
        for (int k = 0; k < n; k++)
            value[k] = person_value(s, rows, i, k, &blob[k]);
        got = f(&row, arg, e);
        for (int k = 0; k < n; k++) {
            PQfreemem(blob[k]);
            blob[k] = NULL;
        }
    }
    free(name);
    free(value);
    free(blob);
    return got;
}

int store_query(struct store *s, struct str sql,
                int (*f)(const struct query_row *row, void *arg, struct err *e), void *arg,
                struct err *e)
{
    struct db *db = s->db;
    struct buf declare = BUF_INIT;
    PGresult *rows = NULL;
    int got, shown;

    while (sql.n > 0 &&
           (sql.p[sql.n - 1] == ';' || sql.p[sql.n - 1] == '\n' || sql.p[sql.n - 1] == ' '))
        sql.n--;
    if (sql.n == 0)
        return err_set(e, EX_USAGE, "there is no statement in it");
    buf_puts(&declare, "DECLARE person NO SCROLL CURSOR FOR ");
    buf_str(&declare, sql);
    db->person = true;
    if ((got = db_begin_read(db, e)) == 0)
        got = db_exec(db, buf_text(&declare), e);
    do {
        shown = 0;
        if (got == 0 && (rows = db_ask_text(db, "FETCH 1000 FROM person", e)) == NULL)
            got = -1;
        if (got == 0) {
            shown = PQntuples(rows);
            got = show_rows(s, rows, f, arg, e);
        }
        PQclear(rows);
        rows = NULL;
    } while (got == 0 && shown == 1000);
    db->person = false;
    db_rollback(db);
    buf_free(&declare);
    return got < 0 ? -1 : 0;
}

/*
 * Statements: each is sent with its arguments in binary, and its rows come whole, because other
 * statements run while the caller reads them. So a statement with many rows has a LIMIT.
 */
#include "store/postgres/postgres.h"

#include "base/mem.h"

#include <ctype.h>
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Types of pg_type.dat, which never change their numbers. */
#define OID_BOOL 16
#define OID_BYTEA 17
#define OID_INT8 20
#define OID_INT2 21
#define OID_INT4 23
#define OID_TEXT 25
#define OID_BYTEA_ARRAY 1001
#define OID_TEXT_ARRAY 1009
#define OID_INT8_ARRAY 1016

/* ----------------------------------------------------------------------------------- arguments */

/* Number the arguments as PostgreSQL wants them: ? is the next one, ?3 the third. */
static char *numbered(const char *sql, int *n)
{
    struct buf b = BUF_INIT;
    bool quoted = false;
    int next = 1;

    *n = 0;
    for (const char *p = sql; *p != '\0'; p++) {
        quoted ^= *p == '\'';
        if (*p != '?' || quoted) {
            buf_char(&b, *p);
            continue;
        }
        int at = isdigit((unsigned char)p[1]) ? (int)strtol(p + 1, NULL, 10) : next++;
        while (isdigit((unsigned char)p[1]))
            p++;
        buf_printf(&b, "$%d", at);
        *n = at > *n ? at : *n;
    }
    char *text = mem_dup(buf_text(&b), b.n);
    buf_free(&b);
    return text;
}

static struct query *new_query(const struct sql *sql, size_t at)
{
    struct query *q = mem_zero(1, sizeof *q);

    q->sql = sql;
    q->text = numbered(sql->text, &q->n);
    snprintf(q->name, sizeof q->name, "q%zu", at);
    size_t n = (size_t)q->n + 1;
    q->type = mem_zero(n, sizeof *q->type);
    q->value = mem_zero(n, sizeof *q->value);
    q->length = mem_zero(n, sizeof *q->length);
    q->format = mem_zero(n, sizeof *q->format);
    q->number = mem_zero(n, sizeof *q->number);
    for (int i = 0; i < q->n; i++)
        q->format[i] = 1;
    return q;
}

static struct query *query_of(struct db *db, const struct sql *sql)
{
    size_t at = ((uintptr_t)sql >> 4) % DB_STATEMENTS;

    while (db->statement[at] != NULL && db->statement[at]->sql != sql)
        at = (at + 1) % DB_STATEMENTS;
    if (db->statement[at] == NULL)
        db->statement[at] = new_query(sql, at);
    struct query *q = db->statement[at];
    PQclear(q->rows);
    q->rows = NULL;
    q->row = -1;
    return q;
}

void db_forget_queries(struct db *db)
{
    for (size_t i = 0; i < DB_STATEMENTS; i++) {
        struct query *q = db->statement[i];
        if (q == NULL)
            continue;
        PQclear(q->rows);
        free(q->text);
        free(q->type);
        free(q->value);
        free(q->length);
        free(q->format);
        free(q->number);
        for (int k = 0; k < q->n && q->array != NULL; k++)
            buf_free(&q->array[k]);
        free(q->array);
        free(q);
    }
}

/* number and text as in db_value. */
static void bind(struct query *q, int at, char type, int64_t number, struct str text)
{
    if (at >= q->n)
        return;
    if (type == 'i' || type == 'o') {
        q->type[at] = OID_INT8;
        q->number[at] = (int64_t)htobe64((uint64_t)number);
        q->value[at] = type == 'o' && number == DB_NONE ? NULL : (const char *)&q->number[at];
        q->length[at] = sizeof q->number[at];
        return;
    }
    q->type[at] = type == 'b' ? OID_BYTEA : OID_TEXT;
    q->value[at] = text.p == NULL && type != 'b' ? NULL : text.n == 0 ? "" : text.p;
    q->length[at] = (int)text.n;
}

static void bind_list(struct query *q, const char *types, va_list ap)
{
    for (int i = 0; types[i] != '\0'; i++) {
        const char *text;
        switch (types[i]) {
        case 'i':
        case 'o':
            bind(q, i, types[i], va_arg(ap, int64_t), (struct str){NULL, 0});
            break;
        case 't':
            text = va_arg(ap, const char *);
            bind(q, i, 's', 0, (struct str){text, text == NULL ? 0 : strlen(text)});
            break;
        default:
            bind(q, i, types[i], 0, va_arg(ap, struct str));
        }
    }
}

/* ------------------------------------------------------------------------------------------ run */

static struct query *bound(struct db *db, const struct sql *sql, const char *types, va_list ap)
{
    struct query *q = query_of(db, sql);

    bind_list(q, types, ap);
    return q;
}

struct query *db_query(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    struct query *q = bound(db, sql, types, ap);
    va_end(ap);
    return db_exchange(db, q, e) < 0 ? NULL : q;
}

struct query *db_select(struct db *db, struct err *e, const struct sql *sql, const char *types,
                        const struct db_value *values)
{
    struct query *q = query_of(db, sql);

    for (int i = 0; types[i] != '\0'; i++)
        bind(q, i, types[i], values[i].number, values[i].text);
    return db_exchange(db, q, e) < 0 ? NULL : q;
}

int db_row(struct db *db, struct query *q, struct err *e)
{
    (void)db;
    (void)e;
    if (++q->row < PQntuples(q->rows))
        return 1;
    db_done(q);
    return 0;
}

void db_done(struct query *q)
{
    if (q == NULL)
        return;
    PQclear(q->rows);
    q->rows = NULL;
}

static int changes(struct query *q)
{
    int n = (int)strtol(PQcmdTuples(q->rows), NULL, 10);

    db_done(q);
    return n;
}

int db_run(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    struct query *q = bound(db, sql, types, ap);
    va_end(ap);
    return db_exchange(db, q, e) < 0 ? -1 : changes(q);
}

static void add_be32(struct buf *b, uint32_t n)
{
    n = htobe32(n);
    buf_add(b, &n, sizeof n);
}

/* The column of all rows, as an array in binary (array_recv of PostgreSQL's arrayfuncs.c):
   dimensions, whether there are NULLs, type, length, first index; then each with its length. */
static void add_array(struct buf *b, char type, const struct db_value *value, size_t rows,
                      size_t columns)
{
    buf_reset(b);
    add_be32(b, 1);
    add_be32(b, 1);
    bool numbers = type == 'i' || type == 'o';
    add_be32(b, numbers ? OID_INT8 : type == 'b' ? OID_BYTEA : OID_TEXT);
    add_be32(b, (uint32_t)rows);
    add_be32(b, 1);
    for (; rows > 0; rows--, value += columns) {
        uint64_t number = htobe64((uint64_t)value->number);
        if (numbers ? type == 'o' && value->number == DB_NONE
                    : type == 's' && value->text.p == NULL) {
            add_be32(b, UINT32_MAX);
        } else if (numbers) {
            add_be32(b, sizeof number);
            buf_add(b, &number, sizeof number);
        } else {
            add_be32(b, (uint32_t)value->text.n);
            buf_add(b, value->text.p, value->text.n);
        }
    }
}

static struct query *bound_rows(struct db *db, const struct sql *sql, const char *types,
                                const struct db_value *values, size_t rows)
{
    struct query *q = query_of(db, sql);
    size_t columns = strlen(types);

    if (q->array == NULL)
        q->array = mem_zero(columns, sizeof *q->array);
    for (size_t i = 0; i < columns; i++) {
        struct buf *b = &q->array[i];
        add_array(b, types[i], values + i, rows, columns);
        q->type[i] = types[i] == 'i' || types[i] == 'o' ? OID_INT8_ARRAY
                     : types[i] == 'b'                  ? OID_BYTEA_ARRAY
                                                        : OID_TEXT_ARRAY;
        q->value[i] = b->p;
        q->length[i] = (int)b->n;
    }
    return q;
}

int db_run_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                const struct db_value *values, size_t rows)
{
    struct query *q = bound_rows(db, sql, types, values, rows);

    return db_exchange(db, q, e) < 0 ? -1 : changes(q);
}

struct query *db_query_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                            const struct db_value *values, size_t rows)
{
    struct query *q = bound_rows(db, sql, types, values, rows);

    return db_exchange(db, q, e) < 0 ? NULL : q;
}

int db_later_rows(struct db *db, struct err *e, const struct sql *sql, const char *types,
                  const struct db_value *values, size_t rows)
{
    db->unasked = true;
    return db_send(db, bound_rows(db, sql, types, values, rows), NULL, e);
}

int db_later(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    struct query *q = bound(db, sql, types, ap);
    va_end(ap);
    return db_send(db, q, NULL, e);
}

int db_must(struct db *db, struct err *e, const struct sql *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    struct query *q = bound(db, sql, types, ap);
    va_end(ap);
    return db_send(db, q, NULL, e) < 0 ? -1 : 1;
}

int db_insert(struct db *db, struct err *e, int64_t *id, const struct sql *sql, const char *types,
              ...)
{
    va_list ap;
    va_start(ap, types);
    struct query *q = bound(db, sql, types, ap);
    va_end(ap);
    return db_send(db, q, id, e);
}

int db_await(struct db *db, struct err *e)
{
    return db_finish(db, e);
}

bool db_missed(const struct db *db)
{
    return db->missed;
}

int db_int(struct db *db, struct err *e, int64_t *out, const struct sql *sql, const char *types,
           ...)
{
    va_list ap;
    va_start(ap, types);
    struct query *q = bound(db, sql, types, ap);
    va_end(ap);
    if (db_exchange(db, q, e) < 0)
        return -1;
    q->row = 0;
    int got = PQntuples(q->rows) > 0 && !db_null(q, 0);
    if (got)
        *out = db_i64(q, 0);
    db_done(q);
    return got;
}

/* ----------------------------------------------------------------------------------------- rows */

bool db_null(struct query *q, int column)
{
    return PQgetisnull(q->rows, q->row, column);
}

struct str db_text(struct query *q, int column)
{
    if (db_null(q, column))
        return (struct str){NULL, 0};
    return (struct str){PQgetvalue(q->rows, q->row, column),
                        (size_t)PQgetlength(q->rows, q->row, column)};
}

int64_t db_number(const PGresult *rows, int row, int column)
{
    const char *p = PQgetvalue(rows, row, column);
    int bytes = PQgetlength(rows, row, column);
    uint64_t n = 0;

    for (int i = 0; i < bytes && i < (int)sizeof n; i++)
        n = n << 8 | (unsigned char)p[i];
    if (bytes == 2)
        return (int16_t)n;
    return bytes == 4 ? (int32_t)n : (int64_t)n;
}

int64_t db_i64(struct query *q, int column)
{
    return db_number(q->rows, q->row, column);
}

enum db_kind db_kind(struct query *q, int column)
{
    if (db_null(q, column))
        return DB_NULL;
    switch (PQftype(q->rows, column)) {
    case OID_BOOL:
    case OID_INT8:
    case OID_INT4:
    case OID_INT2:
        return DB_INTEGER;
    case OID_TEXT:
        return DB_TEXT;
    case OID_BYTEA:
        return DB_BYTES;
    default:
        return DB_OTHER;
    }
}

void db_values(struct query *q, const char *types, struct db_value *out)
{
    for (int i = 0; types[i] != '\0'; i++, out++)
        if (types[i] == 'i')
            out->number = db_null(q, i) ? DB_NONE : db_i64(q, i);
        else
            out->text = db_text(q, i);
}

/* All columns come at once anyway. */
bool db_peek_begin(struct db *db)
{
    (void)db;
    return false;
}

bool db_peek(struct db *db, int64_t key, const char *types, struct db_value *out)
{
    (void)db;
    (void)key;
    (void)types;
    (void)out;
    return false;
}

void db_peek_end(struct db *db)
{
    (void)db;
}

bool db_unreadable(struct db *db)
{
    return db->damaged;
}

bool db_failed(struct db *db)
{
    return db->failed || db->lost;
}

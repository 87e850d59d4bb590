/*
 * spool sql: run the user's own query, and print the result as a listing.
 */
#include "base/json.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "cli/out.h"
#include "cli/table.h"
#include "command/spool.h"
#include "spool/verbs.h"
#include "store/upkeep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SQL_MAX 65536 /* bytes of the longest statement */

static int form;

static const struct opt options[] = {
    OPT_CHOICE('o', "output", &form, "auto|table|ndjson",
               "the format (default: a table on a terminal)"),
    OPT_END,
};

/* The table is begun at the first row, when its columns are known. */
struct listing {
    struct table *table;
    struct table_column *column;
    struct buf line;
};

static void add_base64(struct buf *b, struct str bytes)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < bytes.n; i += 3) {
        unsigned v = 0;
        for (size_t j = i; j < i + 3; j++)
            v = v << 8 | (j < bytes.n ? (unsigned char)bytes.p[j] : 0);
        buf_char(b, digit[v >> 18]);
        buf_char(b, digit[v >> 12 & 63]);
        buf_char(b, i + 1 < bytes.n ? digit[v >> 6 & 63] : '=');
        buf_char(b, i + 2 < bytes.n ? digit[v & 63] : '=');
    }
}

/* Infinity, which JSON does not have, is null. */
static json_t *real_of(double value)
{
    json_t *real = json_real(value);
    return real == NULL ? json_null() : real;
}

static json_t *json_of_value(const struct query_value *v)
{
    struct buf text = BUF_INIT;
    json_t *value;

    switch (v->kind) {
    case QUERY_NULL:
        return json_null();
    case QUERY_INTEGER:
        return json_integer(v->integer);
    case QUERY_REAL:
        return real_of(v->real);
    case QUERY_BLOB:
        add_base64(&text, v->bytes);
        value = json_stringn(text.n == 0 ? "" : text.p, text.n);
        buf_free(&text);
        return value;
    default:
        return tree_text(v->bytes);
    }
}

/* JSON is inserted byte for byte: parsing it would change its numbers. */
static int list_line(struct buf *line, const struct query_row *row, struct err *e)
{
    buf_reset(line);
    for (size_t i = 0; i < row->n; i++) {
        buf_char(line, i == 0 ? '{' : ',');
        js_quote(line, str_of(row->name[i]));
        buf_char(line, ':');
        if (row->value[i].kind == QUERY_JSON) {
            buf_str(line, row->value[i].bytes);
            continue;
        }
        json_t *value = json_of_value(&row->value[i]);
        tree_print(line, value);
        json_decref(value);
    }
    buf_char(line, '}');
    return out_json((struct str){line->p, line->n}, e);
}

static void begin_listing(struct listing *l, const struct query_row *row)
{
    l->column = mem_zero(row->n + 1, sizeof *l->column);
    for (size_t i = 0; i < row->n; i++)
        l->column[i] = (struct table_column){
            mem_dup(row->name[i], strlen(row->name[i])),
            row->value[i].kind == QUERY_INTEGER || row->value[i].kind == QUERY_REAL ? TABLE_RIGHT
                                                                                    : TABLE_LEFT};
    l->table = table_begin(l->column, (enum table_form)form);
}

static int list_row(const struct query_row *row, void *listing, struct err *e)
{
    struct listing *l = listing;

    if (l->table == NULL)
        begin_listing(l, row);
    if (table_is_ndjson(l->table))
        return list_line(&l->line, row, e) < 0 ? -1 : out_gone();
    json_t *object = json_object();
    for (size_t i = 0; i < row->n; i++)
        json_object_set_new(object, row->name[i], json_of_value(&row->value[i]));
    return table_row(l->table, object, e) < 0 ? -1 : out_gone();
}

static void end_listing(struct listing *l, struct err *e)
{
    table_end(l->table, e);
    for (size_t i = 0; l->column != NULL && l->column[i].name != NULL; i++)
        free((char *)(uintptr_t)l->column[i].name);
    free(l->column);
    buf_free(&l->line);
}

static int read_sql(const char *operand, struct buf *sql, struct err *e)
{
    char block[4096];
    size_t n;

    if (strcmp(operand, "-") != 0) {
        buf_puts(sql, operand);
    } else {
        while (sql->n <= SQL_MAX && (n = fread(block, 1, sizeof block, stdin)) > 0)
            buf_add(sql, block, n);
        if (ferror(stdin))
            return err_errno(e, EX_IOERR, "stdin");
    }
    if (sql->n > SQL_MAX)
        return err_set(e, EX_USAGE, "sql: more than %d bytes", SQL_MAX);
    return 0;
}

static int run_spool_sql(char **operand)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct listing listing = {0};
    struct buf sql = BUF_INIT;

    if (read_sql(operand[0], &sql, &e) == 0 && spool_open(&spool, STORE_READ, &e) == 0 &&
        store_query(spool, (struct str){buf_text(&sql), sql.n}, list_row, &listing, &e) < 0 &&
        e.status == EX_USAGE)
        err_at(&e, "sql: ");
    end_listing(&listing, &e);
    buf_free(&sql);
    store_close(spool);
    return out_finish(&e);
}

const struct cmd spool_sql = {
    .name = "sql",
    .about = "run a SELECT over views of the spool",
    .usage = {"SELECT|- [-o table|ndjson]"},
    .examples = {"spool sql 'SELECT type, count(*) AS n FROM events GROUP BY type'",
                 "spool sql - <report.sql"},
    .options = options,
    .least = 1,
    .most = 1,
    .wants = "one SELECT, in quotes, or - for standard input",
    .note = "views: events, group_list, waiting, dead_letters, attempts, claims, outcomes, "
            "durations, documents",
    .run = run_spool_sql,
};

/*
 * The tables that a copy makes equal row by row, and their rows in pages.
 */
#include "store/sql/copy.h"

#include "base/mem.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_ROWS 1000
#define ONE_PAGE " LIMIT 1000"
/* Where counts are only added, several rows are one (ADD_UP). */
#define SUM(column) "CAST(sum(" column ") AS bigint)"

static const struct copy_table tables[] = {
    {'s',
     false,
     1,
     {"copy_segments", "SELECT seq,recorded FROM segment WHERE seq>? ORDER BY seq" ONE_PAGE},
     {"copy_drop_segments", "DELETE FROM segment WHERE seq IN (" ROWS_OF("?") ")"},
     {"copy_insert_segments", "INSERT INTO segment(seq,recorded) " ROWS_OF("?,?")}},
    {'d',
     false,
     2,
     {"copy_documents", "SELECT kind,name,rev,expires,value FROM document WHERE (kind,name)>(?,?) "
                        "ORDER BY kind,name" ONE_PAGE},
     {"copy_drop_documents", "DELETE FROM document WHERE (kind,name) IN (" ROWS_OF("?,?") ")"},
     {"copy_insert_documents",
      "INSERT INTO document(kind,name,rev,expires,value) " ROWS_OF("?,?,?,?,?")}},
    {'c',
     true,
     1,
     {"copy_cursors",
      "SELECT priority,seq FROM cursor WHERE grp=? AND priority>? ORDER BY priority" ONE_PAGE},
     {"copy_drop_cursors", "DELETE FROM cursor WHERE (grp,priority) IN (" ROWS_OF("?,?") ")"},
     {"copy_insert_cursors", "INSERT INTO cursor(grp,priority,seq) " ROWS_OF("?,?,?")}},
    {'i',
     true,
     1,
     {"copy_items", "SELECT seq,state,due,attempts,deaths,subject FROM item WHERE grp=? AND seq>? "
                    "ORDER BY seq" ONE_PAGE},
     {"copy_drop_items", "DELETE FROM item WHERE (grp,seq) IN (" ROWS_OF("?,?") ")"},
     {"copy_insert_items",
      "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) " ROWS_OF("?,?,?,?,?,?,?")}},
    {'a',
     true,
     2,
     {"copy_attempts",
      "SELECT seq,n,time,took,status,reason,tail FROM attempt WHERE grp=? AND (seq,n)>(?,?) "
      "ORDER BY seq,n" ONE_PAGE},
     {"copy_drop_attempts", "DELETE FROM attempt WHERE (grp,seq,n) IN (" ROWS_OF("?,?,?") ")"},
     {"copy_insert_attempts",
      "INSERT INTO attempt(grp,seq,n,time,took,status,reason,tail) " ROWS_OF("?,?,?,?,?,?,?,?")}},
    {'t',
     true,
     1,
     {"copy_tallies", "SELECT type," SUM("done") "," SUM("retried") "," SUM("dead") "," SUM(
                          "deferred") "," SUM("took") " FROM tally WHERE grp=? AND type>? GROUP BY "
                                                      "type ORDER BY type" ONE_PAGE},
     {"copy_drop_tallies", "DELETE FROM tally WHERE (grp,type) IN (" ROWS_OF("?,?") ")"},
     {"copy_insert_tallies",
      "INSERT INTO tally(grp,type,done,retried,dead,deferred,took) " ROWS_OF("?,?,?,?,?,?,?")}},
    {'u',
     true,
     2,
     {"copy_durations", "SELECT type,le," SUM("n") " FROM duration WHERE grp=? AND (type,le)>(?,?) "
                                                   "GROUP BY type,le ORDER BY type,le" ONE_PAGE},
     {"copy_drop_durations", "DELETE FROM duration WHERE (grp,type,le) IN (" ROWS_OF("?,?,?") ")"},
     {"copy_insert_durations", "INSERT INTO duration(grp,type,le,n) " ROWS_OF("?,?,?,?")}},
};

const struct copy_table *copy_table_of(char letter)
{
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (tables[i].letter == letter)
            return &tables[i];
    return NULL;
}

void copy_rows_begin(struct copy_rows *r, const struct copy_table *table, int64_t grp)
{
    r->table = table;
    r->grp = grp;
    r->n = r->at = 0;
    r->ended = false;
}

/* The arguments of a page: behind the last row in memory, or any row. */
static struct query *rows_behind(struct copy_rows *r, struct err *e)
{
    const char *column = copy_types(r->table->letter);
    const struct db_value *last = r->n == 0 ? NULL : r->value + (r->n - 1) * strlen(column);
    struct db_value value[3] = {{.number = r->grp}}, *v = value;
    char types[4] = "", *type = types;

    if (r->table->of_group)
        *type++ = 'i';
    v += r->table->of_group;
    for (size_t i = 0; i < r->table->keys; i++) {
        *v++ = last != NULL ? last[i] : (struct db_value){.number = INT64_MIN + 1, .text = STR("")};
        *type++ = column[i];
    }
    return db_select(r->s->db, e, &r->table->page, types, value);
}

/* Texts move while the page grows: until it is complete a value has its offset as its number. */
static void add_row(struct copy_rows *r, const struct db_value *row, const char *types)
{
    struct db_value *to = r->value + r->n++ * strlen(types);

    for (; *types != '\0'; types++, row++, to++) {
        *to = *row;
        if (*types == 'i' || row->text.p == NULL)
            continue;
        to->number = (int64_t)r->texts.n;
        buf_str(&r->texts, row->text);
        buf_char(&r->texts, '\0');
    }
}

static int next_page(struct copy_rows *r, struct err *e)
{
    struct db_value row[COPY_COLUMNS];
    char types[COPY_COLUMNS + 1];
    struct buf before = r->before;
    struct query *q;
    int got = -1;

    r->before = r->texts; /* the key behind which the page begins is there */
    r->texts = before;
    q = rows_behind(r, e);
    snprintf(types, sizeof types, "%s", copy_types(r->table->letter));
    size_t columns = strlen(types);
    for (char *o; (o = strchr(types, 'o')) != NULL;)
        *o = 'i';
    r->value = mem_grow(r->value, PAGE_ROWS * COPY_COLUMNS, sizeof *r->value);
    r->n = r->at = 0;
    buf_reset(&r->texts);
    while (q != NULL && r->n < PAGE_ROWS && (got = db_row(r->s->db, q, e)) > 0) {
        db_values(q, types, row);
        add_row(r, row, types);
    }
    if (got > 0)
        db_done(q);
    for (size_t i = 0; i < r->n * columns; i++)
        if (types[i % columns] != 'i' && r->value[i].text.p != NULL)
            r->value[i].text.p = r->texts.p + r->value[i].number;
    r->ended = r->n == 0;
    return got < 0 ? -1 : 0;
}

bool copy_rows_turns(const struct copy_rows *r)
{
    return !r->ended && r->at == r->n;
}

int copy_rows_look(struct copy_rows *r, const struct db_value **value, struct err *e)
{
    if (copy_rows_turns(r) && next_page(r, e) < 0)
        return -1;
    if (r->ended)
        return 0;
    *value = r->value + r->at * strlen(copy_types(r->table->letter));
    return 1;
}

void copy_rows_skip(struct copy_rows *r)
{
    r->at++;
}

void copy_rows_free(struct copy_rows *r)
{
    buf_free(&r->texts);
    buf_free(&r->before);
    free(r->value);
}

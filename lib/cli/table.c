/*
 * The table form keeps the cells of up to ROWS_MAX rows as text, one NUL-terminated string after
 * the other, until their widths are known. Widths only grow, so a long listing stays a table.
 */
#include "cli/table.h"

#include "base/clock.h"
#include "base/duration.h"
#include "base/json.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "cli/out.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS_MAX 1000

struct table {
    const struct table_column *columns;
    size_t n;
    size_t *width;
    bool ndjson, heading_done;
    int64_t now_ms; /* when the listing began; ages are relative to it */
    struct buf cells, line, scratch;
    size_t rows;
};

struct table *table_begin(const struct table_column *columns, enum table_form form)
{
    struct table *t = mem_zero(1, sizeof *t);

    t->columns = columns;
    while (columns[t->n].name != NULL)
        t->n++;
    t->width = mem_zero(t->n, sizeof *t->width);
    for (size_t i = 0; i < t->n; i++)
        t->width[i] = strlen(columns[i].name);
    t->ndjson = form == TABLE_NDJSON || (form == TABLE_AUTO && !isatty(STDOUT_FILENO));
    t->now_ms = clock_now_ms();
    return t;
}

bool table_is_ndjson(const struct table *t)
{
    return t->ndjson;
}

static struct str string_of(const json_t *value)
{
    return (struct str){json_string_value(value), json_string_length(value)};
}

/* A list of words reads better without its punctuation; other arrays keep it. */
static void add_list(struct buf *b, json_t *array)
{
    size_t n = json_array_size(array);

    for (size_t i = 0; i < n; i++)
        if (!json_is_string(json_array_get(array, i))) {
            tree_print(b, array);
            return;
        }
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_char(b, ',');
        buf_str(b, string_of(json_array_get(array, i)));
    }
}

/* Append a value as people see it, before it is made harmless. */
static void add_text(struct buf *b, const struct table *t, enum table_align align, json_t *value)
{
    char age[DURATION_TEXT_SIZE];
    int64_t ms = 0;

    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_NULL:
        break;
    case JSON_TRUE:
        buf_puts(b, "yes");
        break;
    case JSON_FALSE:
        buf_puts(b, "no");
        break;
    case JSON_ARRAY:
        add_list(b, value);
        break;
    case JSON_STRING:
        if (align == TABLE_AGE && clock_parse(string_of(value), &ms))
            buf_puts(b, duration_age(age, t->now_ms - ms));
        else
            buf_str(b, string_of(value));
        break;
    default:
        tree_print(b, value);
        break;
    }
    if (b->n == 0)
        buf_char(b, '-');
}

/* Width on a terminal, taken as the number of characters, which is close enough. */
static size_t width_of(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++)
        width += (*text & 0xc0) != 0x80;
    return width;
}

static void keep_row(struct table *t, const json_t *row)
{
    for (size_t i = 0; i < t->n; i++) {
        size_t start = t->cells.n, width;

        buf_reset(&t->scratch);
        add_text(&t->scratch, t, t->columns[i].align, json_object_get(row, t->columns[i].name));
        err_escape(&t->cells, t->scratch.p, t->scratch.n);
        buf_char(&t->cells, '\0');
        width = width_of(t->cells.p + start);
        if (width > t->width[i])
            t->width[i] = width;
    }
    t->rows++;
}

static void add_spaces(struct buf *b, size_t n)
{
    while (n-- > 0)
        buf_char(b, ' ');
}

/* No padding after the last column's text, so that lines don't wrap for invisible reasons. */
static void add_cell(struct table *t, size_t i, const char *text)
{
    size_t pad = t->width[i] - width_of(text);
    bool left = t->columns[i].align == TABLE_LEFT;

    if (i > 0)
        buf_puts(&t->line, "  ");
    if (!left)
        add_spaces(&t->line, pad);
    buf_puts(&t->line, text);
    if (left && i + 1 < t->n)
        add_spaces(&t->line, pad);
}

static int put_heading(struct table *t, struct err *e)
{
    if (t->heading_done)
        return 0;
    t->heading_done = true;
    buf_reset(&t->line);
    for (size_t i = 0; i < t->n; i++) {
        buf_reset(&t->scratch);
        for (const char *c = t->columns[i].name; *c != '\0'; c++)
            buf_char(&t->scratch, (char)toupper((unsigned char)*c));
        add_cell(t, i, buf_text(&t->scratch));
    }
    return out_line((struct str){t->line.p, t->line.n}, e);
}

static int put_rows(struct table *t, struct err *e)
{
    const char *cell = t->cells.p;
    int result = t->rows > 0 ? put_heading(t, e) : 0;

    for (size_t row = 0; row < t->rows && result == 0; row++) {
        buf_reset(&t->line);
        for (size_t i = 0; i < t->n; i++) {
            add_cell(t, i, cell);
            cell += strlen(cell) + 1;
        }
        result = out_line((struct str){t->line.p, t->line.n}, e);
    }
    buf_reset(&t->cells);
    t->rows = 0;
    return result;
}

int table_row(struct table *t, json_t *row, struct err *e)
{
    int result = 0;

    if (row == NULL)
        return err_set(e, EX_SOFTWARE, "bug: a row of a listing is not valid");
    if (t->ndjson) {
        buf_reset(&t->line);
        tree_print(&t->line, row);
        result = out_line((struct str){t->line.p, t->line.n}, e);
    } else {
        keep_row(t, row);
        if (t->rows == ROWS_MAX)
            result = put_rows(t, e);
    }
    json_decref(row);
    return result;
}

int table_end(struct table *t, struct err *e)
{
    int result;

    if (t == NULL)
        return 0;
    result = put_rows(t, e);
    buf_free(&t->cells);
    buf_free(&t->line);
    buf_free(&t->scratch);
    free(t->width);
    free(t);
    return result;
}

/*
 * The statements of all databases, from one list of templates. Names of tables and columns come
 * from the user, have been found in the database, and are quoted; values are bound and never part
 * of a statement.
 *
 * In a template, [event_id] is the column that we call so, or NULL if the table does not have it;
 * {word} is one of the words below or of the database's dialect, which are templates, too; and
 * |published = 1|retry_at = NULL| is what an UPDATE sets, without the columns that the table does
 * not have.
 */
#include "outbox/engine.h"

#include <string.h>

const char *const relay_template[RELAY_STATEMENTS] = {
    [RELAY_SQL_LAST] = "SELECT max([id]) FROM {table}",
    [RELAY_SQL_PAGE] = "SELECT {seen} FROM {table} WHERE {not yet} AND [id] > {after} AND "
                       "[id] <= {last} ORDER BY [id] LIMIT {page}",
    [RELAY_SQL_DONE] = "UPDATE {table} SET |published = {yes}|published_at = {now}|"
                       "retry_at = NULL| WHERE {these}",
    [RELAY_SQL_DELETE] = "DELETE FROM {table} WHERE {these}",
    [RELAY_SQL_LEFT] = "SELECT [id], {proof} FROM {table} WHERE {likely}({not yet}) AND "
                       "[id] >= {after} AND [id] <= {last} ORDER BY [id]",
    [RELAY_SQL_RETRY] = "UPDATE {table} SET |attempts = {attempts}|retry_at = {retry}| "
                        "WHERE {not yet} AND [id] = {row}",
    [RELAY_SQL_FAIL] = "UPDATE {table} SET |attempts = {attempts}|retry_at = NULL|"
                       "error = {reason}| WHERE {not yet} AND [id] = {row}",
    [RELAY_SQL_GIVE_BACK] = "UPDATE {table} SET |error = NULL|attempts = 0|retry_at = NULL| "
                            "WHERE {not yet} AND [error] IS NOT NULL",
    [RELAY_SQL_STATE] =
        "SELECT count(*), count([error]), count(CASE WHEN [error] IS NULL THEN [retry_at] END), "
        "(SELECT [created_at]{text} FROM {table} WHERE {not yet} AND [error] IS NULL "
        "ORDER BY [id] LIMIT 1) FROM {table} WHERE {not yet}",
};

struct sql_words {
    const struct relay_dialect *dialect;
    const struct relay_table *table;
    const char *channel; /* for a schema */
};

static const struct relay_word common_words[] = {
    {"columns", "[id], [event_id]{text}, [aggregate_id]{text}, [event_type]{text}, [payload], "
                "[headers]{text}, [created_at]{text}, [retry_at]{text}, [attempts]{text}, "
                "[error]{text}"}, /* as in enum relay_column */
    {"these", "{likely}({not yet}) AND [id] {among}{unchanged}"},
    {NULL, NULL},
};

/* -------------------------------------------------------------------------------------- quoting */

void relay_sql_quote(struct buf *b, struct str name)
{
    buf_char(b, '"');
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"')
            buf_char(b, '"');
        buf_char(b, name.p[i]);
    }
    buf_char(b, '"');
}

static void quote_literal(struct buf *b, const char *text)
{
    buf_char(b, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            buf_char(b, '\'');
        buf_char(b, *text);
    }
    buf_char(b, '\'');
}

/* Something named after the table. In a dialect with schemas "app.outbox" is a table in one. */
static void quote_after(struct buf *b, const struct sql_words *q, const char *suffix,
                        bool with_schema)
{
    struct str name = str_of(q->table->name);
    const char *dot = q->dialect->schemas ? strchr(name.p, '.') : NULL;
    struct buf whole = BUF_INIT;

    if (dot != NULL) {
        struct str schema = {name.p, (size_t)(dot - name.p)};
        if (with_schema) {
            relay_sql_quote(b, schema);
            buf_char(b, '.');
        }
        name = str_of(dot + 1);
    }
    buf_str(&whole, name);
    buf_puts(&whole, suffix);
    relay_sql_quote(b, (struct str){whole.p, whole.n});
    buf_free(&whole);
}

/* ------------------------------------------------------------------------------------ templates */

static bool expand(struct buf *b, const struct sql_words *q, struct str text);

static void put_column(struct buf *b, const struct relay_table *t, struct str name)
{
    int i = relay_column(name);

    if (t->column[i] != NULL)
        relay_sql_quote(b, str_of(t->column[i]));
    else
        buf_puts(b, "NULL");
}

/* In a table without a column that says so, relayed rows are deleted. */
static void put_published(struct buf *b, const struct relay_table *t, bool is)
{
    if (t->column[RELAY_PUBLISHED] == NULL && t->column[RELAY_PUBLISHED_AT] == NULL) {
        buf_puts(b, is ? "false" : "true");
    } else if (t->column[RELAY_PUBLISHED] == NULL) {
        put_column(b, t, STR("published_at"));
        buf_puts(b, is ? " IS NOT NULL" : " IS NULL");
    } else {
        buf_puts(b, !is && t->boolean ? "NOT " : "");
        put_column(b, t, STR("published"));
        buf_puts(b, t->boolean ? "" : is ? " = 1" : " = 0");
    }
}

static const char *find_word(const struct relay_word *w, struct str name)
{
    while (w->name != NULL && !str_is(name, w->name))
        w++;
    return w->text;
}

static void put_word(struct buf *b, const struct sql_words *q, struct str name)
{
    const char *text = find_word(common_words, name);

    if (text == NULL)
        text = find_word(q->dialect->words, name);
    if (text != NULL)
        expand(b, q, str_of(text));
    else if (str_is(name, "table"))
        quote_after(b, q, "", true);
    else if (str_is(name, "function"))
        quote_after(b, q, "_notify", true);
    else if (str_is(name, "trigger"))
        quote_after(b, q, "_notify", false);
    else if (str_is(name, "index"))
        quote_after(b, q, "_unpublished", false);
    else if (str_is(name, "channel"))
        quote_literal(b, q->channel);
    else if (str_is(name, "page"))
        buf_int(b, RELAY_PAGE);
    else if (str_is(name, "yes"))
        buf_puts(b, q->table->boolean ? "true" : "1");
    else /* not yet, already */
        put_published(b, q->table, str_is(name, "already"));
}

/* False if the table has none of the columns. */
static bool put_set(struct buf *b, const struct sql_words *q, struct str list)
{
    size_t before = b->n;

    for (size_t at = 0; at < list.n;) {
        const char *bar = memchr(list.p + at, '|', list.n - at);
        struct str item = {list.p + at, bar == NULL ? list.n - at : (size_t)(bar - list.p) - at};
        struct str name = {item.p, (size_t)((char *)memchr(item.p, ' ', item.n) - item.p)};
        at += item.n + 1;
        if (q->table->column[relay_column(name)] == NULL)
            continue;
        buf_puts(b, b->n == before ? "" : ", ");
        put_column(b, q->table, name);
        expand(b, q, (struct str){item.p + name.n, item.n - name.n});
    }
    return b->n > before;
}

static bool expand(struct buf *b, const struct sql_words *q, struct str text)
{
    for (size_t at = 0; at < text.n;) {
        const char *p = text.p + at;
        const char *end = NULL;
        if (*p == '[' && p[1] != ']') /* not an array's */
            end = memchr(p, ']', text.n - at);
        else if (*p == '{')
            end = memchr(p, '}', text.n - at);
        else if (*p == '|')
            end = strstr(p, "| ");
        if (end == NULL) {
            buf_char(b, *p);
            at++;
            continue;
        }
        struct str inside = {p + 1, (size_t)(end - p) - 1};
        at += inside.n + 2;
        if (*p == '[')
            put_column(b, q->table, inside);
        else if (*p == '{')
            put_word(b, q, inside);
        else if (!put_set(b, q, inside))
            return false;
    }
    return true;
}

void relay_sql(const struct relay *r, const char *text, struct buf *out)
{
    const struct sql_words q = {r->engine->dialect, &r->table, NULL};

    buf_reset(out);
    if (!expand(out, &q, str_of(text)))
        buf_reset(out);
}

void relay_sql_schema(const struct relay_dialect *d, const struct relay_terms *terms,
                      struct buf *out)
{
    const struct relay_table table = {.name = terms->table};
    const struct sql_words q = {d, &table, terms->channel};

    expand(out, &q, str_of(d->schema));
}

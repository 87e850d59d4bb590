/*
 * What the statements for all databases have in common. Names of tables and columns come from the
 * user, have been found in the database, and are quoted; values are bound and never part of a
 * statement.
 */
#include "outbox/engine.h"

void relay_sql_quote(struct buf *b, const char *name)
{
    buf_char(b, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"')
            buf_char(b, '"');
        buf_char(b, *name);
    }
    buf_char(b, '"');
}

void relay_sql_column(struct buf *b, const struct relay *r, enum relay_column c)
{
    if (relay_has(r, c))
        relay_sql_quote(b, r->table.column[c]);
    else
        buf_puts(b, "NULL");
}

void relay_sql_set(struct buf *b, const struct relay *r, enum relay_column c, const char *value)
{
    if (!relay_has(r, c))
        return;
    buf_puts(b, b->p[b->n - 1] == ' ' ? "" : ", ");
    relay_sql_column(b, r, c);
    buf_printf(b, " = %s", value);
}

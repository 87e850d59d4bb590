/* The names of the table's columns: what --map says, and what the table has. */
#include "base/mem.h"
#include "outbox/engine.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* The words of --map, and our names for the columns. */
static const struct {
    const char *word, *name;
    bool needed;
} columns[RELAY_COLUMNS] = {
    [RELAY_ID] = {"id", "id", true},
    [RELAY_EVENT_ID] = {"event_id", "event_id", false},
    [RELAY_AGGREGATE] = {"aggregate", "aggregate_id", false},
    [RELAY_TYPE] = {"type", "event_type", true},
    [RELAY_PAYLOAD] = {"payload", "payload", true},
    [RELAY_HEADERS] = {"headers", "headers", false},
    [RELAY_CREATED] = {"created_at", "created_at", false},
    [RELAY_RETRY_AT] = {"retry_at", "retry_at", false},
    [RELAY_ATTEMPTS] = {"attempts", "attempts", false},
    [RELAY_ERROR] = {"error", "error", false},
    [RELAY_PUBLISHED] = {"published", "published", false},
    [RELAY_PUBLISHED_AT] = {"published_at", "published_at", false},
};

int relay_column(struct str word)
{
    for (int i = 0; i < RELAY_COLUMNS; i++)
        if (str_is(word, columns[i].word) || str_is(word, columns[i].name))
            return i;
    return -1;
}

static int map_column(struct relay_table *t, struct str item, struct err *e)
{
    const char *equals = memchr(item.p, '=', item.n);
    size_t n = equals == NULL ? item.n : (size_t)(equals - item.p);
    int i = relay_column((struct str){item.p, n});

    if (equals == NULL)
        return err_set(e, EX_USAGE, "--map wants ours=theirs, as id=seq,type=kind: %s",
                       err_quote(item.p, item.n).text);
    if (i < 0)
        return err_set(e, EX_USAGE,
                       "--map knows id, event_id, aggregate, type, payload, headers, created_at, "
                       "published, published_at, attempts, retry_at and error, not %s",
                       err_quote(item.p, n).text);
    free(t->column[i]);
    t->column[i] = item.n == n + 1 ? NULL : mem_dup(equals + 1, item.n - n - 1);
    t->mapped[i] = true;
    if (t->column[i] == NULL && columns[i].needed)
        return err_set(e, EX_USAGE, "--map: the column %s is needed", columns[i].word);
    return 0;
}

int relay_map(struct relay_table *t, const char *map, struct err *e)
{
    for (int i = 0; i < RELAY_COLUMNS; i++)
        t->column[i] = mem_dup(columns[i].name, strlen(columns[i].name));
    for (const char *p = map; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (map_column(t, (struct str){p, n}, e) < 0)
            return -1;
        p += n + (p[n] == ',');
    }
    return 0;
}

static const char *column_among(const struct buf *names, const char *name,
                                int (*compare)(const char *, const char *))
{
    for (size_t at = 0; at < names->n; at += strlen(names->p + at) + 1)
        if (compare(names->p + at, name) == 0)
            return names->p + at;
    return NULL;
}

char *relay_fold(const char *name)
{
    char *folded = mem_dup(name, strlen(name));

    for (char *p = folded; *p != '\0'; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p | 32);
    return folded;
}

/* SQLite compares names without case. In PostgreSQL "Seq" and "seq" are different columns: take the
   column of exactly this spelling, or else the lower-case one, which an unquoted name means. */
static const char *column_found(const struct relay *r, const struct buf *names, const char *name)
{
    const char *found;
    char *folded;

    if (!r->engine->dialect->exact_names)
        return column_among(names, name, strcasecmp);
    if ((found = column_among(names, name, strcmp)) != NULL)
        return found;
    folded = relay_fold(name);
    found = column_among(names, folded, strcmp);
    free(folded);
    return found;
}

/* List the table's columns, so that the user sees what to map. */
static int lacks(struct relay *r, int i, const struct buf *names, struct err *e)
{
    struct buf list = BUF_INIT;

    for (size_t at = 0; at < names->n; at += strlen(names->p + at) + 1) {
        buf_puts(&list, at == 0 ? "" : ", ");
        err_escape(&list, names->p + at, strlen(names->p + at));
    }
    int status = r->table.mapped[i] ? EX_USAGE : EX_DATAERR;
    err_set(e, status, "%s: table %s has no column %s%s%s%s; it has %.500s%s", r->place,
            err_quote_text(r->table.name).text, err_quote_text(r->table.column[i]).text,
            r->table.mapped[i] ? "" : " (--map ", r->table.mapped[i] ? "" : columns[i].word,
            r->table.mapped[i] ? "" : "=…)", buf_text(&list),
            i == RELAY_PUBLISHED ? "; --delete deletes relayed rows instead" : "");
    buf_free(&list);
    return -1;
}

int relay_check(struct relay *r, const struct buf *names, struct err *e)
{
    struct relay_table *t = &r->table;

    if (names->n == 0)
        return err_set(e, EX_DATAERR,
                       "%s: there is no table %s; outbox-relay --schema prints one, --table names "
                       "another",
                       r->place, err_quote_text(t->name).text);
    for (int i = 0; i < RELAY_COLUMNS; i++) {
        const char *found = t->column[i] == NULL ? NULL : column_found(r, names, t->column[i]);
        if (found == NULL && t->column[i] != NULL && (t->mapped[i] || columns[i].needed))
            return lacks(r, i, names, e);
        free(t->column[i]);
        t->column[i] = found == NULL ? NULL : mem_dup(found, strlen(found));
    }
    if (t->column[RELAY_PUBLISHED] == NULL && t->column[RELAY_PUBLISHED_AT] == NULL &&
        !r->terms->remove) {
        t->column[RELAY_PUBLISHED] = mem_dup("published", 9);
        return lacks(r, RELAY_PUBLISHED, names, e);
    }
    return 0;
}

bool relay_has(const struct relay *r, enum relay_column c)
{
    return r->table.column[c] != NULL;
}

void relay_table_free(struct relay_table *t)
{
    for (int i = 0; i < RELAY_COLUMNS; i++)
        free(t->column[i]);
    free(t->folded);
}

const char *relay_column_name(enum relay_column c)
{
    return columns[c].name;
}

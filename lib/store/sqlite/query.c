/*
 * A person's own queries.
 *
 * Queries see TEMP views, so that the tables behind them may change. Each view consists of two: the
 * public one selects everything from a private one with a random name, and the authorizer allows
 * reading a table's columns only on behalf of the private one. A single view would not be enough:
 * SQLite reports reads in a common table expression under the expression's name, so that WITH
 * events AS (SELECT * FROM event) would pass for the view.
 */
#include "store/sql/sql.h"
#include "store/sqlite/sqlite.h"

#include "base/mem.h"
#include "store/upkeep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME "(SELECT name FROM main.groups g WHERE g.grp=t.grp)"

/* The SELECT of each view. spool(1) lists the columns, and a test compares the two. */
static const struct {
    const char *name, *select;
} views[] = {
    {"events",
     "SELECT seq,rfc3339(recorded) AS recorded,id,source,type,subject,event_part(line,'time') AS "
     "time,priority,rfc3339(due) AS notbefore,rfc3339(expires) AS expirytime,version,"
     "event_part(line,'correlationid') AS correlationid,event_part(line,'causationid') AS "
     "causationid,event_part(line,'data') AS data,CAST(line AS TEXT) AS event FROM main.event t"},
    {"group_list",
     "SELECT name AS group_name,CASE patterns WHEN '[]' THEN '[\"#\"]' ELSE patterns END AS "
     "types,ordered,paused,rfc3339(hold) AS hold_until,"
     "(SELECT seq FROM main.cursor c WHERE c.grp=t.grp AND c.priority=5) AS position,"
     "(SELECT count(*) FROM main.item i WHERE i.grp=t.grp AND i.state IN (0,2)) AS waiting,"
     "(SELECT count(*) FROM main.item i WHERE i.grp=t.grp AND i.state=3) AS dead,"
     "rfc3339(created) AS created,rfc3339(seen) AS seen FROM main.groups t"},
    {"waiting", "SELECT " NAME " AS group_name,seq,CASE state WHEN 0 THEN 'waiting' WHEN 1 THEN "
                "'claimed' ELSE 'behind' END AS state,rfc3339(due) AS due,attempts,deaths FROM "
                "main.item t WHERE state<>3"},
    {"dead_letters", "SELECT " NAME " AS group_name,seq,rfc3339(due) AS died,attempts,deaths FROM "
                     "main.item t WHERE state=3"},
    {"attempts", "SELECT " NAME " AS group_name,seq,n,rfc3339(time) AS time,took AS took_ms,"
                 "status,reason,CAST(tail AS TEXT) AS stderr FROM main.attempt t"},
    {"claims",
     "SELECT claim," NAME " AS group_name,(SELECT pid FROM main.consumer c WHERE "
     "c.owner=t.owner) AS pid,lease IS NOT NULL AS leased,first AS first_seq,open_list(open) AS "
     "open FROM main.claim t"},
    {"outcomes", "SELECT " NAME " AS group_name,type,done,retried,dead,deferred,took AS took_ms "
                 "FROM main.tally t"},
    {"durations", "SELECT " NAME " AS group_name,type,le AS le_ms,n FROM main.duration t"},
    {"documents", "SELECT kind,name,rev,rfc3339(expires) AS expires,CAST(value AS TEXT) AS value "
                  "FROM main.document t"},
};

/* Values in columns with these names are JSON if they are valid JSON. */
static const char *const json_columns[] = {"data", "event", "types", "open", "value"};

/* ------------------------------------------------------------------------------------ functions */

static void time_text(sqlite3_context *c, int n, sqlite3_value **v)
{
    char text[CLOCK_TEXT_SIZE];

    (void)n;
    if (sqlite3_value_int64(v[0]) != 0) /* NULL is 0, too */
        sqlite3_result_text(c, clock_format(text, sqlite3_value_int64(v[0])), -1, SQLITE_TRANSIENT);
}

static struct str query_bytes_of(sqlite3_value *v)
{
    const void *p = sqlite3_value_blob(v);
    return (struct str){p == NULL ? "" : p, (size_t)sqlite3_value_bytes(v)};
}

/* Attributes that have no column, taken from the line. Data keeps its bytes, which SQLite's own
   functions would not promise. NULL if the line is damaged. */
static void event_part(sqlite3_context *c, int n, sqlite3_value **v)
{
    struct store *s = sqlite3_user_data(c);
    struct str part = query_bytes_of(v[1]), found;
    struct err damaged = ERR_NONE;

    (void)n;
    if (event_read(&s->seen, &s->scan, query_bytes_of(v[0]), &damaged) < 0)
        return;
    found = str_is(part, "data")            ? s->seen.data
            : str_is(part, "time")          ? s->seen.time
            : str_is(part, "correlationid") ? s->seen.correlationid
                                            : s->seen.causationid;
    if (found.p != NULL)
        sqlite3_result_text64(c, found.p, found.n, SQLITE_TRANSIENT, SQLITE_UTF8);
}

static void open_list(sqlite3_context *c, int n, sqlite3_value **v)
{
    struct buf b = BUF_INIT;
    int64_t *seq;
    size_t count = open_decode(query_bytes_of(v[0]), &seq);

    (void)n;
    for (size_t i = 0; i < count; i++) {
        buf_char(&b, i == 0 ? '[' : ',');
        buf_int(&b, seq[i]);
    }
    buf_puts(&b, count == 0 ? "[]" : "]");
    sqlite3_result_text64(c, b.p, b.n, SQLITE_TRANSIENT, SQLITE_UTF8);
    free(seq);
    buf_free(&b);
}

/* ------------------------------------------------------------------------------ what is allowed */

struct guard {
    char private[24]; /* the prefix of the private views' names */
    bool through;     /* a view of ours is in use */
};

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (sqlite3_stricmp(name, list[i]) == 0)
            return true;
    return false;
}

static bool is_table(const char *name)
{
    static const char *const tables[] = {"event",    "segment",  "groups",   "cursor",
                                         "consumer", "claim",    "item",     "attempt",
                                         "tally",    "duration", "document", "meta"};
    return is_one_of(name, tables, sizeof tables / sizeof tables[0]);
}

/* If a query needs no column of a table (count(*)), SQLite reports an empty column name, on behalf
   of no view: that is allowed once one of our views was used. */
static bool may_read(struct guard *g, const char *table, const char *column, const char *in)
{
    if (is_table(table)) {
        bool ours = in != NULL && strncmp(in, g->private, strlen(g->private)) == 0;
        g->through |= ours;
        return ours || (*column == '\0' && g->through);
    }
    return sqlite3_strnicmp(table, "sqlite_", 7) != 0 && sqlite3_strnicmp(table, "pragma_", 7) != 0;
}

static int authorize(void *guard, int action, const char *a, const char *b, const char *database,
                     const char *in)
{
    static const char *const functions[] = {"load_extension", "fts3_tokenizer", "sqlite_log"};

    (void)database;
    switch (action) {
    case SQLITE_SELECT:
    case SQLITE_RECURSIVE:
        return SQLITE_OK;
    case SQLITE_READ:
        return may_read(guard, a, b, in) ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_FUNCTION:
        return is_one_of(b, functions, 3) ? SQLITE_DENY : SQLITE_OK;
    default:
        return SQLITE_DENY;
    }
}

static int make_views(struct store *s, struct guard *g, struct err *e)
{
    static const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    int got = 0;

    snprintf(g->private, sizeof g->private, "_%016llx_", (unsigned long long)clock_random());
    if (sqlite3_create_function(s->db->sqlite, "rfc3339", 1, flags, s, time_text, NULL, NULL) ||
        sqlite3_create_function(s->db->sqlite, "event_part", 2, flags, s, event_part, NULL, NULL) ||
        sqlite3_create_function(s->db->sqlite, "open_list", 1, flags, s, open_list, NULL, NULL))
        return db_fail(s->db, e);
    for (size_t i = 0; i < sizeof views / sizeof views[0] && got == 0; i++) {
        struct buf sql = BUF_INIT;
        buf_printf(
            &sql, "CREATE TEMP VIEW %s%s AS %s; CREATE TEMP VIEW %s AS SELECT * FROM temp.%s%s",
            g->private, views[i].name, views[i].select, views[i].name, g->private, views[i].name);
        got = db_exec(s->db, buf_text(&sql), e);
        buf_free(&sql);
    }
    /* SQLite creates these two tables at their first use, with statements that are not allowed. */
    return got < 0 ? -1 : db_exec(s->db, "SELECT 1 FROM json_each('[]'),json_tree('[]')", e);
}

/* ------------------------------------------------------------------------------------ the query */

/* Errors in the user's SQL are usage errors; all others are reported as usual. */
static int fail(struct store *s, struct err *e)
{
    const char *words = sqlite3_errmsg(s->db->sqlite);

    switch (sqlite3_errcode(s->db->sqlite) & 0xff) {
    case SQLITE_AUTH:
        return err_set(e, EX_USAGE,
                       "%s: only SELECT is allowed, and only from the views in spool(1)", words);
    case SQLITE_ERROR:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
    case SQLITE_TOOBIG:
        return err_set(e, EX_USAGE, "%s", words);
    default:
        return db_fail(s->db, e);
    }
}

static sqlite3_stmt *prepare(struct store *s, struct str sql, struct err *e)
{
    sqlite3_stmt *q = NULL, *more = NULL;
    const char *rest;

    if (sqlite3_prepare_v2(s->db->sqlite, sql.p, (int)sql.n, &q, &rest) != SQLITE_OK) {
        fail(s, e);
        return NULL;
    }
    int left = (int)(sql.p + sql.n - rest);
    if (q == NULL)
        err_set(e, EX_USAGE, "there is no statement in it");
    else if (sqlite3_prepare_v2(s->db->sqlite, rest, left, &more, NULL) != SQLITE_OK ||
             more != NULL)
        err_set(e, EX_USAGE, "one statement at a time");
    else if (!sqlite3_stmt_readonly(q))
        err_set(e, EX_USAGE, "only SELECT is allowed");
    sqlite3_finalize(more);
    if (e->status == 0)
        return q;
    sqlite3_finalize(q);
    return NULL;
}

static struct query_value value_of(struct store *s, sqlite3_stmt *q, int column, const char *name)
{
    struct query_value v = {.kind = QUERY_NULL};
    struct err no = ERR_NONE;

    switch (sqlite3_column_type(q, column)) {
    case SQLITE_INTEGER:
        v.kind = QUERY_INTEGER;
        v.integer = sqlite3_column_int64(q, column);
        break;
    case SQLITE_FLOAT:
        v.kind = QUERY_REAL;
        v.real = sqlite3_column_double(q, column);
        break;
    case SQLITE_TEXT:
        v.kind = QUERY_TEXT;
        v.bytes = db_text((struct query *)q, column);
        s->scan.envelope = true; /* as for publishing: data may have the full depth */
        if (is_one_of(name, json_columns, sizeof json_columns / sizeof json_columns[0]) &&
            memchr(v.bytes.p, '\n', v.bytes.n) == NULL &&
            js_scan(&s->scan, v.bytes.p, v.bytes.n, &no) == 0)
            v.kind = QUERY_JSON;
        break;
    case SQLITE_BLOB:
        v.kind = QUERY_BLOB;
        v.bytes = db_text((struct query *)q, column);
        break;
    default:
        break;
    }
    return v;
}

/* An object cannot have two members of one name. */
static int read_names(sqlite3_stmt *q, const char **name, int n, struct err *e)
{
    for (int i = 0; i < n; i++) {
        name[i] = sqlite3_column_name(q, i);
        for (int j = 0; j < i; j++)
            if (strcmp(name[i], name[j]) == 0)
                return err_set(e, EX_USAGE, "two columns are called %s: rename one with AS",
                               err_quote_text(name[i]).text);
    }
    return 0;
}

static int read_rows(struct store *s, sqlite3_stmt *q,
                     int (*f)(const struct query_row *row, void *arg, struct err *e), void *arg,
                     struct err *e)
{
    int n = sqlite3_column_count(q), step = SQLITE_DONE;
    const char **name = mem_zero((size_t)n + 1, sizeof *name);
    struct query_value *value = mem_zero((size_t)n + 1, sizeof *value);
    const struct query_row row = {(size_t)n, name, value};
    int got = read_names(q, name, n, e);

    while (got == 0 && (step = sqlite3_step(q)) == SQLITE_ROW) {
        for (int i = 0; i < n; i++)
            value[i] = value_of(s, q, i, name[i]);
        got = f(&row, arg, e);
    }
    if (got == 0 && step != SQLITE_DONE)
        got = fail(s, e);
    free(name);
    free(value);
    return got < 0 ? -1 : 0;
}

int store_query(struct store *s, struct str sql,
                int (*f)(const struct query_row *row, void *arg, struct err *e), void *arg,
                struct err *e)
{
    struct guard guard = {0};

    if (make_views(s, &guard, e) < 0)
        return -1;
    sqlite3_db_config(s->db->sqlite, SQLITE_DBCONFIG_DQS_DML, 0,
                      NULL); /* "n" is a column or an error */
    sqlite3_set_authorizer(s->db->sqlite, authorize, &guard);
    sqlite3_stmt *q = prepare(s, sql, e);
    int got = q == NULL ? -1 : read_rows(s, q, f, arg, e);
    sqlite3_finalize(q);
    sqlite3_set_authorizer(s->db->sqlite, NULL, NULL);
    return got;
}

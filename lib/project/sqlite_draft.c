/*
 * A draft in a SQLite file beside the database. It needs neither readers nor durability.
 *
 * The swap is a transaction of the user's database alone. The draft is attached and only read,
 * because a commit over two files in WAL mode is atomic for each file but not for both. The new
 * tables are created from the draft's schema, at first without indexes and triggers, and filled
 * from the draft's tables; so all names are allowed, and statements need not know where they run.
 */
#include "project/sqlite.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------- the draft */

static void remove_files(const char *path)
{
    static const char *const suffix[] = {"", "-journal", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof suffix / sizeof suffix[0]; i++) {
        struct buf file = BUF_INIT;
        buf_printf(&file, "%s%s", path, suffix[i]);
        unlink(buf_text(&file));
        buf_free(&file);
    }
}

/* Readable by the same users as the model. */
static int create_file(const char *path, const char *live, struct err *e)
{
    struct stat st;
    mode_t mode = stat(live, &st) == 0 ? st.st_mode & 0666 : 0600;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    if (fd < 0)
        return err_errno(e, EX_CANTCREAT, "%s: cannot create it", path);
    fchmod(fd, mode);
    close(fd);
    return 0;
}

int sqlite_open_draft(struct model *draft, struct model *live, const char *name, struct err *e)
{
    struct buf path = BUF_INIT;

    buf_printf(&path, "%s-rebuild-%s", live->name, name);
    remove_files(buf_text(&path));
    int got = create_file(path.p, live->name, e);
    if (got == 0)
        got = model_open(draft, live->engine, path.p, MODEL_CREATE, draft->stopping, e);
    if (got == 0)
        got = model_run(draft, e, "PRAGMA synchronous=OFF", "");
    if (got == 0)
        got = model_run(draft, e, "PRAGMA journal_mode=MEMORY", "");
    /* A foreign key would refuse that its table is dropped. */
    if (got == 0)
        got = model_run(live, e, "PRAGMA foreign_keys=OFF", "");
    if (got == 0)
        got = model_run(live, e, "ATTACH $1 AS eventutils_draft", "t", path.p);
    buf_free(&path);
    return got;
}

void sqlite_remove_draft(struct model *draft, struct model *live)
{
    struct buf path = BUF_INIT;

    (void)live;
    buf_puts(&path, draft->name);
    model_close(draft);
    remove_files(buf_text(&path));
    buf_free(&path);
}

int sqlite_hold(struct model *live, struct err *e)
{
    return model_run(live, e, "BEGIN", "");
}

/* ---------------------------------------------------------------------------------------- names */

/* An SQL statement from a format of SQLite's: %w is a name within double quotes. */
static int run_format(struct model *m, struct err *e, const char *format, const char *a,
                      const char *b, const char *c)
{
    char *sql = sqlite3_mprintf(format, a, b, c);
    int got = sql == NULL ? err_set(e, EX_OSERR, "no memory") : model_run(m, e, sql, "");

    sqlite3_free(sql);
    return got;
}

/* The columns of a table that can be written, quoted. */
static int columns(struct model *m, const char *table, struct buf *out, struct err *e)
{
    int got = model_text(m, e, out,
                         "SELECT group_concat('\"'||replace(name,'\"','\"\"')||'\"') FROM "
                         "pragma_table_xinfo($1,'eventutils_draft') WHERE hidden=0",
                         "t", table);

    return got > 0 ? 0 : got < 0 ? -1 : err_set(e, EX_SOFTWARE, "a table without columns");
}

/* ----------------------------------------------------------------------------------------- swap */

#define DRAFT_OBJECTS                                                                              \
    " FROM eventutils_draft.sqlite_schema s WHERE sql IS NOT NULL AND name NOT LIKE "              \
    "'eventutils\\_projection%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND NOT "   \
    "EXISTS(SELECT 1 FROM pragma_table_list l WHERE l.schema='eventutils_draft' AND "              \
    "l.name=s.name AND l.type='shadow') "

/* The old tables and views: with them go their indexes and triggers. */
static int drop_old(struct model *live, const char *name, struct err *e)
{
    static const char find[] =
        "SELECT upper(s.type)||' '||s.name FROM eventutils_projection p, json_each(p.objects) o, "
        "main.sqlite_schema s WHERE p.name=$1 AND s.name=o.value COLLATE NOCASE AND s.type IN "
        "('table','view') ORDER BY s.type DESC";
    struct buf list = BUF_INIT;
    int got = model_collect(live, e, &list, find, name);

    for (size_t at = 0; at < list.n && got >= 0; at += strlen(list.p + at) + 1) {
        bool view = strncmp(list.p + at, "VIEW ", 5) == 0;
        got = run_format(live, e, view ? "DROP VIEW main.\"%w\"" : "DROP TABLE main.\"%w\"",
                         strchr(list.p + at, ' ') + 1, NULL, NULL);
    }
    buf_free(&list);
    return got < 0 ? -1 : 0;
}

/* Rows keep their rowid, which others may refer to, unless a column of that name hides it. */
static int copy_rows(struct model *live, const char *table, struct err *e)
{
    struct buf names = BUF_INIT;
    int64_t hidden = 0;
    int got = columns(live, table, &names, e);

    if (got == 0)
        got = model_int(live, e, &hidden,
                        "SELECT (SELECT wr FROM pragma_table_list WHERE schema='eventutils_draft' "
                        "AND name=?1) OR EXISTS(SELECT 1 FROM pragma_table_xinfo(?1,"
                        "'eventutils_draft') WHERE name='rowid' COLLATE NOCASE)",
                        "t", table);
    if (got > 0 && !hidden)
        buf_splice(&names, 0, 0, "rowid,", 6);
    if (got > 0) {
        char *sql =
            sqlite3_mprintf("INSERT INTO main.\"%w\"(%s) SELECT %s FROM eventutils_draft.\"%w\"",
                            table, buf_text(&names), names.p, table);
        got = sql == NULL ? err_set(e, EX_OSERR, "no memory") : model_run(live, e, sql, "");
        sqlite3_free(sql);
    }
    buf_free(&names);
    return got < 0 ? -1 : 0;
}

/* AUTOINCREMENT continues where it was, even if its last rows are gone. */
static int copy_sequences(struct model *live, struct err *e)
{
    int64_t n = 0;

    if (model_int(live, e, &n,
                  "SELECT count(*) FROM eventutils_draft.sqlite_schema WHERE "
                  "name='sqlite_sequence'",
                  "") < 0)
        return -1;
    if (n == 0)
        return 0;
    return model_run(live, e,
                     "DELETE FROM main.sqlite_sequence WHERE name IN (SELECT name FROM "
                     "eventutils_draft.sqlite_sequence)",
                     "") < 0 ||
                   model_run(live, e,
                             "INSERT INTO main.sqlite_sequence SELECT * FROM "
                             "eventutils_draft.sqlite_sequence",
                             "") < 0
               ? -1
               : 0;
}

/* Create and fill the tables before the triggers exist, so that none fires. */
static int make_new(struct model *live, struct err *e)
{
    struct buf tables = BUF_INIT, rest = BUF_INIT;
    int got = model_collect(
        live, e, &tables,
        "SELECT sql||char(0)||name" DRAFT_OBJECTS "AND type='table' ORDER BY rowid", NULL);

    if (got == 0)
        got = model_collect(live, e, &rest,
                            "SELECT sql" DRAFT_OBJECTS "AND type<>'table' ORDER BY rowid", NULL);
    for (size_t at = 0; at < tables.n && got >= 0;) {
        const char *name = tables.p + at + strlen(tables.p + at) + 1;
        got = model_run(live, e, tables.p + at, "");
        if (got >= 0)
            got = copy_rows(live, name, e);
        at = (size_t)(name - tables.p) + strlen(name) + 1;
    }
    for (size_t at = 0; at < rest.n && got >= 0; at += strlen(rest.p + at) + 1)
        got = model_run(live, e, rest.p + at, "");
    buf_free(&tables);
    buf_free(&rest);
    return got < 0 ? -1 : copy_sequences(live, e);
}

int sqlite_swap(struct model *live, struct model *draft, const char *name, struct err *e)
{
    (void)draft;
    return drop_old(live, name, e) < 0 || make_new(live, e) < 0 ||
                   model_copy_state(live, name, "main", "eventutils_draft", e) < 0
               ? -1
               : 1;
}

/* --------------------------------------------------------------------------------------- verify */

static json_t *value(sqlite3_stmt *q, int column)
{
    struct buf hex = BUF_INIT;
    json_t *out;

    switch (sqlite3_column_type(q, column)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(q, column));
    case SQLITE_FLOAT:
        out = json_real(sqlite3_column_double(q, column));
        return out == NULL ? json_null() : out; /* infinite */
    case SQLITE_NULL:
        return json_null();
    case SQLITE_BLOB:
        buf_puts(&hex, "x'");
        for (int i = 0; i < sqlite3_column_bytes(q, column); i++)
            buf_printf(&hex, "%02x", ((const unsigned char *)sqlite3_column_blob(q, column))[i]);
        buf_char(&hex, '\'');
        out = json_stringn(hex.p, hex.n);
        buf_free(&hex);
        return out;
    default: {
        struct str text = kit_text(q, column);
        out = json_stringn(text.p, text.n);
        return out == NULL ? json_string("\xef\xbf\xbd") : out; /* not UTF-8 */
    }
    }
}

/* Rows that one side has more often than the other; the last column is the difference. */
static int compare_table(struct model *m, struct verify *v, const char *table, struct err *e)
{
    struct buf names = BUF_INIT;
    struct model_rows *rows = NULL;
    int got = columns(m, table, &names, e);

    if (got == 0) {
        char *sql = sqlite3_mprintf(
            "SELECT %s,sum(eventutils_side) FROM (SELECT %s,1 AS eventutils_side FROM main.\"%w\" "
            "UNION ALL SELECT %s,-1 FROM eventutils_draft.\"%w\") GROUP BY %s HAVING "
            "sum(eventutils_side)<>0",
            buf_text(&names), names.p, table, names.p, table, names.p);
        rows = sql == NULL ? NULL : model_query(m, e, sql, "");
        sqlite3_free(sql);
        got = rows == NULL ? -1 : 0;
    }
    while (got >= 0 && (got = model_row(m, rows, e)) > 0) {
        sqlite3_stmt *q = (sqlite3_stmt *)rows;
        int n = sqlite3_column_count(q) - 1;
        int64_t times = sqlite3_column_int64(q, n);
        json_t *row = json_object();
        for (int i = 0; i < n; i++)
            json_object_set_new(row, sqlite3_column_name(q, i), value(q, i));
        got = verify_row(v, table, times > 0, times > 0 ? times : -times, row, e);
    }
    model_done(m, rows);
    buf_free(&names);
    return got;
}

int sqlite_compare(struct model *live, struct model *draft, struct verify *v, struct err *e)
{
    struct buf list = BUF_INIT;
    int got =
        model_collect(live, e, &list,
                      "SELECT type||char(0)||name||char(0)||sql||char(0)||coalesce((SELECT m.sql "
                      "FROM main.sqlite_schema m WHERE m.name=s.name AND m.type=s.type),"
                      "'')" DRAFT_OBJECTS "ORDER BY type='table' DESC,rowid",
                      NULL);

    (void)draft;
    for (size_t at = 0; at < list.n && got >= 0;) {
        const char *part[4]; /* type, name, the draft's sql, the model's sql or "" */
        for (int i = 0; i < 4; i++) {
            part[i] = list.p + at;
            at += strlen(part[i]) + 1;
        }
        if (strcmp(part[2], part[3]) != 0)
            got = verify_sql(v, part[1], part[3], part[2], e);
        else if (strcmp(part[0], "table") == 0)
            got = compare_table(live, v, part[1], e);
    }
    buf_free(&list);
    return got;
}

/*
 * The draft: a model in a file of its own, built from the first event on, either to replace the
 * live model or to be compared with it. A draft needs neither readers nor durability: the next run
 * removes what a kill leaves of it.
 *
 * The swap is a transaction of the user's database alone. The draft is attached and only read,
 * because a commit over two files in WAL mode is atomic for each file but not for both. The new
 * tables are created from the draft's schema, at first without indexes and triggers, and filled
 * from the draft's tables; so all names are allowed, and statements need not know where they run.
 */
#include "base/json_tree.h"
#include "base/point.h"
#include "project/model.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct aside {
    struct projection draft;
    struct model live;
    struct buf path; /* of the draft */
    int64_t first;   /* position of the log's first event when we began */
};

/* ----------------------------------------------------------------------------------- the draft */

static void remove_draft(const struct aside *a)
{
    static const char *const suffix[] = {"", "-journal", "-wal", "-shm"};

    for (size_t i = 0; i < sizeof suffix / sizeof suffix[0] && a->path.n > 0; i++) {
        struct buf file = BUF_INIT;
        buf_printf(&file, "%s%s", a->path.p, suffix[i]);
        unlink(buf_text(&file));
        buf_free(&file);
    }
}

/* Readable by the same users as the model. */
static int create_draft(const struct aside *a, struct err *e)
{
    struct stat st;
    mode_t mode = stat(a->live.path, &st) == 0 ? st.st_mode & 0666 : 0600;
    int fd = open(a->path.p, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);

    if (fd < 0)
        return err_errno(e, EX_CANTCREAT, "%s: cannot create it", a->path.p);
    fchmod(fd, mode);
    close(fd);
    return 0;
}

/* Position of the log's first event; 1 when the log is empty. */
static int log_first(struct store *s, int64_t *first, struct err *e)
{
    const struct log_query all = {.lines = true};
    struct log_entry entry;
    struct log *log;

    *first = 1;
    if (log_open(&log, s, &all, e) < 0)
        return -1;
    int got = log_next(log, &entry, e);
    if (got > 0)
        *first = entry.seq;
    log_close(log);
    return got < 0 ? -1 : 0;
}

static int open_draft(struct aside *a, const struct projection_terms *terms, struct err *e)
{
    struct projection *p = &a->draft;

    p->draft = true;
    if (projection_init(p, terms, e) < 0 || claim_take(p, CLAIM_ASIDE, e) < 0 ||
        log_first(terms->spool, &a->first, e) < 0 ||
        model_open(&a->live, p->path, MODEL_CREATE, terms->stopping, e) < 0)
        return -1;
    buf_printf(&a->path, "%s-rebuild-%s", p->path, terms->name);
    buf_text(&a->path);
    remove_draft(a);
    if (create_draft(a, e) < 0 || projection_begin(p, a->path.p, e) < 0)
        return -1;
    return model_run(&p->model, e, "PRAGMA journal_mode=MEMORY", "") < 0 ||
                   model_run(&p->model, e, "PRAGMA synchronous=OFF", "") < 0 ||
                   model_run(&a->live, e, "ATTACH ? AS eventutils_draft", "t", a->path.p) < 0
               ? -1
               : 0;
}

static void close_draft(struct aside *a)
{
    model_rollback(&a->live);
    model_close(&a->live);
    bool made = a->draft.model.db != NULL;
    rules_finalize(&a->draft.statements);
    model_close(&a->draft.model);
    if (made) /* while the claim is ours */
        remove_draft(a);
    projection_free(&a->draft);
    buf_free(&a->path);
}

/* Apply events to the end of the log; fail if its beginning was pruned since we began. */
static int advance_draft(struct aside *a, struct err *e)
{
    struct projection *p = &a->draft;
    int64_t first;

    if (projection_advance(p, e) < 0)
        return -1;
    if (p->terms.stopping())
        return err_set(e, EX_TEMPFAIL, "interrupted: nothing has changed");
    if (log_first(p->terms.spool, &first, e) < 0)
        return -1;
    return first == a->first
               ? 0
               : err_set(e, EX_TEMPFAIL,
                         "events were pruned during the rebuild: nothing has changed");
}

/* ---------------------------------------------------------------------------------------- names */

/* A list of texts, each with a NUL behind it. */
static int collect(struct model *m, struct err *e, struct buf *out, const char *sql,
                   const char *parameter)
{
    sqlite3_stmt *q = model_query(m, e, sql, parameter == NULL ? "" : "t", parameter);
    int got = q == NULL ? -1 : 0;

    while (got >= 0 && (got = model_row(m, q, e)) > 0) {
        buf_str(out, model_column(q, 0));
        buf_char(out, '\0');
    }
    sqlite3_finalize(q);
    return got;
}

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
                         "pragma_table_xinfo(?,'eventutils_draft') WHERE hidden=0",
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
static int drop_old(struct aside *a, const char *name, struct err *e)
{
    static const char find[] =
        "SELECT upper(s.type)||' '||s.name FROM eventutils_projection p, json_each(p.objects) o, "
        "main.sqlite_schema s WHERE p.name=? AND s.name=o.value COLLATE NOCASE AND s.type IN "
        "('table','view') ORDER BY s.type DESC";
    struct buf list = BUF_INIT;
    int got = collect(&a->live, e, &list, find, name);

    for (size_t at = 0; at < list.n && got >= 0; at += strlen(list.p + at) + 1) {
        bool view = strncmp(list.p + at, "VIEW ", 5) == 0;
        got = run_format(&a->live, e, view ? "DROP VIEW main.\"%w\"" : "DROP TABLE main.\"%w\"",
                         strchr(list.p + at, ' ') + 1, NULL, NULL);
    }
    buf_free(&list);
    return got < 0 ? -1 : 0;
}

/* Rows keep their rowid, which others may refer to, unless a column of that name hides it. */
static int copy_rows(struct aside *a, const char *table, struct err *e)
{
    struct buf names = BUF_INIT;
    int64_t hidden = 0;
    int got = columns(&a->live, table, &names, e);

    if (got == 0)
        got = model_int(&a->live, e, &hidden,
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
        got = sql == NULL ? err_set(e, EX_OSERR, "no memory") : model_run(&a->live, e, sql, "");
        sqlite3_free(sql);
    }
    buf_free(&names);
    return got < 0 ? -1 : 0;
}

/* AUTOINCREMENT continues where it was, even if its last rows are gone. */
static int copy_sequences(struct aside *a, struct err *e)
{
    int64_t n = 0;

    if (model_int(&a->live, e, &n,
                  "SELECT count(*) FROM eventutils_draft.sqlite_schema WHERE "
                  "name='sqlite_sequence'",
                  "") < 0)
        return -1;
    if (n == 0)
        return 0;
    return model_run(&a->live, e,
                     "DELETE FROM main.sqlite_sequence WHERE name IN (SELECT name FROM "
                     "eventutils_draft.sqlite_sequence)",
                     "") < 0 ||
                   model_run(&a->live, e,
                             "INSERT INTO main.sqlite_sequence SELECT * FROM "
                             "eventutils_draft.sqlite_sequence",
                             "") < 0
               ? -1
               : 0;
}

/* Create and fill the tables before the triggers exist, so that none fires. */
static int make_new(struct aside *a, struct err *e)
{
    struct buf tables = BUF_INIT, rest = BUF_INIT;
    int got =
        collect(&a->live, e, &tables,
                "SELECT sql||char(0)||name" DRAFT_OBJECTS "AND type='table' ORDER BY rowid", NULL);

    if (got == 0)
        got = collect(&a->live, e, &rest,
                      "SELECT sql" DRAFT_OBJECTS "AND type<>'table' ORDER BY rowid", NULL);
    for (size_t at = 0; at < tables.n && got >= 0;) {
        const char *name = tables.p + at + strlen(tables.p + at) + 1;
        got = model_run(&a->live, e, tables.p + at, "");
        if (got >= 0)
            got = copy_rows(a, name, e);
        at = (size_t)(name - tables.p) + strlen(name) + 1;
    }
    for (size_t at = 0; at < rest.n && got >= 0; at += strlen(rest.p + at) + 1)
        got = model_run(&a->live, e, rest.p + at, "");
    buf_free(&tables);
    buf_free(&rest);
    return got < 0 ? -1 : copy_sequences(a, e);
}

static int copy_state(struct aside *a, const char *name, struct err *e)
{
    static const char *const tables[] = {"eventutils_projection", "eventutils_projection_dead"};
    int got = 0;

    for (size_t i = 0; i < 2 && got >= 0; i++) {
        char *clear = sqlite3_mprintf("DELETE FROM main.%s WHERE name=?", tables[i]);
        char *copy = sqlite3_mprintf("INSERT INTO main.%s SELECT * FROM eventutils_draft.%s",
                                     tables[i], tables[i]);
        got = clear == NULL || copy == NULL                  ? err_set(e, EX_OSERR, "no memory")
              : model_run(&a->live, e, clear, "t", name) < 0 ? -1
                                                             : model_run(&a->live, e, copy, "");
        sqlite3_free(clear);
        sqlite3_free(copy);
    }
    return got < 0 ? -1 : 0;
}

/* 1: done; 0: the live model has advanced, so the draft must catch up; -1. */
static int swap(struct aside *a, struct err *e)
{
    const struct point point = {POINT_END, 0};
    const char *name = a->draft.terms.name;
    int64_t position = 0, end;

    if (model_begin(&a->live, e) < 0)
        return -1;
    if (model_tables(&a->live, e) < 0 ||
        model_int(&a->live, e, &position,
                  "SELECT position FROM main.eventutils_projection WHERE name=?", "t", name) < 0 ||
        log_point(a->draft.terms.spool, &point, &end, e) < 0)
        return -1;
    if (position > a->draft.position &&
        position < end) { /* a position beyond the end belongs to another log */
        model_rollback(&a->live);
        return 0;
    }
    if (model_collides(&a->live, name, buf_text(&a->draft.objects), e) < 0 ||
        drop_old(a, name, e) < 0 || make_new(a, e) < 0 || copy_state(a, name, e) < 0)
        return -1;
    return model_commit(&a->live, e) < 0 ? -1 : 1;
}

static int check_complete(const struct aside *a, bool incomplete, struct err *e)
{
    if (incomplete || a->first <= 1)
        return 0;
    return err_set(e, EX_DATAERR,
                   "the log begins at seq %" PRId64 ": a new model would lack the pruned "
                   "events; --force builds it anyway",
                   a->first);
}

/* Report what would make the swap fail before doing the work. */
static int check_tables(struct aside *a, struct err *e)
{
    if (model_begin(&a->live, e) < 0)
        return -1;
    int got = model_tables(&a->live, e) < 0 ||
                      model_collides(&a->live, a->draft.terms.name, buf_text(&a->draft.objects), e)
                  ? -1
                  : 0;
    if (got == 0)
        return model_commit(&a->live, e);
    model_rollback(&a->live);
    return -1;
}

int projection_rebuild(const struct projection_terms *terms, bool incomplete, int64_t *applied,
                       struct err *e)
{
    struct aside a = {.path = BUF_INIT};
    int got = open_draft(&a, terms, e);

    if (got >= 0 && (got = claim_name(&a.draft, e)) == 0 &&
        (got = check_complete(&a, incomplete, e)) == 0 && (got = check_tables(&a, e)) == 0 &&
        (got = model_run(&a.live, e, "PRAGMA foreign_keys=OFF", "")) >= 0)
        do {
            got = advance_draft(&a, e) < 0 ? -1 : swap(&a, e);
        } while (got == 0);
    if (got > 0 && (got = claim_group(&a.draft, e)) == 0)
        got = group_pass(terms->spool, terms->name, a.draft.position, NULL, 0, e);
    *applied = a.draft.applied;
    close_draft(&a);
    return got;
}

/* --------------------------------------------------------------------------------------- verify */

struct verify {
    struct aside *a;
    int (*f)(json_t *row, void *arg, struct err *e);
    void *arg;
    int64_t found;
};

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
        struct str text = model_column(q, column);
        out = json_stringn(text.p, text.n);
        return out == NULL ? json_string("\xef\xbf\xbd") : out; /* not UTF-8 */
    }
    }
}

static int tell(struct verify *v, const char *table, bool model, int64_t times, json_t *row,
                struct err *e)
{
    v->found++;
    return v->f(json_pack("{s:o,s:s,s:I,s:o}", "table", tree_text(str_of(table)), "only",
                          model ? "model" : "rebuilt", "times", (json_int_t)times, "row", row),
                v->arg, e);
}

/* Rows that one side has more often than the other; the last column is the difference. */
static int compare_rows(struct verify *v, const char *table, struct err *e)
{
    struct model *m = &v->a->live;
    struct buf names = BUF_INIT;
    sqlite3_stmt *q = NULL;
    int got = columns(m, table, &names, e);

    if (got == 0) {
        char *sql = sqlite3_mprintf(
            "SELECT %s,sum(eventutils_side) FROM (SELECT %s,1 AS eventutils_side FROM main.\"%w\" "
            "UNION ALL SELECT %s,-1 FROM eventutils_draft.\"%w\") GROUP BY %s HAVING "
            "sum(eventutils_side)<>0",
            buf_text(&names), names.p, table, names.p, table, names.p);
        q = sql == NULL ? NULL : model_query(m, e, sql, "");
        sqlite3_free(sql);
        got = q == NULL ? -1 : 0;
    }
    while (got >= 0 && (got = model_row(m, q, e)) > 0) {
        int n = sqlite3_column_count(q) - 1;
        int64_t times = sqlite3_column_int64(q, n);
        json_t *row = json_object();
        for (int i = 0; i < n; i++)
            json_object_set_new(row, sqlite3_column_name(q, i), value(q, i));
        got = tell(v, table, times > 0, times > 0 ? times : -times, row, e);
    }
    sqlite3_finalize(q);
    buf_free(&names);
    return got;
}

static int tell_schema(struct verify *v, const char *name, const char *sql, bool model,
                       struct err *e)
{
    return sql[0] == '\0'
               ? 0
               : tell(v, name, model, 1, json_pack("{s:o}", "sql", tree_text(str_of(sql))), e);
}

/* One object of the draft; its row in the list is type, name, sql, and the model's sql or "". */
static int compare_object(struct verify *v, const char *type, const char *name, const char *draft,
                          const char *live, struct err *e)
{
    if (strcmp(draft, live) != 0)
        return tell_schema(v, name, live, true, e) < 0 || tell_schema(v, name, draft, false, e) < 0
                   ? -1
                   : 0;
    return strcmp(type, "table") == 0 ? compare_rows(v, name, e) : 0;
}

static int compare(struct verify *v, struct err *e)
{
    struct buf list = BUF_INIT;
    int got =
        collect(&v->a->live, e, &list,
                "SELECT type||char(0)||name||char(0)||sql||char(0)||coalesce((SELECT m.sql "
                "FROM main.sqlite_schema m WHERE m.name=s.name AND m.type=s.type),'')" DRAFT_OBJECTS
                "ORDER BY type='table' DESC,rowid",
                NULL);

    for (size_t at = 0; at < list.n && got >= 0;) {
        const char *part[4];
        for (int i = 0; i < 4; i++) {
            part[i] = list.p + at;
            at += strlen(part[i]) + 1;
        }
        got = compare_object(v, part[0], part[1], part[2], part[3], e);
    }
    buf_free(&list);
    return got;
}

/* Bring the draft to where the model is. */
static int follow_model(struct aside *a, struct err *e)
{
    struct projection *p = &a->draft;
    int got = model_int(&a->live, e, &p->until,
                        "SELECT position FROM main.eventutils_projection WHERE name=?", "t",
                        p->terms.name);

    if (got == 0)
        return err_set(e, EX_NOINPUT, "%s: there is no projection %s", a->live.path,
                       err_quote_text(p->terms.name).text);
    if (got < 0 || p->until == 0)
        return got < 0 ? -1 : 0;
    log_close(p->log); /* this log was opened to end at the old position */
    p->log = NULL;
    return advance_draft(a, e);
}

/* Build most of the draft without a lock on the model, then the rest in a read transaction that
   stays open during the comparison. */
static int meet(struct aside *a, struct err *e)
{
    struct err none = ERR_NONE;

    if (model_int(&a->live, &none, &(int64_t){0}, "SELECT 1 FROM main.eventutils_projection", "") <
            0 &&
        none.status == EX_DATAERR)
        return err_set(e, EX_NOINPUT, "%s: there is no projection in it", a->live.path);
    return follow_model(a, e) < 0 || model_run(&a->live, e, "BEGIN", "") < 0 ||
                   follow_model(a, e) < 0
               ? -1
               : 0;
}

int64_t projection_verify(const struct projection_terms *terms,
                          int (*f)(json_t *row, void *arg, struct err *e), void *arg, struct err *e)
{
    struct aside a = {.path = BUF_INIT};
    struct verify v = {&a, f, arg, 0};
    int got = -1;

    if (access(terms->database, F_OK) != 0)
        return err_errno(e, 0, "%s", terms->database);
    if (open_draft(&a, terms, e) == 0)
        got = meet(&a, e);
    if (got == 0)
        got = compare(&v, e);
    close_draft(&a);
    return got < 0 ? -1 : v.found;
}

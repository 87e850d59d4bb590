/* The statements of a projection's file in SQLite, which finds their ends and their parameters. */
#include "project/sqlite.h"

#include <stdlib.h>
#include <string.h>

const char *const sqlite_init_words[] = {"CREATE", "ANALYZE", NULL};

/* SQLite's message about a statement: the file is wrong, unless the database cannot be read. */
static int fail_prepare(struct model *m, struct err *e)
{
    switch (sqlite3_errcode(sqlite_of(m)) & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_AUTH:
    case SQLITE_TOOBIG:
        return err_set(e, EX_DATAERR, "%s", sqlite3_errmsg(sqlite_of(m)));
    default:
        return sqlite_fail(m, e);
    }
}

int sqlite_compile(struct model *m, const char *sql, const char **end, struct statement *out,
                   struct err *e)
{
    sqlite3_stmt *stmt = NULL;
    int got = 0;

    if (sqlite3_prepare_v3(sqlite_of(m), sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, end) !=
        SQLITE_OK)
        return fail_prepare(m, e);
    int n = sqlite3_bind_parameter_count(stmt);
    if (out->section->kind == RULES_INIT)
        out->parameters = n;
    for (int i = 1; i <= n && out->section->kind == RULES_ON && got == 0; i++)
        got = statement_parameter(out, sqlite3_bind_parameter_name(stmt, i), e);
    out->own = stmt;
    out->sql = sqlite3_sql(stmt);
    if (got < 0)
        sqlite_forget(m, out);
    return got;
}

void sqlite_forget(struct model *m, struct statement *s)
{
    (void)m;
    sqlite3_finalize(s->own);
    s->own = NULL;
}

int sqlite_run_once(struct model *m, struct statement *s, struct err *e)
{
    int got;

    while ((got = sqlite3_step(s->own)) == SQLITE_ROW)
        continue;
    if (got == SQLITE_DONE)
        return 0;
    return (sqlite3_errcode(sqlite_of(m)) & 0xff) == SQLITE_CONSTRAINT
               ? err_set(e, EX_DATAERR, "%s", sqlite3_errmsg(sqlite_of(m)))
               : fail_prepare(m, e);
}

int sqlite_check(const struct model_engine *self, const struct rules *rules, struct buf *objects,
                 struct err *e)
{
    struct sqlite_model own = {NULL};
    struct model m = {.engine = self, .name = rules->file, .own = &own};
    struct statements all = {NULL, 0, false};
    int64_t temporary = 0;
    int got = -1;

    if (sqlite3_open(":memory:", &own.db) != SQLITE_OK)
        err_set(e, EX_OSERR, "no memory");
    else if (rules_init(&m, rules, e) == 0 && rules_prepare(&all, &m, rules, e) == 0 &&
             model_int(&m, e, &temporary, "SELECT count(*) FROM sqlite_temp_schema", "") > 0)
        got = temporary > 0 ? err_set(e, EX_DATAERR,
                                      "%s: a temporary table or view would be gone "
                                      "with the process",
                                      rules->file)
                            : model_text(&m, e, objects,
                                         "SELECT json_group_array(name) FROM pragma_table_list "
                                         "WHERE schema='main' AND type IN ('table','virtual',"
                                         "'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
                                         "");
    rules_finalize(&all, &m);
    sqlite3_close(own.db);
    return got < 0 ? -1 : 0;
}

/* ----------------------------------------------------------------------------------------- run */

/* Values are bound as views, which are valid until the statement is reset. */
static void bind_all(struct statement *s, const struct log_entry *entry, const struct event *ev)
{
    for (int i = 0; i < s->parameters; i++) {
        struct str text;
        int64_t number = 0;
        char kind = statement_value(entry, ev, s->parameter[i], &number, &text) > 0 ? 'i' : 's';
        kit_bind_value(s->own, i + 1, kind, number, text);
    }
}

/* Did this event fail, or would any event? If a statement can no longer be prepared, because
   somebody dropped its table, the event is not at fault. */
static bool event_at_fault(sqlite3_stmt *stmt, struct model *m)
{
    sqlite3_stmt *again = NULL;

    switch (sqlite3_errcode(sqlite_of(m)) & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
        return true;
    case SQLITE_ERROR:
        sqlite3_prepare_v2(sqlite_of(m), sqlite3_sql(stmt), -1, &again, NULL);
        sqlite3_finalize(again);
        return again != NULL;
    default:
        return false;
    }
}

int sqlite_run(struct model *m, struct statement *s, const struct log_entry *entry,
               const struct event *ev, struct fault *fault, struct err *e)
{
    int got;

    bind_all(s, entry, ev);
    while ((got = sqlite3_step(s->own)) == SQLITE_ROW)
        continue;
    if (got == SQLITE_DONE) {
        sqlite3_reset(s->own);
        return 0;
    }
    struct err broken = ERR_NONE, why = ERR_NONE;
    err_set(&why, EX_DATAERR, "%s",
            sqlite3_errmsg(sqlite_of(m))); /* before another statement replaces the message */
    sqlite_fail(m, &broken);
    bool at_fault = event_at_fault(s->own, m);
    sqlite3_reset(s->own);
    if (!at_fault) {
        *e = broken;
        if (broken.status == EX_DATAERR)
            fault->statement = s;
        return -1;
    }
    *fault = (struct fault){entry->seq, s, why};
    return 1;
}

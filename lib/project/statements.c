/*
 * The statements of a projection's file. Each begins with a word from a short list: statements that
 * would end the transaction, leave the database or change other tables are refused. Values are
 * always bound.
 */
#include "project/model.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { BY_SEQ, BY_ID, BY_TYPE, BY_SOURCE, BY_SUBJECT, BY_EVENT, BY_PARSING }; /* from here on */
enum { BY_TIME = BY_PARSING, BY_VERSION, BY_CORRELATIONID, BY_DATA, PARAMETERS };

static const char *const parameter_names[PARAMETERS] = {
    [BY_SEQ] = ":seq",         [BY_ID] = ":id",
    [BY_TYPE] = ":type",       [BY_SOURCE] = ":source",
    [BY_SUBJECT] = ":subject", [BY_EVENT] = ":event",
    [BY_TIME] = ":time",       [BY_VERSION] = ":version",
    [BY_DATA] = ":data",       [BY_CORRELATIONID] = ":correlationid",
};

static const char *const everywhere[] = {"INSERT", "REPLACE", "UPDATE", "DELETE",
                                         "SELECT", "WITH",    "VALUES", NULL};
static const char *const in_init[] = {"CREATE", "ANALYZE", NULL};

static int at_line(const struct rules *rules, int64_t line, struct err *e)
{
    return err_at(e, "%s: line %" PRId64 ": ", rules->file, line);
}

/* ------------------------------------------------------------------------------ one at a time */

/* Skip white space and comments up to the beginning of a statement. */
static const char *skip(const char *p)
{
    for (;;) {
        const char *end = NULL;
        p += strspn(p, " \t\r\n\f;");
        if (strncmp(p, "--", 2) == 0)
            end = strchr(p, '\n');
        else if (strncmp(p, "/*", 2) == 0)
            end = strstr(p + 2, "*/");
        else
            return p;
        p = end == NULL ? p + strlen(p) : end + 1 + (*end == '*');
    }
}

static bool listed(const char *const *list, const char *p, size_t n)
{
    for (; *list != NULL; list++)
        if (strlen(*list) == n && strncasecmp(*list, p, n) == 0)
            return true;
    return false;
}

static int check_word(enum rules_kind kind, const char *sql, struct err *e)
{
    size_t n = strspn(sql, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

    if (kind == RULES_HEAD)
        return err_set(e, EX_DATAERR,
                       "a statement before the first heading: \"-- @init\" or \"-- @on TYPE\" "
                       "goes in front of it");
    if (n == 0 || listed(everywhere, sql, n)) /* n 0: SQLite has the best message */
        return 0;
    if (!listed(in_init, sql, n))
        return err_set(e, EX_DATAERR, "%s is not allowed in a projection", err_quote(sql, n).text);
    return kind == RULES_INIT
               ? 0
               : err_set(e, EX_DATAERR, "%s belongs under \"@init\"", err_quote(sql, n).text);
}

/* SQLite's message about a statement: the file is wrong, unless the database cannot be read. */
static int fail_prepare(struct model *m, struct err *e)
{
    switch (sqlite3_errcode(m->db) & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_AUTH:
    case SQLITE_TOOBIG:
        return err_set(e, EX_DATAERR, "%s", sqlite3_errmsg(m->db));
    default:
        return model_fail(m, e);
    }
}

/* The next statement of a section, from *at on: 1; 0: no more; -1. */
static int next_statement(struct model *m, const struct rules *rules,
                          const struct rules_section *section, const char **at,
                          struct statement *out, struct err *e)
{
    const char *sql = skip(*at);

    *out = (struct statement){.section = section, .line = section->line};
    if (*sql == '\0')
        return 0;
    for (const char *p = section->sql; p < sql; p++)
        out->line += *p == '\n';
    if (check_word(section->kind, sql, e) < 0)
        return at_line(rules, out->line, e);
    if (sqlite3_prepare_v3(m->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &out->stmt, at) !=
        SQLITE_OK) {
        fail_prepare(m, e);
        return at_line(rules, out->line, e);
    }
    return 1;
}

static int name_parameters(struct statement *s, struct err *e)
{
    s->parameters = sqlite3_bind_parameter_count(s->stmt);
    s->parameter = mem_zero((size_t)s->parameters + 1, 1);
    for (int i = 0; i < s->parameters; i++) {
        const char *name = sqlite3_bind_parameter_name(s->stmt, i + 1);
        unsigned char known = 0;
        while (known < PARAMETERS && (name == NULL || strcmp(name, parameter_names[known]) != 0))
            known++;
        if (known == PARAMETERS)
            return err_set(e, EX_DATAERR,
                           "there is no parameter %s: there are :seq :id :type :source :subject "
                           ":time :version :correlationid :data :event",
                           err_quote_text(name == NULL ? "?" : name).text);
        s->parameter[i] = known;
    }
    return 0;
}

static void finalize(struct statement *s)
{
    sqlite3_finalize(s->stmt);
    free(s->parameter);
}

/* --------------------------------------------------------------------------------- all of them */

static int init_statement(struct model *m, struct statement *s, struct err *e)
{
    int got;

    if (sqlite3_bind_parameter_count(s->stmt) > 0)
        return err_set(e, EX_DATAERR,
                       "there is no event under \"@init\": a parameter has no value");
    while ((got = sqlite3_step(s->stmt)) == SQLITE_ROW)
        continue;
    if (got == SQLITE_DONE)
        return 0;
    return (sqlite3_errcode(m->db) & 0xff) == SQLITE_CONSTRAINT
               ? err_set(e, EX_DATAERR, "%s", sqlite3_errmsg(m->db))
               : fail_prepare(m, e);
}

static int init_section(struct model *m, const struct rules *rules,
                        const struct rules_section *section, struct err *e)
{
    const char *at = section->sql;
    struct statement s;
    int got;

    while ((got = next_statement(m, rules, section, &at, &s, e)) > 0) {
        got = init_statement(m, &s, e);
        finalize(&s);
        if (got < 0)
            return at_line(rules, s.line, e);
    }
    return got;
}

int rules_init(struct model *m, const struct rules *rules, struct err *e)
{
    for (size_t i = 0; i < rules->n; i++)
        if (rules->section[i].kind != RULES_ON && init_section(m, rules, &rules->section[i], e) < 0)
            return -1;
    return 0;
}

int rules_prepare(struct statements *all, struct model *m, const struct rules *rules, struct err *e)
{
    struct statement s;
    int got = 0;

    *all = (struct statements){NULL, 0, false};
    for (size_t i = 0; i < rules->n && got == 0; i++) {
        const char *at = rules->section[i].sql;
        if (rules->section[i].kind != RULES_ON)
            continue;
        while ((got = next_statement(m, rules, &rules->section[i], &at, &s, e)) > 0) {
            all->item = mem_grow(all->item, all->n + 1, sizeof *all->item);
            if (name_parameters(&s, e) < 0)
                got = at_line(rules, s.line, e);
            for (int k = 0; k < s.parameters; k++)
                all->parse |= s.parameter[k] >= BY_PARSING;
            all->item[all->n++] = s;
            if (got < 0)
                break;
        }
    }
    return got;
}

void rules_finalize(struct statements *all)
{
    for (size_t i = 0; i < all->n; i++)
        finalize(&all->item[i]);
    free(all->item);
    *all = (struct statements){NULL, 0, false};
}

int rules_check(const struct rules *rules, struct buf *objects, struct err *e)
{
    struct model m = {.path = rules->file};
    struct statements all = {NULL, 0, false};
    int64_t temporary = 0;
    int got = -1;

    if (sqlite3_open(":memory:", &m.db) != SQLITE_OK)
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
    rules_finalize(&all);
    sqlite3_close(m.db);
    return got < 0 ? -1 : 0;
}

/* ----------------------------------------------------------------------------------------- run */

/* Values are bound as views, which are valid until the statement is reset. */
static void bind_all(struct statement *s, const struct log_entry *entry, const struct event *ev)
{
    for (int i = 0; i < s->parameters; i++) {
        struct str text = {NULL, 0};
        switch (s->parameter[i]) {
        case BY_SEQ:
            sqlite3_bind_int64(s->stmt, i + 1, entry->seq);
            continue;
        case BY_VERSION:
            kit_bind_value(s->stmt, i + 1, 'o', ev->version > 0 ? ev->version : KIT_NONE, text);
            continue;
        case BY_ID:
            text = entry->id;
            break;
        case BY_TYPE:
            text = entry->type;
            break;
        case BY_SOURCE:
            text = entry->source;
            break;
        case BY_SUBJECT:
            text = entry->subject;
            break;
        case BY_EVENT:
            text = entry->line;
            break;
        case BY_TIME:
            text = ev->time;
            break;
        case BY_CORRELATIONID:
            text = ev->correlationid;
            break;
        default:
            text = ev->data;
        }
        kit_bind_value(s->stmt, i + 1, 's', 0, text);
    }
}

/* Did this event fail, or would any event? If a statement can no longer be prepared, because
   somebody dropped its table, the event is not at fault. */
static bool event_at_fault(struct statement *s, struct model *m)
{
    sqlite3_stmt *again = NULL;

    switch (sqlite3_errcode(m->db) & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_RANGE:
        return true;
    case SQLITE_ERROR:
        sqlite3_prepare_v2(m->db, sqlite3_sql(s->stmt), -1, &again, NULL);
        sqlite3_finalize(again);
        return again != NULL;
    default:
        return false;
    }
}

int statement_run(struct statement *s, struct model *m, const struct rules *rules,
                  const struct log_entry *entry, const struct event *ev, struct err *why,
                  struct err *e)
{
    int got;

    bind_all(s, entry, ev);
    while ((got = sqlite3_step(s->stmt)) == SQLITE_ROW)
        continue;
    if (got == SQLITE_DONE) {
        sqlite3_reset(s->stmt);
        return 0;
    }
    err_set(why, EX_DATAERR, "%s",
            sqlite3_errmsg(m->db)); /* before another statement replaces the message */
    struct err broken = ERR_NONE;
    model_fail(m, &broken);
    bool at_fault = event_at_fault(s, m);
    sqlite3_reset(s->stmt);
    if (at_fault)
        return 1;
    *e = broken;
    return broken.status == EX_DATAERR ? at_line(rules, s->line, e) : -1;
}

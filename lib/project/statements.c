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

static const char *const parameter_names[BY_VALUES] = {
    [BY_SEQ] = ":seq",         [BY_ID] = ":id",
    [BY_TYPE] = ":type",       [BY_SOURCE] = ":source",
    [BY_SUBJECT] = ":subject", [BY_EVENT] = ":event",
    [BY_TIME] = ":time",       [BY_VERSION] = ":version",
    [BY_DATA] = ":data",       [BY_CORRELATIONID] = ":correlationid",
};

static const char *const everywhere[] = {"INSERT", "REPLACE", "UPDATE", "DELETE",
                                         "SELECT", "WITH",    "VALUES", NULL};

int statement_at_line(const struct rules *rules, int64_t line, struct err *e)
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

bool statement_listed(const char *const *list, const char *word, size_t n)
{
    for (; *list != NULL; list++)
        if (strlen(*list) == n && strncasecmp(*list, word, n) == 0)
            return true;
    return false;
}

static int check_word(const struct model *m, enum rules_kind kind, const char *sql, struct err *e)
{
    size_t n = strspn(sql, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");

    if (kind == RULES_HEAD)
        return err_set(e, EX_DATAERR,
                       "a statement before the first heading: \"-- @init\" or \"-- @on TYPE\" "
                       "goes in front of it");
    if (n == 0 || statement_listed(everywhere, sql, n)) /* n 0: the engine has the best message */
        return 0;
    if (!statement_listed(m->engine->init_words, sql, n))
        return err_set(e, EX_DATAERR, "%s is not allowed in a projection", err_quote(sql, n).text);
    return kind == RULES_INIT
               ? 0
               : err_set(e, EX_DATAERR, "%s belongs under \"@init\"", err_quote(sql, n).text);
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
    if (check_word(m, section->kind, sql, e) == 0 && m->engine->compile(m, sql, at, out, e) == 0)
        return 1;
    free(out->parameter);
    return statement_at_line(rules, out->line, e);
}

int statement_parameter(struct statement *s, const char *name, struct err *e)
{
    unsigned char known = 0;

    while (known < BY_VALUES && (name == NULL || strcmp(name, parameter_names[known]) != 0))
        known++;
    if (known == BY_VALUES)
        return err_set(e, EX_DATAERR,
                       "there is no parameter %s: there are :seq :id :type :source :subject "
                       ":time :version :correlationid :data :event",
                       err_quote_text(name == NULL ? "?" : name).text);
    s->parameter = mem_grow(s->parameter, (size_t)s->parameters + 1, 1);
    s->parameter[s->parameters++] = known;
    return 0;
}

static void forget(struct model *m, struct statement *s)
{
    m->engine->forget(m, s);
    free(s->parameter);
}

/* --------------------------------------------------------------------------------- all of them */

static int init_section(struct model *m, const struct rules *rules,
                        const struct rules_section *section, struct err *e)
{
    const char *at = section->sql;
    struct statement s;
    int got;

    while ((got = next_statement(m, rules, section, &at, &s, e)) > 0) {
        got = s.parameters > 0
                  ? err_set(e, EX_DATAERR,
                            "there is no event under \"@init\": a parameter has no value")
                  : m->engine->run_once(m, &s, e);
        forget(m, &s);
        if (got < 0)
            return statement_at_line(rules, s.line, e);
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
            for (int k = 0; k < s.parameters; k++)
                all->parse |= s.parameter[k] >= BY_PARSING;
            all->item[all->n++] = s;
        }
    }
    return got;
}

void rules_finalize(struct statements *all, struct model *m)
{
    for (size_t i = 0; i < all->n; i++)
        forget(m, &all->item[i]);
    free(all->item);
    *all = (struct statements){NULL, 0, false};
}

/* -------------------------------------------------------------------------------------- values */

int statement_value(const struct log_entry *entry, const struct event *ev, unsigned char which,
                    int64_t *number, struct str *text)
{
    *text = (struct str){NULL, 0};
    switch (which) {
    case BY_SEQ:
        *number = entry->seq;
        return 1;
    case BY_VERSION:
        *number = ev->version;
        return ev->version > 0;
    case BY_ID:
        *text = entry->id;
        break;
    case BY_TYPE:
        *text = entry->type;
        break;
    case BY_SOURCE:
        *text = entry->source;
        break;
    case BY_SUBJECT:
        *text = entry->subject;
        break;
    case BY_EVENT:
        *text = entry->line;
        break;
    case BY_TIME:
        *text = ev->time;
        break;
    case BY_CORRELATIONID:
        *text = ev->correlationid;
        break;
    default:
        *text = ev->data;
    }
    return 0;
}

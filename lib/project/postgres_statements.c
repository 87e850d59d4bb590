/*
 * The statements of a projection's file on a server. PostgreSQL takes one statement at a time, and
 * its parameters have numbers: so here is what finds a statement's end and its parameters, which
 * has to know how texts, names and comments are quoted (PostgreSQL manual, 4.1).
 */
#include "project/postgres.h"

#include "base/mem.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OID_INT8 20
#define OID_TEXT 25
#define OID_JSON 114
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define NAME_LETTERS LETTERS "0123456789_"

const char *const postgres_init_words[] = {"CREATE", "ANALYZE", NULL};

/* What keeps its rows as long as the position, and what a rebuild can move to another schema. */
static const char *const creatable[] = {
    "TABLE",  "INDEX",    "UNIQUE",  "VIEW",       "RECURSIVE", "MATERIALIZED", "SEQUENCE", "TYPE",
    "DOMAIN", "FUNCTION", "TRIGGER", "CONSTRAINT", NULL};

struct prepared {
    char name[24];
    char *text, *sql; /* with $1 for the first parameter; as it stands in the file */
    int64_t connection;
    Oid *type;
    const char **value;
    int *length, *format;
    int64_t *number; /* as they travel */
};

/* ------------------------------------------------------------------------------------- reading */

/* Behind a quoted text or name that begins at p. */
static const char *skip_quoted(const char *p, bool backslashes)
{
    const char quote = *p++;

    for (; *p != '\0'; p++) {
        if (backslashes && *p == '\\' && p[1] != '\0')
            p++;
        else if (*p == quote)
            return p + 1;
    }
    return p;
}

/* Behind "$tag$ … $tag$", or behind the $ when it begins no such text. */
static const char *skip_dollar(const char *p)
{
    size_t n = 1 + strspn(p + 1, NAME_LETTERS);

    if (p[n] != '$' || (p[1] >= '0' && p[1] <= '9'))
        return p + 1;
    char *tag = mem_dup(p, n + 1);
    const char *end = strstr(p + n + 1, tag);
    free(tag);
    return end == NULL ? p + strlen(p) : end + n + 1;
}

/* Comments within comments count. */
static const char *skip_comment(const char *p)
{
    int depth = 0;

    for (; *p != '\0'; p++) {
        if (strncmp(p, "/*", 2) == 0)
            depth++, p++;
        else if (strncmp(p, "*/", 2) == 0 && (p++, --depth) == 0)
            return p + 1;
    }
    return p;
}

/* Behind what at p is neither the end nor a parameter: at least a byte. */
static const char *skip_token(const char *p)
{
    if (*p == '\'' || *p == '"')
        return skip_quoted(p, false);
    if ((*p == 'E' || *p == 'e') && p[1] == '\'')
        return skip_quoted(p + 1, true);
    if (*p == '$')
        return skip_dollar(p);
    if (strncmp(p, "--", 2) == 0)
        return p + strcspn(p, "\n");
    if (strncmp(p, "/*", 2) == 0)
        return skip_comment(p);
    if (strncmp(p, "::", 2) == 0)
        return p + 2;
    size_t n = strspn(p, NAME_LETTERS "$");
    return p + (n > 0 ? n : 1);
}

/* Put a statement, with numbers for its parameters, into text. */
static int read_statement(const char *sql, const char **end, struct statement *out,
                          struct buf *text, struct err *e)
{
    const char *p = sql;

    while (*p != '\0' && *p != ';') {
        size_t n = *p == ':'                                ? strspn(p + 1, LETTERS)
                   : *p == '$' && p[1] > '0' && p[1] <= '9' ? strspn(p + 1, "0123456789")
                                                            : 0;
        const char *next = n > 0 ? p + 1 + n : skip_token(p);
        if (n == 0) {
            buf_add(text, p, (size_t)(next - p));
        } else if (out->section->kind == RULES_ON) {
            char *name = mem_dup(p, n + 1);
            int got = statement_parameter(out, name, e);
            free(name);
            if (got < 0)
                return -1;
            buf_printf(text, "$%d", out->parameters);
        } else {
            out->parameters++;
        }
        p = next;
    }
    *end = p + (*p == ';');
    return 0;
}

static int check_create(const char *sql, struct err *e)
{
    const char *word = sql + strspn(sql, LETTERS);
    size_t first = (size_t)(word - sql);

    word += strspn(word, " \t\r\n\f");
    size_t n = strspn(word, LETTERS);
    return strncasecmp(sql, "CREATE", 6) != 0 || first != 6 || statement_listed(creatable, word, n)
               ? 0
               : err_set(e, EX_DATAERR, "CREATE %s is not allowed in a projection on a server",
                         err_quote(word, n).text);
}

/* ----------------------------------------------------------------------------------- preparing */

static void describe_parameters(struct statement *s, struct prepared *own)
{
    size_t n = (size_t)s->parameters + 1;

    own->type = mem_zero(n, sizeof *own->type);
    own->value = mem_zero(n, sizeof *own->value);
    own->length = mem_zero(n, sizeof *own->length);
    own->format = mem_zero(n, sizeof *own->format);
    own->number = mem_zero(n, sizeof *own->number);
    for (int i = 0; i < s->parameters; i++) {
        unsigned char which = s->parameter[i];
        own->type[i] = which == BY_SEQ || which == BY_VERSION  ? OID_INT8
                       : which == BY_DATA || which == BY_EVENT ? OID_JSON
                                                               : OID_TEXT;
        own->format[i] = 1;
    }
}

static int prepare(struct model *m, struct statement *s, struct err *e)
{
    struct prepared *own = s->own;

    own->connection = postgres_of(m)->connections;
    return postgres_send_prepare(m, own->name, own->text,
                                 &(struct postgres_words){.n = s->parameters, .types = own->type},
                                 e);
}

/* The server's words about a statement: the file is wrong, unless the server has trouble. */
static int fail_statement(struct model *m, struct err *e)
{
    if (e->status == EX_DATAERR)
        *e = postgres_of(m)->words;
    return -1;
}

int postgres_compile(struct model *m, const char *sql, const char **end, struct statement *out,
                     struct err *e)
{
    struct prepared *own = mem_zero(1, sizeof *own);
    struct buf text = BUF_INIT;
    int got = check_create(sql, e);

    out->own = own;
    if (got == 0)
        got = read_statement(sql, end, out, &text, e);
    own->text = mem_dup(buf_text(&text), text.n);
    buf_free(&text);
    if (got == 0) {
        out->sql = own->sql = mem_dup(sql, (size_t)(*end - sql));
        /* A section's place in the file's text, and the statement's in the section. */
        snprintf(own->name, sizeof own->name, "s%zu",
                 out->section->at + (size_t)(sql - out->section->sql));
    }
    if (got == 0 && out->section->kind == RULES_ON) {
        describe_parameters(out, own);
        got = prepare(m, out, e);
        if (got == 0 && (got = postgres_finish(m, NULL, e)) < 0)
            fail_statement(m, e);
    }
    if (got < 0)
        postgres_forget(m, out);
    return got;
}

void postgres_forget(struct model *m, struct statement *s)
{
    struct prepared *own = s->own;

    (void)m;
    if (own == NULL)
        return;
    free(own->text);
    free(own->sql);
    free(own->type);
    free(own->value);
    free(own->length);
    free(own->format);
    free(own->number);
    free(own);
    s->own = NULL;
}

int postgres_run_once(struct model *m, struct statement *s, struct err *e)
{
    const struct prepared *own = s->own;
    struct postgres_model *model = m->own;

    buf_reset(&model->notice);
    if (postgres_do(m, own->text, e) < 0)
        return fail_statement(m, e);
    return model->notice.n == 0 ? 0
                                : err_set(e, EX_DATAERR, "%s: it is not this projection's",
                                          buf_text(&model->notice));
}

/* ----------------------------------------------------------------------------------------- run */

static void fill_in(struct statement *s, const struct log_entry *entry, const struct event *ev)
{
    struct prepared *own = s->own;

    for (int i = 0; i < s->parameters; i++) {
        int64_t number = 0;
        struct str text;
        if (statement_value(entry, ev, s->parameter[i], &number, &text) > 0) {
            own->number[i] = (int64_t)htobe64((uint64_t)number);
            text = (struct str){(const char *)&own->number[i], sizeof own->number[i]};
        }
        own->value[i] = text.p;
        own->length[i] = (int)text.n;
    }
}

/* Constraints that wait for the commit: which event was it? So they are checked after each. */
static int check_deferred(struct model *m, struct err *e)
{
    struct postgres_model *own = m->own;
    int64_t some;

    if (own->deferred < 0 &&
        (own->deferred =
             model_int(m, e, &some,
                       "SELECT 1 FROM pg_constraint c JOIN pg_namespace n ON n.oid=c.connamespace "
                       "WHERE n.nspname=$1 AND c.condeferrable LIMIT 1",
                       "t", own->schema)) < 0)
        return -1;
    if (own->deferred == 0 || own->last_seq == 0)
        return 0;
    const struct sent of = {NULL, own->last_seq};
    const struct postgres_words none = {.n = 0};
    own->last_seq = 0;
    return postgres_send(m, of, NULL, "SET CONSTRAINTS ALL IMMEDIATE", &none, e) < 0 ||
                   postgres_send(m, of, NULL, "SET CONSTRAINTS ALL DEFERRED", &none, e) < 0
               ? -1
               : 0;
}

/* What the answers so far say. */
static int verdict(struct model *m, struct fault *fault, struct err *e)
{
    struct postgres_model *own = m->own;
    const struct sent of = own->failure;

    if (of.seq > 0 && own->at_fault) {
        *fault = (struct fault){of.seq, of.statement, own->words};
        err_clear(e);
        return 1;
    }
    *e = own->error;
    if (e->status == EX_DATAERR)
        fault->statement = of.statement;
    return -1;
}

int postgres_run(struct model *m, struct statement *s, const struct log_entry *entry,
                 const struct event *ev, struct fault *fault, struct err *e)
{
    struct postgres_model *own = m->own;
    struct prepared *statement = s->own;

    if (entry->seq != own->last_seq && check_deferred(m, e) < 0)
        return own->failed ? postgres_flush(m, fault, e) : -1;
    if (statement->connection != own->connections && prepare(m, s, e) < 0)
        return -1;
    fill_in(s, entry, ev);
    own->last_seq = entry->seq;
    if (postgres_send(m, (struct sent){s, entry->seq}, statement->name, NULL,
                      &(struct postgres_words){s->parameters, NULL, statement->value,
                                               statement->length, statement->format},
                      e) < 0)
        return -1;
    return own->failed ? postgres_flush(m, fault, e) : 0;
}

int postgres_flush(struct model *m, struct fault *fault, struct err *e)
{
    struct postgres_model *own = m->own;

    if (!own->failed && check_deferred(m, e) < 0)
        return -1;
    own->last_seq = 0;
    if (postgres_finish(m, NULL, e) == 0)
        return 0;
    return own->lost ? -1 : verdict(m, fault, e);
}

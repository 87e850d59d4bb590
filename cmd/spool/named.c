#include "spool/named.h"

#include "base/duration.h"

#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"

#include <stdio.h>
#include <string.h>

int named_form;
int64_t named_pause_ms;

struct named_listing {
    const struct named_kind *kind;
    struct store *spool;
    struct table *table;
    const char *name; /* only this one; NULL: all */
    bool found;
};

static int list_named(const struct doc *doc, void *arg, struct err *e)
{
    struct named_listing *l = arg;
    json_t *row;

    if (l->name != NULL && strcmp(doc->name, l->name) != 0)
        return 0;
    l->found = true;
    if ((row = l->kind->row(l->spool, doc)) == NULL) {
        say_warn("%s %s is damaged: spool %s forget %s", l->kind->name,
                 err_quote_text(doc->name).text, l->kind->name, doc->name);
        return 0;
    }
    return table_row(l->table, row, e) < 0 ? -1 : out_gone();
}

static int show_named(const struct named_kind *kind, const char *name)
{
    struct err e = ERR_NONE;
    struct named_listing l = {.kind = kind, .name = name};

    if (spool_open(&l.spool, STORE_READ, &e) == 0) {
        l.table = table_begin(kind->columns, (enum table_form)named_form);
        doc_each(l.spool, kind->name, list_named, &l, &e);
        table_end(l.table, &e);
        if (name == NULL && !l.found && e.status == 0) {
            char what[16];
            snprintf(what, sizeof what, "%ss", kind->name);
            args_nothing(what, store_name(l.spool), "");
        } else if (name != NULL && !l.found)
            err_set(&e, EX_NOINPUT, "there is no %s %s", kind->name, err_quote_text(name).text);
    }
    store_close(l.spool);
    return out_finish(&e);
}

static int change_named(const struct named_kind *kind, const struct named_change *c,
                        const char *name)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct buf said = BUF_INIT, line = BUF_INIT;

    if (spool_open(&spool, STORE_WRITE, &e) == 0 && c->f(spool, name, &said, &e) == 0) {
        buf_printf(&line, "%s ", kind->name);
        err_escape(&line, name, strlen(name));
        buf_printf(&line, " %s", buf_text(&said));
        out_line((struct str){line.p, line.n}, &e);
    }
    buf_free(&said);
    buf_free(&line);
    store_close(spool);
    return out_finish(&e);
}

static void read_pause(const struct named_kind *kind, const struct named_change *c,
                       const char *text)
{
    struct err wrong = ERR_NONE;

    if (duration_read(text, &named_pause_ms, &wrong) < 0 || named_pause_ms == 0)
        args_usage("%s %s wants NAME %s, with %s like 120s", kind->name, c->word, c->argument,
                   c->argument);
}

int named_run(const struct named_kind *kind, char **operand)
{
    int n = args_count(operand);
    const char *verb = n > 0 ? operand[0] : "list";
    const char *name = n > 1 ? operand[1] : NULL;
    const struct named_change *c = kind->changes;
    bool lists = strcmp(verb, "list") == 0;
    struct buf verbs = BUF_INIT;

    for (; c->word != NULL && strcmp(verb, c->word) != 0; c++)
        buf_printf(&verbs, ", %s", c->word);
    if (c->word == NULL && !lists && strcmp(verb, "show") != 0)
        args_usage("%s can list, show%s: %s", kind->name, buf_text(&verbs),
                   err_quote_text(verb).text);
    buf_free(&verbs);
    int operands = lists ? 1 : c->word != NULL && c->argument != NULL ? 3 : 2;
    if (n > operands)
        args_usage("%s %s: one too many: %s", kind->name, verb,
                   err_quote_text(operand[operands]).text);
    if (!lists && name == NULL)
        args_usage("%s %s wants a NAME", kind->name, verb);
    if (!lists)
        args_name("NAME", name, NAME_KEY_BYTES);
    if (operands == 3)
        read_pause(kind, c, n < 3 ? "" : operand[2]);
    return c->word == NULL ? show_named(kind, name) : change_named(kind, c, name);
}

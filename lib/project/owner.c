/*
 * Which process works on a projection. A document in the spool names the process, by a mark that
 * dies with it, and the database. So a name belongs to one database: there is one group of that
 * name, and what the group has not seen is not pruned.
 */
#include "base/mem.h"
#include "base/point.h"
#include "project/model.h"
#include "store/group.h"

#include <inttypes.h>
#include <string.h>

static const char *const kinds[] = {
    [CLAIM_WORK] = "projection", [CLAIM_ASIDE] = "projection-rebuild"};

/* A claim's text is a mark, a newline and the database's name. Returns the latter. */
static const char *split(struct buf *text, struct str value)
{
    buf_reset(text);
    buf_str(text, value);
    char *end = strchr(buf_text(text), '\n');
    if (end == NULL)
        return "";
    *end = '\0';
    return end + 1;
}

/* Refuse a group of consumers that has this name: we must not move its position. */
static int check_group(struct projection *p, struct err *e)
{
    struct err missing = ERR_NONE;
    struct group *group = NULL;
    int got =
        group_open(&group, p->terms.spool, &(struct group_terms){.name = p->terms.name}, &missing);

    group_close(group);
    if (got < 0 && missing.status == EX_NOINPUT)
        return 0;
    if (got < 0) {
        *e = missing;
        return -1;
    }
    return err_set(e, EX_USAGE,
                   "group %s exists, and is not a projection's: choose another name with -g",
                   err_quote_text(p->terms.name).text);
}

static int fail_elsewhere(const struct projection *p, const char *database, struct err *e)
{
    return err_set(e, EX_USAGE,
                   "projection %s is in %s: choose another name with -g for a second one",
                   err_quote_text(p->terms.name).text, database);
}

/* Where only the databases can tell, p->elsewhere keeps the name for claim_found. */
static int check_database(struct projection *p, const char *database, struct err *e)
{
    int same = *database == '\0' ? 1 : model_engine_of(p->name)->same(p->name, database);

    if (same < 0 && p->elsewhere == NULL)
        p->elsewhere = mem_dup(database, strlen(database));
    return same != 0 ? 0 : fail_elsewhere(p, database, e);
}

int claim_found(const struct projection *p, bool row, struct err *e)
{
    return row || p->elsewhere == NULL ? 0 : fail_elsewhere(p, p->elsewhere, e);
}

static int check_claim(struct projection *p, enum claim_role role, const char *mark,
                       const char *database, struct err *e)
{
    const char *name = p->terms.name;

    if (mark_lives(p->terms.spool, mark))
        return err_set(e, EX_TEMPFAIL, "projection %s: process %" PRId64 " %s it",
                       err_quote_text(name).text, mark_pid(mark),
                       role == CLAIM_WORK ? "works on" : "rebuilds or verifies");
    return role == CLAIM_WORK ? check_database(p, database, e) : 0;
}

/* Has this database a row of our name? 1, 0, -1. */
static int has_row(struct projection *p, struct model *m, struct err *e)
{
    int64_t one;
    int got = m->engine->is_there(m, e);

    return got <= 0 ? got
                    : model_int(m, e, &one, "SELECT 1 FROM eventutils_projection WHERE name=$1",
                                "t", p->terms.name);
}

int claim_name(struct projection *p, struct model *live, struct err *e)
{
    struct buf text = BUF_INIT;
    struct doc doc;
    int got = doc_get(p->terms.spool, kinds[CLAIM_WORK], p->terms.name, &doc, e);

    if (got > 0)
        got = check_database(p, split(&text, doc.value), e);
    else if (got == 0)
        got = check_group(p, e);
    buf_free(&text);
    if (got == 0 && p->elsewhere != NULL && (got = has_row(p, live, e)) >= 0)
        got = claim_found(p, got > 0, e);
    return got;
}

/* Write durably when the database changes: if a power cut lost that, the next run would take our
   group for one of consumers. 1; 0: another process was faster; -1. */
static int put_claim(struct projection *p, enum claim_role role, int64_t rev, const char *mark,
                     const char *database, bool durable, struct err *e)
{
    struct buf text = BUF_INIT;

    buf_printf(&text, "%s\n%s", mark, database);
    int got = doc_put(p->terms.spool,
                      &(struct doc_put){.kind = kinds[role],
                                        .name = p->terms.name,
                                        .rev = rev,
                                        .value = {text.p, text.n},
                                        .durable = durable},
                      e);
    buf_free(&text);
    return got;
}

int claim_take(struct projection *p, enum claim_role role, struct err *e)
{
    struct store *s = p->terms.spool;
    struct buf old = BUF_INIT;
    struct doc doc;
    int got;

    if (mark_take(s, p->mark, e) < 0)
        return -1;
    do {
        if ((got = doc_get(s, kinds[role], p->terms.name, &doc, e)) < 0)
            break;
        const char *database = split(&old, doc.value);
        if (got > 0)
            got = check_claim(p, role, buf_text(&old), database, e);
        else if (role == CLAIM_WORK)
            got = check_group(p, e);
        if (got == 0)
            got = put_claim(p, role, doc.rev, p->mark, database, false, e);
        else
            got = -1;
    } while (got == 0);
    buf_free(&old);
    return got < 0 ? -1 : 0;
}

/* Bind the name to our database, once the file has proved to be a database. */
static int settle_name(struct projection *p, struct err *e)
{
    struct store *s = p->terms.spool;
    struct buf old = BUF_INIT;
    struct doc doc;
    int got;

    do {
        if ((got = doc_get(s, kinds[CLAIM_WORK], p->terms.name, &doc, e)) < 0)
            break;
        bool same = strcmp(split(&old, doc.value), p->name) == 0;
        got = same ? 1 : put_claim(p, CLAIM_WORK, doc.rev, buf_text(&old), p->name, true, e);
    } while (got == 0);
    buf_free(&old);
    return got < 0 ? -1 : 0;
}

int64_t claim_pid(struct store *s, const char *name, enum claim_role role)
{
    struct err ignored = ERR_NONE;
    struct buf text = BUF_INIT;
    struct doc doc;
    int64_t pid = 0;

    if (doc_get(s, kinds[role], name, &doc, &ignored) > 0) {
        split(&text, doc.value);
        if (mark_lives(s, buf_text(&text)))
            pid = mark_pid(buf_text(&text));
    }
    buf_free(&text);
    return pid;
}

/* The claim comes first: a group without one would be taken for a group of consumers. The group's
   patterns are those of the file, and change with a rebuild. */
int claim_group(struct projection *p, struct err *e)
{
    const struct point start = {POINT_START, 0};
    const struct pattern_list *types = &p->terms.rules->types;
    struct group *group = NULL;
    struct err other = ERR_NONE;
    struct group_terms terms = {.name = p->terms.name, .types = *types, .from = &start};

    if (settle_name(p, e) < 0)
        return -1;
    int got = group_open(&group, p->terms.spool, &terms, &other);
    group_close(group);
    if (got < 0 && other.status == EX_USAGE)
        return group_change(p->terms.spool, p->terms.name, &(struct group_change){.types = *types},
                            e);
    if (got < 0)
        *e = other;
    return got;
}

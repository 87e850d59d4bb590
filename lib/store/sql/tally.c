/*
 * Counts of what groups did, by type, written in the transactions that settle anyway. A batch
 * changes one row for each type in it, and one for each class of handler times.
 */
#include "store/sql/group.h"

#include "base/mem.h"
#include "store/group.h"

#include <stdlib.h>
#include <string.h>

static struct tally *of_type(struct tallies *all, struct str type)
{
    for (size_t i = 0; i < all->n; i++)
        if (str_is(type, all->tally[i].type))
            return &all->tally[i];
    if (all->n == all->room) {
        all->room = all->room == 0 ? 8 : all->room * 2;
        all->tally = mem_grow(all->tally, all->room, sizeof *all->tally);
    }
    all->tally[all->n] = (struct tally){.type = mem_dup(type.p, type.n)};
    return &all->tally[all->n++];
}

void tally_add(struct tallies *all, struct str type, const struct group_settle *s)
{
    struct tally *t;

    if (s->outcome >= GROUP_RELEASE)
        return;
    t = of_type(all, type);
    t->outcome[s->outcome]++;
    if (s->took_ms < 0)
        return;
    t->took_ms += s->took_ms;
    t->time[histogram_class(s->took_ms)]++;
}

static int write_times(struct store *s, int64_t grp, const struct tally *t, struct err *e)
{
    for (int i = 0; i < HISTOGRAM; i++)
        if (t->time[i] > 0 &&
            db_later(
                s->db, e,
                SQL("tally_write_times",
                    "INSERT INTO duration(grp,type,le,n) VALUES(?,?,?,?) ON CONFLICT(grp,type,le) "
                    "DO UPDATE SET n=duration.n+excluded.n"),
                "itii", grp, t->type, histogram_upper[i], t->time[i]) < 0)
            return -1;
    return 0;
}

void tally_clear(struct tallies *all)
{
    for (size_t i = 0; i < all->n; i++)
        free(all->tally[i].type);
    all->n = 0;
}

int tally_write(struct group *g, struct tallies *all, struct err *e)
{
    int got = 0;

    for (size_t i = 0; i < all->n && got >= 0; i++) {
        const struct tally *t = &all->tally[i];
        got =
            db_later(g->s->db, e,
                     SQL("tally_write",
                         "INSERT INTO tally(grp,type,done,retried,dead,deferred,took) "
                         "VALUES(?,?,?,?,?,?,?) ON CONFLICT(grp,type) DO UPDATE SET "
                         "done=tally.done+excluded.done,retried=tally.retried+excluded.retried,"
                         "dead=tally.dead+excluded.dead,deferred=tally.deferred+excluded.deferred,"
                         "took=tally.took+excluded.took"),
                     "itiiiii", g->grp, t->type, t->outcome[GROUP_DONE], t->outcome[GROUP_RETRY],
                     t->outcome[GROUP_DEAD], t->outcome[GROUP_DEFER], t->took_ms);
        if (got >= 0)
            got = write_times(g->s, g->grp, t, e);
    }
    tally_clear(all);
    return got < 0 ? -1 : 0;
}

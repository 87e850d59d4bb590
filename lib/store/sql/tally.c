/*
 * Counts of what groups did, by type, written in the transactions that settle anyway. A batch
 * changes one row for each type in it, and one for each class of handler times; or where ADD_UP
 * only adds rows, it adds these, and now and then the rows of a group are folded into their sums.
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

/* Should this settle end with a fold? By chance and not by count, as most processes settle once;
   asked for each row, so that the more rows are written, the more are folded. */
static void row_written(struct group *g)
{
    if (FOLD_NOW(clock_random()))
        g->folds = true;
}

static int write_times(struct group *g, const struct tally *t, struct err *e)
{
    for (int i = 0; i < HISTOGRAM; i++) {
        if (t->time[i] == 0)
            continue;
        if (db_later(g->s->db, e,
                     SQL("tally_write_times",
                         "INSERT INTO duration(grp,type,le,n) VALUES(?,?,?,?)" ADD_UP(
                             "grp,type,le", "n=duration.n+excluded.n")),
                     "itii", g->grp, t->type, histogram_upper[i], t->time[i]) < 0)
            return -1;
        row_written(g);
    }
    return 0;
}

/*
 * Fold a group's rows, at most about a thousand, the oldest first. From the second time on those
 * before the ones folded last are not looked at, as they are gone, and slow to pass over while
 * somebody looks at the past; but for a thousand numbers, in which a transaction may have taken its
 * own before and committed it since.
 */
static int fold_counts(struct group *g, struct err *e)
{
    if (db_insert(g->s->db, e, &g->folded,
                  SQL("tally_fold",
                      "WITH d AS (DELETE FROM tally WHERE grp=?1 AND added IN (SELECT added FROM "
                      "tally WHERE grp=?1 AND added>=?2 ORDER BY added LIMIT ?3) RETURNING *),"
                      "s AS (INSERT INTO tally(grp,type,done,retried,dead,deferred,took) SELECT "
                      "?1,type,sum(done),sum(retried),sum(dead),sum(deferred),sum(took) FROM d "
                      "GROUP BY type) SELECT coalesce(max(added)-?3,?2) FROM d"),
                  "iii", g->grp, g->folded, (int64_t)DB_ROWS) < 0)
        return -1;
    return db_insert(g->s->db, e, &g->folded_times,
                     SQL("tally_fold_times",
                         "WITH d AS (DELETE FROM duration WHERE grp=?1 AND added IN (SELECT added "
                         "FROM duration WHERE grp=?1 AND added>=?2 ORDER BY added LIMIT ?3) "
                         "RETURNING *),s AS (INSERT INTO duration(grp,type,le,n) SELECT "
                         "?1,type,le,sum(n) FROM d GROUP BY type,le) SELECT "
                         "coalesce(max(added)-?3,?2) FROM d"),
                     "iii", g->grp, g->folded_times, (int64_t)DB_ROWS);
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
                         "VALUES(?,?,?,?,?,?,?)" ADD_UP(
                             "grp,type",
                             "done=tally.done+excluded.done,retried=tally.retried+excluded.retried,"
                             "dead=tally.dead+excluded.dead,"
                             "deferred=tally.deferred+excluded.deferred,"
                             "took=tally.took+excluded.took")),
                     "itiiiii", g->grp, t->type, t->outcome[GROUP_DONE], t->outcome[GROUP_RETRY],
                     t->outcome[GROUP_DEAD], t->outcome[GROUP_DEFER], t->took_ms);
        row_written(g);
        if (got >= 0)
            got = write_times(g, t, e);
    }
    tally_clear(all);
    if (got >= 0 && g->folds)
        got = fold_counts(g, e);
    g->folds = false;
    return got < 0 ? -1 : 0;
}

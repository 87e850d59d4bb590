/*
 * The consumers of a group, other processes among them, and which of them live.
 */
#include "store/sql/sql.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void session_read(struct query *q, int column, struct session *out)
{
    struct str boot = db_text(q, column + 3);
    size_t n = boot.n < sizeof out->boot - 1 ? boot.n : sizeof out->boot - 1;

    *out = (struct session){
        .owner = db_i64(q, column), .pid = db_i64(q, column + 1), .started = db_i64(q, column + 2)};
    if (n > 0)
        memcpy(out->boot, boot.p, n);
}

/* The other consumers of a group (0: of all groups), in a block that the caller frees. */
int consumers_others(struct store *s, int64_t grp, int64_t self, struct session **list, size_t *n,
                     struct err *e)
{
    struct query *q = grp == 0
                          ? db_query(s->db, e,
                                     SQL("claim_other_consumers",
                                         "SELECT " SESSION_COLUMNS " FROM consumer WHERE owner<>?"),
                                     "i", self)
                          : db_query(s->db, e,
                                     SQL("claim_group_consumers", "SELECT " SESSION_COLUMNS
                                                                  " FROM consumer" BY_CONSUMER_GROUP
                                                                  " WHERE grp=? AND owner<>?"),
                                     "ii", grp, self);
    size_t room = 0;
    int got = -1;

    *list = NULL;
    *n = 0;
    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        if (*n == room)
            *list = mem_grow(*list, room += 16, sizeof **list);
        session_read(q, 0, &(*list)[(*n)++]);
    }
    return got;
}

int consumers_adopt(struct store *s, int64_t self, struct err *e)
{
    struct session *list;
    size_t n;
    int got = session_trusted(s->db, e);

    if (got != 0)
        return got < 0 ? -1 : 0;
    if (consumers_others(s, 0, self, &list, &n, e) < 0)
        return -1;
    bool lives = false;
    for (size_t i = 0; i < n; i++)
        lives |= session_hidden(s->db, &list[i]);
    free(list);
    return lives ? 0 : session_adopt(s->db, e);
}

int consumers_hidden(struct store *s, int64_t grp, int64_t self, struct err *e)
{
    struct session *list;
    size_t n;
    int got = session_trusted(s->db, e);

    if (got != 0)
        return got < 0 ? -1 : 0;
    got = consumers_others(s, grp, self, &list, &n, e);
    for (size_t i = 0; i < n && got == 0; i++)
        got = session_lives(s->db, &list[i], 0);
    free(list);
    return got;
}

int group_alive(struct store *s, int64_t grp, int64_t *out, struct err *e)
{
    int trusted = session_open(s->db, e) < 0 ? -1 : session_trusted(s->db, e), got = -1;
    struct query *q;

    if (trusted < 0)
        return -1;
    q = db_query(s->db, e,
                 SQL("dead_group_alive", "SELECT " SESSION_COLUMNS " FROM consumer WHERE grp=?"),
                 "i", grp);
    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        struct session consumer;
        session_read(q, 0, &consumer);
        *out += session_lives(s->db, &consumer, trusted);
    }
    return got;
}

/* A lease counts until it runs out on its own clock, the time since boot. */
int group_idle(struct store *s, int64_t grp, struct err *e)
{
    int64_t alive = 0, leased = 0;
    struct lease_clock now;

    if (group_alive(s, grp, &alive, e) < 0)
        return -1;
    if (alive > 0)
        return err_set(e, EX_TEMPFAIL, "it has %lld running consumer%s: end them first",
                       (long long)alive, alive == 1 ? "" : "s");
    lease_now(s->db, &now);
    if (db_int(
            s->db, e, &leased,
            SQL("dead_group_idle", "SELECT count(*) FROM claim WHERE grp=? AND lease>? AND boot=?"),
            "iit", grp, now.ms, now.epoch) < 0)
        return -1;
    if (leased > 0)
        return err_set(e, EX_TEMPFAIL,
                       "it has leased events: settle them, or wait until their lease has run out");
    return 0;
}

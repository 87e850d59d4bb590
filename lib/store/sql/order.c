/*
 * Ordered groups: the events of a subject one after the other, whichever processes die.
 *
 * The consumer that holds the group's byte of SPOOL-lock is active; the others stand by and try for
 * the byte at each bell and once a second. The handlers of the active consumer hold a second byte,
 * through a descriptor that they inherit: a successor waits until the last of them is gone, so that
 * it overtakes none.
 *
 * Of a subject's rows that are not dead, only the first may be claimed (state 0, or 1); the rows
 * behind it have state 2. An event that arrives while there is such a row is put behind it. Events
 * in flight need no row: the consumer that holds them keeps their order, and gives them back
 * together.
 *
 * Because this holds before each change of a row, a change affects at most two rows: its own and
 * the next of its subject. Each is found with one lookup in item_subject, however many rows the
 * subject has. All of this is read from item, because the event itself may have been pruned.
 */
#include "store/sql/group.h"

#include "store/group.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Are the previous active consumer's handlers gone? Waits for them at most tail_wait_ms. */
static int tail_free(struct group *g, struct err *e)
{
    int got = place_tail_take(g->s->db, g->tail_fd, g->grp, e);

    if (got != 0 || g->tail_wait_ms == 0)
        return got;
    if (g->tail_since_ms == 0)
        g->tail_since_ms = clock_mono_ms();
    return clock_mono_ms() >= g->tail_since_ms + g->tail_wait_ms;
}

int order_enter(struct group *g, struct err *e)
{
    int live, got;

    if (g->active)
        return 1;
    if (!g->leads && (got = place_take(g->s->db, g->grp, e)) <= 0)
        return got;
    g->leads = true;
    if ((live = consumers_hidden(g->s, g->grp, g->owner, e)) != 0) {
        place_drop(g->s->db, g->grp);
        g->leads = false;
        return live < 0 ? -1 : 0;
    }
    if (g->tail_fd == 0) {
        int fd = place_tail_open(g->s->db, e);
        if (fd < 0)
            return -1;
        g->tail_fd = fd;
    }
    got = tail_free(g, e);
    g->active = got > 0;
    return got;
}

void order_leave(struct group *g)
{
    /* While we hold events there may be handlers, which may outlive this call: their copies of the
       descriptor keep the byte. */
    if (g->tail_fd > 0 && g->held == 0)
        place_tail_drop(g->s->db, g->tail_fd, g->grp);
    if (g->tail_fd > 0)
        close(g->tail_fd);
    if (g->leads)
        place_drop(g->s->db, g->grp);
    if (g->active)
        db_ring(g->s->db); /* after unlocking: consumers on standby try the bytes now */
    g->tail_fd = 0;
    g->active = g->leads = false;
}

int order_held(struct group *g, struct str subject, struct err *e)
{
    int64_t one;
    return db_int(g->s->db, e, &one,
                  SQL("order_held",
                      "SELECT 1 FROM item" BY_ITEM_SUBJECT " WHERE grp=? AND subject=? AND "
                      "state<>3 LIMIT 1"),
                  "is", g->grp, subject);
}

/* The first row that is not dead behind the event at ?2, whose own row has the subject. */
#define NEXT                                                                                       \
    "(SELECT i.seq FROM item n" THEN_JOIN "item i" BY_ITEM_SUBJECT " ON i.grp=n.grp AND "          \
    "i.subject=n.subject AND i.state<>3 AND i.seq>n.seq WHERE n.grp=?1 AND n.seq=?2 ORDER BY "     \
    "i.seq LIMIT 1)"

int order_place(struct store *s, int64_t grp, int64_t seq, struct err *e)
{
    if (db_later(
            s->db, e,
            SQL("order_place_behind",
                "UPDATE item SET state=2 WHERE grp=?1 AND seq=?2 AND state=0 AND EXISTS(SELECT 1 "
                "FROM item i" BY_ITEM_SUBJECT " WHERE i.grp=?1 AND i.subject=item.subject AND "
                "i.state<>3 AND i.seq<?2)"),
            "ii", grp, seq) < 0)
        return -1;
    return db_later(s->db, e,
                    SQL("order_place_before",
                        "UPDATE item SET state=2 WHERE grp=?1 AND state=0 AND seq=" NEXT),
                    "ii", grp, seq) < 0
               ? -1
               : 0;
}

/* An event that was never handed out may still have to wait for its time; a retry has waited long
   enough. */
int order_free(struct store *s, int64_t grp, int64_t seq, struct err *e)
{
    return db_later(s->db, e,
                    SQL("order_free",
                        "UPDATE item SET state=0,due=CASE attempts+deaths WHEN 0 THEN " GREATER(
                            "due", "?3") " ELSE "
                                         "?3 END WHERE grp=?1 AND state=2 AND seq=" NEXT
                                         " AND NOT EXISTS(SELECT 1 FROM item i" BY_ITEM_SUBJECT
                                         " WHERE i.grp=?1 "
                                         "AND "
                                         "i.subject=item.subject AND i.state<>3 AND i.seq<?2)"),
                    "iii", grp, seq, clock_now_ms()) < 0
               ? -1
               : 0;
}

/* The positions of a group's next thousand rows. */
static int next_rows(struct store *s, int64_t grp, int64_t behind, int64_t seq[DB_ROWS], size_t *n,
                     struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("order_next_rows", "SELECT seq FROM item WHERE grp=? AND seq>? ORDER BY seq LIMIT ?"),
        "iii", grp, behind, (int64_t)DB_ROWS);
    int got = -1;

    *n = 0;
    while (q != NULL && (got = db_row(s->db, q, e)) > 0)
        seq[(*n)++] = db_i64(q, 0);
    return got;
}

int order_sort(struct store *s, int64_t grp, int64_t *behind, struct err *e)
{
    int64_t seq[DB_ROWS];
    size_t n;

    if (next_rows(s, grp, *behind, seq, &n, e) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        *behind = seq[i];
        if (db_run(
                s->db, e,
                SQL("order_sort",
                    "UPDATE item SET subject=(SELECT subject FROM event WHERE event.seq=item.seq) "
                    "WHERE grp=? AND seq=? AND subject IS NULL"),
                "ii", grp, seq[i]) < 0 ||
            order_place(s, grp, seq[i], e) < 0)
            return -1;
    }
    return n < DB_ROWS;
}

int order_resume(struct group *g, struct err *e)
{
    int64_t behind = 0;
    int got;

    do {
        if (db_begin(g->s->db, DB_FULL, e) < 0)
            return -1;
        if ((got = order_sort(g->s, g->grp, &behind, e)) > 0 &&
            db_run(g->s->db, e,
                   SQL("order_resume",
                       "UPDATE groups SET ordered=1,rev=rev+1 WHERE grp=? AND ordered=2"),
                   "i", g->grp) < 0)
            got = -1;
        if (got < 0) {
            db_rollback(g->s->db);
            return -1;
        }
        if (db_commit(g->s->db, false, e) < 0)
            return -1;
    } while (got == 0);
    g->unsorted = false;
    return 0;
}

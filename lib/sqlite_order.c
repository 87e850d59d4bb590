/*
 * Ordered groups: the events of a subject one after the other, whoever dies meanwhile.
 *
 * One consumer is active, the one that holds the group's byte of SPOOL-lock; the others stand by
 * and try at each bell and second. Its handlers hold a second byte, through a descriptor that they
 * inherit: a successor waits until the last of them is gone, so that none is overtaken.
 *
 * Of the rows of a subject that are not dead only the first may be claimed (state 0, or 1); those
 * behind it have state 2. What arrives while there is such a row is put behind it. Events that are
 * in flight without a row need none: whoever has them keeps their order, and gives them back
 * together.
 */
#include "sqlite_group.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Even, unlike owners, and above the bytes that sqlite_lock.c uses itself. */
static int64_t byte_of(const struct group *g, bool tail)
{
    return 4 + 4 * g->grp + (tail ? 2 : 0);
}

/* A file that was replaced shows nobody's locks: then it is the processes that count. */
static int others_live(struct group *g, struct err *e)
{
    int trusted = lock_trusted(g->s, e);
    sqlite3_stmt *q;
    int got = -1, live = 0;

    if (trusted != 0)
        return trusted < 0 ? -1 : 0;
    q = db_query(g->s, e, "SELECT pid,started,boot FROM consumer WHERE grp=? AND owner<>?", "ii",
                 g->grp, g->owner);
    while (q != NULL && (got = db_row(g->s, q, e)) > 0) {
        struct lock_process p;
        lock_process_read(&p, q, 0);
        live |= lock_process_lives(&p);
    }
    return got < 0 ? -1 : live;
}

/* The handlers of whoever was active before us, for as long as one may take. */
static bool tail_free(struct group *g)
{
    if (lock_byte(g->tail_fd, byte_of(g, true)))
        return true;
    if (g->tail_wait_ms == 0)
        return false;
    if (g->tail_since_ms == 0)
        g->tail_since_ms = clock_mono_ms();
    return clock_mono_ms() >= g->tail_since_ms + g->tail_wait_ms;
}

int order_enter(struct group *g, struct err *e)
{
    int live;

    if (g->active)
        return 1;
    if (!g->leads && !lock_byte(g->s->lock_fd, byte_of(g, false)))
        return 0;
    g->leads = true;
    if ((live = others_live(g, e)) != 0) {
        unlock_byte(g->s->lock_fd, byte_of(g, false));
        g->leads = false;
        return live < 0 ? -1 : 0;
    }
    if (g->tail_fd == 0) {
        int fd = open(g->s->lock_path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
            return err_errno(e, 0, "%s", g->s->lock_path);
        g->tail_fd = fd;
    }
    g->active = tail_free(g);
    return g->active;
}

void order_leave(struct group *g)
{
    /* With events in hand there may be handlers, which end with us but not before: their copies of
       the descriptor keep the byte. */
    if (g->tail_fd > 0 && g->held == 0)
        unlock_byte(g->tail_fd, byte_of(g, true));
    if (g->tail_fd > 0)
        close(g->tail_fd);
    if (g->leads)
        unlock_byte(g->s->lock_fd, byte_of(g, false));
    if (g->active)
        lock_ring(g->s); /* after the bytes: whoever stands by tries them */
    g->tail_fd = 0;
    g->active = g->leads = false;
}

int order_held(struct group *g, struct str subject, struct err *e)
{
    int64_t one;
    return db_int(g->s, e, &one, "SELECT 1 FROM item WHERE grp=? AND subject=? AND state<>3", "is",
                  g->grp, subject);
}

int order_restore(struct store *s, int64_t grp, int64_t seq, struct err *e)
{
    int64_t now = clock_now_ms();

    /* Items of unordered groups have no subject: there is nothing to do. */
    if (db_run(s, e,
               "UPDATE item SET state=2 WHERE grp=?1 AND state=0 AND subject=(SELECT subject FROM "
               "event WHERE event.seq=?2) AND EXISTS(SELECT 1 FROM item i WHERE i.grp=?1 AND "
               "i.subject=item.subject AND i.state<>3 AND i.seq<item.seq)",
               "ii", grp, seq) < 0)
        return -1;
    return db_run(s, e,
                  "UPDATE item SET state=0,due=?3 WHERE grp=?1 AND state=2 AND subject=(SELECT "
                  "subject FROM event WHERE event.seq=?2) AND NOT EXISTS(SELECT 1 FROM item i "
                  "WHERE i.grp=?1 AND i.subject=item.subject AND i.state<>3 AND i.seq<item.seq)",
                  "iii", grp, seq, now) < 0
               ? -1
               : 0;
}

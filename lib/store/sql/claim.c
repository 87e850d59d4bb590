/*
 * A group claims events.
 *
 * A claim is prepared outside the write lock, where patterns are matched and lines copied
 * (claim_choose.c), and taken inside the lock, where every statement checks that what was seen
 * still holds (claim_write.c); if not, the whole claim is thrown away and prepared again. The
 * checks compare the group's rev, its cursors and the state of each item. What is over comes back
 * first: the events of consumers that died (takeover.c), and those on leases that have run out
 * (lease.c).
 */
#include "base/mem.h"
#include "store/group.h"
#include "store/sql/group.h"

#define BACK_MS 1000 /* less is a clock that is kept right */

/* See still_sound. */
struct doubt {
    int64_t version, times;
    const char *table;
};

static int add_consumer(struct group *g, struct err *e)
{
    struct session self;

    if (consumers_adopt(g->s, g->owner, e) < 0)
        return -1;
    if (group_mark_seen(g, e) < 0)
        return -1;
    session_self(g->s->db, &self);
    return db_later(g->s->db, e,
                    SQL("claim_add_consumer",
                        "INSERT INTO consumer(owner,pid,started,boot,grp) VALUES(?,?,?,?,?)"),
                    "iiiti", g->owner, self.pid, self.started, self.boot, g->grp);
}

/* Take the lock before adding the row: a row whose lock is free belongs to a dead consumer. */
static int join(struct group *g, struct err *e)
{
    int64_t owner;

    if (session_open(g->s->db, e) < 0 || (owner = session_take(g->s->db, e)) < 0)
        return -1;
    g->owner = g->hand = owner;
    if (g->lease_ms > 0) /* even: the number of a pipe, not of a consumer */
        g->hand = ((int64_t)(clock_random() >> 2) | 2) & ~INT64_C(1);
    if (db_begin(g->s->db, DB_NORMAL, e) < 0)
        return -1;
    if (add_consumer(g, e) < 0) {
        db_rollback(g->s->db);
        return -1;
    }
    g->joined = true;
    return db_commit(g->s->db, false, e);
}

/* The cursors, one a row, from column on. False when one is missing, or is beyond the log. */
static bool see_cursors(struct group *g, struct query *q, int column, int64_t last, struct err *e)
{
    unsigned seen = 0;
    int got = 1;

    for (; got > 0; got = db_row(g->s->db, q, e)) {
        int64_t priority = db_i64(q, column), seq = db_i64(q, column + 1);
        if (priority < 0 || priority > 9 || db_kind(q, column + 1) != DB_INTEGER || seq < 0 ||
            seq > last)
            continue;
        g->cursor[priority] = seq;
        seen |= 1u << priority;
    }
    return got == 0 && seen == (1u << 10) - 1;
}

/* All that can be known of the group in one look, since each look may cost a round trip. May events
   be claimed now? Reads the group's patterns again if they have changed. *others: there are other
   consumers or leases, of which some may be over. */
static int claim_look_at(struct group *g, bool *others, struct err *e)
{
    g->now_ms = clock_now_ms();
    struct query *q = db_query(
        g->s->db, e,
        SQL("claim_look",
            "SELECT rev,paused,hold,EXISTS(SELECT 1 FROM consumer" BY_CONSUMER_GROUP " WHERE "
            "grp=?1 AND owner<>?2) OR EXISTS(SELECT 1 FROM claim" BY_CLAIM_LEASE " WHERE "
            "grp=?1 AND lease IS NOT NULL),EXISTS(SELECT 1 FROM item" BY_ITEM_DUE " WHERE grp=?1 "
            "AND state=0 AND due<=?3),EXISTS(SELECT 1 FROM event" BY_EVENT_PRIORITY " WHERE "
            "priority<>5),(SELECT seq FROM event WHERE seq<=?4 ORDER BY seq DESC LIMIT 1),"
            "c.priority,c.seq FROM groups g LEFT JOIN cursor c ON c.grp=g.grp WHERE g.grp=?1"),
        "iiii", g->grp, g->owner, g->now_ms, LOG_BOUND);
    int got = q == NULL ? -1 : db_row(g->s->db, q, e);

    if (got < 0)
        return -1;
    if (got == 0)
        return group_dropped(g, e);
    int64_t rev = db_i64(q, 0);
    bool open = db_i64(q, 1) == 0 && db_i64(q, 2) <= g->now_ms;
    *others = db_i64(q, 3) != 0;
    g->items_due = db_i64(q, 4) != 0;
    g->prioritised = db_i64(q, 5) != 0;
    if (!see_cursors(g, q, 7, db_i64(q, 6), e) &&
        (e->status != 0 || group_cursors(g->s, g->grp, g->cursor, e) < 0)) /* says what is wrong */
        return -1;
    if (rev != g->rev && group_reload(g, e) < 0)
        return -1;
    g->rev = rev;
    return open;
}

/* Begin the read transaction in which a claim is prepared: as a statement of its own, each would
   lock and unlock. Before that, take back what is over. As look. */
static int begin_look(struct group *g, struct err *e)
{
    bool others, taken_back = false;
    int got;

    for (;;) {
        if (db_begin_read(g->s->db, e) < 0 || (got = claim_look_at(g, &others, e)) < 0)
            return -1;
        if (!others || taken_back)
            return got;
        db_rollback(g->s->db);
        if (group_take_over(g, e) < 0 || lease_expire(g, e) < 0)
            return -1;
        taken_back = true;
    }
}

/* Read the next thousand waiting items due after (*due, *seq) into later, and move both. */
static int page_late(struct group *g, int64_t *due, int64_t *seq, struct err *e)
{
    struct query *q =
        db_query(g->s->db, e,
                 SQL("claim_page_late", "SELECT seq,due FROM item" BY_ITEM_DUE " WHERE grp=? AND "
                                        "state=0 AND (due,seq)>(?,?) ORDER BY due,seq LIMIT ?"),
                 "iiii", g->grp, *due, *seq, (int64_t)DB_ROWS);
    int got = -1;

    g->later.n = 0;
    while (q != NULL && (got = db_row(g->s->db, q, e)) > 0) {
        *seq = db_i64(q, 0);
        *due = db_i64(q, 1);
        notes_add(&g->later, *seq, *due);
    }
    return got;
}

/* Make the items in later due at most by then, except where the publisher chose the time. */
static int lower_due(struct group *g, int64_t most, struct err *e)
{
    if (db_begin(g->s->db, DB_NORMAL, e) < 0)
        return -1;
    for (size_t i = 0; i < g->later.n; i++)
        if (db_run(g->s->db, e,
                   SQL("claim_lower_due",
                       "UPDATE item SET due=? WHERE grp=? AND seq=? AND state=0 AND due=? AND "
                       "(due=(SELECT " LESSER(
                           "due", "coalesce(expires,due)") " FROM event WHERE "
                                                           "event.seq=item.seq)) IS NOT TRUE"),
                   "iiii", most, g->grp, g->later.note[i].seq, g->later.note[i].value) < 0) {
            db_rollback(g->s->db);
            return -1;
        }
    return db_commit(g->s->db, false, e);
}

/* Retries and holds end by the wall clock, which people can set. If the clock went back, they would
   wait that much longer: limit each wait to what it could be if it began now. Times that the
   publisher has chosen stay. */
static int see_clock(struct group *g, struct err *e)
{
    int64_t now = clock_now_ms(), most = now + g->wait_ms, due = most, seq = INT64_MAX;
    bool back = now < g->latest_ms - BACK_MS;

    if (back || now > g->latest_ms)
        g->latest_ms = now;
    if (!back)
        return 0;
    if (db_begin(g->s->db, DB_NORMAL, e) < 0)
        return -1;
    if (db_run(g->s->db, e,
               SQL("claim_see_clock", "UPDATE groups SET hold=" LESSER("hold", "?") " WHERE grp=?"),
               "ii", most, g->grp) < 0) {
        db_rollback(g->s->db);
        return -1;
    }
    if (db_commit(g->s->db, false, e) < 0)
        return -1;
    do {
        if (page_late(g, &due, &seq, e) < 0 || (g->later.n > 0 && lower_due(g, most, e) < 0))
            return -1;
    } while (g->later.n == DB_ROWS);
    return 0;
}

static struct claim *new_claim(struct group *g, size_t max)
{
    struct claim *c = g->spare;

    if (c != NULL)
        g->spare = c->next;
    else
        c = mem_zero(1, sizeof *c);
    if (c->room < max) {
        c->held = mem_grow(c->held, max, sizeof *c->held);
        c->room = max;
    }
    c->next = NULL;
    c->n = c->open = c->page.n = 0;
    return c;
}

static int give(struct group *g, struct claim *c, struct group_event ***out)
{
    if (g->given_room < c->n) {
        g->given_room = c->n;
        g->given = mem_grow(g->given, c->n, sizeof *g->given);
    }
    for (size_t i = 0; i < c->n; i++) {
        c->held[i].shown.entry = c->page.entry[i];
        g->given[i] = &c->held[i].shown;
    }
    c->open = c->n;
    g->held += c->n;
    g->others_turn = g->alone;
    c->next = g->claims;
    g->claims = c;
    *out = g->given;
    return (int)c->n;
}

/*
 * Normally, when what was seen no longer holds once we have the lock, another process was faster.
 * But if nobody has committed in between, three times in a row (once could be a clock that was
 * set), then what is read contradicts what is written: a row or an index is damaged. d->version is
 * the spool's generation when this happened last.
 */
static int still_sound(struct group *g, struct doubt *d, struct err *e)
{
    int64_t version = 0;

    if (db_generation(g->s->db, &version, e) < 0)
        return -1;
    d->times = version == d->version ? d->times + 1 : 1;
    d->version = version;
    if (d->times < 3)
        return 0;
    return err_set(e, EX_IOERR,
                   "%s: damaged: its table \"%s\" contradicts itself about group %s: see spool "
                   "check, or restore it from a backup",
                   g->s->name, d->table, err_quote_text(g->name).text);
}

bool group_skipped(const struct group *g)
{
    return g->skipped;
}

/* Prepare a claim of at most max events in *c; NULL: nothing may be claimed now. 1 when there is
   something to write, even if no event is in it; 0; -1. *paced: the rate allows none now, and what
   is in *c only shows that there is something. */
static int prepare_claim(struct group *g, size_t max, struct wanted *w, struct claim **c,
                         bool *paced, struct err *e)
{
    int got;

    *c = NULL;
    g->looked_ms = clock_now_ms();
    if (g->ordered && (got = order_enter(g, e)) <= 0)
        return got;
    if (g->unsorted && order_resume(g, e) < 0)
        return -1;
    w->max = max > 1000 ? 1000 : max;
    if ((got = begin_look(g, e)) <= 0 || (got = pace_allows(g, &w->max, e)) < 0) {
        db_rollback(g->s->db);
        return got;
    }
    *paced = w->max == 0; /* then look only whether the rate keeps back anything */
    w->max += *paced;
    *c = new_claim(g, w->max);
    got = claim_choose(g, *c, w, e);
    db_rollback(g->s->db);
    *paced &= (*c)->n > 0;
    return got;
}

static int64_t claim_last(int64_t last)
{
    return last == 0 || last > LOG_BOUND ? LOG_BOUND : last;
}

int group_claim(struct group *g, size_t max, size_t at_once, int64_t last,
                struct group_event ***out, struct err *e)
{
    struct wanted w = {0, at_once, claim_last(last)};
    struct doubt doubt = {0, 0, NULL};
    struct claim *c;
    bool paced;
    int got;

    g->pace_ms = 0;
    if (max == 0 || g->alone)
        return 0;
    if (see_clock(g, e) < 0 || (!g->joined && join(g, e) < 0))
        return -1;
    for (;;) {
        if (db_stopping(g->s->db))
            return 0;
        got = prepare_claim(g, max, &w, &c, &paced, e);
        if (c == NULL)
            return got;
        bool anything = got > 0, others = g->others_turn;
        if (anything && !paced && (got = claim_write(g, c, NULL, 0, &doubt.table, e)) > 0 &&
            c->n > 0)
            break;
        if (anything && got == 0)
            got = still_sound(g, &doubt, e);
        g->alone = false;
        claim_spare(g, c);
        if (got < 0 || paced)
            return got < 0 ? -1 : 0;
        if (!anything && !others) {
            g->pace_ms = 0;
            return 0;
        }
        if (!anything)
            g->others_turn = false;
        /* Another consumer was faster; or nothing has matched so far, but the cursor moved; or the
           others had no event for their turn. */
    }
    return give(g, c, out);
}

int group_settle_and_claim(struct group *g, const struct group_settle *settle, size_t n, size_t max,
                           size_t at_once, int64_t last, struct group_event ***out, struct err *e)
{
    struct wanted w = {0, at_once, claim_last(last)};
    struct err met_later = ERR_NONE; /* by the next claim */
    struct claim *c = NULL;
    const char *changed;
    bool paced = false;
    int got = 0;

    if (max > 0 && !g->alone && see_clock(g, &met_later) == 0 &&
        prepare_claim(g, max, &w, &c, &paced, &met_later) > 0 && !paced && c->n > 0)
        got = claim_write(g, c, settle, n, &changed, e);
    if (got > 0)
        return give(g, c, out);
    if (c != NULL)
        claim_spare(g, c);
    return got < 0 ? -1 : group_settle(g, settle, n, e);
}

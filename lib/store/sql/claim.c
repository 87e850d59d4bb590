/*
 * How a group claims events, and inherits those of consumers that died.
 *
 * A claim is prepared outside the write lock, where patterns are matched and lines copied, and
 * taken inside the lock, where every statement checks that what was seen still holds; if not, the
 * whole claim is thrown away and prepared again. The checks compare the group's rev, its cursors
 * and the state of each item.
 */
#include "base/json_tree.h"
#include "store/sql/group.h"

#include "base/mem.h"
#include "store/group.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define DAMAGED_ITEM 1    /* a damaged event that the group remembers */
#define BROKEN 2          /* one whose row cannot be read */
#define BACK_MS 1000      /* less is a clock that is kept right */
#define SCAN_EVENTS 50000 /* passed without a match before the cursor is moved */

/* What a claim may contain. */
struct wanted {
    size_t max, at_once;
    int64_t last; /* the last position that may be claimed */
};

/* See still_sound. */
struct doubt {
    int64_t version, times;
    const char *table;
};

/* ------------------------------------------------------------------------------------ takeover */

static int remember_death(struct group *g, int64_t seq, int64_t now, struct err *e)
{
    /* From the second death on, a death counts as an attempt, and is recorded as one. */
    if (db_run(
            g->s->db, e,
            SQL("claim_remember_death_insert_attempt",
                "INSERT INTO attempt(grp,seq,n,time,took,status,reason,tail) SELECT "
                "grp,seq,(SELECT coalesce(max(n),0)+1 FROM attempt WHERE grp=?1 AND seq=?2),?3,0,0,"
                "'its consumer died',x'' FROM item WHERE grp=?1 AND seq=?2 AND deaths>0"),
            "iii", g->grp, seq, now) < 0)
        return -1;
    if (db_run(g->s->db, e,
               SQL("claim_remember_death_insert_item",
                   "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) "
                   "VALUES(?1,?2,0,?3,0,1," ITEM_SUBJECT(
                       "?2", "?4") ") ON CONFLICT(grp,seq) DO UPDATE SET state=0,due=?3,"
                                   "deaths=deaths+1,attempts=attempts+(deaths>0)"),
               "iiii", g->grp, seq, now, (int64_t)g->ordered) < 0)
        return -1;
    return g->ordered ? order_place(g->s, g->grp, seq, e) : 0;
}

static int tell_takeover(struct group *g, struct txn *t, int64_t pid, size_t events, struct err *e)
{
    return sys_put(t, "sys.group.taken-over", g->name, NULL,
                   json_pack("{s:o,s:I,s:I}", "group", tree_text(str_of(g->name)), "pid",
                             (json_int_t)pid, "events", (json_int_t)events),
                   e);
}

/* Give one claim of a dead owner back to the group, unless its events would make this transaction
   larger than DB_ROWS. Returns 1; 0 when the owner has no claim; 2 when the claim must wait; -1. */
static int inherit_claim(struct group *g, int64_t owner, int64_t now, size_t *rows, struct err *e)
{
    struct query *q =
        db_query(g->s->db, e,
                 SQL("claim_inherit_claim_select_claim",
                     "SELECT claim,open FROM claim INDEXED BY claim_owner WHERE grp=? AND owner=? "
                     "LIMIT 1"),
                 "ii", g->grp, owner);
    int got = q == NULL ? -1 : db_row(g->s->db, q, e);
    int64_t *open, claim;

    if (got <= 0)
        return got;
    claim = db_i64(q, 0);
    size_t n = open_decode(db_text(q, 1), &open);
    db_done(q);
    bool fits = *rows == 0 || *rows + n <= DB_ROWS;
    for (size_t i = 0; i < n && got >= 0 && fits; i++)
        got = remember_death(g, open[i], now, e);
    free(open);
    if (!fits)
        return 2;
    *rows += n + 1;
    return got < 0 || db_run(g->s->db, e,
                             SQL("claim_inherit_claim_delete_claim",
                                 "DELETE FROM claim WHERE claim=?"),
                             "i", claim) < 0
               ? -1
               : 1;
}

/* Inside a transaction: give the claims of a dead owner back to the group, and delete the owner's
   row with the last of them. 0; 1 when some claims must wait for the next transaction; -1. */
static int inherit(struct group *g, struct txn *t, const struct session *dead, size_t *rows,
                   struct err *e)
{
    size_t before = *rows, claims = 0;
    int got;

    for (; (got = inherit_claim(g, dead->owner, t->terms.now_ms, rows, e)) == 1; claims++)
        continue;
    size_t events = *rows - before - claims;
    if (got < 0 || (events > 0 && tell_takeover(g, t, dead->pid, events, e) < 0))
        return -1;
    ++*rows;
    return got == 2 ? 1
           : db_run(g->s->db, e, SQL("claim_inherit", "DELETE FROM consumer WHERE owner=?"), "i",
                    dead->owner) < 0
               ? -1
               : 0;
}

/* Inherit from dead[*at] on, in one transaction of about a thousand rows; afterwards *at is where
   the next transaction begins. What a kill leaves between two of them still belongs to the dead. */
static int inherit_some(struct group *g, const struct session *dead, size_t n, size_t *at,
                        struct err *e)
{
    struct txn *t;
    size_t rows = 0;
    int got = 0;

    if (txn_begin(g->s, TXN_APPEND, NULL, &t, e) < 0)
        return -1;
    while (*at < n && rows < DB_ROWS && (got = inherit(g, t, &dead[*at], &rows, e)) == 0)
        ++*at;
    t->wake = true;
    if (got >= 0)
        return txn_commit(t, e);
    txn_rollback(t);
    return -1;
}

/* Take over from consumers of this group that have died. */
static int take_over(struct group *g, struct err *e)
{
    struct session *list;
    size_t n, dead = 0;
    int got, trusted;

    got = consumers_others(g->s, g->grp, g->owner, &list, &n, e);
    if (got == 0 && n > 0 && session_open(g->s->db, e) == 0 &&
        (trusted = session_trusted(g->s->db, e)) >= 0) {
        for (size_t i = 0; i < n; i++)
            if (!session_lives(g->s->db, &list[i], trusted))
                list[dead++] = list[i];
        for (size_t at = 0; at < dead && got == 0;)
            got = inherit_some(g, list, dead, &at, e);
    } else if (n > 0) {
        got = -1;
    }
    free(list);
    return got;
}

int group_recover(struct store *s, const char *name, struct err *e)
{
    const struct group_terms terms = {.name = name, .attempts = INT64_MAX};
    struct group *g;
    int got;

    if (group_open(&g, s, &terms, e) < 0)
        return -1;
    got = take_over(g, e) < 0 ? -1 : lease_expire(g, e);
    group_close(g);
    return got;
}

static int add_consumer(struct group *g, struct err *e)
{
    struct session self;

    if (consumers_adopt(g->s, g->owner, e) < 0)
        return -1;
    if (group_mark_seen(g, e) < 0)
        return -1;
    session_self(&self);
    return db_run(g->s->db, e,
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

/* ----------------------------------------------------------------------------- prepare a claim */

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

static bool add_held(struct claim *c, size_t max, const struct log_entry *entry,
                     const struct log_row *row, bool item, int64_t attempts, int64_t deaths)
{
    if (c->n == max || !page_add(&c->page, entry))
        return false;
    c->held[c->n++] =
        (struct held){.shown = {.attempts = attempts,
                                .deaths = deaths,
                                .expires_ms = row->expires == DB_NONE ? 0 : row->expires},
                      .claim = c,
                      .item = item,
                      .open = true};
    return true;
}

/* An item that is due. */
struct due_item {
    int64_t seq, due, attempts, deaths;
};

/* Add the item's event to the claim if the event still exists and has not expired. 1; 0 when the
   claim is full; -1. */
static int add_item(struct group *g, struct claim *c, size_t max, const struct due_item *item,
                    int64_t now, struct err *e)
{
    struct query *q = db_query(
        g->s->db, e, SQL("claim_add_item", "SELECT " LOG_COLUMNS " FROM event WHERE seq=?"), "i",
        item->seq);
    struct log_entry entry;
    struct log_row row;
    int got = q == NULL ? -1 : db_row(g->s->db, q, e);

    if (got < 0)
        return -1;
    if (got == 0) {
        notes_add(&g->gone, item->seq, 0);
        return 1;
    }
    log_entry_read(g->s, q, &row, &entry);
    if (log_entry_damaged(&row, &entry))
        notes_add(&g->damage, item->seq, DAMAGED_ITEM);
    else if (log_row_expired(&row, now))
        notes_add(&g->gone, item->seq, 0);
    else
        got = add_held(c, max, &entry, &row, true, item->attempts, item->deaths);
    db_done(q);
    return got;
}

/*
 * An event whose consumers died may have killed them, and other events must not suffer for that.
 *
 *     After one death the event is claimed only if it can begin at once: a consumer claims more
 *     events than it runs, and an event that only waited there would be blamed for its next death.
 *     After two deaths the event runs alone: its consumer holds nothing else. To get there, the
 *     consumer claims no new event, and no retry that becomes due later, until all that it holds is
 *     settled: so the event gets its turn, however much there is to do. After that, other events
 *     get one claim before the next such event: so they get their turn, however many of those there
 *     are.
 *     After three deaths the event was alone with the last consumer, and becomes a dead letter once
 *     its attempts are used up.
 *
 * TAKE the event; LEAVE it for now; ENOUGH: leave everything after it, too.
 */
enum suspect { TAKE, LEAVE, ENOUGH };

static enum suspect judge(struct group *g, const struct claim *c, const struct wanted *w,
                          const struct due_item *item, int64_t now)
{
    if (g->draining && item->due > g->drain_ms)
        return ENOUGH;
    if (item->deaths == 0)
        return TAKE;
    if (item->deaths == 1) {
        g->skipped |= c->n >= w->at_once;
        return c->n < w->at_once ? TAKE : LEAVE;
    }
    if (item->deaths > 2 && item->attempts >= g->attempts) {
        notes_add(&g->dying, item->seq, 0);
        return LEAVE;
    }
    if (g->others_turn)
        return LEAVE;
    if (g->held == 0 && c->n == 0)
        return TAKE;
    if (g->drain_ms == 0 || g->drain_ms > now) /* the clock went back */
        g->drain_ms = now;
    g->draining = true;
    return LEAVE;
}

/* Is there enough to write for one transaction? Then the rest waits for the next one. */
static bool noted_enough(const struct group *g, const struct claim *c)
{
    return c->n + g->later.n + g->damage.n + g->gone.n + g->dying.n >= DB_ROWS;
}

/* Add the items that are due. */
static int add_items(struct group *g, struct claim *c, const struct wanted *w, int64_t now,
                     struct err *e)
{
    struct query *q = db_query(
        g->s->db, e,
        SQL("claim_add_items",
            "SELECT seq,due,attempts,deaths FROM item INDEXED BY item_due WHERE grp=? AND state=0 "
            "AND due<=? AND seq<=? ORDER BY due,seq"),
        "iii", g->grp, now, w->last);
    enum suspect how = TAKE;
    int got = -1;

    g->draining = g->skipped = false;
    while (q != NULL && how != ENOUGH && !g->alone && c->n < w->max && !noted_enough(g, c) &&
           (got = db_row(g->s->db, q, e)) > 0) {
        const struct due_item item = {db_i64(q, 0), db_i64(q, 1), db_i64(q, 2), db_i64(q, 3)};
        if ((how = judge(g, c, w, &item, now)) != TAKE)
            continue;
        if ((got = add_item(g, c, w->max, &item, now, e)) <= 0)
            break;
        g->alone = item.deaths > 1 && c->n > 0;
    }
    db_done(q);
    if (!g->draining)
        g->drain_ms = 0;
    return q == NULL || got < 0 ? -1 : 0;
}

/* Must an earlier event of this subject come first? aside has the subjects that this claim sets
   aside, each with a NUL at its end. */
static int held_back(struct group *g, struct str subject, struct err *e)
{
    if (!g->ordered || subject.p == NULL)
        return 0;
    for (size_t at = 0; at < g->aside.n; at += strlen(g->aside.p + at) + 1)
        if (str_is(subject, g->aside.p + at))
            return 1;
    return order_held(g, subject, e);
}

static void note_aside(struct group *g, struct str subject)
{
    if (!g->ordered || subject.p == NULL)
        return;
    buf_str(&g->aside, subject);
    buf_char(&g->aside, '\0');
}

/* The priority of a row with damaged columns is unknown, too. The pass for the default priority,
   which reads all rows, finds it; the pass for another priority notes it only where the first pass
   has already been. */
static int add_damaged(struct group *g, const struct log_entry *row, int priority)
{
    if (log_may_match(&g->types, row) &&
        (priority == EVENT_PRIORITY || row->seq <= g->cursor[EVENT_PRIORITY]))
        notes_add(&g->damage, row->seq, 0);
    return 1;
}

/* Add the next event of the log after a cursor. 1; 0 when the claim has no room for it; -1. */
static int add_event(struct group *g, struct claim *c, size_t max, struct query *q, int priority,
                     int64_t now, struct err *e)
{
    struct log_entry entry;
    struct log_row row;
    int held;

    log_entry_read(g->s, q, &row, &entry);
    if (entry.damaged)
        return add_damaged(g, &entry, priority);
    if (!g->ordered && row.priority != priority)
        return 1;
    if (!pattern_any(&g->types, row.type))
        return 1;
    if (log_row_expired(&row, now))
        return 1;
    if ((held = held_back(g, row.subject, e)) < 0)
        return -1;
    if (held > 0) {
        notes_add(&g->later, row.seq, row.due > now ? row.due : now);
    } else if (row.due > now) {
        notes_add(&g->later, row.seq, row.due);
        note_aside(g, row.subject);
    } else if (log_entry_damaged(&row, &entry)) {
        notes_add(&g->damage, row.seq, 0);
    } else {
        return add_held(c, max, &entry, &row, false, 0, 0);
    }
    return 1;
}

/* Move past a row that cannot be read: 1. If that is not what went wrong: -1, with e unchanged. */
static int claim_add_broken(struct group *g, int priority, int64_t last, struct err *e)
{
    int64_t seq;

    if (priority != EVENT_PRIORITY || log_broken(g->s, g->moved[priority] + 1, last, &seq) < 0)
        return -1;
    err_clear(e);
    notes_add(&g->damage, seq, BROKEN);
    g->moved[priority] = seq;
    return 1;
}

/* Add the events of one priority after its cursor; in an ordered group, of all priorities. Returns
   how many events were passed, or -1. */
static int add_events(struct group *g, struct claim *c, size_t max, int priority, int64_t last,
                      int64_t now, struct err *e)
{
    int64_t at = g->moved[priority];
    struct query *q =
        priority == EVENT_PRIORITY
            ? db_query(g->s->db, e,
                       SQL("claim_events",
                           "SELECT " LOG_COLUMNS " FROM event WHERE seq>? AND seq<=? ORDER BY seq "
                           "LIMIT 1000"),
                       "ii", at, last)
            : db_query(
                  g->s->db, e,
                  SQL("claim_events_of_priority",
                      "SELECT " LOG_COLUMNS " FROM event INDEXED BY event_priority WHERE "
                      "seq>? AND seq<=? AND priority=? AND priority<>5 ORDER BY seq LIMIT 1000"),
                  "iii", at, last, (int64_t)priority);
    int got = -1, passed = 0, added = 1;

    while (q != NULL && c->n < max && !noted_enough(g, c) && (got = db_row(g->s->db, q, e)) > 0) {
        int64_t seq = db_i64(q, 0);
        if ((added = seq <= g->moved[priority] ? log_disorder(g->s, seq, e)
                                               : add_event(g, c, max, q, priority, now, e)) <= 0)
            break;
        g->moved[priority] = seq;
        passed++;
    }
    if (q == NULL || added < 0)
        return -1;
    db_done(q);
    if (got < 0 && passed == 0)
        return claim_add_broken(g, priority, last, e);
    if (got < 0)
        err_clear(e); /* first the rows before it; the next call meets the error again */
    return passed;
}

/* 1 when there is something to commit, 0 when there is nothing, -1. */
static int gather(struct group *g, struct claim *c, const struct wanted *w, struct err *e)
{
    int64_t now = clock_now_ms(), prioritised = 0;
    int passed = 0, scanned = 0;

    g->later.n = g->damage.n = g->gone.n = g->dying.n = 0;
    buf_reset(&g->aside);
    if (group_cursors(g->s, g->grp, g->cursor, e) < 0)
        return -1;
    memcpy(g->moved, g->cursor, sizeof g->moved);
    if (add_items(g, c, w, now, e) < 0 ||
        db_int(g->s->db, e, &prioritised,
               SQL("claim_gather", "SELECT 1 FROM event INDEXED BY event_priority WHERE "
                                   "priority<>5 LIMIT 1"),
               "") < 0)
        return -1;
    for (int p = 0; p < 10 && c->n < w->max && !noted_enough(g, c) && !g->alone && !g->draining;
         p++) {
        if (p != EVENT_PRIORITY && (!prioritised || g->ordered))
            continue;
        do {
            if ((passed = add_events(g, c, w->max, p, w->last, now, e)) < 0)
                return -1;
            scanned += passed;
        } while (passed == 1000 && c->n < w->max && c->page.n == c->n && !noted_enough(g, c) &&
                 scanned < SCAN_EVENTS);
    }
    if (g->ordered)
        for (int p = 0; p < 10; p++)
            g->moved[p] = g->moved[EVENT_PRIORITY];
    return c->n > 0 || g->later.n > 0 || g->damage.n > 0 || g->gone.n > 0 || g->dying.n > 0 ||
           memcmp(g->moved, g->cursor, sizeof g->moved) != 0;
}

/* -------------------------------------------------------------------------------- take a claim */

/* Each returns 1, 0 when what was seen no longer holds, -1. */
static int take_group(struct group *g, int64_t now, struct err *e)
{
    int64_t one;
    return db_int(g->s->db, e, &one,
                  SQL("claim_take_group",
                      "SELECT 1 FROM groups WHERE grp=? AND rev=? AND paused=0 AND hold<=?"),
                  "iii", g->grp, g->rev, now);
}

static int take_cursors(struct group *g, struct err *e)
{
    int got = 1;

    for (int i = 0; i < 10 && got > 0; i++)
        if (g->moved[i] != g->cursor[i])
            got = db_run(g->s->db, e,
                         SQL("claim_take_cursors",
                             "UPDATE cursor SET seq=? WHERE grp=? AND priority=? AND seq=?"),
                         "iiii", g->moved[i], g->grp, (int64_t)i, g->cursor[i]);
    return got;
}

static int set_dead(struct group *g, int64_t seq, int64_t now, struct err *e)
{
    if (db_run(g->s->db, e,
               SQL("claim_set_dead",
                   "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) "
                   "VALUES(?1,?2,3,?3,0,0," ITEM_SUBJECT(
                       "?2", "?4") ") ON CONFLICT(grp,seq) DO UPDATE SET state=3,due=?3"),
               "iiii", g->grp, seq, now, (int64_t)g->ordered) < 0)
        return -1;
    return g->ordered ? order_free(g->s, g->grp, seq, e) : 0;
}

/* Add a row for an event that the cursor passes but that may not be claimed yet: it is not due, or
   it stands behind an earlier event of its subject, if that is still so. It is the last of its
   subject, so no other row changes its place. */
static int set_aside(struct group *g, int64_t seq, int64_t due, struct err *e)
{
    return db_run(
        g->s->db, e,
        SQL("claim_set_aside",
            "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) SELECT ?1,?2,2*(?4 "
            "AND EXISTS(SELECT 1 FROM item i INDEXED BY item_subject WHERE i.grp=?1 AND "
            "i.subject=e.subject AND i.state<>3 AND i.seq<?2)),min(?3,ifnull(expires,?3)),0,"
            "0,CASE WHEN ?4 THEN e.subject END FROM event e WHERE e.seq=?2 "
            "ON CONFLICT(grp,seq) DO NOTHING"), /* unless a damaged spool has it already */
        "iiii", g->grp, seq, due, (int64_t)g->ordered);
}

/* Does the item still wait, neither claimed nor buried by another consumer? 1, 0, -1. */
static int still_waits(struct group *g, int64_t seq, struct err *e)
{
    int64_t one;
    return db_int(g->s->db, e, &one,
                  SQL("claim_still_waits", "SELECT 1 FROM item WHERE grp=? AND seq=? AND state=0"),
                  "ii", g->grp, seq);
}

/* Forget an item whose event is gone or has expired, unless another consumer has claimed it. */
static int take_gone(struct group *g, int64_t seq, struct err *e)
{
    int got = still_waits(g, seq, e);
    return got > 0 ? item_forget(g->s, g->grp, g->ordered, seq, e) : got;
}

static int take_notes(struct group *g, struct txn *t, struct err *e)
{
    int64_t now = t->terms.now_ms;
    struct group_settle damaged = {.started_ms = now, .reason = "damaged in the spool"};
    int got;

    for (size_t i = 0; i < g->later.n; i++)
        if (set_aside(g, g->later.note[i].seq, g->later.note[i].value, e) < 0)
            return -1;
    /* A broken row must not be read here: the error would prevent the commit. Nothing is known of
       the event anyway. */
    for (size_t i = 0; i < g->damage.n; i++) {
        int64_t seq = g->damage.note[i].seq;
        if (g->damage.note[i].value == DAMAGED_ITEM && (got = still_waits(g, seq, e)) <= 0)
            return got;
        if (set_dead(g, seq, now, e) < 0 || attempt_add(g, seq, &damaged, e) < 0 ||
            (g->damage.note[i].value != BROKEN && death_tell_seq(g, t, seq, damaged.reason, e) < 0))
            return -1;
    }
    for (size_t i = 0; i < g->gone.n; i++)
        if (take_gone(g, g->gone.note[i].seq, e) < 0)
            return -1;
    for (size_t i = 0; i < g->dying.n; i++) {
        int64_t seq = g->dying.note[i].seq;
        if ((got = still_waits(g, seq, e)) <= 0)
            return got;
        if (set_dead(g, seq, now, e) < 0 || death_tell_seq(g, t, seq, "its consumer died", e) < 0)
            return -1;
    }
    return 1;
}

static int take_items(struct group *g, struct claim *c, struct err *e)
{
    int got = 1;

    for (size_t i = 0; i < c->n && got > 0; i++)
        if (c->held[i].item)
            got = db_run(g->s->db, e,
                         SQL("claim_take_items",
                             "UPDATE item SET state=1 WHERE grp=? AND seq=? AND state=0"),
                         "ii", g->grp, c->page.entry[i].seq);
    return got;
}

static int take_lease(struct group *g, int64_t first, struct str open, int64_t *id, struct err *e)
{
    struct lease_clock now;

    lease_now(g->s->db, &now);
    return db_int(
        g->s->db, e, id,
        SQL("claim_take_lease",
            "INSERT INTO claim(grp,owner,first,open,lease,term,boot,made) VALUES(?,?,?,?,?,?,?,?) "
            "RETURNING claim"),
        "iiibiiti", g->grp, g->hand, first, open, now.ms + g->lease_ms, g->lease_ms, now.epoch,
        clock_now_ms());
}

static int take_claim(struct group *g, struct claim *c, struct err *e)
{
    struct buf b = BUF_INIT;
    size_t n;
    int got;

    if (c->n == 0)
        return 1;
    int64_t *seq = claim_seqs(c, &n);
    open_encode(&b, seq, n);
    struct str open = {b.p, b.n};
    if (g->lease_ms == 0)
        got = db_int(
            g->s->db, e, &c->id,
            SQL("claim_take_claim",
                "INSERT INTO claim(grp,owner,first,open,made) VALUES(?,?,?,?,?) RETURNING claim"),
            "iiibi", g->grp, g->hand, seq[0], open, clock_now_ms());
    else
        got = take_lease(g, seq[0], open, &c->id, e);
    free(seq);
    buf_free(&b);
    return got;
}

/* 1 when the claim is taken; 0 when something has changed, in *table; -1. */
static int take(struct group *g, struct claim *c, const char **table, struct err *e)
{
    bool appends = g->damage.n > 0 || g->dying.n > 0;
    struct txn *t;
    int got;

    if (txn_begin(g->s, appends ? TXN_APPEND : TXN_LIGHT, NULL, &t, e) < 0)
        return -1;
    *table = "groups";
    if ((got = take_group(g, t->terms.now_ms, e)) > 0 && (got = pace_take(g, c->n, e)) > 0) {
        *table = "cursor";
        if ((got = take_cursors(g, e)) > 0) {
            *table = "item";
            if ((got = take_notes(g, t, e)) > 0 && (got = take_items(g, c, e)) > 0)
                got = take_claim(g, c, e);
        }
    }
    if (got <= 0) {
        txn_rollback(t);
        return got;
    }
    if (txn_commit(t, e) < 0)
        return -1;
    g->damaged += (int64_t)g->damage.n;
    g->buried += (int64_t)g->dying.n;
    return 1;
}

/* May events be claimed from the group now? Reads its patterns again if they have changed. *others:
   there are other consumers or leases, of which some may be over. */
static int claim_look_at(struct group *g, bool *others, struct err *e)
{
    struct query *q = db_query(
        g->s->db, e,
        SQL("claim_look",
            "SELECT rev,paused,hold,EXISTS(SELECT 1 FROM consumer INDEXED BY consumer_group WHERE "
            "grp=?1 AND owner<>?2) OR EXISTS(SELECT 1 FROM claim INDEXED BY claim_lease WHERE "
            "grp=?1 AND lease IS NOT NULL) FROM groups WHERE grp=?1"),
        "ii", g->grp, g->owner);
    int got = q == NULL ? -1 : db_row(g->s->db, q, e);

    if (got < 0)
        return -1;
    if (got == 0)
        return group_dropped(g, e);
    int64_t rev = db_i64(q, 0);
    bool open = db_i64(q, 1) == 0 && db_i64(q, 2) <= clock_now_ms();
    *others = db_i64(q, 3) != 0;
    db_done(q);
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
        if (take_over(g, e) < 0 || lease_expire(g, e) < 0)
            return -1;
        taken_back = true;
    }
}

/* Read the next thousand waiting items due after (*due, *seq) into later, and move both. */
static int page_late(struct group *g, int64_t *due, int64_t *seq, struct err *e)
{
    struct query *q = db_query(g->s->db, e,
                               SQL("claim_page_late",
                                   "SELECT seq,due FROM item INDEXED BY item_due WHERE grp=? AND "
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
                       "due IS NOT (SELECT min(due,ifnull(expires,due)) FROM event WHERE "
                       "event.seq=item.seq)"),
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
               SQL("claim_see_clock", "UPDATE groups SET hold=min(hold,?) WHERE grp=?"), "ii", most,
               g->grp) < 0) {
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

static void give(struct group *g, struct claim *c)
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
}

/*
 * Normally, when what was seen no longer holds once we have the lock, another process was faster.
 * But if nobody has committed in between, three times in a row (once could be a clock that was
 * set), then what is read contradicts what is written: a row or an index is damaged. d->version is
 * the spool's data_version when this happened last.
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

int group_claim(struct group *g, size_t max, size_t at_once, int64_t last,
                struct group_event ***out, struct err *e)
{
    struct wanted w = {0, at_once, last == 0 || last > LOG_BOUND ? LOG_BOUND : last};
    struct doubt doubt = {0, 0, NULL};
    struct claim *c;
    int got;

    g->pace_ms = 0;
    if (max == 0 || g->alone)
        return 0;
    if (see_clock(g, e) < 0 || (!g->joined && join(g, e) < 0))
        return -1;
    for (;;) {
        if (db_stopping(g->s->db))
            return 0;
        g->looked_ms = clock_now_ms();
        if (g->ordered && (got = order_enter(g, e)) <= 0)
            return got;
        if (g->unsorted && order_resume(g, e) < 0)
            return -1;
        w.max = max > 1000 ? 1000 : max;
        if ((got = begin_look(g, e)) <= 0 || (got = pace_allows(g, &w.max, e)) < 0) {
            db_rollback(g->s->db);
            return got;
        }
        bool paced = w.max == 0; /* then look only whether the rate keeps back anything */
        w.max += paced;
        c = new_claim(g, w.max);
        bool anything = (got = gather(g, c, &w, e)) > 0, others = g->others_turn;
        db_rollback(g->s->db);
        paced &= c->n > 0;
        if (anything && !paced && (got = take(g, c, &doubt.table, e)) > 0 && c->n > 0)
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
    give(g, c);
    *out = g->given;
    return (int)c->n;
}

/*
 * Which events a claim gets: first the items that are due, among them those whose consumers died;
 * then the next events of the log, of each priority, or in an ordered group those that no earlier
 * event of their subject holds back. Reads only, in a transaction that keeps nobody out; what is to
 * be written about other events that it met is noted in the group, for claim_write.c.
 */
#include "base/mem.h"
#include "store/group.h"
#include "store/sql/group.h"

#include <string.h>

#define ROWS_MAX 1000     /* in a query */
#define SCAN_EVENTS 50000 /* passed without a match before the cursor is moved */
#define PEEK_LEAST 100    /* wanted: for fewer it does not pay to read ahead */

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
    struct query *q =
        db_query(g->s->db, e,
                 SQL("claim_add_items", "SELECT seq,due,attempts,deaths FROM item" BY_ITEM_DUE
                                        " WHERE grp=? AND state=0 "
                                        "AND due<=? AND seq<=? ORDER BY due,seq" PAGE_LIMIT),
                 "iii", g->grp, now, w->last);
    enum suspect how = TAKE;
    int got = -1;

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
        notes_add(&g->damage, row->seq, DAMAGED_EVENT);
    return 1;
}

/* Add the next event of the log after a cursor. 1; 0 when the claim has no room for it; -1. */
static int add_event(struct group *g, struct claim *c, size_t max, const struct log_row *row,
                     const struct log_entry *entry, int priority, int64_t now, struct err *e)
{
    int held;

    if (entry->damaged)
        return add_damaged(g, entry, priority);
    if (!g->ordered && row->priority != priority)
        return 1;
    if (!pattern_any(&g->types, row->type))
        return 1;
    if (log_row_expired(row, now))
        return 1;
    if ((held = held_back(g, row->subject, e)) < 0)
        return -1;
    if (held > 0) {
        notes_add(&g->later, row->seq, row->due > now ? row->due : now);
    } else if (row->due > now) {
        notes_add(&g->later, row->seq, row->due);
        note_aside(g, row->subject);
    } else if (log_entry_damaged(row, entry)) {
        notes_add(&g->damage, row->seq, DAMAGED_EVENT);
    } else {
        return add_held(c, max, entry, row, false, 0, 0);
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
    notes_add(&g->damage, seq, DAMAGED_BROKEN);
    g->moved[priority] = seq;
    return 1;
}

/* Add the next events for as long as they can be peeked at. Returns how many were passed, at most a
   thousand, or -1. */
static int peek_events(struct group *g, struct claim *c, size_t max, int64_t last, int64_t now,
                       struct err *e)
{
    int64_t *at = &g->moved[EVENT_PRIORITY];
    struct err met_again = ERR_NONE; /* by the query for whole rows */
    struct log_entry entry;
    struct log_row row;
    int passed = 0, added = 1;

    if (!db_peek_begin(g->s->db))
        return 0;
    struct query *q = db_query(
        g->s->db, &met_again,
        SQL("claim_peek_events", "SELECT seq FROM event WHERE seq>? AND seq<=? ORDER BY seq"), "ii",
        *at, last);
    while (q != NULL && passed < ROWS_MAX && c->n < max && !noted_enough(g, c) &&
           db_row(g->s->db, q, &met_again) > 0 && db_i64(q, 0) > *at &&
           log_entry_peek(g->s, db_i64(q, 0), &row, &entry) &&
           (added = add_event(g, c, max, &row, &entry, EVENT_PRIORITY, now, e)) > 0) {
        *at = row.seq;
        passed++;
    }
    db_done(q);
    db_peek_end(g->s->db);
    return added < 0 ? -1 : passed;
}

/* Add the next rows of one priority after its cursor; in an ordered group, of all priorities.
   Returns how many events were passed, or -1. */
static int add_events(struct group *g, struct claim *c, size_t max, int priority, int64_t last,
                      int64_t rows, int64_t now, struct err *e)
{
    struct log_entry entry;
    struct log_row row;
    struct query *q;
    int got = -1, passed = 0, added = 1;

    if (priority == EVENT_PRIORITY && max >= PEEK_LEAST &&
        ((passed = peek_events(g, c, max, last, now, e)) < 0 || passed == rows || c->n == max))
        return passed;
    q = priority == EVENT_PRIORITY
            ? db_query(g->s->db, e,
                       SQL("claim_events",
                           "SELECT " LOG_COLUMNS " FROM event WHERE seq>? AND seq<=? ORDER BY seq "
                           "LIMIT ?"),
                       "iii", g->moved[priority], last, rows - passed)
            : db_query(g->s->db, e,
                       SQL("claim_events_of_priority",
                           "SELECT " LOG_COLUMNS " FROM event" BY_EVENT_PRIORITY " WHERE "
                           "seq>? AND seq<=? AND priority=? AND priority<>5 ORDER BY seq LIMIT ?"),
                       "iiii", g->moved[priority], last, (int64_t)priority, rows);
    while (q != NULL && c->n < max && !noted_enough(g, c) && (got = db_row(g->s->db, q, e)) > 0) {
        log_entry_read(g->s, q, &row, &entry);
        if (row.seq <= g->moved[priority]) {
            log_disorder(g->s, row.seq, e);
            return -1;
        }
        if ((added = add_event(g, c, max, &row, &entry, priority, now, e)) <= 0)
            break;
        g->moved[priority] = row.seq;
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

int claim_choose(struct group *g, struct claim *c, const struct wanted *w, struct err *e)
{
    int64_t now = g->now_ms;
    int passed = 0, scanned = 0;
    bool more;

    g->later.n = g->damage.n = g->gone.n = g->dying.n = 0;
    buf_reset(&g->aside);
    memcpy(g->moved, g->cursor, sizeof g->moved);
    g->draining = g->skipped = false;
    if (g->items_due && add_items(g, c, w, now, e) < 0)
        return -1;
    if (!g->draining)
        g->drain_ms = 0;
    for (int p = 0; p < 10 && c->n < w->max && !noted_enough(g, c) && !g->alone && !g->draining;
         p++) {
        if (p != EVENT_PRIORITY && (!g->prioritised || g->ordered))
            continue;
        /* As many as are wanted, and more when they do not match: an engine may read them all. */
        int64_t rows = (int64_t)w->max + 8;
        do {
            rows = rows > ROWS_MAX ? ROWS_MAX : rows;
            if ((passed = add_events(g, c, w->max, p, w->last, rows, now, e)) < 0)
                return -1;
            scanned += passed;
            more = passed == rows;
            rows *= 4;
        } while (more && c->n < w->max && c->page.n == c->n && !noted_enough(g, c) &&
                 scanned < SCAN_EVENTS);
    }
    if (g->ordered)
        for (int p = 0; p < 10; p++)
            g->moved[p] = g->moved[EVENT_PRIORITY];
    return c->n > 0 || g->later.n > 0 || g->damage.n > 0 || g->gone.n > 0 || g->dying.n > 0 ||
           memcmp(g->moved, g->cursor, sizeof g->moved) != 0;
}

/*
 * Groups at work: open, settle, and where they stand. Claiming is in claim.c.
 */
#include "store/sql/group.h"

#include "base/json.h"
#include "base/mem.h"
#include "store/group.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------- small things */

void notes_add(struct notes *list, int64_t seq, int64_t value)
{
    if (list->n == list->room) {
        list->room = list->room == 0 ? 16 : list->room * 2;
        list->note = mem_grow(list->note, list->room, sizeof *list->note);
    }
    list->note[list->n++] = (struct note){seq, value};
}

static void patterns_write(const struct pattern_list *list, struct buf *out)
{
    buf_char(out, '[');
    for (size_t i = 0; i < list->n; i++) {
        buf_puts(out, i == 0 ? "" : ",");
        js_quote(out, str_of(list->item[i]));
    }
    buf_char(out, ']');
}

/* ----------------------------------------------------------------------------------------- open */

int group_dropped(const struct group *g, struct err *e)
{
    return err_set(e, EX_TEMPFAIL, "group %s was dropped", err_quote_text(g->name).text);
}

int group_reload(struct group *g, struct err *e)
{
    int64_t ordered = 0;

    pattern_free(&g->types);
    g->types = (struct pattern_list){NULL, 0};
    int got = group_patterns(g->s, g->grp, &g->types, e);
    if (got > 0)
        got = db_int(g->s->db, e, &ordered,
                     SQL("group_reload", "SELECT ordered FROM groups WHERE grp=?"), "i", g->grp);
    g->ordered = ordered != 0;
    g->unsorted = ordered == 2;
    return got > 0 ? 0 : got < 0 ? -1 : group_dropped(g, e);
}

static int create_group(struct group *g, const struct group_terms *terms, struct err *e)
{
    struct store *s = g->s;
    struct buf patterns = BUF_INIT;
    int64_t start;
    int got;

    if (log_start(s, terms->from, &start, e) < 0)
        return -1;
    patterns_write(&terms->types, &patterns);
    if (db_begin(s->db, DB_FULL, e) < 0) {
        buf_free(&patterns);
        return -1;
    }
    got = db_run(s->db, e,
                 SQL("group_create_group_insert_groups",
                     "INSERT INTO groups(name,patterns,ordered,rev,paused,hold,paced,created,seen) "
                     "VALUES(?1,?2,?4,0,0,0,0,?3,?3) ON CONFLICT(name) DO NOTHING"),
                 "tsii", g->name, (struct str){patterns.p, patterns.n}, clock_now_ms(),
                 (int64_t)terms->ordered);
    buf_free(&patterns);
    if (got > 0)
        got = db_run(s->db, e,
                     SQL("group_create_group_insert_cursor",
                         "INSERT INTO cursor(grp,priority,seq) SELECT g.grp,p.value,? FROM "
                         "groups g, " DB_PRIORITIES " WHERE g.name=?"),
                     "it", start - 1, g->name);
    if (got < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, false, e);
}

static int check_terms(struct group *g, const struct group_terms *terms, struct err *e)
{
    struct buf has = BUF_INIT;

    if (terms->ordered && !g->ordered)
        return err_set(e, EX_USAGE,
                       "group %s exists and is not ordered: leave out --ordered, or take another "
                       "name, or spool group set",
                       err_quote_text(g->name).text);
    if (terms->lease_ms > 0 && g->ordered)
        return err_set(e, EX_USAGE,
                       "group %s is ordered: a pipe cannot keep the order when events come back, "
                       "use a command",
                       err_quote_text(g->name).text);
    if (terms->types.n == 0 || pattern_same(&terms->types, &g->types))
        return 0;
    for (size_t i = 0; i < g->types.n; i++)
        buf_printf(&has, "%s-t '%s'", i == 0 ? "" : " ", g->types.item[i]);
    err_set(e, EX_USAGE,
            "group %s exists with other patterns (%s): leave out -t, or take another "
            "name",
            err_quote_text(g->name).text, has.n == 0 ? "-t '#'" : buf_text(&has));
    buf_free(&has);
    return -1;
}

int group_open(struct group **out, struct store *s, const struct group_terms *terms, struct err *e)
{
    struct group *g = mem_zero(1, sizeof *g);
    int got;

    *out = g;
    g->s = s;
    g->name = mem_dup(terms->name, strlen(terms->name));
    g->attempts = terms->attempts;
    g->lease_ms = terms->lease_ms;
    g->tail_wait_ms = terms->tail_wait_ms;
    g->each_us = terms->each_us;
    g->wait_ms = terms->wait_ms;
    got = db_int(s->db, e, &g->grp, SQL("group_open_find", "SELECT grp FROM groups WHERE name=?"),
                 "t", g->name);
    if (got == 0 && terms->from == NULL)
        got = group_unknown(s, g->name, terms->hint == NULL ? "" : terms->hint, e);
    else if (got == 0)
        got = create_group(g, terms, e);
    if (got >= 0) {
        g->rev = -1;
        got = group_row(s, g->name, &g->grp, e);
        if (got == 0 && (got = group_reload(g, e)) == 0)
            got = check_terms(g, terms, e);
        if (got == 0)
            got = db_int(s->db, e, &g->latest_ms,
                         SQL("group_open_select_groups", "SELECT seen FROM groups WHERE grp=?"),
                         "i", g->grp);
    }
    if (got < 0) {
        group_close(g);
        *out = NULL;
        return -1;
    }
    return 0;
}

int group_tail(const struct group *g)
{
    return g->tail_fd;
}

bool group_ordered(const struct group *g)
{
    return g->ordered;
}

int group_mark_seen(struct group *g, struct err *e)
{
    return db_later(g->s->db, e, SQL("group_mark_seen", "UPDATE groups SET seen=? WHERE grp=?"),
                    "ii", clock_now_ms(), g->grp);
}

/* A claim that is handed out. */
void lease_forget(struct group *g)
{
    for (size_t i = 0; i < g->leases; i++)
        free(g->leased[i].seq);
    g->leases = 0;
}

static void free_events(struct claim *c)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->held[i].read != NULL) {
            event_free(c->held[i].read);
            free(c->held[i].read);
        }
    c->n = 0;
}

static void free_claims(struct claim *c)
{
    while (c != NULL) {
        struct claim *next = c->next;
        free_events(c);
        page_free(&c->page);
        free(c->held);
        free(c);
        c = next;
    }
}

void group_close(struct group *g)
{
    struct err ignored = ERR_NONE;

    if (g == NULL)
        return;
    if (g->joined && g->held == 0 && db_begin(g->s->db, DB_NORMAL, &ignored) == 0) {
        db_run(g->s->db, &ignored,
               SQL("group_close",
                   "DELETE FROM consumer WHERE owner=? AND NOT EXISTS(SELECT 1 FROM "
                   "claim WHERE claim.grp=consumer.grp AND claim.owner=consumer.owner)"),
               "i", g->owner);
        group_mark_seen(g, &ignored);
        db_commit(g->s->db, false, &ignored);
    }
    /* In this order: the next active consumer must see that the events we still hold belong to a
       dead consumer, or it would hand out the events behind them. */
    if (g->joined)
        session_drop(g->s->db, g->owner);
    order_leave(g);
    lease_forget(g);
    free(g->leased);
    free(g->pipes.note);
    free_claims(g->claims);
    free_claims(g->spare);
    free(g->given);
    tally_clear(&g->tallies);
    free(g->tallies.tally);
    free(g->later.note);
    buf_free(&g->aside);
    free(g->damage.note);
    free(g->gone.note);
    free(g->dying.note);
    pattern_free(&g->types);
    free(g->name);
    free(g);
}

int64_t group_damaged(const struct group *g)
{
    return g->damaged;
}

int64_t group_buried(const struct group *g)
{
    return g->buried;
}

/* -------------------------------------------------------------------------------------- settle */

int64_t *claim_seqs(const struct claim *c, size_t *n)
{
    int64_t *seq = mem_alloc((c->n + 1) * sizeof *seq);

    *n = 0;
    for (size_t i = 0; i < c->n; i++)
        if (c->held[i].open)
            seq[(*n)++] = c->page.entry[i].seq;
    for (size_t i = 1; i < *n; i++)
        if (seq[i] <
            seq[i - 1]) { /* rare: retries come first, and priorities one after the other */
            qsort(seq, *n, sizeof *seq, seq_compare);
            break;
        }
    return seq;
}

void claim_spare(struct group *g, struct claim *c)
{
    free_events(c);
    c->next = g->spare;
    g->spare = c;
}

/* Remove the settled events from the claim's row, which must still exist and be ours. */
static int settle_claim(struct group *g, const struct claim *c, struct err *e)
{
    size_t n;
    int64_t *seq = claim_seqs(c, &n);
    int got = n == 0 ? claim_row_delete(g->s, c->id, g->hand, e)
                     : claim_row_write(g->s, c->id, g->hand, seq, n, e);

    free(seq);
    return got == 0 ? group_lost(g->name, e) : got;
}

static void forget_settled(void *group)
{
    struct group *g = group;

    for (struct claim **link = &g->claims; *link != NULL;) {
        struct claim *c = *link;
        if (c->open > 0) {
            link = &c->next;
            continue;
        }
        *link = c->next;
        claim_spare(g, c);
    }
    if (g->held == 0)
        g->alone = false;
}

static struct held *held_of(const struct group_event *event)
{
    return (struct held *)(uintptr_t)event; /* event is the member shown, the first of a held */
}

const struct event *group_read(struct group *g, const struct group_event *event, struct err *e)
{
    struct held *h = held_of(event);

    if (h->read != NULL)
        return h->read;
    h->read = mem_zero(1, sizeof *h->read);
    if (event_read(h->read, &g->s->scan, event->entry.line, e) == 0)
        return h->read;
    event_free(h->read);
    free(h->read);
    h->read = NULL;
    return NULL;
}

static int tell_death(struct group *g, struct txn *t, const struct group_settle *s, struct err *e)
{
    struct err damaged = ERR_NONE;

    return death_tell(g, t, &s->event->entry, group_read(g, s->event, &damaged),
                      s->event->attempts + 1, s->status, s->reason, e);
}

static int group_settle_one(struct group *g, struct txn *t, const struct group_settle *s,
                            struct err *e)
{
    struct held *h = held_of(s->event);

    if (!h->claim->written && settle_claim(g, h->claim, e) < 0)
        return -1;
    h->claim->written = true;
    tally_add(&g->tallies, s->event->entry.type, s);
    if (settle_item(g, s->event->entry.seq, h->item, s, e) < 0)
        return -1;
    return tells_of_death(s, s->event->entry.type) ? tell_death(g, t, s, e) : 0;
}

/* A transaction that appends is flushed: a log that lost an event would reuse its position. */
static enum txn_kind kind_of(const struct group_settle *settle, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (tells_of_death(&settle[i], settle[i].event->entry.type))
            return TXN_APPEND;
    return TXN_LIGHT;
}

int txn_settle(struct txn *t, struct group *g, const struct group_settle *settle, size_t n,
               struct err *e)
{
    bool failed = false;

    for (size_t i = 0; i < n; i++) {
        struct held *h = held_of(settle[i].event);
        h->open = false;
        h->claim->written = false;
        h->claim->open--;
        g->held--;
        t->wake |= settle[i].outcome != GROUP_DONE && settle[i].outcome != GROUP_DROP;
    }
    for (size_t i = 0; i < n && !failed; i++)
        failed = group_settle_one(g, t, &settle[i], e) < 0;
    t->settles = g->name;
    if (failed || tally_write(g, &g->tallies, e) < 0)
        return db_missed(g->s->db) ? group_lost(g->name, e) : -1;
    t->then = forget_settled;
    t->arg = g;
    return 0;
}

int group_settle(struct group *g, const struct group_settle *settle, size_t n, struct err *e)
{
    const struct log_terms terms = {.chained = true, .now_ms = clock_now_ms()};
    struct txn *t;

    if (n == 0)
        return 0;
    if (txn_begin(g->s, kind_of(settle, n), &terms, &t, e) < 0)
        return -1;
    if (txn_settle(t, g, settle, n, e) == 0)
        return txn_commit(t, e);
    txn_rollback(t);
    return -1;
}

void group_hand_over(struct group *g)
{
    for (struct claim *c = g->claims; c != NULL; c = c->next)
        c->open = 0;
    g->held = 0;
    forget_settled(g);
}

int group_holds(struct group *g, const struct group_event *event, struct err *e)
{
    int64_t one;
    return db_int(g->s->db, e, &one,
                  SQL("group_holds", "SELECT 1 FROM claim WHERE claim=? AND owner=?"), "ii",
                  held_of(event)->claim->id, g->hand);
}

int group_hold(struct group *g, int64_t until_ms, struct err *e)
{
    if (db_begin(g->s->db, DB_NORMAL, e) < 0)
        return -1;
    if (db_run(g->s->db, e,
               SQL("group_hold", "UPDATE groups SET hold=" GREATER("hold", "?") " WHERE grp=?"),
               "ii", until_ms, g->grp) < 0) {
        db_rollback(g->s->db);
        return -1;
    }
    return db_commit(g->s->db, false, e);
}

/* ---------------------------------------------------------------------------------------- stand */

static int count_elsewhere(struct group *g, int64_t last, int64_t *out, struct err *e)
{
    struct query *q =
        db_query(g->s->db, e,
                 SQL("group_count_elsewhere", "SELECT open FROM claim WHERE grp=? AND owner<>?"),
                 "ii", g->grp, g->hand);
    int got = -1;

    while (q != NULL && (got = db_row(g->s->db, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 0), &open);
        for (size_t i = 0; i < n; i++)
            *out += open[i] <= last;
        free(open);
    }
    return got;
}

int group_stand(struct group *g, int64_t last, struct group_stand *out, struct err *e)
{
    int64_t now = clock_now_ms(), paused = 0, hold = 0;

    *out = (struct group_stand){0};
    if (last == 0)
        last = INT64_MAX;
    if (db_int(g->s->db, e, &paused,
               SQL("group_stand_paused", "SELECT paused FROM groups WHERE grp=?"), "i",
               g->grp) < 0 ||
        db_int(g->s->db, e, &hold, SQL("group_stand_hold", "SELECT hold FROM groups WHERE grp=?"),
               "i", g->grp) < 0 ||
        db_int(g->s->db, e, &out->due, SQL("group_stand_due", COUNT_DUE), "iii", g->grp, now,
               last) < 0 ||
        db_int(g->s->db, e, &out->later, SQL("group_stand_later", COUNT_LATER), "iii", g->grp, now,
               last) < 0 ||
        db_int(g->s->db, e, &out->next_due_ms,
               SQL("group_stand_next",
                   "SELECT min(due) FROM item" BY_ITEM_DUE " WHERE grp=? AND state=0 AND "
                   "due>? AND seq<=?"),
               "iii", g->grp, now, last) < 0)
        return -1;
    out->paused = paused != 0;
    out->hold_ms = hold > now ? hold : 0;
    out->standby = g->ordered && !g->leads;
    out->orphans = g->ordered && g->leads && !g->active;
    return count_elsewhere(g, last, &out->elsewhere, e);
}

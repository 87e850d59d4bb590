/*
 * Events handed out over a pipe: they are settled by name at its other end, or given back when
 * their lease has run out. A lease uses the clock that counts from boot, so that setting the time
 * of day neither shortens nor lengthens it; a lease from another boot has run out.
 */
#include "store/sql/group.h"

#include "base/mem.h"
#include "store/group.h"
#include "store/lease.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---------------------------------------------------------------------------------- run out */

struct expired {
    struct notes claims, seqs;
};

/* Find claims whose lease has run out, until they have about a thousand events. */
static int find_expired(struct group *g, struct expired *x, struct err *e)
{
    struct lease_clock now;
    struct query *q;
    int got = -1;

    lease_now(g->s->db, &now);
    q = db_query(
        g->s->db, e,
        SQL("lease_find_expired",
            "SELECT claim,open FROM claim" BY_CLAIM_LEASE " WHERE grp=?1 AND boot=?2 AND "
            "lease<=?3 UNION ALL SELECT claim,open FROM claim" BY_CLAIM_LEASE " WHERE grp=?1 "
            "AND "
            "boot<?2 AND lease IS NOT NULL UNION ALL SELECT claim,open FROM claim" BY_CLAIM_LEASE
            " WHERE grp=?1 AND boot>?2 AND lease IS NOT NULL"),
        "iti", g->grp, now.epoch, now.ms);
    x->claims.n = x->seqs.n = 0;
    while (q != NULL && x->seqs.n < DB_ROWS && (got = db_row(g->s->db, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 1), &open);
        notes_add(&x->claims, db_i64(q, 0), 0);
        for (size_t i = 0; i < n; i++)
            notes_add(&x->seqs, open[i], 0);
        free(open);
    }
    db_done(q);
    return got < 0 ? -1 : 0;
}

/* Count an attempt whose outcome nobody reported. */
static int run_out(struct group *g, struct txn *t, int64_t seq, int64_t now, struct err *e)
{
    struct group_settle s = {.outcome = GROUP_RETRY,
                             .due_ms = now,
                             .started_ms = now,
                             .took_ms = -1,
                             .reason = "its lease ran out",
                             .tail = {"", 0}};
    int64_t attempts = 0;

    if (db_int(g->s->db, e, &attempts,
               SQL("lease_run_out", "SELECT attempts FROM item WHERE grp=? AND seq=?"), "ii",
               g->grp, seq) < 0)
        return -1;
    if (attempts + 1 >= g->attempts)
        s.outcome = GROUP_DEAD;
    if (settle_item(g, seq, true, &s, e) < 0)
        return -1;
    if (s.outcome != GROUP_DEAD)
        return 0;
    g->buried++;
    return death_tell_seq(g, t, seq, s.reason, e);
}

static int expire_some(struct group *g, struct expired *x, struct err *e)
{
    struct txn *t;
    int got;

    if (txn_begin(g->s, TXN_APPEND, NULL, &t, e) < 0)
        return -1;
    got = find_expired(g, x, e); /* again, inside the transaction, where nobody else can settle */
    for (size_t i = 0; i < x->seqs.n && got >= 0; i++)
        got = run_out(g, t, x->seqs.note[i].seq, t->terms.now_ms, e);
    for (size_t i = 0; i < x->claims.n && got >= 0; i++)
        got = db_run(g->s->db, e, SQL("lease_expire_some", "DELETE FROM claim WHERE claim=?"), "i",
                     x->claims.note[i].seq);
    t->wake = x->seqs.n > 0;
    if (got >= 0)
        return txn_commit(t, e);
    txn_rollback(t);
    return -1;
}

int lease_expire(struct group *g, struct err *e)
{
    struct expired x = {{NULL, 0, 0}, {NULL, 0, 0}};
    int got;

    while ((got = find_expired(g, &x, e)) == 0 && x.claims.n > 0 &&
           (got = expire_some(g, &x, e)) == 0)
        continue;
    free(x.claims.note);
    free(x.seqs.note);
    return got;
}

/* ------------------------------------------------------------------------------------ by name */

static int load(struct group *g, struct err *e)
{
    struct query *q =
        db_query(g->s->db, e,
                 SQL("lease_load", "SELECT claim,owner,term,open FROM claim" BY_CLAIM_LEASE
                                   " WHERE grp=? AND lease IS "
                                   "NOT NULL"),
                 "i", g->grp);
    int got = -1;

    lease_forget(g);
    while (q != NULL && (got = db_row(g->s->db, q, e)) > 0) {
        if (g->leases == g->lease_room) {
            g->lease_room = g->lease_room == 0 ? 8 : g->lease_room * 2;
            g->leased = mem_grow(g->leased, g->lease_room, sizeof *g->leased);
        }
        struct leased *l = &g->leased[g->leases++];
        *l = (struct leased){.id = db_i64(q, 0), .owner = db_i64(q, 1), .term = db_i64(q, 2)};
        l->open = l->n = open_decode(db_text(q, 3), &l->seq);
    }
    return got;
}

static int lease_begin(struct group *g, bool appends, struct err *e)
{
    if (g->leasing != NULL)
        return 0;
    if (txn_begin(g->s, appends ? TXN_APPEND : TXN_LIGHT, NULL, &g->leasing, e) < 0)
        return -1;
    return load(g, e);
}

/* Find a position among what is handed out. */
static int64_t *find_seq(struct group *g, int64_t seq, struct leased **in)
{
    for (size_t i = 0; i < g->leases; i++) {
        struct leased *l = &g->leased[i];
        size_t low = 0, high = l->n;
        while (low < high) {
            size_t middle = low + (high - low) / 2;
            if ((l->seq[middle] < 0 ? -l->seq[middle] : l->seq[middle]) < seq)
                low = middle + 1;
            else
                high = middle;
        }
        if (low < l->n && l->seq[low] == seq) {
            *in = l;
            return &l->seq[low];
        }
    }
    return NULL;
}

struct named {
    struct leased *in;
    int64_t *at;
    struct buf type;
    int known, open; /* how many events have the name, and how many of these are handed out */
    int64_t seq;     /* of the last event with the name */
};

static int note_named(struct group *g, struct query *q, struct named *x, struct err *e)
{
    struct leased *in;
    int64_t *at;
    int got = -1;

    while (q != NULL && (got = db_row(g->s->db, q, e)) > 0) {
        x->known++;
        x->seq = db_i64(q, 0);
        if ((at = find_seq(g, x->seq, &in)) == NULL)
            continue;
        x->open++;
        x->at = at;
        x->in = in;
        buf_reset(&x->type);
        buf_str(&x->type, db_text(q, 1));
    }
    return got;
}

/* Refuse a number that is both a position and the id of another event that is handed out. */
static int check_position(struct group *g, const struct lease_name *name, struct err *e)
{
    struct query *q = db_query(
        g->s->db, e, SQL("lease_check_position", "SELECT seq FROM event WHERE id=? AND seq<>?"),
        "si", name->id, name->seq);
    struct leased *in;
    int got = -1;

    while (q != NULL && (got = db_row(g->s->db, q, e)) > 0) {
        int64_t seq = db_i64(q, 0);
        if (find_seq(g, seq, &in) == NULL)
            continue;
        db_done(q);
        return err_set(
            e, EX_DATAERR,
            "%lld is a position, and the id of the event at %lld: write %lld, or id:%lld",
            (long long)name->seq, (long long)seq, (long long)seq, (long long)name->seq);
    }
    return got;
}

static int find_named(struct group *g, const struct lease_name *name, struct named *x,
                      struct err *e)
{
    return note_named(
        g,
        name->seq != 0
            ? db_query(g->s->db, e,
                       SQL("lease_find_position", "SELECT seq,type FROM event WHERE seq=?"), "i",
                       name->seq)
        : name->source.p == NULL
            ? db_query(g->s->db, e, SQL("lease_find_id", "SELECT seq,type FROM event WHERE id=?"),
                       "s", name->id)
            : db_query(
                  g->s->db, e,
                  SQL("lease_find_source", "SELECT seq,type FROM event WHERE id=? AND source=?"),
                  "ss", name->id, name->source),
        x, e);
}

static bool settled_here(const struct group *g, int64_t seq)
{
    for (size_t i = 0; i < g->leases; i++)
        for (size_t k = 0; k < g->leased[i].n; k++)
            if (g->leased[i].seq[k] == -seq)
                return true;
    return false;
}

/* Does a claim hold the event? This transaction's changes to claims are not written yet. */
static int claimed(struct group *g, int64_t seq, struct err *e)
{
    struct query *q = db_query(
        g->s->db, e, SQL("lease_claimed", "SELECT open FROM claim WHERE grp=? AND first<=?"), "ii",
        g->grp, seq);
    int got = -1;

    while (q != NULL && (got = db_row(g->s->db, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 0), &open);
        bool found = bsearch(&seq, open, n, sizeof *open, seq_compare) != NULL;
        free(open);
        if (!found)
            continue;
        db_done(q);
        return 1;
    }
    return got;
}

static int ahead(struct group *g, int64_t seq, struct err *e)
{
    int64_t cursor[10] = {0};
    struct query *q;
    int got;

    if (group_cursors(g->s, g->grp, cursor, e) < 0)
        return -1;
    q = db_query(g->s->db, e, SQL("lease_ahead", "SELECT priority,type FROM event WHERE seq=?"),
                 "i", seq);
    if (q == NULL || (got = db_row(g->s->db, q, e)) < 0)
        return -1;
    bool is = got > 0 && seq > group_passed(cursor, db_i64(q, 0)) &&
              pattern_any(&g->types, db_text(q, 1));
    db_done(q);
    return is;
}

/* Does an event that is not handed out still have to be settled? 1, 0, -1. */
static int still_open(struct group *g, int64_t seq, struct err *e)
{
    int64_t state = 0;
    int got;

    if (settled_here(g, seq))
        return 0;
    got = db_int(g->s->db, e, &state,
                 SQL("lease_still_open", "SELECT state FROM item WHERE grp=? AND seq=?"), "ii",
                 g->grp, seq);
    if (got < 0 || (got > 0 && state == 3))
        return got < 0 ? -1 : 0;
    if (got > 0 || (got = claimed(g, seq, e)) != 0)
        return got;
    return ahead(g, seq, e);
}

static int settle_named(struct group *g, const struct named *x, const struct group_settle *how,
                        int64_t max_attempts, struct err *e)
{
    struct group_settle s = *how;
    struct str type = {x->type.p, x->type.n};
    int64_t seq = *x->at, attempts = 0;
    int item = db_int(g->s->db, e, &attempts,
                      SQL("lease_settle_named", "SELECT attempts FROM item WHERE grp=? AND seq=?"),
                      "ii", g->grp, seq);

    if (item < 0)
        return -1;
    if (s.outcome == GROUP_RETRY && attempts + 1 >= max_attempts)
        s.outcome = GROUP_DEAD;
    *x->at = -seq; /* marks it as settled, and keeps the order */
    x->in->open--;
    x->in->changed = true;
    g->leasing->wake |= s.outcome != GROUP_DONE;
    tally_add(&g->tallies, type, &s);
    if (settle_item(g, seq, item > 0, &s, e) < 0)
        return -1;
    return tells_of_death(&s, type) ? death_tell_seq(g, g->leasing, seq, s.reason, e) : 0;
}

static int lease_settle_one(struct group *g, const struct lease_name *name, struct named *x,
                            const struct group_settle *how, int64_t max_attempts, struct err *e)
{
    struct err_quoted id = err_quote(name->id.p, name->id.n);
    int got;

    if (find_named(g, name, x, e) < 0)
        return -1;
    if (x->known == 0 && name->seq != 0)
        return err_set(e, EX_DATAERR, "there is no event at position %.*s; an id is id:%.*s",
                       (int)name->id.n, name->id.p, (int)name->id.n, name->id.p);
    if (x->known == 0)
        return err_set(e, EX_DATAERR, "there is no event with id %s", id.text);
    if (name->seq != 0 && check_position(g, name, e) < 0)
        return -1;
    if (x->open > 1)
        return err_set(e, EX_DATAERR,
                       "id %s matches events of several sources: give their lines, not their ids",
                       id.text);
    if (x->open == 1)
        return settle_named(g, x, how, max_attempts, e) < 0 ? -1 : LEASE_SETTLED;
    got = still_open(g, x->seq, e);
    return got < 0 ? -1 : got > 0 ? LEASE_OPEN : LEASE_OVER;
}

int lease_settle(struct group *g, const struct lease_name *name, const struct group_settle *how,
                 int64_t max_attempts, struct err *e)
{
    bool appends = how->outcome == GROUP_DEAD || how->outcome == GROUP_RETRY;
    struct named x = {.type = BUF_INIT};
    int got = lease_begin(g, appends, e);

    if (got == 0)
        got = lease_settle_one(g, name, &x, how, max_attempts, e);
    buf_free(&x.type);
    return got;
}

static int write_claim(struct group *g, const struct leased *l, struct err *e)
{
    size_t n = 0;

    if (l->open == 0)
        return claim_row_delete(g->s, l->id, l->owner, e);
    for (size_t i = 0; i < l->n; i++)
        if (l->seq[i] > 0)
            l->seq[n++] = l->seq[i];
    return claim_row_write(g->s, l->id, l->owner, l->seq, n, e);
}

static void note_pipe(struct group *g, int64_t owner)
{
    for (size_t i = 0; i < g->pipes.n; i++)
        if (g->pipes.note[i].seq == owner)
            return;
    notes_add(&g->pipes, owner, 0);
}

static bool same_pipe_before(const struct group *g, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (g->leased[k].changed && g->leased[k].owner == g->leased[i].owner)
            return true;
    return false;
}

/* Everything that this pipe has handed out is making progress: the events that wait behind the
   settled ones get more time. */
static int renew(struct group *g, const struct leased *l, struct err *e)
{
    struct lease_clock now;

    lease_now(g->s->db, &now);
    return db_later(
        g->s->db, e,
        SQL("lease_renew", "UPDATE claim" BY_CLAIM_OWNER " SET lease=? WHERE grp=? AND owner=?"),
        "iii", now.ms + l->term, g->grp, l->owner);
}

int lease_commit(struct group *g, struct err *e)
{
    struct txn *t = g->leasing;
    int got = 0;

    if (t == NULL)
        return 0;
    g->leasing = NULL;
    for (size_t i = 0; i < g->leases && got >= 0; i++) {
        if (!g->leased[i].changed)
            continue;
        note_pipe(g, g->leased[i].owner);
        got = write_claim(g, &g->leased[i], e);
        if (got >= 0 && !same_pipe_before(g, i))
            got = renew(g, &g->leased[i], e);
    }
    if (got >= 0 && tally_write(g, &g->tallies, e) >= 0)
        return txn_commit(t, e);
    txn_rollback(t);
    return -1;
}

int lease_left(struct group *g, int64_t *left, struct err *e)
{
    *left = 0;
    if (load(g, e) < 0)
        return -1;
    for (size_t i = 0; i < g->leases; i++)
        for (size_t k = 0; k < g->pipes.n || (g->pipes.n == 0 && k == 0); k++)
            if (g->pipes.n == 0 || g->pipes.note[k].seq == g->leased[i].owner)
                *left += (int64_t)g->leased[i].open;
    return 0;
}

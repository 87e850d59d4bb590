/*
 * Removing events.
 *
 * Each transaction decides again what to remove, from the cursors, claims and items of that moment:
 * so a group or a claim that was created in between is respected. A window is the next thousand
 * events, so that the lock is not held for long, and little is read in vain when everything must
 * stay.
 */
#include "store/sql/sql.h"

#include "store/upkeep.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW 1000

/*
 * The traps: if a priority has no events, its cursor stays at 0 for ever, and so would the least
 * cursor over all priorities; so each event is compared with the cursors of its own priority. CROSS
 * JOIN, or the planner scans all of item instead of looking up the window in each group, once.
 * Without groups, seen is empty: hence coalesce.
 */
#define SEEN                                                                                       \
    "WITH seen AS MATERIALIZED (SELECT priority,min(seq) AS seq FROM cursor GROUP BY priority) "
#define WANTED                                                                                     \
    " e.seq>?1 AND e.seq<=?2 AND e.seq<(SELECT max(seq) FROM event) AND (e.version IS NULL OR "    \
    "e.version<(SELECT max(v.version) FROM event v WHERE v.subject=e.subject AND v.version IS "    \
    "NOT "                                                                                         \
    "NULL)) "
#define FREE                                                                                       \
    WANTED "AND e.seq<=coalesce((SELECT seq FROM seen WHERE seen.priority=CASE WHEN e.priority "   \
           "BETWEEN 0 AND 9 THEN e.priority ELSE 5 END),e.seq) AND "                               \
           "e.seq<coalesce((SELECT min(first) FROM claim),e.seq+1) AND e.seq NOT IN (SELECT "      \
           "i.seq FROM groups g" THEN_JOIN "item i ON i.grp=g.grp AND i.seq>?1 AND i.seq<=?2)"

/* ------------------------------------------------------------------------------------ the range */

/* The last position that the terms ask to remove. A thousand events a step: no transaction is long.
 */
static int find_last(struct store *s, const struct prune_terms *terms, int64_t *last, struct err *e)
{
    int64_t left = terms->keep, at = INT64_MAX, n;

    if (terms->before != NULL) {
        if (log_point(s, terms->before, last, e) < 0)
            return -1;
        --*last;
        return 0;
    }
    do {
        n = left < WINDOW ? left : WINDOW;
        int got =
            db_int(s->db, e, &at,
                   SQL("prune_find_last",
                       "SELECT min(seq) FROM (SELECT seq FROM event WHERE seq<? ORDER BY seq DESC "
                       "LIMIT ?) x"),
                   "ii", at, n);
        if (got < 0)
            return -1;
        if (got == 0 && n > 0)
            at = 0; /* the log has fewer events */
        left -= n;
    } while (left > 0 && at > 0);
    *last = at - 1;
    return 0;
}

/* Events after the last one that all groups have seen must stay, and so must those from the first
   claimed one on: no need to read them. */
static int lower_last(struct store *s, int64_t *last, struct err *e)
{
    int64_t seen = INT64_MAX, claimed = INT64_MAX;

    if (db_int(s->db, e, &seen,
               SQL("prune_lower_last_cursor",
                   "SELECT max(seq) FROM (SELECT min(seq) AS seq FROM cursor GROUP BY priority) x"),
               "") < 0 ||
        db_int(s->db, e, &claimed,
               SQL("prune_lower_last_select_claim", "SELECT min(first)-1 FROM claim"), "") < 0)
        return -1;
    if (seen < *last)
        *last = seen;
    if (claimed < *last)
        *last = claimed;
    return 0;
}

/* The end of the next window, of n events at most. 1, 0 when there is no window left, -1. */
static int next_window(struct store *s, int64_t behind, int64_t last, int64_t n, int64_t *end,
                       struct err *e)
{
    return db_int(
        s->db, e, end,
        SQL("prune_next_window",
            "SELECT max(seq) FROM (SELECT seq FROM event WHERE seq>? AND seq<=? ORDER BY seq "
            "LIMIT ?) x"),
        "iii", behind, last, n);
}

/* ----------------------------------------------------------------------------------- one window */

static int64_t count_window(struct store *s, bool force, int64_t behind, int64_t end, struct err *e)
{
    int64_t n = 0;
    int got = force
                  ? db_int(s->db, e, &n,
                           SQL("prune_count_window", "SELECT count(*) FROM event e WHERE" WANTED),
                           "ii", behind, end)
                  : db_int(s->db, e, &n,
                           SQL("prune_count_free", SEEN "SELECT count(*) FROM event e WHERE" FREE),
                           "ii", behind, end);
    return got < 0 ? -1 : n;
}

/* look: count first, without the write lock, so that nobody waits for a window that stays whole. */
static int64_t delete_window(struct store *s, bool force, bool look, int64_t behind, int64_t end,
                             struct err *e)
{
    int64_t n = look ? count_window(s, force, behind, end, e) : 1;

    if (n <= 0)
        return n;
    if (db_begin(s->db, DB_FULL, e) < 0)
        return -1;
    n = force ? db_run(s->db, e, SQL("prune_delete_window", "DELETE FROM event AS e WHERE" WANTED),
                       "ii", behind, end)
              : db_run(s->db, e, SQL("prune_delete_free", SEEN "DELETE FROM event AS e WHERE" FREE),
                       "ii", behind, end);
    if (n < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, false, e) < 0 ? -1 : n;
}

/* Forget segments that begin at the first event, or before: there the log itself begins. */
static int forget_segments(struct store *s, struct err *e)
{
    if (db_begin(s->db, DB_FULL, e) < 0)
        return -1;
    if (db_run(s->db, e,
               SQL("prune_forget_segments",
                   "DELETE FROM segment WHERE seq<=(SELECT min(seq) FROM event)"),
               "") < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, false, e);
}

/* ----------------------------------------------------- what groups remember of removed events */

/*
 * This happens after the events are removed, in separate transactions. A kill in between leaves
 * rows that are counted, and that hold back their subjects, until their time comes: then the group
 * finds no event and forgets them. The next prune --force checks all rows again, too.
 */
struct forget {
    struct store *s;
    int64_t grp, last;
    bool ordered;
    int64_t seq[WINDOW];
    size_t n;
};

/* Of a group's next thousand rows, find those whose event is gone; *rows is how many were read. */
static int find_items(struct forget *f, int64_t *behind, int *rows, struct err *e)
{
    struct query *q = db_query(
        f->s->db, e,
        SQL("prune_find_items", "SELECT i.seq,NOT EXISTS(SELECT 1 FROM event e WHERE e.seq=i.seq) "
                                "FROM item i WHERE i.grp=? AND i.seq>? AND i.seq<=? ORDER BY i.seq "
                                "LIMIT ?"),
        "iiii", f->grp, *behind, f->last, (int64_t)WINDOW);
    int got = -1;

    f->n = 0;
    *rows = 0;
    while (q != NULL && (got = db_row(f->s->db, q, e)) > 0) {
        *behind = db_i64(q, 0);
        ++*rows;
        if (db_i64(q, 1))
            f->seq[f->n++] = *behind;
    }
    return got;
}

/* From number *at on, forget as many rows as fit into one transaction, with their attempts. A
   removed event does not come back, so there is no need to check again inside. */
static int forget_some(struct forget *f, size_t *at, struct err *e)
{
    int64_t rows = 0;
    int got = 0;

    if (db_begin(f->s->db, DB_FULL, e) < 0)
        return -1;
    for (; *at < f->n && rows < DB_ROWS && got >= 0; ++*at)
        if ((got = item_forget(f->s, f->grp, f->ordered, f->seq[*at], e)) >= 0)
            rows += got;
    if (got < 0) {
        db_rollback(f->s->db);
        return -1;
    }
    if (db_commit(f->s->db, true, e) < 0)
        return -1;
    db_give_way(f->s->db);
    return 0;
}

static int forget_items(struct forget *f, struct err *e)
{
    int64_t behind = 0;
    int rows;

    do {
        if (find_items(f, &behind, &rows, e) < 0)
            return -1;
        for (size_t at = 0; at < f->n;)
            if (forget_some(f, &at, e) < 0)
                return -1;
    } while (rows == WINDOW);
    return 0;
}

/* Keep only the positions whose events exist. Returns how many were dropped, or -1. */
static int64_t strip(struct store *s, int64_t *open, size_t *n, struct err *e)
{
    int64_t gone = 0;
    size_t kept = 0;

    for (size_t i = 0; i < *n; i++) {
        int got = log_gone(s, open[i], e);
        if (got < 0)
            return -1;
        gone += got;
        if (!got)
            open[kept++] = open[i];
    }
    *n = kept;
    return gone;
}

/* Read a claim and, with change, which needs a transaction, strip it of removed events. Returns how
   many those are, or -1. A consumer's row stays, even if it is empty: the consumer will still
   settle what it holds, and would take a missing row for a takeover. Events that went out over a
   pipe are settled by name, so removed ones can no longer be settled. */
static int64_t strip_claim(struct store *s, int64_t claim, bool change, struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("prune_strip_claim", "SELECT open,lease IS NOT NULL,owner FROM claim WHERE claim=?"),
        "i", claim);
    int got = q == NULL ? -1 : db_row(s->db, q, e);
    int64_t *open, gone;

    if (got <= 0)
        return got;
    size_t n = open_decode(db_text(q, 0), &open);
    bool leased = db_i64(q, 1) != 0;
    int64_t owner = db_i64(q, 2);
    db_done(q);
    gone = strip(s, open, &n, e);
    if (gone > 0 && change)
        got = n == 0 && leased ? claim_row_delete(s, claim, owner, e)
                               : claim_row_write(s, claim, owner, open, n, e);
    if (got < 0)
        gone = -1;
    free(open);
    return gone;
}

/* One transaction for each claim, and only for claims that have a removed event. */
static int prune_strip_claims(struct forget *f, struct err *e)
{
    int64_t claim = 0, gone = 0;
    int got;

    while ((got = db_int(f->s->db, e, &claim,
                         SQL("prune_forget_claims",
                             "SELECT claim FROM claim WHERE claim>? ORDER BY claim LIMIT 1"),
                         "i", claim)) > 0) {
        if ((gone = strip_claim(f->s, claim, false, e)) == 0)
            continue;
        if (gone < 0 || db_begin(f->s->db, DB_FULL, e) < 0)
            return -1;
        if (strip_claim(f->s, claim, true, e) < 0) {
            db_rollback(f->s->db);
            return -1;
        }
        if (db_commit(f->s->db, true, e) < 0)
            return -1;
        db_give_way(f->s->db);
    }
    return got;
}

/* Move cursors to just before the next event that exists: nothing lies in between, of any
   priority. */
static int move_up(struct store *s, int64_t grp, struct err *e)
{
    if (db_begin(s->db, DB_FULL, e) < 0)
        return -1;
    if (db_run(
            s->db, e,
            SQL("prune_move_up",
                "UPDATE cursor SET seq=(SELECT min(e.seq)-1 FROM event e WHERE e.seq>cursor.seq) "
                "WHERE grp=? AND seq+1<(SELECT min(e.seq) FROM event e WHERE e.seq>cursor.seq)"),
            "i", grp) < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, false, e);
}

static int forget_all(struct forget *f, struct err *e)
{
    int got;

    for (;;) {
        struct query *q =
            db_query(f->s->db, e,
                     SQL("prune_forget_all",
                         "SELECT grp,ordered FROM groups WHERE grp>? ORDER BY grp LIMIT 1"),
                     "i", f->grp);
        if (q == NULL || (got = db_row(f->s->db, q, e)) < 0)
            return -1;
        if (got == 0)
            return prune_strip_claims(f, e);
        f->grp = db_i64(q, 0);
        f->ordered = db_i64(q, 1) != 0;
        db_done(q);
        if (forget_items(f, e) < 0 || move_up(f->s, f->grp, e) < 0)
            return -1;
    }
}

/* -------------------------------------------------------------------------- who holds back what */

static void tell(const struct prune_terms *terms, const char *group, enum prune_why why,
                 int64_t first, int64_t n)
{
    terms->held(&(struct prune_held){group, why, first, n});
}

static int tell_unseen(struct store *s, const struct prune_terms *terms, const char *name,
                       int64_t grp, int64_t last, struct err *e)
{
    int64_t first = 0;
    int got =
        db_int(s->db, e, &first,
               SQL("prune_tell_unseen_select_event",
                   "SELECT min(seq) FROM (SELECT (SELECT min(e.seq) FROM event e WHERE "
                   "e.seq>c.seq AND e.priority=5) AS seq FROM cursor c WHERE c.grp=?1 AND "
                   "c.priority=5 UNION ALL SELECT (SELECT min(e.seq) FROM event e" BY_EVENT_PRIORITY
                   " WHERE e.priority=c.priority AND e.priority<>5 AND "
                   "e.seq>c.seq) FROM cursor c WHERE c.grp=?1 AND c.priority<>5) x WHERE seq<=?2"),
               "ii", grp, last);

    if (got > 0)
        tell(terms, name, PRUNE_UNSEEN, first, 0);
    if (got < 0 || (got = db_int(s->db, e, &first,
                                 SQL("prune_tell_unseen_select_claim",
                                     "SELECT min(first) FROM claim WHERE grp=?"),
                                 "i", grp)) < 0)
        return -1;
    if (got > 0 && first <= last)
        tell(terms, name, PRUNE_IN_FLIGHT, first, 0);
    return 0;
}

static int tell_items(struct store *s, const struct prune_terms *terms, const char *name,
                      int64_t grp, int64_t last, struct err *e)
{
    for (int dead = 0; dead < 2; dead++) {
        int64_t first = 0, n = 0;
        if (db_int(s->db, e, &first,
                   SQL("prune_tell_items_first",
                       "SELECT min(seq) FROM item WHERE grp=? "
                       "AND seq<=? AND state<>1 AND CASE state WHEN 3 THEN 1 ELSE 0 END=?"),
                   "iii", grp, last, (int64_t)dead) < 0 ||
            db_int(s->db, e, &n,
                   SQL("prune_tell_items_count",
                       "SELECT count(*) FROM item WHERE grp=? AND "
                       "seq<=? AND state<>1 AND CASE state WHEN 3 THEN 1 ELSE 0 END=?"),
                   "iii", grp, last, (int64_t)dead) < 0)
            return -1;
        if (n > 0)
            tell(terms, name, dead ? PRUNE_DEAD : PRUNE_WAITING, first, n);
    }
    return 0;
}

static int tell_held(struct store *s, const struct prune_terms *terms, int64_t last, struct err *e)
{
    struct buf names = BUF_INIT;
    struct query *q = db_query(
        s->db, e, SQL("prune_tell_held_names", "SELECT name FROM groups ORDER BY name"), "");
    int64_t grp;
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        buf_str(&names, db_text(q, 0));
        buf_char(&names, '\0');
    }
    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1) {
        const char *name = names.p + at;
        if ((got = db_int(s->db, e, &grp,
                          SQL("prune_tell_held_group", "SELECT grp FROM groups WHERE name=?"), "t",
                          name)) > 0)
            got = tell_unseen(s, terms, name, grp, last, e) < 0
                      ? -1
                      : tell_items(s, terms, name, grp, last, e);
    }
    buf_free(&names);
    return got;
}

int64_t log_prune(struct store *s, const struct prune_terms *terms, struct err *e)
{
    int64_t behind = 0, last, asked, n = 0, end, pruned = 0, newest = 0, window = WINDOW;
    int got;

    if (find_last(s, terms, &last, e) < 0 || log_last(s, &newest, e) < 0)
        return -1;
    if (last >= newest)
        last = newest - 1;
    asked = last;
    if (!terms->force && lower_last(s, &last, e) < 0)
        return -1;
    while ((got = next_window(s, behind, last, window, &end, e)) > 0) {
        pruned = terms->dry_run ? count_window(s, terms->force, behind, end, e)
                                : delete_window(s, terms->force, pruned == 0, behind, end, e);
        /* On a full disk a smaller window may fit, and what it frees makes room for the next. */
        if (pruned < 0 && db_full(s->db) && window > 1) {
            err_clear(e);
            window = window < 4 ? 1 : window / 4;
            continue;
        }
        if (pruned < 0)
            return -1;
        n += pruned;
        behind = end;
        if (!terms->dry_run)
            db_give_way(s->db);
    }
    if (got < 0 || (!terms->dry_run && n > 0 && forget_segments(s, e) < 0))
        return -1;
    if (terms->force && !terms->dry_run &&
        forget_all(&(struct forget){.s = s, .last = asked}, e) < 0)
        return -1;
    return !terms->force && tell_held(s, terms, asked, e) < 0 ? -1 : n;
}

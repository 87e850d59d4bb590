/*
 * Removing events.
 *
 * What goes is decided anew in each transaction, by what cursors, claims and items say then: a
 * group or a claim that was made meanwhile is respected. A window is the next thousand events, so
 * that neither the lock is held for long nor much is looked at in vain when all of it must stay.
 */
#include "sqlite_priv.h"

#include <string.h>
#include <time.h>

#define WINDOW 1000

/*
 * The traps: the least cursor over all priorities stays at 0 for ever where a priority has no
 * events, so each event is compared with the cursors of its own. CROSS JOIN, or the planner scans
 * all of item instead of looking the event up in each group. Without groups seen is empty, hence
 * coalesce.
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
           "e.seq<coalesce((SELECT min(first) FROM claim),e.seq+1) AND NOT EXISTS(SELECT 1 FROM "  \
           "groups g CROSS JOIN item i ON i.grp=g.grp AND i.seq=e.seq)"

/* ------------------------------------------------------------------------------ from, and up to */

/* The last position that is asked for. A thousand events a step: no transaction is long. */
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
            db_int(s, e, &at,
                   "SELECT min(seq) FROM (SELECT seq FROM event WHERE seq<? ORDER BY seq DESC "
                   "LIMIT ?)",
                   "ii", at, n);
        if (got < 0)
            return -1;
        if (got == 0 && n > 0)
            at = 0; /* there are not that many */
        left -= n;
    } while (left > 0 && at > 0);
    *last = at - 1;
    return 0;
}

/* Nothing behind the last event that all groups have seen can go, nor behind the first that one has
   in hand: what follows need not be looked at. */
static int lower_last(struct store *s, int64_t *last, struct err *e)
{
    int64_t seen = INT64_MAX, claimed = INT64_MAX;

    if (db_int(s, e, &seen,
               "SELECT max(seq) FROM (SELECT min(seq) AS seq FROM cursor GROUP BY priority)",
               "") < 0 ||
        db_int(s, e, &claimed, "SELECT min(first)-1 FROM claim", "") < 0)
        return -1;
    if (seen < *last)
        *last = seen;
    if (claimed < *last)
        *last = claimed;
    return 0;
}

/* The end of the next window, of n events at most. 1, 0 when there is none, -1. */
static int next_window(struct store *s, int64_t behind, int64_t last, int64_t n, int64_t *end,
                       struct err *e)
{
    return db_int(s, e, end,
                  "SELECT max(seq) FROM (SELECT seq FROM event WHERE seq>? AND seq<=? ORDER BY seq "
                  "LIMIT ?)",
                  "iii", behind, last, n);
}

/* ----------------------------------------------------------------------------------- one window */

static int64_t count_window(struct store *s, bool force, int64_t behind, int64_t end, struct err *e)
{
    int64_t n = 0;
    int got =
        force ? db_int(s, e, &n, "SELECT count(*) FROM event e WHERE" WANTED, "ii", behind, end)
              : db_int(s, e, &n, SEEN "SELECT count(*) FROM event e WHERE" FREE, "ii", behind, end);
    return got < 0 ? -1 : n;
}

/* What groups remember of events that are gone. Claims stay: a settle of what is in hand finds its
   claim, and needs no event. */
static int forget(struct store *s, int64_t behind, int64_t end, struct err *e)
{
    if (db_run(s, e,
               "DELETE FROM attempt WHERE EXISTS(SELECT 1 FROM groups g CROSS JOIN item i ON "
               "i.grp=g.grp AND i.seq>?1 AND i.seq<=?2 WHERE attempt.grp=i.grp AND "
               "attempt.seq=i.seq) AND seq>?1 AND seq<=?2 AND NOT EXISTS(SELECT 1 FROM event WHERE "
               "event.seq=attempt.seq)",
               "ii", behind, end) < 0)
        return -1;
    return db_run(
        s, e,
        "DELETE FROM item WHERE (grp,seq) IN (SELECT i.grp,i.seq FROM groups g CROSS JOIN "
        "item i ON i.grp=g.grp AND i.seq>?1 AND i.seq<=?2 WHERE NOT EXISTS(SELECT 1 FROM "
        "event WHERE event.seq=i.seq))",
        "ii", behind, end);
}

/* To the event before the next that is there: nothing lies in between, of any priority. */
static int move_up(struct store *s, struct err *e)
{
    return db_run(s, e,
                  "UPDATE cursor SET seq=(SELECT min(e.seq)-1 FROM event e WHERE e.seq>cursor.seq) "
                  "WHERE seq+1<(SELECT min(e.seq) FROM event e WHERE e.seq>cursor.seq)",
                  "");
}

static int64_t delete_window(struct store *s, bool force, int64_t behind, int64_t end,
                             struct err *e)
{
    int64_t n;

    if (db_begin(s, DB_FULL, e) < 0)
        return -1;
    n = force ? db_run(s, e, "DELETE FROM event AS e WHERE" WANTED, "ii", behind, end)
              : db_run(s, e, SEEN "DELETE FROM event AS e WHERE" FREE, "ii", behind, end);
    if (n < 0 || (force && n > 0 && (forget(s, behind, end, e) < 0 || move_up(s, e) < 0))) {
        db_rollback(s);
        return -1;
    }
    return db_commit(s, false, e) < 0 ? -1 : n;
}

/* Whoever waits for the lock gets it, for longer than it sleeps between two tries. */
static void give_way(struct store *s)
{
    const struct timespec pause = {0, 2500000};

    if (lock_wanted(s))
        nanosleep(&pause, NULL);
}

/* A segment that begins with the first event there is, or before, is the beginning of the log. */
static int forget_segments(struct store *s, struct err *e)
{
    if (db_begin(s, DB_FULL, e) < 0)
        return -1;
    if (db_run(s, e, "DELETE FROM segment WHERE seq<=(SELECT min(seq) FROM event)", "") < 0) {
        db_rollback(s);
        return -1;
    }
    return db_commit(s, false, e);
}

/* -------------------------------------------------------------------------- who holds what back */

static void tell(const struct prune_terms *terms, const char *group, enum prune_why why,
                 int64_t first, int64_t n)
{
    terms->held(&(struct prune_held){group, why, first, n});
}

static int tell_unseen(struct store *s, const struct prune_terms *terms, const char *name,
                       int64_t grp, int64_t last, struct err *e)
{
    int64_t first = 0;
    int got = db_int(s, e, &first,
                     "SELECT min(seq) FROM (SELECT (SELECT min(e.seq) FROM event e WHERE "
                     "e.seq>c.seq AND e.priority=c.priority) AS seq FROM cursor c WHERE c.grp=?) "
                     "WHERE seq<=?",
                     "ii", grp, last);

    if (got > 0)
        tell(terms, name, PRUNE_UNSEEN, first, 0);
    if (got < 0 ||
        (got = db_int(s, e, &first, "SELECT min(first) FROM claim WHERE grp=?", "i", grp)) < 0)
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
        if (db_int(s, e, &first,
                   "SELECT min(seq) FROM item WHERE grp=? AND seq<=? AND state<>1 AND (state=3)=?",
                   "iii", grp, last, (int64_t)dead) < 0 ||
            db_int(s, e, &n,
                   "SELECT count(*) FROM item WHERE grp=? AND seq<=? AND state<>1 AND (state=3)=?",
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
    sqlite3_stmt *q = db_query(s, e, "SELECT name FROM groups ORDER BY name", "");
    int64_t grp;
    int got = -1;

    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        buf_str(&names, db_text(q, 0));
        buf_char(&names, '\0');
    }
    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1) {
        const char *name = names.p + at;
        if ((got = db_int(s, e, &grp, "SELECT grp FROM groups WHERE name=?", "t", name)) > 0)
            got = tell_unseen(s, terms, name, grp, last, e) < 0
                      ? -1
                      : tell_items(s, terms, name, grp, last, e);
    }
    buf_free(&names);
    return got;
}

int64_t log_prune(struct store *s, const struct prune_terms *terms, struct err *e)
{
    int64_t behind = 0, last, asked, n = 0, end, pruned, newest = 0, window = WINDOW;
    int got;

    if (find_last(s, terms, &last, e) < 0 ||
        db_int(s, e, &newest, "SELECT max(seq) FROM event", "") < 0)
        return -1;
    if (last >= newest)
        last = newest - 1;
    asked = last;
    if (!terms->force && lower_last(s, &last, e) < 0)
        return -1;
    while ((got = next_window(s, behind, last, window, &end, e)) > 0) {
        s->full = false;
        pruned = terms->dry_run ? count_window(s, terms->force, behind, end, e)
                                : delete_window(s, terms->force, behind, end, e);
        /* On a full disk a smaller one may fit, and what it frees is room for the next. */
        if (pruned < 0 && s->full && window > 1) {
            err_clear(e);
            window = window < 4 ? 1 : window / 4;
            s->tight = true;
            continue;
        }
        if (pruned < 0)
            return -1;
        n += pruned;
        behind = end;
        if (!terms->dry_run)
            give_way(s);
    }
    if (got < 0 || (!terms->dry_run && n > 0 && forget_segments(s, e) < 0))
        return -1;
    return !terms->force && tell_held(s, terms, asked, e) < 0 ? -1 : n;
}

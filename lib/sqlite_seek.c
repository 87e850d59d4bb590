/*
 * A group's place in the log, its patterns and its order, as a person changes them. Each raises the
 * group's rev, so that a claim that was prepared before is prepared anew.
 */
#include "sqlite_priv.h"

#include "json.h"

#include <string.h>

static int in_group(const char *name, struct err *e)
{
    return err_at(e, "group %s: ", err_quote_text(name).text);
}

/* ----------------------------------------------------------------------------------------- seek */

static int count_dropped(struct store *s, int64_t grp, struct group_seek *out, struct err *e)
{
    if (db_int(s, e, &out->from, "SELECT seq+1 FROM cursor WHERE grp=? AND priority=5", "i", grp) <
            0 ||
        db_int(s, e, &out->waiting, "SELECT count(*) FROM item WHERE grp=? AND state<>3", "i",
               grp) < 0 ||
        db_int(s, e, &out->dead, "SELECT count(*) FROM item WHERE grp=? AND state=3 AND seq>=?",
               "ii", grp, out->to) < 0)
        return -1;
    return 0;
}

/* Claims that are left belong to the dead. What they held is in no other place to be forgotten. */
static int move(struct store *s, int64_t grp, int64_t to, struct err *e)
{
    return db_run(s, e, "DELETE FROM claim WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM consumer WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM item WHERE grp=? AND (state<>3 OR seq>=?)", "ii", grp,
                          to) < 0 ||
                   db_run(s, e,
                          "DELETE FROM attempt WHERE grp=?1 AND seq NOT IN (SELECT seq FROM item "
                          "WHERE grp=?1)",
                          "i", grp) < 0 ||
                   db_run(s, e, "UPDATE cursor SET seq=? WHERE grp=?", "ii", to - 1, grp) < 0 ||
                   db_run(s, e, "UPDATE groups SET rev=rev+1 WHERE grp=?", "i", grp) < 0
               ? -1
               : 0;
}

int group_seek(struct store *s, const char *name, const struct clock_point *point, bool dry_run,
               struct group_seek *out, struct err *e)
{
    int64_t grp;

    *out = (struct group_seek){0};
    if (group_row(s, name, &grp, e) < 0 || log_point(s, point, &out->to, e) < 0)
        return -1;
    if (out->to < 1)
        out->to = 1;
    if (db_begin(s, DB_FULL, e) < 0)
        return -1;
    if (group_idle(s, grp, e) < 0 || count_dropped(s, grp, out, e) < 0 ||
        (!dry_run && move(s, grp, out->to, e) < 0)) {
        db_rollback(s);
        return in_group(name, e);
    }
    if (!dry_run)
        return db_commit(s, true, e);
    db_rollback(s);
    return 0;
}

/* Only the cursors of priorities that have events there, as with claims: those that stay tell where
   the group began (passed_means in sqlite_where.c). In an ordered group all are one. */
static int move_past(struct store *s, int64_t grp, int64_t seq, struct err *e)
{
    return db_run(s, e,
                  "UPDATE cursor SET seq=?1 WHERE grp=?2 AND seq<?1 AND (priority=5 OR EXISTS("
                  "SELECT 1 FROM groups g WHERE g.grp=?2 AND g.ordered) OR EXISTS(SELECT 1 FROM "
                  "event e INDEXED BY event_priority WHERE e.priority=cursor.priority AND "
                  "e.priority<>5 AND e.seq>cursor.seq AND e.seq<=?1))",
                  "ii", seq, grp);
}

static int count_passed(struct store *s, int64_t grp, const struct group_passed *p, struct err *e)
{
    return db_run(s, e,
                  "INSERT INTO tally(grp,type,done,retried,dead,deferred,took) VALUES(?,?,?,0,0,0,"
                  "0) ON CONFLICT(grp,type) DO UPDATE SET done=done+excluded.done",
                  "iti", grp, p->type, p->done);
}

int group_pass(struct store *s, const char *name, int64_t seq, const struct group_passed *passed,
               size_t n, struct err *e)
{
    int64_t grp;
    int moved, got;

    if (group_row(s, name, &grp, e) < 0 || db_begin(s, DB_NORMAL, e) < 0)
        return -1;
    got = moved = move_past(s, grp, seq, e);
    for (size_t i = 0; i < n && got >= 0; i++)
        if (passed[i].done > 0)
            got = count_passed(s, grp, &passed[i], e);
    if (got < 0 || db_run(s, e, "UPDATE groups SET rev=rev+1,seen=? WHERE grp=?", "ii",
                          clock_now_ms(), grp) < 0) {
        db_rollback(s);
        return -1;
    }
    return db_commit(s, moved > 0, e);
}

/* ------------------------------------------------------------------------------------ the order */

/* Remember what matches, up to the furthest cursor, and its own priority's has not yet passed. */
static int remember_behind(struct store *s, int64_t grp, int64_t last, struct err *e)
{
    struct pattern_list types = {NULL, 0};
    int64_t cursor[10] = {0};
    sqlite3_stmt *q = NULL;
    int got = -1;

    if (group_patterns(s, grp, &types, e) > 0 && group_cursors(s, grp, cursor, e) == 0)
        q = db_query(s, e,
                     "SELECT e.seq,e.priority,e.type,e.due FROM event e WHERE e.seq>(SELECT "
                     "min(c.seq) FROM cursor c WHERE c.grp=?) AND e.seq<=?",
                     "ii", grp, last);
    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        if (sqlite3_column_int64(q, 0) <= group_passed(cursor, sqlite3_column_int64(q, 1)) ||
            !pattern_any(&types, db_text(q, 2)))
            continue;
        if (db_run(s, e,
                   "INSERT INTO item(grp,seq,state,due,attempts,deaths) VALUES(?,?,0,?,0,0) "
                   "ON CONFLICT DO NOTHING",
                   "iii", grp, sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 3)) < 0) {
            got = -1;
            break;
        }
    }
    db_done(q);
    pattern_free(&types);
    return got;
}

/* An ordered group has one place in the log, not one for each priority: the furthest, and what the
   others had not reached becomes a matter of single events. */
static int order(struct store *s, int64_t grp, struct err *e)
{
    int64_t last = 0;

    if (db_int(s, e, &last, "SELECT max(seq) FROM cursor WHERE grp=?", "i", grp) < 0 ||
        remember_behind(s, grp, last, e) < 0)
        return -1;
    return db_run(s, e, "UPDATE cursor SET seq=? WHERE grp=?", "ii", last, grp) < 0 ||
                   db_run(s, e,
                          "UPDATE item SET subject=(SELECT subject FROM event WHERE "
                          "event.seq=item.seq) WHERE grp=?",
                          "i", grp) < 0 ||
                   db_run(s, e,
                          "UPDATE item SET state=2 WHERE grp=?1 AND state=0 AND EXISTS(SELECT 1 "
                          "FROM item b WHERE b.grp=?1 AND b.subject=item.subject AND "
                          "b.seq<item.seq AND b.state<>3)",
                          "i", grp) < 0
               ? -1
               : 0;
}

static int change_order(struct store *s, int64_t grp, bool ordered, struct err *e)
{
    int64_t now = 0;

    if (db_int(s, e, &now, "SELECT ordered FROM groups WHERE grp=?", "i", grp) < 0)
        return -1;
    if ((now != 0) == ordered)
        return 0;
    if (group_idle(s, grp, e) < 0 || (ordered && order(s, grp, e) < 0))
        return -1;
    if (!ordered && db_run(s, e,
                           "UPDATE item SET subject=NULL, state=CASE state WHEN 2 THEN 0 ELSE "
                           "state END WHERE grp=?",
                           "i", grp) < 0)
        return -1;
    return db_run(s, e, "UPDATE groups SET ordered=? WHERE grp=?", "ii", (int64_t)ordered, grp);
}

/* ------------------------------------------------------------------------------------------ set */

static int change_types(struct store *s, int64_t grp, const struct pattern_list *types,
                        struct err *e)
{
    struct buf json = BUF_INIT;

    for (size_t i = 0; i < types->n; i++) {
        buf_char(&json, i == 0 ? '[' : ',');
        js_quote(&json, str_of(types->item[i]));
    }
    buf_char(&json, ']');
    int got = db_run(s, e, "UPDATE groups SET patterns=? WHERE grp=?", "si",
                     (struct str){json.p, json.n}, grp);
    buf_free(&json);
    return got;
}

int group_change(struct store *s, const char *name, const struct group_change *change,
                 struct err *e)
{
    int64_t grp;

    if (group_row(s, name, &grp, e) < 0 || db_begin(s, DB_FULL, e) < 0)
        return -1;
    /* The order first: what is remembered for it is chosen by the patterns so far. */
    if ((change->order != GROUP_ORDER_KEEP &&
         change_order(s, grp, change->order == GROUP_ORDERED, e) < 0) ||
        (change->types.n > 0 && change_types(s, grp, &change->types, e) < 0) ||
        db_run(s, e, "UPDATE groups SET rev=rev+1 WHERE grp=?", "i", grp) < 0) {
        db_rollback(s);
        return in_group(name, e);
    }
    return db_commit(s, true, e);
}

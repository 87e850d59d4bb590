/*
 * What an outcome does to an event of a group: its row, its attempts, and the toolkit's event about
 * its death. group.c does this for events that a process holds, lease.c for those that went out
 * over a pipe, claim_write.c and takeover.c for those that nobody settled.
 */
#include "base/json_tree.h"
#include "store/group.h"
#include "store/sql/group.h"

#define HISTORY_MAX 100 /* attempts remembered for an event */

int attempt_add(struct group *g, int64_t seq, const struct group_settle *s, struct err *e)
{
    struct str reason = str_of(s->reason == NULL ? "" : s->reason);

    if (db_later(
            g->s->db, e,
            SQL("outcome_attempt_add_insert_attempt",
                "INSERT INTO attempt(grp,seq,n,time,took,status,reason,tail) SELECT "
                "?1,?2,coalesce(max(n),0)+1,?3,?4,?5,?6,?7 FROM attempt WHERE grp=?1 AND seq=?2"),
            "iiiiisb", g->grp, seq, s->started_ms, s->took_ms < 0 ? 0 : s->took_ms,
            (int64_t)s->status, reason, s->tail) < 0)
        return -1;
    return db_later(g->s->db, e,
                    SQL("outcome_attempt_add_delete_attempt",
                        "DELETE FROM attempt WHERE grp=?1 AND seq=?2 AND n<=(SELECT max(n) FROM "
                        "attempt WHERE grp=?1 AND seq=?2)-?3"),
                    "iii", g->grp, seq, (int64_t)HISTORY_MAX);
}

int item_forget(struct store *s, int64_t grp, bool ordered, int64_t seq, struct err *e)
{
    int attempts, items;

    /* Before deleting the row, which has the subject. */
    if ((ordered && order_free(s, grp, seq, e) < 0) ||
        (attempts = db_run(
             s->db, e,
             SQL("outcome_item_forget_delete_attempt", "DELETE FROM attempt WHERE grp=? AND seq=?"),
             "ii", grp, seq)) < 0 ||
        (items = db_run(
             s->db, e,
             SQL("outcome_item_forget_delete_item", "DELETE FROM item WHERE grp=? AND seq=?"), "ii",
             grp, seq)) < 0)
        return -1;
    return attempts + items;
}

int settle_item(struct group *g, int64_t seq, bool item, const struct group_settle *s,
                struct err *e)
{
    int attempt = s->outcome == GROUP_RETRY || s->outcome == GROUP_DEAD;
    int over = s->outcome == GROUP_DONE || s->outcome == GROUP_DROP ? 1
               : s->outcome == GROUP_DEAD                           ? 0
                                                                    : log_gone(g->s, seq, e);

    if (over < 0)
        return -1;
    if (over) /* done, expired, or pruned while it was held: it is not delivered again */
        return item && item_forget(g->s, g->grp, g->ordered, seq, e) < 0 ? -1 : 0;
    if (attempt && attempt_add(g, seq, s, e) < 0)
        return -1;
    if (db_later(
            g->s->db, e,
            SQL("outcome_settle_item",
                "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) VALUES(?1,?2,?3,"
                "CASE ?3 WHEN 3 THEN ?4 ELSE " ITEM_DUE("?2", "?4") " END,?5,0," ITEM_SUBJECT(
                    "?2", "?6") ") ON CONFLICT(grp,seq) DO "
                                "UPDATE SET state=?3,due=excluded.due,attempts=item.attempts+?5"),
            "iiiiii", g->grp, seq, (int64_t)(s->outcome == GROUP_DEAD ? ITEM_DEAD : ITEM_WAITING),
            s->outcome == GROUP_DEAD ? clock_now_ms() : s->due_ms, (int64_t)attempt,
            (int64_t)g->ordered) < 0)
        return -1;
    if (!g->ordered)
        return 0;
    return s->outcome == GROUP_DEAD ? order_free(g->s, g->grp, seq, e)
                                    : order_place(g->s, g->grp, seq, e);
}

bool tells_of_death(const struct group_settle *s, struct str type)
{
    return s->outcome == GROUP_DEAD && !sys_type(type);
}

int death_tell(struct group *g, struct txn *t, const struct log_entry *event,
               const struct event *cause, int64_t attempts, int status, const char *reason,
               struct err *e)
{
    struct str why = str_of(reason == NULL ? "" : reason);

    return sys_put(t, "sys.dead-lettered", g->name, cause,
                   json_pack("{s:o,s:I,s:o,s:o,s:I,s:i,s:o}", "group", tree_text(str_of(g->name)),
                             "seq", (json_int_t)event->seq, "id", tree_text(event->id), "type",
                             tree_text(event->type), "attempts", (json_int_t)attempts, "status",
                             status, "reason", tree_text(why)),
                   e);
}

/* Report the death of an event that nobody settled. */
int death_tell_seq(struct group *g, struct txn *t, int64_t seq, const char *reason, struct err *e)
{
    struct query *q =
        db_query(g->s->db, e,
                 SQL("outcome_death_tell_seq",
                     "SELECT " LOG_COLUMNS ",coalesce((SELECT attempts FROM item WHERE "
                     "grp=?1 AND item.seq=event.seq),0) FROM event WHERE seq=?2"),
                 "ii", g->grp, seq);
    struct page copy = {NULL, 0, BUF_INIT};
    struct err unread = ERR_NONE;
    struct log_entry entry;
    struct log_row row;
    int got = q == NULL ? -1 : db_row(g->s->db, q, e);

    if (got <= 0)
        return got;
    log_entry_read(g->s, q, &row, &entry);
    entry.damaged = log_entry_damaged(&row, &entry);
    page_add(&copy, &entry);
    int64_t attempts = db_i64(q, LOG_END);
    db_done(q);
    bool whole =
        !entry.damaged && event_read(&g->s->seen, &g->s->scan, copy.entry[0].line, &unread) == 0;
    if (!sys_type(copy.entry[0].type))
        got = death_tell(g, t, &copy.entry[0], whole ? &g->s->seen : NULL, attempts, 0, reason, e);
    page_free(&copy);
    return got;
}

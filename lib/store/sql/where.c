/*
 * Where an event stands with the groups, and why.
 *
 * An event has a row in item only while a group has to remember it individually; otherwise it is in
 * the open list of a claim, or ahead of the group's cursor, or passed and done. Everything about a
 * group is read in one transaction, or an event on its way from the log to a claim could be found
 * in neither.
 */
#include "store/sql/group.h"

#include "store/where.h"

#include <stdlib.h>
#include <string.h>

/* What we find out about one event in one group. */
struct look {
    struct store *s;
    int64_t grp, seq, now_ms, created_ms;
    int64_t recorded_ms, priority, cursor[10];
    bool ordered, matches;
    int64_t owner; /* of the event's claim; -1: no claim */
    bool leased;
    int64_t lease_ms; /* wall; of another epoch: past */
    struct pattern_list types;
    struct buf subject, said; /* said: the reason, then the tail */
    struct where w;
};

/* ----------------------------------------------------------------------- what the tables have */

/* Each returns 1 when found, 0 when not, -1. */
static int read_group(struct look *l, struct err *e)
{
    struct query *q =
        db_query(l->s->db, e,
                 SQL("where_read_group_select_groups",
                     "SELECT grp,patterns,paused,hold,created,ordered FROM groups WHERE name=?"),
                 "t", l->w.group);
    int got = q == NULL ? -1 : db_row(l->s->db, q, e);

    if (got <= 0)
        return got;
    int64_t hold = db_i64(q, 3);
    l->grp = db_i64(q, 0);
    l->w.paused = db_i64(q, 2) != 0;
    l->w.hold_ms = hold > l->now_ms ? hold : 0;
    l->created_ms = db_i64(q, 4);
    l->ordered = db_i64(q, 5) != 0;
    got = patterns_read(&l->types, db_text(q, 1), e);
    db_done(q);
    if (got < 0 || group_cursors(l->s, l->grp, l->cursor, e) < 0)
        return -1;
    l->w.position = l->cursor[EVENT_PRIORITY];
    return log_last(l->s, &l->w.last, e) < 0 ? -1 : 1;
}

static int read_event(struct look *l, struct err *e)
{
    struct query *q =
        db_query(l->s->db, e,
                 SQL("where_read_event",
                     "SELECT recorded,priority,due,expires,type,subject FROM event WHERE seq=?"),
                 "i", l->seq);
    int got = q == NULL ? -1 : db_row(l->s->db, q, e);

    if (got <= 0)
        return got;
    l->recorded_ms = db_i64(q, 0);
    l->priority = db_i64(q, 1);
    l->w.notbefore_ms = db_i64(q, 2);
    l->w.expires_ms = db_i64(q, 3);
    l->matches = pattern_any(&l->types, db_text(q, 4));
    buf_str(&l->subject, db_text(q, 5));
    db_done(q);
    return 1;
}

static int read_item(struct look *l, int64_t *state, struct err *e)
{
    struct query *q = db_query(
        l->s->db, e,
        SQL("where_read_item", "SELECT state,due,attempts,deaths FROM item WHERE grp=? AND seq=?"),
        "ii", l->grp, l->seq);
    int got = q == NULL ? -1 : db_row(l->s->db, q, e);

    if (got <= 0)
        return got;
    *state = db_i64(q, 0);
    l->w.due_ms = db_i64(q, 1);
    l->w.attempts = db_i64(q, 2);
    l->w.deaths = db_i64(q, 3);
    db_done(q);
    return 1;
}

static int read_attempt(struct look *l, struct err *e)
{
    struct query *q = db_query(
        l->s->db, e,
        SQL("where_read_attempt",
            "SELECT reason,tail FROM attempt WHERE grp=? AND seq=? ORDER BY n DESC LIMIT 1"),
        "ii", l->grp, l->seq);
    int got = q == NULL ? -1 : db_row(l->s->db, q, e);

    if (got <= 0)
        return got;
    struct str reason = db_text(q, 0), tail = db_text(q, 1);
    buf_need(&l->said, reason.n + tail.n + 1); /* once: the bytes must not move under the views */
    buf_str(&l->said, reason);
    buf_str(&l->said, tail);
    l->w.reason = (struct str){l->said.p, reason.n};
    l->w.tail = (struct str){l->said.p + reason.n, tail.n};
    db_done(q);
    return 1;
}

static int read_claim(struct look *l, struct err *e)
{
    struct query *q =
        db_query(l->s->db, e,
                 SQL("where_read_claim",
                     "SELECT open,owner,lease,boot,made FROM claim WHERE grp=? AND first<=?"),
                 "ii", l->grp, l->seq);
    struct lease_clock now;
    int got = -1;

    while (q != NULL && (got = db_row(l->s->db, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 0), &open);
        bool found = bsearch(&l->seq, open, n, sizeof *open, seq_compare) != NULL;
        free(open);
        if (!found)
            continue;
        lease_now(l->s->db, &now);
        l->owner = db_i64(q, 1);
        l->leased = !db_null(q, 2);
        l->w.claimed_ms = db_i64(q, 4);
        l->lease_ms = l->now_ms - now.ms + (str_is(db_text(q, 3), now.epoch) ? db_i64(q, 2) : 0);
        db_done(q);
        return 1;
    }
    return got;
}

/* Count the consumers that live, and look at the one that holds the event. */
static int read_consumers(struct look *l, bool *owner_lives, struct err *e)
{
    int trusted = session_trusted(l->s->db, e), got = -1;
    struct query *q = trusted < 0
                          ? NULL
                          : db_query(l->s->db, e,
                                     SQL("where_read_consumers",
                                         "SELECT " SESSION_COLUMNS " FROM consumer WHERE grp=?"),
                                     "i", l->grp);

    while (q != NULL && (got = db_row(l->s->db, q, e)) > 0) {
        struct session consumer;
        session_read(q, 0, &consumer);
        bool alive = session_lives(l->s->db, &consumer, trusted);
        l->w.consumers += alive;
        if (consumer.owner != l->owner)
            continue;
        l->w.pid = consumer.pid;
        *owner_lives = alive;
    }
    return got;
}

/* ------------------------------------------------------------------------------ what it means */

/* An event in state "behind" has the row of an earlier event before it: find that event. */
static int find_behind(struct look *l, struct err *e)
{
    struct query *q =
        db_query(l->s->db, e,
                 SQL("where_find_behind",
                     "SELECT seq,CASE state WHEN 0 THEN due ELSE 0 END FROM item" BY_ITEM_SUBJECT
                     " WHERE grp=? AND subject=? AND seq<? AND state<>3 "
                     "ORDER BY seq LIMIT 1"),
                 "isi", l->grp, (struct str){l->subject.p, l->subject.n}, l->seq);
    int got = q == NULL ? -1 : db_row(l->s->db, q, e);

    if (got <= 0)
        return got;
    int64_t due = db_i64(q, 1);
    l->w.behind = db_i64(q, 0);
    l->w.behind_due_ms = due > l->now_ms ? due : 0;
    db_done(q);
    return 0;
}

/* Was the event passed, or did the group begin after it? If it was recorded after the group was
   created, it was passed. Otherwise the cursors show it: each moves only to events of its own
   priority, so two cursors at the same place cannot both have moved, and if that is the lowest
   place, the group began there. In an ordered group the cursors move together and show nothing. */
static enum where_state passed_means(const struct look *l)
{
    int64_t low = l->cursor[0];
    int there = 0;

    for (int i = 1; i < 10; i++)
        if (l->cursor[i] < low)
            low = l->cursor[i];
    for (int i = 0; i < 10; i++)
        there += l->cursor[i] == low;
    if (l->recorded_ms > l->created_ms || l->seq > low)
        return WHERE_DONE;
    return l->ordered || there == 1 ? WHERE_PASSED : WHERE_BEFORE;
}

static void claim_means(struct look *l, bool owner_lives)
{
    l->w.state = l->leased ? WHERE_LEASED : owner_lives ? WHERE_CLAIMED : WHERE_ORPHANED;
    l->w.due_ms = l->leased ? l->lease_ms : 0;
}

static enum where_state no_item_means(const struct look *l)
{
    if (!l->matches)
        return WHERE_FILTERED;
    if (l->seq > group_passed(l->cursor, l->priority))
        return WHERE_AHEAD;
    return passed_means(l);
}

static int find_state(struct look *l, struct err *e)
{
    int64_t state = ITEM_CLAIMED;
    bool owner_lives = false;
    int item = read_item(l, &state, e), claim = item < 0 ? -1 : read_claim(l, e);

    if (claim < 0 || read_consumers(l, &owner_lives, e) < 0 || read_attempt(l, e) < 0)
        return -1;
    if (claim > 0 || (item > 0 && state == ITEM_CLAIMED))
        claim_means(l, owner_lives);
    else if (item == 0)
        l->w.state = no_item_means(l);
    else
        l->w.state = state == ITEM_WAITING  ? WHERE_WAITING
                     : state == ITEM_BEHIND ? WHERE_BEHIND
                                            : WHERE_DEAD;
    if (l->w.expires_ms != 0 && l->w.expires_ms <= l->now_ms &&
        (l->w.state == WHERE_AHEAD || l->w.state == WHERE_WAITING || l->w.state == WHERE_BEHIND))
        l->w.state = WHERE_EXPIRED;
    return l->w.state == WHERE_BEHIND ? find_behind(l, e) : 0;
}

/* ------------------------------------------------------------------------------ the interface */

/* 1; 0 when the group or the event no longer exists; -1. */
static int where_look(struct look *l, struct err *e)
{
    int got;

    if (db_begin_read(l->s->db, e) < 0)
        return -1;
    if ((got = read_group(l, e)) > 0 && (got = read_event(l, e)) > 0)
        got = find_state(l, e) < 0 ? -1 : 1;
    db_rollback(l->s->db);
    return got;
}

static int where_one_group(struct store *s, const char *name, int64_t seq,
                           int (*f)(const struct where *w, void *arg, struct err *e), void *arg,
                           struct err *e)
{
    struct look l = {.s = s, .seq = seq, .owner = -1, .now_ms = clock_now_ms()};

    l.w.group = name;
    l.w.types = &l.types;
    int got = where_look(&l, e);
    if (got > 0)
        got = f(&l.w, arg, e);
    pattern_free(&l.types);
    buf_free(&l.subject);
    buf_free(&l.said);
    return got;
}

int where_each(struct store *s, const char *group, int64_t seq,
               int (*f)(const struct where *w, void *arg, struct err *e), void *arg, struct err *e)
{
    struct buf names = BUF_INIT;
    int64_t grp;
    int got = 0;

    if (session_open(s->db, e) < 0 || (group != NULL && group_row(s, group, &grp, e) < 0))
        return -1;
    struct query *q = db_query(
        s->db, e,
        SQL("where_each", "SELECT name FROM groups WHERE ?1 IS NULL OR name=?1 ORDER BY name"), "t",
        group);
    if (q == NULL)
        return -1;
    while ((got = db_row(s->db, q, e)) > 0) {
        buf_str(&names, db_text(q, 0));
        buf_char(&names, '\0');
    }
    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1)
        got = where_one_group(s, names.p + at, seq, f, arg, e);
    buf_free(&names);
    return got < 0 ? -1 : 0;
}

int log_type(struct store *s, struct str id, struct buf *type, struct err *e)
{
    struct query *q = db_query(
        s->db, e, SQL("where_log_type", "SELECT type FROM event WHERE id=? ORDER BY seq LIMIT 1"),
        "s", id);
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got <= 0)
        return got;
    buf_str(type, db_text(q, 0));
    db_done(q);
    return 1;
}

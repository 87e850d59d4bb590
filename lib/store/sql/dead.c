/*
 * Groups and dead letters as a person sees and changes them. What a person asks for is on disk
 * when the call returns.
 */
#include "base/json_tree.h"
#include "store/sql/sql.h"

#include "base/mem.h"
#include "store/dead.h"
#include "store/groups.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --------------------------------------------------------------------------------------- groups */

static int fill_info(struct store *s, int64_t grp, struct group_info *info, struct err *e)
{
    struct group_left left;

    if (group_alive(s, grp, &info->consumers, e) < 0 ||
        left_count(s, grp, info->types, INT64_MAX, INT64_MAX - 1, &left, e) < 0 ||
        db_int(s->db, e, &info->position,
               SQL("dead_fill_info_select_cursor",
                   "SELECT seq FROM cursor WHERE grp=? AND priority=5"),
               "i", grp) < 0 ||
        db_int(s->db, e, &info->dead,
               SQL("dead_fill_info_select_item",
                   "SELECT count(*) FROM item" BY_ITEM_DEAD " WHERE grp=? AND state=3"),
               "i", grp) < 0)
        return -1;
    info->in_flight = left.in_flight;
    info->due = left.due;
    info->waiting = left.waiting;
    info->lag = left.ahead + left.in_flight + left.due + left.waiting;
    return 0;
}

static int dead_of_group(struct store *s, const char *name,
                         int (*f)(const struct group_info *info, void *arg, struct err *e),
                         void *arg, struct err *e)
{
    struct query *q =
        db_query(s->db, e,
                 SQL("dead_one_group",
                     "SELECT g.grp,patterns,paused,hold,created,ordered,CAST(coalesce(sum(done),0) "
                     "AS bigint),"
                     "CAST(coalesce(sum(retried),0) AS bigint),CAST(coalesce(sum(deferred),0) AS "
                     "bigint) FROM groups g LEFT JOIN tally "
                     "USING(grp) "
                     "WHERE name=? GROUP BY g.grp"),
                 "t", name);
    struct pattern_list types = {NULL, 0};
    struct group_info info = {.name = name, .types = &types};
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got <= 0)
        return got; /* dropped since its name was read */
    int64_t grp = db_i64(q, 0), hold = db_i64(q, 3);
    got = patterns_read(&types, db_text(q, 1), e);
    info.paused = db_i64(q, 2) != 0;
    info.hold_ms = hold > clock_now_ms() ? hold : 0;
    info.created_ms = db_i64(q, 4);
    info.ordered = db_i64(q, 5) != 0;
    info.done = db_i64(q, 6);
    info.retried = db_i64(q, 7);
    info.deferred = db_i64(q, 8);
    db_done(q);
    if (got == 0 && (got = fill_info(s, grp, &info, e)) == 0)
        got = f(&info, arg, e);
    pattern_free(&types);
    return got;
}

/* Read all names first, so that no transaction is open while f writes. */
int group_each(struct store *s, const char *name,
               int (*f)(const struct group_info *info, void *arg, struct err *e), void *arg,
               struct err *e)
{
    struct buf names = BUF_INIT;
    int64_t grp;
    int got = 0;

    if (name != NULL)
        return group_row(s, name, &grp, e) < 0         ? -1
               : dead_of_group(s, name, f, arg, e) < 0 ? -1
                                                       : 0;
    struct query *q =
        db_query(s->db, e, SQL("dead_group_each", "SELECT name FROM groups ORDER BY name"), "");
    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        buf_str(&names, db_text(q, 0));
        buf_char(&names, '\0');
    }
    if (q == NULL)
        got = -1;
    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1)
        got = dead_of_group(s, names.p + at, f, arg, e);
    buf_free(&names);
    return got < 0 ? -1 : 0;
}

static int backlog_of(struct store *s, int64_t grp, int64_t most, int64_t *lag, struct err *e)
{
    struct pattern_list types = {NULL, 0};
    struct group_left left = {0};
    int got = group_patterns(s, grp, &types, e);

    if (got > 0)
        got = left_count(s, grp, &types, INT64_MAX, most, &left, e);
    *lag = left.ahead + left.in_flight + left.due + left.waiting;
    pattern_free(&types);
    return got < 0 ? -1 : 0;
}

int group_backlog(struct store *s, const char *except, int64_t most, int64_t *lag, struct buf *b,
                  struct err *e)
{
    struct buf name = BUF_INIT;
    int64_t grp = 0, of_one;
    int got;

    *lag = 0;
    do {
        struct query *q =
            db_query(s->db, e,
                     SQL("dead_group_backlog",
                         "SELECT grp,name FROM groups WHERE grp>? ORDER BY grp LIMIT 1"),
                     "i", grp);
        if (q == NULL || (got = db_row(s->db, q, e)) <= 0)
            break;
        grp = db_i64(q, 0);
        buf_reset(&name);
        buf_str(&name, db_text(q, 1));
        db_done(q);
        if (except != NULL && str_is((struct str){name.p, name.n}, except))
            continue;
        if ((got = backlog_of(s, grp, most, &of_one, e)) == 0 && of_one > *lag) {
            *lag = of_one;
            buf_reset(b);
            buf_str(b, (struct str){name.p, name.n});
        }
    } while (got >= 0);
    buf_free(&name);
    return got < 0 ? -1 : 0;
}

static int set_paused(struct txn *t, const char *name, bool paused, struct err *e)
{
    /* A resume also ends a hold: a person who resumes knows that the dependency is back. */
    int got = db_run(t->s->db, e,
                     SQL("dead_set_paused",
                         "UPDATE groups SET paused=?1, hold=hold*?1, rev=rev+1 WHERE name=?2 AND "
                         "(paused<>?1 OR (?1=0 AND hold>0))"),
                     "it", (int64_t)paused, name);

    return got <= 0 ? got
                    : sys_put(t, paused ? "sys.group.paused" : "sys.group.resumed", name, NULL,
                              json_pack("{s:o}", "group", tree_text(str_of(name))), e);
}

int group_pause(struct store *s, const char *name, bool paused, struct err *e)
{
    struct txn *t;
    int64_t grp;

    if (group_row(s, name, &grp, e) < 0 || txn_begin(s, TXN_APPEND, NULL, &t, e) < 0)
        return -1;
    if (set_paused(t, name, paused, e) < 0) {
        txn_rollback(t);
        return -1;
    }
    t->wake = true;
    return txn_commit(t, e);
}

/* Delete a group's counts, at most a thousand rows of each table. 1 when none is left, 0, -1. */
static int drop_counts(struct store *s, int64_t grp, struct err *e)
{
    int n = db_run(s->db, e,
                   SQL("dead_drop_counts_delete_duration",
                       "DELETE FROM duration WHERE grp=?1 AND (type,le) IN (SELECT type,le FROM "
                       "duration WHERE grp=?1 LIMIT ?2)"),
                   "ii", grp, (int64_t)DB_ROWS);

    if (n < 0 || n >= DB_ROWS)
        return n < 0 ? -1 : 0;
    n = db_run(
        s->db, e,
        SQL("dead_drop_counts_delete_tally",
            "DELETE FROM tally WHERE grp=?1 AND type IN (SELECT type FROM tally WHERE grp=?1 "
            "LIMIT ?2)"),
        "ii", grp, (int64_t)DB_ROWS);
    return n < 0 ? -1 : n < DB_ROWS;
}

/* The work of one transaction: 1 when the group is gone, 0, -1. Until the last transaction, the
   group moves back step by step to the beginning of the log, as with group_seek. */
static int drop_some(struct store *s, int64_t grp, int64_t *below, struct err *e)
{
    int got;

    if (db_begin(s->db, DB_FULL, e) < 0)
        return -1;
    if ((got = group_forget(s, grp, INT64_MIN, below, e)) > 0 &&
        (got = drop_counts(s, grp, e)) > 0 &&
        (db_run(s->db, e, SQL("dead_drop_some_delete_cursor", "DELETE FROM cursor WHERE grp=?"),
                "i", grp) < 0 ||
         db_run(s->db, e, SQL("dead_drop_some_delete_groups", "DELETE FROM groups WHERE grp=?"),
                "i", grp) < 0))
        got = -1;
    if (got < 0) {
        db_rollback(s->db);
        return -1;
    }
    return db_commit(s->db, true, e) < 0 ? -1 : got;
}

int group_drop(struct store *s, const char *name, struct err *e)
{
    int64_t grp, below = INT64_MAX;
    int got = 0;

    if (group_row(s, name, &grp, e) < 0)
        return -1;
    while (got == 0) {
        if (group_recover(s, name, e) < 0 || (got = drop_some(s, grp, &below, e)) < 0)
            return err_at(e, "group %s: ", err_quote_text(name).text);
        db_give_way(s->db);
    }
    return 0;
}

/* --------------------------------------------------------------------------------- dead letters */

/* One dead letter with copies of its data, so that no transaction is open while it is shown. */
struct letter {
    struct dead_letter shown;
    struct page page;
    struct dead_attempt *attempt;
    size_t room;
    struct buf bytes; /* of the attempts */
};

static int read_history(struct store *s, int64_t grp, int64_t seq, struct letter *l, struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("dead_read_history", "SELECT time,took,status,reason,tail FROM attempt WHERE grp=? AND "
                                 "seq=? ORDER BY n"),
        "ii", grp, seq);
    size_t at = 0, n = 0;
    int got = -1;

    buf_reset(&l->bytes);
    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        if (n == l->room)
            l->attempt = mem_grow(l->attempt, l->room += 16, sizeof *l->attempt);
        struct str reason = db_text(q, 3), tail = db_text(q, 4);
        l->attempt[n++] = (struct dead_attempt){.time_ms = db_i64(q, 0),
                                                .took_ms = db_i64(q, 1),
                                                .status = (int)db_i64(q, 2),
                                                .reason = {NULL, reason.n},
                                                .tail = {NULL, tail.n}};
        buf_str(&l->bytes, reason);
        buf_str(&l->bytes, tail);
    }
    buf_need(&l->bytes, 1);
    for (size_t i = 0; i < n; i++) { /* from here on the bytes do not move */
        l->attempt[i].reason.p = l->bytes.p + at;
        at += l->attempt[i].reason.n;
        l->attempt[i].tail.p = l->bytes.p + at;
        at += l->attempt[i].tail.n;
    }
    l->shown.attempt = l->attempt;
    l->shown.tries = n;
    return got;
}

/* LOG_COLUMNS of e, and more. */
#define LETTER(on)                                                                                 \
    "SELECT e.seq,recorded,priority,e.due,expires,version,sums,id,source,type,e.subject,line,"     \
    "i.attempts,i.deaths,i.due FROM item i LEFT JOIN event e ON " on                               \
    " WHERE i.grp=? AND i.seq=? AND i.state=3"

/* 1; 0 when the dead letter is gone; -1. The history includes attempts from before a retry. If the
   event's row cannot be read, the event counts as missing. */
static int read_letter(struct store *s, const char *group, int64_t grp, int64_t seq,
                       struct letter *l, struct err *e)
{
    struct query *q = db_query(s->db, e, SQL("dead_letter", LETTER("e.seq=i.seq")), "ii", grp, seq);
    struct log_entry entry;
    struct log_row row;
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got < 0 && log_broken(s, seq, seq, &(int64_t){0}) > 0) {
        err_clear(e);
        q = db_query(s->db, e, SQL("dead_letter_alone", LETTER("1=0")), "ii", grp, seq);
        got = q == NULL ? -1 : db_row(s->db, q, e);
    }
    if (got <= 0)
        return got;
    log_entry_read(s, q, &row, &entry);
    entry.seq = seq;
    entry.damaged = log_entry_damaged(&row, &entry);
    if (entry.damaged)
        entry.line = (struct str){NULL, 0};
    l->page.n = 0;
    page_add(&l->page, &entry);
    l->shown = (struct dead_letter){.group = group,
                                    .event = l->page.entry[0],
                                    .attempts = db_i64(q, LOG_END),
                                    .deaths = db_i64(q, LOG_END + 1),
                                    .died_ms = db_i64(q, LOG_END + 2)};
    db_done(q);
    return read_history(s, grp, seq, l, e) < 0 ? -1 : 1;
}

static bool contains(struct str hay, const char *needle)
{
    return hay.p != NULL && memmem(hay.p, hay.n, needle, strlen(needle)) != NULL;
}

static bool listed(const struct dead_filter *f, int64_t seq)
{
    for (size_t i = 0; i < f->seqs; i++)
        if (f->seq[i] == seq)
            return true;
    return f->seqs == 0;
}

static bool wanted(const struct dead_filter *f, const struct dead_letter *letter)
{
    if (f->subject != NULL && !str_is(letter->event.subject, f->subject))
        return false;
    if (f->types.n > 0 && !pattern_any(&f->types, letter->event.type))
        return false;
    if ((f->died_before_ms != 0 && letter->died_ms >= f->died_before_ms) ||
        (f->died_after_ms != 0 && letter->died_ms < f->died_after_ms))
        return false;
    const struct dead_attempt *last =
        letter->tries == 0 ? NULL : &letter->attempt[letter->tries - 1];
    if (f->error != NULL &&
        (last == NULL || (!contains(last->reason, f->error) && !contains(last->tail, f->error))))
        return false;
    return f->accept == NULL || f->accept(letter);
}

#define PAGE 500

/* The next dead letters of a group after a position. */
static int next_dead(struct store *s, int64_t grp, int64_t behind, int64_t out[PAGE], size_t *n,
                     struct err *e)
{
    struct query *q = db_query(s->db, e,
                               SQL("dead_next_dead",
                                   "SELECT seq FROM item" BY_ITEM_DEAD " WHERE grp=? AND state=3 "
                                   "AND seq>? ORDER BY seq LIMIT ?"),
                               "iii", grp, behind, (int64_t)PAGE);
    int got = -1;

    *n = 0;
    while (q != NULL && (got = db_row(s->db, q, e)) > 0)
        out[(*n)++] = db_i64(q, 0);
    return got;
}

/* A walk over dead letters: the filter, what to do with each, and its state. */
struct walk {
    struct store *s;
    const struct dead_filter *filter;
    int (*f)(const struct dead_letter *letter, void *arg, struct err *e);
    void *arg;
    struct letter letter;
    int64_t n;
    int stop;
};

static int walk_group(struct walk *w, int64_t grp, const char *name, struct err *e)
{
    int64_t seq[PAGE], behind = 0;
    size_t n;
    int got;

    do {
        got = next_dead(w->s, grp, behind, seq, &n, e);
        for (size_t i = 0; i < n && got >= 0 && w->stop == 0; i++) {
            behind = seq[i];
            if (!listed(w->filter, seq[i]))
                continue;
            got = read_letter(w->s, name, grp, seq[i], &w->letter, e);
            if (got <= 0 || !wanted(w->filter, &w->letter.shown))
                continue;
            w->n++;
            w->stop = w->f(&w->letter.shown, w->arg, e);
            if (w->filter->max != 0 && w->n == w->filter->max)
                w->stop = w->stop < 0 ? -1 : 1;
        }
    } while (got >= 0 && w->stop == 0 && n == PAGE);
    return got;
}

/* The next group after name, by name: 1, 0 when there is no other, -1. */
static int next_group(struct store *s, struct buf *name, int64_t *grp, struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("dead_next_group", "SELECT grp,name FROM groups WHERE name>? ORDER BY name LIMIT 1"),
        "t", buf_text(name));
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got <= 0)
        return got;
    *grp = db_i64(q, 0);
    buf_reset(name);
    buf_str(name, db_text(q, 1));
    db_done(q);
    if (memchr(name->p, 0, name->n) !=
        NULL) /* a walk that continues after half a name never ends */
        return err_set(e, EX_IOERR, "%s: damaged: the name of group %s", s->name,
                       err_quote(name->p, name->n).text);
    return 1;
}

int64_t dead_each(struct store *s, const struct dead_filter *filter,
                  int (*f)(const struct dead_letter *letter, void *arg, struct err *e), void *arg,
                  struct err *e)
{
    struct walk w = {.s = s, .filter = filter, .f = f, .arg = arg};
    struct buf name = BUF_INIT;
    int64_t grp;
    int got;

    if (filter->group != NULL) {
        if ((got = group_row(s, filter->group, &grp, e)) == 0)
            got = walk_group(&w, grp, filter->group, e);
    } else {
        while ((got = next_group(s, &name, &grp, e)) > 0 && w.stop == 0 &&
               (got = walk_group(&w, grp, buf_text(&name), e)) >= 0)
            continue;
    }
    buf_free(&name);
    free(w.letter.attempt);
    buf_free(&w.letter.bytes);
    page_free(&w.letter.page);
    return w.stop < 0 || got < 0 ? -1 : w.n;
}

/* Dead letters that were found and will be changed, together in one transaction. */
struct dead {
    int64_t grp, seq, died_ms;
};

struct ingest {
    struct store *s;
    int (*f)(struct store *s, const struct dead *dead, struct err *e);
    struct dead dead[DB_ROWS];
    size_t n, rows;
    char *group; /* the group whose number is grp */
    int64_t grp, changed;
};

/* Each returns 1, 0 when this is no longer the same dead letter, -1. */
static int retry_one(struct store *s, const struct dead *dead, struct err *e)
{
    int64_t ordered = 0;
    int got =
        db_int(s->db, e, &ordered,
               SQL("dead_retry_one",
                   "UPDATE item SET state=0,due=?,attempts=0,deaths=0 WHERE grp=? AND seq=? AND "
                   "state=3 AND due=? RETURNING subject IS NOT NULL"),
               "iiii", clock_now_ms(), dead->grp, dead->seq, dead->died_ms);

    if (got > 0 && ordered && order_place(s, dead->grp, dead->seq, e) < 0)
        return -1;
    return got;
}

static int drop_one(struct store *s, const struct dead *dead, struct err *e)
{
    int got = db_run(s->db, e,
                     SQL("dead_drop_one_delete_item",
                         "DELETE FROM item WHERE grp=? AND seq=? AND state=3 AND due=?"),
                     "iii", dead->grp, dead->seq, dead->died_ms);

    if (got > 0 &&
        db_run(s->db, e,
               SQL("dead_drop_one_delete_attempt", "DELETE FROM attempt WHERE grp=? AND seq=?"),
               "ii", dead->grp, dead->seq) < 0)
        return -1;
    return got;
}

/* The dead letters were found outside the write lock: each is checked again inside. */
static int change_batch(struct ingest *b, struct err *e)
{
    int got = 0;
    int64_t changed = 0;

    if (b->n == 0)
        return 0;
    if (db_begin(b->s->db, DB_FULL, e) < 0)
        return -1;
    for (size_t i = 0; i < b->n && got >= 0; i++) {
        got = b->f(b->s, &b->dead[i], e);
        changed += got > 0;
    }
    if (got < 0) {
        db_rollback(b->s->db);
        return -1;
    }
    if (db_commit(b->s->db, true, e) < 0)
        return -1;
    b->changed += changed;
    b->n = b->rows = 0;
    db_give_way(b->s->db);
    return 0;
}

/* dead_each steps from key to key with no statement open, so its letters may be changed during the
   walk. The walk does not return to letters that were given back, nor to new ones before them. */
static int add_dead(const struct dead_letter *letter, void *batch, struct err *e)
{
    struct ingest *b = batch;

    if (b->group == NULL || strcmp(b->group, letter->group) != 0) {
        free(b->group);
        b->group = mem_dup(letter->group, strlen(letter->group));
        b->grp = 0;
        if (db_int(b->s->db, e, &b->grp,
                   SQL("dead_add_dead", "SELECT grp FROM groups WHERE name=?"), "t", b->group) < 0)
            return -1;
    }
    b->dead[b->n++] = (struct dead){b->grp, letter->event.seq, letter->died_ms};
    b->rows += 1 + letter->tries;
    return b->n == DB_ROWS || b->rows >= DB_ROWS ? change_batch(b, e) : 0;
}

static int64_t dead_change(struct store *s, const struct dead_filter *filter,
                           int (*f)(struct store *s, const struct dead *dead, struct err *e),
                           struct err *e)
{
    struct ingest b = {.s = s, .f = f};
    int got = dead_each(s, filter, add_dead, &b, e) < 0 ? -1 : change_batch(&b, e);

    free(b.group);
    return got < 0 ? -1 : b.changed;
}

int64_t dead_retry(struct store *s, const struct dead_filter *filter, struct err *e)
{
    return dead_change(s, filter, retry_one, e);
}

int64_t dead_drop(struct store *s, const struct dead_filter *filter, struct err *e)
{
    return dead_change(s, filter, drop_one, e);
}

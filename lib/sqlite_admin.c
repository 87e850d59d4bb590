/*
 * Groups and dead letters as a person sees and changes them. What a person asks for is on disk
 * when the call returns.
 */
#include "sqlite_priv.h"

#include "mem.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --------------------------------------------------------------------------------------- groups */

/* While SPOOL-lock is not the one that the spool knows, a free byte says nothing. */
static bool lives(struct store *s, sqlite3_stmt *q, bool trusted)
{
    struct lock_process process = {.pid = sqlite3_column_int64(q, 1),
                                   .started = sqlite3_column_int64(q, 2)};
    struct str boot = db_text(q, 3);

    if (!lock_free(s, sqlite3_column_int64(q, 0)))
        return true;
    memcpy(process.boot, boot.p, boot.n < 39 ? boot.n : 39);
    return !trusted && lock_process_lives(&process);
}

int group_alive(struct store *s, int64_t grp, int64_t *out, struct err *e)
{
    int trusted = lock_open(s, e) < 0 ? -1 : lock_trusted(s, e), got = -1;
    sqlite3_stmt *q;

    if (trusted < 0)
        return -1;
    q = db_query(s, e, "SELECT owner,pid,started,boot FROM consumer WHERE grp=?", "i", grp);
    while (q != NULL && (got = db_row(s, q, e)) > 0)
        *out += lives(s, q, trusted > 0);
    return got;
}

static int count_in_flight(struct store *s, int64_t grp, int64_t *out, struct err *e)
{
    sqlite3_stmt *q = db_query(s, e, "SELECT open FROM claim WHERE grp=?", "i", grp);
    int got = -1;

    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        int64_t *open;
        *out += (int64_t)open_decode(db_text(q, 0), &open);
        free(open);
    }
    return got;
}

/* What matches behind the cursors, counted no further than to more than most. Types are read,
   lines are not. */
static int count_ahead(struct store *s, int64_t grp, const struct pattern_list *types, int64_t most,
                       int64_t *out, struct err *e)
{
    int64_t cursor[10] = {0}, low;
    sqlite3_stmt *q;
    int got = -1;

    if (group_cursors(s, grp, cursor, e) < 0)
        return -1;
    low = cursor[0];
    for (int i = 1; i < 10; i++)
        if (cursor[i] < low)
            low = cursor[i];
    /* Priorities that no event has stay where the group began: look only behind the others. */
    q = db_query(s, e,
                 "SELECT e.seq,e.priority,e.type FROM event e WHERE e.seq>?1 AND e.priority=5 "
                 "UNION ALL SELECT e.seq,e.priority,e.type FROM event e INDEXED BY event_priority "
                 "WHERE e.seq>?2 AND e.priority<>5",
                 "ii", cursor[EVENT_PRIORITY], low);
    while (q != NULL && *out <= most && (got = db_row(s, q, e)) > 0)
        if (sqlite3_column_int64(q, 0) > group_passed(cursor, sqlite3_column_int64(q, 1)) &&
            pattern_any(types, db_text(q, 2)))
            ++*out;
    db_done(q);
    return q == NULL || got < 0 ? -1 : 0;
}

static int fill_info(struct store *s, int64_t grp, struct group_info *info, struct err *e)
{
    int64_t now = clock_now_ms();

    if (group_alive(s, grp, &info->consumers, e) < 0 ||
        count_in_flight(s, grp, &info->in_flight, e) < 0 ||
        count_ahead(s, grp, info->types, INT64_MAX - 1, &info->lag, e) < 0 ||
        db_int(s, e, &info->position, "SELECT seq FROM cursor WHERE grp=? AND priority=5", "i",
               grp) < 0 ||
        db_int(s, e, &info->due, "SELECT count(*) FROM item WHERE grp=? AND state=0 AND due<=?",
               "ii", grp, now) < 0 ||
        db_int(s, e, &info->waiting,
               "SELECT count(*) FROM item WHERE grp=? AND (state=2 OR (state=0 AND due>?))", "ii",
               grp, now) < 0 ||
        db_int(s, e, &info->dead, "SELECT count(*) FROM item WHERE grp=? AND state=3", "i", grp) <
            0)
        return -1;
    info->lag += info->in_flight + info->due + info->waiting;
    return 0;
}

static int one_group(struct store *s, const char *name,
                     int (*f)(const struct group_info *info, void *arg, struct err *e), void *arg,
                     struct err *e)
{
    sqlite3_stmt *q = db_query(
        s, e,
        "SELECT g.grp,patterns,paused,hold,created,ordered,ifnull(sum(done),0),"
        "ifnull(sum(retried),0),ifnull(sum(deferred),0) FROM groups g LEFT JOIN tally USING(grp) "
        "WHERE name=? GROUP BY g.grp",
        "t", name);
    struct pattern_list types = {NULL, 0};
    struct group_info info = {.name = name, .types = &types};
    int got = q == NULL ? -1 : db_row(s, q, e);

    if (got <= 0)
        return got; /* dropped meanwhile */
    int64_t grp = sqlite3_column_int64(q, 0), hold = sqlite3_column_int64(q, 3);
    got = patterns_read(&types, db_text(q, 1), e);
    info.paused = sqlite3_column_int64(q, 2) != 0;
    info.hold_ms = hold > clock_now_ms() ? hold : 0;
    info.created_ms = sqlite3_column_int64(q, 4);
    info.ordered = sqlite3_column_int64(q, 5) != 0;
    info.done = sqlite3_column_int64(q, 6);
    info.retried = sqlite3_column_int64(q, 7);
    info.deferred = sqlite3_column_int64(q, 8);
    db_done(q);
    if (got == 0 && (got = fill_info(s, grp, &info, e)) == 0)
        got = f(&info, arg, e);
    pattern_free(&types);
    return got;
}

/* The names come first: no transaction is open while f writes. */
int group_each(struct store *s, const char *name,
               int (*f)(const struct group_info *info, void *arg, struct err *e), void *arg,
               struct err *e)
{
    struct buf names = BUF_INIT;
    int64_t grp;
    int got = 0;

    if (name != NULL)
        return group_row(s, name, &grp, e) < 0 ? -1 : one_group(s, name, f, arg, e) < 0 ? -1 : 0;
    sqlite3_stmt *q = db_query(s, e, "SELECT name FROM groups ORDER BY name", "");
    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        buf_str(&names, db_text(q, 0));
        buf_char(&names, '\0');
    }
    if (q == NULL)
        got = -1;
    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1)
        got = one_group(s, names.p + at, f, arg, e);
    buf_free(&names);
    return got < 0 ? -1 : 0;
}

static int backlog_of(struct store *s, int64_t grp, int64_t most, int64_t *lag, struct err *e)
{
    struct pattern_list types = {NULL, 0};
    int64_t waiting = 0;
    int got = group_patterns(s, grp, &types, e);

    *lag = 0;
    if (got > 0 && (got = count_in_flight(s, grp, lag, e)) == 0)
        got = db_int(s, e, &waiting,
                     "SELECT count(*) FROM item WHERE grp=? AND (state=0 OR state=2)", "i", grp);
    *lag += waiting;
    if (got >= 0 && *lag <= most)
        got = count_ahead(s, grp, &types, most, lag, e);
    pattern_free(&types);
    return got < 0 ? -1 : 0;
}

int group_backlog(struct store *s, int64_t most, int64_t *lag, struct buf *b, struct err *e)
{
    struct buf name = BUF_INIT;
    int64_t grp = 0, of_one;
    int got;

    *lag = 0;
    do {
        sqlite3_stmt *q = db_query(
            s, e, "SELECT grp,name FROM groups WHERE grp>? ORDER BY grp LIMIT 1", "i", grp);
        if (q == NULL || (got = db_row(s, q, e)) <= 0)
            break;
        grp = sqlite3_column_int64(q, 0);
        buf_reset(&name);
        buf_str(&name, db_text(q, 1));
        db_done(q);
        if ((got = backlog_of(s, grp, most, &of_one, e)) == 0 && of_one > *lag) {
            *lag = of_one;
            buf_reset(b);
            buf_str(b, (struct str){name.p, name.n});
        }
    } while (got >= 0);
    buf_free(&name);
    return got < 0 ? -1 : 0;
}

static int set_paused(struct store *s, const char *name, bool paused, struct err *e)
{
    /* A resume also ends a hold: whoever says so knows that the dependency is back. */
    int got = db_run(s, e,
                     "UPDATE groups SET paused=?1, hold=hold*?1, rev=rev+1 WHERE name=?2 AND "
                     "(paused<>?1 OR (?1=0 AND hold>0))",
                     "it", (int64_t)paused, name);

    return got <= 0 ? got
                    : sys_put(s, paused ? "sys.group.paused" : "sys.group.resumed", name, NULL,
                              json_pack("{s:s}", "group", name), e);
}

int group_pause(struct store *s, const char *name, bool paused, struct err *e)
{
    const struct log_terms terms = {.now_ms = clock_now_ms()};
    int64_t grp;

    if (group_row(s, name, &grp, e) < 0 || append_begin(s, &terms, e) < 0)
        return -1;
    if (set_paused(s, name, paused, e) < 0) {
        log_rollback(s);
        return -1;
    }
    return append_commit(s, true, e);
}

/* A lease counts while its own clock, the boot's, says so. */
int group_idle(struct store *s, int64_t grp, struct err *e)
{
    int64_t alive = 0, leased = 0;
    struct lock_process self;
    struct timespec now;

    if (group_alive(s, grp, &alive, e) < 0)
        return -1;
    if (alive > 0)
        return err_set(e, EX_TEMPFAIL, "it has %lld running consumer%s: end them first",
                       (long long)alive, alive == 1 ? "" : "s");
    lock_self(&self);
    clock_gettime(CLOCK_BOOTTIME, &now);
    if (db_int(s, e, &leased, "SELECT count(*) FROM claim WHERE grp=? AND lease>? AND boot=?",
               "iit", grp, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, self.boot) < 0)
        return -1;
    if (leased > 0)
        return err_set(e, EX_TEMPFAIL,
                       "it has events out on a lease: settle them, or wait until it has run out");
    return 0;
}

static int drop_rows(struct store *s, int64_t grp, struct err *e)
{
    if (group_idle(s, grp, e) < 0)
        return -1;
    return db_run(s, e, "DELETE FROM attempt WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM item WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM claim WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM consumer WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM tally WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM duration WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM cursor WHERE grp=?", "i", grp) < 0 ||
                   db_run(s, e, "DELETE FROM groups WHERE grp=?", "i", grp) < 0
               ? -1
               : 0;
}

int group_drop(struct store *s, const char *name, struct err *e)
{
    int64_t grp;

    if (group_row(s, name, &grp, e) < 0 || db_begin(s, DB_FULL, e) < 0)
        return -1;
    if (drop_rows(s, grp, e) < 0) {
        db_rollback(s);
        return err_at(e, "group %s: ", err_quote_text(name).text);
    }
    return db_commit(s, true, e);
}

/* --------------------------------------------------------------------------------- dead letters */

/* One letter with copies of all it needs, so that no transaction is open while it is shown. */
struct letter {
    struct dead_letter shown;
    struct page page;
    struct dead_attempt *attempt;
    size_t room;
    struct buf bytes; /* of the attempts */
};

static int read_history(struct store *s, int64_t grp, int64_t seq, struct letter *l, struct err *e)
{
    sqlite3_stmt *q = db_query(s, e,
                               "SELECT time,took,status,reason,tail FROM attempt WHERE grp=? AND "
                               "seq=? ORDER BY n",
                               "ii", grp, seq);
    size_t at = 0, n = 0;
    int got = -1;

    buf_reset(&l->bytes);
    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        if (n == l->room)
            l->attempt = mem_grow(l->attempt, l->room += 16, sizeof *l->attempt);
        struct str reason = db_text(q, 3), tail = db_text(q, 4);
        l->attempt[n++] = (struct dead_attempt){.time_ms = sqlite3_column_int64(q, 0),
                                                .took_ms = sqlite3_column_int64(q, 1),
                                                .status = sqlite3_column_int(q, 2),
                                                .reason = {NULL, reason.n},
                                                .tail = {NULL, tail.n}};
        buf_str(&l->bytes, reason);
        buf_str(&l->bytes, tail);
    }
    buf_need(&l->bytes, 1);
    for (size_t i = 0; i < n; i++) { /* the bytes stay where they are from here on */
        l->attempt[i].reason.p = l->bytes.p + at;
        at += l->attempt[i].reason.n;
        l->attempt[i].tail.p = l->bytes.p + at;
        at += l->attempt[i].tail.n;
    }
    l->shown.attempt = l->attempt;
    l->shown.tries = n;
    return got;
}

#define LETTER(on)                                                                                 \
    "SELECT e.seq,recorded,id,source,type,e.subject,sums,line,priority,e.due,expires,version,"     \
    "i.attempts,i.deaths,i.due FROM item i LEFT JOIN event e ON " on                               \
    " WHERE i.grp=? AND i.seq=? AND i.state=3"

/* 1, 0 when it is no longer there, -1. Its history includes what was before a retry. An event whose
   row cannot be read is as good as none. */
static int read_letter(struct store *s, const char *group, int64_t grp, int64_t seq,
                       struct letter *l, struct err *e)
{
    sqlite3_stmt *q = db_query(s, e, LETTER("e.seq=i.seq"), "ii", grp, seq);
    struct log_entry row;
    int got = q == NULL ? -1 : db_row(s, q, e);

    if (got < 0 && log_broken(s, seq, seq, &(int64_t){0}) > 0) {
        err_clear(e);
        q = db_query(s, e, LETTER("0"), "ii", grp, seq);
        got = q == NULL ? -1 : db_row(s, q, e);
    }
    if (got <= 0)
        return got;
    log_entry_read(s, q, &row);
    row.seq = seq;
    row.damaged = log_entry_damaged(q, &row);
    if (row.damaged)
        row.line = (struct str){NULL, 0};
    l->page.n = 0;
    page_add(&l->page, &row);
    l->shown = (struct dead_letter){.group = group,
                                    .event = l->page.entry[0],
                                    .attempts = sqlite3_column_int64(q, LOG_END),
                                    .deaths = sqlite3_column_int64(q, LOG_END + 1),
                                    .died_ms = sqlite3_column_int64(q, LOG_END + 2)};
    db_done(q);
    return read_history(s, grp, seq, l, e) < 0 ? -1 : 1;
}

static bool contains(struct str hay, const char *needle)
{
    return hay.p != NULL && memmem(hay.p, hay.n, needle, strlen(needle)) != NULL;
}

static bool wanted(const struct dead_filter *f, const struct dead_letter *letter)
{
    bool listed = f->seqs == 0;

    for (size_t i = 0; i < f->seqs && !listed; i++)
        listed = f->seq[i] == letter->event.seq;
    if (!listed || (f->subject != NULL && !str_is(letter->event.subject, f->subject)))
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

struct key {
    int64_t grp, seq;
    char *group;
};

#define KEYS 500

static void free_keys(struct key *key, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(key[i].group);
}

/* The next dead letters by group and position, behind a key. */
static int next_keys(struct store *s, const char *only, const struct key *behind, struct key *out,
                     size_t *n, struct err *e)
{
    sqlite3_stmt *q =
        db_query(s, e,
                 "SELECT g.grp,i.seq,g.name FROM groups g CROSS JOIN item i ON "
                 "i.grp=g.grp AND i.state=3 AND (g.name,i.seq)>(?1,?2) WHERE (?3 IS NULL "
                 "OR g.name=?3) AND g.name>=?1 ORDER BY g.name,i.seq LIMIT 500",
                 "tit", behind->group, behind->seq, only);
    int got = -1;

    *n = 0;
    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        struct str name = db_text(q, 2);
        if (memchr(name.p, 0, name.n) != NULL) { /* there is no end behind half a name */
            db_done(q);
            free_keys(out, *n);
            return err_set(e, EX_IOERR, "%s: damaged: the name of group %s", s->path,
                           err_quote(name.p, name.n).text);
        }
        out[(*n)++] = (struct key){sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1),
                                   mem_dup(name.p, name.n)};
    }
    return got;
}

int64_t dead_each(struct store *s, const struct dead_filter *filter,
                  int (*f)(const struct dead_letter *letter, void *arg, struct err *e), void *arg,
                  struct err *e)
{
    struct key page[KEYS], last = {0, 0, mem_dup("", 0)};
    struct letter letter = {0};
    int64_t grp, n = 0;
    size_t keys = 1;
    int got = 0, stop = 0;

    if (filter->group != NULL)
        got = group_row(s, filter->group, &grp, e);
    while (got >= 0 && stop == 0 && keys > 0 &&
           (got = next_keys(s, filter->group, &last, page, &keys, e)) >= 0) {
        for (size_t i = 0; i < keys && got >= 0 && stop == 0; i++) {
            got = read_letter(s, page[i].group, page[i].grp, page[i].seq, &letter, e);
            if (got <= 0 || !wanted(filter, &letter.shown))
                continue;
            n++;
            stop = f(&letter.shown, arg, e);
            if (filter->max != 0 && n == filter->max)
                stop = 1;
        }
        if (keys > 0) {
            free(last.group);
            last = page[keys - 1];
            free_keys(page, keys - 1);
        }
    }
    free(last.group);
    free(letter.attempt);
    buf_free(&letter.bytes);
    page_free(&letter.page);
    return stop < 0 || got < 0 ? -1 : n;
}

static int retry_one(const struct dead_letter *letter, void *store, struct err *e)
{
    int64_t grp = 0;

    if (db_int(store, e, &grp, "SELECT grp FROM groups WHERE name=?", "t", letter->group) < 0 ||
        db_run(store, e,
               "UPDATE item SET state=0,due=?,attempts=0,deaths=0 WHERE grp=? AND seq=? AND "
               "state=3",
               "iii", clock_now_ms(), grp, letter->event.seq) < 0)
        return -1;
    return order_restore(store, grp, letter->event.seq, e);
}

static int drop_one(const struct dead_letter *letter, void *store, struct err *e)
{
    if (db_run(store, e,
               "DELETE FROM attempt WHERE grp=(SELECT grp FROM groups WHERE name=?) AND seq=?",
               "ti", letter->group, letter->event.seq) < 0 ||
        db_run(store, e,
               "DELETE FROM item WHERE grp=(SELECT grp FROM groups WHERE name=?) AND seq=? AND "
               "state=3",
               "ti", letter->group, letter->event.seq) < 0)
        return -1;
    return 0;
}

/* Find and change are one transaction: what is counted is what was changed. dead_each steps from
   key to key with no statement open, so its letters may be changed as they come. */
static int64_t change(struct store *s, const struct dead_filter *filter,
                      int (*f)(const struct dead_letter *letter, void *store, struct err *e),
                      struct err *e)
{
    if (db_begin(s, DB_FULL, e) < 0)
        return -1;
    int64_t n = dead_each(s, filter, f, s, e);
    if (n < 0) {
        db_rollback(s);
        return -1;
    }
    return db_commit(s, true, e) < 0 ? -1 : n;
}

int64_t dead_retry(struct store *s, const struct dead_filter *filter, struct err *e)
{
    return change(s, filter, retry_one, e);
}

int64_t dead_drop(struct store *s, const struct dead_filter *filter, struct err *e)
{
    return change(s, filter, drop_one, e);
}

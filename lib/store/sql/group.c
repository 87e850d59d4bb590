/*
 * Groups at work: open, settle, and where they stand. Claiming is in claim.c.
 */
#include "store/sql/group.h"

#include "base/json.h"
#include "base/json_tree.h"
#include "base/mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_MAX 100 /* attempts remembered for an event */

/* --------------------------------------------------------------------------------- small things */

void notes_add(struct notes *list, int64_t seq, int64_t value)
{
    if (list->n == list->room) {
        list->room = list->room == 0 ? 16 : list->room * 2;
        list->note = mem_grow(list->note, list->room, sizeof *list->note);
    }
    list->note[list->n++] = (struct note){seq, value};
}

void open_encode(struct buf *b, const int64_t *seq, size_t n)
{
    int64_t before = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t delta = (uint64_t)(seq[i] - before);
        for (; delta > 127; delta >>= 7)
            buf_char(b, (char)(delta | 128));
        buf_char(b, (char)delta);
        before = seq[i];
    }
}

size_t open_decode(struct str blob, int64_t **seq)
{
    const unsigned char *p = (const unsigned char *)blob.p;
    uint64_t delta = 0, before = 0;
    size_t n = 0;
    unsigned shift = 0;

    *seq = mem_alloc((blob.n + 1) * sizeof **seq); /* each takes at least one byte */
    for (size_t i = 0; i < blob.n; i++) {
        delta |= (uint64_t)(p[i] & 127) << shift;
        shift += 7;
        if ((p[i] & 128) && shift < 63)
            continue;
        before += delta;
        (*seq)[n++] = (int64_t)before;
        delta = 0;
        shift = 0;
    }
    return n;
}

int patterns_read(struct pattern_list *list, struct str json, struct err *e)
{
    json_t *root = json_loadb(json.p == NULL ? "" : json.p, json.n, 0, NULL), *item;
    size_t i;
    int got = 0;

    json_array_foreach (root, i, item)
        if (got == 0)
            got = pattern_add(list, json_string_value(item) == NULL ? "" : json_string_value(item),
                              e);
    json_decref(root);
    return got;
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

/* hint: what the user can do about it, or "". */
static int unknown_group(struct store *s, const char *name, const char *hint, struct err *e)
{
    struct query *q =
        db_query(s->db, e, SQL("group_unknown_group", "SELECT name FROM groups ORDER BY name"), "");
    struct str wanted = str_of(name);
    struct buf best = BUF_INIT;
    size_t distance = wanted.n / 2 + 1;
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        size_t d = str_distance(wanted, db_text(q, 0));
        if (d >= distance)
            continue;
        distance = d;
        buf_reset(&best);
        buf_str(&best, db_text(q, 0));
    }
    if (got == 0 && best.n > 0)
        err_set(e, EX_NOINPUT, "there is no group %s in %s; did you mean %s?%s",
                err_quote_text(name).text, s->name, err_quote(best.p, best.n).text, hint);
    else if (got == 0)
        err_set(e, EX_NOINPUT, "there is no group %s in %s%s", err_quote_text(name).text, s->name,
                hint);
    buf_free(&best);
    return -1;
}

int group_row(struct store *s, const char *name, int64_t *grp, struct err *e)
{
    int got =
        db_int(s->db, e, grp, SQL("group_row", "SELECT grp FROM groups WHERE name=?"), "t", name);
    return got > 0 ? 0 : got < 0 ? -1 : unknown_group(s, name, "", e);
}

/* Fail if a cursor row is missing, for which a consumer would wait for ever, or lies beyond the
   log's end, so that the group would skip what is published next. A dropped group has no rows,
   which is no error. */
static int no_place(struct store *s, int64_t grp, int priority, struct err *e)
{
    struct query *q =
        db_query(s->db, e, SQL("group_no_place", "SELECT name FROM groups WHERE grp=?"), "i", grp);
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got <= 0)
        return got;
    struct str name = db_text(q, 0);
    err_set(
        e, EX_IOERR,
        "%s: damaged: its table \"cursor\" has no valid position for priority %d of group %s: give "
        "it one with spool group seek",
        s->name, priority, err_quote(name.p, name.n).text);
    db_done(q);
    return -1;
}

int group_cursors(struct store *s, int64_t grp, int64_t cursor[10], struct err *e)
{
    struct query *q = db_query(
        s->db, e, SQL("group_cursors_select_cursor", "SELECT priority,seq FROM cursor WHERE grp=?"),
        "i", grp);
    bool there[10] = {false};
    int64_t last = 0;
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        int64_t priority = db_i64(q, 0);
        if (priority < 0 || priority > 9 || db_kind(q, 1) != DB_INTEGER || db_i64(q, 1) < 0)
            continue;
        cursor[priority] = db_i64(q, 1);
        there[priority] = true;
    }
    /* After the cursors: the log grows, and prune leaves its newest event. */
    if (got == 0)
        got = log_last(s, &last, e);
    for (int i = 0; i < 10 && got >= 0; i++)
        there[i] &= cursor[i] <= last;
    got = got < 0 ? -1 : 0;
    for (int i = 0; i < 10 && got == 0; i++)
        if (!there[i])
            return no_place(s, grp, i, e);
    return got;
}

int64_t group_passed(const int64_t cursor[10], int64_t priority)
{
    return cursor[priority >= 0 && priority <= 9 ? priority : EVENT_PRIORITY];
}

int seq_compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A growing list of positions. */
struct positions {
    int64_t *seq;
    size_t n, room;
};

static void add_position(struct positions *p, int64_t seq)
{
    if (p->n == p->room) {
        p->room = p->room == 0 ? 64 : p->room * 2;
        p->seq = mem_grow(p->seq, p->room, sizeof *p->seq);
    }
    p->seq[p->n++] = seq;
}

static int add_claimed(struct store *s, int64_t grp, struct positions *all, struct err *e)
{
    struct query *q = db_query(
        s->db, e, SQL("group_add_claimed", "SELECT open FROM claim WHERE grp=?"), "i", grp);
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 0), &open);
        for (size_t i = 0; i < n; i++)
            add_position(all, open[i]);
        free(open);
    }
    return got;
}

int group_remembered(struct store *s, int64_t grp, bool due, int64_t **seq, size_t *n,
                     struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("group_remembered", "SELECT seq FROM item i WHERE grp=?1 AND ((state=0 AND (due<=?2 OR "
                                "?3)) OR (state=2 AND ?3)) AND NOT " ITEM_EXPIRED("?2")),
        "iii", grp, clock_now_ms(), (int64_t)!due);
    struct positions all = {NULL, 0, 0};
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0)
        add_position(&all, db_i64(q, 0));
    if (got == 0 && !due)
        got = add_claimed(s, grp, &all, e);
    if (all.n > 1)
        qsort(all.seq, all.n, sizeof *all.seq, seq_compare);
    *seq = all.seq;
    *n = all.n;
    return got;
}

/* ----------------------------------------------------------------------------------------- open */

int group_patterns(struct store *s, int64_t grp, struct pattern_list *list, struct err *e)
{
    struct query *q = db_query(
        s->db, e, SQL("group_patterns", "SELECT patterns FROM groups WHERE grp=?"), "i", grp);
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got <= 0)
        return got;
    got = patterns_read(list, db_text(q, 0), e);
    db_done(q);
    return got < 0 ? -1 : 1;
}

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
    g->created = got > 0;
    buf_free(&patterns);
    if (got > 0)
        got = db_run(s->db, e,
                     SQL("group_create_group_insert_cursor",
                         "INSERT INTO cursor(grp,priority,seq) SELECT g.grp,p.value,? FROM "
                         "groups g, json_each('[0,1,2,3,4,5,6,7,8,9]') p WHERE g.name=?"),
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
        got = unknown_group(s, g->name, terms->hint == NULL ? "" : terms->hint, e);
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

bool group_created(const struct group *g)
{
    return g->created;
}

int group_mark_seen(struct group *g, struct err *e)
{
    return db_run(g->s->db, e, SQL("group_mark_seen", "UPDATE groups SET seen=? WHERE grp=?"), "ii",
                  clock_now_ms(), g->grp);
}

static void free_claims(struct claim *c)
{
    while (c != NULL) {
        struct claim *next = c->next;
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
    lease_free(g);
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

int attempt_add(struct group *g, int64_t seq, const struct group_settle *s, struct err *e)
{
    struct str reason = str_of(s->reason == NULL ? "" : s->reason);

    if (db_run(
            g->s->db, e,
            SQL("group_attempt_add_insert_attempt",
                "INSERT INTO attempt(grp,seq,n,time,took,status,reason,tail) SELECT "
                "?1,?2,coalesce(max(n),0)+1,?3,?4,?5,?6,?7 FROM attempt WHERE grp=?1 AND seq=?2"),
            "iiiiisb", g->grp, seq, s->started_ms, s->took_ms < 0 ? 0 : s->took_ms,
            (int64_t)s->status, reason, s->tail) < 0)
        return -1;
    return db_run(g->s->db, e,
                  SQL("group_attempt_add_delete_attempt",
                      "DELETE FROM attempt WHERE grp=?1 AND seq=?2 AND n<=(SELECT max(n) FROM "
                      "attempt WHERE grp=?1 AND seq=?2)-?3"),
                  "iii", g->grp, seq, (int64_t)HISTORY_MAX);
}

struct str claim_open(const struct claim *c, struct buf *b, int64_t *first)
{
    int64_t *seq = mem_alloc((c->n + 1) * sizeof *seq);
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++)
        if (c->held[i].open)
            seq[n++] = c->page.entry[i].seq;
    qsort(seq, n, sizeof *seq, seq_compare);
    *first = n > 0 ? seq[0] : 0;
    buf_reset(b);
    open_encode(b, seq, n);
    free(seq);
    return (struct str){b->p, b->n};
}

void claim_spare(struct group *g, struct claim *c)
{
    c->next = g->spare;
    g->spare = c;
}

int item_forget(struct store *s, int64_t grp, bool ordered, int64_t seq, struct err *e)
{
    int attempts, items;

    /* Before deleting the row, which has the subject. */
    if ((ordered && order_free(s, grp, seq, e) < 0) ||
        (attempts = db_run(
             s->db, e,
             SQL("group_item_forget_delete_attempt", "DELETE FROM attempt WHERE grp=? AND seq=?"),
             "ii", grp, seq)) < 0 ||
        (items =
             db_run(s->db, e,
                    SQL("group_item_forget_delete_item", "DELETE FROM item WHERE grp=? AND seq=?"),
                    "ii", grp, seq)) < 0)
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
    if (db_run(g->s->db, e,
               SQL("group_settle_item",
                   "INSERT INTO item(grp,seq,state,due,attempts,deaths,subject) VALUES(?1,?2,?3,"
                   "CASE ?3 WHEN 3 THEN ?4 ELSE " ITEM_DUE("?2", "?4") " END,?5,0," ITEM_SUBJECT(
                       "?2", "?6") ") ON CONFLICT(grp,seq) DO "
                                   "UPDATE SET state=?3,due=excluded.due,attempts=attempts+?5"),
               "iiiiii", g->grp, seq,
               (int64_t)(s->outcome == GROUP_DEAD ? ITEM_DEAD : ITEM_WAITING),
               s->outcome == GROUP_DEAD ? clock_now_ms() : s->due_ms, (int64_t)attempt,
               (int64_t)g->ordered) < 0)
        return -1;
    if (!g->ordered)
        return 0;
    return s->outcome == GROUP_DEAD ? order_free(g->s, g->grp, seq, e)
                                    : order_place(g->s, g->grp, seq, e);
}

/* Remove the settled events from the claim's row, which must still exist and be ours. */
static int settle_claim(struct group *g, const struct claim *c, struct err *e)
{
    struct buf b = BUF_INIT;
    int64_t first;
    int got;

    if (c->open == 0) {
        got = db_run(
            g->s->db, e,
            SQL("group_settle_claim_delete_claim", "DELETE FROM claim WHERE claim=? AND owner=?"),
            "ii", c->id, g->hand);
    } else {
        struct str open = claim_open(c, &b, &first);
        got = db_run(g->s->db, e,
                     SQL("group_settle_claim_update_claim",
                         "UPDATE claim SET first=?,open=? WHERE claim=? AND owner=?"),
                     "ibii", first, open, c->id, g->hand);
        buf_free(&b);
    }
    if (got == 0)
        return err_set(e, EX_TEMPFAIL,
                       "a claim of group %s was taken over: other consumers have its "
                       "events now",
                       err_quote_text(g->name).text);
    return got;
}

static void forget_settled(struct group *g)
{
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

bool tells_of_death(const struct group_settle *s, struct str type)
{
    return s->outcome == GROUP_DEAD && !sys_type(type);
}

/* A transaction that appends is flushed: a log that lost an event would reuse its position. */
static int begin_settle(struct group *g, const struct group_settle *settle, size_t n, struct err *e)
{
    const struct log_terms terms = {.now_ms = clock_now_ms()};
    bool appends = false;

    if (g->s->appending)
        return 0;
    for (size_t i = 0; i < n; i++)
        appends |= tells_of_death(&settle[i], settle[i].event->entry.type);
    return appends ? append_begin(g->s, &terms, e) : db_begin(g->s->db, DB_NORMAL, e);
}

int death_tell(struct group *g, const struct log_entry *event, int64_t attempts, int status,
               const char *reason, struct err *e)
{
    struct str why = str_of(reason == NULL ? "" : reason);

    return sys_put(g->s, "sys.dead-lettered", g->name, event->damaged ? NULL : event,
                   json_pack("{s:o,s:I,s:o,s:o,s:I,s:i,s:o}", "group", tree_text(str_of(g->name)),
                             "seq", (json_int_t)event->seq, "id", tree_text(event->id), "type",
                             tree_text(event->type), "attempts", (json_int_t)attempts, "status",
                             status, "reason", tree_text(why)),
                   e);
}

/* Report the death of an event that nobody settled. */
int death_tell_seq(struct group *g, int64_t seq, const char *reason, struct err *e)
{
    struct query *q =
        db_query(g->s->db, e,
                 SQL("group_death_tell_seq",
                     "SELECT " LOG_COLUMNS ",coalesce((SELECT attempts FROM item WHERE "
                     "grp=?1 AND item.seq=event.seq),0) FROM event WHERE seq=?2"),
                 "ii", g->grp, seq);
    struct page copy = {NULL, 0, BUF_INIT};
    struct log_entry row;
    int got = q == NULL ? -1 : db_row(g->s->db, q, e);

    if (got <= 0)
        return got;
    log_entry_read(g->s, q, &row);
    row.damaged = log_entry_damaged(q, &row);
    page_add(&copy, &row);
    int64_t attempts = db_i64(q, LOG_END);
    db_done(q);
    if (!sys_type(copy.entry[0].type))
        got = death_tell(g, &copy.entry[0], attempts, 0, reason, e);
    page_free(&copy);
    return got;
}

static int tell_death(struct group *g, const struct group_settle *s, struct err *e)
{
    return death_tell(g, &s->event->entry, s->event->attempts + 1, s->status, s->reason, e);
}

static int settle_one(struct group *g, const struct group_settle *s, struct err *e)
{
    struct held *h = held_of(s->event);

    if (!h->claim->written && settle_claim(g, h->claim, e) < 0)
        return -1;
    h->claim->written = true;
    tally_add(&g->tallies, s->event->entry.type, s);
    if (settle_item(g, s->event->entry.seq, h->item, s, e) < 0)
        return -1;
    return tells_of_death(s, s->event->entry.type) ? tell_death(g, s, e) : 0;
}

int group_settle(struct group *g, const struct group_settle *settle, size_t n, struct err *e)
{
    bool ring = false, failed = false;

    if (n == 0)
        return g->s->appending ? log_commit(g->s, e) : 0;
    if (begin_settle(g, settle, n, e) < 0)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct held *h = held_of(settle[i].event);
        h->open = false;
        h->claim->written = false;
        h->claim->open--;
        g->held--;
        ring |= settle[i].outcome != GROUP_DONE && settle[i].outcome != GROUP_DROP;
    }
    for (size_t i = 0; i < n && !failed; i++)
        failed = settle_one(g, &settle[i], e) < 0;
    if (failed || tally_write(g, &g->tallies, e) < 0) {
        log_rollback(g->s);
        return -1;
    }
    if ((g->s->appending ? append_commit(g->s, ring, e) : db_commit(g->s->db, ring, e)) < 0)
        return -1;
    forget_settled(g);
    return 0;
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
    if (db_run(g->s->db, e, SQL("group_hold", "UPDATE groups SET hold=max(hold,?) WHERE grp=?"),
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
                   "SELECT min(due) FROM item INDEXED BY item_due WHERE grp=? AND state=0 AND "
                   "due>? AND seq<=?"),
               "iii", g->grp, now, last) < 0)
        return -1;
    out->paused = paused != 0;
    out->hold_ms = hold > now ? hold : 0;
    out->standby = g->ordered && !g->leads;
    out->orphans = g->ordered && g->leads && !g->active;
    return count_elsewhere(g, last, &out->elsewhere, e);
}

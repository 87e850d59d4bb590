/*
 * Groups at work: open, claim, settle, take over.
 *
 * A claim is prepared outside the write lock, where patterns are matched and lines copied, and
 * taken inside, where every statement asks whether what was seen still holds; if not, all is
 * thrown away and prepared anew. A group's rev, its cursors and the state of each item are those
 * questions.
 */
#include "sqlite_priv.h"

#include "json.h"
#include "mem.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SCAN_EVENTS 50000 /* passed without a match before the cursor is moved */
#define HISTORY_MAX 100   /* attempts remembered of one event */

enum { ITEM_WAITING = 0, ITEM_CLAIMED = 1, ITEM_DEAD = 3 };

struct held {
    struct group_event shown; /* first: the caller's pointer is ours */
    struct claim *claim;
    bool item; /* it has a row in item */
    bool open;
};

struct claim {
    struct claim *next;
    int64_t id;
    struct page page;
    struct held *held;
    size_t n, open, room;
    bool written; /* its row, in the settle that goes on */
};

struct note {
    int64_t seq, value;
};

struct notes {
    struct note *note;
    size_t n, room;
};

struct group {
    struct store *s;
    char *name;
    int64_t grp, rev, attempts, owner, damaged;
    struct pattern_list types;
    bool created, joined;
    struct claim *claims, *spare;
    struct group_event **given;
    size_t given_room;
    size_t held; /* open events in all claims */
    bool alone;  /* one of them must be the only one */

    /* what a claim in preparation will do, besides the events in it */
    int64_t cursor[10], moved[10];
    struct notes later;   /* passed before their time: seq, due */
    struct notes damage;  /* damaged: seq, 1 if it is an item */
    struct notes gone;    /* items whose event is no longer there */
    struct notes dying;   /* items whose consumers died too often */
};

/* ---------------------------------------------------------------------------------- small things */

static void note(struct notes *list, int64_t seq, int64_t value)
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

    *seq = mem_alloc((blob.n + 1) * sizeof **seq); /* each takes a byte at least */
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

    json_array_foreach(root, i, item)
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

static int unknown_group(struct store *s, const char *name, struct err *e)
{
    sqlite3_stmt *q = db_query(s, e, "SELECT name FROM groups ORDER BY name", "");
    struct str wanted = str_of(name), best = {NULL, 0};
    struct buf kept = BUF_INIT;
    size_t distance = wanted.n / 2 + 1;
    int got = -1;

    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        size_t d = str_distance(wanted, db_text(q, 0));
        if (d >= distance)
            continue;
        distance = d;
        buf_reset(&kept);
        buf_str(&kept, db_text(q, 0));
        best = (struct str){kept.p, kept.n};
    }
    if (got == 0 && best.p != NULL)
        err_set(e, EX_NOINPUT, "there is no group %s in %s; did you mean %s? (--from creates one)",
                err_quote_text(name).text, s->path, err_quote(best.p, best.n).text);
    else if (got == 0)
        err_set(e, EX_NOINPUT, "there is no group %s in %s (--from creates one)",
                err_quote_text(name).text, s->path);
    buf_free(&kept);
    return -1;
}

int group_row(struct store *s, const char *name, int64_t *grp, struct err *e)
{
    int got = db_int(s, e, grp, "SELECT grp FROM groups WHERE name=?", "t", name);
    return got > 0 ? 0 : got < 0 ? -1 : unknown_group(s, name, e);
}

int group_cursors(struct store *s, int64_t grp, int64_t cursor[10], struct err *e)
{
    sqlite3_stmt *q = db_query(s, e, "SELECT priority,seq FROM cursor WHERE grp=?", "i", grp);
    int got = -1;

    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        int64_t priority = sqlite3_column_int64(q, 0);
        if (priority >= 0 && priority <= 9)
            cursor[priority] = sqlite3_column_int64(q, 1);
    }
    return got;
}

static int compare_seq(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int group_remembered(struct store *s, int64_t grp, int64_t **seq, size_t *n, struct err *e)
{
    sqlite3_stmt *q = db_query(s, e, "SELECT seq FROM item WHERE grp=? AND state=0", "i", grp);
    struct notes all = {NULL, 0, 0};
    int got = -1;

    while (q != NULL && (got = db_row(s, q, e)) > 0)
        note(&all, sqlite3_column_int64(q, 0), 0);
    q = got < 0 ? NULL : db_query(s, e, "SELECT open FROM claim WHERE grp=?", "i", grp);
    got = -1;
    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        int64_t *open;
        size_t count = open_decode(db_text(q, 0), &open);
        for (size_t i = 0; i < count; i++)
            note(&all, open[i], 0);
        free(open);
    }
    *n = all.n;
    *seq = mem_alloc((all.n + 1) * sizeof **seq);
    for (size_t i = 0; i < all.n; i++)
        (*seq)[i] = all.note[i].seq;
    qsort(*seq, all.n, sizeof **seq, compare_seq);
    free(all.note);
    return got;
}

/* ----------------------------------------------------------------------------------------- open */

int group_patterns(struct store *s, int64_t grp, struct pattern_list *list, struct err *e)
{
    sqlite3_stmt *q = db_query(s, e, "SELECT patterns FROM groups WHERE grp=?", "i", grp);
    int got = q == NULL ? -1 : db_row(s, q, e);

    if (got <= 0)
        return got;
    got = patterns_read(list, db_text(q, 0), e);
    db_done(q);
    return got < 0 ? -1 : 1;
}

static int dropped(const struct group *g, struct err *e)
{
    return err_set(e, EX_TEMPFAIL, "group %s was dropped", err_quote_text(g->name).text);
}

static int load_patterns(struct group *g, struct err *e)
{
    pattern_free(&g->types);
    g->types = (struct pattern_list){NULL, 0};
    int got = group_patterns(g->s, g->grp, &g->types, e);
    return got > 0 ? 0 : got < 0 ? -1 : dropped(g, e);
}

static int create_group(struct group *g, const struct group_terms *terms, struct err *e)
{
    struct store *s = g->s;
    struct buf patterns = BUF_INIT;
    int64_t start;
    int got;

    if (log_point(s, terms->from, &start, e) < 0)
        return -1;
    patterns_write(&terms->types, &patterns);
    if (db_begin(s, DB_FULL, e) < 0) {
        buf_free(&patterns);
        return -1;
    }
    got = db_run(s, e, "INSERT INTO groups(name,patterns,ordered,rev,paused,hold,created) "
                 "VALUES(?,?,0,0,0,0,?) ON CONFLICT(name) DO NOTHING", "tsi", g->name,
                 (struct str){patterns.p, patterns.n}, clock_now_ms());
    g->created = got > 0;
    buf_free(&patterns);
    if (got > 0)
        got = db_run(s, e, "INSERT INTO cursor(grp,priority,seq) SELECT g.grp,p.value,? FROM "
                     "groups g, json_each('[0,1,2,3,4,5,6,7,8,9]') p WHERE g.name=?", "it",
                     start - 1, g->name);
    if (got < 0) {
        db_rollback(s);
        return -1;
    }
    return db_commit(s, false, e);
}

static int check_patterns(struct group *g, const struct group_terms *terms, struct err *e)
{
    struct buf has = BUF_INIT;

    if (terms->types.n == 0 || pattern_same(&terms->types, &g->types))
        return 0;
    for (size_t i = 0; i < g->types.n; i++)
        buf_printf(&has, "%s-t '%s'", i == 0 ? "" : " ", g->types.item[i]);
    err_set(e, EX_USAGE, "group %s exists with other patterns (%s): leave out -t, or take another "
            "name", err_quote_text(g->name).text, has.n == 0 ? "-t '#'" : buf_text(&has));
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
    got = db_int(s, e, &g->grp, "SELECT grp FROM groups WHERE name=?", "t", g->name);
    if (got == 0 && terms->from == NULL)
        got = unknown_group(s, g->name, e);
    else if (got == 0)
        got = create_group(g, terms, e);
    if (got >= 0) {
        g->rev = -1;
        got = group_row(s, g->name, &g->grp, e);
        if (got == 0 && (got = load_patterns(g, e)) == 0)
            got = check_patterns(g, terms, e);
        if (got == 0)
            got = group_cursors(s, g->grp, g->cursor, e);
    }
    if (got < 0) {
        group_close(g);
        *out = NULL;
        return -1;
    }
    return 0;
}

bool group_created(const struct group *g)
{
    return g->created;
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
    if (g->joined && g->held == 0 && db_begin(g->s, DB_NORMAL, &ignored) == 0) {
        db_run(g->s, &ignored, "DELETE FROM consumer WHERE owner=? AND NOT EXISTS(SELECT 1 FROM "
               "claim WHERE claim.owner=consumer.owner)", "i", g->owner);
        db_commit(g->s, false, &ignored);
    }
    if (g->owner != 0)
        lock_drop(g->s, g->owner);
    free_claims(g->claims);
    free_claims(g->spare);
    free(g->given);
    free(g->later.note);
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

/* ------------------------------------------------------------------------------------ takeover */

struct other {
    int64_t owner;
    struct lock_process process;
};

static bool other_lives(struct store *s, const struct other *o, bool trusted)
{
    if (!lock_free(s, o->owner))
        return true;
    return !trusted && lock_process_lives(&o->process);
}

/* The other consumers of a group (0: of all), into a block that is the caller's to free. */
static int others(struct store *s, int64_t grp, int64_t self, struct other **list, size_t *n,
                  struct err *e)
{
    sqlite3_stmt *q = db_query(s, e, "SELECT owner,pid,started,boot FROM consumer WHERE "
                               "(grp=?1 OR ?1=0) AND owner<>?2", "ii", grp, self);
    size_t room = 0;
    int got = -1;

    *list = NULL;
    *n = 0;
    while (q != NULL && (got = db_row(s, q, e)) > 0) {
        if (*n == room)
            *list = mem_grow(*list, room += 16, sizeof **list);
        struct other *o = &(*list)[(*n)++];
        struct str boot = db_text(q, 3);
        *o = (struct other){.owner = sqlite3_column_int64(q, 0)};
        o->process.pid = sqlite3_column_int64(q, 1);
        o->process.started = sqlite3_column_int64(q, 2);
        memcpy(o->process.boot, boot.p, boot.n < 39 ? boot.n : 39);
    }
    return got;
}

static int remember_death(struct group *g, int64_t seq, int64_t now, struct err *e)
{
    /* From the second death on it counts as an attempt, and goes on record as one. */
    if (db_run(g->s, e, "INSERT INTO attempt(grp,seq,n,time,took,status,reason,tail) SELECT "
               "grp,seq,(SELECT coalesce(max(n),0)+1 FROM attempt WHERE grp=?1 AND seq=?2),?3,0,0,"
               "'its consumer died',x'' FROM item WHERE grp=?1 AND seq=?2 AND deaths>0",
               "iii", g->grp, seq, now) < 0)
        return -1;
    return db_run(g->s, e, "INSERT INTO item(grp,seq,state,due,attempts,deaths) VALUES(?1,?2,0,?3,0,"
                  "1) ON CONFLICT(grp,seq) DO UPDATE SET state=0,due=?3,deaths=deaths+1,"
                  "attempts=attempts+(deaths>0)", "iii", g->grp, seq, now);
}

/* Inside a transaction: the claims of a dead owner go back to the group. */
static int inherit(struct group *g, int64_t owner, int64_t now, struct err *e)
{
    struct notes all = {NULL, 0, 0};
    sqlite3_stmt *q = db_query(g->s, e, "SELECT open FROM claim WHERE owner=?", "i", owner);
    int got = -1;

    while (q != NULL && (got = db_row(g->s, q, e)) > 0) {
        int64_t *open;
        size_t n = open_decode(db_text(q, 0), &open);
        for (size_t i = 0; i < n; i++)
            note(&all, open[i], 0);
        free(open);
    }
    for (size_t i = 0; i < all.n && got >= 0; i++)
        got = remember_death(g, all.note[i].seq, now, e);
    free(all.note);
    if (got < 0 || db_run(g->s, e, "DELETE FROM claim WHERE owner=?", "i", owner) < 0 ||
        db_run(g->s, e, "DELETE FROM consumer WHERE owner=?", "i", owner) < 0)
        return -1;
    return 0;
}

/* Take over from consumers of this group that have died. */
static int take_over(struct group *g, struct err *e)
{
    struct other *list;
    size_t n, dead = 0;
    int got, trusted;

    got = others(g->s, g->grp, g->owner, &list, &n, e);
    if (got == 0 && n > 0 && lock_open(g->s, e) == 0 && (trusted = lock_trusted(g->s, e)) >= 0) {
        for (size_t i = 0; i < n; i++)
            if (!other_lives(g->s, &list[i], trusted))
                list[dead++] = list[i];
        if (dead > 0 && (got = db_begin(g->s, DB_NORMAL, e)) == 0) {
            int64_t now = clock_now_ms();
            for (size_t i = 0; i < dead && got == 0; i++)
                got = inherit(g, list[i].owner, now, e);
            if (got == 0)
                got = db_commit(g->s, true, e);
            else
                db_rollback(g->s);
        }
    } else if (n > 0) {
        got = -1;
    }
    free(list);
    return got;
}

/* Inside a transaction: when nobody lives who could hold another lock file, ours becomes the one. */
static int adopt_lock_file(struct group *g, struct err *e)
{
    struct other *list;
    size_t n;
    int got = lock_trusted(g->s, e);

    if (got != 0)
        return got < 0 ? -1 : 0;
    if (others(g->s, 0, g->owner, &list, &n, e) < 0)
        return -1;
    bool lives = false;
    for (size_t i = 0; i < n; i++)
        lives |= lock_free(g->s, list[i].owner) && lock_process_lives(&list[i].process);
    free(list);
    return lives ? 0 : lock_adopt(g->s, e);
}

/* ----------------------------------------------------------------------------- prepare a claim */

static struct claim *new_claim(struct group *g, size_t max)
{
    struct claim *c = g->spare;

    if (c != NULL)
        g->spare = c->next;
    else
        c = mem_zero(1, sizeof *c);
    if (c->room < max) {
        c->held = mem_grow(c->held, max, sizeof *c->held);
        c->room = max;
    }
    c->next = NULL;
    c->n = c->open = c->page.n = 0;
    return c;
}

static void spare_claim(struct group *g, struct claim *c)
{
    c->next = g->spare;
    g->spare = c;
}

static bool add_held(struct claim *c, size_t max, const struct log_entry *row, bool item,
                     int64_t attempts, int64_t deaths)
{
    if (c->n == max || !page_add(&c->page, row))
        return false;
    c->held[c->n++] = (struct held){.shown = {.attempts = attempts, .deaths = deaths},
                                    .claim = c, .item = item, .open = true};
    return true;
}

/* An item's event, if it is still there. False when the claim is full. */
static bool add_item(struct group *g, struct claim *c, size_t max, sqlite3_stmt *q, int64_t seq,
                     int64_t attempts, int64_t deaths)
{
    struct log_entry row;

    log_entry_read(q, &row);
    if (log_entry_damaged(q, &row)) {
        note(&g->damage, seq, 1);
        return true;
    }
    return add_held(c, max, &row, true, attempts, deaths);
}

/* Items that are due. What has killed its consumers twice is taken only by itself. */
static int add_items(struct group *g, struct claim *c, size_t max, int64_t last, int64_t now,
                     struct err *e)
{
    sqlite3_stmt *q = db_query(g->s, e, "SELECT seq,attempts,deaths FROM item WHERE grp=? AND "
                               "state=0 AND due<=? AND seq<=? ORDER BY due,seq", "iii", g->grp, now,
                               last);
    int got = -1;

    while (q != NULL && (got = db_row(g->s, q, e)) > 0) {
        int64_t seq = sqlite3_column_int64(q, 0), attempts = sqlite3_column_int64(q, 1),
                deaths = sqlite3_column_int64(q, 2);
        if (deaths > 1 && attempts >= g->attempts) {
            note(&g->dying, seq, 0);
            continue;
        }
        if (c->n == max || (deaths > 1 && (g->held > 0 || c->n > 0)))
            break;
        sqlite3_stmt *event = db_query(g->s, e, "SELECT " LOG_COLUMNS " FROM event WHERE seq=?", "i",
                                       seq);
        got = event == NULL ? -1 : db_row(g->s, event, e);
        if (got < 0)
            break;
        if (got == 0)
            note(&g->gone, seq, 0);
        else if (!add_item(g, c, max, event, seq, attempts, deaths))
            got = 0;
        db_done(event);
        if (deaths > 1 && c->n > 0) {
            g->alone = true;
            break;
        }
        if (c->n == max)
            break;
    }
    db_done(q);
    return got < 0 ? -1 : 0;
}

/* One event of the log behind a cursor. False when the claim is full before it. */
static bool add_event(struct group *g, struct claim *c, size_t max, sqlite3_stmt *q, int64_t now)
{
    struct log_entry row;
    int64_t due, expires;

    log_entry_read(q, &row);
    if (!pattern_any(&g->types, row.type))
        return true;
    due = sqlite3_column_int64(q, 9);
    expires = sqlite3_column_int64(q, 10);
    if (expires != 0 && expires <= now)
        return true;
    if (due > now)
        note(&g->later, row.seq, due);
    else if (log_entry_damaged(q, &row))
        note(&g->damage, row.seq, 0);
    else
        return add_held(c, max, &row, false, 0, 0);
    return true;
}

#define CLAIM_COLUMNS LOG_COLUMNS ",priority,due,expires"

/* Events of one priority behind its cursor. Returns how many were passed, or -1. */
static int add_events(struct group *g, struct claim *c, size_t max, int priority, int64_t last,
                      int64_t now, struct err *e)
{
    int64_t at = g->moved[priority];
    sqlite3_stmt *q = priority == EVENT_PRIORITY
        ? db_query(g->s, e, "SELECT " CLAIM_COLUMNS " FROM event WHERE seq>? AND seq<=? ORDER BY seq "
                   "LIMIT 1000", "ii", at, last)
        : db_query(g->s, e, "SELECT " CLAIM_COLUMNS " FROM event INDEXED BY event_priority WHERE "
                   "seq>? AND seq<=? AND priority=? AND priority<>5 ORDER BY seq LIMIT 1000", "iii",
                   at, last, (int64_t)priority);
    int got = -1, passed = 0;

    while (q != NULL && c->n < max && (got = db_row(g->s, q, e)) > 0) {
        if (sqlite3_column_int64(q, 8) == priority && !add_event(g, c, max, q, now))
            break;
        g->moved[priority] = sqlite3_column_int64(q, 0);
        passed++;
    }
    if (q == NULL || (got < 0 && c->n < max))
        return -1;
    db_done(q);
    return passed;
}

/* 1 something to commit, 0 nothing at all, -1. */
static int prepare(struct group *g, struct claim *c, size_t max, int64_t last, struct err *e)
{
    int64_t now = clock_now_ms(), prioritised = 0;
    int passed = 0, scanned = 0;

    g->later.n = g->damage.n = g->gone.n = g->dying.n = 0;
    if (group_cursors(g->s, g->grp, g->cursor, e) < 0)
        return -1;
    memcpy(g->moved, g->cursor, sizeof g->moved);
    if (add_items(g, c, max, last, now, e) < 0 ||
        db_int(g->s, e, &prioritised, "SELECT 1 FROM event INDEXED BY event_priority WHERE "
               "priority<>5 LIMIT 1", "") < 0)
        return -1;
    for (int p = 0; p < 10 && c->n < max && !g->alone; p++) {
        if (p != EVENT_PRIORITY && !prioritised)
            continue;
        do {
            if ((passed = add_events(g, c, max, p, last, now, e)) < 0)
                return -1;
            scanned += passed;
        } while (passed == 1000 && c->n < max && c->page.n == c->n && scanned < SCAN_EVENTS);
    }
    return c->n > 0 || g->later.n > 0 || g->damage.n > 0 || g->gone.n > 0 || g->dying.n > 0 ||
           memcmp(g->moved, g->cursor, sizeof g->moved) != 0;
}

/* -------------------------------------------------------------------------------- take a claim */

/* Each returns 1, 0 when what was seen no longer holds, -1. */
static int take_group(struct group *g, int64_t now, struct err *e)
{
    int64_t one;
    return db_int(g->s, e, &one, "SELECT 1 FROM groups WHERE grp=? AND rev=? AND paused=0 AND hold<=?",
                  "iii", g->grp, g->rev, now);
}

static int take_cursors(struct group *g, struct err *e)
{
    int got = 1;

    for (int i = 0; i < 10 && got > 0; i++)
        if (g->moved[i] != g->cursor[i])
            got = db_run(g->s, e, "UPDATE cursor SET seq=? WHERE grp=? AND priority=? AND seq=?",
                         "iiii", g->moved[i], g->grp, (int64_t)i, g->cursor[i]);
    return got;
}

static int set_dead(struct group *g, int64_t seq, int64_t now, struct err *e)
{
    return db_run(g->s, e, "INSERT INTO item(grp,seq,state,due,attempts,deaths) VALUES(?,?,3,?3,0,0) "
                  "ON CONFLICT(grp,seq) DO UPDATE SET state=3,due=?3", "iii", g->grp, seq, now);
}

static int add_attempt(struct group *g, int64_t seq, const struct group_settle *s, struct err *e)
{
    struct str reason = str_of(s->reason == NULL ? "" : s->reason);

    if (db_run(g->s, e, "INSERT INTO attempt(grp,seq,n,time,took,status,reason,tail) SELECT "
               "?1,?2,coalesce(max(n),0)+1,?3,?4,?5,?6,?7 FROM attempt WHERE grp=?1 AND seq=?2",
               "iiiiisb", g->grp, seq, s->started_ms, s->took_ms, (int64_t)s->status, reason,
               s->tail) < 0)
        return -1;
    return db_run(g->s, e, "DELETE FROM attempt WHERE grp=?1 AND seq=?2 AND n<=(SELECT max(n) FROM "
                  "attempt WHERE grp=?1 AND seq=?2)-?3", "iii", g->grp, seq, (int64_t)HISTORY_MAX);
}

static int take_notes(struct group *g, int64_t now, struct err *e)
{
    struct group_settle damaged = {.started_ms = now, .reason = "damaged in the spool"};

    for (size_t i = 0; i < g->later.n; i++)
        if (db_run(g->s, e, "INSERT INTO item(grp,seq,state,due,attempts,deaths) "
                   "VALUES(?,?,0,?,0,0)", "iii", g->grp, g->later.note[i].seq,
                   g->later.note[i].value) < 0)
            return -1;
    for (size_t i = 0; i < g->damage.n; i++)
        if (set_dead(g, g->damage.note[i].seq, now, e) < 0 ||
            add_attempt(g, g->damage.note[i].seq, &damaged, e) < 0)
            return -1;
    for (size_t i = 0; i < g->gone.n; i++)
        if (db_run(g->s, e, "DELETE FROM item WHERE grp=? AND seq=? AND state=0", "ii", g->grp,
                   g->gone.note[i].seq) < 0)
            return -1;
    for (size_t i = 0; i < g->dying.n; i++)
        if (db_run(g->s, e, "UPDATE item SET state=3,due=? WHERE grp=? AND seq=? AND state=0", "iii",
                   now, g->grp, g->dying.note[i].seq) < 0)
            return -1;
    return 1;
}

static int take_items(struct group *g, struct claim *c, struct err *e)
{
    int got = 1;

    for (size_t i = 0; i < c->n && got > 0; i++)
        if (c->held[i].item)
            got = db_run(g->s, e, "UPDATE item SET state=1 WHERE grp=? AND seq=? AND state=0", "ii",
                         g->grp, c->page.entry[i].seq);
    return got;
}

static struct str encode(const struct claim *c, struct buf *b, int64_t *first)
{
    int64_t *seq = mem_alloc((c->n + 1) * sizeof *seq);
    size_t n = 0;

    for (size_t i = 0; i < c->n; i++)
        if (c->held[i].open)
            seq[n++] = c->page.entry[i].seq;
    qsort(seq, n, sizeof *seq, compare_seq);
    *first = n > 0 ? seq[0] : 0;
    buf_reset(b);
    open_encode(b, seq, n);
    free(seq);
    return (struct str){b->p, b->n};
}

/* The lock comes before the row: a row whose lock is free is a dead consumer's. */
static int join(struct group *g, struct err *e)
{
    struct lock_process self;

    if (g->joined)
        return 1;
    if (adopt_lock_file(g, e) < 0)
        return -1;
    lock_self(&self);
    return db_run(g->s, e, "INSERT INTO consumer(owner,pid,started,boot,grp) VALUES(?,?,?,?,?)",
                  "iiiti", g->owner, self.pid, self.started, self.boot, g->grp);
}

static int take_claim(struct group *g, struct claim *c, struct err *e)
{
    struct buf b = BUF_INIT;
    struct str open;
    int64_t first;
    int got;

    if (c->n == 0)
        return 1;
    if ((got = join(g, e)) <= 0)
        return got;
    open = encode(c, &b, &first);
    got = db_run(g->s, e, "INSERT INTO claim(grp,owner,first,open) VALUES(?,?,?,?)", "iiib", g->grp,
                 g->owner, first, open);
    c->id = sqlite3_last_insert_rowid(g->s->db);
    buf_free(&b);
    return got;
}

/* 1 taken, 0 something changed meanwhile, -1. */
static int take(struct group *g, struct claim *c, struct err *e)
{
    int64_t now = clock_now_ms();
    int got;

    if (c->n > 0 && g->owner == 0) {
        if (lock_open(g->s, e) < 0 || (g->owner = lock_take(g->s, e)) < 0) {
            g->owner = 0;
            return -1;
        }
    }
    if (db_begin(g->s, DB_NORMAL, e) < 0)
        return -1;
    if ((got = take_group(g, now, e)) > 0 && (got = take_cursors(g, e)) > 0 &&
        (got = take_notes(g, now, e)) > 0 && (got = take_items(g, c, e)) > 0)
        got = take_claim(g, c, e);
    if (got <= 0) {
        db_rollback(g->s);
        return got;
    }
    if (db_commit(g->s, false, e) < 0)
        return -1;
    g->joined |= c->n > 0;
    g->damaged += (int64_t)g->damage.n;
    return 1;
}

/* Is there anything to do with the group at all? Reads its rev, and its patterns if that changed. */
static int look(struct group *g, struct err *e)
{
    sqlite3_stmt *q = db_query(g->s, e, "SELECT rev,paused,hold FROM groups WHERE grp=?", "i",
                               g->grp);
    int got = q == NULL ? -1 : db_row(g->s, q, e);

    if (got < 0)
        return -1;
    if (got == 0)
        return dropped(g, e);
    int64_t rev = sqlite3_column_int64(q, 0);
    bool open = sqlite3_column_int64(q, 1) == 0 && sqlite3_column_int64(q, 2) <= clock_now_ms();
    db_done(q);
    if (rev != g->rev && load_patterns(g, e) < 0)
        return -1;
    g->rev = rev;
    return open;
}

static void give(struct group *g, struct claim *c)
{
    if (g->given_room < c->n) {
        g->given_room = c->n;
        g->given = mem_grow(g->given, c->n, sizeof *g->given);
    }
    for (size_t i = 0; i < c->n; i++) {
        c->held[i].shown.entry = c->page.entry[i];
        g->given[i] = &c->held[i].shown;
    }
    c->open = c->n;
    g->held += c->n;
    c->next = g->claims;
    g->claims = c;
}

int group_claim(struct group *g, size_t max, int64_t last, struct group_event ***out,
                struct err *e)
{
    struct claim *c;
    int got;

    if (max == 0 || g->alone)
        return 0;
    if (last == 0)
        last = INT64_MAX;
    if (max > 1000)
        max = 1000;
    for (;;) {
        if (take_over(g, e) < 0)
            return -1;
        if ((got = look(g, e)) <= 0)
            return got;
        c = new_claim(g, max);
        bool anything = (got = prepare(g, c, max, last, e)) > 0;
        if (anything && (got = take(g, c, e)) > 0 && c->n > 0)
            break;
        g->alone = false;
        spare_claim(g, c);
        if (got < 0 || !anything)
            return got;
        /* Somebody was faster; or nothing matched so far, but the cursor moved. */
    }
    give(g, c);
    *out = g->given;
    return (int)c->n;
}

/* -------------------------------------------------------------------------------------- settle */

static int settle_item(struct group *g, const struct held *h, const struct group_settle *s,
                       struct err *e)
{
    int64_t seq = h->shown.entry.seq, now = clock_now_ms();
    int attempt = s->outcome != GROUP_RELEASE;

    if (s->outcome == GROUP_DONE) {
        if (!h->item)
            return 0;
        if (db_run(g->s, e, "DELETE FROM attempt WHERE grp=? AND seq=?", "ii", g->grp, seq) < 0)
            return -1;
        return db_run(g->s, e, "DELETE FROM item WHERE grp=? AND seq=?", "ii", g->grp, seq);
    }
    if (attempt && add_attempt(g, seq, s, e) < 0)
        return -1;
    return db_run(g->s, e, "INSERT INTO item(grp,seq,state,due,attempts,deaths) VALUES(?1,?2,?3,?4,"
                  "?5,0) ON CONFLICT(grp,seq) DO UPDATE SET state=?3,due=?4,attempts=attempts+?5",
                  "iiiii", g->grp, seq,
                  (int64_t)(s->outcome == GROUP_DEAD ? ITEM_DEAD : ITEM_WAITING),
                  s->outcome == GROUP_DEAD ? now : s->due_ms, (int64_t)attempt);
}

/* The claim's row without the events that are settled. It must be there still, and ours. */
static int settle_claim(struct group *g, const struct claim *c, struct err *e)
{
    struct buf b = BUF_INIT;
    int64_t first;
    int got;

    if (c->open == 0) {
        got = db_run(g->s, e, "DELETE FROM claim WHERE claim=? AND owner=?", "ii", c->id, g->owner);
    } else {
        struct str open = encode(c, &b, &first);
        got = db_run(g->s, e, "UPDATE claim SET first=?,open=? WHERE claim=? AND owner=?", "ibii",
                     first, open, c->id, g->owner);
        buf_free(&b);
    }
    if (got == 0)
        return err_set(e, EX_TEMPFAIL, "a claim of group %s was taken over: others have its events "
                       "now", err_quote_text(g->name).text);
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
        spare_claim(g, c);
    }
    if (g->held == 0)
        g->alone = false;
}

static struct held *held_of(const struct group_event *event)
{
    return (struct held *)(uintptr_t)event; /* shown is its first member, and the group made it */
}

int group_settle(struct group *g, const struct group_settle *settle, size_t n, struct err *e)
{
    bool ring = false;
    int got = 0;

    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        struct held *h = held_of(settle[i].event);
        h->open = false;
        h->claim->written = false;
        h->claim->open--;
        g->held--;
        ring |= settle[i].outcome != GROUP_DONE;
    }
    if (db_begin(g->s, DB_NORMAL, e) < 0)
        return -1;
    for (size_t i = 0; i < n && got >= 0; i++) {
        struct claim *c = held_of(settle[i].event)->claim;
        if (!c->written)
            got = settle_claim(g, c, e);
        c->written = true;
        if (got >= 0)
            got = settle_item(g, held_of(settle[i].event), &settle[i], e);
    }
    if (got < 0) {
        db_rollback(g->s);
        return -1;
    }
    if (db_commit(g->s, ring, e) < 0)
        return -1;
    forget_settled(g);
    return 0;
}

int group_holds(struct group *g, const struct group_event *event, struct err *e)
{
    int64_t one;
    return db_int(g->s, e, &one, "SELECT 1 FROM claim WHERE claim=? AND owner=?", "ii",
                  held_of(event)->claim->id, g->owner);
}

int group_hold(struct group *g, int64_t until_ms, struct err *e)
{
    if (db_begin(g->s, DB_NORMAL, e) < 0)
        return -1;
    if (db_run(g->s, e, "UPDATE groups SET hold=max(hold,?) WHERE grp=?", "ii", until_ms, g->grp) <
        0) {
        db_rollback(g->s);
        return -1;
    }
    return db_commit(g->s, false, e);
}

/* ---------------------------------------------------------------------------------------- stand */

static int count_elsewhere(struct group *g, int64_t last, int64_t *out, struct err *e)
{
    sqlite3_stmt *q = db_query(g->s, e, "SELECT open FROM claim WHERE grp=? AND owner<>?", "ii",
                               g->grp, g->owner);
    int got = -1;

    while (q != NULL && (got = db_row(g->s, q, e)) > 0) {
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
    if (db_int(g->s, e, &paused, "SELECT paused FROM groups WHERE grp=?", "i", g->grp) < 0 ||
        db_int(g->s, e, &hold, "SELECT hold FROM groups WHERE grp=?", "i", g->grp) < 0 ||
        db_int(g->s, e, &out->due, "SELECT count(*) FROM item WHERE grp=? AND state=0 AND due<=? AND "
               "seq<=?", "iii", g->grp, now, last) < 0 ||
        db_int(g->s, e, &out->later, "SELECT count(*) FROM item WHERE grp=? AND state=0 AND due>? AND "
               "seq<=?", "iii", g->grp, now, last) < 0 ||
        db_int(g->s, e, &out->next_due_ms, "SELECT min(due) FROM item WHERE grp=? AND state=0 AND "
               "due>? AND seq<=?", "iii", g->grp, now, last) < 0)
        return -1;
    out->paused = paused != 0;
    out->hold_ms = hold > now ? hold : 0;
    return count_elsewhere(g, last, &out->elsewhere, e);
}

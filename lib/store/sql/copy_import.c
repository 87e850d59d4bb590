/*
 * The importer of a copy. Records are read until there are about a thousand, with nothing open;
 * then they are worked off. A transaction is begun by the first change, and ended after a thousand.
 *
 * Of a table, the rows in the stream and those that are there come by key, both: so each is
 * compared with the next of the other side, and what differs is changed.
 */
#include "store/sql/copy.h"

#include "base/mem.h"
#include "store/groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_RECORDS 1000

struct import_group {
    char *name;
    int64_t grp, paused; /* grp 0: not made yet */
};

/* Rows of a table to be deleted, or inserted, together. */
struct rows_waiting {
    struct db_value value[ROWS_AT_ONCE * (COPY_COLUMNS + 1)];
    size_t n;
};

struct import {
    struct store *s;
    const struct copy_in *in;
    struct copy_done *done;
    struct buf text; /* of the stream */
    size_t at;
    struct buf from, mark; /* FROM's name, and that of the last copy */
    int64_t first, last;   /* position of our newest event, at the beginning and now */
    int64_t from_last;
    bool same;       /* the event at first is FROM's, too */
    bool met;        /* that was decided */
    bool open, over; /* a transaction; the end of the stream was there */
    size_t changes;
    const struct copy_table *table; /* the one whose rows come */
    struct copy_rows rows;          /* ours */
    struct rows_waiting drops, inserts;
    struct import_group *group;
    size_t groups, current;
    struct buf given; /* the records of the groups, until all of them are there */
};

/* ------------------------------------------------------------------------------- transactions */

static int not_alone(const struct import *m, struct err *e)
{
    return err_set(e, EX_DATAERR,
                   "%s: has events that %s has not: somebody publishes here. Copy into a new spool",
                   m->s->name, buf_text((struct buf *)&m->from));
}

static int import_begin(struct import *m, struct err *e)
{
    int64_t last = 0;

    if (m->open)
        return 0;
    if (db_begin(m->s->db, DB_FULL, e) < 0)
        return -1;
    m->open = true;
    m->changes = 0;
    if (log_last(m->s, &last, e) < 0)
        return -1;
    return last == m->last ? 0 : not_alone(m, e);
}

static int write_drops(struct import *m, struct err *e)
{
    const struct copy_table *t = m->table;
    char types[4] = "i";
    size_t n = m->drops.n;

    if (n == 0)
        return 0;
    memcpy(types + t->of_group, copy_types(t->letter), t->keys);
    types[t->of_group + t->keys] = '\0';
    m->drops.n = 0;
    return db_run_rows(m->s->db, e, &t->drop, types, m->drops.value, n) < 0 ? -1 : 0;
}

static const struct sql insert_event = {
    "copy_insert_events", "INSERT INTO event(" LOG_COLUMNS ") " ROWS_OF("?,?,?,?,?,?,?,?,?,?,?,?")};

static int write_inserts(struct import *m, struct err *e)
{
    const struct copy_table *t = m->table;
    char types[COPY_COLUMNS + 2];
    size_t n = m->inserts.n;

    if (n == 0)
        return 0;
    snprintf(types, sizeof types, "%s%s", t != NULL && t->of_group ? "i" : "",
             copy_types(t == NULL ? 'e' : t->letter));
    m->inserts.n = 0;
    return db_run_rows(m->s->db, e, t == NULL ? &insert_event : &t->insert, types, m->inserts.value,
                       n) < 0
               ? -1
               : 0;
}

static int write_waiting(struct import *m, struct err *e)
{
    return write_drops(m, e) < 0 || write_inserts(m, e) < 0 ? -1 : 0;
}

static int import_commit(struct import *m, bool ring, struct err *e)
{
    if (write_waiting(m, e) < 0)
        return -1;
    if (!m->open)
        return 0;
    m->open = false;
    if (db_commit(m->s->db, ring, e) < 0)
        return -1;
    db_give_way(m->s->db);
    return 0;
}

/* A change is about to be made. */
static int import_change(struct import *m, struct err *e)
{
    if (m->changes >= DB_ROWS && import_commit(m, false, e) < 0)
        return -1;
    if (import_begin(m, e) < 0)
        return -1;
    m->changes++;
    return 0;
}

/* Let a row wait to be written; columns: so many of it. */
static int let_wait(struct import *m, struct rows_waiting *w, const struct db_value *row,
                    size_t columns, struct err *e)
{
    bool grouped = m->table != NULL && m->table->of_group;
    struct db_value *to;

    if (import_change(m, e) < 0 || (w->n == ROWS_AT_ONCE && write_waiting(m, e) < 0))
        return -1;
    to = w->value + w->n++ * (columns + grouped);
    if (grouped)
        to++->number = m->group[m->current].grp;
    memcpy(to, row, columns * sizeof *row);
    return 0;
}

/* --------------------------------------------------------------------------------- the events */

/* FROM has an event at the position of one of ours: it must be the same. */
static int meet_event(struct import *m, const struct log_row *row, struct err *e)
{
    int64_t sums = 0;
    int got = db_int(m->s->db, e, &sums, SQL("copy_meet", "SELECT sums FROM event WHERE seq=?"),
                     "i", row->seq);

    if (got < 0)
        return -1;
    if (got > 0 && sums != row->sums)
        return err_set(e, EX_DATAERR,
                       "%s: its event at position %lld is not that of %s: copy into a new spool",
                       m->s->name, (long long)row->seq, buf_text(&m->from));
    m->same |= got > 0 && row->seq == m->first;
    return 0;
}

/* All events up to ours are there: is our newest one FROM's? If FROM has pruned it, only the name
   of the last copy's FROM tells. */
static int check_met(struct import *m, struct err *e)
{
    if (m->met)
        return 0;
    m->met = true;
    if (m->first == 0 || m->same ||
        (m->from_last > m->first && strcmp(buf_text(&m->mark), buf_text(&m->from)) == 0))
        return 0;
    return not_alone(m, e);
}

static int import_event(struct import *m, const struct db_value *value, struct err *e)
{
    struct log_row row;

    log_row_of(value, &row);
    if (row.line.p == NULL || row.sums != sum_of(&row))
        return err_set(e, EX_DATAERR,
                       "the input is damaged: its checksum is wrong at position %lld",
                       (long long)row.seq);
    if (row.seq <= m->first)
        return meet_event(m, &row, e);
    if (check_met(m, e) < 0)
        return -1;
    if (row.seq <= m->last)
        return err_set(e, EX_DATAERR, "the input is out of order at position %lld",
                       (long long)row.seq);
    if (let_wait(m, &m->inserts, value, LOG_END, e) < 0)
        return -1;
    m->last = row.seq;
    m->done->events++;
    return 0;
}

/* --------------------------------------------------------------------------------- the tables */

static int compare_values(const struct db_value *a, const struct db_value *b, const char *types,
                          size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (types[i] == 'i' || types[i] == 'o') {
            if (a[i].number != b[i].number)
                return a[i].number < b[i].number ? -1 : 1;
            continue;
        }
        struct str x = a[i].text, y = b[i].text;
        size_t shorter = x.n < y.n ? x.n : y.n;
        int order = shorter == 0 ? 0 : memcmp(x.p, y.p, shorter);
        if (order == 0)
            order = x.n != y.n ? (x.n < y.n ? -1 : 1) : (x.p != NULL) - (y.p != NULL);
        if (order != 0)
            return order;
    }
    return 0;
}

/* Our next row: as copy_rows_look. */
static int look_at_ours(struct import *m, const struct db_value **ours, struct err *e)
{
    if (copy_rows_turns(&m->rows) && write_waiting(m, e) < 0) /* which have views of the page */
        return -1;
    return copy_rows_look(&m->rows, ours, e);
}

/* Remove our rows before a key, or all that are left (NULL). 1 when ours is at the key; 0; -1. */
static int drop_before(struct import *m, const struct db_value *key, const struct db_value **ours,
                       struct err *e)
{
    const char *types = copy_types(m->table->letter);
    int got, order;

    while ((got = look_at_ours(m, ours, e)) > 0) {
        order = key == NULL ? -1 : compare_values(*ours, key, types, m->table->keys);
        if (order >= 0)
            return order == 0;
        if (let_wait(m, &m->drops, *ours, m->table->keys, e) < 0)
            return -1;
        copy_rows_skip(&m->rows);
    }
    return got;
}

static int import_row(struct import *m, const struct db_value *row, struct err *e)
{
    const char *types = copy_types(m->table->letter);
    const struct db_value *ours;
    size_t columns = strlen(types);
    int got = drop_before(m, row, &ours, e);

    m->done->documents += m->table->letter == 'd';
    if (got < 0)
        return -1;
    if (got > 0) {
        bool equal = compare_values(ours, row, types, columns) == 0;
        if (!equal && let_wait(m, &m->drops, ours, m->table->keys, e) < 0)
            return -1;
        copy_rows_skip(&m->rows);
        if (equal)
            return 0;
    }
    return let_wait(m, &m->inserts, row, columns, e);
}

/* The rows of a table come, or its end. */
static int begin_table(struct import *m, char letter, struct err *e)
{
    const struct copy_table *table = copy_table_of(letter);

    if (m->table == table)
        return 0;
    if (table == NULL || m->table != NULL || (table->of_group && m->current >= m->groups))
        return err_set(e, EX_DATAERR,
                       "the input is not in the order in which spool copy writes it");
    if (check_met(m, e) < 0 || write_waiting(m, e) < 0)
        return -1;
    m->table = table;
    copy_rows_begin(&m->rows, table, table->of_group ? m->group[m->current].grp : 0);
    return 0;
}

static int end_table(struct import *m, char letter, struct err *e)
{
    const struct db_value *ours;

    if (begin_table(m, letter, e) < 0 || drop_before(m, NULL, &ours, e) < 0 ||
        write_waiting(m, e) < 0)
        return -1;
    m->table = NULL;
    return 0;
}

/* --------------------------------------------------------------------------------- the groups */

enum { NAME, PATTERNS, ORDERED, PAUSED, HOLD, PACED, CREATED, SEEN };

/* Whoever consumed here since the last copy would have its work undone. */
static int check_unused(struct import *m, const struct db_value *group, struct err *e)
{
    int64_t seen = 0;

    if (db_int(m->s->db, e, &seen, SQL("copy_seen", "SELECT seen FROM groups WHERE name=?"), "s",
               group[NAME].text) < 0)
        return -1;
    return seen <= group[SEEN].number
               ? 0
               : err_set(e, EX_DATAERR,
                         "%s: group %s has been consumed here since: its place would be lost. Copy "
                         "into a new spool",
                         m->s->name, err_quote(group[NAME].text.p, group[NAME].text.n).text);
}

/* It is paused until everything is there. What dead consumers had is waiting at FROM. */
static int make_group(struct import *m, const struct db_value *group, struct err *e)
{
    struct import_group *to = &m->group[m->groups];
    struct str name = group[NAME].text;

    if (import_change(m, e) < 0 ||
        db_run(m->s->db, e,
               SQL("copy_make_group",
                   "INSERT INTO groups(name,patterns,ordered,rev,paused,hold,paced,created,seen) "
                   "VALUES(?1,?2,?3,0,1,?4,?5,?6,?7) ON CONFLICT(name) DO UPDATE SET patterns=?2,"
                   "ordered=?3,rev=groups.rev+1,paused=1,hold=?4,paced=?5,created=?6,seen=?7"),
               "ssiiiii", name, group[PATTERNS].text, group[ORDERED].number, group[HOLD].number,
               group[PACED].number, group[CREATED].number, group[SEEN].number) < 0 ||
        db_int(m->s->db, e, &to->grp, SQL("copy_group_row", "SELECT grp FROM groups WHERE name=?"),
               "s", name) < 0 ||
        db_run(m->s->db, e,
               SQL("copy_make_cursors",
                   "INSERT INTO cursor(grp,priority,seq) SELECT ?,value,0 FROM " DB_PRIORITIES
                   " WHERE true ON CONFLICT(grp,priority) DO NOTHING"),
               "i", to->grp) < 0 ||
        db_run(m->s->db, e, SQL("copy_drop_claims", "DELETE FROM claim WHERE grp=?"), "i",
               to->grp) < 0 ||
        db_run(m->s->db, e, SQL("copy_drop_consumers", "DELETE FROM consumer WHERE grp=?"), "i",
               to->grp) < 0)
        return -1;
    to->paused = group[PAUSED].number;
    to->name = mem_dup(name.p, name.n);
    m->groups++;
    m->done->groups++;
    return 0;
}

/* Call f for each of the groups that were given. */
static int each_given(struct import *m,
                      int (*f)(struct import *m, const struct db_value *group, struct err *e),
                      struct err *e)
{
    struct copy_record record;

    for (size_t at = 0; at < m->given.n;) {
        copy_take(&m->given, &at, &record, e);
        if (f(m, record.value, e) < 0)
            return -1;
    }
    return 0;
}

static int count_given(struct import *m, const struct db_value *group, struct err *e)
{
    (void)e;
    if (group[NAME].text.p == NULL)
        return -1;
    m->groups++;
    return 0;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(((const struct import_group *)a)->name, ((const struct import_group *)b)->name);
}

/* The names of all groups, each with its NUL. */
static int group_names(struct store *s, struct buf *names, struct err *e)
{
    struct query *q =
        db_query(s->db, e, SQL("copy_names", "SELECT name FROM groups ORDER BY name"), "");
    int got = -1;

    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        buf_str(names, db_text(q, 0));
        buf_char(names, '\0');
    }
    return got;
}

/* Drop the groups that FROM has not. */
static int drop_others(struct import *m, struct err *e)
{
    struct buf names = BUF_INIT;
    int got = group_names(m->s, &names, e);

    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1) {
        const struct import_group wanted = {.name = names.p + at};
        if (m->groups == 0 ||
            bsearch(&wanted, m->group, m->groups, sizeof wanted, name_compare) == NULL)
            got = group_drop(m->s, wanted.name, e);
    }
    buf_free(&names);
    return got;
}

static int import_groups(struct import *m, struct err *e)
{
    if (check_met(m, e) < 0 || each_given(m, check_unused, e) < 0 ||
        each_given(m, count_given, e) < 0)
        return -1;
    m->group = mem_zero(m->groups + 1, sizeof *m->group);
    m->groups = 0;
    if (each_given(m, make_group, e) < 0 || import_commit(m, false, e) < 0)
        return -1;
    return drop_others(m, e);
}

/* All is there: from now on the groups are as FROM's. */
static int release_groups(struct import *m, struct err *e)
{
    if (check_met(m, e) < 0 || import_commit(m, false, e) < 0 || import_begin(m, e) < 0)
        return -1;
    for (size_t i = 0; i < m->groups; i++)
        if (db_run(m->s->db, e,
                   SQL("copy_release", "UPDATE groups SET paused=?,rev=rev+1 WHERE grp=?"), "ii",
                   m->group[i].paused, m->group[i].grp) < 0)
            return -1;
    if (db_run(m->s->db, e, SQL("copy_mark", "UPDATE meta SET value=? WHERE key='copy'"), "t",
               buf_text(&m->from)) < 0)
        return -1;
    return import_commit(m, true, e);
}

/* --------------------------------------------------------------------------------- the stream */

static int import_record(struct import *m, const struct copy_record *r, struct err *e)
{
    const struct db_value *v = r->value;

    switch (r->letter) {
    case 'h':
        buf_reset(&m->from);
        buf_str(&m->from, v[0].text);
        m->from_last = v[1].number;
        return 0;
    case 'e':
        return import_event(m, v, e);
    case 'g':
        copy_put(&m->given, 'g', v);
        return 0;
    case 'G':
        m->current = (size_t)v[0].number;
        return 0;
    case '.':
        return v[0].number == 'g' ? import_groups(m, e) : end_table(m, (char)v[0].number, e);
    case 'z':
        m->over = true;
        return release_groups(m, e);
    default:
        return begin_table(m, r->letter, e) < 0 ? -1 : import_row(m, v, e);
    }
}

/* More of the stream. */
static int read_more(struct import *m, struct err *e)
{
    buf_need(&m->text, 64 << 10);
    ssize_t n = m->in->read(m->text.p + m->text.n, 64 << 10, e);

    if (n == 0)
        return err_set(e, EX_DATAERR, "the input ends before its end: copy again");
    m->text.n += n > 0 ? (size_t)n : 0;
    return n < 0 ? -1 : 0;
}

static int read_magic(struct import *m, struct err *e)
{
    const struct str magic = STR(COPY_MAGIC);

    while (m->text.n < magic.n)
        if (read_more(m, e) < 0)
            return -1;
    m->at = magic.n;
    return memcmp(m->text.p, magic.p, magic.n) == 0
               ? 0
               : err_set(e, EX_DATAERR, "the input is not what spool copy writes");
}

/* Read about a thousand records, whole ones: *end is behind them. No transaction is open. */
static int read_batch(struct import *m, size_t *end, struct err *e)
{
    struct copy_record record = {.letter = '\0'};
    int got;

    buf_splice(&m->text, 0, m->at, NULL, 0);
    m->at = *end = 0;
    for (int n = 0; n < BATCH_RECORDS && *end < COPY_BYTES && record.letter != 'z'; n += got) {
        got = copy_take(&m->text, end, &record, e);
        if (got < 0 || (got == 0 && read_more(m, e) < 0))
            return -1;
    }
    return 0;
}

static int import_stream(struct import *m, struct err *e)
{
    struct copy_record record;
    size_t end;

    if (read_magic(m, e) < 0)
        return -1;
    while (!m->over) {
        if (read_batch(m, &end, e) < 0)
            return -1;
        while (m->at < end)
            if (copy_take(&m->text, &m->at, &record, e) < 0 || import_record(m, &record, e) < 0)
                return -1;
        if (import_commit(m, false, e) < 0) /* waiting rows have views of the batch */
            return -1;
        if (m->in->progress != NULL)
            m->in->progress(m->last, m->from_last);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------- the target */

/* The mark of a copy: 1, 0 when there is none, -1. */
static int copy_marked(struct store *s, struct buf *mark, struct err *e)
{
    struct query *q =
        db_query(s->db, e, SQL("copy_marked", "SELECT value FROM meta WHERE key='copy'"), "");
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    if (got > 0) {
        buf_str(mark, db_text(q, 0));
        db_done(q);
    }
    return got;
}

static int target_empty(struct store *s, struct err *e)
{
    int64_t one;
    int got = db_int(s->db, e, &one,
                     SQL("copy_empty", "SELECT 1 FROM (SELECT 1 FROM event UNION ALL SELECT 1 FROM "
                                       "groups UNION ALL SELECT 1 FROM document) x LIMIT 1"),
                     "");

    return got <= 0
               ? got
               : err_set(e, EX_DATAERR,
                         "%s: has events, groups or documents of its own, and is no copy: copy "
                         "into a new spool",
                         s->name);
}

static int target_idle(struct store *s, struct err *e)
{
    struct buf names = BUF_INIT;
    int64_t grp;
    int got = group_names(s, &names, e);

    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1)
        if ((got = group_row(s, names.p + at, &grp, e)) == 0 && (got = group_idle(s, grp, e)) < 0)
            err_at(e, "group %s: ", err_quote_text(names.p + at).text);
    buf_free(&names);
    return got;
}

int copy_target(struct store *s, int64_t *first, struct err *e)
{
    struct buf mark = BUF_INIT;
    int got = copy_marked(s, &mark, e);

    *first = 1;
    if (got == 0)
        got = target_empty(s, e);
    else if (got > 0)
        got = target_idle(s, e);
    buf_free(&mark);
    return got < 0 || log_last(s, first, e) < 0 ? -1 : 0;
}

/* Nobody else may begin to copy into it, or to use it, in between. */
static int claim_target(struct import *m, struct err *e)
{
    int got = copy_marked(m->s, &m->mark, e);

    if (got != 0)
        return got < 0 ? -1 : 0;
    if (import_begin(m, e) < 0 || target_empty(m->s, e) < 0 ||
        db_run(m->s->db, e, SQL("copy_claim", "INSERT INTO meta(key,value) VALUES('copy','')"),
               "") < 0)
        return -1;
    return import_commit(m, false, e);
}

int copy_import(struct store *s, const struct copy_in *in, struct copy_done *done, struct err *e)
{
    struct import m = {.s = s, .in = in, .done = done, .rows = {.s = s}};
    int64_t last = 0;

    *done = (struct copy_done){0};
    int got = copy_target(s, &last, e);
    if (got == 0)
        got = log_last(s, &m.first, e);
    m.last = m.first;
    if (got >= 0 && (got = claim_target(&m, e)) == 0)
        got = import_stream(&m, e);
    if (m.open)
        db_rollback(s->db);
    for (size_t i = 0; i < m.groups && m.group != NULL; i++)
        free(m.group[i].name);
    free(m.group);
    copy_rows_free(&m.rows);
    buf_free(&m.text);
    buf_free(&m.from);
    buf_free(&m.mark);
    buf_free(&m.given);
    return got < 0 ? -1 : 0;
}

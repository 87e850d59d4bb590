/*
 * The tree is built in three passes over events sorted by position: find causes by id, cut
 * circles, walk from the roots. No pass recurses, since foreign events may form chains of any
 * length.
 */
#include "inspect/trace.h"

#include "base/duration.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "event/event.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------------------- tree */

static struct str keep(char **at, struct str s)
{
    if (s.p == NULL)
        return s;
    struct str copy = {*at, s.n};
    if (s.n > 0)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return copy;
}

void trace_add(struct trace *t, const struct log_entry *entry, struct str cause)
{
    if (t->n == t->room) {
        t->room = t->room == 0 ? 64 : t->room * 2;
        t->event = mem_grow(t->event, t->room, sizeof *t->event);
    }
    char *at =
        mem_alloc(entry->id.n + entry->source.n + entry->type.n + entry->subject.n + cause.n + 1);
    struct trace_event *ev = &t->event[t->n++];
    *ev = (struct trace_event){.seq = entry->seq,
                               .recorded_ms = entry->recorded_ms,
                               .damaged = entry->damaged,
                               .parent = TRACE_NONE,
                               .text = at};
    ev->id = keep(&at, entry->id);
    ev->source = keep(&at, entry->source);
    ev->type = keep(&at, entry->type);
    ev->subject = keep(&at, entry->subject);
    ev->cause = keep(&at, cause);
}

static int by_seq(const void *a, const void *b)
{
    const struct trace_event *x = a, *y = b;
    return (x->seq > y->seq) - (x->seq < y->seq);
}

static int compare_ids(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

/* Sort by id, then position; pointers into the array sort as positions do. */
static int by_id(const void *a, const void *b)
{
    const struct trace_event *x = *(const struct trace_event *const *)a;
    const struct trace_event *y = *(const struct trace_event *const *)b;
    int c = compare_ids(x->id, y->id);
    return c != 0 ? c : by_seq(x, y);
}

/* Sources may share an id: the cause is the last event with it before the effect, or else the
   first. */
static size_t find_cause(const struct trace *t, struct trace_event **ids,
                         const struct trace_event *ev)
{
    size_t low = 0, high = t->n;

    while (low < high) { /* the first after (cause, seq): an event can be its own cause */
        size_t middle = low + (high - low) / 2;
        int c = compare_ids(ids[middle]->id, ev->cause);
        if (c < 0 || (c == 0 && ids[middle]->seq <= ev->seq))
            low = middle + 1;
        else
            high = middle;
    }
    if (low > 0 && compare_ids(ids[low - 1]->id, ev->cause) == 0)
        return (size_t)(ids[low - 1] - t->event);
    if (low < t->n && compare_ids(ids[low]->id, ev->cause) == 0)
        return (size_t)(ids[low] - t->event);
    return TRACE_NONE;
}

static void find_causes(struct trace *t)
{
    struct trace_event **ids = mem_zero(t->n + 1, sizeof(struct trace_event *));

    for (size_t i = 0; i < t->n; i++)
        ids[i] = &t->event[i];
    qsort(ids, t->n, sizeof(struct trace_event *), by_id);
    for (size_t i = 0; i < t->n; i++) {
        struct trace_event *ev = &t->event[i];
        ev->parent = ev->cause.p == NULL ? TRACE_NONE : find_cause(t, ids, ev);
        ev->root = ev->cause.p == NULL        ? TRACE_ROOT
                   : ev->parent == TRACE_NONE ? TRACE_ORPHAN
                                              : TRACE_CHILD;
    }
    free(ids);
}

/* Walk up from each event, marking each event with the number of the walk: a walk that meets its
   own number has been around a circle, which is cut at its first event. */
static void cut_circles(struct trace *t)
{
    size_t *walk = mem_zero(t->n + 1, sizeof *walk);

    for (size_t i = 0; i < t->n; i++) {
        size_t at = i, first;
        while (walk[at] == 0 && t->event[at].root == TRACE_CHILD) {
            walk[at] = i + 1;
            at = t->event[at].parent;
        }
        if (walk[at] != i + 1 || t->event[at].root != TRACE_CHILD)
            continue;
        first = at;
        for (size_t j = t->event[at].parent; j != at; j = t->event[j].parent)
            if (j < first)
                first = j;
        t->event[first].root = TRACE_LOOP;
    }
    free(walk);
}

/* Keep children as lists through the array, in order of position; t->n is the parent of all
   roots. */
static void walk_tree(struct trace *t)
{
    size_t *child = mem_alloc((t->n + 1) * sizeof *child);
    size_t *next = mem_alloc((t->n + 1) * sizeof *next), n = 0;

    t->order = mem_grow(t->order, t->n + 1, sizeof *t->order);
    for (size_t i = 0; i <= t->n; i++)
        child[i] = TRACE_NONE;
    for (size_t i = t->n; i-- > 0;) {
        size_t parent = t->event[i].root == TRACE_CHILD ? t->event[i].parent : t->n;
        next[i] = child[parent];
        child[parent] = i;
    }
    for (size_t at = child[t->n], depth = 0; at != TRACE_NONE;) {
        struct trace_event *ev = &t->event[at];
        if (ev->root != TRACE_CHILD)
            depth = ev->root == TRACE_ORPHAN;
        ev->depth = depth;
        t->order[n++] = at;
        depth++;
        size_t down = child[at];
        while (down == TRACE_NONE && next[at] == TRACE_NONE && t->event[at].root == TRACE_CHILD) {
            at = t->event[at].parent;
            depth--;
        }
        depth -= down == TRACE_NONE;
        at = down != TRACE_NONE ? down : next[at];
    }
    free(child);
    free(next);
}

/* A cause that several events name may have been added for each of them. */
static void drop_doubles(struct trace *t)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        if (n > 0 && t->event[i].seq == t->event[n - 1].seq)
            free(t->event[i].text);
        else
            t->event[n++] = t->event[i];
    t->n = n;
}

void trace_link(struct trace *t)
{
    if (t->n > 1)
        qsort(t->event, t->n, sizeof *t->event, by_seq);
    drop_doubles(t);
    find_causes(t);
    cut_circles(t);
    walk_tree(t);
}

void trace_free(struct trace *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->event[i].text);
    free(t->event);
    free(t->order);
    *t = (struct trace)TRACE_INIT;
}

/* --------------------------------------------------------------------------------------- read */

struct reading {
    struct trace *t;
    struct store *s;
    const struct trace_query *query;
    struct buf correlation;
    struct js_scan scan;
    struct event seen;
};

static struct str correlation_of(const struct event *ev)
{
    return ev->correlationid.p != NULL ? ev->correlationid : ev->id;
}

static bool belongs(struct reading *r, struct str line)
{
    struct err damaged = ERR_NONE;
    struct str wanted = {r->correlation.p, r->correlation.n};

    if (wanted.n == 0 || line.n == 0) /* damaged */
        return false;
    /* Most lines belong to other correlations, which shows without parsing, unless the id is
       spelled with escapes. */
    if (memchr(line.p, '\\', line.n) == NULL && memmem(line.p, line.n, wanted.p, wanted.n) == NULL)
        return false;
    return event_read(&r->seen, &r->scan, line, &damaged) == 0 &&
           str_eq(correlation_of(&r->seen), wanted);
}

/* Add an entry whose line is in r->seen. */
static void add_seen(struct reading *r, struct log_entry *entry)
{
    entry->id = r->seen.id;
    entry->source = r->seen.source;
    entry->type = r->seen.type;
    entry->subject = r->seen.subject;
    trace_add(r->t, entry, r->seen.causationid);
}

/* The event that was asked for: if it is damaged, only its columns are known, not its cause. */
static int read_named(struct reading *r, struct err *e)
{
    const struct log_query one = {.first = r->query->seq, .last = r->query->seq};
    struct err damaged = ERR_NONE;
    struct log_entry entry;
    struct log *log;

    if (log_open(&log, r->s, &one, e) < 0)
        return -1;
    int got = log_next(log, &entry, e);
    if (got > 0 && entry.line.n > 0 && event_read(&r->seen, &r->scan, entry.line, &damaged) == 0) {
        buf_str(&r->correlation, correlation_of(&r->seen));
        add_seen(r, &entry);
    } else if (got > 0) {
        buf_str(&r->correlation, entry.id);
        trace_add(r->t, &entry, (struct str){NULL, 0});
    }
    log_close(log);
    if (got == 0)
        err_set(e, EX_NOINPUT, "seq %" PRId64 " was pruned in the meantime", r->query->seq);
    return got > 0 ? 0 : -1;
}

/* Find the position of an event by its id: 1; 0: none, or several; -1: error. */
static int find_id(struct store *s, struct str id, int64_t *seq, struct err *e)
{
    struct err mine = ERR_NONE;
    struct buf name = BUF_INIT;

    buf_puts(&name, "id:");
    buf_str(&name, id);
    int got = log_find(s, buf_text(&name), seq, &mine);
    buf_free(&name);
    if (got == 0)
        return 1;
    if (mine.status == EX_NOINPUT || mine.status == EX_DATAERR)
        return 0;
    return err_set(e, mine.status, "%s", mine.text);
}

static int scan_log(struct reading *r, struct err *e)
{
    struct log_query query = {.first = r->query->first, .last = r->query->last, .lines = true};
    int64_t found = 0;
    struct log_entry entry;
    struct log *log;
    int got = 0;

    if (query.first == 0) /* effects come after their cause */
        got = find_id(r->s, (struct str){r->correlation.p, r->correlation.n}, &query.first, e);
    if (got < 0 || log_open(&log, r->s, &query, e) < 0)
        return -1;
    while (!r->t->cut && (got = log_next(log, &entry, e)) > 0) {
        if (entry.seq == r->query->seq)
            continue;
        r->t->damaged += entry.line.n == 0;
        if (!belongs(r, entry.line))
            continue;
        r->t->cut = r->query->max > 0 && ++found == r->query->max;
        if (!r->t->cut)
            add_seen(r, &entry);
    }
    log_close(log);
    return got < 0 ? -1 : 0;
}

/* Find the cause of an orphan by its id: an event of the correlation outside the range is added. 1:
   added; 0: not; -1: error. */
static int look_for_cause(struct reading *r, size_t i, struct err *e)
{
    struct trace_event *ev = &r->t->event[i];
    struct log_query one = {.lines = true};
    struct log_entry entry;
    struct log *log;
    int64_t seq;
    int got = find_id(r->s, ev->cause, &seq, e);

    ev->looked = true;
    if (got <= 0)
        return got;
    one.first = one.last = ev->cause_seq = seq;
    if (log_open(&log, r->s, &one, e) < 0)
        return -1;
    got = log_next(log, &entry, e);
    if (got > 0 && (got = belongs(r, entry.line)) > 0)
        add_seen(r, &entry);
    log_close(log);
    return got;
}

static int look_for_causes(struct reading *r, struct err *e)
{
    int added = 0, got = 0;

    do {
        size_t n = r->t->n;
        trace_link(r->t);
        added = 0;
        for (size_t i = 0; i < n && got >= 0; i++)
            if (r->t->event[i].root == TRACE_ORPHAN && !r->t->event[i].looked &&
                (got = look_for_cause(r, i, e)) > 0)
                added++;
    } while (added > 0 && got >= 0);
    return got < 0 ? -1 : 0;
}

int trace_read(struct trace *t, struct store *s, const struct trace_query *query, struct err *e)
{
    struct reading r = {.t = t, .s = s, .query = query};

    int got = read_named(&r, e);
    if (got == 0 && (got = scan_log(&r, e)) == 0)
        got = look_for_causes(&r, e);
    buf_free(&r.correlation);
    event_free(&r.seen);
    js_scan_free(&r.scan);
    return got;
}

/* -------------------------------------------------------------------------------------- words */

static void add_escaped(struct buf *b, struct str s)
{
    if (s.p == NULL)
        buf_char(b, '-');
    else
        err_escape(b, s.p, s.n);
}

void trace_line(struct buf *b, const struct trace *t, const struct trace_event *ev, int64_t now_ms)
{
    char age[DURATION_TEXT_SIZE];

    buf_printf(b, "%" PRId64 "  ", ev->seq);
    add_escaped(b, ev->type);
    buf_puts(b, "  ");
    add_escaped(b, ev->subject);
    if (ev->recorded_ms != 0 || !ev->damaged) /* of a damaged event it may be unknown */
        buf_printf(b, "  %s", duration_age(age, now_ms - ev->recorded_ms));
    if (ev->damaged)
        buf_puts(b, "  (damaged in the spool)");
    if (ev->root == TRACE_LOOP)
        buf_printf(b, "  (a loop: its cause is seq %" PRId64 ")", t->event[ev->parent].seq);
}

void trace_cause(struct buf *b, const struct trace_event *ev)
{
    buf_puts(b, "(cause ");
    add_escaped(b, ev->cause);
    if (ev->cause_seq != 0)
        buf_printf(b, " is of another correlation: seq %" PRId64 ")", ev->cause_seq);
    else
        buf_puts(b, " is not here)");
}

/* --------------------------------------------------------------------------------------- rows */

json_t *trace_row(const struct trace *t, const struct trace_event *ev, bool named)
{
    int64_t cause = ev->parent != TRACE_NONE ? t->event[ev->parent].seq : ev->cause_seq;

    return json_pack(
        "{s:I,s:o,s:o,s:o,s:o,s:o,s:i,s:o,s:o,s:b,s:b,s:b}", "seq", (json_int_t)ev->seq, "id",
        tree_text(ev->id), "source", tree_text(ev->source), "type", tree_text(ev->type), "subject",
        tree_text(ev->subject), "recorded", tree_time(ev->recorded_ms), "depth", (int)ev->depth,
        "cause", tree_text(ev->cause), "cause_seq", cause == 0 ? json_null() : json_integer(cause),
        "named", named, "loop", ev->root == TRACE_LOOP, "damaged", ev->damaged);
}

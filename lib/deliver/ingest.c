#include "deliver/ingest.h"

#include <inttypes.h>
#include <string.h>

/* With a hundred, two thirds of the speed; with ten thousand, no gain. */
#define EVENTS_MAX 1000 /* a multiple of what log_some may return */
#define BYTES_MAX (1 << 20)
#define HELD_MAX (64 << 20)
#define QUEUE_LINE 800 /* bytes: as many for each line; log_crowded does not count them */

/* A line that is kept: in front of its text in a buffer. */
struct held {
    bool refused; /* set in place, so it is the first member */
    struct ingest_place place;
    size_t n;
};

static void explain_stale(const struct ingest *b, const struct event *ev, int64_t stands,
                          struct err *why)
{
    struct err_quoted subject = err_quote(ev->subject.p, ev->subject.n);
    /* The message of --expect-version, unless the line itself has another version. */
    bool own = ev->version != 0 && ev->version != stands + 1;
    int64_t expected = own ? ev->version - 1 : b->terms.expected;

    if (b->terms.versions == LOG_UNVERSIONED)
        err_set(why, EX_TEMPFAIL,
                "subject %s has another event at version %" PRId64 ": reload it and decide again",
                subject.text, ev->version);
    else if (expected == 0)
        err_set(why, EX_TEMPFAIL,
                "subject %s exists already, at version %" PRId64 ": load it and decide again",
                subject.text, stands);
    else
        err_set(why, EX_TEMPFAIL,
                "subject %s is at version %" PRId64 ", not %" PRId64 ": reload it and decide again",
                subject.text, stands, expected);
}

/* Why an event did not go into the log, if it did not. */
static void explain_fate(const struct ingest *b, const struct event *ev, const struct log_put *put,
                         struct err *why)
{
    struct err ignored = ERR_NONE;
    struct buf chain = BUF_INIT;

    switch (put->fate) {
    case LOG_CLASH:
        err_set(why, EX_DATAERR, "id %s is already stored with other content (seq %" PRId64 ")",
                err_quote(ev->id.p, ev->id.n).text, put->seq);
        break;
    case LOG_STALE:
        explain_stale(b, ev, put->version, why);
        break;
    case LOG_CYCLE:
        buf_str(&chain, ev->type);
        log_chain(b->store, ev->causationid, &chain, &ignored);
        err_set(why, EX_DATAERR, "causal chain longer than %d events, is it a cycle? %s …",
                EVENT_HOPS_MAX, buf_text(&chain));
        buf_free(&chain);
        break;
    default:
        break;
    }
}

/* A batch is one commit, so it has one time. */
static void begin_times(struct ingest *b)
{
    int64_t now = clock_now_ms();

    b->keeps = b->keeps || store_line(b->store) >= 0;
    b->terms.now_ms = b->fill.now_ms = now;
    if (b->delay_ms > 0)
        b->fill.notbefore_ms = now + b->delay_ms;
    if (b->ttl_ms > 0)
        b->fill.expiry_ms = now + b->ttl_ms;
}

/* Every check that does not need the lock is made before the lock is taken. */
static int make(struct ingest *b, struct event *ev, struct str line)
{
    if (b->lines == 0)
        begin_times(b);
    err_clear(&b->why);
    if (event_make(ev, &b->scan, &b->fill, line, &b->why) < 0)
        return -1;
    if (b->terms.versions != LOG_UNVERSIONED && ev->subject.p == NULL)
        return err_set(&b->why, EX_DATAERR,
                       "has no subject: --expect-version needs one (-k, --key-from)");
    return 0;
}

static int begin(struct ingest *b, struct err *e)
{
    b->room = backpressure_wait(&b->pending, b->store, e);
    if (b->pending.most > 0)
        b->terms.now_ms = clock_now_ms(); /* getting the lock may have taken long */
    b->terms.unasked = b->keeps && !b->repeats;
    b->before = b->duplicates;
    return b->room < 0 ? -1 : txn_begin(b->store, TXN_PUBLISH, &b->terms, &b->txn, e);
}

static void held_add(struct buf *b, struct ingest_place place, struct str text)
{
    struct held head = {false, place, text.n};

    buf_add(b, &head, sizeof head);
    buf_str(b, text);
}

static struct str held_next(const struct buf *b, size_t *at, struct held *head)
{
    memcpy(head, b->p + *at, sizeof *head);
    struct str text = {b->p + *at + sizeof *head, head->n};
    *at += sizeof *head + head->n;
    return text;
}

static void note_fate(struct ingest *b, size_t i, const struct log_put *put)
{
    const struct event *ev = &b->event[i];
    struct err why;

    b->duplicates += put->fate == LOG_DUPLICATE && !b->unknown;
    b->stale += put->fate == LOG_STALE;
    if (put->fate != LOG_STORED && put->fate != LOG_DUPLICATE) {
        err_clear(&why);
        explain_fate(b, ev, put, &why);
        refused_add(&b->refused, b->place[i].file, b->place[i].line, b->line[i], why.text);
        if (b->keeps)
            b->kept.p[b->kept_at[i]] = true;
    } else if (b->echo) {
        buf_str(&b->safe, put->fate == LOG_DUPLICATE ? put->line : ev->line);
        buf_char(&b->safe, '\n');
    }
}

/* Add an event to the queue, and to what is kept until the commit. */
static void queue_event(struct ingest *b, struct ingest_place place, struct str line)
{
    b->place[b->queued] = place;
    b->line[b->queued] = line;
    if (b->keeps && !b->again) {
        b->kept_at[b->queued] = b->kept.n;
        held_add(&b->kept, place, b->event[b->queued].line);
    }
    b->queued++;
    b->queued_bytes += line.n;
}

static bool queue_full(const struct ingest *b)
{
    return b->queued == log_some() || b->queued_bytes > log_some() * QUEUE_LINE;
}

/* Put the events that wait in the queue into the transaction. */
static int put_queue(struct ingest *b, struct err *e)
{
    size_t n = b->queued;
    struct log_put put;

    b->queued = b->queued_bytes = 0;
    for (size_t i = 0; i < n;) {
        int some = log_put_some(b->txn, b->event + i, n - i, &put, e);
        if (some < 0)
            return -1;
        while (some-- > 0)
            note_fate(b, i++, &put);
    }
    return 0;
}

/* Put the events that are kept, and were not refused, into a transaction of their own. */
static int put_kept(struct ingest *b, struct err *e)
{
    const struct event_fill nothing = {.hops = -1, .priority = -1, .now_ms = b->fill.now_ms};
    struct held head;

    b->queued = b->queued_bytes = 0;
    buf_reset(&b->safe);
    b->terms.unasked = false;
    if (txn_begin(b->store, TXN_PUBLISH, &b->terms, &b->txn, e) < 0)
        return -1;
    for (size_t at = 0, here = 0; here < b->kept.n; here = at) {
        struct str line = held_next(&b->kept, &at, &head);
        if (head.refused)
            continue;
        if (event_make(&b->event[b->queued], &b->scan, &nothing, line, e) < 0)
            return -1;
        b->kept_at[b->queued] = here;
        queue_event(b, head.place, line);
        if (queue_full(b) && put_queue(b, e) < 0)
            return -1;
    }
    return put_queue(b, e);
}

/* Has the log not been asked whether events are new, and one of them was not? */
static bool was_wrong(const struct ingest *b)
{
    return b->terms.unasked && store_missed(b->store);
}

/*
 * Begin the batch again, with the same ids: to ask the log whether its events are new; or when the
 * connection to a server was lost, once the store is open again: then what is in the log by now was
 * committed after all. Returns 0 when the batch is in a new transaction, or -1 with the first
 * error.
 */
static int begin_again(struct ingest *b, bool ask, struct err *e)
{
    struct err second = ERR_NONE;
    int got = -1;

    if (ask) {
        txn_rollback(b->txn);
        b->duplicates = b->before;
    }
    while (b->keeps && got < 0 &&
           (ask || (store_lost(b->store) && reconnect(&b->reconnect, b->store) == 0))) {
        err_clear(&second);
        b->unknown |= !ask;
        ask = false;
        b->again = true;
        got = put_kept(b, &second);
        b->again = false;
    }
    if (got == 0)
        err_clear(e);
    else if (second.status != 0 && !store_lost(b->store))
        *e = second;
    return got;
}

static int flush_queue(struct ingest *b, struct err *e)
{
    return put_queue(b, e) < 0 ? begin_again(b, was_wrong(b), e) : 0;
}

/* Messages are in the order of the lines. */
static int refuse(struct ingest *b, struct ingest_place place, struct str line, struct err *e)
{
    if (flush_queue(b, e) < 0 || (b->lines > 0 && b->terms.unasked && begin_again(b, true, e) < 0))
        return -1;
    refused_add(&b->refused, place.file, place.line, line, b->why.text);
    return 0;
}

int ingest_put(struct ingest *b, struct ingest_place place, struct str line, struct err *e)
{
    /* A line that is rejected is not copied; and only event[0] grows large. */
    size_t some = log_some();
    bool alone = b->refused.path != NULL || line.n > some * QUEUE_LINE;

    if (alone && flush_queue(b, e) < 0)
        return -1;
    struct event *ev = &b->event[b->queued];
    if (make(b, ev, line) < 0)
        return refuse(b, place, line, e);
    queue_event(b, place, line);
    b->bytes += (int64_t)line.n;
    /* The caller may want to know at once that a version is stale. */
    alone |= b->terms.versions != LOG_UNVERSIONED || ev->version != 0;
    if (b->lines++ == 0 && begin(b, e) < 0 && begin_again(b, was_wrong(b), e) < 0)
        return -1;
    return alone || queue_full(b) ? flush_queue(b, e) : 0;
}

/* -------------------------------------------------------------------------------------- a line */

struct str ingest_unmarked(struct str text)
{
    bool mark = text.n >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0;
    return mark ? (struct str){text.p + 3, text.n - 3} : text;
}

static struct str content(struct line line)
{
    struct str text = line.number == 1 ? ingest_unmarked(line.text) : line.text;

    if (text.n > 0 && text.p[text.n - 1] == '\r')
        text.n--;
    return text;
}

/* A producer that died in the middle of a line leaves a line without a newline. Whether a line is
   whole can be seen for JSON, except for a number, but not for text. */
static bool maybe_cut(const struct ingest *b, const struct line *line, struct str text)
{
    char last = text.n == 0 ? ' ' : text.p[text.n - 1];
    return !line->newline && b->fill.type != NULL &&
           (b->fill.text || (last >= '0' && last <= '9' && *text.p != '{' && *text.p != '['));
}

static int hold(struct ingest *b, struct ingest_place place, struct str text, struct err *e)
{
    if (b->held.n + text.n > HELD_MAX)
        return err_set(e, EX_DATAERR, "the input is larger than 64 MiB, too much for --atomic");
    held_add(&b->held, place, text);
    return 0;
}

int ingest_line(struct ingest *b, const struct line *line, bool too_long, const char *file,
                struct err *e)
{
    struct ingest_place place = {file, line->number};
    struct str text = content(*line);

    err_clear(&b->why);
    if (too_long)
        err_set(&b->why, EX_DATAERR, "longer than %" PRId64 " bytes (--max-size)", b->max_size);
    else if (text.n == 0 || (*text.p <= ' ' && str_trim(text, " \t").n == 0))
        return 0;
    else if (maybe_cut(b, line, text))
        err_set(&b->why, EX_DATAERR, "value may be cut off: no newline at the end of input");
    b->seen++;
    if (b->why.status != 0)
        return refuse(b, place, text, e);
    return b->atomic ? hold(b, place, text, e) : ingest_put(b, place, text, e);
}

int ingest_held(struct ingest *b, struct err *e)
{
    struct held head;

    for (size_t at = 0; at < b->held.n && b->stale == 0;) {
        struct str text = held_next(&b->held, &at, &head);
        if (ingest_put(b, head.place, text, e) < 0)
            return -1;
    }
    return flush_queue(b, e);
}

/* -------------------------------------------------------------------------------------- commit */

bool ingest_full(const struct ingest *b)
{
    return b->lines >= EVENTS_MAX || b->bytes >= BYTES_MAX ||
           (b->lines > 0 && (b->lines >= b->room || log_crowded(b->txn)));
}

int ingest_commit(struct ingest *b, struct err *e)
{
    bool open = b->lines > 0;
    int got = flush_queue(b, e);

    while (open && got == 0 && (got = txn_commit(b->txn, e)) < 0 &&
           (got = begin_again(b, was_wrong(b), e)) == 0)
        if (b->atomic && b->refused.n > 0) /* meanwhile somebody else was faster */
            return ingest_abandon(b), 0;
    b->lines = b->bytes = 0;
    buf_reset(&b->kept);
    b->repeats = !b->terms.unasked && b->duplicates > b->before; /* they seldom come alone */
    b->unknown = false;
    return got;
}

void ingest_abandon(struct ingest *b)
{
    if (b->lines > 0)
        txn_rollback(b->txn);
    b->queued = b->queued_bytes = 0;
    b->lines = b->bytes = b->duplicates = 0;
    buf_reset(&b->safe);
    buf_reset(&b->kept);
}

void ingest_free(struct ingest *b)
{
    buf_free(&b->safe);
    buf_free(&b->held);
    buf_free(&b->kept);
    refused_free(&b->refused);
    for (size_t i = 0; i < log_some(); i++) /* no more were made */
        event_free(&b->event[i]);
    js_scan_free(&b->scan);
}

#include "deliver/ingest.h"

#include <inttypes.h>

#define EVENTS_MAX 1000 /* with a hundred, two thirds of the speed; with ten thousand, no gain */
#define BYTES_MAX (1 << 20)
#define QUEUE_BYTES (16 << 10) /* of lines; log_crowded does not count them */

static void complain(struct ingest *b, struct ingest_place place, struct str line,
                     const struct err *why)
{
    b->bad++;
    if (place.name != NULL)
        buf_printf(&b->complaints, "%s: ", place.name);
    if (place.file != NULL)
        buf_printf(&b->complaints, "%s: ", place.file);
    if (place.line > 0)
        buf_printf(&b->complaints, "line %" PRId64 ": ", place.line);
    buf_puts(&b->complaints, why->text);
    buf_char(&b->complaints, '\0');
    if (b->keep_rejected && line.p != NULL) {
        buf_str(&b->rejected, line);
        buf_char(&b->rejected, '\n');
    }
}

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
static void explain(const struct ingest *b, const struct event *ev, const struct log_put *put,
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
    return b->room < 0 ? -1 : log_begin(b->store, &b->terms, e);
}

static void note_fate(struct ingest *b, size_t i, const struct log_put *put)
{
    const struct event *ev = &b->event[i];
    struct err why;

    b->duplicates += put->fate == LOG_DUPLICATE;
    b->stale += put->fate == LOG_STALE;
    if (put->fate != LOG_STORED && put->fate != LOG_DUPLICATE) {
        err_clear(&why);
        explain(b, ev, put, &why);
        complain(b, b->place[i], b->line[i], &why);
    } else if (b->echo) {
        buf_str(&b->safe, put->fate == LOG_DUPLICATE ? put->line : ev->line);
        buf_char(&b->safe, '\n');
    }
}

int ingest_flush(struct ingest *b, struct err *e)
{
    size_t n = b->queued;
    struct log_put put;

    b->queued = b->queued_bytes = 0;
    for (size_t i = 0; i < n;) {
        int some = log_put_some(b->store, b->event + i, n - i, &put, e);
        if (some < 0)
            return -1;
        while (some-- > 0)
            note_fate(b, i++, &put);
    }
    return 0;
}

int ingest_refuse(struct ingest *b, struct ingest_place place, struct str line,
                  const struct err *why, struct err *e)
{
    if (ingest_flush(b, e) < 0) /* complaints are in the order of the lines */
        return -1;
    complain(b, place, line, why);
    return 0;
}

int ingest_put(struct ingest *b, struct ingest_place place, struct str line, struct err *e)
{
    /* A line that is rejected is not copied; and only event[0] grows large. */
    bool alone = b->keep_rejected || line.n > QUEUE_BYTES;

    if (alone && ingest_flush(b, e) < 0)
        return -1;
    struct event *ev = &b->event[b->queued];
    if (make(b, ev, line) < 0)
        return ingest_refuse(b, place, line, &b->why, e);
    if (b->lines == 0 && begin(b, e) < 0)
        return -1;
    b->lines++;
    b->bytes += (int64_t)line.n;
    b->place[b->queued] = place;
    b->line[b->queued++] = line;
    b->queued_bytes += line.n;
    /* The caller may want to know at once that a version is stale. */
    alone |= b->terms.versions != LOG_UNVERSIONED || ev->version != 0;
    return alone || b->queued == INGEST_QUEUE || b->queued_bytes > QUEUE_BYTES ? ingest_flush(b, e)
                                                                               : 0;
}

bool ingest_full(const struct ingest *b)
{
    return b->lines >= EVENTS_MAX || b->bytes >= BYTES_MAX ||
           (b->lines > 0 && (b->lines >= b->room || log_crowded(b->store)));
}

bool ingest_open(const struct ingest *b)
{
    return b->lines > 0;
}

int ingest_commit(struct ingest *b, struct err *e)
{
    bool open = ingest_open(b);

    if (ingest_flush(b, e) < 0)
        return -1;
    b->lines = b->bytes = 0;
    return open ? log_commit(b->store, e) : 0;
}

void ingest_abandon(struct ingest *b)
{
    if (ingest_open(b))
        log_rollback(b->store);
    b->queued = b->queued_bytes = 0;
    b->lines = b->bytes = b->duplicates = 0;
    buf_reset(&b->safe);
}

void ingest_told(struct ingest *b)
{
    buf_shrink(&b->safe, BYTES_MAX);
    buf_shrink(&b->complaints, BYTES_MAX);
    buf_shrink(&b->rejected, BYTES_MAX);
}

void ingest_free(struct ingest *b)
{
    buf_free(&b->safe);
    buf_free(&b->complaints);
    buf_free(&b->rejected);
    for (size_t i = 0; i < INGEST_QUEUE; i++)
        event_free(&b->event[i]);
    js_scan_free(&b->scan);
}

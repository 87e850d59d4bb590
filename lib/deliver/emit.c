#include "deliver/emit.h"

#include "base/mem.h"
#include "base/sha1.h"
#include "base/uuid.h"
#include "event/source.h"
#include "store/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT 64          /* made events whose memory is used again, */
#define KEPT_BYTES 16384 /* unless they are larger */

struct emitted {
    struct event event;
    bool derived; /* its id is not its own */
};

static const char *kept(struct buf *b, struct str text)
{
    buf_reset(b);
    if (text.p == NULL)
        return NULL;
    buf_str(b, text);
    return buf_text(b);
}

static void continue_chain(struct emit *m, const struct event *cause)
{
    if (m->source.n == 0)
        source_here(&m->source, m->group);
    m->fill = (struct event_fill){
        .source = buf_text(&m->source),
        .causationid = kept(&m->id, cause->id),
        .correlationid = kept(&m->correlationid,
                              cause->correlationid.p != NULL ? cause->correlationid : cause->id),
        .traceparent = kept(&m->traceparent, cause->traceparent),
        .hops = cause->hops,
        .priority = -1,
        .now_ms = clock_now_ms(),
    };
}

static void derive_id(const struct emit *m, const struct event *cause, int64_t recorded_ms,
                      int64_t number, char out[UUID_SIZE])
{
    unsigned char digest[20];
    char text[24];
    struct sha1 s;

    snprintf(text, sizeof text, "%" PRId64, number);
    sha1_init(&s);
    sha1_add(&s, cause->source.p, cause->source.n);
    sha1_add(&s, "", 1);
    sha1_add(&s, cause->id.p, cause->id.n);
    sha1_add(&s, "", 1);
    sha1_add(&s, m->group, strlen(m->group) + 1);
    sha1_add(&s, text, strlen(text) + 1);
    sha1_end(&s, digest);
    uuid_v8(out, recorded_ms, digest);
}

static struct emitted *new_event(struct emit *m)
{
    if (m->n == m->room) {
        size_t room = m->room == 0 ? 16 : m->room * 2;
        m->made = mem_grow(m->made, room, sizeof *m->made);
        memset(m->made + m->room, 0, (room - m->room) * sizeof *m->made);
        m->room = room;
    }
    return &m->made[m->n];
}

static int make_event(struct emit *m, struct str line, const char *derived, struct err *why)
{
    struct emitted *made = new_event(m);

    if (line.n > EMIT_LINE_MAX)
        return err_set(why, EX_DATAERR, "longer than 1 MiB");
    m->fill.id = derived;
    if (event_make(&made->event, &m->scan, &m->fill, line, why) < 0) {
        char *remedy = strstr(why->text, "; -t TYPE"); /* that hint is for publish: here there is no
                                                          such option */
        if (remedy != NULL)
            *remedy = '\0';
        return -1;
    }
    if (made->event.hops > EVENT_HOPS_MAX)
        return err_set(why, EX_DATAERR, "causal chain longer than %d events, is it a cycle?",
                       EVENT_HOPS_MAX);
    made->derived = str_is(made->event.id, derived);
    m->n++;
    return 0;
}

static struct str next_line(struct str *text)
{
    const char *newline = memchr(text->p, '\n', text->n);
    struct str line = {text->p, newline == NULL ? text->n : (size_t)(newline - text->p)};
    size_t taken = line.n + (newline != NULL);

    text->p += taken;
    text->n -= taken;
    return line;
}

static bool blank(struct str line)
{
    while (line.n > 0 && strchr(" \t\r", line.p[line.n - 1]) != NULL)
        line.n--;
    return line.n == 0;
}

int emit_make(struct emit *m, const struct event *cause, int64_t recorded_ms, struct str output,
              struct err *why)
{
    char derived[UUID_SIZE];
    size_t before = m->n;
    int64_t number = 0;

    continue_chain(m, cause);
    while (output.n > 0) {
        struct str line = next_line(&output);
        number++;
        if (blank(line))
            continue;
        derive_id(m, cause, recorded_ms, number, derived);
        if (make_event(m, line, derived, why) < 0) {
            m->n = before;
            return err_at(why, "line %" PRId64 " of its output: ", number);
        }
    }
    return 0;
}

static void explain(const struct event *ev, const struct log_put *put, struct err *why)
{
    struct err_quoted id = err_quote(ev->id.p, ev->id.n);

    if (put->fate == LOG_CYCLE)
        err_set(why, EX_DATAERR, "causal chain longer than %d events, is it a cycle?",
                EVENT_HOPS_MAX);
    else if (put->fate == LOG_STALE)
        err_set(why, EX_TEMPFAIL, "subject %s has another event at version %" PRId64,
                err_quote(ev->subject.p, ev->subject.n).text, ev->version);
    else
        err_set(why, EX_DATAERR, "id %s is already stored with other content (seq %" PRId64 ")",
                id.text, put->seq);
    err_at(why, "its output: ");
}

int emit_put(struct emit *m, struct txn *t, size_t at, size_t n, struct err *why, struct err *e)
{
    struct log_put put;

    for (struct emitted *made = m->made + at; n > 0; n--, made++) {
        if (log_put(t, &made->event, &put, e) < 0)
            return -1;
        if (put.fate == LOG_STORED || put.fate == LOG_DUPLICATE ||
            (put.fate == LOG_CLASH && made->derived))
            continue;
        explain(&made->event, &put, why);
        return 0;
    }
    return 1;
}

void emit_forget(struct emit *m)
{
    for (size_t i = 0; i < m->n; i++)
        if (i >= KEPT || m->made[i].event.line.n > KEPT_BYTES)
            event_free(&m->made[i].event);
    m->n = 0;
}

void emit_free(struct emit *m)
{
    for (size_t i = 0; i < m->room; i++)
        event_free(&m->made[i].event);
    free(m->made);
    buf_free(&m->source);
    buf_free(&m->id);
    buf_free(&m->correlationid);
    buf_free(&m->traceparent);
    js_scan_free(&m->scan);
}

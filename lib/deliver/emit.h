/*
 * emit: publish a handler's output as events, in the transaction that settles the event that it
 * handled. So each event is published exactly once, however often the handler runs.
 *
 *     emit_make(&m, &cause, recorded_ms, output, &why)   outside: what is wrong is found
 *     txn_begin(…)
 *     emit_put(&m, t, at, n, &why, &e)                   for each that was made
 *     txn_settle(…), txn_commit(…)
 *     emit_forget(&m)
 *
 * The lines are events as publish takes them without -t; a type is enough. They continue the causal
 * chain of cause. An event without an id of its own gets an id that depends only on its cause, the
 * group and the number of its line (design 6), so that a repeated run makes the same event: a
 * UUIDv8 of the cause's recorded milliseconds and the first 74 bits of the SHA-1 of source, id,
 * group and number, each followed by a NUL. Of several events with the same id, the first that was
 * stored stands.
 */
#ifndef DELIVER_EMIT_H
#define DELIVER_EMIT_H

#include "store/group.h"

#define EMIT_LINE_MAX (1 << 20)

struct emit { /* all zero except the group; one for a whole run */
    const char *group;

    size_t n; /* how many events are made and not forgotten, numbered from 0 */

    struct emitted *made; /* from here on private to emit */
    size_t room;
    struct event_fill fill;
    struct buf source, id, correlationid, traceparent;
    struct js_scan scan;
};

/* Make the events in output; blank lines are ignored. Each line is scanned here, and never again.
   0, or -1 with 65 and "line 2 of its output: …" in why; then none is made. */
int emit_make(struct emit *m, const struct event *cause, int64_t recorded_ms, struct str output,
              struct err *why);

/* Put n made events into the log, from number at on. 1, or 0 when one of them cannot be stored,
   with the reason in why: the caller rolls back and continues without these events; -1 when the
   store failed. The status in why is 65, or 75 when another process has published that version of
   the event's subject: the handler may decide otherwise when it runs again. */
int emit_put(struct emit *m, struct txn *t, size_t at, size_t n, struct err *why, struct err *e);

void emit_forget(struct emit *m); /* all that was made */

void emit_free(struct emit *m);

#endif

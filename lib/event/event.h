/*
 * event: one CloudEvent on one line, in and out (CloudEvents 1.0.2, JSON structured mode, with the
 * correlation and distributed-tracing extensions).
 *
 * event_make turns a line of input into a complete event: it checks what is there, fills in what
 * is missing, and changes nothing else: numbers keep their digits, and a CloudEvent with its four
 * required attributes stays as it is, byte for byte. event_read only reads.
 *
 *     struct js_scan scan = JS_SCAN_INIT;
 *     struct event ev = EVENT_INIT;
 *     if (event_make(&ev, &scan, &fill, line, &e) < 0) …   e: "time" is not RFC 3339: "yesterday"
 *     … ev.line, ev.id, ev.type …                          views, until the next call with ev
 *     event_free(&ev); js_scan_free(&scan);
 *
 * Rules for attributes: names consist of a-z and 0-9; id, source, type, subject and the causal
 * attributes are strings of 1 to 1,024 bytes without control characters (CloudEvents forbids these,
 * and every listing and every environment relies on that); time, notbefore and expirytime are RFC
 * 3339; hops is 0 to EVENT_HOPS_MAX; priority is 0 to 9; any other attribute is a string, number or
 * boolean. null means absent. data is any JSON; event_make also checks that data_base64 is Base64.
 */
#ifndef EVENT_H
#define EVENT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#include <stdint.h>

#define EVENT_ATTRIBUTE_MAX 1024 /* bytes; longer ones would not fit an environment for long */
#define EVENT_HOPS_MAX 64        /* a longer causal chain is a cycle */
#define EVENT_VERSION_MAX ((int64_t)1 << 53) /* exact in every reader of JSON */
#define EVENT_PRIORITY 5                     /* the default; 0 is first, 9 last */

struct event {
    struct str line; /* complete, without newline */
    struct str id, source, type;
    struct str subject, time, correlationid, causationid, traceparent; /* p NULL: absent */
    struct str tracestate; /* p NULL: absent, or not fit for an environment */
    struct str data;  /* its bytes in line (of data_base64 when that is there); p NULL: absent */
    bool base64;      /* data is from data_base64 */
    int64_t version;  /* its place in its subject's stream; 0: none, or not a version number */
    int64_t hops;     /* 0: none */
    int64_t priority; /* 0 to 9 */
    bool prioritised; /* the event itself has a priority */
    int64_t notbefore_ms, expiry_ms; /* 0: none */
    size_t fill_at; /* where event_set_… inserts; this and the rest are private */
    struct str hops_text, version_text;
    struct buf text, decoded;
};

/* clang-format off */
#define EVENT_INIT {0}
/* clang-format on */

/* What to fill in, for a whole input. Texts are C strings, NULL for none. */
struct event_fill {
    const char *type; /* lines are the data of events of this type; NULL: lines are events */
    bool text;        /* with type: the raw line becomes a JSON string */
    const char *id, *subject, *source;
    const char *id_from, *subject_from; /* RFC 6901 pointers into the line */
    const char *correlationid,
        *causationid;        /* of the event being handled; NULL outside a handler */
    const char *traceparent; /* the event is a child span of this, unless it is invalid (as W3C) */
    int64_t hops;            /* of the event being handled, -1 outside a handler */
    int64_t priority;        /* -1: none */
    int64_t notbefore_ms, expiry_ms; /* wall time; 0: none */
    int64_t now_ms;
};

/*
 * Make ev the event that line describes. With fill->type the line is data: any JSON value, except
 * that a line that is already an event is refused. Without fill->type the line is an event:
 * complete, or partial (a type is enough), with the member names of CloudEvents or, if it has no
 * specversion, with those of the pattern literature (timestamp, payload, aggregateId,
 * metadata.correlationId …). ev keeps its own copy, and may be moved: it needs neither line nor
 * scan any more, so an event that was made once can be put into the log whenever. The line is
 * scanned once. Returns 0, or -1 with status 65 and what is wrong, but not where.
 */
int event_make(struct event *ev, struct js_scan *scan, const struct event_fill *fill,
               struct str line, struct err *e);

/* Read a complete event, such as one from the log. Views are of line, except those of attributes
   that are written with escapes, which are of ev. Returns 0, or -1 with 65. */
int event_read(struct event *ev, struct js_scan *scan, struct str line, struct err *e);

/* Set an attribute of an event that event_make made: it is inserted, or its old value replaced. */
void event_set_hops(struct event *ev, int64_t hops);
void event_set_version(struct event *ev, int64_t version);

void event_free(struct event *ev);

/* The event's name for messages: order.placed "0192…" */
struct err_quoted event_name(const struct event *ev);

#endif

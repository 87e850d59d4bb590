/*
 * json: one strict pass over a line of JSON, without a tree.
 *
 * RFC 8259 with nothing left open: valid UTF-8 only, no NUL and no \u0000, no unpaired surrogate,
 * no two equal keys in one object at any depth (however they are spelled), at most JS_DEPTH_MAX
 * levels. Numbers may have any length: they are text here and stay text, because every library
 * that turns them into machine numbers changes some. Values are spans of the original bytes.
 *
 * Where a tree is wanted (definitions, listings, replies) jansson builds it, and has taken the
 * prefix json_: ours is js_.
 *
 *     struct js_scan scan = JS_SCAN_INIT;      one for a whole input: it keeps its scratch
 *     if (js_scan(&scan, line, len, &e) < 0) …   e says "duplicate key "id""
 *     m = js_member(&scan, "id");                top-level members, if the line is an object
 *     js_scan_free(&scan);
 *
 * Memory: proportional to the number of keys of the objects that are open, never to the number of
 * values; an 8 MiB line of tiny objects costs a few kilobytes.
 */
#ifndef JSON_H
#define JSON_H

#include "buf.h"
#include "err.h"

#define JS_DEPTH_MAX 128

enum js_kind { JS_NULL, JS_BOOL, JS_NUMBER, JS_STRING, JS_ARRAY, JS_OBJECT };

struct js_member {
    struct str key;    /* decoded: a view of the line, or of the scan's scratch */
    struct str value;  /* the value's own bytes in the line, strings with their quotes */
    size_t key_at;     /* offset of the key's opening quote in the line */
    enum js_kind kind; /* of the value */
};

struct js_scan {
    bool envelope;            /* yours to set: one level more, around data of JS_DEPTH_MAX */
    enum js_kind kind;        /* of the whole line */
    struct str value;         /* the line without surrounding white space */
    struct js_member *member; /* of the top-level object, in order */
    size_t members;
    size_t member_room; /* the rest is the scan's own */
    struct js_key *key;
    size_t keys, key_room;
    struct buf scratch;
};

/* clang-format off */
#define JS_SCAN_INIT {0}
/* clang-format on */

/*
 * Check line[0..len), which holds exactly one JSON value with white space around it (a newline
 * counts as white space), and note the members if it is an object. Results are views of line and
 * of scan, valid until either changes.
 * Returns 0, or -1 with status 65 and a text that names the fault and its byte, counted from 1:
 *     unfinished object at byte 7 (input ends)      unexpected "x" at byte 3
 *     NUL byte at byte 7                            "\u0000" is not allowed (byte 12)
 *     invalid UTF-8 at byte 9                       unpaired surrogate at byte 9
 *     duplicate key "id"                            nested deeper than 128 levels
 */
int js_scan(struct js_scan *scan, const char *line, size_t len, struct err *e);
void js_scan_free(struct js_scan *scan);

/* The top-level member with this key, or NULL. */
const struct js_member *js_member(const struct js_scan *scan, const char *key);

/*
 * The rest works on bytes that js_scan has accepted; on others the result is undefined but never
 * reads beyond the span.
 */
enum js_kind js_kind(struct str value);

/* Decode a string's span (quotes included) to UTF-8. Without escapes that is a view of the span;
   otherwise the text is appended to into, and the view is of into: valid until into changes, so
   buf_need(into, value.n) before a series of calls keeps them all valid. */
struct str js_string(struct str value, struct buf *into);

/* The integer that this number's text spells exactly (no fraction, no exponent, fits 64 bits).
   False if it is none. */
bool js_integer(struct str value, int64_t *out);

/* The value that an RFC 6901 pointer ("/data/orderId", "" is the whole) names inside value;
   absent (p == NULL) when there is none. Costs one walk over what stands before it. */
struct str js_pointer(struct str value, const char *pointer);
int js_pointer_check(const char *pointer, struct err *e); /* is it one? 64 with the reason */

/* The member of an object's span; absent when there is none. */
struct str js_get(struct str object, const char *key);

/* How many of text's bytes are valid UTF-8 before the first that is not; text.n when all are. */
size_t js_utf8(struct str text);

/*
 * Step through an object's or array's span: *at is 0 at the start. False at the end. key is absent
 * in an array, and still encoded, with its quotes, in an object.
 */
bool js_each(struct str value, size_t *at, struct str *key, struct str *item);

/* Append text as a JSON string with quotes. Besides what RFC 8259 asks for, everything that could
   steer a terminal is escaped (utf8_steers). text is valid UTF-8; invalid bytes become U+FFFD. */
void js_quote(struct buf *b, struct str text);

/* Append accepted JSON for a terminal: the same value, with escapes for what could steer one. */
void js_show(struct buf *b, struct str json);

#endif

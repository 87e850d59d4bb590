/*
 * json: one strict pass over a line of JSON, without a tree.
 *
 * It accepts RFC 8259, and is strict where RFC 8259 leaves a choice: valid UTF-8 only, no NUL and
 * no \u0000, no unpaired surrogate, no two equal keys in one object at any depth (even if written
 * differently), at most JS_DEPTH_MAX levels. Numbers may have any length: they are text here and
 * stay text, because every library that turns them into machine numbers changes some. Values are
 * spans of the original bytes.
 *
 * Code that needs a tree (definitions, listings, replies) uses jansson, which has the prefix json_:
 * ours is js_.
 *
 *     struct js_scan scan = JS_SCAN_INIT;      one for a whole input: its buffers are reused
 *     if (js_scan(&scan, line, len, &e) < 0) …   e says "duplicate key "id""
 *     m = js_member(&scan, "id");                top-level members, if the line is an object
 *     js_scan_free(&scan);
 *
 * Memory is proportional to the number of keys of the objects that are open at a time, never to the
 * number of values; an 8 MiB line of tiny objects costs a few kilobytes.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"
#include "base/err.h"

#define JS_DEPTH_MAX 128

enum js_kind { JS_NULL, JS_BOOL, JS_NUMBER, JS_STRING, JS_ARRAY, JS_OBJECT };

struct js_member {
    struct str key;    /* decoded: a view of the line, or of the scan's scratch */
    struct str value;  /* the value's own bytes in the line, strings with their quotes */
    size_t key_at;     /* offset of the key's opening quote in the line */
    enum js_kind kind; /* of the value */
};

struct js_scan {
    bool envelope;            /* set by the caller: one more level, around data of JS_DEPTH_MAX */
    enum js_kind kind;        /* of the whole line */
    struct str value;         /* the line without surrounding white space */
    bool escapes, beyond;     /* is there an escape, or a byte beyond ASCII, in any string? */
    struct js_member *member; /* of the top-level object, in order */
    size_t members;
    size_t member_room; /* this and the rest are private */
    struct js_key *key;
    size_t keys, key_room;
    struct buf scratch;
};

/* clang-format off */
#define JS_SCAN_INIT {0}
/* clang-format on */

/*
 * Check that line[0..len) holds exactly one JSON value, perhaps with white space around it (a
 * newline counts as white space), and record the members if it is an object. Results are views of
 * line and of scan, valid until either changes.
 * Returns 0, or -1 with status 65 and a text that names the fault and its byte, counted from 1:
 *     unfinished object at byte 7 (input ends)      unexpected "x" at byte 3
 *     NUL byte at byte 7                            "\u0000" is not allowed (byte 12)
 *     invalid UTF-8 at byte 9                       unpaired surrogate at byte 9
 *     duplicate key "id"                            nested deeper than 128 levels
 */
int js_scan(struct js_scan *scan, const char *line, size_t len, struct err *e);

/* Record the members of an object that was put together from accepted values, instead of scanning
   it: its values are not looked at again. Returns 0, or -1 with 65 when two keys are equal. */
int js_members(struct js_scan *scan, struct str object, struct err *e);
void js_scan_free(struct js_scan *scan);

/* The top-level member with this key, or NULL. */
const struct js_member *js_member(const struct js_scan *scan, const char *key);

/*
 * The functions below work on bytes that js_scan has accepted; with other bytes their result is
 * undefined, but they never read beyond the span.
 */
enum js_kind js_kind(struct str value);

/* Decode a string's span (quotes included) to UTF-8. If the string has no escapes, the result is a
   view of the span; otherwise the text is appended to into and the result is a view of into, valid
   until into changes. To keep the results of a series of calls valid, first call buf_need(into, n),
   where n is the length of all their values together. */
struct str js_string(struct str value, struct buf *into);

/* Read the number's text as an integer. False unless it is exactly one (no fraction, no exponent,
   fits 64 bits). */
bool js_integer(struct str value, int64_t *out);

/* The value that an RFC 6901 pointer ("/data/orderId"; "" is the whole) names inside value; absent
   (p == NULL) when there is no such value. Costs one walk over what comes before that value. */
struct str js_pointer(struct str value, const char *pointer);
int js_pointer_check(const char *pointer, struct err *e); /* a pointer? 0; if not, -1 with 64 */

/* The value of an object's member, from the object's span; absent when there is no such member. */
struct str js_get(struct str object, const char *key);

/* How many of text's bytes come before the first invalid UTF-8; text.n when all is valid. */
size_t js_utf8(struct str text);

/*
 * Step through an object's or array's span. Start with *at = 0. Returns false at the end. *key is
 * absent in an array; in an object it is still encoded, with its quotes.
 */
bool js_each(struct str value, size_t *at, struct str *key, struct str *item);

/* Append text as a JSON string with quotes. Escapes what RFC 8259 requires, and everything that
   could steer a terminal (utf8_steers). text should be UTF-8; invalid bytes become U+FFFD. */
void js_quote(struct buf *b, struct str text);

/* Append accepted JSON for a terminal: the same value, with escapes for what could steer a
   terminal. */
void js_show(struct buf *b, struct str json);

#endif

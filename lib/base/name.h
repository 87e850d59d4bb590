/*
 * name: checks the names that users give, wherever a name comes from. Names end up in events, in
 * JSON, in listings, messages and environments, so they must be UTF-8 of a bounded length without
 * control characters.
 */
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include "base/buf.h"
#include "base/err.h"

#define NAME_BYTES 255       /* of groups, breakers, buckets, projections, machines */
#define NAME_TEXT_BYTES 1024 /* of what becomes an event's attribute: subjects, ids, sources */
#define NAME_PATH_BYTES 4095
#define NAME_KEY_BYTES 8192 /* of keys that are composed of several texts */

/* Is name a valid name of at most max bytes? Returns 0, or -1 with status 64 and a text that begins
   with what, the option or variable that the name comes from:
       -g is empty (an unset variable?)       -g is longer than 255 bytes: "aaaa…"
       -g is not UTF-8: "n\xffm"              -g has a control character: "a\x01" */
int name_check(const char *what, struct str name, size_t max, struct err *e);

#endif

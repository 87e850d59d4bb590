/*
 * standing: where an event stands with a group, in words. Pure.
 *
 *     charge: waiting until 2026-11-21T10:00:00.000Z, in 5m (attempt 3 failed: exit status 7)
 *     email: done
 */
#ifndef STANDING_H
#define STANDING_H

#include "store.h"

#include <jansson.h>

/* Append what stands behind the colon, escaped. Of the event only recorded_ms and damaged are
   looked at. */
void standing_text(struct buf *b, const struct where *w, const struct log_entry *event,
                   int64_t now_ms);

/* The same for programs, with the words as "why". */
json_t *standing_row(const struct where *w, const struct log_entry *event, int64_t now_ms);

#endif

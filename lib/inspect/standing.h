/*
 * standing: how far a group has got with an event, in words. Pure.
 *
 *     charge: waiting until 2026-11-21T10:00:00.000Z, in 5m (attempt 3 failed: exit status 7)
 *     email: done
 */
#ifndef INSPECT_STANDING_H
#define INSPECT_STANDING_H

#include "store/where.h"

#include <jansson.h>

/* Append the text after the colon, escaped. Only recorded_ms and damaged of the event are used. */
void standing_text(struct buf *b, const struct where *w, const struct log_entry *event,
                   int64_t now_ms);

/* The same as JSON for programs, with the text as "why". */
json_t *standing_row(const struct where *w, const struct log_entry *event, int64_t now_ms);

#endif

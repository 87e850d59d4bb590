/*
 * fingerprint: what failures of the same kind have in common. Pure.
 *
 * It is the first line that a handler wrote to stderr, with everything masked that differs between
 * failures of the same kind: numbers become N, words with digits in them (ids, hashes, addresses,
 * times) become ID, and text in quotes becomes "…".
 *
 *     connect to 10.0.0.7:5432: connection refused      connect to ID: connection refused
 *     order 8812 has no card                            order N has no card
 */
#ifndef EVENT_FINGERPRINT_H
#define EVENT_FINGERPRINT_H

#include "base/buf.h"

/* Append the fingerprint of said, what a handler wrote: at most 200 bytes, and nothing when the
   handler wrote nothing. said need not be UTF-8. */
void fingerprint(struct buf *out, struct str said);

#endif

/*
 * fingerprint: what failures have in common. Pure.
 *
 * The first line that a handler said on stderr, with everything masked that differs from one
 * failure to the next of the same kind: numbers become N, words with digits in them (ids, hashes,
 * addresses, times) become ID, and what stands in quotes becomes "…".
 *
 *     connect to 10.0.0.7:5432: connection refused      connect to ID: connection refused
 *     order 8812 has no card                            order N has no card
 */
#ifndef FINGERPRINT_H
#define FINGERPRINT_H

#include "buf.h"

/* Append the fingerprint of what a handler said; at most 200 bytes, nothing when it said nothing.
   said need not be UTF-8. */
void fingerprint(struct buf *out, struct str said);

#endif

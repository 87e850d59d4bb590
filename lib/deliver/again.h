/*
 * again: a command that follows survives the loss of its server.
 *
 *     do {
 *         … open what it needs in the store, work, close …
 *     } while (follow && again(&reconnect, store, &e));
 */
#ifndef DELIVER_AGAIN_H
#define DELIVER_AGAIN_H

#include "deliver/reconnect.h"

/* After an error: was it the loss of the connection, and is the store open again? Then true, with e
   cleared; it tries until then. False when e is another error; or, with e cleared, when a signal
   came while it tried. What is lost and found again is reported. Takes store_stop to itself. */
bool again(struct reconnect *r, struct store *s, struct err *e);

#endif

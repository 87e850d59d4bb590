/*
 * source: the source of events that are made on this machine.
 */
#ifndef EVENT_SOURCE_H
#define EVENT_SOURCE_H

#include "base/buf.h"

/* Append "/HOSTNAME", or "/HOSTNAME/NAME" when there is one: the source of events made here. */
void source_here(struct buf *b, const char *name);

#endif

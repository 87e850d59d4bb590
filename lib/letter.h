/*
 * letter: a dead letter as people and programs see it.
 */
#ifndef LETTER_H
#define LETTER_H

#include "store.h"

#include <jansson.h>

/* A row for a listing: which event, where, since when, and why. */
json_t *letter_row(const struct dead_letter *l);

/* The whole letter to stdout, with each attempt and what it said on stderr: as a line of JSON, the
   event in it byte for byte (with escapes on a terminal); or as text for a terminal. 0, or -1 when
   stdout failed. */
int letter_print(const struct dead_letter *l, struct err *e);
int letter_show(const struct dead_letter *l, struct err *e);

/* Append what its last failure has in common with others of its kind: the status in words, and the
   fingerprint of what was said. */
void letter_fingerprint(const struct dead_letter *l, struct buf *out);

#endif

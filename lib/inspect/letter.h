/*
 * letter: a dead letter as people and programs see it.
 */
#ifndef INSPECT_LETTER_H
#define INSPECT_LETTER_H

#include "store/dead.h"

#include <jansson.h>

/* A row for a listing: the event, its group, since when it is dead, and why. */
json_t *letter_row(const struct dead_letter *l);

/* Print the whole letter to stdout, with each attempt and what the handler wrote to stderr.
   letter_print prints a line of JSON with the event in it byte for byte (with escapes on a
   terminal); letter_show prints text for a terminal. 0, or -1 when stdout failed. */
int letter_print(const struct dead_letter *l, struct err *e);
int letter_show(const struct dead_letter *l, struct err *e);

/* Append what the letter's last failure has in common with others of its kind: the status in words,
   and the fingerprint of the handler's message. */
void letter_fingerprint(const struct dead_letter *l, struct buf *out);

#endif

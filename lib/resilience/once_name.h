/*
 * once_name: a key of once that nobody gave as a word.
 */
#ifndef RESILIENCE_ONCE_NAME_H
#define RESILIENCE_ONCE_NAME_H

#include "process/wrap.h"

/* In a handler the key is the event and its group: the same event has the same key, and no other
   event has. 0, or -1 with 64: this is no handler, or a variable is wrong. */
int once_name_of_handler(struct buf *name, struct err *e);

/* The value at the pointer by in the event on stdin. 0, or -1 with 65: there is no such value, or
   it cannot be a key; or as wrap_read. */
int once_name_of_input(struct buf *name, const struct wrap_input *input, const char *by,
                       struct err *e);

#endif

/* What the files of fold share. */
#ifndef REDUCE_FOLD_PRIV_H
#define REDUCE_FOLD_PRIV_H

#include "base/json.h"
#include "reduce/fold.h"

#include <jansson.h>

/* reducer.c: look at the files again; r->changes goes up when one has changed. */
void fold_reducer_look(struct fold_reducer *r);

/*
 * merge.c: RFC 7396. A state is a jansson object for an object, and for everything else a
 * string that holds its JSON text, so that numbers keep their digits. Takes ownership of the state
 * (NULL: null) and returns the new one.
 */
json_t *fold_merge(json_t *state, struct str patch, struct err *e);
void fold_merge_print(json_t *state, struct buf *text);

/* Matches every event except the toolkit's own. */
extern const struct pattern_list fold_types;

#endif

/*
 * json_tree: values for jansson's trees, and trees as text.
 */
#ifndef BASE_JSON_TREE_H
#define BASE_JSON_TREE_H

#include "base/buf.h"

#include <jansson.h>
#include <stdint.h>

/* New values: a text (null if absent; U+FFFD for what is not UTF-8); a time (null for 0). */
json_t *tree_text(struct str text);
json_t *tree_time(int64_t ms);

/* Append value as JSON on one line. Unlike jansson's own output, this escapes everything that could
   steer a terminal. NULL, which jansson makes from text that is not UTF-8, becomes null. */
void tree_print(struct buf *b, json_t *value);

#endif

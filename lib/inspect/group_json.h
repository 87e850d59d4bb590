/*
 * group_json: a group as people and programs see it.
 */
#ifndef INSPECT_GROUP_JSON_H
#define INSPECT_GROUP_JSON_H

#include "store/groups.h"

#include <jansson.h>

/* A row for a listing: the group, its patterns, its state, and its counts. */
json_t *group_json(const struct group_info *info);

#endif

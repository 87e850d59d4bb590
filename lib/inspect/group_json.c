#include "inspect/group_json.h"

#include "base/json_tree.h"

json_t *group_json(const struct group_info *info)
{
    json_t *types = json_array();

    for (size_t i = 0; i < info->types->n; i++)
        json_array_append_new(types, tree_text(str_of(info->types->item[i])));
    if (info->types->n == 0)
        json_array_append_new(types, json_string("#"));
    return json_pack("{s:o,s:o,s:b,s:s,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "group",
                     tree_text(str_of(info->name)), "types", types, "ordered", info->ordered,
                     "state",
                     info->paused          ? "paused"
                     : info->hold_ms != 0  ? "on hold"
                     : info->consumers > 0 ? "active"
                                           : "idle",
                     "hold_until", tree_time(info->hold_ms), "position", (json_int_t)info->position,
                     "lag", (json_int_t)info->lag, "due", (json_int_t)info->due, "waiting",
                     (json_int_t)info->waiting, "in_flight", (json_int_t)info->in_flight, "dead",
                     (json_int_t)info->dead, "consumers", (json_int_t)info->consumers, "done",
                     (json_int_t)info->done, "retried", (json_int_t)info->retried, "deferred",
                     (json_int_t)info->deferred, "created", tree_time(info->created_ms));
}

#include "replay/print.h"

#include "base/json_tree.h"
#include "cli/out.h"
#include "cli/say.h"

#include <inttypes.h>
#include <stdio.h>

const struct table_column replay_columns[] = {
    {"seq", TABLE_RIGHT},    {"recorded", TABLE_LEFT}, {"type", TABLE_LEFT},
    {"subject", TABLE_LEFT}, {"id", TABLE_LEFT},       {NULL, TABLE_LEFT},
};

int replay_print(struct replay_print *p, const struct log_entry *entry, struct err *e)
{
    char text[CLOCK_TEXT_SIZE];

    if (entry->damaged) {
        say_warn("seq %" PRId64 " is damaged: left out", entry->seq);
        p->damaged++;
        return 0;
    }
    p->shown++;
    if (p->form == REPLAY_TABLE)
        return table_row(p->table,
                         json_pack("{s:I,s:s,s:o,s:o,s:o}", "seq", (json_int_t)entry->seq,
                                   "recorded", clock_format(text, entry->recorded_ms), "type",
                                   tree_text(entry->type), "subject", tree_text(entry->subject),
                                   "id", tree_text(entry->id)),
                         e);
    if (p->form == REPLAY_NDJSON)
        return out_json(entry->line, e);
    snprintf(text, sizeof text, "%" PRId64, entry->seq);
    return out_line(str_of(text), e);
}

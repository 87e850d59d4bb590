#include "project/progress.h"

#include "cli/say.h"

int64_t progress_aside;

void progress_set_aside(const char *name, const struct log_entry *entry, const struct err *why)
{
    say_progress_end();
    progress_aside++;
    say(SAY_WARN, why->status,
        &(struct say_about){.id = entry->id, .type = entry->type, .group = str_of(name)},
        "%s: set aside", why->text);
}

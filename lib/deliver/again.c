#include "deliver/again.h"

#include "cli/say.h"
#include "process/proc.h"

bool again(struct reconnect *r, struct store *s, struct err *e)
{
    if (e->status != EX_TEMPFAIL || !store_lost(s))
        return false;
    say_warn("%s: connecting again", e->text);
    err_clear(e);
    store_stop(s, proc_stopping);
    while (reconnect(r, s) < 0)
        if (proc_stopping())
            return false;
    say_note("%s: connected again", store_name(s));
    return true;
}

#include "command/spool.h"

#include "cli/args.h"
#include "cli/say.h"

int spool_open(struct store **s, enum store_mode mode, struct err *e)
{
    int got = store_open(s, args_spool(), mode, e);

    if (got > 0)
        say_note("created the spool %s", store_name(*s));
    return got < 0 ? -1 : 0;
}

int spool_open_for(struct store **s, enum store_ability what, struct err *e)
{
    static const char *const verbs[] = {
        [STORE_CHECK] = "check", [STORE_BACKUP] = "back up", [STORE_QUERY] = "query in SQL"};

    if (spool_open(s, STORE_READ, e) < 0)
        return -1;
    return store_can(*s, what) ? 0
                               : err_set(e, EX_UNAVAILABLE, "%s: its engine has no way to %s it",
                                         store_name(*s), verbs[what]);
}

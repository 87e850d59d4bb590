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

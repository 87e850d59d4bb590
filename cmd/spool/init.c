/*
 * spool init: make the spool, before anybody publishes into it.
 */
#include "cli/out.h"
#include "command/spool.h"
#include "spool/verbs.h"

static int run_spool_init(char **operand)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;

    (void)operand;
    spool_open(&spool, STORE_CREATE, &e); /* says when it has created it */
    store_close(spool);
    return out_finish(&e);
}

const struct cmd spool_init = {
    .name = "init",
    .about = "create the spool, unless it is there",
    .usage = {""},
    .examples = {"spool init", "spool init -s 'postgresql://eu@db.example/events#orders'"},
    .most = ARGS_NO_OPERAND,
    .run = run_spool_init,
};

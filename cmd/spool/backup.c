/*
 * spool backup: a copy of the spool, while it is in use.
 */
#include "cli/out.h"
#include "command/spool.h"
#include "spool/verbs.h"
#include "store/upkeep.h"

#include <inttypes.h>
#include <string.h>

static int run_spool_backup(char **operand)
{
    struct err e = ERR_NONE;
    struct store *spool = NULL;
    struct buf line = BUF_INIT;
    int64_t size;

    if (operand[0][0] == '\0')
        args_usage("FILE is empty (an unset variable?)");
    if (spool_open(&spool, STORE_READ, &e) == 0 &&
        store_backup(spool, operand[0], &size, &e) == 0) {
        err_escape(&line, operand[0], strlen(operand[0]));
        buf_printf(&line, ": %" PRId64 " bytes", size);
        out_line((struct str){line.p, line.n}, &e);
    }
    buf_free(&line);
    store_close(spool);
    return out_finish(&e);
}

const struct cmd spool_backup = {
    .name = "backup",
    .about = "copy the spool into a new file while it is in use",
    .usage = {"FILE"},
    .examples = {"spool backup spool-$(date +%F).db"},
    .least = 1,
    .most = 1,
    .wants = "one FILE",
    .run = run_spool_backup,
};

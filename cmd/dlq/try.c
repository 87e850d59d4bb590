/* dlq try: run a handler on a dead letter, outside of its group. */
#include "base/io.h"
#include "dlq/verbs.h"
#include "process/environment.h"
#include "process/proc.h"
#include "process/wrap.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static const struct opt options[] = {
    OPT_NAME('g', "group", &dlq.filter.group, "GROUP",
             "the group, if the event is dead in several"),
    OPT_END,
};

static struct environment environment;
static char *const *envp;

/* Make the event our stdin, and put its attributes into our environment for the command. */
static int prepare_try(const struct dead_letter *letter, void *store, struct err *e)
{
    struct str line = letter->event.line;
    struct js_scan scan = JS_SCAN_INIT;
    struct event ev = EVENT_INIT;
    int in;

    if (line.p == NULL)
        return err_set(e, EX_DATAERR, "the event is damaged, or was pruned");
    if (event_read(&ev, &scan, line, e) < 0)
        return -1;
    envp = environment_make(&environment, &ev, letter->event.seq, letter->attempts + 1,
                            letter->group, store_name(store));
    event_free(&ev);
    js_scan_free(&scan);
    in = memfd_create("event", MFD_CLOEXEC);
    if (in < 0 || io_write(in, line.p, line.n) < 0 || io_write(in, "\n", 1) < 0 ||
        lseek(in, 0, SEEK_SET) < 0 || dup2(in, STDIN_FILENO) < 0)
        return err_errno(e, EX_OSERR, "cannot hand the event over");
    return 1;
}

/* Replace this process by the command, once the spool is closed: the command inherits nothing of
   ours. */
static int run_dlq_try(char **operand)
{
    char **command = *operand != NULL ? wrap_command(operand + 1) : NULL;
    struct err e = ERR_NONE;

    if (command == NULL)
        args_usage("try wants an EVENT and a command");
    if (dlq_open(STORE_READ, 1, operand, &e) == 0 &&
        dead_each(dlq.spool, &dlq.filter, prepare_try, dlq.spool, &e) == 0)
        dlq_found_none(1, operand, &e);
    store_close(dlq.spool);
    dlq.spool = NULL;
    if (e.status == 0) {
        environ = (char **)(uintptr_t)envp;
        proc_exec(command, &e);
    }
    return dlq_finish(&e);
}

const struct cmd dlq_try = {
    .name = "try",
    .about = "run a fixed handler on one; nothing changes, whatever happens",
    .usage = {"[-g GROUP] EVENT [--] COMMAND [ARG...]"},
    .examples = {"dlq try 17 -- ./charge"},
    .options = options,
    .wrapper = true,
    .run = run_dlq_try,
};

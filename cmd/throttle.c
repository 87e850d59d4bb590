/* throttle: hold lines on their way through, or a command, to a rate. */
#include "base/duration.h"
#include "base/json.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "resilience/bucket.h"
#include "resilience/pacer.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define BURST_MAX_US (INT64_C(36500) * 86400 * 1000000) /* the longest duration */

static int64_t each_us, burst = 1, longest;
static const char *by;

static const struct opt options[] = {
    OPT_RATE('r', "rate", &each_us, "the rate, such as 10/s or 100/m"),
    OPT_INT('b', "burst", &burst, "N", 1, 1000000,
            "up to N may go at once after a pause (default 1)"),
    OPT_POINTER(0, "by", &by, "a rate for each value at POINTER, such as /subject"),
    OPT_DURATION(0, "wait", &longest, "command: wait at most D, else exit with 75"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "rate", NULL, NULL},
    {0},
};

static const struct cmd self = {
    .name = "throttle",
    .about = "limit the rate of lines in a pipe, or of a command",
    .usage = {"-r RATE [-b N] [--by POINTER] [NAME]",
              "-r RATE [-b N] [--by POINTER] [--wait D] NAME [--] COMMAND [ARG...]"},
    .examples = {"replay | throttle -r 100/s | ./import",
                 "throttle -r 10/s api -- curl -fsS https://example.com/orders",
                 "throttle -r 1/s --by /data/customer sms -- ./send-sms",
                 "spool bucket close api 120s"},
    .options = options,
    .rules = rules,
    .wrapper = true,
};

static void check_throttle_options(char **command)
{
    if (burst > BURST_MAX_US / each_us)
        args_usage("-b is more than comes in 36500d at that rate: %" PRId64, burst);
    if (args_given("wait") && command == NULL)
        args_usage("--wait is for a command: lines wait for their turn");
}

/* The bucket's name for the event on stdin, which the command can read again. */
static int name_of_input(const char *name, struct buf *full, struct err *e)
{
    struct wrap_input input;
    struct buf all = BUF_INIT;
    int got = wrap_stdin(&input, e);

    if (got == 0 && (got = wrap_read(&input, &all, e)) == 0)
        pacer_name(full, name, by, (struct str){all.p == NULL ? "" : all.p, all.n});
    if (got == 0 && input.fd >= 0 &&
        (lseek(input.fd, 0, SEEK_SET) != 0 || dup2(input.fd, STDIN_FILENO) < 0))
        got = err_errno(e, EX_OSERR, "stdin");
    wrap_forget(&input);
    buf_free(&all);
    return got;
}

/* A spool that cannot be used must not stop the work: the command runs unthrottled. 0, or -1 with
   75. */
static int wait_turn(const char *name, struct err *e)
{
    struct pacer pacer = {.pace = {each_us, burst, 0}, .name = name};
    char wait[DURATION_TEXT_SIZE];
    int64_t wait_us = 0;
    struct err broken = ERR_NONE;
    int got = 0;

    if (spool_open(&pacer.store, STORE_CREATE, &broken) == 0)
        got = pacer_turn(&pacer, name, args_given("wait") ? longest : -1, &wait_us, &broken);
    store_close(pacer.store);
    if (proc_stopping()) {
        e->status = wrap_stopped();
        return -1;
    }
    if (broken.status != 0)
        say_warn("%s: continuing without a rate", broken.text);
    if (got > 0 || broken.status != 0)
        return 0;
    int64_t wait_ms = (wait_us + 999) / 1000; /* round up, so that a caller that waits this long
                                                 does not come too early */
    wrap_say(wait_ms, STR(""));
    return err_set(e, EX_TEMPFAIL, "%s: no turn for %s", err_quote_text(name).text,
                   duration_format(wait, wait_ms));
}

static int run_throttled(const char *name, char **command, struct err *e)
{
    struct buf full = BUF_INIT;
    int got = 0;

    wrap_stage();
    if (by != NULL)
        got = name_of_input(name, &full, e);
    if (got == 0)
        got = wait_turn(by != NULL ? buf_text(&full) : name, e);
    buf_free(&full);
    return got < 0 ? -1 : proc_exec(command, e);
}

static int filter(const char *name, struct err *e)
{
    struct pacer pacer = {.pace = {each_us, burst, 0}, .name = name};
    struct err broken = ERR_NONE;

    if (name != NULL && spool_open(&pacer.store, STORE_CREATE, &broken) < 0)
        pacer_alone(&broken);
    int got = pacer_filter(&pacer, by, e);
    store_close(pacer.store);
    return got;
}

int main(int argc, char **argv)
{
    int first = args_parse(&self, argc, argv);
    const char *name = first < argc ? wrap_name(first, argv) : NULL;
    char **command = name == NULL ? NULL : wrap_command(argv + first + 1);
    struct err e = ERR_NONE;

    check_throttle_options(command);
    if (command != NULL)
        run_throttled(name, command, &e);
    else
        filter(name, &e);
    return out_finish(&e);
}

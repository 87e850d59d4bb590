/* breaker: run a command unless its dependency is down. */
#include "cli/args.h"
#include "cli/out.h"
#include "command/spool.h"
#include "process/proc.h"
#include "resilience/call.h"

static struct call_terms terms = {
    .breaker = {.failures = 5, .window_ms = 10000, .volume = 5, .probes = 1}};
static int64_t pause_ms[2] = {30000, 600000};

static const struct opt options[] = {
    OPT_INT(0, "failures", &terms.breaker.failures, "N", 1, 1000000,
            "open after N consecutive failures (default 5)"),
    OPT_INT(0, "error-percent", &terms.breaker.error_percent, "P", 1, 99,
            "open when more than P percent of calls fail"),
    OPT_DURATION(0, "window", &terms.breaker.window_ms,
                 "with --error-percent: over this time (default 10s)"),
    OPT_INT(0, "volume", &terms.breaker.volume, "N", 1, 1000000,
            "with --error-percent: of N calls or more (default 5)"),
    OPT_DURATION(0, "slow", &terms.slow_ms, "a call that takes D or longer is a failure"),
    OPT_DURATION(0, "timeout", &terms.timeout_ms, "end the command, and all it started, after D"),
    OPT_RANGE(0, "open", pause_ms, "first and longest pause, doubling (default 30s..10m)"),
    OPT_INT(0, "probes", &terms.breaker.probes, "N", 1, 1000,
            "close after N successful probes (default 1)"),
    OPT_TEXT(0, "check", &terms.check, "PROGRAM", "probe with PROGRAM instead of the command"),
    OPT_CODES(0, "ignore-on", terms.ignore_on,
              "statuses that count as neither success nor failure (default 65)"),
    OPT_INT(0, "capacity", &terms.breaker.capacity, "N", 1, 100000, "at most N calls at once"),
    OPT_DURATION(0, "warm-up", &terms.breaker.warm_up_ms, "do not open within D of the first call"),
    OPT_TEXT(0, "fallback", &terms.fallback, "PROGRAM", "run PROGRAM when the call is rejected"),
    OPT_DURATION(0, "cache", &terms.cache_ms,
                 "when the call is rejected, print the last good output if it is no older than D"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_NEEDS, "window volume", "error-percent", NULL},
    {0},
};

static const struct cmd self = {
    .name = "breaker",
    .about = "run a command unless what it depends on is down",
    .usage = {"[OPTION...] NAME [--] COMMAND [ARG...]"},
    .examples = {"breaker stripe -- ./charge",
                 "breaker --timeout 3s --fallback ./from-cache rates -- ./get-rates",
                 "breaker --error-percent 50 --open 10s..5m api -- retry -a 3 -- ./call",
                 "spool breaker show stripe"},
    .options = options,
    .rules = rules,
    .common = "failures timeout open fallback",
    .note =
        "exit status: that of COMMAND; 69 rejected, COMMAND was not run; 124 COMMAND took too long",
    .wrapper = true,
};

static void check_breaker_options(char **command)
{
    if (command == NULL)
        args_usage("a command is missing");
    if (args_given("error-percent") && !args_given("failures"))
        terms.breaker.failures = 0;
    if (terms.breaker.window_ms < BREAKER_SLOTS)
        args_usage("--window wants 10ms or more");
    if (pause_ms[0] == 0)
        args_usage("--open wants a pause above 0");
    if (!args_given("ignore-on"))
        terms.ignore_on[EX_DATAERR] = true;
    terms.breaker.open_ms = pause_ms[0];
    terms.breaker.open_max_ms = pause_ms[1];
}

int main(int argc, char **argv)
{
    int first = args_parse(&self, argc, argv);
    const char *name = wrap_name(first, argv);
    char **command = wrap_command(argv + first + 1);
    struct err e = ERR_NONE, broken = ERR_NONE;
    struct call call = CALL_INIT;

    check_breaker_options(command);
    wrap_stage();
    int got = call_open(&call, &terms, &e);
    if (got == 0 && spool_open(&call.spool, STORE_CREATE, &broken) < 0)
        call_without(&call, &broken);
    if (got == 0)
        got = call_run(&call, name, command, &e);
    if (got < 0 && proc_stopping())
        e.status = wrap_stopped();
    call_free(&call);
    return out_finish(&e);
}

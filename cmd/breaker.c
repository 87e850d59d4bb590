/* breaker: run a command unless its dependency is down. */
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "resilience/circuit.h"
#include "store/store.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CACHE_MAX (1 << 20) /* a longer output is not kept */
#define SOON_MS 500         /* while others probe, or all places are taken */

static struct breaker_terms terms = {.failures = 5, .window_ms = 10000, .volume = 5, .probes = 1};
static int64_t pause_ms[2] = {30000, 600000}, slow, timeout, cache;
static bool ignore_on[256];
static const char *fallback, *check;

static const struct opt options[] = {
    OPT_INT(0, "failures", &terms.failures, "N", 1, 1000000,
            "open after N consecutive failures (default 5)"),
    OPT_INT(0, "error-percent", &terms.error_percent, "P", 1, 99,
            "open when more than P percent of calls fail"),
    OPT_DURATION(0, "window", &terms.window_ms,
                 "with --error-percent: over this time (default 10s)"),
    OPT_INT(0, "volume", &terms.volume, "N", 1, 1000000,
            "with --error-percent: of N calls or more (default 5)"),
    OPT_DURATION(0, "slow", &slow, "a call that takes D or longer is a failure"),
    OPT_DURATION(0, "timeout", &timeout, "end the command, and all it started, after D"),
    OPT_RANGE(0, "open", pause_ms, "first and longest pause, doubling (default 30s..10m)"),
    OPT_INT(0, "probes", &terms.probes, "N", 1, 1000,
            "close after N successful probes (default 1)"),
    OPT_TEXT(0, "check", &check, "PROGRAM", "probe with PROGRAM instead of the command"),
    OPT_CODES(0, "ignore-on", ignore_on,
              "statuses that count as neither success nor failure (default 65)"),
    OPT_INT(0, "capacity", &terms.capacity, "N", 1, 100000, "at most N calls at once"),
    OPT_DURATION(0, "warm-up", &terms.warm_up_ms, "do not open within D of the first call"),
    OPT_TEXT(0, "fallback", &fallback, "PROGRAM", "run PROGRAM when the call is rejected"),
    OPT_DURATION(0, "cache", &cache,
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

static void check_options(char **command)
{
    if (command == NULL)
        args_usage("a command is missing");
    if (args_given("error-percent") && !args_given("failures"))
        terms.failures = 0;
    if (terms.window_ms < BREAKER_SLOTS)
        args_usage("--window wants 10ms or more");
    if (pause_ms[0] == 0)
        args_usage("--open wants a pause above 0");
    if (!args_given("ignore-on"))
        ignore_on[EX_DATAERR] = true;
    terms.open_ms = pause_ms[0];
    terms.open_max_ms = pause_ms[1];
}

/* ---------------------------------------------------------------------------------------- calls */

struct call {
    struct circuit circuit;
    struct store *spool; /* NULL: the spool cannot be used, and everything passes */
    struct wrap_input input, *kept;
    struct child child;
};

/* An error of the breaker itself must not keep the command from running. */
static void go_without(struct call *c, const struct err *why)
{
    say_warn("%s: continuing without a breaker", why->text);
    store_close(c->spool);
    c->spool = NULL;
}

static enum breaker_outcome outcome_of(const struct child *c)
{
    if (proc_stopping() || c->status == EX_CONFIG || c->status == EX_CANNOT_RUN ||
        c->status == EX_NOT_FOUND)
        return BREAKER_IGNORED;
    if (c->timed_out)
        return BREAKER_TIMEOUT;
    if (c->status != 0)
        return ignore_on[c->status] ? BREAKER_IGNORED : BREAKER_FAILED;
    return slow > 0 && c->took_ms >= slow ? BREAKER_FAILED : BREAKER_OK;
}

static void say_change(const struct call *c)
{
    const struct breaker *b = &c->circuit.breaker;
    char age[CLOCK_TEXT_SIZE];

    if (b->state == BREAKER_OPEN)
        say_warn("%s is open for %s: %s", err_quote_text(c->circuit.name).text,
                 clock_span(age, b->until_ms - b->since_ms), b->reason);
    else if (b->state == BREAKER_CLOSED)
        say_note("%s is closed: %s", err_quote_text(c->circuit.name).text, b->reason);
}

static void report(struct call *c, const struct breaker_ticket *ticket,
                   enum breaker_outcome outcome)
{
    char why[BREAKER_REASON], took[CLOCK_TEXT_SIZE];
    struct err broken = ERR_NONE;
    int changed;

    if (c->spool == NULL)
        return;
    snprintf(why, sizeof why, "%s", c->child.why);
    if (outcome == BREAKER_FAILED && c->child.status == 0)
        snprintf(why, sizeof why, "it took %s", clock_span(took, c->child.took_ms));
    changed = circuit_report(&c->circuit, ticket, outcome, c->child.took_ms, why, &broken);
    if (changed < 0)
        go_without(c, &broken);
    else if (changed > 0)
        say_change(c);
}

/* Run a program without arguments, only for its status; its output is not shown. */
static int run_check(struct call *c, struct err *e)
{
    char *argv[] = {(char *)(uintptr_t)check, NULL};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), got;
    struct wrap_input nothing = {null, 0};

    if (null < 0)
        return err_errno(e, EX_OSERR, "/dev/null");
    got = wrap_run(
        &c->child,
        &(struct wrap){.argv = argv, .input = &nothing, .hold = true, .timeout_ms = timeout}, e);
    close(null);
    return got;
}

/* A check reports that all is well, or it has failed. */
static enum breaker_outcome outcome_of_check(const struct child *c)
{
    return proc_stopping()  ? BREAKER_IGNORED
           : c->timed_out   ? BREAKER_TIMEOUT
           : c->status != 0 ? BREAKER_FAILED
                            : BREAKER_OK;
}

/* Probe with the check until the breaker is closed, or open again. 0, or -1. */
static int probe(struct call *c, struct breaker_ticket *ticket, struct err *e)
{
    while (c->spool != NULL && ticket->word == BREAKER_PROBE) {
        struct err broken = ERR_NONE;
        child_reset(&c->child);
        if (run_check(c, e) < 0) {
            c->child.why = e->text;
            report(c, ticket, BREAKER_IGNORED); /* our place is free for another process */
            return -1;
        }
        report(c, ticket, outcome_of_check(&c->child));
        if (proc_stopping()) /* main reports that it failed */
            return -1;
        if (c->spool == NULL)
            break;
        *ticket = circuit_ask(&c->circuit, &broken);
        if (broken.status != 0)
            go_without(c, &broken);
    }
    if (c->spool == NULL)
        ticket->word = BREAKER_PASS;
    child_reset(&c->child);
    return 0;
}

/* ------------------------------------------------------------------------------------- rejected */

/* Print something in place of the command's output: 1: done; 0: there is nothing to print; -1:
   error. */
static int last_output(struct call *c, struct err *e)
{
    struct err broken = ERR_NONE;
    struct str output;
    int got = cache == 0 ? 0 : circuit_output(&c->circuit, &output, &broken);

    if (broken.status != 0)
        say_warn("%s", broken.text);
    if (got > 0 && out_write(output.p, output.n, e) < 0)
        return -1;
    return got > 0;
}

static int run_fallback(struct call *c, struct err *e)
{
    char *argv[] = {(char *)(uintptr_t)fallback, NULL};

    if (wrap_run(&c->child, &(struct wrap){.argv = argv, .input = c->kept}, e) < 0)
        return -1;
    e->status = c->child.status;
    return 0;
}

static int64_t time_left(const struct breaker *b)
{
    int64_t left = b->until_ms - clock_now_ms();

    return left < 1 ? 1 : left;
}

/* How long trying again is pointless. */
static int64_t try_again_ms(const struct breaker *b)
{
    return b->state == BREAKER_OPEN ? time_left(b) : b->state == BREAKER_HALF_OPEN ? SOON_MS : 0;
}

/* Tell our parent how long trying again is pointless, and ask to be deferred: an outage must cost
   no event an attempt. */
static int reject(struct call *c, const struct breaker_ticket *ticket, struct err *e)
{
    const struct breaker *b = &c->circuit.breaker;
    char age[CLOCK_TEXT_SIZE];
    struct err_quoted name = err_quote_text(c->circuit.name);
    int got = last_output(c, e);

    if (got != 0)
        return got < 0 ? -1 : 0;
    if (fallback != NULL)
        return run_fallback(c, e);
    if (ticket->word == BREAKER_IS_OPEN) {
        wrap_say(time_left(b), STR(""));
        return err_set(e, EX_UNAVAILABLE, "%s is open, the next probe in %s: %s", name.text,
                       clock_span(age, time_left(b)), b->reason);
    }
    wrap_say(SOON_MS, STR(""));
    if (ticket->word == BREAKER_IS_FULL)
        return err_set(e, EX_UNAVAILABLE, "%s has reached its limit of calls at once (%zu)",
                       name.text, b->holders);
    return err_set(e, EX_UNAVAILABLE, "%s is half-open, and another call is the probe", name.text);
}

/* --------------------------------------------------------------------------------------- passed */

static void keep_output(struct call *c)
{
    struct err broken = ERR_NONE;
    struct buf output = BUF_INIT;
    int got;

    if (c->spool == NULL)
        return;
    if (c->child.out_size > CACHE_MAX)
        got = err_set(&broken, EX_DATAERR, "%" PRId64 " bytes, more than %d MiB", c->child.out_size,
                      CACHE_MAX >> 20);
    else if ((got = child_output(&c->child, &output, &broken)) == 0)
        got = circuit_keep_output(
            &c->circuit, (struct str){output.n == 0 ? "" : output.p, output.n}, cache, &broken);
    if (got < 0)
        say_warn("%s: the output is not kept for --cache", broken.text);
    buf_free(&output);
}

static int run(struct call *c, const struct breaker_ticket *ticket, char **command, struct err *e)
{
    const struct wrap w = {
        .argv = command, .input = c->kept, .hold = cache > 0, .timeout_ms = timeout};
    struct err cannot = ERR_NONE;

    if (wrap_run(&c->child, &w, &cannot) < 0) { /* tells nothing about the dependency */
        c->child.why = cannot.text;
        report(c, ticket, BREAKER_IGNORED);
        *e = cannot;
        return -1;
    }
    enum breaker_outcome outcome = outcome_of(&c->child);
    report(c, ticket, outcome);
    if (outcome == BREAKER_OK && cache > 0)
        keep_output(c);
    if (cache > 0 && child_output(&c->child, NULL, e) < 0)
        return -1;
    e->status = c->child.status;
    /* A call that fails during an outage is deferred like the rejected ones, if our parent reads
       our words. So is a call that began before the outage and ends while another call is the
       probe, or after the outage. */
    if (c->spool != NULL && breaker_outage(&c->circuit.breaker, ticket) && c->child.status != 0 &&
        outcome != BREAKER_IGNORED && wrap_heard()) {
        wrap_say(try_again_ms(&c->circuit.breaker), str_of(c->child.why));
        e->status = EX_UNAVAILABLE;
    }
    return 0;
}

static int call(struct call *c, const char *name, char **command, struct err *e)
{
    struct breaker_ticket ticket = {.word = BREAKER_PASS, .epoch = -1};
    struct err broken = ERR_NONE;

    if (fallback != NULL) {
        if (wrap_stdin(&c->input, e) < 0)
            return -1;
        c->kept = &c->input;
    }
    if (spool_open(&c->spool, STORE_CREATE, &broken) == 0) {
        circuit_open(&c->circuit, c->spool, name, &terms);
        ticket = circuit_ask(&c->circuit, &broken);
    }
    if (broken.status != 0)
        go_without(c, &broken);
    else if (c->circuit.changed)
        say_note("%s had other settings: the new ones apply from now on",
                 err_quote_text(name).text);
    if (check != NULL && ticket.word == BREAKER_PROBE && probe(c, &ticket, e) < 0)
        return -1;
    if (ticket.word == BREAKER_PASS || ticket.word == BREAKER_PROBE)
        return run(c, &ticket, command, e);
    return reject(c, &ticket, e);
}

int main(int argc, char **argv)
{
    int first = args_parse(&self, argc, argv);
    const char *name = wrap_name(first, argv);
    char **command = wrap_command(argv + first + 1);
    struct call c = {.input = {-1, -1}};
    struct err e = ERR_NONE;

    check_options(command);
    wrap_stage();
    child_init(&c.child);
    if (call(&c, name, command, &e) < 0 && proc_stopping())
        e.status = wrap_stopped();
    circuit_close(&c.circuit);
    store_close(c.spool);
    wrap_forget(&c.input);
    child_free(&c.child);
    return out_finish(&e);
}

#include "resilience/call.h"

#include "base/clock.h"
#include "base/duration.h"
#include "cli/out.h"
#include "cli/say.h"
#include "process/proc.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define CACHE_MAX (1 << 20) /* a longer output is not kept */
#define SOON_MS 500         /* while others probe, or all places are taken */

int call_open(struct call *c, const struct call_terms *terms, struct err *e)
{
    c->terms = terms;
    child_init(&c->child);
    if (terms->fallback == NULL)
        return 0;
    if (wrap_stdin(&c->input, e) < 0)
        return -1;
    c->kept = &c->input;
    return 0;
}

void call_without(struct call *c, const struct err *why)
{
    say_warn("%s: continuing without a breaker", why->text);
    store_close(c->spool);
    c->spool = NULL;
}

static enum breaker_outcome call_outcome(const struct call_terms *t, const struct child *c)
{
    if (proc_stopping() || c->status == EX_CONFIG || c->status == EX_CANNOT_RUN ||
        c->status == EX_NOT_FOUND)
        return BREAKER_IGNORED;
    if (c->timed_out)
        return BREAKER_TIMEOUT;
    if (c->status != 0)
        return t->ignore_on[c->status] ? BREAKER_IGNORED : BREAKER_FAILED;
    return t->slow_ms > 0 && c->took_ms >= t->slow_ms ? BREAKER_FAILED : BREAKER_OK;
}

static void call_say_state(const struct call *c)
{
    const struct breaker *b = &c->circuit.breaker;
    char age[DURATION_TEXT_SIZE];

    if (b->state == BREAKER_OPEN)
        say_warn("%s is open for %s: %s", err_quote_text(c->circuit.name).text,
                 duration_format(age, b->until_ms - b->since_ms), b->reason);
    else if (b->state == BREAKER_CLOSED)
        say_note("%s is closed: %s", err_quote_text(c->circuit.name).text, b->reason);
}

static void call_report(struct call *c, const struct breaker_ticket *ticket,
                        enum breaker_outcome outcome)
{
    char why[BREAKER_REASON], took[DURATION_TEXT_SIZE];
    struct err broken = ERR_NONE;
    int changed;

    if (c->spool == NULL)
        return;
    snprintf(why, sizeof why, "%s", c->child.why);
    if (outcome == BREAKER_FAILED && c->child.status == 0)
        snprintf(why, sizeof why, "it took %s", duration_format(took, c->child.took_ms));
    changed = circuit_report(&c->circuit, ticket, outcome, c->child.took_ms, why, &broken);
    if (changed < 0)
        call_without(c, &broken);
    else if (changed > 0)
        call_say_state(c);
}

/* Run a program without arguments, only for its status; its output is not shown. */
static int call_check(struct call *c, struct err *e)
{
    char *argv[] = {(char *)(uintptr_t)c->terms->check, NULL};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), got;
    struct wrap_input nothing = {null, 0};

    if (null < 0)
        return err_errno(e, EX_OSERR, "/dev/null");
    got = wrap_run(
        &c->child,
        &(struct wrap){
            .argv = argv, .input = &nothing, .hold = true, .timeout_ms = c->terms->timeout_ms},
        e);
    close(null);
    return got;
}

/* A check reports that all is well, or it has failed. */
static enum breaker_outcome call_check_outcome(const struct child *c)
{
    return proc_stopping()  ? BREAKER_IGNORED
           : c->timed_out   ? BREAKER_TIMEOUT
           : c->status != 0 ? BREAKER_FAILED
                            : BREAKER_OK;
}

/* Probe with the check until the breaker is closed, or open again. 0, or -1. */
static int call_probe(struct call *c, struct breaker_ticket *ticket, struct err *e)
{
    while (c->spool != NULL && ticket->word == BREAKER_PROBE) {
        struct err broken = ERR_NONE;
        child_reset(&c->child);
        if (call_check(c, e) < 0) {
            c->child.why = e->text;
            call_report(c, ticket, BREAKER_IGNORED); /* our place is free for another process */
            return -1;
        }
        call_report(c, ticket, call_check_outcome(&c->child));
        if (proc_stopping()) /* main reports that it failed */
            return -1;
        if (c->spool == NULL)
            break;
        *ticket = circuit_ask(&c->circuit, &broken);
        if (broken.status != 0)
            call_without(c, &broken);
    }
    if (c->spool == NULL)
        ticket->word = BREAKER_PASS;
    child_reset(&c->child);
    return 0;
}

/* ------------------------------------------------------------------------------------- rejected */

/* Print something in place of the command's output: 1: done; 0: there is nothing to print; -1:
   error. */
static int call_last_output(struct call *c, struct err *e)
{
    struct err broken = ERR_NONE;
    struct str output;
    int got = c->terms->cache_ms == 0 ? 0 : circuit_output(&c->circuit, &output, &broken);

    if (broken.status != 0)
        say_warn("%s", broken.text);
    if (got > 0 && out_write(output.p, output.n, e) < 0)
        return -1;
    return got > 0;
}

static int call_fallback(struct call *c, struct err *e)
{
    char *argv[] = {(char *)(uintptr_t)c->terms->fallback, NULL};

    if (wrap_run(&c->child, &(struct wrap){.argv = argv, .input = c->kept}, e) < 0)
        return -1;
    e->status = c->child.status;
    return 0;
}

static int64_t call_time_left(const struct breaker *b)
{
    int64_t left = b->until_ms - clock_now_ms();

    return left < 1 ? 1 : left;
}

/* How long trying again is pointless. */
static int64_t call_try_again_ms(const struct breaker *b)
{
    return b->state == BREAKER_OPEN        ? call_time_left(b)
           : b->state == BREAKER_HALF_OPEN ? SOON_MS
                                           : 0;
}

/* Tell our parent how long trying again is pointless, and ask to be deferred: an outage must cost
   no event an attempt. */
static int call_reject(struct call *c, const struct breaker_ticket *ticket, struct err *e)
{
    const struct breaker *b = &c->circuit.breaker;
    char age[DURATION_TEXT_SIZE];
    struct err_quoted name = err_quote_text(c->circuit.name);
    int got = call_last_output(c, e);

    if (got != 0)
        return got < 0 ? -1 : 0;
    if (c->terms->fallback != NULL)
        return call_fallback(c, e);
    if (ticket->word == BREAKER_IS_OPEN) {
        wrap_say(call_time_left(b), STR(""));
        return err_set(e, EX_UNAVAILABLE, "%s is open, the next probe in %s: %s", name.text,
                       duration_format(age, call_time_left(b)), b->reason);
    }
    wrap_say(SOON_MS, STR(""));
    if (ticket->word == BREAKER_IS_FULL)
        return err_set(e, EX_UNAVAILABLE, "%s has reached its limit of calls at once (%zu)",
                       name.text, b->holders);
    return err_set(e, EX_UNAVAILABLE, "%s is half-open, and another call is the probe", name.text);
}

/* --------------------------------------------------------------------------------------- passed */

static void call_keep_output(struct call *c)
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
        got =
            circuit_keep_output(&c->circuit, (struct str){output.n == 0 ? "" : output.p, output.n},
                                c->terms->cache_ms, &broken);
    if (got < 0)
        say_warn("%s: the output is not kept for --cache", broken.text);
    buf_free(&output);
}

static int call_pass(struct call *c, const struct breaker_ticket *ticket, char **command,
                     struct err *e)
{
    const struct wrap w = {.argv = command,
                           .input = c->kept,
                           .hold = c->terms->cache_ms > 0,
                           .timeout_ms = c->terms->timeout_ms};
    struct err cannot = ERR_NONE;

    if (wrap_run(&c->child, &w, &cannot) < 0) { /* tells nothing about the dependency */
        c->child.why = cannot.text;
        call_report(c, ticket, BREAKER_IGNORED);
        *e = cannot;
        return -1;
    }
    enum breaker_outcome outcome = call_outcome(c->terms, &c->child);
    call_report(c, ticket, outcome);
    if (outcome == BREAKER_OK && c->terms->cache_ms > 0)
        call_keep_output(c);
    if (c->terms->cache_ms > 0 && child_output(&c->child, NULL, e) < 0)
        return -1;
    e->status = c->child.status;
    /* A call that fails during an outage is deferred like the rejected ones, if our parent reads
       our words. So is a call that began before the outage and ends while another call is the
       probe, or after the outage. */
    if (c->spool != NULL && breaker_outage(&c->circuit.breaker, ticket) && c->child.status != 0 &&
        outcome != BREAKER_IGNORED && wrap_heard()) {
        wrap_say(call_try_again_ms(&c->circuit.breaker), str_of(c->child.why));
        e->status = EX_UNAVAILABLE;
    }
    return 0;
}

int call_run(struct call *c, const char *name, char **argv, struct err *e)
{
    struct breaker_ticket ticket = {.word = BREAKER_PASS, .epoch = -1};
    struct err broken = ERR_NONE;

    if (c->spool != NULL) {
        circuit_open(&c->circuit, c->spool, name, &c->terms->breaker);
        ticket = circuit_ask(&c->circuit, &broken);
    }
    if (broken.status != 0)
        call_without(c, &broken);
    else if (c->circuit.changed)
        say_note("%s had other settings: the new ones apply from now on",
                 err_quote_text(name).text);
    if (c->terms->check != NULL && ticket.word == BREAKER_PROBE && call_probe(c, &ticket, e) < 0)
        return -1;
    if (ticket.word == BREAKER_PASS || ticket.word == BREAKER_PROBE)
        return call_pass(c, &ticket, argv, e);
    return call_reject(c, &ticket, e);
}

void call_free(struct call *c)
{
    circuit_close(&c->circuit);
    store_close(c->spool);
    wrap_forget(&c->input);
    child_free(&c->child);
}

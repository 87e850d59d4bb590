/* retry: run a command again until it succeeds. */
#include "base/backoff.h"
#include "base/duration.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "process/proc.h"
#include "process/wrap.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t attempts = 5, backoff[2] = {1000, 30000}, timeout, deadline;
static int jitter;
static bool retry_on[256], dead_on[256];

static const struct opt options[] = {
    OPT_INT('a', "attempts", &attempts, "N", 1, 1000000, "make at most N attempts (default 5)"),
    OPT_RANGE(0, "backoff", backoff, "wait between attempts, doubling (default 1s..30s)"),
    OPT_CHOICE(0, "jitter", &jitter, "full|equal|none",
               "how much of the wait is random (default full)"),
    OPT_DURATION(0, "timeout", &timeout, "end an attempt, and all it started, after D"),
    OPT_DURATION(0, "deadline", &deadline, "end all attempts and waits after D"),
    OPT_CODES(0, "retry-on", retry_on, "try again only after these exit statuses"),
    OPT_CODES(0, "dead-on", dead_on, "never try again after these (default 65)"),
    OPT_END,
};

static const struct cmd self = {
    .name = "retry",
    .about = "run a command again until it succeeds",
    .usage = {"[-a N] [--backoff D..D] [--timeout D] [--deadline D] [--] COMMAND [ARG...]"},
    .examples = {"retry -- curl -fsS https://example.com/health",
                 "retry -a 8 --backoff 200ms..10s --timeout 5s -- ./charge < order.json",
                 "retry --retry-on 75 --backoff 10ms..1s -- ./append-event"},
    .options = options,
    .least = 1,
    .wants = "a command",
    .wrapper = true,
    .no_spool = true,
};

static bool worth_retrying(int status)
{
    if (status == 0 || dead_on[status])
        return false;
    if (args_given("retry-on"))
        return retry_on[status];
    return status != EX_CONFIG && status != EX_CANNOT_RUN && status != EX_NOT_FOUND;
}

/* How long to wait before the next attempt; -1: no further attempt. */
static int64_t wait_after(const struct child *c, int64_t attempt, int64_t left_ms)
{
    const struct backoff b = {backoff[0], backoff[1], (enum backoff_jitter)jitter};

    if (attempt >= attempts || !worth_retrying(c->status) || proc_stopping())
        return -1;
    int64_t wait = c->delay_ms >= 0 ? c->delay_ms : backoff_ms(&b, attempt, clock_random());
    return wait < left_ms ? wait : -1;
}

static void say_attempt(const struct child *c, int64_t attempt, int64_t wait, int64_t left_ms)
{
    char again[DURATION_TEXT_SIZE];

    if (wait > 0)
        say_note("attempt %" PRId64 ": %s: again in %s", attempt, c->why,
                 duration_format(again, wait));
    else if (wait == 0)
        say_note("attempt %" PRId64 ": %s: again at once", attempt, c->why);
    else if (proc_stopping())
        say_note("attempt %" PRId64 ": %s: stopped", attempt, c->why);
    else if (!worth_retrying(c->status))
        say_note("attempt %" PRId64 ": %s: no retry can help", attempt, c->why);
    else if (attempt < attempts && left_ms != INT64_MAX)
        say_note("attempt %" PRId64 ": %s: no time for another", attempt, c->why);
    else
        say_note("attempt %" PRId64 ": %s: that was the last", attempt, c->why);
}

/* Make one attempt, in no more than the time that is left. */
static int run_attempt(struct child *c, const struct wrap_input *input, char *const *argv,
                       int64_t attempt, int64_t left_ms, struct err *e)
{
    struct wrap w = {
        .argv = argv, .input = input, .hold = true, .word = true, .timeout_ms = timeout};
    char number[24];

    if (left_ms != INT64_MAX && (timeout == 0 || left_ms < timeout))
        w.timeout_ms = left_ms < 1 ? 1 : left_ms;
    snprintf(number, sizeof number, "%" PRId64, attempt);
    setenv("RETRY_ATTEMPT", number, 1);
    return wrap_run(c, &w, e);
}

static int retry_command(struct child *c, char *const *argv, struct err *e)
{
    int64_t begin = clock_mono_ms(), wait, left = INT64_MAX;
    struct wrap_input input;
    int got;

    if (wrap_stdin(&input, e) < 0)
        return -1;
    for (int64_t attempt = 1;; attempt++) {
        if (deadline > 0)
            left = begin + deadline - clock_mono_ms();
        child_reset(c);
        if ((got = run_attempt(c, &input, argv, attempt, left, e)) < 0)
            break;
        if (deadline > 0)
            left = begin + deadline - clock_mono_ms();
        wait = wait_after(c, attempt, left);
        if (c->status != 0)
            say_attempt(c, attempt, wait, left);
        if (wait < 0)
            break;
        if (!wrap_sleep(wait)) {
            c->status = wrap_stopped();
            break;
        }
    }
    wrap_forget(&input);
    return got;
}

int main(int argc, char **argv)
{
    int first = args_parse(&self, argc, argv);
    struct err e = ERR_NONE;
    struct child c;

    if (!args_given("dead-on"))
        dead_on[EX_DATAERR] = !retry_on[EX_DATAERR];
    wrap_stage();
    child_init(&c);
    if (retry_command(&c, argv + first, &e) == 0) {
        /* Pass the words of the last attempt, which we do not use ourselves, on to our parent. */
        wrap_say(c.status == 0 ? -1 : c.delay_ms, (struct str){c.reason.p, c.reason.n});
        if (child_output(&c, NULL, &e) == 0)
            e.status = c.status;
    } else if (proc_stopping()) {
        e.status = wrap_stopped();
    }
    child_free(&c);
    return out_finish(&e);
}

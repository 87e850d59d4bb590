/* once: run a command to success at most once for a key. */
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "resilience/once_key.h"
#include "resilience/once_name.h"
#include "store/store.h"

#include <inttypes.h>

static const char *key, *by;
static int64_t ttl = INT64_C(86400000), longest;

static const struct opt options[] = {
    OPT_WORDS('k', "key", &key, "KEY", "the key (default: a handler's group and event)"),
    OPT_POINTER(0, "by", &by, "read the key from the event on stdin, as in /data/paymentId"),
    OPT_DURATION(0, "ttl", &ttl, "forget the key after D (default 1d)"),
    OPT_DURATION(
        0, "wait", &longest,
        "wait at most D for another process with the key, then exit with 75 (default: no limit)"),
    OPT_END,
};

static const struct args_rule rules[] = {
    {ARGS_ALONE, "key by", NULL, NULL},
    {0},
};

static const struct cmd self = {
    .name = "once",
    .about = "run a command unless it has already succeeded for a key",
    .usage = {"[-k KEY | --by POINTER] [--ttl D] [--wait D] [--] COMMAND [ARG...]"},
    .examples = {"once -k invoice-2026-11 -- ./send-invoices",
                 "consume -g pay --from start -- once -- ./charge",
                 "consume -g pay --from start -- once --by /data/paymentId --ttl 7d -- ./charge",
                 "spool key forget invoice-2026-11"},
    .options = options,
    .rules = rules,
    .least = 1,
    .wants = "a command",
    .wrapper = true,
};

/* The command has succeeded. Record, then print, so that anyone who sees the output can rely on the
   record. */
static int record(struct once_key *k, struct child *c, struct err *e)
{
    struct buf output = BUF_INIT;
    struct str kept = {"", 0};
    int got = 0;

    if (c->out_size > ONCE_KEY_OUTPUT_MAX)
        say_warn("%" PRId64
                 " bytes of output are more than the %d MiB that are kept: a repeat will "
                 "print nothing",
                 c->out_size, ONCE_KEY_OUTPUT_MAX >> 20);
    else if ((got = child_output(c, &output, e)) == 0 && output.n > 0)
        kept = (struct str){output.p, output.n};
    if (got == 0 && (got = once_key_done(k, kept, c->out_size, ttl, e)) < 0)
        err_at(e, "the command succeeded, but that is not recorded, and it would run again: ");
    buf_free(&output);
    return got < 0 ? -1 : child_output(c, NULL, e);
}

static int is_there(void *spool, struct err *e)
{
    return store_there(spool, e);
}

static int run_first(struct once_key *k, const struct wrap *w, struct err *e)
{
    const struct wrap_need key_held = {store_line(k->store), is_there, k->store};
    struct wrap while_ours = *w;
    struct err failed = ERR_NONE;
    struct child c;
    int got;

    child_init(&c);
    if (key_held.line >= 0) /* others know of us by a connection */
        while_ours.need = &key_held;
    got = wrap_run(&c, &while_ours, e);
    if (got < 0 && store_lost(k->store)) {
        err_at(e, "its command was ended, because another process may get the key: ");
    } else if (got == 0 && c.status == 0) {
        got = record(k, &c, e);
    } else {
        if (once_key_drop(k, &failed) < 0)
            say_warn("%s", failed.text);
        if (got == 0 && (got = child_output(&c, NULL, e)) == 0)
            e->status = c.status;
    }
    child_free(&c);
    return got;
}

/* Print the output of the first run. The command has succeeded and is not to be run again; if its
   output was not kept, all we can do is print a message. */
static int print_again(const struct once_key *k, struct err *e)
{
    if ((int64_t)k->output.n < k->bytes)
        say_warn("%s: succeeded before, and printed %" PRId64 " bytes that were not kept: this "
                 "repeat prints nothing",
                 err_quote_text(k->name).text, k->bytes);
    return out_write(k->output.p == NULL ? "" : k->output.p, k->output.n, e);
}

static int once(const char *name, const struct wrap *w, struct err *e)
{
    struct once_key k = {.name = name};
    int got;

    if ((got = spool_open(&k.store, STORE_CREATE, e)) < 0 &&
        e->status == EX_DATAERR) /* under consume that would count against the event */
        e->status = EX_IOERR;
    if (got == 0) {
        store_stop(k.store, proc_stopping);
        got = once_key_take(&k, args_given("wait") ? longest : -1, e);
    }
    if (got == ONCE_KEY_OURS) {
        store_stop(k.store, proc_forced); /* a command that has run is to be recorded */
        got = run_first(&k, w, e);
    } else if (got == ONCE_KEY_DONE)
        got = print_again(&k, e);
    else if (got == ONCE_KEY_BUSY)
        got = err_set(e, EX_TEMPFAIL, "%s: another process is running its command",
                      err_quote_text(name).text);
    store_close(k.store);
    once_key_free(&k);
    return got;
}

int main(int argc, char **argv)
{
    int first = args_parse(&self, argc, argv);
    struct wrap_input input = {-1, -1};
    struct wrap w = {.argv = argv + first, .hold = true};
    struct err e = ERR_NONE;
    struct buf name = BUF_INIT;
    int got = 0;

    if (ttl == 0)
        args_usage("--ttl wants a duration above 0");
    wrap_stage();
    if (key != NULL)
        buf_puts(&name, key);
    else if (by == NULL && once_name_of_handler(&name, &e) < 0)
        args_usage("%s", e.text);
    else if (by != NULL && (got = wrap_stdin(&input, &e)) == 0)
        got = once_name_of_input(&name, &input, by, &e);
    if (by != NULL)
        w.input = &input;
    if (got == 0)
        got = once(buf_text(&name), &w, &e);
    if (got < 0 && proc_stopping())
        e.status = wrap_stopped();
    wrap_forget(&input);
    buf_free(&name);
    return out_finish(&e);
}

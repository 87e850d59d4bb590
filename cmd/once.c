/* once: run a command to success at most once for a key. */
#include "base/json.h"
#include "cli/args.h"
#include "cli/out.h"
#include "cli/say.h"
#include "command/spool.h"
#include "process/proc.h"
#include "process/wrap.h"
#include "resilience/once_key.h"
#include "store/store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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

/* One word of a key of several words, with its spaces escaped, or "a b" and "c" would equal "a" and
   "b c". */
static void add_key_word(struct buf *name, const char *word)
{
    for (; *word != '\0'; word++)
        if (*word == ' ' || *word == '%')
            buf_printf(name, "%%%02X", (unsigned)*word);
        else
            buf_char(name, *word);
    buf_char(name, ' ');
}

/* In a handler the key is the event and its group: the same event has the same key, and no other
   event has. */
static void key_of_handler(struct buf *name)
{
    const char *group = getenv("EVENT_GROUP"), *id = getenv("EVENT_ID");
    const char *source = getenv("EVENT_SOURCE");

    if (group == NULL || id == NULL || source == NULL || *id == '\0')
        args_usage("-k KEY or --by POINTER is missing (a handler of consume needs neither)");
    add_key_word(name, args_name("EVENT_GROUP", group, NAME_BYTES));
    add_key_word(name, args_name("EVENT_SOURCE", source, NAME_TEXT_BYTES));
    buf_puts(name, args_name("EVENT_ID", id, NAME_TEXT_BYTES));
}

static int key_of_input(struct buf *name, const struct wrap_input *input, struct err *e)
{
    struct js_scan scan = JS_SCAN_INIT;
    struct buf all = BUF_INIT;
    struct str value = {NULL, 0};
    int got = wrap_read(input, &all, e);

    if (got == 0)
        got = js_scan(&scan, all.p == NULL ? "" : all.p, all.n, e) < 0 ? err_at(e, "stdin: ") : 0;
    if (got == 0)
        value = js_pointer(scan.value, by);
    if (got == 0 && (value.p == NULL || js_kind(value) == JS_NULL))
        got = err_set(e, EX_DATAERR, "stdin has nothing at %s", by);
    if (got == 0 && js_kind(value) == JS_STRING)
        buf_str(name, js_string(value, &scan.scratch));
    else if (got == 0)
        buf_str(name, value);
    if (got == 0 && name->n == 0)
        got = err_set(e, EX_DATAERR, "the key at %s is empty", by);
    else if (got == 0 &&
             name_check("the key", (struct str){name->p, name->n}, NAME_TEXT_BYTES, e) < 0) {
        e->status = EX_DATAERR; /* the event's fault */
        got = err_at(e, "%s: ", by);
    }
    js_scan_free(&scan);
    buf_free(&all);
    return got;
}

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
    if (child_output(c, NULL, e) < 0)
        got = -1;
    return got;
}

static int run_first(struct once_key *k, const struct wrap *w, struct err *e)
{
    struct err failed = ERR_NONE;
    struct child c;
    int got;

    child_init(&c);
    got = wrap_run(&c, w, e);
    if (got == 0 && c.status == 0) {
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
    else if (by == NULL)
        key_of_handler(&name);
    else if ((got = wrap_stdin(&input, &e)) == 0)
        got = key_of_input(&name, &input, &e);
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

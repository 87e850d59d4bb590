#include "fsm/fsm.h"

#include "base/crc32c.h"
#include "base/sha1.h"
#include "base/uuid.h"
#include "cli/feed.h"
#include "store/doc.h"

#include <inttypes.h>
#include <string.h>

#define DEFINITION_MAX (1 << 20)

/* ------------------------------------------------------------------------------ the definition */

static struct str without(struct str name, const char *suffix)
{
    size_t n = strlen(suffix);

    if (name.n > n && memcmp(name.p + name.n - n, suffix, n) == 0)
        name.n -= n;
    return name;
}

int fsm_load(struct machine *m, const char *path, struct machine_findings *findings, struct err *e)
{
    const char *slash = strrchr(path, '/');
    struct str name = str_of(slash == NULL ? path : slash + 1);
    struct buf text = BUF_INIT;

    *m = (struct machine)MACHINE_INIT;
    int got = feed_text(path, DEFINITION_MAX, "1 MiB", &text, e);
    if (got == 0) {
        got = machine_read(m, (struct str){buf_text(&text), text.n},
                           without(without(name, ".json"), ".machine"), findings, e);
        if (got < 0 && e->status != 0)
            err_at(e, "%s: ", path);
        else if (got < 0)
            e->status = EX_DATAERR;
    }
    buf_free(&text);
    return got;
}

/* ---------------------------------------------------------------------------------- a document */

bool fsm_read(struct str value, struct fsm_subject *out)
{
    struct str since = js_get(value, "since_ms"), version = js_get(value, "version");

    *out = (struct fsm_subject){.state = js_get(value, "state"), .last = js_get(value, "last")};
    return out->state.p != NULL && js_kind(out->state) == JS_STRING && out->last.p != NULL &&
           js_kind(out->last) == JS_ARRAY && since.p != NULL && js_integer(since, &out->since_ms) &&
           version.p != NULL && js_integer(version, &out->version);
}

/* An event that a document remembers; views of the document, in JSON. */
struct known {
    struct str id, source, type, from, to;
};

static bool read_known(struct str item, struct known *k)
{
    struct str *const part[] = {&k->id, &k->source, &k->type, &k->from, &k->to};
    struct str key;
    size_t at = 0, n = 0;

    while (n < 5 && js_each(item, &at, &key, part[n]))
        n++;
    return n == 5;
}

/* Has this event been accepted before? quoted is its id in JSON as documents write it: most
   documents do not contain those bytes, and then need not be parsed. */
static bool recall(struct str last, struct str quoted, struct str source, struct known *k)
{
    struct buf source_json = BUF_INIT;
    struct str key, item;
    size_t at = 0;
    bool found = false;

    if (memmem(last.p, last.n, quoted.p, quoted.n) == NULL)
        return false;
    js_quote(&source_json, source);
    while (!found && js_each(last, &at, &key, &item))
        found = read_known(item, k) && str_eq(k->id, quoted) &&
                str_eq(k->source, (struct str){source_json.p, source_json.n});
    buf_free(&source_json);
    return found;
}

/* The array's items, without the oldest if the array is full. */
static struct str kept_items(struct str last)
{
    struct str key, item, second = {NULL, 0};
    size_t at = 0, n = 0;

    for (; js_each(last, &at, &key, &item); n++)
        if (n == 1)
            second = item;
    const char *begin = n >= FSM_KEPT && second.p != NULL ? second.p : last.p + 1;
    return (struct str){begin, n == 0 ? 0 : (size_t)(last.p + last.n - 1 - begin)};
}

static void write_document(struct fsm *f, const struct event *ev, const struct fsm_subject *was,
                           const char *from, const char *to)
{
    int64_t now_ms = clock_now_ms();
    struct str kept = was->last.p == NULL ? was->last : kept_items(was->last);
    struct buf *b = &f->value;

    buf_reset(b);
    buf_puts(b, "{\"state\":");
    js_quote(b, str_of(to));
    buf_printf(b, ",\"since_ms\":%" PRId64 ",\"version\":%" PRId64 ",\"last\":[",
               strcmp(from, to) == 0 && was->version > 0 ? was->since_ms : now_ms,
               was->version + 1);
    buf_str(b, kept);
    buf_puts(b, kept.n > 0 ? ",[" : "[");
    buf_add(b, f->quoted.p, f->quoted.n);
    const struct str parts[] = {ev->source.p == NULL ? STR("") : ev->source, ev->type, str_of(from),
                                str_of(to)};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        buf_char(b, ',');
        js_quote(b, parts[i]);
    }
    buf_printf(b, ",%" PRId64 "]]}", now_ms);
}

/* ---------------------------------------------------------------------------------- transitions */

/* As in emit: made of the cause's milliseconds, so that ids sort by time, and of a hash of its
   origin. */
static void derive_id(const struct fsm *f, const struct event *ev, char out[UUID_SIZE])
{
    unsigned char digest[20];
    int64_t ms = 0;
    struct sha1 s;

    if (ev->time.p == NULL || !clock_parse(ev->time, &ms) || ms < 0)
        ms = 0;
    sha1_init(&s);
    sha1_add(&s, ev->source.p, ev->source.n);
    sha1_add(&s, "", 1);
    sha1_add(&s, ev->id.p, ev->id.n);
    sha1_add(&s, "", 1);
    sha1_add(&s, f->machine->name, strlen(f->machine->name) + 1);
    sha1_end(&s, digest);
    uuid_v8(out, ms, digest);
}

static void write_member(struct buf *b, const char *name, struct str text)
{
    buf_printf(b, ",\"%s\":", name);
    js_quote(b, text);
}

static void write_transition(struct fsm *f, const struct event *ev, struct str from, struct str to,
                             struct str type, struct buf *out)
{
    char id[UUID_SIZE];

    derive_id(f, ev, id);
    buf_reset(&f->value);
    buf_printf(&f->value, "%s.", f->machine->name);
    buf_str(&f->value, to);
    buf_puts(out, "{\"type\":");
    js_quote(out, (struct str){f->value.p, f->value.n});
    write_member(out, "id", str_of(id));
    write_member(out, "subject", ev->subject);
    write_member(out, "causationid", ev->id);
    write_member(out, "correlationid", ev->correlationid.p != NULL ? ev->correlationid : ev->id);
    buf_puts(out, ",\"data\":{\"from\":");
    js_quote(out, from);
    write_member(out, "to", to);
    write_member(out, "event", type);
    buf_puts(out, "}}\n");
}

/* Print the transition as before, from what the document remembers. */
static void repeat_transition(struct fsm *f, const struct event *ev, const struct known *k,
                              struct buf *out)
{
    struct buf text = BUF_INIT;

    buf_need(&text, k->from.n + k->to.n + k->type.n); /* or the views would move */
    write_transition(f, ev, js_string(k->from, &text), js_string(k->to, &text),
                     js_string(k->type, &text), out);
    buf_free(&text);
}

/* --------------------------------------------------------------------------------------- events */

static int begin(struct fsm *f, struct err *e)
{
    if (f->txn == NULL && txn_begin(f->store, TXN_LASTING, NULL, &f->txn, e) < 0)
        return -1;
    f->taken++;
    return 0;
}

static void count(struct fsm *f, struct str subject)
{
    size_t at = crc32c(subject.p, subject.n) % sizeof f->of_subject;

    f->crowded |= ++f->of_subject[at] >= FSM_KEPT;
}

static int refuse(const struct event *ev, const char *state, enum machine_answer answer,
                  struct err *why)
{
    struct err_quoted subject = err_quote(ev->subject.p, ev->subject.n);

    if (answer == MACHINE_UNMET)
        err_set(why, EX_DATAERR, "%s is in state %s, and no condition there holds for %s",
                subject.text, err_quote_text(state).text, event_name(ev).text);
    else
        err_set(why, EX_DATAERR, "%s is in state %s, which does not accept %s", subject.text,
                err_quote_text(state).text, event_name(ev).text);
    return 0;
}

/* Find the subject's state: 1, or 0 with the reason in why. */
static int find_state(struct fsm *f, const struct event *ev, const struct fsm_subject *was,
                      size_t *from, struct err *why)
{
    *from = f->machine->initial;
    if (was->state.p == NULL)
        return 1;
    buf_reset(&f->value);
    struct str state = js_string(was->state, &f->value);
    if (machine_find(f->machine, state, from))
        return 1;
    err_set(why, EX_DATAERR, "%s is in state %s, which machine %s no longer has",
            err_quote(ev->subject.p, ev->subject.n).text, err_quote(state.p, state.n).text,
            err_quote_text(f->machine->name).text);
    return 0;
}

static int step(struct fsm *f, const struct event *ev, const struct doc *doc,
                const struct fsm_subject *was, struct buf *out, struct err *why, struct err *e)
{
    const struct machine_state *state = f->machine->state;
    size_t from, to;

    if (!find_state(f, ev, was, &from, why))
        return 0;
    enum machine_answer answer = machine_step(f->machine, from, ev->type, ev->line, &to);
    if (answer != MACHINE_TAKEN)
        return refuse(ev, state[from].name, answer, why);

    write_document(f, ev, was, state[from].name, state[to].name);
    int got = txn_doc_put(f->txn,
                          &(struct doc_put){.kind = FSM_KIND,
                                            .name = doc->name,
                                            .rev = doc->rev,
                                            .value = {f->value.p, f->value.n}},
                          e);
    if (got <= 0)
        return got < 0 ? -1 : err_set(e, EX_SOFTWARE, "%s changed within a transaction", doc->name);
    count(f, ev->subject);
    write_transition(f, ev, str_of(state[from].name), str_of(state[to].name), ev->type, out);
    return 1;
}

int fsm_take(struct fsm *f, const struct event *ev, struct buf *out, struct err *why, struct err *e)
{
    struct fsm_subject was = {.version = 0};
    struct known k;
    struct doc doc;
    int got;

    buf_reset(&f->name);
    buf_printf(&f->name, "%s/", f->machine->name);
    buf_str(&f->name, ev->subject);
    if (begin(f, e) < 0 || (got = doc_get(f->store, FSM_KIND, buf_text(&f->name), &doc, e)) < 0)
        return -1;
    if (got > 0 && !fsm_read(doc.value, &was))
        return err_set(e, EX_IOERR, "the state of %s is damaged: fsm forget %s -m %s",
                       err_quote_text(doc.name).text, doc.name + strlen(f->machine->name) + 1,
                       f->machine->name);
    buf_reset(&f->quoted);
    js_quote(&f->quoted, ev->id);
    if (got == 0 || !recall(was.last, (struct str){f->quoted.p, f->quoted.n},
                            ev->source.p == NULL ? STR("") : ev->source, &k))
        return step(f, ev, &doc, &was, out, why, e);
    repeat_transition(f, ev, &k, out);
    return 1;
}

bool fsm_full(const struct fsm *f)
{
    return f->crowded || f->taken >= FSM_BATCH;
}

int fsm_commit(struct fsm *f, struct err *e)
{
    int got = f->txn != NULL ? txn_commit(f->txn, e) : 0;

    f->txn = NULL;
    f->crowded = false;
    f->taken = 0;
    memset(f->of_subject, 0, sizeof f->of_subject);
    return got;
}

void fsm_free(struct fsm *f)
{
    if (f->txn != NULL)
        txn_rollback(f->txn);
    f->txn = NULL;
    buf_free(&f->name);
    buf_free(&f->quoted);
    buf_free(&f->value);
}

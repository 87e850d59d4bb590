#include "resilience/once_key.h"

#include "base/clock.h"
#include "process/proc.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUTPUT_KIND "key-output"
#define OUTLIVES_MS 60000 /* an output outlives its key: a done key has its output */

bool once_key_read(struct str value, struct once_key_info *out)
{
    json_t *root = json_loadb(value.p, value.n, 0, NULL);
    const char *mark = json_string_value(json_object_get(root, "mark"));

    *out = (struct once_key_info){.done = json_is_true(json_object_get(root, "done")),
                                  .at_ms = json_integer_value(json_object_get(root, "at_ms")),
                                  .bytes = json_integer_value(json_object_get(root, "bytes"))};
    snprintf(out->mark, sizeof out->mark, "%s", mark == NULL ? "" : mark);
    bool good = root != NULL && (out->done || mark != NULL);
    json_decref(root);
    return good;
}

/* 1; 0: another process was faster; -1. The key is taken; or done, in t. */
static int key_put(struct once_key *k, struct txn *t, int64_t bytes, int64_t expires_ms,
                   struct err *e)
{
    bool done = t != NULL;
    int64_t now = clock_now_ms();
    json_t *root =
        done ? json_pack("{s:b,s:I,s:I}", "done", 1, "at_ms", (json_int_t)now, "bytes",
                         (json_int_t)bytes)
             : json_pack("{s:b,s:I,s:s}", "done", 0, "at_ms", (json_int_t)now, "mark", k->mark);
    char *text = json_dumps(root, JSON_COMPACT);
    const struct doc_put change = {.kind = ONCE_KEY_KIND,
                                   .name = k->name,
                                   .rev = k->rev,
                                   .value = str_of(text),
                                   .expires_ms = expires_ms,
                                   .wake = done};
    int got = done ? txn_doc_put(t, &change, e) : doc_put(k->store, &change, e);

    free(text);
    json_decref(root);
    return got;
}

/* Read the output, if it was kept. */
static int get_output(struct once_key *k, struct err *e)
{
    struct doc doc;
    int got = doc_get(k->store, OUTPUT_KIND, k->name, &doc, e);

    buf_reset(&k->output);
    if (got > 0)
        buf_str(&k->output, doc.value);
    return got;
}

/* One attempt, as once_key_take. */
static int look(struct once_key *k, struct err *e)
{
    struct once_key_info info;
    struct doc doc;
    int got = doc_get(k->store, ONCE_KEY_KIND, k->name, &doc, e);

    if (got < 0)
        return -1;
    if (got > 0 && !once_key_read(doc.value, &info))
        return err_set(e, EX_IOERR, "key %s is damaged: spool key forget %s",
                       err_quote_text(k->name).text, k->name);
    if (got > 0 && info.done) {
        k->bytes = info.bytes;
        return get_output(k, e) < 0 ? -1 : ONCE_KEY_DONE;
    }
    if (got > 0 && mark_lives(k->store, info.mark))
        return ONCE_KEY_BUSY;
    k->rev = doc.rev;
    if ((got = key_put(k, NULL, 0, 0, e)) <= 0)
        return got < 0 ? -1 : ONCE_KEY_BUSY; /* another process was faster */
    if ((got = doc_get(k->store, ONCE_KEY_KIND, k->name, &doc, e)) < 0)
        return -1;
    k->rev = doc.rev;
    return ONCE_KEY_OURS;
}

int once_key_take(struct once_key *k, int64_t wait_ms, struct err *e)
{
    int64_t until = clock_mono_ms() + wait_ms;
    int got;

    if (mark_take(k->store, k->mark, e) < 0)
        return -1;
    for (;;) {
        if ((got = look(k, e)) != ONCE_KEY_BUSY)
            return got;
        int64_t left = wait_ms < 0 ? -1 : until - clock_mono_ms();
        if (wait_ms >= 0 && left <= 0)
            return ONCE_KEY_BUSY;
        if (store_wait(k->store, NULL, 0, left, proc_wait, e) < 0)
            return -1;
        if (proc_stopping())
            return err_set(e, EX_TEMPFAIL, "stopped while waiting");
    }
}

static int keep_output(struct once_key *k, struct txn *t, struct str output, int64_t expires_ms,
                       struct err *e)
{
    const struct doc_put change = {
        .kind = OUTPUT_KIND, .name = k->name, .value = output, .expires_ms = expires_ms};

    if (txn_doc_forget(t, OUTPUT_KIND, k->name, e) < 0) /* from an earlier use of the key */
        return -1;
    return output.n == 0 ? 0 : txn_doc_put(t, &change, e);
}

int once_key_done(struct once_key *k, struct str output, int64_t bytes, int64_t ttl_ms,
                  struct err *e)
{
    int64_t expires_ms = clock_now_ms() + ttl_ms;
    struct txn *t;

    if (txn_begin(k->store, TXN_LASTING, NULL, &t, e) < 0)
        return -1;
    int got = keep_output(k, t, output, expires_ms + OUTLIVES_MS, e);
    if (got >= 0)
        got = key_put(k, t, bytes, expires_ms, e);
    if (got > 0)
        return txn_commit(t, e) < 0 ? -1 : 0;
    txn_rollback(t);
    return got < 0 ? -1
                   : err_set(e, EX_TEMPFAIL, "key %s was forgotten while its command ran",
                             err_quote_text(k->name).text);
}

int once_key_drop(struct once_key *k, struct err *e)
{
    const struct doc_put change = {
        .kind = ONCE_KEY_KIND, .name = k->name, .rev = k->rev, .wake = true};

    return doc_put(k->store, &change, e) < 0 ? -1 : 0;
}

void once_key_free(struct once_key *k)
{
    buf_free(&k->output);
}

int once_key_forget(struct store *s, const char *name, struct err *e)
{
    struct once_key_info info;
    struct doc doc;
    int got = doc_get(s, ONCE_KEY_KIND, name, &doc, e);

    if (got > 0 && once_key_read(doc.value, &info) && !info.done && mark_lives(s, info.mark))
        return err_set(e, EX_TEMPFAIL, "key %s: process %lld is running its command",
                       err_quote_text(name).text, (long long)mark_pid(info.mark));
    if (got == 0)
        return err_set(e, EX_NOINPUT, "there is no key %s", err_quote_text(name).text);
    /* Delete only the revision that was read: another process may take the key in the meantime. */
    if (got > 0)
        got = doc_put(
            s,
            &(struct doc_put){.kind = ONCE_KEY_KIND, .name = name, .rev = doc.rev, .durable = true},
            e);
    if (got == 0)
        return err_set(e, EX_TEMPFAIL, "key %s: another process is using it",
                       err_quote_text(name).text);
    return got < 0 || doc_forget(s, OUTPUT_KIND, name, e) < 0 ? -1 : 0;
}

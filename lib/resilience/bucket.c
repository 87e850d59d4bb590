#include "resilience/bucket.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define STEP_US 1000000 /* a smaller step back does not mean that the clock was set */
#define EACH_MAX_US (INT64_C(36500) * 86400 * 1000000) /* the longest duration */
#define KEEP_MS (INT64_C(7) * 86400 * 1000)            /* an unused bucket is forgotten */

bool bucket_read(struct str value, struct bucket *out)
{
    json_int_t each, burst, next, said, closed, taken, since;
    json_t *root = json_loadb(value.p, value.n, 0, NULL);
    bool good = json_unpack(root, "{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "each_us", &each, "burst",
                            &burst, "next_us", &next, "said_us", &said, "closed_us", &closed,
                            "taken", &taken, "since_ms", &since) == 0 &&
                each >= 0 && each <= EACH_MAX_US && burst > 0;

    json_decref(root);
    if (good)
        *out = (struct bucket){{each, burst, next}, said, closed, taken, since};
    return good;
}

static char *write_bucket(const struct bucket *b)
{
    json_t *root =
        json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "each_us", (json_int_t)b->pace.each_us, "burst",
                  (json_int_t)b->pace.burst, "next_us", (json_int_t)b->pace.next_us, "said_us",
                  (json_int_t)b->said_us, "closed_us", (json_int_t)b->closed_us, "taken",
                  (json_int_t)b->taken, "since_ms", (json_int_t)b->since);
    char *text = json_dumps(root, JSON_COMPACT);

    json_decref(root);
    return text;
}

/* The bucket as of now, or a new one. */
static int get(struct store *s, const char *name, int64_t now_us, struct doc *doc, struct bucket *b,
               struct err *e)
{
    *b = (struct bucket){.pace = {0, 1, 0}, .since = now_us / 1000};
    if (doc_get(s, BUCKET_KIND, name, doc, e) < 0)
        return -1;
    if (doc->rev != 0 && !bucket_read(doc->value, b))
        return err_set(e, EX_IOERR, "bucket %s is damaged: spool bucket forget %s",
                       err_quote_text(name).text, name);
    if (b->said_us > now_us + STEP_US) { /* the clock was set back: move the recorded times back,
                                            too */
        b->pace.next_us -= b->said_us - now_us;
        if (b->closed_us > 0)
            b->closed_us -= b->said_us - now_us;
    }
    b->said_us = now_us;
    return 0;
}

static int bucket_put(struct store *s, const char *name, const struct doc *doc,
                      const struct bucket *b, struct err *e)
{
    char *text = write_bucket(b);
    int64_t last_us = b->pace.next_us > b->closed_us ? b->pace.next_us : b->closed_us;
    int64_t from_ms = (last_us > b->said_us ? last_us : b->said_us) / 1000;
    const struct doc_put change = {.kind = BUCKET_KIND,
                                   .name = name,
                                   .rev = doc->rev,
                                   .value = str_of(text),
                                   .expires_ms = from_ms + KEEP_MS};
    int got = doc_put(s, &change, e);

    free(text);
    return got;
}

/* On a change of rate, tokens taken ahead of time stay the same in number, not in time. */
static void set_pace(struct bucket *b, const struct gcra *pace, int64_t now_us)
{
    int64_t ahead_us = b->pace.next_us - now_us;

    if (b->pace.each_us > 0 && ahead_us > 0)
        b->pace.next_us =
            now_us + (int64_t)((double)ahead_us / (double)b->pace.each_us * (double)pace->each_us);
    b->pace.each_us = pace->each_us;
    b->pace.burst = pace->burst;
}

int bucket_take(struct store *s, const char *name, const struct gcra *pace, int64_t max_ms,
                int64_t *wait_us, bool *changed, struct err *e)
{
    struct bucket b;
    struct doc doc;
    bool taken;
    int got;

    do {
        int64_t now = clock_now_us();
        if (get(s, name, now, &doc, &b, e) < 0)
            return -1;
        *changed =
            b.pace.each_us != 0 && (b.pace.each_us != pace->each_us || b.pace.burst != pace->burst);
        if (*changed || b.pace.each_us == 0)
            set_pace(&b, pace, now);
        if (b.pace.next_us < b.closed_us) /* so that they do not all go at once when it opens */
            b.pace.next_us = b.closed_us + (b.pace.burst - 1) * b.pace.each_us;
        *wait_us = gcra_wait(&b.pace, now);
        taken = max_ms < 0 || *wait_us <= max_ms * 1000;
        if (!taken && !*changed)
            return 0;
        if (taken) {
            gcra_take(&b.pace, 1, now);
            b.taken++;
        }
    } while ((got = bucket_put(s, name, &doc, &b, e)) == 0);
    return got < 0 ? -1 : taken;
}

int bucket_closed(struct store *s, const char *name, int64_t *until_us, struct err *e)
{
    int64_t now = clock_now_us();
    struct bucket b;
    struct doc doc;

    if (get(s, name, now, &doc, &b, e) < 0)
        return -1;
    *until_us = b.closed_us > now ? b.closed_us : 0;
    return 0;
}

int bucket_close(struct store *s, const char *name, int64_t until_ms, struct err *e)
{
    struct bucket b;
    struct doc doc;
    int got;

    do {
        if (get(s, name, clock_now_us(), &doc, &b, e) < 0)
            return -1;
        if (doc.rev == 0 && until_ms == 0)
            return err_set(e, EX_NOINPUT, "there is no bucket %s", err_quote_text(name).text);
        b.closed_us = until_ms * 1000;
        if (until_ms == 0) /* waiting processes keep their times; later ones start afresh */
            b.pace.next_us = 0;
    } while ((got = bucket_put(s, name, &doc, &b, e)) == 0);
    return got < 0 ? -1 : 0;
}

int bucket_forget(struct store *s, const char *name, struct err *e)
{
    int got = doc_forget(s, BUCKET_KIND, name, e);

    return got > 0   ? 0
           : got < 0 ? -1
                     : err_set(e, EX_NOINPUT, "there is no bucket %s", err_quote_text(name).text);
}

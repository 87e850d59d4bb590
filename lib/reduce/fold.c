#include "reduce/fold_priv.h"

#include "base/mem.h"
#include "process/child.h"
#include "store/doc.h"
#include "store/log.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FED_MAX ((size_t)256 * 1024) /* waiting to be read by the reducer */
#define TRIES 5                      /* with a reducer that changes while it runs */

struct fold {
    const struct fold_terms *terms;
    const char *subject;
    const struct fold_subject *found;

    bool begun, stream, fed; /* fed: all there is */
    int64_t limit;           /* of a stream: the last version that counts */
    int64_t version, seq;    /* of the last event used */
    int64_t events;          /* used since the snapshot */
    int64_t changes, tries;  /* of the reducer */
    struct log *log;
    struct buf state; /* JSON; empty: null */

    struct child child;
    struct buf answer; /* the last line that is not blank */
    bool too_long;

    struct buf name; /* of the snapshot */
    int64_t rev;
    struct js_scan scan;
};

static int fail(const struct fold *f, struct err *e)
{
    return err_at(e, "subject %s: ", err_quote_text(f->subject).text);
}

void fold_open(struct fold **out, const struct fold_terms *terms, const char *subject,
               const struct fold_subject *found)
{
    struct fold *f = mem_zero(1, sizeof *f);

    f->terms = terms;
    f->subject = subject;
    f->found = found;
    buf_puts(&f->name, subject);
    buf_str(&f->name, (struct str){terms->reducer->label.p, terms->reducer->label.n});
    child_init(&f->child);
    *out = f;
}

void fold_close(struct fold *f)
{
    if (f == NULL)
        return;
    if (f->child.pid > 0 && !f->child.ended)
        kill(f->child.pid, SIGKILL);
    child_free(&f->child);
    log_close(f->log);
    buf_free(&f->state);
    buf_free(&f->answer);
    buf_free(&f->name);
    js_scan_free(&f->scan);
    free(f);
}

/* --------------------------------------------------------------------------------- the snapshot */

/* A member that is an integer; -1: it is missing or something else. */
static int64_t number(const struct js_scan *scan, const char *key)
{
    const struct js_member *m = js_member(scan, key);
    int64_t n;

    return m != NULL && js_integer(m->value, &n) ? n : -1;
}

static bool text_is(struct js_scan *scan, const char *key, const char *text)
{
    const struct js_member *m = js_member(scan, key);

    return m != NULL && m->kind == JS_STRING && str_is(js_string(m->value, &scan->scratch), text);
}

/* Does it belong to this subject and this reducer, and not to a time after what was asked for? If
   the subject has become a stream since then, the snapshot of its events without versions is
   void. */
static bool usable(struct fold *f, int64_t version, int64_t seq)
{
    return text_is(&f->scan, "subject", f->subject) &&
           text_is(&f->scan, "reducer", f->terms->reducer->sum) && seq > 0 &&
           seq <= f->terms->last && (version > 0) == f->stream && version <= f->limit;
}

static int load(struct fold *f, struct err *e)
{
    struct err damaged = ERR_NONE;
    struct doc doc;
    int got = doc_get(f->terms->store, FOLD_SNAPSHOT, buf_text(&f->name), &doc, e);

    f->rev = doc.rev;
    f->scan.envelope = true;
    if (got <= 0 || js_scan(&f->scan, doc.value.p, doc.value.n, &damaged) < 0)
        return got < 0 ? -1 : 0;
    const struct js_member *state = js_member(&f->scan, "state");
    int64_t version = number(&f->scan, "version"), seq = number(&f->scan, "seq");
    if (state == NULL || !usable(f, version, seq))
        return 0;
    f->version = version;
    f->seq = seq;
    buf_str(&f->state, state->value);
    return 0;
}

static struct str state_of(const struct fold *f)
{
    return f->state.n == 0 ? STR("null") : (struct str){f->state.p, f->state.n};
}

static void print(const struct fold *f, struct buf *line)
{
    buf_puts(line, "\"subject\":");
    js_quote(line, str_of(f->subject));
    buf_printf(line, ",\"version\":%" PRId64 ",\"seq\":%" PRId64 ",\"state\":", f->version, f->seq);
    buf_str(line, state_of(f));
    buf_char(line, '}');
}

void fold_print(const struct fold *f, struct buf *line)
{
    buf_char(line, '{');
    print(f, line);
}

/* If another process was faster, its snapshot is just as good. */
int fold_keep(struct fold *f, struct err *e)
{
    const struct fold_terms *terms = f->terms;
    struct buf value = BUF_INIT;

    if (terms->past || terms->every == 0 || f->events < terms->every || f->state.n > FOLD_STATE_MAX)
        return 0;
    buf_printf(&value, "{\"reducer\":\"%s\",", terms->reducer->sum);
    print(f, &value);
    const struct doc_put put = {.kind = FOLD_SNAPSHOT,
                                .name = buf_text(&f->name),
                                .rev = f->rev,
                                .value = {value.p, value.n},
                                .durable = true};
    int got = doc_put(terms->store, &put, e);
    buf_free(&value);
    return got < 0 ? fail(f, e) : 0;
}

/* ----------------------------------------------------------------------------------- the events */

/* Decide where the reduction ends, and which events belong to the subject. */
static int find_end(struct fold *f, struct err *e)
{
    int64_t stands, want = f->terms->at_version;
    int got = log_stands(f->terms->store, f->subject, f->terms->last, &stands, e);

    if (got < 0)
        return -1;
    if (want > 0 && got == 0)
        return err_set(e, EX_NOINPUT, "no event with a version (publish --expect-version)");
    if (want > stands)
        return err_set(e, EX_NOINPUT, "it is at version %" PRId64, stands);
    f->stream = got > 0;
    f->limit = want > 0 ? want : stands;
    return 0;
}

static int open_log(struct fold *f, struct err *e)
{
    struct log_query query = {
        .first = log_after(f->seq), .last = f->terms->last, .lines = true, .types = fold_types};

    log_close(f->log);
    f->log = NULL;
    if (f->seq >= f->terms->last || (f->stream && f->version == f->limit))
        return 0;
    if (f->stream) {
        query.stream = f->subject;
        query.version = f->version + 1;
    } else if (f->found != NULL) {
        size_t passed = 0;
        while (passed < f->found->seqs && f->found->seq[passed] <= f->seq)
            passed++;
        query.seqs = f->found->seqs - passed;
        if (query.seqs == 0)
            return 0;
        query.seq = f->found->seq + passed;
    } else {
        query.subject = f->subject;
    }
    return log_open(&f->log, f->terms->store, &query, e);
}

static int missing(const struct fold *f, struct err *e)
{
    return err_set(e, EX_NOINPUT,
                   "version %" PRId64
                   " is missing (pruned), and no snapshot of this reducer has it",
                   f->version + 1);
}

/* 1, 0 at the end, -1. */
static int next(struct fold *f, struct log_entry *entry, struct err *e)
{
    bool at_end = f->log == NULL || (f->stream && f->version == f->limit);
    int got = at_end ? 0 : log_next(f->log, entry, e);

    if (got < 0)
        return -1;
    if (got == 0)
        return f->stream && f->version < f->limit ? missing(f, e) : 0;
    if (entry->damaged)
        return err_set(e, EX_IOERR, "seq %" PRId64 " is damaged: the state is unknown", entry->seq);
    if (f->stream && entry->version != f->version + 1)
        return missing(f, e);
    f->version = f->stream ? entry->version : 0;
    f->seq = entry->seq;
    f->events++;
    return 1;
}

/* ------------------------------------------------------------------------------------ the merge */

/* An event without data, or with binary data, does not change the state. */
static int merge_event(json_t **state, struct event *ev, struct js_scan *scan,
                       const struct log_entry *entry, struct err *e)
{
    if (event_read(ev, scan, entry->line, e) < 0)
        return err_at(e, "seq %" PRId64 ": ", entry->seq);
    if (ev->data.p == NULL || ev->base64)
        return 0;
    *state = fold_merge(*state, ev->data, e);
    return *state == NULL ? -1 : 0;
}

static int merge_all(struct fold *f, struct log_entry *entry, struct err *e)
{
    json_t *state = fold_merge(NULL, state_of(f), e);
    struct event ev = EVENT_INIT;
    int got = state == NULL ? -1 : 1;

    while (got > 0)
        got = merge_event(&state, &ev, &f->scan, entry, e) < 0 ? -1 : next(f, entry, e);
    buf_reset(&f->state);
    if (got == 0)
        fold_merge_print(state, &f->state);
    json_decref(state);
    event_free(&ev);
    return got < 0 ? -1 : 1;
}

/* ---------------------------------------------------------------------------------- the reducer */

static int start(struct fold *f, struct err *e)
{
    const int given[CHILD_FDS] = {CHILD_PIPE, CHILD_PIPE, STDERR_FILENO, CHILD_NONE};
    struct child_run run = {.argv = f->terms->reducer->argv, .given = given, .stay = true};

    setenv("REDUCE_SUBJECT", f->subject, 1);
    run.envp = environ;
    child_feed(&f->child, state_of(f));
    child_feed(&f->child, STR("\n"));
    return child_start(&f->child, &run, e);
}

/* A reducer may close its stdin and ignore the rest; those events still count as reduced. */
static void give(struct fold *f, const struct log_entry *entry)
{
    if (f->child.fd[0] >= 0)
        child_feed(&f->child, (struct str){entry->line.p, entry->line.n + 1});
}

static int feed(struct fold *f, struct err *e)
{
    struct log_entry entry;
    int got = 1;

    while (!f->fed && got > 0 && f->child.in.n - f->child.fed < FED_MAX)
        if ((got = next(f, &entry, e)) > 0)
            give(f, &entry);
    if (got == 0) {
        f->fed = true;
        child_end_input(&f->child);
    }
    return got < 0 ? -1 : 0;
}

static bool blank(const char *p, size_t n)
{
    while (n > 0 && (p[n - 1] == ' ' || p[n - 1] == '\t' || p[n - 1] == '\r'))
        n--;
    return n == 0;
}

/* The last complete line of its output that is not blank. */
static void take_lines(struct fold *f, size_t whole)
{
    const char *text = f->child.out.p;

    for (size_t end = whole; end > 0;) {
        const char *newline = memrchr(text, '\n', end - 1);
        size_t begin = newline == NULL ? 0 : (size_t)(newline - text) + 1;
        if (!blank(text + begin, end - 1 - begin)) {
            buf_reset(&f->answer);
            buf_add(&f->answer, text + begin, end - 1 - begin);
            return;
        }
        end = begin;
    }
}

static void take(struct fold *f, bool last)
{
    struct buf *out = &f->child.out;

    if (last && out->n > 0)
        buf_char(out, '\n');
    const char *newline = out->n == 0 ? NULL : memrchr(out->p, '\n', out->n);
    size_t whole = newline == NULL ? 0 : (size_t)(newline - out->p) + 1;
    take_lines(f, whole);
    buf_splice(out, 0, whole, "", 0);
    if (out->n <= FOLD_STATE_MAX && f->answer.n <= FOLD_STATE_MAX)
        return;
    buf_reset(out);
    if (!f->too_long && !f->child.ended)
        kill(f->child.pid, SIGKILL);
    f->too_long = true;
}

/* The reducer's answer is the state after all events, also those that it did not read. */
static int conclude(struct fold *f, struct err *e)
{
    struct log_entry entry;
    int got = 1;

    if (f->too_long)
        return err_set(e, EX_DATAERR, "the reducer printed a line of more than %d MiB",
                       FOLD_STATE_MAX >> 20);
    if (f->child.status != 0)
        return err_set(e, f->child.status, "the reducer: %s", f->child.why);
    if (f->answer.n == 0)
        return err_set(e, EX_DATAERR, "the reducer printed nothing");
    f->scan.envelope = false;
    if (js_scan(&f->scan, f->answer.p, f->answer.n, e) < 0)
        return err_at(e, "the reducer printed no JSON: ");
    while (!f->fed && (got = next(f, &entry, e)) > 0)
        continue;
    buf_reset(&f->state);
    buf_str(&f->state, f->scan.value);
    return got < 0 ? -1 : 1;
}

/* ------------------------------------------------------------------------------------ the steps */

static int begin(struct fold *f, struct err *e)
{
    struct log_entry entry;
    int got;

    f->begun = true;
    f->fed = f->too_long = false;
    f->version = f->seq = f->events = 0;
    f->changes = f->terms->reducer->changes;
    buf_reset(&f->state);
    buf_reset(&f->answer);
    child_reset(&f->child);
    if (find_end(f, e) < 0 || (f->terms->every > 0 && load(f, e) < 0) || open_log(f, e) < 0 ||
        (got = next(f, &entry, e)) < 0)
        return -1;
    if (got == 0 && (f->seq > 0 || f->terms->reducer->argv == NULL))
        return 1;
    if (f->terms->reducer->argv == NULL)
        return merge_all(f, &entry, e);
    if (start(f, e) < 0)
        return -1;
    if (got > 0)
        give(f, &entry);
    return 0;
}

/* The reducer has ended. If it was edited while it ran, it may have been the old one or the new
   one, and may have got a state made by the other: run it again. */
static int end(struct fold *f, struct err *e)
{
    struct fold_reducer *r = f->terms->reducer;

    fold_reducer_look(r);
    if (r->changes == f->changes)
        return conclude(f, e);
    if (++f->tries == TRIES)
        return err_set(e, EX_TEMPFAIL,
                       "%s changes whenever the reducer runs: is it part of the reducer? "
                       "--reducer-version names the reducer instead",
                       err_quote_text(buf_text(&r->changed)).text);
    return begin(f, e);
}

int fold_step(struct fold *f, struct err *e)
{
    int got = f->begun ? 0 : begin(f, e);

    while (got == 0) {
        if (child_io(&f->child, clock_mono_ms(), e) < 0) {
            got = -1;
            break;
        }
        take(f, false);
        if (!child_done(&f->child)) {
            got = feed(f, e);
            break;
        }
        take(f, true);
        got = end(f, e);
    }
    return got < 0 ? fail(f, e) : got;
}

size_t fold_fds(const struct fold *f, struct pollfd *fds)
{
    return child_fds(&f->child, fds);
}

int64_t fold_deadline(const struct fold *f)
{
    return child_deadline(&f->child);
}

bool fold_ended(struct fold *f, pid_t pid, int wait_status)
{
    if (f->child.pid != pid || f->child.ended)
        return false;
    child_ended(&f->child, wait_status, clock_mono_ms());
    return true;
}

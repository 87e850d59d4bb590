/*
 * The relay's rounds: read a page, publish, mark; which rows fail, wait, or are held up behind
 * these; and when to look again.
 */
#include "base/duration.h"
#include "base/mem.h"
#include "cli/out.h"
#include "cli/say.h"
#include "outbox/engine.h"
#include "process/proc.h"
#include "store/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_MS 20           /* between attempts while it is another relay's turn */
#define PRUNE_EACH_MS 60000  /* while following */
#define BUSY_AGAIN_MS 100    /* between looks at rows that another relay holds, while following */
#define LOCKED_AGAIN_MS 1000 /* between attempts at a database that stays locked */
#define AWAY_MS 1000         /* an unreachable server: the first pause, which then grows */
#define AWAY_MAX_MS 60000

/* ---------------------------------------------------------------------------------- open, close */

static const struct relay_engine *engine_of(const char *database)
{
    return strncmp(database, "postgresql:", 11) == 0 || strncmp(database, "postgres:", 9) == 0
               ? &relay_postgres
               : &relay_sqlite;
}

void relay_schema(const struct relay_terms *terms, struct buf *out)
{
    struct relay_terms ours = *terms;

    if (ours.table == NULL)
        ours.table = RELAY_TABLE;
    if (ours.channel == NULL)
        ours.channel = RELAY_TABLE;
    relay_sql_schema(engine_of(terms->database == NULL ? "" : terms->database)->dialect, &ours,
                     out);
}

/* Are all ports in "host:port,host" numbers? */
static bool ports_are_numbers(struct str hosts)
{
    for (size_t at = 0; at < hosts.n;) {
        const char *p = hosts.p + at;
        const char *comma = memchr(p, ',', hosts.n - at);
        size_t n = comma == NULL ? hosts.n - at : (size_t)(comma - p);
        const char *end = n > 0 && *p == '[' ? memchr(p, ']', n) : NULL; /* an IPv6 address */
        size_t from = end == NULL ? 0 : (size_t)(end - p);
        const char *colon = memchr(p + from, ':', n - from);
        if (colon != NULL)
            for (const char *c = colon + 1; c < p + n; c++)
                if (*c < '0' || *c > '9')
                    return false;
        at += n + 1;
    }
    return true;
}

/*
 * A database's URI may hold a password, and messages show names of hosts, ports and files. So a URI
 * in which part of the password could be taken for another part is refused without being printed: a
 * URI without "@", or with an unencoded "@" or "/" in the password. Connection strings are not
 * taken for file names either.
 */
static int check_address(const char *database, struct err *e)
{
    const char *rest = strstr(database, "://");

    if (engine_of(database) == &relay_sqlite) {
        bool secret = rest != NULL || strstr(database, "password=") != NULL;
        return !secret || access(database, F_OK) == 0
                   ? 0
                   : err_set(e, EX_USAGE,
                             "the database is neither a SQLite file nor a URI that begins with "
                             "postgresql://");
    }
    if (rest != strchr(database, ':'))
        return err_set(e, EX_USAGE, "a PostgreSQL database is postgresql://USER@HOST/DATABASE");
    /* As libpq reads it: user and password come before an "@" that precedes any "/"; the host comes
       after it. */
    const char *at = memchr(rest + 3, '@', strcspn(rest + 3, "/"));
    const char *host = at == NULL ? rest + 3 : at + 1;
    if (memchr(host, '@', strcspn(host, "?")) != NULL ||
        !ports_are_numbers((struct str){host, strcspn(host, "/?")}))
        return err_set(e, EX_USAGE,
                       "the URI is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE; within a "
                       "part, write %%40 for @, %%2F for /, %%3A for : and %%3F for ?");
    return 0;
}

/* Check before any row is blamed for it. */
static int check_source(struct relay *r, struct err *e)
{
    if (event_make(&r->answer, &r->scan, &r->fill, STR("{\"type\":\"x\"}"), e) == 0)
        return 0;
    e->status = EX_USAGE;
    return -1;
}

/* ------------------------------------------------------------------------- trouble that passes */

/* A lock, or an unreachable server. */
static bool will_pass(const struct err *e)
{
    return e->status == EX_TEMPFAIL || e->status == EX_UNAVAILABLE;
}

/* Report trouble once, and wait. 1, or 0 when a signal ended the wait. */
static int endure(struct relay *r, struct err *e)
{
    const struct backoff away = {AWAY_MS, AWAY_MAX_MS, BACKOFF_EQUAL};
    bool locked = e->status == EX_TEMPFAIL;
    int64_t until = clock_mono_ms();

    if (relay_must_end(r))
        return 0;
    if (r->troubles++ == 0)
        say_warn("%s: %s", e->text, locked ? "waiting" : "trying again");
    r->locked = locked;
    until += locked ? LOCKED_AGAIN_MS : backoff_ms(&away, r->troubles, clock_random());
    err_clear(e);
    for (int64_t now; (now = clock_mono_ms()) < until;) {
        if (relay_must_end(r))
            return 0;
        proc_wait(NULL, 0, until - now < AWAY_MS ? until - now : AWAY_MS);
    }
    return 1;
}

static void trouble_is_over(struct relay *r)
{
    if (r->troubles > 0)
        say_note("%s: %s", r->place, r->locked ? "no longer locked" : "connected again");
    r->troubles = 0;
}

/* With follow, wait for a locked or unreachable database at the start, too. */
static int open_when_there(struct relay *r, enum relay_mode mode, struct err *e)
{
    while (r->engine->open(r, mode, e) < 0) {
        if (!r->terms->follow || !will_pass(e) || r->db == NULL) /* this build does not have that
                                                                 engine */
            return -1;
        r->engine->close(r);
        free(r->place);
        r->place = NULL;
        if (endure(r, e) == 0) {
            err_clear(e);
            return 0;
        }
    }
    trouble_is_over(r);
    r->open = true;
    return 0;
}

int relay_open(struct relay **out, const struct relay_terms *terms, enum relay_mode mode,
               struct err *e)
{
    struct relay *r = mem_zero(1, sizeof *r);

    r->terms = terms;
    r->engine = engine_of(terms->database);
    r->table.name = terms->table == NULL ? RELAY_TABLE : terms->table;
    r->fill = (struct event_fill){.source = terms->source, .priority = -1, .hops = -1};
    child_init(&r->child);
    r->looking = mode == RELAY_LOOK;
    if (check_address(terms->database, e) < 0 || check_source(r, e) < 0 ||
        relay_map(&r->table, terms->map, e) < 0 ||
        (terms->sink != NULL && mode == RELAY_MOVE && proc_check(terms->sink[0], e) < 0) ||
        open_when_there(r, mode, e) < 0) {
        relay_close(r);
        return -1;
    }
    *out = r;
    return 0;
}

void relay_close(struct relay *r)
{
    if (r == NULL)
        return;
    r->engine->close(r);
    for (size_t i = 0; i < r->page.n; i++)
        free(r->page.row[i].reason);
    relay_table_free(&r->table);
    child_free(&r->child);
    event_free(&r->answer);
    for (size_t i = 0; i < RELAY_PAGE; i++)
        event_free(&r->events[i]);
    js_scan_free(&r->scan);
    buf_free(&r->partial);
    free(r->memory);
    relay_set_free(&r->held);
    free(r->place);
    free(r);
}

/* --------------------------------------------------------------------------------------- a page */

/* An empty text means the same as none. */
static void without_empty(struct relay_row *row)
{
    static const enum relay_column optional[] = {RELAY_EVENT_ID, RELAY_AGGREGATE, RELAY_HEADERS};

    for (size_t i = 0; i < sizeof optional / sizeof optional[0]; i++)
        if (row->text[optional[i]].n == 0)
            row->text[optional[i]].p = NULL;
}

/* Is it this row's turn? A row whose turn it is not holds up the later rows of its aggregate. */
static bool is_due(struct relay *r, struct relay_row *row, int64_t now_ms)
{
    struct str aggregate = row->text[RELAY_AGGREGATE];

    without_empty(row);
    if (!relay_time(row->text[RELAY_RETRY_AT], &row->retry_ms) ||
        row->retry_ms > now_ms + r->terms->backoff.max_ms) /* we never wait that long: the clock
                                                              went back */
        row->retry_ms = 0;
    relay_recall(r, row);
    if (!row->failed && !row->held && row->retry_ms <= now_ms)
        return !relay_is_held(r, aggregate);
    relay_hold(r, aggregate);
    if (row->held && r->busy++ == 0)
        r->busy_id = row->id;
    if (!row->failed && !row->held && row->retry_ms < r->due_ms)
        r->due_ms = row->retry_ms;
    return false;
}

/* Choose the rows of this page to publish. Every check that does not need the spool's lock is made
   before the lock is taken. */
static size_t choose_rows(struct relay *r, int64_t now_ms)
{
    struct err why = ERR_NONE;
    size_t ready = 0;

    r->fill.now_ms = now_ms;
    for (size_t i = 0; i < r->page.n; i++) {
        struct relay_row *row = &r->page.row[i];
        if (!is_due(r, row, now_ms))
            continue;
        err_clear(&why);
        if (relay_make(r, row, &why) < 0) {
            relay_fail(r, row, why.text);
            continue;
        }
        row->fate = RELAY_READY;
        ready++;
        if (r->terms->most > 0 && r->result->relayed + (int64_t)ready >= r->terms->most) {
            r->page.n = i + 1; /* later rows are not looked at any more */
            r->page.last = true;
        }
    }
    return ready;
}

/* ------------------------------------------------------------------------------- into the spool */

/* A row that cannot be stored holds up later rows of its aggregate that had been chosen already. */
static void hold_behind(struct relay *r, const struct relay_row *failed)
{
    struct str aggregate = failed->text[RELAY_AGGREGATE];

    for (size_t i = (size_t)(failed - r->page.row) + 1; i < r->page.n && aggregate.p != NULL; i++)
        if (r->page.row[i].fate == RELAY_READY &&
            str_eq(r->page.row[i].text[RELAY_AGGREGATE], aggregate))
            r->page.row[i].fate = RELAY_LEFT;
}

static void refuse_row(struct relay *r, struct relay_row *row, const struct log_put *put)
{
    struct err why = ERR_NONE;

    if (put->fate == LOG_CYCLE)
        err_set(&why, EX_DATAERR, "causal chain longer than %d events, is it a cycle?",
                EVENT_HOPS_MAX);
    else if (put->fate == LOG_STALE)
        err_set(&why, EX_DATAERR, "subject %s has another event at version %lld",
                err_quote(row->event->subject.p, row->event->subject.n).text,
                (long long)row->event->version);
    else
        err_set(&why, EX_DATAERR,
                "id %s is already in the spool with other content (seq %" PRId64 ")",
                err_quote(row->event->id.p, row->event->id.n).text, put->seq);
    relay_fail(r, row, why.text);
    hold_behind(r, row);
}

/* How many rows from i on are ready, of as many as are put at once. */
static size_t ready_run(const struct relay *r, size_t i)
{
    size_t n = 0;

    while (n < LOG_SOME && i + n < r->page.n && r->page.row[i + n].fate == RELAY_READY)
        n++;
    return n;
}

/* Put the first of n rows, or more. Returns how many, or -1. */
static int put_ready(struct relay *r, struct txn *t, struct relay_row *row, size_t n, struct err *e)
{
    struct log_put put;
    int got = log_put_some(t, row->event, n, &put, e);

    for (int i = 0; i < got; i++)
        if (put.fate == LOG_STORED || put.fate == LOG_DUPLICATE)
            row[i].fate = RELAY_DONE;
        else
            refuse_row(r, &row[i], &put);
    return got;
}

static int into_spool(struct relay *r, struct err *e)
{
    const struct log_terms terms = {.now_ms = clock_now_ms()};
    struct txn *t;

    if (txn_begin(r->spool, TXN_PUBLISH, &terms, &t, e) < 0)
        return -1;
    for (size_t i = 0, n; i < r->page.n;) {
        int got = (n = ready_run(r, i)) == 0 ? 1 : put_ready(r, t, &r->page.row[i], n, e);
        if (got < 0) {
            txn_rollback(t);
            return -1;
        }
        i += (size_t)got;
    }
    return txn_commit(t, e);
}

/* --------------------------------------------------------------------------------------- rounds */

/* 1, 0 when a signal ended the wait, -1 with 75 when it took too long, which does not happen with
   follow. */
static int take_turn(struct relay *r, struct err *e)
{
    int64_t until = clock_mono_ms() + r->terms->wait_ms;
    char wait[DURATION_TEXT_SIZE];
    int got;

    while ((got = r->engine->begin(r, e)) == 0) {
        if (proc_stopping())
            return 0;
        if (!r->terms->follow && clock_mono_ms() >= until)
            return err_set(e, EX_TEMPFAIL, "%s: another relay is at work, and has been for %s",
                           r->place, duration_format(wait, r->terms->wait_ms));
        proc_wait(NULL, 0, TURN_MS);
    }
    return got;
}

static void count_page(struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++) {
        struct relay_row *row = &r->page.row[i];
        if (row->fate != RELAY_LEFT)
            relay_remember(r, row);
        r->result->relayed += row->fate == RELAY_DONE;
        r->result->waiting += row->fate == RELAY_RETRY;
    }
}

static void forget_page(struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++)
        free(r->page.row[i].reason);
    r->page.n = 0;
}

static bool any_settled(const struct relay *r)
{
    for (size_t i = 0; i < r->page.n; i++)
        if (r->page.row[i].fate != RELAY_LEFT)
            return true;
    return false;
}

static size_t confirmed(const struct relay *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->page.n; i++)
        n += r->page.row[i].fate == RELAY_DONE;
    return n;
}

/* Marks are idempotent, so wait for temporary trouble to pass, here more than elsewhere. A first
   signal does not end the wait. */
static int mark(struct relay *r, struct err *e)
{
    int64_t until = clock_mono_ms() + r->terms->wait_ms;
    size_t n = confirmed(r);
    int got;

    r->marking = true;
    while ((got = r->engine->settle(r, clock_now_ms(), e)) < 0 && will_pass(e) &&
           (r->terms->follow || clock_mono_ms() < until)) {
        struct err why = *e;
        if (endure(r, e) == 0) {
            *e = why;
            break;
        }
    }
    r->marking = false;
    if (got == 0)
        trouble_is_over(r);
    else if (will_pass(e) && (r->unmarked = n > 0))
        err_at(e, "%zu row%s relayed and could not be marked: ", n, n == 1 ? " was" : "s were");
    return got;
}

/*
 * The guarantee rests on the order. The events are on disk, or confirmed by the sink, when their
 * rows are marked: after a kill before that they are published again under the same ids, and the
 * spool ignores them as duplicates. If rows were marked first, events would be lost.
 */
static int publish_and_mark(struct relay *r, struct err *e)
{
    int64_t now_ms = clock_now_ms();
    size_t ready = choose_rows(r, now_ms);
    int got = 0, told;
    struct err unsettled = ERR_NONE;

    r->more = (r->terms->follow || !r->page.last) &&
              (r->terms->most == 0 || r->result->relayed + (int64_t)ready < r->terms->most);
    if (ready > 0)
        got = r->terms->sink != NULL ? relay_sink(r, e) : into_spool(r, e);
    if (got < 0 && r->terms->sink == NULL)
        return -1;
    /* A sink may have confirmed some events before it failed. */
    told = any_settled(r) ? mark(r, got < 0 ? &unsettled : e) : 0;
    if (told == 0)
        count_page(r);
    return got < 0 ? -1 : told;
}

/* Relay one page after *after. 1; 0 at the end of the table, or when we are to stop; -1: error. */
static int one_page(struct relay *r, int64_t *after, int64_t last, struct err *e)
{
    int got = take_turn(r, e);

    if (got <= 0)
        return got;
    forget_page(r);
    got = r->engine->read(r, RELAY_MOVE, *after, last, e);
    if (got == 0 && r->page.n > 0) {
        *after = r->page.row[r->page.n - 1].id;
        got = publish_and_mark(r, e);
    }
    r->engine->end(r);
    if (got < 0)
        return -1;
    return !r->page.last && !proc_stopping() && r->pause_ms == 0;
}

/* Pass over the table once, up to the row last. Only a whole pass shows which rows are held up:
   those that come after rows it has seen. */
static int pass_over(struct relay *r, int64_t last, struct err *e)
{
    int64_t after = INT64_MIN;
    int got;

    relay_set_empty(&r->held);
    r->due_ms = INT64_MAX;
    r->busy = 0;
    while ((got = one_page(r, &after, last, e)) > 0)
        continue;
    return got;
}

static bool enough(const struct relay *r)
{
    return proc_stopping() || (r->terms->most > 0 && r->result->relayed >= r->terms->most);
}

static int prune(struct relay *r, struct err *e)
{
    int64_t after = INT64_MIN, n, before_ms = clock_now_ms() - r->terms->prune_ms + 1;

    while (after != INT64_MAX && !proc_stopping()) {
        if ((n = r->engine->prune(r, before_ms, &after, e)) < 0)
            return -1;
        r->result->pruned += n;
    }
    return 0;
}

/* ---------------------------------------------------------------------------- once, or for ever */

/* Relay the rows that are there at the start. Wait for rows that another relay holds: it may leave
   later ones to us. */
static int run_once(struct relay *r, struct err *e)
{
    int64_t last, until = clock_mono_ms() + r->terms->wait_ms;

    if (r->engine->last(r, &last, e) < 0)
        return -1;
    for (;;) {
        int64_t before = r->result->relayed;
        if (pass_over(r, last, e) < 0)
            return -1;
        if (r->pause_ms > 0)
            return err_set(e, EX_TEMPFAIL, "%s: not available (exit status %d): try again later",
                           err_quote_text(r->terms->sink[0]).text, EX_UNAVAILABLE);
        if (enough(r) || (r->busy == 0 && r->due_ms > clock_now_ms()))
            return 0;
        if (r->result->relayed > before)
            until = clock_mono_ms() + r->terms->wait_ms;
        if (r->busy > 0 && clock_mono_ms() >= until)
            return err_set(e, EX_TEMPFAIL,
                           "%s: %" PRId64 " row%s, the first of them row %" PRId64
                           ": locked by another relay or session, or row-level security forbids "
                           "this role to update %s",
                           r->place, r->busy, r->busy == 1 ? "" : "s", r->busy_id,
                           r->busy == 1 ? "it" : "them");
        if (r->busy > 0)
            proc_wait(NULL, 0, TURN_MS);
    }
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Sleep until there may be something to do. 1; 0 when a signal came; -1: error. */
static int wait_for_news(struct relay *r, struct err *e)
{
    for (;;) {
        int64_t now = clock_now_ms(), wait = r->engine->patience_ms(r);
        struct pollfd fds[1 + CHILD_FDS] = {{.fd = r->engine->fd(r), .events = POLLIN}};
        size_t n = fds[0].fd >= 0;

        if (r->pause_ms > 0)
            wait = sooner(wait, r->pause_ms - clock_mono_ms());
        else if (r->due_ms != INT64_MAX)
            wait = sooner(wait, r->due_ms - now);
        if (r->busy > 0)
            wait = sooner(wait, BUSY_AGAIN_MS);
        n += relay_sink_fds(r, fds + n, &wait);
        proc_wait(fds, n, wait < 0 ? 0 : wait);
        if (proc_stopping())
            return 0;
        if (relay_sink_idle(r, e) < 0 || (r->spool != NULL && store_there(r->spool, e) < 0))
            return -1;
        int news = r->engine->news(r, e);
        if (news < 0)
            return -1;
        if (r->pause_ms > 0 && clock_mono_ms() < r->pause_ms)
            continue;
        if (news > 0 || r->busy > 0 || r->pause_ms > 0 || r->due_ms <= clock_now_ms())
            return 1;
    }
}

static int pass_and_prune(struct relay *r, int64_t *pruned_ms, struct err *e)
{
    if (pass_over(r, INT64_MAX, e) < 0)
        return -1;
    trouble_is_over(r);
    if (r->terms->prune_ms < 0 || enough(r) ||
        (*pruned_ms != 0 && clock_mono_ms() - *pruned_ms <= PRUNE_EACH_MS))
        return 0;
    if (prune(r, e) < 0 && e->status != EX_TEMPFAIL)
        return -1;
    err_clear(e); /* locked: there is time */
    *pruned_ms = clock_mono_ms();
    return 0;
}

static int follow(struct relay *r, struct err *e)
{
    int64_t pruned_ms = 0;
    int got = r->engine->news(r, e) < 0 ? -1 : 1;

    while (got != 0) {
        r->pause_ms = 0;
        if (got > 0)
            got = pass_and_prune(r, &pruned_ms, e);
        if (got == 0 && enough(r))
            return 0;
        if (got == 0)
            got = wait_for_news(r, e);
        if (got < 0 && (!will_pass(e) || r->unmarked))
            return -1;
        if (got < 0 && (got = endure(r, e)) == 0)
            err_clear(e); /* stopped, with nothing left to do */
    }
    return 0;
}

int relay_run(struct relay *r, struct store *spool, struct relay_result *result, struct err *e)
{
    int got;

    r->spool = spool;
    r->result = result;
    if (!r->open) /* a signal came first */
        return 0;
    got = r->terms->follow ? follow(r, e) : run_once(r, e);
    if (got == 0 && !r->terms->follow && r->terms->prune_ms >= 0)
        got = prune(r, e);
    if (relay_sink_end(r, e) < 0)
        got = -1;
    return got;
}

/* -------------------------------------------------------------------------------------- looking */

static int print_page(struct relay *r, struct err *e)
{
    bool terminal = isatty(STDOUT_FILENO) == 1;
    struct buf shown = BUF_INIT;
    int got = 0;

    choose_rows(r, clock_now_ms());
    for (size_t i = 0; i < r->page.n && got == 0 && !out_gone(); i++) {
        struct relay_row *row = &r->page.row[i];
        if (row->fate != RELAY_READY)
            continue;
        r->result->relayed++;
        buf_reset(&shown);
        if (terminal)
            js_show(&shown, row->event->line);
        else
            buf_str(&shown, row->event->line);
        got = out_line((struct str){shown.p, shown.n}, e);
    }
    buf_free(&shown);
    return got;
}

int relay_print(struct relay *r, struct relay_result *result, struct err *e)
{
    int64_t after = INT64_MIN;

    r->result = result;
    do {
        forget_page(r);
        if (r->engine->read(r, RELAY_LOOK, after, INT64_MAX, e) < 0)
            return -1;
        if (r->page.n == 0)
            break;
        after = r->page.row[r->page.n - 1].id;
        if (print_page(r, e) < 0)
            return -1;
    } while (!r->page.last && !out_gone());
    return 0;
}

int64_t relay_retry_failed(struct relay *r, struct err *e)
{
    if (!relay_has(r, RELAY_ERROR))
        return err_set(e, EX_USAGE,
                       "%s: table %s has no column for errors (--map error=…), so no row is marked "
                       "as failed",
                       r->place, err_quote_text(r->table.name).text);
    int64_t n;
    while ((n = r->engine->retry_failed(r, e)) < 0 && r->terms->follow && will_pass(e))
        if (endure(r, e) == 0)
            return -1;
    trouble_is_over(r);
    return n;
}

int relay_state(struct relay *r, struct relay_state *out, struct err *e)
{
    struct buf oldest = BUF_INIT;
    int got;

    *out = (struct relay_state){.table = r->table.name};
    got = r->engine->state(r, out, &oldest, e);
    if (oldest.n == 0 || !relay_time((struct str){oldest.p, oldest.n}, &out->oldest_ms))
        out->oldest_ms = 0;
    buf_free(&oldest);
    return got;
}

/*
 * The outcomes: what becomes of each event, and the settling that puts it into the spool.
 */
#include "deliver/decide.h"

#include "base/duration.h"
#include "base/mem.h"
#include "cli/out.h"
#include "cli/say.h"
#include "process/proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_MIN_MS 100 /* even with --backoff 0, do not hammer at a service that is down */

static const struct decide_made NOTHING = {0, 0, false};

/* The fault is our own, or the handler's in general: no event is to blame. */
void decide_stop(struct decide *d, const struct err *why)
{
    if (d->result->why.status == 0)
        d->result->why = *why;
}

static void add_settle(struct decide *d, const struct group_settle *s, struct decide_made made)
{
    if (d->settles == d->settle_room) {
        d->settle_room = d->settle_room == 0 ? 64 : d->settle_room * 2;
        d->settle = mem_grow(d->settle, d->settle_room, sizeof *d->settle);
        d->made = mem_grow(d->made, d->settle_room, sizeof *d->made);
    }
    if (d->settles == 0)
        d->settle_ms = clock_mono_ms();
    d->made[d->settles] = made;
    d->settle[d->settles++] = *s;
}

/* Copy the texts: the memory that they are views of is reused before this is settled. */
static void add_failure(struct decide *d, const struct outcome *o, enum group_outcome how,
                        int64_t due_ms)
{
    add_settle(d,
               &(struct group_settle){.event = o->event,
                                      .outcome = how,
                                      .status = o->status,
                                      .due_ms = due_ms,
                                      .started_ms = o->started_ms,
                                      .took_ms = o->took_ms,
                                      .reason = mem_dup(o->why, strlen(o->why)),
                                      .tail = {mem_dup(o->tail.p, o->tail.n), o->tail.n}},
               NOTHING);
}

static void forget_settled(struct decide *d)
{
    for (size_t i = 0; i < d->settles; i++) {
        free((char *)(uintptr_t)d->settle[i].reason);
        free((char *)(uintptr_t)d->settle[i].tail.p);
    }
    d->settles = 0;
    emit_forget(&d->emit);
}

/*
 * The order of a subject, in an ordered group. No other process may claim, so only we could begin
 * an event too soon, and two rules prevent that:
 *
 *     an event that is returned takes along the later events of its subject, which are not begun
 *     (return_subject), and in the spool their rows wait behind its row;
 *     it is settled before the next claim or begin (decide_order_waits): until then it has no such
 *     row, and a claim would hand out the events that come after it.
 *
 * So when an event is begun, all earlier events of its subject are done or dead. That an event is
 * done may still be on its way into the spool: a crash repeats that event, and then those that
 * follow it. That it is dead is in the spool: an event that was refused must not be tried again in
 * the state that its successors have made.
 */

/* Return the event to the group, as if it had never been claimed. */
static void give_back(struct decide *d, struct group_event *event, enum group_outcome how)
{
    add_settle(d,
               &(struct group_settle){
                   .event = event, .outcome = how, .due_ms = clock_now_ms(), .took_ms = -1},
               NOTHING);
    d->taken--;
}

/* Later events of a subject must not be begun before an earlier one: return them, too. */
static void return_subject(struct decide *d, const struct group_event *event)
{
    size_t kept = 0;

    if (!group_ordered(d->group) || event->entry.subject.p == NULL)
        return;
    for (size_t i = 0; i < d->queued; i++)
        if (str_eq(d->queue[i]->entry.subject, event->entry.subject))
            give_back(d, d->queue[i], GROUP_RELEASE);
        else
            d->queue[kept++] = d->queue[i];
    d->queued = kept;
}

void decide_release(struct decide *d, struct group_event *event)
{
    give_back(d, event, GROUP_RELEASE);
    return_subject(d, event);
}

bool decide_expired(struct decide *d, struct group_event *event)
{
    if (event->expires_ms == 0 || event->expires_ms > clock_now_ms())
        return false;
    give_back(d, event, GROUP_DROP);
    return true;
}

void decide_release_queued(struct decide *d)
{
    for (size_t i = 0; i < d->queued; i++)
        give_back(d, d->queue[i], GROUP_RELEASE);
    d->queued = 0;
}

/* The event in words, and "about" for --log json, views of the event. */
static struct err_quoted name_it(struct decide *d, const struct group_event *ge,
                                 struct say_about *about)
{
    const struct event named = {.type = ge->entry.type, .id = ge->entry.id};
    struct err damaged = ERR_NONE;
    const struct event *ev = group_read(d->group, ge, &damaged);

    *about = (struct say_about){.id = ge->entry.id,
                                .type = ge->entry.type,
                                .group = str_of(d->terms->group),
                                .attempt = ge->attempts + 1};
    if (ev != NULL)
        about->correlationid = ev->correlationid;
    return event_name(&named);
}

static void say_failure(struct decide *d, const struct outcome *o, bool dead, int64_t wait)
{
    int64_t expires = o->event->expires_ms;
    struct say_about about;
    struct err_quoted name = name_it(d, o->event, &about);
    char again[DURATION_TEXT_SIZE + 16];

    if (dead)
        snprintf(again, sizeof again, "dead letter");
    else if (expires != 0 && clock_now_ms() + wait >= expires)
        snprintf(again, sizeof again, "it expires before the next");
    else if (wait > 0)
        snprintf(again, sizeof again, "again in %s",
                 duration_format((char[DURATION_TEXT_SIZE]){0}, wait));
    else
        snprintf(again, sizeof again, "again at once");
    say(dead ? SAY_WARN : SAY_NOTE, o->status, &about, "seq %lld %s: %s, attempt %lld: %s",
        (long long)o->event->entry.seq, name.text, o->why, (long long)about.attempt, again);
}

/* Three events in a row with that status are no accident. */
static void note_cannot_run(struct decide *d, const struct outcome *o)
{
    if (o->status != EX_CANNOT_RUN && o->status != EX_NOT_FOUND) {
        d->cannot_run = 0;
        return;
    }
    if (d->cannot_run > 0 && d->cannot_run_seq == o->event->entry.seq)
        return; /* the same event once more is no new evidence */
    d->cannot_run_seq = o->event->entry.seq;
    if (++d->cannot_run == 3) {
        struct err why = ERR_NONE;
        err_set(&why, o->status, "%s: three events in a row ended with status %d: stopping",
                err_quote_text(d->terms->argv[0]).text, o->status);
        decide_stop(d, &why);
    }
}

void decide_dead(struct decide *d, const struct outcome *o)
{
    add_failure(d, o, GROUP_DEAD, 0);
    say_failure(d, o, true, 0);
    note_cannot_run(d, o);
}

void decide_retry(struct decide *d, const struct outcome *o)
{
    int64_t attempt = o->event->attempts + 1;
    int64_t wait =
        o->delay_ms >= 0 ? o->delay_ms : backoff_ms(&d->terms->backoff, attempt, clock_random());

    if (attempt >= d->terms->attempts) {
        decide_dead(d, o);
        return;
    }
    add_failure(d, o, GROUP_RETRY, clock_now_ms() + wait);
    return_subject(d, o->event);
    say_failure(d, o, false, wait);
    note_cannot_run(d, o);
}

void decide_hopeless(struct decide *d, struct group_event *event, const struct err *why)
{
    const struct outcome o = {.event = event,
                              .status = why->status,
                              .why = why->text,
                              .started_ms = clock_now_ms(),
                              .took_ms = -1,
                              .tail = {"", 0}};

    add_failure(d, &o, GROUP_DEAD, 0);
    say_warn("seq %" PRId64 ": %s: dead letter", event->entry.seq, why->text);
}

void decide_misconfigured(struct decide *d, const struct outcome *o)
{
    struct err why = ERR_NONE;
    struct say_about about;

    err_set(&why, o->status, "%s: seq %lld %s: %s, which is not the event's fault: stopping",
            err_quote_text(d->terms->argv[0]).text, (long long)o->event->entry.seq,
            name_it(d, o->event, &about).text, o->why);
    give_back(d, o->event, GROUP_RELEASE);
    decide_stop(d, &why);
}

/* Others kept the spool locked for too long, or we must not wait any longer. Running handlers may
   end, and settling is tried again until the grace is over; nothing is begun. */
static int stop_when_locked(struct decide *d, struct err *e)
{
    if (!store_locked(d->store) || store_lost(d->store) || proc_forced() ||
        (d->grace_ms != 0 && clock_mono_ms() >= d->grace_ms))
        return -1;
    decide_stop(d, e);
    err_clear(e);
    return 0;
}

int decide_defer(struct decide *d, const struct outcome *o, struct err *e)
{
    char text[CLOCK_TEXT_SIZE];
    struct say_about about;

    give_back(d, o->event, GROUP_DEFER);
    return_subject(d, o->event);
    if (d->on_hold) /* one outage, however many handlers were running when it began */
        return 0;
    d->on_hold = true;
    const struct backoff pause = {d->terms->backoff.base_ms, d->terms->backoff.max_ms,
                                  BACKOFF_EQUAL};
    int64_t wait = backoff_ms(&pause, ++d->deferrals, clock_random());
    if (o->delay_ms >= 0)
        wait = o->delay_ms;
    int64_t until = clock_now_ms() + (wait < HOLD_MIN_MS ? HOLD_MIN_MS : wait);
    say_note("seq %lld %s: %s: group %s is on hold until %s", (long long)o->event->entry.seq,
             name_it(d, o->event, &about).text, o->why, err_quote_text(d->terms->group).text,
             clock_format(text, until));
    /* The hold first: an event returned before the hold would be claimed again at once. */
    if (group_hold(d->group, until, e) == 0)
        return 0;
    return stop_when_locked(d, e);
}

int decide_print(struct decide *d, const struct group_event *event, struct err *e)
{
    int got = group_holds(d->group, event, e);

    return got > 0   ? 0
           : got < 0 ? -1
                     : err_set(e, EX_TEMPFAIL,
                               "the claim of seq %lld was taken over: its output is discarded",
                               (long long)event->entry.seq);
}

/* Make events of the output that is to be published; they go into the log when the event is
   settled. 1, or 0 when the output is not events, and then the event becomes a dead letter. */
static int make_events(struct decide *d, const struct outcome *o, struct str output,
                       struct decide_made *made)
{
    struct err why = ERR_NONE;
    const struct event *cause = group_read(d->group, o->event, &why);
    size_t before = d->emit.n;
    struct outcome bad = *o;

    if (cause != NULL &&
        emit_make(&d->emit, cause, o->event->entry.recorded_ms, output, &why) == 0) {
        *made = (struct decide_made){before, d->emit.n - before, false};
        return 1;
    }
    bad.status = EX_DATAERR;
    bad.why = why.text;
    decide_dead(d, &bad);
    return 0;
}

void decide_printed(struct decide *d, struct group_event *event)
{
    add_settle(d, &(struct group_settle){.event = event, .outcome = GROUP_DONE, .took_ms = -1},
               (struct decide_made){.printed = true});
    d->taken++;
}

int decide_done(struct decide *d, const struct outcome *o, struct str output, struct err *e)
{
    struct decide_made made = NOTHING;

    d->deferrals = 0;
    d->cannot_run = 0;
    if (output.p != NULL && d->terms->emit) {
        if (make_events(d, o, output, &made) == 0)
            return 0;
    } else if (output.p != NULL) {
        if (decide_print(d, o->event, e) < 0)
            return -1;
        struct err why = ERR_NONE;
        proc_unblock();
        int got = out_write(output.p, output.n, &why);
        proc_block();
        if (got < 0) {
            decide_stop(d, &why);
            decide_release(d, o->event);
            return 0;
        }
        made.printed = true;
    }
    made.printed |= o->printed;
    add_settle(
        d, &(struct group_settle){.event = o->event, .outcome = GROUP_DONE, .took_ms = o->took_ms},
        made);
    return 0;
}

/* --------------------------------------------------------------------------------------- settle */

/* Flush. A signal ends the wait for a reader that does not read, once the stop is forceful. */
static int flush(struct err *e)
{
    proc_unblock();
    int got = out_flush(e);
    proc_block();
    return got;
}

void decide_take_back(struct decide *d, bool printed)
{
    for (size_t i = 0; i < d->settles; i++)
        if (d->settle[i].outcome == GROUP_DONE &&
            (printed ? d->made[i].printed : d->made[i].n > 0)) {
            d->settle[i] = (struct group_settle){.event = d->settle[i].event,
                                                 .outcome = GROUP_RELEASE,
                                                 .due_ms = clock_now_ms(),
                                                 .took_ms = -1};
            d->made[i] = NOTHING;
            d->taken--;
        }
}

/* Put the made events into the log, in one transaction with the settling that follows. When one of
   them cannot be stored, start over without it. Its cause becomes a dead letter, or is tried again
   when others have published that version in the meantime. */
static int begin_emit(struct decide *d, struct txn **t, struct err *e)
{
    const struct log_terms terms = {.chained = true, .now_ms = clock_now_ms()};
    struct err why = ERR_NONE;
    int got = 1;

    if (txn_begin(d->store, TXN_PUBLISH, &terms, t, e) < 0) {
        if (store_locked(d->store) || store_lost(d->store))
            return -1;
        decide_stop(d, e); /* as on a disk that is nearly full, where settling still works */
        err_clear(e);
        decide_take_back(d, false);
        return 0;
    }
    for (size_t i = 0; i < d->settles && got > 0; i++) {
        if (d->made[i].n == 0)
            continue;
        got = emit_put(&d->emit, *t, d->made[i].at, d->made[i].n, &why, e);
        if (got > 0)
            continue;
        txn_rollback(*t);
        *t = NULL; /* when no other event emits, there is nothing to begin again */
        if (got < 0)
            return -1;
        const struct outcome bad = {.event = (struct group_event *)(uintptr_t)d->settle[i].event,
                                    .status = why.status,
                                    .why = why.text,
                                    .delay_ms = -1,
                                    .started_ms = terms.now_ms,
                                    .took_ms = d->settle[i].took_ms,
                                    .tail = {"", 0}};
        d->settles--;
        memmove(d->settle + i, d->settle + i + 1, (d->settles - i) * sizeof *d->settle);
        memmove(d->made + i, d->made + i + 1, (d->settles - i) * sizeof *d->made);
        if (why.status == EX_TEMPFAIL)
            decide_retry(d, &bad);
        else
            decide_dead(d, &bad);
    }
    return got;
}

static bool emits(const struct decide *d)
{
    for (size_t i = 0; i < d->settles; i++)
        if (d->made[i].n > 0)
            return true;
    return false;
}

static bool prints(const struct decide *d)
{
    for (size_t i = 0; i < d->settles; i++)
        if (d->made[i].printed)
            return true;
    return false;
}

static void count_settled(struct decide *d)
{
    struct loop_result *r = d->result;

    for (size_t i = 0; i < d->settles; i++) {
        r->done += d->settle[i].outcome == GROUP_DONE;
        r->retried += d->settle[i].outcome == GROUP_RETRY;
        r->dead += d->settle[i].outcome == GROUP_DEAD;
        r->deferred += d->settle[i].outcome == GROUP_DEFER;
    }
}

/* Write the output, then settle. A crash in between repeats the output; the other order would lose
   it. When the reader has gone, it does not want the output, and done events stay done; when output
   was lost for other reasons, its event is not done. */
int decide_settle(struct decide *d, struct decide_next *next, struct err *e)
{
    struct err unwritten = ERR_NONE;
    struct txn *t = NULL;
    int got;

    if (d->settles == 0)
        return 0;
    if (prints(d) && flush(&unwritten) < 0)
        decide_stop(d, &unwritten);
    if (out_lost())
        decide_take_back(d, true);
    while (emits(d) && (got = begin_emit(d, &t, e)) <= 0)
        if (got < 0)
            return stop_when_locked(d, e);
    if (t == NULL && next->max > 0 && decide_plain(d))
        got = next->n = group_settle_and_claim(d->group, d->settle, d->settles, next->max,
                                               next->at_once, next->last, &next->event, e);
    else if (t == NULL)
        got = group_settle(d->group, d->settle, d->settles, e);
    else if ((got = txn_settle(t, d->group, d->settle, d->settles, e)) < 0)
        txn_rollback(t);
    else
        got = txn_commit(t, e);
    if (got < 0)
        return stop_when_locked(d, e);
    count_settled(d);
    forget_settled(d);
    return 0;
}

bool decide_plain(const struct decide *d)
{
    for (size_t i = 0; i < d->settles; i++)
        if ((d->settle[i].outcome != GROUP_DONE && d->settle[i].outcome != GROUP_DROP) ||
            d->made[i].n > 0)
            return false;
    return true;
}

bool decide_order_waits(const struct decide *d)
{
    return group_ordered(d->group) && !decide_plain(d);
}

void decide_free(struct decide *d)
{
    forget_settled(d);
    emit_free(&d->emit);
    free(d->settle);
    free(d->made);
    free(d->queue);
}

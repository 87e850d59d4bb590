#include "cli/out.h"
#include "cli/say.h"
#include "deliver/decide.h"

#include "base/mem.h"
#include "process/proc.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 1000      /* a wake-up may be missed, and a consumer may die without sending one */
#define HOLD_MIN_MS 100   /* even with --backoff 0, do not hammer at a service that is down */
#define PIPE_BATCH 1000   /* events per claim without handlers: a commit for each half */
#define BLOCKED_MAX 1000  /* events claimed ahead to reach other subjects */
#define SETTLE_MS 50      /* the longest that a decision waits for others */
#define SETTLE_BATCH 1000 /* the most decisions to settle together */

/* ------------------------------------------------------------------------------------ decisions */

static const struct span NOTHING = {0, 0, false};

/* The fault is our own, or the handler's in general: no event is to blame. */
void decide_stop(struct loop *loop, const struct err *why)
{
    if (loop->result->why.status == 0)
        loop->result->why = *why;
}

static void add_settle(struct loop *loop, const struct group_settle *s, struct span made)
{
    if (loop->settles == loop->settle_room) {
        loop->settle_room = loop->settle_room == 0 ? 64 : loop->settle_room * 2;
        loop->settle = mem_grow(loop->settle, loop->settle_room, sizeof *loop->settle);
        loop->made = mem_grow(loop->made, loop->settle_room, sizeof *loop->made);
    }
    if (loop->settles == 0)
        loop->settle_ms = clock_mono_ms();
    loop->made[loop->settles] = made;
    loop->settle[loop->settles++] = *s;
}

/* Copy the texts: the memory that they are views of is reused before this is settled. */
static void add_failure(struct loop *loop, const struct outcome *o, enum group_outcome how,
                        int64_t due_ms)
{
    add_settle(loop,
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

static void clear_settles(struct loop *loop)
{
    for (size_t i = 0; i < loop->settles; i++) {
        free((char *)(uintptr_t)loop->settle[i].reason);
        free((char *)(uintptr_t)loop->settle[i].tail.p);
    }
    loop->settles = 0;
    buf_shrink(&loop->lines, 1 << 20);
}

/*
 * The order of a subject, in an ordered group. No other process may claim, so only we could begin
 * an event too soon, and two rules prevent that:
 *
 *     an event that is returned takes along the later events of its subject, which are not begun
 *     (hold_subject), and in the spool their rows wait behind its row;
 *     it is settled before the next claim or begin (settle_due): until then it has no such row,
 *     and a claim would hand out the events that come after it.
 *
 * So when an event is begun, all earlier events of its subject are done or dead. Such a decision
 * may still be on its way into the spool: a crash repeats that event, and then those that follow
 * it.
 */

/* Return the event to the group, as if it had never been claimed. */
static void give_back(struct loop *loop, struct group_event *event, enum group_outcome how)
{
    add_settle(loop,
               &(struct group_settle){
                   .event = event, .outcome = how, .due_ms = clock_now_ms(), .took_ms = -1},
               NOTHING);
    loop->taken--;
}

/* Later events of a subject must not be begun before an earlier one: return them to the group. */
static void hold_subject(struct loop *loop, const struct group_event *event)
{
    size_t kept = 0;

    if (!group_ordered(loop->group) || event->entry.subject.p == NULL)
        return;
    for (size_t i = 0; i < loop->queued; i++)
        if (str_eq(loop->queue[i]->entry.subject, event->entry.subject))
            give_back(loop, loop->queue[i], GROUP_RELEASE);
        else
            loop->queue[kept++] = loop->queue[i];
    loop->queued = kept;
}

void decide_release(struct loop *loop, struct group_event *event)
{
    give_back(loop, event, GROUP_RELEASE);
    hold_subject(loop, event);
}

/* Handle an event that expired before its turn came. 1; 0: it has not expired. */
static bool drop_expired(struct loop *loop, struct group_event *event)
{
    if (event->expires_ms == 0 || event->expires_ms > clock_now_ms())
        return false;
    give_back(loop, event, GROUP_DROP);
    return true;
}

/* The event in words, and "about" for --log json; both are views of the scratch event. */
static struct err_quoted name_it(struct loop *loop, const struct group_event *ge,
                                 struct say_about *about)
{
    struct err damaged = ERR_NONE;

    *about = (struct say_about){.id = ge->entry.id,
                                .type = ge->entry.type,
                                .group = str_of(loop->terms->group),
                                .attempt = ge->attempts + 1};
    if (event_read(&loop->event, &loop->scan, ge->entry.line, &damaged) == 0)
        about->correlationid = loop->event.correlationid;
    loop->event.type = ge->entry.type;
    loop->event.id = ge->entry.id;
    return event_name(&loop->event);
}

static void say_failure(struct loop *loop, const struct outcome *o, bool dead, int64_t wait)
{
    int64_t expires = o->event->expires_ms;
    struct say_about about;
    struct err_quoted name = name_it(loop, o->event, &about);
    char again[CLOCK_TEXT_SIZE + 16];

    if (dead)
        snprintf(again, sizeof again, "dead letter");
    else if (expires != 0 && clock_now_ms() + wait >= expires)
        snprintf(again, sizeof again, "it expires before the next");
    else if (wait > 0)
        snprintf(again, sizeof again, "again in %s", clock_span((char[CLOCK_TEXT_SIZE]){0}, wait));
    else
        snprintf(again, sizeof again, "again at once");
    say(dead ? SAY_WARN : SAY_NOTE, o->status, &about, "seq %lld %s: %s, attempt %lld: %s",
        (long long)o->event->entry.seq, name.text, o->why, (long long)about.attempt, again);
}

/* Three events in a row with that status are no accident. */
static void note_cannot_run(struct loop *loop, const struct outcome *o)
{
    if (o->status != EX_CANNOT_RUN && o->status != EX_NOT_FOUND) {
        loop->cannot_run_row = 0;
        return;
    }
    if (loop->cannot_run_row > 0 && loop->cannot_run_seq == o->event->entry.seq)
        return; /* the same event once more is no new evidence */
    loop->cannot_run_seq = o->event->entry.seq;
    if (++loop->cannot_run_row == 3) {
        struct err why = ERR_NONE;
        err_set(&why, o->status, "%s: three events in a row ended with status %d: stopping",
                err_quote_text(loop->terms->argv[0]).text, o->status);
        decide_stop(loop, &why);
    }
}

void decide_dead(struct loop *loop, const struct outcome *o)
{
    add_failure(loop, o, GROUP_DEAD, 0);
    say_failure(loop, o, true, 0);
    loop->result->dead++;
    note_cannot_run(loop, o);
}

void decide_retry(struct loop *loop, const struct outcome *o)
{
    int64_t attempt = o->event->attempts + 1;
    int64_t wait =
        o->delay_ms >= 0 ? o->delay_ms : backoff_ms(&loop->terms->backoff, attempt, clock_random());

    if (attempt >= loop->terms->attempts) {
        decide_dead(loop, o);
        return;
    }
    add_failure(loop, o, GROUP_RETRY, clock_now_ms() + wait);
    hold_subject(loop, o->event);
    say_failure(loop, o, false, wait);
    loop->result->retried++;
    note_cannot_run(loop, o);
}

void decide_hopeless(struct loop *loop, struct group_event *event, const struct err *why)
{
    const struct outcome o = {.event = event,
                              .status = why->status,
                              .why = why->text,
                              .started_ms = clock_now_ms(),
                              .took_ms = -1,
                              .tail = {"", 0}};

    add_failure(loop, &o, GROUP_DEAD, 0);
    say_warn("seq %" PRId64 ": %s: dead letter", event->entry.seq, why->text);
    loop->result->dead++;
}

void decide_misconfigured(struct loop *loop, const struct outcome *o)
{
    struct err why = ERR_NONE;
    struct say_about about;

    err_set(&why, o->status, "%s: seq %lld %s: %s, which is not the event's fault: stopping",
            err_quote_text(loop->terms->argv[0]).text, (long long)o->event->entry.seq,
            name_it(loop, o->event, &about).text, o->why);
    give_back(loop, o->event, GROUP_RELEASE);
    decide_stop(loop, &why);
}

/* Others kept the spool locked for too long, or we must not wait any longer. Running handlers may
   end, and settling is tried again until the grace is over; nothing is begun. */
static int stop_when_locked(struct loop *loop, struct err *e)
{
    if (!store_locked(loop->store) || proc_forced() ||
        (loop->grace_ms != 0 && clock_mono_ms() >= loop->grace_ms))
        return -1;
    decide_stop(loop, e);
    err_clear(e);
    return 0;
}

int decide_defer(struct loop *loop, const struct outcome *o, struct err *e)
{
    char text[CLOCK_TEXT_SIZE];
    struct say_about about;

    give_back(loop, o->event, GROUP_DEFER);
    hold_subject(loop, o->event);
    loop->result->deferred++;
    if (loop->on_hold) /* one outage, however many handlers were running when it began */
        return 0;
    loop->on_hold = true;
    const struct backoff pause = {loop->terms->backoff.base_ms, loop->terms->backoff.max_ms,
                                  BACKOFF_EQUAL};
    int64_t wait = backoff_ms(&pause, ++loop->holds, clock_random());
    if (o->delay_ms >= 0)
        wait = o->delay_ms;
    int64_t until = clock_now_ms() + (wait < HOLD_MIN_MS ? HOLD_MIN_MS : wait);
    say_note("seq %lld %s: %s: group %s is on hold until %s", (long long)o->event->entry.seq,
             name_it(loop, o->event, &about).text, o->why, err_quote_text(loop->terms->group).text,
             clock_format(text, until));
    /* The hold first: an event returned before the hold would be claimed again at once. */
    if (group_hold(loop->group, until, e) == 0)
        return 0;
    return stop_when_locked(loop, e);
}

int decide_print(struct loop *loop, const struct group_event *event, struct err *e)
{
    int got = group_holds(loop->group, event, e);

    return got > 0   ? 0
           : got < 0 ? -1
                     : err_set(e, EX_TEMPFAIL,
                               "the claim of seq %lld was taken over: its output is discarded",
                               (long long)event->entry.seq);
}

/* Make events of the output that is to be published; they go into the log when the event is
   settled. 1, or 0 when the output is not events, and then the event becomes a dead letter. */
static int make_events(struct loop *loop, const struct outcome *o, struct str output,
                       struct span *made)
{
    struct err why = ERR_NONE;
    size_t before = loop->lines.n;
    struct outcome bad = *o;

    if (event_read(&loop->event, &loop->scan, o->event->entry.line, &why) == 0 &&
        emit_make(&loop->emit, &loop->event, o->event->entry.recorded_ms, output, &loop->lines,
                  &why) == 0) {
        *made = (struct span){before, loop->lines.n - before, false};
        return 1;
    }
    bad.status = EX_DATAERR;
    bad.why = why.text;
    decide_dead(loop, &bad);
    return 0;
}

int decide_done(struct loop *loop, const struct outcome *o, struct str output, struct err *e)
{
    struct span made = NOTHING;

    loop->holds = 0;
    loop->cannot_run_row = 0;
    if (output.p != NULL && loop->terms->emit) {
        if (make_events(loop, o, output, &made) == 0)
            return 0;
    } else if (output.p != NULL) {
        if (decide_print(loop, o->event, e) < 0)
            return -1;
        struct err why = ERR_NONE;
        proc_unblock();
        int got = out_write(output.p, output.n, &why);
        proc_block();
        if (got < 0) {
            decide_stop(loop, &why);
            decide_release(loop, o->event);
            return 0;
        }
        made.printed = true;
    }
    made.printed |= o->printed;
    add_settle(
        loop,
        &(struct group_settle){.event = o->event, .outcome = GROUP_DONE, .took_ms = o->took_ms},
        made);
    loop->result->done++;
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

/* Handle events that succeeded but cannot be printed or published for reasons of our own. */
static void take_back(struct loop *loop, bool printed)
{
    for (size_t i = 0; i < loop->settles; i++)
        if (loop->settle[i].outcome == GROUP_DONE &&
            (printed ? loop->made[i].printed : loop->made[i].n > 0)) {
            loop->settle[i] = (struct group_settle){.event = loop->settle[i].event,
                                                    .outcome = GROUP_RELEASE,
                                                    .due_ms = clock_now_ms(),
                                                    .took_ms = -1};
            loop->made[i] = NOTHING;
            loop->result->done--;
            loop->taken--;
        }
}

/* Put the made events into the log, in one transaction with the settling that follows. When one of
   them cannot be stored, start over without it. Its cause becomes a dead letter, or is tried again
   when others have published that version in the meantime. */
static int begin_emit(struct loop *loop, struct txn **t, struct err *e)
{
    const struct log_terms terms = {.chained = true, .now_ms = clock_now_ms()};
    struct err why = ERR_NONE;
    int got = 1;

    if (txn_begin(loop->store, TXN_PUBLISH, &terms, t, e) < 0) {
        if (store_locked(loop->store))
            return -1;
        decide_stop(loop, e); /* as on a disk that is nearly full, where settling still works */
        err_clear(e);
        take_back(loop, false);
        return 0;
    }
    for (size_t i = 0; i < loop->settles && got > 0; i++) {
        if (loop->made[i].n == 0)
            continue;
        got = emit_put(&loop->emit, *t,
                       (struct str){loop->lines.p + loop->made[i].at, loop->made[i].n}, &why, e);
        if (got > 0)
            continue;
        txn_rollback(*t);
        if (got < 0)
            return -1;
        const struct outcome bad = {.event = (struct group_event *)(uintptr_t)loop->settle[i].event,
                                    .status = why.status,
                                    .why = why.text,
                                    .delay_ms = -1,
                                    .started_ms = terms.now_ms,
                                    .took_ms = loop->settle[i].took_ms,
                                    .tail = {"", 0}};
        loop->settles--;
        memmove(loop->settle + i, loop->settle + i + 1, (loop->settles - i) * sizeof *loop->settle);
        memmove(loop->made + i, loop->made + i + 1, (loop->settles - i) * sizeof *loop->made);
        loop->result->done--;
        if (why.status == EX_TEMPFAIL)
            decide_retry(loop, &bad);
        else
            decide_dead(loop, &bad);
    }
    return got;
}

static bool emits(const struct loop *loop)
{
    for (size_t i = 0; i < loop->settles; i++)
        if (loop->made[i].n > 0)
            return true;
    return false;
}

/* Write the output, then settle. A crash in between repeats the output; the other order would lose
   it. When the reader has gone, it does not want the output, and done events stay done; when output
   was lost for other reasons, its event is not done. */
static int settle(struct loop *loop, struct err *e)
{
    struct err unwritten = ERR_NONE;
    struct txn *t = NULL;
    int got;

    if (loop->settles == 0)
        return 0;
    if (flush(&unwritten) < 0)
        decide_stop(loop, &unwritten);
    if (out_lost())
        take_back(loop, true);
    while (emits(loop) && (got = begin_emit(loop, &t, e)) <= 0)
        if (got < 0)
            return stop_when_locked(loop, e);
    if (t == NULL)
        got = group_settle(loop->group, loop->settle, loop->settles, e);
    else if ((got = txn_settle(t, loop->group, loop->settle, loop->settles, e)) < 0)
        txn_rollback(t);
    else
        got = txn_commit(t, e);
    if (got < 0)
        return stop_when_locked(loop, e);
    clear_settles(loop);
    loop->drained = false; /* a retry may be due already */
    return 0;
}

/* Has an event of an ordered group been returned without the spool having it on record yet? */
static bool order_waits(const struct loop *loop)
{
    for (size_t i = 0; i < loop->settles && group_ordered(loop->group); i++)
        if (loop->settle[i].outcome == GROUP_RETRY || loop->settle[i].outcome == GROUP_DEFER ||
            loop->settle[i].outcome == GROUP_RELEASE)
            return true;
    return false;
}

/* Decisions are settled together, but soon: neither the log nor the next reader in the pipe waits
   for long, and we settle at once when there is nothing else to do. Nothing is begun before a
   returned event holds its subject in the spool. */
static bool settle_due(const struct loop *loop)
{
    return order_waits(loop) || loop->settles >= SETTLE_BATCH ||
           (loop->running == 0 && loop->queued == 0) || loop->terms->window == 0 || loop->on_hold ||
           clock_mono_ms() >= loop->settle_ms + SETTLE_MS;
}

/* ---------------------------------------------------------------------------------------- claim */

/* In an ordered group an event waits for the earlier ones of its subject. */
static bool may_begin(const struct loop *loop, const struct group_event *ge, size_t at)
{
    if (!group_ordered(loop->group) || ge->entry.subject.p == NULL)
        return true;
    for (size_t i = 0; i < at; i++)
        if (str_eq(loop->queue[i]->entry.subject, ge->entry.subject))
            return false;
    return !loop->crew->has(loop, ge->entry.subject);
}

static int begin_queued(struct loop *loop, struct err *e)
{
    int got = 1;

    if (loop->pause_ms != 0 && clock_mono_ms() < loop->pause_ms)
        return 0;
    for (size_t at = 0; at < loop->queued && loop->crew->room(loop) > 0;) {
        if (!may_begin(loop, loop->queue[at], at)) {
            at++;
            continue;
        }
        if (!drop_expired(loop, loop->queue[at])) {
            if ((got = loop->crew->begin(loop, loop->queue[at], e)) <= 0)
                break;
            loop->pause_ms = 0;
        }
        loop->queued--;
        memmove(loop->queue + at, loop->queue + at + 1, (loop->queued - at) * sizeof *loop->queue);
    }
    return got < 0 ? -1 : 0;
}

static int release_queued(struct loop *loop, struct err *e)
{
    if (loop->queued == 0)
        return 0;
    for (size_t i = 0; i < loop->queued; i++)
        give_back(loop, loop->queue[i], GROUP_RELEASE);
    loop->queued = 0;
    return settle(loop, e);
}

/* Once the time to stop at has come, it is replaced by a position. */
static int find_last(struct loop *loop, struct err *e)
{
    const struct clock_point end = {CLOCK_TIME, loop->terms->until_ms};

    if (loop->last != 0 || loop->terms->until_ms == 0 || clock_now_ms() < loop->terms->until_ms)
        return 0;
    if (log_point(loop->store, &end, &loop->last, e) < 0)
        return -1;
    if (--loop->last == 0) /* 0 would mean no limit */
        loop->last = -1;
    return 0;
}

/* With --to there is an end also when following: once the log has reached it. A time that has
   passed is such an end, too. */
static int passed_last(struct loop *loop, struct err *e)
{
    const struct clock_point end = {CLOCK_END, 0};
    int64_t behind;

    if (loop->last == 0 || loop->past_last)
        return 0;
    if (log_point(loop->store, &end, &behind, e) < 0)
        return -1;
    loop->past_last = behind > loop->last || loop->terms->until_ms != 0;
    return 0;
}

/* All events that we hold wait for others of their subjects, and handlers are free: other subjects
   must not wait with them. */
static bool blocked(const struct loop *loop)
{
    return group_ordered(loop->group) && loop->queued > 0 && loop->crew->room(loop) > 0;
}

/* How many may be claimed now, regardless of the rate. About twice as many as can run, so that no
   handler waits for a commit; not more, so that other consumers get their share and a crash counts
   as a death for few events. */
static size_t wanted(const struct loop *loop)
{
    size_t held = loop->queued + loop->running,
           most = blocked(loop) ? BLOCKED_MAX : loop->queue_max;
    size_t max = most > held ? most - held : 0;

    if (loop->crew->room(loop) <= loop->queued && !blocked(loop))
        return 0;
    if (loop->terms->most != 0 && (int64_t)max > loop->terms->most - loop->taken)
        max = (size_t)(loop->terms->most - loop->taken);
    return max;
}

/* As group_claim. When a signal ends the wait, nothing has been begun that would be lost: no events
   were found. When others keep the spool locked for too long: -1, and we are to stop, letting
   running handlers end. */
static int group_claim_or_stop(struct loop *loop, size_t max, size_t at_once,
                               struct group_event ***out, struct err *e)
{
    store_stop(loop->store, proc_stopping);
    int n = group_claim(loop->group, max, at_once, loop->last, out, e);
    store_stop(loop->store, proc_forced);
    if (n >= 0 || !store_locked(loop->store))
        return n;
    if (!proc_stopping())
        decide_stop(loop, e);
    err_clear(e);
    return loop->result->why.status == 0 ? 0 : -1;
}

static int claim(struct loop *loop, struct err *e)
{
    struct group_event **got;
    size_t max = wanted(loop), room = loop->crew->room(loop);
    size_t at_once = room > loop->queued && !blocked(loop) ? room - loop->queued : room;
    int n;

    if (max == 0 || (loop->pace_ms != 0 && clock_mono_ms() < loop->pace_ms))
        return 0;
    store_bell_clear(loop->store);
    if (find_last(loop, e) < 0)
        return -1;
    if ((n = group_claim_or_stop(loop, max, at_once, &got, e)) < 0)
        return loop->result->why.status == 0 ? -1 : 0;
    for (int i = 0; i < n; i++)
        loop->queue[loop->queued++] = got[i];
    loop->taken += n;
    loop->pace_ms =
        group_pace_ms(loop->group) == 0 ? 0 : clock_mono_ms() + group_pace_ms(loop->group);
    loop->more = n > 0;
    loop->drained = n == 0 && loop->pace_ms == 0;
    if (loop->drained && loop->terms->follow && passed_last(loop, e) < 0)
        return -1;
    loop->on_hold &= n == 0;
    return 0;
}

/* ----------------------------------------------------------------------------------------- loop */

/* When to look for work again without a wake-up: at once, when the last look found some; when the
   rate allows the events that are there, or the next one becomes due; and each second. If the store
   fails here, the next claim will meet the error. */
static int64_t next_look(struct loop *loop, int64_t now)
{
    struct err met_later = ERR_NONE;
    int64_t left;

    if (loop->grace_ms != 0 || wanted(loop) == 0)
        return INT64_MAX;
    if (loop->more)
        return now;
    if (loop->pace_ms != 0)
        return loop->pace_ms;
    if (!loop->terms->follow)
        return INT64_MAX;
    if (group_next(loop->group, loop->last, &left, &met_later) < 0 || left < 0 || left > LOOK_MS)
        left = LOOK_MS;
    return now + left;
}

static int64_t next_wait(struct loop *loop)
{
    int64_t now = clock_mono_ms(), until = loop->crew->deadline(loop), look = next_look(loop, now);

    /* A time that has passed has been acted on, or will be when the next handler ends. */
    if (loop->grace_ms > now && loop->grace_ms < until)
        until = loop->grace_ms;
    if (loop->pause_ms > now && loop->pause_ms < until)
        until = loop->pause_ms;
    if (loop->settles > 0 && loop->settle_ms + SETTLE_MS < until)
        until = loop->settle_ms + SETTLE_MS;
    if (look < until)
        until = look;
    return until == INT64_MAX ? -1 : until <= now ? 0 : until - now;
}

static void wait_for_something(struct loop *loop)
{
    size_t n = loop->crew->fds(loop, loop->fds);

    if (loop->terms->follow && loop->crew->room(loop) > 0 && loop->grace_ms == 0 &&
        store_bell(loop->store) >= 0)
        loop->fds[n++] = (struct pollfd){.fd = store_bell(loop->store), .events = POLLIN};
    proc_wait(loop->fds, n, next_wait(loop));
    /* Look now if we may claim; if not, as soon as we may. */
    store_bell_clear(loop->store);
}

static void reap(struct loop *loop)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        loop->crew->ended(loop, pid, status, clock_mono_ms());
}

/* We are told to stop: return events that have not begun; running handlers have the grace, or none
   after a second signal. */
static int stop(struct loop *loop, struct err *e)
{
    int64_t now = clock_mono_ms();

    if (loop->grace_ms == 0) {
        loop->result->stopped = true;
        loop->grace_ms = now + loop->terms->grace_ms;
        if (release_queued(loop, e) < 0)
            return -1;
        if (loop->running > 0 && isatty(STDERR_FILENO))
            say_note("stopping: %zu running; a second signal ends them now", loop->running);
        loop->crew->quit(loop, now);
    }
    if (proc_forced() || now >= loop->grace_ms)
        loop->crew->force(loop, now);
    return 0;
}

/* Is nothing left to do, except to end a crew that stays? */
static bool all_done(const struct loop *loop)
{
    if (loop->running > 0 || loop->queued > 0 || loop->settles > 0)
        return false;
    if (loop->grace_ms != 0 || loop->result->why.status != 0)
        return true;
    if (loop->terms->most != 0 && loop->taken >= loop->terms->most)
        return true;
    return loop->drained && (!loop->terms->follow || loop->past_last);
}

static bool finished(const struct loop *loop)
{
    return all_done(loop) && !loop->crew->busy(loop);
}

static int go_round(struct loop *loop, struct err *e)
{
    bool stopping = proc_stopping() || out_gone() || loop->result->why.status != 0;

    if (stopping && stop(loop, e) < 0)
        return -1;
    if (!stopping && loop->crew->room(loop) > loop->queued && claim(loop, e) < 0)
        return -1;
    if (!stopping && begin_queued(loop, e) < 0)
        return -1;
    if (!stopping && blocked(loop) && (claim(loop, e) < 0 || begin_queued(loop, e) < 0))
        return -1;
    if (all_done(loop))
        loop->crew->quit(loop, clock_mono_ms());
    if (finished(loop))
        return 0;
    if ((loop->result->why.status == 0 || stopping) && (loop->settles == 0 || !settle_due(loop)))
        wait_for_something(loop);
    reap(loop);
    if (loop->crew->move(loop, clock_mono_ms(), e) < 0)
        return -1;
    if (loop->settles > 0 && settle_due(loop) && settle(loop, e) < 0)
        return -1;
    return loop->on_hold ? release_queued(loop, e) : 0;
}

static int run_crew(struct loop *loop, struct err *e)
{
    int got = 0;

    loop->emit.store = loop->store;
    loop->emit.group = loop->terms->group;
    if (loop->crew->open(loop, e) < 0)
        return -1;
    loop->queue = mem_zero((loop->queue_max > BLOCKED_MAX ? loop->queue_max : BLOCKED_MAX) + 1,
                           sizeof *loop->queue);
    loop->fds = mem_zero(loop->fds_max + 1, sizeof *loop->fds);
    while (got == 0 && !finished(loop))
        got = go_round(loop, e);
    if (got == 0 && proc_stopping())
        proc_kill_all(0, SIGKILL); /* daemons that handlers left behind */
    loop->crew->close(loop);
    return got;
}

/* ---------------------------------------------------------------------------- without a handler */

/* Print the claimed events, then settle them, or leave that to settle at the end of the pipe. If
   the reader has gone, the disk is full, or a signal came while the pipe was full, all of them are
   returned, though some may have been read. */
static int print_claimed(struct loop *loop, struct group_event **events, int n, struct err *e)
{
    struct err why = ERR_NONE;
    int got = 0;

    proc_unblock();
    for (int i = 0; i < n && got == 0; i++)
        got = out_line(events[i]->entry.line, &why);
    if (got == 0)
        got = out_flush(&why);
    proc_block();
    if (got < 0)
        decide_stop(loop, &why);
    if (loop->terms->lease && got == 0 && !out_gone()) {
        group_hand_over(loop->group);
        loop->result->done += n;
        return 0;
    }
    loop->result->done += n;
    loop->taken += n;
    for (int i = 0; i < n; i++)
        add_settle(loop,
                   &(struct group_settle){.event = events[i], .outcome = GROUP_DONE, .took_ms = -1},
                   (struct span){0, 0, true});
    if (got < 0 || out_gone())
        take_back(loop, true);
    return settle(loop, e);
}

static int run_pipe(struct loop *loop, struct err *e)
{
    struct group_event **events;
    int64_t left = PIPE_BATCH;
    size_t max;
    int n;

    while (!proc_stopping() && !out_gone() && loop->result->why.status == 0) {
        if (loop->terms->most != 0)
            left = loop->terms->most - loop->result->done;
        if (left == 0)
            return 0;
        store_bell_clear(loop->store);
        if (find_last(loop, e) < 0)
            return -1;
        max = left < PIPE_BATCH ? (size_t)left : PIPE_BATCH;
        n = group_claim_or_stop(loop, max, max, &events, e);
        if (n <= 0 && (proc_stopping() || loop->result->why.status != 0))
            break; /* what was claimed all the same goes back, when it cannot be printed */
        int64_t pace = n == 0 ? group_pace_ms(loop->group) : 0;
        if (n < 0 || (n == 0 && pace == 0 &&
                      (passed_last(loop, e) < 0 || !loop->terms->follow || loop->past_last)))
            return e->status == 0 ? 0 : -1;
        if (n == 0) {
            struct pollfd bell = {.fd = store_bell(loop->store), .events = POLLIN};
            int64_t next = pace;
            if (pace == 0 && group_next(loop->group, loop->last, &next, e) < 0)
                return -1;
            if (next < 0 || (pace == 0 && next > LOOK_MS))
                next = LOOK_MS;
            proc_wait(&bell, pace == 0 && bell.fd >= 0, next);
            continue;
        }
        if (print_claimed(loop, events, n, e) < 0)
            return -1;
    }
    loop->result->stopped = true;
    return 0;
}

int loop_run(struct store *store, struct group *group, const struct loop_terms *terms,
             struct loop_result *out, struct err *e)
{
    struct loop loop = {.store = store,
                        .group = group,
                        .terms = terms,
                        .result = out,
                        .crew = terms->window > 0 ? &workers_crew : &handlers_crew,
                        .last = terms->last};
    int got;

    *out = (struct loop_result){0};
    proc_grace(terms->grace_ms);
    store_stop(store, proc_forced);
    out_watch();
    /* A handler has done its work, and the grace is for its output, too; without handlers, lines
       are returned. */
    out_stop_when(terms->argv == NULL ? proc_stopping : proc_forced);
    got = terms->argv == NULL ? run_pipe(&loop, e) : run_crew(&loop, e);
    clear_settles(&loop);
    event_free(&loop.event);
    js_scan_free(&loop.scan);
    emit_free(&loop.emit);
    buf_free(&loop.lines);
    buf_free(&loop.output);
    free(loop.settle);
    free(loop.made);
    free(loop.fds);
    free(loop.queue);
    return got;
}

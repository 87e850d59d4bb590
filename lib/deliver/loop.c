#include "deliver/decide.h"

#include "base/mem.h"
#include "cli/lines.h"
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
void decide_stop(struct dispatch *d, const struct err *why)
{
    if (d->result->why.status == 0)
        d->result->why = *why;
}

static void add_settle(struct dispatch *d, const struct group_settle *s, struct span made)
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
static void add_failure(struct dispatch *d, const struct outcome *o, enum group_outcome how,
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

static void clear_settles(struct dispatch *d)
{
    for (size_t i = 0; i < d->settles; i++) {
        free((char *)(uintptr_t)d->settle[i].reason);
        free((char *)(uintptr_t)d->settle[i].tail.p);
    }
    d->settles = 0;
    buf_shrink(&d->lines, 1 << 20);
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
static void give_back(struct dispatch *d, struct group_event *event, enum group_outcome how)
{
    add_settle(d,
               &(struct group_settle){
                   .event = event, .outcome = how, .due_ms = clock_now_ms(), .took_ms = -1},
               NOTHING);
    d->taken--;
}

/* Later events of a subject must not be begun before an earlier one: return them to the group. */
static void hold_subject(struct dispatch *d, const struct group_event *event)
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

void decide_release(struct dispatch *d, struct group_event *event)
{
    give_back(d, event, GROUP_RELEASE);
    hold_subject(d, event);
}

/* Handle an event that expired before its turn came. 1; 0: it has not expired. */
static bool drop_expired(struct dispatch *d, struct group_event *event)
{
    if (event->expires_ms == 0 || event->expires_ms > clock_now_ms())
        return false;
    give_back(d, event, GROUP_DROP);
    return true;
}

/* The event in words, and "about" for --log json; both are views of the scratch event. */
static struct err_quoted name_it(struct dispatch *d, const struct group_event *ge,
                                 struct err_about *about)
{
    struct err damaged = ERR_NONE;

    *about = (struct err_about){.id = ge->entry.id,
                                .type = ge->entry.type,
                                .group = str_of(d->terms->group),
                                .attempt = ge->attempts + 1};
    if (event_read(&d->event, &d->scan, ge->entry.line, &damaged) == 0)
        about->correlationid = d->event.correlationid;
    d->event.type = ge->entry.type;
    d->event.id = ge->entry.id;
    return event_name(&d->event);
}

static void say_failure(struct dispatch *d, const struct outcome *o, bool dead, int64_t wait)
{
    int64_t expires = o->event->expires_ms;
    struct err_about about;
    struct err_quoted name = name_it(d, o->event, &about);
    char again[CLOCK_TEXT_SIZE + 16];

    if (dead)
        snprintf(again, sizeof again, "dead letter");
    else if (expires != 0 && clock_now_ms() + wait >= expires)
        snprintf(again, sizeof again, "it expires before the next");
    else if (wait > 0)
        snprintf(again, sizeof again, "again in %s", clock_span((char[CLOCK_TEXT_SIZE]){0}, wait));
    else
        snprintf(again, sizeof again, "again at once");
    err_say(dead ? ERR_WARN : ERR_NOTE, o->status, &about, "seq %lld %s: %s, attempt %lld: %s",
            (long long)o->event->entry.seq, name.text, o->why, (long long)about.attempt, again);
}

/* Three events in a row with that status are no accident. */
static void note_cannot_run(struct dispatch *d, const struct outcome *o)
{
    if (o->status != EX_CANNOT_RUN && o->status != EX_NOT_FOUND) {
        d->cannot_run_row = 0;
        return;
    }
    if (d->cannot_run_row > 0 && d->cannot_run_seq == o->event->entry.seq)
        return; /* the same event once more is no new evidence */
    d->cannot_run_seq = o->event->entry.seq;
    if (++d->cannot_run_row == 3) {
        struct err why = ERR_NONE;
        err_set(&why, o->status, "%s: three events in a row ended with status %d: stopping",
                err_quote_text(d->terms->argv[0]).text, o->status);
        decide_stop(d, &why);
    }
}

void decide_dead(struct dispatch *d, const struct outcome *o)
{
    add_failure(d, o, GROUP_DEAD, 0);
    say_failure(d, o, true, 0);
    d->result->dead++;
    note_cannot_run(d, o);
}

void decide_retry(struct dispatch *d, const struct outcome *o)
{
    int64_t attempt = o->event->attempts + 1;
    int64_t wait =
        o->delay_ms >= 0 ? o->delay_ms : backoff_ms(&d->terms->backoff, attempt, clock_random());

    if (attempt >= d->terms->attempts) {
        decide_dead(d, o);
        return;
    }
    add_failure(d, o, GROUP_RETRY, clock_now_ms() + wait);
    hold_subject(d, o->event);
    say_failure(d, o, false, wait);
    d->result->retried++;
    note_cannot_run(d, o);
}

void decide_hopeless(struct dispatch *d, struct group_event *event, const struct err *why)
{
    const struct outcome o = {.event = event,
                              .status = why->status,
                              .why = why->text,
                              .started_ms = clock_now_ms(),
                              .took_ms = -1,
                              .tail = {"", 0}};

    add_failure(d, &o, GROUP_DEAD, 0);
    err_warn("seq %" PRId64 ": %s: dead letter", event->entry.seq, why->text);
    d->result->dead++;
}

void decide_misconfigured(struct dispatch *d, const struct outcome *o)
{
    struct err why = ERR_NONE;
    struct err_about about;

    err_set(&why, o->status, "%s: seq %lld %s: %s, which is not the event's fault: stopping",
            err_quote_text(d->terms->argv[0]).text, (long long)o->event->entry.seq,
            name_it(d, o->event, &about).text, o->why);
    give_back(d, o->event, GROUP_RELEASE);
    decide_stop(d, &why);
}

/* Others kept the spool locked for too long, or we must not wait any longer. Running handlers may
   end, and settling is tried again until the grace is over; nothing is begun. */
static int stop_when_locked(struct dispatch *d, struct err *e)
{
    if (!store_locked(d->store) || proc_forced() ||
        (d->grace_ms != 0 && clock_mono_ms() >= d->grace_ms))
        return -1;
    decide_stop(d, e);
    err_clear(e);
    return 0;
}

int decide_defer(struct dispatch *d, const struct outcome *o, struct err *e)
{
    char text[CLOCK_TEXT_SIZE];
    struct err_about about;

    give_back(d, o->event, GROUP_DEFER);
    hold_subject(d, o->event);
    d->result->deferred++;
    if (d->on_hold) /* one outage, however many handlers were running when it began */
        return 0;
    d->on_hold = true;
    const struct backoff pause = {d->terms->backoff.base_ms, d->terms->backoff.max_ms,
                                  BACKOFF_EQUAL};
    int64_t wait = backoff_ms(&pause, ++d->holds, clock_random());
    if (o->delay_ms >= 0)
        wait = o->delay_ms;
    int64_t until = clock_now_ms() + (wait < HOLD_MIN_MS ? HOLD_MIN_MS : wait);
    err_note("seq %lld %s: %s: group %s is on hold until %s", (long long)o->event->entry.seq,
             name_it(d, o->event, &about).text, o->why, err_quote_text(d->terms->group).text,
             clock_format(text, until));
    /* The hold first: an event returned before the hold would be claimed again at once. */
    if (group_hold(d->group, until, e) == 0)
        return 0;
    return stop_when_locked(d, e);
}

int decide_print(struct dispatch *d, const struct group_event *event, struct err *e)
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
static int make_events(struct dispatch *d, const struct outcome *o, struct str output,
                       struct span *made)
{
    struct err why = ERR_NONE;
    size_t before = d->lines.n;
    struct outcome bad = *o;

    if (event_read(&d->event, &d->scan, o->event->entry.line, &why) == 0 &&
        emit_make(&d->emit, &d->event, o->event->entry.recorded_ms, output, &d->lines, &why) == 0) {
        *made = (struct span){before, d->lines.n - before, false};
        return 1;
    }
    bad.status = EX_DATAERR;
    bad.why = why.text;
    decide_dead(d, &bad);
    return 0;
}

int decide_done(struct dispatch *d, const struct outcome *o, struct str output, struct err *e)
{
    struct span made = NOTHING;

    d->holds = 0;
    d->cannot_run_row = 0;
    if (output.p != NULL && d->terms->emit) {
        if (make_events(d, o, output, &made) == 0)
            return 0;
    } else if (output.p != NULL) {
        if (decide_print(d, o->event, e) < 0)
            return -1;
        struct err why = ERR_NONE;
        proc_open();
        int got = out_write(output.p, output.n, &why);
        proc_shut();
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
    d->result->done++;
    return 0;
}

/* --------------------------------------------------------------------------------------- settle */

/* Flush. A signal ends the wait for a reader that does not read, once the stop is forceful. */
static int flush(struct err *e)
{
    proc_open();
    int got = out_flush(e);
    proc_shut();
    return got;
}

/* Handle events that succeeded but cannot be printed or published for reasons of our own. */
static void take_back(struct dispatch *d, bool printed)
{
    for (size_t i = 0; i < d->settles; i++)
        if (d->settle[i].outcome == GROUP_DONE &&
            (printed ? d->made[i].printed : d->made[i].n > 0)) {
            d->settle[i] = (struct group_settle){.event = d->settle[i].event,
                                                 .outcome = GROUP_RELEASE,
                                                 .due_ms = clock_now_ms(),
                                                 .took_ms = -1};
            d->made[i] = NOTHING;
            d->result->done--;
            d->taken--;
        }
}

/* Put the made events into the log, in one transaction with the settling that follows. When one of
   them cannot be stored, start over without it. Its cause becomes a dead letter, or is tried again
   when others have published that version in the meantime. */
static int begin_emit(struct dispatch *d, struct err *e)
{
    const struct log_terms terms = {.chained = true, .now_ms = clock_now_ms()};
    struct err why = ERR_NONE;
    int got = 1;

    if (log_begin(d->store, &terms, e) < 0) {
        if (store_locked(d->store))
            return -1;
        decide_stop(d, e); /* as on a disk that is nearly full, where settling still works */
        err_clear(e);
        take_back(d, false);
        return 0;
    }
    for (size_t i = 0; i < d->settles && got > 0; i++) {
        if (d->made[i].n == 0)
            continue;
        got = emit_put(&d->emit, (struct str){d->lines.p + d->made[i].at, d->made[i].n}, &why, e);
        if (got > 0)
            continue;
        log_rollback(d->store);
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
        d->result->done--;
        if (why.status == EX_TEMPFAIL)
            decide_retry(d, &bad);
        else
            decide_dead(d, &bad);
    }
    return got;
}

static bool emits(const struct dispatch *d)
{
    for (size_t i = 0; i < d->settles; i++)
        if (d->made[i].n > 0)
            return true;
    return false;
}

/* Write the output, then settle. A crash in between repeats the output; the other order would lose
   it. When the reader has gone, it does not want the output, and done events stay done; when output
   was lost for other reasons, its event is not done. */
static int settle(struct dispatch *d, struct err *e)
{
    struct err unwritten = ERR_NONE;
    int got;

    if (d->settles == 0)
        return 0;
    if (flush(&unwritten) < 0)
        decide_stop(d, &unwritten);
    if (out_lost())
        take_back(d, true);
    while (emits(d) && (got = begin_emit(d, e)) <= 0)
        if (got < 0)
            return stop_when_locked(d, e);
    got = group_settle(d->group, d->settle, d->settles, e);
    if (got < 0)
        return stop_when_locked(d, e);
    clear_settles(d);
    d->drained = false; /* a retry may be due already */
    return 0;
}

/* Has an event of an ordered group been returned without the spool having it on record yet? */
static bool order_waits(const struct dispatch *d)
{
    for (size_t i = 0; i < d->settles && group_ordered(d->group); i++)
        if (d->settle[i].outcome == GROUP_RETRY || d->settle[i].outcome == GROUP_DEFER ||
            d->settle[i].outcome == GROUP_RELEASE)
            return true;
    return false;
}

/* Decisions are settled together, but soon: neither the log nor the next reader in the pipe waits
   for long, and we settle at once when there is nothing else to do. Nothing is begun before a
   returned event holds its subject in the spool. */
static bool settle_due(const struct dispatch *d)
{
    return order_waits(d) || d->settles >= SETTLE_BATCH || (d->running == 0 && d->queued == 0) ||
           d->terms->window == 0 || d->on_hold || clock_mono_ms() >= d->settle_ms + SETTLE_MS;
}

/* ---------------------------------------------------------------------------------------- claim */

/* In an ordered group an event waits for the earlier ones of its subject. */
static bool may_begin(const struct dispatch *d, const struct group_event *ge, size_t at)
{
    if (!group_ordered(d->group) || ge->entry.subject.p == NULL)
        return true;
    for (size_t i = 0; i < at; i++)
        if (str_eq(d->queue[i]->entry.subject, ge->entry.subject))
            return false;
    return !d->crew->has(d, ge->entry.subject);
}

static int begin_queued(struct dispatch *d, struct err *e)
{
    int got = 1;

    if (d->pause_ms != 0 && clock_mono_ms() < d->pause_ms)
        return 0;
    for (size_t at = 0; at < d->queued && d->crew->room(d) > 0;) {
        if (!may_begin(d, d->queue[at], at)) {
            at++;
            continue;
        }
        if (!drop_expired(d, d->queue[at])) {
            if ((got = d->crew->begin(d, d->queue[at], e)) <= 0)
                break;
            d->pause_ms = 0;
        }
        d->queued--;
        memmove(d->queue + at, d->queue + at + 1, (d->queued - at) * sizeof *d->queue);
    }
    return got < 0 ? -1 : 0;
}

static int release_queued(struct dispatch *d, struct err *e)
{
    if (d->queued == 0)
        return 0;
    for (size_t i = 0; i < d->queued; i++)
        give_back(d, d->queue[i], GROUP_RELEASE);
    d->queued = 0;
    return settle(d, e);
}

/* Once the time to stop at has come, it is replaced by a position. */
static int find_last(struct dispatch *d, struct err *e)
{
    const struct clock_point end = {CLOCK_TIME, d->terms->until_ms};

    if (d->last != 0 || d->terms->until_ms == 0 || clock_now_ms() < d->terms->until_ms)
        return 0;
    if (log_point(d->store, &end, &d->last, e) < 0)
        return -1;
    if (--d->last == 0) /* 0 would mean no limit */
        d->last = -1;
    return 0;
}

/* With --to there is an end also when following: once the log has reached it. A time that has
   passed is such an end, too. */
static int passed_last(struct dispatch *d, struct err *e)
{
    const struct clock_point end = {CLOCK_END, 0};
    int64_t behind;

    if (d->last == 0 || d->past_last)
        return 0;
    if (log_point(d->store, &end, &behind, e) < 0)
        return -1;
    d->past_last = behind > d->last || d->terms->until_ms != 0;
    return 0;
}

/* All events that we hold wait for others of their subjects, and handlers are free: other subjects
   must not wait with them. */
static bool blocked(const struct dispatch *d)
{
    return group_ordered(d->group) && d->queued > 0 && d->crew->room(d) > 0;
}

/* How many may be claimed now, regardless of the rate. About twice as many as can run, so that no
   handler waits for a commit; not more, so that other consumers get their share and a crash counts
   as a death for few events. */
static size_t wanted(const struct dispatch *d)
{
    size_t held = d->queued + d->running, most = blocked(d) ? BLOCKED_MAX : d->queue_max;
    size_t max = most > held ? most - held : 0;

    if (d->crew->room(d) <= d->queued && !blocked(d))
        return 0;
    if (d->terms->most != 0 && (int64_t)max > d->terms->most - d->taken)
        max = (size_t)(d->terms->most - d->taken);
    return max;
}

/* As group_claim. When a signal ends the wait, nothing has been begun that would be lost: no events
   were found. When others keep the spool locked for too long: -1, and we are to stop, letting
   running handlers end. */
static int group_claim_or_stop(struct dispatch *d, size_t max, size_t at_once,
                               struct group_event ***out, struct err *e)
{
    store_stop(d->store, proc_stopping);
    int n = group_claim(d->group, max, at_once, d->last, out, e);
    store_stop(d->store, proc_forced);
    if (n >= 0 || !store_locked(d->store))
        return n;
    if (!proc_stopping())
        decide_stop(d, e);
    err_clear(e);
    return d->result->why.status == 0 ? 0 : -1;
}

static int claim(struct dispatch *d, struct err *e)
{
    struct group_event **got;
    size_t max = wanted(d), room = d->crew->room(d);
    size_t at_once = room > d->queued && !blocked(d) ? room - d->queued : room;
    int n;

    if (max == 0 || (d->pace_ms != 0 && clock_mono_ms() < d->pace_ms))
        return 0;
    store_bell_clear(d->store);
    if (find_last(d, e) < 0)
        return -1;
    if ((n = group_claim_or_stop(d, max, at_once, &got, e)) < 0)
        return d->result->why.status == 0 ? -1 : 0;
    for (int i = 0; i < n; i++)
        d->queue[d->queued++] = got[i];
    d->taken += n;
    d->pace_ms = group_pace_ms(d->group) == 0 ? 0 : clock_mono_ms() + group_pace_ms(d->group);
    d->more = n > 0;
    d->drained = n == 0 && d->pace_ms == 0;
    if (d->drained && d->terms->follow && passed_last(d, e) < 0)
        return -1;
    d->on_hold &= n == 0;
    return 0;
}

/* ----------------------------------------------------------------------------------------- loop */

/* When to look for work again without a wake-up: at once, when the last look found some; when the
   rate allows the events that are there, or the next one becomes due; and each second. If the store
   fails here, the next claim will meet the error. */
static int64_t next_look(struct dispatch *d, int64_t now)
{
    struct err met_later = ERR_NONE;
    int64_t left;

    if (d->grace_ms != 0 || wanted(d) == 0)
        return INT64_MAX;
    if (d->more)
        return now;
    if (d->pace_ms != 0)
        return d->pace_ms;
    if (!d->terms->follow)
        return INT64_MAX;
    if (group_next(d->group, d->last, &left, &met_later) < 0 || left < 0 || left > LOOK_MS)
        left = LOOK_MS;
    return now + left;
}

static int64_t next_wait(struct dispatch *d)
{
    int64_t now = clock_mono_ms(), until = d->crew->deadline(d), look = next_look(d, now);

    /* A time that has passed has been acted on, or will be when the next handler ends. */
    if (d->grace_ms > now && d->grace_ms < until)
        until = d->grace_ms;
    if (d->pause_ms > now && d->pause_ms < until)
        until = d->pause_ms;
    if (d->settles > 0 && d->settle_ms + SETTLE_MS < until)
        until = d->settle_ms + SETTLE_MS;
    if (look < until)
        until = look;
    return until == INT64_MAX ? -1 : until <= now ? 0 : until - now;
}

static void wait_for_something(struct dispatch *d)
{
    size_t n = d->crew->fds(d, d->fds);

    if (d->terms->follow && d->crew->room(d) > 0 && d->grace_ms == 0 && store_bell(d->store) >= 0)
        d->fds[n++] = (struct pollfd){.fd = store_bell(d->store), .events = POLLIN};
    proc_wait(d->fds, n, next_wait(d));
    /* Look now if we may claim; if not, as soon as we may. */
    store_bell_clear(d->store);
}

static void reap(struct dispatch *d)
{
    int status;

    for (pid_t pid; (pid = proc_reap(&status)) != 0;)
        d->crew->ended(d, pid, status, clock_mono_ms());
}

/* We are told to stop: return events that have not begun; running handlers have the grace, or none
   after a second signal. */
static int stop(struct dispatch *d, struct err *e)
{
    int64_t now = clock_mono_ms();

    if (d->grace_ms == 0) {
        d->result->stopped = true;
        d->grace_ms = now + d->terms->grace_ms;
        if (release_queued(d, e) < 0)
            return -1;
        if (d->running > 0 && isatty(STDERR_FILENO))
            err_note("stopping: %zu running; a second signal ends them now", d->running);
        d->crew->quit(d, now);
    }
    if (proc_forced() || now >= d->grace_ms)
        d->crew->force(d, now);
    return 0;
}

/* Is nothing left to do, except to end a crew that stays? */
static bool all_done(const struct dispatch *d)
{
    if (d->running > 0 || d->queued > 0 || d->settles > 0)
        return false;
    if (d->grace_ms != 0 || d->result->why.status != 0)
        return true;
    if (d->terms->most != 0 && d->taken >= d->terms->most)
        return true;
    return d->drained && (!d->terms->follow || d->past_last);
}

static bool finished(const struct dispatch *d)
{
    return all_done(d) && !d->crew->busy(d);
}

static int go_round(struct dispatch *d, struct err *e)
{
    bool stopping = proc_stopping() || out_gone() || d->result->why.status != 0;

    if (stopping && stop(d, e) < 0)
        return -1;
    if (!stopping && d->crew->room(d) > d->queued && claim(d, e) < 0)
        return -1;
    if (!stopping && begin_queued(d, e) < 0)
        return -1;
    if (!stopping && blocked(d) && (claim(d, e) < 0 || begin_queued(d, e) < 0))
        return -1;
    if (all_done(d))
        d->crew->quit(d, clock_mono_ms());
    if (finished(d))
        return 0;
    if ((d->result->why.status == 0 || stopping) && (d->settles == 0 || !settle_due(d)))
        wait_for_something(d);
    reap(d);
    if (d->crew->move(d, clock_mono_ms(), e) < 0)
        return -1;
    if (d->settles > 0 && settle_due(d) && settle(d, e) < 0)
        return -1;
    return d->on_hold ? release_queued(d, e) : 0;
}

static int run_crew(struct dispatch *d, struct err *e)
{
    int got = 0;

    d->emit.store = d->store;
    d->emit.group = d->terms->group;
    if (d->crew->open(d, e) < 0)
        return -1;
    d->queue =
        mem_zero((d->queue_max > BLOCKED_MAX ? d->queue_max : BLOCKED_MAX) + 1, sizeof *d->queue);
    d->fds = mem_zero(d->fds_max + 1, sizeof *d->fds);
    while (got == 0 && !finished(d))
        got = go_round(d, e);
    if (got == 0 && proc_stopping())
        proc_kill_all(0, SIGKILL); /* daemons that handlers left behind */
    d->crew->close(d);
    return got;
}

/* ---------------------------------------------------------------------------- without a handler */

/* Print the claimed events, then settle them, or leave that to settle at the end of the pipe. If
   the reader has gone, the disk is full, or a signal came while the pipe was full, all of them are
   returned, though some may have been read. */
static int print_claimed(struct dispatch *d, struct group_event **events, int n, struct err *e)
{
    struct err why = ERR_NONE;
    int got = 0;

    proc_open();
    for (int i = 0; i < n && got == 0; i++)
        got = out_line(events[i]->entry.line, &why);
    if (got == 0)
        got = out_flush(&why);
    proc_shut();
    if (got < 0)
        decide_stop(d, &why);
    if (d->terms->lease && got == 0 && !out_gone()) {
        group_hand_over(d->group);
        d->result->done += n;
        return 0;
    }
    d->result->done += n;
    d->taken += n;
    for (int i = 0; i < n; i++)
        add_settle(d,
                   &(struct group_settle){.event = events[i], .outcome = GROUP_DONE, .took_ms = -1},
                   (struct span){0, 0, true});
    if (got < 0 || out_gone())
        take_back(d, true);
    return settle(d, e);
}

static int run_pipe(struct dispatch *d, struct err *e)
{
    struct group_event **events;
    int64_t left = PIPE_BATCH;
    size_t max;
    int n;

    while (!proc_stopping() && !out_gone() && d->result->why.status == 0) {
        if (d->terms->most != 0)
            left = d->terms->most - d->result->done;
        if (left == 0)
            return 0;
        store_bell_clear(d->store);
        if (find_last(d, e) < 0)
            return -1;
        max = left < PIPE_BATCH ? (size_t)left : PIPE_BATCH;
        n = group_claim_or_stop(d, max, max, &events, e);
        if (n <= 0 && (proc_stopping() || d->result->why.status != 0))
            break; /* what was claimed all the same goes back, when it cannot be printed */
        int64_t pace = n == 0 ? group_pace_ms(d->group) : 0;
        if (n < 0 ||
            (n == 0 && pace == 0 && (passed_last(d, e) < 0 || !d->terms->follow || d->past_last)))
            return e->status == 0 ? 0 : -1;
        if (n == 0) {
            struct pollfd bell = {.fd = store_bell(d->store), .events = POLLIN};
            int64_t next = pace;
            if (pace == 0 && group_next(d->group, d->last, &next, e) < 0)
                return -1;
            if (next < 0 || (pace == 0 && next > LOOK_MS))
                next = LOOK_MS;
            proc_wait(&bell, pace == 0 && bell.fd >= 0, next);
            continue;
        }
        if (print_claimed(d, events, n, e) < 0)
            return -1;
    }
    d->result->stopped = true;
    return 0;
}

int dispatch_run(struct store *store, struct group *group, const struct dispatch_terms *terms,
                 struct dispatch_result *out, struct err *e)
{
    struct dispatch d = {.store = store,
                         .group = group,
                         .terms = terms,
                         .result = out,
                         .crew = terms->window > 0 ? &workers_crew : &handlers_crew,
                         .last = terms->last};
    int got;

    *out = (struct dispatch_result){0};
    proc_grace(terms->grace_ms);
    store_stop(store, proc_forced);
    out_watch();
    /* A handler has done its work, and the grace is for its output, too; without handlers, lines
       are returned. */
    out_stop_when(terms->argv == NULL ? proc_stopping : proc_forced);
    got = terms->argv == NULL ? run_pipe(&d, e) : run_crew(&d, e);
    clear_settles(&d);
    event_free(&d.event);
    js_scan_free(&d.scan);
    emit_free(&d.emit);
    buf_free(&d.lines);
    buf_free(&d.output);
    free(d.settle);
    free(d.made);
    free(d.fds);
    free(d.queue);
    return got;
}

/* Every transition of a breaker, with a clock that is made up. */
#include "resilience/breaker.h"

#include "unit.h"

#include <string.h>

static const struct breaker_terms plain = {.failures = 3,
                                           .window_ms = 10000,
                                           .volume = 5,
                                           .open_ms = 1000,
                                           .open_max_ms = 6000,
                                           .probes = 1};
static struct breaker b;
static int64_t now;

static void begin(void)
{
    breaker_free(&b);
    b = (struct breaker){0};
    now = 1000000;
}

static struct breaker_ticket ask(const struct breaker_terms *t, const char *who)
{
    return breaker_ask(&b, t, who, now);
}

static bool tell(const struct breaker_terms *t, struct breaker_ticket ticket, const char *who,
                 enum breaker_outcome outcome)
{
    return breaker_report(&b, t, &ticket, who, outcome, 7, "exit status 1", now);
}

/* One call from its beginning to its end; the word that it got. */
static enum breaker_word call(const struct breaker_terms *t, enum breaker_outcome outcome)
{
    struct breaker_ticket ticket = ask(t, "one");

    if (ticket.word == BREAKER_PASS || ticket.word == BREAKER_PROBE)
        tell(t, ticket, "one", outcome);
    return ticket.word;
}

static void open_it(const struct breaker_terms *t)
{
    begin();
    while (b.state != BREAKER_OPEN)
        call(t, BREAKER_FAILED);
}

/* ------------------------------------------------------------------------------------- closed */

static void failures_in_a_row_open_it(void)
{
    begin();
    CHECK_INT(call(&plain, BREAKER_FAILED), BREAKER_PASS);
    CHECK_INT(call(&plain, BREAKER_TIMEOUT), BREAKER_PASS);
    CHECK_INT(b.state, BREAKER_CLOSED);
    CHECK_INT(call(&plain, BREAKER_FAILED), BREAKER_PASS);
    CHECK_INT(b.state, BREAKER_OPEN);
    CHECK_INT(b.until_ms, now + 1000);
    CHECK_TEXT(b.reason, "3 failures in a row, the last: exit status 1");
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_IS_OPEN);
    CHECK_INT(b.figures.calls, 3);
    CHECK_INT(b.figures.failures, 3);
    CHECK_INT(b.figures.timeouts, 1);
    CHECK_INT(b.figures.rejects, 1);
}

static void a_success_between_them_begins_the_row_anew(void)
{
    begin();
    for (int i = 0; i < 10; i++) {
        call(&plain, BREAKER_FAILED);
        call(&plain, BREAKER_FAILED);
        call(&plain, BREAKER_OK);
    }
    CHECK_INT(b.state, BREAKER_CLOSED);
}

static void what_is_ignored_neither_ends_a_row_nor_makes_one(void)
{
    begin();
    for (int i = 0; i < 10; i++)
        call(&plain, BREAKER_IGNORED);
    CHECK_INT(b.state, BREAKER_CLOSED);
    call(&plain, BREAKER_FAILED);
    call(&plain, BREAKER_FAILED);
    call(&plain, BREAKER_IGNORED);
    call(&plain, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_OPEN);
    CHECK_INT(b.figures.ignored, 11);
}

/* opossum's rule: strictly above the percentage, and not below the volume. */
static void a_share_of_failures_strictly_above_opens_it(void)
{
    const struct breaker_terms t = {.error_percent = 50,
                                    .window_ms = 10000,
                                    .volume = 4,
                                    .open_ms = 1000,
                                    .open_max_ms = 1000,
                                    .probes = 1};

    begin();
    for (int i = 0; i < 3; i++)
        call(&t, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_CLOSED); /* 3 of 3, but not 4 calls yet */
    for (int i = 0; i < 4; i++)
        call(&t, BREAKER_OK);
    call(&t, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_CLOSED); /* 4 of 8 are not above */
    call(&t, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_OPEN);
    CHECK_TEXT(b.reason, "5 of 9 calls failed, the last: exit status 1");
}

static void the_window_rolls(void)
{
    const struct breaker_terms t = {.error_percent = 50,
                                    .window_ms = 10000,
                                    .volume = 4,
                                    .open_ms = 1000,
                                    .open_max_ms = 1000,
                                    .probes = 1};
    int64_t calls, failures;

    begin();
    for (int i = 0; i < 3; i++) {
        call(&t, BREAKER_FAILED);
        now += 1000;
    }
    breaker_window(&b, &t, now, &calls, &failures);
    CHECK_INT(calls, 3);
    now += 7000; /* the first of them is out of it */
    breaker_window(&b, &t, now, &calls, &failures);
    CHECK_INT(calls, 2);
    call(&t, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_CLOSED); /* 3 of 3, below the volume */
    now += 100000;
    breaker_window(&b, &t, now, &calls, &failures);
    CHECK_INT(calls, 0);
}

static void a_clock_that_went_back_leaves_no_future_in_the_window(void)
{
    int64_t calls, failures;

    begin();
    call(&plain, BREAKER_FAILED);
    breaker_window(&b, &plain, now - 3600000, &calls, &failures);
    CHECK_INT(calls, 0);
}

static void within_the_warm_up_it_does_not_open(void)
{
    struct breaker_terms t = plain;

    t.warm_up_ms = 60000;
    begin();
    for (int i = 0; i < 10; i++)
        call(&t, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_CLOSED);
    now += 60000;
    call(&t, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_OPEN);
}

static void a_clock_that_went_back_does_not_warm_up_again(void)
{
    struct breaker_terms t = plain;

    t.warm_up_ms = 60000;
    begin();
    call(&t, BREAKER_FAILED);
    now -= 900000;
    for (int i = 0; i < 10; i++)
        call(&t, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_OPEN);
}

/* --------------------------------------------------------------------------------------- open */

static void nothing_passes_before_the_pause_is_over(void)
{
    open_it(&plain);
    now += 999;
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_IS_OPEN);
    now += 1;
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_PROBE);
    CHECK_INT(b.state, BREAKER_CLOSED);
    CHECK_TEXT(b.reason, "a probe succeeded");
}

static void the_pause_doubles_while_it_stays_down_and_begins_anew_after(void)
{
    static const int64_t pauses[] = {1000, 2000, 4000, 6000, 6000};

    open_it(&plain);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(b.until_ms - now, pauses[i]);
        now = b.until_ms;
        CHECK_INT(call(&plain, BREAKER_FAILED), BREAKER_PROBE);
        CHECK_INT(b.state, BREAKER_OPEN);
    }
    now = b.until_ms;
    call(&plain, BREAKER_OK);
    for (int i = 0; i < 3; i++)
        call(&plain, BREAKER_FAILED);
    CHECK_INT(b.until_ms - now, 1000);
}

static void a_pause_is_never_longer_than_the_longest_when_the_clock_goes_back(void)
{
    open_it(&plain);
    now -= 900000;
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_IS_OPEN);
    CHECK(b.until_ms <= now + 6000);
}

/* ----------------------------------------------------------------------------------- half-open */

static void one_probe_at_a_time(void)
{
    open_it(&plain);
    now += 1000;
    struct breaker_ticket first = ask(&plain, "first");
    CHECK_INT(first.word, BREAKER_PROBE);
    CHECK(first.changed);
    CHECK_INT(b.state, BREAKER_HALF_OPEN);
    CHECK_INT(ask(&plain, "second").word, BREAKER_IS_PROBING);
    CHECK(tell(&plain, first, "first", BREAKER_OK));
    CHECK_INT(b.state, BREAKER_CLOSED);
    CHECK_INT(ask(&plain, "second").word, BREAKER_PASS);
}

static void as_many_probes_as_are_needed_and_all_must_succeed(void)
{
    struct breaker_terms t = plain;
    struct breaker_ticket ticket[3];

    t.probes = 3;
    open_it(&t);
    now += 1000;
    ticket[0] = ask(&t, "a");
    ticket[1] = ask(&t, "b");
    ticket[2] = ask(&t, "c");
    for (int i = 0; i < 3; i++)
        CHECK_INT(ticket[i].word, BREAKER_PROBE);
    CHECK_INT(ask(&t, "d").word, BREAKER_IS_PROBING);
    CHECK(!tell(&t, ticket[0], "a", BREAKER_OK));
    CHECK_INT(ask(&t, "d").word, BREAKER_IS_PROBING); /* two run, and two are wanted still */
    CHECK(!tell(&t, ticket[1], "b", BREAKER_OK));
    CHECK(tell(&t, ticket[2], "c", BREAKER_OK));
    CHECK_INT(b.state, BREAKER_CLOSED);
    CHECK_TEXT(b.reason, "probes succeeded");
}

static void one_failed_probe_opens_it_whatever_the_others_say(void)
{
    struct breaker_terms t = plain;

    t.probes = 3;
    open_it(&t);
    now += 1000;
    struct breaker_ticket good = ask(&t, "a"), bad = ask(&t, "b");
    CHECK(tell(&t, bad, "b", BREAKER_FAILED));
    CHECK_INT(b.state, BREAKER_OPEN);
    CHECK_TEXT(b.reason, "a probe failed: exit status 1");
    CHECK(!tell(&t, good, "a", BREAKER_OK));
    CHECK_INT(b.state, BREAKER_OPEN);
}

static void a_probe_that_is_ignored_leaves_its_place(void)
{
    open_it(&plain);
    now += 1000;
    CHECK_INT(call(&plain, BREAKER_IGNORED), BREAKER_PROBE);
    CHECK_INT(b.state, BREAKER_HALF_OPEN);
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_PROBE);
    CHECK_INT(b.state, BREAKER_CLOSED);
}

static bool all_but_first(const char *mark, void *arg)
{
    (void)arg;
    return strcmp(mark, "first") != 0;
}

static void a_probe_that_died_leaves_its_place(void)
{
    open_it(&plain);
    now += 1000;
    ask(&plain, "first");
    CHECK_INT(ask(&plain, "second").word, BREAKER_IS_PROBING);
    breaker_sweep(&b, all_but_first, NULL);
    CHECK_INT(ask(&plain, "second").word, BREAKER_PROBE);
}

static void late_news_moves_nothing(void)
{
    begin();
    struct breaker_ticket late[5];
    for (int i = 0; i < 5; i++)
        late[i] = ask(&plain, "late");
    for (int i = 0; i < 3; i++)
        call(&plain, BREAKER_FAILED);
    CHECK_INT(b.state, BREAKER_OPEN);
    int64_t until = b.until_ms;
    now += 10;
    CHECK(!tell(&plain, late[0], "late", BREAKER_FAILED)); /* while it is open: no longer pause */
    CHECK_INT(b.until_ms, until);
    CHECK(!tell(&plain, late[1], "late", BREAKER_OK)); /* and no closing */
    CHECK_INT(b.state, BREAKER_OPEN);
    now = until;
    struct breaker_ticket probe = ask(&plain, "probe");
    CHECK(!tell(&plain, late[2], "late", BREAKER_FAILED)); /* while it is half-open */
    CHECK_INT(b.state, BREAKER_HALF_OPEN);
    tell(&plain, probe, "probe", BREAKER_OK);
    CHECK(!tell(&plain, late[3], "late", BREAKER_FAILED)); /* and when it is closed again */
    CHECK(!tell(&plain, late[4], "late", BREAKER_FAILED));
    CHECK_INT(b.row, 0);
    CHECK_INT(b.figures.calls, 9);
}

/* ------------------------------------------------------------------------- capacity, by hand */

static void no_more_calls_at_once_than_the_capacity(void)
{
    struct breaker_terms t = plain;

    t.capacity = 2;
    begin();
    struct breaker_ticket first = ask(&t, "first");
    CHECK_INT(first.word, BREAKER_PASS);
    CHECK_INT(ask(&t, "second").word, BREAKER_PASS);
    CHECK_INT(ask(&t, "third").word, BREAKER_IS_FULL);
    tell(&t, first, "first", BREAKER_OK);
    CHECK_INT(ask(&t, "third").word, BREAKER_PASS);
    breaker_sweep(&b, all_but_first, NULL);
    CHECK_INT(ask(&t, "fourth").word, BREAKER_IS_FULL);
}

static void calls_that_ran_before_are_no_probes(void)
{
    struct breaker_terms t = plain;

    t.capacity = 3;
    begin();
    ask(&t, "slow");
    for (int i = 0; i < 3; i++)
        call(&t, BREAKER_FAILED);
    now += 1000;
    CHECK_INT(ask(&t, "probe").word, BREAKER_PROBE);
}

static void by_hand(void)
{
    begin();
    breaker_trip(&b, &plain, 0, "opened by hand", now);
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_IS_OPEN);
    CHECK_INT(b.until_ms, now + 1000);
    breaker_trip(&b, &plain, 3600000, "opened by hand", now);
    CHECK_INT(b.until_ms, now + 3600000);
    now += 60000; /* longer than the longest pause of the terms: it was asked for */
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_IS_OPEN);
    breaker_reset(&b, "closed by hand", now);
    CHECK_INT(call(&plain, BREAKER_OK), BREAKER_PASS);
    b.disabled = true;
    for (int i = 0; i < 10; i++)
        CHECK_INT(call(&plain, BREAKER_FAILED), BREAKER_PASS);
    CHECK_INT(b.state, BREAKER_CLOSED);
}

int main(void)
{
    RUN(failures_in_a_row_open_it);
    RUN(a_success_between_them_begins_the_row_anew);
    RUN(what_is_ignored_neither_ends_a_row_nor_makes_one);
    RUN(a_share_of_failures_strictly_above_opens_it);
    RUN(the_window_rolls);
    RUN(a_clock_that_went_back_leaves_no_future_in_the_window);
    RUN(within_the_warm_up_it_does_not_open);
    RUN(a_clock_that_went_back_does_not_warm_up_again);
    RUN(nothing_passes_before_the_pause_is_over);
    RUN(the_pause_doubles_while_it_stays_down_and_begins_anew_after);
    RUN(a_pause_is_never_longer_than_the_longest_when_the_clock_goes_back);
    RUN(one_probe_at_a_time);
    RUN(as_many_probes_as_are_needed_and_all_must_succeed);
    RUN(one_failed_probe_opens_it_whatever_the_others_say);
    RUN(a_probe_that_is_ignored_leaves_its_place);
    RUN(a_probe_that_died_leaves_its_place);
    RUN(late_news_moves_nothing);
    RUN(no_more_calls_at_once_than_the_capacity);
    RUN(calls_that_ran_before_are_no_probes);
    RUN(by_hand);
    breaker_free(&b);
    return unit_done();
}

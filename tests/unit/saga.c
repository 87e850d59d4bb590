/* What a saga does next, with a clock and commands that are made up. */
#include "saga/saga.h"

#include "unit.h"

#include <stdlib.h>
#include <string.h>

static struct saga s;
static struct buf told; /* what was done, in order; side by side with a plus */
static int64_t now;

/* A plan: words "STEP=OUTCOMES", an outcome a letter for each attempt, the last one for ever:
   . done   d declared failure   f failed; an undo's step is called undo-STEP. */
static char outcome(const char *plan, const char *step, bool undo, int64_t attempt)
{
    char name[100];
    const char *at;

    snprintf(name, sizeof name, " %s%s=", undo ? "undo-" : "", step);
    if ((at = strstr(plan, name)) == NULL)
        return '.';
    at += strlen(name);
    for (int64_t i = 1; i < attempt && at[1] != ' ' && at[1] != '\0'; i++)
        at++;
    return *at;
}

static void define(const char *json)
{
    struct err e = ERR_NONE;

    saga_free(&s);
    buf_reset(&told);
    now = 1000000;
    CHECK_INT(saga_define(&s, str_of(json), &e), 0);
    CHECK_TEXT(e.text, "");
    s.id = strdup("t/1");
    s.event = strdup("{}");
    s.folder = strdup("/");
}

/* Begin all that is ready, then let it end in that order. False when nothing is. */
static bool round_(const char *plan)
{
    size_t begun[20], n = 0;

    for (size_t i = 0; i < s.steps; i++)
        if (saga_ready(&s, i, now)) {
            saga_begin(&s, i, now);
            begun[n++] = i;
        }
    for (size_t k = 0; k < n; k++) {
        struct saga_step *t = &s.step[begun[k]];
        bool undo = t->state == STEP_UNDOING;
        char how = outcome(plan, t->name, undo, t->attempt);
        buf_puts(&told, k > 0 ? "+" : told.n > 0 ? " " : "");
        buf_printf(&told, "%s%s%s", undo ? "-" : "", t->name,
                   how == '.'   ? ""
                   : how == 'd' ? "!"
                                : "?");
        if (how == '.')
            saga_succeeded(&s, begun[k], STR("1"), 5);
        else
            saga_failed(&s, begun[k], how == 'd', "exit status 1", 5, -1, now, 0);
    }
    return n > 0;
}

static const char *play(const char *json, const char *plan)
{
    define(json);
    for (int i = 0; i < 200; i++) {
        saga_advance(&s, now);
        if (s.state != SAGA_RUNNING && s.state != SAGA_COMPENSATING)
            break;
        if (!round_(plan)) {
            if (saga_next_ms(&s, now) == 0)
                break;
            now = saga_next_ms(&s, now);
        }
    }
    buf_printf(&told, ": %s", saga_word(s.state));
    return buf_text(&told);
}

#define STEP(name, more)                                                                           \
    "{\"name\":\"" name "\",\"do\":[\"x\"],\"undo\":[\"y\"],\"retry\":{\"attempts\":2}" more "}"
#define SAGA(steps) "{\"name\":\"t\",\"steps\":[" steps "]}"

static const char line[] = SAGA(STEP("a", "") "," STEP("b", "") "," STEP("c", ""));
static const char diamond[] = SAGA(STEP("a", "") "," STEP("b", ",\"after\":[\"a\"]") "," STEP(
    "c", ",\"after\":[\"a\"]") "," STEP("d", ",\"after\":[\"b\",\"c\"]"));
static const char after_pivot[] =
    SAGA(STEP("p", ",\"pivot\":true") "," STEP("b", ",\"after\":[\"p\"]") "," STEP(
        "c", ",\"after\":[\"p\"]") "," STEP("d", ",\"after\":[\"c\"]"));
static const char pivot[] =
    SAGA(STEP("a", "") "," STEP("p", ",\"pivot\":true") "," STEP("b", "") "," STEP("c", ""));

static void what_happens(void)
{
    static const struct {
        const char *saga, *plan, *told;
    } rows[] = {
        {line, "", "a b c: completed"},
        /* A declared failure is final at once, and its own undo does not run. */
        {line, " b=d", "a b! -a: compensated"},
        {line, " a=d", "a!: compensated"},
        {line, " c=d", "a b c! -b -a: compensated"},
        /* What may have been done is tried again, then undone, too. */
        {line, " b=f", "a b? b? -b -a: compensated"},
        {line, " b=f.", "a b? b c: completed"},
        {line, " b=fd", "a b? b! -a: compensated"},
        /* An undo is tried again; when it fails for good the others run all the same. */
        {line, " c=d undo-b=f.", "a b c! -b? -b -a: compensated"},
        {line, " c=d undo-b=f", "a b c! -b? -b? -a: stuck"},
        {line, " c=d undo-b=d", "a b c! -b! -a: stuck"},
        {line, " c=d undo-b=d undo-a=d", "a b c! -b! -a!: stuck"},
        /* Side by side, and undone in the reverse order of the graph. */
        {diamond, "", "a b+c d: completed"},
        {diamond, " d=d", "a b+c d! -b+-c -a: compensated"},
        {diamond, " d=f", "a b+c d? d? -d -b+-c -a: compensated"},
        {diamond, " b=d", "a b!+c -c -a: compensated"},
        /* One that waits for its next attempt is not tried again, and is undone if it may have been
           done. */
        {diamond, " b=f c=d", "a b?+c! -b -a: compensated"},
        {diamond, " b=d c=f", "a b!+c? -c -a: compensated"},
        {diamond, " b=d c=f.", "a b!+c? -c -a: compensated"},
        {diamond, " b=f. d=d", "a b?+c b d! -b+-c -a: compensated"},
        /* Before the pivot as ever; behind it nothing is undone. */
        {pivot, "", "a p b c: completed"},
        {pivot, " p=d", "a p! -a: compensated"},
        {pivot, " b=d", "a p b!: stuck"},
        {pivot, " b=fffff.", "a p b? b? b? b? b? b c: completed"},
        {pivot, " p=f", "a p? p? -p -a: compensated"},
        /* One that fails for good there does not keep its neighbours from being done. */
        {after_pivot, " b=d", "p b!+c d: stuck"},
        {after_pivot, " b=d c=f.", "p b!+c? c d: stuck"},
        {after_pivot, " b=d c=f", "p b!+c? c?: stuck"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unit_row(rows[i].plan);
        CHECK_TEXT(play(rows[i].saga, rows[i].plan), rows[i].told);
    }
}

static void a_step_without_an_undo_is_undone_by_that(void)
{
    static const char saga[] =
        SAGA(STEP("a", "") ",{\"name\":\"b\",\"do\":[\"x\"]}," STEP("c", ""));

    CHECK_TEXT(play(saga, " c=d"), "a b c! -a: compensated");
    CHECK_INT(s.step[1].state, STEP_UNDONE);
}

static void the_deadline_undoes_what_is_done(void)
{
    define(line);
    s.deadline_ms = now + 100;
    round_("");
    now += 99;
    CHECK(!saga_advance(&s, now));
    now += 1;
    CHECK(saga_advance(&s, now));
    CHECK_INT(s.state, SAGA_COMPENSATING);
    CHECK_TEXT(s.why, "its deadline is over");
}

static void the_deadline_waits_for_what_runs_and_takes_its_further_attempts(void)
{
    define(line);
    s.deadline_ms = now + 100;
    saga_begin(&s, 0, now);
    now += 500;
    CHECK(!saga_advance(&s, now));
    CHECK(!saga_failed(&s, 0, false, "exit status 1", 500, -1, now, 0));
    CHECK(saga_advance(&s, now));
    CHECK_INT(s.state, SAGA_COMPENSATING);
    CHECK(saga_ready(&s, 0, now)); /* it may have been done */
}

static void when_it_is_late_nothing_new_is_begun(void)
{
    define(diamond);
    round_("");
    s.deadline_ms = now + 100;
    saga_begin(&s, 1, now);
    CHECK(saga_ready(&s, 2, now + 99));
    CHECK_INT(saga_next_ms(&s, now + 99), 1);
    now += 100;
    CHECK(!saga_ready(&s, 2, now));
    CHECK_INT(saga_next_ms(&s, now), 0);
    CHECK(!saga_advance(&s, now));
    saga_succeeded(&s, 1, STR(""), 100);
    CHECK(saga_advance(&s, now));
    CHECK(saga_ready(&s, 1, now));
}

static void a_deadline_beyond_the_pivot_makes_it_stuck(void)
{
    define(pivot);
    s.deadline_ms = now + 100;
    round_("");
    round_("");
    now += 100;
    saga_advance(&s, now);
    CHECK_INT(s.state, SAGA_STUCK);
    CHECK(!saga_retry(&s, 1, now)); /* it is done */
    CHECK(saga_retry(&s, 2, now));
    CHECK(saga_ready(&s, 2, now));
}

static void what_a_dead_runner_had_begun_runs_again_and_counts_for_nothing(void)
{
    define(line);
    saga_begin(&s, 0, now);
    saga_again(&s, 0);
    CHECK_INT(s.step[0].state, STEP_WAITING);
    CHECK_INT(s.step[0].failures, 0);
    saga_begin(&s, 0, now);
    CHECK_INT(s.step[0].attempt, 2);
    saga_succeeded(&s, 0, STR(""), 1);
    saga_begin(&s, 1, now);
    saga_failed(&s, 1, true, "exit status 65", 1, -1, now, 0);
    saga_advance(&s, now);
    saga_begin(&s, 0, now);
    saga_again(&s, 0);
    CHECK_INT(s.step[0].state, STEP_DONE);
    CHECK(saga_ready(&s, 0, now));
}

/* Undone, or not, when the other one of two steps side by side fails for good. */
static void what_may_have_been_done(void)
{
    define(diamond);
    round_("");
    saga_begin(&s, 1, now);
    saga_begin(&s, 2, now);
    saga_again(&s, 1); /* its runner died */
    saga_failed(&s, 2, true, "no", 1, -1, now, 0);
    saga_advance(&s, now);
    CHECK_INT(s.state, SAGA_COMPENSATING);
    CHECK(saga_ready(&s, 1, now));

    define(diamond);
    round_("");
    saga_begin(&s, 1, now);
    saga_begin(&s, 2, now);
    saga_unbegun(&s, 1); /* what it needs is down */
    saga_failed(&s, 2, true, "no", 1, -1, now, 0);
    saga_advance(&s, now);
    CHECK_INT(s.step[1].state, STEP_WAITING);
    CHECK(!saga_ready(&s, 1, now));
    CHECK(saga_ready(&s, 0, now));
}

/* What commands say is in documents and events, however long. */
static void a_long_reason_is_kept_whole(void)
{
    struct buf long_ = BUF_INIT;

    for (int i = 0; i < 1000; i++)
        buf_puts(&long_, "\u00e9");
    define(line);
    saga_begin(&s, 0, now);
    saga_failed(&s, 0, true, buf_text(&long_), 1, -1, now, 0);
    saga_advance(&s, now);
    CHECK_INT((long long)strlen(s.why), 2003);
    char *text = saga_write(&s);
    CHECK(text != NULL);
    free(text);
    buf_free(&long_);
}

static void a_word_about_the_delay_is_heeded(void)
{
    define(line);
    saga_begin(&s, 0, now);
    CHECK(saga_failed(&s, 0, false, "exit status 1", 1, 7000, now, 0));
    CHECK(!saga_ready(&s, 0, now + 6999));
    CHECK(saga_ready(&s, 0, now + 7000));
    CHECK_INT(saga_next_ms(&s, now), now + 7000);
}

static void by_hand(void)
{
    play(pivot, " b=d");
    CHECK(!saga_retry(&s, 0, now));
    CHECK(saga_retry(&s, 2, now));
    CHECK_INT(s.state, SAGA_RUNNING);
    CHECK(saga_ready(&s, 2, now));
    play(line, " c=d undo-b=d");
    CHECK(saga_retry(&s, 1, now));
    CHECK_INT(s.state, SAGA_COMPENSATING);
    CHECK(saga_ready(&s, 1, now));
    CHECK(!saga_retry(&s, 2, now));
    play(line, " c=d undo-b=d");
    CHECK(!saga_retry(&s, 2, now)); /* what has failed first is not what it is stuck at */
    play(after_pivot, " b=d c=d");
    CHECK(saga_retry(&s, 1, now)); /* while the other one is as it was */
    CHECK(!saga_advance(&s, now));
    CHECK(saga_ready(&s, 1, now));
    play(line, "");
    CHECK(!saga_retry(&s, 1, now));
    play(line, " c=d undo-b=d");
    saga_settle(&s, SAGA_COMPENSATED, now);
    CHECK(saga_final(&s));
}

/* A document has all of it: whatever the moment, the copy goes on like the original. */
static void a_document_is_the_saga(void)
{
    struct saga copy;

    define(diamond);
    for (int i = 0; i < 20 && s.state != SAGA_COMPENSATED; i++) {
        char *text = saga_write(&s);
        CHECK(saga_read(&copy, str_of(text)));
        char *again = saga_write(&copy);
        CHECK_TEXT(again, text);
        saga_free(&copy);
        free(text);
        free(again);
        saga_advance(&s, now);
        if (!round_(" d=f c=f."))
            now = saga_next_ms(&s, now);
    }
    CHECK_INT(s.state, SAGA_COMPENSATED);
    CHECK(!saga_read(&copy, STR("{}")));
    CHECK(!saga_read(&copy, STR("nonsense")));
}

static void input_of_commands(void)
{
    struct buf in = BUF_INIT;

    define(line);
    saga_begin(&s, 0, now);
    saga_input(&s, 0, &in);
    CHECK_TEXT(buf_text(&in), "{\"event\":{},\"results\":{},\"attempt\":1}\n");
    saga_succeeded(&s, 0, STR("{\"n\": 1.0}"), 1);
    saga_begin(&s, 1, now);
    saga_failed(&s, 1, true, "no", 1, -1, now, 0);
    saga_advance(&s, now);
    saga_begin(&s, 0, now);
    buf_reset(&in);
    saga_input(&s, 0, &in);
    CHECK_TEXT(
        buf_text(&in),
        "{\"event\":{},\"results\":{\"a\":{\"n\": 1.0}},\"result\":{\"n\": 1.0},\"attempt\":1}\n");
    buf_free(&in);
}

static void definitions_that_are_none(void)
{
    static const struct {
        const char *json, *wrong;
    } rows[] = {
        {"", "line 1: \"'[' or '{' expected near end of file\""},
        {"[]", "is not an object"},
        {"{}", "has no \"name\""},
        {"{\"name\":\"a/b\",\"steps\":[]}", "\"name\" has a slash or a space: \"a/b\""},
        {"{\"name\":\"t\"}", "has no \"steps\""},
        {"{\"name\":\"t\",\"stepz\":[]}", "unknown key \"stepz\""},
        {SAGA(""), "has no \"steps\""},
        {SAGA("5"), "step 1 is not an object"},
        {SAGA("{}"), "step 1 has no \"name\""},
        {SAGA("{\"name\":\"a\"}"), "step \"a\": has no \"do\""},
        {SAGA("{\"name\":\"a\",\"do\":\"x\"}"),
         "step \"a\": \"do\" is not a command like [\"./reserve\",\"now\"]"},
        {SAGA("{\"name\":\"a\",\"do\":[]}"),
         "step \"a\": \"do\" is not a command like [\"./reserve\",\"now\"]"},
        {SAGA("{\"name\":\"a\",\"do\":[1]}"), "step \"a\": \"do\" has a word that is not a string"},
        {SAGA("{\"name\":\"a\",\"do\":[\"x\"],\"undu\":[\"y\"]}"),
         "step \"a\": unknown key \"undu\""},
        {SAGA("{\"name\":\"a\",\"do\":[\"x\"],\"timeout\":5}"),
         "step \"a\": \"timeout\" wants a duration like \"10s\""},
        {SAGA("{\"name\":\"a\",\"do\":[\"x\"],\"pivot\":1}"),
         "step \"a\": \"pivot\" is neither true nor false"},
        {SAGA("{\"name\":\"a\",\"do\":[\"x\"],\"retry\":3}"),
         "step \"a\": \"retry\" is not an object"},
        {SAGA("{\"name\":\"a\",\"do\":[\"x\"],\"retry\":{\"attempts\":0}}"),
         "step \"a\": \"attempts\" wants a number from 1 to 1000000"},
        {SAGA("{\"name\":\"a\",\"do\":[\"x\"],\"retry\":{\"tries\":3}}"),
         "step \"a\": unknown key \"tries\""},
        {SAGA(STEP("a/b", "")), "step \"a/b\": a name has no slash or space, and is not \"undo\""},
        {SAGA(STEP("undo", "")),
         "step \"undo\": a name has no slash or space, and is not \"undo\""},
        {SAGA(STEP("a", "") "," STEP("a", "")), "two steps are called \"a\""},
        {SAGA(STEP("a", ",\"after\":[\"b\"]")), "step \"a\": \"after\" names no step: \"b\""},
        {SAGA(STEP("a", ",\"after\":\"b\"")), "step \"a\": \"after\" is not an array of names"},
        {SAGA(STEP("a", ",\"after\":[\"a\"]")), "\"after\" forms a cycle: \"a\""},
        {SAGA(
             STEP("a", "") "," STEP("b", ",\"after\":[\"c\"]") "," STEP("c", ",\"after\":[\"b\"]")),
         "\"after\" forms a cycle: \"b\", \"c\""},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        struct saga wrong;
        unit_row(rows[i].json);
        CHECK_INT(saga_define(&wrong, str_of(rows[i].json), &e), -1);
        CHECK_INT(e.status, EX_DATAERR);
        CHECK_TEXT(e.text, rows[i].wrong);
    }
}

int main(void)
{
    RUN(what_happens);
    RUN(a_step_without_an_undo_is_undone_by_that);
    RUN(the_deadline_undoes_what_is_done);
    RUN(the_deadline_waits_for_what_runs_and_takes_its_further_attempts);
    RUN(when_it_is_late_nothing_new_is_begun);
    RUN(a_deadline_beyond_the_pivot_makes_it_stuck);
    RUN(what_a_dead_runner_had_begun_runs_again_and_counts_for_nothing);
    RUN(what_may_have_been_done);
    RUN(a_long_reason_is_kept_whole);
    RUN(a_word_about_the_delay_is_heeded);
    RUN(by_hand);
    RUN(a_document_is_the_saga);
    RUN(input_of_commands);
    RUN(definitions_that_are_none);
    saga_free(&s);
    buf_free(&told);
    return unit_done();
}

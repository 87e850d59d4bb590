#include "inspect/trace.h"
#include "cli/lines.h"

#include "unit.h"

#include <stdlib.h>

/* "a" is an event without a cause, "b<a" one caused by a; positions count from 1. */
static void plant(struct trace *t, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *arrow = strchr(words[i], '<');
        struct log_entry entry = {.seq = (int64_t)i + 1, .type = STR("t"), .source = STR("/s")};
        entry.id =
            arrow == NULL ? str_of(words[i]) : (struct str){words[i], (size_t)(arrow - words[i])};
        trace_add(t, &entry, str_of(arrow == NULL ? NULL : arrow + 1));
    }
    trace_link(t);
}

/* The tree as "1 .2 ..3": dots for the depth, ? behind an orphan, @ behind a loop. */
static const char *drawn(const struct trace *t)
{
    static struct buf b;

    buf_reset(&b);
    for (size_t i = 0; i < t->n; i++) {
        const struct trace_event *ev = &t->event[t->order[i]];
        buf_puts(&b, i == 0 ? "" : " ");
        for (size_t j = 0; j < ev->depth; j++)
            buf_char(&b, '.');
        buf_int(&b, ev->seq);
        buf_puts(&b, ev->root == TRACE_ORPHAN ? "?" : ev->root == TRACE_LOOP ? "@" : "");
    }
    return buf_text(&b);
}

static void events_hang_under_their_causes_in_order(void)
{
    static const struct {
        const char *words[6];
        const char *tree;
    } rows[] = {
        {{"a"}, "1"},
        {{"a", "b<a", "c<a"}, "1 .2 .3"},
        {{"a", "b<a", "c<b", "d<a"}, "1 .2 ..3 .4"},
        {{"a", "b<a", "c<a", "d<b", "e<c", "f<b"}, "1 .2 ..4 ..6 .3 ..5"},
        {{"a", "b", "c<b", "d<a"}, "1 .4 2 .3"},
        {{"b<a", "a"}, "2 .1"},
        {{"c<b", "b<a", "a"}, "3 .2 ..1"},
        {{"b<x", "c<b", "d<x"}, ".1? ..2 .3?"},
        {{"a", "c<x", "b<a"}, "1 .3 .2?"},
        {{"a<a"}, "1@"},
        {{"a<b", "b<a"}, "1@ .2"},
        {{"r", "a<c", "b<a", "c<b", "d<b"}, "1 2@ .3 ..4 ..5"},
        {{"d<c", "a<b", "b<a", "c<b"}, "2@ .3 ..4 ...1"},
        {{"a", "a<a", "b<a"}, "1 2@ .3"},
        {{"a", "b<a", "a<b", "c<a"}, "1 .2 ..3 ...4"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct trace t = TRACE_INIT;
        size_t n = 0;

        while (n < 6 && rows[i].words[n] != NULL)
            n++;
        plant(&t, rows[i].words, n);
        unit_row(rows[i].tree);
        CHECK_TEXT(drawn(&t), rows[i].tree);
        trace_free(&t);
    }
}

static void linking_again_changes_nothing_but_what_was_added(void)
{
    static const char *const words[] = {"b<a", "c<b"};
    struct log_entry cause = {.seq = -5, .id = STR("a"), .type = STR("t"), .source = STR("/s")};
    struct trace t = TRACE_INIT;

    plant(&t, words, 2);
    CHECK_TEXT(drawn(&t), ".1? ..2");
    trace_link(&t);
    CHECK_TEXT(drawn(&t), ".1? ..2");
    trace_add(&t, &cause, str_of(NULL));
    trace_add(&t, &cause, str_of(NULL)); /* twice: it is one event */
    trace_link(&t);
    CHECK_TEXT(drawn(&t), "-5 .1 ..2");
    trace_free(&t);
}

/* As deep as foreign events make it, and without running out of stack. */
static void a_long_chain_is_walked(void)
{
    enum { LENGTH = 200000 };
    struct trace t = TRACE_INIT;
    char id[20], cause[20];

    for (int i = 0; i < LENGTH; i++) {
        snprintf(id, sizeof id, "%d", i);
        snprintf(cause, sizeof cause, "%d", i + 1); /* effects first */
        trace_add(&t, &(struct log_entry){.seq = i + 1, .id = str_of(id)},
                  str_of(i + 1 < LENGTH ? cause : NULL));
    }
    trace_link(&t);
    CHECK_INT((int64_t)t.event[t.order[0]].seq, LENGTH);
    CHECK_INT((int64_t)t.event[t.order[LENGTH - 1]].seq, 1);
    CHECK_INT((int64_t)t.event[0].depth, LENGTH - 1);
    trace_free(&t);
}

static void lines_say_what_is_wrong_with_an_event(void)
{
    struct trace t = TRACE_INIT;
    struct buf b = BUF_INIT;

    trace_add(&t,
              &(struct log_entry){.seq = 7,
                                  .recorded_ms = 1000,
                                  .id = STR("a"),
                                  .type = STR("order.\x1b[2J"),
                                  .subject = STR("k\nk"),
                                  .damaged = true},
              STR("a"));
    trace_add(&t, &(struct log_entry){.seq = 8, .id = STR("b"), .type = STR("t")}, STR("\x1bx"));
    trace_link(&t);
    trace_line(&b, &t, &t.event[0], 181000);
    CHECK_TEXT(buf_text(&b), "7  order.\\x1b[2J  k\\nk  3m  (damaged in the spool)  (a loop: its "
                             "cause is seq 7)");
    buf_reset(&b);
    trace_line(&b, &t, &t.event[1], 0);
    CHECK_TEXT(buf_text(&b), "8  t  -  0s");
    buf_reset(&b);
    trace_cause(&b, &t.event[1]);
    CHECK_TEXT(buf_text(&b), "(cause \\x1bx is not here)");
    buf_reset(&b);
    t.event[1].cause_seq = 3;
    trace_cause(&b, &t.event[1]);
    CHECK_TEXT(buf_text(&b), "(cause \\x1bx is of another correlation: seq 3)");
    buf_free(&b);
    trace_free(&t);
}

int main(void)
{
    RUN(events_hang_under_their_causes_in_order);
    RUN(linking_again_changes_nothing_but_what_was_added);
    RUN(a_long_chain_is_walked);
    RUN(lines_say_what_is_wrong_with_an_event);
    return unit_done();
}

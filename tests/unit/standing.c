#include "inspect/standing.h"

#include "unit.h"

#define NOW 1000000000000 /* 2001-09-09T01:46:40Z */
#define LATER (NOW + 300000)
#define AGO (NOW - 120000)

static const char *const pattern[] = {"order.*", "x"};
static const struct pattern_list patterns = {pattern, 2}, none = {NULL, 0};

#define T_LATER "2001-09-09T01:51:40.000Z, in 5m"
#define T_AGO "2001-09-09T01:44:40.000Z, 2m ago"

static void each_state_has_its_words(void)
{
    const struct {
        struct where w;
        struct log_entry event;
        const char *words;
    } rows[] = {
        {{.state = WHERE_DONE}, {0}, "done"},
        {{.state = WHERE_DONE, .expires_ms = LATER}, {0}, "done"},
        {{.state = WHERE_DONE, .expires_ms = AGO},
         {.recorded_ms = AGO - 1},
         "done, or passed over: it expired at " T_AGO},
        {{.state = WHERE_DONE, .expires_ms = AGO},
         {.recorded_ms = NOW},
         "passed over: it expired at " T_AGO},
        {{.state = WHERE_BEFORE}, {0}, "before the group's beginning"},
        {{.state = WHERE_PASSED}, {0}, "done, unless the group began behind it"},
        {{.state = WHERE_FILTERED, .types = &patterns},
         {0},
         "filtered out (its patterns are 'order.*', 'x')"},
        {{.state = WHERE_FILTERED, .types = &none}, {0}, "filtered out (its patterns are '#')"},
        {{.state = WHERE_AHEAD, .position = 12, .last = 40, .consumers = 1},
         {0},
         "not yet reached (position 12 of 40)"},
        {{.state = WHERE_AHEAD, .position = 12, .last = 40},
         {0},
         "not yet reached (position 12 of 40); no consumer is running"},
        {{.state = WHERE_AHEAD, .last = 4, .consumers = 2, .notbefore_ms = LATER, .paused = true},
         {0},
         "not yet reached (position 0 of 4), and not before " T_LATER "; the group is paused"},
        {{.state = WHERE_AHEAD, .last = 4, .consumers = 2, .hold_ms = LATER},
         {0},
         "not yet reached (position 0 of 4); the group is on hold until " T_LATER},
        {{.state = WHERE_EXPIRED, .last = 4, .consumers = 2, .expires_ms = AGO, .hold_ms = LATER},
         {0},
         "expired at " T_AGO},
        {{.state = WHERE_AHEAD, .last = 4, .consumers = 2, .hold_ms = AGO},
         {.damaged = true},
         "not yet reached (position 0 of 4), and will be a dead letter: it is damaged"},
        {{.state = WHERE_WAITING, .due_ms = LATER, .consumers = 1}, {0}, "waiting until " T_LATER},
        {{.state = WHERE_WAITING,
          .due_ms = LATER,
          .consumers = 1,
          .attempts = 3,
          .reason = STR("exit status 7"),
          .tail = STR("Traceback:\n  x\nno \x1b[mroute\n\n")},
         {0},
         "waiting until " T_LATER " (attempt 3 failed: exit status 7: no \\x1b[mroute)"},
        {{.state = WHERE_WAITING,
          .due_ms = AGO,
          .attempts = 1,
          .deaths = 1,
          .reason = STR("exit status 7")},
         {0},
         "due now (attempt 1 failed: exit status 7; 1 consumer died with it); no consumer is "
         "running"},
        {{.state = WHERE_WAITING, .due_ms = AGO, .consumers = 1, .deaths = 2},
         {0},
         "due now (2 consumers died with it)"},
        {{.state = WHERE_WAITING, .due_ms = AGO, .consumers = 1, .reason = STR("exit status 7")},
         {0},
         "due now (given back; it had failed: exit status 7)"},
        {{.state = WHERE_BEHIND, .behind = 41, .consumers = 1},
         {0},
         "behind seq 41 of its subject"},
        {{.state = WHERE_BEHIND, .behind = 41, .behind_due_ms = LATER, .paused = true},
         {0},
         "behind seq 41 of its subject, which waits until " T_LATER
         "; the group is paused; no consumer is running"},
        {{.state = WHERE_BEHIND, .consumers = 1},
         {0},
         "behind an earlier event of its subject that is settled by now"},
        {{.state = WHERE_CLAIMED, .pid = 4711, .paused = true}, {0}, "in the hands of pid 4711"},
        {{.state = WHERE_CLAIMED, .pid = 4711, .attempts = 2, .reason = STR("timed out")},
         {0},
         "in the hands of pid 4711 (attempt 2 failed: timed out)"},
        {{.state = WHERE_ORPHANED, .pid = 4711},
         {0},
         "its consumer died (pid 4711); the next one takes it over; no consumer is running"},
        {{.state = WHERE_ORPHANED, .consumers = 1},
         {0},
         "its consumer died (a process that is not known); the next one takes it over"},
        {{.state = WHERE_LEASED, .due_ms = LATER},
         {0},
         "handed out over a pipe, to be settled until " T_LATER},
        {{.state = WHERE_LEASED, .due_ms = AGO, .consumers = 1},
         {0},
         "handed out over a pipe and not settled in time"},
        {{.state = WHERE_DEAD,
          .due_ms = AGO,
          .attempts = 4,
          .reason = STR("exit status 3"),
          .tail = STR("card declined")},
         {0},
         "dead since " T_AGO ": exit status 3: card declined (4 attempts)"},
        {{.state = WHERE_DEAD, .due_ms = AGO, .attempts = 1},
         {0},
         "dead since " T_AGO " (1 attempt)"},
        {{.state = WHERE_DEAD, .due_ms = AGO, .reason = STR("damaged in the spool")},
         {0},
         "dead since " T_AGO ": damaged in the spool"},
    };
    struct buf b = BUF_INIT;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf_reset(&b);
        unit_row(rows[i].words);
        standing_text(&b, &rows[i].w, &rows[i].event, NOW);
        CHECK_TEXT(buf_text(&b), rows[i].words);
    }
    buf_free(&b);
}

static void of_long_words_the_beginning_is_shown(void)
{
    struct where w = {.state = WHERE_DEAD, .due_ms = AGO, .reason = STR("r")};
    const struct log_entry event = {0};
    struct buf b = BUF_INIT, tail = BUF_INIT;

    buf_puts(&tail, "x");
    for (int i = 0; i < 500; i++)
        buf_puts(&tail, "é"); /* 200 bytes would end within one */
    w.tail = (struct str){tail.p, tail.n};
    standing_text(&b, &w, &event, NOW);
    CHECK_INT((int64_t)b.n, (int64_t)strlen("dead since " T_AGO ": r: ") + 199);
    buf_free(&tail);
    buf_free(&b);
}

int main(void)
{
    RUN(each_state_has_its_words);
    RUN(of_long_words_the_beginning_is_shown);
    return unit_done();
}

/*
 * What is wrong with a spool, or with its groups.
 *
 * The engine checks its own structure. We look up the events in the indexes of their table, above
 * all in the one for deduplication, a thousand at a time, while verifying their checksums
 * (check_events.c), and ask each other table for rows that no command writes (check_rows.c).
 */
#include "store/sql/check.h"

#include "base/duration.h"
#include "store/groups.h"

#include <stdio.h>
#include <string.h>

#define DAY_MS INT64_C(86400000)
#define CLOCK_STEP_MS 60000 /* as for publishing: less than this does not count */
#define IDLE_MS (7 * DAY_MS)

/* If a part failed because what is stored is damaged, report that as a finding, too. */
static int part(struct check *c, int got, struct err *e)
{
    if (got == 0 || c->stop != 0 || !db_unreadable(c->s->db))
        return got;
    struct err told = *e;
    err_clear(e);
    if (c->unreadable)
        return 0;
    c->unreadable = true;
    return check_report(c, &(struct check_finding){.kind = "structure", .value = 1}, e, "%s",
                        told.text);
}

/* ------------------------------------------------------------------------------------ the clock */

/* Times do not decrease within a segment, so its last event has the latest. */
static int check_segment(struct check *c, int64_t seq, int64_t recorded, struct err *e)
{
    struct query *q = db_query(c->s->db, e,
                               SQL("check_segment",
                                   "SELECT seq,recorded FROM event WHERE seq<? ORDER BY seq DESC "
                                   "LIMIT 1"),
                               "i", seq);
    char age[DURATION_TEXT_SIZE];
    int got = q == NULL ? -1 : db_row(c->s->db, q, e);

    if (got <= 0)
        return got;
    int64_t last = db_i64(q, 0), ahead = db_i64(q, 1) - c->now;
    db_done(q);
    if (ahead > CLOCK_STEP_MS &&
        check_report(c,
                     &(struct check_finding){
                         .kind = "clock", .value = ahead / 1000, .limit = CLOCK_STEP_MS / 1000},
                     e, "recorded times up to position %lld are in the future, by %s",
                     (long long)last, duration_age(age, ahead)) < 0)
        return -1;
    int64_t back = c->now + ahead - recorded;
    if (seq == INT64_MAX || recorded < c->now - DAY_MS || back <= 0)
        return 0;
    return check_report(c,
                        &(struct check_finding){
                            .kind = "clock", .value = back / 1000, .limit = CLOCK_STEP_MS / 1000},
                        e, "the clock was set back by %s before position %lld was published",
                        duration_format(age, back), (long long)seq);
}

static int check_clock(struct check *c, struct err *e)
{
    struct query *q = db_query(
        c->s->db, e, SQL("check_clock", "SELECT seq,recorded FROM segment ORDER BY seq"), "");
    int got = -1;

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0)
        if (check_segment(c, db_i64(q, 0), db_i64(q, 1), e) < 0) {
            db_done(q);
            return -1;
        }
    return got < 0 ? -1 : check_segment(c, INT64_MAX, 0, e);
}

/* ----------------------------------------------------------------------------------- the groups */

static int check_idle(struct check *c, const char *name, int64_t lag, struct err *e)
{
    int64_t seen = c->now, alive = 0, grp;
    char age[DURATION_TEXT_SIZE];

    if (group_row(c->s, name, &grp, e) < 0 || group_alive(c->s, grp, &alive, e) < 0 ||
        db_int(c->s->db, e, &seen, SQL("check_idle", "SELECT seen FROM groups WHERE grp=?"), "i",
               grp) < 0)
        return -1;
    if (alive > 0 || lag == 0 || c->now - seen <= IDLE_MS)
        return 0;
    return check_report(
        c, &(struct check_finding){"idle", name, (c->now - seen) / 1000, IDLE_MS / 1000, NULL}, e,
        "no consumer for %s, and %lld event%s yet to settle", duration_age(age, c->now - seen),
        (long long)lag, check_plural(lag));
}

static int check_limits(struct check *c, const char *name, const struct group_left *left,
                        int64_t lag, struct err *e)
{
    int64_t age = left->oldest_ms == 0 ? 0 : c->now - left->oldest_ms;
    const struct check_terms *max = c->terms;
    char text[DURATION_TEXT_SIZE];

    if (max->max_dead >= 0 && left->dead > max->max_dead &&
        check_report(c, &(struct check_finding){"dead", name, left->dead, max->max_dead, NULL}, e,
                     "%lld dead letter%s", (long long)left->dead, check_plural(left->dead)) < 0)
        return -1;
    if (max->max_lag >= 0 && lag > max->max_lag &&
        check_report(c, &(struct check_finding){"lag", name, lag, max->max_lag, NULL}, e,
                     "%lld event%s yet to settle", (long long)lag, check_plural(lag)) < 0)
        return -1;
    if (max->max_age_ms < 0 || age <= max->max_age_ms)
        return 0;
    return check_report(
        c, &(struct check_finding){"age", name, age / 1000, max->max_age_ms / 1000, NULL}, e,
        "its oldest event yet to settle has waited for %s", duration_format(text, age));
}

static int check_group(struct check *c, const char *name, struct err *e)
{
    struct group_left left;

    if (group_left(c->s, name, 0, false, &left, e) < 0) {
        struct err told = *e;
        bool rows = told.status == EX_IOERR && !db_failed(c->s->db);
        if (told.status != EX_NOINPUT && !rows)
            return -1;
        err_clear(e);
        if (!rows) /* dropped since its name was read */
            return 0;
        return check_report(c, &(struct check_finding){"damage", name, 1, 0, NULL}, e, "%s",
                            told.text);
    }
    int64_t lag = left.ahead + left.in_flight + left.due + left.waiting;
    return check_idle(c, name, lag, e) < 0 ? -1 : check_limits(c, name, &left, lag, e);
}

static int check_groups(struct check *c, struct err *e)
{
    struct query *q =
        db_query(c->s->db, e, SQL("check_names", "SELECT name FROM groups ORDER BY name"), "");
    struct buf names = BUF_INIT;
    int got = -1;

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0) {
        buf_str(&names, db_text(q, 0));
        buf_char(&names, '\0');
    }
    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1)
        got = check_group(c, names.p + at, e);
    buf_free(&names);
    return got;
}

int64_t store_check(struct store *s, const struct check_terms *terms,
                    int (*f)(const struct check_finding *finding, void *arg, struct err *e),
                    void *arg, struct err *e)
{
    struct check c = {.s = s, .terms = terms, .f = f, .arg = arg, .now = clock_now_ms()};
    static int (*const parts[])(struct check *, struct err *) = {
        check_structure, check_events, check_rows, check_clock, check_engine, check_groups};

    for (size_t i = terms->quick ? 3 : 0; i < sizeof parts / sizeof parts[0]; i++)
        if (part(&c, parts[i](&c, e), e) < 0)
            return c.stop > 0 ? c.findings : -1;
    return c.findings;
}

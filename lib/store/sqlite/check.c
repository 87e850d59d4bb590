/*
 * What is wrong with a spool, or with its groups.
 *
 * SQLite's quick_check reads the structure of all pages in one pass. The full integrity_check would
 * also look up each row in each index, all in one transaction, which would block checkpoints for
 * minutes on a large file. Instead we look up the events in the indexes of their table, above all
 * in the one for deduplication, a thousand at a time, while verifying their checksums
 * (check_events.c), and ask each other table for rows that no command writes (check_rows.c).
 */
#include "store/sqlite/check.h"

#include "base/duration.h"
#include "store/groups.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_MS INT64_C(86400000)
#define CLOCK_STEP_MS 60000 /* as for publishing: less than this does not count */
#define WAL_MAX (64 << 20)  /* the largest single commit, publish --atomic's, explains this */
#define IDLE_MS (7 * DAY_MS)

/* If a part failed because the file is damaged, report that as a finding, too. */
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

/* ------------------------------------------------------------------------------- the whole file */

static int check_structure(struct check *c, struct err *e)
{
    struct query *q = db_query(c->s->db, e, SQL("check_structure", "PRAGMA quick_check(20)"), "");
    int got = -1;

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0) {
        struct str text = db_text(q, 0);
        if (str_eq(text, STR("ok")))
            continue;
        const char *newline = memchr(text.p, '\n', text.n); /* after "in database main" */
        size_t skip = newline == NULL ? 0 : (size_t)(newline - text.p) + 1;
        got = check_report(c, &(struct check_finding){.kind = "structure", .value = 1}, e, "%.*s",
                           (int)(text.n - skip), text.p + skip);
        if (got < 0)
            break;
    }
    db_done(q);
    return got;
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

/* ---------------------------------------------------------------------------- the WAL, the disk */

static void add_process(struct buf *b, int pid)
{
    char path[40], name[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    if ((f = fopen(path, "re")) != NULL) {
        if (fgets(name, sizeof name, f) == NULL)
            name[0] = '\0';
        fclose(f);
    }
    name[strcspn(name, "\n")] = '\0';
    buf_printf(b, "%s%d", b->n == 0 ? "" : ", ", pid);
    if (name[0] != '\0')
        buf_printf(b, " (%s)", name);
}

/* List the processes that read or write at this moment: SQLite has its locks on bytes 120 to 127 of
   SPOOL-shm, of which 121 is for checkpoints. The kernel lists locks by inode. */
static void add_holders(struct store *s, struct buf *b)
{
    struct buf shm = BUF_INIT;
    struct stat st;
    char line[256];
    FILE *f = NULL;
    int before = 0;

    buf_printf(&shm, "%s-shm", s->name);
    if (stat(buf_text(&shm), &st) == 0)
        f = fopen("/proc/locks", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        unsigned long inode;
        long first;
        int pid;
        if (sscanf(line, "%*s POSIX %*s %*s %d %*x:%*x:%lu %ld", &pid, &inode, &first) != 3 ||
            inode != st.st_ino || first < 120 || first > 127 || pid == getpid() || pid == before)
            continue;
        add_process(b, pid);
        before = pid;
    }
    if (f != NULL)
        fclose(f);
    buf_free(&shm);
}

static int check_wal(struct check *c, struct err *e)
{
    struct buf name = BUF_INIT, who = BUF_INIT;
    struct stat st;
    int got = 0;

    buf_printf(&name, "%s-wal", c->s->name);
    if (stat(buf_text(&name), &st) == 0 && st.st_size > WAL_MAX) {
        add_holders(c->s, &who);
        got = check_report(
            c, &(struct check_finding){.kind = "wal", .value = st.st_size, .limit = WAL_MAX}, e,
            "SPOOL-wal has %lld MiB: %s%s", (long long)st.st_size >> 20,
            who.n > 0 ? "held by process " : "nobody holds it just now", buf_text(&who));
    }
    buf_free(&name);
    buf_free(&who);
    return got;
}

static int check_space(struct check *c, struct err *e)
{
    struct statvfs fs;

    if (statvfs(c->s->name, &fs) != 0)
        return err_errno(e, EX_IOERR, "%s", c->s->name);
    uint64_t left = (uint64_t)fs.f_bavail * fs.f_frsize;
    uint64_t reserve = (uint64_t)space_reserve(&fs);
    if (left >= 4 * reserve)
        return 0;
    return check_report(c,
                        &(struct check_finding){.kind = "space",
                                                .value = (int64_t)left,
                                                .limit = (int64_t)(4 * reserve)},
                        e, "%llu MiB are free on its file system; publishing %s %llu MiB",
                        (unsigned long long)left >> 20, left < reserve ? "ended at" : "ends at",
                        (unsigned long long)reserve >> 20);
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
        int code = sqlite3_errcode(c->s->db->sqlite) & 0xff;
        bool rows = told.status == EX_IOERR && (code == SQLITE_OK || code >= SQLITE_ROW);
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
        db_query(c->s->db, e, SQL("check_groups", "SELECT name FROM groups ORDER BY name"), "");
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
        check_structure, check_events, check_rows,  check_clock,
        check_wal,       check_space,  check_groups};

    for (size_t i = terms->quick ? 3 : 0; i < sizeof parts / sizeof parts[0]; i++)
        if (part(&c, parts[i](&c, e), e) < 0)
            return c.stop > 0 ? c.findings : -1;
    return c.findings;
}

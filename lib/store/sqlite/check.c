/*
 * What is wrong with a spool, or with its groups.
 *
 * SQLite's quick_check reads the structure of all pages in one pass. The full integrity_check would
 * also look up each row in each index, all in one transaction, which would block checkpoints for
 * minutes on a large file. Instead we look up the events in the indexes of their table, above all
 * in the one for deduplication, a thousand at a time, while verifying their checksums.
 */
#include "store/sql/sql.h"
#include "store/sqlite/sqlite.h"

#include "base/duration.h"
#include "base/mem.h"
#include "store/groups.h"
#include "store/upkeep.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_MS INT64_C(86400000)
#define CLOCK_STEP_MS 60000 /* as for publishing: less than this does not count */
#define WAL_MAX (64 << 20)  /* the largest single commit, publish --atomic's, explains this */
#define IDLE_MS (7 * DAY_MS)
#define NAMED_MAX 20 /* positions in one message */

struct check {
    struct store *s;
    const struct check_terms *terms;
    int (*f)(const struct check_finding *finding, void *arg, struct err *e);
    void *arg;
    int64_t findings, now;
    bool unreadable; /* reported; other parts that meet the same page would report it again */
    int stop;        /* what f returned */
};

static int report(struct check *c, const struct check_finding *what, struct err *e,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Report a finding. Returns -1 to end the whole check. */
static int report(struct check *c, const struct check_finding *what, struct err *e,
                  const char *format, ...)
{
    struct check_finding finding = *what;
    char text[1000];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    finding.message = text;
    c->findings++;
    c->stop = c->f(&finding, c->arg, e);
    return c->stop != 0 ? -1 : 0;
}

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
    return report(c, &(struct check_finding){.kind = "structure", .value = 1}, e, "%s", told.text);
}

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
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
        got = report(c, &(struct check_finding){.kind = "structure", .value = 1}, e, "%.*s",
                     (int)(text.n - skip), text.p + skip);
        if (got < 0)
            break;
    }
    db_done(q);
    return got;
}

/* Positions that have the same fault. */
struct fault {
    int64_t n, first;
    struct buf named;
};

static void note_fault(struct fault *f, int64_t seq)
{
    if (f->n == 0)
        f->first = seq;
    if (f->n++ < NAMED_MAX)
        buf_printf(&f->named, "%s%lld", f->n == 1 ? "" : ", ", (long long)seq);
}

static int say_fault(struct check *c, struct fault *f, const char *what, struct err *e)
{
    int got = 0;

    if (f->n > 0)
        got = report(c, &(struct check_finding){.kind = "damage", .value = f->n}, e,
                     "%lld event%s %s: position%s %s%s", (long long)f->n, plural(f->n), what,
                     plural(f->n), buf_text(&f->named), f->n > NAMED_MAX ? " and others" : "");
    buf_free(&f->named);
    return got;
}

/* The attributes that an event has in columns as well as in its line. */
enum attribute { ID, SOURCE, TYPE, SUBJECT, PRIORITY, NOTBEFORE, EXPIRYTIME, VERSION, ATTRIBUTES };
static const char *const attribute_name[] = {
    "id", "source", "type", "subject", "priority", "notbefore", "expirytime", "version",
};

enum index { INDEX_ID, INDEX_PRIORITY, INDEX_VERSION, INDEXES };
static const char *const index_use[] = {"duplicates", "priorities", "versions"};

struct faults {
    struct fault sum, differs[ATTRIBUTES], index[INDEXES];
    int64_t seq;                        /* the last event seen */
    int64_t right, recorded, unordered; /* the last right event; the first out of order in time */
};

static bool number_differs(int64_t column, int64_t said)
{
    return column != (said == 0 ? DB_NONE : said);
}

/* Note where columns differ from the line; a version in the line may be no more than data. */
static bool note_differences(const struct log_row *row, const struct event *said, struct faults *f)
{
    const bool differs[ATTRIBUTES] = {
        [ID] = !str_eq(row->id, said->id),
        [SOURCE] = !str_eq(row->source, said->source),
        [TYPE] = !str_eq(row->type, said->type),
        [SUBJECT] = !str_eq(row->subject, said->subject) ||
                    (row->subject.p == NULL) != (said->subject.p == NULL),
        [PRIORITY] = row->priority != said->priority,
        [NOTBEFORE] = number_differs(row->due, said->notbefore_ms),
        [EXPIRYTIME] = number_differs(row->expires, said->expiry_ms),
        [VERSION] = row->version != DB_NONE && row->version != said->version,
    };
    bool any = false;

    for (int i = 0; i < ATTRIBUTES; i++)
        if (differs[i]) {
            note_fault(&f->differs[i], row->seq);
            any = true;
        }
    return any;
}

static void look_at(struct store *s, struct query *q, struct faults *f)
{
    struct err unreadable = ERR_NONE;
    struct log_row row;

    log_row_read(q, &row);
    bool right = sum_columns(s, q, &row),
         whole = sum_line(row.sums, row.line) &&
                 event_read(&s->seen, &s->scan, row.line, &unreadable) == 0;
    if (!whole || (!note_differences(&row, &s->seen, f) && !right))
        note_fault(&f->sum, row.seq);
    for (int i = 0; i < INDEXES && right; i++)
        if (db_i64(q, LOG_END + i) != row.seq)
            note_fault(&f->index[i], row.seq);
    f->seq = row.seq;
    if (!right)
        return;
    if (row.recorded < f->recorded && db_i64(q, LOG_END + INDEXES) <= f->right && f->unordered == 0)
        f->unordered = row.seq;
    f->right = row.seq;
    f->recorded = row.recorded;
}

static int read_events(struct check *c, struct faults *f, struct err *e)
{
    int got, rows;

    do {
        struct query *q = db_query(
            c->s->db, e,
            SQL("check_read_events",
                "SELECT " LOG_COLUMNS
                ",(SELECT i.seq FROM event i INDEXED BY event_id WHERE i.id=e.id AND "
                "i.source=e.source),CASE priority WHEN 5 THEN seq ELSE (SELECT i.seq FROM event i "
                "INDEXED BY event_priority WHERE i.priority=e.priority AND i.priority<>5 AND "
                "i.seq=e.seq) END,CASE WHEN version IS NULL THEN seq ELSE (SELECT i.seq FROM event "
                "i "
                "INDEXED BY event_version WHERE i.subject=e.subject AND i.version=e.version AND "
                "i.version IS NOT NULL) END,(SELECT max(g.seq) FROM segment g WHERE g.seq<=e.seq) "
                "FROM "
                "event e WHERE seq>? ORDER BY seq LIMIT 1000"),
            "i", f->seq);
        got = -1;
        for (rows = 0; q != NULL && (got = db_row(c->s->db, q, e)) > 0; rows++) {
            int64_t seq = db_i64(q, LOG_SEQ);
            if (seq <= f->seq) {
                db_done(q);
                return log_disorder(c->s, seq, e);
            }
            look_at(c->s, q, f);
        }
    } while (got == 0 && rows == 1000);
    return got;
}

static int say_faults(struct check *c, struct faults *f, struct err *e)
{
    char what[100];

    if (say_fault(c, &f->sum, "damaged", e) < 0)
        return -1;
    for (int i = 0; i < ATTRIBUTES; i++) {
        snprintf(what, sizeof what, "with another %s than in the line", attribute_name[i]);
        if (say_fault(c, &f->differs[i], what, e) < 0)
            return -1;
    }
    for (int i = 0; i < INDEXES; i++) {
        snprintf(what, sizeof what, "not in the index that finds %s", index_use[i]);
        if (say_fault(c, &f->index[i], what, e) < 0)
            return -1;
    }
    if (f->unordered == 0)
        return 0;
    return report(c, &(struct check_finding){.kind = "clock"}, e,
                  "recorded times are out of order at position %lld: times in --from and --to may "
                  "lead astray",
                  (long long)f->unordered);
}

static int check_events(struct check *c, struct err *e)
{
    struct faults f = {0};
    int got = read_events(c, &f, e);
    struct err later = ERR_NONE;

    /* Report what was found before the read failed, too. */
    if (say_faults(c, &f, &later) == 0)
        return got;
    *e = later;
    return -1;
}

/* ----------------------------------------------------------------------------- the other tables */

/* Find rows that no command would write. Each selects the name of a group, or null, and what is
   wrong. */
#define NAME "(SELECT name FROM groups g WHERE g.grp=t.grp)"
#define OF_NO_GROUP(table)                                                                         \
    "SELECT NULL,count(*)||' row(s) of table \"" table "\" are of no group' FROM " table           \
    " WHERE grp NOT IN (SELECT grp FROM groups) HAVING count(*)>0"

static const struct sql strange[] = {
    {"check_event",
     "SELECT NULL,'an event is at position '||seq||', where none can be' FROM event WHERE seq<1 "
     "OR seq>4611686018427387904"},
    {"check_groups",
     "SELECT name,'its row in table \"groups\" has a value that no command writes' FROM groups "
     "WHERE "
     "name='' OR instr(CAST(name AS BLOB),x'00') OR ordered NOT IN (0,1,2) OR paused NOT IN (0,1) "
     "OR "
     "rev<0 OR NOT json_valid(patterns) OR json_type(patterns)<>'array'"},
    {"check_cursor_of_no_group", OF_NO_GROUP("cursor")},
    {"check_consumer_of_no_group", OF_NO_GROUP("consumer")},
    {"check_claim_of_no_group", OF_NO_GROUP("claim")},
    {"check_item_of_no_group", OF_NO_GROUP("item")},
    {"check_attempt_of_no_group", OF_NO_GROUP("attempt")},
    {"check_tally_of_no_group", OF_NO_GROUP("tally")},
    {"check_duration_of_no_group", OF_NO_GROUP("duration")},
    {"check_consumer",
     "SELECT " NAME
     ",'a row of table \"consumer\" names no process' FROM consumer t WHERE owner<=0 OR "
     "owner%2=0 OR pid<=0"},
    {"check_claim_of_no_consumer",
     "SELECT " NAME
     ",'claim '||claim||' is of a consumer that is not there: nobody takes its events "
     "over; move the group with spool group seek' FROM claim t WHERE lease IS NULL AND NOT "
     "EXISTS(SELECT 1 FROM consumer c WHERE c.owner=t.owner AND c.grp=t.grp)"},
    {"check_claim",
     "SELECT " NAME
     ",'claim '||claim||' has a lease that no command writes' FROM claim t WHERE lease IS "
     "NOT NULL AND (owner%2<>0 OR term IS NULL OR term<=0 OR boot IS NULL)"},
    {"check_item",
     "SELECT " NAME
     ",'table \"item\" has a value for position '||seq||' that no command writes' FROM "
     "item t WHERE state NOT BETWEEN 0 AND 3 OR attempts<0 OR deaths<0 OR seq<1 OR seq>(SELECT "
     "max(seq) FROM event)"},
    {"check_segment",
     "SELECT NULL,'table \"segment\" has another time for position '||seq||' than its event' FROM "
     "segment t WHERE seq<1 OR seq>(SELECT max(seq) FROM event) OR recorded<>(SELECT recorded FROM "
     "event e WHERE e.seq=t.seq)"},
    {"check_tally", "SELECT " NAME ",'table \"tally\" counts less than nothing' FROM tally t WHERE "
                    "min(done,retried,dead,deferred,took)<0"},
    {"check_duration",
     "SELECT " NAME
     ",'table \"duration\" counts less than nothing' FROM duration t WHERE min(le,n)<0"},
    {"check_document",
     "SELECT NULL,'the document '||kind||' \"'||name||'\" is none that a command writes' FROM "
     "document WHERE rev<1 OR (kind IN ('breaker','bucket','fsm','key','saga','snapshot') AND NOT "
     "json_valid(CAST(value AS TEXT)))"},
    {"check_meta",
     "SELECT NULL,'table \"meta\" has a value for \"'||key||'\" that no command writes' FROM meta "
     "WHERE "
     "CASE key WHEN 'lock' THEN length(value)<34 OR substr(value,1,33) GLOB "
     "'*[^0-9a-f]*[^0-9a-f]*' "
     "WHEN 'sums' THEN value GLOB '*[^0-9]*' OR CAST(value AS INTEGER)>(SELECT max(seq) FROM "
     "event) "
     "ELSE true END"},
};

static int check_strange(struct check *c, const struct sql *sql, struct err *e)
{
    struct query *q = db_query(c->s->db, e, sql, "");
    struct buf group = BUF_INIT;
    int got = -1;

    for (int n = 0; q != NULL && n < NAMED_MAX && (got = db_row(c->s->db, q, e)) > 0; n++) {
        struct str name = db_text(q, 0), text = db_text(q, 1);
        buf_reset(&group);
        buf_str(&group, name);
        got = report(c,
                     &(struct check_finding){.kind = "damage",
                                             .group = name.p == NULL ? NULL : buf_text(&group),
                                             .value = 1},
                     e, "%.*s", (int)text.n, text.p);
        if (got < 0)
            break;
    }
    db_done(q);
    buf_free(&group);
    return got < 0 ? -1 : 0;
}

/* The events in claims, to find those of the table "item" that are in none. */
struct held_list {
    struct held_place {
        int64_t grp, seq;
    } * place;
    size_t n, room;
};

static int place_compare(const void *a, const void *b)
{
    const struct held_place *x = a, *y = b;
    return x->grp != y->grp ? (x->grp > y->grp) - (x->grp < y->grp)
                            : (x->seq > y->seq) - (x->seq < y->seq);
}

static int check_in_flight(struct check *c, const struct held_list *all, struct err *e)
{
    struct query *q =
        db_query(c->s->db, e,
                 SQL("check_in_flight", "SELECT grp,seq FROM item WHERE state=1 LIMIT 10000"), "");
    int got = -1;

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0) {
        const struct held_place p = {db_i64(q, 0), db_i64(q, 1)};
        if (all->n > 0 && bsearch(&p, all->place, all->n, sizeof p, place_compare) != NULL)
            continue;
        got =
            report(c, &(struct check_finding){.kind = "damage", .value = 1}, e,
                   "position %lld is in flight, and in no claim (table \"item\"): nobody takes it "
                   "over; move its group with spool group seek",
                   (long long)p.seq);
        if (got < 0)
            break;
    }
    db_done(q);
    return got;
}

/* Add a claim's events to the list. False when the claim has positions that no command writes. */
static bool add_open(struct held_list *all, struct query *q, int64_t last)
{
    int64_t grp = db_i64(q, 3), *open;
    size_t n = open_decode(db_text(q, 2), &open);
    bool right = n > 0 && open[0] == db_i64(q, 1) && open[0] > 0 && open[n - 1] <= last;

    if (all->n + n > all->room) {
        all->room = 2 * all->room + n;
        all->place = mem_grow(all->place, all->room, sizeof *all->place);
    }
    for (size_t i = 0; i < n; i++) {
        right &= i == 0 || open[i] > open[i - 1];
        all->place[all->n++] = (struct held_place){grp, open[i]};
    }
    free(open);
    return right;
}

static int check_claims(struct check *c, struct err *e)
{
    struct held_list all = {NULL, 0, 0};
    int64_t last = 0;
    int got = log_last(c->s, &last, e);
    struct query *q =
        got < 0 ? NULL
                : db_query(c->s->db, e,
                           SQL("check_claims", "SELECT claim,first,open,grp FROM claim"), "");

    while (q != NULL && (got = db_row(c->s->db, q, e)) > 0) {
        if (add_open(&all, q, last))
            continue;
        got = report(c, &(struct check_finding){.kind = "damage", .value = 1}, e,
                     "claim %lld has positions that no command writes", (long long)db_i64(q, 0));
        if (got < 0)
            break;
    }
    db_done(q);
    if (all.n > 0)
        qsort(all.place, all.n, sizeof *all.place, place_compare);
    got = q == NULL || got < 0 ? -1 : check_in_flight(c, &all, e);
    free(all.place);
    return got;
}

/* In one transaction, or a claim and its consumer would be read at different moments. */
static int check_rows(struct check *c, struct err *e)
{
    if (db_begin_read(c->s->db, e) < 0)
        return -1;
    int got = check_claims(c, e);
    for (size_t i = 0; i < sizeof strange / sizeof strange[0] && got >= 0; i++)
        got = check_strange(c, &strange[i], e);
    db_rollback(c->s->db);
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
        report(c,
               &(struct check_finding){
                   .kind = "clock", .value = ahead / 1000, .limit = CLOCK_STEP_MS / 1000},
               e, "recorded times up to position %lld are in the future, by %s", (long long)last,
               duration_age(age, ahead)) < 0)
        return -1;
    int64_t back = c->now + ahead - recorded;
    if (seq == INT64_MAX || recorded < c->now - DAY_MS || back <= 0)
        return 0;
    return report(c,
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
        got =
            report(c, &(struct check_finding){.kind = "wal", .value = st.st_size, .limit = WAL_MAX},
                   e, "SPOOL-wal has %lld MiB: %s%s", (long long)st.st_size >> 20,
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
    return report(c,
                  &(struct check_finding){
                      .kind = "space", .value = (int64_t)left, .limit = (int64_t)(4 * reserve)},
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
    return report(
        c, &(struct check_finding){"idle", name, (c->now - seen) / 1000, IDLE_MS / 1000, NULL}, e,
        "no consumer for %s, and %lld event%s yet to settle", duration_age(age, c->now - seen),
        (long long)lag, plural(lag));
}

static int check_limits(struct check *c, const char *name, const struct group_left *left,
                        int64_t lag, struct err *e)
{
    int64_t age = left->oldest_ms == 0 ? 0 : c->now - left->oldest_ms;
    const struct check_terms *max = c->terms;
    char text[DURATION_TEXT_SIZE];

    if (max->max_dead >= 0 && left->dead > max->max_dead &&
        report(c, &(struct check_finding){"dead", name, left->dead, max->max_dead, NULL}, e,
               "%lld dead letter%s", (long long)left->dead, plural(left->dead)) < 0)
        return -1;
    if (max->max_lag >= 0 && lag > max->max_lag &&
        report(c, &(struct check_finding){"lag", name, lag, max->max_lag, NULL}, e,
               "%lld event%s yet to settle", (long long)lag, plural(lag)) < 0)
        return -1;
    if (max->max_age_ms < 0 || age <= max->max_age_ms)
        return 0;
    return report(c, &(struct check_finding){"age", name, age / 1000, max->max_age_ms / 1000, NULL},
                  e, "its oldest event yet to settle has waited for %s",
                  duration_format(text, age));
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
        return report(c, &(struct check_finding){"damage", name, 1, 0, NULL}, e, "%s", told.text);
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

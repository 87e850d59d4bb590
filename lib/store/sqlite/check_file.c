/*
 * What store_check finds in a file, or beside it.
 *
 * SQLite's quick_check reads the structure of all pages in one pass. The full integrity_check would
 * also look up each row in each index, all in one transaction, which would block checkpoints for
 * minutes on a large file.
 */
#include "store/sql/check.h"
#include "store/sqlite/sqlite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAL_MAX (64 << 20) /* the largest single commit, publish --atomic's, explains this */

const struct sql check_meta = {
    "check_meta",
    "SELECT NULL,'table \"meta\" has a value for \"'||key||'\" that no command writes' FROM meta "
    "WHERE "
    "CASE key WHEN 'lock' THEN length(value)<34 OR substr(value,1,33) GLOB "
    "'*[^0-9a-f]*[^0-9a-f]*' "
    "WHEN 'sums' THEN value GLOB '*[^0-9]*' OR CAST(value AS INTEGER)>(SELECT max(seq) FROM "
    "event) WHEN 'copy' THEN false "
    "ELSE true END"};

int check_structure(struct check *c, struct err *e)
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

int check_engine(struct check *c, struct err *e)
{
    return check_wal(c, e) < 0 ? -1 : check_space(c, e);
}

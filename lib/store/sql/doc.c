/*
 * Documents: one value for each name, changed by compare-and-set; and marks, which show whether a
 * process named in a document is alive.
 */
#include "store/doc.h"
#include "store/sql/sql.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SWEEP 10 /* how many expired documents each change deletes */

/* Fail: a caller that retries compare-and-set on an impossible revision would never end. */
static int damaged(struct store *s, const char *kind, const char *name, struct err *e)
{
    return err_set(e, EX_IOERR, "%s: damaged: its document \"%s\" %s: see spool check", s->name,
                   kind, err_quote_text(name).text);
}

int doc_get(struct store *s, const char *kind, const char *name, struct doc *out, struct err *e)
{
    struct query *q = db_query(
        s->db, e,
        SQL("doc_get", "SELECT rev,value,expires FROM document WHERE kind=? AND name=? AND "
                       "(expires IS NULL OR expires>?)"),
        "tti", kind, name, clock_now_ms());
    int got = q == NULL ? -1 : db_row(s->db, q, e);

    *out = (struct doc){.name = name};
    if (got <= 0)
        return got;
    out->rev = db_i64(q, 0);
    if (out->rev <= 0 || db_kind(q, 1) != DB_BYTES) {
        db_done(q);
        return damaged(s, kind, name, e);
    }
    out->expires_ms = db_i64(q, 2);
    buf_reset(&s->stored);
    buf_str(&s->stored, db_text(q, 1));
    out->value = (struct str){s->stored.p == NULL ? "" : s->stored.p, s->stored.n};
    db_done(q);
    return 1;
}

/* Returns the number of rows changed; 0 when the document is at another revision. */
static int doc_change(struct store *s, const struct doc_put *put, struct err *e)
{
    int64_t rev = put->rev == 0 ? (int64_t)(clock_random() >> 8) + 1 : put->rev + 1;

    if (put->value.p == NULL && put->rev == 0)
        return 1;
    if (put->value.p == NULL)
        return db_run(s->db, e,
                      SQL("doc_change_delete_document",
                          "DELETE FROM document WHERE kind=? AND name=? AND rev=?"),
                      "tti", put->kind, put->name, put->rev);
    if (put->rev == 0)
        return db_run(s->db, e,
                      SQL("doc_change_insert_document",
                          "INSERT INTO document(kind,name,rev,expires,value) "
                          "VALUES(?1,?2,?3,nullif(?4,0),?5) ON CONFLICT(kind,name) DO UPDATE SET "
                          "rev=?3,expires=nullif(?4,0),value=?5 WHERE document.expires<=?6"),
                      "ttiibi", put->kind, put->name, rev, put->expires_ms, put->value,
                      clock_now_ms());
    return db_run(
        s->db, e,
        SQL("doc_change_update_document",
            "UPDATE document SET rev=?,expires=nullif(?,0),value=? WHERE kind=? AND name=? "
            "AND rev=?"),
        "iibtti", rev, put->expires_ms, put->value, put->kind, put->name, put->rev);
}

static int sweep(struct store *s, struct err *e)
{
    int64_t now = clock_now_ms(), oldest;
    /* Mostly there is nothing to delete, and the statement below takes three times as long to
       prepare as this one. */
    int got = db_int(s->db, e, &oldest,
                     SQL("doc_expired", "SELECT expires FROM document WHERE expires<=? LIMIT 1"),
                     "i", now);

    if (got <= 0)
        return got;
    return db_run(
        s->db, e,
        SQL("doc_sweep",
            "DELETE FROM document WHERE (kind,name) IN (SELECT kind,name FROM document WHERE "
            "expires<=? ORDER BY expires LIMIT ?)"),
        "ii", now, (int64_t)SWEEP);
}

int txn_doc_put(struct txn *t, const struct doc_put *put, struct err *e)
{
    struct err damaged = ERR_NONE;
    int got = doc_change(t->s, put, e);

    if (got > 0 && !t->swept && sweep(t->s, e) < 0)
        return -1;
    t->swept |= got > 0;
    t->wake |= got > 0 && put->wake;
    if (got <= 0 || put->event == NULL)
        return got;
    bool caused =
        put->cause.p != NULL && event_read(&t->s->seen, &t->s->scan, put->cause, &damaged) == 0;
    return sys_put(t, put->event, put->name, caused ? &t->s->seen : NULL,
                   json_loadb(put->data.p, put->data.n, 0, NULL), e) < 0
               ? -1
               : 1;
}

int doc_put(struct store *s, const struct doc_put *put, struct err *e)
{
    enum txn_kind kind = put->event != NULL ? TXN_APPEND : put->durable ? TXN_LASTING : TXN_GRANT;
    struct txn *t;

    if (txn_begin(s, kind, NULL, &t, e) < 0)
        return -1;
    int got = txn_doc_put(t, put, e);
    if (got <= 0) {
        txn_rollback(t);
        return got;
    }
    return txn_commit(t, e) < 0 ? -1 : 1;
}

/* Deletes any revision, even a damaged document: it is the way to get rid of one. */
int txn_doc_forget(struct txn *t, const char *kind, const char *name, struct err *e)
{
    int got = db_run(t->s->db, e, SQL("doc_forget", "DELETE FROM document WHERE kind=? AND name=?"),
                     "tt", kind, name);

    return got < 0 ? -1 : got > 0;
}

int doc_forget(struct store *s, const char *kind, const char *name, struct err *e)
{
    struct txn *t;

    if (txn_begin(s, TXN_LASTING, NULL, &t, e) < 0)
        return -1;
    int got = txn_doc_forget(t, kind, name, e);
    if (got < 0)
        txn_rollback(t);
    else if (txn_commit(t, e) < 0)
        got = -1;
    return got;
}

int doc_each(struct store *s, const char *kind,
             int (*f)(const struct doc *doc, void *arg, struct err *e), void *arg, struct err *e)
{
    struct buf names = BUF_INIT;
    struct doc doc;
    int got = -1;

    struct query *q =
        db_query(s->db, e, SQL("doc_each", "SELECT name FROM document WHERE kind=? ORDER BY name"),
                 "t", kind);
    while (q != NULL && (got = db_row(s->db, q, e)) > 0) {
        buf_str(&names, db_text(q, 0));
        buf_char(&names, '\0');
    }
    for (size_t at = 0; at < names.n && got == 0; at += strlen(names.p + at) + 1)
        if ((got = doc_get(s, kind, names.p + at, &doc, e)) > 0)
            got = f(&doc, arg, e);
    buf_free(&names);
    return got < 0 ? -1 : 0;
}

/* --------------------------------------------------------------------------------------- marks */

/* "OWNER PID STARTED BOOT": a session as text. owner is 0 when the text is none. */
static struct session mark_read(const char *mark)
{
    struct session of = {0};

    if (sscanf(mark, "%" SCNd64 " %" SCNd64 " %" SCNd64 " %39s", &of.owner, &of.pid, &of.started,
               of.boot) < 3)
        of.owner = 0;
    return of;
}

int mark_take(struct store *s, char mark[MARK_SIZE], struct err *e)
{
    struct session self;

    session_self(s->db, &self);
    if (session_open(s->db, e) < 0 || (self.owner = session_take(s->db, e)) < 0)
        return -1;
    snprintf(mark, MARK_SIZE, "%" PRId64 " %" PRId64 " %" PRId64 " %.39s", self.owner, self.pid,
             self.started, self.boot);
    return 0;
}

void mark_drop(struct store *s, const char *mark)
{
    struct session of = mark_read(mark);

    if (of.owner != 0)
        session_drop(s->db, of.owner);
}

bool mark_lives(struct store *s, const char *mark)
{
    struct session of = mark_read(mark);
    struct err ignored = ERR_NONE;

    if (of.owner == 0)
        return false;
    if (session_open(s->db, &ignored) < 0)
        return true; /* while we cannot tell, nothing may be taken from that process */
    return session_lives(s->db, &of, session_trusted(s->db, &ignored));
}

int64_t mark_pid(const char *mark)
{
    struct session of = mark_read(mark);

    return of.owner == 0 ? 0 : of.pid;
}

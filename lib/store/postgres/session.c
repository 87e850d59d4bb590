/*
 * Who lives, who has which place, and the bell.
 *
 * A session holds an advisory lock of the whole database, whose key is its owner's number, until
 * its connection ends. All locks are gone once the server has been started again: so each session
 * is written down with the time when its server was started, and one of another life is over.
 *
 * Places are advisory locks of the spool: 2*place, and for its tail 2*place + 1, the latter held by
 * a second connection, whose socket handlers inherit: the server frees the lock when the last copy
 * of it is closed.
 */
#include "store/postgres/postgres.h"

#include "base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLOCK_EACH_MS 60000 /* between two looks at the server's clock */

int session_open(struct db *db, struct err *e)
{
    return db->lost ? db_fail_lost(db, e) : 0;
}

int session_trusted(struct db *db, struct err *e)
{
    return db->lost ? db_fail_lost(db, e) : 1;
}

int session_adopt(struct db *db, struct err *e)
{
    (void)db;
    (void)e;
    return 0;
}

/* Only the server's answer counts: a number of which it said nothing is not taken. */
int64_t session_take(struct db *db, struct err *e)
{
    if (*db->settings != '\0')
        return err_set(e, EX_UNAVAILABLE,
                       "%s: a pooler stands between us and the server, and may give each "
                       "transaction another session, but by its session the server knows who "
                       "handles events: name the server itself",
                       db->at.shown);
    for (;;) {
        int64_t owner = (int64_t)(clock_random() >> 2) | 1, taken = 0;
        if (db_int(db, e, &taken, SQL("session_take", "SELECT pg_try_advisory_lock(?)"), "i",
                   owner) < 0)
            return -1;
        if (taken)
            return owner;
    }
}

void session_drop(struct db *db, int64_t owner)
{
    struct err ignored = ERR_NONE;
    int64_t was;

    db_int(db, &ignored, &was, SQL("session_drop", "SELECT pg_advisory_unlock(?)"), "i", owner);
}

/* 1; 0: refused; -1: the server is another one than ours, or said nothing. */
static int granted_twice(struct db *db, int64_t owner, struct err *e)
{
    struct db other = {.at = db->at,
                       .host = db->host,
                       .stopping = db->stopping,
                       /* or a role's own could end what follows */
                       .begin = {"BEGIN", "SET LOCAL statement_timeout=0"}};
    char number[24];
    const char *const values[] = {number};
    PGresult *rows = NULL;
    int granted = -1;

    snprintf(number, sizeof number, "%lld", (long long)owner);
    if (db_connect(&other, &other.conn, e) == 0)
        rows = db_ask(&other, "SELECT pg_try_advisory_xact_lock(CAST($1 AS bigint))," SERVER_LIFE,
                      values, 1, e);
    if (rows != NULL && db_same_life(db, rows, 1))
        granted = db_number(rows, 0, 0) != 0;
    PQclear(rows);
    PQfinish(other.conn);
    free(other.sent);
    return granted;
}

int session_test(struct db *db, struct err *e)
{
    int64_t owner = *db->settings == '\0' ? session_take(db, e) : 0;

    if (owner <= 0)
        return (int)owner;
    int granted = granted_twice(db, owner, e);
    session_drop(db, owner);
    return granted <= 0
               ? (e->status == 0 ? 0 : -1)
               : err_set(e, EX_UNAVAILABLE,
                         "%s: the server has given two sessions the same lock, and a spool "
                         "depends on its locks: it needs PostgreSQL itself",
                         db->at.shown);
}

void session_self(struct db *db, struct session *out)
{
    *out = (struct session){.pid = getpid()};
    snprintf(out->boot, sizeof out->boot, "%s", db->life);
}

/* Shared, so that two who ask do not see each other; and until the end of the statement, or of the
   transaction around it. A server that does not answer says nothing about others: they live. */
bool session_lives(struct db *db, const struct session *of, int trusted)
{
    struct err ignored = ERR_NONE;
    int64_t is_free = 0;

    (void)trusted;
    if (strcmp(of->boot, db->life) != 0)
        return false;
    if (db_int(db, &ignored, &is_free,
               SQL("session_lives", "SELECT pg_try_advisory_xact_lock_shared(?)"), "i",
               of->owner) < 0)
        return true;
    return !is_free;
}

bool session_blameless(struct db *db, const struct session *of)
{
    return strcmp(of->boot, db->life) != 0;
}

bool session_hidden(struct db *db, const struct session *of)
{
    (void)db;
    (void)of;
    return false;
}

void lease_now(struct db *db, struct lease_clock *out)
{
    (void)db;
    *out = (struct lease_clock){.ms = clock_now_ms()}; /* the server's: see follow_clock */
}

/* --------------------------------------------------------------------------------------- places */

int place_take(struct db *db, int64_t place, struct err *e)
{
    int64_t taken = 0;
    int got =
        db_int(db, e, &taken,
               SQL("place_take", "SELECT pg_try_advisory_lock(CAST(? AS int),CAST(? AS int))"),
               "ii", (int64_t)db->space, 2 * place);

    return got < 0 ? -1 : taken != 0;
}

void place_drop(struct db *db, int64_t place)
{
    struct err ignored = ERR_NONE;
    int64_t was;

    db_int(db, &ignored, &was,
           SQL("place_drop", "SELECT pg_advisory_unlock(CAST(? AS int),CAST(? AS int))"), "ii",
           (int64_t)db->space, 2 * place);
}

/* The answer to this query on the second connection. NULL: both connections are one matter, and
   when that one is lost, the other is, too. */
static PGresult *ask_tail(struct db *db, const char *sql, struct err *e)
{
    PGconn *main = db->conn;
    int unread = db->unread;

    db->conn = db->tail;
    db->unread = 0;
    PGresult *rows = db_ask(db, sql, NULL, 0, e);
    db->conn = main;
    db->unread = unread;
    return rows;
}

/* It may have come to another server, when one has taken the place of ours meanwhile. */
int place_tail_open(struct db *db, struct err *e)
{
    if (db->tail == NULL && db_connect(db, &db->tail, e) < 0)
        return db_lose(db), -1;
    PGresult *rows = ask_tail(db, "SELECT " SERVER_LIFE "," DB_SETTINGS("false"), e);
    bool answers = rows != NULL, same = answers && db_same_life(db, rows, 0);
    PQclear(rows);
    if (!same) {
        PQfinish(db->tail);
        db->tail = NULL;
        db_lose(db);
        return answers ? db_fail_lost(db, e) : -1;
    }
    int fd = fcntl(PQsocket(db->tail), F_DUPFD_CLOEXEC, 3);
    return fd < 0 ? err_errno(e, EX_OSERR, "cannot copy a descriptor") : fd;
}

/* 1, 0, -1 */
static int call_tail(struct db *db, const char *how, int64_t place, struct err *e)
{
    char sql[100];

    snprintf(sql, sizeof sql, "SELECT %s(%d,%lld)", how, (int)db->space, 2 * (long long)place + 1);
    PGresult *rows = ask_tail(db, sql, e);
    int did = rows == NULL ? -1 : db_number(rows, 0, 0) != 0;
    PQclear(rows);
    return did;
}

int place_tail_take(struct db *db, int fd, int64_t place, struct err *e)
{
    (void)fd;
    return call_tail(db, "pg_try_advisory_lock", place, e);
}

void place_tail_drop(struct db *db, int fd, int64_t place)
{
    struct err ignored = ERR_NONE;

    (void)fd;
    if (!db->lost) /* then its end frees it, too; and the server may be silent */
        call_tail(db, "pg_advisory_unlock", place, &ignored);
}

/* --------------------------------------------------------------------------------------- waking */

/* Never inside a transaction: there a notification keeps everybody's commits in order, from before
   the flush to after it. */
void db_ring(struct db *db)
{
    db_cast(db, db->ring);
}

/* The connection itself: the server's notifications come through it. */
int db_bell(struct db *db)
{
    struct err ignored = ERR_NONE;

    if (*db->settings != '\0') /* nobody would tell us */
        return -1;
    if (!db->listening && !db->lost)
        db->listening = db_exec(db, db->listen, &ignored) == 0;
    return db->lost ? -1 : PQsocket(db->conn);
}

/* No two clocks run alike. */
static void follow_clock(struct db *db)
{
    struct err ignored = ERR_NONE;
    int64_t now_us = 0;

    if (clock_mono_ms() < db->asked_ms + CLOCK_EACH_MS)
        return;
    if (db_int(db, &ignored, &now_us,
               SQL("clock", "SELECT CAST(extract(epoch FROM clock_timestamp())*1000000 AS bigint)"),
               "") > 0)
        clock_follow(now_us);
    db->asked_ms = clock_mono_ms();
}

void db_bell_clear(struct db *db)
{
    PGnotify *n;

    if (db->lost)
        return;
    follow_clock(db);
    db_read_answers(db);
    while ((n = PQnotifies(db->conn)) != NULL)
        PQfreemem(n);
}

int db_line(struct db *db)
{
    return db->lost ? -1 : PQsocket(db->conn);
}

int db_there(struct db *db, struct err *e)
{
    db_bell_clear(db);
    return db->lost ? db_fail_lost(db, e) : 0;
}

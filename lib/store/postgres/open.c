/*
 * Opening a spool on a server: connect, set what we depend on, and see whether the spool is there.
 *
 * A role's or a database's settings may be anything, so all that matters is set here, by a
 * statement and not in the start-up packet, which poolers refuse. A spool is created in one
 * transaction, under a lock: nobody ever sees half of one.
 */
#include "store/postgres/postgres.h"

#include "base/clock.h"
#include "base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OLDEST 130000                     /* PostgreSQL 13: pg_current_snapshot */
#define EPOCH_US INT64_C(946684800000000) /* 2000, the server's first microsecond */

extern const char schema_postgres_sql[]; /* share/schema_postgres.sql */

/* Through a pooler the settings must not outlive the transaction: its sessions are others', too. */
#define SETTINGS(schema, is_local)                                                                 \
    "set_config('search_path',quote_ident(" schema ")," is_local ")," DB_SETTINGS(is_local)

/* Times are microseconds since 2000 on the wire. To make numbers of them in SQL would cost a new
   session more than all the rest. */
static const char hello[] =
    "SELECT to_regnamespace(quote_ident($1)),to_regclass(quote_ident($1)||'.meta'),"
    "pg_is_in_recovery(),pg_backend_pid(),current_setting('server_encoding'),"
    "current_setting('synchronous_commit')," SERVER_LIFE
    ",clock_timestamp(),version()," SETTINGS("$1", "pg_backend_pid()<>CAST($2 AS int)");

static const char version[] = "SELECT value FROM meta WHERE key='schema'";

static const char settings[] = "SELECT " SETTINGS("'%s'", "true");

enum hello { SPACE, META, STANDBY, BACKEND, ENCODING, FLUSH, LIFE, CLOCK, WORDS };

/* The server's last words come before its locks are free, and before the end of the connection. */
static void hear(void *db, const PGresult *notice)
{
    if (db_last_words(notice))
        db_lose(db);
}

static int64_t number(const PGresult *rows, enum hello column)
{
    return db_number(rows, 0, column);
}

/* Can this server keep a spool? 69 says why not. */
static int check_server(struct db *db, const PGresult *rows, struct err *e)
{
    const char *name = db->at.shown;

    if (strncmp(PQgetvalue(rows, 0, WORDS), "PostgreSQL ", 11) != 0)
        return err_set(e, EX_UNAVAILABLE,
                       "%s: not PostgreSQL, whose locks a spool depends on, but %.40s", name,
                       PQgetvalue(rows, 0, WORDS));
    if (PQserverVersion(db->conn) < OLDEST)
        return err_set(e, EX_UNAVAILABLE, "%s: PostgreSQL %d is too old: 13 or newer", name,
                       PQserverVersion(db->conn) / 10000);
    if (strcmp(PQgetvalue(rows, 0, ENCODING), "UTF8") != 0)
        return err_set(e, EX_UNAVAILABLE, "%s: the database's encoding is %s: create one with UTF8",
                       name, PQgetvalue(rows, 0, ENCODING));
    if (db->mode != STORE_READ && number(rows, STANDBY) != 0)
        return err_set(e, EX_UNAVAILABLE,
                       "%s: this server is a standby, which only reads: name its primary, or give "
                       "several hosts and target_session_attrs=read-write",
                       name);
    return 0;
}

static void note_server(struct db *db, const PGresult *rows)
{
    db->space = (int32_t)number(rows, SPACE);
    clock_follow(number(rows, CLOCK) + EPOCH_US);
    db->asked_ms = clock_mono_ms();
    snprintf(db->life, sizeof db->life, "%lld", (long long)(number(rows, LIFE) + EPOCH_US));
    snprintf(db->flush, sizeof db->flush, "SET LOCAL synchronous_commit=%s",
             strcmp(PQgetvalue(rows, 0, FLUSH), "remote_apply") == 0 ? "remote_apply" : "on");
    snprintf(db->lock, sizeof db->lock, "SELECT pg_advisory_xact_lock(%d,0)", (int)db->space);
    if (number(rows, BACKEND) != PQbackendPID(db->conn))
        snprintf(db->settings, sizeof db->settings, settings, db->at.schema);
    snprintf(db->ring, sizeof db->ring, "NOTIFY \"%s\"", db->at.schema);
    snprintf(db->listen, sizeof db->listen, "LISTEN \"%s\"", db->at.schema);
}

bool db_same_life(const struct db *db, const PGresult *rows, int column)
{
    return db_number(rows, 0, column) + EPOCH_US == strtoll(db->life, NULL, 10);
}

static int check_version(struct db *db, const PGresult *rows, struct err *e)
{
    int64_t schema = PQntuples(rows) > 0 ? strtoll(PQgetvalue(rows, 0, 0), NULL, 10) : 0;

    if (schema < 1)
        return err_set(e, EX_DATAERR, "%s: not an eventutils spool", db->at.shown);
    if (schema > DB_SCHEMA)
        return err_set(e, EX_DATAERR,
                       "%s: has schema %lld, this program knows %d: install a newer eventutils",
                       db->at.shown, (long long)schema, DB_SCHEMA);
    return 0;
}

/* Set what we depend on, and learn what server this is. */
static int say_hello(struct db *db, PGresult **rows, struct err *e)
{
    char backend[16];
    const char *const values[] = {db->at.schema, backend};

    db->begin[0] = "BEGIN";
    db->begin[1] = "SET LOCAL statement_timeout=0"; /* or a role's own could end what follows */
    db->begin[2] = NULL;
    snprintf(backend, sizeof backend, "%d", PQbackendPID(db->conn));
    return db_ask_later(db, hello, values, 2, rows, e);
}

/* 1 when the spool is there, 0, -1. If it is not, our settings are not there either: what looks for
   it ends the transaction. */
static int find_spool(struct db *db, struct err *e)
{
    PGresult *said = NULL, *versions = NULL;
    int got = -1;

    if (say_hello(db, &said, e) == 0)
        versions = db_ask(db, version, NULL, 0, e);
    db_cast(db, "END");
    db->in = false;
    if (said != NULL && !db->lost) {
        bool there = !PQgetisnull(said, 0, META);
        if (!there)
            err_clear(e);
        if (e->status == 0 && check_server(db, said, e) == 0 &&
            (!there || check_version(db, versions, e) == 0))
            got = there;
        note_server(db, said);
    }
    PQclear(said);
    PQclear(versions);
    return got;
}

static int create_tables(struct db *db, struct err *e)
{
    char sql[120];
    int got;

    snprintf(sql, sizeof sql, "CREATE SCHEMA IF NOT EXISTS \"%s\"", db->at.schema);
    got = db_push(db, sql, e);
    for (const char *at = schema_postgres_sql, *end; got == 0 && (end = strchr(at, ';')) != NULL;
         at = end + 1) {
        char *one = mem_dup(at, (size_t)(end - at));
        got = db_push(db, one, e);
        free(one);
    }
    return got < 0 ? -1 : db_finish(db, e);
}

/* Create the spool, unless another process was faster. 1: this one did; 0; -1. */
static int create_spool(struct db *db, struct err *e)
{
    const char *const values[] = {db->at.schema};
    PGresult *rows = NULL;
    int made = -1, got = say_hello(db, &rows, e);

    if (got == 0)
        got = db_exec(db, "END", e);
    PQclear(rows);
    if (got < 0)
        return -1;
    db->in = false;
    if (session_test(db, e) < 0)
        return err_at(e, "cannot create the spool: ");
    db->begin[0] = "BEGIN";
    db->begin[1] = NULL;
    rows = db_ask(db, "SELECT pg_advisory_xact_lock(hashtext($1),1702262132)", values, 1, e);
    PQclear(rows);
    /* Not to_regclass, which may still know that there was none before the lock. */
    if (rows != NULL)
        rows = db_ask(db,
                      "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid=c.relnamespace WHERE "
                      "n.nspname=$1 AND c.relname='meta'",
                      values, 1, e);
    if (rows != NULL) {
        made = PQntuples(rows) == 0;
        PQclear(rows);
    }
    if (made > 0 && create_tables(db, e) < 0)
        made = -1;
    if (made > 0 && db_commit(db, false, e) < 0)
        return err_at(e, "cannot create the spool: ");
    if (made <= 0)
        db_rollback(db);
    if (made < 0)
        return err_at(e, "cannot create the spool: ");
    return find_spool(db, e) < 0 ? -1 : made;
}

static int reach_spool(struct db *db, const char *name, struct err *e)
{
    int there, created = 0;

    if (address_read(&db->at, name, e) < 0 || db_connect(db, &db->conn, e) < 0)
        return -1;
    PQsetNoticeReceiver(db->conn, hear, db);
    if ((there = find_spool(db, e)) < 0)
        return -1;
    if (there == 0 && db->mode != STORE_CREATE)
        return err_set(
            e, EX_NOINPUT,
            "%s: there is no spool; publish creates one, -s or EVENT_SPOOL names another",
            db->at.shown);
    if (there == 0 && (created = create_spool(db, e)) < 0)
        return -1;
    return created;
}

int db_open(struct db **out, const char *name, enum store_mode mode, const struct db *lost,
            struct err *e)
{
    struct db *db = mem_zero(1, sizeof *db);

    db->mode = mode;
    db->host = lost == NULL ? 0 : lost->host + 1;
    *out = db;
    int created = reach_spool(db, name, e);
    if (created >= 0)
        return created;
    db_close(db);
    *out = NULL;
    return -1;
}

/* Handlers may have copies of the tail's socket, and keep its lock. PQfinish would tell the server
   good-bye through it, so it gets a descriptor that leads nowhere. */
static void leave_tail(struct db *db)
{
    int fd = db->tail == NULL ? -1 : open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd >= 0) {
        dup3(fd, PQsocket(db->tail), O_CLOEXEC);
        close(fd);
        PQfinish(db->tail);
    }
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    if (*db->settings != '\0') /* its session at the server ends with who leaves it unread */
        db_hear_out(db);
    db_forget_queries(db);
    leave_tail(db);
    PQfinish(db->conn);
    free(db->sent);
    address_free(&db->at);
    free(db);
}

const char *db_name(const struct db *db)
{
    return db->at.shown;
}

void db_stop(struct db *db, bool (*stopping)(void))
{
    db->stopping = stopping;
}

bool db_stopping(const struct db *db)
{
    return db->stopping != NULL && db->stopping();
}

bool db_locked(const struct db *db)
{
    return db->locked;
}

bool db_lost(const struct db *db)
{
    return db->lost;
}

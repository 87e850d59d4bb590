/*
 * Connecting, to the first of the address's hosts that will have us.
 */
#include "store/postgres/postgres.h"

#include "base/clock.h"
#include "base/mem.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 10000
#define CONNECT_EACH_MS 5000 /* of several hosts */
#define DEFAULT_PORT "5432"

struct host {
    const char *name, *address, *port; /* NULL: as the address has it */
};

/* The settings that we depend on are set once there is a connection: a pooler may refuse them
   before. */
static PGconn *start(struct db *db, const struct host *host)
{
    /* What the address says comes later, and wins; and then the host that was chosen of those that
       it has. */
    const char *const keys[] = {"fallback_application_name",
                                "tcp_user_timeout",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "dbname",
                                "host",
                                "hostaddr",
                                "port",
                                NULL};
    const char *const values[] = {"eventutils",    "3000",     "2",           "1",        "3",
                                  db->at.conninfo, host->name, host->address, host->port, NULL};
    PGconn *conn = PQconnectStartParams(keys, values, 1);

    if (conn != NULL)
        PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* see db_fail_connect */
    return conn;
}

/* 1; 0 when it was not in time; -1 when we should stop. 1 also when it failed: see PQstatus. */
static int finish_connecting(struct db *db, PGconn *conn, int64_t until_ms)
{
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    int got = 1;

    while (got > 0 && conn != NULL && PQstatus(conn) != CONNECTION_BAD &&
           step != PGRES_POLLING_OK && step != PGRES_POLLING_FAILED) {
        got = db_await_socket(db, conn, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, until_ms,
                              true);
        if (got > 0)
            step = PQconnectPoll(conn);
    }
    return got;
}

/* 1; 0 when this host will not have us, or says nothing; -1 when we should stop. */
static int connect_host(struct db *db, PGconn *conn, int64_t wait_ms, PGconn **out, struct err *e)
{
    int got = finish_connecting(db, conn, clock_mono_ms() + wait_ms);

    if (got > 0 && conn != NULL && PQstatus(conn) == CONNECTION_OK && PQenterPipelineMode(conn) &&
        PQsetnonblocking(conn, 1) == 0) {
        *out = conn;
        return 1;
    }
    err_clear(e);
    if (got < 0)
        db_fail_locked(db, e);
    else if (got == 0)
        err_set(e, EX_TEMPFAIL, "%s: the server has not answered for %lld seconds", db->at.shown,
                (long long)wait_ms / 1000);
    else
        db_fail_connect(db, conn, e);
    PQfinish(conn);
    return got < 0 ? -1 : 0;
}

/* The i-th part of a list with commas, in a block for the caller; a list of one stands for all. */
static char *part_of(const char *list, size_t i)
{
    if (list == NULL)
        return NULL;
    if (strchr(list, ',') == NULL)
        return mem_dup(list, strlen(list));
    while (i-- > 0 && *(list += strcspn(list, ",")) == ',')
        list++;
    return mem_dup(list, strcspn(list, ","));
}

/* As libpq reads it from the address, the environment and files. */
static char *option_of(PGconn *conn, const char *keyword)
{
    PQconninfoOption *options = conn == NULL ? NULL : PQconninfo(conn);
    char *value = NULL;

    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0 && o->val != NULL && *o->val != '\0')
            value = mem_dup(o->val, strlen(o->val));
    PQconninfoFree(options);
    return value;
}

static size_t parts(const char *list)
{
    size_t n = 1;

    for (; list != NULL && (list = strchr(list, ',')) != NULL; list++)
        n++;
    return n;
}

/* libpq goes on to the next host only when one has refused: one that says nothing, as a server that
   was stopped, would keep us from those behind it. So each is asked alone. */
static int connect_each(struct db *db, PGconn *first, PGconn **out, struct err *e)
{
    char *hosts = option_of(first, "host"), *addresses = option_of(first, "hostaddr"),
         *ports = option_of(first, "port");
    size_t n = parts(addresses != NULL ? addresses : hosts);
    int got = 0;

    if (n == 1) {
        got = connect_host(db, first, CONNECT_MS, out, e);
    } else {
        PQfinish(first);
        for (size_t i = 0; i < n && got == 0; i++) {
            char *name = part_of(hosts, i), *address = part_of(addresses, i),
                 *port = part_of(ports, i);
            const struct host host = {name, address,
                                      port != NULL && *port == '\0' ? DEFAULT_PORT : port};
            got = connect_host(db, start(db, &host), CONNECT_EACH_MS, out, e);
            free(name);
            free(address);
            free(port);
        }
    }
    free(hosts);
    free(addresses);
    free(ports);
    return got;
}

int db_connect(struct db *db, PGconn **out, struct err *e)
{
    struct err why = ERR_NONE;

    *out = NULL;
    if (connect_each(db, start(db, &(struct host){NULL, NULL, NULL}), out, &why) > 0)
        return 0;
    *e = why;
    return -1;
}

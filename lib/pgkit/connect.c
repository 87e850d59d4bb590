/* Connections through libpq, and waiting for them. */
#include "pgkit/pgkit.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_UP_MS 10 /* between checks whether a host name has been resolved */

/* ------------------------------------------------------------------------------------- waiting */

static bool must_stop(const struct pg_patience *p)
{
    return p->stopping != NULL && p->stopping(p->arg);
}

enum pg_wait pg_await(PGconn *conn, short events, int64_t until_ms, const struct pg_patience *p)
{
    int64_t begun = clock_mono_ms();

    for (;;) {
        int64_t now = clock_mono_ms(), left = until_ms - now;
        struct pollfd fd = {.fd = PQsocket(conn), .events = events};
        if (now - begun >= p->grace_ms && must_stop(p))
            return PG_STOPPED;
        if (left <= 0)
            return PG_SILENT;
        int got = p->poll(&fd, 1, left < p->look_ms ? left : p->look_ms);
        if (got > 0)
            return PG_READY;
        if (got < 0 && errno != EINTR)
            return PG_LOST;
    }
}

enum pg_wait pg_receive(PGconn *conn, int64_t until_ms, const struct pg_patience *p)
{
    int unsent;

    while ((unsent = PQflush(conn)) > 0 || PQisBusy(conn)) {
        enum pg_wait got =
            pg_await(conn, (short)(POLLIN | (unsent > 0 ? POLLOUT : 0)), until_ms, p);
        if (got != PG_READY)
            return got;
        if (PQconsumeInput(conn) == 0)
            return PG_LOST;
    }
    return unsent < 0 ? PG_LOST : PG_READY;
}

/* ----------------------------------------------------------------------------------- host names */

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
/* The host name that libpq would resolve; NULL for none, or several. */
static char *host_to_look_up(const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *host = getenv("PGHOST");
    bool address = getenv("PGHOSTADDR") != NULL;
    char *name;

    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (strcmp(o->keyword, "host") == 0 && o->val != NULL)
            host = o->val;
        address |= strcmp(o->keyword, "hostaddr") == 0 && o->val != NULL;
    }
    name = host == NULL || address || strchr("/@", *host) != NULL || strchr(host, ',') != NULL
               ? NULL
               : mem_dup(host, strlen(host));
    PQconninfoFree(options);
    return name;
}

static enum pg_wait look_up_host(const char *conninfo, const struct pg_patience *p)
{
    char *host = host_to_look_up(conninfo);
    struct gaicb *request = mem_zero(1, sizeof *request), *const list[] = {request};
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    int state = EAI_FAIL;

    request->ar_name = host;
    if (host != NULL)
        state = getaddrinfo_a(GAI_NOWAIT, (struct gaicb **)list, 1, &none);
    while (state == 0 && gai_error(request) == EAI_INPROGRESS && !must_stop(p))
        p->poll(NULL, 0, LOOK_UP_MS);
    bool stopped = state == 0 && gai_error(request) == EAI_INPROGRESS;
    if (stopped && gai_cancel(request) != EAI_CANCELED) /* its thread runs until we end */
        return PG_STOPPED;
    if (request->ar_result != NULL)
        freeaddrinfo(request->ar_result);
    free(request);
    free(host);
    return stopped ? PG_STOPPED : PG_READY;
}
#else
static enum pg_wait look_up_host(const char *conninfo, const struct pg_patience *p)
{
    (void)conninfo;
    (void)p;
    return PG_READY;
}
#endif

/* ----------------------------------------------------------------------------------- connecting */

#define DEFAULTS 12

/* As in libpq: in seconds, 0 for no limit. libpq's own timeout only covers connections that
   block. */
static int64_t connect_until(PGconn *conn, int64_t ms)
{
    PQconninfoOption *options = PQconninfo(conn);

    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        if (strcmp(o->keyword, "connect_timeout") == 0 && o->val != NULL && *o->val != '\0')
            ms = strtoll(o->val, NULL, 10) * 1000;
    PQconninfoFree(options);
    return ms <= 0 ? INT64_MAX : clock_mono_ms() + ms;
}

static void ignore_notice(void *arg, const PGresult *notice)
{
    (void)arg;
    (void)notice;
}

enum pg_wait pg_connect(PGconn **out, const char *conninfo, const char *const *defaults,
                        int64_t connect_ms, const struct pg_patience *p)
{
    const char *keys[DEFAULTS + 2], *values[DEFAULTS + 2];
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    enum pg_wait got = look_up_host(conninfo, p);
    size_t n = 0;

    for (; n < DEFAULTS && defaults[2 * n] != NULL; n++) {
        keys[n] = defaults[2 * n];
        values[n] = defaults[2 * n + 1];
    }
    keys[n] = "dbname"; /* a connection string, which comes later and wins */
    values[n] = conninfo;
    keys[n + 1] = values[n + 1] = NULL;
    *out = got == PG_READY ? PQconnectStartParams(keys, values, 1) : NULL;
    if (*out == NULL)
        return got == PG_READY ? PG_LOST : got;
    PQsetNoticeReceiver(*out, ignore_notice, NULL);
    PQsetErrorVerbosity(*out, PQERRORS_VERBOSE); /* see pg_state_in */
    int64_t until = connect_until(*out, connect_ms);
    while (PQstatus(*out) != CONNECTION_BAD && step != PGRES_POLLING_OK &&
           step != PGRES_POLLING_FAILED) {
        got = pg_await(*out, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, until, p);
        if (got != PG_READY)
            return got;
        step = PQconnectPoll(*out);
    }
    return PQstatus(*out) == CONNECTION_OK && PQsetnonblocking(*out, 1) == 0 ? PG_READY : PG_LOST;
}

int pg_check(const char *conninfo, const char *what, struct err *e)
{
    char *words = NULL;
    PQconninfoOption *options = PQconninfoParse(conninfo, &words);
    int got = 0;

    if (options == NULL) {
        err_set(e, EX_USAGE, "not an address of a server: %.*s",
                words == NULL ? 0 : (int)strcspn(words, "\n"), words == NULL ? "" : words);
        PQfreemem(words);
        return -1;
    }
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (o->val != NULL &&
            (strcmp(o->keyword, "password") == 0 || strcmp(o->keyword, "sslpassword") == 0))
            got = err_set(e, EX_USAGE,
                          "the address of %s has a password, which others could see: put it into "
                          "~/.pgpass, or the file that PGPASSFILE names",
                          what);
    PQconninfoFree(options);
    return got;
}

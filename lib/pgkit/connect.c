/* Connections through libpq, and waiting for them. */
#include "pgkit/pgkit.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_UP_MS 10 /* between checks whether a host name has been resolved, a child has ended */

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

/* PQcancel may be called between fork and exec. When we are killed, so is the child. */
pid_t pg_cancel_begin(PGconn *conn)
{
    PGcancel *request = PQgetCancel(conn);
    pid_t self = getpid(), child = request == NULL ? -1 : fork();
    char words[256];

    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, (unsigned long)SIGKILL, 0UL, 0UL, 0UL);
        if (getppid() == self)
            PQcancel(request, words, sizeof words);
        _exit(0);
    }
    PQfreeCancel(request);
    return child;
}

void pg_cancel_end(pid_t canceller, int64_t until_ms)
{
    if (canceller < 0)
        return;
    while (waitpid(canceller, NULL, WNOHANG) == 0) {
        if (clock_mono_ms() >= until_ms)
            kill(canceller, SIGKILL);
        poll(NULL, 0, LOOK_UP_MS);
    }
}

/* ----------------------------------------------------------------------------------- host names */

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
/* libpq resolves host names itself, and blocks while it does: with this it has its answer at once.
   host may be NULL. */
static enum pg_wait look_up(const char *host, const struct pg_patience *p)
{
    struct gaicb *request = mem_zero(1, sizeof *request), *const list[] = {request};
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    int state = EAI_FAIL;

    char *name = host == NULL ? NULL : mem_dup(host, strlen(host));
    request->ar_name = name;
    if (host != NULL && *host != '\0' && strchr("/@", *host) == NULL) /* no socket's folder */
        state = getaddrinfo_a(GAI_NOWAIT, (struct gaicb **)list, 1, &none);
    while (state == 0 && gai_error(request) == EAI_INPROGRESS && !must_stop(p))
        p->poll(NULL, 0, LOOK_UP_MS);
    bool stopped = state == 0 && gai_error(request) == EAI_INPROGRESS;
    if (stopped && gai_cancel(request) != EAI_CANCELED) /* its thread runs until we end */
        return PG_STOPPED;
    if (request->ar_result != NULL)
        freeaddrinfo(request->ar_result);
    free(request);
    free(name);
    return stopped ? PG_STOPPED : PG_READY;
}
#else
static enum pg_wait look_up(const char *host, const struct pg_patience *p)
{
    (void)host;
    (void)p;
    return PG_READY;
}
#endif

/* ----------------------------------------------------------------------------------- connecting */

#define DEFAULTS 12
#define EACH_MS 5000 /* of several hosts */
#define DEFAULT_PORT "5432"

/* One of the connection string's, with parts that NULL leaves as they are there. */
struct host {
    char *name, *address, *port;
};

struct target {
    const char *conninfo;
    const char *const *defaults;
    const struct pg_patience *patience;
};

static void ignore_notice(void *arg, const PGresult *notice)
{
    (void)arg;
    (void)notice;
}

/* What comes later wins. */
static PGconn *start(const struct target *t, const struct host *host)
{
    const char *keys[DEFAULTS + 5], *values[DEFAULTS + 5];
    size_t n = 0;

    for (; n < DEFAULTS && t->defaults[2 * n] != NULL; n++) {
        keys[n] = t->defaults[2 * n];
        values[n] = t->defaults[2 * n + 1];
    }
    const char *const own[] = {"dbname", "host", "hostaddr", "port", NULL};
    const char *const its[] = {t->conninfo, host->name, host->address, host->port, NULL};
    memcpy(keys + n, own, sizeof own);
    memcpy(values + n, its, sizeof its);
    PGconn *conn = PQconnectStartParams(keys, values, 1);
    if (conn != NULL) {
        PQsetNoticeReceiver(conn, ignore_notice, NULL);
        PQsetErrorVerbosity(conn, PQERRORS_VERBOSE); /* see pg_state_in */
    }
    return conn;
}

/* As libpq reads it from the string, the environment and files; to be freed. */
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

/* As in libpq: in seconds, 0 for no limit. libpq's own timeout only covers connections that
   block. */
static int64_t connect_until(PGconn *conn, int64_t ms)
{
    char *timeout = option_of(conn, "connect_timeout");

    if (timeout != NULL)
        ms = strtoll(timeout, NULL, 10) * 1000;
    free(timeout);
    return ms <= 0 ? INT64_MAX : clock_mono_ms() + ms;
}

/* conn may be NULL. */
static enum pg_wait finish_connecting(PGconn *conn, int64_t ms, const struct pg_patience *p)
{
    PostgresPollingStatusType step = PGRES_POLLING_WRITING;
    int64_t until = connect_until(conn, ms);

    while (conn != NULL && PQstatus(conn) != CONNECTION_BAD && step != PGRES_POLLING_OK &&
           step != PGRES_POLLING_FAILED) {
        enum pg_wait got =
            pg_await(conn, step == PGRES_POLLING_READING ? POLLIN : POLLOUT, until, p);
        if (got != PG_READY)
            return got;
        step = PQconnectPoll(conn);
    }
    return conn != NULL && PQstatus(conn) == CONNECTION_OK && PQsetnonblocking(conn, 1) == 0
               ? PG_READY
               : PG_LOST;
}

/* The i-th part of a list with commas, to be freed; a list of one stands for all. */
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

static size_t parts_of(const char *list)
{
    size_t n = 1;

    for (; list != NULL && (list = strchr(list, ',')) != NULL; list++)
        n++;
    return n;
}

/* libpq goes on to the next host only when one has refused: one that says nothing, as a server that
   was stopped, would keep us from those behind it. So each is asked alone. */
static enum pg_wait connect_each(PGconn **out, const struct target *t, size_t n,
                                 const struct host *lists, size_t *host)
{
    enum pg_wait got = PG_LOST;
    size_t first = *host;

    for (size_t tried = 0; tried < n && got != PG_READY && got != PG_STOPPED; tried++) {
        size_t i = *host = (first + tried) % n;
        struct host one = {part_of(lists->name, i), part_of(lists->address, i),
                           part_of(lists->port, i)};
        if (one.port != NULL && *one.port == '\0') {
            free(one.port);
            one.port = mem_dup(DEFAULT_PORT, strlen(DEFAULT_PORT));
        }
        PQfinish(*out);
        *out = NULL;
        got = one.address == NULL ? look_up(one.name, t->patience) : PG_READY;
        if (got == PG_READY) {
            *out = start(t, &one);
            got = finish_connecting(*out, EACH_MS, t->patience);
        }
        free(one.name);
        free(one.address);
        free(one.port);
    }
    return got;
}

/* The name that libpq would resolve first, as far as it is known before it reads files; to be
   freed. */
static char *first_host(const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *host = getenv("PGHOST");
    bool address = getenv("PGHOSTADDR") != NULL;

    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (strcmp(o->keyword, "host") == 0 && o->val != NULL)
            host = o->val;
        address |= strcmp(o->keyword, "hostaddr") == 0 && o->val != NULL;
    }
    char *name = address ? NULL : part_of(host, 0);
    PQconninfoFree(options);
    return name;
}

enum pg_wait pg_connect(PGconn **out, const char *conninfo, const char *const *defaults,
                        int64_t connect_ms, size_t *host, const struct pg_patience *p)
{
    const struct target t = {conninfo, defaults, p};
    char *name = first_host(conninfo);
    enum pg_wait got = look_up(name, p);

    free(name);
    *out = NULL;
    if (got != PG_READY)
        return got;
    *out = start(&t, &(struct host){NULL, NULL, NULL});
    struct host lists = {option_of(*out, "host"), option_of(*out, "hostaddr"),
                         option_of(*out, "port")};
    size_t n = parts_of(lists.address != NULL ? lists.address : lists.name);
    got = n > 1 ? connect_each(out, &t, n, &lists, host) : finish_connecting(*out, connect_ms, p);
    free(lists.name);
    free(lists.address);
    free(lists.port);
    return got;
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

/*
 * The address of a database: which engine it is for, and whether it may be printed.
 */
#include "outbox/engine.h"

#include <string.h>
#include <unistd.h>

const struct relay_engine *relay_engine_of(const char *database)
{
    return strncmp(database, "postgresql:", 11) == 0 || strncmp(database, "postgres:", 9) == 0
               ? &relay_postgres
               : &relay_sqlite;
}

/* Are all ports in "host:port,host" numbers? */
static bool ports_are_numbers(struct str hosts)
{
    for (size_t at = 0; at < hosts.n;) {
        const char *p = hosts.p + at;
        const char *comma = memchr(p, ',', hosts.n - at);
        size_t n = comma == NULL ? hosts.n - at : (size_t)(comma - p);
        const char *end = n > 0 && *p == '[' ? memchr(p, ']', n) : NULL; /* an IPv6 address */
        size_t from = end == NULL ? 0 : (size_t)(end - p);
        const char *colon = memchr(p + from, ':', n - from);
        if (colon != NULL)
            for (const char *c = colon + 1; c < p + n; c++)
                if (*c < '0' || *c > '9')
                    return false;
        at += n + 1;
    }
    return true;
}

/*
 * A database's URI may hold a password, and messages show names of hosts, ports and files. So a URI
 * in which part of the password could be taken for another part is refused without being printed: a
 * URI without "@", or with an unencoded "@" or "/" in the password. Connection strings are not
 * taken for file names either.
 */
int relay_check_address(const char *database, struct err *e)
{
    const char *rest = strstr(database, "://");

    if (relay_engine_of(database) == &relay_sqlite) {
        bool secret = rest != NULL || strstr(database, "password=") != NULL;
        return !secret || access(database, F_OK) == 0
                   ? 0
                   : err_set(e, EX_USAGE,
                             "the database is neither a SQLite file nor a URI that begins with "
                             "postgresql://");
    }
    if (rest != strchr(database, ':'))
        return err_set(e, EX_USAGE, "a PostgreSQL database is postgresql://USER@HOST/DATABASE");
    /* As libpq reads it: user and password come before an "@" that precedes any "/"; the host comes
       after it. */
    const char *at = memchr(rest + 3, '@', strcspn(rest + 3, "/"));
    const char *host = at == NULL ? rest + 3 : at + 1;
    if (memchr(host, '@', strcspn(host, "?")) != NULL ||
        !ports_are_numbers((struct str){host, strcspn(host, "/?")}))
        return err_set(e, EX_USAGE,
                       "the URI is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE; within a "
                       "part, write %%40 for @, %%2F for /, %%3A for : and %%3F for ?");
    return 0;
}

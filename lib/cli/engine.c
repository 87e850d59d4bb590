#include "cli/engine.h"

#include "base/err.h"
#include "cli/say.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static const char folder[] = "/postgresql";

/* Our path, and whether we are the command for servers. False with errno: it cannot be found. */
static bool find_own(char own[PATH_MAX], bool *server)
{
    ssize_t n = readlink("/proc/self/exe", own, PATH_MAX - 1);

    own[n < 0 ? 0 : n] = '\0';
    if (n < 0 && realpath((const char *)getauxval(AT_EXECFN), own) == NULL) /* without /proc */
        return false;
    size_t length = (size_t)(strrchr(own, '/') - own), tail = sizeof folder - 1;
    *server = length >= tail && strncmp(own + length - tail, folder, tail) == 0;
    return true;
}

static _Noreturn void not_found(void)
{
    say(SAY_ERROR, EX_OSERR, NULL, "cannot find the folder of this command: %s", strerror(errno));
    exit(EX_OSERR);
}

void engine_first(struct buf *path)
{
    char own[PATH_MAX];
    bool server;

    if (!find_own(own, &server))
        not_found();
    char *name = strrchr(own, '/');
    int kept = (int)(name - own) - (server ? (int)sizeof folder - 1 : 0);
    buf_printf(path, "%.*s%s", kept, own, name);
}

void engine_hand_over(const char *spool, char **argv)
{
    static const char *const addresses[] = {"postgresql://", "postgres://", "service="};
    char own[PATH_MAX], other[PATH_MAX + sizeof folder + 1];
    bool address = false, server;

    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0] && spool != NULL; i++)
        address |= strncmp(spool, addresses[i], strlen(addresses[i])) == 0;
    if (!address)
        return;
    if (!find_own(own, &server))
        not_found();
    if (server)
        return;
    char *name = strrchr(own, '/');
    *name++ = '\0';
    snprintf(other, sizeof other, "%s%s/%s", own, folder, name);
    execv(other, argv);
    say(SAY_ERROR, EX_UNAVAILABLE, NULL,
        "%s: the command for spools on PostgreSQL is not there: %s: build eventutils where "
        "pkg-config finds libpq, or install its package for PostgreSQL",
        other, strerror(errno));
    exit(EX_UNAVAILABLE);
}

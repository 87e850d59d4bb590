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

void engine_hand_over(const char *spool, char **argv)
{
    static const char *const addresses[] = {"postgresql://", "postgres://", "service="};
    static const char folder[] = "/postgresql";
    char own[PATH_MAX], other[PATH_MAX + sizeof folder + 1];
    bool address = false;

    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0] && spool != NULL; i++)
        address |= strncmp(spool, addresses[i], strlen(addresses[i])) == 0;
    if (!address)
        return;
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);
    own[n < 0 ? 0 : n] = '\0';
    if (n < 0 && realpath((const char *)getauxval(AT_EXECFN), own) == NULL) { /* without /proc */
        say(SAY_ERROR, EX_OSERR, NULL, "cannot find the folder of this command: %s",
            strerror(errno));
        exit(EX_OSERR);
    }
    char *name = strrchr(own, '/');
    *name++ = '\0';
    size_t length = strlen(own);
    if (length >= sizeof folder - 1 && strcmp(own + length - (sizeof folder - 1), folder) == 0)
        return; /* we are that command */
    snprintf(other, sizeof other, "%s%s/%s", own, folder, name);
    execv(other, argv);
    say(SAY_ERROR, EX_UNAVAILABLE, NULL,
        "%s: the command for spools on PostgreSQL is not there: %s: build eventutils where "
        "pkg-config finds libpq, or install its package for PostgreSQL",
        other, strerror(errno));
    exit(EX_UNAVAILABLE);
}

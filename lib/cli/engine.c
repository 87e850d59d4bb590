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

/* The folders of the commands linked with libpq, beside that of the ordinary ones. */
static const char for_spools[] = "/postgresql", for_databases[] = "/postgresql/file";

bool engine_is_address(const char *name)
{
    static const char *const addresses[] = {"postgresql://", "postgres://", "service="};
    bool address = false;

    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0] && name != NULL; i++)
        address |= strncmp(name, addresses[i], strlen(addresses[i])) == 0;
    return address;
}

static size_t cut_end(const char *path, size_t length, const char *end)
{
    size_t n = strlen(end);

    return length >= n && strncmp(path + length - n, end, n) == 0 ? length - n : length;
}

/* Fill in the path of the ordinary command of our name, and return whether that is us. */
static bool find_ordinary(char path[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

    path[n < 0 ? 0 : n] = '\0';
    if (n < 0 && realpath((const char *)getauxval(AT_EXECFN), path) == NULL) { /* without /proc */
        say(SAY_ERROR, EX_OSERR, NULL, "cannot find the folder of this command: %s",
            strerror(errno));
        exit(EX_OSERR);
    }
    char *name = strrchr(path, '/');
    size_t length = (size_t)(name - path),
           kept = cut_end(path, cut_end(path, length, for_databases), for_spools);
    memmove(path + kept, name, strlen(name) + 1);
    return kept == length;
}

void engine_ordinary(struct buf *path)
{
    char ordinary[PATH_MAX];

    find_ordinary(ordinary);
    buf_puts(path, ordinary);
}

static void become(const char *folder, const char *what, char **argv)
{
    char ordinary[PATH_MAX], other[2 * PATH_MAX];

    if (!find_ordinary(ordinary))
        return; /* we are that command */
    char *name = strrchr(ordinary, '/');
    snprintf(other, sizeof other, "%.*s%s%s", (int)(name - ordinary), ordinary, folder, name);
    execv(other, argv);
    say(SAY_ERROR, EX_UNAVAILABLE, NULL,
        "%s: the command for %s on PostgreSQL is not there: %s: build eventutils where "
        "pkg-config finds libpq, or install its package for PostgreSQL",
        other, what, strerror(errno));
    exit(EX_UNAVAILABLE);
}

void engine_hand_over(const char *spool, char **argv)
{
    if (engine_is_address(spool))
        become(for_spools, "spools", argv);
}

void engine_hand_over_file(const char *database, char **argv)
{
    if (engine_is_address(database))
        become(for_databases, "databases", argv);
}

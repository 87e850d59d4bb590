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

bool engine_is_address(const char *name)
{
    static const char *const addresses[] = {"postgresql://", "postgres://", "service="};
    bool address = false;

    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0] && name != NULL; i++)
        address |= strncmp(name, addresses[i], strlen(addresses[i])) == 0;
    return address;
}

static bool ends_with(const char *path, size_t length, const char *folder)
{
    size_t n = strlen(folder);

    return length >= n && strcmp(path + length - n, folder) == 0;
}

/* Our path, cut before the name, which is returned; *server: the folder below that of the others
   which has the commands for servers, if we are one of them; or NULL. */
static char *find_own(char own[PATH_MAX], const char **server)
{
    static const char *const folders[] = {"/postgresql", "/postgresql/file"};
    ssize_t n = readlink("/proc/self/exe", own, PATH_MAX - 1);

    own[n < 0 ? 0 : n] = '\0';
    if (n < 0 && realpath((const char *)getauxval(AT_EXECFN), own) == NULL) { /* without /proc */
        say(SAY_ERROR, EX_OSERR, NULL, "cannot find the folder of this command: %s",
            strerror(errno));
        exit(EX_OSERR);
    }
    char *name = strrchr(own, '/');
    *name++ = '\0';
    *server = NULL;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (ends_with(own, strlen(own), folders[i]))
            *server = folders[i];
    return name;
}

void engine_first(struct buf *path)
{
    const char *server;
    char own[PATH_MAX], *name = find_own(own, &server);
    size_t kept = strlen(own) - (server == NULL ? 0 : strlen(server));

    buf_printf(path, "%.*s/%s", (int)kept, own, name);
}

/* folder is beside ours. */
static void become(const char *folder, const char *what, char **argv)
{
    const char *server;
    char own[PATH_MAX], other[2 * PATH_MAX], *name = find_own(own, &server);

    if (server != NULL)
        return; /* we are that command */
    snprintf(other, sizeof other, "%s%s/%s", own, folder, name);
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
        become("/postgresql", "spools", argv);
}

void engine_hand_over_file(const char *database, char **argv)
{
    if (engine_is_address(database))
        become("/postgresql/file", "databases", argv);
}

#include "command/spool.h"

#include "cli/args.h"
#include "cli/say.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ENGINES "postgresql" /* beside our executable: the commands for spools on servers */

/* Become the command of the same name that is linked with the engine of the spool. Nothing has been
   read or done by now, so that it begins as we did. Returns -1 when there is none. */
static int hand_over(struct err *e)
{
    char own[PATH_MAX], other[PATH_MAX + sizeof ENGINES + 1];
    ssize_t n = readlink("/proc/self/exe", own, sizeof own - 1);

    if (n < 0)
        return err_errno(e, EX_UNAVAILABLE, "cannot find the command for servers: /proc/self/exe");
    own[n] = '\0';
    char *slash = strrchr(own, '/');
    if (strcmp(strrchr((*slash = '\0', own), '/') + 1, ENGINES) == 0)
        return err_set(e, EX_USAGE, "%s: this command is for spools on servers",
                       err_quote_text(args_spool()).text);
    snprintf(other, sizeof other, "%s/" ENGINES "/%s", own, slash + 1);
    execv(other, args_line());
    if (errno == ENOENT)
        return err_set(e, EX_UNAVAILABLE,
                       "%s: eventutils was built without PostgreSQL: build it again where "
                       "pkg-config finds libpq, or install the package that has %s",
                       err_quote_text(args_spool()).text, other);
    return err_errno(e, EX_UNAVAILABLE, "%s", other);
}

int spool_open(struct store **s, enum store_mode mode, struct err *e)
{
    if (!store_serves(args_spool()))
        return hand_over(e);
    int got = store_open(s, args_spool(), mode, e);

    if (got > 0)
        say_note("created the spool %s", store_name(*s));
    return got < 0 ? -1 : 0;
}

int spool_open_for(struct store **s, enum store_ability what, struct err *e)
{
    static const char *const verbs[] = {
        [STORE_CHECK] = "check", [STORE_BACKUP] = "back up", [STORE_QUERY] = "query in SQL"};

    if (spool_open(s, STORE_READ, e) < 0)
        return -1;
    return store_can(*s, what) ? 0
                               : err_set(e, EX_UNAVAILABLE, "%s: its engine has no way to %s it",
                                         store_name(*s), verbs[what]);
}

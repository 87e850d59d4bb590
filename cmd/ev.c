/*
 * ev: run a command with the toolkit's executables first in PATH.
 *
 * They are in this executable's folder when it has not been installed, and in EVENTUTILS_LIBEXECDIR
 * when it has: in bindir, some of their names may belong to other programs, and then only ev is in
 * PATH.
 */
#include "base/buf.h"
#include "base/err.h"
#include "cli/args.h"
#include "cli/out.h"
#include "process/proc.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct opt options[] = {OPT_END};

static const struct cmd self = {
    .name = "ev",
    .about = "run a command with the event utilities first in PATH",
    .usage = {"[COMMAND [ARGUMENT]...]"},
    .examples = {"ev", "ev publish -t order.placed -d '{\"total\":99.5}'",
                 "ev sh -c 'replay --last 10 | jq .data'"},
    .options = options,
    .wrapper = true,
    .no_spool = true,
};

static bool folder_holds(const char *folder, const char *name)
{
    struct buf path = BUF_INIT;
    struct stat st;
    bool found;

    buf_printf(&path, "%s/%s", folder, name);
    /* bindir may have links to some of them, but is not the folder that we look for. */
    found = lstat(buf_text(&path), &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & S_IXUSR);
    buf_free(&path);
    return found;
}

static const char *toolkit(struct err *e)
{
    static char here[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
    char *slash;

    if (n > 0 && (slash = strrchr(here, '/')) != NULL) {
        *slash = '\0';
        if (folder_holds(here, "publish"))
            return here;
    }
    if (folder_holds(EVENTUTILS_LIBEXECDIR, "publish"))
        return EVENTUTILS_LIBEXECDIR;
    err_set(e, EX_UNAVAILABLE, "%s: the event utilities are missing: install eventutils again",
            EVENTUTILS_LIBEXECDIR);
    return NULL;
}

static const char *listed;

static int is_listed(const struct dirent *entry)
{
    return strcmp(entry->d_name, "ev") != 0 && folder_holds(listed, entry->d_name);
}

static int list(const char *folder, struct err *e)
{
    struct dirent **entry = NULL;
    int n, result = 0;

    listed = folder;
    n = scandir(folder, &entry, is_listed, alphasort);
    if (n < 0)
        return err_errno(e, 0, "%s", folder);
    for (int i = 0; i < n; i++) {
        if (result == 0 && !out_gone())
            result = out_line(str_of(entry[i]->d_name), e);
        free(entry[i]);
    }
    free(entry);
    return result;
}

static int become_command(const char *folder, char **argv, struct err *e)
{
    const char *path = getenv("PATH");
    struct buf first = BUF_INIT;

    /* Without a PATH execvp searches the system's default path; set PATH to that for the command,
       too. */
    buf_printf(&first, "%s:%s", folder, path != NULL && *path != '\0' ? path : "/bin:/usr/bin");
    setenv("PATH", buf_text(&first), 1);
    buf_free(&first);
    return proc_exec(argv, e);
}

int main(int argc, char **argv)
{
    struct err e = ERR_NONE;
    int first = args_parse(&self, argc, argv);
    const char *folder = toolkit(&e);

    if (folder != NULL && first < argc)
        become_command(folder, argv + first, &e);
    else if (folder != NULL)
        list(folder, &e);
    return out_finish(&e);
}

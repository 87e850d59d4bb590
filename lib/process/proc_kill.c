/*
 * proc: how children end, by themselves or by a signal that reaches what they left behind.
 */
#include "process/proc.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

pid_t proc_reap(int *wait_status)
{
    pid_t pid = waitpid(-1, wait_status, WNOHANG);
    return pid < 0 ? 0 : pid;
}

int proc_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? EX_SIGNAL + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

struct process {
    pid_t pid, parent, group;
    bool chosen;
};

static ssize_t read_proc(const char *pid, const char *what, char *out, size_t room)
{
    char name[64];

    snprintf(name, sizeof name, "/proc/%.20s/%s", pid, what);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, out, room);
    close(fd);
    return n;
}

/* List all processes. Called only when something has to be ended by force. */
static struct process *processes(size_t *n)
{
    struct process *list = NULL;
    DIR *dir = opendir("/proc");
    size_t room = 0;

    *n = 0;
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;) {
        char text[512], *p;
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        ssize_t got = read_proc(entry->d_name, "stat", text, sizeof text - 1);
        if (got <= 0)
            continue;
        text[got] = '\0';
        if ((p = strrchr(text, ')')) == NULL || strlen(p) < 4)
            continue;
        if (*n == room)
            list = mem_grow(list, room += 256, sizeof *list);
        char *end; /* ") S 12 34": state, parent, group */
        list[*n].pid = (pid_t)strtol(entry->d_name, NULL, 10);
        list[*n].parent = (pid_t)strtol(p + 4, &end, 10);
        list[*n].group = (pid_t)strtol(end, NULL, 10);
        list[(*n)++].chosen = false;
    }
    if (dir != NULL)
        closedir(dir);
    return list;
}

/* Is marker in the process's environment? NULL: has it no variable of a handler's? */
static bool marked(pid_t pid, const char *marker)
{
    static char environment[262144];
    const char *wanted = marker == NULL ? "EVENT_SEQ=" : marker;
    char name[24];
    size_t length = strlen(wanted);

    snprintf(name, sizeof name, "%ld", (long)pid);
    ssize_t n = read_proc(name, "environ", environment, sizeof environment);
    for (ssize_t at = 0; at < n;) {
        size_t size = strnlen(environment + at, (size_t)(n - at));
        if (size >= length && memcmp(environment + at, wanted, length) == 0 &&
            (marker == NULL || size == length))
            return marker != NULL;
        at += (ssize_t)size + 1;
    }
    return marker == NULL;
}

static void choose_descendants(struct process *list, size_t n)
{
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; !list[i].chosen && k < n; k++)
                if (list[k].chosen && list[k].pid == list[i].parent)
                    list[i].chosen = more = true;
    }
}

static void kill_chosen(const struct process *list, size_t n, int signal_number)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].chosen)
            kill(list[i].pid, signal_number);
}

/* Read /proc before sending any signal: the children of a process that dies can no longer be
   recognised as descendants. Without /proc, signal the leader's group. */
void proc_kill(pid_t leader, const char *marker, int signal_number)
{
    size_t n;
    struct process *list = processes(&n);
    pid_t self = getpid();

    for (size_t i = 0; i < n; i++)
        list[i].chosen = (leader != 0 && (list[i].pid == leader || list[i].group == leader)) ||
                         (list[i].parent == self && marked(list[i].pid, marker));
    choose_descendants(list, n);
    if (leader != 0)
        kill(-leader, signal_number);
    for (size_t i = 0; i < n; i++) /* the group has got the signal already */
        list[i].chosen &= leader == 0 || list[i].group != leader;
    kill_chosen(list, n, signal_number);
    free(list);
}

void proc_kill_all(pid_t child, int signal_number)
{
    size_t n;
    struct process *list = processes(&n);
    pid_t self = getpid();

    for (size_t i = 0; i < n; i++)
        list[i].chosen = list[i].parent == self;
    choose_descendants(list, n);
    kill_chosen(list, n, signal_number);
    if (n == 0 && child != 0) /* no /proc */
        kill(child, signal_number);
    free(list);
}

/* The children of a process that dies become ours (see proc_stage), and are killed then. */
void proc_end_all(void)
{
    do
        proc_kill_all(0, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR);
}

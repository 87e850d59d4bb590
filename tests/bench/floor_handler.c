/*
 * floor_handler WIDTH COUNT FILE COMMAND [ARG...]: what a process an event costs at least. For the
 * first COUNT lines of a file, posix_spawn of the command with the line on its stdin, so many at a
 * time; ends when all have ended.
 *
 * It does not read its output, watch the time or give it a process group, an environment of its
 * own or a death signal, and remembers nothing.
 */
#include "bench.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

static void start(char **argv, const char *line, size_t n)
{
    posix_spawn_file_actions_t actions;
    int pair[2], why;
    pid_t pid;

    if (pipe2(pair, O_CLOEXEC) != 0)
        bench_die("pipe: %s", strerror(errno));
    bench_write(pair[1], line, n); /* fits the pipe */
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[0], STDIN_FILENO);
    why = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    if (why != 0)
        bench_die("%s: %s", argv[0], strerror(why));
    posix_spawn_file_actions_destroy(&actions);
    close(pair[0]);
    close(pair[1]);
}

static void end(void)
{
    int status;

    if (wait(&status) < 0 || status != 0)
        bench_die("a handler failed");
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    long live = 0;
    ssize_t n;

    if (argc < 5)
        bench_die("usage: floor_handler WIDTH COUNT FILE COMMAND [ARG...]");
    long width = strtol(argv[1], NULL, 10), count = strtol(argv[2], NULL, 10);
    FILE *in = fopen(argv[3], "re");
    if (in == NULL)
        bench_die("%s: %s", argv[3], strerror(errno));
    for (; count > 0 && (n = getline(&line, &room, in)) > 0; count--) {
        if (live == width)
            end();
        else
            live++;
        start(argv + 4, line, (size_t)n);
    }
    for (; live > 0; live--)
        end();
    free(line);
    return fclose(in) != 0;
}

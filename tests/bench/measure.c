/*
 * measure [-n TIMES] [-p] COMMAND [ARG...]: run it, so often, one after the other. Prints the wall
 * seconds of one run, from before it is started until it has ended, and the largest resident size
 * there was, in KiB.
 *
 * What the command prints goes to /dev/null, with -p through a pipe, which is read in blocks of
 * 128 KiB until its end. The resident size is the kernel's ru_maxrss: it includes the pages of
 * libraries, and is not below our own 2 MiB, which a child starts with.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int fail(const char *what, int why)
{
    fprintf(stderr, "measure: %s: %s\n", what, strerror(why));
    return 1;
}

/* Run it once; returns 0 when it succeeded. */
static int run(char **argv, bool through_pipe, long *kib)
{
    static char block[128 * 1024];
    posix_spawn_file_actions_t actions;
    struct rusage usage;
    int pair[2] = {-1, -1}, why, status;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    if (!through_pipe)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    else if (pipe2(pair, O_CLOEXEC) == 0)
        posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    else
        return fail("pipe", errno);
    why = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (why != 0)
        return fail(argv[0], why);
    if (through_pipe) {
        close(pair[1]);
        while (read(pair[0], block, sizeof block) > 0)
            continue;
        close(pair[0]);
    }
    if (wait4(pid, &status, 0, &usage) < 0)
        return fail("wait4", errno);
    if (usage.ru_maxrss > *kib)
        *kib = usage.ru_maxrss;
    if (status != 0)
        fprintf(stderr, "measure: %s: wait status %d\n", argv[0], status);
    return status != 0;
}

int main(int argc, char **argv)
{
    bool through_pipe = false;
    long times = 1, kib = 0;

    for (int opt; (opt = getopt(argc, argv, "+n:p")) != -1;) {
        if (opt == 'n')
            times = strtol(optarg, NULL, 10);
        else if (opt == 'p')
            through_pipe = true;
        else
            return 64;
    }
    if (optind == argc || times < 1)
        return 64;
    double begin = now();
    for (long i = 0; i < times; i++)
        if (run(argv + optind, through_pipe, &kib) != 0)
            return 1;
    printf("%.6f %ld\n", (now() - begin) / (double)times, kib);
    return 0;
}

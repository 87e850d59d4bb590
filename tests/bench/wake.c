/*
 * wake SPOOL HISTOGRAM PUBLISHERS: how soon, and how fairly.
 *
 * First: a consumer waits with -f; one event is published, and when publish echoes it, which is
 * when it is on disk, the clock starts; it stops when the event's handler, this program again, says
 * when it was started. Prints the median and the 99th percentile in milliseconds, and the median of
 * starting the handler and hearing from it without anything else.
 *
 * Then so many processes publish events one by one, each in a process of its own: prints the median
 * and the 99th percentile of one publish in milliseconds, and how many failed.
 */
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double at(double *list, size_t n, double part)
{
    qsort(list, n, sizeof *list, by_size);
    return list[(size_t)((double)(n - 1) * part)];
}

/* Start it with its stdout into a pipe, whose other end is *out. */
static pid_t start(char *const argv[], int *out)
{
    posix_spawn_file_actions_t actions;
    int pair[2], why;
    pid_t pid;

    if (pipe2(pair, O_CLOEXEC) != 0)
        bench_die("pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], STDOUT_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if ((why = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ)) != 0)
        bench_die("%s: %s", argv[0], strerror(why));
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    *out = pair[0];
    return pid;
}

static int end(pid_t pid)
{
    int status;

    if (waitpid(pid, &status, 0) < 0)
        bench_die("waitpid: %s", strerror(errno));
    return status;
}

static double read_time(int fd)
{
    char text[64] = "";

    if (read(fd, text, sizeof text - 1) <= 0)
        bench_die("the handler said nothing");
    return strtod(text, NULL);
}

static void wake(char *self, char *spool, size_t times)
{
    char *consume[] = {"consume", "-s", spool, "-g", "wake", "--from",
                       "now",     "-f", "--",  self, "told", NULL};
    char *publish[] = {"publish", "-s", spool, "-t", "wake", "-d", "1", "--echo", NULL};
    char *handler[] = {self, "said", NULL};
    double *took = calloc(times, sizeof *took), *bare = calloc(times, sizeof *bare);
    int told, echo, fifo;
    char line[1024];

    if (mkfifo("told", 0600) != 0 || (fifo = open("told", O_RDWR | O_CLOEXEC)) < 0)
        bench_die("told: %s", strerror(errno));
    pid_t consumer = start(consume, &told);
    usleep(300000); /* it creates the group */
    for (size_t i = 0; i < times; i++) {
        pid_t pid = start(publish, &echo);
        if (read(echo, line, sizeof line) <= 0)
            bench_die("publish said nothing");
        double begin = now_ms();
        took[i] = read_time(fifo) - begin;
        close(echo);
        end(pid);
        begin = now_ms();
        pid = start(handler, &echo);
        bare[i] = read_time(echo) - begin;
        close(echo);
        end(pid);
    }
    kill(consumer, SIGTERM);
    end(consumer);
    double middle = at(took, times, 0.5), most = at(took, times, 0.99);
    printf("%.3f %.3f %.3f\n", middle, most, at(bare, times, 0.5));
}

static void publishers(char *spool, size_t times, size_t width)
{
    char *publish[] = {"publish", "-s", spool, "-t", "many", "-d", "1", NULL};
    double *took = calloc(times * width, sizeof *took);
    int results[2], out;
    size_t failed = 0, n = 0;
    double one[2];

    if (pipe(results) != 0)
        bench_die("pipe: %s", strerror(errno));
    for (size_t w = 0; w < width; w++) {
        if (fork() != 0)
            continue;
        for (size_t i = 0; i < times; i++) {
            double begin = now_ms();
            int status = end(start(publish, &out));
            close(out);
            one[0] = now_ms() - begin;
            one[1] = status;
            bench_write(results[1], (const char *)one, sizeof one);
        }
        _exit(0);
    }
    close(results[1]);
    while (read(results[0], one, sizeof one) == sizeof one) {
        took[n++] = one[0];
        failed += one[1] != 0;
    }
    while (wait(NULL) > 0)
        continue;
    double middle = at(took, n, 0.5);
    printf("%.3f %.3f %zu\n", middle, at(took, n, 0.99), failed);
}

int main(int argc, char **argv)
{
    if (argc == 2) { /* the handler: when was it started? */
        int to = strcmp(argv[1], "told") == 0 ? open("told", O_WRONLY | O_CLOEXEC) : STDOUT_FILENO;
        return dprintf(to, "%.6f\n", now_ms()) < 0;
    }
    if (argc != 4)
        bench_die("usage: wake SPOOL HISTOGRAM PUBLISHERS");
    wake(argv[0], argv[1], strtoul(argv[2], NULL, 10));
    publishers(argv[1], strtoul(argv[2], NULL, 10) / 2, strtoul(argv[3], NULL, 10));
    return 0;
}

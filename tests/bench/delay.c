/*
 * delay MICROSECONDS SOCKET: a server as if it were far away. Listens on a free port of 127.0.0.1,
 * prints the number of the port, and passes what comes on to the Unix socket, and back, each
 * direction half of the round trip later. Ends with its stdin, and then prints how many round trips
 * it saw: how often a client, having been answered, spoke again.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#define LINKS_MAX 256
#define BLOCK (256 << 10)

struct block {
    struct block *next;
    int64_t due_ns;
    size_t n, sent;
    char bytes[];
};

/* One direction of a connection. */
struct way {
    int from, to;
    struct block *first, *last;
    bool ended; /* nothing more will come */
};

struct link {
    struct way ask, answer;
    bool answered; /* it has been, since it spoke last */
};

static struct link links[LINKS_MAX];
static size_t link_count;
static int64_t half_ns;
static long long trips;

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int listen_here(int *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 64) < 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) < 0)
        bench_die("delay: listen: %s", strerror(errno));
    *port = ntohs(at.sin_port);
    return fd;
}

static void add_link(int listener, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int client = accept(listener, NULL, NULL), yes = 1;
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    if (client < 0 || server < 0)
        bench_die("delay: accept: %s", strerror(errno));
    if (link_count == LINKS_MAX || connect(server, (struct sockaddr *)&at, sizeof at) < 0) {
        close(client);
        close(server);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    links[link_count++] = (struct link){.ask = {.from = client, .to = server},
                                        .answer = {.from = server, .to = client},
                                        .answered = true};
}

static void take(struct way *w)
{
    struct block *b = malloc(sizeof *b + BLOCK);

    if (b == NULL)
        bench_die("delay: malloc: %s", strerror(errno));
    ssize_t n = read(w->from, b->bytes, BLOCK);
    if (n <= 0) {
        w->ended = true;
        free(b);
        return;
    }
    b = realloc(b, sizeof *b + (size_t)n);
    *b = (struct block){.due_ns = now_ns() + half_ns, .n = (size_t)n};
    *(w->first == NULL ? &w->first : &w->last->next) = b;
    w->last = b;
}

static void pass(struct way *w)
{
    while (w->first != NULL && w->first->due_ns <= now_ns()) {
        struct block *b = w->first;
        ssize_t n = send(w->to, b->bytes + b->sent, b->n - b->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0 && (b->sent += (size_t)n) < b->n)
            continue;
        if (n < 0 && errno == EAGAIN) {
            b->due_ns = now_ns() + 50000;
            return;
        }
        w->first = b->next;
        free(b);
    }
}

static void close_ended(void)
{
    for (size_t i = 0; i < link_count;)
        if ((links[i].ask.ended && links[i].ask.first == NULL) ||
            (links[i].answer.ended && links[i].answer.first == NULL)) {
            close(links[i].ask.from);
            close(links[i].ask.to);
            links[i] = links[--link_count];
        } else {
            i++;
        }
}

static void sooner(const struct way *w, int64_t *due)
{
    if (w->first != NULL && w->first->due_ns < *due)
        *due = w->first->due_ns;
}

int main(int argc, char **argv)
{
    int port, listener;

    if (argc != 3)
        return fputs("usage: delay MICROSECONDS SOCKET\n", stderr), 64;
    half_ns = atoll(argv[1]) * 500;
    prctl(PR_SET_TIMERSLACK, 1L, 0L, 0L, 0L);
    listener = listen_here(&port);
    printf("%d\n", port);
    fflush(stdout);
    for (bool over = false; !over;) {
        struct pollfd fds[2 + 2 * LINKS_MAX] = {{.fd = listener, .events = POLLIN},
                                                {.fd = STDIN_FILENO, .events = POLLIN}};
        size_t n = 2, count = link_count;
        int64_t due = INT64_MAX;
        for (size_t i = 0; i < count; i++) {
            struct way *const ways[] = {&links[i].ask, &links[i].answer};
            for (int k = 0; k < 2; k++) {
                fds[n++] =
                    (struct pollfd){.fd = ways[k]->ended ? -1 : ways[k]->from, .events = POLLIN};
                sooner(ways[k], &due);
            }
        }
        int64_t wait = due - now_ns();
        struct timespec time = {wait > 0 ? wait / 1000000000 : 0, wait > 0 ? wait % 1000000000 : 0};
        ppoll(fds, n, due == INT64_MAX ? NULL : &time, NULL);
        for (size_t i = 0; i < count; i++) {
            struct link *l = &links[i];
            if (fds[2 + 2 * i].revents != 0) {
                trips += l->answered;
                l->answered = false;
                take(&l->ask);
            }
            if (fds[3 + 2 * i].revents != 0) {
                l->answered = true;
                take(&l->answer);
            }
            pass(&l->ask);
            pass(&l->answer);
        }
        close_ended();
        if (fds[0].revents != 0)
            add_link(listener, argv[2]);
        over = fds[1].revents != 0;
    }
    printf("%lld\n", trips);
    return 0;
}

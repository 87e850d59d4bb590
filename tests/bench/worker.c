/*
 * worker [emit|retry]: a worker that does nothing: for each event it answers that it is done; with
 * emit it brings out an event; with retry it wants one event in a hundred again, a second later. It
 * answers what it has read at once, in one write.
 */
#include "bench.h"

#include <stdbool.h>

/* The id of an event, as bench_event writes it. */
static const char *id_of(const char *line, const char *end)
{
    const char *at = memmem(line, (size_t)(end - line), "\"id\":\"", 6);
    return at == NULL ? NULL : at + 6;
}

int main(int argc, char **argv)
{
    static char in[1 << 16], out[1 << 17];
    const char *form = argc > 1 && strcmp(argv[1], "emit") == 0
                           ? "{\"id\":\"%.36s\",\"out\":{\"type\":\"order.checked\",\"data\":1}}\n"
                           : "{\"id\":\"%.36s\"}\n";
    bool retries = argc > 1 && strcmp(argv[1], "retry") == 0;
    uint64_t read_so_far = 0;
    size_t have = 0, said = 0;
    ssize_t got;

    while ((got = read(STDIN_FILENO, in + have, sizeof in - have)) > 0) {
        char *line = in, *newline;
        have += (size_t)got;
        while ((newline = memchr(line, '\n', have - (size_t)(line - in))) != NULL) {
            const char *id = id_of(line, newline);
            const char *answer = retries && ++read_so_far % 100 == 0
                                     ? "{\"id\":\"%.36s\",\"status\":\"retry\",\"delay\":\"1s\"}\n"
                                     : form;
            if (id != NULL)
                said += (size_t)snprintf(out + said, sizeof out - said, answer, id);
            line = newline + 1;
            if (said > sizeof out - 1024) {
                bench_write(STDOUT_FILENO, out, said);
                said = 0;
            }
        }
        have -= (size_t)(line - in);
        memmove(in, line, have);
        bench_write(STDOUT_FILENO, out, said);
        said = 0;
    }
    return 0;
}

/*
 * cut: lose the connection at a word. To be preloaded:
 *
 *     LD_PRELOAD=cut.so CUT=after|before CUT_AT=COMMIT command
 *
 * The first message that has the word as a whole statement is the last one that reaches the server
 * (after), or does not reach it (before); then the connection is gone. One that is opened later
 * stays.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t send(int fd, const void *p, size_t n, int flags)
{
    static bool done;
    const char *how = getenv("CUT"), *word = getenv("CUT_AT");
    char text[64] = "";
    bool here = false;
    ssize_t sent;

    if (!done && how != NULL && word != NULL && strlen(word) < sizeof text - 1) {
        strcpy(text + 1, word); /* between two zeros */
        here = memmem(p, n, text, strlen(word) + 2) != NULL;
    }

    done |= here;
    if (here && strcmp(how, "before") == 0)
        shutdown(fd, SHUT_RDWR);
    sent = syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
    if (here)
        shutdown(fd, SHUT_RDWR);
    return sent;
}

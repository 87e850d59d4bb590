#include "cli/lines.h"
#include "base/io.h"

#include "cli/out.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX 10

/* A file with these bytes, gone when it is closed; path is what opens it. */
static int file_with(const void *p, size_t n, char path[64])
{
    FILE *f = tmpfile();
    int fd = dup(fileno(f));

    fclose(f);
    CHECK_INT(io_write(fd, p, n), 0);
    lseek(fd, 0, SEEK_SET);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

/* All of the input as text: lines in [], ? for one too long, ! behind one without newline. */
static void read_all(struct lines *in, struct buf *out)
{
    struct err e = ERR_NONE;
    struct line line;
    int64_t number = 0;
    int got;

    while ((got = lines_next(in, &line, &e)) > 0) {
        buf_char(out, '[');
        if (got == LINES_TOO_LONG)
            buf_char(out, '?');
        buf_str(out, line.text);
        buf_char(out, ']');
        if (!line.newline)
            buf_char(out, '!');
        CHECK_INT(line.number, ++number);
    }
    CHECK_INT(got, 0);
    CHECK_INT(lines_next(in, &line, &e), 0);
}

static void exact_bytes_come_in_line_by_line(void)
{
    static const struct {
        const char *input, *lines;
    } rows[] = {
        {"", ""},
        {"\n", "[]"},
        {"a\nbc\n", "[a][bc]"},
        {"a\n\n\r\nb", "[a][][\r][b]!"},
        {"0123456789\n", "[0123456789]"},
        {"0123456789", "[0123456789]!"},
        {"0123456789x\nb\n", "[?][b]"},
        {"0123456789x", "[?]!"},
        {"a\n0123456789xxxxxxxxxxxxxx\nb", "[a][?][b]!"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        struct lines *in = NULL;
        struct buf out = BUF_INIT;
        char path[64];
        int fd = file_with(rows[i].input, strlen(rows[i].input), path);

        unit_row(rows[i].input);
        CHECK_INT(lines_open(&in, path, MAX, &e), 0);
        CHECK_TEXT(lines_name(in), path);
        read_all(in, &out);
        CHECK_TEXT(buf_text(&out), rows[i].lines);
        lines_close(in);
        buf_free(&out);
        close(fd);
    }
}

static void a_nul_is_a_byte_like_any_other(void)
{
    struct err e = ERR_NONE;
    struct lines *in = NULL;
    struct line line;
    char path[64];
    int fd = file_with("a\0b\n", 4, path);

    lines_open(&in, path, MAX, &e);
    CHECK_INT(lines_next(in, &line, &e), LINES_LINE);
    CHECK_INT((int64_t)line.text.n, 3);
    CHECK(memcmp(line.text.p, "a\0b", 3) == 0);
    lines_close(in);
    close(fd);
}

/* Lines of many lengths around the size of the block, so that every way of moving and growing it
   is taken; each says its own length. */
static void lines_longer_than_the_block_arrive_whole(void)
{
    static const size_t lengths[] = {5,      262143, 262144, 262145,  1,      600000, 999999,
                                     100000, 100000, 100000, 1000000, 200000, 7,      1000000};
    struct err e = ERR_NONE;
    struct lines *in = NULL;
    struct line line;
    struct buf all = BUF_INIT;
    char path[64];
    int fd;

    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (size_t n = 0; n < lengths[i]; n++)
            buf_char(&all, (char)('a' + (n + i) % 26));
        buf_char(&all, '\n');
    }
    fd = file_with(all.p, all.n, path);
    lines_open(&in, path, 1000000, &e);
    for (size_t i = 0, at = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        CHECK_INT(lines_next(in, &line, &e), LINES_LINE);
        CHECK_INT((int64_t)line.text.n, (int64_t)lengths[i]);
        CHECK(line.text.n == lengths[i] && memcmp(line.text.p, all.p + at, lengths[i]) == 0);
        at += lengths[i] + 1;
    }
    CHECK_INT(lines_next(in, &line, &e), LINES_END);
    lines_close(in);
    buf_free(&all);
    close(fd);
}

static void a_line_too_long_is_passed_over_in_any_pieces(void)
{
    struct err e = ERR_NONE;
    struct lines *in = NULL;
    struct buf all = BUF_INIT, out = BUF_INIT;
    char path[64];
    int fd;

    for (int i = 0; i < 3000000; i++)
        buf_char(&all, 'x');
    buf_puts(&all, "\nshort\n");
    fd = file_with(all.p, all.n, path);
    lines_open(&in, path, MAX, &e);
    read_all(in, &out);
    CHECK_TEXT(buf_text(&out), "[?][short]");
    lines_close(in);
    buf_free(&all);
    buf_free(&out);
    close(fd);
}

static void waiting_is_for_what_can_be_had_at_once(void)
{
    struct err e = ERR_NONE;
    struct lines *in = NULL;
    struct line line;
    char path[64];
    int fd[2];

    CHECK_INT(pipe(fd), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd[0]);
    CHECK_INT(lines_open(&in, path, MAX, &e), 0);
    CHECK(!lines_waiting(in));
    io_write(fd[1], "a\nb\nhalf", 8);
    CHECK(lines_waiting(in));
    lines_next(in, &line, &e);
    CHECK(lines_waiting(in));
    lines_next(in, &line, &e);
    CHECK_STR(line.text, "b");
    CHECK(!lines_waiting(in));
    io_write(fd[1], "way\n", 4);
    CHECK(lines_waiting(in));
    lines_next(in, &line, &e);
    CHECK_STR(line.text, "halfway");
    CHECK(!lines_waiting(in));
    close(fd[1]);
    CHECK(lines_waiting(in));
    CHECK_INT(lines_next(in, &line, &e), LINES_END);
    CHECK(lines_waiting(in));
    lines_close(in);
    close(fd[0]);
}

static void ready_is_what_needs_no_reading(void)
{
    struct err e = ERR_NONE;
    struct lines *in = NULL;
    struct line line;
    char path[64];
    int fd[2];

    CHECK_INT(pipe(fd), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd[0]);
    CHECK_INT(lines_open(&in, path, MAX, &e), 0);
    io_write(fd[1], "a\nb\nhalf", 8);
    CHECK(!lines_ready(in));
    lines_next(in, &line, &e);
    CHECK_STR(line.text, "a");
    CHECK(lines_ready(in));
    lines_next(in, &line, &e);
    CHECK_STR(line.text, "b");
    io_write(fd[1], "way", 3);
    close(fd[1]);
    CHECK(!lines_ready(in)); /* the rest must be read, and so must the end */
    CHECK(lines_waiting(in));
    CHECK(lines_ready(in));
    lines_next(in, &line, &e);
    CHECK_STR(line.text, "halfway");
    CHECK(!lines_ready(in));
    CHECK_INT(lines_next(in, &line, &e), LINES_END);
    lines_close(in);
    close(fd[0]);
}

/* Each byte is written only when the reader has asked for it: it must poll. */
static void a_non_blocking_pipe_is_read_to_its_end(void)
{
    struct err e = ERR_NONE;
    struct lines *in = NULL;
    struct buf out = BUF_INIT;
    int fd[2], saved = dup(STDIN_FILENO), state;
    pid_t writer;

    CHECK_INT(pipe(fd), 0);
    fflush(stdout);
    writer = fork();
    if (writer == 0) {
        close(fd[0]);
        for (const char *c = "one\ntwo\nend"; *c != '\0'; c++) {
            io_write(fd[1], c, 1);
            sched_yield();
        }
        _exit(0);
    }
    close(fd[1]);
    fcntl(fd[0], F_SETFL, O_NONBLOCK);
    dup2(fd[0], STDIN_FILENO);
    lines_open(&in, NULL, MAX, &e);
    CHECK(lines_name(in) == NULL);
    read_all(in, &out);
    CHECK_TEXT(buf_text(&out), "[one][two][end]!");
    lines_close(in);
    CHECK(fcntl(STDIN_FILENO, F_GETFD) >= 0);
    waitpid(writer, &state, 0);
    dup2(saved, STDIN_FILENO);
    close(saved);
    close(fd[0]);
    buf_free(&out);
}

static void what_cannot_be_opened_says_why(void)
{
    static const struct {
        const char *path;
        int status;
        const char *text;
    } rows[] = {
        {"/nonexistent/in", EX_NOINPUT, "/nonexistent/in: No such file or directory"},
        {"/tmp", EX_DATAERR, "/tmp is a directory"},
        {"/nonexistent\x1b", EX_NOINPUT, "/nonexistent\\x1b: No such file or directory"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;
        struct lines *in = NULL;

        CHECK_INT(lines_open(&in, rows[i].path, MAX, &e), -1);
        CHECK_INT(e.status, rows[i].status);
        CHECK_TEXT(e.text, rows[i].text);
        CHECK(in == NULL);
    }
    lines_close(NULL);
}

/* Run f in a child with stdout as given; its exit status is that of f. */
static int in_child(int (*f)(void), int fd)
{
    int state = 0;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_IGN);
        dup2(fd, STDOUT_FILENO);
        close(fd);
        if (dup2(open("/dev/null", O_WRONLY), STDERR_FILENO) < 0)
            _exit(99);
        _exit(f());
    }
    waitpid(pid, &state, 0);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

static int print_lines(void)
{
    struct err e = ERR_NONE;
    struct buf big = BUF_INIT;

    for (int i = 0; i < 20000 && out_line(STR("0123456789"), &e) == 0; i++)
        ;
    for (int i = 0; i < 100000; i++)
        buf_char(&big, 'x');
    out_line((struct str){big.p, big.n}, &e);
    out_write("a", 1, &e);
    out_write("b\n", 2, &e);
    buf_free(&big);
    return out_finish(&e);
}

static void everything_printed_arrives_in_order(void)
{
    char path[64];
    int fd = file_with("", 0, path);
    struct stat st;
    char end[6] = "";

    CHECK_INT(in_child(print_lines, fd), 0);
    fstat(fd, &st);
    CHECK_INT(st.st_size, 20000 * 11 + 100001 + 3);
    CHECK_INT(pread(fd, end, 5, st.st_size - 5), 5);
    CHECK_TEXT(end, "x\nab\n");
    close(fd);
}

/* The pipe holds packets: what one write(2) wrote comes back from one read(2). */
static void no_write_ends_in_the_middle_of_a_line(void)
{
    static char packet[1 << 17];
    int fd[2], state = 0, packets = 0;
    ssize_t n;
    pid_t pid;

    CHECK_INT(pipe(fd), 0);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        struct err e = ERR_NONE;

        close(fd[0]);
        dup2(fd[1], STDOUT_FILENO);
        close(fd[1]);
        for (int i = 0; i < 30000; i++) {
            out_write("01234", 5, &e);
            out_write("56789\n", 6, &e);
            out_line(STR("abc"), &e);
        }
        _exit(out_finish(&e));
    }
    close(fd[1]);
    while ((n = read(fd[0], packet, sizeof packet)) > 0) {
        packets++;
        CHECK(n == 65536 || packet[n - 1] == '\n'); /* a full pipe cuts, we don't */
    }
    CHECK(packets > 1);
    waitpid(pid, &state, 0);
    CHECK_INT(state, 0);
    close(fd[0]);
}

static int print_to_nobody(void)
{
    struct err e = ERR_NONE;

    out_line(STR("x"), &e);
    if (out_gone() || out_flush(&e) != 0 || !out_gone())
        return 98;
    for (int i = 0; i < 100000; i++)
        if (out_line(STR("lost"), &e) != 0)
            return 97;
    return out_finish(&e);
}

static void a_reader_that_has_gone_is_a_clean_stop(void)
{
    int fd[2];

    CHECK_INT(pipe(fd), 0);
    close(fd[0]);
    CHECK_INT(in_child(print_to_nobody, fd[1]), 0);
    close(fd[1]);
}

static volatile sig_atomic_t told_to_stop;

static void on_signal(int number)
{
    (void)number;
    told_to_stop = 1;
}

static bool stopping(void)
{
    return told_to_stop != 0;
}

/* The parent reads nothing: the pipe fills up, and the write ends only because of the signal. */
static int print_until_told(void)
{
    struct sigaction act = {.sa_handler = on_signal};
    struct itimerval soon = {{0, 20000}, {0, 20000}};
    struct err e = ERR_NONE;

    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    out_stop_when(stopping);
    while (!out_gone())
        if (out_line(STR("0123456789"), &e) != 0)
            return 98;
    return out_finish(&e);
}

static void a_signal_ends_the_wait_for_a_reader_that_reads_nothing(void)
{
    int fd[2];

    CHECK_INT(pipe(fd), 0);
    CHECK_INT(in_child(print_until_told, fd[1]), 0);
    fcntl(fd[1], F_SETFL, O_NONBLOCK);
    CHECK_INT(in_child(print_until_told, fd[1]), 0);
    close(fd[0]);
    close(fd[1]);
}

static int print_one(void)
{
    struct err e = ERR_NONE;

    if (out_line(STR("x"), &e) != 0)
        return 98;
    return out_finish(&e);
}

static int print_and_fail(void)
{
    struct err e = ERR_NONE;

    out_line(STR("x"), &e);
    err_set(&e, EX_DATAERR, "the first error");
    return out_finish(&e);
}

static int print_nothing(void)
{
    struct err e = ERR_NONE;

    return out_finish(&e);
}

static int print_after_a_failure(void)
{
    struct err first = ERR_NONE, second = ERR_NONE, last = ERR_NONE;

    out_line(STR("x"), &first);
    if (out_flush(&first) == 0 || out_line(STR("y"), &second) == 0 || second.status != EX_IOERR)
        return 98;
    return out_finish(&last);
}

static void a_full_disk_is_noticed_at_the_latest_at_the_end(void)
{
    int full = open("/dev/full", O_WRONLY), closed = open("/dev/null", O_RDONLY);

    CHECK_INT(in_child(print_one, full), EX_IOERR);
    CHECK_INT(in_child(print_lines, full), EX_IOERR);
    CHECK_INT(in_child(print_nothing, full), 0);
    CHECK_INT(in_child(print_and_fail, full), EX_DATAERR);
    CHECK_INT(in_child(print_after_a_failure, full), EX_IOERR);
    CHECK_INT(in_child(print_one, closed), EX_IOERR);
    CHECK_INT(in_child(print_nothing, closed), 0);
    close(full);
    close(closed);
}

int main(void)
{
    RUN(exact_bytes_come_in_line_by_line);
    RUN(a_nul_is_a_byte_like_any_other);
    RUN(lines_longer_than_the_block_arrive_whole);
    RUN(a_line_too_long_is_passed_over_in_any_pieces);
    RUN(waiting_is_for_what_can_be_had_at_once);
    RUN(ready_is_what_needs_no_reading);
    RUN(a_non_blocking_pipe_is_read_to_its_end);
    RUN(what_cannot_be_opened_says_why);
    RUN(everything_printed_arrives_in_order);
    RUN(no_write_ends_in_the_middle_of_a_line);
    RUN(a_reader_that_has_gone_is_a_clean_stop);
    RUN(a_signal_ends_the_wait_for_a_reader_that_reads_nothing);
    RUN(a_full_disk_is_noticed_at_the_latest_at_the_end);
    return unit_done();
}

#include "process/child.h"

#include "base/clock.h"
#include "base/duration.h"
#include "cli/out.h"
#include "cli/say.h"
#include "process/proc.h"
#include "process/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINGER_MS 1000 /* how long output may come after the end */
#define STOP_MS 500
#define FED_MAX (256 << 10) /* bytes moved at once, so that moving costs little */
#define LINE_MAX_BYTES 4096

enum { IN = 0, OUT = 1, ERRORS = 2, WORD = 3 };

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Signal all that the child started: for a wrapper these are all our descendants. */
static void end(const struct child *c, pid_t leader, int signal_number)
{
    if (c->run.given == NULL)
        proc_kill(leader, c->run.marker, signal_number);
    else
        proc_kill_all(leader, signal_number);
}

static void shut_theirs(struct child *c)
{
    for (int i = 0; i < CHILD_FDS; i++)
        shut(&c->theirs[i]);
}

static void shut_all(struct child *c)
{
    shut_theirs(c);
    for (int i = 0; i < CHILD_FDS; i++)
        shut(&c->fd[i]);
}

/* May its input fill the pipe? If not, one write at the start is enough, and never blocks. */
static bool feeds_on(const struct child *c)
{
    return c->run.stay || c->run.input.n > PIPE_BUF;
}

/* The pipes: theirs are the child's ends; c->fd are ours. We write only what fits, and read only
   when poll says that there is something. */
static int make_pipes(struct child *c, int *theirs, struct err *e)
{
    for (int i = 0; i < CHILD_FDS; i++)
        c->fd[i] = c->theirs[i] = theirs[i] = -1;
    for (int i = 0; i < CHILD_FDS; i++) {
        int pair[2];
        if (c->run.given != NULL && c->run.given[i] != CHILD_PIPE) {
            theirs[i] = c->run.given[i];
            continue;
        }
        if (pipe2(pair, O_CLOEXEC) != 0) {
            int why = errno;
            err_errno(e, EX_OSERR, "cannot make a pipe");
            errno = why;
            return -1;
        }
        c->fd[i] = pair[i == IN];
        theirs[i] = pair[i != IN];
        if (i == IN && feeds_on(c))
            fcntl(c->fd[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
}

/* A command need not read its input, or all of it. */
static void feed(struct child *c)
{
    while (c->fd[IN] >= 0) {
        struct str all = c->run.stay ? (struct str){c->in.p, c->in.n} : c->run.input;
        size_t left = all.n - c->fed;
        if (left == 0 && c->run.stay && !c->last_input)
            return;
        ssize_t n = left == 0 ? 0 : write(c->fd[IN], all.p + c->fed, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            shut(&c->fd[IN]);
        else
            c->fed += (size_t)n;
    }
}

int child_start(struct child *c, const struct child_run *run, struct err *e)
{
    int theirs[PROC_FDS], failed, why;

    c->run = *run;
    c->spill = -1;
    failed = make_pipes(c, theirs, e) < 0;
    if (!failed) {
        c->started_ms = clock_now_ms();
        c->began_ms = clock_mono_ms();
        c->kill_at_ms =
            run->timeout_ms == 0 || run->stay ? INT64_MAX : c->began_ms + run->timeout_ms;
        theirs[CHILD_FDS] = run->fd4;
        int n = theirs[WORD] < 0 ? WORD : CHILD_FDS + (run->fd4 > 0);
        c->pid = proc_start(run->argv, run->envp, theirs, n, run->given != NULL, e);
        failed = c->pid < 0;
    }
    why = errno;
    for (int i = 0; i < CHILD_FDS; i++)
        if (run->one_end && i != IN)
            c->theirs[i] = theirs[i];
        else if (run->given == NULL || run->given[i] == CHILD_PIPE)
            shut(&theirs[i]);
    if (failed) {
        shut_all(c);
        c->pid = 0;
        errno = why;
        return -1;
    }
    c->open = true;
    feed(c); /* most inputs fit a pipe: one write is enough */
    return 0;
}

size_t child_fds(const struct child *c, struct pollfd *fds)
{
    size_t n = 0;

    for (int i = 0; i < CHILD_FDS; i++)
        if (c->fd[i] >= 0 && (i != IN || !c->run.stay || c->in.n > c->fed))
            fds[n++] = (struct pollfd){.fd = c->fd[i], .events = i == IN ? POLLOUT : POLLIN};
    return n;
}

/* ----------------------------------------------------------------------------------- its output */

static int keep_output(struct child *c, const char *p, size_t n, struct err *e)
{
    c->out_size += (int64_t)n;
    if (c->run.stay)
        c->out_size = (int64_t)(c->out.n + n);
    if (c->run.given == NULL && c->out_size > CHILD_OUTPUT_MAX) {
        if (!c->too_much)
            end(c, c->ended ? 0 : c->pid, SIGKILL);
        c->too_much = true;
        return 0;
    }
    if (c->run.stay || (c->spill < 0 && c->out.n + n <= CHILD_MEMORY_MAX)) {
        buf_add(&c->out, p, n);
        return 0;
    }
    if (c->spill < 0 && (c->spill = spill_open(e)) < 0)
        return -1;
    return spill_add(c->spill, p, n, e);
}

/* Keep the tail, and pass on whole lines. */
static void note_errors(struct child *c, const char *p, size_t n)
{
    buf_add(&c->errors, p, n);
    if (c->errors.n > 2 * CHILD_TAIL_MAX)
        buf_splice(&c->errors, 0, c->errors.n - CHILD_TAIL_MAX, "", 0);
    while (n > 0) {
        const char *newline = memchr(p, '\n', n);
        size_t part = newline == NULL ? n : (size_t)(newline - p);
        buf_add(&c->line, p, part);
        if (newline != NULL || c->line.n > LINE_MAX_BYTES) {
            say_pass(&c->run.about, c->line.p == NULL ? "" : c->line.p, c->line.n);
            buf_reset(&c->line);
        }
        part += newline != NULL;
        p += part;
        n -= part;
    }
}

/* One line with a word. An unknown word or an invalid delay is only reported: it must not change
   the outcome. */
static void heed(struct child *c, struct str line)
{
    struct err wrong = ERR_NONE;
    struct buf text = BUF_INIT;
    int64_t delay;

    buf_str(&text, line);
    const char *word = buf_text(&text);
    if (strncmp(word, "reason ", 7) == 0) {
        buf_reset(&c->reason);
        buf_add(&c->reason, word + 7, strnlen(word + 7, CHILD_REASON_MAX));
    } else if (strncmp(word, "delay ", 6) == 0 && duration_read(word + 6, &delay, &wrong) == 0) {
        c->delay_ms = delay;
    } else {
        say(SAY_WARN, 0, &c->run.about,
            "on descriptor 3 a handler writes \"delay D\" or \"reason TEXT\", not %s",
            err_quote(line.p, line.n).text);
    }
    buf_free(&text);
}

/* Process whole lines; keep the beginning of a line that does not end. */
static void note_word(struct child *c, const char *p, size_t n)
{
    while (n > 0) {
        const char *newline = memchr(p, '\n', n);
        size_t part = newline == NULL ? n : (size_t)(newline - p);
        size_t room = c->word.n < LINE_MAX_BYTES ? LINE_MAX_BYTES - c->word.n : 0;
        buf_add(&c->word, p, part < room ? part : room);
        if (newline != NULL) {
            heed(c, (struct str){c->word.p == NULL ? "" : c->word.p, c->word.n});
            buf_reset(&c->word);
            part++;
        }
        p += part;
        n -= part;
    }
}

static int take_block(struct child *c, int which, struct err *e)
{
    char block[65536];
    ssize_t n = read(c->fd[which], block, sizeof block);

    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        shut(&c->fd[which]);
    else if (which == ERRORS)
        note_errors(c, block, (size_t)n);
    else if (which == WORD)
        note_word(c, block, (size_t)n);
    else
        return keep_output(c, block, (size_t)n, e);
    return 0;
}

/* Take a block at most from each pipe. 1; 0: there is nothing now; -1. */
static int take_blocks(struct child *c, struct err *e)
{
    struct pollfd fds[CHILD_FDS];
    int which[CHILD_FDS], n = 0;

    for (int i = OUT; i < CHILD_FDS; i++)
        if (c->fd[i] >= 0) {
            fds[n] = (struct pollfd){.fd = c->fd[i], .events = POLLIN};
            which[n++] = i;
        }
    if (n == 0 || poll(fds, (nfds_t)n, 0) <= 0)
        return 0;
    for (int i = 0; i < n; i++)
        if (fds[i].revents & POLLIN) {
            if (take_block(c, which[i], e) < 0)
                return -1;
        } else if (fds[i].revents != 0) {
            shut(&c->fd[which[i]]);
        }
    return 1;
}

/* ------------------------------------------------------------------------------------ the clock */

static void act_on_clock(struct child *c, int64_t now_ms)
{
    if (c->ended) {
        if (c->open && now_ms >= c->ended_ms + LINGER_MS)
            shut_all(c);
        return;
    }
    if (now_ms < c->kill_at_ms)
        return;
    if (c->force == CHILD_RUNS) {
        c->timed_out = true;
        c->force = CHILD_TERMED;
        c->kill_at_ms = now_ms + c->run.grace_ms;
        end(c, c->pid, SIGTERM);
    } else {
        c->force = CHILD_KILLED;
        c->kill_at_ms = now_ms + LINGER_MS; /* again, for processes that were being forked during
                                               the first time */
        end(c, c->pid, SIGKILL);
    }
}

void child_feed(struct child *c, struct str input)
{
    /* Drop the input that the child has read, at the latest when that is most of the block. */
    if (c->fed > 0 && (c->fed == c->in.n || c->fed >= FED_MAX)) {
        buf_splice(&c->in, 0, c->fed, "", 0);
        c->fed = 0;
    }
    buf_str(&c->in, input);
}

void child_end_input(struct child *c)
{
    c->last_input = true;
    feed(c);
}

void child_time_up(struct child *c, int64_t now_ms)
{
    if (c->kill_at_ms > now_ms)
        c->kill_at_ms = now_ms;
}

void child_stop(struct child *c, int64_t now_ms)
{
    if (c->ended || c->force != CHILD_RUNS)
        return;
    c->force = CHILD_TERMED;
    c->kill_at_ms = now_ms + STOP_MS;
    end(c, c->pid, SIGTERM);
}

void child_lose(struct child *c, int64_t now_ms)
{
    c->lost = true;
    shut(&c->fd[OUT]);
    if (c->ended)
        return;
    c->force = CHILD_KILLED;
    c->kill_at_ms = now_ms + LINGER_MS;
    end(c, c->pid, SIGKILL);
}

int child_io(struct child *c, int64_t now_ms, struct err *e)
{
    int got = 1;

    feed(c);
    /* All that it left behind, but no flood: that must not delay the timeouts. */
    for (int i = 0; i < 8 && got > 0; i++)
        if ((got = take_blocks(c, e)) < 0)
            return -1;
        else if (!c->ended)
            break;
    act_on_clock(c, now_ms);
    c->open = c->fd[OUT] >= 0 || c->fd[ERRORS] >= 0;
    return 0;
}

int64_t child_deadline(const struct child *c)
{
    return c->ended ? c->ended_ms + LINGER_MS : c->kill_at_ms;
}

static void explain(struct child *c, int wait_status)
{
    char limit[DURATION_TEXT_SIZE];

    buf_reset(&c->text);
    if (c->timed_out)
        buf_printf(&c->text, "timed out after %s", duration_format(limit, c->run.timeout_ms));
    else if (WIFSIGNALED(wait_status))
        buf_printf(&c->text, "killed by signal %d (%s)", WTERMSIG(wait_status),
                   strsignal(WTERMSIG(wait_status)));
    else {
        buf_puts(&c->text, "exit status ");
        buf_int(&c->text, WEXITSTATUS(wait_status));
    }
}

void child_ended(struct child *c, int wait_status, int64_t now_ms)
{
    c->ended = true;
    c->ended_ms = now_ms;
    c->took_ms = now_ms - c->began_ms;
    c->status = c->timed_out ? EX_TIMED_OUT : proc_status(wait_status);
    explain(c, wait_status);
    shut(&c->fd[IN]);
    shut_theirs(c);
    if (c->force != CHILD_RUNS) /* processes in other sessions that survived it */
        end(c, 0, SIGKILL);
}

bool child_done(struct child *c)
{
    size_t n = c->errors.n > CHILD_TAIL_MAX ? CHILD_TAIL_MAX : c->errors.n;

    if (!c->ended || c->open)
        return false;
    if (c->too_much) { /* perhaps from processes that it left behind */
        c->status = EX_NO;
        buf_reset(&c->text);
        buf_printf(&c->text, "more than %d MiB of output", CHILD_OUTPUT_MAX >> 20);
    }
    if (c->word.n > 0) /* a last line without its newline */
        heed(c, (struct str){c->word.p, c->word.n});
    buf_reset(&c->word);
    if (c->why == NULL && c->reason.n > 0) {
        buf_puts(&c->text, ": ");
        buf_str(&c->text, (struct str){c->reason.p, c->reason.n});
    }
    c->why = buf_text(&c->text);
    if (c->line.n > 0) /* a last line without its newline */
        say_pass(&c->run.about, c->line.p, c->line.n);
    buf_reset(&c->line);
    c->tail = (struct str){n == 0 ? "" : c->errors.p + c->errors.n - n, n};
    if (n < c->errors.n) /* do not cut a character */
        for (; c->tail.n > 0 && (*c->tail.p & 0xc0) == 0x80; c->tail.n--)
            c->tail.p++;
    return true;
}

bool child_has_output(const struct child *c)
{
    return c->out_size > 0;
}

static int pass(void *into, const char *p, size_t n, struct err *e)
{
    if (into == NULL)
        return out_write(p, n, e);
    buf_add(into, p, n);
    return 0;
}

int child_output(struct child *c, struct buf *into, struct err *e)
{
    if (pass(into, c->out.p == NULL ? "" : c->out.p, c->out.n, e) < 0)
        return -1;
    return c->spill < 0 ? 0 : spill_each(c->spill, pass, into, e);
}

void child_init(struct child *c)
{
    *c = (struct child){
        .spill = -1, .fd = {-1, -1, -1, -1}, .theirs = {-1, -1, -1, -1}, .delay_ms = -1};
}

void child_reset(struct child *c)
{
    struct child old = *c;

    shut_all(c);
    if (c->spill >= 0)
        close(c->spill);
    child_init(c);
    c->in = old.in;
    c->out = old.out;
    c->errors = old.errors;
    c->line = old.line;
    c->word = old.word;
    c->reason = old.reason;
    c->text = old.text;
    buf_reset(&c->in);
    buf_reset(&c->out);
    buf_reset(&c->errors);
    buf_reset(&c->line);
    buf_reset(&c->word);
    buf_reset(&c->reason);
}

void child_free(struct child *c)
{
    child_reset(c);
    buf_free(&c->in);
    buf_free(&c->out);
    buf_free(&c->errors);
    buf_free(&c->line);
    buf_free(&c->word);
    buf_free(&c->reason);
    buf_free(&c->text);
}

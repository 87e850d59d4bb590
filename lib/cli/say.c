#include "cli/say.h"

#include "base/clock.h"
#include "base/io.h"
#include "base/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_MS 500

static struct {
    const char *command;
    enum say_format format;
    int64_t next_ms; /* of the line of progress, monotonic */
    bool terminal, shown;
} state = {.command = "eventutils", .format = SAY_TEXT};

void say_name(const char *name)
{
    state.command = name;
}

const char *say_command(void)
{
    return state.command;
}

void say_format(enum say_format format)
{
    state.format = format;
}

static void add_member(struct buf *b, const char *key, struct str value)
{
    if (value.p == NULL)
        return;
    buf_printf(b, ",\"%s\":", key);
    js_quote(b, value);
}

static void json_message(struct buf *out, enum say_level level, int code,
                         const struct say_about *about, struct str text)
{
    static const char *const levels[] = {"note", "warn", "error"};
    char now[CLOCK_TEXT_SIZE];

    buf_printf(out, "{\"time\":\"%s\",\"level\":\"%s\"", clock_format(now, clock_now_ms()),
               levels[level]);
    add_member(out, "cmd", str_of(state.command));
    add_member(out, "msg", text);
    if (code != 0)
        buf_printf(out, ",\"code\":%d", code);
    if (about != NULL) {
        add_member(out, "id", about->id);
        add_member(out, "type", about->type);
        add_member(out, "group", about->group);
        if (about->attempt != 0)
            buf_printf(out, ",\"attempt\":%lld", (long long)about->attempt);
        add_member(out, "correlationid", about->correlationid);
    }
    buf_puts(out, "}\n");
}

static void say_list(enum say_level level, int code, const struct say_about *about,
                     const char *format, va_list args)
{
    struct buf raw = BUF_INIT, text = BUF_INIT, out = BUF_INIT;
    int number = errno;

    buf_vprintf(&raw, format, args);
    err_escape(&text, raw.p, raw.n);
    if (state.format == SAY_JSON) {
        json_message(&out, level, code, about, (struct str){buf_text(&text), text.n});
    } else {
        err_escape(&out, state.command, strlen(state.command));
        buf_puts(&out, ": ");
        buf_add(&out, text.p, text.n);
        buf_char(&out, '\n');
    }
    (void)io_write(STDERR_FILENO, out.p, out.n); /* if this fails, it cannot be reported */
    buf_free(&raw);
    buf_free(&text);
    buf_free(&out);
    errno = number;
}

void say(enum say_level level, int code, const struct say_about *about, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_list(level, code, about, format, args);
    va_end(args);
}

void say_note(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_list(SAY_NOTE, 0, NULL, format, args);
    va_end(args);
}

void say_warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say_list(SAY_WARN, 0, NULL, format, args);
    va_end(args);
}

void say_pass(const struct say_about *about, const char *p, size_t n)
{
    struct buf text = BUF_INIT, out = BUF_INIT;

    err_escape(&text, p, n);
    if (state.format == SAY_JSON) {
        json_message(&out, SAY_NOTE, 0, about, (struct str){buf_text(&text), text.n});
    } else {
        buf_add(&out, text.p, text.n);
        buf_char(&out, '\n');
    }
    (void)io_write(STDERR_FILENO, out.p, out.n);
    buf_free(&text);
    buf_free(&out);
}

void say_progress_begin(void)
{
    state.terminal = isatty(STDERR_FILENO) == 1;
    state.next_ms = clock_mono_ms() + 2 * PROGRESS_MS;
}

void say_progress_end(void)
{
    if (state.shown)
        io_write(STDERR_FILENO, "\r\033[K", 4);
    state.shown = false;
}

void say_progress(int64_t seq, int64_t last)
{
    char text[120];
    int64_t now = clock_mono_ms();

    if (!state.terminal || now < state.next_ms || seq >= last)
        return;
    state.next_ms = now + PROGRESS_MS;
    int n = snprintf(text, sizeof text, "\r\033[K%.40s: seq %" PRId64 " of %" PRId64 ", %d %%",
                     state.command, seq, last, (int)(100.0 * (double)seq / (double)last));
    io_write(STDERR_FILENO, text, (size_t)n);
    state.shown = true;
}

int say_report(const struct err *e)
{
    if (e->status != 0 && e->text[0] != '\0')
        say(SAY_ERROR, e->status, NULL, "%s", e->text);
    return e->status;
}

#include "base/err.h"

#include "cli/say.h"
#include "unit.h"

#include <errno.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

/* What is said between hear and heard, and in how many bytes. */
static int real_stderr, ear;
static char said[20000];

static void hear(void)
{
    real_stderr = dup(STDERR_FILENO);
    ear = memfd_create("stderr", 0);
    dup2(ear, STDERR_FILENO);
}

static struct str heard(void)
{
    ssize_t n;

    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    n = pread(ear, said, sizeof said - 1, 0);
    close(ear);
    said[n] = '\0';
    return (struct str){said, (size_t)n};
}

static void the_first_error_stays(void)
{
    struct err e = ERR_NONE;

    CHECK_INT(err_set(&e, EX_DATAERR, "duplicate key \"%s\"", "id"), -1);
    CHECK_INT(err_set(&e, EX_IOERR, "second"), -1);
    errno = ENOENT;
    CHECK_INT(err_errno(&e, 0, "third"), -1);
    CHECK_INT(e.status, EX_DATAERR);
    CHECK_TEXT(e.text, "duplicate key \"id\"");
}

static void places_are_put_in_front(void)
{
    struct err e = ERR_NONE;

    err_set(&e, EX_DATAERR, "duplicate key");
    CHECK_INT(err_at(&e, "line %d: ", 12), -1);
    CHECK_INT(err_at(&e, "%s: ", "in.ndjson"), -1);
    CHECK_TEXT(e.text, "in.ndjson: line 12: duplicate key");
    CHECK_INT(e.status, EX_DATAERR);
}

static void the_status_comes_from_errno(void)
{
    static const struct {
        int number, status;
    } rows[] = {{ENOENT, EX_NOINPUT}, {EACCES, EX_NOPERM}, {EPERM, EX_NOPERM}, {ENOMEM, EX_OSERR},
                {EAGAIN, EX_OSERR},   {EMFILE, EX_OSERR},  {EIO, EX_IOERR},    {ENOSPC, EX_IOERR}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err e = ERR_NONE;

        errno = rows[i].number;
        CHECK_INT(err_errno(&e, 0, "spool.db"), -1);
        CHECK_INT(e.status, rows[i].status);
        CHECK_INT(errno, rows[i].number);
    }
}

static void the_system_says_why(void)
{
    struct err e = ERR_NONE;

    errno = EACCES;
    err_errno(&e, EX_CANTCREAT, "cannot create %s", "x");
    CHECK_TEXT(e.text, "cannot create x: Permission denied");
    CHECK_INT(e.status, EX_CANTCREAT);
}

static void a_long_text_is_cut_between_characters(void)
{
    for (int n = 990; n < 1010; n++) {
        struct err e = ERR_NONE;

        err_set(&e, EX_DATAERR, "%*s%s", n, "", "éééééééééé");
        CHECK(strlen(e.text) < sizeof e.text);
        hear();
        say_report(&e);
        CHECK(memchr(heard().p, '\\', strlen(said)) == NULL);
    }
}

static const struct {
    const char *raw;
    size_t n;
    const char *shown;
} escapes[] = {
    {"plain text, \"quotes\" and \\n", 27, "plain text, \"quotes\" and \\n"},
    {"caf\xc3\xa9 \xe2\x86\x90 \xf0\x9f\x8d\xb5", 14, "caf\xc3\xa9 \xe2\x86\x90 \xf0\x9f\x8d\xb5"},
    {"\x1b]0;x\x07", 6, "\\x1b]0;x\\x07"},
    {"a\0b", 3, "a\\x00b"},
    {"\t\n\r\x7f", 4, "\\t\\n\\r\\x7f"},
    {"\xc2\x9b", 2, "\\u009b"},
    {"\xc2\xa0", 2, "\xc2\xa0"},
    {"\x9b", 1, "\\x9b"},
    {"\xff\xfe", 2, "\\xff\\xfe"},
    {"\xe2\x80\xa8\xe2\x80\xa9", 6, "\\u2028\\u2029"},
    {"\xd8\x9c", 2, "\\u061c"},
    {"\xe2\x80\x8e\xe2\x80\x8f", 6, "\\u200e\\u200f"},
    {"\xe2\x80\xaa\xe2\x80\xae", 6, "\\u202a\\u202e"},
    {"\xe2\x81\xa6\xe2\x81\xa9", 6, "\\u2066\\u2069"},
    {"\xef\xb7\x90\xef\xbf\xbf", 6, "\\ufdd0\\uffff"},
    {"\xf0\x9f\xbf\xbe\xf4\x8f\xbf\xbf", 8, "\\u{1fffe}\\u{10ffff}"},
    {"\xed\xa0\x80", 3, "\\xed\\xa0\\x80"}, /* a surrogate */
    {"\xc0\x80", 2, "\\xc0\\x80"},          /* too long for what it says */
    {"\xe0\x80\x9b", 3, "\\xe0\\x80\\x9b"},
    {"\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"}, /* beyond the last character */
    {"\xe2\x80", 2, "\\xe2\\x80"},                   /* cut */
    {"\xc3(", 2, "\\xc3("},
};

static void what_could_steer_a_terminal_is_escaped(void)
{
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        struct buf b = BUF_INIT;

        unit_row(escapes[i].shown);
        err_escape(&b, escapes[i].raw, escapes[i].n);
        CHECK_TEXT(buf_text(&b), escapes[i].shown);
        buf_free(&b);
    }
}

static void escaping_twice_changes_nothing(void)
{
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        struct buf b = BUF_INIT;

        err_escape(&b, escapes[i].shown, strlen(escapes[i].shown));
        CHECK_TEXT(buf_text(&b), escapes[i].shown);
        buf_free(&b);
    }
}

static void quoted_values_are_cut_after_80_characters(void)
{
    char raw[401], shown[100];
    struct err_quoted q;

    CHECK_TEXT(err_quote_text("a\nb").text, "\"a\\nb\"");
    CHECK_TEXT(err_quote_text("").text, "\"\"");
    CHECK_TEXT(err_quote_text(NULL).text, "\"\"");
    memset(raw, 'x', sizeof raw);
    snprintf(shown, sizeof shown, "\"%.80s\"", raw);
    CHECK_TEXT(err_quote(raw, 80).text, shown);
    snprintf(shown, sizeof shown, "\"%.80s…\"", raw);
    CHECK_TEXT(err_quote(raw, 81).text, shown);
    memset(raw, 0xff, sizeof raw);
    q = err_quote(raw, sizeof raw);
    CHECK_INT((int64_t)strlen(q.text), 80 * 4 + 5);
    for (int i = 0; i < 100; i++)
        memcpy(raw + 4 * i, "\xf4\x8f\xbf\xbf", 4);
    q = err_quote(raw, 400);
    CHECK(strlen(q.text) < sizeof q.text);
    CHECK_TEXT(q.text + strlen(q.text) - 5, "}…\"");
}

static void a_message_is_one_line_with_the_command_in_front(void)
{
    struct err e = ERR_NONE;

    say_name("publish");
    hear();
    say_note("%d events", 3);
    say_warn("slow");
    CHECK_INT(say_report(&e), 0);
    err_set(&e, EX_DATAERR, "in: line 2: unexpected %s", err_quote("\x1b", 1).text);
    CHECK_INT(say_report(&e), EX_DATAERR);
    CHECK_STR(heard(), "publish: 3 events\npublish: slow\npublish: in: line 2: unexpected "
                       "\"\\x1b\"\n");
}

static void a_status_alone_is_not_told(void)
{
    struct err e = ERR_NONE;

    e.status = EX_NO;
    hear();
    CHECK_INT(say_report(&e), EX_NO);
    CHECK_STR(heard(), "");
}

static void forgotten_control_characters_do_not_reach_the_terminal(void)
{
    struct err e = ERR_NONE;

    hear();
    say_note("%s", "a\x1b[31m\nb\xc2\x9b\xff");
    CHECK_STR(heard(), "publish: a\\x1b[31m\\nb\\u009b\\xff\n");
    err_set(&e, EX_DATAERR, "%s", "x\x1b");
    err_at(&e, "%s: ", "y\r");
    CHECK_TEXT(e.text, "y\\r: x\\x1b");
}

static void json_messages_have_the_members_that_are_known(void)
{
    struct say_about about = {.id = STR("17"), .group = STR("email"), .attempt = 2};
    json_t *root;

    say_format(SAY_JSON);
    hear();
    say(SAY_WARN, EX_TEMPFAIL, &about, "say \"%s\"", "x");
    root = json_loads(heard().p, 0, NULL);
    if (!CHECK(root != NULL))
        return;
    CHECK_INT((int64_t)json_object_size(root), 8);
    CHECK_INT((int64_t)strlen(json_string_value(json_object_get(root, "time"))), 24);
    CHECK_TEXT(json_string_value(json_object_get(root, "level")), "warn");
    CHECK_TEXT(json_string_value(json_object_get(root, "cmd")), "publish");
    CHECK_TEXT(json_string_value(json_object_get(root, "msg")), "say \"x\"");
    CHECK_INT(json_integer_value(json_object_get(root, "code")), EX_TEMPFAIL);
    CHECK_TEXT(json_string_value(json_object_get(root, "id")), "17");
    CHECK_TEXT(json_string_value(json_object_get(root, "group")), "email");
    CHECK_INT(json_integer_value(json_object_get(root, "attempt")), 2);
    json_decref(root);
    hear();
    say_note("nothing known");
    root = json_loads(heard().p, 0, NULL);
    CHECK_INT((int64_t)json_object_size(root), 4);
    json_decref(root);
    say_format(SAY_TEXT);
}

static void json_messages_are_valid_for_any_bytes(void)
{
    say_format(SAY_JSON);
    for (int i = 0; i < 256; i++) {
        char bytes[] = {'a', (char)i, '"', (char)(i * 7), '\\', (char)(255 - i), 0};
        struct say_about about = {
            .id = {bytes, 6}, .type = {bytes, 6}, .correlationid = {bytes, 6}};
        struct str line;
        json_t *root;

        hear();
        say(SAY_ERROR, EX_DATAERR, &about, "%s", bytes);
        line = heard();
        root = json_loadb(line.p, line.n, JSON_ALLOW_NUL, NULL);
        CHECK(line.n > 0 && memchr(line.p, '\n', line.n) == line.p + line.n - 1);
        if (!CHECK(root != NULL))
            break;
        json_decref(root);
    }
    say_format(SAY_TEXT);
}

int main(void)
{
    RUN(the_first_error_stays);
    RUN(places_are_put_in_front);
    RUN(the_status_comes_from_errno);
    RUN(the_system_says_why);
    RUN(a_long_text_is_cut_between_characters);
    RUN(what_could_steer_a_terminal_is_escaped);
    RUN(escaping_twice_changes_nothing);
    RUN(quoted_values_are_cut_after_80_characters);
    RUN(a_message_is_one_line_with_the_command_in_front);
    RUN(a_status_alone_is_not_told);
    RUN(forgotten_control_characters_do_not_reach_the_terminal);
    RUN(json_messages_have_the_members_that_are_known);
    RUN(json_messages_are_valid_for_any_bytes);
    return unit_done();
}

#include "cli/args.h"
#include "base/point.h"

#include "cli/out.h"
#include "store/log.h"
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static bool flag;
static const char *text;
static int64_t number = 7, size, wait_ms, range[2];
static struct point point;
static struct pattern_list patterns;
static bool codes[256] = {[1] = true};
static int choice;

static const struct opt options[] = {
    OPT_FLAG('f', "follow", &flag, "wait for more at the end"),
    OPT_TEXT('g', "group", &text, "GROUP", "the group to read as"),
    OPT_INT('n', "count", &number, "N", 1, 1000, "at most so many; default 7"),
    OPT_SIZE(0, "max-size", &size, "SIZE", 1024, 1 << 30, "longest line; default 8M"),
    OPT_DURATION(0, "timeout", &wait_ms, "how long one may take"),
    OPT_RANGE(0, "backoff", &range,
              "how long to wait before the next attempt: the first wait, which "
              "doubles, and the longest; default 1s..15m"),
    OPT_POINT(0, "from", &point, "where to begin"),
    OPT_PATTERN('t', "type", &patterns, "types that match; may be repeated"),
    OPT_CODES(0, "dead-on", &codes, "statuses that no retry helps; default 65"),
    OPT_CHOICE('o', "output", &choice, "auto|table|ndjson", "how to print"),
    OPT_END,
};

static const struct cmd filter = {
    .name = "publish",
    .about = "append events to the spool",
    .usage = {"[-t TYPE] [FILE]...", "--help"},
    .examples = {"publish -t order.placed in.ndjson", "date | publish -t tick --text"},
    .options = options,
};

static const struct cmd wrapper = {
    .name = "retry",
    .about = "run again",
    .usage = {"[OPTION]... -- COMMAND"},
    .options = options,
    .wrapper = true,
    .no_spool = true,
};

/* ---- running a command in a child, where it may exit */

static struct ran {
    int status;
    char out[8000], err[2000];
} ran;

static void read_back(int fd, char *into, size_t room)
{
    ssize_t n = pread(fd, into, room - 1, 0);

    into[n > 0 ? n : 0] = '\0';
    close(fd);
}

/* A line of words, "" for an empty one, split at blanks: argv begins with the command's name. */
static void run(int (*f)(int argc, char **argv), const char *line)
{
    char *words = strdup(line), *argv[20], *rest = NULL;
    int argc = 0, out = memfd_create("out", 0), err = memfd_create("err", 0), state = 0;
    pid_t pid;

    for (char *w = strtok_r(words, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest))
        argv[argc++] = strcmp(w, "\"\"") == 0 ? w + 2 : w;
    argv[argc] = NULL;
    unit_row(line);
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        _exit(f(argc, argv));
    }
    waitpid(pid, &state, 0);
    ran.status = WIFEXITED(state) ? WEXITSTATUS(state) : -1;
    read_back(out, ran.out, sizeof ran.out);
    read_back(err, ran.err, sizeof ran.err);
    free(words);
}

static int show_operands(char **operand)
{
    struct err e = ERR_NONE;

    for (; *operand != NULL; operand++)
        out_line(str_of(*operand), &e);
    return out_finish(&e);
}

static int as_filter(int argc, char **argv)
{
    return show_operands(argv + args_parse(&filter, argc, argv));
}

static int as_wrapper(int argc, char **argv)
{
    return show_operands(argv + args_parse(&wrapper, argc, argv));
}

static const struct opt list_options[] = {
    OPT_TEXT('g', "group", &text, "GROUP", "of this group"),
    OPT_END,
};

static const struct cmd verbs[] = {
    {.name = "list",
     .about = "list the dead letters",
     .usage = {"[-g GROUP]"},
     .examples = {"dlq list -g email"},
     .options = list_options,
     .run = show_operands},
    {.name = "try",
     .about = "run a mended handler",
     .usage = {"EVENT -- CMD"},
     .run = show_operands},
    {.name = "retry", .about = "give them back", .usage = {"EVENT..."}, .run = show_operands},
    {0},
};

static const struct cmd collection = {
    .name = "dlq",
    .about = "look after dead letters",
    .examples = {"dlq list"},
    .verbs = verbs,
};

static int as_collection(int argc, char **argv)
{
    return args_verb(&collection, argc, argv);
}

static int show_values(int argc, char **argv)
{
    struct err e = ERR_NONE;
    struct buf b = BUF_INIT;

    args_parse(&filter, argc, argv);
    buf_printf(&b, "%d %s %lld %lld %lld %lld..%lld %d:%lld %zu %d %d", flag,
               text != NULL ? text : "-", (long long)number, (long long)size, (long long)wait_ms,
               (long long)range[0], (long long)range[1], (int)point.kind, (long long)point.value,
               patterns.n, choice, args_given("group"));
    for (int i = 0; i < 256; i++)
        if (codes[i])
            buf_printf(&b, " %d", i);
    out_write(b.p, b.n, &e);
    return out_finish(&e);
}

/* ---- the promises */

static void values_arrive_where_the_table_says(void)
{
    static const struct {
        const char *line, *values;
    } rows[] = {
        {"publish", "0 - 7 0 0 0..0 0:0 0 0 0 1"},
        {"publish -f -g a -n 3", "1 a 3 0 0 0..0 0:0 0 0 1 1"},
        {"publish --group=a --count=3", "0 a 3 0 0 0..0 0:0 0 0 1 1"},
        {"publish -fga -n3", "1 a 3 0 0 0..0 0:0 0 0 1 1"},
        {"publish --max-size 64k", "0 - 7 65536 0 0..0 0:0 0 0 0 1"},
        {"publish --max-size 1M", "0 - 7 1048576 0 0..0 0:0 0 0 0 1"},
        {"publish --max-size 1G", "0 - 7 1073741824 0 0..0 0:0 0 0 0 1"},
        {"publish --timeout 1.5s", "0 - 7 0 1500 0..0 0:0 0 0 0 1"},
        {"publish --backoff 1s..15m", "0 - 7 0 0 1000..900000 0:0 0 0 0 1"},
        {"publish --from 17", "0 - 7 0 0 0..0 2:17 0 0 0 1"},
        {"publish -t a.* --type b", "0 - 7 0 0 0..0 0:0 2 0 0 1"},
        {"publish --dead-on 65,70", "0 - 7 0 0 0..0 0:0 0 0 0 65 70"},
        {"publish --dead-on 65 --dead-on 70", "0 - 7 0 0 0..0 0:0 0 0 0 65 70"},
        {"publish -o ndjson", "0 - 7 0 0 0..0 0:0 0 2 0 1"},
        {"publish --fol", "1 - 7 0 0 0..0 0:0 0 0 0 1"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run(show_values, rows[i].line);
        CHECK_TEXT(ran.err, "");
        CHECK_TEXT(ran.out, rows[i].values);
        CHECK_INT(ran.status, 0);
    }
}

static void wrong_usage_is_one_line_and_64(void)
{
    static const struct {
        const char *line, *message;
    } rows[] = {
        {"publish --max-size abc", "--max-size wants a size like 64k, 1M: \"abc\""},
        {"publish --max-size 64kB", "--max-size wants a size like 64k, 1M: \"64kB\""},
        {"publish --max-size -1", "--max-size wants a size like 64k, 1M: \"-1\""},
        {"publish --max-size 1000", "--max-size wants a size from 1k to 1G: \"1000\""},
        {"publish --max-size 99999999999G",
         "--max-size wants a size from 1k to 1G: \"99999999999G\""},
        {"publish -n 0", "-n wants a whole number from 1 to 1000: \"0\""},
        {"publish --count=3x", "--count wants a whole number from 1 to 1000: \"3x\""},
        {"publish -n 99999999999999999999",
         "-n wants a whole number from 1 to 1000: \"99999999999999999999\""},
        {"publish --timeout soon",
         "--timeout wants a duration like 500ms, 30s, 1.5h, 7d: \"soon\""},
        {"publish --backoff 2s..1s", "--backoff wants the shorter duration first: \"2s..1s\""},
        {"publish --from later", "--from wants start, now, today, a position, a date, a time or a "
                                 "duration: \"later\""},
        {"publish -t a..b", "-t wants a pattern like order.* or #, not \"a..b\": an empty word in "
                            "it; =TYPE names a type as it is"},
        {"publish --dead-on 65,",
         "--dead-on wants exit statuses from 1 to 255, like 65,70: \"65,\""},
        {"publish --dead-on 256",
         "--dead-on wants exit statuses from 1 to 255, like 65,70: \"256\""},
        {"publish -o html", "-o wants auto, table or ndjson: \"html\""},
        {"publish --log xml", "--log wants text or json: \"xml\""},
        {"publish -g \"\"", "-g is empty (an unset variable?)"},
        {"publish --group=", "--group is empty (an unset variable?)"},
        {"publish -t \"\"", "-t is empty (an unset variable?)"},
        {"publish -s \"\"", "-s is empty (an unset variable?)"},
        {"publish -g", "-g wants a value"},
        {"publish --group", "--group wants a value"},
        {"publish --follow=yes", "--follow takes no value"},
        {"publish -fx", "unknown option \"-x\""},
        {"publish --gruop a", "unknown option \"--gruop\", did you mean --group?"},
        {"publish --gruop=a", "unknown option \"--gruop\", did you mean --group?"},
        {"publish --nonsense", "unknown option \"--nonsense\""},
        {"publish --no\x1bnsense", "unknown option \"--no\\x1bnsense\""},
        {"publish --f a", "option \"--f\" could be --follow, --from"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char message[400];

        run(as_filter, rows[i].line);
        snprintf(message, sizeof message, "publish: %s (see publish --help)\n", rows[i].message);
        CHECK_TEXT(ran.err, message);
        CHECK_TEXT(ran.out, "");
        CHECK_INT(ran.status, EX_USAGE);
    }
}

static void operands_may_stand_between_options(void)
{
    run(as_filter, "publish a -f b -g x -- -c");
    CHECK_TEXT(ran.out, "a\nb\n-c\n");
    run(as_filter, "publish");
    CHECK_TEXT(ran.out, "");
    CHECK_INT(ran.status, 0);
}

static void a_wrapper_leaves_its_command_alone(void)
{
    run(as_wrapper, "retry -n 3 -- cmd -f -- --help");
    CHECK_TEXT(ran.out, "cmd\n-f\n--\n--help\n");
    run(as_wrapper, "retry -n 3 cmd -n 4");
    CHECK_TEXT(ran.out, "cmd\n-n\n4\n");
    run(as_wrapper, "retry name -- cmd");
    CHECK_TEXT(ran.out, "name\n--\ncmd\n");
    run(as_wrapper, "retry -s x cmd");
    CHECK_TEXT(ran.err, "retry: unknown option \"-s\" (see retry --help)\n");
}

static void help_is_one_screen_made_from_the_table(void)
{
    run(as_filter, "publish -n 3 --help --nonsense");
    CHECK_INT(ran.status, 0);
    CHECK_TEXT(ran.err, "");
    CHECK_TEXT(ran.out,
               "publish: append events to the spool\n"
               "\n"
               "examples:\n"
               "  publish -t order.placed in.ndjson\n"
               "  date | publish -t tick --text\n"
               "\n"
               "usage: publish [-t TYPE] [FILE]...\n"
               "       publish --help\n"
               "\n"
               "options:\n"
               "  -f, --follow              wait for more at the end\n"
               "  -g, --group GROUP         the group to read as\n"
               "  -n, --count N             at most so many; default 7\n"
               "      --max-size SIZE       longest line; default 8M\n"
               "      --timeout D           how long one may take\n"
               "      --backoff D..D        how long to wait before the next attempt: the first\n"
               "                            wait, which doubles, and the longest; default\n"
               "                            1s..15m\n"
               "      --from POINT          where to begin\n"
               "  -t, --type PATTERN        types that match; may be repeated\n"
               "      --dead-on CODES       statuses that no retry helps; default 65\n"
               "  -o, --output auto|table|ndjson\n"
               "                            how to print\n"
               "  -s, --spool SPOOL         the spool; by default $EVENT_SPOOL, else your own\n"
               "\n"
               "More: publish --help-all, man eventutils-publish\n");
}

static void the_version_names_the_toolkit(void)
{
    run(as_filter, "publish -V");
    CHECK_TEXT(ran.out, "publish (eventutils) " EVENTUTILS_VERSION "\n");
    CHECK_INT(ran.status, 0);
    run(as_collection, "dlq --version");
    CHECK_TEXT(ran.out, "dlq (eventutils) " EVENTUTILS_VERSION "\n");
    run(as_collection, "dlq list --version");
    CHECK_TEXT(ran.out, "dlq (eventutils) " EVENTUTILS_VERSION "\n");
}

static void a_verb_has_its_own_options_and_operands(void)
{
    run(as_collection, "dlq list a -g email b");
    CHECK_TEXT(ran.err, "");
    CHECK_TEXT(ran.out, "a\nb\n");
    CHECK_INT(ran.status, 0);
    run(as_collection, "dlq list");
    CHECK_TEXT(ran.out, "");
    run(as_collection, "dlq try -g email");
    CHECK_TEXT(ran.err, "dlq: unknown option \"-g\" (see dlq try --help)\n");
    CHECK_INT(ran.status, EX_USAGE);
}

static void a_missing_or_wrong_verb_names_those_there_are(void)
{
    static const struct {
        const char *line, *message;
    } rows[] = {
        {"dlq", "dlq: wants a verb: list, try or retry (see dlq --help)\n"},
        {"dlq lsit", "dlq: unknown verb \"lsit\", did you mean list? The verbs are list, try or "
                     "retry (see dlq --help)\n"},
        {"dlq xyzzy", "dlq: unknown verb \"xyzzy\"; the verbs are list, try or retry (see dlq "
                      "--help)\n"},
        {"dlq \"\"", "dlq: unknown verb \"\"; the verbs are list, try or retry (see dlq --help)\n"},
        {"dlq -g x list", "dlq: wants a verb before \"-g\": list, try or retry (see dlq --help)\n"},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run(as_collection, rows[i].line);
        CHECK_TEXT(ran.err, rows[i].message);
        CHECK_INT(ran.status, EX_USAGE);
    }
}

static void help_of_a_collection_lists_its_verbs(void)
{
    run(as_collection, "dlq --help");
    CHECK_TEXT(ran.out, "dlq: look after dead letters\n"
                        "\n"
                        "examples:\n"
                        "  dlq list\n"
                        "\n"
                        "usage: dlq VERB [OPTION]...\n"
                        "\n"
                        "verbs:\n"
                        "  list   list the dead letters\n"
                        "  try    run a mended handler\n"
                        "  retry  give them back\n"
                        "\n"
                        "More: dlq VERB --help, dlq --help-all, man eventutils-dlq\n");
    run(as_collection, "dlq list --help");
    CHECK_TEXT(ran.out, "dlq list: list the dead letters\n"
                        "\n"
                        "examples:\n"
                        "  dlq list -g email\n"
                        "\n"
                        "usage: dlq list [-g GROUP]\n"
                        "\n"
                        "options:\n"
                        "  -g, --group GROUP         of this group\n"
                        "  -s, --spool SPOOL         the spool; by default $EVENT_SPOOL, else your "
                        "own\n"
                        "\n"
                        "More: dlq list --help-all, man eventutils-dlq\n");
}

static void log_json_holds_for_the_usage_behind_it(void)
{
    run(as_filter, "publish --log json -n 0");
    CHECK_INT(ran.status, EX_USAGE);
    CHECK(strncmp(ran.err, "{\"time\":\"", 9) == 0);
    CHECK(strstr(ran.err, "\"level\":\"error\",\"cmd\":\"publish\",\"msg\":\"-n wants") != NULL);
    CHECK(strstr(ran.err, "\"code\":64}\n") != NULL);
}

static const struct args_rule rules[] = {
    {ARGS_REQUIRED, "group FILE", NULL, NULL},
    {ARGS_NEEDS, "timeout backoff", "count type", NULL},
    {ARGS_NEEDS, "from", "group", NULL},
    {ARGS_EXCLUDES, "follow", "output max-size dead-on", NULL},
    {ARGS_EXCLUDES, "output", "FILE", "-o is not for FILE"},
    {ARGS_ALONE, "group type count", NULL, NULL},
    {0},
};

static int as_ruled(int argc, char **argv)
{
    struct cmd ruled = filter;

    ruled.rules = rules;
    ruled.least = 0;
    ruled.most = 2;
    ruled.wants = "two FILEs at most";
    return show_operands(argv + args_parse(&ruled, argc, argv));
}

static int as_none(int argc, char **argv)
{
    struct cmd none = filter;

    none.most = ARGS_NO_OPERAND;
    return show_operands(argv + args_parse(&none, argc, argv));
}

static int as_one(int argc, char **argv)
{
    struct cmd one = wrapper;

    one.least = 1;
    one.wants = "a command";
    return show_operands(argv + args_parse(&one, argc, argv));
}

static void options_go_together_as_the_rules_say(void)
{
    static const struct {
        int (*f)(int argc, char **argv);
        const char *line, *says; /* NULL: it is right */
    } rows[] = {
        {as_ruled, "publish", "publish: -g GROUP or FILE is missing (see publish --help)\n"},
        {as_ruled, "publish a b", NULL},
        {as_ruled, "publish -g g --from 1 -f", NULL},
        {as_ruled, "publish -t a --backoff 1s a", NULL},
        {as_ruled, "publish -g g --timeout 1s",
         "publish: --timeout and --backoff go with -n or -t (see publish --help)\n"},
        {as_ruled, "publish a --from 1", "publish: --from goes with -g (see publish --help)\n"},
        {as_ruled, "publish a -f --dead-on 1",
         "publish: -f does not go with -o, --max-size or --dead-on (see publish --help)\n"},
        {as_ruled, "publish -o table a", "publish: -o is not for FILE (see publish --help)\n"},
        {as_ruled, "publish -t a -n 2 a",
         "publish: -g, -t and -n exclude each other (see publish --help)\n"},
        {as_ruled, "publish a b c",
         "publish: wants two FILEs at most; one too many: \"c\" (see publish --help)\n"},
        {as_none, "publish a", "publish: takes no operand: \"a\" (see publish --help)\n"},
        {as_one, "retry", "retry: a command is missing (see retry --help)\n"},
        {as_one, "retry a b", NULL},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run(rows[i].f, rows[i].line);
        CHECK_INT(ran.status, rows[i].says == NULL ? 0 : EX_USAGE);
        CHECK_TEXT(ran.err, rows[i].says == NULL ? "" : rows[i].says);
    }
}

static int show_spool(int argc, char **argv)
{
    struct err e = ERR_NONE;

    args_parse(&filter, argc, argv);
    out_line(str_of(args_spool()), &e);
    return out_finish(&e);
}

static void the_spool_is_looked_for_in_order(void)
{
    setenv("HOME", "/home/me", 1);
    unsetenv("XDG_STATE_HOME");
    unsetenv("EVENT_SPOOL");
    run(show_spool, "publish");
    CHECK_TEXT(ran.out, "/home/me/.local/state/eventutils/spool.db\n");
    setenv("XDG_STATE_HOME", "relative", 1);
    run(show_spool, "publish");
    CHECK_TEXT(ran.out, "/home/me/.local/state/eventutils/spool.db\n");
    setenv("XDG_STATE_HOME", "/state", 1);
    run(show_spool, "publish");
    CHECK_TEXT(ran.out, "/state/eventutils/spool.db\n");
    setenv("EVENT_SPOOL", "", 1);
    run(show_spool, "publish");
    CHECK_TEXT(ran.out, "/state/eventutils/spool.db\n");
    setenv("EVENT_SPOOL", "env.db", 1);
    run(show_spool, "publish");
    CHECK_TEXT(ran.out, "env.db\n");
    run(show_spool, "publish -s here.db");
    CHECK_TEXT(ran.out, "here.db\n");
    unsetenv("EVENT_SPOOL");
    unsetenv("XDG_STATE_HOME");
    unsetenv("HOME");
    run(show_spool, "publish");
    CHECK_TEXT(ran.err,
               "publish: no spool: neither -s nor EVENT_SPOOL nor HOME is set (see publish "
               "--help)\n");
    CHECK_INT(ran.status, EX_USAGE);
}

static int without_descriptors(int argc, char **argv)
{
    struct sigaction pipe_is, size_is;
    struct err e = ERR_NONE;
    int next;

    for (int fd = 0; fd <= 2; fd++)
        close(fd);
    args_parse(&filter, argc, argv);
    next = open("/dev/null", O_RDONLY);
    sigaction(SIGPIPE, NULL, &pipe_is);
    sigaction(SIGXFSZ, NULL, &size_is);
    if (next <= 2 || pipe_is.sa_handler != SIG_IGN || size_is.sa_handler != SIG_IGN)
        return 98;
    if (argc > 1)
        out_line(STR("lost"), &e);
    return out_finish(&e);
}

static void the_stage_is_set(void)
{
    run(without_descriptors, "publish");
    CHECK_INT(ran.status, 0);
    run(without_descriptors, "publish x");
    CHECK_INT(ran.status, EX_IOERR); /* what was to be printed has gone nowhere */
}

int main(void)
{
    RUN(values_arrive_where_the_table_says);
    RUN(wrong_usage_is_one_line_and_64);
    RUN(options_go_together_as_the_rules_say);
    RUN(operands_may_stand_between_options);
    RUN(a_wrapper_leaves_its_command_alone);
    RUN(help_is_one_screen_made_from_the_table);
    RUN(the_version_names_the_toolkit);
    RUN(a_verb_has_its_own_options_and_operands);
    RUN(a_missing_or_wrong_verb_names_those_there_are);
    RUN(help_of_a_collection_lists_its_verbs);
    RUN(log_json_holds_for_the_usage_behind_it);
    RUN(the_spool_is_looked_for_in_order);
    RUN(the_stage_is_set);
    return unit_done();
}

/*
 * Options are numbered: the command's own first, then the common ones. getopt_long gets a table
 * made from them, in which a long option's value is LONG plus its number and a short option's value
 * is its letter, so that messages can name an option as the user spelled it.
 */
#include "cli/args.h"

#include "base/duration.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/point.h"
#include "cli/engine.h"
#include "cli/out.h"
#include "cli/say.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OPTIONS_MAX 64
#define LONG 256
#define HELP_WIDTH 80
#define HELP_COLUMN 28 /* the column of the help text; a longer option gets its own line */
#define CALLED_MAX 40  /* "--" and the longest name */

static const char *spool_option;
static int log_option;
static bool wants_help, wants_help_all, wants_version;

static const struct opt common[] = {
    OPT_PATH('s', "spool", &spool_option, "SPOOL",
             "the spool; by default $EVENT_SPOOL, else your own"),
    OPT_CHOICE(0, "log", &log_option, "text|json", "how messages are written; default text"),
    OPT_FLAG('h', "help", &wants_help, "show examples and the common options"),
    OPT_FLAG(0, "help-all", &wants_help_all, "show all options"),
    OPT_FLAG('V', "version", &wants_version, "show the version"),
    OPT_END,
};

/* What is being parsed: collection is NULL except for a verb; order has all options, given whether
   each was used. */
static const struct cmd *collection, *current;
static const struct opt *order[OPTIONS_MAX];
static bool given[OPTIONS_MAX];
static size_t options;

/* The used options in order of use, with their values. */
static struct use {
    const struct opt *option;
    const char *value;
} * uses;
static size_t used;

/* Keep in *best the candidate nearest to word, if it is near at all. */
static void nearer(const char *word, const char *candidate, const char **best, size_t *least)
{
    size_t d = str_distance(str_of(word), str_of(candidate));

    if (d < *least && d <= 2 && d < strlen(candidate)) {
        *least = d;
        *best = candidate;
    }
}

/* --------------------------------------------------------------------------------------- help */

static void add_names(struct buf *b, const struct cmd *self)
{
    if (collection != NULL)
        buf_printf(b, "%s ", collection->name);
    buf_puts(b, self->name);
}

/* Print the words of text from column on, with later lines indented to that column. */
static void add_wrapped(struct buf *b, const char *text, size_t column)
{
    size_t at = column;

    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (at > column && at + 1 + n > HELP_WIDTH) {
            buf_printf(b, "\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            buf_char(b, ' ');
            at++;
        }
        buf_add(b, text, n);
        at += n;
        text += n + strspn(text + n, " ");
    }
    buf_char(b, '\n');
}

static void add_usage(struct buf *b, const struct cmd *self, const char *lead)
{
    size_t n = sizeof self->usage / sizeof self->usage[0];

    for (size_t i = 0; i == 0 || (i < n && self->usage[i] != NULL); i++) {
        size_t start = b->n;

        buf_printf(b, "%*s", (int)strlen(lead), i == 0 ? lead : "");
        add_names(b, self);
        if (self->usage[i] != NULL && self->usage[i][0] != '\0') {
            buf_char(b, ' ');
            add_wrapped(b, self->usage[i], b->n - start);
        } else {
            buf_char(b, '\n');
        }
    }
}

static void add_examples(struct buf *b, const struct cmd *self)
{
    size_t n = sizeof self->examples / sizeof self->examples[0];

    if (self->examples[0] == NULL)
        return;
    buf_puts(b, "examples:\n");
    for (size_t i = 0; i < n && self->examples[i] != NULL; i++)
        buf_printf(b, "  %s\n", self->examples[i]);
    buf_char(b, '\n');
}

static void add_option(struct buf *b, const struct opt *o)
{
    size_t start = b->n, wide;

    if (o->letter != 0)
        buf_printf(b, "  -%c%s", o->letter, o->name != NULL ? ", " : "");
    else
        buf_puts(b, "      ");
    if (o->name != NULL)
        buf_printf(b, "--%s", o->name);
    if (o->kind != OPT_KIND_FLAG)
        buf_printf(b, " %s", o->arg);
    wide = b->n - start;
    if (wide + 2 > HELP_COLUMN)
        buf_printf(b, "\n%*s", HELP_COLUMN, "");
    else
        buf_printf(b, "%*s", (int)(HELP_COLUMN - wide), "");
    add_wrapped(b, o->help, HELP_COLUMN);
}

/* The next of the words, which are separated by spaces; false behind the last one. */
static bool next_word(const char **words, struct str *word)
{
    *word = (struct str){*words, strcspn(*words, " ")};
    *words += word->n + ((*words)[word->n] != '\0');
    return word->n > 0;
}

/* Is name one of the words? */
static bool is_word(const char *words, const char *name)
{
    for (struct str word; next_word(&words, &word);)
        if (str_is(word, name))
            return true;
    return false;
}

/* All options, or those that --help shows: the command's common options, and -s. */
static void add_options(struct buf *b, const struct cmd *self, bool everything)
{
    const char *title = "\noptions:\n";

    for (size_t i = 0; i < options; i++) {
        const struct opt *o = order[i];
        bool own = o < common || o >= common + sizeof common / sizeof common[0];

        bool usual = self->common == NULL || (o->name != NULL && is_word(self->common, o->name));

        if (!everything && o->to != &spool_option && !(own && usual))
            continue;
        buf_puts(b, title);
        title = "";
        add_option(b, o);
    }
}

/* A line for each verb, or one for each usage of it. */
static void add_verbs(struct buf *b, const struct cmd *self, bool everything)
{
    size_t widest = 0;

    for (const struct cmd *v = self->verbs; v->name != NULL; v++)
        widest = strlen(v->name) > widest ? strlen(v->name) : widest;
    buf_puts(b, "\nverbs:\n");
    collection = self;
    for (const struct cmd *v = self->verbs; v->name != NULL; v++) {
        if (everything) {
            add_usage(b, v, "  ");
            buf_puts(b, "      ");
            add_wrapped(b, v->about, 6);
        } else {
            buf_printf(b, "  %-*s  ", (int)widest, v->name);
            add_wrapped(b, v->about, widest + 4);
        }
    }
    collection = NULL;
}

static _Noreturn void print(struct buf *b)
{
    struct err e = ERR_NONE;

    (void)out_write(b->p, b->n, &e);
    buf_free(b);
    exit(out_finish(&e));
}

/* Print where there is more to read. */
static void add_more(struct buf *b, const struct cmd *self, bool everything)
{
    buf_puts(b, "More: ");
    if (self->verbs != NULL)
        buf_printf(b, "%s VERB --help, ", self->name);
    if (!everything) {
        add_names(b, self);
        buf_puts(b, " --help-all, ");
    }
    buf_printf(b, "man eventutils-%s\n", collection != NULL ? collection->name : self->name);
}

/* --help fits a terminal of 80 columns and 24 lines, including the prompt; --help-all need not. */
static _Noreturn void help(const struct cmd *self, bool everything)
{
    struct buf b = BUF_INIT;

    add_names(&b, self);
    buf_printf(&b, ": %s\n\n", self->about);
    add_examples(&b, self);
    if (self->verbs == NULL || self->usage[0] != NULL)
        add_usage(&b, self, "usage: ");
    else
        buf_printf(&b, "usage: %s VERB [OPTION]...\n", self->name);
    if (self->verbs != NULL)
        add_verbs(&b, self, everything);
    else
        add_options(&b, self, everything);
    buf_char(&b, '\n');
    if (self->note != NULL)
        add_wrapped(&b, self->note, 0);
    add_more(&b, self, everything);
    print(&b);
}

static _Noreturn void version(void)
{
    struct buf b = BUF_INIT;

    buf_printf(&b, "%s (eventutils) %s\n", say_command(), EVENTUTILS_VERSION);
    print(&b);
}

_Noreturn void args_usage(const char *format, ...)
{
    struct buf name = BUF_INIT;
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    if (current != NULL)
        add_names(&name, current);
    else
        buf_puts(&name, say_command());
    say(SAY_ERROR, EX_USAGE, NULL, "%s (see %s --help)", text != NULL ? text : "wrong usage",
        buf_text(&name));
    free(text);
    buf_free(&name);
    exit(EX_USAGE);
}

/* ------------------------------------------------------------------------------------- values */

/* Parse digits with an optional sign. False if text is not such a number or does not fit. */
static bool read_int(const char *text, char **end, int64_t *value)
{
    const char *digits = text + (*text == '-');

    if (!isdigit((unsigned char)*digits))
        return false;
    errno = 0;
    *value = strtoll(text, end, 10);
    return errno == 0;
}

static void set_int(const struct opt *o, const char *name, const char *text)
{
    int64_t value = 0;
    char *end = NULL;

    if (read_int(text, &end, &value) && *end == '\0' && value >= o->min && value <= o->max) {
        *(int64_t *)o->to = value;
        return;
    }
    if (o->max == INT64_MAX && o->min == INT64_MIN)
        args_usage("%s wants a whole number: %s", name, err_quote_text(text).text);
    if (o->max == INT64_MAX)
        args_usage("%s wants a whole number from %lld on: %s", name, (long long)o->min,
                   err_quote_text(text).text);
    args_usage("%s wants a whole number from %lld to %lld: %s", name, (long long)o->min,
               (long long)o->max, err_quote_text(text).text);
}

static void add_size(struct buf *b, int64_t size)
{
    static const char units[] = "GMk";

    for (int i = 0; i < 3; i++) {
        int64_t unit = INT64_C(1) << (30 - 10 * i);
        if (size >= unit && size % unit == 0) {
            buf_printf(b, "%lld%c", (long long)(size / unit), units[i]);
            return;
        }
    }
    buf_int(b, size);
}

static void set_size(const struct opt *o, const char *name, const char *text)
{
    struct buf limits = BUF_INIT;
    int64_t value = 0;
    char *end = NULL;
    int shift = 0;

    if (!read_int(text, &end, &value) || value < 0)
        args_usage("%s wants a size like 64k, 1M: %s", name, err_quote_text(text).text);
    if (*end == 'k' || *end == 'K')
        shift = 10;
    else if (*end == 'm' || *end == 'M')
        shift = 20;
    else if (*end == 'g' || *end == 'G')
        shift = 30;
    if (end[shift != 0] != '\0')
        args_usage("%s wants a size like 64k, 1M: %s", name, err_quote_text(text).text);
    if (value <= INT64_MAX >> shift && value << shift >= o->min && value << shift <= o->max) {
        *(int64_t *)o->to = value << shift;
        return;
    }
    add_size(&limits, o->min);
    if (o->max < INT64_MAX) {
        buf_puts(&limits, " to ");
        add_size(&limits, o->max);
    } else {
        buf_puts(&limits, " on");
    }
    args_usage("%s wants a size from %s: %s", name, buf_text(&limits), err_quote_text(text).text);
}

static void set_codes(const struct opt *o, const char *name, const char *text, bool first)
{
    bool *codes = o->to;
    const char *at = text;
    int64_t value = 0;
    char *end = NULL;

    if (first)
        memset(codes, 0, 256 * sizeof *codes);
    for (;;) {
        if (!read_int(at, &end, &value) || value < 1 || value > 255 ||
            (*end != ',' && *end != '\0'))
            args_usage("%s wants exit statuses from 1 to 255, like 65,70: %s", name,
                       err_quote_text(text).text);
        codes[value] = true;
        if (*end == '\0')
            return;
        at = end + 1;
    }
}

/* Append the words as English: "a, b or c". */
static void add_words(struct buf *b, const char *words)
{
    for (size_t n; *words != '\0'; words += n + (words[n] != '\0')) {
        n = strcspn(words, "|");
        buf_add(b, words, n);
        if (words[n] != '\0')
            buf_puts(b, strchr(words + n + 1, '|') != NULL ? ", " : " or ");
    }
}

static void set_choice(const struct opt *o, const char *name, const char *text)
{
    struct buf words = BUF_INIT;
    const char *at = o->arg;

    for (int i = 0; *at != '\0'; i++) {
        size_t n = strcspn(at, "|");
        if (str_is((struct str){at, n}, text)) {
            *(int *)o->to = i;
            return;
        }
        at += n + (at[n] != '\0');
    }
    add_words(&words, o->arg);
    args_usage("%s wants %s: %s", name, buf_text(&words), err_quote_text(text).text);
}

/* The kinds that other modules parse. */
static void set_other(const struct opt *o, const char *name, const char *text)
{
    struct err e = ERR_NONE;
    int64_t *ms = o->to;

    switch (o->kind) {
    case OPT_KIND_DURATION:
        (void)duration_read(text, ms, &e);
        break;
    case OPT_KIND_RANGE:
        (void)duration_range(text, &ms[0], &ms[1], &e);
        break;
    case OPT_KIND_RATE:
        (void)duration_rate(text, ms, &e);
        break;
    case OPT_KIND_POINTER:
        *(const char **)o->to = text;
        (void)js_pointer_check(text, &e);
        break;
    case OPT_KIND_POINT:
        (void)point_read(text, clock_now_ms(), o->to, &e);
        break;
    default:
        (void)pattern_add(o->to, text, &e);
        break;
    }
    if (e.status != 0)
        args_usage("%s %s", name, e.text);
}

static void set(const struct opt *o, const char *name, const char *text, bool first)
{
    if (o->kind != OPT_KIND_FLAG && *text == '\0')
        args_usage("%s is empty (an unset variable?)", name);
    switch (o->kind) {
    case OPT_KIND_FLAG:
        *(bool *)o->to = true;
        break;
    case OPT_KIND_TEXT:
        *(const char **)o->to = text;
        break;
    case OPT_KIND_NAME:
        *(const char **)o->to = args_name(name, text, (size_t)o->max);
        break;
    case OPT_KIND_INT:
        set_int(o, name, text);
        break;
    case OPT_KIND_SIZE:
        set_size(o, name, text);
        break;
    case OPT_KIND_CODES:
        set_codes(o, name, text, first);
        break;
    case OPT_KIND_CHOICE:
        set_choice(o, name, text);
        break;
    default:
        set_other(o, name, text);
        break;
    }
}

/* ------------------------------------------------------------------------------------ parsing */

/* What every command needs before it opens anything. */
static void out_of_memory(void)
{
    say(SAY_ERROR, EX_OSERR, NULL, "out of memory");
}

static void set_stage(const char *name)
{
    json_set_alloc_funcs(mem_alloc, free); /* or a lack of memory there would look like invalid
                                              text */
    say_name(name);
    mem_when_out(out_of_memory);
    for (int fd = 0; fd <= 2; fd++)
        /* stdin is opened for writing and stdout for reading: using them fails as if they were
           closed, instead of losing output silently */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 1 ? O_RDONLY : O_WRONLY) != fd)
            _exit(EX_OSERR);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (getuid() != geteuid() || getgid() != getegid()) {
        say(SAY_ERROR, EX_NOPERM, NULL, "will not run set-user-id or set-group-id");
        exit(EX_NOPERM);
    }
}

static void collect(const struct cmd *self)
{
    current = self;
    options = 0;
    memset(given, 0, sizeof given);
    for (const struct opt *o = self->options; o != NULL && o->kind != OPT_KIND_END; o++)
        if (options < OPTIONS_MAX)
            order[options++] = o;
    for (const struct opt *o = self->no_spool ? common + 1 : common; o->kind != OPT_KIND_END; o++)
        if (options < OPTIONS_MAX)
            order[options++] = o;
}

/* getopt's two tables. A leading ":" makes it distinguish a missing value from an unknown
   option. */
static void make_tables(const struct cmd *self, struct buf *letters, struct option *longs)
{
    buf_puts(letters, self->wrapper ? "+:" : ":");
    for (size_t i = 0; i < options; i++) {
        bool value = order[i]->kind != OPT_KIND_FLAG;

        if (order[i]->letter != 0)
            buf_printf(letters, "%c%s", order[i]->letter, value ? ":" : "");
        if (order[i]->name != NULL)
            *longs++ = (struct option){order[i]->name, value ? required_argument : no_argument,
                                       NULL, LONG + (int)i};
    }
    *longs = (struct option){NULL, 0, NULL, 0};
}

/* The option that getopt returned as value, and how the user spelled it. */
static size_t find(int value, char name[CALLED_MAX])
{
    size_t i = value >= LONG ? (size_t)(value - LONG) : 0;

    if (value < LONG)
        while (i < options && order[i]->letter != value)
            i++;
    if (value >= LONG)
        snprintf(name, CALLED_MAX, "--%s", order[i]->name);
    else
        snprintf(name, CALLED_MAX, "-%c", value);
    return i;
}

/* Report an unknown long option: "--tpye" as the user wrote it, perhaps with a value. */
static _Noreturn void complain_long(const char *word)
{
    size_t n = strcspn(word + 2, "="), least = SIZE_MAX, begin = 0;
    char *name = mem_dup(word + 2, n);
    struct buf matches = BUF_INIT;
    const char *best = NULL;

    for (size_t i = 0; i < options; i++)
        if (order[i]->name != NULL && strncmp(order[i]->name, name, n) == 0) {
            buf_printf(&matches, "%s--%s", begin++ > 0 ? ", " : "", order[i]->name);
        } else if (order[i]->name != NULL) {
            nearer(name, order[i]->name, &best, &least);
        }
    if (begin > 1)
        args_usage("option %s could be %s", err_quote(word, n + 2).text, buf_text(&matches));
    if (best != NULL)
        args_usage("unknown option %s, did you mean --%s?", err_quote(word, n + 2).text, best);
    args_usage("unknown option %s", err_quote(word, n + 2).text);
}

/* getopt returned ":" or "?": report what is wrong with word. */
static _Noreturn void complain(int said, int value, const char *word)
{
    char name[CALLED_MAX], letter[3] = {'-', 0, 0};
    bool known = value >= LONG;

    for (size_t i = 0; i < options; i++)
        known = known || (value != 0 && order[i]->letter == value);
    if (known) {
        (void)find(value, name);
        if (said == ':')
            args_usage("%s wants a value", name);
        args_usage("%s takes no value", name);
    }
    if (value == 0 && strncmp(word, "--", 2) == 0)
        complain_long(word);
    letter[1] = (char)value;
    args_usage("unknown option %s", err_quote_text(letter).text);
}

static int parse(const struct cmd *self, int argc, char **argv)
{
    struct option longs[OPTIONS_MAX + 1];
    struct buf letters = BUF_INIT;
    char name[CALLED_MAX];
    int value;

    collect(self);
    make_tables(self, &letters, longs);
    opterr = 0;
    optind = 0; /* makes glibc and musl start over */
    while ((value = getopt_long(argc, argv, buf_text(&letters), longs, NULL)) != -1) {
        size_t i;

        if (value == '?' || value == ':')
            complain(value, optopt, argv[optind - 1]);
        i = find(value, name);
        set(order[i], name, optarg, !given[i]);
        given[i] = true;
        uses = mem_grow(uses, used + 1, sizeof *uses);
        uses[used++] = (struct use){order[i], optarg};
        if (order[i]->to == &log_option)
            say_format(log_option == 1 ? SAY_JSON : SAY_TEXT);
        if (wants_help || wants_help_all)
            help(self, wants_help_all);
        if (wants_version)
            version();
    }
    buf_free(&letters);
    return optind;
}

/* -------------------------------------------------------------------------------------- rules */

/* Of the option called name: its number; options for a name in capitals, the operands. */
static size_t option_of(struct str name)
{
    size_t i = 0;

    while (i < options && (order[i]->name == NULL || !str_is(name, order[i]->name)))
        i++;
    return i;
}

/* How many of the words were given? */
static int count_given(const char *words, int operands)
{
    int n = 0;

    for (struct str word; next_word(&words, &word);) {
        size_t i = option_of(word);
        n += i < options ? given[i] : operands > 0;
    }
    return n;
}

/* Append the options as a user writes them: "-g, -n and -v"; with the words for their values if
   values is set. Returns how many. */
static int add_spelled(struct buf *b, const char *words, const char *last, bool values)
{
    int n = 0;

    for (struct str word; next_word(&words, &word); n++) {
        size_t i = option_of(word);

        if (n > 0)
            buf_puts(b, *words != '\0' ? ", " : last);
        if (i == options)
            buf_str(b, word);
        else if (order[i]->letter != 0)
            buf_printf(b, "-%c", order[i]->letter);
        else
            buf_printf(b, "--%s", order[i]->name);
        if (values && i < options && order[i]->kind != OPT_KIND_FLAG)
            buf_printf(b, " %s", order[i]->arg);
    }
    return n;
}

static _Noreturn void complain_rule(const struct args_rule *r)
{
    struct buf names = BUF_INIT, others = BUF_INIT;
    bool required = r->relation == ARGS_REQUIRED;
    int n = add_spelled(&names, r->names, required ? " or " : " and ", required);

    if (r->others != NULL)
        add_spelled(&others, r->others, " or ", false);
    if (r->text != NULL)
        args_usage("%s", r->text);
    if (required)
        args_usage("%s is missing", buf_text(&names));
    if (r->relation == ARGS_NEEDS)
        args_usage("%s %s with %s", buf_text(&names), n == 1 ? "goes" : "go", buf_text(&others));
    if (r->relation == ARGS_EXCLUDES)
        args_usage("%s %s not go with %s", buf_text(&names), n == 1 ? "does" : "do",
                   buf_text(&others));
    args_usage("%s exclude each other", buf_text(&names));
}

static void check_rules(const struct args_rule *r, int operands)
{
    for (; r != NULL && r->relation != ARGS_RULES_END; r++) {
        int names = count_given(r->names, operands);
        int others = r->others == NULL ? 0 : count_given(r->others, operands);

        if (r->relation == ARGS_REQUIRED   ? names == 0
            : r->relation == ARGS_NEEDS    ? names > 0 && others == 0
            : r->relation == ARGS_EXCLUDES ? names > 0 && others > 0
                                           : names > 1)
            complain_rule(r);
    }
}

static void check_operands(const struct cmd *self, int n, char **operand)
{
    const char *verb = collection == NULL ? "" : self->name, *space = collection == NULL ? "" : " ";

    if (self->most == ARGS_NO_OPERAND && n > 0)
        args_usage("%s%stakes no operand: %s", verb, space, err_quote_text(operand[0]).text);
    if (n < self->least && collection == NULL)
        args_usage("%s is missing", self->wants);
    if (n < self->least)
        args_usage("%s wants %s", verb, self->wants);
    if (self->most > 0 && n > self->most)
        args_usage("%s%swants %s; one too many: %s", verb, space, self->wants,
                   err_quote_text(operand[self->most]).text);
}

static int parse_and_check(const struct cmd *self, int argc, char **argv)
{
    char **begin = collection == NULL ? argv : argv - 1;
    size_t words = (size_t)(argv + argc + 1 - begin);
    char **line = mem_zero(words, sizeof *line);

    memcpy(line, begin, words * sizeof *line); /* parse puts operands behind options, without -- */
    int first = parse(self, argc, argv);
    if (!self->no_spool)
        engine_hand_over(spool_option != NULL ? spool_option : getenv("EVENT_SPOOL"), line);
    else if (self->spool_of != NULL)
        engine_hand_over(self->spool_of(argc - first, argv + first), line);
    if (self->database && first < argc)
        engine_hand_over_file(argv[first], line);
    free(line);
    check_operands(self, argc - first, argv + first);
    check_rules(self->rules, argc - first);
    return first;
}

int args_parse(const struct cmd *self, int argc, char **argv)
{
    set_stage(self->name);
    collection = NULL;
    return parse_and_check(self, argc, argv);
}

static _Noreturn void complain_verb(const struct cmd *self, const char *word)
{
    size_t least = SIZE_MAX;
    const char *best = NULL;
    struct buf words = BUF_INIT, all = BUF_INIT;

    for (const struct cmd *v = self->verbs; v->name != NULL; v++) {
        buf_printf(&words, "%s%s", v == self->verbs ? "" : "|", v->name);
        if (word != NULL)
            nearer(word, v->name, &best, &least);
    }
    add_words(&all, buf_text(&words));
    if (word == NULL)
        args_usage("wants a verb: %s", buf_text(&all));
    if (word[0] == '-')
        args_usage("wants a verb before %s: %s", err_quote_text(word).text, buf_text(&all));
    if (best != NULL)
        args_usage("unknown verb %s, did you mean %s? The verbs are %s", err_quote_text(word).text,
                   best, buf_text(&all));
    args_usage("unknown verb %s; the verbs are %s", err_quote_text(word).text, buf_text(&all));
}

int args_verb(const struct cmd *self, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    struct str verb = str_of(word);

    set_stage(self->name);
    collection = NULL;
    current = self;
    if (str_is(verb, "-h") || str_is(verb, "--help"))
        help(self, false);
    if (str_is(verb, "--help-all"))
        help(self, true);
    if (str_is(verb, "-V") || str_is(verb, "--version"))
        version();
    for (const struct cmd *v = self->verbs; v->name != NULL; v++)
        if (str_is(verb, v->name)) {
            collection = self;
            return v->run(argv + 1 + parse_and_check(v, argc - 1, argv + 1));
        }
    complain_verb(self, word);
}

void args_used(struct buf *b, const char *names)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_.:,/@%+=#";
    const char *space = "";

    for (size_t i = 0; i < used; i++) {
        const struct opt *o = uses[i].option;
        const char *value = uses[i].value;
        if (o->name == NULL || !is_word(names, o->name))
            continue;
        buf_puts(b, space);
        space = " ";
        if (o->letter != 0)
            buf_printf(b, "-%c", o->letter);
        else
            buf_printf(b, "--%s", o->name);
        if (value != NULL && value[strspn(value, plain)] == '\0')
            buf_printf(b, " %s", value);
        else if (value != NULL)
            buf_printf(b, " %s", err_quote_text(value).text);
    }
}

void args_none(struct buf *b, const char *what, const char *path, const char *filters)
{
    struct buf named = BUF_INIT;

    args_used(&named, filters);
    buf_printf(b, "no %s in %s", what, path);
    if (named.n > 0)
        buf_printf(b, " match %s", buf_text(&named));
    buf_free(&named);
}

void args_nothing(const char *what, const char *path, const char *filters)
{
    struct buf text = BUF_INIT;

    if (!isatty(STDERR_FILENO))
        return;
    args_none(&text, what, path, filters);
    say_note("%s", buf_text(&text));
    buf_free(&text);
}

int args_count(char *const *operand)
{
    int n = 0;

    while (operand[n] != NULL)
        n++;
    return n;
}

bool args_given(const char *name)
{
    size_t i = option_of(str_of(name));

    return i < options && given[i];
}

const char *args_name(const char *what, const char *name, size_t max)
{
    struct err e = ERR_NONE;

    if (name_check(what, str_of(name), max, &e) < 0)
        args_usage("%s", e.text);
    return name;
}

const char *args_spool(void)
{
    static struct buf path;
    const char *place;

    if (spool_option != NULL)
        return spool_option;
    place = getenv("EVENT_SPOOL");
    if (place != NULL && *place != '\0')
        return args_name("EVENT_SPOOL", place, NAME_PATH_BYTES);
    buf_reset(&path);
    place = getenv("XDG_STATE_HOME");
    if (place != NULL && *place == '/') { /* the XDG specification: relative paths are to be
                                             ignored */
        buf_puts(&path, place);
    } else {
        place = getenv("HOME");
        if (place == NULL || *place == '\0')
            args_usage("no spool: neither -s nor EVENT_SPOOL nor HOME is set");
        buf_printf(&path, "%s/.local/state", place);
    }
    buf_puts(&path, "/eventutils/spool.db");
    return args_name("the path of the spool", buf_text(&path), NAME_PATH_BYTES);
}

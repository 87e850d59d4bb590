/*
 * args: a command describes itself in a struct; option parsing, --help and --version come from it.
 *
 *     static const char *group;
 *     static const struct opt options[] = {
 *         OPT_TEXT('g', "group", &group, "GROUP", "the group to read as"),
 *         OPT_END,
 *     };
 *     static const struct cmd self = {
 *         .name = "consume", .about = "deliver a group's events to a handler",
 *         .usage = {"-g GROUP [-t PATTERN]... [-- COMMAND]"},
 *         .examples = {"consume -g email --from start -- ./send-email"},
 *         .options = options,
 *     };
 *     int first = args_parse(&self, argc, argv);     operands are argv[first] to argv[argc - 1]
 *
 * args_parse prepares the process for a command: it sets the name in messages, opens those of the
 * descriptors 0 to 2 that were closed (on /dev/null, so that no file of ours gets one of them),
 * ignores SIGPIPE and SIGXFSZ, and refuses set-id starts (77). --help prints examples, usage and
 * the common options on stdout, in at most 23 lines of 80 columns, and exits 0; --help-all prints
 * all options. On wrong usage args_parse prints one line on stderr and exits 64; it does not
 * return. Every command has -s SPOOL, --log text|json, -h, --help-all and -V besides its own
 * options.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "base/clock.h"
#include "base/err.h"
#include "base/name.h"
#include "event/pattern.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum opt_kind {
    OPT_KIND_END,
    OPT_KIND_FLAG,     /* bool */
    OPT_KIND_TEXT,     /* const char *, not empty: an empty value is usually an unset variable */
    OPT_KIND_NAME,     /* const char *, a name of at most max bytes (name.h) */
    OPT_KIND_INT,      /* int64_t within min and max */
    OPT_KIND_SIZE,     /* int64_t bytes: 1000, 64k, 1M, 2G (powers of 1024), within min and max */
    OPT_KIND_DURATION, /* int64_t milliseconds */
    OPT_KIND_RANGE,    /* int64_t[2] milliseconds: low, high */
    OPT_KIND_RATE,     /* int64_t: microseconds per event */
    OPT_KIND_POINT,    /* struct point */
    OPT_KIND_PATTERN,  /* struct pattern_list, added to at each use */
    OPT_KIND_POINTER,  /* const char *, a JSON pointer */
    OPT_KIND_CODES,    /* bool[256]: cleared at the first use, then the codes in "65,70" set */
    OPT_KIND_CHOICE,   /* int: the index of the word in choices, "text|json" */
};

struct opt {
    enum opt_kind kind;
    char letter; /* 0: none */
    const char *name;
    void *to;
    const char *arg;  /* the word for the value in --help: "GROUP"; for a choice, the choices */
    const char *help; /* lower case, no full stop; mentions the default */
    int64_t min, max;
};

/* clang-format off */
#define OPT_FLAG(l, n, to, help) {OPT_KIND_FLAG, l, n, to, NULL, help, 0, 0}
#define OPT_TEXT(l, n, to, arg, help) {OPT_KIND_TEXT, l, n, to, arg, help, 0, 0}
#define OPT_NAME(l, n, to, arg, help) {OPT_KIND_NAME, l, n, to, arg, help, 0, NAME_BYTES}
#define OPT_WORDS(l, n, to, arg, help) {OPT_KIND_NAME, l, n, to, arg, help, 0, NAME_TEXT_BYTES}
#define OPT_PATH(l, n, to, arg, help) {OPT_KIND_NAME, l, n, to, arg, help, 0, NAME_PATH_BYTES}
#define OPT_INT(l, n, to, arg, min, max, help) {OPT_KIND_INT, l, n, to, arg, help, min, max}
#define OPT_SIZE(l, n, to, arg, min, max, help) {OPT_KIND_SIZE, l, n, to, arg, help, min, max}
#define OPT_DURATION(l, n, to, help) {OPT_KIND_DURATION, l, n, to, "D", help, 0, 0}
#define OPT_RANGE(l, n, to, help) {OPT_KIND_RANGE, l, n, to, "D..D", help, 0, 0}
#define OPT_RATE(l, n, to, help) {OPT_KIND_RATE, l, n, to, "RATE", help, 0, 0}
#define OPT_POINT(l, n, to, help) {OPT_KIND_POINT, l, n, to, "POINT", help, 0, 0}
#define OPT_PATTERN(l, n, to, help) {OPT_KIND_PATTERN, l, n, to, "PATTERN", help, 0, 0}
#define OPT_POINTER(l, n, to, help) {OPT_KIND_POINTER, l, n, to, "POINTER", help, 0, 0}
#define OPT_CODES(l, n, to, help) {OPT_KIND_CODES, l, n, to, "CODES", help, 0, 0}
#define OPT_CHOICE(l, n, to, words, help) {OPT_KIND_CHOICE, l, n, to, words, help, 0, 0}
#define OPT_END {OPT_KIND_END, 0, NULL, NULL, NULL, NULL, 0, 0}
/* clang-format on */

/*
 * How options go together. args_parse checks the rules in their order, and the first one that is
 * broken ends the process with 64. Options are named by their long names, with spaces between; a
 * word in capitals, such as FILE, stands for the operands. The message is made from the names,
 * unless text gives one that says more.
 */
struct args_rule {
    enum args_relation {
        ARGS_RULES_END,
        ARGS_REQUIRED, /* one of names: "-g GROUP is missing" */
        ARGS_NEEDS,    /* names only beside one of others: "-a goes with --retry" */
        ARGS_EXCLUDES, /* none of names beside one of others: "-f does not go with --status" */
        ARGS_ALONE,    /* at most one of names: "--id and --id-from exclude each other" */
    } relation;
    const char *names, *others;
    const char *text;
};

/* How many operands a command takes: none at all, or any number, in struct cmd.most. */
enum { ARGS_NO_OPERAND = -1, ARGS_ANY = 0 };

struct cmd {
    const char *name;
    const char *about; /* one line, with the name at most 80 columns; also in the list of verbs */
    const char *usage[4];    /* what follows the name; NULL ends the list, as below */
    const char *examples[6]; /* whole command lines, smallest first */
    const struct opt *options;
    const char *common; /* the long names of the options that --help shows, "group type"; NULL:
                           all */
    const struct args_rule *rules; /* ended by an entry of zeros; or NULL */
    int least, most;               /* operands */
    const char *wants; /* them in words: "wait wants a GROUP" and, without verbs, "a command is
                           missing" */
    const char *note;  /* a paragraph at the end of --help, such as the exit statuses; or NULL */
    bool wrapper;      /* parsing stops at the first operand; the rest is a command line */
    bool no_spool;     /* there is no -s */
    bool database;     /* the first operand is one, perhaps on a server */
    /* Then: which spool a command with these operands opens, if they name spools; or NULL. */
    const char *(*spool_of)(int n, char *const *operand);
    const struct cmd *verbs; /* ended by an entry without a name; args_verb calls the verb's run */
    /* For a verb; operand ends with NULL. Returns the exit status. */
    int (*run)(char **operand);
};

/* Returns the index of the first operand in argv (argc without any); a wrapper's "--" before
   the operand is skipped. */
int args_parse(const struct cmd *self, int argc, char **argv);

/* The same for a collection of verbs: argv[1] is the verb. Parses the verb's options and returns
   what its run returns. Messages begin with the collection's name, help with both names. */
int args_verb(const struct cmd *self, int argc, char **argv);

/* How many operands? */
int args_count(char *const *operand);

/* Was this option given? name is the long name. */
bool args_given(const char *name);

/* Append those of the options in names (long names, separated by spaces) that were given, as they
   were given: "-k none -t 'order.#'". */
void args_used(struct buf *b, const char *names);

/* For a listing that found nothing: append why, "no dead letters in PATH", and " match -k none"
   when any of the filters were given. args_nothing prints the same on stderr if that is a terminal,
   where a user would otherwise wonder; for a script an empty listing is a normal result. */
void args_none(struct buf *b, const char *what, const char *path, const char *filters);
void args_nothing(const char *what, const char *path, const char *filters);

/* Report wrong usage and exit 64; a pointer to --help follows the text. */
_Noreturn void args_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Check a name that is not an option's value, as OPT_NAME does: an operand or a variable, called
   what in messages. Returns name. */
const char *args_name(const char *what, const char *name, size_t max);

/* The spool of this run: -s, else $EVENT_SPOOL, else $XDG_STATE_HOME/eventutils/spool.db, where
   XDG_STATE_HOME defaults to ~/.local/state. Valid until the process ends. A usage error when
   neither HOME nor XDG_STATE_HOME is set, or the path is not a valid name. */
const char *args_spool(void);

#endif

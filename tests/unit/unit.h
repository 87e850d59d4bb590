/*
 * unit: as much of a test harness as pure C needs. It prints TAP.
 *
 *     static void digits_are_kept(void)
 *     {
 *         CHECK_INT(count("12"), 2);
 *     }
 *
 *     int main(void)
 *     {
 *         RUN(digits_are_kept);
 *         return unit_done();
 *     }
 *
 * A failed check says where and what and lets its function go on. Functions that loop over a table
 * say which row a failure is about with unit_row, whose text is copied and belongs to the checks
 * up to the next row or function.
 */
#ifndef UNIT_H
#define UNIT_H

#include "base/buf.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define CHECK(cond) unit_check((cond), __FILE__, __LINE__, #cond)
#define CHECK_STR(got, expected) unit_str(got, str_of(expected), __FILE__, __LINE__, #got)
#define CHECK_TEXT(got, expected) unit_str(str_of(got), str_of(expected), __FILE__, __LINE__, #got)
#define CHECK_INT(got, expected) unit_int(got, expected, __FILE__, __LINE__, #got)
#define RUN(function) unit_run(function, #function)

static int unit_tests, unit_failed_tests;
static const char *unit_name; /* of the function that runs */
static bool unit_good;        /* it has not failed so far */
static char unit_row_text[200];

static inline void unit_row(const char *row)
{
    snprintf(unit_row_text, sizeof unit_row_text, "%s", row);
}

static inline void unit_print(struct str s)
{
    if (!s.p) {
        printf("(none)");
        return;
    }
    putchar('"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c > 0x7e || c == '"' || c == '\\')
            printf("\\x%02x", (unsigned)c);
        else
            putchar(c);
    }
    putchar('"');
}

static inline void unit_fail(const char *file, int line, const char *what)
{
    if (unit_good)
        printf("not ok %d - %s\n", unit_tests, unit_name);
    unit_good = false;
    printf("# %s:%d: %s", file, line, what);
    if (unit_row_text[0]) {
        printf(" in ");
        unit_print(str_of(unit_row_text));
    }
}

static inline bool unit_check(bool good, const char *file, int line, const char *what)
{
    if (!good) {
        unit_fail(file, line, what);
        putchar('\n');
    }
    return good;
}

static inline bool unit_str(struct str got, struct str expected, const char *file, int line,
                            const char *what)
{
    if (!got.p == !expected.p && got.n == expected.n &&
        (got.n == 0 || memcmp(got.p, expected.p, got.n) == 0))
        return true;
    unit_fail(file, line, what);
    printf(" is ");
    unit_print(got);
    printf(", not ");
    unit_print(expected);
    putchar('\n');
    return false;
}

static inline bool unit_int(int64_t got, int64_t expected, const char *file, int line,
                            const char *what)
{
    if (got == expected)
        return true;
    unit_fail(file, line, what);
    printf(" is %" PRId64 ", not %" PRId64 "\n", got, expected);
    return false;
}

static inline void unit_run(void (*function)(void), const char *name)
{
    unit_tests++;
    unit_name = name;
    unit_good = true;
    unit_row_text[0] = 0;
    function();
    if (unit_good)
        printf("ok %d - %s\n", unit_tests, name);
    else
        unit_failed_tests++;
    fflush(stdout); /* what ran before a crash is known */
}

static inline int unit_done(void)
{
    printf("1..%d\n", unit_tests);
    return unit_failed_tests != 0;
}

#endif

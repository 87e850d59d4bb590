/*
 * How the parts of store_check report a finding.
 */
#include "store/sql/check.h"

#include <stdarg.h>
#include <stdio.h>

int check_report(struct check *c, const struct check_finding *what, struct err *e,
                 const char *format, ...)
{
    struct check_finding finding = *what;
    char text[1000];
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    finding.message = text;
    c->findings++;
    c->stop = c->f(&finding, c->arg, e);
    return c->stop != 0 ? -1 : 0;
}

const char *check_plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

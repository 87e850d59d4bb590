#include "base/name.h"

#include "base/utf8.h"

int name_check(const char *what, struct str name, size_t max, struct err *e)
{
    const unsigned char *p = (const unsigned char *)name.p, *end = p + name.n;
    const char *wrong = NULL;

    if (name.n == 0)
        return err_set(e, EX_USAGE, "%s is empty (an unset variable?)", what);
    for (size_t n; p < end && wrong == NULL; p += n) {
        n = utf8_length(p, end);
        uint32_t code = n == 0 ? 0 : utf8_code(p, n);
        if (n == 0)
            wrong = "is not UTF-8";
        else if (code < 0x20 || (code >= 0x7f && code <= 0x9f))
            wrong = "has a control character";
    }
    if (wrong == NULL && name.n <= max)
        return 0;
    if (wrong == NULL)
        return err_set(e, EX_USAGE, "%s is longer than %zu bytes: %s", what, max,
                       err_quote(name.p, name.n).text);
    return err_set(e, EX_USAGE, "%s %s: %s", what, wrong, err_quote(name.p, name.n).text);
}

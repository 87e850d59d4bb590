#include "resilience/once_name.h"

#include "base/json.h"
#include "base/name.h"

#include <stdlib.h>
#include <string.h>

/* One word of a key of several words, with its spaces escaped, or "a b" and "c" would equal "a" and
   "b c". */
static void add_key_word(struct buf *name, const char *word)
{
    for (; *word != '\0'; word++)
        if (*word == ' ' || *word == '%')
            buf_printf(name, "%%%02X", (unsigned)*word);
        else
            buf_char(name, *word);
    buf_char(name, ' ');
}

int once_name_of_handler(struct buf *name, struct err *e)
{
    const char *group = getenv("EVENT_GROUP"), *id = getenv("EVENT_ID");
    const char *source = getenv("EVENT_SOURCE");

    if (group == NULL || id == NULL || source == NULL || *id == '\0')
        return err_set(e, EX_USAGE,
                       "-k KEY or --by POINTER is missing (a handler of consume needs neither)");
    if (name_check("EVENT_GROUP", str_of(group), NAME_BYTES, e) < 0 ||
        name_check("EVENT_SOURCE", str_of(source), NAME_TEXT_BYTES, e) < 0 ||
        name_check("EVENT_ID", str_of(id), NAME_TEXT_BYTES, e) < 0)
        return -1;
    add_key_word(name, group);
    add_key_word(name, source);
    buf_puts(name, id);
    return 0;
}

int once_name_of_input(struct buf *name, const struct wrap_input *input, const char *by,
                       struct err *e)
{
    struct js_scan scan = JS_SCAN_INIT;
    struct buf all = BUF_INIT;
    struct str value = {NULL, 0};
    int got = wrap_read(input, &all, e);

    if (got == 0)
        got = js_scan(&scan, all.p == NULL ? "" : all.p, all.n, e) < 0 ? err_at(e, "stdin: ") : 0;
    if (got == 0)
        value = js_pointer(scan.value, by);
    if (got == 0 && (value.p == NULL || js_kind(value) == JS_NULL))
        got = err_set(e, EX_DATAERR, "stdin has nothing at %s", by);
    if (got == 0 && js_kind(value) == JS_STRING)
        buf_str(name, js_string(value, &scan.scratch));
    else if (got == 0)
        buf_str(name, value);
    if (got == 0 && name->n == 0)
        got = err_set(e, EX_DATAERR, "the key at %s is empty", by);
    else if (got == 0 &&
             name_check("the key", (struct str){name->p, name->n}, NAME_TEXT_BYTES, e) < 0) {
        e->status = EX_DATAERR; /* the event's fault */
        got = err_at(e, "%s: ", by);
    }
    js_scan_free(&scan);
    buf_free(&all);
    return got;
}

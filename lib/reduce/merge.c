#include "reduce/fold_priv.h"

#include "base/mem.h"

#include <stdlib.h>

static json_t *merge(json_t *state, struct str patch)
{
    struct str key, item;
    size_t at = 0;

    if (js_kind(patch) != JS_OBJECT) {
        json_decref(state);
        return json_stringn(patch.p, patch.n);
    }
    if (!json_is_object(state)) {
        json_decref(state);
        state = json_object();
    }
    while (state != NULL && js_each(patch, &at, &key, &item)) {
        struct buf decoded = BUF_INIT;
        struct str text = js_string(key, &decoded);
        char *name = mem_dup(text.p, text.n);
        int got = 0;
        if (js_kind(item) == JS_NULL)
            json_object_del(state, name);
        else
            got = json_object_set_new(state, name,
                                      merge(json_incref(json_object_get(state, name)), item));
        free(name);
        buf_free(&decoded);
        if (got < 0) {
            json_decref(state);
            state = NULL;
        }
    }
    return state;
}

json_t *fold_merge(json_t *state, struct str patch, struct err *e)
{
    state = merge(state, patch);
    if (state == NULL)
        err_set(e, EX_OSERR, "no memory for the state");
    return state;
}

void fold_merge_print(json_t *state, struct buf *text)
{
    const char *key;
    json_t *item;
    bool first = true;

    if (!json_is_object(state)) {
        buf_add(text, json_string_value(state), json_string_length(state));
        return;
    }
    buf_char(text, '{');
    json_object_foreach (state, key, item) {
        if (!first)
            buf_char(text, ',');
        first = false;
        js_quote(text, str_of(key));
        buf_char(text, ':');
        fold_merge_print(item, text);
    }
    buf_char(text, '}');
}

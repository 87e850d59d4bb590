/* A definition as a graph: an arrow for each "after". */
#include "base/json.h"
#include "saga/saga.h"

void saga_dot(const struct saga *s, struct buf *b)
{
    buf_puts(b, "digraph ");
    js_quote(b, str_of(s->name));
    buf_puts(b, " {\n    rankdir=LR;\n    node [shape=box];\n");
    for (size_t i = 0; i < s->steps; i++) {
        const struct saga_step *t = &s->step[i];
        buf_puts(b, "    ");
        js_quote(b, str_of(t->name));
        buf_printf(b, "%s;\n",
                   t->pivot          ? " [peripheries=2]"
                   : t->undo != NULL ? " [style=rounded]"
                                     : "");
        for (size_t k = 0; k < t->afters; k++) {
            buf_puts(b, "    ");
            js_quote(b, str_of(s->step[t->after[k]].name));
            buf_puts(b, " -> ");
            js_quote(b, str_of(t->name));
            buf_puts(b, ";\n");
        }
    }
    buf_puts(b, "}\n");
}

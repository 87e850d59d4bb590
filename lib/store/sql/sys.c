/*
 * The toolkit's own events: they record in the log what happened to a group. Each is part of the
 * transaction that makes it true, so none is missing and none is early.
 */
#include "base/json_tree.h"
#include "event/source.h"
#include "store/sql/sql.h"

#include <string.h>

bool sys_type(struct str type)
{
    return type.n >= 4 && memcmp(type.p, "sys.", 4) == 0;
}

/* The cause's attributes as C strings, needed while the event is made. */
struct chain {
    struct buf id, correlation;
};

static void continue_chain(const struct event *cause, struct chain *chain, struct event_fill *fill)
{
    buf_str(&chain->id, cause->id);
    buf_str(&chain->correlation, cause->correlationid.p != NULL ? cause->correlationid : cause->id);
    fill->causationid = buf_text(&chain->id);
    fill->correlationid = buf_text(&chain->correlation);
    fill->hops = cause->hops;
}

int sys_put(struct txn *t, const char *type, const char *group, const struct event *cause,
            json_t *data, struct err *e)
{
    struct event_fill fill = {
        .type = type, .subject = group, .priority = -1, .hops = -1, .now_ms = t->terms.now_ms};
    struct chain chain = {BUF_INIT, BUF_INIT};
    struct buf source = BUF_INIT, text = BUF_INIT;
    struct err unmade = ERR_NONE;
    struct event ev = EVENT_INIT;
    struct log_put put;
    int got = 0;

    if (data == NULL) /* names are checked, and text from events goes through table_text */
        return err_set(e, EX_SOFTWARE, "bug: the data of a %s event is not valid", type);
    source_here(&source, "eventutils");
    fill.source = buf_text(&source);
    if (cause != NULL)
        continue_chain(cause, &chain, &fill);
    tree_print(&text, data);
    json_decref(data);
    if (event_make(&ev, &t->s->scan, &fill, (struct str){text.p, text.n}, &unmade) == 0)
        got = log_put(t, &ev, &put, e);
    event_free(&ev);
    buf_free(&text);
    buf_free(&source);
    buf_free(&chain.id);
    buf_free(&chain.correlation);
    return got;
}

#include "deliver/inherit.h"

#include "base/name.h"
#include "event/source.h"

#include <stdlib.h>
#include <string.h>

/* NULL when the variable is not set, or empty. */
static const char *variable(const char *name, size_t max, struct err *e)
{
    const char *text = getenv(name);

    if (text == NULL || *text == '\0' || name_check(name, str_of(text), max, e) < 0)
        return NULL;
    return text;
}

/* Above the maximum it is a cycle, whatever the number. */
static int64_t read_hops(const char *text)
{
    int64_t hops = text == NULL ? 0 : strtoll(text, NULL, 10);

    return hops < 0 ? 0 : hops > EVENT_HOPS_MAX ? EVENT_HOPS_MAX : hops;
}

int inherit_chain(struct event_fill *fill, struct buf *source, struct err *e)
{
    const char *group;

    fill->causationid = variable("EVENT_ID", NAME_TEXT_BYTES, e);
    fill->hops = -1;
    if (fill->causationid != NULL) {
        fill->hops = read_hops(getenv("EVENT_HOPS"));
        fill->correlationid = variable("EVENT_CORRELATIONID", NAME_TEXT_BYTES, e);
    }
    fill->traceparent = getenv("TRACEPARENT");
    if (fill->source == NULL)
        fill->source = variable("EVENT_DEFAULT_SOURCE", NAME_TEXT_BYTES, e);
    if (fill->source == NULL) {
        group = variable("EVENT_GROUP", NAME_BYTES, e);
        source_here(source, fill->causationid != NULL ? group : NULL);
        fill->source = buf_text(source);
    }
    return e->status == 0 ? 0 : -1;
}

const char *inherit_group(const struct event_fill *fill, const struct store *s)
{
    const char *spool = getenv("EVENT_SPOOL"), *group = getenv("EVENT_GROUP");
    bool ours = fill->causationid != NULL && spool != NULL && strcmp(spool, store_name(s)) == 0;

    return ours && group != NULL && *group != '\0' ? group : NULL;
}

#include "event/source.h"

#include <unistd.h>

void source_here(struct buf *b, const char *name)
{
    char host[256] = "localhost";

    gethostname(host, sizeof host - 1);
    buf_printf(b, "/%s%s%s", host, name == NULL ? "" : "/", name == NULL ? "" : name);
}

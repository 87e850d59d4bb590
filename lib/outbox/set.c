/* Sets of texts, kept as hashes. */
#include "base/mem.h"
#include "outbox/engine.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a. Two aggregates with the same 64 bits would hold each other up, which only causes
   delay. */
uint64_t relay_hash(struct str text)
{
    uint64_t h = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < text.n; i++)
        h = (h ^ (unsigned char)text.p[i]) * UINT64_C(1099511628211);
    return h == 0 ? 1 : h; /* 0 means a free place */
}

static size_t set_place(const struct relay_set *s, uint64_t h)
{
    size_t at = (size_t)h & (s->room - 1);

    while (s->hash[at] != 0 && s->hash[at] != h)
        at = (at + 1) & (s->room - 1);
    return at;
}

static void set_grow(struct relay_set *s)
{
    struct relay_set old = *s;

    s->room = old.room == 0 ? 64 : old.room * 2;
    s->hash = mem_zero(s->room, sizeof *s->hash);
    for (size_t i = 0; i < old.room; i++)
        if (old.hash[i] != 0)
            s->hash[set_place(s, old.hash[i])] = old.hash[i];
    free(old.hash);
}

void relay_set_add(struct relay_set *s, struct str text)
{
    uint64_t h = relay_hash(text);

    if (2 * (s->n + 1) > s->room)
        set_grow(s);
    size_t at = set_place(s, h);
    s->n += s->hash[at] == 0;
    s->hash[at] = h;
}

bool relay_set_has(const struct relay_set *s, struct str text)
{
    return s->n > 0 && s->hash[set_place(s, relay_hash(text))] != 0;
}

void relay_set_empty(struct relay_set *s)
{
    if (s->n > 0)
        memset(s->hash, 0, s->room * sizeof *s->hash);
    s->n = 0;
}

void relay_set_free(struct relay_set *s)
{
    free(s->hash);
    *s = (struct relay_set){NULL, 0, 0};
}

#include "reduce/fold_priv.h"

#include "base/mem.h"
#include "store/log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *const patterns[] = {"#"};
const struct pattern_list fold_types = {patterns, 1};

struct found {
    struct fold_subject *list;
    size_t n, room;
    json_t *index; /* from each name to its index in the list */
    struct buf name;
};

static struct fold_subject *subject(struct found *f, struct str name)
{
    json_t *place;

    buf_reset(&f->name);
    buf_str(&f->name, name);
    if ((place = json_object_get(f->index, buf_text(&f->name))) != NULL)
        return &f->list[json_integer_value(place)];
    if (f->n == f->room)
        f->list = mem_grow(f->list, f->room += 1 + f->room, sizeof *f->list);
    if (json_object_set_new(f->index, buf_text(&f->name), json_integer((json_int_t)f->n)) < 0)
        return NULL;
    f->list[f->n] = (struct fold_subject){.name = mem_dup(f->name.p, f->name.n)};
    return &f->list[f->n++];
}

/* The room doubles, so it follows from the number of positions. */
static void add_seq(struct fold_subject *s, int64_t seq)
{
    if ((s->seqs & (s->seqs - 1)) == 0)
        s->seq = mem_grow(s->seq, s->seqs == 0 ? 1 : 2 * s->seqs, sizeof *s->seq);
    s->seq[s->seqs++] = seq;
}

static int note(struct found *f, const struct log_entry *entry, const struct pattern_list *types,
                struct err *e)
{
    struct fold_subject *s;

    if (entry->subject.p == NULL)
        return 0;
    if ((s = subject(f, entry->subject)) == NULL)
        return err_set(e, EX_IOERR, "seq %" PRId64 " is damaged: its subject is not UTF-8",
                       entry->seq);
    s->wanted |= pattern_any(types, entry->type);
    if (entry->version > 0 && !s->stream) {
        s->stream = true;
        free(s->seq);
        s->seq = NULL;
        s->seqs = 0;
    }
    if (!s->stream)
        add_seq(s, entry->seq);
    return 0;
}

int fold_subjects(struct store *s, const struct pattern_list *types, int64_t last,
                  struct fold_subject **list, size_t *n, struct err *e)
{
    const struct log_query query = {.last = last, .types = fold_types};
    struct found f = {.index = json_object()};
    struct log_entry entry;
    struct log *log = NULL;
    int got = f.index == NULL ? err_set(e, EX_OSERR, "no memory for the subjects") : 0;

    if (got == 0 && last > 0)
        got = log_open(&log, s, &query, e);
    while (got == 0 && log != NULL && (got = log_next(log, &entry, e)) > 0)
        got = entry.damaged && entry.id.n == 0 /* its subject is unknown, too */
                  ? err_set(e, EX_IOERR, "seq %" PRId64 " is damaged: its subject is unknown",
                            entry.seq)
                  : note(&f, &entry, types, e);
    log_close(log);
    json_decref(f.index);
    buf_free(&f.name);
    *list = f.list;
    *n = f.n;
    return got;
}

void fold_subjects_free(struct fold_subject *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].name);
        free(list[i].seq);
    }
    free(list);
}

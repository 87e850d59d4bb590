/*
 * The records of a copy's stream, see store/copy.h.
 */
#include "store/sql/copy.h"

#include <endian.h>
#include <string.h>

#define TEXT_MAX (64 << 20) /* bytes: more than any value has */

static const struct {
    char letter;
    const char *types;
} records[] = {
    {'h', "si"},     {'e', "iiioooissssb"}, {'s', "ii"},     {'d', "ssiob"},
    {'.', "i"},      {'g', "ssiiiiii"},     {'G', "i"},      {'c', "ii"},
    {'i', "iiiiis"}, {'a', "iiiiisb"},      {'t', "siiiii"}, {'u', "sii"},
    {'z', ""},
};

const char *copy_types(char letter)
{
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++)
        if (records[i].letter == letter)
            return records[i].types;
    return NULL;
}

void copy_put(struct buf *b, char letter, const struct db_value *value)
{
    buf_char(b, letter);
    for (const char *type = copy_types(letter); *type != '\0'; type++, value++) {
        if (*type == 'i' || *type == 'o') {
            uint64_t number = htobe64((uint64_t)value->number);
            buf_add(b, &number, sizeof number);
            continue;
        }
        uint32_t length = htobe32(value->text.p == NULL ? UINT32_MAX : (uint32_t)value->text.n);
        buf_add(b, &length, sizeof length);
        buf_str(b, value->text);
    }
}

/* Move *at behind n bytes: where they are, or NULL when they are not all there. */
static const char *take_bytes(const struct buf *b, size_t *at, size_t n)
{
    const char *p = b->p + *at;

    if (b->n - *at < n)
        return NULL;
    *at += n;
    return p;
}

static int not_ours(struct err *e)
{
    return err_set(e, EX_DATAERR, "the input is not what spool copy writes");
}

/* As copy_take, for a text. */
static int take_text(const struct buf *b, size_t *at, struct str *out, struct err *e)
{
    uint32_t length;
    const char *p = take_bytes(b, at, sizeof length);

    if (p == NULL)
        return 0;
    memcpy(&length, p, sizeof length);
    length = be32toh(length);
    *out = (struct str){NULL, 0};
    if (length == UINT32_MAX)
        return 1;
    if (length > TEXT_MAX)
        return not_ours(e);
    p = take_bytes(b, at, length);
    *out = (struct str){p, length};
    return p != NULL;
}

int copy_take(const struct buf *b, size_t *at, struct copy_record *out, struct err *e)
{
    size_t here = *at;
    struct db_value *v = out->value;
    const char *p = take_bytes(b, &here, 1);
    int got = 1;

    if (p == NULL)
        return 0;
    const char *type = copy_types(out->letter = *p);
    if (type == NULL)
        return not_ours(e);
    for (; *type != '\0' && got > 0; type++, v++) {
        uint64_t number;
        if (*type == 's' || *type == 'b') {
            got = take_text(b, &here, &v->text, e);
        } else if ((p = take_bytes(b, &here, sizeof number)) != NULL) {
            memcpy(&number, p, sizeof number);
            v->number = (int64_t)be64toh(number);
        } else {
            got = 0;
        }
    }
    if (got > 0)
        *at = here;
    return got;
}

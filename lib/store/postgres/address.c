/*
 * The name of a spool on a server:
 *
 *     postgresql://[USER@]HOST[:PORT][,HOST...]/DATABASE[?OPTIONS][#NAME]
 *     service=NAME[...][#NAME]
 *
 * What stands before # is libpq's: a connection URI, or keywords and values, as its manual has them
 * (PostgreSQL manual, 34.1.1). NAME is the spool's schema, "eventutils" if it is missing.
 */
#include "store/postgres/postgres.h"

#include "base/mem.h"
#include "pgkit/pgkit.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 63 /* of identifiers, in PostgreSQL */

/* A schema's name that needs no quotes, and that nobody else reserves. */
static int check_schema_name(const char *name, const char *schema, struct err *e)
{
    size_t n = strspn(schema, "abcdefghijklmnopqrstuvwxyz0123456789_");

    if (n == 0 || schema[n] != '\0' || n > NAME_MAX_BYTES || (*schema >= '0' && *schema <= '9') ||
        strncmp(schema, "pg_", 3) == 0 || strcmp(schema, "public") == 0 ||
        strcmp(schema, "information_schema") == 0)
        return err_set(e, EX_USAGE,
                       "%s: what follows # names the spool: small letters, digits and _, at most "
                       "%d, not pg_..., public or information_schema",
                       err_quote_text(name).text, NAME_MAX_BYTES);
    return 0;
}

int address_read(struct address *out, const char *name, struct err *e)
{
    const char *hash = strrchr(name, '#');
    size_t n = hash == NULL ? strlen(name) : (size_t)(hash - name);

    *out = (struct address){.conninfo = mem_dup(name, n)};
    if (pg_check(out->conninfo, "the spool", e) < 0)
        return -1;
    const char *schema = hash == NULL ? "eventutils" : hash + 1;
    if (check_schema_name(name, schema, e) < 0)
        return -1;
    out->schema = mem_dup(schema, strlen(schema));
    out->shown = mem_dup(name, strlen(name));
    return 0;
}

void address_free(struct address *a)
{
    free(a->conninfo);
    free(a->shown);
    free(a->schema);
}

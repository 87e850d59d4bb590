/*
 * What a person does to a spool as a whole, as far as this engine has it.
 */
#include "store/postgres/postgres.h"

#include "store/upkeep.h"

/* The spool's tables with their indexes and what is stored beside them. */
void db_sizes(struct db *db, struct db_sizes *out)
{
    struct err ignored = ERR_NONE;

    *out = (struct db_sizes){.schema = DB_SCHEMA};
    db_int(db, &ignored, &out->size,
           SQL("sizes", "SELECT CAST(coalesce(sum(pg_total_relation_size(oid)),0) AS bigint) FROM "
                        "pg_class WHERE relnamespace=CAST(? AS int)::oid AND relkind='r'"),
           "i", (int64_t)db->space);
}

int store_backup(struct store *s, const char *file, int64_t *size, struct err *e)
{
    (void)file;
    (void)size;
    return err_set(e, EX_UNAVAILABLE,
                   "%s: a server's spool is backed up by pg_dump -n NAME, or with the server",
                   store_name(s));
}

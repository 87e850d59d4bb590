/*
 * What a projection's file makes in a schema: tables, views and the rest, as a JSON array of texts
 * such as "table customer", each of which names its object after DROP or ALTER while the schema is
 * searched. Indexes, triggers and the sequences of columns go with their tables.
 *
 * What a transaction made is what the server noted in it as belonging to the schema.
 */
#include "project/postgres.h"

#include <stdlib.h>
#include <string.h>

/* Objects of the schema $1: kind and name, and their row of pg_depend as d. */
#define OBJECTS                                                                                    \
    "SELECT CASE WHEN t.oid IS NOT NULL OR c.relkind='c' THEN 'type' WHEN p.oid IS NOT NULL THEN " \
    "'routine' WHEN c.relkind='v' THEN 'view' WHEN c.relkind='m' THEN 'materialized view' WHEN "   \
    "c.relkind='S' THEN 'sequence' ELSE 'table' END||' '||CASE WHEN p.oid IS NOT NULL THEN "       \
    "p.oid::regprocedure::text WHEN t.oid IS NOT NULL THEN t.oid::regtype::text ELSE "             \
    "c.oid::regclass::text END AS object,c.relpersistence,d.xmin AS made,d.objid FROM pg_depend "  \
    "d LEFT JOIN pg_class c ON d.classid='pg_class'::regclass AND c.oid=d.objid LEFT JOIN "        \
    "pg_proc p ON d.classid='pg_proc'::regclass AND p.oid=d.objid LEFT JOIN pg_type t ON "         \
    "d.classid='pg_type'::regclass AND t.oid=d.objid WHERE d.refclassid='pg_namespace'::regclass " \
    "AND d.refobjid=(SELECT oid FROM pg_namespace WHERE nspname=$1) AND (c.oid IS NOT NULL OR "    \
    "p.oid IS NOT NULL OR t.oid IS NOT NULL) AND NOT EXISTS(SELECT 1 FROM pg_depend o WHERE "      \
    "o.classid=d.classid AND o.objid=d.objid AND o.deptype IN ('a','i') AND "                      \
    "o.refclassid='pg_class'::regclass) AND (c.relname IS NULL OR c.relname NOT LIKE "             \
    "'eventutils\\_projection%')"

#define MADE_NOW "made=CAST(pg_current_xact_id() AS xid)"

/* One at a time in a schema, for what two transactions could both find missing. */
int postgres_lock_schema(struct model *m, struct err *e)
{
    const char *const values[] = {postgres_of(m)->schema};
    PGresult *rows =
        postgres_ask(m, "SELECT pg_advisory_xact_lock(hashtext($1),1702262133)", values, 1, e);

    PQclear(rows);
    return rows == NULL ? -1 : 0;
}

/* Before a draft takes its place: the server itself refuses a table that exists, but later. */
int postgres_collides(struct model *m, const char *name, const char *objects, struct err *e)
{
    if (postgres_lock_schema(m, e) < 0 || *objects == '\0')
        return *objects == '\0' && e->status == 0 ? 0 : -1;
    return model_collides(
        m, name, objects,
        "SELECT regexp_replace(o.value,'^(table|view|materialized view|sequence) ','') FROM "
        "json_array_elements_text(CAST($1 AS json)) o WHERE o.value ~ "
        "'^(table|view|materialized view|sequence) ' AND to_regclass(regexp_replace(o.value,"
        "'^(table|view|materialized view|sequence) ','')) IS NOT NULL AND NOT EXISTS(SELECT 1 FROM "
        "eventutils_projection p,json_array_elements_text(CAST(p.objects AS json)) j WHERE "
        "p.name=$2 AND regexp_replace(j.value,'^.* ','')=regexp_replace(o.value,'^.* ','')) LIMIT "
        "1",
        "SELECT p.name FROM eventutils_projection p,json_array_elements_text("
        "CAST(p.objects AS json)) j WHERE regexp_replace(j.value,"
        "'^(table|view|materialized view|sequence) ','')=$1",
        e);
}

int postgres_made(struct model *m, const struct rules *rules, struct buf *objects, struct err *e)
{
    const char *schema = postgres_of(m)->schema;
    struct buf other = BUF_INIT;
    int got = model_text(m, e, &other,
                         "SELECT object FROM (" OBJECTS ") made WHERE " MADE_NOW
                         " AND relpersistence<>'p' LIMIT 1",
                         "t", schema);

    if (got > 0)
        err_set(e, EX_DATAERR, "%s: %s would lose its rows when the server crashes", rules->file,
                other.p);
    else if (got == 0 &&
             (got = model_text(
                  m, e, &other,
                  "SELECT c.oid::regclass FROM pg_depend d JOIN pg_class c ON c.oid=d.objid JOIN "
                  "pg_namespace n ON n.oid=d.refobjid WHERE d.classid='pg_class'::regclass AND "
                  "d.refclassid='pg_namespace'::regclass AND d.xmin=CAST(pg_current_xact_id() AS "
                  "xid) AND n.nspname<>$1 LIMIT 1",
                  "t", schema)) > 0)
        err_set(e, EX_DATAERR, "%s: %s is in another schema: leave the schema out", rules->file,
                other.p);
    if (got == 0) {
        buf_reset(objects);
        got = model_text(m, e, objects,
                         "SELECT coalesce(json_agg(object ORDER BY objid),'[]') FROM (" OBJECTS
                         ") made WHERE " MADE_NOW,
                         "t", schema) > 0
                  ? 0
                  : -1;
    }
    buf_free(&other);
    return got == 0 ? 0 : -1;
}

/* The tables that the file's statements name are locked now, all of them: whose are they? */
int postgres_prepared(struct model *m, const struct rules *rules, const char *objects,
                      struct err *e)
{
    struct buf other = BUF_INIT;
    int got = model_text(
        m, e, &other,
        "SELECT coalesce(i.indrelid,c.oid)::regclass FROM pg_locks l JOIN pg_class c ON "
        "c.oid=l.relation JOIN "
        "pg_namespace n ON n.oid=c.relnamespace LEFT JOIN pg_index i ON i.indexrelid=c.oid WHERE "
        "l.pid=pg_backend_pid() AND l.locktype='relation' AND l.database=(SELECT oid FROM "
        "pg_database WHERE datname=current_database()) AND n.nspname NOT IN ('pg_catalog',"
        "'information_schema','pg_toast') AND NOT (n.nspname=$1 AND c.relname LIKE "
        "'eventutils\\_projection%') AND NOT EXISTS(SELECT 1 FROM pg_depend d WHERE "
        "d.classid='pg_class'::regclass AND d.objid=coalesce(i.indrelid,c.oid) AND "
        "d.refclassid='pg_namespace'::regclass AND d.xmin=CAST(pg_current_xact_id() AS xid)) "
        "LIMIT 1",
        "t", postgres_of(m)->schema);

    (void)objects;
    if (got > 0)
        err_set(e, EX_DATAERR, "%s: table %s is not one that \"@init\" creates", rules->file,
                err_quote(other.p, other.n).text);
    buf_free(&other);
    return got == 0 ? 0 : -1;
}

/*
 * A draft in a schema of its own, beside the live model's in the same database.
 *
 * The swap is a transaction that drops the old tables and moves the new ones into their schema,
 * which copies nothing. It needs each of the old tables for itself, for a moment: it waits for
 * those who read them only so long that others, who have to queue behind it, hardly notice, and
 * tries again a little later. Who may use the old tables may use the new ones.
 */
#include "project/postgres.h"

#include "base/clock.h"
#include "base/json_tree.h"
#include "base/mem.h"
#include "base/sha1.h"
#include "process/proc.h"

#include <stdlib.h>
#include <string.h>

#define SCHEMA_BYTES 63
#define SWAP_LOCK "SET LOCAL lock_timeout='200ms'" /* how long readers wait behind us */
#define SWAP_PAUSE_MS 300
#define SWAP_MS 30000

/* ----------------------------------------------------------------------------------- the draft */

/* SCHEMA-rebuild-NAME, or as much of its hash as a name can hold. */
static char *schema_of_draft(const char *schema, const char *name)
{
    struct buf b = BUF_INIT;
    unsigned char digest[20];
    struct sha1 hash;

    buf_printf(&b, "%s-rebuild-%s", schema, name);
    if (b.n > SCHEMA_BYTES) {
        sha1_init(&hash);
        sha1_add(&hash, b.p, b.n);
        sha1_end(&hash, digest);
        buf_reset(&b);
        buf_puts(&b, "eventutils-rebuild-");
        for (int i = 0; i < 20; i++)
            buf_printf(&b, "%02x", digest[i]);
    }
    char *all = mem_dup(buf_text(&b), b.n);
    buf_free(&b);
    return all;
}

static int drop_schema(struct model *m, const char *schema, struct err *e)
{
    struct buf sql = BUF_INIT;
    int got =
        postgres_do(m, postgres_format(&sql, "DROP SCHEMA IF EXISTS %I CASCADE", schema, NULL), e);

    buf_free(&sql);
    return got;
}

int postgres_open_draft(struct model *draft, struct model *live, const char *name, struct err *e)
{
    const struct postgres_model *beside = live->own;
    struct postgres_model *own = mem_zero(1, sizeof *own);
    struct buf sql = BUF_INIT;

    draft->name = mem_dup(live->name, strlen(live->name));
    draft->own = own;
    own->deferred = -1;
    own->draft = true;
    own->conninfo = mem_dup(beside->conninfo, strlen(beside->conninfo));
    own->schema = schema_of_draft(beside->schema, name);
    int got =
        postgres_connect(draft, e) < 0 || drop_schema(draft, own->schema, e) < 0 ||
                postgres_do(draft, postgres_format(&sql, "CREATE SCHEMA %I", own->schema, NULL),
                            e) < 0
            ? -1
            : 0;
    buf_free(&sql);
    return got;
}

/* On the connection that works: the live one has no reason to be lost by then. */
void postgres_remove_draft(struct model *draft, struct model *live)
{
    struct err ignored = ERR_NONE;
    const struct postgres_model *own = draft->own;

    if (live->own != NULL && !postgres_of(live)->lost && !own->lost)
        drop_schema(live, own->schema, &ignored);
    model_close(draft);
}

/* ----------------------------------------------------------------------------------------- swap */

#define KINDS "^(table|view|materialized view|sequence|routine|type) "
/* The objects of our row in a schema, and their order. */
#define LISTED                                                                                     \
    " FROM (SELECT o.value AS object,split_part(o.value,' ',1) AS kind,o.ordinality AS n FROM "    \
    "%I.eventutils_projection p,json_array_elements_text(CAST(p.objects AS json)) WITH "           \
    "ORDINALITY o WHERE p.name=$1) listed ORDER BY "

static int search(struct model *m, const char *schema, struct err *e)
{
    struct buf sql = BUF_INIT;
    int got = postgres_do(m, postgres_format(&sql, "SET LOCAL search_path=%I", schema, NULL), e);

    buf_free(&sql);
    return got;
}

/* What was granted on the old ones is granted on the new ones of the same names. */
static int copy_grants(struct model *live, const char *draft, const char *name, struct err *e)
{
    const char *const values[] = {name, draft};

    return postgres_do_all(
        live,
        "SELECT format('GRANT %s ON %s %I.%I TO %s%s',a.privilege_type,CASE c.relkind WHEN 'S' "
        "THEN 'SEQUENCE' ELSE 'TABLE' END,$2::text,c.relname,CASE a.grantee WHEN 0 THEN 'PUBLIC' "
        "ELSE a.grantee::regrole::text END,CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE "
        "'' END) FROM eventutils_projection p,json_array_elements_text(CAST(p.objects AS json)) o "
        "JOIN pg_class c ON c.oid=to_regclass(regexp_replace(o.value,'" KINDS "','')),"
        "aclexplode(c.relacl) a WHERE p.name=$1 AND o.value !~ '^(routine|type) ' AND "
        "a.grantee<>c.relowner AND EXISTS(SELECT 1 FROM pg_class new JOIN pg_namespace n ON "
        "n.oid=new.relnamespace WHERE n.nspname=$2 AND new.relname=c.relname)",
        values, 2, e);
}

/* What is made of others goes before them: it was created later. */
static int drop_listed(struct model *live, const char *schema, const char *name, struct err *e)
{
    const char *const values[] = {name};
    struct buf sql = BUF_INIT;
    int got = postgres_do_all(
        live,
        postgres_format(&sql,
                        "SELECT regexp_replace(object,'" KINDS "','DROP \\1 IF EXISTS ')" LISTED
                        "array_position(ARRAY['type','routine','sequence','table'],kind) DESC "
                        "NULLS FIRST,n DESC",
                        schema, NULL),
        values, 1, e);

    buf_free(&sql);
    return got;
}

/* Names in the draft's list are those in its schema. Routines first: their names tell the types of
   their arguments. */
static int move_new(struct model *live, const char *draft, const char *name, struct err *e)
{
    const char *const values[] = {name, postgres_of(live)->schema};
    struct buf sql = BUF_INIT;
    int got = search(live, draft, e);

    if (got == 0)
        got = postgres_do_all(
            live,
            postgres_format(&sql,
                            "SELECT 'ALTER '||object||' SET SCHEMA '||quote_ident($2)" LISTED
                            "kind<>'routine',n",
                            draft, NULL),
            values, 2, e);
    buf_free(&sql);
    return got < 0 ? -1 : search(live, postgres_of(live)->schema, e);
}

static int copy_state(struct model *live, const char *draft, const char *name, struct err *e)
{
    struct buf ours = BUF_INIT, its = BUF_INIT;
    int got =
        model_copy_state(live, name, postgres_format(&ours, "%I", postgres_of(live)->schema, NULL),
                         postgres_format(&its, "%I", draft, NULL), e);

    buf_free(&ours);
    buf_free(&its);
    return got;
}

int postgres_swap(struct model *live, struct model *draft, const char *name, struct err *e)
{
    struct postgres_model *own = live->own;
    const char *beside = postgres_of(draft)->schema;

    if (own->swap_ms == 0)
        own->swap_ms = clock_mono_ms();
    if (postgres_do(live, SWAP_LOCK, e) == 0 && copy_grants(live, beside, name, e) == 0 &&
        drop_listed(live, own->schema, name, e) == 0 && move_new(live, beside, name, e) == 0 &&
        copy_state(live, beside, name, e) == 0)
        return 1;
    if (!own->locked || clock_mono_ms() - own->swap_ms > SWAP_MS || live->stopping())
        return -1;
    err_clear(e);
    proc_wait(NULL, 0, SWAP_PAUSE_MS);
    return 0;
}

/* --------------------------------------------------------------------------------------- verify */

/* What the schema that is searched has: kind, name and definition of each table and the rest, in
   texts that do not name the schema. */
#define IN_SCHEMA                                                                                  \
    " JOIN pg_namespace n ON n.oid=c.relnamespace WHERE n.nspname=$1 AND c.relname NOT LIKE "      \
    "'eventutils\\_projection%' "
static const char definitions[] =
    "SELECT kind,name,sql FROM (SELECT 'table',c.oid::regclass::text,(SELECT "
    "string_agg(concat_ws(' ',quote_ident(a.attname),format_type(a.atttypid,a.atttypmod),CASE WHEN "
    "a.attnotnull THEN 'NOT NULL' END,nullif(a.attidentity::text,''),"
    "nullif(a.attgenerated::text,''),pg_get_expr(f.adbin,f.adrelid)),', ' ORDER BY a.attnum) FROM "
    "pg_attribute a LEFT JOIN pg_attrdef f ON f.adrelid=a.attrelid AND f.adnum=a.attnum WHERE "
    "a.attrelid=c.oid AND a.attnum>0 AND NOT a.attisdropped)||coalesce((SELECT '; '||"
    "string_agg(conname||' '||pg_get_constraintdef(k.oid,true),', ' ORDER BY conname) FROM "
    "pg_constraint k WHERE k.conrelid=c.oid AND k.contype<>'n'),''),c.oid FROM pg_class c" IN_SCHEMA
    "AND c.relkind IN ('r','p') UNION ALL SELECT 'view',c.oid::regclass::text,"
    "pg_get_viewdef(c.oid,true),c.oid FROM pg_class c" IN_SCHEMA
    "AND c.relkind IN ('v','m') UNION ALL SELECT 'index',i.indexrelid::regclass::text,"
    "pg_get_indexdef(i.indexrelid,0,true),i.indexrelid FROM pg_index i JOIN pg_class c ON "
    "c.oid=i.indrelid" IN_SCHEMA
    "AND NOT EXISTS(SELECT 1 FROM pg_constraint k WHERE k.conindid=i.indexrelid) UNION ALL SELECT "
    "'trigger',quote_ident(g.tgname),pg_get_triggerdef(g.oid,true),g.oid FROM pg_trigger g JOIN "
    "pg_class c ON c.oid=g.tgrelid" IN_SCHEMA
    "AND NOT g.tgisinternal UNION ALL SELECT 'routine',p.oid::regprocedure::text,"
    "coalesce(pg_get_function_result(p.oid),'')||' '||p.prosrc,p.oid FROM pg_proc p JOIN "
    "pg_namespace n ON n.oid=p.pronamespace WHERE n.nspname=$1) made(kind,name,sql,made) ORDER BY "
    "kind<>'table',made";

static PGresult *define(struct model *m, const char *schema, struct err *e)
{
    const char *const values[] = {schema};

    return search(m, schema, e) < 0 ? NULL : postgres_ask(m, definitions, values, 1, e);
}

/* A value's text, as JSON: a number, a truth value and JSON as what they are. */
static json_t *json_of(const char *text, const char *type)
{
    static const char *const plain[] = {"bigint", "integer",          "smallint", "numeric",
                                        "real",   "double precision", "json",     "jsonb"};
    json_t *value = NULL;

    if (strcmp(type, "boolean") == 0)
        return json_boolean(*text == 't');
    for (size_t i = 0; i < sizeof plain / sizeof plain[0] && value == NULL; i++)
        if (strncmp(type, plain[i], strlen(plain[i])) == 0) /* numeric(10,2) */
            value = json_loads(text, JSON_DECODE_ANY, NULL);
    return value != NULL ? value : json_string(text);
}

static PGresult *columns_of(struct model *m, const char *schema, const char *table, struct err *e)
{
    const char *const values[] = {schema, table};

    return postgres_ask(
        m,
        "SELECT a.attname,format_type(a.atttypid,a.atttypmod) FROM pg_attribute a JOIN pg_class c "
        "ON c.oid=a.attrelid JOIN pg_namespace n ON n.oid=c.relnamespace WHERE n.nspname=$1 AND "
        "quote_ident(c.relname)=$2 AND a.attnum>0 AND NOT a.attisdropped AND a.attgenerated='' "
        "ORDER BY a.attnum",
        values, 2, e);
}

/* Rows that one side has more often: their columns as texts, since not all types can be compared,
   and the difference. */
static void compare_sql(struct buf *sql, const PGresult *columns, const char *live,
                        const char *draft, const char *table)
{
    struct buf list = BUF_INIT, numbers = BUF_INIT, one = BUF_INIT;

    for (int i = 0; i < PQntuples(columns); i++) {
        buf_puts(&list,
                 postgres_format(&one, "CAST(%I AS text),", PQgetvalue(columns, i, 0), NULL));
        buf_printf(&numbers, "c%d,", i);
    }
    buf_printf(sql, "SELECT %ssum(side) FROM (SELECT %s1 FROM ", buf_text(&numbers),
               buf_text(&list));
    buf_printf(sql, "%s.%s UNION ALL SELECT %s-1 FROM ", postgres_format(&one, "%I", live, NULL),
               table, list.p);
    buf_printf(sql, "%s.%s) AS both_sides(%sside) GROUP BY ",
               postgres_format(&one, "%I", draft, NULL), table, numbers.p);
    buf_printf(sql, "%.*s HAVING sum(side)<>0", (int)numbers.n - 1, numbers.p);
    buf_free(&list);
    buf_free(&numbers);
    buf_free(&one);
}

static int tell_row(struct verify *v, const char *table, const PGresult *rows, int i,
                    const PGresult *columns, struct err *e)
{
    int n = PQntuples(columns);
    int64_t times = strtoll(PQgetvalue(rows, i, n), NULL, 10);
    json_t *row = json_object();

    for (int k = 0; k < n; k++)
        json_object_set_new(row, PQgetvalue(columns, k, 0),
                            PQgetisnull(rows, i, k)
                                ? json_null()
                                : json_of(PQgetvalue(rows, i, k), PQgetvalue(columns, k, 1)));
    return verify_row(v, table, times > 0, times > 0 ? times : -times, row, e);
}

static int compare_rows(struct model *draft, const char *live, const char *table, struct verify *v,
                        struct err *e)
{
    const char *beside = postgres_of(draft)->schema;
    PGresult *columns = columns_of(draft, beside, table, e), *rows = NULL;
    struct buf sql = BUF_INIT;
    int got = columns == NULL ? -1 : 0;

    if (got == 0 && PQntuples(columns) > 0) {
        compare_sql(&sql, columns, live, beside, table);
        rows = postgres_ask(draft, buf_text(&sql), NULL, 0, e);
        got = rows == NULL ? -1 : 0;
    }
    for (int i = 0; i < PQntuples(rows) && got == 0; i++)
        got = tell_row(v, table, rows, i, columns, e);
    PQclear(columns);
    PQclear(rows);
    buf_free(&sql);
    return got < 0 ? -1 : 0;
}

/* The definition of the same object on the other side; "" for none. */
static const char *find_definition(const PGresult *list, const char *kind, const char *name)
{
    for (int i = 0; i < PQntuples(list); i++)
        if (strcmp(PQgetvalue(list, i, 0), kind) == 0 && strcmp(PQgetvalue(list, i, 1), name) == 0)
            return PQgetvalue(list, i, 2);
    return "";
}

static int compare_all(struct model *draft, const char *live, struct verify *v, struct err *e)
{
    PGresult *model = define(draft, live, e);
    PGresult *made = model == NULL ? NULL : define(draft, postgres_of(draft)->schema, e);
    int got = made == NULL ? -1 : 0;

    for (int i = 0; i < PQntuples(made) && got == 0; i++) {
        const char *kind = PQgetvalue(made, i, 0), *name = PQgetvalue(made, i, 1);
        const char *sql = PQgetvalue(made, i, 2), *its = find_definition(model, kind, name);
        if (strcmp(sql, its) != 0)
            got = verify_sql(v, name, its, sql, e);
        else if (strcmp(kind, "table") == 0)
            got = compare_rows(draft, live, name, v, e);
    }
    PQclear(model);
    PQclear(made);
    return got;
}

/* The live model keeps its position until the draft's connection has a view of both. */
int postgres_compare(struct model *live, struct model *draft, struct verify *v, struct err *e)
{
    struct err ignored = ERR_NONE;
    int got = postgres_do(draft, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", e) < 0 ||
                      postgres_do(draft, "SELECT 1 FROM pg_class LIMIT 1", e) < 0
                  ? -1
                  : 0;

    live->engine->rollback(live);
    if (got == 0)
        got = compare_all(draft, postgres_of(live)->schema, v, e);
    postgres_do(draft, "ROLLBACK", &ignored);
    return got;
}

/*
 * What the files of projections share. Nobody else includes this.
 *
 *     projection.c    open, and apply events
 *     owner.c         which process works on a projection, and its group in the spool
 *     rebuild.c       a second model beside the first: to replace it, or to verify it (verify.c)
 *     status.c        positions and states, for listings
 *     model.c         a model in any database, and our two tables in it; engines.c: which engine
 *     statements.c    the statements of a file, prepared and run
 *     sqlite.c sqlite_statements.c sqlite_draft.c          models in SQLite files
 *     postgres.c postgres_talk.c postgres_statements.c postgres_objects.c postgres_draft.c
 *                                                          models on PostgreSQL servers
 *
 * Two tables of ours are in the user's database:
 *
 *     eventutils_projection        a row for each projection: its position, its file, its tables;
 *                                  changed in the same transaction as the effects
 *     eventutils_projection_dead   events that it set aside
 */
#ifndef PROJECT_MODEL_H
#define PROJECT_MODEL_H

#include "project/projection.h"
#include "store/doc.h"
#include "store/groups.h"

struct model;
struct verify;
struct model_rows; /* of a query: an engine's */

/* -------------------------------------------------------------------------------- statements */

/* A statement of a file, as an engine has prepared it. */
struct statement {
    const struct rules_section *section;
    int64_t line;
    const char *sql; /* for messages; as long as the statement */
    int parameters;
    unsigned char *parameter; /* which value of the event each one takes */
    void *own;                /* the engine's */
};

struct statements {
    struct statement *item;
    size_t n;
    bool parse; /* a statement needs an attribute that only the line has */
};

enum statement_value {
    BY_SEQ,
    BY_ID,
    BY_TYPE,
    BY_SOURCE,
    BY_SUBJECT,
    BY_EVENT,
    BY_PARSING, /* from here on */
    BY_TIME = BY_PARSING,
    BY_VERSION,
    BY_CORRELATIONID,
    BY_DATA,
    BY_VALUES
};

/* An event that does not fit. */
struct fault {
    int64_t seq;                       /* 0: none */
    const struct statement *statement; /* NULL: its line cannot be read */
    struct err why;
};

/* Run the statements of "@init", in the transaction that the caller began; prepare the others. 0 or
   -1: 65 with the file and the line of the error. */
int rules_init(struct model *m, const struct rules *rules, struct err *e);
int rules_prepare(struct statements *all, struct model *m, const struct rules *rules,
                  struct err *e);
void rules_finalize(struct statements *all, struct model *m);
/* For engines. Add the value that a parameter such as ":seq" takes: 0, or -1 with 65 when there is
   none of that name. */
int statement_parameter(struct statement *s, const char *name, struct err *e);
/* Its value: 1 an integer in *number, 0 text, which may be absent. */
int statement_value(const struct log_entry *entry, const struct event *ev, unsigned char which,
                    int64_t *number, struct str *text);
bool statement_listed(const char *const *list, const char *word, size_t n);    /* of words */
int statement_at_line(const struct rules *rules, int64_t line, struct err *e); /* -1 */

/* ----------------------------------------------------------------------------------- engines */

enum model_mode { MODEL_READ, MODEL_VERIFY, MODEL_CREATE }; /* what is missing is 66, or created */

struct model_engine {
    /* A transaction: events at most, and how long it may take while there are more. */
    int batch_events;
    int64_t batch_ms;
    /* Behind a SELECT: its rows stay as they are until the transaction ends. */
    const char *lock_rows;
    const char *const *init_words; /* with what statements may begin under "@init", too */

    /* A database's name in full, to be freed. same: are these one database? 1, 0, or -1 when only
       what is in them can tell. */
    char *(*name)(const char *database);
    int (*same)(const char *ours, const char *theirs);
    /* Try a whole file in an empty database, and append the names of the tables and views that it
       creates, as a JSON array. NULL: a transaction that fails undoes all that a file has made. */
    int (*check)(const struct model_engine *self, const struct rules *rules, struct buf *objects,
                 struct err *e);

    int (*open)(struct model *m, enum model_mode mode, struct err *e);
    void (*close)(struct model *m);
    int (*begin)(struct model *m, struct err *e); /* keeps other writers of our row out */
    int (*commit)(struct model *m, struct err *e);
    void (*rollback)(struct model *m);
    /* The transaction failed: is it worth another try? 0; -1: no, and e has said why, or does. May
       be NULL. */
    int (*recover)(struct model *m, struct err *e);

    /* See model_query. */
    struct model_rows *(*query)(struct model *m, struct err *e, const char *sql, const char *types,
                                va_list ap);
    int (*row)(struct model *m, struct model_rows *q, struct err *e);
    struct str (*text)(struct model_rows *q,
                       int column);     /* absent: NULL; a view until the next row */
    void (*done)(struct model_rows *q); /* NULL is fine */

    /* In a transaction. is_there: do our tables exist? 1, 0, -1. before_tables: before they are
       created; may be NULL. collides: -1 with 65 when one of these objects exists and is not this
       projection's; or 0. made: append the names of what "@init" has created, where check could
       not; may be NULL. */
    int (*is_there)(struct model *m, struct err *e);
    int (*before_tables)(struct model *m, struct err *e);
    int (*collides)(struct model *m, const char *name, const char *objects, struct err *e);
    int (*made)(struct model *m, const struct rules *rules, struct buf *objects, struct err *e);

    /* Statements of a file. compile: the first one in sql, and where it ends; run_once under
       "@init". prepared: all are compiled for the first time: do they keep to these objects? May be
       NULL. run: 0; 1: an event is at fault, this one or one before it; or -1: the database is, and
       with 65 fault names the statement. flush: the same, for all that were run; may be NULL. */
    int (*compile)(struct model *m, const char *sql, const char **end, struct statement *out,
                   struct err *e);
    int (*run_once)(struct model *m, struct statement *s, struct err *e);
    int (*prepared)(struct model *m, const struct rules *rules, const char *objects, struct err *e);
    int (*run)(struct model *m, struct statement *s, const struct log_entry *entry,
               const struct event *ev, struct fault *fault, struct err *e);
    int (*flush)(struct model *m, struct fault *fault, struct err *e);
    void (*forget)(struct model *m, struct statement *s);

    /* A draft stands beside the live model, which is open. open_draft: create an empty draft in
       place of an earlier one, and open it.
       swap: in a transaction of the live model, put the draft in its place: 1; 0: not now, try
       again; -1. hold: begin a transaction of the live model in which it keeps the position that is
       read; compare ends it. */
    int (*open_draft)(struct model *draft, struct model *live, const char *name, struct err *e);
    int (*swap)(struct model *live, struct model *draft, const char *name, struct err *e);
    int (*hold)(struct model *live, struct err *e);
    int (*compare)(struct model *live, struct model *draft, struct verify *v, struct err *e);
    void (*remove_draft)(struct model *draft, struct model *live);
};

extern const struct model_engine model_sqlite;
/* Linked only into the commands for servers, and NULL in the others, which hand over to those. */
extern const struct model_engine model_postgres __attribute__((weak));

/* ------------------------------------------------------------------------------------- model */

struct model {
    const struct model_engine *engine;
    char *name; /* of the database, in full */
    bool (*stopping)(void);
    bool stopped; /* that was why it failed: nothing has happened */
    bool created;
    void *own; /* the engine's */
};

const struct model_engine *model_engine_of(const char *database);
/* 0, or -1: 66 when it is not there to be read, 73 when it cannot be created. Close it in any case.
 */
int model_open(struct model *m, const struct model_engine *engine, const char *database,
               enum model_mode mode, bool (*stopping)(void), struct err *e);
void model_close(struct model *m);

/*
 * Statements of our own, in the SQL that all engines speak. Arguments are $1, $2, … in the order of
 * their first use; types has a letter for each: i int64_t, s struct str (absent: NULL), t const
 * char * (NULL: NULL). The caller ends a query with done.
 */
struct model_rows *model_query(struct model *m, struct err *e, const char *sql, const char *types,
                               ...);
int model_row(struct model *m, struct model_rows *q, struct err *e);      /* 1 a row; 0 done, -1 */
struct str model_cell(struct model *m, struct model_rows *q, int column); /* absent: NULL */
int64_t model_cell_int(struct model *m, struct model_rows *q, int column);
void model_done(struct model *m, struct model_rows *q);
int model_run(struct model *m, struct err *e, const char *sql, const char *types, ...); /* 0, -1 */
/* One integer: 1, 0 no row (or NULL), -1. */
int model_int(struct model *m, struct err *e, int64_t *out, const char *sql, const char *types,
              ...);
/* One text, appended with a NUL behind it that is not counted: 1, 0, -1. */
int model_text(struct model *m, struct err *e, struct buf *out, const char *sql, const char *types,
               ...);
/* The first column of all rows, each with a NUL behind it: 0, -1. parameter NULL: none. */
int model_collect(struct model *m, struct err *e, struct buf *out, const char *sql,
                  const char *parameter);

int model_begin(struct model *m, struct err *e); /* 0 or -1, as the next */
int model_commit(struct model *m, struct err *e);
void model_rollback(struct model *m);
int model_tables(struct model *m, struct err *e); /* create our two tables, in a transaction */
/* In a transaction: our rows of the draft take the place of the live model's, which are in these
   schemas, quoted. 0 or -1. */
int model_copy_state(struct model *live, const char *name, const char *live_schema,
                     const char *draft_schema, struct err *e);
/* For an engine's collides. In its words: taken is a query for one of the objects ($1) that exists
   and is not projection $2's, whose one for the projection that object $1 belongs to. 0; -1 with
   65. */
int model_collides(struct model *m, const char *name, const char *objects, const char *taken,
                   const char *whose, struct err *e);

/* ------------------------------------------------------------------------------- projections */

struct projection {
    struct projection_terms terms;
    char *name; /* of the live database, in full; a draft's own is in model */
    struct model model;
    struct statements statements;
    struct buf objects;          /* JSON */
    int64_t position;            /* in the database */
    int64_t until;               /* the last position to apply */
    int64_t told;                /* the position last copied to the spool */
    int64_t applied, fresh;      /* events: committed, and in the transaction that is open */
    struct group_passed *passed; /* by type: applied and not yet counted in the spool */
    int64_t *fresh_of;           /* of those, in the transaction that is open */
    size_t passed_n, passed_room;
    struct log *log;
    struct fault fault; /* an event that failed once, to be handled the second time */
    struct err bad;     /* how it failed, in full */
    struct buf last_id; /* scratch */
    struct js_scan scan;
    struct event event;
    char mark[MARK_SIZE];
    char *elsewhere; /* the database of our name in the spool; ours if ours has our row. Or NULL */
    bool draft;      /* a draft: its position is not copied to the spool */
};

/* Zero p, set its terms and names, and check the file. */
int projection_init(struct projection *p, const struct projection_terms *terms, struct err *e);
/* The projection in p->model, which is open. */
int projection_begin(struct projection *p, struct err *e);
void projection_free(struct projection *p);

enum claim_role { CLAIM_WORK, CLAIM_ASIDE };
/* Make this process the only one in this role for a projection of this name, until it ends. 75 when
   another process has the role, 64 when the name belongs to something else. */
int claim_take(struct projection *p, enum claim_role role, struct err *e);
/* May the name be bound to this database? 0, or -1 with 64. claim_found: the same, once it is known
   whether the database has a row of our name. */
int claim_name(struct projection *p, struct model *live, struct err *e);
int claim_found(const struct projection *p, bool row, struct err *e);
int claim_group(struct projection *p, struct err *e); /* create it, with the file's patterns */
int64_t claim_pid(struct store *s, const char *name, enum claim_role role); /* 0: no process */

/* ------------------------------------------------------------------------------------ verify */

struct verify {
    int (*f)(json_t *row, void *arg, struct err *e);
    void *arg;
    int64_t found;
};

/* For engines: report a row that one side has more often; row is given away. An object that has
   another definition, "" for none. 0 or -1. */
int verify_row(struct verify *v, const char *table, bool model, int64_t times, json_t *row,
               struct err *e);
int verify_sql(struct verify *v, const char *name, const char *model, const char *draft,
               struct err *e);

#endif

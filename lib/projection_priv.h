/*
 * What the files of projections share. Nobody else includes this.
 *
 *     projection.c          open, and apply events
 *     projection_claim.c    who works on which, and the group in the spool
 *     projection_db.c       the user's database: errors in words, transactions, checkpoints
 *     projection_rules.c    the statements of a file, prepared and run
 *     projection_aside.c    beside the model: rebuild it, or look whether it is right
 *     projection_status.c   how far they are
 *
 * Two tables of ours are in the user's database:
 *
 *     eventutils_projection        a row for each projection: how far it is, and which file and
 *                                  tables it is; moved in the transaction that has the effects
 *     eventutils_projection_dead   events that it put aside
 */
#ifndef PROJECTION_PRIV_H
#define PROJECTION_PRIV_H

#include "projection.h"

#include <sqlite3.h>

/* ---------------------------------------------------------------------------------- database */

struct model {
    sqlite3 *db;
    char *path; /* absolute */
    bool (*stopping)(void);
    bool stopped; /* that was why it failed: nothing has happened */
    bool created, checkpointing;
    int64_t busy_until_ms; /* monotonic, as is the next */
    int64_t stop_ms;       /* a signal has come: then a statement is interrupted. 0: none has */
    int frames;            /* in the WAL after the last commit; 0: it has none */
    int tried_frames;      /* there were so many when a checkpoint was last tried */
};

enum model_mode { MODEL_READ, MODEL_CREATE };

char *model_path(const char *path); /* absolute; the caller's to free */
/* 66 when there is no such file to read, 73 when it cannot be made. */
int model_open(struct model *m, const char *path, enum model_mode mode, bool (*stopping)(void),
               struct err *e);
void model_close(struct model *m);
int model_fail(struct model *m, struct err *e); /* what SQLite says, in words; returns -1 */

/* Statements that are prepared anew each time. types as in the store: i int64_t, s struct str,
   t const char *. model_query returns NULL when it failed; finalize it. */
sqlite3_stmt *model_query(struct model *m, struct err *e, const char *sql, const char *types, ...);
int model_row(struct model *m, sqlite3_stmt *q, struct err *e); /* 1 a row; 0 done, -1 */
int model_run(struct model *m, struct err *e, const char *sql, const char *types, ...);
/* One integer: 1, 0 no row (or NULL), -1. */
int model_int(struct model *m, struct err *e, int64_t *out, const char *sql, const char *types,
              ...);
/* One text, appended with a NUL behind it that is not counted: 1, 0, -1. */
int model_text(struct model *m, struct err *e, struct buf *out, const char *sql, const char *types,
               ...);
struct str model_column(sqlite3_stmt *q, int column); /* text; a view until the next step */

int model_begin(struct model *m, struct err *e); /* IMMEDIATE */
int model_commit(struct model *m, struct err *e);
void model_rollback(struct model *m);

/* -------------------------------------------------------------------------------- statements */

struct statement {
    sqlite3_stmt *stmt;
    const struct rules_section *section;
    int64_t line;
    int parameters;
    unsigned char *parameter; /* which of an event's values each is */
};

struct statements {
    struct statement *item;
    size_t n;
    bool parse; /* one of them needs more of an event than the log has beside its line */
};

/* Run what is in "@init", in the transaction that the caller began. */
int rules_init(struct model *m, const struct rules *rules, struct err *e);
int rules_prepare(struct statements *all, struct model *m, const struct rules *rules,
                  struct err *e);
void rules_finalize(struct statements *all);

/* Try all of a file in an empty database, and append the names of the tables and views that it
   makes, as a JSON array. 65 with the file and the line of what is wrong. */
int rules_check(const struct rules *rules, struct buf *objects, struct err *e);

/* 0; 1 the event is at fault, and why says so; -1 the database is. */
int statement_run(struct statement *s, struct model *m, const struct rules *rules,
                  const struct log_entry *entry, const struct event *ev, struct err *why,
                  struct err *e);

/* ------------------------------------------------------------------------------- projections */

struct projection {
    struct projection_terms terms;
    char *path; /* of the user's database, absolute; that of a draft is the model's */
    struct model model;
    struct statements statements;
    struct buf objects;     /* JSON */
    int64_t position;       /* in the database */
    int64_t until;          /* no further than here */
    int64_t told;           /* the spool knows that all up to here is seen */
    int64_t applied, fresh; /* events: committed, and in the transaction that is open */
    struct log *log;
    int64_t bad_seq; /* an event that failed: when it comes again it is dealt with. 0: none */
    struct err bad;  /* how it failed */
    const char *bad_sql;
    struct buf last_id; /* scratch */
    struct js_scan scan;
    struct event event;
    char mark[MARK_SIZE];
    bool draft; /* a model beside the model: the spool hears nothing of it */
};

/* Zeroed, with terms: the paths, then the file checked. */
int projection_init(struct projection *p, const struct projection_terms *terms, struct err *e);
/* Open the database at path, and the projection in it. 1 when the file is new. */
int projection_begin(struct projection *p, const char *path, struct err *e);
void projection_free(struct projection *p);
int model_tables(struct model *m, struct err *e); /* make the two, in a transaction */
/* Is one of these tables (a JSON array) there already, and somebody else's? 0, or -1 with 65. */
int model_collides(struct model *m, const char *name, const char *objects, struct err *e);

enum claim_role { CLAIM_WORK, CLAIM_ASIDE };
/* Nobody else works in this role on a projection of this name, or does until we end. 75 when
   somebody does, 64 when the name belongs to something else. */
int claim_take(struct projection *p, enum claim_role role, struct err *e);
int claim_name(struct projection *p, struct err *e);  /* it is this database's; 64, as above */
int claim_group(struct projection *p, struct err *e); /* made, and with its patterns */
int64_t claim_pid(struct store *s, const char *name, enum claim_role role); /* 0: nobody */

#endif

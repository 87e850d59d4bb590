/*
 * What the files of projections share. Nobody else includes this.
 *
 *     projection.c          open, and apply events
 *     owner.c    which process works on a projection, and its group in the spool
 *     database.c       the user's database: errors in words, transactions, checkpoints
 *     statements.c    the statements of a file, prepared and run
 *     rebuild.c    a second model beside the first: to replace it, or to verify it
 *     status.c   positions and states, for listings
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
#include "sqlitekit/kit.h"
#include "store/doc.h"
#include "store/groups.h"

/* ---------------------------------------------------------------------------------- database */

struct model {
    sqlite3 *db;
    char *path; /* absolute */
    bool (*stopping)(void);
    bool stopped; /* that was why it failed: nothing has happened */
    bool created, checkpointing;
    int64_t busy_until_ms; /* monotonic, as is the next */
    int64_t stop_ms;       /* after a signal: when to interrupt a statement. 0: no signal */
    int frames;            /* in the WAL after the last commit; 0: no WAL */
    int tried_frames;      /* frames at the last try of a checkpoint */
};

enum model_mode { MODEL_READ, MODEL_CREATE };

char *model_path(const char *path); /* absolute; the caller's to free */
/* 66 when there is no such file to read, 73 when it cannot be created. */
int model_open(struct model *m, const char *path, enum model_mode mode, bool (*stopping)(void),
               struct err *e);
void model_close(struct model *m);
int model_fail(struct model *m, struct err *e); /* what SQLite says, in words; returns -1 */

/* Statements that are prepared each time. types as for kit_bind. model_query returns NULL when it
   failed; the caller finalizes the statement. */
sqlite3_stmt *model_query(struct model *m, struct err *e, const char *sql, const char *types, ...);
int model_row(struct model *m, sqlite3_stmt *q, struct err *e); /* 1 a row; 0 done, -1 */
int model_run(struct model *m, struct err *e, const char *sql, const char *types, ...);
/* One integer: 1, 0 no row (or NULL), -1. */
int model_int(struct model *m, struct err *e, int64_t *out, const char *sql, const char *types,
              ...);
/* One text, appended with a NUL behind it that is not counted: 1, 0, -1. */
int model_text(struct model *m, struct err *e, struct buf *out, const char *sql, const char *types,
               ...);

/* 0 or -1. It is BEGIN IMMEDIATE. */
int model_begin(struct model *m, struct err *e);
int model_commit(struct model *m, struct err *e);
void model_rollback(struct model *m);

/* -------------------------------------------------------------------------------- statements */

struct statement {
    sqlite3_stmt *stmt;
    const struct rules_section *section;
    int64_t line;
    int parameters;
    unsigned char *parameter; /* which value of the event each one takes */
};

struct statements {
    struct statement *item;
    size_t n;
    bool parse; /* a statement needs an attribute that only the line has */
};

/* Run the statements of "@init", in the transaction that the caller began; prepare the others. 0 or
   -1. */
int rules_init(struct model *m, const struct rules *rules, struct err *e);
int rules_prepare(struct statements *all, struct model *m, const struct rules *rules,
                  struct err *e);
void rules_finalize(struct statements *all);

/* 0, or -1. Try a whole file in an empty database, and append the names of the tables and views
   that it creates, as a JSON array. 65 with the file and the line of the error. */
int rules_check(const struct rules *rules, struct buf *objects, struct err *e);

/* 0; 1: the event is at fault, for the reason in why; -1: the database is. */
int statement_run(struct statement *s, struct model *m, const struct rules *rules,
                  const struct log_entry *entry, const struct event *ev, struct err *why,
                  struct err *e);

/* ------------------------------------------------------------------------------- projections */

struct projection {
    struct projection_terms terms;
    char *path; /* of the user's database, absolute; a draft's own is in model */
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
    int64_t bad_seq; /* an event that failed once, to be handled the second time. 0: none */
    struct err bad;  /* how it failed */
    const char *bad_sql;
    struct buf last_id; /* scratch */
    struct js_scan scan;
    struct event event;
    char mark[MARK_SIZE];
    bool draft; /* a draft: its position is not copied to the spool */
};

/* Zero p, set its terms and paths, and check the file. */
int projection_init(struct projection *p, const struct projection_terms *terms, struct err *e);
/* Open the database at path, and the projection in it. 1 when the file is new. */
int projection_begin(struct projection *p, const char *path, struct err *e);
void projection_free(struct projection *p);
int model_tables(struct model *m, struct err *e); /* create our two tables, in a transaction */
/* -1 with 65 when one of these tables (a JSON array) exists and is not this projection's; or 0. */
int model_collides(struct model *m, const char *name, const char *objects, struct err *e);

enum claim_role { CLAIM_WORK, CLAIM_ASIDE };
/* Make this process the only one in this role for a projection of this name, until it ends. 75 when
   another process has the role, 64 when the name belongs to something else. */
int claim_take(struct projection *p, enum claim_role role, struct err *e);
int claim_name(struct projection *p, struct err *e);  /* bind it to this database; 64 as above */
int claim_group(struct projection *p, struct err *e); /* create it, with the file's patterns */
int64_t claim_pid(struct store *s, const char *name, enum claim_role role); /* 0: no process */

#endif

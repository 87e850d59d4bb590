/* What the files of the PostgreSQL engine share. */
#ifndef PROJECT_POSTGRES_H
#define PROJECT_POSTGRES_H

#include "pgkit/pgkit.h"
#include "project/model.h"

/* A statement on its way. */
struct sent {
    struct statement *statement; /* of a file; NULL: one of ours */
    int64_t seq;                 /* the event that it was run for */
};

struct postgres_model {
    PGconn *conn;
    char *conninfo, *schema; /* the model's tables are in it */
    bool draft;              /* what it commits need not be on disk */
    bool reads;              /* nothing is written: a standby will do */
    bool lost;               /* the connection: every call fails */
    bool again;              /* the transaction failed because of others: it is worth another try */
    bool locked;             /* it failed because others kept a lock */
    bool in;                 /* a transaction has begun */
    int deferred;            /* some constraints may be checked at the commit: 1, 0, -1 not asked */
    size_t host;             /* which of several it leads to */
    int64_t connections;     /* so far: a statement is prepared in each of them */
    int64_t recovering_ms;   /* since when recoveries are counted, and how many there were */
    int64_t recoveries;
    int64_t swap_ms; /* when the swap was tried first; 0: not yet */

    struct sent *sent; /* the statements of the pipeline that is open, in order */
    size_t sends, answers, sent_room;
    int64_t last_seq; /* of the last statement of a file in it */
    bool failed;      /* one has failed, the first of them as follows */
    struct sent failure;
    struct err error, words; /* with its place in front; as the server says it */
    bool at_fault;           /* the event is, and not the database */
    struct buf notice;       /* "relation … already exists, skipping" */
    struct buf scratch;
};

static inline struct postgres_model *postgres_of(const struct model *m)
{
    return m->own;
}

/* postgres_talk.c: pipelines. Connect again, if need be: 0 or -1. */
int postgres_connect(struct model *m, struct err *e);
struct postgres_words { /* the arguments of a statement; types and the rest may be NULL */
    int n;
    const Oid *types;
    const char *const *values;
    const int *lengths, *formats;
};
/* Send a statement, sql or the prepared one called name, and wait for nothing: 0, or -1 when the
   connection is lost. */
int postgres_send(struct model *m, struct sent of, const char *name, const char *sql,
                  const struct postgres_words *words, struct err *e);
int postgres_send_prepare(struct model *m, const char *name, const char *sql,
                          const struct postgres_words *words, struct err *e); /* likewise */
/* Wait for all answers: 0, and *last is the last one if last is not NULL; -1: the first error. */
int postgres_finish(struct model *m, PGresult **last, struct err *e);
/* Send a statement with arguments as text, and wait for its answer; NULL: an error. */
PGresult *postgres_ask(struct model *m, const char *sql, const char *const *values, int n,
                       struct err *e);
int postgres_do(struct model *m, const char *sql, struct err *e); /* the same without either */
/* Statements whose texts are in the first column of a query: 0 or -1. */
int postgres_do_all(struct model *m, const char *query, const char *const *values, int n,
                    struct err *e);
/* Format with quoted names for %I, as in the server's format(); b is reset. */
const char *postgres_format(struct buf *b, const char *format, const char *first,
                            const char *second);

/* postgres_statements.c: as in struct model_engine. */
extern const char *const postgres_init_words[];
int postgres_compile(struct model *m, const char *sql, const char **end, struct statement *out,
                     struct err *e);                                        /* 0 or -1 */
int postgres_run_once(struct model *m, struct statement *s, struct err *e); /* 0 or -1 */
int postgres_run(struct model *m, struct statement *s, const struct log_entry *entry,
                 const struct event *ev, struct fault *fault, struct err *e); /* 0, 1, -1 */
int postgres_flush(struct model *m, struct fault *fault, struct err *e);      /* 0, 1, -1 */
void postgres_forget(struct model *m, struct statement *s);

/* postgres_objects.c: likewise; what a file makes. They return 0 or -1. */
int postgres_collides(struct model *m, const char *name, const char *objects, struct err *e);
int postgres_made(struct model *m, const struct rules *rules, struct buf *objects, struct err *e);
int postgres_prepared(struct model *m, const struct rules *rules, const char *objects,
                      struct err *e);
int postgres_lock_schema(struct model *m, struct err *e);

/* postgres_draft.c: likewise, but for swap: 1, 0, -1. */
int postgres_open_draft(struct model *draft, struct model *live, const char *name, struct err *e);
int postgres_swap(struct model *live, struct model *draft, const char *name, struct err *e);
int postgres_compare(struct model *live, struct model *draft, struct verify *v, struct err *e);
void postgres_remove_draft(struct model *draft, struct model *live);

#endif

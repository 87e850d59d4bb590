/* What the files of the SQLite engine share. */
#ifndef PROJECT_SQLITE_H
#define PROJECT_SQLITE_H

#include "project/model.h"
#include "sqlitekit/kit.h"

struct sqlite_model {
    sqlite3 *db;
    bool checkpointing;
    int64_t busy_until_ms; /* monotonic, as is the next */
    int64_t stop_ms;       /* after a signal: when to interrupt a statement. 0: no signal */
    int frames;            /* in the WAL after the last commit; 0: no WAL */
    int tried_frames;      /* frames at the last try of a checkpoint */
};

static inline sqlite3 *sqlite_of(const struct model *m)
{
    return ((const struct sqlite_model *)m->own)->db;
}

int sqlite_fail(struct model *m, struct err *e); /* what SQLite says, in words; returns -1 */

/* sqlite_statements.c: as in struct model_engine. */
extern const char *const sqlite_init_words[];
int sqlite_check(const struct model_engine *self, const struct rules *rules, struct buf *objects,
                 struct err *e);
int sqlite_compile(struct model *m, const char *sql, const char **end, struct statement *out,
                   struct err *e);                                        /* 0 or -1 */
int sqlite_run_once(struct model *m, struct statement *s, struct err *e); /* 0 or -1 */
int sqlite_run(struct model *m, struct statement *s, const struct log_entry *entry,
               const struct event *ev, struct fault *fault, struct err *e); /* 0, 1, -1 */
void sqlite_forget(struct model *m, struct statement *s);

/* sqlite_draft.c: likewise; they return 0 or -1. */
int sqlite_open_draft(struct model *draft, struct model *live, const char *name, struct err *e);
int sqlite_swap(struct model *live, struct model *draft, const char *name, struct err *e);
int sqlite_hold(struct model *live, struct err *e);
int sqlite_compare(struct model *live, struct model *draft, struct verify *v, struct err *e);
void sqlite_remove_draft(struct model *draft, struct model *live);

#endif

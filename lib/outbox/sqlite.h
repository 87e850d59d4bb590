/* What the two files of the SQLite engine share. */
#ifndef OUTBOX_SQLITE_H
#define OUTBOX_SQLITE_H

#include "outbox/engine.h"
#include "sqlitekit/kit.h"

#include <sys/stat.h>

struct sqlite {
    sqlite3 *db;
    sqlite3_stmt *statement[RELAY_STATEMENTS]; /* prepared when it is used first */
    struct buf text;                           /* the texts of the page */
    int64_t read_version;                      /* the database's, before the page was read */
    char *path, *lock_path, *name;             /* name: the file's name in its folder */
    int lock_fd, bell;
    bool locked;
    struct stat file;
    int64_t busy_until_ms, wait_ms, version, again_ms;
};

/* Put SQLite's last error in words. Returns -1. */
int sqlite_fail(struct relay *r, struct err *e);
int sqlite_no_number(struct relay *r, struct err *e); /* the id of a row: -1 with 65 */

/* 0, or -1. */
int sqlite_run(struct relay *r, const char *sql, struct err *e);
int sqlite_prepare(struct relay *r, const char *text, sqlite3_stmt **out, struct err *e);
/* Step a statement once; a row is 1, none 0. Reset it before the transaction ends. */
int sqlite_step(struct relay *r, sqlite3_stmt *s, struct err *e);
/* The statement of a template of ours; NULL if it would change nothing. 0, or -1. */
int sqlite_statement(struct relay *r, enum relay_statement which, sqlite3_stmt **out,
                     struct err *e);
/* The number of commits of others that this connection knows of: 0, or -1. */
int sqlite_version(struct relay *r, int64_t *out, struct err *e);

/* As in engine.h. Each returns 0 or more, or -1. */
int sqlite_open(struct relay *r, enum relay_mode mode, struct err *e);
void sqlite_close(struct relay *r);
int sqlite_begin(struct relay *r, struct err *e);
void sqlite_end(struct relay *r);
int sqlite_last(struct relay *r, int64_t *id, struct err *e);
int sqlite_fd(struct relay *r);
int64_t sqlite_patience_ms(struct relay *r);
int sqlite_news(struct relay *r, struct err *e);

#endif

/*
 * kit: what everything that calls SQLite needs, be it for a spool, a user's read model or an
 * application's outbox. What they tell people differently stays with each of them.
 */
#ifndef SQLITEKIT_KIT_H
#define SQLITEKIT_KIT_H

#include "base/err.h"

#include <sqlite3.h>
#include <stdarg.h>

#define KIT_NONE INT64_MIN   /* stands for NULL */
#define KIT_BUSY_MS 30000    /* how long to wait for another process's lock */
#define KIT_CHECKPOINT_MS 20 /* the same for a checkpoint, for which writers wait */
#define KIT_PATH_LENGTH 480  /* SQLite takes 512 bytes, with what it adds for files beside it */

/* Bind the arguments by their letters: i int64_t, o int64_t (KIT_NONE: NULL), s struct str as text
   (absent: NULL), b struct str as bytes, t const char * (NULL: NULL). Texts are bound as views. */
void kit_bind(sqlite3_stmt *q, const char *types, ...);
void kit_bind_list(sqlite3_stmt *q, const char *types, va_list ap);

/* Bind one, by a letter other than t: number or text, as the letter says. Inline, since a spool
   binds a dozen for each event. */
static inline void kit_bind_value(sqlite3_stmt *q, int at, char type, int64_t number,
                                  struct str text)
{
    if (type == 'i' || (type == 'o' && number != KIT_NONE))
        sqlite3_bind_int64(q, at, number);
    else if (type == 'o')
        sqlite3_bind_null(q, at);
    else if (type == 's')
        sqlite3_bind_text64(q, at, text.p, text.n, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_blob64(q, at, text.n == 0 ? "" : text.p, text.n, SQLITE_STATIC);
}

/* The bytes of a blob, or a value as UTF-8; absent when it is NULL. A view until the next step. */
struct str kit_text(sqlite3_stmt *q, int column);

/* For a busy handler: sleep a little and return 1, or return 0 to give up, because limit_ms are
   over since times was 0, or because of stop. *until_ms is its memory. */
int kit_wait(int64_t *until_ms, int times, int64_t limit_ms, bool stop);

/* A WAL hook, which takes the place of automatic checkpoints: notes the WAL's frames after a commit
   in *count, an int. Returns SQLITE_OK. */
int kit_note_frames(void *count, sqlite3 *db, const char *name, int frames);

/* SQLite's last error in words, with the status that it has everywhere. Each returns -1.
   kit_fail_locked: KIT_BUSY_MS are over, or it was stopped. kit_fail_open: beside names the files
   that cannot be opened either, number is the errno. */
int kit_fail(sqlite3 *db, const char *path, struct err *e);
int kit_fail_locked(const char *path, bool stopped, struct err *e);
int kit_fail_open(const char *path, const char *beside, int number, struct err *e);

#endif

/*
 * What the files of the SQLite engine share. Nobody else includes this.
 *
 *     sqlite_open.c    create, open, check, close
 *     sqlite_db.c      statements, transactions, checkpoints, error codes
 *     sqlite_lock.c    SPOOL-lock: who is alive, and the bell
 *     sqlite_log.c     the log
 *     sqlite_sum.c     its checksums
 *     sqlite_space.c   room on the disk
 *     sqlite_group.c   groups: open, settle, stand
 *     sqlite_claim.c   how they claim, and take over from the dead
 *     sqlite_pace.c    how fast a group may claim
 *     sqlite_order.c   ordered groups: who is active, and what stands behind what
 *     sqlite_lease.c   events handed out over a pipe
 *     sqlite_tally.c   what groups did, counted
 *     sqlite_sys.c     the toolkit's own events
 *     sqlite_admin.c   groups and dead letters as a person sees them
 *     sqlite_where.c   where an event stands with the groups, and why
 *     sqlite_seek.c    a group's place, patterns and order, changed by a person
 *     sqlite_left.c    what a group has yet to settle
 *     sqlite_doc.c     documents, and who is alive that is named in one
 *     sqlite_check.c   what is wrong with a spool, or its groups
 *     sqlite_prune.c   removing events
 *     sqlite_backup.c  a copy
 *     sqlite_sql.c     a person's own queries, and the views that they may read
 *
 * Manners, which R1 to R5 of the tests hold us to: a transaction that may write is BEGIN IMMEDIATE
 * and short; statements are reset as soon as they are done; no automatic and no PASSIVE checkpoint
 * anywhere, because together with a commit at the wrong moment one loses acknowledged rows on
 * SQLite before 3.51.3 (sqlite.org/wal.html#walresetbug) and Debian 12 ships 3.40.1.
 */
#ifndef SQLITE_PRIV_H
#define SQLITE_PRIV_H

#include "store.h"

#include <jansson.h>
#include <sqlite3.h>
#include <sys/statvfs.h>

#define DB_STATEMENTS 512 /* a power of two, above twice the statements there are */
#define DB_BUSY_MS 30000
#define DB_ROWS 1000             /* about as many may a transaction change: others wait for it */
#define DB_LENGTH_MAX (64 << 20) /* of a row; one for all, or readers fail on a writer's row */

enum db_sync { DB_FULL, DB_NORMAL };

struct store {
    sqlite3 *db;
    char *path, *lock_path;
    enum store_mode mode;
    bool created;
    int lock_fd; /* -1 until sqlite_lock.c opens it */
    int bell_fd; /* -1 none, -2 not asked for yet */
    bool (*stopping)(void);

    struct {
        const char *sql; /* the literal's address is the key */
        sqlite3_stmt *stmt;
    } statement[DB_STATEMENTS];
    int64_t busy_until_ms; /* 0: not waiting; monotonic */
    bool checkpointing, waiting;
    bool locked;      /* as store_locked */
    bool lasting;     /* committed something that has to be on disk */
    bool wrote;       /* appended before: then others may be waiting for us */
    bool appending;   /* between log_begin and its end */
    bool tight, full; /* there is little room on the disk; and SQLite met its end */
    unsigned space_looks;
    bool moved;       /* the file is not the one with the name any more: nothing works */
    bool gathering;   /* between doc_begin and its end */
    int64_t last_old; /* position of the last event with a checksum of schema 1; -1: not read */
    enum db_sync sync;
    int frames; /* in the WAL after our last commit; -1: it did not write */

    struct {
        struct log_terms terms;
        int64_t first, last, recorded; /* seqs before and now; time of the last event */
        int64_t room;                  /* bytes of disk for what is put; INT64_MAX: any */
        int64_t segment_ms;            /* LOG_NONE, or when a new segment begins */
    } put;
    struct js_scan scan;
    struct event seen; /* scratch for looking at stored events */
    struct buf stored; /* the line of the last duplicate */
};

/*
 * Statements. sql is a string literal: its statement is prepared once and found by address.
 * types says what the further arguments are: i int64_t, s struct str as text (absent: NULL),
 * b struct str as blob, t const char * (NULL: NULL). Views are bound, not copied.
 */
sqlite3_stmt *db_query(struct store *s, struct err *e, const char *sql, const char *types, ...);
int db_row(struct store *s, sqlite3_stmt *q, struct err *e); /* 1 a row; 0 done, -1: and reset */
void db_done(sqlite3_stmt *q);                               /* NULL is fine */
/* Run to the end; the number of rows changed, or -1. */
int db_run(struct store *s, struct err *e, const char *sql, const char *types, ...);
/* One integer: 1 and *out, 0 no row (or NULL), -1. */
int db_int(struct store *s, struct err *e, int64_t *out, const char *sql, const char *types, ...);
struct str db_text(sqlite3_stmt *q, int column); /* text or blob; a view until the next step */

/* BEGIN IMMEDIATE; commit, checkpoint when it is time, and ring the bell if there is new work. */
int db_begin(struct store *s, enum db_sync sync, struct err *e);
int db_commit(struct store *s, bool ring, struct err *e);
void db_rollback(struct store *s);

int db_exec(struct store *s, const char *sql, struct err *e); /* text that need not be kept */
int db_busy(void *store, int times);                          /* SQLite's callbacks */
int db_note_frames(void *store, sqlite3 *db, const char *name, int frames);
bool db_moved(struct store *s); /* or deleted */
int db_fail_moved(struct store *s, struct err *e);
int db_fail(struct store *s, struct err *e); /* what SQLite says, in words; returns -1 */

bool db_move_wal(struct store *s); /* all of it into the file, outside a transaction; did it go? */

/* sqlite_space.c. How many bytes a batch may take of the disk (space_of each event), or 74; and
   what is kept for settling. space_look, before a transaction: is the disk tight? */
int64_t space_reserve(const struct statvfs *fs);
void space_look(struct store *s);
int64_t space_of(const struct event *ev);
int space_for_batch(struct store *s, int64_t *room, struct err *e);
int space_fail(struct store *s, struct err *e); /* says that publishing ends here; -1 */

/* sqlite_lock.c. Owners are random numbers of 62 bits, and the offsets of their lock bytes. */
int lock_open(struct store *s, struct err *e);     /* needed before the next three */
int64_t lock_take(struct store *s, struct err *e); /* a new owner, locked; -1 */
void lock_drop(struct store *s, int64_t owner);
bool lock_free(struct store *s, int64_t owner);   /* by the lock alone */
int lock_trusted(struct store *s, struct err *e); /* is SPOOL-lock still the one? 1, 0, -1 */
int lock_adopt(struct store *s, struct err *e);   /* make it the one, in a transaction */
/* Waiters for the write lock say so, for whoever would otherwise take it again at once. */
void lock_wait(struct store *s, bool waiting);
bool lock_wanted(struct store *s);
void lock_give_way(struct store *s); /* to them, between two transactions */
struct lock_process {
    int64_t pid, started;
    char boot[40];
};
void lock_self(struct lock_process *p);
void lock_process_read(struct lock_process *p, sqlite3_stmt *q, int column); /* pid,started,boot */
bool lock_byte(int fd, int64_t at);                                          /* is it ours now? */
void unlock_byte(int fd, int64_t at);
bool lock_process_lives(const struct lock_process *p);
void lock_ring(struct store *s);
void lock_close(struct store *s);

/* sqlite_log.c: begin to append without looking at the space that is left, and end it; ring the
   bell also when nothing was appended. log_rollback ends it, too. */
int append_begin(struct store *s, const struct log_terms *terms, struct err *e);
int append_commit(struct store *s, bool ring, struct err *e);

/* sqlite_sys.c: put an event of the toolkit's own into the log, in the transaction that
   append_begin began. cause: what it is about, or NULL; data is taken over. What cannot be put, as
   at the end of a causal chain, is left out. */
int sys_put(struct store *s, const char *type, const char *group, const struct log_entry *cause,
            json_t *data, struct err *e);
bool sys_type(struct str type); /* is it one of ours? */

/* sqlite_order.c, for rows of ordered groups: the event's row now waits (state 0): put it behind an
   earlier one of its subject, or the next one behind it. Before the row goes, or when it is dead:
   free the next one. */
int order_place(struct store *s, int64_t grp, int64_t seq, struct err *e);
int order_free(struct store *s, int64_t grp, int64_t seq, struct err *e);
/* Inside a transaction: put the next thousand rows of a group behind *behind in order, and move
   that. 1 when they were the last, 0, -1. */
int order_sort(struct store *s, int64_t grp, int64_t *behind, struct err *e);

/* sqlite_group.c, for sqlite_admin.c */
int group_row(struct store *s, const char *name, int64_t *grp, struct err *e); /* 66 and -1 */
/* The group's patterns: 1, 0 when it is gone, -1. */
int group_patterns(struct store *s, int64_t grp, struct pattern_list *list, struct err *e);
int patterns_read(struct pattern_list *list, struct str json, struct err *e);
/* The positions that a group remembers one by one and has not given up on, sorted: waiting and in
   flight; or only those that are due. *seq is the caller's to free. */
int group_remembered(struct store *s, int64_t grp, bool due, int64_t **seq, size_t *n,
                     struct err *e);
/* Forget the event's row and its attempts, and free what stood behind it in an ordered group. The
   number of rows, 0 when there was none; -1. */
int item_forget(struct store *s, int64_t grp, bool ordered, int64_t seq, struct err *e);
/* What was passed of a priority; in a damaged row that may be any number. */
int64_t group_passed(const int64_t cursor[10], int64_t priority);
int seq_compare(const void *a, const void *b); /* for qsort and bsearch of int64_t */
/* 74 when one of them is missing. */
int group_cursors(struct store *s, int64_t grp, int64_t cursor[10], struct err *e);
int group_place(struct store *s, int64_t grp, int64_t seq, struct err *e); /* set all of them */

/* sqlite_claim.c: what the dead consumers of a group, and leases that ran out, still hold goes back
   to it. */
int group_recover(struct store *s, const char *name, struct err *e);

/* sqlite_seek.c. Inside a transaction: forget about a thousand of a group's rows below *below, the
   last first, and move that: all from position to on, which come again, and those before it that
   are not dead. 1 when there are no more, nor consumers; 0, also while there are claims; -1. */
int group_forget(struct store *s, int64_t grp, int64_t to, int64_t *below, struct err *e);

/* sqlite_open.c. A draft is a database in the making: the file and those that SQLite puts beside it
   go. The directory of a path with a slash is flushed to disk. */
void file_remove_draft(const char *path);
int file_sync_directory(const char *path, struct err *e);

/* sqlite_left.c: as group_left, of a group whose patterns are known, without dead and oldest_ms.
   What is ahead is counted no further than to more than most. */
int left_count(struct store *s, int64_t grp, const struct pattern_list *types, int64_t last,
               int64_t most, struct group_left *out, struct err *e);
/* In SQL: has the event of the item i expired at this time? */
#define ITEM_EXPIRED(now) "EXISTS(SELECT 1 FROM event x WHERE x.seq=i.seq AND x.expires<=" now ")"

/* sqlite_admin.c. Inside a transaction: 0 when nobody has events of the group in hand, else -1, 75.
   The other adds to *out the group's consumers that live. */
int group_idle(struct store *s, int64_t grp, struct err *e);
int group_alive(struct store *s, int64_t grp, int64_t *out, struct err *e);

/* The open list of a claim: LEB128 differences. */
void open_encode(struct buf *b, const int64_t *seq, size_t n);
size_t open_decode(struct str blob, int64_t **seq); /* *seq is the caller's to free */

/* How many rows of group ?1 up to position ?3 are due at the time ?2 and not expired; and how many
   wait beyond it, or behind their subject. */
#define COUNT_DUE                                                                                  \
    "SELECT count(*) FROM item i INDEXED BY item_due WHERE grp=?1 AND state=0 AND due<=?2 AND "    \
    "seq<=?3 AND NOT " ITEM_EXPIRED("?2")
#define COUNT_LATER                                                                                \
    "SELECT (SELECT count(*) FROM item INDEXED BY item_due WHERE grp=?1 AND state=0 AND due>?2 "   \
    "AND seq<=?3)+(SELECT count(*) FROM item i INDEXED BY item_subject WHERE grp=?1 AND subject "  \
    "IS NOT NULL AND state<>3 AND state=2 AND seq<=?3 AND NOT " ITEM_EXPIRED("?2") ")"

/* sqlite_left.c: seq, type, recorded and due of the next thousand events of a priority. */
#define LOG_PAGE 1000
sqlite3_stmt *log_of_priority(struct store *s, int64_t priority, int64_t behind, int64_t last,
                              struct err *e);

/* sqlite_log.c: an event's row, all of it, because its checksum covers all. log_entry_read fills an
   entry with views of the row. It is damaged when its columns may not be trusted: then attributes
   are those of its line if that is right, and else empty, and no other column counts. The line is
   looked at only in events that are wanted: log_entry_damaged is both. */
#define LOG_COLUMNS "seq,recorded,id,source,type,subject,sums,line,priority,due,expires,version"
enum log_column {
    LOG_SEQ,
    LOG_RECORDED,
    LOG_ID,
    LOG_SOURCE,
    LOG_TYPE,
    LOG_SUBJECT,
    LOG_SUMS,
    LOG_LINE,
    LOG_PRIORITY,
    LOG_DUE,
    LOG_EXPIRES,
    LOG_VERSION,
    LOG_END, /* further columns of a query begin here */
};
void log_entry_read(struct store *s, sqlite3_stmt *q, struct log_entry *out);
/* By its type; one of unknown type may. */
bool log_may_match(const struct pattern_list *types, const struct log_entry *entry);
bool log_entry_damaged(sqlite3_stmt *q, const struct log_entry *entry);
/* Where a group begins that is to begin at a point: a position beyond the log is its end, or the
   group would pass over what is published from now on. */
int log_start(struct store *s, const struct clock_point *point, int64_t *seq, struct err *e);
/* After an error: was it a row from here on that is no row any more? 1 with its position; -1 when
   not, or when what is behind it cannot be found either. Where all of the page is gone, each
   position from here on is taken to have been one. */
int log_broken(struct store *s, int64_t from, int64_t last, int64_t *seq);

/* sqlite_sum.c: a whole row of LOG_COLUMNS, as views of it, and its checksum. sum_columns and
   sum_line: are they what was stored? */
#define PATH_LENGTH 480    /* SQLite takes 512 bytes: less .new-PID-journal */
#define LOG_NONE INT64_MIN /* in the place of NULL */
/* No event is beyond this position: what a flipped bit has moved there is as if it were not in the
   log, spool check reports it, and no next position overflows. */
#define LOG_BOUND (INT64_C(1) << 62)
#define LOG_LAST "SELECT max(seq) FROM event WHERE seq<=4611686018427387904"
struct log_row {
    int64_t seq, recorded, priority, due, expires, version, sums;
    struct str id, source, type, subject, line;
};
void log_row_read(sqlite3_stmt *q, struct log_row *out);
int64_t sum_of(const struct log_row *row);
bool sum_columns(struct store *s, sqlite3_stmt *q, const struct log_row *row);
bool sum_line(int64_t sums, struct str line);
bool sum_old(struct store *s, int64_t seq, int64_t sums); /* one of schema 1: of the line alone */

/* Entries with copies of their bytes: at most a thousand, and 1 MiB unless one alone is larger. */
struct page {
    struct log_entry *entry;
    size_t n; /* set it to 0 to begin anew */
    struct buf bytes;
};
bool page_add(struct page *p, const struct log_entry *row); /* false: it is full */
void page_free(struct page *p);

#endif

/*
 * What the files of lib/store/sql share: the log, groups and documents, in statements that every
 * engine understands. No other file includes this, except the upkeep of an engine.
 *
 *     log.c      the log                  group.c    groups: open, settle, where they stand
 *     sum.c      the log's checksums      claim.c    how groups claim: claim_choose.c chooses the
 *     sys.c      the toolkit's events                events, claim_write.c writes the claim down
 *     doc.c      documents, and marks     takeover.c what dead consumers held goes back
 *     prune.c    removing events          lease.c    events handed out over a pipe
 *     pace.c     how fast a group claims  order.c    ordered groups: which event waits for which
 *     dead.c     groups and dead letters as a person sees them
 *     where.c    where an event stands with the groups, and why
 *     seek.c     a person changes a group's place, patterns or order
 *     left.c     what a group has yet to settle
 *     tally.c    counts of what groups did
 *
 * Rules, which the tests R1 to R5 enforce: a transaction that may write keeps other writers out
 * from its beginning, and is short; a statement is done as soon as it is not needed.
 */
#ifndef STORE_SQL_SQL_H
#define STORE_SQL_SQL_H

#include "base/point.h"
#include "store/driver.h"
#include "store/groups.h"
#include "store/log.h"

#include <jansson.h>

/* Which of n events are in the log: q stands at a row of the next one, or next is n. */
struct known {
    const struct event *from;
    size_t n, next;
    struct query *q;
};

struct txn {
    struct store *s;
    struct log_terms terms;
    int64_t first, last, recorded; /* seqs before and now; time of the last event */
    int64_t room;                  /* bytes of disk left for log_put; INT64_MAX: no limit */
    int64_t segment_ms;            /* DB_NONE, or when a new segment begins */
    bool met;                      /* log_put_some has met a duplicate */
    bool singly;                   /* and puts events one by one */
    struct known known;
    bool wake;               /* ring the bell even if nothing is appended */
    bool swept;              /* expired documents have been removed */
    const char *settles;     /* events of this group */
    void (*then)(void *arg); /* after the commit */
    void *arg;
};

struct store {
    struct db *db;
    const char *name; /* the driver's */
    enum store_mode mode;
    bool (*stopping)(void);

    bool wrote; /* has appended before: others may be waiting for us */
    bool alone; /* nobody else seems to append: the log's end, and its time, are still */
    int64_t end, end_ms;
    int64_t last_old; /* position of the last event with a checksum of schema 1; -1: not read */
    struct txn txn;
    bool watched; /* the bell is, since the first store_wait */
    struct pollfd *fds;
    size_t fds_room;
    struct js_scan scan;
    struct event seen; /* scratch for looking at stored events */
    struct buf stored; /* the line of the last duplicate */
};

/* sys.c: append one of the toolkit's own events to the log, in a transaction that
   appends. cause is the event that it is about, or NULL; data is taken over. An event
   that cannot be appended, as at the end of a causal chain, is left out. 0 or -1. */
int sys_put(struct txn *t, const char *type, const char *group, const struct event *cause,
            json_t *data, struct err *e);
bool sys_type(struct str type); /* is it one of the toolkit's own? */

/* order.c, for rows of ordered groups. order_place, once an event's row waits (state 0): put
   that row behind an earlier row of its subject, or else the next row behind it. order_free, before
   a row is deleted or once it is dead: free the next row. */
int order_place(struct store *s, int64_t grp, int64_t seq, struct err *e);
int order_free(struct store *s, int64_t grp, int64_t seq, struct err *e);
/* Inside a transaction: put the next thousand rows of a group after position *behind in order, and
   move *behind past them. 1 when they were the last, 0, -1. */
int order_sort(struct store *s, int64_t grp, int64_t *behind, struct err *e);

/* group.c, for dead.c */
/* e: there is no such group; and the nearest name, and what the user can do, or "". Returns -1. */
int group_unknown(struct store *s, const char *name, const char *hint, struct err *e);
/* e: others have what a process of the group held. Returns -1. */
int group_lost(const char *name, struct err *e);
int group_row(struct store *s, const char *name, int64_t *grp, struct err *e); /* 66 and -1 */
/* The group's patterns: 1, 0 when it is gone, -1. */
int group_patterns(struct store *s, int64_t grp, struct pattern_list *list, struct err *e);
int patterns_read(struct pattern_list *list, struct str json, struct err *e);
/* The positions that a group remembers one by one, except dead letters, sorted: those that wait or
   are in flight; or only those that are due. The caller frees *seq. */
int group_remembered(struct store *s, int64_t grp, bool due, int64_t **seq, size_t *n,
                     struct err *e);
/* Forget the event's row and its attempts, and in an ordered group free the row behind it. Returns
   the number of rows deleted, or -1. */
int item_forget(struct store *s, int64_t grp, bool ordered, int64_t seq, struct err *e);
/* How far a group has passed a priority. In a damaged row, priority may be any number. */
int64_t group_passed(const int64_t cursor[10], int64_t priority);
int seq_compare(const void *a, const void *b); /* for qsort and bsearch of int64_t */
/* Read a group's cursors; 74 when one of them is missing. */
int group_cursors(struct store *s, int64_t grp, int64_t cursor[10], struct err *e);

/* takeover.c: give back to a group what its dead consumers still hold, and what was handed out
   on leases that have run out. 0 or -1. */
int group_recover(struct store *s, const char *name, struct err *e);

/* seek.c. Inside a transaction: forget about a thousand of a group's rows below position
   *below, the last first, and move *below down: all rows from position to on, whose events are
   delivered again, and of the rows before it those that are not dead. 1 when no such rows and no
   consumers are left; 0 while there are more, or claims; -1. */
int group_forget(struct store *s, int64_t grp, int64_t to, int64_t *below, struct err *e);

/* left.c: like group_left, for a group whose patterns are known, without dead and oldest_ms.
   The count of what is ahead stops once it is above most. 0 or -1. */
int left_count(struct store *s, int64_t grp, const struct pattern_list *types, int64_t last,
               int64_t most, struct group_left *out, struct err *e);
/* In SQL: has the event of the item i expired at this time? */
#define ITEM_EXPIRED(now) "EXISTS(SELECT 1 FROM event x WHERE x.seq=i.seq AND x.expires<=" now ")"

/*
 * consumers.c. consumers_others: the consumers of a group (0: of all groups) besides self, in a
 * block that the caller frees. consumers_adopt, inside a transaction: trust the locks from now on,
 * if no live process can hold others. consumers_hidden: 1 when the locks cannot be trusted and one
 * of the others lives, 0, -1. group_idle, inside a transaction: 0 when no process can hold events
 * of the group, else -1 with 75. group_alive adds to *out the number of the group's consumers that
 * live.
 */
void session_read(struct query *q, int column, struct session *out); /* SESSION_COLUMNS */
int consumers_others(struct store *s, int64_t grp, int64_t self, struct session **list, size_t *n,
                     struct err *e);
int consumers_adopt(struct store *s, int64_t self, struct err *e);
int consumers_hidden(struct store *s, int64_t grp, int64_t self, struct err *e);
int group_idle(struct store *s, int64_t grp, struct err *e);
int group_alive(struct store *s, int64_t grp, int64_t *out, struct err *e);

/* The list of open positions in a claim: differences in LEB128. */
void open_encode(struct buf *b, const int64_t *seq, size_t n);
size_t open_decode(struct str blob, int64_t **seq); /* the caller frees *seq */
/* Write these positions, ascending, into a claim's row; or delete the row. Returns the number of
   rows changed: 0 when the claim is no longer this owner's. */
int claim_row_write(struct store *s, int64_t claim, int64_t owner, const int64_t *seq, size_t n,
                    struct err *e);
int claim_row_delete(struct store *s, int64_t claim, int64_t owner, struct err *e);

/* How many rows of group ?1 up to position ?3 are due at time ?2 and not expired; and how many are
   due later, or wait behind an earlier event of their subject. */
#define COUNT_DUE                                                                                  \
    "SELECT count(*) FROM item i" BY_ITEM_DUE " WHERE grp=?1 AND state=0 AND due<=?2 AND "         \
    "seq<=?3 AND NOT " ITEM_EXPIRED("?2")
#define COUNT_LATER                                                                                \
    "SELECT (SELECT count(*) FROM item" BY_ITEM_DUE " WHERE grp=?1 AND state=0 AND due>?2 "        \
    "AND seq<=?3)+(SELECT count(*) FROM item i" BY_ITEM_SUBJECT " WHERE grp=?1 AND subject "       \
    "IS NOT NULL AND state<>3 AND state=2 AND seq<=?3 AND NOT " ITEM_EXPIRED("?2") ")"

/* left.c: seq, type, recorded and due of the next thousand events of a priority. */
#define LOG_PAGE 1000
struct query *log_of_priority(struct store *s, int64_t priority, int64_t behind, int64_t last,
                              struct err *e);

/* log.c: an event's whole row, because its checksum covers all columns. log_entry_read fills
   an entry with views of the row. It marks the entry as damaged when the columns cannot be trusted:
   then the attributes are those of the line if the line is right, otherwise empty, and no other
   column of the row counts. log_entry_read does not check a line otherwise; log_entry_damaged, for
   events that are wanted, checks both. In the table's order, as db_peek wants them. */
#define LOG_COLUMNS "seq,recorded,priority,due,expires,version,sums,id,source,type,subject,line"
#define LOG_TYPES "iiiiiiissssb"
enum log_column {
    LOG_SEQ,
    LOG_RECORDED,
    LOG_PRIORITY,
    LOG_DUE,
    LOG_EXPIRES,
    LOG_VERSION,
    LOG_SUMS,
    LOG_ID,
    LOG_SOURCE,
    LOG_TYPE,
    LOG_SUBJECT,
    LOG_LINE,
    LOG_END, /* further columns of a query begin here */
};
struct log_row { /* DB_NONE, or absent: NULL */
    int64_t seq, recorded, priority, due, expires, version, sums;
    struct str id, source, type, subject, line;
};
void log_entry_read(struct store *s, struct query *q, struct log_row *row, struct log_entry *out);
/* The same by db_peek, where its columns can be trusted; false: by log_entry_read. */
bool log_entry_peek(struct store *s, int64_t seq, struct log_row *row, struct log_entry *out);
int log_gone(struct store *s, int64_t seq,
             struct err *e); /* 1 when the event no longer exists, 0, -1 */
/* A row came that is not after the one before it: a flipped bit has moved one of them, and whoever
   goes on from a position would pass over rows in silence, or go round for ever. -1 with 74. */
int log_disorder(struct store *s, int64_t seq, struct err *e);
/* May the entry match, by its type? Yes if its type is unknown. */
bool log_may_match(const struct pattern_list *types, const struct log_entry *entry);
bool log_entry_damaged(const struct log_row *row, const struct log_entry *entry);
/* Has the event expired at that time? */
bool log_row_expired(const struct log_row *row, int64_t now);
/* The position at which a group that starts at point begins. A point beyond the log means its end,
   or the group would skip what is published from now on. */
int log_start(struct store *s, const struct point *point, int64_t *seq, struct err *e);
/* After an error: is a row from position from on too damaged to be read as a row? 1 with its
   position; -1 when not, or when no row after it can be found either. When the whole page is lost,
   each position from there on counts as such a row. */
int log_broken(struct store *s, int64_t from, int64_t last, int64_t *seq);

/* No event is beyond this position: an event that a flipped bit has moved there counts as not
   in the log, spool check reports it, and no next position overflows. */
#define LOG_BOUND (INT64_C(1) << 62)
int log_last(struct store *s, int64_t *seq, struct err *e); /* 1; 0 when the log is empty; -1 */

/* sum.c: views of a whole row of LOG_COLUMNS, and its checksum. sum_columns and sum_line:
   are the columns, or the line, what was stored? sum_of returns what it should be. */
void log_row_read(struct query *q, struct log_row *out);
void log_row_of(const struct db_value *values, struct log_row *out);  /* of LOG_COLUMNS */
bool log_row_peek(struct store *s, int64_t seq, struct log_row *out); /* true: its columns are */
int64_t sum_of(const struct log_row *row);
bool sum_columns(struct store *s, struct query *q, const struct log_row *row);
bool sum_line(int64_t sums, struct str line);

/* Entries with copies of their bytes: at most a thousand, and 1 MiB unless one alone is larger. */
struct page {
    struct log_entry *entry;
    size_t n; /* set it to 0 to reuse the page */
    struct buf bytes;
};
bool page_add(struct page *p, const struct log_entry *row); /* false: the page is full */
void page_free(struct page *p);

#endif

/*
 * upkeep: looking after a spool as a whole. What an engine lacks ends
 * with 69 and says what to use instead.
 */
#ifndef STORE_UPKEEP_H
#define STORE_UPKEEP_H

#include "base/point.h"
#include "store/log.h"

/*
 * Check the spool: f is called with each finding, one kind after the other.
 *
 *     structure  SQLite's quick_check complains               value 1
 *     damage     events do not match their checksum, or their columns differ from their line,
 *                or an index lacks them; rows of other tables that no command would
 *                write                                        value how many
 *     clock      recorded times in the future, a clock that was set back today, or times that are
 *                not in order                                 value seconds
 *     wal        SPOOL-wal is larger than commits explain     value bytes
 *     space      the file system is nearly full               value bytes free
 *     idle       a group has events to settle and had no consumer for a week   value seconds
 *     dead lag age   a group is beyond the limits in terms    value events, events, seconds
 *
 * quick leaves out structure and damage, which read the whole file. Each transaction covers at most
 * a thousand events, except that of structure, open while the whole file is read, and that of the
 * tables beside the log.
 * Returns the number of findings; -1 when the spool cannot be read, whereas damage that can be
 * described is a finding. f may return non-zero to stop (-1: as an error). Nothing is written.
 */
struct check_terms {
    bool quick;
    int64_t max_dead, max_lag, max_age_ms; /* of each group; negative: any */
};
struct check_finding {
    const char *kind, *group; /* group NULL: not about a group */
    int64_t value, limit;
    const char *message;
};
int64_t store_check(struct store *s, const struct check_terms *terms,
                    int (*f)(const struct check_finding *finding, void *arg, struct err *e),
                    void *arg, struct err *e);

/*
 * Remove events: those before a point, or all except the newest keep. Some events stay: those that
 * a group has yet to see, whether they match or not; those that a group remembers (in flight,
 * waiting, dead); the newest event, whose position determines the next one; and the newest version
 * of each subject, which does the same for its stream. With force only the last two stay; groups
 * then forget what they remembered of removed events, even of those handed out, and move up to the
 * events that are left.
 *
 * Transactions are short, at most a thousand events, and let other writers in between; each is on
 * disk when the next one begins. After a kill, or 75, some of the events are pruned, oldest first.
 * A dry run only counts. Afterwards held is called with what keeps each group's events from being
 * pruned.
 */
struct prune_held {
    const char *group;
    enum prune_why { PRUNE_UNSEEN, PRUNE_IN_FLIGHT, PRUNE_WAITING, PRUNE_DEAD } why;
    int64_t first, n; /* positions; UNSEEN, IN_FLIGHT: all from first on is held back, n is 0 */
};
struct prune_terms {
    const struct point *before; /* NULL: use keep */
    int64_t keep;
    bool force, dry_run;
    void (*held)(const struct prune_held *held); /* called afterwards, unless with force */
};
/* Returns the number of events, or -1. */
int64_t log_prune(struct store *s, const struct prune_terms *terms, struct err *e);

/*
 * Copy the spool as it is at one moment, while others use it, into a new file, mode 0600, that is
 * itself a spool; on disk when the call returns. The copy is made under another name and renamed
 * into place: a kill leaves at most FILE.new-PID. 73 when FILE exists already, or FILE-wal or
 * FILE-journal, which SQLite would take for the copy's. *size is in bytes.
 */
int store_backup(struct store *s, const char *file, int64_t *size, struct err *e);

/*
 * Run a query in SQL: one SELECT over the views that spool(1) documents and over nothing else,
 * because the tables behind them may change; nothing can be written or attached. f is called for
 * each row; views are valid within it; f may return non-zero to stop (-1: as an error). 64, with
 * the engine's own message, when the SQL is wrong.
 *
 * The query is one read transaction: while f runs, the WAL cannot be checkpointed and keeps
 * growing. Make no other call on the store after this one, except store_close: the functions and
 * views that it adds stay.
 */
enum query_kind {
    QUERY_NULL,
    QUERY_INTEGER,
    QUERY_REAL,
    QUERY_TEXT, /* perhaps not UTF-8 */
    QUERY_BLOB,
    QUERY_JSON, /* one JSON value without a newline, in a column that holds JSON */
};
struct query_value {
    enum query_kind kind;
    int64_t integer;
    double real;
    struct str bytes;
};
struct query_row {
    size_t n;
    const char *const *name; /* no two are the same */
    const struct query_value *value;
};
int store_query(struct store *s, struct str sql,
                int (*f)(const struct query_row *row, void *arg, struct err *e), void *arg,
                struct err *e);

#endif

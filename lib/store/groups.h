/*
 * groups: groups by name, as a person and other commands see them.
 */
#ifndef STORE_GROUPS_H
#define STORE_GROUPS_H

#include "base/point.h"
#include "store/log.h"

/* Call f for each group, in order of name, or only for the one called name, until f returns
   non-zero. */
struct group_info {
    const char *name;
    const struct pattern_list *types;
    bool paused, ordered;
    int64_t hold_ms, position, lag, in_flight, due, waiting, dead,
        created_ms;                  /* lag: yet to settle */
    int64_t consumers;               /* alive */
    int64_t done, retried, deferred; /* outcomes since it was created */
};
int group_each(struct store *s, const char *name,
               int (*f)(const struct group_info *info, void *arg, struct err *e), void *arg,
               struct err *e);

/* The group that has the most events left to settle: *lag is how many, and b gets its name. Each
   count stops once it is above most. 0 when all groups have settled everything. The group called
   except is left out, unless except is NULL. */
int group_backlog(struct store *s, const char *except, int64_t most, int64_t *lag, struct buf *b,
                  struct err *e);

/* 0 or -1. */
int group_pause(struct store *s, const char *name, bool paused, struct err *e);
/* Delete the group, its position and its dead letters. 75 while consumers of it live. A kill leaves
   the group as a killed group_seek to the start of the log would. 0 or -1. */
int group_drop(struct store *s, const char *name, struct err *e);

/*
 * Move a group to another place in the log: its next event is then the first at or after a point.
 * What it remembers one by one (events that wait, or were held by consumers that died) is
 * forgotten: such an event is delivered again if it is at or after the point, and passed if it is
 * before. Dead letters before the point stay; those at or after it are delivered again, and are no
 * longer dead letters.
 *
 * A dry run only fills in *out. 75 while consumers of the group live, or events are out on a lease:
 * they would settle what is no longer theirs. Each transaction changes about a thousand rows. A
 * kill, or a consumer that begins in between, leaves the group at a position on the way back; from
 * that position on it remembers nothing. On disk when the call returns.
 */
struct group_seek {
    int64_t from, to;      /* the position after the last one passed: before, and now */
    int64_t waiting, dead; /* how many of each are forgotten */
};
int group_seek(struct store *s, const char *name, const struct point *point, bool dry_run,
               struct group_seek *out, struct err *e);

/* For a reader that keeps its own place elsewhere, and has a group so that others can see that
   place: record that it has seen everything up to seq, and for each of n types how many of those
   events are done. This never moves a group back, and a power cut may undo it. 66 when there is no
   such group. */
struct group_passed {
    char *type;
    int64_t done;
};
int group_pass(struct store *s, const char *name, int64_t seq, const struct group_passed *passed,
               size_t n, struct err *e);

/*
 * What a group has yet to settle, up to position last (0: all). When all counts are 0, the group is
 * finished: events ahead are counted before the others, so none can slip through on its way from
 * ahead to claimed. With any, counting stops at the first event that is ahead.
 */
struct group_left {
    int64_t ahead;     /* match, and were never claimed */
    int64_t in_flight; /* held by consumers, including dead ones */
    int64_t due, waiting;
    int64_t dead;      /* its dead letters, which count as settled */
    int64_t oldest_ms; /* since when the oldest event left could be settled; 0: none */
};
int group_left(struct store *s, const char *name, int64_t last, bool any, struct group_left *out,
               struct err *e);

/*
 * Give a group other patterns, another order, or both, for events that it has not yet claimed.
 * Running consumers use the new patterns from their next claim on. The order changes only while no
 * consumer runs (75, as above). A group that becomes ordered takes the furthest place that any of
 * its priorities has reached, and remembers one by one the events before it that their own priority
 * has not reached; from then on an event waits behind the earlier ones of its subject. Each
 * transaction changes about a thousand rows; what a kill leaves half done is put in order before
 * the next event is claimed.
 */
enum group_order { GROUP_ORDER_KEEP, GROUP_ORDERED, GROUP_UNORDERED };
struct group_change {
    struct pattern_list types; /* not owned; empty: as they are */
    enum group_order order;
};
/* 0 or -1. */
int group_change(struct store *s, const char *name, const struct group_change *change,
                 struct err *e);

#endif

/*
 * fold: the state of a subject, reduced from its events; reduce(1) behind its options.
 *
 *     fold_reducer_open(&r, argv, NULL, &e)               once for all subjects
 *     fold_open(&f, &terms, "account-7", NULL)
 *     while ((got = fold_step(f, &e)) == 0)
 *         … proc_wait for fold_fds until fold_deadline; proc_reap, fold_ended …
 *     got > 0: fold_print(f, &line), and once that is out, fold_keep(f, &e)
 *     fold_close(f)
 *
 * The reducer gets the state so far on the first line of its stdin (null at first), then the events
 * after it; the last line it prints is the new state. Without a reducer the state is the JSON merge
 * of the events' data (RFC 7396), computed here.
 *
 * Which events. A subject that has events with a version is a stream: those are its events, an
 * index finds them, and none may be missing. For a subject without versions, all its events are
 * used (except the toolkit's own), and the whole log is read to find them. Either way only events
 * up to a position that is fixed at the start.
 *
 * A snapshot is a document: the state at an event, and the reducer that made it. It only saves
 * work: if it is lost, damaged or made by another reducer, the reduction starts from the first
 * event. A kill leaves the old snapshot or the new one.
 *
 * Memory: the page of the log that is being fed, and the state, up to FOLD_STATE_MAX.
 */
#ifndef REDUCE_FOLD_H
#define REDUCE_FOLD_H

#include "store/store.h"

#include <poll.h>
#include <sys/types.h>

#define FOLD_STATE_MAX (16 << 20)
#define FOLD_SNAPSHOT "snapshot" /* the kind of document */
#define FOLD_FDS 4               /* at most, see fold_fds */

/*
 * A command and its identity: the SHA-1 of its words, of the contents of the files that they name,
 * and of where the first word is found in PATH; or of its words and a version that the user gives.
 * A file that changes while the command runs is noticed when the command ends.
 */
struct fold_reducer {
    char *const *argv;   /* NULL: the merge */
    const char *version; /* NULL: look at the files */
    char sum[41];
    int64_t changes;           /* of files, noticed so far */
    struct buf label, changed; /* for the names of snapshots; the file that changed last */
    struct fold_file *file;
    size_t files;
};
void fold_reducer_open(struct fold_reducer *r, char *const *argv, const char *version);
void fold_reducer_close(struct fold_reducer *r);

/* A subject and, if it has no versions, the positions of its events; 8 bytes each. */
struct fold_subject {
    char *name;
    int64_t *seq;
    size_t seqs;
    bool stream, wanted;
};
/* The subjects that have a matching event up to position last, in the order of their first events.
   Reads the log once. Free *list with fold_subjects_free. 0 or -1. */
int fold_subjects(struct store *s, const struct pattern_list *types, int64_t last,
                  struct fold_subject **list, size_t *n, struct err *e);
void fold_subjects_free(struct fold_subject *list, size_t n);

struct fold_terms {
    struct store *store;
    struct fold_reducer *reducer;
    int64_t last;       /* position of the last event to use; below 1: use none */
    int64_t at_version; /* 0: the newest */
    int64_t every;      /* keep a snapshot after this many events; 0: neither keep nor use any */
    bool past;          /* asked for a past state: keep no snapshot */
};

struct fold;

/* All arguments must stay valid until fold_close. found: from fold_subjects, or NULL. */
void fold_open(struct fold **out, const struct fold_terms *terms, const char *subject,
               const struct fold_subject *found);
/*
 * Continue as far as possible without waiting. 1: the state is complete. 0: call again when a
 * descriptor is ready, the child has ended, or the deadline has come. -1, and nothing has changed:
 * 65 the reducer printed something else      66 versions are missing: pruned, or not yet there
 * 74 an event is damaged   75 the reducer keeps being edited   126, 127 it cannot be run
 * else the status of the reducer.
 */
int fold_step(struct fold *f, struct err *e);
size_t fold_fds(const struct fold *f, struct pollfd *fds);
int64_t fold_deadline(const struct fold *f);                 /* monotonic; INT64_MAX: none */
bool fold_ended(struct fold *f, pid_t pid, int wait_status); /* was it ours? */

/* Append the result, one line of JSON without newline. */
void fold_print(const struct fold *f, struct buf *line);
/* Keep the state as a snapshot if enough events were reduced. -1 leaves the old snapshot. */
int fold_keep(struct fold *f, struct err *e);
void fold_close(struct fold *f);

#endif

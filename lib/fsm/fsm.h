/*
 * fsm: a state for each subject, kept in a document of the kind "fsm" named MACHINE/SUBJECT.
 *
 *     fsm_load(&machine, "order.machine.json", &findings, &e)
 *     struct fsm f = {.store = s, .machine = &machine};
 *     fsm_take(&f, &ev, &out, &why, &e)        for each event that machine_knows
 *     fsm_commit(&f, &e)                       when fsm_full(&f), or before waiting for input
 *     … print out …
 *
 * Commit first, print afterwards. A transition printed for a state that was then not kept could be
 * contradicted by another process that takes the next event; and no process may write into a pipe
 * while others, perhaps the pipe's reader, wait for the spool. A kill between the two loses nothing
 * for good: a document remembers the last events that it accepted and what they led to, and when
 * one of them comes again, its transition is printed again, with the same id, and nothing changes.
 * So a batch holds no more events of a subject than its document remembers.
 */
#ifndef FSM_H
#define FSM_H

#include "event/event.h"
#include "fsm/machine.h"
#include "store/store.h"

#define FSM_KIND "fsm"
#define FSM_KEPT 100   /* events that a document remembers */
#define FSM_BATCH 1000 /* events, accepted or not */

/* Read a machine's definition; path "-" is stdin. As machine_read, and also sets e's status to 65
   when findings has what is wrong; e's text is then empty, otherwise it begins with the path. 0 or
   -1. */
int fsm_load(struct machine *m, const char *path, struct machine_findings *findings, struct err *e);

struct fsm { /* all zero except the first two */
    struct store *store;
    const struct machine *machine;

    struct txn *txn; /* NULL: none is open; the rest belongs to it */
    int taken;
    unsigned char of_subject[1024]; /* events in the batch, by a hash of the subject */
    bool crowded;                   /* one of those counts has reached FSM_KEPT */
    struct buf name, quoted, value;
};

/*
 * Take an event that has an id and a subject. Other processes wait from here to fsm_commit, so read
 * and write nothing that may block in between. Returns 1 when the event is accepted, and appends
 * its transition to out as a line: an event for publish, made only from the event and from what
 * the document remembers, so that it is the same each time. Returns 0 when the event is not
 * accepted, with 65 and the reason in why; -1 when the store failed and the batch is lost.
 */
int fsm_take(struct fsm *f, const struct event *ev, struct buf *out, struct err *why,
             struct err *e);
bool fsm_full(const struct fsm *f);
int fsm_commit(struct fsm *f, struct err *e); /* on disk when it returns 0 */
void fsm_free(struct fsm *f);                 /* rolls back what is not committed */

/* The contents of a document, as views of its value. */
struct fsm_subject {
    struct str state; /* JSON: a string */
    int64_t since_ms, version;
    struct str last; /* JSON: an array, oldest first, of [id, source, type, from, to, at_ms] */
};
/* False when the document is damaged. */
bool fsm_read(struct str value, struct fsm_subject *out);

#endif

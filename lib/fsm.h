/*
 * fsm: one state a subject, kept as a document of the kind "fsm" that is called MACHINE/SUBJECT.
 *
 *     fsm_load(&machine, "order.machine.json", &findings, &e)
 *     struct fsm f = {.store = s, .machine = &machine};
 *     fsm_take(&f, &ev, &out, &why, &e)        for each event that machine_knows
 *     fsm_commit(&f, &e)                       when fsm_full(&f), or input would have to be awaited
 *     … print out …
 *
 * The commit is one transaction, and comes before the printing: what was printed for a state that
 * is not kept could be contradicted by another process that takes the next event; and nobody may
 * write into a pipe while others wait for the spool, its reader perhaps among them. A kill in
 * between costs nothing that cannot be had again: a document knows the last events that it
 * accepted and what they led to, and when one of them comes again, its transition is printed
 * again, with the same id, and nothing changes. That is also why a batch has no more events of a
 * subject than its document remembers.
 */
#ifndef FSM_H
#define FSM_H

#include "event.h"
#include "machine.h"
#include "store.h"

#define FSM_KIND "fsm"
#define FSM_KEPT 100   /* events that a document remembers */
#define FSM_BATCH 1000 /* events, accepted or not */

/* Read a machine's definition; path "-" is stdin. As machine_read, with its status in e also when
   findings say what is wrong: 65; e's text then is empty, and else begins with the path. */
int fsm_load(struct machine *m, const char *path, struct machine_findings *findings, struct err *e);

struct fsm { /* all zero but for the first two */
    struct store *store;
    const struct machine *machine;

    bool open; /* a transaction; the rest is its own */
    int taken;
    unsigned char of_subject[1024]; /* how many of a batch, by a hash of the subject */
    bool crowded;                   /* one of those has as many as a document remembers */
    struct buf name, quoted, value;
};

/*
 * Take an event with an id and a subject. Others wait from here to fsm_commit: no reading and no
 * writing that may block. Returns 1, and its transition is appended to out as a line: an event for
 * publish, made only of what the event itself says and of what is remembered, so that it is the
 * same each time; 0 when it is not accepted, as why says, with 65; -1 when the store failed, and
 * the batch is lost.
 */
int fsm_take(struct fsm *f, const struct event *ev, struct buf *out, struct err *why,
             struct err *e);
bool fsm_full(const struct fsm *f);
int fsm_commit(struct fsm *f, struct err *e); /* on disk when it returns 0 */
void fsm_free(struct fsm *f);                 /* undoes what is not committed */

/* What is in a document; views of its value. */
struct fsm_subject {
    struct str state; /* JSON: a string */
    int64_t since_ms, version;
    struct str last; /* JSON: an array, oldest first, of [id, source, type, from, to, at_ms] */
};
/* False when it is damaged. */
bool fsm_read(struct str value, struct fsm_subject *out);

#endif

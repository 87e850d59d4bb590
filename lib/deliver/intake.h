/*
 * intake: where events come from: claims, up to the last event that is to be delivered.
 */
#ifndef DELIVER_INTAKE_H
#define DELIVER_INTAKE_H

#include "deliver/decide.h"

struct intake {
    struct decide *decide;
    int64_t last;   /* terms->last, or the last position once the time terms->until_ms has come */
    bool past_last; /* no more events can appear up to last */
};

/* As group_claim. When a signal ends the wait for the lock, nothing has been begun that would be
   lost: 0. When others keep the spool locked for too long: 0, and decide_stop has been called. */
int intake_claim(struct intake *in, size_t max, size_t at_once, struct group_event ***out,
                 struct err *e);

/* decide_settle, up to the last event that is to be delivered: sets next->last. 0 or -1. */
int intake_settle(struct intake *in, struct decide_next *next, struct err *e);

/* Set past_last: with --to there is an end also when following, once the log has reached it. A time
   that has passed is such an end, too. 0 or -1. */
int intake_look_past(struct intake *in, struct err *e);

/* Returns for how long nothing becomes due, for store_wait; -1: nothing is in sight. */
int64_t intake_wait_ms(const struct intake *in);

#endif

/*
 * folds: the states of many subjects, some at the same time, in the order in which they are
 * complete.
 */
#ifndef REDUCE_FOLDS_H
#define REDUCE_FOLDS_H

#include "reduce/fold.h"

struct folds {
    const struct fold_terms *terms;
    const struct fold_subject *subject; /* those that are wanted are begun in this order */
    size_t subjects;
    bool found;      /* they come from fold_subjects; else their events are still to be found */
    size_t parallel; /* at the same time, at least 1 */
    /* The state of f is complete. 0, or -1, which ends the run. */
    int (*done)(struct fold *f, struct err *e);
    /* A subject failed. 0 to go on with the others, or -1 with e filled in, which ends the run. */
    int (*failed)(const struct err *why, struct err *e);
};

/* Call proc_stage first if there is a reducer. 0, also when the reader of stdout has gone; or -1,
   with 128 + n in e for a signal. No reducer runs any more. */
int folds_run(const struct folds *f, struct err *e);

#endif

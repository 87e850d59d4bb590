/* saga: what its verbs share. */
#ifndef SAGA_VERBS_H
#define SAGA_VERBS_H

#include "cli/args.h"
#include "saga/run.h"

extern const struct cmd saga_verb_run, saga_verb_resume, saga_verb_list, saga_verb_show,
    saga_verb_retry, saga_verb_settle, saga_verb_check, saga_verb_dot;

/* clang-format off */
#define SAGA_VERB_DEFAULTS {.jobs = 4, .keep_ms = INT64_C(30) * 86400000}
/* clang-format on */

/* Open the spool for *r and load the saga called id, after a check of its name. 0, or -1. */
int saga_verb_load(struct saga_run *r, enum store_mode mode, const char *id, struct err *e);
/* Free *r, close its spool, report e. Returns the exit status. */
int saga_verb_finish(struct saga_run *r, struct err *e);

/* Read the definition in a file. 0, or -1 with an error that names the file. */
int saga_verb_define(struct saga *s, const char *file, struct err *e);

#endif

/*
 * spool_verbs: the verbs of spool(1) that take more than a screen, each in a file of its own
 * (spool_group.c has the verb group). They parse what is left of the command line, do it, print,
 * and return the exit status.
 */
#ifndef SPOOL_VERBS_H
#define SPOOL_VERBS_H

#include "args.h"

extern const struct cmd spool_group, spool_check, spool_prune, spool_wait, spool_backup, spool_sql,
    spool_breaker, spool_bucket, spool_key;

#endif

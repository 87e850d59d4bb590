/*
 * spool_verbs: the verbs of spool(1) that take more than a screen of code, each in a file of its
 * own (group.c has the verb group). Each parses the rest of the command line, does its work,
 * prints, and returns the exit status.
 */
#ifndef SPOOL_VERBS_H
#define SPOOL_VERBS_H

#include "cli/args.h"

extern const struct cmd spool_group, spool_check, spool_prune, spool_wait, spool_backup, spool_sql,
    spool_breaker, spool_bucket, spool_key, spool_init, spool_copy;

#endif

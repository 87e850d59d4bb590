/* spool: the spool of this run, for the mains. */
#ifndef COMMAND_SPOOL_H
#define COMMAND_SPOOL_H

#include "store/store.h"

/* As store_open, with the spool that args_spool names. A spool that this call creates is noted on
   stderr. 0, or -1. */
int spool_open(struct store **s, enum store_mode mode, struct err *e);

#endif

/* consume: what it prints besides events: the preview of --dry-run, and how a run ended. */
#ifndef CONSUME_REPORT_H
#define CONSUME_REPORT_H

#include "base/point.h"
#include "deliver/loop.h"

/* Print what the group would get, up to terms->last; a group that does not exist yet would begin at
   from, unless that is NULL, and take types. 0, or -1. */
int consume_preview(struct store *s, const struct loop_terms *terms, struct pattern_list *types,
                    const struct point *from, struct err *e);

/* Report what is left, so that an exit status of 0 is not mistaken for an empty group, and make the
   exit status of what happened. got is what loop_run returned. */
void consume_report(struct group *group, const struct loop_terms *terms,
                    const struct loop_result *result, int got, struct err *e);

#endif

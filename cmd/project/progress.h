/* project: what it prints on stderr while it works. */
#ifndef PROJECT_PROGRESS_H
#define PROJECT_PROGRESS_H

#include "project/projection.h"

extern int64_t progress_aside; /* events that were set aside, and reported */

/* Report an event that failed and was set aside by the projection called name. */
void progress_set_aside(const char *name, const struct log_entry *entry, const struct err *why);

#endif

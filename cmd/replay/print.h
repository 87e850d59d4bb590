/* replay: how it prints an event. */
#ifndef REPLAY_PRINT_H
#define REPLAY_PRINT_H

#include "cli/table.h"
#include "store/log.h"

enum { REPLAY_AUTO, REPLAY_NDJSON, REPLAY_TABLE, REPLAY_POSITIONS };

extern const struct table_column replay_columns[];

struct replay_print {
    int form;
    struct table *table;    /* REPLAY_TABLE: with replay_columns */
    int64_t shown, damaged; /* events printed; events left out, and reported */
};

/* Print an event in its form, or report that it is damaged. 0, or -1 when stdout failed. */
int replay_print(struct replay_print *p, const struct log_entry *entry, struct err *e);

#endif

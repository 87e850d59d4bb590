/*
 * copy: a whole spool as a stream of bytes, and a spool made equal to one, on whatever engines they
 * are, while both are in use. The exporter reads FROM and writes the stream; the importer reads it
 * and writes TO:
 *
 *     copy_target(to, &first, &e)                  may TO be a copy? first: where to begin
 *     copy_export(from, first, &out, &e)           in another process, with a pipe between them
 *     copy_import(to, &in, &done, &e)
 *
 * TO becomes FROM as it was at one moment: the events byte for byte at their positions, with their
 * recorded times; groups with their places, what they remember, attempts and counts; documents.
 * Positions are equal, so that places mean the same; where FROM was pruned, TO has holes. What
 * differs:
 *
 *   - what FROM's consumers hold at that moment is waiting at TO: it is delivered there, too
 *   - a process that a document names counts as ended at TO
 *   - the groups of TO are paused until all is there, then they are as FROM's
 *   - damaged events are left out
 *
 * A second run appends the events that came since, and makes all else equal again, also by removing
 * it. So does the run after one that was killed.
 *
 * The stream is COPY_MAGIC, then records: a letter, then its values. An integer is 8 bytes, the
 * highest first, the lowest of all integers for NULL; a text or bytes are their length in 4 bytes,
 * 0xffffffff for NULL, then as many bytes. The records, in this order:
 *
 *     h   FROM's name, position of its newest event
 *     e   an event, as share/schema.sql has its columns, with its checksum
 *     s   a segment                                      these tables have rows sorted by key,
 *     d   a document                                     and after the last one:
 *     .   the letter of the table that ends here
 *     g   name, patterns, ordered, paused, hold, paced, created and seen of a group, by name; and .
 *     G   the number of the group, from 0, whose rows follow: c cursor, i item, a attempt, t tally,
 *         u duration, each followed by .
 *     z   the end
 */
#ifndef STORE_COPY_H
#define STORE_COPY_H

#include "store/store.h"

#include <sys/types.h>

#define COPY_MAGIC "eventutils copy 1\n"

/* May the spool become, or is it, a copy? It is empty, or has been one since, and nobody consumes
   from it. *first is the position of its newest event, which FROM must have, too; 1: none. 0; -1
   with 65 when it has events, groups or documents of its own, 75 while a group has consumers. */
int copy_target(struct store *s, int64_t *first, struct err *e);

/* write takes the stream, and returns 0, or -1; damaged is told of each event that is left out. The
   events are read in pages; all else, and what was published meanwhile, in one transaction that
   only reads, while which the WAL of a file cannot be checkpointed. Returns the number of events
   left out, or -1. */
struct copy_out {
    int (*write)(struct str bytes, struct err *e);
    void (*damaged)(int64_t seq);
};
int64_t copy_export(struct store *s, int64_t first, const struct copy_out *out, struct err *e);

/* read gives up to room bytes of the stream, 0 at its end, -1. progress: the newest event is at
   seq, of last. Transactions change about a thousand rows, and what one of them leaves is a spool.
   0; -1 with 65 when it is no such stream, when it ends before its end, or when TO has what FROM
   has not: events, or a group that was consumed at TO. */
struct copy_in {
    ssize_t (*read)(char *p, size_t room, struct err *e);
    void (*progress)(int64_t seq, int64_t last);
};
struct copy_done {
    int64_t events; /* appended now */
    int64_t groups, documents;
};
int copy_import(struct store *s, const struct copy_in *in, struct copy_done *done, struct err *e);

#endif

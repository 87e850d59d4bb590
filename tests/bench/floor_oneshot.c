/*
 * floor_oneshot LOG: what one event by a process of its own costs at least. Makes an event, has
 * jansson take it apart, inserts it, synchronous=FULL, and closes the log.
 *
 * It is linked to the shared libraries, as most programs are, and syncs and checkpoints as SQLite
 * does when the last one leaves. It does not look at the directory, the file's owner or the schema,
 * reads no options and no environment, and rings no bell.
 */
#include "bench.h"

#include <jansson.h>

static void bind(sqlite3_stmt *insert, int column, const json_t *event, const char *name)
{
    sqlite3_bind_text(insert, column, json_string_value(json_object_get(event, name)), -1,
                      SQLITE_STATIC);
}

int main(int argc, char **argv)
{
    char line[BENCH_LINE_MAX];
    struct timespec t;

    if (argc < 2)
        bench_die("usage: floor_oneshot LOG");
    clock_gettime(CLOCK_REALTIME, &t); /* a number of its own, beyond those that gen was given */
    size_t n = bench_event(line, ((uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000)) - 1;
    json_t *event = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
    sqlite3 *db = bench_open(argv[1]);
    bench_sql(db, "PRAGMA synchronous=FULL");
    sqlite3_stmt *insert = bench_prepare(db, BENCH_INSERT);
    bind(insert, 1, event, "id");
    bind(insert, 2, event, "type");
    bind(insert, 3, event, "subject");
    sqlite3_bind_int64(insert, 4, 1795255200000);
    sqlite3_bind_blob(insert, 5, line, (int)n, SQLITE_STATIC);
    bench_run(db, insert);
    sqlite3_finalize(insert);
    json_decref(event);
    return sqlite3_close(db) != SQLITE_OK;
}

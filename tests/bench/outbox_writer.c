/*
 * outbox_writer DATABASE N: an application that writes N orders, each with its row in the outbox, a
 * transaction each and a millisecond apart. Prints the median and the 99th percentile of a
 * transaction, in milliseconds.
 */
#include "bench.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void must(sqlite3 *db, const char *sql)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fprintf(stderr, "outbox_writer: %s: %s\n", sql, sqlite3_errmsg(db));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    const struct timespec pause = {0, 1000000};
    int n = argc == 3 ? atoi(argv[2]) : 0;
    sqlite3 *db;
    double *took;

    if (n < 1 || sqlite3_open(argv[1], &db) != SQLITE_OK)
        return 1;
    took = calloc((size_t)n, sizeof *took);
    if (took == NULL)
        return 1;
    sqlite3_busy_timeout(db, 60000);
    for (int i = 0; i < n; i++) {
        double begun = now_ms();
        must(db, "BEGIN IMMEDIATE");
        must(db, "INSERT INTO orders(total) VALUES(99.5)");
        must(db, "INSERT INTO outbox_events(aggregate_id, event_type, payload) VALUES('order-' || "
                 "last_insert_rowid(), 'order.placed', '{\"total\":99.5}')");
        must(db, "COMMIT");
        took[i] = now_ms() - begun;
        nanosleep(&pause, NULL);
    }
    qsort(took, (size_t)n, sizeof *took, by_size);
    printf("%.3f %.3f\n", took[n / 2], took[n * 99 / 100]);
    free(took);
    sqlite3_close(db);
    return 0;
}

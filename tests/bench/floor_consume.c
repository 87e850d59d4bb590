/*
 * floor_consume LOG FIRST: what handing events to a pipe costs at least, if a kill must not lose
 * the place. Prints events from position FIRST on, and after each 1000 moves a cursor durably,
 * synchronous=FULL.
 *
 * It does not share events with other consumers (there is no claim), filters nothing, compares no
 * checksum, and knows no priorities, retries or dead letters.
 */
#include "bench.h"

#define BATCH 1000

static char block[65536];
static size_t used;

static void flush(void)
{
    bench_write(STDOUT_FILENO, block, used);
    used = 0;
}

static void print(const char *p, size_t n)
{
    if (used + n + 1 > sizeof block)
        flush();
    memcpy(block + used, p, n);
    used += n;
    block[used++] = '\n';
}

int main(int argc, char **argv)
{
    int got;

    if (argc < 3)
        bench_die("usage: floor_consume LOG FIRST");
    sqlite3 *db = bench_open(argv[1]);
    bench_sql(db, "PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS cursor(name TEXT PRIMARY "
                  "KEY, seq INTEGER) WITHOUT ROWID; INSERT OR REPLACE INTO cursor VALUES('a',0)");
    sqlite3_stmt *page =
        bench_prepare(db, "SELECT seq,body FROM events WHERE seq>? ORDER BY seq LIMIT ?");
    sqlite3_stmt *move = bench_prepare(db, "UPDATE cursor SET seq=? WHERE name='a'");
    int64_t last = strtoll(argv[2], NULL, 10) - 1;
    do {
        sqlite3_bind_int64(page, 1, last);
        sqlite3_bind_int(page, 2, BATCH);
        for (got = 0; sqlite3_step(page) == SQLITE_ROW; got++) {
            last = sqlite3_column_int64(page, 0);
            const char *body = sqlite3_column_blob(page, 1);
            print(body, (size_t)sqlite3_column_bytes(page, 1));
        }
        sqlite3_reset(page);
        flush();
        sqlite3_bind_int64(move, 1, last);
        bench_run(db, move);
    } while (got > 0);
    sqlite3_finalize(page);
    sqlite3_finalize(move);
    return sqlite3_close(db) != SQLITE_OK;
}

/*
 * floor_read LOG FIRST [cursor]: what printing events costs at least, from position FIRST to the
 * end, 1000 a query. With "cursor" as consume has to, so that a kill does not lose the place: a
 * cursor is moved durably after each 1000, synchronous=FULL.
 *
 * It writes while its transaction is open, filters nothing and compares no checksum. The cursor is
 * not shared with other consumers (there is no claim), and knows no priorities, retries or dead
 * letters.
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
    sqlite3_stmt *page, *move = NULL;
    int got;

    if (argc < 3)
        bench_die("usage: floor_read LOG FIRST [cursor]");
    sqlite3 *db = bench_open(argv[1]);
    if (argc > 3) {
        bench_sql(db, "PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS cursor(name TEXT "
                      "PRIMARY KEY, seq INTEGER) WITHOUT ROWID; "
                      "INSERT OR REPLACE INTO cursor VALUES('a',0)");
        move = bench_prepare(db, "UPDATE cursor SET seq=? WHERE name='a'");
    }
    page = bench_prepare(db, "SELECT seq,body FROM events WHERE seq>? ORDER BY seq LIMIT ?");
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
        if (move != NULL && got > 0) {
            flush();
            sqlite3_bind_int64(move, 1, last);
            bench_run(db, move);
        }
    } while (got > 0);
    flush();
    sqlite3_finalize(page);
    sqlite3_finalize(move);
    return sqlite3_close(db) != SQLITE_OK;
}

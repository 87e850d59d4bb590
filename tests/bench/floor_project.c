/*
 * floor_project LOG FIRST FILE.sql DATABASE: what a read model costs at least. A plain loop over
 * the log from position FIRST, 1000 a query: each event's data is bound to the statement behind
 * "-- @on" and that is run, 5000 a transaction, synchronous=FULL; the position is written with
 * them.
 *
 * It knows one statement, which is for every event, and takes data for what stands behind "data":
 * and before "correlationid". It prepares before it looks, compares no checksum, copies no event,
 * holds its place open in both databases, and tells nobody how far it is.
 */
#include "bench.h"

#define PAGE 1000
#define BATCH 5000

static char *read_file(const char *path)
{
    static char text[65536];
    FILE *in = fopen(path, "re");

    if (in == NULL)
        bench_die("%s: %s", path, strerror(errno));
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    return text;
}

static void bind_data(sqlite3_stmt *q, const char *body, int n)
{
    const char *data = memmem(body, (size_t)n, "\"data\":", 7);
    const char *end = memmem(body, (size_t)n, ",\"correlationid\"", 16);

    if (data == NULL || end == NULL || end < data)
        bench_die("an event without data");
    sqlite3_bind_text(q, 1, data + 7, (int)(end - data - 7), SQLITE_STATIC);
}

int main(int argc, char **argv)
{
    int64_t last, n = 0;
    int got;

    if (argc < 5)
        bench_die("usage: floor_project LOG FIRST FILE.sql DATABASE");
    char *init = read_file(argv[3]), *on = strstr(init, "-- @on");
    if (on == NULL)
        bench_die("%s: no -- @on", argv[3]);
    on[-1] = '\0';
    sqlite3 *log = bench_open(argv[1]), *model = bench_open(argv[4]);
    bench_sql(model, "PRAGMA synchronous=FULL; CREATE TABLE place(seq INTEGER); "
                     "INSERT INTO place VALUES(0)");
    bench_sql(model, init);
    sqlite3_stmt *apply = bench_prepare(model, strchr(on, '\n'));
    sqlite3_stmt *move = bench_prepare(model, "UPDATE place SET seq=?");
    sqlite3_stmt *page = bench_prepare(log, "SELECT seq,body FROM events WHERE seq>? ORDER BY seq "
                                            "LIMIT ?");
    last = strtoll(argv[2], NULL, 10) - 1;
    bench_sql(model, "BEGIN IMMEDIATE");
    do {
        sqlite3_bind_int64(page, 1, last);
        sqlite3_bind_int(page, 2, PAGE);
        for (got = 0; sqlite3_step(page) == SQLITE_ROW; got++) {
            last = sqlite3_column_int64(page, 0);
            const char *body = sqlite3_column_blob(page, 1);
            bind_data(apply, body, sqlite3_column_bytes(page, 1));
            bench_run(model, apply);
        }
        sqlite3_reset(page);
        n += got;
        if (got < PAGE || n % BATCH == 0) {
            sqlite3_bind_int64(move, 1, last);
            bench_run(model, move);
            bench_sql(model, "COMMIT; BEGIN IMMEDIATE");
        }
    } while (got > 0);
    bench_sql(model, "COMMIT");
    sqlite3_finalize(apply);
    sqlite3_finalize(move);
    sqlite3_finalize(page);
    sqlite3_close(log);
    return sqlite3_close(model) != SQLITE_OK;
}

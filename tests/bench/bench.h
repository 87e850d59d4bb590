/*
 * What the programs of the benchmark share: an end on failure, events to work on, and the bare
 * calls that several floors make. A floor is the least that can be done with the same bytes: our
 * commands are measured against it, so that a slow machine changes both sides of a ratio.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BENCH_LINE_MAX 512

__attribute__((noreturn, format(printf, 1, 2))) static inline void bench_die(const char *text, ...)
{
    va_list args;

    va_start(args, text);
    vfprintf(stderr, text, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline void bench_write(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t wrote = write(fd, p, n);
        if (wrote < 0)
            bench_die("write: %s", strerror(errno));
        p += wrote;
        n -= (size_t)wrote;
    }
}

/* --------------------------------------------------------------------------------------- events */

static inline uint64_t bench_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline void bench_uuid(char out[37], uint64_t high, uint64_t low)
{
    snprintf(out, 37, "%08x-%04x-%04x-%04x-%012" PRIx64, (unsigned)(high >> 32),
             (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(low >> 48),
             low & 0xffffffffffff);
}

/* Event number i as a line: a complete CloudEvent of about 300 bytes, the same at each call. Ids
   are UUIDv7, ten events a millisecond. Returns its length with the newline. */
static inline size_t bench_event(char line[BENCH_LINE_MAX], uint64_t i)
{
    static const char *const types[] = {"placed", "paid", "shipped", "cancelled"};
    uint64_t ms = 1795255200000 + i / 10, r = bench_mix(i), q = bench_mix(r);
    time_t seconds = (time_t)(ms / 1000);
    char id[37], correlation[37], when[32];
    struct tm tm;

    bench_uuid(id, ms << 16 | 0x7000 | (i % 10) * 400, r >> 2 | 0x8000000000000000);
    bench_uuid(correlation, q, r);
    gmtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    return (size_t)snprintf(line, BENCH_LINE_MAX,
                            "{\"specversion\":\"1.0\",\"id\":\"%s\",\"source\":\"/shop\","
                            "\"type\":\"order.%s\",\"subject\":\"order-%u\",\"time\":\"%s.%03uZ\","
                            "\"data\":{\"customer\":\"c-%05u\",\"total_cents\":%u,"
                            "\"items\":[{\"sku\":\"A-%04u\",\"qty\":%u}]},"
                            "\"correlationid\":\"%s\"}\n",
                            id, types[i & 3], (unsigned)(i / 4 % 100000), when,
                            (unsigned)(ms % 1000), (unsigned)(r % 100000),
                            (unsigned)(q % 90000 + 100), (unsigned)(q >> 8) % 10000,
                            (unsigned)(r >> 60) + 1, correlation);
}

/* ----------------------------------------------------------------------------------- a bare log */

/* The floors' log: SQLite as it comes, in WAL mode, with the one index that finds duplicates. No
   source, priority, checksum or further index, and nobody asks whose file it is. */
#define BENCH_LOG                                                                                  \
    "CREATE TABLE IF NOT EXISTS events(seq INTEGER PRIMARY KEY, id TEXT UNIQUE, type TEXT,"        \
    " subject TEXT, time INTEGER, body BLOB)"
#define BENCH_INSERT "INSERT INTO events(id,type,subject,time,body) VALUES(?,?,?,?,?)"

static inline void bench_sql(sqlite3 *db, const char *sql)
{
    char *why = NULL;

    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
        bench_die("%s: %s", sql, why);
}

static inline sqlite3 *bench_open(const char *path)
{
    sqlite3 *db;

    if (sqlite3_open(path, &db) != SQLITE_OK)
        bench_die("%s: cannot open it", path);
    return db;
}

static inline sqlite3_stmt *bench_prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *q;

    if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK)
        bench_die("%s: %s", sql, sqlite3_errmsg(db));
    return q;
}

/* A statement that gives no rows. */
static inline void bench_run(sqlite3 *db, sqlite3_stmt *q)
{
    if (sqlite3_step(q) != SQLITE_DONE)
        bench_die("%s: %s", sqlite3_sql(q), sqlite3_errmsg(db));
    sqlite3_reset(q);
}

#endif

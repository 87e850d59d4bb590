/*
 * cost: measure each writing transaction in steps of SQLite's virtual machine and in rows changed:
 * counts, which are the same on any machine. To be preloaded:
 *
 *     LD_PRELOAD=cost.so COST_LOG=file command
 *
 * For each transaction that ends, the log gets a line "STEPS ROWS". Reads outside a transaction are
 * not counted, since no one has to wait for them.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *log_path;
static bool writing;
static long long steps, rows_before;

static void note(long long rows)
{
    char line[64];
    int n = snprintf(line, sizeof line, "%lld %lld\n", steps, rows);
    int fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

    if (fd < 0 || write(fd, line, (size_t)n) != n)
        abort();
    close(fd);
}

/* A statement has ended. */
static int ended(unsigned kind, void *db, void *statement, void *time)
{
    const char *sql = sqlite3_sql(statement);
    int took = sqlite3_stmt_status(statement, SQLITE_STMTSTATUS_VM_STEP, 1);

    (void)kind;
    (void)time;
    if (strcmp(sql, "BEGIN IMMEDIATE") == 0) {
        writing = true;
        steps = 0;
        rows_before = sqlite3_total_changes(db);
    } else if (writing && (strcmp(sql, "COMMIT") == 0 || strcmp(sql, "ROLLBACK") == 0)) {
        writing = false;
        note(sqlite3_total_changes(db) - rows_before);
    } else {
        steps += took;
    }
    return 0;
}

/* A connection has one trace. The command has its own only while it opens the spool. */
int sqlite3_trace_v2(sqlite3 *db, unsigned mask, int (*f)(unsigned, void *, void *, void *),
                     void *arg)
{
    union {
        void *p;
        int (*f)(sqlite3 *, unsigned, int (*)(unsigned, void *, void *, void *), void *);
    } next = {dlsym(RTLD_NEXT, "sqlite3_trace_v2")};

    return mask != 0 || log_path == NULL ? next.f(db, mask, f, arg)
                                         : next.f(db, SQLITE_TRACE_PROFILE, ended, db);
}

static int hook(sqlite3 *db, const char **error, const struct sqlite3_api_routines *api)
{
    (void)error;
    (void)api;
    return sqlite3_trace_v2(db, 0, NULL, NULL);
}

__attribute__((constructor)) static void begin(void)
{
    log_path = getenv("COST_LOG");
    unsetenv("LD_PRELOAD");
    if (log_path != NULL)
        sqlite3_auto_extension((void (*)(void))hook);
}

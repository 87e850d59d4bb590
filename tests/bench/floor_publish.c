/*
 * floor_publish LOG [FILE [unchecked]]: what publishing a file of complete events costs at least.
 * Reads it, or stdin, checks each line in one strict pass that builds nothing, and appends it
 * through a prepared statement, 1000 a transaction, synchronous=FULL. With "unchecked" it appends
 * alone: it takes the attributes from where it finds their names.
 *
 * It does what makes the bytes valid and durable and the ids unique. It does not check UTF-8, what
 * attributes may hold or the duplicate keys of inner objects, does not compare what has the same
 * id, computes no checksum, and leaves checkpoints to SQLite.
 */
#include "bench.h"

#include <fcntl.h>
#include <stdbool.h>

#define MEMBERS_MAX 64
#define DEPTH_MAX 64
#define BATCH 1000

struct member {
    const char *key, *value;
    size_t key_n, value_n;
};

struct line {
    const char *end;
    struct member member[MEMBERS_MAX]; /* of the outermost object */
    int members, depth;
};

/* Each takes where something begins, or what follows its first byte, and returns where it ends;
   NULL when it is not JSON. */
static const char *value(struct line *l, const char *p);

static const char *space(const struct line *l, const char *p)
{
    while (p < l->end && (*p == ' ' || *p == '\t' || *p == '\r'))
        p++;
    return p;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'f');
}

static const char *escape(const struct line *l, const char *p)
{
    if (p == l->end || *p == '\0' || strchr("\"\\/bfnrtu", *p) == NULL)
        return NULL;
    if (*p != 'u')
        return p + 1;
    for (int i = 1; i <= 4; i++)
        if (p + i >= l->end || !is_hex(p[i]))
            return NULL;
    return p + 5;
}

static const char *string(const struct line *l, const char *p)
{
    while (p != NULL && p < l->end && *p != '"') {
        if ((unsigned char)*p < 0x20)
            return NULL;
        p = *p == '\\' ? escape(l, p + 1) : p + 1;
    }
    return p != NULL && p < l->end ? p + 1 : NULL;
}

static const char *digits(const struct line *l, const char *p)
{
    const char *first = p;

    while (p < l->end && *p >= '0' && *p <= '9')
        p++;
    return p == first ? NULL : p;
}

static const char *number(const struct line *l, const char *p)
{
    const char *first = p += *p == '-';

    if ((p = digits(l, p)) == NULL || (*first == '0' && p - first > 1))
        return NULL;
    if (p < l->end && *p == '.' && (p = digits(l, p + 1)) == NULL)
        return NULL;
    if (p < l->end && (*p | 32) == 'e') {
        p++;
        p += p < l->end && (*p == '+' || *p == '-');
        p = digits(l, p);
    }
    return p;
}

static bool note(struct line *l, struct member m)
{
    for (int i = 0; i < l->members; i++)
        if (l->member[i].key_n == m.key_n && memcmp(l->member[i].key, m.key, m.key_n) == 0)
            return false;
    if (l->members == MEMBERS_MAX)
        return false;
    l->member[l->members++] = m;
    return true;
}

static const char *object(struct line *l, const char *p)
{
    p = space(l, p);
    if (p < l->end && *p == '}')
        return p + 1;
    for (;;) {
        struct member m;
        p = space(l, p);
        if (p == l->end || *p != '"' || (m.key = p + 1, p = string(l, p + 1)) == NULL)
            return NULL;
        m.key_n = (size_t)(p - m.key - 1);
        p = space(l, p);
        if (p == l->end || *p != ':')
            return NULL;
        m.value = space(l, p + 1);
        if ((p = value(l, m.value)) == NULL)
            return NULL;
        m.value_n = (size_t)(p - m.value);
        if (l->depth == 1 && !note(l, m))
            return NULL;
        p = space(l, p);
        if (p == l->end || (*p != ',' && *p != '}'))
            return NULL;
        if (*p++ == '}')
            return p;
    }
}

static const char *array(struct line *l, const char *p)
{
    p = space(l, p);
    if (p < l->end && *p == ']')
        return p + 1;
    for (;;) {
        if ((p = value(l, space(l, p))) == NULL)
            return NULL;
        p = space(l, p);
        if (p == l->end || (*p != ',' && *p != ']'))
            return NULL;
        if (*p++ == ']')
            return p;
    }
}

static const char *value(struct line *l, const char *p)
{
    size_t left = (size_t)(l->end - p);

    if (left == 0 || l->depth == DEPTH_MAX)
        return NULL;
    l->depth++;
    if (*p == '"')
        p = string(l, p + 1);
    else if (*p == '{')
        p = object(l, p + 1);
    else if (*p == '[')
        p = array(l, p + 1);
    else if (left >= 4 && (memcmp(p, "true", 4) == 0 || memcmp(p, "null", 4) == 0))
        p += 4;
    else if (left >= 5 && memcmp(p, "false", 5) == 0)
        p += 5;
    else
        p = number(l, p);
    l->depth--;
    return p;
}

/* --------------------------------------------------------------------------------------- append */

static void bind(sqlite3_stmt *insert, int column, const struct line *l, const char *name)
{
    for (int i = 0; i < l->members; i++) {
        const struct member *m = &l->member[i];
        if (m->key_n == strlen(name) && memcmp(m->key, name, m->key_n) == 0 && *m->value == '"') {
            sqlite3_bind_text(insert, column, m->value + 1, (int)m->value_n - 2, SQLITE_STATIC);
            return;
        }
    }
    bench_die("an event without \"%s\"", name);
}

static void bind_unchecked(sqlite3_stmt *insert, int column, const char *p, size_t n,
                           const char *key)
{
    const char *value = memmem(p, n, key, strlen(key));

    if (value == NULL)
        bench_die("an event without %s", key);
    value += strlen(key);
    const char *end = memchr(value, '"', (size_t)(p + n - value));
    sqlite3_bind_text(insert, column, value, (int)(end - value), SQLITE_STATIC);
}

static void append(sqlite3 *db, sqlite3_stmt *insert, bool unchecked, const char *p, size_t n)
{
    struct line l;

    l.end = p + n;
    l.members = l.depth = 0;
    if (unchecked) {
        bind_unchecked(insert, 1, p, n, "\"id\":\"");
        bind_unchecked(insert, 2, p, n, "\"type\":\"");
        bind_unchecked(insert, 3, p, n, "\"subject\":\"");
    } else {
        if (*p != '{' || value(&l, p) != l.end)
            bench_die("not an event: %.*s", (int)n, p);
        bind(insert, 1, &l, "id");
        bind(insert, 2, &l, "type");
        bind(insert, 3, &l, "subject");
    }
    sqlite3_bind_int64(insert, 4, 1795255200000);
    sqlite3_bind_blob(insert, 5, p, (int)n, SQLITE_STATIC);
    bench_run(db, insert);
}

int main(int argc, char **argv)
{
    static char block[256 * 1024];
    size_t have = 0;
    uint64_t count = 0;
    ssize_t got;
    int fd = argc > 2 ? open(argv[2], O_RDONLY | O_CLOEXEC) : STDIN_FILENO;

    if (argc < 2 || fd < 0)
        bench_die("usage: floor_publish LOG [FILE [unchecked]]");
    sqlite3 *db = bench_open(argv[1]);
    bench_sql(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; " BENCH_LOG);
    sqlite3_stmt *insert = bench_prepare(db, BENCH_INSERT);
    while ((got = read(fd, block + have, sizeof block - have)) > 0) {
        char *p = block, *end = block + have + got, *newline;
        for (; (newline = memchr(p, '\n', (size_t)(end - p))) != NULL; p = newline + 1) {
            if (count % BATCH == 0)
                bench_sql(db, "BEGIN IMMEDIATE");
            append(db, insert, argc > 3, p, (size_t)(newline - p));
            if (++count % BATCH == 0)
                bench_sql(db, "COMMIT");
        }
        have = (size_t)(end - p);
        memmove(block, p, have);
    }
    if (count % BATCH != 0)
        bench_sql(db, "COMMIT");
    sqlite3_finalize(insert);
    return sqlite3_close(db) != SQLITE_OK;
}
